//! The command line's grammar. Names and exit codes are a contract for scripts: fields may be added,
//! never renamed.

use crate::cli::housekeep::RunsArgs;
use crate::cli::project::ProjectTask;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Adapt a model without making it brittle.
#[derive(Debug, Parser)]
#[command(name = "temper", version, about)]
pub(crate) struct Cli {
    /// One JSON object per line on standard output instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to do; without it the window opens
    #[command(subcommand)]
    pub(crate) task: Option<Task>,
    /// Models, data sets, adapters or projects to open in the window
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Open another window, even where one is open that could take the paths
    #[arg(long)]
    pub(crate) new_window: bool,
}

/// One command.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// The bundled example project, trained end to end
    Quickstart {
        /// Without the window, even where there is a display
        #[arg(long)]
        headless: bool,
        /// Where to put the project; an existing one is trained again
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Write a project.toml
    New {
        /// Folder of the project
        dir: PathBuf,
        /// A folder, a GGUF file or a bundled model such as builtin:starter
        #[arg(long)]
        model: String,
        /// Data file, folder or bundled data; may be repeated
        #[arg(long, required = true)]
        data: Vec<String>,
        /// Method id
        #[arg(long, default_value = "lora")]
        method: String,
    },
    /// Copy or move the folder of a project
    Project {
        /// What to do
        #[command(subcommand)]
        what: ProjectTask,
    },
    /// Say what files and folders are, as the drop zone would
    Inspect {
        /// Files or folders
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// The registry of methods
    Methods {
        /// One method, with its documentation
        id: Option<String>,
        /// Only this family
        #[arg(long)]
        family: Option<String>,
    },
    /// Measure memory, time and disk of a run before it starts
    Preflight {
        /// Project folder or its project.toml
        project: PathBuf,
    },
    /// Train a project
    Train(TrainArgs),
    /// The runs of a project
    Runs(RunsArgs),
    /// One run with its settings and measurements
    Show {
        /// A number, `last`, or the run's folder
        run: String,
        /// Project folder; the current one when absent
        #[arg(long, value_name = "DIR")]
        project: Option<PathBuf>,
    },
    /// One run as an HTML file: figures, curves, answers, certificates and settings, to read without this program
    Report {
        /// A number, `last`, or the run's folder
        run: String,
        /// Project folder; the current one when absent
        #[arg(long, value_name = "DIR")]
        project: Option<PathBuf>,
        /// The file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Compare a base and adapters of it row by row: who is better, and how sure that is
    Compare {
        #[command(flatten)]
        model: ModelArgs,
        /// Data file, bundled probe set, or project:held-out: the rows that the runs kept from their training
        #[arg(long)]
        data: String,
        /// Most rows, spread evenly over the data; 0 for all
        #[arg(long, default_value_t = 0)]
        rows: usize,
    },
    /// Measure a model on data
    Eval {
        #[command(flatten)]
        model: ModelArgs,
        /// Data file or bundled probe set
        #[arg(long)]
        data: String,
        /// Any of nll, ppl, kl, acc, flips
        #[arg(long, value_delimiter = ',', default_value = "nll,ppl,acc")]
        metrics: Vec<String>,
    },
    /// Answer a prompt
    Generate {
        #[command(flatten)]
        model: ModelArgs,
        /// The prompt
        #[arg(long)]
        prompt: String,
        /// Put the prompt into the model's chat template as a question
        #[arg(long)]
        chat: bool,
        /// Most new tokens
        #[arg(long, default_value_t = 64)]
        max_tokens: usize,
        /// Seed of the sampler
        #[arg(long, default_value_t = 42)]
        seed: u64,
        /// 0 takes the best token each time
        #[arg(long, default_value_t = 0.0)]
        temperature: f64,
        /// Share of probability that may be drawn from
        #[arg(long, default_value_t = 1.0)]
        top_p: f64,
    },
    /// Write a result and its certificate
    Export {
        /// A run (number, `last`, folder, each with an optional @step) or an adapter folder
        source: String,
        /// peft, hf, gguf, gguf-lora, mlx, native, or capsule: what somebody else needs to check and repeat the run
        #[arg(long)]
        format: String,
        /// f32, f16, bf16, or for gguf also q8_0, q6_k, q5_k and q4_k; the base's own type when absent
        #[arg(long)]
        dtype: Option<String>,
        /// Where to write
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Base model of a bare adapter
        #[arg(long)]
        model: Option<String>,
        /// A Markdown file with the text of the model card, instead of the usual one; its front matter is replaced
        #[arg(long, value_name = "FILE")]
        card: Option<PathBuf>,
        /// Project folder; the current one when absent
        #[arg(long, value_name = "DIR")]
        project: Option<PathBuf>,
    },
    /// Check an export again, or a capsule: what is in it, and the model and data that it names
    Verify {
        /// The export or the capsule
        path: PathBuf,
        /// The run it came from; for a capsule, a run that repeated it
        #[arg(long, value_name = "RUN")]
        against: Option<String>,
        /// Project folder; the current one when absent
        #[arg(long, value_name = "DIR")]
        project: Option<PathBuf>,
    },
    /// Logits for external judges
    Logits {
        #[command(flatten)]
        model: ModelArgs,
        /// A safetensors file of <case>.input_ids
        #[arg(long)]
        tokens: PathBuf,
        /// The safetensors file to write
        #[arg(long)]
        out: PathBuf,
    },
    /// Measure how fast and how lean the engine is on this machine
    Bench {
        /// What to measure
        #[command(subcommand)]
        what: Bench,
    },
    /// Devices, threads, memory and a self-test
    Doctor,
    /// The engine process (started by the window)
    #[command(hide = true)]
    Engine,
}

/// What `bench` measures.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Training steps on random tokens, beside the machine's matrix products on the same shapes
    Train {
        /// A folder, a GGUF file or a bundled model
        #[arg(long, default_value = temper_protocol::named::STARTER)]
        model: String,
        /// Storage of the base: auto keeps what the file has, or f32, f16, bf16, int8, nf4, nf4-double, int4, int3, int2
        /// (groups of 128; of 64 or 32 with -g64, -g32)
        #[arg(long, default_value = "auto")]
        base: String,
        /// Method id
        #[arg(long, default_value = "lora")]
        method: String,
        /// Rank, for methods that have one; their default when absent
        #[arg(long)]
        rank: Option<usize>,
        /// Another setting of the method, such as targets=q_proj; may be repeated
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Rows a step
        #[arg(long, default_value_t = 4)]
        batch: usize,
        /// Tokens a row
        #[arg(long, default_value_t = 256)]
        seq: usize,
        /// Steps; the first is not counted
        #[arg(long, default_value_t = 8)]
        steps: u64,
        /// Threads; 0 chooses
        #[arg(long, default_value_t = 0)]
        threads: usize,
        /// Compute activations again in the backward pass
        #[arg(long)]
        recompute: bool,
        /// Keep the outputs of frozen blocks on disk, as from the second epoch on
        #[arg(long, conflicts_with = "data")]
        keep_prefix: bool,
        /// How the optimiser keeps its moments: f32 or int8
        #[arg(long)]
        optim_state: Option<String>,
        /// Rows of a data file instead of random tokens, with the answer mask of a project
        #[arg(long, value_name = "FILE")]
        data: Option<String>,
        /// Put several rows of the data into one of --seq tokens
        #[arg(long, requires = "data")]
        pack: bool,
        /// Only rows of the data with so many tokens; 2 to --seq when absent
        #[arg(long, requires = "data", value_name = "FROM-TO")]
        row_tokens: Option<String>,
        /// Write the rows of every step as a line of JSON
        #[arg(long, requires = "data", value_name = "FILE")]
        dump_rows: Option<PathBuf>,
    },
    /// Reading, tokenising, packing, and waiting for batches
    Data {
        /// A folder, a GGUF file or a bundled model, for its tokenizer
        #[arg(long, default_value = temper_protocol::named::STARTER)]
        model: String,
        /// Data file, folder or bundled data
        #[arg(long, default_value = temper_protocol::named::STARTER_DATA)]
        data: String,
        /// Rows a batch
        #[arg(long, default_value_t = 8)]
        batch: usize,
        /// Longest row, tokens
        #[arg(long, default_value_t = 512)]
        seq: usize,
        /// Most threads; 0 chooses
        #[arg(long, default_value_t = 0)]
        threads: usize,
        /// Only what the window waits for: the first look and single rows, whatever the size of the data
        #[arg(long)]
        preview: bool,
    },
    /// A model to its first logits, and a project to its first step without and with what was remembered
    Load {
        /// A folder, a GGUF file or a bundled model; may be repeated
        #[arg(long)]
        model: Vec<String>,
        /// Project folder; a copy of it is trained for one step, twice
        #[arg(long, value_name = "DIR")]
        project: Option<PathBuf>,
        /// Threads; 0 chooses
        #[arg(long, default_value_t = 0)]
        threads: usize,
    },
    /// Training steps while threads, row length, batch, layers and model grow, beside what is expected
    Scale {
        /// A folder, a GGUF file or a bundled model; may be repeated, the first is used for most tables
        #[arg(long, default_value = temper_protocol::named::STARTER)]
        model: Vec<String>,
        /// Only this table: threads, length, batch, layers or models; may be repeated
        #[arg(long)]
        table: Vec<String>,
        /// Fewer and smaller cases
        #[arg(long)]
        quick: bool,
        /// Steps of a case; the first is not counted
        #[arg(long, default_value_t = 8)]
        steps: u64,
        /// Most threads; 0 chooses
        #[arg(long, default_value_t = 0)]
        threads: usize,
    },
    /// Every method on one task: quality, forgetting, size, memory, time, and what leaving as a file costs
    Methods {
        /// A folder, a GGUF file or a bundled model
        #[arg(long, default_value = temper_protocol::named::STARTER)]
        model: String,
        /// Data file, folder or bundled data
        #[arg(long, default_value = temper_protocol::named::STARTER_DATA)]
        data: String,
        /// Project folder for the runs and the table; a table that is there is gone on with
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Only this method; may be repeated
        #[arg(long, value_name = "ID")]
        method: Vec<String>,
        /// Learning rates, a run of each; the method's usual one when absent
        #[arg(long, value_delimiter = ',', value_name = "RATE")]
        rates: Vec<f64>,
        /// Another value for a key of project.toml, such as model.base=nf4; may be repeated
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Optimiser steps
        #[arg(long, default_value_t = 60)]
        steps: u64,
        /// Rows a step
        #[arg(long, default_value_t = 4)]
        batch: usize,
        /// Longest row, tokens
        #[arg(long, default_value_t = 128)]
        seq: usize,
        /// Threads; 0 chooses
        #[arg(long, default_value_t = 0)]
        threads: usize,
        /// Measure each method's time a step too, in turn with that of LoRA with as many numbers; wants an idle machine
        #[arg(long)]
        times: bool,
    },
    /// Every operation forward and backward, beside the same in plain candle tensors
    Ops {
        /// Threads; 0 chooses
        #[arg(long, default_value_t = 0)]
        threads: usize,
        /// Only operations whose name contains this
        #[arg(long, value_name = "WORD")]
        op: Option<String>,
    },
    /// What the window costs: a frame, the start, when idle, and a training run beside it (needs a display)
    Ui(UiArgs),
    /// The window as `bench ui` opens it
    #[command(hide = true)]
    UiWindow(UiWindowArgs),
}

/// What `bench ui` takes.
#[derive(Debug, Args)]
pub(crate) struct UiArgs {
    /// Runs in the project's database, all drawn in one plot
    #[arg(long, default_value_t = 50)]
    pub(crate) runs: u64,
    /// Steps of each run
    #[arg(long, default_value_t = 100_000)]
    pub(crate) points: u64,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 20.0)]
    pub(crate) seconds: f64,
    /// Starts of the program that are timed
    #[arg(long, default_value_t = 7)]
    pub(crate) starts: usize,
    /// Pairs of spans of training, one with and one without the window
    #[arg(long, default_value_t = 30)]
    pub(crate) pairs: usize,
    /// Model that is trained meanwhile: a folder, a GGUF file or a bundled model
    #[arg(long, default_value = temper_protocol::named::STARTER)]
    pub(crate) model: String,
    /// Threads of that training; 0 leaves one processor free, as runs do
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
    /// Rows of the data that the token lens scrolls through
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) rows: u64,
    /// Runs of the project that is opened
    #[arg(long, default_value_t = 200)]
    pub(crate) open_runs: u64,
    /// Steps of each of them, ten series a step
    #[arg(long, default_value_t = 20_000)]
    pub(crate) open_points: u64,
    /// Only these measurements: frames, lens, start, open, idle, training
    #[arg(long, value_delimiter = ',', value_parser = ["frames", "lens", "start", "open", "idle", "training"])]
    pub(crate) only: Vec<String>,
}

