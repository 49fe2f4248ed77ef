//! The first half of a block: norm, queries, keys and values, rotation, attention, output projection, residual sum.
//! Some families also norm each head's queries and keys before they are rotated, and what the projection gives before it
//! is added.

use super::{FusedLinear, FusedNorm, add};
use crate::kernels::attention::{self as kernel, Saved, Sizes};
use crate::kernels::rotary::{Pairs, rotate_in_place};
use crate::ops::AttentionSpec;
use crate::{Grads, NnError, Result};
use std::sync::Arc;

/// `y = x + post(o(attention(rotate(nq(q(norm(x)))), rotate(nk(k(norm(x)))), v(norm(x)))))`, where `post`, `nq` and `nk`
/// are norms that may be absent.
pub struct AttentionHalf {
    /// At the entry.
    pub norm: FusedNorm,
    /// Queries.
    pub q: FusedLinear,
    /// Keys.
    pub k: FusedLinear,
    /// Values.
    pub v: FusedLinear,
    /// Over each query head's features.
    pub q_norm: Option<FusedNorm>,
    /// Over each key head's features.
    pub k_norm: Option<FusedNorm>,
    /// Output projection.
    pub o: FusedLinear,
    /// Over what the projection gives.
    pub post_norm: Option<FusedNorm>,
    /// Cosines and sines of every position that occurs, (positions, 2 · pairs).
    pub table: Arc<Vec<f32>>,
    /// Rotated pairs per head.
    pub pairs: usize,
    /// Who sees whom.
    pub spec: AttentionSpec,
    /// Rows of the batch.
    pub batch: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Features per head.
    pub features: usize,
}

/// What the backward pass needs beside the input.
pub struct AttentionKept {
    /// (positions, heads, features); rotated, or as projected when a norm stands before the rotation.
    q: Vec<f32>,
    /// (positions, kv heads, features), as `q`.
    k: Vec<f32>,
    v: Vec<f32>,
    out: Vec<f32>,
    log_sums: Vec<f32>,
    /// Of q, k, v, o.
    inner: [Vec<f32>; 4],
    /// What the output projection gave, when a norm stands behind it; else empty.
    projected: Vec<f32>,
}

impl AttentionHalf {
    fn sizes(&self, n: usize) -> Result<Sizes> {
        let width = n / self.batch.max(1);
        let outputs = [(&self.q, self.heads), (&self.k, self.kv_heads), (&self.v, self.kv_heads)];
        for (layer, heads) in outputs {
            let found = layer.out_features()?;
            if found != heads * self.features {
                let what = format!("{found} features do not fit {heads} heads of {}", self.features);
                return Err(NnError::Shape(what));
            }
        }
        let narrow = |norm: &Option<FusedNorm>| norm.as_ref().is_none_or(|norm| norm.features() == self.features);
        let fits = self.spec.borders.len() == self.batch
            && narrow(&self.q_norm)
            && narrow(&self.k_norm)
            && 2 * self.pairs <= self.features
            && width * self.batch == n
            && self.kv_heads > 0
            && self.heads.is_multiple_of(self.kv_heads)
            && self.spec.borders.iter().all(|borders| {
                borders.first() == Some(&0)
                    && borders.is_sorted()
                    && borders.last().is_some_and(|&end| end as usize <= width)
            });
        if !fits {
            return Err(NnError::Shape(format!("{n} positions do not fit {} rows and their borders", self.batch)));
        }
        let Self { heads, kv_heads, features, .. } = *self;
        Ok(Sizes { queries: width, keys: width, heads, kv_heads, features })
    }

    fn turn(&self, values: &mut [f32], positions: &[u32], heads: usize, turn: f32) {
        let pairs = Pairs { heads, features: self.features, half: self.pairs, turn };
        rotate_in_place(values, &self.table, positions, pairs);
    }

    /// Normed and rotated queries or keys of what was projected; none when there is no norm and `raw` is rotated already.
    fn prepared(
        &self,
        norm: Option<&FusedNorm>,
        raw: &[f32],
        positions: &[u32],
        heads: usize,
    ) -> Result<Option<Vec<f32>>> {
        let Some(norm) = norm else { return Ok(None) };
        let mut values = norm.forward(raw)?;
        self.turn(&mut values, positions, heads, 1.0);
        Ok(Some(values))
    }

