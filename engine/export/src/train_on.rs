//! Method and settings of an adapter folder, so that it can be trained on.
//!
//! Place in the data flow: a run that starts from a folder of Hugging Face's PEFT gets its method from here and its values
//! from [`crate::read_peft::attach`].

use crate::error::{ExportError, Result};
use crate::peft::{CONFIG, TENSORS};
use crate::read_peft::{Patterns, check_meaning, read_config};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::Path;
use temper_protocol::{Value, Values};

/// Id and settings of the method that has the structure of the adapter in `folder`: `lora`, or `dora` where it trains
/// magnitudes. Layers, ranks and scales are named one by one.
///
/// # Errors
/// [`ExportError::Adapter`] for an adapter of another type or with parts that no method here trains.
pub fn method_of(folder: &Path) -> Result<(String, Values)> {
    let path = folder.join(CONFIG);
    let refuse = |what: String| ExportError::Adapter { path: path.clone(), what };
    let config = read_config(folder)?;
    check_meaning(&config).map_err(&refuse)?;
    let kind = config.get("peft_type").and_then(Json::as_str).unwrap_or_default();
    if kind != "LORA" {
        return Err(refuse(format!(
            "its type is {kind}: what can be trained on is LORA; of others take the run that made it"
        )));
    }
    let is = |key: &str| config.get(key).and_then(Json::as_bool).unwrap_or(false);
    if is("lora_bias") {
        return Err(refuse("it has biases on its outer factors, which no method here trains".to_owned()));
    }
    let ranks = Patterns::read(&config, "rank_pattern", "r", 8.0).map_err(&refuse)?;
    let alphas = Patterns::read(&config, "alpha_pattern", "lora_alpha", 8.0).map_err(&refuse)?;
    let modules = modules(&folder.join(TENSORS))?;
    let mut values = BTreeMap::new();
    let mut set = |key: &str, value: Value| {
        values.insert(key.to_owned(), value);
    };
    set("targets", Value::List(modules.clone()));
    set("rank", Value::Integer(ranks.default() as i64));
    set("alpha", Value::Number(alphas.default()));
    let id = if is("use_dora") { "dora" } else { "lora" };
    if is("use_rslora") {
        if id == "dora" {
            return Err(refuse("it has both use_dora and use_rslora, which no method here trains together".to_owned()));
        }
        set("rslora", Value::Flag(true));
    }
    for (key, patterns) in [("rank_pattern", &ranks), ("alpha_pattern", &alphas)] {
        let own: BTreeMap<String, f64> = modules
            .iter()
            .map(|module| (module, patterns.value(module)))
            .filter(|(_, value)| *value != patterns.default())
            .map(|(module, value)| (regex::escape(module), value))
            .collect();
        if own.is_empty() {
            continue;
        }
        if id == "dora" {
            return Err(refuse(format!("it has both use_dora and {key}, which no method here trains together")));
        }
        set(key, Value::Table(own));
    }
    Ok((id.to_owned(), Values(values)))
}

/// Module paths with a factor, in order.
fn modules(path: &Path) -> Result<Vec<String>> {
    let broken = |what: String| ExportError::Adapter { path: path.to_path_buf(), what };
    let bytes = std::fs::read(path).map_err(ExportError::io(path))?;
    let tensors = safetensors::SafeTensors::deserialize(&bytes).map_err(|error| broken(error.to_string()))?;
    let module = |name: &str| {
        name.strip_prefix("base_model.model.").and_then(|rest| rest.strip_suffix(".lora_A.weight")).map(str::to_owned)
    };
    let mut modules: Vec<String> = tensors.names().into_iter().filter_map(module).collect();
    modules.sort();
    if modules.is_empty() {
        return Err(broken("it holds no LoRA factors of linear layers".to_owned()));
    }
    Ok(modules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn folder(config: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join(CONFIG), config).expect("config");
        let tensor =
            candle_core::Tensor::zeros((2, 4), candle_core::DType::F32, &candle_core::Device::Cpu).expect("tensor");
        let name = |module: &str| format!("base_model.model.model.layers.0.self_attn.{module}.lora_A.weight");
        let tensors = HashMap::from([(name("q_proj"), tensor.clone()), (name("v_proj"), tensor)]);
        candle_core::safetensors::save(&tensors, folder.path().join(TENSORS)).expect("tensors");
        folder
    }

    #[test]
    fn settings_name_every_layer_and_what_differs() {
        let folder = folder(
            r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_rslora": true, "rank_pattern": {"q_proj": 2}}"#,
        );
        let (id, values) = method_of(folder.path()).expect("a method");
        assert_eq!(id, "lora");
        let q = "model.layers.0.self_attn.q_proj";
        assert_eq!(values.list("targets"), [q, "model.layers.0.self_attn.v_proj"]);
        assert_eq!((values.integer("rank"), values.number("alpha"), values.flag("rslora")), (4, 8.0, true));
        assert_eq!(values.table("rank_pattern"), BTreeMap::from([(regex::escape(q), 2.0)]));
        assert!(values.table("alpha_pattern").is_empty());
    }

    #[test]
    fn what_no_method_here_trains_is_refused_with_its_reason() {
        for (config, reason) in [
            (r#"{"peft_type": "VERA"}"#, "VERA"),
            (r#"{"peft_type": "LORA", "lora_bias": true}"#, "biases"),
            (r#"{"peft_type": "LORA", "use_dora": true, "use_rslora": true}"#, "use_rslora"),
            (r#"{"peft_type": "LORA", "use_dora": true, "rank_pattern": {"q_proj": 2}}"#, "rank_pattern"),
        ] {
            let error = method_of(folder(config).path()).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
