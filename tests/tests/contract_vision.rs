//! The contract of methods on vision models: every registered method that adapts or inserts and works on them, on a small random ViT
//! and a small random CNN, whose kernels are its layers.
//!
//! As `contract_model.rs` for decoders; what is checked there over single layers or segments is not repeated.

use anyhow::{Context as _, Result, ensure};
use candle_core::{Device, Tensor};
use temper_methods::{Method, registry};
use temper_models::vision::config::Classes;
use temper_models::{CnnConfig, Labels, VisionConfig, VisionModel, VitConfig};
use temper_nn::rng::Stream;
use temper_nn::{ForwardContext, Grads, Param};
use temper_protocol::{Kind, Value, Values};
use temper_train::images::attach::dims_of;
use temper_train::images::{ImageDriver, Pictures};

const BATCH: usize = 3;

fn configs() -> [VisionConfig; 2] {
    let classes = Classes::numbered(8, 2, 4);
    let cnn = CnnConfig { stem_pool: true, ..CnnConfig::new(classes.clone(), 12, &[14, 16]) };
    [VisionConfig::Vit(VitConfig::new(classes, 4, 32, 2, 4)), VisionConfig::Cnn(cnn)]
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
fn settings(model: &VisionModel, method: &dyn Method) -> Values {
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

/// Puts a method on a model as the trainer does, without the head that the trainer adds.
fn adapt(model: &mut VisionModel, method: &dyn Method) -> Result<()> {
    let plan = method.plan(&settings(model, method), &dims_of(model).sites, 8)?;
    let selector = plan.promote.selector()?;
    model.promote(&|name| selector.selects(name))?;
    for site in model.sites_mut() {
        if let Some(slots) = plan.slots(site.name()) {
            site.attach(slots, 8)?;
        }
    }
    model.insert_all(&plan.insertions, 8)?;
    Ok(())
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

/// Runs `check` on every adapter method and both models, a new model each; what does not fit must say why.
fn over_registry(check: impl Fn(&dyn Method, &mut VisionModel) -> Result<()>) -> Result<()> {
    let (mut checked, kinds) = (0, [Kind::Adapter, Kind::Insertion]);
    for method in registry().iter().filter(|method| kinds.contains(&method.declared().kind)) {
        for config in configs() {
            let mut model = VisionModel::random(&config, 5)?;
            let declared = method.declared();
            if model.refusal(declared.families).is_some() {
                continue;
            }
            checked += 1;
            check(*method, &mut model).with_context(|| format!("{} on a {}", declared.id, config.family()))?;
        }
    }
    ensure!(checked >= 2, "no method was checked");
    Ok(())
}

#[test]
fn logits_start_as_those_of_the_base_and_return_to_them() -> Result<()> {
    over_registry(|method, model| {
        let images = images()?;
        let before = model.logits(&images, 0)?;
        adapt(model, method)?;
        ensure!(difference(&model.logits(&images, 0)?, &before)? <= 1e-5, "the start is another model");
        shake(model)?;
        ensure!(difference(&model.logits(&images, 0)?, &before)? > 1e-3, "shaking changed nothing");
        model.set_enabled(false);
        ensure!(difference(&model.logits(&images, 0)?, &before)? == 0.0, "switched off it is not the base");
        Ok(())
    })
}

#[test]
fn as_many_numbers_are_trained_as_the_formula_says() -> Result<()> {
    over_registry(|method, model| {
        let formula = method.trained_parameters(&settings(model, method), &dims_of(model))?;
        adapt(model, method)?;
        let trained = model.params()?.trained()? as u64;
        ensure!(trained == formula, "{trained} numbers are trained, the formula says {formula}");
        Ok(())
    })
}

#[test]
fn a_saved_model_has_the_change_in_its_weights() -> Result<()> {
    over_registry(|method, model| {
        adapt(model, method)?;
        shake(model)?;
        if !method.declared().mergeable {
            return Ok(());
        }
        let (images, dir) = (images()?, tempfile::tempdir()?);
        model.save(dir.path())?;
        let off = difference(&VisionModel::load(dir.path())?.logits(&images, 0)?, &model.logits(&images, 0)?)?;
        ensure!(off <= 1e-4, "logits are off by {off:e}");
        Ok(())
    })
}

#[test]
fn stage_by_stage_kept_or_recomputed_gradients_are_those_of_the_whole_graph() -> Result<()> {
    over_registry(|method, model| {
        adapt(model, method)?;
        shake(model)?;
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
        ensure!(kept.len() == params.len(), "{} gradients for {} parameters", kept.len(), params.len());
        let norm = |tensor: &Tensor| -> Result<f32> { Ok(tensor.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt()) };
        let largest = params.iter().filter_map(|param| whole.get(&param.name)).map(norm).collect::<Result<Vec<_>>>()?;
        let largest = largest.into_iter().fold(0f32, f32::max);
        for param in &params {
            let found = |grads: &Grads| grads.get(&param.name).cloned().context("a gradient is missing");
            let (whole, kept, again) = (found(&whole)?, found(&kept)?, found(&again)?);
            ensure!(reaches(param, norm(&whole)?), "{} gets no gradient", param.name);
            // against the largest of all: the bias of keys has none but rounding
            let off = norm(&(&kept - &whole)?)? / largest;
            ensure!(off <= 1e-5, "the gradient of {}, stage by stage, is off by {off:e}", param.name);
            ensure!(norm(&(kept - again)?)? == 0.0, "recomputing changes the gradient of {}", param.name);
        }
        Ok(())
    })
}

/// Whether a gradient of this size shows that the parameter is reached. A bias of keys moves all scores of a query alike,
/// so that its gradient is zero.
fn reaches(param: &Param, norm: f32) -> bool {
    norm.is_finite() && (norm > 0.0 || param.name.ends_with("attn.k.bias"))
}
