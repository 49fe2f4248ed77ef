//! Adapters that are no plain low-rank sum leave in PEFT's own types, as merged models, and come back: the certificate's
//! second opinion and the reader agree with the trained model.

use std::path::{Path, PathBuf};
use temper_data::TextCodec;
use temper_export::{Card, Cases, ExportError, ExportRequest, Exported, export, read_peft};
use temper_models::{BaseKind, LlamaConfig, Model};
use temper_nn::rng::Stream;
use temper_nn::slots::{
    Action, Base, Calibration, Chain, Core, Delta, Factor, Group, Init, Kron, KronFactor, Left, Map, Normaliser, Right,
    Rule, Scale, Scope, Score, Slots, Source, When,
};
use temper_protocol::{ExportFormat, StorageType};

fn codec() -> TextCodec {
    let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/starter");
    TextCodec::from_hf_folder(&starter).expect("the starter's tokenizer")
}

fn cases() -> Cases {
    let codec = codec();
    let encode = |text: &str| codec.encode(text, false).expect("encodes");
    Cases {
        windows: vec![("probe".to_owned(), encode("The sea was calm and the ship went on."))],
        prompts: vec![encode("How much is")],
    }
}

fn try_write(model: &Model, format: ExportFormat, out: &Path) -> Result<Exported, ExportError> {
    let card = Card { name: "test".into(), base_name: "base".into(), ..Card::default() };
    let (codec, cases, dtype) = (codec(), cases(), Some(StorageType::F32));
    let request = ExportRequest { model, codec: &codec, format, dtype, out, card: &card, cases: &cases };
    export(&request, &mut |_| {}, &|| false)
}

/// A model folder on disk, made of random weights.
fn base_folder(dir: &Path, attention_bias: bool) -> PathBuf {
    let vocabulary = codec().vocabulary();
    let config =
        LlamaConfig { intermediate_size: 96, kv_heads: 2, attention_bias, ..LlamaConfig::new(vocabulary, 48, 2, 4) };
    let out = dir.join("base");
    let mut model = Model::random(&config, 11).expect("random model");
    if attention_bias {
        // New models have biases of 0, which nothing could be seen on.
        model.promote(&|_| true).expect("promotes");
        for param in model.params().expect("parameters").iter().filter(|param| param.name.ends_with(".bias")) {
            let mut values = vec![0f32; param.elements()];
            Stream::new(4, &param.name).fill_normal(&mut values, 0.3);
            let values = candle_core::Tensor::from_vec(values, param.var.dims(), &candle_core::Device::Cpu);
            param.var.set(&values.expect("tensor")).expect("sets");
        }
    }
    assert!(try_write(&model, ExportFormat::Hf, &out).expect("exports").certificate.pass());
    out
}

/// Slots on every site, every parameter moved.
fn adapted(base: &Path, slots: impl Fn(&str) -> Slots) -> Model {
    let mut model = Model::load(base, BaseKind::Auto, &mut |_, _, _| {}).expect("loads");
    for site in model.sites_mut() {
        let slots = slots(site.name());
        site.attach(&slots, 5).expect("attaches");
        for param in site.params() {
            let mut noise = vec![0f32; param.elements()];
            Stream::new(3, &param.name).fill_normal(&mut noise, 0.1);
            let noise = candle_core::Tensor::from_vec(noise, param.var.dims(), &candle_core::Device::Cpu);
            let moved = (param.var.as_tensor() + noise.expect("tensor")).expect("adds");
            param.var.set(&moved).expect("sets");
        }
    }
    model
}

