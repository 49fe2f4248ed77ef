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

use mimalloc::MiMalloc;
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

/// To be called by a process that opens a window; see [`temper_nn::kernels::memory::keep_frames`].
pub fn keep_frames() {
    temper_nn::kernels::memory::keep_frames();
}

/// Blocks from this size on are tensors and buffers of files. They stay with the system's allocator, which the trainer
/// tells to keep what is freed: a step then asks the system for no page. Smaller ones come by the million from every
/// thread at once (tokenising, JSON), where that allocator's single heap lets one thread through at a time.
const LARGE_BYTES: usize = 64 << 10;

/// Two allocators, one for small and one for large blocks, with an orderly end when they have nothing more to give. For
/// `#[global_allocator]`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allocator;

/// Where blocks of `bytes` live. Who gives a block back names the size it was asked for with, so the answer is the same.
fn heap_of(bytes: usize) -> &'static dyn GlobalAlloc {
    if bytes < LARGE_BYTES { &MiMalloc } else { &System }
}

#[expect(unsafe_code, reason = "there is no safe way to be an allocator")]
// SAFETY: every call goes to one of two allocators with the arguments it came with, and what that returns is returned; a
// block goes back to the one it came from, because its size decides. A block that grows or shrinks past the limit is
// copied as far as both have room and given back once.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract, which is the same.
        let given = unsafe { heap_of(layout.size()).alloc(layout) };
        if given.is_null() {
            wait_for_the_end(layout.size());
        }
        given
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above; the block came from the heap of its size.
        unsafe { heap_of(layout.size()).dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let given = unsafe { heap_of(layout.size()).alloc_zeroed(layout) };
        if given.is_null() {
            wait_for_the_end(layout.size());
        }
        given
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let stays = (layout.size() < LARGE_BYTES) == (bytes < LARGE_BYTES);
        // SAFETY: as above; a block that moves is as large as its layout says and the new one as large as asked, and they
        // do not overlap. The alignment is one that a layout had already, and `bytes` is below isize::MAX by contract.
        unsafe {
            if stays {
                let given = heap_of(bytes).realloc(block, layout, bytes);
                if given.is_null() {
                    wait_for_the_end(bytes);
                }
                return given;
            }
            let given = self.alloc(Layout::from_size_align_unchecked(bytes, layout.align()));
            if !given.is_null() {
                std::ptr::copy_nonoverlapping(block, given, layout.size().min(bytes));
                self.dealloc(block, layout);
            }
            given
        }
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
    #[expect(unsafe_code, reason = "an allocator is used by hand")]
    fn a_block_that_outgrows_the_small_heap_and_shrinks_back_keeps_what_it_holds() {
        let sizes = [100, LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1, 40 * LARGE_BYTES, LARGE_BYTES, 64, 1];
        for align in [1, 16, 64, 4096] {
            let mut layout = Layout::from_size_align(sizes[0], align).unwrap();
            // SAFETY: every layout is the one the block was last asked for with; only its first 64 bytes are touched,
            // and no more of them than it has.
            unsafe {
                let mut block = Allocator.alloc_zeroed(layout);
                assert_eq!(std::slice::from_raw_parts(block, sizes[0]), [0; 100]);
                (0..64).for_each(|index| block.add(index).write(index as u8 + 1));
                for &bytes in &sizes[1..] {
                    block = Allocator.realloc(block, layout, bytes);
                    layout = Layout::from_size_align(bytes, align).unwrap();
                    assert_eq!(block.align_offset(align), 0, "{bytes} by {align}");
                    let held = std::slice::from_raw_parts(block, bytes.min(64));
                    assert!(
                        held.iter().zip(1..).all(|(&byte, expected)| byte == expected),
                        "{bytes} by {align}: {held:?}"
                    );
                }
                Allocator.dealloc(block, layout);
            }
        }
    }

    #[test]
    fn a_watch_ends_when_it_is_closed() {
        let closed = AtomicBool::new(true);
        assert_eq!(wait_for_shortage(&closed), None);
    }
}
