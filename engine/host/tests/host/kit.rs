//! Scripted work for an engine, and a client that waits for what it expects.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use temper_host::{JobContext, LocalClient, PlannedRun, RunAgain, RunPlace, Times, Work, Workshop};
use temper_protocol::{Act, Command, EngineClient as _, Envelope, Event, Problem, RunStatus};
use temper_store::NewRun;
use temper_train::{Outcome, RunControl, Want};

/// Longest wait for anything in a test; never reached when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What to do for each command.
pub(crate) type Script = Box<dyn Fn(Command) -> Result<Work, Problem> + Send + Sync>;

/// A workshop that follows a script.
pub(crate) struct Scripted(pub(crate) Script);

impl Workshop for Scripted {
    fn plan(&self, command: Command) -> Result<Work, Problem> {
        (self.0)(command)
    }
}

/// Times of a test: the writer thread looks often.
pub(crate) const QUICK: Times = Times {
    poll: Duration::from_millis(5),
    flush: Duration::from_millis(20),
    heartbeat: Duration::from_millis(20),
    idle: Duration::from_millis(40),
};

/// A client that waits.
pub(crate) struct Client {
    pub(crate) engine: LocalClient,
    pub(crate) heard: Vec<Envelope>,
}

impl Client {
    pub(crate) fn new(script: Script) -> Self {
        let mut engine = LocalClient::with(Box::new(Scripted(script)), QUICK).expect("engine");
        let thread = std::thread::current();
        engine.set_waker(Arc::new(move || thread.unpark()));
        Self { engine, heard: Vec::new() }
    }

    pub(crate) fn send(&mut self, command: Command) -> u64 {
        self.engine.send(command).expect("accepted")
    }

    /// Waits for an event that answers `req` and is `wanted`; everything before it stays in `heard`.
    pub(crate) fn until(&mut self, req: u64, wanted: impl Fn(&Event) -> bool) -> Event {
        let begin = Instant::now();
        let mut seen = 0;
        loop {
            for envelope in &self.heard[seen..] {
                if envelope.req == req && wanted(&envelope.event) {
                    return envelope.event.clone();
                }
            }
            seen = self.heard.len();
            assert!(begin.elapsed() < PATIENCE, "waited in vain; heard {:#?}", tail(&self.heard));
            self.engine.drain(&mut self.heard);
            if self.heard.len() == seen {
                std::thread::park_timeout(PATIENCE / 10);
            }
        }
    }

    /// Waits for the one last event of a request.
    pub(crate) fn end_of(&mut self, req: u64) -> Event {
        self.until(req, is_end)
    }

    /// Everything that answers `req`.
    pub(crate) fn of(&self, req: u64) -> Vec<Event> {
        self.heard.iter().filter(|envelope| envelope.req == req).map(|envelope| envelope.event.clone()).collect()
    }

    /// Waits until every request is over.
    pub(crate) fn until_idle(&self) {
        let begin = Instant::now();
        while !self.engine.host().is_idle() {
            assert!(begin.elapsed() < PATIENCE, "a request stays open");
            std::thread::yield_now();
        }
    }

    pub(crate) fn control(&mut self, run: u64, act: Act) -> Event {
        let req = self.send(Command::Control { project: None, run, act });
        self.end_of(req)
    }
}

fn tail(heard: &[Envelope]) -> &[Envelope] {
    &heard[heard.len().saturating_sub(20)..]
}

/// Whether an event ends a request.
pub(crate) fn is_end(event: &Event) -> bool {
    event.is_last() || matches!(event, Event::Finished { .. })
}

pub(crate) fn train(project: &Path) -> Command {
    Command::Train {
        project: project.to_path_buf(),
        set: Vec::new(),
        method: None,
        out: None,
        resume: None,
        max_steps: None,
    }
}

pub(crate) fn step(step: u64) -> Event {
    Event::Step {
        step,
        max_steps: 1_000_000,
        train_loss: 1.0 / step as f64,
        lr: 1e-4,
        grad_norm: 1.0,
        tokens_per_sec: 100.0,
        trained_tokens: step * 10,
        rss_mib: 50.0,
    }
}

pub(crate) fn started(place: &RunPlace, resumed_from: u64) -> Event {
    Event::Started {
        run: place.run,
        project: place.project_dir.clone(),
        method: "lora".to_owned(),
        model_parameters: 10,
        trained_parameters: 1,
        seed: 42,
        threads: 1,
        device: "cpu".to_owned(),
        max_steps: 1_000_000,
        resumed_from,
    }
}

pub(crate) fn outcome(status: RunStatus, steps: u64) -> Outcome {
    Outcome {
        status,
        steps,
        best_step: steps,
        base_loss: 3.0,
        final_loss: 2.0,
        best_loss: 2.0,
        forgetting: 0.0,
        tokens_per_sec: 100.0,
        cpu_secs_per_step: 0.1,
        peak_rss_mib: 50.0,
        wall_secs: 1.0,
        adapter: None,
        problem: None,
    }
}

/// A little work, so that a scripted run does not flood the machine.
pub(crate) fn work() {
    std::hint::black_box((0..20_000_u64).map(std::hint::black_box).sum::<u64>());
}

/// Trains without end, as a trainer does: polls the control block between steps.
pub(crate) fn endless(place: &RunPlace, control: &RunControl, emit: &mut dyn FnMut(Event)) -> Result<Outcome, Problem> {
    emit(started(place, 0));
    let run = place.run;
    let mut at = 0;
    loop {
        match control.poll() {
            Want::Run => {
                at += 1;
                work();
                emit(step(at));
            }
            Want::Pause => {
                emit(Event::Paused { run, step: at });
                if control.wait_while_paused() == Want::Run {
                    emit(Event::Resumed { run, step: at });
                }
            }
            Want::Stop => return Ok(outcome(RunStatus::Stopped, at)),
            Want::Cancel => return Ok(outcome(RunStatus::Cancelled, at)),
        }
        if control.take_save_now() {
            emit(Event::Checkpoint { step: at, path: place.run_dir.join("checkpoint"), bytes: 5 });
        }
    }
}

/// A run of `project` that does `body`.
pub(crate) fn planned<F>(project: &Path, again: Option<RunAgain>, body: F) -> Work
where
    F: FnOnce(&RunPlace, &RunControl, &mut dyn FnMut(Event)) -> Result<Outcome, Problem> + Send + 'static,
{
    let row = NewRun { method: "lora".to_owned(), max_steps: 1_000_000, ..NewRun::default() };
    Work::Run(Box::new(PlannedRun { project_dir: project.to_path_buf(), row, again, job: Box::new(body) }))
}

/// A light or heavy job.
pub(crate) fn job<F>(body: F) -> Box<dyn temper_host::Job>
where
    F: FnOnce(&JobContext) -> Result<(), Problem> + Send + 'static,
{
    Box::new(body)
}

/// The project that a scripted `train` names.
pub(crate) fn project_of(command: &Command) -> PathBuf {
    match command {
        Command::Train { project, .. } => project.clone(),
        other => panic!("not a training command: {other:?}"),
    }
}

/// A bounded channel for what a test and its script tell each other.
pub(crate) fn channel() -> (std::sync::mpsc::SyncSender<()>, std::sync::mpsc::Receiver<()>) {
    std::sync::mpsc::sync_channel(16)
}