/// Writes the adapter and the merged model, reads the adapter back, and gives its `peft_type`.
fn leaves_and_returns(dir: &Path, base: &Path, model: &Model) -> String {
    let out = dir.join("adapter");
    let exported = try_write(model, ExportFormat::Peft, &out).expect("exports");
    assert!(exported.certificate.pass(), "{:#?}", exported.certificate);
    assert!(exported.certificate.measured.relative() < 1e-4);
    let mut back = Model::load(base, BaseKind::Auto, &mut |_, _, _| {}).expect("loads");
    let sites = read_peft::attach(&mut back, &out).expect("attaches");
    for (ours, theirs) in model.sites().iter().zip(back.sites()) {
        let (a, b) = (ours.merge().expect("merges").expect("linear"), theirs.merge().expect("merges").expect("linear"));
        let off = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off(&a.weight, &b.weight) < 1e-6, "{}", ours.name());
        let (a, b) = (a.bias.unwrap_or_default(), b.bias.unwrap_or_default());
        assert!(a.len() == b.len() && off(&a, &b) < 1e-6, "{}", ours.name());
    }
    let summary = read_peft::describe(&out).expect("describes");
    assert_eq!(summary.sites, sites as u64);
    summary.peft_type
}

#[test]
fn magnitudes_leave_as_lora_with_dora() {
    let dir = tempfile::tempdir().expect("folder");
    let base = base_folder(dir.path(), false);
    let model = adapted(&base, |site| Slots {
        normaliser: Normaliser::RowMagnitude(Group::default()),
        ..Slots::low_rank(if site.ends_with('q') { 2 } else { 4 }, Scale::AlphaOverRank(8.0))
    });
    assert_eq!(leaves_and_returns(dir.path(), &base, &model), "LORA");
    let text = std::fs::read_to_string(dir.path().join("adapter/adapter_config.json")).expect("reads");
    assert!(text.contains("\"use_dora\": true") && text.contains("rank_pattern"), "{text}");
    let merged = try_write(&model, ExportFormat::Hf, &dir.path().join("hf")).expect("exports");
    assert!(merged.certificate.pass(), "{:#?}", merged.certificate);
}

#[test]
fn a_residual_base_leaves_as_plain_lora_over_the_untouched_weight() {
    let dir = tempfile::tempdir().expect("folder");
    let base = base_folder(dir.path(), false);
    let found = Factor::trained(Init::Calibrated);
    let model = adapted(&base, |_| Slots {
        base: Base::Residual,
        calibration: Calibration::Svd { iterations: 2 },
        delta: Delta::Chain(Chain { rank: 4, b: found, core: Core::None, a: found }),
        ..Slots::default()
    });
    assert_eq!(leaves_and_returns(dir.path(), &base, &model), "LORA");
    let text = std::fs::read_to_string(dir.path().join("adapter/adapter_config.json")).expect("reads");
    assert!(text.contains("\"r\": 8") && !text.contains("init_lora_weights"), "{text}");
}

#[test]
fn scales_leave_as_ia3_with_biases_on_the_output_side() {
    let dir = tempfile::tempdir().expect("folder");
    // Without biases the independent graph can run it, with them the second opinion is our own reader.
    for attention_bias in [false, true] {
        let inner = dir.path().join(format!("{attention_bias}"));
        std::fs::create_dir(&inner).expect("folder");
        let base = base_folder(&inner, attention_bias);
        let scale = Factor::trained(Init::Ones);
        let model = adapted(&base, |site| Slots {
            normaliser: match site.ends_with("down") {
                true => Normaliser::ColumnScale(scale),
                false => Normaliser::RowScale(scale),
            },
            ..Slots::default()
        });
        assert_eq!(leaves_and_returns(&inner, &base, &model), "IA3");
        let merged = try_write(&model, ExportFormat::Hf, &inner.join("hf")).expect("exports");
        assert!(merged.certificate.pass(), "{:#?}", merged.certificate);
    }
}

#[test]
fn shared_matrices_leave_as_vera_with_their_projections() {
    let dir = tempfile::tempdir().expect("folder");
    let base = base_folder(dir.path(), false);
    let shared = |rows, cols| Factor::of(Source::Shared { init: Init::HeUniform, rows, cols });
    let model = adapted(&base, |_| Slots {
        delta: Delta::Chain(Chain {
            rank: 8,
            b: shared(96, 8).with_map(Map::Rows(Init::Zeros)),
            core: Core::Diagonal(Factor::trained(Init::Constant(0.1))),
            a: shared(8, 96),
        }),
        ..Slots::default()
    });
    assert_eq!(leaves_and_returns(dir.path(), &base, &model), "VERA");
    let file = dir.path().join("adapter/adapter_model.safetensors");
    let tensors = candle_core::safetensors::load(file, &candle_core::Device::Cpu).expect("reads");
    assert_eq!(tensors.get("base_model.vera_A").expect("projections").dims(), [8, 96]);
    assert_eq!(tensors.get("base_model.vera_B").expect("projections").dims(), [96, 8]);
}

