//! What a model is, independent of the file it comes from.

use crate::family::Family;
use crate::rope::{Rope, RopeScaling};
use serde_json::{Map, Value, json};

/// Name in config.json of layers that see everything.
pub(crate) const GLOBAL_LAYER: &str = "full_attention";
/// Name in config.json of layers that see a window.
pub(crate) const LOCAL_LAYER: &str = "sliding_attention";

/// Configuration of a model, by family graph.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelConfig {
    /// The llama graph: grouped-query attention, rotary positions, RMS norms before each half, a gated MLP; with the parts
    /// and traits of its family.
    Llama(LlamaConfig),
}

impl ModelConfig {
    /// The llama graph's configuration.
    #[must_use]
    pub fn as_llama(&self) -> &LlamaConfig {
        let Self::Llama(config) = self;
        config
    }

    /// Family of the model.
    #[must_use]
    pub fn family(&self) -> &'static Family {
        self.as_llama().family
    }

    /// Vocabulary entries.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.as_llama().vocab_size
    }

    /// Width of the hidden states.
    #[must_use]
    pub fn hidden_size(&self) -> usize {
        self.as_llama().hidden_size
    }

    /// Number of blocks.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.as_llama().layers
    }

    /// Longest context, tokens.
    #[must_use]
    pub fn context(&self) -> usize {
        self.as_llama().context
    }

    /// Whether the output head is the embedding.
    #[must_use]
    pub fn tied(&self) -> bool {
        self.as_llama().tied
    }

    /// The configuration as config.json of a Hugging Face folder; see [`LlamaConfig::to_hf_json`].
    #[must_use]
    pub fn to_hf_json(&self, dtype: &str) -> Value {
        self.as_llama().to_hf_json(dtype)
    }
}

/// Which layers see a window of the text only.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalLayers {
    /// For each layer, whether it is one of them.
    pub is_local: Vec<bool>,
    /// Rotary positions in them.
    pub rope: Rope,
}

impl LocalLayers {
    /// Every `period`-th of `layers` sees everything, the others a window with plain rotary positions of base `theta`.
    #[must_use]
    pub fn periodic(layers: usize, period: usize, theta: f64) -> Self {
        let rope = Rope { theta, scaling: RopeScaling::Default, frequency_factors: None };
        Self { is_local: (1..=layers).map(|layer| !layer.is_multiple_of(period.max(1))).collect(), rope }
    }
}

/// Configuration of the llama graph.
#[derive(Debug, Clone, PartialEq)]
pub struct LlamaConfig {
    /// Which table of names and defaults it follows.
    pub family: &'static Family,
    /// Vocabulary entries.
    pub vocab_size: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Width inside the gated MLP.
    pub intermediate_size: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Added to the mean square in every RMS norm.
    pub rms_eps: f64,
    /// Rotary positions; in families with local layers those of the others.
    pub rope: Rope,
    /// Longest context, tokens.
    pub context: usize,
    /// Whether the output head is the embedding.
    pub tied: bool,
    /// Biases on the four attention matrices.
    pub attention_bias: bool,
    /// Biases on the three matrices of the gated MLP.
    pub mlp_bias: bool,
    /// A position attends to at most so many positions, itself included; where there are local layers, in them.
    pub sliding_window: Option<usize>,
    /// Layers that see the window only; none: all layers are alike.
    pub local: Option<LocalLayers>,
    /// Scores are divided by its root; none: by that of the head width.
    pub query_scalar: Option<f64>,
    /// First token of a text, if the model has one.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text.
    pub eos_token_ids: Vec<u32>,
    /// Token that fills rows.
    pub pad_token_id: Option<u32>,
}

