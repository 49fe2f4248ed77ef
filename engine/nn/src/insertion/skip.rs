//! A block that can be left out, with a small net in its place.
//!
//! Place in the data flow: a block asks this before anything else; while it is left out, the stream h (.., d) goes through
//!
//! ```text
//! h ← h + relu(LN(h) W_dᵀ + b_d) W_uᵀ + b_u      W_d (width, d), W_u (d, width), zero at the start
//! ```
//!
//! and nothing of the block runs, its adapters included (Wu et al. 2023, "DAS"). Who decides is the trainer.

use super::bottleneck::{Net, plus};
use super::inserts::At;
use super::{Activation, Point, Skip};
use crate::Result;
use crate::ops;
use crate::param::{Param, Role};
use crate::slots::Init;
use candle_core::Tensor;
use std::sync::atomic::{AtomicBool, Ordering};

/// Added to the variance in the net's norm.
const NORM_EPS: f64 = 1e-5;

/// The net in the place of a block, and whether it stands there now.
pub(super) struct HeldSkip {
    what: Skip,
    skipped: AtomicBool,
    norm: Param,
    norm_bias: Param,
    net: Net,
}

impl HeldSkip {
    pub(super) fn build(what: &Skip, at: &mut At<'_>) -> Result<Self> {
        let hidden = at.dims.hidden;
        let place = |at: &At<'_>, part: &str| at.place(Point::Block, &format!("instead_{part}"), false);
        let places = [place(at, "down"), place(at, "up")];
        let (norm, norm_bias) = (place(at, "norm"), place(at, "norm_bias"));
        let inits = (Init::KaimingUniform, Init::Zeros);
        Ok(Self {
            what: what.clone(),
            skipped: AtomicBool::new(what.skipped),
            norm: at.param(&norm, &[hidden], Init::Ones, Role::Norm)?,
            norm_bias: at.param(&norm_bias, &[hidden], Init::Zeros, Role::Bias)?,
            net: Net::build(at, (hidden, what.width, hidden), Activation::Relu, places, inits, true)?,
        })
    }

    /// As it is now.
    pub(super) fn what(&self) -> Skip {
        Skip { skipped: self.is_skipped(), ..self.what.clone() }
    }

    pub(super) fn is_skipped(&self) -> bool {
        self.skipped.load(Ordering::Relaxed)
    }

    pub(super) fn set_skipped(&self, skipped: bool) {
        self.skipped.store(skipped, Ordering::Relaxed);
    }

    /// The stream after the net.
    pub(super) fn instead(&self, x: &Tensor) -> Result<Tensor> {
        let normed = ops::layer_norm(x, &self.norm.var, Some(self.norm_bias.var.as_tensor()), NORM_EPS)?;
        plus(x, &self.net.forward(&normed)?)
    }

    pub(super) fn params(&self) -> impl Iterator<Item = &Param> {
        [&self.norm, &self.norm_bias].into_iter().chain(self.net.params())
    }
}
