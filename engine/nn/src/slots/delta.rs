//! Structures of a change: what Δ (out, in) is made of.

use super::factor::Factor;
use crate::ops::MOST_BITS;

/// Structure of the change of the weight.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// No change.
    None,
    /// A product of thin factors.
    Chain(Chain),
    /// The elementwise product of two chains, `(B₁ A₁) ∘ (B₂ A₂)`; no cores. As a product of thin factors it has rank
    /// r₁ · r₂: row (k, l) of A is `A₁[k] ∘ A₂[l]`, column (k, l) of B likewise.
    Hadamard(Chain, Chain),
    /// A sum of Kronecker products.
    Kron(Kron),
    /// Every square block of a group of rows is that group's block of the right transform ([`super::Right::RowGroups`]),
    /// the same numbers in both places.
    Tile,
    /// A core between an outer factor and a factor for each dimension of the input side.
    Tucker(Tucker),
    /// Single entries.
    Scatter(Scatter),
    /// Each value is one of few that its row trains: of 2^bits per group of neighbouring columns, by a code that stays as
    /// the calibration found it ([`super::Calibration::Sketch`]). It stands for the weight itself
    /// ([`super::Base::Dropped`]).
    LookUp {
        /// Tables in a row, at least 1.
        groups: usize,
        /// Bits of a code, 1 to [`MOST_BITS`].
        bits: usize,
        /// The tables, (out, groups · 2^bits).
        table: Factor,
    },
}

/// Entries of a row's tables.
fn table_width(groups: usize, bits: usize) -> usize {
    groups << bits.min(MOST_BITS)
}

/// `B · A` with the outer factor B (out, rank) and `A = G (U_0 ⊗ U_1 ⊗ ..)ᵀ` of a core G (rank, Π r_d) and factors U_d
/// (I_d, r_d) with in = Π I_d: for a kernel the channels, rows and columns of its window, in this order.
#[derive(Debug, Clone, PartialEq)]
pub struct Tucker {
    /// Inner width on the side of the outputs, at least 1.
    pub rank: usize,
    /// B.
    pub outer: Factor,
    /// G.
    pub core: Factor,
    /// The dimensions of the input side.
    pub modes: Vec<Mode>,
}

/// A dimension of a Tucker product.
#[derive(Debug, Clone, PartialEq)]
pub struct Mode {
    /// I_d.
    pub size: usize,
    /// r_d.
    pub rank: usize,
    /// U_d.
    pub factor: Factor,
}

/// A value for each picked entry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scatter {
    /// Which entries.
    pub picked: Picked,
    /// What is added to them.
    pub values: Factor,
}

/// Which entries of a weight have a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Picked {
    /// All: a matrix beside the weight, until a rule picks some.
    All,
    /// Those that are smallest in the weight, one at least.
    Smallest {
        /// Share of all, in (0, 1].
        share: f64,
    },
}

impl Picked {
    /// How many entries of a weight (out, in).
    #[must_use]
    pub fn count(self, out_features: usize, in_features: usize) -> usize {
        let all = out_features * in_features;
        match self {
            Self::All => all,
            Self::Smallest { share } => ((share * all as f64).round() as usize).clamp(1.min(all), all),
        }
    }
}

/// `B · core · A` with B (out, rank), core (rank, rank) and A (rank, in).
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    /// Inner width, at least 1.
    pub rank: usize,
    /// Outer factor, (out, rank).
    pub b: Factor,
    /// What stands between the factors.
    pub core: Core,
    /// Inner factor, (rank, in).
    pub a: Factor,
}

/// What stands between the two factors of a chain.
#[derive(Debug, Clone, PartialEq)]
pub enum Core {
    /// Nothing: `B · A`.
    None,
    /// A diagonal, (rank).
    Diagonal(Factor),
    /// A full matrix, (rank, rank).
    Dense(Factor),
    /// One number g for the whole change, which is multiplied by σ(g) = 1 / (1 + e^−g): half open at 0.
    Gate(Factor),
}

/// `Σ U_t ⊗ V_t` with U (a, c) and V (b, d) for a weight of (a · b, c · d): entry (i b + k, j d + l) is
/// `Σ U[i, j] V[k, l]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Kron {
    /// How many products are added, at least 1.
    pub terms: usize,
    /// Rows and columns of U.
    pub u_size: (usize, usize),
    /// Rows and columns of V.
    pub v_size: (usize, usize),
    /// U.
    pub u: KronFactor,
    /// V.
    pub v: KronFactor,
    /// The factor that sizes were derived from, as files of PEFT name it; -1 for sides as equal as they get.
    pub decompose_factor: i32,
}

