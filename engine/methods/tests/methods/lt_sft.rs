//! LT-SFT: how many entries are left, that the others keep their bits, and that changes of two tasks add up.

use crate::bench::{Outcome, SIDE, best_fit, count, fit, layer, off, slots, tell, weight};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use temper_nn::LinearSite;
use temper_nn::rng::Stream;
use temper_protocol::Value;

const ENTRIES: usize = 512;

fn settings(entries: usize) -> [(&'static str, Value); 2] {
    let share = entries as f64 / (SIDE * SIDE) as f64;
    [("share", Value::Number(share)), ("search_share", Value::Number(0.5))]
}

/// The weight with 256 entries changed, together by 4.
fn sparse_goal(name: &str) -> Outcome<Tensor> {
    let mut places: Vec<usize> = (0..SIDE * SIDE).collect();
    let mut stream = Stream::new(8, name);
    stream.shuffle(&mut places);
    let mut change = vec![0f32; SIDE * SIDE];
    for place in places.into_iter().take(256) {
        change[place] = stream.normal() as f32;
    }
    let change = Tensor::from_vec(change, (SIDE, SIDE), &Device::Cpu)?;
    Ok((weight()? + crate::bench::sized(&change, 4.0)?)?)
}

fn change(site: &LinearSite) -> Outcome<Vec<f32>> {
    Ok((site.merged()?.ok_or("it does not merge")? - weight()?)?.flatten_all()?.to_vec1()?)
}

fn trained(goal: &Tensor, entries: usize) -> Outcome<LinearSite> {
    let mut site = layer()?;
    site.attach(&slots("lt-sft", &settings(entries))?, 3)?;
    fit(&mut site, goal, 200, 1e-2)?;
    Ok(site)
}

#[test]
fn params_are_all_entries_at_first_and_the_chosen_ones_in_the_end() -> Outcome {
    assert_eq!(count("lt-sft", 48, 40, &settings(ENTRIES))?, 48 * 40);
    let site = trained(&sparse_goal("goal")?, ENTRIES)?;
    let left: usize = site.params().iter().map(|param| param.elements()).sum();
    assert_eq!(left, ENTRIES);
    let moved = change(&site)?.into_iter().filter(|value| *value != 0.0).count();
    assert!(moved <= ENTRIES && moved > ENTRIES / 2, "{moved} entries have moved");
    Ok(())
}

#[test]
fn changes_add_in_any_order_and_come_off_again() -> Outcome {
    let (language, task) = (trained(&sparse_goal("language")?, 128)?, trained(&sparse_goal("task")?, 64)?);
    let stacked = |sites: [&LinearSite; 2]| -> Outcome<Tensor> {
        let mut saved: BTreeMap<String, Tensor> = BTreeMap::new();
        let mut both = layer()?;
        for (from, name) in sites.into_iter().zip(["w", "w+1"]) {
            both.attach(&slots("lt-sft", &settings(1))?, 3)?;
            let params = from.params().into_iter().map(|param| (param.name, param.var.as_tensor().clone()));
            for (known, tensor) in from.memory()?.into_iter().chain(params) {
                // Saved under the name of a first adapter.
                saved.insert(known.replace("w.values", &format!("{name}.values")).replace("s.w", &format!("s.{name}")), tensor);
            }
        }
        both.restore(&|name| Ok(saved.get(name).cloned()))?;
        for param in both.params() {
            param.var.set(saved.get(&param.name).ok_or("it was not saved")?)?;
        }
        Ok(both.merged()?.ok_or("it does not merge")?)
    };
    let (one, other) = (stacked([&language, &task])?, stacked([&task, &language])?);
    assert!(off(&one, &other)? <= 1e-6, "the order matters by {}", off(&one, &other)?);
    let (first, second) = (change(&language)?, change(&task)?);
    let sum: Vec<f32> = first.iter().zip(&second).map(|(first, second)| first + second).collect();
    let sum = Tensor::from_vec(sum, (SIDE, SIDE), &Device::Cpu)?;
    assert!(off(&one, &(weight()? + &sum)?)? <= 1e-6);
    assert!(off(&(one - sum)?, &weight()?)? <= 1e-6, "they do not come off again");
    Ok(())
}

/// The sheet's figures: .001 of a sparse goal where LoRA with as many numbers leaves .52.
#[test]
fn sparse_goals_are_found_where_lora_stays_behind() -> Outcome {
    let goal = sparse_goal("goal")?;
    let ours = best_fit(&slots("lt-sft", &settings(ENTRIES))?, &goal, 400)?;
    let lora = slots("lora", &[("rank", Value::Integer(4)), ("alpha", Value::Number(4.0))])?;
    let theirs = best_fit(&lora, &goal, 400)?;
    tell(&format!("sparse: LT-SFT leaves {ours:.4}, LoRA {theirs:.4}"));
    assert!(ours <= 0.2 * theirs && theirs > 0.3, "LT-SFT leaves {ours}, LoRA {theirs}");
    Ok(())
}
