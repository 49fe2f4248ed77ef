//! Why a command about a moment of a run, or about runs that wait, cannot be done now.

use crate::state::State;
use crate::state::afterwards::After;

pub(super) fn needs_queue(state: &State) -> Option<&'static str> {
    let any = state.is_training() || !state.waiting_rows().is_empty();
    if any { None } else { Some(t!("commands-none-waits")) }
}

pub(super) fn needs_after(state: &State) -> Option<&'static str> {
    (state.afterwards.wish == After::Nothing).then_some(t!("commands-after-none"))
}

pub(super) fn needs_earlier(state: &State) -> Option<&'static str> {
    state.other_kept_state(false).is_none().then_some(t!("commands-no-earlier"))
}

pub(super) fn needs_later(state: &State) -> Option<&'static str> {
    state.other_kept_state(true).is_none().then_some(t!("commands-no-later"))
}

pub(super) fn needs_step_ask(state: &State) -> Option<&'static str> {
    (!state.watch.ask.open).then_some(t!("commands-no-step-ask"))
}
