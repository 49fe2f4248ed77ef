//! A linear layer whose weight is looked up: each entry is one of a few numbers that its row trains.
//!
//! Place in the data flow: sketched bases ([`crate::sketch`] makes the codes). The weight is widened a band of rows at a
//! time, forward and backward, so that it is never whole.
//!
//! Zhang, Desai, Xu, Shrivastava, "Sketch to Adapt: Fine-Tunable Sketches for Efficient LLM Adaptation" (2025):
//! `W[o, j] = table[o, g(j), code[o, j]]` and `∂L/∂table[o, g, c] = Σ_{j in g, code[o, j] = c} ∂L/∂W[o, j]`.

use super::linear::with_features;
use super::{Values, expect_shape, has_kernel, output, reference, rows_and_features, slice, tensor};
use crate::error::shape_error;
use crate::kernels::scratch;
use crate::{NnError, Result, gemm};
use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Most bits of a code: two codes share a byte.
pub const MOST_BITS: usize = 4;
/// Most entries of a table.
const MOST_ENTRIES: usize = 1 << MOST_BITS;
/// Rows of the weight that are there at once: enough for products at full speed, few enough to stay in cache.
const BAND_ROWS: usize = 192;

/// Which entry of its table each value of a weight (rows, cols) is. Each row has `groups` tables of 2^bits entries, one per
/// group of neighbouring columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes {
    rows: usize,
    cols: usize,
    groups: usize,
    bits: usize,
    /// Two to a byte, the even column in the high half; a row begins with a byte of its own.
    packed: Vec<u8>,
}

impl Codes {
    /// Packs codes (rows, cols), row by row.
    ///
    /// # Errors
    /// Another number of codes, a code above 2^bits − 1, no group, or bits that do not fit half a byte.
    pub fn pack((rows, cols): (usize, usize), groups: usize, bits: usize, codes: &[u8]) -> Result<Self> {
        let largest = (1usize << bits.min(MOST_BITS)) - 1;
        if codes.len() != rows * cols || groups == 0 || !(1..=MOST_BITS).contains(&bits) {
            let count = codes.len();
            return shape_error(format!("{count} codes of {bits} bits in {groups} groups for {rows} x {cols} values"));
        }
        if let Some(code) = codes.iter().find(|code| usize::from(**code) > largest) {
            return shape_error(format!("the code {code} has more than {bits} bits"));
        }
        let pack = |pair: &[u8]| match pair {
            [high, low] => (high << MOST_BITS) | low,
            [high] => high << MOST_BITS,
            _ => 0,
        };
        let packed = codes.chunks(cols.max(1)).flat_map(|row| row.chunks(2).map(pack)).collect();
        Ok(Self { rows, cols, groups, bits, packed })
    }

    /// The codes (rows, cols), row by row.
    #[must_use]
    pub fn unpacked(&self) -> Vec<u8> {
        (0..self.rows).flat_map(|row| (0..self.cols).map(move |col| self.code(row, col))).collect()
    }

    /// (rows, cols).
    #[must_use]
    pub const fn dims(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Entries of a row's tables, all groups together.
    #[must_use]
    pub const fn table_width(&self) -> usize {
        self.groups << self.bits
    }

    /// Bytes of memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.packed.len()
    }

    /// Columns of a group; none where there are more groups than columns.
    fn columns(&self, group: usize) -> Range<usize> {
        columns(self.cols, self.groups, group)
    }

    fn code(&self, row: usize, col: usize) -> u8 {
        half(self.row(row), col)
    }

    fn row(&self, row: usize) -> &[u8] {
        let stride = self.cols.div_ceil(2);
        self.packed.get(row * stride..(row + 1) * stride).unwrap_or_default()
    }

    /// Widens rows: `table` (rows, [`Self::table_width`]) of all rows, `out` (rows in range, cols).
    pub(crate) fn widen(&self, table: &[f32], rows: &Range<usize>, out: &mut [f32]) {
        let (width, entries) = (self.table_width(), 1 << self.bits);
        out.par_chunks_exact_mut(self.cols.max(1)).zip(rows.clone().into_par_iter()).for_each(|(out, row)| {
            let (codes, tables) = (self.row(row), &table[row * width..(row + 1) * width]);
            for (group, table) in tables.chunks_exact(entries).enumerate() {
                for col in self.columns(group) {
                    out[col] = table[usize::from(half(codes, col))];
                }
            }
        });
    }

    /// Adds the gradient `change` (rows in range, cols) of some rows up by table entry: `d_table` is theirs alone.
    fn gather(&self, change: &[f32], rows: &Range<usize>, d_table: &mut [f32]) {
        let (width, entries) = (self.table_width(), 1 << self.bits);
        let parts = d_table.par_chunks_exact_mut(width).zip(change.par_chunks_exact(self.cols.max(1)));
        parts.zip(rows.clone().into_par_iter()).for_each(|((d_tables, change), row)| {
            let codes = self.row(row);
            for (group, d_table) in d_tables.chunks_exact_mut(entries).enumerate() {
                let mut sums = [0f64; MOST_ENTRIES];
                for col in self.columns(group) {
                    sums[usize::from(half(codes, col))] += f64::from(change[col]);
                }
                for (d_entry, sum) in d_table.iter_mut().zip(sums) {
                    *d_entry = sum as f32;
                }
            }
        });
    }

