//! Trained keys and values before those of every segment, and attention over both.

use super::inserts::At;
use super::{Point, Prefix, Spread};
use crate::Result;
use crate::ops::{self, AttentionSpec, linear_trained};
use crate::param::{Param, Role};
use crate::slots::Init;
use candle_core::Tensor;
use std::sync::Arc;

/// A prefix with its values.
pub(super) struct HeldPrefix {
    pub(super) what: Prefix,
    source: Source,
    /// (length, kv heads, head width).
    shape: (usize, usize, usize),
}

enum Source {
    /// Keys and values themselves, (length, kv heads · head width) each.
    Own { keys: Param, values: Param },
    /// tanh(E W₁ᵀ + b₁) W₂ᵀ + b₂, keys first.
    Net { table: Param, inner: Param, inner_bias: Param, outer: Param, outer_bias: Param },
}

impl HeldPrefix {
    pub(super) fn build(what: &Prefix, at: &mut At<'_>) -> Result<Self> {
        let features = at.dims.kv_heads * at.dims.head_dim;
        let own = |at: &At<'_>, part: &str| at.place(Point::AttnKv, part, false);
        let source = match what.through {
            None => {
                let (keys, values) = (own(at, "keys"), own(at, "values"));
                let mut part =
                    |place| at.param(&place, &[what.length, features], Init::Gaussian { std: 0.02 }, Role::Weight);
                Source::Own { keys: part(keys)?, values: part(values)? }
            }
            Some(width) => {
                let shared = |at: &At<'_>, part: &str| at.place(Point::AttnKv, part, true);
                let places = (shared(at, "table"), shared(at, "inner"), own(at, "outer"));
                let layer = Init::KaimingUniform;
                Source::Net {
                    table: at.param(
                        &places.0,
                        &[what.length, features],
                        Init::Gaussian { std: 1.0 },
                        Role::Embedding,
                    )?,
                    inner: at.param(&places.1, &[width, features], layer, Role::Weight)?,
                    inner_bias: at.param(&places.1.with("_bias"), &[width], Init::Zeros, Role::Bias)?,
                    outer: at.param(&places.2, &[2 * features, width], layer, Role::Weight)?,
                    outer_bias: at.param(&places.2.with("_bias"), &[2 * features], Init::Zeros, Role::Bias)?,
                }
            }
        };
        Ok(Self { what: what.clone(), source, shape: (what.length, at.dims.kv_heads, at.dims.head_dim) })
    }

    /// Keys and values, (length, kv heads, head width) each; differentiable in what is trained.
    pub(super) fn values(&self) -> Result<(Tensor, Tensor)> {
        let (keys, values) = match &self.source {
            Source::Own { keys, values } => (keys.var.as_tensor().clone(), values.var.as_tensor().clone()),
            Source::Net { table, inner, inner_bias, outer, outer_bias } => {
                let bias = |param: &Param| param.var.as_tensor().clone();
                let hidden = linear_trained(&table.var, &inner.var, Some(&bias(inner_bias)))?.tanh()?;
                let both = linear_trained(&hidden, &outer.var, Some(&bias(outer_bias)))?;
                let features = both.dim(1)? / 2;
                (both.narrow(1, 0, features)?, both.narrow(1, features, features)?)
            }
        };
        Ok((keys.reshape(self.shape)?, values.reshape(self.shape)?))
    }

    pub(super) fn params(&self) -> Vec<&Param> {
        match &self.source {
            Source::Own { keys, values } => vec![keys, values],
            Source::Net { table, inner, inner_bias, outer, outer_bias } => {
                vec![table, inner, inner_bias, outer, outer_bias]
            }
        }
    }
}

/// Attention of `q` (B, T, H, Dh) over `k`, `v` (B, T, Hkv, Dh) with `prefix` before each segment: the kernel sees longer
/// segments, whose first queries are zero and dropped again.
pub(super) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    prefix: &(Tensor, Tensor),
    spec: &AttentionSpec,
) -> Result<Tensor> {
    let (count, heads, features) = prefix.0.dims3()?;
    let flat = |part: &Tensor| part.contiguous()?.reshape((count, heads * features));
    let spread = Spread::new(&spec.borders, q.dim(1)?, count);
    let longer = Arc::new(AttentionSpec { borders: Arc::clone(&spread.borders), ..spec.clone() });
    let k = spread.put(k, Some(&flat(&prefix.0)?))?;
    let v = spread.put(v, Some(&flat(&prefix.1)?))?;
    spread.take(&ops::attention(&spread.put(q, None)?, &k, &v, &longer)?)
}
