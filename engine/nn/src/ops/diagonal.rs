//! Products with a diagonal matrix, a constant added, and dropout alone: the small steps between products that
//! adapters need and that must give no gradient to what is not trained.
//!
//! Place in the data flow: the interpreter of adapters' slots scales features, rows of factors and whole outputs with
//! these. Plain candle products would store a gradient for every constant operand.

use super::low_rank::Dropout;
use super::{Values, beside, expect_shape, has_kernel, output, reference, slice, tensor};
use crate::Result;
use crate::error::shape_error;
use crate::kernels::memory::written;
use crate::kernels::{low_rank, reduce};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Shape, Tensor};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Values per piece of work.
const PIECE: usize = 8192;

/// A value for each of `x`, row by row of `features` values; `row` gets a row's index and its values.
fn by_rows<'a, I: Iterator<Item = f32>>(
    x: &'a [f32],
    features: usize,
    row: impl Fn(usize, &'a [f32]) -> I + Sync,
) -> Vec<f32> {
    let features = features.max(1);
    written(x.len(), features, PIECE, |index| {
        let place = index * features;
        row(index, x.get(place..(place + features).min(x.len())).unwrap_or_default())
    })
}

/// `x (.., features) → x · diag(scale)`: every feature multiplied by its own factor. Gradients for both where tracked.
///
/// # Errors
/// Shapes that do not fit.
pub fn scale_features(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let Some(&features) = x.dims().last() else { return shape_error("a scalar has no features") };
    expect_shape("the scale of the features", scale, &[features])?;
    apply(x, scale, Side::Features)
}

/// `x (rows, ..) → diag(scale) · x`: every row multiplied by its own factor. Gradients for both where tracked.
///
/// # Errors
/// Shapes that do not fit.
pub fn scale_rows(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let Some(&rows) = x.dims().first() else { return shape_error("a scalar has no rows") };
    expect_shape("the scale of the rows", scale, &[rows])?;
    apply(x, scale, Side::Rows)
}

fn apply(x: &Tensor, scale: &Tensor, side: Side) -> Result<Tensor> {
    if !has_kernel(&[x, scale]) {
        return reference::diagonal(x, &beside(x, scale)?, side == Side::Rows);
    }
    Ok(x.contiguous()?.apply_op2(&scale.contiguous()?, Diagonal { side })?)
}

/// `x + factor · constant`, with a gradient for `x` alone.
///
/// # Errors
/// Shapes that differ.
pub fn add_constant(x: &Tensor, constant: &Tensor, factor: f64) -> Result<Tensor> {
    expect_shape("the constant", constant, x.dims())?;
    if !has_kernel(&[x, constant]) {
        return Ok((x + beside(x, &constant.detach())?.affine(factor, 0.0)?)?);
    }
    Ok(x.contiguous()?.apply_op1(AddConstant { constant: constant.detach().contiguous()?, factor: factor as f32 })?)
}

/// `x (.., features) + bias (features)`; gradients for both where tracked.
///
/// # Errors
/// Shapes that do not fit.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let Some(&features) = x.dims().last() else { return shape_error("a scalar has no features") };
    expect_shape("the bias", bias, &[features])?;
    if bias.track_op() || !has_kernel(&[x, bias]) {
        return Ok(x.broadcast_add(&beside(x, bias)?)?);
    }
    Ok(x.contiguous()?.apply_op1(AddBias { bias: bias.contiguous()? })?)
}

/// `x` with a share of its features dropped and the others made larger by as much.
///
/// # Errors
/// A dropout that does not fit the positions, or is outside [0, 1).
pub fn dropout(x: &Tensor, dropout: &Dropout) -> Result<Tensor> {
    let (positions, _) = super::rows_and_features(x)?;
    dropout.check(positions)?;
    if !has_kernel(&[x]) {
        return Ok((x * reference::dropout_mask(dropout, x)?)?);
    }
    Ok(x.contiguous()?.apply_op1(Drop { dropout: dropout.clone(), kept: OnceLock::new() })?)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Features,
    Rows,
}

struct Diagonal {
    side: Side,
}

impl Diagonal {
    /// `x` scaled, row by row of `features` values.
    fn product(&self, x: &[f32], scale: &[f32], features: usize) -> Vec<f32> {
        match self.side {
            Side::Features => by_rows(x, features, |_, row| row.iter().zip(scale).map(|(x, scale)| x * scale)),
            Side::Rows => by_rows(x, features, |index, row| {
                let scale = scale.get(index).copied().unwrap_or(0.0);
                row.iter().map(move |x| x * scale)
            }),
        }
    }

