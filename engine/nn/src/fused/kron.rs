//! A sum of Kronecker products in the rows of a frozen weight.
//!
//! Place in the data flow: the rows of the weight take the products up on their way into the layer's own, and the gradient
//! of the whole weight, made for some rows at a time, is summed up for all terms at once. So it costs one product more than
//! the frozen layer, whatever the number of terms. To apply a term to pieces of the input takes fewer multiplications, but
//! they are small ones between transpositions: with one term it took two and a half times as long.

use super::factor::FusedFactor;
use crate::frozen::{FrozenWeight, RowChange, backend};
use crate::kernels::{scratch, simd};
use crate::ops::Values;
use crate::{Grads, NnError, Result, gemm};
use candle_core::Tensor;
use std::sync::Arc;

/// Rows whose gradients are there at once.
const BAND_ROWS: usize = 192;

/// `W + s · Σ U_t ⊗ V_t − s · Σ` of the same that is not trained.
pub struct FusedKron {
    /// (a b, c d).
    pub weight: Arc<FrozenWeight>,
    /// Factor in front.
    pub scale: f32,
    /// U (a, c) and V (b, d) of each term.
    pub terms: Vec<(FusedFactor, FusedFactor)>,
    /// What a residual base takes off.
    pub taken: Vec<(Tensor, Tensor)>,
    /// (a, c).
    pub u_size: (usize, usize),
    /// (b, d).
    pub v_size: (usize, usize),
}

/// The terms as the rows take them up.
struct Rows<'a> {
    terms: Vec<(&'a [f32], &'a [f32], f32)>,
    c: usize,
    b: usize,
    d: usize,
}

impl RowChange for Rows<'_> {
    fn add(&self, first: usize, rows: &mut [f32]) {
        let (c, b, d) = (self.c.max(1), self.b.max(1), self.d.max(1));
        for (row, values) in (first..).zip(rows.chunks_exact_mut(c * d)) {
            simd(
                #[inline(always)]
                || {
                    for (u, v, scale) in &self.terms {
                        let u = u.get(row / b * c..(row / b + 1) * c).unwrap_or_default();
                        let v = v.get(row % b * d..(row % b + 1) * d).unwrap_or_default();
                        for (piece, u) in values.chunks_exact_mut(d).zip(u) {
                            let factor = scale * u;
                            for (value, v) in piece.iter_mut().zip(v) {
                                *value += factor * v;
                            }
                        }
                    }
                },
            );
        }
    }
}

impl FusedKron {
    /// Calls `work` with the change of the rows.
    fn with_rows<R>(&self, work: impl FnOnce(&Rows<'_>) -> Result<R>) -> Result<R> {
        let own = self.terms.iter().map(|(u, v)| (&u.value, &v.value, self.scale));
        let taken = self.taken.iter().map(|(u, v)| (u, v, -self.scale));
        let terms = own.chain(taken).map(|(u, v, scale)| Ok::<_, NnError>((Values::of(u)?, Values::of(v)?, scale)));
        let held: Vec<(Values<'_>, Values<'_>, f32)> = terms.collect::<Result<_>>()?;
        let terms = held.iter().map(|(u, v, scale)| (&**u, &**v, *scale)).collect();
        work(&Rows { terms, c: self.u_size.1, b: self.v_size.0, d: self.v_size.1 })
    }

    /// `out (+)= x W'ᵀ`.
    pub(super) fn forward(&self, x: &[f32], n: usize, out: &mut [f32], accumulate: bool) -> Result<()> {
        self.with_rows(|rows| backend().matmul_nt_changed(&self.weight, rows, x, n, out, accumulate))
    }

    /// `dx (+)= g W'`, and the gradients of the factors. With P_i (c, b d) the part of `gᵀ x` that belongs to row i of the
    /// U: `dU_t[i] = s P_i vec(V_t)` and `dV_t = s Σ_i U_t[i] P_i`.
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
        let ((a, c), (b, d), count) = (self.u_size, self.v_size, self.terms.len());
        let (cols, own) = (c * d, b * d);
        // Terms side by side: (count, b d), and per row of the U (c, count).
        let mut v_all = Vec::with_capacity(count * own);
        let mut u_all = vec![0f32; a * c * count];
        for (term, (u, v)) in self.terms.iter().enumerate() {
            v_all.extend_from_slice(&Values::of(&v.value)?);
            for (place, u) in u_all.iter_mut().skip(term).step_by(count.max(1)).zip(Values::of(&u.value)?.iter()) {
                *place = *u;
            }
        }
        let (mut du_all, mut dv_all) = (vec![0f32; a * c * count], vec![0f32; count * own]);
        let output = gemm::matrix(g, n, self.weight.rows);
        let band = (BAND_ROWS / b.max(1)).max(1);
        for first in (0..a).step_by(band) {
            let groups = band.min(a - first);
            scratch::with(groups * b * cols + c * own, |values| {
                let (change, part) = values.split_at_mut(groups * b * cols);
                let g = output.subcols(first * b, groups * b);
                let whole = gemm::matrix_mut(change, groups * b, cols);
                gemm::product(whole, g.transpose(), gemm::matrix(x, n, cols), 1.0, false);
                for (group, change) in (first..).zip(change.chunks_exact(b * cols)) {
                    regroup(change, part, (c, d));
                    let span = group * c * count..(group + 1) * c * count;
                    let (Some(u), Some(du)) = (u_all.get(span.clone()), du_all.get_mut(span)) else { continue };
                    let v = gemm::matrix(&v_all, count, own);
                    let du = gemm::matrix_mut(du, c, count);
                    gemm::product(du, gemm::matrix(part, c, own), v.transpose(), self.scale, false);
                    let u = gemm::matrix(u, c, count).transpose();
                    let dv = gemm::matrix_mut(&mut dv_all, count, own);
                    gemm::product(dv, u, gemm::matrix(part, c, own), self.scale, true);
                }
            });
        }
        for (term, (u, v)) in self.terms.iter().enumerate() {
            u.add(grads, Some(du_all.iter().skip(term).step_by(count.max(1)).copied().collect()))?;
            v.add(grads, dv_all.get(term * own..(term + 1) * own).map(<[f32]>::to_vec))?;
        }
        Ok(())
    }
}

/// (b, c, d) into (c, b, d).
fn regroup(from: &[f32], to: &mut [f32], (c, d): (usize, usize)) {
    let (rows, d) = (from.len() / (c * d).max(1), d.max(1));
    for (row, values) in from.chunks_exact(c * d).enumerate() {
        for (column, piece) in values.chunks_exact(d).enumerate() {
            let place = (column * rows + row) * d;
            if let Some(to) = to.get_mut(place..place + d) {
                to.copy_from_slice(piece);
            }
        }
    }
}
