//! Many thin lines behind a plot's own curves, as one mesh: what fifty lines cost is a few triangles a point, made anew
//! only when the lines or their place have changed.
//!
//! Place in the data flow: [`super::chart`] gives the lines and the place of the plot; egui gets one shape.

use super::{retained, svg};
use egui::epaint::{Mesh, Vertex, WHITE_UV};
use egui::{Color32, Id, Pos2, Rect, Shape, Stroke, Ui, Vec2, pos2};
use egui_plot::{PlotBounds, PlotPoint, PlotTransform};
use std::sync::Arc;

/// A thin line.
#[derive(Debug, Clone, Copy)]
pub struct Thread<'a> {
    /// Points with increasing x.
    pub points: &'a Arc<[PlotPoint]>,
    /// Colour.
    pub colour: Color32,
}

/// From values to points of the screen, for many points.
struct Scale {
    origin: Pos2,
    low: [f64; 2],
    factor: [f64; 2],
}

impl Scale {
    fn new(transform: &PlotTransform) -> Self {
        let (frame, bounds) = (transform.frame(), transform.bounds());
        let factor = |length: f32, span: f64| f64::from(length) / span.max(f64::MIN_POSITIVE);
        Self {
            origin: frame.left_bottom(),
            low: bounds.min(),
            factor: [factor(frame.width(), bounds.width()), factor(frame.height(), bounds.height())],
        }
    }

    fn place(&self, point: &PlotPoint) -> Pos2 {
        let across = (point.x - self.low[0]) * self.factor[0];
        let up = (point.y - self.low[1]) * self.factor[1];
        pos2(self.origin.x + across as f32, self.origin.y - up as f32)
    }
}

/// The points of a line from `low` to `high` on x, and one more at either end.
#[must_use]
pub fn visible(points: &[PlotPoint], low: f64, high: f64) -> &[PlotPoint] {
    let from = points.partition_point(|point| point.x < low).saturating_sub(1);
    let to = (points.partition_point(|point| point.x <= high) + 1).min(points.len());
    points.get(from..to.max(from)).unwrap_or_default()
}

