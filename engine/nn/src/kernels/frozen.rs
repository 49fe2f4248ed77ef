//! Products with a frozen weight on the processor.
//!
//! Place in the data flow: [`crate::frozen::CpuBackend`] checks sizes and calls these. Aligned f32 weights go
//! to the product as they lie in the file; all others are widened block of rows by block of rows.

use crate::frozen::{FrozenWeight, RowChange};
use crate::gemm;
use crate::kernels::scratch;
use crate::{NnError, Result};
use rayon::prelude::*;

/// Widened values per block: 1 MiB, which stays in the second-level cache of most processors.
const BLOCK_VALUES: usize = 1 << 18;
/// Values per block of a changed f32 weight: 8 MiB. It needs no widening, and each block more is a pass over the input or
/// over the sum of the blocks' outputs.
const CHANGED_VALUES: usize = 1 << 21;

/// `out (n, rows) (+)= x (n, cols) Wᵀ`, W with a change to its rows where there is one. Threads take blocks of weight
/// rows: each widens its own.
pub(crate) fn matmul_nt(
    weight: &FrozenWeight,
    change: Option<&dyn RowChange>,
    x: &[f32],
    n: usize,
    out: &mut [f32],
    accumulate: bool,
) -> Result<()> {
    let (rows, cols) = (weight.rows, weight.cols);
    if n == 0 || rows == 0 {
        return Ok(());
    }
    if let (Some(values), None) = (weight.as_f32(), change) {
        gemm::gemm_nt(x, values, out, n, rows, cols, 1.0, accumulate);
        return Ok(());
    }
    let x = gemm::matrix(x, n, cols);
    if let (Some(_), Some(_)) = (weight.as_f32(), change) {
        // Nothing to widen: few large products, each spread over the pool, pack `x` fewer times than one for each block.
        let per_block = (CHANGED_VALUES / cols.max(1)).clamp(1, rows);
        return scratch::with(per_block * cols, |values| {
            for start in (0..rows).step_by(per_block) {
                let count = per_block.min(rows - start);
                let values = &mut values[..count * cols];
                read_rows_changed(weight, change, start, values)?;
                let out = gemm::matrix_mut(out, n, rows).subcols_mut(start, count);
                gemm::product(out, x, gemm::matrix(values, count, cols).transpose(), 1.0, accumulate);
            }
            Ok(())
        });
    }
    let per_block = rows_per_block(rows, cols);
    gemm::matrix_mut(out, n, rows).par_col_chunks_mut(per_block).enumerate().try_for_each(|(block, out)| {
        let start = block * per_block;
        let count = out.ncols();
        scratch::with(count * cols, |values| {
            weight.read_rows(start..start + count, values)?;
            if let Some(change) = change {
                change.add(start, values);
            }
            gemm::product_here(out, x, gemm::matrix(values, count, cols).transpose(), 1.0, accumulate);
            Ok::<(), NnError>(())
        })
    })
}

/// `out (n, cols) (+)= g (n, rows) W`, W as in [`matmul_nt`]. Blocks of weight rows are summed up one after the other;
/// threads share the widening and the product of each.
pub(crate) fn matmul_nn(
    weight: &FrozenWeight,
    change: Option<&dyn RowChange>,
    g: &[f32],
    n: usize,
    out: &mut [f32],
    accumulate: bool,
) -> Result<()> {
    let (rows, cols) = (weight.rows, weight.cols);
    if n == 0 || cols == 0 {
        return Ok(());
    }
    if let (Some(values), None) = (weight.as_f32(), change) {
        gemm::gemm_nn(g, values, out, n, cols, rows, 1.0, accumulate);
        return Ok(());
    }
    if rows == 0 && !accumulate {
        out.fill(0.0);
    }
    let block = if weight.as_f32().is_some() { CHANGED_VALUES } else { BLOCK_VALUES };
    let per_block = (block / cols).clamp(1, rows.max(1));
    let g = gemm::matrix(g, n, rows);
    scratch::with(per_block * cols, |values| {
        for start in (0..rows).step_by(per_block) {
            let count = per_block.min(rows - start);
            let values = &mut values[..count * cols];
            read_rows_changed(weight, change, start, values)?;
            let accumulate = accumulate || start > 0;
            let (g, values) = (g.subcols(start, count), gemm::matrix(values, count, cols));
            gemm::product(gemm::matrix_mut(out, n, cols), g, values, 1.0, accumulate);
        }
        Ok(())
    })
}

