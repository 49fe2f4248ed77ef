//! The contract of methods on whole models: every registered adapter method, and every one that inserts something, on small
//! random llamas, tied and untied.
//!
//! The clauses of single layers are checked in `engine/methods/tests/contract.rs`; here they must survive a model:
//! attention with segments, norms, a head that shares the embedding, names, and several stages in a row.

use anyhow::{Context as _, Result, ensure};
use candle_core::{Device, Tensor, Var};
use std::collections::BTreeMap;
use std::sync::Arc;
use temper_methods::{Method, Promote, registry};
use temper_models::capability::{DECODER, refusal};
use temper_models::{LlamaConfig, Model};
use temper_nn::gradcheck::{GradCheck, check_parameters};
use temper_nn::layer_stats::gather;
use temper_nn::ops::IGNORE;
use temper_nn::rng::Stream;
use temper_nn::{ForwardContext, Grads, Param};
use temper_protocol::{Declared, Kind, Value, Values};
use temper_train::attach::dims_of;
use temper_train::driver::{Driver, Tokens};
use temper_train::phases::PhaseClock;

const VOCABULARY: usize = 53;
const WIDTH: usize = 12;
const LAYERS: usize = 3;

/// Grouped heads, biases in attention, three blocks.
fn config(tied: bool) -> LlamaConfig {
    LlamaConfig { tied, kv_heads: 2, attention_bias: true, ..LlamaConfig::new(VOCABULARY, 32, LAYERS, 4) }
}

/// A model whose random weights are large enough for its logits to depend on everything.
fn base(tied: bool) -> Result<Model> {
    Ok(Model::random(&config(tied), 5)?)
}

/// Puts a method on a model as the trainer does.
fn adapt(model: &mut Model, method: &dyn Method, values: &Values) -> Result<()> {
    let plan = method.plan(values, &dims_of(model).sites, 8)?;
    let selector = plan.promote.selector()?;
    model.promote(&|name| selector.selects(name))?;
    let wanted = model.sites().into_iter().filter_map(|site| Some((site, plan.slots(site.name())?.gathers()?)));
    let (seen, mut passes) = (batch(false), 0);
    let stats = gather(&wanted.collect::<Vec<_>>(), || -> Result<bool> {
        passes += 1;
        model.forward_hidden(&seen.tokens, &seen.ctx)?;
        Ok(passes < 1)
    })?;
    for site in model.sites_mut() {
        if let Some(slots) = plan.slots(site.name()) {
            let stats = stats.get(site.name()).map(|stats| &**stats);
            site.attach_with(slots, 8, stats)?;
        }
    }
    model.insert_all(&plan.insertions, 8)?;
    Ok(())
}

/// Moves every parameter, as training would.
fn shake(model: &Model, std: f64) -> Result<()> {
    for param in &model.params()? {
        let mut noise = vec![0f32; param.elements()];
        Stream::new(6, &param.name).fill_normal(&mut noise, std);
        let noise = Tensor::from_vec(noise, param.var.dims(), &Device::Cpu)?;
        param.var.set(&(param.var.as_tensor() + noise)?)?;
    }
    Ok(())
}

/// Two rows: one of two segments and padding, one filled by a single segment; about half of the positions trained.
struct Batch {
    tokens: Arc<[u32]>,
    targets: Arc<[u32]>,
    ctx: ForwardContext,
}

fn batch(training: bool) -> Batch {
    let mut stream = Stream::new(3, "tokens");
    let mut token = || stream.below(VOCABULARY as u64) as u32;
    let tokens: Arc<[u32]> = (0..2 * WIDTH).map(|_| token()).collect();
    let borders = vec![vec![0, 5, 10], vec![0, WIDTH as u32]];
    let ends = [4, 9, 10, 11, 2 * WIDTH - 1];
    let targets = (0..2 * WIDTH).map(|at| if ends.contains(&at) || at % 3 == 0 { IGNORE } else { token() }).collect();
    let ctx = ForwardContext { training, seed: 2, step: 4, ..ForwardContext::with_borders(WIDTH, borders) };
    Batch { tokens, targets, ctx }
}

fn loss(model: &Model, batch: &Batch) -> temper_models::Result<Tensor> {
    model.loss(&batch.tokens, &batch.targets, &batch.ctx)
}

fn logits(model: &Model) -> Result<Tensor> {
    let batch = batch(false);
    Ok(model.logits(&batch.tokens, &batch.ctx)?)
}

fn largest(tensor: &Tensor) -> Result<f32> {
    Ok(tensor.abs()?.max_all()?.to_scalar()?)
}

