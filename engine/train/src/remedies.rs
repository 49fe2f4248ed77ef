//! Changes of settings that would make a run fit into memory, each with what a step would need then.
//!
//! Place in the data flow: the pre-flight asks when a step needs more than is free, and answers with them; a person takes
//! one by a click or writes it into the project. What a change saves is counted like the whole was, and scaled by what was
//! measured.

use crate::driver::Tokens;
use crate::prepare::Prepared;
use crate::session::kept_blocks;
use temper_protocol::Project;
use temper_protocol::event::Remedy;

/// Shorter rows than this are not proposed: hardly anything is left of a text.
const LEAST_TOKENS: usize = 64;

/// How tight it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tight {
    /// Memory that a step takes, MiB.
    pub needed_mib: f64,
    /// Memory that is free for it, MiB.
    pub free_mib: f64,
    /// The forward pass's share of a micro-step, where one was measured.
    pub forward_share: Option<f64>,
}

/// The changes after which a step fits, the one that changes least first: smaller micro-batches, blocks that are computed
/// again, shorter rows.
pub(crate) fn find(project: &Project, prepared: &Prepared, tokens: &Tokens, tight: &Tight) -> Vec<Remedy> {
    let positions = tokens.ids.len() as f64;
    let expected_mib = super::preflight::step_mib(project, prepared, positions, prepared.max_tokens);
    let scale = tight.needed_mib / expected_mib.max(f64::MIN_POSITIVE);
    let needs = |changed: &Project, positions: f64, max_tokens: usize| {
        let mib = scale * super::preflight::step_mib(changed, prepared, positions, max_tokens);
        (mib <= tight.free_mib).then_some(mib)
    };
    let batch = smaller_batches(project.train.batch).find_map(|batch| {
        let parts = project.train.batch / batch;
        let mut changed = project.clone();
        changed.train.batch = batch;
        changed.train.accumulate *= parts;
        let memory_mib = needs(&changed, positions / parts as f64, prepared.max_tokens)?;
        let settings = vec![
            ("train.batch".to_owned(), batch.to_string()),
            ("train.accumulate".to_owned(), changed.train.accumulate.to_string()),
        ];
        Some(Remedy { settings, memory_mib, rows_cut: 0, time_factor: Some(1.0) })
    });
    let (model, blocks) = (&prepared.model, prepared.model.blocks.len());
    let kept = kept_blocks(project, model, prepared.max_tokens);
    let again = (kept > 0).then(|| {
        let mut changed = project.clone();
        "on".clone_into(&mut changed.train.recompute);
        let memory_mib = needs(&changed, positions, prepared.max_tokens)?;
        let settings = vec![("train.recompute".to_owned(), "on".to_owned())];
        // Each block that was kept goes forward once more.
        let time_factor = tight.forward_share.map(|share| 1.0 + share * kept as f64 / blocks.max(1) as f64);
        Some(Remedy { settings, memory_mib, rows_cut: 0, time_factor })
    });
    let width = tokens.ctx.width;
    let shorter = shorter_rows(prepared.max_tokens.min(width)).find_map(|max_tokens| {
        let mut changed = project.clone();
        changed.data.max_tokens = max_tokens;
        let share = max_tokens as f64 / width.max(1) as f64;
        let memory_mib = needs(&changed, positions * share, max_tokens)?;
        let rows_cut = prepared.loader.examples().iter().filter(|example| example.ids.len() > max_tokens).count();
        let settings = vec![("data.max_tokens".to_owned(), max_tokens.to_string())];
        Some(Remedy { settings, memory_mib, rows_cut: rows_cut as u64, time_factor: None })
    });
    [batch, again.flatten(), shorter].into_iter().flatten().collect()
}

/// Batches that go into `batch` without a rest, the largest first: as many micro-batches more make the same step.
fn smaller_batches(batch: usize) -> impl Iterator<Item = usize> {
    (1..batch).rev().filter(move |smaller| batch.is_multiple_of(*smaller))
}

/// Halves of `longest`, as long as a row is worth reading.
fn shorter_rows(longest: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(longest / 2), |length| Some(length / 2)).take_while(|length| *length >= LEAST_TOKENS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaller_batches_make_the_same_step() {
        assert_eq!(smaller_batches(12).collect::<Vec<_>>(), [6, 4, 3, 2, 1]);
        assert_eq!(smaller_batches(5).collect::<Vec<_>>(), [1]);
        assert_eq!(smaller_batches(1).count(), 0);
    }

    #[test]
    fn rows_are_halved_while_something_is_left_of_them() {
        assert_eq!(shorter_rows(512).collect::<Vec<_>>(), [256, 128, 64]);
        assert_eq!(shorter_rows(100).count(), 0);
    }
}
