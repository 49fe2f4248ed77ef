//! A linear layer of a fused half: a frozen or trained weight with everything that an adapter does to it. The factors of a
//! change may be parameters themselves or made of parameters by a small graph; then only that graph is walked backward.

use super::entries::FusedEntries;
use super::factor::FusedFactor;
use super::graph::FusedGraph;
use super::inputs::{FusedInputs, WOVEN_FROM, Woven};
use super::kron::FusedKron;
use super::{add, scale};
use crate::frozen::{FrozenWeight, backend};
use crate::kernels::low_rank::{self, Gradients, Sizes};
use crate::kernels::reduce;
use crate::ops::{Codes, Dropout, RowGroups, Seen, Values};
use crate::{Grads, Result, gemm};
use std::sync::Arc;

/// With `x' = columns ∘ x` and `h = x' Wᵀ + bias`:
/// `y = rows ∘ (h + left(h) + scale · (drop(x') Aᵀ) Bᵀ + graph(x')) + shift`, less a residual of the same form as the
/// change. What is absent leaves its place empty; `rows` and `left` are never there both.
pub struct FusedLinear {
    /// (out, in).
    pub weight: FusedWeight,
    /// (out).
    pub bias: Option<FusedFactor>,
    /// The change.
    pub low_rank: Option<FusedLowRank>,
    /// A second change of which nothing is trained: what a residual base takes off the weight.
    pub residual: Option<FusedLowRank>,
    /// What is added of the layer's own output: `scale · (h Aᵀ) Bᵀ`.
    pub left: Option<FusedLowRank>,
    /// A change that needs a graph.
    pub graph: Option<FusedGraph>,
    /// Factors of the input's features, (in).
    pub columns: Option<FusedFactor>,
    /// Factors of the output's features, (out).
    pub rows: Option<FusedFactor>,
    /// Added behind everything, (out).
    pub shift: Option<FusedFactor>,
    /// Who wants to see the gradient of the whole weight.
    pub seen: Option<Arc<Seen>>,
}

/// The weight of a layer.
pub enum FusedWeight {
    /// As the file has it.
    Frozen(Arc<FrozenWeight>),
    /// In f32, trained.
    Trained(FusedFactor),
    /// Frozen, each group of rows through a trained block, (groups, size, size).
    RowGroups(Box<RowGroups>, FusedFactor),
    /// Looked up in trained tables, (out, entries).
    LookUp(Arc<Codes>, FusedFactor),
    /// Frozen, with a sum of Kronecker products in its rows.
    Kron(Box<FusedKron>),
    /// Frozen, with single entries added.
    Entries(Box<FusedEntries>),
    /// None, (out, in): the change stands in its place.
    Absent(usize, usize),
}

/// A plain chain of two factors.
pub struct FusedLowRank {
    /// (rank, in).
    pub a: FusedFactor,
    /// (out, rank).
    pub b: FusedFactor,
    /// Factor in front.
    pub scale: f32,
    /// On the input of the change.
    pub dropout: Option<Dropout>,
    /// What `a` gives, where it is no product.
    pub inputs: Option<FusedInputs>,
}

/// What the backward pass of a layer needs beside its input.
#[derive(Default)]
pub(crate) struct Inner {
    /// `drop(x') Aᵀ` (n, rank) of the change; empty without one, or where it is found in the input again.
    u: Vec<f32>,
    /// `h Aᵀ` of the left change.
    left: Vec<f32>,
    /// The output (n, out) before its features are scaled, or before the left change; else empty.
    output: Vec<f32>,
}

/// What of its input the backward pass of a layer reads.
pub(crate) enum Need {
    /// Nothing: no gradient but that of the input is asked for.
    Nothing,
    /// These features.
    Columns(Arc<[u32]>),
    /// All of it.
    Whole,
}

/// Where the gradient of an input goes: nowhere, or into a buffer, which it may be added to.
type Sink<'a> = (Option<&'a mut [f32]>, bool);

