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

/// Rotates `x` (positions, heads, features): position n by row `positions[n]` of `table` (cosines, then sines).
/// Features beyond 2·half pass through.
pub(crate) fn rotate(x: &[f32], table: &[f32], positions: &[u32], pairs: Pairs) -> Vec<f32> {
    let Pairs { heads, features, half, turn } = pairs;
    let mut y = vec![0f32; x.len()];
    let per_position = heads * features;
    if per_position == 0 {
        return y;
    }
    let piece = PIECE_POSITIONS * per_position;
    let inputs = x.par_chunks(piece).zip(positions.par_chunks(PIECE_POSITIONS));
    y.par_chunks_mut(piece).zip(inputs).for_each(|(y, (x, positions))| {
        simd(
            #[inline(always)]
            || {
                let places = y.chunks_exact_mut(per_position).zip(x.chunks_exact(per_position));
                for ((y, x), &position) in places.zip(positions) {
                    let row = &table[position as usize * 2 * half..][..2 * half];
                    let (cosines, sines) = row.split_at(half);
                    for (y, x) in y.chunks_exact_mut(features).zip(x.chunks_exact(features)) {
                        let (x_pairs, x_rest) = x.split_at(2 * half);
                        let (y_pairs, y_rest) = y.split_at_mut(2 * half);
                        y_rest.copy_from_slice(x_rest);
                        let (x_first, x_second) = x_pairs.split_at(half);
                        let (y_first, y_second) = y_pairs.split_at_mut(half);
                        let angles = cosines.iter().zip(sines);
                        let inputs = x_first.iter().zip(x_second).zip(angles);
                        for ((y_first, y_second), ((&first, &second), (&cosine, &sine))) in
                            y_first.iter_mut().zip(y_second).zip(inputs)
                        {
                            let sine = turn * sine;
                            *y_first = first * cosine - second * sine;
                            *y_second = second * cosine + first * sine;
                        }
                    }
                }
            },
        );
    });
    y
}
