//! Folders of vision models: config.json and model.safetensors.

use super::config::VisionConfig;
use super::model::VisionModel;
use super::slots::{VisionSlot, VisionWeights};
use crate::hf::{HfFolder, HfTensor};
use crate::{ModelError, Result};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use temper_nn::{StorageKind, dequantise};

/// The configuration of a folder, and its weights in f32.
pub(super) fn read(path: &Path) -> Result<(VisionConfig, VisionWeights)> {
    let folder = HfFolder::open(path)?;
    let (config, tensors) = matched(&folder)?;
    let mut weights = VisionWeights::default();
    for (slot, tensor, kind) in tensors {
        let mut values = vec![0f32; slot.elements()];
        dequantise(kind, tensor.data.as_slice(), &mut values)?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(ModelError::NonFinite { path: path.to_owned(), tensor: tensor.name.clone() });
        }
        weights.0.insert(slot.name.clone(), (slot, values));
    }
    Ok((config, weights))
}

/// A tensor of a folder with the slot that it fills.
type Matched<'a> = (VisionSlot, &'a HfTensor, StorageKind);

/// The configuration of a folder and a tensor for each slot, by the headers alone. All that does not fit is told at once.
pub(crate) fn matched(folder: &HfFolder) -> Result<(VisionConfig, Vec<Matched<'_>>)> {
    let config = VisionConfig::from_json(&folder.config_json, &folder.config_path)?;
    let slots = config.slots().into_iter().map(|slot| (slot.file.clone(), slot));
    let mut by_name: BTreeMap<String, VisionSlot> = slots.collect();
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for tensor in &folder.tensors {
        match (by_name.remove(&tensor.name), tensor.kind) {
            (None, _) => problems.push(format!("{} is not part of a {} model", tensor.name, config.family())),
            (Some(slot), _) if tensor.shape != slot.shape => {
                problems.push(format!("{} has shape {:?} instead of {:?}", tensor.name, tensor.shape, slot.shape));
            }
            (Some(_), None) => problems.push(format!("{} is held as {}", tensor.name, tensor.dtype)),
            (Some(slot), Some(kind)) => found.push((slot, tensor, kind)),
        }
    }
    problems.extend(by_name.into_keys().map(|name| format!("{name} is missing")));
    if problems.is_empty() {
        Ok((config, found))
    } else {
        Err(ModelError::Tensors { path: folder.dir.clone(), problems })
    }
}

/// Writes a model with its adapters folded in.
pub(super) fn write(model: &VisionModel, dir: &Path) -> Result<()> {
    let merged = merged(model)?;
    let has = |name: &str| model.slots().iter().any(|slot| slot.name == name);
    let mut config = model.config.clone();
    if merged.keys().any(|name| !has(name)) {
        // an adapter gave a layer a bias: the file has them everywhere then, 0 where there is none
        config.give_biases();
    }
    let slots = config.slots();
    let mut tensors = Vec::new();
    for slot in &slots {
        let values = match merged.get(&slot.name) {
            Some(values) => values.clone(),
            None if has(&slot.name) => model.read_weight(&slot.name)?,
            None => vec![0.0; slot.elements()],
        };
        if values.iter().any(|value| !value.is_finite()) {
            return Err(ModelError::NonFinite { path: dir.to_owned(), tensor: slot.file.clone() });
        }
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        tensors.push((slot.file.as_str(), slot.shape.clone(), bytes));
    }
    let wrong = |error: safetensors::SafeTensorError| ModelError::damaged(dir, format!("cannot be written: {error}"));
    let mut views = Vec::new();
    for (name, shape, bytes) in &tensors {
        views.push((*name, TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(wrong)?));
    }
    // one entry only: the library writes several in random order
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(wrong)?;
    std::fs::create_dir_all(dir).map_err(|error| ModelError::io(dir, error))?;
    whole_file(&dir.join("model.safetensors"), &bytes)?;
    let config = format!("{:#}\n", config.to_json());
    whole_file(&dir.join("config.json"), config.as_bytes())
}

/// Weights and biases of the sites that carry adapters, by slot name.
fn merged(model: &VisionModel) -> Result<BTreeMap<String, Vec<f32>>> {
    let mut all = BTreeMap::new();
    for site in model.all_sites() {
        if site.adapters().is_empty() {
            continue;
        }
        let Some(merged) = site.merge()? else {
            let what = format!("the change of {} depends on its input and cannot be folded into it", site.name());
            return Err(ModelError::Request(what));
        };
        all.insert(format!("{}.weight", site.name()), merged.weight);
        if let Some(bias) = merged.bias {
            all.insert(format!("{}.bias", site.name()), bias);
        }
    }
    Ok(all)
}

/// Temporary name, sync, rename.
fn whole_file(path: &Path, bytes: &[u8]) -> Result<()> {
    temper_protocol::whole_file::write_synced(path, bytes).map_err(|error| ModelError::io(path, error))
}
