//! The tokenizer that a GGUF file carries, as plain values.
//!
//! Place in the data flow: the models crate reads it from a file's metadata, the data crate makes a tokenizer of it (and,
//! for exports, the other way round). It stands here because neither of the two knows the other.

/// Tokenizer metadata of a GGUF file (keys `tokenizer.ggml.*` and `tokenizer.chat_template*`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GgufTokenizer {
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
