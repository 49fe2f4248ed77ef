//! Help: the keys of the table of commands, and the first words of the glossary.

use super::over;
use crate::commands::keymap::KeysAct;
use crate::commands::{self, Entry, Id, TABLE, UiCommand};
use crate::glossary::{IN_HELP, TERMS};
use crate::rooms::{PanelCtx, scrolled};
use crate::state::settings::LanguageChoice;
use crate::theme::{Type, icons};
use crate::widgets::button::Weight;
use crate::widgets::rows::{self, Rows};
use crate::widgets::text;
use crate::widgets::{Button, choice, panel};
use egui::{Align, Rect, Ui, pos2, vec2};

/// Shows the help.
pub fn help_ui(cx: &PanelCtx<'_>, ui: &mut Ui) {
    over(cx, ui, t!("commands-help"), vec2(880.0, 620.0), None, |ui, rect| {
        let c = cx.c();
        let head = Rect::from_min_size(rect.min + vec2(16.0, 8.0), vec2(rect.width() - 32.0, 32.0));
        text::line(ui, head, Align::Min, t!("commands-help"), Type::Room, c.text);
        let close = Rect::from_min_size(pos2(head.right() - 24.0, head.top() + 2.0), vec2(28.0, 28.0));
        if Button::icon_only(icons::X, t!("common-close")).show(ui, cx.theme, close).clicked() {
            cx.send(UiCommand::CloseSheet);
        }
        let left = language(cx, ui, head.with_max_x(close.left() - 12.0));
        let reset = cx.button(ui, Id::ResetKeys).weight(Weight::Link);
        let width = reset.width(ui);
        let place = Rect::from_min_size(pos2(left - 20.0 - width, head.top() + 6.0), vec2(width, 20.0));
        cx.press(ui, Id::ResetKeys, reset, place);
        let body = Rect::from_min_max(pos2(rect.left() + 16.0, head.bottom() + 4.0), rect.max - vec2(16.0, 12.0));
        let left = body.with_max_x(body.left() + body.width() * 0.54 - 12.0);
        let right = body.with_min_x(left.right() + 24.0);
        keys(cx, ui, left);
        words(cx, ui, right);
    });
}

/// Languages of the switch, in its order.
const LANGUAGES: [LanguageChoice; 3] = [LanguageChoice::System, LanguageChoice::English, LanguageChoice::German];

/// The switch between languages, where somebody looks who does not understand the one that is spoken; gives its left edge.
fn language(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect) -> f32 {
    let english = commands::entry(Id::English).name.get();
    let names = [t!("help-language-system"), english, commands::entry(Id::German).name.get()];
    let width = choice::segments_width(ui, &names, Type::Body);
    let place = Rect::from_min_size(pos2(row.right() - width, row.top() + 4.0), vec2(width, 24.0));
    let chosen = LANGUAGES.iter().position(|language| *language == cx.state.settings.language);
    if let Some(index) = choice::segments(ui, cx.theme, place, t!("help-language"), &names, chosen) {
        cx.send(UiCommand::Language(LANGUAGES[index]));
    }
    let word = row.with_max_x(place.left() - 8.0);
    text::line(ui, word, Align::Max, t!("help-language"), Type::Body, cx.c().text2).rect.left()
}

fn keys(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let head = rect.with_max_y(rect.top() + 22.0);
    let title = text::line(ui, head, Align::Min, t!("help-commands"), Type::Panel, c.text).rect;
    let mut top = head.bottom() + 2.0;
    match &cx.state.rekey {
        None => {
            let note = head.with_min_x(title.right() + 12.0);
            text::line(ui, note, Align::Max, t!("help-keys-change"), Type::Body, c.text2);
        }
        Some(rekey) => {
            // What is said here is why the keys just pressed do nothing.
            let command = commands::entry(rekey.command).name.get();
            let lead = t!("help-keys-lead", command = command);
            let (words, ground) =
                if rekey.why.is_empty() { (lead.as_str(), c.info_bg) } else { (rekey.why.as_str(), c.warn_bg) };
            let width = rect.width() - 28.0;
            let height = text::block_height(ui, width - 20.0, words, Type::Body) + 10.0;
            let place = Rect::from_min_size(pos2(rect.left(), top), vec2(width + 8.0, height));
            ui.painter().rect_filled(place, 4.0, ground);
            text::block(ui, place.min + vec2(10.0, 5.0), width - 20.0, words, Type::Body, c.text);
            top = place.bottom() + 4.0;
        }
    }
    scrolled(ui, rect.with_min_y(top), "help keys", |ui, area| {
        let mut lines = Rows::new(area.with_max_x(area.right() - 12.0));
        for entry in TABLE {
            let row = lines.next(24.0);
            rows::underline(ui, cx.theme, row);
            text::icon(ui.painter(), pos2(row.left() + 9.0, row.center().y), entry.icon, 15.0, c.text2);
            let left = keys_of(cx, ui, row, entry);
            let place = Rect::from_min_max(pos2(row.left() + 24.0, row.top()), pos2(left - 8.0, row.bottom()));
            let pieces = [
                text::Piece(entry.name.get(), Type::Medium, c.text),
                text::Piece(entry.help.get(), Type::Body, c.text2),
            ];
            text::pieces(ui, place, &pieces);
        }
        ui.allocate_rect(Rect::from_min_max(area.min, pos2(area.right(), lines.y)), egui::Sense::hover());
    });
}

/// The keys of a command as a button that asks for others; gives its left edge.
fn keys_of(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, entry: &'static Entry) -> f32 {
    let waits = cx.state.rekey.as_ref().is_some_and(|rekey| rekey.command == entry.id);
    let own = entry.keys(ui.ctx());
    let words = match &own {
        _ if waits => t!("help-keys-wait"),
        Some(keys) => keys.as_str(),
        None => t!("help-by-palette"),
    };
    let name =
        t!("help-keys-of", command = entry.name.get(), keys = own.as_deref().unwrap_or_else(|| t!("help-by-palette")));
    let button =
        Button::new(words).small().weight(Weight::Quiet).name(&name).tooltip(t!("help-keys-tip")).selected(waits);
    let width = button.width(ui);
    let place = Rect::from_min_size(pos2(row.right() - width + 4.0, row.top() + 2.0), vec2(width, 20.0));
    if button.show(ui, cx.theme, place).clicked() {
        cx.send(UiCommand::Keys(KeysAct::Begin(entry.id)));
    }
    place.left()
}

fn words(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let mut lines = Rows::new(rect);
    let head = lines.next(22.0);
    text::line(ui, head, Align::Min, t!("help-words"), Type::Panel, c.text);
    let all = cx.button(ui, Id::Glossary).weight(Weight::Link);
    let width = all.width(ui);
    cx.press(ui, Id::Glossary, all, head.with_min_x(head.right() - width));
    lines.gap(2.0);
    for term in TERMS.iter().take(IN_HELP) {
        text::line(ui, lines.next(20.0), Align::Min, term.word.get(), Type::Strong, c.text);
        let top = pos2(rect.left(), lines.y);
        lines.y += text::block(ui, top, rect.width(), term.meaning.get(), Type::Body, c.text2) + 4.0;
    }
    panel::divider(ui, cx.theme, rect.shrink2(vec2(panel::MARGIN, 0.0)), lines.y + 2.0);
    lines.gap(8.0);
    let tips = t!("help-tips");
    text::block(ui, pos2(rect.left(), lines.y), rect.width(), tips, Type::Body, c.text2);
}
