//! Insertions on a whole model: which stage gets what, and how the rows of a batch look between embedding and head.
//!
//! Place in the data flow: the trainer gives a plan's insertions to [`Model::insert_all`]; whoever runs the stages one by
//! one asks [`Model::inside`] for the pass between embedding and head, where a prompt makes the rows longer.

use crate::{Model, ModelError, Result, Stage};
use candle_core::{Tensor, TensorId};
use std::borrow::Cow;
use std::collections::BTreeMap;
use temper_nn::insertion::At;
use temper_nn::{ForwardContext, Insertion, Inserts, Param, Spread};

/// Parameters that several stages have in common.
pub(crate) type Shared = BTreeMap<String, Param>;

/// An insertion as it leaves for a file, with its tensors by the names of its parameters.
pub type Folded = (Insertion, Vec<(String, Tensor)>);

/// The pass between embedding and head.
pub struct Inside<'a> {
    ctx: Cow<'a, ForwardContext>,
    spread: Option<Spread>,
}

impl Inside<'_> {
    /// What the blocks are run with.
    #[must_use]
    pub fn ctx(&self) -> &ForwardContext {
        &self.ctx
    }

    /// Whether its rows are longer than those of the tokens.
    #[must_use]
    pub fn is_longer(&self) -> bool {
        self.spread.is_some()
    }

    /// Hidden states (batch, width, hidden) of the tokens alone: what the head reads.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn leave(&self, hidden: Tensor) -> Result<Tensor> {
        match &self.spread {
            None => Ok(hidden),
            Some(spread) => Ok(spread.take(&hidden)?),
        }
    }
}

/// Builds an insertion in the stage that it names.
pub(crate) fn into_stages(
    stages: &mut [Box<dyn Stage>],
    insertion: &Insertion,
    seed: u64,
    shared: &mut Shared,
) -> Result<()> {
    let name = insertion.stage.as_str();
    let Some(stage) = stages.iter_mut().find(|stage| stage.name() == name) else {
        return Err(ModelError::Request(format!("the model has no stage {name}")));
    };
    let (points, dims) = stage.points();
    let Some(inserts) = stage.inserts_mut() else {
        return Err(ModelError::Request(format!("nothing can be inserted into {name}")));
    };
    Ok(inserts.attach(&insertion.what, points, &mut At::new(name, dims, seed, shared))?)
}

/// Without what is listed again. What several stages have in common (a tied table, a shared part of an insertion) is
/// listed by each of them; two parameters that only share a name both stay, and are refused where a set is made.
pub(crate) fn once(mut params: Vec<Param>) -> Vec<Param> {
    let mut seen: BTreeMap<String, TensorId> = BTreeMap::new();
    params.retain(|param| {
        let id = param.var.as_tensor().id();
        seen.insert(param.name.clone(), id) != Some(id)
    });
    params
}

impl Model {
    /// How a batch looks between embedding and head: longer where a prompt stands before every segment.
    #[must_use]
    pub fn inside<'a>(&self, ctx: &'a ForwardContext) -> Inside<'a> {
        match self.embed.inserts().prompt_length() {
            0 => Inside { ctx: Cow::Borrowed(ctx), spread: None },
            count => {
                let spread = Spread::new(&ctx.borders, ctx.width, count);
                Inside { ctx: Cow::Owned(spread.context(ctx)), spread: Some(spread) }
            }
        }
    }

    /// Positions that insertions take before the first token of a text.
    #[must_use]
    pub fn positions_before(&self) -> usize {
        let prefixes = self.blocks.iter().filter_map(|block| block.inserts()).map(Inserts::prefix_length);
        self.embed.inserts().prompt_length() + prefixes.max().unwrap_or(0)
    }

    /// Builds each insertion in its stage, in this order. What they have in common is common to these alone. The same
    /// insertions and seed give the same bytes.
    ///
    /// # Errors
    /// No such stage, or one that has no place for what is inserted.
    pub fn insert_all(&mut self, insertions: &[Insertion], seed: u64) -> Result<()> {
        let mut shared = Shared::new();
        for insertion in insertions {
            match insertion.stage.as_str() {
                "embed" => self.embed.insert(&insertion.what, seed, &mut shared)?,
                "head" => self.head.insert(&insertion.what, seed, &mut shared)?,
                _ => into_stages(&mut self.blocks, insertion, seed, &mut shared)?,
            }
        }
        Ok(())
    }

    /// Whether anything is inserted.
    #[must_use]
    pub fn has_insertions(&self) -> bool {
        let mut blocks = self.blocks.iter().filter_map(|block| block.inserts());
        !self.embed.inserts().is_empty() || !self.head.inserts().is_empty() || blocks.any(|inserts| !inserts.is_empty())
    }

    /// Everything inserted, as it leaves for a file, in the order of the graph.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn folded_insertions(&self) -> Result<Vec<Folded>> {
        let blocks = self.blocks.iter().filter_map(|block| Some((block.name(), block.inserts()?)));
        let stages = std::iter::once(("embed", self.embed.inserts()));
        let mut all = Vec::new();
        for (stage, inserts) in stages.chain(blocks).chain([("head", self.head.inserts())]) {
            for (what, tensors) in inserts.folded()? {
                all.push((Insertion { stage: stage.to_owned(), what }, tensors));
            }
        }
        Ok(all)
    }
}
