//! Projects with runs in this engine: their locks, databases and live runs.
//!
//! Place in the data flow: the intake thread enters a project when a run is accepted and the engine
//! thread leaves it when the run has ended; in between the project is locked, its database is open, and
//! the writer thread looks after it: flushes, heartbeat, commands that a window left there.

use crate::memory;
use crate::outbox::Outbox;
use crate::run::Figures;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use temper_protocol::{Act, Command, Envelope, Event, Problem};
use temper_store::{MEMORY_LOW, ProjectLock, Store};
use temper_train::RunControl;

/// How long the end of a project's last run waits for the writer thread to let its database go, and between two looks.
const CLOSING_PATIENCE: Duration = Duration::from_secs(2);
const CLOSING_LOOK: Duration = Duration::from_millis(1);

/// How often the writer thread does what.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Between looks at the commands table.
    pub poll: Duration,
    /// Between flushes of the databases.
    pub flush: Duration,
    /// Between signs of life.
    pub heartbeat: Duration,
    /// How long an engine without work waits for a new listener.
    pub idle: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(100),
            flush: Duration::from_millis(250),
            heartbeat: Duration::from_secs(1),
            idle: Duration::from_secs(5),
        }
    }
}

/// A run that waits or goes on in this engine.
pub(crate) struct LiveRun {
    /// Key of its project.
    pub(crate) project: PathBuf,
    /// Number.
    pub(crate) run: u64,
    /// Request that asked for it.
    pub(crate) req: u64,
    /// How it is steered.
    pub(crate) control: RunControl,
    /// How far it is.
    pub(crate) figures: Mutex<Figures>,
    /// Whether its one last event has been said, or is about to be.
    pub(crate) ended: AtomicBool,
    /// Whether it has been said that little memory is free.
    warned_of_memory: AtomicBool,
    /// Whether it was held since the machine is on its battery; it may have been let go by a person.
    pub(crate) held_for_power: AtomicBool,
}

struct OpenProject {
    store: Arc<Store>,
    /// Given back when the project is closed.
    _lock: ProjectLock,
    runs: usize,
}

#[derive(Default)]
struct Book {
    projects: BTreeMap<PathBuf, OpenProject>,
    runs: Vec<Arc<LiveRun>>,
    closed: bool,
}

/// All projects with runs.
pub(crate) struct Projects {
    book: Mutex<Book>,
    changed: Condvar,
    /// For what a run says while its own thread is at work.
    outbox: Arc<Outbox>,
}

/// One name per folder, however it was written.
pub(crate) fn key(project_dir: &Path) -> PathBuf {
    std::fs::canonicalize(project_dir).unwrap_or_else(|_missing| project_dir.to_path_buf())
}

impl Projects {
    /// No projects yet; what the writer thread has to say goes to `outbox`.
    pub(crate) fn new(outbox: Arc<Outbox>) -> Self {
        Self { book: Mutex::default(), changed: Condvar::new(), outbox }
    }

    /// Locks and opens a project, or joins those who have. What an earlier engine left behind is marked as
    /// interrupted.
    pub(crate) fn enter(&self, project_dir: &Path) -> Result<Arc<Store>, Problem> {
        let mut book = self.book.lock();
        let key = key(project_dir);
        if let Some(open) = book.projects.get_mut(&key) {
            open.runs += 1;
            return Ok(Arc::clone(&open.store));
        }
        let lock = ProjectLock::acquire(project_dir)?;
        let store = Arc::new(Store::open(project_dir)?);
        let interrupted = store.mark_interrupted()?;
        // Commands for an engine that is gone.
        let stale = store.take_commands()?.len();
        tracing::info!(project = %project_dir.display(), interrupted, stale, "project opened");
        book.projects.insert(key, OpenProject { store: Arc::clone(&store), _lock: lock, runs: 1 });
        self.changed.notify_all();
        Ok(store)
    }

