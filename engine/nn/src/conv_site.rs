//! A convolution of a model that methods can change.
//!
//! Place in the data flow: stages of convolutional models call [`ConvSite::forward`]; methods, trainer and exporters see
//! the [`LinearSite`] inside it. A convolution is a linear layer over the patch under each place of its window, with the
//! kernel (out, in, kh, kw) read as a matrix (out, in · kh · kw): every change that a linear layer takes, a kernel takes
//! too. A chain of two factors runs as two convolutions, `A` with the window of the layer and `B` with one of size 1 (as
//! PEFT does for convolutions); every other change runs over the patches themselves.

use crate::adapter::{Adapter, FusedChange};
use crate::context::ForwardContext;
use crate::error::shape_error;
use crate::fused::FusedLowRank;
use crate::ops::{FrozenLinear, Slide, conv2d};
use crate::site::{LinearSite, Weight};
use crate::{NnError, Result};
use candle_core::{Device, Tensor};
use std::sync::OnceLock;

/// How a convolution sees its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Channels of the input.
    pub in_channels: usize,
    /// Size of the kernel (down, across).
    pub kernel: (usize, usize),
    /// How the window moves.
    pub slide: Slide,
    /// Groups of channels that are kept apart.
    pub groups: usize,
}

/// A convolution `y = x ⋆ W + b` with the adapters on it.
pub struct ConvSite {
    site: LinearSite,
    shape: ConvShape,
    /// The frozen kernel (out, in / groups, kh, kw), read when it is first needed.
    kernel: OnceLock<Tensor>,
}

impl ConvShape {
    /// Values of the kernel for one output channel: in / groups · kh · kw.
    #[must_use]
    pub const fn columns(self) -> usize {
        match self.groups {
            0 => 0,
            groups => self.in_channels / groups * self.kernel.0 * self.kernel.1,
        }
    }

    fn kernel_dims(self, out: usize) -> (usize, usize, usize, usize) {
        (out, self.in_channels / self.groups.max(1), self.kernel.0, self.kernel.1)
    }
}

impl ConvSite {
    /// A site over a frozen kernel held as the matrix (out, in / groups · kh · kw). `name` is unique in the model.
    ///
    /// # Errors
    /// A matrix of other columns, or groups that do not divide the channels.
    pub fn new(name: impl Into<String>, layer: FrozenLinear, shape: ConvShape) -> Result<Self> {
        let divides = |count: usize| shape.groups > 0 && count.is_multiple_of(shape.groups);
        if layer.weight.cols != shape.columns() || !divides(shape.in_channels) || !divides(layer.weight.rows) {
            let (rows, cols) = (layer.weight.rows, layer.weight.cols);
            return shape_error(format!("a matrix of {rows} x {cols} is no kernel of {shape:?}"));
        }
        Ok(Self { site: LinearSite::new(name, layer), shape, kernel: OnceLock::new() })
    }

    /// The linear layer over patches, as methods and exporters see it.
    #[must_use]
    pub const fn site(&self) -> &LinearSite {
        &self.site
    }

    /// The linear layer over patches, to put adapters on.
    pub const fn site_mut(&mut self) -> &mut LinearSite {
        &mut self.site
    }

    /// How it sees its input.
    #[must_use]
    pub const fn shape(&self) -> ConvShape {
        self.shape
    }

