//! Reads adapters of PEFT's types that have their own tensors per layer: IA3, BEFT.

use crate::error::{ExportError, Result};
use crate::read_peft::attach_layer;
use candle_core::Tensor;
use std::collections::BTreeMap;
use std::path::Path;
use temper_models::{Model, names};
use temper_nn::slots::{Factor, Init, Normaliser, Slots};

/// The types that are read here.
pub(crate) const TYPES: [&str; 2] = ["IA3", "BEFT"];

/// What ends the names of the tensors that occur once per layer.
const ENDINGS: [&str; 2] = [".ia3_l", ".beft_bias"];

/// Whether a tensor stands for a layer of one of these types.
pub(crate) fn is_one_per_layer(name: &str) -> bool {
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Attaches an adapter of one of [`TYPES`] and returns the number of sites; none for another type.
///
/// # Errors
/// [`ExportError::Adapter`] for unexpected or misshapen tensors, all named together; nothing is attached then.
pub(crate) fn attach(
    model: &mut Model,
    peft_type: &str,
    loaded: &BTreeMap<String, Tensor>,
    path: &Path,
) -> Result<Option<usize>> {
    let ending = match peft_type {
        "IA3" => ".ia3_l",
        "BEFT" => ".beft_bias",
        _ => return Ok(None),
    };
    let sites: BTreeMap<String, names::SiteName> =
        names::sites(model.config.as_llama()).into_iter().map(|site| (site.hf.clone(), site)).collect();
    let (mut faults, mut found) = (Vec::new(), Vec::new());
    for (name, tensor) in loaded {
        let module = name.strip_prefix("base_model.model.").and_then(|rest| rest.strip_suffix(ending));
        let Some(module) = module else {
            faults.push(format!("{name} is no tensor of {peft_type}"));
            continue;
        };
        let Some(site) = sites.get(module) else {
            faults.push(format!("the model has no linear layer {module}"));
            continue;
        };
        match slots(peft_type, tensor, site) {
            Some(slots) => found.push((site, slots, tensor)),
            None => faults.push(format!("{name} has shape {:?}, which does not fit its layer", tensor.dims())),
        }
    }
    if found.is_empty() && faults.is_empty() {
        faults.push("it holds no tensors".to_owned());
    }
    if !faults.is_empty() {
        return Err(ExportError::Adapter { path: path.to_path_buf(), what: faults.join("; ") });
    }
    for (site, slots, tensor) in &found {
        attach_layer(model, &site.name, slots, path, |_| Some(*tensor))?;
    }
    Ok(Some(found.len()))
}

/// The slots that a tensor of this shape stands for; none when it does not fit the layer.
fn slots(peft_type: &str, tensor: &Tensor, site: &names::SiteName) -> Option<Slots> {
    let trained = Factor::trained(Init::Ones).without_decay();
    let normaliser = |normaliser: Normaliser| Slots { normaliser, ..Slots::default() };
    match (peft_type, tensor.dims()) {
        ("IA3", [rows, 1]) if *rows == site.out_features => Some(normaliser(Normaliser::RowScale(trained))),
        ("IA3", [1, cols]) if *cols == site.in_features => Some(normaliser(Normaliser::ColumnScale(trained))),
        ("BEFT", [1, rows]) if *rows == site.out_features => Some(Slots { bias: Some(trained), ..Slots::default() }),
        _ => None,
    }
}
