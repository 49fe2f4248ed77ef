//! Puts a method on a model: asks for its plan and fills sites and stages with it.

use crate::bits;
use crate::driver::Tokens;
use crate::error::Result;
use candle_core::Var;
use candle_core::backprop::GradStore;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use temper_methods::{Imitation, ModelDims, OwnDims, Promote, SiteDims};
use temper_models::capability::{DECODER, refusal};
use temper_models::{Flow, LlamaConfig, Model, names};
use temper_nn::ParamSet;
use temper_nn::at_once::{AT_ONCE_BYTES, at_once, decomposition_bytes};
use temper_nn::layer_stats::{gather, in_portions};
use temper_nn::rules::{set_ranks, share_out, values_wanted};
use temper_nn::slots::{Slots, When};
use temper_nn::{ForwardContext, Gather, LayerStats, LinearSite, SlotAdapter, ops};
use temper_protocol::{Code, Declared, Problem, Project};

/// Bytes that second moments may take while they are gathered: a model whose layers need more is run over the data once
/// per portion of them.
const GATHERED_BYTES: usize = 1 << 30;

/// Gives batch number n of a pass over at most so many rows of data, until there are no more.
pub type Batches<'a> = dyn FnMut(usize, usize) -> Result<Option<Tokens>> + 'a;

/// A method on a model.
pub struct Attached {
    /// Everything trained, by name.
    pub params: ParamSet,
    /// Whether weights of the model itself are trained: they are saved as a model, not as an adapter.
    pub whole_weights: bool,
    /// What is learnt from the model as its file has it, in the first part of the run.
    pub imitation: Option<Imitation>,
    /// Whether it starts from what it sees of the run's data.
    pub looks_at_data: bool,
    /// Ranks of the layers as the settings have them, where rules chose others from the weights or the data.
    pub planned_ranks: Vec<(String, u64)>,
    /// What a person should know about the choice.
    pub notes: Vec<String>,
}

/// The linear layers and other weights of a model, as methods see them.
#[must_use]
pub fn dims_of(model: &Model) -> ModelDims {
    let mut dims = dims_of_config(model.config.as_llama());
    for site in &mut dims.sites {
        site.bias = model.site(&site.name).is_some_and(LinearSite::has_bias);
    }
    dims
}

/// The same from a configuration, without the model.
#[must_use]
pub fn dims_of_config(config: &LlamaConfig) -> ModelDims {
    let slots = names::slots(config);
    let biased: BTreeSet<&str> =
        slots.iter().filter(|slot| slot.shape.len() == 1).filter_map(|slot| slot.site.as_deref()).collect();
    let sites = names::sites(config)
        .into_iter()
        .map(|site| SiteDims {
            bias: biased.contains(site.name.as_str()),
            name: site.name,
            hf_name: site.hf,
            out_features: site.out_features,
            in_features: site.in_features,
            layer: Some(site.layer),
            window: (1, 1),
        })
        .collect();
    let own = slots
        .iter()
        .filter(|slot| slot.site.is_none())
        .map(|slot| OwnDims { entries: slot.shape.iter().map(|dim| *dim as u64).product(), name: slot.name.clone() })
        .collect();
    ModelDims { sites, own, head_features: config.head_dim }
}

/// Attaches the project's method. The same project and seed give the same bytes.
///
/// # Errors
/// A method or setting that cannot be used on this model, or that leaves nothing to train.
pub fn attach(model: &mut Model, project: &Project) -> Result<Attached> {
    attach_on(model, project, &mut |_, _| Ok(None))
}

