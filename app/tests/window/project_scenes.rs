//! States of the window around projects and what leaves them: the model card, moving, what is no longer there.

use crate::{kit, scenes};
use egui_kittest::Harness;
use temper::app::App;
use temper::commands::UiCommand;
use temper::state::card::CardAct;
use temper::testing::Stage;

type Window = Harness<'static, App>;

pub(crate) fn model_card(window: &mut Window, stage: &Stage) {
    scenes::export_ready(window, stage);
    kit::send(window, UiCommand::ExportTarget(0));
    kit::send(window, UiCommand::Card(CardAct::Open));
}

pub(crate) fn own_card(window: &mut Window, stage: &Stage) {
    model_card(window, stage);
    kit::send(window, UiCommand::Card(CardAct::Text("# Calm answers\n".to_owned())));
    kit::send(window, UiCommand::Card(CardAct::Keep));
}
