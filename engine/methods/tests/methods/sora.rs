//! SoRA: gates that close, the adapter without them, and what the threshold decides.
//!
//! Acceptance that stands elsewhere: gates that are all closed are said, `train/tests/trainer/closed.rs`; fewer open gates
//! with a larger threshold, ranks in the order of the true ones and what is left, over seeds,
//! `tests/examples/method_seeds/spread.rs`.

use crate::alloc::{Bench, plan, uniform};
use crate::bench::{Outcome, count, dense_goal, fit, inputs, layer, off, param, slots};
use candle_core::{Device, Tensor};
use temper_nn::{AdapterExport, ForwardContext};
use temper_protocol::Value;

fn settings(threshold: f64) -> [(&'static str, Value); 4] {
    [
        ("rank", Value::Integer(12)),
        ("alpha", Value::Number(12.0)),
        ("threshold", Value::Number(threshold)),
        ("l1", Value::Number(0.0)),
    ]
}

#[test]
fn params_are_loras_and_a_gate_a_direction() -> Outcome {
    assert_eq!(count("sora", 48, 40, &settings(1e-3))?, 12 * (48 + 40 + 1));
    Ok(())
}

#[test]
fn pruned_model_equals_the_gated_model() -> Outcome {
    let mut site = layer()?;
    site.attach(&slots("sora", &settings(3e-3))?, 3)?;
    fit(&mut site, &dense_goal()?, 20, 1e-2)?;
    let gates = param(&site, "w.core")?;
    let closed: Vec<f32> = gates
        .to_vec1::<f32>()?
        .into_iter()
        .enumerate()
        .map(|(at, gate)| if at % 3 == 0 { 0.0 } else { gate })
        .collect();
    let core = site.params().into_iter().find(|param| param.name == "w.core").ok_or("no gates")?;
    core.var.set(&Tensor::new(closed, &Device::Cpu)?)?;
    let exports = site.export()?;
    let [AdapterExport::LowRank { a, b, scale, rank: 8, .. }] = exports.as_slice() else {
        return Err("closed gates are not left out".into());
    };
    let x = inputs()?;
    let ctx = ForwardContext::plain(1, x.dim(0)?);
    let pruned = (layer()?.forward(&x, &ctx)? + x.matmul(&a.t()?)?.matmul(&b.t()?)?.affine(*scale, 0.0)?)?;
    let y = site.forward(&x, &ctx)?;
    let largest = y.abs()?.max_all()?.to_scalar::<f32>()?;
    assert!(off(&pruned, &y)? <= 1e-6 * largest.max(1.0), "{}", off(&pruned, &y)?);
    Ok(())
}

#[test]
fn the_l1_loss_is_the_mean_gate_over_all_layers_and_has_no_slope_at_zero() -> Outcome {
    let mut with_loss = settings(0.0);
    with_loss[3].1 = Value::Number(10.0);
    let mut site = layer()?;
    site.attach(&slots("sora", &with_loss)?, 3)?;
    let core = site.params().into_iter().find(|param| param.name == "w.core").ok_or("no gates")?;
    let mut gates = core.var.to_vec1::<f32>()?;
    gates[0] = 0.0;
    core.var.set(&Tensor::new(gates.clone(), &Device::Cpu)?)?;
    let loss = site.extra_loss()?.ok_or("no loss")?;
    let mean: f32 = gates.iter().map(|gate| gate.abs()).sum::<f32>() / 12.0;
    assert!((loss.to_scalar::<f32>()? / (10.0 * mean) - 1.0).abs() < 1e-5);
    let store = loss.backward()?;
    let slope = store.get(core.var.as_tensor()).ok_or("no gradient")?.to_vec1::<f32>()?;
    for (slope, gate) in slope.iter().zip(&gates) {
        let expected = if *gate == 0.0 { 0.0 } else { gate.signum() * 10.0 / 12.0 };
        assert!((slope - expected).abs() < 1e-6, "{slope} at {gate}");
    }
    Ok(())
}

/// Gates alive in each layer and what is left of the error.
fn trained(threshold: f64, seed: u64) -> Outcome<(Vec<usize>, f64)> {
    let mut bench = Bench::new(&plan("sora", &settings(threshold))?, seed)?;
    let error = bench.train(1e-2)?;
    Ok((bench.ranks()?, error))
}

#[test]
fn open_gates_are_fewer_with_a_larger_threshold_and_ordered_like_the_goals() -> Outcome {
    let mut alive = Vec::new();
    for threshold in [1e-3, 3e-3, 1e-2] {
        let (ranks, error) = trained(threshold, 2)?;
        alive.push(ranks.iter().sum::<usize>());
        if threshold == 1e-3 {
            assert!(error < uniform(2)?, "{error} is left with {ranks:?}");
            assert!(ranks[0] >= ranks[2] && ranks[1] >= ranks[3] && ranks[0] >= ranks[7], "{ranks:?}");
        }
    }
    assert!(alive.is_sorted_by(|more, less| more >= less), "{alive:?} are open");
    assert_eq!(alive[2], 0, "a large threshold closes all of them");
    Ok(())
}

#[test]
fn the_threshold_takes_xi_off_and_stops_at_zero() -> Outcome {
    const XI: f32 = 1.0 / 64.0;
    let mut site = layer()?;
    site.attach(&slots("sora", &settings(f64::from(XI)))?, 3)?;
    let core = site.params().into_iter().find(|param| param.name == "w.core").ok_or("no gates")?;
    let before = [0.0, 0.5, -0.5, 1.0, -1.0, 1.5, -1.5, 3.0, -3.0, 0.0, 0.0, 0.0].map(|times| times * XI);
    core.var.set(&Tensor::new(&before, &Device::Cpu)?)?;
    site.after_step(1)?;
    let after = [0.0, 0.0, 0.0, 0.0, 0.0, 0.5, -0.5, 2.0, -2.0, 0.0, 0.0, 0.0].map(|times| times * XI);
    let found = param(&site, "w.core")?.to_vec1::<f32>()?;
    assert!(found.iter().zip(after).all(|(found, wanted)| (found - wanted).abs() < 1e-7), "{found:?}");
    Ok(())
}
