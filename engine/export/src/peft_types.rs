//! PEFT adapter folders of other types than plain LoRA: IA3, BEFT, LoRA with magnitudes (DoRA).
//!
//! Place in the data flow: [`crate::export`] takes this way when every adapted layer leaves in one of PEFT's own types
//! (`LinearSite::peft`); plain LoRA goes through `peft.rs`, to the byte as ever.

use crate::error::{ExportError, Result};
use crate::peft::{escape, most_common, number};
use crate::tensors::LazyTensor;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use temper_models::{Model, names};
use temper_nn::{PeftLayer, PeftSetting};
use temper_protocol::StorageType;

/// One adapted layer.
pub(crate) struct TypedLayer {
    /// Module path in a Hugging Face model.
    pub(crate) hf: String,
    /// What PEFT's type holds of it.
    pub(crate) layer: PeftLayer,
}

/// Settings of a layer that may differ between layers, and the table where PEFT looks for the exceptions.
const PATTERNS: [(&str, &str); 3] =
    [("r", "rank_pattern"), ("lora_alpha", "alpha_pattern"), ("alpha", "alpha_pattern")];

/// The layers of a model whose adapters all leave in one of PEFT's own types; none when they are plain LoRA or fit no
/// type together.
///
/// # Errors
/// A failing tensor operation.
pub(crate) fn layers(model: &Model) -> Result<Option<Vec<TypedLayer>>> {
    let mut layers = Vec::new();
    for name in names::sites(model.config.as_llama()) {
        let Some(site) = model.site(&name.name).filter(|site| site.is_adapted()) else { continue };
        let Some(layer) = site.peft()? else { return Ok(None) };
        layers.push(TypedLayer { hf: name.hf, layer });
    }
    let kinds: Vec<&str> = layers.iter().map(|layer| layer.layer.peft_type).collect();
    let one_kind = kinds.windows(2).all(|pair| pair.first() == pair.last());
    Ok((!layers.is_empty() && one_kind && model.trained_weights().is_empty()).then_some(layers))
}

/// The configuration. `all_modules` are the module paths of every linear site of the model; `base` is the name of the
/// base model, not its path.
///
/// # Errors
/// A setting that differs between layers where PEFT has one for all.
pub(crate) fn config(layers: &[TypedLayer], all_modules: &[String], base: &str, dropout: f64) -> Result<Value> {
    let kind = layers.first().map_or("", |layer| layer.layer.peft_type);
    let mut config = BTreeMap::from([
        ("base_model_name_or_path".to_owned(), json!(base)),
        ("inference_mode".to_owned(), json!(true)),
        ("peft_type".to_owned(), json!(kind)),
        ("target_modules".to_owned(), json!(targets(layers, all_modules, |_| true))),
        ("task_type".to_owned(), json!("CAUSAL_LM")),
    ]);
    if kind == "LORA" {
        config.insert("bias".to_owned(), json!("none"));
        if dropout > 0.0 {
            config.insert("lora_dropout".to_owned(), json!(dropout));
        }
    }
    let keys: Vec<&str> =
        layers.first().map_or(Vec::new(), |first| first.layer.settings.iter().map(|(key, _)| *key).collect());
    for key in keys {
        if let Some(PeftSetting::Listed(_)) = layers.first().and_then(|first| first.layer.setting(key)) {
            let listed = targets(layers, all_modules, |layer| layer.setting(key) == Some(PeftSetting::Listed(true)));
            config.insert(key.to_owned(), json!(listed));
            continue;
        }
        let values: Vec<Value> = layers.iter().map(|layer| value(layer.layer.setting(key))).collect();
        let common = most_common_value(&values);
        let pattern = PATTERNS.iter().find(|(known, _)| *known == key).map(|(_, pattern)| *pattern);
        let mut exceptions = Map::new();
        for (layer, value) in layers.iter().zip(&values).filter(|(_, value)| **value != common) {
            exceptions.insert(escape(&layer.hf), value.clone());
        }
        match (pattern, exceptions.is_empty()) {
            (_, true) => {}
            (Some(pattern), false) => {
                config.insert(pattern.to_owned(), Value::Object(exceptions));
            }
            (None, false) => {
                return Err(ExportError::NotRepresentable {
                    what: format!("{key} differs between layers, and PEFT's {kind} has one for all of them"),
                    action: "export the merged model instead: --format hf or --format gguf".to_owned(),
                });
            }
        }
        config.insert(key.to_owned(), common);
    }
    Ok(Value::Object(config.into_iter().collect()))
}

