//! A change as thin products: the tensors of a chain, what it started as, and its terms beside the untouched weight.
//!
//! Forward, merge and export all read the terms from here, so that they cannot disagree about what the change is.

use super::calibrate::Starts;
use super::held::{Held, values};
use crate::Result;
use crate::adapter::MergedWeight;
use crate::fused::{FusedFactor, FusedLowRank};
use crate::ops::{Dropout, add_constant, linear_trained, low_rank, scale_features};
use crate::param::{Param, Role};
use crate::slots::{Base, Chain, Core, Factor};
use candle_core::Tensor;

/// The tensors of a chain.
pub(super) struct HeldChain {
    scale: f64,
    b: Held,
    core: HeldCore,
    a: Held,
    /// What a residual base takes off the weight.
    taken: Option<Taken>,
}

enum HeldCore {
    None,
    Diagonal(Held),
    Dense(Held),
}

/// The chain as it started, the core folded into B.
struct Taken {
    a: Tensor,
    b: Tensor,
}

/// One product `scale · B A` beside the weight.
pub(super) struct Term {
    /// (rank, in).
    pub(super) a: Tensor,
    /// (out, rank).
    pub(super) b: Tensor,
    /// Factor in front.
    pub(super) scale: f64,
    /// Whether dropout applies to its input.
    pub(super) dropped: bool,
}

impl HeldChain {
    /// Builds the factors under the parameter names `<prefix>a`, `<prefix>b`, `<prefix>core`.
    pub(super) fn build(
        prefix: &str,
        chain: &Chain,
        scale: f64,
        base: Base,
        (out_features, in_features): (usize, usize),
        seed: u64,
        starts: Option<&Starts>,
    ) -> Result<Self> {
        let rank = chain.rank;
        let hold = |factor: &Factor, key: &str, role: Role, shape: &[usize], found: Option<&[f32]>| {
            Held::build(&format!("{prefix}{key}"), factor, role, shape, seed, found)
        };
        let core_start = starts.map(|starts| starts.core.as_slice());
        let core = match &chain.core {
            Core::None => HeldCore::None,
            Core::Diagonal(factor) => HeldCore::Diagonal(hold(factor, "core", Role::Core, &[rank], core_start)?),
            Core::Dense(factor) => HeldCore::Dense(hold(factor, "core", Role::Core, &[rank, rank], core_start)?),
        };
        let (b_start, a_start) = (starts.map(|starts| starts.b.as_slice()), starts.map(|starts| starts.a.as_slice()));
        let b = hold(&chain.b, "b", Role::FactorB, &[out_features, rank], b_start)?;
        let a = hold(&chain.a, "a", Role::FactorA, &[rank, in_features], a_start)?;
        let mut held = Self { scale, b, core, a, taken: None };
        if base == Base::Residual {
            let (a, b) = held.folded()?;
            // Copies: variables are written in place.
            held.taken = Some(Taken { a: a.copy()?.detach(), b: b.copy()?.detach() });
        }
        Ok(held)
    }

    /// A (rank, in) and B (out, rank) with the core folded into B; differentiable in every trained factor.
    fn folded(&self) -> Result<(Tensor, Tensor)> {
        let b = self.b.tensor();
        let b = match &self.core {
            HeldCore::None => b.clone(),
            HeldCore::Diagonal(diagonal) => scale_features(b, diagonal.tensor())?,
            HeldCore::Dense(core) => linear_trained(b, &core.tensor().t()?.contiguous()?, None)?,
        };
        Ok((self.a.tensor().clone(), b))
    }

    /// What is added to the untouched weight: the chain, and what a residual base takes off again. Where A is never
    /// trained both share it and are one product, `(B − B₀) A`.
    pub(super) fn terms(&self) -> Result<Vec<Term>> {
        let (a, b) = self.folded()?;
        let term = |a: Tensor, b: Tensor, scale: f64, dropped: bool| Term { a, b, scale, dropped };
        Ok(match &self.taken {
            None => vec![term(a, b, self.scale, true)],
            Some(taken) if !self.a.is_trained() => {
                vec![term(a, add_constant(&b, &taken.b, -1.0)?, self.scale, true)]
            }
            Some(taken) => {
                let off = term(taken.a.clone(), taken.b.clone(), -self.scale, false);
                vec![term(a, b, self.scale, true), off]
            }
        })
    }

    /// The terms side by side as one product: A (r, in), B (out, r), and the scale of both.
    pub(super) fn joined(&self) -> Result<(Tensor, Tensor, f64)> {
        let terms = self.terms()?;
        if let [term] = terms.as_slice() {
            return Ok((term.a.copy()?.detach(), term.b.copy()?.detach(), self.scale));
        }
        let a = Tensor::cat(&terms.iter().map(|term| term.a.detach()).collect::<Vec<_>>(), 0)?;
        // Only what is taken off has another scale than the chain: the opposite one.
        let signed = |term: &Term| if term.dropped { Ok(term.b.detach()) } else { term.b.detach().neg() };
        let b = Tensor::cat(&terms.iter().map(signed).collect::<Result<Vec<_>, _>>()?, 1)?;
        Ok((a, b, self.scale))
    }

    /// Whether its terms at the end have the rank of the chain itself.
    pub(super) fn has_own_rank(&self) -> bool {
        self.taken.is_none() || !self.a.is_trained()
    }

    /// `y + Σ scale · (x Aᵀ) Bᵀ`.
    pub(super) fn add_terms(terms: &[Term], y: Tensor, x: &Tensor, dropout: Option<&Dropout>) -> Result<Tensor> {
        terms.iter().try_fold(y, |y, term| {
            let dropout = dropout.filter(|_| term.dropped).cloned();
            Ok((y + low_rank(x, &term.a, &term.b, term.scale as f32, dropout)?)?)
        })
    }

    /// The terms as a fused half carries them: the trained one, and what is taken off.
    pub(super) fn fused(&self, dropout: Option<Dropout>) -> Result<(FusedLowRank, Option<FusedLowRank>)> {
        let scale = self.scale as f32;
        let plain = matches!(self.core, HeldCore::None) && self.taken.is_none();
        if plain {
            return Ok((FusedLowRank { a: self.a.fused(), b: self.b.fused(), scale, dropout }, None));
        }
        let mut terms = self.terms()?.into_iter();
        let outer: Vec<Param> =
            [Some(&self.b), self.core.held()].into_iter().flatten().filter_map(Held::param).collect();
        let b = match terms.next() {
            Some(term) => FusedFactor::folded(term.b, outer)?,
            None => self.b.fused(),
        };
        let taken = terms.next().map(|term| FusedLowRank {
            a: FusedFactor::fixed(term.a),
            b: FusedFactor::fixed(term.b),
            scale: term.scale as f32,
            dropout: None,
        });
        Ok((FusedLowRank { a: self.a.fused(), b, scale, dropout }, taken))
    }

    /// Adds the change to a weight, rounded once.
    pub(super) fn merge_into(&self, weight: &mut MergedWeight) -> Result<()> {
        let (a, b, scale) = self.joined()?;
        let rank = a.dim(0)?;
        weight.add_product(&values(&b)?, &values(&a)?, rank, scale)
    }

    /// In the order a, b, core.
    pub(super) fn params(&self) -> Vec<Param> {
        [Some(&self.a), Some(&self.b), self.core.held()].into_iter().flatten().filter_map(Held::param).collect()
    }
}

impl HeldCore {
    fn held(&self) -> Option<&Held> {
        match self {
            Self::None => None,
            Self::Diagonal(held) | Self::Dense(held) => Some(held),
        }
    }
}
