//! Matrix products on row-major slices: a thin cover over faer's.
//!
//! Place in the data flow: every product of the crate, with frozen or trained weights, ends here. Shapes are
//! the caller's responsibility and checked by assertion: they come from tensors whose shapes were compared
//! before.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Products of fewer multiplications than this stay on the calling thread: below it, waking another thread
/// costs more than it saves.
const PARALLEL_FROM: usize = 1 << 18;

/// A row-major matrix.
#[must_use]
pub fn matrix(values: &[f32], rows: usize, cols: usize) -> MatRef<'_, f32> {
    MatRef::from_row_major_slice(values, rows, cols)
}

/// A row-major matrix that is written to.
#[must_use]
pub fn matrix_mut(values: &mut [f32], rows: usize, cols: usize) -> MatMut<'_, f32> {
    MatMut::from_row_major_slice_mut(values, rows, cols)
}

/// A row-major matrix whose rows begin `stride` values apart; `values` begins at its first value and may reach
/// beyond its last.
#[must_use]
pub fn strided(values: &[f32], rows: usize, cols: usize, stride: usize) -> MatRef<'_, f32> {
    let span = if rows == 0 { 0 } else { (rows - 1) * stride + cols };
    MatRef::from_row_major_slice_with_stride(&values[..span], rows, cols, stride)
}

/// `out (+)= alpha · left · right` on this thread alone.
pub fn product_here(out: MatMut<'_, f32>, left: MatRef<'_, f32>, right: MatRef<'_, f32>, alpha: f32, accumulate: bool) {
    let accumulate = if accumulate { Accum::Add } else { Accum::Replace };
    matmul(out, accumulate, left, right, alpha, Par::Seq);
}

/// `out (+)= alpha · left · right`, spread over the pool when it is big. Every value of `out` is computed
/// whole by one thread, in an order that does not depend on how many there are.
pub fn product(out: MatMut<'_, f32>, left: MatRef<'_, f32>, right: MatRef<'_, f32>, alpha: f32, accumulate: bool) {
    let threads = rayon::current_num_threads();
    let (rows, cols, depth) = (out.nrows(), out.ncols(), left.ncols());
    if threads == 1 || rows * cols * depth < PARALLEL_FROM {
        return product_here(out, left, right, alpha, accumulate);
    }
    if rows >= cols {
        let piece = piece_of(rows, threads, 8);
        out.par_row_chunks_mut(piece).zip(left.par_row_chunks(piece)).for_each(|(out, left)| {
            product_here(out, left, right, alpha, accumulate);
        });
    } else {
        let piece = piece_of(cols, threads, 96);
        out.par_col_chunks_mut(piece).zip(right.par_col_chunks(piece)).for_each(|(out, right)| {
            product_here(out, left, right, alpha, accumulate);
        });
    }
}

/// Length of the pieces that `length` is cut into for `threads` threads: a multiple of what the product's inner
/// kernel handles at once, and such that no piece is of length 1: those take another road through faer, which sums
/// in another order, and the result would depend on the number of threads.
pub(crate) fn piece_of(length: usize, threads: usize, multiple: usize) -> usize {
    let mut piece = length.div_ceil(threads.max(1)).next_multiple_of(multiple);
    while piece < length && length % piece == 1 {
        piece += multiple;
    }
    piece
}

/// `out (m, n) (+)= alpha · a (m, k) · b (n, k)ᵀ`.
#[expect(clippy::too_many_arguments, reason = "the arguments of a matrix product")]
pub fn gemm_nt(a: &[f32], b: &[f32], out: &mut [f32], m: usize, n: usize, k: usize, alpha: f32, accumulate: bool) {
    product(matrix_mut(out, m, n), matrix(a, m, k), matrix(b, n, k).transpose(), alpha, accumulate);
}

/// `out (m, n) (+)= alpha · a (m, k) · b (k, n)`.
#[expect(clippy::too_many_arguments, reason = "the arguments of a matrix product")]
pub fn gemm_nn(a: &[f32], b: &[f32], out: &mut [f32], m: usize, n: usize, k: usize, alpha: f32, accumulate: bool) {
    product(matrix_mut(out, m, n), matrix(a, m, k), matrix(b, k, n), alpha, accumulate);
}

