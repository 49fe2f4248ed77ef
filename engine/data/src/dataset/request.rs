//! What to load, and how far loading is.

use crate::error::DataError;
use crate::tokens::LossOn;
use std::collections::BTreeMap;
use std::path::PathBuf;
use temper_protocol::project::Data;

/// Where validation rows come from.
#[derive(Debug, Clone, PartialEq)]
pub enum ValidationSource {
    /// A share of the training rows, chosen by their content.
    Share(f64),
    /// A file or folder.
    Path(PathBuf),
}

/// What to load. Paths are resolved by the caller.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadRequest {
    /// Files or folders with weights: 2 takes every row twice, 0.5 every other row.
    pub train: Vec<(PathBuf, f64)>,
    /// Validation rows.
    pub validation: ValidationSource,
    /// `auto` or a schema name.
    pub schema: String,
    /// Role to column.
    pub columns: BTreeMap<String, String>,
    /// Longest row, tokens, at least 2.
    pub max_tokens: usize,
    /// Which tokens count.
    pub loss_on: LossOn,
    /// Decides on the split and on thinned rows.
    pub seed: u64,
    /// Where tokenised files are kept; nowhere when absent.
    pub cache_dir: Option<PathBuf>,
}

impl LoadRequest {
    /// A request with the settings of a project and the paths that its caller resolved.
    ///
    /// # Errors
    /// [`DataError::Setting`] for an unknown `loss_on`.
    pub fn from_project(
        data: &Data,
        train: Vec<(PathBuf, f64)>,
        validation: ValidationSource,
        seed: u64,
        cache_dir: Option<PathBuf>,
    ) -> Result<Self, DataError> {
        let loss_on = LossOn::from_name(&data.loss_on).ok_or_else(|| DataError::Setting {
            what: format!("\"{}\" is not a choice", data.loss_on),
            place: "data.loss_on".to_owned(),
            action: "set answers, last-answer or everything".to_owned(),
        })?;
        Ok(Self {
            train,
            validation,
            schema: data.schema.clone(),
            columns: data.columns.clone(),
            max_tokens: data.max_tokens,
            loss_on,
            seed,
            cache_dir,
        })
    }
}

/// How far loading is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: &'static str,
    /// Done so far.
    pub done: u64,
    /// Total.
    pub total: u64,
    /// Unit of both.
    pub unit: &'static str,
}
