//! Files to rows: JSON, JSON Lines, CSV, TSV, Parquet, plain text, and folders of them.
//!
//! Every reader streams: it hands out one [`Item`] at a time, either a row as a JSON object or the
//! reason why a row cannot be read. Only what makes a whole file unusable is an error.

mod folder;
mod guard;
mod json;
mod lines;
mod parquet;
mod table;
mod text;

pub use folder::{DataFile, Files, list};

use crate::DataError;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// A row as a table of column to value.
pub type Row = Map<String, Value>;

/// A single row may not be longer than this, bytes: a quote that never closes would swallow the file.
pub(crate) const MOST_ROW_BYTES: usize = 64 << 20;

/// Bytes looked at to tell what a file is.
const HEAD_BYTES: usize = 64 << 10;

/// How rows are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Container {
    /// One JSON array, or JSON objects one after another.
    Json,
    /// One JSON object a line.
    JsonLines,
    /// Comma (or semicolon, bar) separated values with a header.
    Csv,
    /// Tab separated values with a header.
    Tsv,
    /// Apache Parquet.
    Parquet,
    /// Plain text or Markdown: the file is one document.
    Text,
}

impl Container {
    /// The name shown to people and written in events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::JsonLines => "jsonl",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Parquet => "parquet",
            Self::Text => "text",
        }
    }
}

/// What a reader finds next.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A row and its line (row number for Parquet), counted from 1.
    Row {
        /// Line.
        line: u64,
        /// The row.
        row: Row,
    },
    /// Something that should have been a row.
    Bad {
        /// Line.
        line: u64,
        /// Why not.
        reason: String,
    },
}

/// A stream of rows.
pub trait RowSource {
    /// The next row, `None` at the end.
    ///
    /// # Errors
    /// What makes the rest of the file unusable.
    fn next_item(&mut self) -> Result<Option<Item>, DataError>;

    /// Bytes read so far, about; for progress.
    fn bytes_read(&self) -> u64;

    /// Rows in the file where the format says so.
    fn rows_total(&self) -> Option<u64> {
        None
    }
}

/// Opens a data file after making sure that it is one.
///
/// # Errors
/// [`DataError::Refused`] for pickles, [`DataError::Data`] for empty files, other encodings, archives and
/// models, [`DataError::NotFound`], [`DataError::Io`].
pub fn open(path: &Path) -> Result<(Container, Box<dyn RowSource>), DataError> {
    let head = head_of(path)?;
    let container = guard::container_of(path, &head)?;
    let file = File::open(path).map_err(|error| DataError::io("cannot open the data file", path, error))?;
    let source: Box<dyn RowSource> = match container {
        Container::Json => Box::new(json::JsonReader::new(file, path)),
        Container::JsonLines => Box::new(lines::LineReader::new(file, path)),
        Container::Csv => Box::new(table::TableReader::new(file, path, table::separator_of(&head))?),
        Container::Tsv => Box::new(table::TableReader::new(file, path, b'\t')?),
        Container::Parquet => Box::new(parquet::ParquetReader::new(file, path)?),
        Container::Text => Box::new(text::TextReader::new(file, path)),
    };
    Ok((container, source))
}

/// Reads JSON Lines from a place in the file on: line `line` (counted from 0) begins at `byte`, and `skip` lines from
/// there are passed over.
pub(crate) fn lines_from(path: &Path, byte: u64, line: u64, skip: u64) -> Result<Box<dyn RowSource>, DataError> {
    use std::io::Seek as _;
    let mut file = File::open(path).map_err(|error| DataError::io("cannot open the data file", path, error))?;
    file.seek(std::io::SeekFrom::Start(byte))
        .map_err(|error| DataError::io("cannot read the data file", path, error))?;
    Ok(Box::new(lines::LineReader::resume(file, path, line, skip)?))
}

/// Whether the name of a file is one that data files have.
#[must_use]
pub fn looks_like_data(path: &Path) -> bool {
    guard::is_data_name(path)
}

fn head_of(path: &Path) -> Result<Vec<u8>, DataError> {
    let file = File::open(path).map_err(|error| DataError::io("cannot open the data file", path, error))?;
    let mut head = Vec::new();
    file.take(HEAD_BYTES as u64)
        .read_to_end(&mut head)
        .map_err(|error| DataError::io("cannot read the data file", path, error))?;
    Ok(head)
}

/// A JSON value as a row: an object, a bare text, or a bare list of turns.
fn row_of(value: Value) -> Result<Row, String> {
    let single = |column: &str, value: Value| {
        let mut row = Row::new();
        row.insert(column.to_owned(), value);
        row
    };
    match value {
        Value::Object(row) if row.is_empty() => Err("the row is empty".to_owned()),
        Value::Object(row) => Ok(row),
        Value::String(text) => Ok(single("text", Value::String(text))),
        Value::Array(turns) if turns.first().is_some_and(|turn| turn.get("role").is_some()) => {
            Ok(single("messages", Value::Array(turns)))
        }
        Value::Array(turns) if turns.first().is_some_and(|turn| turn.get("from").is_some()) => {
            Ok(single("conversations", Value::Array(turns)))
        }
        Value::Array(_) => Err("a row must be an object with named fields, this is a list".to_owned()),
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            Err("a row must be an object with named fields, this is a bare value".to_owned())
        }
    }
}

/// Parses one row.
///
/// # Errors
/// Why it is none.
pub(crate) fn parse_row(bytes: &[u8]) -> Result<Row, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("the row is not UTF-8 (byte {} of the row)", error.valid_up_to() + 1))?;
    let value = serde_json::from_str(text).map_err(|error| json_reason(&error))?;
    row_of(value)
}

/// Why a row is no JSON. The library counts lines from the row's own begin; the reader names the file's line.
fn json_reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _place)| reason);
    let line = if error.line() > 1 { format!("line {}, ", error.line()) } else { String::new() };
    format!("the row is not valid JSON: {reason} ({line}character {} of the row)", error.column())
}
