//! Insertions alone, without a model around them.

use super::*;
use crate::gradcheck::{GradCheck, check_gradients, check_parameters};
use crate::ops::{self, AttentionSpec, reference};
use crate::rng::Stream;
use crate::{ForwardContext, Param};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const DIMS: InsertDims =
    InsertDims { hidden: 7, kv_heads: 2, head_dim: 4, open: false, protected: 0, inner: 11 };

pub(super) fn normal(name: &str, dims: &[usize]) -> Tensor {
    let mut values = vec![0f32; dims.iter().product()];
    Stream::new(4, name).fill_normal(&mut values, 1.0);
    Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
}

fn built(insert: &Insert, points: &[Point]) -> Inserts {
    let (mut inserts, mut shared) = (Inserts::default(), BTreeMap::new());
    inserts.attach(insert, points, &mut At::new("layers.1", DIMS, 3, &mut shared)).unwrap();
    for param in inserts.params() {
        let moved = (param.var.as_tensor() + normal(&param.name, param.var.dims()).affine(0.3, 0.0).unwrap()).unwrap();
        param.var.set(&moved).unwrap();
    }
    inserts
}

pub(super) fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

pub(super) fn off(left: &Tensor, right: &Tensor) -> f32 {
    values(&(left - right).unwrap()).into_iter().map(f32::abs).fold(0.0, f32::max)
}

fn bottleneck(reads: Point, adds: Point) -> Bottleneck {
    let (start, share) = (BottleneckStart::ZeroUp, Share::None);
    Bottleneck { reads, adds, width: 3, activation: Activation::Gelu, scale: 0.7, start, bias: true, share }
}

/// Two segments and padding, an empty segment, and a row of one segment.
fn borders() -> Vec<Vec<u32>> {
    vec![vec![0, 2, 5], vec![0, 3, 3, 4], vec![0, 6]]
}

#[test]
fn every_segment_gets_its_own_prompt_and_comes_out_as_it_went_in() {
    let spread = Spread::new(&borders(), 6, 2);
    assert_eq!(spread.width, 9);
    assert_eq!(*spread.borders, [vec![0, 4, 9], vec![0, 5, 5, 8], vec![0, 8]]);
    let (x, prompt) = (normal("x", &[3, 6, 2]), normal("prompt", &[2, 2]));
    let wide = spread.put(&x, Some(&prompt)).unwrap();
    let row = |index: usize| values(&wide.get(index).unwrap());
    let (x_values, prompt_values) = (values(&x), values(&prompt));
    assert_eq!(row(0)[..4], prompt_values[..]);
    assert_eq!(row(0)[4..8], x_values[..4]);
    assert_eq!(row(0)[8..12], prompt_values[..]);
    assert_eq!(row(1)[10..14], prompt_values[..]);
    assert_eq!(row(1)[16..], [0.0, 0.0]);
    let back = spread.take(&wide).unwrap();
    let (mut expected, found) = (x_values, values(&back));
    // What lies behind the last segment is padding.
    for padding in [10..12, 20..24] {
        expected[padding].fill(0.0);
    }
    assert_eq!(found, expected);
    let ctx = ForwardContext { training: true, ..ForwardContext::with_borders(6, borders()) };
    let wide = spread.context(&ctx);
    assert!(wide.training && wide.width == 9);
    assert_eq!(wide.positions[..9], [0, 1, 2, 3, 0, 1, 2, 3, 4]);
}

#[test]
fn rows_that_are_picked_pass_their_gradients_to_both_sides() {
    let spread = Spread::new(&borders(), 6, 2);
    let put = |x: &[Tensor]| spread.take(&spread.put(&x[0], Some(&x[1]))?.sqr()?);
    let inputs = [normal("x", &[3, 6, 2]), normal("prompt", &[2, 2])];
    check_gradients(put, &inputs, &GradCheck::f32()).unwrap();
    // Each prompt row is picked once per segment that is not empty.
    let prompt = candle_core::Var::from_tensor(&inputs[1]).unwrap();
    let store = spread.put(&inputs[0], Some(prompt.as_tensor())).unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!(values(store.get(&prompt).unwrap()), [5.0; 4]);
    assert_eq!(store.get_ids().count(), 1, "a constant keeps no gradient");
}

