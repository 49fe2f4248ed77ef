//! A weight as codes into small tables: for each row and group of columns the 2^bits numbers that stand for its values best.
//!
//! Place in the data flow: the slot interpreter asks for it when a layer is to be looked up
//! ([`crate::slots::Delta::LookUp`]); [`crate::ops::linear_look_up`] multiplies with the result.
//!
//! The numbers are those of k-means on one axis: values in order, borders half-way between neighbouring centres, centres
//! the means of what lies between borders, until nothing moves (Lloyd, "Least squares quantization in PCM", 1982). It is
//! done twice, from centres evenly spaced over the range and from ones evenly spaced over the values in order, and the
//! better end is kept. A centre that is left without values moves to the outermost value of the group that errs most. No
//! data is looked at: SketchTune weighs values by what their inputs are and compensates one column's rounding in the next
//! ones, after Zhang and Shrivastava, "LeanQuant: Accurate and Scalable Large Language Model Quantization with
//! Loss-error-aware Grid" (2024); that is not here.

use crate::Result;
use crate::ops::{Codes, columns};
use rayon::prelude::*;

/// Most rounds of moving centres.
const MOST_ROUNDS: usize = 64;

/// Codes for a weight (rows, cols), and the table (rows, groups · 2^bits) of what they stand for.
///
/// # Errors
/// Values that do not fill the weight, bits or groups that there are no codes for.
pub fn sketch(weight: &[f32], dims: (usize, usize), groups: usize, bits: usize) -> Result<(Codes, Vec<f32>)> {
    let (rows, cols) = dims;
    if weight.len() != rows * cols {
        return crate::error::shape_error(format!("{} values for a weight of {rows} x {cols}", weight.len()));
    }
    let entries = 1usize << bits.min(crate::ops::MOST_BITS);
    let mut codes = vec![0u8; rows * cols];
    let mut table = vec![0f32; rows * groups * entries];
    if cols > 0 && groups > 0 {
        let work = codes.par_chunks_exact_mut(cols).zip(table.par_chunks_exact_mut(groups * entries));
        work.zip(weight.par_chunks_exact(cols)).for_each(|((codes, tables), row)| {
            for (group, table) in tables.chunks_exact_mut(entries).enumerate() {
                let columns = columns(cols, groups, group);
                let (values, codes) = (&row[columns.clone()], &mut codes[columns]);
                let centres = centres(values, entries);
                for (entry, centre) in table.iter_mut().zip(&centres) {
                    *entry = *centre as f32;
                }
                for (code, value) in codes.iter_mut().zip(values) {
                    *code = nearest(&centres, f64::from(*value)) as u8;
                }
            }
        });
    }
    Ok((Codes::pack(dims, groups, bits, &codes)?, table))
}

/// Which centre, of some in order, is nearest.
fn nearest(centres: &[f64], value: f64) -> usize {
    let pairs = centres.iter().zip(centres.iter().skip(1));
    pairs.take_while(|(left, right)| value > (*left + *right) / 2.0).count()
}

/// `count` centres in order.
fn centres(values: &[f32], count: usize) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().map(f64::from).collect();
    sorted.sort_by(f64::total_cmp);
    let (Some(&least), Some(&most)) = (sorted.first(), sorted.last()) else { return vec![0.0; count] };
    let share = |index: usize| (index as f64 + 0.5) / count as f64;
    let evenly = |index: usize| least + (most - least) * index as f64 / (count - 1).max(1) as f64;
    let ranked = |index: usize| sorted[((share(index) * sorted.len() as f64) as usize).min(sorted.len() - 1)];
    let line = Line::new(&sorted);
    let (first, second) =
        (line.settle((0..count).map(evenly).collect()), line.settle((0..count).map(ranked).collect()));
    if second.1 < first.1 { second.0 } else { first.0 }
}

