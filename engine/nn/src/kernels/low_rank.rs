//! The low-rank term of a linear layer, forward and backward, with its dropout.
//!
//! Place in the data flow: called by [`crate::ops::linear_low_rank`] and [`crate::ops::low_rank`].

use super::{scratch, simd};
use crate::gemm;
use crate::rng;
use rayon::prelude::*;

/// Positions per piece of work in dropout.
const PIECE_POSITIONS: usize = 16;

/// Sizes of the factors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Positions.
    pub n: usize,
    /// Features of the input.
    pub cols: usize,
    /// Features of the output.
    pub rows: usize,
    /// Rank.
    pub rank: usize,
}

/// A dropout mask as the kernel needs it.
pub(crate) struct Mask<'a> {
    /// Words below it drop.
    pub threshold: u32,
    /// 1 / (1 - p).
    pub factor: f32,
    /// Key of the mask.
    pub key: u64,
    /// Row in the step and position of each place.
    pub place: &'a (dyn Fn(usize) -> (u64, u32) + Sync),
}

impl Mask<'_> {
    /// `out = x ∘ mask` over (positions, features); with `add`, `out += x ∘ mask`.
    fn apply(&self, x: &[f32], out: &mut [f32], features: usize, add: bool) {
        let features = features.max(1);
        let piece = PIECE_POSITIONS * features;
        out.par_chunks_mut(piece).zip(x.par_chunks(piece)).enumerate().for_each(|(index, (out, x))| {
            let rows = out.chunks_exact_mut(features).zip(x.chunks_exact(features));
            for (offset, (out, x)) in rows.enumerate() {
                let (row, position) = (self.place)(index * PIECE_POSITIONS + offset);
                self.apply_row(row, position, x, out, add);
            }
        });
    }

    fn apply_row(&self, row: u64, position: u32, x: &[f32], out: &mut [f32], add: bool) {
        simd(
            #[inline(always)]
            || {
                let blocks = out.chunks_mut(rng::MASK_BLOCK).zip(x.chunks(rng::MASK_BLOCK));
                for (block, (out, x)) in (0u32..).zip(blocks) {
                    let words = rng::mask_words(self.key, row, position, block);
                    for ((out, &x), &word) in out.iter_mut().zip(x).zip(&words) {
                        let value = if word >= self.threshold { x * self.factor } else { 0.0 };
                        *out = if add { *out + value } else { value };
                    }
                }
            },
        );
    }
}

impl Mask<'_> {
    /// `sum += part ∘ mask` and `part = x ∘ mask` over (positions, features), with each mask made once.
    fn apply_twice(&self, x: &[f32], part: &mut [f32], sum: &mut [f32], features: usize) {
        let features = features.max(1);
        let piece = PIECE_POSITIONS * features;
        let pieces = part.par_chunks_mut(piece).zip(sum.par_chunks_mut(piece)).zip(x.par_chunks(piece));
        pieces.enumerate().for_each(|(index, ((part, sum), x))| {
            let rows = part.chunks_exact_mut(features).zip(sum.chunks_exact_mut(features));
            for (offset, ((part, sum), x)) in rows.zip(x.chunks_exact(features)).enumerate() {
                let (row, position) = (self.place)(index * PIECE_POSITIONS + offset);
                simd(
                    #[inline(always)]
                    || {
                        let blocks = part.chunks_mut(rng::MASK_BLOCK).zip(sum.chunks_mut(rng::MASK_BLOCK));
                        for ((block, (part, sum)), x) in (0u32..).zip(blocks).zip(x.chunks(rng::MASK_BLOCK)) {
                            let words = rng::mask_words(self.key, row, position, block);
                            let values = part.iter_mut().zip(sum.iter_mut()).zip(x).zip(&words);
                            for (((part, sum), &x), &word) in values {
                                let kept = word >= self.threshold;
                                *sum += if kept { *part * self.factor } else { 0.0 };
                                *part = if kept { x * self.factor } else { 0.0 };
                            }
                        }
                    },
                );
            }
        });
    }
}

