//! PaCA: it is LoRA whose inner factor picks inputs, and what columns can and cannot fit.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `layer_cases.rs`, what begins with
//!   `paca:`

use crate::bench::{
    Outcome, SIDE, best_fit, count, dense_goal, fit, inputs, layer, normal, off, param, put, sized, slots, tell, weight,
};
use candle_core::Tensor;
use std::collections::BTreeMap;
use temper_nn::{AdapterExport, ForwardContext};
use temper_protocol::Value;

fn settings(columns: i64) -> [(&'static str, Value); 2] {
    [("rank", Value::Integer(columns)), ("alpha", Value::Number(columns as f64))]
}

#[test]
fn params_are_out_for_each_column() -> Outcome {
    assert_eq!(count("paca", 48, 40, &settings(4))?, 4 * 48);
    assert_eq!(count("paca", 48, 40, &settings(64))?, 40 * 48, "no more columns than there are");
    Ok(())
}

#[test]
fn it_is_lora_with_an_inner_factor_that_picks_distinct_columns() -> Outcome {
    let mut site = layer()?;
    site.attach(&slots("paca", &settings(8))?, 3)?;
    fit(&mut site, &dense_goal()?, 20, 1e-2)?;
    let exports = site.export()?;
    let [AdapterExport::LowRank { a, b, scale, rank: 8, .. }] = exports.as_slice() else {
        return Err("it leaves in another form".into());
    };
    let rows = a.to_vec2::<f32>()?;
    let picked: Vec<usize> = rows.iter().filter_map(|row| row.iter().position(|value| *value == 1.0)).collect();
    assert!(picked.len() == 8 && picked.is_sorted_by(|left, right| left < right), "{picked:?}");
    assert!(rows.iter().all(|row| row.iter().sum::<f32>() == 1.0));
    let selected = (weight()? + b.matmul(a)?.affine(*scale, 0.0)?)?;
    assert!(off(&selected, &site.merged()?.ok_or("it does not merge")?)? <= 1e-6);
    Ok(())
}

#[test]
fn untouched_columns_are_the_base_to_the_bit() -> Outcome {
    let mut site = layer()?;
    site.attach(&slots("paca", &settings(8))?, 3)?;
    fit(&mut site, &dense_goal()?, 20, 1e-2)?;
    let (merged, before) = (site.merged()?.ok_or("it does not merge")?, weight()?);
    let changed = |column: usize| -> Outcome<bool> {
        let (now, then) = (merged.narrow(1, column, 1)?, before.narrow(1, column, 1)?);
        Ok(off(&now, &then)? > 0.0)
    };
    let count = (0..SIDE).map(changed).collect::<Outcome<Vec<bool>>>()?.into_iter().filter(|changed| *changed).count();
    assert_eq!(count, 8);
    Ok(())
}

/// Of what goes through a layer the gradient of its columns asks for rank numbers a token, LoRA's for the whole input and
/// the inside: with few tokens, which take the change beside the weight, and with many, which take it into its rows.
#[test]
fn what_is_kept_of_each_token_is_as_many_numbers_as_columns_and_lora_keeps_the_input_and_its_inside() -> Outcome {
    for (rows, width) in [(2, 3), (2, 48)] {
        let ctx = ForwardContext { training: true, ..ForwardContext::plain(rows, width) };
        let kept = |id: &str| -> Outcome<usize> {
            let mut site = layer()?;
            site.attach(&slots(id, &settings(8))?, 3)?;
            Ok(site.kept_bytes(&ctx)?.ok_or("it runs as a graph")? / size_of::<f32>())
        };
        assert_eq!(kept("paca")?, rows * width * 8, "tokens · rank");
        assert_eq!(kept("lora")?, rows * width * (SIDE + 8), "tokens · (in + rank)");
        assert_eq!(layer()?.kept_bytes(&ctx)?, Some(0), "a frozen layer keeps nothing");
    }
    Ok(())
}

#[test]
fn another_seed_picks_other_columns() -> Outcome {
    let picked = |seed: u64| -> Outcome<Tensor> {
        let mut site = layer()?;
        site.attach(&slots("paca", &settings(8))?, seed)?;
        match site.export()?.as_slice() {
            [AdapterExport::LowRank { a, .. }] => Ok(a.clone()),
            _ => Err("it leaves in another form".into()),
        }
    };
    assert!(off(&picked(1)?, &picked(2)?)? == 1.0 && off(&picked(1)?, &picked(1)?)? == 0.0);
    Ok(())
}

/// At 512 numbers: random columns are weaker than LoRA's free directions on a dense goal, and far from nothing.
#[test]
fn on_a_dense_goal_it_is_weaker_than_lora_per_number() -> Outcome {
    let paca = best_fit(&slots("paca", &settings(8))?, &dense_goal()?, 400)?;
    let lora = [("rank", Value::Integer(4)), ("alpha", Value::Number(4.0))];
    let lora = best_fit(&slots("lora", &lora)?, &dense_goal()?, 400)?;
    assert!(paca > lora && paca < 0.97, "PaCA leaves {paca}, LoRA {lora}");
    // A goal that changes every column evenly is what the picked ones can reach of it and no more.
    let goal = (weight()? + sized(&normal("even", SIDE, SIDE, 1.0)?, 1.0)?)?;
    assert!(best_fit(&slots("paca", &settings(64))?, &goal, 400)? < 0.01, "all columns fit everything");
    Ok(())
}

#[test]
fn answers_and_gradients_are_those_of_lora_with_the_selector_to_1e_6() -> Outcome {
    let (mut paca, mut lora) = (layer()?, layer()?);
    paca.attach(&slots("paca", &settings(8))?, 3)?;
    lora.attach(&slots("lora", &settings(8))?, 3)?;
    fit(&mut paca, &dense_goal()?, 20, 1e-2)?;
    let exports = paca.export()?;
    let [AdapterExport::LowRank { a, .. }] = exports.as_slice() else { return Err("it leaves in another form".into()) };
    for own in lora.params() {
        own.var.set(&if own.name == "w.a" { a.clone() } else { param(&paca, "w.b")?.copy()? })?;
    }
    let (x, ctx) = (candle_core::Var::from_tensor(&inputs()?)?, ForwardContext::plain(1, 2 * SIDE));
    let answers = |site: &temper_nn::LinearSite| -> Outcome<[Tensor; 3]> {
        let y = site.forward(x.as_tensor(), &ctx)?;
        let store = y.sqr()?.mean_all()?.backward()?;
        let b = param(site, "w.b")?;
        let gradient = |of: &Tensor| store.get(of).cloned().ok_or("no gradient");
        Ok([y, gradient(x.as_tensor())?, gradient(&b)?])
    };
    for (ours, theirs) in answers(&paca)?.iter().zip(&answers(&lora)?) {
        let largest = theirs.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(off(ours, theirs)? <= 1e-6 * largest.max(1.0), "{}", off(ours, theirs)?);
    }
    Ok(())
}

/// The settings with columns chosen by the energy of their inputs.
fn by_energy(columns: i64) -> Vec<(&'static str, Value)> {
    let mut all = settings(columns).to_vec();
    all.push(("columns", Value::Text("energy".to_owned())));
    all
}

/// The columns that an adapter picks.
fn picked(site: &temper_nn::LinearSite) -> Outcome<Vec<usize>> {
    match site.export()?.as_slice() {
        [AdapterExport::LowRank { a, .. }] => {
            let rows = a.to_vec2::<f32>()?;
            Ok(rows.iter().filter_map(|row| row.iter().position(|value| *value == 1.0)).collect())
        }
        _ => Err("it leaves in another form".into()),
    }
}

#[test]
fn columns_chosen_by_energy_are_those_of_the_largest_inputs() -> Outcome {
    let mut site = layer()?;
    put(&mut site, &slots("paca", &by_energy(8))?, 3)?;
    let energies = inputs()?.sqr()?.sum(0)?.to_vec1::<f32>()?;
    let mut order: Vec<usize> = (0..SIDE).collect();
    order.sort_by(|one, other| energies[*other].total_cmp(&energies[*one]));
    order.truncate(8);
    order.sort_unstable();
    assert_eq!(picked(&site)?, order);
    // The seed has no part in it.
    let mut other = layer()?;
    put(&mut other, &slots("paca", &by_energy(8))?, 4)?;
    assert_eq!(picked(&other)?, order);
    assert_eq!(off(&site.merged()?.ok_or("it does not merge")?, &weight()?)?, 0.0, "it starts as the base");
    Ok(())
}

#[test]
fn found_columns_come_back_from_a_checkpoint_without_another_look() -> Outcome {
    let mut site = layer()?;
    put(&mut site, &slots("paca", &by_energy(8))?, 3)?;
    fit(&mut site, &dense_goal()?, 20, 1e-2)?;
    let saved: BTreeMap<String, Tensor> = site.memory()?.into_iter().collect();
    let mut back = layer()?;
    back.attach(&slots("paca", &by_energy(8))?, 3)?;
    assert!(picked(&back)? != picked(&site)?, "without a look they are drawn");
    back.restore(&|name| Ok(saved.get(name).cloned()))?;
    for own in back.params() {
        own.var.set(&param(&site, &own.name)?.copy()?)?;
    }
    assert_eq!(picked(&back)?, picked(&site)?);
    let merged = |site: &temper_nn::LinearSite| -> Outcome<Tensor> { Ok(site.merged()?.ok_or("it does not merge")?) };
    assert_eq!(off(&merged(&back)?, &merged(&site)?)?, 0.0);
    let (x, ctx) = (inputs()?, ForwardContext::plain(1, 2 * SIDE));
    assert_eq!(off(&back.forward(&x, &ctx)?, &site.forward(&x, &ctx)?)?, 0.0);
    let broken = BTreeMap::from([("columns.w".to_owned(), Tensor::new(&[1f32, 64.0], &candle_core::Device::Cpu)?)]);
    assert!(back.restore(&|name| Ok(broken.get(name).cloned())).is_err(), "columns that are not there");
    Ok(())
}

/// Mean of five draws at the best of three learning rates each, against the one choice by energy.
#[test]
fn columns_chosen_by_energy_beat_random_ones() -> Outcome {
    let goal = dense_goal()?;
    let fitted = |slots: &temper_nn::Slots, seed: u64| -> Outcome<f64> {
        let mut best = f64::INFINITY;
        for lr in [3e-3, 1e-2, 3e-2] {
            let mut site = layer()?;
            put(&mut site, slots, seed)?;
            best = best.min(fit(&mut site, &goal, 400, lr)?);
        }
        Ok(best)
    };
    let drawn = slots("paca", &settings(8))?;
    let random = (1..=5).map(|seed| fitted(&drawn, seed)).sum::<Outcome<f64>>()? / 5.0;
    let chosen = fitted(&slots("paca", &by_energy(8))?, 1)?;
    tell(&format!("PaCA with 8 columns: {chosen:.3} by energy, {random:.3} drawn"));
    assert!(chosen < random, "{chosen} by energy, {random} drawn");
    Ok(())
}
