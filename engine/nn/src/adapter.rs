//! What the engine asks of an adapter on one linear layer, and the forms in which an adapter leaves.
//!
//! Place in the data flow: a [`crate::LinearSite`] holds a weight and a stack of adapters; each adapter
//! sees the layer as it is below it ([`Layer`]) and returns the output with its own change included. The
//! trainer reads [`Adapter::params`] and calls the hooks around the optimiser step; exporters read
//! [`Adapter::merge_into`] and [`Adapter::export`] and know nothing of methods. There is one implementation,
//! [`crate::SlotAdapter`].

use crate::context::ForwardContext;
use crate::frozen::FrozenWeight;
use crate::fused::{FusedFactor, FusedGraph, FusedLowRank, FusedWeight};
use crate::ops::Seen;
use crate::optim::OptimiserEdit;
use crate::param::{Grads, Param};
use crate::rules::At;
use crate::site::Layer;
use crate::slots::{Part, Rule, Score, Slots};
use crate::telemetry::Routing;
use crate::{NnError, Result};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::sync::Arc;

/// A trainable change of one linear layer.
///
/// Order within a training step: forward, loss plus every [`extra_loss`](Self::extra_loss), backward,
/// [`map_grads`](Self::map_grads), clipping, [`observe`](Self::observe), [`map_step`](Self::map_step), optimiser,
/// [`after_step`](Self::after_step), then the rules of the whole model, which come back as [`apply`](Self::apply). From
/// `observe` on [`crate::rules::take_step`] is that order.
pub trait Adapter: Send + Sync {
    /// Everything it trains. The order and the names are fixed for the life of the adapter.
    fn params(&self) -> Vec<Param>;

