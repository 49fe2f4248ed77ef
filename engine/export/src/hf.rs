//! The merged Hugging Face folder: configuration, tokenizer files, and every tensor of the model with the
//! change folded in, in shards.

use crate::error::{ExportError, Result};
use crate::merged::{Cancel, merged_values};
use crate::output::OutputFolder;
use crate::tensors::{LazyTensor, write_safetensors};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use temper_data::TextCodec;
use temper_models::names::{self, Slot};
use temper_models::{Model, ModelSource};
use temper_protocol::StorageType;

/// Largest file of weights.
pub const SHARD_BYTES: u64 = 5_000_000_000;

/// Writes the folder. `progress` is told tensors done and in all, and answers whether to go on.
///
/// # Errors
/// I/O, a tensor that is not finite or does not fit the type, cancellation.
pub(crate) fn write(
    model: &Model,
    codec: &TextCodec,
    dtype: StorageType,
    output: &OutputFolder,
    shard_bytes: u64,
    progress: &mut Cancel<'_>,
) -> Result<()> {
    let config_of_model = model.config.as_llama();
    if !config_of_model.rope.hf_can_say(config_of_model.context) {
        return Err(ExportError::NotRepresentable {
            what: "config.json has no words for this model's rotary frequencies".to_owned(),
            action: "export to gguf, which copies them from the base".to_owned(),
        });
    }
    output.write("config.json", &pretty(&config(model, codec, dtype))?)?;
    output.write("generation_config.json", &pretty(&generation_config(codec))?)?;
    for (name, bytes) in codec.hf_files() {
        output.write(&name, &bytes)?;
    }
    let slots = names::slots(model.config.as_llama());
    let total = slots.len() as u64;
    let shards = plan_shards(&slots, dtype, shard_bytes);
    let count = shards.len();
    let mut done_before = 0;
    let mut weight_map = BTreeMap::new();
    for (index, shard) in shards.iter().enumerate() {
        let name = if count == 1 {
            "model.safetensors".to_owned()
        } else {
            format!("model-{:05}-of-{count:05}.safetensors", index + 1)
        };
        let tensors: Vec<LazyTensor<'_>> = shard
            .iter()
            .map(|slot| LazyTensor {
                name: slot.hf.clone(),
                shape: slot.shape.clone(),
                dtype,
                compute: Box::new(move || stored_values(model, slot)),
            })
            .collect();
        write_safetensors(&output.path(&name), &tensors, &mut |done| progress(done_before + done, total))?;
        done_before += tensors.len() as u64;
        weight_map.extend(shard.iter().map(|slot| (slot.hf.clone(), name.clone())));
    }
    if count > 1 {
        let bytes: u64 = slots.iter().map(|slot| bytes_of(slot, dtype)).sum();
        let index = json!({"metadata": {"total_size": bytes}, "weight_map": weight_map});
        output.write("model.safetensors.index.json", &pretty(&index)?)?;
    }
    Ok(())
}

/// Values of a tensor as a folder of this family stores them.
fn stored_values(model: &Model, slot: &Slot) -> Result<Vec<f32>> {
    let mut values = merged_values(model, slot)?;
    if slot.hf_shift != 0.0 {
        values.iter_mut().for_each(|value| *value -= slot.hf_shift);
    }
    Ok(values)
}

/// The base's own configuration where there is one, else the one that the graph implies.
fn config(model: &Model, codec: &TextCodec, dtype: StorageType) -> Value {
    let name = match dtype {
        StorageType::F16 => "float16",
        StorageType::Bf16 => "bfloat16",
        // Blocks are refused when the tensors are written.
        StorageType::F32 | StorageType::Q8_0 | StorageType::Q4K | StorageType::Q5K | StorageType::Q6K => "float32",
    };
    let mut config = match &model.source {
        ModelSource::HfFolder(folder) => folder.config_json.clone(),
        ModelSource::Gguf(_) | ModelSource::Random => model.config.to_hf_json(name),
    };
    if let Value::Object(table) = &mut config {
        table.remove("quantization_config");
        table.remove("_name_or_path");
        table.insert("torch_dtype".to_owned(), json!(name));
        table.insert("dtype".to_owned(), json!(name));
        let mut set = |key: &str, id: Option<u32>| {
            if let Some(id) = id {
                table.entry(key.to_owned()).or_insert(json!(id));
            }
        };
        set("bos_token_id", codec.special().bos);
        set("eos_token_id", codec.special().eos);
        table.sort_keys();
    }
    config
}

/// Every token that ends an answer is listed, so that chat programs stop where training stopped.
fn generation_config(codec: &TextCodec) -> Value {
    let mut config = BTreeMap::from([("do_sample", json!(false)), ("eos_token_id", json!(codec.special().stop))]);
    if let Some(id) = codec.special().bos {
        config.insert("bos_token_id", json!(id));
    }
    if let Some(id) = codec.special().pad {
        config.insert("pad_token_id", json!(id));
    }
    json!(config)
}

fn bytes_of(slot: &Slot, dtype: StorageType) -> u64 {
    let width = if dtype == StorageType::F32 { 4 } else { 2 };
    slot.shape.iter().map(|dim| *dim as u64).product::<u64>() * width
}

fn plan_shards(slots: &[Slot], dtype: StorageType, limit: u64) -> Vec<Vec<&Slot>> {
    let mut shards: Vec<Vec<&Slot>> = Vec::new();
    let mut filled = u64::MAX;
    for slot in slots {
        let bytes = bytes_of(slot, dtype);
        if filled.saturating_add(bytes) > limit {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += bytes;
        if let Some(shard) = shards.last_mut() {
            shard.push(slot);
        }
    }
    shards
}

/// JSON with two spaces and a newline at the end.
///
/// # Errors
/// A value that cannot be written.
pub(crate) fn pretty(value: &Value) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(ExportError::from)?;
    bytes.push(b'\n');
    Ok(bytes)
}
