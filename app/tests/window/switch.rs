//! From one project to another: what was edited is on disk, and nothing of the one shows, is steered or is booked in the
//! other.

use crate::{export_scenes, kit};
use std::path::{Path, PathBuf};
use temper::commands::UiCommand;
use temper::dialogs::Picked;
use temper::state::{Ask, Room, Sheet};
use temper::testing::Stage;
use temper_protocol::{Act, Code, Command, Event, Problem, Project, project_file};

fn is_train(command: &Command) -> bool {
    matches!(command, Command::Train { .. })
}

fn is_export(command: &Command) -> bool {
    matches!(command, Command::Export { .. })
}

fn queued(run: u64) -> Event {
    Event::Queued { run }
}

/// Another project on disk.
fn other(stage: &Stage) -> PathBuf {
    let folder = stage.places.projects.join("other");
    std::fs::create_dir_all(&folder).expect("a folder");
    let project = Project::new("other", kit::MODEL, &[kit::DATA.to_owned()], "lora");
    project_file::save(&project, &folder.join(project_file::FILE_NAME)).expect("a project");
    folder
}

/// What was steered, and in which project.
fn steered(stage: &Stage) -> Vec<(Option<PathBuf>, u64, Act)> {
    let script = stage.engine.0.lock();
    let steered = |command: &Command| match command {
        Command::Control { project, run, act } => Some((project.clone(), *run, *act)),
        _ => None,
    };
    script.sent.iter().filter_map(|(_, command)| steered(command)).collect()
}

/// Our engine trains run 7 of the scenes' project, and another one is open.
fn elsewhere(stage: &Stage) -> (kit::Window, PathBuf, PathBuf) {
    let mut window = kit::window(stage, kit::SIZES[0], true);
    let first = kit::open(&mut window, stage);
    kit::press(&mut window, "Train");
    window.run_steps(2);
    stage.engine.say(is_train, vec![queued(7)]);
    stage.runs.publish(kit::snapshot(&first, kit::view(7, "running", 412), true));
    window.run();
    let second = other(stage);
    kit::send(&mut window, UiCommand::OpenProject(second.clone()));
    window.run_steps(3);
    assert_eq!(window.state().state.draft.folder.as_ref(), Some(&second));
    (window, first, second)
}

#[test]
fn a_run_of_a_project_that_was_left_is_neither_shown_nor_steered_in_the_next() {
    let (_root, stage) = kit::stage();
    let (mut window, _first, second) = elsewhere(&stage);
    assert!(window.state().state.is_training(), "it goes on");
    assert!(window.state().state.runs.runs.is_empty(), "and is none of this project's");
    kit::press(&mut window, "Train");
    window.run_steps(2);
    assert_eq!(stage.engine.count(is_train), 2, "it waits for its turn");
    let request = |command: &Command| matches!(command, Command::Train { project, .. } if *project == second);
    stage.engine.say(request, vec![queued(7)]);
    stage.runs.publish(kit::snapshot(&second, kit::view(7, "queued", 0), true));
    window.run();
    kit::send(&mut window, UiCommand::Act(Act::Stop));
    assert_eq!(steered(&stage), [(Some(second), 7, Act::Stop)], "the run 7 of the open project");
}

#[test]
fn stop_and_close_stops_what_is_trained_of_another_project() {
    let (_root, stage) = kit::stage();
    let (mut window, first, _second) = elsewhere(&stage);
    kit::send(&mut window, UiCommand::CloseStop);
    assert_eq!(steered(&stage), [(Some(first), 7, Act::Stop)]);
    assert_eq!(window.state().state.sheet, Some(Sheet::Closing { waiting: true }), "it is waited for");
    let gone = Problem::new(Code::Cancelled, "stopped", "", "");
    stage.engine.say(is_train, vec![Event::Error(gone)]);
    window.run();
    assert!(!window.state().state.is_training());
}

