//! Decoding token by token without ever showing half a character.

use super::TextCodec;
use crate::DataError;

/// Tokens whose text ends in the middle of a character are held back at most this long.
const MOST_HELD_BACK: usize = 16;

/// Turns ids into text as they come. A byte-level token may end inside a character: its text waits until
/// the character is complete. Two neighbouring windows are decoded and their difference is the new text,
/// because some decoders treat the first token of a text differently.
#[derive(Debug, Clone)]
pub struct StreamDecoder {
    ids: Vec<u32>,
    window: usize,
    shown: usize,
    skip_special: bool,
}

impl StreamDecoder {
    /// A decoder at the start of a text; `skip_special` leaves control tokens out.
    #[must_use]
    pub fn new(skip_special: bool) -> Self {
        Self { ids: Vec::new(), window: 0, shown: 0, skip_special }
    }

    /// Takes the next id and returns the text that is certain now, often a word, sometimes nothing.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] when the decoder fails.
    pub fn push(&mut self, codec: &TextCodec, id: u32) -> Result<String, DataError> {
        self.ids.push(id);
        let whole = codec.decode(self.ids.get(self.window..).unwrap_or_default(), self.skip_special)?;
        let incomplete = whole.ends_with('\u{FFFD}') && self.ids.len() - self.shown < MOST_HELD_BACK;
        if incomplete { Ok(String::new()) } else { self.show(codec, &whole) }
    }

    /// Returns whatever is still held back.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] when the decoder fails.
    pub fn finish(&mut self, codec: &TextCodec) -> Result<String, DataError> {
        let whole = codec.decode(self.ids.get(self.window..).unwrap_or_default(), self.skip_special)?;
        self.show(codec, &whole)
    }

    fn show(&mut self, codec: &TextCodec, whole: &str) -> Result<String, DataError> {
        let before = codec.decode(self.ids.get(self.window..self.shown).unwrap_or_default(), self.skip_special)?;
        let new = whole.get(before.len()..).unwrap_or_default().to_owned();
        self.window = self.shown;
        self.shown = self.ids.len();
        Ok(new)
    }
}
