//! Normalisations over the last dimension.
//!
//! Place in the data flow: at the entry of each half of a block and before the head.
//!
//! Zhang, Sennrich, "Root Mean Square Layer Normalization" (2019); Ba, Kiros, Hinton, "Layer Normalization"
//! (2016).

use super::{Values, beside, expect_shape, has_kernel, output, reference, rows_and_features, slice, tensor};
use crate::Result;
use crate::kernels::norm::{self, NormGradients};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Shape, Tensor};

/// `y = x / √(mean(x²) + eps) · weight` over the last dimension; `weight` (features). The weight gets a gradient
/// only if it is tracked.
///
/// # Errors
/// Shapes that do not fit.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let (_, features) = rows_and_features(x)?;
    expect_shape("the weight of the norm", weight, &[features])?;
    if !has_kernel(&[x, weight]) {
        return reference::rms_norm(x, &beside(x, weight)?, eps);
    }
    Ok(x.contiguous()?.apply_op2(&weight.contiguous()?, RmsNorm { eps })?)
}

struct RmsNorm {
    eps: f64,
}

/// A gradient of the shape of the tensor it belongs to.
fn like(values: Option<Vec<f32>>, tensor_of: &Tensor) -> candle_core::Result<Option<Tensor>> {
    values.map(|values| tensor(values, tensor_of.dims())).transpose()
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let y = norm::rms_norm(slice(x, x_layout)?, slice(weight, weight_layout)?, self.eps);
        output(y, x_layout.shape().clone())
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let wants = (x.track_op(), weight.track_op());
        let (x_values, w_values, g) = (Values::of(x)?, Values::of(weight)?, Values::of(&gradient)?);
        let NormGradients { input, weight: dw, .. } =
            norm::rms_norm_backward(&x_values, &w_values, &g, self.eps, wants);
        Ok((like(input, x)?, like(dw, weight)?))
    }
}

/// `y = (x - mean(x)) / √(var(x) + eps) · weight + bias` over the last dimension; weight and bias (features) get
/// gradients only if they are tracked.
///
/// # Errors
/// Shapes that do not fit.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let (_, features) = rows_and_features(x)?;
    expect_shape("the weight of the norm", weight, &[features])?;
    let bias = match bias {
        Some(bias) => bias.clone(),
        None => weight.zeros_like()?,
    };
    expect_shape("the bias of the norm", &bias, &[features])?;
    if !has_kernel(&[x, weight, &bias]) {
        return reference::layer_norm(x, &beside(x, weight)?, Some(&beside(x, &bias)?), eps);
    }
    Ok(x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, LayerNorm { eps })?)
}

struct LayerNorm {
    eps: f64,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
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
        let (weight, bias) = (slice(weight, weight_layout)?, slice(bias, bias_layout)?);
        let y = norm::layer_norm(slice(x, x_layout)?, weight, bias, self.eps);
        output(y, x_layout.shape().clone())
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
        let wants = (x.track_op(), weight.track_op(), bias.track_op());
        let (x_values, w_values, g) = (Values::of(x)?, Values::of(weight)?, Values::of(&gradient)?);
        let NormGradients { input, weight: dw, bias: db } =
            norm::layer_norm_backward(&x_values, &w_values, &g, self.eps, wants);
        Ok((like(input, x)?, like(dw, weight)?, like(db, bias)?))
    }
}
