//! JSON Lines: one object a line. A broken line is set aside, the next one is read.

use super::{Item, MOST_ROW_BYTES, RowSource, parse_row};
use crate::DataError;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

pub(super) struct LineReader {
    reader: BufReader<File>,
    path: PathBuf,
    line: u64,
    bytes: u64,
    buffer: Vec<u8>,
}

impl LineReader {
    pub(super) fn new(file: File, path: &Path) -> Self {
        Self {
            reader: BufReader::with_capacity(1 << 16, file),
            path: path.to_owned(),
            line: 0,
            bytes: 0,
            buffer: Vec::new(),
        }
    }

    /// Goes on from where `file` stands, which is the beginning of line `line` (counted from 0), and passes over the next
    /// `skip` lines.
    pub(super) fn resume(file: File, path: &Path, line: u64, skip: u64) -> Result<Self, DataError> {
        let mut reader = Self { line, ..Self::new(file, path) };
        for _ in 0..skip {
            if reader.read_line()?.is_none() {
                break;
            }
            reader.line += 1;
        }
        Ok(reader)
    }

    /// Reads a line into the buffer; a line that is too long is skipped to its end. Returns whether there
    /// was one and whether it fits.
    fn read_line(&mut self) -> Result<Option<bool>, DataError> {
        self.buffer.clear();
        let mut fits = true;
        let mut any = false;
        loop {
            let path = &self.path;
            let chunk =
                self.reader.fill_buf().map_err(|error| DataError::io("cannot read the data file", path, error))?;
            if chunk.is_empty() {
                return Ok(any.then_some(fits));
            }
            any = true;
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let take = end.map_or(chunk.len(), |end| end + 1);
            if self.buffer.len() + take > MOST_ROW_BYTES {
                fits = false;
                self.buffer.clear();
            } else if fits {
                self.buffer.extend_from_slice(&chunk[..take]);
            }
            self.reader.consume(take);
            self.bytes += take as u64;
            if end.is_some() {
                return Ok(Some(fits));
            }
        }
    }
}

impl RowSource for LineReader {
    fn next_item(&mut self) -> Result<Option<Item>, DataError> {
        while let Some(fits) = self.read_line()? {
            self.line += 1;
            let line = self.line;
            if !fits {
                let reason = format!("the line is longer than {} MiB", MOST_ROW_BYTES >> 20);
                return Ok(Some(Item::Bad { line, reason }));
            }
            let mut bytes = self.buffer.as_slice();
            if line == 1 {
                bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            }
            let bytes = bytes.trim_ascii();
            if bytes.is_empty() {
                continue;
            }
            return Ok(Some(match parse_row(bytes) {
                Ok(row) => Item::Row { line, row },
                Err(reason) => Item::Bad { line, reason },
            }));
        }
        Ok(None)
    }

    fn bytes_read(&self) -> u64 {
        self.bytes
    }
}
