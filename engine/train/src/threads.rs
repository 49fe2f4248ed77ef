//! The threads of a run: a pool of its own for the numerics, and the thread that hands its events on.

use crate::control::RunControl;
use crate::error::Result;
use crate::watch::Watch;
use std::sync::mpsc::sync_channel;
use temper_nn::kernels::memory::KeepFreed;
use temper_nn::kernels::threads::room_for;
use temper_protocol::{Act, Code, Event, Problem};

/// Events that may wait for the listener.
const QUEUE: usize = 256;
/// Stack of a numeric thread: candle walks graphs recursively.
const STACK_BYTES: usize = 64 << 20;

/// Threads for a run. `wanted` 0 means the physical cores less one for the window, but two where there are
/// two: a run on one thread of a small machine would take twice as long for the sake of a window that is
/// idle most of the time.
#[must_use]
pub fn threads_for(wanted: usize) -> usize {
    let logical = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if wanted > 0 {
        return wanted;
    }
    let physical = sysinfo::System::physical_core_count().unwrap_or(logical).min(logical);
    physical.saturating_sub(1).max(2.min(logical)).max(1)
}

/// Cancels the run when the listener panics: nobody would hear of it any more.
struct CancelOnPanic<'a>(&'a RunControl);

impl Drop for CancelOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.request(Act::Cancel);
        }
    }
}

/// Runs `work` on a pool of `threads` threads while the calling thread hands events to `emit`. A panic in
/// `work` goes on in the caller.
///
/// # Errors
/// What `work` says; the system gives no threads.
pub(crate) fn on_pool<T: Send>(
    run: u64,
    threads: usize,
    control: &RunControl,
    emit: &mut dyn FnMut(Event),
    work: impl FnOnce(&Watch<'_>) -> Result<T> + Send,
) -> Result<T> {
    let no_threads = |error: &dyn std::fmt::Display| {
        let what = format!("the system gives no threads for the run, or no memory for them: {error}");
        Problem::new(Code::OutOfMemory, what, format!("run {run}"), "close other programs, or set train.threads lower")
    };
    // One more for the one that `work` starts on.
    room_for(threads + 1, STACK_BYTES).map_err(|error| no_threads(&error))?;
    let _keep = KeepFreed::begin();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .stack_size(STACK_BYTES)
        .thread_name(|index| format!("temper-train-{index}"))
        .build()
        .map_err(|error| no_threads(&error))?;
    let (sender, receiver) = sync_channel(QUEUE);
    std::thread::scope(|scope| {
        let inside = move || {
            let watch = Watch::new(control, sender, run);
            pool.install(|| work(&watch))
        };
        let worker = std::thread::Builder::new()
            .name("temper-train".to_owned())
            .spawn_scoped(scope, inside)
            .map_err(|error| no_threads(&error))?;
        let _guard = CancelOnPanic(control);
        for event in receiver {
            emit(event);
        }
        match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_arrive_in_order_and_the_pool_has_its_size() {
        let control = RunControl::new();
        let mut heard = Vec::new();
        let threads = on_pool(4, 3, &control, &mut |event| heard.push(event), |watch| {
            for step in 0..1000 {
                watch.set_step(step);
                watch.warn("test", "text");
            }
            Ok(rayon::current_num_threads())
        });
        assert_eq!(threads.expect("runs"), 3);
        assert_eq!(heard.len(), 1000);
        let in_order =
            heard.iter().zip(0..).all(|(event, at)| matches!(event, Event::Warning { step, .. } if *step == at));
        assert!(in_order);
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        let control = RunControl::new();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            on_pool(1, 1, &control, &mut |_| (), |_| -> Result<()> { panic!("broken") })
        }));
        let panic = caught.expect_err("panics");
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"broken"));
    }

    #[test]
    fn there_is_always_a_thread() {
        assert_eq!(threads_for(5), 5);
        assert!(threads_for(0) >= 1);
    }
}
