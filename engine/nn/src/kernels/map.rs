//! One value in, one value out, for one, two or three slices at once.
//!
//! Place in the data flow: activations and gates, forward and backward.

use super::simd;
use rayon::prelude::*;

/// Values per piece of work: 64 KiB per operand.
const PIECE: usize = 1 << 14;

/// `y = f(x)`. Mark `f` `#[inline(always)]`.
pub(crate) fn map(x: &[f32], f: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    let mut y = vec![0f32; x.len()];
    y.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).for_each(|(y, x)| {
        simd(
            #[inline(always)]
            || {
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = f(x);
                }
            },
        );
    });
    y
}

/// `z = f(x, y)`. Mark `f` `#[inline(always)]`.
pub(crate) fn map2(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    let mut z = vec![0f32; x.len()];
    z.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE).zip(y.par_chunks(PIECE))).for_each(|(z, (x, y))| {
        simd(
            #[inline(always)]
            || {
                for (z, (&x, &y)) in z.iter_mut().zip(x.iter().zip(y)) {
                    *z = f(x, y);
                }
            },
        );
    });
    z
}

/// `(x, y) = f(x, y, z)` where they lie. Mark `f` `#[inline(always)]`.
pub(crate) fn replace_2(x: &mut [f32], y: &mut [f32], z: &[f32], f: impl Fn(f32, f32, f32) -> (f32, f32) + Sync) {
    x.par_chunks_mut(PIECE).zip(y.par_chunks_mut(PIECE).zip(z.par_chunks(PIECE))).for_each(|(x, (y, z))| {
        simd(
            #[inline(always)]
            || {
                for (x, (y, &z)) in x.iter_mut().zip(y.iter_mut().zip(z)) {
                    (*x, *y) = f(*x, *y, z);
                }
            },
        );
    });
}
