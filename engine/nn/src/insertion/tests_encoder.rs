//! Insertions that need an attention that sees every token: smoothing of its graph, merging of tokens.

use super::tests::{DIMS, normal, off, values};
use super::*;
use crate::Param;
use crate::gradcheck::{GradCheck, check_gradients, check_parameters};
use crate::ops::{self, reference};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;

fn laplacian(p: f64, own_edge: bool) -> laplacian::HeldLaplacian {
    laplacian_over(DIMS, Laplacian { reduction: 2, p, mu: 0.1, own_edge })
}

fn laplacian_over(dims: InsertDims, what: Laplacian) -> laplacian::HeldLaplacian {
    let (mut shared, dims) = (BTreeMap::new(), InsertDims { open: true, ..dims });
    laplacian::HeldLaplacian::build(&what, &mut At::new("layers.0", dims, 3, &mut shared)).unwrap()
}

fn attention_of(qkv: &[Tensor; 3]) -> Attended<'_> {
    Attended { q: &qkv[0], k: &qkv[1], v: &qkv[2], scale: 0.5 }
}

#[test]
fn a_laplacian_of_exponent_two_is_plain_smoothing_and_its_gradients_are_right() {
    let (h, qkv) = (normal("h", &[2, 6, 7]), ["q", "k", "v"].map(|name| normal(name, &[2, 6, 2, 4])));
    let (held, attended) = (laplacian(2.0, true), attention_of(&qkv));
    assert_eq!(off(&held.add(&h, attended).unwrap(), &h), 0.0, "zero at the start");
    // At 2 every w is 1, rows of attention sum to 1, and what a message weighs sums to 1.
    let message = held.message(attended).unwrap();
    let by_head = |x: &Tensor| x.transpose(1, 2).unwrap().contiguous().unwrap();
    let (q, k, v) = (by_head(&qkv[0]), by_head(&qkv[1]), by_head(&qkv[2]));
    let scores = q.matmul(&k.transpose(2, 3).unwrap().contiguous().unwrap()).unwrap().affine(0.5, 0.0).unwrap();
    let weights = ops::softmax(&scores).unwrap();
    let named = |part: &str| -> Tensor {
        let all = held.params();
        all.iter().find(|param| param.name.ends_with(part)).unwrap().var.as_tensor().clone()
    };
    let both = Tensor::cat(&[&q, &v], 3).unwrap();
    let nodes = reference::linear(&both, &named(".nodes"), Some(&named(".nodes_bias"))).unwrap();
    let own = 2.0 * 0.2 / 2.0;
    let smoothed = weights.matmul(&nodes).unwrap();
    let expected = ((smoothed + nodes.affine(own, 0.0).unwrap()).unwrap() / (1.0 + own)).unwrap();
    assert!(off(&message, &expected) <= 1e-5);
    for own_edge in [false, true] {
        let held = laplacian(1.75, own_edge);
        for param in held.params() {
            let moved = normal(&param.name, param.var.dims()).affine(0.1, 0.0).unwrap();
            param.var.set(&(param.var.as_tensor() + moved).unwrap()).unwrap();
        }
        let params: Vec<Param> = held.params().map(Param::clone).to_vec();
        let options = GradCheck { samples: 8, tolerance: 1e-2, ..GradCheck::f32() };
        check_parameters(|| held.add(&h, attended), &params, &options).unwrap();
    }
}

#[test]
fn what_a_message_weighs_sums_to_one_at_every_exponent() {
    // Where every node is 1, a message is the sum of its weights: the row of α Ã and β.
    let qkv = ["q", "k", "v"].map(|name| normal(name, &[2, 6, 2, 4]));
    for p in [1.25, 1.5, 1.75, 2.0] {
        for own_edge in [false, true] {
            let held = laplacian(p, own_edge);
            for param in held.params() {
                let value = |part: &str| param.name.ends_with(part);
                if value(".nodes") {
                    param.var.set(&param.var.zeros_like().unwrap()).unwrap();
                } else if value(".nodes_bias") {
                    param.var.set(&param.var.ones_like().unwrap()).unwrap();
                }
            }
            let message = held.message(attention_of(&qkv)).unwrap();
            let away = off(&message, &message.ones_like().unwrap());
            assert!(away <= 1e-5, "exponent {p}, own edges {own_edge}: {away} off");
        }
    }
}

/// Over 32 tokens with heads of 32 features and nodes of 4, all drawn: what of a message comes from the token itself. The
/// anchors for typical features are .9998, .94 and .55; ours have to stay below a half.
#[test]
fn the_literal_formula_degenerates_and_ours_does_not() {
    let dims = InsertDims { hidden: 128, kv_heads: 4, head_dim: 32, ..DIMS };
    let qkv = ["q", "k", "v"].map(|name| normal(name, &[2, 32, 4, 32]));
    let attended = Attended { q: &qkv[0], k: &qkv[1], v: &qkv[2], scale: 32f64.sqrt().recip() };
    for (p, (least, most)) in [(1.25, (0.999, 1.0)), (1.5, (0.94, 1.0)), (1.75, (0.45, 0.65))] {
        let share = |own_edge: bool| -> Tensor {
            let what = Laplacian { reduction: 8, p, mu: 0.1, own_edge };
            laplacian_over(dims, what).own_share(attended).unwrap()
        };
        let literal = share(true).mean_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(literal >= least && literal <= most, "the literal formula at {p}: {literal}");
        let largest = share(false).max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(largest < 0.5, "ours at {p}: {largest} of a message is the token's own");
    }
}

