//! The thread that owns the reading end of the store.

use super::RunSource;
use super::compared::{Compared, differing};
use super::forgetting::AtBest;
use super::snapshot::{RunsSnapshot, ViewRequest};
use super::view::RunCache;
use crate::client::Wake;
use crate::texts::speak;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};
use temper_protocol::{Command, Problem};
use temper_store::{DB_NAME, ProjectLock, Reader, StoreError, push_command};

/// While something runs.
pub const LIVE_INTERVAL: Duration = Duration::from_millis(500);
/// The same where the processor that trains also draws: every look costs a frame of some 70 ms, most of it the renderer.
pub const DRAWN_BY_PROCESSOR_INTERVAL: Duration = Duration::from_secs(2);
/// While nothing does: a run that another program starts is noticed after this long.
const IDLE_INTERVAL: Duration = Duration::from_secs(2);

/// What the window has said since the thread looked last. Of what it wants to see only the newest counts; what it tells
/// runs is all told.
#[derive(Default)]
struct Wishes {
    view: Option<ViewRequest>,
    /// Each with the project that was looked at.
    commands: Vec<(PathBuf, Command)>,
}

type Slot = Arc<Mutex<Option<Arc<RunsSnapshot>>>>;

/// Reads the store on a named thread.
pub struct StoreReader {
    /// Wakes the thread, which takes all wishes then.
    wakes: SyncSender<()>,
    wishes: Arc<Mutex<Wishes>>,
    /// The project of the newest wish.
    project: Option<PathBuf>,
    newest: Slot,
}

impl StoreReader {
    /// Starts the thread; it ends when this is dropped. `wake` is called after each new snapshot.
    ///
    /// # Errors
    /// A [`Problem`] when the system gives no thread.
    pub fn start(wake: Wake) -> Result<Self, Problem> {
        Self::start_every(wake, LIVE_INTERVAL)
    }

    /// As [`Self::start`], with another distance of two looks while something runs.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_every(wake: Wake, live_interval: Duration) -> Result<Self, Problem> {
        let (wakes, woken) = sync_channel(1);
        let (newest, wishes) = (Slot::default(), Arc::<Mutex<Wishes>>::default());
        let (slot, taken) = (Arc::clone(&newest), Arc::clone(&wishes));
        std::thread::Builder::new()
            .name("store-reader".to_owned())
            .spawn(move || Worker::new(slot, taken, wake, live_interval).run(&woken))
            .map_err(|error| Problem::internal(t!("problem-store-thread", error = error.to_string())))?;
        Ok(Self { wakes, wishes, project: None, newest })
    }
}

impl RunSource for StoreReader {
    fn look(&mut self, request: ViewRequest) {
        self.project.clone_from(&request.project);
        self.wishes.lock().view = Some(request);
        self.nudge();
    }

    fn nudge(&mut self) {
        // When the channel is full, the thread has not come to the wish before this one and takes both.
        if let Err(TrySendError::Disconnected(())) = self.wakes.try_send(()) {
            tracing::debug!("the store reader has ended");
        }
    }

    fn latest(&mut self) -> Option<Arc<RunsSnapshot>> {
        self.newest.lock().take()
    }

    fn steer(&mut self, command: Command) {
        let Some(project) = self.project.clone() else { return };
        self.wishes.lock().commands.push((project, command));
        self.nudge();
    }
}

/// What is known of the store of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    /// It was never read.
    Unread,
    /// It could be read when it was looked at last.
    Read,
    /// It could be read before, but not last time.
    Missed,
    /// It cannot be read, and the window knows.
    Told,
}

struct Worker {
    newest: Slot,
    wishes: Arc<Mutex<Wishes>>,
    wake: Wake,
    live_interval: Duration,
    request: ViewRequest,
    reader: Option<Reader>,
    health: Health,
    version: i64,
    holder: Option<u32>,
    cache: RunCache,
    compared: Compared,
    at_best: AtBest,
    active: bool,
    built_at: Instant,
    /// The wishes changed, so the answer is due whatever the store says.
    due: bool,
}

impl Worker {
    fn new(newest: Slot, wishes: Arc<Mutex<Wishes>>, wake: Wake, live_interval: Duration) -> Self {
        Self {
            newest,
            wishes,
            wake,
            live_interval,
            request: ViewRequest::default(),
            reader: None,
            health: Health::Unread,
            version: -1,
            holder: None,
            cache: RunCache::default(),
            compared: Compared::default(),
            at_best: AtBest::default(),
            active: false,
            built_at: Instant::now(),
            due: false,
        }
    }