    /// `Σ g ∘ x` over everything that one factor multiplied.
    fn scale_gradient(&self, x: &[f32], g: &[f32], features: usize) -> Vec<f32> {
        let features = features.max(1);
        match self.side {
            Side::Features => {
                let products: Vec<f32> = x.par_iter().zip(g.par_iter()).map(|(x, g)| x * g).collect();
                reduce::sum_of_rows(&products, features)
            }
            Side::Rows => {
                let rows = x.par_chunks(features).zip(g.par_chunks(features));
                rows.map(|(x, g)| reduce::dot_f64(x, g) as f32).collect()
            }
        }
    }
}

/// Values per factor of [`Side::Rows`], per row of [`Side::Features`].
fn row_length(side: Side, dims: &[usize]) -> usize {
    match side {
        Side::Features => dims.last().copied().unwrap_or(1),
        Side::Rows => dims.iter().skip(1).product(),
    }
}

impl CustomOp2 for Diagonal {
    fn name(&self) -> &'static str {
        "diagonal"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        scale: &CpuStorage,
        scale_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (x, scale) = (slice(x, x_layout)?, slice(scale, scale_layout)?);
        let y = self.product(x, scale, row_length(self.side, x_layout.dims()));
        output(y, x_layout.shape().clone())
    }

    fn bwd(
        &self,
        x: &Tensor,
        scale: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (g, features) = (Values::of(&gradient)?, row_length(self.side, x.dims()));
        let dx = match x.track_op() {
            true => Some(tensor(self.product(&g, &Values::of(scale)?, features), x.dims())?),
            false => None,
        };
        let d_scale = match scale.track_op() {
            true => Some(tensor(self.scale_gradient(&Values::of(x)?, &g, features), scale.dims())?),
            false => None,
        };
        Ok((dx, d_scale))
    }
}

struct AddConstant {
    constant: Tensor,
    factor: f32,
}

impl CustomOp1 for AddConstant {
    fn name(&self) -> &'static str {
        "add-constant"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let constant = Values::of(&self.constant)?;
        let x = slice(x, layout)?;
        let y = written(x.len(), PIECE, PIECE, |index| {
            let place = index * PIECE;
            let (x, constant) = (x.get(place..).unwrap_or_default(), constant.get(place..).unwrap_or_default());
            x.iter().zip(constant).map(|(x, constant)| x + self.factor * constant)
        });
        output(y, layout.shape().clone())
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(x.track_op().then(|| gradient.clone()))
    }
}

struct AddBias {
    bias: Tensor,
}

impl CustomOp1 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let bias = Values::of(&self.bias)?;
        let y = by_rows(slice(x, layout)?, bias.len(), |_, row| row.iter().zip(bias.iter()).map(|(x, bias)| x + bias));
        output(y, layout.shape().clone())
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(x.track_op().then(|| gradient.clone()))
    }
}

struct Drop {
    dropout: Dropout,
    /// What the forward pass kept; see [`low_rank::dropped_and_kept`].
    kept: OnceLock<Vec<u32>>,
}

impl Drop {
    fn forward(&self, x: &[f32], features: usize) -> Vec<f32> {
        Dropout::with_mask(Some(&self.dropout), |mask| {
            let Some(mask) = mask else { return x.to_vec() };
            let (y, kept) = low_rank::dropped_and_kept(x, mask, features);
            // A second pass over the same operation draws the same.
            self.kept.get_or_init(|| kept);
            y
        })
    }

    fn backward(&self, g: &[f32], features: usize) -> Vec<f32> {
        Dropout::with_mask(Some(&self.dropout), |mask| match (self.kept.get(), mask) {
            (Some(kept), Some(mask)) => low_rank::dropped_again(g, kept, mask.factor, features),
            (None, mask) => low_rank::dropped(g, mask, features),
            (Some(_), None) => g.to_vec(),
        })
    }
}

impl CustomOp1 for Drop {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        output(self.forward(slice(x, layout)?, row_length(Side::Features, layout.dims())), layout.shape().clone())
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        let gradient = gradient.contiguous()?;
        let dx = self.backward(&Values::of(&gradient)?, row_length(Side::Features, x.dims()));
        Ok(Some(tensor(dx, x.dims())?))
    }
}
