//! From clipped gradients to the next step of a whole model: scores, the optimiser's step, and what rules change after it.
//!
//! Place in the data flow: the trainer calls [`take_step`] on all linear layers once the gradients are there and clipped.
//! Rules of one site are followed alone; those of the model share one budget over all sites that carry the same rule, in the
//! order of the sites where scores are equal, so that the same run makes the same choices.

use crate::adapter::Edit;
use crate::optim::AdamW;
use crate::param::{Grads, ParamSet};
use crate::site::LinearSite;
use crate::slots::{Action, Due, Rule, Score, Slots, When};
use crate::{NnError, Result};
use std::cmp::Ordering;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// The optimiser step that is taken, from 1.
    pub step: u64,
    /// Steps of the whole run.
    pub total: u64,
}

/// What rules changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moved {
    /// Sites whose directions in use are others than before, in the order of the model.
    pub sites: Vec<String>,
    /// Whether parameters have another shape or mask: lists of them have to be made anew.
    pub params: bool,
    /// Whether a first part of the run has only found out what is trained from here on: what was reached before is no result.
    pub anew: bool,
}

/// One optimiser step of everything trained, with what comes before and after it: adapters look at the clipped gradients
/// and turn them into steps, the optimiser moves `params` at the learning rate `lr`, values are mapped, rules followed.
///
/// # Errors
/// A failing tensor operation, or a rule that an adapter has no place for.
pub fn take_step(
    sites: &mut [&mut LinearSite],
    params: &ParamSet,
    optimiser: &mut AdamW,
    grads: &mut Grads,
    lr: f64,
    at: At,
) -> Result<Moved> {
    for site in sites.iter_mut() {
        site.observe(grads)?;
        site.map_step(grads, at)?;
    }
    optimiser.step(params, grads, lr)?;
    for site in sites.iter_mut() {
        site.after_step(at.step)?;
    }
    follow(sites, optimiser, at)
}

/// One adapter: number of its site, number on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    site: usize,
    adapter: usize,
}

/// Follows all rules that are due after a step.
fn follow(sites: &mut [&mut LinearSite], optimiser: &mut AdamW, at: At) -> Result<Moved> {
    let mut moved = Moved::default();
    let mut sites_moved = vec![false; sites.len()];
    for rule in distinct_rules(sites) {
        let due = rule.when.due(at.step, at.total);
        if due == Due::No {
            continue;
        }
        let members = members(sites, &rule);
        let edits = match rule.action {
            Action::KeepTop { target } => keep_top(sites, &members, rule.score, target, due)?,
            Action::Grow { target, sites: most, by } => grow(sites, &members, rule.score, (target, most, by))?,
            Action::Freeze { part } => {
                let share = match due {
                    Due::Yes(share) => share,
                    Due::No | Due::Last => 1.0,
                };
                members.iter().map(|place| (*place, Edit::Freeze { part, share })).collect()
            }
            Action::KeepSites { share, fresh } if due == Due::Last => {
                keep_sites(sites, &members, rule.score, share, fresh)?
            }
            Action::KeepEntries { share } if due == Due::Last => keep_entries(sites, &members, rule.score, share)?,
            Action::HoldGrown if due == Due::Last => members.iter().map(|place| (*place, Edit::HoldGrown)).collect(),
            // Done at the last look only, or before anything was attached.
            Action::KeepSites { .. }
            | Action::KeepEntries { .. }
            | Action::HoldGrown
            | Action::SetRank { .. }
            | Action::SetTerms { .. }
            | Action::ShareOut { .. } => Vec::new(),
        };
        let mut removed = Vec::new();
        for (place, edit) in edits {
            let adapter = sites.get_mut(place.site).and_then(|site| site.adapters_mut().get_mut(place.adapter));
            let Some(adapter) = adapter else { continue };
            let edited = adapter.apply(&edit)?;
            edited.optimiser.iter().for_each(|edit| optimiser.edit(edit));
            moved.params |= edited.params;
            moved.anew |= matches!(edit, Edit::Pick { .. } | Edit::Open { fresh: true });
            if let Some(site) = sites_moved.get_mut(place.site) {
                *site |= edited.moved;
            }
            if edit == Edit::Remove {
                removed.push(place);
            }
        }
        // From the last on, so that the numbers of those before stay.
        for place in removed.into_iter().rev() {
            if let Some(site) = sites.get_mut(place.site) {
                site.remove_adapter(place.adapter);
            }
        }
    }
    let names = sites.iter().zip(sites_moved).filter(|(_, moved)| *moved);
    moved.sites = names.map(|(site, _)| site.name().to_owned()).collect();
    Ok(moved)
}

