//! A race of methods: its head, and one lane for each method with loss, difference to the leader and what became of it.
//!
//! Place in the data flow: drawn instead of a run while [`crate::state::race::is_shown`]; the lanes are made in each
//! frame of what the rounds said and of the store's runs. The curves under them are in [`super::race_plot`].

use super::GAP;
use super::race_plot::plot_panel;
use crate::commands::{Id, UiCommand, entry};
use crate::format;
use crate::plots::chart::{self, Marker};
use crate::rooms::frame::part;
use crate::rooms::{PanelCtx, scrolled};
use crate::screen::Plot;
use crate::state::State;
use crate::state::race::{End, Fate, Lane, Race, RaceAct, is_clear, lanes, step_of};
use crate::theme::{Icon, Theme, Type, icons};
use crate::widgets::button::Weight;
use crate::widgets::rows::{self, Rows};
use crate::widgets::text::Piece;
use crate::widgets::{Button, bar, panel, term, text};
use egui::{Align, Color32, Rect, Sense, Stroke, Ui, pos2, vec2};

/// Height of a lane.
const LANE: f32 = 30.0;
/// Height of the panel of lanes without them: its head, the head of the table, the sentence.
const AROUND: f32 = 86.0;
/// Columns of the lanes as shares of the width: method, run, loss, difference, steps, time of a step, what became of
/// it, and the way into the form.
const COLUMNS: [(f32, f32); 8] =
    [(0.0, 0.19), (0.19, 0.27), (0.27, 0.36), (0.36, 0.52), (0.52, 0.6), (0.6, 0.7), (0.7, 0.93), (0.93, 1.0)];

/// Shows the race.
pub(super) fn race_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let Some(race) = &cx.state.race else { return };
    let lanes = lanes(cx.state);
    part(ui, "head", Rect::from_min_size(rect.min, vec2(rect.width(), 28.0)), |ui, rect| head(cx, ui, rect, race));
    let area = rect.with_min_y(rect.top() + 36.0);
    let height = (AROUND + LANE * lanes.len() as f32).min(area.height() * 0.56).round();
    let top = area.with_max_y(area.top() + height);
    part(ui, "lanes", top, |ui, rect| lanes_ui(cx, ui, rect, race, &lanes));
    let plot = area.with_min_y(top.bottom() + GAP);
    part(ui, "race", plot, |ui, rect| {
        Plot::Race.leave_place(ui.ctx(), rect);
        plot_panel(cx, ui, rect, race, &lanes);
    });
}

/// Title of a method for a person.
pub(crate) fn title_of<'a>(state: &'a State, method: &'a str) -> &'a str {
    let card = state.methods.iter().find(|card| card.id == method);
    card.map_or(method, |card| card.title.as_str())
}

/// The state of the race: icon, word, colour and area.
fn state_of(cx: &PanelCtx<'_>, race: &Race) -> (Icon, String, Color32, Color32) {
    let c = cx.c();
    match &race.end {
        None => {
            let round = race.rounds.len() as u64 + 1;
            let words = t!("race-round", round = round.min(race.round_count()), rounds = race.round_count());
            (icons::CIRCLE_FILL, words, c.accent, c.accent_bg)
        }
        Some(End::Whole) => (icons::CHECK_CIRCLE, t!("words-finished").to_owned(), c.ok, c.ok_bg),
        Some(End::Stopped) => (icons::STOP, t!("race-stopped").to_owned(), c.warn, c.warn_bg),
        Some(End::Failed(_)) => (icons::X_CIRCLE, t!("race-failed").to_owned(), c.err, c.err_bg),
    }
}

fn head(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, race: &Race) {
    let c = cx.c();
    let mut right = rect.right();
    let going = race.end.is_none();
    let ids: &[Id] = if going { &[Id::StopRace] } else { &[Id::UseWinner] };
    for id in ids {
        let mut button = cx.button(ui, *id).keys(None);
        if *id == Id::UseWinner {
            button = button.weight(Weight::Primary);
        }
        let width = button.width(ui);
        let place = Rect::from_min_size(pos2(right - width, rect.top()), vec2(width, 28.0));
        cx.press(ui, *id, button, place);
        right = place.left() - 6.0;
    }
    let past = entry(Id::PastRaces);
    if !cx.state.races.kept.is_empty() {
        let button = Button::icon_only(past.icon, past.name.get()).tooltip(past.help.get()).weight(Weight::Normal);
        let place = Rect::from_min_size(pos2(right - 28.0, rect.top()), vec2(28.0, 28.0));
        cx.press(ui, Id::PastRaces, button, place);
        right = place.left() - 6.0;
    }
    if cx.state.runs.view.is_some() {
        let button = Button::new(t!("race-to-run")).icon(icons::CHART_LINE).tooltip(t!("race-to-run-tip"));
        let width = button.width(ui);
        let place = Rect::from_min_size(pos2(right - width, rect.top()), vec2(width, 28.0));
        if button.show(ui, cx.theme, place).clicked() {
            cx.send(UiCommand::Race(RaceAct::Show(false)));
        }
        right = place.left() - 6.0;
    }
    let title = Rect::from_min_max(pos2(rect.left() + 4.0, rect.top()), pos2(right, rect.bottom()));
    // One of several is told apart by its number.
    let name = race.number.map_or_else(|| t!("race-title").to_owned(), |number| t!("race-name", number = number));
    let x = text::pieces(ui, title, &[Piece(&name, Type::Room, c.text)]) + 12.0;
    let (icon, word, colour, area) = state_of(cx, race);
    let x = x + bar::chip(ui, pos2(x, rect.center().y), Some(icon), &word, colour, area) + 12.0;
    let words = Rect::from_min_max(pos2(x, rect.top()), pos2(right - 12.0, rect.bottom()));
    if words.width() > 80.0 {
        let all = race.round_count();
        let steps: Vec<String> = (1..=all).map(|round| format::count(step_of(round, all, race.steps))).collect();
        let what = t!("race-plan", n = all, steps = steps.join(", "));
        text::data(ui, words, Align::Min, &what, Type::Body, c.text2);
    }
}

