//! The loss: curves, marks, readout, and the same as a table.

use super::{Axis, beside, plot_menu, plot_places, x_label};
use crate::commands::{Id, UiCommand};
use crate::format;
use crate::plots::chart::{self, Chart, Curve, Marker};
use crate::plots::labels::{self, Obstacles};
use crate::plots::{retained, ticks};
use crate::reader::curves::inside;
use crate::reader::snapshot::value_at;
use crate::reader::{RunView, XAxis};
use crate::rooms::{PanelCtx, scrolled};
use crate::texts::Text;
use crate::theme::{Theme, Type, icons};
use crate::widgets::rows::{self, Rows};
use crate::widgets::{Button, bar, choice, panel};
use crate::widgets::{term, text};
use egui::{Align, Color32, Rect, Shape, Stroke, Ui, pos2, vec2};
use egui_plot::PlotPoint;

const X_AXES: [(XAxis, Text); 3] =
    [(XAxis::Step, k!("common-step")), (XAxis::Tokens, k!("common-tokens")), (XAxis::Time, k!("watch-x-time"))];

/// Most rows of the table beside those of the validations.
const TABLE_ROWS: usize = 200;

/// A wait with its name, how far it is, and a bar.
pub fn wait(cx: &PanelCtx<'_>, ui: &mut Ui, area: Rect, stage: &str, done: u64, total: u64, unit: &str) {
    let c = cx.c();
    let mut lines = Rows::new(area);
    let name =
        if stage.is_empty() { t!("watch-preparing").to_owned() } else { crate::reader::words::sentence_case(stage) };
    text::data(ui, lines.next(22.0), Align::Min, &name, Type::Panel, c.text);
    let far = format::how_far(done, total, unit);
    lines.gap(4.0);
    let row = lines.next(8.0);
    let share = (total > 0).then(|| done as f32 / total as f32);
    let thin = Rect::from_min_size(row.min + vec2(0.0, 2.0), vec2(area.width().min(420.0), 4.0));
    bar::progress(ui, cx.theme, thin, &name, share, c.accent);
    lines.gap(2.0);
    text::data(ui, lines.next(20.0), Align::Min, &far, Type::Body, c.text2);
}

/// Shows the loss.
pub fn loss_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, view: &RunView, axis: &Axis) {
    let note = if cx.compact { t!("common-nats") } else { t!("watch-nats-per-token") };
    let (head, inside) = panel::titled(ui, cx.theme, rect, t!("watch-loss"), note);
    controls(cx, ui, head);
    if view.train_raw.is_empty() && view.validation.is_empty() {
        let area = Rect::from_min_max(inside.min + vec2(0.0, 12.0), inside.max);
        match &view.preparing {
            Some(wait_for) => wait(cx, ui, area, &wait_for.stage, wait_for.done, wait_for.total, &wait_for.unit),
            None if view.row.is_active() => wait(cx, ui, area, "", 0, 0, ""),
            None => {
                let words = t!("watch-ended-early");
                text::line(ui, area.with_max_y(area.top() + 20.0), Align::Min, words, Type::Body, cx.c().text2);
            }
        }
        return;
    }
    if cx.state.watch.as_table {
        table(cx, ui, inside, view);
        return;
    }
    let (plot, column) = plot_places(rect, 32.0, 24.0, cx.compact);
    tell_width(cx, ui, plot);
    plot_loss(cx, ui, plot, view, axis);
    readout(cx, ui, column, view, axis);
}

/// Says how many pixels the plots are wide when that has changed: curves get points for about that many.
fn tell_width(cx: &PanelCtx<'_>, ui: &Ui, plot: Rect) {
    let pixels = (plot.width().max(50.0) * ui.pixels_per_point() / 50.0).ceil() as u32 * 50;
    if pixels != cx.state.watch.plot_px {
        cx.send(UiCommand::PlotPx(pixels));
    }
}

