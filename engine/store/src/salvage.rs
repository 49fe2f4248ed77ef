//! What can still be read of a damaged database, copied into a new one.
//!
//! Place in the data flow: [`crate::Store::repair`] sets the damaged file aside and calls [`copy`]. Tables are read
//! forwards to the damage and backwards to it, so that one bad page costs the rows on it and no others. Series are
//! not copied but built again from the points that are left, because summaries over lost points would be wrong.

use crate::block::Item as _;
use crate::database;
use crate::error::StoreError;
use crate::rows::Point;
use crate::series::{SeriesCache, unsigned};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params_from_iter};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use temper_protocol::{Event, Problem};

/// What was read of a damaged database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Salvaged {
    /// Rows of runs.
    pub(crate) runs: u64,
    /// Events of these runs.
    pub(crate) events: u64,
    /// Points of their series.
    pub(crate) points: u64,
}

/// A column as the new schema declares it.
struct Column {
    name: String,
    kind: String,
    not_null: bool,
}

impl Column {
    /// Whether a value is what the column holds: SQLite itself would take anything.
    fn holds(&self, value: &Value) -> bool {
        match value {
            Value::Null => !self.not_null,
            Value::Integer(_) => matches!(self.kind.as_str(), "INTEGER" | "REAL"),
            Value::Real(_) => self.kind == "REAL",
            Value::Text(_) => self.kind == "TEXT",
            Value::Blob(_) => self.kind == "BLOB",
        }
    }
}

/// Copies into `new`, the connection of the fresh database `file`, what can be read of `old_file`. All of it or,
/// on an error of the new database, nothing.
pub(crate) fn copy(old_file: &Path, new: &mut Connection, file: &Path) -> Result<Salvaged, StoreError> {
    // Immutable: what was set aside must stay as it is.
    let Ok(reading) = database::open_raw(old_file) else {
        return Ok(Salvaged::default());
    };
    let sql = |error| StoreError::sql(file, error);
    let transaction = crate::store::immediate(new).map_err(sql)?;
    let runs = copy_table(&reading, &transaction, file, "runs", "run", readable_run)?;
    let events = copy_table(&reading, &transaction, file, "events", "id", readable_event)?;
    copy_table(&reading, &transaction, file, "ranks", "run, step, site", |_, _| true)?;
    copy_table(&reading, &transaction, file, "files", "rowid", |_, _| true)?;
    copy_table(&reading, &transaction, file, "labels", "run", readable_label)?;
    let points = copy_points(&reading, &transaction, file)?;
    transaction.commit().map_err(sql)?;
    Ok(Salvaged { runs, events, points })
}

/// Texts of a run's row that the reader parses.
fn readable_run(columns: &[Column], values: &[Value]) -> bool {
    columns.iter().zip(values).all(|(column, value)| match (column.name.as_str(), value) {
        ("problem", Value::Text(text)) => serde_json::from_str::<Problem>(text).is_ok(),
        ("hashes", Value::Text(text)) => serde_json::from_str::<BTreeMap<String, String>>(text).is_ok(),
        ("run", Value::Integer(run)) => *run > 0,
        _ => true,
    })
}

fn readable_label(columns: &[Column], values: &[Value]) -> bool {
    columns.iter().zip(values).all(|(column, value)| match (column.name.as_str(), value) {
        ("tags", Value::Text(text)) => serde_json::from_str::<Vec<String>>(text).is_ok(),
        _ => true,
    })
}

fn readable_event(columns: &[Column], values: &[Value]) -> bool {
    columns.iter().zip(values).all(|(column, value)| match (column.name.as_str(), value) {
        ("json", Value::Text(text)) => serde_json::from_str::<Event>(text).is_ok(),
        _ => true,
    })
}

/// Hands every readable row to `take`. False when damage ended it.
fn scan(old: &Connection, query: &str, width: usize, take: &mut dyn FnMut(Vec<Value>)) -> bool {
    let Ok(mut statement) = old.prepare(query) else { return false };
    let Ok(mut rows) = statement.query([]) else { return false };
    loop {
        match rows.next() {
            Ok(Some(row)) => {
                if let Ok(values) = (0..width).map(|index| row.get(index)).collect() {
                    take(values);
                }
            }
            Ok(None) => return true,
            Err(_damage) => return false,
        }
    }
}

