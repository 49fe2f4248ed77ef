//! NF4 with its magnitudes quantised a second time.
//!
//! Place in the data flow: [`crate::FrozenWeight::rounded`] makes weights of the kind `Nf4Double` with
//! [`SecondLevel::of`] and [`shrink`]; products widen them through [`widen`].
//!
//! QLoRA (Dettmers et al. 2023, section 3, "double quantization"): the largest magnitudes of the blocks less their mean
//! are kept in 8 bits by the signed dynamic map, 256 of them under one scale. A block is the code of its magnitude and
//! the codes of its 64 values, 33 bytes; with the scales that makes 4.127 bits a value instead of the 4.25 of `Nf4`. The
//! scales lie across rows, beside the blocks: a row is read alone with the number of its first block.
//!
//! Where this differs from bitsandbytes: codes of values are chosen for the magnitude as it comes back, not for the one
//! that went in, so that no second error is added to the first.

use super::base_blocks::{BLOCK, nearest_level, widen_levels};
use super::dynamic_map::SIGNED;
use rayon::prelude::*;
use std::hint::black_box;

/// Bytes of a block: code of the magnitude, then two codes a byte, value i low and value i + 32 high.
pub(crate) const BYTES: usize = 1 + BLOCK / 2;
/// Magnitudes under one scale.
const SUPER: usize = 256;

/// What the magnitudes of a weight's blocks are read with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SecondLevel {
    mean: f32,
    /// Largest distance from the mean, of 256 blocks each.
    scales: Vec<f32>,
}

impl SecondLevel {
    /// The second level over `magnitudes`, which become what it gives back; with them their codes.
    pub(crate) fn of(magnitudes: &mut [f32]) -> (Self, Vec<u8>) {
        let sum: f64 = magnitudes.iter().copied().map(f64::from).sum();
        let mean = (sum / magnitudes.len().max(1) as f64) as f32;
        let mut scales = Vec::with_capacity(magnitudes.len().div_ceil(SUPER));
        let mut codes = Vec::with_capacity(magnitudes.len());
        for run in magnitudes.chunks_mut(SUPER) {
            let scale = run.iter().map(|magnitude| (magnitude - mean).abs()).fold(0f32, f32::max);
            for magnitude in run {
                let share = if scale > 0.0 { (*magnitude - mean) / scale } else { 0.0 };
                let code = SIGNED.code(share);
                *magnitude = back(code, scale, mean);
                codes.push(code);
            }
            scales.push(scale);
        }
        (Self { mean, scales }, codes)
    }

    /// The magnitude of a block by its number and code.
    #[inline(always)]
    fn magnitude(&self, block: usize, code: u8) -> f32 {
        back(code, self.scales.get(block / SUPER).copied().unwrap_or(0.0), self.mean)
    }

    /// Bytes of memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        4 * (self.scales.len() + 1)
    }
}

#[inline(always)]
fn back(code: u8, scale: f32, mean: f32) -> f32 {
    SIGNED.values[usize::from(code)] * scale + mean
}

/// The largest magnitude of each block; NaN where a value is not finite.
pub(crate) fn magnitudes(values: &[f32]) -> Vec<f32> {
    let largest = |block: &[f32]| {
        let finite = block.iter().all(|value| value.is_finite());
        if finite { block.iter().fold(0f32, |most, value| most.max(value.abs())) } else { f32::NAN }
    };
    values.par_chunks(BLOCK).with_min_len(64).map(largest).collect()
}

