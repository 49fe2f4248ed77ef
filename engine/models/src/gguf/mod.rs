//! GGUF files: our own reader and writer.
//!
//! Reading maps the file and checks its whole structure at once; metadata entries keep their order and exact bytes,
//! so that an exporter can copy them verbatim. Writing streams tensor by tensor. What a damaged file can and cannot
//! hide: every count, length, type, name, shape, offset and size is checked against the file, so truncation, absurd
//! numbers and overlapping or missing data are found when the file is opened. A flipped bit inside a weight or inside
//! the text of a metadata string leaves a well-formed file and cannot be found, because GGUF has no checksum; a flip
//! that makes a scale infinite or not a number is found by [`crate::Model::verify_finite`] when the model is loaded.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little endian.

mod config;
mod ggml_type;
mod reader;
mod tokenizer;
mod value;
mod writer;

pub use config::{config_from_gguf, gguf_metadata, rope_factor_tensor};
pub use ggml_type::GgmlType;
pub use reader::{Entry, GgufFile, GgufTensor};
pub use tokenizer::gguf_tokenizer_parts;
pub use value::{Array, Value, ValueType};
pub use writer::{GgufTensorSink, GgufWriter};

/// First four bytes of every file.
pub const MAGIC: [u8; 4] = *b"GGUF";
/// Alignment of tensor data when `general.alignment` is absent.
pub const DEFAULT_ALIGNMENT: u64 = 32;
/// Metadata key of the alignment.
pub const ALIGNMENT_KEY: &str = "general.alignment";
/// Most dimensions a tensor has in ggml.
pub const MAX_DIMS: usize = 4;
/// Longest tensor name that ggml reads (64 bytes with the closing zero).
pub const MAX_NAME_BYTES: usize = 63;
