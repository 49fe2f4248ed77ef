//! Widening of stored weights to f32 for the formats met most, written so that the compiler vectorises them.
//!
//! Place in the data flow: called by [`crate::storage::dequantise`]; plain slices in, plain slices out. All
//! give the bits of candle's conversions. Bytes need no alignment.

use super::simd;
use std::hint::black_box;

/// A scale the compiler may not look through. Otherwise it vectorises the loop over blocks, gathering single bytes
/// of eight blocks at a time, instead of the values of one block, which lie side by side: three times slower.
#[inline(always)]
pub(super) fn scale(low: u8, high: u8) -> f32 {
    black_box(half(low, high))
}

/// Half at the start of a block, widened without a call: exact for all finite values, infinities and NaNs kept.
#[inline(always)]
fn half(low: u8, high: u8) -> f32 {
    let bits = u32::from(u16::from_le_bytes([low, high]));
    let (sign, magnitude) = ((bits & 0x8000) << 16, bits & 0x7FFF);
    // Exponent and mantissa moved into place; 2^112 corrects the bias and normalises what was subnormal.
    let finite = f32::from_bits(magnitude << 13) * f32::from_bits(0x7780_0000);
    let value = if magnitude >= 0x7C00 { 0x7F80_0000 | (magnitude << 13) } else { finite.to_bits() };
    f32::from_bits(sign | value)
}

/// bf16 → f32: the upper half of the word.
pub(crate) fn widen_bf16(bytes: &[u8], out: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for (place, pair) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *place = f32::from_bits(u32::from(u16::from_le_bytes(*pair)) << 16);
            }
        },
    );
}

/// Low nibbles, then high nibbles.
#[inline(always)]
fn nibbles(quants: &[u8; 16]) -> [u8; 32] {
    let mut values = [0u8; 32];
    for index in 0..16 {
        values[index] = quants[index] & 0x0F;
        values[index + 16] = quants[index] >> 4;
    }
    values
}

/// Q4_0: (d: f16, 16 bytes); low nibbles are elements 0..16, high nibbles 16..32; value (q - 8)·d.
pub(crate) fn widen_q4_0(bytes: &[u8], out: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for (block, out) in bytes.as_chunks::<18>().0.iter().zip(out.as_chunks_mut::<32>().0) {
                let [low, high, quants @ ..] = block;
                let (d, values) = (scale(*low, *high), nibbles(quants));
                for (place, value) in out.iter_mut().zip(values) {
                    *place = (i32::from(value) - 8) as f32 * d;
                }
            }
        },
    );
}

/// Q4_1: (d: f16, m: f16, 16 bytes); value q·d + m.
pub(crate) fn widen_q4_1(bytes: &[u8], out: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for (block, out) in bytes.as_chunks::<20>().0.iter().zip(out.as_chunks_mut::<32>().0) {
                let [d_low, d_high, m_low, m_high, quants @ ..] = block;
                let (d, m, values) = (scale(*d_low, *d_high), scale(*m_low, *m_high), nibbles(quants));
                for (place, value) in out.iter_mut().zip(values) {
                    *place = f32::from(value) * d + m;
                }
            }
        },
    );
}

/// Low nibbles, then high nibbles, each with its fifth bit from `fifth`.
#[inline(always)]
fn nibbles_and_fifth(quants: &[u8; 16], fifth: &[u8; 4]) -> [u8; 32] {
    let mut values = nibbles(quants);
    let fifth = u32::from_le_bytes(*fifth);
    for (value, index) in values.iter_mut().zip(0u32..) {
        *value |= ((fifth >> index & 1) as u8) << 4;
    }
    values
}

/// Q5_0: (d: f16, 32 fifth bits, 16 bytes); value (q - 16)·d.
pub(crate) fn widen_q5_0(bytes: &[u8], out: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for (block, out) in bytes.as_chunks::<22>().0.iter().zip(out.as_chunks_mut::<32>().0) {
                let [low, high, f0, f1, f2, f3, quants @ ..] = block;
                let (d, values) = (scale(*low, *high), nibbles_and_fifth(quants, &[*f0, *f1, *f2, *f3]));
                for (place, value) in out.iter_mut().zip(values) {
                    *place = (i32::from(value) - 16) as f32 * d;
                }
            }
        },
    );
}

/// Q5_1: (d: f16, m: f16, 32 fifth bits, 16 bytes); value q·d + m.
pub(crate) fn widen_q5_1(bytes: &[u8], out: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for (block, out) in bytes.as_chunks::<24>().0.iter().zip(out.as_chunks_mut::<32>().0) {
                let [d_low, d_high, m_low, m_high, f0, f1, f2, f3, quants @ ..] = block;
                let (d, m) = (scale(*d_low, *d_high), scale(*m_low, *m_high));
                let values = nibbles_and_fifth(quants, &[*f0, *f1, *f2, *f3]);
                for (place, value) in out.iter_mut().zip(values) {
                    *place = f32::from(value) * d + m;
                }
            }
        },
    );
}

/// Q8_0: (d: f16, 32 signed bytes); value q·d.
pub(crate) fn widen_q8_0(bytes: &[u8], out: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for (block, out) in bytes.as_chunks::<34>().0.iter().zip(out.as_chunks_mut::<32>().0) {
                let [low, high, quants @ ..] = block;
                let d = scale(*low, *high);
                for (place, value) in out.iter_mut().zip(*quants) {
                    *place = f32::from(value as i8) * d;
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::half;
    use half::f16;

    #[test]
    fn all_halves_are_widened_as_the_standard_says() {
        for bits in 0..=u16::MAX {
            let [low, high] = bits.to_le_bytes();
            let (value, expected) = (half(low, high), f16::from_bits(bits).to_f32());
            assert!(value.to_bits() == expected.to_bits() || (value.is_nan() && expected.is_nan()), "{bits:#06x}");
        }
    }
}
