//! A tensor of a fused half with its place in the training.

use crate::ops::seed_gradient;
use crate::param::Param;
use crate::{Grads, Result};
use candle_core::{Device, Tensor};

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
    pub(crate) fn is_trained(&self) -> bool {
        !matches!(self.gradient, Target::Nothing)
    }

    /// Hands on a gradient of the shape of the values.
    pub(crate) fn add(&self, grads: &mut Grads, gradient: Option<Vec<f32>>) -> Result<()> {
        let Some(gradient) = gradient else { return Ok(()) };
        let gradient = Tensor::from_vec(gradient, self.value.dims(), &Device::Cpu)?;
        match &self.gradient {
            Target::Nothing => Ok(()),
            Target::Param(name) => grads.add(name, &gradient),
            Target::Graph(made, params) => grads.collect(params, &mut seed_gradient(made, &gradient)?.backward()?),
        }
    }
}
