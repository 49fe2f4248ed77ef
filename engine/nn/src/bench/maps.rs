//! Cases of the operations that vision models are made of.

use super::{Agreement, Case, Pair, Sizes, normal, trained};
use crate::Result;
use crate::ops::{self, ChannelStatistics, Slide};
use candle_core::{Device, Tensor};

const fn case(op: &'static str, variant: &'static str, build: fn(&Sizes) -> Result<Pair>) -> Case {
    Case { op, variant, agreement: Agreement::Everything, build }
}

/// All of them.
pub(super) const CASES: &[Case] = &[
    case("conv2d", "3 x 3, trained", convolution),
    case("conv2d", "3 x 3, frozen", convolution_frozen),
    case("conv2d", "1 x 1", |sizes| convolution_of(sizes, 1, Slide::even(1, 0), 1)),
    case("conv2d", "3 x 3, stride 2", |sizes| convolution_of(sizes, 3, Slide::even(2, 1), 1)),
    case("conv2d", "3 x 3, each channel alone", |sizes| convolution_of(sizes, 3, Slide::even(1, 1), sizes.channels)),
    case("batch_norm", "", batch_norm),
    case("batch_norm_frozen", "", batch_norm_frozen),
    Case {
        op: "max_pool2d",
        variant: "2 x 2",
        // candle divides the gradient of the largest value by the size of the window.
        agreement: Agreement::Output,
        build: max_pool,
    },
    case("avg_pool2d", "2 x 2", avg_pool),
    case("global_avg_pool", "", global_avg_pool),
];

fn maps(sizes: &Sizes) -> Result<Tensor> {
    normal("maps", &[sizes.images, sizes.channels, sizes.side, sizes.side])
}

/// Kernels for as many output channels as there are input channels.
fn kernels(sizes: &Sizes, side: usize, groups: usize) -> Result<Tensor> {
    let depth = sizes.channels / groups;
    let values = normal("kernels", &[sizes.channels, depth, side, side])?;
    Ok((values * (1.0 / (depth * side * side) as f64).sqrt())?)
}

fn convolution_of(sizes: &Sizes, side: usize, slide: Slide, groups: usize) -> Result<Pair> {
    let (padding, stride) = (slide.padding.0, slide.stride.0);
    trained(
        &[maps(sizes)?, kernels(sizes, side, groups)?],
        move |x| ops::conv2d(&x[0], &x[1], None, slide, groups),
        move |x| Ok(x[0].conv2d(&x[1], padding, stride, 1, groups)?),
    )
}

fn convolution(sizes: &Sizes) -> Result<Pair> {
    convolution_of(sizes, 3, Slide::even(1, 1), 1)
}

fn convolution_frozen(sizes: &Sizes) -> Result<Pair> {
    let kernels = kernels(sizes, 3, 1)?;
    let same = kernels.clone();
    trained(
        &[maps(sizes)?],
        move |x| ops::conv2d(&x[0], &kernels, None, Slide::even(1, 1), 1),
        move |x| Ok(x[0].conv2d(&same, 1, 1, 1, 1)?),
    )
}

const EPS: f64 = 1e-5;

/// Maps, weights and biases.
fn norm_inputs(sizes: &Sizes) -> Result<[Tensor; 3]> {
    Ok([maps(sizes)?, normal("weight", &[sizes.channels])?, normal("bias", &[sizes.channels])?])
}

fn as_channels(x: &Tensor) -> Result<Tensor> {
    Ok(x.reshape((1, (), 1, 1))?)
}

fn batch_norm(sizes: &Sizes) -> Result<Pair> {
    trained(
        &norm_inputs(sizes)?,
        |x| Ok(ops::batch_norm(&x[0], &x[1], &x[2], EPS)?.0),
        |x| {
            let centred = x[0].broadcast_sub(&x[0].mean_keepdim((0, 2, 3))?)?;
            let variance = centred.sqr()?.mean_keepdim((0, 2, 3))?;
            let factor = (variance + EPS)?.sqrt()?.recip()?.mul(&as_channels(&x[1])?)?;
            Ok(centred.broadcast_mul(&factor)?.broadcast_add(&as_channels(&x[2])?)?)
        },
    )
}

fn batch_norm_frozen(sizes: &Sizes) -> Result<Pair> {
    let statistics = ChannelStatistics::fresh(sizes.channels);
    let constant = |values: &[f32]| Tensor::from_slice(values, (1, values.len(), 1, 1), &Device::Cpu);
    let mean = constant(&statistics.mean)?;
    let inverse = (constant(&statistics.variance)? + EPS)?.sqrt()?.recip()?;
    trained(
        &norm_inputs(sizes)?,
        move |x| ops::batch_norm_frozen(&x[0], &x[1], &x[2], &statistics, EPS),
        move |x| {
            let factor = (as_channels(&x[1])? * &inverse)?;
            Ok(x[0].broadcast_sub(&mean)?.broadcast_mul(&factor)?.broadcast_add(&as_channels(&x[2])?)?)
        },
    )
}

fn max_pool(sizes: &Sizes) -> Result<Pair> {
    let ours = |x: &[Tensor]| ops::max_pool2d(&x[0], (2, 2), Slide::even(2, 0));
    trained(&[maps(sizes)?], ours, |x| Ok(x[0].max_pool2d(2)?))
}

fn avg_pool(sizes: &Sizes) -> Result<Pair> {
    let ours = |x: &[Tensor]| ops::avg_pool2d(&x[0], (2, 2), Slide::even(2, 0));
    trained(&[maps(sizes)?], ours, |x| Ok(x[0].avg_pool2d(2)?))
}

fn global_avg_pool(sizes: &Sizes) -> Result<Pair> {
    trained(&[maps(sizes)?], |x| ops::global_avg_pool(&x[0]), |x| Ok(x[0].mean((2, 3))?))
}
