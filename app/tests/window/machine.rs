//! This machine: the self-test check by check, shown once by itself when something is wrong, and the pause on battery.

use crate::kit;
use crate::machine_scenes::answer_with_full_disk;
use egui::accesskit::Role;
use egui_kittest::kittest::Queryable as _;
use temper::commands::{Id, UiCommand, entry};
use temper::state::settings::Settings;
use temper::state::{Room, Sheet};
use temper::testing::Stage;
use temper_protocol::{Command, Event};

fn told_of_battery(stage: &Stage) -> Vec<bool> {
    let script = stage.engine.0.lock();
    let on = |command: &Command| if let Command::PauseOnBattery { on } = command { Some(*on) } else { None };
    script.sent.iter().filter_map(|(_, command)| on(command)).collect()
}

fn settings(stage: &Stage) -> Settings {
    Settings::read(&std::fs::read_to_string(stage.places.config.join("window.json")).expect("settings were written"))
}

#[test]
fn the_self_test_is_opened_from_home_and_says_each_check() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    assert_eq!(window.state().state.sheet, None, "what works needs no sheet of its own");
    kit::press(&mut window, "Details");
    assert_eq!(window.state().state.sheet, Some(Sheet::Machine));
    for name in ["Learning", "Gradients", "Repeating", "Saving", "Memory", "Speed"] {
        let line = format!("{name}: passed");
        assert!(window.query_all_by_label(&line).next().is_some(), "\"{line}\" is there");
    }
    assert!(window.query_all_by_label_contains("12 of 12 losses").next().is_some());
    let tests = |stage: &Stage| stage.engine.count(|command| matches!(command, Command::Doctor {}));
    let before = tests(&stage);
    kit::press(&mut window, "Run the self-test again");
    assert_eq!(tests(&stage), before + 1);
    window.key_press(egui::Key::Escape);
    window.run();
    assert_eq!(window.state().state.sheet, None);
}

#[test]
fn what_is_wrong_is_shown_by_the_first_start_once_with_what_to_do() {
    let (_root, stage) = kit::stage();
    stage.engine.reply_with(answer_with_full_disk);
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    assert_eq!(window.state().state.sheet, Some(Sheet::Machine));
    assert!(window.query_all_by_label("Saving: failed").next().is_some());
    assert!(window.query_all_by_label_contains("No space left on device").next().is_some());
    assert!(window.query_all_by_label_contains("Free some disk").next().is_some(), "what to do");
    kit::send(&mut window, UiCommand::CloseSheet);
    kit::send(&mut window, UiCommand::Doctor);
    window.run_steps(3);
    assert_eq!(window.state().state.sheet, None, "who asks again looks at Home");
    drop(window);
    // The next start remembers, and tests nothing.
    let tests = stage.engine.count(|command| matches!(command, Command::Doctor {}));
    let window = kit::window(&stage, kit::SIZES[0], true);
    assert_eq!(window.state().state.sheet, None);
    assert_eq!(stage.engine.count(|command| matches!(command, Command::Doctor {})), tests);
}

#[test]
fn the_pause_on_battery_is_switched_remembered_and_told_to_every_engine() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    assert!(told_of_battery(&stage).is_empty(), "engines wait by themselves");
    let open = (entry(Id::Machine).make)(&window.state().state);
    kit::send(&mut window, open);
    window.get_by_role_and_label(Role::CheckBox, "Pause training on battery").click();
    window.run();
    assert_eq!(told_of_battery(&stage), [false]);
    assert!(!settings(&stage).pause_on_battery);
    // An engine that is started later hears of it before anything else.
    kit::send(&mut window, UiCommand::CloseSheet);
    let before = stage.engine.0.lock().sent.len();
    stage.engine.die();
    window.run();
    kit::send(&mut window, UiCommand::Doctor);
    let first = stage.engine.0.lock().sent.get(before).map(|(_, command)| command.clone());
    assert_eq!(first, Some(Command::PauseOnBattery { on: false }));
    // By the keyboard's command, and back.
    let turn = (entry(Id::Battery).make)(&window.state().state);
    kit::send(&mut window, turn);
    assert_eq!(told_of_battery(&stage), [false, false, true]);
    assert!(settings(&stage).pause_on_battery);
    drop(window);
    // A start that finds the setting off tells the engine that was started before the settings were read.
    let mut off = settings(&stage);
    off.pause_on_battery = false;
    std::fs::write(stage.places.config.join("window.json"), off.text()).expect("settings");
    let _window = kit::window(&stage, kit::SIZES[0], true);
    assert_eq!(told_of_battery(&stage).last(), Some(&false));
}

#[test]
fn a_run_that_waits_on_the_battery_says_so_in_every_room() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    kit::press(&mut window, "Train");
    window.run_steps(2);
    kit::send(&mut window, UiCommand::Go(Room::Home));
    let warning = Event::Warning { code: "on_battery".to_owned(), text: "waits".to_owned(), step: 12 };
    stage.engine.say(|command| matches!(command, Command::Train { .. }), vec![warning.clone()]);
    window.run();
    let notice = window.state().state.notice.as_ref().map(|notice| notice.text.clone()).unwrap_or_default();
    assert!(notice.starts_with("On battery: the run waits"), "{notice}");
    let line = temper::reader::words::say(&warning, None).map(|(_, words)| words);
    assert!(line.is_some_and(|words| words.contains("goes on by itself")));
}

#[test]
fn the_bar_says_what_a_run_takes_and_of_how_much_also_before_that_was_measured() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let unknown = format!("memory {} for a run, 23.0 GiB in all", temper::format::UNKNOWN);
    assert!(window.query_all_by_label(&unknown).next().is_some(), "\"{unknown}\"");
    kit::open(&mut window, &stage);
    assert!(window.query_all_by_label("memory 1.6 GiB for a run, 17.8 GiB free").next().is_some());
}
