//! Eight layers of 32 x 32 whose goals need different ranks, and less rank than all of them need: the small bench on which
//! methods show where they put their directions.
//!
//! The goals change the weights by 12, 8, 2, 1, 1, 0, 0 and 0 directions of norm 1; inputs are white, so that the loss is the
//! squared distance from the goal, relative to the distance at the start: 1 is no adaptation, 0 is solved. Three directions
//! a layer are 24 in all, as many as the goals have.

use crate::bench::{Outcome, values};
use candle_core::{Device, Tensor};
use std::sync::Arc;
use temper_methods::{Plan, SiteDims, find};
use temper_nn::optim::{AdamW, AdamWConfig};
use temper_nn::rng::Stream;
use temper_nn::rules::{At, take_step};
use temper_nn::{ForwardContext, FrozenLinear, FrozenWeight, Grads, LinearSite, Param, ParamSet, StorageKind};
use temper_protocol::Value;

/// Features in and out.
const SIDE: usize = 32;
/// Directions that each goal needs.
pub(crate) const WANTED: [usize; 8] = [12, 8, 2, 1, 1, 0, 0, 0];
/// Steps of a whole run.
pub(crate) const STEPS: u64 = 500;

/// The layers with a method on them, and where they are to go.
pub(crate) struct Bench {
    pub(crate) sites: Vec<LinearSite>,
    goals: Vec<Tensor>,
    /// Changes that a rule made, by step and site.
    pub(crate) moves: Vec<(u64, String)>,
    pub(crate) params: ParamSet,
    pub(crate) optimiser: AdamW,
}

fn normal(name: &str, seed: u64, rows: usize, cols: usize) -> Outcome<Tensor> {
    let mut drawn = vec![0f32; rows * cols];
    Stream::new(seed, name).fill_normal(&mut drawn, 1.0);
    Ok(Tensor::from_vec(drawn, (rows, cols), &Device::Cpu)?)
}

/// A change of norm √rank with that many directions.
fn change(seed: u64, index: usize, rank: usize) -> Outcome<Tensor> {
    if rank == 0 {
        return Ok(normal("none", seed, SIDE, SIDE)?.zeros_like()?);
    }
    let (b, a) = (normal(&format!("b{index}"), seed, SIDE, rank)?, normal(&format!("a{index}"), seed, rank, SIDE)?);
    let product = b.matmul(&a)?;
    let norm = f64::from(product.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt());
    Ok(product.affine((rank as f64).sqrt() / norm, 0.0)?)
}

/// What the method `id` does to the eight layers.
pub(crate) fn plan(id: &str, settings: &[(&str, Value)]) -> Outcome<Plan> {
    let dims: Vec<SiteDims> = (0..WANTED.len())
        .map(|index| SiteDims {
            name: format!("layers.{index}.attn.v"),
            hf_name: format!("model.layers.{index}.self_attn.v_proj"),
            out_features: SIDE,
            in_features: SIDE,
            layer: Some(index),
            bias: false,
            window: (1, 1),
        })
        .collect();
    Ok(find(id)?.plan(&values(settings), &dims, 1)?)
}

