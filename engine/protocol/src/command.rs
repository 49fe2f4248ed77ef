//! Everything a person can ask for, as values. Buttons, shortcuts, the palette, the command line and
//! the tests all build these.

use crate::data::{RowEdit, RowField};
use crate::export_format::ExportFormat;
use crate::housekeeping::Housekeeping;
use crate::storage_type::StorageType;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Which run is meant: a number, the newest, or a folder; `step` picks another checkpoint than the best.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunRef {
    /// The newest run of the project.
    Last,
    /// By number.
    Id(u64),
    /// By folder.
    Path(PathBuf),
}

/// Where a model is: a folder, a GGUF file, or `builtin:starter`; adapters are applied in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelRef {
    /// Model path or builtin name.
    pub model: String,
    /// Adapter folders (PEFT or native), run folders, or `run:ID` of the project; `run:ID@STEP` is what the run kept last at
    /// or before that step.
    #[serde(default)]
    pub adapters: Vec<String>,
    /// How the base is held: `auto` keeps what the file has.
    #[serde(default)]
    pub base: Option<String>,
}

/// What a run is told while it goes on. Acts in the middle of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Wait after the current micro-step.
    Pause,
    /// Go on.
    Resume,
    /// Finish the micro-step, write a checkpoint, end; the result is kept and exportable.
    Stop,
    /// End without keeping anything new.
    Cancel,
    /// Write a checkpoint at the next step boundary and go on.
    SaveNow,
    /// Answer the sample prompts at the next step boundary.
    SampleNow,
    /// Of a run that waits: take its turn before the one that waits ahead of it.
    Sooner,
    /// Of a run that waits: let the one that waits behind it go first.
    Later,
}

/// Limits of one generation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GenerateLimits {
    /// Most new tokens.
    pub max_tokens: usize,
    /// Seed of the sampler.
    pub seed: u64,
    /// 0 is greedy.
    pub temperature: f64,
    /// Share of probability kept; 1 keeps all.
    pub top_p: f64,
}

impl Default for GenerateLimits {
    fn default() -> Self {
        Self { max_tokens: 64, seed: 42, temperature: 0.0, top_p: 1.0 }
    }
}

/// Rows of a data file for a bench of training steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BenchRows {
    /// Data path or builtin name.
    pub data: String,
    /// Whether several rows are put into one.
    #[serde(default)]
    pub pack: bool,
    /// Fewest and most tokens of a row; rows of other lengths are left out.
    pub row_tokens: (usize, usize),
    /// File to write what each step was fed.
    #[serde(default)]
    pub dump: Option<PathBuf>,
}

/// What a bench of training steps measures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainBench {
    /// Model path or builtin name.
    pub model: String,
    /// Storage of the base, as in project.toml's `[model]`.
    pub base: String,
    /// Method id.
    pub method: String,
    /// Settings of the method, as in project.toml's `[method]`.
    #[serde(default)]
    pub set: Vec<(String, String)>,
    /// Rows a step.
    pub batch: usize,
    /// Tokens a row.
    pub seq: usize,
    /// Steps, of which the first is not counted.
    pub steps: u64,
    /// Threads; 0 chooses.
    pub threads: usize,
    /// Whether activations are computed again in the backward pass.
    pub recompute: bool,
    /// Whether the outputs of frozen blocks are kept, as from a run's second epoch on.
    #[serde(default)]
    pub keep_prefix: bool,
    /// How the optimiser keeps its moments: `f32` or `int8`; `f32` when absent.
    #[serde(default)]
    pub optim_state: Option<String>,
    /// Rows of a data file instead of random tokens.
    #[serde(default)]
    pub rows: Option<BenchRows>,
}

/// What a comparison of methods trains: each method on the same rows in the same order from the same seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MethodsBench {
    /// Model path or builtin name.
    pub model: String,
    /// Data path or builtin name.
    pub data: String,
    /// Project folder that keeps the runs and the table; an unfinished table is gone on with.
    pub out: PathBuf,
    /// Method ids; all of the registry when empty.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Learning rates, each a run of each method; the method's usual one when empty.
    #[serde(default)]
    pub rates: Vec<f64>,
    /// Dotted keys of project.toml and their values.
    #[serde(default)]
    pub set: Vec<(String, String)>,
    /// Optimiser steps.
    pub steps: u64,
    /// Rows a step.
    pub batch: usize,
    /// Longest row, tokens.
    pub seq: usize,
    /// Threads; 0 chooses.
    pub threads: usize,
    /// Whether each method's time a step is measured too, in turn with that of LoRA with as many numbers.
    #[serde(default)]
    pub times: bool,
}

