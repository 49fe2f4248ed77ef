//! VeRA: shared matrices cut to each layer, and what two vectors reach.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - projections leave and are read again -> `export/tests/types.rs`,
//!   `shared_matrices_leave_as_vera_with_their_projections`
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `layer_cases.rs`, what begins with
//!   `vera:`

use crate::bench::{Outcome, best_fit, count, dense_goal, dims, layer, off, param, slots, values};
use temper_methods::{SiteDims, find};
use temper_nn::slots::{Delta, Source};
use temper_nn::{FrozenLinear, FrozenWeight, LinearSite, StorageKind};
use temper_protocol::Value;

fn settings(rank: i64) -> [(&'static str, Value); 1] {
    [("rank", Value::Integer(rank))]
}

#[test]
fn params_are_out_and_rank() -> Outcome {
    assert_eq!(count("vera", 48, 40, &settings(16))?, 48 + 16);
    Ok(())
}

#[test]
fn the_shared_matrices_are_as_large_as_the_largest_layer() -> Outcome {
    let site = |name: &str, out_features: usize, in_features: usize| SiteDims {
        name: name.to_owned(),
        hf_name: format!("model.layers.0.mlp.{name}"),
        out_features,
        in_features,
        ..dims("", false)
    };
    let sites = [site("up_proj", 96, 32), site("down_proj", 32, 96)];
    let plan = find("vera")?.plan(&values(&settings(8)), &sites, 1)?;
    for (_, slots) in &plan.adapters {
        let Delta::Chain(chain) = &slots.delta else { return Err("it is no chain".into()) };
        assert!(matches!(chain.a.source, Source::Shared { rows: 8, cols: 96, .. }));
        assert!(matches!(chain.b.source, Source::Shared { rows: 96, cols: 8, .. }));
    }
    Ok(())
}

/// A small layer holds the top left part of what the large one holds, and the file has it whole.
#[test]
fn every_layer_holds_its_part_and_regenerated_projections_equal_saved_ones() -> Outcome {
    let attach = |rows: usize, cols: usize, seed: u64| -> Outcome<LinearSite> {
        let weight = FrozenWeight::from_f32("w", rows, cols, vec![0.1; rows * cols])?;
        let mut site = LinearSite::new(format!("{rows}x{cols}"), FrozenLinear { weight: weight.into(), bias: None });
        let mut slots = slots("vera", &settings(8))?;
        if let Delta::Chain(chain) = &mut slots.delta {
            let large = |factor: &mut Source, (large_rows, large_cols): (usize, usize)| {
                if let Source::Shared { rows, cols, .. } = factor {
                    (*rows, *cols) = (large_rows, large_cols);
                }
            };
            large(&mut chain.a.source, (8, 40));
            large(&mut chain.b.source, (48, 8));
        }
        site.attach(&slots, seed)?;
        Ok(site)
    };
    assert_eq!(StorageKind::F32.name(), "f32");
    let (large, small, other) = (attach(48, 40, 3)?, attach(16, 24, 3)?, attach(16, 24, 4)?);
    let file = |site: &LinearSite| site.peft()?.ok_or_else(|| "no PEFT type".into()) as Outcome<temper_nn::PeftLayer>;
    let (large, small, other) = (file(&large)?, file(&small)?, file(&other)?);
    for name in ["vera_A", "vera_B"] {
        let tensor = |layer: &temper_nn::PeftLayer| layer.tensor(name).cloned().ok_or(name);
        assert_eq!(off(&tensor(&large)?, &tensor(&small)?)?, 0.0, "{name} is one for all");
        assert!(off(&tensor(&large)?, &tensor(&other)?)? > 0.1, "{name} follows the seed");
    }
    Ok(())
}

#[test]
fn vectors_start_as_the_paper_has_them() -> Outcome {
    let mut site = layer()?;
    site.attach(&slots("vera", &settings(16))?, 3)?;
    assert!(param(&site, "w.core")?.to_vec1::<f32>()?.iter().all(|value| *value == 0.1));
    assert!(param(&site, "w.b")?.to_vec1::<f32>()?.iter().all(|value| *value == 0.0));
    Ok(())
}

#[test]
fn a_larger_rank_of_random_directions_fits_more() -> Outcome {
    let fit = |rank: i64| best_fit(&slots("vera", &settings(rank))?, &dense_goal()?, 400);
    let (small, large) = (fit(16)?, fit(128)?);
    assert!(large < small && small < 1.0 && large > 0.5, "rank 16 leaves {small}, rank 128 {large}");
    Ok(())
}
