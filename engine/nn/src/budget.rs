//! Which of several storages each matrix gets when all together may take only so many bits.
//!
//! Place in the data flow: the trainer measures what each storage would cost each matrix ([`crate::repair::rounding_costs`])
//! and asks [`allocate`] before a method that rounds the base itself is attached.
//!
//! It is the integer programme of LQ-LoRA (Guo et al. 2023, section 3.2): of every matrix exactly one storage, the sum of
//! the squared errors least, the sum of the bits within the budget: a knapsack with multiple choice. It is solved exactly by
//! dynamic programming over the bits spent, counted in units of 1/32,768 bit per value and rounded up, so that what is
//! promised is kept: at most one unit per matrix is left unused for that. A storage that all matrices share is looked at
//! besides, so that the answer is never worse than that either.

/// Bits per value are counted in this many parts.
const PARTS: f64 = 32_768.0;

/// A storage that a matrix could have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Bits that the whole matrix takes.
    pub bits: f64,
    /// Its squared error.
    pub cost: f64,
}

/// For each matrix the place of its storage among its candidates; none when not even the smallest ones fit. `values` is how
/// many numbers all matrices hold together. Every list has the same storages in the same order.
#[must_use]
pub fn allocate(matrices: &[Vec<Candidate>], values: f64, bits_per_value: f64) -> Option<Vec<usize>> {
    let capacity = (bits_per_value * PARTS).floor().clamp(0.0, 1e7) as usize;
    let units = |candidate: &Candidate| (candidate.bits / values.max(1.0) * PARTS).ceil() as usize;
    // best[c]: the least cost of the matrices so far within c units.
    let mut best = vec![0f64; capacity + 1];
    let mut chosen: Vec<Vec<u8>> = Vec::with_capacity(matrices.len());
    for candidates in matrices {
        let (mut next, mut choice) = (vec![f64::INFINITY; capacity + 1], vec![u8::MAX; capacity + 1]);
        for (candidate, place) in candidates.iter().zip(0u8..) {
            let units = units(candidate);
            let Some(reached) = (capacity + 1).checked_sub(units) else { continue };
            let targets = next.iter_mut().zip(choice.iter_mut()).skip(units);
            for ((next, choice), before) in targets.zip(best.iter().take(reached)) {
                let cost = before + candidate.cost;
                if cost < *next {
                    (*next, *choice) = (cost, place);
                }
            }
        }
        best = next;
        chosen.push(choice);
    }
    let mut left = capacity;
    let mut answer = Vec::with_capacity(matrices.len());
    for (candidates, choice) in matrices.iter().zip(&chosen).rev() {
        let found = choice.get(left).copied().map(usize::from);
        let Some((place, candidate)) = found.and_then(|place| Some((place, candidates.get(place)?))) else { break };
        answer.push(place);
        left = left.saturating_sub(units(candidate));
    }
    answer.reverse();
    let programme = (answer.len() == matrices.len()).then_some(answer);
    let all_alike = uniform(matrices, values * bits_per_value);
    let cost = |answer: &Vec<usize>| total(matrices, answer, |candidate| candidate.cost);
    match (programme, all_alike) {
        (Some(programme), Some(alike)) => Some(if cost(&alike) < cost(&programme) { alike } else { programme }),
        (programme, alike) => programme.or(alike),
    }
}

/// The best storage that all matrices can share.
fn uniform(matrices: &[Vec<Candidate>], bits: f64) -> Option<Vec<usize>> {
    let places = matrices.iter().map(Vec::len).min()?;
    let answers = (0..places).map(|place| vec![place; matrices.len()]);
    let fitting = answers.filter(|answer| total(matrices, answer, |candidate| candidate.bits) <= bits);
    let cost = |answer: &Vec<usize>| total(matrices, answer, |candidate| candidate.cost);
    fitting.min_by(|left, right| cost(left).total_cmp(&cost(right)))
}

/// Sum over the chosen candidates.
#[must_use]
pub fn total(matrices: &[Vec<Candidate>], answer: &[usize], of: impl Fn(&Candidate) -> f64) -> f64 {
    matrices.iter().zip(answer).filter_map(|(candidates, place)| candidates.get(*place)).map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    /// Matrices of different sizes; the error falls fourfold per bit, from another height in each.
    fn matrices(count: usize) -> (Vec<Vec<Candidate>>, f64) {
        let mut stream = Stream::new(5, "budget");
        let mut values = 0.0;
        let matrices = (0..count).map(|_| {
            let (size, height) = (1000.0 * (1.0 + stream.uniform() * 9.0), stream.uniform() * 10.0);
            values += size;
            let of = |bits: f64| Candidate { bits: bits * size, cost: size * height * 0.25f64.powf(bits) };
            [2.2, 2.4, 2.75, 3.2, 3.75, 4.2, 4.75, 8.25].map(of).to_vec()
        });
        (matrices.collect(), values)
    }

    #[test]
    fn the_budget_is_kept_and_no_shared_storage_is_better() {
        let (matrices, values) = matrices(40);
        for budget in [2.2, 2.5, 3.0, 3.2, 4.0, 6.0] {
            let answer = allocate(&matrices, values, budget).expect("it fits");
            let (bits, cost) = (total(&matrices, &answer, |of| of.bits), total(&matrices, &answer, |of| of.cost));
            assert!(bits <= budget * values * (1.0 + 1e-9), "{budget}: {}", bits / values);
            let alike = uniform(&matrices, budget * values).expect("one fits");
            assert!(cost <= total(&matrices, &alike, |of| of.cost), "{budget}");
            if budget == 3.0 {
                assert!(cost < 0.9 * total(&matrices, &alike, |of| of.cost), "mixing is worth something");
            }
        }
        assert!(allocate(&matrices, values, 2.1).is_none(), "not even the smallest fit");
    }

    #[test]
    fn more_bits_never_cost_more() {
        let (matrices, values) = matrices(25);
        let mut last = f64::INFINITY;
        for step in 0..60 {
            let answer = allocate(&matrices, values, 2.3 + 0.1 * f64::from(step)).expect("it fits");
            let cost = total(&matrices, &answer, |of| of.cost);
            assert!(cost <= last, "{step}: {cost} {last}");
            last = cost;
        }
    }

    #[test]
    fn small_programmes_are_solved_as_by_trying_everything() {
        let (matrices, values) = matrices(4);
        for budget in [2.4, 2.9, 3.3, 4.4] {
            let answer = allocate(&matrices, values, budget).expect("it fits");
            let cost = total(&matrices, &answer, |of| of.cost);
            let mut best = f64::INFINITY;
            for number in 0..8usize.pow(4) {
                let tried = [number % 8, number / 8 % 8, number / 64 % 8, number / 512];
                // One unit less per matrix is what rounding up may cost.
                if total(&matrices, &tried, |of| of.bits) <= (budget - 4.0 / PARTS) * values {
                    best = best.min(total(&matrices, &tried, |of| of.cost));
                }
            }
            assert!(cost <= best * (1.0 + 1e-9), "{budget}: {cost} {best}");
        }
    }
}
