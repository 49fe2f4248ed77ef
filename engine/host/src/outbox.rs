//! What the engine has said and nobody has read yet: two lanes, so that a listener that sleeps neither
//! stalls a run nor loses anything that matters.
//!
//! Place in the data flow: jobs push events, a client drains them in the order they were made. Numbers of
//! single steps are in the run store anyway: when more of them wait than is reasonable, the oldest go, and
//! the listener hears how many. Everything else waits as long as it must.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use temper_protocol::{Envelope, Event};

/// Called after something has arrived; must not block.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// Measurements that may wait: about ten megabytes.
const MEASUREMENT_LIMIT: usize = 65_536;

/// Events on their way to a listener.
pub(crate) struct Outbox {
    lanes: Mutex<Lanes>,
    arrived: Condvar,
    waker: Mutex<Option<Waker>>,
    measurement_limit: usize,
}

#[derive(Default)]
struct Lanes {
    /// Number of the next event, so that two lanes read as one sequence.
    next: u64,
    news: VecDeque<(u64, Envelope)>,
    measurements: VecDeque<(u64, Envelope)>,
    /// Measurements that were dropped since the last drain, and the request of the newest.
    dropped: u64,
    dropped_req: u64,
    closed: bool,
}

/// Numbers of a step: in the run store, and many.
pub(crate) fn is_measurement(event: &Event) -> bool {
    matches!(event, Event::Step { .. } | Event::Phases { .. } | Event::Rank { .. })
}