/// Largest difference over the largest value.
fn difference(left: &Tensor, right: &Tensor) -> Result<f32> {
    Ok(largest(&(left - right)?)? / largest(right)?)
}

/// Settings beside the defaults that matter for a model.
fn variants(method: &dyn Method) -> Vec<Values> {
    let known = |key: &str| method.declared().settings.iter().any(|setting| setting.key == key);
    let mut variants = vec![Values::default()];
    for (key, value) in [
        ("layers", Value::Text("1-2".to_owned())),
        ("dropout", Value::Number(0.25)),
        ("train_embeddings", Value::Flag(false)),
        ("train_norms", Value::Flag(false)),
    ] {
        if known(key) {
            variants.push(Values(BTreeMap::from([(key.to_owned(), value)])));
        }
    }
    // What is inserted has no contract of single layers where its other settings would be tried.
    for setting in method.declared().settings.iter().filter(|_| method.declared().kind == Kind::Insertion) {
        let text = |choice: &&str| Value::Text((*choice).to_owned());
        let others: Vec<Value> = match setting.default_value() {
            Value::Text(default) => setting.choices.iter().filter(|choice| **choice != default).map(text).collect(),
            Value::Flag(default) => vec![Value::Flag(!default)],
            _ if setting.key == "net_width" => vec![Value::Integer(0)],
            _ => Vec::new(),
        };
        variants.extend(others.into_iter().map(|value| Values(BTreeMap::from([(setting.key.to_owned(), value)]))));
    }
    variants
}

/// Every method that changes a decoder's answers by numbers of its own; those for encoders alone are in
/// `contract_vision.rs`.
fn methods() -> impl Iterator<Item = &'static dyn Method> {
    let kinds = [Kind::Adapter, Kind::Insertion];
    let fits = move |declared: &Declared| {
        kinds.contains(&declared.kind) && refusal(declared.families, "llama", DECODER).is_none()
    };
    registry().iter().copied().filter(move |method| fits(method.declared()))
}

/// A function without corners and without a dead side inside whatever has one: differences would step over the first, and
/// a narrow net in a small model may lie on the other for every token.
fn smooth(method: &dyn Method) -> Values {
    let known = method.declared().settings.iter().filter(|setting| setting.key == "activation");
    Values(known.map(|setting| (setting.key.to_owned(), Value::Text("gelu".to_owned()))).collect())
}

/// Runs `check` on every method that does not waive `clause`, at some of its settings, on a tied and an untied model.
fn over_registry(clause: &str, check: impl Fn(&dyn Method, &Values, bool) -> Result<()>) -> Result<()> {
    let mut checked = 0;
    for method in methods() {
        if method.declared().waivers.iter().any(|waiver| waiver.clause == clause) {
            continue;
        }
        for mut values in variants(method) {
            if clause == "gradients" {
                values.0.extend(smooth(method).0);
            }
            for tied in [true, false] {
                checked += 1;
                check(method, &values, tied)
                    .with_context(|| format!("{} with {values:?}, tied: {tied}", method.declared().id))?;
            }
        }
    }
    ensure!(checked >= 2 * registry().len().min(1), "no method was checked");
    Ok(())
}

#[test]
fn logits_start_as_those_of_the_base() -> Result<()> {
    over_registry("start", |method, values, tied| {
        let mut model = base(tied)?;
        let before = logits(&model)?;
        adapt(&mut model, method, values)?;
        let off = difference(&logits(&model)?, &before)?;
        let plan = method.plan(values, &dims_of(&model).sites, 8)?;
        // Rounding, where a whole weight is trained, a start is taken off again or a norm divides.
        let adds_nothing = plan.adapters.iter().all(|(_, slots)| slots.starts_at_zero());
        // A setting may ask for small random numbers at the start: how small is the method's own test.
        if plan.insertions.iter().any(|insertion| !insertion.what.starts_as_nothing()) {
            ensure!(off > 0.0 && off.is_finite(), "logits are off by {off:e}");
            return Ok(());
        }
        let limit = if plan.promote == Promote::None && adds_nothing { 0.0 } else { 1e-5 };
        ensure!(off <= limit, "logits are off by {off:e}");
        Ok(())
    })
}

#[test]
fn as_many_numbers_are_trained_as_the_formula_says() -> Result<()> {
    over_registry("count", |method, values, tied| {
        let mut model = base(tied)?;
        adapt(&mut model, method, values)?;
        let (trained, formula) =
            (model.trained_parameter_count()?, method.trained_parameters(values, &dims_of(&model))?);
        ensure!(trained == formula, "{trained} numbers are trained, the formula says {formula}");
        let everything = method.declared().id == "full" && *values == Values::default();
        ensure!(!everything || trained == model.parameter_count(), "{trained} of {}", model.parameter_count());
        Ok(())
    })
}

