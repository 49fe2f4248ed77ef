//! What the window knows about runs: read from the project's store on a thread of its own.
//!
//! Place in the data flow: the engine writes `temper.db`; a named thread here owns the reading end,
//! notices changes twice a second while something runs, and publishes immutable [`RunsSnapshot`]s. The UI
//! thread asks with a [`ViewRequest`] and takes the newest snapshot; it never touches a disk or waits. Long series stay
//! here, in [`pyramid`]s that grow with the run: a snapshot holds about two points for each pixel of a plot.

pub mod beside;
pub mod checks;
pub mod compared;
pub mod curves;
pub mod events;
pub mod experts;
pub mod forgetting;
pub mod pyramid;
pub mod ranks;
pub mod snapshot;
pub mod thread;
pub mod tracks;
pub mod view;
pub mod words;

pub use beside::BesideRun;
pub use compared::{CompareRequest, ComparedRun};
pub use forgetting::{Measured, Verdict};
pub use snapshot::{RunView, RunsSnapshot, ViewRequest, XAxis};
pub use thread::StoreReader;

use std::sync::Arc;
use temper_protocol::Command;

/// Where snapshots come from: the store, or a script in tests.
pub trait RunSource: Send {
    /// Says what the window wants to see from now on.
    fn look(&mut self, request: ViewRequest);
    /// Says that something has probably changed.
    fn nudge(&mut self);
    /// The newest snapshot, if there is one that was not taken yet.
    fn latest(&mut self) -> Option<Arc<RunsSnapshot>>;
    /// Steers a run that another process trains, through the store.
    fn steer(&mut self, command: Command);
}
