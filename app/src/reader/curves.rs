//! Series of the store turned into curves of a plot: smoothing, thinning, logarithms, the schedule to come.

use super::snapshot::StepMap;
use crate::format;
use egui_plot::PlotPoint;
use temper_protocol::project::Train;
use temper_store::{Point, RunRow};

/// Weight of the past in the smoothed curve, for series of a few hundred points and more.
const SMOOTHING: f64 = 0.95;

/// Exponential moving average without the bias of its start, one point after another.
#[derive(Debug, Clone)]
pub struct Average {
    keep: f64,
    sum: f64,
    weight: f64,
}

impl Average {
    /// For a series of `count` points: a short run would be smoothed away, its memory is a tenth of its length.
    #[must_use]
    pub fn over(count: usize) -> Self {
        let memory = (count as f64 / 10.0).clamp(2.0, 1.0 / (1.0 - SMOOTHING));
        Self { keep: 1.0 - 1.0 / memory, sum: 0.0, weight: 0.0 }
    }

    /// The curve at the next point; nothing at a gap.
    pub fn push(&mut self, point: Point) -> Option<Point> {
        if !point.value.is_finite() {
            return None;
        }
        self.sum = self.sum * self.keep + point.value * (1.0 - self.keep);
        self.weight = self.weight * self.keep + (1.0 - self.keep);
        Some(Point { step: point.step, value: self.sum / self.weight })
    }
}

/// Smooths a whole series; gaps (no number) are left out.
#[must_use]
pub fn smooth(points: &[Point]) -> Vec<Point> {
    let mut average = Average::over(points.len());
    points.iter().filter_map(|point| average.push(*point)).collect()
}

/// Thins to at most `limit` points by keeping smallest and largest of equal spans, in order.
#[must_use]
pub fn thin(points: Vec<Point>, limit: usize) -> Vec<Point> {
    if points.len() <= limit || limit < 4 {
        return points;
    }
    let span = points.len().div_ceil(limit / 2);
    let mut thinned = Vec::with_capacity(limit);
    for chunk in points.chunks(span) {
        let finite = |point: &&Point| point.value.is_finite();
        let low = chunk.iter().filter(finite).min_by(|a, b| a.value.total_cmp(&b.value));
        let high = chunk.iter().filter(finite).max_by(|a, b| a.value.total_cmp(&b.value));
        if let (Some(low), Some(high)) = (low, high) {
            let (first, second) = if low.step <= high.step { (low, high) } else { (high, low) };
            thinned.push(*first);
            if first.step != second.step {
                thinned.push(*second);
            }
        }
    }
    thinned
}

/// Places points on the axis; on a logarithmic one the values become log10, what has none is left out.
#[must_use]
pub fn place(points: &[Point], map: &StepMap, log_y: bool) -> Vec<PlotPoint> {
    let mut placed = Vec::with_capacity(points.len());
    for point in points {
        let value = if log_y { point.value.log10() } else { point.value };
        if value.is_finite() {
            placed.push(PlotPoint::new(map.place(point.step as f64), value));
        }
    }
    placed
}

/// The points whose x is in `range`, both ends included.
#[must_use]
pub fn inside(points: &[PlotPoint], range: (f64, f64)) -> &[PlotPoint] {
    let from = points.partition_point(|point| point.x < range.0);
    let to = points.partition_point(|point| point.x <= range.1);
    points.get(from..to).unwrap_or_default()
}

/// Learning rate at `step` (from 1) of `steps` as the project plans it: what the trainer will use.
#[must_use]
pub fn planned_rate(train: &Train, steps: u64, step: u64) -> f64 {
    let total = steps.max(1) as f64;
    let at = (step as f64).clamp(1.0, total);
    let warmup = (train.warmup_steps as f64).min(total);
    if at <= warmup {
        return train.lr_peak * at / warmup;
    }
    let share = |from: f64, over: f64| ((at - from) / over.max(1.0)).max(0.0);
    let progress = share(warmup, total - warmup);
    let decay = (train.decay_share * total).round().min(total - warmup);
    let fall = match train.schedule.as_str() {
        "linear" => 1.0 - progress,
        "cosine" => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        "wsd" => 1.0 - share(total - decay, decay).sqrt(),
        _ => return train.lr_peak,
    };
    train.lr_peak * (train.lr_floor + (1.0 - train.lr_floor) * fall)
}

