//! Norms, activations, softmax, rotary embedding, token embeddings, seeds.

use crate::support::{CLOSE, check, normal};
use candle_core::{DType, Device, Tensor, Var};
use std::sync::Arc;
use temper_nn::gradcheck::{GradCheck, check_gradients, compare_with_reference};
use temper_nn::ops::{
    EmbeddingTable, RotaryTable, embedding, gated_gelu, gated_silu, gelu, gelu_tanh, layer_norm, reference, relu,
    rms_norm, rotary, seed_gradient, silu, softmax,
};
use temper_nn::{FrozenWeight, Result, StorageKind};

#[test]
fn norms_give_the_gradients_of_their_references() {
    for dims in [vec![1, 1], vec![3, 7], vec![2, 40, 33], vec![70, 600]] {
        let features = dims[dims.len() - 1];
        let inputs = [normal("x", &dims), normal("w", &[features]), normal("b", &[features])];
        let expected = |x: &[Tensor]| reference::rms_norm(&x[0], &x[1], 1e-5);
        check(|x| rms_norm(&x[0], &x[1], 1e-5), expected, &inputs[..2]);
        if features > 1 {
            let expected = |x: &[Tensor]| reference::layer_norm(&x[0], &x[1], Some(&x[2]), 1e-5);
            check(|x| layer_norm(&x[0], &x[1], Some(&x[2]), 1e-5), expected, &inputs);
            let expected = |x: &[Tensor]| reference::layer_norm(&x[0], &x[1], None, 1e-5);
            check(|x| layer_norm(&x[0], &x[1], None, 1e-5), expected, &inputs[..2]);
        }
    }
}

#[test]
fn layer_norm_keeps_its_digits_far_from_zero() {
    let x = (normal("x", &[4, 300]) + 300.0).unwrap();
    let (w, b) = (normal("w", &[300]), normal("b", &[300]));
    let f = |x: &[Tensor]| layer_norm(&x[0], &w, Some(&b), 1e-5);
    let wide = |x: &Tensor| x.to_dtype(DType::F64).unwrap();
    let expected = |x: &[Tensor]| reference::layer_norm(&x[0], &wide(&w), Some(&wide(&b)), 1e-5);
    compare_with_reference(f, expected, &[x], 1e-3).unwrap();
}

#[test]
fn a_frozen_norm_gets_no_gradient_for_its_weight() {
    let (x, w) = (Var::from_tensor(&normal("x", &[3, 8])).unwrap(), normal("w", &[8]));
    let store = rms_norm(x.as_tensor(), &w, 1e-6).unwrap().sum_all().unwrap().backward().unwrap();
    assert!(store.get(x.as_tensor()).is_some() && store.get(&w).is_none());
}

#[test]
fn activations_give_the_gradients_of_their_references() {
    type Pair = (fn(&Tensor) -> Result<Tensor>, fn(&Tensor) -> Result<Tensor>);
    let pairs: [Pair; 4] = [
        (silu, reference::silu),
        (gelu, reference::gelu),
        (gelu_tanh, reference::gelu_tanh),
        (softmax, reference::softmax),
    ];
    for (f, expected) in pairs {
        for dims in [vec![1, 1], vec![3, 37], vec![2, 3, 129]] {
            let x = (normal("x", &dims) * 3.0).unwrap();
            check(|x| f(&x[0]), |x| expected(&x[0]), &[x]);
        }
    }
}

#[test]
fn the_part_above_zero_has_its_reference_s_gradients() {
    // Differences across the corner say nothing, and at 0 itself the two choose another derivative.
    let x = (normal("x", &[3, 37]) * 3.0).unwrap();
    compare_with_reference(|x| relu(&x[0]), |x| Ok(x[0].relu()?), &[x], 1e-6).unwrap();
    let x = Var::new(&[0f32, -1.0, 2.0], &Device::Cpu).unwrap();
    let y = relu(x.as_tensor()).unwrap();
    let store = y.sum_all().unwrap().backward().unwrap();
    assert_eq!(y.to_vec1::<f32>().unwrap(), [0.0, 0.0, 2.0]);
    assert_eq!(store.get(x.as_tensor()).unwrap().to_vec1::<f32>().unwrap(), [0.0, 0.0, 1.0]);
    assert!(relu(&Tensor::new(&[f32::NAN], &Device::Cpu).unwrap()).unwrap().to_vec1::<f32>().unwrap()[0].is_nan());
}

#[test]
fn gates_give_both_gradients() {
    let inputs = [(normal("gate", &[3, 41]) * 3.0).unwrap(), normal("up", &[3, 41])];
    check(|x| gated_silu(&x[0], &x[1]), |x| Ok((reference::silu(&x[0])? * &x[1])?), &inputs);
    check(|x| gated_gelu(&x[0], &x[1]), |x| Ok((reference::gelu_tanh(&x[0])? * &x[1])?), &inputs);
    assert!(gated_silu(&inputs[0], &normal("up", &[3, 40])).is_err());
}

