//! Grouped-query attention within segments.
//!
//! Place in the data flow: after rotary embedding, before the output projection of a block.

use super::{Values, has_kernel, output, reference, slice, tensor};
use crate::Result;
use crate::error::shape_error;
use crate::kernels::attention::{self as kernel, Ahead, Saved, Sight, Sizes};
use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor};
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;

/// Who sees whom.
#[derive(Clone, Debug)]
pub struct AttentionSpec {
    /// Whether a position sees only itself and what comes before it.
    pub causal: bool,
    /// Factor on the scores, usually 1/√Dh.
    pub scale: f32,
    /// Per row, where its segments begin, from 0 to the end of the last one. Positions see only their own
    /// segment; what follows the last segment sees nothing and gives zeros.
    pub borders: Arc<Vec<Vec<u32>>>,
    /// Distance from which on positions do not see each other: position i sees j only if |i - j| < window.
    pub window: Option<usize>,
}

impl AttentionSpec {
    /// The keys that the query at key position `at` of `row` sees; `None` for padding.
    #[must_use]
    pub fn visible(&self, row: usize, at: usize) -> Option<Range<usize>> {
        let borders = self.borders.get(row)?;
        let after = borders.partition_point(|&border| border as usize <= at);
        let (start, end) = (*borders.get(after.checked_sub(1)?)? as usize, *borders.get(after)? as usize);
        let reach = self.window.unwrap_or(usize::MAX);
        let start = start.max((at + 1).saturating_sub(reach));
        let end = if self.causal { at + 1 } else { end.min(at.saturating_add(reach)) };
        Some(start..end)
    }

    pub(crate) fn sight(&self) -> Sight {
        Sight { causal: self.causal, window: self.window.unwrap_or(usize::MAX), scale: self.scale }
    }

    fn check(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Sizes> {
        let ((batch, queries, heads, features), (kv_batch, keys, kv_heads, kv_features)) = (q.dims4()?, k.dims4()?);
        let fits = k.dims() == v.dims()
            && batch == kv_batch
            && features == kv_features
            && kv_heads > 0
            && heads.is_multiple_of(kv_heads)
            && queries <= keys;
        if !fits {
            let (q, k, v) = (q.dims(), k.dims(), v.dims());
            return shape_error(format!("queries {q:?}, keys {k:?} and values {v:?} do not fit"));
        }
        let rising = |borders: &Vec<u32>| {
            borders.first() == Some(&0)
                && borders.is_sorted()
                && borders.last().is_some_and(|&end| end as usize <= keys)
        };
        if self.borders.len() != batch || !self.borders.iter().all(rising) {
            return shape_error(format!("segments {:?} do not fit {batch} rows of {keys}", self.borders));
        }
        if self.window == Some(0) {
            return Err(crate::NnError::Value("an attention window of 0 sees nothing".to_owned()));
        }
        Ok(Sizes { queries, keys, heads, kv_heads, features })
    }
}

/// `q` (B, T, H, Dh), `k` and `v` (B, T, Hkv, Dh) → (B, T, H, Dh); query head h reads key head h / (H / Hkv).
///
/// # Errors
/// Shapes or segments that do not fit.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, spec: &Arc<AttentionSpec>) -> Result<Tensor> {
    let sizes = spec.check(q, k, v)?;
    if sizes.queries != sizes.keys {
        return shape_error(format!("{} queries for {} keys", sizes.queries, sizes.keys));
    }
    if !has_kernel(&[q, k, v]) {
        return reference::attention(q, k, v, spec);
    }
    let op = Attention { spec: Arc::clone(spec), sizes, log_sums: Mutex::default() };
    Ok(q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op)?)
}

/// As [`attention`], without gradient, for fewer queries than keys: the queries are the last positions of the
/// keys. This is what generation with a cache needs: `q` (B, Tq, H, Dh), `k` and `v` (B, Tk, Hkv, Dh).
///
/// # Errors
/// Shapes or segments that do not fit.
pub fn attention_cached(q: &Tensor, k: &Tensor, v: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
    let sizes = spec.check(q, k, v)?;
    if !has_kernel(&[q, k, v]) {
        return Ok(reference::attention(q, k, v, spec)?.detach());
    }
    let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
    let (q_values, k_values, v_values) = (Values::of(&q)?, Values::of(&k)?, Values::of(&v)?);
    let (out, _) =
        kernel::forward(&q_values, &k_values, &v_values, Ahead::default(), &spec.borders, spec.sight(), sizes);
    Ok(tensor(out, q.dims())?)
}

struct Attention {
    spec: Arc<AttentionSpec>,
    sizes: Sizes,
    /// Logarithms of the sums of exponentials (B, T, H), from the forward pass.
    log_sums: Mutex<Vec<f32>>,
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (q, k, v) = (slice(q, q_layout)?, slice(k, k_layout)?, slice(v, v_layout)?);
        let (out, log_sums) =
            kernel::forward(q, k, v, Ahead::default(), &self.spec.borders, self.spec.sight(), self.sizes);
        *self.log_sums.lock() = log_sums;
        output(out, q_layout.shape().clone())
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let log_sums = self.log_sums.lock();
        let saved = Saved {
            q: &Values::of(q)?,
            k: &Values::of(k)?,
            v: &Values::of(v)?,
            ahead: Ahead::default(),
            out: &Values::of(out)?,
            log_sums: &log_sums,
            gradient: &Values::of(&gradient)?,
        };
        let of = kernel::backward(&saved, &self.spec.borders, self.spec.sight(), self.sizes);
        let like = |values: Vec<f32>, of: &Tensor| of.track_op().then(|| tensor(values, of.dims())).transpose();
        Ok((like(of.q, q)?, like(of.k, k)?, like(of.v, v)?))
    }
}
