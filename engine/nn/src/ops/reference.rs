//! Slow equivalents of the operations, made of plain candle tensors.
//!
//! Place in the data flow: what the fused operations are tested against (in f64 too), and what runs where they
//! have no kernel. They favour being obviously right over speed and memory: attention holds all scores, the
//! head all logits.

use super::{AttentionSpec, ChannelStatistics, Dropout, IGNORE, Slide};
use crate::rng;
use crate::{NnError, Result};
use candle_core::{D, DType, Device, Tensor};

/// `x (.., in) Wᵀ + bias` with `weight` (out, in).
///
/// # Errors
/// Shapes that do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let (out_features, in_features) = weight.dims2()?;
    let y = x.reshape(((), in_features))?.matmul(&weight.t()?)?;
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    if let Some(last) = dims.last_mut() {
        *last = out_features;
    }
    Ok(y.reshape(dims)?)
}

/// `scale · (drop(x) Aᵀ) Bᵀ` with `a` (rank, in) and `b` (out, rank).
///
/// # Errors
/// Shapes that do not fit.
pub fn low_rank(x: &Tensor, a: &Tensor, b: &Tensor, scale: f32, dropout: Option<&Dropout>) -> Result<Tensor> {
    let x = match dropout {
        Some(dropout) => (x * dropout_mask(dropout, x)?)?,
        None => x.clone(),
    };
    Ok((linear(&linear(&x, a, None)?, b, None)? * f64::from(scale))?)
}

/// `x · diag(scale)` over the last dimension, or `diag(scale) · x` over the first with `rows`.
///
/// # Errors
/// Shapes that do not fit.
pub fn diagonal(x: &Tensor, scale: &Tensor, rows: bool) -> Result<Tensor> {
    if !rows {
        return Ok(x.broadcast_mul(scale)?);
    }
    let mut shape = vec![1; x.rank()];
    if let Some(first) = shape.first_mut() {
        *first = scale.elem_count();
    }
    Ok(x.broadcast_mul(&scale.reshape(shape)?)?)
}

/// `start + Σ cᵢ Mᵢ` with every matrix drawn whole.
///
/// # Errors
/// Another number of coefficients than of matrices.
pub fn seeded_sum(coefficients: &Tensor, seeded: &super::Seeded) -> Result<Tensor> {
    let like = |value: &Tensor| value.to_dtype(coefficients.dtype())?.to_device(coefficients.device());
    let mut sum = like(&seeded.start)?;
    for basis in 0..seeded.bases {
        let shape = vec![1; sum.rank()];
        let coefficient = coefficients.narrow(0, basis, 1)?.reshape(shape)?;
        sum = (sum + like(&seeded.basis(basis)?)?.broadcast_mul(&coefficient)?)?;
    }
    Ok(sum)
}

/// A product with the matrix (out, in) that has `values` at `places` and 0 elsewhere.
///
/// # Errors
/// Shapes that do not fit.
pub fn linear_at(x: &Tensor, values: &Tensor, places: &super::Places) -> Result<Tensor> {
    let (rows, cols) = places.sides();
    let device = values.device();
    let numbers: Vec<u32> = places.iter().filter_map(|(row, col)| u32::try_from(row * cols + col).ok()).collect();
    let numbers = Tensor::new(numbers, device)?;
    let whole = Tensor::zeros(rows * cols, values.dtype(), device)?.index_add(&numbers, values, 0)?;
    linear(x, &whole.reshape((rows, cols))?, None)
}

/// 1 for who answers for a token and 0 for the others, (tokens, experts); a constant like `like`.
fn chosen(choice: &super::Choice, like: &Tensor) -> Result<Tensor> {
    let mask: Vec<f64> = choice.chosen().iter().map(|chosen| if *chosen { 1.0 } else { 0.0 }).collect();
    Ok(Tensor::from_vec(mask, (choice.tokens(), choice.experts()), like.device())?.to_dtype(like.dtype())?)
}

/// [`super::route`].
///
/// # Errors
/// Shapes that do not fit.
pub fn route(h: &Tensor, logits: &Tensor, choice: &super::Choice) -> Result<Tensor> {
    let experts = choice.experts();
    let flat = logits.reshape(((), experts))?;
    let largest = flat.max_keepdim(D::Minus1)?.detach();
    let kept = flat.broadcast_sub(&largest)?.exp()?.mul(&chosen(choice, logits)?)?;
    let weights = kept.broadcast_div(&kept.sum_keepdim(D::Minus1)?)?.unsqueeze(D::Minus1)?;
    let rank = h.dim(D::Minus1)? / experts;
    Ok(h.reshape(((), experts, rank))?.broadcast_mul(&weights)?.reshape(h.dims())?)
}

