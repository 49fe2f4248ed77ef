//! What a run is asked to do and how it ended: the plain data between the host and the trainer.

use std::fmt::{Debug, Formatter};
use std::path::PathBuf;
use std::sync::Arc;
use temper_models::Model;
use temper_protocol::{Event, Problem, Project, RunStatus};

/// Puts an adapter from a file on a model, above what is there.
pub type ReadAdapter = Arc<dyn Fn(&mut Model) -> Result<(), Problem> + Send + Sync>;

/// An adapter whose values a run starts with.
#[derive(Clone)]
pub enum StartFrom {
    /// A checkpoint folder or snapshot file of a run with the same method and settings.
    Checkpoint(PathBuf),
    /// An adapter folder of the same structure; its name for people, and how it is read.
    Adapter(String, ReadAdapter),
    /// An adapter folder whose values are filled into what the method put on the model; its name, and how.
    Filled(String, ReadAdapter),
}

/// Finished adapters that lie frozen on the base, beneath what is trained: `model.adapters` of the project.
#[derive(Clone)]
pub struct Beneath {
    /// Their names for people.
    pub names: String,
    /// The files that decide what they are, the lowest adapter's first.
    pub files: Vec<PathBuf>,
    /// Lays them on a bare model.
    pub lay: ReadAdapter,
}

impl Debug for Beneath {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Beneath").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Debug for StartFrom {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Checkpoint(folder) => out.debug_tuple("Checkpoint").field(folder).finish(),
            Self::Adapter(name, _) => out.debug_tuple("Adapter").field(name).finish_non_exhaustive(),
            Self::Filled(name, _) => out.debug_tuple("Filled").field(name).finish_non_exhaustive(),
        }
    }
}

/// Everything a run needs. All paths are absolute and exist; the host has resolved builtin names.
#[derive(Debug, Clone)]
pub struct TrainRequest {
    /// The frozen project.
    pub project: Project,
    /// Folder of the project, for events.
    pub project_dir: PathBuf,
    /// Number of the run, for events.
    pub run: u64,
    /// Folder of the run; created when absent. Holds `run.json`, `project.toml`, `checkpoints/`.
    pub run_dir: PathBuf,
    /// The base: a Hugging Face folder, a GGUF file, or for `random:CONFIG.json` that file (its folder
    /// holds the tokenizer).
    pub model_path: PathBuf,
    /// Training files with their weights.
    pub data_sources: Vec<(PathBuf, f64)>,
    /// Validation file; a share of the training rows when absent.
    pub validation_path: Option<PathBuf>,
    /// Probe sets by name.
    pub probes: Vec<(String, PathBuf)>,
    /// Folder of the token cache; no cache when absent.
    pub cache_dir: Option<PathBuf>,
    /// Folder for what was measured of the base before; nothing is remembered when absent.
    pub base_cache_dir: Option<PathBuf>,
    /// Go on from here: a checkpoint folder, or a run folder, of which the newest valid checkpoint is taken.
    pub resume: Option<PathBuf>,
    /// What the project's `model.adapters` stand for; none where it names none.
    pub beneath: Option<Beneath>,
    /// What a new run starts with instead of the method's own start.
    pub start_from: Option<StartFrom>,
    /// End after this step (counted from 1 over the whole run); the schedule is still laid out over the
    /// project's steps.
    pub max_steps: Option<u64>,
}

impl TrainRequest {
    /// Whether the base is a new model with random weights.
    #[must_use]
    pub fn is_random(&self) -> bool {
        temper_protocol::named::random(&self.project.model.path).is_some()
    }
}

/// How a run ended: the content of the `finished` event.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// How it ended.
    pub status: RunStatus,
    /// Optimiser steps done, counted over all resumes.
    pub steps: u64,
    /// Step of the best validation loss.
    pub best_step: u64,
    /// Validation loss before step 1, nats per trained token.
    pub base_loss: f64,
    /// Validation loss at the end.
    pub final_loss: f64,
    /// Best validation loss.
    pub best_loss: f64,
    /// Worst kept set minus base, nats; NaN when nothing is kept.
    pub forgetting: f64,
    /// Mean over the steps of this process.
    pub tokens_per_sec: f64,
    /// Mean processor seconds per step of this process.
    pub cpu_secs_per_step: f64,
    /// Highest resident memory seen.
    pub peak_rss_mib: f64,
    /// Wall time of this process's part.
    pub wall_secs: f64,
    /// Folder of the best checkpoint, if one was kept.
    pub adapter: Option<PathBuf>,
    /// Why it failed.
    pub problem: Option<Problem>,
}

impl Outcome {
    /// The one last event of run `run`.
    #[must_use]
    pub fn into_finished(self, run: u64) -> Event {
        Event::Finished {
            run,
            status: self.status,
            steps: self.steps,
            best_step: self.best_step,
            base_loss: self.base_loss,
            final_loss: self.final_loss,
            best_loss: self.best_loss,
            forgetting: self.forgetting,
            tokens_per_sec: self.tokens_per_sec,
            cpu_secs_per_step: self.cpu_secs_per_step,
            peak_rss_mib: self.peak_rss_mib,
            wall_secs: self.wall_secs,
            adapter: self.adapter,
            problem: self.problem,
        }
    }

    /// The outcome of a run that failed before its first step.
    #[must_use]
    pub fn failed(problem: Problem) -> Self {
        Self {
            status: RunStatus::Failed,
            steps: 0,
            best_step: 0,
            base_loss: f64::NAN,
            final_loss: f64::NAN,
            best_loss: f64::NAN,
            forgetting: f64::NAN,
            tokens_per_sec: 0.0,
            cpu_secs_per_step: 0.0,
            peak_rss_mib: 0.0,
            wall_secs: 0.0,
            adapter: None,
            problem: Some(problem),
        }
    }
}
