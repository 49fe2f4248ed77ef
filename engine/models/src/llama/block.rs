//! A block: attention and gated MLP, each behind a norm and beside a residual connection; with the further norms that the
//! family has. What methods insert stands at the points of [`temper_nn::insertion`]; without any, it is as if there were
//! none.

use crate::names::Slot;
use crate::own::Norm;
use crate::rope::RopeTables;
use crate::stage::{AttentionSizes, Flow, Stage, StageCache};
use crate::weights::Weights;
use crate::{LlamaConfig, ModelError, Result};
use candle_core::Tensor;
use std::sync::Arc;
use temper_nn::fused::{AttentionHalf, FusedBlock, MlpHalf};
use temper_nn::ops::{self, AttentionSpec, Gate};
use temper_nn::{ForwardContext, FrozenLinear, InsertDims, Inserts, LinearSite, Param, Point};

/// Where something can be inserted into a block.
const POINTS: &[Point] = &[Point::AttnIn, Point::AttnKv, Point::AttnOut, Point::MlpIn, Point::MlpOut, Point::Block];

/// One block of the llama graph.
pub struct BlockStage {
    name: String,
    attn_norm: Norm,
    q: LinearSite,
    k: LinearSite,
    v: LinearSite,
    o: LinearSite,
    /// Over the features of each query head.
    q_norm: Option<Norm>,
    /// Over the features of each key head.
    k_norm: Option<Norm>,
    /// Over what the attention adds.
    attn_post_norm: Option<Norm>,
    mlp_norm: Norm,
    gate: LinearSite,
    up: LinearSite,
    down: LinearSite,
    /// Over what the MLP adds.
    mlp_post_norm: Option<Norm>,
    shape: Shape,
    rope: Arc<RopeTables>,
    inserts: Inserts,
}

#[derive(Clone, Copy)]
struct Shape {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    rms_eps: f64,
    window: Option<usize>,
    attention_scale: f32,
    activation: Gate,
}

impl BlockStage {
    pub(crate) fn new(
        config: &LlamaConfig,
        layer: usize,
        slots: &[Slot],
        weights: &mut Weights,
        rope: &Arc<RopeTables>,
    ) -> Result<Self> {
        let name = format!("layers.{layer}");
        let full = |part: &str| format!("{name}.{part}");
        let has = |slot: &str| slots.iter().any(|known| known.name == slot);
        let mut site = |part: &str| -> Result<LinearSite> {
            let site = full(part);
            let weight = weights.matrix(&format!("{site}.weight"))?;
            let bias_name = format!("{site}.bias");
            let bias = if has(&bias_name) { Some(weights.vector(&bias_name)?) } else { None };
            let source = weights.sources.remove(&format!("{site}.weight"));
            let site = LinearSite::new(site, FrozenLinear { weight, bias });
            Ok(match source {
                Some(source) => site.with_source(source),
                None => site,
            })
        };
        let (q, k, v, o) = (site("attn.q")?, site("attn.k")?, site("attn.v")?, site("attn.o")?);
        let (gate, up, down) = (site("mlp.gate")?, site("mlp.up")?, site("mlp.down")?);
        let mut norm = |part: &str| Ok::<_, ModelError>(Norm::new(full(part), weights.vector(&full(part))?));
        let (attn_norm, mlp_norm) = (norm("attn_norm")?, norm("mlp_norm")?);
        let mut own_norm = |part: &str| if has(&full(part)) { norm(part).map(Some) } else { Ok(None) };
        let (q_norm, k_norm) = (own_norm("attn.q_norm")?, own_norm("attn.k_norm")?);
        let (attn_post_norm, mlp_post_norm) = (own_norm("attn_post_norm")?, own_norm("mlp_post_norm")?);
        let shape = Shape {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            rms_eps: config.rms_eps,
            window: config.window_of(layer),
            attention_scale: config.attention_scale(),
            activation: config.family.traits.activation,
        };
        Ok(Self {
            name,
            attn_norm,
            q,
            k,
            v,
            o,
            q_norm,
            k_norm,
            attn_post_norm,
            mlp_norm,
            gate,
            up,
            down,
            mlp_post_norm,
            shape,
            rope: Arc::clone(rope),
            inserts: Inserts::default(),
        })
    }

    fn attention_spec(&self, borders: Arc<Vec<Vec<u32>>>) -> AttentionSpec {
        AttentionSpec { causal: true, scale: self.shape.attention_scale, borders, window: self.shape.window }
    }

