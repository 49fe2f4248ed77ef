//! What methods insert leaves in PEFT's types where there is one and as a native folder always, comes back with the same
//! answers, and is refused by name where only changed weights fit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use temper_data::TextCodec;
use temper_export::{Card, Cases, ExportError, ExportRequest, Exported, export, insertions, read_peft, verify};
use temper_methods::{Method, SiteDims, registry};
use temper_models::capability::{DECODER, refusal};
use temper_models::{BaseKind, LlamaConfig, Model, names};
use temper_nn::ForwardContext;
use temper_nn::rng::Stream;
use temper_protocol::{ExportFormat, Kind, Value, Values};

fn codec() -> TextCodec {
    let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/starter");
    TextCodec::from_hf_folder(&starter).expect("the starter's tokenizer")
}

fn cases(codec: &TextCodec) -> Cases {
    let encode = |text: &str| codec.encode(text, false).expect("encodes");
    Cases {
        windows: vec![("probe".to_owned(), encode("The sea was calm and the ship went on."))],
        prompts: vec![encode("How much is")],
    }
}

fn try_write(model: &Model, format: ExportFormat, out: &Path) -> Result<Exported, ExportError> {
    let card = Card { name: "test".into(), base_name: "base".into(), method: "some".into(), ..Card::default() };
    let codec = codec();
    let cases = cases(&codec);
    let request = ExportRequest { model, codec: &codec, format, dtype: None, out, card: &card, cases: &cases };
    export(&request, &mut |_| {}, &|| false)
}

/// A model folder on disk, made of random weights.
fn base_folder(dir: &Path, hidden: usize) -> PathBuf {
    let config = LlamaConfig {
        intermediate_size: 96,
        kv_heads: 2,
        context: 128,
        ..LlamaConfig::new(codec().vocabulary(), hidden, 2, 4)
    };
    let out = dir.join(format!("base-{hidden}"));
    let model = Model::random(&config, 11).expect("random model");
    assert!(try_write(&model, ExportFormat::Hf, &out).expect("exports").certificate.pass());
    out
}

fn load(base: &Path) -> Model {
    Model::load(base, BaseKind::Auto, &mut |_, _, _| {}).expect("loads")
}

/// A method on the model, every parameter moved.
fn with(base: &Path, method: &dyn Method, settings: &Values) -> Model {
    let mut model = load(base);
    let sites = names::sites(model.config.as_llama()).into_iter().map(|site| SiteDims {
        name: site.name,
        hf_name: site.hf,
        out_features: site.out_features,
        in_features: site.in_features,
        layer: Some(site.layer),
        bias: false,
        window: (1, 1),
    });
    let plan = method.plan(settings, &sites.collect::<Vec<_>>(), 5).expect("a plan");
    model.insert_all(&plan.insertions, 5).expect("inserts");
    for param in &model.params().expect("parameters") {
        let mut noise = vec![0f32; param.elements()];
        Stream::new(3, &param.name).fill_normal(&mut noise, 0.1);
        let noise = candle_core::Tensor::from_vec(noise, param.var.dims(), &candle_core::Device::Cpu);
        param.var.set(&(param.var.as_tensor() + noise.expect("tensor")).expect("adds")).expect("sets");
    }
    model
}

fn logits(model: &Model) -> Vec<f32> {
    let tokens: Vec<u32> = (0..24).map(|at| 5 + at * 7).collect();
    let ctx = ForwardContext::with_borders(24, vec![vec![0, 9, 24]]);
    let logits = model.logits(&tokens.into(), &ctx).expect("logits");
    logits.flatten_all().and_then(|flat| flat.to_vec1()).expect("values")
}

fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    let largest = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let off = found.iter().zip(expected).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
    assert!(off <= 1e-5 * largest, "{what}: off by {off:e} of {largest:e}");
}

/// Methods that insert something into a decoder; what needs an encoder has no file to leave as.
fn inserting() -> impl Iterator<Item = &'static dyn Method> {
    let fits = |method: &&dyn Method| refusal(method.declared().families, "llama", DECODER).is_none();
    registry().iter().copied().filter(|method| method.declared().kind == Kind::Insertion).filter(fits)
}

