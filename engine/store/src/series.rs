//! Writing series: the open blocks of every level, and cutting a series back.
//!
//! Place in the data flow: [`crate::Store::flush`] appends the points that [`crate::route`] found in
//! events. The open block of each level stays in memory, so that a flush writes one row per level and
//! series, however many points came.
//!
//! An entry at level `k` stands for `FAN^k` points by count, so the shape of the pyramid follows from
//! the number of points alone; only the last entry of a level may be incomplete.

use crate::block::{Entry, FAN, Item, PROMOTE};
use crate::error::StoreError;
use crate::rows::Point;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::BTreeMap;
use std::path::Path;

/// The open block of one level.
#[derive(Debug)]
struct Tail<T> {
    seq: u64,
    items: Vec<T>,
    dirty: bool,
}

impl<T> Default for Tail<T> {
    fn default() -> Self {
        Self { seq: 0, items: Vec::new(), dirty: false }
    }
}

/// A series that is being written.
#[derive(Debug, Default)]
struct Series {
    id: i64,
    count: u64,
    first_step: u64,
    last_step: u64,
    min: Option<f64>,
    max: Option<f64>,
    last: f64,
    points: Tail<Point>,
    /// Level 1 and up.
    levels: Vec<Tail<Entry>>,
    dirty: bool,
}

/// The series being written, by run and name. Must be dropped when a transaction fails.
#[derive(Debug, Default)]
pub(crate) struct SeriesCache {
    runs: BTreeMap<u64, BTreeMap<String, Series>>,
}

impl SeriesCache {
    /// Appends a point. A step that is not after the last one replaces the series from there on: this is
    /// what a trainer that rolled back does.
    pub(crate) fn append(
        &mut self,
        connection: &Connection,
        file: &Path,
        run: u64,
        name: &str,
        unit: &str,
        point: Point,
    ) -> Result<(), StoreError> {
        let names = self.runs.entry(run).or_default();
        if !names.contains_key(name) {
            let series = Series::open(connection, file, run, name, unit)?;
            names.insert(name.to_owned(), series);
        }
        let Some(series) = names.get_mut(name) else {
            return Ok(());
        };
        if series.count > 0 && point.step <= series.last_step {
            series.keep_before(connection, file, point.step)?;
        }
        series.push(connection, file, point)
    }

    /// Cuts every series of `run` so that only points up to `step` remain.
    pub(crate) fn truncate_after(
        &mut self,
        connection: &Connection,
        file: &Path,
        run: u64,
        step: u64,
    ) -> Result<(), StoreError> {
        let sql = |error| StoreError::sql(file, error);
        let names: Vec<String> = connection
            .prepare_cached("SELECT name FROM series WHERE run = ?1 ORDER BY series")
            .and_then(|mut statement| {
                statement.query_map([run.cast_signed()], |row| row.get(0)).and_then(Iterator::collect)
            })
            .map_err(sql)?;
        self.runs.remove(&run);
        for name in names {
            let mut series = Series::open(connection, file, run, &name, "")?;
            series.keep_before(connection, file, step.saturating_add(1))?;
            if series.count == 0 {
                connection.execute("DELETE FROM series WHERE series = ?1", [series.id]).map_err(sql)?;
            } else {
                series.write(connection, file)?;
            }
        }
        Ok(())
    }

    /// Writes every open block that changed.
    pub(crate) fn write(&mut self, connection: &Connection, file: &Path) -> Result<(), StoreError> {
        for series in self.runs.values_mut().flat_map(BTreeMap::values_mut) {
            series.write(connection, file)?;
        }
        Ok(())
    }

    /// Forgets a run that is over.
    pub(crate) fn forget(&mut self, run: u64) {
        self.runs.remove(&run);
    }
}

/// Points under one entry of level `index + 1`.
fn span(index: usize) -> u64 {
    (FAN as u64).saturating_pow(u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1))
}

impl Series {
    /// Finds or creates the series and reads its open blocks.
    fn open(connection: &Connection, file: &Path, run: u64, name: &str, unit: &str) -> Result<Self, StoreError> {
        let sql = |error| StoreError::sql(file, error);
        let found = connection
            .prepare_cached(
                "SELECT series, count, first_step, last_step, min, max, last FROM series WHERE run = ?1 AND name = ?2",
            )
            .and_then(|mut statement| {
                statement
                    .query_row(params![run.cast_signed(), name], |row| {
                        Ok(Self {
                            id: row.get(0)?,
                            count: unsigned(row.get(1)?),
                            first_step: unsigned(row.get(2)?),
                            last_step: unsigned(row.get(3)?),
                            min: row.get(4)?,
                            max: row.get(5)?,
                            last: row.get::<_, Option<f64>>(6)?.unwrap_or(f64::NAN),
                            ..Self::default()
                        })
                    })
                    .optional()
            })
            .map_err(sql)?;
        let Some(mut series) = found else {
            let id = connection
                .prepare_cached("INSERT INTO series(run, name, unit) VALUES (?1, ?2, ?3)")
                .and_then(|mut statement| statement.insert(params![run.cast_signed(), name, unit]))
                .map_err(sql)?;
            return Ok(Self { id, ..Self::default() });
        };
        if series.count > 0 {
            series.points = read_tail(connection, file, series.id, 0)?.unwrap_or_default();
            while let Some(tail) = read_tail(connection, file, series.id, series.levels.len() + 1)? {
                series.levels.push(tail);
            }
        }
        Ok(series)
    }

