//! A frozen linear layer whose rows go through a trained block per group of rows, without the changed weight ever being
//! whole.
//!
//! Place in the data flow: block-affine adapters. The weight (out, in) is cut into square blocks W_ij of some size; the
//! blocks of row group i are multiplied by I + B_i, and B_i may be added to each.
//!
//! Bat: Kang, "Bone: Block-Affine Adaptation of Large Language Models" (2024), eq. 4: `W'_ij = W_ij + W_ij B_i + B_i`.

use super::linear::{fill_bias, split_bias, with_features};
use super::{
    FrozenLinear, IntoCandle as _, Values, beside, expect_shape, has_kernel, output, reference, rows_and_features,
    slice, tensor,
};
use crate::error::shape_error;
use crate::frozen::FrozenWeight;
use crate::kernels::scratch;
use crate::{NnError, Result, gemm};
use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};
use rayon::prelude::*;
use std::sync::Arc;

/// `y = x W'ᵀ + bias` with `W'_ij = W_ij (I + B_i)`, plus `B_i` where `tiled`, for blocks B (out/size, size, size).
/// Gradients for x, the blocks, and for the bias if it is tracked.
///
/// # Errors
/// A size that does not divide both sides of the weight; shapes that do not fit.
pub fn linear_row_groups(x: &Tensor, layer: &FrozenLinear, blocks: &Tensor, tiled: bool) -> Result<Tensor> {
    let (_, features) = rows_and_features(x)?;
    let weight = &layer.weight;
    let size = blocks.dim(1)?;
    if size == 0 || !weight.rows.is_multiple_of(size) || !weight.cols.is_multiple_of(size) || features != weight.cols {
        let (rows, cols) = (weight.rows, weight.cols);
        return shape_error(format!("blocks of {size} over a weight of {rows} x {cols}, an input of {features}"));
    }
    expect_shape("the blocks", blocks, &[weight.rows / size, size, size])?;
    if !has_kernel(&[x, blocks]) {
        let dense = weight.on(x.device())?.to_dtype(x.dtype())?;
        let bias = layer.bias.as_ref().map(|bias| beside(x, bias)).transpose()?;
        return reference::linear_row_groups(x, &dense, bias.as_ref(), &beside(x, blocks)?, tiled);
    }
    let (fused, added) = split_bias(layer.bias.as_ref());
    let op = RowGroups { weight: Arc::clone(weight), bias: fused.cloned(), size, tiled };
    let y = x.contiguous()?.apply_op2(&blocks.contiguous()?, op)?;
    Ok(match added {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    })
}

/// Rows of the changed weight that are there at once: enough for products at full speed, few enough to stay in cache.
const BAND_ROWS: usize = 192;

struct RowGroups {
    weight: Arc<FrozenWeight>,
    bias: Option<Tensor>,
    size: usize,
    tiled: bool,
}

impl RowGroups {
    /// Row groups of a band.
    fn groups_at_once(&self) -> usize {
        (BAND_ROWS / self.size).max(1)
    }

    /// The row groups from `first` on that fill `rows`, as they are and changed by their blocks.
    fn changed_rows(&self, first: usize, blocks: &[f32], rows: &mut [f32], changed: &mut [f32]) -> Result<()> {
        let (size, cols) = (self.size, self.weight.cols);
        self.weight.read_rows(first * size..first * size + rows.len() / cols, rows)?;
        changed.copy_from_slice(rows);
        let group = size * cols;
        let pairs = rows.par_chunks_exact(group).zip(changed.par_chunks_exact_mut(group)).enumerate();
        pairs.for_each(|(index, (rows, changed))| {
            let block = self.block(blocks, first + index);
            // Every piece of `size` values of a row is a row of the left operand.
            let (left, right) = (gemm::matrix(rows, cols, size), gemm::matrix(block, size, size));
            gemm::product_here(gemm::matrix_mut(changed, cols, size), left, right, 1.0, true);
            if self.tiled {
                for (row, block) in changed.chunks_exact_mut(cols).zip(block.chunks_exact(size)) {
                    for piece in row.chunks_exact_mut(size) {
                        for (value, added) in piece.iter_mut().zip(block) {
                            *value += added;
                        }
                    }
                }
            }
        });
        Ok(())
    }

