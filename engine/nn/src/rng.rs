//! The one source of randomness: a counter-based generator, the same bytes on every machine.
//!
//! Place in the data flow: initial values, dropout, data order and sampling each draw from a stream of their
//! own name, so that no result depends on the order in which things are made.
//!
//! Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// Four random words for a 128-bit counter and a 64-bit key.
#[inline(always)]
#[must_use]
pub const fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let mut round = 0;
    while round < ROUNDS {
        let left = MULTIPLIERS[0] as u64 * counter[0] as u64;
        let right = MULTIPLIERS[1] as u64 * counter[2] as u64;
        counter = [
            (right >> 32) as u32 ^ counter[1] ^ key[0],
            right as u32,
            (left >> 32) as u32 ^ counter[3] ^ key[1],
            left as u32,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        round += 1;
    }
    counter
}

/// Low and high word.
#[inline(always)]
const fn words(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

/// Features whose mask words are made together: eight counters of four words.
pub const MASK_BLOCK: usize = 32;

/// Mask words of features 32·block to 32·block + 31 of one position of one row: what dropout masks are made of.
/// Feature 8·w + l of the block has word w of counter 8·block + l, so that the generator runs in eight lanes.
#[inline(always)]
#[must_use]
pub fn mask_words(key: u64, row: u64, position: u32, block: u32) -> [u32; MASK_BLOCK] {
    const LANES: usize = 8;
    let row = words(row);
    let [mut key_0, mut key_1] = words(key);
    let [mut c0, mut c1, mut c2, mut c3] = [[0u32; LANES], [position; LANES], [row[0]; LANES], [row[1]; LANES]];
    for (lane, counter) in (0u32..).zip(&mut c0) {
        *counter = block.wrapping_mul(LANES as u32).wrapping_add(lane);
    }
    for _ in 0..ROUNDS {
        for lane in 0..LANES {
            let left = u64::from(MULTIPLIERS[0]) * u64::from(c0[lane]);
            let right = u64::from(MULTIPLIERS[1]) * u64::from(c2[lane]);
            c0[lane] = (right >> 32) as u32 ^ c1[lane] ^ key_0;
            c1[lane] = right as u32;
            c2[lane] = (left >> 32) as u32 ^ c3[lane] ^ key_1;
            c3[lane] = left as u32;
        }
        (key_0, key_1) = (key_0.wrapping_add(WEYL[0]), key_1.wrapping_add(WEYL[1]));
    }
    let mut all = [0u32; MASK_BLOCK];
    for lane in 0..LANES {
        all[lane] = c0[lane];
        all[LANES + lane] = c1[lane];
        all[2 * LANES + lane] = c2[lane];
        all[3 * LANES + lane] = c3[lane];
    }
    all
}

/// The word below which an element is dropped, for a probability `p` of dropping in [0, 1).
#[inline]
#[must_use]
pub fn drop_threshold(p: f32) -> u32 {
    // 2^32 has no u32, and p below 1 keeps the product below it; the cast saturates anyway.
    (f64::from(p) * 4_294_967_296.0) as u32
}

/// Whether element `index` of a mask survives dropout with probability `p` of being dropped.
#[must_use]
pub fn keep_mask(key: u64, index: u64, p: f32) -> bool {
    let block = index / 4;
    let [low, high] = words(block);
    let random = philox4x32([low, high, 0, 0], words(key));
    random[(index % 4) as usize] >= drop_threshold(p)
}

/// A named stream of random numbers. Its whole state is (key, stream, position): it can be stored and resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    key: u64,
    stream: u64,
    /// How many 64-bit numbers were drawn.
    position: u64,
    /// The block the last number came from.
    #[serde(skip)]
    block: Option<(u64, [u32; 4])>,
}

impl Stream {
    /// The stream of this name under this seed.
    #[must_use]
    pub fn new(seed: u64, name: &str) -> Self {
        let digest = Sha256::digest(name.as_bytes());
        let stream = digest.iter().take(8).fold(0, |sum: u64, &byte| sum << 8 | u64::from(byte));
        Self { key: seed, stream, position: 0, block: None }
    }

    /// How many 64-bit numbers were drawn so far.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Goes to a place in the stream.
    pub const fn seek(&mut self, position: u64) {
        self.position = position;
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let number = self.position / 2;
        let block = match self.block {
            Some((held, block)) if held == number => block,
            _ => {
                let (low, high) = (words(number), words(self.stream));
                let block = philox4x32([low[0], low[1], high[0], high[1]], words(self.key));
                self.block = Some((number, block));
                block
            }
        };
        let [first, second] = if self.position.is_multiple_of(2) { [block[0], block[1]] } else { [block[2], block[3]] };
        self.position = self.position.wrapping_add(1);
        u64::from(second) << 32 | u64::from(first)
    }

    /// Uniform in [0, 1) with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Two independent values of the standard normal distribution (Box and Muller, 1958).
    fn normal_pair(&mut self) -> [f64; 2] {
        // 1 - u lies in (0, 1]: the logarithm is finite.
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        let (sine, cosine) = libm::sincos(std::f64::consts::TAU * self.uniform());
        [radius * cosine, radius * sine]
    }

