//! What fused halves carry of insertions, against the graph of the same.

use super::inserts::FusedInserts;
use super::tests::{DIMS, normal, values};
use super::*;
use crate::fused::{FusedInsert, FusedPrefix};
use crate::kernels::attention::{self as kernel, Saved, Sizes};
use crate::ops::{AttentionSpec, seed_gradient};
use crate::{Grads, Result};
use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All of it, every parameter moved away from where it starts.
fn built(all: &[Insert], dims: InsertDims) -> Inserts {
    let (mut inserts, mut shared) = (Inserts::default(), BTreeMap::new());
    let points = [Point::AttnKv, Point::AttnOut, Point::MlpOut];
    for insert in all {
        inserts.attach(insert, &points, &mut At::new("layers.1", dims, 3, &mut shared)).unwrap();
    }
    for param in inserts.params() {
        let moved = (param.var.as_tensor() + normal(&param.name, param.var.dims()).affine(0.3, 0.0).unwrap()).unwrap();
        param.var.set(&moved).unwrap();
    }
    inserts
}

fn close(found: &[f32], expected: &[f32], what: &str) {
    let size = expected.iter().fold(1f32, |size, value| size.max(value.abs()));
    assert_eq!(found.len(), expected.len(), "{what}");
    let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(off < 2e-5 * size, "{what} is off by {off} of {size}");
}

/// Every parameter has the gradient that the graph gives it, and nothing else has one.
fn same_gradients(inserts: &Inserts, found: &Grads, store: &mut GradStore, what: &str) {
    let mut expected = Grads::new();
    expected.collect(&inserts.params(), store).unwrap();
    assert!(found.len() == expected.len() && found.len() == inserts.params().len(), "{what}");
    for (name, gradient) in expected.iter() {
        close(&values(found.get(name).unwrap()), &values(gradient), &format!("{what}: {name}"));
    }
}

fn backward(output: &Tensor, gradient: &Tensor) -> Result<GradStore> {
    Ok(seed_gradient(output, gradient)?.backward()?)
}

/// Output and gradients of a bottleneck at `mlp_out` as a fused half computes them, against the graph.
fn is_as_the_graph(bottleneck: Bottleneck, hidden: usize, rows: usize) {
    let what = format!("{bottleneck:?}, {rows} of {hidden}");
    let inserts = built(&[Insert::Bottleneck(bottleneck)], InsertDims { hidden, ..DIMS });
    let FusedInserts { mlp_out: Some(fused), attn_out: None, prefix: None } = inserts.fused().unwrap().unwrap() else {
        panic!("{what} is fused at another place");
    };
    let tensor = |name: &str| normal(name, &[rows, hidden]);
    let (read, value, g) = (Var::from_tensor(&tensor("read")).unwrap(), tensor("value"), tensor("gradient"));
    // Sequential: what it reads is what it is added to.
    let value = if fused.sequential { read.as_tensor() } else { &value };
    let expected = inserts.apply(Point::MlpOut, value.clone(), &[(Point::MlpIn, read.as_tensor())]).unwrap();
    let mut store = backward(&expected, &g).unwrap();
    let (x, g) = (values(&read), values(&g));
    let mut found = values(value);
    let inner = fused.add(&x, &mut found).unwrap();
    close(&found, &values(&expected), &what);
    let run = |inner: &[f32], dx: Option<&mut [f32]>| {
        let mut grads = Grads::new();
        FusedInsert::backward(&fused, &x, inner, &g, dx, &mut grads).unwrap();
        grads
    };
    let mut dx = if fused.sequential { g.clone() } else { vec![0f32; x.len()] };
    let grads = run(&inner, Some(&mut dx));
    close(&dx, &values(&store.remove(read.as_tensor()).unwrap()), &format!("{what}: the input"));
    same_gradients(&inserts, &grads, &mut store, &what);
    // The inside computed again, and without the gradient of the input: the same bits.
    for again in [run(&[], None), run(&inner, None)] {
        assert!(grads.iter().zip(again.iter()).all(|(one, other)| values(one.1) == values(other.1)), "{what}");
    }
}

#[test]
fn fused_bottlenecks_compute_what_the_graph_does() {
    let (adds, start, share) = (Point::MlpOut, BottleneckStart::Normal, Share::None);
    for activation in [Activation::Relu, Activation::Gelu, Activation::Silu] {
        for reads in [Point::MlpOut, Point::MlpIn] {
            for (width, hidden, rows, scale, bias) in [
                (3, 7, 1, 0.7, true),
                (1, 5, 13, 1.0, false),
                (65, 33, 70, -2.0, true),
                (17, 129, 301, 1.0, true),
                (64, 96, 200, 4.0, false),
            ] {
                is_as_the_graph(Bottleneck { reads, adds, width, activation, scale, start, bias, share }, hidden, rows);
            }
        }
    }
}

/// Rows of a batch: their width, and the borders of their segments.
type Rows = (usize, Vec<Vec<u32>>);