/// One thing a person can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Says what files and folders are: `model`, `dataset`, `adapter`, `project`, `unknown` events, then `done`.
    Inspect {
        /// What was dropped.
        paths: Vec<PathBuf>,
    },
    /// Writes a project folder: `project` event, then `done`.
    NewProject {
        /// Folder to create.
        dir: PathBuf,
        /// Model path or builtin name.
        model: String,
        /// Data paths or builtin names.
        data: Vec<String>,
        /// Method id.
        method: String,
    },
    /// Copies the bundled example to `dir`: `project` event, then `done`.
    CopyExample {
        /// Folder name under `projects/`.
        name: String,
        /// Folder to create.
        dir: PathBuf,
    },
    /// Reads the project's data and answers with `preview`, then `done`.
    Preview {
        /// Project folder or file.
        project: PathBuf,
        /// How many rows to show.
        rows: usize,
    },
    /// Looks at the head and at samples of the project's data and answers with its `columns` and an estimated `preview`,
    /// then `done`: the time does not depend on the size of the data. Columns are also told when their meaning is not clear.
    Peek {
        /// Project folder or file.
        project: PathBuf,
        /// How many rows to show.
        rows: usize,
    },
    /// Finds where the rows of the project's data begin: `progress`, `rows` without rows now and then, then `done`.
    /// Rows that are known can be asked for meanwhile.
    IndexRows {
        /// Project folder or file.
        project: PathBuf,
    },
    /// Shows rows of the project's data token by token: `rows`, then `done`.
    Rows {
        /// Project folder or file.
        project: PathBuf,
        /// First row, counted from 0 over all files.
        first: u64,
        /// How many.
        count: usize,
        /// Most tokens of each.
        most_tokens: usize,
    },
    /// Writes a copy of the project's data without some of its rows and with others edited, beside the project's file:
    /// `progress`, `written`, `warning` with the counts, then `done`. The project still names the original.
    CleanRows {
        /// Project folder or file.
        project: PathBuf,
        /// Numbers of rows that are left out, counted from 0 over all files.
        leave_out: Vec<u64>,
        /// Whether a row that is, byte for byte, as one before is left out.
        deduplicate: bool,
        /// Rows with other texts. A row that could not be trained with them ends the copy with the reason.
        #[serde(default)]
        edits: Vec<RowEdit>,
        /// [`crate::event::DataRows::stamp`] of when the rows were chosen by their numbers: a copy of files that changed
        /// since is refused. Empty asks for no such check.
        #[serde(default)]
        stamp: String,
    },
    /// Says which texts a row of JSON Lines has and how the model sees it with other texts at some places: `row_texts`,
    /// then `done`. Texts with which the row could not be trained are refused with the reason. Nothing is written.
    RowTexts {
        /// Project folder or file.
        project: PathBuf,
        /// The row, counted from 0 over all files.
        row: u64,
        /// Other texts; without any the row is shown as it is.
        #[serde(default)]
        fields: Vec<RowField>,
        /// Most tokens to show.
        most_tokens: usize,
    },
    /// Measures what each token of a row costs the base, given those before it: `progress` while the model is read, `rows`
    /// with the row and its `losses`, then `done`. Long rows are measured in the parts in which they are trained.
    RowLosses {
        /// Project folder or file.
        project: PathBuf,
        /// The row, counted from 0 over all files.
        row: u64,
        /// Other texts, as they are edited.
        #[serde(default)]
        fields: Vec<RowField>,
        /// Most tokens to measure.
        most_tokens: usize,
    },
    /// Measures one real step: `preflight`, then `done`.
    Preflight {
        /// Project folder or file.
        project: PathBuf,
    },
    /// Measures training steps on random tokens: `bench`, then `done`.
    BenchTrain(TrainBench),
    /// Measures reading, tokenising, packing and waiting for batches: `figures`, then `done`.
    BenchData {
        /// Model path or builtin name; its tokenizer is used.
        model: String,
        /// Data path or builtin name.
        data: String,
        /// Rows a batch.
        batch: usize,
        /// Longest row, tokens.
        seq: usize,
        /// Most threads; 0 chooses.
        threads: usize,
        /// Only the first look and single rows, whatever the size of the data.
        #[serde(default)]
        preview: bool,
    },
    /// Measures how long models take to their first logits and a project to its first step: `figures`, then `done`.
    BenchLoad {
        /// Model paths or builtin names.
        models: Vec<String>,
        /// Project folder or file; a copy of it is trained for one step.
        #[serde(default)]
        project: Option<PathBuf>,
        /// Threads; 0 chooses.
        threads: usize,
    },
    /// Measures training steps while threads, row length, batch, layers or model grow, each case in a process of its
    /// own: `figures`, then `done`.
    BenchScale {
        /// Model paths or builtin names; the first is used for everything but the comparison of models.
        models: Vec<String>,
        /// Which tables: `threads`, `length`, `batch`, `layers`, `models`; all when empty.
        #[serde(default)]
        tables: Vec<String>,
        /// Fewer and smaller cases.
        #[serde(default)]
        quick: bool,
        /// Steps of a case, of which the first is not counted.
        steps: u64,
        /// Most threads; 0 chooses.
        threads: usize,
    },
    /// Trains every method on one task, each in a process of its own: quality, forgetting, size, memory, time and what
    /// leaving as a file costs. `progress` events, then `figures` and `done`; the table also stands in the folder.
    BenchMethods(MethodsBench),
    /// Measures every operation beside plain candle tensors: `figures`, then `done`.
    BenchOps {
        /// Threads; 0 chooses.
        threads: usize,
        /// Only operations whose name contains this.
        #[serde(default)]
        only: Option<String>,
    },
    /// Sets a damaged run database aside and starts a new one with everything that can still be read and every
    /// run whose folder is there: `warning` events, a `run` event each, then `done`. A whole database stays.
    Repair {
        /// Project folder or file.
        project: PathBuf,
    },
    /// Keeps the runs of a project in order: names, notes, tags, stars, the trash, disk. What changed, then `done`.
    Housekeep {
        /// Project folder or file.
        project: PathBuf,
        /// What to do.
        order: Housekeeping,
    },
    /// Lists the registry: `method` events, then `done`.
    Methods {},
    /// Counts what methods train on a model, from its shapes alone: `prices`, then `done`.
    Prices {
        /// Model path or builtin name.
        model: String,
        /// Method id; every method at its defaults when empty.
        #[serde(default)]
        method: String,
        /// Settings of the method.
        #[serde(default)]
        settings: crate::Values,
    },
    /// Trains: `started`, then the run's events, then one `finished`.
    Train {
        /// Project folder or file.
        project: PathBuf,
        /// Dotted keys of project.toml and their values.
        #[serde(default)]
        set: Vec<(String, String)>,
        /// Another method than the project's.
        #[serde(default)]
        method: Option<String>,
        /// Another place for the run folder.
        #[serde(default)]
        out: Option<PathBuf>,
        /// Go on with this run from its last checkpoint.
        #[serde(default)]
        resume: Option<RunRef>,
        /// Stop after this many steps.
        #[serde(default)]
        max_steps: Option<u64>,
    },
    /// Lets methods race on one project: all train the same rows in the same order, and after each round the worse half
    /// drops out. `progress` events, a `race` event a round, then `done`. Each method is an ordinary run of the project.
    Race {
        /// Project folder or file.
        project: PathBuf,
        /// Ids of two to eight methods.
        methods: Vec<String>,
        /// Dotted keys of project.toml and their values.
        #[serde(default)]
        set: Vec<(String, String)>,
    },
    /// Steers a run.
    Control {
        /// The project folder it is of: an engine may have runs of several, each with its own number 1. Without it the run
        /// of that number that was accepted first is meant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        project: Option<PathBuf>,
        /// The run.
        run: u64,
        /// What to do.
        act: Act,
    },
    /// Answers a prompt: `text` events (`done` ends them).
    Generate {
        /// Project for `run:ID` adapters.
        #[serde(default)]
        project: Option<PathBuf>,
        /// Model and adapters.
        model: ModelRef,
        /// The prompt.
        prompt: String,
        /// Whether the prompt goes through the chat template.
        #[serde(default)]
        chat: bool,
        /// Limits.
        limits: GenerateLimits,
    },
    /// Measures a model on data: `result` events, then `done`.
    Evaluate {
        /// Project for `run:ID` adapters.
        #[serde(default)]
        project: Option<PathBuf>,
        /// Model and adapters.
        model: ModelRef,
        /// Data file or builtin probe set.
        data: String,
        /// Any of nll, ppl, kl, acc, flips.
        metrics: Vec<String>,
    },
    /// Measures a base and adapters of it on the same rows: `comparison` events with the rows, the scores of each
    /// model and kept checkpoint, the kinds of each run's rows and a verdict for each pair, then `done`.
    Compare {
        /// Project for `run:ID` adapters.
        #[serde(default)]
        project: Option<PathBuf>,
        /// The base; its `adapters` are models of their own here, one each.
        model: ModelRef,
        /// Data file, builtin probe set, or [`crate::named::HELD_OUT`].
        data: String,
        /// Most rows, spread evenly over the data; 0 for all.
        #[serde(default)]
        rows: usize,
    },
    /// Writes a result: `progress`, `written`, `certificate`, then `done`.
    Export {
        /// Project folder.
        #[serde(default)]
        project: Option<PathBuf>,
        /// A run, or an adapter folder with `model`.
        source: ExportSource,
        /// What to write.
        format: ExportFormat,
        /// Storage type; the base's own when absent.
        #[serde(default)]
        dtype: Option<StorageType>,
        /// Where to write.
        out: PathBuf,
        /// Text of the model card instead of the usual one, Markdown; its front matter is the engine's.
        #[serde(default)]
        card: Option<String>,
    },
    /// Checks an export again: `certificate`, then `done`.
    Verify {
        /// Project folder.
        #[serde(default)]
        project: Option<PathBuf>,
        /// The export.
        path: PathBuf,
        /// The run it came from; found in the export's sidecar when absent.
        #[serde(default)]
        against: Option<RunRef>,
    },
    /// Logits for external judges: `written`, then `done`.
    Logits {
        /// Project for `run:ID` adapters.
        #[serde(default)]
        project: Option<PathBuf>,
        /// Model and adapters.
        model: ModelRef,
        /// A safetensors file of `<case>.input_ids`.
        tokens: PathBuf,
        /// Where to write.
        out: PathBuf,
    },
    /// Devices, threads, memory and a self-test: `device`, `selftest`, then `done`.
    Doctor {},
    /// Whether runs of this engine wait while the machine runs on its battery; they do when nothing was said, and machines
    /// without a battery never notice. Answered with `done`.
    PauseOnBattery {
        /// Wait, or train on.
        on: bool,
    },
    /// Stops working on request `target`.
    CancelRequest {
        /// The request.
        target: u64,
    },
    /// Ends the engine when nothing runs.
    Shutdown {},
}

