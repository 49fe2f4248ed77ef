//! candle-transformers as an independent oracle: its llama and its quantised llama give our logits for the same files.
//!
//! Both answer for the last position only, so every prefix of a text is asked about.

use candle_core::quantized::gguf_file;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{llama, quantized_llama};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use temper_models::gguf::{GgufWriter, gguf_metadata};
use temper_models::names::{Slot, slots};
use temper_models::{BaseKind, Limits, LlamaConfig, Model, Sampling, generate};
use temper_nn::{ForwardContext, StorageKind, quantise};

fn golden(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/golden").join(format!("llama_{case}"))
}

#[cfg(test)]
mod tools {
    use super::*;

    pub(crate) fn load(path: &Path) -> Model {
        Model::load(path, BaseKind::Auto, &mut |_, _, _| {}).unwrap()
    }

    pub(crate) fn text(count: u32, vocabulary: u32) -> Vec<u32> {
        (0..count).map(|i| (i * i * 7 + i * 3 + 1) % vocabulary).collect()
    }

    /// Our logits after each token of a text.
    pub(crate) fn ours(model: &Model, tokens: &[u32]) -> Vec<Vec<f32>> {
        let logits = model.logits(&tokens.into(), &ForwardContext::plain(1, tokens.len())).unwrap();
        let rows = logits.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        rows.chunks(model.config.vocab_size()).map(<[f32]>::to_vec).collect()
    }

    pub(crate) fn input(tokens: &[u32]) -> Tensor {
        Tensor::new(tokens, &Device::Cpu).unwrap().unsqueeze(0).unwrap()
    }

    pub(crate) fn last_row(logits: &Tensor) -> Vec<f32> {
        logits.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
    }

    /// Largest difference over the largest logit.
    pub(crate) fn relative(found: &[f32], expected: &[f32]) -> f32 {
        assert_eq!(found.len(), expected.len());
        let largest = expected.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        let difference = found.iter().zip(expected).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(difference.is_finite());
        difference / largest
    }

    /// Values in the order of rows that a GGUF file has.
    fn stored_order(slot: &Slot, values: Vec<f32>) -> Vec<f32> {
        let Some(order) = &slot.gguf_rows else { return values };
        let width = values.len() / order.len();
        let mut stored = vec![0.0; values.len()];
        for (logical, &row) in order.iter().enumerate() {
            let row = row as usize;
            stored[row * width..][..width].copy_from_slice(&values[logical * width..][..width]);
        }
        stored
    }

    pub(crate) fn write_gguf(model: &Model, kind: StorageKind, path: &Path) {
        let config = model.config.as_llama();
        let mut writer = GgufWriter::new();
        for (key, value) in gguf_metadata(config).unwrap() {
            writer.set(&key, value).unwrap();
        }
        let kind_of = |slot: &Slot| if slot.shape.len() == 2 { kind } else { StorageKind::F32 };
        for slot in slots(config) {
            writer.declare(&slot.gguf, &slot.shape, kind_of(&slot)).unwrap();
        }
        let mut sink = writer.start(std::fs::File::create(path).unwrap()).unwrap();
        for slot in slots(config) {
            let values = stored_order(&slot, model.read_weight(&slot.name).unwrap());
            sink.write(&slot.gguf, &quantise(kind_of(&slot), &values).unwrap()).unwrap();
        }
        sink.finish().unwrap();
    }

    pub(crate) fn oracle_of_gguf(path: &Path) -> quantized_llama::ModelWeights {
        let mut file = std::fs::File::open(path).unwrap();
        let content = gguf_file::Content::read(&mut file).unwrap();
        quantized_llama::ModelWeights::from_gguf(content, &mut file, &Device::Cpu).unwrap()
    }
}

use tools::{input, last_row, load, oracle_of_gguf, ours, relative, text, write_gguf};

