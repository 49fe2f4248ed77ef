//! The second half of a block: norm, gate and up, their product, down projection, residual sum. Some families norm what
//! the projection gives before it is added.

use super::attention::behind;
use super::inputs::FusedInputs;
use super::insert::FusedInsert;
use super::linear::{Inner, Need};
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
    /// What a method adds to what the half adds.
    pub insert: Option<FusedInsert>,
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
    inner_gate: Inner,
    inner_up: Inner,
    /// Of the down projection, once it is known.
    inner_down: Inner,
    /// What the down projection gave, when a norm or an insertion stands behind it; else empty.
    projected: Vec<f32>,
    /// The inside of the insertion, once it is known.
    inserted: Vec<f32>,
}

impl MlpHalf {
    fn width(&self) -> usize {
        self.norm.weight.elem_count().max(1)
    }

    /// Values of a chunk of `x`: equal parts of at most [`CHUNK_POSITIONS`] positions, the same in both passes. A mask of
    /// dropout is laid out over all positions, so there it is one chunk.
    fn chunk(&self, x: &[f32]) -> usize {
        let n = x.len() / self.width();
        let drops = [&self.gate, &self.up, &self.down].into_iter().any(FusedLinear::drops);
        let parts = if drops { 1 } else { n.div_ceil(CHUNK_POSITIONS) };
        (n.div_ceil(parts.max(1)) * self.width()).max(1)
    }

    fn gates(&self, normed: &[f32]) -> Result<Gates> {
        let n = normed.len() / self.width();
        let (gate, inner_gate) = self.gate.forward_lent(normed, n)?;
        let (up, inner_up) = self.up.forward_lent(normed, n)?;
        let inner_down = Inner::default();
        Ok(Gates { gate, up, inner_gate, inner_up, inner_down, projected: Vec::new(), inserted: Vec::new() })
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
        let sequential = FusedInsert::sequential(self.insert.as_ref());
        if self.post_norm.is_none() && sequential.is_none() {
            gates.inner_down = self.down.forward(&gated, n, y, true)?;
        } else {
            (gates.projected, gates.inner_down) = self.down.forward_new(&gated, n)?;
            let value = self.post_norm.as_ref().map(|norm| norm.forward(&gates.projected)).transpose()?;
            let value = value.as_deref().unwrap_or(&gates.projected);
            add(y, value);
            if let Some(insert) = sequential {
                gates.inserted = insert.add(value, y)?;
            }
        }
        if let Some(insert) = FusedInsert::parallel(self.insert.as_ref()) {
            gates.inserted = insert.add(normed, y)?;
        }
        if let Some(kept) = keep {
            kept.push(gates);
        }
        Ok(())
    }

    /// `gradient` of the output becomes that of the input `x`; without `input` it is not computed, and `gradient` left
    /// undefined.
    pub(crate) fn backward(
        &self,
        x: &[f32],
        kept: MlpKept,
        gradient: &mut [f32],
        input: bool,
        grads: &mut Grads,
    ) -> Result<()> {
        let chunk = self.chunk(x);
        let mut kept = kept.0.into_iter();
        for (x, gradient) in x.chunks(chunk).zip(gradient.chunks_mut(chunk)) {
            self.backward_chunk(x, kept.next(), gradient, input, grads)?;
        }
        Ok(())
    }

    fn backward_chunk(
        &self,
        x: &[f32],
        kept: Option<Gates>,
        gradient: &mut [f32],
        input: bool,
        grads: &mut Grads,
    ) -> Result<()> {
        let n = x.len() / self.width();
        let again = kept.is_none();
        let parallel = FusedInsert::parallel(self.insert.as_ref());
        let read = parallel.is_some()
            || [&self.gate, &self.up].into_iter().any(|layer| !matches!(layer.need(n), Need::Nothing));
        let normed = if read || again { self.norm.forward(x)? } else { Vec::new() };
        let gates = match kept {
            Some(gates) => gates,
            None => self.gates(&normed)?,
        };
        let Gates { mut gate, mut up, mut inner_gate, mut inner_up, mut inner_down, mut projected, inserted } = gates;
        let sequential = FusedInsert::sequential(self.insert.as_ref());
        let whole = again && (self.post_norm.is_some() || sequential.is_some() || self.down.keeps_output());
        let need = match (whole, again) {
            (true, _) => Need::Whole,
            (false, true) => self.down.need_again(n),
            (false, false) => self.down.need(n),
        };
        let gated = self.gated(&gate, &up, n, need);
        if whole {
            (projected, inner_down) = self.down.forward_new(&gated, n)?;
        } else if again {
            inner_down = self.down.inner_only(&gated, n)?;
        }
        let behind = behind(self.post_norm.as_ref(), sequential, projected, &inserted, gradient, grads)?;
        // The norm's own gradient needs that of its output as well.
        let wanted = input || self.norm.name.is_some();
        let inside = wanted || self.gate.is_trained() || self.up.is_trained();
        let mut d_gated = if inside { vec![0f32; gate.len()] } else { Vec::new() };
        let g = behind.as_deref().unwrap_or(gradient);
        self.down.backward(&gated, &inner_down, g, n, inside.then_some(d_gated.as_mut_slice()), false, grads)?;
        drop((gated, behind));
        if !inside {
            return match parallel {
                Some(insert) => insert.backward(&normed, &inserted, gradient, None, grads),
                None => Ok(()),
            };
        }
        self.gate.restore(&mut inner_gate, &gate, n)?;
        self.up.restore(&mut inner_up, &up, n)?;
        gate_backward(self.activation, &mut gate, &mut up, &d_gated);
        drop(d_gated);
        let (d_gate, d_up) = (gate, up);
        let mut d_normed = vec![0f32; x.len()];
        self.gate.backward(&normed, &inner_gate, &d_gate, n, Some(&mut d_normed), false, grads)?;
        self.up.backward(&normed, &inner_up, &d_up, n, Some(&mut d_normed), true, grads)?;
        if let Some(insert) = parallel {
            insert.backward(&normed, &inserted, gradient, Some(&mut d_normed), grads)?;
        }
        self.norm.backward(x, &d_normed, gradient, input, grads)
    }

    /// What is asked for of `act(gate) ∘ up`.
    fn gated(&self, gate: &[f32], up: &[f32], n: usize, need: Need) -> Vec<f32> {
        match need {
            Need::Nothing => Vec::new(),
            Need::Whole => gate_forward(self.activation, gate, up),
            Need::Columns(columns) => {
                let (inputs, features) = (FusedInputs::Picked(columns), gate.len() / n.max(1));
                gate_forward(self.activation, &inputs.of(gate, features), &inputs.of(up, features))
            }
        }
    }
}
