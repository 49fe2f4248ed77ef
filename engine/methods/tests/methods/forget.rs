//! A layer that knows something and learns something else: how much of the first is lost at which error of the second.
//!
//! The weight of 64 x 64 has singular values that fall as i^-0.7. What it knows comes in along its leading right singular
//! directions (i^-1.5); what it learns is half of that and half a random power law, towards a dense change of three tenths of
//! its size. Forgetting is the mean square change over the known inputs, relative to the answers there.

use crate::bench::{Outcome, SIDE, diagonal, normal, orthogonal, put_after, sized};
use candle_core::Tensor;
use std::sync::Arc;
use temper_nn::optim::{AdamW, AdamWConfig};
use temper_nn::rules::{At, take_step};
use temper_nn::slots::Slots;
use temper_nn::{ForwardContext, FrozenLinear, FrozenWeight, Grads, LinearSite, ParamSet, StorageKind};

/// The layer and its two kinds of inputs.
pub(crate) struct Forget {
    weight: Tensor,
    pub(crate) known: Tensor,
    pub(crate) task: Tensor,
    goal: Tensor,
}

/// Error of the task and forgetting.
pub(crate) type Point = (f64, f64);

fn mean_square(x: &Tensor, change: &Tensor) -> Outcome<f64> {
    Ok(f64::from(x.matmul(&change.t()?)?.sqr()?.sum_all()?.to_scalar::<f32>()?))
}

/// Rows of mean zero with a covariance of trace SIDE along the columns of `basis`.
fn rows(basis: &Tensor, power: f64) -> Outcome<Tensor> {
    let total: f64 = (1..=SIDE).map(|index| (index as f64).powf(-power)).sum();
    let roots = diagonal((1..=SIDE).map(|index| ((index as f64).powf(-power) * SIDE as f64 / total).sqrt()))?;
    let rows = roots.matmul(&basis.t()?)?;
    Ok(Tensor::cat(&[&rows, &rows.neg()?], 0)?.affine(0.5f64.sqrt(), 0.0)?)
}

impl Forget {
    pub(crate) fn new() -> Outcome<Self> {
        let right = orthogonal("known right")?;
        let spectrum = diagonal((1..=SIDE).map(|index| (index as f64).powf(-0.7)))?;
        let weight = sized(&orthogonal("known left")?.matmul(&spectrum)?.matmul(&right.t()?)?, 8.0)?;
        let known = rows(&right, 1.5)?;
        let half = 0.5f64.sqrt();
        let task = Tensor::cat(&[rows(&orthogonal("other")?, 1.0)?.affine(half, 0.0)?, known.affine(half, 0.0)?], 0)?;
        let goal = (&weight + sized(&normal("learned", SIDE, SIDE, 1.0)?, 0.3 * 8.0)?)?;
        Ok(Self { weight, known, task, goal })
    }

    fn point(&self, site: &LinearSite) -> Outcome<Point> {
        let now = site.merged()?.ok_or("it does not merge")?;
        let error =
            mean_square(&self.task, &(&now - &self.goal)?)? / mean_square(&self.task, &(&self.weight - &self.goal)?)?;
        let lost = mean_square(&self.known, &(&now - &self.weight)?)? / mean_square(&self.known, &self.weight)?;
        Ok((error, lost))
    }

    /// A curve of `steps` steps with slots that looked at `seen` first.
    pub(crate) fn curve(&self, slots: &Slots, seen: &Tensor, steps: u64, lr: f64) -> Outcome<Vec<Point>> {
        let mut site = self.site()?;
        put_after(&mut site, slots, 3, seen)?;
        self.train(site, steps, lr)
    }

    /// The same with the weight itself trained.
    pub(crate) fn whole(&self, steps: u64, lr: f64) -> Outcome<Vec<Point>> {
        let mut site = self.site()?;
        site.promote()?;
        self.train(site, steps, lr)
    }

    fn site(&self) -> Outcome<LinearSite> {
        let weight = FrozenWeight::from_tensor("w", &self.weight, StorageKind::F32)?;
        Ok(LinearSite::new("w", FrozenLinear { weight: Arc::new(weight), bias: None }))
    }

    fn train(&self, mut site: LinearSite, steps: u64, lr: f64) -> Outcome<Vec<Point>> {
        let before = mean_square(&self.task, &(&self.weight - &self.goal)?)?;
        let wanted = self.task.matmul(&self.goal.t()?)?;
        let mut set = ParamSet::new(site.params())?;
        let mut optimiser = AdamW::new(AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() });
        let mut curve = Vec::new();
        for step in 1..=steps {
            let ctx = ForwardContext { training: true, step, ..ForwardContext::plain(1, self.task.dim(0)?) };
            let loss = (site.forward(&self.task, &ctx)? - &wanted)?.sqr()?.sum_all()?.affine(128.0 / before, 0.0)?;
            let loss = match site.extra_loss()? {
                Some(extra) => (loss + extra)?,
                None => loss,
            };
            let mut grads = Grads::new();
            grads.collect(&set, &mut loss.backward()?)?;
            site.map_grads(&mut grads)?;
            if take_step(&mut [&mut site], &set, &mut optimiser, &mut grads, lr, At { step, total: steps })?.params {
                set = ParamSet::new(site.params())?;
            }
            curve.push(self.point(&site)?);
        }
        Ok(curve)
    }
}

/// What is forgotten where a curve first comes below an error.
pub(crate) fn forgotten_at(curve: &[Point], error: f64) -> Option<f64> {
    curve.iter().find(|point| point.0 <= error).map(|point| point.1)
}