#[test]
fn a_folder_gives_the_logits_of_the_oracle() {
    for case in ["gqa_untied", "tied", "mha", "rope_llama3", "bf16", "sharded"] {
        let folder = golden(case);
        let mut tensors = HashMap::new();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with("model") && name.ends_with(".safetensors") {
                tensors.extend(candle_core::safetensors::load(&path, &Device::Cpu).unwrap());
            }
        }
        let json = std::fs::read(folder.join("config_v4.json")).unwrap();
        let config: llama::LlamaConfig = serde_json::from_slice(&json).unwrap();
        let config = config.into_config(false);
        let weights = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let oracle = llama::Llama::load(weights, &config).unwrap();
        let tokens = text(20, 96);
        for (at, logits) in ours(&load(&folder), &tokens).iter().enumerate() {
            let mut cache = llama::Cache::new(false, DType::F32, &config, &Device::Cpu).unwrap();
            let expected = oracle.forward(&input(&tokens[..=at]), 0, &mut cache).unwrap();
            let error = relative(logits, &last_row(&expected));
            assert!(error < 1e-4, "{case}: relative error {error:e} after {} tokens", at + 1);
        }
    }
}

#[test]
fn a_dense_gguf_file_gives_the_logits_of_the_oracle() {
    let dir = tempfile::tempdir().unwrap();
    for case in ["gqa_untied", "tied", "mha"] {
        for (kind, tolerance) in [(StorageKind::F32, 1e-4), (StorageKind::F16, 1e-4)] {
            let path = dir.path().join(format!("{case}-{}.gguf", kind.name()));
            write_gguf(&load(&golden(case)), kind, &path);
            let tokens = text(20, 96);
            for (at, logits) in ours(&load(&path), &tokens).iter().enumerate() {
                let expected = oracle_of_gguf(&path).forward(&input(&tokens[..=at]), 0).unwrap();
                let error = relative(logits, &last_row(&expected));
                assert!(error < tolerance, "{case} {}: {error:e} after {} tokens", kind.name(), at + 1);
            }
        }
    }
}

#[test]
fn a_quantised_gguf_file_gives_the_logits_of_the_oracle_within_its_rounding() {
    // the oracle rounds activations to 8 bits as well: about 1 % of the largest logit per layer
    let dir = tempfile::tempdir().unwrap();
    for kind in [StorageKind::Q8_0, StorageKind::Q4_1, StorageKind::Q5_0, StorageKind::Q4K, StorageKind::Q6K] {
        let config = LlamaConfig { kv_heads: 2, intermediate_size: 256, ..LlamaConfig::new(64, 256, 2, 4) };
        let path = dir.path().join(format!("{}.gguf", kind.name()));
        write_gguf(&Model::random(&config, 11).unwrap(), kind, &path);
        let tokens = text(12, 64);
        for (at, logits) in ours(&load(&path), &tokens).iter().enumerate() {
            let expected = oracle_of_gguf(&path).forward(&input(&tokens[..=at]), 0).unwrap();
            let error = relative(logits, &last_row(&expected));
            assert!(error < 0.03, "{}: {error:e} after {} tokens", kind.name(), at + 1);
        }
    }
}

#[test]
fn greedy_generation_writes_the_text_of_the_oracle() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    write_gguf(&load(&golden("gqa_untied")), StorageKind::F32, &path);
    let prompt = text(8, 96);
    let limits = Limits { max_tokens: 32, stop: Vec::new() };
    let ours = generate(&load(&path), &prompt, &limits, Sampling::GREEDY, &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(ours.smallest_margin > 1e-3, "a margin of {} proves nothing", ours.smallest_margin);

    let mut oracle = oracle_of_gguf(&path);
    let mut logits = last_row(&oracle.forward(&input(&prompt), 0).unwrap());
    let mut expected = Vec::new();
    for step in 0..32 {
        let best = (0..96_u32).max_by(|&a, &b| logits[a as usize].total_cmp(&logits[b as usize])).unwrap();
        expected.push(best);
        logits = last_row(&oracle.forward(&input(&[best]), prompt.len() + step).unwrap());
    }
    assert_eq!(ours.tokens, expected);
}