    /// The kernel (out, in / groups, kh, kw) with every adapter folded in, f32; `None` when an adapter's change depends
    /// on the input.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub fn merged(&self) -> Result<Option<Tensor>> {
        let dims = self.shape.kernel_dims(self.site.out_features());
        self.site.merged()?.map(|weight| Ok(weight.reshape(dims)?)).transpose()
    }

    /// Output maps (B, out, H', W') for `x` (B, in, H, W). Dropout of an adapter falls on single values of the patches.
    ///
    /// # Errors
    /// Shapes that do not fit, or an adapter on a kernel in several groups: its matrix has one row of columns for all
    /// groups, so that a change of it would mix what the groups keep apart.
    pub fn forward(&self, x: &Tensor, ctx: &ForwardContext) -> Result<Tensor> {
        if self.site.is_watched() {
            let patches = self.patches(x)?;
            let places = patches.dim(2)? * patches.dim(3)?;
            let rows = patches.flatten_from(2)?.transpose(1, 2)?.contiguous()?;
            self.site.look_at(&rows, &ctx.resized(places))?;
        }
        let (weight, adapters) = self.site.active();
        if adapters.is_empty() {
            return self.convolve(x, weight);
        }
        if self.shape.groups != 1 {
            let what = format!("is a convolution in {} groups, which takes no adapter", self.shape.groups);
            return Err(NnError::Adapter { site: self.site.name().to_owned(), what });
        }
        let Some(chains) = plain_chains(&self.site, ctx)? else { return self.over_patches(x, ctx) };
        let mut y = self.convolve(x, weight)?;
        for chain in &chains {
            y = (y + self.low_rank(x, chain)?)?;
        }
        Ok(y)
    }

    fn convolve(&self, x: &Tensor, weight: &Weight) -> Result<Tensor> {
        let ConvShape { slide, groups, .. } = self.shape;
        let dims = self.shape.kernel_dims(self.site.out_features());
        match weight {
            Weight::Frozen(layer) => {
                let kernel = match self.kernel.get() {
                    Some(kernel) => kernel,
                    None => {
                        let kernel = layer.weight.to_tensor()?.reshape(dims)?;
                        self.kernel.get_or_init(|| kernel)
                    }
                };
                conv2d(x, kernel, layer.bias.as_ref(), slide, groups)
            }
            Weight::Trained { weight, bias } => {
                let kernel = weight.as_tensor().reshape(dims)?;
                conv2d(x, &kernel, bias.as_ref().map(|bias| bias.as_tensor()), slide, groups)
            }
        }
    }

    /// `scale · (x ⋆ A) ⋆ B`, with B a kernel of size 1.
    fn low_rank(&self, x: &Tensor, chain: &FusedLowRank) -> Result<Tensor> {
        let (a, b) = (chain.a.tracked(), chain.b.tracked());
        let (rank, out) = (a.dim(0)?, b.dim(0)?);
        let inner = conv2d(x, &a.reshape(self.shape.kernel_dims(rank))?, None, self.shape.slide, 1)?;
        let change = conv2d(&inner, &b.reshape((out, rank, 1, 1))?, None, Slide::even(1, 0), 1)?;
        Ok(change.affine(f64::from(chain.scale), 0.0)?)
    }

    /// The linear layer over every patch.
    fn over_patches(&self, x: &Tensor, ctx: &ForwardContext) -> Result<Tensor> {
        let patches = self.patches(x)?;
        let (batch, columns, height, width) = patches.dims4()?;
        let patches = patches.reshape((batch, columns, height * width))?.transpose(1, 2)?.contiguous()?;
        let y = self.site.forward(&patches, &ctx.resized(height * width))?;
        Ok(y.transpose(1, 2)?.contiguous()?.reshape((batch, self.site.out_features(), height, width))?)
    }

    /// The patch under each place (B, in · kh · kw, H', W'), as a convolution that keeps channels apart and whose kernels
    /// each pick one value: so it has the gradient of a convolution.
    fn patches(&self, x: &Tensor) -> Result<Tensor> {
        let ConvShape { in_channels, kernel, slide, .. } = self.shape;
        let places = kernel.0 * kernel.1;
        let one_of = |place: usize| (0..places).map(move |other| if other == place { 1f32 } else { 0.0 });
        let picks: Vec<f32> = (0..in_channels).flat_map(|_| (0..places).flat_map(one_of)).collect();
        let picks = Tensor::from_vec(picks, (in_channels * places, 1, kernel.0, kernel.1), &Device::Cpu)?;
        conv2d(x, &picks, None, slide, in_channels)
    }
}

