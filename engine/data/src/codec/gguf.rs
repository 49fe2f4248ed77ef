//! A tokenizer from the metadata of a GGUF file, made into the `tokenizer.json` that transformers would
//! write for it.
//!
//! Two kinds exist in practice: `gpt2` (byte-level BPE with an explicit list of merges) and `llama`
//! (SentencePiece BPE, where the order of merges follows from the scores of the pieces).

use super::pre::{KNOWN, pre_tokenizer};
use super::{Parts, SpecialTokens, TextCodec, read};
use crate::DataError;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use temper_protocol::GgufTokenizer;

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

impl TextCodec {
    /// A codec from a GGUF file's metadata.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] when the kind or the pre-tokenizer is unknown (named), lists do not fit
    /// each other, or an id is out of range.
    pub fn from_gguf(mut parts: GgufTokenizer) -> Result<Self, DataError> {
        if parts.model == "llama" {
            mark_spaces(&mut parts);
        }
        let bad = |what: String, action: &str| DataError::tokenizer(what, &parts.place, action);
        check_lists(&parts)?;
        let (mut file, add_bos, add_eos) = match parts.model.as_str() {
            "gpt2" => {
                let pre = pre_tokenizer(&parts.pre).ok_or_else(|| {
                    bad(
                        format!("the pre-tokenizer \"{}\" is unknown", parts.pre),
                        &format!("use the model as a Hugging Face folder; known are {KNOWN}"),
                    )
                })?;
                let add_bos = parts.add_bos.unwrap_or(pre.add_bos);
                (byte_level(&parts, pre)?, add_bos, parts.add_eos.unwrap_or(false))
            }
            "llama" => (sentence_piece(&parts)?, parts.add_bos.unwrap_or(true), parts.add_eos.unwrap_or(false)),
            other => {
                return Err(bad(
                    format!("the tokenizer kind \"{other}\" is not supported"),
                    "use the model as a Hugging Face folder with a tokenizer.json; supported kinds are gpt2 and llama",
                ));
            }
        };
        let bos = parts.bos.filter(|_| add_bos);
        let eos = parts.eos.filter(|_| add_eos);
        file.post_processor = post_processor(&parts, bos, eos);
        let mut tokenizer_json = serde_json::to_vec(&file).map_err(|error| DataError::Internal(error.to_string()))?;
        tokenizer_json.shrink_to_fit();
        drop(file);
        let files = files(&parts, bos.is_some(), eos.is_some())?;
        let stop = parts.eot.into_iter().chain(parts.eom).collect();
        let special =
            SpecialTokens { bos: parts.bos, eos: parts.eos, unk: parts.unk, pad: parts.pad, turn_end: None, stop };
        let template = parts.chat_template.or_else(|| default_of(&parts.named_templates));
        let place = parts.place;
        // Every token and merge is in `tokenizer_json` now: they need not be held while it is read.
        drop((parts.tokens, parts.merges, parts.scores, parts.token_types));
        let tokenizer = read::tokenizer(&tokenizer_json).map_err(|fault| {
            let action = "use a tokenizer.json written by transformers or a newer GGUF file";
            DataError::tokenizer(format!("the tokenizer cannot be read: {fault}"), &place, action)
        })?;
        Self::assemble(Parts {
            place,
            tokenizer,
            tokenizer_json,
            special,
            add_bos: None,
            add_eos: None,
            template,
            files,
        })
    }
}

/// A `tokenizer.json`, its large lists borrowed from the file's metadata: they are written as they are walked over.
#[derive(serde::Serialize)]
struct TokenizerFile<'a> {
    version: &'static str,
    truncation: Option<()>,
    padding: Option<()>,
    added_tokens: Vec<Value>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    model: BytePairs<'a>,
}

/// The model of a [`TokenizerFile`].
#[derive(serde::Serialize)]
struct BytePairs<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    dropout: Option<()>,
    unk_token: Option<&'a str>,
    continuing_subword_prefix: Option<()>,
    end_of_word_suffix: Option<()>,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: Vocabulary<'a>,
    merges: Vec<(&'a str, &'a str)>,
}

/// Token texts in the order of their ids; of a text that stands there twice the last id counts, in the first place.
struct Vocabulary<'a>(&'a [String]);

impl Serialize for Vocabulary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut ids: BTreeMap<&str, u32> = self.0.iter().map(String::as_str).zip(0_u32..).collect();
        let mut map = serializer.serialize_map(Some(ids.len()))?;
        for token in self.0 {
            if let Some(id) = ids.remove(token.as_str()) {
                map.serialize_entry(token, &id)?;
            }
        }
        map.end()
    }
}

fn default_of(named: &[(String, String)]) -> Option<String> {
    named.iter().find(|(name, _)| name == "default").map(|(_, template)| template.clone())
}

/// The type of a token; in a file without types the ids with a meaning are control tokens.
fn kind_of(parts: &GgufTokenizer, id: u32) -> i32 {
    let known = [parts.bos, parts.eos, parts.unk, parts.pad, parts.eot, parts.eom];
    let untyped = if known.contains(&Some(id)) { CONTROL } else { NORMAL };
    if parts.token_types.is_empty() { untyped } else { parts.token_types.get(id as usize).copied().unwrap_or(NORMAL) }
}

