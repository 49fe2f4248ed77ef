//! The first stage: tokens to hidden states.

use crate::own::Table;
use crate::stage::Flow;
use crate::{ModelError, Result};
use std::sync::Arc;
use temper_nn::{ForwardContext, FrozenWeight, Param, Role, ops};

/// Token embedding.
#[derive(Debug)]
pub struct EmbedStage {
    table: Table,
    /// Factor on the embeddings, none if 1.
    scale: Option<f64>,
}

impl EmbedStage {
    pub(crate) fn new(weight: Arc<FrozenWeight>, scale: Option<f64>) -> Self {
        Self { table: Table::new("embed", Role::Embedding, weight), scale }
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Name of the stage.
    #[must_use]
    pub fn name(&self) -> &str {
        self.table.name()
    }

    /// Hidden states (batch, width, hidden) of `tokens` (batch * width, row by row).
    ///
    /// # Errors
    /// A token outside the vocabulary, or another number of tokens than the context says.
    pub fn forward(&self, tokens: &Arc<[u32]>, ctx: &ForwardContext) -> Result<Flow> {
        let vocabulary = self.table.frozen().rows;
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(ModelError::Request(format!("token {token} lies outside the vocabulary of {vocabulary}")));
        }
        let hidden = ops::embedding(tokens, (ctx.batch, ctx.width), &self.table.embedding())?;
        let hidden = self.scale.map_or_else(|| Ok(hidden.clone()), |scale| &hidden * scale)?;
        Ok(Flow::new(hidden.to_device(&temper_nn::device::current())?))
    }

    /// The table, when it is trained. A tied head lists the same parameter.
    #[must_use]
    pub fn params(&self) -> Vec<Param> {
        self.table.param().into_iter().collect()
    }

    /// Makes the table trained if `embed` is selected; a tied head follows.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn promote(&mut self, select: &dyn Fn(&str) -> bool) -> Result<()> {
        if select(self.table.name()) { self.table.promote() } else { Ok(()) }
    }
}
