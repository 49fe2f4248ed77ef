//! The thread pool: how many threads the numerics use.
//!
//! Place in the data flow: a program calls [`set_threads`] once at its start, before any arithmetic; faer,
//! candle and the kernels here then share the one global rayon pool.

use crate::{NnError, Result};
use memmap2::MmapOptions;

/// Address space that a thread takes beside its stack while it starts (guard pages, its signals' stack, its heap), bytes.
const BESIDE_STACK_BYTES: usize = 2 << 20;
/// What must be free beside all of that, bytes: the C library's heap grows by up to 1 MiB where it is short of room.
const MARGIN_BYTES: usize = 16 << 20;

/// Sees whether the system would give `count` threads of `stack_bytes` what they need to begin. To be asked before they
/// are started: a thread that is short of memory before its first line of ours ends the whole process, without a word.
///
/// # Errors
/// What the system says when it has less.
pub fn room_for(count: usize, stack_bytes: usize) -> std::io::Result<()> {
    let each = stack_bytes.saturating_add(BESIDE_STACK_BYTES);
    let bytes = count.saturating_mul(each).saturating_add(MARGIN_BYTES);
    // Reserved and given back: nothing is written to it, so that it costs no memory.
    MmapOptions::new().len(bytes).map_anon().map(drop)
}

/// Starts the global pool with `count` threads; 0 means one per core. Calling it again with the same number
/// changes nothing.
///
/// # Errors
/// [`NnError::Threads`] when the pool already runs another number of threads.
pub fn set_threads(count: usize) -> Result<usize> {
    let wanted = if count == 0 { available_cores() } else { count };
    let built = rayon::ThreadPoolBuilder::new()
        .num_threads(wanted)
        .thread_name(|index| format!("numerics-{index}"))
        .build_global();
    let running = threads();
    if built.is_err() && running != wanted {
        return Err(NnError::Threads { running, wanted });
    }
    Ok(running)
}

/// How many threads the pool has; starts it with one per core when it is not running.
#[must_use]
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Cores this process may use.
#[must_use]
pub fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_some_threads_and_not_for_any_number() {
        room_for(4, 2 << 20).unwrap();
        assert!(room_for(1 << 20, 1 << 40).is_err());
        assert!(room_for(usize::MAX, usize::MAX).is_err());
    }

    #[test]
    fn asking_for_what_runs_is_no_error_and_for_more_is_one() {
        let running = threads();
        assert_eq!(set_threads(running).unwrap(), running);
        assert!(matches!(set_threads(running + 1), Err(NnError::Threads { .. })));
        assert_eq!(threads(), running);
    }
}
