//! The contract of every method, checked over the registry: whoever adds a method adds no test for these clauses.
//!
//! Clauses, by the names that waivers use: `start` the model is unchanged before the first step, `count` as many
//! numbers are trained as the formula says, `gradients` they are right, and exactly the declared parameters get one,
//! `merge` folded weights compute the same, `save` stored parameters compute the same to the bit, `seed` same seed
//! same bytes, `disabled` switched off it is the base to the bit, `export` a plain implementation of the exported
//! form computes the same, `frozen` training changes no frozen byte, `telemetry` the declared series are measured.

mod kit;

use candle_core::{DType, Device, Tensor};
use kit::{
    Outcome, adapted, bytes, difference, dims, ensure, input, largest, over, params, plain, random, rounded_bases,
    shake, sites, training, variable, variants,
};
use std::collections::BTreeSet;
use temper_methods::{Method, module_name, registry};
use temper_nn::gradcheck::{GradCheck, check_parameters};
use temper_nn::optim::{AdamW, AdamWConfig};
use temper_nn::rules::{At, take_step};
use temper_nn::slots::{Base, Calibration, Slots};
use temper_nn::{AdapterExport, Grads, LinearSite, Param, ParamSet, Weight};
use temper_protocol::{Kind, Values};

/// Runs a clause on every method of kind adapter that does not waive it: at every variant of its settings on mixed layers,
/// at the defaults and with everything changed on every base that is rounded in memory and that it declares.
fn over_registry(clause: &str, check: impl Fn(&dyn Method, &Values) -> Outcome) {
    let mut failures = Vec::new();
    let mut checked = 0;
    for method in registry() {
        let declared = method.declared();
        let waived = declared.waivers.iter().any(|waiver| waiver.clause == clause);
        if declared.kind != Kind::Adapter || waived {
            continue;
        }
        let blocks = declared.bases.is_empty() || declared.bases.contains(&"blocks");
        let bases = rounded_bases().into_iter().filter(|_| blocks).map(Some);
        for base in std::iter::once(None).chain(bases) {
            let variants = variants(*method);
            let chosen = variants.len().saturating_sub(1);
            for (index, (name, values)) in variants.into_iter().enumerate() {
                if base.is_some() && index != 0 && index != chosen {
                    continue;
                }
                // What trains no linear layer is checked on whole models alone.
                if !over(base, || touches_a_layer(*method, &values)) {
                    continue;
                }
                checked += 1;
                if let Err(error) = over(base, || check(*method, &values)) {
                    let held = base.map_or("mixed layers", temper_nn::StorageKind::name);
                    failures.push(format!("{} with {name} on {held}: {error}", declared.id));
                }
            }
        }
    }
    assert!(failures.is_empty(), "clause `{clause}`:\n{}", failures.join("\n"));
    assert!(checked > 0, "no method was checked");
}

/// Whether a method trains any of the layers here; yes where it cannot say, so that the clause shows why.
fn touches_a_layer(method: &dyn Method, values: &Values) -> bool {
    let sites = dims().sites;
    let plan = method.plan(values, &sites, 1).and_then(|plan| Ok((plan.promote.selector()?, plan.adapters)));
    plan.map_or(true, |(selector, adapters)| {
        !adapters.is_empty() || sites.iter().any(|site| selector.selects(&site.name))
    })
}

