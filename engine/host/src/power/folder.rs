//! Power as Linux tells it: a folder with one folder for each supply and each battery.
//!
//! Place in the data flow: `/sys/class/power_supply` in the program, a folder of the same form in tests. Read anew at each
//! look, since adapters and batteries come and go. A battery of a mouse is no battery of the machine: its `scope` says
//! `Device`.

use super::{Power, Supply};
use std::path::{Path, PathBuf};

/// A folder of supplies.
#[derive(Debug, Clone)]
pub struct SupplyFolder(PathBuf);

impl SupplyFolder {
    /// The folder at `path`. One that is not there has no supplies.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

impl Power for SupplyFolder {
    fn supply(&mut self) -> Option<Supply> {
        let entries = std::fs::read_dir(&self.0).ok()?;
        let mut found = Found::default();
        for entry in entries.flatten() {
            found.note(&entry.path());
        }
        found.supply()
    }
}

/// What the entries of the folder say together.
#[derive(Debug, Default)]
struct Found {
    batteries: usize,
    /// Batteries that give, and batteries that take.
    discharging: usize,
    charging: usize,
    /// Adapters, and those with power on them.
    adapters: usize,
    online: usize,
}

impl Found {
    fn note(&mut self, entry: &Path) {
        let word = |name: &str| std::fs::read_to_string(entry.join(name)).unwrap_or_default().trim().to_owned();
        match word("type").as_str() {
            // A bay without a battery says that it is not present.
            "Battery" | "UPS" if word("scope") != "Device" && word("present") != "0" => {
                self.batteries += 1;
                match word("status").as_str() {
                    "Discharging" => self.discharging += 1,
                    "Charging" => self.charging += 1,
                    _ => {}
                }
            }
            // Newer kernels count through 2 and up for ways of charging over USB.
            "Mains" | "USB" | "Wireless" if word("scope") != "Device" => {
                self.adapters += 1;
                self.online += usize::from(!matches!(word("online").as_str(), "" | "0"));
            }
            _ => {}
        }
    }

    /// An adapter with power on it decides. Without one it is the battery, unless one of them is being charged all the same:
    /// some machines do not list the adapter they are charged by.
    fn supply(&self) -> Option<Supply> {
        if self.batteries == 0 {
            return None;
        }
        let battery = self.online == 0 && (self.discharging > 0 || (self.adapters > 0 && self.charging == 0));
        Some(if battery { Supply::Battery } else { Supply::Mains })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of supplies: name, then file and content.
    fn folder(supplies: &[(&str, &[(&str, &str)])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("temporary folder");
        for (name, files) in supplies {
            let supply = folder.path().join(name);
            std::fs::create_dir(&supply).expect("folder");
            for (file, content) in *files {
                std::fs::write(supply.join(file), format!("{content}\n")).expect("written");
            }
        }
        folder
    }

    fn supply(supplies: &[(&str, &[(&str, &str)])]) -> Option<Supply> {
        let folder = folder(supplies);
        SupplyFolder::new(folder.path()).supply()
    }

    const OFF: &[(&str, &str)] = &[("type", "Mains"), ("online", "0")];
    const ON: &[(&str, &str)] = &[("type", "Mains"), ("online", "1")];
    const GIVES: &[(&str, &str)] = &[("type", "Battery"), ("present", "1"), ("status", "Discharging")];
    const TAKES: &[(&str, &str)] = &[("type", "Battery"), ("present", "1"), ("status", "Charging")];
    const FULL: &[(&str, &str)] = &[("type", "Battery"), ("present", "1"), ("status", "Not charging")];

    #[test]
    fn a_laptop_runs_on_mains_or_on_its_battery() {
        assert_eq!(supply(&[("AC", ON), ("BAT0", TAKES)]), Some(Supply::Mains));
        assert_eq!(supply(&[("AC", ON), ("BAT0", GIVES)]), Some(Supply::Mains), "a weak adapter is still one");
        assert_eq!(supply(&[("AC", OFF), ("BAT0", GIVES)]), Some(Supply::Battery));
        assert_eq!(supply(&[("AC", OFF), ("BAT0", FULL)]), Some(Supply::Battery), "some say nothing better");
        assert_eq!(supply(&[("AC", OFF), ("BAT0", TAKES)]), Some(Supply::Mains), "charged by something not listed");
        let usb: &[(&str, &str)] = &[("type", "USB"), ("online", "2")];
        assert_eq!(supply(&[("AC", OFF), ("BAT0", FULL), ("ucsi", usb)]), Some(Supply::Mains));
        assert_eq!(supply(&[("BAT0", GIVES), ("BAT1", FULL)]), Some(Supply::Battery), "no adapter is listed");
        assert_eq!(supply(&[("BAT0", FULL)]), Some(Supply::Mains));
    }

    #[test]
    fn without_a_battery_of_its_own_a_machine_says_nothing() {
        let mouse: &[(&str, &str)] = &[("type", "Battery"), ("scope", "Device"), ("status", "Discharging")];
        let empty_bay: &[(&str, &str)] = &[("type", "Battery"), ("present", "0"), ("status", "Unknown")];
        assert_eq!(supply(&[]), None);
        assert_eq!(supply(&[("AC", ON)]), None);
        assert_eq!(supply(&[("AC", OFF), ("mouse", mouse), ("BAT1", empty_bay), ("odd", &[])]), None);
        let folder = tempfile::tempdir().expect("temporary folder");
        assert_eq!(SupplyFolder::new(folder.path().join("not there")).supply(), None);
    }

    #[test]
    fn it_is_read_anew_at_each_look() {
        let folder = folder(&[("AC", OFF), ("BAT0", GIVES)]);
        let mut power = SupplyFolder::new(folder.path());
        assert_eq!(power.supply(), Some(Supply::Battery));
        std::fs::write(folder.path().join("AC").join("online"), "1\n").expect("written");
        assert_eq!(power.supply(), Some(Supply::Mains));
    }
}