/// Both directions of a table; `key` orders it.
fn scan_both(old: &Connection, select: &str, key: &str, width: usize, take: &mut dyn FnMut(Vec<Value>)) {
    if !scan(old, &format!("{select} ORDER BY {key}"), width, take) {
        let backwards = key.split(", ").map(|part| format!("{part} DESC")).collect::<Vec<_>>().join(", ");
        let _damage_was_met_before = scan(old, &format!("{select} ORDER BY {backwards}"), width, take);
    }
}

/// Copies the rows of `table` that have the right types and that `readable` accepts; returns how many.
fn copy_table(
    old: &Connection,
    new: &Transaction<'_>,
    file: &Path,
    table: &str,
    key: &str,
    readable: fn(&[Column], &[Value]) -> bool,
) -> Result<u64, StoreError> {
    let sql = |error| StoreError::sql(file, error);
    let columns: Vec<Column> = new
        .prepare("SELECT name, type, \"notnull\" FROM pragma_table_info(?1)")
        .and_then(|mut statement| {
            statement
                .query_map([table], |row| Ok(Column { name: row.get(0)?, kind: row.get(1)?, not_null: row.get(2)? }))
                .and_then(Iterator::collect)
        })
        .map_err(sql)?;
    let names = columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
    let marks = vec!["?"; columns.len()].join(", ");
    let mut insert = new.prepare(&format!("INSERT OR IGNORE INTO {table}({names}) VALUES ({marks})")).map_err(sql)?;
    let (mut copied, mut failed) = (0, None);
    scan_both(old, &format!("SELECT {names} FROM {table}"), key, columns.len(), &mut |values| {
        let fits = columns.iter().zip(&values).all(|(column, value)| column.holds(value));
        if failed.is_some() || !fits || !readable(&columns, &values) {
            return;
        }
        match insert.execute(params_from_iter(values)) {
            Ok(rows) => copied += rows as u64,
            // It belongs to a run whose row is lost.
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {}
            Err(error) => failed = Some(error),
        }
    });
    match failed {
        Some(error) => Err(sql(error)),
        None => Ok(copied),
    }
}

/// Builds the series of all runs in `new` from the blocks of points that are left in `old`.
fn copy_points(old: &Connection, new: &Transaction<'_>, file: &Path) -> Result<u64, StoreError> {
    let sql = |error| StoreError::sql(file, error);
    let runs: BTreeSet<i64> = new
        .prepare("SELECT run FROM runs")
        .and_then(|mut statement| statement.query_map([], |row| row.get(0)).and_then(Iterator::collect))
        .map_err(sql)?;
    let mut names: BTreeMap<i64, (i64, String)> = BTreeMap::new();
    scan_both(old, "SELECT series, run, name FROM series", "series", 3, &mut |values| {
        if let [Value::Integer(series), Value::Integer(run), Value::Text(name)] = values.as_slice()
            && runs.contains(run)
        {
            names.insert(*series, (*run, name.clone()));
        }
    });
    // Where the blocks are; their content lies on pages of its own.
    let mut blocks: BTreeSet<(i64, i64, i64)> = BTreeSet::new();
    let select = "SELECT series, seq, rowid FROM blocks WHERE level = 0";
    scan_both(old, select, "rowid", 3, &mut |values| {
        if let [Value::Integer(series), Value::Integer(seq), Value::Integer(row)] = values.as_slice() {
            blocks.insert((*series, *seq, *row));
        }
    });
    let Ok(mut content) = old.prepare("SELECT data FROM blocks WHERE rowid = ?1") else { return Ok(0) };
    let (mut cache, mut copied) = (SeriesCache::default(), 0);
    let mut newest: Option<(i64, u64)> = None;
    for (series, _, row) in blocks {
        let Some((run, name)) = names.get(&series) else { continue };
        let Ok(Some(blob)) = content.query_row([row], |row| row.get::<_, Vec<u8>>(0)).optional() else { continue };
        let Ok(points) = Point::decode(&blob, file) else { continue };
        for point in points {
            let follows = newest.is_none_or(|(of, step)| of != series || step < point.step);
            // A step is an SQLite integer; anything else is damage.
            if follows && i64::try_from(point.step).is_ok() {
                cache.append(new, file, unsigned(*run), name, crate::route::unit_of(name), point)?;
                newest = Some((series, point.step));
                copied += 1;
            }
        }
    }
    cache.write(new, file)?;
    Ok(copied)
}
