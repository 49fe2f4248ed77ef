//! The merged GGUF file.
//!
//! Over a GGUF base the metadata is copied byte for byte and only tensors are replaced, which keeps the
//! tokenizer, the template and everything a chat program looks for. Over another base the metadata is made
//! from the configuration and the tokenizer. Tensors are computed, encoded and written one by one. Which block type
//! each of them gets stands in [`crate::mixture`].

use crate::error::{ExportError, Result};
use crate::merged::{Cancel, is_changed, merged_values};
use crate::mixture::{self, Shape, fitting};
use std::collections::BTreeMap;
use std::io::{self, Write};
use temper_data::TextCodec;
use temper_models::gguf::{Array, GgufFile, GgufWriter, Value, gguf_metadata, rope_factor_tensor};
use temper_models::names::{self, Slot};
use temper_models::{Model, ModelSource};
use temper_nn::{StorageKind, quantise};
use temper_protocol::StorageType;

/// File name of the model.
pub(crate) const FILE: &str = "model.gguf";

/// Version of the block formats that this file uses.
const QUANTIZATION_VERSION: u32 = 2;

/// How one tensor of the file comes about.
enum Content<'a> {
    /// Bytes of the base, untouched.
    Copied(Vec<u8>),
    /// Values of the trained model.
    Computed(&'a Slot, StorageKind),
}

struct Planned<'a> {
    name: String,
    shape: Vec<usize>,
    kind: Option<StorageKind>,
    content: Content<'a>,
    dims: Option<(Vec<u64>, temper_models::gguf::GgmlType)>,
}

/// Writes the file into `sink`. Without `dtype` every tensor keeps the base's type.
///
/// # Errors
/// I/O, a tensor that is not finite or does not fit the type, a base that GGUF cannot describe, cancellation.
pub(crate) fn write(
    model: &Model,
    codec: &TextCodec,
    dtype: Option<StorageType>,
    name: &str,
    sink: &mut dyn Write,
    progress: &mut Cancel<'_>,
) -> Result<()> {
    let slots = names::slots(model.config.as_llama());
    let mut writer = GgufWriter::new();
    let planned = match &model.source {
        ModelSource::Gguf(file) => {
            writer.copy_metadata(file).map_err(wrap)?;
            over_gguf(model, file, &slots, dtype)?
        }
        ModelSource::HfFolder(_) | ModelSource::Random => {
            describe(&mut writer, model, codec, name)?;
            over_folder(model, &slots, dtype)
        }
    };
    stamp(&mut writer, &planned, dtype).map_err(wrap)?;
    for tensor in &planned {
        match (&tensor.dims, tensor.kind) {
            (Some((dims, kind)), _) => writer.declare_as(&tensor.name, dims.clone(), *kind).map_err(wrap)?,
            (None, Some(kind)) => writer.declare(&tensor.name, &tensor.shape, kind).map_err(wrap)?,
            (None, None) => {}
        }
    }
    let mut tensors = writer.start(sink).map_err(wrap)?;
    let total = planned.len() as u64;
    for (index, tensor) in planned.iter().enumerate() {
        let bytes = match &tensor.content {
            Content::Copied(bytes) => bytes.clone(),
            Content::Computed(slot, kind) => {
                let values = file_order(slot, merged_values(model, slot)?);
                encode(&tensor.name, &values, *kind)?
            }
        };
        tensors.write(&tensor.name, &bytes).map_err(wrap)?;
        if !progress(index as u64 + 1, total) {
            return Err(ExportError::Cancelled);
        }
    }
    tensors.finish().map_err(wrap)?;
    Ok(())
}

fn wrap(error: io::Error) -> ExportError {
    ExportError::Io { path: FILE.into(), error }
}

