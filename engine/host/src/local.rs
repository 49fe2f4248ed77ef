//! An engine in the same process, for the command line and for tests.

use crate::host::Host;
use crate::job::Workshop;
use crate::outbox::Waker;
use crate::projects::Times;
use temper_protocol::{Command, EngineClient, Envelope, Problem, Request};

/// A [`Host`] seen as an [`EngineClient`]. Dropping it stops its runs and waits for them.
pub struct LocalClient {
    host: Host,
    next_request: u64,
}

impl LocalClient {
    /// Starts the engine of this program.
    ///
    /// # Errors
    /// A problem when it cannot start.
    pub fn start() -> Result<Self, Problem> {
        Self::with(Box::new(crate::jobs::Program::new()?), Times::default())
    }

    /// Starts an engine that does other work, such as that of a test.
    ///
    /// # Errors
    /// A problem when it cannot start.
    pub fn with(workshop: Box<dyn Workshop>, times: Times) -> Result<Self, Problem> {
        Ok(Self { host: Host::start(workshop, times)?, next_request: 0 })
    }

    /// The engine.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }
}

impl EngineClient for LocalClient {
    fn send(&mut self, command: Command) -> Result<u64, Problem> {
        self.next_request += 1;
        self.host.submit(Request { req: self.next_request, command })?;
        Ok(self.next_request)
    }

    fn drain(&mut self, into: &mut Vec<Envelope>) {
        self.host.drain(into);
    }

    fn is_alive(&self) -> bool {
        true
    }

    fn set_waker(&mut self, waker: Waker) {
        self.host.set_waker(waker);
    }
}
