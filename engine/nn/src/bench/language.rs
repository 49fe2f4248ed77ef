//! Cases of the operations that language models are made of.

use super::{Agreement, Case, Pair, Sizes, forward_only, normal, trained};
use crate::Result;
use crate::frozen::FrozenWeight;
use crate::ops::{
    self, AttentionSpec, Dropout, EmbeddingTable, FrozenLinear, HeadOptions, HeadTable, Parent, Pick, RotaryTable,
    reference,
};
use crate::rng::Stream;
use crate::storage::StorageKind;
use candle_core::{D, DType, Device, Tensor};
use std::sync::Arc;

const fn case(op: &'static str, variant: &'static str, build: fn(&Sizes) -> Result<Pair>) -> Case {
    Case { op, variant, agreement: Agreement::Everything, build }
}

/// All of them.
pub(super) const CASES: &[Case] = &[
    case("linear", "frozen", linear),
    case("linear_trained", "", linear_trained),
    case("linear_low_rank", "", |sizes| linear_low_rank(sizes, None)),
    Case {
        op: "linear_low_rank",
        variant: "dropout",
        agreement: Agreement::Nothing,
        build: |sizes| linear_low_rank(sizes, Some(0.1)),
    },
    case("low_rank", "", low_rank),
    case("attention", "causal", |sizes| attention(sizes, true)),
    case("attention", "both ways", |sizes| attention(sizes, false)),
    case("attention_cached", "", attention_cached),
    case("rms_norm", "", rms_norm),
    case("layer_norm", "", layer_norm),
    case("relu", "", |sizes| activation(sizes, ops::relu, |x| Ok(x.relu()?))),
    case("silu", "", |sizes| activation(sizes, ops::silu, |x| Ok(x.silu()?))),
    case("gelu", "", |sizes| activation(sizes, ops::gelu, |x| Ok(x.gelu_erf()?))),
    case("gelu_tanh", "", |sizes| activation(sizes, ops::gelu_tanh, |x| Ok(x.gelu()?))),
    case("gated_silu", "", |sizes| gate(sizes, ops::gated_silu, |x| Ok(x.silu()?))),
    case("gated_gelu", "", |sizes| gate(sizes, ops::gated_gelu, |x| Ok(x.gelu()?))),
    case("softmax", "", |sizes| activation(sizes, ops::softmax, reference::softmax)),
    case("rotary", "", rotary),
    case("embedding", "trained", embedding),
    case("pick_rows", "a prompt before each row", pick_rows),
    case("head_cross_entropy", "frozen", |sizes| head(sizes, false)),
    case("head_cross_entropy", "trained", |sizes| head(sizes, true)),
    case("head_cross_entropy_with", "frozen, tokens below 2^-12 left out", head_without_negligible),
    case("head_divergence", "", head_divergence),
    case("head_logits", "", head_logits),
    case("seed_gradient", "", seed_gradient),
];

/// A weight (rows, cols) of the size that trained ones have, and the same as ours holds it.
fn weight(name: &str, rows: usize, cols: usize) -> Result<(Tensor, Arc<FrozenWeight>)> {
    let dense = (normal(name, &[rows, cols])? * (1.0 / cols as f64).sqrt())?;
    let frozen = FrozenWeight::from_tensor(name, &dense, StorageKind::F32)?;
    Ok((dense, Arc::new(frozen)))
}

fn linear(sizes: &Sizes) -> Result<Pair> {
    let (dense, frozen) = weight("weight", sizes.inner, sizes.hidden)?;
    let layer = FrozenLinear { weight: frozen, bias: None };
    let x = normal("x", &[sizes.tokens(), sizes.hidden])?;
    trained(&[x], move |x| ops::linear(&x[0], &layer), move |x| Ok(x[0].matmul(&dense.t()?)?))
}

fn linear_trained(sizes: &Sizes) -> Result<Pair> {
    let (dense, _) = weight("weight", sizes.inner, sizes.hidden)?;
    let x = normal("x", &[sizes.tokens(), sizes.hidden])?;
    trained(&[x, dense], |x| ops::linear_trained(&x[0], &x[1], None), |x| Ok(x[0].matmul(&x[1].t()?)?))
}

/// A factor on the change; what it is does not matter.
const SCALE: f32 = 2.0;

fn candle_change(x: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok((x.matmul(&a.t()?)?.matmul(&b.t()?)? * f64::from(SCALE))?)
}

/// Input and both factors.
fn low_rank_inputs(sizes: &Sizes) -> Result<[Tensor; 3]> {
    let x = normal("x", &[sizes.tokens(), sizes.hidden])?;
    let (a, _) = weight("a", sizes.rank, sizes.hidden)?;
    let (b, _) = weight("b", sizes.inner, sizes.rank)?;
    Ok([x, a, b])
}

