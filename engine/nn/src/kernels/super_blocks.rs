//! Widening of the super-block formats met most in GGUF files (Q4_K, Q5_K, Q6_K).
//!
//! Place in the data flow: as [`super::blocks`]; the rarer Q2_K, Q3_K and Q8_K go through candle.
//!
//! A super-block holds 256 values. In Q4_K and Q5_K each run of 32 has a 6-bit scale and a 6-bit minimum, in Q6_K
//! each run of 16 an 8-bit scale; one or two halves per super-block scale those.

use super::blocks::scale;
use super::simd;

/// The 6-bit scale and minimum of each of eight runs, packed in 12 bytes: four low ones plain, of the four high
/// ones the low four bits together and the upper two in the spare bits of the low ones.
#[inline(always)]
fn scales_and_minima(packed: &[u8; 12]) -> [(u8, u8); 8] {
    let mut unpacked = [(0, 0); 8];
    for run in 0..4 {
        unpacked[run] = (packed[run] & 63, packed[run + 4] & 63);
        let high = packed[run + 8];
        unpacked[run + 4] = ((high & 0x0F) | packed[run] >> 6 << 4, (high >> 4) | packed[run + 4] >> 6 << 4);
    }
    unpacked
}

/// Q4_K: (d: f16, dmin: f16, 12 bytes of scales, 128 bytes); 32 bytes hold the runs 2i (low nibbles) and 2i+1
/// (high nibbles); value d·scale·q - dmin·minimum.
pub(crate) fn widen_q4_k(bytes: &[u8], out: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for (block, out) in bytes.as_chunks::<144>().0.iter().zip(out.as_chunks_mut::<256>().0) {
                let [d_low, d_high, m_low, m_high, rest @ ..] = block;
                let (d, d_min) = (scale(*d_low, *d_high), scale(*m_low, *m_high));
                let Some((packed, quants)) = rest.split_first_chunk::<12>() else { continue };
                let runs = scales_and_minima(packed);
                let pairs = out.as_chunks_mut::<64>().0.iter_mut().zip(quants.as_chunks::<32>().0);
                for ((out, quants), runs) in pairs.zip(runs.as_chunks::<2>().0) {
                    let [(scale_low, min_low), (scale_high, min_high)] = *runs;
                    let (low, high) = out.split_at_mut(32);
                    let (d_low, m_low) = (d * f32::from(scale_low), d_min * f32::from(min_low));
                    for (place, quant) in low.iter_mut().zip(*quants) {
                        *place = d_low * f32::from(quant & 0x0F) - m_low;
                    }
                    let (d_high, m_high) = (d * f32::from(scale_high), d_min * f32::from(min_high));
                    for (place, quant) in high.iter_mut().zip(*quants) {
                        *place = d_high * f32::from(quant >> 4) - m_high;
                    }
                }
            }
        },
    );
}

/// Q5_K: as Q4_K with 32 bytes of fifth bits after the scales: bit r of byte i belongs to value i of run r.
pub(crate) fn widen_q5_k(bytes: &[u8], out: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for (block, out) in bytes.as_chunks::<176>().0.iter().zip(out.as_chunks_mut::<256>().0) {
                let [d_low, d_high, m_low, m_high, rest @ ..] = block;
                let (d, d_min) = (scale(*d_low, *d_high), scale(*m_low, *m_high));
                let Some((packed, rest)) = rest.split_first_chunk::<12>() else { continue };
                let Some((fifth, quants)) = rest.split_first_chunk::<32>() else { continue };
                let runs = scales_and_minima(packed);
                let pairs = out.as_chunks_mut::<64>().0.iter_mut().zip(quants.as_chunks::<32>().0);
                for (pair, ((out, quants), runs)) in pairs.zip(runs.as_chunks::<2>().0).enumerate() {
                    let [(scale_low, min_low), (scale_high, min_high)] = *runs;
                    let (low, high) = out.split_at_mut(32);
                    let (d_low, m_low) = (d * f32::from(scale_low), d_min * f32::from(min_low));
                    for (place, (quant, fifth)) in low.iter_mut().zip(quants.iter().zip(fifth)) {
                        let quant = (quant & 0x0F) | (fifth >> (2 * pair) & 1) << 4;
                        *place = d_low * f32::from(quant) - m_low;
                    }
                    let (d_high, m_high) = (d * f32::from(scale_high), d_min * f32::from(min_high));
                    for (place, (quant, fifth)) in high.iter_mut().zip(quants.iter().zip(fifth)) {
                        let quant = (quant >> 4) | (fifth >> (2 * pair + 1) & 1) << 4;
                        *place = d_high * f32::from(quant) - m_high;
                    }
                }
            }
        },
    );
}

/// Q6_K: (128 bytes of low four bits, 64 bytes of high two bits, 16 signed scales, d: f16); each half of 128 values
/// has four runs of 32 in the nibbles and bit pairs of the same 64 and 32 bytes; value d·scale·(q - 32).
pub(crate) fn widen_q6_k(bytes: &[u8], out: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for (block, out) in bytes.as_chunks::<210>().0.iter().zip(out.as_chunks_mut::<256>().0) {
                let [values @ .., d_low, d_high] = block;
                let d = scale(*d_low, *d_high);
                let (low_bits, rest) = values.split_at(128);
                let (high_bits, scales) = rest.split_at(64);
                let halves = low_bits.as_chunks::<64>().0.iter().zip(high_bits.as_chunks::<32>().0);
                let halves = halves.zip(scales.as_chunks::<8>().0);
                for (out, ((low_bits, high_bits), scales)) in out.as_chunks_mut::<128>().0.iter_mut().zip(halves) {
                    let mut quants = [0i8; 128];
                    for index in 0..32 {
                        let (first, second, high) = (low_bits[index], low_bits[index + 32], high_bits[index]);
                        quants[index] = ((first & 0x0F) | (high & 3) << 4) as i8 - 32;
                        quants[index + 32] = ((second & 0x0F) | (high >> 2 & 3) << 4) as i8 - 32;
                        quants[index + 64] = ((first >> 4) | (high >> 4 & 3) << 4) as i8 - 32;
                        quants[index + 96] = ((second >> 4) | (high >> 6) << 4) as i8 - 32;
                    }
                    let runs = out.as_chunks_mut::<16>().0.iter_mut().zip(quants.as_chunks::<16>().0);
                    for ((out, quants), run_scale) in runs.zip(scales) {
                        let run_scale = d * f32::from(*run_scale as i8);
                        for (place, quant) in out.iter_mut().zip(*quants) {
                            *place = run_scale * f32::from(quant);
                        }
                    }
                }
            }
        },
    );
}
