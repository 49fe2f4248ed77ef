//! Where what other starts hand over waits until the window takes it.

use super::Handed;
use crate::client::Wake;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// Most starts that wait. A window that took none of so many is stuck, and the next start opens one of its own.
const MOST_WAITING: usize = 64;

/// A queue between the thread that listens and the window.
#[derive(Clone, Default)]
pub struct Door(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    waiting: VecDeque<Handed>,
    wake: Option<Wake>,
}

impl Door {
    /// Puts in what another start handed over, and wakes the window. `false` when the window takes nothing any more.
    #[must_use]
    pub fn put(&self, handed: Handed) -> bool {
        let mut inside = self.0.lock();
        if inside.waiting.len() >= MOST_WAITING {
            return false;
        }
        inside.waiting.push_back(handed);
        let wake = inside.wake.clone();
        drop(inside);
        if let Some(wake) = wake {
            wake();
        }
        true
    }

    /// Takes the oldest of what waits.
    #[must_use]
    pub fn take(&self) -> Option<Handed> {
        self.0.lock().waiting.pop_front()
    }

    /// Says how the window is woken, which is known when there is one.
    pub fn wake_with(&self, wake: Wake) {
        self.0.lock().wake = Some(wake);
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Door").field("waiting", &self.0.lock().waiting.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn each_wakes_the_window_and_a_window_that_takes_nothing_is_full_some_time() {
        let door = Door::default();
        assert!(door.put(Handed::default()), "before there is a window to wake");
        let woken = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&woken);
        door.wake_with(Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        }));
        let taken = (0..MOST_WAITING).filter(|_| door.put(Handed::default())).count();
        assert_eq!((taken, woken.load(Ordering::Relaxed)), (MOST_WAITING - 1, MOST_WAITING - 1));
        assert!(door.take().is_some() && door.put(Handed::default()), "there is room again");
    }
}
