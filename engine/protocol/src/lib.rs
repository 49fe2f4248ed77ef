//! Commands, events, settings and errors: everything the window and the engine say to each other.
//!
//! Place in the data flow: the window (or the command line) builds a [`Command`], the engine answers
//! with [`Event`]s, and both agree on [`Project`], the text file that says what will run. This crate
//! holds plain data only: no tensors, no windows, no threads. The one thing here that only engine crates exchange is
//! [`GgufTokenizer`], which two of them need and neither owns; what all crates do alike with files is in [`whole_file`].
//!
//! `--json` on the command line prints [`Event`] values unchanged, so the serialised form of every
//! type here is a public contract: fields may be added, never renamed.

pub mod client;
pub mod command;
pub mod comparison;
pub mod data;
pub mod event;
pub mod event_parts;
mod export_format;
mod front;
pub mod gguf_tokenizer;
pub mod housekeeping;
pub mod method;
pub mod named;
pub mod prices;
pub mod problem;
pub mod project;
pub mod project_file;
pub mod race_record;
pub mod run_folder;
pub mod setting;
pub mod storage_type;
pub mod whole_file;

pub use client::{EngineClient, Envelope, Request};
pub use command::{Act, Command, GenerateLimits, ModelRef, RunRef};
pub use event::{Event, RunStatus};
pub use export_format::{CAPSULE_ADAPTER_BYTES, CAPSULE_FILE, ExportFormat};
pub use front::front;
pub use gguf_tokenizer::GgufTokenizer;
pub use method::{Declared, Kind, MethodCard, Paper, SeriesDef, Waiver};
pub use problem::{Code, Problem};
pub use project::Project;
pub use setting::{Setting, SettingType, Value, Values};
pub use storage_type::StorageType;

/// Version of `project.toml` that this program writes.
pub const SCHEMA_VERSION: u32 = 1;
