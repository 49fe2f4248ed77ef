//! Models in GGUF files: the same weights give the same logits as in a Hugging Face folder, in every storage type,
//! and what does not fit is refused.

use crate::tools::{Golden, flat, golden, load, relative, write_gguf};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use temper_models::gguf::{Array, GgufFile, GgufWriter, Value, config_from_gguf, gguf_metadata, gguf_tokenizer_parts};
use temper_models::{BaseKind, LlamaConfig, LocalLayers, Model, ModelConfig};
use temper_nn::{ForwardContext, StorageKind};

#[test]
fn a_gguf_file_of_a_folder_gives_its_logits() {
    let dir = tempfile::tempdir().unwrap();
    for case in [
        "gqa_untied",
        "tied",
        "mha",
        "head_dim",
        "bias",
        "rope_linear",
        "rope_llama3",
        "rope_yarn",
        "rope_yarn_mscale",
        "gemma3_pattern",
        "gemma3_bf16",
    ] {
        let path = dir.path().join(format!("{case}.gguf"));
        let folder = load(&golden(case)).unwrap();
        write_gguf(&folder, StorageKind::F32, &path);
        let file = load(&path).unwrap();
        let golden = Golden::open(case);
        let (tokens, batch, width) = golden.tokens();
        let logits = file.logits(&tokens, &ForwardContext::plain(batch, width)).unwrap();
        let error = relative(&flat(&logits), &golden.values("logits"));
        assert!(error < 1e-4, "{case}: relative error {error:e}");
        for (a, b) in folder.named_weights().iter().zip(file.named_weights()) {
            let slot = a.slot;
            assert_eq!(a.read().unwrap(), file.read_weight(&slot.name).unwrap(), "{case}: {}", slot.name);
            assert_eq!(b.trained, a.trained);
        }
    }
}

#[test]
fn the_configuration_survives_the_way_through_gguf() {
    let dir = tempfile::tempdir().unwrap();
    for case in ["gqa_untied", "tied", "head_dim", "bias", "rope_linear", "rope_yarn", "gemma3_pattern", "gemma3_bf16"]
    {
        let path = dir.path().join(format!("{case}.gguf"));
        let folder = load(&golden(case)).unwrap();
        write_gguf(&folder, StorageKind::F16, &path);
        let read = config_from_gguf(&GgufFile::open(&path).unwrap()).unwrap();
        assert_eq!(ModelConfig::Llama(read), folder.config, "{case}");
    }
    let dynamic = load(&golden("rope_dynamic")).unwrap();
    let error = gguf_metadata(dynamic.config.as_llama()).unwrap_err();
    assert!(error.contains("dynamic"), "{error}");
}

#[test]
fn what_a_gguf_file_of_gemma_cannot_say_is_refused() {
    let kinds = load(&golden("gemma3_kinds")).unwrap();
    let error = gguf_metadata(kinds.config.as_llama()).unwrap_err();
    assert!(error.contains("query_pre_attn_scalar") && error.contains("24"), "{error}");
    let mut config = kinds.config.as_llama().clone();
    config.query_scalar = Some(16.0);
    let error = gguf_metadata(&config).unwrap_err();
    assert!(error.contains("each 6th") && error.contains("10000"), "{error}");
    config.local = Some(LocalLayers::periodic(config.layers, 6, 10_000.0));
    let metadata = gguf_metadata(&config).unwrap();
    assert_eq!(metadata[0].1, Value::from("gemma3"));
    // 62 layers are the published 27B, whose scores are scaled by another width
    config.layers = 62;
    config.local = Some(LocalLayers::periodic(62, 6, 10_000.0));
    config.hidden_size = 96;
    assert!(gguf_metadata(&config).is_err());
    config.query_scalar = Some(24.0);
    assert!(gguf_metadata(&config).is_ok());
}

#[test]
fn every_storage_type_gives_the_logits_of_its_dequantised_weights() {
    let dir = tempfile::tempdir().unwrap();
    let config = LlamaConfig { kv_heads: 2, intermediate_size: 256, ..LlamaConfig::new(64, 256, 2, 4) };
    let original = Model::random(&config, 7).unwrap();
    let tokens: Arc<[u32]> = (0..24).map(|i| i * 7 % 64).collect();
    let ctx = ForwardContext::plain(2, 12);
    let exact = flat(&original.logits(&tokens, &ctx).unwrap());
    for kind in StorageKind::ALL.into_iter().filter(|kind| !kind.is_memory_only()) {
        let path = dir.path().join(format!("{}.gguf", kind.name()));
        write_gguf(&original, kind, &path);
        let mapped = load(&path).unwrap();
        assert_eq!(mapped.main_storage(), Some(kind));
        let logits = flat(&mapped.logits(&tokens, &ctx).unwrap());
        let dense = Model::load(&path, BaseKind::F32, &mut |_, _, _| {}).unwrap();
        let error = relative(&logits, &flat(&dense.logits(&tokens, &ctx).unwrap()));
        assert!(error < 1e-5, "{}: {error:e} from its dense twin", kind.name());
        let error = relative(&logits, &exact);
        assert!(error < 0.6, "{}: {error:e} from the original", kind.name());
        assert!(error > 1e-7 || kind == StorageKind::F32, "{} rounds", kind.name());
    }
}

