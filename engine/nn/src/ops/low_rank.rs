//! Linear layers with a low-rank change: the operation most of a LoRA step is spent in.
//!
//! Place in the data flow: the interpreter of adapters' slots calls these for every site that carries a plain
//! chain of two factors.
//!
//! LoRA: Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang, Chen, "LoRA: Low-Rank Adaptation of Large Language
//! Models" (2021), eq. 3: `h = W0 x + (α/r) B A x`.

use super::linear::{fill_bias, split_bias, with_features};
use super::{
    FrozenLinear, IntoCandle as _, Values, beside, expect_shape, has_kernel, output, reference, rows_and_features,
};
use super::{slice, tensor};
use crate::error::shape_error;
use crate::frozen::{FrozenWeight, backend};
use crate::kernels::low_rank::{self, Mask, Sizes};
use crate::rng;
use crate::{NnError, Result};
use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor};
use parking_lot::Mutex;
use std::sync::Arc;

/// Dropout on the input of a low-rank change. The mask depends on (key, row in the step, position, feature)
/// only, so that a step gives the same result however its rows are cut into batches.
#[derive(Clone, Debug)]
pub struct Dropout {
    /// Probability of dropping, in [0, 1).
    pub p: f32,
    /// From seed, step and site.
    pub key: u64,
    /// Number within the step of each batch row.
    pub rows: Arc<[u64]>,
    /// Positions per row.
    pub width: usize,
}

impl Dropout {
    /// Row in the step and position in the row of a place in the flattened batch.
    #[must_use]
    pub fn place(&self, place: usize) -> (u64, u32) {
        let width = self.width.max(1);
        (self.rows.get(place / width).copied().unwrap_or(u64::MAX), (place % width) as u32)
    }

