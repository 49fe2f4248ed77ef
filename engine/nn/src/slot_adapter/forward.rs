//! What a layer with an adapter answers, as a graph: base and change, a change that stands alone, rows brought to a
//! magnitude.
//!
//! Place in the data flow: [`super::SlotAdapter`]'s forward pass comes here between the scales of its normaliser and its bias.

use super::chain::{HeldChain, Term};
use super::normalise::Magnitude;
use super::{Change, SlotAdapter};
use crate::context::ForwardContext;
use crate::ops::{self, Dropout, FrozenLinear, linear_low_rank, scale_features};
use crate::rng::Stream;
use crate::site::Layer;
use crate::slots::{Base, ExtraLoss};
use crate::{NnError, Result};
use candle_core::Tensor;
use std::sync::Arc;

impl SlotAdapter {
    /// The mask of this step, or none outside training.
    pub(super) fn dropout(&self, ctx: &ForwardContext) -> Option<Dropout> {
        if !ctx.training || self.slots.dropout == 0.0 {
            return None;
        }
        let key = Stream::new(ctx.seed, &format!("dropout/{}/{}", self.name, ctx.step)).next_u64();
        Some(Dropout { p: self.slots.dropout as f32, key, rows: ctx.rows_in_step.clone(), width: ctx.width })
    }

    /// What stands in the place of the weight, with the layer's bias.
    fn alone(&self, x: &Tensor, below: Layer<'_>, ctx: &ForwardContext) -> Result<Tensor> {
        let refuse = |what: &str| Err(NnError::Adapter { site: self.name.clone(), what: what.to_owned() });
        let Some(layer) = below.frozen() else {
            return refuse("stands for the weight and lies no longer on a frozen one");
        };
        let y = match &self.change {
            Change::None | Change::Kron(_) | Change::Scatter(_) => {
                return refuse("stands for the weight and is nothing that could");
            }
            Change::LookUp(table) => table.forward(&self.dropped(x, ctx)?)?,
            Change::LowRank(chain) => {
                let (terms, dropout) = (chain.terms()?, self.dropout(ctx));
                let Some((first, others)) = terms.split_first() else {
                    return refuse("stands for the weight and has no term");
                };
                let y = ops::low_rank(x, &first.a, &first.b, first.scale as f32, dropout.clone())?;
                HeldChain::add_terms(others, y, x, dropout.as_ref())?
            }
        };
        match &layer.bias {
            None => Ok(y),
            Some(bias) => ops::add_bias(&y, bias),
        }
    }

    /// Whether its change depends on the input.
    pub(super) fn is_routed(&self) -> bool {
        self.mix.as_ref().is_some_and(|mix| !mix.is_fixed())
    }

    /// The layer with its base transformed and the change added.
    pub(super) fn changed(&self, x: &Tensor, below: Layer<'_>, ctx: &ForwardContext) -> Result<Tensor> {
        if self.slots.base == Base::Dropped {
            return self.alone(x, below, ctx);
        }
        let base = self.transform.forward(x, below.frozen(), |x| below.forward(x, ctx), &self.name)?;
        let chain = match &self.change {
            Change::None | Change::LookUp(_) => return base.map_or_else(|| below.forward(x, ctx), Ok),
            Change::Kron(kron) => {
                let base = base.map_or_else(|| below.forward(x, ctx), Ok)?;
                let x = self.dropped(x, ctx)?;
                return match kron.forward(&x)? {
                    Some(change) => Ok((base + change)?),
                    None => Ok(base),
                };
            }
            Change::Scatter(scatter) => {
                let base = base.map_or_else(|| below.forward(x, ctx), Ok)?;
                return Ok((base + scatter.forward(&self.dropped(x, ctx)?)?)?);
            }
            Change::LowRank(chain) => chain,
        };
        if let Some(mix) = &self.mix {
            let balance = match self.slots.loss {
                ExtraLoss::Balance { weight } => Some(weight),
                _ => None,
            };
            let change = mix.forward(chain, (x, &self.dropped(x, ctx)?), balance, ctx)?;
            return Ok((base.map_or_else(|| below.forward(x, ctx), Ok)? + change)?);
        }
        let (terms, dropout) = (chain.terms()?, self.dropout(ctx));
        match (base, below.frozen(), terms.split_first()) {
            (Some(base), ..) => HeldChain::add_terms(&terms, base, x, dropout.as_ref()),
            (None, Some(layer), Some((first, others))) => {
                let y = with_first(x, layer, first, dropout.clone())?;
                HeldChain::add_terms(others, y, x, dropout.as_ref())
            }
            _ => HeldChain::add_terms(&terms, below.forward(x, ctx)?, x, dropout.as_ref()),
        }
    }

    /// The input with this step's mask on it.
    fn dropped(&self, x: &Tensor, ctx: &ForwardContext) -> Result<Tensor> {
        match self.dropout(ctx) {
            Some(dropout) => ops::dropout(x, &dropout),
            None => Ok(x.clone()),
        }
    }

    /// `y = d ∘ (W + Δ) x + b` with the row factors d = m / ‖W + Δ‖. While features are dropped, only what differs from
    /// the layer as it was sees them: `y = W x + b + (d ∘ (W + Δ) − W) drop(x)`, as PEFT has it.
    pub(super) fn magnified(
        &self,
        magnitude: &Magnitude,
        x: &Tensor,
        below: Layer<'_>,
        ctx: &ForwardContext,
    ) -> Result<Tensor> {
        let Some(layer) = below.frozen() else {
            let what = "brings rows to a magnitude and lies no longer on a frozen weight".to_owned();
            return Err(NnError::Adapter { site: self.name.clone(), what });
        };
        let terms = match &self.change {
            Change::None => Vec::new(),
            Change::LowRank(chain) => chain.terms()?,
            Change::Kron(_) | Change::Scatter(_) | Change::LookUp(_) => {
                let what = "brings rows to a magnitude, which is there for thin products alone".to_owned();
                return Err(NnError::Adapter { site: self.name.clone(), what });
            }
        };
        let ratio = magnitude.ratio(layer, &terms)?;
        let bare = FrozenLinear { weight: Arc::clone(&layer.weight), bias: None };
        let changed = |x: &Tensor| -> Result<Tensor> {
            match terms.split_first() {
                None => ops::linear(x, &bare),
                Some((first, others)) => {
                    let y = with_first(x, &bare, first, None)?;
                    HeldChain::add_terms(others, y, x, None)
                }
            }
        };
        match self.dropout(ctx) {
            None => {
                let y = scale_features(&changed(x)?, &ratio)?;
                match &layer.bias {
                    None => Ok(y),
                    Some(bias) => ops::add_bias(&y, bias),
                }
            }
            Some(dropout) => {
                let dropped = ops::dropout(x, &dropout)?;
                let difference = (scale_features(&changed(&dropped)?, &ratio)? - ops::linear(&dropped, &bare)?)?;
                Ok((ops::linear(x, layer)? + difference)?)
            }
        }
    }
}

/// The layer with the first term of a change, in one operation.
fn with_first(x: &Tensor, layer: &FrozenLinear, term: &Term, dropout: Option<Dropout>) -> Result<Tensor> {
    linear_low_rank(x, layer, &term.a, &term.b, term.scale as f32, dropout.filter(|_| term.dropped))
}
