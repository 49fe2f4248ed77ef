//! Classifiers of images: the stage driver against the whole graph, recomputation, accumulation, methods, the loop.

use crate::tiny::project;
use candle_core::{Device, Tensor};
use temper_data::images::{ImageSet, Part};
use temper_models::vision::config::Classes;
use temper_models::{CnnConfig, Labels, VisionConfig, VisionModel, VitConfig};
use temper_nn::rng::Stream;
use temper_nn::{ForwardContext, Grads, Param};
use temper_protocol::project::Train;
use temper_protocol::{Project, Value};
use temper_train::images::attach::dims_of;
use temper_train::images::driver::ImageLoss;
use temper_train::images::{ImageDriver, Images, Pictures, attach, evaluate, fit};

pub(crate) const BATCH: usize = 4;

pub(crate) fn vit() -> VisionConfig {
    VisionConfig::Vit(VitConfig::new(Classes::numbered(8, 1, 3), 4, 24, 2, 3))
}

pub(crate) fn cnn() -> VisionConfig {
    let pooled = CnnConfig { stem_pool: true, ..CnnConfig::new(Classes::numbered(8, 1, 3), 5, &[6, 7]) };
    VisionConfig::Cnn(pooled)
}

pub(crate) fn lora(dropout: f64) -> Project {
    project("lora", &[("rank", Value::Integer(2)), ("dropout", Value::Number(dropout))])
}

/// A model with a method on it whose parameters are all away from 0, so that every gradient matters.
pub(crate) fn adapted(config: &VisionConfig, project: &Project) -> VisionModel {
    let mut model = VisionModel::random(config, 7).expect("a model");
    let params = attach(&mut model, &project.method, 0, 5).expect("attaches").params;
    for param in &params {
        let mut noise = vec![0_f32; param.elements()];
        Stream::new(21, &param.name).fill_normal(&mut noise, 0.1);
        let noise = Tensor::from_vec(noise, param.var.shape(), &Device::Cpu).expect("noise");
        param.var.set(&(param.var.as_tensor() + noise).expect("sum")).expect("set");
    }
    model
}

pub(crate) fn pictures(model: &VisionModel, first: usize, count: usize) -> Pictures {
    let mut pixels = vec![0_f32; BATCH * 64];
    Stream::new(3, "pixels").fill_normal(&mut pixels, 1.0);
    let pixels = Tensor::from_vec(pixels, (BATCH, 1, 8, 8), &Device::Cpu).expect("pixels");
    let classes = [2, 0, 1, 2].into_iter().skip(first).take(count).collect();
    let rows_in_step = (first as u64..(first + count) as u64).collect();
    let ctx = ForwardContext { training: true, seed: 9, step: 3, rows_in_step, ..model.context(count) };
    let pixels = pixels.narrow(0, first, count).expect("rows");
    Pictures { pixels, labels: vec![Labels { task: 0, classes }], ctx }
}

fn drive(model: &VisionModel, recompute: bool, parts: &[(usize, usize)]) -> (Vec<ImageLoss>, Grads) {
    let (driver, mut grads) = (ImageDriver::new(model, recompute), Grads::new());
    let run = |&(first, count): &(usize, usize)| {
        let scales = (1.0 / BATCH as f64, 1.0);
        driver.micro_step(model, &pictures(model, first, count), scales, &mut grads).expect("a micro-step")
    };
    (parts.iter().map(run).collect(), grads)
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("values")
}

/// Largest difference between two sets of gradients over the largest value of any.
pub(crate) fn difference(params: &[Param], one: &Grads, other: impl Fn(&Param) -> Vec<f32>) -> f32 {
    let (mut largest, mut difference) = (0_f32, 0_f32);
    for param in params {
        let gradient = values(one.get(&param.name).unwrap_or_else(|| panic!("{} has no gradient", param.name)));
        for (one, other) in gradient.iter().zip(other(param)) {
            largest = largest.max(one.abs());
            difference = difference.max((one - other).abs());
        }
    }
    difference / largest
}

#[test]
fn stages_give_the_gradients_of_the_whole_graph_and_recomputed_ones_the_same_bits() {
    for config in [vit(), cnn()] {
        for project in [lora(0.0), lora(0.2), project("full", &[])] {
            let model = adapted(&config, &project);
            let params = model.params().expect("params");
            let batch = pictures(&model, 0, BATCH);
            let loss = model.loss(&batch.pixels, &batch.labels[0], &batch.ctx).expect("loss");
            let whole = (loss.clone() / BATCH as f64).expect("mean").backward().expect("backward");
            let (measured, grads) = drive(&model, false, &[(0, BATCH)]);
            assert_eq!(grads.len(), params.len());
            let of_whole = |param: &Param| values(whole.get(param.var.as_tensor()).expect("a gradient"));
            let off = difference(params.as_slice(), &grads, of_whole);
            assert!(off < 1e-5, "{} {}: {off:e}", config.family(), project.method.id);
            let expected = f64::from(loss.to_scalar::<f32>().expect("a scalar"));
            assert!((measured[0].loss_sum - expected).abs() < 1e-5 * expected);
            let (again, recomputed) = drive(&model, true, &[(0, BATCH)]);
            assert_eq!(again, measured);
            let same = |param: &Param| values(recomputed.get(&param.name).expect("a gradient"));
            assert!(difference(params.as_slice(), &grads, same) == 0.0);
        }
    }
}

