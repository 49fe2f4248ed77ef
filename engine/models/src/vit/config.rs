//! Configuration of a vision transformer, in the form of transformers' config.json.

use crate::vision::Pooling;
use crate::vision::config::{Classes, number, size};
use crate::vision::slots::{SlotList, Start};
use serde_json::{Map, Value, json};
use temper_nn::ops::Gate;

/// Configuration of a vision transformer.
#[derive(Debug, Clone, PartialEq)]
pub struct VitConfig {
    /// Images and classes.
    pub classes: Classes,
    /// Side of a patch; divides both sides of the images.
    pub patch_size: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Blocks.
    pub layers: usize,
    /// Heads; divide the width.
    pub heads: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Added to the variance in every norm.
    pub norm_eps: f64,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Between the two layers of the MLP.
    pub activation: Gate,
    /// How the head makes one vector of the tokens. The mean needs no class token, and none is there then; such a folder
    /// is this program's own (`"pooling": "mean"`), transformers knows the class token only.
    pub pooling: Pooling,
}

impl VitConfig {
    /// The usual settings: an MLP of four times the width, biases, exact GELU, a class token.
    #[must_use]
    pub const fn new(classes: Classes, patch_size: usize, hidden_size: usize, layers: usize, heads: usize) -> Self {
        Self {
            classes,
            patch_size,
            hidden_size,
            layers,
            heads,
            intermediate_size: 4 * hidden_size,
            norm_eps: 1e-12,
            qkv_bias: true,
            activation: Gate::Gelu,
            pooling: Pooling::ClassToken,
        }
    }

    /// Patches (down, across).
    #[must_use]
    pub fn patches(&self) -> (usize, usize) {
        let (height, width) = self.classes.image_size;
        let count = |side: usize| side.checked_div(self.patch_size).unwrap_or(0);
        (count(height), count(width))
    }

