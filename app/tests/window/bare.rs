//! An adapter folder that belongs to no run: chosen, dropped and typed, written, and refused where it does not fit.

use crate::export_scenes::{self, ADAPTER};
use crate::kit::{self, Window};
use egui_kittest::kittest::Queryable as _;
use std::path::PathBuf;
use temper::commands::UiCommand;
use temper::dialogs::{Pick, Picked};
use temper::state::Room;
use temper::state::export::BareAdapter;
use temper::testing::Stage;
use temper_protocol::command::ExportSource;
use temper_protocol::{Code, Command, Event, ExportFormat, Problem};

fn is_export(command: &Command) -> bool {
    matches!(command, Command::Export { .. })
}

/// The room Export of a project without runs.
fn room(stage: &Stage) -> (Window, PathBuf) {
    let mut window = kit::window(stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, stage);
    kit::send(&mut window, UiCommand::Go(Room::Export));
    (window, folder)
}

/// Chooses a folder as if it was typed, and lets the engine say what it is.
fn type_adapter(window: &mut Window, path: &str) {
    kit::send(window, UiCommand::ExportAdapter(path.to_owned()));
    window.run_steps(4);
    window.run();
}

#[test]
fn a_chosen_adapter_folder_is_written_over_the_projects_model_with_a_certificate() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = room(&stage);
    stage.picker.0.lock().answer = Some(Picked::Paths(vec![PathBuf::from(ADAPTER)]));
    kit::press(&mut window, "Export an adapter folder…");
    assert_eq!(stage.picker.0.lock().asked, [Pick::Folder]);
    let state = &window.state().state;
    assert_eq!(state.room, Room::Export);
    assert_eq!(state.export.adapter, Some(BareAdapter { path: ADAPTER.to_owned(), model: None }));
    assert_eq!(state.draft.project.method.settings.0.get("rank"), None, "the project stays as it is");
    assert!(window.query_all_by_label_contains("rank 32, 210 sites").next().is_some());
    window.get_by_label("Target merged GGUF, f16").click();
    window.run();
    kit::press(&mut window, "Write and check");
    let out = folder.join("exports").join("tone-adapter-gguf-f16.gguf");
    match stage.engine.newest(is_export) {
        Some(Command::Export { source, format, out: place, card, .. }) => {
            let path = PathBuf::from(ADAPTER);
            assert_eq!(source, ExportSource::Adapter { path, model: kit::MODEL.to_owned() });
            assert_eq!((format, place, card), (ExportFormat::Gguf, out.clone(), None));
        }
        other => panic!("expected an export, got {other:?}"),
    }
    let record = export_scenes::passed().record;
    let written =
        Event::Written { format: record.format.clone(), path: out.clone(), bytes: record.bytes, sha256: record.sha256 };
    let certificate = Event::Certificate {
        pass: true,
        format: record.format,
        mean_abs_diff: 0.0,
        max_abs_diff: 0.0,
        relative_diff: 0.0,
        top1_agreement: 1.0,
        greedy_equal: true,
        reasons: Vec::new(),
        checks: record.checks,
        path: out,
    };
    stage.engine.say(is_export, vec![written, certificate, Event::Done {}]);
    window.run();
    window.get_by_label("Passed: merged GGUF, f16");
    window.get_by_label("passed");
    let known = window.state().state.export.certificates.first().expect("a certificate").clone();
    assert_eq!((known.run, known.adapter), (None, window.state().state.export.adapter.clone()));
}

#[test]
fn an_adapter_dropped_on_the_room_is_exported_and_elsewhere_it_can_be_with_one_click() {
    let (_root, stage) = kit::stage();
    let (mut window, _folder) = room(&stage);
    let before = window.state().state.draft.project.clone();
    kit::send(&mut window, UiCommand::Drop(vec![PathBuf::from(ADAPTER)]));
    assert_eq!(window.state().state.room, Room::Export);
    assert_eq!(window.state().state.draft.project, before, "method and rank are not taken from it");
    assert!(window.state().state.export.adapter.is_some());
    window.state_mut().state.export.adapter = None;
    kit::send(&mut window, UiCommand::Go(Room::Setup));
    kit::send(&mut window, UiCommand::Drop(vec![PathBuf::from(ADAPTER)]));
    assert_eq!(window.state().state.draft.project.method.settings.integer("rank"), 32);
    kit::press(&mut window, "Export it instead");
    let state = &window.state().state;
    assert_eq!((state.room, &state.draft.project), (Room::Export, &before));
    assert_eq!(state.export.adapter.as_ref().map(|bare| bare.path.as_str()), Some(ADAPTER));
}

#[test]
fn without_a_base_nothing_is_written_and_a_typed_one_takes_the_place_of_the_projects() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::send(&mut window, UiCommand::Go(Room::Export));
    kit::send(&mut window, UiCommand::Export);
    type_adapter(&mut window, ADAPTER);
    kit::send(&mut window, UiCommand::Export);
    assert_eq!(stage.engine.count(is_export), 0, "no project, so no model that could be meant");
    kit::send(&mut window, UiCommand::ExportBase(Some("/models/other.gguf".to_owned())));
    kit::press(&mut window, "Write and check");
    match stage.engine.newest(is_export) {
        Some(Command::Export { source: ExportSource::Adapter { model, .. }, .. }) => {
            assert_eq!(model, "/models/other.gguf");
        }
        other => panic!("expected an export of the adapter, got {other:?}"),
    }
}

#[test]
fn a_wrong_base_is_said_by_the_engine_in_the_room() {
    let (_root, stage) = kit::stage();
    let (mut window, _folder) = room(&stage);
    type_adapter(&mut window, ADAPTER);
    kit::press(&mut window, "Write and check");
    let what = "the adapter does not fit this base: lora_A of layers.0.attn.q has 960 inputs, not 576";
    let refusal = Problem::new(Code::AdapterInvalid, what, ADAPTER, "choose the base that it was trained on");
    stage.engine.say(is_export, vec![Event::Error(refusal)]);
    window.run();
    window.get_by_label(&format!("Not written: {what}"));
    window.get_by_label("Choose the base that it was trained on");
    assert!(window.state().state.exporting().is_none());
}

#[test]
fn what_is_no_adapter_is_refused_in_the_room_and_goes_into_no_card() {
    let (_root, stage) = kit::stage();
    let (mut window, _folder) = room(&stage);
    let before = window.state().state.draft.project.clone();
    stage.picker.0.lock().answer = Some(Picked::Paths(vec![PathBuf::from(kit::DATA)]));
    kit::send(&mut window, UiCommand::ChooseAdapter);
    window.run_steps(4);
    window.run();
    let state = &window.state().state;
    assert_eq!((state.room, &state.draft.project), (Room::Export, &before));
    assert_eq!(state.export.adapter, Some(BareAdapter::default()), "the room waits for a folder");
    window.get_by_label("Not written: this is no adapter folder");
    type_adapter(&mut window, "/downloads/model.pt");
    let state = &window.state().state;
    assert!(state.export.problem.is_some() && state.setup.problems.is_empty(), "{:?}", state.setup.problems);
    assert_eq!(stage.engine.count(is_export), 0);
}

#[test]
fn a_run_chosen_again_takes_the_place_of_the_folder() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = room(&stage);
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "finished", 1200), false));
    window.run();
    type_adapter(&mut window, ADAPTER);
    assert!(temper::update::export_run(&window.state().state).is_none());
    kit::send(&mut window, UiCommand::ExportRun(7));
    assert_eq!(window.state().state.export.adapter, None);
    assert_eq!(temper::update::export_run(&window.state().state).map(|row| row.run), Some(7));
}
