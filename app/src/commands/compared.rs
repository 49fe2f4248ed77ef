//! Why a command of the room Compare cannot be done now, and what those do that depend on the state.

use super::UiCommand;
use crate::screen::{Format, Plot};
use crate::state::compare::CompareAct;
use crate::state::{State, compared};

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
