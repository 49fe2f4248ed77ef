//! Why a command of the room Compare, or about runs that are over, cannot be done now, and what those do that depend on
//! the state.

use super::UiCommand;
use crate::screen::{Format, Plot};
use crate::state::compare::{CompareAct, Part};
use crate::state::{State, compared};
use temper_protocol::housekeeping::{Housekeeping, LabelChange};

pub(super) fn needs_compared(state: &State) -> Option<&'static str> {
    state.compared().is_empty().then_some(t!("commands-none-compared"))
}

pub(super) fn needs_curves(state: &State) -> Option<&'static str> {
    needs_compared(state).or_else(|| compared::lines(state).is_empty().then(|| t!("commands-no-compared-curves")))
}

pub(super) fn needs_compared_zoom(state: &State) -> Option<&'static str> {
    state.compare.zoom.is_none().then_some(t!("commands-is-whole"))
}

pub(super) fn needs_rows(state: &State) -> Option<&'static str> {
    state.compare.judged.rows.is_empty().then_some(t!("commands-no-rows"))
}

pub(super) fn turn_smooth(state: &State) -> UiCommand {
    UiCommand::Compare(CompareAct::Smooth(!state.compare.smooth))
}

pub(super) fn turn_log(state: &State) -> UiCommand {
    UiCommand::Compare(CompareAct::LogY(!state.compare.log_y))
}

pub(super) fn whole(_state: &State) -> UiCommand {
    UiCommand::Compare(CompareAct::Zoom(None))
}

pub(super) fn compared_png(_state: &State) -> UiCommand {
    UiCommand::SavePicture(Plot::Compared, Format::Png)
}

pub(super) fn compared_svg(_state: &State) -> UiCommand {
    UiCommand::SavePicture(Plot::Compared, Format::Svg)
}

pub(super) fn tradeoff_png(_state: &State) -> UiCommand {
    UiCommand::SavePicture(Plot::Tradeoff, Format::Png)
}

pub(super) fn tradeoff_svg(_state: &State) -> UiCommand {
    UiCommand::SavePicture(Plot::Tradeoff, Format::Svg)
}

pub(super) fn can_trash(state: &State) -> Option<&'static str> {
    match state.watched() {
        None => Some(t!("commands-no-run")),
        Some(row) => (row.is_active() && state.is_held(row.run)).then(|| t!("commands-run-going")),
    }
}

pub(super) fn order_runs(_state: &State) -> UiCommand {
    UiCommand::Compare(CompareAct::Part(Part::Order))
}

/// The run that is looked at; 0, which no run is, without one.
fn watched(state: &State) -> u64 {
    state.watched().map_or(0, |row| row.run)
}

pub(super) fn report_run(state: &State) -> UiCommand {
    UiCommand::SaveReport(watched(state))
}

pub(super) fn star_run(state: &State) -> UiCommand {
    let starred = state.watched().is_none_or(|row| !row.labels.starred);
    let change = LabelChange { starred: Some(starred), ..LabelChange::default() };
    UiCommand::Compare(CompareAct::Tidy(Housekeeping::Label { run: watched(state), change }))
}

pub(super) fn trash_run(state: &State) -> UiCommand {
    UiCommand::Compare(CompareAct::Tidy(Housekeeping::Trash { runs: vec![watched(state)] }))
}

pub(super) fn prune_all(_state: &State) -> UiCommand {
    UiCommand::Compare(CompareAct::Tidy(Housekeeping::Prune { runs: Vec::new() }))
}