    /// Appends a point whose step is after the last one.
    fn push(&mut self, connection: &Connection, file: &Path, point: Point) -> Result<(), StoreError> {
        if self.count == 0 {
            self.first_step = point.step;
        }
        self.count += 1;
        self.last_step = point.step;
        self.last = point.value;
        if !point.value.is_nan() {
            self.min = Some(self.min.map_or(point.value, |min| min.min(point.value)));
            self.max = Some(self.max.map_or(point.value, |max| max.max(point.value)));
        }
        self.dirty = true;
        self.points.push(connection, file, self.id, 0, point)?;
        for (index, tail) in self.levels.iter_mut().enumerate() {
            match tail.items.last_mut() {
                Some(open) if open.count < span(index) => {
                    open.absorb(&Entry::of(point));
                    tail.dirty = true;
                }
                _ => tail.push(connection, file, self.id, index + 1, Entry::of(point))?,
            }
        }
        self.promote();
        Ok(())
    }

    /// Adds a level when the topmost one has filled its first block so far that one is worth it.
    fn promote(&mut self) {
        let above = match self.levels.last() {
            None if self.points.seq == 0 && self.points.items.len() == PROMOTE => above(&self.points.items),
            Some(top) if top.seq == 0 && top.items.len() == PROMOTE => above(&top.items),
            _ => return,
        };
        self.levels.push(Tail { seq: 0, items: above, dirty: true });
    }

    /// Drops the points from `step` on and rebuilds the ends of the levels above.
    fn keep_before(&mut self, connection: &Connection, file: &Path, step: u64) -> Result<(), StoreError> {
        let sql = |error| StoreError::sql(file, error);
        if self.count == 0 || self.last_step < step {
            return Ok(());
        }
        self.write(connection, file)?;
        connection
            .execute(
                "DELETE FROM blocks WHERE series = ?1 AND level = 0 AND first_step >= ?2",
                params![self.id, signed(step)],
            )
            .map_err(sql)?;
        self.points = read_tail(connection, file, self.id, 0)?.unwrap_or_default();
        self.points.items.retain(|point: &Point| point.step < step);
        self.points.dirty = true;
        let before: i64 = connection
            .query_row(
                "SELECT coalesce(sum(count), 0) FROM blocks WHERE series = ?1 AND level = 0 AND seq < ?2",
                params![self.id, self.points.seq.cast_signed()],
                |row| row.get(0),
            )
            .map_err(sql)?;
        self.count = unsigned(before) + self.points.items.len() as u64;
        self.dirty = true;
        if self.count == 0 {
            connection.execute("DELETE FROM blocks WHERE series = ?1", [self.id]).map_err(sql)?;
            *self = Self { id: self.id, dirty: true, ..Self::default() };
            return Ok(());
        }
        let mut below: Vec<Entry> = self.points.items.iter().map(Item::stretch).collect();
        let mut span_below = 1;
        for (index, tail) in self.levels.iter_mut().enumerate() {
            let span = span(index);
            let last_seq = (self.count.div_ceil(span) - 1) / Entry::PER_BLOCK as u64;
            let complete = (self.count / span).saturating_sub(last_seq * Entry::PER_BLOCK as u64);
            connection
                .execute(
                    "DELETE FROM blocks WHERE series = ?1 AND level = ?2 AND seq > ?3",
                    params![self.id, level_number(index + 1), last_seq.cast_signed()],
                )
                .map_err(sql)?;
            *tail = read_tail(connection, file, self.id, index + 1)?.unwrap_or_default();
            tail.seq = last_seq;
            tail.items.truncate(usize::try_from(complete).unwrap_or(usize::MAX));
            // The incomplete entry at the end covers the last items of the level below.
            let open = usize::try_from((self.count % span).div_ceil(span_below)).unwrap_or(usize::MAX);
            let from = below.len().saturating_sub(open);
            tail.items.extend(Entry::of_all(below.iter().skip(from).copied()));
            tail.dirty = true;
            below.clone_from(&tail.items);
            span_below = span;
        }
        self.write_blocks(connection, file)?;
        self.recount(connection, file)
    }

