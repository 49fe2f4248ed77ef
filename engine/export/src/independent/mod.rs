//! The second opinion of the certificate: reads what was written with readers that are not ours and runs
//! it through a graph that is not ours (candle-transformers).
//!
//! Place in the data flow: [`crate::certificate`] asks an [`Oracle`] for logits and compares them with the
//! trained model's. Nothing here touches `temper-nn`, `temper-models` or the writers of this crate.

mod files;
mod mlx;
mod oracle;
mod peft;

pub use files::{StoredTensors, Tensors, gguf_lora_over, read_gguf, read_hf, read_hf_config};
pub use mlx::mlx_over;
pub use oracle::{Config, Oracle, QuantisedOracle};
pub use peft::{Adapted, adapter_over};
