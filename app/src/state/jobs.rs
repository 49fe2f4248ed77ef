//! Requests to the engine that are not done, and how far they are.

use super::export::Exporting;
use super::lens_edit::Texts;
use super::step_ask::Side;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a request was sent for.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// What hovers over the window.
    Hover,
    /// What was dropped.
    Drop(Vec<PathBuf>),
    /// A path of the project.
    Path(String),
    /// What the starter project is made of.
    Starter,
    /// The data as the model sees it.
    Preview(String),
    /// A first look at the data.
    Peek(String),
    /// Where the rows of the data begin.
    Index,
    /// A page of rows.
    Rows(u64),
    /// A row in full.
    WholeRow(u64),
    /// The texts of a row, and how it is seen with these instead of its own.
    RowTexts(u64, Texts),
    /// What the tokens of a row cost the base, with these texts instead of its own.
    Losses(u64, Texts),
    /// A cleaned copy of the data.
    Clean,
    /// What a run would need.
    Preflight(String),
    /// The registry.
    Methods,
    /// What methods train, by the key of the question.
    Prices(String),
    /// The self-test.
    Doctor,
    /// A run; its number once it is known.
    Train {
        /// The project's folder.
        project: PathBuf,
        /// The run.
        run: Option<u64>,
    },
    /// A race of methods.
    Race,
    /// Steering a run.
    Control,
    /// The example project is copied.
    Example {
        /// Whether to train at once.
        train: bool,
    },
    /// An export.
    Export(Exporting),
    /// A certificate again.
    Verify(PathBuf),
    /// Runs are compared on the same rows.
    Judge,
    /// An answer in the playground, by its place.
    Answer(usize),
    /// An answer of a run as of a step, or of its base.
    Step {
        /// Who answers.
        side: Side,
        /// The run.
        run: u64,
        /// The kept state that is asked.
        kept: u64,
    },
    /// Runs are kept in order.
    Tidy,
    /// The run database is repaired.
    Repair,
    /// Stopping another request.
    Cancel,
}

impl Ask {
    /// Whether it is about training, in whichever project.
    #[must_use]
    pub fn trains(&self) -> bool {
        matches!(self, Self::Train { .. } | Self::Race)
    }

    /// The wait in words, for the list of what is going on; nothing for what takes no time.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        match self {
            Self::Preview(_) => Some(t!("notice-job-data").to_owned()),
            Self::Clean => Some(t!("lens-job-copy").to_owned()),
            Self::Losses(..) => Some(t!("lens-job-loss").to_owned()),
            Self::Index => Some(t!("lens-job").to_owned()),
            Self::Preflight(_) => Some(t!("notice-job-step").to_owned()),
            Self::Race => Some(t!("race-job").to_owned()),
            Self::Repair => Some(t!("notice-job-repair").to_owned()),
            Self::Doctor => Some(t!("common-selftest").to_owned()),
            Self::Example { .. } => Some(t!("notice-job-example").to_owned()),
            Self::Export(asked) => Some(t!("notice-job-export", what = asked.words())),
            Self::Judge => Some(t!("notice-job-judge").to_owned()),
            Self::Answer(_) | Self::Step { .. } => Some(t!("notice-job-answer").to_owned()),
            Self::Verify(_) => Some(t!("notice-job-verify").to_owned()),
            Self::Drop(_) | Self::Path(_) => Some(t!("notice-job-look").to_owned()),
            _ => None,
        }
    }
}

/// A request that is not done.
#[derive(Debug, Clone, PartialEq)]
pub struct Running {
    /// What for.
    pub ask: Ask,
    /// Since when it is asked for, seconds of the window's clock.
    pub since_secs: f64,
    /// Since when it is worked on, and no longer waits for what was asked before.
    pub worked_secs: Option<f64>,
    /// Since when `stage` is being done.
    pub stage_secs: f64,
    /// What is being done.
    pub stage: String,
    /// Done so far.
    pub done: u64,
    /// Total; 0 when not known.
    pub total: u64,
    /// Unit of both.
    pub unit: String,
}

impl Running {
    /// Share done, where the total is known.
    #[must_use]
    pub fn share(&self) -> Option<f32> {
        (self.total > 0).then(|| (self.done as f32 / self.total as f32).clamp(0.0, 1.0))
    }

    /// Seconds left of the stage, guessed from what is done of it.
    #[must_use]
    pub fn left_secs(&self, now_secs: f64) -> Option<f64> {
        let share = f64::from(self.share()?);
        (share > 0.02).then(|| (now_secs - self.stage_secs) * (1.0 - share) / share)
    }

