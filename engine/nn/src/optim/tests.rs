//! The optimiser against the same algorithm in f64, its state against itself, 8 bits against 32.

use super::*;
use crate::param::{Role, Update};
use crate::rng::Stream;
use candle_core::{Device, Tensor, Var};

const CONFIG: AdamWConfig =
    AdamWConfig { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, moments: MomentStorage::F32 };
const IN_8_BITS: AdamWConfig = AdamWConfig { moments: MomentStorage::Int8, ..CONFIG };

fn param(name: &str, n: usize, lr_ratio: f64, decay: bool) -> Param {
    let mut values = vec![0f32; n];
    Stream::new(1, name).fill_normal(&mut values, 1.0);
    let var = Var::from_vec(values, n, &Device::Cpu).unwrap();
    Param { lr_ratio, ..Param::new(name, var, Role::Weight, decay) }
}

fn gradients(params: &[Param], step: u64) -> Grads {
    let mut grads = Grads::new();
    for param in params {
        let mut values = vec![0f32; param.elements()];
        Stream::new(step, &param.name).fill_normal(&mut values, 0.1);
        let n = values.len();
        grads.add(&param.name, &Tensor::from_vec(values, n, &Device::Cpu).unwrap()).unwrap();
    }
    grads
}

fn values(param: &Param) -> Vec<f32> {
    param.var.to_vec1().unwrap()
}

#[test]
fn fifty_steps_follow_the_same_algorithm_in_f64() {
    let params = [param("a", 1000, 1.0, true), param("b", 37, 4.0, true), param("c", 5, 1.0, false)];
    let mut expected =
        params.iter().map(|param| values(param).into_iter().map(f64::from).collect::<Vec<_>>()).collect::<Vec<_>>();
    let mut first = expected.iter().map(|p| vec![0f64; p.len()]).collect::<Vec<_>>();
    let mut second = first.clone();
    let mut optimiser = AdamW::new(CONFIG);
    for t in 1..=50 {
        let lr = 1e-2 / f64::from(t);
        let grads = gradients(&params, t as u64);
        optimiser.step(&params, &grads, lr).unwrap();
        for (index, param) in params.iter().enumerate() {
            let lr = lr * param.lr_ratio;
            let gradient = grads.get(&param.name).unwrap().to_vec1::<f32>().unwrap();
            for (i, g) in gradient.into_iter().map(f64::from).enumerate() {
                let (p, m, v) = (&mut expected[index][i], &mut first[index][i], &mut second[index][i]);
                if param.decay {
                    *p -= lr * CONFIG.weight_decay * *p;
                }
                *m = CONFIG.beta1 * *m + (1.0 - CONFIG.beta1) * g;
                *v = CONFIG.beta2 * *v + (1.0 - CONFIG.beta2) * g * g;
                let m_hat = *m / (1.0 - CONFIG.beta1.powi(t));
                let v_hat = *v / (1.0 - CONFIG.beta2.powi(t));
                *p -= lr * m_hat / (v_hat.sqrt() + CONFIG.epsilon);
            }
        }
    }
    for (param, expected) in params.iter().zip(&expected) {
        for (value, expected) in values(param).into_iter().zip(expected) {
            assert!(
                (f64::from(value) - expected).abs() < 3e-6 * (1.0 + expected.abs()),
                "{}: {value} {expected}",
                param.name
            );
        }
    }
    assert_eq!(optimiser.steps("a"), 50);
    assert_eq!(optimiser.memory_bytes(), (1000 + 37 + 5) * 8);
}

#[test]
fn a_stored_state_goes_on_to_the_same_bits() {
    let params = || [param("a", 100, 1.0, true), param("b", 7, 2.0, false), param("c", 4096 + 300, 1.0, true)];
    for config in [CONFIG, IN_8_BITS] {
        let (straight, resumed) = (params(), params());
        let (mut optimiser, mut before) = (AdamW::new(config), AdamW::new(config));
        for step in 0..5 {
            optimiser.step(&straight, &gradients(&straight, step), 1e-3).unwrap();
            before.step(&resumed, &gradients(&resumed, step), 1e-3).unwrap();
        }
        let bytes = before.to_safetensors().unwrap();
        assert_eq!(bytes, before.to_safetensors().unwrap(), "the same state gives the same bytes");
        let mut after = AdamW::from_safetensors(config, &bytes).unwrap();
        assert_eq!(after.to_safetensors().unwrap(), bytes, "and comes back as it was");
        for step in 5..9 {
            optimiser.step(&straight, &gradients(&straight, step), 1e-3).unwrap();
            after.step(&resumed, &gradients(&resumed, step), 1e-3).unwrap();
        }
        for (left, right) in straight.iter().zip(&resumed) {
            assert_eq!(values(left), values(right));
        }
        assert_eq!(after.steps("b"), 9);
    }
}

