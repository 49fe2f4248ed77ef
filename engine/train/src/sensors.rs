//! How warm the machine is and what it draws, as far as the system tells a program without special rights.
//!
//! Place in the data flow: the run asks once whenever it tells where its time went, and says [`MachineState`] when there is
//! anything to say; the pre-flight asks before and after the step that it measures. Nothing follows from it by itself. On
//! Linux the kernel lists its sensors as small files:
//! `hwmon/hwmon*/{name,temp1_input}` and `thermal/thermal_zone*/{type,temp}` in thousandths of a degree,
//! `powercap/intel-rapl:*/{name,energy_uj,max_energy_range_uj}` in millionths of a joule. The counters of energy can be read
//! by the administrator alone on most machines; where they cannot, there is none. Other systems tell nothing here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use temper_protocol::event::MachineState;

/// The part whose temperature is that of the processor.
pub const PROCESSOR: &str = "processor";
/// The part whose temperature is that of the graphics card.
pub const GRAPHICS: &str = "graphics";

/// Drivers by name, of the processor's own sensors and of graphics cards.
const PROCESSORS: [&str; 5] = ["coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal"];
const CARDS: [&str; 4] = ["amdgpu", "nouveau", "xe", "i915"];
/// Zones that are the processor, where it has no driver of its own. A board's zone says little about it.
const ZONES: [&str; 4] = ["x86_pkg_temp", "cpu_thermal", "cpu-thermal", "soc_thermal"];
/// What a working sensor can say, degrees Celsius: one that is asleep or broken says 0 or far more than silicon bears.
const POSSIBLE: std::ops::Range<f64> = 1.0..150.0;

/// A counter of energy that begins again at its range.
#[derive(Debug)]
struct Counter {
    file: PathBuf,
    range: u64,
    last: u64,
}