/// What `bench ui` tells the window.
#[derive(Debug, Args)]
pub(crate) struct UiWindowArgs {
    /// start, open, idle, frames or lens
    #[arg(long, value_parser = ["start", "open", "idle", "frames", "lens"])]
    pub(crate) plan: String,
    /// Folder for settings and files of the window
    #[arg(long, value_name = "DIR")]
    pub(crate) home: PathBuf,
    /// Project to open
    #[arg(long, value_name = "DIR")]
    pub(crate) project: Option<PathBuf>,
    /// Run to open
    #[arg(long)]
    pub(crate) run: Option<u64>,
    /// Seconds of the script
    #[arg(long, default_value_t = 20.0)]
    pub(crate) seconds: f64,
}

/// A model with adapters.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// A folder, a GGUF file or a bundled model
    pub(crate) model: String,
    /// Adapter folder, run folder, run:ID of the project, or run:ID@STEP for what it was at a step; may be repeated
    #[arg(long)]
    pub(crate) adapter: Vec<String>,
    /// Project folder for run:ID; the current one when absent
    #[arg(long, value_name = "DIR")]
    pub(crate) project: Option<PathBuf>,
}

/// What `train` takes.
#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// Project folder or its project.toml
    pub(crate) project: PathBuf,
    /// Another method than the project's
    #[arg(long, value_name = "ID")]
    pub(crate) method: Option<String>,
    /// Let two to eight methods race, such as lora,dora,miss: same rows in the same order, after each round the worse half
    /// drops out
    #[arg(long, value_name = "IDS", value_delimiter = ',', conflicts_with_all = ["method", "out", "resume", "from", "max_steps"])]
    pub(crate) race: Vec<String>,
    /// Keep the machine awake while it trains, as the window does
    #[arg(long)]
    pub(crate) keep_awake: bool,
    /// Wait while the machine runs on its battery, as the window does
    #[arg(long)]
    pub(crate) pause_on_battery: bool,
    /// Another value for a key of project.toml, such as train.steps=100; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Another place for the run's folder
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Go on with this run from its newest checkpoint: a number, `last` or a folder
    #[arg(long, value_name = "RUN")]
    pub(crate) resume: Option<String>,
    /// Start a new run with the values of an adapter, whose method and settings it takes: run:ID, a run's folder, or a
    /// PEFT adapter folder
    #[arg(long, value_name = "ADAPTER", conflicts_with_all = ["resume", "method"])]
    pub(crate) from: Option<String>,
    /// Stop after this many steps
    #[arg(long, value_name = "N")]
    pub(crate) max_steps: Option<u64>,
}
