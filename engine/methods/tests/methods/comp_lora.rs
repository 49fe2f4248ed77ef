//! Comp-LoRA: protected directions stay untouched, and what that costs.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `forget.rs` and `small_net.rs`,
//!   what begins with `comp-lora:`

use crate::bench::{Outcome, SIDE, best_fit, count, dense_goal, fit, layer, off, orthogonal, slots, tell, weight};
use crate::forget::{Forget, forgotten_at};
use candle_core::Tensor;
use temper_nn::LinearSite;
use temper_protocol::Value;

fn settings(energy: f64, two_sided: bool) -> [(&'static str, Value); 4] {
    [
        ("rank", Value::Integer(8)),
        ("alpha", Value::Number(8.0)),
        ("energy", Value::Number(energy)),
        ("two_sided", Value::Flag(two_sided)),
    ]
}

/// The directions of the bench's weight that hold half of Σ 1/i over 64: the first six.
const PROTECTED: usize = 6;

fn change(site: &LinearSite) -> Outcome<Tensor> {
    Ok((site.merged()?.ok_or("it does not merge")? - weight()?)?)
}

fn norm(tensor: &Tensor) -> Outcome<f32> {
    Ok(tensor.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt())
}

#[test]
fn params_are_loras() -> Outcome {
    assert_eq!(count("comp-lora", 48, 40, &settings(0.5, true))?, 8 * (48 + 40));
    Ok(())
}

#[test]
fn the_change_never_touches_the_protected_directions() -> Outcome {
    let (left, right) = (orthogonal("left")?, orthogonal("right")?);
    for two_sided in [false, true] {
        let mut site = layer()?;
        site.attach(&slots("comp-lora", &settings(0.5, two_sided))?, 3)?;
        for steps in [1, 20] {
            fit(&mut site, &dense_goal()?, steps, 1e-2)?;
            let change = change(&site)?;
            let (inside, next) =
                (change.matmul(&right.narrow(1, 0, PROTECTED)?.contiguous()?)?, right.narrow(1, PROTECTED, 1)?);
            // The merged weight carries the rounding of its own values.
            assert!(norm(&inside)? <= 1e-5 * norm(&change)?.max(0.5), "{}", norm(&inside)?);
            assert!(norm(&change.matmul(&next.contiguous()?)?)? > 1e-3 * norm(&change)?, "one too many is protected");
            let outputs = norm(&left.narrow(1, 0, PROTECTED)?.t()?.contiguous()?.matmul(&change)?)?;
            assert_eq!(outputs <= 1e-5 * norm(&change)?.max(0.5), two_sided, "{outputs}");
        }
    }
    Ok(())
}

#[test]
fn nothing_protected_is_lora() -> Outcome {
    let mut free = layer()?;
    free.attach(&slots("comp-lora", &settings(0.0, true))?, 3)?;
    let mut lora = layer()?;
    lora.attach(&slots("lora", &[("rank", Value::Integer(8)), ("alpha", Value::Number(8.0))])?, 3)?;
    let goal = dense_goal()?;
    let (one, two) = (fit(&mut free, &goal, 20, 1e-2)?, fit(&mut lora, &goal, 20, 1e-2)?);
    assert_eq!(one, two);
    assert_eq!(off(&change(&free)?, &change(&lora)?)?, 0.0);
    Ok(())
}

/// What needs the protected directions cannot be fitted: the more is protected the more is left.
#[test]
fn protection_costs_fit_on_a_dense_goal() -> Outcome {
    let fit = |energy: f64| best_fit(&slots("comp-lora", &settings(energy, true))?, &dense_goal()?, 200);
    let (free, some, much) = (fit(0.0)?, fit(0.5)?, fit(0.8)?);
    assert!(free < some && some < much && much < 1.0, "{free}, {some}, {much} are left");
    Ok(())
}

/// Sixteen directions are protected: the share of energy that they hold and fifteen do not.
#[test]
fn at_matched_task_error_it_forgets_a_fifth_of_what_lora_does() -> Outcome {
    const MATCHED: f64 = 0.8;
    let held = |count: usize| (1..=count).map(|index| (index as f64).powf(-1.4)).sum::<f64>();
    let energy = (held(15) + held(16)) / (2.0 * held(SIDE));
    let bench = Forget::new()?;
    let lora = slots("lora", &[("rank", Value::Integer(8)), ("alpha", Value::Number(8.0))])?;
    let theirs = forgotten_at(&bench.curve(&lora, &bench.task, 300, 1e-2)?, MATCHED).ok_or("LoRA stays above")?;
    for two_sided in [false, true] {
        let curve = bench.curve(&slots("comp-lora", &settings(energy, two_sided))?, &bench.task, 300, 1e-2)?;
        let ours = forgotten_at(&curve, MATCHED).ok_or("it stays above")?;
        tell(&format!("two-sided {two_sided}: forgets {ours:.5}, LoRA {theirs:.5}"));
        assert!(ours <= 0.2 * theirs, "two-sided {two_sided}: forgets {ours}, LoRA {theirs}");
    }
    Ok(())
}
