//! Single entries that are added to a frozen weight, within a fused half.
//!
//! Place in the data flow: the changes of [`crate::slots::Scatter`] go into the rows of the weight on their way into a
//! product, so that forward and backward cost what the layer itself costs. What remains is the gradient of the entries:
//! where all have a value, it is a product of its own; of picked ones see [`Places::gradient`].

use super::factor::FusedFactor;
use crate::frozen::{FrozenWeight, RowChange, backend};
use crate::ops::{Places, Values};
use crate::{Grads, Result, gemm};
use std::sync::Arc;

/// `W + s · E`, with E (out, in) given whole or by its values at some places.
pub struct FusedEntries {
    /// (out, in).
    pub weight: Arc<FrozenWeight>,
    /// Factor in front.
    pub scale: f32,
    /// (out, in), or one for each place.
    pub values: FusedFactor,
    /// Where the values are; none where all entries have one.
    pub places: Option<Arc<Places>>,
}

/// The entries as the rows take them up.
struct Rows<'a> {
    values: &'a [f32],
    places: Option<&'a Places>,
    scale: f32,
    cols: usize,
}

impl RowChange for Rows<'_> {
    fn add(&self, first: usize, rows: &mut [f32]) {
        let cols = self.cols.max(1);
        match self.places {
            None => {
                let own = self.values.get(first * cols..).unwrap_or_default();
                rows.iter_mut().zip(own).for_each(|(value, own)| *value += self.scale * own);
            }
            Some(places) => {
                for (row, values) in (first..).zip(rows.chunks_exact_mut(cols)) {
                    for (col, own) in places.of_row(row, self.values) {
                        if let Some(value) = values.get_mut(col) {
                            *value += self.scale * own;
                        }
                    }
                }
            }
        }
    }
}

impl FusedEntries {
    /// Calls `work` with the change of the rows.
    fn with_rows<R>(&self, work: impl FnOnce(&Rows<'_>) -> Result<R>) -> Result<R> {
        let values = Values::of(&self.values.value)?;
        let (places, cols) = (self.places.as_deref(), self.weight.cols);
        work(&Rows { values: &values, places, scale: self.scale, cols })
    }

    /// `out (+)= x W'ᵀ`.
    pub(super) fn forward(&self, x: &[f32], n: usize, out: &mut [f32], accumulate: bool) -> Result<()> {
        self.with_rows(|rows| backend().matmul_nt_changed(&self.weight, rows, x, n, out, accumulate))
    }

    /// `dx (+)= g W'`, and `s · gᵀ x` at the entries.
    pub(super) fn backward(
        &self,
        x: &[f32],
        g: &[f32],
        n: usize,
        (dx, accumulate): (Option<&mut [f32]>, bool),
        grads: &mut Grads,
    ) -> Result<()> {
        if let Some(dx) = dx {
            self.with_rows(|rows| backend().matmul_nn_changed(&self.weight, rows, g, n, dx, accumulate))?;
        }
        if !self.values.is_trained() {
            return Ok(());
        }
        let (rows, cols) = (self.weight.rows, self.weight.cols);
        let gradient = match &self.places {
            None => {
                let mut whole = vec![0f32; rows * cols];
                gemm::gemm_tn(g, x, &mut whole, rows, cols, n, self.scale, false);
                whole
            }
            Some(places) => {
                let mut of_places = places.gradient(x, g);
                of_places.iter_mut().for_each(|value| *value *= self.scale);
                of_places
            }
        };
        self.values.add(grads, Some(gradient))
    }
}
