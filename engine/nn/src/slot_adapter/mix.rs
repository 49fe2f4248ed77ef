//! A router in front of a chain: which of its directions answer for a token, and what it was seen doing.
//!
//! Place in the data flow: forward passes of [`super::SlotAdapter`] with [`crate::slots::Mix::Routed`] come here. While it
//! trains it smooths its choices over the passes; measurements show them, and what no router can follow (a merged weight, a
//! plain LoRA) takes their mean in the router's place when it is asked to.

use super::chain::HeldChain;
use super::held::{Held, Place, values};
use crate::Result;
use crate::context::ForwardContext;
use crate::ops::{Choice, expert_balance, linear_trained, route, scale_features, shares, with_slice};
use crate::param::{Param, Role};
use crate::slots::Router;
use crate::telemetry::Routing;
use candle_core::{Device, Tensor};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Share of a pass in what is smoothed: the last fifty or so count.
const NEW: f32 = 0.02;

/// A router with its values.
pub(super) struct HeldMix {
    experts: usize,
    top: usize,
    router: Held,
    seen: Mutex<Seen>,
    /// The balance loss of the last training pass, until somebody asks for it.
    owed: Mutex<Option<Tensor>>,
    /// Whether the mean stands in the router's place.
    fixed: AtomicBool,
    /// While the choice of the first pass is kept for all: nothing before it.
    held: Mutex<Option<Option<Arc<Choice>>>>,
}

/// What the router did, smoothed.
#[derive(Default)]
struct Seen {
    /// Mean entropy of its softmax, nats.
    entropy: f32,
    /// Share of its choices by expert; empty before the first pass.
    load: Vec<f32>,
    /// Mean weight by expert.
    mean: Vec<f32>,
    /// Step and first row of the pass that was taken in last: a pass that is computed again counts once.
    last: Option<(u64, u64)>,
}

impl Seen {
    fn take_in(&mut self, entropy: f32, load: &[f32], mean: &[f32]) {
        if self.load.is_empty() {
            (self.entropy, self.load, self.mean) = (entropy, load.to_vec(), mean.to_vec());
            return;
        }
        let towards = |old: &mut f32, new: f32| *old += NEW * (new - *old);
        towards(&mut self.entropy, entropy);
        self.load.iter_mut().zip(load).for_each(|(old, new)| towards(old, *new));
        self.mean.iter_mut().zip(mean).for_each(|(old, new)| towards(old, *new));
    }
}

impl HeldMix {
    /// A router named `<name>.router` over layers of `in_features` inputs.
    pub(super) fn build(name: &str, router: &Router, in_features: usize, seed: u64) -> Result<Self> {
        let (name, shape) = (format!("{name}.router"), [router.experts, in_features]);
        let place = Place { name: &name, role: Role::Core, shape: &shape, seed, found: None, principal: None };
        Ok(Self {
            experts: router.experts,
            top: router.top,
            router: Held::build(&router.factor, &place)?,
            seen: Mutex::default(),
            owed: Mutex::default(),
            fixed: AtomicBool::new(false),
            held: Mutex::default(),
        })
    }

    /// `Σ_e w_e(x) · s B_e A_e drop(x)` for `x` and `dropped` (.., in). `balance` is the weight of the loss that is owed
    /// for a training pass.
    pub(super) fn forward(
        &self,
        chain: &HeldChain,
        (x, dropped): (&Tensor, &Tensor),
        balance: Option<f64>,
        ctx: &ForwardContext,
    ) -> Result<Tensor> {
        let (a, b, scale) = chain.factors()?;
        let inner = linear_trained(dropped, &a, None)?;
        let routed = if self.is_fixed() {
            scale_features(&inner, &self.by_direction(b.dim(1)?)?)?
        } else {
            let logits = linear_trained(x, &self.router.tensor()?, None)?;
            let choice = self.choice(&logits)?;
            if ctx.training {
                let counted = counted(choice.tokens(), ctx);
                self.look(&logits, &choice, &counted, ctx)?;
                if let (Some(weight), true) = (balance, counted.contains(&true)) {
                    *self.owed.lock() = Some(expert_balance(&logits, &choice, &counted)?.affine(weight, 0.0)?);
                }
            }
            route(&inner, &logits, &choice)?
        };
        Ok(linear_trained(&routed, &b, None)?.affine(scale, 0.0)?)
    }

    /// Who answers for the tokens of a pass.
    fn choice(&self, logits: &Tensor) -> Result<Arc<Choice>> {
        let mut held = self.held.lock();
        if let Some(Some(choice)) = &*held
            && choice.chosen().len() == logits.elem_count()
        {
            return Ok(Arc::clone(choice));
        }
        let choice = Arc::new(Choice::of(logits, self.top)?);
        if let Some(held) = held.as_mut() {
            *held = Some(Arc::clone(&choice));
        }
        Ok(choice)
    }

    /// Keeps the choice of the next pass for those that follow, or lets it go.
    pub(super) fn hold(&self, on: bool) {
        *self.held.lock() = on.then_some(None);
    }

