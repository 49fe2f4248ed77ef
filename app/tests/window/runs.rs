//! Training: where a new project lives, steering, re-attaching, losing the engine, closing.

use crate::{kit, scenes};
use egui_kittest::kittest::Queryable as _;
use std::path::PathBuf;
use temper::commands::UiCommand;
use temper::state::{Ask, Room, Sheet};
use temper::testing::Stage;
use temper_protocol::{Act, Command, Event, RunRef, RunStatus};

fn started(run: u64) -> Event {
    Event::Started {
        run,
        project: PathBuf::from("project"),
        method: "lora".to_owned(),
        model_parameters: 134_515_008,
        trained_parameters: 4_884_480,
        seed: 42,
        threads: 7,
        device: "cpu".to_owned(),
        max_steps: 1200,
        resumed_from: 0,
    }
}

fn is_train(command: &Command) -> bool {
    matches!(command, Command::Train { .. })
}

/// A window in which run 7 of the scenes' project is being trained by our engine.
fn training(stage: &Stage) -> (kit::Window, PathBuf) {
    let mut window = kit::window(stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, stage);
    kit::press(&mut window, "Train");
    window.run_steps(2);
    stage.engine.say(is_train, vec![started(7)]);
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "running", 412), true));
    window.run();
    (window, folder)
}

fn controls(stage: &Stage) -> Vec<Act> {
    let script = stage.engine.0.lock();
    let act = |command: &Command| if let Command::Control { act, .. } = command { Some(*act) } else { None };
    script.sent.iter().filter_map(|(_, command)| act(command)).collect()
}

#[test]
fn the_first_training_asks_where_the_project_lives_and_writes_it_there() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::send(&mut window, UiCommand::Drop(vec![PathBuf::from(kit::MODEL), PathBuf::from(kit::DATA)]));
    kit::press(&mut window, "Train");
    let folder = stage.places.projects.join("support-tone");
    assert_eq!(window.state().state.sheet, Some(Sheet::Place { folder: folder.display().to_string() }));
    assert_eq!(stage.engine.count(is_train), 0);
    kit::press(&mut window, "Create and train");
    window.run_steps(3);
    let saved = temper_protocol::project_file::load(&folder).expect("project.toml was written");
    assert_eq!(saved.model.path, kit::MODEL);
    match stage.engine.newest(is_train) {
        Some(Command::Train { project, resume, .. }) => {
            assert_eq!(project, folder);
            assert_eq!(resume, None);
        }
        other => panic!("expected training, got {other:?}"),
    }
    assert_eq!(window.state().state.room, Room::Watch);
    assert_eq!(stage.runs.0.lock().request.project.as_deref(), Some(folder.as_path()));
}

#[test]
fn a_project_is_not_placed_where_only_a_part_of_a_path_says() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::send(&mut window, UiCommand::Drop(vec![PathBuf::from(kit::MODEL), PathBuf::from(kit::DATA)]));
    kit::press(&mut window, "Train");
    for part in ["support-tone", "./support-tone", "../support-tone", ""] {
        kit::send(&mut window, UiCommand::PlaceText(part.to_owned()));
        window.get_by_label("Write the whole path of one folder.");
        kit::send(&mut window, UiCommand::ConfirmPlace);
        let state = &window.state().state;
        assert_eq!((state.draft.folder.as_ref(), state.setup.train_wanted), (None, false), "{part}");
        assert_eq!(state.sheet, Some(Sheet::Place { folder: part.to_owned() }), "{part}: the question stays");
    }
    assert_eq!(stage.engine.count(is_train), 0);
    let folder = stage.places.projects.join("other");
    kit::send(&mut window, UiCommand::PlaceText(format!("\"{}\"", folder.display())));
    kit::press(&mut window, "Create and train");
    window.run_steps(3);
    assert_eq!(window.state().state.draft.folder.as_ref(), Some(&folder));
    assert!(folder.join("project.toml").is_file());
}

