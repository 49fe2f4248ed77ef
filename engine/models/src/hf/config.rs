//! config.json to [`LlamaConfig`], rotary settings in the form of transformers 5 and in the older one.

use crate::config::{GLOBAL_LAYER, LOCAL_LAYER, LlamaConfig, LocalLayers};
use crate::family::{Family, LocalTraits};
use crate::rope::{KNOWN_SCALINGS, Rope, RopeScaling};
use crate::vision::VisionConfig;
use crate::{ModelError, Result};
use serde_json::Value;
use std::path::Path;

/// Reads the configuration of a model; `path` is only for messages.
///
/// # Errors
/// Unknown architecture, missing or impossible settings, or settings that the graph does not have.
pub fn config_from_hf(json: &Value, path: &Path) -> Result<LlamaConfig> {
    let read = Reader { json, path };
    let class = json.get("architectures").and_then(|all| all.get(0)).and_then(Value::as_str);
    let model_type = json.get("model_type").and_then(Value::as_str);
    if VisionConfig::describes(json) {
        let why = "it tells classes of images, and this needs a model that continues texts";
        let action = "classifiers of images are not trained from project.toml yet: choose a model of texts";
        return Err(ModelError::unsupported(path, why, action));
    }
    let Some(family) = Family::from_hf(class, model_type) else {
        return Err(ModelError::UnknownArchitecture {
            path: path.to_owned(),
            found: class.or(model_type).unwrap_or("(none stated)").to_owned(),
            known: Family::known_hf(),
        });
    };
    read.refuse_other_graphs(family)?;
    let heads = read.required("num_attention_heads")?;
    let hidden_size = read.required("hidden_size")?;
    let context = read.size("max_position_embeddings")?.unwrap_or(family.defaults.context);
    let sliding_window = match json.get("sliding_window") {
        _ if !family.has_sliding_window => None,
        Some(Value::Null) => None,
        Some(_) => read.size("sliding_window")?,
        None => family.defaults.sliding_window,
    };
    let layers = read.required("num_hidden_layers")?;
    let local = family.traits.local.as_ref().map(|traits| read.local(traits, layers, context)).transpose()?;
    let config = LlamaConfig {
        family,
        vocab_size: read.required("vocab_size")?,
        hidden_size,
        intermediate_size: read.required("intermediate_size")?,
        layers,
        heads,
        kv_heads: match json.get("num_key_value_heads") {
            None => family.defaults.kv_heads.unwrap_or(heads),
            Some(_) => read.size("num_key_value_heads")?.unwrap_or(heads),
        },
        head_dim: match read.size("head_dim")?.or(family.defaults.head_dim) {
            Some(head_dim) => head_dim,
            None if heads > 0 && hidden_size.is_multiple_of(heads) => hidden_size / heads,
            None => return Err(read.wrong(format!("{heads} heads do not divide hidden_size {hidden_size}"))),
        },
        rms_eps: read.number(json, "rms_norm_eps")?.unwrap_or(family.defaults.rms_eps),
        rope: read.rope(
            context,
            &RopePlace {
                layers: local.as_ref().map(|_| GLOBAL_LAYER),
                theta_key: "rope_theta",
                default_theta: family.defaults.rope_theta,
                takes_old_scaling: true,
            },
        )?,
        context,
        tied: read.truth("tie_word_embeddings")?.unwrap_or(family.defaults.tied),
        attention_bias: read.truth("attention_bias")?.unwrap_or(false),
        mlp_bias: read.truth("mlp_bias")?.unwrap_or(false),
        sliding_window,
        local,
        query_scalar: match family.defaults.query_scalar {
            None => None,
            Some(default) => Some(read.number(json, "query_pre_attn_scalar")?.unwrap_or(default)),
        },
        bos_token_id: read.tokens("bos_token_id")?.first().copied(),
        eos_token_ids: read.tokens("eos_token_id")?,
        pad_token_id: read.tokens("pad_token_id")?.first().copied(),
    };
    config.check().map_err(|why| read.wrong(why))?;
    Ok(config)
}

