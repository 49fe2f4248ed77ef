//! Linear layers, with and without a low-rank change.

use crate::support::{check, normal, values};
use candle_core::{DType, Device, Tensor, Var};
use std::sync::Arc;
use temper_nn::gradcheck::{GradCheck, check_gradients};
use temper_nn::ops::{Dropout, linear, linear_low_rank, linear_trained, low_rank, reference, seed_gradient};
use temper_nn::{FrozenLinear, FrozenWeight, StorageKind};

fn layer(rows: usize, cols: usize, kind: StorageKind, bias: bool) -> FrozenLinear {
    let weight = FrozenWeight::from_tensor("w", &normal("weight", &[rows, cols]), kind).unwrap();
    FrozenLinear { weight: Arc::new(weight), bias: bias.then(|| normal("bias", &[rows])) }
}

/// Weight and bias in the type of `x`.
fn dense(layer: &FrozenLinear, x: &Tensor) -> (Tensor, Option<Tensor>) {
    let weight = layer.weight.to_tensor().unwrap().to_dtype(x.dtype()).unwrap();
    (weight, layer.bias.as_ref().map(|bias| bias.to_dtype(x.dtype()).unwrap()))
}

#[test]
fn frozen_linear_gives_its_input_the_right_gradient() {
    for (kind, bias, dims) in [
        (StorageKind::F32, true, vec![2, 3, 64]),
        (StorageKind::F32, false, vec![1, 64]),
        (StorageKind::Q4_1, true, vec![5, 64]),
        (StorageKind::Bf16, false, vec![2, 2, 2, 64]),
    ] {
        let layer = layer(33, 64, kind, bias);
        let expected = |x: &[Tensor]| {
            let (weight, bias) = dense(&layer, &x[0]);
            reference::linear(&x[0], &weight, bias.as_ref())
        };
        check(|x| linear(&x[0], &layer), expected, &[normal("x", &dims)]);
    }
}

#[test]
fn trained_linear_gives_all_three_gradients() {
    let inputs = [normal("x", &[3, 5, 7]), normal("w", &[11, 7]), normal("b", &[11])];
    let expected = |x: &[Tensor]| reference::linear(&x[0], &x[1], Some(&x[2]));
    check(|x| linear_trained(&x[0], &x[1], Some(&x[2])), expected, &inputs);
    let without = |x: &[Tensor]| reference::linear(&x[0], &x[1], None);
    check(|x| linear_trained(&x[0], &x[1], None), without, &inputs[..2]);
}

#[test]
fn a_trained_bias_on_a_frozen_weight_gets_its_gradient() {
    let frozen = layer(9, 32, StorageKind::Q8_0, false);
    let f = |x: &[Tensor]| {
        let layer = FrozenLinear { weight: Arc::clone(&frozen.weight), bias: Some(x[1].clone()) };
        linear(&x[0], &layer)
    };
    let expected = |x: &[Tensor]| reference::linear(&x[0], &dense(&frozen, &x[0]).0, Some(&x[1]));
    check(f, expected, &[normal("x", &[4, 32]), normal("b", &[9])]);
}

#[test]
fn the_fused_low_rank_layer_gives_the_gradients_of_its_parts() {
    let dropout = || Dropout { p: 0.4, key: 77, rows: Arc::from([3u64, 9]), width: 3 };
    for (rank, kind, bias, dropped) in [
        (1, StorageKind::F32, false, false),
        (4, StorageKind::F32, true, true),
        (5, StorageKind::Q4_0, true, false),
        (16, StorageKind::Q8_0, false, true),
    ] {
        let layer = layer(21, 64, kind, bias);
        let drop = || dropped.then(dropout);
        let inputs = [normal("x", &[2, 3, 64]), normal("a", &[rank, 64]), normal("b", &[21, rank])];
        let expected = |x: &[Tensor]| {
            let (weight, bias) = dense(&layer, &x[0]);
            let base = reference::linear(&x[0], &weight, bias.as_ref())?;
            Ok((base + reference::low_rank(&x[0], &x[1], &x[2], 1.5, drop().as_ref())?)?)
        };
        check(|x| linear_low_rank(&x[0], &layer, &x[1], &x[2], 1.5, drop()), expected, &inputs);
        let expected = |x: &[Tensor]| reference::low_rank(&x[0], &x[1], &x[2], 1.5, drop().as_ref());
        check(|x| low_rank(&x[0], &x[1], &x[2], 1.5, drop()), expected, &inputs);
    }
}

