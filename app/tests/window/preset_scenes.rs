//! Presets of one's own: listed beside the others, and the question for a name.

use crate::kit::{self, Window};
use temper::commands::UiCommand;
use temper::state::presets::PresetAct;
use temper::testing::Stage;
use temper_protocol::Value;

/// Keeps what the form holds under a name.
fn keep(window: &mut Window, name: &str) {
    kit::send(window, UiCommand::Preset(PresetAct::Open));
    kit::send(window, UiCommand::Preset(PresetAct::Name(name.to_owned())));
    kit::send(window, UiCommand::Preset(PresetAct::Keep));
}

/// Edits the rank and the rate.
pub(crate) fn set_rank(window: &mut Window, rank: i64, rate: f64) {
    let mut project = window.state().state.draft.project.clone();
    project.method.settings.0.insert("rank".to_owned(), Value::Integer(rank));
    project.train.lr_peak = rate;
    kit::send(window, UiCommand::Edit(String::new(), Box::new(project)));
}

/// Two presets of one's own, and neither is what the form holds.
pub(crate) fn own_presets(window: &mut Window, stage: &Stage) {
    kit::open(window, stage);
    set_rank(window, 4, 1e-4);
    keep(window, "small");
    set_rank(window, 64, 3e-4);
    keep(window, "wide");
    set_rank(window, 24, 3e-4);
}

/// The question for a name, with one that is there already.
pub(crate) fn saving_preset(window: &mut Window, stage: &Stage) {
    own_presets(window, stage);
    kit::send(window, UiCommand::Preset(PresetAct::Open));
    kit::send(window, UiCommand::Preset(PresetAct::Name("wide".to_owned())));
}
