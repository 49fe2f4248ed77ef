//! A linear layer of a fused half: a frozen or trained weight, with or without a low-rank change. The factors of a change
//! may be parameters themselves or made of parameters by a small graph; then only that graph is walked backward.

use crate::frozen::{FrozenWeight, backend};
use crate::kernels::low_rank::{self, Sizes};
use crate::kernels::reduce;
use crate::ops::{Dropout, Seen, Values, seed_gradient};
use crate::param::Param;
use crate::{Grads, Result, gemm};
use candle_core::{Device, Tensor};
use std::sync::Arc;

/// `y = x Wᵀ + bias + scale · (drop(x) Aᵀ) Bᵀ`, less a residual of the same form.
pub struct FusedLinear {
    /// (out, in).
    pub weight: FusedWeight,
    /// (out).
    pub bias: Option<FusedFactor>,
    /// The change.
    pub low_rank: Option<FusedLowRank>,
    /// A second change of which nothing is trained: what a residual base takes off the weight.
    pub residual: Option<FusedLowRank>,
    /// Who wants to see the gradient of the whole weight.
    pub seen: Option<Arc<Seen>>,
}

/// The weight of a layer.
pub enum FusedWeight {
    /// As the file has it.
    Frozen(Arc<FrozenWeight>),
    /// In f32, trained.
    Trained(FusedFactor),
}

/// A tensor with its place in the training.
pub struct FusedFactor {
    /// Contiguous f32 values.
    pub value: Tensor,
    gradient: Target,
}

/// Where the gradient of a tensor goes.
enum Target {
    /// Nowhere: it is not trained.
    Nothing,
    /// To the parameter of this name, whose values these are.
    Param(String),
    /// Through the graph that made the values, to the parameters at its leaves.
    Graph(Tensor, Vec<Param>),
}

impl FusedFactor {
    /// Values that are not trained.
    #[must_use]
    pub fn fixed(value: Tensor) -> Self {
        Self { value, gradient: Target::Nothing }
    }

    /// The values of the parameter `name`, or what has the same gradient as it.
    #[must_use]
    pub fn trained(name: String, value: Tensor) -> Self {
        Self { value, gradient: Target::Param(name) }
    }

    /// Values that a small graph over `params` made, such as a factor with its core folded in.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn folded(made: Tensor, params: Vec<Param>) -> Result<Self> {
        let value = made.detach().contiguous()?;
        Ok(if params.is_empty() { Self::fixed(value) } else { Self { value, gradient: Target::Graph(made, params) } })
    }

    /// The same with a constant added: the gradient stays what it was.
    ///
    /// # Errors
    /// Shapes that differ.
    pub fn plus(self, constant: &Tensor) -> Result<Self> {
        Ok(Self { value: (self.value.detach() + constant.detach())?.contiguous()?, gradient: self.gradient })
    }

    /// The values within the graph that leads to what is trained, for operations of a graph.
    pub(crate) fn tracked(&self) -> &Tensor {
        match &self.gradient {
            Target::Graph(made, _) => made,
            Target::Nothing | Target::Param(_) => &self.value,
        }
    }

    /// Whether anything behind it is trained.
    fn is_trained(&self) -> bool {
        !matches!(self.gradient, Target::Nothing)
    }

    /// Hands on a gradient of the shape of the values.
    fn add(&self, grads: &mut Grads, gradient: Option<Vec<f32>>) -> Result<()> {
        let Some(gradient) = gradient else { return Ok(()) };
        let gradient = Tensor::from_vec(gradient, self.value.dims(), &Device::Cpu)?;
        match &self.gradient {
            Target::Nothing => Ok(()),
            Target::Param(name) => grads.add(name, &gradient),
            Target::Graph(made, params) => grads.collect(params, &mut seed_gradient(made, &gradient)?.backward()?),
        }
    }
}

/// A plain chain of two factors.
pub struct FusedLowRank {
    /// (rank, in).
    pub a: FusedFactor,
    /// (out, rank).
    pub b: FusedFactor,
    /// Factor in front.
    pub scale: f32,
    /// On the input of the change.
    pub dropout: Option<Dropout>,
}

impl FusedWeight {
    fn dims(&self) -> Result<(usize, usize)> {
        Ok(match self {
            Self::Frozen(weight) => (weight.rows, weight.cols),
            Self::Trained(factor) => factor.value.dims2()?,
        })
    }
}

impl FusedLowRank {
    fn sizes(&self, n: usize) -> Result<Sizes> {
        let ((rank, cols), (rows, _)) = (self.a.value.dims2()?, self.b.value.dims2()?);
        Ok(Sizes { n, cols, rows, rank })
    }
}

impl FusedLinear {
    /// Output features.
    ///
    /// # Errors
    /// A trained weight that is no matrix.
    pub fn out_features(&self) -> Result<usize> {
        Ok(self.weight.dims()?.0)
    }

