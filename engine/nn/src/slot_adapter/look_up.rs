//! A weight whose values are looked up in trained tables: codes that stay, and the tables.

use super::held::{Held, Place, values};
use crate::Result;
use crate::adapter::MergedWeight;
use crate::ops::{Codes, linear_look_up, widened};
use crate::param::{Param, Role};
use crate::sketch::sketch;
use crate::slots::Factor;
use candle_core::Tensor;
use std::sync::Arc;

/// Codes with their tables.
pub(super) struct HeldLookUp {
    codes: Arc<Codes>,
    table: Held,
}

impl HeldLookUp {
    /// The sketch of `weight`; its tables become the parameter `name`.
    pub(super) fn build(
        name: &str,
        weight: &MergedWeight,
        (groups, bits, table): (usize, usize, &Factor),
        seed: u64,
    ) -> Result<Self> {
        let dims = (weight.out_features, weight.in_features);
        let (codes, found) = sketch(&weight.weight, dims, groups, bits)?;
        let shape = [dims.0, codes.table_width()];
        let place = Place { name, role: Role::Weight, shape: &shape, seed, found: Some(&found), principal: None };
        Ok(Self { codes: Arc::new(codes), table: Held::build(table, &place)? })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        linear_look_up(x, &self.codes, &self.table.tensor()?)
    }

    /// Puts the weight that it stands for in the place of the one that is there.
    pub(super) fn replace(&self, weight: &mut MergedWeight) -> Result<()> {
        weight.weight = widened(&self.codes, &values(&self.table.tensor()?)?)?;
        Ok(())
    }

    pub(super) fn params(&self) -> Vec<Param> {
        self.table.params().collect()
    }
}
