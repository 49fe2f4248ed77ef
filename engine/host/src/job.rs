//! What the engine can be asked to work on, and what a job sees of the engine.
//!
//! Place in the data flow: [`Workshop`] turns a command into [`Work`]; the host decides on which thread
//! and when it is done, catches panics, and says how it ended. A job only emits what it finds out.

use crate::outbox::Outbox;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use temper_protocol::{Code, Command, Envelope, Event, Problem};
use temper_store::{NewRun, Store};
use temper_train::{Outcome, RunControl};

/// Turns commands into work. The program has one; tests bring their own.
pub trait Workshop: Send + Sync {
    /// Looks at a command, checks what can be checked quickly, and says what is to be done. Nothing is
    /// written before this has succeeded.
    ///
    /// # Errors
    /// Whatever is wrong with the command or what it names.
    fn plan(&self, command: Command) -> Result<Work, Problem>;
}

/// What is to be done.
pub enum Work {
    /// Nothing: these events are the answer.
    Answer(Vec<Event>),
    /// Something quick that may be done while a run goes on.
    Light(Box<dyn Job>),
    /// Something that a person looks at right now: it waits neither for a run nor for light work.
    Look(Box<dyn Job>),
    /// Something that needs the machine for itself.
    Heavy(Box<dyn Job>),
    /// A training run.
    Run(Box<PlannedRun>),
}

/// A request that ends with `done` or `error`.
pub trait Job: Send {
    /// Does it. `done` and `error` are said by the host.
    ///
    /// # Errors
    /// Whatever goes wrong; the person reads it.
    fn carry_out(self: Box<Self>, context: &JobContext) -> Result<(), Problem>;
}

impl<F> Job for F
where
    F: FnOnce(&JobContext) -> Result<(), Problem> + Send,
{
    fn carry_out(self: Box<Self>, context: &JobContext) -> Result<(), Problem> {
        self(context)
    }
}

/// A training run; ends with `finished`, which the host says.
pub trait RunJob: Send {
    /// Trains at `place`, polls `control`, and emits everything from `preparing` on.
    ///
    /// # Errors
    /// Whatever kept the run from starting.
    fn train(
        self: Box<Self>,
        place: &RunPlace,
        control: &RunControl,
        emit: &mut dyn FnMut(Event),
    ) -> Result<Outcome, Problem>;
}

impl<F> RunJob for F
where
    F: FnOnce(&RunPlace, &RunControl, &mut dyn FnMut(Event)) -> Result<Outcome, Problem> + Send,
{
    fn train(
        self: Box<Self>,
        place: &RunPlace,
        control: &RunControl,
        emit: &mut dyn FnMut(Event),
    ) -> Result<Outcome, Problem> {
        self(place, control, emit)
    }
}

/// A run that can start as soon as its turn has come.
pub struct PlannedRun {
    /// Folder of the project; holds the database and the lock.
    pub project_dir: PathBuf,
    /// Its row in the database.
    pub row: NewRun,
    /// The run it goes on with.
    pub again: Option<RunAgain>,
    /// The work.
    pub job: Box<dyn RunJob>,
}

/// A run that is taken up again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAgain {
    /// Its number. When the database has no such run with this folder, because it was lost, the run is
    /// taken into the database anew.
    pub run: u64,
    /// Its folder.
    pub folder: PathBuf,
}

/// Where a run takes place.
#[derive(Clone)]
pub struct RunPlace {
    /// Its number.
    pub run: u64,
    /// Its folder.
    pub run_dir: PathBuf,
    /// The project's folder.
    pub project_dir: PathBuf,
    /// The project's database, for hashes and files of the run.
    pub store: Arc<Store>,
}

/// How the host looks after the machine while runs go on. Jobs that train in processes of their own hand it on.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    keeps_awake: AtomicBool,
    watches_power: AtomicBool,
    /// A person said that runs shall not wait on the battery.
    trains_anyway: AtomicBool,
}

impl Upkeep {
    /// The machine is kept awake while runs go on.
    pub(crate) fn keep_awake(&self) {
        self.keeps_awake.store(true, Ordering::Release);
    }

    /// The power is watched.
    pub(crate) fn watch_power(&self) {
        self.watches_power.store(true, Ordering::Release);
    }

    /// A person says whether runs wait on the battery.
    pub(crate) fn pause_on_battery(&self, waits: bool) {
        self.trains_anyway.store(!waits, Ordering::Release);
    }

