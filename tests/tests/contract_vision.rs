//! The contract of methods on vision models: every registered method that adapts or inserts and works on them, on a small
//! random ViT and a small random CNN, whose kernels are its layers.
//!
//! As `contract_model.rs` for decoders, and for what is inserted as `contract_insertion.rs`; what is checked over single
//! layers is not repeated.

use anyhow::{Context as _, Result, ensure};
use candle_core::{Device, Tensor};
use std::collections::BTreeSet;
use temper_methods::{Method, registry};
use temper_models::capability::{DECODER, refusal};
use temper_models::vision::Pooling;
use temper_models::vision::config::Classes;
use temper_models::{CnnConfig, Labels, VisionConfig, VisionModel, VitConfig};
use temper_nn::rng::Stream;
use temper_nn::{AdamW, AdamWConfig, ForwardContext, Grads, Param};
use temper_protocol::{Kind, Value, Values};
use temper_train::images::attach::dims_of;
use temper_train::images::{ImageDriver, Pictures};

const BATCH: usize = 3;

fn configs() -> [VisionConfig; 3] {
    let classes = Classes::numbered(8, 2, 4);
    let cnn = CnnConfig { stem_pool: true, ..CnnConfig::new(classes.clone(), 12, &[14, 16]) };
    let vit = VitConfig::new(classes, 4, 32, 2, 4);
    let mean = VitConfig { pooling: Pooling::MeanToken, ..vit.clone() };
    [VisionConfig::Vit(vit), VisionConfig::Vit(mean), VisionConfig::Cnn(cnn)]
}

fn noise(name: &str, dims: &[usize], std: f64) -> Result<Tensor> {
    let mut values = vec![0f32; dims.iter().product()];
    Stream::new(6, name).fill_normal(&mut values, std);
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?)
}

fn images() -> Result<Tensor> {
    noise("images", &[BATCH, 2, 8, 8], 1.0)
}

/// Settings under which a method finds something to change here: its defaults; every layer in the place of names that
/// only decoders have; biases where a layer has none, as kernels before a norm.
fn fitting(model: &VisionModel, method: &dyn Method) -> Values {
    let everywhere = || Value::Text("all-linear".to_owned());
    let (layers, biases) = (["targets", "feedforward"], ["create"]);
    let keys = |wanted: &[&str], value: &dyn Fn() -> Value| -> Values {
        let known = method.declared().settings.iter().map(|setting| setting.key).filter(|key| wanted.contains(key));
        Values(known.map(|key| (key.to_owned(), value())).collect())
    };
    let tried = [Values::default(), keys(&layers, &everywhere), keys(&biases, &|| Value::Flag(true))];
    let fits = |values: &Values| method.plan(values, &dims_of(model).sites, 8).is_ok();
    tried.into_iter().find(fits).unwrap_or_default()
}

/// Those, and for what is inserted each other choice and the other side of each flag.
fn variants(model: &VisionModel, method: &dyn Method) -> Vec<Values> {
    let fitting = fitting(model, method);
    let mut all = vec![fitting.clone()];
    for setting in method.declared().settings.iter().filter(|_| method.declared().kind == Kind::Insertion) {
        let text = |choice: &&str| Value::Text((*choice).to_owned());
        let others: Vec<Value> = match setting.default_value() {
            Value::Text(default) => setting.choices.iter().filter(|choice| **choice != default).map(text).collect(),
            Value::Flag(default) => vec![Value::Flag(!default)],
            _ => Vec::new(),
        };
        for value in others {
            let mut values = fitting.clone();
            values.0.insert(setting.key.to_owned(), value);
            all.push(values);
        }
    }
    all
}

/// Puts a method on a model as the trainer does, without the head that the trainer adds.
fn adapt(model: &mut VisionModel, method: &dyn Method, values: &Values, seed: u64) -> Result<()> {
    let plan = method.plan(values, &dims_of(model).sites, seed)?;
    let selector = plan.promote.selector()?;
    model.promote(&|name| selector.selects(name))?;
    for site in model.sites_mut() {
        if let Some(slots) = plan.slots(site.name()) {
            site.attach(slots, seed)?;
        }
    }
    Ok(model.insert_all(&plan.insertions, seed)?)
}

/// Moves every parameter, as training would.
fn shake(model: &VisionModel) -> Result<()> {
    for param in &model.params()? {
        param.var.set(&(param.var.as_tensor() + noise(&param.name, param.var.dims(), 0.05)?)?)?;
    }
    Ok(())
}

