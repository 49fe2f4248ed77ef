//! EVA: directions along the inputs' spread, fast first steps, and where the directions of a model go.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `layer_cases.rs`, what begins with
//!   `eva:`

use crate::bench::{Outcome, SIDE, count, dense_goal, fit, inputs, layer, off, param, put, slots, tell};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use temper_methods::find;
use temper_nn::layer_stats::gather;
use temper_nn::rules::share_out;
use temper_nn::{ForwardContext, linalg};
use temper_protocol::Value;

fn settings(rank: i64, most: i64) -> [(&'static str, Value); 3] {
    [("rank", Value::Integer(rank)), ("alpha", Value::Number(rank as f64)), ("most", Value::Integer(most))]
}

#[test]
fn directions_stand_at_right_angles_and_change_nothing_at_first() -> Outcome {
    let mut site = layer()?;
    put(&mut site, &slots("eva", &settings(8, 1))?, 3)?;
    let a = param(&site, "w.a")?;
    assert!(off(&a.matmul(&a.t()?)?, &Tensor::eye(8, DType::F32, &Device::Cpu)?)? <= 1e-4);
    assert_eq!(off(&site.merged()?.ok_or("it does not merge")?, &layer()?.merged()?.ok_or("no weight")?)?, 0.0);
    Ok(())
}

#[test]
fn fewer_inputs_than_directions_are_refused() -> Outcome {
    let mut site = layer()?;
    let few = inputs()?.narrow(0, 0, 4)?.contiguous()?;
    let refused = crate::bench::put_after(&mut site, &slots("eva", &settings(8, 1))?, 3, &few);
    let error = refused.err().ok_or("four inputs have no eight components")?.to_string();
    assert!(error.contains("more rows"), "{error}");
    Ok(())
}

#[test]
fn params_are_loras_before_directions_are_shared_out() -> Outcome {
    assert_eq!(count("eva", 48, 40, &settings(4, 2))?, 4 * (48 + 40));
    Ok(())
}

/// LoRA's draws differ by a tenth: the mean of three, each at the best of three learning rates.
#[test]
fn twenty_steps_go_further_than_loras_and_four_hundred_as_far() -> Outcome {
    let (lora, eva) = (slots("lora", &settings(8, 1)[..2])?, slots("eva", &settings(8, 1))?);
    let goal = dense_goal()?;
    let mean = |slots, steps| -> Outcome<f64> {
        let mut sum = 0.0;
        for seed in 1..=3 {
            let mut best = f64::INFINITY;
            for lr in [3e-3, 1e-2, 3e-2] {
                let mut site = layer()?;
                put(&mut site, slots, seed)?;
                best = best.min(fit(&mut site, &goal, steps, lr)?);
            }
            sum += best / 3.0;
        }
        Ok(sum)
    };
    let (theirs, ours) = (mean(&lora, 20)?, mean(&eva, 20)?);
    tell(&format!("20 steps: LoRA leaves {theirs:.4}, EVA {ours:.4}"));
    assert!(ours <= 0.9 * theirs, "EVA leaves {ours}, LoRA {theirs}");
    let (theirs, ours) = (mean(&lora, 400)?, mean(&eva, 400)?);
    tell(&format!("400 steps: LoRA leaves {theirs:.4}, EVA {ours:.4}"));
    assert!(ours <= 1.02 * theirs, "EVA leaves {ours}, LoRA {theirs}");
    Ok(())
}

#[test]
fn directions_go_where_they_explain_most_add_up_to_the_budget_and_keep_their_strength() -> Outcome {
    let explained: BTreeMap<usize, Vec<f64>> =
        [(0, vec![0.5, 0.3, 0.1, 0.05]), (1, vec![0.2, 0.1, 0.05, 0.01]), (2, vec![0.04, 0.03, 0.02, 0.01])].into();
    let shared = |most: i64| -> Outcome<_> {
        let dims: Vec<_> = (0..3)
            .map(|layer| temper_methods::SiteDims {
                name: format!("layers.{layer}.attn.v"),
                hf_name: format!("model.layers.{layer}.self_attn.v_proj"),
                ..crate::bench::dims("", false)
            })
            .collect();
        let mut plan = find("eva")?.plan(&crate::bench::values(&settings(2, most)), &dims, 1)?.adapters;
        share_out(&mut plan, |name| {
            let layer = name.split('.').nth(1).and_then(|layer| layer.parse().ok()).unwrap_or(9);
            explained.get(&layer).cloned().unwrap_or_default()
        })?;
        Ok(plan)
    };
    let plan = shared(2)?;
    let ranks: Vec<_> = plan.iter().map(|(name, slots)| (name.as_str(), slots.rank())).collect();
    assert_eq!(ranks, [("layers.0.attn.v", 4), ("layers.1.attn.v", 2)], "the third layer explains least");
    assert_eq!(ranks.iter().map(|(_, rank)| rank).sum::<usize>(), 3 * 2, "the budget is two directions a layer");
    for (_, slots) in &plan {
        assert_eq!(slots.scale.value(slots.rank()), 1.0, "alpha grows with the rank");
    }
    let even: Vec<_> = shared(1)?.iter().map(|(_, slots)| slots.rank()).collect();
    assert_eq!(even, [2, 2, 2], "nothing is shared out");
    Ok(())
}

/// The sine of the largest angle between both spaces of eight directions is below 1e-2.
#[test]
fn components_of_streamed_batches_span_those_of_all_inputs_at_once() -> Outcome {
    let slots = slots("eva", &settings(8, 1))?;
    let started = |batches: usize| -> Outcome<Tensor> {
        let mut site = layer()?;
        let (all, mut passed) = (inputs()?, 0);
        let wanted = slots.gathers().ok_or("it looks at nothing")?;
        let stats = gather(&[(&site, wanted)], || -> Outcome<bool> {
            // Every batch has inputs of all strengths.
            let rows: Vec<u32> = (0..2 * SIDE).skip(passed).step_by(batches).map(|row| row as u32).collect();
            let rows = Tensor::new(rows, &Device::Cpu)?;
            let batch = all.index_select(&rows, 0)?;
            site.forward(&batch, &ForwardContext::plain(1, batch.dim(0)?))?;
            passed += 1;
            Ok(passed < batches)
        })?;
        assert_eq!(passed, batches, "it was steady before the end");
        let seen = stats.get("w").map(|stats| &**stats);
        site.attach_with(&slots, 3, seen)?;
        Ok(param(&site, "w.a")?.copy()?)
    };
    let cosines = started(1)?.matmul(&started(4)?.t()?)?;
    let cosines: Vec<f64> = cosines.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
    let smallest = linalg::singular_values(&cosines, 8, 8)?.into_iter().fold(1.0, f64::min);
    let sine = (1.0 - smallest * smallest).max(0.0).sqrt();
    assert!(sine < 1e-2, "the spaces stand {sine} apart");
    Ok(())
}