impl LlamaConfig {
    /// A configuration of the llama family with the usual settings and no special tokens.
    #[must_use]
    pub fn new(vocab_size: usize, hidden_size: usize, layers: usize, heads: usize) -> Self {
        let head_dim = hidden_size.checked_div(heads).unwrap_or(0);
        Self {
            family: &crate::family::LLAMA,
            vocab_size,
            hidden_size,
            intermediate_size: hidden_size * 8 / 3,
            layers,
            heads,
            kv_heads: heads,
            head_dim,
            rms_eps: 1e-5,
            rope: Rope { theta: 10_000.0, scaling: RopeScaling::Default, frequency_factors: None },
            context: 2048,
            tied: true,
            attention_bias: false,
            mlp_bias: false,
            sliding_window: None,
            local: None,
            query_scalar: None,
            bos_token_id: None,
            eos_token_ids: Vec::new(),
            pad_token_id: None,
        }
    }

    /// Width of all query heads.
    #[must_use]
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key (or value) heads.
    #[must_use]
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// How many positions the layer of that number sees, none if all.
    #[must_use]
    pub fn window_of(&self, layer: usize) -> Option<usize> {
        if self.local.is_some() && !self.is_local(layer) { None } else { self.sliding_window }
    }

    /// Rotary positions of the layer of that number.
    #[must_use]
    pub fn rope_of(&self, layer: usize) -> &Rope {
        self.local.as_ref().filter(|_| self.is_local(layer)).map_or(&self.rope, |local| &local.rope)
    }

    /// Whether the layer of that number is a local one.
    #[must_use]
    pub fn is_local(&self, layer: usize) -> bool {
        self.local.as_ref().is_some_and(|local| local.is_local.get(layer) == Some(&true))
    }

    /// Factor on the scores of attention.
    #[must_use]
    pub fn attention_scale(&self) -> f32 {
        self.query_scalar.map_or(self.head_dim as f32, |scalar| scalar as f32).sqrt().recip()
    }

    /// Factor on the embeddings, none if 1.
    #[must_use]
    pub fn embedding_scale(&self) -> Option<f64> {
        self.family.traits.scaled_embedding.then(|| (self.hidden_size as f64).sqrt())
    }

    /// Longest text that it can continue, tokens: the context, or what a dynamic rotary scaling stretches it to.
    #[must_use]
    pub fn longest_text(&self) -> usize {
        match self.rope.scaling {
            RopeScaling::Dynamic { factor } if factor > 1.0 => (self.context as f64 * factor) as usize,
            _ => self.context,
        }
    }

