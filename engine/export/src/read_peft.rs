//! Reads a PEFT adapter folder onto a model: adapters made here or by Python PEFT. LoRA and DoRA here, other types in
//! `read_peft_types.rs`; prompts, prefixes and native folders in `insertions.rs`.
//!
//! PEFT itself drops tensors it does not expect without a word; here everything that does not fit is
//! named, all together, and nothing is attached.

use crate::error::{ExportError, Result};
use crate::peft::{CONFIG, TENSORS};
use crate::{insertions, read_peft_types};
use candle_core::{DType, Device, Tensor};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use temper_models::{Model, names};
use temper_nn::Role;
use temper_nn::slots::{Chain, Core, Delta, Factor, Group, Init, Normaliser, Scale, Slots};

/// What an adapter folder says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct PeftSummary {
    /// PEFT's type, such as `LORA`; of a native folder the method's id.
    pub peft_type: String,
    /// Name of the base model, or empty.
    pub base: String,
    /// Highest rank.
    pub rank: u64,
    /// Adapted modules.
    pub sites: u64,
    /// Parameters.
    pub parameters: u64,
}

/// Describes an adapter folder from its headers.
///
/// # Errors
/// A damaged or foreign folder.
pub fn describe(folder: &Path) -> Result<PeftSummary> {
    if insertions::is_native(folder) {
        return insertions::summary(folder);
    }
    let config = read_config(folder)?;
    refuse_mlx(&config, folder)?;
    let path = folder.join(TENSORS);
    let bytes = std::fs::read(&path).map_err(ExportError::io(&path))?;
    let tensors = safetensors::SafeTensors::deserialize(&bytes)
        .map_err(|error| ExportError::Adapter { path: path.clone(), what: error.to_string() })?;
    let mut summary = PeftSummary {
        peft_type: text(&config, "peft_type").to_owned(),
        base: text(&config, "base_model_name_or_path").to_owned(),
        rank: 0,
        sites: 0,
        parameters: 0,
    };
    for (name, view) in tensors.iter() {
        summary.parameters += view.shape().iter().map(|dim| *dim as u64).product::<u64>();
        if read_peft_types::is_one_per_layer(name) {
            summary.sites += 1;
        } else if name == insertions::PROMPT {
            // A prefix has keys and values in each block, a prompt stands before the embeddings alone.
            let blocks = config.get("num_layers").and_then(Value::as_u64).unwrap_or(1);
            summary.sites += if summary.peft_type == "PREFIX_TUNING" { blocks } else { 1 };
        } else if name.ends_with(".lora_A.weight") {
            summary.sites += 1;
            summary.rank = summary.rank.max(view.shape().first().copied().unwrap_or(0) as u64);
        }
    }
    Ok(summary)
}

