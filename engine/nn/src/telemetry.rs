//! Where the rank of a change goes: rank, effective rank, energy and spectrum of one site.
//!
//! Place in the data flow: [`crate::LinearSite::telemetry`] measures, the trainer asks some sites every some
//! steps ([`Throttle`]) and says the result as `rank` events. A change of low rank is measured through matrices
//! of rank x rank; a whole weight is decomposed only below [`DENSE_LIMIT`].

use crate::frozen::FrozenWeight;
use crate::kernels::reduce::sum_of_squares;
use crate::linalg::{product_singular_values, singular_values};
use crate::ops::with_slice;
use crate::{NnError, Result};
use candle_core::Tensor;

/// Largest smaller side of a whole weight that is decomposed: the cost grows with its cube.
pub const DENSE_LIMIT: usize = 1024;

/// Measurements of the change of one site.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteTelemetry {
    /// Rank in use: the inner width of low-rank changes, the number of terms of sums of products where a rule chose it,
    /// otherwise the number of singular values that are not rounding noise.
    pub rank: usize,
    /// Exponential of the entropy of the normalised singular values, between 1 and `rank`; 0 when the change
    /// is zero (Roy and Vetterli, "The effective rank", 2007).
    pub effective_rank: f64,
    /// Frobenius norm of the change over that of the weight before training; 0 when that weight is zero.
    pub energy: f64,
    /// Singular values of the change, largest first.
    pub spectrum: Vec<f32>,
    /// Euclidean norm of the change of the bias; 0 where it stays as it is.
    pub bias_shift: f64,
    /// What a router does, where there is one: the other measurements are then those of its mean choice.
    pub routing: Option<Routing>,
}

/// What a router was seen choosing, smoothed over the last passes of training.
#[derive(Debug, Clone, PartialEq)]
pub struct Routing {
    /// Share of its choices by expert, together 1.
    pub load: Vec<f64>,
    /// Mean weight by expert, together 1.
    pub mean: Vec<f64>,
    /// Mean entropy of its softmax over all experts, nats: ln E when it does not tell tokens apart.
    pub entropy: f64,
}

/// An expert with less than this share of an even load is dead.
const DEAD: f64 = 0.05;

impl Routing {
    /// How many experts hardly answer for any token.
    #[must_use]
    pub fn dead(&self) -> usize {
        let even = 1.0 / self.load.len().max(1) as f64;
        self.load.iter().filter(|load| **load < DEAD * even).count()
    }
}

/// Names under which [`SiteTelemetry::value`] answers; methods declare their series from them.
pub const SERIES: &[&str] = &["rank", "effective_rank", "energy", "bias_shift", "router_entropy", "largest_load"];

impl SiteTelemetry {
    /// From the singular values of the change, largest first, and the norm of the weight.
    #[must_use]
    pub fn new(rank: usize, spectrum: &[f64], weight_norm: f64) -> Self {
        let norm = spectrum.iter().map(|value| value * value).sum::<f64>().sqrt();
        Self {
            rank,
            effective_rank: effective_rank(spectrum),
            energy: if weight_norm > 0.0 { norm / weight_norm } else { 0.0 },
            spectrum: spectrum.iter().map(|&value| value as f32).collect(),
            bias_shift: 0.0,
            routing: None,
        }
    }

    /// One measurement by its series name.
    #[must_use]
    pub fn value(&self, series: &str) -> Option<f64> {
        match series {
            "rank" => Some(self.rank as f64),
            "effective_rank" => Some(self.effective_rank),
            "energy" => Some(self.energy),
            "bias_shift" => Some(self.bias_shift),
            "router_entropy" => self.routing.as_ref().map(|routing| routing.entropy),
            "largest_load" => self.routing.as_ref().map(|routing| routing.load.iter().copied().fold(0.0, f64::max)),
            _ => None,
        }
    }
}

