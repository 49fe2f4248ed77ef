//! A change as thin products: the tensors of a chain or of two multiplied elementwise, what it started as, and its terms
//! beside the untouched weight.
//!
//! Forward, merge and export all read the terms from here, so that they cannot disagree about what the change is.

use super::calibrate::Starts;
use super::held::{Held, Place, Subspace, values};
use super::tucker::HeldTucker;
use crate::Result;
use crate::adapter::MergedWeight;
use crate::fused::{FusedFactor, FusedLowRank};
use crate::ops::{Dropout, add_constant, linear_trained, low_rank, scale_features};
use crate::param::{Param, Role};
use crate::slots::{Base, Chain, Core, Factor, Part, Tucker};
use candle_core::Tensor;

/// A change of low rank with its tensors.
pub(super) struct HeldChain {
    scale: f64,
    parts: Parts,
    /// What a residual base takes off the weight.
    taken: Option<Taken>,
}

enum Parts {
    Chain(Box<Triple>),
    /// The elementwise product of two chains.
    Hadamard(Box<[Triple; 2]>),
    Tucker(Box<HeldTucker>),
}

/// The factors of one chain.
pub(super) struct Triple {
    pub(super) b: Held,
    core: HeldCore,
    pub(super) a: Held,
}

enum HeldCore {
    None,
    Diagonal(Held),
    Dense(Held),
    Gate(Held),
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

/// Where a chain is built.
pub(super) struct Spot<'a> {
    /// Before the names `a`, `b`, `core` of its parameters.
    pub(super) prefix: &'a str,
    /// After them.
    pub(super) suffix: &'a str,
    /// (out, in).
    pub(super) size: (usize, usize),
    /// Seed of the run.
    pub(super) seed: u64,
    /// What the calibration found.
    pub(super) starts: Option<&'a Starts>,
    /// The weight's leading directions, left and right.
    pub(super) principal: Option<&'a (Subspace, Subspace)>,
}

impl Triple {
    fn build(chain: &Chain, spot: &Spot<'_>) -> Result<Self> {
        let (rank, (out_features, in_features)) = (chain.rank, spot.size);
        let hold = |factor: &Factor, key: &str, role: Role, shape: &[usize], found: Option<&[f32]>| {
            let name = format!("{}{key}{}", spot.prefix, spot.suffix);
            let side = |(left, right): &'_ (Subspace, Subspace)| {
                if role == Role::FactorA { right.clone() } else { left.clone() }
            };
            let principal = spot.principal.map(side);
            Held::build(
                factor,
                &Place { name: &name, role, shape, seed: spot.seed, found, principal: principal.as_ref() },
            )
        };
        let core_start = spot.starts.map(|starts| starts.core.as_slice());
        let core = match &chain.core {
            Core::None => HeldCore::None,
            Core::Diagonal(factor) => HeldCore::Diagonal(hold(factor, "core", Role::Core, &[rank], core_start)?),
            Core::Dense(factor) => HeldCore::Dense(hold(factor, "core", Role::Core, &[rank, rank], core_start)?),
            Core::Gate(factor) => HeldCore::Gate(hold(factor, "core", Role::Core, &[1], core_start)?),
        };
        let (b_start, a_start) =
            (spot.starts.map(|starts| starts.b.as_slice()), spot.starts.map(|starts| starts.a.as_slice()));
        let b = hold(&chain.b, "b", Role::FactorB, &[out_features, rank], b_start)?;
        let a = hold(&chain.a, "a", Role::FactorA, &[rank, in_features], a_start)?;
        Ok(Self { b, core, a })
    }

    /// A (rank, in) and B (out, rank) with the core folded into B; differentiable in every trained factor.
    fn folded(&self) -> Result<(Tensor, Tensor)> {
        let b = self.b.tensor()?;
        let b = match &self.core {
            HeldCore::None => b,
            HeldCore::Diagonal(diagonal) => scale_features(&b, &diagonal.tensor()?)?,
            HeldCore::Dense(core) => linear_trained(&b, &core.tensor()?.t()?.contiguous()?, None)?,
            HeldCore::Gate(gate) => {
                let open = sigmoid(&gate.tensor()?)?.broadcast_as(b.dim(1)?)?.contiguous()?;
                scale_features(&b, &open)?
            }
        };
        Ok((self.a.tensor()?, b))
    }

    /// What B is made of.
    fn outer(&self) -> impl Iterator<Item = Param> {
        [Some(&self.b), self.core.held()].into_iter().flatten().flat_map(Held::params)
    }

    /// In the order a, b, core.
    fn params(&self) -> impl Iterator<Item = Param> {
        self.a.params().chain(self.outer())
    }

    /// One of its parts; none for a core that it does not have.
    pub(super) fn part(&self, part: Part) -> Option<&Held> {
        match part {
            Part::A => Some(&self.a),
            Part::B => Some(&self.b),
            Part::Core => self.core.held(),
            Part::Values => None,
        }
    }

    /// One of its parts, to change it.
    pub(super) fn part_mut(&mut self, part: Part) -> Option<&mut Held> {
        match (part, &mut self.core) {
            (Part::A, _) => Some(&mut self.a),
            (Part::B, _) => Some(&mut self.b),
            (Part::Core, HeldCore::Diagonal(held) | HeldCore::Dense(held) | HeldCore::Gate(held)) => Some(held),
            (Part::Core, HeldCore::None) | (Part::Values, _) => None,
        }
    }

    /// The diagonal core.
    pub(super) fn diagonal(&self) -> Option<&Held> {
        match &self.core {
            HeldCore::Diagonal(held) => Some(held),
            HeldCore::None | HeldCore::Dense(_) | HeldCore::Gate(_) => None,
        }
    }
}