    /// Output (.., out) of the layer with this change, for `x` (.., in).
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn forward(&self, x: &Tensor, below: Layer<'_>, ctx: &ForwardContext) -> Result<Tensor>;

    /// The change of the layer `below` as something a fused half can carry; none when the whole half has to be a graph.
    ///
    /// # Errors
    /// A failing tensor operation.
    fn fused_change(&self, _below: Layer<'_>, _ctx: &ForwardContext) -> Result<Option<FusedChange>> {
        Ok(None)
    }

    /// Turns the weight below into the weight with this change. `false`, with the weight untouched, when the
    /// change depends on the input and no weight can hold it.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn merge_into(&self, weight: &mut MergedWeight) -> Result<bool>;

    /// The change as an exact sum to the weight below, [`AdapterExport::LowRank`]; none when only the whole weight
    /// holds it.
    ///
    /// # Errors
    /// A failing tensor operation, or no change at all.
    fn export(&self, below: Layer<'_>) -> Result<Option<AdapterExport>>;

    /// How many terms a rule chose for a sum of products that has no inner width.
    fn chosen_terms(&self) -> Option<usize> {
        None
    }

    /// Whether [`export`](Self::export) gives a sum to the weight below.
    fn only_adds_low_rank(&self) -> bool {
        false
    }

    /// The tensors of PEFT's own type for such a change, where PEFT has one beside plain LoRA.
    ///
    /// # Errors
    /// A failing tensor operation.
    fn peft(&self, _below: Layer<'_>) -> Result<Option<PeftLayer>> {
        Ok(None)
    }

    /// Puts the mean of what a router was seen choosing in its place, or the router back, and says whether it stood there
    /// before. With the mean it merges and leaves as a sum of low rank: an approximation of what it does with its router.
    fn fix_routing(&self, _on: bool) -> bool {
        false
    }

    /// What its router was seen choosing; none for an adapter that treats all tokens alike.
    fn routing(&self) -> Option<Routing> {
        None
    }

    /// The single entries that it adds to, with what it adds; none for a change of another structure, or of all entries.
    ///
    /// # Errors
    /// A failing tensor operation.
    fn entries(&self) -> Result<Option<Entries>> {
        Ok(None)
    }

    /// The slots it is made of, where it is made of slots.
    fn as_slots(&self) -> Option<&Slots> {
        None
    }

    /// While on, what counts as a constant in the backward pass (such as the row norms of a normaliser) keeps its
    /// present value: finite differences then see the function whose gradient is taken.
    fn hold_constants(&self, _on: bool) {}

    /// A scalar that is added to the loss of each micro-step.
    ///
    /// # Errors
    /// A failing tensor operation.
    fn extra_loss(&self) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Changes the gradients of its own parameters before clipping: what a mask holds gets none.
    ///
    /// # Errors
    /// A failing tensor operation.
    fn map_grads(&self, _grads: &mut Grads) -> Result<()> {
        Ok(())
    }

    /// Looks at the clipped gradients of its own parameters: what its rules are scored by.
    ///
    /// # Errors
    /// A failing tensor operation.
    fn observe(&mut self, _grads: &Grads) -> Result<()> {
        Ok(())
    }

    /// Turns the clipped gradients of its own parameters into what the optimiser is to take in the step that is at hand.
    ///
    /// # Errors
    /// A failing tensor operation.
    fn map_step(&mut self, _grads: &mut Grads, _at: At) -> Result<()> {
        Ok(())
    }

    /// What changes it while the run goes on.
    fn rules(&self) -> &[Rule] {
        &[]
    }

    /// How many directions it has, and which of them are let go (see [`Edit`]).
    ///
    /// # Errors
    /// A failing tensor operation.
    fn directions(&self) -> Result<Vec<bool>> {
        Ok(Vec::new())
    }

    /// What a rule goes by: a value for each direction, or one for the whole change.
    ///
    /// # Errors
    /// A failing tensor operation.
    fn scores(&self, _score: Score) -> Result<Vec<f64>> {
        Ok(Vec::new())
    }

    /// Changes itself as a rule says.
    ///
    /// # Errors
    /// A change that it has no place for.
    fn apply(&mut self, edit: &Edit) -> Result<Edited> {
        Err(NnError::Value(format!("an adapter without rules was asked for {edit:?}")))
    }

    /// What it remembers between steps beside its parameters, by names that are unique in the model, f32: masks, smoothed
    /// scores, moments of its own. With the parameters and the slots that is all of it.
    ///
    /// # Errors
    /// A failing tensor operation.
    fn memory(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(Vec::new())
    }

    /// Takes the shapes of saved parameters and what was remembered with them, by name through `find`. The values of the
    /// parameters are filled in afterwards.
    ///
    /// # Errors
    /// What `find` says; shapes that fit nothing.
    fn restore(&mut self, _find: &Find<'_>) -> Result<()> {
        Ok(())
    }

    /// The weight that the layer is to hold beneath it, where that was rounded by what was seen of the data and what
    /// [`Self::restore`] has found says so; none where it holds the right one.
    ///
    /// # Errors
    /// A weight whose original is not known.
    fn base_again(&self, _below: Layer<'_>) -> Result<Option<FrozenWeight>> {
        Ok(None)
    }

    /// Changes its own parameters after optimiser step `step`, counted from 1.
    ///
    /// # Errors
    /// A failing tensor operation.
    fn after_step(&mut self, _step: u64) -> Result<()> {
        Ok(())
    }
}

/// Whether what an adapter remembers under this name (see [`Adapter::memory`]) matters to its training alone: scores and
/// moments. Without it the adapter answers the same.
#[must_use]
pub fn trains_only(name: &str) -> bool {
    ["score.", "distance.", "first.", "second.", "steps."].iter().any(|what| name.starts_with(what))
}

/// Looks a saved tensor up by its name; none when there is no such tensor.
pub type Find<'a> = dyn Fn(&str) -> Result<Option<Tensor>> + 'a;

/// A change of an adapter that a rule decided on.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// The core's entry of every other direction becomes 0, and is held there with `hold`.
    Keep {
        /// For each direction whether it stays.
        kept: Vec<bool>,
        /// Whether the others are held.
        hold: bool,
    },
    /// Lets the first `free` directions go that are trained ahead, and puts as many new ones behind.
    Grow {
        /// How many.
        free: usize,
    },
    /// Removes the directions that are still trained ahead.
    DropHeld,
    /// Holds the first directions of a factor.
    Freeze {
        /// Which factor.
        part: Part,
        /// Share of its directions, rounded down.
        share: f64,
    },
    /// Opens the gate for good.
    Open {
        /// Whether the factors begin again from their first values.
        fresh: bool,
    },
    /// Keeps these entries, by their numbers in the weight, and starts them from 0 again.
    Pick {
        /// Row by row and ascending.
        numbers: Vec<u32>,
    },
    /// Holds the entries that have grown larger than the largest was at the start.
    HoldGrown,
    /// Takes the whole adapter off its layer: whoever asks for it does so, the adapter says what is to be forgotten.
    Remove,
}

/// What an [`Edit`] did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Edited {
    /// Whether other directions are in use than before.
    pub moved: bool,
    /// Whether parameters have another shape or mask, so that whoever holds a list of them needs a new one.
    pub params: bool,
    /// What the optimiser has to do with its memory.
    pub optimiser: Vec<OptimiserEdit>,
}