/// `x ∘ mask` over (positions, features), and which features were kept: a bit each, 32 to a word, each position beginning
/// a new word. The backward pass needs no generator then.
pub(crate) fn dropped_and_kept(x: &[f32], mask: &Mask<'_>, features: usize) -> (Vec<f32>, Vec<u32>) {
    let features = features.max(1);
    let words = features.div_ceil(rng::MASK_BLOCK);
    let mut out = vec![0f32; x.len()];
    let mut kept = vec![0u32; x.len() / features * words];
    let pieces = out.par_chunks_mut(PIECE_POSITIONS * features).zip(x.par_chunks(PIECE_POSITIONS * features));
    pieces.zip(kept.par_chunks_mut(PIECE_POSITIONS * words)).enumerate().for_each(|(index, ((out, x), kept))| {
        let rows = out.chunks_exact_mut(features).zip(x.chunks_exact(features)).zip(kept.chunks_exact_mut(words));
        for (offset, ((out, x), kept)) in rows.enumerate() {
            let (row, position) = (mask.place)(index * PIECE_POSITIONS + offset);
            simd(
                #[inline(always)]
                || {
                    let blocks = out.chunks_mut(rng::MASK_BLOCK).zip(x.chunks(rng::MASK_BLOCK));
                    for ((block, (out, x)), kept) in (0u32..).zip(blocks).zip(kept.iter_mut()) {
                        let drawn = rng::mask_words(mask.key, row, position, block);
                        for (((out, &x), &word), bit) in out.iter_mut().zip(x).zip(&drawn).zip(0u32..) {
                            let keep = word >= mask.threshold;
                            *kept |= u32::from(keep) << bit;
                            *out = if keep { x * mask.factor } else { 0.0 };
                        }
                    }
                },
            );
        }
    });
    (out, kept)
}

/// `x ∘ mask` with a mask that [`dropped_and_kept`] gave, of features that are made larger by `factor`.
pub(crate) fn dropped_again(x: &[f32], kept: &[u32], factor: f32, features: usize) -> Vec<f32> {
    let features = features.max(1);
    let words = features.div_ceil(rng::MASK_BLOCK);
    let mut out = vec![0f32; x.len()];
    let pieces = out.par_chunks_mut(PIECE_POSITIONS * features).zip(x.par_chunks(PIECE_POSITIONS * features));
    pieces.zip(kept.par_chunks(PIECE_POSITIONS * words)).for_each(|((out, x), kept)| {
        let rows = out.chunks_exact_mut(features).zip(x.chunks_exact(features)).zip(kept.chunks_exact(words));
        for ((out, x), kept) in rows {
            simd(
                #[inline(always)]
                || {
                    let blocks = out.chunks_mut(rng::MASK_BLOCK).zip(x.chunks(rng::MASK_BLOCK));
                    for ((out, x), kept) in blocks.zip(kept) {
                        for ((out, &x), bit) in out.iter_mut().zip(x).zip(0u32..) {
                            *out = if kept >> bit & 1 == 1 { x * factor } else { 0.0 };
                        }
                    }
                },
            );
        }
    });
    out
}

/// `x ∘ mask` over (positions, features), or a copy of `x` without a mask.
pub(crate) fn dropped(x: &[f32], mask: Option<&Mask<'_>>, features: usize) -> Vec<f32> {
    match mask {
        None => x.to_vec(),
        Some(mask) => {
            let mut out = vec![0f32; x.len()];
            mask.apply(x, &mut out, features, false);
            out
        }
    }
}

/// Calls `work` with `x ∘ mask`, or with `x` itself without a mask.
fn with_dropped<R>(x: &[f32], mask: Option<&Mask<'_>>, features: usize, work: impl FnOnce(&[f32]) -> R) -> R {
    match mask {
        None => work(x),
        Some(mask) => scratch::with(x.len(), |dropped| {
            mask.apply(x, dropped, features, false);
            work(dropped)
        }),
    }
}

