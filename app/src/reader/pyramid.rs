//! A series in memory with the extremes of ever longer stretches above it, so that a plot of any stretch costs the same.
//!
//! Place in the data flow: the store's reader thread appends what is new of a series ([`super::tracks`]) and asks for
//! as many points as a plot has pixels; the window's thread only ever gets the answer. Level `k` holds one entry for
//! each complete group of `FAN^(k+1)` points, so an append touches one entry of a level in `FAN`, and the smallest and
//! largest value of any stretch need a few entries of each level.

use temper_store::Point;

/// Points or entries under one entry.
const FAN: usize = 4;

/// Place that stands for "no number here".
const NONE: u32 = u32::MAX;

/// Places of the smallest and the largest number of a stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    low: u32,
    high: u32,
}

impl Extent {
    const EMPTY: Self = Self { low: NONE, high: NONE };
}

/// A series with its levels.
#[derive(Debug, Clone, Default)]
pub struct Pyramid {
    steps: Vec<u64>,
    values: Vec<f64>,
    levels: Vec<Vec<Extent>>,
    gaps: Vec<u64>,
}

impl Pyramid {
    /// Points held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The newest point.
    #[must_use]
    pub fn last(&self) -> Option<Point> {
        let index = self.len().checked_sub(1)?;
        self.point(index)
    }

    /// Steps whose value is not a number or infinite, ascending.
    #[must_use]
    pub fn gaps(&self) -> &[u64] {
        &self.gaps
    }

    fn point(&self, index: usize) -> Option<Point> {
        Some(Point { step: *self.steps.get(index)?, value: *self.values.get(index)? })
    }

    /// Appends a point, whose step must be after the last one.
    pub fn push(&mut self, point: Point) {
        self.steps.push(point.step);
        self.values.push(point.value);
        if !point.value.is_finite() {
            self.gaps.push(point.step);
        }
        let mut level = 0;
        let mut below = self.len();
        while below.is_multiple_of(FAN) {
            let group = (below - FAN..below)
                .map(|index| match level {
                    0 => self.single(index),
                    _ => self.levels.get(level - 1).and_then(|entries| entries.get(index)).copied(),
                })
                .fold(Extent::EMPTY, |all, entry| self.join(all, entry.unwrap_or(Extent::EMPTY)));
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let Some(entries) = self.levels.get_mut(level) else { return };
            entries.push(group);
            below = entries.len();
            level += 1;
        }
    }

    /// The stretch of one point.
    fn single(&self, index: usize) -> Option<Extent> {
        let place = u32::try_from(index).ok().filter(|_| self.values.get(index).is_some_and(|v| v.is_finite()))?;
        Some(Extent { low: place, high: place })
    }

    fn value(&self, place: u32) -> f64 {
        self.values.get(place as usize).copied().unwrap_or(f64::NAN)
    }

    /// Takes in a later stretch: of equal numbers the first is the smallest and the last the largest.
    fn join(&self, before: Extent, later: Extent) -> Extent {
        if later.low == NONE {
            return before;
        }
        if before.low == NONE {
            return later;
        }
        let lower = self.value(later.low).total_cmp(&self.value(before.low)).is_lt();
        let higher = self.value(later.high).total_cmp(&self.value(before.high)).is_ge();
        Extent { low: if lower { later.low } else { before.low }, high: if higher { later.high } else { before.high } }
    }

    /// Smallest and largest number among the points from place `from` up to, without, `to`.
    fn extent(&self, from: usize, to: usize) -> Extent {
        let mut all = Extent::EMPTY;
        let mut at = from;
        while at < to {
            // The largest complete group that begins here and ends inside.
            let (mut span, mut found) = (1, self.single(at));
            for entries in &self.levels {
                let wider = span * FAN;
                if !at.is_multiple_of(wider) || at + wider > to {
                    break;
                }
                let Some(entry) = entries.get(at / wider) else { break };
                (span, found) = (wider, Some(*entry));
            }
            all = self.join(all, found.unwrap_or(Extent::EMPTY));
            at += span;
        }
        all
    }

