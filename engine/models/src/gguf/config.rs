//! Metadata of a llama-type file to [`LlamaConfig`] and back.

use super::{Array, GgufFile, Value};
use crate::config::{LlamaConfig, LocalLayers};
use crate::family::{Family, LocalTraits, MISTRAL};
use crate::rope::{Rope, RopeScaling};
use crate::{ModelError, Result};

/// Reads the configuration of a model.
///
/// # Errors
/// Unknown architecture, missing or impossible settings, or settings that the graph does not have.
pub fn config_from_gguf(file: &GgufFile) -> Result<LlamaConfig> {
    let path = file.path();
    let Some(architecture) = file.get_string("general.architecture")? else {
        return Err(ModelError::config(path, "metadata general.architecture is missing"));
    };
    if file.get_string("general.type")?.is_some_and(|kind| kind == "adapter") {
        return Err(ModelError::not_a_model(path, "it holds an adapter, not a model"));
    }
    let Some(mut family) = Family::from_gguf(&architecture) else {
        return Err(ModelError::UnknownArchitecture {
            path: path.to_owned(),
            found: architecture,
            known: Family::known_gguf(),
        });
    };
    refuse_other_graphs(file, &architecture)?;
    let key = |suffix: &str| format!("{architecture}.{suffix}");
    let need = |suffix: &str| {
        file.get_usize(&key(suffix))?
            .ok_or_else(|| ModelError::config(path, format!("metadata {} is missing", key(suffix))))
    };
    let heads = need("attention.head_count")?;
    let hidden_size = need("embedding_length")?;
    let head_dim = match file.get_usize(&key("attention.key_length"))? {
        Some(width) => width,
        None if heads > 0 && hidden_size.is_multiple_of(heads) => hidden_size / heads,
        None => return Err(ModelError::config(path, format!("{heads} heads do not divide {hidden_size}"))),
    };
    if let Some(width) = file.get_usize(&key("attention.value_length"))?
        && width != head_dim
    {
        return Err(ModelError::unsupported(
            path,
            format!("keys have {head_dim} and values {width} features per head"),
            "use a model in which both are equal",
        ));
    }
    if let Some(rotated) = file.get_usize(&key("rope.dimension_count"))?
        && rotated != head_dim
    {
        return Err(ModelError::unsupported(
            path,
            format!("only {rotated} of {head_dim} features of each head are rotated"),
            "use a model that rotates whole heads",
        ));
    }
    let Some(embedding) = file.tensor("token_embd.weight") else {
        return Err(ModelError::Tensors {
            path: path.to_owned(),
            problems: vec!["token_embd.weight is missing".to_owned()],
        });
    };
    let sliding_window = file.get_usize(&key("attention.sliding_window"))?.filter(|&window| window > 0);
    // files of Mistral state llama and a window
    if sliding_window.is_some() && !family.has_sliding_window {
        family = &MISTRAL;
    }
    let layers = need("block_count")?;
    let local = family.traits.local.as_ref().map(|traits| local(file, &architecture, traits, layers)).transpose()?;
    let block_has = |name: &str| file.tensor(&format!("blk.0.{name}.bias")).is_some();
    let config = LlamaConfig {
        family,
        vocab_size: embedding.shape().first().copied().unwrap_or(0),
        hidden_size,
        intermediate_size: need("feed_forward_length")?,
        layers,
        heads,
        kv_heads: file.get_usize(&key("attention.head_count_kv"))?.unwrap_or(heads),
        head_dim,
        rms_eps: match file.get_f64(&key("attention.layer_norm_rms_epsilon"))? {
            Some(eps) => shortest(eps),
            None => {
                let key = key("attention.layer_norm_rms_epsilon");
                return Err(ModelError::config(path, format!("metadata {key} is missing")));
            }
        },
        rope: rope(file, &architecture, head_dim)?,
        context: need("context_length")?,
        tied: file.tensor("output.weight").is_none(),
        attention_bias: ["attn_q", "attn_k", "attn_v", "attn_output"].into_iter().any(block_has),
        mlp_bias: ["ffn_gate", "ffn_up", "ffn_down"].into_iter().any(block_has),
        sliding_window,
        query_scalar: query_scalar(family, layers, head_dim, hidden_size, heads),
        local,
        bos_token_id: token(file, "tokenizer.ggml.bos_token_id")?,
        eos_token_ids: ends(file)?,
        pad_token_id: token(file, "tokenizer.ggml.padding_token_id")?,
    };
    config.check().map_err(|why| ModelError::config(path, why))?;
    Ok(config)
}

/// Which layers see a window: every so-manyth does not, as llama.cpp reads it.
fn local(file: &GgufFile, architecture: &str, traits: &LocalTraits, layers: usize) -> Result<LocalLayers> {
    let key = |suffix: &str| format!("{architecture}.{suffix}");
    let period = file.get_usize(&key("attention.sliding_window_pattern"))?.unwrap_or(traits.period);
    let theta = file.get_f64(&key("rope.freq_base_swa"))?.map_or(traits.rope_theta, shortest);
    Ok(LocalLayers::periodic(layers, period, theta))
}

