//! Hugging Face folders: config.json and safetensors weights, single or sharded.
//!
//! Truncation and damage of a header are found when a file is opened: the header must describe exactly the bytes that
//! follow it. A flipped bit inside the weights leaves a well-formed file (safetensors has no checksum); one that makes
//! a value infinite or not a number is found by [`crate::Model::verify_finite`].

mod config;
mod folder;

pub use config::config_from_hf;
pub use folder::{HfFolder, HfTensor};
