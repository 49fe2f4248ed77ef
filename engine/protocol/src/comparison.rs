//! Models on the same rows: what `compare` says.
//!
//! Place in the data flow: parts of [`crate::Event::Comparison`]; the engine measures and judges, the command line and the
//! window show.

use crate::event_parts::{nan_if_null, nans_if_null};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Parts of a comparison of models, in the order in which they are told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case")]
pub enum Comparison {
    /// The rows that models are compared on.
    Rows {
        /// In their order.
        rows: Vec<ComparedRow>,
    },
    /// What one model makes of them.
    Scores(RowScores),
    /// How a run came to stand to them.
    Kinds(RowKinds),
    /// Two models on them.
    Verdict(Verdict),
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
    #[serde(deserialize_with = "nans_if_null")]
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
    #[serde(deserialize_with = "nan_if_null")]
    pub value: f64,
    /// Lower end.
    #[serde(deserialize_with = "nan_if_null")]
    pub low: f64,
    /// Upper end.
    #[serde(deserialize_with = "nan_if_null")]
    pub high: f64,
}

impl Interval {
    /// Whether all of it lies on one side of 0.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;

    #[test]
    fn a_model_that_diverged_survives_the_way_through_json() {
        let none = Interval { value: f64::NAN, low: f64::NAN, high: f64::NAN };
        let (a, b) = ("base".to_owned(), "run 1".to_owned());
        let verdict = Verdict { a, b, rows: 1, loss: none, points: none, only_a: 0, only_b: 0, p_flips: 1.0 };
        let scores =
            RowScores { model: "run 1".to_owned(), step: None, losses: vec![f64::NAN, 2.0], right: vec![0, 1] };
        for part in [Comparison::Verdict(verdict), Comparison::Scores(scores)] {
            let line = serde_json::to_string(&Event::Comparison(part)).expect("json");
            match serde_json::from_str(&line).expect("an event") {
                Event::Comparison(Comparison::Verdict(told)) => {
                    assert!(told.loss.value.is_nan() && told.points.low.is_nan() && !told.loss.is_clear());
                }
                Event::Comparison(Comparison::Scores(told)) => {
                    assert!(told.losses[0].is_nan() && told.losses[1] == 2.0, "{told:?}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