    /// The balance loss of the last training pass, once.
    pub(super) fn take_owed(&self) -> Option<Tensor> {
        self.owed.lock().take()
    }

    /// Takes the choices of a pass in.
    fn look(&self, logits: &Tensor, choice: &Choice, counted: &[bool], ctx: &ForwardContext) -> Result<()> {
        let pass = (ctx.step, ctx.rows_in_step.first().copied().unwrap_or(0));
        let count = counted.iter().filter(|counted| **counted).count();
        let mut seen = self.seen.lock();
        if count == 0 || seen.last.replace(pass) == Some(pass) {
            return Ok(());
        }
        let (mut entropy, mut mean) = (0f64, vec![0f64; self.experts]);
        with_slice(logits, |logits| {
            let weights = choice.weights(logits);
            let p = crate::kernels::softmax::softmax(logits, self.experts);
            let rows = weights.chunks(self.experts).zip(p.chunks(self.experts)).zip(counted);
            for ((weights, p), _) in rows.filter(|(_, counted)| **counted) {
                entropy -= p.iter().filter(|p| **p > 0.0).map(|p| f64::from(*p) * f64::from(*p).ln()).sum::<f64>();
                mean.iter_mut().zip(weights).for_each(|(mean, weight)| *mean += f64::from(*weight));
            }
        })?;
        let count = count as f64;
        let load: Vec<f32> = shares(choice, counted).into_iter().map(|share| share as f32).collect();
        let mean: Vec<f32> = mean.into_iter().map(|sum| (sum / count) as f32).collect();
        seen.take_in((entropy / count) as f32, &load, &mean);
        Ok(())
    }

    /// What it was seen doing; an even choice before anything was seen.
    pub(super) fn routing(&self) -> Routing {
        let seen = self.seen.lock();
        let wide = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
        if seen.load.is_empty() {
            let even = vec![1.0 / self.experts as f64; self.experts];
            return Routing { load: even.clone(), mean: even, entropy: (self.experts as f64).ln() };
        }
        Routing { load: wide(&seen.load), mean: wide(&seen.mean), entropy: f64::from(seen.entropy) }
    }

    /// Puts the mean in the router's place, or the router back.
    pub(super) fn fix(&self, on: bool) -> bool {
        self.fixed.swap(on, Ordering::Relaxed)
    }

    pub(super) fn is_fixed(&self) -> bool {
        self.fixed.load(Ordering::Relaxed)
    }

    /// The mean weight of each of `width` directions; a constant.
    fn by_direction(&self, width: usize) -> Result<Tensor> {
        let (mean, rank) = (self.routing().mean, width / self.experts.max(1));
        let all: Vec<f32> = mean.into_iter().flat_map(|mean| std::iter::repeat_n(mean as f32, rank)).collect();
        let count = all.len();
        Ok(Tensor::from_vec(all, count, &Device::Cpu)?)
    }

    /// The change with the mean in the router's place: A (r, in), B (out, r) and its scale.
    pub(super) fn mean(&self, chain: &HeldChain) -> Result<(Tensor, Tensor, f64)> {
        let (a, b, scale) = chain.joined()?;
        let weights = self.by_direction(b.dim(1)?)?;
        Ok((a, b.broadcast_mul(&weights)?, scale))
    }

    /// What it was seen doing, for a checkpoint; none before the first pass.
    pub(super) fn remembered(&self) -> Result<Option<Tensor>> {
        let seen = self.seen.lock();
        if seen.load.is_empty() {
            return Ok(None);
        }
        let all: Vec<f32> = std::iter::once(seen.entropy).chain(seen.load.clone()).chain(seen.mean.clone()).collect();
        let count = all.len();
        Ok(Some(Tensor::from_vec(all, count, &Device::Cpu)?))
    }

    /// Takes it from a checkpoint, or forgets what there was.
    pub(super) fn recall(&self, saved: Option<&Tensor>) -> Result<()> {
        let all = saved.map(values).transpose()?.unwrap_or_default();
        let mut seen = Seen::default();
        if let (Some((entropy, rest)), true) = (all.split_first(), all.len() == 1 + 2 * self.experts) {
            let (load, mean) = rest.split_at(self.experts);
            (seen.entropy, seen.load, seen.mean) = (*entropy, load.to_vec(), mean.to_vec());
        }
        *self.seen.lock() = seen;
        *self.owed.lock() = None;
        Ok(())
    }

    pub(super) fn params(&self) -> impl Iterator<Item = Param> {
        self.router.params()
    }
}

/// For each token of a pass whether it is one: padding is not. All of them where the pass has other rows than its context.
fn counted(tokens: usize, ctx: &ForwardContext) -> Arc<[bool]> {
    if tokens != ctx.batch * ctx.width {
        return vec![true; tokens].into();
    }
    let mut counted = vec![false; tokens];
    for (row, borders) in counted.chunks_mut(ctx.width.max(1)).zip(ctx.borders.iter()) {
        let end = borders.last().copied().unwrap_or(0) as usize;
        row.iter_mut().take(end).for_each(|counted| *counted = true);
    }
    counted.into()
}
