//! AdaLoRA: the budget, who keeps its directions, and what survives a break.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `spread.rs`, what begins with
//!   `adalora:`

use crate::alloc::{Bench, STEPS, WANTED, plan, uniform};
use crate::bench::{Outcome, count};
use temper_protocol::Value;

fn settings() -> Vec<(&'static str, Value)> {
    vec![
        ("init_rank", Value::Integer(12)),
        ("rank", Value::Integer(3)),
        ("alpha", Value::Number(12.0)),
        ("orthogonality", Value::Number(0.1)),
    ]
}

#[test]
fn params_are_those_of_the_rank_at_the_start() -> Outcome {
    assert_eq!(count("adalora", 48, 40, &settings())?, 12 * (48 + 40 + 1));
    Ok(())
}

#[test]
fn final_ranks_add_up_to_the_budget_and_stay_and_go_where_the_goals_need_them() -> Outcome {
    let mut bench = Bench::new(&plan("adalora", &settings())?, 2)?;
    let warm = STEPS / 10;
    for step in 1..=STEPS {
        bench.step(step, STEPS, 3e-2)?;
        let last_choice = (0.65 * STEPS as f64).round() as u64;
        if step == warm {
            // Layers that need no change have none yet; the others use all they have.
            assert_eq!(bench.ranks()?[..5], [12; 5], "before the budget falls every layer keeps all its directions");
        }
        if step >= last_choice && step % 50 == 25 {
            assert_eq!(bench.ranks()?.iter().sum::<usize>(), 24, "after step {step}");
        }
    }
    let ranks = bench.ranks()?;
    assert_eq!(ranks.iter().sum::<usize>(), 24, "{ranks:?}");
    for (found, wanted) in ranks.iter().zip(WANTED) {
        assert!(found.abs_diff(wanted) <= 1, "{ranks:?} instead of {WANTED:?}");
    }
    let (error, uniform) = (bench.error()?, uniform(2)?);
    assert!(error <= 0.2 * uniform, "{error} is left, with the same rank everywhere {uniform}");
    assert!(bench.moves.iter().any(|(step, site)| *step > warm && site == "layers.7.attn.v"), "a rank move is told");
    Ok(())
}
