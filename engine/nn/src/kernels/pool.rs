//! Pooling of 2-D feature maps, forward and backward.
//!
//! Place in the data flow: called by [`crate::ops::max_pool2d`] and [`crate::ops::avg_pool2d`]. Each map is worked on by one thread. Windows are gone through tap by tap; where they
//! lie side by side, as in most models, row by row, so that gradients are written once and in order.

use super::window::{Window, over_pairs, over_pairs_back};
use super::{scratch, simd};
use rayon::prelude::*;
use std::ops::Range;

/// Values below which maps stay on the calling thread: waking another costs more than it saves.
const PARALLEL_FROM: usize = 1 << 20;
/// Values that one thread takes at a time.
const PIECE_VALUES: usize = 1 << 15;

/// Calls `work` with every pair of maps, `width` values of `out` and `height` of `from`, spread over the pool when there
/// are many. Maps have at least one value.
fn for_maps(
    (out, width): (&mut [f32], usize),
    (from, height): (&[f32], usize),
    work: impl Fn(usize, &mut [f32], &[f32]) + Sync,
) {
    if width == 0 || height == 0 {
        return;
    }
    let piece = (PIECE_VALUES / width.max(height)).max(1);
    let of_piece = |index: usize, out: &mut [f32], from: &[f32]| {
        for (map, (out, from)) in out.chunks_exact_mut(width).zip(from.chunks_exact(height)).enumerate() {
            work(index * piece + map, out, from);
        }
    };
    if out.len().max(from.len()) < PARALLEL_FROM {
        let pieces = out.chunks_mut(piece * width).zip(from.chunks(piece * height));
        pieces.enumerate().for_each(|(index, (out, from))| of_piece(index, out, from));
    } else {
        let pieces = out.par_chunks_mut(piece * width).zip(from.par_chunks(piece * height));
        pieces.enumerate().for_each(|(index, (out, from))| of_piece(index, out, from));
    }
}

/// Goes through the rows of windows that lie side by side: `work` gets a row of the output map and the places of an input
/// row below it, which it sees `kernel.1` values apiece.
#[inline(always)]
fn tile_rows(window: &Window, mut work: impl FnMut(Range<usize>, Range<usize>)) {
    let (down, columns) = (window.kernel.0, window.out.1);
    for row in 0..window.out.0 {
        for tap in 0..down {
            let start = (row * down + tap) * window.size.1;
            work(row * columns..(row + 1) * columns, start..start + columns * window.kernel.1);
        }
    }
}

/// The larger value; a NaN stays one.
#[inline(always)]
fn larger(y: f32, x: f32) -> f32 {
    if x > y || x.is_nan() { x } else { y }
}

/// The largest value under each place of the window. A NaN stays one.
pub(crate) fn max(x: &[f32], maps: usize, window: &Window) -> Vec<f32> {
    let mut y = vec![f32::NEG_INFINITY; maps * window.positions()];
    for_maps((&mut y, window.positions()), (x, window.area()), |_, y, x| {
        simd(
            #[inline(always)]
            || gather(y, x, window, larger),
        );
    });
    y
}

/// Brings every value that a window sees into its output.
#[inline(always)]
fn gather(y: &mut [f32], x: &[f32], window: &Window, join: impl Fn(f32, f32) -> f32) {
    if window.is_tiling() && window.kernel.1 == 2 {
        tile_rows(
            window,
            #[inline(always)]
            |out, places| {
                for (y, &[first, second]) in y[out].iter_mut().zip(x[places].as_chunks::<2>().0) {
                    *y = join(join(*y, first), second);
                }
            },
        );
        return;
    }
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
                    |y, x| *y = join(*y, x),
                );
            },
        );
    }
}

/// Gradient of [`max`] with output `y`: each output's goes to the first place of its largest value.
pub(crate) fn max_backward(x: &[f32], y: &[f32], g: &[f32], maps: usize, window: &Window) -> Vec<f32> {
    let (area, positions) = (window.area(), window.positions());
    let mut dx = vec![0f32; maps * area];
    for_maps((&mut dx, area), (x, area), |map, dx, x| {
        let (y, g) = (&y[map * positions..][..positions], &g[map * positions..][..positions]);
        if window.is_tiling() && window.kernel.1 == 2 {
            tiles_backward(dx, x, y, g, window);
        } else {
            taps_backward(dx, x, y, g, window);
        }
    });
    dx
}

/// [`max_backward`] of windows two wide and side by side: what is left of each output's gradient after its first largest
/// value is zero.
fn tiles_backward(dx: &mut [f32], x: &[f32], y: &[f32], g: &[f32], window: &Window) {
    scratch::with(window.out.1, |left| {
        simd(
            #[inline(always)]
            || {
                tile_rows(
                    window,
                    #[inline(always)]
                    |out, places| {
                        if places.start.is_multiple_of(window.kernel.0 * window.size.1) {
                            left.copy_from_slice(&g[out.clone()]);
                        }
                        let rows =
                            dx[places.clone()].as_chunks_mut::<2>().0.iter_mut().zip(x[places].as_chunks::<2>().0);
                        for ((dx, x), (left, &y)) in rows.zip(left.iter_mut().zip(&y[out])) {
                            let hit = |x: f32| x == y || (x.is_nan() && y.is_nan());
                            let (first, second) = (hit(x[0]), hit(x[1]));
                            *dx = [if first { *left } else { 0.0 }, if second && !first { *left } else { 0.0 }];
                            *left = if first || second { 0.0 } else { *left };
                        }
                    },
                );
            },
        );
    });
}

/// [`max_backward`] of any windows.
fn taps_backward(dx: &mut [f32], x: &[f32], y: &[f32], g: &[f32], window: &Window) {
    scratch::with(g.len(), |left| {
        left.copy_from_slice(g);
        for tap in 0..window.taps() {
            window.runs(tap, 0..window.out.0, |run| {
                let outputs = left[run.out..run.out + run.length].iter_mut().zip(&y[run.out..]);
                for ((left, &y), input) in outputs.zip((run.input..).step_by(window.stride.1)) {
                    if x[input] == y || (x[input].is_nan() && y.is_nan()) {
                        dx[input] += *left;
                        *left = 0.0;
                    }
                }
            });
        }
    });
}

/// The mean under each place of the window, padding counted as zeros.
pub(crate) fn average(x: &[f32], maps: usize, window: &Window) -> Vec<f32> {
    let mut y = vec![0f32; maps * window.positions()];
    let share = 1.0 / window.taps() as f32;
    for_maps((&mut y, window.positions()), (x, window.area()), |_, y, x| {
        simd(
            #[inline(always)]
            || {
                gather(
                    y,
                    x,
                    window,
                    #[inline(always)]
                    |y, x| y + x,
                );
                y.iter_mut().for_each(|y| *y *= share);
            },
        );
    });
    y
}

/// Gradient of [`average`].
pub(crate) fn average_backward(g: &[f32], maps: usize, window: &Window) -> Vec<f32> {
    let mut dx = vec![0f32; maps * window.area()];
    let share = 1.0 / window.taps() as f32;
    for_maps((&mut dx, window.area()), (g, window.positions()), |_, dx, g| {
        simd(
            #[inline(always)]
            || {
                if window.is_tiling() && window.kernel.1 == 2 {
                    tile_rows(
                        window,
                        #[inline(always)]
                        |out, places| {
                            for (dx, g) in dx[places].as_chunks_mut::<2>().0.iter_mut().zip(&g[out]) {
                                *dx = [g * share; 2];
                            }
                        },
                    );
                    return;
                }
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
