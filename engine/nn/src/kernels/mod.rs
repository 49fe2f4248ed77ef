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
pub(crate) mod dynamic_map;
pub(crate) mod frozen;
pub(crate) mod head;
pub(crate) mod low_rank;
pub(crate) mod map;
pub mod math;
pub mod memory;
pub(crate) mod norm;
pub mod reduce;
pub(crate) mod rotary;
pub(crate) mod scratch;
pub(crate) mod softmax;
pub(crate) mod super_blocks;
pub mod threads;

/// Runs `work` compiled for the best instruction set this machine has (AVX2 and FMA where present).
/// `work` must be marked `#[inline(always)]`, as must all it calls, else it is compiled for the baseline.
#[inline(always)]
pub fn simd<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// Pieces of `buffer` for zipping with other pieces; `count` empty ones when it is not wanted (empty).
pub(crate) fn pieces_or_empty(buffer: &mut [f32], piece: usize, count: usize) -> Vec<&mut [f32]> {
    if buffer.is_empty() {
        return (0..count).map(|_| <&mut [f32]>::default()).collect();
    }
    buffer.chunks_mut(piece).collect()
}
