//! What methods put at named points of a stage: bottlenecks, prefixes, prompts, couplings.
//!
//! Place in the data flow: a method's plan lists [`Insertion`]s, values without tensors; a model gives each to the
//! stage that it names, whose [`Inserts`] builds and runs it. What is a map of one linear layer is no insertion but a
//! set of [`crate::slots`].
//!
//! The points of a block, in the order of its graph. With x the stream, n₁ and n₂ its norms:
//!
//! ```text
//! attn_in = n₁(x)    attn_kv: keys and values of attn_in    attn_out = what the attention adds    h = x + attn_out
//! mlp_in  = n₂(h)                                           mlp_out  = what the MLP adds          block = h + mlp_out
//! ```
//!
//! Before the blocks stands `embed_out`, the embeddings; after them `head_in`, the normed states that the head reads.

mod bottleneck;
mod coupling;
mod inserts;
mod key_values;
mod prompt;
mod spread;
#[cfg(test)]
mod tests;

pub use inserts::{At, FoldedInsert, Inserts, Vocabulary};
pub use spread::Spread;

use crate::slots::Init;
use serde::{Deserialize, Serialize};

/// A place in a stage where something can be inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// The embeddings of the tokens.
    EmbedOut,
    /// The normed input of the attention.
    AttnIn,
    /// Keys and values of the attention.
    AttnKv,
    /// What the attention adds to the stream.
    AttnOut,
    /// The normed input of the MLP.
    MlpIn,
    /// What the MLP adds to the stream.
    MlpOut,
    /// The stream after the block.
    Block,
    /// The normed states that the head reads.
    HeadIn,
}

impl Point {
    /// Its name, as in names of parameters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EmbedOut => "embed_out",
            Self::AttnIn => "attn_in",
            Self::AttnKv => "attn_kv",
            Self::AttnOut => "attn_out",
            Self::MlpIn => "mlp_in",
            Self::MlpOut => "mlp_out",
            Self::Block => "block",
            Self::HeadIn => "head_in",
        }
    }
}

/// Something at a point of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Insertion {
    /// Name of the stage: `embed`, `layers.3`, `head`.
    pub stage: String,
    /// What is put there.
    pub what: Insert,
}

/// What can be inserted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Insert {
    /// A narrow two-layer net beside or behind something.
    Bottleneck(Bottleneck),
    /// Trained keys and values before those of every segment.
    Prefix(Prefix),
    /// Trained rows before the embeddings of every segment.
    Prompt(Prompt),
    /// An invertible map of the embeddings, or its inverse.
    Coupling(Coupling),
}

/// `Δ = scale · (act(x W_dᵀ + b_d) W_uᵀ + b_u)`, added at one point and read at the same or another one (He et al. 2021,
/// "Towards a Unified View of Parameter-Efficient Transfer Learning"). Read where it is added it is sequential, read at
/// the entry of the half it is parallel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bottleneck {
    /// Where x is taken.
    pub reads: Point,
    /// Where Δ is added.
    pub adds: Point,
    /// Features between the two layers.
    pub width: usize,
    /// The function between them.
    pub activation: Activation,
    /// Factor on the result.
    pub scale: f64,
    /// First values.
    pub start: BottleneckStart,
    /// Whether the layers have biases.
    pub bias: bool,
    /// Which of its layers all stages have in common.
    pub share: Share,
}

/// First values of a bottleneck; its biases are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BottleneckStart {
    /// W_d uniform in ±1/√in, W_u zero: no change at the start, as LoRA's.
    ZeroUp,
    /// Both normal with standard deviation 0.02: close to no change.
    Normal,
}

/// Which layers of a bottleneck are one set of numbers for all stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// None: each stage has its own.
    None,
    /// The first.
    Down,
    /// The second.
    Up,
    /// Both.
    Both,
}

impl Share {
    pub(crate) fn down(self) -> bool {
        matches!(self, Self::Down | Self::Both)
    }

    pub(crate) fn up(self) -> bool {
        matches!(self, Self::Up | Self::Both)
    }
}

/// The function inside a bottleneck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(0, x).
    Relu,
    /// x Φ(x).
    Gelu,
    /// x σ(x).
    Silu,
}

/// Trained keys and values of an attention, (length, kv heads, head width) each; keys as they stand after rotation. The
/// tokens of a segment take the positions from `length` on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prefix {
    /// How many.
    pub length: usize,
    /// Width of the hidden layer of the net that makes them, tanh(E W₁ᵀ + b₁) W₂ᵀ + b₂ with E and W₁ shared by all
    /// stages (Li and Liang 2021, "Prefix-Tuning"); none when they are trained themselves.
    pub through: Option<usize>,
}

/// Trained rows before the embeddings of every segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    /// How many.
    pub length: usize,
    /// First values.
    pub start: PromptStart,
}

/// First values of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptStart {
    /// Embeddings of tokens drawn at random.
    Vocabulary,
    /// Normal with standard deviation 0.02.
    Normal,
}

/// An additive coupling of the two halves of the features: y₁ = x₁ + F(x₂), y₂ = x₂ + G(y₁), with F and G two-layer nets
/// whose last layer is zero at the start (Dinh et al. 2015, "NICE"; Pfeiffer et al. 2020, "MAD-X").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Coupling {
    /// Features inside F and G.
    pub width: usize,
    /// Function inside F and G.
    pub activation: Activation,
    /// The inverse, x₂ = y₂ − G(y₁), x₁ = y₁ − F(x₂), with the same F and G.
    pub inverse: bool,
}

/// Sizes of the stage that something is inserted into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InsertDims {
    /// Features of the stream.
    pub hidden: usize,
    /// Key heads; 0 where there is no attention.
    pub kv_heads: usize,
    /// Features of a head.
    pub head_dim: usize,
}

impl Insert {
    /// Where it acts.
    #[must_use]
    pub fn point(&self) -> Point {
        match self {
            Self::Bottleneck(bottleneck) => bottleneck.adds,
            Self::Prefix(_) => Point::AttnKv,
            Self::Prompt(_) => Point::EmbedOut,
            Self::Coupling(coupling) if coupling.inverse => Point::HeadIn,
            Self::Coupling(_) => Point::EmbedOut,
        }
    }

    /// Whether the model is unchanged as long as nothing was trained: to the bit, as what is added is zero.
    #[must_use]
    pub fn starts_as_nothing(&self) -> bool {
        match self {
            Self::Bottleneck(bottleneck) => bottleneck.start == BottleneckStart::ZeroUp,
            Self::Coupling(_) => true,
            Self::Prefix(_) | Self::Prompt(_) => false,
        }
    }
}

impl BottleneckStart {
    fn layers(self) -> (Init, Init) {
        match self {
            Self::ZeroUp => (Init::KaimingUniform, Init::Zeros),
            Self::Normal => (Init::Gaussian { std: 0.02 }, Init::Gaussian { std: 0.02 }),
        }
    }
}
