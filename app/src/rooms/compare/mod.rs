//! Compare: the project's runs in a table, and under it, for the chosen ones, curves beside the trade-off of loss and
//! forgetting, settings, a verdict on rows, and the playground.

pub mod ask;
pub mod curves;
pub mod order;
pub mod rows;
pub mod settings;
pub mod table;
pub mod tradeoff;
pub mod verdict;

use super::frame::part;
use super::{PanelCtx, follow_focus};
use crate::commands::UiCommand;
use crate::format;
use crate::plots::chart::Marker;
use crate::screen::Plot;
use crate::state::compare::{CompareAct, Part};
use crate::state::{Room, judged};
use crate::theme::{Theme, Type, icons};
use crate::widgets::button::Weight;
use crate::widgets::{Button, choice, empty, panel, term, text};
use egui::{Align, Color32, Rect, ScrollArea, Sense, Shape, Stroke, Ui, UiBuilder, pos2, vec2};
use temper_protocol::comparison::Verdict;

const GAP: f32 = 8.0;

/// Shows the room.
pub fn compare_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    part(ui, "head", Rect::from_min_size(rect.min, vec2(rect.width(), 28.0)), |ui, rect| head(cx, ui, rect));
    let mut area = rect.with_min_y(rect.top() + 36.0);
    if cx.state.runs.runs.is_empty() && cx.state.runs.trashed.is_empty() {
        part(ui, "empty", area, |ui, rect| nothing(cx, ui, rect));
        return;
    }
    if let Some(verdict) = cx.state.compare.judged.headline() {
        let place = area.with_max_y(area.top() + 36.0);
        part(ui, "strip", place, |ui, rect| strip(cx, ui, rect, &named(verdict)));
        area.set_top(place.bottom() + GAP);
    }
    let height = table::height(cx);
    let runs = area.with_max_y(area.top() + height);
    part(ui, "runs", runs, |ui, rect| table::table_ui(cx, ui, rect));
    let bar = Rect::from_min_size(pos2(area.left(), runs.bottom() + GAP), vec2(area.width(), 28.0));
    part(ui, "parts", bar, |ui, rect| parts_ui(cx, ui, rect));
    let body = area.with_min_y(bar.bottom() + GAP);
    body_ui(cx, ui, body);
}

/// Parts that have a place of their own in this window.
fn parts(cx: &PanelCtx<'_>) -> Vec<Part> {
    let all = [Part::Curves, Part::Tradeoff, Part::Settings, Part::Rows, Part::Ask, Part::Order];
    all.into_iter().filter(|part| cx.compact || *part != Part::Tradeoff).collect()
}

fn parts_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let parts = parts(cx);
    let names: Vec<&str> = parts.iter().map(|part| part.name()).collect();
    let shown = shown_part(cx);
    let chosen = parts.iter().position(|part| *part == shown);
    let width = (choice::segments_width(ui, &names, Type::Body) + 24.0 * names.len() as f32).min(rect.width());
    let place = rect.with_max_x(rect.left() + width);
    let picked = choice::segments(ui, cx.theme, place, t!("compare-view"), &names, chosen);
    if let Some(part) = picked.and_then(|at| parts.get(at)) {
        cx.send(UiCommand::Compare(CompareAct::Part(*part)));
    }
}

/// A large window shows the trade-off beside the curves.
fn shown_part(cx: &PanelCtx<'_>) -> Part {
    match cx.state.compare.part {
        Part::Tradeoff if !cx.compact => Part::Curves,
        part => part,
    }
}

fn curves_panel(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    Plot::Compared.leave_place(ui.ctx(), rect);
    part(ui, "curves", rect, |ui, rect| curves::curves_ui(cx, ui, rect));
}

fn tradeoff_panel(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    Plot::Tradeoff.leave_place(ui.ctx(), rect);
    part(ui, "tradeoff", rect, |ui, rect| tradeoff::tradeoff_ui(cx, ui, rect));
}