/// `x Wᵀ + b` in plain candle operations.
fn dense(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Outcome<Tensor> {
    let mut shape = x.dims().to_vec();
    let in_features = shape.pop().unwrap_or(0);
    let y = x.reshape(((), in_features))?.matmul(&weight.t()?)?;
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    shape.push(weight.dim(0)?);
    Ok(y.reshape(shape)?)
}

/// Whether it starts as what rounding took from a base, where that is known.
fn repairs(slots: &Slots) -> bool {
    matches!(slots.calibration, Calibration::Repair { .. } | Calibration::Compensate { .. })
}

#[test]
fn start_is_the_base() {
    over_registry("start", |method, values| {
        let plan = method.plan(values, &dims().sites, 1)?;
        for (site, base) in adapted(method, values, 1)?.iter().zip(&sites()?) {
            let x = input(site)?;
            // A start that repairs its base is nearer to what the base was rounded from.
            let original = base.source().filter(|_| plan.slots(site.name()).is_some_and(repairs));
            if let Some(original) = original {
                let exact = dense(&x, &original.to_tensor()?, base.frozen().and_then(|layer| layer.bias.as_ref()))?;
                let size = |off: Tensor| -> Outcome<f32> { Ok(off.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt()) };
                let repaired = size((site.forward(&x, &plain())? - &exact)?)?;
                let rounded = size((base.forward(&x, &plain())? - &exact)?)?;
                ensure(repaired < rounded, || format!("{} errs by {repaired}, unrepaired by {rounded}", site.name()))?;
                continue;
            }
            // A start that is taken off again meets it where nothing is dropped.
            let residual = plan.slots(site.name()).is_some_and(|slots| slots.base == Base::Residual);
            let ctx = if residual { plain() } else { training() };
            let off = difference(&site.forward(&x, &ctx)?, &base.forward(&x, &ctx)?)?;
            // A promoted weight is multiplied by another kernel, a start is taken off again, a norm divides: rounding.
            // An adapter that only adds and starts at zero adds nothing at all.
            let adds_nothing = plan.slots(site.name()).is_none_or(Slots::starts_at_zero);
            let exact = adds_nothing && matches!(site.weight, Weight::Frozen { .. });
            let limit = if exact { 0.0 } else { 1e-5 };
            ensure(off <= limit, || format!("{} is off by {off:e}", site.name()))?;
        }
        Ok(())
    });
}

#[test]
fn count_follows_the_formula() {
    over_registry("count", |method, values| {
        let params = params(&adapted(method, values, 1)?);
        let trained = params.iter().map(Param::trained).sum::<Result<usize, _>>()?;
        let formula = method.trained_parameters(values, &dims())?;
        ensure(trained as u64 == formula, || format!("{trained} numbers are trained, the formula says {formula}"))?;
        ensure(trained > 0, || "nothing is trained".to_owned())
    });
}

#[test]
fn gradients_are_right() {
    over_registry("gradients", |method, values| {
        let sites = adapted(method, values, 1)?;
        shake(&params(&sites), 0.3)?;
        let options = GradCheck { samples: 12, ..GradCheck::f32() };
        for site in &sites {
            let x = input(site)?;
            site.hold_constants(true);
            check_parameters(|| site.forward(&x, &training()), &site.params(), &options)?;
        }
        Ok(())
    });
}

#[test]
fn gradients_reach_all_declared_parameters_and_nothing_else() {
    over_registry("gradients", |method, values| {
        let sites = adapted(method, values, 1)?;
        shake(&params(&sites), 0.3)?;
        for site in sites.iter().filter(|site| site.is_adapted()) {
            let x = variable(&input(site)?)?;
            let store = site.forward(&x, &training())?.sqr()?.sum_all()?.backward()?;
            let declared = site.params();
            for param in &declared {
                let gradient = store.get(param.var.as_tensor()).map(largest).transpose()?;
                ensure(gradient.is_some_and(|largest| largest > 0.0 && largest.is_finite()), || {
                    format!("{} gets the gradient {gradient:?}", param.name)
                })?;
            }
            ensure(store.get(x.as_tensor()).is_some(), || format!("{} passes no gradient down", site.name()))?;
            // What is left in the store are gradients of leaves: the declared parameters and the input.
            let (found, expected) = (store.get_ids().count(), declared.len() + 1);
            ensure(found == expected, || format!("{}: {found} gradients are kept instead of {expected}", site.name()))?;
        }
        Ok(())
    });
}

#[test]
fn merge_computes_the_same() {
    over_registry("merge", |method, values| {
        let sites = adapted(method, values, 1)?;
        shake(&params(&sites), 0.3)?;
        ensure(method.declared().mergeable, || "it declares that it does not merge and waives nothing".to_owned())?;
        for site in &sites {
            let x = input(site)?;
            let y = site.forward(&x, &plain())?;
            let Some(merged) = site.merge()? else { return Err(format!("{} does not merge", site.name()).into()) };
            let bias = merged.bias.clone().map(|bias| Tensor::new(bias, &Device::Cpu)).transpose()?;
            let off = difference(&dense(&x, &merged.into_tensor()?, bias.as_ref())?, &y)?;
            ensure(off <= 1e-5, || format!("{} is off by {off:e}", site.name()))?;
        }
        Ok(())
    });
}

#[test]
fn saved_parameters_compute_the_same_to_the_bit() {
    over_registry("save", |method, values| {
        let trained = adapted(method, values, 1)?;
        shake(&params(&trained), 0.3)?;
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("adapter.safetensors");
        let tensors = params(&trained).into_iter().map(|param| (param.name, param.var.as_tensor().clone()));
        candle_core::safetensors::save(&tensors.collect(), &path)?;
        let loaded = adapted(method, values, 1)?;
        let file = candle_core::safetensors::load(&path, &Device::Cpu)?;
        let targets = params(&loaded);
        ensure(file.len() == targets.len(), || format!("{} tensors for {} parameters", file.len(), targets.len()))?;
        for param in &targets {
            param.var.set(file.get(&param.name).ok_or_else(|| format!("{} was not saved", param.name))?)?;
        }
        for (trained, loaded) in trained.iter().zip(&loaded) {
            let x = input(trained)?;
            let off = difference(&loaded.forward(&x, &plain())?, &trained.forward(&x, &plain())?)?;
            ensure(off == 0.0, || format!("{} is off by {off:e}", trained.name()))?;
        }
        Ok(())
    });
}

#[test]
fn same_seed_same_bytes_and_another_seed_other_bytes() {
    over_registry("seed", |method, values| {
        // The parameters, and what the layers are with other values in them: that shows what is drawn and never
        // trained.
        let start = |seed| -> Outcome<_> {
            let sites = adapted(method, values, seed)?;
            let parameters = bytes(&params(&sites))?;
            shake(&params(&sites), 0.3)?;
            let weights = sites.iter().map(LinearSite::merge).collect::<Result<Vec<_>, _>>()?;
            Ok((parameters, weights))
        };
        ensure(start(1)? == start(1)?, || "two starts under one seed differ".to_owned())?;
        let plan = method.plan(values, &dims().sites, 1)?;
        let draws_on = |site: &LinearSite| {
            let (out_features, in_features) = (site.out_features(), site.in_features());
            plan.slots(site.name()).is_some_and(|slots| match site.source() {
                Some(_) if repairs(slots) => slots.calibration_draws_on(out_features, in_features),
                _ => slots.draws_on(out_features, in_features),
            })
        };
        let draws = sites()?.iter().any(draws_on);
        ensure((start(1)? != start(2)?) == draws, || format!("it draws: {draws}; another seed shows otherwise"))
    });
}

#[test]
fn disabled_is_the_base_to_the_bit() {
    over_registry("disabled", |method, values| {
        let sites = adapted(method, values, 1)?;
        shake(&params(&sites), 0.3)?;
        for (site, base) in sites.iter().zip(&kit::sites()?) {
            let x = input(site)?;
            let on = site.forward(&x, &plain())?;
            site.set_enabled(false);
            let off = difference(&site.forward(&x, &plain())?, &base.forward(&x, &plain())?)?;
            ensure(off == 0.0, || format!("{} is off by {off:e}", site.name()))?;
            site.set_enabled(true);
            ensure(difference(&site.forward(&x, &plain())?, &on)? == 0.0, || "it does not come back".to_owned())?;
        }
        Ok(())
    });
}

#[test]
fn exported_forms_compute_the_same() {
    over_registry("export", |method, values| {
        let sites = adapted(method, values, 1)?;
        shake(&params(&sites), 0.3)?;
        let (mut low_rank, mut typed) = (true, true);
        for site in sites.iter().filter(|site| site.is_adapted()) {
            let x = input(site)?;
            let y = site.forward(&x, &plain())?;
            let layer = site.frozen().ok_or("it has no frozen weight")?;
            let original = layer.weight.to_tensor()?;
            let exports = site.export()?;
            let mut exported = match exports.as_slice() {
                [AdapterExport::Dense { weight, bias }] => dense(&x, weight, bias.as_ref())?,
                _ => dense(&x, &original, layer.bias.as_ref())?,
            };
            for export in &exports {
                let AdapterExport::LowRank { a, b, scale, rank, bias, .. } = export else {
                    low_rank = false;
                    continue;
                };
                low_rank &= bias.is_none();
                ensure(a.dims() == [*rank, site.in_features()] && b.dims() == [site.out_features(), *rank], || {
                    format!("{}: factors {:?} and {:?} of rank {rank}", site.name(), a.dims(), b.dims())
                })?;
                exported = (exported + dense(&dense(&x, a, None)?, b, None)?.affine(*scale, 0.0)?)?;
                if let Some(bias) = bias {
                    exported = exported.broadcast_add(bias)?;
                }
            }
            let off = difference(&exported, &y)?;
            ensure(off <= 1e-5, || format!("{} is off by {off:e}", site.name()))?;
            let Some(peft) = site.peft()? else {
                typed = false;
                continue;
            };
            let declared = method.declared().peft_type;
            ensure(declared == Some(peft.peft_type), || format!("it leaves as {}, not {declared:?}", peft.peft_type))?;
            let (weight, bias) = kit::peft::applied(&peft, &original, layer.bias.as_ref())?;
            let narrow = |tensor: &Tensor| tensor.to_dtype(DType::F32);
            let bias = bias.as_ref().map(narrow).transpose()?;
            let off = difference(&dense(&x, &narrow(&weight)?, bias.as_ref())?, &y)?;
            ensure(off <= 1e-5, || format!("{} as {} is off by {off:e}", site.name(), peft.peft_type))?;
        }
        let offers = |format: &str| method.declared().exports_as.contains(&format);
        ensure(offers("peft") == (typed || low_rank), || format!("PEFT type: {typed}, low rank: {low_rank}"))?;
        ensure(offers("gguf-lora") == low_rank, || format!("low rank leaves: {low_rank}"))?;
        let plain_lora = method.declared().peft_type == Some("LORA");
        ensure(typed || !low_rank || plain_lora, || "plain low rank leaves as LORA".to_owned())
    });
}

#[test]
fn training_learns_and_changes_no_frozen_byte() {
    over_registry("frozen", |method, values| {
        let mut sites = adapted(method, values, 1)?;
        let frozen = |sites: &[LinearSite]| -> Vec<Vec<u8>> {
            sites.iter().filter_map(LinearSite::frozen).map(|layer| layer.weight.bytes().as_slice().to_vec()).collect()
        };
        let before = frozen(&sites);
        let mut set = ParamSet::new(params(&sites))?;
        let mut optimiser = AdamW::new(AdamWConfig::default());
        let loss = |sites: &[LinearSite]| -> Outcome<Tensor> {
            let mut sum = Tensor::new(0f32, &Device::Cpu)?;
            for site in sites.iter().filter(|site| site.is_adapted()) {
                let x = input(site)?;
                let goal =
                    random(&format!("{}.goal", site.name()), &[kit::ROWS, kit::WIDTH, site.out_features()], 1.0)?;
                sum = (sum + (site.forward(&x, &plain())? - goal)?.sqr()?.mean_all()?)?;
            }
            Ok(sum)
        };
        let first = loss(&sites)?.to_scalar::<f32>()?;
        for step in 1..=40 {
            let mut grads = Grads::new();
            grads.collect(&set, &mut loss(&sites)?.backward()?)?;
            for site in &sites {
                site.map_grads(&mut grads)?;
            }
            let mut all: Vec<&mut LinearSite> = sites.iter_mut().collect();
            let moved = take_step(&mut all, &set, &mut optimiser, &mut grads, 0.01, At { step, total: 40 })?;
            if moved.params {
                set = ParamSet::new(params(&sites))?;
            }
        }
        let last = loss(&sites)?.to_scalar::<f32>()?;
        ensure(last < first, || format!("the loss went from {first} to {last}"))?;
        ensure(frozen(&sites) == before, || "a frozen weight changed".to_owned())
    });
}

#[test]
fn telemetry_measures_the_declared_series() {
    over_registry("telemetry", |method, values| {
        let sites = adapted(method, values, 1)?;
        shake(&params(&sites), 0.05)?;
        for site in sites.iter().filter(|site| site.is_adapted()) {
            let telemetry = site.telemetry()?.ok_or("nothing is measured")?;
            for series in method.declared().series {
                let value = telemetry.value(series.name);
                ensure(value.is_some_and(|value| value.is_finite() && value > 0.0), || {
                    format!("{} measures {value:?} at {}", series.name, site.name())
                })?;
            }
            let before = site.frozen().ok_or("it has no frozen weight")?.weight.to_tensor()?;
            let change = (site.merged()?.ok_or("it does not merge")? - &before)?;
            let norm = |tensor: &Tensor| -> Outcome<f32> { Ok(tensor.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt()) };
            let energy = f64::from(norm(&change)? / norm(&before)?);
            ensure((telemetry.energy - energy).abs() <= 1e-3 * energy, || {
                format!("energy {} instead of {energy} at {}", telemetry.energy, site.name())
            })?;
            // A whole weight is measured with the rounding of its values, which is spread over all directions.
            let rounding = if site.measures_whole_weight() { 1e-4 } else { 1e-6 };
            // The rank of a sum of products is its number of terms; its directions are the values that are no rounding.
            let noise = f64::from(norm(&before)?) * f64::from(f32::EPSILON);
            let directions = match site.chosen_terms() {
                Some(_) => telemetry.spectrum.iter().filter(|value| f64::from(**value) > noise).count(),
                None => telemetry.rank,
            };
            ensure(telemetry.effective_rank <= directions as f64 * (1.0 + rounding), || {
                format!("effective rank {} above {directions} directions", telemetry.effective_rank)
            })?;
        }
        Ok(())
    });
}

/// Clauses that a declaration may waive.
const CLAUSES: &[&str] =
    &["start", "count", "gradients", "merge", "save", "seed", "disabled", "export", "frozen", "telemetry", "own-base"];

#[test]
fn declarations_are_complete_and_waivers_are_known() {
    let mut ids = BTreeSet::new();
    for (method, module) in registry().iter().zip(temper_methods::MODULES) {
        let declared = method.declared();
        let id = declared.id;
        assert!(ids.insert(id), "two methods are called {id}");
        assert_eq!(module_name(id), *module, "the module of {id}");
        assert!(!declared.title.is_empty() && declared.summary.len() > 20 && declared.family.len() > 2, "{id}");
        assert!(declared.docs.len() > 400, "{id} needs a page: what it does, costs, when to use it, pitfalls");
        for heading in ["## What it does", "## What it costs", "## When to use it", "## Pitfalls"] {
            assert!(declared.docs.contains(heading), "the page of {id} has no part \"{heading}\"");
        }
        assert!(!declared.exports_as.is_empty(), "{id} leaves in no form");
        assert_eq!(declared.peft_type.is_some(), declared.exports_as.contains(&"peft"), "{id}");
        let mut keys = BTreeSet::new();
        for setting in declared.settings {
            let key = setting.key;
            assert!(keys.insert(key), "{id} has two settings {key}");
            assert!(!setting.label.is_empty() && setting.help.len() > 10, "{id}.{key} needs words");
            let parsed = setting.parse(setting.default);
            assert!(parsed.is_ok(), "{id}.{key}: the default is refused: {parsed:?}");
        }
        for waiver in declared.waivers {
            assert!(CLAUSES.contains(&waiver.clause), "{id} waives an unknown clause {}", waiver.clause);
            assert!(waiver.reason.len() > 20, "{id} waives {} without a reason", waiver.clause);
        }
        print_waivers(id, declared.waivers);
    }
    assert_eq!(registry().len(), temper_methods::MODULES.len());
}

#[expect(clippy::print_stdout, reason = "a reviewer reads waivers in the output of the tests")]
fn print_waivers(id: &str, waivers: &[temper_protocol::Waiver]) {
    if waivers.is_empty() {
        println!("{id}: no waivers");
    }
    for waiver in waivers {
        println!("{id} waives {}: {}", waiver.clause, waiver.reason);
    }
}

#[test]
fn methods_are_found_by_id_and_a_slip_is_answered_with_the_nearest() -> Outcome {
    for method in registry() {
        assert_eq!(temper_methods::find(method.declared().id)?.declared().id, method.declared().id);
    }
    let Err(error) = temper_methods::find("lorra") else { return Err("lorra is no method".into()) };
    let problem = temper_protocol::Problem::from(error);
    assert!(problem.what.contains("lorra") && problem.action.contains("\"lora\""), "{problem}");
    for (id, module) in [("lamda++", "lamda_pp"), ("lamda", "lamda"), ("LoRA-FA", "lora_fa"), ("c++", "c_pp")] {
        assert_eq!(module_name(id), module);
    }
    Ok(())
}
