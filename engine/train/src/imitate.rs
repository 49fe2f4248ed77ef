//! The model as its file has it, for the one in training to imitate: adapters off, weights as they were before they were
//! rounded.
//!
//! Place in the data flow: the driver asks for it in each micro-step of a run's imitating part ([`Imitation`]). Nothing of
//! it is kept between steps: it costs a forward pass without gradients, and reads the mapped file instead of holding logits.

use crate::driver::{Tokens, plain_forward};
use crate::error::Result;
use candle_core::{Device, Tensor};
use temper_methods::Imitation;
use temper_models::Model;
use temper_nn::ops::{IGNORE, Parent, add_constant, with_slice};

/// Makes a model answer as its file has it for as long as it lives.
pub struct AsOriginal<'a>(&'a Model);

impl<'a> AsOriginal<'a> {
    /// Switches adapters off and rounding back.
    #[must_use]
    pub fn of(model: &'a Model) -> Self {
        model.set_enabled(false);
        model.sites().into_iter().for_each(|site| site.set_original(true));
        Self(model)
    }
}

impl Drop for AsOriginal<'_> {
    fn drop(&mut self) {
        for site in self.0.sites() {
            site.set_original(false);
            // Its pages need not stay in memory until the next step.
            if let Some(source) = site.source() {
                source.bytes().let_go();
            }
        }
        self.0.set_enabled(true);
    }
}

/// What the original makes of a batch.
pub(crate) struct ParentStates {
    imitation: Imitation,
    predictions: Parent,
    /// Hidden states behind each block, where features are imitated.
    features: Vec<Tensor>,
    /// 1 at trained positions, 0 elsewhere, (batch, width, 1).
    counts: Tensor,
}

/// How far hidden states are from the parent's.
pub(crate) struct Away {
    /// Σ over trained positions of the mean square over features, over the number of blocks.
    pub(crate) sum: f64,
    /// Its gradient times the factor of the imitation.
    pub(crate) gradient: Tensor,
}

impl ParentStates {
    /// Runs the original on `tokens`.
    pub(crate) fn of(model: &Model, tokens: &Tokens, imitation: Imitation) -> Result<Self> {
        let _original = AsOriginal::of(model);
        let mut flow = model.embed.forward(&tokens.ids, &tokens.ctx)?.detach();
        let mut features = Vec::new();
        for block in &model.blocks {
            flow = plain_forward(block.as_ref(), flow, &tokens.ctx, true)?;
            if imitation.features > 0.0 {
                features.push(flow.hidden.clone());
            }
        }
        let predictions = model.head.parent(&flow.hidden, &tokens.targets)?;
        let counts: Vec<f32> = tokens.targets.iter().map(|target| f32::from(u8::from(*target != IGNORE))).collect();
        let counts = Tensor::from_vec(counts, (tokens.ctx.batch, tokens.ctx.width, 1), &Device::Cpu)?;
        Ok(Self { imitation, predictions, features, counts: counts.to_device(flow.hidden.device())? })
    }

    /// The loss of hidden states before the head as a graph, and the sums of cross-entropy and divergence in it.
    pub(crate) fn loss(&self, model: &Model, hidden: &Tensor, tokens: &Tokens) -> Result<(Tensor, f64, f64)> {
        let (divergence, loss) = model.head.divergence(hidden, &tokens.targets, &self.predictions)?;
        let sums = (f64::from(loss.to_scalar::<f32>()?), f64::from(divergence.to_scalar::<f32>()?));
        let divergence = divergence.affine(self.imitation.divergence, 0.0)?;
        Ok(((divergence + loss.affine(self.imitation.cross_entropy, 0.0)?)?, sums.0, sums.1))
    }

    /// How far the output of block `stage` is from the parent's; none where features are not imitated.
    pub(crate) fn away(&self, stage: usize, hidden: &Tensor) -> Result<Option<Away>> {
        let Some(parent) = self.features.get(stage) else { return Ok(None) };
        let off = add_constant(&hidden.detach(), parent, -1.0)?.broadcast_mul(&self.counts)?;
        let width = hidden.dims().last().copied().unwrap_or(1);
        let share = 1.0 / (self.features.len() * width).max(1) as f64;
        let squares = with_slice(&off, |off| off.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>())?;
        let gradient = off.affine(2.0 * share * self.imitation.features, 0.0)?;
        Ok(Some(Away { sum: squares * share, gradient }))
    }
}
