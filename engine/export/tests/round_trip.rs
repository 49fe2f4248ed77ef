//! A small model with a trained-looking adapter leaves in every format and comes back: the certificate
//! passes for what is right and fails for what was damaged.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use temper_data::TextCodec;
use temper_export::{Card, Cases, ExportError, ExportRequest, Exported, export, read_peft, verify};
use temper_models::family::GEMMA3;
use temper_models::{BaseKind, Limits, LlamaConfig, LocalLayers, Model, Sampling, generate};
use temper_nn::rng::Stream;
use temper_nn::slots::{Chain, Core, Delta, Factor, Init, Scale, Slots};
use temper_protocol::{Event, ExportFormat, StorageType};

fn starter() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/starter")
}

fn codec() -> TextCodec {
    TextCodec::from_hf_folder(&starter()).expect("the starter's tokenizer")
}

/// A model folder on disk, made of random weights.
fn base_folder(dir: &Path) -> PathBuf {
    let vocabulary = codec().vocabulary();
    let config = LlamaConfig { intermediate_size: 128, kv_heads: 2, ..LlamaConfig::new(vocabulary, 64, 2, 4) };
    let model = Model::random(&config, 11).expect("random model");
    let out = dir.join("base");
    let exported = write(&model, ExportFormat::Hf, Some(StorageType::F32), &out);
    assert!(exported.certificate.pass(), "{:?}", exported.certificate);
    out
}

/// The same model as a GGUF file.
fn base_gguf(dir: &Path) -> PathBuf {
    let model = Model::load(&base_folder(dir), BaseKind::Auto, &mut |_, _, _| {}).expect("loads");
    let out = dir.join("base.gguf");
    let exported = write(&model, ExportFormat::Gguf, Some(StorageType::F32), &out);
    assert!(exported.certificate.pass(), "{:?}", exported.certificate);
    out
}

/// Adapters of different ranks and scales with random factors, on some sites.
fn adapted(base: &Path) -> Model {
    adapted_over(base, BaseKind::Auto)
}

/// The same over a base held otherwise.
fn adapted_over(base: &Path, held_as: BaseKind) -> Model {
    let mut model = Model::load(base, held_as, &mut |_, _, _| {}).expect("loads");
    let factor = || Factor::trained(Init::Zeros);
    for (index, site) in model.sites_mut().into_iter().enumerate().filter(|(index, _)| index % 7 != 3) {
        let rank = if index == 1 { 3 } else { 4 };
        let alpha = if index == 2 { 3.0 } else { 8.0 };
        let slots = Slots {
            delta: Delta::Chain(Chain { rank, b: factor(), core: Core::None, a: factor() }),
            scale: Scale::AlphaOverRank(alpha),
            ..Slots::default()
        };
        site.attach(&slots, 5).expect("attaches");
        for param in site.params() {
            let mut values = vec![0f32; param.elements()];
            Stream::new(3, &param.name).fill_normal(&mut values, 0.1);
            let shape = param.var.shape().clone();
            let tensor = candle_core::Tensor::from_vec(values, shape, &candle_core::Device::Cpu).expect("tensor");
            param.var.set(&tensor).expect("sets");
        }
    }
    model
}

fn cases() -> Cases {
    let codec = codec();
    let texts =
        ["The sea was calm and the ship went on.", "How much is 12 + 30? It is 42.", "fn main() { let x = 3; }"];
    let encode = |text: &str| codec.encode(text, false).expect("encodes");
    Cases {
        windows: texts.iter().map(|text| ("probe".to_owned(), encode(text))).collect(),
        prompts: vec![encode("The captain said"), encode("How much is")],
    }
}

fn card() -> Card {
    Card {
        name: "test".into(),
        base_name: "base".into(),
        method: "lora".into(),
        method_title: "LoRA".into(),
        ..Card::default()
    }
}

fn try_write(
    model: &Model,
    format: ExportFormat,
    dtype: Option<StorageType>,
    out: &Path,
) -> Result<Exported, ExportError> {
    let (codec, card, cases) = (codec(), card(), cases());
    let request = ExportRequest { model, codec: &codec, format, dtype, out, card: &card, cases: &cases };
    export(&request, &mut |_| {}, &|| false)
}

