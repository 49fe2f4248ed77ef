//! Tokens merged between the halves of a block, and the gates that change them before.
//!
//! Place in the data flow: an encoder's block calls this with the stream after its attention and the keys of that attention;
//! what comes back has fewer tokens, and how many of the first ones each stands for. Which tokens merge is a constant of
//! the pass: no gradient goes through the choice.
//!
//! Tokens at even places are sources, those at odd places destinations. Each source is matched with the destination whose
//! keys, averaged over heads, are nearest by cosine; the `pairs` best matches merge (Bolya et al. 2022, "Token Merging").
//! With n the tokens that each stands for, x̂ = n ∘ x, and over the pairs of an image (Xiong et al. 2024, "PYRA"):
//!
//! ```text
//! P = LN(x̂_src + x̂_dst)  (r, d)      w₁ = 2 σ(aᵀ P)  (1, d)      w₂ = 2 σ(P bᵀ) − 1  (r, 1)
//! x̂_src ← x̂_src + x̂_src ∘ (w₂ w₁)      x_dst ← (x̂_dst + Σ x̂_src) / (n_dst + Σ n_src)
//! ```

use super::inserts::At;
use super::{Merge, Point};
use crate::Result;
use crate::error::shape_error;
use crate::ops::{self, Pick, linear_trained, pick_rows};
use crate::param::{Param, Role};
use crate::slots::Init;
use candle_core::{Device, Tensor};
use std::sync::Arc;

/// Added to the variance in the gates' norm.
const NORM_EPS: f64 = 1e-5;

/// A merging with the values of its gates.
pub(super) struct HeldMerge {
    pub(super) what: Merge,
    /// Tokens at the beginning that are never merged.
    protected: usize,
    gates: Option<Gates>,
}

struct Gates {
    norm: Param,
    norm_bias: Param,
    /// (1, pairs).
    a: Param,
    /// (1, hidden).
    b: Param,
}

/// Which tokens of the images of a batch merge.
struct Matching {
    /// Flat places of the sources, (batch · pairs).
    sources: Arc<[Pick]>,
    /// Flat places of their destinations, (batch · pairs).
    destinations: Arc<[Pick]>,
    /// Flat places of the tokens that stay, (batch · left).
    stay: Arc<[Pick]>,
    /// Which of an image's sources go into which of its tokens that stay, (batch, left, pairs) of zeros and ones.
    into: Vec<f32>,
    /// Tokens that each of those stands for, (batch, left).
    sizes: Vec<f32>,
}

impl HeldMerge {
    pub(super) fn build(what: &Merge, at: &mut At<'_>) -> Result<Self> {
        let (pairs, hidden, protected) = (what.pairs, at.dims.hidden, at.dims.protected);
        let mut param = |part: &str, shape: &[usize], init: Init, role: Role| {
            let place = at.place(Point::Between, part, false);
            at.param(&place, shape, init, role)
        };
        let gates = if what.gates {
            Some(Gates {
                norm: param("norm", &[hidden], Init::Ones, Role::Norm)?,
                norm_bias: param("norm_bias", &[hidden], Init::Zeros, Role::Bias)?,
                a: param("a", &[1, pairs], Init::KaimingUniform, Role::FactorA)?,
                b: param("b", &[1, hidden], Init::Zeros, Role::FactorB)?,
            })
        } else {
            None
        };
        Ok(Self { what: what.clone(), protected, gates })
    }

    pub(super) fn params(&self) -> Vec<Param> {
        self.gates.iter().flat_map(|gates| [&gates.norm, &gates.norm_bias, &gates.a, &gates.b]).cloned().collect()
    }

    /// `x` (B, T, d) with keys (B, T, heads, head width), whose tokens stand for `sizes` (B, T) of the first ones each, or
    /// for one: the tokens that are left (B, T − pairs, d) and what those stand for.
    pub(super) fn merge(&self, x: &Tensor, keys: &Tensor, sizes: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let (batch, tokens, hidden) = x.dims3()?;
        let pairs = self.what.pairs;
        let most = most_pairs(tokens, self.protected);
        if pairs > most {
            return shape_error(format!("{pairs} pairs of {tokens} tokens cannot merge, {most} can"));
        }
        let counts = match sizes {
            Some(sizes) => sizes.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?,
            None => vec![1f32; batch * tokens],
        };
        let found = matching(keys, &counts, (pairs, self.protected))?;
        let left = tokens - pairs;
        let flat = weighed(x, sizes)?;
        let rows = |picks: &Arc<[Pick]>, count: usize| -> Result<Tensor> {
            Ok(pick_rows(&flat, None, picks)?.reshape((batch, count, hidden))?)
        };
        let mut sources = rows(&found.sources, pairs)?;
        if let Some(gates) = &self.gates {
            sources = gates.change(&sources, &rows(&found.destinations, pairs)?)?;
        }
        let into = Tensor::from_vec(found.into, (batch, left, pairs), &Device::Cpu)?.to_device(x.device())?;
        let sum = (rows(&found.stay, left)? + into.matmul(&sources)?)?;
        let sizes = Tensor::from_vec(found.sizes, (batch, left), &Device::Cpu)?.to_device(x.device())?;
        Ok((sum.broadcast_mul(&sizes.recip()?.unsqueeze(2)?)?, sizes))
    }
}