/// What a curve did, in a sentence: from, to, and for how long validation has not improved.
#[must_use]
pub fn sentence(train: &[Point], validation: &[Point], row: &RunRow) -> String {
    let (Some(first), Some(last)) = (train.first(), train.last()) else {
        return String::new();
    };
    let figure = |point: &Point| format!("{:.2}", point.value);
    let mut text = if last.value < first.value - 0.005 {
        t!("words-train-fell", first = figure(first), last = figure(last))
    } else if last.value > first.value + 0.005 {
        t!("words-train-rose", first = figure(first), last = figure(last))
    } else {
        t!("words-train-stayed", value = figure(last))
    };
    // The base was validated before step 1: that is no validation of what was trained.
    let newest = validation.last().map_or(0, |point| point.step);
    if validation.is_empty() {
        text.push_str(t!("words-no-rows"));
    } else if newest == 0 {
        text.push_str(if row.is_active() { t!("words-not-validated") } else { t!("words-ended-unvalidated") });
    } else if row.best_step == 0 {
        text.push_str(t!("words-validation-nan"));
    } else if newest > row.best_step {
        let since = row.steps.saturating_sub(row.best_step);
        text.push_str(&t!("words-not-improved", n = since, steps = format::count(since)));
    } else {
        text.push_str(t!("words-validation-best"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[f64]) -> Vec<Point> {
        values.iter().enumerate().map(|(step, value)| Point { step: step as u64 + 1, value: *value }).collect()
    }

    #[test]
    fn smoothing_follows_a_constant_exactly_and_skips_gaps() {
        let mut points = line(&[2.0; 50]);
        points[10].value = f64::NAN;
        let smoothed = smooth(&points);
        assert_eq!(smoothed.len(), 49);
        assert!(smoothed.iter().all(|point| (point.value - 2.0).abs() < 1e-12));
    }

    #[test]
    fn thinning_keeps_the_extremes_and_the_order() {
        let mut values: Vec<f64> = (0..10_000).map(|index| f64::from(index % 7)).collect();
        values[4321] = 99.0;
        let thinned = thin(line(&values), 400);
        assert!(thinned.len() <= 400);
        assert!(thinned.iter().any(|point| point.value > 98.0));
        assert!(thinned.windows(2).all(|pair| pair[0].step < pair[1].step));
    }

    #[test]
    fn the_schedule_warms_up_and_ends_at_its_floor() {
        for schedule in ["constant", "linear", "cosine", "wsd"] {
            let train = Train { schedule: schedule.to_owned(), warmup_steps: 10, ..Train::default() };
            assert!((planned_rate(&train, 200, 5) - train.lr_peak / 2.0).abs() < 1e-12);
            assert!((planned_rate(&train, 200, 10) - train.lr_peak).abs() < 1e-9, "{schedule}");
            let end = if schedule == "constant" { train.lr_peak } else { train.lr_peak * train.lr_floor };
            assert!((planned_rate(&train, 200, 200) - end).abs() < 1e-9, "{schedule}");
        }
    }

    #[test]
    fn the_sentence_says_what_happened() {
        let train = line(&[2.91, 2.0, 1.35]);
        let validation = vec![Point { step: 1, value: 2.0 }, Point { step: 2, value: 2.1 }];
        let row = RunRow { best_step: 1, steps: 63, ..RunRow::default() };
        let text = sentence(&train, &validation, &row);
        assert_eq!(text, "Train fell from 2.91 to 1.35. Validation has not improved for 62 steps.");
        assert_eq!(sentence(&[], &[], &row), "");
    }

    #[test]
    fn a_run_without_a_validation_has_no_best_one() {
        let train = line(&[2.91, 2.0, 1.35]);
        let base = vec![Point { step: 0, value: 2.9 }];
        let row = |status: &str| RunRow { status: status.to_owned(), steps: 3, ..RunRow::default() };
        let text = |status: &str| sentence(&train, &base, &row(status));
        assert_eq!(text("stopped"), "Train fell from 2.91 to 1.35. It ended before its first validation.");
        assert_eq!(text("running"), "Train fell from 2.91 to 1.35. Not validated yet.");
        let broken = vec![Point { step: 0, value: 2.9 }, Point { step: 2, value: f64::NAN }];
        let text = sentence(&train, &broken, &row("stopped"));
        assert_eq!(text, "Train fell from 2.91 to 1.35. No validation gave a number.");
        let text = sentence(&train, &[], &row("running"));
        assert_eq!(text, "Train fell from 2.91 to 1.35. There are no validation rows.");
    }
}
