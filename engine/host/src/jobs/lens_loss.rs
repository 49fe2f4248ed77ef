//! `row losses`: what each token of a row costs the base.
//!
//! Place in the data flow: the row comes from the data that is looked at, tokens and marks as they are shown; the base is
//! loaded as `generate` loads it and kept for the next row. Adapters that the project lays beneath a run are not on it.

use super::lens::{Lenses, one};
use super::load::Kept;
use super::request::read_project;
use crate::builtin::Builtins;
use crate::job::JobContext;
use std::path::Path;
use temper_protocol::data::RowField;
use temper_protocol::event::{DataRows, LensRow};
use temper_protocol::{Event, ModelRef, Problem};
use temper_train::eval::token_losses;

/// Tokens of a row that are measured at most: a person looks at a row, not at a book.
const MOST_TOKENS: usize = 4096;

/// Measures a row.
pub(super) fn losses(
    builtins: &Builtins,
    (kept, lenses): (&Kept, &Lenses),
    project: &Path,
    (row, fields): (u64, &[RowField]),
    most_tokens: usize,
    context: &JobContext,
) -> Result<(), Problem> {
    let most = most_tokens.min(MOST_TOKENS);
    let (mut found, max_tokens) = one(builtins, lenses, project, (row, fields), most, context)?;
    let (said, _) = read_project(project, &[])?;
    let wanted = ModelRef { model: said.model.path, adapters: Vec::new(), base: Some(said.model.base) };
    let loaded = kept.load(builtins, Some(project), &wanted, context)?;
    found.losses = vec![f64::NAN; found.ids.len()];
    for start in parts(&found) {
        context.check_cancelled()?;
        let end = start.saturating_add(max_tokens).min(found.ids.len());
        let measured = token_losses(&loaded.model, found.ids.get(start..end).unwrap_or_default())?;
        // The first token of a part was the last one of the part before, which saw what comes before it.
        for (place, loss) in found.losses.iter_mut().skip(start).zip(measured).skip(1) {
            *place = loss;
        }
    }
    let (stamp, rows) = (String::new(), vec![found]);
    let rows = DataRows { first: row, known: row + 1, complete: false, shortened: false, stamp, rows };
    context.emit(Event::Rows(rows));
    Ok(())
}

/// Where the parts of a row begin in which it is trained.
fn parts(row: &LensRow) -> Vec<usize> {
    let borders = row.borders.iter().filter_map(|border| usize::try_from(*border).ok());
    std::iter::once(0).chain(borders).collect()
}
