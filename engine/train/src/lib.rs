//! The training loop: schedules, accumulation, evaluation, probes, checkpoints, guards.
//!
//! Place in the data flow: takes batches from `temper-data`, runs them through the stages of a
//! `temper-models` model with the adapters that a `temper-methods` method planned, and answers with
//! [`temper_protocol::Event`]s and checkpoint folders. `temper-host` calls [`train`] on its engine thread
//! and steers it through [`RunControl`].

pub mod attach;
pub mod checkpoint;
pub mod control;
pub mod driver;
pub mod error;
pub mod exact;
pub mod guard;
pub mod hashes;
pub mod keep;
pub mod meter;
pub mod phases;
pub mod request;
pub mod schedule;
pub mod scores;
pub mod session;
pub mod state;
pub mod tensor_file;

pub use control::{RunControl, Want};
pub use error::TrainError;
pub use request::{Outcome, TrainRequest};
pub use session::{preflight, train};