/// One side of a Kronecker product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum KronFactor {
    /// A full matrix.
    Full(Factor),
    /// A product of two thin ones, (rows, rank) and (rank, columns).
    Product {
        /// Inner width.
        rank: usize,
        /// (rows, rank).
        outer: Factor,
        /// (rank, columns).
        inner: Factor,
    },
}

impl Delta {
    /// Inner width as the scale counts it; 0 where there is none.
    #[must_use]
    pub(super) fn rank(&self) -> usize {
        match self {
            Self::None | Self::Tile | Self::Scatter(_) | Self::LookUp { .. } => 0,
            Self::Tucker(tucker) => tucker.rank,
            Self::Chain(chain) => chain.rank,
            Self::Hadamard(first, _) => first.rank,
            Self::Kron(kron) => kron.terms,
        }
    }

    pub(super) fn trained_entries(&self, out_features: usize, in_features: usize) -> usize {
        match self {
            // The blocks of a tile are counted where they are trained.
            Self::None | Self::Tile => 0,
            Self::Tucker(tucker) => {
                let inner = tucker.modes.iter().map(|mode| mode.rank).product();
                let modes = tucker.modes.iter().map(|mode| mode.factor.trained_entries(mode.size, mode.rank));
                tucker.outer.trained_entries(out_features, tucker.rank)
                    + tucker.core.trained_entries(tucker.rank, inner)
                    + modes.sum::<usize>()
            }
            Self::Scatter(scatter) => {
                scatter.values.trained_entries(scatter.picked.count(out_features, in_features), 1)
            }
            Self::Chain(chain) => chain.trained_entries(out_features, in_features),
            Self::Hadamard(first, second) => {
                first.trained_entries(out_features, in_features) + second.trained_entries(out_features, in_features)
            }
            Self::Kron(kron) => {
                kron.terms * (kron.u.trained_entries(kron.u_size) + kron.v.trained_entries(kron.v_size))
            }
            Self::LookUp { groups, bits, table } => table.trained_entries(out_features, table_width(*groups, *bits)),
        }
    }

    pub(super) fn factors(&self) -> Vec<&Factor> {
        match self {
            Self::None | Self::Tile => Vec::new(),
            Self::Tucker(tucker) => {
                let modes = tucker.modes.iter().map(|mode| &mode.factor);
                [&tucker.outer, &tucker.core].into_iter().chain(modes).collect()
            }
            Self::Scatter(scatter) => vec![&scatter.values],
            Self::Chain(chain) => chain.factors().collect(),
            Self::Hadamard(first, second) => first.factors().chain(second.factors()).collect(),
            Self::Kron(kron) => kron.u.factors().into_iter().chain(kron.v.factors()).collect(),
            Self::LookUp { table, .. } => vec![table],
        }
    }
}

impl KronFactor {
    fn trained_entries(&self, (rows, cols): (usize, usize)) -> usize {
        match self {
            Self::Full(factor) => factor.trained_entries(rows, cols),
            Self::Product { rank, outer, inner } => {
                outer.trained_entries(rows, *rank) + inner.trained_entries(*rank, cols)
            }
        }
    }

    fn factors(&self) -> Vec<&Factor> {
        match self {
            Self::Full(factor) => vec![factor],
            Self::Product { outer, inner, .. } => vec![outer, inner],
        }
    }
}

impl Chain {
    pub(super) fn trained_entries(&self, out_features: usize, in_features: usize) -> usize {
        let core = match self.core {
            Core::None => 0,
            Core::Diagonal(factor) => factor.trained_entries(self.rank, 1),
            Core::Dense(factor) => factor.trained_entries(self.rank, self.rank),
            Core::Gate(factor) => factor.trained_entries(1, 1),
        };
        let (b, a) = (self.b.trained_entries(out_features, self.rank), self.a.trained_entries(self.rank, in_features));
        b + core + a
    }

    pub(super) fn factors(&self) -> impl Iterator<Item = &Factor> {
        let core = match &self.core {
            Core::None => None,
            Core::Diagonal(factor) | Core::Dense(factor) | Core::Gate(factor) => Some(factor),
        };
        [Some(&self.b), core, Some(&self.a)].into_iter().flatten()
    }
}