/// Every rule once, in the order of the sites.
fn distinct_rules(sites: &[&mut LinearSite]) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for rule in sites.iter().flat_map(|site| site.adapters()).flat_map(|adapter| adapter.rules()) {
        if !rules.contains(rule) {
            rules.push(*rule);
        }
    }
    rules
}

fn members(sites: &[&mut LinearSite], rule: &Rule) -> Vec<Place> {
    let mut members = Vec::new();
    for (site, adapters) in sites.iter().map(|site| site.adapters()).enumerate() {
        let carries = adapters.iter().enumerate().filter(|(_, adapter)| adapter.rules().contains(rule));
        members.extend(carries.map(|(adapter, _)| Place { site, adapter }));
    }
    members
}

/// For each member what `ask` says of its adapter.
fn ask<T>(
    sites: &[&mut LinearSite],
    members: &[Place],
    ask: impl Fn(&dyn crate::Adapter) -> Result<T>,
) -> Result<Vec<T>> {
    let adapter = |place: &Place| sites.get(place.site).and_then(|site| site.adapters().get(place.adapter));
    members.iter().filter_map(adapter).map(|adapter| ask(&**adapter)).collect()
}

/// Larger scores first.
fn descending(left: f64, right: f64) -> Ordering {
    right.total_cmp(&left)
}

/// AdaLoRA's budget: all directions at first, `target` a site at the end, a cubic between.
fn keep_top(
    sites: &[&mut LinearSite],
    members: &[Place],
    score: Score,
    target: usize,
    due: Due,
) -> Result<Vec<(Place, Edit)>> {
    let widths: Vec<usize> = ask(sites, members, |adapter| Ok(adapter.directions()?.len()))?;
    let scores = ask(sites, members, |adapter| adapter.scores(score))?;
    let (all, end) = (widths.iter().sum::<usize>(), (target * members.len()).min(widths.iter().sum()));
    let (budget, hold) = match due {
        Due::Yes(share) => (end + ((all - end) as f64 * (1.0 - share).powi(3)).round() as usize, false),
        Due::No | Due::Last => (end, true),
    };
    let mut ranked: Vec<(usize, usize, f64)> = Vec::with_capacity(all);
    for (member, width) in widths.iter().enumerate() {
        let of = scores.get(member);
        let score = |at: usize| of.and_then(|scores| scores.get(at)).copied().unwrap_or(0.0);
        ranked.extend((0..*width).map(|at| (member, at, score(at))));
    }
    // Stable: equal scores keep the order of the sites.
    ranked.sort_by(|left, right| descending(left.2, right.2));
    let mut kept: Vec<Vec<bool>> = widths.iter().map(|width| vec![false; *width]).collect();
    for (member, at, _) in ranked.into_iter().take(budget) {
        if let Some(place) = kept.get_mut(member).and_then(|kept| kept.get_mut(at)) {
            *place = true;
        }
    }
    Ok(members.iter().zip(kept).map(|(place, kept)| (*place, Edit::Keep { kept, hold })).collect())
}

