//! Long documents in pieces: a book is cut where no token can cross, the pieces are encoded in parallel
//! and their ids joined. The result equals that of the whole text, with a fraction of the memory.
//!
//! A cut is made between a letter and the newline behind it. No pre-tokenizer in use joins the two, and
//! no vocabulary merges them. Tokenizers that put something before every text they see (a space mark in
//! SentencePiece) put it before every piece too; [`TextCodec::find_piece_start`] finds out what it is
//! and it is taken off again. Where that does not work the text stays whole.

use super::TextCodec;
use crate::DataError;
use rayon::prelude::*;

/// Pieces are at least this long, bytes.
const PIECE_BYTES: usize = 32 * 1024;

impl TextCodec {
    /// What the tokenizer puts before the ids of a text that begins with a newline, when that can be told
    /// from the ids of the newline itself; `None` when pieces cannot be joined.
    pub(super) fn find_piece_start(&self) -> Result<Option<Vec<u32>>, DataError> {
        let alone = self.encode("\nb", false)?;
        let inside = self.encode("a\nb", false)?;
        let letter = self.encode("a", false)?;
        let Some(rest) = inside.strip_prefix(letter.as_slice()) else { return Ok(None) };
        Ok(alone.strip_suffix(rest).map(<[u32]>::to_vec))
    }

    /// Token ids of a document of any length, without additions.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] when a character cannot be encoded.
    pub fn encode_document(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let Some(start) = self.piece_start.as_deref().filter(|_| text.len() > 2 * PIECE_BYTES) else {
            return self.encode(text, false);
        };
        let pieces = cut(text, PIECE_BYTES);
        let encoded: Vec<Vec<u32>> =
            pieces.par_iter().map(|piece| self.encode(piece, false)).collect::<Result<_, DataError>>()?;
        let mut ids = Vec::with_capacity(encoded.iter().map(Vec::len).sum());
        for (index, piece) in encoded.iter().enumerate() {
            if index == 0 {
                ids.extend_from_slice(piece);
            } else if let Some(rest) = piece.strip_prefix(start) {
                ids.extend_from_slice(rest);
            } else {
                return self.encode(text, false);
            }
        }
        Ok(ids)
    }
}

/// Cuts `text` between a letter and a newline, at the first such place after every `least` bytes.
fn cut(text: &str, least: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > 2 * least {
        let place = rest.char_indices().zip(rest.chars().skip(1)).find_map(|((at, c), next)| {
            let end = at + c.len_utf8();
            (end >= least && next == '\n' && is_plain_letter(c)).then_some(end)
        });
        let Some((piece, tail)) = place.and_then(|end| rest.split_at_checked(end)) else { break };
        pieces.push(piece);
        rest = tail;
    }
    pieces.push(rest);
    pieces
}

/// Letters of category L without doubt: marks and letter-like symbols count as punctuation in some
/// pre-tokenizers, and punctuation takes the newline behind it along.
fn is_plain_letter(c: char) -> bool {
    c.is_ascii_alphabetic()
        || (c < '\u{2000}' && (c.is_lowercase() || c.is_uppercase()))
        || ('\u{4E00}'..='\u{9FFF}').contains(&c)
        || ('\u{3041}'..='\u{3096}').contains(&c)
        || ('\u{30A1}'..='\u{30FA}').contains(&c)
        || ('\u{AC00}'..='\u{D7A3}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vocabulary of bytes and a few letters, as SentencePiece has it.
    fn sentence_piece(add_space_prefix: bool) -> TextCodec {
        let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
        let letters = ["▁", "a", "b"].map(ToOwned::to_owned);
        let tokens: Vec<String> =
            ["<unk>", "<s>"].map(ToOwned::to_owned).into_iter().chain(bytes).chain(letters).collect();
        let kind = |token: &String| if token.len() == 6 { 6 } else { 1 };
        let parts = crate::GgufTokenizer {
            model: "llama".to_owned(),
            token_types: [2, 3].into_iter().chain(tokens.iter().skip(2).map(kind)).collect(),
            scores: vec![0.0; tokens.len()],
            tokens,
            unk: Some(0),
            bos: Some(1),
            add_space_prefix: Some(add_space_prefix),
            ..crate::GgufTokenizer::default()
        };
        TextCodec::from_gguf(parts).expect("a small vocabulary")
    }

    #[test]
    fn what_a_tokenizer_puts_before_every_text_is_found() {
        let codec = sentence_piece(true);
        let space = codec.token_id("▁").expect("in the vocabulary");
        assert_eq!(codec.piece_start, Some(vec![space]));
        assert_eq!(sentence_piece(false).piece_start, Some(Vec::new()));
        let text = "ab ba\n".repeat(20_000);
        assert_eq!(codec.encode_document(&text).expect("ids"), codec.encode(&text, false).expect("ids"));
    }

    #[test]
    fn pieces_join_to_the_text_and_are_cut_before_newlines_behind_letters() {
        let text = "one.\ntwo\nthree.\n\nfour\nfive 5\nsix\n".repeat(20);
        let pieces = cut(&text, 50);
        assert!(pieces.len() > 5);
        assert_eq!(pieces.concat(), text);
        for piece in pieces.iter().skip(1) {
            assert!(piece.starts_with('\n'));
        }
        for piece in pieces.iter().take(pieces.len() - 1) {
            assert!(piece.ends_with(|c: char| c.is_ascii_alphabetic()), "{piece:?}");
        }
    }

    #[test]
    fn a_text_without_such_a_place_stays_whole() {
        let text = "12345.\n".repeat(100);
        assert_eq!(cut(&text, 50), vec![text.as_str()]);
    }
}