/// What scores are divided by the root of, as llama.cpp knows it; no file says it.
fn query_scalar(family: &Family, layers: usize, head_dim: usize, hidden_size: usize, heads: usize) -> Option<f64> {
    family.defaults.query_scalar?;
    let wide = family.traits.local.as_ref().is_some_and(|traits| traits.gguf_wide_scale_layers == layers);
    Some(if wide { (hidden_size / heads.max(1)) as f64 } else { head_dim as f64 })
}

/// The f64 that a person wrote before it was stored as f32: 1e-5, not 0.00000999999974737875.
fn shortest(value: f64) -> f64 {
    let narrow = value as f32;
    if f64::from(narrow) == value { narrow.to_string().parse().unwrap_or(value) } else { value }
}

fn refuse_other_graphs(file: &GgufFile, architecture: &str) -> Result<()> {
    let more_than_one = |key: &str| file.get_usize(key).map(|count| count.is_some_and(|count| count > 1));
    if more_than_one(&format!("{architecture}.expert_count"))? {
        return Err(ModelError::unsupported(file.path(), "it is a mixture of experts", "use a dense model"));
    }
    if more_than_one("split.count")? {
        return Err(ModelError::unsupported(
            file.path(),
            "it is one part of a split model",
            "join the parts into one file first (llama-gguf-split --merge)",
        ));
    }
    Ok(())
}

fn token(file: &GgufFile, key: &str) -> Result<Option<u32>> {
    Ok(file.get_usize(key)?.and_then(|id| u32::try_from(id).ok()))
}

/// Tokens that end a text: end of sequence, and end of turn where the file names one.
fn ends(file: &GgufFile) -> Result<Vec<u32>> {
    let mut all: Vec<u32> = Vec::new();
    for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"] {
        if let Some(id) = token(file, key)?
            && !all.contains(&id)
        {
            all.push(id);
        }
    }
    Ok(all)
}

fn rope(file: &GgufFile, architecture: &str, head_dim: usize) -> Result<Rope> {
    let path = file.path();
    let key = |suffix: &str| format!("{architecture}.rope.{suffix}");
    let number = |suffix: &str| file.get_f64(&key(suffix)).map(|value| value.map(shortest));
    let theta = number("freq_base")?.unwrap_or(10_000.0);
    let factor = match number("scaling.factor")? {
        Some(factor) => Some(factor),
        None => number("scale_linear")?,
    };
    // a factor without a type is linear, a factor of 0 is none: llama.cpp's reading
    let factor = factor.filter(|&factor| factor != 0.0);
    let kind = file.get_string(&key("scaling.type"))?;
    let kind = kind.as_deref().unwrap_or_else(|| if factor.is_some() { "linear" } else { "none" });
    let scaling = match (kind, factor) {
        ("none", _) | ("linear" | "yarn", None) => RopeScaling::Default,
        ("linear", Some(factor)) => RopeScaling::Linear { factor },
        ("yarn", Some(factor)) => {
            let context = file.get_usize(&format!("{architecture}.context_length"))?.unwrap_or(0);
            let original_context = file.get_usize(&key("scaling.original_context_length"))?.unwrap_or(context);
            let plain = RopeScaling::Yarn {
                factor,
                original_context,
                beta_fast: number("scaling.yarn_beta_fast")?.unwrap_or(32.0),
                beta_slow: number("scaling.yarn_beta_slow")?.unwrap_or(1.0),
                attention_factor: None,
                mscale: None,
                mscale_all_dim: None,
                truncate: true,
            };
            match number("scaling.attn_factor")? {
                Some(multiplier) if multiplier != 1.0 => with_attention_factor(plain, multiplier),
                _ => plain,
            }
        }
        (other, _) => {
            return Err(ModelError::unsupported(
                path,
                format!("rotary scaling \"{other}\" is not known"),
                "use a model with one of: none, linear, yarn",
            ));
        }
    };
    let frequency_factors = match file.tensor("rope_freqs.weight") {
        None => None,
        Some(tensor) => {
            let count = usize::try_from(tensor.elements()).unwrap_or(usize::MAX);
            let kind = tensor.kind().filter(|_| count == head_dim / 2);
            let kind = kind.ok_or_else(|| ModelError::Tensors {
                path: path.to_owned(),
                problems: vec![format!(
                    "rope_freqs.weight has {count} {} values, {} are needed",
                    tensor.ggml_type.name,
                    head_dim / 2
                )],
            })?;
            let mut factors = vec![0.0_f32; count];
            temper_nn::dequantise(kind, file.data(tensor)?.as_slice(), &mut factors)?;
            Some(factors)
        }
    };
    Ok(Rope { theta, scaling, frequency_factors })
}

