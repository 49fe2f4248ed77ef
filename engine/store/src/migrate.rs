//! The schema and the way from older ones to it.
//!
//! The version is kept in `PRAGMA user_version`. Version 0 kept a row for every point; version 1 keeps
//! blocks; version 2 knows what a person says about a run. A migration runs in one transaction: it happens wholly or
//! not at all.

use crate::error::StoreError;
use crate::rows::Point;
use crate::series::SeriesCache;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use std::path::Path;

/// Version of the database that this program writes. Project files have a version of their own.
const DB_VERSION: u32 = 2;

/// What version 2 has more than version 1: names, notes and tags of runs, and which lie in the trash since when and came
/// from which folder.
const LABELS: &str = "
CREATE TABLE labels (
    run INTEGER PRIMARY KEY REFERENCES runs(run) ON DELETE CASCADE,
    name TEXT NOT NULL DEFAULT '',
    note TEXT NOT NULL DEFAULT '',
    tags TEXT NOT NULL DEFAULT '[]',
    starred INTEGER NOT NULL DEFAULT 0,
    trashed_millis INTEGER NOT NULL DEFAULT 0,
    origin TEXT NOT NULL DEFAULT ''
);
";

/// The schema of version 1, which [`LABELS`] completes. REAL columns that are NULL read as not-a-number, because
/// SQLite stores not-a-number as NULL.
const SCHEMA: &str = "
CREATE TABLE runs (
    run INTEGER PRIMARY KEY,
    folder TEXT NOT NULL,
    method TEXT NOT NULL,
    status TEXT NOT NULL,
    settings_toml TEXT NOT NULL,
    created_millis INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    steps INTEGER NOT NULL DEFAULT 0,
    max_steps INTEGER NOT NULL DEFAULT 0,
    best_step INTEGER NOT NULL DEFAULT 0,
    base_loss REAL, final_loss REAL, best_loss REAL,
    forgetting REAL, forgetting_step INTEGER NOT NULL DEFAULT 0,
    tokens_per_sec REAL NOT NULL DEFAULT 0,
    peak_rss_mib REAL NOT NULL DEFAULT 0,
    wall_secs REAL NOT NULL DEFAULT 0,
    trained_parameters INTEGER NOT NULL DEFAULT 0,
    model_parameters INTEGER NOT NULL DEFAULT 0,
    adapter TEXT,
    colour INTEGER NOT NULL DEFAULT 0,
    problem TEXT,
    hashes TEXT NOT NULL DEFAULT '{}',
    heartbeat_millis INTEGER NOT NULL DEFAULT 0,
    pid INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE series (
    series INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs(run) ON DELETE CASCADE,
    name TEXT NOT NULL,
    unit TEXT NOT NULL,
    count INTEGER NOT NULL DEFAULT 0,
    first_step INTEGER NOT NULL DEFAULT 0,
    last_step INTEGER NOT NULL DEFAULT 0,
    min REAL, max REAL, last REAL,
    UNIQUE (run, name)
);
CREATE TABLE blocks (
    series INTEGER NOT NULL REFERENCES series(series) ON DELETE CASCADE,
    level INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    count INTEGER NOT NULL,
    first_step INTEGER NOT NULL,
    last_step INTEGER NOT NULL,
    min REAL, max REAL,
    data BLOB NOT NULL,
    UNIQUE (series, level, seq)
);
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL REFERENCES runs(run) ON DELETE CASCADE,
    at_millis INTEGER NOT NULL,
    step INTEGER NOT NULL,
    kind TEXT NOT NULL,
    json TEXT NOT NULL
);
CREATE INDEX events_of_run ON events(run, id);
CREATE TABLE ranks (
    run INTEGER NOT NULL REFERENCES runs(run) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    site TEXT NOT NULL,
    rank INTEGER NOT NULL,
    effective_rank REAL,
    energy REAL,
    spectrum BLOB NOT NULL,
    PRIMARY KEY (run, step, site)
) WITHOUT ROWID;
CREATE INDEX ranks_of_site ON ranks(run, site, step);
CREATE TABLE files (
    path TEXT NOT NULL,
    run INTEGER NOT NULL REFERENCES runs(run) ON DELETE CASCADE,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    at_millis INTEGER NOT NULL,
    PRIMARY KEY (run, path)
);
CREATE TABLE commands (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_millis INTEGER NOT NULL,
    json TEXT NOT NULL,
    taken INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX commands_waiting ON commands(id) WHERE taken = 0;
";

/// The schema version of `connection` and whether it has tables at all.
fn version(connection: &Connection, file: &Path) -> Result<(u32, bool), StoreError> {
    let sql = |error| StoreError::sql(file, error);
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(sql)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'runs'", [], |row| row.get(0))
        .map_err(sql)?;
    let found = u32::try_from(found).map_err(|_error| StoreError::Damaged {
        file: file.to_path_buf(),
        what: format!("its schema version is {found}"),
    })?;
    if found > DB_VERSION {
        return Err(StoreError::Newer { file: file.to_path_buf(), found, known: DB_VERSION });
    }
    Ok((found, tables > 0))
}

/// Refuses what a reader cannot read as it stands.
pub(crate) fn check_version(connection: &Connection, file: &Path) -> Result<(), StoreError> {
    match version(connection, file)? {
        (_, false) => Err(StoreError::Missing { file: file.to_path_buf() }),
        (DB_VERSION, true) => Ok(()),
        (found, true) => Err(StoreError::Older { file: file.to_path_buf(), found }),
    }
}

/// Creates the schema in an empty database, or migrates an older one.
pub(crate) fn bring_up_to_date(connection: &mut Connection, file: &Path) -> Result<(), StoreError> {
    if version(connection, file)? == (DB_VERSION, true) {
        return Ok(());
    }
    // Two programs may open a new project at once: who comes second finds the work done.
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|error| StoreError::sql(file, error))?;
    match version(&transaction, file)? {
        (DB_VERSION, true) => return Ok(()),
        (_, false) => transaction.execute_batch(SCHEMA).map_err(|error| StoreError::sql(file, error))?,
        (0, true) => rows_to_blocks(&transaction, file)?,
        (_, true) => {}
    }
    transaction.execute_batch(LABELS).map_err(|error| StoreError::sql(file, error))?;
    transaction
        .pragma_update(None, "user_version", DB_VERSION)
        .and_then(|()| transaction.commit())
        .map_err(|error| StoreError::sql(file, error))
}