    /// Seconds of work so far, without the wait for its turn.
    #[must_use]
    pub fn took_secs(&self, now_secs: f64) -> f64 {
        now_secs - self.worked_secs.unwrap_or(self.since_secs)
    }

    /// What the engine said about how far it is.
    pub fn progress(&mut self, stage: &str, (done, total): (u64, u64), unit: &str, now_secs: f64) {
        if self.stage != stage {
            stage.clone_into(&mut self.stage);
            self.stage_secs = now_secs;
        }
        // What waits has nothing to count.
        if total > 0 && self.worked_secs.is_none() {
            self.worked_secs = Some(now_secs);
        }
        (self.done, self.total) = (done, total);
        unit.clone_into(&mut self.unit);
    }
}

/// All requests that are not done, by number.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Jobs {
    running: BTreeMap<u64, Running>,
}

impl Jobs {
    /// Remembers a request.
    pub fn add(&mut self, request: u64, ask: Ask, now_secs: f64) {
        let running = Running {
            ask,
            since_secs: now_secs,
            worked_secs: None,
            stage_secs: now_secs,
            stage: String::new(),
            done: 0,
            total: 0,
            unit: String::new(),
        };
        self.running.insert(request, running);
    }

    /// A request by number.
    #[must_use]
    pub fn get(&self, request: u64) -> Option<&Running> {
        self.running.get(&request)
    }

    /// A request by number, to change.
    pub fn get_mut(&mut self, request: u64) -> Option<&mut Running> {
        self.running.get_mut(&request)
    }

    /// Forgets a request.
    pub fn remove(&mut self, request: u64) -> Option<Running> {
        self.running.remove(&request)
    }

    /// Forgets all: the engine is gone.
    pub fn take_all(&mut self) -> Vec<Running> {
        std::mem::take(&mut self.running).into_values().collect()
    }

    /// The first request whose purpose is as wanted, and its number.
    pub fn find(&self, wanted: impl Fn(&Ask) -> bool) -> Option<(u64, &Running)> {
        self.running.iter().find(|(_, running)| wanted(&running.ask)).map(|(request, running)| (*request, running))
    }

    /// Whether our engine trains `run` of the project in `folder`, or will.
    #[must_use]
    pub fn trains(&self, folder: Option<&Path>, run: u64) -> bool {
        let is_it = |ask: &Ask| {
            let Ask::Train { project, run: Some(known) } = ask else { return false };
            *known == run && Some(project.as_path()) == folder
        };
        self.find(is_it).is_some()
    }

    /// All requests, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Running)> {
        self.running.iter().map(|(request, running)| (*request, running))
    }

    /// Whether nothing is going on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_for_ones_turn_is_no_work_and_time_left_is_that_of_the_stage() {
        let mut jobs = Jobs::default();
        jobs.add(1, Ask::Doctor, 10.0);
        let Some(job) = jobs.get_mut(1) else { unreachable!("it was added") };
        job.progress("waiting", (0, 0), "requests", 10.0);
        assert_eq!((job.left_secs(7000.0), job.took_secs(7000.0)), (None, 6990.0));
        job.progress("merging", (0, 100), "tensors", 7210.0);
        job.progress("merging", (50, 100), "tensors", 7230.0);
        assert_eq!((job.left_secs(7230.0), job.took_secs(7230.0)), (Some(20.0), 20.0));
        job.progress("comparing", (10, 100), "tokens", 7250.0);
        job.progress("comparing", (20, 100), "tokens", 7251.0);
        assert!(job.left_secs(7252.0).is_some_and(|left| (left - 8.0).abs() < 1e-3), "not a share of the wait");
        assert!((job.took_secs(7252.0) - 42.0).abs() < 1e-9);
    }

    #[test]
    fn a_run_is_known_by_its_project_and_its_number() {
        let mut jobs = Jobs::default();
        jobs.add(1, Ask::Train { project: PathBuf::from("tone"), run: Some(1) }, 0.0);
        jobs.add(2, Ask::Train { project: PathBuf::from("calm"), run: None }, 0.0);
        let trains = |folder: &str, run| jobs.trains(Some(Path::new(folder)), run);
        assert!(trains("tone", 1) && !trains("tone", 2) && !trains("calm", 1));
        assert!(!jobs.trains(None, 1));
    }
}
