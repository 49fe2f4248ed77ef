//! Several runs: one trains, the others wait in an order that a person chooses.

use crate::kit::{self, Window};
use crate::step_scenes::with_waiting;
use egui_kittest::kittest::Queryable as _;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use temper::commands::{Id, UiCommand, entry};
use temper::state::{Room, Sheet};
use temper::testing::Stage;
use temper_protocol::{Act, Code, Command, Event, Problem};

fn is_train(command: &Command) -> bool {
    matches!(command, Command::Train { .. })
}

/// Run 7 is trained by our engine.
fn training(stage: &Stage) -> (Window, PathBuf) {
    let mut window = kit::window(stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, stage);
    kit::press(&mut window, "Train");
    window.run_steps(2);
    stage.engine.say(
        is_train,
        vec![Event::Preparing {
            run: 7,
            stage: "reading the model".to_owned(),
            done: 0,
            total: 0,
            unit: "bytes".to_owned(),
        }],
    );
    stage.runs.publish(with_waiting(&folder, &[]));
    window.run();
    (window, folder)
}

fn told(stage: &Stage) -> Vec<(u64, Act)> {
    let script = stage.engine.0.lock();
    let act =
        |command: &Command| if let Command::Control { run, act, .. } = command { Some((*run, *act)) } else { None };
    script.sent.iter().filter_map(|(_, command)| act(command)).collect()
}

#[test]
fn train_pressed_while_a_run_goes_on_lets_the_next_one_wait() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = training(&stage);
    kit::send(&mut window, UiCommand::Go(Room::Setup));
    kit::press(&mut window, "Train");
    window.run_steps(3);
    assert_eq!(stage.engine.count(is_train), 2);
    assert!(!entry(Id::Train).enabled(&window.state().state), "pressed twice it is one run");
    stage.engine.say(is_train, vec![Event::Queued { run: 8 }]);
    stage.runs.publish(with_waiting(&folder, &[8]));
    window.run();
    let state = &window.state().state;
    assert_eq!((state.room, state.watch.run), (Room::Setup, Some(7)), "what is looked at stays");
    assert_eq!(state.live_run().map(|row| row.run), Some(7), "the newest run is not the one that goes on");
    let notice = state.notice.as_ref().map(|notice| notice.text.as_str());
    assert_eq!(notice, Some("Run 8 waits for run 7; its settings are kept as they are now"));
    assert!(window.query_all_by_label_contains("Run 8 waits for run 7").next().is_some(), "seen while a run goes on");
    assert!(entry(Id::Train).enabled(state), "another one may wait");
    kit::send(&mut window, UiCommand::Act(Act::Pause));
    assert_eq!(told(&stage), [(7, Act::Pause)], "the one that trains is steered");
}

#[test]
fn a_run_alone_prepares_and_one_behind_another_is_queued() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, &stage);
    // On record it is queued until its engine says more.
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "queued", 0), true));
    window.run();
    kit::send(&mut window, UiCommand::Watch(7));
    assert!(window.query_all_by_label_contains("preparing").next().is_some(), "in the head and in the status bar");
    assert!(window.query_all_by_label_contains("queued").next().is_none(), "nothing is before it");
    let snapshot = with_waiting(&folder, &[8, 9]);
    let (first, second) = (kit::row(8, "queued", 0), kit::row(9, "queued", 0));
    stage.runs.publish(snapshot.clone());
    window.run();
    let state = &window.state().state;
    assert_eq!((state.status_of(&first), state.status_of(&second)), ("queued", "queued"), "run 7 goes on");
    let mut snapshot = snapshot;
    snapshot.runs.retain(|row| row.run != 7);
    stage.runs.publish(snapshot);
    window.run();
    let state = &window.state().state;
    assert_eq!((state.status_of(&first), state.status_of(&second)), ("preparing", "queued"), "one after another");
}

#[test]
fn runs_that_wait_are_moved_and_taken_out() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = training(&stage);
    assert!(entry(Id::Queue).enabled(&window.state().state), "what follows the queue is chosen there");
    stage.runs.publish(with_waiting(&folder, &[9, 8, 10]));
    window.run();
    kit::press(&mut window, "3 runs wait");
    assert_eq!(window.state().state.sheet, Some(Sheet::Queue));
    let enabled = |window: &Window, name: &str| {
        use egui_kittest::kittest::NodeT as _;
        let node = window.query_all_by_role_and_label(egui::accesskit::Role::Button, name).last();
        !node.unwrap_or_else(|| panic!("no {name}")).accesskit_node().is_disabled()
    };
    for (name, can) in [("Run 9 sooner", false), ("Run 9 later", true), ("Run 8 sooner", true), ("Run 10 later", false)]
    {
        assert_eq!(enabled(&window, name), can, "{name}");
    }
    kit::press(&mut window, "Run 8 sooner");
    kit::press(&mut window, "Run 9 later");
    kit::press(&mut window, "Take run 10 out");
    // Asked for by another window's engine, as far as this one knows.
    let steered = stage.runs.0.lock().steered.clone();
    let control = |run, act| Command::Control { project: None, run, act };
    assert_eq!(steered, [control(8, Act::Sooner), control(9, Act::Later), control(10, Act::Cancel)]);
    stage.runs.publish(with_waiting(&folder, &[]));
    window.run();
    assert!(window.query_all_by_label_contains("No run waits.").next().is_some());
    window.key_press(egui::Key::Escape);
    window.run();
    assert_eq!(window.state().state.sheet, None);
}

