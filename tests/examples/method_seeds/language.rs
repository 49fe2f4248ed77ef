//! The bundled starter as a small language model: rounding and repair on plain text, and a language of its own, the same
//! kind of text read backwards.
//!
//! Rows of 48 tokens, four to a step; forty rows are kept for the comparison, the order of the others follows the seed. A
//! loss is in nats per token. The learning rate falls as a cosine, the best of some rates counts.

use crate::compare::{self, Comparison, Method, Side};
use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use temper_data::TextCodec;
use temper_methods::Imitation;
use temper_models::{BaseKind, Model};
use temper_nn::rng::Stream;
use temper_nn::{AdamW, AdamWConfig, ForwardContext, Grads, ParamSet};
use temper_protocol::{Project, Value};
use temper_train::attach::{Attached, attach_on};
use temper_train::driver::{Driver, MicroLoss, Tokens};
use temper_train::phases::PhaseClock;

const ROWS: usize = 4;
const WIDTH: usize = 48;
/// Batches that are kept for the comparison.
const KEPT: usize = 10;

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    /// Like what the model was trained on.
    Prose,
    /// Unlike it: backwards.
    Backwards,
}

/// A method on the starter. Record: see the constants.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    method: Method,
    /// How the model's weights are held.
    base: &'static str,
    text: Text,
    /// Steps; none where the start alone is told.
    steps: usize,
    /// The lowest loss at the end counts.
    rates: &'static [f64],
    /// Whether what is trained starts as random numbers of the same size.
    forgets_start: bool,
}

/// Loss on the kept text before any step.
const LOSS_BEFORE: usize = 0;
/// The same after all.
const LOSS: usize = 1;
/// Divergence from the model as its file has it, after all steps.
const DIVERGENCE: usize = 2;
/// How many numbers are trained.
const NUMBERS: usize = 3;
/// The share of them in the model's.
const SHARE: usize = 4;
/// Largest entry that the change adds to queries over their largest entry, mean over blocks.
const QUERY_SHARE: usize = 5;
/// Largest difference of the logits from the base's while the method is switched off.
const OFF: usize = 6;
/// Loss of the base.
const LOSS_BASE: usize = 7;

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets")
}

fn starter(base: &str) -> Result<Model> {
    let kind = base.parse::<BaseKind>()?;
    Ok(Model::load(&assets().join("starter"), kind, &mut |_, _, _| {})?)
}

/// Batches to learn from in the seed's order, and those that are kept.
fn batches(text: Text, seed: u64) -> Result<(Vec<Tokens>, Vec<Tokens>)> {
    let codec = TextCodec::from_hf_folder(&assets().join("starter"))?;
    let file = match text {
        Text::Prose => "probes/prose.txt",
        Text::Backwards => "starter/data.jsonl",
    };
    let ids = codec.encode(&std::fs::read_to_string(assets().join(file))?, false)?;
    let mut rows: Vec<Vec<u32>> = ids.chunks_exact(WIDTH + 1).map(<[u32]>::to_vec).collect();
    if text == Text::Backwards {
        rows.iter_mut().for_each(|row| row.reverse());
    }
    let kept = rows.split_off(rows.len() - ROWS * KEPT);
    Stream::new(seed, "rows").shuffle(&mut rows);
    let batch = |rows: &[Vec<u32>]| {
        let ids = rows.iter().flat_map(|row| row.iter().take(WIDTH).copied()).collect::<Arc<[u32]>>();
        let targets = rows.iter().flat_map(|row| row.iter().skip(1).copied()).collect::<Arc<[u32]>>();
        let ctx = ForwardContext { training: true, seed, ..ForwardContext::plain(ROWS, WIDTH) };
        Tokens { ids, targets, ctx, examples: [].into() }
    };
    Ok((rows.chunks_exact(ROWS).map(batch).collect(), kept.chunks_exact(ROWS).map(batch).collect()))
}

/// A micro-step with the gradient of the mean loss.
fn micro(driver: &Driver, model: &Model, batch: &Tokens) -> Result<(MicroLoss, Grads)> {
    let mut grads = Grads::new();
    let scales = (1.0 / (ROWS * WIDTH) as f64, 1.0);
    let found = driver.micro_step(model, batch, scales, &mut grads, &mut PhaseClock::default())?;
    Ok((found, grads))
}

