//! FLoRA: counts, the product of its factors, and kernels of convolutions with their four dimensions (goals of Tucker form
//! over seeds: `tests/examples`).
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - goals and comparisons over three seeds -> `tests/examples/structure_seeds.rs`, tucker

use crate::bench::{
    Outcome, best_fit, count, dims, layer, low_rank_goal, normal, off, param, slots, tell, values, weight,
};
use candle_core::{DType, Device, Tensor};
use std::sync::Arc;
use temper_methods::{ModelDims, SiteDims, find};
use temper_nn::ops::Slide;
use temper_nn::optim::{AdamW, AdamWConfig};
use temper_nn::slots::{Scale, Slots};
use temper_nn::{
    AdapterExport, ConvShape, ConvSite, ForwardContext, FrozenLinear, FrozenWeight, Grads, LinearSite, ParamSet,
    StorageKind,
};
use temper_protocol::Value;

fn settings(rank: i64) -> [(&'static str, Value); 2] {
    [("rank", Value::Integer(rank)), ("scale", Value::Number(0.5))]
}

/// A kernel of 6 x 4 channels with a window of 3 x 2.
fn kernel() -> SiteDims {
    SiteDims {
        out_features: 6,
        in_features: 4 * 3 * 2,
        window: (3, 2),
        ..dims("model.layers.0.self_attn.v_proj", false)
    }
}

#[test]
fn params_are_the_core_and_a_factor_a_dimension() -> Outcome {
    assert_eq!(count("flora", 48, 40, &settings(4))?, 4 * (48 + 40) + 16);
    let site = vec![kernel()];
    let entries = find("flora")?
        .trained_parameters(&values(&settings(3)), &ModelDims { sites: site, own: Vec::new(), head_features: 4 })?;
    assert_eq!(entries, 6 * 3 + 4 * 3 + 3 * 2 + 2 * 2 + 3 * (3 * 2 * 2));
    Ok(())
}

#[test]
fn a_linear_change_is_outer_core_inner_and_leaves_as_lora() -> Outcome {
    let mut site = layer()?;
    site.attach(&slots("flora", &settings(4))?, 3)?;
    assert_eq!(off(&site.merged()?.ok_or("it does not merge")?, &weight()?)?, 0.0, "the core starts at zero");
    let core = site.params().into_iter().find(|param| param.name == "w.core").ok_or("no core")?;
    core.var.set(&normal("core", 4, 4, 1.0)?)?;
    let (outer, inner) = (param(&site, "w.outer")?, param(&site, "w.mode0")?);
    let change = outer.matmul(core.var.as_tensor())?.matmul(&inner.t()?)?.affine(0.5, 0.0)?;
    assert!(off(&site.merged()?.ok_or("it does not merge")?, &(weight()? + change)?)? <= 1e-5);
    let exports = site.export()?;
    assert!(matches!(exports.as_slice(), [AdapterExport::LowRank { rank: 4, .. }]), "it is no LoRA of its rank");
    Ok(())
}

#[test]
fn a_kernel_keeps_its_dimensions_and_is_what_forward_computes() -> Outcome {
    let shape =
        ConvShape { in_channels: 4, kernel: (3, 2), slide: Slide { stride: (1, 2), padding: (1, 0) }, groups: 1 };
    let held = FrozenWeight::from_tensor("k", &normal("kernel", 6, 24, 0.5)?, StorageKind::F32)?;
    let mut conv = ConvSite::new("k", FrozenLinear { weight: Arc::new(held), bias: None }, shape)?;
    let plan = find("flora")?.plan(&values(&settings(3)), &[kernel()], 1)?;
    conv.site_mut().attach(&plan.adapters.first().ok_or("no plan")?.1, 3)?;
    let core = conv.site().params().into_iter().find(|param| param.name == "k.core").ok_or("no core")?;
    assert_eq!(core.var.dims(), [3, 3 * 2 * 2]);
    core.var.set(&normal("core", 3, 12, 1.0)?)?;
    // Every entry as the sum over the core.
    let read = |name: &str| -> Outcome<Vec<Vec<f32>>> { Ok(param(conv.site(), name)?.to_vec2()?) };
    let (g, outer) = (read("k.core")?, read("k.outer")?);
    let (channels, rows, columns) = (read("k.mode0")?, read("k.mode1")?, read("k.mode2")?);
    let merged = conv.merged()?.ok_or("it does not merge")?.reshape((6, 24))?;
    let base = conv.site().frozen().ok_or("no weight")?.weight.to_tensor()?;
    let change = (merged - base)?.to_vec2::<f32>()?;
    for (o, row) in change.iter().enumerate() {
        for (at, found) in row.iter().enumerate() {
            let (i, h, w) = (at / 6, at / 2 % 3, at % 2);
            let mut sum = 0.0;
            for (p, row) in g.iter().enumerate() {
                for (q, value) in row.iter().enumerate() {
                    sum += value * outer[o][p] * channels[i][q / 4] * rows[h][q / 2 % 2] * columns[w][q % 2];
                }
            }
            assert!((found - 0.5 * sum).abs() < 1e-5, "{found} at {o} {i} {h} {w}");
        }
    }
    let x = normal("x", 2 * 4, 5 * 6, 1.0)?.reshape((2, 4, 5, 6))?;
    let y = conv.forward(&x, &ForwardContext::plain(2, 1))?;
    let merged = conv.merged()?.ok_or("it does not merge")?;
    let expected = temper_nn::ops::conv2d(&x, &merged, None, shape.slide, 1)?;
    assert!(off(&y, &expected)? <= 1e-4, "{}", off(&y, &expected)?);
    // PEFT's form: A with the window, B of size 1.
    let exports = conv.site().export()?;
    let [AdapterExport::LowRank { a, b, scale, rank: 3, .. }] = exports.as_slice() else {
        return Err("it is no LoRA of its outer rank".into());
    };
    let inner = temper_nn::ops::conv2d(&x, &a.reshape((3, 4, 3, 2))?, None, shape.slide, 1)?;
    let change: Tensor = temper_nn::ops::conv2d(&inner, &b.reshape((6, 3, 1, 1))?, None, Slide::even(1, 0), 1)?;
    conv.site().set_enabled(false);
    let expected = (conv.forward(&x, &ForwardContext::plain(2, 1))? + change.affine(*scale, 0.0)?)?;
    assert!(off(&y, &expected)? <= 1e-4);
    Ok(())
}

/// What is left of the squared distance to `goal` from a weight of zeros under white inputs: the best of two learning rates.
fn reached(slots: &Slots, goal: &Tensor) -> Outcome<f64> {
    let (rows, cols) = goal.dims2()?;
    let x = Tensor::eye(cols, DType::F32, &Device::Cpu)?;
    let wanted = goal.t()?.contiguous()?;
    let (steps, mut best) = (600, f64::INFINITY);
    for lr in [1e-2, 3e-2] {
        let zeros = Tensor::zeros((rows, cols), DType::F32, &Device::Cpu)?;
        let held = FrozenWeight::from_tensor("w", &zeros, StorageKind::F32)?;
        let mut site = LinearSite::new("w", FrozenLinear { weight: Arc::new(held), bias: None });
        site.attach(slots, 3)?;
        let set = ParamSet::new(site.params())?;
        let mut optimiser = AdamW::new(AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() });
        let loss = |site: &LinearSite| -> Outcome<Tensor> {
            Ok((site.forward(&x, &ForwardContext::plain(1, cols))? - &wanted)?.sqr()?.sum_all()?)
        };
        for step in 0..steps {
            let mut grads = Grads::new();
            grads.collect(&set, &mut loss(&site)?.affine(128.0, 0.0)?.backward()?)?;
            let share = f64::from(step) / f64::from(steps);
            optimiser.step(&set, &grads, lr * 0.5 * (1.0 + (std::f64::consts::PI * share).cos()))?;
        }
        best = best.min(f64::from(loss(&site)?.to_scalar::<f32>()?));
    }
    Ok(best)
}