/// Widens the rows from `start` that fill `values`, spread over the pool.
pub(crate) fn read_rows_shared(weight: &FrozenWeight, start: usize, values: &mut [f32]) -> Result<()> {
    read_rows_changed(weight, None, start, values)
}

/// The same with a change to the rows.
fn read_rows_changed(
    weight: &FrozenWeight,
    change: Option<&dyn RowChange>,
    start: usize,
    values: &mut [f32],
) -> Result<()> {
    let cols = weight.cols.max(1);
    let piece = (values.len() / cols).div_ceil(rayon::current_num_threads()).max(1);
    values.par_chunks_mut(piece * cols).enumerate().try_for_each(|(index, values)| {
        let first = start + index * piece;
        weight.read_rows(first..first + values.len() / cols, values)?;
        if let Some(change) = change {
            change.add(first, values);
        }
        Ok(())
    })
}

/// Rows of a block such that it stays within about [`BLOCK_VALUES`] and every thread gets one.
fn rows_per_block(rows: usize, cols: usize) -> usize {
    let fitting = (BLOCK_VALUES / cols.max(1)).max(1);
    let blocks = rows.div_ceil(fitting).max(rayon::current_num_threads());
    gemm::piece_of(rows, blocks, 16.min(fitting))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Bytes;
    use crate::frozen::backend;
    use crate::rng::Stream;
    use crate::storage::{StorageKind, quantise};
    use std::sync::Arc;

    fn values(name: &str, n: usize) -> Vec<f32> {
        let mut values = vec![0f32; n];
        Stream::new(1, name).fill_normal(&mut values, 1.0);
        values
    }

    fn assert_close(left: &[f32], right: &[f32], what: &str) {
        for (a, b) in left.iter().zip(right) {
            assert!((a - b).abs() <= 2e-4 * (1.0 + b.abs()), "{what}: {a} {b}");
        }
    }

    #[test]
    fn every_kind_multiplies_like_its_widened_matrix() {
        let (rows, cols) = (1100, 512);
        let dense = values("weight", rows * cols);
        let tensor = candle_core::Tensor::from_vec(dense, (rows, cols), &candle_core::Device::Cpu).unwrap();
        for kind in StorageKind::ALL.into_iter().chain([StorageKind::Nf4Double]) {
            let weight = FrozenWeight::from_tensor("w", &tensor, kind).unwrap();
            let wide = weight.to_f32().unwrap();
            for n in [1, 5] {
                let (x, g) = (values("x", n * cols), values("g", n * rows));
                let (mut out, mut expected) = (vec![0.5f32; n * rows], vec![0.5f32; n * rows]);
                backend().matmul_nt(&weight, &x, n, &mut out, true).unwrap();
                gemm::gemm_nt(&x, &wide, &mut expected, n, rows, cols, 1.0, true);
                assert_close(&out, &expected, kind.name());
                let (mut out, mut expected) = (vec![0.5f32; n * cols], vec![0f32; n * cols]);
                backend().matmul_nn(&weight, &g, n, &mut out, false).unwrap();
                gemm::gemm_nn(&g, &wide, &mut expected, n, cols, rows, 1.0, false);
                assert_close(&out, &expected, kind.name());
            }
        }
    }

    /// Adds its own entry to every value.
    struct Added(Vec<f32>, usize);

    impl RowChange for Added {
        fn add(&self, first: usize, rows: &mut [f32]) {
            for (row, added) in rows.iter_mut().zip(&self.0[first * self.1..]) {
                *row += added;
            }
        }
    }

    #[test]
    fn a_change_to_the_rows_is_a_change_of_the_matrix() {
        let (rows, cols, n) = (1500, 512, 9);
        let tensor =
            candle_core::Tensor::from_vec(values("weight", rows * cols), (rows, cols), &candle_core::Device::Cpu);
        let change = Added(values("change", rows * cols), cols);
        for kind in [StorageKind::F32, StorageKind::Q4_0] {
            let weight = FrozenWeight::from_tensor("w", tensor.as_ref().unwrap(), kind).unwrap();
            let mut wide = weight.to_f32().unwrap().into_owned();
            change.add(0, &mut wide);
            let (x, g) = (values("x", n * cols), values("g", n * rows));
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let (mut y, mut dx) = (vec![0.5f32; n * rows], vec![0.5f32; n * cols]);
                pool.install(|| {
                    backend().matmul_nt_changed(&weight, &change, &x, n, &mut y, true).unwrap();
                    backend().matmul_nn_changed(&weight, &change, &g, n, &mut dx, true).unwrap();
                });
                (y, dx)
            };
            let (y, dx) = run(1);
            let (mut expected, mut expected_dx) = (vec![0.5f32; n * rows], vec![0.5f32; n * cols]);
            gemm::gemm_nt(&x, &wide, &mut expected, n, rows, cols, 1.0, true);
            gemm::gemm_nn(&g, &wide, &mut expected_dx, n, cols, rows, 1.0, true);
            assert_close(&y, &expected, kind.name());
            assert_close(&dx, &expected_dx, kind.name());
            assert!(run(3) == (y, dx), "{}: threads change nothing", kind.name());
        }
    }

    #[test]
    fn permuted_and_misaligned_rows_are_read_where_they_lie() {
        let (rows, cols) = (6, 32);
        let dense = values("weight", rows * cols);
        let order: Arc<[u32]> = Arc::from([3u32, 0, 5, 1, 2, 4]);
        let mut stored = vec![0f32; rows * cols];
        for (logical, &row) in order.iter().enumerate() {
            let row = row as usize * cols;
            stored[row..row + cols].copy_from_slice(&dense[logical * cols..(logical + 1) * cols]);
        }
        let mut shifted = vec![0u8; rows * cols * 4 + 1];
        shifted[1..].copy_from_slice(bytemuck::cast_slice(&stored));
        let whole = Bytes::owned(shifted);
        let bytes = whole.slice(1..whole.len()).unwrap();
        let weight = FrozenWeight::new("w", rows, cols, StorageKind::F32, bytes, Some(order)).unwrap();
        assert_eq!(weight.to_f32().unwrap().as_ref(), dense);
        let x = values("x", 3 * cols);
        let (mut out, mut expected) = (vec![0f32; 3 * rows], vec![0f32; 3 * rows]);
        backend().matmul_nt(&weight, &x, 3, &mut out, false).unwrap();
        gemm::gemm_nt(&x, &dense, &mut expected, 3, rows, cols, 1.0, false);
        assert_close(&out, &expected, "permuted");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_name_of_the_weight() {
        let new = |rows, cols, kind, length, order| {
            FrozenWeight::new("blk.0.attn_q", rows, cols, kind, Bytes::owned(vec![0; length]), order)
        };
        for bad in [
            new(2, 33, StorageKind::Q4_0, 36, None),
            new(2, 32, StorageKind::Q4_0, 35, None),
            new(usize::MAX, 32, StorageKind::Q4_0, 36, None),
            new(2, 32, StorageKind::Q4_0, 36, Some(Arc::from([0u32, 0]))),
            new(2, 32, StorageKind::Q4_0, 36, Some(Arc::from([0u32, 2]))),
            new(2, 32, StorageKind::Q4_0, 36, Some(Arc::from([0u32]))),
        ] {
            assert!(bad.unwrap_err().to_string().contains("blk.0.attn_q"));
        }
        let weight = new(2, 32, StorageKind::Q4_0, 36, None).unwrap();
        assert!(weight.read_rows(1..3, &mut [0.0; 64]).is_err());
        assert!(weight.read_rows(0..1, &mut [0.0; 31]).is_err());
        assert!(backend().matmul_nt(&weight, &[0.0; 31], 1, &mut [0.0; 2], false).is_err());
    }

    #[test]
    fn widened_products_do_not_depend_on_the_number_of_threads() {
        let (rows, cols, n) = (289, 256, 9);
        let bytes = Bytes::owned(quantise(StorageKind::Q4_1, &values("weight", rows * cols)).unwrap());
        let weight = FrozenWeight::new("w", rows, cols, StorageKind::Q4_1, bytes, None).unwrap();
        let (x, g) = (values("x", n * cols), values("g", n * rows));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (mut y, mut dx) = (vec![0f32; n * rows], vec![0f32; n * cols]);
                backend().matmul_nt(&weight, &x, n, &mut y, false).unwrap();
                backend().matmul_nn(&weight, &g, n, &mut dx, false).unwrap();
                y.into_iter().chain(dx).map(f32::to_bits).collect::<Vec<_>>()
            })
        };
        let one = run(1);
        for threads in [2, 3, 5, 9] {
            assert!(run(threads) == one, "{threads} threads");
        }
    }
}
