//! From an order of examples to rows.
//!
//! Packed: the order is cut into windows of about 64 full rows; inside a window the examples are placed by
//! best-fit decreasing (longest first, each into the row it fills best), then the rows are put back into
//! the order of their earliest example. The window bounds how far an example moves, so the order stays
//! random, and it loses at most about one row in 64 to gaps.
//!
//! Not packed: inside windows of 256 examples neighbours of similar length are grouped, and the groups are
//! shuffled, so that a batch pads little.

use crate::dataset::Example;
use crate::random::Counter;
use std::collections::BTreeSet;

/// Rows' worth of tokens in a window of packing.
const WINDOW_ROWS: usize = 64;
/// Examples in a window of grouping by length.
const WINDOW_EXAMPLES: usize = 256;
/// Examples of similar length that stay together.
const GROUP_EXAMPLES: usize = 32;

fn length(examples: &[Example], index: u32) -> usize {
    examples.get(index as usize).map_or(0, |example| example.ids.len())
}

/// Packs `order` into rows of at most `width` tokens. An example longer than that has a row of its own.
pub(super) fn packed(examples: &[Example], order: &[u32], width: usize) -> Vec<Vec<u32>> {
    let mut rows = Vec::new();
    let mut start = 0;
    while start < order.len() {
        let mut tokens = 0_usize;
        let rest = order.get(start..).unwrap_or_default();
        let count = rest
            .iter()
            .take_while(|index| {
                let more = tokens < WINDOW_ROWS.saturating_mul(width);
                tokens += length(examples, **index);
                more
            })
            .count()
            .max(1);
        rows.extend(best_fit(examples, rest.get(..count).unwrap_or_default(), width));
        start += count;
    }
    rows
}

fn best_fit(examples: &[Example], window: &[u32], width: usize) -> Vec<Vec<u32>> {
    let mut by_length: Vec<usize> = (0..window.len()).collect();
    let size = |place: usize| window.get(place).map_or(0, |index| length(examples, *index));
    by_length.sort_by_key(|place| (std::cmp::Reverse(size(*place)), *place));
    // Places in the window, by row; free room and number of each row, the fullest first.
    let mut rows: Vec<Vec<usize>> = Vec::new();
    let mut room: BTreeSet<(usize, usize)> = BTreeSet::new();
    for place in by_length {
        let needed = size(place);
        let fullest = room.range((needed, 0)..).next().copied();
        let (free, row) = match fullest {
            Some(entry) => {
                room.remove(&entry);
                entry
            }
            None => {
                rows.push(Vec::new());
                (width.max(needed), rows.len() - 1)
            }
        };
        if let Some(places) = rows.get_mut(row) {
            places.push(place);
        }
        room.insert((free - needed, row));
    }
    for places in &mut rows {
        places.sort_unstable();
    }
    rows.sort_by_key(|places| places.first().copied());
    rows.into_iter().map(|places| places.into_iter().filter_map(|place| window.get(place).copied()).collect()).collect()
}

/// One example a row, neighbours of similar length together.
pub(super) fn grouped(examples: &[Example], order: &[u32], counter: &mut Counter) -> Vec<Vec<u32>> {
    let mut rows = Vec::with_capacity(order.len());
    for window in order.chunks(WINDOW_EXAMPLES) {
        let mut sorted = window.to_vec();
        sorted.sort_by_key(|index| length(examples, *index));
        let mut groups: Vec<&[u32]> = sorted.chunks(GROUP_EXAMPLES).collect();
        counter.shuffle(&mut groups);
        rows.extend(groups.into_iter().flatten().map(|index| vec![*index]));
    }
    rows
}
