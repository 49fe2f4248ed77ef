//! Normalisation of rows, forward and backward.
//!
//! Place in the data flow: called by [`crate::ops::rms_norm`] and [`crate::ops::layer_norm`]. Statistics of a row
//! are computed again in the backward pass: cheaper than keeping them.

use super::reduce::{dot_lanes, sum_lanes};
use super::{scratch, simd};
use rayon::prelude::*;

/// Rows per piece of work. Fixed, because gradients of weights are summed piece by piece.
const PIECE_ROWS: usize = 32;

/// Which gradients are wanted, and where they go.
#[derive(Default)]
pub(crate) struct NormGradients {
    /// As the input.
    pub input: Option<Vec<f32>>,
    /// (features).
    pub weight: Option<Vec<f32>>,
    /// (features).
    pub bias: Option<Vec<f32>>,
}

/// 1 / √(mean(x²) + eps).
#[inline(always)]
fn inverse_rms(x: &[f32], eps: f64) -> f32 {
    let mean = f64::from(dot_lanes(x, x)) / x.len() as f64;
    (1.0 / (mean + eps).sqrt()) as f32
}

/// `y = x / √(mean(x²) + eps) · weight` row by row.
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f64) -> Vec<f32> {
    let features = weight.len().max(1);
    let mut y = vec![0f32; x.len()];
    let piece = PIECE_ROWS * features;
    y.par_chunks_mut(piece).zip(x.par_chunks(piece)).for_each(|(y, x)| {
        simd(
            #[inline(always)]
            || {
                for (y, x) in y.chunks_exact_mut(features).zip(x.chunks_exact(features)) {
                    let inverse = inverse_rms(x, eps);
                    for (y, (&x, &w)) in y.iter_mut().zip(x.iter().zip(weight)) {
                        *y = x * inverse * w;
                    }
                }
            },
        );
    });
    y
}

/// Gradients of [`rms_norm`] for the output gradient `g`; see [`rms_norm_backward_add`].
pub(crate) fn rms_norm_backward(x: &[f32], weight: &[f32], g: &[f32], eps: f64, wants: (bool, bool)) -> NormGradients {
    let mut dx = wants.0.then(|| vec![0f32; x.len()]);
    let weight = rms_norm_backward_add(x, weight, g, eps, dx.as_deref_mut(), wants.1);
    NormGradients { input: dx, weight, bias: None }
}

/// Adds the gradient of the input of [`rms_norm`] to `dx` for the output gradient `g`, and returns that of the weight
/// when it is wanted. With i = 1/√(mean(x²)+eps) and D features:
/// `dx = i·(g∘w) - x · i³/D · Σ(g∘w∘x)`, `dw = Σ_rows g∘x·i`.
pub(crate) fn rms_norm_backward_add(
    x: &[f32],
    weight: &[f32],
    g: &[f32],
    eps: f64,
    dx: Option<&mut [f32]>,
    want_weight: bool,
) -> Option<Vec<f32>> {
    let features = weight.len().max(1);
    let piece = PIECE_ROWS * features;
    let count = x.len().div_ceil(piece);
    let mut partial = want_weight.then(|| vec![0f32; count * features]);
    pieces_of(dx, piece, count)
        .into_par_iter()
        .zip(pieces_of(partial.as_deref_mut(), features, count))
        .zip(x.par_chunks(piece).zip(g.par_chunks(piece)))
        .for_each(|((mut dx, mut partial), (x, g))| {
            scratch::with(features, |weighted| {
                simd(
                    #[inline(always)]
                    || {
                        for (row, (x, g)) in x.chunks_exact(features).zip(g.chunks_exact(features)).enumerate() {
                            let inverse = inverse_rms(x, eps);
                            if let Some(partial) = &mut partial {
                                for (sum, (&x, &g)) in partial.iter_mut().zip(x.iter().zip(g)) {
                                    *sum += g * (x * inverse);
                                }
                            }
                            if let Some(dx) = &mut dx {
                                let dx = &mut dx[row * features..(row + 1) * features];
                                for (weighted, (&g, &w)) in weighted.iter_mut().zip(g.iter().zip(weight)) {
                                    *weighted = g * w;
                                }
                                let along = dot_lanes(weighted, x) * inverse * inverse / features as f32;
                                for (dx, (&weighted, &x)) in dx.iter_mut().zip(weighted.iter().zip(x)) {
                                    *dx += inverse * (weighted - along * x);
                                }
                            }
                        }
                    },
                );
            });
        });
    partial.map(|partial| sum_pieces(&partial, features))
}

/// Mean and 1/√(variance + eps) of a row.
#[inline(always)]
fn moments(x: &[f32], eps: f64) -> (f32, f32) {
    let features = x.len() as f64;
    let mean = (f64::from(sum_lanes(x)) / features) as f32;
    let mut variance = 0f64;
    for chunk in x.chunks(256) {
        // Short runs in f32, summed up in f64: fast, and exact enough for a row far from zero.
        let mut centred = [0f32; 256];
        let centred = &mut centred[..chunk.len()];
        for (centred, &x) in centred.iter_mut().zip(chunk) {
            *centred = x - mean;
        }
        variance += f64::from(dot_lanes(centred, centred));
    }
    (mean, (1.0 / (variance / features + eps).sqrt()) as f32)
}