    /// Notes that a run of the project has ended; the last one closes it. A database that cannot be
    /// written stays open, and the writer thread goes on trying.
    pub(crate) fn leave(&self, project_dir: &Path) {
        let mut book = self.book.lock();
        let key = key(project_dir);
        let Some(open) = book.projects.get_mut(&key) else {
            return;
        };
        open.runs = open.runs.saturating_sub(1);
        let over = open.runs == 0 && open.store.flush().is_ok();
        let closed = if over { book.projects.remove(&key) } else { None };
        self.changed.notify_all();
        // The lock is given back before anybody else can enter. The writer thread may still be in a round with the
        // database; whoever hears that the run has ended finds it closed.
        let Some(OpenProject { store, _lock: lock, .. }) = closed else { return };
        drop(lock);
        let begin = Instant::now();
        while Arc::strong_count(&store) > 1 && begin.elapsed() < CLOSING_PATIENCE {
            let _woken = self.changed.wait_for(&mut book, CLOSING_LOOK);
        }
    }

    /// Registers a run so that it can be steered.
    pub(crate) fn add_run(&self, project_dir: &Path, run: u64, req: u64, figures: Figures) -> Arc<LiveRun> {
        let live = Arc::new(LiveRun {
            project: key(project_dir),
            run,
            req,
            control: RunControl::new(),
            figures: Mutex::new(figures),
            ended: AtomicBool::new(false),
            warned_of_memory: AtomicBool::new(false),
            held_for_power: AtomicBool::new(false),
        });
        self.book.lock().runs.push(Arc::clone(&live));
        self.changed.notify_all();
        live
    }

    /// Removes a run that has ended.
    pub(crate) fn remove_run(&self, live: &Arc<LiveRun>) {
        self.book.lock().runs.retain(|other| !Arc::ptr_eq(other, live));
    }

    /// Whether run `run` of `project_dir` waits or goes on here.
    pub(crate) fn is_live(&self, project_dir: &Path, run: u64) -> bool {
        let key = key(project_dir);
        self.book.lock().runs.iter().any(|live| live.run == run && live.project == key)
    }

    /// Steers run `run` of `project_dir`; where that is not said, the one that was accepted first, should two projects have
    /// one of that number. Returns it.
    pub(crate) fn steer(&self, project_dir: Option<&Path>, run: u64, act: Act) -> Option<Arc<LiveRun>> {
        let key = project_dir.map(key);
        let meant = |live: &&Arc<LiveRun>| live.run == run && key.as_ref().is_none_or(|key| live.project == *key);
        let found = self.book.lock().runs.iter().find(meant).cloned();
        found.inspect(|live| live.control.request(act))
    }

    /// Steers the run that request `req` asked for. Returns whether there is one.
    pub(crate) fn steer_request(&self, req: u64, act: Act) -> bool {
        let found = self.book.lock().runs.iter().find(|live| live.req == req).cloned();
        found.inspect(|live| live.control.request(act)).is_some()
    }

    /// Steers every run.
    pub(crate) fn steer_all(&self, act: Act) {
        for live in &self.book.lock().runs {
            live.control.request(act);
        }
    }

    /// Every run that waits or goes on, with its database; waits for nobody longer than `longest`.
    pub(crate) fn live_within(&self, longest: Duration) -> Vec<(Arc<LiveRun>, Arc<Store>)> {
        let Some(book) = self.book.try_lock_for(longest) else { return Vec::new() };
        let with_store = |live: &Arc<LiveRun>| {
            let open = book.projects.get(&live.project)?;
            Some((Arc::clone(live), Arc::clone(&open.store)))
        };
        book.runs.iter().filter_map(with_store).collect()
    }

    /// Tells the writer thread to end when everything is written.
    pub(crate) fn close(&self) {
        self.book.lock().closed = true;
        self.changed.notify_all();
    }