impl FusedWeight {
    fn dims(&self) -> Result<(usize, usize)> {
        Ok(match self {
            Self::Frozen(weight) => (weight.rows, weight.cols),
            Self::Trained(factor) => factor.value.dims2()?,
            Self::RowGroups(groups, _) => groups.dims(),
            Self::LookUp(codes, _) => codes.dims(),
            Self::Kron(kron) => (kron.weight.rows, kron.weight.cols),
            Self::Entries(entries) => (entries.weight.rows, entries.weight.cols),
            Self::Absent(rows, cols) => (*rows, *cols),
        })
    }

    fn is_trained(&self) -> bool {
        match self {
            Self::Trained(factor) | Self::RowGroups(_, factor) | Self::LookUp(_, factor) => factor.is_trained(),
            Self::Entries(entries) => entries.values.is_trained(),
            Self::Kron(_) => true,
            Self::Frozen(_) | Self::Absent(..) => false,
        }
    }
}

impl FusedLowRank {
    fn is_trained(&self) -> bool {
        self.a.is_trained() || self.b.is_trained()
    }

    fn sizes(&self, n: usize) -> Result<Sizes> {
        let ((rank, cols), (rows, _)) = (self.a.value.dims2()?, self.b.value.dims2()?);
        Ok(Sizes { n, cols, rows, rank })
    }

    /// `out += scale · (drop(x) Aᵀ) Bᵀ`; returns `drop(x) Aᵀ`, which is all that is done without `out`.
    fn forward(&self, x: &[f32], n: usize, out: Option<&mut [f32]>) -> Result<Vec<f32>> {
        let sizes = self.sizes(n)?;
        if let Some(dropout) = &self.dropout {
            dropout.check(n)?;
        }
        let (a, b) = (Values::of(&self.a.value)?, Values::of(&self.b.value)?);
        Ok(Dropout::with_mask(self.dropout.as_ref(), |mask| match out {
            Some(out) => low_rank::forward(x, &a, &b, self.scale, mask, out, sizes, true),
            None => low_rank::inner(x, &a, mask, sizes),
        }))
    }

    /// Adds the gradient of the input to `dx`, those of the factors to `grads`.
    fn backward(
        &self,
        x: &[f32],
        u: &[f32],
        g: &[f32],
        n: usize,
        dx: Option<&mut [f32]>,
        grads: &mut Grads,
    ) -> Result<()> {
        let (sizes, wants) = (self.sizes(n)?, (self.a.is_trained(), self.b.is_trained()));
        let (a, b) = (Values::of(&self.a.value)?, Values::of(&self.b.value)?);
        let gradients = Dropout::with_mask(self.dropout.as_ref(), |mask| {
            low_rank::backward(x, &a, &b, u, g, self.scale, mask, dx, wants, sizes)
        });
        drop((a, b));
        let Gradients { a, b } = gradients;
        self.a.add(grads, a)?;
        self.b.add(grads, b)
    }
}

impl FusedLinear {
    /// Output features.
    ///
    /// # Errors
    /// A trained weight that is no matrix.
    pub fn out_features(&self) -> Result<usize> {
        Ok(self.weight.dims()?.0)
    }

    /// Whether anything of it is trained, or seen by someone.
    pub(super) fn is_trained(&self) -> bool {
        let factors = [&self.bias, &self.columns, &self.rows, &self.shift];
        let chains = [&self.low_rank, &self.left];
        self.seen.is_some()
            || self.graph.is_some()
            || self.weight.is_trained()
            || factors.into_iter().flatten().any(FusedFactor::is_trained)
            || chains.into_iter().flatten().any(FusedLowRank::is_trained)
    }

    /// Whether features are dropped: a mask is laid out over all positions of a batch.
    pub(crate) fn drops(&self) -> bool {
        self.graph.is_some() || self.low_rank.as_ref().is_some_and(|change| change.dropout.is_some())
    }

    /// Whether the backward pass needs the layer's output, so that a pass that computes things again cannot leave it out.
    pub(crate) fn keeps_output(&self) -> bool {
        self.rows.as_ref().is_some_and(FusedFactor::is_trained) || self.left.is_some()
    }

