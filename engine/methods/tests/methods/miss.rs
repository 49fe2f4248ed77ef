//! MiSS: it is LoRA with a tiled identity, and what the fixed tiling costs.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `language.rs`, what begins with
//!   `miss:`

use crate::bench::{Outcome, SIDE, best_fit, count, dense_goal, fit, inputs, layer, off, param, slots, weight};
use candle_core::Tensor;
use temper_nn::ForwardContext;
use temper_protocol::Value;

fn settings(rank: i64) -> [(&'static str, Value); 1] {
    [("rank", Value::Integer(rank))]
}

#[test]
fn params_are_rank_times_out() -> Outcome {
    assert_eq!(count("miss", 48, 40, &settings(8))?, 8 * 48);
    Ok(())
}

/// `y = x Wᵀ + z D` with z the sum of the input's pieces of rank features: the same as the tiled identity.
#[test]
fn it_is_the_sum_of_pieces_through_one_matrix() -> Outcome {
    let mut site = layer()?;
    site.attach(&slots("miss", &settings(8))?, 3)?;
    fit(&mut site, &dense_goal()?, 20, 1e-2)?;
    let x = inputs()?;
    let z = x.reshape((2 * SIDE, SIDE / 8, 8))?.sum(1)?;
    let expected = (x.matmul(&weight()?.t()?)? + z.matmul(&param(&site, "w.b")?.t()?)?)?;
    let found = site.forward(&x, &ForwardContext::plain(1, 2 * SIDE))?;
    assert!(off(&found, &expected)? < 1e-5, "{}", off(&found, &expected)?);
    let tiled = Tensor::cat(&vec![param(&site, "w.b")?; SIDE / 8], 1)?;
    assert!(off(&site.merged()?.ok_or("it does not merge")?, &(weight()? + tiled)?)? <= 1e-6);
    Ok(())
}

#[test]
fn a_width_that_the_rank_does_not_divide_is_filled_up() -> Outcome {
    let mut site = layer()?;
    site.attach(&slots("miss", &settings(24))?, 3)?;
    site.params()[0].var.set(&crate::bench::normal("d", SIDE, 24, 0.1)?)?;
    let tiled = Tensor::cat(&vec![param(&site, "w.b")?; 3], 1)?.narrow(1, 0, SIDE)?;
    assert!(off(&site.merged()?.ok_or("it does not merge")?, &(weight()? + tiled)?)? <= 1e-6);
    Ok(())
}

/// At 512 numbers the frozen tiling is a handicap on a goal without structure.
#[test]
fn on_a_dense_goal_it_is_weaker_than_lora() -> Outcome {
    let miss = best_fit(&slots("miss", &settings(8))?, &dense_goal()?, 400)?;
    let lora = [("rank", Value::Integer(4)), ("alpha", Value::Number(4.0))];
    let lora = best_fit(&slots("lora", &lora)?, &dense_goal()?, 400)?;
    assert!(miss > lora && miss < 0.97, "MiSS leaves {miss}, LoRA {lora}");
    Ok(())
}
