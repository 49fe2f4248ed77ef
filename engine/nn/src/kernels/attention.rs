//! Grouped-query attention, forward and backward, tile by tile.
//!
//! Place in the data flow: called by [`crate::ops::attention`]. A tile is a run of queries of one segment against
//! the keys that any of them sees; its scores exist only in a thread's scratch buffer, so that memory grows with
//! the length of the text, not with its square. The forward pass keeps the logarithm of each row's sum of
//! exponentials, from which the backward pass makes the weights again. Keys that stand before every segment ([`Ahead`])
//! are the first columns of a tile.
//!
//! Dao, Fu, Ermon, Rudra, Ré, "FlashAttention" (2022), for the idea of recomputing tiles and for the form of the
//! gradient `dS = P ∘ (dP - rowsum(dO ∘ O))`.

use super::math::exp;
use super::reduce::{dot_lanes, sum_of_rows};
use super::softmax::exponentiate;
use super::{pieces_or_empty, scratch, simd};
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

/// Keys and values before those of every segment, (count, Hkv, Dh) each. They take the first positions of it: windows are
/// counted over them too.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ahead<'a> {
    /// How many.
    pub count: usize,
    /// Keys.
    pub keys: &'a [f32],
    /// Values.
    pub values: &'a [f32],
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
    /// Places of `segment` that the query at place `at` sees.
    fn of(&self, at: usize, segment: &Range<usize>) -> Range<usize> {
        let start = segment.start.max((at + 1).saturating_sub(self.window));
        let end = if self.causal { at + 1 } else { segment.end.min(at.saturating_add(self.window)) };
        start..end
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
    /// How many keys stand before them.
    ahead: usize,
}

/// Which keys a tile's scores are of: columns for those before the segment, then columns for its own.
struct Span {
    /// Of the keys before the segment.
    ahead: Range<usize>,
    /// Key positions.
    own: Range<usize>,
}

impl Span {
    fn width(&self) -> usize {
        self.ahead.len() + self.own.len()
    }

    /// Keys or values of one head, those before the segment and its own.
    fn both<'a>(&self, (ahead, own): (&'a [f32], &'a [f32]), row: usize, kv_head: usize, sizes: Sizes) -> Both<'a> {
        (ahead_of(ahead, &self.ahead, kv_head, sizes), keys_of(own, row, &self.own, kv_head, sizes))
    }
}

/// Keys or values before a segment, and of it.
type Both<'a> = (MatRef<'a, f32>, MatRef<'a, f32>);

impl Tile {
    /// The places of the segment, counted from its beginning in its row, with what stands before it.
    fn longer(&self) -> Range<usize> {
        self.segment.start..self.segment.end + self.ahead
    }

    /// The places that any query of the tile sees.
    fn places(&self, sight: &Sight) -> Range<usize> {
        let segment = self.longer();
        let of = |at: usize| sight.of(at + self.ahead, &segment);
        of(self.at.start).start..of(self.at.end - 1).end
    }

    /// The keys at these places.
    fn span(&self, places: &Range<usize>) -> Span {
        let (start, first_own) = (self.segment.start, self.segment.start + self.ahead);
        let ahead = places.start.min(first_own) - start..places.end.min(first_own) - start;
        let own = places.start.max(first_own) - self.ahead..places.end.max(first_own) - self.ahead;
        Span { ahead, own }
    }

