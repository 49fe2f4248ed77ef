//! Dropping: the verdict while it hovers, the place after it falls, the second choice one click away.

use crate::kit;
use egui_kittest::kittest::Queryable as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use temper::commands::UiCommand;
use temper::dialogs::{Pick, Picked};
use temper::state::setup::Card;
use temper::state::{Room, Sheet};
use temper_protocol::{Command, Event, Value};

#[derive(Debug)]
struct Dropped(PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        Err("the window must not read files".to_owned())
    }
}

fn hover(window: &mut kit::Window, paths: &[&str]) {
    for _ in 0..3 {
        let file = |path: &&str| egui::HoveredFile { path: Some(PathBuf::from(path)), ..egui::HoveredFile::default() };
        window.input_mut().hovered_files = paths.iter().map(file).collect();
        window.step();
    }
}

fn release(window: &mut kit::Window, paths: &[&str]) {
    window.input_mut().hovered_files.clear();
    for path in paths {
        window.input_mut().dropped_files.push(Arc::new(Dropped(PathBuf::from(path))));
    }
    window.step();
    window.run();
}

fn inspects(command: &Command, path: &str) -> bool {
    matches!(command, Command::Inspect { paths } if paths.iter().any(|asked| asked == Path::new(path)))
}

#[test]
fn a_hovering_model_is_named_before_it_falls_and_goes_to_its_card() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    hover(&mut window, &[kit::MODEL]);
    assert_eq!(stage.engine.count(|command| inspects(command, kit::MODEL)), 1, "asked once while it hovers");
    window.get_by_label("Drop: Llama-type model, 134.5 M parameters, Q4_1");
    window.get_by_label("goes here");
    assert!(window.state().state.draft.project.model.path.is_empty(), "nothing changes before it falls");
    release(&mut window, &[kit::MODEL]);
    let state = &window.state().state;
    assert_eq!(state.draft.project.model.path, kit::MODEL);
    assert_eq!(state.room, Room::Setup);
    assert_eq!(stage.engine.count(|command| inspects(command, kit::MODEL)), 1, "the answer is not asked for twice");
    window.get_by_label("SmolLM2-135M-Instruct.Q4_1.gguf is the model now");
}

#[test]
fn leaving_with_the_file_changes_nothing() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    hover(&mut window, &[kit::DATA]);
    window.get_by_label("Drop: chat messages, 4,812 rows, JSON Lines");
    window.input_mut().hovered_files.clear();
    window.run();
    assert!(!window.state().state.draft.open);
    assert!(window.query_by_label("goes here").is_none());
}

#[test]
fn data_can_be_kept_instead_with_one_click_and_undone() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    release(&mut window, &[kit::DATA]);
    assert_eq!(kit::train_paths(&window.state().state.draft.project), [kit::DATA]);
    kit::press(&mut window, "Keep it instead");
    let project = &window.state().state.draft.project;
    assert!(kit::train_paths(project).is_empty());
    assert!(project.keep.probes.iter().any(|probe| probe == kit::DATA));
    kit::press(&mut window, "Train on it instead");
    assert_eq!(kit::train_paths(&window.state().state.draft.project), [kit::DATA]);
    window.state_mut().state.setup.dropped = None;
    kit::send(&mut window, UiCommand::Undo);
    assert!(kit::train_paths(&window.state().state.draft.project).is_empty());
}

/// Steps of training, as the form would change them.
fn set_steps(window: &mut kit::Window, steps: u64) {
    let mut project = window.state().state.draft.project.clone();
    project.train.steps = steps;
    kit::send(window, UiCommand::Edit("train.steps".to_owned(), Box::new(project)));
}

fn is_kept(window: &kit::Window) -> bool {
    window.state().state.draft.project.keep.probes.iter().any(|probe| probe == kit::DATA)
}

fn undos(window: &kit::Window) -> usize {
    window.query_all_by_role_and_label(egui::accesskit::Role::Button, "Undo").count()
}

#[test]
fn the_second_choice_takes_no_later_edit_back() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    release(&mut window, &[kit::DATA]);
    assert_eq!(undos(&window), 2, "that of the room, and that of the note");
    set_steps(&mut window, 77);
    assert_eq!(undos(&window), 1, "what it would take back is another edit now");
    kit::press(&mut window, "Keep it instead");
    let project = &window.state().state.draft.project;
    assert_eq!((kit::train_paths(project).len(), project.train.steps), (0, 77));
    assert!(is_kept(&window));
}

#[test]
fn what_is_there_already_goes_elsewhere_without_taking_an_edit_back() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    set_steps(&mut window, 77);
    release(&mut window, &[kit::DATA]);
    assert_eq!(undos(&window), 1, "the drop changed nothing");
    kit::press(&mut window, "Keep it instead");
    let project = &window.state().state.draft.project;
    assert_eq!((kit::train_paths(project).len(), project.train.steps), (0, 77));
    assert!(is_kept(&window));
    kit::send(&mut window, UiCommand::Undo);
    let project = &window.state().state.draft.project;
    assert_eq!((kit::train_paths(project), project.train.steps), (vec![kit::DATA], 77));
}

#[test]
fn what_was_dropped_together_with_it_stays_where_it_is() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    release(&mut window, &[kit::MODEL, kit::DATA]);
    kit::press(&mut window, "Keep it instead");
    let project = &window.state().state.draft.project;
    assert_eq!((project.model.path.as_str(), kit::train_paths(project).len()), (kit::MODEL, 0));
    assert!(is_kept(&window));
}

