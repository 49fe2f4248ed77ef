//! Block formats that exist only in memory, for a frozen base that is narrowed while it is read: NF4 and int8, and the
//! levels of NF3 and NF2, whose blocks are in `super::few_levels`.
//!
//! Place in the data flow: [`crate::storage`] calls these for its kinds `Nf4` and `Int8`; the models crate shrinks
//! linear weights with them at load time, products widen them block of rows by block of rows. No file holds them.
//!
//! NF4: Dettmers, Pagnoni, Holtzman, Zettlemoyer, "QLoRA: Efficient Finetuning of Quantized LLMs" (2023), section 3:
//! 16 levels at the quantiles of a normal distribution, scaled to [-1, 1], times the largest magnitude a of the block.
//! Int8: 255 even levels -127..=127, times a/127 (block-wise absmax, Dettmers et al. 2022).
//!
//! | format | block | bytes | bits a value |
//! |---|---|---|---|
//! | NF4 | 64 values | a: f16, 32 bytes of codes: byte i has value i in its low, value i + 32 in its high nibble | 4.25 |
//! | int8 | 64 values | a: f16, 64 signed bytes | 8.25 |
//!
//! 64 is QLoRA's block and divides the rows of all models met so far (192, 576, 640, 1,536, 2,048). a is a half and
//! not quantised a second time, which keeps two thirds of what that saves against an f32 and rounds a by 2⁻¹¹ at most;
//! `super::nf4_double` has QLoRA's second level (8 bits for a, one f32 for 256 of them), 3 % of the base less. Codes are
//! chosen for the rounded a.
//!
//! A block with a value that is not finite becomes NaN as a whole, so that the check of loaded weights still finds it.

use super::blocks::scale;
use super::simd;
use half::f16;
use rayon::prelude::*;

/// Values of a block of either format.
pub(crate) const BLOCK: usize = 64;
/// Bytes of a block of NF4.
pub(crate) const NF4_BYTES: usize = 2 + BLOCK / 2;
/// Bytes of a block of int8.
pub(crate) const INT8_BYTES: usize = 2 + BLOCK;
/// Largest magnitude that a block's half can state.
pub(crate) const MOST: f32 = 65_504.0;
/// Blocks per piece of work when shrinking.
const PIECE: usize = 256;

/// The levels of NF4 by code, as QLoRA and bitsandbytes publish them.
pub(crate) const LEVELS: [f32; 16] = [
    -1.0,
    -0.6961928,
    -0.52507305,
    -0.3949175,
    -0.28444138,
    -0.18477343,
    -0.091050036,
    0.0,
    0.0795803,
    0.1609302,
    0.2461123,
    0.33791524,
    0.44070983,
    0.562617,
    0.72295684,
    1.0,
];
/// The levels of three and of two bits by the same derivation, as LQ-LoRA (Guo et al. 2023) takes them: half of the codes
/// at quantiles above zero, one less below it.
pub(crate) const LEVELS_3: [f32; 8] = [-1.0, -0.47862917, -0.21714182, 0.0, 0.1609302, 0.33791524, 0.562617, 1.0];
/// As [`LEVELS_3`].
pub(crate) const LEVELS_2: [f32; 4] = [-1.0, 0.0, 0.33791524, 1.0];
/// The code of zero.
const ZERO: u32 = 7;
/// Half-way between neighbouring levels: the code of x is how many of these lie below it.
const BORDERS: [f32; 15] = borders(&LEVELS);

/// The places half-way between neighbouring levels, one less than there are levels.
pub(super) const fn borders<const COUNT: usize>(levels: &[f32]) -> [f32; COUNT] {
    let mut borders = [0.0; COUNT];
    let mut code = 0;
    while code < COUNT {
        borders[code] = f32::midpoint(levels[code], levels[code + 1]);
        code += 1;
    }
    borders
}

/// The largest magnitude as a half; NaN when a value is not finite.
#[inline(always)]
pub(super) fn largest(values: &[f32; BLOCK]) -> f16 {
    let (mut largest, mut finite) = (0f32, true);
    for value in values {
        finite &= value.is_finite();
        largest = if value.abs() > largest { value.abs() } else { largest };
    }
    if finite { f16::from_f32(largest) } else { f16::NAN }
}