    /// The columns, among those of `places`, that the query at key position `at` sees.
    fn seen(&self, at: usize, places: &Range<usize>, sight: &Sight) -> Range<usize> {
        local(&sight.of(at + self.ahead, &self.longer()), places)
    }
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

/// Cuts the queries at `at` of a segment, which `ahead` keys stand before, into tiles of even length.
fn tiles_of(
    row: usize,
    at: &Range<usize>,
    segment: &Range<usize>,
    ahead: usize,
    sight: &Sight,
) -> impl Iterator<Item = Tile> {
    let span = (segment.len() + ahead).min(sight.window.saturating_add(TILE_QUERIES));
    let most = (TILE_SCORES / span.max(1)).clamp(MIN_TILE_QUERIES, TILE_QUERIES);
    let count = at.len().div_ceil(most).max(1);
    let length = at.len().div_ceil(count).max(1);
    let (end, segment) = (at.end, segment.clone());
    at.clone().step_by(length).map(move |start| Tile {
        row,
        at: start..end.min(start + length),
        segment: segment.clone(),
        ahead,
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

/// Keys or values of one head among those before a segment.
fn ahead_of<'a>(part: &'a [f32], range: &Range<usize>, kv_head: usize, sizes: Sizes) -> MatRef<'a, f32> {
    let narrow = sizes.narrow();
    let from = part.get(range.start * narrow + kv_head * sizes.features..).unwrap_or_default();
    strided(from, range.len(), sizes.features, narrow)
}

/// `scores = queries · keysᵀ` for both parts of a span.
fn scores_of(scores: &mut [f32], queries: MatRef<'_, f32>, (ahead, own): Both<'_>) {
    let (count, width) = (queries.nrows(), ahead.nrows() + own.nrows());
    let (front, back) = matrix_mut(scores, count, width).split_at_col_mut(ahead.nrows());
    if ahead.nrows() > 0 {
        product_here(front, queries, ahead.transpose(), 1.0, false);
    }
    product_here(back, queries, own.transpose(), 1.0, false);
}

/// `out = weights · values` for both parts of a span.
fn weighted(mut out: MatMut<'_, f32>, weights: MatRef<'_, f32>, (ahead, own): Both<'_>) {
    let (front, back) = weights.split_at_col(ahead.nrows());
    if ahead.nrows() > 0 {
        product_here(out.rb_mut(), front, ahead, 1.0, false);
    }
    product_here(out, back, own, 1.0, ahead.nrows() > 0);
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
    ahead: Ahead<'_>,
    borders: &[Vec<u32>],
    sight: Sight,
    sizes: Sizes,
) -> (Vec<f32>, Vec<f32>) {
    let mut out = vec![0f32; q.len()];
    let mut log_sums = vec![0f32; q.len() / sizes.features.max(1)];
    let mut tiles = Vec::new();
    for (row, borders) in borders.iter().enumerate() {
        for (at, segment) in segments(borders, sizes) {
            tiles.extend(tiles_of(row, &at, &segment, ahead.count, &sight));
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
            forward_tile((q, k, v), ahead, tile, kv_head, sight, sizes, (out, log_sums));
        });
    });
    (out, log_sums)
}

/// All query heads of one key head for one tile.
fn forward_tile(
    (q, k, v): (&[f32], &[f32], &[f32]),
    ahead: Ahead<'_>,
    tile: &Tile,
    kv_head: usize,
    sight: Sight,
    sizes: Sizes,
    (mut out, mut log_sums): (MatMut<'_, f32>, MatMut<'_, f32>),
) {
    let places = tile.places(&sight);
    let span = tile.span(&places);
    let keys = span.both((ahead.keys, k), tile.row, kv_head, sizes);
    let values = span.both((ahead.values, v), tile.row, kv_head, sizes);
    let (count, width) = (tile.at.len(), span.width());
    scratch::with(count * width, |scores| {
        for member in 0..sizes.group() {
            let queries = queries_of(q, tile.row, &tile.at, kv_head * sizes.group() + member, sizes);
            scores_of(scores, queries, keys);
            for (index, (at, scores)) in tile.at.clone().zip(scores.chunks_exact_mut(width)).enumerate() {
                log_sums[(index, member)] = normalise(scores, tile.seen(at, &places, &sight), sight.scale);
            }
            let out = out.rb_mut().subcols_mut(member * sizes.features, sizes.features);
            weighted(out, matrix(scores, count, width), values);
        }
    });
}

/// A range of places counted from the start of `span`.
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
    /// What stands before the segments.
    pub ahead: Ahead<'a>,
    /// Output of the forward pass.
    pub out: &'a [f32],
    /// Its logarithms of sums (B, T, H).
    pub log_sums: &'a [f32],
    /// Gradient of the output.
    pub gradient: &'a [f32],
}

/// Gradients, each of the shape of what it is of.
pub(crate) struct Gradients {
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
    /// Of keys, then values before the segments, (2, count, Hkv, Dh): summed over the segments.
    pub ahead: Vec<f32>,
}

