//! Differences between the trained model and what was written.

/// Sums over all compared positions.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Positions compared.
    pub positions: u64,
    /// Largest absolute difference of a logit.
    pub max_abs: f64,
    /// Whether everything compared was finite.
    pub finite: bool,
    sum_abs: f64,
    sum_size: f64,
    entries: u64,
    largest_logit: f64,
    agreeing: u64,
    change_sum: f64,
    change_entries: u64,
    change_squares: f64,
    along: f64,
}

impl Default for Measured {
    fn default() -> Self {
        Self {
            positions: 0,
            max_abs: 0.0,
            finite: true,
            sum_abs: 0.0,
            sum_size: 0.0,
            entries: 0,
            largest_logit: 0.0,
            agreeing: 0,
            change_sum: 0.0,
            change_entries: 0,
            change_squares: 0.0,
            along: 0.0,
        }
    }
}

impl Measured {
    /// Adds one case: logits (positions x vocabulary) of the trained model, of what was written, and of
    /// the base.
    pub fn add(&mut self, trained: &[Vec<f32>], written: &[Vec<f32>], base: Option<&[Vec<f32>]>) {
        if trained.len() != written.len() {
            self.finite = false;
        }
        for (index, (ours, theirs)) in trained.iter().zip(written).enumerate() {
            self.positions += 1;
            // A padded vocabulary may be longer in one of them.
            for (a, b) in ours.iter().zip(theirs) {
                let difference = f64::from((a - b).abs());
                self.finite &= difference.is_finite();
                self.max_abs = self.max_abs.max(difference);
                self.sum_abs += difference;
                self.sum_size += f64::from(a.abs());
                self.entries += 1;
                self.largest_logit = self.largest_logit.max(f64::from(a.abs()));
            }
            self.agreeing += u64::from(best(ours) == best(theirs));
            if let Some(before) = base.and_then(|base| base.get(index)) {
                for (a, b) in ours.iter().zip(before) {
                    self.change_sum += f64::from((a - b).abs());
                    self.change_entries += 1;
                }
                for ((a, b), written) in ours.iter().zip(before).zip(theirs) {
                    let change = f64::from(a - b);
                    self.change_squares += change * change;
                    self.along += f64::from(written - a) * change;
                }
            }
        }
    }

    /// Mean absolute difference of logits.
    #[must_use]
    pub fn mean_abs(&self) -> f64 {
        self.sum_abs / self.entries.max(1) as f64
    }

    /// Largest difference over the largest logit.
    #[must_use]
    pub fn relative(&self) -> f64 {
        if self.finite { self.max_abs / self.largest_logit.max(1e-12) } else { f64::INFINITY }
    }

    /// Share of positions with the same best token.
    #[must_use]
    pub fn top1(&self) -> f64 {
        self.agreeing as f64 / self.positions.max(1) as f64
    }

    /// Mean absolute difference of logits over the mean size of a logit.
    #[must_use]
    pub fn unlike(&self) -> f64 {
        if self.finite { self.sum_abs / self.sum_size.max(1e-12) } else { f64::INFINITY }
    }

    /// How much of the trained change is left in its own direction, once `rounding` is taken off: what the same rounding
    /// does to the base in that direction (a sum of products of differences, as `along` makes them). What rounding
    /// adds across the change does not count; of a change that it erased, 0 is left. `None` when there is no change
    /// worth the name.
    #[must_use]
    pub fn kept(&self, rounding: f64) -> Option<f64> {
        self.survival().map(|_| 1.0 + (self.along - rounding) / self.change_squares.max(1e-300))
    }

    /// How much of the trained change is left: 1 less the difference over the change. `None` when there is
    /// no change worth the name.
    #[must_use]
    pub fn survival(&self) -> Option<f64> {
        let change = self.change_sum / self.change_entries.max(1) as f64;
        (change > 1e-6 * self.largest_logit.max(1e-12)).then(|| 1.0 - self.mean_abs() / change)
    }
}

/// The sum over all logits of (`rounded` - `plain`) times (`trained` - `base`), each (positions x vocabulary).
#[must_use]
pub(crate) fn along((plain, rounded): (&[Vec<f32>], &[Vec<f32>]), (base, trained): (&[Vec<f32>], &[Vec<f32>])) -> f64 {
    let mut sum = 0.0;
    for ((plain, rounded), (base, trained)) in plain.iter().zip(rounded).zip(base.iter().zip(trained)) {
        for ((plain, rounded), (base, trained)) in plain.iter().zip(rounded).zip(base.iter().zip(trained)) {
            sum += f64::from(rounded - plain) * f64::from(trained - base);
        }
    }
    sum
}

/// Index of the largest value; the first of equals.
#[must_use]
pub(crate) fn best(values: &[f32]) -> usize {
    let mut index = 0;
    let mut largest = f32::NEG_INFINITY;
    for (candidate, value) in values.iter().enumerate() {
        if *value > largest {
            (index, largest) = (candidate, *value);
        }
    }
    index
}

pub(crate) mod compare_case {
    //! The trained model's side of the comparison.

