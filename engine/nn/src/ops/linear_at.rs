//! A product with a matrix that is 0 but at some places.
//!
//! Place in the data flow: adapters that train single entries of a weight (LT-SFT, SaRA). The matrix is never kept whole.

use super::{Values, expect_shape, has_kernel, output, reference, rows_and_features, slice, tensor};
use crate::error::shape_error;
use crate::kernels::{scratch, simd};
use crate::{Result, gemm};
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
/// Below one place in so many entries each is summed up for itself.
const SPARSE: usize = 8;
/// Rows whose gradients are there at once.
const BAND_ROWS: usize = 192;
/// Features that are brought together at a time.
const TILE: usize = 16;
/// Sums side by side.
const LANES: usize = 32;

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

    /// `Σ g[row] x[col]` over all inputs, for each place: what a matrix with values there gets, for its inputs `x` (n, in)
    /// and the gradient `g` (n, out) of its outputs.
    ///
    /// Of few places each is a sum of its own over features that were brought together first; of many the whole product is
    /// made, band by band, and read at the places.
    #[must_use]
    pub fn gradient(&self, x: &[f32], g: &[f32]) -> Vec<f32> {
        let (rows, cols) = (self.out_features.max(1), self.in_features.max(1));
        let n = x.len() / cols;
        if self.len().saturating_mul(SPARSE) > rows * cols { self.banded(x, g, n) } else { self.one_by_one(x, g, n) }
    }

    fn one_by_one(&self, x: &[f32], g: &[f32], n: usize) -> Vec<f32> {
        let (x, g) = (turned(x, self.in_features, n), turned(g, self.out_features, n));
        let of = |all: &'_ [f32], at: u32| -> std::ops::Range<usize> {
            let first = (at as usize * n).min(all.len());
            first..(first + n).min(all.len())
        };
        let mut sums = vec![0f32; self.len()];
        sums.par_chunks_mut(PIECE).enumerate().for_each(|(piece, sums)| {
            simd(
                #[inline(always)]
                || {
                    let places = self.rows.iter().zip(&self.cols).skip(piece * PIECE);
                    for (sum, (row, col)) in sums.iter_mut().zip(places) {
                        let (g, x) = (&g[of(&g, *row)], &x[of(&x, *col)]);
                        *sum = dot(g, x);
                    }
                },
            );
        });
        sums
    }

    fn banded(&self, x: &[f32], g: &[f32], n: usize) -> Vec<f32> {
        let (rows, cols) = (self.out_features, self.in_features);
        let mut sums = vec![0f32; self.len()];
        let (mut rest, mut done) = (&mut sums[..], 0);
        for first in (0..rows).step_by(BAND_ROWS) {
            let count = BAND_ROWS.min(rows - first);
            let end = self.rows.partition_point(|row| (*row as usize) < first + count);
            let (own, others) = rest.split_at_mut(end - done);
            let places = self.rows.iter().zip(&self.cols).skip(done);
            scratch::with(count * cols, |band| {
                let g = gemm::matrix(g, n, rows).subcols(first, count);
                gemm::product(gemm::matrix_mut(band, count, cols), g.transpose(), gemm::matrix(x, n, cols), 1.0, false);
                for (sum, (row, col)) in own.iter_mut().zip(places) {
                    *sum = band.get((*row as usize - first) * cols + *col as usize).copied().unwrap_or(0.0);
                }
            });
            (rest, done) = (others, end);
        }
        sums
    }
}

/// (n, features) into (features, n).
fn turned(values: &[f32], features: usize, n: usize) -> Vec<f32> {
    let mut out = vec![0f32; values.len()];
    let features = features.max(1);
    out.par_chunks_mut((TILE * n).max(1)).enumerate().for_each(|(tile, out)| {
        for (position, row) in values.chunks_exact(features).enumerate() {
            let row = row.get(tile * TILE..).unwrap_or_default();
            for (value, to) in row.iter().zip(out.iter_mut().skip(position).step_by(n.max(1))) {
                *to = *value;
            }
        }
    });
    out
}

/// `Σ a b` in [`LANES`] sums side by side.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (whole_a, whole_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let mut sum: f32 = whole_a.remainder().iter().zip(whole_b.remainder()).map(|(a, b)| a * b).sum();
    let mut lanes = [0f32; LANES];
    for (a, b) in whole_a.zip(whole_b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    sum += lanes.iter().sum::<f32>();
    sum
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
        let d_values = values.track_op().then(|| self.0.gradient(&x_values, &g));
        let dx = dx.map(|values| tensor(values, x.dims())).transpose()?;
        let d_values = d_values.map(|values| tensor(values, entries.len())).transpose()?;
        Ok((dx, d_values))
    }
}
