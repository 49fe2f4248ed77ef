//! Grouped-query attention within segments.
//!
//! Place in the data flow: after rotary embedding, before the output projection of a block.

use super::reference;
use crate::Result;
use crate::error::shape_error;
use candle_core::Tensor;
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

    fn check(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<()> {
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
        Ok(())
    }
}

/// `q` (B, T, H, Dh), `k` and `v` (B, T, Hkv, Dh) → (B, T, H, Dh); query head h reads key head h / (H / Hkv).
///
/// # Errors
/// Shapes or segments that do not fit.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, spec: &Arc<AttentionSpec>) -> Result<Tensor> {
    spec.check(q, k, v)?;
    if q.dim(1)? != k.dim(1)? {
        return shape_error("attention needs as many queries as keys");
    }
    reference::attention(q, k, v, spec)
}

/// As [`attention`], without gradient, for fewer queries than keys: the queries are the last positions of the
/// keys. This is what generation with a cache needs: `q` (B, Tq, H, Dh), `k` and `v` (B, Tk, Hkv, Dh).
///
/// # Errors
/// Shapes or segments that do not fit.
pub fn attention_cached(q: &Tensor, k: &Tensor, v: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
    spec.check(q, k, v)?;
    Ok(reference::attention(q, k, v, spec)?.detach())
}
