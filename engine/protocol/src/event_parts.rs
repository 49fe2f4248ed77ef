//! Rows of tables that events carry.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

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