    /// Reads smallest, largest and last value again after a cut.
    fn recount(&mut self, connection: &Connection, file: &Path) -> Result<(), StoreError> {
        let sql = |error| StoreError::sql(file, error);
        (self.min, self.max) = connection
            .query_row("SELECT min(min), max(max) FROM blocks WHERE series = ?1 AND level = 0", [self.id], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .map_err(sql)?;
        let last = self.points.items.last().ok_or_else(|| StoreError::Damaged {
            file: file.to_path_buf(),
            what: "a series has lost its end".to_owned(),
        })?;
        self.last_step = last.step;
        self.last = last.value;
        Ok(())
    }

    /// Writes the blocks and the summary that changed.
    fn write(&mut self, connection: &Connection, file: &Path) -> Result<(), StoreError> {
        if !self.dirty {
            return Ok(());
        }
        self.write_blocks(connection, file)?;
        connection
            .prepare_cached(
                "UPDATE series SET count = ?2, first_step = ?3, last_step = ?4, min = ?5, max = ?6, last = ?7
                 WHERE series = ?1",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    self.id,
                    self.count.cast_signed(),
                    signed(self.first_step),
                    signed(self.last_step),
                    self.min,
                    self.max,
                    self.last,
                ])
            })
            .map_err(|error| StoreError::sql(file, error))?;
        self.dirty = false;
        Ok(())
    }

    /// Writes the blocks that changed.
    fn write_blocks(&mut self, connection: &Connection, file: &Path) -> Result<(), StoreError> {
        self.points.write(connection, file, self.id, 0)?;
        for (index, tail) in self.levels.iter_mut().enumerate() {
            tail.write(connection, file, self.id, index + 1)?;
        }
        Ok(())
    }
}

impl<T: Item> Tail<T> {
    /// Appends an item; a full block goes to disk first.
    fn push(
        &mut self,
        connection: &Connection,
        file: &Path,
        series: i64,
        level: usize,
        item: T,
    ) -> Result<(), StoreError> {
        if self.items.len() >= T::PER_BLOCK {
            self.write(connection, file, series, level)?;
            self.seq += 1;
            self.items.clear();
        }
        self.items.push(item);
        self.dirty = true;
        Ok(())
    }

    /// Writes the block when it changed; an empty one is removed.
    fn write(&mut self, connection: &Connection, file: &Path, series: i64, level: usize) -> Result<(), StoreError> {
        if !self.dirty {
            return Ok(());
        }
        let level = level_number(level);
        let Some(whole) = Entry::of_all(self.items.iter().map(Item::stretch)) else {
            connection
                .execute(
                    "DELETE FROM blocks WHERE series = ?1 AND level = ?2 AND seq = ?3",
                    params![series, level, self.seq.cast_signed()],
                )
                .map_err(|error| StoreError::sql(file, error))?;
            self.dirty = false;
            return Ok(());
        };
        connection
            .prepare_cached(
                "INSERT INTO blocks(series, level, seq, count, first_step, last_step, min, max, data)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                 ON CONFLICT(series, level, seq) DO UPDATE SET count = excluded.count,
                     first_step = excluded.first_step, last_step = excluded.last_step,
                     min = excluded.min, max = excluded.max, data = excluded.data",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    series,
                    level,
                    self.seq.cast_signed(),
                    self.items.len() as i64,
                    signed(whole.first_step),
                    signed(whole.last_step),
                    whole.min.map(|point| point.value),
                    whole.max.map(|point| point.value),
                    T::encode(&self.items),
                ])
            })
            .map_err(|error| StoreError::sql(file, error))?;
        self.dirty = false;
        Ok(())
    }
}

/// The entries over `items`, [`FAN`] under each.
fn above<T: Item>(items: &[T]) -> Vec<Entry> {
    items.chunks(FAN).filter_map(|chunk| Entry::of_all(chunk.iter().map(Item::stretch))).collect()
}

/// The last block of a level; `None` when the level does not exist.
fn read_tail<T: Item>(
    connection: &Connection,
    file: &Path,
    series: i64,
    level: usize,
) -> Result<Option<Tail<T>>, StoreError> {
    let found: Option<(i64, Vec<u8>)> = connection
        .prepare_cached("SELECT seq, data FROM blocks WHERE series = ?1 AND level = ?2 ORDER BY seq DESC LIMIT 1")
        .and_then(|mut statement| {
            statement.query_row(params![series, level_number(level)], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .map_err(|error| StoreError::sql(file, error))?;
    found.map(|(seq, blob)| Ok(Tail { seq: unsigned(seq), items: T::decode(&blob, file)?, dirty: false })).transpose()
}

/// A level as SQLite takes it.
fn level_number(level: usize) -> i64 {
    i64::try_from(level).unwrap_or(i64::MAX)
}

/// A step as SQLite takes it.
pub(crate) fn signed(step: u64) -> i64 {
    i64::try_from(step).unwrap_or(i64::MAX)
}

/// A count or step as SQLite gives it.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