    fn run(mut self, woken: &Receiver<()>) {
        loop {
            let interval = if self.active { self.live_interval } else { IDLE_INTERVAL };
            match woken.recv_timeout(interval) {
                Ok(()) => self.take(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // News may come faster than anybody can read; wishes of the person are answered at once.
            while !self.due {
                let left = self.live_interval.saturating_sub(self.built_at.elapsed());
                match woken.recv_timeout(left) {
                    Ok(()) => self.take(),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            self.look();
        }
    }

    /// Takes what the window has said.
    fn take(&mut self) {
        let Wishes { view, commands } = std::mem::take(&mut *self.wishes.lock());
        for (project, command) in commands {
            if let Err(error) = push_command(&project, &command) {
                self.publish_problem(project, error);
            }
        }
        let Some(request) = view else { return };
        if self.request.project != request.project {
            self.forget();
            self.health = Health::Unread;
        }
        if self.request.language != request.language {
            // Lines of events are kept in words.
            speak(request.language);
            self.cache = RunCache::default();
        }
        self.due |= self.request != request;
        self.request = request;
    }

    /// Forgets what was read: another store may be read next, and all of it is new then.
    fn forget(&mut self) {
        self.reader = None;
        self.cache = RunCache::default();
        self.compared = Compared::default();
        self.at_best = AtBest::default();
        self.version = -1;
    }

    fn look(&mut self) {
        let Some(project) = self.request.project.clone() else {
            if std::mem::take(&mut self.due) {
                self.active = false;
                self.publish(RunsSnapshot::default());
            }
            return;
        };
        let holder = ProjectLock::holder(&project);
        match self.read(&project, holder) {
            Ok(snapshot) => {
                if self.reader.is_some() {
                    self.health = Health::Read;
                }
                if let Some(snapshot) = snapshot {
                    self.publish(snapshot);
                }
            }
            Err(error) => self.miss(project, error),
        }
    }

    /// The store cannot be read: says so once, and again with each wish. One that was shown gets a second look first, where
    /// the reason may be gone by then.
    fn miss(&mut self, project: PathBuf, error: StoreError) {
        self.forget();
        let is_told = match self.health {
            Health::Unread | Health::Missed => true,
            Health::Read => !may_pass(&error),
            Health::Told => self.due,
        };
        if is_told {
            self.health = Health::Told;
            self.due = false;
            self.active = false;
            self.publish_problem(project, error);
        } else if self.health == Health::Read {
            self.health = Health::Missed;
        }
    }

    /// A snapshot, or nothing when nothing changed.
    fn read(&mut self, project: &Path, holder: Option<u32>) -> Result<Option<RunsSnapshot>, StoreError> {
        // A file that is gone can still be read by who has it open.
        if !project.join(DB_NAME).is_file() {
            if self.health == Health::Unread {
                // A project that never ran has no store yet.
                let empty = RunsSnapshot { project: Some(project.to_path_buf()), holder, ..RunsSnapshot::default() };
                return Ok(std::mem::take(&mut self.due).then_some(empty));
            }
            return Err(gone(project));
        }
        if self.reader.is_none() {
            self.reader = Some(Reader::open(project)?);
        }
        let Some(reader) = &self.reader else { return Ok(None) };
        let version = reader.data_version()?;
        if version == self.version && holder == self.holder && !self.due {
            return Ok(None);
        }
        let mut runs = reader.runs()?;
        for row in &mut runs {
            // The base forgets nothing by definition; a run that measured no more is not known to have kept anything.
            if row.forgetting == 0.0 && super::view::kept_step(&reader.series_names(row.run)?) == Some(0) {
                row.forgetting = f64::NAN;
            }
        }
        let wanted = self.request.run;
        let row = runs.iter().find(|row| Some(row.run) == wanted).or_else(|| runs.first());
        let view = match row {
            Some(row) => Some(Arc::new(self.cache.build(reader, row, &runs, &self.request)?)),
            None => None,
        };
        let compared = self.compared.curves(reader, &runs, &self.request)?;
        let settings = self.compared.settings(&runs);
        let kept_at_best = self.at_best.read(reader, &runs)?;
        // Without an engine they wait for nothing.
        let waiting = if holder.is_some() { reader.waiting()? } else { Vec::new() };
        let trashed = reader.trashed()?;
        // A run whose engine is gone changes no more.
        self.active = holder.is_some() && runs.iter().any(temper_store::RunRow::is_active);
        self.version = version;
        self.holder = holder;
        self.due = false;
        Ok(Some(RunsSnapshot {
            project: Some(project.to_path_buf()),
            runs,
            waiting,
            trashed,
            holder,
            view,
            compared,
            differing: differing(&settings),
            settings,
            kept_at_best,
            problem: None,
        }))
    }

    fn publish_problem(&mut self, project: PathBuf, error: StoreError) {
        self.publish(RunsSnapshot { project: Some(project), problem: Some(error.into()), ..RunsSnapshot::default() });
    }

    fn publish(&mut self, snapshot: RunsSnapshot) {
        self.built_at = Instant::now();
        *self.newest.lock() = Some(Arc::new(snapshot));
        (self.wake)();
    }
}

/// Whether a reason may be gone at the next look: another program holds the store, or its project is being moved.
fn may_pass(error: &StoreError) -> bool {
    matches!(error, StoreError::Locked { .. } | StoreError::Missing { .. } | StoreError::Io { .. })
}

/// Why a store that was there is not: its project is gone as well, as with a drive that was unplugged, or only the file.
fn gone(project: &Path) -> StoreError {
    match std::fs::metadata(project) {
        Err(source) => StoreError::Io { file: project.to_path_buf(), source },
        Ok(_) => StoreError::Missing { file: project.join(DB_NAME) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temper_store::{NewRun, Store};

    /// A worker that looks at a project with a run, and what it has published.
    fn looking(project: &Path) -> (Worker, Slot) {
        let store = Store::open(project).expect("a store");
        store.create_run(&NewRun::default()).expect("a run");
        let newest = Slot::default();
        let mut worker = Worker::new(Arc::clone(&newest), Arc::default(), Arc::new(|| {}), LIVE_INTERVAL);
        wish(&mut worker, ViewRequest { project: Some(project.to_path_buf()), ..ViewRequest::default() });
        (worker, newest)
    }

    fn wish(worker: &mut Worker, request: ViewRequest) {
        worker.wishes.lock().view = Some(request);
        worker.take();
    }

    /// How many runs are shown after another look and whether there is a problem; nothing when nothing is said.
    fn look(worker: &mut Worker, newest: &Slot) -> Option<(usize, bool)> {
        worker.look();
        newest.lock().take().map(|snapshot| (snapshot.runs.len(), snapshot.problem.is_some()))
    }

    // Elsewhere nobody can move what somebody reads.
    #[cfg(unix)]
    #[test]
    fn a_store_that_is_gone_is_said_once_until_it_is_back() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (here, away) = (folder.path().join("project"), folder.path().join("away"));
        std::fs::create_dir(&here).expect("a folder");
        let (mut worker, newest) = looking(&here);
        assert_eq!(look(&mut worker, &newest), Some((1, false)));
        assert_eq!(look(&mut worker, &newest), None, "nothing changed");

        std::fs::rename(&here, &away).expect("moved away");
        assert_eq!(look(&mut worker, &newest), None, "it may be back in a moment");
        assert_eq!(look(&mut worker, &newest), Some((0, true)));
        assert_eq!(look(&mut worker, &newest), None, "it was said");
        let request = ViewRequest { log_y: true, ..worker.request.clone() };
        wish(&mut worker, request);
        assert_eq!(look(&mut worker, &newest), Some((0, true)), "a wish is answered");

        std::fs::rename(&away, &here).expect("moved back");
        assert_eq!(look(&mut worker, &newest), Some((1, false)));
        std::fs::rename(&here, &away).expect("moved away");
        assert_eq!(look(&mut worker, &newest), None);
        std::fs::rename(&away, &here).expect("moved back");
        assert_eq!(look(&mut worker, &newest), Some((1, false)), "a moment is not worth a word");
    }

    #[test]
    fn a_store_that_is_damaged_while_it_is_shown_is_said_at_once() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (mut worker, newest) = looking(folder.path());
        assert_eq!(look(&mut worker, &newest), Some((1, false)));
        worker.miss(folder.path().to_path_buf(), StoreError::Damaged { file: PathBuf::new(), what: String::new() });
        assert!(newest.lock().take().is_some_and(|snapshot| snapshot.problem.is_some()));
    }
}
