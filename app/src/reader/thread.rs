//! The thread that owns the reading end of the store.

use super::RunSource;
use super::compared::{Compared, differing};
use super::snapshot::{RunsSnapshot, ViewRequest};
use super::view::RunCache;
use crate::client::Wake;
use crate::texts::speak;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use temper_protocol::{Command, Problem};
use temper_store::{DB_NAME, ProjectLock, Reader, push_command};

/// While something runs.
pub const LIVE_INTERVAL: Duration = Duration::from_millis(500);
/// The same where the processor that trains also draws: every look costs a frame of some 70 ms, most of it the renderer.
pub const DRAWN_BY_PROCESSOR_INTERVAL: Duration = Duration::from_secs(2);
/// While nothing does: a run that another program starts is noticed after this long.
const IDLE_INTERVAL: Duration = Duration::from_secs(2);

enum Ask {
    Look(Box<ViewRequest>),
    Nudge,
    Steer(Box<Command>),
}

type Slot = Arc<Mutex<Option<Arc<RunsSnapshot>>>>;

/// Reads the store on a named thread.
pub struct StoreReader {
    asks: SyncSender<Ask>,
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
        let (asks, waiting) = sync_channel(64);
        let newest = Slot::default();
        let slot = Arc::clone(&newest);
        std::thread::Builder::new()
            .name("store-reader".to_owned())
            .spawn(move || Worker::new(slot, wake, live_interval).run(&waiting))
            .map_err(|error| Problem::internal(t!("problem-store-thread", error = error.to_string())))?;
        Ok(Self { asks, newest })
    }

    fn ask(&self, ask: Ask) {
        // A full queue means that the reader is busy with older wishes; the next one will do.
        if self.asks.try_send(ask).is_err() {
            tracing::debug!("the store reader is busy");
        }
    }
}

impl RunSource for StoreReader {
    fn look(&mut self, request: ViewRequest) {
        self.ask(Ask::Look(Box::new(request)));
    }

    fn nudge(&mut self) {
        self.ask(Ask::Nudge);
    }

    fn latest(&mut self) -> Option<Arc<RunsSnapshot>> {
        self.newest.lock().take()
    }

    fn steer(&mut self, command: Command) {
        self.ask(Ask::Steer(Box::new(command)));
    }
}

struct Worker {
    newest: Slot,
    wake: Wake,
    live_interval: Duration,
    request: ViewRequest,
    reader: Option<(PathBuf, Reader)>,
    version: i64,
    holder: Option<u32>,
    cache: RunCache,
    compared: Compared,
    active: bool,
    built_at: Instant,
    /// The wishes changed, so the answer is due whatever the store says.
    due: bool,
}

impl Worker {
    fn new(newest: Slot, wake: Wake, live_interval: Duration) -> Self {
        Self {
            newest,
            wake,
            live_interval,
            request: ViewRequest::default(),
            reader: None,
            version: -1,
            holder: None,
            cache: RunCache::default(),
            compared: Compared::default(),
            active: false,
            built_at: Instant::now(),
            due: false,
        }
    }

    fn run(mut self, asks: &Receiver<Ask>) {
        loop {
            let interval = if self.active { self.live_interval } else { IDLE_INTERVAL };
            match asks.recv_timeout(interval) {
                Ok(first) => {
                    self.take(first);
                    for ask in asks.try_iter() {
                        self.take(ask);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // News may come faster than anybody can read; wishes of the person are answered at once.
            while !self.due {
                let left = self.live_interval.saturating_sub(self.built_at.elapsed());
                match asks.recv_timeout(left) {
                    Ok(ask) => self.take(ask),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            self.look();
        }
    }

    fn take(&mut self, ask: Ask) {
        match ask {
            Ask::Look(request) => {
                if self.request.project != request.project {
                    self.reader = None;
                    self.cache = RunCache::default();
                    self.compared = Compared::default();
                    self.version = -1;
                }
                if self.request.language != request.language {
                    // Lines of events are kept in words.
                    speak(request.language);
                    self.cache = RunCache::default();
                }
                self.due |= self.request != *request;
                self.request = *request;
            }
            Ask::Nudge => {}
            Ask::Steer(command) => {
                if let Some(project) = &self.request.project
                    && let Err(error) = push_command(project, &command)
                {
                    self.publish(RunsSnapshot {
                        project: Some(project.clone()),
                        problem: Some(error.into()),
                        ..RunsSnapshot::default()
                    });
                }
            }
        }
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
            Ok(Some(snapshot)) => self.publish(snapshot),
            Ok(None) => {}
            Err(problem) => {
                self.reader = None;
                if std::mem::take(&mut self.due) {
                    self.publish(RunsSnapshot {
                        project: Some(project),
                        problem: Some(problem),
                        ..RunsSnapshot::default()
                    });
                }
            }
        }
    }

    /// A snapshot, or nothing when nothing changed.
    fn read(&mut self, project: &Path, holder: Option<u32>) -> Result<Option<RunsSnapshot>, Problem> {
        if self.reader.is_none() {
            if !project.join(DB_NAME).is_file() {
                // A project that never ran has no store yet.
                let empty = RunsSnapshot { project: Some(project.to_path_buf()), holder, ..RunsSnapshot::default() };
                return Ok(std::mem::take(&mut self.due).then_some(empty));
            }
            self.reader = Some((project.to_path_buf(), Reader::open(project)?));
            self.due = true;
        }
        let Some((_, reader)) = &self.reader else { return Ok(None) };
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
            problem: None,
        }))
    }

    fn publish(&mut self, snapshot: RunsSnapshot) {
        self.built_at = Instant::now();
        *self.newest.lock() = Some(Arc::new(snapshot));
        (self.wake)();
    }
}