    /// Tokens of an image.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.patches().0 * self.patches().1 + usize::from(self.has_class_token())
    }

    /// Whether the first token is one for the class.
    #[must_use]
    pub fn has_class_token(&self) -> bool {
        self.pooling == Pooling::ClassToken
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let sizes = [
            ("patch_size", self.patch_size, 1 << 12),
            ("hidden_size", self.hidden_size, 1 << 16),
            ("num_hidden_layers", self.layers, 1 << 10),
            ("num_attention_heads", self.heads, 1 << 10),
            ("intermediate_size", self.intermediate_size, 1 << 20),
        ];
        for (key, size, most) in sizes {
            if size == 0 || size > most {
                return Err(format!("{key} is {size}, from 1 to {most} are possible"));
            }
        }
        let (height, width) = self.classes.image_size;
        if !height.is_multiple_of(self.patch_size) || !width.is_multiple_of(self.patch_size) {
            return Err(format!("patches of {} do not fill images of {height} x {width}", self.patch_size));
        }
        if self.tokens() > 1 << 16 {
            return Err(format!("{} tokens an image are too many", self.tokens()));
        }
        if !self.hidden_size.is_multiple_of(self.heads) {
            return Err(format!("{} heads do not divide hidden_size {}", self.heads, self.hidden_size));
        }
        if self.pooling == Pooling::Maps {
            return Err("tokens are pooled by the class token or by their mean".to_owned());
        }
        Ok(())
    }

    pub(crate) fn from_json(json: &Value) -> Result<Self, String> {
        let hidden_size = size(json, "hidden_size", 768)?;
        let activation = match json.get("hidden_act").and_then(Value::as_str).unwrap_or("gelu") {
            "gelu" => Gate::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" => Gate::GeluTanh,
            "silu" | "swish" => Gate::Silu,
            "relu" => Gate::Relu,
            other => return Err(format!("hidden_act is \"{other}\"; gelu, gelu_new, silu and relu are known")),
        };
        let pooling = match json.get("pooling").and_then(Value::as_str) {
            None | Some("class-token") => Pooling::ClassToken,
            Some("mean") => Pooling::MeanToken,
            Some(other) => return Err(format!("pooling is \"{other}\"; class-token and mean are known")),
        };
        Ok(Self {
            classes: Classes::read(json)?,
            patch_size: size(json, "patch_size", 16)?,
            hidden_size,
            layers: size(json, "num_hidden_layers", 12)?,
            heads: size(json, "num_attention_heads", 12)?,
            intermediate_size: size(json, "intermediate_size", 3072)?,
            norm_eps: number(json, "layer_norm_eps", 1e-12)?,
            qkv_bias: json.get("qkv_bias").and_then(Value::as_bool).unwrap_or(true),
            activation,
            pooling,
        })
    }

    /// Everything but images and classes.
    pub(crate) fn to_json(&self) -> Map<String, Value> {
        let activation = match self.activation {
            Gate::Gelu => "gelu",
            Gate::GeluTanh => "gelu_new",
            Gate::Silu => "silu",
            Gate::Relu => "relu",
        };
        let mut all = vec![
            ("architectures", json!(["ViTForImageClassification"])),
            ("attention_probs_dropout_prob", json!(0.0)),
            ("dtype", json!("float32")),
            ("hidden_act", json!(activation)),
            ("hidden_dropout_prob", json!(0.0)),
            ("hidden_size", json!(self.hidden_size)),
            ("intermediate_size", json!(self.intermediate_size)),
            ("layer_norm_eps", json!(self.norm_eps)),
            ("model_type", json!("vit")),
            ("num_attention_heads", json!(self.heads)),
            ("num_hidden_layers", json!(self.layers)),
            ("patch_size", json!(self.patch_size)),
            ("qkv_bias", json!(self.qkv_bias)),
        ];
        if self.pooling == Pooling::MeanToken {
            all.push(("pooling", json!("mean")));
        }
        all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Stem, blocks and last norm. What writes into the residual stream starts smaller by √(2 · layers), as in GPT-2.
    pub(crate) fn slots(&self, slots: &mut SlotList) {
        let (width, inner) = (self.hidden_size, self.intermediate_size);
        let into_residual = 1.0 / (2.0 * self.layers as f64).sqrt();
        let small = Start::Normal(0.02);
        if self.has_class_token() {
            slots.own("embed.class", "vit.embeddings.cls_token", &[1, 1, width], small);
        }
        let positions = [1, self.tokens(), width];
        slots.own("embed.positions", "vit.embeddings.position_embeddings", &positions, small);
        let patch = [width, self.classes.channels, self.patch_size, self.patch_size];
        slots.site("embed.patch", "vit.embeddings.patch_embeddings.projection", &patch, 1.0, true);
        for layer in 0..self.layers {
            let (name, file) = (format!("layers.{layer}"), format!("vit.encoder.layer.{layer}"));
            slots.norm(&format!("{name}.attn_norm"), &format!("{file}.layernorm_before"), width);
            for (own, theirs) in [("q", "query"), ("k", "key"), ("v", "value")] {
                let (name, file) = (format!("{name}.attn.{own}"), format!("{file}.attention.attention.{theirs}"));
                slots.site(&name, &file, &[width, width], 1.0, self.qkv_bias);
            }
            let mut site = |own: &str, theirs: &str, shape: [usize; 2], gain: f64| {
                slots.site(&format!("{name}.{own}"), &format!("{file}.{theirs}"), &shape, gain, true);
            };
            site("attn.o", "attention.output.dense", [width, width], into_residual);
            site("mlp.up", "intermediate.dense", [inner, width], 1.0);
            site("mlp.down", "output.dense", [width, inner], into_residual);
            slots.norm(&format!("{name}.mlp_norm"), &format!("{file}.layernorm_after"), width);
        }
        slots.norm("norm", "vit.layernorm", width);
    }
}
