//! A change of a fused layer that only a graph of operations computes.
//!
//! Place in the data flow: structures that are no chain of two factors (Kronecker products over dropped features or a
//! trained weight) and are cheap beside the layer. The forward pass takes their values alone; the backward pass builds
//! the graph again, so that nothing of it is kept in between.

use super::add;
use crate::ops::{seed_gradient, with_slice};
use crate::param::Param;
use crate::{Grads, Result};
use candle_core::{Device, Tensor, Var};

type Run = dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync;

/// `Δ(x)` (n, out) for `x` (n, in).
pub struct FusedGraph {
    run: Box<Run>,
    params: Vec<Param>,
}

impl FusedGraph {
    /// `run` records a graph over its argument and `params`.
    pub fn new(run: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static, params: Vec<Param>) -> Self {
        Self { run: Box::new(run), params }
    }

    /// `out += Δ(x)`.
    pub(super) fn add(&self, x: &[f32], n: usize, out: &mut [f32]) -> Result<()> {
        let change = (self.run)(&input(x, n)?)?;
        with_slice(&change, |change| add(out, change))
    }

    /// For the gradient `g` (n, out) of Δ(x): adds that of `x` to `dx`, and those of the parameters to `grads`.
    pub(super) fn backward(
        &self,
        x: &[f32],
        g: &[f32],
        n: usize,
        dx: Option<&mut [f32]>,
        grads: &mut Grads,
    ) -> Result<()> {
        let x = input(x, n)?;
        let var = dx.is_some().then(|| Var::from_tensor(&x)).transpose()?;
        let change = (self.run)(var.as_ref().map_or(&x, |var| var.as_tensor()))?;
        if !change.track_op() {
            return Ok(());
        }
        let mut store = seed_gradient(&change, &input(g, n)?)?.backward()?;
        if let (Some(dx), Some(var)) = (dx, var)
            && let Some(gradient) = store.remove(var.as_tensor())
        {
            with_slice(&gradient, |gradient| add(dx, gradient))?;
        }
        grads.collect(&self.params, &mut store)
    }
}

/// Values of `n` positions as a tensor.
fn input(values: &[f32], n: usize) -> Result<Tensor> {
    Ok(Tensor::from_slice(values, (n, values.len() / n.max(1)), &Device::Cpu)?)
}
