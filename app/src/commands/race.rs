//! Why a command about a race of methods cannot be done now, and what those do that depend on the state.

use super::UiCommand;
use super::conditions::needs_both;
use crate::state::State;
use crate::state::race::{self, RACERS, RaceAct};
use temper_protocol::project::Validation;

pub(super) fn needs_methods(state: &State) -> Option<&'static str> {
    state.methods.is_empty().then_some(t!("method-asking"))
}

/// Why the ticked methods cannot race now: what the engine would refuse is said beforehand.
pub(super) fn can_start(state: &State) -> Option<&'static str> {
    let project = &state.draft.project;
    let count = state.setup.racers.len();
    if let Some(missing) = needs_both(state) {
        Some(missing)
    } else if state.is_training() {
        Some(t!("commands-run-going"))
    } else if count < RACERS.0 {
        Some(t!("race-too-few"))
    } else if count > RACERS.1 {
        Some(t!("race-too-many"))
    } else if project.train.epochs.is_some() {
        Some(t!("race-no-epochs"))
    } else if project.train.steps < 1 << (race::rounds(count) - 1) {
        Some(t!("race-few-steps"))
    } else if matches!(project.data.validation, Validation::Share(share) if share <= 0.0) {
        Some(t!("race-no-validation"))
    } else {
        None
    }
}

pub(super) fn needs_going(state: &State) -> Option<&'static str> {
    (!race::goes_on(state)).then_some(t!("race-none-goes"))
}

pub(super) fn needs_race(state: &State) -> Option<&'static str> {
    state.race.is_none().then_some(t!("race-none"))
}

pub(super) fn needs_past_races(state: &State) -> Option<&'static str> {
    let any = !state.races.kept.is_empty() || state.race.is_some();
    if any { None } else { Some(t!("race-none")) }
}

pub(super) fn needs_rounds(state: &State) -> Option<&'static str> {
    let told = state.race.as_ref().is_some_and(|race| !race.rounds.is_empty());
    if told { None } else { Some(t!("race-no-round")) }
}

pub(super) fn needs_winner(state: &State) -> Option<&'static str> {
    let winner = state.race.as_ref().and_then(|race| race.winner());
    winner.is_none().then_some(t!("race-no-winner"))
}

pub(super) fn use_winner(state: &State) -> UiCommand {
    let winner = state.race.as_ref().and_then(|race| race.winner());
    UiCommand::Race(RaceAct::Use(winner.map_or_else(String::new, |one| one.method.clone())))
}
