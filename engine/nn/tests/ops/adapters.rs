//! Drawn matrices mixed by trained coefficients, blocks per group of rows, weights looked up in tables.

use crate::support::{check, normal, values};
use candle_core::{Device, Tensor};
use std::sync::Arc;
use temper_nn::ops::{
    Choice, Codes, FrozenLinear, Places, Seeded, expert_balance, linear_at, linear_look_up, linear_row_groups,
    reference, route, seeded_sum,
};
use temper_nn::{FrozenWeight, StorageKind};

fn seeded(dims: &[usize], bases: usize) -> Arc<Seeded> {
    Arc::new(Seeded { key: 12, start: normal("start", dims), bases })
}

#[test]
fn a_mix_of_drawn_matrices_gives_the_gradients_of_its_reference() {
    for (dims, bases) in [(vec![2, 9], 1), (vec![3, 50], 5), (vec![40, 33], 3)] {
        let seeded = seeded(&dims, bases);
        let coefficients = [normal("c", &[bases])];
        let expected = |c: &[Tensor]| reference::seeded_sum(&c[0], &seeded);
        check(|c| seeded_sum(&c[0], &seeded), expected, &coefficients);
    }
    assert!(seeded_sum(&normal("c", &[4]), &seeded(&[3, 50], 5)).is_err());
}

#[test]
fn drawn_matrices_are_the_same_in_any_order_and_in_any_pieces() {
    let seeded = seeded(&[7, 200], 9);
    let whole = seeded.basis(4).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let mut piece = vec![0f32; 100];
    seeded.entries(8, 0, &mut piece);
    seeded.entries(4, 640, &mut piece);
    assert_eq!(piece, whole[640..740]);
    assert_ne!(whole, seeded.basis(5).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap());
    // Uniform in ±1/√9.
    let (largest, mean) = (whole.iter().fold(0f32, |l, x| l.max(x.abs())), whole.iter().sum::<f32>() / 1400.0);
    assert!(largest <= 1.0 / 3.0 && largest > 0.33 && mean.abs() < 0.02, "{largest} {mean}");
}

#[test]
fn blocks_per_group_of_rows_give_the_gradients_of_the_dense_weight() {
    for (rows, cols, size, kind) in
        [(6, 4, 2, StorageKind::F32), (32, 64, 16, StorageKind::Q8_0), (64, 32, 1, StorageKind::F16)]
    {
        let dense = Tensor::from_vec(values("w", rows * cols, 0.3), (rows, cols), &Device::Cpu).unwrap();
        let weight = FrozenWeight::from_tensor("w", &dense, kind).unwrap();
        let held = weight.to_tensor().unwrap();
        let bias = normal("bias", &[rows]);
        let layer = FrozenLinear { weight: Arc::new(weight), bias: Some(bias.clone()) };
        let x = normal("x", &[3, 5, cols]);
        let blocks = (normal("blocks", &[rows / size, size, size]) * 0.3).unwrap();
        for tiled in [false, true] {
            let wide = |value: &Tensor, like: &Tensor| value.to_dtype(like.dtype()).unwrap();
            let expected = |x: &[Tensor]| {
                let (weight, bias) = (wide(&held, &x[0]), wide(&bias, &x[0]));
                reference::linear_row_groups(&x[0], &weight, Some(&bias), &x[1], tiled)
            };
            let inputs = [x.clone(), blocks.clone()];
            let ours = |x: &[Tensor]| linear_row_groups(&x[0], &layer, &x[1], tiled);
            temper_nn::gradcheck::compare_with_reference(ours, expected, &inputs, 1e-4).unwrap();
            let options = temper_nn::gradcheck::GradCheck::f32();
            temper_nn::gradcheck::check_gradients(ours, &inputs, &options).unwrap();
        }
        assert!(linear_row_groups(&x, &layer, &normal("b", &[1, rows + 1, rows + 1]), true).is_err());
    }
}

#[test]
fn entries_at_places_give_the_gradients_of_the_whole_matrix() {
    for (rows, cols, numbers) in
        [(4, 5, vec![0u32, 3, 7, 19]), (1, 9, vec![8]), (40, 70, (0..2800).step_by(2).collect())]
    {
        let places = Arc::new(Places::new(rows, cols, &numbers).unwrap());
        let inputs = [normal("x", &[3, cols]), normal("values", &[numbers.len()])];
        let expected = |x: &[Tensor]| reference::linear_at(&x[0], &x[1], &places);
        check(|x| linear_at(&x[0], &x[1], &places), expected, &inputs);
    }
    for wrong in [vec![0u32, 0], vec![3, 1], vec![20]] {
        assert!(Places::new(4, 5, &wrong).is_err(), "{wrong:?}");
    }
    let places = Arc::new(Places::new(4, 5, &[1]).unwrap());
    assert!(linear_at(&normal("x", &[3, 4]), &normal("v", &[1]), &places).is_err());
    assert!(linear_at(&normal("x", &[3, 5]), &normal("v", &[2]), &places).is_err());
}