fn linear_low_rank(sizes: &Sizes, p: Option<f32>) -> Result<Pair> {
    let (dense, frozen) = weight("weight", sizes.inner, sizes.hidden)?;
    let layer = FrozenLinear { weight: frozen, bias: None };
    let dropout = p.map(|p| Dropout { p, key: 3, rows: (0..sizes.rows as u64).collect(), width: sizes.width });
    trained(
        &low_rank_inputs(sizes)?,
        move |x| ops::linear_low_rank(&x[0], &layer, &x[1], &x[2], SCALE, dropout.clone()),
        move |x| {
            let base = x[0].matmul(&dense.t()?)?;
            let dropped = match p {
                Some(p) => candle_dropout(&x[0], p)?,
                None => x[0].clone(),
            };
            Ok((base + candle_change(&dropped, &x[1], &x[2])?)?)
        },
    )
}

#[expect(clippy::disallowed_methods, reason = "what candle offers for dropout is measured beside ours, never used")]
pub(super) fn candle_dropout(x: &Tensor, p: f32) -> Result<Tensor> {
    let kept = Tensor::rand(0f32, 1f32, x.shape(), x.device())?.ge(p)?.to_dtype(DType::F32)?;
    Ok((x * (kept * f64::from(1.0 / (1.0 - p)))?)?)
}

fn low_rank(sizes: &Sizes) -> Result<Pair> {
    let ours = |x: &[Tensor]| ops::low_rank(&x[0], &x[1], &x[2], SCALE, None);
    trained(&low_rank_inputs(sizes)?, ours, |x| candle_change(&x[0], &x[1], &x[2]))
}

/// Key heads of the cases.
const fn kv_heads(sizes: &Sizes) -> usize {
    sizes.heads / 3
}

/// Rows of one segment each, all of `width`.
fn spec(sizes: &Sizes, rows: usize, width: usize, causal: bool) -> Arc<AttentionSpec> {
    let borders = Arc::new(vec![vec![0, width as u32]; rows]);
    Arc::new(AttentionSpec { causal, scale: scale(sizes), borders, window: None })
}

fn scale(sizes: &Sizes) -> f32 {
    1.0 / (sizes.head_features as f32).sqrt()
}

/// Attention over whole rows: the queries of a group side by side, so that keys are not repeated; `mask` is added to
/// the scores (queries, keys).
fn candle_attention(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>, scale: f32) -> Result<Tensor> {
    let ((rows, queries, heads, features), (_, keys, kv_heads, _)) = (q.dims4()?, k.dims4()?);
    let group = heads / kv_heads;
    let q = (q.transpose(1, 2)?.contiguous()? * f64::from(scale))?;
    let q = q.reshape((rows, kv_heads, group * queries, features))?;
    let (k, v) = (k.transpose(1, 2)?.contiguous()?, v.transpose(1, 2)?.contiguous()?);
    let scores = q.matmul(&k.t()?)?.reshape((rows, heads, queries, keys))?;
    let scores = match mask {
        Some(mask) => scores.broadcast_add(mask)?,
        None => scores,
    };
    let weights = reference::softmax(&scores)?.reshape((rows, kv_heads, group * queries, keys))?;
    Ok(weights.matmul(&v)?.reshape((rows, heads, queries, features))?.transpose(1, 2)?.contiguous()?)
}

fn attention(sizes: &Sizes, causal: bool) -> Result<Pair> {
    let Sizes { rows, width, heads, head_features, .. } = *sizes;
    let narrow = [rows, width, kv_heads(sizes), head_features];
    let inputs = [normal("q", &[rows, width, heads, head_features])?, normal("k", &narrow)?, normal("v", &narrow)?];
    let spec = spec(sizes, rows, width, causal);
    let hidden = |query: usize, key: usize| if key > query { f32::NEG_INFINITY } else { 0.0 };
    let mask = (0..width).flat_map(|query| (0..width).map(move |key| hidden(query, key))).collect::<Vec<_>>();
    let mask = Tensor::from_vec(mask, (width, width), &Device::Cpu)?;
    let (mask, scale) = (causal.then_some(mask), scale(sizes));
    trained(
        &inputs,
        move |x| ops::attention(&x[0], &x[1], &x[2], &spec),
        move |x| candle_attention(&x[0], &x[1], &x[2], mask.as_ref(), scale),
    )
}