    /// The output (n, out) for `x` (n, in) in a buffer of its own, and `drop(x) Aᵀ` (n, rank) of the change, empty
    /// without one.
    pub(crate) fn forward_new(&self, x: &[f32], n: usize) -> Result<(Vec<f32>, Vec<f32>)> {
        let mut out = vec![0f32; n * self.out_features()?];
        let inner = self.forward(x, n, &mut out, false)?;
        Ok((out, inner))
    }

    /// Writes the output to `out` (n, out), or adds it with `accumulate`.
    pub(crate) fn forward(&self, x: &[f32], n: usize, out: &mut [f32], accumulate: bool) -> Result<Vec<f32>> {
        let (rows, cols) = self.weight.dims()?;
        if let Some(bias) = &self.bias {
            let bias = Values::of(&bias.value)?;
            for row in out.chunks_exact_mut(rows.max(1)) {
                for (out, bias) in row.iter_mut().zip(bias.iter()) {
                    *out = if accumulate { *out + bias } else { *bias };
                }
            }
        }
        let started = accumulate || self.bias.is_some();
        match &self.weight {
            FusedWeight::Frozen(weight) => backend().matmul_nt(weight, x, n, out, started)?,
            FusedWeight::Trained(factor) => {
                gemm::gemm_nt(x, &Values::of(&factor.value)?, out, n, rows, cols, 1.0, started);
            }
        }
        if let Some(taken) = &self.residual {
            let (sizes, a, b) = (taken.sizes(n)?, Values::of(&taken.a.value)?, Values::of(&taken.b.value)?);
            low_rank::forward(x, &a, &b, taken.scale, None, out, sizes, true);
        }
        self.inner(x, n, Some(out))
    }

    /// `drop(x) Aᵀ`; with `out` the change is added to it.
    fn inner(&self, x: &[f32], n: usize, out: Option<&mut [f32]>) -> Result<Vec<f32>> {
        let Some(change) = &self.low_rank else { return Ok(Vec::new()) };
        let sizes = change.sizes(n)?;
        if let Some(dropout) = &change.dropout {
            dropout.check(n)?;
        }
        let (a, b) = (Values::of(&change.a.value)?, Values::of(&change.b.value)?);
        Ok(Dropout::with_mask(change.dropout.as_ref(), |mask| match out {
            Some(out) => low_rank::forward(x, &a, &b, change.scale, mask, out, sizes, true),
            None => low_rank::inner(x, &a, mask, sizes),
        }))
    }

    /// `drop(x) Aᵀ` alone, for a layer whose output is not needed again.
    pub(crate) fn inner_only(&self, x: &[f32], n: usize) -> Result<Vec<f32>> {
        self.inner(x, n, None)
    }

    /// For the output gradient `g` (n, out): the gradient of the input into `dx` (n, in), added with `accumulate`, none
    /// without `dx`; those of everything trained into `grads`. `inner` is what forward returned.
    #[expect(clippy::too_many_arguments, reason = "operands of one product")]
    pub(crate) fn backward(
        &self,
        x: &[f32],
        inner: &[f32],
        g: &[f32],
        n: usize,
        mut dx: Option<&mut [f32]>,
        accumulate: bool,
        grads: &mut Grads,
    ) -> Result<()> {
        let (rows, cols) = self.weight.dims()?;
        if let Some(seen) = &self.seen {
            seen.add(x, g, n, rows, cols);
        }
        if let Some(bias) = self.bias.as_ref().filter(|bias| bias.is_trained()) {
            bias.add(grads, Some(reduce::sum_of_rows(g, rows)))?;
        }
        match &self.weight {
            FusedWeight::Frozen(weight) => {
                if let Some(dx) = dx.as_deref_mut() {
                    backend().matmul_nn(weight, g, n, dx, accumulate)?;
                }
            }
            FusedWeight::Trained(factor) => {
                if let Some(dx) = dx.as_deref_mut() {
                    gemm::gemm_nn(g, &Values::of(&factor.value)?, dx, n, cols, rows, 1.0, accumulate);
                }
                if factor.is_trained() {
                    let mut dw = vec![0f32; rows * cols];
                    gemm::gemm_tn(g, x, &mut dw, rows, cols, n, 1.0, false);
                    factor.add(grads, Some(dw))?;
                }
            }
        }
        if let (Some(taken), Some(dx)) = (&self.residual, dx.as_deref_mut()) {
            let (sizes, a, b) = (taken.sizes(n)?, Values::of(&taken.a.value)?, Values::of(&taken.b.value)?);
            low_rank::backward(x, &a, &b, &[], g, taken.scale, None, Some(dx), (false, false), sizes);
        }
        let Some(change) = &self.low_rank else { return Ok(()) };
        let (sizes, wants) = (change.sizes(n)?, (change.a.is_trained(), change.b.is_trained()));
        let (a, b) = (Values::of(&change.a.value)?, Values::of(&change.b.value)?);
        let gradients = Dropout::with_mask(change.dropout.as_ref(), |mask| {
            low_rank::backward(x, &a, &b, inner, g, change.scale, mask, dx, wants, sizes)
        });
        drop((a, b));
        change.a.add(grads, gradients.a)?;
        change.b.add(grads, gradients.b)
    }
}
