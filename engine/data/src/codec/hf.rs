//! A tokenizer from a Hugging Face folder.

use super::read::{self, Fault};
use super::{Parts, SpecialTokens, TextCodec};
use crate::DataError;
use serde_json::Value;
use std::path::Path;
use tokenizers::tokenizer::Tokenizer;

/// A chat template in a file of its own; it wins over the one in `tokenizer_config.json`.
pub(super) const TEMPLATE_FILE: &str = "chat_template.jinja";
/// Further templates by name.
pub(super) const TEMPLATE_FOLDER: &str = "additional_chat_templates";

/// The tokenizer itself, which a codec keeps apart from its other files.
pub(super) const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";

/// Files that belong to a tokenizer and travel with an export, beside [`TOKENIZER`].
const TRAVELLING: &[&str] =
    &[CONFIG, SPECIAL, TEMPLATE_FILE, "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model"];

impl TextCodec {
    /// A codec from the tokenizer files of a Hugging Face folder.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] when `tokenizer.json` is missing, damaged or of an unknown kind;
    /// [`DataError::Io`] when a file cannot be read.
    pub fn from_hf_folder(dir: &Path) -> Result<Self, DataError> {
        let tokenizer_json = bytes_of(&dir.join(TOKENIZER))?.ok_or_else(|| missing(dir))?;
        let place = dir.join(TOKENIZER).display().to_string();
        let tokenizer = tokenizer(&tokenizer_json, &place)?;
        let config = read_json(&dir.join(CONFIG))?;
        let map = read_json(&dir.join(SPECIAL))?;
        let generation = read_json(&dir.join("generation_config.json"))?;
        let model = read_json(&dir.join("config.json"))?;

        let named = |name: &str| {
            let text = [&config, &map].into_iter().find_map(|file| token_text(file.get(name)?))?;
            tokenizer.token_to_id(&text)
        };
        let from_configs =
            |key: &str| [&generation, &model].into_iter().map(|file| listed(file.get(key))).find(|v| !v.is_empty());
        let first = |key: &str| from_configs(key).and_then(|ids| ids.first().copied());
        let special = SpecialTokens {
            bos: named("bos_token").or_else(|| first("bos_token_id")),
            eos: named("eos_token").or_else(|| first("eos_token_id")),
            unk: named("unk_token"),
            pad: named("pad_token").or_else(|| first("pad_token_id")),
            turn_end: None,
            stop: from_configs("eos_token_id").unwrap_or_default(),
        };
        // Only these classes rebuild what is added from the flags; the others keep tokenizer.json's.
        let class = config.get("tokenizer_class").and_then(Value::as_str).unwrap_or_default();
        let by_flags = ["Llama", "Gemma", "CodeLlama"].iter().any(|family| class.starts_with(family));
        let flag = |name: &str| config.get(name).and_then(Value::as_bool).filter(|_| by_flags);
        let template = match bytes_of(&dir.join(TEMPLATE_FILE))? {
            Some(bytes) => Some(text_of(bytes, &dir.join(TEMPLATE_FILE))?),
            None => template_of(config.get("chat_template")),
        };
        Self::assemble(Parts {
            place,
            tokenizer,
            tokenizer_json,
            special,
            add_bos: flag("add_bos_token"),
            add_eos: flag("add_eos_token"),
            template,
            files: travelling(dir)?,
        })
    }
}

fn missing(dir: &Path) -> DataError {
    let has = |name: &str| dir.join(name).is_file();
    let action = if has("tokenizer.model") {
        "the folder has only SentencePiece's tokenizer.model: load it once with transformers and save it again \
         (AutoTokenizer.from_pretrained(folder).save_pretrained(folder)), or use the model as a GGUF file"
    } else if has("vocab.json") || has("vocab.txt") {
        "the folder has only the old vocabulary files: load it once with transformers and save it again \
         (AutoTokenizer.from_pretrained(folder).save_pretrained(folder))"
    } else {
        "copy tokenizer.json and tokenizer_config.json of the model into the folder"
    };
    DataError::tokenizer("the model has no tokenizer.json", dir.display(), action)
}

fn tokenizer(tokenizer_json: &[u8], place: &str) -> Result<Tokenizer, DataError> {
    read::tokenizer(tokenizer_json).map_err(|fault| {
        let action = match fault {
            Fault::Damaged(_) | Fault::NoModel => "use a tokenizer.json written by transformers 4 or newer".to_owned(),
            Fault::Kind(_) => format!("supported kinds are {}", read::KINDS.join(", ")),
        };
        DataError::tokenizer(fault.to_string(), place, action)
    })
}

/// A special token is written as text or as an object with `content`.
fn token_text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content").and_then(Value::as_str)).map(ToOwned::to_owned)
}

/// An id or a list of ids.
fn listed(value: Option<&Value>) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(items)) => items.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// A template, or a list of `{name, template}` of which `default` counts, else the first.
fn template_of(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let is_default = |item: &&Value| item.get("name").and_then(Value::as_str) == Some("default");
            let item = items.iter().find(is_default).or_else(|| items.first())?;
            item.get("template").and_then(Value::as_str).map(ToOwned::to_owned)
        }
        _ => None,
    }
}

fn travelling(dir: &Path) -> Result<Vec<(String, Vec<u8>)>, DataError> {
    let mut files = Vec::new();
    for name in TRAVELLING {
        if let Some(bytes) = bytes_of(&dir.join(name))? {
            files.push(((*name).to_owned(), bytes));
        }
    }
    let folder = dir.join(TEMPLATE_FOLDER);
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.sort();
    for path in paths {
        if let (Some(name), Some(bytes)) = (path.file_name().and_then(|name| name.to_str()), bytes_of(&path)?) {
            files.push((format!("{TEMPLATE_FOLDER}/{name}"), bytes));
        }
    }
    Ok(files)
}

/// The bytes of a file, `None` when it does not exist.
fn bytes_of(path: &Path) -> Result<Option<Vec<u8>>, DataError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DataError::io("cannot read a tokenizer file", path, error)),
    }
}

fn text_of(bytes: Vec<u8>, path: &Path) -> Result<String, DataError> {
    String::from_utf8(bytes).map_err(|error| {
        DataError::tokenizer(format!("the chat template is not UTF-8: {error}"), path.display(), "save it as UTF-8")
    })
}

/// A JSON file, null when it does not exist.
fn read_json(path: &Path) -> Result<Value, DataError> {
    let Some(bytes) = bytes_of(path)? else { return Ok(Value::Null) };
    serde_json::from_slice(&bytes).map_err(|error| {
        DataError::tokenizer(format!("the file is damaged: {error}"), path.display(), "copy it again from the model")
    })
}
