//! The engine behind pipes: malformed requests, listeners that vanish, its end when nothing is left.

use crate::kit::{QUICK, Scripted, endless, job, outcome, planned, project_of, started, step, train};
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use temper_host::{Host, Work};
use temper_protocol::{Act, Code, Command, Envelope, Event, Problem, Request, RunStatus};
use temper_store::Reader;
use tokio::io::{AsyncWriteExt as _, DuplexStream};

/// Standard output of the engine: lines go to the test; breaks when told so.
struct Output {
    to_test: SyncSender<Vec<u8>>,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.to_test.send(bytes.to_vec()).map_err(|_closed| std::io::Error::from(std::io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Process {
    input: Option<DuplexStream>,
    output: Option<Receiver<Vec<u8>>>,
    bytes: Vec<u8>,
    thread: JoinHandle<Result<(), Problem>>,
    runtime: tokio::runtime::Runtime,
}

impl Process {
    fn start(script: crate::kit::Script) -> Self {
        Self::start_with(script, 1 << 16)
    }

    /// An engine whose output holds so many pieces before writing to it waits.
    fn start_with(script: crate::kit::Script, output_room: usize) -> Self {
        let (input, engine_input) = tokio::io::duplex(1 << 16);
        let (to_test, output) = sync_channel(output_room);
        let thread = std::thread::Builder::new()
            .name("engine process".to_owned())
            .spawn(move || {
                let host = Arc::new(Host::start(Box::new(Scripted(script)), QUICK)?);
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
                runtime.block_on(temper_host::serve(&host, engine_input, Output { to_test }))
            })
            .expect("thread");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        Self { input: Some(input), output: Some(output), bytes: Vec::new(), thread, runtime }
    }

    fn write(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().expect("open");
        self.runtime.block_on(input.write_all(bytes)).expect("the engine reads");
    }

    fn send(&mut self, req: u64, command: Command) {
        let mut line = serde_json::to_vec(&Request { req, command }).expect("JSON");
        line.push(b'\n');
        self.write(&line);
    }

    /// The next line; none when the engine has closed its output.
    fn next(&mut self) -> Option<Envelope> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("a JSON line"));
            }
            self.bytes.extend(self.output.as_ref()?.recv_timeout(crate::kit::PATIENCE).ok()?);
        }
    }

    fn until(&mut self, wanted: impl Fn(&Envelope) -> bool) -> Envelope {
        loop {
            let envelope = self.next().expect("the engine says it before it ends");
            if wanted(&envelope) {
                return envelope;
            }
        }
    }

    /// Waits for the end of the engine; what it still said.
    fn end(mut self) -> Vec<Envelope> {
        self.input = None;
        let mut rest = Vec::new();
        while let Some(envelope) = self.next() {
            rest.push(envelope);
        }
        self.thread.join().expect("no panic").expect("a good end");
        rest
    }
}

fn answers() -> crate::kit::Script {
    Box::new(|_| Ok(Work::Light(job(|_| Ok(())))))
}

#[test]
fn a_malformed_line_is_answered_and_the_engine_goes_on() {
    let mut engine = Process::start(answers());
    let refused = |envelope: Envelope| match envelope {
        Envelope { req, event: Event::Error(problem) } => {
            assert_eq!(problem.code, Code::Usage);
            req
        }
        other => panic!("{other:?}"),
    };
    for (line, req) in [
        (&b"{\"req\":3,\"command\":\"frobnicate\"}\n"[..], 3),
        (b"{\"req\":4,\"command\":\"inspect\"}\n", 4),
        (b"not json at all\n", 0),
        (b"\xff\xfe\x00\n", 0),
        (b"[1, 2]\n", 0),
    ] {
        engine.write(line);
        assert_eq!(refused(engine.next().expect("an answer")), req);
    }
    let long = vec![b'x'; 17 << 20];
    engine.write(&long);
    engine.write(b"\n\n   \n");
    assert_eq!(refused(engine.next().expect("an answer")), 0);
    engine.send(9, Command::Doctor {});
    assert_eq!(engine.next(), Some(Envelope { req: 9, event: Event::Done {} }));
    // The last line needs no line end.
    engine.write(b"{\"req\":10,\"command\":\"doctor\"}");
    assert_eq!(engine.end(), [Envelope { req: 10, event: Event::Done {} }]);
}

#[test]
fn an_engine_without_work_ends_after_its_last_listener() {
    let mut engine = Process::start(answers());
    engine.send(1, Command::Methods {});
    assert_eq!(engine.next(), Some(Envelope { req: 1, event: Event::Done {} }));
    assert!(!engine.thread.is_finished(), "a listener keeps it");
    assert_eq!(engine.end(), []);
}

