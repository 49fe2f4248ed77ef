//! What the limits diagnostic reads of a block: the largest entries of queries and keys of weights made by hand, and how
//! they follow the weights and the adapter.

use crate::tools::flat;
use candle_core::{Device, Tensor};
use temper_models::{AttentionSizes, Flow, LlamaConfig, Model};
use temper_nn::ForwardContext;
use temper_nn::rng::Stream;
use temper_nn::slots::{Scale, Slots};

const WIDTH: usize = 32;
const HEADS: usize = 4;
const KEY_HEADS: usize = 2;
const TOKENS: usize = 9;

/// One block with two query heads a key head.
fn model() -> Model {
    let config = LlamaConfig { kv_heads: KEY_HEADS, ..LlamaConfig::new(53, WIDTH, 1, HEADS) };
    Model::random(&config, 3).unwrap()
}

/// Hidden states that are all apart, as the embedding might give them.
fn hidden() -> Tensor {
    let mut values = vec![0f32; TOKENS * WIDTH];
    Stream::new(5, "hidden").fill_normal(&mut values, 1.0);
    Tensor::from_vec(values, (1, TOKENS, WIDTH), &Device::Cpu).unwrap()
}

fn sizes(model: &Model) -> AttentionSizes {
    let ctx = ForwardContext::plain(1, TOKENS);
    model.blocks[0].attention_sizes(&Flow::new(hidden()), &ctx).unwrap().expect("a block with attention")
}

/// The normed input of the attention, token by token: the norm's own factors are ones.
fn normed() -> Vec<Vec<f64>> {
    let of = |row: &[f32]| {
        let mean = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / WIDTH as f64;
        row.iter().map(|x| f64::from(*x) / (mean + 1e-5).sqrt()).collect()
    };
    flat(&hidden()).chunks(WIDTH).map(of).collect()
}

/// Row i takes feature `of(i)` of the input, times `size`.
fn one_hot(rows: usize, size: f32, of: impl Fn(usize) -> usize) -> Tensor {
    let mut values = vec![0f32; rows * WIDTH];
    (0..rows).for_each(|row| values[row * WIDTH + of(row)] = size);
    Tensor::from_vec(values, (rows, WIDTH), &Device::Cpu).unwrap()
}

fn set(model: &Model, name: &str, value: &Tensor) {
    model.param(name).unwrap().var.set(value).unwrap();
}

/// The block with queries and keys made by hand.
fn by_hand() -> Model {
    let mut model = model();
    model.promote(&|name| name == "layers.0.attn.q" || name == "layers.0.attn.k").unwrap();
    set(&model, "layers.0.attn.q.weight", &one_hot(WIDTH, 3.0, |row| row * 7 % WIDTH));
    set(&model, "layers.0.attn.k.weight", &one_hot(WIDTH / 2, -2.0, |row| (row * 5 + 3) % WIDTH));
    model
}

fn close(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() <= 1e-5 * expected.abs(), "{found} instead of {expected}");
    }
}

#[test]
fn largest_entries_of_queries_and_keys_made_by_hand_are_found_by_head() {
    let found = sizes(&by_hand());
    let width = WIDTH / HEADS;
    let largest = |head: usize, size: f64, of: &dyn Fn(usize) -> usize| {
        let rows = head * width..(head + 1) * width;
        let entries = rows.flat_map(|row| normed().into_iter().map(move |x| (row, x)));
        entries.map(|(row, x)| (size * x[of(row)]).abs()).fold(0.0, f64::max)
    };
    let queries: Vec<f64> = (0..HEADS).map(|head| largest(head, 3.0, &|row| row * 7 % WIDTH)).collect();
    let keys: Vec<f64> = (0..KEY_HEADS).map(|head| largest(head, 2.0, &|row| (row * 5 + 3) % WIDTH)).collect();
    close(&found.q_max, &queries);
    close(&found.k_max, &keys);
    assert!(queries.windows(2).all(|pair| pair[0] != pair[1]), "heads that are all alike would show nothing");
}

#[test]
fn query_weights_c_times_as_large_give_queries_c_times_as_large_and_the_same_keys() {
    let model = by_hand();
    let before = sizes(&model);
    let weight = model.param("layers.0.attn.q.weight").unwrap().var.as_tensor().copy().unwrap();
    set(&model, "layers.0.attn.q.weight", &(weight * 2.5).unwrap());
    let after = sizes(&model);
    close(&after.q_max, &before.q_max.iter().map(|size| 2.5 * f64::from(*size)).collect::<Vec<f64>>());
    assert_eq!(after.k_max, before.k_max);
}

#[test]
fn what_an_adapter_adds_is_nothing_at_first_and_then_the_largest_entry_of_its_product() {
    let mut model = model();
    let base = sizes(&model);
    assert_eq!(base.change_max, [0.0; HEADS], "nothing is on it");
    let slots = Slots::low_rank(4, Scale::AlphaOverRank(8.0));
    model.site_mut("layers.0.attn.q").unwrap().attach(&slots, 1).unwrap();
    assert_eq!(sizes(&model), base, "B is zero at the start");

    let mut values = vec![0f32; WIDTH * 4];
    Stream::new(6, "b").fill_normal(&mut values, 0.5);
    set(&model, "layers.0.attn.q.b", &Tensor::from_vec(values, (WIDTH, 4), &Device::Cpu).unwrap());
    let (found, a) = (sizes(&model), flat(model.param("layers.0.attn.q.a").unwrap().var.as_tensor()));
    let b = flat(model.param("layers.0.attn.q.b").unwrap().var.as_tensor());
    let product = |x: &[f64], row: usize| -> f64 {
        let inner = |r: usize| a[r * WIDTH..][..WIDTH].iter().zip(x).map(|(a, x)| f64::from(*a) * x).sum::<f64>();
        (0..4).map(|r| 2.0 * f64::from(b[row * 4 + r]) * inner(r)).sum()
    };
    let head = |head: usize| {
        let rows = head * (WIDTH / HEADS)..(head + 1) * (WIDTH / HEADS);
        let entries = rows.flat_map(|row| normed().into_iter().map(move |x| product(&x, row).abs()));
        entries.fold(0.0, f64::max)
    };
    close(&found.change_max, &(0..HEADS).map(head).collect::<Vec<f64>>());
    assert_eq!(found.k_max, base.k_max);
    model.set_enabled(false);
    assert_eq!(sizes(&model), base, "switched off it is the base");
}