#[test]
fn activations_of_extreme_values_stay_finite() {
    let x = Tensor::new(&[-1e4f32, -100.0, -0.0, 100.0, 1e4], &Device::Cpu).unwrap();
    for (f, expected) in [(silu as fn(&Tensor) -> Result<Tensor>, 1e4f32), (gelu, 1e4), (gelu_tanh, 1e4)] {
        let var = Var::from_tensor(&x).unwrap();
        let y = f(var.as_tensor()).unwrap();
        let gradient = y.sum_all().unwrap().backward().unwrap().get(var.as_tensor()).unwrap().to_vec1::<f32>().unwrap();
        let y = y.to_vec1::<f32>().unwrap();
        assert_eq!((y[0].abs(), y[4]), (0.0, expected));
        assert_eq!((gradient[0], gradient[4]), (0.0, 1.0));
    }
    let y = softmax(&Tensor::new(&[[1e30f32, -1e30, 0.0]], &Device::Cpu).unwrap()).unwrap();
    assert_eq!(y.to_vec2::<f32>().unwrap(), [[1.0, 0.0, 0.0]]);
}

/// Cosines and sines of the positions, from the table.
fn angles(table: &RotaryTable, positions: &[u32]) -> (Tensor, Tensor) {
    let half = table.half();
    let values = table.up_to(positions.iter().max().map_or(0, |p| *p as usize + 1));
    let row = |position: u32, start: usize| values[position as usize * 2 * half + start..][..half].to_vec();
    let part = |start: usize| {
        let values = positions.iter().flat_map(|&position| row(position, start)).collect::<Vec<_>>();
        Tensor::from_vec(values, (positions.len(), half), &Device::Cpu).unwrap()
    };
    (part(0), part(half))
}

#[test]
fn rotary_turns_pairs_and_its_gradient_turns_back() {
    for (features, half, scale) in [(8, 4, 1.0), (10, 3, 1.3), (2, 1, 1.0)] {
        let inv_freq = (0..half).map(|i| 10_000f32.powf(-(i as f32) / half as f32)).collect();
        let table = RotaryTable::new(inv_freq, scale);
        let positions: Arc<[u32]> = Arc::from([0u32, 1, 2, 0, 7, 100]);
        let (cosines, sines) = angles(&table, &positions);
        let expected = |x: &[Tensor]| reference::rotary(&x[0], &cosines, &sines);
        compare_with_reference(
            |x| rotary(&x[0], &table, &positions),
            expected,
            &[normal("x", &[2, 3, 5, features])],
            CLOSE,
        )
        .unwrap();
        check_gradients(|x| rotary(&x[0], &table, &positions), &[normal("x", &[2, 3, 5, features])], &GradCheck::f32())
            .unwrap();
    }
}

#[test]
fn rotary_tables_hold_the_angles_of_far_positions() {
    let table = RotaryTable::new(vec![1.0, 0.01], 1.0);
    let near = table.up_to(3);
    let far = table.up_to(5000);
    assert_eq!(near[..12], far[..12], "growing does not change what was there");
    let row = &far[4999 * 4..5000 * 4];
    let expected = [4999f64.cos(), f64::from(4999.0f32 * 0.01).cos(), 4999f64.sin(), f64::from(4999.0f32 * 0.01).sin()];
    for (value, expected) in row.iter().zip(expected) {
        assert!((f64::from(*value) - expected).abs() < 1e-7);
    }
    let positions: Arc<[u32]> = Arc::from([0u32; 5]);
    assert!(rotary(&normal("x", &[2, 3, 1, 4]), &table, &positions).is_err());
    assert!(rotary(&normal("x", &[1, 5, 1, 3]), &table, &positions).is_err());
}

#[test]
fn embeddings_are_rows_and_their_gradient_sums_up_repeats() {
    let ids: Arc<[u32]> = Arc::from([3u32, 0, 3, 3, 6, 1]);
    let f = |x: &[Tensor]| embedding(&ids, (2, 3), &EmbeddingTable::Trained(x[0].clone()));
    check(f, |x| reference::embedding(&ids, (2, 3), &x[0]), &[normal("table", &[7, 5])]);
    let table = normal("table", &[7, 32]);
    let frozen = FrozenWeight::from_tensor("embed", &table, StorageKind::F32).unwrap();
    let y = embedding(&ids, (2, 3), &EmbeddingTable::Frozen(Arc::new(frozen))).unwrap();
    let expected = reference::embedding(&ids, (2, 3), &table).unwrap();
    assert_eq!(y.to_vec3::<f32>().unwrap(), expected.to_vec3::<f32>().unwrap());
    let error = embedding(&Arc::from([7u32]), (1, 1), &EmbeddingTable::Trained(table)).unwrap_err().to_string();
    assert!(error.contains("token 7"), "{error}");
}

#[test]
fn a_seed_gives_the_gradient_it_was_made_of() {
    let (y, g) = (Var::from_tensor(&normal("y", &[3, 4])).unwrap(), normal("g", &[3, 4]));
    let sum = seed_gradient(y.as_tensor(), &g).unwrap();
    let found = sum.backward().unwrap().get(y.as_tensor()).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(found, g.to_vec2::<f32>().unwrap());
    // Several seeds, one of them scaled, add up.
    let both = (sum + (seed_gradient(y.as_tensor(), &g).unwrap() * 2.0).unwrap()).unwrap();
    let found = both.backward().unwrap().get(y.as_tensor()).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(found, (g * 3.0).unwrap().to_vec2::<f32>().unwrap());
    check(
        |x| seed_gradient(&x[0], &normal("g", &[3, 4])),
        |x| reference::seed_gradient(&x[0], &normal("g", &[3, 4]).to_dtype(x[0].dtype())?),
        &[normal("y", &[3, 4])],
    );
}
