//! `project.toml` as values: the whole truth of what will run.
//!
//! Defaults are chosen so that a hand-written file needs only `[model] path` and `[data] train`.
//! Reading and writing the text is in [`crate::project_file`].

use crate::Values;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A project: model, data, method, training, what must not be forgotten, samples, export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Project {
    /// Version of the file format.
    pub schema: u32,
    /// Name.
    #[serde(default)]
    pub name: String,
    /// The base model.
    pub model: Model,
    /// The data.
    pub data: Data,
    /// The method and its settings.
    #[serde(default)]
    pub method: Method,
    /// Training.
    #[serde(default)]
    pub train: Train,
    /// What must not be forgotten.
    #[serde(default)]
    pub keep: Keep,
    /// Prompts answered while training.
    #[serde(default)]
    pub samples: Samples,
    /// What to write at the end.
    #[serde(default)]
    pub export: Export,
}

/// What [`Model::base`] can be.
pub const BASES: [&str; 18] = [
    "auto",
    "f32",
    "f16",
    "bf16",
    "int8",
    "nf4",
    "nf4-double",
    "nf3",
    "nf2",
    "int4",
    "int4-g64",
    "int4-g32",
    "int3",
    "int3-g64",
    "int3-g32",
    "int2",
    "int2-g64",
    "int2-g32",
];

/// What [`Train::best_by`] can be.
pub const BEST_BY: [&str; 3] = ["loss", "budget", "mix"];

/// `[model]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// A folder, a GGUF file, `builtin:NAME`, or `random:CONFIG.json` for a new model.
    pub path: String,
    /// How the frozen weights are held, one of [`BASES`]: `auto` (as the file has them), `f32`, `f16`, `bf16`; the others
    /// round the linear weights while the model is read, inputs stay f32: to blocks of 8.25 bits a value (`int8`), 4.25
    /// (`nf4`), 4.13 (`nf4-double`), 3.25 (`nf3`), 2.25 (`nf2`), 4.19, 3.19 and 2.19 (`int4`, `int3`, `int2`: groups of 128, or with `-g64` and `-g32` of 64 and 32).
    #[serde(default = "auto")]
    pub base: String,
    /// Finished adapters that lie frozen on it, beneath what is trained, the first one lowest: adapter folders, each with
    /// the share of its change that counts where that is not all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adapters: Vec<Source>,
}

/// A training source or an adapter with its weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Source {
    /// A path or builtin name, weight 1.
    Path(String),
    /// With a weight: rows are repeated or thinned by it, a change is made larger or smaller.
    Weighted {
        /// A path or builtin name.
        path: String,
        /// Of rows the share relative to the others, of an adapter the share of its change.
        weight: f64,
    },
}

impl Source {
    /// The path or builtin name.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Path(path) | Self::Weighted { path, .. } => path,
        }
    }

    /// The weight.
    #[must_use]
    pub fn weight(&self) -> f64 {
        match self {
            Self::Path(_) => 1.0,
            Self::Weighted { weight, .. } => *weight,
        }
    }
}

/// Validation: a share of the training rows, or a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Validation {
    /// Share of rows.
    Share(f64),
    /// File or builtin name.
    Path(String),
}

/// `[data]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Data {
    /// Files, folders or builtin names.
    pub train: Vec<Source>,
    /// `auto` or a schema name.
    #[serde(default = "auto")]
    pub schema: String,
    /// Role to column, where the schema cannot be detected.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// Validation rows.
    #[serde(default = "default_validation")]
    pub validation: Validation,
    /// Longest row, tokens.
    #[serde(default = "default_max_tokens")]
    pub max_tokens: usize,
    /// Several rows in one, with borders.
    #[serde(default = "yes")]
    pub packing: bool,
    /// `answers`, `last-answer`, `everything`.
    #[serde(default = "default_loss_on")]
    pub loss_on: String,
    /// A chat template instead of the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
}

/// `[method]`: the id, and the settings that its declaration knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Method {
    /// Registry id.
    #[serde(default = "default_method")]
    pub id: String,
    /// Everything else.
    #[serde(flatten)]
    pub settings: Values,
}

