//! What a dropped file or folder is, from its first rows: fast on files of any size.

use crate::DataError;
use crate::read::{Container, DataFile, Files, Item, Row, list, open};
use crate::schema::{Plan, Schema, column_names};
use std::collections::BTreeMap;
use std::path::Path;

/// Rows read at most.
const MOST_ROWS: usize = 1000;
/// Files of a folder looked into at most.
const MOST_FILES: usize = 16;
/// Text files are looked at, not counted: the first bytes are enough.
const TEXT_BYTES: u64 = 1 << 20;

/// What a data file or folder is.
#[derive(Debug, Clone, PartialEq)]
pub struct Sniffed {
    /// How the rows are stored; for a folder that of its first file.
    pub container: Container,
    /// What the rows mean, `None` when a mapping is needed.
    pub schema: Option<Schema>,
    /// 0 to 1.
    pub confidence: f64,
    /// Good rows among those read.
    pub rows: u64,
    /// Bad rows among those read.
    pub bad_rows: u64,
    /// Columns in the order of first sight.
    pub columns: Vec<String>,
    /// Role to column, as recognised.
    pub mapping: BTreeMap<String, String>,
    /// Whether all rows were read.
    pub complete: bool,
    /// One sentence: what speaks for the schema, or what is missing.
    pub why: String,
    /// Files for training and for validation.
    pub files: Files,
}

/// Says what `path` is, reading at most its first 1,000 rows.
///
/// # Errors
/// [`DataError`] when it is no data file, or none of the rows read is good (with the first reasons).
pub fn sniff(path: &Path) -> Result<Sniffed, DataError> {
    let files = list(path)?;
    let looked_at: Vec<&DataFile> = files.train.iter().chain(&files.validation).take(MOST_FILES).collect();
    let mut complete = files.train.len() + files.validation.len() <= MOST_FILES;
    let mut rows: Vec<Row> = Vec::new();
    let mut bad: Vec<(u64, String)> = Vec::new();
    let mut container = None;
    for file in looked_at {
        if rows.len() + bad.len() >= MOST_ROWS {
            complete = false;
            break;
        }
        let (kind, ended) = first_rows(&file.path, &mut rows, &mut bad)?;
        container = container.or(Some(kind));
        complete &= ended;
    }
    let container =
        container.ok_or_else(|| DataError::data("there are no rows", path.display(), "choose other data"))?;
    if rows.is_empty() {
        return Err(no_rows(path, &bad));
    }
    let columns = column_names(&rows);
    let mapped = files.train.first().map(|file| Plan::present(&file.columns, &rows)).unwrap_or_default();
    let place = path.display().to_string();
    let plan = match Plan::decide(&rows, "auto", &mapped, &place) {
        Err(DataError::Setting { .. }) => Plan::decide(&rows, "auto", &BTreeMap::new(), &place),
        decided => decided,
    };
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => {
            return Ok(Sniffed {
                container,
                schema: None,
                confidence: 0.0,
                rows: rows.len() as u64,
                bad_rows: bad.len() as u64,
                columns,
                mapping: BTreeMap::new(),
                complete,
                why: error.to_string(),
                files,
            });
        }
    };
    let read = rows.len();
    let unusable: Vec<String> = rows.into_iter().filter_map(|row| plan.convert(row).err()).collect();
    let bad_rows = (bad.len() + unusable.len()) as u64;
    let good = (read - unusable.len()) as u64;
    let mut why = format!("{} by the columns {}", plan.schema.name(), columns.join(", "));
    if let Some(reason) = bad.first().map(|(_, reason)| reason).or_else(|| unusable.first()) {
        why = format!("{why}; {bad_rows} rows cannot be used, the first because {reason}");
    }
    if let Some(warning) = plan.schema.warning() {
        why = format!("{why}; {warning}");
    }
    if !files.test.is_empty() {
        why = format!("{why}; {} test files are left alone", files.test.len());
    }
    Ok(Sniffed {
        container,
        schema: Some(plan.schema),
        confidence: plan.confidence,
        rows: good,
        bad_rows,
        mapping: plan.mapping(&columns),
        columns,
        complete,
        why,
        files,
    })
}

/// Adds the first rows of a file; returns its container and whether it was read to its end.
fn first_rows(path: &Path, rows: &mut Vec<Row>, bad: &mut Vec<(u64, String)>) -> Result<(Container, bool), DataError> {
    let (container, mut source) = open(path)?;
    if container == Container::Text {
        return text_row(path, rows, bad);
    }
    let mut seen = rows.len() + bad.len();
    while seen < MOST_ROWS {
        match source.next_item()? {
            Some(Item::Row { row, .. }) => rows.push(row),
            Some(Item::Bad { line, reason }) => bad.push((line.max(1), reason)),
            None => return Ok((container, true)),
        }
        seen += 1;
    }
    Ok((container, source.next_item()?.is_none()))
}

/// The beginning of a text file as a row; none when it is no text.
pub(crate) fn text_head(path: &Path) -> Result<Option<Row>, DataError> {
    let mut rows = Vec::new();
    text_row(path, &mut rows, &mut Vec::new())?;
    Ok(rows.pop())
}

/// The beginning of a text file as a row.
fn text_row(path: &Path, rows: &mut Vec<Row>, bad: &mut Vec<(u64, String)>) -> Result<(Container, bool), DataError> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(|error| DataError::io("cannot open the text", path, error))?;
    let length = file.metadata().map_or(0, |meta| meta.len());
    let mut bytes = Vec::new();
    file.take(TEXT_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| DataError::io("cannot read the text", path, error))?;
    let complete = bytes.len() as u64 >= length;
    match String::from_utf8(bytes) {
        Ok(text) => rows.push(std::iter::once(("text".to_owned(), text.into())).collect()),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            // A character cut by the end of what was read is no fault of the file.
            if !complete && error.utf8_error().error_len().is_none() {
                let text = String::from_utf8_lossy(error.as_bytes().get(..good).unwrap_or_default()).into_owned();
                rows.push(std::iter::once(("text".to_owned(), text.into())).collect());
            } else {
                bad.push((1, format!("the text is not UTF-8 (byte {} of the file)", good + 1)));
            }
        }
    }
    Ok((Container::Text, complete))
}

fn no_rows(path: &Path, bad: &[(u64, String)]) -> DataError {
    let reasons: Vec<String> = bad.iter().take(3).map(|(line, reason)| format!("line {line}: {reason}")).collect();
    let what = if reasons.is_empty() {
        "the file has no rows".to_owned()
    } else {
        format!("none of the first {} rows can be read: {}", bad.len(), reasons.join("; "))
    };
    DataError::data(what, path.display(), "choose JSON, JSON Lines, CSV, TSV, Parquet or text in UTF-8")
}
