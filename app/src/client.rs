//! The engine as the window sees it: a child process that talks in JSON lines.
//!
//! Place in the data flow: the window sends [`Command`]s through [`EngineClient`]; a writer thread puts
//! them on the child's standard input, a reader thread turns its standard output into [`Envelope`]s in a
//! bounded inbox and wakes the window. No call here blocks. The child has a process group of its own and
//! outlives the window, so a run goes on when the window is closed or killed.

use crate::texts::{speak, spoken};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use temper_protocol::{Code, Command, EngineClient, Envelope, Event, Problem, Request};

/// Asks the window to look at what has arrived.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

type Launch = dyn Fn(Wake) -> Result<Box<dyn EngineClient>, Problem> + Send + Sync;

/// Knows how to start an engine; the window starts one when the first request needs it, and again when
/// one is gone.
#[derive(Clone)]
pub struct EngineLauncher(Arc<Launch>);

impl EngineLauncher {
    /// Starts `program engine`; what the engine says on its error stream is appended to `log`.
    #[must_use]
    pub fn child(program: PathBuf, log: Option<PathBuf>) -> Self {
        Self::with(move |wake| Ok(Box::new(ChildClient::start(&program, log.as_deref(), wake)?)))
    }

    /// Starts whatever `launch` gives: an engine in process, or a script in tests.
    pub fn with<F>(launch: F) -> Self
    where
        F: Fn(Wake) -> Result<Box<dyn EngineClient>, Problem> + Send + Sync + 'static,
    {
        Self(Arc::new(launch))
    }

    /// Starts an engine.
    ///
    /// # Errors
    /// A [`Problem`] when it cannot be started.
    pub fn launch(&self, wake: Wake) -> Result<Box<dyn EngineClient>, Problem> {
        (self.0)(wake)
    }
}

/// Requests that may wait for the child to read them.
const REQUEST_LIMIT: usize = 256;
/// Events that may wait for the window; beyond it numbers are dropped, which the store has anyway.
const INBOX_LIMIT: usize = 4096;

/// A child process as an [`EngineClient`].
pub struct ChildClient {
    requests: SyncSender<Request>,
    inbox: Arc<Inbox>,
    next_request: u64,
}

struct Inbox {
    events: Mutex<VecDeque<Envelope>>,
    alive: AtomicBool,
    wake: Mutex<Option<Wake>>,
}

/// How far the engine steps back for other programs: noticeable for them, nothing for it on an idle machine.
#[cfg(unix)]
const NICENESS: &str = "5";

/// Numbers of a run: the store has them, the window reads them there at its own pace.
fn is_measurement(event: &Event) -> bool {
    matches!(event, Event::Step { .. } | Event::Phases { .. } | Event::Rank { .. } | Event::Probe { .. })
}

impl Inbox {
    fn new(wake: Wake) -> Self {
        Self { events: Mutex::default(), alive: AtomicBool::new(true), wake: Mutex::new(Some(wake)) }
    }

    fn wake(&self) {
        let wake = self.wake.lock().clone();
        if let Some(wake) = wake {
            wake();
        }
    }

    fn push(&self, envelope: Envelope) {
        let measurement = is_measurement(&envelope.event);
        {
            let mut events = self.events.lock();
            if !(measurement && events.len() >= INBOX_LIMIT) {
                events.push_back(envelope);
            }
        }
        if !measurement {
            self.wake();
        }
    }
}