/// The settings `share`, `placement` and `layers` at other values, where a method has them.
fn others(method: &dyn Method) -> Values {
    let known = method.declared().settings.iter();
    let value = |key: &str| match key {
        "share" => Some("down"),
        "placement" => {
            known.clone().find(|setting| setting.key == key).and_then(|setting| setting.choices.last().copied())
        }
        "layers" => Some("1"),
        _ => None,
    };
    let all =
        known.clone().filter_map(|setting| Some((setting.key.to_owned(), Value::Text(value(setting.key)?.to_owned()))));
    Values(all.collect::<BTreeMap<_, _>>())
}

#[test]
fn every_insertion_leaves_as_a_native_folder_and_returns() {
    let dir = tempfile::tempdir().expect("a folder");
    let base = base_folder(dir.path(), 48);
    let mut count = 0;
    for method in inserting() {
        let id = method.declared().id;
        assert!(method.declared().exports_as.contains(&"native"), "{id}");
        for (name, settings) in [("defaults", Values::default()), ("others", others(method))] {
            let model = with(&base, method, &settings);
            let out = dir.path().join(format!("{id}-{name}"));
            let exported = try_write(&model, ExportFormat::Native, &out).expect("exports");
            assert!(exported.certificate.pass(), "{id} {name}: {:?}", exported.certificate);
            assert!(exported.certificate.reasons.iter().any(|reason| reason.contains("own graph")), "it is said");
            let mut back = load(&base);
            assert!(insertions::is_native(&out) && temper_export::is_adapter(&out));
            assert!(read_peft::attach(&mut back, &out).expect("attaches") > 0);
            assert_close(id, &logits(&back), &logits(&model));
            let summary = read_peft::describe(&out).expect("describes");
            assert_eq!((summary.peft_type.as_str(), summary.base.as_str()), ("some", "base"));
            assert_eq!(summary.parameters, back.trained_parameter_count().expect("counts"));
            // Once more, from the files.
            let codec = codec();
            let again = verify(&model, &codec, (&out, &[]), &cases(&codec), &mut |_| {}, &|| false).expect("verifies");
            assert!(again.pass());
            count += 1;
        }
    }
    assert!(count >= 12, "{count}");
}

#[test]
fn prompts_and_prefixes_leave_in_pefts_types_and_return() {
    let dir = tempfile::tempdir().expect("a folder");
    let base = base_folder(dir.path(), 48);
    for method in inserting() {
        let (id, out) = (method.declared().id, dir.path().join(method.declared().id));
        let model = with(&base, method, &Values::default());
        let Some(peft_type) = method.declared().peft_type else {
            let error = try_write(&model, ExportFormat::Peft, &out).expect_err("refused").to_string();
            assert!(error.contains("PEFT has types for a prompt"), "{id}: {error}");
            continue;
        };
        let exported = try_write(&model, ExportFormat::Peft, &out).expect("exports");
        assert!(exported.certificate.pass(), "{id}: {:?}", exported.certificate);
        assert_eq!(read_peft::describe(&out).expect("describes").peft_type, peft_type);
        let mut back = load(&base);
        read_peft::attach(&mut back, &out).expect("attaches");
        assert_close(id, &logits(&back), &logits(&model));
        let error = read_peft::attach(&mut back, &out).expect_err("twice").to_string();
        assert!(error.contains("carries insertions already"), "{error}");
        let mut other = load(&base_folder(dir.path(), 32));
        let error = read_peft::attach(&mut other, &out).expect_err("another model").to_string();
        assert!(error.contains("prompt_embeddings"), "{error}");
    }
}

#[test]
fn formats_of_changed_weights_refuse_by_name_with_the_reason() {
    let dir = tempfile::tempdir().expect("a folder");
    let base = base_folder(dir.path(), 48);
    for method in inserting() {
        let model = with(&base, method, &Values::default());
        for format in [ExportFormat::Hf, ExportFormat::Gguf, ExportFormat::GgufLora] {
            let out = dir.path().join("refused");
            let error = try_write(&model, format, &out).expect_err("refused");
            let problem = temper_protocol::Problem::from(error);
            let words = problem.what.contains("was inserted at") && problem.what.contains(format.name());
            assert!(words && problem.action.contains("native"), "{problem}");
            let peft = problem.action.contains("peft");
            assert_eq!(peft, method.declared().peft_type.is_some(), "{problem}");
            assert!(!out.exists());
        }
    }
}

