//! Which expert answers for which token: the choice of a router, and the loss that keeps its experts busy.
//!
//! ```text
//! p = softmax(l) for the logits l (experts) of a token      top: the largest of them, of equal ones the first
//! w_e = p_e / Σ_top p for the chosen, 0 for the others
//! balance = E · Σ_e f_e P_e      f_e: share of all choices that fell on e      P_e: mean of p_e
//! ```
//!
//! Place in the data flow: chains whose directions are experts (MoLA). What is not chosen gets no gradient.

use super::{Values, has_kernel, output, reference, rows_and_features, slice, tensor};
use crate::Result;
use crate::error::shape_error;
use crate::kernels::softmax::softmax;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Shape, Tensor};
use rayon::prelude::*;
use std::sync::Arc;

/// Weights of the experts of each token, row by row as `logits` (.., experts): see the head of this file.
#[must_use]
pub(crate) fn expert_weights(logits: &[f32], experts: usize, top: usize) -> Vec<f32> {
    let experts = experts.max(1);
    let mut weights = vec![0f32; logits.len()];
    weights.par_chunks_mut(experts).zip(logits.par_chunks(experts)).for_each(|(weights, logits)| {
        let mut most = f32::NEG_INFINITY;
        for _ in 0..top.min(experts) {
            let mut best: Option<(usize, f32)> = None;
            for (at, (logit, weight)) in logits.iter().zip(weights.iter()).enumerate() {
                // A chosen one is marked by a weight; of equal ones the first stays.
                if *weight == 0.0 && best.is_none_or(|(_, value)| *logit > value) {
                    best = Some((at, *logit));
                }
            }
            let Some((at, logit)) = best else { break };
            most = most.max(logit);
            if let Some(weight) = weights.get_mut(at) {
                *weight = 1.0;
            }
        }
        for (weight, logit) in weights.iter_mut().zip(logits).filter(|(weight, _)| **weight > 0.0) {
            let value = (logit - most).exp();
            // Far below the largest it would vanish, and with it the mark that it was chosen.
            *weight = if value == 0.0 { f32::MIN_POSITIVE } else { value };
        }
        let sum: f32 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
    });
    weights
}

/// The directions `h` (.., experts · rank) of each token, those of expert e times its weight by `logits` (.., experts): 0
/// where it is not among the `top` chosen. Gradients for h and the logits.
///
/// # Errors
/// Shapes that do not fit.
pub fn route(h: &Tensor, logits: &Tensor, top: usize) -> Result<Tensor> {
    let ((rows, width), (tokens, experts)) = (rows_and_features(h)?, rows_and_features(logits)?);
    if rows != tokens || experts == 0 || !width.is_multiple_of(experts) || !(1..=experts).contains(&top) {
        return shape_error(format!("{rows} rows of {width} for {top} of {experts} experts over {tokens} tokens"));
    }
    if !has_kernel(&[h, logits]) {
        return reference::route(h, logits, top);
    }
    Ok(h.contiguous()?.apply_op2(&logits.contiguous()?, Route { experts, top })?)
}

