//! The first half of a block: norm, queries, keys and values, rotation, attention, output projection, residual sum.
//! Some families also norm each head's queries and keys before they are rotated, and what the projection gives before it
//! is added.

use super::insert::{FusedInsert, FusedPrefix};
use super::linear::{Inner, Need};
use super::{FusedLinear, FusedNorm, add};
use crate::kernels::attention::{self as kernel, Saved, Sizes};
use crate::kernels::rotary::{Pairs, rotate_in_place};
use crate::ops::AttentionSpec;
use crate::{Grads, NnError, Result};
use std::borrow::Cow;
use std::sync::Arc;

/// `y = x + post(o(attention(rotate(nq(q(norm(x)))), rotate(nk(k(norm(x)))), v(norm(x)))))`, where `post`, `nq` and `nk`
/// are norms that may be absent; with what methods insert.
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
    /// What a method adds to what the half adds.
    pub insert: Option<FusedInsert>,
    /// Keys and values that a method puts before those of every segment.
    pub prefix: Option<FusedPrefix>,
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
    inner: [Inner; 4],
    /// What the output projection gave, when a norm or an insertion stands behind it; else empty.
    projected: Vec<f32>,
    /// The inside of the insertion.
    inserted: Vec<f32>,
}

impl AttentionHalf {
    /// Whether anything of the half is trained.
    pub(super) fn is_trained(&self) -> bool {
        let behind = self.post_norm.as_ref().is_some_and(|norm| norm.name.is_some());
        self.insert.is_some() || behind || self.o.is_trained() || self.is_trained_inside()
    }

    /// Whether anything before the output projection is trained.
    fn is_trained_inside(&self) -> bool {
        let norms = [Some(&self.norm), self.q_norm.as_ref(), self.k_norm.as_ref()];
        self.prefix.is_some()
            || norms.into_iter().flatten().any(|norm| norm.name.is_some())
            || [&self.q, &self.k, &self.v].into_iter().any(FusedLinear::is_trained)
    }

