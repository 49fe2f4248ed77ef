//! The output head and its cross-entropy.
//!
//! Place in the data flow: the last stage of every language model. Positions without a target cost nothing; the
//! logits exist chunk by chunk only (see [`crate::kernels`]).

use super::{
    IntoCandle as _, Values, beside, expect_shape, has_kernel, linear_trained, output, reference, slice, tensor,
};
use crate::error::shape_error;
use crate::frozen::FrozenWeight;
pub use crate::kernels::head::SKIP_POSITIONS;
use crate::kernels::head::{Head, Problem};
use crate::{NnError, Result};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Shape, Tensor};
use parking_lot::Mutex;
use std::borrow::Cow;
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
    head_cross_entropy_with(hidden, head, targets, &HeadOptions { bias: bias.cloned(), negligible: 0.0 })
}

/// What [`head_cross_entropy_with`] may be told.
#[derive(Clone, Debug, Default)]
pub struct HeadOptions {
    /// Added to the logits (V), a constant.
    pub bias: Option<Tensor>,
    /// Leaves a token out of the products of the gradient for every block of [`SKIP_POSITIONS`] positions in which its
    /// part of each position's gradient, its probability (less 1 where it is the target), is at most this. 0 leaves
    /// nothing out. The loss stays as it is. What a position's gradient for its hidden state loses is at most
    /// Σ p·|w| over the tokens w of probability p ≤ `negligible`, so at most the probability mass of those times the
    /// longest row of the head. That is not little: over 2,048 tokens of chat, SmolLM2-135M has 7.6 % of its vocabulary
    /// left in an average block with 2⁻¹², which leaves out 2.0 % of the probability and changes the gradient of a
    /// position by a tenth of its length in the mean (2⁻¹⁴: 17 %, 0.8 %, a twentieth). Hence off by default.
    ///
    /// With a frozen head the gradient is summed while the probabilities are not yet known: there a token is left out
    /// only if its share of what was summed so far is that small, which its final probability cannot exceed.
    ///
    /// Wijmans, Huval, Hertzberg, Koltun, Krähenbühl, "Cut Your Losses in Large-Vocabulary Language Models" (2024).
    pub negligible: f32,
}

/// As [`head_cross_entropy`], with options.
///
/// # Errors
/// As [`head_cross_entropy`]; a limit that is no number from 0 to 1.
pub fn head_cross_entropy_with(
    hidden: &Tensor,
    head: &HeadTable,
    targets: &Arc<[u32]>,
    options: &HeadOptions,
) -> Result<Tensor> {
    let (bias, negligible) = (options.bias.as_ref(), options.negligible);
    if !(0.0..1.0).contains(&negligible) {
        return Err(NnError::Value(format!("a negligible probability of {negligible} is not in [0, 1)")));
    }
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
    let kernel = match head {
        HeadTable::Frozen(_) => has_kernel(&[hidden]),
        HeadTable::Trained(weight) => has_kernel(&[hidden, weight]),
    };
    if !kernel {
        let weight = match head {
            HeadTable::Frozen(weight) => weight.on(hidden.device())?.to_dtype(hidden.dtype())?,
            HeadTable::Trained(weight) => beside(hidden, weight)?,
        };
        let bias = bias.map(|bias| beside(hidden, bias)).transpose()?;
        return reference::head_cross_entropy(hidden, &weight, targets, bias.as_ref());
    }
    let trained = Trained::new(targets);
    let bias = bias.map(Tensor::contiguous).transpose()?;
    let hidden = hidden.contiguous()?;
    Ok(match head {
        HeadTable::Frozen(weight) => {
            let want_gradient = hidden.track_op();
            let weight = Arc::clone(weight);
            let kept = Mutex::default();
            hidden.apply_op1(FrozenHead { weight, trained, bias, negligible, want_gradient, kept })?
        }
        HeadTable::Trained(weight) => {
            let log_sums = Mutex::default();
            hidden.apply_op2(&weight.contiguous()?, TrainedHead { trained, bias, negligible, log_sums })?
        }
    })
}

/// The trained positions and their targets.
struct Trained {
    positions: Vec<usize>,
    targets: Vec<u32>,
}

impl Trained {
    fn new(targets: &[u32]) -> Self {
        let trained = targets.iter().enumerate().filter(|(_, target)| **target != IGNORE);
        let (positions, targets) = trained.map(|(position, &target)| (position, target)).unzip();
        Self { positions, targets }
    }