/// Attaches the adapter in `folder` to `model` and returns the number of sites.
///
/// # Errors
/// [`ExportError::Adapter`] for a type that is not known, settings that change its meaning, missing,
/// unexpected or misshapen tensors (all named together), numbers that are not finite.
pub fn attach(model: &mut Model, folder: &Path) -> Result<usize> {
    if insertions::is_native(folder) {
        return insertions::attach_native(model, folder);
    }
    let config = read_config(folder)?;
    refuse_mlx(&config, folder)?;
    let config_path = folder.join(CONFIG);
    let refuse = |what: String| ExportError::Adapter { path: config_path.clone(), what };
    check_meaning(&config).map_err(&refuse)?;
    let path = folder.join(TENSORS);
    let loaded = load_tensors(&path)?;
    if let Some(count) = read_peft_types::attach(model, &config, &loaded, &path)? {
        return Ok(count);
    }
    if let Some(count) = insertions::attach_peft(model, &config, &loaded, &path)? {
        return Ok(count);
    }
    let dora = config.get("use_dora").and_then(Value::as_bool).unwrap_or(false);
    let lora_bias = config.get("lora_bias").and_then(Value::as_bool).unwrap_or(false);
    let rslora = config.get("use_rslora").and_then(Value::as_bool).unwrap_or(false);
    let ranks = Patterns::read(&config, "rank_pattern", "r", 8.0).map_err(&refuse)?;
    let alphas = Patterns::read(&config, "alpha_pattern", "lora_alpha", 8.0).map_err(&refuse)?;

    let sites: BTreeMap<String, names::SiteName> =
        names::sites(model.config.as_llama()).into_iter().map(|site| (site.hf.clone(), site)).collect();
    let mut faults = Vec::new();
    let mut pairs = Vec::new();
    for (name, tensor) in &loaded {
        let biased = name.strip_prefix("base_model.model.").and_then(|rest| rest.strip_suffix(BIAS));
        if lora_bias && biased.is_some_and(|module| loaded.contains_key(&key(module, "A"))) {
            continue;
        }
        if dora && magnitude_of(name).is_some_and(|module| loaded.contains_key(&key(module, "A"))) {
            continue;
        }
        let Some((module, factor)) = split_key(name) else {
            faults.push(format!("{name} is no LoRA factor of a linear layer"));
            continue;
        };
        if factor == "B" {
            if !loaded.contains_key(&key(module, "A")) {
                faults.push(format!("{name} has no lora_A beside it"));
            }
            continue;
        }
        let Some(b) = loaded.get(&key(module, "B")) else {
            faults.push(format!("{name} has no lora_B beside it"));
            continue;
        };
        let Some(site) = sites.get(module) else {
            faults.push(format!("the model has no linear layer {module}"));
            continue;
        };
        let magnitude = loaded.get(&format!("base_model.model.{module}{MAGNITUDE}"));
        if dora && magnitude.is_none_or(|magnitude| magnitude.dims() != [site.out_features]) {
            faults.push(format!("{module} has no magnitudes of its {} rows", site.out_features));
            continue;
        }
        let bias = loaded.get(&format!("base_model.model.{module}{BIAS}"));
        if lora_bias && bias.is_none_or(|bias| bias.dims() != [site.out_features]) {
            faults.push(format!("{module} has no bias of its {} outputs", site.out_features));
            continue;
        }
        let rank = tensor.dims().first().copied().unwrap_or(0);
        let fits = tensor.dims() == [rank, site.in_features] && b.dims() == [site.out_features, rank] && rank > 0;
        if !fits {
            faults.push(format!(
                "{module} has factors {:?} and {:?}; its layer takes (r, {}) and ({}, r)",
                tensor.dims(),
                b.dims(),
                site.in_features,
                site.out_features
            ));
        } else if ranks.value(module) as usize != rank {
            faults.push(format!("{module} has rank {rank}; {CONFIG} says {}", ranks.value(module)));
        } else {
            pairs.push((site, rank, tensor, b, magnitude, bias.filter(|_| lora_bias)));
        }
    }
    if pairs.is_empty() && faults.is_empty() {
        faults.push("it holds no tensors".to_owned());
    }
    if !faults.is_empty() {
        return Err(ExportError::Adapter { path, what: faults.join("; ") });
    }
    for (site, rank, a, b, magnitude, bias) in &pairs {
        let alpha = alphas.value(&site.hf);
        let scale = if rslora { Scale::AlphaOverRootRank(alpha) } else { Scale::AlphaOverRank(alpha) };
        let chain = Chain { rank: *rank, b: factor(), core: Core::None, a: factor() };
        let normaliser = match magnitude {
            Some(_) => Normaliser::RowMagnitude(Group { decay: false, ..Group::default() }),
            None => Normaliser::None,
        };
        // PEFT multiplies the bias of B with the scale.
        let bias = match bias {
            Some(bias) => Some(bias.to_dtype(DType::F32)?.affine(scale.value(*rank), 0.0)?),
            None => None,
        };
        // A layer without a bias that is given one of 0 stays without.
        let has_bias = model.site(&site.name).is_some_and(temper_nn::LinearSite::has_bias);
        let bias = match bias {
            Some(bias) if !has_bias && bias.abs()?.max_all()?.to_scalar::<f32>()? == 0.0 => None,
            bias => bias,
        };
        let shift = bias.as_ref().map(|_| factor().without_decay());
        let slots = Slots { delta: Delta::Chain(chain), scale, normaliser, bias: shift, ..Slots::default() };
        attach_layer(model, &site.name, &slots, &path, |role| match role {
            Role::FactorA => Some(*a),
            Role::FactorB => Some(*b),
            Role::Scale => *magnitude,
            Role::Bias => bias.as_ref(),
            _ => None,
        })?;
    }
    Ok(pairs.len())
}

