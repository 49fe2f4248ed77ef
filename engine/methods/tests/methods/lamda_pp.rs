//! LaMDA++: widths by spectrum, within the budget.

use crate::alloc::plan;
use crate::bench::{Outcome, count};
use temper_nn::rules::set_ranks;
use temper_protocol::Value;

#[test]
fn widths_follow_the_spectra_within_the_budget_and_are_taken_from_the_menu() -> Outcome {
    let settings = [("rank", Value::Integer(8)), ("alpha", Value::Number(8.0)), ("energy", Value::Number(0.5))];
    let mut plan = plan("lamda++", &settings)?;
    let scale = |plan: &temper_methods::Plan| plan.adapters[0].1.scale.value(plan.adapters[0].1.rank());
    let before = scale(&plan);
    // Half of the layers have one strong direction, half of them a flat spectrum of 32.
    set_ranks(&mut plan.adapters, |name, _, count| {
        let flat = name.starts_with("layers.4") || name.starts_with("layers.5") || name.starts_with("layers.6");
        let values: Vec<f64> = (0..32).map(|at| if flat || at == 0 { 1.0 } else { 0.01 }).collect();
        let energy = values.iter().map(|value| value * value).sum();
        Ok((values.into_iter().take(count).collect(), energy))
    })?;
    let ranks: Vec<usize> = plan.adapters.iter().map(|(_, slots)| slots.rank()).collect();
    assert!(ranks.iter().all(|rank| [4, 8, 16].contains(rank)), "{ranks:?}");
    // Rounding went above the budget of 64, so the first of three equal layers gives back.
    assert_eq!(ranks, [4, 4, 4, 4, 8, 16, 16, 4]);
    assert!(ranks.iter().sum::<usize>() <= 8 * 8, "{ranks:?}");
    assert_eq!(scale(&plan), before, "the change is scaled as before");
    Ok(())
}

#[test]
fn equal_spectra_get_equal_widths() -> Outcome {
    let mut plan = plan("lamda++", &[("rank", Value::Integer(8))])?;
    set_ranks(&mut plan.adapters, |_, _, count| Ok((vec![1.0; count], 32.0)))?;
    assert!(plan.adapters.iter().all(|(_, slots)| slots.rank() == 8));
    assert_eq!(count("lamda++", 48, 40, &[("rank", Value::Integer(8))])?, 8 * 8 + 48 * 8);
    Ok(())
}
