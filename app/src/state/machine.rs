//! This machine in the window: what the self-test checks, and whether runs wait on a battery.
//!
//! Place in the data flow: panels and the table of commands make a [`MachineAct`], `update::machine` carries it out; what the
//! engine checked is named by words that it never changes, and said here in the person's language.

use super::settings::Settings;
use temper_protocol::Event;
use temper_protocol::event::SelfTest;

/// Something with this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineAct {
    /// Shows the self-test check by check, and the settings of the machine.
    Open,
    /// Whether runs wait while the machine is on its battery.
    PauseOnBattery(bool),
}

/// What the self-test found last.
#[must_use]
pub fn selftest(settings: &Settings) -> Option<&SelfTest> {
    match settings.machine.as_ref()?.selftest.as_ref()? {
        Event::Selftest(found) => Some(found),
        _ => None,
    }
}

/// The name of a check; one that is not known stays as it is.
#[must_use]
pub fn check_name(name: &str) -> &str {
    match name {
        "learning" => t!("home-check-learning"),
        "gradients" => t!("home-check-gradients"),
        "repeating" => t!("home-check-repeating"),
        "saving" => t!("home-check-saving"),
        "memory" => t!("home-memory"),
        "speed" => t!("home-speed"),
        other => other,
    }
}

/// What can be done about a check that failed; of one that is not known the engine's own words.
#[must_use]
pub fn check_action<'a>(name: &str, said: &'a str) -> &'a str {
    match name {
        "learning" | "gradients" => t!("home-check-wrong-do"),
        "repeating" => t!("home-check-repeating-do"),
        "saving" => t!("home-check-saving-do"),
        "memory" => t!("home-check-memory-do"),
        "speed" => t!("home-check-speed-do"),
        _ => said,
    }
}
