//! Hydra: both branches, the bias, and which goals which branch is for.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `layer_cases.rs`, what begins with
//!   `hydra:`

use crate::bench::{Outcome, SIDE, count, few_shot, inputs, layer, normal, off, param, sized, slots, weight};
use candle_core::{Device, Tensor};
use std::sync::Arc;
use temper_nn::{AdapterExport, ForwardContext, FrozenLinear, FrozenWeight, LinearSite, StorageKind};
use temper_protocol::Value;

fn settings(parallel: i64, sequential: i64) -> [(&'static str, Value); 3] {
    [
        ("rank", Value::Integer(parallel)),
        ("sequential_rank", Value::Integer(sequential)),
        ("alpha", Value::Number(parallel as f64)),
    ]
}

/// A layer with a bias and Hydra on it, everything moved.
fn moved() -> Outcome<LinearSite> {
    let weight = FrozenWeight::from_tensor("w", &weight()?, StorageKind::F32)?;
    let bias = Tensor::from_vec((0..SIDE).map(|at| at as f32 / 32.0 - 1.0).collect(), SIDE, &Device::Cpu)?;
    let mut site = LinearSite::new("w", FrozenLinear { weight: Arc::new(weight), bias: Some(bias) });
    site.attach(&slots("hydra", &settings(2, 3))?, 3)?;
    for param in site.params() {
        let noise = normal(&param.name, 1, param.elements(), 0.2)?.reshape(param.var.dims())?;
        param.var.set(&(param.var.as_tensor() + noise)?)?;
    }
    Ok(site)
}

#[test]
fn params_are_those_of_both_branches() -> Outcome {
    assert_eq!(count("hydra", 48, 40, &settings(4, 8))?, 4 * (48 + 40) + 2 * 8 * 48);
    Ok(())
}

#[test]
fn the_branch_behind_sees_the_output_with_its_bias() -> Outcome {
    let site = moved()?;
    let (x, ctx) = (inputs()?, ForwardContext::plain(1, 2 * SIDE));
    let bias = site.frozen().and_then(|layer| layer.bias.clone()).ok_or("no bias")?;
    let h = x.matmul(&weight()?.t()?)?.broadcast_add(&bias)?;
    let branch = |x: &Tensor, a: &str, b: &str| -> Outcome<Tensor> {
        Ok(x.matmul(&param(&site, a)?.t()?)?.matmul(&param(&site, b)?.t()?)?)
    };
    let expected = ((&h + branch(&x, "w.a", "w.b")?)? + branch(&h, "w.left_a", "w.left_b")?)?;
    assert!(off(&site.forward(&x, &ctx)?, &expected)? < 1e-4);
    Ok(())
}

#[test]
fn merged_weight_and_bias_follow_the_formula() -> Outcome {
    let site = moved()?;
    let bias = site.frozen().and_then(|layer| layer.bias.clone()).ok_or("no bias")?;
    let left = param(&site, "w.left_b")?.matmul(&param(&site, "w.left_a")?)?;
    let expected = ((weight()? + param(&site, "w.b")?.matmul(&param(&site, "w.a")?)?)? + left.matmul(&weight()?)?)?;
    let merged = site.merge()?.ok_or("it does not merge")?;
    let shifted = (&bias + left.matmul(&bias.unsqueeze(1)?)?.squeeze(1)?)?;
    let found = Tensor::new(merged.bias.clone().ok_or("no bias")?, &Device::Cpu)?;
    assert!(off(&found, &shifted)? < 1e-5 && off(&merged.into_tensor()?, &expected)? < 1e-5);
    // It leaves as LoRA of both ranks with the change of the bias beside it.
    let exports = site.export()?;
    let [AdapterExport::LowRank { rank: 5, bias: Some(change), .. }] = exports.as_slice() else {
        return Err("it leaves in another form".into());
    };
    assert!(off(change, &(shifted - bias)?)? < 1e-5);
    Ok(())
}

/// From 48 noisy examples: where the goal recombines the layer's outputs Hydra leaves less than nine tenths of what LoRA of
/// equal size does. Where it is unrelated it gains nothing; that LoRA is ahead there is held over three seeds
/// (`tests/examples/method_seeds`).
#[test]
fn few_examples_of_a_recombination_are_for_the_branch_behind_and_an_unrelated_change_is_not() -> Outcome {
    let lora = slots("lora", &[("rank", Value::Integer(4)), ("alpha", Value::Number(4.0))])?;
    let hydra = slots("hydra", &settings(2, 2))?;
    let thin = |draw: u64| -> Outcome<Tensor> {
        let (b, a) = (normal(&format!("b {draw}"), SIDE, 4, 1.0)?, normal(&format!("a {draw}"), 4, SIDE, 1.0)?);
        Ok(b.matmul(&a)?)
    };
    let related = |draw: u64| -> Outcome<Tensor> { Ok((weight()? + sized(&thin(draw)?.matmul(&weight()?)?, 4.0)?)?) };
    let (ours, plain) = (few_shot(&hydra, related, 48, 200)?, few_shot(&lora, related, 48, 200)?);
    assert!(ours < 0.9 * plain, "recombined: Hydra leaves {ours}, LoRA {plain}");
    let unrelated = |draw: u64| -> Outcome<Tensor> { Ok((weight()? + sized(&thin(draw)?, 4.0)?)?) };
    let (ours, plain) = (few_shot(&hydra, unrelated, 48, 200)?, few_shot(&lora, unrelated, 48, 200)?);
    assert!(ours >= 0.95 * plain, "unrelated: Hydra leaves {ours}, LoRA {plain}");
    Ok(())
}

#[test]
fn a_layer_without_bias_keeps_none() -> Outcome {
    let mut site = layer()?;
    site.attach(&slots("hydra", &settings(2, 2))?, 3)?;
    assert!(site.merge()?.ok_or("it does not merge")?.bias.is_none());
    Ok(())
}