/// Loss and divergence from the original on batches, nats a token.
fn measure(model: &Model, batches: &[Tokens]) -> Result<(f64, f64)> {
    let mut driver = Driver::new(model, false);
    driver.imitate(Some(Imitation { share: 1.0, divergence: 1.0, cross_entropy: 0.0, features: 0.0 }));
    let (mut loss, mut divergence) = (0.0, 0.0);
    for batch in batches {
        let ctx = ForwardContext { training: false, ..batch.ctx.clone() };
        let (found, _) = micro(&driver, model, &Tokens { ctx, ..batch.clone() })?;
        loss += found.loss_sum;
        divergence += found.divergence;
    }
    let tokens = (batches.len() * ROWS * WIDTH) as f64;
    Ok((loss / tokens, divergence / tokens))
}

fn train(model: &Model, attached: &Attached, batches: &[Tokens], lr: f64) -> Result<()> {
    let mut driver = Driver::new(model, false);
    let mut optimiser = AdamW::new(AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() });
    for (index, batch) in batches.iter().enumerate() {
        let (step, total) = (index as u64 + 1, batches.len() as u64);
        driver.imitate(attached.imitation.filter(|imitation| imitation.is_at(step, total)));
        let ctx = ForwardContext { step, ..batch.ctx.clone() };
        let (_, mut grads) = micro(&driver, model, &Tokens { ctx, ..batch.clone() })?;
        grads.clip_global_norm(1.0)?;
        let share = index as f64 / batches.len() as f64;
        optimiser.step(&attached.params, &grads, lr * 0.5 * (1.0 + (std::f64::consts::PI * share).cos()))?;
    }
    Ok(())
}

/// Random numbers of the same size in the place of all that is trained.
fn draw(params: &ParamSet, seed: u64) -> Result<()> {
    for param in params {
        let size = f64::from(param.var.sqr()?.mean_all()?.to_scalar::<f32>()?).sqrt();
        let mut drawn = vec![0f32; param.elements()];
        Stream::new(seed, &param.name).fill_normal(&mut drawn, size);
        param.var.set(&Tensor::from_vec(drawn, param.var.shape(), &Device::Cpu)?)?;
    }
    Ok(())
}

/// Mean over blocks of what is added to queries over what they are.
fn query_share(model: &Model, batch: &Tokens) -> Result<f64> {
    let sizes = Driver::new(model, false).attention_sizes(model, batch)?;
    let largest = |values: &[f32]| values.iter().copied().map(f64::from).fold(0.0, f64::max);
    let shares: Vec<f64> =
        sizes.iter().flatten().map(|sizes| largest(&sizes.change_max) / largest(&sizes.q_max).max(1e-9)).collect();
    Ok(shares.iter().sum::<f64>() / shares.len().max(1) as f64)
}

/// Largest difference of a model that is switched off from its base.
fn off(model: &Model, base: &Model, batch: &Tokens) -> Result<f64> {
    model.set_enabled(false);
    let ctx = ForwardContext { training: false, ..batch.ctx.clone() };
    let difference = (model.logits(&batch.ids, &ctx)? - base.logits(&batch.ids, &ctx)?)?;
    model.set_enabled(true);
    Ok(f64::from(difference.abs()?.max_all()?.to_scalar::<f32>()?))
}

impl Job {
    pub(crate) fn run(&self, seed: u64) -> Result<Vec<f64>> {
        let (seen, kept) = batches(self.text, seed)?;
        ensure!(seen.len() >= self.steps && kept.len() == KEPT, "{} batches are too few", seen.len());
        let mut project = Project::new("seeds", "builtin:starter", &["text".to_owned()], self.method.id);
        project.method.settings = self.method.values();
        project.train.seed = seed;
        let mut best: Option<Vec<f64>> = None;
        for lr in self.rates {
            let mut model = starter(self.base)?;
            let base = measure(&model, &kept)?.0;
            let attached = attach_on(&mut model, &project, &mut |number, rows| {
                Ok(seen.get(number).filter(|_| number * ROWS < rows).cloned())
            })?;
            if self.forgets_start {
                draw(&attached.params, seed)?;
            }
            let before = measure(&model, &kept)?.0;
            train(&model, &attached, seen.get(..self.steps).unwrap_or(&seen), *lr)?;
            let (loss, divergence) = measure(&model, &kept)?;
            let numbers = attached.params.trained()? as f64;
            let share = numbers / model.parameter_count() as f64;
            let first = kept.first().ok_or_else(|| anyhow::anyhow!("nothing is kept"))?;
            let (queries, off) = (query_share(&model, first)?, off(&model, &starter(self.base)?, first)?);
            if best.as_ref().and_then(|best| best.get(LOSS)).is_none_or(|lowest| loss < *lowest) {
                best = Some(vec![before, loss, divergence, numbers, share, queries, off, base]);
            }
        }
        best.ok_or_else(|| anyhow::anyhow!("no rate"))
    }
}