#[test]
fn elementwise_and_kronecker_products_leave_as_loha_and_lokr() {
    let normal = Factor::trained(Init::Gaussian { std: 0.3 });
    let chain = |rank| Chain { rank, b: normal, core: Core::None, a: normal };
    let dir = tempfile::tempdir().expect("folder");
    let base = base_folder(dir.path(), false);
    let model = adapted(&base, |site| {
        let rank = if site.ends_with('q') { 2 } else { 3 };
        let delta = Delta::Hadamard(chain(rank), chain(rank));
        Slots { delta, scale: Scale::AlphaOverRank(4.0), ..Slots::default() }
    });
    assert_eq!(leaves_and_returns(dir.path(), &base, &model), "LOHA");
    let dir = tempfile::tempdir().expect("folder");
    let base = base_folder(dir.path(), false);
    let mut model = Model::load(&base, BaseKind::Auto, &mut |_, _, _| {}).expect("loads");
    for site in model.sites_mut() {
        let (rows, cols) = (site.out_features(), site.in_features());
        let thin = KronFactor::Product { rank: 2, outer: normal, inner: normal };
        let v = if rows == cols { KronFactor::Full(normal) } else { thin };
        let (u_size, v_size) = ((4, 6), (rows / 4, cols / 6));
        let kron = Kron { terms: 1, u_size, v_size, u: KronFactor::Full(normal), v, decompose_factor: -1 };
        let slots = Slots { delta: Delta::Kron(kron), scale: Scale::Fixed(0.7), ..Slots::default() };
        site.attach(&slots, 5).expect("attaches");
    }
    assert_eq!(leaves_and_returns(dir.path(), &base, &model), "LOKR");
}

#[test]
fn directions_under_a_budget_leave_as_adalora() {
    let normal = Factor::trained(Init::Gaussian { std: 0.3 });
    let dir = tempfile::tempdir().expect("folder");
    let base = base_folder(dir.path(), false);
    let model = adapted(&base, |_| Slots {
        delta: Delta::Chain(Chain { rank: 6, b: normal, core: Core::Diagonal(normal), a: normal }),
        scale: Scale::Fixed(16.0 / (6.0 + 1e-5)),
        rules: vec![Rule {
            when: When::Every { steps: 10, from: 0.1, until: 0.6 },
            scope: Scope::Model,
            score: Score::Sensitivity { beta1: 0.85, beta2: 0.85 },
            action: Action::KeepTop { target: 4 },
        }],
        ..Slots::default()
    });
    assert_eq!(leaves_and_returns(dir.path(), &base, &model), "ADALORA");
    let text = std::fs::read_to_string(dir.path().join("adapter/adapter_config.json")).expect("reads");
    let config: serde_json::Value = serde_json::from_str(&text).expect("json");
    assert!((config["lora_alpha"].as_f64().expect("a number") - 16.0).abs() < 1e-9, "{text}");
    assert_eq!(config["init_r"], 6, "{text}");
}

#[test]
fn sums_and_blocks_leave_as_miss() {
    let normal = Factor::trained(Init::Gaussian { std: 0.3 });
    let dir = tempfile::tempdir().expect("folder");
    let base = base_folder(dir.path(), false);
    let model = adapted(&base, |_| Slots {
        delta: Delta::Chain(Chain { rank: 7, b: normal, core: Core::None, a: Factor::of(Source::TiledIdentity) }),
        ..Slots::default()
    });
    assert_eq!(leaves_and_returns(dir.path(), &base, &model), "MISS");
    let dir = tempfile::tempdir().expect("folder");
    let base = base_folder(dir.path(), false);
    let model = adapted(&base, |_| Slots {
        right: Right::RowGroups { size: 8, blocks: Factor::trained(Init::Zeros) },
        delta: Delta::Tile,
        ..Slots::default()
    });
    assert_eq!(leaves_and_returns(dir.path(), &base, &model), "MISS");
    let text = std::fs::read_to_string(dir.path().join("adapter/adapter_config.json")).expect("reads");
    assert!(text.contains("\"init_weights\": \"bat\""), "{text}");
}

