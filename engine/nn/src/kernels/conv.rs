//! Convolution of 2-D feature maps, forward and backward.
//!
//! Place in the data flow: called by [`crate::ops::conv2d`]. Maps are (images, channels, height, width), kernels
//! (outputs, channels of a group, height, width), all f32 and row-major. A group's convolution is a matrix product with
//! the unfolded input, (channel, tap) by output position, which is made block by block in a thread's scratch buffer and
//! never exists as a whole. Where a group has one channel the unfolded input would be as wide as the kernel is small, so
//! that those are summed up tap by tap instead.
//!
//! All blocks have sizes that depend on the shapes only: results do not depend on the number of threads.

use super::reduce::dot_lanes;
use super::window::{Window, over_pairs, over_pairs_back};
use super::{scratch, simd};
use crate::gemm::{matrix, matrix_mut, product_here, strided};
use faer::MatRef;
use faer::prelude::ReborrowMut as _;
use rayon::prelude::*;
use std::ops::Range;

/// Unfolded values per block: 1 MiB, which stays in the second-level cache of most processors.
const BLOCK_VALUES: usize = 1 << 18;
/// A group's channels are cut into at least this many pieces, so that one image keeps several threads busy.
const LEAST_PIECES: usize = 4;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conv {
    /// Images.
    pub batch: usize,
    /// Channels of the input.
    pub channels: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// Groups: output channels of a group see the input channels of the same group.
    pub groups: usize,
    /// The kernel's way over a map.
    pub window: Window,
}

impl Conv {
    fn group_channels(&self) -> usize {
        self.channels / self.groups
    }

    fn group_outputs(&self) -> usize {
        self.outputs / self.groups
    }

    /// Values of a kernel for one output channel.
    fn depth(&self) -> usize {
        self.group_channels() * self.window.taps()
    }

    fn is_empty(&self) -> bool {
        let window = &self.window;
        [self.batch, self.channels, self.outputs, window.area(), window.positions(), window.taps()].contains(&0)
    }

    /// Channels of a group that are unfolded at a time over a whole map.
    fn channels_per_piece(&self) -> usize {
        let fitting = BLOCK_VALUES / (self.window.taps() * self.window.positions());
        fitting.clamp(1, self.group_channels().div_ceil(LEAST_PIECES))
    }

