//! The values that a merged model holds, one tensor at a time.

use crate::error::{ExportError, Result};
use temper_models::Model;
use temper_models::names::Slot;

/// Told tensors done and in all; answers whether to go on.
pub(crate) type Cancel<'a> = dyn FnMut(u64, u64) -> bool + 'a;

/// Current values of a tensor in the logical layout, with adapters folded in.
///
/// # Errors
/// A weight that cannot be read, or a change that depends on the input and fits no weight.
pub fn merged_values(model: &Model, slot: &Slot) -> Result<Vec<f32>> {
    let site = slot.site.as_deref().and_then(|name| model.site(name));
    let Some(site) = site else {
        return Ok(model.read_weight(&slot.name)?);
    };
    let merged = site.merge()?.ok_or_else(|| ExportError::NotRepresentable {
        what: format!("the change of {} depends on the input, so no weight holds it", slot.hf),
        action: "export the adapter in its own format instead".to_owned(),
    })?;
    if merged.bias.is_some() && !site.came_with_bias() {
        return Err(ExportError::NotRepresentable {
            what: format!("{} was given a bias, and this family of models has no place for it", slot.hf),
            action: "export the adapter instead: --format peft".to_owned(),
        });
    }
    if slot.shape.len() == 2 {
        Ok(merged.weight)
    } else {
        merged.bias.ok_or_else(|| ExportError::NotRepresentable {
            what: format!("{} has no values", slot.hf),
            action: "please report it".to_owned(),
        })
    }
}

/// Whether a tensor is not the base file's: changed by training, or rounded when it was read.
#[must_use]
pub(crate) fn is_changed(model: &Model, slot: &Slot) -> bool {
    let site = slot.site.as_deref().and_then(|name| model.site(name));
    let adapted = site.is_some_and(|site| site.is_adapted());
    let held = site.and_then(|site| site.frozen());
    let rounded = slot.shape.len() == 2 && held.is_some_and(|layer| layer.weight.kind.is_memory_only());
    adapted || rounded || model.is_settled(slot) || model.trained_weights().contains(&slot.name)
}
