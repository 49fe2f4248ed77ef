//! Prefix tuning: counts, the identity of the mix, the cache, what leaves for a file.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - the cache with a prefix on a whole model -> `models/tests/all/generation.rs`,
//!   `the_cache_works_with_what_is_inserted`

use crate::bench::{Outcome, blocks, count_blocks, inserted, moved, normal, off};
use candle_core::Tensor;
use std::sync::Arc;
use temper_nn::insertion::Prefix;
use temper_nn::ops::{AttentionSpec, attention, attention_cached, reference};
use temper_nn::{Insert, Inserts};
use temper_protocol::Value;

const WIDTH: usize = 6;

fn spec(borders: Vec<Vec<u32>>) -> AttentionSpec {
    AttentionSpec { causal: true, scale: 0.5, borders: Arc::new(borders), window: None }
}

/// A prefix of 3 on one block with two key heads of 4 features, every number moved.
fn prefix(net_width: i64) -> Outcome<Inserts> {
    let settings = [("prefix_length", Value::Integer(3)), ("net_width", Value::Integer(net_width))];
    let (_, inserts) = inserted("prefix", &blocks(1, 16, 8), &settings)?.pop().ok_or("no block")?;
    moved(&inserts)?;
    Ok(inserts)
}

fn part(name: &str, heads: usize) -> Outcome<Tensor> {
    Ok(normal(name, WIDTH, heads * 4, 1.0)?.reshape((1, WIDTH, heads, 4))?)
}

#[test]
fn parameter_count_is_2ld_per_attention() -> Outcome {
    let direct = [("prefix_length", Value::Integer(30)), ("net_width", Value::Integer(0))];
    assert_eq!(count_blocks("prefix", &blocks(12, 1024, 1024), &direct)?, 12 * 2 * 30 * 1024);
    // Grouped heads have narrower keys.
    assert_eq!(count_blocks("prefix", &blocks(12, 1024, 256), &direct)?, 12 * 2 * 30 * 256);
    // Through a net: table and first layer once, the second layer for all keys and values.
    let net = [("prefix_length", Value::Integer(30)), ("net_width", Value::Integer(800))];
    let wanted = 30 * 256 + 800 * (256 + 1) + 12 * 2 * 256 * (800 + 1);
    assert_eq!(count_blocks("prefix", &blocks(12, 1024, 256), &net)?, wanted);
    Ok(())
}

#[test]
fn the_identity_of_the_mix_holds_to_1e_5() -> Outcome {
    let inserts = prefix(0)?;
    let (keys, values) = inserts.key_values()?.ok_or("no prefix")?;
    let (q, k, v) = (part("q", 2)?, part("k", 2)?, part("v", 2)?);
    let spec = spec(vec![vec![0, WIDTH as u32]]);
    let found = inserts.attention(&q, &k, &v, spec.clone())?;
    let alone = attention(&q, &k, &v, &Arc::new(spec.clone()))?;
    // Per head: scores of the tokens and of the prefix, share of the prefix, and the mix.
    for head in 0..2 {
        let of = |x: &Tensor| -> Outcome<Tensor> { Ok(x.narrow(2, head, 1)?.reshape((WIDTH, 4))?.contiguous()?) };
        let of_prefix = |x: &Tensor| -> Outcome<Tensor> { Ok(x.narrow(1, head, 1)?.reshape((3, 4))?.contiguous()?) };
        let (query, key) = (of(&q)?, of(&k)?);
        let (prefix_keys, prefix_values) = (of_prefix(&keys)?, of_prefix(&values)?);
        let scale = f64::from(spec.scale);
        let own = query.matmul(&key.t()?)?.affine(scale, 0.0)?.exp()?;
        let before = query.matmul(&prefix_keys.t()?)?.affine(scale, 0.0)?;
        let own: Vec<Vec<f32>> = own.to_vec2()?;
        let seen: Vec<f32> = own.iter().enumerate().map(|(at, row)| row.iter().take(at + 1).sum()).collect();
        let mass = before.exp()?.sum(1)?.to_vec1::<f32>()?;
        let share: Vec<f32> = mass.iter().zip(&seen).map(|(mass, seen)| mass / (mass + seen)).collect();
        let share = Tensor::from_vec(share, (WIDTH, 1), query.device())?;
        let on_prefix = reference::softmax(&before)?.matmul(&prefix_values)?;
        let rest = share.affine(-1.0, 1.0)?.broadcast_mul(&of(&alone)?)?;
        let mix = (rest + share.broadcast_mul(&on_prefix)?)?;
        let off = off(&mix, &of(&found)?)?;
        assert!(off <= 1e-5, "head {head} is off by {off:e}");
    }
    Ok(())
}

#[test]
fn step_by_step_with_a_cache_equals_the_full_pass() -> Outcome {
    let inserts = prefix(5)?;
    let (keys, values) = inserts.key_values()?.ok_or("no prefix")?;
    let (q, k, v) = (part("q", 4)?, part("k", 2)?, part("v", 2)?);
    let full = inserts.attention(&q, &k, &v, spec(vec![vec![0, WIDTH as u32]]))?;
    for at in 0..WIDTH {
        let cached = |prefix: &Tensor, x: &Tensor| -> Outcome<Tensor> {
            Ok(Tensor::cat(&[&prefix.unsqueeze(0)?, &x.narrow(1, 0, at + 1)?], 1)?)
        };
        let spec = spec(vec![vec![0, 3 + at as u32 + 1]]);
        let step = attention_cached(&q.narrow(1, at, 1)?, &cached(&keys, &k)?, &cached(&values, &v)?, &spec)?;
        assert!(off(&step, &full.narrow(1, at, 1)?)? <= 1e-5, "token {at}");
    }
    Ok(())
}

#[test]
fn every_segment_of_a_packed_row_has_its_own_prefix() -> Outcome {
    let inserts = prefix(0)?;
    let (q, k, v) = (part("q", 4)?, part("k", 2)?, part("v", 2)?);
    let packed = inserts.attention(&q, &k, &v, spec(vec![vec![0, 2, 6]]))?;
    for (start, count) in [(0, 2), (2, 4)] {
        let own = |x: &Tensor| -> Outcome<Tensor> { Ok(x.narrow(1, start, count)?.contiguous()?) };
        let alone = inserts.attention(&own(&q)?, &own(&k)?, &own(&v)?, spec(vec![vec![0, count as u32]]))?;
        assert!(off(&own(&packed)?, &alone)? <= 1e-6);
    }
    Ok(())
}

#[test]
fn the_net_is_evaluated_once_for_a_file() -> Outcome {
    let inserts = prefix(5)?;
    let (keys, values) = inserts.key_values()?.ok_or("no prefix")?;
    let folded = inserts.folded()?;
    let [(insert, tensors)] = folded.as_slice() else { return Err("one prefix".into()) };
    assert_eq!(*insert, Insert::Prefix(Prefix { length: 3, through: None }));
    let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["layers.0.attn_kv.keys", "layers.0.attn_kv.values"]);
    for ((_, tensor), wanted) in tensors.iter().zip([keys, values]) {
        assert_eq!(off(tensor, &wanted.reshape((3, 8))?)?, 0.0);
    }
    Ok(())
}
