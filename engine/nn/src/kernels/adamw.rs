//! The arithmetic of one AdamW step.
//!
//! Place in the data flow: [`crate::optim::AdamW`] calls it for each parameter, in place.

use super::simd;
use rayon::prelude::*;

/// Values per piece of work.
const PIECE: usize = 1 << 15;

/// The numbers of one step for one parameter.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Decay rate of the first moment.
    pub beta1: f32,
    /// Decay rate of the second moment.
    pub beta2: f32,
    /// 1 - beta1, rounded once from f64.
    pub rest1: f32,
    /// 1 - beta2, rounded once from f64.
    pub rest2: f32,
    /// Added to the denominator.
    pub epsilon: f32,
    /// What the parameter is multiplied with before the step: 1 - lr · weight decay.
    pub keep: f32,
    /// lr / (1 - beta1^t).
    pub step_size: f32,
    /// √(1 - beta2^t).
    pub second_correction: f32,
}

/// One step: `m ← β₁m + (1-β₁)g`, `v ← β₂v + (1-β₂)g²`, `p ← keep·p - step_size · m / (√v/correction + ε)`.
/// All slices have the same length.
pub fn step(parameter: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32], step: Step) {
    parameter
        .par_chunks_mut(PIECE)
        .zip(gradient.par_chunks(PIECE))
        .zip(first.par_chunks_mut(PIECE).zip(second.par_chunks_mut(PIECE)))
        .for_each(|((parameter, gradient), (first, second))| {
            simd(
                #[inline(always)]
                || {
                    for ((p, &g), (m, v)) in parameter.iter_mut().zip(gradient).zip(first.iter_mut().zip(second)) {
                        *m = step.beta1 * *m + step.rest1 * g;
                        *v = step.beta2 * *v + step.rest2 * (g * g);
                        let denominator = v.sqrt() / step.second_correction + step.epsilon;
                        *p = *p * step.keep - step.step_size * (*m / denominator);
                    }
                },
            );
        });
}
