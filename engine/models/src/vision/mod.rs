//! Classifiers of images as lists of stages.
//!
//! Place in the data flow: images (batch, channels, height, width) enter the first stage as the hidden states of a
//! [`crate::Flow`] and leave the last one as tokens or maps; a head pools them and tells classes. The stages are the same
//! [`crate::Stage`]s that decoders are made of: the trainer drives them one by one, methods find linear layers and
//! convolutions in them.
//!
//! Where to look: [`config`] says which graphs there are, `slots` what their tensors are called, `parts` holds weights
//! that are no linear layer, `head` pools and scores, `model` puts all together, `files` reads and writes folders.

pub mod config;
pub(crate) mod files;
mod head;
mod model;
pub(crate) mod parts;
pub(crate) mod slots;

pub use config::VisionConfig;
pub use head::{ClassifierHead, Labels, Pooling};
pub use model::VisionModel;
pub use slots::{Start, VisionSlot};