#[test]
fn the_order_and_storage_of_tensors_are_those_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    write_gguf(&load(&golden("bias")).unwrap(), StorageKind::Q8_0, &path);
    let model = load(&path).unwrap();
    let file = GgufFile::open(&path).unwrap();
    let names: Vec<&str> = file.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    let weights = model.named_weights();
    assert_eq!(weights.iter().map(|weight| weight.slot.gguf.as_str()).collect::<Vec<_>>(), names);
    for weight in &weights {
        assert_eq!(Some(weight.stored), file.tensor(&weight.slot.gguf).unwrap().kind());
        assert_eq!(weight.site.is_some(), weight.slot.name.contains(".attn.") || weight.slot.name.contains(".mlp."));
    }
}

#[test]
fn a_sliding_window_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("window.gguf");
    let config = LlamaConfig {
        sliding_window: Some(4),
        family: &temper_models::family::MISTRAL,
        ..LlamaConfig::new(32, 32, 1, 2)
    };
    let model = Model::random(&config, 3).unwrap();
    write_gguf(&model, StorageKind::F32, &path);
    let read = load(&path).unwrap();
    assert_eq!(read.config.as_llama().sliding_window, Some(4));
    assert_eq!(read.config.family().id, "mistral");
    let ctx = ForwardContext::plain(1, 10);
    let last = |tokens: Vec<u32>| {
        let logits = flat(&read.logits(&tokens.into(), &ctx).unwrap());
        logits[9 * 32..].to_vec()
    };
    let seen = last((0..10).collect());
    assert_eq!(seen, last((5..11).chain(6..10).collect()), "what lies before the window is not seen");
    assert_ne!(seen, last((0..6).chain([3]).chain(7..10).collect()));
}

type Pieces = (Vec<(String, Value)>, Vec<(String, Vec<usize>, StorageKind)>);

/// Metadata and tensors of a tiny model, to be damaged.
fn pieces() -> Pieces {
    let config = LlamaConfig { intermediate_size: 32, ..LlamaConfig::new(32, 32, 1, 2) };
    let metadata = gguf_metadata(&config).unwrap();
    let slots = temper_models::names::slots(&config);
    (metadata, slots.into_iter().map(|slot| (slot.gguf, slot.shape, StorageKind::F32)).collect())
}

/// Writes changed pieces, all weights 0.5, and tells why they do not load.
fn refused(change: impl Fn(&mut Pieces)) -> String {
    let mut all = pieces();
    change(&mut all);
    let mut writer = GgufWriter::new();
    for (key, value) in all.0 {
        writer.set(&key, value).unwrap();
    }
    for (name, shape, kind) in &all.1 {
        writer.declare(name, shape, *kind).unwrap();
    }
    let mut sink = writer.start(Vec::new()).unwrap();
    for (name, shape, kind) in &all.1 {
        let values = vec![0.5; shape.iter().product()];
        sink.write(name, &temper_nn::quantise(*kind, &values).unwrap()).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, sink.finish().unwrap()).unwrap();
    match load(&path) {
        Ok(_) => "it loads".to_owned(),
        Err(error) => temper_protocol::Problem::from(error).to_string(),
    }
}

fn set(pieces: &mut Pieces, key: &str, value: impl Into<Value>) {
    pieces.0.retain(|(known, _)| known != key);
    pieces.0.push((key.to_owned(), value.into()));
}

