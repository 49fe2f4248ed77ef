//! A block: bidirectional attention and MLP, each behind a norm and beside a residual connection.
//!
//! What methods insert stands at the points of [`temper_nn::insertion`]. Tasks that have something of their own in a block
//! leave the shared stream there and go on beside it, each under its name in the flow. Where tokens are merged, which is between the
//! halves, their sizes go into the flow.

use super::VitConfig;
use crate::stage::{Flow, Stage};
use crate::vision::parts::{self, Affine, OwnTensor, Parts};
use crate::vision::slots::VisionWeights;
use crate::{ModelError, Result};
use candle_core::Tensor;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use temper_nn::insertion::{Attended, TaskPart};
use temper_nn::ops::{self, AttentionSpec, Gate};
use temper_nn::{ForwardContext, InsertDims, Inserts, LinearSite, Param, Point};

/// Where something can be inserted into a block; keys and values have no positions here that a prefix could go before.
const POINTS: &[Point] = &[Point::AttnIn, Point::AttnOut, Point::Between, Point::MlpIn, Point::MlpOut, Point::Block];

/// One block of a vision transformer.
pub(super) struct BlockStage {
    name: String,
    attn_norm: Affine,
    q: LinearSite,
    k: LinearSite,
    v: LinearSite,
    o: LinearSite,
    mlp_norm: Affine,
    up: LinearSite,
    down: LinearSite,
    heads: usize,
    has_class_token: bool,
    norm_eps: f64,
    activation: Gate,
    inserts: Inserts,
}

impl BlockStage {
    pub(super) fn new(config: &VitConfig, layer: usize, weights: &mut VisionWeights) -> Result<Self> {
        let name = format!("layers.{layer}");
        let mut site = |part: &str| weights.site(&format!("{name}.{part}"));
        let (q, k, v, o) = (site("attn.q")?, site("attn.k")?, site("attn.v")?, site("attn.o")?);
        let (up, down) = (site("mlp.up")?, site("mlp.down")?);
        Ok(Self {
            attn_norm: weights.norm(&format!("{name}.attn_norm"))?,
            mlp_norm: weights.norm(&format!("{name}.mlp_norm"))?,
            name,
            q,
            k,
            v,
            o,
            up,
            down,
            heads: config.heads,
            has_class_token: config.has_class_token(),
            norm_eps: config.norm_eps,
            activation: config.activation,
            inserts: Inserts::default(),
        })
    }

    fn norm(&self, norm: &Affine, x: &Tensor) -> Result<Tensor> {
        Ok(ops::layer_norm(x, norm.weight.active(), Some(norm.bias.active()), self.norm_eps)?)
    }

    /// Attention of tokens (batch, width, hidden) that stand for `sizes` tokens each.
    fn attend(&self, normed: &Tensor, sizes: Option<&Tensor>, ctx: &ForwardContext) -> Result<Attention> {
        let (batch, width, hidden) = normed.dims3()?;
        let head_dim = hidden / self.heads;
        let split = |site: &LinearSite| -> Result<Tensor> {
            Ok(site.forward(normed, ctx)?.reshape((batch, width, self.heads, head_dim))?)
        };
        let (q, k, v) = (split(&self.q)?, split(&self.k)?, split(&self.v)?);
        let scale = (head_dim as f32).sqrt().recip();
        let spec = Arc::new(AttentionSpec { causal: false, scale, borders: Arc::clone(&ctx.borders), window: None });
        let mixed = match sizes {
            None => ops::attention(&q, &k, &v, &spec)?,
            Some(sizes) => sized_attention(&q, &k, &v, sizes, &spec)?,
        };
        let mixed = mixed.reshape((batch, width, hidden))?;
        let beside = Attended { q: &q, k: &k, v: &v, scale: f64::from(scale) };
        let added = self.inserts.beside_attention(self.o.forward(&mixed, ctx)?, beside)?;
        Ok(Attention { mixed, added, keys: k })
    }

    fn activate(&self, up: &Tensor) -> Result<Tensor> {
        Ok(match self.activation {
            Gate::Silu => ops::silu(up)?,
            Gate::Gelu => ops::gelu(up)?,
            Gate::GeluTanh => ops::gelu_tanh(up)?,
            Gate::Relu => ops::relu(up)?,
        })
    }