#[test]
fn batches_in_pieces_give_what_one_gives() {
    for config in [vit(), cnn()] {
        let model = adapted(&config, &lora(0.3));
        let params = model.params().expect("params");
        let (one, grads) = drive(&model, false, &[(0, 4)]);
        let (pieces, summed) = drive(&model, false, &[(0, 1), (1, 3)]);
        let of_pieces = |param: &Param| values(summed.get(&param.name).expect("a gradient"));
        let off = difference(params.as_slice(), &grads, of_pieces);
        assert!(off < 1e-5, "{}: {off:e}", config.family());
        assert_eq!(one[0].correct, pieces.iter().map(|piece| piece.correct).sum::<usize>());
        assert_eq!((one[0].labelled, pieces[0].labelled, pieces[1].labelled), (4, 1, 3));
    }
}

#[test]
fn two_tasks_at_once_add_their_losses() {
    let mut model = adapted(&vit(), &lora(0.0));
    let task = model.add_task("parity", vec!["even".to_owned(), "odd".to_owned()], 4).expect("a task");
    let mut batch = pictures(&model, 0, BATCH);
    let driver = ImageDriver::new(&model, false);
    let run = |batch: &Pictures| {
        let mut grads = Grads::new();
        let measured = driver.micro_step(&model, batch, (1.0, 1.0), &mut grads).expect("a micro-step");
        (measured.loss_sum, values(grads.get("layers.0.attn.q.b").expect("a gradient")))
    };
    let first = run(&batch);
    batch.labels.push(Labels { task, classes: [0, 0, 1, 0].into() });
    let both = run(&batch);
    batch.labels.remove(0);
    let second = run(&batch);
    assert!((first.0 + second.0 - both.0).abs() < 1e-4);
    for ((first, second), both) in first.1.iter().zip(&second.1).zip(&both.1) {
        assert!((first + second - both).abs() < 1e-4);
    }
    batch.labels.clear();
    assert!(driver.micro_step(&model, &batch, (1.0, 1.0), &mut Grads::new()).is_err());
}

#[test]
fn a_method_sees_layers_and_kernels_and_the_head_is_trained_beside_it() {
    let model = VisionModel::random(&vit(), 7).expect("a model");
    let dims = dims_of(&model);
    assert_eq!(dims.sites.len(), 12);
    assert_eq!(dims.sites[1].hf_name, "vit.encoder.layer.0.attention.attention.key");
    assert_eq!((dims.sites[11].layer, dims.sites[11].name.as_str()), (Some(1), "layers.1.mlp.down"));
    let own: Vec<&str> = dims.own.iter().map(|own| own.name.as_str()).collect();
    assert_eq!(own[..3], ["embed.class", "embed.positions", "embed.patch"]);
    assert_eq!((own[own.len() - 1], dims.own[own.len() - 1].entries), ("head", 3 * 24 + 3));
    let entries: u64 = dims.sites.iter().map(|site| site.entries()).chain(dims.own.iter().map(|own| own.entries)).sum();
    assert_eq!(entries, model.parameter_count());

    let model = adapted(&cnn(), &lora(0.0));
    let dims = dims_of(&model);
    let shapes: Vec<_> = dims.sites.iter().map(|site| (site.out_features, site.in_features)).collect();
    assert_eq!(shapes, [(5, 9), (6, 45), (7, 54)]);
    let names: Vec<String> = model.params().expect("params").iter().map(|param| param.name.clone()).collect();
    let adapters =
        ["layers.0.conv", "layers.1.conv", "stem.conv"].map(|site| [format!("{site}.a"), format!("{site}.b")]);
    let mut expected: Vec<String> = adapters.into_iter().flatten().collect();
    expected.extend(["head.bias".to_owned(), "head.weight".to_owned()]);
    expected.sort();
    assert_eq!(names, expected);
    let missing = attach(&mut VisionModel::random(&vit(), 7).expect("a model"), &lora(0.0).method, 3, 1);
    assert!(missing.is_err());
}