impl ChildClient {
    /// Starts the child and its two threads.
    ///
    /// # Errors
    /// A [`Problem`] when the program cannot be started.
    pub fn start(program: &std::path::Path, log: Option<&std::path::Path>, wake: Wake) -> Result<Self, Problem> {
        let fail = |error: std::io::Error| {
            Problem::new(
                Code::Internal,
                t!("problem-engine-start", error = error.to_string()),
                program.display().to_string(),
                t!("problem-engine-start-do"),
            )
        };
        let errors = log.and_then(|path| File::options().create(true).append(true).open(path).ok());
        let mut command = humbly(program);
        command.arg("engine").stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(errors.map_or_else(Stdio::null, Stdio::from));
        own_process_group(&mut command);
        let mut child = command.spawn().map_err(fail)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Problem::internal(t!("problem-engine-streams")));
        };
        let inbox = Arc::new(Inbox::new(wake));
        let log = log.map_or_else(String::new, |path| path.display().to_string());
        let (requests, waiting) = sync_channel(REQUEST_LIMIT);
        std::thread::Builder::new()
            .name("engine-requests".to_owned())
            .spawn(move || write_requests(input, &waiting))
            .map_err(fail)?;
        let shared = Arc::clone(&inbox);
        let language = spoken();
        std::thread::Builder::new()
            .name("engine-events".to_owned())
            .spawn(move || {
                speak(language);
                read_events(child, output, &shared, &log);
            })
            .map_err(fail)?;
        Ok(Self { requests, inbox, next_request: 0 })
    }
}

/// The program at a low priority, so that the machine can be used while it trains: by the system's own `nice`, which
/// becomes the program.
#[cfg(unix)]
fn humbly(program: &std::path::Path) -> std::process::Command {
    let nice = std::path::Path::new("/usr/bin/nice");
    // A program that is not there is missed by name, not by what `nice` says.
    if !nice.is_file() || !program.is_file() {
        return std::process::Command::new(program);
    }
    let mut command = std::process::Command::new(nice);
    command.args(["-n", NICENESS]).arg(program);
    command
}

/// On Windows the flags of the process say so.
#[cfg(not(unix))]
fn humbly(program: &std::path::Path) -> std::process::Command {
    std::process::Command::new(program)
}

#[cfg(unix)]
fn own_process_group(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    command.process_group(0);
}

#[cfg(windows)]
fn own_process_group(command: &mut std::process::Command) {
    use std::os::windows::process::CommandExt as _;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;
    const CREATE_NO_WINDOW: u32 = 0x0800_0000;
    const BELOW_NORMAL_PRIORITY_CLASS: u32 = 0x0000_4000;
    command.creation_flags(CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW | BELOW_NORMAL_PRIORITY_CLASS);
}

#[cfg(not(any(unix, windows)))]
fn own_process_group(_command: &mut std::process::Command) {}

/// Ends when the client is dropped or the child stops reading.
fn write_requests(mut input: ChildStdin, waiting: &Receiver<Request>) {
    while let Ok(request) = waiting.recv() {
        let Ok(mut line) = serde_json::to_vec(&request) else { continue };
        line.push(b'\n');
        if input.write_all(&line).and_then(|()| input.flush()).is_err() {
            return;
        }
    }
}

/// Ends when the child closes its output; then says how it ended.
fn read_events(mut child: Child, output: ChildStdout, inbox: &Inbox, log: &str) {
    for line in BufReader::new(output).lines() {
        let Ok(line) = line else { break };
        if line.trim().is_empty() {
            continue;
        }
        let envelope = serde_json::from_str(&line).unwrap_or_else(|error| Envelope {
            req: 0,
            event: Event::Error(Problem::internal(t!("problem-engine-words", error = error.to_string()))),
        });
        inbox.push(envelope);
    }
    let ending = match child.wait() {
        Ok(status) if status.success() => None,
        Ok(status) => Some(status.to_string()),
        Err(error) => Some(error.to_string()),
    };
    if let Some(ending) = ending {
        let problem = Problem::new(
            Code::Internal,
            t!("problem-engine-ended", ending = ending),
            log,
            t!("problem-engine-ended-do"),
        );
        inbox.push(Envelope { req: 0, event: Event::Error(problem) });
    }
    inbox.alive.store(false, Ordering::Release);
    inbox.wake();
}

