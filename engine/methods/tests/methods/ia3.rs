//! IA3: which side is scaled, what happens to the bias, and what scales alone can and cannot fit.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `layer_cases.rs`, what begins with
//!   `ia3:`

use crate::bench::{Outcome, SIDE, best_fit, count, dense_goal, diagonal, dims, off, slots, slots_on, values, weight};
use candle_core::{Device, Tensor};
use std::sync::Arc;
use temper_methods::{ModelDims, SiteDims, find};
use temper_nn::slots::Normaliser;
use temper_nn::{FrozenLinear, FrozenWeight, LinearSite, StorageKind};
use temper_protocol::Value;

const DOWN: &str = "model.layers.0.mlp.down_proj";

#[test]
fn params_are_out_or_in_where_the_input_is_scaled() -> Outcome {
    assert_eq!(count("ia3", 48, 40, &[("targets", Value::List(vec!["v_proj".to_owned()]))])?, 48);
    let site = SiteDims { out_features: 48, in_features: 40, ..dims(DOWN, false) };
    let model = ModelDims {
        sites: vec![site, dims("model.layers.0.self_attn.k_proj", false)],
        own: Vec::new(),
        head_features: 4,
    };
    assert!(find("ia3")?.trained_parameters(&values(&[]), &model).is_err(), "v_proj hits nothing");
    let targets = [("targets", Value::List(vec!["down_proj".to_owned(), "k_proj".to_owned()]))];
    assert_eq!(find("ia3")?.trained_parameters(&values(&targets), &model)?, 40 + SIDE as u64);
    Ok(())
}

#[test]
fn keys_and_values_are_scaled_after_and_the_second_mlp_layer_before() -> Outcome {
    let targets = [("targets", Value::List(vec!["all-linear".to_owned()]))];
    assert!(matches!(slots("ia3", &targets)?.normaliser, Normaliser::RowScale(_)));
    assert!(matches!(slots_on("ia3", DOWN, &targets)?.normaliser, Normaliser::ColumnScale(_)));
    let none = [("targets", Value::List(vec!["all-linear".to_owned()])), ("feedforward", Value::List(Vec::new()))];
    assert!(matches!(slots_on("ia3", DOWN, &none)?.normaliser, Normaliser::RowScale(_)));
    Ok(())
}

#[test]
fn the_bias_is_scaled_on_the_output_side_only() -> Outcome {
    let targets = [("targets", Value::List(vec!["all-linear".to_owned()]))];
    let bias = Tensor::from_vec(vec![1f32; SIDE], SIDE, &Device::Cpu)?;
    for (hf, expected) in [("model.layers.0.self_attn.v_proj", 3f32), (DOWN, 1.0)] {
        let weight = FrozenWeight::from_tensor("w", &weight()?, StorageKind::F32)?;
        let mut site = LinearSite::new("w", FrozenLinear { weight: Arc::new(weight), bias: Some(bias.clone()) });
        site.attach(&slots_on("ia3", hf, &targets)?, 1)?;
        let params = site.params();
        params[0].var.set(&params[0].var.affine(3.0, 0.0)?)?;
        let merged = site.merge()?.ok_or("it does not merge")?;
        assert_eq!(merged.bias, Some(vec![expected; SIDE]), "{hf}");
    }
    Ok(())
}

#[test]
fn a_row_scaling_is_solved_and_a_dense_goal_hardly_touched() -> Outcome {
    let slots = slots("ia3", &[("targets", Value::List(vec!["all-linear".to_owned()]))])?;
    let scales = diagonal((0..SIDE).map(|row| 0.5 + row as f64 / SIDE as f64))?;
    let solved = best_fit(&slots, &scales.matmul(&weight()?)?, 400)?;
    assert!(solved < 1e-3, "a goal of scaled rows is left at {solved}");
    let dense = best_fit(&slots, &dense_goal()?, 400)?;
    assert!(dense > 0.85 && dense < 1.0, "a dense goal is left at {dense}");
    Ok(())
}

#[test]
fn a_scale_of_zero_merges_exactly() -> Outcome {
    let mut site = crate::bench::layer()?;
    site.attach(&slots("ia3", &[("targets", Value::List(vec!["all-linear".to_owned()]))])?, 1)?;
    let mut values = vec![1f32; SIDE];
    values[3] = 0.0;
    site.params()[0].var.set(&Tensor::from_vec(values, SIDE, &Device::Cpu)?)?;
    let merged = site.merged()?.ok_or("it does not merge")?;
    assert_eq!(merged.get(3)?.abs()?.sum_all()?.to_scalar::<f32>()?, 0.0);
    // The frozen weight is still there to return to.
    assert!(off(&site.frozen().ok_or("no weight")?.weight.to_tensor()?, &weight()?)? == 0.0);
    Ok(())
}
