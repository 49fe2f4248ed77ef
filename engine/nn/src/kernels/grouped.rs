//! Whole numbers of 2, 3 or 4 bits with a step and a zero point per group, for a frozen base that is narrowed while it is
//! read.
//!
//! Place in the data flow: as `base_blocks`, for the kinds [`crate::StorageKind::Grouped`].
//!
//! The form is that of GPTQ (Frantar, Ashkboos, Hoefler, Alistarh, "GPTQ: Accurate Post-Training Quantization for
//! Generative Pre-trained Transformers", 2022) and of INT2.1: a value is `step · (code - zero)` with a code and a zero
//! point in 0..2ᵇ, both for a group of neighbours in a row. Zero is always a value. The range that the codes cover is
//! chosen per group: of the whole range and of parts of it down to two fifths the one with the smallest squared error.
//! With few codes that matters: on normal values in groups of 128 it takes the error with 2 bits from 0.50 to 0.37 of the
//! values' size, with 4 bits from 0.101 to 0.096.
//!
//! A block is a group: the step as a half, the zero point as a byte, then the codes. Of 4 bits byte i holds values i and
//! i + G/2, of 2 bits values i, i + G/4, i + 2G/4, i + 3G/4, low bits first; 3 bits are the two low bits in that way and
//! then the high ones, bit k of byte i being that of value i + k·G/8. So no code lies across two bytes, and what lies side
//! by side goes side by side.
//!
//! A group with a value that is not finite becomes NaN as a whole.

use super::blocks::scale;
use super::simd;
use half::f16;
use rayon::prelude::*;

/// Bits of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bits {
    /// Four values.
    Two,
    /// Eight values.
    Three,
    /// Sixteen values.
    Four,
}

/// Values that share a step and a zero point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// 32.
    G32,
    /// 64.
    G64,
    /// 128.
    G128,
}

/// A format: bits and size of the groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupedInt {
    /// Bits of a code.
    pub bits: Bits,
    /// Size of the groups.
    pub group: Group,
}

/// Step and zero point.
const HEAD: usize = 3;
/// Groups per piece of work when shrinking.
const PIECE: usize = 256;
/// Shares of a group's range that are tried, in steps of a twentieth from the whole down.
const SHARES: usize = 13;

impl Bits {
    /// All of them, the fewest first.
    pub const ALL: [Self; 3] = [Self::Two, Self::Three, Self::Four];

    /// How many.
    #[must_use]
    pub const fn count(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Three => 3,
            Self::Four => 4,
        }
    }
}

impl Group {
    /// All of them, the smallest first.
    pub const ALL: [Self; 3] = [Self::G32, Self::G64, Self::G128];

    /// How many values.
    #[must_use]
    pub const fn values(self) -> usize {
        match self {
            Self::G32 => 32,
            Self::G64 => 64,
            Self::G128 => 128,
        }
    }

    /// The largest group, this one at most, that divides rows of `cols` values; this one where none does.
    #[must_use]
    pub fn dividing(self, cols: usize) -> Self {
        let fits = |group: &Self| *group <= self && cols.is_multiple_of(group.values());
        Self::ALL.into_iter().rev().find(fits).unwrap_or(self)
    }
}

impl GroupedInt {
    /// All of them, the fewest bits and the smallest groups first.
    pub const ALL: [Self; 9] = {
        let mut all = [Self { bits: Bits::Two, group: Group::G32 }; 9];
        let mut at = 0;
        while at < 9 {
            all[at] = Self { bits: Bits::ALL[at / 3], group: Group::ALL[at % 3] };
            at += 1;
        }
        all
    };

    /// Values of a block.
    #[must_use]
    pub const fn block_len(self) -> usize {
        self.group.values()
    }

