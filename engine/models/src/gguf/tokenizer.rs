//! The tokenizer that a GGUF file carries, as plain values.

use super::{Array, GgufFile};
use crate::{ModelError, Result};

/// Tokenizer metadata of a GGUF file. The fields are those of the data crate's `GgufTokenizer`, which makes a
/// tokenizer of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GgufTokenizerParts {
    /// File, for messages.
    pub place: String,
    /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE), `llama` (SentencePiece) and others.
    pub model: String,
    /// `tokenizer.ggml.pre`: which pre-tokenizer. Empty if not stated.
    pub pre: String,
    /// Tokens by id.
    pub tokens: Vec<String>,
    /// Type of each token: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte. Empty if not stated.
    pub token_types: Vec<i32>,
    /// Score of each token (SentencePiece). Empty if not stated.
    pub scores: Vec<f32>,
    /// Merges of BPE, `left right`. Empty if not stated.
    pub merges: Vec<String>,
    /// Beginning of a text.
    pub bos: Option<u32>,
    /// End of a text.
    pub eos: Option<u32>,
    /// Unknown token.
    pub unk: Option<u32>,
    /// Padding.
    pub pad: Option<u32>,
    /// End of a turn.
    pub eot: Option<u32>,
    /// End of a message.
    pub eom: Option<u32>,
    /// Whether a text begins with the beginning token.
    pub add_bos: Option<bool>,
    /// Whether a text ends with the end token.
    pub add_eos: Option<bool>,
    /// Whether a space is put before a text.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.chat_template`.
    pub chat_template: Option<String>,
    /// Named templates, `tokenizer.chat_template.NAME`, in the order of the file.
    pub named_templates: Vec<(String, String)>,
}

/// Reads the tokenizer metadata; none if the file has no tokenizer.
///
/// # Errors
/// A value has another type than it must have, or the lists have different lengths.
pub fn gguf_tokenizer_parts(file: &GgufFile) -> Result<Option<GgufTokenizerParts>> {
    let Some(model) = file.get_string("tokenizer.ggml.model")? else { return Ok(None) };
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let texts = |name: &str| {
        file.get_as(&key(name), "a list of texts", |value| match value.as_array() {
            Some(Array::String(all)) => Some(all.clone()),
            _ => None,
        })
    };
    let id = |name: &str| file.get_as(&key(name), "a token number", |value| value.as_u64()?.try_into().ok());
    let tokens = texts("tokens")?.ok_or_else(|| {
        ModelError::config(file.path(), format!("metadata {} is missing beside {}", key("tokens"), key("model")))
    })?;
    let token_types = file.get_as(&key("token_type"), "a list of whole numbers", |value| {
        value.as_array()?.integers()?.into_iter().map(|kind| i32::try_from(kind).ok()).collect::<Option<Vec<_>>>()
    })?;
    let scores = file.get_as(&key("scores"), "a list of numbers", |value| value.as_array()?.floats())?;
    let (token_types, scores) = (token_types.unwrap_or_default(), scores.unwrap_or_default());
    for (name, length) in [("token_type", token_types.len()), ("scores", scores.len())] {
        if length != 0 && length != tokens.len() {
            let text = format!("metadata {} has {length} entries for {} tokens", key(name), tokens.len());
            return Err(ModelError::config(file.path(), text));
        }
    }
    let mut named_templates = Vec::new();
    for entry in file.entries() {
        if let Some(name) = entry.key.strip_prefix("tokenizer.chat_template.")
            && let Some(text) = file.value(entry)?.as_str()
        {
            named_templates.push((name.to_owned(), text.to_owned()));
        }
    }
    Ok(Some(GgufTokenizerParts {
        place: file.path().display().to_string(),
        model,
        pre: file.get_string(&key("pre"))?.unwrap_or_default(),
        tokens,
        token_types,
        scores,
        merges: texts("merges")?.unwrap_or_default(),
        bos: id("bos_token_id")?,
        eos: id("eos_token_id")?,
        unk: id("unknown_token_id")?,
        pad: id("padding_token_id")?,
        eot: id("eot_token_id")?,
        eom: id("eom_token_id")?,
        add_bos: file.get_bool(&key("add_bos_token"))?,
        add_eos: file.get_bool(&key("add_eos_token"))?,
        add_space_prefix: file.get_bool(&key("add_space_prefix"))?,
        chat_template: file.get_string("tokenizer.chat_template")?,
        named_templates,
    }))
}
