//! Widening of stored weights to f32 for the formats met most, written so that the compiler vectorises them.
//!
//! Place in the data flow: called by [`crate::storage::dequantise`]; plain slices in, plain slices out. All
//! give the bits of candle's conversions. Bytes need no alignment.

use super::simd;
use half::f16;

/// Half at the start of a block, widened.
#[inline(always)]
fn half(low: u8, high: u8) -> f32 {
    f16::from_bits(u16::from_le_bytes([low, high])).to_f32()
}

/// bf16 → f32: the upper half of the word.
pub fn widen_bf16(bytes: &[u8], out: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for (place, pair) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *place = f32::from_bits(u32::from(u16::from_le_bytes(*pair)) << 16);
            }
        },
    );
}

/// Q4_0: (d: f16, 16 bytes); low nibbles are elements 0..16, high nibbles 16..32; value (q - 8)·d.
pub fn widen_q4_0(bytes: &[u8], out: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for (block, out) in bytes.as_chunks::<18>().0.iter().zip(out.as_chunks_mut::<32>().0) {
                let [low, high, quants @ ..] = block;
                let d = half(*low, *high);
                let (first, second) = out.split_at_mut(16);
                for ((first, second), &byte) in first.iter_mut().zip(second).zip(quants) {
                    *first = (i32::from(byte & 0x0F) - 8) as f32 * d;
                    *second = (i32::from(byte >> 4) - 8) as f32 * d;
                }
            }
        },
    );
}

/// Q4_1: (d: f16, m: f16, 16 bytes); value q·d + m.
pub fn widen_q4_1(bytes: &[u8], out: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for (block, out) in bytes.as_chunks::<20>().0.iter().zip(out.as_chunks_mut::<32>().0) {
                let [d_low, d_high, m_low, m_high, quants @ ..] = block;
                let (d, m) = (half(*d_low, *d_high), half(*m_low, *m_high));
                let (first, second) = out.split_at_mut(16);
                for ((first, second), &byte) in first.iter_mut().zip(second).zip(quants) {
                    *first = i32::from(byte & 0x0F) as f32 * d + m;
                    *second = i32::from(byte >> 4) as f32 * d + m;
                }
            }
        },
    );
}

/// Q8_0: (d: f16, 32 signed bytes); value q·d.
pub fn widen_q8_0(bytes: &[u8], out: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for (block, out) in bytes.as_chunks::<34>().0.iter().zip(out.as_chunks_mut::<32>().0) {
                let [low, high, quants @ ..] = block;
                let d = half(*low, *high);
                for (place, &byte) in out.iter_mut().zip(quants) {
                    *place = i32::from(byte as i8) as f32 * d;
                }
            }
        },
    );
}
