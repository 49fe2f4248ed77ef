//! How the trainer speaks and listens: events out, wishes in.
//!
//! Place in the data flow: everything that takes time calls [`Watch::check`] between its pieces; a pause is
//! waited for there, a stop or cancel comes back as an error that ends the piece of work at once.

use crate::control::{RunControl, Want};
use crate::error::{Result, TrainError};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Instant;
use temper_protocol::Event;

/// The trainer's end of the two lines.
pub struct Watch<'a> {
    control: &'a RunControl,
    events: SyncSender<Event>,
    run: u64,
    step: AtomicU64,
    paused_secs: Mutex<f64>,
    /// Stage and hundredths done of what was last said of the preparation.
    told: Mutex<(String, u64)>,
}

/// Parts of a stage that are told apart: a model of hundreds of tensors does not flood its listener.
const PARTS: u64 = 100;

impl<'a> Watch<'a> {
    /// A watch of run `run` that sends its events to `events`.
    #[must_use]
    pub fn new(control: &'a RunControl, events: SyncSender<Event>, run: u64) -> Self {
        Self { control, events, run, step: AtomicU64::new(0), paused_secs: Mutex::new(0.0), told: Mutex::default() }
    }

    /// The run's number.
    #[must_use]
    pub fn run(&self) -> u64 {
        self.run
    }

    /// The control block.
    #[must_use]
    pub fn control(&self) -> &RunControl {
        self.control
    }

    /// Sends an event. A listener that is gone does not stop the run.
    pub fn say(&self, event: Event) {
        if self.events.send(event).is_err() {
            tracing::debug!("nobody listens to the run");
        }
    }

    /// Sends a warning in words.
    pub fn warn(&self, code: &str, text: impl Into<String>) {
        self.say(Event::Warning { code: code.to_owned(), text: text.into(), step: self.step() });
    }

    /// Says how far a part of the preparation is: when it begins and ends and at each hundredth in between. Of what has no
    /// known end everything is said.
    pub fn preparing(&self, stage: &str, done: u64, total: u64, unit: &str) {
        let part = u128::from(done) * u128::from(PARTS) / u128::from(total.max(1));
        let part = u64::try_from(part).unwrap_or(u64::MAX);
        let mut told = self.told.lock();
        if total > 0 && told.0 == stage && told.1 == part {
            return;
        }
        *told = (stage.to_owned(), part);
        drop(told);
        self.say(Event::Preparing { run: self.run, stage: stage.to_owned(), done, total, unit: unit.to_owned() });
    }

    /// The step that events name.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.step.load(Ordering::Relaxed)
    }

    /// Sets the step that events name.
    pub fn set_step(&self, step: u64) {
        self.step.store(step, Ordering::Relaxed);
    }

    /// Waits while a pause is wanted.
    ///
    /// # Errors
    /// [`TrainError::Stopped`] or [`TrainError::Cancelled`] when that is what is wanted.
    pub fn check(&self) -> Result<()> {
        let mut want = self.control.poll();
        if want == Want::Pause {
            let (run, step, since) = (self.run, self.step(), Instant::now());
            self.say(Event::Paused { run, step });
            want = self.control.wait_while_paused();
            *self.paused_secs.lock() += since.elapsed().as_secs_f64();
            if want == Want::Run {
                self.say(Event::Resumed { run, step });
            }
        }
        match want {
            Want::Stop => Err(TrainError::Stopped),
            Want::Cancel => Err(TrainError::Cancelled),
            Want::Run | Want::Pause => Ok(()),
        }
    }

    /// Whether the work at hand should be given up, without waiting for a pause.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.control.poll() >= Want::Stop
    }

    /// Seconds spent waiting since the last call.
    pub fn take_paused_secs(&self) -> f64 {
        std::mem::take(&mut *self.paused_secs.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;
    use temper_protocol::Act;

    #[test]
    fn a_pause_is_told_waited_for_and_counted() {
        let control = RunControl::new();
        let (sender, receiver) = sync_channel(8);
        control.request(Act::Pause);
        std::thread::scope(|scope| {
            let watch = Watch::new(&control, sender, 3);
            watch.set_step(7);
            let waiting = scope.spawn(move || {
                let result = watch.check();
                (result.is_ok(), watch.take_paused_secs())
            });
            assert_eq!(receiver.recv().expect("paused"), Event::Paused { run: 3, step: 7 });
            control.request(Act::Resume);
            assert_eq!(receiver.recv().expect("resumed"), Event::Resumed { run: 3, step: 7 });
            let (went_on, paused_secs) = waiting.join().expect("no panic");
            assert!(went_on && paused_secs > 0.0);
        });
    }

    #[test]
    fn a_stage_of_many_pieces_is_told_in_hundredths_and_another_stage_at_once() {
        let control = RunControl::new();
        let (sender, receiver) = sync_channel(4096);
        let watch = Watch::new(&control, sender, 1);
        (0..=1000).for_each(|done| watch.preparing("reading", done, 1000, "bytes"));
        watch.preparing("tokenising", 0, 1000, "rows");
        (0..3).for_each(|done| watch.preparing("counting", done, 0, "rows"));
        drop(watch);
        let told: Vec<(String, u64)> = receiver
            .iter()
            .map(|event| match event {
                Event::Preparing { stage, done, .. } => (stage, done),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told.len(), 101 + 1 + 3);
        assert_eq!((told[0].1, told[100].1), (0, 1000), "its beginning and its end are said");
        assert_eq!(told[101].0, "tokenising");
    }

    #[test]
    fn stop_and_cancel_end_the_work_also_out_of_a_pause() {
        for (act, stopped) in [(Act::Stop, true), (Act::Cancel, false)] {
            let control = RunControl::new();
            control.request(Act::Pause);
            control.request(act);
            let (sender, _receiver) = sync_channel(8);
            let watch = Watch::new(&control, sender, 1);
            assert!(watch.is_ending());
            let error = watch.check().expect_err("ends");
            assert_eq!(matches!(error, TrainError::Stopped), stopped);
        }
    }
}