    /// Queries (.., heads, width), keys and values (.., kv heads, width) of normed hidden states, not yet rotated.
    fn project(&self, normed: &Tensor, ctx: &ForwardContext) -> Result<(Tensor, Tensor, Tensor)> {
        let Shape { heads, kv_heads, head_dim, .. } = self.shape;
        let split = |site: &LinearSite, heads: usize, norm: Option<&Norm>| -> Result<Tensor> {
            let parts = site.forward(normed, ctx)?.reshape((ctx.batch, ctx.width, heads, head_dim))?;
            self.normed(norm, parts)
        };
        let q = split(&self.q, heads, self.q_norm.as_ref())?;
        Ok((q, split(&self.k, kv_heads, self.k_norm.as_ref())?, split(&self.v, kv_heads, None)?))
    }

    /// The normed input of the attention.
    fn attn_in(&self, hidden: &Tensor) -> Result<Tensor> {
        let normed = ops::rms_norm(hidden, self.attn_norm.weight(), self.shape.rms_eps)?;
        Ok(self.inserts.apply(Point::AttnIn, normed, &[])?)
    }

    /// Output projection and gated MLP around their residual connections; `normed` is the input of the attention.
    fn finish(&self, input: &Tensor, normed: &Tensor, attended: &Tensor, ctx: &ForwardContext) -> Result<Tensor> {
        let width = self.shape.heads * self.shape.head_dim;
        let joined = attended.reshape((ctx.batch, ctx.width, width))?;
        let added = self.normed(self.attn_post_norm.as_ref(), self.o.forward(&joined, ctx)?)?;
        let added = self.inserts.apply(Point::AttnOut, added, &[(Point::AttnIn, normed)])?;
        let middle = (input + added)?;
        let normed = ops::rms_norm(&middle, self.mlp_norm.weight(), self.shape.rms_eps)?;
        let normed = self.inserts.apply(Point::MlpIn, normed, &[])?;
        let (gate, up) = (self.gate.forward(&normed, ctx)?, self.up.forward(&normed, ctx)?);
        let gated = self.shape.activation.gated(&gate, &up)?;
        let added = self.normed(self.mlp_post_norm.as_ref(), self.down.forward(&gated, ctx)?)?;
        let added = self.inserts.apply(Point::MlpOut, added, &[(Point::MlpIn, &normed)])?;
        Ok(self.inserts.apply(Point::Block, (middle + added)?, &[])?)
    }

    /// Positions for the rotation: behind the prefix, if there is one.
    fn positions(&self, ctx: &ForwardContext) -> Arc<[u32]> {
        match self.inserts.prefix_length() as u32 {
            0 => Arc::clone(&ctx.positions),
            shift => ctx.positions.iter().map(|position| position + shift).collect(),
        }
    }

    /// `x` through a norm that may be absent.
    fn normed(&self, norm: Option<&Norm>, x: Tensor) -> Result<Tensor> {
        match norm {
            None => Ok(x),
            Some(norm) => Ok(ops::rms_norm(&x, norm.weight(), self.shape.rms_eps)?),
        }
    }

    fn norms(&self) -> Vec<&Norm> {
        let own = [&self.q_norm, &self.k_norm, &self.attn_post_norm, &self.mlp_post_norm];
        [&self.attn_norm, &self.mlp_norm].into_iter().chain(own.into_iter().flatten()).collect()
    }

    fn norms_mut(&mut self) -> Vec<&mut Norm> {
        let own = [&mut self.q_norm, &mut self.k_norm, &mut self.attn_post_norm, &mut self.mlp_post_norm];
        [&mut self.attn_norm, &mut self.mlp_norm].into_iter().chain(own.into_iter().flatten()).collect()
    }
}

/// Largest absolute entry of each head of (.., heads, width).
fn largest_of_heads(parts: &Tensor) -> Result<Vec<f32>> {
    let (heads, width) = (parts.dim(parts.rank() - 2)?, parts.dim(parts.rank() - 1)?);
    let flat = parts.detach().reshape(((), heads, width))?;
    Ok(flat.abs()?.max(2)?.max(0)?.to_vec1()?)
}

/// Tokens of the longest segment, by the positions.
fn length(positions: &[u32]) -> usize {
    positions.iter().max().map_or(0, |&last| last as usize + 1)
}

