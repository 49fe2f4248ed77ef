//! Which expert answers for which token: the choice of a router, its weights, and the loss that keeps its experts busy.
//!
//! ```text
//! p = softmax(l) for the logits l (experts) of a token      top: the largest of them, of equal ones the first
//! w_e = p_e / Σ_top p for the chosen, 0 for the others
//! balance = E · Σ_e f_e P_e      f_e: share of all choices that fell on e      P_e: mean of p_e
//! ```
//!
//! Place in the data flow: chains whose directions are experts (MoLA). The choice is a constant: what is not chosen gets no
//! gradient, and f_e has none.

use super::{Values, has_kernel, output, reference, rows_and_features, slice, tensor, with_slice};
use crate::Result;
use crate::error::shape_error;
use crate::kernels::softmax::softmax;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Shape, Tensor};
use rayon::prelude::*;
use std::sync::Arc;

/// Which experts answer for each of some tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    experts: usize,
    top: usize,
    /// (tokens, experts).
    chosen: Vec<bool>,
}

impl Choice {
    /// The `top` largest of each token's `logits` (.., experts), of equal ones the first.
    ///
    /// # Errors
    /// More than there are, or none.
    pub fn of(logits: &Tensor, top: usize) -> Result<Self> {
        let (_, experts) = rows_and_features(logits)?;
        if !(1..=experts).contains(&top) {
            return shape_error(format!("{top} of {experts} experts"));
        }
        let mut chosen = vec![false; logits.elem_count()];
        with_slice(&logits.detach().to_dtype(DType::F32)?, |logits| {
            chosen.par_chunks_mut(experts).zip(logits.par_chunks(experts)).for_each(|(chosen, logits)| {
                for _ in 0..top {
                    let mut best: Option<(usize, f32)> = None;
                    for (at, (logit, taken)) in logits.iter().zip(chosen.iter()).enumerate() {
                        if !taken && best.is_none_or(|(_, value)| *logit > value) {
                            best = Some((at, *logit));
                        }
                    }
                    if let Some(taken) = best.and_then(|(at, _)| chosen.get_mut(at)) {
                        *taken = true;
                    }
                }
            });
        })?;
        Ok(Self { experts, top, chosen })
    }

    /// How many experts there are.
    #[must_use]
    pub const fn experts(&self) -> usize {
        self.experts
    }

    /// How many answer for a token.
    #[must_use]
    pub const fn top(&self) -> usize {
        self.top
    }

    /// For each token and expert whether it answers.
    #[must_use]
    pub fn chosen(&self) -> &[bool] {
        &self.chosen
    }

    /// How many tokens there are.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.chosen.len() / self.experts.max(1)
    }

    /// The weights of the chosen, (tokens, experts): the softmax over their logits, 0 for the others.
    pub(crate) fn weights(&self, logits: &[f32]) -> Vec<f32> {
        let experts = self.experts.max(1);
        let mut weights = vec![0f32; self.chosen.len()];
        let rows = logits.par_chunks(experts).zip(self.chosen.par_chunks(experts));
        weights.par_chunks_mut(experts).zip(rows).for_each(|(weights, (logits, chosen))| {
            let kept = || logits.iter().zip(chosen).filter(|(_, chosen)| **chosen).map(|(logit, _)| *logit);
            let most = kept().fold(f32::NEG_INFINITY, f32::max);
            for ((weight, logit), _) in weights.iter_mut().zip(logits).zip(chosen).filter(|(_, chosen)| **chosen) {
                *weight = (logit - most).exp();
            }
            let sum: f32 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
        });
        weights
    }

    fn check(&self, logits: &Tensor) -> Result<()> {
        let (tokens, experts) = rows_and_features(logits)?;
        if (tokens, experts) == (self.tokens(), self.experts) {
            return Ok(());
        }
        let own = self.tokens();
        shape_error(format!(
            "logits of {tokens} tokens and {experts} experts for a choice of {own} and {}",
            self.experts
        ))
    }
}