/// `[train]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Train {
    /// Optimiser steps; ignored when `epochs` is set.
    pub steps: u64,
    /// Passes over the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Rows per micro-step.
    pub batch: usize,
    /// Micro-steps per optimiser step.
    pub accumulate: usize,
    /// Highest learning rate; 0, as in a file that does not say, is what the method usually takes.
    pub lr_peak: f64,
    /// Lowest learning rate at the end, as a share of the peak.
    pub lr_floor: f64,
    /// `constant`, `linear`, `cosine`, `wsd`.
    pub schedule: String,
    /// Steps to the peak.
    pub warmup_steps: u64,
    /// Share of the steps over which `wsd` falls.
    pub decay_share: f64,
    /// First moment.
    pub beta1: f64,
    /// Second moment.
    pub beta2: f64,
    /// AdamW's epsilon.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// How AdamW keeps its two moments: `f32` (8 bytes a trained number), `int8` (2 bytes, by blocks).
    pub optim_state: String,
    /// Largest global gradient norm; 0 switches clipping off.
    pub clip_norm: f64,
    /// Seed of everything random.
    pub seed: u64,
    /// The adapter whose values the run starts with: `run:3`, a run's folder, or an adapter folder. Method and settings
    /// are that adapter's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Seed of what the method draws, where it is not the run's: that of the run whose adapter is trained on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method_seed: Option<u64>,
    /// Threads; 0 is physical cores less one for the window.
    pub threads: usize,
    /// `auto`, `cpu`, `cuda`, `metal`; auto takes a card that the build has and that works.
    pub device: String,
    /// `auto`, `on`, `off`; auto keeps the activations of as many blocks as fit into `kept_mib`.
    pub recompute: String,
    /// Most memory for kept activations, MiB; 0 is half of what is free.
    pub kept_mib: u64,
    /// Most disk that the outputs of frozen blocks may take between epochs, MiB; 0 computes them every time.
    pub prefix_cache_mib: u64,
    /// Most disk that snapshots of what is trained may take, MiB: one every so many steps, spread evenly, so that the
    /// adapter of any step can be asked again; 0 takes none.
    pub snapshot_mib: u64,
    /// Steps between checkpoints; 0 only at the end.
    pub checkpoint_steps: u64,
    /// Checkpoints kept beside best and last.
    pub keep_checkpoints: usize,
    /// Steps between validations; 0 only at the end.
    pub eval_steps: u64,
    /// Most validation rows measured.
    pub eval_rows: usize,
    /// Whether the loss of each validation row is said at the end, so that runs can be compared row by row.
    pub row_losses: bool,
    /// Validations without improvement before stopping; 0 never stops early.
    pub patience: u64,
    /// Which checkpoint is the best of a run, one of [`BEST_BY`]: `loss`, the least validation loss; `budget`, the least
    /// among those that forgot no more than `keep.budget_nats`; `mix`, the least sum of both, a nat forgotten on the worst
    /// kept set for a nat of loss. The last two measure the kept sets with each validation.
    #[serde(skip_serializing_if = "is_by_loss")]
    pub best_by: String,
    /// What happens on a loss that is not finite or jumps: `stop`, `roll-back`.
    pub on_spike: String,
    /// A spike is a loss above this multiple of its running mean; 0 switches the test off.
    pub spike_factor: f64,
}

/// `[keep]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Keep {
    /// Builtin names or files.
    pub probes: Vec<String>,
    /// Most forgetting allowed, nats on the worst set.
    pub budget_nats: f64,
    /// `warn`, `slow-down`, `replay`, `roll-back`, `stop`.
    pub on_exceed: String,
    /// Steps between measurements; 0 only at start and end.
    pub every_steps: u64,
}

/// `[samples]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Samples {
    /// Prompts.
    pub prompts: Vec<String>,
    /// Steps between answers; 0 only at start and end.
    pub every_steps: u64,
    /// Longest answer.
    pub max_tokens: usize,
}

/// `[export]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Export {
    /// Formats written by `quickstart` and marked in the export room.
    pub formats: Vec<String>,
    /// Storage type; the base's own when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
}

/// Whether the best checkpoint is chosen as it was before there was a choice: then the file says nothing of it, as ever.
fn is_by_loss(best_by: &str) -> bool {
    best_by == BEST_BY[0]
}

fn auto() -> String {
    "auto".to_owned()
}

fn yes() -> bool {
    true
}

fn default_validation() -> Validation {
    Validation::Share(0.1)
}

fn default_max_tokens() -> usize {
    512
}

fn default_loss_on() -> String {
    "answers".to_owned()
}

fn default_method() -> String {
    "lora".to_owned()
}

impl Default for Method {
    fn default() -> Self {
        Self { id: default_method(), settings: Values::default() }
    }
}

impl Default for Train {
    fn default() -> Self {
        Self {
            steps: 200,
            epochs: None,
            // Two packed rows of 512 tokens hold about as many examples as the usual batch of eight rows that are not
            // packed, and two processor cores train them in about two seconds: a first loss comes soon.
            batch: 2,
            accumulate: 1,
            lr_peak: 2e-4,
            lr_floor: 0.1,
            schedule: "cosine".to_owned(),
            warmup_steps: 10,
            decay_share: 0.2,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            optim_state: "f32".to_owned(),
            clip_norm: 1.0,
            seed: 42,
            from: None,
            method_seed: None,
            threads: 0,
            device: auto(),
            recompute: "auto".to_owned(),
            kept_mib: 0,
            prefix_cache_mib: 4096,
            snapshot_mib: 512,
            checkpoint_steps: 50,
            keep_checkpoints: 2,
            eval_steps: 50,
            eval_rows: 200,
            row_losses: false,
            patience: 0,
            best_by: BEST_BY[0].to_owned(),
            on_spike: "roll-back".to_owned(),
            spike_factor: 0.0,
        }
    }
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            probes: crate::named::KEPT.map(str::to_owned).to_vec(),
            budget_nats: 0.05,
            on_exceed: "warn".to_owned(),
            every_steps: 50,
        }
    }
}

impl Default for Samples {
    fn default() -> Self {
        Self { prompts: Vec::new(), every_steps: 50, max_tokens: 40 }
    }
}

impl Default for Export {
    fn default() -> Self {
        Self { formats: vec!["peft".to_owned(), "hf".to_owned()], dtype: None }
    }
}

impl Project {
    /// A project with defaults for everything but model, data and method.
    #[must_use]
    pub fn new(name: &str, model: &str, data: &[String], method: &str) -> Self {
        Self {
            schema: crate::SCHEMA_VERSION,
            name: name.to_owned(),
            model: Model { path: model.to_owned(), base: auto(), adapters: Vec::new() },
            data: Data {
                train: data.iter().cloned().map(Source::Path).collect(),
                schema: auto(),
                columns: BTreeMap::new(),
                validation: default_validation(),
                max_tokens: default_max_tokens(),
                packing: true,
                loss_on: default_loss_on(),
                chat_template: None,
            },
            method: Method { id: method.to_owned(), settings: Values::default() },
            train: Train::default(),
            keep: Keep::default(),
            samples: Samples::default(),
            export: Export::default(),
        }
    }
}