/// Output and gradients of an attention with these prefixes as a fused half computes them, against the graph.
fn attends_as_the_graph(prefixes: &[Prefix], rows: &Rows, causal: bool, window: Option<usize>) {
    let what = format!("{prefixes:?}, {rows:?}, causal {causal}, {window:?}");
    let (width, borders) = rows;
    let (heads, kv_heads, features) = (6, DIMS.kv_heads, DIMS.head_dim);
    let all: Vec<Insert> = prefixes.iter().cloned().map(Insert::Prefix).collect();
    let inserts = built(&all, DIMS);
    let prefix: Option<FusedPrefix> = inserts.fused().unwrap().unwrap().prefix;
    assert_eq!(prefix.as_ref().map(|prefix| prefix.count), Some(inserts.prefix_length()), "{what}");
    let spec = AttentionSpec { causal, scale: 0.4, borders: Arc::new(borders.clone()), window };
    let tensor = |name: &str, heads: usize| normal(name, &[borders.len(), *width, heads, features]);
    let vars = [("q", heads), ("k", kv_heads), ("v", kv_heads)]
        .map(|(name, heads)| Var::from_tensor(&tensor(name, heads)).unwrap());
    let [q, k, v] = &vars;
    let expected = inserts.attention(q.as_tensor(), k.as_tensor(), v.as_tensor(), spec.clone()).unwrap();
    let g = tensor("gradient", heads);
    let mut store = backward(&expected, &g).unwrap();
    let sizes = Sizes { queries: *width, keys: *width, heads, kv_heads, features };
    let (q, k, v, g) = (values(q), values(k), values(v), values(&g));
    let (borders, sight) = (spec.borders.as_slice(), spec.sight());
    let of = FusedPrefix::with_ahead(prefix.as_ref(), kv_heads * features, |ahead| {
        let (out, log_sums) = kernel::forward(&q, &k, &v, ahead, borders, sight, sizes);
        close(&out, &values(&expected), &what);
        let saved = Saved { q: &q, k: &k, v: &v, ahead, out: &out, log_sums: &log_sums, gradient: &g };
        kernel::backward(&saved, borders, sight, sizes)
    });
    let of = of.unwrap();
    for ((var, found), name) in vars.iter().zip([&of.q, &of.k, &of.v]).zip(["queries", "keys", "values"]) {
        let gradient = store.remove(var.as_tensor()).unwrap();
        close(found, &values(&gradient), &format!("{what}: {name}"));
    }
    let mut grads = Grads::new();
    prefix.unwrap().key_values.add(&mut grads, Some(of.ahead)).unwrap();
    same_gradients(&inserts, &grads, &mut store, &what);
}

#[test]
fn fused_prefixes_compute_what_the_graph_does() {
    let prefix = |length: usize, through: Option<usize>| Prefix { length, through };
    let cases = [vec![prefix(1, None)], vec![prefix(3, Some(5))], vec![prefix(2, None), prefix(33, Some(3))]];
    // Packed rows with padding, an empty segment and a row of padding alone; rows of several tiles.
    let short = (6, vec![vec![0, 2, 5], vec![0, 3, 3, 4], vec![0, 6], vec![0]]);
    let long = (150, vec![vec![0, 70, 150], vec![0, 129]]);
    for prefixes in &cases {
        for causal in [true, false] {
            for window in [None, Some(1), Some(3), Some(40)] {
                attends_as_the_graph(prefixes, &short, causal, window);
                attends_as_the_graph(prefixes, &long, causal, window);
            }
        }
    }
}

#[test]
fn a_prefix_of_other_heads_is_refused() {
    let inserts = built(&[Insert::Prefix(Prefix { length: 2, through: None })], DIMS);
    let prefix = inserts.fused().unwrap().unwrap().prefix;
    let run = |narrow: usize| FusedPrefix::with_ahead(prefix.as_ref(), narrow, |ahead| ahead.count);
    assert_eq!(run(8).unwrap(), 2);
    assert!(run(4).unwrap_err().to_string().contains("prefix"));
    assert_eq!(FusedPrefix::with_ahead(None, 4, |ahead| ahead.count).unwrap(), 0);
}

#[test]
fn a_coupling_is_the_same_with_and_without_an_operation_of_its_own() {
    for inverse in [false, true] {
        for activation in [Activation::Relu, Activation::Silu] {
            let mut shared = BTreeMap::new();
            let what = Coupling { width: 5, activation, inverse };
            let held = coupling::HeldCoupling::build(&what, &mut At::new("embed", DIMS, 3, &mut shared)).unwrap();
            let params: Vec<crate::Param> = held.params().cloned().collect();
            for param in &params {
                param.var.set(&normal(&param.name, param.var.dims())).unwrap();
            }
            let (x, g) = (Var::from_tensor(&normal("x", &[2, 9, 7])).unwrap(), normal("gradient", &[2, 9, 7]));
            let run = |forward: &dyn Fn(&Tensor) -> Result<Tensor>| {
                let y = forward(x.as_tensor()).unwrap();
                let mut store = backward(&y, &g).unwrap();
                let mut grads = Grads::new();
                grads.collect(&params, &mut store).unwrap();
                (values(&y), values(&store.remove(x.as_tensor()).unwrap()), grads)
            };
            let (y, dx, grads) = run(&|x| held.forward(x));
            let (slow_y, slow_dx, slow_grads) = run(&|x| held.of_plain_tensors(x));
            close(&y, &slow_y, "the output");
            close(&dx, &slow_dx, "the gradient of the input");
            assert!(grads.len() == 8 && slow_grads.len() == 8);
            for (name, gradient) in slow_grads.iter() {
                close(&values(grads.get(name).unwrap()), &values(gradient), name);
            }
            // What nothing below trains gets no gradient.
            let y = held.forward(&normal("x", &[2, 9, 7])).unwrap();
            assert_eq!(backward(&y, &g).unwrap().get_ids().count(), 8);
        }
    }
}
