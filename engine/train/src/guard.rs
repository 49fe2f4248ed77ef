//! The watch over loss and gradients: what is not finite or jumps must never reach the weights.

use serde::{Deserialize, Serialize};

/// Weight of the newest loss in the running mean.
const MEAN_WEIGHT: f64 = 0.05;
/// Losses needed before a jump can be told from a start.
const LEAST_SEEN: u64 = 10;

/// What the guard says to a step before it is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// Take the step.
    Fine,
    /// Loss or gradient is not a number or infinite.
    NonFinite,
    /// The loss is above the allowed multiple of its running mean.
    Spike {
        /// The running mean, nats.
        mean: f64,
    },
}

/// Running mean of the training loss, and the test against it. Part of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    /// Exponentially weighted sum of accepted losses.
    #[serde(with = "crate::exact::plain")]
    weighted_loss: f64,
    /// Sum of the weights, which corrects the start.
    #[serde(with = "crate::exact::plain")]
    weight: f64,
    /// Accepted losses.
    seen: u64,
}

impl Guard {
    /// Judges the step with mean loss `loss` (nats) and global gradient norm `grad_norm`; an accepted loss
    /// enters the running mean. `spike_factor` 0 switches the test for jumps off.
    pub fn judge(&mut self, loss: f64, grad_norm: f64, spike_factor: f64) -> Verdict {
        if !loss.is_finite() || !grad_norm.is_finite() {
            return Verdict::NonFinite;
        }
        let mean = self.mean();
        if spike_factor > 0.0 && self.seen >= LEAST_SEEN && loss > spike_factor * mean {
            return Verdict::Spike { mean };
        }
        self.weighted_loss = (1.0 - MEAN_WEIGHT) * self.weighted_loss + MEAN_WEIGHT * loss;
        self.weight = (1.0 - MEAN_WEIGHT) * self.weight + MEAN_WEIGHT;
        self.seen += 1;
        Verdict::Fine
    }

    /// The running mean of accepted losses, nats; NaN before the first.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.seen == 0 { f64::NAN } else { self.weighted_loss / self.weight }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_is_refused_and_leaves_no_trace() {
        let mut guard = Guard::default();
        assert_eq!(guard.judge(2.0, 1.0, 0.0), Verdict::Fine);
        let before = guard.clone();
        for (loss, norm) in [(f64::NAN, 1.0), (f64::INFINITY, 1.0), (1.0, f64::NAN), (1.0, f64::INFINITY)] {
            assert_eq!(guard.judge(loss, norm, 0.0), Verdict::NonFinite);
        }
        assert_eq!(guard, before);
    }

    #[test]
    fn the_mean_of_equal_losses_is_that_loss_from_the_first_on() {
        let mut guard = Guard::default();
        assert!(guard.mean().is_nan());
        for _ in 0..5 {
            guard.judge(3.0, 1.0, 0.0);
            assert!((guard.mean() - 3.0).abs() < 1e-12);
        }
    }

    #[test]
    fn a_jump_is_seen_after_a_start_and_only_when_asked_for() {
        let mut guard = Guard::default();
        for _ in 0..LEAST_SEEN {
            assert_eq!(guard.judge(2.0, 1.0, 3.0), Verdict::Fine);
        }
        assert_eq!(guard.judge(5.9, 1.0, 3.0), Verdict::Fine);
        assert!(matches!(guard.judge(9.0, 1.0, 3.0), Verdict::Spike { mean } if mean > 2.0 && mean < 3.0));
        assert_eq!(guard.judge(9.0, 1.0, 0.0), Verdict::Fine, "factor 0 switches the test off");
        let mut early = Guard::default();
        early.judge(2.0, 1.0, 3.0);
        assert_eq!(early.judge(9.0, 1.0, 3.0), Verdict::Fine, "two losses are no history");
    }

    #[test]
    fn survives_a_checkpoint_bit_for_bit() {
        let mut guard = Guard::default();
        for step in 0..40 {
            guard.judge(3.0 / f64::from(step + 1), 1.0, 0.0);
        }
        let text = serde_json::to_string(&guard).expect("writes");
        assert_eq!(serde_json::from_str::<Guard>(&text).expect("reads"), guard);
    }
}