/// How the race stands, in a sentence.
pub(super) fn sentence(state: &State, race: &Race) -> String {
    if let Some(End::Failed(problem)) = &race.end {
        return t!("race-failed-because", why = problem.what);
    }
    let Some(round) = race.rounds.last() else {
        return match race.running() {
            Some((method, step)) => {
                t!("race-first-round", method = title_of(state, method), step = format::count(step))
            }
            None if race.end.is_some() => t!("race-nothing-known").to_owned(),
            None => t!("race-begins").to_owned(),
        };
    };
    let Some(leader) = race.leader() else { return t!("race-nothing-known").to_owned() };
    let best = title_of(state, &leader.method);
    let loss = format::nats(leader.loss);
    let step = format::count(round.step);
    let mut words = if race.winner().is_some() {
        t!("race-won", method = best, loss = loss, step = step)
    } else {
        t!("race-leads", round = round.round, rounds = round.rounds, step = step, method = best, loss = loss)
    };
    let second = round.standings.iter().find(|one| one.method != leader.method && one.difference.is_finite());
    if let Some(second) = second {
        let (by, band) = (format::signed_nats(second.difference), format!("{:.3}", second.band));
        let name = title_of(state, &second.method);
        words.push(' ');
        words.push_str(&if is_clear(second.difference, second.band) {
            t!("race-second-clear", method = name, by = by, band = band)
        } else {
            t!("race-second-near", method = name, by = by, band = band)
        });
    }
    words
}

fn lanes_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, race: &Race, lanes: &[Lane]) {
    let c = cx.c();
    let (_, inside) = panel::titled(ui, cx.theme, rect, t!("race-lanes"), t!("race-lanes-note"));
    let words = sentence(cx.state, race);
    let foot = Rect::from_min_max(pos2(inside.left(), rect.bottom() - 28.0), pos2(inside.right(), rect.bottom() - 6.0));
    text::data(ui, foot, Align::Min, &words, Type::Body, c.text2);
    let head = inside.with_max_y(inside.top() + 22.0);
    rows::table_head(ui, cx.theme, head, panel::MARGIN);
    let names = [
        t!("common-method"),
        t!("compare-col-run"),
        t!("common-loss"),
        t!("race-difference"),
        t!("common-steps"),
        t!("race-pace"),
        t!("race-fate"),
    ];
    for (index, ((from, to), name)) in COLUMNS.iter().zip(names).enumerate() {
        let place = cell(head, *from, *to);
        let align = if is_figure(index) { Align::Max } else { Align::Min };
        let head = text::data(ui, place, align, name, Type::Caption, c.text2);
        term::label(ui, cx.theme, head.rect, name, "");
    }
    let body = Rect::from_min_max(pos2(inside.left(), head.bottom()), pos2(inside.right(), foot.top()));
    scrolled(ui, body, "lanes", |ui, area| {
        let mut lines = Rows::new(area);
        for lane in lanes {
            lane_ui(cx, ui, lines.next(LANE), race, lane);
        }
        ui.allocate_rect(Rect::from_min_max(area.min, pos2(area.right(), lines.y)), Sense::hover());
    });
}

/// Loss, difference, steps and time are figures, at the right of their column.
const fn is_figure(column: usize) -> bool {
    matches!(column, 2..=5)
}

fn cell(row: Rect, from: f32, to: f32) -> Rect {
    let place = rows::column(row, from, to);
    place.with_max_x(place.right() - 10.0)
}

/// The line and the marker of a method, the same in each plot of the race.
pub(super) fn look_of(theme: &Theme, lane: &Lane) -> (Color32, Marker) {
    (theme.series(lane.series), Marker::of_series(lane.series))
}