/// What values are multiplied with before rounding: `levels` over the magnitude, 0 for a block of zeros.
#[inline(always)]
pub(super) fn inverse(largest: f16, levels: f32) -> f32 {
    let largest = largest.to_f32();
    if largest > 0.0 { levels / largest } else { 0.0 }
}

/// Shrinks to NF4, each value to the nearest level. The values fill whole blocks.
pub(crate) fn shrink_nf4(values: &[f32]) -> Vec<u8> {
    shrink::<NF4_BYTES>(
        values,
        #[inline(always)]
        |values, bytes| {
            let largest = largest(values);
            let inverse = inverse(largest, 1.0);
            let mut codes = [0u32; BLOCK];
            for border in BORDERS {
                for (code, value) in codes.iter_mut().zip(values) {
                    *code += u32::from(value * inverse > border);
                }
            }
            if largest.is_nan() {
                codes = [ZERO; BLOCK];
            }
            let [low, high, packed @ ..] = bytes;
            [*low, *high] = largest.to_le_bytes();
            let (first, second) = codes.split_at(BLOCK / 2);
            for (byte, (low, high)) in packed.iter_mut().zip(first.iter().zip(second)) {
                *byte = (low | high << 4) as u8;
            }
        },
    )
}

/// Shrinks to int8, each value to the nearest level. The values fill whole blocks.
pub(crate) fn shrink_int8(values: &[f32]) -> Vec<u8> {
    shrink::<INT8_BYTES>(
        values,
        #[inline(always)]
        |values, bytes| {
            let largest = largest(values);
            let inverse = inverse(largest, 127.0);
            let [low, high, codes @ ..] = bytes;
            [*low, *high] = largest.to_le_bytes();
            for (code, value) in codes.iter_mut().zip(values) {
                // A NaN becomes 0; its block is NaN by the magnitude.
                *code = (value * inverse).round_ties_even().clamp(-127.0, 127.0) as i8 as u8;
            }
        },
    )
}

/// Calls `block` for each block of values and its bytes, spread over the pool. Mark it `#[inline(always)]`.
pub(super) fn shrink<const BYTES: usize>(
    values: &[f32],
    block: impl Fn(&[f32; BLOCK], &mut [u8; BYTES]) + Sync,
) -> Vec<u8> {
    let mut bytes = vec![0u8; values.len() / BLOCK * BYTES];
    bytes.par_chunks_mut(PIECE * BYTES).zip(values.par_chunks(PIECE * BLOCK)).for_each(|(bytes, values)| {
        simd(
            #[inline(always)]
            || {
                for (bytes, values) in bytes.as_chunks_mut::<BYTES>().0.iter_mut().zip(values.as_chunks::<BLOCK>().0) {
                    block(values, bytes);
                }
            },
        );
    });
    bytes
}

/// The code of the level nearest to `value`, which lies in [-1, 1].
#[inline(always)]
pub(crate) fn nearest_level(value: f32) -> u8 {
    BORDERS.iter().map(|border| u8::from(value > *border)).sum()
}

/// NF4 → f32: the level of each code times the magnitude.
pub(crate) fn widen_nf4(bytes: &[u8], out: &mut [f32]) {
    widen_levels::<NF4_BYTES, 2>(
        bytes,
        out,
        #[inline(always)]
        |_, [low, high]| scale(*low, *high),
    );
}

/// Blocks of `BYTES` bytes, of which the first `HEAD` say the magnitude to those who know the block's number, and the
/// others two codes a byte.
#[inline(always)]
pub(crate) fn widen_levels<const BYTES: usize, const HEAD: usize>(
    bytes: &[u8],
    out: &mut [f32],
    magnitude: impl Fn(usize, &[u8; HEAD]) -> f32,
) {
    #[cfg(target_arch = "x86_64")]
    if let Some(machine) = pulp::x86::V3::try_new() {
        machine.vectorize(
            #[inline(always)]
            || shuffled::widen::<BYTES, HEAD>(machine, bytes, out, magnitude),
        );
        return;
    }
    for (index, (block, out)) in bytes.as_chunks::<BYTES>().0.iter().zip(out.as_chunks_mut::<BLOCK>().0).enumerate() {
        let Some((head, codes)) = block.split_first_chunk::<HEAD>() else { continue };
        let largest = magnitude(index, head);
        let (first, second) = out.split_at_mut(BLOCK / 2);
        for (code, (first, second)) in codes.iter().zip(first.iter_mut().zip(second)) {
            *first = LEVELS[usize::from(code & 0x0F)] * largest;
            *second = LEVELS[usize::from(code >> 4)] * largest;
        }
    }
}

