//! Linear layers over a frozen or a trained weight.
//!
//! Place in the data flow: the plain products of all models; with an adapter the fused form in
//! [`super::low_rank`] takes over.

use super::{
    IntoCandle as _, Values, beside, expect_shape, has_kernel, output, reference, rows_and_features, slice, tensor,
};
use crate::frozen::{FrozenWeight, backend};
use crate::kernels::reduce::sum_of_rows;
use crate::{Result, gemm};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Shape, Tensor};
use std::sync::Arc;

/// A linear layer that is not trained.
#[derive(Clone, Debug)]
pub struct FrozenLinear {
    /// (out, in).
    pub weight: Arc<FrozenWeight>,
    /// (out). A tracked tensor (a trained bias on a frozen weight) gets its gradient.
    pub bias: Option<Tensor>,
}

/// `x (.., in) → x Wᵀ + bias (.., out)`. No gradient for the weight.
///
/// # Errors
/// Shapes that do not fit.
pub fn linear(x: &Tensor, layer: &FrozenLinear) -> Result<Tensor> {
    let (_, features) = rows_and_features(x)?;
    let weight = &layer.weight;
    if features != weight.cols {
        let what = format!("`{}` takes {} features, the input has {features}", weight.name, weight.cols);
        return super::shape_error(what);
    }
    if let Some(bias) = &layer.bias {
        expect_shape("the bias", bias, &[weight.rows])?;
    }
    if !has_kernel(&[x]) {
        let dense = weight.on(x.device())?.to_dtype(x.dtype())?;
        let bias = layer.bias.as_ref().map(|bias| beside(x, bias)).transpose()?;
        return reference::linear(x, &dense, bias.as_ref());
    }
    let (fused, added) = split_bias(layer.bias.as_ref());
    let y = x.contiguous()?.apply_op1(Linear { weight: Arc::clone(weight), bias: fused.cloned() })?;
    Ok(match added {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    })
}

/// A constant bias is added within the operation, a trained one by the graph, which gives it its gradient.
pub(crate) fn split_bias(bias: Option<&Tensor>) -> (Option<&Tensor>, Option<&Tensor>) {
    match bias {
        Some(bias) if bias.track_op() => (None, Some(bias)),
        other => (other, None),
    }
}

/// Writes `bias` into each row of `out`; returns whether there was one.
pub(crate) fn fill_bias(bias: Option<&Tensor>, out: &mut [f32]) -> candle_core::Result<bool> {
    let Some(bias) = bias else { return Ok(false) };
    let bias = bias.contiguous()?;
    let bias = Values::of(&bias)?;
    for row in out.chunks_exact_mut(bias.len().max(1)) {
        row.copy_from_slice(&bias);
    }
    Ok(true)
}

struct Linear {
    weight: Arc<FrozenWeight>,
    bias: Option<Tensor>,
}

impl CustomOp1 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = slice(storage, layout)?;
        let n = x.len() / self.weight.cols.max(1);
        let mut y = vec![0f32; n * self.weight.rows];
        let started = fill_bias(self.bias.as_ref(), &mut y)?;
        backend().matmul_nt(&self.weight, x, n, &mut y, started).candle()?;
        output(y, with_features(layout.dims(), self.weight.rows))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        let gradient = gradient.contiguous()?;
        let g = Values::of(&gradient)?;
        let n = g.len() / self.weight.rows.max(1);
        let mut dx = vec![0f32; n * self.weight.cols];
        backend().matmul_nn(&self.weight, &g, n, &mut dx, false).candle()?;
        Ok(Some(tensor(dx, x.dims())?))
    }
}

/// `x (.., in) → x Wᵀ + bias (.., out)` with gradients for input, weight (out, in) and bias.
///
/// # Errors
/// Shapes that do not fit.
pub fn linear_trained(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (_, features) = rows_and_features(x)?;
    let (out_features, in_features) = weight.dims2()?;
    if features != in_features {
        return super::shape_error(format!("the weight takes {in_features} features, the input has {features}"));
    }
    if let Some(bias) = bias {
        expect_shape("the bias", bias, &[out_features])?;
    }
    if !has_kernel(&[x, weight]) {
        let bias = bias.map(|bias| beside(x, bias)).transpose()?;
        return reference::linear(x, &beside(x, weight)?, bias.as_ref());
    }
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    Ok(match bias {
        None => x.apply_op2(&weight, LinearTrained)?,
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, LinearTrained)?,
    })
}

struct LinearTrained;

impl LinearTrained {
    fn forward(
        (x, x_layout): (&CpuStorage, &Layout),
        (weight, weight_layout): (&CpuStorage, &Layout),
        bias: Option<&[f32]>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (rows, cols) = weight_layout.shape().dims2()?;
        let (x, weight) = (slice(x, x_layout)?, slice(weight, weight_layout)?);
        let n = x.len() / cols.max(1);
        let mut y = vec![0f32; n * rows];
        if let Some(bias) = bias {
            y.chunks_exact_mut(rows.max(1)).for_each(|row| row.copy_from_slice(bias));
        }
        gemm::gemm_nt(x, weight, &mut y, n, rows, cols, 1.0, bias.is_some());
        output(y, with_features(x_layout.dims(), rows))
    }

    /// Gradients of input and weight for that of the output, where they are tracked.
    fn backward(x: &Tensor, weight: &Tensor, g: &[f32]) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (rows, cols) = weight.dims2()?;
        let n = g.len() / rows.max(1);
        let dx = if x.track_op() {
            let mut dx = vec![0f32; n * cols];
            gemm::gemm_nn(g, &Values::of(weight)?, &mut dx, n, cols, rows, 1.0, false);
            Some(tensor(dx, x.dims())?)
        } else {
            None
        };
        let dw = if weight.track_op() {
            let mut dw = vec![0f32; rows * cols];
            gemm::gemm_tn(g, &Values::of(x)?, &mut dw, rows, cols, n, 1.0, false);
            Some(tensor(dw, (rows, cols))?)
        } else {
            None
        };
        Ok((dx, dw))
    }
}

impl CustomOp2 for LinearTrained {
    fn name(&self) -> &'static str {
        "linear-trained"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        Self::forward((x, x_layout), (weight, weight_layout), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        Self::backward(x, weight, &Values::of(&gradient)?)
    }
}

impl CustomOp3 for LinearTrained {
    fn name(&self) -> &'static str {
        "linear-trained-with-bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        Self::forward((x, x_layout), (weight, weight_layout), Some(slice(bias, bias_layout)?))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let g = Values::of(&gradient)?;
        let (dx, dw) = Self::backward(x, weight, &g)?;
        let rows = bias.elem_count();
        let db = bias.track_op().then(|| tensor(sum_of_rows(&g, rows), rows)).transpose()?;
        Ok((dx, dw, db))
    }
}

/// The same dimensions with another last one.
pub(crate) fn with_features(dims: &[usize], features: usize) -> Shape {
    let mut dims = dims.to_vec();
    if let Some(last) = dims.last_mut() {
        *last = features;
    }
    Shape::from(dims)
}
