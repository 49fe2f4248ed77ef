//! EoRA: what it gives back at the outputs and at the weights, and what it is where there is nothing to give back. The
//! decomposition is tested in `temper_nn::repair`, the order of the blocks and a real model in the trainer's tests.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - errors of 64 x 64 in three bits -> `nn/src/repair.rs`,
//!   `errors_of_three_bits_at_outputs_fall_from_nothing_over_plain_to_eora_and_at_weights_the_other_way_round`
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `language.rs` and `small_net.rs`,
//!   what begins with `eora:`

use crate::bench::{Outcome, SIDE, count, inputs, off, param, slots, values, weight};
use candle_core::Tensor;
use std::sync::Arc;
use temper_methods::find;
use temper_nn::layer_stats::gather;
use temper_nn::slots::Slots;
use temper_nn::{Bits, ForwardContext, FrozenLinear, FrozenWeight, Group, GroupedInt, LinearSite, StorageKind, linalg};
use temper_protocol::Value;

const THREE_BITS: StorageKind = StorageKind::Grouped(GroupedInt { bits: Bits::Three, group: Group::G32 });

fn of_rank(rank: i64) -> Outcome<Slots> {
    slots("eora", &[("rank", Value::Integer(rank)), ("iterations", Value::Integer(0))])
}

/// Plain decomposition of the same: LoftQ's first round.
fn plain(rank: i64) -> Outcome<Slots> {
    let settings = [
        ("rank", Value::Integer(rank)),
        ("alpha", Value::Number(rank as f64)),
        ("start", Value::Text("loftq".to_owned())),
        ("start_rounds", Value::Integer(1)),
    ];
    slots("lora", &settings)
}

/// The layer of the bench at three bits with its original in reach.
fn rounded() -> Outcome<LinearSite> {
    let weight = weight()?;
    let of = |kind| FrozenWeight::from_tensor("w", &weight, kind).map(Arc::new);
    let site = LinearSite::new("w", FrozenLinear { weight: of(THREE_BITS)?, bias: None });
    Ok(site.with_source(of(StorageKind::F32)?))
}

/// The layer with `slots`, given the inputs of the bench to look at where they ask for them.
fn attached(slots: &Slots) -> Outcome<LinearSite> {
    attached_after(slots, &inputs()?)
}

/// The same with other inputs.
fn attached_after(slots: &Slots, x: &Tensor) -> Outcome<LinearSite> {
    let mut site = rounded()?;
    let mut stats = Default::default();
    if let Some(wanted) = slots.gathers() {
        let mut passes = 0;
        stats = gather(&[(&site, wanted)], || -> Outcome<bool> {
            passes += 1;
            site.forward(x, &ForwardContext::plain(1, x.dim(0)?))?;
            Ok(passes < 1)
        })?;
    }
    site.attach_with(slots, 3, stats.get("w").map(|stats| &**stats))?;
    Ok(site)
}

/// Distance of the layer from its original: at the outputs for the inputs of the bench, and of the weights.
fn errors(site: &LinearSite) -> Outcome<(f32, f32)> {
    let rest = (site.merged()?.ok_or("it does not merge")? - weight()?)?;
    let size = |tensor: &Tensor| -> Outcome<f32> { Ok(tensor.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt()) };
    Ok((size(&inputs()?.matmul(&rest.t()?)?)?, size(&rest)?))
}

#[test]
fn it_beats_a_plain_decomposition_at_the_outputs_and_loses_at_the_weights() -> Outcome {
    let none = errors(&rounded()?)?;
    for rank in [2, 8, 24] {
        let (eora, plain) = (errors(&attached(&of_rank(rank)?)?)?, errors(&attached(&plain(rank)?)?)?);
        assert!(eora.0 < 0.97 * plain.0 && plain.0 < none.0, "rank {rank}: {eora:?} {plain:?} {none:?}");
        assert!(eora.1 > plain.1, "rank {rank}: {eora:?} {plain:?}");
    }
    let full = errors(&attached(&of_rank(SIDE as i64)?)?)?;
    assert!(full.0 < 1e-4 * none.0, "{full:?} {none:?}");
    Ok(())
}

#[test]
fn without_an_original_or_without_data_it_starts_as_lora() -> Outcome {
    let weight = FrozenWeight::from_tensor("w", &weight()?, THREE_BITS)?;
    let mut unknown = LinearSite::new("w", FrozenLinear { weight: Arc::new(weight), bias: None });
    unknown.attach(&of_rank(8)?, 3)?;
    let mut unseen = rounded()?;
    unseen.attach(&of_rank(8)?, 3)?;
    for site in [unknown, unseen] {
        assert_eq!(param(&site, "w.b")?.abs()?.max_all()?.to_scalar::<f32>()?, 0.0);
        assert!(param(&site, "w.a")?.abs()?.max_all()?.to_scalar::<f32>()? > 0.0);
        assert!(off(&site.merged()?.ok_or("it does not merge")?, &rounded()?.merged()?.ok_or("no weight")?)? == 0.0);
    }
    Ok(())
}

#[test]
fn params_are_loras_and_it_looks_at_the_rows_it_says() -> Outcome {
    assert_eq!(count("eora", 48, 40, &[("rank", Value::Integer(4))])?, 4 * (48 + 40));
    assert!(find("eora")?.belongs_to_its_base(&values(&[])));
    let slots = slots("eora", &[])?;
    assert_eq!((slots.rank(), slots.calibration_rows()), (SIDE, 64), "128 is more than the layer has");
    assert!(slots.calibrates_in_order());
    Ok(())
}

/// With X the inputs, ‖(ΔW − B A) Xᵀ‖ is the root of the sum of the squared singular values of ΔW S that were left out; those
/// of ΔW Xᵀ are the same.
#[test]
fn output_error_is_that_of_the_dropped_singular_values() -> Outcome {
    let seen = (rounded()?.merged()?.ok_or("no weight")? - weight()?)?.matmul(&inputs()?.t()?.contiguous()?)?;
    let seen: Vec<f64> = seen.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
    let singular = linalg::singular_values(&seen, SIDE, 2 * SIDE)?;
    for rank in [2, 8, 24] {
        let dropped: f64 = singular.iter().skip(rank).map(|value| value * value).sum();
        let found = f64::from(errors(&attached(&of_rank(rank as i64)?)?)?.0);
        assert!((found / dropped.sqrt() - 1.0).abs() < 1e-4, "rank {rank}: {found} instead of {}", dropped.sqrt());
    }
    Ok(())
}

/// The best product for the weights leaves the smallest singular values of ΔW; where inputs spread evenly so does this one.
#[test]
fn with_inputs_that_spread_evenly_it_is_the_plain_decomposition() -> Outcome {
    let even = Tensor::eye(SIDE, candle_core::DType::F32, &candle_core::Device::Cpu)?;
    let rest = (rounded()?.merged()?.ok_or("no weight")? - weight()?)?;
    let rest: Vec<f64> = rest.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
    let singular = linalg::singular_values(&rest, SIDE, SIDE)?;
    let best = singular.iter().skip(8).map(|value| value * value).sum::<f64>().sqrt();
    let found = f64::from(errors(&attached_after(&of_rank(8)?, &even)?)?.1);
    assert!((found / best - 1.0).abs() < 1e-4, "{found} instead of {best}");
    Ok(())
}
