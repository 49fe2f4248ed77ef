//! What methods insert into a fused half: a change of what the half adds, and an attention of their own.
//!
//! Place in the data flow: [`crate::Inserts::fused`] hands them out. Both are small graphs beside the half's own
//! arithmetic; what they read is what the half has at hand anyway.

use super::FusedGraph;
use crate::ops::{seed_gradient, with_slice};
use crate::param::Param;
use crate::{Grads, Result};
use candle_core::{Device, Tensor, Var};

/// `value + Δ(read)` for what a half adds to the stream.
pub struct FusedInsert {
    /// Δ, (n, hidden) for (n, hidden).
    pub graph: FusedGraph,
    /// Whether it reads the value that it is added to; else the normed input of the half.
    pub sequential: bool,
}

impl FusedInsert {
    /// What a sequential one among them may be.
    pub(super) fn sequential(insert: Option<&Self>) -> Option<&FusedGraph> {
        insert.filter(|insert| insert.sequential).map(|insert| &insert.graph)
    }

    /// What a parallel one among them may be.
    pub(super) fn parallel(insert: Option<&Self>) -> Option<&FusedGraph> {
        insert.filter(|insert| !insert.sequential).map(|insert| &insert.graph)
    }
}

type Run = dyn Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor> + Send + Sync;

/// An attention that is more than that of the rotated queries and keys.
pub struct FusedAttend {
    run: Box<Run>,
    params: Vec<Param>,
    /// What the positions of the tokens are raised by.
    pub shift: u32,
}

/// Rows, heads, key heads and features per head of an attention.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub(super) batch: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) features: usize,
}

impl Heads {
    fn tensor(self, values: &[f32], heads: usize) -> Result<Tensor> {
        let width = values.len() / (self.batch * heads * self.features).max(1);
        Ok(Tensor::from_slice(values, (self.batch, width, heads, self.features), &Device::Cpu)?)
    }
}

impl FusedAttend {
    /// `run` records a graph over queries (B, T, H, Dh), keys and values (B, T, Hkv, Dh), and `params`; it gives (B, T, H,
    /// Dh).
    pub fn new(
        run: impl Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
        params: Vec<Param>,
        shift: u32,
    ) -> Self {
        Self { run: Box::new(run), params, shift }
    }

    /// The output (B, T, H, Dh) row by row.
    pub(super) fn forward(&self, (q, k, v): (&[f32], &[f32], &[f32]), heads: Heads) -> Result<Vec<f32>> {
        let (q, k, v) = (heads.tensor(q, heads.queries)?, heads.tensor(k, heads.keys)?, heads.tensor(v, heads.keys)?);
        Ok((self.run)(&q, &k, &v)?.flatten_all()?.to_vec1()?)
    }

    /// The gradients of queries, keys and values for that of the output; those of the parameters go to `grads`.
    pub(super) fn backward(
        &self,
        (q, k, v): (&[f32], &[f32], &[f32]),
        gradient: &[f32],
        heads: Heads,
        grads: &mut Grads,
    ) -> Result<(Vec<f32>, Vec<f32>, Vec<f32>)> {
        let var =
            |values: &[f32], count: usize| Ok::<_, crate::NnError>(Var::from_tensor(&heads.tensor(values, count)?)?);
        let (q, k, v) = (var(q, heads.queries)?, var(k, heads.keys)?, var(v, heads.keys)?);
        let out = (self.run)(q.as_tensor(), k.as_tensor(), v.as_tensor())?;
        let mut store = seed_gradient(&out, &heads.tensor(gradient, heads.queries)?)?.backward()?;
        let mut take = |var: &Var| match store.remove(var.as_tensor()) {
            Some(gradient) => with_slice(&gradient, <[f32]>::to_vec),
            None => Ok(vec![0f32; var.elem_count()]),
        };
        let gradients = (take(&q)?, take(&k)?, take(&v)?);
        grads.collect(&self.params, &mut store)?;
        Ok(gradients)
    }
}
