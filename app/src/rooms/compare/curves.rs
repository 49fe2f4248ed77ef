//! Losses of the chosen runs over each other, on steps, tokens or time; the same as a table and in a sentence.

use super::{colour_of, explain, figure, is_dashed, marker_of};
use crate::commands::{Id, UiCommand};
use crate::format;
use crate::plots::chart::{self, Chart, Curve};
use crate::plots::ticks;
use crate::reader::XAxis;
use crate::reader::snapshot::value_at;
use crate::rooms::watch::curves::{Swatch, readout_row};
use crate::rooms::watch::{plot_menu, plot_places, x_label};
use crate::rooms::{PanelCtx, scrolled};
use crate::state::compare::CompareAct;
use crate::state::compared::{self, Line, lowest};
use crate::texts::Text;
use crate::theme::{Type, icons};
use crate::widgets::rows::{self, Rows};
use crate::widgets::{Button, choice, panel, text};
use egui::{Align, Pos2, Rect, Sense, Ui, pos2, vec2};
use egui_plot::PlotPoint;

/// Least distance of a curve's markers, in points.
const MARKS_APART: f32 = 60.0;
/// Most markers of a curve.
const MOST_MARKS: u8 = 12;

const X_AXES: [(XAxis, Text); 3] =
    [(XAxis::Step, k!("common-step")), (XAxis::Tokens, k!("common-tokens")), (XAxis::Time, k!("watch-x-time"))];

/// Shows the panel.
pub fn curves_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let compare = &cx.state.compare;
    let title = match (compare.validation, compare.smooth) {
        (true, _) => t!("compare-validation-loss"),
        (false, true) => t!("compare-train-loss"),
        (false, false) => t!("compare-raw-loss"),
    };
    let (head, inside) = panel::titled(ui, cx.theme, rect, title, t!("common-nats"));
    controls(cx, ui, head);
    let lines = compared::lines(cx.state);
    if lines.is_empty() {
        let words =
            if cx.state.compared().is_empty() { t!("compare-choose-lead") } else { t!("compare-no-curves-lead") };
        explain(cx, ui, inside, icons::CHART_LINE, t!("compare-no-curves"), words);
        return;
    }
    let sentence = sentence(compare.x, &lines);
    if compare.curves_table {
        table(cx, ui, inside, &lines);
        return;
    }
    let (plot, column) = plot_places(rect, 32.0, 48.0, cx.compact);
    plot_ui(cx, ui, (plot, column), &lines, &sentence);
    let row = Rect::from_min_max(pos2(inside.left(), rect.bottom() - 26.0), pos2(inside.right(), rect.bottom() - 6.0));
    text::data(ui, row, Align::Min, &sentence, Type::Body, cx.c().text2);
}

fn controls(cx: &PanelCtx<'_>, ui: &mut Ui, head: Rect) {
    let compare = &cx.state.compare;
    let ids = [
        Id::CopyCompared,
        Id::SaveCompared,
        Id::ComparedPng,
        Id::ComparedSvg,
        Id::Smooth,
        Id::LogLosses,
        Id::ResetCompared,
    ];
    let head = plot_menu(cx, ui, head, t!("compare-curves-menu"), &ids);
    let table = Rect::from_min_size(pos2(head.right() - 20.0, head.top() + 4.0), vec2(20.0, 20.0));
    let on = compare.curves_table;
    let name = if on { t!("watch-show-curves") } else { t!("watch-show-table") };
    if Button::icon_only(icons::TABLE, name).selected(on).show(ui, cx.theme, table).clicked() {
        cx.send(UiCommand::Compare(CompareAct::CurvesTable(!on)));
    }
    let names: Vec<&str> = X_AXES.iter().map(|(_, name)| name.get()).collect();
    let width = choice::segments_width(ui, &names, Type::Caption);
    let x_place = Rect::from_min_size(pos2(table.left() - 8.0 - width, table.top()), vec2(width, 20.0));
    let chosen = X_AXES.iter().position(|(axis, _)| *axis == compare.x);
    let picked = choice::segments(ui, cx.theme, x_place, t!("watch-x-axis"), &names, chosen);
    if let Some((axis, _)) = picked.and_then(|index| X_AXES.get(index)) {
        cx.send(UiCommand::Compare(CompareAct::X(*axis)));
    }
    let names = [t!("watch-validation"), t!("watch-train")];
    let width = choice::segments_width(ui, &names, Type::Caption);
    let place = Rect::from_min_size(pos2(x_place.left() - 8.0 - width, table.top()), vec2(width, 20.0));
    if place.left() < head.left() {
        return;
    }
    let chosen = Some(usize::from(!compare.validation));
    if let Some(index) = choice::segments(ui, cx.theme, place, t!("compare-which-loss"), &names, chosen) {
        cx.send(UiCommand::Compare(CompareAct::Validation(index == 0)));
    }
    let names = [t!("watch-linear"), t!("watch-log")];
    let width = choice::segments_width(ui, &names, Type::Caption);
    let place = Rect::from_min_size(pos2(place.left() - 8.0 - width, table.top()), vec2(width, 20.0));
    // Where there is no room for it, the menu has it.
    if place.left() < head.left() {
        return;
    }
    let chosen = Some(usize::from(compare.log_y));
    if let Some(index) = choice::segments(ui, cx.theme, place, t!("watch-y-axis"), &names, chosen) {
        cx.send(UiCommand::Compare(CompareAct::LogY(index == 1)));
    }
}