    /// Places of the points from `first_step` to `last_step` (both included) and of one more at either end.
    fn places(&self, first_step: u64, last_step: u64) -> (usize, usize) {
        let from = self.steps.partition_point(|step| *step < first_step).saturating_sub(1);
        let to = (self.steps.partition_point(|step| *step <= last_step) + 1).min(self.len());
        (from, to)
    }

    /// The points from `first_step` to `last_step` (both included) and one more at either end, so that a line reaches
    /// the edges of a plot; at most `limit` (6 at least). Where there are more, equal spans are joined, and of each its
    /// smallest and its largest number remain at their own steps, beside the first and the last number of all; gaps
    /// are left out then.
    #[must_use]
    pub fn window(&self, first_step: u64, last_step: u64, limit: usize) -> Vec<Point> {
        let (from, to) = self.places(first_step, last_step);
        let limit = limit.max(6);
        if to.saturating_sub(from) <= limit {
            return (from..to).filter_map(|index| self.point(index)).collect();
        }
        let finite = |index: usize| self.point(index).filter(|point| point.value.is_finite());
        let mut points = Vec::with_capacity(limit);
        points.extend(finite(from));
        self.spans(from, to, limit - 2, &mut points);
        points.extend(finite(to - 1));
        points.dedup_by(|later, earlier| later.step == earlier.step);
        points
    }

    /// The first and the last number from `first_step` to `last_step`, with one more point at either end.
    #[must_use]
    pub fn ends(&self, first_step: u64, last_step: u64) -> Option<(Point, Point)> {
        let (from, to) = self.places(first_step, last_step);
        let mut numbers = (from..to).filter_map(|index| self.point(index)).filter(|point| point.value.is_finite());
        let first = numbers.next()?;
        Some((first, numbers.next_back().unwrap_or(first)))
    }

    /// How many points from `first_step` to `last_step` (both included) are larger than `value`.
    #[must_use]
    pub fn above(&self, value: f64, first_step: u64, last_step: u64) -> u64 {
        let from = self.steps.partition_point(|step| *step < first_step);
        let to = self.steps.partition_point(|step| *step <= last_step);
        let between = self.values.get(from..to.max(from)).unwrap_or_default();
        between.iter().filter(|other| **other > value).count() as u64
    }

    /// Appends smallest and largest of equal spans.
    fn spans(&self, from: usize, to: usize, limit: usize, points: &mut Vec<Point>) {
        let span = to.saturating_sub(from).div_ceil(limit / 2);
        let mut at = from;
        while at < to {
            let end = (at + span).min(to);
            let Extent { low, high } = self.extent(at, end);
            if low != NONE {
                let (first, second) = (low.min(high), low.max(high));
                points.extend(self.point(first as usize));
                if second != first {
                    points.extend(self.point(second as usize));
                }
            }
            at = end;
        }
    }

    /// Smallest and largest number from `first_step` to `last_step`, both included; nothing when there is none.
    #[must_use]
    pub fn extremes(&self, first_step: u64, last_step: u64) -> Option<(f64, f64)> {
        let from = self.steps.partition_point(|step| *step < first_step);
        let to = self.steps.partition_point(|step| *step <= last_step);
        let Extent { low, high } = self.extent(from, to);
        (low != NONE).then(|| (self.value(low), self.value(high)))
    }