/// IncreLoRA's growth: the best sites grow until there are `target` directions a site.
fn grow(
    sites: &[&mut LinearSite],
    members: &[Place],
    score: Score,
    (target, most, by): (usize, usize, usize),
) -> Result<Vec<(Place, Edit)>> {
    let in_use = |used: Vec<bool>| (used.iter().filter(|used| **used).count(), used.iter().any(|used| !used));
    let now = ask(sites, members, |adapter| Ok(in_use(adapter.directions()?)))?;
    let used: usize = now.iter().map(|(used, _)| used).sum();
    let mut left = (target * members.len()).saturating_sub(used);
    let scores = ask(sites, members, |adapter| Ok(adapter.scores(score)?.iter().sum::<f64>()))?;
    let mut order: Vec<(Place, f64)> = members.iter().copied().zip(scores).collect();
    order.sort_by(|one, other| descending(one.1, other.1));
    let mut edits = Vec::new();
    for (place, _) in order.into_iter().take(most) {
        let free = by.min(left);
        if free > 0 {
            edits.push((place, Edit::Grow { free }));
            left -= free;
        }
    }
    if left == 0 && now.iter().any(|(_, ahead)| *ahead) {
        edits.extend(members.iter().map(|place| (*place, Edit::DropHeld)));
    }
    Ok(edits)
}

/// DiffoRA's choice: a share of the sites stays, the others lose their change.
fn keep_sites(
    sites: &[&mut LinearSite],
    members: &[Place],
    score: Score,
    share: f64,
    fresh: bool,
) -> Result<Vec<(Place, Edit)>> {
    let scores = ask(sites, members, |adapter| Ok(adapter.scores(score)?.iter().sum::<f64>()))?;
    let mut order: Vec<(usize, f64)> = scores.into_iter().enumerate().collect();
    // Stable: equal scores keep the order of the sites.
    order.sort_by(|one, other| descending(one.1, other.1));
    let count = ((share * members.len() as f64).round() as usize).max(1);
    let mut kept = vec![false; members.len()];
    for (at, _) in order.into_iter().take(count) {
        if let Some(kept) = kept.get_mut(at) {
            *kept = true;
        }
    }
    let edit = |kept| if kept { Edit::Open { fresh } } else { Edit::Remove };
    Ok(members.iter().zip(kept).map(|(place, kept)| (*place, edit(kept))).collect())
}

/// LT-SFT's choice: a share of the entries of all sites together, those with the largest scores; what has not moved is never
/// kept. Of equal ones the first in the order of the sites.
fn keep_entries(sites: &[&mut LinearSite], members: &[Place], score: Score, share: f64) -> Result<Vec<(Place, Edit)>> {
    // One site at a time and in f32: there are as many as the weights have numbers.
    let of = |place: &Place| -> Result<Vec<f32>> {
        let scores = ask(sites, std::slice::from_ref(place), |adapter| adapter.scores(score))?;
        Ok(scores.into_iter().flatten().map(|score| score as f32).collect())
    };
    let mut all: Vec<f32> = Vec::new();
    for place in members {
        all.extend(of(place)?);
    }
    let count = ((share * all.len() as f64).round() as usize).clamp(1, all.len().max(1));
    let limit = match all.len().checked_sub(count) {
        Some(at) if !all.is_empty() => *all.select_nth_unstable_by(at, f32::total_cmp).1,
        _ => 0.0,
    };
    let mut ties = count.saturating_sub(all.iter().filter(|score| **score > limit).count());
    let mut edits = Vec::with_capacity(members.len());
    for place in members {
        let mut numbers = Vec::new();
        for (number, score) in (0u32..).zip(of(place)?) {
            let tied = score == limit && ties > 0 && score > 0.0;
            ties -= usize::from(tied);
            if score > limit || tied {
                numbers.push(number);
            }
        }
        edits.push((*place, if numbers.is_empty() { Edit::Remove } else { Edit::Pick { numbers } }));
    }
    Ok(edits)
}