/// exp(−Σ p ln p) with p = σ / Σσ; 0 when every σ is 0.
#[must_use]
pub fn effective_rank(spectrum: &[f64]) -> f64 {
    let sum: f64 = spectrum.iter().sum();
    if sum <= 0.0 {
        return 0.0;
    }
    let shares = spectrum.iter().map(|value| value / sum).filter(|share| *share > 0.0);
    shares.map(|share| -share * share.ln()).sum::<f64>().exp()
}

/// Euclidean norm of `values` less those of `before`.
///
/// # Errors
/// Shapes that differ.
pub fn norm(values: &Tensor, before: Option<&Tensor>) -> Result<f64> {
    let change = match before {
        Some(before) => (values - before)?,
        None => values.clone(),
    };
    Ok(with_slice(&change, sum_of_squares)?.sqrt())
}

/// Measures the sum of changes `scale · B A`, each given as B (out, rank), A (rank, in), scale.
///
/// # Errors
/// Factors that do not fit each other, or a decomposition of values that are not finite.
pub fn of_low_rank(changes: &[(Tensor, Tensor, f64)], weight_norm: f64) -> Result<SiteTelemetry> {
    let Some((first_b, first_a, _)) = changes.first() else {
        return Ok(SiteTelemetry::new(0, &[], weight_norm));
    };
    let (out_features, in_features) = (first_b.dim(0)?, first_a.dim(1)?);
    // Several changes are one: B side by side with the scales folded in, A stacked.
    let b = changes.iter().map(|(b, _, scale)| b.affine(*scale, 0.0)).collect::<Result<Vec<_>, _>>()?;
    let a: Vec<&Tensor> = changes.iter().map(|(_, a, _)| a).collect();
    let (b, a) = (Tensor::cat(&b, 1)?, Tensor::cat(&a, 0)?);
    let rank = a.dim(0)?;
    let spectrum =
        with_slice(&b, |b| with_slice(&a, |a| product_singular_values(b, a, out_features, rank, in_features)))???;
    Ok(SiteTelemetry::new(rank, &spectrum, weight_norm))
}

/// Measures the change of a whole weight `now` (out, in) from `before`; none above [`DENSE_LIMIT`].
///
/// # Errors
/// A weight that cannot be read, or a decomposition of values that are not finite.
pub fn of_dense(now: &Tensor, before: &FrozenWeight, weight_norm: f64) -> Result<Option<SiteTelemetry>> {
    let (rows, cols) = (before.rows, before.cols);
    if rows.min(cols) > DENSE_LIMIT {
        return Ok(None);
    }
    let before = before.to_f32()?;
    let change: Vec<f64> = with_slice(now, |now| {
        now.iter().zip(before.iter()).map(|(now, before)| f64::from(*now) - f64::from(*before)).collect()
    })?;
    if change.len() != rows * cols {
        return Err(NnError::Shape(format!("{} values are no weight of {rows} x {cols}", change.len())));
    }
    let spectrum = singular_values(&change, rows, cols)?;
    // Each entry carries the rounding of the f32 weight it was subtracted from; below that, values are noise.
    let noise = weight_norm * f64::from(f32::EPSILON);
    let rank = spectrum.iter().take_while(|value| **value > noise).count();
    Ok(Some(SiteTelemetry::new(rank, &spectrum, weight_norm)))
}

/// Which sites are measured when, so that measuring costs little: at most `sites_per_round` of them every
/// `every_steps` steps, in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// Steps between rounds; 0 never measures.
    pub every_steps: u64,
    /// Most sites per round; 0 measures all.
    pub sites_per_round: usize,
}

