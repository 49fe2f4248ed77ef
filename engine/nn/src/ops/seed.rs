//! Starting a backward pass from a gradient that comes from elsewhere.
//!
//! Place in the data flow: the trainer runs the graph of one stage at a time; the gradient that the stage above
//! left for its input is handed to the stage below through this.

use super::{Values, expect_shape, has_kernel, output, reference, slice, tensor};
use crate::Result;
use crate::kernels::reduce;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

/// The scalar `Σ y·gradient`, whose backward pass gives `y` the gradient `gradient`.
///
/// # Errors
/// Shapes that differ.
pub fn seed_gradient(y: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    expect_shape("the gradient", gradient, y.dims())?;
    if !has_kernel(&[y, gradient]) {
        return reference::seed_gradient(y, gradient);
    }
    let gradient = gradient.detach().contiguous()?;
    Ok(y.contiguous()?.apply_op1(Seed { gradient })?)
}

struct Seed {
    gradient: Tensor,
}

impl CustomOp1 for Seed {
    fn name(&self) -> &'static str {
        "seed-gradient"
    }

    fn cpu_fwd(&self, y: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let sum = reduce::dot_f64(slice(y, layout)?, &Values::of(&self.gradient)?);
        output(vec![sum as f32], ())
    }

    fn bwd(&self, _y: &Tensor, _sum: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let factor = gradient.to_scalar::<f32>()?;
        if factor == 1.0 {
            // The usual case: no copy, the gradient is handed through.
            return Ok(Some(self.gradient.clone()));
        }
        let values = Values::of(&self.gradient)?.iter().map(|g| g * factor).collect();
        Ok(Some(tensor(values, self.gradient.dims())?))
    }
}