impl EngineClient for ChildClient {
    fn send(&mut self, command: Command) -> Result<u64, Problem> {
        self.next_request += 1;
        let request = Request { req: self.next_request, command };
        match self.requests.try_send(request) {
            Ok(()) => Ok(self.next_request),
            Err(TrySendError::Full(_)) => {
                Err(Problem::new(Code::Busy, t!("problem-engine-busy"), "", t!("problem-engine-busy-do")))
            }
            Err(TrySendError::Disconnected(_)) => {
                Err(Problem::new(Code::Internal, t!("problem-engine-gone"), "", t!("problem-engine-gone-again")))
            }
        }
    }

    fn drain(&mut self, into: &mut Vec<Envelope>) {
        into.extend(self.inbox.events.lock().drain(..));
    }

    fn is_alive(&self) -> bool {
        self.inbox.alive.load(Ordering::Acquire)
    }

    fn set_waker(&mut self, wake: Wake) {
        *self.inbox.wake.lock() = Some(wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64) -> Envelope {
        Envelope {
            req: 1,
            event: Event::Step {
                step,
                max_steps: 10,
                train_loss: 1.0,
                lr: 1e-4,
                grad_norm: 1.0,
                tokens_per_sec: 1.0,
                trained_tokens: 1,
                rss_mib: 1.0,
            },
        }
    }

    #[test]
    fn a_full_inbox_drops_numbers_but_no_news() {
        let woken = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = Arc::clone(&woken);
        let wake: Wake = Arc::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let inbox = Inbox::new(wake);
        for number in 0..INBOX_LIMIT as u64 + 50 {
            inbox.push(step(number));
        }
        inbox.push(Envelope { req: 1, event: Event::Done {} });
        let events = inbox.events.lock();
        assert_eq!(events.len(), INBOX_LIMIT + 1);
        assert_eq!(events.back().map(|envelope| envelope.event.clone()), Some(Event::Done {}));
        assert_eq!(woken.load(Ordering::Relaxed), 1, "numbers do not wake the window");
    }

    /// A program that answers one request and then ends as told.
    #[cfg(unix)]
    fn script(folder: &std::path::Path, body: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder.join("engine.sh");
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("script");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("may be run");
        path
    }

    #[cfg(unix)]
    #[test]
    fn a_child_answers_in_lines_and_its_end_is_said_with_the_log() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let body = "read line\ncase \"$line\" in *doctor*) echo '{\"req\":1,\"event\":\"done\"}';; esac\n\
                    echo 'not json'\necho trouble >&2\nexit 3";
        let program = script(folder.path(), body);
        let log = folder.path().join("engine.log");
        let (woken, wakes) = sync_channel(64);
        let wake: Wake = Arc::new(move || {
            let _full = woken.try_send(());
        });
        let mut client = ChildClient::start(&program, Some(&log), wake).expect("started");
        assert_eq!(client.send(Command::Doctor {}).expect("sent"), 1);
        while client.is_alive() {
            wakes.recv_timeout(std::time::Duration::from_secs(20)).expect("the window is woken by every piece of news");
        }
        let mut events = Vec::new();
        client.drain(&mut events);
        assert_eq!(events.first(), Some(&Envelope { req: 1, event: Event::Done {} }));
        let problems: Vec<&Problem> = events
            .iter()
            .filter_map(|e| if let Event::Error(problem) = &e.event { Some(problem) } else { None })
            .collect();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].what.contains("unreadable"), "{}", problems[0]);
        assert!(problems[1].what.contains("stopped unexpectedly"), "{}", problems[1]);
        assert!(problems[1].r#where.ends_with("engine.log"), "{}", problems[1]);
        assert_eq!(std::fs::read_to_string(&log).expect("log"), "trouble\n");
    }

    #[test]
    fn a_program_that_is_not_there_is_a_problem_with_its_path() {
        let missing = std::path::Path::new("no-such-folder/temper");
        let problem = ChildClient::start(missing, None, Arc::new(|| {})).err().expect("cannot start");
        assert!(problem.r#where.contains("no-such-folder"), "{problem}");
    }
}
