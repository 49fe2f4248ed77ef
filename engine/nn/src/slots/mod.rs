//! Slots: what distinguishes one adapter method from another on one linear layer, as plain values.
//!
//! Every adapter method is a choice of slots in one equation over a frozen layer `y = x Wᵀ + b`:
//!
//! ```text
//! y = x W_effᵀ + b_eff       W_eff = N( L · W_b · T + s · Δ )      b_eff = N's row scale on L · b, plus δb
//! Δ = B · core · A, ΣU ⊗ V, ...                     W_b = W,  W − s · Δ₀ (what Δ starts as)  or  0
//! Δ(x) = Σ_e w_e(x) · B_e A_e where a router chooses ([`Mix`]): the one part that no weight can hold
//! ```
//!
//! Place in the data flow: a method turns its settings into [`Slots`], one per site; the one interpreter
//! ([`crate::SlotAdapter`]) gives them a forward pass, a merge, an export and measurements. A method never
//! brings code of its own for those. What the equation cannot say yet is added here as a variant of the
//! enum concerned and as one arm in the interpreter; method files that do not use it stay as they are,
//! because they start from [`Slots::default`].

mod check;
mod delta;
mod factor;
mod mix;
mod rules;

pub use delta::{Chain, Core, Delta, Kron, KronFactor, Mode, Picked, Scatter, Tucker};
pub use factor::{Factor, Group, Init, Map, Scale, Source};
pub use mix::{Mix, Router};
pub(crate) use rules::Due;
pub use rules::{Action, ExtraLoss, GradientMap, Part, Proximal, Rule, Scope, Score, When};

use crate::layer_stats::Gather;
use crate::storage::StorageKind;

/// The slots of one adapter on one linear layer of shape (out, in).
#[derive(Debug, Clone, PartialEq)]
pub struct Slots {
    /// The weight the change is added to.
    pub base: Base,
    /// What is computed from the layer's weight before training starts.
    pub calibration: Calibration,
    /// Structure of the change Δ (out, in).
    pub delta: Delta,
    /// Who of Δ's parts answers for a token.
    pub mix: Mix,
    /// Factor in front of Δ.
    pub scale: Scale,
    /// Share of the adapter's input features that are dropped while training, in [0, 1).
    pub dropout: f64,
    /// What the base is multiplied by from the left, (out, out).
    pub left: Left,
    /// What the base is multiplied by from the right, (in, in).
    pub right: Right,
    /// What is done to the changed weight.
    pub normaliser: Normaliser,
    /// Trained change of the bias, (out), also on a layer that has none.
    pub bias: Option<Factor>,
    /// What becomes of the gradients before the optimiser sees them.
    pub gradient: GradientMap,
    /// What is done to values after each optimiser step.
    pub proximal: Proximal,
    /// What is added to the loss.
    pub loss: ExtraLoss,
    /// What changes while the run goes on.
    pub rules: Vec<Rule>,
}

impl Default for Slots {
    /// The identity: the layer as it is.
    fn default() -> Self {
        Self {
            base: Base::Original,
            calibration: Calibration::None,
            delta: Delta::None,
            mix: Mix::One,
            scale: Scale::Fixed(1.0),
            dropout: 0.0,
            left: Left::None,
            right: Right::None,
            normaliser: Normaliser::None,
            bias: None,
            gradient: GradientMap::Own,
            proximal: Proximal::None,
            loss: ExtraLoss::None,
            rules: Vec::new(),
        }
    }
}

/// The weight the change is added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// The layer's own weight, untouched.
    Original,
    /// The layer's weight less what the change starts as, `W − s · Δ₀`: a change that starts at something
    /// leaves the layer as it is. The weight itself stays untouched and stored once; the start is held beside
    /// it as a frozen chain with the opposite sign.
    Residual,
    /// Nothing: the change stands for the whole weight, which is only what it starts from. The bias stays.
    Dropped,
}