fn controls(cx: &PanelCtx<'_>, ui: &mut Ui, head: Rect) {
    let c = cx.c();
    let ids = [
        Id::CopyCurves,
        Id::SaveCurves,
        Id::LossPicture,
        Id::LossVector,
        Id::Report,
        Id::BesideAll,
        Id::BesideNone,
        Id::ResetZoom,
    ];
    let menu = plot_menu(cx, ui, head, t!("watch-loss-menu"), &ids);
    let table = Rect::from_min_size(pos2(menu.right() - 20.0, head.top() + 4.0), vec2(20.0, 20.0));
    let on = cx.state.watch.as_table;
    let name = if on { t!("watch-show-curves") } else { t!("watch-show-table") };
    if Button::icon_only(icons::TABLE, name).selected(on).show(ui, cx.theme, table).clicked() {
        cx.send(UiCommand::AsTable(!on));
    }
    let names: Vec<&str> = X_AXES.iter().map(|(_, name)| name.get()).collect();
    let width = choice::segments_width(ui, &names, Type::Caption);
    let x_place = Rect::from_min_size(pos2(table.left() - 8.0 - width, table.top()), vec2(width, 20.0));
    let chosen = X_AXES.iter().position(|(axis, _)| *axis == cx.state.watch.x);
    if let Some(index) = choice::segments(ui, cx.theme, x_place, t!("watch-x-axis"), &names, chosen) {
        cx.send(UiCommand::XAxis(X_AXES[index].0));
    }
    text::line(
        ui,
        Rect::from_min_size(x_place.min - vec2(13.0, 0.0), vec2(10.0, 20.0)),
        Align::Min,
        "x",
        Type::Caption,
        c.text2,
    );
    let names = [t!("watch-linear"), t!("watch-log")];
    let width = choice::segments_width(ui, &names, Type::Caption);
    let y_place = Rect::from_min_size(pos2(x_place.left() - 26.0 - width, table.top()), vec2(width, 20.0));
    if y_place.left() - 14.0 < head.left() {
        return;
    }
    let chosen = usize::from(cx.state.watch.log_y);
    if let Some(index) = choice::segments(ui, cx.theme, y_place, t!("watch-y-axis"), &names, Some(chosen)) {
        cx.send(UiCommand::LogY(index == 1));
    }
    text::line(
        ui,
        Rect::from_min_size(y_place.min - vec2(13.0, 0.0), vec2(10.0, 20.0)),
        Align::Min,
        "y",
        Type::Caption,
        c.text2,
    );
}

/// Values of the points in the visible range.
pub(super) fn visible(points: &[PlotPoint], range: (f64, f64)) -> impl Iterator<Item = f64> {
    inside(points, range).iter().map(|point| point.y)
}

/// Every how many-th of `count` marks is drawn so that they do not touch.
pub(super) fn mark_stride(count: usize, width: f32) -> usize {
    count.div_ceil(((width / 9.0) as usize).max(1)).max(1)
}

fn plot_loss(cx: &PanelCtx<'_>, ui: &mut Ui, plot: Rect, view: &RunView, axis: &Axis) {
    let c = cx.c();
    let theme = cx.theme;
    let log = view.request.log_y;
    let values = visible(&view.train_raw, axis.range).chain(visible(&view.validation, axis.range));
    let threads = beside::threads(theme, view);
    let behind = view.beside.iter().filter_map(|other| other.extent(axis.range)).flat_map(<[f64; 2]>::from);
    let y = ticks::range(values.chain(behind)).unwrap_or((0.0, 1.0));
    let y = (y.0 - (y.1 - y.0) * 0.08, y.1);
    let curves = [
        Curve {
            name: t!("watch-raw"),
            points: &view.train_raw,
            colour: Theme::fade(theme.series[0], theme.shares.raw_line),
            width: 1.0,
            dashed: false,
        },
        Curve {
            name: t!("watch-train"),
            points: &view.train_smooth,
            colour: theme.series[0],
            width: 2.0,
            dashed: false,
        },
        Curve {
            name: t!("watch-validation"),
            points: &view.validation,
            colour: theme.series[1],
            width: 2.0,
            dashed: false,
        },
    ];
    let chart = Chart {
        name: t!("watch-loss"),
        sentence: &view.sentence,
        x: axis.range,
        y,
        y_ticks: 5,
        y_values: &[],
        log_y: log,
        y_label: ticks::decimals,
        x_labels: true,
        x_label: x_label(view.request.x),
        curves: &curves,
        behind: &threads,
    };
    let shown = chart::show(ui, theme, plot, &chart);
    beside::under_pointer(ui, theme, &shown, &threads, view);
    let scaled = |loss: f64| if log { loss.log10() } else { loss };
    let drawn: [&[PlotPoint]; 3] = [&view.train_raw, &view.train_smooth, &view.validation];
    // The lowest points of the plot belong to the marks of checkpoints.
    let marks = plot.with_min_y(plot.bottom() - 9.0);
    let mut taken = axis.kept_clear(&shown, view.row.is_active());
    taken.push(marks);
    let mut obstacles = Obstacles { shown: &shown, curves: &drawn, taken };
    let measured = inside(&view.validation, axis.range);
    let rings = measured.iter().rev().step_by(mark_stride(measured.len(), plot.width()));
    let rings = rings.map(|point| shown.at(point.x, point.y)).collect();
    chart::markers(ui, "validations", rings, Marker::Ring, theme.series[1], c.plot);
    let checkpoints = view.checkpoints.iter().map(|mark| {
        // Before the first validation the best step is 0, where a checkpoint lies: it is not the best of anything.
        let best = mark.step > 0 && mark.step == view.row.best_step;
        (pos2(shown.x(view.map.place(mark.step as f64)), plot.bottom()), if best { c.ok } else { c.text3 })
    });
    let checkpoints = checkpoints.filter(|(at, _)| (plot.left()..=plot.right()).contains(&at.x));
    retained::paint(ui, "checkpoints", checkpoints.collect::<Vec<_>>(), |marks| {
        marks.iter().map(|(bottom, colour)| triangle(*bottom, *colour)).collect()
    });
    best_mark(cx, ui, view, &mut obstacles, scaled);
    if view.row.base_loss.is_finite() {
        let words = t!("watch-base-line", loss = format::nats(view.row.base_loss));
        reference(ui, theme, &mut obstacles, scaled(view.row.base_loss), &words);
    }
    for step in &view.non_finite {
        let x = shown.x(view.map.place(*step as f64)).round() + 0.5;
        if (plot.left()..=plot.right()).contains(&x) {
            ui.painter().vline(x, plot.y_range(), Stroke::new(1.0, c.err));
            text::icon(ui.painter(), pos2(x, plot.top() + 9.0), icons::X_CIRCLE_FILL, 16.0, c.err);
        }
    }
    axis.lines(ui, theme, &shown, view.row.is_active());
    axis.take(cx, ui, view, &shown);
}

