//! IncreLoRA: growth that changes nothing at once, the budget to the direction, and who grows.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - growth leaves the function -> also `nn/src/slot_adapter/tests.rs`,
//!   `every_edit_but_a_choice_leaves_the_function_unchanged`
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `spread.rs`, what begins with
//!   `increlora:`

use crate::alloc::{Bench, STEPS, plan, uniform};
use crate::bench::{Outcome, count, off};
use candle_core::Tensor;
use temper_protocol::Value;

fn settings(top: i64, every: i64) -> Vec<(&'static str, Value)> {
    vec![
        ("rank", Value::Integer(3)),
        ("scale", Value::Number(1.0)),
        ("top", Value::Integer(top)),
        ("grow_by", Value::Integer(1)),
        ("every_steps", Value::Integer(every)),
        ("orthogonality", Value::Number(0.1)),
    ]
}

#[test]
fn params_are_one_direction_in_use_and_those_ahead() -> Outcome {
    assert_eq!(count("increlora", 48, 40, &settings(2, 20))?, 2 * (48 + 40) + 1);
    Ok(())
}

#[test]
fn function_is_unchanged_at_every_growth_event() -> Outcome {
    let mut bench = Bench::new(&plan("increlora", &settings(2, 20))?, 2)?;
    let mut events = 0;
    for step in 1..=STEPS {
        let before = bench.widths();
        // At a rate of 0 the step itself moves nothing: what is left is the growth.
        let merged = |bench: &Bench| -> Outcome<Vec<Tensor>> {
            bench.sites.iter().map(|site| Ok(site.merged()?.ok_or("it does not merge")?)).collect()
        };
        // The first growth is after step 25.
        let due = step > 25 && (step - 25).is_multiple_of(20);
        let old = if due { Some(merged(&bench)?) } else { None };
        bench.step(step, STEPS, if old.is_some() { 0.0 } else { 1e-2 })?;
        let Some(old) = old else { continue };
        if bench.widths() != before {
            events += 1;
            for (old, new) in old.iter().zip(merged(&bench)?) {
                // The last event drops what was trained ahead at a strength of 1e-5.
                let most = if bench.widths().iter().sum::<usize>() == 24 { 1e-5 } else { 1e-6 };
                let off = off(old, &new)?;
                assert!(off <= most, "{off:e} at step {step}");
            }
        }
    }
    assert!(events > 3, "{events} growths");
    Ok(())
}

#[test]
fn ranks_add_up_to_the_budget_exactly_and_the_layers_that_need_them_grow() -> Outcome {
    let mut bench = Bench::new(&plan("increlora", &settings(2, 20))?, 2)?;
    let error = bench.train(3e-2)?;
    let ranks = bench.widths();
    assert_eq!(ranks.iter().sum::<usize>(), 24, "{ranks:?}");
    assert!(ranks.iter().all(|rank| *rank >= 1), "{ranks:?}");
    assert!(ranks[0] + ranks[1] > 12, "{ranks:?}");
    let uniform = uniform(2)?;
    assert!(error <= 0.4 * uniform, "{error} is left with {ranks:?}, with the same rank everywhere {uniform}");
    assert!(!bench.moves.is_empty());
    Ok(())
}

#[test]
fn one_layer_at_a_time_is_greedy() -> Outcome {
    let mut bench = Bench::new(&plan("increlora", &settings(1, 16))?, 2)?;
    let greedy = bench.train(3e-2)?;
    let ranks = bench.widths();
    let mut pair = Bench::new(&plan("increlora", &settings(2, 20))?, 2)?;
    let error = pair.train(3e-2)?;
    assert!(greedy > error, "{greedy} with one at a time ({ranks:?}), {error} with two");
    Ok(())
}
