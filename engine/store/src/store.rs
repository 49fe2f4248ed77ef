//! The engine's writing end: runs, events and points go in, a transaction at a time goes to disk.
//!
//! Place in the data flow: the host's jobs push events from the engine thread, the host's writer thread
//! flushes. Pushing only takes a short lock on a list, so that training never waits for a disk.

mod housekeeping;
mod repair;
pub(crate) mod runs;

use crate::database;
use crate::error::StoreError;
use crate::rows::RunUpdate;
use crate::series::{SeriesCache, signed, unsigned};
use crate::{commands, route};
use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use temper_protocol::{Command, Event, Problem};

/// Events kept in memory while the disk refuses them; beyond this only measurements of single steps are
/// left out, everything else is still kept.
const PENDING_LIMIT: usize = 500_000;

/// The worst of the `probe` events of a step, nats above the base. One that is no number, which is NULL here, makes it
/// none: SQLite's maximum would pass over it.
const WORST_SET: &str = "CASE WHEN count(*) = count(json_extract(json, '$.loss_delta'))
                              THEN max(json_extract(json, '$.loss_delta')) END";

/// The engine's writing end of a project's database. Share it in an `Arc`.
#[derive(Debug)]
pub struct Store {
    project_dir: PathBuf,
    file: PathBuf,
    journal_note: Option<String>,
    pending: Mutex<Pending>,
    /// Locked before `pending` wherever both are held.
    inner: Mutex<Inner>,
}

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// Where the damaged database went; it is kept as it was.
    pub aside: PathBuf,
    /// Runs whose row could be read.
    pub runs: u64,
    /// Events of these runs.
    pub events: u64,
    /// Points of their series.
    pub points: u64,
}

/// What waits for the next flush.
#[derive(Debug, Default)]
struct Pending {
    events: Vec<PendingEvent>,
    /// Runs that exist; an event for another one could never be written.
    runs: BTreeSet<u64>,
    /// Measurements left out because the disk refused too long.
    left_out: u64,
}

#[derive(Debug)]
struct PendingEvent {
    run: u64,
    at_millis: i64,
    event: Event,
}

#[derive(Debug)]
struct Inner {
    connection: Connection,
    cache: SeriesCache,
    /// Step of each run, for events that do not state one.
    last_steps: BTreeMap<u64, u64>,
}

impl Store {
    /// Opens the database in `project_dir`; creates it when there is none, migrates an older one.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when the file is no database ([`Self::repair`] helps),
    /// [`StoreError::Newer`], [`StoreError::ReadOnly`], [`StoreError::DiskFull`] and others of the disk.
    pub fn open(project_dir: &Path) -> Result<Self, StoreError> {
        let project_dir = absolute(project_dir)?;
        let file = database::file_of(&project_dir);
        let writing = database::open_writing(&file)?;
        if let Some(note) = &writing.journal_note {
            tracing::warn!(database = %file.display(), "{note}");
        }
        let runs: BTreeSet<u64> = writing
            .connection
            .prepare("SELECT run FROM runs")
            .and_then(|mut statement| {
                statement.query_map([], |row| row.get::<_, i64>(0).map(unsigned)).and_then(Iterator::collect)
            })
            .map_err(|error| StoreError::sql(&file, error))?;
        Ok(Self {
            project_dir,
            file,
            journal_note: writing.journal_note,
            pending: Mutex::new(Pending { runs, ..Pending::default() }),
            inner: Mutex::new(Inner {
                connection: writing.connection,
                cache: SeriesCache::default(),
                last_steps: BTreeMap::new(),
            }),
        })
    }

    /// Why the write-ahead log could not be had; `None` when it could.
    #[must_use]
    pub fn journal_note(&self) -> Option<String> {
        self.journal_note.clone()
    }

    /// The project's folder.
    #[must_use]
    pub fn project_dir(&self) -> &Path {
        &self.project_dir
    }

