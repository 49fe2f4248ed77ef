//! An invertible map of the embeddings, and its inverse before the head.

use super::bottleneck::{Net, plus};
use super::inserts::At;
use super::{Coupling, Point};
use crate::Result;
use crate::param::Param;
use crate::slots::Init;
use candle_core::{D, Tensor};

/// F and G, which both directions share.
pub(super) struct HeldCoupling {
    pub(super) what: Coupling,
    /// Features of the first half.
    half: usize,
    f: Net,
    g: Net,
}

impl HeldCoupling {
    pub(super) fn build(what: &Coupling, at: &mut At<'_>) -> Result<Self> {
        let half = at.dims.hidden / 2;
        let other = at.dims.hidden - half;
        let inits = (Init::KaimingUniform, Init::Zeros);
        // One set of numbers for both directions, named after the first.
        let mut net = |name: &str, input: usize, output: usize| {
            let place = |layer: &str| at.place(Point::EmbedOut, &format!("{name}_{layer}"), true);
            let places = [place("down"), place("up")];
            Net::build(at, (input, what.width, output), what.activation, places, inits, true)
        };
        let (f, g) = (net("f", other, half)?, net("g", half, other)?);
        Ok(Self { what: what.clone(), half, f, g })
    }

    /// The map or its inverse, of `x` (.., hidden).
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let other = x.dim(D::Minus1)? - self.half;
        let first = x.narrow(D::Minus1, 0, self.half)?.contiguous()?;
        let second = x.narrow(D::Minus1, self.half, other)?.contiguous()?;
        let (first, second) = if self.what.inverse {
            let second = plus(&second, &self.g.forward(&first)?.neg()?)?;
            (plus(&first, &self.f.forward(&second)?.neg()?)?, second)
        } else {
            let first = plus(&first, &self.f.forward(&second)?)?;
            let second = plus(&second, &self.g.forward(&first)?)?;
            (first, second)
        };
        Ok(Tensor::cat(&[&first, &second], D::Minus1)?)
    }

    pub(super) fn params(&self) -> impl Iterator<Item = &Param> {
        self.f.params().chain(self.g.params())
    }
}
