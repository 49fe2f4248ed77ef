//! What this machine runs on, and what follows for runs: they wait while it is the battery.
//!
//! Place in the data flow: a thread of the host asks a [`Power`] every few seconds and hands the answer to a `PowerRule`,
//! which holds the runs that go on and lets them go when there is mains power again. Triggers of training count steps; this
//! is no trigger of training: power comes and goes by the clock of the world outside.

mod folder;
mod rule;
mod watch;

pub use folder::SupplyFolder;
pub(crate) use rule::{Ground, PowerRule, is_of_power};
pub(crate) use watch::PowerWatch;

use std::time::Duration;

/// Between two looks at the power of a machine.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What a machine that has a battery runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supply {
    /// The socket in the wall.
    Mains,
    /// The battery.
    Battery,
}

/// Somebody who knows what a machine runs on. The program asks the system; tests bring their own.
pub trait Power: Send {
    /// What it runs on now; nothing where there is no battery, or where the system does not tell.
    fn supply(&mut self) -> Option<Supply>;
}

/// Asks the system that this program runs on; nothing where there is no known way to ask.
#[must_use]
pub fn of_this_machine() -> Option<Box<dyn Power>> {
    system::power()
}

#[cfg(target_os = "linux")]
mod system {
    use super::{Power, SupplyFolder};

    /// Where the kernel lists supplies and batteries.
    const SUPPLIES: &str = "/sys/class/power_supply";

    pub(super) fn power() -> Option<Box<dyn Power>> {
        Some(Box::new(SupplyFolder::new(SUPPLIES)))
    }
}

#[cfg(target_os = "macos")]
mod system {
    use super::{Power, Supply, told_by_pmset};
    use std::process::{Command, Stdio};

    struct Pmset;

    impl Power for Pmset {
        fn supply(&mut self) -> Option<Supply> {
            let said = Command::new("pmset").args(["-g", "batt"]).stdin(Stdio::null()).output().ok()?;
            told_by_pmset(&String::from_utf8_lossy(&said.stdout))
        }
    }

    pub(super) fn power() -> Option<Box<dyn Power>> {
        Some(Box::new(Pmset))
    }
}

#[cfg(windows)]
mod system {
    use super::{Power, Supply};

    struct SystemStatus;

    impl Power for SystemStatus {
        fn supply(&mut self) -> Option<Supply> {
            let on_mains = crate::windows::on_mains()?;
            Some(if on_mains { Supply::Mains } else { Supply::Battery })
        }
    }

    pub(super) fn power() -> Option<Box<dyn Power>> {
        Some(Box::new(SystemStatus))
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
mod system {
    use super::Power;

    pub(super) fn power() -> Option<Box<dyn Power>> {
        None
    }
}

/// What `pmset -g batt` says: the source in its first line, then a line for each battery.
#[cfg(any(target_os = "macos", test))]
fn told_by_pmset(text: &str) -> Option<Supply> {
    let mut lines = text.lines();
    let source = lines.next()?;
    // An uninterruptible supply is listed like a battery, under another name.
    if !lines.any(|line| line.trim_start().starts_with('-')) {
        return None;
    }
    if source.contains("'AC Power'") {
        Some(Supply::Mains)
    } else if source.contains("'Battery Power'") || source.contains("'UPS Power'") {
        Some(Supply::Battery)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pmset_names_the_source_and_a_machine_without_a_battery_has_none() {
        let battery =
            "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t95%; discharging; 4:10 remaining\n";
        assert_eq!(told_by_pmset(battery), Some(Supply::Battery));
        let mains = "Now drawing from 'AC Power'\n -InternalBattery-0 (id=1)\t95%; charged; 0:00 remaining\n";
        assert_eq!(told_by_pmset(mains), Some(Supply::Mains));
        assert_eq!(told_by_pmset("Now drawing from 'AC Power'\n"), None);
        assert_eq!(told_by_pmset("pmset: no such thing\n -InternalBattery-0\n"), None);
        assert_eq!(told_by_pmset(""), None);
    }
}