#[test]
fn shutdown_ends_an_engine_that_has_a_listener() {
    let mut engine = Process::start(answers());
    engine.send(1, Command::Shutdown {});
    assert_eq!(engine.next(), Some(Envelope { req: 1, event: Event::Done {} }));
    engine.thread.join().expect("no panic").expect("a good end");
}

#[test]
fn a_listener_that_reads_nothing_keeps_no_engine_alive() {
    let mut engine = Process::start_with(answers(), 0);
    // The first answer blocks the thread that writes events: nobody takes it.
    engine.send(1, Command::Methods {});
    engine.send(2, Command::Shutdown {});
    engine.thread.join().expect("no panic").expect("a good end");
    drop(engine.output);
}

#[test]
fn a_run_goes_on_when_its_listener_is_gone() {
    let project = tempfile::tempdir().expect("folder");
    let (go_on, wait) = crate::kit::channel();
    let wait = parking_lot::Mutex::new(Some(wait));
    let mut engine = Process::start(Box::new(move |command| {
        let wait = wait.lock().take().expect("one run");
        Ok(planned(&project_of(&command), None, move |place, _, emit| {
            emit(started(place, 0));
            wait.recv_timeout(crate::kit::PATIENCE).expect("the test goes on");
            (1..=50).for_each(|at| {
                emit(step(at));
                emit(Event::Sample { step: at, prompt: "p".to_owned(), text: "t".to_owned() });
            });
            Ok(outcome(RunStatus::Finished, 50))
        }))
    }));
    engine.send(1, train(project.path()));
    engine.until(|envelope| matches!(envelope.event, Event::Started { .. }));
    // Both pipes break, as they do when the window is killed.
    engine.input = None;
    engine.output = None;
    go_on.send(()).expect("the run waits");
    engine.thread.join().expect("no panic").expect("a good end");
    let row = Reader::open(project.path()).expect("reader").run(1).expect("reads").expect("the run");
    assert_eq!((row.status.as_str(), row.steps), ("finished", 50));
}

#[test]
fn what_was_only_asked_ends_with_its_listener_and_what_leaves_something_does_not() {
    let (say_ended, ended) = crate::kit::channel();
    let (go_on, wait) = crate::kit::channel();
    let (say_kept, kept) = sync_channel(1);
    let ends = parking_lot::Mutex::new(Some((say_ended, wait, say_kept)));
    let mut engine = Process::start(Box::new(move |command| match command {
        Command::Preview { .. } => {
            let say_ended = ends.lock().as_ref().expect("asked first").0.clone();
            Ok(Work::Light(job(move |context| {
                while context.check_cancelled().is_ok() {
                    context.progress("rows", 1, 2, "rows");
                    std::thread::yield_now();
                }
                say_ended.send(()).expect("the test waits");
                context.check_cancelled()
            })))
        }
        _ => {
            let (_, wait, say_kept) = ends.lock().take().expect("one repair");
            Ok(Work::Heavy(job(move |context| {
                wait.recv_timeout(crate::kit::PATIENCE).expect("the test goes on");
                say_kept.send(context.is_cancelled()).expect("the test waits");
                Ok(())
            })))
        }
    }));
    let project = std::path::PathBuf::from("nowhere");
    engine.send(1, Command::Preview { project: project.clone(), rows: 1 });
    engine.send(2, Command::Repair { project });
    engine.until(|envelope| matches!(envelope, Envelope { req: 1, event: Event::Progress { .. } }));
    engine.input = None;
    engine.output = None;
    ended.recv_timeout(crate::kit::PATIENCE).expect("the preview is not carried on for nobody");
    go_on.send(()).expect("the repair waits");
    assert!(!kept.recv_timeout(crate::kit::PATIENCE).expect("the repair goes on"), "nobody withdrew it");
    engine.thread.join().expect("no panic").expect("a good end");
}

#[test]
fn requests_are_obeyed_in_the_middle_of_a_run() {
    let project = tempfile::tempdir().expect("folder");
    let mut engine = Process::start(Box::new(|command| Ok(planned(&project_of(&command), None, endless))));
    engine.send(1, train(project.path()));
    engine.until(|envelope| matches!(envelope.event, Event::Step { step: 5, .. }));
    engine.send(2, Command::Control { project: None, run: 1, act: Act::Pause });
    engine.until(|envelope| matches!(envelope.event, Event::Paused { .. }));
    engine.send(3, Command::Shutdown {});
    engine.until(|envelope| *envelope == Envelope { req: 3, event: Event::Done {} });
    assert!(!engine.thread.is_finished(), "a run is not ended by shutdown");
    engine.send(4, Command::Control { project: None, run: 1, act: Act::Stop });
    engine.until(|envelope| {
        matches!(envelope, Envelope { req: 1, event: Event::Finished { status: RunStatus::Stopped, .. } })
    });
    engine.thread.join().expect("no panic").expect("a good end");
}
