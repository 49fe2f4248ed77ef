//! The small facts about a tokenizer: special ids, kind, origin of its template, and what is found out by
//! asking it.

use std::collections::BTreeMap;
use tokenizers::tokenizer::Tokenizer;
use tokenizers::{DecoderWrapper, ModelWrapper};

/// Control tokens that end a turn or a text, by the names that model families use. Files often
/// name only one of them; a model stops at any.
pub(super) const END_NAMES: &[&str] = &[
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|eot|>",
    "<end_of_turn>",
    "<EOT>",
    "<|END_OF_TURN_TOKEN|>",
    "<|return|>",
    "<｜end▁of▁sentence｜>",
    "</s>",
];

/// Ids with a meaning of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Beginning of a text.
    pub bos: Option<u32>,
    /// End of a text.
    pub eos: Option<u32>,
    /// Unknown character.
    pub unk: Option<u32>,
    /// Padding.
    pub pad: Option<u32>,
    /// What the chat template writes behind an answer, when that is a special token.
    pub turn_end: Option<u32>,
    /// Ids after which generation stops, ascending: end of text, turn end and what the model's files list.
    pub stop: Vec<u32>,
}

/// What kind of tokenizer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenizerKind {
    /// Byte-pair merges over bytes.
    ByteLevelBpe,
    /// Byte-pair merges over characters with bytes as fallback, as SentencePiece does.
    SentencePieceBpe,
    /// SentencePiece's unigram model.
    Unigram,
    /// Word pieces.
    WordPiece,
    /// Whole words.
    WordLevel,
}

impl TokenizerKind {
    /// The name shown to people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ByteLevelBpe => "byte-level BPE",
            Self::SentencePieceBpe => "SentencePiece BPE",
            Self::Unigram => "SentencePiece unigram",
            Self::WordPiece => "WordPiece",
            Self::WordLevel => "word level",
        }
    }
}

/// Where the chat template comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateOrigin {
    /// The model's own.
    Model,
    /// [`super::PLAIN_TEMPLATE`], because the model has none.
    Plain,
    /// The project file's, instead of the model's.
    Project,
}

/// Special tokens under the names templates use.
pub(super) fn template_tokens(tokenizer: &Tokenizer, special: &SpecialTokens) -> BTreeMap<String, String> {
    [("bos_token", special.bos), ("eos_token", special.eos), ("unk_token", special.unk), ("pad_token", special.pad)]
        .into_iter()
        .filter_map(|(name, id)| Some((name.to_owned(), tokenizer.id_to_token(id?)?)))
        .collect()
}

/// What the post-processor puts before and after a text, found by letting it work on one.
pub(super) fn added_by_post_processor(tokenizer: &Tokenizer) -> Result<(Vec<u32>, Vec<u32>), String> {
    let ids = |special: bool| {
        let encoding = tokenizer.encode_fast("a", special).map_err(|error| error.to_string())?;
        Ok::<Vec<u32>, String>(encoding.get_ids().to_vec())
    };
    let (plain, full) = (ids(false)?, ids(true)?);
    if plain.is_empty() || full.len() <= plain.len() {
        return Ok((Vec::new(), Vec::new()));
    }
    let at = full.windows(plain.len()).position(|window| window == plain.as_slice()).unwrap_or(0);
    let before = full.get(..at).unwrap_or_default().to_vec();
    let after = full.get(at + plain.len()..).unwrap_or_default().to_vec();
    Ok((before, after))
}

pub(super) fn kind_of(tokenizer: &Tokenizer) -> TokenizerKind {
    match tokenizer.get_model() {
        ModelWrapper::BPE(bpe) if bpe.byte_fallback => TokenizerKind::SentencePieceBpe,
        ModelWrapper::BPE(_) if matches!(tokenizer.get_decoder(), Some(DecoderWrapper::Metaspace(_))) => {
            TokenizerKind::SentencePieceBpe
        }
        ModelWrapper::BPE(_) => TokenizerKind::ByteLevelBpe,
        ModelWrapper::Unigram(_) => TokenizerKind::Unigram,
        ModelWrapper::WordPiece(_) => TokenizerKind::WordPiece,
        ModelWrapper::WordLevel(_) => TokenizerKind::WordLevel,
    }
}
