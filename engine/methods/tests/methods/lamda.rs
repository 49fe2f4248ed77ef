//! LaMDA: columns that freeze, what is trained then, and where it is ahead of LoRA.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `layer_cases.rs`, what begins with
//!   `lamda:`

use crate::bench::{Outcome, best_fit, count, dense_goal, inputs, layer, param, slots};
use temper_nn::optim::{AdamW, AdamWConfig};
use temper_nn::rules::{At, take_step};
use temper_nn::{ForwardContext, Grads, Param, ParamSet};
use temper_protocol::Value;

fn settings(rank: i64, freeze_share: f64) -> [(&'static str, Value); 4] {
    [
        ("rank", Value::Integer(rank)),
        ("alpha", Value::Number(rank as f64)),
        ("freeze_share", Value::Number(freeze_share)),
        ("iterations", Value::Integer(0)),
    ]
}

#[test]
fn frozen_columns_are_bit_equal_afterwards_and_what_is_trained_is_counted() -> Outcome {
    let (rank, total) = (8usize, 40u64);
    assert_eq!(count("lamda", 48, 40, &settings(8, 0.5))?, 8 * 8 + 48 * 8);
    let mut site = layer()?;
    site.attach(&slots("lamda", &settings(8, 0.5))?, 3)?;
    let (x, goal) = (inputs()?, dense_goal()?);
    let wanted = x.matmul(&goal.t()?)?;
    let ctx = ForwardContext::plain(1, x.dim(0)?);
    let mut set = ParamSet::new(site.params())?;
    let mut optimiser = AdamW::new(AdamWConfig { weight_decay: 0.1, ..AdamWConfig::default() });
    for step in 1..=total {
        let before = param(&site, "w.b")?.copy()?;
        let mut grads = Grads::new();
        let loss = (site.forward(&x, &ctx)? - &wanted)?.sqr()?.mean_all()?;
        grads.collect(&set, &mut loss.backward()?)?;
        site.map_grads(&mut grads)?;
        let at = At { step, total };
        if take_step(&mut [&mut site], &set, &mut optimiser, &mut grads, 1e-2, at)?.params {
            set = ParamSet::new(site.params())?;
        }
        // The columns that were frozen before this step, also under weight decay.
        let frozen = (rank * (step as usize - 1) / 20).min(rank);
        let after = param(&site, "w.b")?;
        if frozen > 0 {
            let columns = |tensor: &candle_core::Tensor| -> Outcome<Vec<f32>> {
                Ok(tensor.narrow(1, 0, frozen)?.flatten_all()?.to_vec1()?)
            };
            assert_eq!(columns(&before)?, columns(&after)?, "step {step}");
        }
        if frozen < rank && step > 1 {
            let column = |tensor: &candle_core::Tensor| -> Outcome<Vec<f32>> {
                Ok(tensor.narrow(1, rank - 1, 1)?.flatten_all()?.to_vec1()?)
            };
            assert_ne!(column(&before)?, column(&after)?, "the last column is still trained at step {step}");
        }
        let frozen_now = (rank * step as usize / 20).min(rank);
        let trained = site.params().iter().map(Param::trained).sum::<Result<usize, _>>()?;
        assert_eq!(trained, rank * rank + 64 * (rank - frozen_now), "step {step}");
    }
    assert_eq!(optimiser.steps("w.b"), 0, "what is frozen has no memory");
    assert!(optimiser.steps("w.core") == total);
    Ok(())
}

#[test]
fn freezing_costs_little_and_per_number_trained_at_the_end_it_is_ahead_of_lora() -> Outcome {
    let goal = dense_goal()?;
    let lora = |rank: i64| -> Outcome<f64> {
        best_fit(&slots("lora", &[("rank", Value::Integer(rank)), ("alpha", Value::Number(rank as f64))])?, &goal, 400)
    };
    let frozen = best_fit(&slots("lamda", &settings(22, 0.3))?, &goal, 400)?;
    let mut unfrozen = slots("lamda", &settings(22, 0.3))?;
    unfrozen.rules.clear();
    let free = best_fit(&unfrozen, &goal, 400)?;
    let small = lora(4)?;
    assert!(frozen < free + 0.02, "{frozen} with freezing, {free} without");
    assert!(frozen < small, "22² = 484 numbers leave {frozen}, LoRA's 512 leave {small}");
    let (lamda, lora) = (best_fit(&slots("lamda", &settings(8, 0.3))?, &goal, 400)?, lora(8)?);
    assert!(lora < lamda, "at rank 8 LoRA leaves {lora}, LaMDA {lamda}");
    Ok(())
}
