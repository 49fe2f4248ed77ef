//! Plain text and Markdown: the whole file is one document.

use super::{Item, Row, RowSource};
use crate::DataError;
use serde_json::Value;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

pub(super) struct TextReader {
    file: Option<File>,
    path: PathBuf,
    bytes: u64,
}

impl TextReader {
    pub(super) fn new(file: File, path: &Path) -> Self {
        Self { file: Some(file), path: path.to_owned(), bytes: 0 }
    }
}

impl RowSource for TextReader {
    fn next_item(&mut self) -> Result<Option<Item>, DataError> {
        let Some(mut file) = self.file.take() else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| DataError::io("cannot read the text", &self.path, error))?;
        self.bytes = bytes.len() as u64;
        Ok(Some(match String::from_utf8(bytes) {
            Ok(text) => {
                let text = text.strip_prefix('\u{feff}').map(ToOwned::to_owned).unwrap_or(text);
                let mut row = Row::new();
                row.insert("text".to_owned(), Value::String(text));
                Item::Row { line: 1, row }
            }
            Err(error) => {
                let good = error.utf8_error().valid_up_to();
                let newlines = error.as_bytes().iter().take(good).filter(|byte| **byte == b'\n').count();
                let reason = format!("the text is not UTF-8 (byte {} of the file)", good + 1);
                Item::Bad { line: newlines as u64 + 1, reason }
            }
        }))
    }

    fn bytes_read(&self) -> u64 {
        self.bytes
    }
}
