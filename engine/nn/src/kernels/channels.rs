//! Normalisation of channels, forward and backward.
//!
//! Place in the data flow: called by [`crate::ops::batch_norm`] and [`crate::ops::batch_norm_frozen`]. Maps lie as
//! (images, channels, values of a map); sums over a channel go through the images in their order, so that they do not
//! depend on the number of threads.

use super::reduce::{dot_lanes, sum_lanes};
use super::simd;
use rayon::prelude::*;

/// Values per piece of work where maps are written.
const PIECE_VALUES: usize = 1 << 14;

/// Sizes of the maps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maps {
    /// Images.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Values of a map.
    pub area: usize,
}

/// Mean and variance of each channel over images and maps, the variance being the mean of squared distances.
pub(crate) fn moments(x: &[f32], maps: Maps) -> (Vec<f32>, Vec<f32>) {
    let count = (maps.batch * maps.area).max(1) as f64;
    let of_channel = |channel: usize| {
        simd(
            #[inline(always)]
            || {
                let sum: f64 = maps.of(x, channel).map(|map| f64::from(sum_lanes(map))).sum();
                let mean = (sum / count) as f32;
                let mut squares = 0f64;
                for map in maps.of(x, channel) {
                    for run in map.chunks(256) {
                        // Short runs in f32, summed up in f64: fast, and exact enough far from zero.
                        let mut centred = [0f32; 256];
                        let centred = &mut centred[..run.len()];
                        for (centred, &x) in centred.iter_mut().zip(run) {
                            *centred = x - mean;
                        }
                        squares += f64::from(dot_lanes(centred, centred));
                    }
                }
                (mean, (squares / count) as f32)
            },
        )
    };
    (0..maps.channels).into_par_iter().map(of_channel).unzip()
}

impl Maps {
    /// The maps of a channel, image by image.
    #[inline(always)]
    fn of(self, x: &[f32], channel: usize) -> impl Iterator<Item = &[f32]> {
        let step = self.channels * self.area;
        (0..self.batch).map(move |image| &x[image * step + channel * self.area..][..self.area])
    }

    /// Calls `work` with every map of `out`, its number and its channel, spread over the pool.
    fn for_each(self, out: &mut [f32], work: impl Fn(&mut [f32], usize, usize) + Sync) {
        let area = self.area.max(1);
        let per_piece = (PIECE_VALUES / area).max(1);
        out.par_chunks_mut(per_piece * area).enumerate().for_each(|(piece, out)| {
            for (map, out) in (piece * per_piece..).zip(out.chunks_exact_mut(area)) {
                work(out, map, map % self.channels.max(1));
            }
        });
    }
}

/// What a channel is normalised with.
pub(crate) struct Scales {
    /// Means.
    pub mean: Vec<f32>,
    /// 1/√(variance + eps).
    pub inverse: Vec<f32>,
    /// Whether both came from the values that are normalised, so that these have a part in them.
    pub of_batch: bool,
}

/// `y = (x - mean) · inverse · weight + bias` channel by channel.
pub(crate) fn normalise(x: &[f32], weight: &[f32], bias: &[f32], scales: &Scales, maps: Maps) -> Vec<f32> {
    let mut y = vec![0f32; x.len()];
    maps.for_each(&mut y, |y, map, channel| {
        let (mean, bias) = (scales.mean[channel], bias[channel]);
        let factor = scales.inverse[channel] * weight[channel];
        let x = &x[map * maps.area..(map + 1) * maps.area];
        simd(
            #[inline(always)]
            || {
                for (y, x) in y.iter_mut().zip(x) {
                    *y = (x - mean) * factor + bias;
                }
            },
        );
    });
    y
}

/// Gradients of [`normalise`].
pub(crate) struct Gradients {
    /// As the input.
    pub input: Option<Vec<f32>>,
    /// (channels).
    pub weight: Vec<f32>,
    /// (channels).
    pub bias: Vec<f32>,
}

/// For the output gradient `g`, with h = (x - mean)·inverse and n values a channel: `dw = Σ g∘h`, `db = Σ g`, and
/// `dx = weight · inverse · (g - db/n - h · dw/n)` where mean and variance are of the batch, without the last two terms
/// where they are constants.
pub(crate) fn normalise_backward(
    x: &[f32],
    weight: &[f32],
    g: &[f32],
    scales: &Scales,
    maps: Maps,
    want_input: bool,
) -> Gradients {
    let sums_of = |channel: usize| {
        let mean = scales.mean[channel];
        simd(
            #[inline(always)]
            || {
                let (mut along, mut sum) = (0f64, 0f64);
                for (x, g) in maps.of(x, channel).zip(maps.of(g, channel)) {
                    for (x, g) in x.chunks(256).zip(g.chunks(256)) {
                        let mut centred = [0f32; 256];
                        let centred = &mut centred[..x.len()];
                        for (centred, &x) in centred.iter_mut().zip(x) {
                            *centred = x - mean;
                        }
                        along += f64::from(dot_lanes(centred, g));
                        sum += f64::from(sum_lanes(g));
                    }
                }
                ((along * f64::from(scales.inverse[channel])) as f32, sum as f32)
            },
        )
    };
    let (dw, db): (Vec<f32>, Vec<f32>) = (0..maps.channels).into_par_iter().map(sums_of).unzip();
    let input = want_input.then(|| {
        let count = (maps.batch * maps.area).max(1) as f32;
        let mut dx = vec![0f32; x.len()];
        maps.for_each(&mut dx, |dx, map, channel| {
            let (mean, inverse) = (scales.mean[channel], scales.inverse[channel]);
            let factor = weight[channel] * inverse;
            let (level, slope) = match scales.of_batch {
                true => (db[channel] / count, inverse * dw[channel] / count),
                false => (0.0, 0.0),
            };
            let place = map * maps.area..(map + 1) * maps.area;
            let (x, g) = (&x[place.clone()], &g[place]);
            simd(
                #[inline(always)]
                || {
                    for (dx, (&x, &g)) in dx.iter_mut().zip(x.iter().zip(g)) {
                        *dx = factor * (g - level - (x - mean) * slope);
                    }
                },
            );
        });
        dx
    });
    Gradients { input, weight: dw, bias: db }
}