/// [`super::expert_balance`].
///
/// # Errors
/// Shapes that do not fit.
pub fn expert_balance(logits: &Tensor, choice: &super::Choice, counted: &[bool]) -> Result<Tensor> {
    let experts = choice.experts();
    let flat = logits.reshape(((), experts))?;
    let counts: Vec<f64> = counted.iter().map(|counted| if *counted { 1.0 } else { 0.0 }).collect();
    let (rows, count) = (counts.len(), counts.iter().sum::<f64>());
    let counts = Tensor::from_vec(counts, (rows, 1), logits.device())?.to_dtype(logits.dtype())?;
    let shares = chosen(choice, logits)?.broadcast_mul(&counts)?.sum(0)?;
    let shares = shares.affine(1.0 / (count * choice.top() as f64), 0.0)?;
    let means = softmax(&flat)?.broadcast_mul(&counts)?.sum(0)?.affine(1.0 / count, 0.0)?;
    Ok(shares.mul(&means)?.sum_all()?.affine(experts as f64, 0.0)?)
}

/// A linear layer over `weight` (out, in) whose blocks of each group of rows are multiplied by `I + B_i`, and `B_i` added
/// where `tiled`; `blocks` (out/size, size, size).
///
/// # Errors
/// Shapes that do not fit.
pub fn linear_row_groups(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    blocks: &Tensor,
    tiled: bool,
) -> Result<Tensor> {
    let ((rows, cols), size) = (weight.dims2()?, blocks.dim(1)?);
    let (groups, tiles) = (rows / size, cols / size);
    // (groups, size · tiles, size) times (groups, size, size): every piece of a row is a row of its own.
    let pieces = weight.reshape((groups, size * tiles, size))?;
    let mut changed = (&pieces + pieces.matmul(blocks)?)?.reshape((groups, size, tiles, size))?;
    if tiled {
        changed = changed.broadcast_add(&blocks.unsqueeze(2)?)?;
    }
    linear(x, &changed.reshape((rows, cols))?, bias)
}

/// A linear layer whose weight (out, in) is `table` (out, entries) at `places` (out, in).
///
/// # Errors
/// Shapes that do not fit.
pub fn linear_look_up(x: &Tensor, places: &Tensor, table: &Tensor) -> Result<Tensor> {
    linear(x, &table.contiguous()?.gather(places, 1)?, None)
}

/// The factors of dropout for `x` (.., features): 0 or 1/(1-p), a constant of the type of `x`.
///
/// # Errors
/// Only what candle reports.
pub fn dropout_mask(dropout: &Dropout, x: &Tensor) -> Result<Tensor> {
    let (positions, features) = super::rows_and_features(x)?;
    let threshold = rng::drop_threshold(dropout.p);
    let factor = 1.0 / (1.0 - dropout.p);
    let mut mask = Vec::with_capacity(positions * features);
    for place in 0..positions {
        let (row, position) = dropout.place(place);
        for feature in 0..features {
            let (block, place) = (feature / rng::MASK_BLOCK, feature % rng::MASK_BLOCK);
            let words = rng::mask_words(dropout.key, row, position, block as u32);
            mask.push(if words[place] >= threshold { factor } else { 0.0 });
        }
    }
    Ok(Tensor::from_vec(mask, x.dims(), &Device::Cpu)?.to_dtype(x.dtype())?.to_device(x.device())?)
}

/// Root-mean-square normalisation of the last dimension.
///
/// # Errors
/// Shapes that do not fit.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
    let inverse = (mean_square + eps)?.sqrt()?.recip()?;
    Ok(x.broadcast_mul(&inverse)?.broadcast_mul(weight)?)
}

/// Normalisation of the last dimension to mean 0 and variance 1.
///
/// # Errors
/// Shapes that do not fit.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let inverse = (variance + eps)?.sqrt()?.recip()?;
    let y = centred.broadcast_mul(&inverse)?.broadcast_mul(weight)?;
    Ok(match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    })
}

/// Softmax over the last dimension.
///
/// # Errors
/// Only what candle reports.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    // The largest value only guards against overflow: it is a constant for the gradient.
    let largest = x.max_keepdim(D::Minus1)?.detach();
    let exponentials = x.broadcast_sub(&largest)?.exp()?;
    let sums = exponentials.sum_keepdim(D::Minus1)?;
    Ok(exponentials.broadcast_div(&sums)?)
}

