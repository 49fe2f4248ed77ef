//! Grouped-query attention, forward and backward, tile by tile.
//!
//! Place in the data flow: called by [`crate::ops::attention`]. A tile is a run of queries of one segment against
//! the keys that any of them sees; its scores exist only in a thread's scratch buffer, so that memory grows with
//! the length of the text, not with its square. The forward pass keeps the logarithm of each row's sum of
//! exponentials, from which the backward pass makes the weights again.
//!
//! Dao, Fu, Ermon, Rudra, Ré, "FlashAttention" (2022), for the idea of recomputing tiles and for the form of the
//! gradient `dS = P ∘ (dP - rowsum(dO ∘ O))`.

use super::math::exp;
use super::reduce::dot_lanes;
use super::softmax::exponentiate;
use super::{scratch, simd};
use crate::gemm::{matrix, matrix_mut, product_here, strided};
use faer::prelude::ReborrowMut as _;
use faer::{MatMut, MatRef};
use rayon::prelude::*;
use std::ops::Range;

/// Most queries per tile.
const TILE_QUERIES: usize = 64;
/// Fewest queries per tile, however long the text: below, the products become inefficient.
const MIN_TILE_QUERIES: usize = 16;
/// Scores per tile that are aimed at: 256 KiB.
const TILE_SCORES: usize = 1 << 16;

/// Sizes of the operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Queries per row (Tq).
    pub queries: usize,
    /// Keys per row (Tk); query t stands at key position t + (Tk - Tq).
    pub keys: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Features per head.
    pub features: usize,
}

impl Sizes {
    /// Query heads per key head.
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Values of all heads of one query position.
    fn wide(&self) -> usize {
        self.heads * self.features
    }

    /// Values of all heads of one key position.
    fn narrow(&self) -> usize {
        self.kv_heads * self.features
    }
}

/// Who sees whom within a segment, and the factor on the scores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    /// Only what came before.
    pub causal: bool,
    /// Only |i - j| < window.
    pub window: usize,
    /// Factor on the scores.
    pub scale: f32,
}

impl Sight {
    /// Keys of `segment` that the query at key position `at` sees.
    fn of(&self, at: usize, segment: &Range<usize>) -> Range<usize> {
        let start = segment.start.max((at + 1).saturating_sub(self.window));
        let end = if self.causal { at + 1 } else { segment.end.min(at.saturating_add(self.window)) };
        start..end
    }

    /// Keys of `segment` that any query at key positions `at` sees.
    fn of_all(&self, at: &Range<usize>, segment: &Range<usize>) -> Range<usize> {
        self.of(at.start, segment).start..self.of(at.end - 1, segment).end
    }
}

/// A run of queries of one segment.
#[derive(Clone, Debug)]
struct Tile {
    /// Row of the batch.
    row: usize,
    /// Key positions at which the queries stand.
    at: Range<usize>,
    /// Key positions of the segment.
    segment: Range<usize>,
}

/// The segments of a row that contain queries.
fn segments(borders: &[u32], sizes: Sizes) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let first_query = sizes.keys - sizes.queries;
    let pairs = borders.windows(2).filter_map(|pair| match *pair {
        [start, end] => Some(start as usize..end as usize),
        _ => None,
    });
    pairs.filter_map(move |segment| {
        let at = segment.start.max(first_query)..segment.end;
        (at.start < at.end).then_some((at, segment))
    })
}

/// Cuts the queries at `at` of a segment into tiles of even length.
fn tiles_of(row: usize, at: &Range<usize>, segment: &Range<usize>, sight: &Sight) -> impl Iterator<Item = Tile> {
    let span = segment.len().min(sight.window.saturating_add(TILE_QUERIES));
    let most = (TILE_SCORES / span.max(1)).clamp(MIN_TILE_QUERIES, TILE_QUERIES);
    let count = at.len().div_ceil(most).max(1);
    let length = at.len().div_ceil(count).max(1);
    let (end, segment) = (at.end, segment.clone());
    at.clone().step_by(length).map(move |start| Tile {
        row,
        at: start..end.min(start + length),
        segment: segment.clone(),
    })
}