fn body_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    match shown_part(cx) {
        Part::Curves if cx.compact => curves_panel(cx, ui, rect),
        Part::Curves => {
            let width = ((rect.width() - GAP) / 2.0).round();
            let left = rect.with_max_x(rect.left() + width);
            curves_panel(cx, ui, left);
            tradeoff_panel(cx, ui, rect.with_min_x(left.right() + GAP));
        }
        Part::Tradeoff => tradeoff_panel(cx, ui, rect),
        Part::Settings => part(ui, "settings", rect, |ui, rect| settings::settings_ui(cx, ui, rect)),
        Part::Rows => {
            let width = (rect.width() * 0.42).round();
            let left = rect.with_max_x(rect.left() + width);
            part(ui, "verdict", left, |ui, rect| verdict::verdict_ui(cx, ui, rect));
            let right = rect.with_min_x(left.right() + GAP);
            part(ui, "rows", right, |ui, rect| rows::rows_ui(cx, ui, rect));
        }
        Part::Ask => part(ui, "playground", rect, |ui, rect| ask::ask_ui(cx, ui, rect)),
        Part::Order => part(ui, "order", rect, |ui, rect| order::order_ui(cx, ui, rect)),
    }
}

fn head(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let title = Rect::from_min_max(pos2(rect.left() + 4.0, rect.top()), rect.max);
    text::line(ui, title, Align::Min, t!("compare-title"), Type::Room, cx.c().text);
}

/// The verdict that matters most in one line: claim, size, interval, test, and the way to the rows.
fn strip(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, verdict: &Verdict) {
    let c = cx.c();
    let clear = verdict.loss.is_clear();
    let (icon, colour, fill) =
        if clear { (icons::CHECK_CIRCLE, c.ok, c.ok_bg) } else { (icons::EQUALS, c.text2, c.card) };
    panel::bordered(ui, rect, fill, if clear { c.ok } else { c.line });
    text::icon(ui.painter(), pos2(rect.left() + 22.0, rect.center().y), icon, 18.0, colour);
    let button = Button::new(t!("compare-show-rows")).weight(Weight::Link).tooltip(t!("compare-claim-tip"));
    let width = button.width(ui);
    let link =
        Rect::from_min_max(pos2(rect.right() - 12.0 - width, rect.top()), pos2(rect.right() - 12.0, rect.bottom()));
    if button.show(ui, cx.theme, link).clicked() {
        cx.send(UiCommand::Compare(CompareAct::Part(Part::Rows)));
    }
    let claim = judged::claim(verdict);
    let [value, low, high] =
        [verdict.points.value, verdict.points.low, verdict.points.high].map(|of| format!("{of:+.1}"));
    let points = t!("compare-strip-points", value = value, low = low, high = high);
    let (right, wrong) = (format::count(verdict.only_b), format::count(verdict.only_a));
    let p = format::p_value(verdict.p_flips);
    let flips = if cx.compact { String::new() } else { t!("compare-strip-flips", right = right, wrong = wrong, p = p) };
    let words = Rect::from_min_max(pos2(rect.left() + 40.0, rect.top()), pos2(link.left() - 12.0, rect.bottom()));
    let pieces = [
        text::Piece(&claim, Type::Strong, c.text),
        text::Piece(&points, Type::Body, c.text),
        text::Piece(&flips, Type::Body, c.text2),
    ];
    text::pieces(ui, words, &pieces);
}

fn nothing(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    panel::surface(ui, cx.theme, rect);
    let area = Rect::from_min_size(rect.min + vec2(24.0, 24.0), vec2(rect.width().min(620.0) - 48.0, 160.0));
    let (going, words) =
        if cx.state.is_training() { (true, t!("compare-empty-running")) } else { (false, t!("compare-empty-lead")) };
    let to_setup = empty::Act {
        label: t!("commands-go-setup"),
        icon: icons::SLIDERS_HORIZONTAL,
        tooltip: t!("watch-none-setup-tip"),
    };
    let to_watch =
        empty::Act { label: t!("commands-go-watch"), icon: icons::CHART_LINE, tooltip: t!("commands-go-watch-help") };
    let act = if going { to_watch } else { to_setup };
    if empty::show(ui, cx.theme, area, icons::SCALES, t!("compare-empty"), words, &[act]).is_some() {
        cx.send(UiCommand::Go(if going { Room::Watch } else { Room::Setup }));
    }
}

/// What stands in a panel that has nothing to show yet.
fn explain(cx: &PanelCtx<'_>, ui: &mut Ui, area: Rect, icon: crate::theme::Icon, title: &str, words: &str) {
    let place = Rect::from_min_max(area.min + vec2(0.0, 12.0), area.max);
    let place = place.with_max_x(place.left() + place.width().min(560.0));
    empty::show(ui, cx.theme, place, icon, title, words, &[]);
}

