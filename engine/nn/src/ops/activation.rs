//! Activations, alone and as gates.
//!
//! Place in the data flow: the middle of each block's feed-forward half.
//!
//! Gated forms: Shazeer, "GLU Variants Improve Transformer" (2020); GELU: Hendrycks, Gimpel (2016).

use super::{expect_shape, reference};
use crate::Result;
use candle_core::Tensor;

/// `x · sigmoid(x)`.
///
/// # Errors
/// Only what candle reports.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    reference::silu(x)
}

/// GELU in its exact form, `x/2 · (1 + erf(x/√2))`.
///
/// # Errors
/// Only what candle reports.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    reference::gelu(x)
}

/// GELU in its tanh form, `x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
///
/// # Errors
/// Only what candle reports.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    reference::gelu_tanh(x)
}

/// `silu(gate) · up`.
///
/// # Errors
/// Shapes that differ.
pub fn gated_silu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    expect_shape("the second operand of the gate", up, gate.dims())?;
    Ok((reference::silu(gate)? * up)?)
}

/// `gelu_tanh(gate) · up`.
///
/// # Errors
/// Shapes that differ.
pub fn gated_gelu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    expect_shape("the second operand of the gate", up, gate.dims())?;
    Ok((reference::gelu_tanh(gate)? * up)?)
}
