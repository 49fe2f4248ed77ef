//! The independent readers: candle's safetensors and GGUF readers and plain JSON. Everything becomes f32
//! tensors named as in a Hugging Face folder.

use crate::error::{ExportError, Result};
use crate::independent::oracle::{Config, Gemma};
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{DType, Device, Tensor};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

pub(super) fn read_back(path: &Path, what: impl Into<String>) -> ExportError {
    ExportError::ReadBack { path: path.to_path_buf(), what: what.into() }
}

pub(super) fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

pub(super) fn json(path: &Path) -> Result<Json> {
    let text = std::fs::read_to_string(path).map_err(ExportError::io(path))?;
    serde_json::from_str(&text).map_err(|error| read_back(path, error.to_string()))
}

/// Reads the configuration of a Hugging Face folder.
///
/// # Errors
/// A missing file or key.
pub fn read_hf_config(folder: &Path) -> Result<Config> {
    let path = folder.join("config.json");
    let json = json(&path)?;
    let number = |key: &str| json.get(key).and_then(Json::as_u64).map(|value| value as usize);
    let need = |key: &str| number(key).ok_or_else(|| read_back(&path, format!("{key} is missing")));
    let is_gemma = json.pointer("/architectures/0").and_then(Json::as_str) == Some("Gemma3ForCausalLM");
    let nested = json.get("rope_parameters");
    let nested = if is_gemma { nested.and_then(|kinds| kinds.get("full_attention")) } else { nested };
    let rope = nested.or_else(|| json.get("rope_scaling")).filter(|rope| rope.is_object());
    let in_rope = |key: &str| rope.and_then(|rope| rope.get(key));
    let theta = in_rope("rope_theta").or_else(|| json.get("rope_theta")).and_then(Json::as_f64).unwrap_or(10_000.0);
    let kind = in_rope("rope_type").or_else(|| in_rope("type")).and_then(Json::as_str).unwrap_or("default");
    let mut obstacles = Vec::new();
    let mut llama3 = None;
    match kind {
        "default" => {}
        "llama3" => {
            let value = |key: &str| {
                in_rope(key).and_then(Json::as_f64).ok_or_else(|| read_back(&path, format!("rope {key} is missing")))
            };
            llama3 = Some((
                value("factor")?,
                value("low_freq_factor")?,
                value("high_freq_factor")?,
                value("original_max_position_embeddings")? as usize,
            ));
        }
        other => obstacles.push(format!("the independent graph has no {other} rotary scaling")),
    }
    for key in ["attention_bias", "mlp_bias"] {
        if json.get(key).and_then(Json::as_bool) == Some(true) {
            obstacles.push(format!("the independent graph has no {key}"));
        }
    }
    let (hidden_size, heads) = (need("hidden_size")?, need("num_attention_heads")?);
    let gemma = if is_gemma { Some(gemma_of_hf(&path, &json, &mut obstacles)?) } else { None };
    if gemma.is_none() && json.get("sliding_window").is_some_and(Json::is_u64) {
        obstacles.push("the independent graph has no sliding window".to_owned());
    }
    if gemma.is_none() && number("head_dim").is_some_and(|dim| dim * heads != hidden_size) {
        obstacles.push("the independent graph has no free head width".to_owned());
    }
    Ok(Config {
        hidden_size,
        intermediate_size: need("intermediate_size")?,
        vocab_size: need("vocab_size")?,
        layers: need("num_hidden_layers")?,
        heads,
        kv_heads: number("num_key_value_heads").unwrap_or(heads),
        rms_eps: json.get("rms_norm_eps").and_then(Json::as_f64).unwrap_or(1e-6),
        rope_theta: theta,
        llama3,
        context: number("max_position_embeddings").unwrap_or(2048),
        tied: json.get("tie_word_embeddings").and_then(Json::as_bool).unwrap_or(is_gemma),
        gemma,
        obstacles,
    })
}

