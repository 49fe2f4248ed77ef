//! The forgetting meter: loss on kept material minus that of the base, per set, with the budget.

use super::curves::{Swatch, mark_stride, readout_row};
use super::{Axis, plot_menu, plot_places, x_label};
use crate::commands::Id;
use crate::format;
use crate::plots::chart::{self, Chart, Curve, Marker};
use crate::plots::labels::{self, Obstacles};
use crate::plots::retained;
use crate::reader::curves::inside;
use crate::reader::snapshot::{KeptSet, value_at};
use crate::reader::{Measured, RunView, Verdict};
use crate::rooms::PanelCtx;
use crate::rooms::setup::keep::words_of;
use crate::theme::{Theme, Type, icons};
use crate::widgets::rows::Rows;
use crate::widgets::text;
use crate::widgets::{bar, empty, panel};
use egui::{Align, Rect, Stroke, Ui, pos2, vec2};

/// Series colour of kept set `index`: green, purple, yellow, blue, then the rest.
#[must_use]
pub fn series_of(index: usize) -> usize {
    [2, 3, 4, 6, 5, 1, 0, 7].get(index % 8).copied().unwrap_or(7)
}

fn plus(value: f64, decimals: usize) -> String {
    let text = format!("{value:+.decimals$}");
    if value.abs() < 1e-12 { text.trim_start_matches(['+', '-']).to_owned() } else { text }
}

/// Shows the panel.
pub fn kept_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, view: &RunView, axis: &Axis) {
    let note = if cx.compact { t!("watch-kept-note-short") } else { t!("watch-kept-note") };
    let (head, inside) = panel::titled(ui, cx.theme, rect, t!("watch-forgetting"), note);
    let budget = view.settings.as_ref().map_or(f64::NAN, |settings| settings.keep.budget_nats);
    if view.kept.iter().all(|set| set.delta.is_empty()) {
        nothing(cx, ui, inside, view);
        return;
    }
    let head = plot_menu(
        cx,
        ui,
        head,
        t!("watch-forgetting-menu"),
        &[Id::ForgettingTable, Id::SaveForgetting, Id::ForgettingPicture, Id::ForgettingVector],
    );
    standing(cx, ui, head, view, budget);
    let (plot, column) = plot_places(rect, 32.0, 24.0, cx.compact);
    plot_kept(cx, ui, plot, view, axis, budget);
    readout(cx, ui, column, view, axis);
}

/// The verdict in the head, with the step it is from: nothing is called kept before it was measured.
fn standing(cx: &PanelCtx<'_>, ui: &mut Ui, head: Rect, view: &RunView, budget: f64) {
    let c = cx.c();
    let ended = !view.row.is_active();
    let measured = Measured::of(view);
    let verdict = measured.verdict(budget, view.row.steps, ended);
    let step = if let Measured::After { step, .. } = measured { step } else { 0 };
    let at = format::count(step);
    let (icon, word, colour, area) = match verdict {
        Verdict::NotMeasured if ended => (icons::WARNING, t!("watch-never-measured").to_owned(), c.warn, c.warn_bg),
        Verdict::NotMeasured => (icons::DOTS_THREE, t!("frame-not-measured").to_owned(), c.text2, c.raised),
        Verdict::Within => (icons::CHECK_CIRCLE, t!("watch-within", at = at), c.ok, c.ok_bg),
        Verdict::Stale => (icons::WARNING, t!("watch-stale", at = at), c.warn, c.warn_bg),
        Verdict::Over => (icons::WARNING, t!("watch-over", at = at), c.err, c.err_bg),
        Verdict::NoNumber => (icons::X_CIRCLE, t!("watch-no-number", at = at), c.err, c.err_bg),
    };
    let width = bar::chip_width(ui, Some(icon), &word);
    if head.width() <= width {
        return;
    }
    let left = pos2(head.right() - width, head.center().y);
    bar::chip(ui, left, Some(icon), &word, colour, area);
    let place = Rect::from_min_size(left - vec2(0.0, 10.0), vec2(width, 20.0));
    ui.allocate_rect(place, egui::Sense::hover()).on_hover_text(standing_words(view, verdict, step));
}