/// Gradients as training has them: a direction that stays, noise, sizes that spread by a factor of 2 around that of
/// their row of 1,000 (which spreads by a factor of 10), and in every seventh value nothing after the first step.
fn lifelike(params: &[Param], step: u64) -> Grads {
    let mut grads = Grads::new();
    for param in params {
        let n = param.elements();
        let draw = |what: &str, step: u64| {
            let mut values = vec![0f32; n];
            Stream::new(step, &format!("{} {what}", param.name)).fill_normal(&mut values, 1.0);
            values
        };
        let (steady, noise, size, row) = (draw("steady", 0), draw("noise", step), draw("size", 0), draw("row", 0));
        let values = (0..n).map(|i| {
            let absent = i % 7 == 0 && step > 1;
            if absent { 0.0 } else { (steady[i] + noise[i]) * 10f32.powf(0.3 * size[i] + row[i / 1000] - 3.0) }
        });
        let values: Vec<f32> = values.collect();
        grads.add(&param.name, &Tensor::from_vec(values, n, &Device::Cpu).unwrap()).unwrap();
    }
    grads
}

#[test]
fn moments_in_8_bits_move_parameters_as_those_in_32_do() {
    let params = || [param("wide", 40_000, 1.0, true), param("odd", 5_001, 2.0, false), param("small", 999, 1.0, true)];
    let (exact, coded, start) = (params(), params(), params());
    let (mut in_32, mut in_8) = (AdamW::new(CONFIG), AdamW::new(IN_8_BITS));
    for step in 1..=50 {
        let grads = lifelike(&exact, step);
        in_32.step(&exact, &grads, 1e-3).unwrap();
        in_8.step(&coded, &grads, 1e-3).unwrap();
    }
    for ((exact, coded), start) in exact.iter().zip(&coded).zip(&start) {
        let (exact, coded, start, name) = (values(exact), values(coded), values(start), &start.name);
        let (mut apart, mut moved, mut worst) = (0f64, 0f64, 0f32);
        for ((exact, coded), start) in exact.iter().zip(&coded).zip(&start) {
            apart += f64::from(exact - coded).powi(2);
            moved += f64::from(exact - start).powi(2);
            worst = worst.max((exact - coded).abs());
        }
        let drift = (apart / moved).sqrt();
        match name.as_str() {
            "small" => assert_eq!(exact, coded, "fewer than 4,096 values stay in 32 bits"),
            _ => assert!(drift > 0.0 && drift < 0.05, "{name}: {drift}"),
        }
        // No step goes much further than the rate: nothing explodes where the gradient is gone.
        assert!(worst < 0.05, "{name}: {worst}");
    }
    let share = in_8.memory_bytes() as f64 / in_32.memory_bytes() as f64;
    assert!((0.25..0.28).contains(&share), "{share}");
    assert_eq!(in_8.memory_bytes(), 2 * (40_000 + 4 * 157 + 5_001 + 4 * 20) + 8 * 999);
    assert!((MomentStorage::Int8.bytes_per_value() - 2.03125).abs() < 1e-9);
}

#[test]
fn steps_in_8_bits_do_not_depend_on_the_number_of_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let params = [param("a", 100_003, 1.0, true), param("b", 9_216, 1.0, true)];
            let mut optimiser = AdamW::new(IN_8_BITS);
            for step in 1..4 {
                optimiser.step(&params, &lifelike(&params, step), 1e-3).unwrap();
            }
            (values(&params[0]), optimiser.to_safetensors().unwrap())
        })
    };
    assert!(run(1) == run(3));
}

