//! How far a model's predictions are from those of another one with the same output head.
//!
//! Place in the data flow: a head that is to imitate the model it came from, as repairs of rounded bases and compressed
//! layers ask for it.
//!
//! With hidden states h of a trained position, the head's rows w and `Λ(h) = log Σ exp(w·h)`, the probabilities are the
//! gradient of Λ, so that the Kullback-Leibler divergence of another model's p(h₀) from p(h) is the Bregman divergence of Λ:
//!
//! ```text
//! KL(p(h₀) ‖ p(h)) = Λ(h) − Λ(h₀) − (h − h₀)·∇Λ(h₀) = CE(h) − CE(h₀) − (h − h₀)·∇CE(h₀)
//! ```
//!
//! The target of the cross-entropy CE cancels. So the other model costs one cross-entropy with its gradient, no logits are
//! kept, and the divergence from oneself is 0 to the bit.

use super::{HeadTable, add_constant, expect_shape, head_cross_entropy, seed_gradient};
use crate::{NnError, Result};
use candle_core::{Tensor, Var};
use std::sync::Arc;

/// What the other model predicts at the trained positions.
#[derive(Debug, Clone)]
pub struct Parent {
    /// (N, D), constant.
    hidden: Tensor,
    /// ∇CE there, (N, D).
    slope: Tensor,
    /// Σ CE, nats.
    loss: f64,
}

impl Parent {
    /// From its hidden states (N, D) before the head, and targets (N) as for [`head_cross_entropy`].
    ///
    /// # Errors
    /// As [`head_cross_entropy`]; a head that is trained, whose changes no hidden state can tell.
    pub fn of(hidden: &Tensor, head: &HeadTable, targets: &Arc<[u32]>) -> Result<Self> {
        if matches!(head, HeadTable::Trained(_)) {
            return Err(NnError::Value("a model with a trained head cannot imitate another one".to_owned()));
        }
        let hidden = Var::from_tensor(&hidden.detach())?;
        let loss = head_cross_entropy(hidden.as_tensor(), head, targets, None)?;
        let mut store = loss.backward()?;
        let slope = match store.remove(hidden.as_tensor()) {
            Some(slope) => slope.detach(),
            None => hidden.as_tensor().zeros_like()?,
        };
        let loss = f64::from(loss.to_dtype(candle_core::DType::F32)?.to_scalar::<f32>()?);
        Ok(Self { hidden: hidden.as_detached_tensor(), slope, loss })
    }
}

/// Σ over trained positions of the divergence of the parent's probabilities from those of `hidden` (N, D), and of the
/// cross-entropy, both scalars in nats with gradients for `hidden`.
///
/// # Errors
/// As [`Parent::of`]; another number of positions than the parent has.
pub fn head_divergence(
    hidden: &Tensor,
    head: &HeadTable,
    targets: &Arc<[u32]>,
    parent: &Parent,
) -> Result<(Tensor, Tensor)> {
    expect_shape("the hidden states", hidden, parent.hidden.dims())?;
    let loss = head_cross_entropy(hidden, head, targets, None)?;
    let away = seed_gradient(&add_constant(hidden, &parent.hidden, -1.0)?, &parent.slope)?;
    let divergence = (&loss - away)?.affine(1.0, -parent.loss)?;
    Ok((divergence, loss))
}