fn attention_cached(sizes: &Sizes) -> Result<Pair> {
    let (keys, features) = (sizes.tokens(), sizes.head_features);
    let narrow = [1, keys, kv_heads(sizes), features];
    let (q, k, v) = (normal("q", &[1, 1, sizes.heads, features])?, normal("k", &narrow)?, normal("v", &narrow)?);
    let (spec, scale) = (spec(sizes, 1, keys, true), scale(sizes));
    let same = (q.clone(), k.clone(), v.clone());
    Ok(forward_only(
        move || ops::attention_cached(&q, &k, &v, &spec),
        move || candle_attention(&same.0, &same.1, &same.2, None, scale),
    ))
}

const EPS: f64 = 1e-5;

/// Input, weight and bias of a norm.
fn norm_inputs(sizes: &Sizes) -> Result<[Tensor; 3]> {
    let features = sizes.hidden;
    Ok([normal("x", &[sizes.tokens(), features])?, normal("w", &[features])?, normal("b", &[features])?])
}

fn rms_norm(sizes: &Sizes) -> Result<Pair> {
    let inputs = norm_inputs(sizes)?;
    trained(&inputs[..2], |x| ops::rms_norm(&x[0], &x[1], EPS), |x| reference::rms_norm(&x[0], &x[1], EPS))
}

fn layer_norm(sizes: &Sizes) -> Result<Pair> {
    trained(
        &norm_inputs(sizes)?,
        |x| ops::layer_norm(&x[0], &x[1], Some(&x[2]), EPS),
        |x| reference::layer_norm(&x[0], &x[1], Some(&x[2]), EPS),
    )
}

fn activation(
    sizes: &Sizes,
    ours: fn(&Tensor) -> Result<Tensor>,
    candle: fn(&Tensor) -> Result<Tensor>,
) -> Result<Pair> {
    let x = normal("x", &[sizes.tokens(), sizes.inner])?;
    trained(&[x], move |x| ours(&x[0]), move |x| candle(&x[0]))
}

fn gate(
    sizes: &Sizes,
    ours: fn(&Tensor, &Tensor) -> Result<Tensor>,
    candle: fn(&Tensor) -> Result<Tensor>,
) -> Result<Pair> {
    let dims = [sizes.tokens(), sizes.inner];
    let inputs = [normal("gate", &dims)?, normal("up", &dims)?];
    trained(&inputs, move |x| ours(&x[0], &x[1]), move |x| Ok((candle(&x[0])? * &x[1])?))
}

fn rotary(sizes: &Sizes) -> Result<Pair> {
    let half = sizes.head_features / 2;
    let frequencies = (0..half).map(|pair| 10_000f32.powf(-(pair as f32) / half as f32)).collect();
    let table = RotaryTable::new(frequencies, 1.0);
    let positions: Arc<[u32]> = (0..sizes.rows).flat_map(|_| 0..sizes.width as u32).collect();
    let values =
        Tensor::from_slice(&table.up_to(sizes.width)[..sizes.width * 2 * half], (sizes.width, 2 * half), &Device::Cpu)?;
    let values = values.repeat((sizes.rows, 1))?;
    let part = |start: usize| values.narrow(D::Minus1, start, half)?.contiguous();
    let (cosines, sines) = (part(0)?, part(half)?);
    trained(
        &[normal("x", &[sizes.rows, sizes.width, sizes.heads, sizes.head_features])?],
        move |x| ops::rotary(&x[0], &table, &positions),
        move |x| reference::rotary(&x[0], &cosines, &sines),
    )
}

/// Tokens spread over the vocabulary.
fn ids(sizes: &Sizes) -> Arc<[u32]> {
    let mut stream = Stream::new(7, "ids");
    (0..sizes.tokens()).map(|_| stream.below(sizes.vocabulary as u64) as u32).collect()
}

fn embedding(sizes: &Sizes) -> Result<Pair> {
    let (ids, shape) = (ids(sizes), (sizes.rows, sizes.width));
    let places = Tensor::from_slice(&ids, ids.len(), &Device::Cpu)?;
    let features = sizes.hidden;
    trained(
        &[normal("table", &[sizes.vocabulary, features])?],
        move |x| ops::embedding(&ids, shape, &EmbeddingTable::Trained(x[0].clone())),
        move |x| Ok(x[0].index_select(&places, 0)?.reshape((shape.0, shape.1, features))?),
    )
}