#[test]
fn a_branch_behind_the_layer_leaves_as_lora_with_a_bias_where_there_is_one() {
    for attention_bias in [false, true] {
        let dir = tempfile::tempdir().expect("folder");
        let base = base_folder(dir.path(), attention_bias);
        let normal = Factor::trained(Init::Gaussian { std: 0.1 });
        let model = adapted(&base, |_| Slots {
            left: Left::LowRank(Box::new(Chain { rank: 2, b: normal, core: Core::None, a: normal })),
            ..Slots::low_rank(3, Scale::AlphaOverRank(6.0))
        });
        assert_eq!(leaves_and_returns(dir.path(), &base, &model), "LORA");
        let text = std::fs::read_to_string(dir.path().join("adapter/adapter_config.json")).expect("reads");
        assert_eq!(text.contains("lora_bias"), attention_bias, "{text}");
    }
}

#[test]
fn trained_norms_leave_as_ln_tuning() {
    let dir = tempfile::tempdir().expect("folder");
    let base = base_folder(dir.path(), false);
    let mut model = Model::load(&base, BaseKind::Auto, &mut |_, _, _| {}).expect("loads");
    model.promote(&|name| name.contains("norm")).expect("promotes");
    for param in &model.params().expect("parameters") {
        let mut noise = vec![0f32; param.elements()];
        Stream::new(3, &param.name).fill_normal(&mut noise, 0.2);
        let noise = candle_core::Tensor::from_vec(noise, param.var.dims(), &candle_core::Device::Cpu).expect("tensor");
        param.var.set(&(param.var.as_tensor() + noise).expect("adds")).expect("sets");
    }
    let out = dir.path().join("adapter");
    let exported = try_write(&model, ExportFormat::Peft, &out).expect("exports");
    assert!(exported.certificate.pass(), "{:#?}", exported.certificate);
    let mut back = Model::load(&base, BaseKind::Auto, &mut |_, _, _| {}).expect("loads");
    assert_eq!(read_peft::attach(&mut back, &out).expect("attaches"), 5);
    assert_eq!(read_peft::describe(&out).expect("describes").peft_type, "LN_TUNING");
    for name in model.trained_weights() {
        assert_eq!(model.read_weight(&name).expect("reads"), back.read_weight(&name).expect("reads"), "{name}");
    }
}

#[test]
fn biases_leave_as_beft_and_merge_only_where_the_family_has_them() {
    let dir = tempfile::tempdir().expect("folder");
    let base = base_folder(dir.path(), false);
    let model = adapted(&base, |_| Slots { bias: Some(Factor::trained(Init::Zeros)), ..Slots::default() });
    assert_eq!(leaves_and_returns(dir.path(), &base, &model), "BEFT");
    let error = try_write(&model, ExportFormat::Hf, &dir.path().join("hf")).expect_err("no place").to_string();
    assert!(error.contains("bias"), "{error}");
}

#[test]
fn what_is_not_of_low_rank_is_no_gguf_adapter_and_mixed_types_are_no_folder() {
    let dir = tempfile::tempdir().expect("folder");
    let base = base_folder(dir.path(), false);
    let scale = Factor::trained(Init::Ones);
    let model = adapted(&base, |site| match site.ends_with("down") {
        true => Slots { normaliser: Normaliser::ColumnScale(scale), ..Slots::default() },
        false => Slots::low_rank(2, Scale::Fixed(1.0)),
    });
    let error = try_write(&model, ExportFormat::Peft, &dir.path().join("x")).expect_err("mixed").to_string();
    assert!(error.contains("low rank"), "{error}");
    assert!(!dir.path().join("x").exists());
}