/// A kernel (32, 32, 3, 3) of norm 1 whose Tucker ranks are 4, 4, 2 and 2.
fn tucker_kernel() -> Outcome<Tensor> {
    let (outer, channels) = (normal("outer", 32, 4, 1.0)?, normal("channels", 32, 4, 1.0)?);
    let (rows, columns) = (normal("rows", 3, 2, 1.0)?, normal("columns", 3, 2, 1.0)?);
    let window = rows.reshape((3, 1, 2, 1))?.broadcast_mul(&columns.reshape((1, 3, 1, 2))?)?.reshape((9, 4))?;
    let inner = channels.reshape((32, 1, 4, 1))?.broadcast_mul(&window.reshape((1, 9, 1, 4))?)?.reshape((288, 16))?;
    let kernel = outer.matmul(&normal("core", 4, 16, 1.0)?)?.matmul(&inner.t()?)?;
    crate::bench::sized(&kernel, 1.0)
}

/// The sheet's comparison: the Tucker form finds such a kernel with 332 numbers; LoRA over the flattened window does not
/// with 320 and 640, nor over the kernel read as a matrix of 96 x 96 with 768.
#[test]
fn kernels_of_tucker_form_are_found_where_flattened_ones_are_not() -> Outcome {
    let site = SiteDims { out_features: 32, in_features: 288, window: (3, 3), ..kernel() };
    let with = values(&[("rank", Value::Integer(4)), ("scale", Value::Number(1.0))]);
    let plan = find("flora")?.plan(&with, std::slice::from_ref(&site), 1)?;
    let entries = find("flora")?
        .trained_parameters(&with, &ModelDims { sites: vec![site], own: Vec::new(), head_features: 4 })?;
    assert_eq!(entries, 332);
    let goal = tucker_kernel()?;
    let ours = reached(&plan.adapters.first().ok_or("no plan")?.1, &goal)?;
    let lora = |rank: usize| Slots::low_rank(rank, Scale::Fixed(1.0));
    let flat = [reached(&lora(1), &goal)?, reached(&lora(2), &goal)?];
    // As loralib lays kernels out for LoRA: the same numbers in the same order.
    let square = goal.reshape((96, 96))?;
    let squared = reached(&lora(4), &square)?;
    tell(&format!("kernel: FLoRA leaves {ours:.4}, LoRA {:.3} and {:.3}, over 96 x 96 {squared:.3}", flat[0], flat[1]));
    assert!(ours < 0.01, "FLoRA leaves {ours}");
    for theirs in [flat[0], flat[1], squared] {
        assert!(theirs > 0.1, "LoRA leaves {theirs}");
    }
    Ok(())
}

/// On a matrix there is nothing to gain: LoRA with as many numbers is as good or better.
#[test]
fn a_matrix_of_low_rank_is_no_place_for_a_core() -> Outcome {
    let lora = slots("lora", &[("rank", Value::Integer(4)), ("alpha", Value::Number(4.0))])?;
    let plain = [("rank", Value::Integer(4)), ("scale", Value::Number(1.0))];
    let goal = low_rank_goal()?;
    let (ours, theirs) = (best_fit(&slots("flora", &plain)?, &goal, 400)?, best_fit(&lora, &goal, 400)?);
    tell(&format!("rank 4: FLoRA leaves {ours:.4}, LoRA {theirs:.4}"));
    assert!(ours < 0.05 && theirs <= ours + 1e-3, "FLoRA leaves {ours}, LoRA {theirs}");
    Ok(())
}
