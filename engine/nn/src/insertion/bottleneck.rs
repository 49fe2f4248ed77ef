//! A bottleneck with its values.

use super::inserts::{At, Place};
use super::{Activation, Bottleneck};
use crate::Result;
use crate::fused::{FusedFactor, FusedInsert};
use crate::ops::{self, Gate, linear_trained};
use crate::param::{Param, Role};
use crate::slots::Init;
use candle_core::Tensor;

/// Two layers with a function between them.
#[derive(Clone)]
pub(super) struct Net {
    down: Layer,
    activation: Activation,
    up: Layer,
}

/// `x Wᵀ + b`.
#[derive(Clone)]
struct Layer {
    weight: Param,
    bias: Option<Param>,
}

/// A layer to be built: its place without the ending, (out, in), first values, whether it has a bias.
struct Wanted {
    place: Place,
    shape: (usize, usize),
    init: Init,
    bias: bool,
}

impl Layer {
    fn build(at: &mut At<'_>, wanted: &Wanted, role: Role) -> Result<Self> {
        let Wanted { place, shape: (rows, cols), init, bias } = wanted;
        let weight = at.param(place, &[*rows, *cols], *init, role)?;
        let bias = bias.then(|| at.param(&place.with("_bias"), &[*rows], Init::Zeros, Role::Bias)).transpose()?;
        Ok(Self { weight, bias })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        linear_trained(x, self.weight.var.as_tensor(), self.bias.as_ref().map(|bias| bias.var.as_tensor()))
    }

    fn params(&self) -> impl Iterator<Item = &Param> {
        std::iter::once(&self.weight).chain(&self.bias)
    }
}

impl Net {
    /// From `sizes.0` over `sizes.1` to `sizes.2` features; `places` and `inits` are those of the first and the second
    /// layer.
    pub(super) fn build(
        at: &mut At<'_>,
        sizes: (usize, usize, usize),
        activation: Activation,
        [down, up]: [Place; 2],
        inits: (Init, Init),
        bias: bool,
    ) -> Result<Self> {
        let down = Wanted { place: down, shape: (sizes.1, sizes.0), init: inits.0, bias };
        let up = Wanted { place: up, shape: (sizes.2, sizes.1), init: inits.1, bias };
        Ok(Self {
            down: Layer::build(at, &down, Role::FactorA)?,
            activation,
            up: Layer::build(at, &up, Role::FactorB)?,
        })
    }

    /// (.., out) for `x` (.., in).
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.up.forward(&act(self.activation, &self.down.forward(x)?)?)
    }

    pub(super) fn params(&self) -> impl Iterator<Item = &Param> {
        self.down.params().chain(self.up.params())
    }

    /// All its numbers one behind the other, differentiable: W_d, b_d, W_u, b_u.
    pub(super) fn flat(&self) -> Result<Tensor> {
        let parts: Vec<Tensor> = self.params().map(|param| param.var.flatten_all()).collect::<Result<_, _>>()?;
        Ok(Tensor::cat(&parts, 0)?)
    }

    /// Features between the layers, and the function there.
    pub(super) fn inside(&self) -> Result<(usize, Gate)> {
        Ok((self.down.weight.var.dim(0)?, self.activation.gate()))
    }
}

impl Activation {
    const fn gate(self) -> Gate {
        match self {
            Self::Relu => Gate::Relu,
            Self::Gelu => Gate::Gelu,
            Self::Silu => Gate::Silu,
        }
    }
}

/// The function between two layers.
pub(super) fn act(activation: Activation, x: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Relu => ops::relu(x),
        Activation::Gelu => ops::gelu(x),
        Activation::Silu => ops::silu(x),
    }
}

/// A bottleneck in a stage.
pub(super) struct HeldBottleneck {
    pub(super) what: Bottleneck,
    pub(super) net: Net,
}

impl HeldBottleneck {
    pub(super) fn build(what: &Bottleneck, at: &mut At<'_>) -> Result<Self> {
        let sizes = (at.dims.hidden, what.width, at.dims.hidden);
        let places = [at.place(what.adds, "down", what.share.down()), at.place(what.adds, "up", what.share.up())];
        let net = Net::build(at, sizes, what.activation, places, what.start.layers(), what.bias)?;
        Ok(Self { what: what.clone(), net })
    }

    /// `value + Δ(x)`.
    pub(super) fn add(&self, value: &Tensor, x: &Tensor) -> Result<Tensor> {
        plus(value, &scaled(&self.net, self.what.scale, x)?)
    }

    /// As a fused half carries it.
    pub(super) fn fused(&self) -> FusedInsert {
        let factor = |param: &Param| FusedFactor::trained(param.name.clone(), param.var.as_tensor().clone());
        let Net { down, activation, up } = &self.net;
        FusedInsert {
            down: factor(&down.weight),
            down_bias: down.bias.as_ref().map(factor),
            up: factor(&up.weight),
            up_bias: up.bias.as_ref().map(factor),
            activation: activation.gate(),
            scale: self.what.scale as f32,
            sequential: self.what.reads == self.what.adds,
        }
    }
}

/// Δ(x).
fn scaled(net: &Net, scale: f64, x: &Tensor) -> Result<Tensor> {
    let change = net.forward(x)?;
    if scale == 1.0 { Ok(change) } else { Ok(change.affine(scale, 0.0)?) }
}

/// `value + change`, without a gradient for a value that nothing below trains: candle's own sum would keep one.
pub(super) fn plus(value: &Tensor, change: &Tensor) -> Result<Tensor> {
    if value.track_op() { Ok((value + change)?) } else { ops::add_constant(change, value, 1.0) }
}
