//! States of the window around projects and what leaves them: the model card, moving, what is no longer there.

use crate::{export_scenes, kit};
use egui_kittest::Harness;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use temper::app::App;
use temper::commands::UiCommand;
use temper::state::card::CardAct;
use temper::state::rehouse::RehouseAct;
use temper::state::{Room, Sheet};
use temper::testing::Stage;
use temper_protocol::{Code, Command, Event, Problem};

type Window = Harness<'static, App>;

pub(crate) fn model_card(window: &mut Window, stage: &Stage) {
    export_scenes::export_ready(window, stage);
    kit::send(window, UiCommand::ExportTarget(0));
    kit::send(window, UiCommand::Card(CardAct::Open));
}

pub(crate) fn own_card(window: &mut Window, stage: &Stage) {
    model_card(window, stage);
    kit::send(window, UiCommand::Card(CardAct::Text("# Calm answers\n".to_owned())));
    kit::send(window, UiCommand::Card(CardAct::Keep));
}

pub(crate) fn duplicating(window: &mut Window, stage: &Stage) {
    kit::open(window, stage);
    kit::send(window, UiCommand::Rehouse(RehouseAct::Open { moves: false }));
}

pub(crate) fn moving(window: &mut Window, stage: &Stage) {
    kit::open(window, stage);
    kit::send(window, UiCommand::Rehouse(RehouseAct::Open { moves: true }));
    if let Some(Sheet::Rehouse(asked)) = &mut window.state_mut().state.sheet {
        asked.folder = "/projects/elsewhere".to_owned();
        let what = "another engine (process 4242) works on this project";
        asked.problem = Some(Problem::new(Code::Busy, what, "", "wait until it is done"));
    }
    window.run();
}

/// A model of another size than that of the scenes.
pub(crate) const OTHER: &str = "/models/SmolLM2-360M-Instruct.gguf";

/// What the scripted engine answers when nothing is at `gone`.
pub(crate) fn without(command: &Command, gone: &Path) -> Vec<Event> {
    match command {
        Command::Inspect { paths } if paths.iter().any(|path| path == gone) => {
            let place = gone.display().to_string();
            vec![Event::Error(Problem::new(Code::NotFound, "there is nothing at this path", place, "check the path"))]
        }
        Command::Inspect { paths } if paths.iter().any(|path| path == Path::new(OTHER)) => {
            let mut other = kit::model(OTHER);
            if let Event::Model { parameters, .. } = &mut other {
                *parameters = 361_821_120;
            }
            vec![other, Event::Done {}]
        }
        other => kit::answer(other),
    }
}

/// The project of the scenes, trained once, whose model is gone.
pub(crate) fn model_gone(window: &mut Window, stage: &Stage) {
    stage.engine.reply_with(|command| without(command, Path::new(kit::MODEL)));
    let folder = kit::open(window, stage);
    let mut view = kit::view(7, "finished", 1200);
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    view.row.hashes.insert("base".to_owned(), hash.to_owned());
    let mut snapshot = kit::snapshot(&folder, view, false);
    let settings = vec![("model.path".to_owned(), kit::MODEL.to_owned())];
    snapshot.settings.insert(7, Arc::new(settings));
    stage.runs.publish(snapshot);
    window.run();
    kit::send(window, UiCommand::Go(Room::Setup));
}

/// Another model was found in its place.
pub(crate) fn other_model(window: &mut Window, stage: &Stage) {
    model_gone(window, stage);
    kit::send(window, UiCommand::Drop(vec![PathBuf::from(OTHER)]));
    window.run();
}
