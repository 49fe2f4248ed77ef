//! The llama graph as stages: embedding, blocks, head.
//!
//! Touvron et al. 2023 (arXiv:2302.13971), with grouped-query attention (Ainslie et al. 2023, arXiv:2305.13245). One
//! block: `x += o(attention(rope(q(n)), rope(k(n)), v(n)))` with `n = rms_norm(x)`, then
//! `x += down(silu(gate(m)) * up(m))` with `m = rms_norm(x)`. A family's parts and traits ([`crate::family`]) add to this:
//! norms on the heads and behind each half, another gate, layers that see a window.

mod block;
mod embed;
mod head;

pub use block::BlockStage;
pub use embed::EmbedStage;
pub use head::HeadStage;