    /// The block over a stream `x` (batch, width, hidden), with what `task` has of its own behind its halves.
    fn pass(&self, x: &Tensor, sizes: Option<&Tensor>, task: Option<&str>, ctx: &ForwardContext) -> Result<Passed> {
        let at = |point: Point, value: Tensor, read: &[(Point, &Tensor)]| -> Result<Tensor> {
            let value = self.inserts.apply(point, value, read)?;
            Ok(match task {
                Some(task) => self.inserts.of_task(point, value, task)?,
                None => value,
            })
        };
        let normed = at(Point::AttnIn, self.norm(&self.attn_norm, x)?, &[])?;
        let whole = for_tokens(ctx, x)?;
        let Attention { mixed, added, keys } = self.attend(&normed, sizes, &whole)?;
        let mut middle = (x + at(Point::AttnOut, added, &[(Point::AttnIn, &normed)])?)?;
        let mut sizes = sizes.cloned();
        if let Some((left, counts)) = self.inserts.merge(&middle, &keys, sizes.as_ref())? {
            (middle, sizes) = (left, Some(counts));
        }
        let ctx = for_tokens(ctx, &middle)?;
        let normed = at(Point::MlpIn, self.norm(&self.mlp_norm, &middle)?, &[])?;
        let inner = self.activate(&self.up.forward(&normed, &ctx)?)?;
        let added = at(Point::MlpOut, self.down.forward(&inner, &ctx)?, &[(Point::MlpIn, &normed)])?;
        let hidden = at(Point::Block, (&middle + added)?, &[])?;
        Ok(Passed { hidden, sizes, mixed, normed, inner })
    }

    /// The stream of a task that changes single layers: it leaves the shared stream `x` in this block, and what the frozen
    /// layers make of the shared one (`shared`) stays below its own changes.
    fn beside_layers(&self, task: &str, x: &Tensor, shared: &Passed, ctx: &ForwardContext) -> Result<Tensor> {
        let with_shared = self.inserts.layers_of_task(task).is_some_and(|layers| layers.with_shared);
        let layer = |part: TaskPart, site: &LinearSite, common: &Tensor, own: &Tensor| -> Result<Tensor> {
            let below = if with_shared { site.forward(common, ctx)? } else { site.forward_weight(common)? };
            Ok(match self.inserts.beside_layer(part, own, task)? {
                Some(change) => (below + change)?,
                None => below,
            })
        };
        let middle = (x + layer(TaskPart::Out, &self.o, &shared.mixed, &shared.mixed)?)?;
        let normed = self.norm(&self.mlp_norm, &middle)?;
        let inner = self.activate(&layer(TaskPart::Up, &self.up, &shared.normed, &normed)?)?;
        Ok((&middle + layer(TaskPart::Down, &self.down, &shared.inner, &inner)?)?)
    }

    /// The streams of tasks after the block: of those that have one already, and of those that leave the shared one here.
    fn sides(
        &self,
        side: BTreeMap<String, Tensor>,
        (x, sizes): (&Tensor, Option<&Tensor>),
        shared: &Passed,
        ctx: &ForwardContext,
    ) -> Result<BTreeMap<String, Tensor>> {
        let own = self.inserts.tasks().into_iter().map(str::to_owned);
        let tasks: BTreeSet<String> = own.chain(side.keys().cloned()).collect();
        if !tasks.is_empty() && self.inserts.pairs() > 0 {
            let what = format!("{}: tokens cannot merge where tasks have paths of their own", self.name);
            return Err(ModelError::Request(what));
        }
        let (whole, mut after) = (for_tokens(ctx, x)?, BTreeMap::new());
        for task in tasks {
            let stream = if self.inserts.layers_of_task(&task).is_some() {
                self.beside_layers(&task, x, shared, &whole)?
            } else {
                self.pass(side.get(&task).unwrap_or(x), sizes, Some(&task), ctx)?.hidden
            };
            after.insert(task, stream);
        }
        Ok(after)
    }
}

/// What an attention made of a stream.
struct Attention {
    /// Values mixed over tokens, before the last layer (batch, width, hidden).
    mixed: Tensor,
    /// What it adds to the stream.
    added: Tensor,
    /// (batch, width, heads, head width).
    keys: Tensor,
}

/// What a block made of a stream, and what went through its layers.
struct Passed {
    hidden: Tensor,
    /// Tokens that each of the tokens left stands for.
    sizes: Option<Tensor>,
    /// Input of the attention's last layer.
    mixed: Tensor,
    /// Input of the MLP.
    normed: Tensor,
    /// Input of the MLP's last layer.
    inner: Tensor,
}