#[test]
fn a_native_folder_holds_insertions_alone_and_says_what_is_wrong_with_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let base = base_folder(dir.path(), 48);
    let error =
        try_write(&load(&base), ExportFormat::Native, &dir.path().join("none")).expect_err("nothing").to_string();
    assert!(error.contains("nothing was inserted"), "{error}");
    let adapter = temper_methods::find("adapter").expect("known");
    let mut mixed = with(&base, adapter, &Values::default());
    let slots = temper_nn::Slots::low_rank(2, temper_nn::slots::Scale::Fixed(1.0));
    mixed.site_mut("layers.0.attn.q").expect("a site").attach(&slots, 1).expect("attaches");
    for format in [ExportFormat::Native, ExportFormat::Peft] {
        let error = try_write(&mixed, format, &dir.path().join("mixed")).expect_err("mixed").to_string();
        assert!(error.contains("layers.0.attn.q was changed too"), "{error}");
    }
    let out = dir.path().join("adapter");
    assert!(try_write(&with(&base, adapter, &Values::default()), ExportFormat::Native, &out).is_ok());
    let config = out.join("temper_adapter.json");
    let text = std::fs::read_to_string(&config).expect("reads");
    let refused = |text: &str| {
        std::fs::write(&config, text).expect("writes");
        read_peft::attach(&mut load(&base), &out).expect_err("refused").to_string()
    };
    assert!(refused(&text.replace("\"schema\": 1", "\"schema\": 2")).contains("version 2"));
    assert!(refused(&text.replace("\"width\": 64", "\"width\": 60")).contains("instead of"));
    assert!(refused(&text.replace("layers.1", "layers.7")).contains("layers.7"));
    assert!(refused("{").contains("temper_adapter.json"));
}

/// Three experts of two directions on every layer, moved, after a pass of training.
fn routed(base: &Path) -> Model {
    use temper_nn::slots::{Mix, Router, Scale};
    let plain = temper_nn::Slots::low_rank(6, Scale::Fixed(0.7));
    let temper_nn::slots::Delta::Chain(chain) = &plain.delta else { panic!("a chain") };
    let mix = Mix::Routed(Router { experts: 3, top: 2, factor: chain.a });
    let slots = temper_nn::Slots { mix, ..plain };
    let mut model = load(base);
    for site in model.sites_mut() {
        site.attach(&slots, 5).expect("attaches");
    }
    for param in &model.params().expect("parameters") {
        let mut noise = vec![0f32; param.elements()];
        Stream::new(3, &param.name).fill_normal(&mut noise, 0.2);
        let noise = candle_core::Tensor::from_vec(noise, param.var.dims(), &candle_core::Device::Cpu);
        param.var.set(&(param.var.as_tensor() + noise.expect("tensor")).expect("adds")).expect("sets");
    }
    let tokens: Vec<u32> = (0..32).map(|at| 3 + at * 5).collect();
    let ctx = ForwardContext { training: true, step: 1, ..ForwardContext::plain(1, 32) };
    model.logits(&tokens.into(), &ctx).expect("a pass");
    model
}

