//! How points and the levels above them are laid out in blobs.
//!
//! Place in the data flow: [`crate::series`] fills blocks while a run goes on, [`crate::pyramid`] reads
//! them. Level 0 holds the points themselves (16 bytes each: step, value); an [`Entry`] of level `k`
//! stands for [`FAN`]`^k` points (64 bytes). All numbers are little-endian.

use crate::error::StoreError;
use crate::rows::Point;
use std::path::Path;

/// Points in a block of level 0.
pub(crate) const POINTS_PER_BLOCK: usize = 1024;
/// Entries in a block of the levels above. A multiple of [`FAN`], so that the entries under one entry
/// of the next level never lie in two blocks.
pub(crate) const ENTRIES_PER_BLOCK: usize = 256;
/// Items of one level under an entry of the next.
pub(crate) const FAN: usize = 8;
/// A level gets one above it when its first block holds this many items.
pub(crate) const PROMOTE: usize = 256;

const POINT_BYTES: usize = 16;
const ENTRY_BYTES: usize = 64;
/// Step that stands for "there is none".
const NO_STEP: u64 = u64::MAX;

/// What is known of a stretch of points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Entry {
    /// Step of the first point.
    pub(crate) first_step: u64,
    /// Step of the last point.
    pub(crate) last_step: u64,
    /// Points.
    pub(crate) count: u64,
    /// The point with the smallest value that is a number.
    pub(crate) min: Option<Point>,
    /// The point with the largest value that is a number.
    pub(crate) max: Option<Point>,
    /// Step of the first value that is not a number.
    pub(crate) nan_step: Option<u64>,
}

impl Entry {
    /// The stretch of one point.
    pub(crate) fn of(point: Point) -> Self {
        let number = (!point.value.is_nan()).then_some(point);
        Self {
            first_step: point.step,
            last_step: point.step,
            count: 1,
            min: number,
            max: number,
            nan_step: point.value.is_nan().then_some(point.step),
        }
    }

    /// Takes in a later stretch. Of equal values the earlier point stays.
    pub(crate) fn absorb(&mut self, later: &Self) {
        self.last_step = later.last_step;
        self.count += later.count;
        self.min = match (self.min, later.min) {
            (Some(a), Some(b)) => Some(if b.value < a.value { b } else { a }),
            (a, b) => a.or(b),
        };
        self.max = match (self.max, later.max) {
            (Some(a), Some(b)) => Some(if b.value > a.value { b } else { a }),
            (a, b) => a.or(b),
        };
        self.nan_step = self.nan_step.or(later.nan_step);
    }

    /// The stretch of several, in order; `None` of none.
    pub(crate) fn of_all(stretches: impl IntoIterator<Item = Self>) -> Option<Self> {
        stretches.into_iter().reduce(|mut whole, later| {
            whole.absorb(&later);
            whole
        })
    }

    /// Appends the points to draw: smallest, largest and the first that is not a number, by step.
    pub(crate) fn draw(&self, into: &mut Vec<Point>) {
        let start = into.len();
        let nan = self.nan_step.map(|step| Point { step, value: f64::NAN });
        for point in [self.min, self.max, nan].into_iter().flatten() {
            if !into.iter().skip(start).any(|other| other.step == point.step) {
                into.push(point);
            }
        }
        if let Some(drawn) = into.get_mut(start..) {
            drawn.sort_by_key(|point| point.step);
        }
    }
}

/// Something that is stored in blocks of one level.
pub(crate) trait Item: Copy {
    /// Items in a full block.
    const PER_BLOCK: usize;
    /// The stretch it stands for.
    fn stretch(&self) -> Entry;
    /// The blob of a block.
    fn encode(items: &[Self]) -> Vec<u8>;
    /// The items of a blob.
    fn decode(blob: &[u8], file: &Path) -> Result<Vec<Self>, StoreError>;
}

