//! Shutting the machine down, by the program that each system brings for it.
//!
//! Place in the data flow: [`crate::update`] asks a [`Machine`] when the count of the card has ended and nobody has
//! cancelled. No frame waits for the program; what it says against it is asked for later.

use crate::client::Wake;
use parking_lot::Mutex;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Somebody who can shut the machine down. The program asks the system; tests bring their own.
pub trait Machine {
    /// Asks for it. Returns at once.
    fn shut_down(&mut self);
    /// Why it was refused, once.
    fn refused(&mut self) -> Option<String>;
}

/// The machine that this program runs on.
pub struct SystemMachine {
    refused: Arc<Mutex<Option<String>>>,
    wake: Wake,
}

impl SystemMachine {
    /// `wake` is called when the system has refused.
    #[must_use]
    pub fn new(wake: Wake) -> Self {
        Self { refused: Arc::default(), wake }
    }
}

impl Machine for SystemMachine {
    fn shut_down(&mut self) {
        let Some((program, arguments)) = words(std::env::consts::OS) else {
            *self.refused.lock() = Some(t!("after-no-way").to_owned());
            return;
        };
        let (refused, wake) = (Arc::clone(&self.refused), Arc::clone(&self.wake));
        let ask = move || {
            let told = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).output();
            let why = match told {
                Ok(output) if output.status.success() => return,
                Ok(output) => format!("{program}: {}", last_line(&String::from_utf8_lossy(&output.stderr))),
                Err(error) => format!("{program}: {error}"),
            };
            tracing::warn!(%why, "the machine was not shut down");
            *refused.lock() = Some(why);
            wake();
        };
        if let Err(error) = std::thread::Builder::new().name("shutdown".to_owned()).spawn(ask) {
            *self.refused.lock() = Some(error.to_string());
        }
    }

    fn refused(&mut self) -> Option<String> {
        self.refused.lock().take()
    }
}

const LINUX: &[&str] = &["poweroff"];
const MACOS: &[&str] = &["-e", "tell application \"System Events\" to shut down"];
/// A minute more, in which `shutdown /a` takes it back.
const WINDOWS: &[&str] = &["/s", "/t", "60"];

/// What a program said last.
fn last_line(text: &str) -> &str {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("?")
}

/// The program that shuts a system down, and what it is told; nothing on systems where it is not known.
fn words(system: &str) -> Option<(&'static str, &'static [&'static str])> {
    match system {
        "linux" => Some(("systemctl", LINUX)),
        "macos" => Some(("osascript", MACOS)),
        "windows" => Some(("shutdown", WINDOWS)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_has_its_program_and_an_unknown_one_has_none() {
        assert_eq!(words("linux"), Some(("systemctl", LINUX)));
        assert_eq!(words("windows").map(|(program, _)| program), Some("shutdown"));
        assert_eq!(words("macos").map(|(program, _)| program), Some("osascript"));
        assert_eq!(words("plan9"), None);
        assert_eq!(last_line("a\nCall failed: denied\n\n"), "Call failed: denied");
    }
}