    /// Checks that the numbers belong together.
    ///
    /// # Errors
    /// A sentence naming the settings that contradict each other.
    pub fn check(&self) -> Result<(), String> {
        // limits far above any model: a damaged number must not make absurdly many names or overflow a product
        let sizes = [
            ("vocab_size", self.vocab_size, 1 << 28),
            ("hidden_size", self.hidden_size, 1 << 20),
            ("intermediate_size", self.intermediate_size, 1 << 22),
            ("num_hidden_layers", self.layers, 1 << 12),
            ("num_attention_heads", self.heads, 1 << 14),
            ("num_key_value_heads", self.kv_heads, 1 << 14),
            ("head_dim", self.head_dim, 1 << 14),
            ("num_attention_heads * head_dim", self.heads.saturating_mul(self.head_dim), 1 << 20),
            ("max_position_embeddings", self.context, 1 << 31),
        ];
        for (key, size, most) in sizes {
            if size == 0 || size > most {
                return Err(format!("{key} is {size}, from 1 to {most} are possible"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(format!("{} query heads cannot share {} key/value heads", self.heads, self.kv_heads));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("head_dim is {}, rotary positions need an even one", self.head_dim));
        }
        if !(self.rms_eps.is_finite() && self.rms_eps >= 0.0) {
            return Err(format!("rms_norm_eps is {}", self.rms_eps));
        }
        if self.sliding_window == Some(0) {
            return Err("sliding_window is 0".to_owned());
        }
        if let Some(scalar) = self.query_scalar
            && !(scalar.is_finite() && scalar > 0.0)
        {
            return Err(format!("query_pre_attn_scalar is {scalar}"));
        }
        if let Some(local) = &self.local {
            if local.is_local.len() != self.layers {
                return Err(format!("layer_types has {} entries for {} layers", local.is_local.len(), self.layers));
            }
            if self.sliding_window.is_none() && local.is_local.contains(&true) {
                return Err("there are layers with a sliding window, but no sliding_window".to_owned());
            }
            local.rope.check(self.head_dim)?;
        }
        self.rope.check(self.head_dim)
    }

    /// Rotary settings in the form of transformers 5: of one kind of layer, or of each kind by its name.
    fn rope_json(&self) -> Map<String, Value> {
        let rope = self.rope.to_hf_json(self.context);
        match &self.local {
            None => rope,
            Some(local) => [(GLOBAL_LAYER, rope), (LOCAL_LAYER, local.rope.to_hf_json(self.context))]
                .into_iter()
                .map(|(kind, rope)| (kind.to_owned(), Value::Object(rope)))
                .collect(),
        }
    }

    /// Settings of families that are not llama's.
    fn push_own_settings(&self, all: &mut Vec<(&str, Value)>) {
        if self.family.has_sliding_window {
            all.push(("sliding_window", json!(self.sliding_window)));
        }
        if !self.family.has_biases {
            all.retain(|(key, _)| !matches!(*key, "attention_bias" | "mlp_bias"));
        }
        if let Some(local) = &self.local {
            let name = |is_local: &bool| if *is_local { LOCAL_LAYER } else { GLOBAL_LAYER };
            all.push(("layer_types", local.is_local.iter().map(name).collect()));
            all.push(("rope_local_base_freq", json!(local.rope.theta)));
        }
        if let Some(scalar) = self.query_scalar {
            // a whole number in every published file, and transformers takes no other
            let whole = scalar as u64;
            all.push(("query_pre_attn_scalar", if whole as f64 == scalar { json!(whole) } else { json!(scalar) }));
        }
    }

    /// config.json of a Hugging Face folder, keys in alphabetic order. The rotary settings are written in the form
    /// of transformers 5 (`rope_parameters`) and in the older one (`rope_theta`, `rope_scaling`) beside it.
    /// `dtype` is `float32`, `float16` or `bfloat16`.
    #[must_use]
    pub fn to_hf_json(&self, dtype: &str) -> Value {
        let eos = match self.eos_token_ids.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            many => json!(many),
        };
        let traits = &self.family.traits;
        let scaling = match &self.rope.hf_scaling(self.context) {
            RopeScaling::Default => Value::Null,
            _ => {
                let mut old = self.rope.to_hf_json(self.context);
                old.remove("rope_theta");
                Value::Object(old)
            }
        };
        let mut all = vec![
            ("architectures", json!([self.family.hf_class])),
            ("attention_bias", json!(self.attention_bias)),
            ("attention_dropout", json!(0.0)),
            ("bos_token_id", json!(self.bos_token_id)),
            ("dtype", json!(dtype)),
            ("eos_token_id", eos),
            ("head_dim", json!(self.head_dim)),
            (traits.activation_key, json!(traits.activation_names.first())),
            ("hidden_size", json!(self.hidden_size)),
            ("initializer_range", json!(0.02)),
            ("intermediate_size", json!(self.intermediate_size)),
            ("max_position_embeddings", json!(self.context)),
            ("mlp_bias", json!(self.mlp_bias)),
            ("model_type", json!(self.family.hf_model_type)),
            ("num_attention_heads", json!(self.heads)),
            ("num_hidden_layers", json!(self.layers)),
            ("num_key_value_heads", json!(self.kv_heads)),
            ("pad_token_id", json!(self.pad_token_id)),
            ("rms_norm_eps", json!(self.rms_eps)),
            ("rope_parameters", Value::Object(self.rope_json())),
            ("rope_scaling", scaling),
            ("rope_theta", json!(self.rope.theta)),
            ("tie_word_embeddings", json!(self.tied)),
            ("torch_dtype", json!(dtype)),
            ("use_cache", json!(true)),
            ("vocab_size", json!(self.vocab_size)),
        ];
        self.push_own_settings(&mut all);
        all.sort_by_key(|(key, _)| *key);
        Value::Object(all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>())
    }
}