/// As [`widen_nf4`], value by value.
pub(crate) fn widen_nf4_reference(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.as_chunks::<NF4_BYTES>().0.iter().zip(out.as_chunks_mut::<BLOCK>().0) {
        let [low, high, codes @ ..] = block;
        let largest = f16::from_le_bytes([*low, *high]).to_f32();
        let (first, second) = out.split_at_mut(BLOCK / 2);
        for (code, (first, second)) in codes.iter().zip(first.iter_mut().zip(second)) {
            *first = LEVELS[usize::from(code & 0x0F)] * largest;
            *second = LEVELS[usize::from(code >> 4)] * largest;
        }
    }
}

/// int8 → f32: code · (a / 127).
pub(crate) fn widen_int8(bytes: &[u8], out: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for (block, out) in bytes.as_chunks::<INT8_BYTES>().0.iter().zip(out.as_chunks_mut::<BLOCK>().0) {
                let [low, high, codes @ ..] = block;
                let step = scale(*low, *high) * (1.0 / 127.0);
                for (place, code) in out.iter_mut().zip(*codes) {
                    *place = f32::from(code as i8) * step;
                }
            }
        },
    );
}

/// As [`widen_int8`], value by value.
pub(crate) fn widen_int8_reference(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(INT8_BYTES).zip(out.chunks_exact_mut(BLOCK)) {
        if let [low, high, codes @ ..] = block {
            let step = f16::from_le_bytes([*low, *high]).to_f32() * (1.0 / 127.0);
            for (place, code) in out.iter_mut().zip(codes) {
                *place = f32::from(*code as i8) * step;
            }
        }
    }
}

/// A table of 16 floats does not fit the lookups that a compiler makes of an index: it would gather from memory, five
/// times slower than two shuffles of eight floats each and a choice by the code's highest bit.
#[cfg(target_arch = "x86_64")]
mod shuffled {
    use super::{BLOCK, LEVELS};
    use pulp::x86::V3;
    use std::arch::x86_64::{__m128i, __m256, __m256i};

