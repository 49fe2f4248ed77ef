//! Everything about a run that is not a tensor: what a checkpoint's `state.json` holds and a resume needs.
//!
//! Random numbers need no state of their own: every generator is keyed by the seed, a name and the step.

use crate::best::{Measured, Rule};
use crate::exact::Exact;
use crate::guard::Guard;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of `state.json` and `run.json`.
pub const STATE_SCHEMA: u32 = 1;

/// Why a run that did all its steps has ended.
pub const ALL_STEPS: &str = "all steps done";

/// The run after an optimiser step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Optimiser steps done.
    pub step: u64,
    /// Micro-steps done within the next optimiser step; checkpoints are written at step boundaries, so 0.
    pub micro_step: u64,
    /// Seed of everything random.
    pub seed: u64,
    /// Where the data stands.
    pub cursor: temper_data::Cursor,
    /// Tokens trained since step 1.
    pub trained_tokens: u64,
    /// Tokens seen since step 1, without padding.
    pub seen_tokens: u64,
    /// Factor on the schedule's learning rate; halved by slow-downs and roll-backs.
    pub lr_factor: Exact,
    /// Running mean of the training loss.
    pub guard: Guard,
    /// Validation.
    pub evals: Evals,
    /// What must not be forgotten.
    pub keep: Keep,
    /// Returns to a checkpoint because of a loss that was not finite or jumped.
    pub spike_roll_backs: u64,
    /// Whether everything that is due after this step was measured; a stop in the middle of a measurement
    /// leaves it to the resume.
    pub boundary_done: bool,
    /// Why no step follows, when none does: all steps done, early stop, budget.
    pub ended: Option<String>,
    /// Steps that the run was planned for when it began: what its method does at set times counts with these, also when the
    /// run is given more. 0 in checkpoints of before that: as many as the run has.
    #[serde(default)]
    pub planned_steps: u64,
}

/// Bookkeeping of validations.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evals {
    /// Loss before step 1, nats per trained token.
    pub base_loss: Exact,
    /// Loss of the best trained step.
    pub best_loss: Exact,
    /// What it forgot, worst kept set minus base, nats; only where `train.best_by` asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_forgetting: Option<Exact>,
    /// Its step; 0 before the first validation.
    pub best_step: u64,
    /// Newest loss.
    pub last_loss: Exact,
    /// Step of the newest loss.
    pub last_step: u64,
    /// Validations since the best.
    pub without_improvement: u64,
}

impl Evals {
    /// Forgets the best loss: a rule has begun anew, and what was reached before is no result of the run.
    pub fn begin_anew(&mut self) {
        (self.best_loss, self.best_step, self.without_improvement) = (Exact::default(), 0, 0);
        self.best_forgetting = None;
    }

    /// Takes in a measurement and says whether it is the best so far by `rule`.
    pub fn record(&mut self, step: u64, measured: Measured, rule: Rule) -> bool {
        let Measured { loss, forgetting } = measured;
        let forgotten = self.best_forgetting.unwrap_or_default().0;
        let before = Measured { loss: self.best_loss.0, forgetting: forgotten };
        let best = rule.prefers(measured, (self.best_step > 0).then_some(before));
        if best {
            self.best_loss = Exact(loss);
            self.best_forgetting = rule.needs_forgetting().then_some(Exact(forgetting));
            self.best_step = step;
            self.without_improvement = 0;
        } else {
            self.without_improvement += 1;
        }
        self.last_loss = Exact(loss);
        self.last_step = step;
        best
    }
}

/// Bookkeeping of the kept sets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Keep {
    /// Newest loss minus the base's, by set, nats per token.
    pub loss_delta: BTreeMap<String, Exact>,
    /// The worst of them; NaN before the first measurement.
    pub forgetting: Exact,
    /// Step of the newest measurement.
    pub measured_step: u64,
    /// Whether the newest measurement was above the budget.
    pub exceeded: bool,
    /// Whether kept texts are mixed into the batches.
    pub replaying: bool,
    /// Returns to a checkpoint because of the budget.
    pub roll_backs: u64,
}

impl State {
    /// A run before step 1.
    #[must_use]
    pub fn new(seed: u64, cursor: temper_data::Cursor) -> Self {
        Self {
            step: 0,
            micro_step: 0,
            seed,
            cursor,
            trained_tokens: 0,
            seen_tokens: 0,
            lr_factor: Exact(1.0),
            guard: Guard::default(),
            evals: Evals::default(),
            keep: Keep::default(),
            spike_roll_backs: 0,
            boundary_done: true,
            ended: None,
            planned_steps: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Evals;
    use crate::best::{Measured, Rule};
    use crate::exact::Exact;

    #[test]
    fn a_loss_that_is_not_finite_is_never_the_best_and_blocks_no_later_one() {
        let mut evals = Evals::default();
        let best: Vec<bool> = [f64::NAN, f64::INFINITY, 3.0, f64::NAN, 2.5, 2.75]
            .into_iter()
            .zip(5..)
            .map(|(loss, step)| evals.record(step, Measured { loss, forgetting: f64::NAN }, Rule::Loss))
            .collect();
        assert_eq!(best, [false, false, true, false, true, false]);
        assert_eq!((evals.best_step, evals.best_loss.0, evals.without_improvement), (9, 2.5, 1));
        assert_eq!((evals.last_step, evals.last_loss.0), (10, 2.75));
        let text = serde_json::to_string(&evals).expect("text");
        assert!(!text.contains("best_forgetting"), "a state that asks for no forgetting is written as ever: {text}");
        evals.record(11, Measured { loss: 2.0, forgetting: 0.01 }, Rule::Mix);
        let back: Evals = serde_json::from_str(&serde_json::to_string(&evals).expect("text")).expect("reads");
        assert_eq!((back.best_step, back.best_forgetting), (11, Some(Exact(0.01))));
    }
}