/// The directions `h` (.., experts · rank) of each token, those of expert e times its weight by `logits` (.., experts): 0
/// where it does not answer. Gradients for h and the logits.
///
/// # Errors
/// Shapes that do not fit.
pub fn route(h: &Tensor, logits: &Tensor, choice: &Arc<Choice>) -> Result<Tensor> {
    choice.check(logits)?;
    let (rows, width) = rows_and_features(h)?;
    if rows != choice.tokens() || !width.is_multiple_of(choice.experts) {
        return shape_error(format!(
            "{rows} rows of {width} for {} experts over {} tokens",
            choice.experts,
            choice.tokens()
        ));
    }
    if !has_kernel(&[h, logits]) {
        return reference::route(h, logits, choice);
    }
    Ok(h.contiguous()?.apply_op2(&logits.contiguous()?, Route(Arc::clone(choice)))?)
}

struct Route(Arc<Choice>);

impl CustomOp2 for Route {
    fn name(&self) -> &'static str {
        "route"
    }

    fn cpu_fwd(
        &self,
        h: &CpuStorage,
        h_layout: &Layout,
        logits: &CpuStorage,
        logits_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (h, logits) = (slice(h, h_layout)?, slice(logits, logits_layout)?);
        let weights = self.0.weights(logits);
        let rank = h.len() / weights.len().max(1);
        let mut y = vec![0f32; h.len()];
        scaled(h, &weights, rank, &mut y);
        output(y, h_layout.shape().clone())
    }

    /// `dh = w g`; with `q_e = Σ g h` over the directions of e, `dl_e = w_e (q_e − Σ_top w q)`.
    fn bwd(
        &self,
        h: &Tensor,
        logits: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (h_values, l, g) = (Values::of(h)?, Values::of(logits)?, Values::of(&gradient)?);
        let weights = self.0.weights(&l);
        let rank = (h_values.len() / weights.len().max(1)).max(1);
        let dh = h.track_op().then(|| {
            let mut dh = vec![0f32; h_values.len()];
            scaled(&g, &weights, rank, &mut dh);
            dh
        });
        let dl = logits.track_op().then(|| {
            let mut dl = vec![0f32; weights.len()];
            let experts = self.0.experts;
            let width = rank * experts;
            let rows = h_values.par_chunks(width).zip(g.par_chunks(width)).zip(weights.par_chunks(experts));
            dl.par_chunks_mut(experts).zip(rows).for_each(|(dl, ((h, g), weights))| {
                for (dl, (h, g)) in dl.iter_mut().zip(h.chunks(rank).zip(g.chunks(rank))) {
                    *dl = h.iter().zip(g).map(|(h, g)| h * g).sum();
                }
                let mean: f32 = dl.iter().zip(weights).map(|(q, weight)| q * weight).sum();
                for (dl, weight) in dl.iter_mut().zip(weights) {
                    *dl = weight * (*dl - mean);
                }
            });
            dl
        });
        let dh = dh.map(|values| tensor(values, h.dims())).transpose()?;
        let dl = dl.map(|values| tensor(values, logits.dims())).transpose()?;
        Ok((dh, dl))
    }
}

/// `y = w x` with one weight for `rank` neighbours.
fn scaled(x: &[f32], weights: &[f32], rank: usize, y: &mut [f32]) {
    let rank = rank.max(1);
    y.par_chunks_mut(rank).zip(x.par_chunks(rank)).zip(weights.par_iter()).for_each(|((y, x), weight)| {
        for (y, x) in y.iter_mut().zip(x) {
            *y = weight * x;
        }
    });
}

/// The loss that keeps experts busy, a scalar, over the tokens of `logits` (.., experts) that are `counted`: 1 where all are
/// chosen equally often, more the more the choice leans to some. Gradient for the logits.
///
/// # Errors
/// Shapes that do not fit; no token that counts.
pub fn expert_balance(logits: &Tensor, choice: &Arc<Choice>, counted: &Arc<[bool]>) -> Result<Tensor> {
    choice.check(logits)?;
    let count = counted.iter().filter(|counted| **counted).count();
    if counted.len() != choice.tokens() || count == 0 {
        return shape_error(format!("{count} of {} tokens count for a choice of {}", counted.len(), choice.tokens()));
    }
    if !has_kernel(&[logits]) {
        return reference::expert_balance(logits, choice, counted);
    }
    let balance = Balance { experts: choice.experts, shares: shares(choice, counted), counted: Arc::clone(counted) };
    Ok(logits.contiguous()?.apply_op1(balance)?)
}

