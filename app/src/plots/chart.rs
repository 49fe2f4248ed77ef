//! Curves in a plot of exact size: egui_plot draws the lines (`lines`), this draws grid, axes and marks around them.
//!
//! The visible range is part of the window's state, so plots that share an axis always agree. Dragging
//! zooms along x, a double click shows everything again, Ctrl and the wheel zoom around the pointer.

use super::threads::{self, Thread};
use super::{lines, retained, ticks};
use crate::theme::{Theme, Type};
use crate::widgets::text;
use egui::epaint::CircleShape;
use egui::{Align2, Color32, Id, Pos2, Rect, Response, Role, Sense, Shape, Stroke, Ui, UiBuilder, WidgetInfo, pos2};
use egui_plot::{Plot, PlotPoint, PlotTransform};
use std::fmt::Debug;
use std::hash::Hash;

/// A curve.
#[derive(Debug, Clone, Copy)]
pub struct Curve<'a> {
    /// Name.
    pub name: &'a str,
    /// Points with increasing x.
    pub points: &'a [PlotPoint],
    /// Colour.
    pub colour: Color32,
    /// Width.
    pub width: f32,
    /// Dashed: planned and not measured, or one of two runs of a colour.
    pub dashed: bool,
}

/// What to draw.
pub struct Chart<'a> {
    /// Name for screen readers; also names the plot among others.
    pub name: &'a str,
    /// What the curves did, in a sentence.
    pub sentence: &'a str,
    /// Visible x.
    pub x: (f64, f64),
    /// Visible y.
    pub y: (f64, f64),
    /// Most labels on y.
    pub y_ticks: usize,
    /// Labels on y where round ones would say less.
    pub y_values: &'a [f64],
    /// Values are logarithms.
    pub log_y: bool,
    /// How a y label is written, from value and decimals.
    pub y_label: fn(f64, usize) -> String,
    /// Whether x labels stand below.
    pub x_labels: bool,
    /// How an x label is written.
    pub x_label: fn(f64) -> String,
    /// Curves, back to front.
    pub curves: &'a [Curve<'a>],
    /// Thin lines behind them.
    pub behind: &'a [Thread<'a>],
}

/// A drawn chart.
pub struct Shown {
    /// The plot's rectangle.
    pub rect: Rect,
    /// From values to places.
    pub transform: PlotTransform,
    /// x under the pointer.
    pub hover: Option<f64>,
    /// New visible x; `Some(None)` shows everything again.
    pub zoomed: Option<Option<(f64, f64)>>,
    /// x of a click.
    pub clicked: Option<f64>,
    /// The plot.
    pub response: Response,
}

impl Shown {
    /// Place of a value.
    #[must_use]
    pub fn at(&self, x: f64, y: f64) -> Pos2 {
        self.transform.position_from_point(&PlotPoint::new(x, y))
    }

    /// Horizontal place of a value.
    #[must_use]
    pub fn x(&self, x: f64) -> f32 {
        self.transform.position_from_point_x(x)
    }

    /// Vertical place of a value.
    #[must_use]
    pub fn y(&self, y: f64) -> f32 {
        self.transform.position_from_point_y(y)
    }
}

/// Space left of a plot for y labels.
pub const GUTTER: f32 = 52.0;

/// Draws a chart in `rect`, which is the plot itself: labels stand outside.
pub fn show(ui: &mut Ui, theme: &Theme, rect: Rect, chart: &Chart<'_>) -> Shown {
    let c = &theme.colours;
    ui.painter().rect_filled(rect, 0.0, c.plot);
    let grid = ui.painter().add(Shape::Noop);
    let inside = ui.painter().with_clip_rect(rect.intersect(ui.clip_rect()));
    // Thousands of triangles: within bounds of their own they are meshes that nothing is added to.
    let (apart, above) = (retained::apart(&inside, 0), retained::apart(&inside, 1));
    let (behind, own) = (apart.add(Shape::Noop), above.add(Shape::Noop));
    let id = Id::unique(("chart", ui.scope_id(), chart.name));
    let mut child = ui.new_child(UiBuilder::new().id_salt(chart.name).max_rect(rect));
    let inner = Plot::new(chart.name)
        .id(id)
        .width(rect.width())
        .height(rect.height())
        .show_background(false)
        .show_axes(false)
        .show_grid(false)
        .show_x(false)
        .show_y(false)
        // The grid is drawn here; egui_plot works out its own even when it does not show it.
        .x_grid_spacer(|_| Vec::new())
        .y_grid_spacer(|_| Vec::new())
        .allow_drag(false)
        .allow_zoom(false)
        .allow_scroll(false)
        .allow_boxed_zoom(false)
        .allow_double_click_reset(false)
        // For the pointer alone: the keyboard has commands, the scrub line and the table, and would stop here unseen.
        .sense(Sense::CLICK | Sense::DRAG)
        .show(&mut child, |plot| {
            plot.set_plot_bounds_x(chart.x.0..=chart.x.1);
            plot.set_plot_bounds_y(chart.y.0..=chart.y.1);
        });
    ui.advance_cursor_after_rect(rect);
    let response = inner.response;
    let name =
        if chart.sentence.is_empty() { chart.name.to_owned() } else { format!("{}: {}", chart.name, chart.sentence) };
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &name));
    let mut shown = Shown { rect, transform: inner.transform, hover: None, zoomed: None, clicked: None, response };
    if !chart.behind.is_empty() {
        apart.set(behind, threads::kept_shape(ui, id.with("behind"), chart.behind, &shown.transform, 1.0));
    }
    if !chart.curves.is_empty() {
        child.set_clip_rect(inside.clip_rect());
        above.set(own, lines::shape(&child, id.with("own"), chart.curves, &shown.transform));
    }
    let shapes = axes(ui, theme, chart, &shown);
    ui.painter().set(grid, Shape::Vec(shapes));
    interact(ui, theme, chart, &mut shown);
    shown
}