#[test]
fn an_edit_is_on_disk_before_another_project_is_read_and_the_same_one_shows_it() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let first = kit::open(&mut window, &stage);
    let second = other(&stage);
    for (next, steps) in [(&second, 611), (&first, 612)] {
        let mut project = window.state().state.draft.project.clone();
        project.train.steps = steps;
        let ctx = window.ctx.clone();
        // Both in one frame: there is no moment of quiet between them.
        window.state_mut().perform(&ctx, UiCommand::Edit("train.steps".to_owned(), Box::new(project)));
        window.state_mut().perform(&ctx, UiCommand::OpenProject(next.clone()));
        window.run_steps(3);
        assert_eq!(window.state().state.draft.folder.as_ref(), Some(next));
    }
    let steps = |folder: &Path| project_file::load(folder).expect("a project").train.steps;
    assert_eq!((steps(&first), steps(&second)), (611, 612));
    let ctx = window.ctx.clone();
    let mut project = window.state().state.draft.project.clone();
    project.train.steps = 613;
    window.state_mut().perform(&ctx, UiCommand::Edit("train.steps".to_owned(), Box::new(project)));
    window.state_mut().perform(&ctx, UiCommand::OpenProject(first));
    window.run_steps(3);
    assert_eq!(window.state().state.draft.project.train.steps, 613, "opened again, it is as it was edited");
}

#[test]
fn a_new_project_has_nothing_of_the_one_before() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, &stage);
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "finished", 1200), false));
    window.run();
    let state = &mut window.state_mut().state;
    state.export.card = Some((1, "of the project before".to_owned()));
    state.export.certificates = vec![export_scenes::passed()];
    state.compare.chosen = Some(vec![7]);
    state.watch.run = Some(7);
    kit::send(&mut window, UiCommand::NewProject);
    let state = &window.state().state;
    assert_eq!((state.draft.folder.as_ref(), state.room), (None, Room::Setup));
    assert!(state.runs.runs.is_empty() && state.race.is_none());
    assert_eq!(state.export, temper::state::export::Export::default());
    assert_eq!((state.watch.run, state.compare.chosen.as_ref()), (None, None));
}

#[test]
fn what_was_set_up_without_a_folder_comes_back_after_another_project() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::send(&mut window, UiCommand::Drop(vec![PathBuf::from(kit::MODEL), PathBuf::from(kit::DATA)]));
    let begun = window.state().state.draft.project.clone();
    let folder = other(&stage);
    kit::send(&mut window, UiCommand::OpenProject(folder.clone()));
    window.run_steps(3);
    assert_eq!(window.state().state.draft.folder, Some(folder));
    kit::send(&mut window, UiCommand::NewProject);
    assert!(!window.state().state.draft.has_model(), "new is empty");
    kit::send(&mut window, UiCommand::Undo);
    let draft = &window.state().state.draft;
    assert_eq!((draft.folder.as_ref(), &draft.project.model, &draft.project.data), (None, &begun.model, &begun.data));
}

#[test]
fn a_new_project_does_not_take_the_place_of_another() {
    let (_root, stage) = kit::stage();
    let folder = other(&stage);
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::send(&mut window, UiCommand::Drop(vec![PathBuf::from(kit::MODEL), PathBuf::from(kit::DATA)]));
    kit::press(&mut window, "Train");
    kit::send(&mut window, UiCommand::PlaceText(folder.display().to_string()));
    kit::press(&mut window, "Create and train");
    window.run_steps(3);
    assert_eq!(project_file::load(&folder).expect("a project").name, "other");
    assert_eq!(stage.engine.count(is_train), 0);
    assert_eq!(window.state().state.draft.folder, None, "it has no place yet");
    kit::press(&mut window, "Train");
    let free = stage.places.projects.join("free");
    kit::send(&mut window, UiCommand::PlaceText(free.display().to_string()));
    kit::press(&mut window, "Create and train");
    window.run_steps(3);
    assert_eq!(stage.engine.count(is_train), 1);
    assert!(free.join(project_file::FILE_NAME).is_file());
}