/// Tensors of the base file in their order: untouched ones copied, changed or converted ones computed.
fn over_gguf<'a>(
    model: &Model,
    file: &GgufFile,
    slots: &'a [Slot],
    dtype: Option<StorageType>,
) -> Result<Vec<Planned<'a>>> {
    let by_name: BTreeMap<&str, &Slot> = slots.iter().map(|slot| (slot.gguf.as_str(), slot)).collect();
    let shape = Shape::of(slots);
    let mut planned = Vec::new();
    for tensor in file.tensors() {
        let slot = by_name.get(tensor.name.as_str()).copied();
        let computed = slot.and_then(|slot| {
            let stored = tensor.kind()?;
            let kind = match dtype {
                Some(dtype) if slot.shape.len() == 2 => mixture::kind_of(dtype, slot, shape),
                _ => fitting(stored, slot),
            };
            (is_changed(model, slot) || kind != stored).then_some((slot, kind))
        });
        planned.push(match computed {
            Some((slot, kind)) => Planned {
                name: tensor.name.clone(),
                shape: slot.shape.clone(),
                kind: Some(kind),
                content: Content::Computed(slot, kind),
                dims: None,
            },
            None => Planned {
                name: tensor.name.clone(),
                shape: tensor.shape(),
                kind: tensor.kind(),
                content: Content::Copied(file.data(tensor)?.as_slice().to_vec()),
                dims: Some((tensor.dims.clone(), tensor.ggml_type)),
            },
        });
    }
    // A head that training untied from the embedding has no place in the base file.
    for slot in slots.iter().filter(|slot| file.tensor(&slot.gguf).is_none()) {
        let kind = dtype.map_or(StorageKind::F16, |dtype| mixture::kind_of(dtype, slot, shape));
        planned.push(Planned {
            name: slot.gguf.clone(),
            shape: slot.shape.clone(),
            kind: Some(kind),
            content: Content::Computed(slot, kind),
            dims: None,
        });
    }
    Ok(planned)
}

fn over_folder<'a>(model: &Model, slots: &'a [Slot], dtype: Option<StorageType>) -> Vec<Planned<'a>> {
    let shape = Shape::of(slots);
    let mut planned: Vec<Planned<'a>> = slots
        .iter()
        .map(|slot| {
            let kind = match dtype {
                _ if slot.shape.len() != 2 => StorageKind::F32,
                Some(dtype) => mixture::kind_of(dtype, slot, shape),
                None => fitting(base_kind(model), slot),
            };
            Planned {
                name: slot.gguf.clone(),
                shape: slot.shape.clone(),
                kind: Some(kind),
                content: Content::Computed(slot, kind),
                dims: None,
            }
        })
        .collect();
    if let Some(Array::F32(factors)) = rope_factor_tensor(model.config.as_llama()) {
        planned.push(Planned {
            name: "rope_freqs.weight".to_owned(),
            shape: vec![factors.len()],
            kind: Some(StorageKind::F32),
            content: Content::Copied(bytemuck::cast_slice(&factors).to_vec()),
            dims: None,
        });
    }
    planned
}

/// The type of most matrices of the base.
fn base_kind(model: &Model) -> StorageKind {
    model.main_storage().unwrap_or(StorageKind::F16)
}