    /// What of its input the backward pass over `n` positions reads.
    #[must_use]
    pub(crate) fn need(&self, n: usize) -> Need {
        let whole = self.seen.is_some()
            || self.graph.is_some()
            || self.columns.as_ref().is_some_and(FusedFactor::is_trained)
            || self.weight.is_trained();
        match (whole, self.woven(n), &self.low_rank) {
            (true, ..) => Need::Whole,
            (false, Some((_, FusedInputs::Picked(columns))), _) if self.columns.is_none() => {
                Need::Columns(Arc::clone(columns))
            }
            // In the rows of the weight a change has no inside: what its outer factor gets is found in the input.
            (false, Some((change, _)), _) if change.is_trained() => Need::Whole,
            // Elsewhere the outer factor asks for the inside alone.
            (false, None, Some(change)) if change.a.is_trained() => Need::Whole,
            (false, ..) => Need::Nothing,
        }
    }

    /// The same for a pass that has to compute the inside of the change again.
    #[must_use]
    pub(crate) fn need_again(&self, n: usize) -> Need {
        match &self.low_rank {
            Some(change) if change.is_trained() && self.woven(n).is_none() => Need::Whole,
            Some(_) | None => self.need(n),
        }
    }

    /// Bytes of f32 values that the backward pass over `n` positions reads of what went through the layer: as much of its
    /// input as it needs, the insides of its changes, and its output where that is scaled or recombined.
    pub(crate) fn kept_bytes(&self, n: usize) -> Result<usize> {
        let (rows, cols) = self.weight.dims()?;
        let input = match self.need(n) {
            Need::Nothing => 0,
            Need::Columns(columns) => columns.len(),
            Need::Whole => cols,
        };
        let inside = match &self.low_rank {
            Some(change) if change.is_trained() && self.woven(n).is_none() => change.sizes(n)?.rank,
            Some(_) | None => 0,
        };
        let left = self.left.as_ref().map(|left| left.sizes(n)).transpose()?.map_or(0, |sizes| sizes.rank);
        let output = if self.keeps_output() { rows } else { 0 };
        Ok(n * (input + inside + left + output) * size_of::<f32>())
    }

    /// The change that goes into the rows of the weight.
    fn woven(&self, n: usize) -> Option<(&FusedLowRank, &FusedInputs)> {
        let change = self.low_rank.as_ref().filter(|change| change.dropout.is_none() && n >= WOVEN_FROM)?;
        let inputs = change.inputs.as_ref()?;
        matches!(self.weight, FusedWeight::Frozen(_)).then_some((change, inputs))
    }

    /// The output (n, out) for `x` (n, in) in a buffer of its own, and what the backward pass needs.
    pub(crate) fn forward_new(&self, x: &[f32], n: usize) -> Result<(Vec<f32>, Inner)> {
        let mut out = vec![0f32; n * self.out_features()?];
        let inner = self.forward(x, n, &mut out, false)?;
        Ok((out, inner))
    }

    /// As [`Self::forward_new`], for a caller that still has the output in the backward pass and gives it to
    /// [`Self::restore`] first: what can be found in it again is not kept a second time.
    pub(crate) fn forward_lent(&self, x: &[f32], n: usize) -> Result<(Vec<f32>, Inner)> {
        let (out, mut inner) = self.forward_new(x, n)?;
        if self.lies_in_output()? {
            inner.output = Vec::new();
        }
        Ok((out, inner))
    }

    /// Whether what the backward pass needs of the output before its scale, or before the left change, can be found in
    /// the output itself: not where digits would be lost.
    fn lies_in_output(&self) -> Result<bool> {
        /// Factors below it may have taken digits off.
        const LEAST_FACTOR: f32 = 1.0 / 64.0;
        Ok(match (&self.rows, &self.left) {
            _ if self.shift.is_some() => false,
            (Some(rows), None) if rows.is_trained() => {
                Values::of(&rows.value)?.iter().all(|factor| factor.abs() >= LEAST_FACTOR)
            }
            // A change in the rows of the weight leaves no inside to take it off again by.
            (None, Some(_)) => {
                self.graph.is_none()
                    && self.residual.is_none()
                    && self.low_rank.as_ref().is_none_or(|change| change.inputs.is_none())
            }
            _ => false,
        })
    }