/// llama.cpp multiplies YaRN's own attention factor by the one that the file states.
fn with_attention_factor(plain: RopeScaling, multiplier: f64) -> RopeScaling {
    let own = Rope { theta: 1.0, scaling: plain.clone(), frequency_factors: None }.attention_factor();
    match plain {
        RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, truncate, .. } => RopeScaling::Yarn {
            factor,
            original_context,
            beta_fast,
            beta_slow,
            attention_factor: Some(own * multiplier),
            mscale: None,
            mscale_all_dim: None,
            truncate,
        },
        other => other,
    }
}

/// The metadata that describes a model to a reader of GGUF, in the order in which llama.cpp's converter writes it.
/// The tokenizer and the general entries beyond the architecture are the caller's.
///
/// # Errors
/// Settings that GGUF cannot say.
pub fn gguf_metadata(config: &LlamaConfig) -> std::result::Result<Vec<(String, Value)>, String> {
    let family = config.family;
    let architecture = family.gguf_writes;
    refuse_unsayable(config)?;
    let size = |value: usize| Value::U32(u32::try_from(value).unwrap_or(u32::MAX));
    let number = |value: f64| Value::F32(value as f32);
    let mut all = vec![("general.architecture".to_owned(), Value::from(architecture))];
    let mut put = |suffix: &str, value: Value| all.push((format!("{architecture}.{suffix}"), value));
    put("block_count", size(config.layers));
    put("context_length", size(config.context));
    put("embedding_length", size(config.hidden_size));
    put("feed_forward_length", size(config.intermediate_size));
    put("attention.head_count", size(config.heads));
    put("attention.head_count_kv", size(config.kv_heads));
    put("rope.freq_base", number(config.rope.theta));
    put("attention.layer_norm_rms_epsilon", number(config.rms_eps));
    if config.query_width() != config.hidden_size || family.defaults.head_dim.is_some() {
        put("attention.key_length", size(config.head_dim));
        put("attention.value_length", size(config.head_dim));
    }
    if let Some(window) = config.sliding_window {
        put("attention.sliding_window", size(window));
    }
    put("vocab_size", size(config.vocab_size));
    put("rope.dimension_count", size(config.head_dim));
    match &config.rope.scaling {
        // Llama 3 scaling is a tensor of factors: rope_factor_tensor
        RopeScaling::Default | RopeScaling::Llama3 { .. } => {}
        RopeScaling::Linear { factor } => {
            put("rope.scaling.type", Value::from("linear"));
            put("rope.scaling.factor", number(*factor));
        }
        RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, truncate, .. } => {
            if !truncate {
                return Err("GGUF cannot say that YaRN's ramp is not rounded to whole frequencies".to_owned());
            }
            let plain = RopeScaling::Yarn {
                factor: *factor,
                original_context: *original_context,
                beta_fast: *beta_fast,
                beta_slow: *beta_slow,
                attention_factor: None,
                mscale: None,
                mscale_all_dim: None,
                truncate: true,
            };
            let own = Rope { theta: 1.0, scaling: plain, frequency_factors: None }.attention_factor();
            put("rope.scaling.type", Value::from("yarn"));
            put("rope.scaling.factor", number(*factor));
            put("rope.scaling.original_context_length", size(*original_context));
            put("rope.scaling.attn_factor", number(config.rope.attention_factor() / own));
            put("rope.scaling.yarn_beta_fast", number(*beta_fast));
            put("rope.scaling.yarn_beta_slow", number(*beta_slow));
        }
        RopeScaling::Dynamic { .. } => {
            return Err("GGUF cannot say rotary scaling \"dynamic\", whose frequencies depend on the text".to_owned());
        }
    }
    Ok(all)
}

/// What readers of GGUF take for granted about a family must hold.
fn refuse_unsayable(config: &LlamaConfig) -> std::result::Result<(), String> {
    let family = config.family;
    let LlamaConfig { layers, head_dim, hidden_size, heads, .. } = *config;
    let scalar = query_scalar(family, layers, head_dim, hidden_size, heads);
    if config.query_scalar != scalar {
        let found = config.query_scalar.unwrap_or(head_dim as f64);
        let known = scalar.unwrap_or(head_dim as f64);
        return Err(format!(
            "GGUF cannot say that scores are scaled by {found} (query_pre_attn_scalar) and not {known}"
        ));
    }
    let (Some(traits), Some(local)) = (&family.traits.local, &config.local) else { return Ok(()) };
    if *local != LocalLayers::periodic(layers, traits.period, traits.rope_theta) {
        return Err(format!(
            "a GGUF file of {} means that every layer but each {}th sees a window, with rotary base {}, and this model is otherwise",
            family.id, traits.period, traits.rope_theta
        ));
    }
    Ok(())
}

/// Data of the `rope_freqs.weight` tensor that must stand beside [`gguf_metadata`], none if there is no need for one.
#[must_use]
pub fn rope_factor_tensor(config: &LlamaConfig) -> Option<Array> {
    config.rope.gguf_factors(config.head_dim).map(Array::F32)
}
