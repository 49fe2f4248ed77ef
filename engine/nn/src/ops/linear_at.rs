//! A product with a matrix that is 0 but at some places.
//!
//! Place in the data flow: adapters that train single entries of a weight (LT-SFT, SaRA). The matrix is never whole.

use super::{Values, expect_shape, has_kernel, output, reference, rows_and_features, slice, tensor};
use crate::Result;
use crate::error::shape_error;
use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};
use rayon::prelude::*;
use std::sync::Arc;

/// Places of entries in a matrix, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    out_features: usize,
    in_features: usize,
    rows: Vec<u32>,
    cols: Vec<u32>,
}

/// Places whose gradient is one piece of work.
const PIECE: usize = 1024;

impl Places {
    /// Entries of a matrix (out, in) by their numbers, row by row and ascending.
    ///
    /// # Errors
    /// Numbers outside the matrix or out of order.
    pub fn new(out_features: usize, in_features: usize, numbers: &[u32]) -> Result<Self> {
        let within = numbers.last().is_none_or(|last| (*last as usize) < out_features * in_features);
        if !within || numbers.windows(2).any(|pair| pair.first() >= pair.last()) {
            return shape_error(format!("{} places are not in order in {out_features} x {in_features}", numbers.len()));
        }
        let width = u32::try_from(in_features.max(1)).unwrap_or(u32::MAX);
        let rows = numbers.iter().map(|number| number / width).collect();
        let cols = numbers.iter().map(|number| number % width).collect();
        Ok(Self { out_features, in_features, rows, cols })
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Rows and columns of the matrix.
    #[must_use]
    pub const fn sides(&self) -> (usize, usize) {
        (self.out_features, self.in_features)
    }

    /// Row of each.
    #[must_use]
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// Column of each.
    #[must_use]
    pub fn cols(&self) -> &[u32] {
        &self.cols
    }

    /// Row and column of each.
    pub fn iter(&self) -> impl Iterator<Item = (usize, usize)> {
        self.rows.iter().zip(&self.cols).map(|(row, col)| (*row as usize, *col as usize))
    }

    /// Columns and values of a row; `values` has one for each place.
    pub fn of_row<'a>(&'a self, row: usize, values: &'a [f32]) -> impl Iterator<Item = (usize, f32)> + 'a {
        let row = u32::try_from(row).unwrap_or(u32::MAX);
        let first = self.rows.partition_point(|other| *other < row);
        let end = self.rows.partition_point(|other| *other <= row);
        let cols = self.cols.get(first..end).unwrap_or_default();
        let values = values.get(first..end).unwrap_or_default();
        cols.iter().zip(values).map(|(col, value)| (*col as usize, *value))
    }
}

/// `y = x Mᵀ` for `x` (.., in) and the matrix M (out, in) that has `values` at `places` and 0 elsewhere. Gradients for x and
/// the values.
///
/// # Errors
/// Shapes that do not fit.
pub fn linear_at(x: &Tensor, values: &Tensor, places: &Arc<Places>) -> Result<Tensor> {
    let (_, features) = rows_and_features(x)?;
    expect_shape("the values", values, &[places.len()])?;
    if features != places.in_features {
        return shape_error(format!("an input of {features} for a matrix of {} columns", places.in_features));
    }
    if !has_kernel(&[x, values]) {
        return reference::linear_at(x, values, places);
    }
    Ok(x.contiguous()?.apply_op2(&values.contiguous()?, LinearAt(Arc::clone(places)))?)
}

struct LinearAt(Arc<Places>);

impl CustomOp2 for LinearAt {
    fn name(&self) -> &'static str {
        "linear-at"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        values: &CpuStorage,
        values_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (x, values) = (slice(x, x_layout)?, slice(values, values_layout)?);
        let (rows, cols) = (self.0.out_features, self.0.in_features);
        let mut y = vec![0f32; x.len() / cols.max(1) * rows];
        y.par_chunks_mut(rows.max(1)).zip(x.par_chunks(cols.max(1))).for_each(|(y, x)| {
            for ((row, col), value) in self.0.iter().zip(values) {
                if let (Some(y), Some(x)) = (y.get_mut(row), x.get(col)) {
                    *y += value * x;
                }
            }
        });
        let mut dims = x_layout.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = rows;
        }
        output(y, dims)
    }

    /// `dx = g M`, `dv = Σ g[row] x[col]` over all inputs.
    fn bwd(
        &self,
        x: &Tensor,
        values: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (x_values, entries, g) = (Values::of(x)?, Values::of(values)?, Values::of(&gradient)?);
        let (rows, cols) = (self.0.out_features.max(1), self.0.in_features.max(1));
        let dx = x.track_op().then(|| {
            let mut dx = vec![0f32; x_values.len()];
            dx.par_chunks_mut(cols).zip(g.par_chunks(rows)).for_each(|(dx, g)| {
                for ((row, col), value) in self.0.iter().zip(entries.iter()) {
                    if let (Some(dx), Some(g)) = (dx.get_mut(col), g.get(row)) {
                        *dx += value * g;
                    }
                }
            });
            dx
        });
        let d_values = values.track_op().then(|| {
            let mut sums = vec![0f32; entries.len()];
            let (all_rows, all_cols) = (self.0.rows(), self.0.cols());
            sums.par_chunks_mut(PIECE).enumerate().for_each(|(piece, sums)| {
                let places = all_rows.iter().zip(all_cols).skip(piece * PIECE);
                for (sum, (row, col)) in sums.iter_mut().zip(places) {
                    let column = x_values.iter().skip(*col as usize).step_by(cols);
                    *sum = g.iter().skip(*row as usize).step_by(rows).zip(column).map(|(g, x)| g * x).sum();
                }
            });
            sums
        });
        let dx = dx.map(|values| tensor(values, x.dims())).transpose()?;
        let d_values = d_values.map(|values| tensor(values, entries.len())).transpose()?;
        Ok((dx, d_values))
    }
}