/// The tensors of a file, by name.
pub(crate) fn load_tensors(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let loaded = candle_core::safetensors::load(path, &Device::Cpu)
        .map_err(|error| ExportError::Adapter { path: path.to_path_buf(), what: first_line(&error) })?;
    Ok(loaded.into_iter().collect())
}

/// A trained factor whose values come from a file.
fn factor() -> Factor {
    Factor::trained(Init::Zeros)
}

/// Puts `slots` on a site and gives each of its parameters the values that `values` has for its role.
pub(crate) fn attach_layer<'a>(
    model: &mut Model,
    name: &str,
    slots: &Slots,
    path: &Path,
    values: impl Fn(Role) -> Option<&'a Tensor>,
) -> Result<()> {
    let broken = |what: String| ExportError::Adapter { path: path.to_path_buf(), what };
    let site = model.site_mut(name).ok_or_else(|| broken(format!("the model has no site {name}")))?;
    site.attach(slots, 0)?;
    let adapter = site.adapters().last().ok_or_else(|| broken(format!("{name} took no adapter")))?;
    for param in adapter.params() {
        let values = values(param.role).ok_or_else(|| broken(format!("{} has no values", param.name)))?;
        let values = values.to_dtype(DType::F32)?.reshape(param.var.dims())?.contiguous()?;
        let sum = values.sqr()?.sum_all()?.to_scalar::<f32>()?;
        if !sum.is_finite() {
            return Err(broken(format!("{name} holds numbers that are not finite")));
        }
        param.var.set(&values)?;
    }
    Ok(())
}

pub(crate) fn read_config(folder: &Path) -> Result<Value> {
    let path = folder.join(CONFIG);
    if !path.is_file() && folder.join("adapter_model.bin").is_file() {
        return Err(ExportError::Adapter {
            path: folder.to_path_buf(),
            what: "it is stored as a pickle, which can run any code; save it as safetensors first".to_owned(),
        });
    }
    let text = std::fs::read_to_string(&path).map_err(ExportError::io(&path))?;
    serde_json::from_str(&text).map_err(|error| ExportError::Adapter { path, what: error.to_string() })
}

/// Folders of mlx-lm have a configuration of the same name, which says other things.
fn refuse_mlx(config: &Value, folder: &Path) -> Result<()> {
    if config.get("fine_tune_type").is_none() || config.get("peft_type").is_some() {
        return Ok(());
    }
    Err(ExportError::Refused {
        path: folder.to_path_buf(),
        what: "it is an adapter for mlx-lm, which is written here and not read".to_owned(),
        action: "give the run that it came from, or export that run to peft".to_owned(),
    })
}

/// Settings that change what the tensors mean and that plain LoRA does not have.
pub(crate) fn check_meaning(config: &Value) -> Result<(), String> {
    let kind = text(config, "peft_type");
    let known = || read_peft_types::TYPES.iter().chain(&insertions::PEFT_TYPES).copied();
    if kind != "LORA" && !known().any(|known| known == kind) {
        let known = known().collect::<Vec<_>>().join(", ");
        return Err(format!("its type is {kind:?}; what can be read is LORA, {known}"));
    }
    let is_set = |key: &str| match config.get(key) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(table)) => !table.is_empty(),
        Some(_) => true,
    };
    let foreign = [
        "kasa_config",
        "use_bdlora",
        "alora_invocation_tokens",
        "use_qalora",
        "arrow_config",
        "target_parameters",
        "trainable_token_indices",
        "layer_replication",
        "modules_to_save",
        "fan_in_fan_out",
    ];
    if let Some(key) = foreign.into_iter().find(|key| is_set(key)) {
        return Err(format!("it uses {key}, which plain LoRA does not have"));
    }
    let bias = text(config, "bias");
    if !bias.is_empty() && bias != "none" {
        return Err(format!("it trained biases ({bias}), which plain LoRA does not have"));
    }
    Ok(())
}