/// `1 / (1 + e^-x)`.
fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok((x.neg()?.exp()? + 1.0)?.recip()?)
}

/// `x · sigmoid(x)`.
///
/// # Errors
/// Only what candle reports.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    Ok((x * sigmoid(x)?)?)
}

/// `x/2 · (1 + erf(x/√2))`.
///
/// # Errors
/// Only what candle reports.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    let erf = (x * std::f64::consts::FRAC_1_SQRT_2)?.erf()?;
    Ok(((x * 0.5)? * (erf + 1.0)?)?)
}

/// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`.
///
/// # Errors
/// Only what candle reports.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    let inner = ((x + (x.sqr()? * x)?.affine(0.044_715, 0.0)?)? * (2.0 / std::f64::consts::PI).sqrt())?;
    Ok(((x * 0.5)? * (inner.tanh()? + 1.0)?)?)
}

/// Rotation of feature pairs (i, i + half) by position; features beyond 2·half pass through.
/// `x` (B, T, H, Dh), `cosines` and `sines` (B·T, half).
///
/// # Errors
/// Shapes that do not fit.
pub fn rotary(x: &Tensor, cosines: &Tensor, sines: &Tensor) -> Result<Tensor> {
    let (batch, width, _, features) = x.dims4()?;
    let half = cosines.dim(1)?;
    let like = |table: &Tensor| -> Result<Tensor> {
        Ok(table.reshape((batch, width, 1, half))?.to_dtype(x.dtype())?.to_device(x.device())?)
    };
    let (cosines, sines) = (like(cosines)?, like(sines)?);
    let first = x.narrow(3, 0, half)?;
    let second = x.narrow(3, half, half)?;
    let turned_first = (first.broadcast_mul(&cosines)? - second.broadcast_mul(&sines)?)?;
    let turned_second = (second.broadcast_mul(&cosines)? + first.broadcast_mul(&sines)?)?;
    let mut parts = vec![turned_first, turned_second];
    if features > 2 * half {
        parts.push(x.narrow(3, 2 * half, features - 2 * half)?);
    }
    Ok(Tensor::cat(&parts, 3)?)
}

/// Attention with all scores held. Query t of T stands at key position t + (keys - T).
///
/// # Errors
/// Shapes that do not fit.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
    let (batch, queries, heads, features) = q.dims4()?;
    let (_, keys, kv_heads, _) = k.dims4()?;
    let spread = |x: &Tensor| -> Result<Tensor> {
        let x = x.transpose(1, 2)?.unsqueeze(2)?;
        let x = x.broadcast_as((batch, kv_heads, heads / kv_heads, keys, features))?;
        Ok(x.contiguous()?.reshape((batch, heads, keys, features))?)
    };
    let mut bias = vec![HIDDEN; batch * queries * keys];
    let mut live = vec![0f32; batch * queries];
    for row in 0..batch {
        for query in 0..queries {
            let place = row * queries + query;
            if let Some(range) = spec.visible(row, query + keys - queries) {
                live[place] = 1.0;
                bias[place * keys..][range].fill(0.0);
            }
        }
    }
    let constant = |values: Vec<f32>, shape: &[usize]| -> Result<Tensor> {
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(q.dtype())?.to_device(q.device())?)
    };
    let bias = constant(bias, &[batch, 1, queries, keys])?;
    let live = constant(live, &[batch, 1, queries, 1])?;
    let q = q.transpose(1, 2)?.contiguous()?;
    let scores = (q.matmul(&spread(k)?.transpose(2, 3)?.contiguous()?)? * f64::from(spec.scale))?;
    let weights = softmax(&scores.broadcast_add(&bias)?)?.broadcast_mul(&live)?;
    Ok(weights.matmul(&spread(v)?)?.transpose(1, 2)?.contiguous()?)
}

/// Added to scores that are not visible: far below any score, and finite, so that a row without anything
/// visible gives no NaN.
const HIDDEN: f32 = -1e30;

/// Σ over trained positions of the cross-entropy in nats; all logits are held.
///
/// # Errors
/// Shapes that do not fit or a target outside the vocabulary.
pub fn head_cross_entropy(hidden: &Tensor, weight: &Tensor, targets: &[u32], bias: Option<&Tensor>) -> Result<Tensor> {
    let trained = targets.iter().zip(0u32..).filter(|(target, _)| **target != IGNORE);
    let (targets, places): (Vec<u32>, Vec<u32>) = trained.unzip();
    if targets.is_empty() {
        return Ok((hidden.sum_all()? * 0.0)?);
    }
    let count = targets.len();
    let places = Tensor::from_vec(places, count, hidden.device())?;
    let targets = Tensor::from_vec(targets, (count, 1), hidden.device())?;
    let logits = linear(&hidden.contiguous()?.index_select(&places, 0)?, weight, bias)?;
    let largest = logits.max_keepdim(1)?.detach();
    let sums = logits.broadcast_sub(&largest)?.exp()?.sum_keepdim(1)?;
    let log_sums = (sums.log()? + largest)?;
    Ok((log_sums - logits.gather(&targets, 1)?)?.sum_all()?)
}