/// Σ u·(x - mean).
#[inline(always)]
fn dot_centred(u: &[f32], x: &[f32], mean: f32) -> f32 {
    let mut sum = 0f32;
    for (u, x) in u.chunks(256).zip(x.chunks(256)) {
        let mut centred = [0f32; 256];
        let centred = &mut centred[..x.len()];
        for (centred, &x) in centred.iter_mut().zip(x) {
            *centred = x - mean;
        }
        sum += dot_lanes(u, centred);
    }
    sum
}

/// `y = (x - mean) / √(var + eps) · weight + bias` row by row.
pub(crate) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f64) -> Vec<f32> {
    let features = weight.len().max(1);
    let mut y = vec![0f32; x.len()];
    let piece = PIECE_ROWS * features;
    y.par_chunks_mut(piece).zip(x.par_chunks(piece)).for_each(|(y, x)| {
        simd(
            #[inline(always)]
            || {
                for (y, x) in y.chunks_exact_mut(features).zip(x.chunks_exact(features)) {
                    let (mean, inverse) = moments(x, eps);
                    for (y, (&x, (&w, &b))) in y.iter_mut().zip(x.iter().zip(weight.iter().zip(bias))) {
                        *y = (x - mean) * inverse * w + b;
                    }
                }
            },
        );
    });
    y
}

/// Gradients of [`layer_norm`] for the output gradient `g`. With h = (x - mean)·i and u = g∘w:
/// `dx = i·(u - mean(u) - h·mean(u∘h))`, `dw = Σ_rows g∘h`, `db = Σ_rows g`.
pub(crate) fn layer_norm_backward(
    x: &[f32],
    weight: &[f32],
    g: &[f32],
    eps: f64,
    wants: (bool, bool, bool),
) -> NormGradients {
    let features = weight.len().max(1);
    let piece = PIECE_ROWS * features;
    let count = x.len().div_ceil(piece);
    let mut dx = wants.0.then(|| vec![0f32; x.len()]);
    let mut weight_parts = wants.1.then(|| vec![0f32; count * features]);
    let mut bias_parts = wants.2.then(|| vec![0f32; count * features]);
    pieces_of(dx.as_deref_mut(), piece, count)
        .into_par_iter()
        .zip(pieces_of(weight_parts.as_deref_mut(), features, count))
        .zip(pieces_of(bias_parts.as_deref_mut(), features, count))
        .zip(x.par_chunks(piece).zip(g.par_chunks(piece)))
        .for_each(|(((mut dx, mut weight_part), mut bias_part), (x, g))| {
            simd(
                #[inline(always)]
                || {
                    for (row, (x, g)) in x.chunks_exact(features).zip(g.chunks_exact(features)).enumerate() {
                        let (mean, inverse) = moments(x, eps);
                        if let Some(part) = &mut weight_part {
                            for (sum, (&x, &g)) in part.iter_mut().zip(x.iter().zip(g)) {
                                *sum += g * ((x - mean) * inverse);
                            }
                        }
                        if let Some(part) = &mut bias_part {
                            for (sum, &g) in part.iter_mut().zip(g) {
                                *sum += g;
                            }
                        }
                        if let Some(dx) = &mut dx {
                            let dx = &mut dx[row * features..(row + 1) * features];
                            for (dx, (&g, &w)) in dx.iter_mut().zip(g.iter().zip(weight)) {
                                *dx = g * w;
                            }
                            let level = sum_lanes(dx) / features as f32;
                            let along = inverse * dot_centred(dx, x, mean) / features as f32;
                            for (dx, &x) in dx.iter_mut().zip(x) {
                                *dx = inverse * (*dx - level - (x - mean) * inverse * along);
                            }
                        }
                    }
                },
            );
        });
    NormGradients {
        input: dx,
        weight: weight_parts.map(|parts| sum_pieces(&parts, features)),
        bias: bias_parts.map(|parts| sum_pieces(&parts, features)),
    }
}

/// `count` pieces of a buffer that may not be wanted.
fn pieces_of(buffer: Option<&mut [f32]>, piece: usize, count: usize) -> Vec<Option<&mut [f32]>> {
    match buffer {
        Some(buffer) => buffer.chunks_mut(piece).map(Some).collect(),
        None => (0..count).map(|_| None).collect(),
    }
}

/// Sum over pieces of `features` values each, in their order.
fn sum_pieces(pieces: &[f32], features: usize) -> Vec<f32> {
    let mut sum = vec![0f32; features];
    for piece in pieces.chunks_exact(features) {
        for (sum, value) in sum.iter_mut().zip(piece) {
            *sum += value;
        }
    }
    sum
}