/// The verdict in a sentence: what was measured when, and what was not.
fn standing_words(view: &RunView, verdict: Verdict, step: u64) -> String {
    let every = view.settings.as_ref().map_or(0, |settings| settings.keep.every_steps);
    let rhythm = match every {
        0 => t!("watch-rhythm-end").to_owned(),
        every => t!("watch-rhythm", n = every, every = format::count(every)),
    };
    let (steps, at) = (format::count(view.row.steps), format::count(step));
    let words = match verdict {
        Verdict::NotMeasured if view.row.is_active() => {
            return t!("watch-only-base", rhythm = rhythm);
        }
        Verdict::NotMeasured => {
            return t!("watch-only-base-ended", steps = steps, rhythm = rhythm);
        }
        Verdict::Stale => {
            t!("watch-stale-words", at = at, steps = steps, last = format::count(view.row.steps.saturating_sub(step)))
        }
        Verdict::NoNumber => t!("watch-no-number-words", at = at),
        Verdict::Within | Verdict::Over => t!("watch-measured-at", at = at, rhythm = rhythm),
    };
    match at_best(view) {
        Some((step, nats)) => {
            let best = t!("watch-kept-best-words", step = format::count(step), nats = format::signed_nats(nats));
            format!("{words} {best}")
        }
        None => words,
    }
}

fn nothing(cx: &PanelCtx<'_>, ui: &mut Ui, inside: Rect, view: &RunView) {
    let kept = view.settings.as_ref().is_some_and(|settings| !settings.keep.probes.is_empty());
    let (title, words) = if kept {
        (t!("watch-not-measured"), t!("watch-not-measured-lead"))
    } else {
        (t!("watch-nothing-kept"), t!("watch-nothing-kept-lead"))
    };
    empty::show(ui, cx.theme, inside, icons::SHIELD_CHECK, title, words, &[]);
}

fn plot_kept(cx: &PanelCtx<'_>, ui: &mut Ui, plot: Rect, view: &RunView, axis: &Axis, budget: f64) {
    let theme = cx.theme;
    let c = cx.c();
    let seen = view.kept.iter().flat_map(|set| set.delta.iter().map(|point| point.y));
    let seen = seen
        .filter(|value| value.is_finite())
        .fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    let top = seen.1.max(if budget.is_finite() { budget * 1.35 } else { 0.01 });
    let span = (top - seen.0).max(1e-3);
    let y = (seen.0 - span * 0.12, top + span * 0.05);
    let curves: Vec<Curve<'_>> = view
        .kept
        .iter()
        .enumerate()
        .map(|(index, set)| Curve {
            name: &set.name,
            points: &set.delta,
            colour: theme.series(series_of(index)),
            width: 1.5,
            dashed: false,
        })
        .collect();
    let sentence = match Measured::of(view) {
        Measured::After { step, worst_nats } => t!(
            "watch-worst-sentence",
            nats = format::signed_nats(worst_nats),
            step = format::count(step),
            budget = format::signed_nats(budget)
        ),
        Measured::OnBase | Measured::Never => t!("watch-only-base-sentence").to_owned(),
    };
    let chart = Chart {
        name: t!("watch-forgetting"),
        sentence: &sentence,
        x: axis.range,
        y,
        y_ticks: 5,
        y_values: &[],
        log_y: false,
        y_label: plus,
        x_labels: true,
        x_label: x_label(view.request.x),
        curves: &curves,
        behind: &[],
    };
    let shown = chart::show(ui, theme, plot, &chart);
    if budget.is_finite() {
        budget_line(cx, ui, &shown, view, axis, budget);
    }
    let zero = shown.y(0.0).round() + 0.5;
    ui.painter().hline(plot.x_range(), zero, Stroke::new(1.0, c.line2));
    for (index, set) in view.kept.iter().enumerate() {
        let series = series_of(index);
        let measured = inside(&set.delta, axis.range);
        let marked = measured.iter().rev().step_by(mark_stride(measured.len(), plot.width()));
        let places = marked.map(|point| shown.at(point.x, point.y)).collect();
        let marker = Marker::of_series(series);
        chart::markers(ui, ("kept", index), places, marker, theme.series(series), c.plot);
    }
    axis.lines(ui, theme, &shown, view.row.is_active());
    axis.take(cx, ui, view, &shown);
}

