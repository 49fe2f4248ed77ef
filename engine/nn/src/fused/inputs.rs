//! Inner factors that are no product: picked features, or sums of features that lie a fixed distance apart.
//!
//! Place in the data flow: a layer whose change has such an inner factor A and an outer factor B takes `s B A` into the
//! rows of its weight on their way into the product, so that the change costs no product of its own, forward or for the
//! gradient of the input. What B gets needs only `x Aᵀ`, which is picked or summed out of the input when it is asked for:
//! nothing of it is kept.
//!
//! PaCA: Woo et al., "PaCA: Partial Connection Adaptation for Efficient Fine-Tuning" (2025): the trained columns lie in
//! the weight itself, and of the input only theirs is needed.

use crate::frozen::RowChange;
use crate::kernels::memory::written;
use rayon::prelude::*;
use std::sync::Arc;

/// Positions from which a change is taken into the weight's rows: with fewer, reading the rows anew costs more than thin
/// products.
pub(super) const WOVEN_FROM: usize = 64;
/// Values per piece of work.
const PIECE: usize = 1 << 14;

/// What a row of the inner factor gives.
#[derive(Clone, Debug)]
pub enum FusedInputs {
    /// The feature of this number, all of them different.
    Picked(Arc<[u32]>),
    /// The sum of every feature whose number leaves the row's when divided by so many.
    Summed(usize),
}

impl FusedInputs {
    /// Inner width.
    pub(super) fn rank(&self) -> usize {
        match self {
            Self::Picked(columns) => columns.len(),
            Self::Summed(rank) => *rank,
        }
    }

    /// `x Aᵀ` (n, rank) of `x` (n, features).
    pub(super) fn of(&self, x: &[f32], features: usize) -> Vec<f32> {
        let (features, rank) = (features.max(1), self.rank().max(1));
        let len = x.len() / features * rank;
        match self {
            Self::Picked(columns) => written(len, rank, PIECE, |row| {
                let row = x.get(row * features..(row + 1) * features).unwrap_or_default();
                columns.iter().map(|&column| row.get(column as usize).copied().unwrap_or(0.0))
            }),
            Self::Summed(_) => {
                let mut sums = vec![0f32; len];
                let rows = PIECE.div_ceil(features);
                sums.par_chunks_mut(rows * rank).zip(x.par_chunks(rows * features)).for_each(|(sums, x)| {
                    for (sums, x) in sums.chunks_exact_mut(rank).zip(x.chunks_exact(features)) {
                        for piece in x.chunks(rank) {
                            for (sum, x) in sums.iter_mut().zip(piece) {
                                *sum += x;
                            }
                        }
                    }
                });
                sums
            }
        }
    }
}

/// `scale · B A` for B (out, rank), row by row.
pub(super) struct Woven<'a> {
    pub(super) inputs: &'a FusedInputs,
    pub(super) b: &'a [f32],
    pub(super) scale: f32,
    pub(super) cols: usize,
}

impl RowChange for Woven<'_> {
    fn add(&self, first: usize, rows: &mut [f32]) {
        let rank = self.inputs.rank().max(1);
        let factors = self.b.chunks_exact(rank).skip(first);
        for (row, b) in rows.chunks_exact_mut(self.cols.max(1)).zip(factors) {
            match self.inputs {
                FusedInputs::Picked(columns) => {
                    for (&column, b) in columns.iter().zip(b) {
                        if let Some(value) = row.get_mut(column as usize) {
                            *value += self.scale * b;
                        }
                    }
                }
                FusedInputs::Summed(_) => {
                    for piece in row.chunks_mut(rank) {
                        for (value, b) in piece.iter_mut().zip(b) {
                            *value += self.scale * b;
                        }
                    }
                }
            }
        }
    }
}
