//! A smoothing of the attention's graph by differences of features: the p-Laplacian beside an attention.
//!
//! Per head, over tokens i and j with attention A (rows sum to 1) and nodes F = [q v] W_nᵀ + b_n (tokens, width):
//!
//! ```text
//! w_ij = ‖√(A_ij + ε) (F_i − F_j) + ε‖^(p−2)      Ã = A ∘ w      α_i = 1 / (Σ_j Ã_ij + 2μ/p)      β_i = 2 μ α_i / p
//! message = α Ã F + β F      h ← h + (GELU(h W_gᵀ + b_g) ∘ message) W_uᵀ + b_u      μ = 2 μ₀ + μ₀ tanh θ
//! ```
//!
//! A token's difference to itself is zero, so that at p < 2 its own edge outweighs all others by orders of magnitude:
//! unless `own_edge` asks for the literal formula, edges to oneself are left out.

use super::inserts::At;
use super::{Laplacian, Point};
use crate::Result;
use crate::ops::{self, linear_trained};
use crate::param::{Param, Role};
use crate::slots::Init;
use candle_core::{D, Device, Tensor};

/// Added under roots and to differences.
const EPSILON: f64 = 1e-8;

/// A p-Laplacian with its values.
pub(super) struct HeldLaplacian {
    pub(super) what: Laplacian,
    /// Features of a node.
    width: usize,
    /// (width, 2 · head width).
    nodes: Param,
    nodes_bias: Param,
    /// (heads · width, hidden).
    gate: Param,
    gate_bias: Param,
    /// (hidden, heads · width).
    up: Param,
    up_bias: Param,
    /// The exponent, (1).
    p: Param,
    /// Strength of the token itself, (1).
    theta: Param,
}

/// Queries, keys and values (B, T, H, Dh) of an attention, and what its scores are multiplied with.
#[derive(Clone, Copy)]
pub struct Attended<'a> {
    /// Queries.
    pub q: &'a Tensor,
    /// Keys.
    pub k: &'a Tensor,
    /// Values.
    pub v: &'a Tensor,
    /// Factor on the scores.
    pub scale: f64,
}

impl HeldLaplacian {
    pub(super) fn build(what: &Laplacian, at: &mut At<'_>) -> Result<Self> {
        let (hidden, heads, features) = (at.dims.hidden, at.dims.kv_heads, at.dims.head_dim);
        let width = (features / what.reduction.max(1)).max(1);
        let inner = heads * width;
        let layer = Init::KaimingUniform;
        let wanted: [(&str, Vec<usize>, Init, Role); 8] = [
            ("nodes", vec![width, 2 * features], layer, Role::FactorA),
            ("nodes_bias", vec![width], Init::Zeros, Role::Bias),
            ("gate", vec![inner, hidden], layer, Role::FactorA),
            ("gate_bias", vec![inner], Init::Ones, Role::Bias),
            ("up", vec![hidden, inner], Init::Zeros, Role::FactorB),
            ("up_bias", vec![hidden], Init::Zeros, Role::Bias),
            ("p", vec![1], Init::Constant(what.p), Role::Bias),
            ("theta", vec![1], Init::Zeros, Role::Bias),
        ];
        let params = wanted.map(|(part, shape, init, role)| {
            let place = at.place(Point::AttnOut, part, false);
            at.param(&place, &shape, init, role)
        });
        let [nodes, nodes_bias, gate, gate_bias, up, up_bias, p, theta] = params;
        Ok(Self {
            what: what.clone(),
            width,
            nodes: nodes?,
            nodes_bias: nodes_bias?,
            gate: gate?,
            gate_bias: gate_bias?,
            up: up?,
            up_bias: up_bias?,
            p: p?,
            theta: theta?,
        })
    }

    /// `h` (B, T, hidden), which the attention adds, with the smoothing added to it.
    pub(super) fn add(&self, h: &Tensor, attended: Attended<'_>) -> Result<Tensor> {
        let (batch, tokens, heads, _) = attended.q.dims4()?;
        let message = self.message(attended)?.transpose(1, 2)?.contiguous()?;
        let message = message.reshape((batch, tokens, heads * self.width))?;
        let gate = ops::gelu(&linear_trained(h, &self.gate.var, Some(self.gate_bias.var.as_tensor()))?)?;
        let change = linear_trained(&(gate * message)?, &self.up.var, Some(self.up_bias.var.as_tensor()))?;
        super::bottleneck::plus(h, &change)
    }