    /// What the blocks of some groups get from their rows `own` and the gradient `change` of their changed rows.
    fn block_gradients(&self, own: &[f32], change: &[f32], d_blocks: &mut [f32]) {
        let (size, cols) = (self.size, self.weight.cols);
        let group = size * cols;
        let parts = own.par_chunks_exact(group).zip(change.par_chunks_exact(group));
        parts.zip(d_blocks.par_chunks_exact_mut(size * size)).for_each(|((own, change), d_block)| {
            let (left, right) = (gemm::matrix(own, cols, size), gemm::matrix(change, cols, size));
            gemm::product_here(gemm::matrix_mut(d_block, size, size), left.transpose(), right, 1.0, false);
            if self.tiled {
                for (d_row, row) in d_block.chunks_exact_mut(size).zip(change.chunks_exact(cols)) {
                    for piece in row.chunks_exact(size) {
                        for (d_row, value) in d_row.iter_mut().zip(piece) {
                            *d_row += value;
                        }
                    }
                }
            }
        });
    }

    fn block<'a>(&self, blocks: &'a [f32], group: usize) -> &'a [f32] {
        let entries = self.size * self.size;
        blocks.get(group * entries..(group + 1) * entries).unwrap_or_default()
    }
}

impl CustomOp2 for RowGroups {
    fn name(&self) -> &'static str {
        "linear-row-groups"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        blocks: &CpuStorage,
        blocks_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (x, blocks) = (slice(x, x_layout)?, slice(blocks, blocks_layout)?);
        let (rows, cols, size) = (self.weight.rows, self.weight.cols, self.size);
        let n = x.len() / cols.max(1);
        let mut y = vec![0f32; n * rows];
        let started = fill_bias(self.bias.as_ref(), &mut y)?;
        let input = gemm::matrix(x, n, cols);
        let band = self.groups_at_once();
        for first in (0..rows / size).step_by(band) {
            let band_rows = (band * size).min(rows - first * size);
            scratch::with(2 * band_rows * cols, |values| {
                let (own, changed) = values.split_at_mut(band_rows * cols);
                self.changed_rows(first, blocks, own, changed)?;
                let out = gemm::matrix_mut(&mut y, n, rows).subcols_mut(first * size, band_rows);
                gemm::product(out, input, gemm::matrix(changed, band_rows, cols).transpose(), 1.0, started);
                Ok::<(), NnError>(())
            })
            .candle()?;
        }
        output(y, with_features(x_layout.dims(), rows))
    }

    /// With dW'_i = g_iᵀ x: `dx = Σ g_i W'_i`, `dB_i = Σ_j W_ijᵀ dW'_ij`, plus `Σ_j dW'_ij` where tiled.
    fn bwd(
        &self,
        x: &Tensor,
        blocks: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (x_values, block_values, g) = (Values::of(x)?, Values::of(blocks)?, Values::of(&gradient)?);
        let (rows, cols, size) = (self.weight.rows, self.weight.cols, self.size);
        let n = x_values.len() / cols.max(1);
        let (input, output) = (gemm::matrix(&x_values, n, cols), gemm::matrix(&g, n, rows));
        let mut dx = x.track_op().then(|| vec![0f32; n * cols]);
        let mut d_blocks = blocks.track_op().then(|| vec![0f32; rows * size]);
        // One band after the other: all of them add to the same gradient of the input.
        let band = self.groups_at_once();
        for first in (0..rows / size).step_by(band) {
            let band_rows = (band * size).min(rows - first * size);
            scratch::with(2 * band_rows * cols, |values| {
                let (own, changed) = values.split_at_mut(band_rows * cols);
                self.changed_rows(first, &block_values, own, changed)?;
                let g = output.subcols(first * size, band_rows);
                if let Some(dx) = &mut dx {
                    gemm::product(gemm::matrix_mut(dx, n, cols), g, gemm::matrix(changed, band_rows, cols), 1.0, true);
                }
                let entries = first * size * size..(first * size + band_rows) * size;
                if let Some(d_blocks) = d_blocks.as_mut().and_then(|blocks| blocks.get_mut(entries)) {
                    gemm::product(gemm::matrix_mut(changed, band_rows, cols), g.transpose(), input, 1.0, false);
                    self.block_gradients(own, changed, d_blocks);
                }
                Ok::<(), NnError>(())
            })
            .candle()?;
        }
        let dx = dx.map(|values| tensor(values, x.dims())).transpose()?;
        let d_blocks = d_blocks.map(|values| tensor(values, blocks.dims())).transpose()?;
        Ok((dx, d_blocks))
    }
}
