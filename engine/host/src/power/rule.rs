//! What follows from the power for runs.
//!
//! Place in the data flow: the power thread says what the machine runs on, [`temper_protocol::Command::PauseOnBattery`] says
//! what a person wants; the runs that go on are held or let go, with a word in their events about why, on record first. The
//! hold is not the person's pause: who paused a run finds it paused when mains power is back, and who resumes a held run
//! trains on the battery until it was on mains power once.

use super::Supply;
use crate::awake::Wakeful;
use crate::outbox::Outbox;
use crate::projects::{LiveRun, Projects};
use parking_lot::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;
use temper_protocol::{Envelope, Event};
use temper_store::Store;
use temper_train::Want;

/// How long a look waits for the list of runs; the next look comes soon.
const PATIENCE: Duration = Duration::from_millis(500);
/// Codes of the two warnings.
const ON_BATTERY: &str = "on_battery";
const OFF_BATTERY: &str = "off_battery";

/// Whether a warning of this code says that a run waits on a battery, or goes on.
pub(crate) fn is_of_power(code: &str) -> bool {
    matches!(code, ON_BATTERY | OFF_BATTERY)
}

/// What the rule needs of the host.
pub(crate) struct Ground<'a> {
    pub(crate) projects: &'a Projects,
    pub(crate) outbox: &'a Outbox,
    pub(crate) wakeful: &'a Wakeful,
}

/// Whether runs wait while the machine runs on its battery, and whether it does.
#[derive(Debug, Default)]
pub(crate) struct PowerRule(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    on_battery: bool,
    /// A person said that runs shall not wait.
    trains_anyway: bool,
}

impl PowerRule {
    /// The machine runs on `supply`.
    pub(crate) fn seen(&self, supply: Option<Supply>, ground: &Ground<'_>) {
        let mut known = self.0.lock();
        known.on_battery = supply == Some(Supply::Battery);
        known.follow(ground);
    }

    /// A person says whether runs wait.
    pub(crate) fn wanted(&self, waits: bool, ground: &Ground<'_>) {
        let mut known = self.0.lock();
        known.trains_anyway = !waits;
        known.follow(ground);
    }
}

impl Known {
    /// Under the lock, so that two who know different things do not undo each other's work.
    fn follow(&self, ground: &Ground<'_>) {
        let waits = self.on_battery && !self.trains_anyway;
        for (live, store) in ground.projects.live_within(PATIENCE) {
            if live.ended.load(Ordering::Acquire) {
                continue;
            }
            if waits {
                // One that waits for its turn is held when it came, once for each time on the battery.
                if !live.figures.lock().has_begun() || live.held_for_power.swap(true, Ordering::AcqRel) {
                    continue;
                }
                // One that a person paused needs no hold; should they resume it on the battery, they mean it.
                if live.control.poll() != Want::Run {
                    continue;
                }
                let words = "this machine runs on its battery: the run waits, and goes on by itself when there is mains \
                             power again. Resume it to train on the battery this time, or switch \"pause on battery\" off";
                tell(ground.outbox, &live, &store, ON_BATTERY, words);
                live.control.hold();
                // Nothing is gained by keeping a machine awake that waits; its battery would run down.
                ground.wakeful.doze();
            } else if live.held_for_power.swap(false, Ordering::AcqRel)
                && live.control.release()
                && live.control.poll() == Want::Run
            {
                let words = if self.on_battery {
                    "runs do not wait for mains power any more: the run goes on, on the battery"
                } else {
                    "there is mains power again: the run goes on"
                };
                tell(ground.outbox, &live, &store, OFF_BATTERY, words);
                ground.wakeful.wake();
            }
        }
    }
}

/// Says why, on record first.
fn tell(outbox: &Outbox, live: &LiveRun, store: &Store, code: &str, words: &str) {
    let step = live.figures.lock().steps();
    let event = Event::Warning { code: code.to_owned(), text: words.to_owned(), step };
    if let Err(error) = store.push_event(live.run, &event).and_then(|()| store.flush()) {
        tracing::warn!(%error, "why the run waits, or goes on, is not on record");
    }
    outbox.push(Envelope { req: live.req, event });
}
