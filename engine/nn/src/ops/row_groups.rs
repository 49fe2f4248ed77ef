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

/// A frozen weight whose groups of rows each go through a block.
pub struct RowGroups {
    weight: Arc<FrozenWeight>,
    bias: Option<Tensor>,
    size: usize,
    tiled: bool,
}

impl RowGroups {
    /// Over `weight` without a bias, with blocks of `size`, which divides both its sides.
    pub(crate) fn new(weight: Arc<FrozenWeight>, size: usize, tiled: bool) -> Self {
        Self { weight, bias: None, size, tiled }
    }

    /// (out, in).
    pub(crate) fn dims(&self) -> (usize, usize) {
        (self.weight.rows, self.weight.cols)
    }

    /// `y (+)= x W'ᵀ` for `x` (n, in) and `y` (n, out).
    pub(crate) fn forward(&self, x: &[f32], blocks: &[f32], y: &mut [f32], accumulate: bool) -> Result<()> {
        let (rows, cols, size) = (self.weight.rows, self.weight.cols, self.size);
        let n = x.len() / cols.max(1);
        let input = gemm::matrix(x, n, cols);
        let band = self.groups_at_once();
        for first in (0..rows / size).step_by(band) {
            let band_rows = (band * size).min(rows - first * size);
            scratch::with(2 * band_rows * cols, |values| {
                let (own, changed) = values.split_at_mut(band_rows * cols);
                self.changed_rows(first, blocks, own, changed)?;
                let out = gemm::matrix_mut(y, n, rows).subcols_mut(first * size, band_rows);
                gemm::product(out, input, gemm::matrix(changed, band_rows, cols).transpose(), 1.0, accumulate);
                Ok::<(), NnError>(())
            })?;
        }
        Ok(())
    }

    /// With dW'_i = g_iᵀ x: `dx (+)= Σ g_i W'_i`, and with `wanted` `dB_i = Σ_j W_ijᵀ dW'_ij`, plus `Σ_j dW'_ij` where
    /// tiled.
    pub(crate) fn backward(
        &self,
        (x, blocks): (&[f32], &[f32]),
        g: &[f32],
        (mut dx, accumulate): (Option<&mut [f32]>, bool),
        wanted: bool,
    ) -> Result<Option<Vec<f32>>> {
        let (rows, cols, size) = (self.weight.rows, self.weight.cols, self.size);
        let n = x.len() / cols.max(1);
        let (input, output) = (gemm::matrix(x, n, cols), gemm::matrix(g, n, rows));
        let mut d_blocks = wanted.then(|| vec![0f32; rows * size]);
        // One band after the other: all of them add to the same gradient of the input.
        let band = self.groups_at_once();
        for first in (0..rows / size).step_by(band) {
            let band_rows = (band * size).min(rows - first * size);
            scratch::with(2 * band_rows * cols, |values| {
                let (own, changed) = values.split_at_mut(band_rows * cols);
                self.changed_rows(first, blocks, own, changed)?;
                let g = output.subcols(first * size, band_rows);
                if let Some(dx) = dx.as_deref_mut() {
                    let (dx, changed) = (gemm::matrix_mut(dx, n, cols), gemm::matrix(changed, band_rows, cols));
                    gemm::product(dx, g, changed, 1.0, accumulate || first > 0);
                }
                let entries = first * size * size..(first * size + band_rows) * size;
                if let Some(d_blocks) = d_blocks.as_mut().and_then(|blocks| blocks.get_mut(entries)) {
                    gemm::product(gemm::matrix_mut(changed, band_rows, cols), g.transpose(), input, 1.0, false);
                    self.block_gradients(own, changed, d_blocks);
                }
                Ok::<(), NnError>(())
            })?;
        }
        Ok(d_blocks)
    }

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
        let (rows, cols) = (self.weight.rows, self.weight.cols);
        let mut y = vec![0f32; x.len() / cols.max(1) * rows];
        let started = fill_bias(self.bias.as_ref(), &mut y)?;
        self.forward(x, blocks, &mut y, started).candle()?;
        output(y, with_features(x_layout.dims(), rows))
    }

    fn bwd(
        &self,
        x: &Tensor,
        blocks: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (x_values, block_values, g) = (Values::of(x)?, Values::of(blocks)?, Values::of(&gradient)?);
        let mut dx = x.track_op().then(|| vec![0f32; x_values.len()]);
        let d_blocks =
            self.backward((&x_values, &block_values), &g, (dx.as_deref_mut(), false), blocks.track_op()).candle()?;
        let dx = dx.map(|values| tensor(values, x.dims())).transpose()?;
        let d_blocks = d_blocks.map(|values| tensor(values, blocks.dims())).transpose()?;
        Ok((dx, d_blocks))
    }
}
