//! Reading a project's database: what the window, the command line and the exporters see.
//!
//! Place in the data flow: opened by the window's reader thread and by commands such as `runs`, on a
//! connection of its own; never blocks the engine (with the write-ahead log) and never writes.

use crate::block::Item as _;
use crate::database;
use crate::error::StoreError;
use crate::lock::ProjectLock;
use crate::pyramid::{PointCursor, SeriesReading};
use crate::rows::{FileRow, INTERRUPTED, Point, RankRow, RunRow, SeriesMeta, StoredEvent};
use crate::series::{signed, unsigned};
use crate::store::runs::interruption;
use crate::store::{absolute, full_path, problem_from};
use rusqlite::{Connection, OptionalExtension as _, Params, Row, params};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use temper_protocol::housekeeping::RunLabels;

/// A read-only view of a project's database. Can be sent to another thread, not shared.
#[derive(Debug)]
pub struct Reader {
    project_dir: PathBuf,
    file: PathBuf,
    connection: Connection,
    note: Option<String>,
    blob_bytes: Cell<u64>,
}

/// Columns of [`RunRow`], in the order of [`Reader::run_row`].
const RUN_COLUMNS: &str = "runs.run, folder, method, status, settings_toml, created_millis, seed, steps, max_steps, \
     best_step, base_loss, final_loss, best_loss, forgetting, tokens_per_sec, peak_rss_mib, wall_secs, \
     trained_parameters, model_parameters, adapter, colour, problem, hashes, heartbeat_millis, pid, \
     name, note, tags, starred, trashed_millis";

/// Where they come from; what nobody said is NULL.
const RUN_TABLES: &str = "runs LEFT JOIN labels ON labels.run = runs.run";

impl Reader {
    /// Opens the database in `project_dir`. A folder that cannot be written is opened immutable; an older
    /// database is migrated first, if it can be written.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when the project has no runs yet, [`StoreError::Damaged`],
    /// [`StoreError::Newer`], [`StoreError::Older`] and others of the disk.
    pub fn open(project_dir: &Path) -> Result<Self, StoreError> {
        let project_dir = absolute(project_dir)?;
        let file = database::file_of(&project_dir);
        let reading = database::open_reading(&file)?;
        Ok(Self { project_dir, file, connection: reading.connection, note: reading.note, blob_bytes: Cell::new(0) })
    }

    /// What a person should know about what is shown, such as entries that cannot be read here.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The project's folder, absolute.
    #[must_use]
    pub fn project_dir(&self) -> &Path {
        &self.project_dir
    }

    /// Bytes of point blocks read since this reader was opened: the counted cost of plots.
    #[must_use]
    pub fn blob_bytes_read(&self) -> u64 {
        self.blob_bytes.get()
    }

