//! The palette, shortcuts and the Tab key in use. Every command by keyboard is in `commands.rs`, the way of the Tab key
//! through each room in `focus.rs`.

use crate::kit;
use egui::{Key, Modifiers};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use std::collections::BTreeSet;
use temper::commands::UiCommand;
use temper::state::settings::ThemeChoice;
use temper::state::{Room, Sheet};

/// An edit of the project.
fn seed(window: &mut kit::Window, seed: u64) {
    let mut project = window.state().state.draft.project.clone();
    project.train.seed = seed;
    kit::send(window, UiCommand::Edit(String::new(), Box::new(project)));
}

#[test]
fn arrows_choose_in_the_palette_and_escape_closes_it() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    window.key_press_modifiers(Modifiers::COMMAND, Key::K);
    window.run();
    window.key_press(Key::ArrowDown);
    window.run();
    window.key_press(Key::Enter);
    window.run();
    assert_eq!(window.state().state.room, Room::Setup, "the second entry");
    window.key_press_modifiers(Modifiers::COMMAND, Key::K);
    window.run();
    window.key_press(Key::Escape);
    window.run();
    assert_eq!(window.state().state.sheet, None);
}

#[test]
fn letters_and_enter_in_one_frame_run_what_was_typed() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    window.key_press_modifiers(Modifiers::COMMAND, Key::K);
    window.run();
    let enter = |pressed| egui::Event::Key {
        key: Key::Enter,
        physical_key: None,
        pressed,
        repeat: false,
        modifiers: Modifiers::NONE,
    };
    // A busy machine hands a whole word and Enter over at once.
    for event in [egui::Event::Text("Go to Export".to_owned()), enter(true), enter(false)] {
        window.input_mut().events.push(event);
    }
    window.run();
    assert_eq!(window.state().state.room, Room::Export, "not the first command of the list before");
    assert_eq!(window.state().state.sheet, None);
    // What cannot be done leaves the palette open, with every letter.
    window.key_press_modifiers(Modifiers::COMMAND, Key::K);
    window.run();
    for event in [egui::Event::Text("Pause".to_owned()), enter(true), enter(false)] {
        window.input_mut().events.push(event);
    }
    window.run();
    let open = Some(Sheet::Palette { query: "Pause".to_owned(), chosen: 0 });
    assert_eq!(window.state().state.sheet, open);
}

#[test]
fn shortcuts_do_what_the_table_says() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    for (key, room) in [
        (Key::Num1, Room::Home),
        (Key::Num3, Room::Watch),
        (Key::Num4, Room::Compare),
        (Key::Num5, Room::Export),
        (Key::Num2, Room::Setup),
    ] {
        window.key_press_modifiers(Modifiers::COMMAND, key);
        window.run();
        assert_eq!(window.state().state.room, room);
    }
    seed(&mut window, 7);
    window.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    window.run();
    assert_eq!(window.state().state.draft.project.train.seed, 42);
    window.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
    window.run();
    assert_eq!(window.state().state.draft.project.train.seed, 7, "with Shift it is made again");
    window.key_press_modifiers(Modifiers::COMMAND, Key::Plus);
    window.run();
    assert!((window.state().state.settings.zoom - 1.1).abs() < 1e-3);
    window.key_press_modifiers(Modifiers::COMMAND, Key::Num0);
    window.run();
    window.key_press(Key::F1);
    window.run();
    assert_eq!(window.state().state.sheet, Some(Sheet::Help));
}

#[test]
fn tab_reaches_every_control_of_setup() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    let mut reached = BTreeSet::new();
    for _ in 0..160 {
        window.key_press(Key::Tab);
        window.step();
        let focused = window.root().children_recursive().find(|node| node.is_focused());
        if let Some(label) = focused.and_then(|node| node.accesskit_node().label()) {
            reached.insert(label);
        }
    }
    for name in [
        "Train",
        "Rank",
        "Learning rate",
        "Steps",
        "Keep Code",
        "Forgetting budget in nats",
        "Adapt attn.q",
        "Show command",
        "Search commands",
        "Home",
        "Watch",
        "Preset: gentle",
        "New sample prompt",
        "Held as",
        "Help",
    ] {
        assert!(reached.contains(name), "{name} is not reached by Tab; reached: {reached:?}");
    }
}

#[test]
fn a_focused_button_is_pressed_by_the_keyboard_and_space_pauses_nothing_then() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    window.get_by_label("Show command").focus();
    window.run();
    window.key_press(Key::Space);
    window.run();
    assert!(matches!(window.state().state.sheet, Some(Sheet::Text { .. })));
}

#[test]
fn the_light_theme_is_one_click_away_and_remembered() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    window.get_by_label("Switch to the light theme").click();
    window.run();
    assert!(!window.state().state.dark);
    assert_eq!(window.state().state.settings.theme, ThemeChoice::Light);
    let text = std::fs::read_to_string(stage.places.config.join("window.json")).expect("settings were written");
    assert!(text.contains("\"light\""), "{text}");
}