/// Attention with a prefix in f64, score by score: the prefix is seen by everybody, the rest as ever.
fn slow(q: &Tensor, k: &Tensor, v: &Tensor, prefix: &(Tensor, Tensor), spec: &AttentionSpec) -> (Vec<f64>, Vec<f64>) {
    let list = |x: &Tensor| x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (batch, width, heads, features) = q.dims4().unwrap();
    let kv_heads = k.dims4().unwrap().2;
    let count = prefix.0.dims3().unwrap().0;
    let (q, k, v, pk, pv) = (list(q), list(k), list(v), list(&prefix.0), list(&prefix.1));
    let (mut out, mut masses) = (vec![0f64; q.len()], Vec::new());
    for row in 0..batch {
        for at in 0..width {
            let Some(seen) = spec.visible(row, at) else { continue };
            for head in 0..heads {
                let kv = head / (heads / kv_heads);
                let query = &q[((row * width + at) * heads + head) * features..][..features];
                let of = |list: &[f64], place: usize| list[(place * kv_heads + kv) * features..][..features].to_vec();
                let keys = (0..count).map(|place| (of(&pk, place), of(&pv, place)));
                let own = seen.clone().map(|place| (of(&k, row * width + place), of(&v, row * width + place)));
                let all: Vec<(Vec<f64>, Vec<f64>)> = keys.chain(own).collect();
                let score =
                    |key: &[f64]| f64::from(spec.scale) * key.iter().zip(query).map(|(a, b)| a * b).sum::<f64>();
                let weights: Vec<f64> = all.iter().map(|(key, _)| score(key).exp()).collect();
                let total: f64 = weights.iter().sum();
                masses.push(weights[..count].iter().sum::<f64>() / total);
                for (weight, (_, value)) in weights.iter().zip(&all) {
                    for (feature, value) in value.iter().enumerate() {
                        out[((row * width + at) * heads + head) * features + feature] += weight / total * value;
                    }
                }
            }
        }
    }
    (out, masses)
}

fn spec() -> AttentionSpec {
    AttentionSpec { causal: true, scale: 0.5, borders: Arc::new(borders()), window: None }
}

fn qkv() -> [Tensor; 3] {
    [normal("q", &[3, 6, 4, 4]), normal("k", &[3, 6, 2, 4]), normal("v", &[3, 6, 2, 4])]
}

#[test]
fn a_prefix_is_seen_by_every_token_of_its_segment() {
    let prefix = (normal("pk", &[3, 2, 4]), normal("pv", &[3, 2, 4]));
    let [q, k, v] = qkv();
    let found = key_values::attention(&q, &k, &v, &prefix, &spec()).unwrap();
    let (expected, masses) = slow(&q, &k, &v, &prefix, &spec());
    for (found, expected) in values(&found).iter().zip(&expected) {
        assert!((f64::from(*found) - expected).abs() <= 1e-5, "{found} instead of {expected}");
    }
    assert!(masses.iter().all(|mass| *mass > 0.0 && *mass < 1.0));
    // A window counts the prefix among the positions, as a cache does.
    let near = AttentionSpec { window: Some(2), ..spec() };
    let found = key_values::attention(&q, &k, &v, &prefix, &near).unwrap();
    let alone = ops::attention(&q, &k, &v, &Arc::new(near)).unwrap();
    let row = |x: &Tensor, at: usize| values(&x.get(2).unwrap().get(at).unwrap());
    assert_ne!(row(&found, 0), row(&alone, 0), "the first token is near the prefix");
    for (found, alone) in row(&found, 4).iter().zip(row(&alone, 4)) {
        assert!((found - alone).abs() <= 1e-6, "a later one is not");
    }
}

