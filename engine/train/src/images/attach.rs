//! Puts a method on a vision model.

use crate::attach::{prepared, spectra};
use crate::error::Result;
use std::collections::BTreeMap;
use temper_methods::{Imitation, ModelDims, OwnDims, SiteDims};
use temper_models::VisionModel;
use temper_nn::rules::set_ranks;
use temper_nn::slots::Slots;
use temper_nn::{LinearSite, ParamSet};
use temper_protocol::project::Method;
use temper_protocol::{Code, Problem};

/// A method on a model.
#[derive(Debug, Clone)]
pub struct Attached {
    /// Everything trained, by name.
    pub params: ParamSet,
    /// What is learnt from the model as its file has it, in the first part of a training.
    pub imitation: Option<Imitation>,
}

impl From<ParamSet> for Attached {
    /// These parameters, without an imitation.
    fn from(params: ParamSet) -> Self {
        Self { params, imitation: None }
    }
}

/// The layers and other weights of a model, as methods see them. The projection of a ViT's patches is no layer here but
/// a weight that can be trained, because it is a convolution in the files and PEFT's `all-linear` leaves it alone; the
/// classifiers are the task's own and are trained, not adapted.
#[must_use]
pub fn dims_of(model: &VisionModel) -> ModelDims {
    let is_patch = |name: &str| name == "embed.patch";
    let file_of = |site: &str| {
        let weight = format!("{site}.weight");
        let slot = model.slots().iter().find(|slot| slot.name == weight);
        slot.map(|slot| slot.file.strip_suffix(".weight").unwrap_or(&slot.file).to_owned()).unwrap_or_default()
    };
    // A kernel is (out, in, rows, columns).
    let window_of = |site: &str| {
        let weight = format!("{site}.weight");
        let shape = model.slots().iter().find(|slot| slot.name == weight).map(|slot| slot.shape.as_slice());
        match shape {
            Some([_, _, rows, columns]) => (*rows, *columns),
            _ => (1, 1),
        }
    };
    let layer_of = |site: &str| site.strip_prefix("layers.")?.split('.').next()?.parse().ok();
    let sites: Vec<SiteDims> = model
        .sites()
        .into_iter()
        .filter(|site| !is_patch(site.name()))
        .map(|site| SiteDims {
            name: site.name().to_owned(),
            hf_name: file_of(site.name()),
            out_features: site.out_features(),
            in_features: site.in_features(),
            layer: layer_of(site.name()),
            bias: site.has_bias(),
            window: window_of(site.name()),
        })
        .collect();
    let of_site = |name: &str| sites.iter().any(|site| site.name == name);
    let promotable = model.promotable().into_iter().filter(|name| !of_site(name));
    let entries = |name: &str| {
        let of_it = |slot: &str| {
            slot == name || slot.strip_prefix(name).is_some_and(|part| matches!(part, ".weight" | ".bias"))
        };
        model.slots().iter().filter(|slot| of_it(&slot.name)).map(|slot| slot.elements() as u64).sum()
    };
    let own = promotable.map(|name| OwnDims { entries: entries(&name), name }).collect();
    ModelDims { sites, own, head_features: model.config.head_features() }
}

/// Name of the classifier of a task.
fn head_of(task: &str) -> String {
    if task.is_empty() { "head".to_owned() } else { format!("head.{task}") }
}

/// Attaches a method and makes the classifier of `task` trained: a head has to learn its classes. The same method and
/// seed give the same bytes.
///
/// # Errors
/// A method that does not work on vision models of this family, settings that fit nothing, or no such task.
pub fn attach(model: &mut VisionModel, method: &Method, task: usize, seed: u64) -> Result<Attached> {
    let found = temper_methods::find(&method.id)?;
    let declared = found.declared();
    if let Some(why) = model.refusal(declared.families) {
        let what = format!("{} does not work on this model: {why}", declared.title);
        return Err(Problem::new(Code::MethodInvalid, what, "[method]", "choose another method or model").into());
    }
    let head = match model.head.tasks().get(task) {
        Some(name) => head_of(name),
        None => return Err(Problem::internal(format!("there is no task {task}")).into()),
    };
    let mut plan = found.plan(&method.settings, &dims_of(model).sites, seed)?;
    let site = |name: &str| model.sites().into_iter().find(|site| site.name() == name);
    let spectra = spectra(site, &plan.adapters, seed)?;
    set_ranks(&mut plan.adapters, |name, _, _| Ok(spectra.get(name).cloned().unwrap_or_default()))?;
    if plan.adapters.iter().any(|(_, slots)| slots.gathers().is_some()) {
        let what =
            format!("{} looks at the inputs of the layers first, which runs on images cannot do yet", declared.title);
        return Err(Problem::new(Code::MethodInvalid, what, "[method]", "choose another method").into());
    }
    let unknown = |name: &str| Problem::internal(format!("the method plans for a layer {name} that is not there"));
    let mut wanted: Vec<(&LinearSite, &Slots)> = Vec::with_capacity(plan.adapters.len());
    for (name, slots) in &plan.adapters {
        wanted.push((site(name).ok_or_else(|| unknown(name))?, slots));
    }
    let adapters = prepared(&wanted, seed, &BTreeMap::new())?;
    for ((name, _), adapter) in plan.adapters.iter().zip(adapters) {
        model.site_mut(name).ok_or_else(|| unknown(name))?.put(adapter);
    }
    model.insert_all(&plan.insertions, seed)?;
    let selector = plan.promote.selector()?;
    // A task with a path of its own is trained with the others, so its classifier is, too.
    let mut heads = vec![head];
    heads.extend(model.branched().into_iter().map(head_of));
    model.promote(&|name| heads.iter().any(|head| head == name) || selector.selects(name))?;
    Ok(Attached { params: model.params()?, imitation: found.imitates(&method.settings) })
}