/// Grid lines; labels are painted at once.
fn axes(ui: &Ui, theme: &Theme, chart: &Chart<'_>, shown: &Shown) -> Vec<Shape> {
    let c = &theme.colours;
    let rect = shown.rect;
    let stroke = Stroke::new(1.0, c.grid);
    let mut shapes = Vec::new();
    let (low, high) = if chart.log_y { (10f64.powf(chart.y.0), 10f64.powf(chart.y.1)) } else { chart.y };
    let (mut values, decimals) = ticks::ticks(low, high, chart.y_ticks);
    if !chart.y_values.is_empty() {
        values = chart.y_values.to_vec();
    }
    for value in values {
        let place = if chart.log_y { value.log10() } else { value };
        let y = shown.y(place).round() + 0.5;
        if y < rect.top() - 1.0 || y > rect.bottom() + 1.0 || !y.is_finite() {
            continue;
        }
        shapes.push(Shape::hline(rect.x_range(), y, stroke));
        let label = (chart.y_label)(value, decimals);
        let anchor = pos2(rect.left() - 6.0, y);
        text::paint_at(ui.painter(), anchor, Align2::RIGHT_CENTER, &label, Type::MonoCaption, c.text3);
    }
    let most = ((rect.width() / 72.0) as usize).clamp(2, 10);
    let (values, _) = ticks::ticks(chart.x.0, chart.x.1, most);
    for value in values {
        let x = shown.x(value).round() + 0.5;
        shapes.push(Shape::vline(x, rect.y_range(), stroke));
        if chart.x_labels {
            let label = (chart.x_label)(value);
            let width = text::width(ui, &label, Type::MonoCaption);
            // The first and the last label stay inside the plot's width.
            let centre = x.clamp(rect.left() + 3.0, (rect.right() - width / 2.0).max(rect.left() + 3.0));
            let place = pos2(centre, rect.bottom() + 10.0);
            text::paint_at(ui.painter(), place, Align2::CENTER_CENTER, &label, Type::MonoCaption, c.text3);
        }
    }
    ui.painter().hline(rect.x_range(), rect.bottom() + 0.5, Stroke::new(1.0, c.line2));
    shapes
}

fn interact(ui: &Ui, theme: &Theme, chart: &Chart<'_>, shown: &mut Shown) {
    let rect = shown.rect;
    let value = |shown: &Shown, x: f32| shown.transform.value_from_position(pos2(x, rect.center().y)).x;
    if let Some(pointer) = shown.response.hover_pos() {
        shown.hover = Some(value(shown, pointer.x));
        let factor = ui.input(|input| input.zoom_delta());
        if (factor - 1.0).abs() > 1e-3 {
            let centre = value(shown, pointer.x);
            let factor = f64::from(factor);
            let low = (centre - (centre - chart.x.0) / factor).max(0.0);
            let high = centre + (chart.x.1 - centre) / factor;
            if high - low > 2.0 {
                shown.zoomed = Some(Some((low, high)));
            }
        }
    }
    if shown.response.double_clicked() {
        shown.zoomed = Some(None);
    } else if shown.response.clicked()
        && let Some(pointer) = shown.response.interact_pointer_pos()
    {
        shown.clicked = Some(value(shown, pointer.x));
    }
    let Some((from, to)) = dragged_span(ui, shown) else { return };
    if shown.response.dragged() {
        let area = Rect::from_min_max(pos2(from.min(to), rect.top()), pos2(from.max(to), rect.bottom()));
        let accent = theme.colours.accent;
        ui.painter().rect_filled(area, 0.0, Theme::fade(accent, theme.shares.band));
        ui.painter().vline(area.left(), area.y_range(), Stroke::new(1.0, accent));
        ui.painter().vline(area.right(), area.y_range(), Stroke::new(1.0, accent));
    } else if shown.response.drag_stopped() {
        let (low, high) = (value(shown, from.min(to)), value(shown, from.max(to)));
        if high - low > 1.0 {
            shown.zoomed = Some(Some((low.max(0.0), high)));
        }
    }
}