#[test]
fn routers_leave_whole_in_a_native_folder_and_by_their_mean_elsewhere() {
    let dir = tempfile::tempdir().expect("a folder");
    let base = base_folder(dir.path(), 48);
    let model = routed(&base);
    let before = logits(&model);
    let native = dir.path().join("native");
    let written = try_write(&model, ExportFormat::Native, &native).expect("exports");
    assert!(written.certificate.pass(), "{:?}", written.certificate.reasons);
    let mut back = load(&base);
    let count = read_peft::attach(&mut back, &native).expect("reads");
    assert_eq!(count, model.sites().len());
    assert_close("read back", &logits(&back), &before);
    let seen = |model: &Model| model.sites().iter().map(|site| site.routing().expect("a router")).collect::<Vec<_>>();
    assert_eq!(seen(&back), seen(&model), "what the routers chose is in the folder");
    assert_eq!(read_peft::describe(&native).expect("describes").rank, 6);
    let (codec, told) = (codec(), "mean choice in the routers' place");
    for format in [ExportFormat::Peft, ExportFormat::Hf, ExportFormat::Gguf] {
        let out = dir.path().join(format.name());
        let written = try_write(&model, format, &out).expect("exports");
        assert!(written.certificate.pass(), "{}: {:?}", format.name(), written.certificate.reasons);
        assert!(written.certificate.checks.iter().any(|check| check.name == told && check.pass));
        assert!(written.certificate.reasons.iter().any(|reason| reason.contains("routers fit no weight")));
        assert!(logits(&model) == before, "the routers are back");
        let again =
            verify(&model, &codec, (&written.path, &[]), &cases(&codec), &mut |_| {}, &|| false).expect("verifies");
        assert!(again.pass() && again.checks.iter().any(|check| check.name == told));
    }
    let mut plain = load(&base);
    read_peft::attach(&mut plain, &dir.path().join("peft")).expect("reads");
    assert!(plain.sites().iter().all(|site| site.routing().is_none() && site.is_adapted()));
    let mean = logits(&plain);
    model.sites().iter().for_each(|site| {
        site.fix_routing(true);
    });
    assert_close("the mean", &mean, &logits(&model));
    assert!(mean != before);
    // A second kind of adapter has no place in such a folder.
    let mut mixed = routed(&base);
    let site = mixed.site_mut("layers.0.attn.q").expect("a site");
    site.attach(&temper_nn::Slots::low_rank(2, temper_nn::slots::Scale::Fixed(1.0)), 1).expect("attaches");
    let error = try_write(&mixed, ExportFormat::Native, &dir.path().join("mixed")).expect_err("mixed").to_string();
    assert!(error.contains("layers.0.attn.q carries something beside a router"), "{error}");
    let config = native.join("temper_adapter.json");
    let text = std::fs::read_to_string(&config).expect("reads");
    std::fs::write(&config, text.replace("\"experts\": 3", "\"experts\": 2")).expect("writes");
    let error = read_peft::attach(&mut load(&base), &native).expect_err("refused").to_string();
    assert!(error.contains("instead of"), "{error}");
}

/// Every `nth` entry of each layer changed.
fn with_entries(base: &Path, name: &str, nth: usize) -> Model {
    use temper_nn::slots::{Delta, Factor, Init, Picked, Scatter};
    let values = Factor::trained(Init::Gaussian { std: 0.3 });
    let share = 1.0 / nth as f64;
    let delta = Delta::Scatter(Scatter { picked: Picked::Smallest { share }, values });
    let slots = temper_nn::Slots { delta, ..temper_nn::Slots::default() };
    let mut model = load(base);
    for site in model.sites_mut() {
        site.attach(&slots, 5).expect("attaches");
    }
    for param in &model.params().expect("parameters") {
        let mut noise = vec![0f32; param.elements()];
        Stream::new(3, &format!("{name}/{}", param.name)).fill_normal(&mut noise, 0.1);
        let noise = candle_core::Tensor::from_vec(noise, param.var.dims(), &candle_core::Device::Cpu);
        param.var.set(&noise.expect("tensor")).expect("sets");
    }
    model
}

