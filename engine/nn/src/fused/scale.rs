//! Factors of features within a fused half: rows of values times one factor a feature, and what that gives the factors.
//!
//! Place in the data flow: scales of a layer's inputs and outputs, and the row factors of magnitudes.

use crate::kernels::memory::written;
use crate::kernels::simd;
use rayon::prelude::*;

/// Values per piece of work.
const PIECE: usize = 1 << 14;
/// Features that one thread sums up at a time.
const FEATURES: usize = 64;

/// Values of whole rows in a piece of work.
fn piece(features: usize) -> usize {
    PIECE.div_ceil(features).max(1) * features
}

/// `x ∘ factors` over (rows, features).
pub(super) fn scaled(x: &[f32], factors: &[f32]) -> Vec<f32> {
    let features = factors.len().max(1);
    written(x.len(), features, PIECE, |row| {
        let row = x.get(row * features..(row + 1) * features).unwrap_or_default();
        row.iter().zip(factors).map(|(x, factor)| x * factor)
    })
}

/// `out (+)= x ∘ factors` over (rows, features).
pub(super) fn write_scaled(x: &[f32], factors: &[f32], out: &mut [f32], accumulate: bool) {
    let features = factors.len().max(1);
    let piece = piece(features);
    out.par_chunks_mut(piece).zip(x.par_chunks(piece)).for_each(|(out, x)| {
        for (out, x) in out.chunks_exact_mut(features).zip(x.chunks_exact(features)) {
            for ((out, x), factor) in out.iter_mut().zip(x).zip(factors) {
                *out = if accumulate { *out + x * factor } else { x * factor };
            }
        }
    });
}

/// Adds `values` (features) to each row of `out`.
pub(super) fn add_to_rows(out: &mut [f32], values: &[f32]) {
    let features = values.len().max(1);
    out.par_chunks_mut(piece(features)).for_each(|out| {
        for row in out.chunks_exact_mut(features) {
            for (out, value) in row.iter_mut().zip(values) {
                *out += value;
            }
        }
    });
}

/// `Σ x ∘ g` over the rows of (rows, features), in their order: what the factors of features get.
pub(super) fn sum_of_products(x: &[f32], g: &[f32], features: usize) -> Vec<f32> {
    let features = features.max(1);
    let mut sum = vec![0f32; features];
    sum.par_chunks_mut(FEATURES).enumerate().for_each(|(index, sum)| {
        let first = index * FEATURES;
        simd(
            #[inline(always)]
            || {
                for (x, g) in x.chunks_exact(features).zip(g.chunks_exact(features)) {
                    let (x, g) = (x.get(first..).unwrap_or_default(), g.get(first..).unwrap_or_default());
                    for ((sum, x), g) in sum.iter_mut().zip(x).zip(g) {
                        *sum += x * g;
                    }
                }
            },
        );
    });
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    #[test]
    fn rows_are_scaled_and_their_factors_summed_up_as_one_by_one() {
        for (rows, features) in [(1, 1), (3, 5), (700, 130), (2, 64)] {
            let mut stream = Stream::new(3, "scale");
            let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| stream.normal() as f32).collect() };
            let (x, g, factors) = (draw(rows * features), draw(rows * features), draw(features));
            let expected: Vec<f32> = x.iter().enumerate().map(|(at, x)| x * factors[at % features]).collect();
            assert_eq!(scaled(&x, &factors), expected);
            let mut out = g.clone();
            write_scaled(&x, &factors, &mut out, true);
            let added: Vec<f32> = g.iter().zip(&expected).map(|(g, x)| g + x).collect();
            assert_eq!(out, added);
            write_scaled(&x, &factors, &mut out, false);
            assert_eq!(out, expected);
            add_to_rows(&mut out, &factors);
            assert!(out.iter().enumerate().all(|(at, y)| *y == expected[at] + factors[at % features]));
            for (feature, sum) in sum_of_products(&x, &g, features).into_iter().enumerate() {
                let exact: f64 = (0..rows)
                    .map(|row| f64::from(x[row * features + feature]) * f64::from(g[row * features + feature]))
                    .sum();
                assert!((f64::from(sum) - exact).abs() < 1e-3, "{sum} {exact}");
            }
        }
    }
}
