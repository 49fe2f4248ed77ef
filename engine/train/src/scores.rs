//! What a row of logits says about a position: loss, best token, divergence from another row.
//!
//! Plain slice functions, one position a row, sums in f64. Evaluation and probes feed them block by block
//! so that the logits of a whole text are never held.

use rayon::prelude::*;
use temper_nn::kernels::math::exp;
use temper_nn::kernels::simd;

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

/// Values whose exponentials are summed in f32 before the sum goes on in f64.
const BLOCK: usize = 1024;
/// Running values side by side, so that the loop over a block needs no order.
const LANES: usize = 16;

/// Folds pairs of values in lanes: `start` in each lane, then `step(lane, x, y)`.
#[inline(always)]
fn in_lanes(x: &[f32], y: &[f32], start: f32, step: impl Fn(f32, f32, f32) -> f32) -> ([f32; LANES], f32) {
    let ((x_chunks, x_rest), (y_chunks, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    let mut lanes = [start; LANES];
    for (x, y) in x_chunks.iter().zip(y_chunks) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane = step(*lane, *x, *y);
        }
    }
    let rest = x_rest.iter().zip(y_rest).fold(start, |sum, (x, y)| step(sum, *x, *y));
    (lanes, rest)
}

/// Σ f(x, y) over pairs: blocks in f32, their sum in f64.
fn sum_pairs(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f64 {
    let of_block = |(x, y): (&[f32], &[f32])| {
        simd(
            #[inline(always)]
            || {
                let (lanes, rest) = in_lanes(x, y, 0.0, |sum, x, y| sum + f(x, y));
                lanes.iter().sum::<f32>() + rest
            },
        )
    };
    x.chunks(BLOCK).zip(y.chunks(BLOCK)).map(|pair| f64::from(of_block(pair))).sum()
}

/// The largest value of a row and the first place it stands at.
fn largest(row: &[f32]) -> (f32, usize) {
    let max = simd(
        #[inline(always)]
        || {
            let (lanes, rest) = in_lanes(row, row, f32::NEG_INFINITY, |max, x, _| if x > max { x } else { max });
            lanes.iter().fold(rest, |max, lane| if *lane > max { *lane } else { max })
        },
    );
    (max, row.iter().position(|value| *value == max).unwrap_or(0))
}

/// ln Σ exp of a row with the given maximum.
fn log_sum_exp(row: &[f32], max: f32) -> f64 {
    f64::from(max)
        + sum_pairs(
            row,
            row,
            #[inline(always)]
            |value, _| exp(value - max),
        )
        .ln()
}

fn score(row: &[f32], target: u32) -> (PositionScore, f64) {
    let (max, top) = largest(row);
    let log_sum = log_sum_exp(row, max);
    let loss = row.get(target as usize).map_or(f64::NAN, |&logit| log_sum - f64::from(logit));
    (PositionScore { loss, top: top as u32, target }, log_sum)
}

/// Scores rows of `vocabulary` logits against their targets. A target outside the vocabulary gives a NaN
/// loss, so that it cannot pass unseen.
#[must_use]
pub fn score_positions(logits: &[f32], vocabulary: usize, targets: &[u32]) -> Vec<PositionScore> {
    let rows = logits.par_chunks_exact(vocabulary.max(1)).zip(targets.par_iter());
    rows.map(|(row, &target)| score(row, target).0).collect()
}

/// A position as the base and the model see it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// The model now.
    pub now: PositionScore,
    /// Its base.
    pub base: PositionScore,
    /// KL(base ‖ now) = Σ p_base (ln p_base - ln p_now), nats.
    pub kl: f64,
}

/// Scores rows of the base's and the model's logits against the same targets.
#[must_use]
pub fn compare_positions(base: &[f32], now: &[f32], vocabulary: usize, targets: &[u32]) -> Vec<Pair> {
    let width = vocabulary.max(1);
    base.par_chunks_exact(width)
        .zip(now.par_chunks_exact(width))
        .zip(targets.par_iter())
        .map(|((base, now), &target)| {
            let ((base_score, base_sum), (now_score, now_sum)) = (score(base, target), score(now, target));
            let max = base.get(base_score.top as usize).copied().unwrap_or(0.0);
            let sum = sum_pairs(
                base,
                now,
                #[inline(always)]
                |base, now| exp(base - max) * (base - now),
            );
            // Σ p (b - n) - ln Σ e^b + ln Σ e^n, with p = e^(b - ln Σ e^b).
            let kl = sum * (f64::from(max) - base_sum).exp() - base_sum + now_sum;
            Pair { now: now_score, base: base_score, kl: kl.max(0.0) }
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
        let kl_positions = |base: &[f32], now: &[f32], width: usize| -> Vec<f64> {
            compare_positions(base, now, width, &[0]).iter().map(|pair| pair.kl).collect()
        };
        let base = [0.0, 1.0, 2.0];
        assert!(kl_positions(&base, &base, 3)[0] < 1e-12);
        let shifted: Vec<f32> = base.iter().map(|logit| logit + 7.0).collect();
        assert!(kl_positions(&base, &shifted, 3)[0] < 1e-6, "a constant on all logits changes nothing");
        let coin = kl_positions(&[0.0, 0.0], &[3_f32.ln(), 0.0], 2)[0];
        let expected = 0.5 * (0.5_f64 / 0.75).ln() + 0.5 * (0.5_f64 / 0.25).ln();
        assert!((coin - expected).abs() < 1e-6, "{coin} {expected}");
    }

    #[test]
    fn wide_rows_agree_with_sums_in_f64() {
        let mut stream = temper_nn::rng::Stream::new(3, "logits");
        let (mut base, mut now) = (vec![0_f32; 5000], vec![0_f32; 5000]);
        stream.fill_normal(&mut base, 4.0);
        stream.fill_normal(&mut now, 1.0);
        now.iter_mut().zip(&base).for_each(|(now, base)| *now = *base + 0.1 * *now);
        let log_softmax = |row: &[f32]| -> Vec<f64> {
            let sum: f64 = row.iter().map(|value| f64::from(*value).exp()).sum();
            row.iter().map(|value| f64::from(*value) - sum.ln()).collect()
        };
        let (log_base, log_now) = (log_softmax(&base), log_softmax(&now));
        let kl: f64 = log_base.iter().zip(&log_now).map(|(base, now)| base.exp() * (base - now)).sum();
        let pair = compare_positions(&base, &now, 5000, &[17])[0];
        assert!((pair.kl - kl).abs() < 1e-6, "{} {kl}", pair.kl);
        assert!((pair.now.loss + log_now[17]).abs() < 1e-5 && (pair.base.loss + log_base[17]).abs() < 1e-5);
        assert_eq!(score_positions(&now, 5000, &[17])[0], pair.now);
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
