//! What the store holds, as plain values: runs, series, points, events, ranks and files.
//!
//! Place in the data flow: the engine's host fills [`NewRun`] and [`RunUpdate`], the window gets the
//! other types from [`crate::Reader`]. Nothing here knows about SQL.

use std::collections::BTreeMap;
use std::path::PathBuf;
use temper_protocol::housekeeping::RunLabels;
use temper_protocol::{Event, Problem};

/// Statuses of a run that is not over.
pub const ACTIVE_STATUSES: [&str; 4] = ["queued", "preparing", "running", "paused"];

/// Status of a run whose engine went away before it ended; it can go on from its last checkpoint.
pub const INTERRUPTED: &str = "interrupted";

/// Code of the warning that little memory is free. A run whose engine went away after it was probably ended by the
/// system for its memory.
pub const MEMORY_LOW: &str = "memory_low";

/// A run that is about to begin.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewRun {
    /// Method id.
    pub method: String,
    /// The project as frozen for this run.
    pub settings_toml: String,
    /// Optimiser steps planned.
    pub max_steps: u64,
    /// Seed.
    pub seed: u64,
    /// Where the run's files go; `runs/NNNN` in the project when absent.
    pub folder: Option<PathBuf>,
    /// Hash by what was hashed: `base`, `data`, `binary`.
    pub hashes: BTreeMap<String, String>,
}

/// What changed about a run; `None` leaves a column as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunUpdate {
    /// One of the statuses of [`RunRow::status`].
    pub status: Option<String>,
    /// Optimiser steps planned.
    pub max_steps: Option<u64>,
    /// Optimiser steps done.
    pub steps: Option<u64>,
    /// Step of the best validation loss.
    pub best_step: Option<u64>,
    /// Validation loss before step 1, nats per trained token.
    pub base_loss: Option<f64>,
    /// Validation loss at the end.
    pub final_loss: Option<f64>,
    /// Best validation loss.
    pub best_loss: Option<f64>,
    /// Worst kept set minus base, nats.
    pub forgetting: Option<f64>,
    /// Speed.
    pub tokens_per_sec: Option<f64>,
    /// Highest resident memory, MiB.
    pub peak_rss_mib: Option<f64>,
    /// Wall time of a stretch of work, seconds; it is added to that of the stretches before.
    pub wall_secs: Option<f64>,
    /// Parameters trained.
    pub trained_parameters: Option<u64>,
    /// Parameters of the base.
    pub model_parameters: Option<u64>,
    /// Folder of the kept adapter.
    pub adapter: Option<PathBuf>,
    /// Index into the window's palette.
    pub colour: Option<u8>,
    /// Why it failed.
    pub problem: Option<Problem>,
    /// The frozen project, when it could only be completed after the run was created.
    pub settings_toml: Option<String>,
    /// Hashes that were not known when the run was created; they are added to the others.
    pub hashes: Option<BTreeMap<String, String>>,
}

/// A run as the list of runs shows it. Losses that are not known yet are NaN.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// Number, counted from 1 within the project.
    pub run: u64,
    /// Where its files are.
    pub folder: PathBuf,
    /// Method id.
    pub method: String,
    /// `queued`, `preparing`, `running`, `paused`, `finished`, `stopped`, `cancelled`, `failed`, or
    /// `interrupted`: its engine is gone and it can be resumed.
    pub status: String,
    /// The project as frozen for this run.
    pub settings_toml: String,
    /// When it was created, milliseconds since 1970.
    pub created_millis: i64,
    /// Seed.
    pub seed: u64,
    /// Optimiser steps done.
    pub steps: u64,
    /// Optimiser steps planned.
    pub max_steps: u64,
    /// Step of the best validation loss; 0 is the base.
    pub best_step: u64,
    /// Validation loss before step 1, nats per trained token.
    pub base_loss: f64,
    /// Validation loss at the end.
    pub final_loss: f64,
    /// Best validation loss.
    pub best_loss: f64,
    /// Worst kept set minus base, nats.
    pub forgetting: f64,
    /// Tokens per second: latest while it goes on, mean at the end.
    pub tokens_per_sec: f64,
    /// Highest resident memory, MiB.
    pub peak_rss_mib: f64,
    /// Wall time of its steps, seconds, over all stretches of work that have ended: a run that goes on again has that of
    /// the steps it went on from.
    pub wall_secs: f64,
    /// Parameters trained.
    pub trained_parameters: u64,
    /// Parameters of the base.
    pub model_parameters: u64,
    /// Folder of the kept adapter.
    pub adapter: Option<PathBuf>,
    /// Index into the window's palette; the window takes it modulo its length.
    pub colour: u8,
    /// Why it failed.
    pub problem: Option<Problem>,
    /// Hash by what was hashed.
    pub hashes: BTreeMap<String, String>,
    /// When its engine last said that it is alive, milliseconds since 1970; 0 when it never did.
    pub heartbeat_millis: i64,
    /// Process number of its engine; 0 when it never started.
    pub pid: u32,
    /// What a person said about it, and whether it lies in the trash.
    pub labels: RunLabels,
}

