//! When the system gives no more memory: a word about it, and an orderly end, instead of an abort.
//!
//! Place in the data flow: the program installs [`Allocator`]; a [`crate::Host`] keeps a thread here that does nothing
//! until an allocation fails. The thread that asked for memory then waits inside the allocator for good (Rust does not
//! let an allocator unwind), the reserve is given back, and the host says how every request ended, on record first.
//! The process ends by itself after that; if it cannot, the allocation fails as it always did: by an abort.
//!
//! A system that hands out memory it does not have and kills processes later (Linux without limits) gives no such
//! moment. For that there is a warning when little is free (100 MiB), which tells the next engine why the run
//! was interrupted.

use parking_lot::Mutex;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;
use temper_protocol::{Code, Problem};

/// Free memory below which a run warns, MiB.
pub(crate) const LOW_MIB: f64 = 100.0;
/// What the host needs to write a run's end and to say it, given back when memory runs out.
const RESERVE_BYTES: usize = 8 << 20;
/// How long the thread that got no memory waits for the host to say so, and then for the process to end.
const PATIENCE_TO_SAY: Duration = Duration::from_secs(5);
const PATIENCE_TO_END: Duration = Duration::from_secs(30);
const NAP: Duration = Duration::from_millis(10);
/// How often the lock on the watching thread is tried: it is held for an instant only.
const TRIES: usize = 100;

/// Bytes of the allocation that failed first; 0 while all is well.
static SHORTAGE: AtomicUsize = AtomicUsize::new(0);
/// Whether everything that was to be said has been said.
static SAID: AtomicBool = AtomicBool::new(false);
static WATCHER: Mutex<Option<Thread>> = Mutex::new(None);
static RESERVE: Mutex<Option<Vec<u8>>> = Mutex::new(None);

thread_local! {
    /// Whether this thread deals with the shortage, and must not wait for itself.
    static DEALS_WITH_IT: Cell<bool> = const { Cell::new(false) };
}

/// To be called first in the program, before it starts a thread; see [`temper_nn::kernels::memory::one_heap`].
pub fn one_heap() {
    temper_nn::kernels::memory::one_heap();
}

/// The system's allocator, with an orderly end when it has nothing more to give. For `#[global_allocator]`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allocator;

#[expect(unsafe_code, reason = "there is no safe way to be an allocator")]
// SAFETY: every call goes to the system's allocator with the arguments it came with, and what that returns is returned.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract, which is the same.
        let given = unsafe { System.alloc(layout) };
        if given.is_null() {
            wait_for_the_end(layout.size());
        }
        given
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above; the block came from the system's allocator.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let given = unsafe { System.alloc_zeroed(layout) };
        if given.is_null() {
            wait_for_the_end(layout.size());
        }
        given
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: as above; the block came from the system's allocator.
        let given = unsafe { System.realloc(block, layout, bytes) };
        if given.is_null() {
            wait_for_the_end(bytes);
        }
        given
    }
}

/// Wakes the watching thread and waits; returns when there is none, or when it did not manage. Allocates nothing.
#[cold]
#[inline(never)]
fn wait_for_the_end(bytes: usize) {
    if DEALS_WITH_IT.get() {
        return;
    }
    let watcher = (0..TRIES).find_map(|_try| {
        let held = WATCHER.try_lock();
        if held.is_none() {
            std::thread::sleep(NAP / 10);
        }
        held
    });
    let Some(thread) = watcher.as_ref().and_then(|held| held.as_ref()) else { return };
    let _first = SHORTAGE.compare_exchange(0, bytes.max(1), Ordering::AcqRel, Ordering::Acquire);
    thread.unpark();
    drop(watcher);
    let mut waited = Duration::ZERO;
    while waited < PATIENCE_TO_SAY || (SAID.load(Ordering::Acquire) && waited < PATIENCE_TO_END) {
        std::thread::sleep(NAP);
        waited += NAP;
    }
}

/// Waits on this thread until an allocation fails, and returns its size in bytes; `None` as soon as `closed`, for which
/// the thread must be unparked.
pub(crate) fn wait_for_shortage(closed: &AtomicBool) -> Option<usize> {
    let mut reserve = Vec::new();
    // Without it there is less room to say it in; the attempt is worth making all the same.
    if reserve.try_reserve_exact(RESERVE_BYTES).is_ok() {
        *RESERVE.lock() = Some(reserve);
    }
    let here = std::thread::current();
    *WATCHER.lock() = Some(here.clone());
    loop {
        let bytes = SHORTAGE.load(Ordering::Acquire);
        if bytes > 0 {
            DEALS_WITH_IT.set(true);
            *RESERVE.lock() = None;
            return Some(bytes);
        }
        if closed.load(Ordering::Acquire) {
            let mut watcher = WATCHER.lock();
            // A later host of this process may have taken over.
            if watcher.as_ref().is_some_and(|thread| thread.id() == here.id()) {
                *watcher = None;
            }
            return None;
        }
        std::thread::park();
    }
}

/// Says that everything has been said.
pub(crate) fn said() {
    SAID.store(true, Ordering::Release);
}

/// Whether memory has run out: some thread of this process waits for its end and will never answer.
pub(crate) fn ran_out() -> bool {
    SHORTAGE.load(Ordering::Acquire) > 0
}

/// The problem of whoever was at work when `bytes` more could not be had.
pub(crate) fn problem(bytes: usize, doing: &str, place: impl Into<String>, action: &str) -> Problem {
    let (holds, free) = (temper_train::meter::resident_mib(), temper_train::meter::free_memory_mib());
    let asked = if bytes < 1 << 20 { format!("{bytes} bytes") } else { format!("{} MiB", bytes >> 20) };
    let what = format!(
        "memory ran out while {doing}: the system refused {asked} more, with {holds:.0} MiB in use and {free:.0} MiB free"
    );
    Problem::new(Code::OutOfMemory, what, place, action)
}

/// What a run says when little memory is left.
pub(crate) fn low(free_mib: f64) -> String {
    format!(
        "only {free_mib:.0} MiB of memory are free: the system may end this run at any moment. Close other programs, or \
         stop the run and lower train.batch or data.max_tokens; its checkpoints are kept"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_problem_names_amount_place_and_a_way_out() {
        let problem = problem(64 << 20, "training step 7", "run 3", "close other programs");
        assert_eq!(problem.code, Code::OutOfMemory);
        assert!(problem.what.contains("64 MiB") && problem.what.contains("training step 7"), "{problem}");
        assert!(super::problem(100, "x", "y", "z").what.contains("100 bytes"));
    }

    #[test]
    fn a_watch_ends_when_it_is_closed() {
        let closed = AtomicBool::new(true);
        assert_eq!(wait_for_shortage(&closed), None);
    }
}
