//! Method and settings of an adapter folder, so that it can be trained on, and its values as a start.
//!
//! Place in the data flow: a run that starts from a folder of Hugging Face's PEFT gets its method from [`method_of`]; once
//! that is on the model, the trainer carries over the values of the adapter beside it, or has them filled in by [`fill`]. Where no method here has the structure of a folder,
//! the reason is said.

use crate::error::{ExportError, Result};
use crate::peft::{CONFIG, TENSORS};
use crate::read_peft::{Patterns, check_meaning, read_config};
use crate::{insertions, read_peft, read_peft_types};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use temper_models::Model;
use temper_protocol::{Value, Values};

/// What PEFT's AdaLoRA adds to the number of directions before it divides by it.
const ADALORA_DIVISOR: f64 = 1e-5;

/// Id and settings of the method that has the structure of the adapter in `folder`. Layers are named one by one.
///
/// # Errors
/// [`ExportError::Refused`] for an adapter that no method here has the structure of, [`ExportError::Adapter`] for a
/// damaged one.
pub fn method_of(folder: &Path) -> Result<(String, Values)> {
    if insertions::is_native(folder) {
        let what = "a folder in Temper's own format holds what was trained, not the settings that it was trained with";
        let action = "train on from the run that made it: --from run:NUMBER";
        let path = folder.join(insertions::CONFIG);
        return Err(ExportError::Refused { path, what: what.to_owned(), action: action.to_owned() });
    }
    let config = read_config(folder)?;
    let broken = |what: String| ExportError::Adapter { path: folder.join(CONFIG), what };
    check_meaning(&config).map_err(&broken)?;
    let tensors = folder.join(TENSORS);
    let shapes = shapes(&tensors)?;
    let file = File { path: tensors, config, shapes };
    let (id, values) = match file.text("peft_type") {
        "LORA" => file.lora(),
        "ADALORA" => file.adalora(),
        "IA3" => file.ia3(),
        "BEFT" => file.beft(),
        "VERA" => file.vera(),
        "LOHA" => file.loha(),
        "LOKR" => file.lokr(),
        "MISS" => file.miss(),
        "LN_TUNING" => file.norms(),
        "PREFIX_TUNING" => file.prompts("prefix", "prefix_length", ("net_width", Value::Integer(0))),
        "PROMPT_TUNING" => file.prompts("prompt", "prompt_length", ("start", Value::Text("normal".to_owned()))),
        other => Err(file.refuse(format!("no method here has the structure of PEFT's {other}"))),
    }?;
    let values = values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Ok((id.to_owned(), Values(values)))
}

/// Whether the values of a folder are filled into what the method put on the model ([`fill`]), and not carried over from an
/// adapter beside it.
///
/// # Errors
/// A folder without a readable configuration.
pub fn fills(folder: &Path) -> Result<bool> {
    let config = read_config(folder)?;
    let kind = config.get("peft_type").and_then(Json::as_str).unwrap_or_default();
    Ok(insertions::PEFT_TYPES.contains(&kind) || matches!(kind, "LN_TUNING" | "VERA"))
}

/// Gives what the method of [`method_of`] trains on a model the values of the adapter in `folder`: prompts and prefixes,
/// norms, and layers whose shared matrices are the file's.
///
/// # Errors
/// [`ExportError::Adapter`] for a folder that does not fit the model or what is on it.
pub fn fill(model: &mut Model, folder: &Path) -> Result<()> {
    let config = read_config(folder)?;
    let kind = config.get("peft_type").and_then(Json::as_str).unwrap_or_default();
    let path = folder.join(TENSORS);
    let loaded = read_peft::load_tensors(&path)?;
    match kind {
        "LN_TUNING" => read_peft_types::refill_norms(model, &loaded, &path),
        "VERA" => read_peft_types::refill_vera(model, &loaded, &path),
        _ => insertions::refill(model, &config, &loaded, &path),
    }
}