#[test]
fn who_stops_and_closes_takes_out_what_waits() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = training(&stage);
    stage.runs.publish(with_waiting(&folder, &[8, 9]));
    window.run();
    kit::send(&mut window, UiCommand::CloseStop);
    let steered = stage.runs.0.lock().steered.clone();
    let cancel = |run| Command::Control { project: None, run, act: Act::Cancel };
    assert_eq!(steered, [cancel(8), cancel(9)]);
    assert_eq!(told(&stage), [(7, Act::Stop)]);
}

#[test]
fn the_end_of_a_run_is_told_in_every_room_and_asks_for_attention_when_nobody_looks() {
    for (status, focused, words, kind) in [
        ("finished", true, "Run 7 has finished, best validation", None),
        ("finished", false, "Run 7 has finished, best validation", Some(egui::UserAttentionType::Informational)),
        (
            "failed",
            false,
            "Run 7 failed at step 412: the loss was not a number",
            Some(egui::UserAttentionType::Critical),
        ),
    ] {
        let (_root, stage) = kit::stage();
        let mut window = kit::window(&stage, kit::SIZES[0], true);
        let folder = kit::open(&mut window, &stage);
        stage.runs.publish(with_waiting(&folder, &[]));
        window.run();
        kit::send(&mut window, UiCommand::Go(Room::Home));
        window.input_mut().focused = focused;
        let mut view = kit::view(7, status, 412);
        if status == "failed" {
            let what = "the loss was not a number";
            view.row.problem = Some(Problem::new(Code::NonFinite, what, "", ""));
        }
        stage.runs.publish(kit::snapshot(&folder, view, false));
        window.step();
        let asked = window.output().viewport_output.values().flat_map(|output| &output.commands).find_map(|command| {
            if let egui::ViewportCommand::RequestUserAttention(kind) = command { Some(*kind) } else { None }
        });
        assert_eq!(asked, kind, "{status}, focused: {focused}");
        let notice = window.state().state.notice.as_ref().map(|notice| notice.text.clone()).unwrap_or_default();
        assert!(notice.starts_with(words), "{notice}");
    }
}

#[test]
fn an_ended_run_that_does_not_go_on_says_so_and_is_not_told_as_ended_anew() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, &stage);
    let publish = |window: &mut Window, status: &str, held: bool| {
        stage.runs.publish(kit::snapshot(&folder, kit::view(7, status, 1200), held));
        window.run();
    };
    publish(&mut window, "finished", false);
    kit::send(&mut window, UiCommand::Watch(7));
    kit::send(&mut window, UiCommand::AskLonger);
    kit::send(&mut window, UiCommand::LongerText("1800".to_owned()));
    kit::send(&mut window, UiCommand::ConfirmLonger);
    assert_eq!(stage.engine.count(is_train), 1);
    publish(&mut window, "queued", true);
    let what = "the checkpoint was made with other data";
    let action = "restore the data files as they were, or start a new run";
    let problem = Problem::new(Code::ProjectInvalid, what, "checkpoints/step-00001200", action);
    stage.engine.say(is_train, vec![Event::Error(problem.clone())]);
    window.run();
    publish(&mut window, "finished", false);
    let state = &window.state().state;
    assert_eq!(state.engine.problem, Some(problem), "the card says what differs and what to do");
    let notice = state.notice.as_ref().map(|notice| notice.text.as_str());
    assert_eq!(notice, Some("Run 7 did not go on; it is as it was"));
    // The next time it ends, it is told again.
    kit::send(&mut window, UiCommand::AskLonger);
    kit::send(&mut window, UiCommand::LongerText("1800".to_owned()));
    kit::send(&mut window, UiCommand::ConfirmLonger);
    publish(&mut window, "running", true);
    publish(&mut window, "finished", false);
    let notice = window.state().state.notice.as_ref().map(|notice| notice.text.clone()).unwrap_or_default();
    assert!(notice.starts_with("Run 7 has finished"), "{notice}");
}

#[test]
fn a_waiting_run_says_how_long_it_takes_when_one_like_it_was_measured() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = training(&stage);
    let settings = |batch: &str| {
        let pairs = [("model.path", kit::MODEL), ("train.batch", batch)];
        Arc::new(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec())
    };
    let mut snapshot = with_waiting(&folder, &[8, 9]);
    snapshot.settings = BTreeMap::from([(7, settings("4")), (8, settings("4")), (9, settings("8"))]);
    stage.runs.publish(snapshot);
    window.run();
    kit::send(&mut window, UiCommand::OpenQueue);
    assert_eq!(window.query_all_by_label_contains(", about ").count(), 1, "of run 8; run 9 has other batches");
}