#[test]
fn a_second_moment_never_becomes_zero_while_it_is_not() {
    // One value far above its neighbours in the same block, whose gradient then stays away for good.
    let params = [param("a", 4096, 1.0, false)];
    let before = values(&params[0]);
    let mut optimiser = AdamW::new(IN_8_BITS);
    for step in 0..10 {
        let mut gradient = vec![0f32; 4096];
        gradient[0] = 100.0;
        if step == 0 {
            gradient[1] = 3e-3;
        }
        let mut grads = Grads::new();
        grads.add("a", &Tensor::from_vec(gradient, 4096, &Device::Cpu).unwrap()).unwrap();
        optimiser.step(&params, &grads, 1e-3).unwrap();
    }
    let moved = (values(&params[0])[1] - before[1]).abs();
    assert!(moved > 0.0 && moved < 1e-2, "{moved} in ten steps of 1e-3");
}

#[test]
fn a_state_that_is_kept_otherwise_or_damaged_is_refused() {
    let params = [param("a", 5000, 1.0, true)];
    for (config, other) in [(CONFIG, IN_8_BITS), (IN_8_BITS, CONFIG)] {
        let mut optimiser = AdamW::new(config);
        optimiser.step(&params, &gradients(&params, 1), 1e-3).unwrap();
        let error = AdamW::from_safetensors(other, &optimiser.to_safetensors().unwrap()).unwrap_err().to_string();
        assert!(error.contains("train.optim_state") && error.contains("int8") && error.contains("`a`"), "{error}");
    }
    let mut optimiser = AdamW::new(IN_8_BITS);
    optimiser.step(&params, &gradients(&params, 1), 1e-3).unwrap();
    let mut tensors: Vec<StateTensor<'_>> = optimiser.state().collect();
    let whole = moments::write(&tensors).unwrap();
    assert!(AdamW::from_safetensors(IN_8_BITS, &whole).is_ok());
    let scales = tensors.iter().position(|tensor| tensor.name == "second_scale.a").unwrap();
    let short = StateTensor { shape: vec![1], values: StateValues::Floats(&[1.0]), ..tensors[scales].clone() };
    tensors[scales] = short;
    let error = AdamW::from_safetensors(IN_8_BITS, &moments::write(&tensors).unwrap()).unwrap_err().to_string();
    assert!(error.contains("scales"), "{error}");
    tensors.remove(scales);
    let error = AdamW::from_safetensors(IN_8_BITS, &moments::write(&tensors).unwrap()).unwrap_err().to_string();
    assert!(error.contains("incomplete"), "{error}");
}

#[test]
fn a_parameter_without_gradient_is_left_alone_and_one_of_another_shape_refused() {
    let params = [param("a", 4, 1.0, true), param("b", 4, 1.0, true)];
    let before = values(&params[1]);
    let mut optimiser = AdamW::new(CONFIG);
    optimiser.step(&params, &gradients(&params[..1], 1), 0.1).unwrap();
    assert_eq!(values(&params[1]), before);
    let other = [param("a", 5, 1.0, true)];
    let error = optimiser.step(&other, &gradients(&other, 1), 0.1).unwrap_err().to_string();
    assert!(error.contains("`a`"), "{error}");
    optimiser.forget("a");
    optimiser.step(&other, &gradients(&other, 1), 0.1).unwrap();
    assert!(AdamW::from_safetensors(CONFIG, b"nonsense").is_err());
}

