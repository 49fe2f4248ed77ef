//! The glossary: terms at the left, with a search; what the chosen one means at the right.

use super::over;
use super::sheets::head;
use crate::commands::UiCommand;
use crate::glossary::{self, TERMS, Term};
use crate::rooms::{PanelCtx, scrolled};
use crate::theme::{Type, icons};
use crate::widgets::button::Weight;
use crate::widgets::field::{self, Field};
use crate::widgets::{Button, text};
use egui::{Align, Id, Rect, Sense, Ui, pos2, vec2};

/// Height of a term in the list.
const ROW: f32 = 24.0;
/// Width of the list.
const LIST: f32 = 236.0;

/// Shows the glossary.
pub fn glossary_ui(cx: &PanelCtx<'_>, ui: &mut Ui, query: &str, chosen: Option<&'static str>) {
    let found = glossary::find(query);
    let shown = chosen.and_then(glossary::term).or_else(|| found.first().copied());
    over(cx, ui, t!("commands-glossary"), vec2(760.0, 520.0), None, |ui, rect| {
        let body = head(cx, ui, rect, t!("commands-glossary"));
        let left = body.with_max_x(body.left() + LIST);
        let right = body.with_min_x(left.right() + 28.0);
        list_ui(cx, ui, left, (query, found.as_slice()), shown);
        if let Some(term) = shown {
            term_ui(cx, ui, right, term);
        }
    });
}

fn list_ui(
    cx: &PanelCtx<'_>,
    ui: &mut Ui,
    rect: Rect,
    (query, found): (&str, &[&'static Term]),
    shown: Option<&'static Term>,
) {
    let hint = t!("glossary-search-hint", count = TERMS.len());
    let name = t!("glossary-search");
    let search = Field { hint: &hint, icon: Some(icons::MAGNIFYING_GLASS), tooltip: name, ..Field::new(name, query) };
    if let Some(text) = field::show(ui, cx.theme, rect.with_max_y(rect.top() + 26.0), search).changed {
        cx.send(UiCommand::GlossaryQuery(text));
    }
    let list = rect.with_min_y(rect.top() + 34.0);
    if found.is_empty() {
        let row = list.with_max_y(list.top() + ROW);
        text::line(ui, row, Align::Min, t!("glossary-none"), Type::Body, cx.c().text2);
        return;
    }
    // The list follows a term that was opened from elsewhere, once, and stays where a person scrolled to.
    let seen = Id::unique("term that the glossary scrolled to");
    let before: Option<&'static str> = ui.data(|data| data.get_temp(seen));
    let moved = shown.map(|term| term.key) != before;
    if let Some(term) = shown.filter(|_| moved) {
        ui.data_mut(|data| data.insert_temp(seen, term.key));
    }
    scrolled(ui, list, "terms", |ui, area| {
        let whole = Rect::from_min_size(area.min, vec2(area.width(), ROW * found.len() as f32));
        ui.allocate_rect(whole, Sense::hover());
        for (index, term) in found.iter().enumerate() {
            let top = area.top() + ROW * index as f32;
            let row = Rect::from_min_size(pos2(area.left(), top), vec2(area.width() - 4.0, ROW));
            let on = shown.is_some_and(|shown| shown.key == term.key);
            if on {
                ui.painter().rect_filled(row, 4.0, cx.c().accent_bg);
            }
            let button = Button::new(term.word.get()).weight(Weight::Quiet).left().selected(on);
            let response = button.tooltip(t!("glossary-term-tip")).show(ui, cx.theme, row);
            if on && moved {
                response.scroll_to_me(None);
            }
            if response.clicked() {
                cx.send(UiCommand::Glossary(Some(term.key)));
            }
        }
    });
}

fn term_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, term: &Term) {
    let c = cx.c();
    let title = rect.with_max_y(rect.top() + 28.0);
    text::line(ui, title, Align::Min, term.word.get(), Type::Room, c.text);
    text::block(ui, pos2(rect.left(), title.bottom() + 6.0), rect.width(), term.meaning.get(), Type::Body, c.text);
}