    /// Whether [`Self::restore`] would put anything into `inner`.
    pub(crate) fn lacks_output(&self, inner: &Inner) -> bool {
        self.keeps_output() && inner.output.is_empty()
    }

    /// Puts back what [`Self::forward_lent`] left out, for the output `y` (n, out) that it gave.
    pub(crate) fn restore(&self, inner: &mut Inner, y: &[f32], n: usize) -> Result<()> {
        if !self.lacks_output(inner) {
            return Ok(());
        }
        if let Some(rows) = &self.rows {
            let inverse: Vec<f32> = Values::of(&rows.value)?.iter().map(|factor| 1.0 / factor).collect();
            inner.output = scale::scaled(y, &inverse);
            return Ok(());
        }
        let mut h = y.to_vec();
        let changes = [(&self.left, &inner.left), (&self.low_rank, &inner.u)];
        for (change, u) in changes.into_iter().filter_map(|(change, u)| Some((change.as_ref()?, u))) {
            let Sizes { rows, rank, .. } = change.sizes(n)?;
            gemm::gemm_nt(u, &Values::of(&change.b.value)?, &mut h, n, rows, rank, -change.scale, true);
        }
        inner.output = h;
        Ok(())
    }

    /// Writes the output to `out` (n, out), or adds it with `accumulate`.
    pub(crate) fn forward(&self, x: &[f32], n: usize, out: &mut [f32], accumulate: bool) -> Result<Inner> {
        let scaled = self.scaled_input(x)?;
        let x = scaled.as_deref().unwrap_or(x);
        let mut inner = Inner::default();
        if self.rows.is_none() && self.left.is_none() {
            self.weighted(x, n, out, accumulate)?;
            inner.u = self.changes(x, n, out)?;
        } else {
            let mut h = vec![0f32; n * self.out_features()?];
            self.weighted(x, n, &mut h, false)?;
            if let Some(left) = &self.left {
                let mut y = h.clone();
                inner.left = left.forward(&h, n, Some(&mut y))?;
                inner.output = std::mem::replace(&mut h, y);
            }
            inner.u = self.changes(x, n, &mut h)?;
            match &self.rows {
                Some(rows) => {
                    scale::write_scaled(&h, &Values::of(&rows.value)?, out, accumulate);
                    if rows.is_trained() {
                        inner.output = h;
                    }
                }
                None if accumulate => add(out, &h),
                None => out.copy_from_slice(&h),
            }
        }
        if let Some(shift) = &self.shift {
            scale::add_to_rows(out, &Values::of(&shift.value)?);
        }
        Ok(inner)
    }

    fn scaled_input(&self, x: &[f32]) -> Result<Option<Vec<f32>>> {
        let Some(columns) = &self.columns else { return Ok(None) };
        Ok(Some(scale::scaled(x, &Values::of(&columns.value)?)))
    }

    /// Weight and bias.
    fn weighted(&self, x: &[f32], n: usize, out: &mut [f32], accumulate: bool) -> Result<()> {
        let (rows, cols) = self.weight.dims()?;
        if let Some(bias) = &self.bias {
            let bias = Values::of(&bias.value)?;
            for row in out.chunks_exact_mut(rows.max(1)) {
                for (out, bias) in row.iter_mut().zip(bias.iter()) {
                    *out = if accumulate { *out + bias } else { *bias };
                }
            }
        }
        let started = accumulate || self.bias.is_some();
        match (&self.weight, self.woven(n)) {
            (FusedWeight::Frozen(weight), Some((change, inputs))) => {
                let b = Values::of(&change.b.value)?;
                let woven = Woven { inputs, b: &b, scale: change.scale, cols };
                backend().matmul_nt_changed(weight, &woven, x, n, out, started)?;
            }
            (FusedWeight::Frozen(weight), None) => backend().matmul_nt(weight, x, n, out, started)?,
            (FusedWeight::Trained(factor), _) => {
                gemm::gemm_nt(x, &Values::of(&factor.value)?, out, n, rows, cols, 1.0, started);
            }
            (FusedWeight::RowGroups(groups, blocks), _) => {
                groups.forward(x, &Values::of(&blocks.value)?, out, started)?;
            }
            (FusedWeight::LookUp(codes, table), _) => codes.forward(x, &Values::of(&table.value)?, out, started),
            (FusedWeight::Kron(kron), _) => kron.forward(x, n, out, started)?,
            (FusedWeight::Entries(entries), _) => entries.forward(x, n, out, started)?,
            (FusedWeight::Absent(..), _) if started => {}
            (FusedWeight::Absent(..), _) => out.fill(0.0),
        }
        Ok(())
    }

