//! Finished adapters beneath a trained one: the same model as one with all of them merged, exports that say what they
//! need, and refusals of what cannot lie there.

use candle_core::{Device, Tensor};
use std::path::{Path, PathBuf};
use temper_data::TextCodec;
use temper_export::{Beneath, Card, Cases, ExportRequest, Exported, beneath, export, read_peft, verify};
use temper_models::{BaseKind, LlamaConfig, Model};
use temper_nn::ForwardContext;
use temper_nn::insertion::{Prefix, Prompt, PromptStart};
use temper_nn::rng::Stream;
use temper_nn::slots::{Factor, Group, Init, Mix, Normaliser, Router, Scale, Slots};
use temper_nn::{Grads, Insert, Insertion};
use temper_protocol::{ExportFormat, Problem, StorageType};

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

fn write_with(model: &Model, format: ExportFormat, out: &Path, beneath: &[Beneath]) -> Exported {
    let card = Card { name: "test".into(), base_name: "base".into(), method: "lora".into(), ..Card::default() };
    let (codec, cases, card) = (codec(), cases(), Card { beneath: beneath.to_vec(), ..card });
    let dtype = matches!(format, ExportFormat::Hf | ExportFormat::Gguf).then_some(StorageType::F32);
    let request = ExportRequest { model, codec: &codec, format, dtype, out, card: &card, cases: &cases };
    let exported = export(&request, &mut |_| {}, &|| false).expect("exports");
    assert!(exported.certificate.pass(), "{format:?}: {:?}", exported.certificate);
    exported
}

fn write(model: &Model, format: ExportFormat, out: &Path) -> PathBuf {
    write_with(model, format, out, &[]).path
}

fn load(base: &Path) -> Model {
    Model::load(base, BaseKind::Auto, &mut |_, _, _| {}).expect("loads")
}

fn base_folder(dir: &Path, hidden: usize) -> PathBuf {
    let vocabulary = codec().vocabulary();
    let sizes = LlamaConfig::new(vocabulary, hidden, 2, 4);
    let config = LlamaConfig { intermediate_size: 2 * hidden, kv_heads: 2, context: 128, ..sizes };
    write(&Model::random(&config, 11).expect("random model"), ExportFormat::Hf, &dir.join(format!("base-{hidden}")))
}

/// Puts `slots` on every `step`-th layer and moves what is trained.
fn attach(model: &mut Model, slots: &Slots, step: usize, seed: u64) {
    for site in model.sites_mut().into_iter().step_by(step) {
        site.attach(slots, seed).expect("attaches");
        for param in site.adapters().last().expect("an adapter").params() {
            let mut noise = vec![0f32; param.elements()];
            Stream::new(seed, &param.name).fill_normal(&mut noise, 0.1);
            let noise = Tensor::from_vec(noise, param.var.dims(), &Device::Cpu).expect("tensor");
            param.var.set(&(param.var.as_tensor() + noise).expect("adds")).expect("sets");
        }
    }
}

fn lora(rank: usize) -> Slots {
    Slots::low_rank(rank, Scale::AlphaOverRank(8.0))
}

fn dora() -> Slots {
    let normaliser = Normaliser::RowMagnitude(Group { decay: false, ..Group::default() });
    Slots { normaliser, ..lora(2) }
}

fn ia3() -> Slots {
    Slots { normaliser: Normaliser::RowScale(Factor::trained(Init::Ones)), ..Slots::default() }
}

/// An adapter folder of its own over `base`.
fn folder(base: &Path, name: &str, slots: &Slots, step: usize, seed: u64) -> Beneath {
    let mut model = load(base);
    attach(&mut model, slots, step, seed);
    let folder = write(&model, ExportFormat::Peft, &base.with_file_name(name));
    Beneath { name: name.to_owned(), folder, weight: 1.0 }
}

fn tokens() -> (std::sync::Arc<[u32]>, ForwardContext) {
    let tokens: Vec<u32> = (0..24).map(|at| 5 + at * 7).collect();
    (tokens.into(), ForwardContext::with_borders(24, vec![vec![0, 9, 24]]))
}

fn logits(model: &Model) -> Vec<f32> {
    let (tokens, ctx) = tokens();
    model.logits(&tokens, &ctx).and_then(|logits| Ok(logits.flatten_all()?.to_vec1()?)).expect("logits")
}

