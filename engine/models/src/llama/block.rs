//! A block: attention and gated MLP, each behind a norm and beside a residual connection.

use crate::names::Slot;
use crate::own::Norm;
use crate::rope::RopeTables;
use crate::stage::{Flow, Stage, StageCache};
use crate::weights::Weights;
use crate::{LlamaConfig, ModelError, Result};
use candle_core::Tensor;
use std::sync::Arc;
use temper_nn::fused::{AttentionHalf, FusedBlock, MlpHalf};
use temper_nn::ops::{self, AttentionSpec};
use temper_nn::{ForwardContext, FrozenLinear, LinearSite, Param};

/// One block of the llama graph.
pub struct BlockStage {
    name: String,
    attn_norm: Norm,
    q: LinearSite,
    k: LinearSite,
    v: LinearSite,
    o: LinearSite,
    mlp_norm: Norm,
    gate: LinearSite,
    up: LinearSite,
    down: LinearSite,
    shape: Shape,
    rope: Arc<RopeTables>,
}

#[derive(Clone, Copy)]
struct Shape {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    rms_eps: f64,
    window: Option<usize>,
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
            Ok(LinearSite::new(site, FrozenLinear { weight, bias }))
        };
        let (q, k, v, o) = (site("attn.q")?, site("attn.k")?, site("attn.v")?, site("attn.o")?);
        let (gate, up, down) = (site("mlp.gate")?, site("mlp.up")?, site("mlp.down")?);
        let mut norm = |part: &str| Ok::<_, ModelError>(Norm::new(full(part), weights.vector(&full(part))?));
        let (attn_norm, mlp_norm) = (norm("attn_norm")?, norm("mlp_norm")?);
        let shape = Shape {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            rms_eps: config.rms_eps,
            window: config.sliding_window,
        };
        Ok(Self { name, attn_norm, q, k, v, o, mlp_norm, gate, up, down, shape, rope: Arc::clone(rope) })
    }

    fn attention_spec(&self, borders: Arc<Vec<Vec<u32>>>) -> AttentionSpec {
        let scale = (self.shape.head_dim as f32).sqrt().recip();
        AttentionSpec { causal: true, scale, borders, window: self.shape.window }
    }

    /// Queries (.., heads, width), keys and values (.., kv heads, width) of normed hidden states, not yet rotated.
    fn project(&self, normed: &Tensor, ctx: &ForwardContext) -> Result<(Tensor, Tensor, Tensor)> {
        let Shape { heads, kv_heads, head_dim, .. } = self.shape;
        let split = |site: &LinearSite, heads: usize| -> Result<Tensor> {
            Ok(site.forward(normed, ctx)?.reshape((ctx.batch, ctx.width, heads, head_dim))?)
        };
        Ok((split(&self.q, heads)?, split(&self.k, kv_heads)?, split(&self.v, kv_heads)?))
    }

    /// Output projection and gated MLP around their residual connections.
    fn finish(&self, input: &Tensor, attended: &Tensor, ctx: &ForwardContext) -> Result<Tensor> {
        let width = self.shape.heads * self.shape.head_dim;
        let joined = attended.reshape((ctx.batch, ctx.width, width))?;
        let middle = (input + self.o.forward(&joined, ctx)?)?;
        let normed = ops::rms_norm(&middle, self.mlp_norm.weight(), self.shape.rms_eps)?;
        let gated = ops::gated_silu(&self.gate.forward(&normed, ctx)?, &self.up.forward(&normed, ctx)?)?;
        Ok((middle + self.down.forward(&gated, ctx)?)?)
    }

    fn norms(&self) -> [&Norm; 2] {
        [&self.attn_norm, &self.mlp_norm]
    }
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
        let normed = ops::rms_norm(&flow.hidden, self.attn_norm.weight(), self.shape.rms_eps)?;
        let (q, k, v) = self.project(&normed, ctx)?;
        let table = self.rope.table(length(&ctx.positions));
        let q = ops::rotary(&q, &table, &ctx.positions)?;
        let k = ops::rotary(&k, &table, &ctx.positions)?;
        let spec = Arc::new(self.attention_spec(Arc::clone(&ctx.borders)));
        let attended = ops::attention(&q, &k, &v, &spec)?;
        flow.hidden = self.finish(&flow.hidden, &attended, ctx)?;
        if ctx.training {
            for site in self.sites() {
                flow.add_loss(site.extra_loss()?)?;
            }
        }
        Ok(flow)
    }

    fn fused(&self, ctx: &ForwardContext) -> Result<Option<FusedBlock>> {
        let site = |site: &LinearSite| site.fused(ctx);
        let (Some(q), Some(k), Some(v), Some(o)) = (site(&self.q)?, site(&self.k)?, site(&self.v)?, site(&self.o)?)
        else {
            return Ok(None);
        };
        let (Some(gate), Some(up), Some(down)) = (site(&self.gate)?, site(&self.up)?, site(&self.down)?) else {
            return Ok(None);
        };
        let Shape { heads, kv_heads, head_dim, rms_eps, .. } = self.shape;
        let norm = |norm: &Norm| norm.fused(rms_eps);
        let longest = length(&ctx.positions);
        let table = self.rope.table(longest);
        let attention = AttentionHalf {
            norm: norm(&self.attn_norm)?,
            q,
            k,
            v,
            o,
            table: table.up_to(longest),
            pairs: table.half(),
            spec: self.attention_spec(Arc::clone(&ctx.borders)),
            batch: ctx.batch,
            heads,
            kv_heads,
            features: head_dim,
        };
        let mlp = MlpHalf { norm: norm(&self.mlp_norm)?, gate, up, down, activation: ops::Gate::Silu };
        Ok(Some(FusedBlock { attention, mlp }))
    }

    fn forward_cached(&self, mut flow: Flow, ctx: &ForwardContext, cache: &mut StageCache) -> Result<Flow> {
        if ctx.batch != 1 {
            return Err(ModelError::Request(format!("a cache holds one text, the batch has {}", ctx.batch)));
        }
        let normed = ops::rms_norm(&flow.hidden, self.attn_norm.weight(), self.shape.rms_eps)?;
        let (q, k, v) = self.project(&normed, ctx)?;
        let table = self.rope.table(length(&ctx.positions));
        let q = ops::rotary(&q, &table, &ctx.positions)?;
        let keys = extend(&mut cache.keys, &ops::rotary(&k, &table, &ctx.positions)?)?;
        let values = extend(&mut cache.values, &v)?;
        let end = u32::try_from(keys.dim(1)?).unwrap_or(u32::MAX);
        let spec = self.attention_spec(Arc::new(vec![vec![0, end]]));
        let attended = ops::attention_cached(&q, &keys, &values, &spec)?;
        flow.hidden = self.finish(&flow.hidden, &attended, ctx)?.detach();
        Ok(flow)
    }

    fn sites(&self) -> Vec<&LinearSite> {
        vec![&self.q, &self.k, &self.v, &self.o, &self.gate, &self.up, &self.down]
    }

    fn sites_mut(&mut self) -> Vec<&mut LinearSite> {
        vec![&mut self.q, &mut self.k, &mut self.v, &mut self.o, &mut self.gate, &mut self.up, &mut self.down]
    }

    fn params(&self) -> Vec<Param> {
        let own = self.norms().into_iter().filter_map(Norm::param);
        own.chain(self.sites().into_iter().flat_map(LinearSite::params)).collect()
    }

    fn promote(&mut self, select: &dyn Fn(&str) -> bool) -> Result<()> {
        for norm in [&mut self.attn_norm, &mut self.mlp_norm] {
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

    fn set_enabled(&self, enabled: bool) {
        self.norms().into_iter().for_each(|norm| norm.set_enabled(enabled));
        self.sites().into_iter().for_each(|site| site.set_enabled(enabled));
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
