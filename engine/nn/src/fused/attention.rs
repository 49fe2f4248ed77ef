//! The first half of a block: norm, queries, keys and values, rotation, attention, output projection, residual sum.

use super::{FusedLinear, FusedNorm};
use crate::kernels::attention::{self as kernel, Saved, Sizes};
use crate::kernels::rotary::{Pairs, rotate_in_place};
use crate::ops::AttentionSpec;
use crate::{Grads, NnError, Result};
use std::sync::Arc;

/// `y = x + o(attention(rotate(q(norm(x))), rotate(k(norm(x))), v(norm(x))))`.
pub struct AttentionHalf {
    /// At the entry.
    pub norm: FusedNorm,
    /// Queries.
    pub q: FusedLinear,
    /// Keys.
    pub k: FusedLinear,
    /// Values.
    pub v: FusedLinear,
    /// Output projection.
    pub o: FusedLinear,
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
    /// Rotated, (positions, heads, features).
    q: Vec<f32>,
    /// Rotated, (positions, kv heads, features).
    k: Vec<f32>,
    v: Vec<f32>,
    out: Vec<f32>,
    log_sums: Vec<f32>,
    /// Of q, k, v, o.
    inner: [Vec<f32>; 4],
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
        let fits = self.spec.borders.len() == self.batch
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

    pub(crate) fn forward(&self, x: &[f32], positions: &[u32]) -> Result<(Vec<f32>, AttentionKept)> {
        let n = positions.len();
        let sizes = self.sizes(n)?;
        let normed = self.norm.forward(x)?;
        let (mut q, inner_q) = self.q.forward_new(&normed, n)?;
        let (mut k, inner_k) = self.k.forward_new(&normed, n)?;
        let (v, inner_v) = self.v.forward_new(&normed, n)?;
        drop(normed);
        self.turn(&mut q, positions, self.heads, 1.0);
        self.turn(&mut k, positions, self.kv_heads, 1.0);
        let (out, log_sums) = kernel::forward(&q, &k, &v, &self.spec.borders, self.spec.sight(), sizes);
        let mut y = x.to_vec();
        let inner_o = self.o.forward(&out, n, &mut y, true)?;
        Ok((y, AttentionKept { q, k, v, out, log_sums, inner: [inner_q, inner_k, inner_v, inner_o] }))
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
        let AttentionKept { q, k, v, out, log_sums, inner: [inner_q, inner_k, inner_v, inner_o] } = kept;
        let mut d_out = vec![0f32; out.len()];
        self.o.backward(&out, &inner_o, gradient, n, Some(&mut d_out), false, grads)?;
        let saved = Saved { q: &q, k: &k, v: &v, out: &out, log_sums: &log_sums, gradient: &d_out };
        let (mut dq, mut dk, dv) = kernel::backward(&saved, &self.spec.borders, self.spec.sight(), sizes);
        drop((q, k, v, out, log_sums, d_out));
        self.turn(&mut dq, positions, self.heads, -1.0);
        self.turn(&mut dk, positions, self.kv_heads, -1.0);
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
