//! A block: bidirectional attention and MLP, each behind a norm and beside a residual connection.
//!
//! What methods insert stands at the points of [`temper_nn::insertion`]. Where tokens are merged, which is between the
//! halves, their sizes go into the flow.

use super::VitConfig;
use crate::Result;
use crate::stage::{Flow, Stage};
use crate::vision::parts::{self, Affine, OwnTensor, Parts};
use crate::vision::slots::VisionWeights;
use candle_core::Tensor;
use std::sync::Arc;
use temper_nn::ops::{self, AttentionSpec, Gate};
use temper_nn::{ForwardContext, InsertDims, Inserts, LinearSite, Param, Point};

/// Where something can be inserted into a block; keys and values have no positions here that a prefix could go before.
const POINTS: &[Point] = &[Point::AttnIn, Point::AttnOut, Point::MlpIn, Point::MlpOut, Point::Block];

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
            norm_eps: config.norm_eps,
            activation: config.activation,
            inserts: Inserts::default(),
        })
    }

    fn norm(&self, norm: &Affine, x: &Tensor) -> Result<Tensor> {
        Ok(ops::layer_norm(x, norm.weight.active(), Some(norm.bias.active()), self.norm_eps)?)
    }

    /// Attention of tokens (batch, width, hidden) that stand for `sizes` tokens each.
    fn attend(&self, normed: &Tensor, sizes: Option<&Tensor>, ctx: &ForwardContext) -> Result<Tensor> {
        let (batch, width, hidden) = normed.dims3()?;
        let head_dim = hidden / self.heads;
        let split = |site: &LinearSite| -> Result<Tensor> {
            Ok(site.forward(normed, ctx)?.reshape((batch, width, self.heads, head_dim))?)
        };
        let (q, k, v) = (split(&self.q)?, split(&self.k)?, split(&self.v)?);
        let scale = (head_dim as f32).sqrt().recip();
        let spec = Arc::new(AttentionSpec { causal: false, scale, borders: Arc::clone(&ctx.borders), window: None });
        let attended = match sizes {
            None => ops::attention(&q, &k, &v, &spec)?,
            Some(sizes) => sized_attention(&q, &k, &v, sizes, &spec)?,
        };
        Ok(self.o.forward(&attended.reshape((batch, width, hidden))?, ctx)?)
    }

    fn feed(&self, normed: &Tensor, ctx: &ForwardContext) -> Result<Tensor> {
        let up = self.up.forward(normed, ctx)?;
        let inner = match self.activation {
            Gate::Silu => ops::silu(&up)?,
            Gate::Gelu => ops::gelu(&up)?,
            Gate::GeluTanh => ops::gelu_tanh(&up)?,
        };
        Ok(self.down.forward(&inner, ctx)?)
    }
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
        let width = flow.hidden.dim(1)?;
        // fewer tokens than the image began with: some were merged
        let resized;
        let pass = if width == ctx.width {
            ctx
        } else {
            resized = ctx.resized(width);
            &resized
        };
        let at = |point: Point, value: Tensor, read: &[(Point, &Tensor)]| self.inserts.apply(point, value, read);
        let normed = at(Point::AttnIn, self.norm(&self.attn_norm, &flow.hidden)?, &[])?;
        let added = self.attend(&normed, flow.token_sizes.as_ref(), pass)?;
        let middle = (&flow.hidden + at(Point::AttnOut, added, &[(Point::AttnIn, &normed)])?)?;
        let normed = at(Point::MlpIn, self.norm(&self.mlp_norm, &middle)?, &[])?;
        let added = at(Point::MlpOut, self.feed(&normed, pass)?, &[(Point::MlpIn, &normed)])?;
        flow.hidden = at(Point::Block, (&middle + added)?, &[])?;
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
        (POINTS, InsertDims { hidden: self.q.in_features(), ..InsertDims::default() })
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