    /// A number that changes when anybody else wrote to the database.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn data_version(&self) -> Result<i64, StoreError> {
        self.connection.pragma_query_value(None, "data_version", |row| row.get(0)).map_err(|error| self.sql(error))
    }

    /// All runs but those in the trash, newest first. A run that counts as going on, while no engine holds the
    /// project, is `interrupted`.
    ///
    /// # Errors
    /// Those of the disk; [`StoreError::Damaged`].
    pub fn runs(&self) -> Result<Vec<RunRow>, StoreError> {
        let shown = "coalesce(trashed_millis, 0) = 0";
        let sql = format!("SELECT {RUN_COLUMNS} FROM {RUN_TABLES} WHERE {shown} ORDER BY runs.run DESC");
        let mut runs = self.rows(&sql, [], |row| self.run_row(row))?;
        self.mark_interrupted(&mut runs);
        Ok(runs)
    }

    /// Runs in the trash, those that went there last first.
    ///
    /// # Errors
    /// As [`Self::runs`].
    pub fn trashed(&self) -> Result<Vec<RunRow>, StoreError> {
        let sql = format!(
            "SELECT {RUN_COLUMNS} FROM {RUN_TABLES} WHERE trashed_millis > 0 ORDER BY trashed_millis DESC, runs.run DESC"
        );
        self.rows(&sql, [], |row| self.run_row(row))
    }

    /// One run, also one in the trash.
    ///
    /// # Errors
    /// As [`Self::runs`].
    pub fn run(&self, run: u64) -> Result<Option<RunRow>, StoreError> {
        let sql = format!("SELECT {RUN_COLUMNS} FROM {RUN_TABLES} WHERE runs.run = ?1");
        let mut runs = self.rows(&sql, [signed(run)], |row| self.run_row(row))?;
        self.mark_interrupted(&mut runs);
        Ok(runs.pop())
    }

    /// Runs that wait for their turn, the next one first: in the order in which they were said to wait last.
    ///
    /// # Errors
    /// As [`Self::runs`].
    pub fn waiting(&self) -> Result<Vec<u64>, StoreError> {
        // A run that was never said to wait is about to begin.
        let sql = "SELECT runs.run FROM runs JOIN events ON events.run = runs.run AND events.kind = 'queued' \
                   WHERE runs.status = 'queued' GROUP BY runs.run ORDER BY max(events.id)";
        self.rows(sql, [], |row| row.get(0).map(unsigned))
    }

    /// A run whose engine is gone is not going on, whatever its row says.
    fn mark_interrupted(&self, runs: &mut [RunRow]) {
        if runs.iter().any(RunRow::is_active) && ProjectLock::holder(&self.project_dir).is_none() {
            for run in runs.iter_mut().filter(|run| run.is_active()) {
                INTERRUPTED.clone_into(&mut run.status);
                run.problem = interruption(&self.connection, run.run).ok();
            }
        }
    }

    fn run_row(&self, row: &Row<'_>) -> rusqlite::Result<RunRow> {
        let number = |index: usize| row.get::<_, i64>(index).map(unsigned);
        let real = |index: usize| Ok::<f64, rusqlite::Error>(row.get::<_, Option<f64>>(index)?.unwrap_or(f64::NAN));
        let hashes: String = row.get(22)?;
        Ok(RunRow {
            run: number(0)?,
            folder: full_path(&self.project_dir, &row.get::<_, String>(1)?),
            method: row.get(2)?,
            status: row.get(3)?,
            settings_toml: row.get(4)?,
            created_millis: row.get(5)?,
            seed: row.get::<_, i64>(6)?.cast_unsigned(),
            steps: number(7)?,
            max_steps: number(8)?,
            best_step: number(9)?,
            base_loss: real(10)?,
            final_loss: real(11)?,
            best_loss: real(12)?,
            forgetting: real(13)?,
            tokens_per_sec: real(14)?,
            peak_rss_mib: real(15)?,
            wall_secs: real(16)?,
            trained_parameters: number(17)?,
            model_parameters: number(18)?,
            adapter: row.get::<_, Option<String>>(19)?.map(|stored| full_path(&self.project_dir, &stored)),
            colour: u8::try_from(row.get::<_, i64>(20)?).unwrap_or(0),
            problem: problem_from(row.get(21)?),
            hashes: serde_json::from_str(&hashes).unwrap_or_default(),
            heartbeat_millis: row.get(23)?,
            pid: u32::try_from(row.get::<_, i64>(24)?).unwrap_or(0),
            labels: RunLabels {
                name: row.get::<_, Option<String>>(25)?.unwrap_or_default(),
                note: row.get::<_, Option<String>>(26)?.unwrap_or_default(),
                tags: serde_json::from_str(&row.get::<_, Option<String>>(27)?.unwrap_or_default()).unwrap_or_default(),
                starred: row.get::<_, Option<bool>>(28)?.unwrap_or(false),
                trashed_millis: row.get::<_, Option<i64>>(29)?.unwrap_or(0),
            },
        })
    }

    /// The series of a run, by name. Reads no points.
    ///
    /// # Errors
    /// Those of the disk; [`StoreError::Damaged`].
    pub fn series_names(&self, run: u64) -> Result<Vec<SeriesMeta>, StoreError> {
        self.rows(
            "SELECT name, unit, count, first_step, last_step, min, max, last FROM series WHERE run = ?1 ORDER BY name",
            [signed(run)],
            |row| {
                let number = |index: usize| row.get::<_, i64>(index).map(unsigned);
                let real = |index: usize| row.get::<_, Option<f64>>(index).map(|value| value.unwrap_or(f64::NAN));
                Ok(SeriesMeta {
                    name: row.get(0)?,
                    unit: row.get(1)?,
                    count: number(2)?,
                    first_step: number(3)?,
                    last_step: number(4)?,
                    min: real(5)?,
                    max: real(6)?,
                    last: real(7)?,
                })
            },
        )
    }

    /// The points of a series from `first_step` to `last_step` (both included), at most `max_points`
    /// (3 at least). When there are more, neighbouring points are joined to groups of which the smallest
    /// and the largest remain, at their own steps, and the first that is not a number, so that the
    /// extremes of the stretch are exact and gaps stay visible. No points for a series that is not there.
    ///
    /// # Errors
    /// Those of the disk; [`StoreError::Damaged`].
    pub fn points(
        &self,
        run: u64,
        series: &str,
        first_step: u64,
        last_step: u64,
        max_points: usize,
    ) -> Result<Vec<Point>, StoreError> {
        // All levels as they were at one moment.
        let transaction = self.connection.unchecked_transaction().map_err(|error| self.sql(error))?;
        let points = match self.series_id(run, series)? {
            Some(id) => self.series_reading(id).points(first_step, last_step, max_points)?,
            None => Vec::new(),
        };
        transaction.commit().map_err(|error| self.sql(error))?;
        Ok(points)
    }

    /// Of every series of a run whose name begins with `prefix`: its name and its newest point at or before `step`, in the
    /// order of names. Series that begin later are left out. One block of each is read, however long it is.
    ///
    /// # Errors
    /// Those of the disk; [`StoreError::Damaged`].
    pub fn latest_points(&self, run: u64, prefix: &str, step: u64) -> Result<Vec<(String, Point)>, StoreError> {
        let sql = |error| self.sql(error);
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT series.name, blocks.data FROM series
                 JOIN blocks ON blocks.series = series.series AND blocks.level = 0 AND blocks.seq =
                     (SELECT own.seq FROM blocks AS own
                      WHERE own.series = series.series AND own.level = 0 AND own.first_step <= ?3
                      ORDER BY own.seq DESC LIMIT 1)
                 WHERE series.run = ?1 AND substr(series.name, 1, length(?2)) = ?2 ORDER BY series.name",
            )
            .map_err(sql)?;
        let mut rows = statement.query(params![signed(run), prefix, signed(step)]).map_err(sql)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(sql)? {
            let blob: Vec<u8> = row.get(1).map_err(sql)?;
            self.blob_bytes.set(self.blob_bytes.get() + blob.len() as u64);
            let points = Point::decode(&blob, &self.file)?;
            if let Some(point) = points.iter().rev().find(|point| point.step <= step) {
                found.push((row.get(0).map_err(sql)?, *point));
            }
        }
        Ok(found)
    }

    /// Walks over all points of a series.
    pub(crate) fn cursor(&self, run: u64, series: &str) -> Result<PointCursor<'_>, StoreError> {
        let id = self
            .series_id(run, series)?
            .ok_or_else(|| StoreError::NotFound { what: format!("series \"{series}\" of run {run}") })?;
        PointCursor::new(self.series_reading(id))
    }

    fn series_reading(&self, series: i64) -> SeriesReading<'_> {
        SeriesReading { connection: &self.connection, file: &self.file, series, blob_bytes: &self.blob_bytes }
    }

    fn series_id(&self, run: u64, series: &str) -> Result<Option<i64>, StoreError> {
        self.connection
            .prepare_cached("SELECT series FROM series WHERE run = ?1 AND name = ?2")
            .and_then(|mut statement| statement.query_row(params![signed(run), series], |row| row.get(0)).optional())
            .map_err(|error| self.sql(error))
    }

    /// Events of a run with a higher id than `event_id`, oldest first, at most `limit`. When a run
    /// resumes, the events after its checkpoint are removed: read again from 0 on `started`.
    ///
    /// # Errors
    /// Those of the disk; [`StoreError::Damaged`] when an event cannot be read.
    pub fn events_after(&self, run: u64, event_id: i64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let stored: Vec<(i64, i64, u64, String)> = self.rows(
            "SELECT id, at_millis, step, json FROM events WHERE run = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
            params![signed(run), event_id, limit],
            |row| Ok((row.get(0)?, row.get(1)?, unsigned(row.get(2)?), row.get(3)?)),
        )?;
        stored
            .into_iter()
            .map(|(id, at_millis, step, json)| {
                let event = serde_json::from_str(&json).map_err(|error| StoreError::Damaged {
                    file: self.file.clone(),
                    what: format!("event {id} cannot be read: {error}"),
                })?;
                Ok(StoredEvent { id, at_millis, step, event })
            })
            .collect()
    }

    /// The rank of each site as it was measured last at or before `step`: rules move some sites between two measurements
    /// of all, and whole weights are measured in turn.
    ///
    /// # Errors
    /// Those of the disk; [`StoreError::Damaged`].
    pub fn rank_at(&self, run: u64, step: u64) -> Result<Vec<RankRow>, StoreError> {
        self.ranks(
            // From site to site by the index, not over all measurements.
            "WITH RECURSIVE sites(site) AS (
                 SELECT min(site) FROM ranks WHERE run = ?1
                 UNION ALL
                 SELECT (SELECT min(site) FROM ranks WHERE run = ?1 AND site > sites.site) FROM sites WHERE site IS NOT NULL
             )
             SELECT ranks.step, ranks.site, rank, effective_rank, energy, spectrum FROM sites
             JOIN ranks ON ranks.run = ?1 AND ranks.site = sites.site AND ranks.step =
                 (SELECT max(step) FROM ranks WHERE run = ?1 AND site = sites.site AND step <= ?2)
             ORDER BY ranks.site",
            params![signed(run), signed(step)],
        )
    }

    /// The steps at which ranks were measured, ascending.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn rank_steps(&self, run: u64) -> Result<Vec<u64>, StoreError> {
        self.rows("SELECT DISTINCT step FROM ranks WHERE run = ?1 ORDER BY step", [signed(run)], |row| {
            row.get(0).map(unsigned)
        })
    }

    /// All measurements of one site, by step.
    ///
    /// # Errors
    /// Those of the disk; [`StoreError::Damaged`].
    pub fn rank_history(&self, run: u64, site: &str) -> Result<Vec<RankRow>, StoreError> {
        self.ranks(
            "SELECT step, site, rank, effective_rank, energy, spectrum FROM ranks
             WHERE run = ?1 AND site = ?2 ORDER BY step",
            params![signed(run), site],
        )
    }

    fn ranks<P: Params>(&self, sql: &str, params: P) -> Result<Vec<RankRow>, StoreError> {
        self.rows(sql, params, |row| {
            let real = |index: usize| row.get::<_, Option<f64>>(index).map(|value| value.unwrap_or(f64::NAN));
            let spectrum: Vec<u8> = row.get(5)?;
            Ok(RankRow {
                step: unsigned(row.get(0)?),
                site: row.get(1)?,
                rank: unsigned(row.get(2)?),
                effective_rank: real(3)?,
                energy: real(4)?,
                spectrum: spectrum
                    .chunks_exact(4)
                    .filter_map(|bytes| bytes.try_into().ok().map(f32::from_le_bytes))
                    .collect(),
            })
        })
    }

    /// The files a run wrote, in the order of writing.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn files(&self, run: u64) -> Result<Vec<FileRow>, StoreError> {
        self.rows(
            "SELECT path, sha256, bytes, at_millis FROM files WHERE run = ?1 ORDER BY at_millis, path",
            [signed(run)],
            |row| {
                Ok(FileRow {
                    path: full_path(&self.project_dir, &row.get::<_, String>(0)?),
                    sha256: row.get(1)?,
                    bytes: unsigned(row.get(2)?),
                    at_millis: row.get(3)?,
                })
            },
        )
    }

    fn rows<T, P: Params>(
        &self,
        sql: &str,
        params: P,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_map(params, read).and_then(Iterator::collect))
            .map_err(|error| self.sql(error))
    }

    fn sql(&self, error: rusqlite::Error) -> StoreError {
        StoreError::sql(&self.file, error)
    }
}
