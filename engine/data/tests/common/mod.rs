//! Codecs made of the fixtures, and the little that every test file needs.

use serde_json::Value;
use std::path::Path;
use temper_data::{GgufTokenizer, TextCodec};

/// A conversation template that marks answers by nothing but its form.
pub(crate) const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// A file of `tests/fixtures`.
pub(crate) fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    serde_json::from_slice(&std::fs::read(path).expect("fixture exists")).expect("fixture is JSON")
}

pub(crate) fn texts(value: &Value) -> Vec<String> {
    value.as_array().expect("a list").iter().map(|item| item.as_str().expect("a text").to_owned()).collect()
}

pub(crate) fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().expect("a list").iter().map(|item| item.as_u64().expect("a number") as u32).collect()
}

/// The byte-level vocabulary of the fixtures as GGUF metadata.
pub(crate) fn bpe_parts(pre: &str) -> GgufTokenizer {
    let bpe = fixture("tiny_bpe.json");
    GgufTokenizer {
        place: "tiny.gguf".to_owned(),
        model: "gpt2".to_owned(),
        pre: pre.to_owned(),
        tokens: texts(&bpe["tokens"]),
        token_types: numbers(&bpe["token_types"]).into_iter().map(|kind| kind as i32).collect(),
        merges: texts(&bpe["merges"]),
        bos: Some(0),
        eos: Some(2),
        chat_template: Some(CHATML.to_owned()),
        ..GgufTokenizer::default()
    }
}

/// The codec most tests use.
pub(crate) fn codec() -> TextCodec {
    TextCodec::from_gguf(bpe_parts("smollm")).expect("the tiny vocabulary")
}