/// What is computed from the layer's weight W when the adapter is built, in f64 and always the same for the same
/// weight and seed. Factors that start as [`Init::Calibrated`] take their values from here. With k singular
/// values, pivots or columns for a chain of rank k, at most min(out, in).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calibration {
    /// Nothing.
    None,
    /// The leading singular triplets, `W ≈ U S Vᵀ`: B = U √S / √s, A = √S Vᵀ / √s, so that s · B A is the
    /// best approximation of rank k.
    Svd {
        /// Rounds of the randomised decomposition (Halko, Martinsson and Tropp 2011); 0 decomposes exactly.
        iterations: usize,
    },
    /// The first columns, `W = Q R`: B = Q (out, k), A = R (k, in).
    Qr,
    /// The nearest sum of Kronecker products (Van Loan and Pitsianis, "Approximation with Kronecker products", 1993):
    /// `W ≈ Σ U_t ⊗ V_t`, strongest first, the singular values shared evenly between U and V and divided by the scale.
    Kronecker {
        /// Rounds of the randomised decomposition, as for [`Calibration::Svd`].
        iterations: usize,
    },
    /// The leading principal components of the layer's inputs, as rows of A (rank, in); nothing for B. They come from a
    /// pass over data before the adapter is built, see [`crate::layer_stats::gather`].
    Components {
        /// Rows of data that are looked at, at most.
        rows: usize,
    },
    /// The decomposition of the weight as its inputs see it, `W C = U S Vᵀ` with the inputs' damped second moment C:
    /// `B = U √S / √s`, `A = √S Vᵀ C⁻¹ / √s` (CorDA). From a pass over data as well.
    Context {
        /// Whether the weakest directions are taken, which are found exactly, and not the strongest.
        weakest: bool,
        /// Rounds of the randomised decomposition, as for [`Calibration::Svd`].
        iterations: usize,
        /// Rows of data that are looked at, at most.
        rows: usize,
    },
    /// The first pivots of Gaussian elimination with row exchanges, `W = P L D U`: B = P L (out, k), the diagonal
    /// core D (k), A = U (k, in) with ones on its diagonal.
    Lu,
    /// What rounding the base took from it, by [`crate::repair::alternate`]: `W ≈ Q + s · B A` with W as its file has it.
    /// More than one round, or a start from nothing, puts another Q in the place of the one that is held. Where the base
    /// was not rounded in memory there is nothing to repair, and the factors start as their [`Init`] says.
    Repair {
        /// Most rounds.
        rounds: usize,
        /// Whether the first product is fitted to the weight itself.
        from_nothing: bool,
        /// Rounds of the randomised decomposition, as for [`Calibration::Svd`].
        iterations: usize,
        /// What to round to instead of what the base is held as; then any base is rounded.
        storage: Option<StorageKind>,
        /// Rows of data whose gradients say how much the errors of rows and columns count; 0: all alike. Where nothing was
        /// looked at, base and factors start as without a calibration, to be made again from a checkpoint.
        fisher_rows: usize,
    },
    /// What rounding the base took from it, as far as a product of the rank gives it back where the layer's inputs feel it
    /// most (EoRA): [`crate::repair::compensate`] by the second moment of the inputs. The base stays; where it was not
    /// rounded in memory, or nothing was looked at, the factors start as their [`Init`] says.
    Compensate {
        /// Rounds of the randomised decomposition, as for [`Calibration::Svd`].
        iterations: usize,
        /// Rows of data that are looked at, at most; block by block, each as the ones before it answer by then.
        rows: usize,
    },
    /// The inputs with the largest mean square, for an inner factor that picks inputs ([`Source::Select`]). From a pass over
    /// data; drawn where nothing was looked at.
    Energy {
        /// Rows of data that are looked at, at most.
        rows: usize,
    },
    /// Codes and tables that stand for the weight best ([`crate::sketch`]).
    Sketch,
}

/// What the base is multiplied by from the left.
#[derive(Debug, Clone, PartialEq)]
pub enum Left {
    /// The identity.
    None,
    /// `I + s · B A` with A (rank, out) and B (out, rank) and the scale of the change: it recombines the layer's own
    /// outputs, bias included. No core.
    LowRank(Box<Chain>),
}

/// What the base is multiplied by from the right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Right {
    /// The identity.
    None,
    /// For each group of `size` rows the block diagonal of `I + B_i`, blocks B (out/size, size, size). The size divides
    /// both sides of the weight.
    RowGroups {
        /// Side of a block.
        size: usize,
        /// The blocks.
        blocks: Factor,
    },
    /// A ring of small matrices, `T[i, j] = tr(Π A_d[:, :, i_d, j_d])` with trained A_d (bond, bond, I_d, I_d), the identity
    /// at the start.
    Ring {
        /// Sides I_d, which multiply to the width of the input; a side of 1 has no matrix.
        sizes: [usize; 3],
        /// How many links join neighbours, at least 1.
        bond: usize,
        /// How the optimiser treats them.
        group: Group,
    },
}

impl Right {
    fn trained_entries(&self, out_features: usize) -> usize {
        match self {
            Self::None => 0,
            Self::RowGroups { size, blocks } => blocks.trained_entries(out_features, *size),
            Self::Ring { sizes, bond, .. } => {
                bond * bond * sizes.iter().filter(|size| **size > 1).map(|size| size * size).sum::<usize>()
            }
        }
    }
}

