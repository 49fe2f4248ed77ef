//! Softmax of rows, forward and backward.
//!
//! Place in the data flow: called by [`crate::ops::softmax`]; attention and the cross-entropy use the row forms.

use super::math::exp;
use super::reduce::{dot_lanes, max_lanes, sum_lanes};
use super::simd;
use rayon::prelude::*;

/// Rows per piece of work.
const PIECE_ROWS: usize = 16;

/// Replaces a row by `e^(factor·x - largest)` and returns (largest of factor·x, sum of the row). Callers inline
/// it into a [`simd`] body. An empty row gives (-∞, 0).
#[inline(always)]
pub(crate) fn exponentiate(row: &mut [f32], factor: f32) -> (f32, f32) {
    for x in row.iter_mut() {
        *x *= factor;
    }
    let largest = max_lanes(row);
    for x in row.iter_mut() {
        *x = exp(*x - largest);
    }
    (largest, sum_lanes(row))
}

/// Softmax of each row of `features` values.
pub(crate) fn softmax(x: &[f32], features: usize) -> Vec<f32> {
    let features = features.max(1);
    let mut y = x.to_vec();
    y.par_chunks_mut(PIECE_ROWS * features).for_each(|y| {
        simd(
            #[inline(always)]
            || {
                for y in y.chunks_exact_mut(features) {
                    let (_, sum) = exponentiate(y, 1.0);
                    for y in y {
                        *y /= sum;
                    }
                }
            },
        );
    });
    y
}

/// Gradient of [`softmax`] from its output `y`: `dx = y∘(g - Σ g∘y)`.
pub(crate) fn softmax_backward(y: &[f32], g: &[f32], features: usize) -> Vec<f32> {
    let features = features.max(1);
    let mut dx = vec![0f32; y.len()];
    let piece = PIECE_ROWS * features;
    dx.par_chunks_mut(piece).zip(y.par_chunks(piece).zip(g.par_chunks(piece))).for_each(|(dx, (y, g))| {
        simd(
            #[inline(always)]
            || {
                let rows = y.chunks_exact(features).zip(g.chunks_exact(features));
                for (dx, (y, g)) in dx.chunks_exact_mut(features).zip(rows) {
                    let along = dot_lanes(y, g);
                    for (dx, (&y, &g)) in dx.iter_mut().zip(y.iter().zip(g)) {
                        *dx = y * (g - along);
                    }
                }
            },
        );
    });
    dx
}