/// The rows of a table that are in view, and no others: a project may have hundreds of runs, a comparison thousands of
/// rows. `show` gets the place and the number of each.
fn rows_in_view(
    ui: &mut Ui,
    body: Rect,
    salt: &str,
    height: f32,
    count: usize,
    mut show: impl FnMut(&mut Ui, Rect, usize),
) {
    // The scroll bar has its place in the margin of the card.
    let outer = body.with_max_x(body.right() + 7.0);
    let mut child = ui.new_child(UiBuilder::new().id_salt(salt).max_rect(outer));
    child.set_clip_rect(body.expand2(vec2(7.0, 0.0)).intersect(ui.clip_rect()));
    child.spacing_mut().item_spacing = vec2(0.0, 0.0);
    let area = ScrollArea::vertical().id_salt(salt).auto_shrink(false);
    area.show_rows(&mut child, height, count, |ui, range| {
        for index in range {
            let (row, _) = ui.allocate_exact_size(vec2(body.width(), height), Sense::hover());
            show(ui, row, index);
        }
        follow_focus(ui);
    });
    ui.advance_cursor_after_rect(body);
}

/// The colour of a run, the same in each plot and for its whole life.
fn colour_of(theme: &Theme, run: u64) -> Color32 {
    theme.series(series_of(run))
}

/// Its marker: meaning never rests on colour alone.
fn marker_of(run: u64) -> Marker {
    Marker::of_series(series_of(run))
}

fn series_of(run: u64) -> usize {
    (run.saturating_sub(1) % SERIES) as usize
}

/// Colours that runs have in turn.
const SERIES: u64 = 8;

/// Whether its line is dashed: every second eight runs are, which have the colours and markers of the eight before.
fn is_dashed(run: u64) -> bool {
    (run.saturating_sub(1) / SERIES) % 2 == 1
}

/// A run's line and marker, 14 points wide, as in the legend of a plot.
fn swatch(ui: &Ui, theme: &Theme, left_centre: egui::Pos2, run: u64) {
    let colour = colour_of(theme, run);
    let (x, y) = (left_centre.x, left_centre.y.round());
    let stroke = Stroke::new(2.0, colour);
    if is_dashed(run) {
        // So short that pieces are seen on both sides of the marker.
        ui.painter().extend(Shape::dashed_line(&[pos2(x, y), pos2(x + 14.0, y)], stroke, 2.0, 2.0));
    } else {
        ui.painter().hline(x..=x + 14.0, y, stroke);
    }
    crate::plots::chart::marker(ui, pos2(x + 7.0, y), marker_of(run), colour, theme.colours.card);
}

/// The run of a name that the engine gave it, such as `run 7`; nothing for the base.
fn run_of(model: &str) -> Option<u64> {
    model.strip_prefix("run ")?.split(' ').next()?.parse().ok()
}

/// A model's name for a person: the engine says `run 7` and `base`.
fn model_name(model: &str) -> String {
    match run_of(model) {
        Some(run) => t!("common-run", run = run),
        None if model == "base" => t!("compare-base").to_owned(),
        None => model.to_owned(),
    }
}

/// A verdict with names for a person, told from the better one's side.
fn named(verdict: &Verdict) -> Verdict {
    let verdict = judged::oriented(verdict);
    Verdict { a: model_name(&verdict.a), b: model_name(&verdict.b), ..verdict }
}

/// Numbers of runs in a sentence: `3, 6, 7`.
fn list(runs: &[u64]) -> String {
    runs.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

/// A cell of a table in figures, at the right of its column.
fn figure(ui: &mut Ui, place: Rect, words: &str, colour: Color32) {
    text::data(ui, place.with_max_x(place.right() - 6.0), Align::Max, words, Type::Mono, colour);
}

/// The head of a column.
fn column_head(cx: &PanelCtx<'_>, ui: &mut Ui, place: Rect, words: &str, right: bool) {
    let align = if right { Align::Max } else { Align::Min };
    let head = text::data(ui, place.with_max_x(place.right() - 6.0), align, words, Type::Caption, cx.c().text2);
    term::label(ui, cx.theme, head.rect, words, "");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_of_one_colour_and_marker_differ_in_their_line() {
        for run in 1..=SERIES {
            assert_eq!((series_of(run), marker_of(run)), (series_of(run + SERIES), marker_of(run + SERIES)));
            assert_eq!((is_dashed(run), is_dashed(run + SERIES)), (false, true), "runs {run} and {}", run + SERIES);
        }
    }
}