/// Shapes of the tensors of a file, by name.
fn shapes(path: &Path) -> Result<BTreeMap<String, Vec<usize>>> {
    let broken = |what: String| ExportError::Adapter { path: path.to_path_buf(), what };
    let bytes = std::fs::read(path).map_err(ExportError::io(path))?;
    let tensors = safetensors::SafeTensors::deserialize(&bytes).map_err(|error| broken(error.to_string()))?;
    Ok(tensors.iter().map(|(name, view)| (name.to_owned(), view.shape().to_vec())).collect())
}

/// A method and its settings, or why there is none.
type Found = Result<(&'static str, Vec<(&'static str, Value)>)>;

/// An adapter folder.
struct File {
    path: PathBuf,
    config: Json,
    shapes: BTreeMap<String, Vec<usize>>,
}

impl File {
    fn text(&self, key: &str) -> &str {
        self.config.get(key).and_then(Json::as_str).unwrap_or_default()
    }

    fn flag(&self, key: &str) -> bool {
        self.config.get(key).and_then(Json::as_bool).unwrap_or(false)
    }

    fn number(&self, key: &str, absent: f64) -> f64 {
        self.config.get(key).and_then(Json::as_f64).unwrap_or(absent)
    }

    fn refuse(&self, what: String) -> ExportError {
        let action = "train on from the run that made it, or lay it beneath a new one: model.adapters";
        ExportError::Refused { path: self.path.with_file_name(CONFIG), what, action: action.to_owned() }
    }

    fn broken(&self, what: String) -> ExportError {
        ExportError::Adapter { path: self.path.clone(), what }
    }

    fn patterns(&self, patterns: &str, default: &str) -> Result<Patterns> {
        Patterns::read(&self.config, patterns, default, 8.0)
            .map_err(|what| ExportError::Adapter { path: self.path.with_file_name(CONFIG), what })
    }

    /// Paths and shapes of the modules with a tensor whose name ends so, in order.
    fn ending(&self, ending: &str) -> BTreeMap<String, &[usize]> {
        let module = |name: &str| name.strip_prefix("base_model.model.")?.strip_suffix(ending).map(str::to_owned);
        self.shapes.iter().filter_map(|(name, shape)| Some((module(name)?, shape.as_slice()))).collect()
    }

    /// The modules that are adapted, as the setting `targets`.
    fn targets(&self, modules: impl IntoIterator<Item = String>) -> Result<(&'static str, Value)> {
        let modules: Vec<String> = modules.into_iter().collect();
        if modules.is_empty() {
            let kind = self.text("peft_type");
            return Err(self.broken(format!("it holds no tensors of {kind} for linear layers")));
        }
        Ok(("targets", Value::List(modules)))
    }

    /// The one value that `of` has for all modules.
    fn same<T: PartialEq + Copy>(&self, what: &str, of: impl IntoIterator<Item = T>) -> Result<T> {
        let mut all = of.into_iter();
        let first = all.next().ok_or_else(|| self.broken("it holds no tensors of linear layers".to_owned()))?;
        if all.any(|other| other != first) {
            let kind = self.text("peft_type");
            let what =
                format!("{what} differs between its layers, and no method here of the structure of {kind} has that");
            return Err(self.refuse(what));
        }
        Ok(first)
    }

