//! Sums over slices, in an order that does not depend on threads or instruction sets.
//!
//! Place in the data flow: norms of gradients, row statistics of normalisations, losses.

use super::simd;

/// Lanes of the running sums: two registers of eight, which hides the latency of the addition.
const LANES: usize = 16;

/// Sum of the lanes, pairwise.
#[inline(always)]
fn fold(lanes: [f32; LANES]) -> f32 {
    let mut lanes = lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Σ x·y in f32 lanes. Callers inline it into a [`simd`] body.
#[inline(always)]
pub(crate) fn dot_lanes(x: &[f32], y: &[f32]) -> f32 {
    let (x_chunks, x_rest) = x.as_chunks::<LANES>();
    let (y_chunks, y_rest) = y.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for (x, y) in x_chunks.iter().zip(y_chunks) {
        for lane in 0..LANES {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    let mut rest = 0f32;
    for (x, y) in x_rest.iter().zip(y_rest) {
        rest += x * y;
    }
    fold(lanes) + rest
}

/// Σ x in f32 lanes. Callers inline it into a [`simd`] body.
#[inline(always)]
pub(crate) fn sum_lanes(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane];
        }
    }
    fold(lanes) + rest.iter().sum::<f32>()
}

/// Sum over the rows of `values` (rows, `features`), in their order.
#[must_use]
pub(crate) fn sum_of_rows(values: &[f32], features: usize) -> Vec<f32> {
    sum_of(values.chunks_exact(features.max(1)), features)
}

/// Sum of `rows` of so many features, in their order.
#[must_use]
pub(crate) fn sum_of<'a>(rows: impl Iterator<Item = &'a [f32]>, features: usize) -> Vec<f32> {
    let mut sum = vec![0f32; features];
    simd(
        #[inline(always)]
        || {
            for row in rows {
                for (sum, value) in sum.iter_mut().zip(row) {
                    *sum += value;
                }
            }
        },
    );
    sum
}

/// Largest value, minus infinity for an empty slice. Callers inline it into a [`simd`] body.
#[inline(always)]
pub(crate) fn max_lanes(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
        }
    }
    let largest = lanes.into_iter().fold(f32::NEG_INFINITY, f32::max);
    rest.iter().copied().fold(largest, f32::max)
}

/// Σ x² in f64.
#[must_use]
pub fn sum_of_squares(x: &[f32]) -> f64 {
    dot_f64(x, x)
}

/// Σ x·y in f64.
#[must_use]
pub fn dot_f64(x: &[f32], y: &[f32]) -> f64 {
    const WIDE: usize = 8;
    simd(
        #[inline(always)]
        || {
            let (x_chunks, x_rest) = x.as_chunks::<WIDE>();
            let (y_chunks, y_rest) = y.as_chunks::<WIDE>();
            let mut lanes = [0f64; WIDE];
            for (x, y) in x_chunks.iter().zip(y_chunks) {
                for lane in 0..WIDE {
                    lanes[lane] += f64::from(x[lane]) * f64::from(y[lane]);
                }
            }
            let rest = x_rest.iter().zip(y_rest).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
            lanes.iter().sum::<f64>() + rest
        },
    )
}

/// Whether every value is a finite number.
#[must_use]
pub fn all_finite(x: &[f32]) -> bool {
    simd(
        #[inline(always)]
        || {
            // 0·x is 0 for finite x and NaN otherwise; the sum keeps a NaN.
            let (chunks, rest) = x.as_chunks::<LANES>();
            let mut lanes = [0f32; LANES];
            for chunk in chunks {
                for lane in 0..LANES {
                    lanes[lane] += chunk[lane] * 0.0;
                }
            }
            lanes.iter().all(|x| *x == 0.0) && rest.iter().all(|x| x.is_finite())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_odd_lengths_are_exact_on_integers() {
        for n in [0usize, 1, 7, 15, 16, 17, 33, 100] {
            let x = (0..n).map(|i| i as f32).collect::<Vec<_>>();
            let expected = (0..n).sum::<usize>();
            assert_eq!(sum_lanes(&x) as usize, expected);
            assert_eq!(sum_of_squares(&x) as usize, (0..n).map(|i| i * i).sum::<usize>());
            assert_eq!(dot_lanes(&x, &vec![1.0; n]) as usize, expected);
        }
    }

    #[test]
    fn the_largest_is_found_anywhere() {
        for place in [0usize, 5, 16, 18] {
            let mut x = vec![-2f32; 19];
            x[place] = -1.0;
            assert_eq!(max_lanes(&x), -1.0);
        }
        assert_eq!(max_lanes(&[]), f32::NEG_INFINITY);
    }

    #[test]
    fn infinities_and_nans_are_found_anywhere() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for place in [0usize, 15, 16, 18] {
                let mut x = vec![1f32; 19];
                assert!(all_finite(&x));
                x[place] = bad;
                assert!(!all_finite(&x));
            }
        }
    }
}