impl Command {
    /// Whether the answer is all that it gives: nothing is written, and nobody needs it who does not hear it. Every command
    /// is named, so that a new one has to say.
    #[must_use]
    pub fn is_question(&self) -> bool {
        match self {
            Self::Inspect { .. }
            | Self::Preview { .. }
            | Self::Peek { .. }
            | Self::IndexRows { .. }
            | Self::Rows { .. }
            | Self::RowTexts { .. }
            | Self::RowLosses { .. }
            | Self::Preflight { .. }
            | Self::Prices { .. }
            | Self::Methods {}
            | Self::Generate { .. }
            | Self::Doctor {} => true,
            Self::NewProject { .. }
            | Self::CopyExample { .. }
            | Self::CleanRows { .. }
            | Self::BenchTrain(_)
            | Self::BenchData { .. }
            | Self::BenchLoad { .. }
            | Self::BenchScale { .. }
            | Self::BenchMethods(_)
            | Self::BenchOps { .. }
            | Self::Repair { .. }
            | Self::Housekeep { .. }
            | Self::Train { .. }
            | Self::Race { .. }
            | Self::Control { .. }
            | Self::Evaluate { .. }
            | Self::Compare { .. }
            | Self::Export { .. }
            | Self::Verify { .. }
            | Self::Logits { .. }
            | Self::PauseOnBattery { .. }
            | Self::CancelRequest { .. }
            | Self::Shutdown {} => false,
        }
    }
}

/// What an export starts from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportSource {
    /// A run; its best checkpoint, or the one at `step`.
    Run {
        /// The run.
        run: RunRef,
        /// A certain checkpoint.
        step: Option<u64>,
    },
    /// An adapter folder and its base.
    Adapter {
        /// The adapter folder.
        path: PathBuf,
        /// The base model.
        model: String,
    },
}

impl RunRef {
    /// Reads `last`, a number or a path, with an optional `@step` behind it.
    #[must_use]
    pub fn parse(text: &str) -> (Self, Option<u64>) {
        let (name, step) = match text.rsplit_once('@') {
            Some((name, step)) => match step.parse() {
                Ok(step) => (name, Some(step)),
                Err(_) => (text, None),
            },
            None => (text, None),
        };
        let run = if name == "last" {
            Self::Last
        } else if let Ok(id) = name.parse() {
            Self::Id(id)
        } else {
            Self::Path(PathBuf::from(name))
        };
        (run, step)
    }
}