#[test]
fn gradients_reach_all_declared_parameters_and_nothing_else() -> Result<()> {
    over_registry("gradients", |method, values, tied| {
        let mut model = base(tied)?;
        adapt(&mut model, method, values)?;
        shake(&model, 0.05)?;
        let (params, batch) = (model.params()?, batch(true));
        // Where the embedding is frozen its output is made a variable, so that every operation above is tracked and
        // would show if it kept a gradient for a weight.
        let mut flow = model.embed.forward(&batch.tokens, &batch.ctx)?;
        let bottom = if model.embed.params().is_empty() { Some(Var::from_tensor(&flow.hidden)?) } else { None };
        if let Some(bottom) = &bottom {
            flow.hidden = bottom.as_tensor().clone();
        }
        let inside = model.inside(&batch.ctx);
        for block in &model.blocks {
            flow = block.forward(flow, inside.ctx())?;
        }
        let store = model.head.loss(&inside.leave(flow.hidden)?, &batch.targets)?.backward()?;
        for param in &params {
            let gradient = store.get(param.var.as_tensor()).map(largest).transpose()?;
            ensure!(
                gradient.is_some_and(|largest| largest > 0.0 && largest.is_finite()),
                "{} gets the gradient {gradient:?}",
                param.name
            );
        }
        let (kept, expected) = (store.get_ids().count(), params.len() + usize::from(bottom.is_some()));
        ensure!(kept == expected, "{kept} gradients are kept instead of {expected}");
        Ok(())
    })
}

#[test]
fn gradients_are_right_through_the_whole_model() -> Result<()> {
    let options = GradCheck { samples: 3, tolerance: 1e-2, ..GradCheck::f32() };
    for method in methods() {
        let mut model = base(true)?;
        let values = smooth(method);
        adapt(&mut model, method, &values)?;
        shake(&model, 0.05)?;
        let batch = batch(true);
        // One parameter of each kind in the first and the last block, and what lies outside the blocks.
        let wanted = |param: &&Param| {
            let own = !param.name.starts_with("layers.");
            let ends =
                ["layers.0.attn.k", "layers.2.mlp.down", "layers.0.attn_norm", "layers.0.attn_kv", "layers.2.mlp_out"];
            own || ends.iter().any(|end| param.name.starts_with(end))
        };
        let params: Vec<Param> = model.params()?.iter().filter(wanted).cloned().collect();
        ensure!(!params.is_empty(), "no parameter of the first block");
        model.sites().into_iter().for_each(|site| site.hold_constants(true));
        // Without weights of the head, down to the hidden states: there each value carries its own rounding only, where
        // the rounding of a whole loss hides the gradients of thin factors.
        let whole = method.plan(&values, &dims_of(&model).sites, 8)?.promote != Promote::None;
        let forward = || {
            let output = match whole {
                true => loss(&model, &batch),
                false => model.forward_hidden(&batch.tokens, &batch.ctx).map(|flow| flow.hidden),
            };
            output.map_err(|error| temper_nn::NnError::Value(error.to_string()))
        };
        check_parameters(forward, &params, &options).with_context(|| method.declared().id)?;
    }
    Ok(())
}

#[test]
fn merged_weights_give_the_same_logits() -> Result<()> {
    over_registry("merge", |method, values, tied| {
        let mut model = base(tied)?;
        adapt(&mut model, method, values)?;
        shake(&model, 0.05)?;
        let expected = logits(&model)?;
        // A plain model that takes every weight as an exporter would write it.
        let mut merged = base(tied)?;
        merged.promote(&|_| true)?;
        ensure!(difference(&logits(&merged)?, &expected)? > 1e-3, "shaking changed nothing");
        for param in &merged.params()? {
            let (name, part) = param.name.rsplit_once('.').unwrap_or((&param.name, ""));
            let values = match (model.site(name), part) {
                (Some(site), "weight") => site.merge()?.context("it does not merge")?.weight,
                (Some(site), "bias") => site.merge()?.context("it does not merge")?.bias.context("no bias")?,
                _ => model.read_weight(&param.name)?,
            };
            param.var.set(&Tensor::from_vec(values, param.var.dims(), &Device::Cpu)?)?;
        }
        let off = difference(&logits(&merged)?, &expected)?;
        ensure!(off <= 1e-5, "logits are off by {off:e}");
        Ok(())
    })
}

