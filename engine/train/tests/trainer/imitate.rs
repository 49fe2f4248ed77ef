//! Learning from the model as its file has it: the original behind a rounded base, the gradients of an imitation, and what
//! it is worth on the starter: INT2.1's repair of two bits, EoRA's without training, PELA's healing of thin layers.

use crate::tiny::{project, trained};
use candle_core::{Device, Tensor};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use temper_data::TextCodec;
use temper_methods::Imitation;
use temper_models::Model;
use temper_nn::ops::IGNORE;
use temper_nn::{AdamW, AdamWConfig, ForwardContext, Grads, ParamSet};
use temper_protocol::Value;
use temper_train::attach::{attach, attach_on};
use temper_train::driver::{Driver, MicroLoss, Tokens};
use temper_train::imitate::AsOriginal;
use temper_train::phases::PhaseClock;

const ROWS: usize = 4;
const WIDTH: usize = 48;

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets")
}

fn starter(base: &str) -> Model {
    Model::load(&assets().join("starter"), base.parse().expect("a base"), &mut |_, _, _| {}).expect("the starter")
}

/// Batches of plain text, each token of which is trained.
fn batches(count: usize) -> Vec<Tokens> {
    let codec = TextCodec::from_hf_folder(&assets().join("starter")).expect("the starter's tokenizer");
    let text = std::fs::read_to_string(assets().join("probes/prose.txt")).expect("text");
    let ids = codec.encode(&text, false).expect("tokens");
    let batch = |ids: &[u32]| {
        let rows = || ids.chunks_exact(WIDTH + 1);
        let tokens: Arc<[u32]> = rows().flat_map(|row| row.iter().take(WIDTH).copied()).collect();
        let targets: Arc<[u32]> = rows().flat_map(|row| row.iter().skip(1).copied()).collect();
        let ctx = ForwardContext { training: true, ..ForwardContext::plain(ROWS, WIDTH) };
        Tokens { ids: tokens, targets, ctx, examples: [].into() }
    };
    let all: Vec<Tokens> = ids.chunks_exact(ROWS * (WIDTH + 1)).take(count).map(batch).collect();
    assert_eq!(all.len(), count, "there is not enough text");
    all
}

fn imitation(divergence: f64, cross_entropy: f64, features: f64) -> Imitation {
    Imitation { share: 1.0, divergence, cross_entropy, features }
}

fn lora(rank: i64) -> temper_protocol::Project {
    project("int2.1", &[("rank", Value::Integer(rank)), ("alpha", Value::Number(2.0 * rank as f64))])
}

/// A micro-step with the gradient of the mean loss.
fn micro(driver: &Driver, model: &Model, batch: &Tokens) -> (MicroLoss, Grads) {
    let mut grads = Grads::new();
    let scales = (1.0 / trained(batch) as f64, 1.0);
    let found = driver.micro_step(model, batch, scales, &mut grads, &mut PhaseClock::default());
    (found.expect("micro-step"), grads)
}

/// Cross-entropy and divergence from the original, nats a token.
fn measure(model: &Model, batches: &[Tokens]) -> (f64, f64) {
    let mut driver = Driver::new(model, true);
    driver.imitate(Some(imitation(1.0, 0.0, 0.0)));
    let (mut loss, mut divergence, mut tokens) = (0.0, 0.0, 0.0);
    for batch in batches {
        let ctx = ForwardContext { training: false, ..batch.ctx.clone() };
        let (found, _) = micro(&driver, model, &Tokens { ctx, ..batch.clone() });
        loss += found.loss_sum;
        divergence += found.divergence;
        tokens += trained(batch) as f64;
    }
    (loss / tokens, divergence / tokens)
}