    /// Adds what stands beside the weight.
    fn changes(&self, x: &[f32], n: usize, out: &mut [f32]) -> Result<Vec<f32>> {
        if let Some(taken) = &self.residual {
            taken.forward(x, n, Some(out))?;
        }
        if let Some(graph) = &self.graph {
            graph.add(x, n, out)?;
        }
        match &self.low_rank {
            Some(change) if self.woven(n).is_none() => change.forward(x, n, Some(out)),
            Some(_) | None => Ok(Vec::new()),
        }
    }

    /// What the backward pass needs of the insides alone, for a layer whose output is not needed again: not where
    /// [`Self::keeps_output`].
    pub(crate) fn inner_only(&self, x: &[f32], n: usize) -> Result<Inner> {
        let u = match &self.low_rank {
            Some(change) if change.is_trained() && self.woven(n).is_none() => {
                let scaled = self.scaled_input(x)?;
                change.forward(scaled.as_deref().unwrap_or(x), n, None)?
            }
            Some(_) | None => Vec::new(),
        };
        Ok(Inner { u, ..Inner::default() })
    }

    /// For the output gradient `g` (n, out): the gradient of the input into `dx` (n, in), added with `accumulate`, none
    /// without `dx`; those of everything trained into `grads`. `x` is the input, or as much of it as [`Self::need`] asks
    /// for; `inner` is what forward returned.
    #[expect(clippy::too_many_arguments, reason = "operands of one product")]
    pub(crate) fn backward(
        &self,
        x: &[f32],
        inner: &Inner,
        g: &[f32],
        n: usize,
        dx: Option<&mut [f32]>,
        accumulate: bool,
        grads: &mut Grads,
    ) -> Result<()> {
        let (rows, cols) = self.weight.dims()?;
        if let Some(seen) = &self.seen {
            seen.add(x, g, n, rows, cols);
        }
        if let Some(shift) = self.shift.as_ref().filter(|shift| shift.is_trained()) {
            shift.add(grads, Some(reduce::sum_of_rows(g, rows)))?;
        }
        let behind = match &self.rows {
            None => None,
            Some(factors) => {
                if factors.is_trained() {
                    factors.add(grads, Some(scale::sum_of_products(&inner.output, g, rows)))?;
                }
                Some(scale::scaled(g, &Values::of(&factors.value)?))
            }
        };
        let g = behind.as_deref().unwrap_or(g);
        let Some(columns) = &self.columns else {
            return self.backward_inside(x, inner, g, n, (dx, accumulate), grads);
        };
        let values = Values::of(&columns.value)?;
        let scaled = if x.len() == n * cols { scale::scaled(x, &values) } else { Vec::new() };
        let mut own = vec![0f32; n * cols];
        self.backward_inside(&scaled, inner, g, n, (Some(&mut own), false), grads)?;
        if let Some(dx) = dx {
            scale::write_scaled(&own, &values, dx, accumulate);
        }
        drop(values);
        let gradient = columns.is_trained().then(|| scale::sum_of_products(x, &own, cols));
        columns.add(grads, gradient)
    }

