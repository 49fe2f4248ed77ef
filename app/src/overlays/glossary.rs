//! The glossary: terms at the left, with a search; at the right what the chosen one means, which others belong to it,
//! and in which rooms it is met.

use super::over;
use super::sheets::head;
use crate::commands::UiCommand;
use crate::glossary::{self, TERMS, Term};
use crate::rooms::{PanelCtx, scrolled};
use crate::state::Room;
use crate::theme::{Type, icons};
use crate::widgets::button::Weight;
use crate::widgets::field::{self, Field};
use crate::widgets::{Button, text};
use egui::{Align, Id, Rect, Sense, Ui, pos2, vec2};

/// Height of a term in the list.
const ROW: f32 = 24.0;
/// Width of the list.
const LIST: f32 = 236.0;
/// Height of a button of a related term, and the room between two.
const CHIP: (f32, f32) = (26.0, 8.0);
/// Width of the names of rooms.
const ROOM: f32 = 92.0;
/// Most words of a room that are told.
const MOST_WORDS: usize = 4;

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
    let top = title.bottom() + 6.0;
    let height = text::block(ui, pos2(rect.left(), top), rect.width(), term.meaning.get(), Type::Body, c.text);
    let end = related_ui(cx, ui, rect.with_min_y(top + height + 20.0), term);
    places_ui(cx, ui, rect.with_min_y(end), term);
}

/// Buttons that lead to related terms; gives where the next part begins.
fn related_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, term: &Term) -> f32 {
    let related = glossary::related(term);
    if related.is_empty() {
        return rect.top();
    }
    let head = rect.with_max_y(rect.top() + 20.0);
    text::line(ui, head, Align::Min, t!("glossary-related"), Type::Strong, cx.c().text2);
    let (height, gap) = CHIP;
    let mut corner = pos2(rect.left(), head.bottom() + 6.0);
    for other in related {
        let button = Button::new(other.word.get()).tooltip(t!("glossary-term-tip"));
        let width = button.width(ui);
        if corner.x > rect.left() && corner.x + width > rect.right() {
            corner = pos2(rect.left(), corner.y + height + gap);
        }
        let place = Rect::from_min_size(corner, vec2(width, height));
        if button.show(ui, cx.theme, place).clicked() {
            cx.send(UiCommand::Glossary(Some(other.key)));
        }
        corner.x = place.right() + gap;
    }
    corner.y + height + 20.0
}

/// The rooms in which the term is met, and the words that stand there.
fn places_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, term: &Term) {
    let c = cx.c();
    let places = places(cx, term);
    if places.is_empty() {
        return;
    }
    let head = rect.with_max_y(rect.top() + 20.0);
    text::line(ui, head, Align::Min, t!("glossary-seen"), Type::Strong, c.text2);
    let mut row = head.translate(vec2(0.0, 26.0));
    for (room, words) in &places {
        text::line(ui, row, Align::Min, room.name(), Type::Body, c.text2);
        text::data(ui, row.with_min_x(row.left() + ROOM), Align::Min, words, Type::Body, c.text);
        row = row.translate(vec2(0.0, 22.0));
    }
}

/// Rooms with the words by which they name `term`: heads, rows of forms, settings of the methods that are known.
fn places(cx: &PanelCtx<'_>, term: &Term) -> Vec<(Room, String)> {
    let settings = cx.state.methods.iter().flat_map(|card| &card.settings);
    let about = settings.filter(|setting| term.settings().contains(&setting.key.as_str()));
    let all: Vec<(Room, &str)> =
        term.places().into_iter().chain(about.map(|setting| (Room::Setup, setting.label.as_str()))).collect();
    let of_room = |room: Room| {
        let mut words: Vec<&str> = Vec::new();
        for (_, word) in all.iter().filter(|(other, _)| *other == room) {
            if words.len() < MOST_WORDS && !words.iter().any(|known| known.eq_ignore_ascii_case(word)) {
                words.push(word);
            }
        }
        (!words.is_empty()).then(|| (room, words.join("; ")))
    };
    Room::ALL.into_iter().filter_map(of_room).collect()
}
