//! Gates, alone and as gates.
//!
//! Place in the data flow: the middle of each block's feed-forward half.
//!
//! Gated forms: Shazeer, "GLU Variants Improve Transformer" (2020); GELU: Hendrycks, Gimpel (2016).

use super::{Values, expect_shape, has_kernel, output, reference, slice, tensor};
use crate::Result;
use crate::kernels::map;
use crate::kernels::math::{normal, sigmoid, tanh};
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
    unary(x, Gate::Silu)
}

/// GELU in its exact form, `x/2 · (1 + erf(x/√2))`.
///
/// # Errors
/// Only what candle reports.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    unary(x, Gate::Gelu)
}

/// GELU in its tanh form, `x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
///
/// # Errors
/// Only what candle reports.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    unary(x, Gate::GeluTanh)
}

/// `max(0, x)`; its derivative at 0 is 0.
///
/// # Errors
/// Only what candle reports.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    unary(x, Gate::Relu)
}

/// `silu(gate) · up`.
///
/// # Errors
/// Shapes that differ.
pub fn gated_silu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gated(gate, up, Gate::Silu)
}

/// `gelu_tanh(gate) · up`.
///
/// # Errors
/// Shapes that differ.
pub fn gated_gelu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gated(gate, up, Gate::GeluTanh)
}

/// The function of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// `x · sigmoid(x)`.
    Silu,
    /// GELU in its exact form.
    Gelu,
    /// GELU in its tanh form.
    GeluTanh,
    /// `max(0, x)`.
    Relu,
}

impl Gate {
    /// `f(gate) · up`.
    ///
    /// # Errors
    /// Shapes that differ.
    pub fn gated(self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        gated(gate, up, self)
    }

    fn reference(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Silu => reference::silu(x),
            Self::Gelu => reference::gelu(x),
            Self::GeluTanh => reference::gelu_tanh(x),
            Self::Relu => Ok(x.relu()?),
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
    let (share, bell) = normal(x);
    (x * share, share + x * INV_SQRT_2_PI * bell)
}

/// Value and derivative.
#[inline(always)]
fn gelu_tanh_pair(x: f32) -> (f32, f32) {
    let square = x * x;
    let t = tanh(SQRT_2_OVER_PI * x * (1.0 + CUBIC * square));
    let half = 0.5 * (1.0 + t);
    (x * half, half + 0.5 * x * (1.0 - t * t) * SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * square))
}

/// Value and derivative. What is not a number stays so.
#[inline(always)]
fn relu_pair(x: f32) -> (f32, f32) {
    if x <= 0.0 { (0.0, 0.0) } else { (x, 1.0) }
}

fn unary(x: &Tensor, activation: Gate) -> Result<Tensor> {
    if !has_kernel(&[x]) {
        return activation.reference(x);
    }
    Ok(x.contiguous()?.apply_op1(Unary(activation))?)
}

struct Unary(Gate);

impl CustomOp1 for Unary {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        output(activate(self.0, slice(x, layout)?), layout.shape().clone())
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let dx = activate_backward(self.0, &Values::of(x)?, &Values::of(&gradient)?);
        Ok(Some(tensor(dx, x.dims())?))
    }
}

/// `f(x)`.
pub(crate) fn activate(activation: Gate, x: &[f32]) -> Vec<f32> {
    match activation {
        Gate::Silu => map::map(x, silu_of),
        Gate::Gelu => map::map(
            x,
            #[inline(always)]
            |x| gelu_pair(x).0,
        ),
        Gate::GeluTanh => map::map(
            x,
            #[inline(always)]
            |x| gelu_tanh_pair(x).0,
        ),
        Gate::Relu => map::map(
            x,
            #[inline(always)]
            |x| relu_pair(x).0,
        ),
    }
}

/// `g ∘ f'(x)`.
pub(crate) fn activate_backward(activation: Gate, x: &[f32], g: &[f32]) -> Vec<f32> {
    match activation {
        Gate::Silu => map::map2(
            x,
            g,
            #[inline(always)]
            |x, g| g * silu_pair(x).1,
        ),
        Gate::Gelu => map::map2(
            x,
            g,
            #[inline(always)]
            |x, g| g * gelu_pair(x).1,
        ),
        Gate::GeluTanh => map::map2(
            x,
            g,
            #[inline(always)]
            |x, g| g * gelu_tanh_pair(x).1,
        ),
        Gate::Relu => map::map2(
            x,
            g,
            #[inline(always)]
            |x, g| g * relu_pair(x).1,
        ),
    }
}

fn gated(gate: &Tensor, up: &Tensor, activation: Gate) -> Result<Tensor> {
    expect_shape("the second operand of the gate", up, gate.dims())?;
    if !has_kernel(&[gate, up]) {
        return Ok((activation.reference(gate)? * up)?);
    }
    Ok(gate.contiguous()?.apply_op2(&up.contiguous()?, Gated(activation))?)
}

struct Gated(Gate);

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
        let y = gate_forward(self.0, slice(gate, gate_layout)?, slice(up, up_layout)?);
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
        let (mut dx, mut du) = (x.to_vec(), u.to_vec());
        gate_backward(self.0, &mut dx, &mut du, &g);
        let dx = gate.track_op().then(|| tensor(dx, gate.dims())).transpose()?;
        let du = up.track_op().then(|| tensor(du, up.dims())).transpose()?;
        Ok((dx, du))
    }
}

/// `f(gate) ∘ up`.
pub(crate) fn gate_forward(activation: Gate, gate: &[f32], up: &[f32]) -> Vec<f32> {
    match activation {
        Gate::Silu => map::map2(
            gate,
            up,
            #[inline(always)]
            |x, u| silu_of(x) * u,
        ),
        Gate::Gelu => map::map2(
            gate,
            up,
            #[inline(always)]
            |x, u| gelu_pair(x).0 * u,
        ),
        Gate::GeluTanh => map::map2(
            gate,
            up,
            #[inline(always)]
            |x, u| gelu_tanh_pair(x).0 * u,
        ),
        Gate::Relu => map::map2(
            gate,
            up,
            #[inline(always)]
            |x, u| relu_pair(x).0 * u,
        ),
    }
}

/// Turns both sides of a gate into their gradients for the output gradient `g`, in one pass over memory.
pub(crate) fn gate_backward(activation: Gate, gate: &mut [f32], up: &mut [f32], g: &[f32]) {
    match activation {
        Gate::Silu => map::replace_2(
            gate,
            up,
            g,
            #[inline(always)]
            |x, u, g| chain(silu_pair(x), u, g),
        ),
        Gate::Gelu => map::replace_2(
            gate,
            up,
            g,
            #[inline(always)]
            |x, u, g| chain(gelu_pair(x), u, g),
        ),
        Gate::GeluTanh => map::replace_2(
            gate,
            up,
            g,
            #[inline(always)]
            |x, u, g| chain(gelu_tanh_pair(x), u, g),
        ),
        Gate::Relu => map::replace_2(
            gate,
            up,
            g,
            #[inline(always)]
            |x, u, g| chain(relu_pair(x), u, g),
        ),
    }
}

/// Gradients of `f(x)·u` for (value, derivative) of f at x.
#[inline(always)]
fn chain((value, derivative): (f32, f32), u: f32, g: f32) -> (f32, f32) {
    (g * u * derivative, g * value)
}
