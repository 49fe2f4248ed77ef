//! Whole halves of a block as one piece of arithmetic, forward and backward, without a graph.
//!
//! Place in the data flow: a stage whose layers are weights with changes that a [`FusedLinear`] carries hands out a
//! [`FusedBlock`]; the trainer runs that instead of the graph of single operations. The arithmetic is that of
//! [`crate::ops`], from the same kernels; what is saved is the graph's copies: residual sums are added in place, inputs
//! shared by several layers collect their gradient in one buffer, no gradient starts as zeros, and cheap values
//! (norms, gates) are computed again instead of being kept. A stage with anything else on it is run as a graph.

mod attention;
mod entries;
mod factor;
mod graph;
mod inputs;
mod insert;
mod kron;
mod linear;
mod mlp;
mod scale;

pub use attention::{AttentionHalf, AttentionKept};
pub use entries::FusedEntries;
pub use factor::FusedFactor;
pub use graph::FusedGraph;
pub use inputs::FusedInputs;
pub use insert::{FusedInsert, FusedPrefix};
pub use kron::FusedKron;
#[cfg(test)]
pub(crate) use linear::Need;
pub use linear::{FusedLinear, FusedLowRank, FusedWeight};
pub use mlp::{MlpHalf, MlpKept};

use crate::kernels::norm;
use crate::ops::Values;
use crate::{Grads, Result};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

/// A block: `h = x + attention(norm(x))`, `y = h + mlp(norm(h))`, with further norms where a family has them.
pub struct FusedBlock {
    /// First half.
    pub attention: AttentionHalf,
    /// Second half.
    pub mlp: MlpHalf,
}

/// What the backward pass of a block needs beside its input.
pub struct BlockKept {
    attention: AttentionKept,
    /// Hidden states between the halves.
    middle: Vec<f32>,
    mlp: MlpKept,
}

impl FusedBlock {
    /// Output (positions, hidden) for `x` (positions, hidden); what backward needs with `keep`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &[f32], positions: &[u32], keep: bool) -> Result<(Vec<f32>, Option<BlockKept>)> {
        let (middle, attention) = self.attention.forward(x, positions)?;
        if !keep {
            drop(attention);
            let mut y = middle;
            self.mlp.forward_in_place(&mut y)?;
            return Ok((y, None));
        }
        let mut y = middle.clone();
        let mlp = self.mlp.forward(&middle, &mut y)?;
        Ok((y, Some(BlockKept { attention, middle, mlp })))
    }

    /// What backward needs, without the output: the second half is left to the backward pass, which computes it again
    /// chunk by chunk.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn recompute(&self, x: &[f32], positions: &[u32]) -> Result<BlockKept> {
        let (middle, attention) = self.attention.forward(x, positions)?;
        Ok(BlockKept { attention, middle, mlp: MlpKept::default() })
    }

    /// Turns `gradient` (positions, hidden) of the output into that of the input, and adds those of all trained
    /// parameters to `grads`. Without `input` the gradient of the input is not computed and `gradient` left undefined.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn backward(
        &self,
        x: &[f32],
        positions: &[u32],
        kept: BlockKept,
        gradient: &mut [f32],
        input: bool,
        grads: &mut Grads,
    ) -> Result<()> {
        let BlockKept { attention, middle, mlp } = kept;
        let first = input || self.attention.is_trained();
        self.mlp.backward(&middle, mlp, gradient, first, grads)?;
        drop(middle);
        if !first {
            return Ok(());
        }
        self.attention.backward(x, positions, attention, gradient, input, grads)
    }
}

/// An RMS norm of a half: over the hidden states, or over the features of each head.
pub struct FusedNorm {
    /// Name of the weight when it is trained.
    pub name: Option<String>,
    /// (features).
    pub weight: Tensor,
    /// Added to the mean square.
    pub eps: f64,
}

impl FusedNorm {
    fn features(&self) -> usize {
        self.weight.elem_count()
    }

    pub(crate) fn forward(&self, x: &[f32]) -> Result<Vec<f32>> {
        Ok(norm::rms_norm(x, &Values::of(&self.weight)?, self.eps))
    }

    /// Adds the gradient of the input to `gradient` for the output gradient `g`; not at all without `input`.
    pub(crate) fn backward(
        &self,
        x: &[f32],
        g: &[f32],
        gradient: &mut [f32],
        input: bool,
        grads: &mut Grads,
    ) -> Result<()> {
        let values = Values::of(&self.weight)?;
        let dx = input.then_some(gradient);
        let weight = norm::rms_norm_backward_add(x, &values, g, self.eps, dx, self.name.is_some());
        add_gradient(grads, self.name.as_deref(), weight, self.weight.dims())
    }

    /// The gradient of the input for the output gradient `g`, in a buffer of its own.
    pub(crate) fn backward_new(&self, x: &[f32], g: &[f32], grads: &mut Grads) -> Result<Vec<f32>> {
        let mut gradient = vec![0f32; x.len()];
        self.backward(x, g, &mut gradient, true, grads)?;
        Ok(gradient)
    }
}

/// `y += x`.
pub(crate) fn add(y: &mut [f32], x: &[f32]) {
    /// Values per piece of work: 64 KiB per operand.
    const PIECE: usize = 1 << 14;
    y.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).for_each(|(y, x)| {
        for (y, x) in y.iter_mut().zip(x) {
            *y += x;
        }
    });
}

/// Adds a parameter's gradient; nothing for what is not trained.
pub(crate) fn add_gradient(
    grads: &mut Grads,
    name: Option<&str>,
    values: Option<Vec<f32>>,
    dims: &[usize],
) -> Result<()> {
    match (name, values) {
        (Some(name), Some(values)) => grads.add(name, &Tensor::from_vec(values, dims, &Device::Cpu)?),
        _ => Ok(()),
    }
}
