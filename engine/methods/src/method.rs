//! The trait of a method and what it answers with: a [`Plan`] for a model of given shape.
//!
//! Place in the data flow: settings and layer shapes in, slots and promotions out. A plan holds no tensors;
//! the trainer applies it to the model's sites and stages.

use crate::error::MethodError;
use regex::RegexSet;
use temper_nn::Insertion;
use temper_nn::slots::Slots;
use temper_protocol::{Declared, Values};

/// A linear layer that can be adapted, as a method sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteDims {
    /// Name in this program, such as `layers.3.attn.q`.
    pub name: String,
    /// Module path in the model's Hugging Face class, such as `model.layers.3.self_attn.q_proj`.
    pub hf_name: String,
    /// Rows of the weight.
    pub out_features: usize,
    /// Columns of the weight.
    pub in_features: usize,
    /// Block it belongs to, counted from 0; none for layers outside the blocks.
    pub layer: Option<usize>,
    /// Whether it has a bias.
    pub bias: bool,
    /// Rows and columns of the window that a kernel's columns belong to, (1, 1) for a linear layer: its columns are
    /// channels, rows and columns of the window, in this order.
    pub window: (usize, usize),
}

/// A weight that is no linear layer: embedding, norm, head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnDims {
    /// Name in this program, such as `embed`, `layers.3.attn_norm`, `norm`, `head`.
    pub name: String,
    /// How many numbers it holds.
    pub entries: u64,
}

/// Everything a model could train.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelDims {
    /// The linear layers.
    pub sites: Vec<SiteDims>,
    /// Everything else; a head tied to the embedding is not listed.
    pub own: Vec<OwnDims>,
    /// Features of a head of the attention; 0 where there is none.
    pub head_features: usize,
}

/// What a method does to a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Slots by site name, in the order of the model's sites.
    pub adapters: Vec<(String, Slots)>,
    /// What is put at named points of the stages, in the order in which it is built.
    pub insertions: Vec<Insertion>,
    /// Which of the model's own weights become trained.
    pub promote: Promote,
    /// What a person should know about this choice, a sentence each.
    pub notes: Vec<String>,
}

/// Which of the model's own weights become trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Promote {
    /// None: they stay frozen.
    None,
    /// All, with embedding, norms and head.
    Everything,
    /// Those whose name one of these regular expressions matches in full.
    Named(Vec<String>),
}

/// A compiled [`Promote`].
#[derive(Debug, Clone)]
pub enum Selector {
    /// Selects nothing.
    Nothing,
    /// Selects every name.
    Everything,
    /// Selects the names that match.
    Matching(RegexSet),
}

/// Learning from the model as its file has it: adapters off, weights as they were before any rounding. For the first part
/// of a run the loss is a sum over trained tokens of up to three terms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Imitation {
    /// Share of the run's steps, in [0, 1]; after them the loss is the cross-entropy.
    pub share: f64,
    /// Factor of the divergence KL(p_parent ‖ p), nats a token.
    pub divergence: f64,
    /// Factor of the cross-entropy, nats a token.
    pub cross_entropy: f64,
    /// Factor of the squared distance of the hidden states behind each block, its mean over blocks and features.
    pub features: f64,
}

impl Imitation {
    /// Whether optimiser step `step`, counted from 1, of `total` imitates.
    #[must_use]
    pub fn is_at(&self, step: u64, total: u64) -> bool {
        step as f64 <= self.share * total as f64
    }
}

/// An adaptation method.
pub trait Method: Sync {
    /// Its declaration.
    fn declared(&self) -> &'static Declared;

    /// What it does to a model with these linear layers. Values that are absent take their defaults; `seed`
    /// decides random choices, such as which layers a method drops.
    ///
    /// # Errors
    /// [`MethodError`] for settings that are unknown, out of range or hit nothing.
    fn plan(&self, values: &Values, sites: &[SiteDims], seed: u64) -> Result<Plan, MethodError>;

    /// Whether what is trained with these settings is right only over the weights that it was trained over, so that it
    /// leaves merged into them and not as an adapter for the base's original weights.
    fn belongs_to_its_base(&self, _values: &Values) -> bool {
        false
    }

    /// Bits per value that all layers it adapts may take together, where it rounds them itself: the trainer then chooses
    /// a storage for each ([`temper_nn::budget`]) and fills it into their calibration.
    fn bits_per_value(&self, _values: &Values) -> Option<f64> {
        None
    }

    /// What the run learns from the model as its file has it before it learns from the data alone; none for most.
    fn imitates(&self, _values: &Values) -> Option<Imitation> {
        None
    }

    /// Whether it was made to leave alone what the model knows: the gallery can list such methods.
    fn protects_knowledge(&self) -> bool {
        false
    }

    /// How many numbers it trains, by the formula of its paper.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError>;
}

impl SiteDims {
    /// Numbers in weight and bias.
    #[must_use]
    pub fn entries(&self) -> u64 {
        let bias = if self.bias { self.out_features } else { 0 };
        (self.out_features * self.in_features + bias) as u64
    }
}

impl Plan {
    /// Trains weights of the model itself and nothing else.
    #[must_use]
    pub fn promoting(promote: Promote) -> Self {
        Self { adapters: Vec::new(), insertions: Vec::new(), promote, notes: Vec::new() }
    }

    /// Puts things at points of the stages and nothing else.
    #[must_use]
    pub fn inserting(insertions: Vec<Insertion>) -> Self {
        Self { insertions, ..Self::promoting(Promote::None) }
    }

    /// The slots of one site; none when it stays as it is.
    #[must_use]
    pub fn slots(&self, site: &str) -> Option<&Slots> {
        self.adapters.iter().find(|(name, _)| name == site).map(|(_, slots)| slots)
    }
}

impl Promote {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// [`MethodError::Pattern`] for an expression that cannot be read.
    pub fn selector(&self) -> Result<Selector, MethodError> {
        Ok(match self {
            Self::None => Selector::Nothing,
            Self::Everything => Selector::Everything,
            Self::Named(patterns) => {
                let anchored: Vec<String> = patterns.iter().map(|pattern| format!("^(?:{pattern})$")).collect();
                let set = RegexSet::new(&anchored).map_err(|error| MethodError::Pattern {
                    setting: "layers",
                    pattern: patterns.join(" "),
                    why: error.to_string(),
                })?;
                Selector::Matching(set)
            }
        })
    }
}

impl Selector {
    /// Whether the weight called `name` becomes trained. `layers.3.attn.q` stands for the weight and the
    /// bias of that site; their full names `layers.3.attn.q.weight` and `.bias` are understood too.
    #[must_use]
    pub fn selects(&self, name: &str) -> bool {
        let name = name.strip_suffix(".weight").or_else(|| name.strip_suffix(".bias")).unwrap_or(name);
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Matching(set) => set.is_match(name),
        }
    }
}
