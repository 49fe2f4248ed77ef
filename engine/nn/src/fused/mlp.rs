//! The second half of a block: norm, gate and up, their product, down projection, residual sum.

use super::{FusedLinear, FusedNorm};
use crate::ops::{Gate, gate_backward, gate_forward};
use crate::{Grads, Result};

/// `y = x + down(act(gate(norm(x))) ∘ up(norm(x)))`.
pub struct MlpHalf {
    /// At the entry.
    pub norm: FusedNorm,
    /// Gate.
    pub gate: FusedLinear,
    /// What is gated.
    pub up: FusedLinear,
    /// Output projection.
    pub down: FusedLinear,
    /// The gate's function.
    pub activation: Gate,
}

/// What the backward pass needs beside the input.
pub struct MlpKept {
    gates: Gates,
    inner_down: Vec<f32>,
}

/// Both sides of the gate and the insides of their changes.
pub(crate) struct Gates {
    gate: Vec<f32>,
    up: Vec<f32>,
    inner_gate: Vec<f32>,
    inner_up: Vec<f32>,
}

impl MlpHalf {
    fn positions(&self, x: &[f32]) -> usize {
        x.len() / self.norm.weight.elem_count().max(1)
    }

    /// Gate and up of `x`, and their product.
    pub(crate) fn gates(&self, x: &[f32]) -> Result<(Gates, Vec<f32>)> {
        let n = self.positions(x);
        let normed = self.norm.forward(x)?;
        let (gate, inner_gate) = self.gate.forward_new(&normed, n)?;
        let (up, inner_up) = self.up.forward_new(&normed, n)?;
        let gated = gate_forward(self.activation, &gate, &up);
        Ok((Gates { gate, up, inner_gate, inner_up }, gated))
    }

    /// Adds the down projection of the product to `y`.
    pub(crate) fn finish(&self, gates: Gates, gated: &mut [f32], y: &mut [f32]) -> Result<MlpKept> {
        let n = self.positions(y);
        let inner_down = self.down.forward(gated, n, y, true)?;
        Ok(MlpKept { gates, inner_down })
    }

    /// What backward needs when the output is not wanted.
    pub(crate) fn keep(&self, gates: Gates, gated: &mut [f32]) -> Result<MlpKept> {
        let n = gated.len() / self.gate.out_features()?.max(1);
        let inner_down = self.down.inner_only(gated, n)?;
        Ok(MlpKept { gates, inner_down })
    }

    /// `gradient` of the output becomes that of the input `x`.
    pub(crate) fn backward(&self, x: &[f32], kept: MlpKept, gradient: &mut [f32], grads: &mut Grads) -> Result<()> {
        let n = self.positions(x);
        let MlpKept { gates: Gates { mut gate, mut up, inner_gate, inner_up }, inner_down } = kept;
        let gated = gate_forward(self.activation, &gate, &up);
        let mut d_gated = vec![0f32; gated.len()];
        self.down.backward(&gated, &inner_down, gradient, n, Some(&mut d_gated), false, grads)?;
        drop(gated);
        gate_backward(self.activation, &mut gate, &mut up, &d_gated);
        drop(d_gated);
        let (d_gate, d_up) = (gate, up);
        let normed = self.norm.forward(x)?;
        let mut d_normed = vec![0f32; x.len()];
        self.gate.backward(&normed, &inner_gate, &d_gate, n, Some(&mut d_normed), false, grads)?;
        self.up.backward(&normed, &inner_up, &d_up, n, Some(&mut d_normed), true, grads)?;
        self.norm.backward(x, &d_normed, gradient, true, grads)
    }
}