#[test]
fn only_what_is_tracked_gets_a_gradient() {
    let layer = layer(8, 32, StorageKind::F32, false);
    let (x, a, b) = (normal("x", &[4, 32]), normal("a", &[2, 32]), normal("b", &[8, 2]));
    let var = Var::from_tensor(&b).unwrap();
    let y = linear_low_rank(&x, &layer, &a, var.as_tensor(), 1.0, None).unwrap();
    let store = y.sum_all().unwrap().backward().unwrap();
    assert!(store.get(var.as_tensor()).is_some());
    assert!(store.get(&x).is_none() && store.get(&a).is_none());
    assert!(!linear(&x, &layer).unwrap().track_op(), "nothing to train: no graph is kept");
}

#[test]
fn dropout_does_not_depend_on_how_a_step_is_cut_into_batches() {
    let (a, b) = (normal("a", &[4, 16]), normal("b", &[8, 4]));
    let x = normal("x", &[4, 6, 16]);
    let run = |x: &Tensor, rows: Vec<u64>, width| {
        let dropout = Dropout { p: 0.5, key: 5, rows: rows.into(), width };
        low_rank(x, &a, &b, 1.0, Some(dropout)).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let whole = run(&x, vec![0, 1, 2, 3], 6);
    let parts = (0..4).flat_map(|row| run(&x.narrow(0, row, 1).unwrap(), vec![row as u64], 6)).collect::<Vec<_>>();
    assert_eq!(whole, parts);
    // A row padded further keeps the mask of the positions it had.
    let padded = Tensor::cat(&[&x, &normal("padding", &[4, 2, 16])], 1).unwrap();
    let padded = run(&padded, vec![0, 1, 2, 3], 8);
    for row in 0..4 {
        assert_eq!(whole[row * 48..(row + 1) * 48], padded[row * 64..row * 64 + 48]);
    }
}

#[test]
fn the_same_step_gives_the_same_bits_on_any_number_of_threads() {
    let layer = layer(300, 288, StorageKind::Q4_1, true);
    let (x, a, b) = (normal("x", &[4, 40, 288]), normal("a", &[8, 288]), normal("b", &[300, 8]));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let vars = [&x, &a, &b].map(|x| Var::from_tensor(x).unwrap());
            let dropout = Dropout { p: 0.1, key: 5, rows: Arc::from([0u64, 1, 2, 3]), width: 40 };
            let y = linear_low_rank(&vars[0], &layer, &vars[1], &vars[2], 2.0, Some(dropout)).unwrap();
            let store = seed_gradient(&y, &normal("g", &[4, 40, 300])).unwrap().backward().unwrap();
            let gradients = vars.iter().map(|var| store.get(var.as_tensor()).unwrap().clone());
            let all = gradients.chain([y.detach()]);
            all.flat_map(|x| x.flatten_all().unwrap().to_vec1::<f32>().unwrap()).map(f32::to_bits).collect::<Vec<_>>()
        })
    };
    let one = run(1);
    assert!(run(2) == one && run(3) == one);
}

#[test]
fn other_types_take_the_reference() {
    let layer = layer(6, 32, StorageKind::F32, true);
    let inputs = [normal("x", &[3, 32]), normal("a", &[2, 32]), normal("b", &[6, 2])];
    let inputs = inputs.map(|x| x.to_dtype(DType::F64).unwrap());
    let layer = FrozenLinear { bias: layer.bias.map(|bias| bias.to_dtype(DType::F64).unwrap()), ..layer };
    let f = |x: &[Tensor]| linear_low_rank(&x[0], &layer, &x[1], &x[2], 0.5, None);
    check_gradients(f, &inputs, &GradCheck::f64()).unwrap();
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let layer = layer(6, 32, StorageKind::F32, false);
    let (a, b) = (normal("a", &[2, 32]), normal("b", &[6, 2]));
    let error = linear(&normal("x", &[3, 31]), &layer).unwrap_err().to_string();
    assert!(error.contains("`w`") && error.contains("31"), "{error}");
    let x = normal("x", &[3, 32]);
    assert!(linear_low_rank(&x, &layer, &normal("a", &[3, 32]), &b, 1.0, None).is_err());
    assert!(linear_low_rank(&x, &layer, &a, &normal("b", &[5, 2]), 1.0, None).is_err());
    let dropout = |p, width| Some(Dropout { p, key: 1, rows: Arc::from([0u64]), width });
    assert!(low_rank(&x, &a, &b, 1.0, dropout(1.0, 3)).is_err());
    assert!(low_rank(&x, &a, &b, 1.0, dropout(0.5, 4)).is_err());
    let empty = Tensor::from_vec(values("none", 0, 1.0), (0, 32), &Device::Cpu).unwrap();
    assert_eq!(linear(&empty, &layer).unwrap().dims(), [0, 6]);
}
