//! How much rows and columns of a weight count for the loss: margins of the diagonal Fisher information.
//!
//! Place in the data flow: backward passes feed it sample by sample (`ops::tap_each`); repairs weigh their errors by it
//! ([`crate::repair::Weighing::Separable`]). LQ-LoRA (Guo et al. 2023): F is the sum over samples of the squares
//! of the gradient, entry by entry. A square of a mean would be something else: batches are taken apart.

use crate::{Result, linalg};

/// Σ over samples of the squares of a weight's gradient, by row and by column.
#[derive(Debug, Clone)]
pub struct Fisher {
    samples: u64,
    /// (out).
    rows: Vec<f64>,
    /// (in).
    cols: Vec<f64>,
}

/// The least a row or a column counts beside the mean: nothing is divided by a zero.
const LEAST_FISHER: f64 = 1e-6;

impl Fisher {
    /// Nothing seen yet, of a weight with rows of `features` values.
    pub(super) fn new(features: usize) -> Self {
        Self { samples: 0, rows: Vec::new(), cols: vec![0.0; features] }
    }

    /// Takes in the gradient (out, in) of one sample.
    pub(super) fn take_in(&mut self, gradient: &[f32]) -> Result<()> {
        let features = self.cols.len();
        let rows = linalg::rows_of(gradient, features)?;
        self.rows.resize(rows.len() / features.max(1), 0.0);
        for (row, sum) in rows.chunks_exact(features.max(1)).zip(&mut self.rows) {
            for (value, col) in row.iter().zip(&mut self.cols) {
                *sum += value * value;
                *col += value * value;
            }
        }
        self.samples += 1;
        Ok(())
    }

    /// How many samples it is of.
    #[must_use]
    pub const fn samples(&self) -> u64 {
        self.samples
    }

    /// How much rows (out) and columns (in) count: roots of the means of F over each, so shared that the squares of their
    /// products come to F where F is a product of a row and a column, `F_ij ≈ mean_j F_ij · mean_i F_ij / mean F`. All are
    /// above 0; alike where no gradient was seen. In f32, as checkpoints remember them.
    #[must_use]
    pub fn weights(&self) -> (Vec<f32>, Vec<f32>) {
        let (out_features, in_features) = (self.rows.len().max(1) as f64, self.cols.len().max(1) as f64);
        let mean = self.rows.iter().sum::<f64>() / (out_features * in_features);
        if mean <= 0.0 {
            return (vec![1.0; self.rows.len()], vec![1.0; self.cols.len()]);
        }
        let share = |sum: &f64, count: f64| (sum / count / mean).max(LEAST_FISHER);
        let rows = self.rows.iter().map(|sum| share(sum, in_features).sqrt() as f32);
        let cols = self.cols.iter().map(|sum| (share(sum, out_features) * mean).sqrt() as f32);
        (rows.collect(), cols.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fisher_weights_are_roots_of_means_of_squares_and_not_of_squares_of_means() {
        // Two samples of a weight of 2 x 3 whose gradients cancel in the mean.
        let gradient = [1.0f32, 2.0, 3.0, -2.0, 4.0, 6.0];
        let mut fisher = Fisher::new(3);
        fisher.take_in(&gradient).unwrap();
        fisher.take_in(&gradient.map(|value| -value)).unwrap();
        assert_eq!((fisher.samples(), fisher.rows.as_slice()), (2, [28.0, 112.0].as_slice()));
        assert_eq!(fisher.cols, [10.0, 40.0, 90.0]);
        // F is a product of a row and a column here: the weights give it back.
        let (rows, cols) = fisher.weights();
        for (at, value) in gradient.iter().enumerate() {
            let found = f64::from(rows[at / 3] * cols[at % 3]).powi(2);
            assert!((found / (2.0 * f64::from(value * value)) - 1.0).abs() < 1e-6, "{found} at {at}");
        }
        let mut nothing = Fisher::new(3);
        nothing.take_in(&[0.0; 6]).unwrap();
        assert_eq!(nothing.weights(), (vec![1.0; 2], vec![1.0; 3]));
        let mut sparse = Fisher::new(3);
        sparse.take_in(&[0.0, 0.0, 0.0, 0.0, 0.0, 5.0]).unwrap();
        let (rows, cols) = sparse.weights();
        assert!(rows.iter().chain(&cols).all(|weight| *weight > 0.0), "{rows:?} {cols:?}");
    }
}