fn write(model: &Model, format: ExportFormat, dtype: Option<StorageType>, out: &Path) -> Exported {
    try_write(model, format, dtype, out).expect("exports")
}

#[test]
fn every_format_over_a_folder_passes_and_verifies_again() {
    let dir = tempfile::tempdir().expect("folder");
    let model = adapted(&base_folder(dir.path()));
    for (format, dtype) in [
        (ExportFormat::Peft, None),
        (ExportFormat::Mlx, None),
        (ExportFormat::Hf, None),
        (ExportFormat::Hf, Some(StorageType::F16)),
        (ExportFormat::Gguf, Some(StorageType::F32)),
        (ExportFormat::Gguf, Some(StorageType::F16)),
        (ExportFormat::Gguf, Some(StorageType::Q8_0)),
    ] {
        let out = dir.path().join(format!("{}-{dtype:?}", format.name()));
        let exported = write(&model, format, dtype, &out);
        assert!(exported.certificate.pass(), "{format:?} {dtype:?}: {:#?}", exported.certificate);
        assert!(exported.certificate.measured.survival().expect("a change") > 0.7);
        let mut events = Vec::new();
        let again = verify(&model, &codec(), (&out, &[]), &cases(), &mut |event| events.push(event), &|| false)
            .expect("verifies");
        assert!(again.pass(), "{:#?}", again.checks);
        assert!(events.iter().any(|event| matches!(event, Event::Certificate { pass: true, .. })));
    }
}

#[test]
fn every_format_over_a_gguf_file_passes() {
    let dir = tempfile::tempdir().expect("folder");
    let model = adapted(&base_gguf(dir.path()));
    for (format, dtype, name) in [
        (ExportFormat::Peft, None, "peft"),
        (ExportFormat::Mlx, None, "mlx"),
        (ExportFormat::Hf, Some(StorageType::F32), "hf"),
        (ExportFormat::Gguf, None, "merged.gguf"),
        (ExportFormat::GgufLora, None, "adapter.gguf"),
    ] {
        let exported = write(&model, format, dtype, &dir.path().join(name));
        assert!(exported.certificate.pass(), "{format:?}: {:#?}", exported.certificate);
        assert!(exported.certificate.greedy_equal && exported.certificate.measured.relative() < 1e-4);
    }
    assert!(dir.path().join("merged.gguf").is_file() && dir.path().join("merged.temper.json").is_file());
}

/// A small Gemma 3 on disk, its norms away from 1.
fn gemma_folder(dir: &Path) -> PathBuf {
    let config = LlamaConfig {
        family: &GEMMA3,
        intermediate_size: 96,
        kv_heads: 1,
        head_dim: 32,
        query_scalar: Some(32.0),
        sliding_window: Some(6),
        local: Some(LocalLayers::periodic(6, 6, 10_000.0)),
        ..LlamaConfig::new(codec().vocabulary(), 64, 6, 4)
    };
    let mut model = Model::random(&config, 13).expect("random model");
    model.promote(&|name| name.contains("norm")).expect("promotes");
    for param in &model.params().expect("parameters") {
        let mut noise = vec![0f32; param.elements()];
        Stream::new(8, &param.name).fill_normal(&mut noise, 0.2);
        let noise = candle_core::Tensor::from_vec(noise, param.var.shape(), &candle_core::Device::Cpu).expect("tensor");
        param.var.set(&(param.var.as_tensor() + noise).expect("sum")).expect("sets");
    }
    let out = dir.join("gemma");
    let exported = write(&model, ExportFormat::Hf, Some(StorageType::F32), &out);
    assert!(exported.certificate.pass(), "{:?}", exported.certificate);
    out
}

