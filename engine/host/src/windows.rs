//! The two things that the engine asks of Windows, as safe calls.
//!
//! Place in the data flow: `power` asks what the machine runs on, `awake` keeps it from falling asleep. Both functions are
//! in kernel32 since Windows XP; they are declared here, because the crates that declare all of Windows are in the lock file
//! in four versions, of which our manifests may name none.

#![expect(unsafe_code, reason = "the system has no safe way to be asked")]

/// `SYSTEM_POWER_STATUS`.
#[repr(C)]
#[derive(Default)]
struct PowerStatus {
    ac_line: u8,
    battery_flag: u8,
    _battery_percent: u8,
    _saver: u8,
    _battery_secs: u32,
    _full_battery_secs: u32,
}

#[link(name = "kernel32")]
unsafe extern "system" {
    #[link_name = "GetSystemPowerStatus"]
    fn get_system_power_status(status: *mut PowerStatus) -> i32;
    #[link_name = "SetThreadExecutionState"]
    fn set_thread_execution_state(flags: u32) -> u32;
}

/// Bit of the battery flag: there is none. All bits are set when it is not known.
const NO_BATTERY: u8 = 128;
/// `ES_CONTINUOUS` and `ES_SYSTEM_REQUIRED`.
const CONTINUOUS: u32 = 0x8000_0000;
const SYSTEM_REQUIRED: u32 = 1;

/// Whether a machine with a battery is on mains power; nothing without a battery, or when it is not known.
pub(crate) fn on_mains() -> Option<bool> {
    let mut status = PowerStatus::default();
    // SAFETY: the call fills in the structure it is given a pointer to, whose layout is that of the system, and keeps
    // nothing of it.
    let known = unsafe { get_system_power_status(&raw mut status) } != 0;
    if !known || status.battery_flag & NO_BATTERY != 0 {
        return None;
    }
    match status.ac_line {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// Keeps the system awake until this thread says otherwise or ends; returns whether the system agreed.
pub(crate) fn stay_awake(on: bool) -> bool {
    let flags = if on { CONTINUOUS | SYSTEM_REQUIRED } else { CONTINUOUS };
    // SAFETY: the call takes flags by value, and returns those of before or 0.
    unsafe { set_thread_execution_state(flags) != 0 }
}