    /// Attention (B, H, T, T) and nodes (B, H, T, width).
    fn graph(&self, attended: Attended<'_>) -> Result<(Tensor, Tensor)> {
        let by_head = |x: &Tensor| x.transpose(1, 2)?.contiguous();
        let (q, k, v) = (by_head(attended.q)?, by_head(attended.k)?, by_head(attended.v)?);
        let scores = q.matmul(&k.transpose(2, 3)?.contiguous()?)?.affine(attended.scale, 0.0)?;
        let both = Tensor::cat(&[&q, &v], D::Minus1)?;
        let nodes = linear_trained(&both, &self.nodes.var, Some(self.nodes_bias.var.as_tensor()))?;
        Ok((ops::softmax(&scores)?, nodes))
    }

    /// Messages (B, H, T, width).
    pub(super) fn message(&self, attended: Attended<'_>) -> Result<Tensor> {
        let (weights, nodes) = self.graph(attended)?;
        let edges = self.edges(&weights, &nodes)?;
        let p = self.p.var.as_tensor();
        let mu = self.theta.var.tanh()?.affine(self.what.mu, 2.0 * self.what.mu)?;
        let own = (mu.affine(2.0, 0.0)? / p)?;
        let alpha = edges.sum_keepdim(D::Minus1)?.broadcast_add(&own)?.recip()?;
        let smoothed = alpha.broadcast_mul(&edges.matmul(&nodes)?)?;
        let kept = alpha.broadcast_mul(&own)?.broadcast_mul(&nodes)?;
        Ok((smoothed + kept)?)
    }

    /// Attention weighed by differences, Ã (B, H, T, T).
    fn edges(&self, weights: &Tensor, nodes: &Tensor) -> Result<Tensor> {
        let tokens = weights.dim(D::Minus1)?;
        let others: Vec<f32> =
            (0..tokens * tokens).map(|at| if at / tokens == at % tokens { 0.0 } else { 1.0 }).collect();
        let others = Tensor::from_vec(others, (1, 1, tokens, tokens), &Device::Cpu)?.to_device(weights.device())?;
        let differences = nodes.unsqueeze(3)?.broadcast_sub(&nodes.unsqueeze(2)?)?;
        // A token's difference to itself is zero whatever its node is. Without the mask the slope there, some 1e9, would
        // be added to and taken from the same sums and leave nothing of the others in f32.
        let differences = differences.broadcast_mul(&others.unsqueeze(4)?)?;
        let roots = weights.affine(1.0, EPSILON)?.sqrt()?.unsqueeze(4)?;
        let lengths = differences.broadcast_mul(&roots)?.affine(1.0, EPSILON)?.sqr()?.sum(4)?.sqrt()?;
        let power = self.p.var.affine(1.0, -2.0)?;
        let edges = (lengths.log()?.broadcast_mul(&power)?.exp()? * weights)?;
        if self.what.own_edge { Ok(edges) } else { Ok(edges.broadcast_mul(&others)?) }
    }

    /// Share of each token's message that comes from itself, (B, H, T): what the literal formula lets go to 1.
    #[cfg(test)]
    pub(super) fn own_share(&self, attended: Attended<'_>) -> Result<Tensor> {
        let (weights, nodes) = self.graph(attended)?;
        let edges = self.edges(&weights, &nodes)?;
        let tokens = edges.dim(D::Minus1)?;
        let own: Vec<f32> = (0..tokens * tokens).map(|at| if at / tokens == at % tokens { 1.0 } else { 0.0 }).collect();
        let own = Tensor::from_vec(own, (1, 1, tokens, tokens), &Device::Cpu)?;
        Ok((edges.broadcast_mul(&own)?.sum(3)? / edges.sum(3)?)?)
    }

    pub(super) fn params(&self) -> [&Param; 8] {
        let Self { nodes, nodes_bias, gate, gate_bias, up, up_bias, p, theta, .. } = self;
        [nodes, nodes_bias, gate, gate_bias, up, up_bias, p, theta]
    }
}
