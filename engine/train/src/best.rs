//! Which checkpoint counts as the best of a run: the one with the least validation loss, or one that also pays for what
//! was forgotten.
//!
//! Place in the data flow: `boundary.rs` measures, [`crate::state::Evals`] remembers the best so far and asks here
//! whether the newest is better. Checkpoints that are kept, exported and compared follow from its step.

use temper_protocol::Project;

/// What a nat forgotten on the worst kept set costs under [`Rule::Mix`], in nats of validation loss: as much as it is.
pub const FORGETTING_WEIGHT: f64 = 1.0;

/// What makes a checkpoint the best; `train.best_by` names it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// The least validation loss.
    Loss,
    /// The least validation loss among those that forgot no more than this, nats on the worst kept set. As long as there is
    /// none, the one that forgot least.
    Budget(f64),
    /// The least sum of validation loss and [`FORGETTING_WEIGHT`] times what was forgotten; less than nothing forgotten
    /// counts as nothing.
    Mix,
}

/// A step as it was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Validation loss, nats per trained token.
    pub loss: f64,
    /// Worst kept set minus base, nats; NaN where the rule does not ask.
    pub forgetting: f64,
}

impl Rule {
    /// The project's rule. Where nothing is kept only the loss is left.
    #[must_use]
    pub fn of(project: &Project, keeps: bool) -> Self {
        match project.train.best_by.as_str() {
            "budget" if keeps => Self::Budget(project.keep.budget_nats),
            "mix" if keeps => Self::Mix,
            _ => Self::Loss,
        }
    }

    /// Whether the kept sets must be measured with each validation.
    #[must_use]
    pub fn needs_forgetting(self) -> bool {
        match self {
            Self::Loss => false,
            Self::Budget(_) | Self::Mix => true,
        }
    }

    /// Whether `new` is better than the best so far. What is not finite is never the best, and does not keep a later one
    /// from being it.
    #[must_use]
    pub fn prefers(self, new: Measured, best: Option<Measured>) -> bool {
        let measured = new.loss.is_finite() && (!self.needs_forgetting() || new.forgetting.is_finite());
        let Some(best) = best else { return measured };
        measured
            && match self {
                Self::Loss => new.loss < best.loss,
                Self::Budget(nats) => match (new.forgetting <= nats, best.forgetting <= nats) {
                    (true, true) => new.loss < best.loss,
                    (true, false) => true,
                    (false, true) => false,
                    (false, false) => new.forgetting < best.forgetting,
                },
                Self::Mix => mixed(new) < mixed(best),
            }
    }

    /// Whether a best checkpoint with this forgetting is one that the rule only puts up with.
    #[must_use]
    pub fn puts_up_with(self, forgetting: f64) -> bool {
        match self {
            Self::Loss | Self::Mix => false,
            Self::Budget(nats) => forgetting > nats,
        }
    }
}

/// Loss and forgetting in one number, nats.
fn mixed(measured: Measured) -> f64 {
    measured.loss + FORGETTING_WEIGHT * measured.forgetting.max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Evals;

    /// The best step of a series of losses and forgettings, measured at steps 10, 20 and so on.
    fn best_step(rule: Rule, series: &[(f64, f64)]) -> u64 {
        let mut evals = Evals::default();
        for ((loss, forgetting), index) in series.iter().zip(1_u64..) {
            evals.record(10 * index, Measured { loss: *loss, forgetting: *forgetting }, rule);
        }
        evals.best_step
    }

    /// A run that learns on and forgets more and more.
    const SERIES: [(f64, f64); 5] = [(3.0, 0.00), (2.5, 0.02), (2.2, 0.05), (2.1, 0.12), (2.05, 0.40)];

    #[test]
    fn each_rule_chooses_its_own_step_of_the_same_run() {
        assert_eq!(best_step(Rule::Loss, &SERIES), 50);
        assert_eq!(best_step(Rule::Budget(0.05), &SERIES), 30, "the budget itself is within it");
        assert_eq!(best_step(Rule::Budget(0.04), &SERIES), 20);
        assert_eq!(best_step(Rule::Mix, &SERIES), 40, "0.1 nats learnt for 0.07 forgotten pay, 0.05 for 0.28 do not");
    }

    #[test]
    fn beyond_the_budget_the_least_forgetting_counts_until_a_step_is_within_it() {
        let series = [(2.0, 0.30), (2.4, 0.10), (1.9, 0.20), (2.6, 0.04), (2.5, 0.05), (1.8, 0.06)];
        assert_eq!(best_step(Rule::Budget(0.05), &series[..3]), 20);
        assert_eq!(best_step(Rule::Budget(0.05), &series), 50);
        assert!(Rule::Budget(0.05).puts_up_with(0.10) && !Rule::Budget(0.05).puts_up_with(0.05));
        assert!(!Rule::Loss.puts_up_with(f64::NAN));
    }

    #[test]
    fn what_is_not_measured_is_never_the_best() {
        for rule in [Rule::Budget(0.05), Rule::Mix] {
            let series = [(1.0, f64::NAN), (f64::NAN, 0.0), (2.0, 0.01), (f64::INFINITY, 0.0), (1.0, f64::NAN)];
            assert_eq!(best_step(rule, &series), 30, "{rule:?}");
        }
        assert_eq!(best_step(Rule::Loss, &[(1.0, f64::NAN), (2.0, 0.0)]), 10, "the loss alone asks for nothing else");
    }

    #[test]
    fn less_than_nothing_forgotten_earns_nothing() {
        assert_eq!(best_step(Rule::Mix, &[(2.0, 0.0), (2.01, -0.5)]), 10);
    }

    #[test]
    fn the_projects_word_is_the_rule_where_something_is_kept() {
        let mut project = Project::new("", "m", &[], "lora");
        project.keep.budget_nats = 0.2;
        let rules = ["loss", "budget", "mix"].map(|word| {
            word.clone_into(&mut project.train.best_by);
            [true, false].map(|keeps| Rule::of(&project, keeps))
        });
        let loss = [Rule::Loss, Rule::Loss];
        assert_eq!(rules, [loss, [Rule::Budget(0.2), Rule::Loss], [Rule::Mix, Rule::Loss]]);
    }
}
