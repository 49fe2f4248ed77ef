//! What the run costs: resident memory, its peak, and processor time, as the system counts them.
//!
//! On Linux the numbers come from `/proc/self`, which includes pages of mapped model files; elsewhere from
//! the `sysinfo` crate.

use std::path::Path;

const MIB: f64 = 1024.0 * 1024.0;

/// Watches this process from its creation on.
#[derive(Debug)]
pub struct Meter {
    peak_rss_mib: f64,
    kernel_keeps_peak: bool,
    cpu_secs_at_start: f64,
}

impl Default for Meter {
    fn default() -> Self {
        Self::start()
    }
}

impl Meter {
    /// Starts watching: the peak and the processor time count from here.
    #[must_use]
    pub fn start() -> Self {
        let kernel_keeps_peak = reset_kernel_peak();
        let mut meter = Self { peak_rss_mib: 0.0, kernel_keeps_peak, cpu_secs_at_start: cpu_secs() };
        meter.rss_mib();
        meter
    }

    /// Resident memory now, MiB, mapped file pages included.
    pub fn rss_mib(&mut self) -> f64 {
        let now = rss_mib();
        self.peak_rss_mib = self.peak_rss_mib.max(now);
        now
    }

    /// Highest resident memory since the start, MiB: the kernel's own peak where it can be reset, else the
    /// highest of the values read.
    pub fn peak_rss_mib(&mut self) -> f64 {
        self.rss_mib();
        if self.kernel_keeps_peak
            && let Some(peak) = kernel_peak_mib()
        {
            self.peak_rss_mib = self.peak_rss_mib.max(peak);
        }
        self.peak_rss_mib
    }

    /// Pages that this process has had to be given since it began, without reading a disk; 0 where the system does not
    /// say.
    #[must_use]
    pub fn page_faults() -> u64 {
        page_faults()
    }

    /// Processor seconds of all threads since the start.
    #[must_use]
    pub fn cpu_secs(&self) -> f64 {
        (cpu_secs() - self.cpu_secs_at_start).max(0.0)
    }
}

/// Memory that this process holds now, pages of mapped files included, MiB; 0 when it cannot be told.
#[must_use]
pub fn resident_mib() -> f64 {
    rss_mib()
}

/// Memory that this process could still take, MiB: what the system calls available, cut to the limit of
/// the container when there is one. 0 when it cannot be told.
#[must_use]
pub fn free_memory_mib() -> f64 {
    let Ok(mut system) = sysinfo::System::new() else { return 0.0 };
    system.refresh_memory();
    let mut free = system.available_memory();
    if let Some(limits) = system.cgroup_limits()
        && limits.total_memory > 0
    {
        free = free.min(limits.free_memory);
    }
    let free = free as f64 / MIB;
    address_space_left_mib().map_or(free, |left| free.min(left))
}

/// Memory that this process could have at best, MiB: all that is built in, cut to the limit of the container and of
/// the address space. 0 when it cannot be told.
#[must_use]
pub fn most_memory_mib() -> f64 {
    let Ok(mut system) = sysinfo::System::new() else { return 0.0 };
    system.refresh_memory();
    let mut most = system.total_memory().saturating_add(system.total_swap());
    if let Some(limits) = system.cgroup_limits()
        && limits.total_memory > 0
    {
        most = most.min(limits.total_memory.saturating_add(limits.free_swap));
    }
    let most = most as f64 / MIB;
    address_space_left_mib().map_or(most, |left| most.min(left))
}

/// Disk space left where `folder` is or will be, MiB; 0 when it cannot be told.
#[must_use]
pub fn free_disk_mib(folder: &Path) -> f64 {
    let existing = folder.ancestors().find(|candidate| candidate.exists());
    existing.and_then(|place| fs4::available_space(place).ok()).map_or(0.0, |bytes| bytes as f64 / MIB)
}

#[cfg(target_os = "linux")]
mod system {
    /// Clock ticks a second in `/proc/self/stat`: fixed to 100 by the kernel's interface.
    const TICKS_PER_SEC: f64 = 100.0;

