//! Softmax over the last dimension.
//!
//! Place in the data flow: routers and readers of attention; attention itself has its own in its kernel.

use super::{Values, has_kernel, output, reference, rows_and_features, slice, tensor};
use crate::Result;
use crate::kernels::softmax as kernel;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

/// Softmax over the last dimension.
///
/// # Errors
/// A scalar.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    let (_, features) = rows_and_features(x)?;
    if !has_kernel(&[x]) {
        return reference::softmax(x);
    }
    Ok(x.contiguous()?.apply_op1(Softmax { features })?)
}

struct Softmax {
    features: usize,
}

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        output(kernel::softmax(slice(x, layout)?, self.features), layout.shape().clone())
    }

    fn bwd(&self, _x: &Tensor, y: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let dx = kernel::softmax_backward(&Values::of(y)?, &Values::of(&gradient)?, self.features);
        Ok(Some(tensor(dx, y.dims())?))
    }
}