/// The pass over these tokens (batch, width, hidden), which are fewer than an image's when some were merged.
fn for_tokens<'a>(ctx: &'a ForwardContext, tokens: &Tensor) -> Result<Cow<'a, ForwardContext>> {
    let width = tokens.dim(1)?;
    Ok(if width == ctx.width { Cow::Borrowed(ctx) } else { Cow::Owned(ctx.resized(width)) })
}

/// Attention in which a key that stands for n tokens counts n times: log(n) is added to its scores (Bolya et al. 2022,
/// arXiv:2210.09461, proportional attention). One more feature does it: √width in the queries, log(n) in the keys.
fn sized_attention(q: &Tensor, k: &Tensor, v: &Tensor, sizes: &Tensor, spec: &Arc<AttentionSpec>) -> Result<Tensor> {
    let (batch, width, heads, features) = q.dims4()?;
    let one_more = (batch, width, heads, 1);
    let logs = sizes.log()?.reshape((batch, width, 1, 1))?.broadcast_as(one_more)?.contiguous()?;
    let factor = Tensor::full(spec.scale.recip(), one_more, q.device())?;
    let q = Tensor::cat(&[q, &factor], 3)?;
    let k = Tensor::cat(&[k, &logs], 3)?;
    let v = v.pad_with_zeros(3, 0, 1)?;
    Ok(ops::attention(&q, &k, &v, spec)?.narrow(3, 0, features)?.contiguous()?)
}

impl Parts for BlockStage {
    fn linear(&self) -> Vec<&LinearSite> {
        vec![&self.q, &self.k, &self.v, &self.o, &self.up, &self.down]
    }

    fn linear_mut(&mut self) -> Vec<&mut LinearSite> {
        vec![&mut self.q, &mut self.k, &mut self.v, &mut self.o, &mut self.up, &mut self.down]
    }

    fn own(&self) -> Vec<&OwnTensor> {
        self.attn_norm.both().into_iter().chain(self.mlp_norm.both()).collect()
    }

    fn own_mut(&mut self) -> Vec<&mut OwnTensor> {
        self.attn_norm.both_mut().into_iter().chain(self.mlp_norm.both_mut()).collect()
    }
}

impl Stage for BlockStage {
    fn name(&self) -> &str {
        &self.name
    }

    fn forward(&self, mut flow: Flow, ctx: &ForwardContext) -> Result<Flow> {
        if let Some(instead) = self.inserts.instead(&flow.hidden)? {
            flow.hidden = instead;
            return Ok(flow);
        }
        let sizes = flow.token_sizes.take();
        let shared = self.pass(&flow.hidden, sizes.as_ref(), None, ctx)?;
        flow.side = self.sides(flow.side, (&flow.hidden, sizes.as_ref()), &shared, ctx)?;
        (flow.hidden, flow.token_sizes) = (shared.hidden, shared.sizes);
        if ctx.training {
            for site in self.linear() {
                flow.add_loss(site.extra_loss()?)?;
            }
        }
        Ok(flow)
    }

    fn sites(&self) -> Vec<&LinearSite> {
        self.linear()
    }

    fn sites_mut(&mut self) -> Vec<&mut LinearSite> {
        self.linear_mut()
    }

    fn points(&self) -> (&'static [Point], InsertDims) {
        let hidden = self.q.in_features();
        let (kv_heads, head_dim) = (self.heads, hidden / self.heads);
        let protected = usize::from(self.has_class_token);
        (POINTS, InsertDims { hidden, kv_heads, head_dim, open: true, protected, inner: self.up.out_features() })
    }

    fn inserts(&self) -> Option<&Inserts> {
        Some(&self.inserts)
    }

    fn inserts_mut(&mut self) -> Option<&mut Inserts> {
        Some(&mut self.inserts)
    }

    fn params(&self) -> Vec<Param> {
        parts::params(self).into_iter().chain(self.inserts.params()).collect()
    }

    fn promote(&mut self, select: &dyn Fn(&str) -> bool) -> Result<()> {
        parts::promote(self, select)
    }

    fn set_enabled(&self, enabled: bool) {
        parts::set_enabled(self, enabled);
        self.inserts.set_enabled(enabled);
    }

    fn read_weight(&self, name: &str) -> Result<Option<Vec<f32>>> {
        parts::read_weight(self, name)
    }

    fn trained_weights(&self) -> Vec<String> {
        parts::trained_weights(self)
    }
}
