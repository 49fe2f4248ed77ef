//! Rotation of feature pairs by position.
//!
//! Place in the data flow: called by [`crate::ops::rotary`]; the backward pass is the rotation back.

use super::simd;
use rayon::prelude::*;

/// Positions per piece of work.
const PIECE_POSITIONS: usize = 32;

/// The pairs to rotate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pairs {
    /// Heads per position.
    pub heads: usize,
    /// Features per head.
    pub features: usize,
    /// Pairs (i, i + half) per head.
    pub half: usize,
    /// 1 forward, -1 back: the factor on the sines.
    pub turn: f32,
}

/// Rotates `values` (positions, heads, features) where they lie: position n by row `positions[n]` of `table` (cosines,
/// then sines). Features beyond 2·half stay.
pub(crate) fn rotate_in_place(values: &mut [f32], table: &[f32], positions: &[u32], pairs: Pairs) {
    let Pairs { heads, features, half, turn } = pairs;
    let per_position = heads * features;
    if per_position == 0 {
        return;
    }
    let pieces = values.par_chunks_mut(PIECE_POSITIONS * per_position).zip(positions.par_chunks(PIECE_POSITIONS));
    pieces.for_each(|(values, positions)| {
        simd(
            #[inline(always)]
            || {
                for (place, &position) in values.chunks_exact_mut(per_position).zip(positions) {
                    let row = &table[position as usize * 2 * half..][..2 * half];
                    let (cosines, sines) = row.split_at(half);
                    for head in place.chunks_exact_mut(features) {
                        let (first, second) = head[..2 * half].split_at_mut(half);
                        let angles = cosines.iter().zip(sines);
                        for ((first, second), (&cosine, &sine)) in first.iter_mut().zip(second).zip(angles) {
                            let sine = turn * sine;
                            (*first, *second) = (*first * cosine - *second * sine, *second * cosine + *first * sine);
                        }
                    }
                }
            },
        );
    });
}

/// [`rotate_in_place`] of a copy.
pub(crate) fn rotate(x: &[f32], table: &[f32], positions: &[u32], pairs: Pairs) -> Vec<f32> {
    let mut y = x.to_vec();
    rotate_in_place(&mut y, table, positions, pairs);
    y
}
