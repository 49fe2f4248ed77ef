//! MLX adapters of the starter: keys, shapes and configuration as mlx-lm wants them; what it would not take is found out, and
//! what it cannot hold is refused.

use candle_core::{Device, Tensor};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use temper_data::TextCodec;
use temper_export::{Card, Cases, ExportError, ExportRequest, Exported, export, independent, read_peft, verify};
use temper_models::{BaseKind, LlamaConfig, Model};
use temper_nn::rng::Stream;
use temper_nn::slots::{Chain, Core, Delta, Factor, Init, Scale, Slots};
use temper_protocol::{ExportFormat, StorageType};

fn starter() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/starter")
}

fn codec() -> TextCodec {
    TextCodec::from_hf_folder(&starter()).expect("the starter's tokenizer")
}

fn cases() -> Cases {
    let codec = codec();
    let encode = |text: &str| codec.encode(text, false).expect("encodes");
    Cases {
        windows: vec![("probe".to_owned(), encode("The sea was calm and the ship went on."))],
        prompts: vec![encode("How much is")],
    }
}

fn load(base: &Path) -> Model {
    Model::load(base, BaseKind::Auto, &mut |_, _, _| {}).expect("loads")
}

/// Random factors on the sites that `slot` names a rank and an alpha for.
fn adapted(base: &Path, slot: impl Fn(&str) -> Option<(usize, f64)>) -> Model {
    let mut model = load(base);
    let factor = || Factor::trained(Init::Zeros);
    for site in model.sites_mut() {
        let Some((rank, alpha)) = slot(site.name()) else { continue };
        let slots = Slots {
            delta: Delta::Chain(Chain { rank, b: factor(), core: Core::None, a: factor() }),
            scale: Scale::AlphaOverRank(alpha),
            ..Slots::default()
        };
        site.attach(&slots, 5).expect("attaches");
        for param in site.params() {
            let mut values = vec![0f32; param.elements()];
            Stream::new(3, &param.name).fill_normal(&mut values, 0.1);
            let values = Tensor::from_vec(values, param.var.shape(), &Device::Cpu).expect("tensor");
            param.var.set(&values).expect("sets");
        }
    }
    model
}

/// Queries of all blocks but the first two, of rank 3 in block 3 and 4 elsewhere; values of the last block at another scale.
fn uneven(name: &str) -> Option<(usize, f64)> {
    match name {
        "layers.3.attn.q" => Some((3, 6.0)),
        "layers.5.attn.v" => Some((4, 2.0)),
        "layers.2.attn.q" | "layers.4.attn.q" | "layers.5.attn.q" => Some((4, 8.0)),
        _ => None,
    }
}

fn write(model: &Model, out: &Path) -> Result<Exported, ExportError> {
    let card = Card { name: "test".into(), base_name: "starter".into(), ..Card::default() };
    let (codec, cases, format) = (codec(), cases(), ExportFormat::Mlx);
    let request = ExportRequest { model, codec: &codec, format, dtype: None, out, card: &card, cases: &cases };
    export(&request, &mut |_| {}, &|| false)
}

fn tensors(folder: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(folder.join("adapters.safetensors"), &Device::Cpu).expect("reads")
}

