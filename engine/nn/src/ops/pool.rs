//! Pooling of 2-D feature maps.
//!
//! Place in the data flow: between the blocks of convolutional models and before their classifier.

use super::conv::check_pool;
use super::{Slide, Values, has_kernel, output, reference, slice, tensor};
use crate::Result;
use crate::kernels::pool as kernel;
use crate::kernels::window::Window;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

/// The largest value under each place of a window: `x` (B, C, H, W) → (B, C, H', W'), sizes as in
/// [`super::conv2d`]. Padding never wins; of equal values the first gets the gradient; a NaN stays one.
///
/// # Errors
/// A window that does not fit, or that would see nothing but padding.
pub fn max_pool2d(x: &Tensor, kernel: (usize, usize), slide: Slide) -> Result<Tensor> {
    pool(x, kernel, slide, Kind::Max)
}

/// The mean under each place of a window: `x` (B, C, H, W) → (B, C, H', W'). Padding counts as zeros, as in PyTorch's
/// default.
///
/// # Errors
/// A window that does not fit, or that would see nothing but padding.
pub fn avg_pool2d(x: &Tensor, kernel: (usize, usize), slide: Slide) -> Result<Tensor> {
    pool(x, kernel, slide, Kind::Average)
}

/// The mean of each map: `x` (B, C, H, W) → (B, C). Candle's own mean: one pass over memory, which a kernel could not
/// make shorter.
///
/// # Errors
/// A tensor of other dimensions.
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    let _dimensions = x.dims4()?;
    reference::global_avg_pool(x)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Max,
    Average,
}

fn pool(x: &Tensor, kernel: (usize, usize), slide: Slide, kind: Kind) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let window = slide.over((height, width), kernel)?;
    check_pool(kernel, slide)?;
    if !has_kernel(&[x]) {
        return match kind {
            Kind::Max => reference::max_pool2d(x, kernel, slide),
            Kind::Average => reference::avg_pool2d(x, kernel, slide),
        };
    }
    Ok(x.contiguous()?.apply_op1(Pool { kind, maps: (batch, channels), window })?)
}

struct Pool {
    kind: Kind,
    /// Images and channels.
    maps: (usize, usize),
    window: Window,
}

impl CustomOp1 for Pool {
    fn name(&self) -> &'static str {
        "pool2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (x, (batch, channels)) = (slice(x, layout)?, self.maps);
        let y = match self.kind {
            Kind::Max => kernel::max(x, batch * channels, &self.window),
            Kind::Average => kernel::average(x, batch * channels, &self.window),
        };
        output(y, (batch, channels, self.window.out.0, self.window.out.1))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let (g, maps) = (Values::of(&gradient)?, self.maps.0 * self.maps.1);
        let dx = match self.kind {
            Kind::Max => kernel::max_backward(&Values::of(x)?, &Values::of(y)?, &g, maps, &self.window),
            Kind::Average => kernel::average_backward(&g, maps, &self.window),
        };
        Ok(Some(tensor(dx, x.dims())?))
    }
}
