//! `export --format capsule` and `verify` of what it writes: a folder that lets somebody else check a run and repeat it.
//!
//! ```text
//! NAME.capsule/capsule.json          hashes of model, data, settings and adapter; what was measured; certificates
//!             /project.toml          the settings of the run, with names where there were paths
//!             /adapter.safetensors   what was trained, where it is small
//!             /README.md             the model card, and how to check and to repeat
//!             /temper.json           hashes of the files here
//! ```
//!
//! Place in the data flow: [`super::export`] hands both commands over when the format is a capsule. No model is loaded: what
//! a capsule says is hashes and figures that a run's folder has already. [`mod@write`] makes it, [`mod@check`] reads it back, looks
//! for the model and the data that it names, and compares it with a run that repeated it.

mod check;
mod content;
mod write;

pub(super) use check::verify;
pub(super) use write::export;
