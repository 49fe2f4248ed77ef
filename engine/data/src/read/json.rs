//! One JSON document: an array of rows, an object that holds such an array, or objects one after
//! another. Elements are cut out of the stream by brackets and quotes and parsed one by one, so that a
//! file of any size needs the memory of its longest row, and one broken row does not spoil the rest.

use super::{Item, MOST_ROW_BYTES, Row, RowSource, parse_row, row_of};
use crate::DataError;
use serde_json::Value;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Names under which an object holds its rows.
const WRAPPERS: &[&str] = &["data", "rows", "train", "examples", "instances", "items", "samples"];

/// Bytes with one byte of sight and a count of lines.
struct Bytes {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
    at: usize,
    line: u64,
    read: u64,
}

impl Bytes {
    fn peek(&mut self) -> Result<Option<u8>, DataError> {
        if self.at == self.buffer.len() {
            self.buffer.resize(1 << 16, 0);
            let got = self
                .file
                .read(&mut self.buffer)
                .map_err(|error| DataError::io("cannot read the data file", &self.path, error))?;
            self.buffer.truncate(got);
            self.at = 0;
            self.read += got as u64;
        }
        Ok(self.buffer.get(self.at).copied())
    }

    fn step(&mut self) {
        if self.buffer.get(self.at) == Some(&b'\n') {
            self.line += 1;
        }
        self.at += 1;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Before the first byte.
    Start,
    /// Inside the outer array.
    Array,
    /// Values one after another.
    Stream,
    /// Behind the end of the outer array.
    End,
}

pub(super) struct JsonReader {
    bytes: Bytes,
    mode: Mode,
    /// Whether a value was cut out already.
    any: bool,
    waiting: VecDeque<Item>,
    buffer: Vec<u8>,
}

/// How a cut-out value ended.
enum Ended {
    Whole,
    TooLong,
    FileEnd,
}

impl JsonReader {
    pub(super) fn new(file: File, path: &Path) -> Self {
        let bytes = Bytes { file, path: path.to_owned(), buffer: Vec::new(), at: 0, line: 1, read: 0 };
        Self { bytes, mode: Mode::Start, any: false, waiting: VecDeque::new(), buffer: Vec::new() }
    }

    fn skip_blanks(&mut self, commas: bool) -> Result<Option<u8>, DataError> {
        while let Some(byte) = self.bytes.peek()? {
            if byte.is_ascii_whitespace() || (commas && byte == b',') {
                self.bytes.step();
            } else {
                return Ok(Some(byte));
            }
        }
        Ok(None)
    }

    fn start(&mut self) -> Result<(), DataError> {
        for mark in [0xef, 0xbb, 0xbf] {
            if self.bytes.peek()? == Some(mark) {
                self.bytes.step();
            }
        }
        self.mode = Mode::Stream;
        if self.skip_blanks(false)? == Some(b'[') {
            self.bytes.step();
            self.mode = Mode::Array;
        }
        Ok(())
    }

    /// Cuts the next value into the buffer: to the bracket that closes it, or, for anything else, to the
    /// next comma, bracket or newline.
    fn cut_value(&mut self) -> Result<Ended, DataError> {
        self.buffer.clear();
        let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
        let mut too_long = false;
        while let Some(byte) = self.bytes.peek()? {
            let bare = depth == 0 && !quoted && !self.buffer.is_empty();
            if bare && matches!(byte, b',' | b']' | b'}' | b'\n') {
                break;
            }
            self.bytes.step();
            if self.buffer.len() < MOST_ROW_BYTES {
                self.buffer.push(byte);
            } else {
                too_long = true;
            }
            if quoted {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => {
                        quoted = false;
                        if depth == 0 {
                            break;
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => quoted = true,
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                _ => {}
            }
        }
        Ok(if too_long {
            Ended::TooLong
        } else if depth > 0 || quoted {
            Ended::FileEnd
        } else {
            Ended::Whole
        })
    }

    fn next_value(&mut self) -> Result<Option<Item>, DataError> {
        if self.mode == Mode::Start {
            self.start()?;
        }
        let Some(byte) = self.skip_blanks(self.mode == Mode::Array)? else {
            if self.mode == Mode::Array {
                self.mode = Mode::End;
                let reason = "the file ends before its list of rows is closed".to_owned();
                return Ok(Some(Item::Bad { line: self.bytes.line, reason }));
            }
            return Ok(None);
        };
        match self.mode {
            Mode::Array if byte == b']' => {
                self.bytes.step();
                self.mode = Mode::End;
                return self.next_value();
            }
            Mode::End => {
                let reason = "there is something behind the end of the list of rows".to_owned();
                let line = self.bytes.line;
                while self.bytes.peek()?.is_some() {
                    self.bytes.step();
                }
                return Ok(Some(Item::Bad { line, reason }));
            }
            _ => {}
        }
        let line = self.bytes.line;
        let first = !self.any;
        self.any = true;
        Ok(Some(match self.cut_value()? {
            Ended::TooLong => {
                Item::Bad { line, reason: format!("the row is longer than {} MiB", MOST_ROW_BYTES >> 20) }
            }
            Ended::FileEnd => {
                self.mode = Mode::End;
                Item::Bad { line, reason: "the file ends inside this row".to_owned() }
            }
            Ended::Whole => match parse_row(&self.buffer) {
                Ok(row) if self.mode == Mode::Stream && first => return Ok(self.unwrap_rows(line, row)),
                Ok(row) => Item::Row { line, row },
                Err(reason) => Item::Bad { line, reason },
            },
        }))
    }

    /// The rows of an object that holds a list of them, or the object itself as a row.
    fn unwrap_rows(&mut self, line: u64, mut row: Row) -> Option<Item> {
        let holds_rows = |name: &&&str| {
            row.get(**name).and_then(Value::as_array).and_then(|list| list.first()).is_some_and(Value::is_object)
        };
        let is_row = ["messages", "conversations", "segments", "prompt", "instruction", "text"]
            .iter()
            .any(|name| row.contains_key(*name));
        let wrapper = WRAPPERS.iter().find(holds_rows).filter(|_| !is_row);
        match wrapper.and_then(|name| row.remove(*name)) {
            Some(Value::Array(rows)) => {
                // Lines inside the object are not known: rows are counted instead.
                self.waiting.extend(rows.into_iter().zip(1_u64..).map(|(value, number)| match row_of(value) {
                    Ok(row) => Item::Row { line: number, row },
                    Err(reason) => Item::Bad { line: number, reason },
                }));
                self.waiting.pop_front()
            }
            _ => Some(Item::Row { line, row }),
        }
    }
}

impl RowSource for JsonReader {
    fn next_item(&mut self) -> Result<Option<Item>, DataError> {
        match self.waiting.pop_front() {
            Some(item) => Ok(Some(item)),
            None => self.next_value(),
        }
    }

    fn bytes_read(&self) -> u64 {
        self.bytes.read
    }
}
