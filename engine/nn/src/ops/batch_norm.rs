//! Batch normalisation of channels.
//!
//! Place in the data flow: after each convolution of a convolutional model. Statistics are plain values that the caller
//! keeps: training follows those of the batches, evaluation and adaptation to a stream use what was followed, and nothing
//! is changed behind anybody's back.
//!
//! Ioffe, Szegedy, "Batch Normalization" (2015), algorithm 1 and the gradients of section 3.

use super::{Values, beside, expect_shape, has_kernel, output, reference, slice, tensor};
use crate::error::shape_error;
use crate::kernels::channels::{self, Gradients, Maps, Scales};
use crate::{NnError, Result};
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor};

/// Mean and variance of each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelStatistics {
    /// (C).
    pub mean: Vec<f32>,
    /// (C). Of a batch: the mean of squared distances from the mean.
    pub variance: Vec<f32>,
}

impl ChannelStatistics {
    /// What a fresh layer has: means of 0, variances of 1.
    #[must_use]
    pub fn fresh(channels: usize) -> Self {
        Self { mean: vec![0.0; channels], variance: vec![1.0; channels] }
    }

    /// Moves by the share `momentum` towards the statistics of a batch that had `count` values a channel. The batch's
    /// variance is taken times count/(count - 1), the estimate for what the batch was drawn from, as PyTorch does.
    pub fn follow(&mut self, batch: &Self, count: usize, momentum: f64) {
        let unbias = count as f64 / (count.max(2) - 1) as f64;
        let step = |own: &mut f32, seen: f64| *own = ((1.0 - momentum) * f64::from(*own) + momentum * seen) as f32;
        for (own, seen) in self.mean.iter_mut().zip(&batch.mean) {
            step(own, f64::from(*seen));
        }
        for (own, seen) in self.variance.iter_mut().zip(&batch.variance) {
            step(own, f64::from(*seen) * unbias);
        }
    }
}

/// Normalises each channel by the mean and variance of its own values in this batch and returns them too:
/// `y = (x - mean) / √(variance + eps) · weight + bias` for `x` (B, C, ...), `weight` and `bias` (C). Gradients for what
/// is tracked; that of `x` goes through mean and variance.
///
/// # Errors
/// Shapes that do not fit; fewer than two values a channel, which have no variance.
pub fn batch_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<(Tensor, ChannelStatistics)> {
    let maps = check(x, weight, bias)?;
    if maps.batch * maps.area < 2 {
        return Err(NnError::Value(format!("{:?} has no two values a channel to take a variance of", x.dims())));
    }
    if !has_kernel(&[x, weight, bias]) {
        let values = x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let (mean, variance) = channels::moments(&values, maps);
        let y = reference::batch_norm(x, &beside(x, weight)?, &beside(x, bias)?, eps)?;
        return Ok((y, ChannelStatistics { mean, variance }));
    }
    let x = x.contiguous()?;
    let (mean, variance) = channels::moments(&Values::of(&x)?, maps);
    let statistics = ChannelStatistics { mean, variance };
    let y = apply(&x, weight, bias, &statistics, eps, maps, true)?;
    Ok((y, statistics))
}

/// As [`batch_norm`] with statistics that are constants: evaluation, or training on top of a frozen model.
///
/// # Errors
/// Shapes that do not fit.
pub fn batch_norm_frozen(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    statistics: &ChannelStatistics,
    eps: f64,
) -> Result<Tensor> {
    let maps = check(x, weight, bias)?;
    let (means, variances) = (statistics.mean.len(), statistics.variance.len());
    if means != maps.channels || variances != maps.channels {
        return shape_error(format!("{means} means and {variances} variances for {} channels", maps.channels));
    }
    if !has_kernel(&[x, weight, bias]) {
        return reference::batch_norm_frozen(x, &beside(x, weight)?, &beside(x, bias)?, statistics, eps);
    }
    apply(&x.contiguous()?, weight, bias, statistics, eps, maps, false)
}

fn check(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Maps> {
    let &[batch, channels, ref rest @ ..] = x.dims() else {
        return shape_error(format!("{:?} has no channels", x.dims()));
    };
    expect_shape("the weight of the norm", weight, &[channels])?;
    expect_shape("the bias of the norm", bias, &[channels])?;
    Ok(Maps { batch, channels, area: rest.iter().product() })
}

fn apply(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    statistics: &ChannelStatistics,
    eps: f64,
    maps: Maps,
    of_batch: bool,
) -> Result<Tensor> {
    let inverse = statistics.variance.iter().map(|variance| (1.0 / (f64::from(*variance) + eps).sqrt()) as f32);
    let scales = Scales { mean: statistics.mean.clone(), inverse: inverse.collect(), of_batch };
    Ok(x.apply_op3(&weight.contiguous()?, &bias.contiguous()?, BatchNorm { scales, maps })?)
}

struct BatchNorm {
    scales: Scales,
    maps: Maps,
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (weight, bias) = (slice(weight, weight_layout)?, slice(bias, bias_layout)?);
        let y = channels::normalise(slice(x, x_layout)?, weight, bias, &self.scales, self.maps);
        output(y, x_layout.shape().clone())
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (x_values, w_values, g) = (Values::of(x)?, Values::of(weight)?, Values::of(&gradient)?);
        let Gradients { input, weight: dw, bias: db } =
            channels::normalise_backward(&x_values, &w_values, &g, &self.scales, self.maps, x.track_op());
        let dx = input.map(|values| tensor(values, x.dims())).transpose()?;
        let dw = weight.track_op().then(|| tensor(dw, weight.dims())).transpose()?;
        let db = bias.track_op().then(|| tensor(db, bias.dims())).transpose()?;
        Ok((dx, dw, db))
    }
}
