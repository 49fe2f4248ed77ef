//! What an adapter adds to the loss for itself.
//!
//! Place in the data flow: the driver asks for it once a micro-step and adds its gradient to those of the batch. It depends on
//! parameters alone, so that fused halves leave it out; the one that does not, a router's balance, is part of the graph of
//! the pass before.

use super::chain::sigmoid;
use super::held::Held;
use super::mix::HeldMix;
use super::transform::HeldTransform;
use super::{Change, SlotAdapter};
use crate::Result;
use crate::ops::{linear_trained, scale_features};
use crate::rng::Stream;
use crate::slots::{ExtraLoss, Part};
use candle_core::Tensor;

/// What makes the root of a norm differentiable where it is 0.
const SMALLEST_SQUARE: f64 = 1e-12;

impl SlotAdapter {
    pub(super) fn own_loss(&self) -> Result<Option<Tensor>> {
        match self.slots.loss {
            ExtraLoss::None => Ok(None),
            ExtraLoss::Nuclear { weight, of, index } => match &self.change {
                Change::Scatter(scatter) if self.drawn(of) == index => scatter.nuclear(weight),
                _ => Ok(None),
            },
            ExtraLoss::Identity { weight } => match &self.transform {
                HeldTransform::Ring(ring) => match ring.off_identity()? {
                    Some(off) => Ok(Some(off.affine(weight, 0.0)?)),
                    None => Ok(None),
                },
                HeldTransform::None | HeldTransform::Left(_) | HeldTransform::RowGroups { .. } => Ok(None),
            },
            ExtraLoss::Balance { .. } => Ok(self.mix.as_ref().and_then(HeldMix::take_owed)),
            ExtraLoss::Open { weight } => {
                match (self.trained(Part::Core), self.part(Part::Core).and_then(Held::mask)) {
                    (Some((_, gate)), None) => Ok(Some(sigmoid(gate)?.sum_all()?.affine(weight, 0.0)?)),
                    _ => Ok(None),
                }
            }
            ExtraLoss::L1 { part, weight } => {
                let Some((_, tensor)) = self.trained(part) else { return Ok(None) };
                let flat = tensor.flatten_all()?;
                // The sign is a constant, 0 at 0.
                let sign = flat.detach().sign()?;
                // Entries that are not picked are where they began.
                let count = match &self.change {
                    Change::Scatter(scatter) => scatter.entries(),
                    Change::None | Change::LowRank(_) | Change::Kron(_) | Change::LookUp(_) => flat.elem_count(),
                };
                let count = count.max(1) as f64;
                Ok(Some(scale_features(&flat, &sign)?.sum_all()?.affine(weight / count, 0.0)?))
            }
            ExtraLoss::Orthogonal { weight } => {
                let (Some((_, a)), Some((_, b))) = (self.trained(Part::A), self.trained(Part::B)) else {
                    return Ok(None);
                };
                let sum = (off_identity(a)? + off_identity(&b.t()?.contiguous()?)?)?;
                Ok(Some(sum.affine(weight, 0.0)?))
            }
        }
    }

    /// Which of `of` sites the step at hand is about: the same on all of them.
    fn drawn(&self, of: usize) -> usize {
        Stream::new(self.seed, &format!("drawn/{}", self.memory.step)).below(of.max(1) as u64) as usize
    }

    /// Remembers how many steps were taken, where a loss is drawn by them.
    pub(super) fn count_step(&mut self, step: u64) {
        if matches!(self.slots.loss, ExtraLoss::Nuclear { .. }) {
            self.memory.step = step;
        }
    }
}

/// `‖M Mᵀ − I‖` of a matrix with as many rows as there are directions.
fn off_identity(rows: &Tensor) -> Result<Tensor> {
    let gram = linear_trained(rows, rows, None)?;
    let off = (gram - Tensor::eye(rows.dim(0)?, rows.dtype(), rows.device())?)?;
    Ok(off.sqr()?.sum_all()?.affine(1.0, SMALLEST_SQUARE)?.sqrt()?)
}
