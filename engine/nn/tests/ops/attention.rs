//! Attention: segments, padding, windows, groups of heads, tiles.

use crate::support::{CLOSE, check, normal};
use candle_core::{Tensor, Var};
use proptest::prelude::*;
use std::sync::Arc;
use temper_nn::gradcheck::compare_with_reference;
use temper_nn::ops::{AttentionSpec, attention, attention_cached, reference, seed_gradient};

fn spec(causal: bool, window: Option<usize>, borders: &[&[u32]]) -> Arc<AttentionSpec> {
    let borders = Arc::new(borders.iter().map(|row| row.to_vec()).collect());
    Arc::new(AttentionSpec { causal, scale: 0.37, borders, window })
}

fn inputs(batch: usize, width: usize, heads: usize, kv_heads: usize, features: usize) -> [Tensor; 3] {
    let kv = [batch, width, kv_heads, features];
    [normal("q", &[batch, width, heads, features]), normal("k", &kv), normal("v", &kv)]
}

#[test]
fn attention_gives_the_gradients_of_its_reference() {
    for (causal, window, heads, kv_heads, features) in [
        (true, None, 3, 1, 4),
        (true, Some(3), 4, 2, 5),
        (true, Some(1), 2, 2, 8),
        (false, None, 6, 3, 4),
        (false, Some(2), 2, 1, 3),
    ] {
        // Two segments and padding, one-token segments, nothing but padding.
        let spec = spec(causal, window, &[&[0, 5, 9], &[0, 1, 2, 11], &[0]]);
        let inputs = inputs(3, 11, heads, kv_heads, features);
        let f = |x: &[Tensor]| attention(&x[0], &x[1], &x[2], &spec);
        check(f, |x| reference::attention(&x[0], &x[1], &x[2], &spec), &inputs);
    }
}

#[test]
fn segments_longer_than_a_tile_are_joined_without_a_seam() {
    for (causal, window, borders) in [
        (true, None, &[0u32, 131, 150][..]),
        (true, Some(70), &[0, 200]),
        (false, None, &[0, 129]),
        (false, Some(40), &[0, 3, 200]),
        (true, None, &[0, 64, 128, 192]),
    ] {
        let spec = spec(causal, window, &[borders]);
        let f = |x: &[Tensor]| attention(&x[0], &x[1], &x[2], &spec);
        let expected = |x: &[Tensor]| reference::attention(&x[0], &x[1], &x[2], &spec);
        compare_with_reference(f, expected, &inputs(1, 200, 2, 1, 6), CLOSE).unwrap();
    }
}

#[test]
fn padding_and_other_segments_have_no_influence() {
    let spec = spec(true, None, &[&[0, 4, 7]]);
    let run = |noise: f64| {
        let mut vars = inputs(1, 9, 2, 1, 4).map(|x| Var::from_tensor(&x).unwrap());
        for var in &mut vars {
            // Other values in the first segment and in the padding.
            let before = var.narrow(1, 0, 4).unwrap().affine(1.0, noise).unwrap();
            let middle = var.narrow(1, 4, 3).unwrap();
            let after = var.narrow(1, 7, 2).unwrap().affine(1.0, noise * 1e6).unwrap();
            *var = Var::from_tensor(&Tensor::cat(&[before, middle, after], 1).unwrap()).unwrap();
        }
        let y = attention(&vars[0], &vars[1], &vars[2], &spec).unwrap();
        let padding = y.narrow(1, 7, 2).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(padding.iter().all(|&x| x == 0.0));
        let store = seed_gradient(&y, &normal("g", &[1, 9, 2, 4])).unwrap().backward().unwrap();
        let mut found = y.narrow(1, 4, 3).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for var in &vars {
            let gradient = store.get(var.as_tensor()).unwrap();
            let padding = gradient.narrow(1, 7, 2).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(padding.iter().all(|&x| x == 0.0));
            found.extend(gradient.narrow(1, 4, 3).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap());
        }
        found
    };
    assert_eq!(run(0.0), run(3.0));
}

#[test]
fn scores_of_any_size_give_weights_that_sum_to_one() {
    let spec = spec(true, None, &[&[0, 40]]);
    let [q, k, v] = inputs(1, 40, 1, 1, 4);
    let (q, ones) = ((q * 1e4).unwrap(), v.ones_like().unwrap());
    let y = attention(&q, &k, &ones, &spec).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(y.iter().all(|y| (y - 1.0).abs() < 1e-5), "{y:?}");
}

#[test]
fn generation_with_a_cache_gives_the_rows_of_the_whole() {
    for window in [None, Some(5)] {
        let borders = [&[0u32, 12][..], &[0, 12]];
        let spec = spec(true, window, &borders);
        let [q, k, v] = inputs(2, 12, 4, 2, 8);
        let whole = attention(&q, &k, &v, &spec).unwrap();
        for last in [1, 3, 12] {
            let part = attention_cached(&q.narrow(1, 12 - last, last).unwrap(), &k, &v, &spec).unwrap();
            let expected = whole.narrow(1, 12 - last, last).unwrap();
            let difference = (part - expected).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(difference < 1e-6, "{difference}");
        }
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let spec = spec(true, None, &[&[0, 100, 180], &[0, 177]]);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let vars = inputs(2, 180, 4, 2, 16).map(|x| Var::from_tensor(&x).unwrap());
            let y = attention(&vars[0], &vars[1], &vars[2], &spec).unwrap();
            let store = seed_gradient(&y, &normal("g", &[2, 180, 4, 16])).unwrap().backward().unwrap();
            let gradients = vars.iter().map(|var| store.get(var.as_tensor()).unwrap().clone());
            let all = gradients.chain([y.detach()]);
            all.flat_map(|x| x.flatten_all().unwrap().to_vec1::<f32>().unwrap()).map(f32::to_bits).collect::<Vec<_>>()
        })
    };
    let one = run(1);
    assert!(run(2) == one && run(4) == one);
}

#[test]
fn what_does_not_fit_is_refused() {
    let [q, k, v] = inputs(1, 8, 4, 2, 4);
    for bad in [
        spec(true, None, &[&[0, 9]]),
        spec(true, None, &[&[1, 8]]),
        spec(true, None, &[&[0, 5, 3]]),
        spec(true, None, &[&[]]),
        spec(true, None, &[]),
        spec(true, Some(0), &[&[0, 8]]),
    ] {
        assert!(attention(&q, &k, &v, &bad).is_err());
    }
    let good = spec(true, None, &[&[0, 8]]);
    let three = normal("k", &[1, 8, 3, 4]);
    assert!(attention(&q, &three, &three, &good).is_err(), "four heads do not share three");
    assert!(attention(&q.narrow(1, 0, 3).unwrap(), &k, &v, &good).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_cut_into_segments_agrees_with_the_reference(
        cuts in proptest::collection::vec(0u32..90, 0..6),
        causal: bool,
        window in proptest::option::of(1usize..100),
        group in 1usize..4,
    ) {
        let mut borders = cuts;
        borders.push(0);
        borders.sort_unstable();
        let spec = spec(causal, window, &[&borders]);
        let f = |x: &[Tensor]| attention(&x[0], &x[1], &x[2], &spec);
        let expected = |x: &[Tensor]| reference::attention(&x[0], &x[1], &x[2], &spec);
        compare_with_reference(f, expected, &inputs(1, 90, 2 * group, 2, 4), CLOSE).unwrap();
    }
}