/// Σ over trained positions of the divergence of the probabilities of `parent` (N, D) from those of `hidden` (N, D), both
/// through the head `weight` (V, D), nats.
///
/// # Errors
/// Shapes that do not fit.
pub fn head_divergence(hidden: &Tensor, parent: &Tensor, weight: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let trained = targets.iter().zip(0u32..).filter(|(target, _)| **target != IGNORE);
    let places: Vec<u32> = trained.map(|(_, place)| place).collect();
    let places = Tensor::from_vec(places.clone(), places.len(), hidden.device())?;
    let log_probabilities = |hidden: &Tensor| -> Result<Tensor> {
        let logits = linear(&hidden.contiguous()?.index_select(&places, 0)?, weight, None)?;
        let logits = logits.broadcast_sub(&logits.max_keepdim(1)?.detach())?;
        Ok(logits.broadcast_sub(&logits.exp()?.sum_keepdim(1)?.log()?)?)
    };
    let (own, wanted) = (log_probabilities(hidden)?, log_probabilities(&parent.detach())?);
    Ok((wanted.exp()? * (wanted - own)?)?.sum_all()?)
}

/// What each place of a window sees: `x` (B, C, H, W) → (B, C, taps, H'·W') and (H', W'). Places beyond the map hold
/// `outside`.
fn unfold(x: &Tensor, kernel: (usize, usize), slide: Slide, outside: f64) -> Result<(Tensor, (usize, usize))> {
    let (batch, channels, height, width) = x.dims4()?;
    let window = slide.over((height, width), kernel)?;
    let ((down, across), (padding_down, padding_across), (rows, columns)) = (kernel, slide.padding, window.out);
    let widen =
        |x: &Tensor| x.pad_with_zeros(2, padding_down, padding_down)?.pad_with_zeros(3, padding_across, padding_across);
    let inside = widen(&x.ones_like()?)?;
    let wide = (widen(x)? + ((1.0 - inside)? * outside)?)?;
    let steps = |first: usize, stride: usize, count: usize| {
        let places = (0..count).map(|place| (first + place * stride) as u32).collect::<Vec<_>>();
        Tensor::from_vec(places, count, x.device())
    };
    let mut taps = Vec::new();
    for tap in 0..down * across {
        let seen = wide.index_select(&steps(tap / across, slide.stride.0, rows)?, 2)?;
        let seen = seen.index_select(&steps(tap % across, slide.stride.1, columns)?, 3)?;
        taps.push(seen.reshape((batch, channels, 1, rows * columns))?);
    }
    Ok((Tensor::cat(&taps, 2)?, window.out))
}

/// Convolution as a product with the whole unfolded input. Shapes as in [`super::conv2d`].
///
/// # Errors
/// Shapes that do not fit.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, slide: Slide, groups: usize) -> Result<Tensor> {
    let (outputs, depth, down, across) = weight.dims4()?;
    let (seen, (rows, columns)) = unfold(&x.contiguous()?, (down, across), slide, 0.0)?;
    let batch = x.dim(0)?;
    let seen = seen.reshape((batch, groups, depth * down * across, rows * columns))?;
    let weight = weight.contiguous()?.reshape((1, groups, outputs / groups, depth * down * across))?;
    let y = weight.broadcast_matmul(&seen)?.reshape((batch, outputs, rows, columns))?;
    Ok(match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, outputs, 1, 1))?)?,
        None => y,
    })
}

/// The largest value under each place of a window; equal ones share no gradient, each gets all of it.
///
/// # Errors
/// Shapes that do not fit.
pub fn max_pool2d(x: &Tensor, kernel: (usize, usize), slide: Slide) -> Result<Tensor> {
    let (batch, channels, _, _) = x.dims4()?;
    let (seen, (rows, columns)) = unfold(&x.contiguous()?, kernel, slide, f64::from(HIDDEN))?;
    Ok(seen.max(2)?.reshape((batch, channels, rows, columns))?)
}