    /// Keeps every second point: half the memory, for curves that are smooth anyway.
    pub fn halve(&mut self) {
        let kept: Vec<Point> = (0..self.len()).step_by(2).filter_map(|index| self.point(index)).collect();
        *self = Self::default();
        kept.into_iter().for_each(|point| self.push(point));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::curves;

    /// A generator for tests that is the same everywhere.
    struct Dice(u64);

    impl Dice {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn below(&mut self, limit: u64) -> u64 {
            self.next() % limit.max(1)
        }
    }

    /// A series with uneven steps, equal values, spikes and gaps.
    fn series(dice: &mut Dice, length: u64) -> Vec<Point> {
        let mut step = 0;
        let gaps = dice.below(3) * 7;
        (0..length)
            .map(|_| {
                step += 1 + dice.below(3);
                let value = match dice.below(100) {
                    roll if roll < gaps => [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][dice.below(3) as usize],
                    99 => dice.below(1_000) as f64 - 500.0,
                    _ => dice.below(9) as f64 * 0.25 - 1.0,
                };
                Point { step, value }
            })
            .collect()
    }

    fn same(a: &[Point], b: &[Point]) -> bool {
        let equal = |(a, b): (&Point, &Point)| a.step == b.step && a.value.to_bits() == b.value.to_bits();
        a.len() == b.len() && a.iter().zip(b).all(equal)
    }

    /// What a window shows, found by looking at every point.
    fn thinned(points: &[Point], limit: usize) -> Vec<Point> {
        if points.len() <= limit {
            return points.to_vec();
        }
        let ends = [points.first(), points.last()].map(|end| end.filter(|point| point.value.is_finite()).copied());
        let middle = curves::thin(points.to_vec(), limit - 2);
        let mut all: Vec<Point> = ends[0].into_iter().chain(middle).chain(ends[1]).collect();
        all.dedup_by(|later, earlier| later.step == earlier.step);
        all
    }

    #[test]
    fn points_above_a_value_are_counted_between_two_steps() {
        let mut pyramid = Pyramid::default();
        for (step, value) in [(1, 3.0), (2, 0.5), (4, f64::NAN), (5, 1.0), (7, 2.0)] {
            pyramid.push(Point { step, value });
        }
        assert_eq!(pyramid.above(1.0, 0, u64::MAX), 2, "neither what is as large nor what is no number");
        assert_eq!(pyramid.above(1.0, 2, 7), 1);
        assert_eq!(pyramid.above(1.0, 8, 3), 0);
        assert_eq!(Pyramid::default().above(0.0, 0, 9), 0);
    }

    #[test]
    fn any_window_equals_the_extremes_found_by_looking_at_every_point() {
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
        for case in 0..300 {
            let length = [0, 1, 3, 4, 5, 16, 17, 63, 64, 65, 257, 1024, 1500][dice.below(13) as usize];
            let points = series(&mut dice, length);
            let mut pyramid = Pyramid::default();
            points.iter().for_each(|point| pyramid.push(*point));
            let end = points.last().map_or(10, |point| point.step + 5);
            for _ in 0..20 {
                let (one, other) = (dice.below(end), dice.below(end));
                let (first, last) = (one.min(other), one.max(other));
                let limit = 6 + dice.below(400) as usize;
                let from = points.iter().position(|p| p.step >= first).unwrap_or(points.len()).saturating_sub(1);
                let to = (points.iter().filter(|p| p.step <= last).count() + 1).min(points.len());
                let wanted = thinned(&points[from..to.max(from)], limit);
                let found = pyramid.window(first, last, limit);
                assert!(same(&found, &wanted), "case {case}: {length} points, {first}..={last} in {limit}");
                assert!(found.len() <= limit);
                let inside = points.iter().filter(|p| (first..=last).contains(&p.step) && p.value.is_finite());
                let brute = inside.fold(None, |seen: Option<(f64, f64)>, point| {
                    let (low, high) = seen.unwrap_or((point.value, point.value));
                    Some((low.min(point.value), high.max(point.value)))
                });
                assert_eq!(pyramid.extremes(first, last), brute, "case {case}");
            }
        }
    }

    #[test]
    fn appending_one_by_one_or_later_gives_the_same() {
        let mut dice = Dice(7);
        let points = series(&mut dice, 5_000);
        let mut grown = Pyramid::default();
        for point in &points {
            grown.push(*point);
        }
        let gaps: Vec<u64> = points.iter().filter(|p| !p.value.is_finite()).map(|p| p.step).collect();
        assert_eq!(grown.gaps(), gaps);
        assert_eq!(grown.last().map(|point| point.step), points.last().map(|point| point.step));
        let entries: usize = grown.levels.iter().map(Vec::len).sum();
        assert!(entries < points.len() / 3 + 8, "the levels together are a third of the series: {entries}");
        grown.halve();
        assert_eq!(grown.len(), 2_500);
        let every_second: Vec<Point> = points.iter().step_by(2).copied().collect();
        assert!(same(&grown.window(0, u64::MAX, 9_999), &every_second));
    }
}
