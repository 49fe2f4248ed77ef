//! Loss over forgetting, the size of the adapter as area: which runs no other run beats in both.

use super::{colour_of, explain, figure, list};
use crate::commands::{Id, UiCommand};
use crate::format;
use crate::plots::chart::{self, Chart, Shown};
use crate::plots::labels::{self, Obstacles};
use crate::plots::ticks;
use crate::rooms::PanelCtx;
use crate::rooms::watch::{plot_menu, plot_places};
use crate::state::compare::CompareAct;
use crate::state::compared::{self, Place};
use crate::theme::{Theme, Type, icons};
use crate::widgets::rows::{self, Rows};
use crate::widgets::{Button, panel, text};
use egui::{Align, Rect, Shape, Stroke, Ui, pos2, vec2};
use egui_plot::PlotPoint;

/// Radius of the largest circle, points.
const LARGEST: f32 = 12.0;
/// Radius below which a circle could not be seen.
const SMALLEST: f32 = 4.0;
/// Up to so many runs each has its name beside it.
const MOST_NAMES: usize = 24;
/// Height of a row of the table.
const ROW: f32 = 24.0;

/// Shows the panel.
pub fn tradeoff_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let (head, inside) = panel::titled(ui, cx.theme, rect, t!("compare-tradeoff"), t!("compare-area"));
    let on = cx.state.compare.tradeoff_table;
    let ids = [Id::CopyTradeoff, Id::SaveTradeoff, Id::TradeoffPng, Id::TradeoffSvg];
    let head = plot_menu(cx, ui, head, t!("compare-tradeoff-menu"), &ids);
    let place = Rect::from_min_size(pos2(head.right() - 20.0, head.top() + 4.0), vec2(20.0, 20.0));
    let name = if on { t!("compare-show-plot") } else { t!("watch-show-table") };
    if Button::icon_only(icons::TABLE, name).selected(on).show(ui, cx.theme, place).clicked() {
        cx.send(UiCommand::Compare(CompareAct::TradeoffTable(!on)));
    }
    let places = compared::places(cx.state);
    if places.is_empty() {
        explain(cx, ui, inside, icons::SCALES, t!("compare-no-tradeoff"), t!("compare-no-tradeoff-lead"));
        return;
    }
    let front = compared::front(&places);
    let mut runs: Vec<u64> = front.iter().map(|place| place.run).collect();
    runs.sort_unstable();
    let sentence = t!("compare-front", n = runs.len() as u64, runs = list(&runs));
    if on {
        table_ui(cx, ui, inside, &places, &runs);
        return;
    }
    let (plot, column) = plot_places(rect, 32.0, 64.0, cx.compact);
    plot_ui(cx, ui, plot, (&places, &front), &sentence);
    key(cx, ui, column, &places);
    let axis = Rect::from_min_max(pos2(plot.left(), plot.bottom() + 18.0), pos2(plot.right(), plot.bottom() + 36.0));
    text::data(ui, axis, Align::Center, t!("compare-forgetting-axis"), Type::Caption, cx.c().text2);
    let row = Rect::from_min_max(pos2(inside.left(), rect.bottom() - 26.0), pos2(inside.right(), rect.bottom() - 6.0));
    text::data(ui, row, Align::Min, &sentence, Type::Body, cx.c().text2);
}

fn radius(mib: f64, most: f64) -> f32 {
    if most > 0.0 { (LARGEST * (mib / most).max(0.0).sqrt() as f32).max(SMALLEST) } else { SMALLEST }
}

