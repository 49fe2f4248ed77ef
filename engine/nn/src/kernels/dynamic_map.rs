//! The non-linear 8-bit maps that an optimiser's moments are kept in, and the fast way to the nearest of their values.
//!
//! Place in the data flow: [`super::adamw::step_int8`] widens and narrows blocks of moments with them.
//!
//! Dettmers, Lewis, Shleifer, Zettlemoyer, "8-bit Optimizers via Block-wise Quantization" (2022), section 2: dynamic
//! (tree) quantisation. Of [0, 1] each of seven decades 10⁻⁷..10⁰ is cut into equal parts, twice as many in each decade
//! as in the one below it, and each part is stood for by its middle: coarse for what is small, but still there. The
//! signed map has 2ⁱ parts in decade i on both sides, the unsigned one 2ⁱ⁺¹ on one side; both have 0 and 1 besides,
//! which makes 256 values. Codes are places in the sorted values.

use std::sync::LazyLock;

/// Decades of the maps.
const DECADES: u32 = 7;
/// Bits of an f32 that are left out of a cell's number: 7 bits of the mantissa remain.
const SHIFT: u32 = 16;
/// Number of the first cell: it begins at 2⁻²³, below the smallest border of both maps, and takes all below it, too.
const FIRST: u32 = (127 - 23) << (23 - SHIFT);
/// Number of the last cell, which begins at 1.
const LAST: u32 = 127 << (23 - SHIFT);
/// Cells of one sign.
const CELLS: usize = (LAST - FIRST + 1) as usize;

/// A map of 256 values.
pub(crate) struct DynamicMap {
    /// The values by code, in rising order.
    pub(crate) values: [f32; 256],
    /// Half-way to the next value, by code; none after the last.
    borders: [f32; 256],
    /// The lowest code that a number of a cell can have: positive cells, then negative ones.
    cells: Box<[u8; 2 * CELLS]>,
    /// The code of 0.
    pub(crate) zero: u8,
}

/// The map of the first moment.
pub(crate) static SIGNED: LazyLock<DynamicMap> = LazyLock::new(|| DynamicMap::new(true));
/// The map of the second moment.
pub(crate) static UNSIGNED: LazyLock<DynamicMap> = LazyLock::new(|| DynamicMap::new(false));

impl DynamicMap {
    fn new(signed: bool) -> Self {
        let mut sorted = vec![0.0, 1.0];
        for decade in 0..DECADES {
            let parts = if signed { 1 << decade } else { 2 << decade };
            let size = 10f64.powi(decade as i32 - (DECADES as i32 - 1));
            for part in 0..parts {
                let middle = size * (0.1 + 0.9 * (f64::from(part) + 0.5) / f64::from(parts));
                sorted.push(middle as f32);
                if signed {
                    sorted.push(-middle as f32);
                }
            }
        }
        sorted.sort_by(f32::total_cmp);
        let (mut values, mut borders) = ([0f32; 256], [f32::INFINITY; 256]);
        for (place, value) in values.iter_mut().zip(&sorted) {
            *place = *value;
        }
        for (place, pair) in borders.iter_mut().zip(sorted.windows(2)) {
            if let [low, high] = pair {
                *place = f32::midpoint(*low, *high);
            }
        }
        let below = |number: f32| borders.iter().filter(|border| number > **border).count().min(255) as u8;
        let mut cells = Box::new([0u8; 2 * CELLS]);
        let (positive, negative) = cells.split_at_mut(CELLS);
        for ((positive, negative), number) in positive.iter_mut().zip(negative).zip(FIRST..) {
            // The end of the cell nearest to minus infinity: of a negative one that is its far end.
            let near = if number == FIRST { 0.0 } else { f32::from_bits(number << SHIFT) };
            let far = if number == LAST { 1.0 } else { f32::from_bits((number + 1) << SHIFT) };
            (*positive, *negative) = (below(near), below(-far));
        }
        let zero = below(0.0);
        Self { values, borders, cells, zero }
    }