impl HeldChain {
    pub(super) fn chain(chain: &Chain, scale: f64, base: Base, spot: &Spot<'_>) -> Result<Self> {
        let mut held = Self { scale, parts: Parts::Chain(Box::new(Triple::build(chain, spot)?)), taken: None };
        if base == Base::Residual {
            let (a, b) = held.folded()?;
            // Copies: variables are written in place.
            held.taken = Some(Taken { a: a.copy()?.detach(), b: b.copy()?.detach() });
        }
        Ok(held)
    }

    pub(super) fn tucker(tucker: &Tucker, scale: f64, spot: &Spot<'_>) -> Result<Self> {
        let held = HeldTucker::build(tucker, spot.prefix, spot.size, spot.seed)?;
        Ok(Self { scale, parts: Parts::Tucker(Box::new(held)), taken: None })
    }

    pub(super) fn hadamard(first: &Chain, second: &Chain, scale: f64, spot: &Spot<'_>) -> Result<Self> {
        let numbered = |suffix: &'static str| Spot { suffix, ..*spot };
        let pair = [Triple::build(first, &numbered("1"))?, Triple::build(second, &numbered("2"))?];
        Ok(Self { scale, parts: Parts::Hadamard(Box::new(pair)), taken: None })
    }

    /// The one chain it is, when it is one.
    pub(super) fn single(&self) -> Option<&Triple> {
        match (&self.parts, &self.taken) {
            (Parts::Chain(triple), None) => Some(&**triple),
            (Parts::Chain(_) | Parts::Hadamard(_) | Parts::Tucker(_), _) => None,
        }
    }

    /// The same, to change it.
    pub(super) fn single_mut(&mut self) -> Option<&mut Triple> {
        match (&mut self.parts, &self.taken) {
            (Parts::Chain(triple), None) => Some(&mut **triple),
            (Parts::Chain(_) | Parts::Hadamard(_) | Parts::Tucker(_), _) => None,
        }
    }