/// Gradients for queries, keys and values.
pub(crate) fn backward(saved: &Saved<'_>, borders: &[Vec<u32>], sight: Sight, sizes: Sizes) -> Gradients {
    let mut dq = vec![0f32; saved.q.len()];
    let mut dk = vec![0f32; saved.k.len()];
    let mut dv = vec![0f32; saved.v.len()];
    let mut parts = Vec::new();
    for (row, borders) in borders.iter().enumerate() {
        parts.extend(segments(borders, sizes).map(|(_, segment)| (row, segment)));
    }
    // A piece for each segment, so that they are summed in an order that does not depend on threads.
    let (narrow, ahead) = (sizes.narrow(), saved.ahead.count);
    let piece = 2 * ahead * narrow;
    let mut d_ahead = vec![0f32; parts.len() * piece];
    let rows = || parts.iter().map(|(row, segment)| row * sizes.keys + segment.start..row * sizes.keys + segment.end);
    let dqs = carve(&mut dq, sizes.wide(), rows());
    let dks = carve(&mut dk, narrow, rows());
    let dvs = carve(&mut dv, narrow, rows());
    let d_aheads = pieces_or_empty(&mut d_ahead, piece, parts.len());
    let pieces = parts.par_iter().zip(dqs).zip(dks.into_par_iter().zip(dvs).zip(d_aheads));
    pieces.for_each(|(((row, segment), dq), ((dk, dv), d_ahead))| {
        let (length, features) = (segment.len(), sizes.features);
        let dq = matrix_mut(dq, length, sizes.wide()).par_col_chunks_mut(sizes.group() * features);
        let dk = matrix_mut(dk, length, narrow).par_col_chunks_mut(features);
        let dv = matrix_mut(dv, length, narrow).par_col_chunks_mut(features);
        let d_ahead = matrix_mut(d_ahead, 2 * ahead, narrow).par_col_chunks_mut(features);
        dq.zip(dk.zip(dv).zip(d_ahead)).enumerate().for_each(|(kv_head, (mut dq, ((mut dk, mut dv), mut d_ahead)))| {
            for tile in tiles_of(*row, segment, segment, ahead, &sight) {
                for member in 0..sizes.group() {
                    let head = Head { kv_head, member };
                    let gradients = [dq.rb_mut(), dk.rb_mut(), dv.rb_mut(), d_ahead.rb_mut()];
                    backward_tile(saved, &tile, head, sight, sizes, gradients);
                }
            }
        });
    });
    Gradients { q: dq, k: dk, v: dv, ahead: sum_of_rows(&d_ahead, piece) }
}

/// Which heads a tile is computed for.
#[derive(Clone, Copy)]
struct Head {
    kv_head: usize,
    /// Number within the group of query heads of the key head.
    member: usize,
}

/// One query head for one tile. The gradients cover the segment: those of queries all heads of the group, those
/// of keys and values one head; the last one is that of keys and values before it.
fn backward_tile(
    saved: &Saved<'_>,
    tile: &Tile,
    head: Head,
    sight: Sight,
    sizes: Sizes,
    [dq, dk, dv, d_ahead]: [MatMut<'_, f32>; 4],
) {
    let Tile { row, at, segment, ahead } = tile;
    let query_head = head.kv_head * sizes.group() + head.member;
    let places = tile.places(&sight);
    let span = tile.span(&places);
    let keys = span.both((saved.ahead.keys, saved.k), *row, head.kv_head, sizes);
    let values = span.both((saved.ahead.values, saved.v), *row, head.kv_head, sizes);
    let queries = queries_of(saved.q, *row, at, query_head, sizes);
    let gradient = queries_of(saved.gradient, *row, at, query_head, sizes);
    let (count, width) = (at.len(), span.width());
    let tile_in_segment = local(at, segment);
    let span_in_segment = local(&span.own, segment);
    let dq = dq.subrows_mut(tile_in_segment.start, count);
    let dq = dq.subcols_mut(head.member * sizes.features, sizes.features);
    let dk = dk.subrows_mut(span_in_segment.start, span.own.len());
    let dv = dv.subrows_mut(span_in_segment.start, span.own.len());
    scratch::with(2 * count * width, |buffers| {
        let (weights, d_scores) = buffers.split_at_mut(count * width);
        scores_of(weights, queries, keys);
        scores_of(d_scores, gradient, values);
        let rows = weights.chunks_exact_mut(width).zip(d_scores.chunks_exact_mut(width));
        for (at, (weights, d_scores)) in at.clone().zip(rows) {
            let start = first_value(*row, at, query_head, sizes);
            let out = &saved.out[start..start + sizes.features];
            let gradient = &saved.gradient[start..start + sizes.features];
            let log_sum = saved.log_sums[start / sizes.features];
            let seen = tile.seen(at, &places, &sight);
            differentiate(weights, d_scores, seen, sight.scale, log_sum, out, gradient);
        }
        let (weights, d_scores) = (matrix(weights, count, width), matrix(d_scores, count, width));
        let (weights_ahead, weights_own) = weights.split_at_col(span.ahead.len());
        let (d_scores_ahead, d_scores_own) = d_scores.split_at_col(span.ahead.len());
        product_here(dv, weights_own.transpose(), gradient, 1.0, true);
        product_here(dk, d_scores_own.transpose(), queries, 1.0, true);
        if !span.ahead.is_empty() {
            let (d_keys, d_values) = d_ahead.split_at_row_mut(*ahead);
            let d_keys = d_keys.subrows_mut(span.ahead.start, span.ahead.len());
            let d_values = d_values.subrows_mut(span.ahead.start, span.ahead.len());
            product_here(d_keys, d_scores_ahead.transpose(), queries, 1.0, true);
            product_here(d_values, weights_ahead.transpose(), gradient, 1.0, true);
        }
        weighted(dq, d_scores, keys);
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
