//! Keeps the machine from falling asleep while a run goes on, by what systems bring for it.
//!
//! Place in the data flow: the engine thread tells [`Wakeful`] when a run begins and ends, the power rule tells it when a run
//! waits for mains power. `systemd-inhibit` (Linux) and `caffeinate` (macOS) keep a machine awake for as long as a program
//! runs that they start; that one reads from this process and ends when it lets go, or when it is killed. Windows keeps
//! awake for as long as a thread says so and lives. Where there is no such thing a run goes on as before.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(not(windows))]
use by_program::Awake;
#[cfg(windows)]
use by_thread::Awake;

/// Whether this machine is to be kept awake at the moment, and what keeps it so.
#[derive(Debug)]
pub(crate) struct Wakeful {
    /// Whether this program keeps machines awake at all.
    wanted: AtomicBool,
    doing: Mutex<Doing>,
    /// How an [`Awake`] is had.
    hold: fn() -> Awake,
}

#[derive(Debug, Default)]
struct Doing {
    training: bool,
    awake: Option<Awake>,
}

impl Default for Wakeful {
    fn default() -> Self {
        Self { wanted: AtomicBool::new(false), doing: Mutex::default(), hold: Awake::hold }
    }
}

impl Wakeful {
    /// From the next run on the machine is kept awake.
    pub(crate) fn want(&self) {
        self.wanted.store(true, Ordering::Release);
    }

    /// A run begins.
    pub(crate) fn begin(&self) {
        self.doing.lock().training = true;
        self.wake();
    }

    /// It has ended.
    pub(crate) fn end(&self) {
        *self.doing.lock() = Doing::default();
    }

    /// It waits for something that may take long: the machine may sleep.
    pub(crate) fn doze(&self) {
        self.doing.lock().awake = None;
    }

    /// It goes on.
    pub(crate) fn wake(&self) {
        let mut doing = self.doing.lock();
        if doing.training && doing.awake.is_none() && self.wanted.load(Ordering::Acquire) {
            doing.awake = Some((self.hold)());
        }
    }
}

#[cfg(not(windows))]
mod by_program {
    use std::process::{Child, Command, Stdio};

    /// A wish to stay awake, until it is dropped.
    #[derive(Debug)]
    pub(super) struct Awake(pub(super) Option<Child>);

    /// The system's program with its arguments; nothing on systems without one.
    const BY: &[&str] = if cfg!(target_os = "linux") {
        &["systemd-inhibit", "--what=idle:sleep", "--mode=block", "--who=Temper", "--why=A run goes on"]
    } else if cfg!(target_os = "macos") {
        &["caffeinate", "-i"]
    } else {
        &[]
    };

    impl Awake {
        /// Asks the system to stay awake.
        pub(super) fn hold() -> Self {
            Self::hold_by(BY)
        }

        pub(super) fn hold_by(words: &[&str]) -> Self {
            let Some((program, arguments)) = words.split_first() else { return Self(None) };
            let mut command = Command::new(program);
            // What keeps it awake reads until this process lets go of its end.
            command.args(arguments).arg("cat").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            match command.spawn() {
                Ok(child) => Self(Some(child)),
                Err(error) => {
                    tracing::info!(%error, program, "nothing keeps this machine awake");
                    Self(None)
                }
            }
        }
    }

    impl Drop for Awake {
        fn drop(&mut self) {
            let Some(mut child) = self.0.take() else { return };
            drop(child.stdin.take());
            // It may still be asking for leave to keep the machine awake; nobody waits for that.
            if let Err(error) = child.kill().and_then(|()| child.wait()) {
                tracing::debug!(%error, "what kept this machine awake is not known to have ended");
            }
        }
    }
}

#[cfg(windows)]
mod by_thread {
    use crate::windows::stay_awake;
    use std::sync::mpsc::{SyncSender, sync_channel};

    /// It says two things and waits.
    const STACK_BYTES: usize = 256 << 10;

    /// A wish to stay awake, until it is dropped.
    #[derive(Debug)]
    pub(super) struct Awake {
        /// Its thread ends when this is gone.
        _until: Option<SyncSender<()>>,
    }

    impl Awake {
        /// Asks the system to stay awake. The wish belongs to the thread that says it, so it has one of its own.
        pub(super) fn hold() -> Self {
            let (until, gone) = sync_channel::<()>(0);
            let stay = move || {
                if !stay_awake(true) {
                    tracing::info!("nothing keeps this machine awake");
                }
                let _gone = gone.recv();
                stay_awake(false);
            };
            let thread = std::thread::Builder::new().name("awake".to_owned()).stack_size(STACK_BYTES).spawn(stay);
            match thread {
                Ok(_runs) => Self { _until: Some(until) },
                Err(error) => {
                    tracing::info!(%error, "nothing keeps this machine awake");
                    Self { _until: None }
                }
            }
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_until_it_is_dropped_and_a_missing_program_is_no_error() {
        assert!(Awake::hold_by(&[]).0.is_none());
        assert!(Awake::hold_by(&["there-is-no-such-program"]).0.is_none());
        let mut awake = Awake::hold_by(&["env"]);
        let child = awake.0.as_mut().expect("env starts cat");
        assert!(child.try_wait().expect("asked").is_none(), "it reads and goes on");
        let process = std::path::PathBuf::from(format!("/proc/{}", child.id()));
        assert!(process.exists() || !cfg!(target_os = "linux"));
        drop(awake);
        assert!(!process.exists(), "it has ended and was waited for");
    }

    #[test]
    fn a_machine_is_kept_awake_while_a_run_goes_on_and_not_while_it_waits_for_power() {
        let wakeful = Wakeful { hold: || Awake::hold_by(&["env"]), ..Wakeful::default() };
        let is_held = || wakeful.doing.lock().awake.is_some();
        wakeful.begin();
        assert!(!is_held(), "nobody wants it");
        wakeful.end();
        wakeful.want();
        assert!(!is_held(), "no run goes on");
        wakeful.begin();
        assert!(is_held());
        wakeful.doze();
        assert!(!is_held());
        wakeful.wake();
        assert!(is_held());
        wakeful.end();
        wakeful.wake();
        assert!(!is_held(), "the run has ended");
    }
}