    /// Place of each value in its row's tables, (rows, cols).
    fn places(&self) -> Result<Tensor> {
        let mut places = Vec::with_capacity(self.rows * self.cols);
        for row in 0..self.rows {
            for group in 0..self.groups {
                let place = |col: usize| (group << self.bits) as u32 + u32::from(self.code(row, col));
                places.extend(self.columns(group).map(place));
            }
        }
        Ok(Tensor::from_vec(places, (self.rows, self.cols), &candle_core::Device::Cpu)?)
    }
}

/// The columns of a group when `cols` are split into `groups` as evenly as they go.
pub(crate) fn columns(cols: usize, groups: usize, group: usize) -> Range<usize> {
    let groups = groups.max(1);
    group * cols / groups..(group + 1) * cols / groups
}

/// A code of a packed row.
fn half(codes: &[u8], col: usize) -> u8 {
    let byte = codes.get(col / 2).copied().unwrap_or(0);
    if col.is_multiple_of(2) { byte >> MOST_BITS } else { byte & 0xF }
}

/// `y = x Wᵀ` with W looked up in `table` (out, [`Codes::table_width`]). Gradients for x and the table.
///
/// # Errors
/// Shapes that do not fit.
pub fn linear_look_up(x: &Tensor, codes: &Arc<Codes>, table: &Tensor) -> Result<Tensor> {
    let (_, features) = rows_and_features(x)?;
    let (rows, cols) = codes.dims();
    if features != cols {
        return shape_error(format!("codes of {rows} x {cols} take {cols} features, the input has {features}"));
    }
    expect_shape("the table", table, &[rows, codes.table_width()])?;
    if !has_kernel(&[x, table]) {
        let (places, table) = (codes.places()?.to_device(x.device())?, super::beside(x, table)?);
        return reference::linear_look_up(x, &places, &table);
    }
    Ok(x.contiguous()?.apply_op2(&table.contiguous()?, LookUp { codes: Arc::clone(codes) })?)
}

struct LookUp {
    codes: Arc<Codes>,
}

impl LookUp {
    /// Calls `work` with each band of rows and room for their values.
    fn bands(&self, mut work: impl FnMut(Range<usize>, &mut [f32])) {
        let (rows, cols) = self.codes.dims();
        for first in (0..rows).step_by(BAND_ROWS) {
            let band = first..rows.min(first + BAND_ROWS);
            scratch::with(band.len() * cols, |values| work(band, values));
        }
    }
}

impl CustomOp2 for LookUp {
    fn name(&self) -> &'static str {
        "linear-look-up"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        table: &CpuStorage,
        table_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (x, table) = (slice(x, x_layout)?, slice(table, table_layout)?);
        let (rows, cols) = self.codes.dims();
        let n = x.len() / cols.max(1);
        let mut y = vec![0f32; n * rows];
        let input = gemm::matrix(x, n, cols);
        self.bands(|band, values| {
            self.codes.widen(table, &band, values);
            let out = gemm::matrix_mut(&mut y, n, rows).subcols_mut(band.start, band.len());
            gemm::product(out, input, gemm::matrix(values, band.len(), cols).transpose(), 1.0, false);
        });
        output(y, with_features(x_layout.dims(), rows))
    }

    /// `dx = g W`, and the sums of `gᵀ x` over the values that share an entry.
    fn bwd(
        &self,
        x: &Tensor,
        table: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (x_values, table_values, g) = (Values::of(x)?, Values::of(table)?, Values::of(&gradient)?);
        let (rows, cols) = self.codes.dims();
        let (n, width) = (x_values.len() / cols.max(1), self.codes.table_width());
        let (input, output) = (gemm::matrix(&x_values, n, cols), gemm::matrix(&g, n, rows));
        let mut dx = x.track_op().then(|| vec![0f32; n * cols]);
        let mut d_table = table.track_op().then(|| vec![0f32; rows * width]);
        self.bands(|band, values| {
            let g = output.subcols(band.start, band.len());
            if let Some(dx) = &mut dx {
                self.codes.widen(&table_values, &band, values);
                let weight = gemm::matrix(values, band.len(), cols);
                gemm::product(gemm::matrix_mut(dx, n, cols), g, weight, 1.0, true);
            }
            if let Some(d_table) = &mut d_table {
                gemm::product(gemm::matrix_mut(values, band.len(), cols), g.transpose(), input, 1.0, false);
                self.codes.gather(values, &band, &mut d_table[band.start * width..band.end * width]);
            }
        });
        let dx = dx.map(|values| tensor(values, x.dims())).transpose()?;
        let d_table = d_table.map(|values| tensor(values, table.dims())).transpose()?;
        Ok((dx, d_table))
    }
}

/// The whole weight, for merging.
///
/// # Errors
/// A table of another size.
pub(crate) fn widened(codes: &Codes, table: &[f32]) -> Result<Vec<f32>> {
    let (rows, cols) = codes.dims();
    if table.len() != rows * codes.table_width() {
        return Err(NnError::Shape(format!("a table of {} values for codes of {rows} x {cols}", table.len())));
    }
    let mut values = vec![0f32; rows * cols];
    codes.widen(table, &(0..rows), &mut values);
    Ok(values)
}
