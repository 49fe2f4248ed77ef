//! Batches made ahead of time on a thread of their own.

use super::{Batch, Cursor, Loader};
use crate::DataError;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

/// A loader on its own thread with a bounded queue. The cursor says what was consumed, not what was made
/// ahead, so that a checkpoint loses nothing.
#[derive(Debug)]
pub struct Prefetcher {
    queue: Option<Receiver<(Batch, Cursor)>>,
    worker: Option<JoinHandle<Loader>>,
    consumed: Cursor,
    depth: usize,
}

impl Prefetcher {
    /// Starts making batches, at most `depth` (1 to 8, usually 2 to 4) ahead.
    ///
    /// # Errors
    /// [`DataError::Internal`] when the system gives no thread.
    pub fn spawn(loader: Loader, depth: usize) -> Result<Self, DataError> {
        let depth = depth.clamp(1, 8);
        let consumed = loader.cursor();
        let (sender, queue) = sync_channel(depth);
        let worker = Builder::new()
            .name("temper-batches".to_owned())
            .spawn(move || work(loader, &sender))
            .map_err(|error| DataError::Internal(format!("no thread for batches: {error}")))?;
        Ok(Self { queue: Some(queue), worker: Some(worker), consumed, depth })
    }

    /// The next batch.
    ///
    /// # Errors
    /// [`DataError::Internal`] when the thread died.
    pub fn next_batch(&mut self) -> Result<Batch, DataError> {
        let received = self.queue.as_ref().and_then(|queue| queue.recv().ok());
        let (batch, cursor) = received.ok_or_else(|| DataError::Internal("the thread for batches died".to_owned()))?;
        self.consumed = cursor;
        Ok(batch)
    }

    /// The place behind the last batch that was consumed.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.consumed
    }

    /// Goes to another place; batches made ahead are dropped.
    ///
    /// # Errors
    /// As [`Loader::seek`], or [`DataError::Internal`] when the thread died.
    pub fn seek(&mut self, cursor: Cursor) -> Result<(), DataError> {
        let mut loader = self.take_loader()?;
        let moved = loader.seek(cursor);
        if moved.is_err() {
            // The stream goes on where it was.
            loader.seek(self.consumed)?;
        }
        *self = Self::spawn(loader, self.depth)?;
        moved
    }

    /// Ends the thread and returns the loader at the place that was consumed.
    ///
    /// # Errors
    /// [`DataError::Internal`] when the thread died.
    pub fn stop(mut self) -> Result<Loader, DataError> {
        let mut loader = self.take_loader()?;
        loader.seek(self.consumed)?;
        Ok(loader)
    }

    fn take_loader(&mut self) -> Result<Loader, DataError> {
        // Without a receiver the worker's next send fails and it returns.
        self.queue = None;
        let worker = self.worker.take().and_then(|worker| worker.join().ok());
        worker.ok_or_else(|| DataError::Internal("the thread for batches died".to_owned()))
    }
}

impl Drop for Prefetcher {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(worker) = self.worker.take() {
            // A panic in the worker was reported by next_batch already.
            let _joined = worker.join();
        }
    }
}

fn work(mut loader: Loader, queue: &SyncSender<(Batch, Cursor)>) -> Loader {
    loop {
        let batch = loader.next_batch();
        if queue.send((batch, loader.cursor())).is_err() {
            return loader;
        }
    }
}