/// From where to where a drag goes, while it lasts and in the frame in which it ends. A slip of a few points
/// is a click.
fn dragged_span(ui: &Ui, shown: &Shown) -> Option<(f32, f32)> {
    let id = shown.response.id.with("drag");
    let inside = |x: f32| x.clamp(shown.rect.left(), shown.rect.right());
    if shown.response.dragged() {
        let origin = ui.input(|input| input.pointer.press_origin())?.x;
        let pointer = shown.response.interact_pointer_pos()?.x;
        let span = (inside(origin), inside(pointer));
        ui.data_mut(|data| data.insert_temp(id, span));
        return ((span.0 - span.1).abs() >= 6.0).then_some(span);
    }
    if !shown.response.drag_stopped() {
        return None;
    }
    // The origin is forgotten by egui in the frame of the release.
    let span: (f32, f32) = ui.data_mut(|data| data.remove_temp(id))?;
    ((span.0 - span.1).abs() >= 6.0).then_some(span)
}

/// The shape of a measured point; meaning never rests on colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// Nothing.
    None,
    /// A ring.
    Ring,
    /// A filled circle.
    Circle,
    /// A filled square.
    Square,
    /// A triangle.
    Triangle,
    /// A cross.
    Cross,
    /// A diamond.
    Diamond,
}

impl Marker {
    /// The marker of series `index`.
    #[must_use]
    pub fn of_series(index: usize) -> Self {
        match index % 8 {
            1 => Self::Ring,
            2 => Self::Circle,
            3 => Self::Square,
            4 => Self::Triangle,
            5 => Self::Cross,
            6 => Self::Diamond,
            _ => Self::None,
        }
    }
}

/// A marker of about 7 points around `centre`.
fn marker_shapes(centre: Pos2, marker: Marker, colour: Color32, ground: Color32) -> Vec<Shape> {
    let r = 3.5;
    let polygon = |points: &[(f32, f32)]| {
        let points = points.iter().map(|(x, y)| centre + egui::vec2(*x, *y)).collect();
        vec![Shape::convex_polygon(points, colour, Stroke::NONE)]
    };
    match marker {
        Marker::None => Vec::new(),
        Marker::Ring => {
            let stroke = Stroke::new(1.5, colour);
            vec![CircleShape { center: centre, radius: r, fill: ground, stroke }.into()]
        }
        Marker::Circle => vec![Shape::circle_filled(centre, r - 0.5, colour)],
        Marker::Square => vec![Shape::rect_filled(Rect::from_center_size(centre, egui::vec2(6.0, 6.0)), 0.0, colour)],
        Marker::Triangle => polygon(&[(0.0, -r), (r, r), (-r, r)]),
        Marker::Cross => {
            let line = |x: f32| [centre + egui::vec2(-x, -r), centre + egui::vec2(x, r)];
            [r, -r].map(|x| Shape::line_segment(line(x), Stroke::new(1.5, colour))).to_vec()
        }
        Marker::Diamond => polygon(&[(0.0, -r - 0.5), (r + 0.5, 0.0), (0.0, r + 0.5), (-r - 0.5, 0.0)]),
    }
}

/// Paints a marker of about 7 points.
pub fn marker(ui: &Ui, centre: Pos2, marker: Marker, colour: Color32, ground: Color32) {
    ui.painter().extend(marker_shapes(centre, marker, colour, ground));
}

/// Paints a curve's markers, which are kept under `name` from frame to frame.
pub fn markers(ui: &Ui, name: impl Hash + Debug, centres: Vec<Pos2>, marker: Marker, colour: Color32, ground: Color32) {
    let shapes = |(centres, ..): &(Vec<Pos2>, _, _, _)| {
        centres.iter().flat_map(|centre| marker_shapes(*centre, marker, colour, ground)).collect()
    };
    retained::paint(ui, name, (centres, marker, colour, ground), shapes);
}
