//! The training loop: schedules, accumulation, evaluation, probes, checkpoints, guards.
//!
//! Place in the data flow: takes batches from `temper-data`, runs them through the stages of a
//! `temper-models` model with the adapters that a `temper-methods` method planned, and answers with
//! [`temper_protocol::Event`]s and checkpoint folders. `temper-host` calls [`train`] on its engine thread
//! and steers it through [`RunControl`].
//!
//! Where to look: [`session`] puts a run together, [`mod@driver`] runs forward and backward, [`checkpoint`] and
//! [`snapshots`] say what is on the disk, [`eval`] and [`probes`] measure, [`trained`] loads a result. Classifiers of images are trained by
//! [`images`], over the same stages, schedule and optimiser.

pub mod attach;
pub mod base_cache;
pub mod bench;
pub mod best;
mod bits;
mod boundary;
pub mod checkpoint;
pub mod control;
pub mod driver;
pub mod error;
pub mod eval;
pub mod exact;
pub mod guard;
pub mod hashes;
pub mod images;
pub mod imitate;
pub mod keep;
pub mod meter;
pub mod phases;
pub mod prefix;
pub mod preflight;
pub mod prepare;
pub mod probes;
pub mod ranks;
mod remedies;
pub mod request;
mod run;
pub mod samples;
mod saved;
mod saving;
pub mod schedule;
pub mod scores;
pub mod sensors;
pub mod session;
pub mod sizes;
pub mod snapshots;
pub mod stamps;
pub mod start;
pub mod state;
mod take_over;
pub mod tensor_file;
pub mod threads;
pub mod trained;
pub mod verdict;
pub mod watch;

pub use control::{RunControl, Want};
pub use error::TrainError;
pub use preflight::preflight;
pub use request::{Beneath, Outcome, ReadAdapter, StartFrom, TrainRequest};
pub use session::train;
pub use trained::{Trained, load_trained};