/// Keys or values so far, the new ones at the end.
fn extend(cached: &mut Option<Tensor>, new: &Tensor) -> Result<Tensor> {
    let all = match cached.as_ref() {
        Some(old) => Tensor::cat(&[old, new], 1)?,
        None => new.contiguous()?,
    };
    *cached = Some(all.clone());
    Ok(all)
}

impl Stage for BlockStage {
    fn name(&self) -> &str {
        &self.name
    }

    fn forward(&self, mut flow: Flow, ctx: &ForwardContext) -> Result<Flow> {
        let normed = self.attn_in(&flow.hidden)?;
        let (q, k, v) = self.project(&normed, ctx)?;
        let positions = self.positions(ctx);
        let table = self.rope.table(length(&positions));
        let q = ops::rotary(&q, &table, &positions)?;
        let k = ops::rotary(&k, &table, &positions)?;
        let attended = self.inserts.attention(&q, &k, &v, self.attention_spec(Arc::clone(&ctx.borders)))?;
        flow.hidden = self.finish(&flow.hidden, &normed, &attended, ctx)?;
        if ctx.training {
            for site in self.sites() {
                flow.add_loss(site.extra_loss()?)?;
            }
        }
        Ok(flow)
    }

    fn attention_sizes(&self, flow: &Flow, ctx: &ForwardContext) -> Result<Option<AttentionSizes>> {
        let normed = self.attn_in(&flow.hidden)?;
        let (q, k, _) = self.project(&normed, ctx)?;
        let Shape { heads, head_dim, .. } = self.shape;
        let change = (self.q.forward(&normed, ctx)? - self.q.forward_base(&normed)?)?;
        let change = change.reshape((ctx.batch, ctx.width, heads, head_dim))?;
        let (q_max, k_max) = (largest_of_heads(&q)?, largest_of_heads(&k)?);
        Ok(Some(AttentionSizes { q_max, k_max, change_max: largest_of_heads(&change)? }))
    }

    fn fused(&self, ctx: &ForwardContext) -> Result<Option<FusedBlock>> {
        let spec = self.attention_spec(Arc::clone(&ctx.borders));
        let Some(inserts) = self.inserts.fused()? else { return Ok(None) };
        let site = |site: &LinearSite| site.fused(ctx);
        let (Some(q), Some(k), Some(v), Some(o)) = (site(&self.q)?, site(&self.k)?, site(&self.v)?, site(&self.o)?)
        else {
            return Ok(None);
        };
        let (Some(gate), Some(up), Some(down)) = (site(&self.gate)?, site(&self.up)?, site(&self.down)?) else {
            return Ok(None);
        };
        let Shape { heads, kv_heads, head_dim, rms_eps, activation, .. } = self.shape;
        let norm = |norm: &Norm| norm.fused(rms_eps);
        let own = |own: &Option<Norm>| own.as_ref().map(norm).transpose();
        let longest = length(&ctx.positions) + self.inserts.prefix_length();
        let table = self.rope.table(longest);
        let attention = AttentionHalf {
            norm: norm(&self.attn_norm)?,
            q,
            k,
            v,
            q_norm: own(&self.q_norm)?,
            k_norm: own(&self.k_norm)?,
            o,
            post_norm: own(&self.attn_post_norm)?,
            insert: inserts.attn_out,
            prefix: inserts.prefix,
            table: table.up_to(longest),
            pairs: table.half(),
            spec,
            batch: ctx.batch,
            heads,
            kv_heads,
            features: head_dim,
        };
        let post_norm = own(&self.mlp_post_norm)?;
        let mlp =
            MlpHalf { norm: norm(&self.mlp_norm)?, gate, up, down, post_norm, insert: inserts.mlp_out, activation };
        Ok(Some(FusedBlock { attention, mlp }))
    }

    fn forward_cached(&self, mut flow: Flow, ctx: &ForwardContext, cache: &mut StageCache) -> Result<Flow> {
        if ctx.batch != 1 {
            return Err(ModelError::Request(format!("a cache holds one text, the batch has {}", ctx.batch)));
        }
        let normed = self.attn_in(&flow.hidden)?;
        let (q, k, v) = self.project(&normed, ctx)?;
        let positions = self.positions(ctx);
        let table = self.rope.table(length(&positions));
        let q = ops::rotary(&q, &table, &positions)?;
        if cache.keys.is_none()
            && let Some((keys, values)) = self.inserts.key_values()?
        {
            (cache.keys, cache.values) = (Some(keys.unsqueeze(0)?.detach()), Some(values.unsqueeze(0)?.detach()));
        }
        let keys = extend(&mut cache.keys, &ops::rotary(&k, &table, &positions)?)?;
        let values = extend(&mut cache.values, &v)?;
        let end = u32::try_from(keys.dim(1)?).unwrap_or(u32::MAX);
        let spec = self.attention_spec(Arc::new(vec![vec![0, end]]));
        let attended = ops::attention_cached(&q, &keys, &values, &spec)?;
        flow.hidden = self.finish(&flow.hidden, &normed, &attended, ctx)?.detach();
        Ok(flow)
    }

