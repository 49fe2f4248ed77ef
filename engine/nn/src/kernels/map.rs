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

/// `(u, v) = f(x, y, z)`. Mark `f` `#[inline(always)]`.
pub(crate) fn map3_to_2(
    x: &[f32],
    y: &[f32],
    z: &[f32],
    f: impl Fn(f32, f32, f32) -> (f32, f32) + Sync,
) -> (Vec<f32>, Vec<f32>) {
    let (mut u, mut v) = (vec![0f32; x.len()], vec![0f32; x.len()]);
    let inputs = x.par_chunks(PIECE).zip(y.par_chunks(PIECE).zip(z.par_chunks(PIECE)));
    u.par_chunks_mut(PIECE).zip(v.par_chunks_mut(PIECE)).zip(inputs).for_each(|((u, v), (x, (y, z)))| {
        simd(
            #[inline(always)]
            || {
                for ((u, v), (&x, (&y, &z))) in u.iter_mut().zip(v).zip(x.iter().zip(y.iter().zip(z))) {
                    (*u, *v) = f(x, y, z);
                }
            },
        );
    });
    (u, v)
}
