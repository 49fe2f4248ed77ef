//! Methods that only vision models have a place for, on a small random ViT: what their sheets ask of a whole model.

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use temper_models::vision::config::Classes;
use temper_models::{VisionConfig, VisionModel, VitConfig};
use temper_nn::rng::Stream;
use temper_protocol::Value;
use temper_protocol::project::Method;
use temper_tests::fashion::method;
use temper_train::images::{Skipping, attach};

/// 8 x 8 images in patches of 2: 16 tokens and one for the class.
fn vit(layers: usize) -> Result<VisionModel> {
    let classes = Classes::numbered(8, 1, 4);
    Ok(VisionModel::random(&VisionConfig::Vit(VitConfig::new(classes, 2, 24, layers, 3)), 5)?)
}

fn noise(name: &str, dims: &[usize], std: f64) -> Result<Tensor> {
    let mut values = vec![0f32; dims.iter().product()];
    Stream::new(6, name).fill_normal(&mut values, std);
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?)
}

fn off(left: &Tensor, right: &Tensor) -> Result<f32> {
    Ok((left - right)?.abs()?.max_all()?.to_scalar()?)
}

fn pyra(merge: &str, gates: bool) -> Method {
    method("pyra", &[("merge", Value::Text(merge.to_owned())), ("gates", Value::Flag(gates))])
}

#[test]
fn merging_shortens_the_sequence_and_counts_every_token() -> Result<()> {
    let mut model = vit(3)?;
    attach(&mut model, &pyra("4,2,1", true), 0, 1)?;
    let left: Vec<usize> = model.tokens().into_iter().map(|(_, tokens)| tokens).collect();
    ensure!(left == [17, 13, 11, 10], "{left:?}");
    let flow = model.forward(&noise("images", &[2, 1, 8, 8], 1.0)?, &model.context(2))?;
    ensure!(flow.hidden.dims() == [2, 10, 24], "{:?}", flow.hidden.dims());
    let sizes: Vec<Vec<f32>> = flow.token_sizes.map(|sizes| sizes.to_vec2()).transpose()?.unwrap_or_default();
    ensure!(sizes.len() == 2 && sizes.iter().all(|row| row.iter().sum::<f32>() == 17.0), "{sizes:?}");
    ensure!(sizes.iter().all(|row| row.first() == Some(&1.0)), "the class token merged");
    Ok(())
}

#[test]
fn without_pairs_it_is_the_plain_model_and_gates_start_as_plain_merging() -> Result<()> {
    let images = noise("images", &[2, 1, 8, 8], 1.0)?;
    let logits = |merge: &str, gates: bool| -> Result<Tensor> {
        let mut model = vit(3)?;
        attach(&mut model, &pyra(merge, gates), 0, 1)?;
        Ok(model.logits(&images, 0)?)
    };
    let base = vit(3)?.logits(&images, 0)?;
    ensure!(off(&logits("0", true)?, &base)? <= 1e-5, "nothing merges");
    let plain = logits("4", false)?;
    ensure!(off(&plain, &base)? > 1e-4, "merging changes nothing");
    ensure!(off(&logits("4", true)?, &plain)? <= 1e-6, "gates with b = 0");
    Ok(())
}

#[test]
fn more_pairs_than_tokens_are_refused_before_anything_runs() -> Result<()> {
    let refused = attach(&mut vit(3)?, &pyra("8,4,3", true), 0, 1).err().map(|error| error.to_string());
    let why = refused.unwrap_or_default();
    ensure!(why.contains("3 pairs of tokens are to merge in layers.2, which has 5 tokens: 2 can"), "{why}");
    Ok(())
}

#[test]
fn blocks_that_are_left_out_save_what_they_cost_and_the_net_in_their_place_costs_its_own() -> Result<()> {
    let mut model = vit(6)?;
    let before = model.multiplications();
    let (tokens, d) = (17u64, 24u64);
    let block = tokens * 12 * d * d + 2 * tokens * tokens * d;
    ensure!(before.len() == 6 && before.iter().all(|(_, count)| *count == block), "{before:?}");
    let settled = [("skip", Value::Text("1,4".to_owned())), ("instead_width", Value::Integer(10))];
    attach(&mut model, &method("das", &settled), 0, 1)?;
    ensure!(model.left_out() == ["layers.1", "layers.4"], "{:?}", model.left_out());
    let after: u64 = model.multiplications().iter().map(|(_, count)| count).sum();
    ensure!(after == 4 * block + 2 * (2 * tokens * d * 10), "{after}");
    Ok(())
}

/// Twelve blocks of which four add next to nothing: their last layers are all but zero.
fn planted() -> Result<VisionModel> {
    let mut model = vit(12)?;
    model.promote(&|name| name.ends_with(".attn.o") || name.ends_with(".mlp.down"))?;
    for param in &model.params()? {
        let layer: Option<usize> =
            param.name.strip_prefix("layers.").and_then(|rest| rest.split('.').next()?.parse().ok());
        let factor = if layer.is_some_and(|layer| layer % 3 == 1) { 0.01 } else { 4.0 };
        param.var.set(&param.var.affine(factor, 0.0)?)?;
    }
    Ok(model)
}

#[test]
fn the_search_leaves_out_blocks_that_do_nothing() -> Result<()> {
    let mut right = 0;
    let seeds = 3;
    for seed in 0..seeds {
        let mut model = planted()?;
        let images = noise(&format!("images {seed}"), &[64, 1, 8, 8], 1.0)?;
        // The task is to say what the model itself says.
        let wanted = model.logits(&images, 0)?;
        attach(&mut model, &method("das", &[]), 0, seed)?;
        let Some(mut skipping) = Skipping::of(&model, 4000, seed) else { anyhow::bail!("nothing is searched") };
        let mut stream = Stream::new(seed, "batches");
        for step in 1..=200 {
            let first = stream.below(5) as usize * 12;
            let batch = images.narrow(0, first, 12)?.contiguous()?;
            let wanted = wanted.narrow(0, first, 12)?;
            skipping.compare(step, |left_out| -> Result<f64> {
                model.leave_out(left_out);
                let distance = (model.logits(&batch, 0)? - &wanted)?.sqr()?.mean_all()?.to_scalar::<f32>()?;
                Ok((-f64::from(distance)).exp())
            })?;
        }
        right += skipping.chosen().into_iter().filter(|block| block % 3 == 1).count();
    }
    // Four of twelve: chosen at random, 1.3 would be right.
    ensure!(right >= 3 * seeds as usize, "{right} of {}", 4 * seeds);
    Ok(())
}