/// The blob has a length that no block has.
fn odd_length(blob: &[u8], file: &Path) -> StoreError {
    StoreError::Damaged { file: file.to_path_buf(), what: format!("a block of points has {} bytes", blob.len()) }
}

/// Number `index` of a record of 8-byte numbers.
fn word(record: &[u8], index: usize) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(record.iter().skip(index * 8)) {
        *to = *from;
    }
    u64::from_le_bytes(bytes)
}

impl Item for Point {
    const PER_BLOCK: usize = POINTS_PER_BLOCK;

    fn stretch(&self) -> Entry {
        Entry::of(*self)
    }

    fn encode(items: &[Self]) -> Vec<u8> {
        let mut blob = Vec::with_capacity(items.len() * POINT_BYTES);
        for point in items {
            blob.extend_from_slice(&point.step.to_le_bytes());
            blob.extend_from_slice(&point.value.to_le_bytes());
        }
        blob
    }

    fn decode(blob: &[u8], file: &Path) -> Result<Vec<Self>, StoreError> {
        let records = blob.chunks_exact(POINT_BYTES);
        if !records.remainder().is_empty() {
            return Err(odd_length(blob, file));
        }
        Ok(records.map(|record| Self { step: word(record, 0), value: f64::from_bits(word(record, 1)) }).collect())
    }
}

impl Item for Entry {
    const PER_BLOCK: usize = ENTRIES_PER_BLOCK;

    fn stretch(&self) -> Entry {
        *self
    }

    fn encode(items: &[Self]) -> Vec<u8> {
        let mut blob = Vec::with_capacity(items.len() * ENTRY_BYTES);
        for entry in items {
            let step = |point: Option<Point>| point.map_or(NO_STEP, |point| point.step);
            let value = |point: Option<Point>| point.map_or(0, |point| point.value.to_bits());
            for number in [
                entry.first_step,
                entry.last_step,
                entry.count,
                step(entry.min),
                value(entry.min),
                step(entry.max),
                value(entry.max),
                entry.nan_step.unwrap_or(NO_STEP),
            ] {
                blob.extend_from_slice(&number.to_le_bytes());
            }
        }
        blob
    }

    fn decode(blob: &[u8], file: &Path) -> Result<Vec<Self>, StoreError> {
        let records = blob.chunks_exact(ENTRY_BYTES);
        if !records.remainder().is_empty() {
            return Err(odd_length(blob, file));
        }
        Ok(records
            .map(|record| {
                let point = |index: usize| {
                    let step = word(record, index);
                    (step != NO_STEP).then(|| Point { step, value: f64::from_bits(word(record, index + 1)) })
                };
                let nan_step = word(record, 7);
                Self {
                    first_step: word(record, 0),
                    last_step: word(record, 1),
                    count: word(record, 2),
                    min: point(3),
                    max: point(5),
                    nan_step: (nan_step != NO_STEP).then_some(nan_step),
                }
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_survive_the_blob_and_a_cut_blob_is_an_error() {
        let file = Path::new("temper.db");
        let points = [(1, 0.5), (2, f64::NAN), (9, f64::NEG_INFINITY)].map(|(step, value)| Point { step, value });
        let blob = Point::encode(&points);
        let back = Point::decode(&blob, file).expect("points");
        assert_eq!(format!("{points:?}"), format!("{back:?}"));
        let whole = Entry::of_all(points.iter().map(Item::stretch)).expect("an entry");
        assert_eq!(whole.min, Some(points[2]));
        assert_eq!(whole.max, Some(points[0]));
        assert_eq!(whole.nan_step, Some(2));
        let only_nan = Entry::of(points[1]);
        let blob = Entry::encode(&[whole, only_nan]);
        assert_eq!(Entry::decode(&blob, file).expect("entries"), [whole, only_nan]);
        assert!(Entry::decode(&blob[..blob.len() - 1], file).is_err());
    }
}