#[test]
fn switched_off_the_model_is_its_base_to_the_bit() -> Result<()> {
    over_registry("disabled", |method, values, tied| {
        let mut model = base(tied)?;
        let before = logits(&model)?;
        adapt(&mut model, method, values)?;
        shake(&model, 0.05)?;
        let on = logits(&model)?;
        model.set_enabled(false);
        ensure!(difference(&logits(&model)?, &before)? == 0.0, "it is not the base");
        model.set_enabled(true);
        ensure!(difference(&logits(&model)?, &on)? == 0.0, "it does not come back");
        Ok(())
    })
}

#[test]
fn rows_one_at_a_time_give_the_gradients_of_all_rows_at_once() -> Result<()> {
    over_registry("gradients", |method, values, tied| {
        let mut model = base(tied)?;
        adapt(&mut model, method, values)?;
        shake(&model, 0.05)?;
        let params = model.params()?;
        let whole = batch(true);
        let mut at_once = Grads::new();
        at_once.collect(&params, &mut loss(&model, &whole)?.backward()?)?;
        let mut summed = Grads::new();
        for row in 0..2usize {
            let range = row * WIDTH..(row + 1) * WIDTH;
            let borders = whole.ctx.borders.get(row).cloned().context("a row")?;
            let ctx = ForwardContext {
                training: true,
                seed: whole.ctx.seed,
                step: whole.ctx.step,
                rows_in_step: [row as u64].into(),
                ..ForwardContext::with_borders(WIDTH, vec![borders])
            };
            let part = |all: &Arc<[u32]>| -> Result<Arc<[u32]>> { Ok(all.get(range.clone()).context("a row")?.into()) };
            let one = Batch { tokens: part(&whole.tokens)?, targets: part(&whole.targets)?, ctx };
            summed.collect(&params, &mut loss(&model, &one)?.backward()?)?;
        }
        for (name, gradient) in at_once.iter() {
            let off = difference(summed.get(name).context("no gradient")?, gradient)?;
            ensure!(off <= 1e-4, "the gradient of {name} is off by {off:e}");
        }
        Ok(())
    })
}

#[test]
fn stage_by_stage_kept_or_recomputed_gradients_are_those_of_the_whole_graph() -> Result<()> {
    over_registry("gradients", |method, values, tied| {
        let mut model = base(tied)?;
        adapt(&mut model, method, values)?;
        shake(&model, 0.05)?;
        let params = model.params()?;
        let batch = batch(true);
        let mut whole = Grads::new();
        let expected_loss = loss(&model, &batch)?;
        // Gradients are those of the loss with what adapters add to it.
        let mut total = expected_loss.clone();
        for site in model.sites() {
            if let Some(extra) = site.extra_loss()? {
                total = (total + extra)?;
            }
        }
        whole.collect(&params, &mut total.backward()?)?;
        let tokens =
            Tokens { ids: batch.tokens.clone(), targets: batch.targets.clone(), ctx: batch.ctx, examples: [].into() };
        let drive = |driver: &Driver| -> Result<(f64, Grads)> {
            let mut grads = Grads::new();
            let found = driver.micro_step(&model, &tokens, (1.0, 1.0), &mut grads, &mut PhaseClock::default())?;
            Ok((found.loss_sum, grads))
        };
        let expected_loss = f64::from(expected_loss.to_scalar::<f32>()?);
        let (graph_loss, _) = drive(&Driver::new(&model, false).unfused())?;
        ensure!(graph_loss == expected_loss, "cutting the graph into stages changes the loss");
        let (kept_loss, kept) = drive(&Driver::new(&model, false))?;
        let (again_loss, again) = drive(&Driver::new(&model, true))?;
        ensure!(kept_loss == again_loss, "recomputing changes the loss");
        // Fused blocks add residual sums within the products: another order of the same terms.
        let off = ((kept_loss - expected_loss) / expected_loss).abs();
        ensure!(off <= 1e-6, "the loss of fused blocks is off by {off:e}");
        ensure!(kept.len() == params.len() && again.len() == params.len(), "{} and {}", kept.len(), again.len());
        for (name, gradient) in whole.iter() {
            let (kept, again) = (kept.get(name).context("missing")?, again.get(name).context("missing")?);
            let off = difference(kept, gradient)?;
            ensure!(off <= 1e-5, "the gradient of {name}, stage by stage, is off by {off:e}");
            ensure!(largest(&(kept - again)?)? == 0.0, "recomputing changes the gradient of {name}");
        }
        Ok(())
    })
}
