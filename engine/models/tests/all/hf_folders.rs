//! Hugging Face folders that are wrong in every way that happens, and some that are merely unusual.

use crate::tools::{Golden, flat, golden, load, relative};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use temper_models::{LlamaConfig, Model, ModelError};
use temper_nn::ForwardContext;
use temper_protocol::{Code, Problem};

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn config() -> LlamaConfig {
    LlamaConfig { intermediate_size: 32, ..LlamaConfig::new(32, 32, 1, 2) }
}

/// The tensors of a tiny model.
fn tensors() -> Tensors {
    let model = Model::random(&config(), 5).unwrap();
    let weights = model.named_weights();
    let one = |weight: &temper_models::NamedWeight<'_>| {
        let bytes = weight.read().unwrap().iter().flat_map(|value| value.to_le_bytes()).collect();
        (weight.slot.hf.clone(), (Dtype::F32, weight.slot.shape.clone(), bytes))
    };
    weights.iter().map(one).collect()
}

fn write_weights(path: &Path, tensors: &Tensors) {
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn write_config(dir: &Path, change: impl Fn(&mut Value)) {
    let mut json = config().to_hf_json("float32");
    change(&mut json);
    std::fs::write(dir.join("config.json"), json.to_string()).unwrap();
}

fn folder(change: impl Fn(&mut Tensors)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_config(dir.path(), |_| {});
    let mut tensors = tensors();
    change(&mut tensors);
    write_weights(&dir.path().join("model.safetensors"), &tensors);
    dir
}

fn problem(path: &Path) -> Problem {
    Problem::from(load(path).err().unwrap())
}

#[test]
fn everything_that_does_not_fit_is_named_at_once() {
    let dir = folder(|tensors| {
        tensors.remove("model.norm.weight").unwrap();
        tensors.remove("model.layers.0.self_attn.q_proj.weight").unwrap();
        let wrong = (Dtype::F32, vec![16, 64], vec![0; 4096]);
        tensors.insert("model.layers.0.mlp.up_proj.weight".to_owned(), wrong);
        let whole = (Dtype::I64, vec![32, 32], vec![0; 8192]);
        tensors.insert("model.layers.0.mlp.gate_proj.weight".to_owned(), whole);
        tensors.insert("model.layers.7.extra".to_owned(), (Dtype::F32, vec![1], vec![0; 4]));
    });
    let text = problem(dir.path()).to_string();
    for part in [
        "model.norm.weight is missing",
        "model.layers.0.self_attn.q_proj.weight is missing",
        "model.layers.0.mlp.up_proj.weight has shape [16, 64], [32, 32] is needed",
        "model.layers.0.mlp.gate_proj.weight is stored as I64",
        "model.layers.7.extra is not part of this model",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn rotary_buffers_and_a_head_beside_a_tied_embedding_are_ignored() {
    let dir = folder(|tensors| {
        let buffer = (Dtype::F32, vec![8], vec![0; 32]);
        tensors.insert("model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(), buffer);
        let head = (Dtype::F32, vec![32, 32], vec![0; 4096]);
        tensors.insert("lm_head.weight".to_owned(), head);
    });
    let model = load(dir.path()).unwrap();
    let expected = Model::random(&config(), 5).unwrap();
    let (tokens, ctx) = ([1, 2, 3].into(), ForwardContext::plain(1, 3));
    assert_eq!(flat(&model.logits(&tokens, &ctx).unwrap()), flat(&expected.logits(&tokens, &ctx).unwrap()));
}

#[test]
fn a_single_file_with_its_configuration_beside_it_is_a_model() {
    let dir = folder(|_| {});
    std::fs::rename(dir.path().join("model.safetensors"), dir.path().join("weights.safetensors")).unwrap();
    assert!(load(&dir.path().join("weights.safetensors")).is_ok());
    assert!(load(dir.path()).is_ok(), "the only weight file of a folder is taken");
    write_weights(&dir.path().join("other.safetensors"), &tensors());
    assert!(problem(dir.path()).what.contains("2 .safetensors files"));
}

#[test]
fn a_damaged_file_is_refused_with_the_reason() {
    let dir = folder(|_| {});
    let file = dir.path().join("model.safetensors");
    let whole = std::fs::read(&file).unwrap();
    for length in [1, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&file, &whole[..length]).unwrap();
        let problem = problem(dir.path());
        assert_eq!(problem.code, Code::ModelInvalid);
        assert!(problem.r#where.contains("model.safetensors"), "{problem}");
        assert!(problem.what.contains("truncated"), "cut at {length}: {problem}");
    }
    std::fs::write(&file, []).unwrap();
    assert!(problem(dir.path()).what.contains("empty"));
    let mut absurd = whole.clone();
    absurd[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    std::fs::write(&file, &absurd).unwrap();
    assert!(problem(dir.path()).what.contains("absurd"));
    let mut longer = whole;
    longer.extend([0; 16]);
    std::fs::write(&file, &longer).unwrap();
    assert_eq!(problem(dir.path()).code, Code::ModelInvalid);
}

#[test]
fn a_value_that_is_not_finite_is_named() {
    for name in ["model.layers.0.mlp.up_proj.weight", "model.layers.0.input_layernorm.weight"] {
        let dir = folder(|tensors| {
            let bytes = &mut tensors.get_mut(name).unwrap().2;
            bytes[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
        });
        let problem = problem(dir.path());
        assert_eq!(problem.code, Code::NonFinite);
        assert!(problem.what.contains(name), "{problem}");
    }
}

#[test]
fn pickles_are_refused() {
    let dir = folder(|_| {});
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    let pickle = dir.path().join("pytorch_model.bin");
    std::fs::write(&pickle, b"PK\x03\x04 torch").unwrap();
    for path in [dir.path(), &pickle] {
        let problem = problem(path);
        assert_eq!(problem.code, Code::Refused);
        assert!(problem.what.contains("pytorch_model.bin") && problem.what.contains("pickle"), "{problem}");
    }
    let bare = dir.path().join("weights.dat");
    std::fs::write(&bare, [0x80, 0x02, b'}', b'q', 0, b'.']).unwrap();
    assert_eq!(problem(&bare).code, Code::Refused);
    write_weights(&dir.path().join("model.safetensors"), &tensors());
    assert!(load(dir.path()).is_ok(), "a pickle beside safetensors is not touched");
}

#[test]
fn what_is_no_model_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("notes.txt");
    std::fs::write(&text, "hello").unwrap();
    assert_eq!(problem(&text).code, Code::NotFound);
    assert!(problem(dir.path()).what.contains("config.json"));
    assert_eq!(problem(&dir.path().join("missing")).code, Code::Io);
    std::fs::write(dir.path().join("config.json"), "{").unwrap();
    assert!(problem(dir.path()).what.contains("not JSON"));
    write_config(dir.path(), |_| {});
    assert!(problem(dir.path()).what.contains("no .safetensors"));
    write_weights(&dir.path().join("model.safetensors"), &tensors());
    write_config(dir.path(), |json| json["architectures"] = json!(["GPT2LMHeadModel"]));
    let problem = problem(dir.path());
    assert!(problem.what.contains("GPT2LMHeadModel"), "{problem}");
    assert!(problem.action.contains("LlamaForCausalLM") && problem.action.contains("MistralForCausalLM"));
}

#[test]
fn shards_are_joined_and_a_missing_or_doubled_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let source = golden("sharded");
    for entry in std::fs::read_dir(&source).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let model = load(dir.path()).unwrap();
    let stored = Golden::open("sharded");
    let (tokens, batch, width) = stored.tokens();
    let logits = flat(&model.logits(&tokens, &ForwardContext::plain(batch, width)).unwrap());
    assert!(relative(&logits, &stored.values("logits")) < 1e-4);

    let second = dir.path().join("model-00002-of-00003.safetensors");
    let bytes = std::fs::read(&second).unwrap();
    std::fs::remove_file(&second).unwrap();
    assert!(problem(dir.path()).what.contains("model-00002-of-00003.safetensors"));
    std::fs::copy(dir.path().join("model-00001-of-00003.safetensors"), &second).unwrap();
    assert!(problem(dir.path()).what.contains("more than one file"));
    std::fs::write(&second, bytes).unwrap();
    let index = dir.path().join("model.safetensors.index.json");
    for (bad, reason) in [
        (json!({"weight_map": {"a": "../../elsewhere.safetensors"}}), "beside the index"),
        (json!({"weight_map": {"a": "/elsewhere.safetensors"}}), "beside the index"),
        (json!({"weight_map": {"a": "model.bin"}}), "beside the index"),
        (json!({"weight_map": {"a": 3}}), "no file name"),
        (json!([]), "no weight_map"),
    ] {
        std::fs::write(&index, bad.to_string()).unwrap();
        let problem = problem(dir.path());
        assert!(problem.what.contains(reason), "{problem}");
    }
}

#[test]
fn a_folder_with_one_gguf_file_is_that_file() {
    let dir = tempfile::tempdir().unwrap();
    let model = Model::random(&config(), 5).unwrap();
    crate::tools::write_gguf(&model, temper_nn::StorageKind::F16, &dir.path().join("a.gguf"));
    assert_eq!(load(dir.path()).unwrap().source.format(), "gguf");
    crate::tools::write_gguf(&model, temper_nn::StorageKind::F16, &dir.path().join("b.gguf"));
    assert!(matches!(load(dir.path()), Err(ModelError::NotAModel { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_folder_loads_or_is_refused(
        bits in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 1..4),
        in_header in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
        config_bit in prop::option::of((any::<prop::sample::Index>(), 0_u8..8)),
    ) {
        let dir = folder(|_| {});
        let damage = |name: &str, places: &[(prop::sample::Index, u8)], within: Option<usize>| {
            let path = dir.path().join(name);
            let mut bytes = std::fs::read(&path).unwrap();
            for (place, bit) in places {
                let at = place.index(within.unwrap_or(bytes.len()));
                bytes[at] ^= 1 << bit;
            }
            if let (Some(cut), "model.safetensors") = (&cut, name) {
                bytes.truncate(cut.index(bytes.len()));
            }
            std::fs::write(&path, bytes).unwrap();
        };
        damage("model.safetensors", &bits, in_header.then_some(1000));
        if let Some(bit) = config_bit {
            damage("config.json", &[bit], None);
        }
        if let Ok(model) = load(dir.path()) {
            prop_assert!(model.logits(&[1, 2, 3].into(), &ForwardContext::plain(1, 3)).is_ok());
        }
    }
}
