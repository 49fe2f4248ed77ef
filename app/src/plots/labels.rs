//! Places for words on a plot: where they cross no curve, with a line to what they name when they stand apart from it.

use super::chart::Shown;
use super::threads;
use egui::{Color32, Pos2, Rect, Stroke, Ui, pos2, vec2};
use egui_plot::PlotPoint;

/// Curves to keep clear of, and labels that are there already.
pub struct Obstacles<'a> {
    /// The plot.
    pub shown: &'a Shown,
    /// Curves that are drawn in it.
    pub curves: &'a [&'a [PlotPoint]],
    /// Labels that are placed already.
    pub taken: Vec<Rect>,
}

impl Obstacles<'_> {
    /// How many pieces of curves go through `label`.
    #[must_use]
    pub fn crossings(&self, label: Rect) -> usize {
        // Only the points over the label's width, and of them only pieces that are not all above or all below it: a plot
        // asks this for dozens of places in every frame.
        let value = |corner: Pos2| self.shown.transform.value_from_position(corner);
        let (low, high) = (value(label.left_bottom()), value(label.right_top()));
        let pieces = self.curves.iter().flat_map(|points| threads::visible(points, low.x, high.x).windows(2));
        let places = pieces.filter_map(|pair| match pair {
            [from, to] if from.y.max(to.y) >= low.y && from.y.min(to.y) <= high.y => {
                Some((self.shown.at(from.x, from.y), self.shown.at(to.x, to.y)))
            }
            _ => None,
        });
        places.filter(|(from, to)| touches(label, *from, *to)).count()
    }

    /// The first candidate inside the plot that no curve and no label crosses, or the one that fewest cross; it is
    /// taken from then on. Nothing when none fits into the plot.
    pub fn place(&mut self, candidates: impl IntoIterator<Item = Rect>) -> Option<Rect> {
        let room = self.shown.rect.shrink2(vec2(4.0, 2.0));
        let mut best: Option<(usize, Rect)> = None;
        for label in candidates {
            if !room.contains_rect(label) || self.taken.iter().any(|other| other.expand(2.0).intersects(label)) {
                continue;
            }
            let crossings = self.crossings(label.expand2(vec2(2.0, 0.0)));
            if best.is_none_or(|(fewest, _)| crossings < fewest) {
                best = Some((crossings, label));
            }
            if crossings == 0 {
                break;
            }
        }
        let (_, label) = best?;
        self.taken.push(label);
        Some(label)
    }
}

/// Whether the straight piece from `from` to `to` goes through `label`.
fn touches(label: Rect, from: Pos2, to: Pos2) -> bool {
    let mut enters = 0.0_f32;
    let mut leaves = 1.0_f32;
    for (start, end, low, high) in
        [(from.x, to.x, label.left(), label.right()), (from.y, to.y, label.top(), label.bottom())]
    {
        let way = end - start;
        if way.abs() < 1e-6 {
            if start < low || start > high {
                return false;
            }
            continue;
        }
        let (one, other) = ((low - start) / way, (high - start) / way);
        enters = enters.max(one.min(other));
        leaves = leaves.min(one.max(other));
    }
    enters <= leaves
}

/// Places around a marked point for a label of `size`, nearest first: beside it, above, below, then further away.
pub fn around(point: Pos2, size: egui::Vec2) -> impl Iterator<Item = Rect> {
    let beside = [-size.x - 12.0, 12.0].map(|across| pos2(point.x + across, point.y - size.y / 2.0));
    let beside = beside.into_iter().map(move |corner| Rect::from_min_size(corner, size));
    let steps = [-26.0, 12.0, -46.0, 32.0, -70.0, 56.0, -96.0, 84.0, -124.0, 112.0];
    let sides = [-size.x - 4.0, 8.0, -0.5 * size.x, -0.8 * size.x, -0.2 * size.x, -0.65 * size.x, -0.35 * size.x]
        .into_iter()
        .chain([-size.x - 60.0, 56.0, -size.x - 120.0, 116.0]);
    beside.chain(steps.into_iter().flat_map(move |down| {
        sides.clone().map(move |across| Rect::from_min_size(pos2(point.x + across, point.y + down), size))
    }))
}

/// Places on a level line for a label of `size`, below it and above it, from the right to the left.
pub fn along(rect: Rect, y: f32, size: egui::Vec2) -> impl Iterator<Item = Rect> {
    let shares = [0.98, 0.02, 0.76, 0.25, 0.5, 0.62, 0.38, 0.88, 0.12];
    shares.into_iter().flat_map(move |share| {
        let left = rect.left() + 4.0 + share * (rect.width() - 8.0 - size.x);
        [2.0, -size.y - 2.0].into_iter().map(move |down| Rect::from_min_size(pos2(left, y + down), size))
    })
}

/// A thin line from a mark of radius `radius` to its label, when the label does not stand beside it.
pub fn leader(ui: &Ui, mark: Pos2, radius: f32, label: Rect, colour: Color32) {
    let end = pos2(mark.x.clamp(label.left(), label.right()), mark.y.clamp(label.top(), label.bottom()));
    let way = end - mark;
    if way.length() > radius + 8.0 {
        ui.painter().line_segment([mark + way.normalized() * (radius + 1.0), end], Stroke::new(1.0, colour));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_that_only_passes_by_touches_nothing() {
        let label = Rect::from_min_max(pos2(10.0, 10.0), pos2(50.0, 20.0));
        assert!(touches(label, pos2(0.0, 15.0), pos2(60.0, 15.0)), "straight through, ends outside");
        assert!(touches(label, pos2(20.0, 0.0), pos2(20.0, 12.0)), "ends inside");
        assert!(!touches(label, pos2(0.0, 25.0), pos2(60.0, 25.0)), "below");
        assert!(!touches(label, pos2(0.0, 0.0), pos2(9.0, 30.0)), "beside");
        assert!(!touches(label, pos2(0.0, 12.0), pos2(12.0, 0.0)), "across the corner, outside");
    }

    #[test]
    fn candidates_around_a_point_never_cover_it() {
        let point = pos2(100.0, 100.0);
        for label in around(point, vec2(90.0, 14.0)) {
            assert!(!label.contains(point), "{label:?}");
        }
        for label in along(Rect::from_min_max(pos2(0.0, 0.0), pos2(400.0, 200.0)), 50.0, vec2(90.0, 14.0)) {
            assert!(!label.y_range().contains(50.0) && label.left() >= 4.0 && label.right() <= 396.0);
        }
    }
}
