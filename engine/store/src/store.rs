//! The engine's writing end: runs, events and points go in, a transaction at a time goes to disk.
//!
//! Place in the data flow: the host's jobs push events from the engine thread, the host's writer thread
//! flushes. Pushing only takes a short lock on a list, so that training never waits for a disk.

use crate::database;
use crate::error::StoreError;
use crate::rows::{ACTIVE_STATUSES, INTERRUPTED, NewRun, RunUpdate};
use crate::series::{SeriesCache, signed, unsigned};
use crate::{commands, route};
use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use temper_protocol::{Command, Event, Problem};

/// Events kept in memory while the disk refuses them; beyond this only measurements of single steps are
/// left out, everything else is still kept.
const PENDING_LIMIT: usize = 500_000;

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
    /// [`StoreError::Damaged`] when the file is no database ([`Self::open_or_set_aside`] helps),
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

    /// Opens the database after checking every page of it; a damaged one is moved to
    /// `temper.db.damaged-N` and a new one started. Returns where the damaged one went.
    ///
    /// To be called only when a person asked for it, with the project locked.
    ///
    /// # Errors
    /// As [`Self::open`], but never [`StoreError::Damaged`].
    pub fn open_or_set_aside(project_dir: &Path) -> Result<(Self, Option<PathBuf>), StoreError> {
        let file = database::file_of(project_dir);
        let checked = Self::open(project_dir).and_then(|store| {
            store.check_pages()?;
            Ok(store)
        });
        match checked {
            Ok(store) => return Ok((store, None)),
            Err(StoreError::Damaged { .. }) => {}
            Err(other) => return Err(other),
        }
        let name =
            |number: u32, ending: &str| project_dir.join(format!("{}.damaged-{number}{ending}", database::DB_NAME));
        let number = (1..).find(|number| !name(*number, "").exists()).unwrap_or(u32::MAX);
        for ending in ["-wal", "-shm", ""] {
            let from = project_dir.join(format!("{}{ending}", database::DB_NAME));
            if from.exists() {
                std::fs::rename(&from, name(number, ending)).map_err(|error| StoreError::io(&from, error))?;
            }
        }
        let aside = name(number, "");
        tracing::warn!(database = %file.display(), aside = %aside.display(), "damaged database set aside");
        Ok((Self::open(project_dir)?, Some(aside)))
    }

    /// Asks SQLite to look at every page.
    fn check_pages(&self) -> Result<(), StoreError> {
        let verdict: String = self
            .inner
            .lock()
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(|error| self.sql(error))?;
        if verdict == "ok" {
            return Ok(());
        }
        Err(StoreError::Damaged { file: self.file.clone(), what: verdict })
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

    /// Creates a run and its folder, `runs/NNNN` in the project unless `new` names another one.
    /// Numbers of folders that a lost database left behind are not used again.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn create_run(&self, new: &NewRun) -> Result<u64, StoreError> {
        self.insert_run(None, new)
    }

    /// Takes up a run whose folder is there and whose row is not, because the database was lost. It gets
    /// number `run` if that is free, else the next one; returns the number.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn adopt_run(&self, run: u64, new: &NewRun) -> Result<u64, StoreError> {
        self.insert_run(Some(run), new)
    }

    fn insert_run(&self, wanted: Option<u64>, new: &NewRun) -> Result<u64, StoreError> {
        let mut inner = self.inner.lock();
        let transaction = immediate(&mut inner.connection).map_err(|error| self.sql(error))?;
        let used: i64 = transaction
            .query_row("SELECT coalesce(max(run), 0) FROM runs", [], |row| row.get(0))
            .map_err(|error| self.sql(error))?;
        let free = |run: u64| {
            let same: i64 =
                transaction.query_row("SELECT count(*) FROM runs WHERE run = ?1", [signed(run)], |row| row.get(0))?;
            Ok(same == 0)
        };
        let run = match wanted {
            Some(run) if run > 0 && free(run).map_err(|error| self.sql(error))? => run,
            _ => unsigned(used).max(self.highest_run_folder()) + 1,
        };
        let folder = new.folder.clone().unwrap_or_else(|| run_folder(&self.project_dir, run));
        std::fs::create_dir_all(&folder).map_err(|error| StoreError::io(&folder, error))?;
        transaction
            .execute(
                "INSERT INTO runs(run, folder, method, status, settings_toml, created_millis, seed, max_steps, colour,
                                  hashes)
                 VALUES (?1, ?2, ?3, 'queued', ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    signed(run),
                    self.stored_path(&folder),
                    new.method,
                    new.settings_toml,
                    now_millis(),
                    // All 64 bits of a seed are kept; the reader turns them back.
                    new.seed.cast_signed(),
                    signed(new.max_steps),
                    i64::try_from((run - 1) % 256).unwrap_or(0),
                    hashes_json(&new.hashes),
                ],
            )
            .and_then(|_rows| transaction.commit())
            .map_err(|error| self.sql(error))?;
        self.pending.lock().runs.insert(run);
        Ok(run)
    }

    /// Highest number among the folders `runs/NNNN`.
    fn highest_run_folder(&self) -> u64 {
        let Ok(folders) = std::fs::read_dir(self.project_dir.join("runs")) else {
            return 0;
        };
        folders.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok()).max().unwrap_or(0)
    }

    /// Changes columns of a run at once.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such run; those of the disk.
    pub fn update_run(&self, run: u64, update: &RunUpdate) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        let transaction = immediate(&mut inner.connection).map_err(|error| self.sql(error))?;
        let changed = self.write_update(&transaction, run, update)?;
        transaction.commit().map_err(|error| self.sql(error))?;
        if changed == 0 {
            return Err(StoreError::NotFound { what: format!("run {run}") });
        }
        Ok(())
    }

    fn write_update(&self, connection: &Connection, run: u64, update: &RunUpdate) -> Result<usize, StoreError> {
        let problem = update.problem.as_ref().map(|problem| serde_json::to_string(problem).unwrap_or_default());
        connection
            .prepare_cached(
                "UPDATE runs SET
                    status = coalesce(?2, status), max_steps = coalesce(?3, max_steps), steps = coalesce(?4, steps),
                    best_step = coalesce(?5, best_step), base_loss = coalesce(?6, base_loss),
                    final_loss = coalesce(?7, final_loss), best_loss = coalesce(?8, best_loss),
                    forgetting = coalesce(?9, forgetting), tokens_per_sec = coalesce(?10, tokens_per_sec),
                    peak_rss_mib = max(peak_rss_mib, coalesce(?11, 0)), wall_secs = coalesce(?12, wall_secs),
                    trained_parameters = coalesce(?13, trained_parameters),
                    model_parameters = coalesce(?14, model_parameters), adapter = coalesce(?15, adapter),
                    colour = coalesce(?16, colour), problem = coalesce(?17, problem),
                    settings_toml = coalesce(?18, settings_toml),
                    hashes = json_patch(hashes, coalesce(?19, '{}'))
                 WHERE run = ?1",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    signed(run),
                    update.status,
                    update.max_steps.map(signed),
                    update.steps.map(signed),
                    update.best_step.map(signed),
                    update.base_loss,
                    update.final_loss,
                    update.best_loss,
                    update.forgetting,
                    update.tokens_per_sec,
                    update.peak_rss_mib,
                    update.wall_secs,
                    update.trained_parameters.map(signed),
                    update.model_parameters.map(signed),
                    update.adapter.as_ref().map(|path| self.stored_path(path)),
                    update.colour,
                    problem,
                    update.settings_toml,
                    update.hashes.as_ref().map(hashes_json),
                ])
            })
            .map_err(|error| self.sql(error))
    }

    /// Takes an event for the next [`Self::flush`]; does not touch the disk.
    ///
    /// Numbers of `step`, `eval`, `probe` and `phases` become series, `rank` a table; every event but
    /// `step`, `phases` and `rank` is also kept as it is. Of `preparing` events only the newest of each
    /// stage is kept.
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
            if let Some(forgetting) = routed.forgetting {
                self.write_forgetting(&transaction, *run, step, forgetting)?;
            }
            if routed.listed {
                self.write_event(&transaction, *run, *at_millis, step, event)?;
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
        if let Event::Preparing { stage, .. } = event {
            connection
                .prepare_cached(
                    "DELETE FROM events WHERE run = ?1 AND kind = ?2 AND json_extract(json, '$.stage') = ?3",
                )
                .and_then(|mut statement| statement.execute(params![signed(run), kind, stage]))
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

    /// Keeps the worst set of the newest measured step.
    fn write_forgetting(
        &self,
        connection: &Connection,
        run: u64,
        step: u64,
        forgetting: f64,
    ) -> Result<(), StoreError> {
        connection
            .prepare_cached(
                "UPDATE runs SET
                    forgetting = CASE WHEN forgetting_step = ?2 THEN max(coalesce(forgetting, ?3), coalesce(?3, forgetting))
                                      ELSE ?3 END,
                    forgetting_step = ?2
                 WHERE run = ?1",
            )
            .and_then(|mut statement| statement.execute(params![signed(run), signed(step), forgetting]))
            .map(|_rows| ())
            .map_err(|error| self.sql(error))
    }

    /// Cuts a run back to `step`, because it resumes from a checkpoint there: points, events, ranks and
    /// results after it go, and it counts as preparing again. What waits is flushed first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such run; those of the disk.
    pub fn truncate_after(&self, run: u64, step: u64) -> Result<(), StoreError> {
        self.flush()?;
        let mut inner = self.inner.lock();
        let Inner { connection, cache, last_steps } = &mut *inner;
        let transaction = immediate(connection).map_err(|error| self.sql(error))?;
        let result = self.cut(&transaction, cache, run, step);
        let done = result.and_then(|()| transaction.commit().map_err(|error| self.sql(error)));
        *cache = SeriesCache::default();
        last_steps.clear();
        done
    }

    fn cut(
        &self,
        transaction: &Transaction<'_>,
        cache: &mut SeriesCache,
        run: u64,
        step: u64,
    ) -> Result<(), StoreError> {
        let changed = transaction
            .execute(
                "UPDATE runs SET status = 'preparing', steps = min(steps, ?2), final_loss = NULL, problem = NULL,
                                 adapter = NULL
                 WHERE run = ?1",
                params![signed(run), signed(step)],
            )
            .map_err(|error| self.sql(error))?;
        if changed == 0 {
            return Err(StoreError::NotFound { what: format!("run {run}") });
        }
        cache.truncate_after(transaction, &self.file, run, step)?;
        for statement in [
            "DELETE FROM ranks WHERE run = ?1 AND step > ?2",
            // The end of an earlier stretch is no end of this run any more.
            "DELETE FROM events WHERE run = ?1 AND (step > ?2 OR kind = 'finished')",
            "UPDATE runs SET (best_step, best_loss) = (
                 SELECT step, json_extract(json, '$.loss') FROM events
                 WHERE run = ?1 AND step <= ?2 AND kind = 'eval' AND json_extract(json, '$.split') = 'validation'
                   AND json_extract(json, '$.best')
                 ORDER BY id DESC LIMIT 1)
             WHERE run = ?1 AND best_step > ?2 AND EXISTS (
                 SELECT 1 FROM events
                 WHERE run = ?1 AND step <= ?2 AND kind = 'eval' AND json_extract(json, '$.split') = 'validation'
                   AND json_extract(json, '$.best'))",
            "UPDATE runs SET (forgetting_step, forgetting) = (
                 SELECT step, max(json_extract(json, '$.loss_delta')) FROM events
                 WHERE run = ?1 AND kind = 'probe' AND step <= ?2 GROUP BY step ORDER BY step DESC LIMIT 1)
             WHERE run = ?1 AND EXISTS (SELECT 1 FROM events WHERE run = ?1 AND kind = 'probe' AND step <= ?2)",
        ] {
            transaction.execute(statement, params![signed(run), signed(step)]).map_err(|error| self.sql(error))?;
        }
        Ok(())
    }

    /// Notes a file that a run wrote. To be called after the file has its final name.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such run; those of the disk.
    pub fn record_file(&self, run: u64, path: &Path, sha256: &str, bytes: u64) -> Result<(), StoreError> {
        if !self.pending.lock().runs.contains(&run) {
            return Err(StoreError::NotFound { what: format!("run {run}") });
        }
        self.inner
            .lock()
            .connection
            .prepare_cached(
                "INSERT OR REPLACE INTO files(run, path, sha256, bytes, at_millis) VALUES (?1, ?2, ?3, ?4, ?5)",
            )
            .and_then(|mut statement| {
                statement.execute(params![signed(run), self.stored_path(path), sha256, signed(bytes), now_millis()])
            })
            .map(|_rows| ())
            .map_err(|error| self.sql(error))
    }

    /// Forgets a file that was removed, such as a checkpoint that made room for a newer one.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn forget_file(&self, run: u64, path: &Path) -> Result<(), StoreError> {
        self.inner
            .lock()
            .connection
            .execute("DELETE FROM files WHERE run = ?1 AND path = ?2", params![signed(run), self.stored_path(path)])
            .map(|_rows| ())
            .map_err(|error| self.sql(error))
    }

    /// Notes that the engine with process number `pid` works on `run` and is alive.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn heartbeat(&self, run: u64, pid: u32) -> Result<(), StoreError> {
        self.inner
            .lock()
            .connection
            .prepare_cached("UPDATE runs SET heartbeat_millis = ?2, pid = ?3 WHERE run = ?1")
            .and_then(|mut statement| statement.execute(params![signed(run), now_millis(), pid]))
            .map(|_rows| ())
            .map_err(|error| self.sql(error))
    }

    /// Marks runs that an earlier engine left behind as interrupted; returns how many. To be called by
    /// who has just got the project's lock, before it creates runs.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn mark_interrupted(&self) -> Result<usize, StoreError> {
        let [queued, preparing, running, paused] = ACTIVE_STATUSES;
        self.inner
            .lock()
            .connection
            .execute(
                "UPDATE runs SET status = ?1 WHERE status IN (?2, ?3, ?4, ?5)",
                params![INTERRUPTED, queued, preparing, running, paused],
            )
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

    /// A path as it is kept: relative to the project when it lies inside, so that a project can move.
    fn stored_path(&self, path: &Path) -> String {
        stored_path(&self.project_dir, path)
    }

    fn sql(&self, error: rusqlite::Error) -> StoreError {
        StoreError::sql(&self.file, error)
    }
}