impl Bench {
    /// The layers of goals drawn with `seed`, with a plan on them.
    pub(crate) fn new(plan: &Plan, seed: u64) -> Outcome<Self> {
        let (mut sites, mut goals) = (Vec::new(), Vec::new());
        for (index, rank) in WANTED.iter().enumerate() {
            let name = format!("layers.{index}.attn.v");
            let weight = normal(&name, seed, SIDE, SIDE)?.affine(0.1, 0.0)?;
            goals.push((&weight + change(seed, index, *rank)?)?);
            let weight = FrozenWeight::from_tensor(&name, &weight, StorageKind::F32)?;
            let mut site = LinearSite::new(name.clone(), FrozenLinear { weight: Arc::new(weight), bias: None });
            site.attach(plan.slots(&name).ok_or("the layer is left out")?, seed)?;
            sites.push(site);
        }
        let params = ParamSet::new(sites.iter().flat_map(LinearSite::params).collect())?;
        let optimiser = AdamW::new(AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() });
        Ok(Self { sites, goals, moves: Vec::new(), params, optimiser })
    }

    /// What is left of the distance to all goals.
    pub(crate) fn error(&self) -> Outcome<f64> {
        let mut left = 0.0;
        for (site, goal) in self.sites.iter().zip(&self.goals) {
            let off = (site.merged()?.ok_or("it does not merge")? - goal)?;
            left += f64::from(off.sqr()?.sum_all()?.to_scalar::<f32>()?);
        }
        Ok(left / WANTED.iter().sum::<usize>() as f64)
    }

    /// Step `step` of `total`.
    pub(crate) fn step(&mut self, step: u64, total: u64, lr: f64) -> Outcome {
        // The unit vectors: the loss over them is that over white inputs.
        let x = Tensor::eye(SIDE, candle_core::DType::F32, &Device::Cpu)?;
        let ctx = ForwardContext { training: true, seed: 1, step, ..ForwardContext::plain(1, SIDE) };
        let mut loss = Tensor::new(0f32, &Device::Cpu)?;
        for (site, goal) in self.sites.iter().zip(&self.goals) {
            loss = (loss + (site.forward(&x, &ctx)? - goal.t()?)?.sqr()?.sum_all()?)?;
            if let Some(extra) = site.extra_loss()? {
                loss = (loss + extra)?;
            }
        }
        let mut grads = Grads::new();
        grads.collect(&self.params, &mut loss.backward()?)?;
        for site in &self.sites {
            site.map_grads(&mut grads)?;
        }
        let share = step as f64 / total as f64;
        let lr = lr * 0.5 * (1.0 + (std::f64::consts::PI * share).cos());
        let mut sites: Vec<&mut LinearSite> = self.sites.iter_mut().collect();
        let moved = take_step(&mut sites, &self.params, &mut self.optimiser, &mut grads, lr, At { step, total })?;
        self.moves.extend(moved.sites.into_iter().map(|site| (step, site)));
        if moved.params {
            self.params = ParamSet::new(self.sites.iter().flat_map(LinearSite::params).collect())?;
        }
        Ok(())
    }

    /// All steps.
    pub(crate) fn train(&mut self, lr: f64) -> Outcome<f64> {
        for step in 1..=STEPS {
            self.step(step, STEPS, lr)?;
        }
        self.error()
    }

    /// Inner width of each layer's change.
    pub(crate) fn widths(&self) -> Vec<usize> {
        let width = |site: &LinearSite| {
            let params = site.params();
            params.iter().find(|param| param.name.ends_with(".core")).map_or(0, Param::elements)
        };
        self.sites.iter().map(width).collect()
    }

    /// Directions of each layer's exported change, those that change nothing left out.
    pub(crate) fn ranks(&self) -> Outcome<Vec<usize>> {
        let mut ranks = Vec::new();
        for site in &self.sites {
            let telemetry = site.telemetry()?.ok_or("nothing is measured")?;
            ranks.push(if telemetry.energy == 0.0 { 0 } else { telemetry.rank });
        }
        Ok(ranks)
    }
}

/// The best of two learning rates: what is left, and the ranks.
pub(crate) fn best(id: &str, settings: &[(&str, Value)], seed: u64) -> Outcome<(f64, Vec<usize>)> {
    let plan = plan(id, settings)?;
    let mut best = (f64::INFINITY, Vec::new());
    for lr in [1e-2, 3e-2] {
        let mut bench = Bench::new(&plan, seed)?;
        let error = bench.train(lr)?;
        if error < best.0 {
            best = (error, bench.ranks()?);
        }
    }
    Ok(best)
}

/// LoRA with three directions everywhere: what the others are held against.
pub(crate) fn uniform(seed: u64) -> Outcome<f64> {
    Ok(best("lora", &[("rank", Value::Integer(3)), ("alpha", Value::Number(3.0))], seed)?.0)
}