fn lane_ui(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, race: &Race, lane: &Lane) {
    let c = cx.c();
    rows::underline(ui, cx.theme, row);
    let place = |index: usize| {
        let (from, to) = COLUMNS.get(index).copied().unwrap_or_default();
        cell(row, from, to)
    };
    let gone = matches!(lane.fate, Fate::Behind(..) | Fate::NoNumber(_) | Fate::Refused(_));
    let colour = if gone { c.text2 } else { c.text };
    let name = place(0);
    let (line, mark) = look_of(cx.theme, lane);
    ui.painter().hline(name.left()..=name.left() + 14.0, row.center().y.round(), Stroke::new(2.0, line));
    chart::marker(ui, pos2(name.left() + 7.0, row.center().y.round()), mark, line, c.card);
    let title = title_of(cx.state, &lane.method);
    text::data(ui, name.with_min_x(name.left() + 22.0), Align::Min, title, Type::Medium, colour);
    if let Some(run) = lane.run {
        let label = t!("common-run", run = run);
        let button = Button::new(&label).weight(Weight::Link).tooltip(t!("race-watch-run"));
        let at = place(1);
        let width = button.width(ui).min(at.width());
        let at = Rect::from_min_size(pos2(at.left(), row.center().y - 10.0), vec2(width, 20.0));
        if button.show(ui, cx.theme, at).clicked() {
            cx.send(UiCommand::Watch(run));
        }
    }
    if lane.removed {
        text::data(ui, place(1), Align::Min, t!("race-run-removed"), Type::Body, c.text2);
    }
    let figures = [format::nats(lane.loss), behind(lane), format::count(lane.steps), pace(lane.step_secs)];
    for (index, figure) in figures.iter().enumerate() {
        text::data(ui, place(index + 2), Align::Max, figure, Type::Mono, colour);
    }
    let (icon, words, tint) = fate_words(cx, race, lane);
    let fate = place(6);
    text::icon(ui.painter(), pos2(fate.left() + 8.0, row.center().y), icon, 15.0, tint);
    text::data(ui, fate.with_min_x(fate.left() + 22.0), Align::Min, &words, Type::Body, colour);
    if !matches!(lane.fate, Fate::Refused(_)) {
        let name = t!("race-use-named", method = title);
        let button = Button::new(t!("race-use")).weight(Weight::Link).name(&name).tooltip(t!("race-use-tip"));
        let width = button.width(ui);
        let at = Rect::from_min_size(pos2(row.right() - width, row.center().y - 10.0), vec2(width, 20.0));
        if button.show(ui, cx.theme, at).clicked() {
            cx.send(UiCommand::Race(RaceAct::Use(lane.method.clone())));
        }
    }
}

/// The difference to the leader with its band.
pub(super) fn behind(lane: &Lane) -> String {
    difference_words(lane.difference, lane.band)
}

/// A difference with half of the width of its band; the leader has none.
pub(super) fn difference_words(difference: f64, band: f64) -> String {
    if !difference.is_finite() {
        format::UNKNOWN.to_owned()
    } else if difference == 0.0 {
        t!("race-leader").to_owned()
    } else if band.is_finite() {
        format!("{} ± {band:.3}", format::signed_nats(difference))
    } else {
        format::signed_nats(difference)
    }
}

/// Seconds of a step.
fn pace(secs: f64) -> String {
    if !secs.is_finite() {
        format::UNKNOWN.to_owned()
    } else if secs < 1.0 {
        format!("{:.0} ms", secs * 1000.0)
    } else {
        format!("{secs:.1} s")
    }
}

/// What became of a method: icon, words and colour of the icon.
fn fate_words(cx: &PanelCtx<'_>, race: &Race, lane: &Lane) -> (Icon, String, Color32) {
    let c = cx.c();
    match &lane.fate {
        Fate::Runs => {
            let round = race.rounds.len() as u64 + 1;
            let all = race.round_count();
            let until = format::count(step_of(round.min(all), all, race.steps));
            (icons::CIRCLE_FILL, t!("race-runs", step = format::count(lane.steps), until = until), c.accent)
        }
        Fate::Waits => (icons::DOTS_THREE, t!("race-waits").to_owned(), c.text2),
        Fate::Rests => (icons::CHECK, t!("race-rests").to_owned(), c.text2),
        Fate::Behind(round, step) => {
            let words = t!("race-behind", round = *round, step = format::count(*step));
            (icons::MINUS_BOLD, words, c.text2)
        }
        Fate::NoNumber(round) => (icons::WARNING, t!("race-no-number", round = *round), c.warn),
        Fate::Refused(why) => (icons::PROHIBIT, t!("race-refused", why = why), c.err),
        Fate::Won => (icons::TROPHY, t!("race-winner").to_owned(), c.ok),
        Fate::Open => (icons::EQUALS, t!("race-open").to_owned(), c.text2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_has_its_band_and_the_leader_has_none() {
        assert_eq!(difference_words(0.0, 0.0), "leader");
        assert_eq!(difference_words(0.0123, 0.004), "+0.012 ± 0.004");
        assert_eq!(difference_words(0.5, f64::NAN), "+0.500", "one row has no band");
        assert_eq!(difference_words(f64::NAN, f64::NAN), format::UNKNOWN);
        assert_eq!([pace(f64::NAN), pace(0.0412), pace(2.07)], [format::UNKNOWN, "41 ms", "2.1 s"]);
    }
}
