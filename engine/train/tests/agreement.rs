//! Fifty optimiser steps from the same start: kernels, fused blocks, recomputation and threads change the speed and
//! the memory, not what is learned. Alone in its program, because one of the ways switches kernels off for all of it.

use candle_core::Tensor;
use std::path::Path;
use temper_models::Model;
use temper_nn::ops::IGNORE;
use temper_nn::rng::Stream;
use temper_nn::{AdamW, AdamWConfig, ForwardContext, Grads};
use temper_protocol::{Project, Value};
use temper_train::attach::attach;
use temper_train::driver::{Driver, Tokens};
use temper_train::phases::PhaseClock;

const STEPS: u64 = 50;
const BATCH: usize = 3;
const WIDTH: usize = 48;

#[derive(Clone, Copy)]
struct Way {
    fused: bool,
    kernels: bool,
    recompute: bool,
    threads: usize,
}

const PLAIN: Way = Way { fused: true, kernels: true, recompute: false, threads: 2 };

fn project(method: &str) -> Project {
    let mut project = Project::new("agreement", "builtin:starter", &["rows".to_owned()], method);
    if method == "lora" {
        for (key, value) in [("rank", Value::Integer(4)), ("dropout", Value::Number(0.1))] {
            project.method.settings.0.insert(key.to_owned(), value);
        }
    }
    project
}

/// Two packed segments and padding in every row; the first third of each segment is not trained.
fn batch(model: &Model, step: u64) -> Tokens {
    let mut stream = Stream::new(step, "agreement");
    let vocabulary = model.config.vocab_size() as u64;
    // A few ids only, so that fifty steps can learn their order.
    let ids: Vec<u32> =
        (0..BATCH * WIDTH).map(|place| ((place as u64 * 7 + stream.below(3)) % vocabulary) as u32).collect();
    let borders = [0, 17, 44];
    let mut targets = vec![IGNORE; ids.len()];
    for row in 0..BATCH {
        for segment in borders.windows(2) {
            for place in segment[0] + 5..segment[1] - 1 {
                targets[row * WIDTH + place] = ids[row * WIDTH + place + 1];
            }
        }
    }
    let borders = vec![borders.map(|border| border as u32).to_vec(); BATCH];
    let ctx = ForwardContext { training: true, seed: 5, step, ..ForwardContext::with_borders(WIDTH, borders) };
    Tokens { ids: ids.into(), targets: targets.into(), ctx, examples: [].into() }
}

/// Loss of every step, and the trained values at the end.
fn train(method: &str, way: Way) -> (Vec<f64>, Vec<f32>) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(way.threads).stack_size(64 << 20).build().expect("pool");
    temper_nn::ops::set_kernels(way.kernels);
    let result = pool.install(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/starter");
        let mut model = Model::load(&path, temper_models::BaseKind::F32, &mut |_, _, _| ()).expect("the starter");
        let attached = attach(&mut model, &project(method)).expect("attaches");
        let driver = Driver::new(&model, way.recompute);
        let driver = if way.fused { driver } else { driver.unfused() };
        let mut optimiser = AdamW::new(AdamWConfig { beta2: 0.99, ..AdamWConfig::default() });
        let mut losses = Vec::new();
        for step in 1..=STEPS {
            let tokens = batch(&model, step);
            let trained = tokens.targets.iter().filter(|target| **target != IGNORE).count() as f64;
            let mut grads = Grads::new();
            let clock = &mut PhaseClock::default();
            let micro = driver.micro_step(&model, &tokens, (1.0 / trained, 1.0), &mut grads, clock).expect("step");
            grads.clip_global_norm(1.0).expect("clips");
            optimiser.step(&attached.params, &grads, if method == "lora" { 5e-3 } else { 3e-4 }).expect("moves");
            losses.push(micro.loss_sum / trained);
        }
        let values = |tensor: &Tensor| tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("values");
        let end = attached.params.iter().flat_map(|param| values(param.var.as_tensor())).collect();
        (losses, end)
    });
    temper_nn::ops::set_kernels(true);
    result
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are read with --nocapture")]
fn fifty_steps_agree_whatever_computes_them() {
    for method in ["lora", "full"] {
        let (losses, end) = train(method, PLAIN);
        assert!(losses[49] < 0.7 * losses[0], "{method}: nothing was learned: {losses:?}");
        let (again, end_again) = train(method, PLAIN);
        assert!(losses == again && end == end_again, "{method}: the same settings twice");
        let (recomputed, end_recomputed) = train(method, Way { recompute: true, ..PLAIN });
        assert!(losses == recomputed && end == end_recomputed, "{method}: recomputation changes bits");
        for (name, way) in [
            ("single operations", Way { fused: false, ..PLAIN }),
            ("plain tensors", Way { fused: false, kernels: false, ..PLAIN }),
            ("one thread", Way { threads: 1, ..PLAIN }),
        ] {
            let (others, _) = train(method, way);
            let worst = losses.iter().zip(&others).map(|(one, other)| (one - other).abs() / one).fold(0.0, f64::max);
            assert!(worst < 2e-3, "{method}, {name}: losses differ by {worst}");
            // Rounding grows with the steps; before it has, they agree closely.
            let early = losses.iter().zip(&others).take(5);
            let early = early.map(|(one, other)| (one - other).abs() / one).fold(0.0, f64::max);
            assert!(early < 2e-5, "{method}, {name}: the first losses differ by {early}");
            println!("{method}, {name}: largest relative difference {early:.1e} in 5 steps, {worst:.1e} in 50");
        }
    }
}
