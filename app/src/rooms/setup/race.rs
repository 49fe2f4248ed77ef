//! The choice of methods for a race, in the card Method: tick two to eight, then start.

use super::method::link_row;
use super::price::{self, Cost};
use crate::commands::{Id, UiCommand, entry};
use crate::format;
use crate::rooms::PanelCtx;
use crate::state::gallery;
use crate::state::race::{RACERS, RaceAct, can_race, rounds, step_of};
use crate::theme::{Type, icons};
use crate::widgets::button::Weight;
use crate::widgets::field::{self, Field};
use crate::widgets::rows::Rows;
use crate::widgets::{Button, choice, text};
use egui::{Align, Rect, Ui, pos2, vec2};
use temper_protocol::MethodCard;

/// Height of a method in the list.
const ROW: f32 = 26.0;

/// The link from the choice of one method to that of several.
pub(super) fn invite_ui(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows) {
    if cx.state.methods.iter().filter(|card| can_race(card)).count() < RACERS.0 {
        return;
    }
    let line = entry(Id::RaceMethods);
    if link_row(cx, ui, lines, t!("race-invite"), (line.name.get(), line.help.get())) {
        cx.send(UiCommand::Race(RaceAct::Choose(true)));
    }
}

/// The list with boxes, what it comes to, and the button that starts the race.
pub(super) fn racers_ui(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows) {
    let c = cx.c();
    let setup = &cx.state.setup;
    let top = pos2(lines.area.left(), lines.y);
    lines.y += text::block(ui, top, lines.area.width(), t!("race-lead"), Type::Body, c.text2) + 6.0;
    // What would be refused for this model cannot be ticked.
    let model = cx.state.model_facts();
    let races = |card: &&MethodCard| can_race(card) && gallery::fits(card, model);
    let all: Vec<&MethodCard> = cx.state.methods.iter().filter(races).collect();
    let hint = t!("method-search-hint", count = all.len());
    let tip = t!("method-search");
    let search = Field {
        hint: &hint,
        icon: Some(icons::MAGNIFYING_GLASS),
        tooltip: tip,
        ..Field::new(t!("method-search"), &setup.method_query)
    };
    if let Some(text) = field::show(ui, cx.theme, lines.next(26.0), search).changed {
        cx.send(UiCommand::MethodQuery(text));
    }
    lines.gap(6.0);
    start_ui(cx, ui, lines);
    let wanted = setup.method_query.to_lowercase();
    let fits = |card: &&MethodCard| {
        wanted.is_empty() || format!("{} {} {}", card.title, card.summary, card.family).to_lowercase().contains(&wanted)
    };
    // Those that are ticked stay in sight, whatever is searched for.
    let is_ticked = |card: &&MethodCard| setup.racers.contains(&card.id);
    let shown = all.into_iter().filter(|card| is_ticked(card) || fits(card));
    let (first, rest): (Vec<&MethodCard>, Vec<&MethodCard>) = shown.partition(is_ticked);
    for card in first {
        racer_ui(cx, ui, lines.next(ROW), card, true);
    }
    for card in rest {
        racer_ui(cx, ui, lines.next(ROW), card, false);
    }
}

/// What the ticked methods come to, and the two buttons.
fn start_ui(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows) {
    let c = cx.c();
    let count = cx.state.setup.racers.len();
    let words = if count < RACERS.0 {
        t!("race-ticked", n = count as u64, count = count)
    } else {
        let all = rounds(count);
        let steps = cx.state.draft.project.train.steps;
        let places: Vec<String> = (1..=all).map(|round| format::count(step_of(round, all, steps))).collect();
        t!("race-rounds", n = all, count = count, rounds = all, steps = places.join(", "))
    };
    let top = pos2(lines.area.left(), lines.y);
    lines.y += text::block(ui, top, lines.area.width(), &words, Type::Body, c.text) + 4.0;
    let row = lines.next(30.0);
    let start = cx.button(ui, Id::StartRace).weight(Weight::Primary).keys(None);
    let width = start.width(ui);
    cx.press(ui, Id::StartRace, start, Rect::from_min_size(row.min, vec2(width, 28.0)));
    let back = Button::new(t!("race-one")).weight(Weight::Link).tooltip(t!("race-one-tip"));
    let width = back.width(ui);
    let place = Rect::from_min_size(pos2(row.right() - width, row.top() + 4.0), vec2(width, 20.0));
    if back.show(ui, cx.theme, place).clicked() {
        cx.send(UiCommand::Race(RaceAct::Choose(false)));
    }
    lines.gap(6.0);
}

fn racer_ui(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, card: &MethodCard, on: bool) {
    let c = cx.c();
    let name = t!("race-tick", name = card.title);
    let mut tip = card.summary.clone();
    if !card.paper.is_empty() {
        tip.push_str(&format!("\n{}", card.paper));
    }
    let response = choice::check_mark(ui, cx.theme, row, &name, on).on_hover_text(tip);
    let figure = match price::cost(cx.state, card) {
        Some(Cost::Counted(count)) => format::parameters(count),
        Some(Cost::Asked | Cost::Measured) | None => String::new(),
    };
    let width = text::width(ui, &figure, Type::Mono);
    if !figure.is_empty() {
        text::line(ui, row, Align::Max, &figure, Type::Mono, c.text2);
    }
    let words = Rect::from_min_max(pos2(row.left() + 22.0, row.top()), pos2(row.right() - width - 8.0, row.bottom()));
    text::data(ui, words, Align::Min, &card.title, Type::Body, c.text);
    if response.clicked() {
        cx.send(UiCommand::Race(RaceAct::Tick(card.id.clone(), !on)));
    }
}