    /// Input maps `from..from + count` of an image, where channels count through all images.
    fn maps<'a>(&self, x: &'a [f32], from: usize, count: usize) -> &'a [f32] {
        let area = self.window.area();
        &x[from * area..(from + count) * area]
    }

    /// Calls `work` with the unfolded maps `x` for the output rows `rows`: (channels · taps, positions).
    fn with_columns<R>(&self, x: &[f32], rows: Range<usize>, work: impl FnOnce(MatRef<'_, f32>) -> R) -> R {
        let window = &self.window;
        let (area, taps, width) = (window.area(), window.taps(), rows.len() * window.out.1);
        let channels = x.len() / area;
        if window.is_point() {
            return work(strided(&x[rows.start * window.size.1..], channels, width, area));
        }
        scratch::with(channels * taps * width, |columns| {
            let padded = window.padding != (0, 0);
            for (map, columns) in x.chunks_exact(area).zip(columns.chunks_exact_mut(taps * width)) {
                for (tap, column) in columns.chunks_exact_mut(width).enumerate() {
                    if padded {
                        column.fill(0.0);
                    }
                    window.runs(tap, rows.clone(), |run| {
                        let (out, input) = (&mut column[run.out..run.out + run.length], &map[run.input..]);
                        if window.stride.1 == 1 {
                            out.copy_from_slice(&input[..run.length]);
                        } else {
                            over_pairs(out, input, window.stride.1, |out, input| *out = input);
                        }
                    });
                }
            }
            work(matrix(columns, channels * taps, width))
        })
    }

    /// Adds unfolded gradients (channels · taps, positions) to the gradients of the maps they belong to.
    fn fold(&self, columns: &[f32], dx: &mut [f32]) {
        let window = &self.window;
        let (area, taps, positions) = (window.area(), window.taps(), window.positions());
        simd(
            #[inline(always)]
            || {
                for (dx, columns) in dx.chunks_exact_mut(area).zip(columns.chunks_exact(taps * positions)) {
                    for (tap, column) in columns.chunks_exact(positions).enumerate() {
                        window.runs(
                            tap,
                            0..window.out.0,
                            #[inline(always)]
                            |run| {
                                let column = &column[run.out..run.out + run.length];
                                over_pairs_back(
                                    &mut dx[run.input..],
                                    column,
                                    window.stride.1,
                                    #[inline(always)]
                                    |dx, g| *dx += g,
                                );
                            },
                        );
                    }
                }
            },
        );
    }

    /// Output maps (images, outputs, out height, out width); `bias` (outputs).
    pub(crate) fn forward(&self, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let window = &self.window;
        let positions = window.positions();
        let mut y = vec![0f32; self.batch * self.outputs * positions];
        if y.is_empty() {
            return y;
        }
        if let Some(bias) = bias {
            for (map, bias) in y.chunks_exact_mut(positions).zip(bias.iter().cycle()) {
                map.fill(*bias);
            }
        }
        if self.is_empty() {
            return y;
        }
        if self.group_channels() == 1 {
            self.depthwise(x, weight, &mut y);
            return y;
        }
        let (outputs, depth) = (self.group_outputs(), self.depth());
        let rows_per_block = (BLOCK_VALUES / (depth * window.out.1)).clamp(1, window.out.0);
        y.par_chunks_mut(outputs * positions).enumerate().for_each(|(index, y)| {
            let group = index % self.groups;
            let x = self.maps(x, index * self.group_channels(), self.group_channels());
            let weight = matrix(&weight[group * outputs * depth..(group + 1) * outputs * depth], outputs, depth);
            let blocks = matrix_mut(y, outputs, positions).par_col_chunks_mut(rows_per_block * window.out.1);
            blocks.enumerate().for_each(|(block, y)| {
                let start = block * rows_per_block;
                let rows = start..window.out.0.min(start + rows_per_block);
                self.with_columns(x, rows, |columns| product_here(y, weight, columns, 1.0, bias.is_some()));
            });
        });
        y
    }

    /// Gradient of the input for the output gradient `g`.
    pub(crate) fn backward_input(&self, weight: &[f32], g: &[f32]) -> Vec<f32> {
        let window = &self.window;
        let (area, taps, positions) = (window.area(), window.taps(), window.positions());
        let mut dx = vec![0f32; self.batch * self.channels * area];
        if self.is_empty() {
            return dx;
        }
        if self.group_channels() == 1 {
            self.depthwise_input(weight, g, &mut dx);
            return dx;
        }
        let (outputs, depth, per_piece) = (self.group_outputs(), self.depth(), self.channels_per_piece());
        dx.par_chunks_mut(self.group_channels() * area).enumerate().for_each(|(index, dx)| {
            let group = index % self.groups;
            let g = matrix(&g[index * outputs * positions..(index + 1) * outputs * positions], outputs, positions);
            let weight = matrix(&weight[group * outputs * depth..(group + 1) * outputs * depth], outputs, depth);
            dx.par_chunks_mut(per_piece * area).enumerate().for_each(|(piece, dx)| {
                let channels = dx.len() / area;
                let weight = weight.subcols(piece * per_piece * taps, channels * taps).transpose();
                if window.is_point() {
                    product_here(matrix_mut(dx, channels, area), weight, g, 1.0, false);
                    return;
                }
                scratch::with(channels * taps * positions, |columns| {
                    product_here(matrix_mut(columns, channels * taps, positions), weight, g, 1.0, false);
                    self.fold(columns, dx);
                });
            });
        });
        dx
    }

    /// Gradient of the kernels for the output gradient `g`, summed over images in their order.
    pub(crate) fn backward_weight(&self, x: &[f32], g: &[f32]) -> Vec<f32> {
        let window = &self.window;
        let (taps, positions) = (window.taps(), window.positions());
        let (outputs, depth) = (self.group_outputs(), self.depth());
        let mut dw = vec![0f32; self.outputs * depth];
        if self.is_empty() {
            return dw;
        }
        if self.group_channels() == 1 {
            self.depthwise_weight(x, g, &mut dw);
            return dw;
        }
        let per_piece = self.channels_per_piece();
        dw.par_chunks_mut(outputs * depth).enumerate().for_each(|(group, dw)| {
            let pieces = matrix_mut(dw, outputs, depth).par_col_chunks_mut(per_piece * taps);
            pieces.enumerate().for_each(|(piece, mut dw)| {
                let first = group * self.group_channels() + piece * per_piece;
                for image in 0..self.batch {
                    let x = self.maps(x, image * self.channels + first, dw.ncols() / taps);
                    let start = (image * self.outputs + group * outputs) * positions;
                    let g = matrix(&g[start..start + outputs * positions], outputs, positions);
                    self.with_columns(x, 0..window.out.0, |columns| {
                        product_here(dw.rb_mut(), g, columns.transpose(), 1.0, image > 0);
                    });
                }
            });
        });
        dw
    }

    /// Adds to `y` what kernels of one channel give.
    fn depthwise(&self, x: &[f32], weight: &[f32], y: &mut [f32]) {
        let window = &self.window;
        let (taps, positions, multiple) = (window.taps(), window.positions(), self.group_outputs());
        y.par_chunks_mut(positions).enumerate().for_each(|(map, y)| {
            let kernel = &weight[map % self.outputs * taps..][..taps];
            // Images have `multiple` times as many output maps as input maps, in the same order.
            let x = self.maps(x, map / multiple, 1);
            simd(
                #[inline(always)]
                || {
                    for (tap, &weight) in kernel.iter().enumerate() {
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
                                    |y, x| *y += weight * x,
                                );
                            },
                        );
                    }
                },
            );
        });
    }

    /// Gradient of the input of [`Self::depthwise`].
    fn depthwise_input(&self, weight: &[f32], g: &[f32], dx: &mut [f32]) {
        let window = &self.window;
        let (taps, positions, multiple) = (window.taps(), window.positions(), self.group_outputs());
        dx.par_chunks_mut(window.area()).enumerate().for_each(|(map, dx)| {
            for output in map * multiple..(map + 1) * multiple {
                let kernel = &weight[output % self.outputs * taps..][..taps];
                let g = &g[output * positions..(output + 1) * positions];
                simd(
                    #[inline(always)]
                    || {
                        for (tap, &weight) in kernel.iter().enumerate() {
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
                                        |dx, g| *dx += weight * g,
                                    );
                                },
                            );
                        }
                    },
                );
            }
        });
    }

    /// Gradient of the kernels of [`Self::depthwise`].
    fn depthwise_weight(&self, x: &[f32], g: &[f32], dw: &mut [f32]) {
        let window = &self.window;
        let (taps, positions, multiple) = (window.taps(), window.positions(), self.group_outputs());
        dw.par_chunks_mut(taps).enumerate().for_each(|(output, dw)| {
            simd(
                #[inline(always)]
                || {
                    for (tap, dw) in dw.iter_mut().enumerate() {
                        let mut sum = 0f64;
                        for image in 0..self.batch {
                            let map = image * self.outputs + output;
                            let g = &g[map * positions..(map + 1) * positions];
                            let x = self.maps(x, map / multiple, 1);
                            window.runs(
                                tap,
                                0..window.out.0,
                                #[inline(always)]
                                |run| {
                                    let (g, x) = (&g[run.out..run.out + run.length], &x[run.input..]);
                                    sum += f64::from(match window.stride.1 {
                                        1 => dot_lanes(g, &x[..run.length]),
                                        stride => g.iter().zip(x.iter().step_by(stride)).map(|(g, x)| g * x).sum(),
                                    });
                                },
                            );
                        }
                        *dw = sum as f32;
                    }
                },
            );
        });
    }
}