/// Pieces of `buffer` (rows of `width` values) for ascending, disjoint ranges of rows.
fn carve(buffer: &mut [f32], width: usize, ranges: impl Iterator<Item = Range<usize>>) -> Vec<&mut [f32]> {
    let (mut rest, mut reached) = (buffer, 0);
    let mut pieces = Vec::new();
    for range in ranges {
        let (_, from) = std::mem::take(&mut rest).split_at_mut((range.start - reached) * width);
        let (piece, after) = from.split_at_mut(range.len() * width);
        pieces.push(piece);
        (rest, reached) = (after, range.end);
    }
    pieces
}

/// Keys or values of one head at key positions `range` of a row.
fn keys_of<'a>(k: &'a [f32], row: usize, range: &Range<usize>, kv_head: usize, sizes: Sizes) -> MatRef<'a, f32> {
    let narrow = sizes.narrow();
    let start = (row * sizes.keys + range.start) * narrow + kv_head * sizes.features;
    strided(&k[start..], range.len(), sizes.features, narrow)
}

/// Queries (or outputs, or their gradients) of one head standing at key positions `at` of a row.
fn queries_of<'a>(q: &'a [f32], row: usize, at: &Range<usize>, head: usize, sizes: Sizes) -> MatRef<'a, f32> {
    let wide = sizes.wide();
    let start = first_value(row, at.start, head, sizes);
    strided(&q[start..], at.len(), sizes.features, wide)
}

/// Where the values of a head of the query at key position `at` begin.
fn first_value(row: usize, at: usize, head: usize, sizes: Sizes) -> usize {
    (row * sizes.queries + at + sizes.queries - sizes.keys) * sizes.wide() + head * sizes.features
}

/// The rows of query-sized buffers that a tile covers.
fn query_rows(row: usize, at: &Range<usize>, sizes: Sizes) -> Range<usize> {
    let start = row * sizes.queries + at.start + sizes.queries - sizes.keys;
    start..start + at.len()
}

/// Output (B, Tq, H, Dh) and, per (B, Tq, H), the logarithm of the sum of exponentials of the scores. Padding
/// gives zeros in both.
pub(crate) fn forward(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    borders: &[Vec<u32>],
    sight: Sight,
    sizes: Sizes,
) -> (Vec<f32>, Vec<f32>) {
    let mut out = vec![0f32; q.len()];
    let mut log_sums = vec![0f32; q.len() / sizes.features.max(1)];
    let mut tiles = Vec::new();
    for (row, borders) in borders.iter().enumerate() {
        for (at, segment) in segments(borders, sizes) {
            tiles.extend(tiles_of(row, &at, &segment, &sight));
        }
    }
    let rows = || tiles.iter().map(|tile| query_rows(tile.row, &tile.at, sizes));
    let outs = carve(&mut out, sizes.wide(), rows());
    let sums = carve(&mut log_sums, sizes.heads, rows());
    let (group, features) = (sizes.group(), sizes.features);
    // Late tiles of a causal segment are the longest: they are begun first.
    tiles.par_iter().zip(outs).zip(sums).rev().for_each(|((tile, out), log_sums)| {
        let count = tile.at.len();
        let outs = matrix_mut(out, count, sizes.wide()).par_col_chunks_mut(group * features);
        let sums = matrix_mut(log_sums, count, sizes.heads).par_col_chunks_mut(group);
        outs.zip(sums).enumerate().for_each(|(kv_head, (out, log_sums))| {
            forward_tile(q, k, v, tile, kv_head, sight, sizes, out, log_sums);
        });
    });
    (out, log_sums)
}

