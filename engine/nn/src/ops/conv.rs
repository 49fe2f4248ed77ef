//! Convolution of 2-D feature maps.
//!
//! Place in the data flow: stems and blocks of vision models. As everywhere, a kernel that is not tracked gets no
//! gradient and costs nothing in the backward pass.

use super::linear::split_bias;
use super::{Values, beside, expect_shape, has_kernel, output, reference, slice, tensor};
use crate::error::shape_error;
use crate::kernels::conv::Conv;
use crate::kernels::window::Window;
use crate::{NnError, Result};
use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};

/// How a window moves over a map. Pairs are (down, across).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slide {
    /// How far it moves at a time.
    pub stride: (usize, usize),
    /// Zeros around the map.
    pub padding: (usize, usize),
}

impl Slide {
    /// The same down and across.
    #[must_use]
    pub const fn even(stride: usize, padding: usize) -> Self {
        Self { stride: (stride, stride), padding: (padding, padding) }
    }

    /// The way of a window of size `kernel` over a map of size `size`.
    ///
    /// # Errors
    /// A stride of 0, a window without places or larger than the padded map.
    pub(crate) fn over(self, size: (usize, usize), kernel: (usize, usize)) -> Result<Window> {
        let places = |size: usize, kernel: usize, stride: usize, padding: usize| {
            let room = (size + 2 * padding).checked_sub(kernel)?;
            (stride > 0 && kernel > 0).then(|| room / stride + 1)
        };
        let down = places(size.0, kernel.0, self.stride.0, self.padding.0);
        let across = places(size.1, kernel.1, self.stride.1, self.padding.1);
        let Some(out) = down.zip(across) else {
            return shape_error(format!("a window of {kernel:?} with {self:?} does not fit a map of {size:?}"));
        };
        Ok(Window { size, out, kernel, stride: self.stride, padding: self.padding })
    }
}

/// `y[b, o] = Σ_c x[b, c] ⋆ weight[o, c] + bias[o]` (a correlation, as in all libraries of this field), the sum going
/// over the channels of the group of `o`. `x` (B, C, H, W), `weight` (O, C / groups, Kh, Kw), `bias` (O) → (B, O, H',
/// W') with H' = ⌊(H + 2·padding - Kh) / stride⌋ + 1. Gradients for what is tracked.
///
/// # Errors
/// Shapes or groups that do not fit.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, slide: Slide, groups: usize) -> Result<Tensor> {
    let ((batch, channels, height, width), (outputs, depth, down, across)) = (x.dims4()?, weight.dims4()?);
    if groups == 0 || channels != depth * groups || !outputs.is_multiple_of(groups) {
        let (x, weight) = (x.dims(), weight.dims());
        return shape_error(format!("maps {x:?} and kernels {weight:?} do not fit in {groups} groups"));
    }
    if let Some(bias) = bias {
        expect_shape("the bias of the convolution", bias, &[outputs])?;
    }
    let window = slide.over((height, width), (down, across))?;
    if !has_kernel(&[x, weight]) || bias.is_some_and(|bias| !has_kernel(&[bias])) {
        let bias = bias.map(|bias| beside(x, bias)).transpose()?;
        return reference::conv2d(x, &beside(x, weight)?, bias.as_ref(), slide, groups);
    }
    let (fused, added) = split_bias(bias);
    let bias = fused.map(Tensor::contiguous).transpose()?;
    let op = Convolution { conv: Conv { batch, channels, outputs, groups, window }, bias };
    let y = x.contiguous()?.apply_op2(&weight.contiguous()?, op)?;
    Ok(match added {
        Some(bias) => y.broadcast_add(&bias.reshape((1, outputs, 1, 1))?)?,
        None => y,
    })
}

struct Convolution {
    conv: Conv,
    /// Not trained.
    bias: Option<Tensor>,
}

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (x, weight) = (slice(x, x_layout)?, slice(weight, weight_layout)?);
        let y = match &self.bias {
            None => self.conv.forward(x, weight, None),
            Some(bias) => self.conv.forward(x, weight, Some(&Values::of(bias)?)),
        };
        let Conv { batch, outputs, window, .. } = self.conv;
        output(y, (batch, outputs, window.out.0, window.out.1))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let g = Values::of(&gradient)?;
        let dx = match x.track_op() {
            true => Some(tensor(self.conv.backward_input(&Values::of(weight)?, &g), x.dims())?),
            false => None,
        };
        let dw = match weight.track_op() {
            true => Some(tensor(self.conv.backward_weight(&Values::of(x)?, &g), weight.dims())?),
            false => None,
        };
        Ok((dx, dw))
    }
}

/// Requires what keeps every window of a pool at least partly on the map.
pub(crate) fn check_pool(kernel: (usize, usize), slide: Slide) -> Result<()> {
    if slide.padding.0 < kernel.0 && slide.padding.1 < kernel.1 {
        return Ok(());
    }
    let padding = slide.padding;
    Err(NnError::Value(format!("a pool of {kernel:?} with a padding of {padding:?} would see nothing at the border")))
}