    /// Bytes of a block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        HEAD + self.group.values() * self.bits.count() / 8
    }

    /// As people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match (self.bits, self.group) {
            (Bits::Two, Group::G32) => "int2-g32",
            (Bits::Two, Group::G64) => "int2-g64",
            (Bits::Two, Group::G128) => "int2",
            (Bits::Three, Group::G32) => "int3-g32",
            (Bits::Three, Group::G64) => "int3-g64",
            (Bits::Three, Group::G128) => "int3",
            (Bits::Four, Group::G32) => "int4-g32",
            (Bits::Four, Group::G64) => "int4-g64",
            (Bits::Four, Group::G128) => "int4",
        }
    }
}

/// Calls `$function::<bits, values of a group>` for a format.
macro_rules! with_sizes {
    ($kind:expr, $function:ident($($argument:expr),*)) => {
        match ($kind.bits, $kind.group) {
            (Bits::Two, Group::G32) => $function::<2, 32>($($argument),*),
            (Bits::Two, Group::G64) => $function::<2, 64>($($argument),*),
            (Bits::Two, Group::G128) => $function::<2, 128>($($argument),*),
            (Bits::Three, Group::G32) => $function::<3, 32>($($argument),*),
            (Bits::Three, Group::G64) => $function::<3, 64>($($argument),*),
            (Bits::Three, Group::G128) => $function::<3, 128>($($argument),*),
            (Bits::Four, Group::G32) => $function::<4, 32>($($argument),*),
            (Bits::Four, Group::G64) => $function::<4, 64>($($argument),*),
            (Bits::Four, Group::G128) => $function::<4, 128>($($argument),*),
        }
    };
}

/// Codes → f32, whole blocks.
pub(crate) fn widen(kind: GroupedInt, bytes: &[u8], out: &mut [f32]) {
    with_sizes!(kind, widen_groups(bytes, out));
}

fn widen_groups<const BITS: usize, const GROUP: usize>(bytes: &[u8], out: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            let blocks = bytes.chunks_exact(HEAD + GROUP * BITS / 8);
            for (block, out) in blocks.zip(out.as_chunks_mut::<GROUP>().0) {
                let [low, high, zero, codes @ ..] = block else { continue };
                let (step, zero) = (scale(*low, *high), i32::from(*zero));
                for (place, code) in out.iter_mut().zip(unpack::<BITS, GROUP>(codes)) {
                    *place = (i32::from(code) - zero) as f32 * step;
                }
            }
        },
    );
}

/// The codes of a group, a byte each.
#[inline(always)]
pub(super) fn unpack<const BITS: usize, const GROUP: usize>(packed: &[u8]) -> [u8; GROUP] {
    let mut codes = [0u8; GROUP];
    let parts = if BITS == 4 { 2 } else { 4 };
    let (low, high) = packed.split_at(GROUP / parts);
    let mask = if BITS == 4 { 0x0F } else { 3 };
    for part in 0..parts {
        let shift = part * 8 / parts;
        for (code, byte) in codes[part * (GROUP / parts)..][..GROUP / parts].iter_mut().zip(low) {
            *code = byte >> shift & mask;
        }
    }
    if BITS == 3 {
        for part in 0..8 {
            for (code, byte) in codes[part * (GROUP / 8)..][..GROUP / 8].iter_mut().zip(high) {
                *code |= (byte >> part & 1) << 2;
            }
        }
    }
    codes
}

/// The other way round; `packed` is all zeros.
#[inline(always)]
pub(super) fn pack<const BITS: usize, const GROUP: usize>(codes: &[u8; GROUP], packed: &mut [u8]) {
    let parts = if BITS == 4 { 2 } else { 4 };
    let (low, high) = packed.split_at_mut(GROUP / parts);
    let mask = if BITS == 4 { 0x0F } else { 3 };
    for part in 0..parts {
        let shift = part * 8 / parts;
        for (code, byte) in codes[part * (GROUP / parts)..][..GROUP / parts].iter().zip(low.iter_mut()) {
            *byte |= (code & mask) << shift;
        }
    }
    if BITS == 3 {
        for part in 0..8 {
            for (code, byte) in codes[part * (GROUP / 8)..][..GROUP / 8].iter().zip(high.iter_mut()) {
                *byte |= (code >> 2) << part;
            }
        }
    }
}

