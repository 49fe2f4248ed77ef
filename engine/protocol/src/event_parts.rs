//! Rows of tables that events carry, and how a run ended.

use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// All steps done, or early stop.
    Finished,
    /// Stopped by the person; kept and exportable.
    Stopped,
    /// Cancelled; nothing new kept.
    Cancelled,
    /// Ended by an error.
    Failed,
}

/// An adaptable linear layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteInfo {
    /// Name, such as `layers.3.attn.q`.
    pub site: String,
    /// Rows of the weight.
    pub out_features: u64,
    /// Columns of the weight.
    pub in_features: u64,
    /// Storage type.
    pub storage: String,
}

/// A row of a certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// What was measured.
    pub measured: String,
    /// The limit.
    pub limit: String,
    /// Over what.
    pub over: String,
    /// Whether it passed.
    pub pass: bool,
}

/// A row as the model sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreviewRow {
    /// Row number in its file.
    pub line: u64,
    /// First question or text.
    pub input: String,
    /// Answer.
    pub output: String,
    /// Tokens.
    pub tokens: u64,
    /// Tokens trained.
    pub trained: u64,
    /// Its number among all rows, counted from 0 as the token lens does, also over those that are not trained; only for rows
    /// of the first file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
}

/// What the self-test found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SelfTest {
    /// Whether it passed.
    pub pass: bool,
    /// What was done.
    pub text: String,
    /// Seconds.
    pub secs: f64,
    /// Speed.
    pub tokens_per_sec: f64,
    /// Rate of the matrix product.
    pub gemm_gflops: f64,
    /// What was checked, one by one; missing in reports of earlier programs.
    #[serde(default)]
    pub checks: Vec<MachineCheck>,
}

/// One thing that the self-test checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachineCheck {
    /// Stable name: `learning`, `gradients`, `repeating`, `saving`, `memory`, `speed`.
    pub name: String,
    /// Whether it passed.
    pub pass: bool,
    /// What was measured.
    pub measured: String,
    /// What to do; empty when it passed.
    #[serde(default)]
    pub action: String,
}

/// Rows of data token by token, and how far rows are known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataRows {
    /// The first row that was asked for, counted from 0.
    pub first: u64,
    /// Rows that can already be asked for.
    pub known: u64,
    /// Whether these are all that the data has.
    pub complete: bool,
    /// Whether a file has more rows than can be shown.
    #[serde(default)]
    pub shortened: bool,
    /// Changes when the files do: a row's number means the same row as long as this is the same.
    #[serde(default)]
    pub stamp: String,
    /// The rows; blank lines and rows beyond the known ones are missing.
    pub rows: Vec<LensRow>,
}

/// A row token by token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LensRow {
    /// Its number over all files, counted from 0.
    pub row: u64,
    /// File.
    pub file: PathBuf,
    /// Line (row for Parquet) in that file, counted from 1.
    pub line: u64,
    /// Tokens, also those beyond what was asked for.
    pub tokens: u64,
    /// Tokens whose prediction counts.
    pub trained: u64,
    /// Tokens beyond the longest row.
    pub cut: u64,
    /// Ids, as many as were asked for.
    pub ids: Vec<u32>,
    /// The text of each; joined they are the row. Empty where a token ends inside a character.
    pub pieces: Vec<String>,
    /// A letter for each: `t` trained, `c` context, `m` written by the template, `x` cut off.
    pub marks: String,
    /// Tokens with which another training row begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub borders: Vec<u64>,
    /// Why the row is not trained; empty when it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub problem: String,
    /// What each token costs the base, nats, where that was measured; NaN where nothing comes before a token or the model
    /// does not see it.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nans_if_null")]
    pub losses: Vec<f64>,
}

/// A row set aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuarantineRow {
    /// File.
    pub file: PathBuf,
    /// Line or row number, counted from 1.
    pub line: u64,
    /// Why.
    pub reason: String,
}

/// Losses of the validation rows at a step, one by one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowLosses {
    /// Step.
    pub step: u64,
    /// Nats, summed over the trained tokens of each row.
    #[serde(deserialize_with = "nans_if_null")]
    pub losses: Vec<f64>,
    /// Trained tokens of each row.
    pub tokens: Vec<u64>,
}

/// How methods that race stand after a round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RaceRound {
    /// Round, from 1.
    pub round: u64,
    /// Rounds in all.
    pub rounds: u64,
    /// Step at which the methods are compared.
    pub step: u64,
    /// Everyone who ran in this round, best first.
    pub standings: Vec<Standing>,
}

/// A method in a race. Losses are nats per trained token on the validation rows; differences are paired row by row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Method id.
    pub method: String,
    /// Its run, if it came to be one.
    pub run: Option<u64>,
    /// Loss.
    #[serde(deserialize_with = "nan_if_null")]
    pub loss: f64,
    /// Loss less that of the best one.
    #[serde(deserialize_with = "nan_if_null")]
    pub difference: f64,
    /// Half of the width of the 95 % band around the difference.
    #[serde(deserialize_with = "nan_if_null")]
    pub band: f64,
    /// Whether it runs on; in the last round whether it has won.
    pub stays: bool,
    /// Why it could not run.
    #[serde(default)]
    pub refused: Option<String>,
}

