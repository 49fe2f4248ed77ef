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
//! `between` is h itself, where tokens of an encoder can merge.
//!
//! Before the blocks stands `embed_out`, the embeddings; after them `head_in`, the normed states that the head reads.

mod bottleneck;
mod branch;
mod coupling;
mod inserts;
mod key_values;
mod laplacian;
mod merge;
mod prompt;
mod skip;
mod spread;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_encoder;
#[cfg(test)]
mod tests_fused;
#[cfg(test)]
mod tests_task;

pub use inserts::{At, FoldedInsert, FusedInserts, Inserts, Vocabulary};
pub use laplacian::Attended;
pub use merge::most_pairs;
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
    /// The stream between attention and MLP.
    Between,
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
            Self::Between => "between",
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
    /// Messages over the attention's graph, added to what the attention adds.
    Laplacian(Laplacian),
    /// Fewer tokens from here on: pairs of them become one.
    Merge(Merge),
    /// The whole block left out, with a small net in its place.
    Skip(Skip),
    /// What single tasks have of their own.
    Branch(Branch),
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

/// A smoothing over the attention's graph whose edges are weighed by differences of features (Wu et al. 2024,
/// "p-Laplacian Adaptation"). The exponent is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Laplacian {
    /// How much narrower a node is than a head.
    pub reduction: usize,
    /// First value of the exponent.
    pub p: f64,
    /// Weight of a token's own node, μ₀.
    pub mu: f64,
    /// Whether a token has an edge to itself.
    pub own_edge: bool,
}

/// Pairs of tokens that become one, behind gates that are trained if there are any (Xiong et al. 2024, "PYRA").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Merge {
    /// How many pairs of an image.
    pub pairs: usize,
    /// Whether the tokens that merge into others are changed by gates before.
    pub gates: bool,
}

/// A block that can be left out, `h + relu(LN(h) W_dᵀ + b_d) W_uᵀ + b_u` in its place (Wu et al. 2023, "DAS").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Skip {
    /// Features inside the net.
    pub width: usize,
    /// Whether the block is left out; while a search runs, now.
    pub skipped: bool,
    /// How blocks to leave out are found; none where it is settled.
    pub search: Option<SkipSearch>,
}

/// How the blocks to leave out are found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SkipSearch {
    /// How many.
    pub count: usize,
    /// Steps between two comparisons.
    pub every: u64,
    /// Subsets that are compared at a time.
    pub subsets: usize,
    /// Share of the steps after which comparisons begin.
    pub from: f64,
    /// Share of the steps after which the choice is final.
    pub until: f64,
}

/// What some tasks have of their own in a stage: each of them gets a path of its own from there on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Branch {
    /// Names of the tasks, as those of the heads; the empty name is the model's own.
    pub tasks: Vec<String>,
    /// What each has.
    pub what: Branched,
}

/// What a task has of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Branched {
    /// A bottleneck behind a half of the block.
    Bottleneck(TaskBottleneck),
    /// Changes of low rank beside the attention's last layer and both of the MLP.
    LowRank(TaskLowRank),
}

/// Sequential bottlenecks of tasks, `h + scale · (act(h D_tᵀ + b_d) U_tᵀ + b_u)`; U_t starts at zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskBottleneck {
    /// Where they read and add.
    pub adds: Point,
    /// Features between the two layers.
    pub width: usize,
    /// The function between them.
    pub activation: Activation,
    /// Factor on the result.
    pub scale: f64,
    /// Whether the layers have biases; generated ones have none.
    pub bias: bool,
    /// Which of the layers the tasks have in common (Sung et al. 2022, "VL-Adapter").
    pub share: Share,
    /// What makes the layers out of a vector for each task; none when they are trained themselves.
    pub generated: Option<Generated>,
}

/// `S ⊗ (L(v) R(v))` with v a vector for each task, L and R linear in it and the same in all blocks, S (copies, copies) of
/// each block (Liu et al. 2022, "Polyhistor").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generated {
    /// Numbers in v.
    pub task_width: usize,
    /// Columns of L(v).
    pub rank: usize,
    /// Side of S; divides both sides of the layers.
    pub copies: usize,
}

/// `y_t = W x + scale · B_t A_t x_t` beside three layers of the block, B_t zero at the start (Agiza et al. 2024, "MTLoRA").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskLowRank {
    /// Rank.
    pub rank: usize,
    /// Factor.
    pub scale: f64,
    /// Whether a task's output has what adapters that all tasks share change of the layer.
    pub with_shared: bool,
}

/// A layer that a task changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskPart {
    /// The last layer of the attention.
    Out,
    /// The first of the MLP.
    Up,
    /// The second of the MLP.
    Down,
}

impl TaskPart {
    /// All, in the order of the graph.
    pub const ALL: [Self; 3] = [Self::Out, Self::Up, Self::Down];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
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
    /// Whether its attention sees every token and hands out its queries, keys and values.
    pub open: bool,
    /// Tokens at the beginning that stand for something by their place, such as a class token.
    pub protected: usize,
    /// Features inside the MLP; 0 where there is none.
    pub inner: usize,
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
            Self::Laplacian(_) => Point::AttnOut,
            Self::Merge(_) => Point::Between,
            Self::Skip(_) => Point::Block,
            Self::Branch(Branch { what: Branched::Bottleneck(bottleneck), .. }) => bottleneck.adds,
            Self::Branch(_) => Point::Block,
        }
    }

    /// Whether the model is unchanged as long as nothing was trained: to the bit, as what is added is zero.
    #[must_use]
    pub fn starts_as_nothing(&self) -> bool {
        match self {
            Self::Bottleneck(bottleneck) => bottleneck.start == BottleneckStart::ZeroUp,
            Self::Coupling(_) | Self::Laplacian(_) | Self::Branch(_) => true,
            Self::Skip(skip) => !skip.skipped,
            Self::Prefix(_) | Self::Prompt(_) | Self::Merge(_) => false,
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