impl Gates {
    /// Sources (B, r, d) as they are merged into destinations.
    fn change(&self, sources: &Tensor, destinations: &Tensor) -> Result<Tensor> {
        let sum = (sources + destinations)?;
        let p = ops::layer_norm(&sum, &self.norm.var, Some(self.norm_bias.var.as_tensor()), NORM_EPS)?;
        let sigmoid = |x: Tensor| -> Result<Tensor> { Ok((x.neg()?.exp()? + 1.0)?.recip()?) };
        let across = p.transpose(1, 2)?.contiguous()?;
        let w1 = sigmoid(linear_trained(&across, &self.a.var, None)?)?.affine(2.0, 0.0)?.transpose(1, 2)?;
        let w2 = sigmoid(linear_trained(&p, &self.b.var, None)?)?.affine(2.0, -1.0)?;
        Ok((sources + sources.broadcast_mul(&w2.broadcast_mul(&w1.contiguous()?)?)?)?)
    }
}

/// Most pairs of so many tokens that can merge: each source once, the protected ones never.
#[must_use]
pub fn most_pairs(tokens: usize, protected: usize) -> usize {
    let sources = tokens.div_ceil(2).saturating_sub(protected.div_ceil(2));
    if tokens / 2 > protected / 2 { sources } else { 0 }
}

/// Tokens (B · T, d) times how many each stands for.
fn weighed(x: &Tensor, sizes: Option<&Tensor>) -> Result<Tensor> {
    let (batch, tokens, hidden) = x.dims3()?;
    let weighed = match sizes {
        Some(sizes) => x.broadcast_mul(&sizes.unsqueeze(2)?)?,
        None => x.clone(),
    };
    Ok(weighed.contiguous()?.reshape((batch * tokens, hidden))?)
}

/// The best pairs of each image of keys (B, T, heads, head width), by cosine of their averages over heads; `sizes` (B · T).
fn matching(keys: &Tensor, sizes: &[f32], (pairs, protected): (usize, usize)) -> Result<Matching> {
    let (batch, tokens, _, width) = keys.dims4()?;
    let mean = keys.detach().mean(2)?.to_device(&Device::Cpu)?;
    let mut mean: Vec<f32> = mean.flatten_all()?.to_vec1()?;
    for row in mean.chunks_exact_mut(width) {
        let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-12);
        row.iter_mut().for_each(|value| *value /= norm);
    }
    let (mut sources, mut destinations, mut stay) = (Vec::new(), Vec::new(), Vec::new());
    let left = tokens - pairs;
    let (mut into, mut counts) = (vec![0f32; batch * left * pairs], Vec::with_capacity(batch * left));
    for (image, (rows, sizes)) in mean.chunks_exact(tokens * width).zip(sizes.chunks_exact(tokens)).enumerate() {
        let rows: Vec<&[f32]> = rows.chunks_exact(width).collect();
        let chosen = best_pairs(&rows, pairs, protected);
        let first = image * tokens;
        let flat = |token: usize| Pick::Row((first + token) as u32);
        sources.extend(chosen.iter().map(|(source, _)| flat(*source)));
        destinations.extend(chosen.iter().map(|(_, destination)| flat(*destination)));
        let kept: Vec<usize> = (0..tokens).filter(|token| chosen.iter().all(|(source, _)| source != token)).collect();
        for (place, token) in kept.iter().enumerate() {
            let mut size = sizes.get(*token).copied().unwrap_or(1.0);
            for (pair, (source, _)) in chosen.iter().enumerate().filter(|(_, (_, to))| to == token) {
                size += sizes.get(*source).copied().unwrap_or(1.0);
                if let Some(entry) = into.get_mut(((image * left) + place) * pairs + pair) {
                    *entry = 1.0;
                }
            }
            counts.push(size);
        }
        stay.extend(kept.into_iter().map(flat));
    }
    Ok(Matching { sources: sources.into(), destinations: destinations.into(), stay: stay.into(), into, sizes: counts })
}

/// The `pairs` best (source, destination) of one image, best first; of equal ones the first.
fn best_pairs(rows: &[&[f32]], pairs: usize, protected: usize) -> Vec<(usize, usize)> {
    let likeness = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let mut best: Vec<(f32, usize, usize)> = Vec::new();
    for (source, row) in rows.iter().enumerate().step_by(2).filter(|(token, _)| *token >= protected) {
        let mut found: Option<(f32, usize)> = None;
        for (to, other) in rows.iter().enumerate().skip(1).step_by(2).filter(|(token, _)| *token >= protected) {
            let like = likeness(row, other);
            if found.is_none_or(|(most, _)| like > most) {
                found = Some((like, to));
            }
        }
        best.extend(found.map(|(like, to)| (like, source, to)));
    }
    best.sort_by(|left, right| right.0.total_cmp(&left.0).then(left.1.cmp(&right.1)));
    best.into_iter().take(pairs).map(|(_, source, to)| (source, to)).collect()
}