/// A change as a fused half carries it; see [`crate::fused::FusedLinear`] for the order of its parts.
#[derive(Default)]
pub struct FusedChange {
    /// The trained low-rank term.
    pub low_rank: Option<FusedLowRank>,
    /// What a residual base takes off the weight; its scale is negative.
    pub residual: Option<FusedLowRank>,
    /// Change of the bias, (out).
    pub bias: Option<FusedFactor>,
    /// Who wants to see the gradient of the whole weight.
    pub seen: Option<Arc<Seen>>,
    /// What is added of the layer's own output.
    pub left: Option<FusedLowRank>,
    /// A change that needs a graph.
    pub graph: Option<FusedGraph>,
    /// Factors of the input's features.
    pub columns: Option<FusedFactor>,
    /// Factors of the output's features.
    pub rows: Option<FusedRows>,
    /// What stands in the place of the layer's frozen weight.
    pub weight: Option<FusedWeight>,
}

/// Factors of a layer's output features.
pub struct FusedRows {
    /// (out).
    pub factors: FusedFactor,
    /// Whether they leave the layer's own bias alone.
    pub beside_bias: bool,
}

impl FusedChange {
    /// The chain of two factors without noise, when it is nothing else.
    #[must_use]
    pub fn into_chain(self) -> Option<FusedLowRank> {
        let chain = self.low_rank.filter(|chain| chain.dropout.is_none())?;
        let beside = self.residual.is_some() || self.left.is_some() || self.graph.is_some() || self.weight.is_some();
        let around = self.bias.is_some() || self.seen.is_some() || self.columns.is_some() || self.rows.is_some();
        (!beside && !around).then_some(chain)
    }
}

/// The form in which the change of a site leaves for a file.
#[derive(Debug, Clone)]
pub enum AdapterExport {
    /// `ΔW = scale · B A`; whatever stood between the factors is folded into B. A residual base makes the rank twice
    /// that of the method, so that the factors fit the untouched weight.
    LowRank {
        /// (rank, in), f32.
        a: Tensor,
        /// (out, rank), f32.
        b: Tensor,
        /// Factor in front, already with the rank divided out.
        scale: f64,
        /// Inner width.
        rank: usize,
        /// The alpha to name in a file; `scale` is `alpha / rank` or, rank-stabilised, `alpha / √rank`.
        alpha: f64,
        /// Change of the bias, (out), f32; none when it stays as it is.
        bias: Option<Tensor>,
    },
    /// The whole new weight.
    Dense {
        /// (out, in), f32.
        weight: Tensor,
        /// (out), f32.
        bias: Option<Tensor>,
    },
}

/// Single entries of a weight and what is added to them, row by row, each (entries), f32.
#[derive(Debug, Clone)]
pub struct Entries {
    /// Row of each; whole numbers.
    pub rows: Tensor,
    /// Column of each.
    pub cols: Tensor,
    /// What is added.
    pub values: Tensor,
}

