//! CSV and TSV with a header line. Cells are texts; cells that hold JSON are parsed where a schema
//! expects a list.

use super::{Item, MOST_ROW_BYTES, Row, RowSource};
use crate::DataError;
use csv::{ByteRecord, Reader, ReaderBuilder};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};

pub(super) struct TableReader {
    reader: Reader<File>,
    path: PathBuf,
    header: Vec<String>,
    record: ByteRecord,
}

/// The separator of a CSV file: of comma, semicolon, tab and bar the one that gives the most columns to
/// the most of the first records.
pub(super) fn separator_of(head: &[u8]) -> u8 {
    let fitting = |separator: u8| {
        let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).delimiter(separator).from_reader(head);
        let widths: Vec<usize> = reader.byte_records().take(30).flatten().map(|record| record.len()).collect();
        let columns = widths.first().copied().unwrap_or(0);
        let same = widths.iter().filter(|width| **width == columns).count();
        if columns < 2 { 0 } else { same * 1000 / widths.len().max(1) * 100 + columns.min(99) }
    };
    let scored = [b',', b';', b'\t', b'|'].map(|separator| (fitting(separator), separator));
    // The first of equals wins, so that a comma is preferred.
    let best = scored.into_iter().reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.filter(|(score, _)| *score > 0).map_or(b',', |(_, separator)| separator)
}

impl TableReader {
    pub(super) fn new(file: File, path: &Path, separator: u8) -> Result<Self, DataError> {
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(separator)
            .buffer_capacity(1 << 16)
            .from_reader(file);
        let mut record = ByteRecord::new();
        let broken = |what: String| {
            DataError::data(what, format!("{} line 1", path.display()), "give the columns a header line")
        };
        let any = reader.read_byte_record(&mut record).map_err(|error| broken(error.to_string()))?;
        if !any || record.iter().all(|name| name.trim_ascii().is_empty()) {
            return Err(broken("the table has no header".to_owned()));
        }
        let mut header = Vec::with_capacity(record.len());
        for name in &record {
            let name =
                std::str::from_utf8(name).map_err(|error| broken(format!("the header is not UTF-8: {error}")))?;
            header.push(name.trim_start_matches('\u{feff}').trim().to_owned());
        }
        Ok(Self { reader, path: path.to_owned(), header, record })
    }

    fn row(&self) -> Result<Row, String> {
        if self.record.len() != self.header.len() {
            return Err(format!("{} cells where the header has {}", self.record.len(), self.header.len()));
        }
        if self.record.as_slice().len() > MOST_ROW_BYTES {
            return Err(format!("the row is longer than {} MiB: is a quote left open?", MOST_ROW_BYTES >> 20));
        }
        let mut row = Row::new();
        for (name, cell) in self.header.iter().zip(self.record.iter()) {
            let text = std::str::from_utf8(cell).map_err(|_error| format!("the column \"{name}\" is not UTF-8"))?;
            row.insert(name.clone(), Value::String(text.to_owned()));
        }
        Ok(row)
    }
}

impl RowSource for TableReader {
    fn next_item(&mut self) -> Result<Option<Item>, DataError> {
        let more = self.reader.read_byte_record(&mut self.record).map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            let place = format!("{} line {line}", self.path.display());
            DataError::data(format!("the table cannot be read: {error}"), place, "repair the file or save it again")
        })?;
        if !more {
            return Ok(None);
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        Ok(Some(match self.row() {
            Ok(row) => Item::Row { line, row },
            Err(reason) => Item::Bad { line, reason },
        }))
    }

    fn bytes_read(&self) -> u64 {
        self.reader.position().byte()
    }
}