    /// The same for `temper train` in a process of its own.
    fn words(&self) -> Vec<String> {
        let awake = self.keeps_awake.load(Ordering::Acquire);
        let waits = self.watches_power.load(Ordering::Acquire) && !self.trains_anyway.load(Ordering::Acquire);
        let words = [(awake, "--keep-awake"), (waits, "--pause-on-battery")];
        words.into_iter().filter(|(wanted, _)| *wanted).map(|(_, word)| word.to_owned()).collect()
    }
}

/// What a job sees of the engine: where its events go, and whether it should end.
pub struct JobContext {
    req: u64,
    outbox: Arc<Outbox>,
    cancelled: Arc<AtomicBool>,
    upkeep: Arc<Upkeep>,
}

impl JobContext {
    pub(crate) fn new(req: u64, outbox: Arc<Outbox>, cancelled: Arc<AtomicBool>) -> Self {
        Self { req, outbox, cancelled, upkeep: Arc::default() }
    }

    /// The same on a machine that the host looks after like this.
    pub(crate) fn with_upkeep(self, upkeep: Arc<Upkeep>) -> Self {
        Self { upkeep, ..self }
    }

    /// What `temper train` is told in a process of its own, so that its run waits on a battery and keeps the machine awake
    /// as runs of this engine do.
    pub(crate) fn upkeep_words(&self) -> Vec<String> {
        self.upkeep.words()
    }

    /// Says something about the request. How it ended is said by the host: `done`, `error` and `finished`
    /// are left out here, so that there is exactly one of them.
    pub fn emit(&self, event: Event) {
        if event.is_last() || matches!(event, Event::Finished { .. }) {
            tracing::error!(?event, "a job tried to end its own request");
            return;
        }
        self.outbox.push(Envelope { req: self.req, event });
    }

    /// Says how far it is; a total of 0 is not known.
    pub fn progress(&self, stage: &str, done: u64, total: u64, unit: &str) {
        self.emit(Event::Progress { done, total, unit: unit.to_owned(), stage: stage.to_owned() });
    }

    /// Whether the person wants it to end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Ends the job when the person wants that.
    ///
    /// # Errors
    /// The problem of a cancelled request.
    pub fn check_cancelled(&self) -> Result<(), Problem> {
        if self.is_cancelled() { Err(cancelled()) } else { Ok(()) }
    }
}

/// The problem of a cancelled request.
pub(crate) fn cancelled() -> Problem {
    Problem::new(Code::Cancelled, "cancelled", "this request", "ask again when you want it")
}

/// What libraries say in a panic when the system gives them no thread or no memory.
const REFUSED: [&str; 3] = ["failed to spawn", "Resource temporarily unavailable", "Cannot allocate memory"];

/// Runs `work` and turns a panic into a problem: the engine lives on.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, Problem>) -> Result<T, Problem> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(payload) => {
            let text = payload
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| payload.downcast_ref::<&str>().copied())
                .unwrap_or("unknown panic");
            tracing::error!(text, "a job panicked");
            if REFUSED.iter().any(|words| text.contains(words)) {
                return Err(Problem::new(
                    Code::OutOfMemory,
                    format!("memory ran out: the system refused a thread, or the memory for it ({text})"),
                    "engine",
                    "close other programs, or lower train.batch, data.max_tokens or train.threads; a run can go on from \
                     its last checkpoint",
                ));
            }
            Err(Problem::new(
                Code::Internal,
                format!("the engine hit a fault of its own: {text}"),
                "engine",
                "please report it with the log file; a run can go on from its last checkpoint",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_its_own_is_looked_after_as_runs_of_the_engine_are() {
        let upkeep = Upkeep::default();
        upkeep.pause_on_battery(true);
        assert_eq!(upkeep.words(), [""; 0], "nobody watches the power");
        upkeep.watch_power();
        upkeep.keep_awake();
        assert_eq!(upkeep.words(), ["--keep-awake", "--pause-on-battery"]);
        upkeep.pause_on_battery(false);
        assert_eq!(upkeep.words(), ["--keep-awake"]);
    }

    #[test]
    fn a_refused_thread_is_no_fault_of_the_program() {
        let code = |text: &'static str| guarded::<()>(|| std::panic::panic_any(text)).expect_err("panics").code;
        assert_eq!(code("failed to spawn pool worker: Os { code: 11, kind: WouldBlock }"), Code::OutOfMemory);
        assert_eq!(code("index out of bounds"), Code::Internal);
    }
}