#[test]
fn a_run_is_paused_resumed_saved_and_stopped_by_buttons_and_keys() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = training(&stage);
    assert_eq!(window.state().state.room, Room::Watch);
    kit::press(&mut window, "Pause");
    assert_eq!(controls(&stage), [Act::Pause]);
    window.get_by_label("pausing");
    stage.engine.say(is_train, vec![Event::Paused { run: 7, step: 412 }]);
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "paused", 412), true));
    window.run();
    assert!(window.query_all_by_label("paused").next().is_some());
    window.key_press(egui::Key::Space);
    window.run();
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "running", 413), true));
    window.run();
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::S);
    window.run();
    kit::press(&mut window, "Ask now");
    kit::press(&mut window, "Stop and keep");
    assert_eq!(controls(&stage), [Act::Pause, Act::Resume, Act::SaveNow, Act::SampleNow, Act::Stop]);
}

#[test]
fn a_new_window_shows_a_run_that_goes_on_and_measures_nothing_beside_it() {
    let (_root, stage) = kit::stage();
    let folder = stage.places.projects.join("customer-tone");
    std::fs::create_dir_all(&folder).expect("folder");
    temper_protocol::project_file::save(&kit::project(), &folder.join("project.toml")).expect("project");
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::send(&mut window, UiCommand::OpenProject(folder.clone()));
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "running", 100), true));
    window.run();
    window.run_steps(8);
    assert_eq!(window.state().state.room, Room::Watch);
    assert_eq!(stage.engine.count(|command| matches!(command, Command::Preflight { .. })), 0);
}

#[test]
fn a_run_of_another_process_is_steered_through_the_store() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, &stage);
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "running", 100), true));
    window.run();
    kit::send(&mut window, UiCommand::Go(Room::Watch));
    kit::press(&mut window, "Pause");
    assert!(controls(&stage).is_empty(), "our engine does not train it");
    assert_eq!(stage.runs.0.lock().steered, [Command::Control { project: None, run: 7, act: Act::Pause }]);
}

#[test]
fn when_the_engine_dies_the_window_says_so_and_offers_to_go_on() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = training(&stage);
    stage.engine.die();
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "running", 412), false));
    window.run();
    window.run();
    assert_eq!(window.state().state.engine.lost_run, Some(7));
    assert!(window.query_all_by_label_contains("Training stopped at step 412: the engine").next().is_some());
    assert_eq!(window.query_all_by_label("Dismiss").count(), 0, "the end is told once, beside the run");
    kit::press(&mut window, "Go on from the last checkpoint");
    match stage.engine.newest(is_train) {
        Some(Command::Train { resume, project, .. }) => {
            assert_eq!(resume, Some(RunRef::Id(7)));
            assert_eq!(project, folder);
        }
        other => panic!("expected a resumed training, got {other:?}"),
    }
    assert_eq!(stage.engine.0.lock().launches, 2, "a new engine was started for it");
}

#[test]
fn a_refused_start_goes_back_to_the_card_that_can_solve_it() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    kit::press(&mut window, "Train");
    window.run_steps(2);
    let busy = temper_protocol::Problem::new(
        temper_protocol::Code::Busy,
        "another engine trains this project",
        "process 4242",
        "wait for it or stop it",
    );
    stage.engine.say(is_train, vec![Event::Error(busy)]);
    window.run();
    assert_eq!(window.state().state.room, Room::Setup);
    assert!(window.query_all_by_label("Another engine trains this project").next().is_some());
}

#[test]
fn a_finished_run_is_remembered_with_its_result() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = training(&stage);
    let finished = Event::Finished {
        run: 7,
        status: RunStatus::Finished,
        steps: 1200,
        best_step: 1150,
        base_loss: 2.914,
        final_loss: 1.44,
        best_loss: 1.427,
        forgetting: 0.041,
        tokens_per_sec: 410.0,
        cpu_secs_per_step: 14.0,
        peak_rss_mib: 1638.0,
        wall_secs: 2484.0,
        adapter: Some(PathBuf::from("runs/0007/adapter")),
        problem: None,
    };
    stage.engine.say(is_train, vec![finished]);
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "finished", 1200), false));
    window.run();
    assert!(window.state().state.jobs.find(|ask| matches!(ask, Ask::Train { .. })).is_none());
    let recent = window.state().state.settings.recents.first().expect("a recent project");
    assert_eq!(recent.result.as_ref().and_then(|result| result.forgetting), Some(0.041));
    kit::press(&mut window, "Export…");
    assert_eq!(window.state().state.room, Room::Export);
    assert_eq!(window.state().state.export.run, Some(7));
}

