//! Notices outside the window, by the programs that systems bring for them.
//!
//! Place in the data flow: when something ends that a person waits for and nobody looks, [`crate::update`] says one sentence
//! to a [`Herald`]. `notify-send` (Linux) and `osascript` (macOS) show it; where there is no such program (Windows) the mark
//! in the task bar stays the only call. No frame waits for them, and no library keeps a connection to the session bus.

use std::process::{Command, Stdio};

/// Says things outside the window.
pub trait Herald {
    /// Says one sentence.
    fn tell(&mut self, text: &str);
}

/// The system's own notices.
pub struct SystemHerald;

impl Herald for SystemHerald {
    fn tell(&mut self, text: &str) {
        let Some((program, arguments)) = words(std::env::consts::OS, text) else { return };
        let tell = move || {
            let told = Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            if let Err(error) = told {
                tracing::debug!("nothing shows notices here: {program}: {error}");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("notice".to_owned()).spawn(tell) {
            tracing::debug!("a notice is not shown: {error}");
        }
    }
}

/// The program that shows a notice, and what it is told; nothing on systems without one.
fn words(system: &str, text: &str) -> Option<(&'static str, Vec<String>)> {
    match system {
        "linux" => {
            // The body of a notice may be read as markup.
            let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let told = ["--app-name=Temper", "--icon=temper", "--", "Temper"].map(str::to_owned);
            Some(("notify-send", told.into_iter().chain([text]).collect()))
        }
        "macos" => {
            // What is said is an argument of the script and never a part of it.
            let script = ["on run argv", "display notification (item 1 of argv) with title \"Temper\"", "end run"];
            let lines = script.into_iter().flat_map(|line| ["-e".to_owned(), line.to_owned()]);
            Some(("osascript", lines.chain([text.to_owned()]).collect()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_neither_markup_nor_an_option_nor_a_script() {
        let (program, arguments) = words("linux", "--run 7 <b>& more").expect("Linux has a program");
        assert_eq!(program, "notify-send");
        let from = arguments.iter().position(|word| word == "--").expect("an end of the options");
        assert_eq!(arguments[from + 1..], ["Temper", "--run 7 &lt;b&gt;&amp; more"]);
        let said = "\" & (do shell script \"rm\") & \"";
        let (program, arguments) = words("macos", said).expect("macOS has a program");
        assert_eq!(program, "osascript");
        assert_eq!(arguments.iter().filter(|word| word.contains("rm")).collect::<Vec<_>>(), [said]);
        assert_eq!(arguments.last().map(String::as_str), Some(said));
        assert_eq!(words("windows", "a"), None);
    }
}