fn check_lists(parts: &GgufTokenizer) -> Result<(), DataError> {
    let bad =
        |what: String| DataError::tokenizer(what, &parts.place, "the file is damaged or incomplete: get it again");
    let count = parts.tokens.len();
    if count == 0 {
        return Err(bad("the file has no tokenizer.ggml.tokens".to_owned()));
    }
    if u32::try_from(count).is_err() {
        return Err(bad(format!("{count} tokens are too many")));
    }
    if !parts.token_types.is_empty() && parts.token_types.len() != count {
        return Err(bad(format!("{} token types for {count} tokens", parts.token_types.len())));
    }
    if parts.model == "llama" && parts.scores.len() != count {
        return Err(bad(format!("{} scores for {count} tokens", parts.scores.len())));
    }
    let ids = [("bos", parts.bos), ("eos", parts.eos), ("unknown", parts.unk), ("padding", parts.pad)];
    let more = [("eot", parts.eot), ("eom", parts.eom)];
    for (name, id) in ids.into_iter().chain(more) {
        if let Some(id) = id.filter(|id| *id as usize >= count) {
            return Err(bad(format!("the {name} token is {id}, the vocabulary has {count} tokens")));
        }
    }
    Ok(())
}

/// Control and user-defined tokens: matched in text before anything else, the longest first.
fn added_tokens(parts: &GgufTokenizer) -> Vec<Value> {
    let tokens = parts.tokens.iter().zip(0_u32..).filter(|(token, _)| !token.is_empty());
    tokens
        .filter(|(_, id)| matches!(kind_of(parts, *id), UNKNOWN | CONTROL | USER_DEFINED))
        .map(|(token, id)| {
            json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": kind_of(parts, id) != USER_DEFINED,
            })
        })
        .collect()
}

fn byte_level(parts: &GgufTokenizer, pre: super::pre::PreTokenizer) -> Result<TokenizerFile<'_>, DataError> {
    let mut merges = Vec::with_capacity(parts.merges.len());
    for (line, merge) in parts.merges.iter().enumerate() {
        let pair = merge.split_once(' ').filter(|(left, right)| !left.is_empty() && !right.is_empty());
        let Some(pair) = pair else {
            return Err(DataError::tokenizer(
                format!("merge {line} (\"{merge}\") is not a pair"),
                &parts.place,
                "the file is damaged: get it again",
            ));
        };
        merges.push(pair);
    }
    if merges.is_empty() {
        return Err(DataError::tokenizer(
            "the file has no tokenizer.ggml.merges",
            &parts.place,
            "use a newer GGUF file or the model as a Hugging Face folder",
        ));
    }
    Ok(TokenizerFile {
        version: "1.0",
        truncation: None,
        padding: None,
        added_tokens: added_tokens(parts),
        normalizer: if pre.compose { json!({"type": "NFC"}) } else { Value::Null },
        pre_tokenizer: pre.json,
        post_processor: Value::Null,
        decoder: json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}),
        model: BytePairs {
            kind: "BPE",
            dropout: None,
            unk_token: None,
            continuing_subword_prefix: None,
            end_of_word_suffix: None,
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: pre.ignore_merges,
            vocab: Vocabulary(&parts.tokens),
            merges,
        },
    })
}

/// Runs of spaces that a file lists as tokens of their own, written with the mark that stands for a space by the time
/// pieces are merged.
fn mark_spaces(parts: &mut GgufTokenizer) {
    let kinds = parts.token_types.iter();
    for (token, _) in parts.tokens.iter_mut().zip(kinds).filter(|(_, kind)| **kind == USER_DEFINED) {
        if !token.is_empty() && token.chars().all(|c| c == ' ') {
            *token = "▁".repeat(token.len());
        }
    }
}

/// SentencePiece merges the neighbouring pair whose joined piece scores highest; a user-defined piece comes before
/// every other, whatever score the file states. The same follows from a list of merges: every way to split a piece into
/// two pieces, ordered by the score of the whole, the longer left part first among equals.
fn sentence_piece_merges(parts: &GgufTokenizer) -> Vec<(&str, &str)> {
    let pieces: BTreeMap<&str, u32> = parts
        .tokens
        .iter()
        .zip(0_u32..)
        .filter(|(_, id)| matches!(kind_of(parts, *id), NORMAL | USER_DEFINED))
        .map(|(token, id)| (token.as_str(), id))
        .collect();
    let mut merges: Vec<(f32, u32, u32, &str, &str)> = Vec::new();
    for (token, score) in parts.tokens.iter().zip(&parts.scores) {
        let Some(id) = pieces.get(token.as_str()) else { continue };
        let score = if kind_of(parts, *id) == USER_DEFINED { f32::INFINITY } else { *score };
        let length = token.chars().count() as u32;
        for (before, (at, _)) in (0_u32..).zip(token.char_indices()).skip(1) {
            let (left, right) = token.split_at(at);
            if pieces.contains_key(left) && pieces.contains_key(right) {
                merges.push((score, before, length - before, left, right));
            }
        }
    }
    // among equals the order of the vocabulary stays: the sort is stable
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)).then(b.2.cmp(&a.2)));
    merges.into_iter().map(|(_, _, _, left, right)| (left, right)).collect()
}