/// Gradients of everything trained, one after the other.
fn gradients(model: &Model) -> Vec<f32> {
    let (tokens, ctx) = tokens();
    let loss = model.loss(&tokens, &tokens, &ctx).expect("loss");
    let params = model.params().expect("parameters");
    let mut grads = Grads::new();
    grads.collect(&params, &mut loss.backward().expect("backward")).expect("collects");
    let of = |name: &str| grads.get(name).expect("a gradient").flatten_all().and_then(|grad| grad.to_vec1::<f32>());
    params.iter().flat_map(|param| of(&param.name).expect("values")).collect()
}

fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let off = found.iter().zip(expected).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
    assert!(off <= tolerance * largest, "{what}: off by {off:e} of {largest:e}");
}

#[test]
fn two_frozen_adapters_and_a_trained_one_are_the_merged_model_and_the_trained_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let base = base_folder(dir.path(), 48);
    for (name, slots) in [("lora", lora(3)), ("dora", dora()), ("ia3", ia3())] {
        let first = folder(&base, &format!("{name}-first"), &slots, 1, 1);
        let second = folder(&base, &format!("{name}-second"), &lora(2), 2, 2);
        // What PEFT calls merging: one adapter after the other into the weights of a file.
        let mut merged = load(&base);
        read_peft::attach(&mut merged, &first.folder).expect("attaches");
        let halfway = write(&merged, ExportFormat::Hf, &dir.path().join(format!("{name}-halfway")));
        let mut merged = load(&halfway);
        read_peft::attach(&mut merged, &second.folder).expect("attaches");
        let merged = write(&merged, ExportFormat::Hf, &dir.path().join(format!("{name}-merged")));
        let mut merged = load(&merged);
        let mut stacked = load(&base);
        beneath::lay(&mut stacked, &[first.clone(), second.clone()]).expect("lays");
        assert!(stacked.params().expect("parameters").is_empty(), "what lies beneath is not trained");
        for trained in [lora(2), dora()] {
            for model in [&mut merged, &mut stacked] {
                model.sites_mut().into_iter().for_each(temper_nn::LinearSite::detach_all);
                attach(model, &trained, 1, 3);
            }
            assert_close(name, &logits(&stacked), &logits(&merged), 1e-5);
            assert_close(name, &gradients(&stacked), &gradients(&merged), 1e-5);
        }
        // Off, it is what lies beneath.
        stacked.set_enabled(false);
        merged.set_enabled(false);
        assert_close(name, &logits(&stacked), &logits(&merged), 1e-5);
        assert!(logits(&stacked) != logits(&load(&base)), "the test would not see a missing adapter");
    }
}

#[test]
fn a_base_in_blocks_keeps_them_and_answers_as_with_the_adapters_on_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let base = base_folder(dir.path(), 128);
    let (first, second) = (folder(&base, "first", &lora(3), 1, 1), folder(&base, "second", &lora(2), 2, 2));
    for kind in ["int8", "nf4", "f16"] {
        let held = || Model::load(&base, kind.parse().expect("a kind"), &mut |_, _, _| {}).expect("loads");
        let (mut on_top, mut beneath) = (held(), held());
        read_peft::attach(&mut on_top, &first.folder).expect("attaches");
        read_peft::attach(&mut on_top, &second.folder).expect("attaches");
        let bytes = beneath.memory_bytes();
        beneath::lay(&mut beneath, &[first.clone(), second.clone()]).expect("lays");
        assert_close(kind, &logits(&beneath), &logits(&on_top), 1e-5);
        assert_eq!(beneath.held().linear.name(), held().held().linear.name(), "{kind}");
        let factors = on_top.params().expect("parameters").elements() as u64 * 4;
        assert_eq!(beneath.memory_bytes(), bytes + factors, "{kind}: nothing is widened");
    }
}

#[test]
fn a_weight_is_the_share_of_the_change_that_counts() {
    let dir = tempfile::tempdir().expect("a folder");
    let base = base_folder(dir.path(), 48);
    let whole = folder(&base, "whole", &ia3(), 1, 1);
    let read = |weight: f64| {
        let mut model = load(&base);
        beneath::lay(&mut model, &[Beneath { weight, ..whole.clone() }]).expect("lays");
        model.read_weight("layers.1.mlp.up.weight").expect("reads")
    };
    let (none, all) = (load(&base).read_weight("layers.1.mlp.up.weight").expect("reads"), read(1.0));
    let part: Vec<f32> = none.iter().zip(&all).map(|(none, all)| none - 0.3 * (all - none)).collect();
    assert_close("a negative share takes away", &read(-0.3), &part, 1e-6);
}

