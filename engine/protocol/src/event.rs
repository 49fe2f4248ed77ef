//! Everything the engine says, as values. `--json` prints them unchanged, one per line.

use crate::data::{DataColumns, RowTexts};
use crate::event_parts::nan_if_null;
pub use crate::event_parts::{
    AttentionSize, Check, DataRows, ExpertLoad, Figure, Figures, LensRow, MachineCheck, MachineState, PreviewRow,
    QuarantineRow, RaceRound, Remedy, RowLosses, RunStatus, SelfTest, SiteInfo, Standing, TrainBench,
};
use crate::{MethodCard, Problem, comparison::Comparison};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

/// One thing the engine says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run waits for another one to end.
    Queued {
        /// Run number.
        run: u64,
    },
    /// A run prepares: which part, and how far it is.
    Preparing {
        /// Run number.
        run: u64,
        /// Such as "reading the model", "tokenising", "measuring what must not be forgotten".
        stage: String,
        /// Done so far.
        done: u64,
        /// Total, 0 when not known.
        total: u64,
        /// Unit of both.
        unit: String,
    },
    /// A run's first event.
    Started {
        /// Run number.
        run: u64,
        /// Project folder.
        project: PathBuf,
        /// Method id.
        method: String,
        /// Parameters of the base.
        model_parameters: u64,
        /// Parameters trained.
        trained_parameters: u64,
        /// Seed.
        seed: u64,
        /// Threads used.
        threads: usize,
        /// Device used.
        device: String,
        /// Steps planned.
        #[serde(default)]
        max_steps: u64,
        /// Step it goes on from, 0 when new.
        #[serde(default)]
        resumed_from: u64,
    },
    /// An optimiser step.
    Step {
        /// Step, counted from 1.
        step: u64,
        /// Steps planned.
        max_steps: u64,
        /// Mean loss of the step's trained tokens, nats.
        #[serde(deserialize_with = "nan_if_null")]
        train_loss: f64,
        /// Learning rate used.
        lr: f64,
        /// Global gradient norm before clipping.
        #[serde(deserialize_with = "nan_if_null")]
        grad_norm: f64,
        /// Tokens (trained or not, without padding) per second.
        tokens_per_sec: f64,
        /// Tokens trained since step 1.
        trained_tokens: u64,
        /// Resident memory now.
        rss_mib: f64,
    },
    /// A validation result.
    Eval {
        /// Step.
        step: u64,
        /// `validation` or another split.
        split: String,
        /// Nats per trained token.
        #[serde(deserialize_with = "nan_if_null")]
        loss: f64,
        /// Whether it is the best so far.
        best: bool,
    },
    /// A measurement of one kept set.
    Probe {
        /// Step; 0 is the base.
        step: u64,
        /// Name of the set.
        set: String,
        /// Nats per token.
        #[serde(deserialize_with = "nan_if_null")]
        loss: f64,
        /// Loss minus the base's.
        #[serde(deserialize_with = "nan_if_null")]
        loss_delta: f64,
        /// KL divergence from the base, nats per token.
        #[serde(deserialize_with = "nan_if_null")]
        kl: f64,
        /// Share of positions whose best token is the base's.
        #[serde(deserialize_with = "nan_if_null")]
        top1_agreement: f64,
        /// exp(loss_delta).
        #[serde(default, deserialize_with = "nan_if_null")]
        perplexity_ratio: f64,
        /// Share of positions right in the base and wrong now.
        #[serde(default, deserialize_with = "nan_if_null")]
        negative_flips: f64,
        /// Positions measured.
        #[serde(default)]
        positions: u64,
    },
    /// Where the rank goes: one adapted site.
    Rank {
        /// Step.
        step: u64,
        /// Site, such as `layers.3.attn.q`.
        site: String,
        /// Rank in use.
        rank: u64,
        /// exp of the entropy of the normalised singular values of the change.
        effective_rank: f64,
        /// Frobenius norm of the change over that of the weight.
        energy: f64,
        /// Singular values of the change, largest first.
        #[serde(default)]
        spectrum: Vec<f32>,
    },
    /// Losses of the validation rows one by one, as `train.row_losses` asks for.
    RowLosses(RowLosses),
    /// How methods that race stand after a round.
    Race(RaceRound),
    /// Models on the same rows.
    Comparison(Comparison),
    /// How large the entries are that the attention of a block compares.
    Attention(AttentionSize),
    /// What the router of a layer chose.
    Experts(ExpertLoad),
    /// How warm the machine is, and what it drew.
    Machine(MachineState),
    /// An answer to a sample prompt.
    Sample {
        /// Step; 0 is the base.
        step: u64,
        /// The prompt.
        prompt: String,
        /// The answer.
        text: String,
    },
    /// A checkpoint was written.
    Checkpoint {
        /// Step.
        step: u64,
        /// Folder.
        path: PathBuf,
        /// Size.
        #[serde(default)]
        bytes: u64,
    },
    /// Time spent since the last such event, by phase.
    Phases {
        /// Step.
        step: u64,
        /// Seconds by phase: forward, backward, optimiser, data, eval, probes, saves.
        secs: BTreeMap<String, f64>,
    },
    /// The run waits.
    Paused {
        /// Run number.
        run: u64,
        /// Step.
        step: u64,
    },
    /// The run goes on.
    Resumed {
        /// Run number.
        run: u64,
        /// Step.
        step: u64,
    },
    /// Something a person should know.
    Warning {
        /// Stable code, such as `budget_exceeded`.
        code: String,
        /// What it means and what follows.
        text: String,
        /// Step, 0 when none.
        #[serde(default)]
        step: u64,
    },
    /// The last event of a run; there is exactly one.
    Finished {
        /// Run number.
        run: u64,
        /// How it ended.
        status: RunStatus,
        /// Steps done.
        steps: u64,
        /// Step of the best validation loss.
        best_step: u64,
        /// Validation loss before step 1.
        #[serde(deserialize_with = "nan_if_null")]
        base_loss: f64,
        /// Validation loss at the end.
        #[serde(deserialize_with = "nan_if_null")]
        final_loss: f64,
        /// Best validation loss.
        #[serde(deserialize_with = "nan_if_null")]
        best_loss: f64,
        /// Worst kept set minus base, nats.
        #[serde(deserialize_with = "nan_if_null")]
        forgetting: f64,
        /// Mean over the run.
        tokens_per_sec: f64,
        /// Mean processor seconds per step.
        cpu_secs_per_step: f64,
        /// Highest resident memory.
        peak_rss_mib: f64,
        /// Wall time.
        wall_secs: f64,
        /// Folder of the adapter (the best checkpoint), if one was kept.
        adapter: Option<PathBuf>,
        /// Why it failed.
        #[serde(default)]
        problem: Option<Problem>,
    },
    /// How far a long job is.
    Progress {
        /// Done so far.
        done: u64,
        /// Total, 0 when not known.
        total: u64,
        /// Unit of both.
        unit: String,
        /// What is being done.
        #[serde(default)]
        stage: String,
    },
    /// A file or folder was written.
    Written {
        /// Format.
        format: String,
        /// Path.
        path: PathBuf,
        /// Size.
        bytes: u64,
        /// Hash of the file, or of the sorted list of file hashes for a folder.
        sha256: String,
    },
    /// The verdict over an export.
    Certificate {
        /// Whether every check passed.
        pass: bool,
        /// Format checked.
        format: String,
        /// Mean absolute difference of logits.
        #[serde(deserialize_with = "nan_if_null")]
        mean_abs_diff: f64,
        /// Largest absolute difference of logits.
        #[serde(deserialize_with = "nan_if_null")]
        max_abs_diff: f64,
        /// Largest difference over the largest logit.
        #[serde(deserialize_with = "nan_if_null")]
        relative_diff: f64,
        /// Share of positions with the same best token.
        #[serde(deserialize_with = "nan_if_null")]
        top1_agreement: f64,
        /// Whether greedy continuations are equal.
        greedy_equal: bool,
        /// Why it did not pass, or what limits it.
        reasons: Vec<String>,
        /// The table of the certificate: check, measured, limit, over what, passed.
        #[serde(default)]
        checks: Vec<Check>,
        /// What was checked.
        #[serde(default)]
        path: PathBuf,
    },
    /// A registry entry.
    Method(MethodCard),
    /// What methods train on a model.
    Prices(crate::prices::MethodPrices),
    /// A model, as the drop zone would say.
    Model {
        /// Path.
        path: PathBuf,
        /// `gguf`, `huggingface`, `builtin`.
        format: String,
        /// Family, such as `llama`.
        architecture: String,
        /// Parameters.
        parameters: u64,
        /// Blocks.
        layers: u64,
        /// Width.
        hidden_size: u64,
        /// Vocabulary entries.
        vocabulary: u64,
        /// Longest context.
        context: u64,
        /// Storage of most weights, such as `Q4_1` or `bf16`.
        storage: String,
        /// Tokenizer kind.
        tokenizer: String,
        /// Chat template: which, or empty.
        chat_template: String,
        /// Adaptable linear sites with shapes (out, in) and storage.
        sites: Vec<SiteInfo>,
        /// Licence if stated.
        #[serde(default)]
        licence: String,
        /// Size on disk.
        #[serde(default)]
        disk_bytes: u64,
        /// Memory of the frozen weights.
        #[serde(default)]
        memory_bytes: u64,
    },
    /// A data set, as the drop zone would say.
    Dataset {
        /// Path.
        path: PathBuf,
        /// Container.
        format: String,
        /// Schema.
        schema: String,
        /// 0 to 1.
        confidence: f64,
        /// Good rows.
        rows: u64,
        /// Rows set aside.
        bad_rows: u64,
        /// Columns found.
        columns: Vec<String>,
        /// Whether all rows were read, or a first part.
        #[serde(default)]
        complete: bool,
    },
    /// An adapter, as the drop zone would say.
    Adapter {
        /// Path.
        path: PathBuf,
        /// `peft`, `gguf-lora`, `native`.
        format: String,
        /// Method.
        method: String,
        /// Name of its base, or empty.
        base: String,
        /// Highest rank.
        rank: u64,
        /// Adapted sites.
        sites: u64,
        /// Parameters.
        parameters: u64,
    },
    /// A project.
    Project {
        /// Folder.
        path: PathBuf,
        /// Name.
        name: String,
        /// Model.
        model: String,
        /// Method.
        method: String,
        /// Runs so far.
        runs: u64,
    },
    /// Not something Temper can use.
    Unknown {
        /// Path.
        path: PathBuf,
        /// Why, and what could be done.
        why: String,
    },
    /// What the project's data looks like to the model.
    Preview {
        /// Rows in all.
        rows: u64,
        /// Training rows.
        train_rows: u64,
        /// Validation rows.
        validation_rows: u64,
        /// Rows set aside.
        bad_rows: u64,
        /// Rows cut at the length limit.
        cut_rows: u64,
        /// Tokens in all.
        tokens: u64,
        /// Tokens trained.
        trained_tokens: u64,
        /// Median tokens of a row.
        median_tokens: u64,
        /// Longest row, tokens.
        longest_tokens: u64,
        /// Rows per bin of equal width from 0 to `longest_tokens`.
        histogram: Vec<u64>,
        /// First rows.
        examples: Vec<PreviewRow>,
        /// Rows set aside: file, line, reason.
        quarantine: Vec<QuarantineRow>,
        /// Schema in use.
        schema: String,
        /// Confidence in the schema.
        confidence: f64,
        /// Role to column.
        mapping: BTreeMap<String, String>,
        /// The figures are reckoned from the head and samples; the rows were not all read.
        #[serde(default)]
        estimated: bool,
    },
    /// Rows of the project's data token by token, and how far rows are known.
    Rows(DataRows),
    /// The columns of the project's data, and what they may be for.
    Columns(DataColumns),
    /// The texts of a row.
    RowTexts(RowTexts),
    /// What a run would need.
    Preflight {
        /// Whether it fits.
        fits: bool,
        /// Highest memory expected.
        peak_rss_mib: f64,
        /// Seconds a step.
        step_secs: f64,
        /// Seconds in all.
        total_secs: f64,
        /// Disk for checkpoints and exports.
        disk_mib: f64,
        /// What to look at.
        warnings: Vec<String>,
        /// Free memory.
        #[serde(default)]
        free_memory_mib: f64,
        /// Free disk.
        #[serde(default)]
        free_disk_mib: f64,
        /// Disk for checkpoints and snapshots.
        #[serde(default)]
        checkpoints_mib: f64,
        /// Disk for exports.
        #[serde(default)]
        export_mib: f64,
        /// Parameters trained.
        #[serde(default)]
        trained_parameters: u64,
        /// Steps planned.
        #[serde(default)]
        max_steps: u64,
        /// Joules that the whole processor draws for a step; nothing where the system does not tell.
        #[serde(default)]
        step_joules: Option<f64>,
        /// What would make it fit into memory, where it does not.
        #[serde(default)]
        remedies: Vec<Remedy>,
    },
    /// What the bench of training measured.
    Bench(TrainBench),
    /// What any other bench measured, as a table.
    Figures(Figures),
    /// Generated text; streaming when `stop_reason` is empty.
    Text {
        /// Which model answered.
        source: String,
        /// The text so far (the whole, not the piece).
        text: String,
        /// New tokens.
        tokens: u64,
        /// `stop`, `length`, or empty while it goes on.
        stop_reason: String,
        /// Speed.
        tokens_per_sec: f64,
    },
    /// A measured value.
    Result {
        /// Model.
        model: String,
        /// Adapter, or empty.
        adapter: String,
        /// Data.
        data: String,
        /// Metric.
        metric: String,
        /// Value.
        #[serde(deserialize_with = "nan_if_null")]
        value: f64,
        /// Standard error.
        #[serde(deserialize_with = "nan_if_null")]
        stderr: f64,
        /// Rows.
        rows: u64,
    },
    /// A run of the project: the fields of `finished` and the settings.
    Run {
        /// Run number.
        run: u64,
        /// Folder.
        path: PathBuf,
        /// Method.
        method: String,
        /// `running`, or a [`RunStatus`] name.
        status: String,
        /// Steps done.
        steps: u64,
        /// Steps planned.
        max_steps: u64,
        /// Step of the best validation loss.
        best_step: u64,
        /// Validation loss of the base.
        #[serde(deserialize_with = "nan_if_null")]
        base_loss: f64,
        /// Validation loss at the end.
        #[serde(deserialize_with = "nan_if_null")]
        final_loss: f64,
        /// Best validation loss.
        #[serde(deserialize_with = "nan_if_null")]
        best_loss: f64,
        /// Worst kept set minus base.
        #[serde(deserialize_with = "nan_if_null")]
        forgetting: f64,
        /// Speed.
        tokens_per_sec: f64,
        /// Highest resident memory.
        peak_rss_mib: f64,
        /// Wall time.
        wall_secs: f64,
        /// Folder of the adapter.
        adapter: Option<PathBuf>,
        /// The frozen project as text.
        settings: String,
        /// Why it failed or was interrupted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<Problem>,
        /// What a person said about it.
        #[serde(default)]
        labels: crate::housekeeping::RunLabels,
    },
    /// What a run takes on the disk.
    Disk(crate::housekeeping::DiskUse),
    /// A device.
    Device {
        /// `cpu`, `cuda`, `metal`.
        kind: String,
        /// Name.
        name: String,
        /// Whether this program can use it.
        usable: bool,
        /// Why not, or what it offers.
        note: String,
        /// Threads or units.
        threads: u64,
        /// Memory.
        memory_mib: f64,
    },
    /// The self-test.
    Selftest(SelfTest),
    /// A request was refused or failed.
    Error(Problem),
    /// The request is done; nothing more comes for it.
    Done {},
}
