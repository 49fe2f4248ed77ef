//! What a row of logits says about a position: loss, best token, divergence from another row.
//!
//! Plain slice functions, one position a row, sums in f64. Evaluation and probes feed them block by block
//! so that the logits of a whole text are never held.

use rayon::prelude::*;

/// What the model makes of one position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PositionScore {
    /// -ln p(target), nats.
    pub loss: f64,
    /// The most likely token; of equal ones the first.
    pub top: u32,
    /// The token that follows in the text.
    pub target: u32,
}

impl PositionScore {
    /// Whether the most likely token is the one that follows.
    #[must_use]
    pub fn correct(&self) -> bool {
        self.top == self.target
    }
}

/// ln Σ exp of a row, and the index of its maximum.
fn log_sum_exp(row: &[f32]) -> (f64, usize) {
    let mut top = 0;
    let mut max = f32::NEG_INFINITY;
    for (index, &value) in row.iter().enumerate() {
        if value > max {
            max = value;
            top = index;
        }
    }
    let sum: f64 = row.iter().map(|&value| f64::from(value - max).exp()).sum();
    (f64::from(max) + sum.ln(), top)
}

/// Scores rows of `vocabulary` logits against their targets. A target outside the vocabulary gives a NaN
/// loss, so that it cannot pass unseen.
#[must_use]
pub fn score_positions(logits: &[f32], vocabulary: usize, targets: &[u32]) -> Vec<PositionScore> {
    logits
        .par_chunks_exact(vocabulary.max(1))
        .zip(targets.par_iter())
        .map(|(row, &target)| {
            let (log_sum, top) = log_sum_exp(row);
            let loss = row.get(target as usize).map_or(f64::NAN, |&logit| log_sum - f64::from(logit));
            PositionScore { loss, top: top as u32, target }
        })
        .collect()
}

/// KL(base ‖ now) = Σ p_base (ln p_base - ln p_now) of each row, nats.
#[must_use]
pub fn kl_positions(base: &[f32], now: &[f32], vocabulary: usize) -> Vec<f64> {
    base.par_chunks_exact(vocabulary.max(1))
        .zip(now.par_chunks_exact(vocabulary.max(1)))
        .map(|(base, now)| {
            let (base_sum, _) = log_sum_exp(base);
            let (now_sum, _) = log_sum_exp(now);
            base.iter()
                .zip(now)
                .map(|(&base, &now)| {
                    let log_base = f64::from(base) - base_sum;
                    log_base.exp() * (log_base - (f64::from(now) - now_sum))
                })
                .sum::<f64>()
                .max(0.0)
        })
        .collect()
}

/// A mean with its standard error over rows of unequal weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    /// Σ values / Σ weights.
    pub value: f64,
    /// Standard error of that ratio; NaN for fewer than two rows.
    pub stderr: f64,
    /// Rows.
    pub rows: u64,
}

/// The ratio Σ value / Σ weight over rows of (sum of values, weight), with the standard error of a ratio
/// estimate: √(n/(n-1) Σ (v_i - r w_i)²) / Σ w (Cochran, Sampling Techniques, 1977, section 6.4).
#[must_use]
pub fn ratio(rows: &[(f64, f64)]) -> Mean {
    let count = rows.len() as f64;
    let weight: f64 = rows.iter().map(|row| row.1).sum();
    let value = rows.iter().map(|row| row.0).sum::<f64>() / weight;
    let squares: f64 = rows.iter().map(|(sum, weight)| (sum - value * weight).powi(2)).sum();
    let stderr = if rows.len() > 1 { (count / (count - 1.0) * squares).sqrt() / weight } else { f64::NAN };
    Mean { value, stderr, rows: rows.len() as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_and_best_tokens_of_known_rows() {
        let logits = [0.0, 3_f32.ln(), 0.0, 1e4, 0.0, 0.0];
        let scores = score_positions(&logits, 3, &[1, 1]);
        assert!((scores[0].loss - (5.0_f64 / 3.0).ln()).abs() < 1e-6, "{scores:?}");
        assert!(scores[0].correct() && scores[0].top == 1);
        assert!((scores[1].loss - 1e4).abs() < 1e-3, "a large logit does not overflow: {scores:?}");
        assert!(!scores[1].correct() && scores[1].top == 0);
        assert!(score_positions(&logits, 3, &[3, 0])[0].loss.is_nan());
        assert_eq!(score_positions(&[1.0, 1.0], 2, &[1])[0].top, 0, "of equal ones the first");
    }

    #[test]
    fn divergence_is_zero_only_between_equal_distributions() {
        let base = [0.0, 1.0, 2.0];
        assert!(kl_positions(&base, &base, 3)[0] < 1e-12);
        let shifted: Vec<f32> = base.iter().map(|logit| logit + 7.0).collect();
        assert!(kl_positions(&base, &shifted, 3)[0] < 1e-6, "a constant on all logits changes nothing");
        let coin = kl_positions(&[0.0, 0.0], &[3_f32.ln(), 0.0], 2)[0];
        let expected = 0.5 * (0.5_f64 / 0.75).ln() + 0.5 * (0.5_f64 / 0.25).ln();
        assert!((coin - expected).abs() < 1e-6, "{coin} {expected}");
    }

    #[test]
    fn standard_errors_of_equal_weights_are_the_usual_ones() {
        let mean = ratio(&[(1.0, 1.0), (2.0, 1.0), (3.0, 1.0), (4.0, 1.0)]);
        assert!((mean.value - 2.5).abs() < 1e-12);
        let usual = (5.0_f64 / 3.0 / 4.0).sqrt();
        assert!((mean.stderr - usual).abs() < 1e-12, "{mean:?}");
        assert!(ratio(&[(1.0, 2.0)]).stderr.is_nan());
        assert!((ratio(&[(6.0, 2.0), (1.0, 8.0)]).value - 0.7).abs() < 1e-12, "tokens count, not rows");
    }
}