    /// What a residual base takes off: A and B as they started, the core folded into B.
    pub(super) fn taken(&self) -> Option<(&Tensor, &Tensor)> {
        self.taken.as_ref().map(|taken| (&taken.a, &taken.b))
    }

    /// Puts another start in its place: one that came from data and cannot be found again without them.
    pub(super) fn set_taken(&mut self, a: Tensor, b: Tensor) {
        self.taken = Some(Taken { a, b });
    }

    /// Without the directions whose entry of a diagonal core is exactly 0: they change nothing. One stays at least.
    fn without_zeros(&self, a: Tensor, b: Tensor) -> Result<(Tensor, Tensor)> {
        let Some(core) = self.single().and_then(Triple::diagonal) else { return Ok((a, b)) };
        let core = values(&core.tensor()?)?;
        let used = |(at, value): (usize, &f32)| if *value == 0.0 { None } else { u32::try_from(at).ok() };
        let mut used: Vec<u32> = core.iter().enumerate().filter_map(used).collect();
        if used.len() == core.len() {
            return Ok((a, b));
        }
        if used.is_empty() {
            used.push(0);
        }
        let used = Tensor::new(used, a.device())?;
        Ok((a.index_select(&used, 0)?, b.index_select(&used, 1)?))
    }

    /// The two chains that are multiplied, when it is that.
    pub(super) fn pair(&self) -> Option<&[Triple; 2]> {
        match &self.parts {
            Parts::Chain(_) | Parts::Tucker(_) => None,
            Parts::Hadamard(pair) => Some(pair),
        }
    }

    /// Factor in front.
    pub(super) fn scale(&self) -> f64 {
        self.scale
    }

    /// A (r, in) and B (out, r) as they are now; differentiable in every trained factor.
    fn folded(&self) -> Result<(Tensor, Tensor)> {
        match &self.parts {
            Parts::Chain(triple) => triple.folded(),
            Parts::Tucker(tucker) => tucker.folded(),
            Parts::Hadamard(pair) => {
                let [first, second] = &**pair;
                let ((a1, b1), (a2, b2)) = (first.folded()?, second.folded()?);
                // Every row of A₁ with every row of A₂, every column of B₁ with every column of B₂.
                let a = a1.unsqueeze(1)?.broadcast_mul(&a2.unsqueeze(0)?)?.reshape(((), a1.dim(1)?))?;
                let b = b1.unsqueeze(2)?.broadcast_mul(&b2.unsqueeze(1)?)?.reshape((b1.dim(0)?, ()))?;
                Ok((a, b))
            }
        }
    }

    fn is_inner_trained(&self) -> bool {
        match &self.parts {
            Parts::Chain(triple) => triple.a.is_trained(),
            Parts::Tucker(tucker) => tucker.inner().next().is_some(),
            Parts::Hadamard(pair) => pair.iter().any(|triple| triple.a.is_trained()),
        }
    }

    /// What is added to the untouched weight: the chain, and what a residual base takes off again. Where A is never
    /// trained both share it and are one product, `(B − B₀) A`.
    pub(super) fn terms(&self) -> Result<Vec<Term>> {
        let (a, b) = self.folded()?;
        let term = |a: Tensor, b: Tensor, scale: f64, dropped: bool| Term { a, b, scale, dropped };
        Ok(match &self.taken {
            None => vec![term(a, b, self.scale, true)],
            Some(taken) if !self.is_inner_trained() => {
                vec![term(a, add_constant(&b, &taken.b, -1.0)?, self.scale, true)]
            }
            Some(taken) => {
                let off = term(taken.a.clone(), taken.b.clone(), -self.scale, false);
                vec![term(a, b, self.scale, true), off]
            }
        })
    }

    /// The one chain it is where nothing is taken off: A (r, in) and B (out, r), differentiable, and the scale.
    pub(super) fn factors(&self) -> Result<(Tensor, Tensor, f64)> {
        let (a, b) = self.folded()?;
        Ok((a, b, self.scale))
    }