/// The tensors of the folder, f32.
///
/// # Errors
/// A tensor that is not f32.
pub(crate) fn tensors(layers: &[TypedLayer]) -> Result<Vec<LazyTensor<'_>>> {
    let mut all = Vec::new();
    for TypedLayer { hf, layer } in layers {
        for (name, tensor) in &layer.tensors {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            all.push(LazyTensor {
                name: format!("base_model.model.{hf}.{name}"),
                shape: tensor.dims().to_vec(),
                dtype: StorageType::F32,
                compute: Box::new(move || Ok(values.clone())),
            });
        }
    }
    Ok(all)
}

/// Names of the layers that `wanted` picks: suffixes such as `q_proj` where every module with that ending is adapted and
/// all of them are alike, full paths elsewhere. The same layer has the same name in every list.
fn targets(layers: &[TypedLayer], all_modules: &[String], wanted: impl Fn(&PeftLayer) -> bool) -> Vec<String> {
    let listed = |layer: &PeftLayer| -> Vec<PeftSetting> {
        let settings = layer.settings.iter().map(|(_, setting)| *setting);
        settings.filter(|setting| matches!(setting, PeftSetting::Listed(_))).collect()
    };
    let mut names: Vec<String> = Vec::new();
    for TypedLayer { hf, layer } in layers.iter().filter(|layer| wanted(&layer.layer)) {
        let suffix = hf.rsplit('.').next().unwrap_or(hf);
        let ending = format!(".{suffix}");
        let complete = all_modules
            .iter()
            .filter(|module| module.ends_with(&ending))
            .all(|module| layers.iter().any(|other| other.hf == *module && listed(&other.layer) == listed(layer)));
        let name = if complete { suffix } else { hf };
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    names
}

fn value(setting: Option<PeftSetting>) -> Value {
    match setting {
        None => Value::Null,
        Some(PeftSetting::Integer(number)) => json!(number),
        Some(PeftSetting::Number(value)) => number(value),
        Some(PeftSetting::Flag(flag) | PeftSetting::Listed(flag)) => json!(flag),
        Some(PeftSetting::Text(text)) => json!(text),
    }
}

fn most_common_value(values: &[Value]) -> Value {
    let index = |value: &Value| values.iter().position(|known| known == value).unwrap_or(0) as u64;
    let common = most_common(values.iter().map(index)).unwrap_or(0) as usize;
    values.get(common).cloned().unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};

    fn layer(hf: &str, rank: u64, feed_forward: bool) -> TypedLayer {
        let tensor = Tensor::new(&[[1f32, 2.0]], &Device::Cpu).unwrap();
        let settings =
            vec![("r", PeftSetting::Integer(rank)), ("feedforward_modules", PeftSetting::Listed(feed_forward))];
        TypedLayer { hf: hf.to_owned(), layer: PeftLayer { peft_type: "X", tensors: vec![("l", tensor)], settings } }
    }

    #[test]
    fn exceptions_go_into_patterns_and_lists_name_layers_alike() {
        let all: Vec<String> = ["m.0.k", "m.1.k", "m.0.d", "m.1.d"].map(str::to_owned).to_vec();
        let layers =
            [layer("m.0.k", 4, false), layer("m.1.k", 2, false), layer("m.0.d", 4, true), layer("m.1.d", 4, true)];
        let written = config(&layers, &all, "base", 0.0).unwrap();
        assert_eq!(written["r"], json!(4));
        assert_eq!(written["rank_pattern"], json!({"m\\.1\\.k": 2}));
        assert_eq!(written["target_modules"], json!(["d", "k"]));
        assert_eq!(written["feedforward_modules"], json!(["d"]));
        // Where one of two alike is scaled otherwise, both lists spell the paths out.
        let layers = [layer("m.0.d", 4, true), layer("m.1.d", 4, false)];
        let written = config(&layers, &all, "base", 0.0).unwrap();
        assert_eq!(written["target_modules"], json!(["m.0.d", "m.1.d"]));
        assert_eq!(written["feedforward_modules"], json!(["m.0.d"]));
        let names: Vec<String> = tensors(&layers).unwrap().into_iter().map(|tensor| tensor.name).collect();
        assert_eq!(names, ["base_model.model.m.0.d.l", "base_model.model.m.1.d.l"]);
    }

    #[test]
    fn what_peft_has_one_value_for_may_not_differ() {
        let with = |flag: bool| {
            let mut layer = layer("m.0.k", 4, false);
            layer.layer.settings = vec![("use_dora", PeftSetting::Flag(flag))];
            layer
        };
        let error = config(&[with(true), with(false)], &[], "base", 0.0).unwrap_err().to_string();
        assert!(error.contains("use_dora"), "{error}");
    }
}