/// Largest difference over the largest value.
fn difference(left: &Tensor, right: &Tensor) -> Result<f32> {
    let largest = |tensor: &Tensor| -> Result<f32> { Ok(tensor.abs()?.max_all()?.to_scalar()?) };
    Ok(largest(&(left - right)?)? / largest(right)?.max(1e-12))
}

/// Runs `check` on every method that adapts or inserts, does not waive `clause` and fits, at some of its settings, on a new
/// model each.
fn over_registry(
    clause: &str,
    kinds: &[Kind],
    check: impl Fn(&dyn Method, &Values, &mut VisionModel) -> Result<()>,
) -> Result<()> {
    let mut checked = 0;
    for method in registry().iter().filter(|method| kinds.contains(&method.declared().kind)) {
        let declared = method.declared();
        if declared.waivers.iter().any(|waiver| waiver.clause == clause) {
            continue;
        }
        for config in configs() {
            let base = VisionModel::random(&config, 5)?;
            if base.refusal(declared.families).is_some() {
                continue;
            }
            for values in variants(&base, *method) {
                checked += 1;
                let mut model = VisionModel::random(&config, 5)?;
                let what = || format!("{} with {values:?} on a {}", declared.id, config.family());
                check(*method, &values, &mut model).with_context(what)?;
            }
        }
    }
    ensure!(checked >= 2, "no method was checked");
    Ok(())
}

/// What changes linear layers and what is inserted.
const ALL: &[Kind] = &[Kind::Adapter, Kind::Insertion];
/// What is inserted alone: the others are checked layer by layer.
const INSERTED: &[Kind] = &[Kind::Insertion];

#[test]
fn logits_start_as_those_of_the_base() -> Result<()> {
    over_registry("start", ALL, |method, values, model| {
        let images = images()?;
        let before = model.logits(&images, 0)?;
        adapt(model, method, values, 8)?;
        let inserted = model.folded_insertions()?;
        if inserted.iter().any(|(insertion, _)| !insertion.what.starts_as_nothing()) {
            return Ok(());
        }
        ensure!(difference(&model.logits(&images, 0)?, &before)? <= 1e-5, "the start is another model");
        Ok(())
    })
}

#[test]
fn switched_off_it_is_the_base() -> Result<()> {
    over_registry("disabled", ALL, |method, values, model| {
        let images = images()?;
        let before = model.logits(&images, 0)?;
        adapt(model, method, values, 8)?;
        shake(model)?;
        ensure!(difference(&model.logits(&images, 0)?, &before)? > 1e-3, "shaking changed nothing");
        model.set_enabled(false);
        ensure!(difference(&model.logits(&images, 0)?, &before)? == 0.0, "switched off it is not the base");
        Ok(())
    })
}

#[test]
fn as_many_numbers_are_trained_as_the_formula_says() -> Result<()> {
    over_registry("count", ALL, |method, values, model| {
        let formula = method.trained_parameters(values, &dims_of(model))?;
        adapt(model, method, values, 8)?;
        let trained = model.params()?.trained()? as u64;
        ensure!(trained == formula, "{trained} numbers are trained, the formula says {formula}");
        Ok(())
    })
}

#[test]
fn a_saved_model_has_the_change_in_its_weights() -> Result<()> {
    over_registry("merge", ALL, |method, values, model| {
        adapt(model, method, values, 8)?;
        shake(model)?;
        ensure!(method.declared().mergeable, "it declares that it does not merge and waives nothing");
        let (images, dir) = (images()?, tempfile::tempdir()?);
        model.save(dir.path())?;
        let off = difference(&VisionModel::load(dir.path())?.logits(&images, 0)?, &model.logits(&images, 0)?)?;
        ensure!(off <= 1e-4, "logits are off by {off:e}");
        Ok(())
    })
}

#[test]
fn stage_by_stage_kept_or_recomputed_gradients_are_those_of_the_whole_graph() -> Result<()> {
    over_registry("gradients", ALL, |method, values, model| {
        adapt(model, method, values, 8)?;
        shake(model)?;
        // Where blocks can be left out, some parameters are used with them and the others without.
        let blocks: Vec<String> = model.searched().into_iter().map(|(stage, _)| stage).collect();
        let mut found = BTreeSet::new();
        for left_out in [Vec::new(), blocks.iter().map(String::as_str).collect()] {
            model.leave_out(&left_out);
            found.append(&mut reached(model)?);
        }
        for param in &model.params()? {
            ensure!(found.contains(&param.name), "{} gets no gradient", param.name);
        }
        Ok(())
    })
}

