//! A bounded queue between the engine's threads. Full means "busy", never waiting.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;

/// Items waiting for one thread.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
    limit: usize,
}

struct State<T> {
    items: VecDeque<T>,
    closed: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { state: Mutex::new(State { items: VecDeque::new(), closed: false }), ready: Condvar::new(), limit }
    }

    /// Adds an item; gives it back when the queue is full or closed.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.state.lock();
        if state.closed || state.items.len() >= self.limit {
            return Err(item);
        }
        state.items.push_back(item);
        self.ready.notify_one();
        Ok(())
    }

    /// Waits for the next item; none when the queue was closed and is empty.
    pub(crate) fn pop(&self) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                return Some(item);
            }
            if state.closed {
                return None;
            }
            self.ready.wait(&mut state);
        }
    }

    /// Removes the items that `wanted` picks, in order.
    pub(crate) fn take(&self, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut state = self.state.lock();
        let (taken, kept) = std::mem::take(&mut state.items).into_iter().partition(|item| wanted(item));
        state.items = kept;
        Vec::from_iter::<VecDeque<T>>(taken)
    }

    /// The item that `chosen` picks changes places with the next one that `may` picks: the one ahead of it, or the one
    /// behind. Returns whether there is one.
    pub(crate) fn change_places(&self, chosen: impl Fn(&T) -> bool, may: impl Fn(&T) -> bool, ahead: bool) -> bool {
        let items = &mut self.state.lock().items;
        let Some(at) = items.iter().position(chosen) else { return false };
        let allowed = |place: &usize| items.get(*place).is_some_and(&may);
        let other = if ahead { (0..at).rev().find(allowed) } else { (at + 1..items.len()).find(allowed) };
        other.inspect(|other| items.swap(at, *other)).is_some()
    }

    /// Looks at what waits, in order. Nothing is taken meanwhile.
    pub(crate) fn look(&self, mut each: impl FnMut(&T)) {
        self.state.lock().items.iter().for_each(&mut each);
    }

    /// Takes no more items; those that wait are still given out.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.ready.notify_all();
    }
}