    /// Takes an event for the next [`Self::flush`]; does not touch the disk.
    ///
    /// Numbers of `step`, `eval`, `probe` and `phases` become series, `rank` a table; every event but
    /// `step`, `phases` and `rank` is also kept as it is. Of `preparing` events only the newest of each
    /// stage is kept; an evaluation, probe or sample replaces an earlier one of the same step.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such run.
    pub fn push_event(&self, run: u64, event: &Event) -> Result<(), StoreError> {
        let mut pending = self.pending.lock();
        if !pending.runs.contains(&run) {
            return Err(StoreError::NotFound { what: format!("run {run}") });
        }
        let pushed = PendingEvent { run, at_millis: now_millis(), event: event.clone() };
        if pending.events.len() >= PENDING_LIMIT && matches!(event, Event::Step { .. } | Event::Phases { .. }) {
            if pending.left_out == 0 {
                tracing::warn!(run, "the database cannot be written; measurements of steps are left out");
            }
            pending.left_out += 1;
            return Ok(());
        }
        if let Some(last) = pending.events.last_mut()
            && last.run == run
            && let (Event::Preparing { stage: before, .. }, Event::Preparing { stage: now, .. }) = (&last.event, event)
            && before == now
        {
            *last = pushed;
            return Ok(());
        }
        pending.events.push(pushed);
        Ok(())
    }