/// As [`widen`], value by value from the description of the layout.
pub(crate) fn widen_reference(kind: GroupedInt, bytes: &[u8], out: &mut [f32]) {
    let (bits, group) = (kind.bits.count(), kind.group.values());
    for (block, out) in bytes.chunks_exact(kind.block_bytes()).zip(out.chunks_exact_mut(group)) {
        let [low, high, zero, codes @ ..] = block else { continue };
        let step = f16::from_le_bytes([*low, *high]).to_f32();
        for (at, place) in out.iter_mut().enumerate() {
            *place = (i32::from(code_at(codes, bits, group, at)) - i32::from(*zero)) as f32 * step;
        }
    }
}

/// Code number `at` of a group, by the description of the layout.
pub(super) fn code_at(packed: &[u8], bits: usize, group: usize, at: usize) -> u8 {
    let byte = |index: usize| packed.get(index).copied().unwrap_or(0);
    let code = match bits {
        4 => byte(at % (group / 2)) >> (4 * (at / (group / 2))) & 0x0F,
        _ => byte(at % (group / 4)) >> (2 * (at / (group / 4))) & 3,
    };
    let top = if bits == 3 { byte(group / 4 + at % (group / 8)) >> (at / (group / 8)) & 1 } else { 0 };
    code + 4 * top
}

/// f32 → codes; the values fill whole blocks.
pub(crate) fn shrink(kind: GroupedInt, values: &[f32]) -> Vec<u8> {
    with_sizes!(kind, shrink_groups(values))
}

fn shrink_groups<const BITS: usize, const GROUP: usize>(values: &[f32]) -> Vec<u8> {
    let block_bytes = HEAD + GROUP * BITS / 8;
    let mut bytes = vec![0u8; values.len() / GROUP * block_bytes];
    bytes.par_chunks_mut(PIECE * block_bytes).zip(values.par_chunks(PIECE * GROUP)).for_each(|(bytes, values)| {
        simd(
            #[inline(always)]
            || {
                for (block, values) in bytes.chunks_exact_mut(block_bytes).zip(values.as_chunks::<GROUP>().0) {
                    shrink_group::<BITS, GROUP>(values, block);
                }
            },
        );
    });
    bytes
}

/// One way to cover a group.
#[derive(Clone, Copy)]
struct Cover {
    step: f16,
    zero: f32,
}

impl Cover {
    /// Of `share` of the range `low..=high` with codes up to `most`.
    #[inline(always)]
    fn of(low: f32, high: f32, share: f32, most: f32) -> Self {
        let step = f16::from_f32((high - low) * share / most);
        let wide = step.to_f32();
        let zero = if wide > 0.0 { (-low * share / wide).round_ties_even().clamp(0.0, most) } else { 0.0 };
        Self { step, zero }
    }

    #[inline(always)]
    fn inverse(self) -> f32 {
        let step = self.step.to_f32();
        if step > 0.0 { 1.0 / step } else { 0.0 }
    }

    /// Sum of the squared errors, in eight lanes.
    #[inline(always)]
    fn error<const GROUP: usize>(self, values: &[f32; GROUP], most: f32) -> f32 {
        let (step, inverse) = (self.step.to_f32(), self.inverse());
        let mut lanes = [0f32; 8];
        for values in values.as_chunks::<8>().0 {
            for (lane, value) in lanes.iter_mut().zip(values) {
                let code = ((value * inverse).round_ties_even() + self.zero).clamp(0.0, most);
                let off = (code - self.zero) * step - value;
                *lane += off * off;
            }
        }
        lanes.iter().sum()
    }
}

