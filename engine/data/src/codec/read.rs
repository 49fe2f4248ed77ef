//! A tokenizer from the bytes of a `tokenizer.json`, read without a tree of all its tokens in between.
//!
//! Place in the data flow: the two sources of a [`super::TextCodec`] call [`tokenizer`]. The library reads a file of any
//! kind into JSON values first and those into its own types, which takes some 400 MB for the 262,144 tokens and half a
//! million merges of Gemma. A byte-pair model, the kind of every large vocabulary, is read straight into its type here;
//! the others take the library's way.

use serde::Deserialize;
use tokenizers::models::bpe::BPE;
use tokenizers::tokenizer::Tokenizer;
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper};

/// Kinds of models that the library knows.
pub(super) const KINDS: &[&str] = &["BPE", "Unigram", "WordPiece", "WordLevel"];

/// Why a file gives no tokenizer.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is no JSON, or a part of it has another form than it must have.
    Damaged(String),
    /// There is no model in it.
    NoModel,
    /// The model is of a kind that nobody here can read.
    Kind(String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged(why) => write!(f, "tokenizer.json is damaged: {why}"),
            Self::NoModel => f.write_str("tokenizer.json describes no model"),
            Self::Kind(kind) => write!(f, "the tokenizer kind \"{kind}\" is not supported"),
        }
    }
}

/// What decides how the rest is read; everything else is checked for being JSON and skipped.
#[derive(Deserialize)]
struct Outline {
    model: Option<ModelOutline>,
}

#[derive(Deserialize)]
struct ModelOutline {
    /// Very old files leave it out; the library finds the kind by the fields then.
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// A file around a byte-pair model.
#[derive(Deserialize)]
struct BytePairFile {
    version: Option<String>,
    added_tokens: Option<Vec<AddedToken>>,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    post_processor: Option<PostProcessorWrapper>,
    decoder: Option<DecoderWrapper>,
    model: BPE,
}

/// The tokenizer of a `tokenizer.json`, without padding and truncation.
pub(super) fn tokenizer(json: &[u8]) -> Result<Tokenizer, Fault> {
    let outline: Outline = serde_json::from_slice(json)
        .map_err(|error| if error.is_data() { Fault::NoModel } else { Fault::Damaged(error.to_string()) })?;
    let kind = outline.model.ok_or(Fault::NoModel)?.kind;
    if let Some(kind) = kind.as_deref().filter(|kind| !KINDS.contains(kind)) {
        return Err(Fault::Kind(kind.to_owned()));
    }
    let damaged = |error: tokenizers::Error| Fault::Damaged(error.to_string());
    if kind.as_deref() == Some("BPE") {
        return byte_pair(json).map_err(damaged);
    }
    let mut tokenizer = Tokenizer::from_bytes(json).map_err(damaged)?;
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(damaged)?;
    Ok(tokenizer)
}

fn byte_pair(json: &[u8]) -> Result<Tokenizer, tokenizers::Error> {
    let file: BytePairFile = serde_json::from_slice(json)?;
    if let Some(version) = file.version.filter(|version| version != "1.0") {
        return Err(format!("its version is {version}, not 1.0").into());
    }
    let mut tokenizer = Tokenizer::new(file.model);
    tokenizer.with_normalizer(file.normalizer)?;
    tokenizer.with_pre_tokenizer(file.pre_tokenizer);
    tokenizer.with_post_processor(file.post_processor);
    tokenizer.with_decoder(file.decoder);
    tokenizer.add_tokens(file.added_tokens.unwrap_or_default())?;
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{"id": 5, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false,
                          "normalized": false, "special": true}],
        "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null,
        "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": {"a": 0, "b": 1, "\"": 2, "ab": 3, "aba": 4}, "merges": [["a", "b"], ["ab", "a"]]}
    }"#;

    #[test]
    fn a_byte_pair_file_is_read_as_the_library_reads_it() {
        let (own, library) = (tokenizer(FILE.as_bytes()).expect("reads"), Tokenizer::from_bytes(FILE).expect("reads"));
        assert_eq!(own.to_string(false).expect("writes"), library.to_string(false).expect("writes"));
        for text in ["ABAB a<end>b \" ba", "", "<end>"] {
            let ids = |tokenizer: &Tokenizer| tokenizer.encode(text, true).expect("encodes").get_ids().to_vec();
            assert_eq!(ids(&own), ids(&library), "{text}");
        }
        let old = FILE.replace(r#"["a", "b"], ["ab", "a"]"#, r#""a b", "ab a""#);
        let old = tokenizer(old.as_bytes()).expect("merges as pairs in one text");
        assert_eq!(old.to_string(false).expect("writes"), library.to_string(false).expect("writes"));
    }

    #[test]
    fn what_gives_no_tokenizer_says_why() {
        let fault = |text: &str| tokenizer(text.as_bytes()).map(|_| ()).expect_err("refused");
        assert!(matches!(fault("{\"model\": "), Fault::Damaged(_)));
        assert!(matches!(fault("{\"version\": \"1.0\"}"), Fault::NoModel));
        assert!(matches!(fault("{\"model\": 3}"), Fault::NoModel));
        assert!(matches!(fault("{\"model\": {\"type\": \"Magic\"}}"), Fault::Kind(kind) if kind == "Magic"));
        assert!(matches!(fault(&FILE.replace("1.0", "9.0")), Fault::Damaged(why) if why.contains("9.0")));
        assert!(matches!(fault(&FILE.replace("\"merges\"", "\"merge\"")), Fault::Damaged(_)));
    }
}
