//! Setup: four cards from left to right, the pre-flight below, and the Train button where the eye ends.

pub mod begun;
mod columns;
pub mod data;
pub mod form;
mod gallery;
pub mod keep;
pub mod method;
mod missing;
pub mod model;
pub mod preflight;
mod presets;
pub mod price;
pub mod race;
pub mod remedies;
pub mod train;
mod tree;

use super::PanelCtx;
use super::frame::part;
use crate::commands::{Id, UiCommand};
use crate::state::drop::Target;
use crate::state::setup::Card;
use crate::theme::{Icon, Type, icons};
use crate::widgets::button::Weight;
use crate::widgets::text::{self, Piece};
use crate::widgets::{Button, problem};
use egui::{Align, Color32, Rect, Ui, pos2, vec2};

/// Height of the pre-flight strip.
pub const PREFLIGHT: f32 = 136.0;
const GAP: f32 = 8.0;
/// Height of a room's head with the gap under it.
pub const ROOM_HEAD: f32 = 36.0;

/// Shows the room.
pub fn setup_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    part(ui, "head", Rect::from_min_size(rect.min, vec2(rect.width(), 28.0)), |ui, rect| head(cx, ui, rect));
    let strip = rect.with_min_y(rect.bottom() - PREFLIGHT);
    let area = Rect::from_min_max(pos2(rect.left(), rect.top() + ROOM_HEAD), pos2(rect.right(), strip.top() - GAP));
    let cards = card_rects(area, cx.compact);
    part(ui, "model", cards[0], |ui, rect| model::model_ui(cx, ui, rect));
    part(ui, "data", cards[1], |ui, rect| data::data_ui(cx, ui, rect));
    part(ui, "method", cards[2], |ui, rect| method::method_ui(cx, ui, rect));
    part(ui, "keep", cards[3], |ui, rect| keep::keep_ui(cx, ui, rect));
    part(ui, "preflight", strip, |ui, rect| preflight::preflight_ui(cx, ui, rect));
}

/// Four equal cards: in a row, or two by two in a small window.
#[must_use]
pub fn card_rects(area: Rect, compact: bool) -> [Rect; 4] {
    let (columns, lines) = if compact { (2, 2) } else { (4, 1) };
    let width = ((area.width() - GAP * (columns - 1) as f32) / columns as f32).floor();
    let height = ((area.height() - GAP * (lines - 1) as f32) / lines as f32).floor();
    std::array::from_fn(|index| {
        let (column, line) = (index % columns, index / columns);
        let left = area.left() + column as f32 * (width + GAP);
        let top = area.top() + line as f32 * (height + GAP);
        Rect::from_min_size(pos2(left, top), vec2(width, height))
    })
}

fn head(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let undo = cx.button(ui, Id::Undo);
    let width = undo.width(ui);
    let place = Rect::from_min_size(pos2(rect.right() - width - 34.0, rect.top()), vec2(width, 28.0));
    cx.press(ui, Id::Undo, undo, place);
    let entry = crate::commands::entry(Id::Redo);
    let redo = Button::icon_only(entry.icon, t!("commands-redo")).weight(Weight::Normal).keys(entry.keys(ui.ctx()));
    let second = Rect::from_min_size(pos2(rect.right() - 28.0, rect.top()), vec2(28.0, 28.0));
    cx.press(ui, Id::Redo, redo.enabled(entry.enabled(cx.state)), second);
    let words = rect.with_min_x(rect.left() + 4.0).with_max_x(place.left() - 12.0);
    let note = head_note(cx);
    let title = [Piece(t!("setup-title"), Type::Room, c.text), Piece(&note, Type::Body, c.text2)];
    match &cx.state.setup.dropped {
        None => {
            let end = text::pieces(ui, words, &title);
            begun::begun_ui(cx, ui, words.with_min_x(end + 16.0));
        }
        Some(dropped) => {
            let end = text::pieces(ui, words, &title[..1]);
            dropped_ui(cx, ui, words.with_min_x(end + 16.0), dropped);
        }
    }
}

