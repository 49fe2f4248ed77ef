//! LoLDU: the decomposition, the pivots, and how little they reach outside their coordinates.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `language.rs` and `layer_cases.rs`,
//!   what begins with `loldu:`

use crate::bench::{Outcome, SIDE, best_fit, count, dense_goal, layer, normal, off, param, slots, weight};
use candle_core::{Device, Tensor};
use temper_nn::{AdapterExport, linalg};
use temper_protocol::Value;

fn settings(pivots: i64) -> [(&'static str, Value); 2] {
    [("rank", Value::Integer(pivots)), ("alpha", Value::Number(pivots as f64))]
}

#[test]
fn params_are_the_pivots() -> Outcome {
    assert_eq!(count("loldu", 48, 40, &settings(16))?, 16);
    assert_eq!(count("loldu", 48, 40, &settings(64))?, 40);
    Ok(())
}

#[test]
fn the_decomposition_rebuilds_the_weight_and_the_start_is_the_base() -> Outcome {
    let values: Vec<f64> = weight()?.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
    let lu = linalg::leading_lu(&values, SIDE, SIDE, SIDE)?;
    let narrow = |values: &[f64]| -> Outcome<Tensor> {
        let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
        Ok(Tensor::from_vec(values, (SIDE, SIDE), &Device::Cpu)?)
    };
    let scaled: Vec<f64> = lu.l.iter().enumerate().map(|(at, l)| l * lu.d[at % SIDE]).collect();
    assert!(off(&narrow(&scaled)?.matmul(&narrow(&lu.u)?)?, &weight()?)? <= 1e-5);
    let mut site = layer()?;
    site.attach(&slots("loldu", &settings(16))?, 3)?;
    assert_eq!(off(&site.merged()?.ok_or("it does not merge")?, &weight()?)?, 0.0);
    // z starts as the first pivots.
    let z = param(&site, "w.core")?.to_vec1::<f32>()?;
    assert!(z.iter().zip(&lu.d).all(|(z, d)| (f64::from(*z) - d).abs() < 1e-6));
    Ok(())
}

#[test]
fn it_leaves_as_lora_of_its_own_rank() -> Outcome {
    let mut site = layer()?;
    site.attach(&slots("loldu", &settings(16))?, 3)?;
    site.params()[0].var.set(&(param(&site, "w.core")? + normal("move", 1, 16, 0.1)?.squeeze(0)?)?)?;
    let exports = site.export()?;
    let [AdapterExport::LowRank { a, b, scale, rank: 16, .. }] = exports.as_slice() else {
        return Err("it leaves in another form".into());
    };
    let rebuilt = (weight()? + b.matmul(a)?.affine(*scale, 0.0)?)?;
    assert!(off(&rebuilt, &site.merged()?.ok_or("it does not merge")?)? <= 1e-4);
    Ok(())
}

/// A change of sixteen pivots is solved by sixteen numbers; a dense one is hardly touched by sixty-four.
#[test]
fn pivots_fit_changes_of_pivots_and_little_else() -> Outcome {
    let mut moved = layer()?;
    moved.attach(&slots("loldu", &settings(16))?, 3)?;
    let z = param(&moved, "w.core")?;
    moved.params()[0].var.set(&(&z + normal("pivots", 1, 16, 0.3)?.squeeze(0)?)?)?;
    let goal = moved.merged()?.ok_or("it does not merge")?;
    let solved = best_fit(&slots("loldu", &settings(16))?, &goal, 400)?;
    assert!(solved < 0.01, "a change of pivots is left at {solved}");
    let dense = best_fit(&slots("loldu", &settings(64))?, &dense_goal()?, 400)?;
    assert!(dense > 0.8 && dense < 1.0, "a dense goal is left at {dense}");
    Ok(())
}