/// Eight rows of their own in front of each row of a batch.
fn pick_rows(sizes: &Sizes) -> Result<Pair> {
    const COUNT: u32 = 8;
    let (rows, width, features) = (sizes.rows, sizes.width, sizes.hidden);
    let row = |row: usize| {
        let first = (row * width) as u32;
        (0..COUNT).map(Pick::Extra).chain((first..).take(width).map(Pick::Row))
    };
    let picks: Arc<[Pick]> = (0..rows).flat_map(row).collect();
    trained(
        &[normal("x", &[rows * width, features])?, normal("prompt", &[COUNT as usize, features])?],
        move |x| ops::pick_rows(&x[0], Some(&x[1]), &picks),
        move |x| {
            let prompt = x[1].unsqueeze(0)?.broadcast_as((rows, COUNT as usize, features))?;
            let all = Tensor::cat(&[&prompt, &x[0].reshape((rows, width, features))?], 1)?;
            Ok(all.reshape(((), features))?)
        },
    )
}

/// The cross-entropy of candle's own loss with one pass less over the logits.
fn candle_cross_entropy(hidden: &Tensor, head: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let logits = hidden.matmul(&head.t()?)?;
    let logits = logits.broadcast_sub(&logits.detach().max_keepdim(1)?)?;
    let log_sums = logits.exp()?.sum_keepdim(1)?.log()?;
    Ok((log_sums - logits.gather(targets, 1)?)?.sum_all()?)
}

fn head(sizes: &Sizes, train_head: bool) -> Result<Pair> {
    let (dense, frozen) = weight("head", sizes.vocabulary, sizes.hidden)?;
    let hidden = normal("hidden", &[sizes.tokens(), sizes.hidden])?;
    let targets = ids(sizes);
    let same = Tensor::from_slice(&targets, (targets.len(), 1), &Device::Cpu)?;
    if train_head {
        return trained(
            &[hidden, dense],
            move |x| ops::head_cross_entropy(&x[0], &HeadTable::Trained(x[1].clone()), &targets, None),
            move |x| candle_cross_entropy(&x[0], &x[1], &same),
        );
    }
    let table = HeadTable::Frozen(frozen);
    trained(
        &[hidden],
        move |x| ops::head_cross_entropy(&x[0], &table, &targets, None),
        move |x| candle_cross_entropy(&x[0], &dense, &same),
    )
}

/// How much surer than at random the head of this case is: its logits are multiplied by this.
const SURE: f64 = 6.0;

fn head_without_negligible(sizes: &Sizes) -> Result<Pair> {
    let (dense, _) = weight("head", sizes.vocabulary, sizes.hidden)?;
    let dense = (dense * SURE)?;
    let table = HeadTable::Frozen(Arc::new(FrozenWeight::from_tensor("head", &dense, StorageKind::F32)?));
    let targets = ids(sizes);
    let same = Tensor::from_slice(&targets, (targets.len(), 1), &Device::Cpu)?;
    let options = HeadOptions { bias: None, negligible: 1.0 / 4096.0 };
    trained(
        &[normal("hidden", &[sizes.tokens(), sizes.hidden])?],
        move |x| ops::head_cross_entropy_with(&x[0], &table, &targets, &options),
        move |x| candle_cross_entropy(&x[0], &dense, &same),
    )
}

/// The other model's side is part of both: it is new in every step.
fn head_divergence(sizes: &Sizes) -> Result<Pair> {
    let (dense, frozen) = weight("head", sizes.vocabulary, sizes.hidden)?;
    let dims = [sizes.tokens(), sizes.hidden];
    let (hidden, parent) = (normal("hidden", &dims)?, normal("parent", &dims)?);
    let (targets, table, same) = (ids(sizes), HeadTable::Frozen(frozen), parent.clone());
    let same_targets = Arc::clone(&targets);
    let ours = move |x: &[Tensor]| {
        let parent = Parent::of(&parent, &table, &targets)?;
        Ok(ops::head_divergence(&x[0], &table, &targets, &parent)?.0)
    };
    trained(&[hidden], ours, move |x| reference::head_divergence(&x[0], &same, &dense, &same_targets))
}

fn head_logits(sizes: &Sizes) -> Result<Pair> {
    let (dense, frozen) = weight("head", sizes.vocabulary, sizes.hidden)?;
    // As in generation and evaluation: a row at a time.
    let hidden = normal("hidden", &[sizes.width, sizes.hidden])?;
    let (same, table) = (hidden.clone(), HeadTable::Frozen(frozen));
    Ok(forward_only(move || ops::head_logits(&hidden, &table), move || Ok(same.matmul(&dense.t()?)?)))
}

fn seed_gradient(sizes: &Sizes) -> Result<Pair> {
    let dims = [sizes.tokens(), sizes.hidden];
    let (gradient, y) = (normal("gradient", &dims)?, normal("y", &dims)?);
    let same = gradient.clone();
    trained(&[y], move |x| ops::seed_gradient(&x[0], &gradient), move |x| Ok((&x[0] * &same)?.sum_all()?))
}