/// All query heads of one key head for one tile.
#[expect(clippy::too_many_arguments, reason = "operands of one product")]
fn forward_tile(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    tile: &Tile,
    kv_head: usize,
    sight: Sight,
    sizes: Sizes,
    mut out: MatMut<'_, f32>,
    mut log_sums: MatMut<'_, f32>,
) {
    let Tile { row, at, segment } = tile;
    let span = sight.of_all(at, segment);
    let keys = keys_of(k, *row, &span, kv_head, sizes);
    let values = keys_of(v, *row, &span, kv_head, sizes);
    let (count, width) = (at.len(), span.len());
    scratch::with(count * width, |scores| {
        for member in 0..sizes.group() {
            let queries = queries_of(q, *row, at, kv_head * sizes.group() + member, sizes);
            product_here(matrix_mut(scores, count, width), queries, keys.transpose(), 1.0, false);
            for (index, (at, scores)) in at.clone().zip(scores.chunks_exact_mut(width)).enumerate() {
                let seen = local(&sight.of(at, segment), &span);
                log_sums[(index, member)] = normalise(scores, seen, sight.scale);
            }
            let out = out.rb_mut().subcols_mut(member * sizes.features, sizes.features);
            product_here(out, matrix(scores, count, width), values, 1.0, false);
        }
    });
}

/// A range of key positions counted from the start of `span`.
fn local(range: &Range<usize>, span: &Range<usize>) -> Range<usize> {
    range.start - span.start..range.end - span.start
}

/// Makes weights that sum to 1 of the scores in `seen` and zeros of the others; returns the logarithm of the sum.
fn normalise(scores: &mut [f32], seen: Range<usize>, scale: f32) -> f32 {
    let (hidden_before, rest) = scores.split_at_mut(seen.start);
    let (scores, hidden_after) = rest.split_at_mut(seen.len());
    hidden_before.fill(0.0);
    hidden_after.fill(0.0);
    simd(
        #[inline(always)]
        || {
            let (largest, sum) = exponentiate(scores, scale);
            let inverse = 1.0 / sum;
            for score in scores {
                *score *= inverse;
            }
            largest + libm::logf(sum)
        },
    )
}

/// What the backward pass reads.
pub(crate) struct Saved<'a> {
    /// Queries (B, T, H, Dh).
    pub q: &'a [f32],
    /// Keys (B, T, Hkv, Dh).
    pub k: &'a [f32],
    /// Values (B, T, Hkv, Dh).
    pub v: &'a [f32],
    /// Output of the forward pass.
    pub out: &'a [f32],
    /// Its logarithms of sums (B, T, H).
    pub log_sums: &'a [f32],
    /// Gradient of the output.
    pub gradient: &'a [f32],
}

/// Gradients for queries, keys and values.
pub(crate) fn backward(
    saved: &Saved<'_>,
    borders: &[Vec<u32>],
    sight: Sight,
    sizes: Sizes,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let mut dq = vec![0f32; saved.q.len()];
    let mut dk = vec![0f32; saved.k.len()];
    let mut dv = vec![0f32; saved.v.len()];
    let mut parts = Vec::new();
    for (row, borders) in borders.iter().enumerate() {
        parts.extend(segments(borders, sizes).map(|(_, segment)| (row, segment)));
    }
    let rows = || parts.iter().map(|(row, segment)| row * sizes.keys + segment.start..row * sizes.keys + segment.end);
    let dqs = carve(&mut dq, sizes.wide(), rows());
    let dks = carve(&mut dk, sizes.narrow(), rows());
    let dvs = carve(&mut dv, sizes.narrow(), rows());
    parts.par_iter().zip(dqs).zip(dks.into_par_iter().zip(dvs)).for_each(|(((row, segment), dq), (dk, dv))| {
        let length = segment.len();
        let dq = matrix_mut(dq, length, sizes.wide()).par_col_chunks_mut(sizes.group() * sizes.features);
        let dk = matrix_mut(dk, length, sizes.narrow()).par_col_chunks_mut(sizes.features);
        let dv = matrix_mut(dv, length, sizes.narrow()).par_col_chunks_mut(sizes.features);
        dq.zip(dk.zip(dv)).enumerate().for_each(|(kv_head, (mut dq, (mut dk, mut dv)))| {
            for tile in tiles_of(*row, segment, segment, &sight) {
                for member in 0..sizes.group() {
                    let head = Head { kv_head, member };
                    backward_tile(saved, &tile, head, sight, sizes, [dq.rb_mut(), dk.rb_mut(), dv.rb_mut()]);
                }
            }
        });
    });
    (dq, dk, dv)
}

