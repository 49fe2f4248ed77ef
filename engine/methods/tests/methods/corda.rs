//! CorDA: the split of the weight as its inputs see it, fast first steps in one mode and little forgetting in the other.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `forget.rs`, what begins with `corda:`

use crate::bench::{
    Outcome, SIDE, count, dense_goal, fit, inputs, layer, off, param, put, put_after, slots, tell, weight,
};
use crate::forget::{Forget, forgotten_at};
use candle_core::{DType, Device, Tensor};
use temper_nn::{AdapterExport, LinearSite};
use temper_protocol::Value;

fn settings(rank: i64, mode: &str, iterations: i64) -> [(&'static str, Value); 4] {
    [
        ("rank", Value::Integer(rank)),
        ("alpha", Value::Number(rank as f64)),
        ("mode", Value::Text(mode.to_owned())),
        ("iterations", Value::Integer(iterations)),
    ]
}

fn product(site: &LinearSite) -> Outcome<Tensor> {
    Ok(param(site, "w.b")?.matmul(&param(site, "w.a")?)?)
}

#[test]
fn all_directions_are_the_weight_and_start_and_rest_always() -> Outcome {
    for mode in ["task", "knowledge"] {
        let mut whole = layer()?;
        put(&mut whole, &slots("corda", &settings(SIDE as i64, mode, 0))?, 3)?;
        assert!(off(&product(&whole)?, &weight()?)? <= 1e-4, "{mode}");
        let mut site = layer()?;
        put(&mut site, &slots("corda", &settings(8, mode, 0))?, 3)?;
        assert!(off(&site.merged()?.ok_or("it does not merge")?, &weight()?)? <= 1e-5, "{mode}");
    }
    Ok(())
}

#[test]
fn inputs_that_spread_evenly_give_pissas_start() -> Outcome {
    let even = Tensor::eye(SIDE, DType::F32, &Device::Cpu)?;
    let (mut corda, mut pissa) = (layer()?, layer()?);
    put_after(&mut corda, &slots("corda", &settings(8, "task", 0))?, 3, &even)?;
    let plain = [("rank", Value::Integer(8)), ("alpha", Value::Number(8.0)), ("iterations", Value::Integer(0))];
    pissa.attach(&slots("pissa", &plain)?, 3)?;
    assert!(off(&product(&corda)?, &product(&pissa)?)? <= 1e-4);
    Ok(())
}

#[test]
fn the_fast_decomposition_finds_the_same_start() -> Outcome {
    let (mut exact, mut fast) = (layer()?, layer()?);
    put(&mut exact, &slots("corda", &settings(8, "task", 0))?, 3)?;
    put(&mut fast, &slots("corda", &settings(8, "task", 8))?, 3)?;
    assert!(off(&product(&exact)?, &product(&fast)?)? <= 1e-3, "{}", off(&product(&exact)?, &product(&fast)?)?);
    Ok(())
}

#[test]
fn it_leaves_as_lora_of_twice_the_rank_over_the_untouched_weight() -> Outcome {
    let mut site = layer()?;
    put(&mut site, &slots("corda", &settings(8, "task", 8))?, 3)?;
    fit(&mut site, &dense_goal()?, 20, 1e-2)?;
    let exports = site.export()?;
    let [AdapterExport::LowRank { a, b, scale, rank: 16, bias: None, .. }] = exports.as_slice() else {
        return Err("it leaves in another form".into());
    };
    let rebuilt = (weight()? + b.matmul(a)?.affine(*scale, 0.0)?)?;
    assert!(off(&rebuilt, &site.merged()?.ok_or("it does not merge")?)? < 1e-5);
    Ok(())
}

#[test]
fn a_start_from_data_is_remembered() -> Outcome {
    let mut site = layer()?;
    put(&mut site, &slots("corda", &settings(8, "knowledge", 8))?, 3)?;
    fit(&mut site, &dense_goal()?, 5, 1e-2)?;
    let memory = site.memory()?;
    // Built again without data, then filled.
    let mut again = layer()?;
    again.attach(&slots("corda", &settings(8, "knowledge", 8))?, 3)?;
    again.restore(&|name| Ok(memory.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor.clone())))?;
    for (from, to) in site.params().iter().zip(again.params()) {
        to.var.set(from.var.as_tensor())?;
    }
    let merged = |site: &LinearSite| -> Outcome<Tensor> { Ok(site.merged()?.ok_or("it does not merge")?) };
    assert_eq!(off(&merged(&site)?, &merged(&again)?)?, 0.0);
    let x = inputs()?;
    let ctx = temper_nn::ForwardContext::plain(1, x.dim(0)?);
    assert_eq!(off(&site.forward(&x, &ctx)?, &again.forward(&x, &ctx)?)?, 0.0);
    Ok(())
}

#[test]
fn params_are_loras_and_a_rank_beyond_the_weight_is_cut() -> Outcome {
    assert_eq!(count("corda", 48, 40, &settings(4, "task", 8))?, 4 * (48 + 40));
    assert_eq!(count("corda", 48, 40, &settings(64, "task", 8))?, 40 * (48 + 40));
    Ok(())
}

/// At one learning rate for all. At LoRA's own best one, ten times as high, LoRA overtakes the task mode.
#[test]
fn one_mode_learns_faster_than_lora_and_the_other_forgets_less() -> Outcome {
    const LR: f64 = 3e-3;
    let bench = Forget::new()?;
    let lora = bench.curve(&slots("lora", &settings(8, "", 0)[..2])?, &bench.task, 100, LR)?;
    let task = bench.curve(&slots("corda", &settings(8, "task", 8))?, &bench.task, 10, LR)?;
    let knowledge = bench.curve(&slots("corda", &settings(8, "knowledge", 8))?, &bench.known, 100, LR)?;
    let (theirs, ours) = (lora[9].0, task[9].0);
    tell(&format!("after 10 steps: LoRA leaves {theirs:.4}, task mode {ours:.4}"));
    assert!(ours <= 0.9 * theirs, "task mode leaves {ours}, LoRA {theirs}");
    let at = |curve| forgotten_at(curve, 0.72).ok_or("it stays above");
    let (theirs, ours) = (at(&lora)?, at(&knowledge)?);
    tell(&format!("where .72 is left: LoRA forgot {theirs:.5}, knowledge mode {ours:.5}"));
    assert!(ours <= 0.6 * theirs, "knowledge mode forgets {ours}, LoRA {theirs}");
    Ok(())
}
