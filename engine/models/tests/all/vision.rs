//! Vision models: agreement with torch and transformers, files, statistics, token sizes, tasks.

use crate::tools::{Golden, flat, golden, relative};
use candle_core::{Device, Tensor};
use std::path::{Path, PathBuf};
use temper_models::vision::config::Classes;
use temper_models::vision::{Pooling, VisionSlot};
use temper_models::{
    BaseKind, CnnConfig, Flow, Labels, Model, StageCache, VisionConfig, VisionModel, VitConfig, describe,
};
use temper_nn::gradcheck::{GradCheck, check_parameters};
use temper_nn::rng::Stream;
use temper_nn::slots::{Scale, Slots};
use temper_nn::{ForwardContext, NnError};

const CASES: [&str; 4] = ["vit_plain", "vit_wide", "cnn_plain", "cnn_colour"];

fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/golden-vision").join(case)
}

fn images(name: &str, shape: &[usize]) -> Tensor {
    let mut values = vec![0f32; shape.iter().product()];
    Stream::new(8, name).fill_normal(&mut values, 1.0);
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn small_vit() -> VisionConfig {
    VisionConfig::Vit(VitConfig { intermediate_size: 40, ..VitConfig::new(Classes::numbered(8, 1, 3), 4, 24, 2, 3) })
}

fn small_cnn() -> VisionConfig {
    VisionConfig::Cnn(CnnConfig { conv_bias: true, ..CnnConfig::new(Classes::numbered(8, 1, 3), 4, &[6, 5]) })
}

/// Moves everything trained away from its start.
fn shake(model: &VisionModel) {
    for param in &model.params().unwrap() {
        let mut noise = vec![0f32; param.elements()];
        Stream::new(6, &param.name).fill_normal(&mut noise, 0.2);
        let noise = Tensor::from_vec(noise, param.var.dims(), &Device::Cpu).unwrap();
        param.var.set(&(param.var.as_tensor() + noise).unwrap()).unwrap();
    }
}

#[test]
fn logits_loss_gradients_and_statistics_agree_with_torch() {
    for case in CASES {
        let (mut model, golden) = (VisionModel::load(&folder(case)).unwrap(), Golden::of_folder(&folder(case)));
        let images = Tensor::from_vec(golden.values("images"), golden.shape("images"), &Device::Cpu).unwrap();
        let error = relative(&flat(&model.logits(&images, 0).unwrap()), &golden.values("logits"));
        assert!(error < 1e-4, "{case}: logits off by {error:e}");

        model.promote(&|_| true).unwrap();
        let (labels, batch) = (golden.numbers("labels"), images.dim(0).unwrap());
        let ctx = ForwardContext { training: true, ..model.context(batch) };
        let flow = model.forward(&images, &ctx).unwrap();
        let logits = model.head.logits(&flow, 0, &ctx).unwrap();
        let loss = model.head.loss_of(&logits, &Labels { task: 0, classes: labels }).unwrap();
        let loss = (loss / batch as f64).unwrap();
        let error = relative(&flat(&loss), &golden.values("loss"));
        assert!(error < 1e-4, "{case}: loss off by {error:e}");

        let gradients = loss.backward().unwrap();
        let params = model.params().unwrap();
        let mut compared = 0;
        for slot in model.slots() {
            let Some(param) = params.get(&slot.name) else { continue };
            let gradient = flat(gradients.get(param.var.as_tensor()).unwrap());
            let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt() as f32;
            let expected = golden.values(&format!("grad_norm.{}", slot.file));
            // a bias of keys moves every score of a query alike: its gradient is zero but for rounding
            if !slot.name.ends_with("attn.k.bias") {
                let error = relative(&[norm], &expected);
                assert!(error < 1e-4, "{case}: gradient norm of {} off by {error:e}", slot.file);
            }
            let whole = format!("grad.{}", slot.file);
            if golden.names().contains(&whole) {
                let error = relative(&gradient, &golden.values(&whole));
                assert!(error < 1e-4, "{case}: gradient of {} off by {error:e}", slot.file);
                compared += 1;
            }
        }
        assert!(compared >= 5, "{case}: {compared} whole gradients");
        let is_buffer = |slot: &&VisionSlot| slot.name.ends_with(".mean") || slot.name.ends_with(".variance");
        assert_eq!(params.len(), model.slots().len() - model.slots().iter().filter(is_buffer).count(), "{case}");

        model.follow(&flow.buffers);
        for slot in model.slots().iter().filter(is_buffer) {
            let expected = golden.values(&format!("followed.{}", slot.file));
            let error = relative(&model.read_weight(&slot.name).unwrap(), &expected);
            assert!(error < 1e-5, "{case}: {} off by {error:e}", slot.file);
        }
    }
}

#[test]
fn gradients_of_adapters_are_right() {
    for config in [small_vit(), small_cnn()] {
        let mut model = VisionModel::random(&config, 3).unwrap();
        for site in model.sites_mut() {
            site.attach(&Slots::low_rank(2, Scale::Fixed(0.7)), 5).unwrap();
        }
        shake(&model);
        let (images, ctx) = (images("gradients", &[2, 1, 8, 8]), model.context(2));
        let params = model.params().unwrap();
        assert_eq!(params.len(), 2 * model.sites().len());
        let labels = Labels { task: 0, classes: [2, 0].into() };
        let loss = || model.loss(&images, &labels, &ctx).map_err(|error| NnError::Value(error.to_string()));
        // ReLU has corners, which a wide difference may step over
        let options = GradCheck { width: 2e-3, tolerance: 2e-2, samples: 6, ..GradCheck::f32() };
        check_parameters(loss, params.as_slice(), &options).unwrap();
    }
}

#[test]
fn a_folder_holds_what_the_model_computes() {
    for config in [small_vit(), small_cnn()] {
        let mut model = VisionModel::random(&config, 3).unwrap();
        let task = model.add_task("shape", vec!["round".to_owned(), "square".to_owned()], 4).unwrap();
        assert!(model.add_task("shape", vec!["round".to_owned()], 4).is_err());
        let images = images("folder", &[3, 1, 8, 8]);
        for site in model.sites_mut() {
            site.attach(&Slots::low_rank(2, Scale::Fixed(0.7)), 5).unwrap();
        }
        model.promote(&|name| name.contains("norm") || name == "head").unwrap();
        shake(&model);
        if let VisionConfig::Cnn(_) = config {
            let flow = model.forward(&images, &ForwardContext { training: true, ..model.context(3) }).unwrap();
            model.follow(&flow.buffers);
        }
        let dir = tempfile::tempdir().unwrap();
        model.save(dir.path()).unwrap();
        let loaded = VisionModel::load(dir.path()).unwrap();
        assert_eq!(loaded.config, model.config);
        for task in [0, task] {
            let (found, expected) = (loaded.logits(&images, task).unwrap(), model.logits(&images, task).unwrap());
            assert!(relative(&flat(&found), &flat(&expected)) < 1e-5);
        }
        let again = tempfile::tempdir().unwrap();
        loaded.save(again.path()).unwrap();
        for file in ["model.safetensors", "config.json"] {
            let read = |dir: &Path| std::fs::read(dir.join(file)).unwrap();
            assert!(read(dir.path()) == read(again.path()), "{file} differs");
        }
        let found = describe(dir.path()).unwrap();
        assert_eq!((found.architecture.as_str(), found.vocabulary), (config.family(), 3));
        assert_eq!(found.parameters, model.parameter_count());
        assert_eq!(found.sites.len(), model.sites().len());

        std::fs::write(dir.path().join("config.json"), format!("{:#}", small_vit_of_width(16).to_json())).unwrap();
        let error = VisionModel::load(dir.path()).err().unwrap().to_string();
        assert!(error.contains("is not part of a vit model"), "{error}");
    }
}

fn small_vit_of_width(width: usize) -> VisionConfig {
    VisionConfig::Vit(VitConfig::new(Classes::numbered(8, 1, 3), 4, width, 1, 2))
}

#[test]
fn configurations_that_make_no_sense_are_refused_with_the_setting() {
    let vit = |change: &dyn Fn(&mut VitConfig)| {
        let mut config = VitConfig::new(Classes::numbered(8, 1, 3), 4, 24, 2, 3);
        change(&mut config);
        VisionModel::random(&VisionConfig::Vit(config), 1).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(vit(&|config| config.patch_size = 3).contains("patches of 3"));
    assert!(vit(&|config| config.heads = 5).contains("5 heads"));
    assert!(vit(&|config| config.classes.labels.clear()).contains("0 classes"));
    let mut cnn = CnnConfig::new(Classes::numbered(8, 1, 3), 4, &[6]);
    cnn.strides.clear();
    let error = VisionModel::random(&VisionConfig::Cnn(cnn), 1).err().unwrap().to_string();
    assert!(error.contains("1 widths and 0 strides"), "{error}");
    let read = |text: &str| {
        let json = serde_json::from_str(text).unwrap();
        VisionConfig::from_json(&json, Path::new("config.json")).unwrap_err().to_string()
    };
    assert!(read(r#"{"model_type": "vit", "hidden_act": "mish"}"#).contains("mish"));
    assert!(read(r#"{"model_type": "vit", "hidden_size": -4}"#).contains("hidden_size is -4"));
    assert!(read(r#"{"model_type": "temper-cnn", "strides": [1]}"#).contains("widths"));
    assert!(read(r#"{"model_type": "vit", "id2label": {"0": "a", "2": "b"}}"#).contains("gaps"));
}

#[test]
fn the_same_seed_gives_the_same_model_and_another_seed_another() {
    for config in [small_vit(), small_cnn()] {
        let values = |seed| {
            let model = VisionModel::random(&config, seed).unwrap();
            model.slots().iter().flat_map(|slot| model.read_weight(&slot.name).unwrap()).collect::<Vec<f32>>()
        };
        assert!(values(1) == values(1));
        assert!(values(1) != values(2));
    }
}

/// Two equal tokens are as good as one that stands for both.
#[test]
fn a_merged_token_counts_as_often_as_it_stands_for() {
    let config = VitConfig { pooling: Pooling::MeanToken, ..VitConfig::new(Classes::numbered(8, 1, 3), 4, 24, 2, 3) };
    let model = VisionModel::random(&VisionConfig::Vit(config), 3).unwrap();
    let tokens = images("tokens", &[2, 3, 24]);
    let twice = Tensor::cat(&[&tokens, &tokens.narrow(1, 2, 1).unwrap()], 1).unwrap();
    let sizes = Tensor::from_vec(vec![1f32, 1.0, 2.0, 1.0, 1.0, 2.0], (2, 3), &Device::Cpu).unwrap();
    let run = |mut flow: Flow, width| {
        let ctx = ForwardContext::plain(2, width);
        for block in &model.stages[1..] {
            flow = block.forward(flow, &ctx).unwrap();
        }
        let logits = model.head.logits(&flow, 0, &ctx).unwrap();
        (flat(&flow.hidden.narrow(1, 0, 3).unwrap()), flat(&logits))
    };
    let expected = run(Flow::new(twice), 4);
    let merged = run(Flow { token_sizes: Some(sizes), ..Flow::new(tokens.clone()) }, 4);
    assert!(relative(&merged.0, &expected.0) < 1e-5 && relative(&merged.1, &expected.1) < 1e-5);
    let uncounted = run(Flow::new(tokens), 3);
    assert!(relative(&uncounted.0, &expected.0) > 1e-3);
}

#[test]
fn a_task_reads_its_own_branch() {
    let mut model = VisionModel::random(&small_vit(), 3).unwrap();
    let task = model.add_task("shape", vec!["round".to_owned(), "square".to_owned()], 4).unwrap();
    let ctx = model.context(2);
    let mut flow = model.forward(&images("branch", &[2, 1, 8, 8]), &ctx).unwrap();
    let shared = [0, task].map(|task| flat(&model.head.logits(&flow, task, &ctx).unwrap()));
    flow.side.insert("shape".to_owned(), (&flow.hidden * -1.0).unwrap());
    let branched = [0, task].map(|task| flat(&model.head.logits(&flow, task, &ctx).unwrap()));
    assert_eq!(shared[0], branched[0]);
    assert!(relative(&branched[1], &shared[1]) > 0.1);
    assert!(model.head.logits(&flow, 2, &ctx).is_err());
}

#[test]
fn only_a_trained_norm_follows_its_batches() {
    let images = images("norms", &[4, 1, 8, 8]);
    let mut model = VisionModel::random(&small_cnn(), 3).unwrap();
    let training = ForwardContext { training: true, ..model.context(4) };
    let frozen = model.forward(&images, &training).unwrap();
    assert!(frozen.buffers.is_empty());
    let base = flat(&model.logits(&images, 0).unwrap());
    model.promote(&|name| name.contains("norm")).unwrap();
    let flow = model.forward(&images, &training).unwrap();
    assert_eq!(flow.buffers.keys().collect::<Vec<_>>(), ["layers.0.norm", "layers.1.norm", "stem.norm"]);
    assert_eq!(flat(&model.logits(&images, 0).unwrap()), base, "a forward pass changed the statistics");
    model.follow(&flow.buffers);
    assert!(relative(&flat(&model.logits(&images, 0).unwrap()), &base) > 1e-3);
    model.set_enabled(false);
    assert_eq!(flat(&model.logits(&images, 0).unwrap()), base);
}

#[test]
fn readers_of_text_models_say_what_a_vision_model_is() {
    let error = Model::load(&folder("vit_plain"), BaseKind::Auto, &mut |_, _, _| {}).err().unwrap().to_string();
    assert!(error.contains("classes of images"), "{error}");
    assert!(VisionModel::load(&golden("tied")).is_err());
    let model = VisionModel::random(&small_vit(), 3).unwrap();
    let (flow, ctx) = (Flow::new(images("cached", &[1, 5, 24])), ForwardContext::plain(1, 5));
    let error = model.stages[1].forward_cached(flow, &ctx, &mut StageCache::default()).unwrap_err().to_string();
    assert!(error.contains("cannot continue a text"), "{error}");
    assert!(model.forward(&images("small", &[1, 1, 7, 8]), &ctx).is_err());
    assert_eq!(model.refusal(&["encoder"]), None);
    assert!(model.refusal(&["decoder"]).unwrap().starts_with("it needs a decoder of text"));
}
