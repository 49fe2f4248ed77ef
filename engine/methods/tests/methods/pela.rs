//! PELA: ranks and counts, what decomposing loses, and which layers stay whole. Healing is tested on models.
//!
//! Acceptance, each with its test; without a file it is here:
//! - the table of ranks, numbers ≤ in · out / ρ: `ranks_are_those_of_the_table_and_the_layer_has_ratio_times_fewer_numbers`
//! - the full rank is the layer, a lower one loses the tail:
//!   `the_full_rank_is_the_layer_as_it_was_and_a_lower_one_loses_the_tail_of_its_singular_values`
//! - what stays whole: `layers_with_few_outputs_and_the_stem_stay_whole`; `train/tests/trainer/images_imitate.rs`,
//!   `thin_layers_are_those_of_the_blocks_alone`
//! - the teacher's bytes after healing: `train/tests/trainer/imitate.rs`,
//!   `what_is_imitated_has_the_same_bytes_after_training`; of images `images_imitate.rs` beside it,
//!   `the_first_steps_imitate_the_original_which_stays_what_it_was`
//! - healed above decomposed above drawn, near the whole: `tests/examples/encoder_seeds.rs` on a ViT,
//!   `tests/examples/method_seeds/language.rs` on text

use crate::bench::{Outcome, SIDE, count, inputs, layer, off, slots, values, weight};
use std::sync::Arc;
use temper_methods::{SiteDims, find};
use temper_nn::slots::{Delta, Slots};
use temper_nn::{ForwardContext, FrozenLinear, FrozenWeight, LinearSite, StorageKind, linalg};
use temper_protocol::Value;

fn ratio(ratio: f64) -> Vec<(&'static str, Value)> {
    vec![("ratio", Value::Number(ratio))]
}

/// The method's slots with another rank.
fn of_rank(rank: usize) -> Outcome<Slots> {
    let mut slots = slots("pela", &[])?;
    if let Delta::Chain(chain) = &mut slots.delta {
        chain.rank = rank;
    }
    Ok(slots)
}

fn site(out_features: usize, in_features: usize) -> SiteDims {
    SiteDims { out_features, in_features, ..crate::bench::dims("model.layers.0.self_attn.v_proj", true) }
}

#[test]
fn ranks_are_those_of_the_table_and_the_layer_has_ratio_times_fewer_numbers() -> Outcome {
    for (out_features, in_features, ranks) in [(768, 768, [256, 192, 128]), (3072, 768, [409, 307, 204])] {
        for (wanted, rank) in [1.5, 2.0, 3.0].into_iter().zip(ranks) {
            let plan = find("pela")?.plan(&values(&ratio(wanted)), &[site(out_features, in_features)], 1)?;
            assert_eq!(plan.adapters.first().ok_or("the layer is left out")?.1.rank(), rank, "{wanted}");
            let trained = count("pela", out_features, in_features, &ratio(wanted))?;
            assert_eq!(trained, (rank * (out_features + in_features)) as u64);
            assert!(trained as f64 <= (out_features * in_features) as f64 / wanted);
        }
    }
    let refused = find("pela")?.plan(&values(&ratio(0.9)), &[site(64, 64)], 1);
    assert!(refused.is_err(), "a layer would grow");
    Ok(())
}

#[test]
fn layers_with_few_outputs_and_the_stem_stay_whole() -> Outcome {
    let plan =
        find("pela")?.plan(&values(&[]), &[site(9, 64), SiteDims { name: "w2".to_owned(), ..site(10, 64) }], 1)?;
    assert_eq!(plan.adapters.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["w2"]);
    assert_eq!(count("pela", 9, 64, &[])?, 0);
    let stem = SiteDims { layer: None, name: "stem.conv".to_owned(), ..site(64, 64) };
    let plan = find("pela")?.plan(&values(&[]), &[site(10, 64), stem], 1)?;
    assert_eq!(plan.adapters.len(), 1, "the stem of a CNN is in no block");
    Ok(())
}

#[test]
fn the_full_rank_is_the_layer_as_it_was_and_a_lower_one_loses_the_tail_of_its_singular_values() -> Outcome {
    let (x, ctx) = (inputs()?, ForwardContext::plain(1, 2 * SIDE));
    let mut full = layer()?;
    full.attach(&of_rank(SIDE)?, 1)?;
    assert!(off(&full.forward(&x, &ctx)?, &layer()?.forward(&x, &ctx)?)? < 1e-4);
    let values: Vec<f64> = weight()?.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
    let singular = linalg::singular_values(&values, SIDE, SIDE)?;
    for rank in [4, 16, 32] {
        let mut thin = layer()?;
        thin.attach(&of_rank(rank)?, 1)?;
        let lost = (thin.merged()?.ok_or("it does not merge")? - weight()?)?.sqr()?.sum_all()?.to_scalar::<f32>()?;
        let tail: f64 = singular.iter().skip(rank).map(|value| value * value).sum();
        assert!((f64::from(lost) / tail - 1.0).abs() < 1e-4, "rank {rank}: {lost} beside {tail}");
    }
    Ok(())
}

#[test]
fn a_base_that_was_rounded_in_memory_is_decomposed_as_its_file_has_it() -> Outcome {
    let rounded = FrozenWeight::from_tensor("w", &weight()?, StorageKind::Nf4)?;
    let source = FrozenWeight::from_tensor("w", &weight()?, StorageKind::F32)?;
    let site = LinearSite::new("w", FrozenLinear { weight: Arc::new(rounded), bias: None });
    let mut site = site.with_source(Arc::new(source));
    site.attach(&of_rank(SIDE)?, 1)?;
    assert!(off(&site.merged()?.ok_or("it does not merge")?, &weight()?)? < 1e-5);
    Ok(())
}
