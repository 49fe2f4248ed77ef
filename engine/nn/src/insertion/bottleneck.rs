//! A bottleneck with its values.

use super::inserts::{At, Place};
use super::{Activation, Bottleneck};
use crate::Result;
use crate::ops::{self, linear_trained};
use crate::param::{Param, Role};
use crate::slots::Init;
use candle_core::Tensor;

/// Two layers with a function between them.
pub(super) struct Net {
    down: Layer,
    activation: Activation,
    up: Layer,
}

/// `x Wᵀ + b`.
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
}

/// The function between two layers.
pub(super) fn act(activation: Activation, x: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Relu => Ok(x.relu()?),
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
        let change = self.net.forward(x)?;
        let change = if self.what.scale == 1.0 { change } else { change.affine(self.what.scale, 0.0)? };
        plus(value, &change)
    }
}

/// `value + change`, without a gradient for a value that nothing below trains: candle's own sum would keep one.
pub(super) fn plus(value: &Tensor, change: &Tensor) -> Result<Tensor> {
    if value.track_op() { Ok((value + change)?) } else { ops::add_constant(change, value, 1.0) }
}