/// Where the rotary settings of one kind of layer stand.
struct RopePlace {
    /// Key of the kind within `rope_parameters`, none when all layers are alike.
    layers: Option<&'static str>,
    /// Key of the base in the older form.
    theta_key: &'static str,
    /// Base that an absent one means.
    default_theta: f64,
    /// Whether the older form's `rope_scaling` is about these layers.
    takes_old_scaling: bool,
}

struct Reader<'a> {
    json: &'a Value,
    path: &'a Path,
}

impl Reader<'_> {
    fn wrong(&self, why: impl Into<String>) -> ModelError {
        ModelError::config(self.path, why)
    }

    fn unsupported(&self, why: impl Into<String>, action: &str) -> ModelError {
        ModelError::unsupported(self.path, why, action)
    }

    /// A non-negative whole number; absent and null are none.
    fn size(&self, key: &str) -> Result<Option<usize>> {
        match self.json.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64().and_then(|number| usize::try_from(number).ok()) {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(format!("{key} is {value}, a whole number is needed"))),
            },
        }
    }

    fn required(&self, key: &str) -> Result<usize> {
        self.size(key)?.ok_or_else(|| self.wrong(format!("{key} is missing")))
    }

    fn number(&self, object: &Value, key: &str) -> Result<Option<f64>> {
        match object.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(format!("{key} is {value}, a number is needed"))),
            },
        }
    }

    fn truth(&self, key: &str) -> Result<Option<bool>> {
        match self.json.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(value) => Err(self.wrong(format!("{key} is {value}, true or false is needed"))),
        }
    }

    /// A token id, a list of them, or none. Negative ids, which old files use for "none", count as absent.
    fn tokens(&self, key: &str) -> Result<Vec<u32>> {
        let one = |value: &Value| match value.as_i64() {
            Some(id) if id < 0 => Ok(None),
            Some(id) if u32::try_from(id).is_ok() => Ok(u32::try_from(id).ok()),
            _ => Err(self.wrong(format!("{key} is {value}, a token number is needed"))),
        };
        match self.json.get(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(all)) => {
                Ok(all.iter().map(one).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
            }
            Some(value) => Ok(one(value)?.into_iter().collect()),
        }
    }

    /// Settings under the same class name that mean another graph.
    fn refuse_other_graphs(&self, family: &Family) -> Result<()> {
        let text = |key: &str| self.json.get(key).and_then(Value::as_str);
        let own = family.traits.activation_key;
        let known = family.traits.activation_names;
        if let Some(activation) = text(own).or_else(|| text("hidden_act")).or_else(|| text("hidden_activation"))
            && !known.contains(&activation)
        {
            let usual = known.first().copied().unwrap_or_default();
            return Err(self.unsupported(
                format!("{own} is \"{activation}\", this graph has {usual}"),
                &format!("use a model with {usual}"),
            ));
        }
        for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
            if self.json.get(key).is_some_and(|value| !value.is_null()) {
                return Err(self.unsupported(format!("its logits are capped ({key})"), "use a model without caps"));
            }
        }
        if self.truth("use_bidirectional_attention")? == Some(true) {
            return Err(self.unsupported(
                "its tokens see what comes after them (use_bidirectional_attention)",
                "use a model that continues text",
            ));
        }
        if self.json.get("quantization_config").is_some_and(|value| !value.is_null()) {
            return Err(self.unsupported(
                "its weights are quantised in a form of Python libraries (quantization_config)",
                "use the unquantised model, or a GGUF file of it",
            ));
        }
        if self.json.get("num_local_experts").and_then(Value::as_u64).is_some_and(|experts| experts > 1) {
            return Err(self.unsupported("it is a mixture of experts", "use a dense model"));
        }
        Ok(())
    }

    /// Which layers see a window, from the list of kinds or the older period.
    fn local(&self, traits: &LocalTraits, layers: usize, context: usize) -> Result<LocalLayers> {
        let place = RopePlace {
            layers: Some(LOCAL_LAYER),
            theta_key: "rope_local_base_freq",
            default_theta: traits.rope_theta,
            takes_old_scaling: false,
        };
        let rope = self.rope(context, &place)?;
        let kinds = match self.json.get("layer_types") {
            None | Some(Value::Null) => {
                let period = match self.size("sliding_window_pattern")? {
                    Some(period) => Some(period),
                    None => self.size("_sliding_window_pattern")?,
                };
                let period = period.unwrap_or(traits.period);
                return Ok(LocalLayers { rope, ..LocalLayers::periodic(layers, period, traits.rope_theta) });
            }
            Some(Value::Array(kinds)) => kinds,
            Some(value) => return Err(self.wrong(format!("layer_types is {value}, a list is needed"))),
        };
        let is_local = |kind: &Value| match kind.as_str() {
            Some(LOCAL_LAYER) => Ok(true),
            Some(GLOBAL_LAYER) => Ok(false),
            _ => Err(self.unsupported(
                format!("a layer is of the kind {kind}"),
                &format!("use a model with layers of the kinds {GLOBAL_LAYER} and {LOCAL_LAYER}"),
            )),
        };
        Ok(LocalLayers { is_local: kinds.iter().map(is_local).collect::<Result<_>>()?, rope })
    }

    fn rope(&self, context: usize, place: &RopePlace) -> Result<Rope> {
        let object = |key: &str| match self.json.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) if value.is_object() => Ok(Some(value)),
            Some(value) => Err(self.wrong(format!("{key} is {value}, an object is needed"))),
        };
        // as in the reference, the older key wins when both are there
        let nested = match (object("rope_parameters")?, place.layers) {
            (Some(kinds), Some(kind)) => kinds.get(kind).filter(|settings| settings.is_object()),
            (nested, _) => nested,
        };
        let settings = match object("rope_scaling")?.filter(|_| place.takes_old_scaling) {
            Some(settings) => Some(settings),
            None => nested,
        };
        let empty = Value::Object(serde_json::Map::new());
        let settings = settings.unwrap_or(&empty);
        let theta = match self.number(settings, "rope_theta")? {
            Some(theta) => theta,
            None => match self.number(self.json, place.theta_key)? {
                Some(theta) => theta,
                None => {
                    nested.map_or(Ok(None), |nested| self.number(nested, "rope_theta"))?.unwrap_or(place.default_theta)
                }
            },
        };
        for object in [self.json, settings] {
            if self.number(object, "partial_rotary_factor")?.is_some_and(|share| share != 1.0) {
                return Err(self.unsupported(
                    "only a part of each head is rotated (partial_rotary_factor)",
                    "use a model that rotates whole heads",
                ));
            }
        }
        let kind = settings.get("rope_type").or_else(|| settings.get("type"));
        let kind = kind.and_then(Value::as_str).unwrap_or("default");
        let need = |key: &str| {
            self.number(settings, key)?.ok_or_else(|| self.wrong(format!("rotary scaling {kind} needs {key}")))
        };
        let original = || -> Result<usize> {
            let key = "original_max_position_embeddings";
            if let Some(original) = self.size(key)? {
                return Ok(original);
            }
            match settings.get(key) {
                None | Some(Value::Null) => Ok(context),
                Some(value) => {
                    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
                    number.ok_or_else(|| self.wrong(format!("{key} is {value}, a whole number is needed")))
                }
            }
        };
        let scaling = match kind {
            "default" => RopeScaling::Default,
            "linear" => RopeScaling::Linear { factor: need("factor")? },
            "dynamic" => RopeScaling::Dynamic { factor: need("factor")? },
            "llama3" => RopeScaling::Llama3 {
                factor: need("factor")?,
                low_freq_factor: need("low_freq_factor")?,
                high_freq_factor: need("high_freq_factor")?,
                original_context: original()?,
            },
            "yarn" => {
                let original_context = original()?;
                let grown = || context as f64 / original_context as f64;
                // as in the reference, 0 counts as absent
                let or = |key: &str, default: f64| -> Result<f64> {
                    Ok(self.number(settings, key)?.filter(|&value| value != 0.0).unwrap_or(default))
                };
                RopeScaling::Yarn {
                    factor: self.number(settings, "factor")?.unwrap_or_else(grown),
                    original_context,
                    beta_fast: or("beta_fast", 32.0)?,
                    beta_slow: or("beta_slow", 1.0)?,
                    attention_factor: self.number(settings, "attention_factor")?,
                    mscale: self.number(settings, "mscale")?,
                    mscale_all_dim: self.number(settings, "mscale_all_dim")?,
                    truncate: settings.get("truncate").and_then(Value::as_bool).unwrap_or(true),
                }
            }
            other => {
                return Err(self.unsupported(
                    format!("rotary scaling \"{other}\" is not known"),
                    &format!("use a model with one of: {KNOWN_SCALINGS}"),
                ));
            }
        };
        Ok(Rope { theta, scaling, frequency_factors: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn base() -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"], "vocab_size": 96, "hidden_size": 64, "intermediate_size": 128,
            "num_hidden_layers": 2, "num_attention_heads": 4, "rms_norm_eps": 1e-5, "max_position_embeddings": 64,
        })
    }

    fn with(changes: Value) -> Result<LlamaConfig> {
        let mut json = base();
        for (key, value) in changes.as_object().unwrap() {
            json[key] = value.clone();
        }
        config_from_hf(&json, Path::new("config.json"))
    }

    #[test]
    fn both_forms_of_rotary_settings_mean_the_same() {
        let scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32});
        let mut nested = scaling.clone();
        nested["rope_theta"] = json!(5e5);
        let new = with(json!({"rope_parameters": nested})).unwrap();
        let old = with(json!({"rope_theta": 5e5, "rope_scaling": scaling})).unwrap();
        assert_eq!(new, old);
        assert_eq!(new.rope.theta, 5e5);
        let written = config_from_hf(&new.to_hf_json("float32"), Path::new("config.json")).unwrap();
        assert_eq!(written, new);
        let oldest = with(json!({"rope_scaling": {"type": "linear", "factor": 2}})).unwrap();
        assert_eq!(oldest.rope.scaling, RopeScaling::Linear { factor: 2.0 });
        assert_eq!(oldest.rope.theta, 10_000.0);
    }

    #[test]
    fn every_scaling_survives_being_written() {
        for scaling in [
            json!({"rope_type": "default"}),
            json!({"rope_type": "linear", "factor": 4.0}),
            json!({"rope_type": "dynamic", "factor": 2.0}),
            json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "mscale": 1.0,
                "mscale_all_dim": 0.5, "beta_fast": 4.0, "truncate": false}),
            json!({"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.5}),
        ] {
            let config = with(json!({"rope_scaling": scaling, "eos_token_id": [2, 7]})).unwrap();
            let written = config.to_hf_json("float32");
            assert_eq!(config_from_hf(&written, Path::new("x")).unwrap(), config, "{scaling}");
        }
    }

    #[test]
    fn mistral_has_a_sliding_window_and_defaults_of_its_own() {
        let window = |changes| with(changes).unwrap().sliding_window;
        assert_eq!(window(json!({"architectures": ["MistralForCausalLM"], "num_key_value_heads": 4})), Some(4096));
        let explicit = json!({"architectures": ["MistralForCausalLM"], "num_key_value_heads": 4, "sliding_window": 16});
        assert_eq!(window(explicit), Some(16));
        let none = json!({"architectures": ["MistralForCausalLM"], "num_key_value_heads": 4, "sliding_window": null});
        let config = with(none).unwrap();
        assert_eq!(config.sliding_window, None);
        assert_eq!(config_from_hf(&config.to_hf_json("float32"), Path::new("x")).unwrap(), config);
        assert_eq!(window(json!({"sliding_window": 16})), None, "llama ignores it");
    }

    #[test]
    fn kinds_of_layers_are_read_in_every_form_and_others_are_refused() {
        let gemma = |changes: Value| {
            let mut all = json!({"architectures": ["Gemma3ForCausalLM"], "num_key_value_heads": 2, "head_dim": 32,
                "hidden_activation": "gelu_pytorch_tanh", "num_hidden_layers": 7, "sliding_window": 8});
            all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            with(all)
        };
        let plain = gemma(json!({})).unwrap();
        assert!(plain.tied);
        assert_eq!((plain.window_of(4), plain.window_of(5), plain.window_of(6)), (Some(8), None, Some(8)));
        assert_eq!((plain.rope_of(4).theta, plain.rope_of(5).theta), (10_000.0, 1_000_000.0));
        assert_eq!(plain.attention_scale(), 1.0 / 16.0, "256 where the file does not say it");
        assert_eq!(plain.embedding_scale(), Some(8.0));
        let older = gemma(json!({"sliding_window_pattern": 3, "rope_theta": 5e5, "rope_local_base_freq": 100.0,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "query_pre_attn_scalar": 64}))
        .unwrap();
        assert_eq!(older.local.as_ref().unwrap().is_local, [true, true, false, true, true, false, true]);
        assert_eq!((older.rope_of(0).theta, older.rope_of(2).theta), (100.0, 5e5));
        assert_eq!(older.rope_of(0).scaling, RopeScaling::Default);
        assert_eq!(older.rope_of(2).scaling, RopeScaling::Linear { factor: 8.0 });
        assert_eq!(older.attention_scale(), 0.125);
        assert_eq!(config_from_hf(&older.to_hf_json("float32"), Path::new("x")).unwrap(), older);

        let message = |changes| gemma(changes).unwrap_err().to_string();
        assert!(message(json!({"final_logit_softcapping": 30.0})).contains("final_logit_softcapping"));
        assert!(message(json!({"attn_logit_softcapping": 50.0})).contains("attn_logit_softcapping"));
        assert!(message(json!({"use_bidirectional_attention": true})).contains("use_bidirectional_attention"));
        assert!(message(json!({"hidden_activation": "silu"})).contains("gelu_pytorch_tanh"));
        assert!(message(json!({"layer_types": ["linear_attention"]})).contains("linear_attention"));
        assert!(message(json!({"layer_types": ["full_attention"]})).contains("1 entries for 7"));
        assert!(message(json!({"sliding_window": null})).contains("no sliding_window"));
        assert!(message(json!({"query_pre_attn_scalar": -1})).contains("query_pre_attn_scalar"));
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_the_reason() {
        let message = |changes| with(changes).unwrap_err().to_string();
        let unknown = message(json!({"architectures": ["RwkvForCausalLM"]}));
        assert!(unknown.contains("RwkvForCausalLM") && unknown.contains("LlamaForCausalLM"), "{unknown}");
        assert!(message(json!({"rope_scaling": {"rope_type": "longrope"}})).contains("longrope"));
        assert!(message(json!({"hidden_act": "gelu"})).contains("gelu"));
        assert!(message(json!({"quantization_config": {"bits": 4}})).contains("quantised"));
        assert!(message(json!({"hidden_size": null})).contains("hidden_size is missing"));
        assert!(message(json!({"hidden_size": "64"})).contains("hidden_size"));
        assert!(message(json!({"num_key_value_heads": 3})).contains("3 key/value heads"));
        assert!(message(json!({"num_attention_heads": 5})).contains("5 heads"));
        assert!(message(json!({"num_attention_heads": 0})).contains("0 heads"));
        assert!(message(json!({"rope_theta": -1.0})).contains("rope_theta"));
        assert!(message(json!({"rope_scaling": {"rope_type": "linear"}})).contains("factor"));
        assert!(message(json!({"vocab_size": u64::MAX})).contains("vocab_size"));
    }
}