    #[inline(always)]
    pub(super) fn widen<const BYTES: usize, const HEAD: usize>(
        machine: V3,
        bytes: &[u8],
        out: &mut [f32],
        magnitude: impl Fn(usize, &[u8; HEAD]) -> f32,
    ) {
        let (avx, avx2) = (machine.avx, machine.avx2);
        let [lower, upper]: [__m256; 2] = bytemuck::cast(LEVELS);
        let blocks = bytes.as_chunks::<BYTES>().0.iter().zip(out.as_chunks_mut::<BLOCK>().0);
        for (index, (block, out)) in blocks.enumerate() {
            let Some((head, codes)) = block.split_first_chunk::<HEAD>() else { continue };
            let largest = avx._mm256_set1_ps(magnitude(index, head));
            // The levels of this block: eight codes below zero's upper neighbour, eight above.
            let (lower, upper) = (avx._mm256_mul_ps(lower, largest), avx._mm256_mul_ps(upper, largest));
            let choose = |codes: __m256i, top: __m256i| {
                // A shuffle looks at the low three bits of each index, a choice at the sign.
                let (below, above) =
                    (avx2._mm256_permutevar8x32_ps(lower, codes), avx2._mm256_permutevar8x32_ps(upper, codes));
                bytemuck::cast::<__m256, [f32; 8]>(avx._mm256_blendv_ps(below, above, avx._mm256_castsi256_ps(top)))
            };
            let (first, second) = out.split_at_mut(BLOCK / 2);
            let halves = first.as_chunks_mut::<8>().0.iter_mut().zip(second.as_chunks_mut::<8>().0);
            for (codes, (first, second)) in codes.as_chunks::<8>().0.iter().zip(halves) {
                let eight: __m128i = bytemuck::cast([u64::from_le_bytes(*codes), 0]);
                let pairs = avx2._mm256_cvtepu8_epi32(eight);
                *first = choose(pairs, avx2._mm256_slli_epi32::<28>(pairs));
                *second = choose(avx2._mm256_srli_epi32::<4>(pairs), avx2._mm256_slli_epi32::<24>(pairs));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    fn normal(n: usize) -> Vec<f32> {
        let mut values = vec![0f32; n];
        Stream::new(1, "base blocks").fill_normal(&mut values, 0.02);
        values
    }

    /// √(Σ(a - b)² / Σa²).
    fn relative_error(values: &[f32], back: &[f32]) -> f64 {
        let of = |error: &dyn Fn(f64, f64) -> f64| {
            values.iter().zip(back).map(|(a, b)| error(f64::from(*a), f64::from(*b)).powi(2)).sum::<f64>()
        };
        (of(&|a, b| a - b) / of(&|a, _| a)).sqrt()
    }

    fn through_nf4(values: &[f32]) -> Vec<f32> {
        let mut back = vec![0f32; values.len()];
        widen_nf4(&shrink_nf4(values), &mut back);
        back
    }

    fn through_int8(values: &[f32]) -> Vec<f32> {
        let mut back = vec![0f32; values.len()];
        widen_int8(&shrink_int8(values), &mut back);
        back
    }

    /// Inverse of the normal distribution's cumulative function, by halving.
    fn normal_quantile(share: f64) -> f64 {
        let (mut low, mut high) = (-10.0, 10.0);
        for _ in 0..200 {
            let middle = f64::midpoint(low, high);
            let below = 0.5 * libm::erfc(-middle / std::f64::consts::SQRT_2);
            if below < share { low = middle } else { high = middle }
        }
        low
    }

    #[test]
    fn the_levels_follow_from_the_derivation() {
        // Of b bits 2ᵇ⁻¹ quantiles above zero and one less below between 0.9677083 and 0.5, scaled so that the ends are ±1.
        let side = |count: i32| {
            (0..count).map(move |i| normal_quantile(0.9677083 + (0.5 - 0.9677083) * f64::from(i) / f64::from(count)))
        };
        for known in [LEVELS.as_slice(), &LEVELS_3, &LEVELS_2] {
            let above = known.len() as i32 / 2;
            let mut levels = side(above).chain(side(above - 1).map(|x| -x)).chain([0.0]).collect::<Vec<_>>();
            levels.sort_by(f64::total_cmp);
            let largest = levels.last().copied().unwrap();
            assert_eq!(levels.len(), known.len());
            for (level, expected) in known.iter().zip(levels) {
                assert!((f64::from(*level) - expected / largest).abs() < 1e-6, "{level} {expected}");
            }
        }
        assert_eq!(LEVELS[ZERO as usize], 0.0);
        assert_eq!(LEVELS[1].to_bits(), 0xBF32_39B1, "the bits that bitsandbytes has");
        assert_eq!(LEVELS[8].to_bits(), 0x3DA2_FAFF);
        assert_eq!(LEVELS[14].to_bits(), 0x3F39_13B3);
    }

    #[test]
    fn a_block_made_by_hand_lies_as_the_table_says() {
        let mut values = [0f32; BLOCK];
        (values[0], values[32], values[33], values[63]) = (2.0, -2.0, 1.0, -0.4);
        let bytes = shrink_nf4(&values);
        assert_eq!(bytes[..2], f16::from_f32(2.0).to_le_bytes());
        // 1.0 / 2.0 lies nearest 0.44, -0.4 / 2.0 nearest -0.18.
        assert_eq!((bytes[2], bytes[3], bytes[4], bytes[33]), (0x0F, 0xC7, 0x77, 0x57));
        assert_eq!(bytes.len(), NF4_BYTES);
        let bytes = shrink_int8(&values);
        assert_eq!((bytes[2], bytes[34], bytes[35], bytes[65]), (127, -127i8 as u8, 64, -25i8 as u8));
        let back = through_int8(&values);
        assert!((back[0] - 2.0).abs() < 1e-6 && (back[32] + 2.0).abs() < 1e-6 && back[1] == 0.0, "{back:?}");
        let back = through_nf4(&values);
        assert_eq!((back[0], back[32], back[1]), (2.0, -2.0, 0.0), "ends and zero are exact");
    }

    #[test]
    fn every_value_goes_to_its_nearest_level() {
        let values = normal(64 * 500);
        let back = through_nf4(&values);
        for (block, back) in values.chunks(BLOCK).zip(back.chunks(BLOCK)) {
            let largest = f16::from_f32(block.iter().fold(0f32, |most, x| most.max(x.abs()))).to_f32();
            for (value, back) in block.iter().zip(back) {
                let nearest = LEVELS.iter().map(|level| (level * largest - value).abs()).fold(f32::MAX, f32::min);
                assert!((back - value).abs() <= nearest * 1.0001, "{value} became {back}");
            }
        }
    }

    #[test]
    fn on_normal_values_nf4_errs_less_than_sixteen_even_levels_and_int8_a_tenth_of_it() {
        let values = normal(64 * 4000);
        let mut even = values.clone();
        for block in even.chunks_mut(BLOCK) {
            // Sixteen levels from end to end, zero not among them.
            let largest = block.iter().fold(0f32, |most, x| most.max(x.abs()));
            let step = largest * 2.0 / 15.0;
            block.iter_mut().for_each(|x| *x = ((*x + largest) / step).round() * step - largest);
        }
        let (nf4, even) = (relative_error(&values, &through_nf4(&values)), relative_error(&values, &even));
        let int8 = relative_error(&values, &through_int8(&values));
        assert!((0.0921 / 1.02..0.0921 * 1.02).contains(&nf4), "{nf4}: QLoRA's levels give 0.0921");
        assert!((0.098..0.103).contains(&even), "{even}: even levels give 0.1007");
        assert!(nf4 < 0.93 * even, "{nf4} {even}");
        assert!((0.003..0.008).contains(&int8), "{int8}");
    }

    /// Int8 holds weights alone, inputs stay f32: a column of the input that is far larger than the others needs no way of
    /// its own, as it does where inputs are rounded too.
    #[test]
    fn outputs_of_int8_weights_are_within_two_in_a_hundred_with_and_without_a_column_far_larger_than_the_others() {
        const IN: usize = 256;
        let drawn = normal((128 + 64) * IN);
        let (weight, x) = drawn.split_at(128 * IN);
        let (held, mut x) = (through_int8(weight), x.to_vec());
        let product = |weight: &[f32], x: &[f32]| {
            let row = |x: &[f32]| {
                let of = |w: &[f32]| w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum::<f64>() as f32;
                weight.chunks(IN).map(of).collect::<Vec<f32>>()
            };
            x.chunks(IN).flat_map(row).collect::<Vec<f32>>()
        };
        let error = |x: &[f32]| relative_error(&product(weight, x), &product(&held, x));
        let plain = error(&x);
        assert!((0.001..0.02).contains(&plain), "{plain}");
        x.iter_mut().skip(7).step_by(IN).for_each(|value| *value *= 60.0);
        let outlier = error(&x);
        assert!((0.001..0.02).contains(&outlier), "{outlier}");
    }

    #[test]
    fn what_came_back_goes_to_the_same_bytes_again() {
        let values = normal(64 * 200);
        let (nf4, int8) = (shrink_nf4(&values), shrink_int8(&values));
        assert!(shrink_nf4(&through_nf4(&values)) == nf4);
        assert!(shrink_int8(&through_int8(&values)) == int8);
        let zeros = [0f32; 2 * BLOCK];
        assert_eq!(through_nf4(&zeros), zeros);
        assert_eq!(through_int8(&zeros), zeros);
        let tiny = [1e-30f32; BLOCK];
        assert_eq!(through_nf4(&tiny), [0f32; BLOCK], "below what a half can state");
    }

    #[test]
    fn a_value_that_is_not_finite_stays_visible() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = normal(3 * BLOCK);
            values[BLOCK + 5] = bad;
            for back in [through_nf4(&values), through_int8(&values)] {
                assert!(back[BLOCK..2 * BLOCK].iter().all(|value| value.is_nan()), "{bad}");
                assert!(back[..BLOCK].iter().chain(&back[2 * BLOCK..]).all(|value| value.is_finite()));
            }
        }
    }

    #[test]
    fn shrinking_does_not_depend_on_the_number_of_threads() {
        let values = normal(64 * 1000);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| (shrink_nf4(&values), shrink_int8(&values)))
        };
        assert!(run(1) == run(3));
    }
}
