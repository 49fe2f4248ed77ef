//! The end of the queue: the window closes or the machine is shut down, after a minute in which anybody can say no.

use crate::kit::{self, Window};
use crate::scenes;
use crate::step_scenes::{end, with_waiting};
use egui_kittest::kittest::Queryable as _;
use std::path::PathBuf;
use temper::commands::{Id, UiCommand, entry};
use temper::state::afterwards::After;
use temper::state::{Clock, Room, Sheet};
use temper::testing::{NOW_MILLIS, Stage};
use temper_protocol::{Code, Problem};

/// A run goes on, and `wish` shall follow it.
fn wished(stage: &Stage, wish: After) -> (Window, PathBuf) {
    let mut window = kit::window(stage, kit::SIZES[0], true);
    let folder = scenes::run(&mut window, stage, "running", 412);
    kit::send(&mut window, UiCommand::After(wish));
    (window, folder)
}

fn at_secs(window: &mut Window, secs: i64) {
    window.state_mut().state.clock = Clock::Fixed(NOW_MILLIS + secs * 1000);
    window.step();
    window.run();
}

fn notice(window: &Window) -> String {
    window.state().state.notice.as_ref().map(|notice| notice.text.clone()).unwrap_or_default()
}

#[test]
fn it_is_off_until_it_is_chosen_in_the_sheet_of_the_queue() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = wished(&stage, After::Nothing);
    end(&mut window, &stage, &folder, "finished", None);
    assert_eq!(window.state().state.sheet, None);
    stage.runs.publish(with_waiting(&folder, &[8]));
    window.run();
    kit::send(&mut window, UiCommand::OpenQueue);
    let name = "When the queue is done: shut down";
    window.get_by_role_and_label(egui::accesskit::Role::RadioButton, name).click();
    window.run();
    assert_eq!(window.state().state.afterwards.wish, After::ShutDown);
    assert!(entry(Id::AfterNothing).enabled(&window.state().state));
}

#[test]
fn a_minute_after_the_last_run_the_machine_is_shut_down() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = wished(&stage, After::ShutDown);
    stage.runs.publish(with_waiting(&folder, &[8]));
    window.run();
    assert_eq!(window.state().state.sheet, None, "one goes on and one waits");
    end(&mut window, &stage, &folder, "finished", None);
    assert_eq!(window.state().state.sheet, Some(Sheet::Leaving));
    assert!(window.query_all_by_label_contains("shuts down in 60 seconds").next().is_some());
    at_secs(&mut window, 59);
    assert!(window.query_all_by_label_contains("shuts down in 1 second,").next().is_some());
    assert_eq!(stage.machine.0.lock().asked, 0);
    stage.machine.0.lock().refuses = Some("systemctl: denied".to_owned());
    at_secs(&mut window, 60);
    assert_eq!(notice(&window), "The computer was not shut down: systemctl: denied");
    at_secs(&mut window, 200);
    assert_eq!(stage.machine.0.lock().asked, 1, "once");
}

#[test]
fn the_window_closes_without_a_question() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = wished(&stage, After::Close);
    end(&mut window, &stage, &folder, "finished", None);
    window.state_mut().state.clock = Clock::Fixed(NOW_MILLIS + 60_000);
    window.step();
    let closes = window.output().viewport_output.values().flat_map(|output| &output.commands);
    assert_eq!(closes.filter(|command| matches!(command, egui::ViewportCommand::Close)).count(), 1);
    assert_eq!(stage.machine.0.lock().asked, 0);
}

#[test]
fn cancel_escape_and_any_other_act_say_no() {
    let acts: [fn(&mut Window); 3] = [
        |window| kit::press(window, "Cancel"),
        |window| {
            window.key_press(egui::Key::Escape);
            window.run();
        },
        |window| kit::send(window, UiCommand::Go(Room::Home)),
    ];
    for act in acts {
        let (_root, stage) = kit::stage();
        let (mut window, folder) = wished(&stage, After::ShutDown);
        end(&mut window, &stage, &folder, "finished", None);
        act(&mut window);
        window.run_steps(2);
        let state = &window.state().state;
        assert_eq!((state.afterwards.wish, state.sheet.is_none()), (After::Nothing, true));
        assert_eq!(notice(&window), "Cancelled: the window stays open and the machine on");
        at_secs(&mut window, 61);
        assert_eq!(stage.machine.0.lock().asked, 0);
    }
}

#[test]
fn a_paused_run_a_full_disk_and_a_lost_engine_keep_the_machine_on() {
    let full = Problem::new(Code::Io, "the disk is full", "", "free some space");
    for (status, problem, words) in
        [("failed", Some(full), "could not be written to the disk"), ("running", None, "a run lost its engine")]
    {
        let (_root, stage) = kit::stage();
        let (mut window, folder) = wished(&stage, After::ShutDown);
        end(&mut window, &stage, &folder, status, problem);
        assert_eq!(window.state().state.afterwards.wish, After::Nothing, "{status}");
        assert!(notice(&window).contains(words), "{}", notice(&window));
        at_secs(&mut window, 61);
        assert_eq!(stage.machine.0.lock().asked, 0);
    }
    let (_root, stage) = kit::stage();
    let (mut window, folder) = wished(&stage, After::ShutDown);
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "paused", 412), true));
    window.run();
    at_secs(&mut window, 61);
    let state = &window.state().state;
    assert_eq!((state.sheet.is_none(), state.afterwards.wish), (true, After::ShutDown), "it waits");
}
