//! The gradient of a whole weight that is not trained: looked at in passing.
//!
//! Place in the data flow: rules that are scored by the weight's own gradient (growth) put one [`Seen`] on a layer; the
//! graph feeds it through [`tap`], a fused half directly. Nothing is kept for a layer without one.

use super::{IntoCandle as _, output, rows_and_features, slice, with_slice};
use crate::{NnError, Result, gemm};
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};
use parking_lot::Mutex;
use std::sync::Arc;

/// The sum of `gᵀ x` (out, in) over the backward passes since it was taken last.
#[derive(Debug, Default)]
pub struct Seen(Mutex<Option<Vec<f32>>>);

impl Seen {
    /// Adds `gᵀ x` for output gradients `g` (n, rows) and inputs `x` (n, cols).
    pub(crate) fn add(&self, x: &[f32], g: &[f32], n: usize, rows: usize, cols: usize) {
        let mut sum = self.0.lock();
        let sum = sum.get_or_insert_with(|| vec![0f32; rows * cols]);
        gemm::gemm_tn(g, x, sum, rows, cols, n, 1.0, true);
    }

    /// What was summed up, (out, in) row by row; none where no backward pass came by. It starts anew.
    #[must_use]
    pub fn take(&self) -> Option<Vec<f32>> {
        self.0.lock().take()
    }
}

/// `y` (.., out) unchanged; its backward pass adds the gradient of the weight that made it of `x` (.., in) to `seen`.
///
/// # Errors
/// Shapes that do not fit each other.
pub fn tap(y: &Tensor, x: &Tensor, seen: &Arc<Seen>) -> Result<Tensor> {
    let ((positions, _), (inputs, _)) = (rows_and_features(y)?, rows_and_features(x)?);
    if positions != inputs {
        return Err(NnError::Shape(format!("{positions} outputs were made of {inputs} inputs")));
    }
    if !y.track_op() {
        return Ok(y.clone());
    }
    Ok(y.contiguous()?.apply_op1(Tap { x: x.detach(), seen: Arc::clone(seen) })?)
}

struct Tap {
    x: Tensor,
    seen: Arc<Seen>,
}

impl CustomOp1 for Tap {
    fn name(&self) -> &'static str {
        "tap"
    }

    fn cpu_fwd(&self, y: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        output(slice(y, layout)?.to_vec(), layout.shape().clone())
    }

    fn bwd(&self, _y: &Tensor, _same: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let last = |tensor: &Tensor| tensor.dims().last().copied().unwrap_or(1);
        let (rows, cols) = (last(&gradient), last(&self.x));
        let added =
            with_slice(&self.x, |x| with_slice(&gradient, |g| self.seen.add(x, g, x.len() / cols.max(1), rows, cols)));
        added.candle()?.candle()?;
        Ok(Some(gradient))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;
    use candle_core::{Device, Var};

    fn random(name: &str, shape: &[usize]) -> Tensor {
        let mut values = vec![0f32; shape.iter().product()];
        Stream::new(6, name).fill_normal(&mut values, 1.0);
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    #[test]
    fn what_is_seen_is_the_gradient_a_trained_weight_would_get() {
        let (x, weight) = (random("x", &[2, 5, 6]), Var::from_tensor(&random("w", &[4, 6])).unwrap());
        let seen = Arc::new(Seen::default());
        let run = |tapped: bool| {
            let y = crate::ops::linear_trained(&x, weight.as_tensor(), None).unwrap();
            let y = if tapped { tap(&y, &x, &seen).unwrap() } else { y };
            let store = (&y * random("g", &[2, 5, 4])).unwrap().sqr().unwrap().sum_all().unwrap().backward().unwrap();
            store.get(weight.as_tensor()).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let own = run(false);
        assert!(seen.take().is_none());
        assert_eq!(run(true), own, "the layer's own gradients stay as they are");
        assert_eq!(seen.take().unwrap(), own);
        run(true);
        run(true);
        for (twice, once) in seen.take().unwrap().iter().zip(&own) {
            assert!((twice - 2.0 * once).abs() <= 1e-5 * once.abs().max(1.0), "passes add up");
        }
        assert!(seen.take().is_none());
        assert!(tap(&random("y", &[3, 4]), &x, &seen).is_err());
    }
}