    /// The writer thread: until [`Self::close`], and never between two steps of anybody. `told` hears of each run that was
    /// told something through its database.
    pub(crate) fn write_until_closed(&self, times: Times, told: &dyn Fn(&LiveRun, Act)) {
        let pid = std::process::id();
        let now = Instant::now();
        let (mut flush_at, mut heartbeat_at) = (now, now);
        loop {
            let (stores, runs) = {
                let mut book = self.book.lock();
                if book.closed {
                    break;
                }
                if book.projects.is_empty() {
                    self.changed.wait(&mut book);
                    continue;
                }
                let _woken = self.changed.wait_for(&mut book, times.poll);
                let stores: Vec<(PathBuf, Arc<Store>)> =
                    book.projects.iter().map(|(key, open)| (key.clone(), Arc::clone(&open.store))).collect();
                (stores, book.runs.clone())
            };
            let now = Instant::now();
            let flush = now >= flush_at;
            let heartbeat = now >= heartbeat_at;
            let mut acts = Vec::new();
            for (key, store) in &stores {
                obey(key, store, &runs, &mut acts);
                if flush && let Err(error) = store.flush() {
                    tracing::warn!(%error, project = %key.display(), "flush failed; tried again later");
                }
                if heartbeat {
                    beat(key, store, &runs, pid);
                }
            }
            if heartbeat {
                self.warn_of_memory(&stores, &runs);
            }
            // What follows may close a project, which waits until nobody holds its database.
            drop((stores, runs));
            acts.iter().for_each(|(live, act)| told(live, *act));
            if flush {
                flush_at = now + times.flush;
                self.close_written();
            }
            if heartbeat {
                heartbeat_at = now + times.heartbeat;
            }
        }
        for open in self.book.lock().projects.values() {
            if let Err(error) = open.store.flush() {
                tracing::error!(%error, "the last entries of the run database could not be written");
            }
        }
    }

    /// Says once per run that little memory is free, on record first: should the system kill this process, the next
    /// engine knows why.
    fn warn_of_memory(&self, stores: &[(PathBuf, Arc<Store>)], runs: &[Arc<LiveRun>]) {
        let free_mib = temper_train::meter::free_memory_mib();
        // 0 is "not known".
        if free_mib <= 0.0 || free_mib >= memory::LOW_MIB {
            return;
        }
        for live in runs {
            let Some((_, store)) = stores.iter().find(|(key, _)| *key == live.project) else { continue };
            if live.warned_of_memory.swap(true, Ordering::AcqRel) {
                continue;
            }
            let step = live.figures.lock().steps();
            let event = Event::Warning { code: MEMORY_LOW.to_owned(), text: memory::low(free_mib), step };
            if let Err(error) = store.push_event(live.run, &event).and_then(|()| store.flush()) {
                tracing::warn!(%error, "the warning about memory is not on record");
            }
            self.outbox.push(Envelope { req: live.req, event });
        }
    }

    /// Closes projects without runs whose database could at last be written.
    fn close_written(&self) {
        self.book.lock().projects.retain(|_, open| open.runs > 0 || open.store.has_pending());
    }
}

/// Passes on what a window without a pipe to this engine left in the database.
fn obey(key: &Path, store: &Store, runs: &[Arc<LiveRun>], acts: &mut Vec<(Arc<LiveRun>, Act)>) {
    let commands = match store.take_commands() {
        Ok(commands) => commands,
        Err(error) => {
            tracing::warn!(%error, "the commands table cannot be read");
            return;
        }
    };
    for (id, command) in commands {
        match command {
            Command::Control { run, act, .. } => {
                match runs.iter().find(|live| live.run == run && live.project == key) {
                    Some(live) => {
                        live.control.request(act);
                        acts.push((Arc::clone(live), act));
                    }
                    None => tracing::warn!(id, run, "a command for a run that is not live"),
                }
            }
            other => tracing::warn!(id, ?other, "only runs can be steered through the database"),
        }
    }
}

fn beat(key: &Path, store: &Store, runs: &[Arc<LiveRun>], pid: u32) {
    for live in runs.iter().filter(|live| live.project == key) {
        if let Err(error) = store.heartbeat(live.run, pid) {
            tracing::debug!(%error, "no heartbeat");
        }
    }
}
