//! Projects at another place, and models and data that are no longer where they were.

use crate::{kit, project_scenes};
use egui::accesskit::Role;
use egui_kittest::kittest::Queryable as _;
use std::path::{Path, PathBuf};
use temper::commands::{Id, UiCommand, entry};
use temper::state::rehouse::RehouseAct;
use temper::state::relink::RelinkAct;
use temper::state::setup::Card;
use temper::state::{Room, Sheet};
use temper_protocol::project::Source;
use temper_protocol::{Command, Event, project_file};
use temper_store::ProjectLock;

fn opened() -> (tempfile::TempDir, temper::testing::Stage, kit::Window, PathBuf) {
    let (root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, &stage);
    (root, stage, window, folder)
}

#[test]
fn a_copy_is_made_and_opened_and_the_project_stays() {
    let (_root, _stage, mut window, folder) = opened();
    kit::send(&mut window, UiCommand::Rehouse(RehouseAct::Open { moves: false }));
    let copy = folder.with_file_name("customer-tone-copy");
    window.get_by_role_and_label(Role::CheckBox, "With its runs, checkpoints and exports");
    kit::press(&mut window, "Duplicate");
    window.run();
    let state = &window.state().state;
    assert_eq!(state.draft.folder.as_ref(), Some(&copy));
    assert_eq!(state.sheet, None);
    assert_eq!(state.draft.project.name, "customer-tone-copy");
    assert!(folder.join(project_file::FILE_NAME).is_file() && copy.join(project_file::FILE_NAME).is_file());
    assert!(state.settings.recents.iter().any(|recent| recent.path == folder), "both are on the list");
}

#[test]
fn an_edit_that_comes_while_a_copy_is_made_belongs_to_the_project_that_stays() {
    let (_root, _stage, mut window, folder) = opened();
    kit::send(&mut window, UiCommand::Rehouse(RehouseAct::Open { moves: false }));
    let mut project = window.state().state.draft.project.clone();
    project.train.seed = 77;
    let ctx = window.ctx.clone();
    window.state_mut().send(&ctx, UiCommand::Rehouse(RehouseAct::Confirm));
    window.state_mut().send(&ctx, UiCommand::Edit("train.seed".to_owned(), Box::new(project)));
    window.run_steps(4);
    let copy = folder.with_file_name("customer-tone-copy");
    assert_eq!(window.state().state.draft.folder.as_ref(), Some(&copy));
    assert_eq!(project_file::load(&folder).expect("reads").train.seed, 77);
    assert_ne!(project_file::load(&copy).expect("reads").train.seed, 77);
}

#[test]
fn a_project_on_its_way_is_not_sent_elsewhere_whatever_lies_over_the_room() {
    let (_root, _stage, mut window, folder) = opened();
    kit::send(&mut window, UiCommand::Rehouse(RehouseAct::Open { moves: true }));
    let to = folder.with_file_name("elsewhere");
    kit::send(&mut window, UiCommand::Rehouse(RehouseAct::Folder(to.display().to_string())));
    let ctx = window.ctx.clone();
    let app = window.state_mut();
    app.send(&ctx, UiCommand::Rehouse(RehouseAct::Confirm));
    app.send(&ctx, UiCommand::OpenPalette);
    app.send(&ctx, UiCommand::Rehouse(RehouseAct::Open { moves: false }));
    assert!(matches!(app.state.sheet, Some(Sheet::Palette { .. })), "the disk is at work");
    window.run_steps(4);
    let state = &window.state().state;
    assert_eq!((state.draft.folder.as_ref(), state.rehousing), (Some(&to), false));
    assert!(!folder.exists());
}

#[test]
fn nothing_is_exported_or_cleaned_from_a_project_on_its_way() {
    let (_root, stage, mut window, folder) = opened();
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "finished", 1200), false));
    window.run();
    kit::send(&mut window, UiCommand::Rehouse(RehouseAct::Open { moves: true }));
    let to = folder.with_file_name("elsewhere");
    kit::send(&mut window, UiCommand::Rehouse(RehouseAct::Folder(to.display().to_string())));
    let entry = entry(Id::Export);
    assert_eq!((entry.hindrance)(&window.state().state), None, "it could be exported until then");
    let ctx = window.ctx.clone();
    let app = window.state_mut();
    app.send(&ctx, UiCommand::Rehouse(RehouseAct::Confirm));
    assert!(app.state.rehousing);
    let going = Some("the project is being copied or moved");
    assert_eq!((entry.hindrance)(&app.state), going, "the button says why not");
    let mut refused = crate::export_scenes::refused();
    refused.run = Some(7);
    for command in [UiCommand::Export, UiCommand::WriteAgain(Box::new(refused))] {
        app.send(&ctx, command);
    }
    assert_eq!(stage.engine.count(|command| matches!(command, Command::Export { .. })), 0);
    assert!(app.state.exporting().is_none());
}

#[test]
fn a_project_moves_and_its_last_edit_goes_along() {
    let (_root, _stage, mut window, folder) = opened();
    let mut project = window.state().state.draft.project.clone();
    project.train.seed = 77;
    kit::send(&mut window, UiCommand::Edit("train.seed".to_owned(), Box::new(project)));
    kit::send(&mut window, UiCommand::Rehouse(RehouseAct::Open { moves: true }));
    let to = folder.with_file_name("elsewhere");
    kit::send(&mut window, UiCommand::Rehouse(RehouseAct::Folder(to.display().to_string())));
    kit::press(&mut window, "Move");
    window.run();
    let state = &window.state().state;
    assert_eq!(state.draft.folder.as_ref(), Some(&to));
    assert_eq!(state.draft.project.train.seed, 77);
    assert!(!folder.exists(), "nothing is left at, or comes back to, the old place");
    assert!(!state.settings.recents.iter().any(|recent| recent.path == folder));
}

