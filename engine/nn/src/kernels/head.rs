//! Cross-entropy over a vocabulary without holding the logits.
//!
//! Place in the data flow: called by [`crate::ops::head_cross_entropy`] with the hidden states of the trained
//! positions only. The vocabulary is gone through in chunks: logits of a chunk are made, turned into
//! exponentials against the largest logit seen so far, and summed; what was summed before is scaled down when a
//! larger one turns up.
//!
//! The gradient of the loss for a hidden state is `Σ_v softmax_v · w_v - w_target`, a weighted mean of rows of the
//! head. With a frozen head it is accumulated in the same pass over the vocabulary as the sum of exponentials
//! (as attention accumulates values): two products in all, and each chunk of the head is widened once. Computing
//! it in the backward pass would cost a third product, for the logits again. With a trained head the backward
//! pass needs final probabilities anyway, so nothing is accumulated forward.

use super::math::exp;
use super::reduce::{max_lanes, sum_lanes};
use super::{frozen, pieces_or_empty, scratch, simd};
use crate::frozen::FrozenWeight;
use crate::gemm::{matrix, matrix_mut, product};
use crate::{NnError, Result};
use faer::MatRef;
use rayon::prelude::*;
use std::ops::Range;

/// Widened values of the head per chunk: 4 MiB.
const CHUNK_VALUES: usize = 1 << 20;
/// Most rows of the head per chunk.
const CHUNK_ROWS: usize = 2048;
/// Logits held at a time: 8 MiB.
const BLOCK_LOGITS: usize = 1 << 21;
/// Positions per piece of work in the pass over the logits.
const PIECE_POSITIONS: usize = 8;
/// Positions that share the tokens left out as negligible.
pub const SKIP_POSITIONS: usize = 128;

/// The head (vocabulary, features).
#[derive(Clone, Copy)]
pub(crate) enum Head<'a> {
    /// As the file has it.
    Frozen(&'a FrozenWeight),
    /// f32 in memory.
    Dense(&'a [f32]),
}

/// The problem: hidden states of trained positions against the head.
#[derive(Clone, Copy)]
pub(crate) struct Problem<'a> {
    /// (positions, features).
    pub hidden: &'a [f32],
    /// One per position, inside the vocabulary.
    pub targets: &'a [u32],
    /// (vocabulary, features).
    pub head: Head<'a>,
    /// (vocabulary).
    pub bias: Option<&'a [f32]>,
    /// Rows of the head.
    pub vocabulary: usize,
    /// Columns of the head.
    pub features: usize,
    /// Tokens whose part in a block of positions is at most this are left out of the gradient's products; 0 for none.
    pub negligible: f32,
}

/// Result of the forward pass.
pub(crate) struct Forward {
    /// Σ over positions of the cross-entropy, nats.
    pub loss: f64,
    /// Logarithm of the sum of exponentials of the logits of each position.
    pub log_sums: Vec<f32>,
    /// Gradient of the loss for each hidden state, if it was asked for.
    pub gradient: Option<Vec<f32>>,
}

/// Result of the backward pass: what was asked for.
pub(crate) struct Gradients {
    /// (positions, features).
    pub hidden: Option<Vec<f32>>,
    /// (vocabulary, features).
    pub head: Option<Vec<f32>>,
}

/// What is known of a position's softmax while chunks go by.
#[derive(Clone, Copy)]
struct Running {
    largest: f32,
    sum: f32,
    target_logit: f32,
}

impl<'a> Problem<'a> {
    fn chunk_rows(&self) -> usize {
        let rows = (CHUNK_VALUES / self.features.max(1)).clamp(256, CHUNK_ROWS) / 64 * 64;
        rows.min(self.vocabulary.max(1))
    }

    fn block_positions(&self) -> usize {
        let most = if self.negligible > 0.0 { SKIP_POSITIONS } else { BLOCK_LOGITS / self.chunk_rows() };
        most.clamp(1, self.targets.len().max(1))
    }

