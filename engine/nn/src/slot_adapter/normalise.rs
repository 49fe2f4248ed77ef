//! What is done to the changed weight: magnitudes of rows, scales of features.

use super::chain::Term;
use super::held::{Held, Place, values};
use crate::adapter::MergedWeight;
use crate::frozen::{FrozenWeight, backend};
use crate::ops::{FrozenLinear, scale_features, with_slice};
use crate::param::{Param, Role};
use crate::site::Layer;
use crate::slots::{Factor, Normaliser};
use crate::{NnError, Result};
use candle_core::{Device, Tensor};
use parking_lot::Mutex;
use rayon::prelude::*;

/// Below this a row counts as empty and is not divided by its norm.
const SMALLEST_NORM: f64 = 1e-12;

/// A normaliser with its tensors.
pub(super) enum HeldNormaliser {
    None,
    RowMagnitude(Magnitude),
    RowScale(Held),
    ColumnScale(Held),
}

/// Trained magnitudes of the rows of a changed frozen weight.
pub(super) struct Magnitude {
    /// (out).
    magnitude: Held,
    /// ‖W‖² of each row of the frozen weight.
    squares: Vec<f64>,
    /// The norms while they are held, and whether they are to be.
    held: Mutex<(bool, Option<Tensor>)>,
}

impl HeldNormaliser {
    pub(super) fn build(name: &str, normaliser: &Normaliser, below: Layer<'_>, seed: u64) -> Result<Self> {
        let (out_features, in_features) = (below.out_features(), below.in_features());
        let name = format!("{name}.scale");
        let hold = |factor: &Factor, features: usize| {
            let (shape, role) = ([features], Role::Scale);
            Held::build(factor, &Place { name: &name, role, shape: &shape, seed, found: None, principal: None })
        };
        Ok(match normaliser {
            Normaliser::None => Self::None,
            Normaliser::RowScale(factor) => Self::RowScale(hold(factor, out_features)?),
            Normaliser::ColumnScale(factor) => Self::ColumnScale(hold(factor, in_features)?),
            Normaliser::RowMagnitude(group) => {
                let Some(layer) = below.frozen() else {
                    let what = "brings rows to a magnitude and must be the first adapter on a frozen weight".to_owned();
                    return Err(NnError::Adapter { site: name, what });
                };
                let squares = row_squares(&layer.weight)?;
                let norms = Tensor::from_vec(roots(&squares), out_features, &Device::Cpu)?;
                let magnitude = Held::trained(&name, &norms, Role::Scale, *group)?;
                Self::RowMagnitude(Magnitude { magnitude, squares, held: Mutex::default() })
            }
        })
    }

    /// Its tensor.
    pub(super) fn held(&self) -> Option<&Held> {
        match self {
            Self::None => None,
            Self::RowMagnitude(magnitude) => Some(&magnitude.magnitude),
            Self::RowScale(held) | Self::ColumnScale(held) => Some(held),
        }
    }

    /// Applied to a weight with the change in it.
    pub(super) fn merge_into(&self, weight: &mut MergedWeight) -> Result<()> {
        match self {
            Self::None => {}
            Self::RowMagnitude(magnitude) => {
                let magnitude = values(&magnitude.tensor()?)?;
                weight.scale_rows(|row, values| {
                    let norm = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
                    f64::from(magnitude.get(row).copied().unwrap_or(0.0)) / norm.max(SMALLEST_NORM)
                });
            }
            Self::RowScale(scale) => {
                let scale = values(&scale.tensor()?)?;
                weight.scale_rows(|row, _| f64::from(scale.get(row).copied().unwrap_or(0.0)));
                for (bias, scale) in weight.bias.iter_mut().flatten().zip(&scale) {
                    *bias *= scale;
                }
            }
            Self::ColumnScale(scale) => weight.scale_columns(&values(&scale.tensor()?)?),
        }
        Ok(())
    }

    pub(super) fn hold_constants(&self, on: bool) {
        if let Self::RowMagnitude(magnitude) = self {
            *magnitude.held.lock() = (on, None);
        }
    }
}

impl Magnitude {
    pub(super) fn tensor(&self) -> Result<Tensor> {
        self.magnitude.tensor()
    }