/// What is done to the changed weight V = L · W_b · T + s · Δ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Normaliser {
    /// Nothing.
    None,
    /// Each row is brought to a trained magnitude m (out), which starts as the row's norm:
    /// `W_eff = diag(m / ‖V‖_row) V`. The norm counts as a constant in the backward pass. The bias is left alone.
    RowMagnitude(Group),
    /// Each output feature is multiplied by a scale (out), bias included.
    RowScale(Factor),
    /// Each input feature is multiplied by a scale (in).
    ColumnScale(Factor),
}

impl Normaliser {
    fn trained_entries(&self, out_features: usize, in_features: usize) -> usize {
        match self {
            Self::None => 0,
            Self::RowMagnitude(_) => out_features,
            Self::RowScale(factor) => factor.trained_entries(out_features, 1),
            Self::ColumnScale(factor) => factor.trained_entries(in_features, 1),
        }
    }
}

impl Slots {
    /// A plain trained chain `s · B A` with A random and B zero, so that the layer starts unchanged.
    /// What an interchange file of plain low-rank adapters is read into, and the start of most methods.
    #[must_use]
    pub fn low_rank(rank: usize, scale: Scale) -> Self {
        let chain =
            Chain { rank, b: Factor::trained(Init::Zeros), core: Core::None, a: Factor::trained(Init::KaimingUniform) };
        Self { delta: Delta::Chain(chain), scale, ..Self::default() }
    }