/// The sensors of a machine that can be read.
#[derive(Debug, Default)]
pub struct Sensors {
    temperatures: Vec<(&'static str, PathBuf)>,
    energy: Vec<Counter>,
}

/// The text of a small file of the kernel.
fn text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

/// Degrees Celsius in a file of thousandths; none when no working sensor says so.
fn celsius(path: &Path) -> Option<f64> {
    let thousandths: f64 = text(path)?.parse().ok()?;
    Some(thousandths / 1000.0).filter(|degrees| POSSIBLE.contains(degrees))
}

/// Folders in `folder` whose names begin with `prefix`, in the order of their names.
fn folders(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

impl Sensors {
    /// Those of the machine that this program runs on.
    #[must_use]
    pub fn of_this_machine() -> Self {
        if cfg!(target_os = "linux") { Self::under(Path::new("/sys/class")) } else { Self::default() }
    }

    /// Those that the folder of a kernel's classes lists and that can be read now.
    #[must_use]
    pub fn under(classes: &Path) -> Self {
        let mut temperatures = Vec::new();
        for sensor in folders(&classes.join("hwmon"), "hwmon") {
            let driver = text(&sensor.join("name")).unwrap_or_default();
            let part = if PROCESSORS.contains(&driver.as_str()) {
                PROCESSOR
            } else if CARDS.contains(&driver.as_str()) {
                GRAPHICS
            } else {
                continue;
            };
            temperatures.push((part, sensor.join("temp1_input")));
        }
        if !temperatures.iter().any(|(part, _)| *part == PROCESSOR) {
            for zone in folders(&classes.join("thermal"), "thermal_zone") {
                let kind = text(&zone.join("type")).unwrap_or_default();
                if ZONES.contains(&kind.as_str()) {
                    temperatures.push((PROCESSOR, zone.join("temp")));
                }
            }
        }
        temperatures.retain(|(_, file)| text(file).is_some());
        let energy = folders(&classes.join("powercap"), "intel-rapl:").into_iter().filter_map(|counter| {
            // Whole packages: what is listed below one is part of it.
            let name = text(&counter.join("name"))?;
            let file = counter.join("energy_uj");
            let last = number(&file).filter(|_| name.starts_with("package"))?;
            Some(Counter { range: number(&counter.join("max_energy_range_uj")).unwrap_or(0), file, last })
        });
        Self { temperatures, energy: energy.collect() }
    }

    /// How warm each part is now, its warmest sensor in degrees Celsius, and the joules drawn since the last time this was
    /// asked; nothing when no sensor tells anything.
    pub fn tell(&mut self, step: u64) -> Option<MachineState> {
        let mut parts: BTreeMap<String, f64> = BTreeMap::new();
        for (part, file) in &self.temperatures {
            if let Some(degrees) = celsius(file) {
                let warmest = parts.entry((*part).to_owned()).or_insert(degrees);
                *warmest = warmest.max(degrees);
            }
        }
        let joules = self.joules();
        let tells = !parts.is_empty() || joules.is_some();
        tells.then_some(MachineState { step, celsius: parts, joules })
    }

    /// The joules drawn since this or [`Sensors::tell`] was asked last, or since the sensors were found; nothing where
    /// no counter can be read.
    pub fn joules(&mut self) -> Option<f64> {
        let drawn: Vec<f64> = self.energy.iter_mut().filter_map(Counter::drawn).collect();
        (!drawn.is_empty()).then(|| drawn.iter().sum())
    }
}

impl Counter {
    /// Joules since the last look. A counter that passed its range more than once between two looks has lost whole turns,
    /// which takes most of an hour at full load.
    fn drawn(&mut self) -> Option<f64> {
        let now = number(&self.file)?;
        let millionths =
            if now >= self.last { now - self.last } else { self.range.saturating_sub(self.last).saturating_add(now) };
        self.last = now;
        Some(millionths as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, format!("{text}\n")).expect("a file");
    }

    #[test]
    fn the_warmest_sensor_of_each_part_is_told() {
        let root = tempfile::tempdir().expect("a folder");
        write(root.path(), "hwmon/hwmon0/name", "nvme");
        write(root.path(), "hwmon/hwmon0/temp1_input", "90000");
        for (place, degrees) in [(1, "61500"), (2, "64250")] {
            write(root.path(), &format!("hwmon/hwmon{place}/name"), "coretemp");
            write(root.path(), &format!("hwmon/hwmon{place}/temp1_input"), degrees);
        }
        write(root.path(), "hwmon/hwmon3/name", "amdgpu");
        write(root.path(), "hwmon/hwmon3/temp1_input", "55000");
        // The processor has a driver: zones are not asked.
        write(root.path(), "thermal/thermal_zone0/type", "x86_pkg_temp");
        write(root.path(), "thermal/thermal_zone0/temp", "99000");
        let told = Sensors::under(root.path()).tell(50).expect("it tells");
        let expected = [(GRAPHICS.to_owned(), 55.0), (PROCESSOR.to_owned(), 64.25)];
        assert_eq!(told, MachineState { step: 50, celsius: BTreeMap::from(expected), joules: None });
    }

    #[test]
    fn zones_stand_in_for_a_driver_and_a_board_is_no_processor() {
        let root = tempfile::tempdir().expect("a folder");
        write(root.path(), "thermal/thermal_zone0/type", "acpitz");
        write(root.path(), "thermal/thermal_zone0/temp", "27800");
        assert_eq!(Sensors::under(root.path()).tell(1), None);
        write(root.path(), "thermal/thermal_zone1/type", "cpu-thermal");
        write(root.path(), "thermal/thermal_zone1/temp", "48000");
        let told = Sensors::under(root.path()).tell(1).expect("it tells");
        assert_eq!(told.celsius.get(PROCESSOR), Some(&48.0));
        write(root.path(), "thermal/thermal_zone1/temp", "0");
        assert_eq!(Sensors::under(root.path()).tell(1), None, "a sensor that sleeps says nothing");
    }

    #[test]
    fn joules_are_those_since_the_last_look_also_when_the_counter_begins_again() {
        let root = tempfile::tempdir().expect("a folder");
        write(root.path(), "powercap/intel-rapl:0/name", "package-0");
        write(root.path(), "powercap/intel-rapl:0/max_energy_range_uj", "100000000");
        write(root.path(), "powercap/intel-rapl:0/energy_uj", "90000000");
        // A part of the package is in it already.
        write(root.path(), "powercap/intel-rapl:0:0/name", "core");
        write(root.path(), "powercap/intel-rapl:0:0/energy_uj", "1");
        let mut sensors = Sensors::under(root.path());
        write(root.path(), "powercap/intel-rapl:0/energy_uj", "95000000");
        let joules = |sensors: &mut Sensors| sensors.tell(1).and_then(|told| told.joules).expect("joules");
        assert!((joules(&mut sensors) - 5.0).abs() < 1e-9);
        write(root.path(), "powercap/intel-rapl:0/energy_uj", "2000000");
        assert!((joules(&mut sensors) - 7.0).abs() < 1e-9);
        assert!(joules(&mut sensors).abs() < 1e-9);
    }

    #[test]
    fn joules_of_all_packages_are_asked_for_without_temperatures() {
        let root = tempfile::tempdir().expect("a folder");
        for package in [0, 1] {
            write(root.path(), &format!("powercap/intel-rapl:{package}/name"), &format!("package-{package}"));
            write(root.path(), &format!("powercap/intel-rapl:{package}/energy_uj"), "1000000");
        }
        let mut sensors = Sensors::under(root.path());
        write(root.path(), "powercap/intel-rapl:0/energy_uj", "3000000");
        write(root.path(), "powercap/intel-rapl:1/energy_uj", "1500000");
        assert!((sensors.joules().expect("joules") - 2.5).abs() < 1e-9);
        assert!(sensors.joules().expect("joules").abs() < 1e-9, "a question begins the next stretch");
        write(root.path(), "powercap/intel-rapl:1/energy_uj", "2500000");
        assert_eq!(sensors.tell(7).and_then(|told| told.joules), Some(1.0), "the same counters as those of a run");
    }

    #[test]
    fn a_machine_that_tells_nothing_says_nothing() {
        let root = tempfile::tempdir().expect("a folder");
        assert_eq!(Sensors::under(&root.path().join("none")).tell(3), None);
        assert_eq!(Sensors::default().tell(3), None);
        assert_eq!(Sensors::default().joules(), None);
    }
}