    /// Between the scales of input and output.
    fn backward_inside(
        &self,
        x: &[f32],
        inner: &Inner,
        g: &[f32],
        n: usize,
        (mut dx, accumulate): Sink<'_>,
        grads: &mut Grads,
    ) -> Result<()> {
        let below = match &self.left {
            None => None,
            Some(left) => {
                let mut below = g.to_vec();
                left.backward(&inner.output, &inner.left, g, n, Some(&mut below), grads)?;
                Some(below)
            }
        };
        self.backward_weighted(x, below.as_deref().unwrap_or(g), n, (dx.as_deref_mut(), accumulate), grads)?;
        drop(below);
        if let (Some(taken), Some(dx)) = (&self.residual, dx.as_deref_mut()) {
            taken.backward(x, &[], g, n, Some(dx), grads)?;
        }
        if let Some(graph) = &self.graph {
            graph.backward(x, g, n, dx.as_deref_mut(), grads)?;
        }
        match &self.low_rank {
            Some(change) if self.woven(n).is_none() => change.backward(x, &inner.u, g, n, dx, grads),
            Some(_) | None => Ok(()),
        }
    }

    /// Of weight and bias, and of a change in the weight's rows.
    fn backward_weighted(
        &self,
        x: &[f32],
        g: &[f32],
        n: usize,
        (dx, accumulate): Sink<'_>,
        grads: &mut Grads,
    ) -> Result<()> {
        let (rows, cols) = self.weight.dims()?;
        if let Some(bias) = self.bias.as_ref().filter(|bias| bias.is_trained()) {
            bias.add(grads, Some(reduce::sum_of_rows(g, rows)))?;
        }
        match (&self.weight, self.woven(n)) {
            (FusedWeight::Frozen(weight), Some((change, inputs))) => {
                let b = Values::of(&change.b.value)?;
                if let Some(dx) = dx {
                    let woven = Woven { inputs, b: &b, scale: change.scale, cols };
                    backend().matmul_nn_changed(weight, &woven, g, n, dx, accumulate)?;
                }
                drop(b);
                if change.b.is_trained() {
                    let rank = inputs.rank();
                    // As many features as are picked, in ascending order, are the picked ones.
                    let found = (x.len() != n * rank).then(|| inputs.of(x, cols));
                    let mut db = vec![0f32; rows * rank];
                    let u = found.as_deref().unwrap_or(x);
                    gemm::gemm_tn(g, u, &mut db, rows, rank, n, change.scale, false);
                    change.b.add(grads, Some(db))?;
                }
            }
            (FusedWeight::Frozen(weight), None) => {
                if let Some(dx) = dx {
                    backend().matmul_nn(weight, g, n, dx, accumulate)?;
                }
            }
            (FusedWeight::Trained(factor), _) => {
                if let Some(dx) = dx {
                    gemm::gemm_nn(g, &Values::of(&factor.value)?, dx, n, cols, rows, 1.0, accumulate);
                }
                if factor.is_trained() {
                    let mut dw = vec![0f32; rows * cols];
                    gemm::gemm_tn(g, x, &mut dw, rows, cols, n, 1.0, false);
                    factor.add(grads, Some(dw))?;
                }
            }
            (FusedWeight::RowGroups(groups, blocks), _) => {
                let values = Values::of(&blocks.value)?;
                let gradient = groups.backward((x, &values), g, (dx, accumulate), blocks.is_trained())?;
                drop(values);
                blocks.add(grads, gradient)?;
            }
            (FusedWeight::LookUp(codes, table), _) => {
                let values = Values::of(&table.value)?;
                let gradient = codes.backward((x, &values), g, (dx, accumulate), table.is_trained());
                drop(values);
                table.add(grads, gradient)?;
            }
            (FusedWeight::Kron(kron), _) => kron.backward(x, g, n, (dx, accumulate), grads)?,
            (FusedWeight::Entries(entries), _) => entries.backward(x, g, n, (dx, accumulate), grads)?,
            (FusedWeight::Absent(..), _) => {
                if let Some(dx) = dx.filter(|_| !accumulate) {
                    dx.fill(0.0);
                }
            }
        }
        Ok(())
    }
}