/// The same with data for methods that look at the inputs of the layers first: `batches` gives batch number n of a pass
/// over at most so many rows, until there are no more. Without any their starts are zeros, to be filled from a
/// checkpoint.
///
/// # Errors
/// A method or setting that cannot be used on this model, or that leaves nothing to train; a failing batch.
pub fn attach_on(model: &mut Model, project: &Project, batches: &mut Batches<'_>) -> Result<Attached> {
    let method = temper_methods::find(&project.method.id)?;
    check_fits(method.declared(), model)?;
    let seed = project.train.method_seed.unwrap_or(project.train.seed);
    let mut plan = method.plan(&project.method.settings, &dims_of(model).sites, seed)?;
    // Bits may be spread by what the layers see: then they are looked at first, and a run that has no data reads from its
    // checkpoint what came of it.
    let weighs = plan.adapters.iter().any(|(_, slots)| slots.gathers() == Some(Gather::Fisher));
    let rows = plan.adapters.iter().map(|(_, slots)| slots.calibration_rows()).max().unwrap_or(0);
    let seen = if weighs { look(model, &plan.adapters, rows, batches)? } else { BTreeMap::new() };
    if let Some(bits_per_value) = method.bits_per_value(&project.method.settings)
        && (!weighs || !seen.is_empty())
    {
        let spread = bits::spread(model, &mut plan, bits_per_value, seed, &seen)?;
        plan.notes.push(spread);
    }
    let planned_ranks = planned_ranks(&plan.adapters);
    let spectra = spectra(|name| model.site(name), &plan.adapters, seed)?;
    set_ranks(&mut plan.adapters, |name, _, _| Ok(spectra.get(name).cloned().unwrap_or_default()))?;
    put_on(model, &mut plan.adapters, seed, seen, batches)?;
    model.insert_all(&plan.insertions, seed)?;
    let selector = plan.promote.selector()?;
    let mut notes = plan.notes;
    if plan.promote != Promote::None {
        let linear = model.held().linear;
        if linear.is_memory_only() && model.sites().iter().any(|site| selector.selects(site.name())) {
            let name = linear.name();
            notes.push(format!(
                "whole weights are trained from their {name} values, which saves no memory and rounds the start: set \
                 model.base to auto"
            ));
        }
        model.promote(&|name| selector.selects(name))?;
    }
    let params = model.params()?;
    if params.is_empty() {
        let what = format!("the method {} trains nothing on this model with these settings", project.method.id);
        let action = "choose layers that exist and are not excluded";
        return Err(Problem::new(Code::MethodInvalid, what, "[method]", action).into());
    }
    let imitation = method.imitates(&project.method.settings);
    let rounded = || model.sites().iter().any(|site| site.source().is_some());
    let repairs = imitation.is_some() || plan.adapters.iter().any(|(_, slots)| slots.calibrates_in_order());
    if repairs && method.belongs_to_its_base(&project.method.settings) && !rounded() {
        notes.push(format!(
            "{} repairs what rounding the base took, and this base was not rounded while it was read: set model.base to \
             int2, int3, int4 or nf4",
            method.declared().title
        ));
    }
    let looks_at_data = plan.adapters.iter().any(|(_, slots)| slots.gathers().is_some());
    let whole_weights = plan.promote != Promote::None;
    Ok(Attached { params, whole_weights, imitation, looks_at_data, planned_ranks, notes })
}

/// Leading singular values of the weights that rules of the plan look at, and the sum of the squares of all, by site.
pub(crate) fn spectra<'a>(
    site: impl Fn(&str) -> Option<&'a LinearSite>,
    plan: &[(String, Slots)],
    seed: u64,
) -> Result<BTreeMap<String, (Vec<f64>, f64)>> {
    let wanted: Vec<(&LinearSite, &Slots, usize)> = plan
        .iter()
        .zip(values_wanted(plan))
        .filter(|(_, count)| *count > 0)
        .filter_map(|((name, slots), count)| Some((site(name)?, slots, count)))
        .collect();
    let bytes = |(site, ..): &(&LinearSite, &Slots, usize)| bytes_of(site);
    let found = at_once(&wanted, AT_ONCE_BYTES, bytes, |(site, slots, count)| site.spectrum(slots, *count, seed))?;
    Ok(wanted.iter().map(|(site, ..)| site.name().to_owned()).zip(found).collect())
}

/// Bytes that a decomposition of the weight of a layer takes.
fn bytes_of(site: &LinearSite) -> usize {
    decomposition_bytes(site.out_features(), site.in_features())
}

/// The adapters of `wanted`, in their order, each made from what was seen of its layer.
pub(crate) fn prepared(
    wanted: &[(&LinearSite, &Slots)],
    seed: u64,
    stats: &BTreeMap<String, Arc<LayerStats>>,
) -> Result<Vec<SlotAdapter>> {
    let prepare =
        |(site, slots): &(&LinearSite, &Slots)| site.prepare(slots, seed, stats.get(site.name()).map(|stats| &**stats));
    Ok(at_once(wanted, AT_ONCE_BYTES, |(site, _)| bytes_of(site), prepare)?)
}

