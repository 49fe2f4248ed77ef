//! A change as a Tucker product: a core between an outer factor and one factor for each dimension of the input side.
//!
//! Place in the data flow: one of the changes of low rank in `chain.rs`. The input factors multiply out to one matrix that
//! the core is applied to, so that the change is B · A with B the outer factor and A (rank, in): forward, fused form, merge
//! and export are those of a chain.

use super::held::{Held, Place};
use crate::ops::linear_trained;
use crate::param::{Param, Role};
use crate::slots::Tucker;
use crate::{NnError, Result};
use candle_core::Tensor;

/// The factors with their values.
pub(super) struct HeldTucker {
    outer: Held,
    core: Held,
    modes: Vec<Held>,
}

impl HeldTucker {
    /// Builds them under the names `<prefix>outer`, `<prefix>core`, `<prefix>mode0` and on.
    pub(super) fn build(tucker: &Tucker, prefix: &str, (rows, cols): (usize, usize), seed: u64) -> Result<Self> {
        if tucker.modes.iter().map(|mode| mode.size).product::<usize>() != cols || tucker.modes.is_empty() {
            return Err(NnError::Shape(format!("{prefix}mode: the dimensions do not multiply to {cols}")));
        }
        let inner: usize = tucker.modes.iter().map(|mode| mode.rank).product();
        let hold = |factor, key: &str, role: Role, shape: [usize; 2]| {
            let name = format!("{prefix}{key}");
            Held::build(factor, &Place { name: &name, role, shape: &shape, seed, found: None, principal: None })
        };
        let modes = tucker.modes.iter().enumerate();
        Ok(Self {
            outer: hold(&tucker.outer, "outer", Role::FactorB, [rows, tucker.rank])?,
            core: hold(&tucker.core, "core", Role::Core, [tucker.rank, inner])?,
            modes: modes
                .map(|(at, mode)| hold(&mode.factor, &format!("mode{at}"), Role::FactorA, [mode.size, mode.rank]))
                .collect::<Result<_>>()?,
        })
    }

    /// A (rank, in) and B (out, rank); differentiable in every factor.
    pub(super) fn folded(&self) -> Result<(Tensor, Tensor)> {
        let mut inner: Option<Tensor> = None;
        for mode in &self.modes {
            let mode = mode.tensor()?;
            inner = Some(match inner {
                None => mode,
                Some(inner) => {
                    let ((a, c), (b, d)) = (inner.dims2()?, mode.dims2()?);
                    let product = inner.reshape((a, 1, c, 1))?.broadcast_mul(&mode.reshape((1, b, 1, d))?)?;
                    product.reshape((a * b, c * d))?
                }
            });
        }
        let core = self.core.tensor()?;
        let a = match inner {
            Some(inner) => linear_trained(&core, &inner, None)?,
            None => core,
        };
        Ok((a, self.outer.tensor()?))
    }

    /// What A is made of.
    pub(super) fn inner(&self) -> impl Iterator<Item = Param> {
        self.modes.iter().chain([&self.core]).flat_map(Held::params)
    }

    /// What B is made of.
    pub(super) fn outer(&self) -> impl Iterator<Item = Param> {
        self.outer.params()
    }
}
