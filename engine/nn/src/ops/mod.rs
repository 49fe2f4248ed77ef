//! Differentiable operations: candle custom operations with hand-written backward passes.
//!
//! Place in the data flow: models and adapters build their graphs from these and from plain candle arithmetic.
//! On f32 tensors in main memory the kernels of [`crate::kernels`] run; on other devices and types the slow
//! equivalents of [`mod@reference`], made of plain candle tensors, run instead. Each operation is tested against its
//! reference and against finite differences.
//!
//! Rules that all operations keep: an input that is not tracked gets no gradient and costs nothing in the
//! backward pass; gradients are detached; inputs of any strides are accepted.

mod activation;
mod attention;
mod batch_norm;
mod bottleneck;
mod conv;
mod diagonal;
mod embedding;
mod head;
mod imitate;
mod linear;
mod linear_at;
mod look_up;
mod low_rank;
mod norm;
mod pool;
pub mod reference;
mod rotary;
mod route;
mod row_groups;
mod rows;
mod seed;
mod seeded;
mod softmax;
mod tap;

pub use activation::{Gate, gated_gelu, gated_silu, gelu, gelu_tanh, relu, silu};
pub(crate) use activation::{activate, activate_backward, gate_backward, gate_forward};
pub use attention::{AttentionSpec, attention, attention_cached};
pub use batch_norm::{ChannelStatistics, batch_norm, batch_norm_frozen};
pub(crate) use bottleneck::{Between, Net, Part, bottleneck_between};
pub use conv::{Slide, conv2d};
pub use diagonal::{add_bias, add_constant, dropout, scale_features, scale_rows};
pub use embedding::{EmbeddingTable, embedding};
pub use head::{
    HeadOptions, HeadTable, IGNORE, SKIP_POSITIONS, head_cross_entropy, head_cross_entropy_with, head_logits,
};
pub use imitate::{Parent, head_divergence};
pub use linear::{FrozenLinear, linear, linear_trained};
pub use linear_at::{Places, linear_at};
pub use look_up::{Codes, MOST_BITS, linear_look_up};
pub(crate) use look_up::{columns, widened};
pub use low_rank::{Dropout, linear_low_rank, low_rank};
pub use norm::{layer_norm, rms_norm};
pub use pool::{avg_pool2d, global_avg_pool, max_pool2d};
pub use rotary::{RotaryTable, rotary};
pub(crate) use route::shares;
pub use route::{Choice, expert_balance, route};
pub use row_groups::{RowGroups, linear_row_groups};
pub use rows::{Pick, pick_rows};
pub use seed::seed_gradient;
pub use seeded::{Seeded, seeded_sum};
pub use softmax::softmax;
pub(crate) use tap::tap_each;
pub use tap::{Seen, tap};

use crate::error::shape_error;
use crate::kernels::map::map2;
use crate::{NnError, Result};
use candle_core::{CpuStorage, DType, Device, Layout, Shape, Storage, Tensor};
use std::ops::{Deref, Range};
use std::sync::atomic::{AtomicBool, Ordering};

/// Off when every operation is to run as its reference.
static KERNELS: AtomicBool = AtomicBool::new(true);

/// Switches the kernels off and on again, for the whole process: what runs instead is what runs on other devices. For
/// tests that compare the two.
pub fn set_kernels(on: bool) {
    KERNELS.store(on, Ordering::Relaxed);
}

/// Whether the kernels can take these tensors: f32 in main memory.
pub(crate) fn has_kernel(tensors: &[&Tensor]) -> bool {
    KERNELS.load(Ordering::Relaxed)
        && tensors.iter().all(|tensor| tensor.device().is_cpu() && tensor.dtype() == DType::F32)
}

/// The values of an f32 tensor in main memory, in row-major order.
pub(crate) struct Values<'a> {
    storage: parking_lot::RwLockReadGuard<'a, Storage>,
    range: Range<usize>,
}

impl<'a> Values<'a> {
    /// Looks into a tensor that is contiguous.
    ///
    /// # Errors
    /// Another type, another device, or values that do not lie in order.
    pub(crate) fn of(tensor: &'a Tensor) -> candle_core::Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("values of shape {:?} do not lie in order", tensor.dims());
        };
        match &*storage {
            Storage::Cpu(cpu) => {
                if cpu.as_slice::<f32>()?.get(start..end).is_none() {
                    candle_core::bail!("a tensor reaches beyond its memory");
                }
            }
            _ => candle_core::bail!("a tensor is not in main memory"),
        }
        Ok(Self { storage, range: start..end })
    }
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // `of` checked type, device and range; the lock keeps them as they were.
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => values.get(self.range.clone()).unwrap_or(&[]),
            _ => &[],
        }
    }
}

/// A value where `x` is: copied there within the graph, so that a trained one gets its gradient back.
pub(crate) fn beside(x: &Tensor, value: &Tensor) -> Result<Tensor> {
    Ok(value.to_device(x.device())?)
}

/// Calls `f` with the values of an f32 tensor in row-major order, copied to main memory where they are elsewhere.
///
/// # Errors
/// Another type.
pub fn with_slice<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.to_device(&Device::Cpu)?.contiguous()?;
    let values = Values::of(&tensor)?;
    Ok(f(&values))
}

/// The values of an argument within a custom operation's forward pass.
pub(crate) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets().and_then(|(start, end)| values.get(start..end)) {
        Some(values) => Ok(values),
        None => candle_core::bail!("values of shape {:?} do not lie in order", layout.dims()),
    }
}

/// What a custom operation's forward pass returns.
pub(crate) fn output(values: Vec<f32>, shape: impl Into<Shape>) -> candle_core::Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(values), shape.into()))
}

/// A gradient: a plain tensor in main memory.
pub(crate) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> candle_core::Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}

/// The sum of two tensors of one shape, without a graph: candle's own waits for threads of its own.
pub(crate) fn sum(one: &Tensor, other: &Tensor) -> Result<Tensor> {
    if !has_kernel(&[one, other]) {
        return Ok(one.detach().add(&other.detach())?);
    }
    let (one, other) = (one.contiguous()?, other.contiguous()?);
    let values = map2(
        &Values::of(&one)?,
        &Values::of(&other)?,
        #[inline(always)]
        |one, other| one + other,
    );
    Ok(tensor(values, one.dims())?)
}

/// Last dimension and the product of the others.
pub(crate) fn rows_and_features(tensor: &Tensor) -> Result<(usize, usize)> {
    let Some((&features, rest)) = tensor.dims().split_last() else {
        return shape_error("a scalar has no features");
    };
    Ok((rest.iter().product(), features))
}

/// Requires a tensor of exactly this shape.
pub(crate) fn expect_shape(what: &str, tensor: &Tensor, dims: &[usize]) -> Result<()> {
    if tensor.dims() == dims {
        return Ok(());
    }
    shape_error(format!("{what} has shape {:?} instead of {dims:?}", tensor.dims()))
}

/// Conversion at the border of candle's traits.
pub(crate) trait IntoCandle<T> {
    /// Same result with candle's error.
    fn candle(self) -> candle_core::Result<T>;
}

impl<T> IntoCandle<T> for Result<T, NnError> {
    fn candle(self) -> candle_core::Result<T> {
        self.map_err(NnError::into_candle)
    }
}