struct Route {
    experts: usize,
    top: usize,
}

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
        let weights = expert_weights(logits, self.experts, self.top);
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
        let weights = expert_weights(&l, self.experts, self.top);
        let rank = (h_values.len() / weights.len().max(1)).max(1);
        let dh = h.track_op().then(|| {
            let mut dh = vec![0f32; h_values.len()];
            scaled(&g, &weights, rank, &mut dh);
            dh
        });
        let dl = logits.track_op().then(|| {
            let mut dl = vec![0f32; weights.len()];
            let (width, experts) = (rank * self.experts, self.experts);
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
/// chosen equally often, more the more the choice leans to some. The shares of choices count as constants. Gradient for the
/// logits.
///
/// # Errors
/// Shapes that do not fit; no token that counts.
pub fn expert_balance(logits: &Tensor, top: usize, counted: &Arc<[bool]>) -> Result<Tensor> {
    let (tokens, experts) = rows_and_features(logits)?;
    let count = counted.iter().filter(|counted| **counted).count();
    if counted.len() != tokens || count == 0 || !(1..=experts).contains(&top) {
        return shape_error(format!("{count} of {} tokens count for {top} of {experts} experts", counted.len()));
    }
    if !has_kernel(&[logits]) {
        return reference::expert_balance(logits, top, counted);
    }
    Ok(logits.contiguous()?.apply_op1(Balance { experts, top, counted: Arc::clone(counted) })?)
}

struct Balance {
    experts: usize,
    top: usize,
    counted: Arc<[bool]>,
}

impl Balance {
    /// Share of the choices by expert, and the softmax of every token.
    fn shares(&self, logits: &[f32]) -> (Vec<f64>, Vec<f32>) {
        let weights = expert_weights(logits, self.experts, self.top);
        let mut shares = vec![0f64; self.experts];
        let mut choices = 0f64;
        for (weights, _) in weights.chunks(self.experts).zip(self.counted.iter()).filter(|(_, counted)| **counted) {
            for (share, _) in shares.iter_mut().zip(weights).filter(|(_, weight)| **weight > 0.0) {
                *share += 1.0;
                choices += 1.0;
            }
        }
        shares.iter_mut().for_each(|share| *share /= choices.max(1.0));
        (shares, softmax(logits, self.experts))
    }

    fn count(&self) -> f64 {
        self.counted.iter().filter(|counted| **counted).count().max(1) as f64
    }
}

impl CustomOp1 for Balance {
    fn name(&self) -> &'static str {
        "expert-balance"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (shares, p) = self.shares(slice(logits, layout)?);
        let rows = p.chunks(self.experts).zip(self.counted.iter()).filter(|(_, counted)| **counted);
        let along =
            |(p, _): (&[f32], &bool)| p.iter().zip(&shares).map(|(p, share)| f64::from(*p) * share).sum::<f64>();
        let sum: f64 = rows.map(along).sum();
        output(vec![(self.experts as f64 * sum / self.count()) as f32], ())
    }

    /// `dl = E / n · p ∘ (f − Σ f p)`.
    fn bwd(&self, logits: &Tensor, _y: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let (shares, p) = self.shares(&Values::of(logits)?);
        let factor = f64::from(gradient.to_scalar::<f32>()?) * self.experts as f64 / self.count();
        let mut dl = vec![0f32; p.len()];
        let rows = dl.chunks_mut(self.experts).zip(p.chunks(self.experts)).zip(self.counted.iter());
        for ((dl, p), _) in rows.filter(|(_, counted)| **counted) {
            let along: f64 = p.iter().zip(&shares).map(|(p, share)| f64::from(*p) * share).sum();
            for (dl, (p, share)) in dl.iter_mut().zip(p.iter().zip(&shares)) {
                *dl = (factor * f64::from(*p) * (share - along)) as f32;
            }
        }
        Ok(Some(tensor(dl, logits.dims())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_logits_the_first_are_chosen_and_weights_add_up() {
        assert_eq!(expert_weights(&[2.0, 2.0, 2.0, 2.0], 4, 2), [0.5, 0.5, 0.0, 0.0]);
        assert_eq!(expert_weights(&[1.0, 3.0, 3.0], 3, 1), [0.0, 1.0, 0.0]);
        // One that is chosen keeps a weight, however far behind it is.
        let far = expert_weights(&[0.0, -500.0, -600.0], 3, 2);
        assert!(far[0] == 1.0 && far[1] > 0.0 && far[2] == 0.0, "{far:?}");
        let weights = expert_weights(&[0.3, -1.0, 0.8, 0.1, 5.0, 4.0, 3.0, 2.0], 4, 3);
        for row in weights.chunks(4) {
            assert!(
                (row.iter().sum::<f32>() - 1.0).abs() < 1e-6 && row.iter().filter(|weight| **weight > 0.0).count() == 3
            );
        }
    }
}
