//! What is known about forgetting: when the kept sets were measured last, and what may be said from it.
//!
//! Place in the data flow: every room that names forgetting asks here, so that nothing is called kept before
//! it was measured, and nothing measured long ago is taken for the present.

use super::RunView;
use super::snapshot::KeptSet;
use std::collections::BTreeMap;
use temper_store::{Reader, RunRow, StoreError};

/// The worst of several losses minus that of the base; not a number when one is none, nothing when there are none.
fn worst(nats: impl Iterator<Item = f64>) -> Option<f64> {
    // f64::max would pass over what is no number.
    nats.reduce(|one, other| if one.is_nan() || one > other { one } else { other })
}

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
                let newest = worst(view.kept.iter().filter_map(KeptSet::newest_delta));
                Self::After { step, worst_nats: newest.unwrap_or(f64::NAN) }
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

/// What the best checkpoints had forgotten: they are what is exported, whatever was forgotten after them. A run that is
/// over is read once.
#[derive(Debug, Default)]
pub struct AtBest {
    over: BTreeMap<u64, (Mark, Option<f64>)>,
}

/// Best step, steps and seconds of a run: one that is over gets others when it goes on, or goes back and ends where it had.
type Mark = (u64, u64, f64);

impl AtBest {
    /// The worst kept set minus base by run, nats, at the newest measurement up to the best validation; not a number where
    /// a loss was none. Runs without a best validation are missing, and those of which only the base was measured by then.
    ///
    /// # Errors
    /// Whatever the store says.
    pub fn read(&mut self, reader: &Reader, runs: &[RunRow]) -> Result<BTreeMap<u64, f64>, StoreError> {
        self.over.retain(|run, _| runs.iter().any(|row| row.run == *run));
        let mut found = BTreeMap::new();
        for row in runs.iter().filter(|row| row.best_step > 0) {
            let (over, mark) = (!row.is_active(), (row.best_step, row.steps, row.wall_secs));
            let nats = match self.over.get(&row.run).filter(|(of, _)| over && *of == mark) {
                Some((_, nats)) => *nats,
                None => at_best(reader, row)?,
            };
            if over {
                self.over.insert(row.run, (mark, nats));
            }
            found.extend(nats.map(|nats| (row.run, nats)));
        }
        Ok(found)
    }
}

fn at_best(reader: &Reader, row: &RunRow) -> Result<Option<f64>, StoreError> {
    let mut deltas = reader.latest_points(row.run, "probe/", row.best_step)?;
    deltas.retain(|(name, _)| name.ends_with("/loss_delta"));
    // The base alone says nothing about what is forgotten.
    let step = deltas.iter().map(|(_, point)| point.step).max().filter(|step| *step > 0);
    Ok(worst(deltas.iter().filter(|(_, point)| Some(point.step) == step).map(|(_, point)| point.value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use egui_plot::PlotPoint;
    use temper_protocol::{Event, RunStatus};
    use temper_store::{NewRun, Store};

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
    fn a_newest_measurement_that_is_no_number_is_not_passed_over_for_the_one_before() {
        // Curves have no point where there is no number.
        let set = |newest| KeptSet { delta: vec![PlotPoint::new(0.0, 0.0)], newest, ..KeptSet::default() };
        let kept = vec![set(Some((50, 0.01))), set(Some((50, f64::NAN)))];
        let mut view = RunView { kept_step: Some(50), kept, ..RunView::default() };
        assert_eq!(Measured::of(&view).verdict(0.05, 50, true), Verdict::NoNumber);
        view.kept[1].newest = Some((50, 0.02));
        assert_eq!(Measured::of(&view), Measured::After { step: 50, worst_nats: 0.02 });
        view.kept[1].newest = None;
        assert!((Measured::of(&view).worst_nats() - 0.01).abs() < 1e-12, "then it is the end of the curve");
    }

    fn probe(step: u64, set: &str, loss_delta: f64) -> Event {
        Event::Probe {
            step,
            set: set.to_owned(),
            loss: 2.0 + loss_delta,
            loss_delta,
            kl: 0.0,
            top1_agreement: 1.0,
            perplexity_ratio: 1.0,
            negative_flips: 0.0,
            positions: 160,
        }
    }

    fn finished(run: u64, best_step: u64, wall_secs: f64) -> Event {
        Event::Finished {
            run,
            status: RunStatus::Finished,
            steps: 300,
            best_step,
            base_loss: 3.0,
            final_loss: 2.4,
            best_loss: 2.2,
            forgetting: 0.3,
            tokens_per_sec: 900.0,
            cpu_secs_per_step: 0.5,
            peak_rss_mib: 1.0,
            wall_secs,
            adapter: None,
            problem: None,
        }
    }

    #[test]
    fn the_best_checkpoint_forgot_what_was_measured_up_to_it() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = Store::open(folder.path()).expect("a store");
        let run = |best_step: u64, measured: &[(u64, f64, f64)]| {
            let run = store.create_run(&NewRun::default()).expect("a run");
            for (step, prose, code) in measured {
                for event in [probe(*step, "prose", *prose), probe(*step, "code", *code)] {
                    store.push_event(run, &event).expect("pushed");
                }
            }
            store.push_event(run, &finished(run, best_step, 10.0)).expect("pushed");
            run
        };
        let measured = [(0, 0.0, 0.0), (100, 0.02, 0.01), (200, 0.05, f64::NAN), (300, 0.3, 0.2)];
        let between = run(150, &measured);
        let broken = run(200, &measured);
        let last = run(300, &measured);
        let (early, none) = (run(50, &measured), run(0, &measured));
        store.flush().expect("written");
        let reader = Reader::open(folder.path()).expect("readable");
        let mut at_best = AtBest::default();
        let mut look = || at_best.read(&reader, &reader.runs().expect("runs")).expect("read");
        let found = look();
        assert_eq!((found.get(&between), found.get(&last)), (Some(&0.02), Some(&0.3)));
        assert!(found[&broken].is_nan(), "what is no number is no forgetting of zero");
        assert_eq!(found.get(&early), None, "only the base was measured");
        assert_eq!(found.get(&none), None, "there is no best");

        let bytes = reader.blob_bytes_read();
        assert_eq!(look().len(), found.len());
        assert_eq!(reader.blob_bytes_read(), bytes, "runs that are over are not read again");
        store.truncate_after(between, 100).expect("back at its checkpoint");
        store.push_event(between, &probe(150, "prose", 0.04)).expect("pushed");
        store.push_event(between, &finished(between, 150, 5.0)).expect("pushed");
        store.flush().expect("written");
        assert_eq!(look().get(&between), Some(&0.04), "it went back and ended where it had");
    }

    #[test]
    fn a_run_that_ended_after_its_last_measurement_is_not_called_within_budget() {
        let measured = Measured::After { step: 50, worst_nats: 0.01 };
        assert_eq!(measured.verdict(0.05, 50, true), Verdict::Within);
        assert_eq!(measured.verdict(0.05, 51, true), Verdict::Stale);
        assert_eq!(measured.verdict(0.005, 51, true), Verdict::Over, "over the budget stays over it");
    }
}