/// Appends blocks: `magnitudes` as they come back, and their codes.
pub(crate) fn shrink(values: &[f32], magnitudes: &[f32], codes: &[u8], bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.resize(start + values.len() / BLOCK * BYTES, 0);
    let blocks = bytes[start..].par_chunks_mut(BYTES).with_min_len(64).zip(values.par_chunks(BLOCK));
    blocks.zip(magnitudes.par_iter().zip(codes)).for_each(|((bytes, values), (magnitude, code))| {
        let inverse = if *magnitude > 0.0 { 1.0 / magnitude } else { 0.0 };
        let [first, packed @ ..] = bytes else { return };
        *first = *code;
        let (low, high) = values.split_at(BLOCK / 2);
        for (byte, (low, high)) in packed.iter_mut().zip(low.iter().zip(high)) {
            *byte = nearest_level(low * inverse) | nearest_level(high * inverse) << 4;
        }
    });
}

/// Blocks → f32; `first` is the number of the first block in the weight.
pub(crate) fn widen(second: &SecondLevel, first: usize, bytes: &[u8], out: &mut [f32]) {
    widen_levels::<BYTES, 1>(
        bytes,
        out,
        #[inline(always)]
        |index, [code]| black_box(second.magnitude(first + index, *code)),
    );
}

/// As [`widen`], value by value.
#[cfg(test)]
fn widen_reference(second: &SecondLevel, first: usize, bytes: &[u8], out: &mut [f32]) {
    for (index, (block, out)) in bytes.chunks(BYTES).zip(out.chunks_mut(BLOCK)).enumerate() {
        let magnitude = second.magnitude(first + index, block[0]);
        for (at, place) in out.iter_mut().enumerate() {
            let byte = block[1 + at % 32];
            *place = crate::kernels::base_blocks::LEVELS[usize::from(if at < 32 { byte & 0x0F } else { byte >> 4 })]
                * magnitude;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    fn rounded(values: &[f32]) -> (SecondLevel, Vec<u8>) {
        let mut found = magnitudes(values);
        let (second, codes) = SecondLevel::of(&mut found);
        let mut bytes = Vec::new();
        shrink(values, &found, &codes, &mut bytes);
        (second, bytes)
    }

    fn relative_error(values: &[f32], back: &[f32]) -> f64 {
        let square = |of: &dyn Fn(f32, f32) -> f32| {
            values.iter().zip(back).map(|(a, b)| f64::from(of(*a, *b)).powi(2)).sum::<f64>()
        };
        (square(&|a, b| a - b) / square(&|a, _| a)).sqrt()
    }

    #[test]
    fn the_second_level_costs_almost_nothing_and_rows_are_read_alone() {
        let mut values = vec![0f32; 64 * 1000];
        Stream::new(1, "double").fill_normal(&mut values, 0.02);
        let (second, bytes) = rounded(&values);
        assert_eq!(second.scales.len(), 4);
        let bits = 8.0 * (bytes.len() + second.bytes()) as f64 / values.len() as f64;
        assert!((bits - 4.127).abs() < 1e-3, "{bits}");
        let (mut out, mut slow) = (vec![0f32; values.len()], vec![0f32; values.len()]);
        widen(&second, 0, &bytes, &mut out);
        widen_reference(&second, 0, &bytes, &mut slow);
        assert!(out.iter().zip(&slow).all(|(a, b)| a.to_bits() == b.to_bits()));
        let error = relative_error(&values, &out);
        assert!((0.088..0.097).contains(&error), "{error}");
        // Blocks 250..260 alone, across the border of two scales.
        let mut part = vec![0f32; 10 * BLOCK];
        widen(&second, 250, &bytes[250 * BYTES..260 * BYTES], &mut part);
        assert_eq!(part, out[250 * BLOCK..260 * BLOCK]);
    }

    #[test]
    fn blocks_of_zeros_stay_zeros_whatever_their_magnitude_becomes() {
        let mut values = vec![0f32; 64 * 8];
        Stream::new(2, "double").fill_normal(&mut values[64 * 4..], 0.5);
        let (second, bytes) = rounded(&values);
        let mut out = vec![0f32; values.len()];
        widen(&second, 0, &bytes, &mut out);
        assert!(out[..64 * 4].iter().all(|value| *value == 0.0));
        assert!(out[64 * 4..].iter().any(|value| *value != 0.0));
    }
}
