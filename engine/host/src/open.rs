//! The requests that are not over, and the flags by which they are cancelled.
//!
//! Place in the data flow: [`crate::host::Host`] opens a request when it comes in and closes it when everything about it
//! was said; whoever does the work reads the flag.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use temper_protocol::Command;

/// A request that is not over.
struct Open {
    cancelled: Arc<AtomicBool>,
    is_question: bool,
}

/// All of them, by number.
#[derive(Default)]
pub(crate) struct OpenRequests(Mutex<BTreeMap<u64, Open>>);

impl OpenRequests {
    /// Opens a request.
    pub(crate) fn open(&self, req: u64, command: &Command) {
        self.0.lock().insert(req, Open { cancelled: Arc::default(), is_question: command.is_question() });
    }

    /// It is over.
    pub(crate) fn close(&self, req: u64) {
        self.0.lock().remove(&req);
    }

    /// Its flag, while it is not over.
    pub(crate) fn flag(&self, req: u64) -> Option<Arc<AtomicBool>> {
        self.0.lock().get(&req).map(|open| Arc::clone(&open.cancelled))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Everything is over, after `each` was told of it; false when the lock is not to be had within `patience`. Takes no
    /// memory of its own.
    pub(crate) fn close_all_within(&self, patience: Duration, each: impl FnMut(u64)) -> bool {
        let Some(mut open) = self.0.try_lock_for(patience) else { return false };
        open.keys().copied().for_each(each);
        open.clear();
        true
    }

    /// Cancels everything.
    pub(crate) fn cancel_all(&self) {
        self.cancel(|_| true);
    }

    /// Cancels what nobody has anything of who does not hear the answer.
    pub(crate) fn cancel_questions(&self) {
        self.cancel(|open| open.is_question);
    }

    fn cancel(&self, which: impl Fn(&Open) -> bool) {
        for open in self.0.lock().values().filter(|open| which(open)) {
            open.cancelled.store(true, Ordering::Release);
        }
    }
}
