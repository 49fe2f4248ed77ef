//! BitFit: which layers it can train, and what a shift alone can and cannot fit.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `layer_cases.rs`, what begins with
//!   `bitfit:`

use crate::bench::{Outcome, SIDE, best_fit, count, dense_goal, dims, inputs, layer, off, slots, values, weight};
use candle_core::{Device, Tensor};
use temper_methods::{ModelDims, SiteDims, find};
use temper_nn::ForwardContext;
use temper_nn::optim::{AdamW, AdamWConfig};
use temper_nn::{Grads, ParamSet};
use temper_protocol::{Problem, Value};

#[test]
fn params_are_the_biases() -> Outcome {
    assert_eq!(count("bitfit", 48, 40, &[])?, 48);
    let sites: Vec<SiteDims> = [("model.layers.0.self_attn.q_proj", true), ("model.layers.0.mlp.up_proj", false)]
        .map(|(hf, bias)| SiteDims { name: hf.to_owned(), ..dims(hf, bias) })
        .to_vec();
    let model = ModelDims { sites, own: Vec::new(), head_features: 4 };
    let bitfit = find("bitfit")?;
    assert_eq!(bitfit.trained_parameters(&values(&[]), &model)?, SIDE as u64);
    assert_eq!(bitfit.plan(&values(&[]), &model.sites, 1)?.adapters.len(), 1);
    let create = [("create", Value::Flag(true))];
    assert_eq!(bitfit.trained_parameters(&values(&create), &model)?, 2 * SIDE as u64);
    Ok(())
}

#[test]
fn a_model_without_biases_is_refused_with_the_way_out() -> Outcome {
    let refused = find("bitfit")?.plan(&values(&[]), &[dims("model.layers.0.mlp.up_proj", false)], 1);
    let Err(error) = refused else { return Err("there is no bias".into()) };
    let problem = Problem::from(error);
    assert!(problem.what.contains("create = true"), "{problem}");
    Ok(())
}

#[test]
fn an_output_shift_is_solved_exactly() -> Outcome {
    let mut site = layer()?;
    site.attach(&slots("bitfit", &[])?, 1)?;
    let (x, ctx) = (inputs()?, ForwardContext::plain(1, 2 * SIDE));
    let shift = Tensor::from_vec((0..SIDE).map(|at| at as f32 / 64.0).collect(), SIDE, &Device::Cpu)?;
    let goal = x.matmul(&weight()?.t()?)?.broadcast_add(&shift)?;
    let set = ParamSet::new(site.params())?;
    let mut optimiser = AdamW::new(AdamWConfig::default());
    for step in 0..600 {
        let mut grads = Grads::new();
        let loss = (site.forward(&x, &ctx)? - &goal)?.sqr()?.sum_all()?;
        grads.collect(&set, &mut loss.backward()?)?;
        optimiser.step(&set, &grads, 3e-2 * (1.0 - f64::from(step) / 600.0).powi(2))?;
    }
    let found = site.params()[0].var.as_tensor().clone();
    assert!(off(&found, &shift)? < 1e-3, "{}", off(&found, &shift)?);
    let merged = site.merge()?.ok_or("it does not merge")?;
    assert_eq!(merged.weight, weight()?.flatten_all()?.to_vec1::<f32>()?);
    Ok(())
}

#[test]
fn with_inputs_of_mean_zero_a_change_of_the_weight_is_out_of_reach() -> Outcome {
    let left = best_fit(&slots("bitfit", &[])?, &dense_goal()?, 100)?;
    assert!((left - 1.0).abs() < 1e-3, "{left} is left");
    Ok(())
}