/// The mean under each place of a window, padding counted as zeros.
///
/// # Errors
/// Shapes that do not fit.
pub fn avg_pool2d(x: &Tensor, kernel: (usize, usize), slide: Slide) -> Result<Tensor> {
    let (batch, channels, _, _) = x.dims4()?;
    let (seen, (rows, columns)) = unfold(&x.contiguous()?, kernel, slide, 0.0)?;
    Ok(seen.mean(2)?.reshape((batch, channels, rows, columns))?)
}

/// The mean of each map.
///
/// # Errors
/// Shapes that do not fit.
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    Ok(x.mean((2, 3))?)
}

/// `x` (B, C, ...) as (B, C, values of a map).
fn as_maps(x: &Tensor) -> Result<Tensor> {
    let (batch, channels) = (x.dim(0)?, x.dim(1)?);
    Ok(x.reshape((batch, channels, ()))?)
}

/// `(x - mean) / √(variance + eps) · weight + bias` for `x` (B, C, S), mean and variance (1, C, 1).
fn normalised(x: &Tensor, mean: &Tensor, variance: &Tensor, affine: (&Tensor, &Tensor), eps: f64) -> Result<Tensor> {
    let (weight, bias) = (affine.0.reshape((1, (), 1))?, affine.1.reshape((1, (), 1))?);
    let inverse = (variance + eps)?.sqrt()?.recip()?;
    Ok(x.broadcast_sub(mean)?.broadcast_mul(&inverse)?.broadcast_mul(&weight)?.broadcast_add(&bias)?)
}

/// Normalisation of channels by the statistics of the batch.
///
/// # Errors
/// Shapes that do not fit.
pub fn batch_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let maps = as_maps(x)?;
    let mean = maps.mean_keepdim((0, 2))?;
    let variance = maps.broadcast_sub(&mean)?.sqr()?.mean_keepdim((0, 2))?;
    Ok(normalised(&maps, &mean, &variance, (weight, bias), eps)?.reshape(x.dims())?)
}

/// Normalisation of channels by constants.
///
/// # Errors
/// Shapes that do not fit.
pub fn batch_norm_frozen(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    statistics: &ChannelStatistics,
    eps: f64,
) -> Result<Tensor> {
    let constant = |values: &[f32]| -> Result<Tensor> {
        let values = Tensor::from_slice(values, (1, values.len(), 1), &Device::Cpu)?;
        Ok(values.to_dtype(x.dtype())?.to_device(x.device())?)
    };
    let (mean, variance) = (constant(&statistics.mean)?, constant(&statistics.variance)?);
    Ok(normalised(&as_maps(x)?, &mean, &variance, (weight, bias), eps)?.reshape(x.dims())?)
}

/// Rows of `table` (V, D) by id, shaped (B, T, D).
///
/// # Errors
/// Ids outside the table.
pub fn embedding(ids: &[u32], shape: (usize, usize), table: &Tensor) -> Result<Tensor> {
    let ids = Tensor::from_slice(ids, ids.len(), table.device())?;
    let (batch, width) = shape;
    Ok(table.contiguous()?.index_select(&ids, 0)?.reshape((batch, width, table.dim(1)?))?)
}

/// Rows of `x`, of `extra` and zeros in the order of `picks`, (picks, features).
///
/// # Errors
/// Shapes that do not fit.
pub fn pick_rows(x: &Tensor, extra: Option<&Tensor>, picks: &[super::Pick]) -> Result<Tensor> {
    let (rows, features) = x.dims2()?;
    let zeros = Tensor::zeros((1, features), x.dtype(), x.device())?;
    let count = extra.map_or(Ok(0), |extra| extra.dim(0))?;
    let all: Vec<&Tensor> = std::iter::once(x).chain(extra).chain([&zeros]).collect();
    let place = |pick: &super::Pick| match *pick {
        super::Pick::Row(row) => row,
        super::Pick::Extra(row) => rows as u32 + row,
        super::Pick::Zero => (rows + count) as u32,
    };
    let places: Vec<u32> = picks.iter().map(place).collect();
    let places = Tensor::from_vec(places, picks.len(), x.device())?;
    Ok(Tensor::cat(&all, 0)?.index_select(&places, 0)?)
}

/// `Σ y·g` with `g` constant.
///
/// # Errors
/// Shapes that do not fit.
pub fn seed_gradient(y: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    Ok((y * gradient.detach())?.sum_all()?)
}

/// The f64 twin of an f32 tensor, for tests.
///
/// # Errors
/// Only what candle reports.
pub fn to_f64(x: &Tensor) -> Result<Tensor, NnError> {
    Ok(x.to_dtype(DType::F64)?)
}