fn plot_ui(cx: &PanelCtx<'_>, ui: &mut Ui, plot: Rect, (places, front): (&[Place], &[Place]), sentence: &str) {
    let c = cx.c();
    let budget = cx.state.compared().first().map_or(f64::NAN, |row| compared::budget_of(cx.state, row.run));
    let forgetting = places.iter().map(|place| place.forgetting);
    let x = ticks::range(forgetting.chain([0.0, budget])).unwrap_or((0.0, 1.0));
    let y = ticks::range(places.iter().map(|place| place.loss)).unwrap_or((0.0, 1.0));
    // Circles at the edge are seen whole.
    let air = (y.1 - y.0) * 0.08;
    let chart = Chart {
        name: t!("compare-tradeoff"),
        sentence,
        x,
        y: (y.0 - air, y.1 + air),
        y_ticks: 5,
        y_values: &[],
        log_y: false,
        y_label: ticks::decimals,
        x_labels: true,
        x_label: format::signed_nats,
        curves: &[],
        behind: &[],
    };
    let shown = chart::show(ui, cx.theme, plot, &chart);
    let inside = ui.painter().with_clip_rect(plot.intersect(ui.clip_rect()));
    let limit = shown.x(budget);
    if limit.is_finite() && limit < plot.right() {
        let zone = plot.with_min_x(limit.max(plot.left()));
        inside.rect_filled(zone, 0.0, Theme::fade(c.err, cx.theme.shares.over_budget));
        let line = [pos2(limit, plot.top()), pos2(limit, plot.bottom())];
        inside.extend(Shape::dashed_line(&line, Stroke::new(1.5, c.err), 5.0, 4.0));
    }
    let stairs = steps(&shown, front);
    inside.extend(Shape::dashed_line(&stairs, Stroke::new(1.0, c.text2), 4.0, 3.0));
    let most = places.iter().map(|place| place.mib).fold(0.0, f64::max);
    let mut taken = Vec::new();
    // A small circle lies on a large one, never under it.
    let mut sorted = places.to_vec();
    sorted.sort_by(|a, b| b.mib.total_cmp(&a.mib));
    for place in &sorted {
        let centre = shown.at(place.forgetting, place.loss);
        let radius = radius(place.mib, most);
        // The label beside it names the run: its marker would hide a small circle.
        inside.circle(centre, radius, colour_of(cx.theme, place.run), Stroke::new(1.0, c.plot));
        taken.push(Rect::from_center_size(centre, vec2(2.0 * radius, 2.0 * radius)));
    }
    if limit.is_finite() {
        taken.push(Rect::from_min_max(pos2(limit - 1.0, plot.top()), pos2(limit + 1.0, plot.bottom())));
    }
    // Names keep clear of the front as well, whose line is drawn in points.
    let stairs: Vec<PlotPoint> = stairs.iter().map(|place| shown.transform.value_from_position(*place)).collect();
    let lines = [stairs.as_slice()];
    let mut obstacles = Obstacles { shown: &shown, curves: &lines, taken };
    // Hundreds of names would hide the plot, and cost more than all of it: then only those that matter have one.
    let chosen: Vec<u64> = cx.state.compared().iter().map(|row| row.run).collect();
    let matters = |run: u64| chosen.contains(&run) || front.iter().any(|place| place.run == run);
    let named = |place: &&Place| places.len() <= MOST_NAMES || matters(place.run);
    for place in places.iter().filter(named) {
        let name = t!("common-run", run = place.run);
        let size = vec2(text::width(ui, &name, Type::Caption), 14.0);
        let centre = shown.at(place.forgetting, place.loss);
        if let Some(label) = obstacles.place(labels::around(centre, size)) {
            labels::leader(ui, centre, radius(place.mib, most), label, c.text3);
            text::paint(ui.painter(), label, Align::Min, &name, Type::Caption, c.text);
        }
    }
    under_pointer(shown, places);
}

/// The run whose circle is under the pointer, in words.
fn under_pointer(shown: Shown, places: &[Place]) {
    let Some(pointer) = shown.response.hover_pos() else { return };
    let away = |place: &Place| shown.at(place.forgetting, place.loss).distance(pointer);
    let nearest = places.iter().min_by(|a, b| away(a).total_cmp(&away(b)));
    if let Some(place) = nearest.filter(|place| away(place) <= LARGEST) {
        let (loss, forgetting) = (format::nats(place.loss), format::signed_nats(place.forgetting));
        let size = format::mib(place.mib);
        shown.response.on_hover_text_at_pointer(t!(
            "compare-place",
            run = place.run,
            loss = loss,
            forgetting = forgetting,
            size = size
        ));
    }
}