/// Version 0 to 1: `points(run, name, step, value)` becomes blocks, everything else keeps its content.
fn rows_to_blocks(transaction: &Transaction<'_>, file: &Path) -> Result<(), StoreError> {
    let sql = |error| StoreError::sql(file, error);
    transaction
        .execute_batch(
            "ALTER TABLE runs RENAME TO old_runs;
             ALTER TABLE points RENAME TO old_points;
             ALTER TABLE events RENAME TO old_events;",
        )
        .map_err(sql)?;
    transaction.execute_batch(SCHEMA).map_err(sql)?;
    transaction
        .execute_batch(
            "INSERT INTO runs(run, folder, method, status, settings_toml, created_millis, seed, steps, max_steps,
                              best_step, base_loss, final_loss, best_loss, adapter, colour)
                 SELECT id, folder, method, status, settings, created_secs * 1000, seed, steps, max_steps,
                        best_step, base_loss, final_loss, best_loss, adapter, (id - 1) % 256 FROM old_runs;
             INSERT INTO events(id, run, at_millis, step, kind, json)
                 SELECT id, run, at_secs * 1000, step, json_extract(json, '$.event'), json FROM old_events ORDER BY id;",
        )
        .map_err(sql)?;
    let mut cache = SeriesCache::default();
    {
        let mut names =
            transaction.prepare("SELECT DISTINCT run, name FROM old_points ORDER BY run, name").map_err(sql)?;
        let names: Vec<(u64, String)> = names
            .query_map([], |row| Ok((row.get::<_, i64>(0)?.max(0).cast_unsigned(), row.get(1)?)))
            .and_then(Iterator::collect)
            .map_err(sql)?;
        let mut points = transaction
            .prepare("SELECT step, value FROM old_points WHERE run = ?1 AND name = ?2 ORDER BY step, rowid")
            .map_err(sql)?;
        for (run, name) in names {
            let unit = crate::route::unit_of(&name);
            let mut rows = points.query(params![run.cast_signed(), name]).map_err(sql)?;
            while let Some(row) = rows.next().map_err(sql)? {
                let step: i64 = row.get(0).map_err(sql)?;
                let value: Option<f64> = row.get(1).map_err(sql)?;
                let point = Point { step: step.max(0).cast_unsigned(), value: value.unwrap_or(f64::NAN) };
                cache.append(transaction, file, run, &name, unit, point)?;
            }
        }
    }
    cache.write(transaction, file)?;
    transaction.execute_batch("DROP TABLE old_points; DROP TABLE old_events; DROP TABLE old_runs;").map_err(sql)?;
    let left: Option<i64> = transaction
        .query_row("SELECT 1 FROM pragma_foreign_key_check LIMIT 1", [], |row| row.get(0))
        .optional()
        .map_err(sql)?;
    if left.is_some() {
        return Err(StoreError::Damaged {
            file: file.to_path_buf(),
            what: "points or events belong to runs that are not in it".to_owned(),
        });
    }
    Ok(())
}