fn budget_line(cx: &PanelCtx<'_>, ui: &mut Ui, shown: &chart::Shown, view: &RunView, axis: &Axis, budget: f64) {
    let (theme, c, plot) = (cx.theme, cx.c(), shown.rect);
    let y = shown.y(budget).round() + 0.5;
    if y > plot.bottom() {
        return;
    }
    let zone = Rect::from_min_max(plot.min, pos2(plot.right(), y.max(plot.top())));
    ui.painter().rect_filled(zone, 0.0, Theme::fade(c.err, theme.shares.over_budget));
    let line = [pos2(plot.left(), y), pos2(plot.right(), y)];
    retained::dashed(ui, "budget", line, Stroke::new(1.5, c.err), (5.0, 3.0));
    let words = t!("watch-budget-line", budget = format::signed_nats(budget));
    let size = vec2(text::width(ui, &words, Type::Caption).ceil(), 14.0);
    let curves: Vec<&[egui_plot::PlotPoint]> = view.kept.iter().map(|set| set.delta.as_slice()).collect();
    let mut obstacles = Obstacles { shown, curves: &curves, taken: axis.kept_clear(shown, view.row.is_active()) };
    if let Some(label) = obstacles.place(labels::along(plot, y, size)) {
        text::line(ui, label, Align::Min, &words, Type::Caption, c.err);
    }
}

fn readout(cx: &PanelCtx<'_>, ui: &mut Ui, column: Rect, view: &RunView, axis: &Axis) {
    let theme = cx.theme;
    let mut lines = Rows::new(column);
    let at = axis.reading();
    measured_head(cx, ui, lines.next(18.0), view, at);
    for (index, set) in view.kept.iter().enumerate() {
        if lines.left() < 20.0 {
            return;
        }
        let series = series_of(index);
        let value = delta_at(view, set, at).map_or_else(|| format::UNKNOWN.to_owned(), format::signed_nats);
        let swatch = Swatch::Line(theme.series(series), Marker::of_series(series));
        let name = words_of(&set.name);
        let row = lines.next(20.0);
        readout_row(ui, theme, row, swatch, &name, &value);
    }
    if lines.left() < 44.0 {
        return;
    }
    lines.gap(3.0);
    ui.painter().hline(column.x_range(), lines.y, Stroke::new(1.0, cx.c().line));
    lines.gap(3.0);
    let Some(worst) = worst_set(view, at) else { return };
    let known = delta_at(view, worst, at).is_some();
    let kl = value_at(&worst.kl, at).filter(|_| known).map_or_else(|| format::UNKNOWN.to_owned(), format::nats);
    readout_row(ui, theme, lines.next(18.0), Swatch::Nothing, t!("watch-kl"), &kl);
    let flips = value_at(&worst.flips, at).filter(|_| known).unwrap_or(f64::NAN);
    let row = lines.next(18.0);
    readout_row(ui, theme, row, Swatch::Nothing, t!("watch-flips"), &format::percent(flips));
    if worst.positions > 0 && flips.is_finite() {
        let wrong = format::count((flips * worst.positions as f64).round() as u64);
        let words = t!("watch-flips-tip", wrong = wrong, positions = format::count(worst.positions));
        ui.allocate_rect(row, egui::Sense::hover()).on_hover_text(words);
    }
    if let Some((_, nats)) = at_best(view).filter(|_| lines.left() >= 18.0) {
        let row = lines.next(18.0);
        readout_row(ui, theme, row, Swatch::Nothing, t!("watch-kept-best"), &format::signed_nats(nats));
    }
}

