//! The arithmetic of one AdamW step, over moments in f32 or in 8 bits.
//!
//! Place in the data flow: [`crate::optim::AdamW`] calls it for each parameter, in place. Every value is read and
//! written once: moments, decay and step are one pass, spread over the pool in pieces of fixed size.

use super::dynamic_map::{DynamicMap, SIGNED, UNSIGNED};
use super::simd;
use rayon::prelude::*;

/// Values per piece of work; a multiple of [`BLOCK`].
const PIECE: usize = 1 << 15;
/// Values that share a scale in 8-bit moments. The paper has 2,048; bitsandbytes went to 256 since, and so do we: an
/// outlier then spoils fewer neighbours, for 1.6 % of the moments' memory.
pub const BLOCK: usize = 256;
/// Blocks whose largest magnitude is smaller hold zeros: its inverse would overflow.
const LEAST_SCALE: f32 = f32::MIN_POSITIVE;

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

/// A moment in 8 bits: a code for each value, and for each block of [`BLOCK`] values (the last may be shorter) the
/// largest magnitude in it, which the codes' values are multiplied with.
#[derive(Clone, Debug, PartialEq)]
pub struct Coded {
    /// Codes of the map: the signed one for the first moment, the unsigned one for the second.
    pub codes: Vec<u8>,
    /// Largest magnitude of each block.
    pub scales: Vec<f32>,
}

impl Coded {
    /// `count` zeros of a first moment.
    #[must_use]
    pub fn zero_first(count: usize) -> Self {
        Self::zeros(count, SIGNED.zero)
    }

    /// `count` zeros of a second moment.
    #[must_use]
    pub fn zero_second(count: usize) -> Self {
        Self::zeros(count, UNSIGNED.zero)
    }

    fn zeros(count: usize, code: u8) -> Self {
        Self { codes: vec![code; count], scales: vec![0.0; count.div_ceil(BLOCK)] }
    }

    /// The values in order, of a first moment or of a second one.
    #[must_use]
    pub fn values(&self, first: bool) -> Vec<f32> {
        let map: &DynamicMap = if first { &SIGNED } else { &UNSIGNED };
        let mut values = Vec::with_capacity(self.codes.len());
        for (codes, scale) in self.codes.chunks(BLOCK).zip(&self.scales) {
            let mut block = [0f32; BLOCK];
            widen(map, codes, *scale, &mut block);
            values.extend_from_slice(block.get(..codes.len()).unwrap_or_default());
        }
        values
    }

    /// The codes nearest to `values`, of a first moment or of a second one.
    #[must_use]
    pub fn of(values: &[f32], first: bool) -> Self {
        let map: &DynamicMap = if first { &SIGNED } else { &UNSIGNED };
        let mut coded = Self::zeros(values.len(), map.zero);
        let blocks = coded.codes.chunks_mut(BLOCK).zip(&mut coded.scales).zip(values.chunks(BLOCK));
        for ((codes, scale), values) in blocks {
            let mut block = [0f32; BLOCK];
            block.iter_mut().zip(values).for_each(|(place, value)| *place = *value);
            *scale = narrow(map, &block, codes, u8::from(!first));
        }
        coded
    }

    /// Bytes of memory.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        self.codes.len() + self.scales.len() * size_of::<f32>()
    }
}

/// `m ← β₁m + (1-β₁)g`, `v ← β₂v + (1-β₂)g²`, `p ← keep·p - step_size · m / (√v/correction + ε)` for one value.
#[inline(always)]
fn move_one(p: &mut f32, g: f32, m: &mut f32, v: &mut f32, step: &Step) {
    *m = step.beta1 * *m + step.rest1 * g;
    *v = step.beta2 * *v + step.rest2 * (g * g);
    let denominator = v.sqrt() / step.second_correction + step.epsilon;
    *p = *p * step.keep - step.step_size * (*m / denominator);
}

/// One step over moments in f32. All slices have the same length.
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
                        move_one(p, g, m, v, &step);
                    }
                },
            );
        });
}