#[inline(always)]
fn shrink_group<const BITS: usize, const GROUP: usize>(values: &[f32; GROUP], block: &mut [u8]) {
    let most = ((1u32 << BITS) - 1) as f32;
    let (mut low, mut high, mut finite) = (0f32, 0f32, true);
    for value in values {
        finite &= value.is_finite();
        low = if *value < low { *value } else { low };
        high = if *value > high { *value } else { high };
    }
    let [step_low, step_high, zero, packed @ ..] = block else { return };
    if !finite {
        [*step_low, *step_high] = f16::NAN.to_le_bytes();
        return;
    }
    let mut best = Cover::of(low, high, 1.0, most);
    let mut least = best.error(values, most);
    for part in 1..SHARES {
        let cover = Cover::of(low, high, 1.0 - part as f32 * 0.05, most);
        let error = cover.error(values, most);
        if error < least {
            (best, least) = (cover, error);
        }
    }
    let inverse = best.inverse();
    let mut codes = [0u8; GROUP];
    for (code, value) in codes.iter_mut().zip(values) {
        *code = ((value * inverse).round_ties_even() + best.zero).clamp(0.0, most) as u8;
    }
    [*step_low, *step_high] = best.step.to_le_bytes();
    *zero = best.zero as u8;
    pack::<BITS, GROUP>(&codes, packed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    /// Most values of a group.
    const LARGEST: usize = 128;

    fn normal(n: usize) -> Vec<f32> {
        let mut values = vec![0f32; n];
        Stream::new(1, "grouped").fill_normal(&mut values, 0.02);
        values
    }

    fn through(kind: GroupedInt, values: &[f32]) -> Vec<f32> {
        let mut back = vec![0f32; values.len()];
        widen(kind, &shrink(kind, values), &mut back);
        back
    }

    /// √(Σ(a - b)² / Σa²).
    fn relative_error(values: &[f32], back: &[f32]) -> f64 {
        let square = |of: &dyn Fn(f32, f32) -> f32| {
            values.iter().zip(back).map(|(a, b)| f64::from(of(*a, *b)).powi(2)).sum::<f64>()
        };
        (square(&|a, b| a - b) / square(&|a, _| a)).sqrt()
    }

    #[test]
    fn sizes_follow_from_bits_and_groups() {
        let sizes = GroupedInt::ALL.map(|kind| (kind.name(), kind.block_len(), kind.block_bytes()));
        assert_eq!(sizes[0], ("int2-g32", 32, 11));
        assert_eq!(sizes[5], ("int3", 128, 51));
        assert_eq!(sizes[8], ("int4", 128, 67));
        assert_eq!(LARGEST, Group::G128.values());
        let dividing = |cols| Group::G128.dividing(cols).values();
        assert_eq!([576, 1536, 96, 40].map(dividing), [64, 128, 32, 128]);
        assert_eq!(Group::G64.dividing(1536), Group::G64);
    }

    #[test]
    fn packed_codes_come_back_to_the_bit_for_every_width() {
        fn check<const BITS: usize, const GROUP: usize>() {
            let mut stream = Stream::new(3, "codes");
            let codes: [u8; GROUP] = std::array::from_fn(|_| (stream.next_u64() % (1 << BITS)) as u8);
            let mut packed = vec![0u8; GROUP * BITS / 8];
            pack::<BITS, GROUP>(&codes, &mut packed);
            assert_eq!(unpack::<BITS, GROUP>(&packed), codes, "{BITS} bits, {GROUP} values");
        }
        for kind in GroupedInt::ALL {
            with_sizes!(kind, check());
        }
    }

    #[test]
    fn a_group_made_by_hand_lies_as_the_table_says() {
        let mut values = [0f32; 32];
        (values[0], values[1], values[16], values[31]) = (1.0, -0.5, 0.5, -1.0);
        // Three bits over -1..=1: the step is 2/7 as a half, zero the code 4 (3.5 rounds to even).
        let bytes = shrink(GroupedInt { bits: Bits::Three, group: Group::G32 }, &values);
        assert_eq!(bytes.len(), 3 + 8 + 4);
        let back = through(GroupedInt { bits: Bits::Four, group: Group::G32 }, &values);
        for (value, back) in values.iter().zip(back) {
            assert!((value - back).abs() < 0.5 * 2.0 / 15.0 * 1.01, "{value} became {back}");
        }
        // Codes 0, 1, 3 in the places 0, 8, 31 of two bits: with zero point 1 and step 1 they are -1, 0, 2.
        let mut block = [0u8; 11];
        [block[0], block[1]] = f16::from_f32(1.0).to_le_bytes();
        block[2] = 1;
        (block[3], block[10]) = (0b0000_0100, 0b1100_0000);
        let mut out = [0f32; 32];
        widen(GroupedInt { bits: Bits::Two, group: Group::G32 }, &block, &mut out);
        assert_eq!((out[0], out[8], out[31], out[1]), (-1.0, 0.0, 2.0, -1.0));
    }

    #[test]
    fn errors_on_normal_values_are_those_of_even_levels_with_the_best_range() {
        let values = normal(128 * 2000);
        let error = |bits, group| relative_error(&values, &through(GroupedInt { bits, group }, &values));
        for (bits, least, most) in [(Bits::Two, 0.30, 0.40), (Bits::Three, 0.17, 0.22), (Bits::Four, 0.08, 0.11)] {
            let (wide, narrow) = (error(bits, Group::G128), error(bits, Group::G32));
            assert!((least..most).contains(&wide), "{bits:?}: {wide}");
            assert!(narrow < wide, "{bits:?}: groups of 32 err by {narrow}, of 128 by {wide}");
        }
    }

    #[test]
    fn zeros_stay_zeros_and_what_is_not_finite_stays_visible() {
        for kind in GroupedInt::ALL {
            assert_eq!(through(kind, &[0.0; 256]), [0.0; 256]);
            let mut one_sided = normal(256);
            one_sided.iter_mut().for_each(|value| *value = value.abs() + 0.01);
            one_sided[7] = 0.0;
            assert_eq!(through(kind, &one_sided)[7], 0.0, "{}: zero is a value", kind.name());
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = normal(3 * LARGEST);
                values[LARGEST + 5] = bad;
                let back = through(kind, &values);
                let group = LARGEST..LARGEST + kind.block_len();
                assert!(back[group.clone()].iter().all(|value| value.is_nan()), "{bad}");
                assert!(back[..group.start].iter().chain(&back[group.end..]).all(|value| value.is_finite()));
            }
        }
    }

    #[test]
    fn shrinking_does_not_depend_on_the_number_of_threads() {
        let values = normal(128 * 700);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| GroupedInt::ALL.map(|kind| shrink(kind, &values)))
        };
        assert!(run(1) == run(3));
    }

    proptest::proptest! {
        /// With the whole range covered each value is off by half a step at most; the best cover errs no more than that
        /// on the whole.
        #[test]
        fn the_error_of_a_group_is_at_most_half_a_step_each(
            seed: u64, which in 0usize..9, spread in -2i32..3, shift in -2i32..3
        ) {
            let kind = GroupedInt::ALL[which];
            let mut values = vec![0f32; kind.block_len()];
            Stream::new(seed, "values").fill_normal(&mut values, 10f64.powi(spread));
            let middle = 10f32.powi(spread) * shift as f32;
            values.iter_mut().for_each(|value| *value += middle);
            let back = through(kind, &values);
            let (low, high) = values.iter().fold((0f32, 0f32), |(low, high), value| (low.min(*value), high.max(*value)));
            let step = f64::from(high - low) / f64::from((1u32 << kind.bits.count()) - 1);
            let square: f64 = values.iter().zip(&back).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            proptest::prop_assert!((square / values.len() as f64).sqrt() <= 0.51 * step);
        }
    }
}
