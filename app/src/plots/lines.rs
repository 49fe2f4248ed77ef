//! A plot's own curves: as egui_plot draws them, turned into triangles once and kept while neither they nor their place
//! change. What has more points than pixels is drawn here, as a band: less than half the work of the library's own.
//!
//! Place in the data flow: [`super::chart`] gives the curves and the place of the plot; egui gets one shape.

use super::chart::Curve;
use super::{retained, svg, threads};
use egui::epaint::{Mesh, Vertex, WHITE_UV};
use egui::{Color32, Id, Pos2, Rangef, Rect, Shape, Ui, pos2};
use egui_plot::{Line, LineStyle, PlotBounds, PlotItem as _, PlotPoint, PlotPoints, PlotTransform};

/// What decides how a curve looks, but for its place.
struct Look {
    points: Vec<PlotPoint>,
    colour: Color32,
    width: f32,
    dashed: bool,
}

/// What the triangles of all curves follow from.
struct Drawn {
    curves: Vec<Look>,
    frame: Rect,
    bounds: PlotBounds,
    clip: Rect,
    pixels_per_point: f32,
}

impl Drawn {
    fn new(ui: &Ui, curves: &[Curve<'_>], transform: &PlotTransform) -> Self {
        let look = |curve: &Curve<'_>| {
            let Curve { colour, width, dashed, .. } = *curve;
            Look { points: seen(curve, transform).to_vec(), colour, width, dashed }
        };
        Self {
            curves: curves.iter().map(look).collect(),
            frame: *transform.frame(),
            bounds: *transform.bounds(),
            clip: ui.clip_rect(),
            pixels_per_point: ui.pixels_per_point(),
        }
    }

    /// Whether this is what would be drawn now. The points themselves are compared: a curve goes on in the same place.
    fn shows(&self, ui: &Ui, curves: &[Curve<'_>], transform: &PlotTransform) -> bool {
        let same = |(look, curve): (&Look, &Curve<'_>)| {
            (look.colour, look.width, look.dashed) == (curve.colour, curve.width, curve.dashed)
                && look.points == seen(curve, transform)
        };
        (self.frame, self.bounds) == (*transform.frame(), *transform.bounds())
            && (self.clip, self.pixels_per_point) == (ui.clip_rect(), ui.pixels_per_point())
            && self.curves.len() == curves.len()
            && self.curves.iter().zip(curves).all(same)
    }
}

/// The points of a curve that lie in the plot.
fn seen<'a>(curve: &Curve<'a>, transform: &PlotTransform) -> &'a [PlotPoint] {
    let ([low, _], [high, _]) = (transform.bounds().min(), transform.bounds().max());
    threads::visible(curve.points, low, high)
}

/// How many points a pixel hold what is drawn as a band: a line that is no wider than its own ups and downs.
const DENSE: f32 = 1.2;

/// A curve as egui_plot draws it.
fn shapes(ui: &Ui, curve: &Curve<'_>, transform: &PlotTransform) -> Vec<Shape> {
    let mut shapes = Vec::new();
    let style = if curve.dashed { LineStyle::Dashed { length: 4.0 } } else { LineStyle::Solid };
    let line = Line::new(curve.name, PlotPoints::Borrowed(seen(curve, transform))).color(curve.colour);
    line.width(curve.width).style(style).shapes(ui, transform, &mut shapes);
    shapes
}

