//! Why a command cannot be done now, in words for its tooltip; and what those that depend on the state do.

use super::UiCommand;
use crate::state::machine::MachineAct;
use crate::state::{Ask, State};

pub(super) fn always(_state: &State) -> Option<&'static str> {
    None
}

pub(super) fn needs_project(state: &State) -> Option<&'static str> {
    (!state.draft.open).then_some(t!("commands-no-project"))
}

pub(super) fn needs_folder(state: &State) -> Option<&'static str> {
    state.draft.folder.is_none().then_some(t!("commands-no-folder"))
}

pub(super) fn needs_both(state: &State) -> Option<&'static str> {
    if !state.draft.has_model() {
        Some(t!("commands-no-model"))
    } else if state.draft.project.data.train.is_empty() {
        Some(t!("commands-no-data"))
    } else {
        None
    }
}

pub(super) fn can_train(state: &State) -> Option<&'static str> {
    // While our engine trains, the next run waits for its turn.
    if state.is_training() && !state.can_queue() { Some(t!("commands-run-going")) } else { needs_both(state) }
}

pub(super) fn needs_live(state: &State) -> Option<&'static str> {
    state.live_run().is_none().then_some(t!("commands-no-run-going"))
}

pub(super) fn can_pause(state: &State) -> Option<&'static str> {
    match state.live_run() {
        None => Some(t!("commands-no-run-going")),
        Some(row) if row.status == "paused" => Some(t!("commands-is-paused")),
        Some(_) => None,
    }
}

pub(super) fn can_resume(state: &State) -> Option<&'static str> {
    match state.live_run() {
        Some(row) if row.status == "paused" => None,
        Some(_) => Some(t!("commands-not-paused")),
        None => Some(t!("commands-no-run-going")),
    }
}

pub(super) fn can_continue(state: &State) -> Option<&'static str> {
    match state.watched() {
        Some(row) if state.is_interrupted(row) || row.status == "stopped" || row.status == "failed" => {
            if state.is_training() { Some(t!("commands-run-going")) } else { None }
        }
        Some(_) => Some(t!("commands-not-interrupted")),
        None => Some(t!("commands-no-run")),
    }
}

pub(super) fn needs_run(state: &State) -> Option<&'static str> {
    state.watched().is_none().then_some(t!("commands-no-run"))
}

pub(super) fn needs_kept(state: &State) -> Option<&'static str> {
    let measured = state.runs.view.as_ref().is_some_and(|view| view.kept_step.is_some());
    if measured { None } else { Some(t!("commands-no-kept")) }
}

pub(super) fn needs_ranks(state: &State) -> Option<&'static str> {
    let measured = state.runs.view.as_ref().is_some_and(|view| !view.rank.steps.is_empty());
    if measured { None } else { Some(t!("commands-no-rank")) }
}

pub(super) fn needs_scrub(state: &State) -> Option<&'static str> {
    state.watch.scrub.is_none().then_some(t!("commands-is-live"))
}

pub(super) fn needs_zoom(state: &State) -> Option<&'static str> {
    state.watch.steps.is_none().then_some(t!("commands-is-whole"))
}

pub(super) fn needs_others(state: &State) -> Option<&'static str> {
    (state.runs.runs.len() < 2).then_some(t!("commands-no-other"))
}

pub(super) fn needs_beside(state: &State) -> Option<&'static str> {
    state.watch.beside.is_empty().then_some(t!("commands-no-beside"))
}

pub(super) fn needs_damage(state: &State) -> Option<&'static str> {
    if !state.is_database_damaged() {
        Some(t!("commands-not-damaged"))
    } else if state.jobs.find(|ask| *ask == Ask::Repair).is_some() {
        Some(t!("commands-repairing"))
    } else {
        None
    }
}

pub(super) fn can_export(state: &State) -> Option<&'static str> {
    if let Some(hindrance) = crate::update::bare_hindrance(state) {
        Some(hindrance)
    } else if state.export.adapter.is_none() && crate::update::export_run(state).is_none() {
        Some(t!("commands-no-result"))
    } else if state.exporting().is_some() {
        Some(t!("commands-exporting"))
    } else if state.rehousing {
        // What it writes would make a folder at the old place again.
        Some(t!("rehouse-going"))
    } else {
        let target = crate::state::export::TARGETS.get(state.export.target);
        let hindered = target.is_some_and(|target| crate::update::target_hindrance(state, target).is_some());
        hindered.then_some(t!("commands-no-target"))
    }
}

pub(super) fn can_undo(state: &State) -> Option<&'static str> {
    (!state.draft.can_undo()).then_some(t!("commands-no-undo"))
}

pub(super) fn can_redo(state: &State) -> Option<&'static str> {
    (!state.draft.can_redo()).then_some(t!("commands-no-redo"))
}

pub(super) fn continue_run(state: &State) -> UiCommand {
    UiCommand::Resume(state.watched().map_or(0, |row| row.run))
}

pub(super) fn reveal_project(state: &State) -> UiCommand {
    UiCommand::Reveal(state.draft.folder.clone().unwrap_or_default())
}

pub(super) fn needs_own_keys(state: &State) -> Option<&'static str> {
    state.settings.keys.is_empty().then_some(t!("commands-no-own-keys"))
}

pub(super) fn turn_battery(state: &State) -> UiCommand {
    UiCommand::Machine(MachineAct::PauseOnBattery(!state.settings.pause_on_battery))
}