/// The ranks that a plan begins with, if rules choose others before anything is attached.
fn planned_ranks(plan: &[(String, Slots)]) -> Vec<(String, u64)> {
    let chosen = |slots: &Slots| slots.rules.iter().any(|rule| rule.when == When::Before);
    if !plan.iter().any(|(_, slots)| chosen(slots)) {
        return Vec::new();
    }
    plan.iter().map(|(name, slots)| (name.clone(), slots.rank() as u64)).collect()
}

/// Puts a plan on the sites, a portion of them at a time: the base is run over the batches until each has seen what its
/// calibration wants, as it is without what other portions have on them by then. What is `seen` already is not looked at
/// again.
fn put_on(
    model: &mut Model,
    plan: &mut Vec<(String, Slots)>,
    seed: u64,
    seen: BTreeMap<String, Arc<LayerStats>>,
    batches: &mut Batches<'_>,
) -> Result<()> {
    if plan.iter().any(|(_, slots)| slots.calibrates_in_order()) {
        return put_on_in_order(model, plan, seed, batches);
    }
    let features = |name: &str| model.site(name).map_or(0, LinearSite::in_features);
    let wanted: Vec<(usize, Gather)> =
        plan.iter().filter_map(|(name, slots)| Some((features(name), slots.gathers()?))).collect();
    let rows = plan.iter().map(|(_, slots)| slots.calibration_rows()).max().unwrap_or(0);
    // All sites of a plan look at their inputs or none does.
    let portions = if wanted.len() == plan.len() { in_portions(&wanted, GATHERED_BYTES) } else { Vec::new() };
    let mut stats = seen;
    let whole = portions.len() == 1;
    if whole && stats.is_empty() {
        stats = look(model, plan, rows, batches)?;
        if !stats.is_empty() {
            share_out(plan, |name| match stats.get(name).map(|stats| &**stats) {
                Some(LayerStats::Components(pca)) => pca.explained(),
                Some(LayerStats::SecondMoment(_) | LayerStats::Energy(_) | LayerStats::Fisher(_)) | None => Vec::new(),
            })?;
        }
    }
    let everything = 0..plan.len();
    let portions = if portions.len() > 1 { portions } else { vec![everything] };
    for portion in portions {
        let part = plan.get(portion).unwrap_or_default();
        if !whole {
            stats = look(model, part, rows, batches)?;
        }
        let unknown = |name: &str| Problem::internal(format!("the method plans for a layer {name} that is not there"));
        let mut wanted: Vec<(&LinearSite, &Slots)> = Vec::with_capacity(part.len());
        for (name, slots) in part {
            wanted.push((model.site(name).ok_or_else(|| unknown(name))?, slots));
        }
        let adapters = prepared(&wanted, seed, &stats)?;
        for ((name, _), adapter) in part.iter().zip(adapters) {
            model.site_mut(name).ok_or_else(|| unknown(name))?.put(adapter);
        }
    }
    Ok(())
}

