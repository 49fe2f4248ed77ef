//! Eight layers of 32 x 32 whose goals need 12, 8, 2, 1, 1, 0, 0 and 0 directions of norm 1, and a budget of 24: where
//! methods put their directions.
//!
//! Inputs are white, so that the loss is the squared distance from the goals; what is told is its share that is left: 1 is
//! no adaptation, 0 is solved. Expected numbers are those of a prototype in double precision.

use crate::compare::{self, Comparison, Method, Side};
use crate::layer::{cosine, descend, normal, sized};
use anyhow::{Context as _, Result};
use candle_core::{DType, Device, Tensor};
use std::sync::Arc;
use temper_methods::SiteDims;
use temper_nn::{ForwardContext, FrozenLinear, FrozenWeight, LinearSite, StorageKind};
use temper_protocol::Value;

/// Features in and out.
const SIDE: usize = 32;
const WANTED: [usize; 8] = [12, 8, 2, 1, 1, 0, 0, 0];
const STEPS: usize = 500;

/// A method on the eight layers. Record: see the constants.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    method: Method,
    rates: &'static [f64],
}

/// What is left of the error.
const LEFT: usize = 0;
/// How many directions there are in all.
const DIRECTIONS: usize = 1;
/// 1 where each layer has the directions it needs, give or take one; else 0.
const AS_NEEDED: usize = 2;
/// 1 where layers that need more have no fewer on average; else 0.
const ORDERED: usize = 3;
/// Directions of the layer that has most.
const MOST: usize = 4;
/// How many of the two layers that need most are changed.
const TOP_TWO: usize = 5;
/// How many of the three.
const TOP_THREE: usize = 6;

/// A change of norm √rank with that many directions.
fn change(seed: u64, index: usize, rank: usize) -> Result<Tensor> {
    if rank == 0 {
        return Ok(Tensor::zeros((SIDE, SIDE), DType::F32, &Device::Cpu)?);
    }
    let b = normal(seed, &format!("b{index}"), SIDE, rank)?;
    sized(&b.matmul(&normal(seed, &format!("a{index}"), rank, SIDE)?)?, (rank as f64).sqrt())
}

/// The layers with a method on them, and their goals.
fn layers(method: &Method, seed: u64) -> Result<(Vec<LinearSite>, Vec<Tensor>)> {
    let name = |index: usize| format!("layers.{index}.attn.v");
    let dims: Vec<SiteDims> = (0..WANTED.len())
        .map(|index| SiteDims {
            name: name(index),
            hf_name: format!("model.layers.{index}.self_attn.v_proj"),
            out_features: SIDE,
            in_features: SIDE,
            layer: Some(index),
            window: (1, 1),
            bias: false,
        })
        .collect();
    let plan = method.plan(&dims, seed)?;
    let (mut sites, mut goals) = (Vec::new(), Vec::new());
    for (index, rank) in WANTED.iter().enumerate() {
        let name = name(index);
        let weight = normal(seed, &name, SIDE, SIDE)?.affine(0.1, 0.0)?;
        goals.push((&weight + change(seed, index, *rank)?)?);
        let weight = FrozenWeight::from_tensor(&name, &weight, StorageKind::F32)?;
        let mut site = LinearSite::new(name.clone(), FrozenLinear { weight: Arc::new(weight), bias: None });
        // Half of them are left out where only the others are to change.
        if let Some(slots) = plan.slots(&name) {
            site.attach(slots, seed)?;
        }
        sites.push(site);
    }
    Ok((sites, goals))
}