/// One layer of an adapter file in the form of one of PEFT's types.
#[derive(Debug, Clone)]
pub struct PeftLayer {
    /// PEFT's name of the type, such as `IA3`; `LORA` for what is a flag of that, such as DoRA.
    pub peft_type: &'static str,
    /// Tensors by the name after the module path, such as `lora_A.weight`, f32.
    pub tensors: Vec<(&'static str, Tensor)>,
    /// Tensors that a file holds once for all layers, by the name after `base_model.`, f32.
    pub shared: Vec<(&'static str, Tensor)>,
    /// What the configuration says about this layer, by PEFT's key.
    pub settings: Vec<(&'static str, PeftSetting)>,
}

/// A value of PEFT's configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PeftSetting {
    /// A whole number.
    Integer(u64),
    /// A real number.
    Number(f64),
    /// Yes or no.
    Flag(bool),
    /// A word.
    Text(&'static str),
    /// Whether the layer belongs to the list of module names under this key.
    Listed(bool),
}

impl PeftLayer {
    /// A tensor by its name, its own or a shared one.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().chain(&self.shared).find(|(known, _)| *known == name).map(|(_, tensor)| tensor)
    }

    /// A setting by its key.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<PeftSetting> {
        self.settings.iter().find(|(known, _)| *known == key).map(|(_, setting)| *setting)
    }

    /// A setting that is a number; 0 where it is none.
    #[must_use]
    pub fn number(&self, key: &str) -> f64 {
        match self.setting(key) {
            Some(PeftSetting::Integer(number)) => number as f64,
            Some(PeftSetting::Number(number)) => number,
            _ => 0.0,
        }
    }
}

/// A weight on its way into a merged file: f32 as it will be written or rounded further, with every change
/// added in f64 and rounded once.
#[derive(Debug, Clone, PartialEq)]
pub struct MergedWeight {
    /// Rows.
    pub out_features: usize,
    /// Columns.
    pub in_features: usize,
    /// (out, in), row by row.
    pub weight: Vec<f32>,
    /// (out).
    pub bias: Option<Vec<f32>>,
}

impl MergedWeight {
    /// Adds `scale · b a`, with `b` (out, rank) and `a` (rank, in) row by row.
    ///
    /// # Errors
    /// [`NnError`] when the lengths do not fit the weight.
    pub fn add_product(&mut self, b: &[f32], a: &[f32], rank: usize, scale: f64) -> Result<()> {
        let (rows, cols) = (self.out_features, self.in_features);
        let fits = b.len() == rows * rank && a.len() == rank * cols && self.weight.len() == rows * cols;
        if !fits {
            let what = format!(
                "factors of {} and {} numbers with rank {rank} do not fit a weight of {rows} x {cols}",
                b.len(),
                a.len()
            );
            return Err(NnError::Shape(what));
        }
        if rank == 0 || rows == 0 || cols == 0 {
            return Ok(());
        }
        let a: Vec<f64> = a.iter().copied().map(f64::from).collect();
        self.weight.par_chunks_mut(cols).zip(b.par_chunks(rank)).for_each_init(
            || vec![0f64; cols],
            |sum, (row, b_row)| {
                sum.fill(0.0);
                // Four directions at a time: the sums are read and written once for all of them.
                let (a_blocks, b_blocks) = (a.chunks(4 * cols), b_row.chunks(4));
                for (a_block, b_block) in a_blocks.zip(b_blocks) {
                    add_scaled(sum, a_block, b_block, scale);
                }
                for (weight, &change) in row.iter_mut().zip(sum.iter()) {
                    *weight = (f64::from(*weight) + change) as f32;
                }
            },
        );
        Ok(())
    }

    /// Adds to each row what `change(row, sum)` leaves in `sum` (in), which starts at 0; in f64 and rounded once.
    pub fn add_rows(&mut self, change: impl Fn(usize, &mut [f64]) + Sync) {
        let cols = self.in_features.max(1);
        self.weight.par_chunks_mut(cols).enumerate().for_each_init(
            || vec![0f64; cols],
            |sum, (index, row)| {
                sum.fill(0.0);
                change(index, sum);
                for (weight, change) in row.iter_mut().zip(sum.iter()) {
                    *weight = (f64::from(*weight) + change) as f32;
                }
            },
        );
    }