    /// Where the tokens stand for the rotation.
    fn positions<'a>(&self, positions: &'a [u32]) -> Cow<'a, [u32]> {
        match &self.prefix {
            Some(prefix) => positions.iter().map(|position| position + prefix.shift()).collect(),
            None => Cow::Borrowed(positions),
        }
    }

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

    /// Gives a layer back what it left out, for its output `y`, which may have been rotated since.
    fn restore(
        &self,
        layer: &FusedLinear,
        (inner, y): (&mut Inner, &mut [f32]),
        (positions, heads, rotated): (&[u32], usize, bool),
    ) -> Result<()> {
        if rotated && layer.lacks_output(inner) {
            self.turn(y, positions, heads, -1.0);
        }
        layer.restore(inner, y, positions.len())
    }

    pub(crate) fn forward(&self, x: &[f32], positions: &[u32]) -> Result<(Vec<f32>, AttentionKept)> {
        let n = positions.len();
        let sizes = self.sizes(n)?;
        let places = self.positions(positions);
        let positions: &[u32] = &places;
        let normed = self.norm.forward(x)?;
        let (mut q, inner_q) = self.q.forward_lent(&normed, n)?;
        let (mut k, inner_k) = self.k.forward_lent(&normed, n)?;
        let (v, inner_v) = self.v.forward_lent(&normed, n)?;
        let parallel = FusedInsert::parallel(self.insert.as_ref());
        let normed = if parallel.is_some() { normed } else { Vec::new() };
        if self.q_norm.is_none() {
            self.turn(&mut q, positions, self.heads, 1.0);
        }
        if self.k_norm.is_none() {
            self.turn(&mut k, positions, self.kv_heads, 1.0);
        }
        let normed_q = self.prepared(self.q_norm.as_ref(), &q, positions, self.heads)?;
        let normed_k = self.prepared(self.k_norm.as_ref(), &k, positions, self.kv_heads)?;
        let (turned_q, turned_k) = (normed_q.as_ref().unwrap_or(&q), normed_k.as_ref().unwrap_or(&k));
        let (out, log_sums) = FusedPrefix::with_ahead(self.prefix.as_ref(), self.kv_heads * self.features, |ahead| {
            kernel::forward(turned_q, turned_k, &v, ahead, &self.spec.borders, self.spec.sight(), sizes)
        })?;
        drop((normed_q, normed_k));
        let mut y = x.to_vec();
        let (mut projected, mut inserted) = (Vec::new(), Vec::new());
        let sequential = FusedInsert::sequential(self.insert.as_ref());
        let inner_o = if self.post_norm.is_none() && sequential.is_none() {
            self.o.forward(&out, n, &mut y, true)?
        } else {
            let inner;
            (projected, inner) = self.o.forward_new(&out, n)?;
            let value = self.post_norm.as_ref().map(|norm| norm.forward(&projected)).transpose()?;
            let value = value.as_deref().unwrap_or(&projected);
            add(&mut y, value);
            if let Some(insert) = sequential {
                inserted = insert.add(value, &mut y)?;
            }
            inner
        };
        if let Some(insert) = parallel {
            inserted = insert.add(&normed, &mut y)?;
        }
        let inner = [inner_q, inner_k, inner_v, inner_o];
        Ok((y, AttentionKept { q, k, v, out, log_sums, inner, projected, inserted }))
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
        let places = self.positions(positions);
        let positions: &[u32] = &places;
        let AttentionKept { mut q, mut k, v, out, log_sums, inner, projected, inserted } = kept;
        let [mut inner_q, mut inner_k, mut inner_v, inner_o] = inner;
        let inside = input || self.is_trained_inside();
        let mut d_out = if inside { vec![0f32; out.len()] } else { Vec::new() };
        let sequential = FusedInsert::sequential(self.insert.as_ref());
        let behind = behind(self.post_norm.as_ref(), sequential, projected, &inserted, gradient, grads)?;
        let (g, dx) = (behind.as_deref().unwrap_or(gradient), inside.then_some(d_out.as_mut_slice()));
        self.o.backward(&out, &inner_o, g, n, dx, false, grads)?;
        drop(behind);
        let parallel = FusedInsert::parallel(self.insert.as_ref());
        if !inside {
            return match parallel {
                Some(insert) => insert.backward(&self.norm.forward(x)?, &inserted, gradient, None, grads),
                None => Ok(()),
            };
        }
        let normed_q = self.prepared(self.q_norm.as_ref(), &q, positions, self.heads)?;
        let normed_k = self.prepared(self.k_norm.as_ref(), &k, positions, self.kv_heads)?;
        let (turned_q, turned_k) = (normed_q.as_ref().unwrap_or(&q), normed_k.as_ref().unwrap_or(&k));
        let of = FusedPrefix::with_ahead(self.prefix.as_ref(), self.kv_heads * self.features, |ahead| {
            let (q, k, v, out) = (turned_q.as_slice(), turned_k.as_slice(), v.as_slice(), out.as_slice());
            let saved = Saved { q, k, v, ahead, out, log_sums: &log_sums, gradient: &d_out };
            kernel::backward(&saved, &self.spec.borders, self.spec.sight(), sizes)
        })?;
        let (dq, dk, dv) = (of.q, of.k, of.v);
        if let Some(prefix) = &self.prefix {
            prefix.key_values.add(grads, Some(of.ahead))?;
        }
        drop((normed_q, normed_k, out, log_sums, d_out));
        let dq = self.unprepare(self.q_norm.as_ref(), &q, (dq, self.heads), positions, grads)?;
        let dk = self.unprepare(self.k_norm.as_ref(), &k, (dk, self.kv_heads), positions, grads)?;
        self.restore(&self.q, (&mut inner_q, &mut q), (positions, self.heads, self.q_norm.is_none()))?;
        self.restore(&self.k, (&mut inner_k, &mut k), (positions, self.kv_heads, self.k_norm.is_none()))?;
        self.v.restore(&mut inner_v, &v, n)?;
        drop((q, k, v));
        let layers = [&self.q, &self.k, &self.v].into_iter();
        let read = parallel.is_some() || layers.clone().any(|layer| !matches!(layer.need(n), Need::Nothing));
        let normed = if read { self.norm.forward(x)? } else { Vec::new() };
        // The norm's own gradient needs that of its output as well.
        let wanted = input || self.norm.name.is_some();
        let mut d_normed = if wanted { vec![0f32; x.len()] } else { Vec::new() };
        let layers = layers.zip([&inner_q, &inner_k, &inner_v]).zip([&dq, &dk, &dv]);
        for (index, ((layer, inner), g)) in layers.enumerate() {
            let dx = wanted.then_some(d_normed.as_mut_slice());
            layer.backward(&normed, inner, g, n, dx, index > 0, grads)?;
        }
        if let Some(insert) = parallel {
            insert.backward(&normed, &inserted, gradient, wanted.then_some(d_normed.as_mut_slice()), grads)?;
        }
        if wanted {
            self.norm.backward(x, &d_normed, gradient, input, grads)?;
        }
        Ok(())
    }
}

/// The gradient of what a projection gave, (n, hidden), for that of what its half adds: through a sequential insertion,
/// whose inside is `inserted`, and a norm, where they stand between. None where they do not: then it is the same.
pub(super) fn behind(
    post_norm: Option<&FusedNorm>,
    sequential: Option<&FusedInsert>,
    projected: Vec<f32>,
    inserted: &[f32],
    gradient: &[f32],
    grads: &mut Grads,
) -> Result<Option<Vec<f32>>> {
    let through = match sequential {
        None => None,
        Some(insert) => {
            let value = post_norm.map(|norm| norm.forward(&projected)).transpose()?;
            let mut own = gradient.to_vec();
            insert.backward(value.as_deref().unwrap_or(&projected), inserted, gradient, Some(&mut own), grads)?;
            Some(own)
        }
    };
    match post_norm {
        None => Ok(through),
        Some(norm) => Ok(Some(norm.backward_new(&projected, through.as_deref().unwrap_or(gradient), grads)?)),
    }
}