/// What is left after all steps, and the directions of each layer.
fn trained(method: &Method, seed: u64, lr: f64) -> Result<(f64, Vec<usize>)> {
    let (mut sites, goals) = layers(method, seed)?;
    // The unit vectors: the loss over them is that over white inputs.
    let x = Tensor::eye(SIDE, DType::F32, &Device::Cpu)?;
    let loss = |sites: &[&mut LinearSite], step: u64| -> Result<Tensor> {
        let ctx = ForwardContext { training: true, seed: 1, step, ..ForwardContext::plain(1, SIDE) };
        let mut loss = Tensor::new(0f32, &Device::Cpu)?;
        for (site, goal) in sites.iter().zip(&goals) {
            loss = (loss + (site.forward(&x, &ctx)? - goal.t()?)?.sqr()?.sum_all()?)?;
        }
        Ok(loss)
    };
    let mut every: Vec<&mut LinearSite> = sites.iter_mut().collect();
    descend(&mut every, loss, STEPS, cosine(lr, STEPS), |_| Ok(()))?;
    let (mut left, mut ranks) = (0.0, Vec::new());
    for (site, goal) in sites.iter().zip(&goals) {
        let off = (site.merged()?.context("it does not merge")? - goal)?;
        left += f64::from(off.sqr()?.sum_all()?.to_scalar::<f32>()?);
        let telemetry = if site.is_adapted() { site.telemetry()? } else { None };
        ranks.push(telemetry.filter(|telemetry| telemetry.energy > 0.0).map_or(0, |telemetry| telemetry.rank));
    }
    Ok((left / WANTED.iter().sum::<usize>() as f64, ranks))
}

impl Job {
    pub(crate) fn run(&self, seed: u64) -> Result<Vec<f64>> {
        let mut best = (f64::INFINITY, Vec::new());
        for lr in self.rates {
            let found = trained(&self.method, seed, *lr)?;
            if found.0 < best.0 {
                best = found;
            }
        }
        let (left, ranks) = best;
        let told = |yes: bool| if yes { 1.0 } else { 0.0 };
        let as_needed = ranks.iter().zip(WANTED).all(|(found, wanted)| found.abs_diff(wanted) <= 1);
        let mean = |part: &[usize]| part.iter().sum::<usize>() as f64 / part.len() as f64;
        let ordered = match ranks.as_slice() {
            [many @ .., f, g, h] => {
                let (first, few) = many.split_at(2);
                mean(first) >= mean(few) && mean(few) >= mean(&[*f, *g, *h])
            }
            _ => false,
        };
        let top = |count: usize| ranks.iter().take(count).filter(|rank| **rank > 0).count() as f64;
        let most = ranks.iter().copied().max().unwrap_or(0);
        let directions = ranks.iter().sum::<usize>();
        Ok(vec![left, directions as f64, told(as_needed), told(ordered), most as f64, top(2), top(3)])
    }
}

fn side(label: &'static str, method: &Method, rates: &'static [f64], at: usize, expected: Option<f64>) -> Side {
    Side { label, job: compare::Job::Spread(Job { method: method.clone(), rates }), at, expected }
}

/// Both rates.
const RATES: &[f64] = &[1e-2, 3e-2];
/// Where a rate above would move gates or factors of a short search too far.
const LOW: &[f64] = &[1e-2];

fn uniform() -> Side {
    side("rank 3 everywhere", &Method::lora(3), RATES, LEFT, Some(0.31))
}

fn increlora(top: i64, every: i64) -> Method {
    Method::new(
        "increlora",
        &[
            ("rank", Value::Integer(3)),
            ("scale", Value::Number(1.0)),
            ("top", Value::Integer(top)),
            ("grow_by", Value::Integer(1)),
            ("every_steps", Value::Integer(every)),
            ("orthogonality", Value::Number(0.1)),
        ],
    )
}

fn sora(threshold: f64) -> Method {
    Method::new(
        "sora",
        &[
            ("rank", Value::Integer(12)),
            ("alpha", Value::Number(12.0)),
            ("threshold", Value::Number(threshold)),
            ("l1", Value::Number(0.0)),
        ],
    )
}

