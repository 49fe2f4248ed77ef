//! The change as a fused half carries it.
//!
//! Everything is taken from the terms and tensors that forward uses, so that the two paths cannot disagree about what the
//! change is. What is left to the graph is said here and nowhere else.

use super::held::Held;
use super::kron::HeldKron;
use super::normalise::HeldNormaliser;
use super::transform::HeldTransform;
use super::{Change, SlotAdapter};
use crate::Result;
use crate::adapter::{FusedChange, FusedRows};
use crate::context::ForwardContext;
use crate::fused::{FusedFactor, FusedGraph, FusedWeight};
use crate::ops::{self, Dropout, RowGroups};
use crate::site::Layer;
use crate::slots::Base;
use candle_core::Tensor;
use std::sync::Arc;

/// Kronecker products over pieces of the input.
fn beside(kron: &HeldKron, dropout: Option<Dropout>) -> Result<FusedGraph> {
    let forward = kron.detached()?;
    let run = move |x: &Tensor| match &dropout {
        Some(dropout) => forward(&ops::dropout(x, dropout)?),
        None => forward(x),
    };
    Ok(FusedGraph::new(run, kron.params()))
}

impl SlotAdapter {
    /// None for what only a graph does: single entries of a trained weight, rings, routers, magnitudes while features are
    /// dropped, tables and entries while they are, and transforms together with a scale of rows.
    pub(super) fn fused(&self, below: Layer<'_>, ctx: &ForwardContext) -> Result<Option<FusedChange>> {
        if self.mix.is_some() {
            return Ok(None);
        }
        let dropout = self.dropout(ctx);
        let bias = self.bias.as_ref().map(Held::fused).transpose()?;
        let seen = self.seen.clone().filter(|_| ctx.training);
        let mut change = FusedChange { bias, seen, ..FusedChange::default() };
        if self.slots.base == Base::Dropped {
            change.weight = Some(FusedWeight::Absent(below.out_features(), below.in_features()));
        }
        match &self.change {
            Change::None => {}
            Change::LowRank(chain) => {
                let (low_rank, residual) = chain.fused(dropout.clone())?;
                (change.low_rank, change.residual) = (Some(low_rank), residual);
            }
            Change::Kron(kron) => {
                let bare = dropout.is_none() && matches!(self.transform, HeldTransform::None);
                let layer = below.frozen().filter(|_| bare);
                match layer {
                    Some(layer) => change.weight = Some(FusedWeight::Kron(Box::new(kron.in_rows(&layer.weight)?))),
                    None => change.graph = Some(beside(kron, dropout.clone())?),
                }
            }
            Change::Scatter(scatter) => {
                let bare = dropout.is_none() && matches!(self.transform, HeldTransform::None);
                let Some(layer) = below.frozen().filter(|_| bare) else { return Ok(None) };
                change.weight = Some(FusedWeight::Entries(Box::new(scatter.in_rows(&layer.weight)?)));
            }
            Change::LookUp(_) if dropout.is_some() => return Ok(None),
            Change::LookUp(table) => change.weight = Some(table.fused()?),
        }
        match (&self.transform, below.frozen()) {
            (HeldTransform::None, _) => {}
            (HeldTransform::Left(chain), _) => {
                // A left transform begins as nothing and takes nothing off.
                let (left, None) = chain.fused(None)? else { return Ok(None) };
                change.left = Some(left);
            }
            (HeldTransform::RowGroups { .. }, None) | (HeldTransform::Ring(_), _) => return Ok(None),
            (HeldTransform::RowGroups { size, blocks, tiled }, Some(layer)) => {
                let groups = RowGroups::new(Arc::clone(&layer.weight), *size, *tiled);
                change.weight = Some(FusedWeight::RowGroups(Box::new(groups), blocks.fused()?));
            }
        }
        match (&self.normaliser, below.frozen()) {
            (HeldNormaliser::None, _) => {}
            (HeldNormaliser::ColumnScale(scale), _) => change.columns = Some(scale.fused()?),
            (HeldNormaliser::RowScale(_) | HeldNormaliser::RowMagnitude(_), _) if change.left.is_some() => {
                return Ok(None);
            }
            (HeldNormaliser::RowScale(scale), _) => {
                change.rows = Some(FusedRows { factors: scale.fused()?, beside_bias: false });
            }
            (HeldNormaliser::RowMagnitude(magnitude), Some(layer))
                if dropout.is_none() && matches!(self.transform, HeldTransform::None) =>
            {
                let terms = match &self.change {
                    Change::None => Vec::new(),
                    Change::LowRank(chain) => chain.terms()?,
                    Change::Kron(_) | Change::Scatter(_) | Change::LookUp(_) => return Ok(None),
                };
                let factors = FusedFactor::folded(magnitude.ratio(layer, &terms)?, magnitude.params().collect())?;
                change.rows = Some(FusedRows { factors, beside_bias: true });
            }
            (HeldNormaliser::RowMagnitude(_), _) => return Ok(None),
        }
        Ok(Some(change))
    }
}
