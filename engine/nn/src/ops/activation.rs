//! Activations, alone and as gates.
//!
//! Place in the data flow: the middle of each block's feed-forward half.
//!
//! Gated forms: Shazeer, "GLU Variants Improve Transformer" (2020); GELU: Hendrycks, Gimpel (2016).

use super::{Values, expect_shape, has_kernel, output, reference, slice, tensor};
use crate::Result;
use crate::kernels::map;
use crate::kernels::math::{exp, sigmoid, tanh};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Shape, Tensor};

/// √(2/π).
const SQRT_2_OVER_PI: f32 = 0.797_884_6;
/// 1/√(2π).
const INV_SQRT_2_PI: f32 = 0.398_942_3;
/// The cubic coefficient of the tanh form.
const CUBIC: f32 = 0.044_715;

/// `x · sigmoid(x)`.
///
/// # Errors
/// Only what candle reports.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    unary(x, Activation::Silu)
}

/// GELU in its exact form, `x/2 · (1 + erf(x/√2))`.
///
/// # Errors
/// Only what candle reports.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    unary(x, Activation::Gelu)
}

/// GELU in its tanh form, `x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
///
/// # Errors
/// Only what candle reports.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    unary(x, Activation::GeluTanh)
}

/// `silu(gate) · up`.
///
/// # Errors
/// Shapes that differ.
pub fn gated_silu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gated(gate, up, Activation::Silu)
}

/// `gelu_tanh(gate) · up`.
///
/// # Errors
/// Shapes that differ.
pub fn gated_gelu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gated(gate, up, Activation::GeluTanh)
}

#[derive(Clone, Copy)]
enum Activation {
    Silu,
    Gelu,
    GeluTanh,
}

impl Activation {
    fn reference(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Silu => reference::silu(x),
            Self::Gelu => reference::gelu(x),
            Self::GeluTanh => reference::gelu_tanh(x),
        }
    }
}

#[inline(always)]
fn silu_of(x: f32) -> f32 {
    x * sigmoid(x)
}

/// Value and derivative.
#[inline(always)]
fn silu_pair(x: f32) -> (f32, f32) {
    let s = sigmoid(x);
    (x * s, s * (1.0 + x * (1.0 - s)))
}

/// Value and derivative.
#[inline(always)]
fn gelu_pair(x: f32) -> (f32, f32) {
    let half = 0.5 * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2));
    (x * half, half + x * INV_SQRT_2_PI * exp(-0.5 * x * x))
}

/// Value and derivative.
#[inline(always)]
fn gelu_tanh_pair(x: f32) -> (f32, f32) {
    let square = x * x;
    let t = tanh(SQRT_2_OVER_PI * x * (1.0 + CUBIC * square));
    let half = 0.5 * (1.0 + t);
    (x * half, half + 0.5 * x * (1.0 - t * t) * SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * square))
}

fn unary(x: &Tensor, activation: Activation) -> Result<Tensor> {
    if !has_kernel(&[x]) {
        return activation.reference(x);
    }
    Ok(x.contiguous()?.apply_op1(Unary(activation))?)
}

struct Unary(Activation);

impl CustomOp1 for Unary {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let y = match self.0 {
            Activation::Silu => map::map(x, silu_of),
            Activation::Gelu => map::map(
                x,
                #[inline(always)]
                |x| gelu_pair(x).0,
            ),
            Activation::GeluTanh => map::map(
                x,
                #[inline(always)]
                |x| gelu_tanh_pair(x).0,
            ),
        };
        output(y, layout.shape().clone())
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let (values, g) = (Values::of(x)?, Values::of(&gradient)?);
        let dx = match self.0 {
            Activation::Silu => map::map2(
                &values,
                &g,
                #[inline(always)]
                |x, g| g * silu_pair(x).1,
            ),
            Activation::Gelu => map::map2(
                &values,
                &g,
                #[inline(always)]
                |x, g| g * gelu_pair(x).1,
            ),
            Activation::GeluTanh => map::map2(
                &values,
                &g,
                #[inline(always)]
                |x, g| g * gelu_tanh_pair(x).1,
            ),
        };
        Ok(Some(tensor(dx, x.dims())?))
    }
}

fn gated(gate: &Tensor, up: &Tensor, activation: Activation) -> Result<Tensor> {
    expect_shape("the second operand of the gate", up, gate.dims())?;
    if !has_kernel(&[gate, up]) {
        return Ok((activation.reference(gate)? * up)?);
    }
    Ok(gate.contiguous()?.apply_op2(&up.contiguous()?, Gated(activation))?)
}

struct Gated(Activation);

impl CustomOp2 for Gated {
    fn name(&self) -> &'static str {
        "gated-activation"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (gate, up) = (slice(gate, gate_layout)?, slice(up, up_layout)?);
        let y = match self.0 {
            Activation::Silu => map::map2(
                gate,
                up,
                #[inline(always)]
                |x, u| silu_of(x) * u,
            ),
            Activation::Gelu => map::map2(
                gate,
                up,
                #[inline(always)]
                |x, u| gelu_pair(x).0 * u,
            ),
            Activation::GeluTanh => map::map2(
                gate,
                up,
                #[inline(always)]
                |x, u| gelu_tanh_pair(x).0 * u,
            ),
        };
        output(y, gate_layout.shape().clone())
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (x, u, g) = (Values::of(gate)?, Values::of(up)?, Values::of(&gradient)?);
        // Both gradients in one pass over memory: the operands are usually tracked together.
        let (dx, du) = match self.0 {
            Activation::Silu => map::map3_to_2(
                &x,
                &u,
                &g,
                #[inline(always)]
                |x, u, g| chain(silu_pair(x), u, g),
            ),
            Activation::Gelu => map::map3_to_2(
                &x,
                &u,
                &g,
                #[inline(always)]
                |x, u, g| chain(gelu_pair(x), u, g),
            ),
            Activation::GeluTanh => map::map3_to_2(
                &x,
                &u,
                &g,
                #[inline(always)]
                |x, u, g| chain(gelu_tanh_pair(x), u, g),
            ),
        };
        let dx = gate.track_op().then(|| tensor(dx, gate.dims())).transpose()?;
        let du = up.track_op().then(|| tensor(du, up.dims())).transpose()?;
        Ok((dx, du))
    }
}

/// Gradients of `f(x)·u` for (value, derivative) of f at x.
#[inline(always)]
fn chain((value, derivative): (f32, f32), u: f32, g: f32) -> (f32, f32) {
    (g * u * derivative, g * value)
}
