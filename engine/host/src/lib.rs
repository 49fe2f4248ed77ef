//! The engine process: queue, run control, panic barrier, and the client that drives it in process.
//!
//! Place in the data flow: the window starts the engine as a child process ([`engine_main`]) and the
//! command line starts it in its own ([`LocalClient`]); both speak the protocol's commands and events.
//! [`Host`] does one heavy thing at a time, [`jobs`] knows what each command means, [`builtin`] gives the
//! bundled model, data and probe sets as files.
//!
//! Where to look: who waits for whom is in [`mod@host`]; what reaches a listener in `outbox`; how a run is
//! written down before it is spoken of in `run`; locks, heartbeat and commands through the database in
//! `projects`; why a run waits on a battery in [`power`].

mod awake;
pub mod builtin;
mod embedded;
pub mod engine;
pub mod host;
pub mod job;
pub mod jobs;
mod local;
pub mod memory;
mod names;
mod open;
mod outbox;
pub mod power;
mod projects;
mod queue;
mod refusals;
mod run;
#[cfg(windows)]
mod windows;

pub use engine::{engine_main, serve};
pub use host::Host;
pub use job::{Job, JobContext, PlannedRun, RunAgain, RunJob, RunPlace, Work, Workshop};
pub use jobs::Program;
pub use local::LocalClient;
pub use outbox::Waker;
pub use power::{Power, Supply};
pub use projects::Times;
