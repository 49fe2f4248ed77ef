//! The second half of a block: norm, gate and up, their product, down projection, residual sum. Some families norm what
//! the projection gives before it is added.

use super::{FusedLinear, FusedNorm, add};
use crate::ops::{Gate, gate_backward, gate_forward};
use crate::{Grads, Result};

/// `y = x + post(down(act(gate(norm(x))) ∘ up(norm(x))))`, where the norm `post` may be absent.
pub struct MlpHalf {
    /// At the entry.
    pub norm: FusedNorm,
    /// Gate.
    pub gate: FusedLinear,
    /// What is gated.
    pub up: FusedLinear,
    /// Output projection.
    pub down: FusedLinear,
    /// Over what the projection gives.
    pub post_norm: Option<FusedNorm>,
    /// The gate's function.
    pub activation: Gate,
}

/// Positions that go through the half at once: what is wide of them is held for these alone.
const CHUNK_POSITIONS: usize = 1024;

/// What the backward pass needs beside the input, chunk by chunk; nothing when it is to be computed again.
#[derive(Default)]
pub struct MlpKept(Vec<Gates>);

/// Both sides of the gate and the insides of the changes.
struct Gates {
    gate: Vec<f32>,
    up: Vec<f32>,
    inner_gate: Vec<f32>,
    inner_up: Vec<f32>,
    /// Of the down projection, once it is known.
    inner_down: Vec<f32>,
    /// What the down projection gave, when a norm stands behind it; else empty.
    projected: Vec<f32>,
}

impl MlpHalf {
    fn width(&self) -> usize {
        self.norm.weight.elem_count().max(1)
    }

    /// Values of a chunk of `x`: equal parts of at most [`CHUNK_POSITIONS`] positions, the same in both passes. A mask of
    /// dropout is laid out over all positions, so there it is one chunk.
    fn chunk(&self, x: &[f32]) -> usize {
        let n = x.len() / self.width();
        let drops = |layer: &FusedLinear| layer.low_rank.as_ref().is_some_and(|change| change.dropout.is_some());
        let parts =
            if [&self.gate, &self.up, &self.down].into_iter().any(drops) { 1 } else { n.div_ceil(CHUNK_POSITIONS) };
        (n.div_ceil(parts.max(1)) * self.width()).max(1)
    }

    fn gates(&self, normed: &[f32]) -> Result<Gates> {
        let n = normed.len() / self.width();
        let (gate, inner_gate) = self.gate.forward_new(normed, n)?;
        let (up, inner_up) = self.up.forward_new(normed, n)?;
        Ok(Gates { gate, up, inner_gate, inner_up, inner_down: Vec::new(), projected: Vec::new() })
    }

    /// Adds the half's output for `x` to `y`, which begins as `x`, and keeps what the backward pass needs.
    pub(crate) fn forward(&self, x: &[f32], y: &mut [f32]) -> Result<MlpKept> {
        let chunk = self.chunk(x);
        let mut kept = Vec::new();
        for (x, y) in x.chunks(chunk).zip(y.chunks_mut(chunk)) {
            self.forward_chunk(&self.norm.forward(x)?, y, Some(&mut kept))?;
        }
        Ok(MlpKept(kept))
    }

    /// As [`Self::forward`] with `y` for both, when nothing is to be kept.
    pub(crate) fn forward_in_place(&self, y: &mut [f32]) -> Result<()> {
        let chunk = self.chunk(y);
        for y in y.chunks_mut(chunk) {
            let normed = self.norm.forward(y)?;
            self.forward_chunk(&normed, y, None)?;
        }
        Ok(())
    }

    fn forward_chunk(&self, normed: &[f32], y: &mut [f32], keep: Option<&mut Vec<Gates>>) -> Result<()> {
        let mut gates = self.gates(normed)?;
        let gated = gate_forward(self.activation, &gates.gate, &gates.up);
        let n = normed.len() / self.width();
        match &self.post_norm {
            None => gates.inner_down = self.down.forward(&gated, n, y, true)?,
            Some(norm) => {
                (gates.projected, gates.inner_down) = self.down.forward_new(&gated, n)?;
                add(y, &norm.forward(&gates.projected)?);
            }
        }
        if let Some(kept) = keep {
            kept.push(gates);
        }
        Ok(())
    }

    /// `gradient` of the output becomes that of the input `x`.
    pub(crate) fn backward(&self, x: &[f32], kept: MlpKept, gradient: &mut [f32], grads: &mut Grads) -> Result<()> {
        let chunk = self.chunk(x);
        let mut kept = kept.0.into_iter();
        for (x, gradient) in x.chunks(chunk).zip(gradient.chunks_mut(chunk)) {
            self.backward_chunk(x, kept.next(), gradient, grads)?;
        }
        Ok(())
    }

    fn backward_chunk(&self, x: &[f32], kept: Option<Gates>, gradient: &mut [f32], grads: &mut Grads) -> Result<()> {
        let n = x.len() / self.width();
        let normed = self.norm.forward(x)?;
        let again = kept.is_none();
        let gates = match kept {
            Some(gates) => gates,
            None => self.gates(&normed)?,
        };
        let Gates { mut gate, mut up, inner_gate, inner_up, mut inner_down, mut projected } = gates;
        let gated = gate_forward(self.activation, &gate, &up);
        match (again, &self.post_norm) {
            (false, _) => {}
            (true, None) => inner_down = self.down.inner_only(&gated, n)?,
            (true, Some(_)) => (projected, inner_down) = self.down.forward_new(&gated, n)?,
        }
        let d_projected = match &self.post_norm {
            None => None,
            Some(norm) => Some(norm.backward_new(&projected, gradient, grads)?),
        };
        drop(projected);
        let mut d_gated = vec![0f32; gated.len()];
        let behind = d_projected.as_deref().unwrap_or(gradient);
        self.down.backward(&gated, &inner_down, behind, n, Some(&mut d_gated), false, grads)?;
        drop((gated, d_projected));
        gate_backward(self.activation, &mut gate, &mut up, &d_gated);
        drop(d_gated);
        let (d_gate, d_up) = (gate, up);
        let mut d_normed = vec![0f32; x.len()];
        self.gate.backward(&normed, &inner_gate, &d_gate, n, Some(&mut d_normed), false, grads)?;
        self.up.backward(&normed, &inner_up, &d_up, n, Some(&mut d_normed), true, grads)?;
        self.norm.backward(x, &d_normed, gradient, true, grads)
    }
}
