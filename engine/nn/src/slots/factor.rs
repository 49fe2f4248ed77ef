//! Factors of a change: where their values come from and how the optimiser treats them; the scale in front.

use crate::param::Update;
use crate::rng::Stream;

/// One factor: where its values come from and how the optimiser treats it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factor {
    /// Where the values come from.
    pub source: Source,
    /// What is done to them.
    pub map: Map,
    /// How the optimiser treats what is trained of it.
    pub group: Group,
}

/// Where the values of a factor come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Source {
    /// Every entry is trained, from this start.
    Dense(Init),
    /// Never trained. The values follow from seed, site and factor (and from the layer's weight, where they are
    /// calibrated), so they need not be saved.
    Frozen(Init),
    /// Never trained: each row is 1 at one column and 0 elsewhere. The columns are drawn without repetition and
    /// stand in ascending order. Picks as many features as there are rows.
    Select,
    /// Never trained: 1 where the column's number leaves the row's number when divided by the number of rows.
    /// Adds up every rank-th feature.
    TiledIdentity,
    /// Never trained, and the same for all sites: the top left part of one matrix (rows, cols) that follows from the seed
    /// and from which of the factors it is. Sites of one shape hold it once.
    Shared {
        /// Values of the matrix.
        init: Init,
        /// Rows of the matrix: the most that any site needs.
        rows: usize,
        /// Columns of the matrix.
        cols: usize,
    },
    /// `start + Σ cᵢ Mᵢ` with trained coefficients c, 0 at start, over matrices that are drawn again whenever they are
    /// needed, uniform in ±1/√bases. Nothing but the coefficients is held.
    Seeded {
        /// How many matrices.
        bases: usize,
        /// What is there without them.
        start: Init,
    },
}

/// What is done to the values of a factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Map {
    /// Nothing.
    None,
    /// Each row is multiplied by a trained number of its own.
    Rows(Init),
    /// What lies along the leading singular directions of the layer's weight is taken off: of the rows of A along the
    /// right ones, of the columns of B along the left ones. As many directions as hold `energy` of Σσ²; none for 0.
    Complement {
        /// Share in [0, 1).
        energy: f64,
    },
}

/// First values of a factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
    /// All the same.
    Constant(f64),
    /// All 0 but the last ones.
    Tail {
        /// How many are not 0.
        count: usize,
        /// What they are.
        value: f64,
    },
    /// Uniform in ±1/√fan_in: Kaiming's uniform start with a = √5, the start of most LoRA code.
    KaimingUniform,
    /// Uniform in ±√(6/fan_in): Kaiming's uniform start with a = 0.
    HeUniform,
    /// Normal with mean 0.
    Gaussian {
        /// Standard deviation.
        std: f64,
    },
    /// What the calibration of the slots finds in the layer's weight for this place (see
    /// [`super::Calibration`]).
    Calibrated,
}

/// How the optimiser treats a trained factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    /// Learning rate over the run's.
    pub lr_ratio: f64,
    /// Whether weight decay applies.
    pub decay: bool,
    /// How its gradient becomes a step.
    pub update: Update,
}

impl Default for Group {
    fn default() -> Self {
        Self { lr_ratio: 1.0, decay: true, update: Update::AdamW }
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
        Self::of(Source::Dense(init))
    }

    /// A factor that is never trained.
    #[must_use]
    pub fn frozen(init: Init) -> Self {
        Self::of(Source::Frozen(init))
    }

    /// A factor of any source, as it is.
    #[must_use]
    pub fn of(source: Source) -> Self {
        Self { source, map: Map::None, group: Group::default() }
    }

    /// The same factor with something done to its values.
    #[must_use]
    pub fn with_map(mut self, map: Map) -> Self {
        self.map = map;
        self
    }

    /// The same factor with its learning rate multiplied by `lr_ratio`.
    #[must_use]
    pub fn with_lr_ratio(mut self, lr_ratio: f64) -> Self {
        self.group.lr_ratio = lr_ratio;
        self
    }

    /// The same factor without weight decay.
    #[must_use]
    pub fn without_decay(mut self) -> Self {
        self.group.decay = false;
        self
    }

    /// The same factor, moved by its gradient as it is.
    #[must_use]
    pub fn moved_plainly(mut self) -> Self {
        self.group.update = Update::Plain;
        self
    }

    /// Whether anything of it is trained.
    #[must_use]
    pub fn is_trained(&self) -> bool {
        matches!(self.source, Source::Dense(_) | Source::Seeded { .. }) || matches!(self.map, Map::Rows(_))
    }

    /// Its start; ones for factors of zeros and ones.
    #[must_use]
    pub fn init(&self) -> Init {
        match self.source {
            Source::Dense(init) | Source::Frozen(init) | Source::Shared { init, .. } => init,
            Source::Seeded { start, .. } => start,
            Source::Select | Source::TiledIdentity => Init::Ones,
        }
    }

    /// Whether its values are drawn at random; `found` says that what it picks follows from the inputs.
    pub(super) fn draws(&self, found: bool) -> bool {
        let drawn = |init: Init| matches!(init, Init::KaimingUniform | Init::HeUniform | Init::Gaussian { .. });
        let map = matches!(self.map, Map::Rows(init) if drawn(init));
        map || match self.source {
            Source::Dense(init) | Source::Frozen(init) | Source::Shared { init, .. } => drawn(init),
            Source::Select => !found,
            Source::Seeded { .. } => true,
            Source::TiledIdentity => false,
        }
    }

    /// How many numbers are trained of a factor of this shape.
    pub(super) fn trained_entries(&self, rows: usize, cols: usize) -> usize {
        let map = if matches!(self.map, Map::Rows(_)) { rows } else { 0 };
        map + match self.source {
            Source::Dense(_) => rows * cols,
            Source::Seeded { bases, .. } => bases,
            Source::Frozen(_) | Source::Select | Source::TiledIdentity | Source::Shared { .. } => 0,
        }
    }
}

impl Init {
    /// `entries` first values of a factor whose rows have `fan_in` inputs. Equal stream, equal values. What a
    /// calibration finds is not drawn: those are left at 0.
    #[must_use]
    pub fn values(self, entries: usize, fan_in: usize, stream: &mut Stream) -> Vec<f32> {
        let mut values = vec![0f32; entries];
        match self {
            Self::Zeros | Self::Calibrated => {}
            Self::Ones => values.fill(1.0),
            Self::Constant(value) => values.fill(value as f32),
            Self::Tail { count, value } => {
                values.iter_mut().rev().take(count).for_each(|entry| *entry = value as f32);
            }
            Self::HeUniform => {
                let bound = (6.0 / fan_in.max(1) as f64).sqrt();
                stream.fill_uniform(&mut values, -bound, bound);
            }
            Self::KaimingUniform => {
                let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
                stream.fill_uniform(&mut values, -bound, bound);
            }
            Self::Gaussian { std } => stream.fill_normal(&mut values, std),
        }
        values
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
}