/// Whether `now` says all that `before` said: the state of the same thing, later.
fn supersedes(before: &Envelope, now: &Envelope) -> bool {
    if before.req != now.req {
        return false;
    }
    match (&before.event, &now.event) {
        (Event::Progress { stage: before, unit: unit_before, .. }, Event::Progress { stage: now, unit, .. }) => {
            before == now && unit_before == unit
        }
        (Event::Preparing { stage: before, run: run_before, .. }, Event::Preparing { stage: now, run, .. }) => {
            before == now && run_before == run
        }
        (Event::Text { source: before, stop_reason, .. }, Event::Text { source: now, .. }) => {
            before == now && stop_reason.is_empty()
        }
        _ => false,
    }
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self::with_limit(MEASUREMENT_LIMIT)
    }

    pub(crate) fn with_limit(measurement_limit: usize) -> Self {
        Self {
            lanes: Mutex::new(Lanes::default()),
            arrived: Condvar::new(),
            waker: Mutex::new(None),
            measurement_limit,
        }
    }

    /// Sets who is told that something has arrived.
    pub(crate) fn set_waker(&self, waker: Waker) {
        *self.waker.lock() = Some(waker);
    }

    /// Takes an event. Never blocks on the listener.
    pub(crate) fn push(&self, envelope: Envelope) {
        {
            let mut lanes = self.lanes.lock();
            let number = lanes.next;
            lanes.next += 1;
            if is_measurement(&envelope.event) {
                if lanes.measurements.len() >= self.measurement_limit
                    && let Some((_, oldest)) = lanes.measurements.pop_front()
                {
                    lanes.dropped += 1;
                    lanes.dropped_req = oldest.req;
                }
                lanes.measurements.push_back((number, envelope));
            } else {
                match lanes.news.back_mut() {
                    Some((_, last)) if supersedes(last, &envelope) => *last = envelope,
                    _ => lanes.news.push_back((number, envelope)),
                }
            }
            self.arrived.notify_all();
        }
        let waker = self.waker.lock().clone();
        if let Some(waker) = waker {
            waker();
        }
    }

    /// Moves everything that waits to the end of `into`, in the order it was pushed. Says first how many
    /// measurements were dropped.
    pub(crate) fn drain(&self, into: &mut Vec<Envelope>) {
        let mut lanes = self.lanes.lock();
        if lanes.dropped > 0 {
            let text = format!(
                "{} measurements of steps were not shown because nobody read them in time; the run store has all of them",
                lanes.dropped
            );
            let event = Event::Warning { code: "measurements_not_shown".to_owned(), text, step: 0 };
            into.push(Envelope { req: lanes.dropped_req, event });
            lanes.dropped = 0;
        }
        loop {
            let news = lanes.news.front().map(|(number, _)| *number);
            let measurement = lanes.measurements.front().map(|(number, _)| *number);
            let lane = match (news, measurement) {
                (Some(news), Some(measurement)) if measurement < news => &mut lanes.measurements,
                (None, Some(_)) => &mut lanes.measurements,
                _ => &mut lanes.news,
            };
            match lane.pop_front() {
                Some((_, envelope)) => into.push(envelope),
                None => return,
            }
        }
    }

    /// Waits until something has arrived, the outbox is closed or `longest` has passed. Returns false when
    /// it is closed and empty: nothing will ever come.
    pub(crate) fn wait(&self, longest: Duration) -> bool {
        let mut lanes = self.lanes.lock();
        if lanes.news.is_empty() && lanes.measurements.is_empty() {
            if lanes.closed {
                return false;
            }
            let _timed_out = self.arrived.wait_for(&mut lanes, longest);
        }
        true
    }

    /// Says that nothing more will be pushed.
    pub(crate) fn close(&self) {
        self.lanes.lock().closed = true;
        self.arrived.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64) -> Envelope {
        let event = Event::Step {
            step,
            max_steps: 0,
            train_loss: 0.0,
            lr: 0.0,
            grad_norm: 0.0,
            tokens_per_sec: 0.0,
            trained_tokens: 0,
            rss_mib: 0.0,
        };
        Envelope { req: 3, event }
    }

    fn checkpoint(step: u64) -> Envelope {
        Envelope { req: 3, event: Event::Checkpoint { step, path: "c".into(), bytes: 1 } }
    }

    #[test]
    fn a_listener_that_sleeps_loses_old_measurements_and_nothing_else() {
        let outbox = Outbox::with_limit(100);
        for number in 1..=10_000 {
            outbox.push(step(number));
            if number % 10 == 0 {
                outbox.push(checkpoint(number));
            }
        }
        let mut read = Vec::new();
        outbox.drain(&mut read);
        assert_eq!(read.iter().filter(|envelope| matches!(envelope.event, Event::Checkpoint { .. })).count(), 1000);
        let steps: Vec<u64> = read
            .iter()
            .filter_map(|envelope| match envelope.event {
                Event::Step { step, .. } => Some(step),
                _ => None,
            })
            .collect();
        assert_eq!(steps, (9901..=10_000).collect::<Vec<_>>());
        match &read[0] {
            Envelope { req: 3, event: Event::Warning { text, .. } } => assert!(text.starts_with("9900 "), "{text}"),
            other => panic!("the gap is not said: {other:?}"),
        }
        // The order of the two lanes is that of the pushes.
        let at = read.iter().position(|envelope| *envelope == checkpoint(9950)).expect("checkpoint");
        assert_eq!((&read[at - 1], &read[at + 1]), (&step(9950), &step(9951)));
        read.clear();
        outbox.drain(&mut read);
        assert!(read.is_empty(), "everything is said once");
    }

    #[test]
    fn progress_of_the_same_thing_is_said_once() {
        let outbox = Outbox::new();
        let progress = |done, stage: &str| Envelope {
            req: 1,
            event: Event::Progress { done, total: 9, unit: "tensors".to_owned(), stage: stage.to_owned() },
        };
        for done in 0..9 {
            outbox.push(progress(done, "writing"));
        }
        outbox.push(progress(1, "comparing"));
        let mut read = Vec::new();
        outbox.drain(&mut read);
        assert_eq!(read, [progress(8, "writing"), progress(1, "comparing")]);
    }

    #[test]
    fn a_closed_outbox_gives_what_it_holds_and_then_ends() {
        let outbox = Outbox::new();
        outbox.push(checkpoint(1));
        outbox.close();
        assert!(outbox.wait(Duration::ZERO));
        let mut read = Vec::new();
        outbox.drain(&mut read);
        assert_eq!(read.len(), 1);
        assert!(!outbox.wait(Duration::from_secs(3600)));
    }
}