#[test]
fn gemma_leaves_in_every_format_and_another_graph_agrees() {
    let dir = tempfile::tempdir().expect("folder");
    let agreed = |model: &Model, format: ExportFormat, dtype: Option<StorageType>, name: &str| {
        let out = dir.path().join(name);
        let certificate = write(model, format, dtype, &out).certificate;
        assert!(certificate.pass(), "{name}: {certificate:#?}");
        assert!(certificate.reasons.is_empty(), "{name}: not the independent graph: {:?}", certificate.reasons);
        assert!(certificate.greedy_equal && certificate.measured.relative() < 1e-4, "{name}: {certificate:#?}");
        out
    };
    let f32 = Some(StorageType::F32);
    let folder = adapted(&gemma_folder(dir.path()));
    agreed(&folder, ExportFormat::Peft, None, "peft");
    agreed(&folder, ExportFormat::Mlx, None, "mlx");
    agreed(&folder, ExportFormat::Hf, f32, "hf");
    let file = agreed(&folder, ExportFormat::Gguf, f32, "merged.gguf");
    let over_file = adapted(&file);
    assert_eq!(over_file.config.family().id, "gemma3");
    agreed(&over_file, ExportFormat::Peft, None, "peft-of-file");
    agreed(&over_file, ExportFormat::Mlx, None, "mlx-of-file");
    agreed(&over_file, ExportFormat::Hf, f32, "hf-of-file");
    agreed(&over_file, ExportFormat::Gguf, None, "again.gguf");
    agreed(&over_file, ExportFormat::GgufLora, None, "adapter.gguf");
}

#[test]
fn a_merged_model_over_a_rounded_base_holds_the_rounded_values_everywhere() {
    let dir = tempfile::tempdir().expect("folder");
    let file = base_gguf(dir.path());
    let folder = dir.path().join("base");
    let grouped: BaseKind = "int4-g32".parse().expect("a base");
    for (base, held_as) in [
        (&folder, BaseKind::Nf4),
        (&file, BaseKind::Nf4),
        (&file, BaseKind::Int8),
        (&folder, BaseKind::Nf4Double),
        (&folder, grouped),
    ] {
        let model = adapted_over(base, held_as);
        for (format, name) in [(ExportFormat::Hf, "hf"), (ExportFormat::Gguf, "merged.gguf")] {
            let out = dir.path().join(format!("{held_as}-{}-{name}", base.file_name().expect("name").display()));
            let exported = write(&model, format, Some(StorageType::F32), &out);
            assert!(exported.certificate.pass(), "{held_as} {format:?}: {:#?}", exported.certificate);
            let back = Model::load(&out, BaseKind::Auto, &mut |_, _, _| {}).expect("loads");
            let untouched = model.sites().into_iter().find(|site| !site.is_adapted()).expect("one is left alone");
            let name = format!("{}.weight", untouched.name());
            assert_eq!(back.read_weight(&name).expect("reads"), model.read_weight(&name).expect("reads"));
        }
    }
}

#[test]
fn a_folder_base_has_no_gguf_adapter() {
    let dir = tempfile::tempdir().expect("folder");
    let model = adapted(&base_folder(dir.path()));
    let error = try_write(&model, ExportFormat::GgufLora, None, &dir.path().join("x")).expect_err("refused");
    assert!(matches!(error, ExportError::NotRepresentable { .. }));
    assert!(!dir.path().join("x").exists());
}

#[test]
fn an_adapter_comes_back_from_its_folder() {
    let dir = tempfile::tempdir().expect("folder");
    let base = base_folder(dir.path());
    let model = adapted(&base);
    let out = dir.path().join("adapter");
    write(&model, ExportFormat::Peft, None, &out);
    let mut back = Model::load(&base, BaseKind::Auto, &mut |_, _, _| {}).expect("loads");
    let sites = read_peft::attach(&mut back, &out).expect("attaches");
    assert_eq!(sites, model.sites().iter().filter(|site| site.is_adapted()).count());
    for (ours, theirs) in model.sites().iter().zip(back.sites()) {
        let (a, b) = (ours.merge().expect("merges").expect("linear"), theirs.merge().expect("merges").expect("linear"));
        let worst = a.weight.iter().zip(&b.weight).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-6, "{}: {worst}", ours.name());
    }
    let summary = read_peft::describe(&out).expect("describes");
    assert_eq!((summary.rank, summary.sites), (4, sites as u64));
}

