//! Token rows to batches: order, packing, padding, and a cursor that a checkpoint can restore.
//!
//! The unit of order is the row: one example, or several packed into one with borders. The stream of rows
//! depends on examples, seed, width and packing only, never on the batch size, and a batch takes the next
//! rows of it across the end of an epoch. So one batch of eight rows and eight batches of one row see the
//! same examples.

mod loader;
mod pack;
mod prefetch;

pub use loader::{BatchSettings, Cursor, Loader};
pub use prefetch::Prefetcher;

use crate::dataset::Example;

/// Target of a position where nothing counts.
pub const IGNORE: u32 = u32::MAX;

/// Rows of equal width. All lists are row-major with `rows * width` entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// Rows.
    pub rows: usize,
    /// Tokens of a row, padding included.
    pub width: usize,
    /// Ids.
    pub tokens: Vec<u32>,
    /// The id that position i has to predict (the next token of its segment), or [`IGNORE`].
    pub targets: Vec<u32>,
    /// Positions, restarting at 0 with every segment; 0 in padding.
    pub positions: Vec<u32>,
    /// Per row: starts of segments from 0, and the end of real tokens (cumulative lengths). Padding lies
    /// behind the last border.
    pub borders: Vec<Vec<u32>>,
    /// Positions that count.
    pub trained_tokens: usize,
    /// Tokens that are not padding.
    pub real_tokens: usize,
    /// Indices of the examples, row by row and in the order of their segments.
    pub examples: Vec<u32>,
}

/// Puts rows, given as lists of example indices, into one batch as wide as its longest row.
pub(crate) fn assemble(examples: &[Example], rows: &[Vec<u32>], pad_id: u32) -> Batch {
    let segments = |row: &[u32]| -> Vec<(u32, &Example)> {
        row.iter().filter_map(|index| Some((*index, examples.get(*index as usize)?))).collect()
    };
    let length = |row: &[u32]| segments(row).iter().map(|(_, example)| example.ids.len()).sum::<usize>();
    let width = rows.iter().map(|row| length(row)).max().unwrap_or(0);
    let size = rows.len() * width;
    let mut batch = Batch {
        rows: rows.len(),
        width,
        tokens: Vec::with_capacity(size),
        targets: Vec::with_capacity(size),
        positions: Vec::with_capacity(size),
        ..Batch::default()
    };
    for (number, row) in rows.iter().enumerate() {
        let mut borders = vec![0];
        let mut end = 0_u32;
        for (index, example) in segments(row) {
            let count = example.ids.len();
            batch.tokens.extend_from_slice(&example.ids);
            let next = example.ids.iter().zip(&example.trained).skip(1);
            batch.targets.extend(next.map(|(id, trained)| if *trained { *id } else { IGNORE }));
            if count > 0 {
                batch.targets.push(IGNORE);
            }
            batch.positions.extend(0..count as u32);
            end += count as u32;
            borders.push(end);
            batch.examples.push(index);
        }
        batch.real_tokens += end as usize;
        let full = (number + 1) * width;
        batch.tokens.resize(full, pad_id);
        batch.targets.resize(full, IGNORE);
        batch.positions.resize(full, 0);
        batch.borders.push(borders);
    }
    batch.trained_tokens = batch.targets.iter().filter(|target| **target != IGNORE).count();
    batch
}

/// Batches over all examples once, in their order, for measuring. Examples without a trained token are
/// left out. Packed rows hold up to `max_tokens` tokens.
#[must_use]
pub fn eval_batches(examples: &[Example], batch: usize, max_tokens: usize, packing: bool, pad_id: u32) -> Vec<Batch> {
    let order: Vec<u32> =
        (0_u32..).zip(examples).filter(|(_, example)| example.trained_tokens() > 0).map(|(index, _)| index).collect();
    let rows = if packing {
        pack::packed(examples, &order, max_tokens)
    } else {
        order.into_iter().map(|index| vec![index]).collect()
    };
    rows.chunks(batch.max(1)).map(|rows| assemble(examples, rows, pad_id)).collect()
}
