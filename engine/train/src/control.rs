//! What a run is told while it goes on, and how it hears of it in the middle of a step.
//!
//! Place in the data flow: the engine's reader thread calls [`RunControl::request`]; the training thread
//! calls [`RunControl::poll`] between micro-steps and between batches of an evaluation. Nothing is queued:
//! the block always holds the latest wish, so that a wish acts at once and never twice.

use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use temper_protocol::Act;

/// What the run should do, in rising order of finality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// Go on.
    Run,
    /// Wait until told otherwise.
    Pause,
    /// Write a checkpoint and end; the result is kept.
    Stop,
    /// End without keeping anything new.
    Cancel,
}

impl Want {
    fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Run,
            1 => Self::Pause,
            2 => Self::Stop,
            _ => Self::Cancel,
        }
    }
}

/// The control block of one run, shared between the thread that trains and the thread that listens.
///
/// [`Want::Stop`] and [`Want::Cancel`] are sticky: a late [`Act::Resume`] or [`Act::Pause`] cannot undo
/// them, and a stop can still become a cancel.
///
/// Beside the wishes of a person there is a hold, for reasons of the machine ([`RunControl::hold`]): a run that is held
/// waits like a paused one. A pause and a hold end each on their own; [`Act::Resume`] is a person's word against both.
#[derive(Debug, Default)]
pub struct RunControl {
    want: AtomicU8,
    held: AtomicBool,
    save_now: AtomicBool,
    sample_now: AtomicBool,
    gate: Mutex<()>,
    wake: Condvar,
}

impl RunControl {
    /// A block that says "go on".
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the run should do now. Never waits.
    #[must_use]
    pub fn poll(&self) -> Want {
        match Want::from_u8(self.want.load(Ordering::Acquire)) {
            Want::Run if self.held.load(Ordering::Acquire) => Want::Pause,
            want => want,
        }
    }

    /// Records a wish and wakes a waiting run.
    pub fn request(&self, act: Act) {
        let wanted = match act {
            Act::SaveNow => {
                self.save_now.store(true, Ordering::Release);
                return;
            }
            Act::SampleNow => {
                self.sample_now.store(true, Ordering::Release);
                return;
            }
            // A matter of the queue.
            Act::Sooner | Act::Later => return,
            Act::Resume => Want::Run,
            Act::Pause => Want::Pause,
            Act::Stop => Want::Stop,
            Act::Cancel => Want::Cancel,
        };
        // The gate is held while the value changes: a run about to wait has either seen the new value or
        // is already waiting when the signal comes.
        let _gate = self.gate.lock();
        if act == Act::Resume {
            self.held.store(false, Ordering::Release);
        }
        let now = self.poll();
        if now < Want::Stop || wanted > now {
            self.want.store(wanted as u8, Ordering::Release);
        }
        self.wake.notify_all();
    }

    /// Lets the run wait until [`Self::release`] or [`Act::Resume`].
    pub fn hold(&self) {
        let _gate = self.gate.lock();
        self.held.store(true, Ordering::Release);
    }

    /// Ends a hold. Returns whether there was one: somebody may have overruled it. A pause stays a pause.
    pub fn release(&self) -> bool {
        let _gate = self.gate.lock();
        let was_held = self.held.swap(false, Ordering::AcqRel);
        self.wake.notify_all();
        was_held
    }

    /// Waits as long as the wish is [`Want::Pause`], or there is a hold, and returns what came after it.
    pub fn wait_while_paused(&self) -> Want {
        let mut held = self.gate.lock();
        loop {
            let want = self.poll();
            if want != Want::Pause {
                return want;
            }
            self.wake.wait(&mut held);
        }
    }

    /// Whether a checkpoint was asked for since the last call.
    #[must_use]
    pub fn take_save_now(&self) -> bool {
        self.save_now.swap(false, Ordering::AcqRel)
    }

    /// Whether sample answers were asked for since the last call.
    #[must_use]
    pub fn take_sample_now(&self) -> bool {
        self.sample_now.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn stop_and_cancel_cannot_be_undone() {
        let control = RunControl::new();
        control.request(Act::Pause);
        assert_eq!(control.poll(), Want::Pause);
        control.request(Act::Resume);
        assert_eq!(control.poll(), Want::Run);
        control.request(Act::Stop);
        for act in [Act::Resume, Act::Pause, Act::Stop] {
            control.request(act);
            assert_eq!(control.poll(), Want::Stop, "after {act:?}");
        }
        control.request(Act::Cancel);
        control.request(Act::Stop);
        control.request(Act::Resume);
        assert_eq!(control.poll(), Want::Cancel);
    }

    #[test]
    fn flags_are_taken_once() {
        let control = RunControl::new();
        assert!(!control.take_save_now() && !control.take_sample_now());
        control.request(Act::SaveNow);
        control.request(Act::SaveNow);
        control.request(Act::SampleNow);
        assert_eq!(control.poll(), Want::Run, "flags do not change the wish");
        assert!(control.take_save_now() && control.take_sample_now());
        assert!(!control.take_save_now() && !control.take_sample_now());
    }

    #[test]
    fn a_paused_run_wakes_on_resume_and_on_stop() {
        for (act, expected) in [(Act::Resume, Want::Run), (Act::Stop, Want::Stop), (Act::Cancel, Want::Cancel)] {
            let control = Arc::new(RunControl::new());
            control.request(Act::Pause);
            let waiting = Arc::clone(&control);
            let thread = std::thread::Builder::new()
                .name("waits".to_owned())
                .spawn(move || waiting.wait_while_paused())
                .expect("thread");
            control.request(act);
            assert_eq!(thread.join().expect("no panic"), expected);
        }
    }

    #[test]
    fn a_hold_and_a_pause_end_each_on_their_own_and_resume_ends_both() {
        let control = RunControl::new();
        control.hold();
        assert_eq!(control.poll(), Want::Pause);
        control.request(Act::Pause);
        assert!(control.release(), "it was held");
        assert_eq!(control.poll(), Want::Pause, "a person paused it as well");
        control.hold();
        control.request(Act::Resume);
        assert_eq!(control.poll(), Want::Run, "a person's word against both");
        assert!(!control.release(), "somebody had overruled the hold");
        control.hold();
        control.request(Act::Stop);
        assert_eq!(control.wait_while_paused(), Want::Stop, "a held run can be stopped");
    }

    #[test]
    fn a_held_run_wakes_when_it_is_released() {
        let control = Arc::new(RunControl::new());
        control.hold();
        let waiting = Arc::clone(&control);
        let thread = std::thread::Builder::new()
            .name("waits".to_owned())
            .spawn(move || waiting.wait_while_paused())
            .expect("thread");
        assert!(control.release());
        assert_eq!(thread.join().expect("no panic"), Want::Run);
    }

    #[test]
    fn a_run_that_is_not_paused_does_not_wait() {
        assert_eq!(RunControl::new().wait_while_paused(), Want::Run);
    }
}