/// `y += scale · u Bᵀ` with `u = drop(x) Aᵀ` (n, rank), which is returned. `accumulate` false overwrites `y`.
#[expect(clippy::too_many_arguments, reason = "operands of one product")]
pub(crate) fn forward(
    x: &[f32],
    a: &[f32],
    b: &[f32],
    scale: f32,
    mask: Option<&Mask<'_>>,
    y: &mut [f32],
    sizes: Sizes,
    accumulate: bool,
) -> Vec<f32> {
    let Sizes { n, rows, rank, .. } = sizes;
    let u = inner(x, a, mask, sizes);
    gemm::gemm_nt(&u, b, y, n, rows, rank, scale, accumulate);
    u
}

/// `drop(x) Aᵀ` (n, rank).
pub(crate) fn inner(x: &[f32], a: &[f32], mask: Option<&Mask<'_>>, sizes: Sizes) -> Vec<f32> {
    let Sizes { n, cols, rank, .. } = sizes;
    let mut u = vec![0f32; n * rank];
    with_dropped(x, mask, cols, |x| gemm::gemm_nt(x, a, &mut u, n, rank, cols, 1.0, false));
    u
}

/// Gradients of the low-rank term.
#[derive(Default)]
pub(crate) struct Gradients {
    /// (rank, in).
    pub a: Option<Vec<f32>>,
    /// (out, rank).
    pub b: Option<Vec<f32>>,
}

/// For the output gradient `g` (n, out), with e = scale · g B: `dx += mask ∘ (e A)`, `dA = eᵀ drop(x)`,
/// `dB = scale · gᵀ u`. `dx` is added to (the frozen weight's part is in it already); `u` is what [`forward`]
/// returned.
#[expect(clippy::too_many_arguments, reason = "operands of one product")]
pub(crate) fn backward(
    x: &[f32],
    a: &[f32],
    b: &[f32],
    u: &[f32],
    g: &[f32],
    scale: f32,
    mask: Option<&Mask<'_>>,
    dx: Option<&mut [f32]>,
    wants: (bool, bool),
    sizes: Sizes,
) -> Gradients {
    let Sizes { n, cols, rows, rank } = sizes;
    let mut gradients = Gradients::default();
    if wants.1 {
        let mut db = vec![0f32; rows * rank];
        gemm::gemm_tn(g, u, &mut db, rows, rank, n, scale, false);
        gradients.b = Some(db);
    }
    if !wants.0 && dx.is_none() {
        return gradients;
    }
    let mut e = vec![0f32; n * rank];
    gemm::gemm_nn(g, b, &mut e, n, rank, rows, scale, false);
    let dx = match (wants.0, dx, mask) {
        (true, Some(dx), Some(mask)) => {
            let mut da = vec![0f32; rank * cols];
            scratch::with(dx.len(), |part| {
                gemm::gemm_nn(&e, a, part, n, cols, rank, 1.0, false);
                mask.apply_twice(x, part, dx, cols);
                gemm::gemm_tn(&e, part, &mut da, rank, cols, n, 1.0, false);
            });
            gradients.a = Some(da);
            return gradients;
        }
        (_, dx, _) => dx,
    };
    if wants.0 {
        let mut da = vec![0f32; rank * cols];
        with_dropped(x, mask, cols, |x| gemm::gemm_tn(&e, x, &mut da, rank, cols, n, 1.0, false));
        gradients.a = Some(da);
    }
    match (dx, mask) {
        (Some(dx), None) => gemm::gemm_nn(&e, a, dx, n, cols, rank, 1.0, true),
        (Some(dx), Some(mask)) => scratch::with(dx.len(), |part| {
            gemm::gemm_nn(&e, a, part, n, cols, rank, 1.0, false);
            mask.apply(part, dx, cols, true);
        }),
        (None, _) => {}
    }
    gradients
}
