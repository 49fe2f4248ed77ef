//! NOLA: drawn matrices are the same for everyone, and what few coefficients reach.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - drawn in any order and in any pieces -> `nn/tests/ops/adapters.rs`,
//!   `drawn_matrices_are_the_same_in_any_order_and_in_any_pieces`
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `layer_cases.rs`, what begins with
//!   `nola:`

use crate::bench::{Outcome, best_fit, count, dense_goal, fit, layer, low_rank_goal, off, param, slots};
use temper_nn::LinearSite;
use temper_nn::ops::Seeded;
use temper_nn::rng::Stream;
use temper_protocol::Value;

fn settings(bases: i64) -> [(&'static str, Value); 3] {
    [("bases", Value::Integer(bases)), ("rank", Value::Integer(8)), ("alpha", Value::Number(8.0))]
}

fn attached(name: &str, seed: u64) -> Outcome<LinearSite> {
    let frozen = layer()?.frozen().ok_or("no weight")?.clone();
    let mut site = LinearSite::new(name, frozen);
    site.attach(&slots("nola", &settings(16))?, seed)?;
    Ok(site)
}

#[test]
fn params_are_two_coefficients_per_matrix() -> Outcome {
    assert_eq!(count("nola", 48, 40, &settings(16))?, 32);
    Ok(())
}

/// The bases of a factor follow from seed, name and number alone.
#[test]
fn the_same_seed_gives_the_same_bases_in_any_order_and_every_layer_its_own() -> Outcome {
    let site = attached("w", 3)?;
    for param in site.params() {
        let mut one = vec![0f32; param.elements()];
        one[5] = 1.0;
        param.var.set(&candle_core::Tensor::from_vec(one, param.elements(), &candle_core::Device::Cpu)?)?;
    }
    let exports = site.export()?;
    let [temper_nn::AdapterExport::LowRank { b, .. }] = exports.as_slice() else {
        return Err("it leaves in another form".into());
    };
    // B is the sixth matrix alone, found without the others.
    let key = Stream::new(3, "bases/w.b").next_u64();
    let zeros = candle_core::Tensor::zeros(b.dims(), candle_core::DType::F32, &candle_core::Device::Cpu)?;
    let alone = Seeded { key, start: zeros, bases: 16 }.basis(5)?;
    assert_eq!(off(b, &alone)?, 0.0);
    let other = Stream::new(3, "bases/v.b").next_u64();
    assert_ne!(key, other, "layers draw their own matrices");
    Ok(())
}

#[test]
fn coefficients_of_b_learn_first() -> Outcome {
    let mut site = attached("w", 3)?;
    fit(&mut site, &dense_goal()?, 1, 1e-2)?;
    let largest = |name: &str| -> Outcome<f32> { Ok(param(&site, name)?.abs()?.max_all()?.to_scalar()?) };
    assert!(largest("w.b")? > 1e-3 && largest("w.a")? == 0.0);
    Ok(())
}

#[test]
fn few_coefficients_reach_little_and_random_bases_lose_on_a_low_rank_goal() -> Outcome {
    let nola = |bases: i64, goal: &candle_core::Tensor| best_fit(&slots("nola", &settings(bases))?, goal, 400);
    let (few, more) = (nola(16, &dense_goal()?)?, nola(64, &dense_goal()?)?);
    assert!(more < few && few < 1.0, "32 numbers leave {few}, 128 leave {more}");
    let one = [("rank", Value::Integer(1)), ("alpha", Value::Number(1.0))];
    let lora = best_fit(&slots("lora", &one)?, &low_rank_goal()?, 400)?;
    let nola = nola(64, &low_rank_goal()?)?;
    assert!(nola > lora, "a goal of low rank: NOLA leaves {nola}, LoRA of rank 1 {lora}");
    Ok(())
}