#[test]
fn changes_of_entries_leave_in_native_folders_and_add_up_in_any_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let base = base_folder(dir.path(), 48);
    let written = |name: &str, nth: usize| {
        let (model, out) = (with_entries(&base, name, nth), dir.path().join(name));
        let exported = try_write(&model, ExportFormat::Native, &out).expect("exports");
        assert!(exported.certificate.pass(), "{:?}", exported.certificate.reasons);
        (model, out)
    };
    let ((language, first), (_, second)) = (written("language", 9), written("task", 5));
    let put = |folders: &[&PathBuf]| {
        let mut model = load(&base);
        for folder in folders {
            assert_eq!(read_peft::attach(&mut model, folder).expect("reads"), 14);
        }
        model
    };
    assert_close("read back", &logits(&put(&[&first])), &logits(&language));
    let both = put(&[&first, &second]);
    assert_close("in any order", &logits(&both), &logits(&put(&[&second, &first])));
    assert!(logits(&both) != logits(&put(&[&first])));
    // Together they leave merged.
    let merged = dir.path().join("merged");
    assert!(try_write(&both, ExportFormat::Hf, &merged).expect("exports").certificate.pass());
    assert_close("merged", &logits(&load(&merged)), &logits(&both));
    let error = try_write(&both, ExportFormat::Native, &dir.path().join("both")).expect_err("two at once").to_string();
    assert!(error.contains("was changed too"), "{error}");
    let config = second.join("temper_adapter.json");
    let text = std::fs::read_to_string(&config).expect("reads");
    std::fs::write(&config, text.replace("layers.1.attn.q", "layers.9.attn.q")).expect("writes");
    let error = read_peft::attach(&mut load(&base), &second).expect_err("refused").to_string();
    assert!(error.contains("layers.9.attn.q"), "{error}");
}

/// Changes the tensors of a native folder.
fn rewrite(folder: &Path, change: impl FnOnce(&mut std::collections::HashMap<String, candle_core::Tensor>)) {
    let file = folder.join("adapter.safetensors");
    let mut tensors = candle_core::safetensors::load(&file, &candle_core::Device::Cpu).expect("loads");
    change(&mut tensors);
    candle_core::safetensors::save(&tensors, &file).expect("saves");
}

