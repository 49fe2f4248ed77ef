//! How the window, the command line and the tests talk to an engine, whether it is a child process or
//! lives in the same one.

use crate::{Command, Event};
use serde::{Deserialize, Serialize};

/// A command with the number that its answers will carry. One JSON line towards the engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the sender; answers repeat it.
    pub req: u64,
    /// The command.
    #[serde(flatten)]
    pub command: Command,
}

/// An event with the number of the request it answers. One JSON line from the engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Request answered; 0 for what nobody asked for.
    #[serde(default)]
    pub req: u64,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// An engine as its user sees it. No method blocks.
pub trait EngineClient: Send {
    /// Sends a command and returns the number that its answers carry.
    ///
    /// # Errors
    /// A problem when the engine is gone or its queue is full.
    fn send(&mut self, command: Command) -> Result<u64, crate::Problem>;

    /// Moves what has arrived since the last call to the end of `into`.
    fn drain(&mut self, into: &mut Vec<Envelope>);

    /// Whether the engine can still answer.
    fn is_alive(&self) -> bool;

    /// Installs what is called, from another thread, whenever something has arrived.
    fn set_waker(&mut self, wake: std::sync::Arc<dyn Fn() + Send + Sync>);
}

impl Event {
    /// Whether this ends a request.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Done {} | Self::Error(_))
    }
}