/// How many of `values`, falling, to keep: the fewest that hold `share` of `energy`, or those up to the bend of the curve
/// (the point farthest from the line between its ends) if that is fewer.
fn terms_of(values: &[f64], energy: f64, share: f64) -> usize {
    let mut held = 0.0;
    let needed = values.iter().take_while(|value| {
        let more = held < share * energy;
        held += **value * **value;
        more
    });
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return 0 };
    let count = values.len() as f64;
    let line = |at: f64| first + (last - first) * (at - 1.0) / (count - 1.0).max(1.0);
    // The line is straight: the point farthest below it is the farthest from it.
    let below = values.iter().zip(1..).map(|(value, at)| (at, line(f64::from(at)) - value));
    let bend = below.max_by(|one, other| one.1.total_cmp(&other.1).then(other.0.cmp(&one.0)));
    let bend = bend.filter(|(_, below)| *below > 1e-9 * first).map_or(values.len(), |(at, _)| at as usize);
    needed.count().min(bend)
}

/// How many singular values [`set_ranks`] asks of each site of a plan; 0 where it asks for none.
#[must_use]
pub fn values_wanted(plan: &[(String, Slots)]) -> Vec<usize> {
    let rule = |slots: &Slots| slots.rules.iter().find(|rule| rule.when == When::Before).map(|rule| rule.action);
    let first = plan.iter().find_map(|(_, slots)| rule(slots));
    let of = |slots: &Slots| match (first, rule(slots)) {
        (Some(Action::SetRank { .. }), _) => 2 * slots.rank(),
        (Some(Action::SetTerms { .. }), Some(Action::SetTerms { .. })) => slots.rank(),
        _ => 0,
    };
    plan.iter().map(|(_, slots)| of(slots)).collect()
}

/// Gives sums of products the numbers of terms that their rules ask for; see [`Action::SetTerms`].
fn set_terms(
    plan: &mut [(String, Slots)],
    spectrum: impl Fn(&str, &Slots, usize) -> Result<(Vec<f64>, f64)>,
) -> Result<()> {
    for (name, slots) in plan {
        let before = slots.rules.iter().find(|rule| rule.when == When::Before).map(|rule| rule.action);
        let Some(Action::SetTerms { share, least }) = before else { continue };
        let (values, energy) = spectrum(name, slots, slots.rank())?;
        let terms = terms_of(&values, energy, share).max(least).min(slots.rank());
        let what = || NnError::Adapter { site: name.clone(), what: "has no terms that could be chosen".to_owned() };
        slots.set_rank(terms).ok_or_else(what)?;
    }
    Ok(())
}

/// Shares the directions of a plan out by what each explains, where its rules ask for it; sites that get none are left out.
/// `explained` has the share of the inputs' spread along each component, by site.
///
/// # Errors
/// A change without a width.
pub fn share_out(plan: &mut Vec<(String, Slots)>, explained: impl Fn(&str) -> Vec<f64>) -> Result<()> {
    let rule = |slots: &Slots| slots.rules.iter().find(|rule| rule.when == When::Before).map(|rule| rule.action);
    let Some(Action::ShareOut { most }) = plan.iter().find_map(|(_, slots)| rule(slots)) else { return Ok(()) };
    let mut ranked: Vec<(usize, f64)> = Vec::new();
    for (site, (name, slots)) in plan.iter().enumerate() {
        ranked.extend(explained(name).into_iter().take(most * slots.rank()).map(|share| (site, share)));
    }
    ranked.sort_by(|one, other| descending(one.1, other.1));
    let budget: usize = plan.iter().map(|(_, slots)| slots.rank()).sum();
    let mut ranks = vec![0usize; plan.len()];
    for (site, _) in ranked.into_iter().take(budget) {
        if let Some(rank) = ranks.get_mut(site) {
            *rank += 1;
        }
    }
    for ((name, slots), rank) in plan.iter_mut().zip(&ranks).filter(|(_, rank)| **rank > 0) {
        let what = || NnError::Adapter { site: name.clone(), what: "has no width that could be chosen".to_owned() };
        slots.set_rank(*rank).ok_or_else(what)?;
    }
    let mut ranks = ranks.into_iter();
    plan.retain(|_| ranks.next().is_some_and(|rank| rank > 0));
    Ok(())
}