/// One pass over batches, a step each; `imitation` says what the loss of a step is.
fn train(model: &Model, params: &ParamSet, batches: &[Tokens], lr: f64, at: &dyn Fn(usize) -> Option<Imitation>) {
    let mut driver = Driver::new(model, true);
    let mut optimiser = AdamW::new(AdamWConfig::default());
    for (step, batch) in batches.iter().enumerate() {
        driver.imitate(at(step));
        let (_, mut grads) = micro(&driver, model, batch);
        grads.clip_global_norm(1.0).expect("clips");
        let share = step as f64 / batches.len() as f64;
        let lr = lr * 0.5 * (1.0 + (std::f64::consts::PI * share).cos());
        optimiser.step(params, &grads, lr).expect("steps");
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("values")
}

fn logits(model: &Model, batch: &Tokens) -> Vec<f32> {
    values(&model.logits(&batch.ids, &batch.ctx).expect("logits"))
}

#[test]
fn the_original_answers_as_the_file_has_it_and_leaves_no_trace() {
    let batch = batches(1).remove(0);
    let (plain, mut rounded) = (starter("auto"), starter("int2"));
    attach(&mut rounded, &lora(4)).expect("attaches");
    let before = logits(&rounded, &batch);
    {
        let _original = AsOriginal::of(&rounded);
        assert_eq!(logits(&rounded, &batch), logits(&plain, &batch));
    }
    assert_eq!(logits(&rounded, &batch), before);
    assert_ne!(before, logits(&plain, &batch));
    // Switched off alone, it is the base as it was rounded.
    rounded.set_enabled(false);
    assert_eq!(logits(&rounded, &batch), logits(&starter("int2"), &batch));
}

#[test]
fn what_is_imitated_has_the_same_bytes_after_training() {
    let text = batches(10);
    let sources = |model: &Model| model.sites().iter().filter(|site| site.source().is_some()).count();
    let bytes = |model: &Model| -> Vec<Vec<u8>> {
        let held = |weight: &temper_nn::FrozenWeight| weight.bytes().as_slice().to_vec();
        let sources: Vec<Vec<u8>> = model.sites().into_iter().filter_map(|site| site.source().map(held)).collect();
        model.frozen().iter().map(|weight| held(weight)).chain(sources).collect()
    };
    for (base, method) in [("auto", "pela"), ("int2", "pela"), ("int2", "int2.1")] {
        let mut model = starter(base);
        let whole = logits(&starter("auto"), &text[0]);
        let params = attach(&mut model, &project(method, &[])).expect("attaches").params;
        let (before, start) = (bytes(&model), logits(&model, &text[0]));
        assert_eq!(sources(&model), if base == "auto" { 0 } else { model.sites().len() });
        train(&model, &params, &text, 2e-3, &|_| Some(imitation(1.0, 1.0, 1.0)));
        assert_ne!(logits(&model, &text[0]), start, "{method} over {base} learned nothing");
        assert!(bytes(&model) == before, "{method} over {base} changed a frozen weight or its source");
        let _original = AsOriginal::of(&model);
        assert_eq!(logits(&model, &text[0]), whole, "{method} over {base}: the original answers otherwise");
    }
}

#[test]
fn an_imitation_has_the_loss_and_the_gradients_of_the_whole_graph() {
    let batch = batches(1).remove(0);
    // Some positions count, and the mean over them.
    let targets: Arc<[u32]> =
        batch.targets.iter().enumerate().map(|(at, target)| if at % 3 == 0 { IGNORE } else { *target }).collect();
    let batch = Tokens { targets, ..batch };
    let (plain, mut model) = (starter("auto"), starter("int2"));
    let params = attach(&mut model, &lora(4)).expect("attaches").params;
    for param in params.iter() {
        let mut noise = vec![0_f32; param.elements()];
        temper_nn::rng::Stream::new(21, &param.name).fill_normal(&mut noise, 0.02);
        let noise = Tensor::from_vec(noise, param.var.shape(), &Device::Cpu).expect("noise");
        param.var.set(&(param.var.as_tensor() + noise).expect("sum")).expect("set");
    }
    let wanted = imitation(0.7, 0.2, 3.0);
    // The whole graph, the features compared by plain operations.
    let counts: Vec<f32> = batch.targets.iter().map(|target| if *target == IGNORE { 0.0 } else { 1.0 }).collect();
    let counts = Tensor::from_vec(counts, (ROWS, WIDTH, 1), &Device::Cpu).expect("counts");
    let mut parent = plain.embed.forward(&batch.ids, &batch.ctx).expect("embeds");
    let mut flow = model.embed.forward(&batch.ids, &batch.ctx).expect("embeds");
    let (mut away, blocks) = (Tensor::new(0_f32, &Device::Cpu).expect("zero"), model.blocks.len() as f64);
    for (block, original) in model.blocks.iter().zip(&plain.blocks) {
        parent = original.forward(parent, &batch.ctx).expect("forward");
        flow = block.forward(flow, &batch.ctx).expect("forward");
        let off = (&flow.hidden - &parent.hidden).and_then(|off| off.sqr()).expect("off");
        let off = off.broadcast_mul(&counts).and_then(|off| off.sum_all()).expect("sum");
        let hidden = flow.hidden.dims().last().copied().expect("features") as f64;
        away = (away + (off / (blocks * hidden)).expect("mean")).expect("sum");
    }
    let parent = model.head.parent(&parent.hidden, &batch.targets).expect("parent");
    let (divergence, loss) = model.head.divergence(&flow.hidden, &batch.targets, &parent).expect("head");
    let terms = [(&divergence, wanted.divergence), (&loss, wanted.cross_entropy), (&away, wanted.features)];
    let terms = terms.map(|(term, factor)| (term * (factor / trained(&batch) as f64)).expect("term"));
    let whole = terms.iter().skip(1).fold(terms[0].clone(), |sum, term| (sum + term).expect("sum"));
    let mut expected = Grads::new();
    expected.collect(&params, &mut whole.backward().expect("backward")).expect("gradients");

    let scalar = |tensor: &Tensor| f64::from(tensor.to_scalar::<f32>().expect("scalar"));
    for recompute in [false, true] {
        for fuse in [false, true] {
            let driver = Driver::new(&model, recompute);
            let mut driver = if fuse { driver } else { driver.unfused() };
            driver.imitate(Some(wanted));
            let (found, grads) = micro(&driver, &model, &batch);
            for (found, expected) in [(found.loss_sum, &loss), (found.divergence, &divergence), (found.features, &away)]
            {
                assert!((found / scalar(expected) - 1.0).abs() < 1e-4, "{found} {}", scalar(expected));
            }
            assert_eq!(grads.len(), params.len());
            for (name, gradient) in grads.iter() {
                let expected = values(expected.get(name).expect("a gradient"));
                let largest = expected.iter().fold(1e-6_f32, |largest, value| largest.max(value.abs()));
                for (found, expected) in values(gradient).iter().zip(&expected) {
                    assert!((found - expected).abs() < 1e-3 * largest, "{name}: {found} {expected}");
                }
            }
        }
    }
}

#[test]
fn repair_closes_more_than_half_of_the_gap_of_two_bits_and_the_loss_alone_recovers_less() {
    let mut text = batches(100);
    let held_out = text.split_off(90);
    let parent = measure(&starter("auto"), &held_out);
    assert!(parent.1.abs() < 1e-6, "the original diverges from itself: {}", parent.1);
    let after = |wanted: Option<Imitation>| {
        let mut model = starter("int2");
        let params = attach(&mut model, &lora(8)).expect("attaches").params;
        let before = measure(&model, &held_out);
        train(&model, &params, &text, 5e-3, &|_| wanted);
        (before, measure(&model, &held_out))
    };
    let (rounded, repaired) = after(Some(imitation(1.0, 0.1, 0.0)));
    let (_, fitted) = after(None);
    let figures = format!("parent {parent:?}, rounded {rounded:?}, repaired {repaired:?}, by the loss {fitted:?}");
    assert!(rounded.0 - parent.0 > 0.05, "two bits must hurt: {figures}");
    assert!(repaired.0 - parent.0 < 0.5 * (rounded.0 - parent.0), "{figures}");
    assert!(repaired.1 < 0.75 * rounded.1 && repaired.1 < 0.75 * fitted.1, "{figures}");
}

#[test]
fn healed_thin_layers_end_lower_than_unhealed_ones_and_those_lower_than_random_ones() {
    let mut text = batches(100);
    let held_out = text.split_off(90);
    let after = |heals: bool, random: bool| {
        let mut model = starter("auto");
        let params = attach(&mut model, &project("pela", &[])).expect("attaches").params;
        if random {
            for param in params.iter() {
                let size = values(param.var.as_tensor()).iter().map(|value| value * value).sum::<f32>().sqrt();
                let mut drawn = vec![0_f32; param.elements()];
                let std = f64::from(size) / (param.elements() as f64).sqrt();
                temper_nn::rng::Stream::new(22, &param.name).fill_normal(&mut drawn, std);
                param.var.set(&Tensor::from_vec(drawn, param.var.shape(), &Device::Cpu).expect("drawn")).expect("set");
            }
        }
        let half = text.len() / 2;
        train(&model, &params, &text, 2e-3, &|step| (heals && step < half).then_some(imitation(1.0, 1.0, 1.0)));
        measure(&model, &held_out).0
    };
    let (healed, plain, random) = (after(true, false), after(false, false), after(false, true));
    assert!(healed < plain && plain < random, "healed {healed}, decomposed {plain}, random {random}");
}

#[test]
fn without_training_a_product_by_inputs_repairs_more_than_a_plain_one_and_that_more_than_nothing() {
    let text = batches(26);
    let (seen, held_out) = text.split_at(16);
    let with = |method: &str, settings: &[(&str, Value)]| {
        let mut model = starter("int2");
        let mut looked = 0;
        let attached = attach_on(&mut model, &project(method, settings), &mut |number, rows| {
            looked = looked.max(number);
            Ok(seen.get(number).filter(|_| number * ROWS < rows).cloned())
        });
        attached.expect("attaches");
        (measure(&model, held_out), looked)
    };
    let (none, _) = with("lora", &[]);
    let rank = ("rank", Value::Integer(16));
    let plain = [
        rank.clone(),
        ("alpha", Value::Number(16.0)),
        ("start", Value::Text("loftq".to_owned())),
        ("start_rounds", Value::Integer(1)),
    ];
    let (plain, looked_plain) = with("lora", &plain);
    let (eora, looked) = with("eora", &[rank]);
    let figures = format!("as rounded {none:?}, plain {plain:?}, by inputs {eora:?}");
    assert!(eora.1 < plain.1 && plain.1 < none.1, "{figures}");
    assert_eq!((looked_plain, looked), (0, 16), "it looks at 64 rows of data, once");
}