impl Throttle {
    /// The sites due after step `step`, by number in 0..`sites`, in order. Depends on nothing but the step, so
    /// that a resumed run measures what the run without a break does.
    #[must_use]
    pub fn due(&self, step: u64, sites: usize) -> Vec<usize> {
        if self.every_steps == 0 || sites == 0 || step == 0 || !step.is_multiple_of(self.every_steps) {
            return Vec::new();
        }
        if self.sites_per_round == 0 || self.sites_per_round >= sites {
            return (0..sites).collect();
        }
        let round = step / self.every_steps - 1;
        let first = (u128::from(round) * self.sites_per_round as u128 % sites as u128) as usize;
        let mut due: Vec<usize> = (first..first + self.sites_per_round).map(|site| site % sites).collect();
        due.sort_unstable();
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;
    use candle_core::Device;

    fn random(name: &str, rows: usize, cols: usize) -> Tensor {
        let mut values = vec![0f32; rows * cols];
        Stream::new(3, name).fill_normal(&mut values, 1.0);
        Tensor::from_vec(values, (rows, cols), &Device::Cpu).unwrap()
    }

    #[test]
    fn the_effective_rank_counts_equal_directions_and_ignores_missing_ones() {
        assert!((effective_rank(&[2.0, 2.0, 2.0]) - 3.0).abs() < 1e-12);
        assert!((effective_rank(&[5.0, 0.0, 0.0]) - 1.0).abs() < 1e-12);
        assert_eq!(effective_rank(&[0.0, 0.0]), 0.0);
        let between = effective_rank(&[3.0, 1.0]);
        assert!(between > 1.0 && between < 2.0, "{between}");
    }

    #[test]
    fn low_rank_and_dense_measurements_of_one_change_agree() {
        let (b, a, scale) = (random("b", 12, 3), random("a", 3, 20), 0.25);
        let before = random("w", 12, 20);
        let frozen = FrozenWeight::from_tensor("w", &before, crate::StorageKind::F32).unwrap();
        let now = (&before + b.matmul(&a).unwrap().affine(scale, 0.0).unwrap()).unwrap();
        let norm = before.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
        let thin = of_low_rank(&[(b, a, scale)], f64::from(norm)).unwrap();
        let dense = of_dense(&now, &frozen, f64::from(norm)).unwrap().unwrap();
        assert_eq!((thin.rank, dense.rank), (3, 3));
        assert!((thin.energy - dense.energy).abs() < 1e-6 * thin.energy, "{} {}", thin.energy, dense.energy);
        // The dense change carries rounding noise in nine more directions.
        assert!((thin.effective_rank - dense.effective_rank).abs() < 1e-3);
        for (thin, dense) in thin.spectrum.iter().zip(&dense.spectrum) {
            assert!((thin - dense).abs() < 1e-5 * thin, "{thin} {dense}");
        }
    }

    #[test]
    fn two_changes_are_measured_as_their_sum() {
        let (b, a) = (random("b", 8, 2), random("a", 2, 6));
        let twice = of_low_rank(&[(b.clone(), a.clone(), 1.0), (b.clone(), a.clone(), 0.5)], 1.0).unwrap();
        let once = of_low_rank(&[(b.clone(), a.clone(), 1.5)], 1.0).unwrap();
        assert_eq!((once.rank, twice.rank), (2, 4));
        assert!((once.energy - twice.energy).abs() < 1e-5 * once.energy);
        assert!((once.effective_rank - twice.effective_rank).abs() < 1e-3);
        let opposite = of_low_rank(&[(b.clone(), a.clone(), 1.0), (b, a, -1.0)], 1.0).unwrap();
        assert!(opposite.energy < 1e-5, "{}", opposite.energy);
    }

    #[test]
    fn a_throttle_reaches_every_site_in_turn() {
        let throttle = Throttle { every_steps: 10, sites_per_round: 3 };
        assert!(throttle.due(0, 7).is_empty() && throttle.due(15, 7).is_empty());
        assert_eq!(throttle.due(10, 7), [0, 1, 2]);
        assert_eq!(throttle.due(20, 7), [3, 4, 5]);
        assert_eq!(throttle.due(30, 7), [0, 1, 6]);
        assert_eq!(Throttle { every_steps: 5, sites_per_round: 0 }.due(5, 4), [0, 1, 2, 3]);
        assert!(Throttle { every_steps: 0, sites_per_round: 3 }.due(10, 7).is_empty());
    }
}