/// Compares the gradients of a pass with those of its whole graph, and names the parameters that it reaches.
fn reached(model: &VisionModel) -> Result<BTreeSet<String>> {
    let ctx = ForwardContext { training: true, seed: 2, step: 4, ..model.context(BATCH) };
    let labels = Labels { task: 0, classes: [3, 0, 1].into() };
    let batch = Pictures { pixels: images()?, labels: vec![labels.clone()], ctx };
    let params = model.params()?;
    let mut whole = Grads::new();
    // The loss with what adapters add to it.
    let mut total = model.loss(&batch.pixels, &labels, &batch.ctx)?;
    for site in model.sites() {
        if let Some(extra) = site.extra_loss()? {
            total = (total + extra)?;
        }
    }
    whole.collect(&params, &mut total.backward()?)?;
    let drive = |recompute: bool| -> Result<Grads> {
        let mut grads = Grads::new();
        ImageDriver::new(model, recompute).micro_step(model, &batch, (1.0, 1.0), &mut grads)?;
        Ok(grads)
    };
    let (kept, again) = (drive(false)?, drive(true)?);
    ensure!(kept.len() == whole.len(), "{} gradients, the whole graph has {}", kept.len(), whole.len());
    let norm = |tensor: &Tensor| -> Result<f32> { Ok(tensor.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt()) };
    let largest = params.iter().filter_map(|param| whole.get(&param.name)).map(norm).collect::<Result<Vec<_>>>()?;
    let largest = largest.into_iter().fold(0f32, f32::max);
    let mut reached = BTreeSet::new();
    for param in &params {
        let Some(whole) = whole.get(&param.name) else { continue };
        let found = |grads: &Grads| grads.get(&param.name).cloned().context("a gradient is missing");
        let (kept, again) = (found(&kept)?, found(&again)?);
        // against the largest of all: the bias of keys has none but rounding
        let off = norm(&(&kept - whole)?)? / largest;
        ensure!(off <= 1e-5, "the gradient of {}, stage by stage, is off by {off:e}", param.name);
        ensure!(norm(&(kept - again)?)? == 0.0, "recomputing changes the gradient of {}", param.name);
        if reaches(model, param, norm(whole)?) {
            reached.insert(param.name.clone());
        }
    }
    Ok(reached)
}

/// Whether a gradient of this size shows that the parameter is reached. A bias of keys moves all scores of a query alike,
/// so that its gradient is zero; tokens that merge behind the last attention never reach a class token.
fn reaches(model: &VisionModel, param: &Param, norm: f32) -> bool {
    let unread = model.config.pooling() == Pooling::ClassToken && param.name.starts_with("layers.1.between.");
    norm.is_finite() && (norm > 0.0 || param.name.ends_with("attn.k.bias") || unread)
}

/// A model with a method of kind insertion on it.
fn adapted(model: &VisionModel, method: &dyn Method, values: &Values, seed: u64) -> Result<VisionModel> {
    let mut adapted = VisionModel::random(&model.config, 5)?;
    adapt(&mut adapted, method, values, seed)?;
    Ok(adapted)
}

fn bytes(model: &VisionModel) -> Result<Vec<(String, Vec<f32>)>> {
    let set = model.params()?;
    set.iter().map(|param| Ok((param.name.clone(), param.var.flatten_all()?.to_vec1()?))).collect()
}

#[test]
fn saved_insertions_compute_the_same_to_the_bit() -> Result<()> {
    over_registry("save", INSERTED, |method, values, model| {
        let (trained, folder) = (adapted(model, method, values, 8)?, tempfile::tempdir()?);
        shake(&trained)?;
        let path = folder.path().join("adapter.safetensors");
        let set = trained.params()?;
        let tensors = set.iter().map(|param| (param.name.clone(), param.var.as_tensor().clone()));
        candle_core::safetensors::save(&tensors.collect(), &path)?;
        let loaded = adapted(model, method, values, 8)?;
        let file = candle_core::safetensors::load(&path, &Device::Cpu)?;
        for param in &loaded.params()? {
            param.var.set(file.get(&param.name).context("it was not saved")?)?;
        }
        let off = difference(&loaded.logits(&images()?, 0)?, &trained.logits(&images()?, 0)?)?;
        ensure!(off == 0.0, "the logits are off by {off:e}");
        Ok(())
    })
}

