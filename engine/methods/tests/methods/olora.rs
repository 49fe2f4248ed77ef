//! OLoRA: its orthonormal start, and its export over the untouched weight.

use crate::bench::{Outcome, count, dense_goal, diagonal, fit, layer, off, param, slots, weight};
use temper_nn::AdapterExport;
use temper_protocol::Value;

fn settings(rank: i64) -> [(&'static str, Value); 2] {
    [("rank", Value::Integer(rank)), ("alpha", Value::Number(rank as f64))]
}

#[test]
fn the_outer_factor_starts_orthonormal_and_both_reproduce_the_first_columns() -> Outcome {
    let mut site = layer()?;
    site.attach(&slots("olora", &settings(6))?, 3)?;
    let (b, a) = (param(&site, "w.b")?, param(&site, "w.a")?);
    assert!(off(&b.t()?.matmul(&b)?, &diagonal((0..6).map(|_| 1.0))?)? < 1e-5);
    let (start, weight) = (b.matmul(&a)?, weight()?);
    assert!(off(&start.narrow(1, 0, 6)?.contiguous()?, &weight.narrow(1, 0, 6)?.contiguous()?)? < 1e-5);
    assert!(off(&site.merged()?.ok_or("it does not merge")?, &weight)? <= 1e-5);
    Ok(())
}

#[test]
fn both_factors_learn_from_the_first_step_on() -> Outcome {
    let mut site = layer()?;
    site.attach(&slots("olora", &settings(6))?, 3)?;
    let (b, a) = (param(&site, "w.b")?.copy()?, param(&site, "w.a")?.copy()?);
    fit(&mut site, &dense_goal()?, 1, 1e-3)?;
    assert!(off(&param(&site, "w.b")?, &b)? > 1e-4 && off(&param(&site, "w.a")?, &a)? > 1e-4);
    Ok(())
}

#[test]
fn it_leaves_as_lora_of_twice_the_rank_over_the_untouched_weight() -> Outcome {
    let mut site = layer()?;
    site.attach(&slots("olora", &settings(6))?, 3)?;
    let before = fit(&mut site, &dense_goal()?, 0, 1e-2)?;
    let after = fit(&mut site, &dense_goal()?, 40, 1e-2)?;
    assert!(after < before, "{after} after {before}");
    let exports = site.export()?;
    let [AdapterExport::LowRank { a, b, scale, rank: 12, .. }] = exports.as_slice() else {
        return Err("it leaves in another form".into());
    };
    let rebuilt = (weight()? + b.matmul(a)?.affine(*scale, 0.0)?)?;
    assert!(off(&rebuilt, &site.merged()?.ok_or("it does not merge")?)? < 1e-5);
    Ok(())
}

#[test]
fn params_are_loras() -> Outcome {
    assert_eq!(count("olora", 48, 40, &settings(4))?, 4 * (48 + 40));
    Ok(())
}