/// What a Gemma 3 has beside a llama, and what of it the independent graph cannot run.
fn gemma_of_hf(path: &Path, json: &Json, obstacles: &mut Vec<String>) -> Result<Gemma> {
    let number = |key: &str| json.get(key).and_then(Json::as_u64).map(|value| value as usize);
    let need = |key: &str| number(key).ok_or_else(|| read_back(path, format!("{key} is missing")));
    let (layers, head_dim) = (need("num_hidden_layers")?, need("head_dim")?);
    let kinds = json.get("layer_types").and_then(Json::as_array).cloned().unwrap_or_default();
    let is_full = |kind: &Json| kind.as_str() == Some("full_attention");
    let period = kinds.iter().position(is_full).map_or(layers + 1, |first| first + 1);
    let periodic =
        kinds.len() == layers && kinds.iter().enumerate().all(|(at, kind)| is_full(kind) == ((at + 1) % period == 0));
    if !periodic {
        obstacles.push("the independent graph knows evenly spaced kinds of layers only".to_owned());
    }
    if number("query_pre_attn_scalar") != Some(head_dim) {
        obstacles.push("the independent graph scales scores by the head width".to_owned());
    }
    if json.get("tie_word_embeddings").and_then(Json::as_bool) == Some(false) {
        obstacles.push("the independent graph has no head of its own".to_owned());
    }
    let local = json.pointer("/rope_parameters/sliding_attention");
    if local.and_then(|rope| rope.get("rope_type")).and_then(Json::as_str).is_some_and(|kind| kind != "default") {
        obstacles.push("the independent graph has no rotary scaling in local layers".to_owned());
    }
    let theta = local.and_then(|rope| rope.get("rope_theta")).or_else(|| json.get("rope_local_base_freq"));
    let local_theta = theta.and_then(Json::as_f64).unwrap_or(10_000.0);
    Ok(Gemma { head_dim, window: need("sliding_window")?, period, local_theta })
}

/// Reads every safetensors file of a folder, one or sharded.
///
/// # Errors
/// A missing or damaged file.
pub fn read_hf(folder: &Path) -> Result<Tensors> {
    let index = folder.join("model.safetensors.index.json");
    let mut files: Vec<PathBuf> = Vec::new();
    if index.is_file() {
        let json = json(&index)?;
        let map = json.get("weight_map").and_then(Json::as_object);
        let map = map.ok_or_else(|| read_back(&index, "weight_map is missing"))?;
        let names: std::collections::BTreeSet<&str> = map.values().filter_map(Json::as_str).collect();
        files.extend(names.into_iter().map(|name| folder.join(name)));
    } else {
        files.push(folder.join("model.safetensors"));
    }
    let mut all = Tensors::new();
    for file in files {
        let loaded = candle_core::safetensors::load(&file, &Device::Cpu)
            .map_err(|error| read_back(&file, first_line(&error)))?;
        let sorted: BTreeMap<_, _> = loaded.into_iter().collect();
        for (name, tensor) in sorted {
            all.insert(name, tensor.to_dtype(DType::F32)?);
        }
    }
    Ok(all)
}

/// `weight + scale · b a` in f64.
fn add_product(weight: &Tensor, a: &Tensor, b: &Tensor, scale: f64) -> Result<Tensor> {
    let change = b.to_dtype(DType::F64)?.matmul(&a.to_dtype(DType::F64)?)?.affine(scale, 0.0)?;
    Ok((weight.to_dtype(DType::F64)? + change)?.to_dtype(DType::F32)?)
}

/// Names of a block's tensors in a GGUF file and in a Hugging Face folder.
const BLOCK_NAMES: [(&str, &str); 8] = [
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("attn_norm", "input_layernorm"),
];
/// Those that only llama has under these names.
const LLAMA_NAMES: [(&str, &str); 1] = [("ffn_norm", "post_attention_layernorm")];
/// Those that only Gemma 3 has under these names.
const GEMMA_NAMES: [(&str, &str); 5] = [
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];

fn hf_name(gguf: &str, is_gemma: bool) -> Option<String> {
    match gguf {
        "token_embd.weight" => return Some("model.embed_tokens.weight".to_owned()),
        "output_norm.weight" => return Some("model.norm.weight".to_owned()),
        "output.weight" => return Some("lm_head.weight".to_owned()),
        _ => {}
    }
    let (layer, part) = gguf.strip_prefix("blk.")?.split_once('.')?;
    let part = part.strip_suffix(".weight")?;
    let own: &[(&str, &str)] = if is_gemma { &GEMMA_NAMES } else { &LLAMA_NAMES };
    let hf = BLOCK_NAMES.iter().chain(own).find(|(name, _)| *name == part)?.1;
    Some(format!("model.layers.{layer}.{hf}.weight"))
}

