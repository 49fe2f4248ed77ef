//! Which of two models is better on the same rows, and how sure that is.
//!
//! Place in the data flow: `compare` measures models row by row and hands two of them to [`verdict`]; what a run's
//! checkpoints made of a row decides its [`kind`]. Rows are what a person collected one by one, so rows are what is drawn
//! again, not tokens. Sources: paired bootstrap, Koehn 2004, "Statistical Significance Tests for Machine Translation
//! Evaluation"; McNemar 1947 in its exact form.

use crate::eval::RowScore;
use temper_nn::rng::Stream;
use temper_protocol::comparison::{Interval, RowKind, Verdict};

/// Draws of rows with replacement.
const DRAWS: usize = 2000;
/// Share of the draws on each side of an interval.
const TAIL: f64 = 0.025;
/// Seed of the draws: the same rows give the same interval.
const SEED: u64 = 0;
/// Below so many nats a token a row was known before training.
const EASY_NATS: f64 = 0.2;
/// Share of the base's loss that has to go before a row counts as learned.
const LEARNED: f64 = 0.2;
/// Share of it below which nothing was learned.
const NOTHING: f64 = 0.05;
/// Share of what was learned whose loss makes a row forgotten.
const LOST: f64 = 0.5;

/// `b` less `a` on the same rows.
#[must_use]
pub fn verdict((name_a, a): (&str, &[RowScore]), (name_b, b): (&str, &[RowScore])) -> Verdict {
    let pairs: Vec<[f64; 3]> =
        a.iter().zip(b).map(|(a, b)| [a.tokens, b.loss - a.loss, 100.0 * (b.right - a.right)]).collect();
    let (loss, points) = intervals(&pairs);
    let whole = |row: &RowScore| row.right == row.tokens;
    let count =
        |which: fn(bool, bool) -> bool| a.iter().zip(b).filter(|(a, b)| which(whole(a), whole(b))).count() as u64;
    let (only_a, only_b) = (count(|a, b| a && !b), count(|a, b| b && !a));
    let (a, b, rows) = (name_a.to_owned(), name_b.to_owned(), pairs.len() as u64);
    Verdict { a, b, rows, loss, points, only_a, only_b, p_flips: mcnemar(only_a, only_b) }
}

/// What a model of several tasks does in one of them, beside a model of that task alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TaskScore {
    /// What is measured, such as an accuracy or a loss.
    pub value: f64,
    /// The same of the reference; not 0.
    pub reference: f64,
    /// Whether more is better.
    pub higher_is_better: bool,
}

/// Mean over tasks of the relative gain `± (value − reference) / |reference|`, more than 0 where the model of several
/// tasks is better: Δm of Maninis et al. 2019, "Attentive Single-Tasking of Multiple Tasks", by which such models are
/// compared. 0 without tasks.
#[must_use]
pub fn mean_relative_gain(tasks: &[TaskScore]) -> f64 {
    let gain = |task: &TaskScore| {
        let gain = (task.value - task.reference) / task.reference.abs();
        if task.higher_is_better { gain } else { -gain }
    };
    tasks.iter().map(gain).sum::<f64>() / tasks.len().max(1) as f64
}

/// Sums of the last two columns over the first, of all rows and of rows drawn with replacement.
fn intervals(rows: &[[f64; 3]]) -> (Interval, Interval) {
    let ratios = |picked: &mut dyn Iterator<Item = &[f64; 3]>| {
        let sum = picked.fold([0.0; 3], |sum, row| [sum[0] + row[0], sum[1] + row[1], sum[2] + row[2]]);
        (sum[1] / sum[0], sum[2] / sum[0])
    };
    let whole = ratios(&mut rows.iter());
    let mut stream = Stream::new(SEED, "paired bootstrap");
    let draws = (0..DRAWS).map(|_| {
        let mut picked = (0..rows.len()).filter_map(|_| rows.get(stream.below(rows.len() as u64) as usize));
        ratios(&mut picked)
    });
    let (mut losses, mut points): (Vec<f64>, Vec<f64>) = draws.unzip();
    (interval(whole.0, &mut losses), interval(whole.1, &mut points))
}

fn interval(value: f64, draws: &mut [f64]) -> Interval {
    draws.sort_by(f64::total_cmp);
    let last = draws.len().saturating_sub(1);
    let at = |share: f64| draws.get((share * last as f64).round() as usize).copied().unwrap_or(f64::NAN);
    Interval { value, low: at(TAIL), high: at(1.0 - TAIL) }
}

/// Two-sided probability of flips at least as uneven, if each goes either way with the same chance.
#[must_use]
pub fn mcnemar(one: u64, other: u64) -> f64 {
    let (fewer, all) = (one.min(other), one + other);
    let mut ln_choose = 0.0;
    let mut sum = 0.0;
    for taken in 0..=fewer {
        if taken > 0 {
            ln_choose += ((all - taken + 1) as f64 / taken as f64).ln();
        }
        sum += (ln_choose - all as f64 * std::f64::consts::LN_2).exp();
    }
    (2.0 * sum).min(1.0)
}