#[test]
fn a_model_and_two_files_dropped_together_find_their_places() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    release(&mut window, &[kit::MODEL, kit::DATA, "/data/more.jsonl"]);
    let state = &window.state().state;
    assert_eq!(state.draft.project.model.path, kit::MODEL);
    assert_eq!(kit::train_paths(&state.draft.project), [kit::DATA, "/data/more.jsonl"]);
    assert_eq!(state.draft.project.name, "support-tone");
}

#[test]
fn an_adapter_gives_method_and_rank() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    release(&mut window, &["/adapters/tone-adapter"]);
    let method = &window.state().state.draft.project.method;
    assert_eq!(method.id, "lora");
    assert_eq!(method.settings.integer("rank"), 32);
}

/// The window over an engine that finds adapters of this method.
fn with_adapters_of(stage: &temper::testing::Stage, method: &'static str) -> kit::Window {
    stage.engine.reply_with(move |command| {
        let mut events = kit::answer(command);
        for event in &mut events {
            if let Event::Adapter { method: own, .. } = event {
                method.clone_into(own);
            }
        }
        events
    });
    kit::window(stage, kit::SIZES[0], true)
}

#[test]
fn an_adapter_leaves_nothing_of_another_method_behind() {
    let (_root, stage) = kit::stage();
    let mut window = with_adapters_of(&stage, "lora");
    kit::open(&mut window, &stage);
    let mut project = window.state().state.draft.project.clone();
    project.method.id = "full".to_owned();
    project.method.settings.0.insert("train_norms".to_owned(), Value::Flag(false));
    project.train.lr_peak = 2e-5;
    kit::send(&mut window, UiCommand::Edit(String::new(), Box::new(project)));
    release(&mut window, &["/adapters/tone-adapter"]);
    let project = &window.state().state.draft.project;
    assert_eq!(project.method.id, "lora");
    assert_eq!(project.method.settings.0.keys().collect::<Vec<_>>(), ["rank"]);
    assert!(project.train.lr_peak.abs() < f64::EPSILON, "what the new method usually takes");
}

#[test]
fn an_adapter_of_no_method_here_is_refused_in_its_card_and_changes_nothing() {
    let (_root, stage) = kit::stage();
    let mut window = with_adapters_of(&stage, "oft");
    kit::open(&mut window, &stage);
    let before = window.state().state.draft.project.clone();
    release(&mut window, &["/adapters/tone-adapter"]);
    let state = &window.state().state;
    assert_eq!(state.draft.project, before);
    let problem = state.setup.problems.get(&Card::Method).expect("a problem of the card Method");
    assert!(problem.what.contains("oft") && problem.action.contains("Export"), "{problem}");
    assert_eq!(state.setup.dropped, None, "nothing is said to have its place");
}

#[test]
fn a_pickle_is_refused_in_the_card_it_was_meant_for() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    hover(&mut window, &["/downloads/model.pt"]);
    window.get_by_label("Not something Temper can use");
    release(&mut window, &["/downloads/model.pt"]);
    let problem = window.state().state.setup.problems.get(&Card::Model).expect("a problem of the model card");
    assert!(problem.what.contains("pickle"), "{problem}");
    assert!(window.state().state.draft.project.model.path.is_empty());
}

#[test]
fn a_dialog_and_a_typed_path_are_the_same_as_a_drop() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    stage.picker.0.lock().answer = Some(Picked::Paths(vec![PathBuf::from(kit::MODEL)]));
    kit::press(&mut window, "Choose files…");
    assert_eq!(stage.picker.0.lock().asked, [Pick::Files]);
    assert_eq!(window.state().state.draft.project.model.path, kit::MODEL);
    kit::send(&mut window, UiCommand::EnterPath);
    window.get_by_label("Path").type_text(kit::DATA);
    window.run();
    kit::press(&mut window, "Open");
    assert_eq!(kit::train_paths(&window.state().state.draft.project), [kit::DATA]);
    assert_eq!(window.state().state.sheet, None);
}

#[test]
fn texts_chosen_for_the_keep_card_go_there() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::send(&mut window, UiCommand::Go(Room::Setup));
    stage.picker.0.lock().answer = Some(Picked::Paths(vec![PathBuf::from("/data/contracts.txt")]));
    kit::press(&mut window, "Add texts…");
    let project = &window.state().state.draft.project;
    assert!(project.keep.probes.iter().any(|probe| probe == "/data/contracts.txt"));
    assert!(kit::train_paths(project).is_empty());
}

#[test]
fn without_a_portal_the_window_offers_its_own_path_field_and_says_why() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    stage.picker.0.lock().answer = Some(Picked::Unavailable);
    kit::press(&mut window, "Choose folder…");
    match &window.state().state.sheet {
        Some(Sheet::PathEntry { reason, .. }) => assert!(reason.contains("no file dialog"), "{reason}"),
        other => panic!("expected the path field, got {other:?}"),
    }
}

#[test]
fn a_dropped_project_opens() {
    let (_root, stage) = kit::stage();
    let folder = stage.places.projects.join("tone");
    std::fs::create_dir_all(&folder).expect("folder");
    temper_protocol::project_file::save(&kit::project(), &folder.join("project.toml")).expect("project");
    let shown = folder.clone();
    stage.engine.reply_with(move |command| match command {
        Command::Inspect { paths } if paths.contains(&shown) => vec![
            Event::Project {
                path: shown.clone(),
                name: "tone".to_owned(),
                model: kit::MODEL.to_owned(),
                method: "lora".to_owned(),
                runs: 0,
            },
            Event::Done {},
        ],
        other => kit::answer(other),
    });
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::send(&mut window, UiCommand::Drop(vec![folder.clone()]));
    assert_eq!(window.state().state.draft.folder.as_deref(), Some(folder.as_path()));
    assert_eq!(window.state().state.settings.recents.first().map(|recent| recent.name.as_str()), Some("customer-tone"));
}
