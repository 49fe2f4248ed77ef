//! Slots: what distinguishes one adapter method from another on one linear layer, as plain values.
//!
//! Every adapter method is a choice of slots in one equation over a frozen layer `y = x Wᵀ + b`:
//!
//! ```text
//! y = x W_effᵀ + b        W_eff = W + s · Δ        Δ = B · core · A
//! ```
//!
//! Place in the data flow: a method turns its settings into [`Slots`], one per site; the one interpreter
//! ([`crate::SlotAdapter`]) gives them a forward pass, a merge, an export and measurements. A method never
//! brings code of its own for those. What the equation cannot say yet is added here as a variant of the
//! enum concerned and as one arm in the interpreter; method files that do not use it stay as they are,
//! because they start from [`Slots::default`].

use crate::rng::Stream;
use crate::{NnError, Result};

/// The slots of one adapter on one linear layer of shape (out, in).
#[derive(Debug, Clone, PartialEq)]
pub struct Slots {
    /// The weight the change is added to.
    pub base: Base,
    /// Structure of the change Δ (out, in).
    pub delta: Delta,
    /// Factor in front of Δ.
    pub scale: Scale,
    /// Share of the adapter's input features that are dropped while training, in [0, 1).
    pub dropout: f64,
}

impl Default for Slots {
    /// The identity: the layer as it is.
    fn default() -> Self {
        Self { base: Base::Original, delta: Delta::None, scale: Scale::Fixed(1.0), dropout: 0.0 }
    }
}

/// The weight the change is added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// The layer's own weight, untouched.
    Original,
}

/// Structure of the change of the weight.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// No change.
    None,
    /// A product of thin factors.
    Chain(Chain),
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
}

/// One factor: where its values come from and how the optimiser treats it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factor {
    /// Where the values come from.
    pub source: Source,
    /// How the optimiser treats a trained factor.
    pub group: Group,
}

/// Where the values of a factor come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Source {
    /// Every entry is trained, from this start.
    Dense(Init),
    /// Never trained. The values follow from seed, site and factor, so they need not be saved.
    Frozen(Init),
}

/// First values of a factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
    /// Uniform in ±1/√fan_in: Kaiming's uniform start with a = √5, the start of most LoRA code.
    KaimingUniform,
    /// Normal with mean 0.
    Gaussian {
        /// Standard deviation.
        std: f64,
    },
}

/// How the optimiser treats a trained factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    /// Learning rate over the run's.
    pub lr_ratio: f64,
    /// Whether weight decay applies.
    pub decay: bool,
}

impl Default for Group {
    fn default() -> Self {
        Self { lr_ratio: 1.0, decay: true }
    }
}

/// Factor in front of a change of rank r.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// `alpha / r` (LoRA).
    AlphaOverRank(f64),
    /// `alpha / √r` (rank-stabilised LoRA).
    AlphaOverRootRank(f64),
    /// The number itself.
    Fixed(f64),
}

impl Scale {
    /// The factor for a change of rank `rank`.
    #[must_use]
    pub fn value(self, rank: usize) -> f64 {
        let rank = rank.max(1) as f64;
        match self {
            Self::AlphaOverRank(alpha) => alpha / rank,
            Self::AlphaOverRootRank(alpha) => alpha / rank.sqrt(),
            Self::Fixed(scale) => scale,
        }
    }

    /// The alpha that an interchange file names: the method's own where it has one, otherwise the one
    /// whose `alpha / r` is this scale.
    #[must_use]
    pub fn alpha(self, rank: usize) -> f64 {
        match self {
            Self::AlphaOverRank(alpha) | Self::AlphaOverRootRank(alpha) => alpha,
            Self::Fixed(scale) => scale * rank.max(1) as f64,
        }
    }
}

impl Factor {
    /// A trained factor in the run's own learning-rate group.
    #[must_use]
    pub fn trained(init: Init) -> Self {
        Self { source: Source::Dense(init), group: Group::default() }
    }

    /// A factor that is never trained.
    #[must_use]
    pub fn frozen(init: Init) -> Self {
        Self { source: Source::Frozen(init), group: Group::default() }
    }

    /// The same factor with its learning rate multiplied by `lr_ratio`.
    #[must_use]
    pub fn with_lr_ratio(mut self, lr_ratio: f64) -> Self {
        self.group.lr_ratio = lr_ratio;
        self
    }

    /// Whether it is trained.
    #[must_use]
    pub fn is_trained(&self) -> bool {
        matches!(self.source, Source::Dense(_))
    }

    /// Its start.
    #[must_use]
    pub fn init(&self) -> Init {
        match self.source {
            Source::Dense(init) | Source::Frozen(init) => init,
        }
    }

    fn trained_entries(&self, entries: usize) -> usize {
        if self.is_trained() { entries } else { 0 }
    }
}

