//! Parts of commands and events about the rows of data sets: columns and what they may mean, and the texts inside a row.
//!
//! Place in the data flow: the engine finds columns while it takes its first look; the window shows them and writes what a
//! person decides into `[data]` of the project. Texts of a row go both ways: read to be edited, and sent back changed.

use crate::event_parts::LensRow;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The columns of the project's data, and the forms that rows may have.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DataColumns {
    /// The file that was looked at, the first one of the data.
    pub path: PathBuf,
    /// Columns in the order of first sight.
    pub columns: Vec<ColumnInfo>,
    /// Schema in use; empty when the rows were not recognised and the project names none.
    pub schema: String,
    /// Role to column, as far as it is known.
    pub mapping: BTreeMap<String, String>,
    /// Every form that rows may be said to have.
    pub forms: Vec<RowForm>,
}

/// A column of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnInfo {
    /// Name.
    pub name: String,
    /// What its values are: `text`, `number`, `flag`, `turns`, `list`, `object`, `mixed`, or `empty`.
    pub kind: String,
    /// The first value that says something, in one line, shortened.
    pub example: String,
}

/// A form that rows may have, and what its columns are for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowForm {
    /// Schema name.
    pub schema: String,
    /// Roles that columns can have, the needed ones first.
    pub roles: Vec<RoleInfo>,
}

/// What a column can be for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleInfo {
    /// Name in `[data.columns]`.
    pub role: String,
    /// Whether rows cannot be read without it.
    pub needed: bool,
}

/// Place of a text that is the whole line of a row: the line is no JSON and is repaired as a whole.
pub const WHOLE_LINE: &str = "#";

/// A text inside a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowField {
    /// Its place in the row as a JSON pointer (RFC 6901): `/messages/1/content`; or [`WHOLE_LINE`].
    pub place: String,
    /// The text.
    pub text: String,
}

/// A row with other texts at some places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowEdit {
    /// Its number over all files, counted from 0.
    pub row: u64,
    /// The new texts; what is not named stays as it is.
    pub fields: Vec<RowField>,
}

/// The texts of a row, and how the model sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowTexts {
    /// Its number over all files, counted from 0.
    pub row: u64,
    /// Its texts as they stand in the file, in the order in which they stand there.
    pub fields: Vec<RowField>,
    /// The row as the model sees it, with the texts that were sent.
    pub seen: LensRow,
}