    /// The terms side by side as one product: A (r, in), B (out, r), and the scale of both.
    pub(super) fn joined(&self) -> Result<(Tensor, Tensor, f64)> {
        let terms = self.terms()?;
        if let [term] = terms.as_slice() {
            let (a, b) = self.without_zeros(term.a.copy()?.detach(), term.b.copy()?.detach())?;
            return Ok((a, b, self.scale));
        }
        let a = Tensor::cat(&terms.iter().map(|term| term.a.detach()).collect::<Vec<_>>(), 0)?;
        // Only what is taken off has another scale than the chain: the opposite one.
        let signed = |term: &Term| if term.dropped { Ok(term.b.detach()) } else { term.b.detach().neg() };
        let b = Tensor::cat(&terms.iter().map(signed).collect::<Result<Vec<_>, _>>()?, 1)?;
        Ok((a, b, self.scale))
    }

    /// Whether its terms at the end have the rank that its scale counts.
    pub(super) fn has_own_rank(&self) -> bool {
        match &self.parts {
            Parts::Chain(triple) => self.taken.is_none() || !triple.a.is_trained(),
            Parts::Hadamard(_) | Parts::Tucker(_) => false,
        }
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
        let mut inputs = None;
        let (a, b) = match &self.parts {
            Parts::Chain(triple) => {
                let a = triple.a.fused()?;
                inputs = triple.a.inputs();
                if let (HeldCore::None, None) = (&triple.core, &self.taken) {
                    (a, triple.b.fused()?)
                } else {
                    let b = self.terms()?.into_iter().next().map(|term| term.b);
                    let b = b.map(|b| FusedFactor::folded(b, triple.outer().collect()));
                    (a, b.unwrap_or_else(|| triple.b.fused())?)
                }
            }
            Parts::Tucker(tucker) => {
                let (a, b) = tucker.folded()?;
                (FusedFactor::folded(a, tucker.inner().collect())?, FusedFactor::folded(b, tucker.outer().collect())?)
            }
            Parts::Hadamard(pair) => {
                let (a, b) = self.folded()?;
                let inner = pair.iter().flat_map(|triple| triple.a.params()).collect();
                let outer = pair.iter().flat_map(Triple::outer).collect();
                (FusedFactor::folded(a, inner)?, FusedFactor::folded(b, outer)?)
            }
        };
        let taken = match &self.taken {
            Some(taken) if self.is_inner_trained() => Some(FusedLowRank {
                a: FusedFactor::fixed(taken.a.clone()),
                b: FusedFactor::fixed(taken.b.clone()),
                scale: -scale,
                dropout: None,
                inputs: None,
            }),
            _ => None,
        };
        Ok((FusedLowRank { a, b, scale, dropout, inputs }, taken))
    }

    /// Adds the change to a weight, rounded once.
    pub(super) fn merge_into(&self, weight: &mut MergedWeight) -> Result<()> {
        let (a, b, scale) = self.joined()?;
        let rank = a.dim(0)?;
        weight.add_product(&values(&b)?, &values(&a)?, rank, scale)
    }

    /// Of each chain in the order a, b, core.
    pub(super) fn params(&self) -> Vec<Param> {
        match &self.parts {
            Parts::Chain(triple) => triple.params().collect(),
            Parts::Hadamard(pair) => pair.iter().flat_map(Triple::params).collect(),
            Parts::Tucker(tucker) => tucker.inner().chain(tucker.outer()).collect(),
        }
    }
}

impl HeldCore {
    fn held(&self) -> Option<&Held> {
        match self {
            Self::None => None,
            Self::Diagonal(held) | Self::Dense(held) | Self::Gate(held) => Some(held),
        }
    }
}

/// 1 / (1 + e^−x).
pub(super) fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok(x.neg()?.exp()?.affine(1.0, 1.0)?.recip()?)
}
