//! What the engine asks of an adapter on one linear layer, and the forms in which an adapter leaves.
//!
//! Place in the data flow: a [`crate::LinearSite`] holds a weight and a stack of adapters; each adapter
//! sees the layer as it is below it ([`Layer`]) and returns the output with its own change included. The
//! trainer reads [`Adapter::params`] and calls the hooks around the optimiser step; exporters read
//! [`Adapter::merge_into`] and [`Adapter::export`] and know nothing of methods. There is one implementation,
//! [`crate::SlotAdapter`].

use crate::context::ForwardContext;
use crate::param::{Grads, Param};
use crate::site::Layer;
use crate::{NnError, Result};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

/// A trainable change of one linear layer.
///
/// Order within a training step: forward, loss plus every [`extra_loss`](Self::extra_loss), backward,
/// [`map_grads`](Self::map_grads), clipping, optimiser, [`after_step`](Self::after_step).
pub trait Adapter: Send + Sync {
    /// Everything it trains. The order and the names are fixed for the life of the adapter.
    fn params(&self) -> Vec<Param>;

    /// Output (.., out) of the layer with this change, for `x` (.., in).
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn forward(&self, x: &Tensor, below: Layer<'_>, ctx: &ForwardContext) -> Result<Tensor>;

    /// Adds the change to a weight. `false`, with the weight untouched, when the change depends on the
    /// input and no weight can hold it.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn merge_into(&self, weight: &mut MergedWeight) -> Result<bool>;

    /// The form in which it leaves for a file.
    ///
    /// # Errors
    /// A failing tensor operation.
    fn export(&self) -> Result<AdapterExport>;

    /// A scalar that is added to the loss of each micro-step.
    ///
    /// # Errors
    /// A failing tensor operation.
    fn extra_loss(&self) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Changes the gradients of its own parameters before clipping.
    ///
    /// # Errors
    /// A failing tensor operation.
    fn map_grads(&self, _grads: &mut Grads) -> Result<()> {
        Ok(())
    }

    /// Changes its own parameters after optimiser step `step`, counted from 1.
    ///
    /// # Errors
    /// A failing tensor operation.
    fn after_step(&mut self, _step: u64) -> Result<()> {
        Ok(())
    }
}

/// The form in which the change of a site leaves for a file.
#[derive(Debug, Clone)]
pub enum AdapterExport {
    /// `ΔW = scale · B A`; whatever stood between the factors is folded into B.
    LowRank {
        /// (rank, in), f32.
        a: Tensor,
        /// (out, rank), f32.
        b: Tensor,
        /// Factor in front, already with the rank divided out.
        scale: f64,
        /// Inner width.
        rank: usize,
        /// The alpha to name in a file; `scale` is `alpha / rank` or, rank-stabilised, `alpha / √rank`.
        alpha: f64,
    },
    /// The whole new weight.
    Dense {
        /// (out, in), f32.
        weight: Tensor,
        /// (out), f32.
        bias: Option<Tensor>,
    },
}

/// A weight on its way into a merged file: f32 as it will be written or rounded further, with every change
/// added in f64 and rounded once.
#[derive(Debug, Clone, PartialEq)]
pub struct MergedWeight {
    /// Rows.
    pub out_features: usize,
    /// Columns.
    pub in_features: usize,
    /// (out, in), row by row.
    pub weight: Vec<f32>,
    /// (out).
    pub bias: Option<Vec<f32>>,
}

impl MergedWeight {
    /// Adds `scale · b a`, with `b` (out, rank) and `a` (rank, in) row by row.
    ///
    /// # Errors
    /// [`NnError`] when the lengths do not fit the weight.
    pub fn add_product(&mut self, b: &[f32], a: &[f32], rank: usize, scale: f64) -> Result<()> {
        let (rows, cols) = (self.out_features, self.in_features);
        let fits = b.len() == rows * rank && a.len() == rank * cols && self.weight.len() == rows * cols;
        if !fits {
            let what = format!(
                "factors of {} and {} numbers with rank {rank} do not fit a weight of {rows} x {cols}",
                b.len(),
                a.len()
            );
            return Err(NnError::Shape(what));
        }
        if rank == 0 || rows == 0 || cols == 0 {
            return Ok(());
        }
        self.weight.par_chunks_mut(cols).zip(b.par_chunks(rank)).for_each_init(
            || vec![0f64; cols],
            |sum, (row, b_row)| {
                sum.fill(0.0);
                for (&b_value, a_row) in b_row.iter().zip(a.chunks_exact(cols)) {
                    let factor = scale * f64::from(b_value);
                    for (sum, &a_value) in sum.iter_mut().zip(a_row) {
                        *sum += factor * f64::from(a_value);
                    }
                }
                for (weight, &change) in row.iter_mut().zip(sum.iter()) {
                    *weight = (f64::from(*weight) + change) as f32;
                }
            },
        );
        Ok(())
    }

    /// The weight as a tensor (out, in), f32.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn into_tensor(self) -> Result<Tensor> {
        Ok(Tensor::from_vec(self.weight, (self.out_features, self.in_features), &Device::Cpu)?)
    }
}
