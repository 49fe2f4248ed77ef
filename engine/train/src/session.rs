//! A whole run: from paths to the last checkpoint.

use crate::error::Result;
use crate::{Outcome, RunControl, TrainError, TrainRequest};
use temper_protocol::{Event, Problem};

/// Trains. Emits everything from `preparing` and `started` on, except the one `finished` event, which
/// the host makes of the [`Outcome`].
///
/// A failure after `started` is an [`Outcome`] with status failed and its problem, so that the figures up
/// to it are kept.
///
/// # Errors
/// Whatever kept the run from starting: model, data, method or project that cannot be used, a checkpoint
/// that does not belong to them, a run folder that cannot be written.
pub fn train(request: &TrainRequest, control: &RunControl, emit: &mut dyn FnMut(Event)) -> Result<Outcome> {
    let _ = (request, control, emit);
    Err(TrainError::Problem(Problem::internal("the trainer is not linked in")))
}

/// Measures one real micro-step at the longest rows in a scratch state and answers with
/// [`Event::Preflight`]; emits [`Event::Progress`] while it works. Writes nothing.
///
/// # Errors
/// The same as [`train`].
pub fn preflight(request: &TrainRequest, control: &RunControl, emit: &mut dyn FnMut(Event)) -> Result<Event> {
    let _ = (request, control, emit);
    Err(TrainError::Problem(Problem::internal("the trainer is not linked in")))
}
