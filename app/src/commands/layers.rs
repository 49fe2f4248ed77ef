//! Commands about one layer of the rank microscope and about the experts of routers: why they cannot be carried out now,
//! and what they do.

use super::UiCommand;
use crate::reader::RunView;
use crate::screen::{Format, Plot};
use crate::state::State;

fn view(state: &State) -> Option<&RunView> {
    state.runs.view.as_deref()
}

pub(super) fn needs_change(state: &State) -> Option<&'static str> {
    let row = view(state).and_then(|view| view.rank.looked_at(state.watch.site.as_deref()));
    match row {
        None => Some(t!("commands-no-rank")),
        Some(row) => row.spectrum.is_empty().then_some(t!("watch-no-change")),
    }
}

pub(super) fn needs_history(state: &State) -> Option<&'static str> {
    let measured = view(state).is_some_and(|view| !view.rank.history.is_empty());
    if measured { None } else { Some(t!("commands-no-rank")) }
}

pub(super) fn needs_experts(state: &State) -> Option<&'static str> {
    let routed = view(state).is_some_and(|view| !view.experts.routers.is_empty());
    if routed { None } else { Some(t!("commands-no-experts")) }
}

pub(super) fn show_spectrum(_state: &State) -> UiCommand {
    UiCommand::ShowTable(Plot::Spectrum)
}

pub(super) fn spectrum_csv(_state: &State) -> UiCommand {
    UiCommand::SaveTable(Plot::Spectrum)
}

pub(super) fn spectrum_png(_state: &State) -> UiCommand {
    UiCommand::SavePicture(Plot::Spectrum, Format::Png)
}

pub(super) fn spectrum_svg(_state: &State) -> UiCommand {
    UiCommand::SavePicture(Plot::Spectrum, Format::Svg)
}

pub(super) fn show_history(_state: &State) -> UiCommand {
    UiCommand::ShowTable(Plot::History)
}

pub(super) fn history_csv(_state: &State) -> UiCommand {
    UiCommand::SaveTable(Plot::History)
}

pub(super) fn history_png(_state: &State) -> UiCommand {
    UiCommand::SavePicture(Plot::History, Format::Png)
}

pub(super) fn history_svg(_state: &State) -> UiCommand {
    UiCommand::SavePicture(Plot::History, Format::Svg)
}

pub(super) fn show_experts(_state: &State) -> UiCommand {
    UiCommand::ShowTable(Plot::Experts)
}

pub(super) fn experts_csv(_state: &State) -> UiCommand {
    UiCommand::SaveTable(Plot::Experts)
}

pub(super) fn experts_png(_state: &State) -> UiCommand {
    UiCommand::SavePicture(Plot::Experts, Format::Png)
}

pub(super) fn experts_svg(_state: &State) -> UiCommand {
    UiCommand::SavePicture(Plot::Experts, Format::Svg)
}