    fn lora(&self) -> Found {
        if self.flag("lora_bias") {
            return Err(self.refuse("it has biases on its outer factors, which no method here trains".to_owned()));
        }
        let ranks = self.patterns("rank_pattern", "r")?;
        let alphas = self.patterns("alpha_pattern", "lora_alpha")?;
        let modules: Vec<String> = self.ending(".lora_A.weight").into_keys().collect();
        let id = if self.flag("use_dora") { "dora" } else { "lora" };
        let mut values = vec![
            self.targets(modules.clone())?,
            ("rank", Value::Integer(ranks.default() as i64)),
            ("alpha", Value::Number(alphas.default())),
        ];
        if self.flag("use_rslora") {
            if id == "dora" {
                let what = "it has both use_dora and use_rslora, which no method here trains together";
                return Err(self.refuse(what.to_owned()));
            }
            values.push(("rslora", Value::Flag(true)));
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
                let what = format!("it has both use_dora and {key}, which no method here trains together");
                return Err(self.refuse(what));
            }
            values.push((key, Value::Table(own)));
        }
        Ok((id, values))
    }

    /// All directions of the file go on; as many as its configuration says may stay in the end.
    fn adalora(&self) -> Found {
        let layers = self.ending(".lora_A");
        let rank = self.same("the number of directions", layers.values().map(|shape| shape.first().copied()))?;
        let rank = rank.unwrap_or(0);
        let start = self.number("init_r", 12.0);
        // The divisor is that of the start, also where directions have left since.
        let alpha = self.number("lora_alpha", 8.0) * (rank as f64 + ADALORA_DIVISOR) / (start + ADALORA_DIVISOR);
        let stay = self.number("target_r", 8.0).clamp(1.0, rank.max(1) as f64);
        let values = vec![
            self.targets(layers.into_keys())?,
            ("init_rank", Value::Integer(rank as i64)),
            ("rank", Value::Integer(stay as i64)),
            ("alpha", Value::Number(alpha)),
        ];
        Ok(("adalora", values))
    }

    fn ia3(&self) -> Found {
        let layers = self.ending(".ia3_l");
        // (1, in) where inputs are scaled, (out, 1) where outputs are.
        let at_input = layers.iter().filter(|(_, shape)| matches!(shape, [1, _])).map(|(module, _)| module.clone());
        let at_input: Vec<String> = at_input.collect();
        Ok(("ia3", vec![self.targets(layers.into_keys())?, ("feedforward", Value::List(at_input))]))
    }

    fn beft(&self) -> Found {
        let layers = self.ending(".beft_bias");
        Ok(("bitfit", vec![self.targets(layers.into_keys())?, ("create", Value::Flag(true))]))
    }

    fn vera(&self) -> Found {
        let layers = self.ending(".vera_lambda_d");
        let rank = self.same("the rank", layers.values().map(|shape| shape.first().copied()))?.unwrap_or(0);
        if !self.shapes.contains_key("base_model.vera_A") {
            let what = "base_model.vera_A is missing: save the adapter with its projections";
            return Err(self.broken(what.to_owned()));
        }
        Ok(("vera", vec![self.targets(layers.into_keys())?, ("rank", Value::Integer(rank as i64))]))
    }

    /// Rank and alpha of a type that has one of each for all layers.
    fn one_rank(&self, modules: &[String]) -> Result<[(&'static str, Value); 2]> {
        let ranks = self.patterns("rank_pattern", "r")?;
        let alphas = self.patterns("alpha_pattern", "alpha")?;
        let rank = self.same("the rank", modules.iter().map(|module| ranks.value(module)))?;
        let alpha = self.same("alpha", modules.iter().map(|module| alphas.value(module)))?;
        Ok([("rank", Value::Integer(rank as i64)), ("alpha", Value::Number(alpha))])
    }

    fn loha(&self) -> Found {
        let modules: Vec<String> = self.ending(".hada_w1_a").into_keys().collect();
        let mut values = vec![self.targets(modules.clone())?];
        values.extend(self.one_rank(&modules)?);
        Ok(("loha", values))
    }

    fn lokr(&self) -> Found {
        let whole = self.ending(".lokr_w1").into_keys();
        let modules: BTreeSet<String> = whole.chain(self.ending(".lokr_w1_a").into_keys()).collect();
        let modules: Vec<String> = modules.into_iter().collect();
        // A layer whose sides are both whole has no rank of its own: its entry only makes up the scale.
        let thin = self.ending(".lokr_w1_b").into_values().chain(self.ending(".lokr_w2_b").into_values());
        let thin: Vec<f64> = thin.filter_map(|shape| shape.first().map(|rank| *rank as f64)).collect();
        let ranks = self.patterns("rank_pattern", "r")?;
        let alphas = self.patterns("alpha_pattern", "alpha")?;
        let rank = if thin.is_empty() {
            modules.iter().map(|module| ranks.value(module)).fold(1.0, f64::max)
        } else {
            self.same("the rank", thin)?
        };
        let scale = |module: &String| (alphas.value(module) / ranks.value(module)) as f32;
        let scale = self.same("the scale", modules.iter().map(scale))?;
        let mut values = vec![
            self.targets(modules)?,
            ("rank", Value::Integer(rank as i64)),
            ("alpha", Value::Number(f64::from(scale) * rank)),
        ];
        values.push(("decompose_factor", Value::Integer(self.number("decompose_factor", -1.0) as i64)));
        values.push(("decompose_both", Value::Flag(self.flag("decompose_both"))));
        Ok(("lokr", values))
    }

    fn miss(&self) -> Found {
        let layers = self.ending(".miss_block");
        let is_bat = self.text("init_weights") == "bat";
        let size = |shape: &&[usize]| if is_bat { shape.get(1).copied() } else { shape.first().copied() };
        // Narrow layers take less than is asked for.
        let rank = layers.values().filter_map(size).max().unwrap_or(0);
        let values = vec![self.targets(layers.into_keys())?, ("rank", Value::Integer(rank as i64))];
        Ok((if is_bat { "bat" } else { "miss" }, values))
    }

    fn norms(&self) -> Found {
        let modules = self.ending(".ln_tuning_layers.weight");
        let block =
            |module: &str| -> Option<usize> { module.split(".layers.").nth(1)?.split('.').next()?.parse().ok() };
        let blocks: BTreeSet<usize> = modules.keys().filter_map(|module| block(module)).collect();
        if blocks.is_empty() {
            return Err(self
                .refuse("it trains no norm inside a block, and no method here trains the last one alone".to_owned()));
        }
        let last = modules.keys().any(|module| block(module).is_none());
        let blocks = blocks.iter().map(ToString::to_string).collect();
        Ok(("ln", vec![("layers", Value::List(blocks)), ("train_final", Value::Flag(last))]))
    }

    fn prompts(&self, id: &'static str, length: &'static str, other: (&'static str, Value)) -> Found {
        let tokens = self.config.get("num_virtual_tokens").and_then(Json::as_i64).unwrap_or(0);
        Ok((id, vec![(length, Value::Integer(tokens)), other]))
    }
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
            (r#"{"peft_type": "VERA"}"#, "no tensors"),
            (r#"{"peft_type": "LORA", "lora_bias": true}"#, "biases"),
            (r#"{"peft_type": "LORA", "use_dora": true, "use_rslora": true}"#, "use_rslora"),
            (r#"{"peft_type": "LORA", "use_dora": true, "rank_pattern": {"q_proj": 2}}"#, "rank_pattern"),
            (r#"{"peft_type": "LN_TUNING"}"#, "no norm"),
            (r#"{"peft_type": "OFT"}"#, "OFT"),
        ] {
            let error = method_of(folder(config).path()).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn directions_that_left_stay_in_the_scale_and_layers_may_not_differ() {
        let with = |ranks: [usize; 2]| {
            let folder = folder(r#"{"peft_type": "ADALORA", "init_r": 12, "target_r": 4, "lora_alpha": 24}"#);
            let tensor = |rank: usize| {
                candle_core::Tensor::zeros((rank, 8), candle_core::DType::F32, &candle_core::Device::Cpu)
                    .expect("tensor")
            };
            let named =
                |at: usize| (format!("base_model.model.model.layers.{at}.mlp.up_proj.lora_A"), tensor(ranks[at]));
            let tensors = HashMap::from([named(0), named(1)]);
            candle_core::safetensors::save(&tensors, folder.path().join(TENSORS)).expect("tensors");
            method_of(folder.path())
        };
        let (id, values) = with([6, 6]).expect("a method");
        assert_eq!((id.as_str(), values.integer("init_rank"), values.integer("rank")), ("adalora", 6, 4));
        let scale = values.number("alpha") / (6.0 + ADALORA_DIVISOR);
        assert!((scale - 24.0 / (12.0 + ADALORA_DIVISOR)).abs() < 1e-12, "{scale}");
        let error = with([6, 5]).expect_err("differ").to_string();
        assert!(error.contains("number of directions differs"), "{error}");
    }
}
