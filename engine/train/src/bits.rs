//! Spreads a budget of bits over the layers of a method that rounds them itself.
//!
//! Place in the data flow: [`crate::attach`] asks before it attaches; costs come from [`temper_nn::repair`], the choice from
//! [`temper_nn::budget`]; the storage of each layer goes into its calibration.

use crate::error::Result;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use temper_methods::Plan;
use temper_models::Model;
use temper_nn::budget::{Candidate, allocate, total};
use temper_nn::repair::{Shape, Weighing, rounding_costs};
use temper_nn::rng::Stream;
use temper_nn::slots::{Calibration, Slots};
use temper_nn::{FrozenWeight, GroupedInt, LayerStats, LinearSite, NnError, StorageKind};
use temper_protocol::{Code, Problem};

/// What a layer can be stored as.
fn storages() -> Vec<StorageKind> {
    let grouped = GroupedInt::ALL.into_iter().map(StorageKind::Grouped);
    let normal = [StorageKind::Nf2, StorageKind::Nf3, StorageKind::Nf4, StorageKind::Nf4Double];
    grouped.chain(normal).chain([StorageKind::Int8]).collect()
}

/// The weight as its file has it.
fn original(site: &LinearSite) -> Option<&FrozenWeight> {
    let held = || site.frozen().map(|layer| &*layer.weight).filter(|weight| !weight.kind.is_memory_only());
    site.source().or_else(held)
}

/// Fills a storage into the calibration of every layer of `plan`, `bits_per_value` for all together, and says in a
/// sentence which. `seen` has what was gathered for those whose errors are weighed.
///
/// # Errors
/// A budget that not even the smallest storages keep, a weight that cannot be read or has no original.
pub(crate) fn spread(
    model: &Model,
    plan: &mut Plan,
    bits_per_value: f64,
    seed: u64,
    seen: &BTreeMap<String, Arc<LayerStats>>,
) -> Result<String> {
    let storages = storages();
    let mut work = Vec::new();
    for (name, slots) in &plan.adapters {
        let Some(weight) = model.site(name).and_then(original) else {
            let what = format!("{name} was rounded in memory and its original is not known");
            return Err(Problem::new(Code::MethodInvalid, what, "model.base", "set model.base to auto").into());
        };
        work.push((name, slots, weight));
    }
    let candidates = |(name, slots, weight): &(&String, &Slots, &FrozenWeight)| {
        let iterations = match slots.calibration {
            Calibration::Repair { iterations, .. } => iterations,
            _ => 0,
        };
        let shape = Shape { out_features: weight.rows, in_features: weight.cols, rank: slots.rank(), iterations };
        let fits = |storage: &StorageKind| weight.cols.is_multiple_of(storage.block_len());
        let fitting: Vec<StorageKind> = storages.iter().copied().filter(fits).collect();
        let mut stream = Stream::new(seed, &format!("bits/{name}"));
        let sides = match seen.get(*name).map(|stats| &**stats) {
            Some(LayerStats::Fisher(fisher)) => Some(fisher.weights()),
            Some(_) | None => None,
        };
        let wide = |weights: Vec<f32>| weights.into_iter().map(f64::from).collect::<Vec<f64>>();
        let sides = sides.map(|(rows, cols)| (wide(rows), wide(cols)));
        let weighing = match &sides {
            Some((rows, cols)) => Weighing::Separable { rows, cols },
            None => Weighing::Plain,
        };
        let costs = rounding_costs(weight, shape, &fitting, weighing, &mut stream)?;
        let mut by_storage: BTreeMap<StorageKind, f64> = fitting.into_iter().zip(costs).collect();
        // Every list has the same storages: one that does not fit is never chosen.
        let of = |storage: &StorageKind| Candidate {
            bits: storage.bits_per_value() * weight.elements() as f64,
            cost: by_storage.remove(storage).unwrap_or(f64::INFINITY),
        };
        Ok::<Vec<Candidate>, NnError>(storages.iter().map(of).collect())
    };
    let costs: Vec<Vec<Candidate>> = work.par_iter().map(candidates).collect::<std::result::Result<_, _>>()?;
    let values: f64 = work.iter().map(|(.., weight)| weight.elements() as f64).sum();
    let Some(answer) = allocate(&costs, values, bits_per_value)
        .filter(|answer| total(&costs, answer, |candidate| candidate.cost).is_finite())
    else {
        let least = costs.iter().filter_map(|list| {
            let finite = list.iter().filter(|candidate| candidate.cost.is_finite());
            finite.map(|candidate| candidate.bits).min_by(f64::total_cmp)
        });
        let least = least.sum::<f64>() / values.max(1.0);
        let what =
            format!("{bits_per_value} bits a value are less than the {least:.2} that these layers take at least");
        return Err(Problem::new(Code::MethodInvalid, what, "[method] budget", "set a larger budget").into());
    };
    let used = total(&costs, &answer, |candidate| candidate.bits) / values.max(1.0);
    let mut counts: BTreeMap<StorageKind, usize> = BTreeMap::new();
    for ((_, slots), place) in plan.adapters.iter_mut().zip(&answer) {
        let Some(chosen) = storages.get(*place) else { continue };
        *counts.entry(*chosen).or_default() += 1;
        if let Calibration::Repair { storage, .. } = &mut slots.calibration {
            *storage = Some(*chosen);
        }
    }
    let counted: Vec<String> = counts.iter().map(|(storage, count)| format!("{count} as {}", storage.name())).collect();
    Ok(format!("the adapted layers take {used:.3} of {bits_per_value} bits a value: {}", counted.join(", ")))
}