/// From rotary pairs side by side to rotary halves: what the GGUF converters of the field do, undone.
fn unpair(weight: &Tensor, heads: usize) -> Result<Tensor> {
    let (rows, cols) = weight.dims2()?;
    let half = rows / heads / 2;
    Ok(weight.reshape((heads, half, 2, cols))?.transpose(1, 2)?.contiguous()?.reshape((rows, cols))?)
}

/// Reads a merged GGUF file through candle's reader: tensors in Hugging Face layout, configuration.
///
/// # Errors
/// A damaged file or missing metadata.
pub fn read_gguf(path: &Path) -> Result<(Tensors, Config)> {
    gguf_with(path, None)
}

/// Reads a base GGUF file and adds a GGUF adapter to it: `W + alpha/r · B A` in the file's own layout.
///
/// # Errors
/// A damaged file, or an adapter that does not fit.
pub fn gguf_lora_over(base: &Path, adapter: &Path) -> Result<(Tensors, Config)> {
    gguf_with(base, Some(adapter))
}

fn open_gguf(path: &Path) -> Result<(Content, File)> {
    let mut file = File::open(path).map_err(ExportError::io(path))?;
    let content = Content::read(&mut file).map_err(|error| read_back(path, first_line(&error)))?;
    Ok((content, file))
}

/// A GGUF file that is read through candle's reader tensor by tensor, in the file's own layout.
pub struct StoredTensors {
    path: PathBuf,
    content: Content,
    file: File,
}

impl StoredTensors {
    /// Opens a file.
    ///
    /// # Errors
    /// A damaged file.
    pub fn open(path: &Path) -> Result<Self> {
        let (content, file) = open_gguf(path)?;
        Ok(Self { path: path.to_path_buf(), content, file })
    }

    /// Storage type and values of the tensor `name`, row after row; `None` when the file has no such tensor.
    ///
    /// # Errors
    /// A damaged file.
    pub fn read(&mut self, name: &str) -> Result<Option<(GgmlDType, Vec<f32>)>> {
        if !self.content.tensor_infos.contains_key(name) {
            return Ok(None);
        }
        let stored = self.content.tensor(&mut self.file, name, &Device::Cpu);
        let stored = stored.map_err(|error| read_back(&self.path, first_line(&error)))?;
        let values = stored.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1()?;
        Ok(Some((stored.dtype(), values)))
    }
}

fn gguf_with(path: &Path, adapter: Option<&Path>) -> Result<(Tensors, Config)> {
    let (content, mut file) = open_gguf(path)?;
    let config = gguf_config(path, &content)?;
    let mut names: Vec<String> = content.tensor_infos.keys().cloned().collect();
    names.sort();
    let mut deltas = match adapter {
        Some(adapter) => read_gguf_lora(adapter)?,
        None => BTreeMap::new(),
    };
    let mut tensors = Tensors::new();
    for name in names {
        let is_gemma = config.gemma.is_some();
        let Some(hf) = hf_name(&name, is_gemma) else { continue };
        let stored =
            content.tensor(&mut file, &name, &Device::Cpu).map_err(|error| read_back(path, first_line(&error)))?;
        let mut tensor = stored.dequantize(&Device::Cpu)?;
        if let Some((a, b, scale)) = deltas.remove(&name) {
            tensor = add_product(&tensor, &a, &b, scale)?;
        }
        if is_gemma {
            // a folder holds the norms less one, and nothing is paired
            if name.ends_with("norm.weight") {
                tensor = tensor.affine(1.0, -1.0)?;
            }
        } else if name.ends_with("attn_q.weight") {
            tensor = unpair(&tensor, config.heads)?;
        } else if name.ends_with("attn_k.weight") {
            tensor = unpair(&tensor, config.kv_heads)?;
        }
        tensors.insert(hf, tensor);
    }
    if let (Some(adapter), Some(name)) = (adapter, deltas.keys().next()) {
        return Err(read_back(adapter, format!("the base has no tensor {name}")));
    }
    Ok((tensors, config))
}

