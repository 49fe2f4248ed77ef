//! The thread pool: how many threads the numerics use.
//!
//! Place in the data flow: a program calls [`set_threads`] once at its start, before any arithmetic; faer,
//! candle and the kernels here then share the one global rayon pool.

use crate::{NnError, Result};

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
    fn asking_for_what_runs_is_no_error_and_for_more_is_one() {
        let running = threads();
        assert_eq!(set_threads(running).unwrap(), running);
        assert!(matches!(set_threads(running + 1), Err(NnError::Threads { .. })));
        assert_eq!(threads(), running);
    }
}