/// One step over moments in f32 for the values that `mask` does not hold; the others stay as they are, moments and all.
/// All slices have the same length.
pub fn step_masked(
    parameter: &mut [f32],
    gradient: &[f32],
    mask: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    step: Step,
) {
    let moments = first.iter_mut().zip(second);
    for (((p, &g), mask), (m, v)) in parameter.iter_mut().zip(gradient).zip(mask).zip(moments) {
        if *mask != 0.0 {
            move_one(p, g, m, v, &step);
        }
    }
}

/// One step over moments in 8 bits, block by block: widened, moved on with the parameter in f32, narrowed again. The
/// parameter moves by the moments before they are narrowed. Slices and codes have the same length.
///
/// A second moment above zero is never narrowed to zero but to the map's smallest value: where the gradient then stays
/// away, zero would leave only ε under a first moment that is still there, and the step would explode. (The paper does
/// without; its authors keep embeddings, where this happens, in 32 bits.)
pub fn step_int8(parameter: &mut [f32], gradient: &[f32], first: &mut Coded, second: &mut Coded, step: Step) {
    let (signed, unsigned): (&DynamicMap, &DynamicMap) = (&SIGNED, &UNSIGNED);
    let blocks = PIECE / BLOCK;
    let first = first.codes.par_chunks_mut(PIECE).zip(first.scales.par_chunks_mut(blocks));
    let second = second.codes.par_chunks_mut(PIECE).zip(second.scales.par_chunks_mut(blocks));
    parameter.par_chunks_mut(PIECE).zip(gradient.par_chunks(PIECE)).zip(first.zip(second)).for_each(
        |((parameter, gradient), ((first, first_scales), (second, second_scales)))| {
            simd(
                #[inline(always)]
                || {
                    let values = parameter.chunks_mut(BLOCK).zip(gradient.chunks(BLOCK));
                    let first = first.chunks_mut(BLOCK).zip(first_scales);
                    let second = second.chunks_mut(BLOCK).zip(second_scales);
                    for ((parameter, gradient), ((first, m_scale), (second, v_scale))) in values.zip(first.zip(second))
                    {
                        let (mut m, mut v) = ([0f32; BLOCK], [0f32; BLOCK]);
                        widen(signed, first, *m_scale, &mut m);
                        widen(unsigned, second, *v_scale, &mut v);
                        for ((p, &g), (m, v)) in parameter.iter_mut().zip(gradient).zip(m.iter_mut().zip(&mut v)) {
                            move_one(p, g, m, v, &step);
                        }
                        *m_scale = narrow(signed, &m, first, 0);
                        *v_scale = narrow(unsigned, &v, second, 1);
                    }
                },
            );
        },
    );
}

/// Values of the codes of one block.
#[inline(always)]
fn widen(map: &DynamicMap, codes: &[u8], scale: f32, values: &mut [f32; BLOCK]) {
    for (value, code) in values.iter_mut().zip(codes) {
        *value = map.values[usize::from(*code)] * scale;
    }
}

/// Writes the codes of one block and returns its scale. Where a value is not zero its code is at least `least`; what
/// lies beyond the codes is zero.
#[inline(always)]
fn narrow(map: &DynamicMap, values: &[f32; BLOCK], codes: &mut [u8], least: u8) -> f32 {
    // Sixteen at once: a single running maximum would wait for itself.
    let mut lanes = [0f32; 16];
    for values in values.as_chunks::<16>().0 {
        for (lane, value) in lanes.iter_mut().zip(values) {
            *lane = if value.abs() > *lane { value.abs() } else { *lane };
        }
    }
    let scale = lanes.iter().fold(0f32, |most, lane| if *lane > most { *lane } else { most });
    if scale < LEAST_SCALE {
        codes.fill(map.zero);
        return 0.0;
    }
    let inverse = 1.0 / scale;
    for (code, value) in codes.iter_mut().zip(values) {
        *code = map.code(value * inverse).max(if *value == 0.0 { 0 } else { least });
    }
    scale
}
