//! Parquet by batches of rows. Rows are numbered from 1; nulls are absent from their row.
//!
//! The library reads sizes and offsets from the file. A damaged file may make it panic: that is caught
//! and reported as damage.

use super::{Item, RowSource, parse_row};
use crate::DataError;
use ::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use arrow::json::LineDelimitedWriter;
use arrow::record_batch::RecordBatch;
use std::collections::VecDeque;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

const BATCH_ROWS: usize = 512;

pub(super) struct ParquetReader {
    reader: ParquetRecordBatchReader,
    path: PathBuf,
    waiting: VecDeque<Item>,
    row: u64,
    total: u64,
    file_bytes: u64,
}

fn damaged(path: &Path, why: impl std::fmt::Display) -> DataError {
    DataError::data(
        format!("the Parquet file cannot be read: {why}"),
        path.display(),
        "get the file again, or save it anew with snappy or zstd compression",
    )
}

/// Runs `work`, turning errors and panics into damage.
fn guarded<T, E: std::fmt::Display>(path: &Path, work: impl FnOnce() -> Result<T, E>) -> Result<T, DataError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(damaged(path, error)),
        Err(_panic) => Err(damaged(path, "its structure is damaged")),
    }
}

impl ParquetReader {
    pub(super) fn new(file: File, path: &Path) -> Result<Self, DataError> {
        let file_bytes = file.metadata().map_or(0, |meta| meta.len());
        let (reader, total) = guarded(path, || {
            let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
            let total = builder.metadata().file_metadata().num_rows().max(0).unsigned_abs();
            builder.with_batch_size(BATCH_ROWS).build().map(|reader| (reader, total))
        })?;
        Ok(Self { reader, path: path.to_owned(), waiting: VecDeque::new(), row: 0, total, file_bytes })
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<(), DataError> {
        let lines = guarded(&self.path, || {
            let mut writer = LineDelimitedWriter::new(Vec::new());
            writer.write(batch)?;
            writer.finish()?;
            Ok::<_, arrow::error::ArrowError>(writer.into_inner())
        })?;
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.row += 1;
            self.waiting.push_back(match parse_row(line) {
                Ok(row) => Item::Row { line: self.row, row },
                Err(reason) => Item::Bad { line: self.row, reason },
            });
        }
        Ok(())
    }
}

impl RowSource for ParquetReader {
    fn next_item(&mut self) -> Result<Option<Item>, DataError> {
        loop {
            if let Some(item) = self.waiting.pop_front() {
                return Ok(Some(item));
            }
            let path = self.path.clone();
            match guarded(&path, || self.reader.next().transpose())? {
                Some(batch) => self.take(&batch)?,
                None => return Ok(None),
            }
        }
    }

    fn bytes_read(&self) -> u64 {
        if self.total == 0 { 0 } else { (self.file_bytes as f64 * (self.row as f64 / self.total as f64)) as u64 }
    }

    fn rows_total(&self) -> Option<u64> {
        Some(self.total)
    }
}
