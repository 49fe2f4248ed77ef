//! Trained rows before the embeddings.

use super::inserts::At;
use super::{Point, Prompt, PromptStart};
use crate::Result;
use crate::param::{Param, Role};
use crate::slots::Init;

/// A prompt with its values.
pub(super) struct HeldPrompt {
    pub(super) what: Prompt,
    /// (length, hidden).
    pub(super) rows: Param,
}

impl HeldPrompt {
    pub(super) fn build(what: &Prompt, at: &mut At<'_>) -> Result<Self> {
        let place = at.place(Point::EmbedOut, "prompt", false);
        let shape = [what.length, at.dims.hidden];
        let rows = at.param(&place, &shape, Init::Gaussian { std: 0.02 }, Role::Embedding)?;
        if let (PromptStart::Vocabulary, Some(vocabulary)) = (what.start, at.vocabulary) {
            let mut stream = at.stream(&format!("{}/tokens", rows.name));
            rows.var.set(&vocabulary(what.length, &mut stream)?)?;
        }
        Ok(Self { what: what.clone(), rows })
    }
}