/// The changes as chains of two factors without noise, when each of them is nothing else.
fn plain_chains(site: &LinearSite, ctx: &ForwardContext) -> Result<Option<Vec<FusedLowRank>>> {
    let chain = |adapter: &dyn Adapter| -> Result<Option<FusedLowRank>> {
        if !adapter.only_adds_low_rank() {
            return Ok(None);
        }
        Ok(adapter.fused_change(site.below(0), ctx)?.and_then(FusedChange::into_chain))
    };
    site.adapters().iter().map(|adapter| chain(adapter.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FrozenWeight;
    use crate::gradcheck::{GradCheck, check_gradients, check_parameters};
    use crate::rng::Stream;
    use crate::slots::{Chain, Core, Delta, Factor, Init, Scale, Slots};
    use std::sync::Arc;

    const SHAPE: ConvShape =
        ConvShape { in_channels: 3, kernel: (3, 2), slide: Slide { stride: (2, 1), padding: (1, 0) }, groups: 1 };

    fn random(name: &str, dims: &[usize]) -> Tensor {
        let mut values = vec![0f32; dims.iter().product()];
        Stream::new(4, name).fill_normal(&mut values, 0.7);
        Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
    }

    fn site(shape: ConvShape, out: usize) -> ConvSite {
        let weight = random("kernel", &[out, shape.columns()]);
        let weight = FrozenWeight::from_tensor("kernel", &weight, crate::StorageKind::F32).unwrap();
        let layer = FrozenLinear { weight: Arc::new(weight), bias: Some(random("bias", &[out])) };
        ConvSite::new("here", layer, shape).unwrap()
    }

    /// A chain whose factors are both away from 0.
    fn slots(core: bool, dropout: f64) -> Slots {
        let factor = || Factor::trained(Init::Gaussian { std: 0.4 });
        let core = if core { Core::Diagonal(factor()) } else { Core::None };
        let chain = Chain { rank: 2, a: factor(), b: factor(), core };
        Slots { delta: Delta::Chain(chain), scale: Scale::Fixed(0.6), dropout, ..Slots::default() }
    }

    fn distance(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
    }

    #[test]
    fn a_changed_kernel_is_what_forward_computes_on_both_paths() {
        let (x, ctx) = (random("x", &[2, 3, 7, 6]), ForwardContext::plain(2, 1));
        for core in [false, true] {
            let mut conv = site(SHAPE, 5);
            let base = conv.forward(&x, &ctx).unwrap();
            conv.site_mut().attach(&slots(core, 0.0), 9).unwrap();
            assert!(plain_chains(conv.site(), &ctx).unwrap().is_some());
            let y = conv.forward(&x, &ctx).unwrap();
            assert!(distance(&y, &base) > 0.1);
            let merged = conv.merged().unwrap().unwrap();
            let expected = conv2d(&x, &merged, Some(&random("bias", &[5])), SHAPE.slide, 1).unwrap();
            assert!(distance(&y, &expected) < 1e-4, "core {core}");
            assert!(distance(&conv.over_patches(&x, &ctx).unwrap(), &y) < 1e-4);
            conv.site().set_enabled(false);
            assert_eq!(distance(&conv.forward(&x, &ctx).unwrap(), &base), 0.0);
        }
    }

    #[test]
    fn gradients_are_right_on_every_path() {
        let (x, ctx) = (random("x", &[2, 3, 6, 5]), ForwardContext::plain(2, 1));
        let training = ForwardContext { training: true, seed: 5, step: 2, ..ctx.clone() };
        for (name, slots, ctx) in [
            ("two convolutions", slots(false, 0.0), &ctx),
            ("two convolutions with a core", slots(true, 0.0), &ctx),
            ("patches with dropout", slots(false, 0.3), &training),
        ] {
            for whole_weight in [false, true] {
                let mut conv = site(SHAPE, 4);
                if whole_weight {
                    conv.site_mut().promote().unwrap();
                }
                conv.site_mut().attach(&slots, 9).unwrap();
                let params = conv.site().params();
                check_parameters(|| conv.forward(&x, ctx), &params, &GradCheck::f32())
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                check_gradients(|inputs| conv.forward(&inputs[0], ctx), std::slice::from_ref(&x), &GradCheck::f32())
                    .unwrap_or_else(|error| panic!("{name}, input: {error}"));
            }
        }
    }

    #[test]
    fn groups_convolve_and_refuse_adapters() {
        let shape = ConvShape { in_channels: 4, groups: 2, ..SHAPE };
        let (x, ctx) = (random("x", &[1, 4, 6, 5]), ForwardContext::plain(1, 1));
        let mut conv = site(shape, 6);
        let kernel = random("kernel", &[6, shape.columns()]).reshape((6, 2, 3, 2)).unwrap();
        let expected = conv2d(&x, &kernel, Some(&random("bias", &[6])), shape.slide, 2).unwrap();
        assert_eq!(distance(&conv.forward(&x, &ctx).unwrap(), &expected), 0.0);
        conv.site_mut().attach(&slots(false, 0.0), 9).unwrap();
        assert!(conv.forward(&x, &ctx).unwrap_err().to_string().contains("groups"));
        let wrong = FrozenWeight::from_tensor("w", &random("w", &[6, 11]), crate::StorageKind::F32).unwrap();
        assert!(ConvSite::new("w", FrozenLinear { weight: Arc::new(wrong), bias: None }, SHAPE).is_err());
    }
}