#[test]
fn what_a_mask_holds_keeps_its_bits_under_gradient_decay_and_momentum() {
    for (config, n) in [(CONFIG, 300), (IN_8_BITS, 5000)] {
        let (whole, mut masked) = (param("p", n, 1.0, true), param("p", n, 1.0, true));
        let (mut alone, mut optimiser) = (AdamW::new(config), AdamW::new(config));
        let step = |optimiser: &mut AdamW, param: &Param, step: u64| {
            let grads = gradients(std::slice::from_ref(param), step);
            optimiser.step(std::slice::from_ref(param), &grads, 1e-2).unwrap();
        };
        for number in 1..=3 {
            step(&mut alone, &whole, number);
            step(&mut optimiser, &masked, number);
        }
        let held = values(&masked);
        let mask: Vec<f32> = (0..n).map(|at| if at % 3 == 0 { 0.0 } else { 1.0 }).collect();
        masked.mask = Some(Tensor::from_slice(&mask, n, &Device::Cpu).unwrap());
        assert_eq!(masked.trained().unwrap(), mask.iter().filter(|value| **value == 1.0).count());
        let memory = |optimiser: &AdamW| -> Vec<f32> {
            let first = optimiser.state().find(|tensor| tensor.name == "first.p").unwrap();
            match first.values {
                StateValues::Floats(values) => values.to_vec(),
                StateValues::Codes(codes) => codes.iter().map(|code| f32::from(*code)).collect(),
                StateValues::Count(_) => Vec::new(),
            }
        };
        let remembered = memory(&optimiser);
        for number in 4..=6 {
            step(&mut alone, &whole, number);
            step(&mut optimiser, &masked, number);
        }
        let (moved, free) = (values(&masked), values(&whole));
        for at in 0..n {
            if at % 3 == 0 {
                assert_eq!(moved[at].to_bits(), held[at].to_bits(), "{at} was held");
                if config.moments == MomentStorage::F32 {
                    assert_eq!(memory(&optimiser)[at].to_bits(), remembered[at].to_bits());
                }
            } else if config.moments == MomentStorage::F32 {
                assert_eq!(moved[at].to_bits(), free[at].to_bits(), "{at} was not held");
            } else {
                assert!((moved[at] - free[at]).abs() < 2e-3, "{} {}", moved[at], free[at]);
            }
        }
    }
}

#[test]
fn moments_follow_values_to_other_places() {
    for (config, n) in [(CONFIG, 6), (IN_8_BITS, 4608)] {
        let p = param("p", n, 1.0, true);
        let mut optimiser = AdamW::new(config);
        for step in 1..=4 {
            optimiser.step(std::slice::from_ref(&p), &gradients(std::slice::from_ref(&p), step), 1e-2).unwrap();
        }
        let mut twin = optimiser.clone();
        // Turned around, and as many new ones behind.
        let from: Vec<Option<u32>> = (0..n as u32).rev().map(Some).chain(std::iter::repeat_n(None, n)).collect();
        optimiser.edit(&OptimiserEdit::Move { name: "p".to_owned(), shape: vec![2 * n], from });
        assert_eq!(optimiser.steps("p"), 4);
        let turned: Vec<f32> = values(&p).into_iter().rev().chain(vec![0.5; n]).collect();
        let other = Param::new("p", Var::from_vec(turned, 2 * n, &Device::Cpu).unwrap(), Role::Weight, true);
        let gradient = vec![0.1f32; n];
        let grads = |times: usize| {
            let mut grads = Grads::new();
            let values = gradient.repeat(times);
            grads.add("p", &Tensor::from_slice(&values, values.len(), &Device::Cpu).unwrap()).unwrap();
            grads
        };
        optimiser.step([&other], &grads(2), 1e-2).unwrap();
        twin.step([&p], &grads(1), 1e-2).unwrap();
        let (there, here) = (values(&other), values(&p));
        for (at, here) in here.iter().enumerate() {
            assert!((there[n - 1 - at] - here).abs() < 1e-4, "{at}");
        }
        let fresh = &there[n..];
        assert!(fresh.iter().all(|value| value.to_bits() == fresh[0].to_bits()) && fresh[0] < 0.5);
        optimiser.edit(&OptimiserEdit::Forget { name: "p".to_owned() });
        assert_eq!(optimiser.steps("p"), 0);
    }
}

#[test]
fn a_plain_update_is_the_gradient_times_the_rate_and_leaves_no_memory() {
    let p = Param { update: Update::Plain, ..param("p", 50, 2.0, true) };
    let before = values(&p);
    let mut optimiser = AdamW::new(CONFIG);
    let grads = gradients(std::slice::from_ref(&p), 1);
    optimiser.step([&p], &grads, 1e-2).unwrap();
    let gradient = grads.get("p").unwrap().to_vec1::<f32>().unwrap();
    for ((after, before), gradient) in values(&p).iter().zip(&before).zip(gradient) {
        let expected = before - 2e-2 * (gradient + 0.1 * before);
        assert!((after - expected).abs() < 1e-6, "{after} {expected}");
    }
    assert_eq!(optimiser.state().count(), 0);
}