#[test]
fn tables_give_the_gradients_of_the_weight_that_is_gathered_from_them() {
    // Rows beyond one band, columns that the groups do not divide, more groups than columns.
    for (rows, cols, groups, bits) in [(6, 10, 2, 4), (200, 33, 4, 2), (3, 5, 8, 3), (1, 1, 1, 1)] {
        let mut stream = temper_nn::rng::Stream::new(9, "codes");
        let codes: Vec<u8> = (0..rows * cols).map(|_| stream.below(1 << bits) as u8).collect();
        let held = Arc::new(Codes::pack((rows, cols), groups, bits, &codes).unwrap());
        let group_of = |col: usize| (0..groups).rev().find(|group| col >= group * cols / groups).unwrap();
        let place = |(at, code): (usize, &u8)| ((group_of(at % cols) << bits) + usize::from(*code)) as u32;
        let places: Vec<u32> = codes.iter().enumerate().map(place).collect();
        let places = Tensor::from_vec(places, (rows, cols), &Device::Cpu).unwrap();
        let inputs = [normal("x", &[3, 5, cols]), normal("table", &[rows, groups << bits])];
        check(|x| linear_look_up(&x[0], &held, &x[1]), |x| reference::linear_look_up(&x[0], &places, &x[1]), &inputs);
        assert!(linear_look_up(&inputs[0], &held, &normal("t", &[rows, 1 + (groups << bits)])).is_err());
        assert!(linear_look_up(&normal("x", &[2, cols + 1]), &held, &inputs[1]).is_err());
    }
}

#[test]
fn experts_weigh_as_the_softmax_over_the_chosen_and_others_get_no_gradient() {
    for (experts, top, rank) in [(4, 2, 3), (5, 1, 1), (3, 3, 2), (1, 1, 4)] {
        let inputs = [normal("h", &[6, experts * rank]), normal("logits", &[6, experts])];
        let choice = Arc::new(Choice::of(&inputs[1], top).unwrap());
        let expected = |x: &[Tensor]| reference::route(&x[0], &x[1], &choice);
        check(|x| route(&x[0], &x[1], &choice), expected, &inputs);
    }
    let logits = candle_core::Var::from_tensor(&normal("logits", &[6, 4])).unwrap();
    let h = candle_core::Var::from_tensor(&normal("h", &[6, 8])).unwrap();
    let choice = Arc::new(Choice::of(logits.as_tensor(), 2).unwrap());
    let y = route(h.as_tensor(), logits.as_tensor(), &choice).unwrap();
    let store = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let (dh, dl) = (store.get(h.as_tensor()).unwrap(), store.get(logits.as_tensor()).unwrap());
    let (dh, dl) = (dh.reshape((6, 4, 2)).unwrap().to_vec3::<f32>().unwrap(), dl.to_vec2::<f32>().unwrap());
    for (dh, dl) in dh.iter().zip(&dl) {
        let moved: Vec<bool> = dh.iter().map(|dh| dh.iter().any(|value| *value != 0.0)).collect();
        assert_eq!(moved.iter().filter(|moved| **moved).count(), 2);
        assert!(dl.iter().zip(&moved).all(|(dl, moved)| *moved || *dl == 0.0), "{dl:?}");
    }
    assert!(route(&normal("h", &[6, 7]), &normal("l", &[6, 4]), &choice).is_err());
    assert!(route(&normal("h", &[6, 8]), &normal("l", &[5, 4]), &choice).is_err());
    assert!(route(&normal("h", &[5, 8]), &normal("l", &[6, 4]), &choice).is_err());
}

#[test]
fn balance_is_one_for_an_even_choice_and_pulls_towards_it() {
    let counted: Arc<[bool]> = [true, true, false, true, true, false].into();
    for (experts, top) in [(4, 2), (5, 1), (3, 3)] {
        let inputs = [normal("logits", &[6, experts])];
        let choice = Arc::new(Choice::of(&inputs[0], top).unwrap());
        let expected = |x: &[Tensor]| reference::expert_balance(&x[0], &choice, &counted);
        check(|x| expert_balance(&x[0], &choice, &counted), expected, &inputs);
    }
    let all: Arc<[bool]> = [true; 4].into();
    let even = Tensor::eye(4, candle_core::DType::F32, &Device::Cpu).unwrap();
    let value = |logits: &Tensor| {
        let choice = Arc::new(Choice::of(logits, 1).unwrap());
        expert_balance(logits, &choice, &all).unwrap().to_scalar::<f32>().unwrap()
    };
    assert!((value(&even) - 1.0).abs() < 1e-6);
    let one_sided = Tensor::new(&[[5f32, 0.0, 0.0, 0.0]; 4], &Device::Cpu).unwrap();
    assert!(value(&one_sided) > 3.5);
    let none: Arc<[bool]> = [false; 4].into();
    assert!(expert_balance(&even, &Arc::new(Choice::of(&even, 1).unwrap()), &none).is_err());
}
