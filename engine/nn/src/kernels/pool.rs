//! Pooling of 2-D feature maps, forward and backward.
//!
//! Place in the data flow: called by [`crate::ops::max_pool2d`], [`crate::ops::avg_pool2d`] and
//! [`crate::ops::global_avg_pool`]. Each map is worked on by one thread; windows are gone through tap by tap.

use super::reduce::sum_lanes;
use super::window::{Window, over_pairs, over_pairs_back};
use super::{scratch, simd};
use rayon::prelude::*;

/// The largest value under each place of the window. A NaN stays one.
pub(crate) fn max(x: &[f32], maps: usize, window: &Window) -> Vec<f32> {
    let mut y = vec![f32::NEG_INFINITY; maps * window.positions()];
    let (area, positions) = (window.area().max(1), window.positions().max(1));
    y.par_chunks_mut(positions).zip(x.par_chunks(area)).for_each(|(y, x)| {
        simd(
            #[inline(always)]
            || {
                for tap in 0..window.taps() {
                    window.runs(
                        tap,
                        0..window.out.0,
                        #[inline(always)]
                        |run| {
                            over_pairs(
                                &mut y[run.out..run.out + run.length],
                                &x[run.input..],
                                window.stride.1,
                                #[inline(always)]
                                |y, x| *y = if x > *y || x.is_nan() { x } else { *y },
                            );
                        },
                    );
                }
            },
        );
    });
    y
}

/// Gradient of [`max`]: each output's goes to the first place of its largest value.
pub(crate) fn max_backward(x: &[f32], g: &[f32], maps: usize, window: &Window) -> Vec<f32> {
    let (area, positions) = (window.area().max(1), window.positions().max(1));
    let mut dx = vec![0f32; maps * window.area()];
    dx.par_chunks_mut(area).zip(x.par_chunks(area).zip(g.par_chunks(positions))).for_each(|(dx, (x, g))| {
        scratch::with(2 * positions, |buffer| {
            let (largest, places) = buffer.split_at_mut(positions);
            let places: &mut [u32] = bytemuck::cast_slice_mut(places);
            largest.fill(f32::NEG_INFINITY);
            places.fill(0);
            for tap in 0..window.taps() {
                window.runs(tap, 0..window.out.0, |run| {
                    let outputs = largest[run.out..].iter_mut().zip(&mut places[run.out..]).take(run.length);
                    for ((largest, place), input) in outputs.zip((run.input..).step_by(window.stride.1)) {
                        let value = x[input];
                        if value > *largest || value.is_nan() {
                            *largest = value;
                            *place = input as u32;
                        }
                    }
                });
            }
            for (&place, g) in places.iter().zip(g) {
                dx[place as usize] += g;
            }
        });
    });
    dx
}

/// The mean under each place of the window, padding counted as zeros.
pub(crate) fn average(x: &[f32], maps: usize, window: &Window) -> Vec<f32> {
    let mut y = vec![0f32; maps * window.positions()];
    let (area, positions) = (window.area().max(1), window.positions().max(1));
    let share = 1.0 / window.taps() as f32;
    y.par_chunks_mut(positions).zip(x.par_chunks(area)).for_each(|(y, x)| {
        simd(
            #[inline(always)]
            || {
                for tap in 0..window.taps() {
                    window.runs(
                        tap,
                        0..window.out.0,
                        #[inline(always)]
                        |run| {
                            over_pairs(
                                &mut y[run.out..run.out + run.length],
                                &x[run.input..],
                                window.stride.1,
                                #[inline(always)]
                                |y, x| *y += x * share,
                            );
                        },
                    );
                }
            },
        );
    });
    y
}

/// Gradient of [`average`].
pub(crate) fn average_backward(g: &[f32], maps: usize, window: &Window) -> Vec<f32> {
    let (area, positions) = (window.area().max(1), window.positions().max(1));
    let mut dx = vec![0f32; maps * window.area()];
    let share = 1.0 / window.taps() as f32;
    dx.par_chunks_mut(area).zip(g.par_chunks(positions)).for_each(|(dx, g)| {
        simd(
            #[inline(always)]
            || {
                for tap in 0..window.taps() {
                    window.runs(
                        tap,
                        0..window.out.0,
                        #[inline(always)]
                        |run| {
                            over_pairs_back(
                                &mut dx[run.input..],
                                &g[run.out..run.out + run.length],
                                window.stride.1,
                                #[inline(always)]
                                |dx, g| *dx += g * share,
                            );
                        },
                    );
                }
            },
        );
    });
    dx
}

/// Values that one thread takes at a time from maps that are means.
const PIECE_VALUES: usize = 1 << 14;

/// The mean of each map of `area` values.
pub(crate) fn mean(x: &[f32], area: usize) -> Vec<f32> {
    let area = area.max(1);
    let mut y = vec![0f32; x.len() / area];
    let piece = (PIECE_VALUES / area).max(1);
    y.par_chunks_mut(piece).zip(x.par_chunks(piece * area)).for_each(|(y, x)| {
        simd(
            #[inline(always)]
            || {
                for (y, x) in y.iter_mut().zip(x.chunks_exact(area)) {
                    *y = sum_lanes(x) / area as f32;
                }
            },
        );
    });
    y
}

/// Gradient of [`mean`].
pub(crate) fn mean_backward(g: &[f32], area: usize) -> Vec<f32> {
    let area = area.max(1);
    let mut dx = vec![0f32; g.len() * area];
    let piece = (PIECE_VALUES / area).max(1);
    dx.par_chunks_mut(piece * area).zip(g.par_chunks(piece)).for_each(|(dx, g)| {
        for (dx, g) in dx.chunks_exact_mut(area).zip(g) {
            dx.fill(g / area as f32);
        }
    });
    dx
}