/// A table of measured figures.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Which bench: `ops`, `data`, `load`, `scale`, `ui`.
    pub what: String,
    /// What was measured and how, in one or two sentences.
    pub text: String,
    /// Names of the columns, units included: `tokens/s`, `peak memory, MiB`.
    pub columns: Vec<String>,
    /// Row by row, a cell for each column.
    pub rows: Vec<Vec<Figure>>,
}

/// A cell of [`Figures`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Figure {
    /// A measured number.
    Number(f64),
    /// A name or a remark.
    Text(String),
    /// Nothing was measured here; `null` in JSON.
    Missing,
}

impl From<f64> for Figure {
    fn from(value: f64) -> Self {
        if value.is_finite() { Self::Number(value) } else { Self::Missing }
    }
}

impl From<&str> for Figure {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Figure {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// JSON has no not-a-number: it is written as null and read back as NaN.
pub(crate) fn nan_if_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// JSON has no number for what is none: losses of a model that diverged arrive as `null`.
pub(crate) fn nans_if_null<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    let values = Vec::<Option<f64>>::deserialize(from)?;
    Ok(values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
}

/// What the router of a layer chose, smoothed over the last passes of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExpertLoad {
    /// Step.
    pub step: u64,
    /// Site, such as `layers.3.attn.q`.
    pub site: String,
    /// Share of the choices by expert, together 1.
    pub load: Vec<f64>,
    /// Mean entropy of the router, nats; the logarithm of the number of experts when it does not tell tokens apart.
    #[serde(deserialize_with = "nan_if_null")]
    pub entropy: f64,
    /// How many experts hardly answer for any token.
    pub dead: u64,
}

/// How large the entries are that the attention of a block compares: a measurement without a verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttentionSize {
    /// Step.
    pub step: u64,
    /// Block, such as `layers.3`.
    pub block: String,
    /// Largest entry of the queries.
    #[serde(deserialize_with = "nan_if_null")]
    pub q_max: f64,
    /// Largest entry of the keys.
    #[serde(deserialize_with = "nan_if_null")]
    pub k_max: f64,
    /// Largest entry of what training adds to the queries, over that of the queries.
    #[serde(deserialize_with = "nan_if_null")]
    pub change_share: f64,
    /// max(q_max, k_max) over the root of the logarithm of the length of the texts.
    #[serde(deserialize_with = "nan_if_null")]
    pub ratio: f64,
    /// The same over the fourth root of a head's width, by which attention divides.
    #[serde(deserialize_with = "nan_if_null")]
    pub scaled_ratio: f64,
    /// The ratio of the model before training.
    #[serde(deserialize_with = "nan_if_null")]
    pub base_ratio: f64,
}

/// How warm the machine is and what it drew, as far as the system tells: a measurement without a verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachineState {
    /// Step.
    pub step: u64,
    /// Degrees Celsius by part: `processor`, `graphics`; the warmest sensor of each.
    #[serde(default)]
    pub celsius: BTreeMap<String, f64>,
    /// Joules that the whole processor drew since the last such event, whatever else ran on it.
    #[serde(default)]
    pub joules: Option<f64>,
}

/// A change of settings after which a run would fit into memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Remedy {
    /// Dotted keys of the project file and their values, as `--set` takes them.
    pub settings: Vec<(String, String)>,
    /// Memory that a step would take then, MiB.
    pub memory_mib: f64,
    /// Rows that would be cut off by it.
    #[serde(default)]
    pub rows_cut: u64,
    /// What a step would take of the time it takes now; absent where that was not measured.
    #[serde(default)]
    pub time_factor: Option<f64>,
}

/// What the bench of training measured: medians over its steps, the first left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainBench {
    /// Which bench: `train`.
    pub what: String,
    /// Steps counted.
    pub steps: u64,
    /// Threads.
    pub threads: u64,
    /// Tokens a step, padding not counted; of rows of data the mean.
    pub tokens_per_step: u64,
    /// Tokens a step that are trained, the mean.
    #[serde(default)]
    pub trained_tokens_per_step: f64,
    /// Share of the positions that are padding.
    #[serde(default)]
    pub padding_share: f64,
    /// Tokens a second, padding not counted; the median over the steps.
    pub tokens_per_sec: f64,
    /// Seconds a step.
    pub step_secs: f64,
    /// Processor seconds a step, all threads.
    pub cpu_secs_per_step: f64,
    /// Highest resident memory, pages of mapped files included.
    pub peak_rss_mib: f64,
    /// Useful operations a step, 10^9: recomputation not counted.
    pub useful_gflop_per_step: f64,
    /// Useful operations a second, 10^9.
    pub useful_gflops: f64,
    /// What libraries' matrix products reach on the same shapes in the same process, 10^9 a second.
    pub gemm_gflops: f64,
    /// useful_gflops / gemm_gflops.
    pub gemm_fraction: f64,
    /// Pages the system had to hand out, a step.
    pub page_faults_per_step: f64,
    /// Seconds a step by phase.
    pub phase_secs: BTreeMap<String, f64>,
    /// Loss of every step, nats a token, the first included.
    pub losses: Vec<f64>,
}