    /// Calls `work` with the mask that the kernels take; none without dropout.
    pub(crate) fn with_mask<R>(dropout: Option<&Self>, work: impl FnOnce(Option<&Mask<'_>>) -> R) -> R {
        match dropout.filter(|dropout| dropout.p > 0.0) {
            None => work(None),
            Some(dropout) => work(Some(&Mask {
                threshold: rng::drop_threshold(dropout.p),
                factor: 1.0 / (1.0 - dropout.p),
                key: dropout.key,
                place: &|place| dropout.place(place),
            })),
        }
    }

    pub(crate) fn check(&self, positions: usize) -> Result<()> {
        if !(0.0..1.0).contains(&self.p) {
            return Err(NnError::Value(format!("a dropout of {} is not in [0, 1)", self.p)));
        }
        if self.rows.len() * self.width != positions {
            let (rows, width) = (self.rows.len(), self.width);
            return shape_error(format!("dropout over {rows} rows of {width} on {positions} positions"));
        }
        Ok(())
    }
}

/// `y = x Wᵀ + bias + scale · (drop(x) Aᵀ) Bᵀ` with `a` (rank, in) and `b` (out, rank); gradients for x, a, b,
/// and for the bias if it is tracked.
///
/// # Errors
/// Shapes that do not fit, or a dropout outside [0, 1).
pub fn linear_low_rank(
    x: &Tensor,
    layer: &FrozenLinear,
    a: &Tensor,
    b: &Tensor,
    scale: f32,
    dropout: Option<Dropout>,
) -> Result<Tensor> {
    let weight = &layer.weight;
    check(x, a, b, Some((weight.rows, weight.cols)), dropout.as_ref())?;
    if let Some(bias) = &layer.bias {
        expect_shape("the bias", bias, &[weight.rows])?;
    }
    if !has_kernel(&[x, a, b]) {
        let change = reference::low_rank(x, &beside(x, a)?, &beside(x, b)?, scale, dropout.as_ref())?;
        return Ok((super::linear(x, layer)? + change)?);
    }
    let (fused, added) = split_bias(layer.bias.as_ref());
    let base = Base { weight: Arc::clone(weight), bias: fused.cloned() };
    let y = apply(x, a, b, LowRank::new(Some(base), scale, dropout))?;
    Ok(match added {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    })
}

/// `scale · (drop(x) Aᵀ) Bᵀ` alone: for several adapters on one weight, or one on a trained weight.
///
/// # Errors
/// Shapes that do not fit, or a dropout outside [0, 1).
pub fn low_rank(x: &Tensor, a: &Tensor, b: &Tensor, scale: f32, dropout: Option<Dropout>) -> Result<Tensor> {
    check(x, a, b, None, dropout.as_ref())?;
    if !has_kernel(&[x, a, b]) {
        return reference::low_rank(x, &beside(x, a)?, &beside(x, b)?, scale, dropout.as_ref());
    }
    apply(x, a, b, LowRank::new(None, scale, dropout))
}

fn check(x: &Tensor, a: &Tensor, b: &Tensor, base: Option<(usize, usize)>, dropout: Option<&Dropout>) -> Result<()> {
    let (positions, features) = rows_and_features(x)?;
    if let Some(dropout) = dropout {
        dropout.check(positions)?;
    }
    let ((rank, in_features), (out_features, b_rank)) = (a.dims2()?, b.dims2()?);
    let fits = in_features == features && b_rank == rank;
    if !fits || base.is_some_and(|base| base != (out_features, in_features)) {
        let (a, b) = (a.dims(), b.dims());
        let base = base.map(|(out, inp)| format!(" on a weight of [{out}, {inp}]")).unwrap_or_default();
        return shape_error(format!("factors {a:?} and {b:?}{base} do not fit an input of {features} features"));
    }
    Ok(())
}

fn apply(x: &Tensor, a: &Tensor, b: &Tensor, mut op: LowRank) -> Result<Tensor> {
    op.tracked = x.track_op() || a.track_op() || b.track_op();
    Ok(x.contiguous()?.apply_op3(&a.contiguous()?, &b.contiguous()?, op)?)
}

struct Base {
    weight: Arc<FrozenWeight>,
    bias: Option<Tensor>,
}

struct LowRank {
    base: Option<Base>,
    scale: f32,
    dropout: Option<Dropout>,
    /// Whether there will be a backward pass.
    tracked: bool,
    /// `drop(x) Aᵀ` (n, rank) of the forward pass: rank/in of the input's size, kept for the gradient of B.
    kept: Mutex<Vec<f32>>,
}

impl LowRank {
    fn new(base: Option<Base>, scale: f32, dropout: Option<Dropout>) -> Self {
        let dropout = dropout.filter(|dropout| dropout.p > 0.0);
        Self { base, scale, dropout, tracked: true, kept: Mutex::default() }
    }
}

fn sizes(x: &[f32], a: &Shape, b: &Shape) -> candle_core::Result<Sizes> {
    let ((rank, cols), (rows, _)) = (a.dims2()?, b.dims2()?);
    Ok(Sizes { n: x.len() / cols.max(1), cols, rows, rank })
}

impl CustomOp3 for LowRank {
    fn name(&self) -> &'static str {
        "low-rank"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (x, a, b) = (slice(x, x_layout)?, slice(a, a_layout)?, slice(b, b_layout)?);
        let sizes = sizes(x, a_layout.shape(), b_layout.shape())?;
        let mut y = vec![0f32; sizes.n * sizes.rows];
        if let Some(base) = &self.base {
            let started = fill_bias(base.bias.as_ref(), &mut y)?;
            backend().matmul_nt(&base.weight, x, sizes.n, &mut y, started).candle()?;
        }
        let accumulate = self.base.is_some();
        let u = Dropout::with_mask(self.dropout.as_ref(), |mask| {
            low_rank::forward(x, a, b, self.scale, mask, &mut y, sizes, accumulate)
        });
        if self.tracked {
            *self.kept.lock() = u;
        }
        output(y, with_features(x_layout.dims(), sizes.rows))
    }

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (x_values, a_values, b_values) = (Values::of(x)?, Values::of(a)?, Values::of(b)?);
        let g = Values::of(&gradient)?;
        let sizes = sizes(&x_values, a.shape(), b.shape())?;
        let mut dx = x.track_op().then(|| vec![0f32; sizes.n * sizes.cols]);
        if let (Some(dx), Some(base)) = (&mut dx, &self.base) {
            backend().matmul_nn(&base.weight, &g, sizes.n, dx, false).candle()?;
        }
        let wants = (a.track_op(), b.track_op());
        let kept = self.kept.lock();
        let (scale, dx_slice) = (self.scale, dx.as_deref_mut());
        let gradients = Dropout::with_mask(self.dropout.as_ref(), |mask| {
            low_rank::backward(&x_values, &a_values, &b_values, &kept, &g, scale, mask, dx_slice, wants, sizes)
        });
        let dx = dx.map(|values| tensor(values, x.dims())).transpose()?;
        let da = gradients.a.map(|values| tensor(values, a.dims())).transpose()?;
        let db = gradients.b.map(|values| tensor(values, b.dims())).transpose()?;
        Ok((dx, da, db))
    }
}