/// The triangles of all curves, back to front.
fn triangles(ui: &Ui, curves: &[Curve<'_>], transform: &PlotTransform) -> Mesh {
    let pixel = 1.0 / ui.pixels_per_point();
    let mut mesh = Mesh::default();
    for curve in curves {
        let points = seen(curve, transform);
        let is_dense = points.len() as f32 * pixel > DENSE * transform.frame().width();
        if is_dense && !curve.dashed {
            let places = points.iter().map(|point| transform.position_from_point(point));
            let mut columns = columns(places, pixel);
            columns.chunk_by_mut(|one, next| next.0 - one.0 < 1.5 * pixel).for_each(close);
            band(&mut mesh, &columns, curve.colour, curve.width / 2.0, pixel);
        } else {
            mesh.append(retained::triangles(ui, shapes(ui, curve, transform)));
        }
    }
    mesh
}

/// From where to where a curve goes in each column of pixels: its x, the upper and the lower end. A column begins where
/// the one before it ended, so that a jump between two of them leaves no gap; one without a point lies between its two
/// neighbours, and over more of them goes a line.
/// What is no number is left out.
fn columns(places: impl Iterator<Item = Pos2>, pixel: f32) -> Vec<(f32, Rangef)> {
    let mut columns: Vec<(f32, Rangef)> = Vec::new();
    let reach = |one: f32, other: f32| Rangef::new(one.min(other), one.max(other));
    let mut before = f32::NAN;
    for Pos2 { x, y } in places.filter(|place| place.x.is_finite() && place.y.is_finite()) {
        let x = ((x / pixel).floor() + 0.5) * pixel;
        match columns.last_mut() {
            Some((last, range)) if *last >= x => *range = Rangef::new(range.min.min(y), range.max.max(y)),
            Some((last, _)) if x - *last < 1.5 * pixel => columns.push((x, reach(before, y))),
            Some((last, _)) if x - *last < 2.5 * pixel => {
                let (between, half) = (*last + pixel, f32::midpoint(before, y));
                columns.extend([(between, reach(before, half)), (x, reach(half, y))]);
            }
            Some((last, _)) => {
                let next = *last + pixel;
                columns.extend([(next, Rangef::point(before)), (x, Rangef::point(y))]);
            }
            None => columns.push((x, Rangef::point(y))),
        }
        before = y;
    }
    columns
}

/// Covers notches of one or two columns between higher or deeper ones, as a line's own width does: a column may hold
/// only one of a curve's two extremes. Slopes and peaks stay (a morphological closing of both edges, reach one).
fn close(columns: &mut [(f32, Rangef)]) {
    let around = |index: usize| {
        let near = &columns[index.saturating_sub(1)..columns.len().min(index + 2)];
        near.iter().map(|(_, range)| *range).reduce(Rangef::union).unwrap_or(Rangef::NOTHING)
    };
    let wide: Vec<Rangef> = (0..columns.len()).map(around).collect();
    for (column, near) in columns.iter_mut().skip(1).zip(wide.windows(3)) {
        column.1 = near[0].intersection(near[1]).intersection(near[2]);
    }
}

/// A band along `columns`, solid within `half` of them and fading to nothing within a pixel more.
fn band(mesh: &mut Mesh, columns: &[(f32, Rangef)], colour: Color32, half: f32, pixel: f32) {
    mesh.reserve_vertices(4 * columns.len());
    mesh.reserve_triangles(6 * columns.len());
    let (solid, soft) = ((half - 0.5 * pixel).max(0.0), half + 0.5 * pixel);
    for (index, (x, range)) in columns.iter().enumerate() {
        let first = mesh.vertices.len() as u32;
        let vertex = |y: f32, color: Color32| Vertex { pos: pos2(*x, y), uv: WHITE_UV, color };
        mesh.vertices.extend_from_slice(&[
            vertex(range.min - soft, Color32::TRANSPARENT),
            vertex(range.min - solid, colour),
            vertex(range.max + solid, colour),
            vertex(range.max + soft, Color32::TRANSPARENT),
        ]);
        if index + 1 < columns.len() {
            for upper in first..first + 3 {
                mesh.indices.extend_from_slice(&[upper, upper + 1, upper + 4, upper + 1, upper + 4, upper + 5]);
            }
        }
    }
}

/// The curves as one shape, kept under `id`; `ui` is cut off where the plot ends.
pub(super) fn shape(ui: &Ui, id: Id, curves: &[Curve<'_>], transform: &PlotTransform) -> Shape {
    if svg::is_wanted(ui.ctx()) {
        return Shape::Vec(curves.iter().flat_map(|curve| shapes(ui, curve, transform)).collect());
    }
    let same = |known: &Drawn| known.shows(ui, curves, transform);
    retained::mesh(ui, id, same, || (Drawn::new(ui, curves, transform), triangles(ui, curves, transform)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theme::Theme;
    use egui::{Context, RawInput, Vec2b, pos2};

    fn transform(high: f64) -> PlotTransform {
        let frame = Rect::from_min_max(pos2(100.0, 50.0), pos2(300.0, 150.0));
        PlotTransform::new(frame, PlotBounds::from_min_max([0.0, 0.0], [high, 1.0]), Vec2b::FALSE)
    }

    fn level(y: f64, points: usize) -> Vec<PlotPoint> {
        (0..points).map(|x| PlotPoint::new(x as f64, y)).collect()
    }

    /// The bounds of what is drawn of `curves` in each of several frames of one window.
    fn drawn(frames: &[(&[Curve<'_>], PlotTransform)]) -> Vec<Rect> {
        let ctx = Context::default();
        let mut bounds = Vec::new();
        for (curves, transform) in frames {
            let mut draw = |ui: &mut Ui| {
                ui.set_clip_rect(*transform.frame());
                bounds.push(shape(ui, Id::unique("curves"), curves, transform).visual_bounding_rect());
            };
            drop(ctx.run_ui(RawInput::default(), &mut draw));
        }
        bounds
    }

    #[test]
    fn a_curve_is_drawn_where_it_is_now() {
        let colours = &Theme::bundled(true).colours;
        let (low, high, longer) = (level(0.25, 6), level(0.75, 6), level(0.25, 9));
        let curve = |points| Curve { name: "a", points, colour: colours.text, width: 1.0, dashed: false };
        let (first, moved, longer) = ([curve(&low)], [curve(&high)], [curve(&longer)]);
        let wider = [Curve { width: 6.0, ..curve(&low) }];
        let place = transform(10.0);
        let frames: [(&[Curve<'_>], PlotTransform); 7] = [
            (&first, place),
            (&first, place),
            (&moved, place),
            (&longer, place),
            (&wider, place),
            (&first, transform(5.0)),
            (&[], place),
        ];
        let seen = drawn(&frames);
        assert_eq!(seen[0], seen[1]);
        assert!((seen[0].center().y - 125.0).abs() < 0.5 && (seen[0].right() - 200.0).abs() < 2.0, "{:?}", seen[0]);
        assert!((seen[2].center().y - 75.0).abs() < 0.5, "its values changed: {:?}", seen[2]);
        assert!((seen[3].right() - 260.0).abs() < 2.0, "it went on: {:?}", seen[3]);
        assert!(seen[4].height() > seen[3].height() + 4.0, "{:?}", seen[4]);
        assert!(seen[5].right() > 298.0, "zoomed in: {:?}", seen[5]);
        assert!(!seen[6].is_positive(), "nothing is left: {:?}", seen[6]);
    }

    #[test]
    fn a_dense_curve_covers_where_it_goes_and_leaves_no_gap() {
        let column = |x: f32, ys: &[f32]| ys.iter().map(|y| pos2(x, *y)).collect::<Vec<_>>();
        let places = [column(10.2, &[5.0, 9.0, 7.0]), column(11.4, &[20.0, 18.0]), column(12.9, &[f32::NAN, 19.0])];
        let seen = columns(places.concat().into_iter(), 1.0);
        let range = |low, high| Rangef::new(low, high);
        assert_eq!(seen, [(10.5, range(5.0, 9.0)), (11.5, range(7.0, 20.0)), (12.5, range(18.0, 19.0))]);
        assert!(columns(std::iter::empty(), 1.0).is_empty());
        let gap = columns([column(1.5, &[4.0, 8.0]), column(9.5, &[2.0])].concat().into_iter(), 1.0);
        assert_eq!(gap, [(1.5, range(4.0, 8.0)), (2.5, range(8.0, 8.0)), (9.5, range(2.0, 2.0))], "a line over a gap");
        let skipped = columns([pos2(1.5, 4.0), pos2(3.5, 8.0)].into_iter(), 1.0);
        assert_eq!(skipped, [(1.5, range(4.0, 4.0)), (2.5, range(4.0, 6.0)), (3.5, range(6.0, 8.0))], "half the way");
        let mut mesh = Mesh::default();
        band(&mut mesh, &seen, Theme::bundled(true).colours.text, 0.5, 1.0);
        assert!(mesh.is_valid());
        assert_eq!(
            mesh.calc_bounds(),
            Rect::from_min_max(pos2(10.5, 4.0), pos2(12.5, 21.0)),
            "a pixel softer each way"
        );
        let jump = mesh.vertices[4].pos.y..=mesh.vertices[7].pos.y;
        assert!(jump.contains(&7.0) && jump.contains(&20.0), "the second column begins where the first ended");
    }

    #[test]
    fn a_notch_is_covered_and_slopes_and_peaks_stay() {
        let closed = |ranges: &[(f32, f32)]| {
            let column = |(x, (low, high)): (usize, &(f32, f32))| (x as f32, Rangef::new(*low, *high));
            let mut columns: Vec<_> = ranges.iter().enumerate().map(column).collect();
            close(&mut columns);
            columns.iter().map(|(_, range)| (range.min, range.max)).collect::<Vec<_>>()
        };
        let [band, low, high] = [(2.0, 8.0), (2.0, 3.0), (7.0, 8.0)];
        assert_eq!(closed(&[band, low, band, high, low, band]), [band; 6], "one column and two");
        let wide = [band, low, low, low, band];
        assert_eq!(closed(&wide), wide, "three columns are no notch");
        let slope = [(0.0, 1.0), (1.0, 3.0), (3.0, 4.0), (4.0, 9.0)];
        assert_eq!(closed(&slope), slope);
        let peak = [low, low, (0.0, 9.0), low, low];
        assert_eq!(closed(&peak), peak);
        let short: [&[_]; 3] = [&[], &[band], &[low, high]];
        for ranges in short {
            assert_eq!(closed(ranges), ranges, "nothing between");
        }
    }

    #[test]
    fn a_dense_curve_lies_where_a_sparse_one_does() {
        let colour = Theme::bundled(true).colours.text;
        let wave = |count: usize| -> Vec<PlotPoint> {
            let x = |index: usize| 10.0 * index as f64 / (count - 1) as f64;
            (0..count).map(|index| PlotPoint::new(x(index), 0.5 + 0.3 * x(index).sin())).collect()
        };
        let (sparse, dense) = (wave(100), wave(2000));
        let curve = |points| [Curve { name: "a", points, colour, width: 1.0, dashed: false }];
        let seen = drawn(&[(&curve(&sparse), transform(10.0)), (&curve(&dense), transform(10.0))]);
        let apart = |one: f32, other: f32| (one - other).abs();
        assert!(
            apart(seen[0].top(), seen[1].top()) < 0.75 && apart(seen[0].bottom(), seen[1].bottom()) < 0.75,
            "{seen:?}"
        );
        assert!(
            apart(seen[0].left(), seen[1].left()) < 2.0 && apart(seen[0].right(), seen[1].right()) < 2.0,
            "{seen:?}"
        );
    }

    #[test]
    fn a_vector_picture_has_lines_and_no_triangles() {
        let points = level(0.5, 6);
        let colour = Theme::bundled(true).colours.text;
        let curves = [Curve { name: "a", points: &points, colour, width: 1.0, dashed: false }];
        let ctx = Context::default();
        for wanted in [false, true] {
            svg::want(&ctx, wanted);
            let mut has_lines = None;
            drop(ctx.run_ui(RawInput::default(), |ui| {
                has_lines = Some(matches!(shape(ui, Id::unique("c"), &curves, &transform(10.0)), Shape::Vec(_)));
            }));
            assert_eq!(has_lines, Some(wanted));
        }
    }
}