#[test]
fn a_prefix_gets_right_gradients_also_through_its_net() {
    for through in [None, Some(5)] {
        let inserts = built(&Insert::Prefix(Prefix { length: 3, through }), &[Point::AttnKv]);
        assert_eq!(inserts.prefix_length(), 3);
        let [q, k, v] = qkv();
        let options = GradCheck { samples: 12, ..GradCheck::f32() };
        let forward = || inserts.attention(&q, &k, &v, spec());
        check_parameters(forward, &inserts.params(), &options).unwrap();
        let store = forward().unwrap().sqr().unwrap().sum_all().unwrap().backward().unwrap();
        assert_eq!(store.get_ids().count(), inserts.params().len(), "a constant keeps no gradient");
    }
}

#[test]
fn a_net_folds_into_the_keys_and_values_that_it_gives() {
    let inserts = built(&Insert::Prefix(Prefix { length: 3, through: Some(5) }), &[Point::AttnKv]);
    let folded = inserts.folded().unwrap();
    let [(insert, tensors)] = folded.as_slice() else { panic!("one insertion") };
    assert_eq!(*insert, Insert::Prefix(Prefix { length: 3, through: None }));
    let plain = built(insert, &[Point::AttnKv]);
    for param in plain.params() {
        let (_, tensor) = tensors.iter().find(|(name, _)| *name == param.name).unwrap();
        param.var.set(tensor).unwrap();
    }
    let ((keys, values), (plain_keys, plain_values)) =
        (inserts.key_values().unwrap().unwrap(), plain.key_values().unwrap().unwrap());
    assert!(off(&keys, &plain_keys) == 0.0 && off(&values, &plain_values) == 0.0);
}

#[test]
fn a_bottleneck_is_two_layers_with_a_function_between_them() {
    let points = [Point::AttnOut, Point::MlpOut];
    let (value, read) = (normal("value", &[2, 3, 7]), normal("read", &[2, 3, 7]));
    for activation in [Activation::Relu, Activation::Gelu, Activation::Silu] {
        for reads in [Point::MlpOut, Point::MlpIn] {
            let inserts =
                built(&Insert::Bottleneck(Bottleneck { activation, ..bottleneck(reads, Point::MlpOut) }), &points);
            let found = inserts.apply(Point::MlpOut, value.clone(), &[(Point::MlpIn, &read)]).unwrap();
            let named = |part: &str| -> Tensor {
                let name = format!("layers.1.mlp_out.{part}");
                let param: Vec<Param> = inserts.params().into_iter().filter(|param| param.name == name).collect();
                param[0].var.as_tensor().clone()
            };
            let x = if reads == Point::MlpIn { &read } else { &value };
            let inner = reference::linear(x, &named("down"), Some(&named("down_bias"))).unwrap();
            let inner = match activation {
                Activation::Relu => inner.relu().unwrap(),
                Activation::Gelu => reference::gelu(&inner).unwrap(),
                Activation::Silu => reference::silu(&inner).unwrap(),
            };
            let change = reference::linear(&inner, &named("up"), Some(&named("up_bias"))).unwrap();
            let expected = (&value + change.affine(0.7, 0.0).unwrap()).unwrap();
            assert!(off(&found, &expected) <= 1e-5);
            assert_eq!(off(&inserts.apply(Point::AttnOut, value.clone(), &[]).unwrap(), &value), 0.0, "another point");
            if activation == Activation::Gelu {
                let options = GradCheck { samples: 12, ..GradCheck::f32() };
                let forward = || inserts.apply(Point::MlpOut, value.clone(), &[(Point::MlpIn, &read)]);
                check_parameters(forward, &inserts.params(), &options).unwrap();
            }
        }
    }
}