/// Runs 7 and 6 can be exported, and 6 is asked for.
fn exporting(stage: &Stage) -> (kit::Window, PathBuf) {
    let mut window = kit::window(stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, stage);
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "finished", 1200), false));
    window.run();
    kit::send(&mut window, UiCommand::ExportRun(6));
    kit::send(&mut window, UiCommand::ExportTarget(0));
    kit::send(&mut window, UiCommand::Export);
    assert_eq!(stage.engine.count(is_export), 1);
    (window, folder)
}

fn written(folder: &Path) -> Event {
    let path = folder.join("exports").join("tone-run6-peft");
    Event::Written { format: "peft".to_owned(), path, bytes: 4, sha256: "9f3c".to_owned() }
}

#[test]
fn an_export_is_booked_to_the_run_it_was_asked_for() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = exporting(&stage);
    kit::send(&mut window, UiCommand::ExportRun(7));
    kit::send(&mut window, UiCommand::ExportTarget(2));
    stage.engine.say(is_export, vec![written(&folder), Event::Done {}]);
    window.run();
    let certificates = &window.state().state.export.certificates;
    let booked = certificates.first().map(|known| (known.run, known.target));
    assert_eq!(booked, Some((Some(6), Some(0))));
}

#[test]
fn an_export_that_was_cancelled_can_be_asked_for_again() {
    let (_root, stage) = kit::stage();
    let (mut window, _folder) = exporting(&stage);
    assert!(window.state().state.exporting().is_some());
    stage.engine.say(is_export, vec![Event::Error(Problem::new(Code::Cancelled, "cancelled", "", ""))]);
    window.run();
    assert!(window.state().state.exporting().is_none());
    assert_eq!(window.state().state.export.problem, None, "who cancelled it needs no explanation");
    kit::send(&mut window, UiCommand::Export);
    assert_eq!(stage.engine.count(is_export), 2);
}

#[test]
fn an_export_of_a_project_that_was_left_shows_nothing_in_the_next_and_does_not_block_it() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = exporting(&stage);
    let second = other(&stage);
    kit::send(&mut window, UiCommand::OpenProject(second));
    window.run_steps(3);
    assert!(window.state().state.exporting().is_none());
    stage.engine.say(is_export, vec![written(&folder), Event::Done {}]);
    window.run();
    assert!(window.state().state.export.certificates.is_empty());
    assert!(window.state().state.jobs.find(|ask| matches!(ask, Ask::Export(_))).is_none(), "it is over");
}

#[test]
fn methods_are_asked_for_again_when_the_engine_ended_before_it_said_them() {
    let (_root, stage) = kit::stage();
    stage.engine.reply_with(|command| match command {
        Command::Methods {} => Vec::new(),
        other => kit::answer(other),
    });
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    assert!(window.state().state.methods.is_empty());
    stage.engine.die();
    window.run_steps(3);
    stage.engine.reply_with(kit::answer);
    kit::send(&mut window, UiCommand::Drop(vec![PathBuf::from(kit::MODEL)]));
    window.run_steps(3);
    assert!(!window.state().state.methods.is_empty());
}

#[test]
fn a_project_is_taken_off_the_list_and_stays_where_it_is() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[1], true);
    let first = kit::open(&mut window, &stage);
    kit::send(&mut window, UiCommand::OpenProject(other(&stage)));
    window.run_steps(3);
    kit::send(&mut window, UiCommand::Go(Room::Home));
    kit::press(&mut window, "Take customer-tone off the list");
    let recents = &window.state().state.settings.recents;
    assert_eq!(recents.iter().map(|recent| recent.name.as_str()).collect::<Vec<_>>(), ["other"]);
    assert!(first.join(project_file::FILE_NAME).is_file());
}

#[test]
fn a_folder_that_no_file_manager_shows_is_said() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, &stage);
    kit::send(&mut window, UiCommand::Reveal(folder.clone()));
    assert_eq!(stage.picker.0.lock().shown, std::slice::from_ref(&folder));
    stage.picker.0.lock().answer = Some(Picked::NotShown(folder.clone()));
    window.run();
    let said = window.state().state.notice.as_ref().map(|notice| notice.text.clone()).unwrap_or_default();
    assert!(said.contains(&folder.display().to_string()), "{said}");
}
