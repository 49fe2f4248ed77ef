//! The clauses of the contract that `contract.rs` of the methods checks on single layers, for methods that insert
//! something: saving, seeds, learning without a change of a frozen byte, the exported form. The other clauses are in
//! `contract_model.rs`, which runs over these methods too.

use anyhow::{Context as _, Result, ensure};
use candle_core::{Device, Tensor};
use std::sync::Arc;
use temper_methods::{Method, registry};
use temper_models::capability::{DECODER, refusal};
use temper_models::{LlamaConfig, Model};
use temper_nn::ops::IGNORE;
use temper_nn::rng::Stream;
use temper_nn::{AdamW, AdamWConfig, ForwardContext, Grads};
use temper_protocol::{Kind, Values};
use temper_train::attach::dims_of;
use temper_train::driver::{Driver, Tokens};
use temper_train::phases::PhaseClock;

const VOCABULARY: usize = 53;
const WIDTH: usize = 12;

fn base() -> Result<Model> {
    let config = LlamaConfig { tied: true, kv_heads: 2, ..LlamaConfig::new(VOCABULARY, 32, 3, 4) };
    Ok(Model::random(&config, 5)?)
}

fn adapted(method: &dyn Method, seed: u64) -> Result<Model> {
    let mut model = base()?;
    let plan = method.plan(&Values::default(), &dims_of(&model).sites, seed)?;
    ensure!(plan.adapters.is_empty() && !plan.insertions.is_empty(), "it inserts nothing");
    model.insert_all(&plan.insertions, seed)?;
    Ok(model)
}

fn shake(model: &Model) -> Result<()> {
    for param in &model.params()? {
        let mut noise = vec![0f32; param.elements()];
        Stream::new(6, &param.name).fill_normal(&mut noise, 0.05);
        let noise = Tensor::from_vec(noise, param.var.dims(), &Device::Cpu)?;
        param.var.set(&(param.var.as_tensor() + noise)?)?;
    }
    Ok(())
}

/// Two packed rows, trained on everything but the last token of each segment.
fn tokens() -> Tokens {
    let mut stream = Stream::new(3, "tokens");
    let ids: Arc<[u32]> = (0..2 * WIDTH).map(|_| stream.below(VOCABULARY as u64) as u32).collect();
    let ctx = ForwardContext::with_borders(WIDTH, vec![vec![0, 5, 10], vec![0, WIDTH as u32]]);
    let ends = [4, 9, 10, 11, 2 * WIDTH - 1];
    let next = |at: usize| ids.get(at + 1).copied().filter(|_| !ends.contains(&at)).unwrap_or(IGNORE);
    Tokens { targets: (0..2 * WIDTH).map(next).collect(), ids, ctx, examples: [].into() }
}

fn logits(model: &Model) -> Result<Vec<f32>> {
    let tokens = tokens();
    Ok(model.logits(&tokens.ids, &tokens.ctx)?.flatten_all()?.to_vec1()?)
}

fn values(model: &Model) -> Result<Vec<(String, Vec<f32>)>> {
    let set = model.params()?;
    set.iter().map(|param| Ok((param.name.clone(), param.var.flatten_all()?.to_vec1()?))).collect()
}

fn over_registry(check: impl Fn(&dyn Method) -> Result<()>) -> Result<()> {
    let mut checked = 0;
    for method in registry().iter().filter(|method| method.declared().kind == Kind::Insertion) {
        // What works on encoders alone goes through the same clauses in `contract_vision.rs`.
        if refusal(method.declared().families, "llama", DECODER).is_some() {
            continue;
        }
        checked += 1;
        check(*method).with_context(|| method.declared().id)?;
    }
    ensure!(checked >= 6, "{checked} methods were checked");
    Ok(())
}

#[test]
fn saved_parameters_compute_the_same_to_the_bit() -> Result<()> {
    over_registry(|method| {
        let (trained, folder) = (adapted(method, 8)?, tempfile::tempdir()?);
        shake(&trained)?;
        let path = folder.path().join("adapter.safetensors");
        let set = trained.params()?;
        let tensors = set.iter().map(|param| (param.name.clone(), param.var.as_tensor().clone()));
        candle_core::safetensors::save(&tensors.collect(), &path)?;
        let (loaded, file) = (adapted(method, 8)?, candle_core::safetensors::load(&path, &Device::Cpu)?);
        for param in &loaded.params()? {
            param.var.set(file.get(&param.name).context("it was not saved")?)?;
        }
        ensure!(logits(&loaded)? == logits(&trained)?, "the logits differ");
        Ok(())
    })
}

#[test]
fn same_seed_same_bytes_and_another_seed_other_bytes() -> Result<()> {
    over_registry(|method| {
        let start = |seed| values(&adapted(method, seed)?);
        ensure!(start(1)? == start(1)?, "two starts under one seed differ");
        ensure!(start(1)? != start(2)?, "two seeds have one start");
        Ok(())
    })
}

#[test]
fn training_learns_and_changes_no_frozen_byte() -> Result<()> {
    over_registry(|method| {
        let model = adapted(method, 8)?;
        let frozen = |model: &Model| -> Vec<Vec<u8>> {
            model.frozen().iter().map(|weight| weight.bytes().as_slice().to_vec()).collect()
        };
        let (before, tokens, params) = (frozen(&model), tokens(), model.params()?);
        let mut optimiser = AdamW::new(AdamWConfig::default());
        let driver = Driver::new(&model, false);
        let mut losses = Vec::new();
        for _ in 0..30 {
            let mut grads = Grads::new();
            let found = driver.micro_step(&model, &tokens, (1.0, 1.0), &mut grads, &mut PhaseClock::default())?;
            ensure!(found.loss_sum.is_finite(), "a loss of {}", found.loss_sum);
            losses.push(found.loss_sum);
            optimiser.step(&params, &grads, 0.01)?;
        }
        let (first, last) = (losses.first().context("a loss")?, losses.last().context("a loss")?);
        ensure!(last < first, "the loss went from {first} to {last}");
        ensure!(frozen(&model) == before, "a frozen weight changed");
        Ok(())
    })
}

#[test]
fn the_exported_form_computes_the_same() -> Result<()> {
    over_registry(|method| {
        let model = adapted(method, 8)?;
        shake(&model)?;
        let folded = model.folded_insertions()?;
        let insertions: Vec<_> = folded.iter().map(|(insertion, _)| insertion.clone()).collect();
        let mut plain = base()?;
        plain.insert_all(&insertions, 0)?;
        for (name, tensor) in folded.iter().flat_map(|(_, tensors)| tensors) {
            plain.param(name).context("a parameter is missing")?.var.set(tensor)?;
        }
        let (found, expected) = (logits(&plain)?, logits(&model)?);
        let largest = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        let off = found.iter().zip(&expected).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
        ensure!(off <= 1e-6 * largest, "off by {off:e} of {largest:e}");
        Ok(())
    })
}
