//! A tokenizer on its way into a GGUF file: the inverse of [`super::gguf`].
//!
//! A GGUF file names its pre-tokenizer instead of describing it, so a byte-level tokenizer can leave only
//! when its way of splitting text is one of the named ones; everything else would be split wrongly there
//! with no more than a warning.

use super::pre::{CANONICAL, KNOWN, pre_tokenizer};
use super::{GgufTokenizer, TemplateOrigin, TextCodec, TokenizerKind};
use crate::DataError;
use serde_json::Value;

const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

impl TextCodec {
    /// The metadata that describes this tokenizer in a GGUF file.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] when it is no byte-level BPE, or splits text in a way that GGUF has no name for.
    pub fn gguf_parts(&self) -> Result<GgufTokenizer, DataError> {
        let refuse = |what: String| {
            DataError::tokenizer(
                what,
                &self.place,
                "export to hf, or start from a GGUF base, whose tokenizer is copied",
            )
        };
        if self.kind != TokenizerKind::ByteLevelBpe {
            return Err(refuse(format!("a {} tokenizer cannot be put into a GGUF file yet", self.kind.name())));
        }
        let json: Value = serde_json::from_slice(&self.tokenizer_json)
            .map_err(|error| refuse(format!("tokenizer.json cannot be read: {error}")))?;
        let ignore_merges = json.pointer("/model/ignore_merges").and_then(Value::as_bool).unwrap_or(false);
        let compose = json.pointer("/normalizer/type").and_then(Value::as_str) == Some("NFC");
        let own = essence(json.get("pre_tokenizer").unwrap_or(&Value::Null));
        let pre = CANONICAL
            .iter()
            .find(|name| {
                pre_tokenizer(name).is_some_and(|known| {
                    known.ignore_merges == ignore_merges && known.compose == compose && essence(&known.json) == own
                })
            })
            .ok_or_else(|| refuse(format!("its way of splitting text has no name in GGUF (named are {KNOWN})")))?;
        let mut parts = GgufTokenizer {
            place: self.place.clone(),
            model: "gpt2".to_owned(),
            pre: (*pre).to_owned(),
            bos: self.special.bos,
            eos: self.special.turn_end.or(self.special.eos),
            unk: self.special.unk,
            pad: self.special.pad,
            eot: self.special.turn_end,
            add_bos: Some(!self.prefix.is_empty()),
            add_eos: Some(!self.suffix.is_empty()),
            ..GgufTokenizer::default()
        };
        if self.template_origin != TemplateOrigin::Plain {
            parts.chat_template = Some(self.chat_template().to_owned());
        }
        fill_vocabulary(&json, self.vocabulary, &mut parts);
        Ok(parts)
    }
}

/// Tokens by id with their types, and merges as "left right".
fn fill_vocabulary(json: &Value, size: usize, parts: &mut GgufTokenizer) {
    parts.tokens = (0..size).map(|id| format!("[PAD{id}]")).collect();
    parts.token_types = vec![UNUSED; size];
    let mut put = |token: &str, id: Option<u64>, kind: i32| {
        let Some(index) = id.and_then(|id| usize::try_from(id).ok()) else { return };
        if let (Some(place), Some(place_kind)) = (parts.tokens.get_mut(index), parts.token_types.get_mut(index)) {
            token.clone_into(place);
            *place_kind = kind;
        }
    };
    for (token, id) in json.pointer("/model/vocab").and_then(Value::as_object).into_iter().flatten() {
        put(token, id.as_u64(), NORMAL);
    }
    for token in json.get("added_tokens").and_then(Value::as_array).into_iter().flatten() {
        let special = token.get("special").and_then(Value::as_bool).unwrap_or(false);
        let content = token.get("content").and_then(Value::as_str).unwrap_or_default();
        put(content, token.get("id").and_then(Value::as_u64), if special { CONTROL } else { USER_DEFINED });
    }
    let merges = json.pointer("/model/merges").and_then(Value::as_array).into_iter().flatten();
    parts.merges = merges
        .filter_map(|merge| match merge {
            Value::String(pair) => Some(pair.clone()),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(left), Value::String(right)] => Some(format!("{left} {right}")),
                _ => None,
            },
            _ => None,
        })
        .collect();
}

/// What a pre-tokenizer does, without the fields that only change offsets.
fn essence(pre: &Value) -> Vec<String> {
    let flag = |key: &str, default: bool| pre.get(key).and_then(Value::as_bool).unwrap_or(default);
    let text = |key: &str| pre.get(key).and_then(Value::as_str).unwrap_or_default();
    match text("type") {
        "Sequence" => {
            pre.get("pretokenizers").and_then(Value::as_array).into_iter().flatten().flat_map(essence).collect()
        }
        "ByteLevel" => {
            vec![format!("bytes prefix={} regex={}", flag("add_prefix_space", true), flag("use_regex", true))]
        }
        "Digits" => vec![format!("digits single={}", flag("individual_digits", false))],
        "Split" => {
            let pattern = pre.pointer("/pattern/Regex").and_then(Value::as_str).unwrap_or_default();
            vec![format!("split {pattern} {} invert={}", text("behavior"), flag("invert", false))]
        }
        "" => Vec::new(),
        other => vec![format!("unknown {other}")],
    }
}
