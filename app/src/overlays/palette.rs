//! The command palette: every line of the table of commands, by name, and the terms of the glossary after them.

use super::over;
use crate::commands::{self, Entry, UiCommand};
use crate::glossary::{self, Term};
use crate::rooms::PanelCtx;
use crate::state::State;
use crate::theme::{Icon, Type, icons};
use crate::widgets::text;
use egui::{
    Align, Frame, Id, Key, Margin, Modifiers, Rect, Role, ScrollArea, Sense, Stroke, TextEdit, Ui, UiBuilder,
    WidgetInfo, pos2, vec2,
};

const ROW: f32 = 32.0;

/// Something that the palette found.
#[derive(Clone, Copy)]
enum Hit {
    /// A command.
    Command(&'static Entry),
    /// A term.
    Term(&'static Term),
}

impl Hit {
    fn name(self) -> &'static str {
        match self {
            Self::Command(entry) => entry.name.get(),
            Self::Term(term) => term.word.get(),
        }
    }

    fn help(self) -> &'static str {
        match self {
            Self::Command(entry) => entry.help.get(),
            Self::Term(term) => term.meaning.get(),
        }
    }

    fn icon(self) -> Icon {
        match self {
            Self::Command(entry) => entry.icon,
            Self::Term(_) => icons::BOOKMARK_SIMPLE,
        }
    }

    /// Its keys; a term says instead that it is one.
    fn keys(self, ui: &Ui) -> String {
        match self {
            Self::Command(entry) => entry.keys(ui.ctx()).unwrap_or_default(),
            Self::Term(_) => t!("glossary-kind").to_owned(),
        }
    }

    fn hindrance(self, state: &State) -> Option<&'static str> {
        match self {
            Self::Command(entry) => (entry.hindrance)(state),
            Self::Term(_) => None,
        }
    }

    fn command(self, state: &State) -> UiCommand {
        match self {
            Self::Command(entry) => (entry.make)(state),
            Self::Term(term) => UiCommand::Glossary(Some(term.key)),
        }
    }
}

/// Commands that match what was typed, then terms; without words only commands.
fn search(query: &str) -> Vec<Hit> {
    let mut hits: Vec<Hit> = commands::search(query).into_iter().map(Hit::Command).collect();
    if !query.trim().is_empty() {
        hits.extend(glossary::find(query).into_iter().map(Hit::Term));
    }
    hits
}

/// Shows the palette.
pub fn palette_ui(cx: &PanelCtx<'_>, ui: &mut Ui, query: &str, chosen: usize) {
    let hits = search(query);
    let chosen = chosen.min(hits.len().saturating_sub(1));
    let moved = keys(ui, chosen, hits.len());
    let entered = ui.input_mut(|input| input.consume_key(Modifiers::NONE, Key::Enter));
    let height = 46.0 + 10.0 * ROW + 8.0;
    over(cx, ui, t!("sheets-palette"), vec2(560.0, height), Some(64.0), |ui, rect| {
        let field = Rect::from_min_size(rect.min + vec2(12.0, 8.0), vec2(rect.width() - 24.0, 30.0));
        let typed = field_ui(cx, ui, field, query);
        let list = Rect::from_min_max(pos2(rect.left() + 1.0, rect.top() + 46.0), rect.max - vec2(1.0, 5.0));
        ui.painter().hline(rect.left() + 1.0..=rect.right() - 1.0, list.top() - 0.5, Stroke::new(1.0, cx.c().line));
        let clicked = list_ui(cx, ui, list, &hits, moved, moved != chosen);
        // Letters and Enter may come in one frame of a busy machine: what counts is what was typed, not the list before.
        let run = match (&typed, entered) {
            (Some(text), true) => search(text).first().copied(),
            (None, true) => hits.get(moved).copied(),
            (_, false) => clicked.and_then(|index| hits.get(index)).copied(),
        };
        if let Some(hit) = run.filter(|hit| hit.hindrance(cx.state).is_none()) {
            cx.send(UiCommand::CloseSheet);
            cx.send(hit.command(cx.state));
        } else if let Some(text) = typed {
            cx.send(UiCommand::Palette(text, 0));
        } else if moved != chosen {
            cx.send(UiCommand::Palette(query.to_owned(), moved));
        }
    });
}

