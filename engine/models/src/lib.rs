//! Model families as lists of trainable stages, and the files they are read from.
//!
//! Place in the data flow: a path becomes a [`ModelSource`] (Hugging Face folder or GGUF file, headers only), its
//! configuration and tensors become a [`Model`]: embedding, blocks, head. Methods put adapters on its sites or make
//! its weights trained; the trainer drives its stages; exporters read its weights back under the names of the file.
//! Frozen weights stay mapped and in the storage of the file.
//!
//! Where to look: [`gguf`] and [`hf`] read files, [`family`] and [`names`] say what tensors are called, [`rope`]
//! holds the rotary variants, [`stage`] what the trainer sees, [`mod@llama`] the graph, [`model`] puts it together,
//! [`mod@insert`] puts things between its stages, [`mod@generate`] continues texts, [`mod@describe`] looks at a path without loading it. Classifiers of images are lists
//! of the same stages: [`vision`] is to them what [`model`] is to decoders, [`mod@vit`] and [`mod@cnn`] are the graphs.

pub mod capability;
pub mod cnn;
pub mod config;
pub mod describe;
pub mod error;
pub mod family;
mod files;
pub mod generate;
pub mod gguf;
pub mod hf;
pub mod insert;
pub mod llama;
pub mod model;
pub mod names;
mod own;
mod random;
pub mod rope;
pub mod source;
pub mod stage;
pub mod vision;
pub mod vit;
mod weights;

pub use config::{LlamaConfig, LocalLayers, ModelConfig};
pub use describe::{Description, describe};
pub use error::{ModelError, Result};
pub use generate::{Generated, Generator, Limits, Sampling, StopReason, generate};
pub use insert::Inside;
pub use llama::{BlockStage, EmbedStage, HeadStage};
pub use model::{Held, Model, NamedWeight};
pub use source::ModelSource;
pub use stage::{AttentionSizes, Flow, Seen, Stage, StageCache};
pub use weights::BaseKind;

// classifiers of images
pub use capability::{Capability, refusal};
pub use cnn::CnnConfig;
pub use vision::{Labels, VisionConfig, VisionModel};
pub use vit::VitConfig;

/// Told what is being done, how much is done, and how much there is to do (bytes).
pub type Progress<'a> = dyn FnMut(&str, u64, u64) + 'a;