/// The front as a staircase from the left edge's top to the right.
fn steps(shown: &Shown, front: &[Place]) -> Vec<egui::Pos2> {
    let mut points = Vec::new();
    for (index, place) in front.iter().enumerate() {
        let here = shown.at(place.forgetting, place.loss);
        let above =
            if index == 0 { shown.rect.top() } else { points.last().map_or(here.y, |last: &egui::Pos2| last.y) };
        points.push(pos2(here.x, above));
        points.push(here);
    }
    if let Some(last) = points.last().copied() {
        points.push(pos2(shown.rect.right(), last.y));
    }
    points
}

/// What the areas mean.
fn key(cx: &PanelCtx<'_>, ui: &mut Ui, column: Rect, places: &[Place]) {
    let c = cx.c();
    let most = places.iter().map(|place| place.mib).fold(0.0, f64::max);
    let mut lines = Rows::new(column);
    text::data(ui, lines.next(20.0), Align::Min, t!("compare-adapter"), Type::Caption, c.text2);
    for share in [0.25, 1.0] {
        let row = lines.next(28.0);
        let centre = pos2(row.left() + LARGEST + 1.0, row.center().y);
        ui.painter().circle_stroke(centre, radius(most * share, most), Stroke::new(1.0, c.text2));
        let place = row.with_min_x(row.left() + 2.0 * LARGEST + 10.0);
        text::data(ui, place, Align::Min, &format::mib(most * share), Type::Mono, c.text2);
    }
    lines.gap(4.0);
    let words = t!("compare-key");
    text::block(ui, pos2(column.left(), lines.y), column.width(), words, Type::Caption, c.text2);
}

fn table_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, places: &[Place], front: &[u64]) {
    let c = cx.c();
    let columns = [(0.0, 0.2), (0.2, 0.4), (0.4, 0.62), (0.62, 0.8), (0.8, 1.0)];
    let names = [
        t!("compare-col-run"),
        t!("compare-col-best"),
        t!("compare-col-forgetting"),
        t!("compare-col-size"),
        t!("compare-unbeaten"),
    ];
    let head = rect.with_max_y(rect.top() + 22.0);
    rows::table_head(ui, cx.theme, head, 12.0);
    for ((from, to), name) in columns.into_iter().zip(names) {
        super::column_head(cx, ui, rows::column(head, from, to), name, from > 0.0);
    }
    let body = rect.with_min_y(head.bottom());
    super::rows_in_view(ui, body, "compared trade-offs", ROW, places.len(), |ui, row, index| {
        if let Some(place) = places.get(index) {
            rows::underline(ui, cx.theme, row);
            super::swatch(ui, cx.theme, pos2(row.left(), row.center().y), place.run);
            let first = rows::column(row, 0.0, 0.2);
            let name = t!("common-run", run = place.run);
            text::data(ui, first.with_min_x(first.left() + 22.0), Align::Min, &name, Type::Body, c.text);
            let unbeaten = if front.contains(&place.run) { t!("compare-yes") } else { t!("compare-no") };
            let cells = [
                format::nats(place.loss),
                format::signed_nats(place.forgetting),
                format::mib_figure(place.mib),
                unbeaten.to_owned(),
            ];
            for ((from, to), cell) in columns.iter().skip(1).zip(&cells) {
                figure(ui, rows::column(row, *from, *to), cell, c.text);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_of_a_circle_is_the_size() {
        assert!((radius(25.0, 100.0) - LARGEST / 2.0).abs() < 1e-6, "a quarter of the area is half of the radius");
        assert!((radius(0.0, 0.0) - SMALLEST).abs() < 1e-6);
    }
}
