//! A linear layer as its adapters see it.
//!
//! Place in the data flow: [`super::LinearSite`] hands one to each adapter's forward pass, start and export.

use super::Weight;
use crate::adapter::{Adapter, MergedWeight};
use crate::context::ForwardContext;
use crate::frozen::FrozenWeight;
use crate::ops::FrozenLinear;
use crate::slots::Base;
use crate::{NnError, Result};
use candle_core::Tensor;

/// A linear layer as one of its adapters sees it: the weight and the adapters below.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    pub(super) weight: &'a Weight,
    pub(super) adapters: &'a [Box<dyn Adapter>],
    pub(super) source: Option<&'a FrozenWeight>,
}

impl<'a> Layer<'a> {
    /// Rows of the weight.
    #[must_use]
    pub fn out_features(self) -> usize {
        self.weight.out_features()
    }

    /// Columns of the weight.
    #[must_use]
    pub fn in_features(self) -> usize {
        self.weight.in_features()
    }

    /// The frozen layer, when nothing but it lies below: then one fused operation can do everything.
    #[must_use]
    pub fn frozen(self) -> Option<&'a FrozenLinear> {
        match self.weight {
            Weight::Frozen(layer) if self.adapters.is_empty() => Some(layer),
            _ => None,
        }
    }

    /// Output (.., out) for `x` (.., in).
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(self, x: &Tensor, ctx: &ForwardContext) -> Result<Tensor> {
        match self.adapters.split_last() {
            None => self.weight.forward(x),
            Some((last, below)) => last.forward(x, Layer { adapters: below, ..self }, ctx),
        }
    }

    /// The weight as its file has it, where the one that is held was rounded from it in memory.
    #[must_use]
    pub fn source(self) -> Option<&'a FrozenWeight> {
        self.source
    }

    /// What an adapter starts from: for one that stands in the weight's place the weight as its file has it, where that
    /// is known, otherwise [`Self::merged`].
    ///
    /// # Errors
    /// As [`Self::merged`].
    pub(crate) fn original(self, base: Base, site: &str) -> Result<MergedWeight> {
        let (Base::Dropped, Some(source), []) = (base, self.source, self.adapters) else { return self.merged(site) };
        let mut values = vec![0f32; source.elements()];
        source.read_rows(0..source.rows, &mut values)?;
        source.bytes().let_go();
        Ok(MergedWeight { out_features: source.rows, in_features: source.cols, weight: values, bias: None })
    }

    /// Weight and bias with everything below folded in. `site` is only named in the error.
    ///
    /// # Errors
    /// A weight that cannot be read; an adapter below whose change depends on the input.
    pub fn merged(self, site: &str) -> Result<MergedWeight> {
        let mut merged = self.weight.values()?;
        for adapter in self.adapters {
            if !adapter.merge_into(&mut merged)? {
                let what = "starts from the weight, but an adapter below it fits no weight".to_owned();
                return Err(NnError::Adapter { site: site.to_owned(), what });
            }
        }
        Ok(merged)
    }
}