pub(crate) fn comparisons() -> Vec<Comparison> {
    let adalora = Method::new(
        "adalora",
        &[
            ("init_rank", Value::Integer(12)),
            ("rank", Value::Integer(3)),
            ("alpha", Value::Number(12.0)),
            ("orthogonality", Value::Number(0.1)),
        ],
    );
    let diffora = Method::new(
        "diffora",
        &[
            ("rank", Value::Integer(6)),
            ("alpha", Value::Number(6.0)),
            ("search_share", Value::Number(0.1)),
            ("gate_lr_ratio", Value::Number(5.0)),
            ("cost", Value::Number(0.1)),
        ],
    );
    let (pair, four, greedy) = (increlora(2, 20), increlora(4, 20), increlora(1, 16));
    let (low, middle, high) = (sora(1e-3), sora(3e-3), sora(1e-2));
    vec![
        Comparison::new(
            "adalora: a fifth of what the same rank everywhere leaves",
            vec![side("AdaLoRA", &adalora, RATES, LEFT, Some(0.005)), uniform()],
            |left| left[0] <= 0.2 * left[1],
        ),
        Comparison::new(
            "adalora: every layer has what it needs, give or take one, under every seed, 24 in all",
            vec![
                side("as needed", &adalora, RATES, AS_NEEDED, Some(1.0)),
                side("in all", &adalora, RATES, DIRECTIONS, Some(24.0)),
            ],
            |found| found[0] == 1.0 && found[1] == 24.0,
        ),
        Comparison::new(
            "increlora: two at a time leave .4 of what the same rank everywhere leaves",
            vec![side("two at a time", &pair, RATES, LEFT, Some(0.05)), uniform()],
            |left| left[0] <= 0.4 * left[1],
        ),
        Comparison::new(
            "increlora: the budget is used to the direction",
            vec![side("in all", &pair, RATES, DIRECTIONS, Some(24.0))],
            |found| found[0] == 24.0,
        ),
        Comparison::new(
            "increlora: one at a time is greedy",
            vec![
                side("one at a time", &greedy, RATES, LEFT, Some(0.28)),
                side("its largest layer", &greedy, RATES, MOST, Some(17.0)),
                side("two at a time", &pair, RATES, LEFT, Some(0.05)),
            ],
            |found| found[0] > found[2] && found[1] > 12.0,
        ),
        Comparison::new(
            "increlora: four at a time",
            vec![
                side("four at a time", &four, RATES, LEFT, Some(0.15)),
                side("two at a time", &pair, RATES, LEFT, Some(0.05)),
            ],
            |left| left[0] > left[1],
        )
        .told(),
        Comparison::new(
            "sora: fewer gates are open the larger the threshold",
            vec![
                side("at .001", &low, LOW, DIRECTIONS, Some(62.0)),
                side("at .003", &middle, LOW, DIRECTIONS, Some(30.0)),
                side("at .01", &high, LOW, DIRECTIONS, Some(0.0)),
            ],
            |open| open[0] >= open[1] && open[1] >= open[2] && open[2] == 0.0,
        ),
        Comparison::new(
            "sora: layers that need more keep more, under every seed",
            vec![
                side("ordered at .001", &low, LOW, ORDERED, Some(1.0)),
                side("ordered at .003", &middle, LOW, ORDERED, Some(1.0)),
            ],
            |found| found[0] == 1.0 && found[1] == 1.0,
        ),
        Comparison::new(
            "sora: what is left grows with the threshold",
            vec![
                side("at .001", &low, LOW, LEFT, Some(0.01)),
                side("at .003", &middle, LOW, LEFT, Some(0.25)),
                side("at .01", &high, LOW, LEFT, Some(1.0)),
                uniform(),
            ],
            |left| left[0] < left[1] && left[1] < left[2] && left[0] < left[3],
        ),
        Comparison::new(
            "diffora: half of the layers at twice the rank leave .7 of the same rank everywhere",
            vec![
                side("DiffoRA", &diffora, LOW, LEFT, Some(0.14)),
                uniform(),
                side("of the top two kept", &diffora, LOW, TOP_TWO, Some(2.0)),
            ],
            |left| left[0] <= 0.7 * left[1] && left[2] == 2.0,
        ),
        Comparison::new(
            "diffora: and less than half of the layers by chance",
            vec![
                side("DiffoRA", &diffora, LOW, LEFT, Some(0.14)),
                side("by chance", &Method::lora(6).on_half_by_chance(), RATES, LEFT, Some(0.57)),
                side("of the top three kept", &diffora, LOW, TOP_THREE, Some(3.0)),
            ],
            |left| left[0] < left[1] && left[2] == 3.0,
        ),
    ]
}
