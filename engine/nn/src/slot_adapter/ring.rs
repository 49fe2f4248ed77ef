//! A square matrix as a ring of small ones, applied to pieces of the input.
//!
//! ```text
//! in = I_0 · I_1 · ..      T[i, j] = tr( Π_d A_d[:, :, i_d, j_d] )      A_d (bond, bond, I_d, I_d)
//! ```
//!
//! Place in the data flow: the right transform of TLoRA. With a bond of 1 it is a Kronecker product. The whole matrix is
//! formed only where a weight is merged.

use super::held::Held;
use crate::adapter::MergedWeight;
use crate::ops::linear_trained;
use crate::param::{Param, Role};
use crate::rng::Stream;
use crate::slots::Group;
use crate::{NnError, Result};
use candle_core::{DType, Device, Tensor};

/// How far the bonds of a new ring are from each other, relative to their size: equal ones would stay equal.
const SPREAD: f64 = 0.5;

/// The ring with its values.
pub(super) struct HeldRing {
    bond: usize,
    /// Sides above 1, and the small matrices of each.
    cores: Vec<(usize, Held)>,
}

impl HeldRing {
    /// The identity, under the names `<name>.ring0` and on. `sizes` multiply to the width of the input.
    pub(super) fn build(
        name: &str,
        sizes: [usize; 3],
        bond: usize,
        group: Group,
        cols: usize,
        seed: u64,
    ) -> Result<Self> {
        if sizes.iter().product::<usize>() != cols || bond == 0 {
            let what = format!("has a ring of sides {sizes:?} on {cols} inputs");
            return Err(NnError::Adapter { site: name.to_owned(), what });
        }
        let sides: Vec<usize> = sizes.into_iter().filter(|size| *size > 1).collect();
        let links = links(name, sides.len(), bond, seed);
        let mut cores = Vec::with_capacity(sides.len());
        for (at, (side, links)) in sides.into_iter().zip(links).enumerate() {
            let mut values = vec![0f32; bond * bond * side * side];
            for (block, link) in values.chunks_mut(side * side).zip(&links) {
                block.iter_mut().step_by(side + 1).for_each(|value| *value = *link as f32);
            }
            let values = Tensor::from_vec(values, (bond, bond, side, side), &Device::Cpu)?;
            cores.push((side, Held::trained(&format!("{name}.ring{at}"), &values, Role::Core, group)?));
        }
        Ok(Self { bond, cores })
    }

    /// `T x` for each row of `x` (.., in).
    pub(super) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let features = x.dim(candle_core::D::Minus1)?;
        let n = x.elem_count() / features.max(1);
        let rows = x.contiguous()?.reshape((n, features))?;
        let mut sum: Option<Tensor> = None;
        for closing in 0..self.bond {
            // From the last side on; each contraction turns its side to the front, so that the next one is last.
            let mut state: Vec<Option<Tensor>> = vec![None; self.bond];
            if let Some(first) = state.get_mut(closing) {
                *first = Some(rows.clone());
            }
            for (at, (side, core)) in self.cores.iter().enumerate().rev() {
                let core = core.tensor()?;
                let mut next: Vec<Option<Tensor>> = vec![None; self.bond];
                for (left, next) in next.iter_mut().enumerate().filter(|(left, _)| at > 0 || *left == closing) {
                    for (right, pieces) in state.iter().enumerate() {
                        let Some(pieces) = pieces else { continue };
                        let link = core.narrow(0, left, 1)?.narrow(1, right, 1)?.reshape((*side, *side))?;
                        let pieces = pieces.reshape((n * (features / side), *side))?;
                        let moved = linear_trained(&pieces, &link.contiguous()?, None)?;
                        let turned = moved.reshape((n, features / side, *side))?.transpose(1, 2)?.contiguous()?;
                        *next = added(next.take(), turned)?;
                    }
                }
                state = next;
            }
            if let Some(last) = state.into_iter().nth(closing).flatten() {
                sum = added(sum, last)?;
            }
        }
        Ok(sum.unwrap_or(rows).reshape(x.dims())?)
    }

    /// `W ← W T`.
    pub(super) fn merge_into(&self, weight: &mut MergedWeight) -> Result<()> {
        let (rows, cols) = (weight.out_features, weight.in_features);
        // Row j of what it makes of the unit vectors is column j of T.
        let columns = self.apply(&Tensor::eye(cols, DType::F32, &Device::Cpu)?)?;
        let whole = super::held::values(&columns.t()?.contiguous()?)?;
        let mut changed = vec![0f32; rows * cols];
        crate::gemm::gemm_nn(&weight.weight, &whole, &mut changed, rows, cols, cols, 1.0, false);
        weight.weight = changed;
        Ok(())
    }

    /// `Σ ‖A[r, r'] − I / bond‖²`.
    pub(super) fn off_identity(&self) -> Result<Option<Tensor>> {
        let mut sum: Option<Tensor> = None;
        for (side, core) in &self.cores {
            let identity = Tensor::eye(*side, DType::F32, &Device::Cpu)?.affine((self.bond as f64).recip(), 0.0)?;
            let start = identity.broadcast_as((self.bond, self.bond, *side, *side))?.contiguous()?;
            let off = crate::ops::add_constant(&core.tensor()?, &start, -1.0)?;
            sum = added(sum, off.sqr()?.sum_all()?)?;
        }
        Ok(sum)
    }

    pub(super) fn params(&self) -> impl Iterator<Item = Param> {
        self.cores.iter().flat_map(|(_, core)| core.params())
    }
}

fn added(sum: Option<Tensor>, value: Tensor) -> Result<Option<Tensor>> {
    Ok(Some(match sum {
        Some(sum) => (sum + value)?,
        None => value,
    }))
}

/// For each side the factors of the identity in its small matrices: `count` matrices (bond, bond) whose product has trace 1,
/// no two entries alike.
fn links(name: &str, count: usize, bond: usize, seed: u64) -> Vec<Vec<f64>> {
    if bond == 1 {
        return vec![vec![1.0]; count];
    }
    let mut stream = Stream::new(seed, &format!("init/{name}.ring"));
    let mut links: Vec<Vec<f64>> = (0..count)
        .map(|_| (0..bond * bond).map(|_| (1.0 + SPREAD * stream.normal()) / bond as f64).collect())
        .collect();
    let product = |links: &[Vec<f64>]| {
        let unit = (0..bond * bond).map(|at| if at / bond == at % bond { 1.0 } else { 0.0 }).collect::<Vec<f64>>();
        links.iter().fold(unit, |left, right| {
            let (left, right) = (left.as_slice(), right.as_slice());
            let entry =
                |at: usize| (0..bond).map(move |k| at_of(left, at / bond, k, bond) * at_of(right, k, at % bond, bond));
            (0..bond * bond).map(|at| entry(at).sum()).collect()
        })
    };
    let trace: f64 = product(&links).iter().step_by(bond + 1).sum();
    if trace.abs() < 0.1 {
        // A draw that cannot be scaled well: the next name gives another one.
        return self::links(&format!("{name}+"), count, bond, seed);
    }
    if let Some(first) = links.first_mut() {
        first.iter_mut().for_each(|link| *link /= trace);
    }
    links
}

fn at_of(matrix: &[f64], row: usize, col: usize, side: usize) -> f64 {
    matrix.get(row * side + col).copied().unwrap_or(0.0)
}
