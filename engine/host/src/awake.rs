//! Keeps the machine from falling asleep while a run goes on, by the programs that systems bring for it.
//!
//! Place in the data flow: the engine thread holds an [`Awake`] for the length of a run. `systemd-inhibit` (Linux) and
//! `caffeinate` (macOS) keep a machine awake for as long as a program runs that they start; that one reads from this process
//! and ends when it lets go, or when it is killed. Where there is no such program a run goes on as before.

use std::process::{Child, Command, Stdio};

/// A wish to stay awake, until it is dropped.
#[derive(Debug)]
pub(crate) struct Awake(Option<Child>);

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
    pub(crate) fn hold() -> Self {
        Self::hold_by(BY)
    }

    fn hold_by(words: &[&str]) -> Self {
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
}
