//! The PEFT adapter folder: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! The configuration says the truth in the fewest keys: what holds its default is left out, because older
//! readers fail on keys they do not know. Ranks and alphas that differ between modules go into patterns
//! with full, escaped module paths, which cannot overlap: the file's keys are sorted, so their order is
//! lost.

use crate::change::LowRankChange;
use crate::error::Result;
use crate::tensors::LazyTensor;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use temper_protocol::StorageType;

/// Name of the configuration file.
pub(crate) const CONFIG: &str = "adapter_config.json";
/// Name of the tensor file.
pub(crate) const TENSORS: &str = "adapter_model.safetensors";

/// The configuration for `changes`. `all_modules` are the module paths of every linear site of the model;
/// `base` is the name of the base model, not its path.
#[must_use]
pub(crate) fn config(changes: &[LowRankChange], all_modules: &[String], base: &str, dropout: f64) -> Value {
    let scaling = Scaling::of(changes);
    let rank = most_common(changes.iter().map(|change| change.rank as u64)).unwrap_or(8) as usize;
    let alphas: Vec<f64> = changes.iter().map(|change| scaling.alpha(change)).collect();
    let common_alpha =
        changes.iter().zip(&alphas).find(|(change, _)| change.rank == rank).map_or(rank as f64, |(_, alpha)| *alpha);
    let mut rank_pattern = Map::new();
    let mut alpha_pattern = Map::new();
    for (change, alpha) in changes.iter().zip(&alphas) {
        if change.rank != rank {
            rank_pattern.insert(escape(&change.hf), json!(change.rank));
        }
        if (alpha - common_alpha).abs() > 1e-12 * common_alpha.abs() {
            alpha_pattern.insert(escape(&change.hf), number(*alpha));
        }
    }
    let mut config = BTreeMap::from([
        ("base_model_name_or_path", json!(base)),
        ("bias", json!("none")),
        ("inference_mode", json!(true)),
        ("lora_alpha", number(common_alpha)),
        ("peft_type", json!("LORA")),
        ("r", json!(rank)),
        ("target_modules", json!(target_modules(changes, all_modules))),
        ("task_type", json!("CAUSAL_LM")),
    ]);
    if dropout > 0.0 {
        config.insert("lora_dropout", json!(dropout));
    }
    if scaling == Scaling::RootRank {
        config.insert("use_rslora", json!(true));
    }
    if !rank_pattern.is_empty() {
        config.insert("rank_pattern", Value::Object(rank_pattern));
    }
    if !alpha_pattern.is_empty() {
        config.insert("alpha_pattern", Value::Object(alpha_pattern));
    }
    Value::Object(config.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// The tensors of the folder, f32.
#[must_use]
pub(crate) fn tensors(changes: &[LowRankChange]) -> Vec<LazyTensor<'_>> {
    changes
        .iter()
        .flat_map(|change| {
            let name = |factor: &str| format!("base_model.model.{}.lora_{factor}.weight", change.hf);
            [
                LazyTensor {
                    name: name("A"),
                    shape: vec![change.rank, change.in_features],
                    dtype: StorageType::F32,
                    compute: Box::new(|| Result::Ok(change.a.clone())),
                },
                LazyTensor {
                    name: name("B"),
                    shape: vec![change.out_features, change.rank],
                    dtype: StorageType::F32,
                    compute: Box::new(|| Result::Ok(change.b.clone())),
                },
            ]
        })
        .collect()
}

/// How the scale follows from alpha and rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scaling {
    /// `alpha / r`.
    Rank,
    /// `alpha / √r`.
    RootRank,
}

impl Scaling {
    /// Root-rank only when every module says so and the plain rule does not hold as well.
    fn of(changes: &[LowRankChange]) -> Self {
        let close = |change: &LowRankChange, scale: f64| (change.scale - scale).abs() <= 1e-9 * scale.abs();
        let plain = changes.iter().all(|change| close(change, change.alpha / change.rank as f64));
        let root = changes.iter().all(|change| close(change, change.alpha / (change.rank as f64).sqrt()));
        if root && !plain { Self::RootRank } else { Self::Rank }
    }

