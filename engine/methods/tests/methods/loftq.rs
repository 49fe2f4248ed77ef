//! LoRA with the start loftq: what it repairs, what it leaves alone, and what it is worth on few bits.

use crate::bench::{Outcome, SIDE, count, fit, low_rank_goal, off, slots, values, weight};
use std::sync::Arc;
use temper_methods::find;
use temper_nn::{Bits, FrozenLinear, FrozenWeight, Group, GroupedInt, LinearSite, StorageKind};
use temper_protocol::Value;

const TWO_BITS: StorageKind = StorageKind::Grouped(GroupedInt { bits: Bits::Two, group: Group::G32 });

fn settings(start: &str, rounds: i64) -> Vec<(&'static str, Value)> {
    vec![
        ("rank", Value::Integer(8)),
        ("alpha", Value::Number(16.0)),
        ("start", Value::Text(start.to_owned())),
        ("start_rounds", Value::Integer(rounds)),
    ]
}

/// The layer of the bench, rounded, with or without its original.
fn rounded(kind: StorageKind, knows_source: bool) -> Outcome<LinearSite> {
    let weight = weight()?;
    let held = FrozenWeight::from_tensor("w", &weight, kind)?;
    let site = LinearSite::new("w", FrozenLinear { weight: Arc::new(held), bias: None });
    if !knows_source {
        return Ok(site);
    }
    Ok(site.with_source(Arc::new(FrozenWeight::from_tensor("w", &weight, StorageKind::F32)?)))
}

fn attached(kind: StorageKind, start: &str, rounds: i64, seed: u64) -> Outcome<LinearSite> {
    let mut site = rounded(kind, true)?;
    site.attach(&slots("lora", &settings(start, rounds))?, seed)?;
    Ok(site)
}

fn bytes(site: &LinearSite) -> Outcome<Vec<u8>> {
    Ok(site.frozen().ok_or("no frozen weight")?.weight.bytes().as_slice().to_vec())
}

/// Frobenius distance of the layer's weight from the original.
fn error(site: &LinearSite) -> Outcome<f32> {
    let merged = site.merged()?.ok_or("it does not merge")?;
    Ok((merged - weight()?)?.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt())
}

#[test]
fn first_round_errs_less_than_rounding_alone_and_the_best_error_does_not_rise_with_rounds() -> Outcome {
    for kind in [TWO_BITS, StorageKind::Nf4, StorageKind::Nf4Double] {
        let mut last = error(&rounded(kind, true)?)?;
        for rounds in [1, 2, 5, 20] {
            let now = error(&attached(kind, "loftq", rounds, 3)?)?;
            assert!(now <= last * (1.0 + 1e-5), "{} after {rounds} rounds: {now}, before {last}", kind.name());
            last = now;
        }
        assert!(last < 0.85 * error(&rounded(kind, true)?)?, "{}: {last}", kind.name());
    }
    Ok(())
}

#[test]
fn at_the_start_the_output_is_that_of_base_and_product_together() -> Outcome {
    let site = attached(TWO_BITS, "loftq", 5, 3)?;
    let (a, b) = (crate::bench::param(&site, "w.a")?, crate::bench::param(&site, "w.b")?);
    let base = site.frozen().ok_or("no frozen weight")?.weight.to_tensor()?;
    let together = (base + b.matmul(&a)?.affine(2.0, 0.0)?)?;
    assert!(off(&together, &site.merged()?.ok_or("it does not merge")?)? < 1e-5, "the scale is alpha / rank");
    Ok(())
}

#[test]
fn one_round_leaves_the_base_and_more_put_another_of_the_same_storage_there() -> Outcome {
    let (plain, one, five) =
        (rounded(TWO_BITS, true)?, attached(TWO_BITS, "loftq", 1, 3)?, attached(TWO_BITS, "loftq", 5, 3)?);
    assert!(bytes(&one)? == bytes(&plain)?);
    assert!(bytes(&five)? != bytes(&plain)?);
    assert_eq!(five.frozen().ok_or("no frozen weight")?.weight.kind, TWO_BITS);
    // The same again from the same seed: a resumed run starts from these bytes.
    assert!(bytes(&five)? == bytes(&attached(TWO_BITS, "loftq", 5, 3)?)?);
    // Off, the layer is the base as it was rounded before.
    let x = crate::bench::inputs()?;
    let ctx = temper_nn::ForwardContext::plain(1, 2 * SIDE);
    five.set_enabled(false);
    assert!(off(&five.forward(&x, &ctx)?, &plain.forward(&x, &ctx)?)? == 0.0);
    Ok(())
}

#[test]
fn a_base_that_was_not_rounded_in_memory_starts_as_with_zero() -> Outcome {
    let mut unknown = rounded(StorageKind::Q8_0, false)?;
    unknown.attach(&slots("lora", &settings("loftq", 5))?, 3)?;
    let mut zero = rounded(StorageKind::Q8_0, false)?;
    zero.attach(&slots("lora", &settings("zero", 5))?, 3)?;
    for name in ["w.a", "w.b"] {
        assert!(off(&crate::bench::param(&unknown, name)?, &crate::bench::param(&zero, name)?)? == 0.0, "{name}");
    }
    Ok(())
}

#[test]
fn params_are_loras_and_a_rank_beyond_the_weight_is_refused_by_name() -> Outcome {
    assert_eq!(count("lora", 48, 40, &settings("loftq", 5))?, 8 * (48 + 40));
    let mut site = rounded(TWO_BITS, true)?;
    let mut large = settings("loftq", 5);
    if let Some(rank) = large.first_mut() {
        rank.1 = Value::Integer(65);
    }
    let refused = site.attach(&slots("lora", &large)?, 3).err().ok_or("it was taken")?.to_string();
    assert!(refused.contains("64") && refused.contains("65"), "{refused}");
    Ok(())
}

#[test]
fn it_says_that_it_belongs_to_its_base() -> Outcome {
    let lora = find("lora")?;
    assert!(lora.belongs_to_its_base(&values(&settings("loftq", 5))));
    assert!(!lora.belongs_to_its_base(&values(&settings("zero", 5))));
    Ok(())
}

#[test]
fn on_two_bits_it_starts_lower_and_ends_no_worse_than_a_zero_start_over_three_seeds() -> Outcome {
    let goal = low_rank_goal()?;
    let mean = |start: &str, steps: usize| -> Outcome<f64> {
        let mut sum = 0.0;
        for seed in [3, 4, 5] {
            let mut best = f64::INFINITY;
            for lr in [3e-3, 1e-2] {
                best = best.min(fit(&mut attached(TWO_BITS, start, 5, seed)?, &goal, steps, lr)?);
            }
            sum += best;
        }
        Ok(sum / 3.0)
    };
    let (start_zero, start_loftq) = (mean("zero", 0)?, mean("loftq", 0)?);
    assert!(start_loftq < start_zero, "{start_loftq} beside {start_zero}");
    let (end_zero, end_loftq) = (mean("zero", 100)?, mean("loftq", 100)?);
    assert!(end_loftq <= end_zero, "{end_loftq} beside {end_zero}");
    Ok(())
}