#[test]
fn switched_off_nothing_is_changed() {
    let inserts = built(&Insert::Bottleneck(bottleneck(Point::Block, Point::Block)), &[Point::Block]);
    let x = normal("x", &[2, 3, 7]);
    assert!(inserts.is_active() && off(&inserts.apply(Point::Block, x.clone(), &[]).unwrap(), &x) > 1e-3);
    inserts.set_enabled(false);
    assert!(!inserts.is_active() && !inserts.is_empty());
    assert_eq!(off(&inserts.apply(Point::Block, x.clone(), &[]).unwrap(), &x), 0.0);
}

#[test]
fn a_coupling_and_its_inverse_share_their_numbers_and_undo_each_other() {
    let mut shared = BTreeMap::new();
    let mut built = |stage: &str, inverse: bool, point: Point| {
        let coupling = Insert::Coupling(Coupling { width: 3, activation: Activation::Gelu, inverse });
        let mut inserts = Inserts::default();
        inserts.attach(&coupling, &[point], &mut At::new(stage, DIMS, 3, &mut shared)).unwrap();
        inserts
    };
    let (there, back) = (built("embed", false, Point::EmbedOut), built("head", true, Point::HeadIn));
    let x = normal("x", &[2, 3, 7]);
    assert_eq!(off(&there.apply(Point::EmbedOut, x.clone(), &[]).unwrap(), &x), 0.0, "zero at the start");
    for param in there.params() {
        param.var.set(&normal(&param.name, param.var.dims())).unwrap();
    }
    let y = there.apply(Point::EmbedOut, x.clone(), &[]).unwrap();
    assert!(off(&y, &x) > 0.1);
    assert!(off(&back.apply(Point::HeadIn, y, &[]).unwrap(), &x) <= 1e-5);
    let names = |inserts: &Inserts| inserts.params().into_iter().map(|param| param.name).collect::<Vec<_>>();
    assert_eq!(names(&there), names(&back));
    check_parameters(|| back.apply(Point::HeadIn, x.clone(), &[]), &there.params(), &GradCheck::f32()).unwrap();
}

#[test]
fn shared_layers_are_one_parameter_and_further_insertions_have_names_of_their_own() {
    let mut shared = BTreeMap::new();
    let mut stage = |name: &str, share: Share| {
        let insert = Insert::Bottleneck(Bottleneck { share, ..bottleneck(Point::MlpOut, Point::MlpOut) });
        let mut inserts = Inserts::default();
        inserts.attach(&insert, &[Point::MlpOut], &mut At::new(name, DIMS, 3, &mut shared)).unwrap();
        inserts.attach(&insert, &[Point::MlpOut], &mut At::new(name, DIMS, 3, &mut shared)).unwrap();
        inserts.params().into_iter().map(|param| param.name).collect::<Vec<_>>()
    };
    let (first, second) = (stage("layers.0", Share::Down), stage("layers.1", Share::Down));
    assert_eq!(first[..2], ["shared.mlp_out.down", "shared.mlp_out.down_bias"]);
    assert_eq!(first[..2], second[..2]);
    assert_eq!((first[2].as_str(), second[2].as_str()), ("layers.0.mlp_out.up", "layers.1.mlp_out.up"));
    assert_eq!(first[6], "layers.0.mlp_out+1.up");
}

#[test]
fn what_does_not_fit_a_stage_is_refused() {
    let mut shared = BTreeMap::new();
    let mut refused = |insert: Insert, points: &[Point]| {
        let mut inserts = Inserts::default();
        let error = inserts.attach(&insert, points, &mut At::new("layers.0", DIMS, 3, &mut shared)).unwrap_err();
        assert!(inserts.is_empty());
        error.to_string()
    };
    let prompt = Insert::Prompt(Prompt { length: 2, start: PromptStart::Normal });
    assert!(refused(prompt, &[Point::MlpOut]).contains("embed_out"));
    let across = Insert::Bottleneck(bottleneck(Point::AttnIn, Point::MlpOut));
    assert!(refused(across, &[Point::MlpOut]).contains("attn_in"));
    let none = Insert::Prefix(Prefix { length: 0, through: None });
    assert!(refused(none, &[Point::AttnKv]).contains("zero"));
}
