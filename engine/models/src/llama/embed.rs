//! The first stage: tokens to hidden states.

use crate::insert::Shared;
use crate::own::Table;
use crate::stage::Flow;
use crate::{ModelError, Result};
use candle_core::{Device, Tensor};
use std::sync::Arc;
use temper_nn::insertion::{At, Insert};
use temper_nn::rng::Stream;
use temper_nn::{ForwardContext, FrozenWeight, InsertDims, Inserts, NnError, Param, Point, Role, Spread, ops};

/// Token embedding.
pub struct EmbedStage {
    table: Table,
    /// Factor on the embeddings, none if 1.
    scale: Option<f64>,
    inserts: Inserts,
}

impl EmbedStage {
    pub(crate) fn new(weight: Arc<FrozenWeight>, scale: Option<f64>) -> Self {
        Self { table: Table::new("embed", Role::Embedding, weight), scale, inserts: Inserts::default() }
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Name of the stage.
    #[must_use]
    pub fn name(&self) -> &str {
        self.table.name()
    }

    /// What is inserted behind it.
    #[must_use]
    pub fn inserts(&self) -> &Inserts {
        &self.inserts
    }

    /// Puts something behind it.
    ///
    /// # Errors
    /// What has no place here.
    pub(crate) fn insert(&mut self, insert: &Insert, seed: u64, shared: &mut Shared) -> Result<()> {
        let frozen = Arc::clone(self.table.frozen());
        let scale = self.scale.unwrap_or(1.0);
        let vocabulary = move |count: usize, stream: &mut Stream| -> Result<Tensor, NnError> {
            let mut rows = vec![0f32; count * frozen.cols];
            for row in rows.chunks_mut(frozen.cols.max(1)) {
                let token = stream.below(frozen.rows as u64) as usize;
                frozen.read_rows(token..token + 1, row)?;
            }
            Ok(Tensor::from_vec(rows, (count, frozen.cols), &Device::Cpu)?.affine(scale, 0.0)?)
        };
        let dims = InsertDims { hidden: self.table.frozen().cols, ..InsertDims::default() };
        let mut at = At::new("embed", dims, seed, shared).with_vocabulary(&vocabulary);
        Ok(self.inserts.attach(insert, &[Point::EmbedOut], &mut at)?)
    }

    /// Hidden states (batch, width, hidden) of `tokens` (batch * width, row by row); with a prompt, which stands before
    /// every segment, the rows are longer: see [`crate::Model::inside`].
    ///
    /// # Errors
    /// A token outside the vocabulary, or another number of tokens than the context says.
    pub fn forward(&self, tokens: &Arc<[u32]>, ctx: &ForwardContext) -> Result<Flow> {
        let mut flow = self.without_prompt(tokens, ctx)?;
        if let Some(prompt) = self.inserts.prompt()? {
            let spread = Spread::new(&ctx.borders, ctx.width, prompt.dim(0)?);
            flow.hidden = spread.put(&flow.hidden, Some(&prompt))?;
        }
        Ok(flow)
    }

    /// Hidden states of tokens that follow others of their text, for which a prompt has been before.
    pub(crate) fn without_prompt(&self, tokens: &Arc<[u32]>, ctx: &ForwardContext) -> Result<Flow> {
        let vocabulary = self.table.frozen().rows;
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(ModelError::Request(format!("token {token} lies outside the vocabulary of {vocabulary}")));
        }
        let hidden = ops::embedding(tokens, (ctx.batch, ctx.width), &self.table.embedding())?;
        let hidden = self.scale.map_or_else(|| Ok(hidden.clone()), |scale| &hidden * scale)?;
        let hidden = hidden.to_device(&temper_nn::device::current())?;
        Ok(Flow::new(self.inserts.apply(Point::EmbedOut, hidden, &[])?))
    }

    /// The table, when it is trained, and what is inserted. A tied head lists the same table.
    #[must_use]
    pub fn params(&self) -> Vec<Param> {
        self.table.param().into_iter().chain(self.inserts.params()).collect()
    }

    pub(crate) fn set_enabled(&self, enabled: bool) {
        self.table.set_enabled(enabled);
        self.inserts.set_enabled(enabled);
    }

    /// Makes the table trained if `embed` is selected; a tied head follows.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn promote(&mut self, select: &dyn Fn(&str) -> bool) -> Result<()> {
        if select(self.table.name()) { self.table.promote() } else { Ok(()) }
    }
}