/// `general.file_type` of the mixture asked for or of most matrices, and the version of the block formats.
fn stamp(writer: &mut GgufWriter, planned: &[Planned<'_>], dtype: Option<StorageType>) -> io::Result<()> {
    let mut elements: BTreeMap<StorageKind, u64> = BTreeMap::new();
    for tensor in planned.iter().filter(|tensor| tensor.shape.len() == 2) {
        if let Some(kind) = tensor.kind {
            *elements.entry(kind).or_insert(0) += tensor.shape.iter().map(|dim| *dim as u64).product::<u64>();
        }
    }
    let main = elements.into_iter().max_by_key(|(_, count)| *count).map(|(kind, _)| kind);
    if let Some(file_type) = dtype.and_then(mixture::file_type).or_else(|| main.and_then(file_type)) {
        writer.set("general.file_type", file_type)?;
    }
    if main.is_some_and(|kind| kind.block_len() > 1) {
        writer.set("general.quantization_version", QUANTIZATION_VERSION)?;
    }
    Ok(())
}

/// llama.cpp's number for "mostly this type".
fn file_type(kind: StorageKind) -> Option<u32> {
    Some(match kind {
        StorageKind::F32 => 0,
        StorageKind::F16 => 1,
        StorageKind::Q4_0 => 2,
        StorageKind::Q4_1 => 3,
        StorageKind::Q8_0 => 7,
        StorageKind::Q5_0 => 8,
        StorageKind::Q5_1 => 9,
        StorageKind::Q2K => 10,
        StorageKind::Q3K => 12,
        StorageKind::Q4K => 15,
        StorageKind::Q5K => 17,
        StorageKind::Q6K => 18,
        StorageKind::Bf16 => 32,
        StorageKind::Q8K
        | StorageKind::Nf4
        | StorageKind::Nf3
        | StorageKind::Nf2
        | StorageKind::Nf4Double
        | StorageKind::Int8
        | StorageKind::Grouped(_) => return None,
    })
}

/// Metadata for a base that is no GGUF file.
fn describe(writer: &mut GgufWriter, model: &Model, codec: &TextCodec, name: &str) -> Result<()> {
    let refuse = |what: String| ExportError::NotRepresentable {
        what,
        action: "export to hf instead, or start from a GGUF base, whose metadata is copied".to_owned(),
    };
    for (key, value) in gguf_metadata(model.config.as_llama()).map_err(refuse)? {
        writer.set(&key, value).map_err(wrap)?;
        if key == "general.architecture" {
            writer.set("general.type", "model").map_err(wrap)?;
            writer.set("general.name", name).map_err(wrap)?;
        }
    }
    let parts = codec.gguf_parts().map_err(|error| refuse(error.to_string()))?;
    let mut set = |key: &str, value: Value| writer.set(&format!("tokenizer.{key}"), value).map_err(wrap);
    set("ggml.model", Value::from(parts.model.as_str()))?;
    if !parts.pre.is_empty() {
        set("ggml.pre", Value::from(parts.pre.as_str()))?;
    }
    set("ggml.tokens", Value::Array(Array::String(parts.tokens.clone())))?;
    set("ggml.token_type", Value::Array(Array::I32(parts.token_types.clone())))?;
    if !parts.scores.is_empty() {
        set("ggml.scores", Value::Array(Array::F32(parts.scores.clone())))?;
    }
    if !parts.merges.is_empty() {
        set("ggml.merges", Value::Array(Array::String(parts.merges.clone())))?;
    }
    let ids = [
        ("ggml.bos_token_id", parts.bos),
        ("ggml.eos_token_id", parts.eos),
        ("ggml.unknown_token_id", parts.unk),
        ("ggml.padding_token_id", parts.pad),
        ("ggml.eot_token_id", parts.eot),
    ];
    for (key, id) in ids {
        if let Some(id) = id {
            set(key, Value::U32(id))?;
        }
    }
    for (key, flag) in [
        ("ggml.add_bos_token", parts.add_bos),
        ("ggml.add_eos_token", parts.add_eos),
        ("ggml.add_space_prefix", parts.add_space_prefix),
    ] {
        if let Some(flag) = flag {
            set(key, Value::Bool(flag))?;
        }
    }
    if let Some(template) = &parts.chat_template {
        set("chat_template", Value::from(template.as_str()))?;
    }
    Ok(())
}

/// Rows in the order of the file.
pub(crate) fn file_order(slot: &Slot, values: Vec<f32>) -> Vec<f32> {
    let Some(order) = &slot.gguf_rows else { return values };
    let width = values.len() / order.len().max(1);
    let mut rows = vec![0f32; values.len()];
    for (row, stored) in values.chunks_exact(width.max(1)).zip(order.iter()) {
        let start = *stored as usize * width;
        if let Some(target) = rows.get_mut(start..start + width) {
            target.copy_from_slice(row);
        }
    }
    rows
}

fn encode(name: &str, values: &[f32], kind: StorageKind) -> Result<Vec<u8>> {
    let float = match kind {
        StorageKind::F32 => Some(StorageType::F32),
        StorageKind::F16 => Some(StorageType::F16),
        StorageKind::Bf16 => Some(StorageType::Bf16),
        _ => None,
    };
    match float {
        Some(dtype) => crate::tensors::encode(name, values, dtype),
        None => {
            crate::tensors::check_finite(name, values)?;
            Ok(quantise(kind, values)?)
        }
    }
}
