//! An invertible map of the embeddings, and its inverse before the head.

use super::bottleneck::{Net, plus};
use super::inserts::At;
use super::{Coupling, Point};
use crate::Result;
use crate::ops::{Between, bottleneck_between, has_kernel};
use crate::param::Param;
use crate::slots::Init;
use candle_core::{D, Tensor};
use std::ops::Range;

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
        if !has_kernel(&[x]) {
            return self.of_plain_tensors(x);
        }
        let (first, second) = (0..self.half, self.half..x.dim(D::Minus1)?);
        let step = |x: &Tensor, net: &Net, read: &Range<usize>, write: &Range<usize>| {
            let (width, activation) = net.inside()?;
            let scale = if self.what.inverse { -1.0 } else { 1.0 };
            let between = Between { read: read.clone(), write: write.clone(), width, activation, scale };
            bottleneck_between(x, &net.flat()?, between)
        };
        if self.what.inverse {
            let x = step(x, &self.g, &first, &second)?;
            step(&x, &self.f, &second, &first)
        } else {
            let x = step(x, &self.f, &second, &first)?;
            step(&x, &self.g, &first, &second)
        }
    }

    /// The same without an operation of its own, for other devices.
    pub(super) fn of_plain_tensors(&self, x: &Tensor) -> Result<Tensor> {
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