#[test]
fn a_damaged_export_does_not_pass_and_says_why() {
    let dir = tempfile::tempdir().expect("folder");
    let base = base_folder(dir.path());
    let model = adapted(&base);
    let out = dir.path().join("merged");
    write(&model, ExportFormat::Hf, None, &out);
    // the base's weights under the merged model's name: everything loads, nothing was learned
    std::fs::copy(base.join("model.safetensors"), out.join("model.safetensors")).expect("copies");
    let verdict = verify(&model, &codec(), (&out, &[]), &cases(), &mut |_| {}, &|| false).expect("runs");
    assert!(!verdict.pass());
    assert!(!verdict.reasons.is_empty());
    let failed: Vec<&str> =
        verdict.checks.iter().filter(|check| !check.pass).map(|check| check.name.as_str()).collect();
    assert!(failed.contains(&"share of the change that survives"), "{failed:?}");
    assert!(failed.contains(&"files are as they were written"), "{failed:?}");
}

#[test]
fn an_answer_that_ends_elsewhere_because_of_a_stop_token_in_the_files_fails_an_unrounded_export() {
    let dir = tempfile::tempdir().expect("folder");
    let model = adapted(&base_folder(dir.path()));
    let (out, cases) = (dir.path().join("merged"), cases());
    let exported = write(&model, ExportFormat::Hf, Some(StorageType::F32), &out);
    assert_eq!(exported.certificate.stops_alike, (cases.prompts.len(), cases.prompts.len()));
    // The files now end an answer at a token with which the trained model goes on.
    let limits = Limits { max_tokens: 4, stop: Vec::new() };
    let prompt = &cases.prompts[0];
    let answer =
        generate(&model, prompt, &limits, Sampling::GREEDY, &mut |_| ControlFlow::Continue(())).expect("answers");
    let mut stops = codec().special().stop.clone();
    let more = answer.tokens.into_iter().find(|token| !stops.contains(token)).expect("a token that ends nothing");
    stops.push(more);
    let config = format!("{{\"do_sample\": false, \"eos_token_id\": {stops:?}}}");
    std::fs::write(out.join("generation_config.json"), config).expect("writes");
    let verdict = verify(&model, &codec(), (&out, &[]), &cases, &mut |_| {}, &|| false).expect("runs");
    assert!(verdict.stops_alike.0 < verdict.stops_alike.1, "{:?}", verdict.checks);
    let ends = verdict.checks.iter().find(|check| check.name == "answers end at the same token").expect("a row");
    assert!(!ends.pass && ends.limit == "all", "{ends:?}");
    assert!(verdict.reasons.iter().any(|reason| reason.starts_with("answer 1 ends at")), "{:?}", verdict.reasons);
    assert!(verdict.greedy_equal, "the tokens themselves are the same");
}

#[test]
fn a_tensor_that_does_not_fit_is_named_and_nothing_is_attached() {
    let dir = tempfile::tempdir().expect("folder");
    let base = base_folder(dir.path());
    let out = dir.path().join("adapter");
    write(&adapted(&base), ExportFormat::Peft, None, &out);
    let config = LlamaConfig { intermediate_size: 80, ..LlamaConfig::new(512, 32, 1, 2) };
    let mut other = Model::random(&config, 1).expect("random");
    let error = read_peft::attach(&mut other, &out).expect_err("does not fit").to_string();
    assert!(error.contains("layers.0.self_attn.q_proj") && error.contains("layers.1.mlp.down_proj"), "{error}");
    assert!(other.sites().iter().all(|site| !site.is_adapted()));
}

#[test]
fn equal_exports_have_equal_bytes_and_a_cancelled_one_leaves_nothing() {
    let dir = tempfile::tempdir().expect("folder");
    let model = adapted(&base_folder(dir.path()));
    let outs = [dir.path().join("1"), dir.path().join("2")];
    for out in &outs {
        write(&model, ExportFormat::Peft, None, out);
    }
    for entry in std::fs::read_dir(&outs[0]).expect("lists") {
        let name = entry.expect("entry").file_name();
        let bytes = |out: &Path| std::fs::read(out.join(&name)).expect("reads");
        assert_eq!(bytes(&outs[0]), bytes(&outs[1]), "{name:?}");
    }
    let (codec, card, cases) = (codec(), card(), cases());
    let out = dir.path().join("cancelled");
    let request = ExportRequest {
        model: &model,
        codec: &codec,
        format: ExportFormat::Hf,
        dtype: None,
        out: &out,
        card: &card,
        cases: &cases,
    };
    assert!(matches!(export(&request, &mut |_| {}, &|| true), Err(ExportError::Cancelled)));
    assert!(!out.exists() && !dir.path().join("cancelled.partial").exists());
}