#[test]
fn the_starters_adapter_has_the_keys_and_shapes_that_mlx_lm_fills_in() {
    let dir = tempfile::tempdir().expect("folder");
    let model = adapted(&starter(), uneven);
    let out = dir.path().join("mlx");
    let exported = write(&model, &out).expect("exports");
    assert!(exported.certificate.pass(), "{:#?}", exported.certificate);
    assert!(exported.certificate.reasons.is_empty(), "not another graph: {:?}", exported.certificate.reasons);
    let text = std::fs::read_to_string(out.join("adapter_config.json")).expect("reads");
    let config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let wanted = serde_json::json!({
        "fine_tune_type": "lora",
        "lora_parameters": {
            "dropout": 0.0, "keys": ["self_attn.q_proj", "self_attn.v_proj"], "rank": 4, "scale": 2.0
        },
        "model": "starter",
        "num_layers": 4,
    });
    assert_eq!(config, wanted);
    let loaded = tensors(&out);
    assert_eq!(loaded.len(), 16, "two factors of two layers in the last four blocks");
    for (block, module, out_features) in (2..6).flat_map(|block| [(block, "q_proj", 192_usize), (block, "v_proj", 64)])
    {
        let factor = |letter: &str| &loaded[&format!("model.layers.{block}.self_attn.{module}.lora_{letter}")];
        assert_eq!((factor("a").dims(), factor("b").dims()), ([192, 4].as_slice(), [4, out_features].as_slice()));
        let sum = factor("b").abs().and_then(|tensor| tensor.sum_all()?.to_scalar::<f32>()).expect("a sum");
        let untrained = module == "v_proj" && block < 5;
        assert_eq!(sum == 0.0, untrained, "block {block}, {module}");
    }
    let readme = std::fs::read_to_string(out.join("README.md")).expect("a card");
    assert!(readme.contains("library_name: mlx\n") && readme.contains("An adapter for mlx-lm"), "{readme}");
    for refusal in [read_peft::describe(&out).map(drop), read_peft::attach(&mut load(&starter()), &out).map(drop)] {
        let said = refusal.expect_err("another program's").to_string();
        assert!(said.contains("mlx-lm"), "{said}");
    }
    let again = verify(&model, &codec(), (&out, &[]), &cases(), &mut |_| {}, &|| false).expect("verifies");
    assert!(again.pass(), "{:#?}", again.checks);
}

#[test]
fn the_other_reader_misses_no_tensor_and_takes_none_too_many() {
    let dir = tempfile::tempdir().expect("folder");
    let out = dir.path().join("mlx");
    write(&adapted(&starter(), uneven), &out).expect("exports");
    let file = out.join("adapters.safetensors");
    let base = || independent::read_hf(&starter()).expect("reads the base");
    let whole = tensors(&out);
    let refused = |changed: &HashMap<String, Tensor>| {
        candle_core::safetensors::save(changed, &file).expect("saves");
        independent::mlx_over(base(), &out).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(refused(&whole), "", "as it was");
    let name = "model.layers.4.self_attn.q_proj.lora_a";
    let mut fewer = whole.clone();
    let taken = fewer.remove(name).expect("there");
    assert!(refused(&fewer).contains(&format!("{name} is missing")), "{}", refused(&fewer));
    let mut more = whole.clone();
    more.insert("model.layers.0.self_attn.q_proj.lora_a".to_owned(), taken.clone());
    assert!(refused(&more).contains("17 tensors, of which mlx-lm would take 16"), "{}", refused(&more));
    let mut turned = whole;
    turned.insert(name.to_owned(), taken.t().and_then(|tensor| tensor.contiguous()).expect("turns round"));
    assert!(refused(&turned).contains(name), "{}", refused(&turned));
}

#[test]
fn a_base_that_the_other_graph_cannot_run_is_checked_by_ours() {
    let dir = tempfile::tempdir().expect("folder");
    let config = LlamaConfig {
        intermediate_size: 96,
        kv_heads: 2,
        attention_bias: true,
        ..LlamaConfig::new(codec().vocabulary(), 48, 2, 4)
    };
    let base = dir.path().join("base");
    let (codec, cases, card) = (codec(), cases(), Card::default());
    let request = ExportRequest {
        model: &Model::random(&config, 11).expect("random model"),
        codec: &codec,
        format: ExportFormat::Hf,
        dtype: Some(StorageType::F32),
        out: &base,
        card: &card,
        cases: &cases,
    };
    export(&request, &mut |_| {}, &|| false).expect("writes the base");
    let model = adapted(&base, |name| name.ends_with(".up").then_some((2, 4.0)));
    let exported = write(&model, &dir.path().join("mlx")).expect("exports");
    assert!(exported.certificate.pass(), "{:#?}", exported.certificate);
    assert!(exported.certificate.reasons.join(" ").contains("own graph"), "{:?}", exported.certificate.reasons);
}

#[test]
fn what_two_factors_cannot_hold_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("folder");
    let out = dir.path().join("mlx");
    let bare = write(&load(&starter()), &out).expect_err("no adapter").to_string();
    assert!(bare.contains("carries no adapter"), "{bare}");
    let mut whole = load(&starter());
    whole.promote(&|name| name.contains("norm")).expect("promotes");
    assert!(matches!(write(&whole, &out), Err(ExportError::NotRepresentable { .. })));
    assert!(!out.exists());
}