    /// The gradient of rotated queries or keys becomes that of the projected ones.
    fn unprepare(
        &self,
        norm: Option<&FusedNorm>,
        raw: &[f32],
        (mut gradient, heads): (Vec<f32>, usize),
        positions: &[u32],
        grads: &mut Grads,
    ) -> Result<Vec<f32>> {
        self.turn(&mut gradient, positions, heads, -1.0);
        match norm {
            None => Ok(gradient),
            Some(norm) => norm.backward_new(raw, &gradient, grads),
        }
    }

    pub(crate) fn forward(&self, x: &[f32], positions: &[u32]) -> Result<(Vec<f32>, AttentionKept)> {
        let n = positions.len();
        let sizes = self.sizes(n)?;
        let normed = self.norm.forward(x)?;
        let (mut q, inner_q) = self.q.forward_new(&normed, n)?;
        let (mut k, inner_k) = self.k.forward_new(&normed, n)?;
        let (v, inner_v) = self.v.forward_new(&normed, n)?;
        drop(normed);
        if self.q_norm.is_none() {
            self.turn(&mut q, positions, self.heads, 1.0);
        }
        if self.k_norm.is_none() {
            self.turn(&mut k, positions, self.kv_heads, 1.0);
        }
        let normed_q = self.prepared(self.q_norm.as_ref(), &q, positions, self.heads)?;
        let normed_k = self.prepared(self.k_norm.as_ref(), &k, positions, self.kv_heads)?;
        let (turned_q, turned_k) = (normed_q.as_ref().unwrap_or(&q), normed_k.as_ref().unwrap_or(&k));
        let (out, log_sums) = kernel::forward(turned_q, turned_k, &v, &self.spec.borders, self.spec.sight(), sizes);
        drop((normed_q, normed_k));
        let mut y = x.to_vec();
        let mut projected = Vec::new();
        let inner_o = match &self.post_norm {
            None => self.o.forward(&out, n, &mut y, true)?,
            Some(norm) => {
                let inner;
                (projected, inner) = self.o.forward_new(&out, n)?;
                add(&mut y, &norm.forward(&projected)?);
                inner
            }
        };
        Ok((y, AttentionKept { q, k, v, out, log_sums, inner: [inner_q, inner_k, inner_v, inner_o], projected }))
    }

    /// `gradient` of the output becomes that of the input.
    pub(crate) fn backward(
        &self,
        x: &[f32],
        positions: &[u32],
        kept: AttentionKept,
        gradient: &mut [f32],
        input: bool,
        grads: &mut Grads,
    ) -> Result<()> {
        let n = positions.len();
        let sizes = self.sizes(n)?;
        let AttentionKept { q, k, v, out, log_sums, inner: [inner_q, inner_k, inner_v, inner_o], projected } = kept;
        let mut d_out = vec![0f32; out.len()];
        let d_projected = match &self.post_norm {
            None => None,
            Some(norm) => Some(norm.backward_new(&projected, gradient, grads)?),
        };
        drop(projected);
        let behind = d_projected.as_deref().unwrap_or(gradient);
        self.o.backward(&out, &inner_o, behind, n, Some(&mut d_out), false, grads)?;
        drop(d_projected);
        let normed_q = self.prepared(self.q_norm.as_ref(), &q, positions, self.heads)?;
        let normed_k = self.prepared(self.k_norm.as_ref(), &k, positions, self.kv_heads)?;
        let saved = Saved {
            q: normed_q.as_ref().unwrap_or(&q),
            k: normed_k.as_ref().unwrap_or(&k),
            v: &v,
            out: &out,
            log_sums: &log_sums,
            gradient: &d_out,
        };
        let (dq, dk, dv) = kernel::backward(&saved, &self.spec.borders, self.spec.sight(), sizes);
        drop((normed_q, normed_k, v, out, log_sums, d_out));
        let dq = self.unprepare(self.q_norm.as_ref(), &q, (dq, self.heads), positions, grads)?;
        let dk = self.unprepare(self.k_norm.as_ref(), &k, (dk, self.kv_heads), positions, grads)?;
        drop((q, k));
        let normed = self.norm.forward(x)?;
        // The norm's own gradient needs that of its output as well.
        let wanted = input || self.norm.name.is_some();
        let mut d_normed = if wanted { vec![0f32; x.len()] } else { Vec::new() };
        let layers = [(&self.q, &inner_q, &dq, false), (&self.k, &inner_k, &dk, true), (&self.v, &inner_v, &dv, true)];
        for (layer, inner, g, accumulate) in layers {
            let dx = wanted.then_some(d_normed.as_mut_slice());
            layer.backward(&normed, inner, g, n, dx, accumulate, grads)?;
        }
        if wanted {
            self.norm.backward(x, &d_normed, gradient, input, grads)?;
        }
        Ok(())
    }
}
