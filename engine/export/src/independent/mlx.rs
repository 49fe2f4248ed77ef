//! MLX adapters over the tensors of their base, as mlx-lm applies them, in f64: the second opinion on MLX folders. Shares no
//! code with the writer.

use super::peft::Adapted;
use crate::error::Result;
use crate::independent::files::{Tensors, first_line, json, read_back};
use candle_core::{DType, Device, Tensor};
use serde_json::Value as Json;
use std::path::Path;

/// Adds an MLX adapter to the tensors of its base: `W + scale · (A B)ᵀ` for each of `keys` in the last `num_layers` blocks.
///
/// # Errors
/// A damaged adapter, factors that are missing or do not fit, tensors of layers that mlx-lm would not convert, or a type
/// that is not known here.
pub fn mlx_over(base: Tensors, adapter: &Path) -> Result<Adapted> {
    let config_file = adapter.join("adapter_config.json");
    let config = json(&config_file)?;
    let file = adapter.join("adapters.safetensors");
    let loaded =
        candle_core::safetensors::load(&file, &Device::Cpu).map_err(|error| read_back(&file, first_line(&error)))?;
    let kind = config.get("fine_tune_type").and_then(Json::as_str).unwrap_or("lora");
    if kind != "lora" {
        return Err(read_back(&config_file, format!("the independent reader does not know {kind}")));
    }
    let absent = |what: &str| read_back(&config_file, format!("{what} is missing"));
    let count = |pointer: &str| {
        config.pointer(pointer).and_then(Json::as_u64).map(|value| value as usize).ok_or_else(|| absent(pointer))
    };
    let (blocks, rank) = (count("/num_layers")?, count("/lora_parameters/rank")?);
    let scale = config.pointer("/lora_parameters/scale").and_then(Json::as_f64).ok_or_else(|| absent("scale"))?;
    let keys = config.pointer("/lora_parameters/keys").and_then(Json::as_array).ok_or_else(|| absent("keys"))?;
    let block = |name: &String| name.strip_prefix("model.layers.")?.split('.').next()?.parse::<usize>().ok();
    let all = base.keys().filter_map(block).max().map_or(0, |last| last + 1);
    let mut adapted = Adapted { tensors: base, obstacles: Vec::new() };
    let mut used = 0;
    for layer in all.saturating_sub(blocks)..all {
        for key in keys.iter().filter_map(Json::as_str) {
            let module = format!("model.layers.{layer}.{key}");
            let name = format!("{module}.weight");
            let weight =
                adapted.tensors.get(&name).ok_or_else(|| read_back(&file, format!("the base has no {name}")))?;
            let (rows, cols) = weight.dims2()?;
            let factor = |letter: &str, shape: [usize; 2]| -> Result<Tensor> {
                let name = format!("{module}.lora_{letter}");
                let tensor = loaded.get(&name).ok_or_else(|| read_back(&file, format!("{name} is missing")))?;
                if tensor.dims() != shape {
                    let found = tensor.dims();
                    return Err(read_back(&file, format!("{name} has the shape {found:?} where {shape:?} belongs")));
                }
                Ok(tensor.to_dtype(DType::F64)?)
            };
            let product = factor("a", [cols, rank])?.matmul(&factor("b", [rank, rows])?)?;
            let change = product.affine(scale, 0.0)?.t()?.contiguous()?;
            let changed = (weight.to_dtype(DType::F64)? + change)?.to_dtype(DType::F32)?;
            adapted.tensors.insert(name, changed);
            used += 2;
        }
    }
    if used != loaded.len() {
        let what = format!("it has {} tensors, of which mlx-lm would take {used}", loaded.len());
        return Err(read_back(&file, what));
    }
    Ok(adapted)
}