fn keys(ui: &Ui, chosen: usize, count: usize) -> usize {
    let down = ui.input_mut(|input| input.consume_key(Modifiers::NONE, Key::ArrowDown));
    let up = ui.input_mut(|input| input.consume_key(Modifiers::NONE, Key::ArrowUp));
    match (down, up) {
        (true, false) => (chosen + 1).min(count.saturating_sub(1)),
        (false, true) => chosen.saturating_sub(1),
        _ => chosen,
    }
}

fn field_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, query: &str) -> Option<String> {
    let c = cx.c();
    text::icon(ui.painter(), pos2(rect.left() + 10.0, rect.center().y), icons::MAGNIFYING_GLASS, 18.0, c.text2);
    let mut buffer = query.to_owned();
    let inner = Rect::from_center_size(rect.center() + vec2(14.0, 0.0), vec2(rect.width() - 28.0, 18.0));
    let id = Id::unique("palette field");
    let edit = TextEdit::singleline(&mut buffer)
        .id(id)
        .frame(Frame::NONE)
        .margin(Margin::ZERO)
        .font(Type::Lead.font())
        .text_color(c.text)
        .hint_text(egui::RichText::new(t!("sheets-palette-hint")).color(c.text3))
        .desired_width(inner.width());
    let response = ui.put(inner, edit).accessible_name(t!("commands-palette"));
    let response = response.on_hover_text(t!("sheets-palette-hint"));
    if !response.has_focus() {
        response.request_focus();
    }
    response.changed().then_some(buffer)
}

fn list_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, hits: &[Hit], chosen: usize, moved: bool) -> Option<usize> {
    let c = cx.c();
    if hits.is_empty() {
        let row = Rect::from_min_size(rect.min + vec2(16.0, 8.0), vec2(rect.width() - 32.0, 24.0));
        text::line(ui, row, Align::Min, t!("sheets-palette-none"), Type::Body, c.text2);
        return None;
    }
    let mut clicked = None;
    let mut child = ui.new_child(UiBuilder::new().id_salt("palette list").max_rect(rect));
    child.set_clip_rect(rect);
    ScrollArea::vertical().auto_shrink(false).show(&mut child, |ui| {
        for (index, hit) in hits.iter().copied().enumerate() {
            let (row, response) = ui.allocate_exact_size(vec2(rect.width() - 2.0, ROW), Sense::click());
            if moved && index == chosen {
                response.scroll_to_me(None);
            }
            row_ui(cx, ui, row, hit, index == chosen, &response);
            let help = hit.hindrance(cx.state).unwrap_or_else(|| hit.help());
            if response.on_hover_text(help).clicked() {
                clicked = Some(index);
            }
        }
    });
    clicked
}

fn row_ui(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, hit: Hit, chosen: bool, response: &egui::Response) {
    let c = cx.c();
    let hindrance = hit.hindrance(cx.state);
    response.widget_info(|| WidgetInfo::labeled(Role::MenuItem, hindrance.is_none(), hit.name()));
    if chosen {
        ui.painter().rect_filled(row, 0.0, c.accent_bg);
    } else if response.hovered() {
        ui.painter().rect_filled(row, 0.0, c.hover);
    }
    let colour = if hindrance.is_none() { c.text } else { c.text3 };
    text::icon(
        ui.painter(),
        pos2(row.left() + 21.0, row.center().y),
        hit.icon(),
        16.0,
        if hindrance.is_none() { c.text2 } else { c.text3 },
    );
    let keys = hit.keys(ui);
    let keys_width = text::width(ui, &keys, Type::MonoCaption);
    let words =
        Rect::from_min_max(pos2(row.left() + 40.0, row.top()), pos2(row.right() - keys_width - 28.0, row.bottom()));
    let name_width = text::width(ui, hit.name(), Type::Medium);
    text::paint(ui.painter(), words, Align::Min, hit.name(), Type::Medium, colour);
    let note = words.with_min_x(words.left() + name_width + 10.0);
    let clipped = ui.painter().with_clip_rect(note.intersect(ui.clip_rect()));
    text::paint(&clipped, note, Align::Min, hindrance.unwrap_or_else(|| hit.help()), Type::Body, c.text3);
    text::paint(ui.painter(), row.with_max_x(row.right() - 14.0), Align::Max, &keys, Type::MonoCaption, c.text2);
}
