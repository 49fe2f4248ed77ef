//! A matrix as a trained mix of drawn matrices that are never held.
//!
//! Place in the data flow: factors of adapters whose file is a seed and a few hundred coefficients.
//!
//! NOLA: Koohpayegani, Navaneet, Nooralinejad, Kolouri, Pirsiavash, "NOLA: Compressing LoRA using Linear Combination of
//! Random Basis" (2024), eq. 2.

use super::{Values, expect_shape, output, reference, slice, tensor};
use crate::Result;
use crate::rng::{MASK_BLOCK, mask_words};
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};
use rayon::prelude::*;
use std::sync::Arc;

/// Which matrices are mixed.
#[derive(Clone, Debug)]
pub struct Seeded {
    /// Key of the generator, from seed and factor.
    pub key: u64,
    /// What is there without them; the shape of all.
    pub start: Tensor,
    /// How many matrices.
    pub bases: usize,
}

/// Values per piece of work: a whole number of blocks of the generator.
const PIECE: usize = 32 * MASK_BLOCK;

impl Seeded {
    /// Entries of matrix `basis` from the one at `first`, a multiple of [`MASK_BLOCK`]: uniform in ±1/√bases.
    pub fn entries(&self, basis: usize, first: usize, out: &mut [f32]) {
        // Words are signed numbers of 31 bits and a sign.
        let unit = 1.0 / (self.bases.max(1) as f32).sqrt() / 2_147_483_648.0;
        for (block, out) in (first / MASK_BLOCK..).zip(out.chunks_mut(MASK_BLOCK)) {
            let words = mask_words(self.key, basis as u64, 0, block as u32);
            for (out, word) in out.iter_mut().zip(words) {
                *out = word.cast_signed() as f32 * unit;
            }
        }
    }

    /// One matrix, for tests and references.
    ///
    /// # Errors
    /// Only what candle reports.
    pub fn basis(&self, basis: usize) -> Result<Tensor> {
        let mut values = vec![0f32; self.start.elem_count()];
        self.entries(basis, 0, &mut values);
        Ok(tensor(values, self.start.dims())?)
    }
}

/// `start + Σ cᵢ Mᵢ` for `coefficients` c (bases); their gradients are `⟨Mᵢ, gradient⟩`. Works in main memory.
///
/// # Errors
/// Another number of coefficients than of matrices.
pub fn seeded_sum(coefficients: &Tensor, seeded: &Arc<Seeded>) -> Result<Tensor> {
    expect_shape("the coefficients", coefficients, &[seeded.bases])?;
    if !super::has_kernel(&[coefficients]) {
        return reference::seeded_sum(coefficients, seeded);
    }
    Ok(coefficients.contiguous()?.apply_op1(SeededSum { seeded: Arc::clone(seeded) })?)
}

struct SeededSum {
    seeded: Arc<Seeded>,
}

impl CustomOp1 for SeededSum {
    fn name(&self) -> &'static str {
        "seeded-sum"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let coefficients = slice(storage, layout)?;
        let start = self.seeded.start.contiguous()?;
        let mut sum = Values::of(&start)?.to_vec();
        sum.par_chunks_mut(PIECE).enumerate().for_each_init(
            || vec![0f32; PIECE],
            |drawn, (piece, sum)| {
                let Some(drawn) = drawn.get_mut(..sum.len()) else { return };
                for (basis, coefficient) in coefficients.iter().enumerate() {
                    if *coefficient != 0.0 {
                        self.seeded.entries(basis, piece * PIECE, drawn);
                        for (sum, value) in sum.iter_mut().zip(drawn.iter()) {
                            *sum += coefficient * value;
                        }
                    }
                }
            },
        );
        output(sum, self.seeded.start.shape().clone())
    }

    fn bwd(&self, coefficients: &Tensor, _y: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        if !coefficients.track_op() {
            return Ok(None);
        }
        let gradient = gradient.contiguous()?;
        let g = Values::of(&gradient)?;
        let g: &[f32] = &g;
        let products = (0..self.seeded.bases).into_par_iter().map_init(
            || vec![0f32; PIECE],
            |drawn, basis| {
                let pieces = g.chunks(PIECE).enumerate().map(|(piece, g)| {
                    let Some(drawn) = drawn.get_mut(..g.len()) else { return 0.0 };
                    self.seeded.entries(basis, piece * PIECE, drawn);
                    crate::kernels::reduce::dot_f64(g, drawn)
                });
                pieces.sum::<f64>() as f32
            },
        );
        Ok(Some(tensor(products.collect(), coefficients.dims())?))
    }
}