    fn sites(&self) -> Vec<&LinearSite> {
        vec![&self.q, &self.k, &self.v, &self.o, &self.gate, &self.up, &self.down]
    }

    fn sites_mut(&mut self) -> Vec<&mut LinearSite> {
        vec![&mut self.q, &mut self.k, &mut self.v, &mut self.o, &mut self.gate, &mut self.up, &mut self.down]
    }

    fn points(&self) -> (&'static [Point], InsertDims) {
        let Shape { kv_heads, head_dim, .. } = self.shape;
        (POINTS, InsertDims { hidden: self.q.in_features(), kv_heads, head_dim, ..InsertDims::default() })
    }

    fn inserts(&self) -> Option<&Inserts> {
        Some(&self.inserts)
    }

    fn inserts_mut(&mut self) -> Option<&mut Inserts> {
        Some(&mut self.inserts)
    }

    fn params(&self) -> Vec<Param> {
        let own = self.norms().into_iter().filter_map(Norm::param);
        own.chain(self.sites().into_iter().flat_map(LinearSite::params)).chain(self.inserts.params()).collect()
    }

    fn promote(&mut self, select: &dyn Fn(&str) -> bool) -> Result<()> {
        for norm in self.norms_mut() {
            if select(norm.name()) {
                norm.promote()?;
            }
        }
        for site in self.sites_mut() {
            if select(site.name()) {
                site.promote()?;
            }
        }
        Ok(())
    }

    fn settle(&mut self, share: f64) -> Result<()> {
        for norm in self.norms_mut() {
            norm.settle(share)?;
        }
        for site in self.sites_mut() {
            site.settle(share)?;
        }
        Ok(())
    }

    fn set_enabled(&self, enabled: bool) {
        self.norms().into_iter().for_each(|norm| norm.set_enabled(enabled));
        self.sites().into_iter().for_each(|site| site.set_enabled(enabled));
        self.inserts.set_enabled(enabled);
    }

    fn read_weight(&self, name: &str) -> Result<Option<Vec<f32>>> {
        if let Some(norm) = self.norms().into_iter().find(|norm| norm.name() == name) {
            return norm.read().map(Some);
        }
        let Some((site, part)) = name.rsplit_once('.') else { return Ok(None) };
        let Some(site) = self.sites().into_iter().find(|known| known.name() == site) else { return Ok(None) };
        let (weight, bias) = site_values(site)?;
        Ok(match part {
            "weight" => Some(weight),
            "bias" => bias,
            _ => None,
        })
    }

    fn trained_weights(&self) -> Vec<String> {
        let norms = self.norms().into_iter().filter(|norm| norm.is_trained()).map(|norm| norm.name().to_owned());
        let sites = self.sites().into_iter().filter(|site| is_trained(site)).flat_map(|site| {
            let bias = site.has_bias().then(|| format!("{}.bias", site.name()));
            std::iter::once(format!("{}.weight", site.name())).chain(bias)
        });
        norms.chain(sites).collect()
    }
}

fn is_trained(site: &LinearSite) -> bool {
    matches!(site.weight, temper_nn::Weight::Trained { .. })
}

/// Weight and bias of a site itself, adapters not included.
fn site_values(site: &LinearSite) -> Result<(Vec<f32>, Option<Vec<f32>>)> {
    match &site.weight {
        temper_nn::Weight::Frozen(layer) => {
            let bias = layer.bias.as_ref().map(Tensor::to_vec1).transpose()?;
            Ok((layer.weight.to_f32()?.into_owned(), bias))
        }
        temper_nn::Weight::Trained { weight, bias } => {
            let bias = bias.as_ref().map(|bias| bias.to_vec1()).transpose()?;
            Ok((weight.flatten_all()?.to_vec1()?, bias))
        }
    }
}