    /// The magnitudes as a parameter.
    pub(super) fn params(&self) -> impl Iterator<Item = Param> {
        self.magnitude.params()
    }

    /// `m / ‖V‖` (out) for V = W + the terms, without the product: `‖V‖² = ‖W‖² + 2 s ⟨W Aᵀ, B⟩ + s² ⟨B A Aᵀ, B⟩`
    /// row by row, several terms being one with the factors side by side. The norm is a constant.
    pub(super) fn ratio(&self, layer: &FrozenLinear, terms: &[Term]) -> Result<Tensor> {
        let mut held = self.held.lock();
        let norms = match &*held {
            (true, Some(norms)) => norms.clone(),
            (hold, _) => {
                let norms = self.norms(&layer.weight, terms)?;
                if *hold {
                    held.1 = Some(norms.clone());
                }
                norms
            }
        };
        let magnitude = self.tensor()?;
        let inverse = norms.recip()?.to_device(magnitude.device())?;
        scale_features(&magnitude, &inverse)
    }

    /// ‖V‖ of every row, (out).
    fn norms(&self, weight: &FrozenWeight, terms: &[Term]) -> Result<Tensor> {
        let mut squares = self.squares.clone();
        if !terms.is_empty() {
            let a = Tensor::cat(&terms.iter().map(|term| term.a.detach()).collect::<Vec<_>>(), 0)?;
            let b = terms.iter().map(|term| term.b.detach().affine(term.scale, 0.0)).collect::<Result<Vec<_>, _>>()?;
            let b = Tensor::cat(&b, 1)?;
            let rank = a.dim(0)?;
            with_slice(&a, |a| with_slice(&b, |b| add_change(&mut squares, weight, a, b, rank)))???;
        }
        Ok(Tensor::from_vec(roots(&squares), squares.len(), &Device::Cpu)?)
    }
}

/// Adds `2 ⟨W Aᵀ, B⟩ + ⟨B A Aᵀ, B⟩` to the squares of the rows.
fn add_change(squares: &mut [f64], weight: &FrozenWeight, a: &[f32], b: &[f32], rank: usize) -> Result<()> {
    let (rows, cols) = (weight.rows, weight.cols);
    // (rank, out): the frozen weight's product with the rows of A as if they were inputs.
    let mut crossed = vec![0f32; rank * rows];
    backend().matmul_nt(weight, a, rank, &mut crossed, false)?;
    let gram: Vec<f64> = (0..rank * rank)
        .into_par_iter()
        .map(|at| {
            let row = |index: usize| a.get(index * cols..(index + 1) * cols).unwrap_or_default();
            crate::kernels::reduce::dot_f64(row(at / rank), row(at % rank))
        })
        .collect();
    squares.par_iter_mut().zip(b.par_chunks(rank)).enumerate().for_each(|(row, (square, b))| {
        for (k, &first) in b.iter().enumerate() {
            let first = f64::from(first);
            let cross = crossed.get(k * rows + row).copied().map_or(0.0, f64::from);
            let gram = gram.get(k * rank..(k + 1) * rank).unwrap_or_default();
            let own: f64 = b.iter().zip(gram).map(|(&second, gram)| f64::from(second) * gram).sum();
            *square += first * (2.0 * cross + own);
        }
    });
    Ok(())
}

fn roots(squares: &[f64]) -> Vec<f32> {
    squares.iter().map(|square| square.max(0.0).sqrt().max(SMALLEST_NORM) as f32).collect()
}

/// ‖W‖² of each row, block of rows by block of rows.
fn row_squares(weight: &FrozenWeight) -> Result<Vec<f64>> {
    const BLOCK_ROWS: usize = 32;
    let mut squares = vec![0f64; weight.rows];
    squares.par_chunks_mut(BLOCK_ROWS).enumerate().try_for_each(|(block, squares)| {
        let start = block * BLOCK_ROWS;
        let mut values = vec![0f32; squares.len() * weight.cols];
        weight.read_rows(start..start + squares.len(), &mut values)?;
        for (square, row) in squares.iter_mut().zip(values.chunks_exact(weight.cols.max(1))) {
            *square = row.iter().map(|&value| f64::from(value).powi(2)).sum();
        }
        Ok::<(), NnError>(())
    })?;
    Ok(squares)
}