/// What was just dropped, and the second choice one click away.
fn dropped_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, dropped: &crate::state::drop::Dropped) {
    let c = cx.c();
    text::icon(ui.painter(), pos2(rect.left() + 8.0, rect.center().y), icons::CHECK_CIRCLE, 16.0, c.ok);
    let mut acts: Vec<(&str, &str, UiCommand)> = Vec::new();
    match dropped.other {
        Some(Target::Keep) => {
            acts.push((t!("setup-keep-instead"), t!("setup-keep-instead-tip"), UiCommand::MoveDropped))
        }
        Some(Target::Data) => {
            acts.push((t!("setup-train-instead"), t!("setup-train-instead-tip"), UiCommand::MoveDropped))
        }
        Some(Target::Export) => {
            acts.push((t!("setup-export-instead"), t!("setup-export-instead-tip"), UiCommand::MoveDropped))
        }
        _ => {}
    }
    // Of a drop that changed nothing, or was edited on, it would take another edit back.
    if dropped.is_last_edit(&cx.state.draft) {
        acts.push((t!("commands-undo"), t!("setup-undo-tip"), UiCommand::Undo));
    }
    let width: f32 =
        acts.iter().map(|(label, ..)| Button::new(label).weight(Weight::Link).width(ui) + 14.0).sum::<f32>() + 26.0;
    let words = Rect::from_min_max(pos2(rect.left() + 22.0, rect.top()), pos2(rect.right() - width, rect.bottom()));
    let end = text::pieces(ui, words, &[Piece(&dropped.text, Type::Medium, c.text)]);
    let mut x = end + 14.0;
    for (label, tip, command) in acts {
        let button = Button::new(label).weight(Weight::Link).tooltip(tip);
        let place = Rect::from_min_size(pos2(x, rect.center().y - 10.0), vec2(button.width(ui), 20.0));
        if button.show(ui, cx.theme, place).clicked() {
            cx.send(command);
        }
        x = place.right() + 14.0;
    }
    let close = Rect::from_min_size(pos2(x - 4.0, rect.center().y - 10.0), vec2(20.0, 20.0));
    if Button::icon_only(icons::X, t!("setup-close-note")).show(ui, cx.theme, close).clicked() {
        cx.send(UiCommand::ForgetDropped);
    }
}

fn head_note(cx: &PanelCtx<'_>) -> String {
    let state = cx.state;
    if !state.draft.open {
        let words = if state.drops_work { t!("setup-lead") } else { t!("setup-lead-choose") };
        return words.to_owned();
    }
    // The engine never gives a number twice, also not that of a run in the trash.
    let numbers = state.runs.runs.iter().chain(&state.runs.trashed).map(|row| row.run);
    let next = numbers.max().map_or(1, |newest| newest + 1);
    let saved = match &state.draft.folder {
        _ if !state.draft.is_saved() => t!("setup-saving"),
        Some(_) => t!("setup-saved"),
        None => t!("setup-unsaved"),
    };
    t!("setup-next-run", next = next, saved = saved)
}

/// The mark at the right of a card's head.
#[must_use]
pub fn mark(cx: &PanelCtx<'_>, card: Card, ready: bool, reading: bool) -> Option<(Icon, Color32, &'static str)> {
    let c = cx.c();
    if cx.state.setup.problems.contains_key(&card) {
        Some((icons::X_CIRCLE, c.err, t!("setup-mark-problem")))
    } else if ready {
        Some((icons::CHECK_CIRCLE, c.ok, t!("setup-mark-ready")))
    } else if reading {
        Some((icons::DOTS_THREE, c.text2, t!("setup-mark-reading")))
    } else {
        Some((icons::CIRCLE, c.text3, t!("setup-mark-missing")))
    }
}

/// Shows the problem of a card at the top of `rect`; gives the height it took.
pub fn card_problem(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, card: Card) -> f32 {
    let Some(found) = cx.state.setup.problems.get(&card) else { return 0.0 };
    problem::in_card(ui, cx.theme, rect.min + vec2(0.0, 12.0), rect.width(), found, cx.out) + 20.0
}

/// A section title with a note at the right.
pub fn section(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, title: &str, note: &str) {
    let c = cx.c();
    text::line(ui, row, Align::Min, title, Type::Strong, c.text);
    if !note.is_empty() {
        text::line(ui, row, Align::Max, note, Type::Body, c.text2);
    }
}