    /// Multiplies row `i` by `factor(i)`, in f64 and rounded once.
    pub fn scale_rows(&mut self, factor: impl Fn(usize, &[f32]) -> f64 + Sync) {
        self.weight.par_chunks_mut(self.in_features.max(1)).enumerate().for_each(|(index, row)| {
            let factor = factor(index, row);
            for weight in row {
                *weight = (f64::from(*weight) * factor) as f32;
            }
        });
    }

    /// Multiplies column `j` by `scale[j]`, in f64 and rounded once.
    pub fn scale_columns(&mut self, scale: &[f32]) {
        self.weight.par_chunks_mut(self.in_features.max(1)).for_each(|row| {
            for (weight, scale) in row.iter_mut().zip(scale) {
                *weight = (f64::from(*weight) * f64::from(*scale)) as f32;
            }
        });
    }

    /// Adds to the bias, which becomes one where there was none.
    pub fn add_bias(&mut self, change: &[f32]) {
        let bias = self.bias.get_or_insert_with(|| vec![0f32; change.len()]);
        for (bias, change) in bias.iter_mut().zip(change) {
            *bias += change;
        }
    }

    /// The weight as a tensor (out, in), f32.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn into_tensor(self) -> Result<Tensor> {
        Ok(Tensor::from_vec(self.weight, (self.out_features, self.in_features), &Device::Cpu)?)
    }
}

/// `sum += scale · Σ factor · row` over up to four rows, each as long as `sum`.
fn add_scaled(sum: &mut [f64], rows: &[f64], factors: &[f32], scale: f64) {
    let cols = sum.len();
    if let ([f0, f1, f2, f3], true) = (factors, rows.len() == 4 * cols) {
        let [f0, f1, f2, f3] = [f0, f1, f2, f3].map(|factor| scale * f64::from(*factor));
        let (first, last) = rows.split_at(2 * cols);
        let ((r0, r1), (r2, r3)) = (first.split_at(cols), last.split_at(cols));
        for ((((sum, x0), x1), x2), x3) in sum.iter_mut().zip(r0).zip(r1).zip(r2).zip(r3) {
            *sum += (f0 * x0 + f1 * x1) + (f2 * x2 + f3 * x3);
        }
        return;
    }
    for (row, factor) in rows.chunks_exact(cols).zip(factors) {
        let factor = scale * f64::from(*factor);
        for (sum, x) in sum.iter_mut().zip(row) {
            *sum += factor * x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    #[test]
    fn a_change_is_added_in_f64_and_rounded_once() {
        let mut stream = Stream::new(2, "merge");
        for (rows, cols, rank) in [(3, 5, 1), (2, 7, 4), (4, 6, 9), (1, 1, 2)] {
            let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| stream.normal() as f32).collect() };
            let (start, b, a) = (draw(rows * cols), draw(rows * rank), draw(rank * cols));
            let mut merged = MergedWeight { out_features: rows, in_features: cols, weight: start.clone(), bias: None };
            merged.add_product(&b, &a, rank, 0.3).unwrap();
            for (at, (found, start)) in merged.weight.iter().zip(&start).enumerate() {
                let (row, col) = (at / cols, at % cols);
                let change: f64 = (0..rank).map(|k| f64::from(b[row * rank + k]) * f64::from(a[k * cols + col])).sum();
                let exact = f64::from(*start) + 0.3 * change;
                // Half a unit in the last place: nothing but the final rounding.
                let half_unit = f64::from(found.abs() * f32::EPSILON) * 0.5 + 1e-12;
                assert!((f64::from(*found) - exact).abs() <= half_unit, "{found} instead of {exact}");
            }
        }
    }

    #[test]
    fn factors_that_do_not_fit_are_refused_and_the_weight_is_left_alone() {
        let mut merged = MergedWeight { out_features: 2, in_features: 3, weight: vec![1.0; 6], bias: None };
        assert!(merged.add_product(&[1.0; 4], &[1.0; 5], 2, 1.0).is_err());
        assert!(merged.add_product(&[1.0; 3], &[1.0; 6], 2, 1.0).is_err());
        assert!(merged.add_product(&[], &[], 0, 1.0).is_ok());
        assert_eq!(merged.weight, [1.0; 6]);
    }
}