    /// Inner width of the change as its scale counts it; 0 when there is none.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.delta.rank()
    }

    /// How many numbers are trained on a layer of shape (out, in).
    #[must_use]
    pub fn trained_entries(&self, out_features: usize, in_features: usize) -> usize {
        let left = match &self.left {
            Left::None => 0,
            Left::LowRank(chain) => chain.trained_entries(out_features, out_features),
        };
        let right = self.right.trained_entries(out_features);
        let normaliser = self.normaliser.trained_entries(out_features, in_features);
        let bias = self.bias.map_or(0, |bias| bias.trained_entries(out_features, 1));
        let mix = self.mix.trained_entries(in_features);
        let change = self.delta.trained_entries(out_features, in_features) + mix;
        change + left + right + normaliser + bias - self.held_back()
    }

    /// Inner width of the whole change as two thin factors, which is how files of plain adapters hold it; none where it is
    /// no product of thin factors. Directions that come and go while it is trained make it another one.
    #[must_use]
    pub fn exported_rank(&self) -> Option<usize> {
        if self.base == Base::Dropped || self.right != Right::None || self.normaliser != Normaliser::None {
            return None;
        }
        let change = match &self.delta {
            Delta::None => 0,
            // What a residual base takes off has factors of its own, unless A stays what it was at the start.
            Delta::Chain(chain) if self.base == Base::Residual && chain.a.is_trained() => 2 * chain.rank,
            Delta::Chain(chain) => chain.rank,
            Delta::Hadamard(first, second) => first.rank * second.rank,
            Delta::Tucker(tucker) => tucker.rank,
            Delta::Tile | Delta::Kron(_) | Delta::Scatter(_) | Delta::LookUp { .. } => return None,
        };
        let left = match &self.left {
            Left::None => 0,
            Left::LowRank(chain) => chain.rank,
        };
        Some(change + left).filter(|rank| *rank > 0)
    }

    /// How many directions, the last ones, are trained ahead with their entry of the core held.
    #[must_use]
    pub(crate) fn held_back(&self) -> usize {
        let by = |rule: &Rule| match rule.action {
            Action::Grow { by, .. } => by,
            Action::KeepTop { .. }
            | Action::Freeze { .. }
            | Action::SetRank { .. }
            | Action::SetTerms { .. }
            | Action::KeepSites { .. }
            | Action::KeepEntries { .. }
            | Action::HoldGrown
            | Action::ShareOut { .. } => 0,
        };
        self.rules.iter().map(by).max().unwrap_or(0)
    }

    /// Whether the layer is only added to: then a change that starts at zero leaves it as it is to the bit.
    #[must_use]
    pub fn only_adds(&self) -> bool {
        let untouched = self.left == Left::None && self.right == Right::None;
        untouched && self.base == Base::Original && self.normaliser == Normaliser::None
    }

    /// Whether what is added is exactly zero at the start: directions trained ahead are only nearly so.
    #[must_use]
    pub fn starts_at_zero(&self) -> bool {
        self.only_adds() && self.held_back() == 0
    }

    /// What has to be gathered of the layer's inputs before the adapter is built; for a chain whose width may grow up to
    /// twice its rank where components are shared out.
    #[must_use]
    pub fn gathers(&self) -> Option<Gather> {
        match self.calibration {
            Calibration::Components { .. } => Some(Gather::Components { count: 2 * self.rank() }),
            Calibration::Context { .. } | Calibration::Compensate { .. } => Some(Gather::SecondMoment),
            Calibration::Energy { .. } => Some(Gather::Energy),
            Calibration::Repair { fisher_rows, .. } if fisher_rows > 0 => Some(Gather::Fisher),
            Calibration::None
            | Calibration::Svd { .. }
            | Calibration::Qr
            | Calibration::Lu
            | Calibration::Sketch
            | Calibration::Kronecker { .. }
            | Calibration::Repair { .. } => None,
        }
    }

    /// Rows of data that the calibration looks at, at most.
    #[must_use]
    pub fn calibration_rows(&self) -> usize {
        match self.calibration {
            Calibration::Components { rows }
            | Calibration::Energy { rows }
            | Calibration::Context { rows, .. }
            | Calibration::Compensate { rows, .. }
            | Calibration::Repair { fisher_rows: rows, .. } => rows,
            Calibration::None
            | Calibration::Svd { .. }
            | Calibration::Qr
            | Calibration::Lu
            | Calibration::Sketch
            | Calibration::Kronecker { .. } => 0,
        }
    }

    /// Whether a block is to be looked at as the calibrated ones before it answer, and not as the base answers.
    #[must_use]
    pub fn calibrates_in_order(&self) -> bool {
        matches!(self.calibration, Calibration::Compensate { .. })
    }

    /// The largest share of the weight's energy that a factor keeps out of.
    #[must_use]
    pub fn complement(&self) -> f64 {
        let share = |factor: &&Factor| match factor.map {
            Map::Complement { energy } => energy,
            Map::None | Map::Rows(_) => 0.0,
        };
        self.factors().iter().map(share).fold(0.0, f64::max)
    }

    /// Every factor, wherever it stands.
    fn factors(&self) -> Vec<&Factor> {
        let mut factors = self.delta.factors();
        if let Mix::Routed(router) = &self.mix {
            factors.push(&router.factor);
        }
        if let Left::LowRank(chain) = &self.left {
            factors.extend(chain.factors());
        }
        if let Right::RowGroups { blocks, .. } = &self.right {
            factors.push(blocks);
        }
        if let Normaliser::RowScale(factor) | Normaliser::ColumnScale(factor) = &self.normaliser {
            factors.push(factor);
        }
        factors.extend(&self.bias);
        factors
    }

    /// Whether anything in it is drawn at random on a layer of shape (out, in), so that another seed gives another adapter. A
    /// fast decomposition draws nothing where it has to find nearly everything and is done exactly.
    #[must_use]
    pub fn draws_on(&self, out_features: usize, in_features: usize) -> bool {
        let found = matches!(self.calibration, Calibration::Energy { .. });
        self.calibration_draws_on(out_features, in_features)
            || self.factors().into_iter().any(|factor| factor.draws(found))
    }

    /// The same of the calibration alone: where a repair finds something, factors take nothing that is drawn for them.
    #[must_use]
    pub fn calibration_draws_on(&self, out_features: usize, in_features: usize) -> bool {
        match self.calibration {
            Calibration::Compensate { iterations: 1.., .. } => self.rank() + crate::linalg::OVERSAMPLED < out_features,
            Calibration::Svd { iterations: 1.. }
            | Calibration::Context { weakest: false, iterations: 1.., .. }
            | Calibration::Repair { iterations: 1.., .. } => {
                self.rank() + crate::linalg::OVERSAMPLED < out_features.min(in_features)
            }
            Calibration::Kronecker { iterations } => iterations > 0,
            Calibration::None
            | Calibration::Svd { .. }
            | Calibration::Qr
            | Calibration::Lu
            | Calibration::Sketch
            | Calibration::Components { .. }
            | Calibration::Energy { .. }
            | Calibration::Context { .. }
            | Calibration::Compensate { .. }
            | Calibration::Repair { .. } => false,
        }
    }
}

impl Slots {
    /// Gives a chain another width or a sum another number of terms, its factor in front as it was; none for other changes.
    pub(crate) fn set_rank(&mut self, rank: usize) -> Option<()> {
        let width = match &mut self.delta {
            Delta::Chain(chain) => &mut chain.rank,
            Delta::Kron(kron) => &mut kron.terms,
            Delta::None
            | Delta::Hadamard(..)
            | Delta::Tile
            | Delta::Tucker(_)
            | Delta::Scatter(_)
            | Delta::LookUp { .. } => return None,
        };
        self.scale = Scale::Fixed(self.scale.value(*width));
        *width = rank;
        Some(())
    }
}

#[cfg(test)]
mod tests;