/// What the best checkpoint had forgotten: the worst set at the last measurement up to the best step. That is what leaves
/// the house, whatever was forgotten later. Nothing where only the base was measured by then, or a set has no number.
fn at_best(view: &RunView) -> Option<(u64, f64)> {
    let step = Some(view.row.best_step).filter(|step| *step > 0)?;
    let place = view.map.place(step as f64);
    let worst = worst_set(view, place)?;
    let trained = inside(&worst.delta, (view.map.place(0.0), place)).last()?.x > view.map.place(0.0);
    if !trained || view.kept.iter().any(|set| no_number(view, set, place)) {
        return None;
    }
    value_at(&worst.delta, place).filter(|nats| nats.is_finite()).map(|nats| (step, nats))
}

/// Whether a set's newest measurement was made up to `at` and gave no number: the curve ends before it.
fn no_number(view: &RunView, set: &KeptSet, at: f64) -> bool {
    set.newest.is_some_and(|(step, value)| !value.is_finite() && view.map.place(step as f64) <= at + 1e-9)
}

/// Loss minus base of a set as it was measured last at `at`; nothing before the first measurement, or when it gave no
/// number.
fn delta_at(view: &RunView, set: &KeptSet, at: f64) -> Option<f64> {
    if no_number(view, set, at) { None } else { value_at(&set.delta, at) }
}

/// "at step 350": the step of the measurement that the values are from, which is not always the step looked at.
fn measured_head(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, view: &RunView, at: f64) {
    let c = cx.c();
    let drawn = view.kept.iter().filter_map(|set| set.delta.iter().rev().find(|point| point.x <= at + 1e-9));
    let newest = view.kept.iter().filter_map(|set| set.newest).map(|(step, _)| view.map.place(step as f64));
    let known = drawn.map(|point| point.x).chain(newest.filter(|place| *place <= at + 1e-9));
    let place = known.fold(f64::NAN, f64::max);
    text::line(ui, row, Align::Max, t!("common-nats"), Type::Caption, c.text2);
    if !place.is_finite() {
        return;
    }
    let step = view.map.step(place).round().max(0.0) as u64;
    if step == 0 {
        text::line(ui, row, Align::Min, t!("watch-the-base"), Type::Caption, c.text2);
        return;
    }
    let figure = format::count(step);
    let pieces =
        [text::Piece(t!("watch-at-step"), Type::Caption, c.text2), text::Piece(&figure, Type::MonoCaption, c.text)];
    text::pieces(ui, row, &pieces);
}

/// The set that forgot most at `at`.
fn worst_set(view: &RunView, at: f64) -> Option<&KeptSet> {
    let value = |set: &&KeptSet| delta_at(view, set, at).unwrap_or(f64::NEG_INFINITY);
    view.kept.iter().max_by(|a, b| value(a).total_cmp(&value(b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use egui_plot::PlotPoint;

    #[test]
    fn the_best_checkpoint_forgot_what_was_measured_up_to_it() {
        let set = |points: &[(f64, f64)]| KeptSet {
            delta: points.iter().map(|(x, y)| PlotPoint::new(*x, *y)).collect(),
            ..KeptSet::default()
        };
        let kept = vec![set(&[(0.0, 0.0), (40.0, 0.02), (60.0, 0.09)]), set(&[(0.0, 0.0), (40.0, 0.03), (60.0, 0.01)])];
        let mut view = RunView { kept, ..RunView::default() };
        assert_eq!(at_best(&view), None, "no validation, no best");
        view.row.best_step = 50;
        assert_eq!(at_best(&view), Some((50, 0.03)));
        view.row.best_step = 60;
        assert_eq!(at_best(&view), Some((60, 0.09)));
        view.row.best_step = 30;
        assert_eq!(at_best(&view), None, "the base alone says nothing about what is forgotten");
        view.row.best_step = 80;
        view.kept[1].newest = Some((80, f64::NAN));
        assert_eq!(at_best(&view), None, "a set that is no number hides nothing");
        assert_eq!(delta_at(&view, &view.kept[1], 79.0), Some(0.01));
        assert_eq!(delta_at(&view, &view.kept[1], 80.0), None);
        view.kept.clear();
        assert_eq!(at_best(&view), None);
    }
}
