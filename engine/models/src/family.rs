//! Families of models as data: which files they come in, what their tensors are called and what shape they have.
//!
//! A family that runs through an existing graph is a new table and nothing else.

use crate::config::LlamaConfig;
use std::sync::Arc;

/// A family: one graph, its names in Hugging Face folders and GGUF files, and the defaults of its configuration.
#[derive(Debug)]
pub struct Family {
    /// Name here and in `inspect`.
    pub id: &'static str,
    /// Class in `architectures` of config.json.
    pub hf_class: &'static str,
    /// `model_type` of config.json.
    pub hf_model_type: &'static str,
    /// Names in `general.architecture` of a GGUF file. The first family that lists a name reads it.
    pub gguf_architectures: &'static [&'static str],
    /// Tensors outside the blocks and inside one, `{}` standing for the number of the block.
    pub parts: &'static [Part],
    /// Whether the configuration knows a sliding window.
    pub has_sliding_window: bool,
    /// What an absent setting of config.json means.
    pub defaults: Defaults,
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// What an absent setting of config.json means, as in the class of transformers.
#[derive(Debug)]
pub struct Defaults {
    /// `max_position_embeddings`.
    pub context: usize,
    /// `num_key_value_heads`; none: as many as query heads.
    pub kv_heads: Option<usize>,
    /// `rms_norm_eps`.
    pub rms_eps: f64,
    /// `sliding_window`.
    pub sliding_window: Option<usize>,
    /// `rope_theta`.
    pub rope_theta: f64,
}

/// A size that the configuration gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dim {
    /// Vocabulary entries.
    Vocabulary,
    /// Width of the hidden states.
    Hidden,
    /// Width inside the gated MLP.
    Intermediate,
    /// Width of all query heads.
    Query,
    /// Width of all key (or value) heads.
    KeyValue,
}

impl Dim {
    /// Its value.
    #[must_use]
    pub fn size(self, config: &LlamaConfig) -> usize {
        match self {
            Self::Vocabulary => config.vocab_size,
            Self::Hidden => config.hidden_size,
            Self::Intermediate => config.intermediate_size,
            Self::Query => config.query_width(),
            Self::KeyValue => config.kv_width(),
        }
    }
}

/// What a part does in the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// Token embedding (vocabulary, hidden).
    Embedding,
    /// RMS norm (width).
    Norm,
    /// Linear layer (out, in): a site that methods can change.
    Linear,
    /// Output head (vocabulary, hidden); absent when tied.
    Head,
}

/// When a linear part has a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// Never.
    Never,
    /// With the configuration's attention bias.
    Attention,
    /// With the configuration's MLP bias.
    Mlp,
}

/// How a GGUF file orders the rows of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// As everywhere.
    Same,
    /// Rotary pairs of each query head side by side.
    QueryPairs,
    /// Rotary pairs of each key head side by side.
    KeyPairs,
}

/// A tensor (or weight and bias) of the graph.
#[derive(Debug)]
pub struct Part {
    /// Name here, such as `layers.{}.attn.q`.
    pub name: &'static str,
    /// Module path in a Hugging Face folder.
    pub hf: &'static str,
    /// Name in a GGUF file, without `.weight`.
    pub gguf: &'static str,
    /// What it does.
    pub kind: PartKind,
    /// Shape, slowest dimension first; norms have one dimension.
    pub shape: (Dim, Option<Dim>),
    /// When it has a bias.
    pub bias: Bias,
    /// Order of its rows in a GGUF file.
    pub gguf_rows: RowOrder,
}

const fn part(name: &'static str, hf: &'static str, gguf: &'static str, kind: PartKind) -> Part {
    let shape = match kind {
        PartKind::Norm => (Dim::Hidden, None),
        _ => (Dim::Vocabulary, Some(Dim::Hidden)),
    };
    Part { name, hf, gguf, kind, shape, bias: Bias::Never, gguf_rows: RowOrder::Same }
}

const fn linear(
    name: &'static str,
    hf: &'static str,
    gguf: &'static str,
    shape: (Dim, Dim),
    bias: Bias,
    gguf_rows: RowOrder,
) -> Part {
    Part { name, hf, gguf, kind: PartKind::Linear, shape: (shape.0, Some(shape.1)), bias, gguf_rows }
}

