//! Classifiers of images that learn from themselves as their file has them: the gradients of an imitation, the steps of a
//! training that imitate, what stays as it was, which layers PELA makes thin.

use crate::images::{BATCH, adapted, cnn, difference, lora, pictures, stripes, values, vit};
use crate::tiny::{project, tiny_model};
use candle_core::{Device, Tensor};
use temper_methods::{Imitation, ModelDims, find};
use temper_models::{CnnConfig, Flow, Labels, VisionConfig, VisionModel};
use temper_nn::ops::IGNORE;
use temper_nn::{Grads, Param};
use temper_protocol::project::Train;
use temper_protocol::{Value, Values};
use temper_train::images::attach::dims_of;
use temper_train::images::{Fitted, ImageDriver, Images, Pictures, attach, fit};
use temper_train::imitate::AsOriginal;

/// Natural logarithms of the probabilities of small logits (batch, classes).
fn log_probabilities(logits: &Tensor) -> Tensor {
    let sums = logits.exp().and_then(|all| all.sum_keepdim(1)).and_then(|sums| sums.log()).expect("sums");
    logits.broadcast_sub(&sums).expect("logarithms")
}

#[test]
fn an_imitation_of_images_has_the_loss_and_the_gradients_of_the_whole_graph() {
    let wanted = Imitation { share: 1.0, divergence: 0.7, cross_entropy: 0.2, features: 3.0 };
    for config in [vit(), cnn()] {
        // The classifier has moved, too: the parent's is the file's.
        let (plain, model) = (VisionModel::random(&config, 7).expect("a model"), adapted(&config, &lora(0.0)));
        let batch = pictures(&model, 0, BATCH);
        let labels = Labels { task: 0, classes: [2, IGNORE, 1, 2].into() };
        let batch = Pictures { labels: vec![labels], ..batch };
        let params = model.params().expect("params");
        // The whole graph by plain operations; the second image has no class.
        let counts = Tensor::new(&[1f32, 0.0, 1.0, 1.0], &Device::Cpu).expect("counts");
        let classes = [[0f32, 0.0, 1.0], [0.0; 3], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let classes = Tensor::new(&classes, &Device::Cpu).expect("classes");
        let (mut parent, mut flow) = (Flow::new(batch.pixels.clone()), Flow::new(batch.pixels.clone()));
        let (mut away, blocks) = (Tensor::new(0_f32, &Device::Cpu).expect("zero"), model.stages.len() as f64 - 1.0);
        for (number, (stage, original)) in model.stages.iter().zip(&plain.stages).enumerate() {
            parent = original.forward(parent, &batch.ctx).expect("forward");
            flow = stage.forward(flow, &batch.ctx).expect("forward");
            if number > 0 {
                let off = (&flow.hidden - parent.hidden.detach()).and_then(|off| off.sqr()).expect("off");
                let off = off.flatten_from(1).and_then(|off| off.mean(1)).expect("means");
                let off = (off * &counts).and_then(|off| off.sum_all()).expect("sum");
                away = (away + (off / blocks).expect("mean")).expect("sum");
            }
        }
        let logits = |model: &VisionModel, flow: &Flow| model.head.logits(flow, 0, &batch.ctx).expect("logits");
        let ours = log_probabilities(&logits(&model, &flow));
        let theirs = log_probabilities(&logits(&plain, &parent)).detach();
        let divergence = (theirs.exp().expect("p") * (&theirs - &ours).expect("ratios")).and_then(|all| all.sum(1));
        let divergence = (divergence.expect("by image") * &counts).and_then(|all| all.sum_all()).expect("divergence");
        let loss = (&ours * &classes).and_then(|all| all.sum_all()).and_then(|sum| sum.neg()).expect("loss");
        let terms = [(&divergence, wanted.divergence), (&loss, wanted.cross_entropy), (&away, wanted.features)];
        let terms = terms.map(|(term, factor)| (term * (factor / BATCH as f64)).expect("term"));
        let whole = terms.iter().skip(1).fold(terms[0].clone(), |sum, term| (sum + term).expect("sum"));
        let whole = whole.backward().expect("backward");
        let scalar = |tensor: &Tensor| f64::from(tensor.to_scalar::<f32>().expect("scalar"));

        for recompute in [false, true] {
            let (mut driver, mut grads) = (ImageDriver::new(&model, recompute), Grads::new());
            driver.imitate(Some(wanted));
            let found = driver.micro_step(&model, &batch, (1.0 / BATCH as f64, 1.0), &mut grads).expect("a micro-step");
            for (found, expected) in [(found.loss_sum, &loss), (found.divergence, &divergence), (found.features, &away)]
            {
                let expected = scalar(expected);
                assert!((found / expected - 1.0).abs() < 1e-4, "{}: {found} {expected}", config.family());
            }
            assert_eq!((grads.len(), found.labelled), (params.len(), 3));
            let of_whole = |param: &Param| values(whole.get(param.var.as_tensor()).expect("a gradient"));
            let off = difference(params.as_slice(), &grads, of_whole);
            assert!(off < 1e-4, "{}: {off:e}", config.family());
        }
    }
}

/// Trains a method on stripes over a model that has learned them, and returns what was measured, that model as it was
/// and as it is.
fn trained_on(method: &str, settings: &[(&str, Value)]) -> (Fitted, VisionModel, VisionModel) {
    let set = stripes(240);
    let rows: Vec<u32> = (0..240).collect();
    let normalise = set.normalise_by(&rows);
    let images = Images { set: &set, rows: &rows, normalise: &normalise, task: 0 };
    let train = |steps: u64| Train { steps, batch: 16, lr_peak: 1e-2, warmup_steps: 2, ..Train::default() };
    let mut whole = VisionModel::random(&vit(), 7).expect("a model");
    let attached = attach(&mut whole, &project("full", &[]).method, 0, 5).expect("attaches");
    fit(&mut whole, &attached, images, &train(40)).expect("trains");
    let dir = tempfile::tempdir().expect("a folder");
    whole.save(dir.path()).expect("saved");
    let load = || VisionModel::load(dir.path()).expect("loaded");
    let mut model = load();
    let attached = attach(&mut model, &project(method, settings).method, 0, 5).expect("attaches");
    let fitted = fit(&mut model, &attached, images, &train(20)).expect("trains");
    (fitted, load(), model)
}

#[test]
fn the_first_steps_imitate_the_original_which_stays_what_it_was() {
    let (fitted, original, model) = trained_on("pela", &[]);
    assert_eq!((fitted.losses.len(), fitted.imitated.len()), (20, 10), "half of the steps heal");
    let (first, last) = (fitted.imitated[0], fitted.imitated[9]);
    assert!(last.features < 0.5 * first.features, "{} of {} is left", last.features, first.features);
    let frozen = |model: &VisionModel| -> Vec<Vec<u8>> {
        let layers = model.sites().into_iter().filter_map(|site| site.frozen());
        layers.map(|layer| layer.weight.bytes().as_slice().to_vec()).collect()
    };
    assert_eq!(frozen(&model), frozen(&original), "a weight of the original changed");
    let batch = pictures(&model, 0, BATCH);
    let logits = |model: &VisionModel| values(&model.logits(&batch.pixels, 0).expect("logits"));
    let now = logits(&model);
    {
        let _original = AsOriginal::of(&model);
        assert_eq!(logits(&model), logits(&original), "the classifier and all layers are the file's");
    }
    assert_eq!(logits(&model), now);
    assert_ne!(now, logits(&original));

    let (fitted, ..) = trained_on("pela", &[("healing_share", Value::Number(0.0))]);
    assert!(fitted.imitated.is_empty(), "without healing nothing is imitated");
    let (fitted, ..) = trained_on("int2.1", &[("rank", Value::Integer(4)), ("alpha", Value::Number(8.0))]);
    let divergences: Vec<f64> = fitted.imitated.iter().map(|step| step.divergence).collect();
    assert_eq!(divergences.len(), 10);
    assert!(divergences[0].abs() < 1e-6 && divergences[9] > 1e-6, "it starts as its original: {divergences:?}");
}

#[test]
fn thin_layers_are_those_of_the_blocks_alone() {
    let thin = |dims: &ModelDims| -> Vec<String> {
        let plan = find("pela").and_then(|pela| pela.plan(&Values::default(), &dims.sites, 1)).expect("a plan");
        assert!(plan.insertions.is_empty());
        plan.adapters.into_iter().map(|(name, _)| name).collect()
    };
    let blocks = |count: usize, parts: &[&str]| -> Vec<String> {
        (0..count).flat_map(|block| parts.iter().map(move |part| format!("layers.{block}.{part}"))).collect()
    };
    let of_vision = |config: &VisionConfig| dims_of(&VisionModel::random(config, 7).expect("a model"));
    let dims = of_vision(&vit());
    let own: Vec<&str> = dims.own.iter().map(|own| own.name.as_str()).collect();
    for whole in ["embed.patch", "layers.0.attn_norm", "norm", "head"] {
        assert!(own.contains(&whole), "{whole} is there and stays whole: {own:?}");
    }
    assert_eq!(thin(&dims), blocks(2, &["attn.q", "attn.k", "attn.v", "attn.o", "mlp.up", "mlp.down"]));

    let dims = temper_train::attach::dims_of(&tiny_model(false));
    let own: Vec<&str> = dims.own.iter().map(|own| own.name.as_str()).collect();
    for whole in ["embed", "layers.0.attn_norm", "norm", "head"] {
        assert!(own.contains(&whole), "{whole} is there and stays whole: {own:?}");
    }
    let parts = ["attn.q", "attn.k", "attn.v", "attn.o", "mlp.gate", "mlp.up", "mlp.down"];
    assert_eq!(thin(&dims), blocks(3, &parts));

    // Kernels are decomposed as matrices, but for the stem, which is a CNN's projection of patches, and narrow ones.
    let VisionConfig::Cnn(narrow) = cnn() else { panic!("a CNN") };
    let wide = CnnConfig { stem_width: 12, widths: vec![9, 16], ..narrow };
    assert_eq!(thin(&of_vision(&VisionConfig::Cnn(wide))), ["layers.1.conv"]);
}