/// A dashed line with its name on it.
fn reference(ui: &mut Ui, theme: &Theme, obstacles: &mut Obstacles<'_>, y: f64, words: &str) {
    let c = &theme.colours;
    let rect = obstacles.shown.rect;
    let place = obstacles.shown.y(y).round() + 0.5;
    if place < rect.top() || place > rect.bottom() {
        return;
    }
    let line = [pos2(rect.left(), place), pos2(rect.right(), place)];
    retained::dashed(ui, "reference", line, Stroke::new(1.0, c.text3), (2.0, 3.0));
    let size = vec2(text::width(ui, words, Type::Caption).ceil(), 14.0);
    if let Some(label) = obstacles.place(labels::along(rect, place, size)) {
        text::line(ui, label, Align::Min, words, Type::Caption, c.text2);
    }
}

fn triangle(bottom: egui::Pos2, colour: Color32) -> Shape {
    let points = vec![bottom + vec2(-4.0, 0.0), bottom + vec2(4.0, 0.0), bottom + vec2(0.0, -7.0)];
    Shape::convex_polygon(points, colour, Stroke::NONE)
}

/// The ring at the best validation, and its label where no curve goes, with a line between the two.
fn best_mark(
    cx: &PanelCtx<'_>,
    ui: &mut Ui,
    view: &RunView,
    obstacles: &mut Obstacles<'_>,
    scaled: impl Fn(f64) -> f64,
) {
    let (step, loss) = (view.row.best_step, view.row.best_loss);
    if step == 0 || !loss.is_finite() {
        return;
    }
    let c = cx.c();
    let at = obstacles.shown.at(view.map.place(step as f64), scaled(loss));
    if !obstacles.shown.rect.contains(at) {
        return;
    }
    ui.painter().circle_stroke(at, 5.0, Stroke::new(2.0, c.ok));
    let words = t!("watch-best-label", step = format::count(step), loss = format::nats(loss));
    let size = vec2(text::width(ui, &words, Type::Caption).ceil(), 14.0);
    if let Some(label) = obstacles.place(labels::around(at, size)) {
        labels::leader(ui, at, 5.0, label, c.ok);
        ui.painter().rect_filled(label.expand2(vec2(3.0, 0.0)), 0.0, c.plot);
        text::line(ui, label, Align::Min, &words, Type::Caption, c.ok);
    }
}

