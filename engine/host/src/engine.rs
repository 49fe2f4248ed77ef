//! The engine as a child process: requests come in as JSON lines, events go out as JSON lines.
//!
//! Place in the data flow: the window starts `temper engine` and talks to it through its standard
//! streams. A window that goes away is no reason to end a run: a closed pipe only means that nobody
//! listens. Without work and without a listener the engine ends after a while.

use crate::host::Host;
use crate::projects::Times;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use temper_nn::kernels::threads::room_for;
use temper_protocol::{Code, Envelope, Event, Problem, Request};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Longest request: a prompt may be long, a runaway line is an error.
const LINE_LIMIT: usize = 16 << 20;
/// Stack of the thread that writes events, bytes.
const EVENTS_STACK_BYTES: usize = 2 << 20;
/// Lines read ahead.
const LINES_AHEAD: usize = 64;

/// Runs the engine on the standard streams until it has neither work nor a listener.
///
/// # Errors
/// A problem when the engine cannot start.
pub fn engine_main() -> Result<(), Problem> {
    let host = Arc::new(Host::start(Box::new(crate::jobs::Program::new()?), Times::default())?);
    host.keep_awake();
    if let Some(power) = crate::power::of_this_machine() {
        host.watch_power(power, crate::power::LOOK_EVERY)?;
    }
    let stopped = Arc::downgrade(&host);
    // The system asks programs to end before it shuts down: runs are stopped and kept.
    let handler = ctrlc::set_handler(move || {
        if let Some(host) = stopped.upgrade() {
            host.stop_all();
        }
    });
    if let Err(error) = handler {
        tracing::warn!(%error, "the engine cannot hear that the system shuts down");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Problem::new(Code::Internal, format!("the engine cannot wait for requests: {error}"), "engine", "try again")
    })?;
    let result = runtime.block_on(serve(&host, tokio::io::stdin(), std::io::stdout()));
    // A read of standard input cannot be interrupted; the process ends anyway.
    runtime.shutdown_background();
    result
}