/// Share of the choices that fell on each expert, over the tokens that are counted.
pub(crate) fn shares(choice: &Choice, counted: &[bool]) -> Vec<f64> {
    let mut shares = vec![0f64; choice.experts];
    let rows = choice.chosen.chunks(choice.experts.max(1)).zip(counted).filter(|(_, counted)| **counted);
    for (chosen, _) in rows {
        for (share, chosen) in shares.iter_mut().zip(chosen) {
            *share += if *chosen { 1.0 } else { 0.0 };
        }
    }
    let all: f64 = shares.iter().sum();
    shares.iter_mut().for_each(|share| *share /= all.max(1.0));
    shares
}

struct Balance {
    experts: usize,
    shares: Vec<f64>,
    counted: Arc<[bool]>,
}

impl Balance {
    fn count(&self) -> f64 {
        self.counted.iter().filter(|counted| **counted).count().max(1) as f64
    }

    /// Σ_e f_e p_e of a token.
    fn along(&self, p: &[f32]) -> f64 {
        p.iter().zip(&self.shares).map(|(p, share)| f64::from(*p) * share).sum()
    }
}

impl CustomOp1 for Balance {
    fn name(&self) -> &'static str {
        "expert-balance"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let p = softmax(slice(logits, layout)?, self.experts);
        let rows = p.chunks(self.experts.max(1)).zip(self.counted.iter()).filter(|(_, counted)| **counted);
        let sum: f64 = rows.map(|(p, _)| self.along(p)).sum();
        output(vec![(self.experts as f64 * sum / self.count()) as f32], ())
    }

    /// `dl = E / n · p ∘ (f − Σ f p)`.
    fn bwd(&self, logits: &Tensor, _y: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let p = softmax(&Values::of(logits)?, self.experts);
        let factor = f64::from(gradient.to_scalar::<f32>()?) * self.experts as f64 / self.count();
        let mut dl = vec![0f32; p.len()];
        let experts = self.experts.max(1);
        let rows = dl.chunks_mut(experts).zip(p.chunks(experts)).zip(self.counted.iter());
        for ((dl, p), _) in rows.filter(|(_, counted)| **counted) {
            let along = self.along(p);
            for (dl, (p, share)) in dl.iter_mut().zip(p.iter().zip(&self.shares)) {
                *dl = (factor * f64::from(*p) * (share - along)) as f32;
            }
        }
        Ok(Some(tensor(dl, logits.dims())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn weights(logits: &[f32], experts: usize, top: usize) -> Vec<f32> {
        let rows = logits.len() / experts;
        let tensor = Tensor::from_slice(logits, (rows, experts), &Device::Cpu).unwrap();
        Choice::of(&tensor, top).unwrap().weights(logits)
    }

    #[test]
    fn of_equal_logits_the_first_are_chosen_and_weights_add_up() {
        assert_eq!(weights(&[2.0, 2.0, 2.0, 2.0], 4, 2), [0.5, 0.5, 0.0, 0.0]);
        assert_eq!(weights(&[1.0, 3.0, 3.0], 3, 1), [0.0, 1.0, 0.0]);
        assert_eq!(weights(&[0.0, -500.0, -600.0], 3, 2), [1.0, 0.0, 0.0]);
        let weights = weights(&[0.3, -1.0, 0.8, 0.1, 5.0, 4.0, 3.0, 2.0], 4, 3);
        for row in weights.chunks(4) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            assert_eq!(row.iter().filter(|weight| **weight > 0.0).count(), 3);
        }
        let logits = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
        assert!(Choice::of(&logits, 4).is_err() && Choice::of(&logits, 0).is_err());
    }
}
