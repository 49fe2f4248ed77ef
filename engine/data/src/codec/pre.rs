//! Pre-tokenizers of byte-level GGUF vocabularies by the name in `tokenizer.ggml.pre`.
//!
//! GGUF files do not carry the expression that splits text before merging, only a name for it. The
//! expressions below are those that the models' own `tokenizer.json` files use for that name. A name
//! that is not listed is refused: a wrong split gives wrong tokens without any error.

use serde_json::{Value, json};

/// Contractions, letters, up to three digits, punctuation with newlines, blanks.
const THREE_DIGITS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same with single digits.
const ONE_DIGIT: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same with combining marks as part of words.
const ONE_DIGIT_MARKS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words split between lower and upper case, contractions at the end of a word.
const CASED: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same without contractions and with single digits.
const CASED_ONE_DIGIT: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words with the punctuation mark before them.
const PUNCTUATED: &str = r"[!\x22#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Everything between blanks and sentence marks.
const WORDS: &str = " ?[^(\\s|.,!?…。，、।۔،)]+";

/// How a byte-level vocabulary splits text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PreTokenizer {
    /// The `pre_tokenizer` entry of a `tokenizer.json`.
    pub(super) json: Value,
    /// Whether a whole word in the vocabulary is taken without merging.
    pub(super) ignore_merges: bool,
    /// Whether texts begin with the beginning-of-text token unless the file says otherwise.
    pub(super) add_bos: bool,
    /// Whether text is normalised to composed characters first.
    pub(super) compose: bool,
}

fn byte_level(use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex})
}

fn split(regex: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
}

fn digits() -> Value {
    json!({"type": "Digits", "individual_digits": true})
}

fn sequence(parts: &[Value]) -> Value {
    json!({"type": "Sequence", "pretokenizers": parts})
}

/// The pre-tokenizer called `name`; an empty name is GPT-2's.
pub(super) fn pre_tokenizer(name: &str) -> Option<PreTokenizer> {
    let plain = |json: Value| PreTokenizer { json, ignore_merges: false, add_bos: false, compose: false };
    let by = |regex: &str| plain(sequence(&[split(regex), byte_level(false)]));
    Some(match name {
        "" | "default" | "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" | "trillion" | "granite-docling" | "exaone4"
        | "gigachat" | "a.x-4.0" | "mellum" => plain(byte_level(true)),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b" => {
            plain(sequence(&[digits(), byte_level(true)]))
        }
        "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0" | "lfm2" => {
            PreTokenizer { ignore_merges: true, add_bos: true, ..by(THREE_DIGITS) }
        }
        "dbrx" | "smaug-bpe" | "glm4" | "chatglm-bpe" => by(THREE_DIGITS),
        "qwen2" | "deepseek-r1-qwen" | "kormo" | "megrez" => PreTokenizer { compose: true, ..by(ONE_DIGIT) },
        "stablelm2" | "hunyuan" => by(ONE_DIGIT),
        "qwen35" => PreTokenizer { compose: true, ..by(ONE_DIGIT_MARKS) },
        "gpt-4o" | "llama4" | "kanana2" => by(CASED),
        "tekken" => PreTokenizer { ignore_merges: true, add_bos: true, ..by(CASED_ONE_DIGIT) },
        "deepseek-v3" | "hunyuan-dense" | "joyai-llm" => {
            plain(sequence(&[split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(PUNCTUATED), byte_level(false)]))
        }
        "deepseek-coder" => plain(sequence(&[
            split("[\r\n]"),
            split(r"\s?\p{L}+"),
            split(r"\s?\p{P}+"),
            split("[一-龥ࠀ-一가-퟿]+"),
            digits(),
            byte_level(false),
        ])),
        "bloom" | "gpt3-finnish" | "poro-chat" => by(WORDS),
        "viking" => plain(sequence(&[split(WORDS), digits(), byte_level(false)])),
        _ => return None,
    })
}

/// The names that [`pre_tokenizer`] knows, for messages.
pub(super) const KNOWN: &str = "gpt-2, smollm, starcoder, llama-bpe, qwen2, qwen35, gpt-4o, tekken, deepseek-v3, deepseek-coder, stablelm2, bloom and their relatives";

/// One name per way of splitting, the one that an export writes.
pub(super) const CANONICAL: &[&str] = &[
    "gpt-2",
    "smollm",
    "llama-bpe",
    "dbrx",
    "qwen2",
    "stablelm2",
    "qwen35",
    "gpt-4o",
    "tekken",
    "deepseek-v3",
    "deepseek-coder",
    "bloom",
    "viking",
];