    /// The hidden states of the trained positions; all of them are handed on as they are.
    fn gather<'a>(&self, hidden: &'a [f32], features: usize) -> Cow<'a, [f32]> {
        if self.positions.len() * features == hidden.len() {
            return Cow::Borrowed(hidden);
        }
        let mut gathered = Vec::with_capacity(self.positions.len() * features);
        for &position in &self.positions {
            gathered.extend_from_slice(&hidden[position * features..(position + 1) * features]);
        }
        Cow::Owned(gathered)
    }

    /// Gradients of the trained positions, times `factor`, put in their places among zeros.
    fn scatter(&self, gradients: &[f32], factor: f32, dims: &[usize]) -> candle_core::Result<Tensor> {
        let features = dims.last().copied().unwrap_or(0).max(1);
        let mut all = vec![0f32; dims.iter().product()];
        for (&position, gradient) in self.positions.iter().zip(gradients.chunks_exact(features)) {
            let place = &mut all[position * features..(position + 1) * features];
            for (place, value) in place.iter_mut().zip(gradient) {
                *place = value * factor;
            }
        }
        tensor(all, dims)
    }
}

/// Calls `work` with the values of a bias that may not be there.
fn with_bias<R>(
    bias: Option<&Tensor>,
    work: impl FnOnce(Option<&[f32]>) -> candle_core::Result<R>,
) -> candle_core::Result<R> {
    match bias {
        None => work(None),
        Some(bias) => work(Some(&Values::of(bias)?)),
    }
}

struct FrozenHead {
    weight: Arc<FrozenWeight>,
    trained: Trained,
    bias: Option<Tensor>,
    negligible: f32,
    want_gradient: bool,
    /// Gradient of the loss for the hidden states of the trained positions, from the forward pass.
    kept: Mutex<Vec<f32>>,
}

impl CustomOp1 for FrozenHead {
    fn name(&self) -> &'static str {
        "head-cross-entropy"
    }

    fn cpu_fwd(&self, hidden: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let hidden = self.trained.gather(slice(hidden, layout)?, self.weight.cols);
        let forward = with_bias(self.bias.as_ref(), |bias| {
            let problem = Problem {
                hidden: &hidden,
                targets: &self.trained.targets,
                head: Head::Frozen(&self.weight),
                bias,
                vocabulary: self.weight.rows,
                features: self.weight.cols,
                negligible: self.negligible,
            };
            problem.forward(self.want_gradient).candle()
        })?;
        *self.kept.lock() = forward.gradient.unwrap_or_default();
        output(vec![forward.loss as f32], ())
    }

    fn bwd(&self, hidden: &Tensor, _loss: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let factor = gradient.to_scalar::<f32>()?;
        Ok(Some(self.trained.scatter(&self.kept.lock(), factor, hidden.dims())?))
    }
}

struct TrainedHead {
    trained: Trained,
    bias: Option<Tensor>,
    negligible: f32,
    /// From the forward pass, per trained position.
    log_sums: Mutex<Vec<f32>>,
}

impl TrainedHead {
    fn with_problem<R>(
        &self,
        hidden: &[f32],
        weight: &[f32],
        dims: (usize, usize),
        work: impl FnOnce(&Problem<'_>) -> Result<R>,
    ) -> candle_core::Result<R> {
        let (vocabulary, features) = dims;
        let hidden = self.trained.gather(hidden, features);
        with_bias(self.bias.as_ref(), |bias| {
            let (targets, head) = (self.trained.targets.as_slice(), Head::Dense(weight));
            let negligible = self.negligible;
            work(&Problem { hidden: &hidden, targets, head, bias, vocabulary, features, negligible }).candle()
        })
    }
}

impl CustomOp2 for TrainedHead {
    fn name(&self) -> &'static str {
        "trained-head-cross-entropy"
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        hidden_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (hidden, weight) = (slice(hidden, hidden_layout)?, slice(weight, weight_layout)?);
        let dims = weight_layout.shape().dims2()?;
        let forward = self.with_problem(hidden, weight, dims, |problem| problem.forward(false))?;
        *self.log_sums.lock() = forward.log_sums;
        output(vec![forward.loss as f32], ())
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        _loss: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let factor = gradient.to_scalar::<f32>()?;
        let wants = (hidden.track_op(), weight.track_op());
        let log_sums = self.log_sums.lock();
        let gradients = self.with_problem(&Values::of(hidden)?, &Values::of(weight)?, weight.dims2()?, |problem| {
            problem.backward(&log_sums, factor, wants)
        })?;
        let d_hidden = gradients.hidden.map(|values| self.trained.scatter(&values, 1.0, hidden.dims())).transpose()?;
        let d_weight = gradients.head.map(|values| tensor(values, weight.dims())).transpose()?;
        Ok((d_hidden, d_weight))
    }
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
