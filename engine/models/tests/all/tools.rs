//! What several test files need: golden folders, GGUF files of a model, comparison.

use candle_core::Tensor;
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use temper_models::gguf::{Array, GgufWriter, Value, gguf_metadata, rope_factor_tensor};
use temper_models::names::{Slot, slots};
use temper_models::{BaseKind, Model, Result};
use temper_nn::{StorageKind, quantise};

/// A folder of golden vectors; one of llama where the case names no family.
pub(crate) fn golden(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/golden").join(if case.starts_with("gemma3_") {
        case.to_owned()
    } else {
        format!("llama_{case}")
    })
}

/// Loads without listening to the progress.
pub(crate) fn load(path: &Path) -> Result<Model> {
    Model::load(path, BaseKind::Auto, &mut |_, _, _| {})
}

/// The stored results of a golden folder.
pub(crate) struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    pub(crate) fn open(case: &str) -> Self {
        Self::of_folder(&golden(case))
    }

    pub(crate) fn of_folder(folder: &Path) -> Self {
        Self { bytes: std::fs::read(folder.join("golden.safetensors")).unwrap() }
    }

    pub(crate) fn shape(&self, name: &str) -> Vec<usize> {
        self.file().tensor(name).unwrap().shape().to_vec()
    }

    /// Whole numbers.
    pub(crate) fn numbers(&self, name: &str) -> Arc<[u32]> {
        let file = self.file();
        let view = file.tensor(name).unwrap();
        view.data().chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()) as u32).collect()
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.file().names().into_iter().map(str::to_owned).collect()
    }

    pub(crate) fn values(&self, name: &str) -> Vec<f32> {
        let file = self.file();
        let view = file.tensor(name).unwrap();
        view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    }

    /// Tokens (batch * width) with batch and width.
    pub(crate) fn tokens(&self) -> (Arc<[u32]>, usize, usize) {
        let file = self.file();
        let view = file.tensor("input_ids").unwrap();
        let ids = view.data().chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()) as u32);
        (ids.collect(), view.shape()[0], view.shape()[1])
    }
}

/// Each position predicts the next one of its row; the last one nothing.
pub(crate) fn next_tokens(tokens: &[u32], width: usize) -> Arc<[u32]> {
    let shifted = |row: &[u32]| row[1..].iter().copied().chain([temper_nn::ops::IGNORE]).collect::<Vec<_>>();
    tokens.chunks(width).flat_map(shifted).collect()
}

pub(crate) fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest difference over the largest value.
pub(crate) fn relative(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    let difference = found.iter().zip(expected).fold(0.0_f32, |most, (a, b)| {
        assert!(a.is_finite() && b.is_finite());
        most.max((a - b).abs())
    });
    difference / largest.max(1e-6)
}

/// Values of a slot in the order of rows that a GGUF file has.
fn stored_order(slot: &Slot, values: Vec<f32>) -> Vec<f32> {
    let Some(order) = &slot.gguf_rows else { return values };
    let width = values.len() / order.len();
    let mut stored = vec![0.0; values.len()];
    for (logical, &row) in order.iter().enumerate() {
        let row = row as usize;
        stored[row * width..(row + 1) * width].copy_from_slice(&values[logical * width..(logical + 1) * width]);
    }
    stored
}

/// Writes a model as a GGUF file, matrices as `kind`.
pub(crate) fn write_gguf(model: &Model, kind: StorageKind, path: &Path) {
    let config = model.config.as_llama();
    let mut writer = GgufWriter::new();
    for (key, value) in gguf_metadata(config).unwrap() {
        writer.set(&key, value).unwrap();
    }
    writer.set("tokenizer.ggml.bos_token_id", config.bos_token_id.unwrap_or(1)).unwrap();
    writer.set("tokenizer.ggml.eos_token_id", config.eos_token_ids.first().copied().unwrap_or(2)).unwrap();
    if let Some(pad) = config.pad_token_id {
        writer.set("tokenizer.ggml.padding_token_id", pad).unwrap();
    }
    let mut data: Vec<(String, Vec<u8>)> = Vec::new();
    for slot in slots(config) {
        let kind = if slot.shape.len() == 2 { kind } else { StorageKind::F32 };
        writer.declare(&slot.gguf, &slot.shape, kind).unwrap();
        let values = stored_order(&slot, model.read_weight(&slot.name).unwrap());
        data.push((slot.gguf, quantise(kind, &values).unwrap()));
    }
    if let Some(Array::F32(factors)) = rope_factor_tensor(config) {
        writer.declare("rope_freqs.weight", &[factors.len()], StorageKind::F32).unwrap();
        data.push(("rope_freqs.weight".to_owned(), factors.iter().flat_map(|f| f.to_le_bytes()).collect()));
    }
    let mut sink = writer.start(std::io::BufWriter::new(std::fs::File::create(path).unwrap())).unwrap();
    for (name, bytes) in &data {
        sink.write(name, bytes).unwrap();
    }
    sink.finish().unwrap();
}

/// Some metadata of every type, nested arrays included.
pub(crate) fn every_value() -> Vec<(&'static str, Value)> {
    vec![
        ("a.u8", Value::U8(200)),
        ("b.i8", Value::I8(-3)),
        ("c.u16", Value::U16(60_000)),
        ("d.i16", Value::I16(-300)),
        ("e.u32", Value::U32(4_000_000_000)),
        ("f.i32", Value::I32(-70_000)),
        ("g.f32", Value::F32(0.1)),
        ("h.bool", Value::Bool(true)),
        ("i.string", Value::String("naïve ▁ \u{1F600}".to_owned())),
        ("j.u64", Value::U64(u64::MAX)),
        ("k.i64", Value::I64(i64::MIN)),
        ("l.f64", Value::F64(std::f64::consts::PI)),
        ("m.strings", Value::Array(Array::String(vec!["a b".to_owned(), String::new()]))),
        ("n.bools", Value::Array(Array::Bool(vec![true, false]))),
        ("o.empty", Value::Array(Array::F32(Vec::new()))),
        (
            "p.nested",
            Value::Array(Array::Array(vec![Array::U16(vec![1, 2, 3]), Array::Array(vec![Array::I8(vec![-1])])])),
        ),
    ]
}
