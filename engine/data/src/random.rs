//! The crate's own small generator. `temper-data` may not depend on the numeric crates, so the one
//! source of randomness in reading, splitting and ordering is here.
//!
//! It is a counter generator: draw `n` of a stream is the `SplitMix64` finaliser (Steele, Lea and Flood,
//! "Fast splittable pseudorandom number generators", 2014) applied to `key + n * golden`, where `key`
//! mixes the seed and the stream number. There is no hidden state: a cursor of two numbers restores it.

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The `SplitMix64` finaliser: a bijection of 64-bit numbers that scatters nearby inputs.
#[must_use]
pub fn mix(value: u64) -> u64 {
    let mut z = value;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// One number from several, order-sensitive.
#[must_use]
pub fn combine(parts: &[u64]) -> u64 {
    parts.iter().fold(GOLDEN, |state, part| mix(state.wrapping_add(GOLDEN) ^ mix(part.wrapping_add(GOLDEN))))
}

/// A number in `[0, 1)` from the upper 53 bits.
#[must_use]
pub fn unit(value: u64) -> f64 {
    (value >> 11) as f64 / (1_u64 << 53) as f64
}

/// A counter generator over one stream of one seed.
#[derive(Debug, Clone)]
pub struct Counter {
    key: u64,
    drawn: u64,
}

impl Counter {
    /// The generator of `stream` under `seed`.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        Self { key: combine(&[seed, stream]), drawn: 0 }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.drawn += 1;
        mix(self.key.wrapping_add(self.drawn.wrapping_mul(GOLDEN)))
    }

    /// A number below `bound`, which must not be 0 (0 gives 0). The bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Shuffles in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_keeps_every_item_and_depends_on_seed_and_stream() {
        let order = |seed, stream| {
            let mut items: Vec<u32> = (0..100).collect();
            Counter::new(seed, stream).shuffle(&mut items);
            items
        };
        let mut sorted = order(1, 0);
        assert_ne!(sorted, (0..100).collect::<Vec<u32>>());
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<u32>>());
        assert_eq!(order(1, 0), order(1, 0));
        assert_ne!(order(1, 0), order(2, 0));
        assert_ne!(order(1, 0), order(1, 1));
    }

    #[test]
    fn draws_are_spread_evenly() {
        let mut counter = Counter::new(7, 3);
        let mut bins = [0_u32; 10];
        for _ in 0..10_000 {
            bins[counter.below(10) as usize] += 1;
        }
        assert!(bins.iter().all(|count| (850..1150).contains(count)), "{bins:?}");
        let mean = (0..10_000).map(|_| unit(counter.next_u64())).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }
}