/// Names of the llama graph, in the order in which a new file is written.
const LLAMA_PARTS: &[Part] = &[
    part("embed", "model.embed_tokens", "token_embd", PartKind::Embedding),
    part("layers.{}.attn_norm", "model.layers.{}.input_layernorm", "blk.{}.attn_norm", PartKind::Norm),
    linear(
        "layers.{}.attn.q",
        "model.layers.{}.self_attn.q_proj",
        "blk.{}.attn_q",
        (Dim::Query, Dim::Hidden),
        Bias::Attention,
        RowOrder::QueryPairs,
    ),
    linear(
        "layers.{}.attn.k",
        "model.layers.{}.self_attn.k_proj",
        "blk.{}.attn_k",
        (Dim::KeyValue, Dim::Hidden),
        Bias::Attention,
        RowOrder::KeyPairs,
    ),
    linear(
        "layers.{}.attn.v",
        "model.layers.{}.self_attn.v_proj",
        "blk.{}.attn_v",
        (Dim::KeyValue, Dim::Hidden),
        Bias::Attention,
        RowOrder::Same,
    ),
    linear(
        "layers.{}.attn.o",
        "model.layers.{}.self_attn.o_proj",
        "blk.{}.attn_output",
        (Dim::Hidden, Dim::Query),
        Bias::Attention,
        RowOrder::Same,
    ),
    part("layers.{}.mlp_norm", "model.layers.{}.post_attention_layernorm", "blk.{}.ffn_norm", PartKind::Norm),
    linear(
        "layers.{}.mlp.gate",
        "model.layers.{}.mlp.gate_proj",
        "blk.{}.ffn_gate",
        (Dim::Intermediate, Dim::Hidden),
        Bias::Mlp,
        RowOrder::Same,
    ),
    linear(
        "layers.{}.mlp.up",
        "model.layers.{}.mlp.up_proj",
        "blk.{}.ffn_up",
        (Dim::Intermediate, Dim::Hidden),
        Bias::Mlp,
        RowOrder::Same,
    ),
    linear(
        "layers.{}.mlp.down",
        "model.layers.{}.mlp.down_proj",
        "blk.{}.ffn_down",
        (Dim::Hidden, Dim::Intermediate),
        Bias::Mlp,
        RowOrder::Same,
    ),
    part("norm", "model.norm", "output_norm", PartKind::Norm),
    part("head", "lm_head", "output", PartKind::Head),
];

/// Llama 1 to 3, SmolLM and SmolLM2, TinyLlama, Yi and others published under the same class.
pub static LLAMA: Family = Family {
    id: "llama",
    hf_class: "LlamaForCausalLM",
    hf_model_type: "llama",
    gguf_architectures: &["llama"],
    parts: LLAMA_PARTS,
    has_sliding_window: false,
    defaults: Defaults { context: 2048, kv_heads: None, rms_eps: 1e-6, sliding_window: None, rope_theta: 10_000.0 },
};

/// Mistral 7B and its kin: the llama graph with a sliding window. GGUF files of it say `llama`.
pub static MISTRAL: Family = Family {
    id: "mistral",
    hf_class: "MistralForCausalLM",
    hf_model_type: "mistral",
    gguf_architectures: &["mistral"],
    parts: LLAMA_PARTS,
    has_sliding_window: true,
    defaults: Defaults {
        context: 131_072,
        kv_heads: Some(8),
        rms_eps: 1e-6,
        sliding_window: Some(4096),
        rope_theta: 10_000.0,
    },
};

/// Every family.
pub static FAMILIES: &[&Family] = &[&LLAMA, &MISTRAL];

impl Family {
    /// The family of a class in `architectures`, or of a `model_type` when the class is not stated.
    #[must_use]
    pub fn from_hf(class: Option<&str>, model_type: Option<&str>) -> Option<&'static Self> {
        FAMILIES.iter().copied().find(|family| match class {
            Some(class) => family.hf_class == class,
            None => Some(family.hf_model_type) == model_type,
        })
    }

    /// The family of a GGUF architecture.
    #[must_use]
    pub fn from_gguf(architecture: &str) -> Option<&'static Self> {
        FAMILIES.iter().copied().find(|family| family.gguf_architectures.contains(&architecture))
    }

    /// Classes that [`Self::from_hf`] knows, for messages.
    #[must_use]
    pub fn known_hf() -> String {
        FAMILIES.iter().map(|family| family.hf_class).collect::<Vec<_>>().join(", ")
    }

    /// Architectures that [`Self::from_gguf`] knows, for messages.
    #[must_use]
    pub fn known_gguf() -> String {
        FAMILIES.iter().flat_map(|family| family.gguf_architectures).copied().collect::<Vec<_>>().join(", ")
    }
}

/// Stored row of each logical row when rotary pairs stand side by side: row `h d + t d/2 + j` (half t of head h) is
/// stored as row `h d + 2 j + t`, as llama.cpp's converter lays out q and k.
#[must_use]
pub fn paired_row_order(heads: usize, head_dim: usize) -> Arc<[u32]> {
    let half = head_dim / 2;
    let stored = |row: usize| {
        let (head, within) = (row / head_dim, row % head_dim);
        head * head_dim + 2 * (within % half) + within / half
    };
    (0..heads * head_dim).map(|row| u32::try_from(stored(row)).unwrap_or(u32::MAX)).collect()
}

impl Part {
    /// Order of the rows in a GGUF file, none when it is the logical one.
    #[must_use]
    pub fn gguf_row_order(&self, config: &LlamaConfig) -> Option<Arc<[u32]>> {
        let heads = match self.gguf_rows {
            RowOrder::Same => return None,
            RowOrder::QueryPairs => config.heads,
            RowOrder::KeyPairs => config.kv_heads,
        };
        Some(paired_row_order(heads, config.head_dim))
    }

    /// Whether it has a bias in this configuration.
    #[must_use]
    pub fn has_bias(&self, config: &LlamaConfig) -> bool {
        match self.bias {
            Bias::Never => false,
            Bias::Attention => config.attention_bias,
            Bias::Mlp => config.mlp_bias,
        }
    }
}
