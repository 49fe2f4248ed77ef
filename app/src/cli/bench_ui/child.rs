//! Programs that the bench starts: lines of their output with the time they came, their processor time, their end.

use crate::cli::own_program;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};
use temper_protocol::{Code, Problem};

/// Longest wait for a line of a window or of a training run.
const PATIENCE: Duration = Duration::from_secs(180);

/// Lines that may wait to be read: a run must never wait for the bench.
const LINES: usize = 65_536;

/// A child that ends with this value.
pub(super) struct Started {
    child: Child,
    lines: Receiver<(Instant, String)>,
    name: &'static str,
    /// Just before it was started.
    pub(super) since: Instant,
}

impl Started {
    /// Starts this program with `arguments`; `name` is what problems call it.
    ///
    /// # Errors
    /// A [`Problem`] when it cannot be started.
    pub(super) fn program(name: &'static str, arguments: &[OsString]) -> Result<Self, Problem> {
        let failed = |error: std::io::Error| Problem::internal(format!("{name} cannot be started: {error}"));
        let since = Instant::now();
        let mut child = Command::new(own_program()?)
            .args(arguments)
            .env("TEMPER_LOG", std::env::var_os("TEMPER_LOG").unwrap_or_else(|| "error".into()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let output = child.stdout.take().ok_or_else(|| Problem::internal(format!("{name} has no output")))?;
        let (said, lines) = sync_channel(LINES);
        std::thread::Builder::new()
            .name("bench-lines".to_owned())
            .spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if said.send((Instant::now(), line)).is_err() {
                        return;
                    }
                }
            })
            .map_err(failed)?;
        Ok(Self { child, lines, name, since })
    }

    /// The next line that `wanted` makes something of, and when it came.
    ///
    /// # Errors
    /// A [`Problem`] when the program ends or says nothing of the kind for three minutes.
    pub(super) fn wait<T>(&mut self, mut wanted: impl FnMut(&str) -> Option<T>) -> Result<(Instant, T), Problem> {
        let until = Instant::now() + PATIENCE;
        loop {
            let (code, what) = match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok((when, line)) => match wanted(&line) {
                    Some(found) => return Ok((when, found)),
                    None => continue,
                },
                Err(RecvTimeoutError::Timeout) => (Code::Internal, "did not answer within three minutes"),
                Err(RecvTimeoutError::Disconnected) => (Code::Internal, "ended early"),
            };
            let action = "look at what it wrote above, and try again on an idle machine";
            return Err(Problem::new(code, format!("{} {what}", self.name), "bench ui", action));
        }
    }

    /// All lines until `until`.
    pub(super) fn lines_until(&mut self, until: Instant) -> Vec<(Instant, String)> {
        let mut all = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            all.push(line);
        }
        // A closed pipe answers at once: the time must pass all the same.
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        all
    }

    /// Its process number.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops or wakes it and the processes it started, in the way of the system's `kill`; held, it uses no processor.
    ///
    /// # Errors
    /// A [`Problem`] where programs cannot be held.
    pub(super) fn hold(&self, held: bool) -> Result<(), Problem> {
        let signal = if held { "-STOP" } else { "-CONT" };
        let done = Command::new("kill").arg(signal).args(family(self.pid()).iter().map(u32::to_string)).status();
        if done.is_ok_and(|status| status.success()) {
            return Ok(());
        }
        let what = format!("{} cannot be held and woken on this system", self.name);
        Err(Problem::new(Code::Refused, what, "bench ui", "leave this part out with --only start,frames,idle"))
    }

    /// Waits for its end.
    pub(super) fn finish(mut self) {
        let _ended = self.child.wait();
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Processor seconds that a process and the processes it started have used, all threads; nothing where the system does
/// not say it.
pub(super) fn processor_secs(pid: u32) -> Option<f64> {
    ticks(pid)?;
    Some(family(pid).into_iter().filter_map(ticks).sum::<u64>() as f64 / TICKS_PER_SEC)
}

/// A process and all that it started, as far as the system tells.
fn family(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lines = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<u32> = lines.flat_map(|line| words(&line)).collect();
    std::iter::once(pid).chain(children.into_iter().flat_map(family)).collect()
}

fn words(line: &str) -> Vec<u32> {
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// What Linux counts processor time in, on every processor that Rust knows.
const TICKS_PER_SEC: f64 = 100.0;

fn ticks(pid: u32) -> Option<u64> {
    ticks_of(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// User and system time of a line of `/proc/PID/stat`; the name in parentheses may hold anything.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_whatever_the_program_is_called() {
        let stat = "4242 (a) b (c)) S 1 4242 4242 0 -1 4194304 900 0 0 0 130 25 7 8 20 0 3 0 100 1 1";
        assert_eq!(ticks_of(stat), Some(155));
        assert_eq!(ticks_of("no such line"), None);
        assert_eq!(words("12 15 \n"), [12, 15]);
    }
}