    /// Standard normal. Each call draws two numbers and uses one value of the pair.
    pub fn normal(&mut self) -> f64 {
        self.normal_pair()[0]
    }

    /// Fills with normal values of mean 0 and standard deviation `std`, two per pair.
    pub fn fill_normal(&mut self, out: &mut [f32], std: f64) {
        for pair in out.chunks_mut(2) {
            for (place, value) in pair.iter_mut().zip(self.normal_pair()) {
                *place = (value * std) as f32;
            }
        }
    }

    /// Fills with uniform values in [low, high).
    pub fn fill_uniform(&mut self, out: &mut [f32], low: f64, high: f64) {
        for place in out {
            let value = (low + (high - low) * self.uniform()) as f32;
            // Rounding to f32 may reach the open end.
            *place = if f64::from(value) < high { value } else { low as f32 };
        }
    }

    /// Uniform in 0..n without bias (Lemire, "Fast random integer generation in an interval", 2019);
    /// 0 for n = 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// Fisher-Yates shuffle.
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
    fn philox_gives_the_published_answers() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn streams_depend_on_seed_and_name_and_on_nothing_else() {
        let first = |seed, name| Stream::new(seed, name).next_u64();
        assert_eq!(first(1, "init/a"), first(1, "init/a"));
        assert_ne!(first(1, "init/a"), first(1, "init/b"));
        assert_ne!(first(1, "init/a"), first(2, "init/a"));
    }

    #[test]
    fn a_stored_stream_goes_on_where_it_stopped() {
        let mut stream = Stream::new(7, "order");
        for _ in 0..5 {
            stream.next_u64();
        }
        let text = serde_json::to_string(&stream).unwrap();
        let mut other: Stream = serde_json::from_str(&text).unwrap();
        for _ in 0..5 {
            assert_eq!(stream.next_u64(), other.next_u64());
        }
        let mut third = Stream::new(7, "order");
        third.seek(10);
        assert_eq!(third.next_u64(), stream.next_u64());
    }

    #[test]
    fn normal_values_are_the_same_bytes_on_every_machine() {
        let mut values = [0f32; 5];
        Stream::new(42, "known").fill_normal(&mut values, 1.0);
        let bits = values.map(f32::to_bits);
        assert_eq!(bits, KNOWN_NORMAL, "the generator changed: {bits:#010x?}");
    }

    /// Computed with Python's integers and mathematical functions.
    const KNOWN_NORMAL: [u32; 5] = [0x3ebc_2c82, 0xbf1a_6c94, 0x3e93_eebd, 0xbda3_b279, 0xbf0b_07a5];

    #[test]
    fn normal_values_have_the_moments_of_the_normal_distribution() {
        let mut values = vec![0f32; 200_000];
        Stream::new(3, "moments").fill_normal(&mut values, 2.0);
        let n = values.len() as f64;
        let moment = |power: i32| values.iter().map(|&x| f64::from(x).powi(power)).sum::<f64>() / n;
        assert!(moment(1).abs() < 0.02, "mean {}", moment(1));
        assert!((moment(2) - 4.0).abs() < 0.05, "variance {}", moment(2));
        assert!((moment(4) - 48.0).abs() < 2.0, "fourth moment {}", moment(4));
        assert!(values.iter().all(|x| x.is_finite()));
    }

    #[test]
    fn numbers_below_n_are_even_and_a_shuffle_loses_nothing() {
        let mut stream = Stream::new(11, "below");
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[stream.below(6) as usize] += 1;
        }
        assert!(counts.iter().all(|&count| (9_600..10_400).contains(&count)), "{counts:?}");
        let mut items = (0..100).collect::<Vec<_>>();
        stream.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn masks_drop_the_share_they_were_asked_for() {
        let kept = (0..100_000).filter(|&index| keep_mask(99, index, 0.3)).count();
        assert!((69_000..71_000).contains(&kept), "{kept}");
        assert!((0..1000).all(|index| keep_mask(99, index, 0.0)));
    }

    #[test]
    fn mask_words_are_the_generators_own() {
        let (key, row) = (0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3210);
        for block in [0u32, 1, 77] {
            let all = mask_words(key, row, 5, block);
            for (feature, word) in all.into_iter().enumerate() {
                let counter = [block * 8 + feature as u32 % 8, 5, 0x7654_3210, 0xFEDC_BA98];
                assert_eq!(word, philox4x32(counter, [0x89AB_CDEF, 0x0123_4567])[feature / 8]);
            }
        }
    }

    #[test]
    fn uniform_values_stay_inside_the_half_open_interval() {
        let mut values = vec![0f32; 10_000];
        Stream::new(5, "uniform").fill_uniform(&mut values, -0.25, 0.5);
        assert!(values.iter().all(|&x| (-0.25..0.5).contains(&x)));
        let mean = values.iter().sum::<f32>() / 10_000.0;
        assert!((mean - 0.125).abs() < 0.01, "{mean}");
    }
}