/// Which heads a tile is computed for.
#[derive(Clone, Copy)]
struct Head {
    kv_head: usize,
    /// Number within the group of query heads of the key head.
    member: usize,
}

/// One query head for one tile. The gradients cover the segment: those of queries all heads of the group, those
/// of keys and values one head.
fn backward_tile(
    saved: &Saved<'_>,
    tile: &Tile,
    head: Head,
    sight: Sight,
    sizes: Sizes,
    [dq, dk, dv]: [MatMut<'_, f32>; 3],
) {
    let Tile { row, at, segment } = tile;
    let query_head = head.kv_head * sizes.group() + head.member;
    let span = sight.of_all(at, segment);
    let keys = keys_of(saved.k, *row, &span, head.kv_head, sizes);
    let values = keys_of(saved.v, *row, &span, head.kv_head, sizes);
    let queries = queries_of(saved.q, *row, at, query_head, sizes);
    let gradient = queries_of(saved.gradient, *row, at, query_head, sizes);
    let (count, width) = (at.len(), span.len());
    let tile_in_segment = local(at, segment);
    let span_in_segment = local(&span, segment);
    let dq = dq.subrows_mut(tile_in_segment.start, count);
    let dq = dq.subcols_mut(head.member * sizes.features, sizes.features);
    let dk = dk.subrows_mut(span_in_segment.start, width);
    let dv = dv.subrows_mut(span_in_segment.start, width);
    scratch::with(2 * count * width, |buffers| {
        let (weights, d_scores) = buffers.split_at_mut(count * width);
        product_here(matrix_mut(weights, count, width), queries, keys.transpose(), 1.0, false);
        product_here(matrix_mut(d_scores, count, width), gradient, values.transpose(), 1.0, false);
        let rows = weights.chunks_exact_mut(width).zip(d_scores.chunks_exact_mut(width));
        for (at, (weights, d_scores)) in at.clone().zip(rows) {
            let start = first_value(*row, at, query_head, sizes);
            let out = &saved.out[start..start + sizes.features];
            let gradient = &saved.gradient[start..start + sizes.features];
            let log_sum = saved.log_sums[start / sizes.features];
            let seen = local(&sight.of(at, segment), &span);
            differentiate(weights, d_scores, seen, sight.scale, log_sum, out, gradient);
        }
        let (weights, d_scores) = (matrix(weights, count, width), matrix(d_scores, count, width));
        product_here(dv, weights.transpose(), gradient, 1.0, true);
        product_here(dq, d_scores, keys, 1.0, false);
        product_here(dk, d_scores.transpose(), queries, 1.0, true);
    });
}

/// Turns a row of products q·k into weights P, and the row of products dO·v (dP) into `scale · P ∘ (dP - D)` with
/// `D = Σ dO ∘ O`; zeros where nothing is seen.
fn differentiate(
    weights: &mut [f32],
    d_scores: &mut [f32],
    seen: Range<usize>,
    scale: f32,
    log_sum: f32,
    out: &[f32],
    gradient: &[f32],
) {
    for row in [&mut *weights, &mut *d_scores] {
        row[..seen.start].fill(0.0);
        row[seen.end..].fill(0.0);
    }
    let (weights, d_scores) = (&mut weights[seen.clone()], &mut d_scores[seen]);
    simd(
        #[inline(always)]
        || {
            let level = dot_lanes(out, gradient);
            for (weight, d_score) in weights.iter_mut().zip(d_scores) {
                *weight = exp(*weight * scale - log_sum);
                *d_score = *weight * (*d_score - level) * scale;
            }
        },
    );
}