/// Gives the sites of a plan the widths that rules ask for before anything is attached. `spectrum` has the leading singular
/// values of a site's weight (up to the number asked for) and the sum of the squares of all.
///
/// # Errors
/// What `spectrum` says.
pub fn set_ranks(
    plan: &mut [(String, Slots)],
    spectrum: impl Fn(&str, &Slots, usize) -> Result<(Vec<f64>, f64)>,
) -> Result<()> {
    let rule = |slots: &Slots| slots.rules.iter().find(|rule| rule.when == When::Before).map(|rule| rule.action);
    let share = match plan.iter().find_map(|(_, slots)| rule(slots)) {
        Some(Action::SetRank { share }) => share,
        Some(Action::SetTerms { .. }) => return set_terms(plan, spectrum),
        _ => return Ok(()),
    };
    let (mut wanted, mut limits) = (Vec::with_capacity(plan.len()), Vec::with_capacity(plan.len()));
    for (name, slots) in plan.iter() {
        let most = 2 * slots.rank();
        let (values, energy) = spectrum(name, slots, most)?;
        let mut held = 0.0;
        let needed = values.iter().take_while(|value| {
            let more = held < share * energy;
            held += *value * *value;
            more
        });
        wanted.push(needed.count().clamp(1, most.max(1)) as f64);
        limits.push(values.len().max(1));
    }
    let budget: usize = plan.iter().map(|(_, slots)| slots.rank()).sum();
    let scale = budget as f64 / wanted.iter().sum::<f64>().max(1.0);
    // No weight has more directions than its shorter side.
    let menu = |rank: usize, limit: usize| [(rank / 2).max(1), rank, 2 * rank].map(|rank| rank.min(limit));
    let mut ranks: Vec<usize> = Vec::with_capacity(plan.len());
    for (((_, slots), wanted), limit) in plan.iter().zip(&mut wanted).zip(&limits) {
        *wanted *= scale;
        let off = |rank: &usize| (*rank as f64 / *wanted).ln().abs();
        let nearest = menu(slots.rank(), *limit).into_iter().min_by(|one, other| off(one).total_cmp(&off(other)));
        ranks.push(nearest.unwrap_or_else(|| slots.rank()));
    }
    // Rounding may have gone above the budget: who was rounded up most gives back first.
    while ranks.iter().sum::<usize>() > budget {
        let smaller = |at: usize, rank: usize| {
            let limit = limits.get(at).copied().unwrap_or(1);
            let menu = plan.get(at).map_or([1; 3], |(_, slots)| menu(slots.rank(), limit));
            menu.into_iter().rev().find(|choice| *choice < rank)
        };
        let excess = |at: usize, rank: usize| rank as f64 / wanted.get(at).copied().unwrap_or(1.0);
        let candidates = ranks.iter().enumerate().filter_map(|(at, rank)| Some((at, *rank, smaller(at, *rank)?)));
        let most = candidates
            .max_by(|one, other| excess(one.0, one.1).total_cmp(&excess(other.0, other.1)).then(other.0.cmp(&one.0)));
        let Some((at, _, smaller)) = most else { break };
        if let Some(rank) = ranks.get_mut(at) {
            *rank = smaller;
        }
    }
    plan.iter_mut().zip(ranks).try_for_each(|((name, slots), rank)| {
        slots.set_rank(rank).ok_or_else(|| {
            let what = "has no width that could be chosen".to_owned();
            NnError::Adapter { site: name.clone(), what }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::AdamWConfig;
    use crate::rng::Stream;
    use crate::slots::{Chain, Core, Delta, Factor, Init, Scope};
    use crate::{FrozenLinear, FrozenWeight, StorageKind};
    use candle_core::{Device, Tensor};
    use std::sync::Arc;

    fn site(name: &str, target: usize) -> LinearSite {
        let mut values = vec![0f32; 30];
        Stream::new(3, name).fill_normal(&mut values, 0.5);
        let weight = Tensor::from_vec(values, (5, 6), &Device::Cpu).unwrap();
        let weight = FrozenWeight::from_tensor(name, &weight, StorageKind::F32).unwrap();
        let mut site = LinearSite::new(name, FrozenLinear { weight: Arc::new(weight), bias: None });
        let one = Factor::trained(Init::Gaussian { std: 0.5 });
        let slots = Slots {
            delta: Delta::Chain(Chain { rank: 3, b: one, core: Core::Diagonal(one), a: one }),
            rules: vec![Rule {
                when: When::Every { steps: 1, from: 0.0, until: 0.5 },
                scope: Scope::Model,
                score: Score::Sensitivity { beta1: 0.5, beta2: 0.5 },
                action: Action::KeepTop { target },
            }],
            ..Slots::default()
        };
        site.attach(&slots, 1).unwrap();
        site
    }

    fn kept(site: &LinearSite) -> Vec<bool> {
        let core = site.params().into_iter().find(|param| param.name.ends_with(".core")).unwrap();
        core.var.to_vec1::<f32>().unwrap().into_iter().map(|value| value != 0.0).collect()
    }

    #[test]
    fn terms_are_those_that_hold_the_energy_or_stand_before_the_bend() {
        let energy = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>();
        let bent = [10.0, 9.0, 1.0, 0.9, 0.8, 0.7];
        assert_eq!(terms_of(&bent, energy(&bent), 0.9), 2, "two hold nine tenths");
        assert_eq!(terms_of(&bent, energy(&bent), 0.999), 3, "the bend");
        let even = [1.0; 5];
        assert_eq!(terms_of(&even, energy(&even), 0.5), 3, "no bend");
        assert_eq!(terms_of(&[2.0], 100.0, 0.9), 1);
        assert_eq!(terms_of(&[], 0.0, 0.9), 0);
    }

    /// Without gradients all scores are 0: the budget holds all the same, and earlier sites and directions come first.
    #[test]
    fn equal_scores_keep_the_budget_and_the_order_of_the_sites() {
        let mut sites = [site("a", 1), site("b", 1), site("c", 1)];
        let mut optimiser = AdamW::new(AdamWConfig::default());
        let mut all: Vec<&mut LinearSite> = sites.iter_mut().collect();
        let moved = follow(&mut all, &mut optimiser, At { step: 2, total: 4 }).unwrap();
        assert!(moved.params, "the last look holds what it closes");
        assert_eq!(moved.sites, ["b", "c"]);
        assert_eq!(sites.each_ref().map(kept), [vec![true; 3], vec![false; 3], vec![false; 3]]);
        let trained: usize = sites.iter().flat_map(LinearSite::params).map(|param| param.trained().unwrap()).sum();
        assert_eq!(trained, 3 * 3 * (5 + 6) + 3);
        let mut all: Vec<&mut LinearSite> = sites.iter_mut().collect();
        assert_eq!(follow(&mut all, &mut optimiser, At { step: 3, total: 4 }).unwrap(), Moved::default());
    }

    /// Sites with another rule have a budget of their own; before its last look a choice is not held.
    #[test]
    fn sites_share_a_budget_only_under_the_same_rule() {
        let mut sites = [site("a", 1), site("b", 2)];
        let mut optimiser = AdamW::new(AdamWConfig::default());
        let mut all: Vec<&mut LinearSite> = sites.iter_mut().collect();
        let moved = follow(&mut all, &mut optimiser, At { step: 100, total: 200 }).unwrap();
        assert_eq!(moved.sites, ["a", "b"]);
        assert_eq!(sites.each_ref().map(kept), [vec![true, false, false], vec![true, true, false]]);
        let mut early = [site("a", 1)];
        let mut all: Vec<&mut LinearSite> = early.iter_mut().collect();
        let moved = follow(&mut all, &mut optimiser, At { step: 50, total: 200 }).unwrap();
        // Half of the way: 1 + 2 · ½³, rounded.
        assert_eq!((kept(&early[0]), moved.params), (vec![true, false, false], false));
    }
}