    /// The alpha that gives the module's scale under this rule, whatever its method named.
    fn alpha(self, change: &LowRankChange) -> f64 {
        let rank = change.rank as f64;
        match self {
            Self::Rank => change.scale * rank,
            Self::RootRank => change.scale * rank.sqrt(),
        }
    }
}

/// Suffixes such as `q_proj` where every module with that ending is adapted, full paths elsewhere.
fn target_modules(changes: &[LowRankChange], all_modules: &[String]) -> Vec<String> {
    let adapted: Vec<&str> = changes.iter().map(|change| change.hf.as_str()).collect();
    let mut targets = Vec::new();
    for module in &adapted {
        let suffix = module.rsplit('.').next().unwrap_or(module);
        let ending = format!(".{suffix}");
        let complete =
            all_modules.iter().filter(|name| name.ends_with(&ending)).all(|name| adapted.contains(&name.as_str()));
        let target = if complete { suffix } else { module };
        if !targets.iter().any(|known| known == target) {
            targets.push(target.to_owned());
        }
    }
    targets.sort();
    targets
}

pub(crate) fn escape(module: &str) -> String {
    module.replace('.', "\\.")
}

/// Whole numbers are written as such.
pub(crate) fn number(value: f64) -> Value {
    let rounded = value.round();
    if (value - rounded).abs() < 1e-9 * value.abs().max(1.0) { json!(rounded as i64) } else { json!(value) }
}

pub(crate) fn most_common(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_insert(0usize) += 1;
    }
    counts.into_iter().max_by_key(|(value, count)| (*count, *value)).map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(hf: &str, rank: usize, scale: f64, alpha: f64) -> LowRankChange {
        LowRankChange {
            hf: hf.to_owned(),
            gguf: String::new(),
            gguf_rows: None,
            out_features: 2,
            in_features: 2,
            rank,
            a: vec![0.0; rank * 2],
            b: vec![0.0; rank * 2],
            scale,
            alpha,
        }
    }

    fn modules() -> Vec<String> {
        (0..12)
            .flat_map(|layer| ["q_proj", "v_proj"].map(|name| format!("model.layers.{layer}.self_attn.{name}")))
            .collect()
    }

    #[test]
    fn a_uniform_adapter_needs_no_pattern_and_names_suffixes() {
        let changes: Vec<_> = modules().iter().map(|name| change(name, 8, 2.0, 16.0)).collect();
        let config = config(&changes, &modules(), "base", 0.0);
        assert_eq!(config["target_modules"], json!(["q_proj", "v_proj"]));
        assert_eq!((&config["r"], &config["lora_alpha"]), (&json!(8), &json!(16)));
        for absent in ["rank_pattern", "alpha_pattern", "use_rslora", "lora_dropout"] {
            assert!(config.get(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn other_ranks_and_scales_get_full_escaped_patterns() {
        let mut changes: Vec<_> = modules().iter().map(|name| change(name, 8, 2.0, 16.0)).collect();
        changes[2] = change("model.layers.1.self_attn.q_proj", 4, 2.0, 8.0);
        changes[5] = change("model.layers.2.self_attn.v_proj", 8, 1.0, 8.0);
        let config = config(&changes, &modules(), "base", 0.1);
        assert_eq!(config["rank_pattern"], json!({"model\\.layers\\.1\\.self_attn\\.q_proj": 4}));
        assert_eq!(
            config["alpha_pattern"],
            json!({"model\\.layers\\.1\\.self_attn\\.q_proj": 8, "model\\.layers\\.2\\.self_attn\\.v_proj": 8})
        );
        assert_eq!(config["lora_dropout"], json!(0.1));
    }

    #[test]
    fn rank_stabilised_scaling_is_told_apart_and_partial_targets_are_spelled_out() {
        let changes = vec![change("model.layers.3.self_attn.q_proj", 16, 8.0, 32.0)];
        let config = config(&changes, &modules(), "base", 0.0);
        assert_eq!(config["use_rslora"], json!(true));
        assert_eq!(config["lora_alpha"], json!(32));
        assert_eq!(config["target_modules"], json!(["model.layers.3.self_attn.q_proj"]));
        let keys: Vec<_> = config.as_object().unwrap().keys().cloned().collect();
        let mut sorted = keys.clone();
        sorted.sort();
        assert_eq!(keys, sorted);
    }
}
