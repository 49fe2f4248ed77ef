//! NormalFloat of three and of two bits, for a frozen base that is narrowed while it is read.
//!
//! Place in the data flow: as `base_blocks`, which has their levels, for the kinds `Nf3` and `Nf2`.
//!
//! LQ-LoRA (Guo, Greengard, Xing, Kim, "LQ-LoRA: Low-rank Plus Quantized Matrix Decomposition for Efficient Language Model
//! Finetuning", 2023) takes NF4's derivation to other widths. A block is 64 values: the largest magnitude as a half, then
//! the codes as `grouped` packs them; that is 3.25 and 2.25 bits a value. A value is the level of its code times the
//! magnitude. Zero and the ends are levels; with four levels there is nothing between -1 and 0, so that on normal values
//! two bits err by 0.56 of the values' size, where even levels over the best part of the range err by 0.37.
//!
//! A block with a value that is not finite becomes NaN as a whole.

use super::base_blocks::{BLOCK, LEVELS_2, LEVELS_3, borders, inverse, largest, shrink};
use super::blocks::scale;
use super::grouped::{code_at, pack, unpack};
use half::f16;

/// Bytes of the magnitude.
const HEAD: usize = 2;
/// Bytes of a block of NF3.
pub(crate) const NF3_BYTES: usize = HEAD + BLOCK * 3 / 8;
/// Bytes of a block of NF2.
pub(crate) const NF2_BYTES: usize = HEAD + BLOCK * 2 / 8;

/// Shrinks to NF3, each value to the nearest level. The values fill whole blocks.
pub(crate) fn shrink_nf3(values: &[f32]) -> Vec<u8> {
    shrink_few::<3, NF3_BYTES, 7>(values, &LEVELS_3)
}

/// Shrinks to NF2 in the same way.
pub(crate) fn shrink_nf2(values: &[f32]) -> Vec<u8> {
    shrink_few::<2, NF2_BYTES, 3>(values, &LEVELS_2)
}

/// NF3 → f32.
pub(crate) fn widen_nf3(bytes: &[u8], out: &mut [f32]) {
    widen_few::<3, NF3_BYTES>(bytes, out, &LEVELS_3);
}

/// NF2 → f32.
pub(crate) fn widen_nf2(bytes: &[u8], out: &mut [f32]) {
    widen_few::<2, NF2_BYTES>(bytes, out, &LEVELS_2);
}

fn shrink_few<const BITS: usize, const BYTES: usize, const BORDERS: usize>(
    values: &[f32],
    levels: &'static [f32],
) -> Vec<u8> {
    let borders = borders::<BORDERS>(levels);
    shrink::<BYTES>(
        values,
        #[inline(always)]
        |values, bytes| {
            let largest = largest(values);
            let inverse = inverse(largest, 1.0);
            let mut codes = [0u8; BLOCK];
            for border in borders {
                for (code, value) in codes.iter_mut().zip(values) {
                    // Of a block that is not finite the magnitude makes everything NaN, whatever the codes.
                    *code += u8::from(value * inverse > border);
                }
            }
            let Some((head, packed)) = bytes.split_first_chunk_mut::<HEAD>() else { return };
            *head = largest.to_le_bytes();
            pack::<BITS, BLOCK>(&codes, packed);
        },
    )
}

/// The levels in a register of eight; codes reach no further than there are levels.
fn eight(levels: &[f32]) -> [f32; 8] {
    let mut eight = [0f32; 8];
    eight.iter_mut().zip(levels).for_each(|(place, level)| *place = *level);
    eight
}

fn widen_few<const BITS: usize, const BYTES: usize>(bytes: &[u8], out: &mut [f32], levels: &[f32]) {
    let levels = eight(levels);
    #[cfg(target_arch = "x86_64")]
    if let Some(machine) = pulp::x86::V3::try_new() {
        machine.vectorize(
            #[inline(always)]
            || shuffled::widen::<BITS, BYTES>(machine, bytes, out, levels),
        );
        return;
    }
    for (block, out) in bytes.as_chunks::<BYTES>().0.iter().zip(out.as_chunks_mut::<BLOCK>().0) {
        let Some(([low, high], packed)) = block.split_first_chunk::<HEAD>() else { continue };
        let largest = scale(*low, *high);
        for (place, code) in out.iter_mut().zip(unpack::<BITS, BLOCK>(packed)) {
            *place = levels[usize::from(code & 7)] * largest;
        }
    }
}

/// As [`widen_nf3`], value by value from the description of the layout.
pub(crate) fn widen_nf3_reference(bytes: &[u8], out: &mut [f32]) {
    widen_reference(3, bytes, out, &LEVELS_3);
}

/// As [`widen_nf2`], value by value from the description of the layout.
pub(crate) fn widen_nf2_reference(bytes: &[u8], out: &mut [f32]) {
    widen_reference(2, bytes, out, &LEVELS_2);
}

fn widen_reference(bits: usize, bytes: &[u8], out: &mut [f32], levels: &[f32]) {
    for (block, out) in bytes.chunks_exact(HEAD + BLOCK * bits / 8).zip(out.chunks_exact_mut(BLOCK)) {
        let [low, high, codes @ ..] = block else { continue };
        let largest = f16::from_le_bytes([*low, *high]).to_f32();
        for (at, place) in out.iter_mut().enumerate() {
            let level = levels.get(usize::from(code_at(codes, bits, BLOCK, at))).copied().unwrap_or(0.0);
            *place = level * largest;
        }
    }
}

/// Eight levels are one shuffle, which no compiler makes of an index into a table.
#[cfg(target_arch = "x86_64")]
mod shuffled {
    use super::{BLOCK, HEAD, scale, unpack};
    use pulp::x86::V3;
    use std::arch::x86_64::{__m128i, __m256};