    /// Whether anything waits for a flush.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.pending.lock().events.is_empty()
    }

    /// Writes everything that waits, in one transaction. On an error everything still waits and a later
    /// flush tries again.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn flush(&self) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        let events = std::mem::take(&mut self.pending.lock().events);
        if events.is_empty() {
            return Ok(());
        }
        match self.write_events(&mut inner, &events) {
            Ok(()) => Ok(()),
            Err(error) => {
                // The cache may hold what was rolled back.
                inner.cache = SeriesCache::default();
                inner.last_steps.clear();
                self.pending.lock().events.splice(0..0, events);
                Err(error)
            }
        }
    }

    fn write_events(&self, inner: &mut Inner, events: &[PendingEvent]) -> Result<(), StoreError> {
        let Inner { connection, cache, last_steps } = inner;
        let transaction = immediate(connection).map_err(|error| self.sql(error))?;
        let mut updates: BTreeMap<u64, RunUpdate> = BTreeMap::new();
        for PendingEvent { run, at_millis, event } in events {
            let routed = route::route(event);
            let step = match (routed.step, last_steps.get(run)) {
                (Some(step), _) | (None, Some(&step)) => step,
                (None, None) => self.stored_step(&transaction, *run)?,
            };
            last_steps.insert(*run, step);
            for (name, value) in &routed.points {
                let point = crate::Point { step, value: *value };
                cache.append(&transaction, &self.file, *run, name, route::unit_of(name), point)?;
            }
            if let Event::Rank { .. } = event {
                self.write_rank(&transaction, *run, event)?;
            }
            if routed.listed {
                self.write_event(&transaction, *run, *at_millis, step, event)?;
            }
            if let Event::Probe { .. } = event {
                self.write_forgetting(&transaction, *run, step)?;
            }
            updates.entry(*run).or_default().merge(routed.update);
        }
        for (run, update) in &updates {
            self.write_update(&transaction, *run, update)?;
        }
        cache.write(&transaction, &self.file)?;
        transaction.commit().map_err(|error| self.sql(error))?;
        for PendingEvent { run, event, .. } in events {
            if matches!(event, Event::Finished { .. }) {
                cache.forget(*run);
            }
        }
        Ok(())
    }

    /// Step of a run as the database has it.
    fn stored_step(&self, connection: &Connection, run: u64) -> Result<u64, StoreError> {
        connection
            .prepare_cached("SELECT steps FROM runs WHERE run = ?1")
            .and_then(|mut statement| statement.query_row([signed(run)], |row| row.get(0).map(unsigned)))
            .map_err(|error| self.sql(error))
    }

    fn write_event(
        &self,
        connection: &Connection,
        run: u64,
        at_millis: i64,
        step: u64,
        event: &Event,
    ) -> Result<(), StoreError> {
        let value = serde_json::to_value(event).unwrap_or_default();
        let kind = route::kind_of(&value);
        // Of what says the same thing again, the newest stays: how far a stage is, and what a run that went
        // back or resumed measured at a step a second time.
        let repeated = match event {
            Event::Preparing { stage, .. } => Some(("$.stage", stage, None)),
            Event::Eval { split, .. } => Some(("$.split", split, Some(step))),
            Event::Probe { set, .. } => Some(("$.set", set, Some(step))),
            Event::Sample { prompt, .. } => Some(("$.prompt", prompt, Some(step))),
            _ => None,
        };
        if let Some((path, value, at_step)) = repeated {
            connection
                .prepare_cached(
                    "DELETE FROM events WHERE run = ?1 AND kind = ?2 AND json_extract(json, ?3) = ?4
                                          AND step = coalesce(?5, step)",
                )
                .and_then(|mut statement| {
                    statement.execute(params![signed(run), kind, path, value, at_step.map(signed)])
                })
                .map_err(|error| self.sql(error))?;
        }
        connection
            .prepare_cached("INSERT INTO events(run, at_millis, step, kind, json) VALUES (?1, ?2, ?3, ?4, ?5)")
            .and_then(|mut statement| {
                statement.execute(params![signed(run), at_millis, signed(step), kind, value.to_string()])
            })
            .map(|_rows| ())
            .map_err(|error| self.sql(error))
    }

    fn write_rank(&self, connection: &Connection, run: u64, event: &Event) -> Result<(), StoreError> {
        let Event::Rank { step, site, rank, effective_rank, energy, spectrum } = event else {
            return Ok(());
        };
        let spectrum: Vec<u8> = spectrum.iter().flat_map(|value| value.to_le_bytes()).collect();
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO ranks(run, step, site, rank, effective_rank, energy, spectrum)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    signed(run),
                    signed(*step),
                    site,
                    signed(*rank),
                    effective_rank,
                    energy,
                    spectrum
                ])
            })
            .map(|_rows| ())
            .map_err(|error| self.sql(error))
    }

    /// Keeps the worst set of the newest measured step, as the list of events has it: there a set that is measured
    /// again, after the run went back, has replaced what it was.
    fn write_forgetting(&self, connection: &Connection, run: u64, step: u64) -> Result<(), StoreError> {
        connection
            .prepare_cached(&format!(
                "UPDATE runs SET forgetting_step = ?2, forgetting = (
                     SELECT {WORST_SET} FROM events WHERE run = ?1 AND kind = 'probe' AND step = ?2)
                 WHERE run = ?1"
            ))
            .and_then(|mut statement| statement.execute(params![signed(run), signed(step)]))
            .map(|_rows| ())
            .map_err(|error| self.sql(error))
    }

    /// Commands that a window left in the database and nobody has taken yet, oldest first. Each is
    /// returned once; what cannot be read is left out.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn take_commands(&self) -> Result<Vec<(i64, Command)>, StoreError> {
        commands::take(&mut self.inner.lock().connection, &self.file)
    }

    fn sql(&self, error: rusqlite::Error) -> StoreError {
        StoreError::sql(&self.file, error)
    }
}

/// A project's folder whatever the current folder will be.
pub(crate) fn absolute(project_dir: &Path) -> Result<PathBuf, StoreError> {
    std::path::absolute(project_dir).map_err(|error| StoreError::io(project_dir, error))
}

/// A transaction that may write from its first statement on.
pub(crate) fn immediate(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// Milliseconds since 1970.
pub(crate) fn now_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A path as the database kept it, absolute again.
pub(crate) fn full_path(project_dir: &Path, stored: &str) -> PathBuf {
    project_dir.join(stored)
}

/// A problem as the database kept it.
pub(crate) fn problem_from(json: Option<String>) -> Option<Problem> {
    serde_json::from_str(&json?).ok()
}