#[test]
fn a_laplacian_needs_an_open_attention() {
    let insert = Insert::Laplacian(Laplacian { reduction: 2, p: 1.5, mu: 0.1, own_edge: false });
    let mut shared = BTreeMap::new();
    let error = Inserts::default()
        .attach(&insert, &[Point::AttnOut], &mut At::new("layers.0", DIMS, 3, &mut shared))
        .unwrap_err()
        .to_string();
    assert!(error.contains("sees every token"), "{error}");
}

/// A merging of 2 of 7 tokens behind a class token, its parameters moved when it has gates.
fn merging(gates: bool, moved: bool) -> merge::HeldMerge {
    let (mut shared, dims) = (BTreeMap::new(), InsertDims { open: true, protected: 1, ..DIMS });
    let what = Merge { pairs: 2, gates };
    let held = merge::HeldMerge::build(&what, &mut At::new("layers.0", dims, 3, &mut shared)).unwrap();
    for param in held.params().iter().filter(|_| moved) {
        let noise = normal(&param.name, param.var.dims()).affine(0.5, 0.0).unwrap();
        param.var.set(&(param.var.as_tensor() + noise).unwrap()).unwrap();
    }
    held
}

#[test]
fn tokens_with_like_keys_merge_by_their_sizes_and_the_class_token_stays() {
    // Tokens 2 and 5 have one direction, so have 4 and 3; all others stand across.
    let key = |token: usize| -> Vec<f32> {
        let axis = match token {
            2 | 5 => 0,
            3 | 4 => 1,
            other => 2 + other % 6,
        };
        (0..8).map(|at| if at == axis { 1.0 } else { 0.0 }).collect()
    };
    // One head of 8 features, so that the mean over heads is the key.
    let keys: Vec<f32> = (0..7).flat_map(key).collect();
    let keys = Tensor::from_vec(keys, (1, 7, 1, 8), &Device::Cpu).unwrap();
    let x = normal("x", &[1, 7, 7]);
    let counts = Tensor::new(&[[1f32, 1.0, 3.0, 1.0, 1.0, 2.0, 1.0]], &Device::Cpu).unwrap();
    let (left, sizes) = merging(false, false).merge(&x, &keys, Some(&counts)).unwrap();
    // Left are 0, 1, 3 with 4, 5 with 2, and 6.
    assert_eq!(values(&sizes), [1.0, 1.0, 2.0, 5.0, 1.0]);
    let row = |tensor: &Tensor, token: usize| values(&tensor.get(0).unwrap().get(token).unwrap());
    assert_eq!(row(&left, 0), row(&x, 0), "the class token");
    let mixed = |parts: &[(usize, f32)]| -> Vec<f32> {
        (0..7).map(|at| parts.iter().map(|(token, share)| row(&x, *token)[at] * share).sum()).collect()
    };
    for (place, wanted) in
        [(1, mixed(&[(1, 1.0)])), (2, mixed(&[(3, 0.5), (4, 0.5)])), (3, mixed(&[(5, 0.4), (2, 0.6)]))]
    {
        for (found, wanted) in row(&left, place).iter().zip(&wanted) {
            assert!((found - wanted).abs() < 1e-6, "token {place}: {found} instead of {wanted}");
        }
    }
}

#[test]
fn gates_start_as_plain_merging_and_their_gradients_are_right() {
    let (x, keys) = (normal("x", &[2, 7, 7]), normal("keys", &[2, 7, 2, 4]));
    let sizes = Tensor::new(&[[1f32, 2.0, 1.0, 1.0, 3.0, 1.0, 1.0], [1.0; 7]], &Device::Cpu).unwrap();
    let plain = merging(false, false).merge(&x, &keys, Some(&sizes)).unwrap();
    let gated = merging(true, false).merge(&x, &keys, Some(&sizes)).unwrap();
    assert_eq!(off(&plain.0, &gated.0), 0.0, "with b = 0");
    assert_eq!(values(&gated.1).iter().sum::<f32>(), 17.0, "sizes sum to the tokens there were");
    let held = merging(true, true);
    assert!(off(&held.merge(&x, &keys, Some(&sizes)).unwrap().0, &plain.0) > 1e-2);
    assert_eq!(held.params().iter().map(Param::elements).sum::<usize>(), 2 + 3 * 7, "r + 3 d");
    check_parameters(|| Ok(held.merge(&x, &keys, Some(&sizes))?.0), &held.params(), &GradCheck::f32()).unwrap();
    let merge = |x: &[Tensor]| Ok(held.merge(&x[0], &keys, Some(&sizes))?.0);
    check_gradients(merge, &[x], &GradCheck::f32()).unwrap();
}

#[test]
fn no_more_pairs_merge_than_there_are_sources() {
    for (tokens, protected, most) in [(197, 1, 98), (5, 1, 2), (4, 1, 1), (3, 1, 1), (2, 1, 0), (1, 1, 0), (4, 0, 2)] {
        assert_eq!(most_pairs(tokens, protected), most, "{tokens} tokens, {protected} of them protected");
    }
    let (x, keys) = (normal("x", &[1, 4, 7]), normal("keys", &[1, 4, 2, 4]));
    let error = merging(false, false).merge(&x, &keys, None).unwrap_err().to_string();
    assert!(error.contains("2 pairs of 4 tokens"), "{error}");
}