    fn status_mib(key: &str) -> Option<f64> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find(|line| line.starts_with(key))?;
        let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib / 1024.0)
    }

    pub(super) fn rss_mib() -> f64 {
        status_mib("VmRSS:").unwrap_or(0.0)
    }

    pub(super) fn kernel_peak_mib() -> Option<f64> {
        status_mib("VmHWM:")
    }

    /// What a limit on the address space (`ulimit -v`) leaves; `None` without a limit.
    pub(super) fn address_space_left_mib() -> Option<f64> {
        let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
        let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
        let limit: f64 = line.split_whitespace().next()?.parse().ok()?;
        Some((limit / super::MIB - status_mib("VmSize:")?).max(0.0))
    }

    pub(super) fn reset_kernel_peak() -> bool {
        std::fs::write("/proc/self/clear_refs", "5").is_ok()
    }

    /// Field `index` of `/proc/self/stat`, counted from 1 behind the program's name, which stands in brackets and may
    /// hold spaces.
    fn stat(index: usize) -> Option<u64> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let after_name = stat.get(stat.rfind(')')? + 1..)?;
        after_name.split_whitespace().nth(index - 1)?.parse().ok()
    }

    pub(super) fn cpu_secs() -> f64 {
        let ticks = stat(12).zip(stat(13)).map_or(0, |(user, kernel)| user + kernel);
        ticks as f64 / TICKS_PER_SEC
    }

    pub(super) fn page_faults() -> u64 {
        stat(8).unwrap_or(0)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    fn this_process<T>(read: impl Fn(&sysinfo::Process) -> T) -> Option<T> {
        let pid = sysinfo::get_current_pid().ok()?;
        let mut system = sysinfo::System::new().ok()?;
        system.refresh_processes(sysinfo::ProcessesToUpdate::Some(&[pid]), true);
        system.process(pid).map(read)
    }

    pub(super) fn rss_mib() -> f64 {
        this_process(|process| process.memory() as f64 / super::MIB).unwrap_or(0.0)
    }

    pub(super) fn kernel_peak_mib() -> Option<f64> {
        None
    }

    pub(super) fn address_space_left_mib() -> Option<f64> {
        None
    }

    pub(super) fn reset_kernel_peak() -> bool {
        false
    }

    pub(super) fn cpu_secs() -> f64 {
        this_process(|process| process.accumulated_cpu_time() as f64 / 1000.0).unwrap_or(0.0)
    }

    pub(super) fn page_faults() -> u64 {
        0
    }
}

use system::{address_space_left_mib, cpu_secs, kernel_peak_mib, page_faults, reset_kernel_peak, rss_mib};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_taken_shows_in_the_peak_even_after_it_is_given_back() {
        let mut meter = Meter::start();
        let before = meter.rss_mib();
        assert!(before > 1.0, "a process is never smaller than a MiB, got {before}");
        let block = vec![1_u8; 256 << 20];
        assert!(block.iter().step_by(4096).map(|byte| u64::from(*byte)).sum::<u64>() > 0);
        let during = meter.rss_mib();
        drop(block);
        assert!(during > before + 150.0, "{before} then {during}");
        assert!(meter.peak_rss_mib() >= during - 1.0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn fresh_memory_costs_page_faults() {
        let before = Meter::page_faults();
        let block = vec![1_u8; 32 << 20];
        assert_eq!(std::hint::black_box(&block).last(), Some(&1));
        assert!(Meter::page_faults() >= before + 16, "{before} then {}", Meter::page_faults());
    }

    #[test]
    fn work_costs_processor_time() {
        let meter = Meter::start();
        let mut sum = 0_u64;
        while meter.cpu_secs() < 0.05 {
            for value in 0..1_000_000_u64 {
                sum = std::hint::black_box(sum.wrapping_mul(3).wrapping_add(value));
            }
        }
        assert!(meter.cpu_secs() >= 0.05);
    }

    #[test]
    fn free_space_is_told_for_folders_that_do_not_exist_yet() {
        let folder = tempfile::tempdir().expect("temp");
        assert!(free_disk_mib(&folder.path().join("not/yet")) > 0.0);
        assert!(free_memory_mib() > 0.0);
    }
}
