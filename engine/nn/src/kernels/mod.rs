//! Arithmetic on plain slices: what the differentiable operations are made of.
//!
//! Place in the data flow: [`crate::ops`] unpacks tensors and calls these; nothing here knows of tensors or
//! graphs. Big inputs are spread over the rayon pool in pieces of fixed size, so that results do not depend on
//! the number of threads; inner loops run through [`simd`], which picks the machine's best instruction set at
//! run time.

pub mod adamw;
pub(crate) mod attention;
pub(crate) mod base_blocks;
pub(crate) mod blocks;
pub(crate) mod channels;
pub(crate) mod conv;
pub(crate) mod dynamic_map;
pub(crate) mod few_levels;
pub(crate) mod frozen;
pub mod grouped;
pub(crate) mod head;
pub(crate) mod low_rank;
pub(crate) mod map;
pub mod math;
pub mod memory;
pub(crate) mod nf4_double;
pub(crate) mod norm;
pub(crate) mod pool;
pub mod reduce;
pub(crate) mod rotary;
pub(crate) mod scratch;
pub(crate) mod softmax;
pub(crate) mod super_blocks;
pub mod threads;
pub(crate) mod window;

/// Runs `work` compiled for the best instruction set this machine has (AVX-512, or AVX2 and FMA, where present).
/// `work` must be marked `#[inline(always)]`, as must all it calls, else it is compiled for the baseline. Results are
/// the same on all of them: nothing is fused, and sums have lanes of their own.
#[inline(always)]
pub fn simd<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if wide::is_available() {
        return wide::run(work);
    }
    pulp::Arch::new().dispatch(work)
}

/// Registers of 512 bits, which pulp leaves out as it is built here.
#[cfg(target_arch = "x86_64")]
mod wide {
    /// Whether this machine has what [`run`] needs; the answer is kept by the standard library.
    #[inline(always)]
    pub(super) fn is_available() -> bool {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512cd")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,fma,bmi1,bmi2")]
    fn compiled<R>(work: impl FnOnce() -> R) -> R {
        work()
    }

    /// Runs `work`; the caller has asked [`is_available`].
    #[inline(always)]
    pub(super) fn run<R>(work: impl FnOnce() -> R) -> R {
        #[expect(unsafe_code, reason = "instructions that not every machine has")]
        // SAFETY: `simd`, the only caller, goes here only where the machine has all of the instructions named above.
        unsafe {
            compiled(work)
        }
    }
}

/// Pieces of `buffer` for zipping with other pieces; `count` empty ones when it is not wanted (empty).
pub(crate) fn pieces_or_empty(buffer: &mut [f32], piece: usize, count: usize) -> Vec<&mut [f32]> {
    if buffer.is_empty() {
        return (0..count).map(|_| <&mut [f32]>::default()).collect();
    }
    buffer.chunks_mut(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(always)]
    fn everything(x: &[f32]) -> Vec<u32> {
        let (mut values, mut sum) = (Vec::new(), reduce::sum_lanes(x));
        values.extend(x.iter().map(|&x| math::exp(x) + math::tanh(x) * math::normal(x).0));
        sum += reduce::dot_lanes(x, &values) + reduce::max_lanes(&values);
        values.push(sum);
        values.into_iter().map(f32::to_bits).collect()
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let x = (0..1000).map(|i| (i as f32 - 500.0) * 0.037).collect::<Vec<_>>();
        let best = simd(
            #[inline(always)]
            || everything(&x),
        );
        let pulps = pulp::Arch::new().dispatch(
            #[inline(always)]
            || everything(&x),
        );
        assert!(best == everything(&x) && pulps == best);
    }
}