    /// The code whose value is nearest to `number`, which lies in [-1, 1]; of two equally near ones the lower.
    /// A cell holds one border at most, so that one look at it decides.
    #[inline(always)]
    pub(crate) fn code(&self, number: f32) -> u8 {
        let bits = number.to_bits();
        let cell = ((bits & 0x7FFF_FFFF) >> SHIFT).clamp(FIRST, LAST) - FIRST;
        let cell = cell as usize + (bits >> 31) as usize * CELLS;
        let lowest = self.cells[cell];
        lowest + u8::from(number > self.borders[usize::from(lowest)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    fn nearest(map: &DynamicMap, number: f32) -> f32 {
        map.values.iter().map(|value| (value - number).abs()).fold(f32::MAX, f32::min)
    }

    #[test]
    fn the_maps_are_those_of_the_paper() {
        for (map, zero) in [(&*SIGNED, 127), (&*UNSIGNED, 0)] {
            assert!(map.values.windows(2).all(|pair| pair[0] < pair[1]), "256 different values in rising order");
            assert_eq!((map.values[255], map.values[usize::from(map.zero)], map.zero), (1.0, 0.0, zero));
        }
        // Decade 0 of the signed map is one part around 0.55e-6, of the unsigned one two parts.
        assert!((SIGNED.values[128] - 0.55e-6).abs() < 1e-12);
        assert!((UNSIGNED.values[1] - 0.325e-6).abs() < 1e-12 && (UNSIGNED.values[2] - 0.775e-6).abs() < 1e-12);
        // Decade 6 of the signed map has 64 parts: the middle of the last is 1 - 0.9/128.
        assert!((SIGNED.values[254] - (1.0 - 0.9 / 128.0)).abs() < 1e-6);
        assert!((SIGNED.values[0] + (1.0 - 0.9 / 128.0)).abs() < 1e-6);
    }

    #[test]
    fn a_code_stands_for_the_nearest_value_of_all() {
        for map in [&*SIGNED, &*UNSIGNED] {
            let signed = map.zero > 0;
            let mut stream = Stream::new(1, "map");
            let check = |number: f32| {
                let error = (map.values[usize::from(map.code(number))] - number).abs();
                // A border is rounded: at it either side will do.
                assert!(
                    error <= nearest(map, number) + 2.0 * f32::EPSILON * number.abs(),
                    "{number} became {}",
                    map.values[usize::from(map.code(number))]
                );
            };
            for _ in 0..20_000 {
                let magnitude = 10f32.powf(-9.0 * stream.next_u64() as f32 / u64::MAX as f32);
                check(magnitude);
                if signed {
                    check(-magnitude);
                }
            }
            for pair in map.values.windows(2) {
                let border = f32::midpoint(pair[0], pair[1]);
                for number in [pair[0], border, border.next_up(), border.next_down(), pair[1]] {
                    check(number);
                }
            }
            for number in [0.0, -0.0, f32::MIN_POSITIVE, 1e-45] {
                check(number);
            }
        }
    }

    #[test]
    fn no_cell_holds_two_borders() {
        for map in [&*SIGNED, &*UNSIGNED] {
            for number in FIRST..LAST {
                let low = if number == FIRST { 0.0 } else { f32::from_bits(number << SHIFT) };
                let high = f32::from_bits((number + 1) << SHIFT);
                for (low, high) in [(low, high), (-high, -low)] {
                    let inside = map.borders.iter().filter(|border| **border >= low && **border < high).count();
                    assert!(inside <= 1, "{low}..{high} holds {inside}");
                }
            }
        }
    }

    #[test]
    fn what_leaves_the_interval_or_is_no_number_ends_at_a_code_all_the_same() {
        assert_eq!(SIGNED.code(1.0f32.next_up()), 255);
        assert_eq!(SIGNED.code(f32::INFINITY), 255);
        assert_eq!(SIGNED.code(-2.0), 0);
        assert_eq!(SIGNED.code(f32::NAN), 255);
    }
}