fn gguf_config(path: &Path, content: &Content) -> Result<Config> {
    let architecture = match content.metadata.get("general.architecture") {
        Some(Value::String(name)) => name.clone(),
        _ => return Err(read_back(path, "general.architecture is missing")),
    };
    let value = |key: &str| content.metadata.get(&format!("{architecture}.{key}"));
    let integer = |key: &str| value(key).and_then(as_u64).map(|number| number as usize);
    let need = |key: &str| integer(key).ok_or_else(|| read_back(path, format!("{architecture}.{key} is missing")));
    let float = |key: &str| value(key).and_then(|value| value.to_f32().ok()).map(f64::from);
    let (hidden_size, heads) = (need("embedding_length")?, need("attention.head_count")?);
    let mut obstacles = Vec::new();
    let gemma = match (architecture.as_str(), integer("attention.key_length"), integer("attention.sliding_window")) {
        ("gemma3", Some(head_dim), Some(window)) => Some(Gemma { head_dim, window, period: 6, local_theta: 10_000.0 }),
        _ => None,
    };
    if architecture != "llama" && gemma.is_none() {
        obstacles.push(format!("the independent graph does not know {architecture}"));
    }
    if content.tensor_infos.contains_key("rope_freqs.weight") {
        obstacles.push("the independent graph does not read rope_freqs".to_owned());
    }
    if matches!(value("rope.scaling.type"), Some(Value::String(kind)) if kind != "none") {
        obstacles.push("the independent graph has no GGUF rotary scaling".to_owned());
    }
    if content.tensor_infos.keys().any(|name| name.ends_with(".bias")) {
        obstacles.push("the independent graph has no biases".to_owned());
    }
    if gemma.is_none() && integer("rope.dimension_count").is_some_and(|dim| dim * heads != hidden_size) {
        obstacles.push("the independent graph has no free head width".to_owned());
    }
    if gemma.is_some() && integer("block_count") == Some(62) {
        obstacles.push("the independent graph scales scores by the head width".to_owned());
    }
    if gemma.is_some() && content.tensor_infos.contains_key("output.weight") {
        obstacles.push("the independent graph has no head of its own".to_owned());
    }
    let embedding = content.tensor_infos.get("token_embd.weight");
    let vocab_size = embedding.and_then(|info| info.shape.dims().first().copied());
    Ok(Config {
        hidden_size,
        intermediate_size: need("feed_forward_length")?,
        vocab_size: vocab_size.ok_or_else(|| read_back(path, "token_embd.weight is missing"))?,
        layers: need("block_count")?,
        heads,
        kv_heads: integer("attention.head_count_kv").unwrap_or(heads),
        rms_eps: float("attention.layer_norm_rms_epsilon").unwrap_or(1e-5),
        rope_theta: float("rope.freq_base").unwrap_or(10_000.0),
        llama3: None,
        context: integer("context_length").unwrap_or(2048),
        tied: !content.tensor_infos.contains_key("output.weight"),
        gemma,
        obstacles,
    })
}

fn as_u64(value: &Value) -> Option<u64> {
    match value {
        Value::U8(v) => Some(u64::from(*v)),
        Value::U16(v) => Some(u64::from(*v)),
        Value::U32(v) => Some(u64::from(*v)),
        Value::U64(v) => Some(*v),
        Value::I32(v) => u64::try_from(*v).ok(),
        Value::I64(v) => u64::try_from(*v).ok(),
        _ => None,
    }
}

/// Pairs of a GGUF adapter by base tensor name: A (rank, in), B (out, rank), scale.
fn read_gguf_lora(path: &Path) -> Result<BTreeMap<String, (Tensor, Tensor, f64)>> {
    let (content, mut file) = open_gguf(path)?;
    let text = |key: &str| match content.metadata.get(key) {
        Some(Value::String(text)) => text.as_str(),
        _ => "",
    };
    if text("general.type") != "adapter" || text("adapter.type") != "lora" {
        return Err(read_back(path, "it does not say that it is a LoRA adapter"));
    }
    let alpha = match content.metadata.get("adapter.lora.alpha") {
        Some(Value::F32(alpha)) if *alpha > 0.0 => f64::from(*alpha),
        _ => return Err(read_back(path, "adapter.lora.alpha is missing or not positive")),
    };
    let mut names: Vec<String> = content.tensor_infos.keys().cloned().collect();
    names.sort();
    let mut pairs = BTreeMap::new();
    for name in names {
        let Some(base) = name.strip_suffix(".lora_a") else { continue };
        let mut load = |name: &str| -> Result<Tensor> {
            let stored =
                content.tensor(&mut file, name, &Device::Cpu).map_err(|error| read_back(path, first_line(&error)))?;
            Ok(stored.dequantize(&Device::Cpu)?)
        };
        let a = load(&name)?;
        let b = load(&format!("{base}.lora_b"))?;
        let rank = a.dim(0)?;
        pairs.insert(base.to_owned(), (a, b, alpha / rank as f64));
    }
    Ok(pairs)
}
