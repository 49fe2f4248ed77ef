//! DoRA: magnitudes, the detached norm, its dropout, and how it fits beside LoRA.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `layer_cases.rs`, what begins with
//!   `dora:`

use crate::bench::{
    Outcome, best_fit, count, dense_goal, inputs, layer, low_rank_goal, normal, off, param, slots, weight,
};
use candle_core::Tensor;
use temper_nn::ForwardContext;
use temper_nn::gradcheck::{GradCheck, check_parameters};
use temper_nn::ops::reference;
use temper_nn::rng::Stream;
use temper_protocol::Value;

fn settings(rank: i64, dropout: f64) -> [(&'static str, Value); 3] {
    [("rank", Value::Integer(rank)), ("alpha", Value::Number(2.0 * rank as f64)), ("dropout", Value::Number(dropout))]
}

/// A layer with DoRA on it whose every parameter has moved.
fn moved(dropout: f64) -> Outcome<temper_nn::LinearSite> {
    let mut site = layer()?;
    site.attach(&slots("dora", &settings(4, dropout))?, 3)?;
    for param in site.params() {
        let count = param.elements();
        let noise = normal(&param.name, 1, count, 0.1)?.reshape(param.var.dims())?;
        param.var.set(&(param.var.as_tensor() + noise)?)?;
    }
    Ok(site)
}

/// `m / ‖W + s · B A‖` and the changed weight.
fn parts(site: &temper_nn::LinearSite) -> Outcome<(Tensor, Tensor)> {
    let changed = (weight()? + (param(site, "w.b")?.matmul(&param(site, "w.a")?)? * 2.0)?)?;
    let norm = changed.sqr()?.sum(1)?.sqrt()?;
    Ok(((param(site, "w.scale")? / norm)?, changed))
}

#[test]
fn params_are_loras_and_out_more() -> Outcome {
    let lora = count("lora", 48, 40, &settings(4, 0.0))?;
    assert_eq!(count("dora", 48, 40, &settings(4, 0.0))?, lora + 48);
    Ok(())
}

#[test]
fn magnitudes_start_as_the_norms_of_the_rows() -> Outcome {
    let mut site = layer()?;
    site.attach(&slots("dora", &settings(4, 0.0))?, 3)?;
    assert!(off(&param(&site, "w.scale")?, &weight()?.sqr()?.sum(1)?.sqrt()?)? < 1e-6);
    let (x, ctx) = (inputs()?, ForwardContext::plain(1, 128));
    assert!(off(&site.forward(&x, &ctx)?, &layer()?.forward(&x, &ctx)?)? < 1e-5);
    Ok(())
}

#[test]
fn rows_of_the_merged_weight_have_their_magnitudes() -> Outcome {
    let site = moved(0.0)?;
    let merged = site.merged()?.ok_or("it does not merge")?;
    assert!(off(&merged.sqr()?.sum(1)?.sqrt()?, &param(&site, "w.scale")?.abs()?)? < 1e-5);
    let (factor, changed) = parts(&site)?;
    assert!(off(&merged, &changed.broadcast_mul(&factor.unsqueeze(1)?)?)? < 1e-5);
    Ok(())
}

/// The norm is a constant in the backward pass: with it held the differences agree, with it moving they do not.
#[test]
fn gradients_are_those_of_the_detached_norm_and_not_the_full_derivative() -> Outcome {
    let site = moved(0.0)?;
    let (x, ctx) = (inputs()?, ForwardContext::plain(1, 128));
    let check = || check_parameters(|| site.forward(&x, &ctx), &site.params(), &GradCheck::f32());
    site.hold_constants(true);
    check()?;
    site.hold_constants(false);
    let error = check().err().ok_or("the full derivative should differ")?.to_string();
    assert!(error.contains("w.a") || error.contains("w.b"), "{error}");
    Ok(())
}

/// y = W x + (d − 1) ∘ W drop(x) + d ∘ s · B A drop(x), as PEFT trains it.
#[test]
fn dropout_touches_what_differs_from_the_frozen_layer() -> Outcome {
    let site = moved(0.5)?;
    let x = inputs()?;
    let ctx = ForwardContext { training: true, seed: 9, step: 2, ..ForwardContext::plain(1, 128) };
    let key = Stream::new(9, "dropout/w/2").next_u64();
    let drop = temper_nn::ops::Dropout { p: 0.5, key, rows: [0].into(), width: 128 };
    let dropped = (&x * reference::dropout_mask(&drop, &x)?)?;
    let (factor, changed) = parts(&site)?;
    let (frozen, scaled) = (weight()?, changed.broadcast_mul(&factor.unsqueeze(1)?)?);
    let expected = (x.matmul(&frozen.t()?)? + dropped.matmul(&(scaled - &frozen)?.t()?)?)?;
    let found = site.forward(&x, &ctx)?;
    assert!(off(&found, &expected)? < 1e-4, "{}", off(&found, &expected)?);
    assert!(off(&found, &site.forward(&x, &ForwardContext::plain(1, 128))?)? > 0.1, "nothing was dropped");
    Ok(())
}

#[test]
fn on_a_dense_goal_it_is_at_most_a_little_worse_than_lora_and_a_low_rank_goal_is_solved() -> Outcome {
    let fit = |id: &str, goal: &Tensor| best_fit(&slots(id, &settings(4, 0.0))?, goal, 400);
    let (dora, lora) = (fit("dora", &dense_goal()?)?, fit("lora", &dense_goal()?)?);
    assert!(dora <= lora + 0.02 && dora < 0.9, "DoRA leaves {dora}, LoRA {lora}");
    let solved = fit("dora", &low_rank_goal()?)?;
    assert!(solved < 0.01, "a goal of rank 4 is left at {solved}");
    Ok(())
}
