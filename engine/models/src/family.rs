//! Families of models as data: which files they come in, what their tensors are called and what shape they have.
//!
//! A family that runs through an existing graph is a new table and nothing else: the graph reads the parts and traits
//! here, and knows no family by name.

use crate::config::LlamaConfig;
use std::sync::Arc;
use temper_nn::ops::Gate;

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
    /// Architecture that a new GGUF file of it states.
    pub gguf_writes: &'static str,
    /// Tensors outside the blocks and inside one, `{}` standing for the number of the block.
    pub parts: &'static [Part],
    /// Whether the configuration knows a sliding window.
    pub has_sliding_window: bool,
    /// Whether the configuration knows biases.
    pub has_biases: bool,
    /// What the graph does otherwise than llama's.
    pub traits: Traits,
    /// What an absent setting of config.json means.
    pub defaults: Defaults,
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// What the graph of a family does otherwise than llama's.
#[derive(Debug)]
pub struct Traits {
    /// Function of the gate in the MLP.
    pub activation: Gate,
    /// Its names in config.json, the one to write first.
    pub activation_names: &'static [&'static str],
    /// Key under which config.json names it.
    pub activation_key: &'static str,
    /// Whether embeddings are multiplied by √hidden.
    pub scaled_embedding: bool,
    /// What a norm adds to the weight that a Hugging Face folder stores. GGUF files hold the sum.
    pub hf_norm_shift: f32,
    /// Which layers see a window only; none: all layers are alike.
    pub local: Option<LocalTraits>,
}

/// Layers that see a window only, with rotary positions of their own, and between them layers that see everything.
#[derive(Debug)]
pub struct LocalTraits {
    /// Every how-manyth layer sees everything, where the file does not say it.
    pub period: usize,
    /// Base of the frequencies in local layers, where the file does not say it.
    pub rope_theta: f64,
    /// Number of layers of the published size whose scores are scaled by 1/√(hidden / heads) instead of 1/√(head width):
    /// GGUF files do not say it, readers know it by the number of layers.
    pub gguf_wide_scale_layers: usize,
}

/// Those of llama itself.
const LLAMA_TRAITS: Traits = Traits {
    activation: Gate::Silu,
    activation_names: &["silu", "swish"],
    activation_key: "hidden_act",
    scaled_embedding: false,
    hf_norm_shift: 0.0,
    local: None,
};

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
    /// `tie_word_embeddings`.
    pub tied: bool,
    /// `head_dim`; none: hidden width over heads.
    pub head_dim: Option<usize>,
    /// `query_pre_attn_scalar`; none: the family scales scores by the head width.
    pub query_scalar: Option<f64>,
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
    /// Width of one head.
    Head,
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
            Self::Head => config.head_dim,
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

