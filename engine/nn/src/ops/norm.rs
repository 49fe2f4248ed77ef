//! Normalisations over the last dimension.
//!
//! Place in the data flow: at the entry of each half of a block and before the head.
//!
//! Zhang, Sennrich, "Root Mean Square Layer Normalization" (2019); Ba, Kiros, Hinton, "Layer Normalization"
//! (2016).

use super::{expect_shape, reference, rows_and_features};
use crate::Result;
use candle_core::Tensor;

/// `y = x / √(mean(x²) + eps) · weight` over the last dimension; `weight` (features). The weight gets a gradient
/// only if it is tracked.
///
/// # Errors
/// Shapes that do not fit.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let (_, features) = rows_and_features(x)?;
    expect_shape("the weight of the norm", weight, &[features])?;
    reference::rms_norm(x, weight, eps)
}

/// `y = (x - mean(x)) / √(var(x) + eps) · weight + bias` over the last dimension; weight and bias (features) get
/// gradients only if they are tracked.
///
/// # Errors
/// Shapes that do not fit.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let (_, features) = rows_and_features(x)?;
    expect_shape("the weight of the norm", weight, &[features])?;
    if let Some(bias) = bias {
        expect_shape("the bias of the norm", bias, &[features])?;
    }
    reference::layer_norm(x, weight, bias, eps)
}