/// `out (m, n) (+)= alpha · a (k, m)ᵀ · b (k, n)`.
#[expect(clippy::too_many_arguments, reason = "the arguments of a matrix product")]
pub fn gemm_tn(a: &[f32], b: &[f32], out: &mut [f32], m: usize, n: usize, k: usize, alpha: f32, accumulate: bool) {
    product(matrix_mut(out, m, n), matrix(a, k, m).transpose(), matrix(b, k, n), alpha, accumulate);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    fn values(name: &str, n: usize) -> Vec<f32> {
        let mut values = vec![0f32; n];
        Stream::new(1, name).fill_normal(&mut values, 1.0);
        values
    }

    /// The same product in f64 with the operands given as index functions.
    fn expected(
        m: usize,
        n: usize,
        k: usize,
        a: impl Fn(usize, usize) -> f32,
        b: impl Fn(usize, usize) -> f32,
    ) -> Vec<f64> {
        let mut out = vec![0f64; m * n];
        for i in 0..m {
            for j in 0..n {
                out[i * n + j] = (0..k).map(|l| f64::from(a(i, l)) * f64::from(b(l, j))).sum();
            }
        }
        out
    }

    fn close(out: &[f32], expected: &[f64], factor: f64, start: f64) {
        for (value, expected) in out.iter().zip(expected) {
            let expected = start + factor * expected;
            assert!((f64::from(*value) - expected).abs() < 2e-4 * (1.0 + expected.abs()), "{value} {expected}");
        }
    }

    #[test]
    fn all_three_products_agree_with_f64_on_odd_and_big_shapes() {
        for (m, n, k) in [(1, 1, 1), (1, 7, 33), (5, 1, 3), (13, 17, 19), (200, 111, 97), (97, 513, 64)] {
            let (a, b) = (values("a", m * k), values("b", k * n));
            let mut out = vec![1f32; m * n];
            gemm_nt(&a, &b, &mut out, m, n, k, 0.5, true);
            close(&out, &expected(m, n, k, |i, l| a[i * k + l], |l, j| b[j * k + l]), 0.5, 1.0);
            gemm_nn(&a, &b, &mut out, m, n, k, 2.0, false);
            close(&out, &expected(m, n, k, |i, l| a[i * k + l], |l, j| b[l * n + j]), 2.0, 0.0);
            gemm_tn(&a, &b, &mut out, m, n, k, 1.0, false);
            close(&out, &expected(m, n, k, |i, l| a[l * m + i], |l, j| b[l * n + j]), 1.0, 0.0);
        }
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        for (m, n, k) in [(193, 310, 577), (97, 577, 64), (577, 97, 64), (4097, 3, 64), (17, 1153, 40)] {
            let (a, b) = (values("a", m * k), values("b", k * n));
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let mut out = vec![0f32; m * n];
                    gemm_nt(&a, &b, &mut out, m, n, k, 1.0, false);
                    let mut tall = vec![0f32; n * m];
                    gemm_tn(&b, &a, &mut tall, n, m, k, 1.0, false);
                    out.into_iter().chain(tall).map(f32::to_bits).collect::<Vec<_>>()
                })
            };
            let one = run(1);
            for threads in [2, 3, 4, 6, 8] {
                assert!(run(threads) == one, "{threads} threads for {m} x {n} x {k}");
            }
        }
    }

    #[test]
    fn strided_views_reach_what_lies_between_other_values() {
        let wide = values("wide", 4 * 10);
        let narrow = (0..4).flat_map(|row| wide[row * 10 + 3..row * 10 + 6].to_vec()).collect::<Vec<_>>();
        let right = values("right", 3 * 2);
        let (mut from_view, mut from_copy) = (vec![0f32; 8], vec![0f32; 8]);
        product(matrix_mut(&mut from_view, 4, 2), strided(&wide[3..], 4, 3, 10), matrix(&right, 3, 2), 1.0, false);
        gemm_nn(&narrow, &right, &mut from_copy, 4, 2, 3, 1.0, false);
        assert_eq!(from_view, from_copy);
    }
}