fn job(method: Method, base: &'static str, text: Text, steps: usize, rates: &'static [f64]) -> Job {
    Job { method, base, text, steps, rates, forgets_start: false }
}

fn side(label: &'static str, job: &Job, at: usize) -> Side {
    Side { label, job: compare::Job::Language(job.clone()), at, expected: None }
}

fn integer(key: &'static str, value: i64) -> (&'static str, Value) {
    (key, Value::Integer(value))
}

fn number(key: &'static str, value: f64) -> (&'static str, Value) {
    (key, Value::Number(value))
}

pub(crate) fn comparisons() -> Vec<Comparison> {
    [repair(), thin_layers(), another_language(), attention()].into_iter().flatten().collect()
}

/// What rounding took.
fn repair() -> Vec<Comparison> {
    let int2_1 = |share: f64| {
        let settings = [integer("rank", 8), number("alpha", 16.0), number("repair_share", share)];
        job(Method::new("int2.1", &settings), "int2", Text::Prose, 90, &[5e-3])
    };
    let (repaired, fitted) = (int2_1(1.0), int2_1(0.0));
    let rounded = job(Method::lora(8), "int2", Text::Prose, 0, &[1e-3]);
    let whole = job(Method::lora(8), "auto", Text::Prose, 0, &[1e-3]);
    let at_rank = |base: &'static str, id: &'static str, more: &[(&'static str, Value)]| {
        let settings = [&[integer("rank", 16)][..], more].concat();
        job(Method::new(id, &settings), base, Text::Prose, 0, &[1e-3])
    };
    let loftq = ("start", Value::Text("loftq".to_owned()));
    let plain_start = [number("alpha", 16.0), loftq, integer("start_rounds", 1)];
    let (plain, eora) = (at_rank("int2", "lora", &plain_start), at_rank("int2", "eora", &[]));
    let (plain_three, eora_three) = (at_rank("int3", "lora", &plain_start), at_rank("int3", "eora", &[]));
    let three = job(Method::lora(8), "int3", Text::Prose, 0, &[1e-3]);
    let (rank, alpha) = (integer("rank", 16), number("alpha", 16.0));
    let lq = Method::new("lq-lora", &[rank.clone(), alpha.clone(), number("budget", 2.75)]);
    let lq = job(lq, "auto", Text::Prose, 90, &[2e-3, 5e-3]);
    let zero = job(Method::new("lora", &[rank, alpha]), "int2-g32", Text::Prose, 90, &[2e-3, 5e-3]);
    vec![
        Comparison::new(
            "int2.1: repair closes half of the gap in loss that two bits leave",
            vec![
                side("repaired", &repaired, LOSS),
                side("rounded", &rounded, LOSS),
                side("before rounding", &whole, LOSS),
            ],
            |loss| loss[0] - loss[2] <= 0.5 * (loss[1] - loss[2]) && loss[1] > loss[2] + 0.05,
        ),
        Comparison::new(
            "int2.1: the loss alone drifts away from the model before rounding, repair comes back to it",
            vec![
                side("repaired", &repaired, DIVERGENCE),
                side("by the loss alone", &fitted, DIVERGENCE),
                side("rounded", &rounded, DIVERGENCE),
            ],
            |apart| apart[0] < apart[2] && apart[2] < apart[1],
        ),
        Comparison::new(
            "eora: without training it repairs more of the divergence than a plain product, and that more than nothing",
            vec![
                side("by inputs", &eora, DIVERGENCE),
                side("plain", &plain, DIVERGENCE),
                side("rounded", &rounded, DIVERGENCE),
            ],
            |apart| apart[0] < apart[1] && apart[1] < apart[2],
        ),
        Comparison::new(
            "eora: the same of the loss",
            vec![side("by inputs", &eora, LOSS), side("plain", &plain, LOSS), side("rounded", &rounded, LOSS)],
            |loss| loss[0] < loss[1] && loss[1] < loss[2],
        ),
        Comparison::new(
            "eora: the same of the loss at three bits",
            vec![
                side("by inputs", &eora_three, LOSS),
                side("plain", &plain_three, LOSS),
                side("rounded", &three, LOSS),
            ],
            |loss| loss[0] < loss[1] && loss[1] < loss[2],
        ),
        Comparison::new(
            "lq-lora: at 2.75 bits it starts lower than LoRA over the same bits",
            vec![side("LQ-LoRA", &lq, LOSS_BEFORE), side("LoRA", &zero, LOSS_BEFORE)],
            |loss| loss[0] < loss[1],
        ),
        Comparison::new(
            "lq-lora: and ends no higher",
            vec![side("LQ-LoRA", &lq, LOSS), side("LoRA", &zero, LOSS)],
            |loss| loss[0] <= loss[1],
        ),
    ]
}

fn thin_layers() -> Vec<Comparison> {
    let pela = |share: f64| {
        let settings = [number("healing_share", share), number("divergence_weight", 1.0)];
        job(Method::new("pela", &settings), "auto", Text::Prose, 90, &[2e-3])
    };
    let (healed, plain) = (pela(0.5), pela(0.0));
    let random = Job { forgets_start: true, ..plain.clone() };
    let whole = job(Method::lora(8), "auto", Text::Prose, 0, &[1e-3]);
    vec![Comparison::new(
        "pela: healed layers end lower than decomposed ones, those lower than random ones",
        vec![
            side("healed", &healed, LOSS),
            side("decomposed", &plain, LOSS),
            side("random", &random, LOSS),
            side("the whole model", &whole, LOSS),
        ],
        |loss| loss[0] < loss[1] && loss[1] < loss[2],
    )]
}

fn another_language() -> Vec<Comparison> {
    const RATES: &[f64] = &[2e-3, 6e-3, 2e-2];
    let backwards = |method| job(method, "auto", Text::Backwards, 60, RATES);
    let miss = backwards(Method::new("miss", &[integer("rank", 16)]));
    let lora = backwards(Method::new("lora", &[integer("rank", 8), number("alpha", 16.0)]));
    let loldu = backwards(Method::new("loldu", &[integer("rank", 64), number("alpha", 64.0)]));
    let usual = job(Method::lora(16), "auto", Text::Backwards, 0, &[2e-3]);
    let mola = |experts: &str| {
        let experts = ("experts", Value::List(experts.split(' ').map(str::to_owned).collect()));
        backwards(Method::new("mola", &[integer("rank", 2), number("alpha", 4.0), experts]))
    };
    let (up, down, flat) = (mola("1 2 3"), mola("3 2 1"), mola("2"));
    let (norms, inverse) = (backwards(Method::new("ln", &[])), backwards(Method::new("inv-adapter", &[])));
    vec![
        Comparison::new(
            "miss: within 5 % of LoRA's loss at equal parameters",
            vec![side("MiSS", &miss, LOSS), side("LoRA", &lora, LOSS), side("before", &lora, LOSS_BEFORE)],
            |loss| loss[0] <= 1.05 * loss[1] && loss[1] < loss[2],
        ),
        Comparison::new(
            "loldu: it learns more than norms alone do, from less than a hundredth of LoRA's usual numbers",
            vec![
                side("64 pivots a layer", &loldu, LOSS),
                side("norms", &norms, LOSS),
                side("numbers", &loldu, NUMBERS),
                side("norms' numbers", &norms, NUMBERS),
                side("LoRA's numbers", &usual, NUMBERS),
            ],
            |found| found[0] < found[1] && found[2] <= 0.01 * found[4],
        ),
        Comparison::new(
            "mola: more experts higher up, lower down, or the same everywhere, as many in all",
            vec![
                side("more higher up", &up, LOSS),
                side("more lower down", &down, LOSS),
                side("the same", &flat, LOSS),
                side("numbers", &up, NUMBERS),
                side("the same's numbers", &flat, NUMBERS),
            ],
            |found| found[0] <= found[1] && found[0] <= found[2],
        )
        .told(),
        Comparison::new(
            "inv-adapter: another language is learned by less than a tenth of the parameters, off it is the base to the bit",
            vec![
                side("loss", &inverse, LOSS),
                side("of the base", &inverse, LOSS_BASE),
                side("share", &inverse, SHARE),
                side("off by", &inverse, OFF),
            ],
            |found| found[0] < found[1] && found[2] < 0.1 && found[3] == 0.0,
        ),
    ]
}

fn attention() -> Vec<Comparison> {
    let at = |alpha: f64| {
        let method = Method::new("lora", &[integer("rank", 8), number("alpha", alpha)]);
        job(method, "auto", Text::Backwards, 60, &[2e-3])
    };
    vec![Comparison::new(
        "lora: the share of queries that is the change's grows with alpha",
        vec![
            side("alpha 4", &at(4.0), QUERY_SHARE),
            side("alpha 16", &at(16.0), QUERY_SHARE),
            side("alpha 64", &at(64.0), QUERY_SHARE),
        ],
        |share| share[0] < share[1] && share[1] < share[2],
    )]
}