    /// Calls `work` for each chunk of the vocabulary with its rows of the head and a buffer for logits.
    fn for_chunks(&self, mut work: impl FnMut(Range<usize>, &[f32], &mut [f32])) -> Result<()> {
        let chunk_rows = self.chunk_rows();
        let dense = match self.head {
            Head::Dense(values) => Some(values),
            Head::Frozen(weight) => weight.as_f32(),
        };
        let widened = if dense.is_some() { 0 } else { chunk_rows * self.features };
        scratch::with(widened + self.block_positions() * chunk_rows, |buffer| {
            let (widened, logits) = buffer.split_at_mut(widened);
            for start in (0..self.vocabulary).step_by(chunk_rows) {
                let range = start..self.vocabulary.min(start + chunk_rows);
                let values = match (dense, self.head) {
                    (Some(values), _) => &values[range.start * self.features..range.end * self.features],
                    (None, Head::Frozen(weight)) => {
                        let widened = &mut widened[..range.len() * self.features];
                        frozen::read_rows_shared(weight, range.start, widened)?;
                        &*widened
                    }
                    (None, Head::Dense(values)) => values,
                };
                work(range, values, logits);
            }
            Ok::<(), NnError>(())
        })
    }

    /// Logits of a chunk for a block of positions.
    fn logits(&self, positions: &Range<usize>, chunk: &Range<usize>, rows: &[f32], logits: &mut [f32]) {
        let hidden = &self.hidden[positions.start * self.features..positions.end * self.features];
        let (hidden, rows) = (matrix(hidden, positions.len(), self.features), matrix(rows, chunk.len(), self.features));
        product(matrix_mut(logits, positions.len(), chunk.len()), hidden, rows.transpose(), 1.0, false);
    }

    fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let (count, block) = (self.targets.len(), self.block_positions());
        (0..count).step_by(block).map(move |start| start..count.min(start + block))
    }

    /// The loss, and with `want_gradient` the gradient for the hidden states.
    pub(crate) fn forward(&self, want_gradient: bool) -> Result<Forward> {
        let (count, features) = (self.targets.len(), self.features);
        let start = Running { largest: f32::NEG_INFINITY, sum: 0.0, target_logit: 0.0 };
        let mut running = vec![start; count];
        let mut gradient = want_gradient.then(|| vec![0f32; count * features]);
        self.for_chunks(|chunk, rows, logits| {
            for positions in self.blocks() {
                let logits = &mut logits[..positions.len() * chunk.len()];
                self.logits(&positions, &chunk, rows, logits);
                let gradient = match &mut gradient {
                    Some(gradient) => &mut gradient[positions.start * features..positions.end * features],
                    None => &mut [],
                };
                self.absorb(&positions, &chunk, logits, &mut running[positions.clone()], gradient);
                if want_gradient {
                    // The sums so far are at most the final ones: no share can end up larger than it is here.
                    let limit = |position: usize| self.negligible * running[positions.start + position].sum;
                    self.with_live(logits, rows, chunk.len(), limit, |weights, rows, _| {
                        product(matrix_mut(gradient, positions.len(), features), weights, rows, 1.0, true);
                    });
                }
            }
        })?;
        let log_sums = running.iter().map(|r| r.largest + libm::logf(r.sum)).collect::<Vec<_>>();
        let losses = running.iter().zip(&log_sums).map(|(r, log_sum)| f64::from(log_sum - r.target_logit));
        let loss = losses.sum();
        if let Some(gradient) = &mut gradient {
            self.finish(gradient, &running)?;
        }
        Ok(Forward { loss, log_sums, gradient })
    }

    /// Takes the logits of a chunk into the running sums and turns them into exponentials; scales `gradient`
    /// (empty if not wanted) down where a larger logit turned up.
    fn absorb(
        &self,
        positions: &Range<usize>,
        chunk: &Range<usize>,
        logits: &mut [f32],
        running: &mut [Running],
        gradient: &mut [f32],
    ) {
        let width = chunk.len();
        let bias = self.bias.map(|bias| &bias[chunk.clone()]);
        let per_position = if gradient.is_empty() { 0 } else { self.features };
        let pieces = running.len().div_ceil(PIECE_POSITIONS);
        let gradients = pieces_or_empty(gradient, PIECE_POSITIONS * per_position, pieces);
        logits
            .par_chunks_mut(PIECE_POSITIONS * width)
            .zip(running.par_chunks_mut(PIECE_POSITIONS))
            .zip(self.targets[positions.clone()].par_chunks(PIECE_POSITIONS))
            .zip(gradients)
            .for_each(|(((logits, running), targets), gradient)| {
                let rows = logits.chunks_exact_mut(width).zip(running).zip(targets);
                for (index, ((logits, running), &target)) in rows.enumerate() {
                    let factor = absorb_row(logits, running, bias, (target as usize).checked_sub(chunk.start));
                    let gradient = &mut gradient[index * per_position..(index + 1) * per_position];
                    if factor != 1.0 {
                        simd(
                            #[inline(always)]
                            || gradient.iter_mut().for_each(|value| *value *= factor),
                        );
                    }
                }
            });
    }

    /// Divides the accumulated rows by the sums and takes the targets' rows off.
    fn finish(&self, gradient: &mut [f32], running: &[Running]) -> Result<()> {
        let features = self.features.max(1);
        let rows = gradient.par_chunks_mut(features).zip(running).zip(self.targets);
        rows.try_for_each(|((gradient, running), &target)| {
            let target = target as usize;
            let inverse = 1.0 / running.sum;
            let subtract = |gradient: &mut [f32], row: &[f32]| {
                for (value, row) in gradient.iter_mut().zip(row) {
                    *value = *value * inverse - row;
                }
            };
            match self.head {
                Head::Dense(values) => subtract(gradient, &values[target * features..(target + 1) * features]),
                Head::Frozen(weight) => {
                    let mut buffer = Vec::new();
                    subtract(gradient, weight.rows_f32(target..target + 1, &mut buffer)?);
                }
            }
            Ok::<(), NnError>(())
        })
    }

    /// Gradients of `factor` times the loss from the final probabilities: for the hidden states and for the head,
    /// each if wanted. Only for a dense (trained) head.
    pub(crate) fn backward(&self, log_sums: &[f32], factor: f32, wants: (bool, bool)) -> Result<Gradients> {
        let features = self.features;
        let mut gradients = Gradients {
            hidden: wants.0.then(|| vec![0f32; self.hidden.len()]),
            head: wants.1.then(|| vec![0f32; self.vocabulary * features]),
        };
        self.for_chunks(|chunk, rows, logits| {
            for positions in self.blocks() {
                let logits = &mut logits[..positions.len() * chunk.len()];
                self.logits(&positions, &chunk, rows, logits);
                self.differentiate(&positions, &chunk, logits, log_sums, factor);
                let in_hidden = positions.start * features..positions.end * features;
                let limit = |_| self.negligible * factor.abs();
                self.with_live(logits, rows, chunk.len(), limit, |d_logits, rows, live| {
                    if let Some(d_hidden) = &mut gradients.hidden {
                        let out = matrix_mut(&mut d_hidden[in_hidden.clone()], positions.len(), features);
                        product(out, d_logits, rows, 1.0, true);
                    }
                    if let Some(d_head) = &mut gradients.head {
                        let out = &mut d_head[chunk.start * features..chunk.end * features];
                        let hidden = matrix(&self.hidden[in_hidden.clone()], positions.len(), features);
                        add_rows(out, d_logits.transpose(), hidden, live);
                    }
                });
            }
        })?;
        Ok(gradients)
    }

    /// Calls `work` with `weights` (positions, `width`) and the rows of the head (width, features), both without the
    /// tokens whose weight is at most `limit` at every position, and with the tokens that are left; with all and `None`
    /// if none are left out.
    fn with_live<R>(
        &self,
        weights: &[f32],
        rows: &[f32],
        width: usize,
        limit: impl Fn(usize) -> f32,
        work: impl FnOnce(MatRef<'_, f32>, MatRef<'_, f32>, Option<&[usize]>) -> R,
    ) -> R {
        let positions = weights.len() / width.max(1);
        let live = (self.negligible > 0.0).then(|| live_tokens(weights, width, limit));
        let Some(live) = live.filter(|live| live.len() < width) else {
            return work(matrix(weights, positions, width), matrix(rows, width, self.features), None);
        };
        scratch::with(live.len() * (positions + self.features), |buffer| {
            let (kept, kept_rows) = buffer.split_at_mut(live.len() * positions);
            for (kept, weights) in kept.chunks_exact_mut(live.len().max(1)).zip(weights.chunks_exact(width)) {
                for (kept, &token) in kept.iter_mut().zip(&live) {
                    *kept = weights[token];
                }
            }
            for (kept, &token) in kept_rows.chunks_exact_mut(self.features.max(1)).zip(&live) {
                kept.copy_from_slice(&rows[token * self.features..(token + 1) * self.features]);
            }
            let (weights, rows) = (matrix(kept, positions, live.len()), matrix(kept_rows, live.len(), self.features));
            work(weights, rows, Some(&live))
        })
    }

    /// Turns logits into `factor · (softmax - one-hot)`.
    fn differentiate(
        &self,
        positions: &Range<usize>,
        chunk: &Range<usize>,
        logits: &mut [f32],
        log_sums: &[f32],
        factor: f32,
    ) {
        let bias = self.bias.map(|bias| &bias[chunk.clone()]);
        let rows = log_sums[positions.clone()].par_iter().zip(&self.targets[positions.clone()]);
        logits.par_chunks_mut(chunk.len()).zip(rows).for_each(|(logits, (&log_sum, &target))| {
            add_bias(logits, bias);
            simd(
                #[inline(always)]
                || {
                    for logit in logits.iter_mut() {
                        *logit = factor * exp(*logit - log_sum);
                    }
                },
            );
            let place = (target as usize).checked_sub(chunk.start);
            if let Some(logit) = place.and_then(|place| logits.get_mut(place)) {
                *logit -= factor;
            }
        });
    }
}