/// How a run came to stand to a row: its base's loss and those of its checkpoints, oldest first, nats a trained token.
#[must_use]
pub fn kind(base: f64, checkpoints: &[f64]) -> RowKind {
    let best = checkpoints.iter().copied().fold(f64::INFINITY, f64::min);
    let last = checkpoints.last().copied().unwrap_or(base);
    let gained = base - best;
    if base < EASY_NATS {
        RowKind::Easy
    } else if gained.is_nan() || gained < NOTHING * base {
        RowKind::Never
    } else if gained >= LEARNED * base && last - best > LOST * gained {
        RowKind::Forgotten
    } else if base - last >= LEARNED * base {
        RowKind::Learned
    } else {
        RowKind::Partly
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(of: &[(f64, f64, f64)]) -> Vec<RowScore> {
        of.iter().map(|&(tokens, loss, right)| RowScore { tokens, loss, right, ..RowScore::default() }).collect()
    }

    #[test]
    fn the_relative_gain_of_the_reference_is_zero_and_has_the_sign_of_what_is_better() {
        let score =
            |value: f64, reference: f64, higher_is_better: bool| TaskScore { value, reference, higher_is_better };
        assert_eq!(mean_relative_gain(&[score(0.7, 0.7, true), score(1.3, 1.3, false)]), 0.0, "the reference itself");
        let gained = mean_relative_gain(&[score(0.6, 0.5, true), score(0.4, 0.5, false)]);
        assert!((gained - 0.2).abs() < 1e-12, "both a fifth better: {gained}");
        let mixed = mean_relative_gain(&[score(0.6, 0.5, true), score(0.55, 0.5, false)]);
        assert!((mixed - 0.05).abs() < 1e-12, "a fifth better, a tenth worse: {mixed}");
        assert_eq!(mean_relative_gain(&[]), 0.0);
    }

    #[test]
    fn a_model_that_is_better_on_every_row_is_clearly_better() {
        let a = rows(&[(4.0, 4.0, 2.0), (2.0, 2.0, 1.0), (4.0, 8.0, 0.0)]);
        let b = rows(&[(4.0, 2.0, 4.0), (2.0, 1.0, 2.0), (4.0, 6.0, 1.0)]);
        let told = verdict(("a", &a), ("b", &b));
        assert_eq!((told.rows, told.only_a, told.only_b), (3, 0, 2));
        assert!((told.loss.value + 0.5).abs() < 1e-12 && (told.points.value - 40.0).abs() < 1e-12, "{told:?}");
        assert!(told.loss.is_clear() && told.points.is_clear(), "{told:?}");
        assert!(told.loss.low <= told.loss.value && told.loss.value <= told.loss.high, "{told:?}");
        let back = verdict(("b", &b), ("a", &a));
        assert_eq!((back.loss.value, back.only_a), (-told.loss.value, 2));
        assert_eq!(told, verdict(("a", &a), ("b", &b)), "the same rows give the same interval");
    }

    #[test]
    fn an_interval_covers_what_it_says() {
        // Rows whose difference has mean 0: of a hundred sets about five lie outside.
        let mut stream = Stream::new(5, "rows");
        let mut outside = 0;
        for _ in 0..100 {
            let set: Vec<[f64; 3]> = (0..40).map(|_| [1.0, stream.normal(), 0.0]).collect();
            outside += usize::from(intervals(&set).0.is_clear());
        }
        assert!((1..=13).contains(&outside), "{outside} of 100");
    }

    #[test]
    fn flips_have_the_probabilities_of_a_fair_coin() {
        assert_eq!((mcnemar(0, 0), mcnemar(3, 3)), (1.0, 1.0));
        assert!((mcnemar(0, 5) - 2.0 / 32.0).abs() < 1e-12, "{}", mcnemar(0, 5));
        assert!((mcnemar(2, 8) - 2.0 * (1.0 + 10.0 + 45.0) / 1024.0).abs() < 1e-12, "{}", mcnemar(2, 8));
        assert!(mcnemar(400, 600) < 1e-8 && mcnemar(0, 100_000) >= 0.0);
    }

    #[test]
    fn rows_are_told_apart_by_what_the_checkpoints_made_of_them() {
        assert_eq!(kind(0.1, &[0.05]), RowKind::Easy);
        assert_eq!(kind(2.0, &[1.95, 2.1]), RowKind::Never);
        assert_eq!(kind(2.0, &[1.0, 1.8]), RowKind::Forgotten);
        assert_eq!(kind(2.0, &[1.5, 1.0, 1.2]), RowKind::Learned);
        assert_eq!(kind(2.0, &[1.8]), RowKind::Partly);
        assert_eq!(kind(2.0, &[]), RowKind::Never);
        assert_eq!(kind(2.0, &[f64::NAN]), RowKind::Never);
    }

    #[test]
    fn no_rows_give_no_interval() {
        assert!(verdict(("a", &[]), ("b", &[])).loss.value.is_nan());
    }
}