/// A default and the patterns above it: the first key that matches the end of a module path wins.
pub(crate) struct Patterns {
    patterns: Vec<(Regex, f64)>,
    default: f64,
}

impl Patterns {
    pub(crate) fn read(config: &Value, patterns: &str, default: &str, absent: f64) -> Result<Self, String> {
        let mut list = Vec::new();
        for (pattern, value) in config.get(patterns).and_then(Value::as_object).into_iter().flatten() {
            let regex = Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$"))
                .map_err(|error| format!("{patterns} has the broken expression {pattern}: {error}"))?;
            let value = value.as_f64().ok_or_else(|| format!("{patterns} has no number for {pattern}"))?;
            list.push((regex, value));
        }
        Ok(Self { patterns: list, default: config.get(default).and_then(Value::as_f64).unwrap_or(absent) })
    }

    pub(crate) fn default(&self) -> f64 {
        self.default
    }

    pub(crate) fn value(&self, module: &str) -> f64 {
        self.patterns.iter().find(|(regex, _)| regex.is_match(module)).map_or(self.default, |(_, value)| *value)
    }
}

/// Ends the name of a bias on the outer factor.
const BIAS: &str = ".lora_B.bias";

/// Ends the name of DoRA's magnitudes.
const MAGNITUDE: &str = ".lora_magnitude_vector";

fn magnitude_of(name: &str) -> Option<&str> {
    name.strip_prefix("base_model.model.")?.strip_suffix(MAGNITUDE)
}

fn split_key(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix("base_model.model.")?;
    let (module, factor) = rest.rsplit_once(".lora_")?;
    match factor {
        "A.weight" => Some((module, "A")),
        "B.weight" => Some((module, "B")),
        _ => None,
    }
}

fn key(module: &str, factor: &str) -> String {
    format!("base_model.model.{module}.lora_{factor}.weight")
}

fn text<'a>(config: &'a Value, key: &str) -> &'a str {
    config.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_split_and_foreign_keys_are_not() {
        assert_eq!(
            split_key("base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"),
            Some(("model.layers.0.mlp.up_proj", "A"))
        );
        assert_eq!(split_key("base_model.model.x.lora_magnitude_vector"), None);
        assert_eq!(split_key("model.x.lora_A.weight"), None);
    }

    #[test]
    fn patterns_match_the_end_of_a_path_and_not_a_longer_number() {
        let config = json!({"r": 8, "rank_pattern": {"layers\\.1\\.q_proj": 4, "down_proj": 6}});
        let ranks = Patterns::read(&config, "rank_pattern", "r", 8.0).unwrap();
        assert!((ranks.value("model.layers.1.q_proj") - 4.0).abs() < 1e-9);
        assert!((ranks.value("model.layers.11.q_proj") - 8.0).abs() < 1e-9);
        assert!((ranks.value("model.layers.3.mlp.down_proj") - 6.0).abs() < 1e-9);
    }

    #[test]
    fn what_plain_lora_does_not_have_is_refused_by_name() {
        for (config, word) in [
            (json!({"peft_type": "OFT"}), "OFT"),
            (json!({"peft_type": "LORA", "use_qalora": true}), "use_qalora"),
            (json!({"peft_type": "LORA", "modules_to_save": ["lm_head"]}), "modules_to_save"),
            (json!({"peft_type": "LORA", "bias": "all"}), "biases"),
        ] {
            assert!(check_meaning(&config).unwrap_err().contains(word), "{config}");
        }
        assert_eq!(check_meaning(&json!({"peft_type": "LORA", "bias": "none", "use_dora": false})), Ok(()));
    }
}