/// The columns of `weights` (positions, `width`) in which the size of some value is above the `limit` of its position.
fn live_tokens(weights: &[f32], width: usize, limit: impl Fn(usize) -> f32) -> Vec<usize> {
    scratch::with(width, |most| {
        most.fill(f32::NEG_INFINITY);
        for (position, weights) in weights.chunks_exact(width).enumerate() {
            let limit = limit(position);
            simd(
                #[inline(always)]
                || {
                    for (most, weight) in most.iter_mut().zip(weights) {
                        let above = weight.abs() - limit;
                        // A NaN is kept: it must not vanish from the gradient.
                        *most = if above > *most || above.is_nan() { above } else { *most };
                    }
                },
            );
        }
        let live = most.iter().enumerate().filter(|(_, above)| **above > 0.0 || above.is_nan());
        live.map(|(token, _)| token).collect()
    })
}

/// `out[token] += left · right` for the rows of the product in turn; `tokens` says which rows of `out` (.., features) they
/// are, `None` that they are all of them.
fn add_rows(out: &mut [f32], left: MatRef<'_, f32>, right: MatRef<'_, f32>, tokens: Option<&[usize]>) {
    let (rows, features) = (left.nrows(), right.ncols());
    let Some(tokens) = tokens else {
        product(matrix_mut(out, rows, features), left, right, 1.0, true);
        return;
    };
    scratch::with(rows * features, |sums| {
        product(matrix_mut(sums, rows, features), left, right, 1.0, false);
        for (sums, &token) in sums.chunks_exact(features.max(1)).zip(tokens) {
            for (out, sum) in out[token * features..(token + 1) * features].iter_mut().zip(sums) {
                *out += sum;
            }
        }
    });
}

fn add_bias(logits: &mut [f32], bias: Option<&[f32]>) {
    if let Some(bias) = bias {
        for (logit, bias) in logits.iter_mut().zip(bias) {
            *logit += bias;
        }
    }
}

/// One position: takes its logits into the running sums and turns them into exponentials against the largest
/// logit so far. Returns the factor by which everything summed before shrinks.
fn absorb_row(logits: &mut [f32], running: &mut Running, bias: Option<&[f32]>, place: Option<usize>) -> f32 {
    add_bias(logits, bias);
    if let Some(&logit) = place.and_then(|place| logits.get(place)) {
        running.target_logit = logit;
    }
    simd(
        #[inline(always)]
        || {
            let largest = max_lanes(logits).max(running.largest);
            let factor = exp(running.largest - largest);
            for logit in logits.iter_mut() {
                *logit = exp(*logit - largest);
            }
            running.largest = largest;
            running.sum = running.sum * factor + sum_lanes(logits);
            factor
        },
    )
}