#[test]
fn insertions_of_one_seed_are_the_same_bytes() -> Result<()> {
    over_registry("seed", INSERTED, |method, values, model| {
        let start = |seed| bytes(&adapted(model, method, values, seed)?);
        ensure!(start(1)? == start(1)?, "two starts under one seed differ");
        ensure!(start(1)? != start(2)?, "two seeds have one start");
        Ok(())
    })
}

#[test]
fn trained_insertions_learn_and_change_no_frozen_byte() -> Result<()> {
    over_registry("frozen", INSERTED, |method, values, model| {
        let model = adapted(model, method, values, 8)?;
        let frozen = |model: &VisionModel| -> Vec<Vec<u8>> {
            let layers = model.sites().into_iter().filter_map(|site| site.frozen());
            layers.map(|layer| layer.weight.bytes().as_slice().to_vec()).collect()
        };
        let (before, params) = (frozen(&model), model.params()?);
        let labels = Labels { task: 0, classes: [3, 0, 1].into() };
        let ctx = ForwardContext { training: true, ..model.context(BATCH) };
        let batch = Pictures { pixels: images()?, labels: vec![labels], ctx };
        let (driver, mut optimiser) = (ImageDriver::new(&model, false), AdamW::new(AdamWConfig::default()));
        let mut losses = Vec::new();
        for _ in 0..30 {
            let mut grads = Grads::new();
            losses.push(driver.micro_step(&model, &batch, (1.0, 1.0), &mut grads)?.loss_sum);
            optimiser.step(&params, &grads, 0.01)?;
        }
        let (first, last) = (losses.first().context("a loss")?, losses.last().context("a loss")?);
        ensure!(last < first, "the loss went from {first} to {last}");
        ensure!(frozen(&model) == before, "a frozen weight changed");
        Ok(())
    })
}

#[test]
fn the_exported_form_of_insertions_computes_the_same() -> Result<()> {
    over_registry("export", INSERTED, |method, values, model| {
        let trained = adapted(model, method, values, 8)?;
        shake(&trained)?;
        let folded = trained.folded_insertions()?;
        let insertions: Vec<_> = folded.iter().map(|(insertion, _)| insertion.clone()).collect();
        let mut plain = VisionModel::random(&model.config, 5)?;
        // Changes of layers beside what is inserted are a file of their own.
        let plan = method.plan(values, &dims_of(&plain).sites, 8)?;
        let selector = plan.promote.selector()?;
        plain.promote(&|name| selector.selects(name))?;
        for site in plain.sites_mut() {
            if let Some(slots) = plan.slots(site.name()) {
                site.attach(slots, 8)?;
            }
        }
        let others: Vec<String> = plain.params()?.iter().map(|param| param.name.clone()).collect();
        plain.insert_all(&insertions, 0)?;
        let (set, whole) = (plain.params()?, trained.params()?);
        for name in &others {
            let value = &whole.get(name).context("a parameter is missing")?.var;
            set.get(name).context("a parameter is missing")?.var.set(value)?;
        }
        for (name, tensor) in folded.iter().flat_map(|(_, tensors)| tensors) {
            set.get(name).with_context(|| format!("there is no parameter {name}"))?.var.set(tensor)?;
        }
        let off = difference(&plain.logits(&images()?, 0)?, &trained.logits(&images()?, 0)?)?;
        ensure!(off <= 1e-6, "the logits are off by {off:e}");
        Ok(())
    })
}

#[test]
fn what_needs_an_encoder_is_refused_on_a_decoder_with_that_reason() -> Result<()> {
    let mut refused = Vec::new();
    for method in registry() {
        let declared = method.declared();
        if let Some(why) = refusal(declared.families, "llama", DECODER) {
            ensure!(why.contains("a llama model is a decoder of text"), "{}: {why}", declared.id);
            refused.push(declared.id);
        }
    }
    for id in ["p-adapter", "pyra", "das", "mtlora", "polyhistor"] {
        ensure!(refused.contains(&id), "{id} is offered for decoders");
    }
    Ok(())
}
