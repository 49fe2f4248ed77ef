//! What is known about forgetting: when the kept sets were measured last, and what may be said from it.
//!
//! Place in the data flow: every room that names forgetting asks here, so that nothing is called kept before
//! it was measured, and nothing measured long ago is taken for the present.

use super::RunView;

/// When the kept sets of a run were measured last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measured {
    /// Never, not even on the base.
    Never,
    /// Only on the base, before step 1.
    OnBase,
    /// After a step.
    After {
        /// The step.
        step: u64,
        /// Loss of the worst set minus that of the base, nats; not a number when a loss was none.
        worst_nats: f64,
    },
}

/// What may be said about the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet: the model was not measured since it is trained.
    NotMeasured,
    /// Within the budget when it was measured last.
    Within,
    /// Within the budget when it was measured last, but the run went on after that and has ended.
    Stale,
    /// Over the budget.
    Over,
    /// The loss of a kept set was no number.
    NoNumber,
}

impl Measured {
    /// What `view` knows.
    #[must_use]
    pub fn of(view: &RunView) -> Self {
        match view.kept_step {
            None => Self::Never,
            Some(0) => Self::OnBase,
            Some(step) => {
                let newest = view.kept.iter().filter_map(|set| set.delta.last().map(|point| point.y));
                // A set that is no number makes the worst no number: f64::max would pass over it.
                let worst = newest.reduce(|one, other| if one.is_nan() || one > other { one } else { other });
                Self::After { step, worst_nats: worst.unwrap_or(f64::NAN) }
            }
        }
    }

    /// Worst set minus base, nats; not a number before the first measurement of the trained model.
    #[must_use]
    pub fn worst_nats(self) -> f64 {
        if let Self::After { worst_nats, .. } = self { worst_nats } else { f64::NAN }
    }

    /// What may be said, for a run that has done `steps` steps and has `ended` or not.
    #[must_use]
    pub fn verdict(self, budget_nats: f64, steps: u64, ended: bool) -> Verdict {
        match self {
            Self::Never | Self::OnBase => Verdict::NotMeasured,
            Self::After { worst_nats, .. } if worst_nats.is_nan() => Verdict::NoNumber,
            Self::After { worst_nats, .. } if worst_nats > budget_nats => Verdict::Over,
            Self::After { step, .. } if ended && steps > step => Verdict::Stale,
            Self::After { .. } => Verdict::Within,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::snapshot::KeptSet;
    use egui_plot::PlotPoint;

    fn view(kept_step: Option<u64>, deltas: &[f64]) -> RunView {
        let set = |delta: &f64| KeptSet { delta: vec![PlotPoint::new(0.0, *delta)], ..KeptSet::default() };
        RunView { kept_step, kept: deltas.iter().map(set).collect(), ..RunView::default() }
    }

    #[test]
    fn the_base_alone_says_nothing_about_what_is_forgotten() {
        for (known, deltas) in [(None, &[][..]), (Some(0), &[0.0, 0.0][..])] {
            let measured = Measured::of(&view(known, deltas));
            assert!(measured.worst_nats().is_nan());
            assert_eq!(measured.verdict(0.05, 12, false), Verdict::NotMeasured);
            assert_eq!(measured.verdict(0.05, 12, true), Verdict::NotMeasured);
        }
    }

    #[test]
    fn the_worst_set_decides_and_no_number_is_within_no_budget() {
        let measured = Measured::of(&view(Some(50), &[0.01, 0.044, -0.007]));
        assert_eq!(measured, Measured::After { step: 50, worst_nats: 0.044 });
        assert_eq!(measured.verdict(0.05, 70, false), Verdict::Within);
        assert_eq!(measured.verdict(0.04, 70, false), Verdict::Over);
        for deltas in [[0.01, f64::NAN], [f64::NAN, 0.01]] {
            assert_eq!(Measured::of(&view(Some(50), &deltas)).verdict(0.05, 50, true), Verdict::NoNumber);
        }
    }

    #[test]
    fn a_run_that_ended_after_its_last_measurement_is_not_called_within_budget() {
        let measured = Measured::After { step: 50, worst_nats: 0.01 };
        assert_eq!(measured.verdict(0.05, 50, true), Verdict::Within);
        assert_eq!(measured.verdict(0.05, 51, true), Verdict::Stale);
        assert_eq!(measured.verdict(0.005, 51, true), Verdict::Over, "over the budget stays over it");
    }
}
