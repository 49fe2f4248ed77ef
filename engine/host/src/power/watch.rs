//! The thread that looks at the power.
//!
//! Place in the data flow: started by the host where the system can be asked; ends when the host does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use temper_nn::kernels::threads::room_for;

/// It reads a few small files, or starts a program.
const STACK_BYTES: usize = 1 << 20;

/// A thread that does one thing again and again.
#[derive(Debug)]
pub(crate) struct PowerWatch {
    thread: JoinHandle<()>,
    closed: Arc<AtomicBool>,
}

impl PowerWatch {
    /// Looks at once, and then as often as said.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(every: Duration, mut look: impl FnMut() + Send + 'static) -> std::io::Result<Self> {
        let closed = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&closed);
        room_for(1, STACK_BYTES)?;
        let body = move || {
            while !until.load(Ordering::Acquire) {
                look();
                std::thread::park_timeout(every);
            }
        };
        let thread = std::thread::Builder::new().name("power".to_owned()).stack_size(STACK_BYTES).spawn(body)?;
        Ok(Self { thread, closed })
    }

    /// Ends it and waits.
    pub(crate) fn close(self) {
        self.closed.store(true, Ordering::Release);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the thread that looks at the power ended by a panic");
        }
    }
}
