//! What a method trains on a model and what its adapter files hold, counted from shapes.
//!
//! Place in the data flow: the gallery and pre-flight ask for it; the formula of the method gives what is trained, its plan
//! what the files hold. Nothing is built.

use crate::method::{Method, ModelDims, Plan, Promote};
use std::collections::BTreeMap;
use temper_nn::slots::{Delta, Source};
use temper_protocol::Values;
use temper_protocol::prices::MethodPrice;

/// The price of a method; none where its settings fit nothing on these layers.
#[must_use]
pub fn price(method: &dyn Method, settings: &Values, dims: &ModelDims) -> Option<MethodPrice> {
    let declared = method.declared();
    let trained_parameters = method.trained_parameters(settings, dims).ok()?;
    // The seed chooses between layers of one kind at most.
    let plan = method.plan(settings, &dims.sites, 0).ok();
    let factors = plan.as_ref().and_then(|plan| factors(plan, dims));
    let peft_parameters = match declared.peft_type {
        None | Some("LORA") => factors.unwrap_or(trained_parameters),
        // Files of the other types hold what is trained, and what all layers share.
        Some(_) => trained_parameters + plan.as_ref().map_or(0, shared),
    };
    Some(MethodPrice {
        method: declared.id.to_owned(),
        trained_parameters,
        peft_parameters: declared.exports_as.contains(&"peft").then_some(peft_parameters),
        gguf_lora_parameters: factors.filter(|_| declared.exports_as.contains(&"gguf-lora")),
    })
}

/// Numbers in two thin factors for each adapted layer; none where the change is something else.
fn factors(plan: &Plan, dims: &ModelDims) -> Option<u64> {
    if plan.promote != Promote::None || !plan.insertions.is_empty() || plan.adapters.is_empty() {
        return None;
    }
    let sides: BTreeMap<&str, usize> =
        dims.sites.iter().map(|site| (site.name.as_str(), site.in_features + site.out_features)).collect();
    let mut all = 0;
    for (site, slots) in &plan.adapters {
        all += (slots.exported_rank()? * sides.get(site.as_str())?) as u64;
    }
    Some(all)
}

/// Numbers of the factors that all layers share, which are written once.
fn shared(plan: &Plan) -> u64 {
    let Some(Delta::Chain(chain)) = plan.adapters.first().map(|(_, slots)| &slots.delta) else { return 0 };
    let held = |source: Source| if let Source::Shared { rows, cols, .. } = source { (rows * cols) as u64 } else { 0 };
    held(chain.a.source) + held(chain.b.source)
}