/// A norm over the features of each head.
const fn head_norm(name: &'static str, hf: &'static str, gguf: &'static str) -> Part {
    Part { shape: (Dim::Head, None), ..part(name, hf, gguf, PartKind::Norm) }
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

/// Queries of a block, with the order of their rows in a GGUF file.
const fn queries(rows: RowOrder) -> Part {
    linear(
        "layers.{}.attn.q",
        "model.layers.{}.self_attn.q_proj",
        "blk.{}.attn_q",
        (Dim::Query, Dim::Hidden),
        Bias::Attention,
        rows,
    )
}

/// Keys of a block, with the order of their rows in a GGUF file.
const fn keys(rows: RowOrder) -> Part {
    linear(
        "layers.{}.attn.k",
        "model.layers.{}.self_attn.k_proj",
        "blk.{}.attn_k",
        (Dim::KeyValue, Dim::Hidden),
        Bias::Attention,
        rows,
    )
}

const EMBED: Part = part("embed", "model.embed_tokens", "token_embd", PartKind::Embedding);
const ATTN_NORM: Part =
    part("layers.{}.attn_norm", "model.layers.{}.input_layernorm", "blk.{}.attn_norm", PartKind::Norm);
const V: Part = linear(
    "layers.{}.attn.v",
    "model.layers.{}.self_attn.v_proj",
    "blk.{}.attn_v",
    (Dim::KeyValue, Dim::Hidden),
    Bias::Attention,
    RowOrder::Same,
);
const O: Part = linear(
    "layers.{}.attn.o",
    "model.layers.{}.self_attn.o_proj",
    "blk.{}.attn_output",
    (Dim::Hidden, Dim::Query),
    Bias::Attention,
    RowOrder::Same,
);
const GATE: Part = linear(
    "layers.{}.mlp.gate",
    "model.layers.{}.mlp.gate_proj",
    "blk.{}.ffn_gate",
    (Dim::Intermediate, Dim::Hidden),
    Bias::Mlp,
    RowOrder::Same,
);
const UP: Part = linear(
    "layers.{}.mlp.up",
    "model.layers.{}.mlp.up_proj",
    "blk.{}.ffn_up",
    (Dim::Intermediate, Dim::Hidden),
    Bias::Mlp,
    RowOrder::Same,
);
const DOWN: Part = linear(
    "layers.{}.mlp.down",
    "model.layers.{}.mlp.down_proj",
    "blk.{}.ffn_down",
    (Dim::Hidden, Dim::Intermediate),
    Bias::Mlp,
    RowOrder::Same,
);
const NORM: Part = part("norm", "model.norm", "output_norm", PartKind::Norm);
const HEAD: Part = part("head", "lm_head", "output", PartKind::Head);

/// Names of the llama graph, in the order in which a new file is written.
const LLAMA_PARTS: &[Part] = &[
    EMBED,
    ATTN_NORM,
    queries(RowOrder::QueryPairs),
    keys(RowOrder::KeyPairs),
    V,
    O,
    part("layers.{}.mlp_norm", "model.layers.{}.post_attention_layernorm", "blk.{}.ffn_norm", PartKind::Norm),
    GATE,
    UP,
    DOWN,
    NORM,
    HEAD,
];

/// Names of Gemma 3: llama's linear layers, with a norm on each head's queries and keys and one behind each half. In a
/// folder `post_attention_layernorm` is the norm behind the attention, not the one before the MLP.
const GEMMA3_PARTS: &[Part] = &[
    EMBED,
    ATTN_NORM,
    queries(RowOrder::Same),
    keys(RowOrder::Same),
    V,
    head_norm("layers.{}.attn.q_norm", "model.layers.{}.self_attn.q_norm", "blk.{}.attn_q_norm"),
    head_norm("layers.{}.attn.k_norm", "model.layers.{}.self_attn.k_norm", "blk.{}.attn_k_norm"),
    O,
    part(
        "layers.{}.attn_post_norm",
        "model.layers.{}.post_attention_layernorm",
        "blk.{}.post_attention_norm",
        PartKind::Norm,
    ),
    part("layers.{}.mlp_norm", "model.layers.{}.pre_feedforward_layernorm", "blk.{}.ffn_norm", PartKind::Norm),
    GATE,
    UP,
    DOWN,
    part(
        "layers.{}.mlp_post_norm",
        "model.layers.{}.post_feedforward_layernorm",
        "blk.{}.post_ffw_norm",
        PartKind::Norm,
    ),
    NORM,
    HEAD,
];

/// What most classes of transformers mean by an absent setting.
const DEFAULTS: Defaults = Defaults {
    context: 2048,
    kv_heads: None,
    rms_eps: 1e-6,
    sliding_window: None,
    rope_theta: 10_000.0,
    tied: false,
    head_dim: None,
    query_scalar: None,
};

/// Llama 1 to 3, SmolLM and SmolLM2, TinyLlama, Yi and others published under the same class.
pub static LLAMA: Family = Family {
    id: "llama",
    hf_class: "LlamaForCausalLM",
    hf_model_type: "llama",
    gguf_architectures: &["llama"],
    gguf_writes: "llama",
    parts: LLAMA_PARTS,
    has_sliding_window: false,
    has_biases: true,
    traits: LLAMA_TRAITS,
    defaults: DEFAULTS,
};

/// Mistral 7B and its kin: the llama graph with a sliding window. GGUF files of it say `llama`.
pub static MISTRAL: Family = Family {
    id: "mistral",
    hf_class: "MistralForCausalLM",
    hf_model_type: "mistral",
    gguf_architectures: &["mistral"],
    gguf_writes: "llama",
    parts: LLAMA_PARTS,
    has_sliding_window: true,
    has_biases: false,
    traits: LLAMA_TRAITS,
    defaults: Defaults { context: 131_072, kv_heads: Some(8), sliding_window: Some(4096), ..DEFAULTS },
};

/// Gemma 3, the text models (Gemma Team 2025, arXiv:2503.19786): norms before and behind each half and on the heads, gated
/// GELU, five layers with a window for each one that sees everything.
pub static GEMMA3: Family = Family {
    id: "gemma3",
    hf_class: "Gemma3ForCausalLM",
    hf_model_type: "gemma3_text",
    gguf_architectures: &["gemma3"],
    gguf_writes: "gemma3",
    parts: GEMMA3_PARTS,
    has_sliding_window: true,
    has_biases: false,
    traits: Traits {
        activation: Gate::GeluTanh,
        activation_names: &["gelu_pytorch_tanh"],
        activation_key: "hidden_activation",
        scaled_embedding: true,
        hf_norm_shift: 1.0,
        local: Some(LocalTraits { period: 6, rope_theta: 10_000.0, gguf_wide_scale_layers: 62 }),
    },
    defaults: Defaults {
        context: 131_072,
        kv_heads: Some(4),
        sliding_window: Some(4096),
        rope_theta: 1_000_000.0,
        tied: true,
        head_dim: Some(256),
        query_scalar: Some(256.0),
        ..DEFAULTS
    },
};

/// Every family.
pub static FAMILIES: &[&Family] = &[&LLAMA, &MISTRAL, &GEMMA3];

impl Family {
    /// Whether its graph has the part of that name.
    #[must_use]
    pub fn has(&self, part: &str) -> bool {
        self.parts.iter().any(|known| known.name == part)
    }

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