/// The lines as triangles; `pixel` is the size of a pixel in points, and the lines are `width` pixels wide.
#[must_use]
pub fn mesh(threads: &[Thread<'_>], transform: &PlotTransform, pixel: f32, width: f32) -> Mesh {
    let scale = Scale::new(transform);
    let (low, high) = (transform.bounds().min()[0], transform.bounds().max()[0]);
    let mut mesh = Mesh::default();
    let count: usize = threads.iter().map(|thread| visible(thread.points, low, high).len()).sum();
    mesh.vertices.reserve(3 * count);
    mesh.indices.reserve(12 * count);
    let mut places: Vec<Pos2> = Vec::new();
    for thread in threads {
        places.clear();
        places.extend(visible(thread.points, low, high).iter().map(|point| scale.place(point)));
        line(&mut mesh, &places, thread.colour, pixel * (0.5 + width / 2.0));
    }
    mesh
}

/// What the mesh of all lines follows from.
struct Drawn {
    lines: Vec<(Arc<[PlotPoint]>, Color32)>,
    frame: Rect,
    bounds: PlotBounds,
    pixel: f32,
    width: f32,
}

impl Drawn {
    fn new(threads: &[Thread<'_>], transform: &PlotTransform, pixel: f32, width: f32) -> Self {
        Self {
            lines: threads.iter().map(|thread| (Arc::clone(thread.points), thread.colour)).collect(),
            frame: *transform.frame(),
            bounds: *transform.bounds(),
            pixel,
            width,
        }
    }

    /// Whether this is what would be drawn now. It holds the points, so that the same place in memory is the same line.
    fn shows(&self, threads: &[Thread<'_>], transform: &PlotTransform, pixel: f32, width: f32) -> bool {
        let same = |(points, colour): &(Arc<[PlotPoint]>, Color32), thread: &Thread<'_>| {
            Arc::ptr_eq(points, thread.points) && *colour == thread.colour
        };
        (self.frame, self.bounds, self.pixel, self.width) == (*transform.frame(), *transform.bounds(), pixel, width)
            && self.lines.len() == threads.len()
            && self.lines.iter().zip(threads).all(|(line, thread)| same(line, thread))
    }
}

/// As [`shape`], kept under `id` from frame to frame.
pub fn kept_shape(ui: &Ui, id: Id, threads: &[Thread<'_>], transform: &PlotTransform, width: f32) -> Shape {
    if svg::is_wanted(ui.ctx()) {
        return shape(ui, threads, transform, width);
    }
    let pixel = 1.0 / ui.pixels_per_point();
    let same = |known: &Drawn| known.shows(threads, transform, pixel, width);
    retained::mesh(ui, id, same, || {
        (Drawn::new(threads, transform, pixel, width), mesh(threads, transform, pixel, width))
    })
}

/// The lines as one shape, `width` pixels wide; as lines when the frame becomes an SVG.
pub fn shape(ui: &Ui, threads: &[Thread<'_>], transform: &PlotTransform, width: f32) -> Shape {
    let pixel = 1.0 / ui.pixels_per_point();
    if !svg::is_wanted(ui.ctx()) {
        return Shape::mesh(mesh(threads, transform, pixel, width));
    }
    let line = |thread: &Thread<'_>| {
        let points = thread.points.iter().map(|point| transform.position_from_point(point)).collect();
        Shape::line(points, Stroke::new(width * pixel, thread.colour))
    };
    Shape::Vec(threads.iter().map(line).collect())
}

/// One line: solid along its middle, fading to nothing at `half` to both sides.
fn line(mesh: &mut Mesh, places: &[Pos2], colour: Color32, half: f32) {
    if places.len() < 2 {
        return;
    }
    let vertex = |pos: Pos2, color: Color32| Vertex { pos, uv: WHITE_UV, color };
    let last = places.len() - 1;
    for (index, place) in places.iter().enumerate() {
        let (Some(before), Some(after)) = (places.get(index.saturating_sub(1)), places.get((index + 1).min(last)))
        else {
            return;
        };
        let way = *after - *before;
        let length = way.length_sq().sqrt();
        let side = if length > 0.0 { way.rot90() * (half / length) } else { Vec2::new(0.0, half) };
        let first = mesh.vertices.len() as u32;
        let soft = Color32::TRANSPARENT;
        mesh.vertices.extend_from_slice(&[
            vertex(*place - side, soft),
            vertex(*place, colour),
            vertex(*place + side, soft),
        ]);
        if index < last {
            let [a, b, c] = [first, first + 1, first + 2];
            let [d, e, f] = [first + 3, first + 4, first + 5];
            mesh.indices.extend_from_slice(&[a, b, d, b, d, e, b, c, e, c, e, f]);
        }
    }
}

/// The line nearest to a point of the screen, when one passes within `reach` of it: its place in `threads`.
#[must_use]
pub fn nearest(threads: &[Thread<'_>], transform: &PlotTransform, pointer: Pos2, reach: f32) -> Option<usize> {
    let x = transform.value_from_position(pointer).x;
    let mut best: Option<(f32, usize)> = None;
    for (index, thread) in threads.iter().enumerate() {
        let after = thread.points.partition_point(|point| point.x < x);
        let around = [after.checked_sub(1), Some(after)].into_iter().flatten();
        for point in around.filter_map(|place| thread.points.get(place)) {
            let distance = (transform.position_from_point_y(point.y) - pointer.y).abs();
            if distance <= reach && best.is_none_or(|(nearest, _)| distance < nearest) {
                best = Some((distance, index));
            }
        }
    }
    best.map(|(_, index)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theme::Theme;

    fn transform() -> PlotTransform {
        let frame = Rect::from_min_max(pos2(100.0, 50.0), pos2(300.0, 150.0));
        PlotTransform::new(frame, PlotBounds::from_min_max([0.0, 0.0], [10.0, 1.0]), egui::Vec2b::FALSE)
    }

    fn level(y: f64) -> Arc<[PlotPoint]> {
        (0..=100).map(|x| PlotPoint::new(f64::from(x), y)).collect()
    }

    #[test]
    fn a_line_lies_where_the_plot_puts_its_points_and_no_further() {
        let points = level(0.25);
        let mesh =
            mesh(&[Thread { points: &points, colour: Theme::bundled(true).colours.text }], &transform(), 1.0, 1.0);
        assert!(mesh.is_valid());
        let bounds = mesh.calc_bounds();
        assert!((bounds.center().y - 125.0).abs() < 0.01 && (bounds.height() - 2.0).abs() < 0.01, "{bounds:?}");
        assert!((bounds.left() - 100.0).abs() < 0.01);
        assert!(bounds.right() <= 320.01, "points far outside are left out: {bounds:?}");
        assert_eq!(mesh.vertices.len(), 3 * 12, "eleven points inside and one beyond the edge");
    }

    #[test]
    fn a_mesh_is_kept_only_for_the_same_lines_in_the_same_place() {
        let colours = &Theme::bundled(true).colours;
        let (points, place) = (level(0.25), transform());
        let thread = Thread { points: &points, colour: colours.text };
        let drawn = Drawn::new(&[thread], &place, 1.0, 1.0);
        assert!(drawn.shows(&[thread], &place, 1.0, 1.0));
        let other = level(0.25);
        assert!(
            !drawn.shows(&[Thread { points: &other, ..thread }], &place, 1.0, 1.0),
            "another line of the same form"
        );
        assert!(!drawn.shows(&[Thread { colour: colours.text2, ..thread }], &place, 1.0, 1.0));
        assert!(!drawn.shows(&[thread, thread], &place, 1.0, 1.0));
        assert!(!drawn.shows(&[], &place, 1.0, 1.0));
        assert!(!drawn.shows(&[thread], &place, 0.5, 1.0) && !drawn.shows(&[thread], &place, 1.0, 2.0));
        let zoomed = PlotBounds::from_min_max([0.0, 0.0], [5.0, 1.0]);
        let moved = place.frame().translate(egui::vec2(1.0, 0.0));
        for (frame, bounds) in [(*place.frame(), zoomed), (moved, *place.bounds())] {
            let changed = PlotTransform::new(frame, bounds, egui::Vec2b::FALSE);
            assert!(!drawn.shows(&[thread], &changed, 1.0, 1.0), "{changed:?}");
        }
    }

    #[test]
    fn the_line_under_the_pointer_is_found() {
        let (high, low) = (level(0.75), level(0.25));
        let threads = [&high, &low].map(|points| Thread { points, colour: Theme::bundled(true).colours.text });
        let transform = transform();
        assert_eq!(nearest(&threads, &transform, pos2(200.0, 78.0), 8.0), Some(0));
        assert_eq!(nearest(&threads, &transform, pos2(200.0, 120.0), 8.0), Some(1));
        assert_eq!(nearest(&threads, &transform, pos2(200.0, 100.0), 8.0), None);
    }
}
