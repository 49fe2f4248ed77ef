//! Linear layers with a low-rank change: the operation most of a LoRA step is spent in.
//!
//! Place in the data flow: [`crate::SlotAdapter`] calls these for every site that carries a plain chain of two
//! factors.
//!
//! LoRA: Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang, Chen, "LoRA: Low-Rank Adaptation of Large Language
//! Models" (2021), eq. 3: `h = W0 x + (α/r) B A x`.

use super::{FrozenLinear, reference, rows_and_features};
use crate::Result;
use crate::error::shape_error;
use candle_core::Tensor;
use std::sync::Arc;

/// Dropout on the input of a low-rank change. The mask depends on (key, row in the step, position, feature)
/// only, so that a step gives the same result however its rows are cut into batches.
#[derive(Clone, Debug)]
pub struct Dropout {
    /// Probability of dropping, in [0, 1).
    pub p: f32,
    /// From seed, step and site.
    pub key: u64,
    /// Number within the step of each batch row.
    pub rows: Arc<[u64]>,
    /// Positions per row.
    pub width: usize,
}

impl Dropout {
    /// Row in the step and position in the row of a place in the flattened batch.
    #[must_use]
    pub fn place(&self, place: usize) -> (u64, u32) {
        let width = self.width.max(1);
        (self.rows.get(place / width).copied().unwrap_or(u64::MAX), (place % width) as u32)
    }

    fn check(&self, positions: usize) -> Result<()> {
        if !(0.0..1.0).contains(&self.p) {
            return Err(crate::NnError::Value(format!("a dropout of {} is not in [0, 1)", self.p)));
        }
        if self.rows.len() * self.width != positions {
            let (rows, width) = (self.rows.len(), self.width);
            return shape_error(format!("dropout over {rows} rows of {width} on {positions} positions"));
        }
        Ok(())
    }
}

/// `y = x Wᵀ + bias + scale · (drop(x) Aᵀ) Bᵀ` with `a` (rank, in) and `b` (out, rank); gradients for x, a, b.
///
/// # Errors
/// Shapes that do not fit, or a dropout outside [0, 1).
pub fn linear_low_rank(
    x: &Tensor,
    layer: &FrozenLinear,
    a: &Tensor,
    b: &Tensor,
    scale: f32,
    dropout: Option<Dropout>,
) -> Result<Tensor> {
    let change = low_rank(x, a, b, scale, dropout)?;
    Ok((super::linear(x, layer)? + change)?)
}

/// `scale · (drop(x) Aᵀ) Bᵀ` alone: for several adapters on one weight, or one on a trained weight.
///
/// # Errors
/// Shapes that do not fit, or a dropout outside [0, 1).
pub fn low_rank(x: &Tensor, a: &Tensor, b: &Tensor, scale: f32, dropout: Option<Dropout>) -> Result<Tensor> {
    let (positions, features) = rows_and_features(x)?;
    if let Some(dropout) = &dropout {
        dropout.check(positions)?;
    }
    let ((rank, in_features), (_, b_rank)) = (a.dims2()?, b.dims2()?);
    if in_features != features || b_rank != rank {
        let (a, b) = (a.dims(), b.dims());
        return shape_error(format!("factors {a:?} and {b:?} do not fit an input of {features} features"));
    }
    reference::low_rank(x, a, b, scale, dropout.as_ref())
}