#[test]
fn an_edit_that_could_not_be_written_is_kept_and_tried_again() {
    let (_root, _stage, mut window, folder) = opened();
    // What lies in the place of the folder cannot be written into.
    std::fs::remove_dir_all(&folder).expect("the folder goes");
    std::fs::write(&folder, "in the way").expect("a file");
    for seed in [76, 77] {
        let mut project = window.state().state.draft.project.clone();
        project.train.seed = seed;
        kit::send(&mut window, UiCommand::Edit("train.seed".to_owned(), Box::new(project)));
        window.run_steps(4);
        let state = &window.state().state;
        assert!(!state.draft.is_saved() && state.draft.refused.is_some());
        assert!(state.setup.problems.contains_key(&Card::Preflight), "it is said");
    }
    std::fs::remove_file(&folder).expect("the way is free");
    // Nobody touches anything meanwhile.
    window.run_steps(24);
    let state = &window.state().state;
    assert!(state.draft.is_saved() && state.draft.refused.is_none());
    assert!(!state.setup.problems.contains_key(&Card::Preflight), "and it is no longer said");
    assert_eq!(project_file::load(&folder).expect("reads").train.seed, 77, "the latest edit");
}

#[test]
fn what_keeps_a_project_from_moving_is_said_in_the_question() {
    let (_root, _stage, mut window, folder) = opened();
    let lock = ProjectLock::acquire(&folder).expect("an engine");
    kit::send(&mut window, UiCommand::Rehouse(RehouseAct::Open { moves: true }));
    kit::press(&mut window, "Move");
    assert!(folder.is_dir(), "where it is already is no place to move to");
    let to = folder.with_file_name("elsewhere");
    kit::send(&mut window, UiCommand::Rehouse(RehouseAct::Folder(to.display().to_string())));
    kit::press(&mut window, "Move");
    window.run();
    drop(lock);
    let Some(Sheet::Rehouse(asked)) = &window.state().state.sheet else { panic!("the question is gone") };
    assert!(asked.problem.is_some() && !window.state().state.rehousing);
    assert!(window.query_all_by_label_contains("works on this project").next().is_some(), "the reason is said");
    assert!(folder.is_dir() && !to.exists());
}

#[test]
fn a_missing_model_says_what_it_was_and_the_same_one_is_used_when_found() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    project_scenes::model_gone(&mut window, &stage);
    window.get_by_label("The model is no longer there");
    for words in [kit::MODEL, "134.5 M parameters (run 7)", "9f86d081884c"] {
        assert!(window.query_all_by_label_contains(words).next().is_some(), "\"{words}\" is said");
    }
    kit::press(&mut window, "Find it…");
    assert_eq!(stage.picker.0.lock().asked.len(), 1);
    kit::send(&mut window, UiCommand::Drop(vec![PathBuf::from("/elsewhere/found.gguf")]));
    let state = &window.state().state;
    assert_eq!(state.sheet, None, "it is the same");
    assert_eq!(state.draft.project.model.path, "/elsewhere/found.gguf");
    assert!(window.query_by_label("The model is no longer there").is_none());
}

#[test]
fn another_model_is_told_before_it_is_used() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    project_scenes::other_model(&mut window, &stage);
    assert!(matches!(window.state().state.sheet, Some(Sheet::Mismatch { .. })));
    assert_eq!(window.state().state.draft.project.model.path, kit::MODEL, "nothing was used yet");
    assert!(window.query_all_by_label_contains("It has 361.8 M parameters").next().is_some());
    kit::press(&mut window, "Use it anyway");
    assert_eq!(window.state().state.draft.project.model.path, project_scenes::OTHER);
    kit::send(&mut window, UiCommand::Undo);
    assert_eq!(window.state().state.draft.project.model.path, kit::MODEL);
}

#[test]
fn missing_data_is_found_in_its_place_among_the_others() {
    let (_root, stage) = kit::stage();
    stage.engine.reply_with(|command| project_scenes::without(command, Path::new("/data/gone.jsonl")));
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = stage.places.projects.join("two");
    std::fs::create_dir_all(&folder).expect("project folder");
    let mut project = kit::project();
    let gone = Source::Weighted { path: "/data/gone.jsonl".to_owned(), weight: 2.0 };
    project.data.train = vec![Source::Path(kit::DATA.to_owned()), gone];
    project_file::save(&project, &folder.join(project_file::FILE_NAME)).expect("project file");
    kit::send(&mut window, UiCommand::OpenProject(folder));
    window.run_steps(6);
    window.run();
    window.get_by_label("The data is no longer there");
    kit::send(&mut window, UiCommand::Drop(vec![PathBuf::from("/disk/found.jsonl")]));
    let found = Source::Weighted { path: "/disk/found.jsonl".to_owned(), weight: 2.0 };
    let train = window.state().state.draft.project.data.train.clone();
    assert_eq!(train, [Source::Path(kit::DATA.to_owned()), found]);
}

#[test]
fn what_comes_back_is_seen_by_looking_again() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    project_scenes::model_gone(&mut window, &stage);
    stage.engine.reply_with(kit::answer);
    kit::send(&mut window, UiCommand::Relink(RelinkAct::LookAgain));
    window.run_steps(3);
    window.run();
    let state = &window.state().state;
    assert!(state.setup.missing.is_empty() && state.room == Room::Setup);
    assert!(matches!(state.model_facts(), Some(Event::Model { .. })));
    assert!(stage.engine.count(|command| matches!(command, Command::Preview { .. })) > 0);
}
