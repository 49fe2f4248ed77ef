//! LoRA-Pro: its pair on a layer, its memory, and when it is ahead of LoRA. The algebra of the pair (independence of X, the
//! projection, drawn pairs, the equation of X, the inner product) is tested where it is computed.

use crate::bench::{Outcome, SIDE, count, dense_goal, fit, layer, low_rank_goal, normal, param, sized, slots, weight};
use candle_core::Tensor;
use std::collections::BTreeMap;
use temper_nn::slots::{Chain, Core, Delta, Factor, Init, Scale, Slots};
use temper_protocol::Value;

fn settings(form: &str) -> [(&'static str, Value); 3] {
    [("rank", Value::Integer(8)), ("alpha", Value::Number(8.0)), ("form", Value::Text(form.to_owned()))]
}

/// LoRA under plain gradient descent.
fn plain() -> Slots {
    let chain = Chain {
        rank: 8,
        b: Factor::trained(Init::Zeros).moved_plainly(),
        core: Core::None,
        a: Factor::trained(Init::KaimingUniform).moved_plainly(),
    };
    Slots { delta: Delta::Chain(chain), scale: Scale::AlphaOverRank(8.0), ..Slots::default() }
}

fn best(slots: &Slots, goal: &Tensor, steps: usize, rates: &[f64]) -> Outcome<f64> {
    let mut best = f64::INFINITY;
    for lr in rates {
        let mut site = layer()?;
        site.attach(slots, 3)?;
        // Too high a rate leaves numbers that are not finite, which the pair refuses.
        let left = fit(&mut site, goal, steps, *lr).unwrap_or(f64::INFINITY);
        if left.is_finite() {
            best = best.min(left);
        }
    }
    Ok(best)
}

/// From 1e-3 on, each twice the one before.
fn rates() -> Vec<f64> {
    (0..13).map(|power| 1e-3 * f64::from(1 << power)).collect()
}

#[test]
fn params_are_loras() -> Outcome {
    assert_eq!(count("lora-pro", 48, 40, &settings("adam"))?, 8 * (48 + 40));
    Ok(())
}

/// A change of rank `rank` and norm 4.
fn goal_of_rank(rank: usize) -> Outcome<Tensor> {
    let change = normal("goal b", SIDE, rank, 1.0)?.matmul(&normal("goal a", rank, SIDE, 1.0)?)?;
    Ok((weight()? + sized(&change, 4.0)?)?)
}

/// On a dense goal the sheet's prototype left 0.83 of LoRA's; here it is 0.93 (0.418 against 0.449), which the page says.
#[test]
fn thirty_plain_steps_leave_at_most_85_hundredths_of_loras_where_the_goal_has_a_rank() -> Outcome {
    for rank in [4, 16] {
        let goal = goal_of_rank(rank)?;
        let lora = best(&plain(), &goal, 30, &rates())?;
        let pro = best(&slots("lora-pro", &settings("sgd"))?, &goal, 30, &rates())?;
        assert!(pro <= 0.85 * lora, "rank {rank}: LoRA-Pro leaves {pro}, LoRA {lora}");
    }
    let goal = dense_goal()?;
    let (lora, pro) =
        (best(&plain(), &goal, 30, &rates())?, best(&slots("lora-pro", &settings("sgd"))?, &goal, 30, &rates())?);
    assert!(pro < lora, "LoRA-Pro leaves {pro}, LoRA {lora}");
    Ok(())
}

#[test]
fn with_moments_it_is_no_worse_than_loras_adam() -> Outcome {
    let goal = low_rank_goal()?;
    let rates = [1e-3, 3e-3, 1e-2, 3e-2, 0.1];
    let lora = best(&slots("lora", &[("rank", Value::Integer(8)), ("alpha", Value::Number(8.0))])?, &goal, 30, &rates)?;
    let pro = best(&slots("lora-pro", &settings("adam"))?, &goal, 30, &rates)?;
    assert!(pro <= 1.1 * lora, "LoRA-Pro leaves {pro}, LoRA {lora}");
    Ok(())
}

#[test]
fn what_it_remembers_is_all_that_going_on_needs() -> Outcome {
    let goal = dense_goal()?;
    let attached = || -> Outcome<_> {
        let mut site = layer()?;
        site.attach(&slots("lora-pro", &settings("adam"))?, 3)?;
        Ok(site)
    };
    let mut whole = attached()?;
    fit(&mut whole, &goal, 5, 1e-2)?;
    let mut saved: BTreeMap<String, Tensor> = whole.memory()?.into_iter().collect();
    assert_eq!(saved.keys().map(String::as_str).collect::<Vec<_>>(), ["first.w", "second.w", "steps.w"]);
    let mut other = attached()?;
    for (param, old) in other.params().iter().zip(whole.params()) {
        param.var.set(&old.var.as_tensor().copy()?)?;
        saved.insert(old.name.clone(), old.var.as_tensor().copy()?);
    }
    other.restore(&|name| Ok(saved.get(name).cloned()))?;
    fit(&mut whole, &goal, 5, 1e-2)?;
    fit(&mut other, &goal, 5, 1e-2)?;
    let bits = |site| -> Outcome<Vec<f32>> { Ok(param(site, "w.a")?.flatten_all()?.to_vec1()?) };
    assert_eq!(bits(&whole)?, bits(&other)?);
    Ok(())
}