/// A row of the readout: swatch, name, value.
pub fn readout_row(ui: &mut Ui, theme: &Theme, row: Rect, swatch: Swatch, name: &str, value: &str) {
    let c = &theme.colours;
    let y = row.center().y.round();
    let left = row.left();
    match swatch {
        Swatch::Line(colour, marker) => {
            ui.painter().hline(left..=left + 14.0, y, Stroke::new(2.0, colour));
            chart::marker(ui, pos2(left + 7.0, y), marker, colour, c.card);
        }
        Swatch::Triangle(colour) => {
            ui.painter().add(triangle(pos2(left + 7.0, y + 4.0), colour));
        }
        Swatch::Nothing => {}
    }
    let value_width = text::width(ui, value, Type::Mono);
    text::line(ui, row, Align::Max, value, Type::Mono, c.text);
    let indent = if matches!(swatch, Swatch::Nothing) { 0.0 } else { 20.0 };
    let place = Rect::from_min_max(pos2(left + indent, row.top()), pos2(row.right() - value_width - 4.0, row.bottom()));
    text::data(ui, place, Align::Min, name, Type::Body, c.text2);
}

/// What stands before a name in the readout.
#[derive(Debug, Clone, Copy)]
pub enum Swatch {
    /// A line with its marker.
    Line(Color32, Marker),
    /// A checkpoint.
    Triangle(Color32),
    /// Nothing.
    Nothing,
}

/// "at step 350" with the unit at the right.
pub fn readout_head(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, view: &RunView, axis: &Axis, unit: &str) {
    let c = cx.c();
    let step = view.map.step(axis.reading()).round().clamp(0.0, view.row.steps as f64) as u64;
    let figure = format::count(step);
    text::pieces(
        ui,
        row,
        &[text::Piece(t!("watch-at-step"), Type::Caption, c.text2), text::Piece(&figure, Type::MonoCaption, c.text)],
    );
    text::line(ui, row, Align::Max, unit, Type::Caption, c.text2);
}

fn readout(cx: &PanelCtx<'_>, ui: &mut Ui, column: Rect, view: &RunView, axis: &Axis) {
    let theme = cx.theme;
    let c = cx.c();
    let mut lines = Rows::new(column);
    readout_head(cx, ui, lines.next(18.0), view, axis, t!("common-nats"));
    let at = axis.reading();
    let unlog = |value: f64| if view.request.log_y { 10f64.powf(value) } else { value };
    let read = |points: &[PlotPoint]| {
        value_at(points, at).map_or_else(|| format::UNKNOWN.to_owned(), |v| format::nats(unlog(v)))
    };
    let raw = Theme::fade(theme.series[0], theme.shares.raw_line);
    readout_row(
        ui,
        theme,
        lines.next(20.0),
        Swatch::Line(theme.series[0], Marker::None),
        t!("watch-train"),
        &read(&view.train_smooth),
    );
    readout_row(ui, theme, lines.next(20.0), Swatch::Line(raw, Marker::None), t!("watch-raw"), &read(&view.train_raw));
    // Until the run was validated itself, the newest value is the base's own, and it is called so.
    let read_at = view.validation.partition_point(|point| point.x <= at + 1e-9).checked_sub(1);
    let of_base = read_at.and_then(|index| view.validation.get(index));
    let of_base = of_base.is_some_and(|point| point.x <= view.map.place(0.0) + 1e-9);
    readout_row(
        ui,
        theme,
        lines.next(20.0),
        Swatch::Line(theme.series[1], Marker::Ring),
        if of_base { t!("watch-base-model") } else { t!("watch-validation") },
        &read(&view.validation),
    );
    beside::legend(cx, ui, &mut lines, view, at);
    if lines.left() > 40.0 && !view.checkpoints.is_empty() {
        readout_row(ui, theme, lines.next(20.0), Swatch::Triangle(c.text3), t!("watch-checkpoint"), "");
    }
    if lines.left() > 44.0 && !view.sentence.is_empty() {
        lines.gap(4.0);
        ui.painter().hline(column.x_range(), lines.y, Stroke::new(1.0, c.line));
        lines.gap(6.0);
        let most = (lines.left() / 18.0).floor() as usize;
        text::clipped_block(
            ui,
            pos2(column.left(), lines.y),
            column.width(),
            most,
            &view.sentence,
            Type::Body,
            c.text2,
        );
    }
}

