//! Rows of tables that events carry, and how a run ended.

use serde::{Deserialize, Deserializer, Serialize};
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
    pub losses: Vec<f64>,
    /// Trained tokens of each row.
    pub tokens: Vec<u64>,
}

/// A row that models are compared on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedRow {
    /// File.
    pub file: PathBuf,
    /// Line or row number in it, counted from 1.
    pub line: u64,
    /// How its text begins.
    pub text: String,
    /// Trained tokens.
    pub tokens: u64,
}

/// What one model makes of the rows that models are compared on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowScores {
    /// Name of the model for people: `base`, `run 3`, an adapter's folder.
    pub model: String,
    /// Step, where the model is a checkpoint of a run beside the one that is compared.
    #[serde(default)]
    pub step: Option<u64>,
    /// Nats of each row, summed over its trained tokens.
    pub losses: Vec<f64>,
    /// How many of the row's trained tokens are the most likely ones.
    pub right: Vec<u64>,
}

/// How a run came to stand to a row. Losses are nats a trained token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowKind {
    /// The base knew it: below 0.2 nats before anything was trained.
    Easy,
    /// No checkpoint has taken a twentieth off the base's loss.
    Never,
    /// A checkpoint had taken a fifth off, and more than half of that is lost again.
    Forgotten,
    /// A fifth or more of the base's loss is gone.
    Learned,
    /// Something in between.
    Partly,
}

/// The kinds of all rows for one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowKinds {
    /// Name of the model for people.
    pub model: String,
    /// A kind a row.
    pub kinds: Vec<RowKind>,
}

/// Two models on the same rows. Differences are `b` less `a`, intervals hold 95 of 100 draws of rows with replacement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// First model.
    pub a: String,
    /// Second model.
    pub b: String,
    /// Rows.
    pub rows: u64,
    /// Difference of the losses, nats a trained token.
    pub loss: Interval,
    /// Difference of the trained tokens that are the most likely ones, percent of all.
    pub points: Interval,
    /// Rows of which `a` has every trained token right and `b` has not: negative flips.
    pub only_a: u64,
    /// Rows of which `b` has every trained token right and `a` has not.
    pub only_b: u64,
    /// How likely flips as uneven as these are if both models are equally good (McNemar, exact, two-sided).
    pub p_flips: f64,
}

/// A value with the interval around it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Measured.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether all of it lies on one side of 0.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
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