    use crate::error::Result;
    use std::ops::ControlFlow;
    use temper_models::{Limits, Model, Sampling, generate};
    use temper_nn::ForwardContext;

    /// Logits after each token, as the model stands.
    pub(crate) fn trained_logits(model: &Model, tokens: &[u32]) -> Result<Vec<Vec<f32>>> {
        let context = ForwardContext::plain(1, tokens.len());
        Ok(model.logits(&tokens.into(), &context)?.squeeze(0)?.to_vec2::<f32>()?)
    }

    /// Logits after each token of the model as it was before training.
    pub(crate) fn base_logits(model: &Model, tokens: &[u32]) -> Result<Vec<Vec<f32>>> {
        model.set_enabled(false);
        let logits = trained_logits(model, tokens);
        model.set_enabled(true);
        logits
    }

    /// The greedy continuation.
    pub(crate) fn greedy(model: &Model, prompt: &[u32], count: usize) -> Result<Vec<u32>> {
        // Stop tokens are continued past: the comparison wants every token both sides would give.
        let limits = Limits { max_tokens: count, stop: Vec::new() };
        Ok(generate(model, prompt, &limits, Sampling::GREEDY, &mut |_| ControlFlow::Continue(()))?.tokens)
    }

    /// Where two continuations part; `None` when they are equal.
    pub(crate) fn first_difference(ours: &[u32], theirs: &[u32]) -> Option<usize> {
        let shared = ours.iter().zip(theirs).position(|(a, b)| a != b);
        shared.or_else(|| (ours.len() != theirs.len()).then(|| ours.len().min(theirs.len())))
    }

    /// By how much the trained model prefers its own token at `position` of the continuation.
    pub(crate) fn margin_at(model: &Model, prompt: &[u32], ours: &[u32], position: usize) -> Result<f64> {
        let mut tokens = prompt.to_vec();
        tokens.extend(ours.iter().take(position));
        let logits = trained_logits(model, &tokens)?;
        let mut last = logits.last().cloned().unwrap_or_default();
        last.sort_by(|a, b| b.total_cmp(a));
        Ok(match last.as_slice() {
            [first, second, ..] => f64::from(first - second),
            _ => 0.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_copy_has_no_difference_and_keeps_the_whole_change() {
        let (trained, base) = (vec![vec![1.0, 2.0, 4.0]], vec![vec![1.0, 2.5, 3.0]]);
        let mut measured = Measured::default();
        measured.add(&trained, &trained, Some(&base));
        assert!(measured.relative() == 0.0 && measured.top1() == 1.0 && measured.finite);
        assert!((measured.survival().unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn writing_the_base_instead_of_the_trained_model_keeps_nothing() {
        let (trained, base) = (vec![vec![1.0, 2.0, 4.0]], vec![vec![1.0, 5.0, 3.0]]);
        let mut measured = Measured::default();
        measured.add(&trained, &base, Some(&base));
        assert!(measured.survival().unwrap().abs() < 1e-12);
        assert!(measured.top1() == 0.0);
        assert!((measured.relative() - 0.75).abs() < 1e-12);
    }

    #[test]
    fn noise_across_a_change_leaves_it_and_an_erased_change_is_told_from_it() {
        let (trained, base) = (vec![vec![1.0, 2.0, 4.0, 0.0]], vec![vec![1.0, 2.0, 3.0, 0.0]]);
        let noisy = vec![vec![3.0, 0.0, 4.0, 2.0]];
        let mut measured = Measured::default();
        measured.add(&trained, &noisy, Some(&base));
        assert!(measured.survival().unwrap() < 0.0, "by its size alone it would be lost");
        assert!((measured.kept(0.0).unwrap() - 1.0).abs() < 1e-12);
        let mut erased = Measured::default();
        erased.add(&trained, &base, Some(&base));
        assert!(erased.kept(0.0).unwrap().abs() < 1e-12);
        // the base's rounding, which happens to lie along the change, is taken off
        let rounded = vec![vec![1.0, 2.0, 3.5, 0.0]];
        let mut shifted = Measured::default();
        shifted.add(&trained, &[vec![1.0, 2.0, 4.5, 0.0]], Some(&base));
        let rounding = along((&base, &rounded), (&base, &trained));
        assert!((shifted.kept(rounding).unwrap() - 1.0).abs() < 1e-12);
        assert!((shifted.unlike() - 0.5 / 7.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_not_finite_is_never_close() {
        let mut measured = Measured::default();
        measured.add(&[vec![1.0, 2.0]], &[vec![1.0, f32::NAN]], None);
        assert!(!measured.finite && measured.relative().is_infinite());
    }

    #[test]
    fn continuations_part_where_they_differ_or_where_one_ends() {
        use compare_case::first_difference;
        assert_eq!(first_difference(&[1, 2, 3], &[1, 2, 3]), None);
        assert_eq!(first_difference(&[1, 2, 3], &[1, 9, 3]), Some(1));
        assert_eq!(first_difference(&[1, 2, 3], &[1, 2]), Some(2));
    }
}