#[test]
fn closing_while_a_run_goes_on_asks_first() {
    let (_root, stage) = kit::stage();
    let (mut window, _folder) = training(&stage);
    let close = |window: &mut kit::Window| {
        let id = egui::ViewportId::ROOT;
        let info = window.input_mut().viewports.entry(id).or_default();
        info.events.push(egui::ViewportEvent::Close);
        window.step();
        window.input_mut().viewports.entry(id).or_default().events.clear();
        window.run();
    };
    close(&mut window);
    assert_eq!(window.state().state.sheet, Some(Sheet::Closing { waiting: false }));
    kit::press(&mut window, "Stay");
    assert_eq!(window.state().state.sheet, None);
    close(&mut window);
    // The sheet lies over the room's own button of this name.
    let stop = window.get_all_by_label("Stop and keep").last().expect("a button");
    stop.click();
    window.run();
    assert_eq!(controls(&stage), [Act::Stop]);
    assert_eq!(window.state().state.sheet, Some(Sheet::Closing { waiting: true }));
}

#[test]
fn the_scrubber_and_the_microscope_ask_the_store_for_that_step() {
    let (_root, stage) = kit::stage();
    let (mut window, _folder) = training(&stage);
    kit::send(&mut window, UiCommand::Scrub(Some(250)));
    kit::send(&mut window, UiCommand::Site(Some("layers.17.attn.v".to_owned())));
    let request = stage.runs.0.lock().request.clone();
    assert_eq!(request.rank_step, Some(250));
    assert_eq!(request.site.as_deref(), Some("layers.17.attn.v"));
    assert!(window.query_all_by_label("adapter as of step 250").next().is_some());
    kit::press(&mut window, "Back to live");
    assert_eq!(window.state().state.watch.scrub, None);
}

#[test]
fn dragging_over_a_plot_zooms_and_a_double_click_shows_everything() {
    let (_root, stage) = kit::stage();
    let (mut window, _folder) = training(&stage);
    let name = "Loss: Train fell from 2.92 to 1.36. Validation has not improved for 62 steps.";
    let plot = window.get_all_by_label_contains("Loss: Train fell").next().map(|node| node.rect());
    let plot = plot.unwrap_or_else(|| panic!("no plot called {name}"));
    window.drag_at(plot.lerp_inside(egui::vec2(0.25, 0.5)));
    window.step();
    window.hover_at(plot.lerp_inside(egui::vec2(0.4, 0.5)));
    window.step();
    window.hover_at(plot.lerp_inside(egui::vec2(0.5, 0.5)));
    window.step();
    window.drop_at(plot.lerp_inside(egui::vec2(0.5, 0.5)));
    window.run();
    let (first, last) = window.state().state.watch.steps.expect("zoomed");
    assert!((80..140).contains(&first) && (180..250).contains(&last), "{first} to {last}");
    assert_eq!(stage.runs.0.lock().request.steps, Some((first, last)));
    kit::send(&mut window, UiCommand::Zoomed(None));
    assert_eq!(stage.runs.0.lock().request.steps, None);
}

#[test]
fn nothing_is_drawn_while_nothing_changes() {
    let (_root, stage) = kit::stage();
    let (mut window, _folder) = training(&stage);
    window.run_steps(40);
    window.step();
    let delay = window.output().viewport_output.values().map(|out| out.repaint_delay).min();
    assert_eq!(delay, Some(std::time::Duration::MAX), "an idle window asks for no frame");
}

#[test]
fn a_damaged_run_database_is_repaired_by_a_button() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, &stage);
    let is_repair = |command: &Command| matches!(command, Command::Repair { .. });
    assert!(!temper::commands::entry(temper::commands::Id::Repair).enabled(&window.state().state));
    stage.runs.publish(scenes::unreadable(&folder));
    window.run();
    kit::press(&mut window, "Repair the run database");
    assert_eq!(stage.engine.newest(is_repair), Some(Command::Repair { project: folder.clone() }));
    let notice = window.state().state.notice.as_ref().expect("a message");
    assert!(notice.text.starts_with("The run database is repaired"), "{}", notice.text);
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "finished", 1200), false));
    window.run();
    assert!(window.query_all_by_label("Repair the run database").next().is_none(), "nothing is left to repair");
}