    #[inline(always)]
    pub(super) fn widen<const BITS: usize, const BYTES: usize>(
        machine: V3,
        bytes: &[u8],
        out: &mut [f32],
        levels: [f32; 8],
    ) {
        let (avx, avx2) = (machine.avx, machine.avx2);
        let levels: __m256 = bytemuck::cast(levels);
        for (block, out) in bytes.as_chunks::<BYTES>().0.iter().zip(out.as_chunks_mut::<BLOCK>().0) {
            let Some(([low, high], packed)) = block.split_first_chunk::<HEAD>() else { continue };
            let levels = avx._mm256_mul_ps(levels, avx._mm256_set1_ps(scale(*low, *high)));
            let codes = unpack::<BITS, BLOCK>(packed);
            for (codes, out) in codes.as_chunks::<8>().0.iter().zip(out.as_chunks_mut::<8>().0) {
                let narrow: __m128i = bytemuck::cast([u64::from_le_bytes(*codes), 0]);
                let wide = avx2._mm256_cvtepu8_epi32(narrow);
                *out = bytemuck::cast::<__m256, [f32; 8]>(avx2._mm256_permutevar8x32_ps(levels, wide));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    type Way = (fn(&[f32]) -> Vec<u8>, fn(&[u8], &mut [f32]), &'static [f32]);
    const BOTH: [Way; 2] = [(shrink_nf3, widen_nf3, &LEVELS_3), (shrink_nf2, widen_nf2, &LEVELS_2)];

    fn normal(n: usize) -> Vec<f32> {
        let mut values = vec![0f32; n];
        Stream::new(1, "few levels").fill_normal(&mut values, 0.02);
        values
    }

    fn through((shrink, widen, _): Way, values: &[f32]) -> Vec<f32> {
        let mut back = vec![0f32; values.len()];
        widen(&shrink(values), &mut back);
        back
    }

    #[test]
    fn the_levels_are_those_that_lq_lora_states() {
        let stated_3 = [-1.0, -0.47863, -0.21714, 0.0, 0.16093, 0.33792, 0.56262, 1.0];
        let stated_2 = [-1.0, 0.0, 0.33792, 1.0];
        assert!(LEVELS_3.iter().zip(stated_3).all(|(level, stated)| (level - stated).abs() < 1e-4));
        assert!(LEVELS_2.iter().zip(stated_2).all(|(level, stated)| (level - stated).abs() < 1e-4));
    }

    #[test]
    fn a_block_made_by_hand_lies_as_the_description_says() {
        let mut values = [0f32; BLOCK];
        (values[0], values[1], values[16], values[63]) = (2.0, -2.0, 0.7, -0.9);
        // Of two bits byte i holds values i, i + 16, i + 32, i + 48; zero is code 1. -0.45 of the largest goes to zero.
        let bytes = shrink_nf2(&values);
        assert_eq!(bytes[..2], f16::from_f32(2.0).to_le_bytes());
        assert_eq!((bytes[2], bytes[3], bytes[17]), (0b0101_1011, 0b0101_0100, 0b0101_0101));
        // Of three bits the low two in that way, the high ones after them; zero is code 3, and -0.45 nearest to -0.479.
        let bytes = shrink_nf3(&values);
        assert_eq!((bytes[2], bytes[3], bytes[17]), (0b1111_0111, 0b1111_1100, 0b0111_1111));
        assert_eq!((bytes[18], bytes[20]), (0b0000_0101, 0), "the high bits of values 0 and 16");
        for way in BOTH {
            let back = through(way, &values);
            assert_eq!((back[0], back[1], back[2]), (2.0, -2.0, 0.0), "ends and zero are exact");
        }
    }

    #[test]
    fn every_value_goes_to_its_nearest_level_and_back_to_the_same_bytes() {
        let values = normal(64 * 500);
        for way in BOTH {
            let back = through(way, &values);
            for (block, back) in values.chunks(BLOCK).zip(back.chunks(BLOCK)) {
                let largest = f16::from_f32(block.iter().fold(0f32, |most, x| most.max(x.abs()))).to_f32();
                for (value, back) in block.iter().zip(back) {
                    let nearest = way.2.iter().map(|level| (level * largest - value).abs()).fold(f32::MAX, f32::min);
                    assert!((back - value).abs() <= nearest * 1.0001, "{value} became {back}");
                }
            }
            assert!(way.0(&back) == way.0(&values));
            assert_eq!(through(way, &[0f32; BLOCK]), [0f32; BLOCK]);
        }
    }

    #[test]
    fn on_normal_values_three_bits_err_by_a_fifth_and_two_by_more_than_half() {
        let values = normal(64 * 4000);
        for (way, expected) in BOTH.into_iter().zip([0.2009, 0.563]) {
            let square = |of: &dyn Fn(f32, f32) -> f32| {
                values.iter().zip(through(way, &values)).map(|(a, b)| f64::from(of(*a, b)).powi(2)).sum::<f64>()
            };
            let error = (square(&|a, b| a - b) / square(&|a, _| a)).sqrt();
            assert!((error / expected - 1.0).abs() < 0.02, "{error} instead of {expected}");
        }
    }

    #[test]
    fn a_value_that_is_not_finite_stays_visible() {
        for (way, bad) in BOTH.into_iter().flat_map(|way| [f32::NAN, f32::INFINITY].map(|bad| (way, bad))) {
            let mut values = normal(3 * BLOCK);
            values[BLOCK + 5] = bad;
            let back = through(way, &values);
            assert!(back[BLOCK..2 * BLOCK].iter().all(|value| value.is_nan()), "{bad}");
            assert!(back[..BLOCK].iter().chain(&back[2 * BLOCK..]).all(|value| value.is_finite()));
        }
    }
}
