//! Reading a stretch of a series in at most so many points.
//!
//! Place in the data flow: [`crate::Reader::points`] asks for what a plot of some width can show. When
//! the stretch holds more points than that, the coarsest level that is still fine enough is read and its
//! entries are joined to as many groups as fit; each group gives its smallest and its largest point, at
//! their true steps, and its first not-a-number. At both ends of the stretch, where an entry reaches
//! beyond it, the levels below are read, so that the smallest and largest value are exact.

use crate::block::{Entry, FAN, Item, POINTS_PER_BLOCK};
use crate::error::StoreError;
use crate::rows::Point;
use crate::series::{signed, unsigned};
use rusqlite::{Connection, params};
use std::cell::Cell;
use std::path::Path;

/// A series as the reading functions need it.
pub(crate) struct SeriesReading<'a> {
    /// Where the blocks are.
    pub(crate) connection: &'a Connection,
    /// Named in errors.
    pub(crate) file: &'a Path,
    /// Key of the series.
    pub(crate) series: i64,
    /// Counts the bytes of blobs read.
    pub(crate) blob_bytes: &'a Cell<u64>,
}

impl SeriesReading<'_> {
    /// The points from `first_step` to `last_step`, joined to at most `max_points`.
    pub(crate) fn points(&self, first_step: u64, last_step: u64, max_points: usize) -> Result<Vec<Point>, StoreError> {
        // Smallest, largest and a not-a-number of one group.
        let max_points = max_points.max(3);
        let held = self.count(first_step, last_step)?;
        if held <= (max_points + 2 * POINTS_PER_BLOCK) as u64 {
            let points: Vec<Point> = self.blocks::<Point>(0, first_step, last_step)?;
            if points.len() <= max_points {
                return Ok(points);
            }
            return Ok(join(&points.iter().map(Item::stretch).collect::<Vec<_>>(), max_points));
        }
        let groups = (max_points / 2) as u64;
        let mut level = 0;
        let mut span = 1;
        for above in 1..=self.top_level()? {
            span *= FAN as u64;
            if held / span < groups {
                break;
            }
            level = above;
        }
        let mut entries = Vec::new();
        self.collect(level, first_step, last_step, &mut entries)?;
        Ok(join(&entries, max_points))
    }

    /// Upper bound of the points in a stretch: those of all blocks it touches.
    fn count(&self, first_step: u64, last_step: u64) -> Result<u64, StoreError> {
        self.connection
            .prepare_cached(
                "SELECT coalesce(sum(count), 0) FROM blocks
                 WHERE series = ?1 AND level = 0 AND last_step >= ?2 AND first_step <= ?3",
            )
            .and_then(|mut statement| {
                statement.query_row(params![self.series, signed(first_step), signed(last_step)], |row| row.get(0))
            })
            .map(unsigned)
            .map_err(|error| StoreError::sql(self.file, error))
    }

    /// The coarsest level there is.
    fn top_level(&self) -> Result<i64, StoreError> {
        self.connection
            .prepare_cached("SELECT coalesce(max(level), 0) FROM blocks WHERE series = ?1")
            .and_then(|mut statement| statement.query_row([self.series], |row| row.get(0)))
            .map_err(|error| StoreError::sql(self.file, error))
    }

    /// The items of `level` that touch the stretch. Points that lie outside are left out; entries are
    /// not cut.
    fn blocks<T: Item>(&self, level: i64, first_step: u64, last_step: u64) -> Result<Vec<T>, StoreError> {
        let sql = |error| StoreError::sql(self.file, error);
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT data FROM blocks
                 WHERE series = ?1 AND level = ?2 AND last_step >= ?3 AND first_step <= ?4 ORDER BY seq",
            )
            .map_err(sql)?;
        let mut rows =
            statement.query(params![self.series, level, signed(first_step), signed(last_step)]).map_err(sql)?;
        let mut items = Vec::new();
        while let Some(row) = rows.next().map_err(sql)? {
            let blob = row.get_ref(0).map_err(sql)?.as_blob().map_err(|error| StoreError::Damaged {
                file: self.file.to_path_buf(),
                what: format!("a block is no blob: {error}"),
            })?;
            self.blob_bytes.set(self.blob_bytes.get() + blob.len() as u64);
            items.extend(T::decode(blob, self.file)?.into_iter().filter(|item| {
                let stretch = item.stretch();
                stretch.last_step >= first_step && stretch.first_step <= last_step
            }));
        }
        Ok(items)
    }

    /// Appends the entries of `level` in the stretch; those that reach beyond it are replaced by what
    /// the levels below hold inside.
    fn collect(&self, level: i64, first_step: u64, last_step: u64, into: &mut Vec<Entry>) -> Result<(), StoreError> {
        if level == 0 {
            let points: Vec<Point> = self.blocks(0, first_step, last_step)?;
            into.extend(points.iter().map(Item::stretch));
            return Ok(());
        }
        for entry in self.blocks::<Entry>(level, first_step, last_step)? {
            if entry.first_step >= first_step && entry.last_step <= last_step {
                into.push(entry);
            } else {
                let first = entry.first_step.max(first_step);
                let last = entry.last_step.min(last_step);
                self.collect(level - 1, first, last, into)?;
            }
        }
        Ok(())
    }
}

/// Joins `entries` to groups of equal size, as many as fit into `max_points`.
fn join(entries: &[Entry], max_points: usize) -> Vec<Point> {
    let per_group = if entries.iter().any(|entry| entry.nan_step.is_some()) { 3 } else { 2 };
    let groups = (max_points / per_group).max(1);
    let mut points = Vec::with_capacity(max_points);
    for group in entries.chunks(entries.len().div_ceil(groups).max(1)) {
        if let Some(whole) = Entry::of_all(group.iter().copied()) {
            whole.draw(&mut points);
        }
    }
    points
}

/// Walks over all points of a series, one block in memory at a time.
pub(crate) struct PointCursor<'a> {
    reading: SeriesReading<'a>,
    next_seq: i64,
    block: std::vec::IntoIter<Point>,
    ahead: Option<Point>,
}

impl<'a> PointCursor<'a> {
    /// Starts before the first point.
    pub(crate) fn new(reading: SeriesReading<'a>) -> Result<Self, StoreError> {
        let mut cursor = Self { reading, next_seq: 0, block: Vec::new().into_iter(), ahead: None };
        cursor.advance()?;
        Ok(cursor)
    }

    /// The point that comes next.
    pub(crate) fn peek(&self) -> Option<Point> {
        self.ahead
    }

    /// Goes on by one point.
    pub(crate) fn advance(&mut self) -> Result<(), StoreError> {
        loop {
            self.ahead = self.block.next();
            if self.ahead.is_some() {
                return Ok(());
            }
            let Some(blob) = self.next_block()? else {
                return Ok(());
            };
            self.block = Point::decode(&blob, self.reading.file)?.into_iter();
        }
    }

    /// The blob of the next block.
    fn next_block(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        use rusqlite::OptionalExtension as _;
        let blob: Option<Vec<u8>> = self
            .reading
            .connection
            .prepare_cached("SELECT data FROM blocks WHERE series = ?1 AND level = 0 AND seq = ?2")
            .and_then(|mut statement| {
                statement.query_row(params![self.reading.series, self.next_seq], |row| row.get(0)).optional()
            })
            .map_err(|error| StoreError::sql(self.reading.file, error))?;
        self.next_seq += 1;
        if let Some(blob) = &blob {
            self.reading.blob_bytes.set(self.reading.blob_bytes.get() + blob.len() as u64);
        }
        Ok(blob)
    }
}