/// Values in order with the sums before each of them.
struct Line<'a> {
    sorted: &'a [f64],
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl<'a> Line<'a> {
    fn new(sorted: &'a [f64]) -> Self {
        let running = |of: fn(f64) -> f64| {
            let sums = sorted.iter().scan(0.0, move |sum, value| {
                *sum += of(*value);
                Some(*sum)
            });
            std::iter::once(0.0).chain(sums).collect()
        };
        Self { sorted, sums: running(|value| value), squares: running(|value| value * value) }
    }

    /// Mean of the values `from..to` and their squared distance from it.
    fn spread(&self, from: usize, to: usize) -> (f64, f64) {
        let count = (to - from).max(1) as f64;
        let (sum, squares) = (self.sums[to] - self.sums[from], self.squares[to] - self.squares[from]);
        (sum / count, (squares - sum * sum / count).max(0.0))
    }

    /// Moves centres until they stay; with the squared distance of all values from their centre.
    fn settle(&self, mut centres: Vec<f64>) -> (Vec<f64>, f64) {
        let mut error = f64::INFINITY;
        for _ in 0..MOST_ROUNDS {
            let middles = centres.iter().zip(centres.iter().skip(1)).map(|(left, right)| (left + right) / 2.0);
            let mut borders: Vec<usize> = vec![0];
            borders.extend(middles.map(|middle| self.sorted.partition_point(|value| *value <= middle)));
            borders.push(self.sorted.len());
            let clusters: Vec<(usize, usize)> = borders.iter().copied().zip(borders.iter().skip(1).copied()).collect();
            let spreads: Vec<(f64, f64)> = clusters.iter().map(|(from, to)| self.spread(*from, *to)).collect();
            let now: f64 = spreads.iter().map(|(_, error)| error).sum();
            for ((centre, (from, to)), (mean, _)) in centres.iter_mut().zip(&clusters).zip(&spreads) {
                if to > from {
                    *centre = *mean;
                }
            }
            let empty = clusters.iter().position(|(from, to)| to <= from);
            let worst = spreads.iter().enumerate().max_by(|left, right| left.1.1.total_cmp(&right.1.1));
            if let (Some(empty), Some((worst, (mean, spread)))) = (empty, worst)
                && *spread > 0.0
                && let Some(&(from, to)) = clusters.get(worst)
            {
                let (low, high) = (self.sorted[from], self.sorted[to - 1]);
                centres[empty] = if mean - low > high - mean { low } else { high };
                centres.sort_by(f64::total_cmp);
            } else if now >= error {
                break;
            }
            error = now;
        }
        // Against the centres as they are now.
        let error = self.sorted.iter().map(|value| (value - centres[nearest(&centres, *value)]).powi(2)).sum();
        (centres, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::widened;
    use crate::rng::Stream;

    fn random(count: usize) -> Vec<f32> {
        let mut values = vec![0f32; count];
        Stream::new(3, "sketch").fill_normal(&mut values, 1.0);
        values
    }

    fn error(weight: &[f32], dims: (usize, usize), groups: usize, bits: usize) -> f64 {
        let (codes, table) = sketch(weight, dims, groups, bits).unwrap();
        let held = widened(&codes, &table).unwrap();
        weight.iter().zip(&held).map(|(weight, held)| f64::from(weight - held).powi(2)).sum()
    }

    #[test]
    fn codes_survive_packing_and_the_even_column_is_in_the_high_half() {
        for (dims, bits) in [((3, 7), 4), ((2, 8), 2), ((5, 1), 3)] {
            let mut stream = Stream::new(4, "codes");
            let codes: Vec<u8> = (0..dims.0 * dims.1).map(|_| stream.below(1 << bits) as u8).collect();
            let packed = Codes::pack(dims, 2, bits, &codes).unwrap();
            assert_eq!(packed.unpacked(), codes);
            assert_eq!(packed.memory_bytes(), dims.0 * dims.1.div_ceil(2));
        }
        let hand_made = Codes::pack((1, 3), 1, 4, &[0xA, 0x5, 0xC]).unwrap();
        assert!(format!("{hand_made:?}").contains(&format!("{:?}", [0xA5u8, 0xC0])));
        for (bits, codes) in [(2, vec![4, 0]), (5, vec![0, 0]), (0, vec![0, 0]), (4, vec![0])] {
            assert!(Codes::pack((1, 2), 1, bits, &codes).is_err(), "{bits} {codes:?}");
        }
    }

    #[test]
    fn error_falls_with_bits_and_with_groups() {
        let (dims, weight) = ((16, 96), random(16 * 96));
        for groups in [1, 2, 4, 8] {
            let by_bits: Vec<f64> = (1..=4).map(|bits| error(&weight, dims, groups, bits)).collect();
            assert!(by_bits.windows(2).all(|pair| pair[1] <= pair[0]), "{groups} groups: {by_bits:?}");
        }
        for bits in [2, 3, 4] {
            let by_groups: Vec<f64> = [1, 2, 4, 8].map(|groups| error(&weight, dims, groups, bits)).to_vec();
            assert!(by_groups.windows(2).all(|pair| pair[1] <= pair[0]), "{bits} bits: {by_groups:?}");
        }
    }

    #[test]
    fn a_large_normal_sample_finds_the_known_best_levels() {
        // Max, "Quantizing for minimum distortion" (1960): four levels at ±0.4528 and ±1.510, error 0.1175.
        let weight = random(20_000);
        let (_, table) = sketch(&weight, (1, 20_000), 1, 2).unwrap();
        for (found, known) in table.iter().zip([-1.510, -0.4528, 0.4528, 1.510]) {
            assert!((f64::from(*found) - known).abs() < 0.04, "{table:?}");
        }
        assert!((error(&weight, (1, 20_000), 1, 2) / 20_000.0 - 0.1175).abs() < 0.005);
    }

    #[test]
    fn few_different_values_are_held_exactly_and_centres_without_values_do_no_harm() {
        let weight: Vec<f32> = (0..60).map(|at| [0.0, 0.0, 0.0, 5.0, -1.0, 100.0][at % 6]).collect();
        assert!(error(&weight, (2, 30), 1, 2) < 1e-9);
        assert!(error(&[1.5; 12], (3, 4), 4, 4) < 1e-12);
        assert!(error(&random(6), (2, 3), 8, 4) < 1e-9, "more groups than columns");
    }
}
