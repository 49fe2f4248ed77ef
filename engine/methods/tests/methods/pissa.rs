//! PiSSA: the split of the weight, its export over the untouched weight, and when it is faster or worse than LoRA.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `layer_cases.rs`, what begins with
//!   `pissa:`

use crate::bench::{
    Outcome, SIDE, best_fit, count, dense_goal, fit, layer, normal, off, orthogonal, sized, slots, weight,
};
use candle_core::Tensor;
use temper_nn::{AdapterExport, LinearSite};
use temper_protocol::Value;

fn settings(rank: i64, iterations: i64) -> [(&'static str, Value); 3] {
    [("rank", Value::Integer(rank)), ("alpha", Value::Number(rank as f64)), ("iterations", Value::Integer(iterations))]
}

fn attached(iterations: i64) -> Outcome<LinearSite> {
    let mut site = layer()?;
    site.attach(&slots("pissa", &settings(8, iterations))?, 3)?;
    Ok(site)
}

fn factors(site: &LinearSite) -> Outcome<(Tensor, Tensor)> {
    Ok((crate::bench::param(site, "w.b")?.copy()?, crate::bench::param(site, "w.a")?.copy()?))
}

/// A change inside the eight leading singular directions of the weight.
fn principal_goal() -> Outcome<Tensor> {
    let (left, right) = (orthogonal("left")?.narrow(1, 0, 8)?, orthogonal("right")?.narrow(1, 0, 8)?);
    let change = left.contiguous()?.matmul(&normal("core", 8, 8, 1.0)?)?.matmul(&right.t()?.contiguous()?)?;
    Ok((weight()? + sized(&change, 4.0)?)?)
}

#[test]
fn the_start_is_the_best_approximation_and_with_the_residual_the_weight() -> Outcome {
    let site = attached(0)?;
    let (b, a) = factors(&site)?;
    let merged = site.merged()?.ok_or("it does not merge")?;
    assert!(off(&merged, &weight()?)? <= 1e-5, "residual and start are not the weight");
    // What is left has the norm of the singular values that were not taken.
    let rest = (weight()? - b.matmul(&a)?)?;
    let norm = |tensor: &Tensor| -> Outcome<f64> { Ok(f64::from(tensor.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt())) };
    let energy = |from: usize| (from..=SIDE).map(|index| 1.0 / index as f64).sum::<f64>();
    let expected = 8.0 * (energy(9) / energy(1)).sqrt();
    assert!((norm(&rest)? / expected - 1.0).abs() < 1e-4, "{} instead of {expected}", norm(&rest)?);
    // The singular values are shared evenly: BᵀB = A Aᵀ.
    assert!(off(&b.t()?.matmul(&b)?, &a.matmul(&a.t()?)?)? < 1e-4);
    Ok(())
}

#[test]
fn the_fast_decomposition_finds_nearly_the_same_and_starts_as_exactly() -> Outcome {
    let (exact, fast) = (attached(0)?, attached(8)?);
    let product = |site: &LinearSite| -> Outcome<Tensor> {
        let (b, a) = factors(site)?;
        Ok(b.matmul(&a)?)
    };
    let (left, right) = (product(&exact)?, product(&fast)?);
    let relative = (&left - &right)?.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt() / 8.0;
    assert!(relative < 0.02, "{relative}");
    assert!(off(&fast.merged()?.ok_or("it does not merge")?, &weight()?)? <= 1e-5);
    Ok(())
}

#[test]
fn it_leaves_as_lora_of_twice_the_rank_over_the_untouched_weight() -> Outcome {
    let mut site = attached(4)?;
    fit(&mut site, &dense_goal()?, 20, 1e-2)?;
    let exports = site.export()?;
    let [AdapterExport::LowRank { a, b, scale, rank: 16, bias: None, .. }] = exports.as_slice() else {
        return Err("it leaves in another form".into());
    };
    let rebuilt = (weight()? + b.matmul(a)?.affine(*scale, 0.0)?)?;
    assert!(off(&rebuilt, &site.merged()?.ok_or("it does not merge")?)? < 1e-5);
    assert!(off(&site.frozen().ok_or("no weight")?.weight.to_tensor()?, &weight()?)? == 0.0);
    Ok(())
}

#[test]
fn params_are_loras_and_a_rank_beyond_the_weight_is_cut() -> Outcome {
    assert_eq!(count("pissa", 48, 40, &settings(4, 4))?, 4 * (48 + 40));
    assert_eq!(count("pissa", 48, 40, &settings(64, 4))?, 40 * (48 + 40));
    Ok(())
}

#[test]
fn twenty_steps_go_further_than_loras_when_principal_directions_move() -> Outcome {
    let goal = principal_goal()?;
    let lora = best_fit(&slots("lora", &[("rank", Value::Integer(8)), ("alpha", Value::Number(8.0))])?, &goal, 20)?;
    let pissa = best_fit(&slots("pissa", &settings(8, 0))?, &goal, 20)?;
    assert!(pissa < lora, "PiSSA leaves {pissa}, LoRA {lora}");
    Ok(())
}

#[test]
fn on_a_dense_goal_the_shared_rank_costs() -> Outcome {
    let goal = dense_goal()?;
    let lora = best_fit(&slots("lora", &[("rank", Value::Integer(8)), ("alpha", Value::Number(8.0))])?, &goal, 400)?;
    let pissa = best_fit(&slots("pissa", &settings(8, 0))?, &goal, 400)?;
    assert!(pissa > lora, "PiSSA leaves {pissa}, LoRA {lora}");
    Ok(())
}
