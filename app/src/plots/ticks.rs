//! Round numbers on axes.

/// Round values from `low` to `high`, at most `most` of them, and the decimals they need.
#[must_use]
pub fn ticks(low: f64, high: f64, most: usize) -> (Vec<f64>, usize) {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 || most == 0 {
        return (Vec::new(), 0);
    }
    let rough = span / most as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(power * 10.0);
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    ((first..=last).map(|index| index as f64 * step).collect(), decimals)
}

/// As [`ticks`], with more of them where `most` would leave fewer than two: one value alone gives no scale.
#[must_use]
pub fn two_or_more(low: f64, high: f64, most: usize) -> (Vec<f64>, usize) {
    // A step is at most 2.5 times what was asked for, so that five always leave two.
    let mut tries = (most..=most.max(5)).map(|most| ticks(low, high, most));
    tries.find(|(values, _)| values.len() > 1).unwrap_or_else(|| ticks(low, high, most))
}

/// A range that holds all finite values with a little air, starting at zero where that is close.
#[must_use]
pub fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return None;
    }
    let span = (high - low).max(high.abs() * 0.02).max(1e-9);
    Some((low - span * 0.06, high + span * 0.06))
}

/// How a value of an axis with logarithms is written: the value itself.
#[must_use]
pub fn decimals(value: f64, decimals: usize) -> String {
    format!("{value:.decimals$}")
}

/// Where an axis ends that goes to `least` at least: each doubling has 32 ends. An axis that followed every step of a run
/// would move all that stands on it by less than a point with every news.
#[must_use]
pub fn far_end(least: f64) -> f64 {
    let step = 2f64.powf(least.log2().floor()) / 32.0;
    (least / step).ceil() * step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        let (values, decimals) = ticks(1.21, 3.02, 5);
        assert_eq!(values, vec![1.5, 2.0, 2.5, 3.0]);
        assert_eq!(decimals, 1);
        let (values, _) = ticks(0.0, 1200.0, 6);
        assert_eq!(values, vec![0.0, 200.0, 400.0, 600.0, 800.0, 1000.0, 1200.0]);
        assert!(ticks(1.0, 1.0, 5).0.is_empty());
        assert!(ticks(f64::NAN, 1.0, 5).0.is_empty());
    }

    #[test]
    fn a_scale_has_two_values_at_least() {
        assert_eq!(ticks(10.6, 11.9, 2).0, [11.0], "which is why there is another way");
        for low in [0.0, 0.3, 3.97, 10.6, 99.0] {
            for span in [0.011, 0.4, 1.3, 2.9, 7.0, 55.0] {
                let (values, _) = two_or_more(low, low + span, 2);
                assert!((2..=5).contains(&values.len()), "{low} and {span} more: {values:?}");
                assert!(values.iter().all(|value| (low - 1e-6..=low + span + 1e-6).contains(value)), "{values:?}");
            }
        }
        assert!(two_or_more(1.0, 1.0, 2).0.is_empty());
    }

    #[test]
    fn a_range_ignores_gaps() {
        let (low, high) = range([1.0, f64::NAN, 3.0].into_iter()).expect("a range");
        assert!(low < 1.0 && high > 3.0);
        assert_eq!(range([f64::NAN].into_iter()), None);
    }

    #[test]
    fn an_axis_ends_a_little_further_and_stays_there_for_a_while() {
        let mut ends = Vec::new();
        for steps in 1..=100_000_u32 {
            let least = f64::from(steps);
            let end = far_end(least);
            assert!((least..=least * (1.0 + 1.0 / 32.0)).contains(&end), "{least} ends at {end}");
            if ends.last() != Some(&end) {
                ends.push(end);
            }
        }
        assert!(ends.is_sorted() && ends.len() < 17 * 32, "{} ends", ends.len());
        assert!(far_end(1e-6) >= 1e-6 && far_end(1e-6) < 1.1e-6);
    }
}