/// Three classes of stripes: down, across, and none.
pub(crate) fn stripes(count: usize) -> ImageSet {
    let dir = tempfile::tempdir().expect("a folder");
    let mut stream = Stream::new(5, "stripes");
    let (mut pixels, mut classes) = (Vec::new(), Vec::new());
    for image in 0..count {
        let class = (image % 3) as u8;
        let phase = stream.below(4);
        for at in 0..64_u64 {
            let along = if class == 0 { at % 8 } else { at / 8 };
            let light = class < 2 && (along + phase) % 4 < 2;
            pixels.push(if light { 170 } else { 60 } + stream.below(80) as u8);
        }
        classes.push(class);
    }
    let idx = |dims: &[u32], values: &[u8]| {
        let mut bytes = vec![0, 0, 8, dims.len() as u8];
        bytes.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
        bytes.extend_from_slice(values);
        bytes
    };
    let put = |name: &str, bytes: Vec<u8>| std::fs::write(dir.path().join(name), bytes).expect("written");
    put("train-images-idx3-ubyte", idx(&[count as u32, 8, 8], &pixels));
    put("train-labels-idx1-ubyte", idx(&[count as u32], &classes));
    ImageSet::open(dir.path(), Part::Train).expect("a set")
}

#[test]
fn stripes_are_learned_and_the_same_seed_gives_the_same_bits() {
    let set = stripes(240);
    let (rows, held_out) = set.split(0.25, 1);
    let normalise = set.normalise_by(&rows);
    let train = Train { steps: 40, batch: 16, lr_peak: 1e-2, warmup_steps: 4, ..Train::default() };
    for config in [vit(), cnn()] {
        let run = |accumulate: usize| {
            let mut model = VisionModel::random(&config, 7).expect("a model");
            let attached = attach(&mut model, &project("full", &[]).method, 0, 5).expect("attaches");
            let images = Images { set: &set, rows: &rows, normalise: &normalise, task: 0 };
            let train = Train { batch: train.batch / accumulate, accumulate, ..train.clone() };
            let fitted = fit(&mut model, &attached, images, &train).expect("trains");
            let measured = evaluate(&model, Images { rows: &held_out, ..images }).expect("measures");
            (fitted, measured)
        };
        let (fitted, measured) = run(1);
        assert_eq!((run(1).0, measured.images), (fitted.clone(), held_out.len()));
        assert!(measured.accuracy > 0.9, "{}: {measured:?}", config.family());
        assert!(fitted.losses.iter().all(|loss| loss.is_finite()));
        let in_pieces = run(2).0;
        assert!((in_pieces.losses[0] - fitted.losses[0]).abs() < if config == vit() { 1e-5 } else { 0.5 });
    }
    let mut model = VisionModel::random(&vit(), 7).expect("a model");
    let attached = attach(&mut model, &project("full", &[]).method, 0, 5).expect("attaches");
    let none = Images { set: &set, rows: &[], normalise: &normalise, task: 0 };
    assert!(fit(&mut model, &attached, none, &train).is_err() && evaluate(&model, none).is_err());
}

#[test]
fn a_search_over_blocks_ends_with_a_choice_and_leaves_its_images_out() {
    let set = stripes(240);
    let rows: Vec<u32> = (0..240).collect();
    let normalise = set.normalise_by(&rows);
    let train = Train { steps: 60, batch: 16, lr_peak: 1e-2, warmup_steps: 4, ..Train::default() };
    let settings = [("every", Value::Integer(3)), ("width", Value::Integer(8)), ("instead_width", Value::Integer(12))];
    let run = || {
        let mut model = VisionModel::random(&vit(), 7).expect("a model");
        let attached = attach(&mut model, &project("das", &settings).method, 0, 5).expect("attaches");
        let images = Images { set: &set, rows: &rows, normalise: &normalise, task: 0 };
        (fit(&mut model, &attached, images, &train).expect("trains"), model)
    };
    let (fitted, model) = run();
    assert_eq!(fitted, run().0);
    // From step 6 to step 24, every 3 steps; one of the two blocks is left out.
    assert_eq!(fitted.search.iter().map(|point| point.step).collect::<Vec<_>>(), [9, 12, 15, 18, 21, 24]);
    assert!(
        fitted.search.iter().all(|point| point.tried.len() == 2 && point.tried.iter().all(|(_, reward)| *reward > 0.0))
    );
    assert_eq!((fitted.left_out.len(), model.left_out().len()), (1, 1));
    let last = fitted.search.last().expect("a comparison");
    let best = if last.logits[0] >= last.logits[1] { "layers.0" } else { "layers.1" };
    assert_eq!(fitted.left_out, [best]);
    let (early, late) = (fitted.losses[..10].iter().sum::<f64>(), fitted.losses[50..].iter().sum::<f64>());
    assert!(late < early, "{late} after {early}");
}
