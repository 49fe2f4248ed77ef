//! From files to batches: readers, schemas, templates, tokens, packing, order.
//!
//! Place in the data flow: a project names files and folders; this crate says what they are
//! ([`sniff()`]), reads them row by row ([`read`]), recognises their meaning ([`schema`]), turns every
//! row into token ids with a mark on each token whose prediction counts ([`tokens`], with the
//! tokenizer and chat template of [`codec`]), splits and caches the result ([`dataset`]) and serves it
//! as batches in an order that a checkpoint can resume ([`batch`]). Images with classes have a reader of their
//! own ([`images`]). It knows neither models nor tensors.
//!
//! Nothing that is wrong with a row is passed over: rows that cannot be used are set aside with file,
//! line and reason ([`Quarantined`]), and a data set without a single good row is an error.

pub mod batch;
mod cache;
pub mod codec;
pub mod dataset;
mod error;
mod hash;
pub mod images;
pub mod lens;
mod preview;
mod probe;
pub mod random;
pub mod read;
pub mod schema;
pub mod sniff;
pub mod tokens;

pub use batch::{Batch, BatchSettings, Cursor, IGNORE, Loader, Prefetcher, eval_batches};
pub use codec::{
    ChatMessage, GgufTokenizer, SpecialTokens, StreamDecoder, TemplateDate, TemplateOrigin, TextCodec, TokenizerKind,
};
pub use dataset::{Dataset, Example, LoadRequest, Progress, Quarantined, Stats, ValidationSource};
pub use error::DataError;
pub use images::{ImageBatch, ImageSet};
pub use lens::Lens;
pub use preview::preview_event;
pub use probe::ProbeSet;
pub use schema::{Sample, Schema};
pub use sniff::{Sniffed, sniff};
pub use tokens::LossOn;
