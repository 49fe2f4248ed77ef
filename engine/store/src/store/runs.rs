//! Rows of the runs table: creating, changing, cutting back, and the files of a run.
//!
//! Place in the data flow: the host creates a run before it starts and cuts it back before it resumes;
//! columns that follow from events are written by the flush in [`super`].

use super::{Inner, Store, WORST_SET, immediate, now_millis};
use crate::block::Item as _;
use crate::error::StoreError;
use crate::rows::{ACTIVE_STATUSES, INTERRUPTED, MEMORY_LOW, NewRun, Point, RunUpdate};
use crate::series::{SeriesCache, signed, unsigned};
use rusqlite::{Connection, Transaction, params, params_from_iter};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use temper_protocol::{Code, Problem};

impl Store {
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

    pub(super) fn write_update(
        &self,
        connection: &Connection,
        run: u64,
        update: &RunUpdate,
    ) -> Result<usize, StoreError> {
        let problem = update.problem.as_ref().map(|problem| serde_json::to_string(problem).unwrap_or_default());
        // A measured forgetting that is NULL was no number: whoever ends the run may have passed over the set.
        connection
            .prepare_cached(
                "UPDATE runs SET
                    status = coalesce(?2, status), max_steps = coalesce(?3, max_steps), steps = coalesce(?4, steps),
                    best_step = coalesce(?5, best_step), base_loss = coalesce(?6, base_loss),
                    final_loss = coalesce(?7, final_loss), best_loss = coalesce(?8, best_loss),
                    forgetting = CASE WHEN forgetting IS NULL AND forgetting_step > 0 THEN NULL
                                      ELSE coalesce(?9, forgetting) END,
                    tokens_per_sec = coalesce(?10, tokens_per_sec),
                    peak_rss_mib = max(peak_rss_mib, coalesce(?11, 0)), wall_secs = wall_secs + coalesce(?12, 0),
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

    /// Cuts a run back to `step`, because it resumes from a checkpoint there: points, events, ranks, time and
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
                                 adapter = NULL,
                                 wall_secs = CASE WHEN steps > ?2 THEN wall_secs * ?2 / steps ELSE wall_secs END
                 WHERE run = ?1",
                params![signed(run), signed(step)],
            )
            .map_err(|error| self.sql(error))?;
        if changed == 0 {
            return Err(StoreError::NotFound { what: format!("run {run}") });
        }
        cache.truncate_after(transaction, &self.file, run, step)?;
        // An engine that was killed has not said how long it took, but how long each part of the work did.
        let worked = worked_secs(transaction, &self.file, run)?;
        transaction
            .execute("UPDATE runs SET wall_secs = max(wall_secs, ?2) WHERE run = ?1", params![signed(run), worked])
            .map_err(|error| self.sql(error))?;
        let forgetting = format!(
            "UPDATE runs SET (forgetting_step, forgetting) = (
                 SELECT step, {WORST_SET} FROM events
                 WHERE run = ?1 AND kind = 'probe' AND step <= ?2 GROUP BY step ORDER BY step DESC LIMIT 1)
             WHERE run = ?1 AND EXISTS (SELECT 1 FROM events WHERE run = ?1 AND kind = 'probe' AND step <= ?2)"
        );
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
            forgetting.as_str(),
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
        let mut inner = self.inner.lock();
        let transaction = immediate(&mut inner.connection).map_err(|error| self.sql(error))?;
        let left: Vec<u64> = transaction
            .prepare("SELECT run FROM runs WHERE status IN (?1, ?2, ?3, ?4)")
            .and_then(|mut statement| {
                statement
                    .query_map(params_from_iter(ACTIVE_STATUSES), |row| row.get(0).map(unsigned))
                    .and_then(Iterator::collect)
            })
            .map_err(|error| self.sql(error))?;
        for run in &left {
            let problem = Some(interruption(&transaction, *run).map_err(|error| self.sql(error))?);
            let status = Some(INTERRUPTED.to_owned());
            self.write_update(&transaction, *run, &RunUpdate { status, problem, ..RunUpdate::default() })?;
        }
        transaction.commit().map_err(|error| self.sql(error))?;
        Ok(left.len())
    }

    /// A path as it is kept: relative to the project when it lies inside, so that a project can move.
    fn stored_path(&self, path: &Path) -> String {
        stored_path(&self.project_dir, path)
    }
}

/// Seconds of work that a run has told, over all its phases.
fn worked_secs(transaction: &Transaction<'_>, file: &Path, run: u64) -> Result<f64, StoreError> {
    let sql = |error| StoreError::sql(file, error);
    let mut statement = transaction
        .prepare_cached(
            "SELECT blocks.data FROM series JOIN blocks ON blocks.series = series.series AND blocks.level = 0
             WHERE series.run = ?1 AND substr(series.name, 1, 6) = 'phase/'",
        )
        .map_err(sql)?;
    let mut rows = statement.query([signed(run)]).map_err(sql)?;
    let mut worked = 0.0;
    while let Some(row) = rows.next().map_err(sql)? {
        let blob: Vec<u8> = row.get(0).map_err(sql)?;
        let told = Point::decode(&blob, file)?;
        worked += told.iter().map(|point| point.value).filter(|secs| secs.is_finite()).sum::<f64>();
    }
    Ok(worked)
}

/// Why a run is over that nobody ended, as far as its last words tell.
pub(crate) fn interruption(connection: &Connection, run: u64) -> rusqlite::Result<Problem> {
    let memory_was_low: bool = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM events
                 WHERE run = ?1 AND kind = 'warning' AND json_extract(json, '$.code') = ?2
                   AND id > coalesce((SELECT max(id) FROM events WHERE run = ?1 AND kind = 'started'), 0))",
        )?
        .query_row(params![signed(run), MEMORY_LOW], |row| row.get(0))?;
    let (code, what, first) = if memory_was_low {
        let what = "memory was short, then the engine was gone: most likely the system ended it for its memory";
        (Code::OutOfMemory, what, "close other programs, or lower train.batch or data.max_tokens; then ")
    } else {
        (Code::Internal, "the engine was gone before the run had ended: killed, or the machine went off", "")
    };
    let action = format!("{first}go on from the last checkpoint with: temper train PROJECT --resume {run}");
    Ok(Problem::new(code, what, format!("run {run}"), action))
}

/// Folder of run `run` inside a project.
fn run_folder(project_dir: &Path, run: u64) -> PathBuf {
    project_dir.join("runs").join(format!("{run:04}"))
}

/// A path as the database keeps it.
pub(crate) fn stored_path(project_dir: &Path, path: &Path) -> String {
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

fn hashes_json(hashes: &BTreeMap<String, String>) -> String {
    serde_json::to_string(hashes).unwrap_or_else(|_error| "{}".to_owned())
}