/// The lines as they are drawn: on a logarithmic axis the logarithms, without what has none.
fn scaled(lines: &[Line<'_>]) -> Vec<Vec<PlotPoint>> {
    let place = |point: &PlotPoint| PlotPoint::new(point.x, point.y.log10());
    let scale = |points: &[PlotPoint]| points.iter().map(place).filter(|point| point.y.is_finite()).collect();
    lines.iter().map(|(_, points)| scale(points)).collect()
}

/// A place on the axis in words.
fn at(axis: XAxis, place: f64) -> String {
    let place = x_label(axis)(place);
    match axis {
        XAxis::Step => t!("compare-at-step", place = place),
        XAxis::Tokens => t!("compare-at-tokens", place = place),
        XAxis::Time => t!("compare-at-time", place = place),
    }
}

/// Whose loss was the lowest, and where.
fn sentence(axis: XAxis, lines: &[Line<'_>]) -> String {
    let best = lines.iter().filter_map(|(run, points)| lowest(points).map(|point| (*run, point)));
    match best.min_by(|a, b| a.1.y.total_cmp(&b.1.y)) {
        Some((run, point)) => t!("compare-lowest", run = run, loss = format::nats(point.y), place = at(axis, point.x)),
        None => String::new(),
    }
}

/// Where a curve has its markers, of the `places` of its points from left to right in a plot of this `width`: so that one
/// is found on each stretch, and they do not hide the line.
fn marks(places: impl Iterator<Item = Pos2>, width: f32) -> Vec<Pos2> {
    let apart = MARKS_APART.max(width / f32::from(MOST_MARKS - 1));
    let mut marks: Vec<Pos2> = Vec::new();
    for place in places.filter(|place| place.is_finite()) {
        if marks.last().is_none_or(|last| place.x - last.x >= apart) {
            marks.push(place);
        }
    }
    marks
}

fn plot_ui(cx: &PanelCtx<'_>, ui: &mut Ui, (plot, column): (Rect, Rect), lines: &[Line<'_>], sentence: &str) {
    let c = cx.c();
    let compare = &cx.state.compare;
    let end = lines.iter().filter_map(|(_, points)| points.last()).map(|point| point.x).fold(1e-6, f64::max);
    let x = compare.zoom.unwrap_or((0.0, end * 1.02));
    let logarithms = if compare.log_y { scaled(lines) } else { Vec::new() };
    let drawn: Vec<&[PlotPoint]> = if compare.log_y {
        logarithms.iter().map(Vec::as_slice).collect()
    } else {
        lines.iter().map(|(_, points)| *points).collect()
    };
    let visible = |point: &&PlotPoint| point.x >= x.0 && point.x <= x.1;
    let values = drawn.iter().flat_map(|points| points.iter().filter(visible)).map(|point| point.y);
    let y = ticks::range(values).unwrap_or((0.0, 1.0));
    let names: Vec<String> = lines.iter().map(|(run, _)| t!("common-run", run = run)).collect();
    let curves: Vec<Curve<'_>> = lines
        .iter()
        .zip(drawn.iter().copied())
        .zip(&names)
        .map(|(((run, _), points), name)| Curve {
            name,
            points,
            colour: colour_of(cx.theme, *run),
            width: 2.0,
            dashed: is_dashed(*run),
        })
        .collect();
    let chart = Chart {
        name: t!("compare-curves-plot"),
        sentence,
        x,
        y,
        y_ticks: 5,
        y_values: &[],
        log_y: compare.log_y,
        y_label: ticks::decimals,
        x_labels: true,
        x_label: x_label(compare.x),
        curves: &curves,
        behind: &[],
    };
    let shown = chart::show(ui, cx.theme, plot, &chart);
    for ((run, _), points) in lines.iter().zip(drawn.iter().copied()) {
        let seen = points.iter().filter(visible).map(|point| shown.at(point.x, point.y));
        let (places, colour) = (marks(seen, plot.width()), colour_of(cx.theme, *run));
        chart::markers(ui, ("compared", *run), places, marker_of(*run), colour, c.plot);
        if let Some(point) = lowest(points).filter(|point| visible(&point)) {
            // A ring around the marker says that this is the lowest place; it is larger than the rings that are markers.
            let centre = shown.at(point.x, point.y);
            ui.painter().circle(centre, 7.0, c.plot, egui::Stroke::new(1.5, colour));
            chart::marker(ui, centre, marker_of(*run), colour, c.plot);
        }
    }
    if let Some(range) = shown.zoomed {
        cx.send(UiCommand::Compare(CompareAct::Zoom(range)));
    }
    let reading = shown.hover.unwrap_or_else(|| x.1.min(end));
    if let Some(hover) = shown.hover {
        let place = shown.x(hover).round() + 0.5;
        ui.painter().vline(place, shown.rect.y_range(), egui::Stroke::new(1.0, c.line2));
    }
    let mut readout = Rows::new(column);
    text::data(ui, readout.next(20.0), Align::Min, &at(compare.x, reading), Type::Body, c.text2);
    for ((run, points), name) in lines.iter().zip(&names) {
        let value = value_at(points, reading).map_or_else(|| format::UNKNOWN.to_owned(), format::nats);
        let row = readout.next(20.0);
        super::swatch(ui, cx.theme, pos2(row.left(), row.center().y), *run);
        readout_row(ui, cx.theme, row.with_min_x(row.left() + 20.0), Swatch::Nothing, name, &value);
    }
    readout.gap(4.0);
    text::block(ui, pos2(column.left(), readout.y), column.width(), t!("compare-ring"), Type::Caption, c.text2);
}

fn table(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, lines: &[Line<'_>]) {
    let c = cx.c();
    let columns = [(0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.0)];
    let names = [
        t!("compare-col-run"),
        t!("compare-first"),
        t!("compare-lowest-loss"),
        t!("compare-lowest-at"),
        t!("compare-last"),
    ];
    let head = rect.with_max_y(rect.top() + 22.0);
    rows::table_head(ui, cx.theme, head, 12.0);
    for ((from, to), name) in columns.into_iter().zip(names) {
        super::column_head(cx, ui, rows::column(head, from, to), name, from > 0.0);
    }
    scrolled(ui, rect.with_min_y(head.bottom()), "compared losses", |ui, area| {
        let mut body = Rows::new(area);
        for (run, points) in lines {
            let row = body.next(24.0);
            rows::underline(ui, cx.theme, row);
            let name = t!("common-run", run = run);
            super::swatch(ui, cx.theme, pos2(row.left(), row.center().y), *run);
            let place = rows::column(row, 0.0, 0.2);
            text::data(ui, place.with_min_x(place.left() + 22.0), Align::Min, &name, Type::Body, c.text);
            let low = lowest(points);
            let loss =
                |point: Option<PlotPoint>| point.map_or_else(|| format::UNKNOWN.to_owned(), |at| format::nats(at.y));
            let place = low.map_or_else(|| format::UNKNOWN.to_owned(), |point| x_label(cx.state.compare.x)(point.x));
            let cells = [loss(points.first().copied()), loss(low), place, loss(points.last().copied())];
            for ((from, to), cell) in columns.iter().skip(1).zip(&cells) {
                figure(ui, rows::column(row, *from, *to), cell, c.text);
            }
        }
        ui.allocate_rect(Rect::from_min_max(area.min, pos2(area.right(), body.y)), Sense::hover());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logarithmic_axis_leaves_out_what_has_no_logarithm() {
        let points = [PlotPoint::new(1.0, 100.0), PlotPoint::new(2.0, 0.0), PlotPoint::new(3.0, 0.1)];
        let lines: [Line<'_>; 1] = [(5, points.as_slice())];
        let drawn: Vec<(f64, f64)> = scaled(&lines)[0].iter().map(|point| (point.x, point.y)).collect();
        assert_eq!(drawn, [(1.0, 2.0), (3.0, -1.0)]);
    }

    #[test]
    fn a_curve_has_markers_apart_from_each_other_and_not_too_many() {
        let dense = |width: u16| marks((0..=width).map(|x| pos2(f32::from(x), 8.0)), f32::from(width));
        assert_eq!(dense(150), [pos2(0.0, 8.0), pos2(60.0, 8.0), pos2(120.0, 8.0)]);
        assert_eq!(dense(5500).len(), usize::from(MOST_MARKS), "at most, however wide the plot");
        let sparse = [pos2(10.0, 1.0), pos2(210.0, f32::NAN), pos2(310.0, 3.0)];
        assert_eq!(marks(sparse.into_iter(), 400.0), [sparse[0], sparse[2]], "on measured points alone");
    }

    #[test]
    fn the_sentence_names_the_lowest_loss_and_its_place() {
        let low = [PlotPoint::new(0.0, 2.9), PlotPoint::new(350.0, 1.427), PlotPoint::new(1200.0, 1.474)];
        let high = [PlotPoint::new(0.0, 2.9), PlotPoint::new(600.0, 1.446)];
        let lines: [Line<'_>; 2] = [(5, high.as_slice()), (7, low.as_slice())];
        let text = sentence(XAxis::Step, &lines);
        assert_eq!(text, "Run 7 is lowest: 1.427 nats at step 350.");
        assert_eq!(sentence(XAxis::Step, &[]), "");
    }
}
