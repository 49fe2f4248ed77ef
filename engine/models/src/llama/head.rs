//! The last stage: final norm, then the output head with the loss, or logits.

use crate::insert::Shared;
use crate::own::{Norm, Table};
use crate::{LlamaConfig, Result};
use candle_core::Tensor;
use std::sync::Arc;
use temper_nn::insertion::{At, Insert};
use temper_nn::ops::Parent;
use temper_nn::{FrozenWeight, InsertDims, Inserts, Param, Point, Role, ops};

/// Final norm and output head.
pub struct HeadStage {
    norm: Norm,
    table: Table,
    rms_eps: f64,
    inserts: Inserts,
}

impl HeadStage {
    /// `own` is the head's weight, none when it is tied to `embedding`.
    pub(crate) fn new(config: &LlamaConfig, norm: Tensor, own: Option<Arc<FrozenWeight>>, embedding: &Table) -> Self {
        let table = own.map_or_else(|| embedding.clone(), |weight| Table::new("head", Role::Head, weight));
        Self { norm: Norm::new("norm", norm), table, rms_eps: config.rms_eps, inserts: Inserts::default() }
    }

    /// What is inserted before the head.
    #[must_use]
    pub fn inserts(&self) -> &Inserts {
        &self.inserts
    }

    /// Puts something between norm and head.
    ///
    /// # Errors
    /// What has no place here.
    pub(crate) fn insert(&mut self, insert: &Insert, seed: u64, shared: &mut Shared) -> Result<()> {
        let dims = InsertDims { hidden: self.table.frozen().cols, ..InsertDims::default() };
        Ok(self.inserts.attach(insert, &[Point::HeadIn], &mut At::new("head", dims, seed, shared))?)
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    pub(crate) fn norm(&self) -> &Norm {
        &self.norm
    }

    /// Name of the stage.
    #[must_use]
    pub fn name(&self) -> &str {
        "head"
    }

    /// Sum over trained positions of the cross-entropy in nats, a scalar. `hidden` is (.., hidden), `targets` one per
    /// position with [`temper_nn::ops::IGNORE`] where nothing is trained.
    ///
    /// # Errors
    /// Shapes that do not fit, or a target outside the vocabulary.
    pub fn loss(&self, hidden: &Tensor, targets: &Arc<[u32]>) -> Result<Tensor> {
        Ok(ops::head_cross_entropy(&self.normed(hidden)?, &self.table.head(), targets, None)?)
    }

    /// What the model predicts from `hidden` (.., hidden) where `targets` are trained, for another one to imitate.
    ///
    /// # Errors
    /// As [`Self::loss`]; a head that is trained.
    pub fn parent(&self, hidden: &Tensor, targets: &Arc<[u32]>) -> Result<Parent> {
        Ok(Parent::of(&self.normed(&hidden.detach())?, &self.table.head(), targets)?)
    }

    /// Sums over trained positions of the divergence of the parent's predictions from those of `hidden`, and of the
    /// cross-entropy: two scalars in nats.
    ///
    /// # Errors
    /// As [`Self::parent`].
    pub fn divergence(&self, hidden: &Tensor, targets: &Arc<[u32]>, parent: &Parent) -> Result<(Tensor, Tensor)> {
        Ok(ops::head_divergence(&self.normed(hidden)?, &self.table.head(), targets, parent)?)
    }

    /// Logits (positions, vocabulary) of `hidden` (.., hidden), without gradient.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(ops::head_logits(&self.normed(&hidden.detach())?, &self.table.head())?)
    }

    fn normed(&self, hidden: &Tensor) -> Result<Tensor> {
        let width = hidden.dims().last().copied().unwrap_or(0);
        let rows = hidden.elem_count().checked_div(width).unwrap_or(0);
        let hidden = hidden.reshape((rows, width))?.to_device(&temper_nn::device::current())?;
        let normed = ops::rms_norm(&hidden, self.norm.weight(), self.rms_eps)?;
        Ok(self.inserts.apply(Point::HeadIn, normed, &[])?)
    }

    /// Everything trained in it. A tied table is the embedding's parameter, so that both stages' gradients of it
    /// are found and added.
    #[must_use]
    pub fn params(&self) -> Vec<Param> {
        self.norm.param().into_iter().chain(self.table.param()).chain(self.inserts.params()).collect()
    }

    /// Makes the norm (`norm`) and the head (`head`, or `embed` when tied) trained if selected.
    ///
    /// # Errors
    /// A weight cannot be read.
    pub fn promote(&mut self, select: &dyn Fn(&str) -> bool) -> Result<()> {
        if select(self.norm.name()) {
            self.norm.promote()?;
        }
        if select(self.table.name()) { self.table.promote() } else { Ok(()) }
    }

    /// Makes `share` of a trained norm the weight that is not trained.
    pub(crate) fn settle(&mut self, share: f64) -> Result<()> {
        self.norm.settle(share)
    }

    pub(crate) fn set_enabled(&self, enabled: bool) {
        self.norm.set_enabled(enabled);
        self.table.set_enabled(enabled);
        self.inserts.set_enabled(enabled);
    }
}