/// Places of the rows of the table, the newest first, and what was validated there. The points of the loss are thinned to
/// about [`TABLE_ROWS`]; validations are few and all of them have a row.
fn table_rows(train: &[PlotPoint], validation: &[PlotPoint]) -> Vec<(f64, Option<f64>)> {
    let stride = train.len().div_ceil(TABLE_ROWS).max(1);
    let is_validated = |x: f64| validation.iter().any(|point| is_same(point.x, x));
    let thinned = train.iter().rev().step_by(stride).map(|point| point.x);
    let mut rows: Vec<(f64, Option<f64>)> = thinned.filter(|x| !is_validated(*x)).map(|x| (x, None)).collect();
    rows.extend(validation.iter().map(|point| (point.x, Some(point.y))));
    rows.sort_by(|one, other| other.0.total_cmp(&one.0));
    rows
}

/// Whether two places are of one step.
fn is_same(x: f64, other: f64) -> bool {
    (x - other).abs() < 1e-9
}

/// The curves as numbers: the same data as a table.
fn table(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, view: &RunView) {
    let c = cx.c();
    let head = rect.with_max_y(rect.top() + 22.0);
    rows::table_head(ui, cx.theme, head, 12.0);
    let columns = [
        (0.0, 0.16, t!("common-step")),
        (0.16, 0.36, t!("watch-table-train")),
        (0.36, 0.6, t!("watch-table-validation")),
        (0.6, 0.8, t!("watch-rate")),
        (0.8, 1.0, t!("watch-norm")),
    ];
    for (from, to, name) in columns {
        let words = text::line(
            ui,
            rows::column(head, from, to).with_max_x(rows::column(head, from, to).right() - 6.0),
            Align::Max,
            name,
            Type::Caption,
            c.text2,
        );
        term::label(ui, cx.theme, words.rect, name, "");
    }
    let unlog = |value: f64| if view.request.log_y { 10f64.powf(value) } else { value };
    scrolled(ui, rect.with_min_y(head.bottom()), "loss table", |ui, area| {
        let mut lines = Rows::new(area);
        for (x, validation) in table_rows(view.seen(&view.train_smooth), view.seen(&view.validation)) {
            let row = lines.next(22.0);
            rows::underline(ui, cx.theme, row);
            let value = |points: &[PlotPoint]| value_at(points, x).unwrap_or(f64::NAN);
            let norm = value(&view.grad_norm);
            // The base was validated before the first step.
            let norm = if norm.is_finite() { format!("{norm:.2}") } else { format::UNKNOWN.to_owned() };
            let cells = [
                format::count(view.map.step(x).round().max(0.0) as u64),
                format::nats(unlog(value(&view.train_smooth))),
                validation.map_or_else(String::new, |loss| format::nats(unlog(loss))),
                format::rate_wide(value(&view.lr)),
                norm,
            ];
            for ((from, to, _), cell) in columns.iter().zip(&cells) {
                let place = rows::column(row, *from, *to);
                text::line(ui, place.with_max_x(place.right() - 6.0), Align::Max, cell, Type::Mono, c.text);
            }
        }
        ui.allocate_rect(Rect::from_min_max(area.min, pos2(area.right(), lines.y)), egui::Sense::hover());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_validation_and_a_few_hundred_points_of_the_loss() {
        let train: Vec<PlotPoint> = (1..=4999).map(|step| PlotPoint::new(f64::from(step), 1.0)).collect();
        let validation: Vec<PlotPoint> =
            (0..=16).map(|index| PlotPoint::new(f64::from(index) * 300.0, f64::from(index))).collect();
        let rows = table_rows(&train, &validation);
        let validated: Vec<f64> = rows.iter().rev().filter_map(|(_, loss)| *loss).collect();
        assert_eq!(validated, validation.iter().map(|point| point.y).collect::<Vec<_>>(), "none is thinned away");
        assert!(rows.is_sorted_by(|one, other| one.0 > other.0), "the newest first, each step once");
        assert!((200..=217).contains(&rows.len()), "{}", rows.len());
        assert_eq!(rows.first(), Some(&(4999.0, None)), "the newest step of all");
        assert_eq!(rows.last(), Some(&(0.0, Some(0.0))), "the base, which was not trained yet");
        assert_eq!(table_rows(&train[..3], &[]), [(3.0, None), (2.0, None), (1.0, None)]);
        let one = [PlotPoint::new(2.0, 7.0)];
        assert_eq!(table_rows(&train[..3], &one), [(3.0, None), (2.0, Some(7.0)), (1.0, None)]);
        assert!(table_rows(&[], &[]).is_empty());
    }
}