/// A project's folder whatever the current folder will be.
pub(crate) fn absolute(project_dir: &Path) -> Result<PathBuf, StoreError> {
    std::path::absolute(project_dir).map_err(|error| StoreError::io(project_dir, error))
}

/// Folder of run `run` inside a project.
fn run_folder(project_dir: &Path, run: u64) -> PathBuf {
    project_dir.join("runs").join(format!("{run:04}"))
}

/// A transaction that may write from its first statement on.
pub(crate) fn immediate(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// Milliseconds since 1970.
pub(crate) fn now_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A path as the database keeps it.
fn stored_path(project_dir: &Path, path: &Path) -> String {
    let Ok(inside) = path.strip_prefix(project_dir) else {
        return path.display().to_string();
    };
    let parts: Vec<String> = inside
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect();
    parts.join("/")
}

/// A path as the database kept it, absolute again.
pub(crate) fn full_path(project_dir: &Path, stored: &str) -> PathBuf {
    project_dir.join(stored)
}

fn hashes_json(hashes: &BTreeMap<String, String>) -> String {
    serde_json::to_string(hashes).unwrap_or_else(|_error| "{}".to_owned())
}

/// A problem as the database kept it.
pub(crate) fn problem_from(json: Option<String>) -> Option<Problem> {
    serde_json::from_str(&json?).ok()
}