/// Reads requests from `input` and writes events to `output` until there is neither work nor a listener,
/// or shutdown was asked for and the work is done.
///
/// # Errors
/// A problem when the thread that writes events cannot be started.
pub async fn serve<R, W>(host: &Arc<Host>, input: R, output: W) -> Result<(), Problem>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: Write + Send + 'static,
{
    let listening = Arc::new(AtomicBool::new(true));
    let ended = Arc::new(AtomicBool::new(false));
    let writer = spawn_events(host, output, &listening, &ended)?;
    let (to_here, mut lines) = mpsc::channel(LINES_AHEAD);
    let reader = tokio::spawn(read_lines(BufReader::new(input), to_here));
    let times = host.times();
    let mut tick = tokio::time::interval(times.poll.min(times.idle / 4).max(Duration::from_millis(1)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut input_open = true;
    let mut heard = true;
    let mut idle_since = Instant::now();
    loop {
        tokio::select! {
            line = lines.recv(), if input_open => match line {
                Some(line) => answer(host, line),
                None => input_open = false,
            },
            _ = tick.tick() => {}
        }
        let hears = listening.load(Ordering::Acquire);
        if !hears && std::mem::replace(&mut heard, false) {
            host.nobody_listens();
        }
        let listener = input_open && hears;
        if !host.is_idle() || (listener && !host.wants_shutdown()) {
            idle_since = Instant::now();
        } else if host.wants_shutdown() || idle_since.elapsed() >= times.idle {
            break;
        }
    }
    reader.abort();
    ended.store(true, Ordering::Release);
    // Wakes the writer, which gives out what is left and ends.
    host.say(Envelope { req: 0, event: Event::Done {} });
    // A listener that holds its end open and reads nothing must not keep this process alive.
    let patience = Instant::now() + times.idle;
    while !writer.is_finished() && Instant::now() < patience {
        tick.tick().await;
    }
    if !writer.is_finished() {
        tracing::warn!("the listener does not read; its last events are left out");
    } else if writer.join().is_err() {
        tracing::error!("the thread that writes events ended by a panic");
    }
    Ok(())
}

/// A line of input.
enum Line {
    /// A whole one.
    Text(Vec<u8>),
    /// One that is too long; its content is thrown away.
    TooLong,
}

/// Reads lines until the input ends.
async fn read_lines<R: AsyncBufRead + Unpin>(mut input: R, lines: mpsc::Sender<Line>) {
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        let (used, complete) = match input.fill_buf().await {
            Ok([]) => break,
            Ok(bytes) => {
                let end = bytes.iter().position(|byte| *byte == b'\n');
                let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
                if line.len() + part.len() > LINE_LIMIT {
                    too_long = true;
                    line.clear();
                }
                if !too_long {
                    line.extend_from_slice(part);
                }
                (part.len() + usize::from(end.is_some()), end.is_some())
            }
            Err(error) => {
                tracing::warn!(%error, "standard input cannot be read any more");
                break;
            }
        };
        input.consume(used);
        if complete {
            let whole =
                if std::mem::take(&mut too_long) { Line::TooLong } else { Line::Text(std::mem::take(&mut line)) };
            if lines.send(whole).await.is_err() {
                return;
            }
        }
    }
    if !line.is_empty() && lines.send(Line::Text(line)).await.is_err() {
        tracing::debug!("the last line came too late");
    }
}

/// Passes a line on, or says what is wrong with it.
fn answer(host: &Host, line: Line) {
    let line = match line {
        Line::Text(line) => line,
        Line::TooLong => {
            let what = format!("a request is longer than {LINE_LIMIT} bytes");
            return refuse(host, 0, Problem::new(Code::Usage, what, "standard input", "send a shorter request"));
        }
    };
    if line.iter().all(u8::is_ascii_whitespace) {
        return;
    }
    match serde_json::from_slice::<Request>(&line) {
        Ok(request) => {
            let req = request.req;
            if let Err(problem) = host.submit(request) {
                refuse(host, req, problem);
            }
        }
        Err(error) => {
            // Whoever asked hears it, if the number can be read.
            let req = serde_json::from_slice::<serde_json::Value>(&line)
                .ok()
                .and_then(|value| value.get("req")?.as_u64())
                .unwrap_or(0);
            let what = format!("a request cannot be understood: {error}");
            let action = "send one JSON object per line with \"req\" and \"command\"";
            refuse(host, req, Problem::new(Code::Usage, what, "standard input", action));
        }
    }
}

fn refuse(host: &Host, req: u64, problem: Problem) {
    host.say(Envelope { req, event: Event::Error(problem) });
}

/// Starts the thread that writes events. It may wait for a slow listener as long as it likes.
fn spawn_events<W: Write + Send + 'static>(
    host: &Arc<Host>,
    mut output: W,
    listening: &Arc<AtomicBool>,
    ended: &Arc<AtomicBool>,
) -> Result<std::thread::JoinHandle<()>, Problem> {
    let (host, listening, ended) = (Arc::clone(host), Arc::clone(listening), Arc::clone(ended));
    let refused = |error: std::io::Error| {
        let what = format!("the thread that writes events cannot be started: {error}");
        Problem::new(Code::OutOfMemory, what, "engine", "close other programs and try again")
    };
    room_for(1, EVENTS_STACK_BYTES).map_err(refused)?;
    let write_events = move || {
        let mut events = Vec::new();
        let mut bytes = Vec::new();
        while host.wait(Duration::from_secs(60)) {
            let last = ended.load(Ordering::Acquire);
            host.drain(&mut events);
            if last {
                // What woke this thread up for the last time is for nobody.
                events.retain(|envelope| *envelope != Envelope { req: 0, event: Event::Done {} });
            }
            bytes.clear();
            for envelope in events.drain(..) {
                match serde_json::to_writer(&mut bytes, &envelope) {
                    Ok(()) => bytes.push(b'\n'),
                    Err(error) => tracing::error!(%error, ?envelope, "an event cannot be written as JSON"),
                }
            }
            if listening.load(Ordering::Acquire)
                && let Err(error) = output.write_all(&bytes).and_then(|()| output.flush())
            {
                tracing::info!(%error, "nobody listens any more; runs go on");
                listening.store(false, Ordering::Release);
            }
            if last {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("events".to_owned())
        .stack_size(EVENTS_STACK_BYTES)
        .spawn(write_events)
        .map_err(refused)
}