/// Puts a plan on the sites block by block: a block is run over what the finished ones below it make of the batches, its
/// layers start from what they saw, and what it then answers goes on to the next.
fn put_on_in_order(model: &mut Model, plan: &[(String, Slots)], seed: u64, batches: &mut Batches<'_>) -> Result<()> {
    let rows = plan.iter().map(|(_, slots)| slots.calibration_rows()).max().unwrap_or(0);
    let rounded = plan.iter().any(|(name, _)| model.site(name).is_some_and(|site| site.source().is_some()));
    let mut flows: Vec<(Flow, ForwardContext)> = Vec::new();
    // Over a base that was not rounded there is nothing to look for.
    while rounded && let Some(tokens) = batches(flows.len(), rows)? {
        flows.push((model.embed.forward(&tokens.ids, &tokens.ctx)?.detach(), tokens.ctx));
    }
    let planned: BTreeMap<&str, &Slots> = plan.iter().map(|(name, slots)| (name.as_str(), slots)).collect();
    let mut count = 0;
    for block in &mut model.blocks {
        let sites = block.sites().into_iter();
        let wanted: Vec<(&LinearSite, Gather)> =
            sites.filter_map(|site| Some((site, planned.get(site.name())?.gathers()?))).collect();
        let mut number = 0;
        let stats = gather(&wanted, || -> Result<bool> {
            let Some((flow, ctx)) = flows.get(number) else { return Ok(false) };
            number += 1;
            block.forward(flow.clone(), ctx)?;
            Ok(true)
        })?;
        let sites = block.sites().into_iter();
        let chosen: Vec<(&LinearSite, &Slots)> =
            sites.filter_map(|site| Some((site, *planned.get(site.name())?))).collect();
        let adapters = prepared(&chosen, seed, &stats)?;
        count += adapters.len();
        let sites = block.sites_mut().into_iter().filter(|site| planned.contains_key(site.name()));
        sites.zip(adapters).for_each(|(site, adapter)| site.put(adapter));
        for (flow, ctx) in &mut flows {
            *flow = block.forward(flow.clone(), ctx)?.detach();
        }
    }
    if count != plan.len() {
        return Err(Problem::internal("the method plans for a layer that is not there").into());
    }
    Ok(())
}

/// Runs the base over batches and returns what each layer saw of what its calibration wants.
fn look(
    model: &Model,
    plan: &[(String, Slots)],
    rows: usize,
    batches: &mut Batches<'_>,
) -> Result<BTreeMap<String, Arc<LayerStats>>> {
    let wanted: Vec<(&LinearSite, Gather)> =
        plan.iter().filter_map(|(name, slots)| Some((model.site(name)?, slots.gathers()?))).collect();
    let back = wanted.iter().any(|(_, gather)| *gather == Gather::Fisher);
    let mut number = 0;
    model.set_enabled(false);
    let stats = gather(&wanted, || -> Result<bool> {
        let Some(tokens) = batches(number, rows)? else { return Ok(false) };
        number += 1;
        if back {
            there_and_back(model, &tokens)?;
        } else {
            model.forward_hidden(&tokens.ids, &tokens.ctx)?;
        }
        Ok(true)
    });
    model.set_enabled(true);
    stats
}

/// A forward pass and, block by block, the backward pass of the loss, which is a sum over rows: each layer sees the gradient
/// of every row. Nothing is trained.
fn there_and_back(model: &Model, tokens: &Tokens) -> Result<()> {
    let mut flow = model.embed.forward(&tokens.ids, &tokens.ctx)?.detach();
    let mut inputs = Vec::with_capacity(model.blocks.len());
    for block in &model.blocks {
        inputs.push(flow.clone());
        flow = block.forward(flow, &tokens.ctx)?.detach();
    }
    let gradient_of = |input: &Var, mut store: GradStore| {
        store.remove(input.as_tensor()).ok_or_else(|| Problem::internal("a loss that does not depend on a block"))
    };
    let top = Var::from_tensor(&flow.hidden)?;
    let mut gradient = gradient_of(&top, model.head.loss(top.as_tensor(), &tokens.targets)?.backward()?)?;
    for (block, input) in model.blocks.iter().zip(inputs).rev() {
        let hidden = Var::from_tensor(&input.hidden)?;
        let output = block.forward(Flow { hidden: hidden.as_tensor().clone(), ..input }, &tokens.ctx)?;
        gradient = gradient_of(&hidden, ops::seed_gradient(&output.hidden, &gradient)?.backward()?)?;
    }
    Ok(())
}

/// Refuses model families and bases that the method's declaration does not list.
fn check_fits(declared: &Declared, model: &Model) -> Result<()> {
    let refuse = |what: String, known: &[&str]| {
        let action = format!("choose another method, or a model of: {}", known.join(", "));
        Err(Problem::new(Code::MethodInvalid, what, "[method]", action).into())
    };
    if let Some(why) = refusal(declared.families, model.config.family().id, DECODER) {
        return refuse(format!("{} does not work on this model: {why}", declared.title), declared.families);
    }
    let base = if model.held().linear.is_float() { "dense" } else { "blocks" };
    if !declared.bases.is_empty() && !declared.bases.contains(&base) {
        return refuse(format!("{} does not work on weights held as {base}", declared.title), declared.bases);
    }
    Ok(())
}
