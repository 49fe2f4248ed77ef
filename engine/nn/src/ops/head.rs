//! The output head and its cross-entropy.
//!
//! Place in the data flow: the last stage of every language model.

use super::{expect_shape, linear_trained, reference};
use crate::error::shape_error;
use crate::frozen::FrozenWeight;
use crate::{NnError, Result};
use candle_core::Tensor;
use std::sync::Arc;

/// A target that is not trained on.
pub const IGNORE: u32 = u32::MAX;

/// The output head (V, D).
#[derive(Clone, Debug)]
pub enum HeadTable {
    /// Not trained, as the file has it.
    Frozen(Arc<FrozenWeight>),
    /// Trained, in f32.
    Trained(Tensor),
}

impl HeadTable {
    /// (V, D).
    ///
    /// # Errors
    /// A tensor that is no matrix.
    pub fn dims(&self) -> Result<(usize, usize)> {
        Ok(match self {
            Self::Frozen(weight) => (weight.rows, weight.cols),
            Self::Trained(tensor) => tensor.dims2()?,
        })
    }
}

fn check(hidden: &Tensor, head: &HeadTable, bias: Option<&Tensor>) -> Result<(usize, usize)> {
    let ((_, features), (vocabulary, head_features)) = (hidden.dims2()?, head.dims()?);
    if features != head_features {
        return shape_error(format!("the head takes {head_features} features, the hidden state has {features}"));
    }
    if let Some(bias) = bias {
        expect_shape("the bias of the head", bias, &[vocabulary])?;
    }
    Ok((vocabulary, features))
}

/// Sum over trained positions of the cross-entropy in nats, a scalar. `hidden` (N, D), `targets` (N) with
/// [`IGNORE`] where nothing is trained, `bias` (V) a constant. Gradients for `hidden` and a trained head.
///
/// # Errors
/// Shapes that do not fit, a target outside the vocabulary, or a bias that is trained.
pub fn head_cross_entropy(
    hidden: &Tensor,
    head: &HeadTable,
    targets: &Arc<[u32]>,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let (vocabulary, _) = check(hidden, head, bias)?;
    if targets.len() != hidden.dim(0)? {
        return shape_error(format!("{} targets for {} positions", targets.len(), hidden.dim(0)?));
    }
    if let Some(target) = targets.iter().find(|&&target| target != IGNORE && target as usize >= vocabulary) {
        return Err(NnError::Value(format!("target {target} is not in a vocabulary of {vocabulary}")));
    }
    if bias.is_some_and(Tensor::track_op) {
        return Err(NnError::Value("the bias of the head cannot be trained".to_owned()));
    }
    let weight = match head {
        HeadTable::Frozen(weight) => weight.to_tensor()?,
        HeadTable::Trained(tensor) => tensor.clone(),
    };
    reference::head_cross_entropy(hidden, &weight, targets, bias)
}

/// All logits (N, V) of `hidden` (N, D), without gradient: for evaluation and generation.
///
/// # Errors
/// Shapes that do not fit.
pub fn head_logits(hidden: &Tensor, head: &HeadTable) -> Result<Tensor> {
    check(hidden, head, None)?;
    let hidden = hidden.detach();
    match head {
        HeadTable::Frozen(weight) => {
            super::linear(&hidden, &super::FrozenLinear { weight: Arc::clone(weight), bias: None })
        }
        HeadTable::Trained(tensor) => linear_trained(&hidden, &tensor.detach(), None),
    }
}
