//! The tokenizer that a GGUF file carries, as plain values.

use super::{Array, GgufFile};
use crate::{ModelError, Result};
use temper_protocol::GgufTokenizer;

/// Reads the tokenizer metadata; none if the file has no tokenizer.
///
/// # Errors
/// A value has another type than it must have, or the lists have different lengths.
pub fn gguf_tokenizer_parts(file: &GgufFile) -> Result<Option<GgufTokenizer>> {
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
    Ok(Some(GgufTokenizer {
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