fn sentence_piece(parts: &GgufTokenizer) -> Result<TokenizerFile<'_>, DataError> {
    let bytes = parts.tokens.iter().filter(|token| token.len() == 6 && token.starts_with("<0x")).count();
    if bytes < 256 && parts.unk.is_none() {
        return Err(DataError::tokenizer(
            "the vocabulary has neither byte tokens nor an unknown token",
            &parts.place,
            "the file is damaged or incomplete: get it again",
        ));
    }
    let space_first = parts.add_space_prefix.unwrap_or(true);
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let normalizer = if space_first {
        json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]})
    } else {
        replace
    };
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if space_first {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let unk = parts.unk.and_then(|id| parts.tokens.get(id as usize));
    Ok(TokenizerFile {
        version: "1.0",
        truncation: None,
        padding: None,
        added_tokens: added_tokens(parts),
        normalizer,
        pre_tokenizer: Value::Null,
        post_processor: Value::Null,
        decoder: json!({"type": "Sequence", "decoders": decoders}),
        model: BytePairs {
            kind: "BPE",
            dropout: None,
            unk_token: unk.map(String::as_str),
            continuing_subword_prefix: None,
            end_of_word_suffix: None,
            fuse_unk: true,
            byte_fallback: true,
            ignore_merges: false,
            vocab: Vocabulary(&parts.tokens),
            merges: sentence_piece_merges(parts),
        },
    })
}

/// Adds the beginning and end of a text; nothing when neither is wanted.
fn post_processor(parts: &GgufTokenizer, bos: Option<u32>, eos: Option<u32>) -> Value {
    let named = |id: Option<u32>| id.and_then(|id| Some((id, parts.tokens.get(id as usize)?)));
    let (bos, eos) = (named(bos), named(eos));
    if bos.is_none() && eos.is_none() {
        return Value::Null;
    }
    let special = |token: &str, sequence: u32| json!({"SpecialToken": {"id": token, "type_id": sequence}});
    let template = |sequences: &[(&str, u32)]| {
        let mut items = Vec::new();
        for (name, sequence) in sequences {
            items.extend(bos.map(|(_, token)| special(token, *sequence)));
            items.push(json!({"Sequence": {"id": name, "type_id": sequence}}));
            items.extend(eos.map(|(_, token)| special(token, *sequence)));
        }
        items
    };
    let tokens: Map<String, Value> = [bos, eos]
        .into_iter()
        .flatten()
        .map(|(id, token)| (token.clone(), json!({"id": token, "ids": [id], "tokens": [token]})))
        .collect();
    json!({
        "type": "TemplateProcessing", "single": template(&[("A", 0)]), "pair": template(&[("A", 0), ("B", 1)]),
        "special_tokens": tokens,
    })
}

/// The files of a Hugging Face tokenizer beside `tokenizer.json`.
fn files(parts: &GgufTokenizer, adds_bos: bool, adds_eos: bool) -> Result<Vec<(String, Vec<u8>)>, DataError> {
    let mut named = Map::new();
    for (name, id) in
        [("bos_token", parts.bos), ("eos_token", parts.eos), ("unk_token", parts.unk), ("pad_token", parts.pad)]
    {
        if let Some(token) = id.and_then(|id| parts.tokens.get(id as usize)) {
            named.insert(name.to_owned(), Value::from(token.as_str()));
        }
    }
    let mut config = Map::new();
    config.insert("add_bos_token".to_owned(), Value::from(adds_bos));
    config.insert("add_eos_token".to_owned(), Value::from(adds_eos));
    config.insert("add_prefix_space".to_owned(), Value::from(false));
    config.insert("clean_up_tokenization_spaces".to_owned(), Value::from(false));
    config.insert("tokenizer_class".to_owned(), Value::from("PreTrainedTokenizerFast"));
    config.extend(named.clone());
    let main = parts.chat_template.clone().or_else(|| default_of(&parts.named_templates));
    if let Some(template) = main {
        config.insert("chat_template".to_owned(), Value::from(template));
    }
    let pretty = |map: Map<String, Value>| {
        serde_json::to_vec_pretty(&Value::Object(map)).map_err(|error| DataError::Internal(error.to_string()))
    };
    let mut files = vec![
        ("tokenizer_config.json".to_owned(), pretty(config)?),
        ("special_tokens_map.json".to_owned(), pretty(named)?),
    ];
    for (name, template) in parts.named_templates.iter().filter(|(name, _)| name != "default") {
        let plain: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == '-').collect();
        files.push((format!("{}/{plain}.jinja", super::hf::TEMPLATE_FOLDER), template.as_bytes().to_vec()));
    }
    Ok(files)
}