#[test]
fn what_does_not_fit_is_named_all_at_once() {
    assert_eq!(refused(|_| {}), "it loads");
    let text = refused(|all| {
        all.1.retain(|(name, ..)| name != "blk.0.attn_q.weight" && name != "output_norm.weight");
        all.1.iter_mut().find(|(name, ..)| name == "blk.0.ffn_up.weight").unwrap().1 = vec![64, 32];
        all.1.push(("blk.0.extra.weight".to_owned(), vec![4], StorageKind::F32));
    });
    for part in [
        "blk.0.attn_q.weight is missing",
        "output_norm.weight is missing",
        "blk.0.ffn_up.weight has shape [64, 32], [32, 32] is needed",
        "blk.0.extra.weight is not part of this model",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(refused(|all| set(all, "general.architecture", "mamba")).contains("known architecture: llama"));
    assert!(refused(|all| all.0.clear()).contains("general.architecture"));
    assert!(refused(|all| set(all, "general.type", "adapter")).contains("an adapter"));
    assert!(refused(|all| set(all, "llama.expert_count", 8_u32)).contains("mixture"));
    assert!(refused(|all| set(all, "split.count", Value::U16(3))).contains("one part of a split"));
    assert!(refused(|all| set(all, "llama.block_count", 4000_u32)).contains("and "));
    assert!(refused(|all| set(all, "llama.block_count", u32::MAX)).contains("num_hidden_layers"));
    assert!(refused(|all| set(all, "llama.attention.head_count", 0_u32)).contains("0 heads"));
    assert!(refused(|all| set(all, "llama.attention.head_count", "two")).contains("llama.attention.head_count"));
    assert!(refused(|all| set(all, "llama.rope.dimension_count", 8_u32)).contains("8 of 16"));
    assert!(refused(|all| set(all, "llama.rope.scaling.type", "longrope")).contains("longrope"));
    assert!(refused(|all| all.1.retain(|(name, ..)| name != "token_embd.weight")).contains("token_embd.weight"));
    assert!(
        refused(|all| all.1.push(("rope_freqs.weight".to_owned(), vec![3], StorageKind::F32))).contains("rope_freqs")
    );
}

#[test]
fn a_scale_that_is_not_finite_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    write_gguf(&load(&golden("tied")).unwrap(), StorageKind::Q8_0, &path);
    let file = GgufFile::open(&path).unwrap();
    let tensor = file.tensor("blk.1.ffn_down.weight").unwrap();
    let data = file.data(tensor).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(data.len()).position(|window| window == data.as_slice()).unwrap();
    bytes[at + 34..at + 36].copy_from_slice(&0x7c00_u16.to_le_bytes()); // the second block's scale: infinity
    let damaged = dir.path().join("damaged.gguf");
    std::fs::write(&damaged, bytes).unwrap();
    let error = load(&damaged).err().unwrap();
    assert!(matches!(error, temper_models::ModelError::NonFinite { .. }));
    assert!(error.to_string().contains("blk.1.ffn_down.weight"), "{error}");
}

#[test]
fn the_tokenizer_is_read_as_it_stands() {
    let mut writer = GgufWriter::new();
    let texts = |all: &[&str]| Value::Array(Array::String(all.iter().map(|&text| text.to_owned()).collect()));
    writer.set("tokenizer.ggml.model", "gpt2").unwrap();
    writer.set("tokenizer.ggml.pre", "smollm").unwrap();
    writer.set("tokenizer.ggml.tokens", texts(&["<|endoftext|>", "a", "Ġa"])).unwrap();
    writer.set("tokenizer.ggml.token_type", Value::Array(Array::I32(vec![3, 1, 1]))).unwrap();
    writer.set("tokenizer.ggml.merges", texts(&["Ġ a"])).unwrap();
    writer.set("tokenizer.ggml.eos_token_id", 0_u32).unwrap();
    writer.set("tokenizer.ggml.add_bos_token", false).unwrap();
    writer.set("tokenizer.chat_template", "{{ messages }}").unwrap();
    writer.set("tokenizer.chat_template.tool_use", "{{ tools }}").unwrap();
    let read = |writer: &GgufWriter| {
        let bytes = writer.clone().start(Vec::new()).unwrap().finish().unwrap();
        let file = GgufFile::parse(temper_nn::Bytes::owned(bytes), Path::new("t.gguf")).unwrap();
        gguf_tokenizer_parts(&file)
    };
    let parts = read(&writer).unwrap().unwrap();
    assert_eq!((parts.model.as_str(), parts.pre.as_str()), ("gpt2", "smollm"));
    assert_eq!(parts.tokens, ["<|endoftext|>", "a", "Ġa"]);
    assert_eq!(parts.token_types, [3, 1, 1]);
    assert_eq!(parts.merges, ["Ġ a"]);
    assert_eq!((parts.bos, parts.eos, parts.add_bos, parts.add_space_prefix), (None, Some(0), Some(false), None));
    assert_eq!(parts.chat_template.as_deref(), Some("{{ messages }}"));
    assert_eq!(parts.named_templates, [("tool_use".to_owned(), "{{ tools }}".to_owned())]);
    writer.set("tokenizer.ggml.token_type", Value::Array(Array::I32(vec![3, 1]))).unwrap();
    let error = read(&writer).unwrap_err().to_string();
    assert!(error.contains("2 entries for 3 tokens"), "{error}");
    assert_eq!(read(&GgufWriter::new()).unwrap(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_model_loads_or_is_refused(
        bits in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 1..4),
        in_header in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        let config = LlamaConfig { intermediate_size: 32, ..LlamaConfig::new(32, 32, 1, 2) };
        write_gguf(&Model::random(&config, 1).unwrap(), StorageKind::Q4_1, &path);
        let mut bytes = std::fs::read(&path).unwrap();
        let header = bytes.len() - 6000;
        for (place, bit) in bits {
            let at = place.index(if in_header { header } else { bytes.len() });
            bytes[at] ^= 1 << bit;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(model) = load(&path) {
            let tokens: Arc<[u32]> = Arc::new([1, 2, 3]);
            prop_assert!(model.logits(&tokens, &ForwardContext::plain(1, 3)).is_ok());
        }
        if let Ok(description) = temper_models::describe(&path) {
            prop_assert!(description.parameters > 0);
        }
    }
}