#[test]
fn entries_of_another_models_weights_are_refused_by_file_and_layer() {
    let dir = tempfile::tempdir().expect("a folder");
    let base = base_folder(dir.path(), 48);
    let out = dir.path().join("entries");
    try_write(&with_entries(&base, "entries", 9), ExportFormat::Native, &out).expect("exports");
    let refused = |base: &Path| {
        let error = read_peft::attach(&mut load(base), &out).expect_err("refused");
        let problem = temper_protocol::Problem::from(error);
        assert!(problem.r#where.ends_with("adapter.safetensors"), "{problem}");
        problem.what
    };
    // A larger model has all of these places, and they mean something else there.
    for hidden in [32, 64] {
        let what = refused(&base_folder(dir.path(), hidden));
        assert!(what.contains("layers.0.attn.q") && what.contains("[48, 48]"), "{what}");
    }
    let config = out.join("temper_adapter.json");
    let text = std::fs::read_to_string(&config).expect("reads");
    // Folders of before the sizes were written say nothing of them; their places are still held against the weight.
    let mut old: serde_json::Value = serde_json::from_str(&text).expect("json");
    for layer in old["sparse"].as_array_mut().expect("layers") {
        layer.as_object_mut().expect("a layer").remove("shape");
    }
    std::fs::write(&config, old.to_string()).expect("writes");
    assert!(read_peft::attach(&mut load(&base), &out).is_ok());
    assert!(refused(&base_folder(dir.path(), 32)).contains("is none of a weight"));
    let change = |key: &str, at: usize, value: f32| {
        rewrite(&out, |tensors| {
            let mut values: Vec<f32> = tensors[key].to_vec1().expect("values");
            values[at] = value;
            let count = values.len();
            let tensor = candle_core::Tensor::from_vec(values, count, &candle_core::Device::Cpu).expect("tensor");
            tensors.insert(key.to_owned(), tensor);
        });
    };
    for (value, reason) in [(48.0, "is none of"), (-1.0, "is none of"), (0.5, "is none of"), (f32::NAN, "not finite")] {
        change("cols.layers.0.attn.q", 0, value);
        assert!(refused(&base).contains(reason), "{value}");
    }
    change("cols.layers.0.attn.q", 0, 0.0);
    change("rows.layers.0.attn.q", 1, 0.0);
    change("cols.layers.0.attn.q", 1, 0.0);
    assert!(refused(&base).contains("twice or out of order"));
}

#[test]
fn a_damaged_folder_with_routers_is_refused_for_what_is_wrong_with_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let base = base_folder(dir.path(), 48);
    let out = dir.path().join("routed");
    try_write(&routed(&base), ExportFormat::Native, &out).expect("exports");
    let (config, file) = (out.join("temper_adapter.json"), out.join("adapter.safetensors"));
    let (text, bytes) = (std::fs::read_to_string(&config).expect("reads"), std::fs::read(&file).expect("reads"));
    let refused = |name: &str| {
        let error = read_peft::attach(&mut load(&base), &out).expect_err(name);
        let problem = temper_protocol::Problem::from(error);
        assert_eq!(problem.code, temper_protocol::Code::AdapterInvalid, "{name}: {problem}");
        std::fs::write(&config, &text).expect("writes");
        std::fs::write(&file, &bytes).expect("writes");
        problem.what
    };
    for (from, to, reason) in [
        ("\"experts\": 3", "\"experts\": 0", "cannot have 0 experts"),
        ("\"experts\": 3", "\"experts\": 1099511627776", "instead of"),
        ("\"experts\": 3", "\"experts\": 18446744073709551615", "cannot have"),
        ("\"rank\": 2", "\"rank\": 0", "rank 0"),
        ("\"rank\": 2", "\"rank\": 1099511627776", "instead of"),
        ("\"top\": 2", "\"top\": 4", "of which 4 answer"),
        ("\"site\": \"layers.1.attn.q\"", "\"site\": \"layers.0.attn.q\"", "carries an adapter already"),
        ("\"scale\"", "\"scales\"", "unknown field"),
    ] {
        assert!(text.contains(from), "{text}");
        std::fs::write(&config, text.replace(from, to)).expect("writes");
        let what = refused(to);
        assert!(what.contains(reason), "{to}: {what}");
    }
    let key = "layers.0.attn.q.router";
    let tensor = |values: &[f32]| candle_core::Tensor::new(values, &candle_core::Device::Cpu).expect("tensor");
    rewrite(&out, |tensors| drop(tensors.remove(key)));
    assert!(refused("missing").contains("layers.0.attn.q.router is missing"));
    rewrite(&out, |tensors| {
        let broken = (&tensors[key] / 0.0).expect("divides");
        tensors.insert(key.to_owned(), broken);
    });
    assert!(refused("not finite").contains("not finite"));
    rewrite(&out, |tensors| drop(tensors.insert("layers.0.attn.other".to_owned(), tensor(&[1.0]))));
    assert!(refused("one more").contains("of which"));
    rewrite(&out, |tensors| drop(tensors.insert("routed.layers.0.attn.q".to_owned(), tensor(&[1.0, 2.0]))));
    assert!(refused("what was seen").contains("routed.layers.0.attn.q"));
    rewrite(&out, |tensors| drop(tensors.insert("routed.layers.0.attn.q".to_owned(), tensor(&[f32::NAN; 7]))));
    assert!(refused("what was seen").contains("routed.layers.0.attn.q"));
    std::fs::write(&file, &bytes[..bytes.len() / 2]).expect("writes");
    refused("cut off");
    std::fs::write(&file, b"").expect("writes");
    refused("empty");
    assert!(read_peft::attach(&mut load(&base), &out).is_ok(), "whole again");
}

#[test]
fn sizes_that_the_file_cannot_hold_ask_for_no_memory() {
    let dir = tempfile::tempdir().expect("a folder");
    let base = base_folder(dir.path(), 48);
    let adapter = temper_methods::find("adapter").expect("known");
    let out = dir.path().join("adapter");
    try_write(&with(&base, adapter, &Values::default()), ExportFormat::Native, &out).expect("exports");
    let config = out.join("temper_adapter.json");
    let text = std::fs::read_to_string(&config).expect("reads");
    std::fs::write(&config, text.replace("\"width\": 64", "\"width\": 70368744177664")).expect("writes");
    let error = read_peft::attach(&mut load(&base), &out).expect_err("refused").to_string();
    assert!(error.contains("width is 70368744177664"), "{error}");
}