impl RunRow {
    /// Whether the run waits for its turn.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.status == "queued"
    }

    /// Whether the run waits, prepares, goes on or is paused.
    #[must_use]
    pub fn is_active(&self) -> bool {
        ACTIVE_STATUSES.contains(&self.status.as_str())
    }

    /// The row as the `run` event.
    #[must_use]
    pub fn to_event(&self) -> Event {
        Event::Run {
            run: self.run,
            path: self.folder.clone(),
            method: self.method.clone(),
            status: self.status.clone(),
            steps: self.steps,
            max_steps: self.max_steps,
            best_step: self.best_step,
            base_loss: self.base_loss,
            final_loss: self.final_loss,
            best_loss: self.best_loss,
            forgetting: self.forgetting,
            tokens_per_sec: self.tokens_per_sec,
            peak_rss_mib: self.peak_rss_mib,
            wall_secs: self.wall_secs,
            adapter: self.adapter.clone(),
            settings: self.settings_toml.clone(),
            problem: self.problem.clone(),
            labels: self.labels.clone(),
        }
    }
}

impl Default for RunRow {
    fn default() -> Self {
        Self {
            run: 0,
            folder: PathBuf::new(),
            method: String::new(),
            status: "queued".to_owned(),
            settings_toml: String::new(),
            created_millis: 0,
            seed: 0,
            steps: 0,
            max_steps: 0,
            best_step: 0,
            base_loss: f64::NAN,
            final_loss: f64::NAN,
            best_loss: f64::NAN,
            forgetting: f64::NAN,
            tokens_per_sec: 0.0,
            peak_rss_mib: 0.0,
            wall_secs: 0.0,
            trained_parameters: 0,
            model_parameters: 0,
            adapter: None,
            colour: 0,
            problem: None,
            hashes: BTreeMap::new(),
            heartbeat_millis: 0,
            pid: 0,
            labels: RunLabels::default(),
        }
    }
}

/// What is known of a series without reading its points.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesMeta {
    /// Name, such as `train_loss` or `probe/code/kl`.
    pub name: String,
    /// Unit of the values.
    pub unit: String,
    /// Points.
    pub count: u64,
    /// Step of the first point.
    pub first_step: u64,
    /// Step of the last point.
    pub last_step: u64,
    /// Smallest value that is a number; NaN when there is none.
    pub min: f64,
    /// Largest value that is a number; NaN when there is none.
    pub max: f64,
    /// Value of the last point.
    pub last: f64,
}

/// A point of a series. Steps rise strictly within a series; the value may be NaN or infinite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Optimiser step; 0 is before the first.
    pub step: u64,
    /// Value in the unit of the series.
    pub value: f64,
}

/// An event with its place in the order.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// Rises over the whole project; never used twice.
    pub id: i64,
    /// When it happened, milliseconds since 1970.
    pub at_millis: i64,
    /// Step it belongs to: its own, or the run's at that time.
    pub step: u64,
    /// The event.
    pub event: Event,
}

/// The rank of one site's change at one step.
#[derive(Debug, Clone, PartialEq)]
pub struct RankRow {
    /// Step.
    pub step: u64,
    /// Site, such as `layers.3.attn.q`.
    pub site: String,
    /// Rank in use.
    pub rank: u64,
    /// exp of the entropy of the normalised singular values.
    pub effective_rank: f64,
    /// Frobenius norm of the change over that of the weight.
    pub energy: f64,
    /// Singular values of the change, largest first.
    pub spectrum: Vec<f32>,
}

/// A file that a run wrote: checkpoint, adapter, export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    /// Path as it was given.
    pub path: PathBuf,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Size.
    pub bytes: u64,
    /// When it was written, milliseconds since 1970.
    pub at_millis: i64,
}

impl RunUpdate {
    /// Puts a later change on top of this one.
    pub(crate) fn merge(&mut self, later: Self) {
        /// Keeps the later value when there is one.
        fn put<T>(slot: &mut Option<T>, later: Option<T>) {
            if later.is_some() {
                *slot = later;
            }
        }
        self.peak_rss_mib = match (self.peak_rss_mib, later.peak_rss_mib) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        self.wall_secs = match (self.wall_secs, later.wall_secs) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        put(&mut self.status, later.status);
        put(&mut self.max_steps, later.max_steps);
        put(&mut self.steps, later.steps);
        put(&mut self.best_step, later.best_step);
        put(&mut self.base_loss, later.base_loss);
        put(&mut self.final_loss, later.final_loss);
        put(&mut self.best_loss, later.best_loss);
        put(&mut self.forgetting, later.forgetting);
        put(&mut self.tokens_per_sec, later.tokens_per_sec);
        put(&mut self.trained_parameters, later.trained_parameters);
        put(&mut self.model_parameters, later.model_parameters);
        put(&mut self.adapter, later.adapter);
        put(&mut self.colour, later.colour);
        put(&mut self.problem, later.problem);
        put(&mut self.settings_toml, later.settings_toml);
        put(&mut self.hashes, later.hashes);
    }
}