impl Init {
    /// `entries` first values of a factor whose rows have `fan_in` inputs. Equal stream, equal values.
    #[must_use]
    pub fn values(self, entries: usize, fan_in: usize, stream: &mut Stream) -> Vec<f32> {
        let mut values = vec![0f32; entries];
        match self {
            Self::Zeros => {}
            Self::Ones => values.fill(1.0),
            Self::KaimingUniform => {
                let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
                stream.fill_uniform(&mut values, -bound, bound);
            }
            Self::Gaussian { std } => stream.fill_normal(&mut values, std),
        }
        values
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

    /// Inner width of the change; 0 when there is none.
    #[must_use]
    pub fn rank(&self) -> usize {
        match &self.delta {
            Delta::None => 0,
            Delta::Chain(chain) => chain.rank,
        }
    }

    /// How many numbers are trained on a layer of shape (out, in).
    #[must_use]
    pub fn trained_entries(&self, out_features: usize, in_features: usize) -> usize {
        match &self.delta {
            Delta::None => 0,
            Delta::Chain(Chain { rank, b, core, a }) => {
                let core = match core {
                    Core::None => 0,
                    Core::Diagonal(factor) => factor.trained_entries(*rank),
                    Core::Dense(factor) => factor.trained_entries(rank * rank),
                };
                b.trained_entries(out_features * rank) + core + a.trained_entries(rank * in_features)
            }
        }
    }

    /// Refuses values that no layer could be built from; `site` is only named in the error.
    ///
    /// # Errors
    /// [`NnError`] that names the site and the slot.
    pub fn check(&self, site: &str) -> Result<()> {
        let refuse = |what: String| Err(NnError::Adapter { site: site.to_owned(), what });
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse(format!("dropout {} is not in [0, 1)", self.dropout));
        }
        if let Delta::Chain(chain) = &self.delta {
            if chain.rank == 0 {
                return refuse("a chain needs a rank of at least 1".to_owned());
            }
            let scale = self.scale.value(chain.rank);
            if !scale.is_finite() {
                return refuse(format!("the scale {scale} is not a finite number"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_follow_their_rules() {
        assert_eq!(Scale::AlphaOverRank(32.0).value(16), 2.0);
        assert_eq!(Scale::AlphaOverRootRank(32.0).value(16), 8.0);
        assert_eq!(Scale::Fixed(0.5).value(16), 0.5);
        // The alpha named in a file gives the scale back.
        assert_eq!(Scale::AlphaOverRank(Scale::Fixed(0.5).alpha(16)).value(16), 0.5);
    }

    #[test]
    fn starts_have_their_distribution() {
        let draw = |init: Init| init.values(20_000, 25, &mut Stream::new(5, "test"));
        assert!(draw(Init::Zeros).iter().all(|value| *value == 0.0));
        assert!(draw(Init::Ones).iter().all(|value| *value == 1.0));
        let uniform = draw(Init::KaimingUniform);
        assert!(uniform.iter().all(|value| value.abs() <= 0.2));
        let spread = |values: &[f32]| {
            let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64;
            let square = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>();
            (mean, (square / values.len() as f64).sqrt())
        };
        let (mean, deviation) = spread(&uniform);
        assert!(mean.abs() < 0.003 && (deviation - 0.2 / 3f64.sqrt()).abs() < 0.002, "{mean} {deviation}");
        let (mean, deviation) = spread(&draw(Init::Gaussian { std: 0.1 }));
        assert!(mean.abs() < 0.003 && (deviation - 0.1).abs() < 0.002, "{mean} {deviation}");
    }

    #[test]
    fn only_trained_factors_count() {
        let chain = |b: Factor, core: Core, a: Factor| Slots {
            delta: Delta::Chain(Chain { rank: 3, b, core, a }),
            ..Slots::default()
        };
        let (trained, frozen) = (Factor::trained(Init::Zeros), Factor::frozen(Init::KaimingUniform));
        assert_eq!(Slots::default().trained_entries(7, 5), 0);
        assert_eq!(chain(trained, Core::None, trained).trained_entries(7, 5), 3 * (7 + 5));
        assert_eq!(chain(frozen, Core::Diagonal(trained), frozen).trained_entries(7, 5), 3);
        assert_eq!(chain(trained, Core::Dense(trained), frozen).trained_entries(7, 5), 21 + 9);
    }

    #[test]
    fn slots_that_no_layer_could_have_are_refused() {
        let plain = Slots::low_rank(4, Scale::Fixed(1.0));
        assert!(plain.check("here").is_ok());
        for bad in [
            Slots { dropout: 1.0, ..plain.clone() },
            Slots { dropout: f64::NAN, ..plain.clone() },
            Slots { scale: Scale::AlphaOverRank(f64::INFINITY), ..plain },
            Slots::low_rank(0, Scale::Fixed(1.0)),
        ] {
            let error = bad.check("layers.0.attn.q").unwrap_err().to_string();
            assert!(error.contains("layers.0.attn.q"), "{error}");
        }
    }
}
