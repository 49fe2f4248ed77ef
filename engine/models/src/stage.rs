//! What the trainer sees of a model: a list of stages, each a map from a [`Flow`] to a [`Flow`].
//!
//! The trainer keeps or recomputes each stage's activations, runs backward stage by stage from the head, and takes a
//! gradient for every tensor of the flow.

use crate::{ModelError, Result};
use candle_core::Tensor;
use std::collections::BTreeMap;
use temper_nn::ops::ChannelStatistics;
use temper_nn::{ForwardContext, FusedBlock, InsertDims, Inserts, LinearSite, Param, Point};

/// What stages hand to each other.
#[derive(Debug, Clone)]
pub struct Flow {
    /// Hidden states (batch, width, hidden); images and feature maps (batch, channels, height, width).
    pub hidden: Tensor,
    /// Named differentiable outputs beside the hidden states. A head with a task of that name reads it instead of the
    /// hidden states: so a late branch of one task reaches its head.
    pub side: BTreeMap<String, Tensor>,
    /// Scalar that is added to the loss: extra losses of the adapters passed so far.
    pub extra_loss: Option<Tensor>,
    /// How many tokens each one stands for (batch, width), a constant; none when each is one. Attention of encoders
    /// weighs keys by it.
    pub token_sizes: Option<Tensor>,
    /// What norms of channels saw of this batch, by their name; see [`Stage::follow`].
    pub buffers: BTreeMap<String, Seen>,
}

/// Statistics of one batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Mean and variance of each channel.
    pub statistics: ChannelStatistics,
    /// Values a channel that they were taken from.
    pub count: usize,
}

impl Flow {
    /// A flow of hidden states alone.
    #[must_use]
    pub fn new(hidden: Tensor) -> Self {
        Self { hidden, side: BTreeMap::new(), extra_loss: None, token_sizes: None, buffers: BTreeMap::new() }
    }

    /// The same values cut off the graph that made them: what a stage takes as its input.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self {
            hidden: self.hidden.detach(),
            side: self.side.iter().map(|(name, tensor)| (name.clone(), tensor.detach())).collect(),
            extra_loss: self.extra_loss.as_ref().map(Tensor::detach),
            token_sizes: self.token_sizes.clone(),
            buffers: self.buffers.clone(),
        }
    }

    /// Adds a scalar to the extra loss.
    ///
    /// # Errors
    /// `loss` is no scalar.
    pub fn add_loss(&mut self, loss: Option<Tensor>) -> Result<()> {
        if let Some(loss) = loss {
            self.extra_loss = Some(match self.extra_loss.take() {
                Some(sum) => (sum + loss)?,
                None => loss,
            });
        }
        Ok(())
    }
}

/// What a stage remembers of the tokens before the ones it is given: keys and values (1, tokens, heads, width).
#[derive(Debug, Clone, Default)]
pub struct StageCache {
    /// Keys, rotated.
    pub keys: Option<Tensor>,
    /// Values.
    pub values: Option<Tensor>,
}

/// How large the entries are that an attention compares, before positions are rotated in.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionSizes {
    /// Largest entry of the queries, by head.
    pub q_max: Vec<f32>,
    /// Largest entry of the keys, by key head.
    pub k_max: Vec<f32>,
    /// Largest entry of what adapters and training add to the queries, by head.
    pub change_max: Vec<f32>,
}

/// One stage of a model between the embedding and the head.
pub trait Stage: Send + Sync {
    /// Name, `layers.3`.
    fn name(&self) -> &str;

    /// Runs it on a batch.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn forward(&self, flow: Flow, ctx: &ForwardContext) -> Result<Flow>;

    /// Its arithmetic without a graph, for this batch; `None` when something on it needs one.
    ///
    /// # Errors
    /// A failing tensor operation.
    fn fused(&self, _ctx: &ForwardContext) -> Result<Option<FusedBlock>> {
        Ok(None)
    }

    /// Runs it without gradient on the next tokens of one text; `ctx` has their positions, `cache` what was before.
    ///
    /// # Errors
    /// Shapes that do not fit; a stage that sees its whole input at once has no next tokens.
    fn forward_cached(&self, _flow: Flow, _ctx: &ForwardContext, _cache: &mut StageCache) -> Result<Flow> {
        Err(ModelError::Request(format!("{} sees its whole input at once and cannot continue a text", self.name())))
    }

    /// The sizes of what its attention compares on this input; `None` for a stage without attention.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn attention_sizes(&self, _flow: &Flow, _ctx: &ForwardContext) -> Result<Option<AttentionSizes>> {
        Ok(None)
    }

    /// Moves its running statistics towards what its norms of channels saw in a batch. They are followed where the
    /// trainer says so, once a batch: a forward pass alone, run again or not, changes nothing.
    fn follow(&mut self, _buffers: &BTreeMap<String, Seen>) {}

    /// Its linear layers, in the order of the graph.
    fn sites(&self) -> Vec<&LinearSite>;

    /// Its linear layers, to put adapters on.
    fn sites_mut(&mut self) -> Vec<&mut LinearSite>;

    /// The points at which something can be inserted into it, and the sizes there; none for a stage without any.
    fn points(&self) -> (&'static [Point], InsertDims) {
        (&[], InsertDims::default())
    }

    /// What is inserted into it; none for a stage without points.
    fn inserts(&self) -> Option<&Inserts> {
        None
    }

    /// As [`Self::inserts`], to put something there.
    fn inserts_mut(&mut self) -> Option<&mut Inserts> {
        None
    }

    /// Everything trained in it, adapters and insertions included.
    fn params(&self) -> Vec<Param>;

    /// Makes its weights trained whose names are selected: sites by their name, norms by theirs.
    ///
    /// # Errors
    /// A weight that cannot be read.
    fn promote(&mut self, select: &dyn Fn(&str) -> bool) -> Result<()>;

    /// Makes `share` of everything that is trained in it part of its frozen weights; see [`LinearSite::settle`].
    ///
    /// # Errors
    /// A change that no weight can hold.
    fn settle(&mut self, share: f64) -> Result<()> {
        for site in self.sites_mut() {
            site.settle(share)?;
        }
        Ok(())
    }

    /// Switches adapters, insertions and trained weights on or off in forward passes: off, it answers as the base.
    fn set_enabled(&self, enabled: bool);

    /// Current values of one of its own weights by slot name, adapters not included; none if it is not here.
    ///
    /// # Errors
    /// A weight that cannot be read.
    fn read_weight(&self, name: &str) -> Result<Option<Vec<f32>>>;

    /// Slot names of its own weights that are trained, adapters not included.
    fn trained_weights(&self) -> Vec<String>;
}
