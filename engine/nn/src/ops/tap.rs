//! The gradient of a whole weight that is not trained: looked at in passing.
//!
//! Place in the data flow: rules that are scored by the weight's own gradient (growth) put one [`Seen`] on a layer; the
//! graph feeds it through [`tap`], a fused half directly. Calibrations that go by the squares of the gradients of single
//! samples are shown those by [`tap_each`]. Nothing is kept for a layer without one.

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
    let seen = Arc::clone(seen);
    tapped(y, x, move |x, g, rows, cols| {
        seen.add(x, g, x.len() / cols.max(1), rows, cols);
        Ok(())
    })
}

/// As [`tap`], but `see` is shown the gradient (out, in) of each row of `width` positions for itself: where the loss is a
/// sum over the rows, that of one sample.
///
/// # Errors
/// As [`tap`]; in the backward pass what `see` says.
pub(crate) fn tap_each(
    y: &Tensor,
    x: &Tensor,
    width: usize,
    see: impl Fn(&[f32]) -> Result<()> + Send + Sync + 'static,
) -> Result<Tensor> {
    let ((positions, _), (inputs, _)) = (rows_and_features(y)?, rows_and_features(x)?);
    if positions != inputs || width == 0 || !positions.is_multiple_of(width) {
        let what = format!("{positions} outputs were made of {inputs} inputs in rows of {width}");
        return Err(NnError::Shape(what));
    }
    tapped(y, x, move |x, g, rows, cols| {
        let mut gradient = vec![0f32; rows * cols];
        for (x, g) in x.chunks(width * cols.max(1)).zip(g.chunks(width * rows.max(1))) {
            gemm::gemm_tn(g, x, &mut gradient, rows, cols, width, 1.0, false);
            see(&gradient)?;
        }
        Ok(())
    })
}

/// What sees inputs (n, cols) and output gradients (n, rows) go by.
type See = Box<dyn Fn(&[f32], &[f32], usize, usize) -> Result<()> + Send + Sync>;

fn tapped(
    y: &Tensor,
    x: &Tensor,
    see: impl Fn(&[f32], &[f32], usize, usize) -> Result<()> + Send + Sync + 'static,
) -> Result<Tensor> {
    if !y.track_op() {
        return Ok(y.clone());
    }
    Ok(y.contiguous()?.apply_op1(Tap { x: x.detach(), see: Box::new(see) })?)
}

struct Tap {
    x: Tensor,
    see: See,
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
        let seen = with_slice(&self.x, |x| with_slice(&gradient, |g| (self.see)(x, g, rows, cols)));
        seen.candle()?.candle()?.candle()?;
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

    #[test]
    fn each_row_shows_the_gradient_that_it_has_alone() {
        let (x, weight) = (random("x", &[3, 5, 6]), Var::from_tensor(&random("w", &[4, 6])).unwrap());
        let shown: Arc<Mutex<Vec<Vec<f32>>>> = Arc::default();
        let gradient = |rows: std::ops::Range<usize>, tapped: bool| {
            let of = |tensor: &Tensor| tensor.narrow(0, rows.start, rows.len()).unwrap().contiguous().unwrap();
            let (x, factor) = (of(&x), of(&random("g", &[3, 5, 4])));
            let mut y = crate::ops::linear_trained(&x, weight.as_tensor(), None).unwrap();
            if tapped {
                let shown = Arc::clone(&shown);
                y = tap_each(&y, &x, 5, move |gradient| {
                    shown.lock().push(gradient.to_vec());
                    Ok(())
                })
                .unwrap();
            }
            let store = (&y * factor).unwrap().sqr().unwrap().sum_all().unwrap().backward().unwrap();
            store.get(weight.as_tensor()).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(gradient(0..3, true), gradient(0..3, false));
        let shown = std::mem::take(&mut *shown.lock());
        assert_eq!(shown.len(), 3);
        for (row, shown) in shown.iter().enumerate() {
            let alone = gradient(row..row + 1, false);
            let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * b.abs().max(1.0);
            assert!(shown.iter().zip(&alone).all(close), "row {row}");
        }
        assert!(tap_each(&random("y", &[3, 5, 4]), &x, 4, |_| Ok(())).is_err(), "rows of another width");
    }
}