#[test]
fn exports_hold_the_trained_adapter_alone_or_everything_and_say_which() {
    let dir = tempfile::tempdir().expect("a folder");
    let base = base_folder(dir.path(), 48);
    let all =
        [folder(&base, "first", &ia3(), 1, 1), Beneath { weight: 0.5, ..folder(&base, "second", &lora(2), 2, 2) }];
    let mut model = load(&base);
    beneath::lay(&mut model, &all).expect("lays");
    // A layer without the trained one on it has to be written as merged too.
    attach(&mut model, &lora(2), 3, 3);
    let answers = logits(&model);
    let text = |path: &Path, name: &str| std::fs::read_to_string(path.join(name)).expect("reads");
    let formats = [(ExportFormat::Peft, "peft"), (ExportFormat::Hf, "hf"), (ExportFormat::Gguf, "model.gguf")];
    for (format, name) in formats {
        let apart = format == ExportFormat::Peft;
        let exported = write_with(&model, format, &dir.path().join(name), &all);
        let reasons = exported.certificate.reasons.join("; ");
        assert!(reasons.contains("first, second (weight 0.5)"), "{format:?}: {reasons}");
        assert_eq!(reasons.contains("without them merged"), apart, "{format:?}: {reasons}");
        let codec = codec();
        let again = verify(&model, &codec, (&exported.path, &all), &cases(), &mut |_| {}, &|| false).expect("verifies");
        assert!(again.pass(), "{format:?}: {:?}", again);
        if apart {
            let bare = verify(&model, &codec, (&exported.path, &[]), &cases(), &mut |_| {}, &|| false);
            assert!(!bare.expect("verifies").pass(), "without what lies beneath it is another model");
            assert!(text(&exported.path, "README.md").contains("needs them"));
            let sidecar: serde_json::Value = serde_json::from_str(&text(&exported.path, "temper.json")).expect("json");
            assert_eq!(sidecar["beneath"][1]["name"], "second");
            assert_eq!(sidecar["beneath"][1]["sha256"].as_str().map(str::len), Some(64));
            let mut back = load(&base);
            beneath::lay(&mut back, &all).expect("lays");
            read_peft::attach(&mut back, &exported.path).expect("attaches");
            assert_close("read back", &logits(&back), &answers, 1e-5);
        } else {
            assert_close(format.name(), &logits(&load(&exported.path)), &answers, 1e-5);
        }
    }
}

#[test]
fn what_cannot_lie_beneath_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().expect("a folder");
    let base = base_folder(dir.path(), 48);
    let good = folder(&base, "good", &lora(2), 1, 1);
    let refused = |adapters: &[Beneath]| Problem::from(beneath::lay(&mut load(&base), adapters).expect_err("refused"));
    let problem = refused(&[good.clone(), Beneath { weight: 2.0, ..good.clone() }]);
    assert!(problem.what.contains("the same adapter as") && problem.action.contains("weight"), "{problem}");

    let inserted = |what: Insert, stage: &str, format: ExportFormat, name: &str| {
        let mut model = load(&base);
        let stages = if stage == "layers" { vec!["layers.0", "layers.1"] } else { vec![stage] };
        let all: Vec<Insertion> =
            stages.into_iter().map(|stage| Insertion { stage: stage.to_owned(), what: what.clone() }).collect();
        model.insert_all(&all, 1).expect("inserts");
        let folder = write(&model, format, &dir.path().join(name));
        let problem = refused(&[good.clone(), Beneath { name: name.to_owned(), folder, weight: 1.0 }]);
        assert!(problem.what.contains("is not defined") && problem.r#where.ends_with(name), "{problem}");
    };
    let prefix = || Insert::Prefix(Prefix { length: 3, through: None });
    let prompt = || Insert::Prompt(Prompt { length: 3, start: PromptStart::Normal });
    inserted(prefix(), "layers", ExportFormat::Peft, "prefix-peft");
    inserted(prefix(), "layers", ExportFormat::Native, "prefix-native");
    inserted(prompt(), "embed", ExportFormat::Peft, "prompt-peft");

    let mut routed = load(&base);
    let router = Router { experts: 2, top: 1, factor: Factor::trained(Init::Zeros) };
    attach(&mut routed, &Slots { mix: Mix::Routed(router), ..lora(4) }, 1, 1);
    let folder = write(&routed, ExportFormat::Native, &dir.path().join("routed"));
    let problem = refused(&[Beneath { name: "routed".to_owned(), folder, weight: 1.0 }]);
    assert!(problem.what.contains("routers choose by the input"), "{problem}");

    let other = base_folder(dir.path(), 32);
    let problem = Problem::from(beneath::lay(&mut load(&other), &[good]).expect_err("another base"));
    assert!(problem.r#where.contains("adapter_model.safetensors"), "{problem}");
    assert!(problem.what.contains("model.layers.0.self_attn.q_proj"), "{problem}");
}
