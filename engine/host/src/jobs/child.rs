//! Measuring this program from outside: one command of it in a process of its own.
//!
//! Place in the data flow: benches whose cases would disturb each other (peak memory of a process never falls) or that
//! count the start of the program run their cases through [`run`], which hands on every event with its time.

use crate::job::JobContext;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};
use temper_protocol::{Code, Event, Problem};

/// How often cancelling is looked for while the process says nothing.
const NAP: Duration = Duration::from_millis(100);
/// Lines that may wait.
const QUEUE: usize = 256;

/// Ends the process when it goes out of scope.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself, which is what both calls then say.
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}

/// Where a problem lies that is the process's own and not something that it said.
pub(super) const PLACE: &str = "a process of this program";

fn failed(what: String) -> Problem {
    Problem::new(Code::Io, what, PLACE, "run the bench from the command line: temper bench")
}

/// Runs `arguments` with `--json` and calls `hear` with every event and the seconds since the process was started.
/// Returns when the process has ended, or kills it as soon as `hear` says `true`.
///
/// # Errors
/// The process cannot be started, what it says is no event, the error that it ended with, or cancelling.
pub(super) fn run(
    arguments: &[String],
    context: &JobContext,
    hear: &mut dyn FnMut(f64, &Event) -> bool,
) -> Result<(), Problem> {
    let program =
        std::env::current_exe().map_err(|error| failed(format!("the program cannot find itself: {error}")))?;
    let started = Instant::now();
    let child = Command::new(program)
        .args(arguments)
        .arg("--json")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(format!("it cannot be started: {error}")))?;
    let mut child = Ended(child);
    let Some(out) = child.0.stdout.take() else {
        return Err(failed("it has no output".to_owned()));
    };
    let (sender, lines) = sync_channel(QUEUE);
    let reader = move || {
        for line in BufReader::new(out).lines() {
            let secs = started.elapsed().as_secs_f64();
            let Ok(line) = line else { return };
            if sender.send((secs, line)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("temper-child".to_owned())
        .spawn(reader)
        .map_err(|error| failed(format!("there is no thread to listen to it: {error}")))?;
    loop {
        match lines.recv_timeout(NAP) {
            Ok((secs, line)) => {
                let event: Event = serde_json::from_str(&line)
                    .map_err(|error| failed(format!("it said something that is no event ({error}): {line}")))?;
                if let Event::Error(problem) = event {
                    return Err(problem);
                }
                if hear(secs, &event) {
                    return Ok(());
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        context.check_cancelled()?;
    }
    let status = child.0.wait().map_err(|error| failed(format!("it cannot be waited for: {error}")))?;
    if status.success() { Ok(()) } else { Err(failed(format!("it ended with {status}"))) }
}
