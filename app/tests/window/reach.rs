//! Everyone: names and tooltips of every control, keys of one's own, and the high-contrast theme.

use crate::{kit, scenes};
use egui::accesskit::{Action, Role};
use egui::{Key, Modifiers};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use std::collections::BTreeMap;
use temper::commands::{Id, UiCommand, entry};
use temper::state::settings::{Settings, ThemeChoice};
use temper::theme::{Look, Theme};

#[test]
fn every_control_has_a_name_and_a_tooltip_in_every_state() {
    let mut faults: BTreeMap<String, &str> = BTreeMap::new();
    let mut controls = 0;
    for scene in scenes::SCENES {
        for size in kit::SIZES {
            let (_root, stage) = kit::stage();
            let mut window = kit::window(&stage, size, true);
            (scene.make)(&mut window, &stage);
            for node in window.root().children_recursive() {
                let node = node.accesskit_node();
                let data = node.data();
                let works = data.supports_action(Action::Click) || data.supports_action(Action::Focus);
                // A scroll bar is egui's own and belongs to what it scrolls, which has a name; the keyboard scrolls by the focus.
                if !works || matches!(node.role(), Role::Window | Role::Label | Role::ScrollBar) {
                    continue;
                }
                controls += 1;
                // A plot's name is its sentence, and its values are read out beside it: a tooltip would cover them.
                let is_plot = matches!(node.role(), Role::Image | Role::GridCell);
                let name = node.label().unwrap_or_default();
                if name.trim().is_empty() {
                    faults.insert(format!("a {:?} without a name", node.role()), scene.name);
                } else if !is_plot && data.description().is_none_or(|words| words.trim().is_empty()) {
                    faults.insert(format!("{:?} \"{name}\" without a tooltip", node.role()), scene.name);
                }
            }
        }
    }
    assert!(controls > 2000, "only {controls} controls were looked at");
    let lines: Vec<String> = faults.iter().map(|(fault, scene)| format!("{fault} (in {scene})")).collect();
    assert!(lines.is_empty(), "{} of {controls} controls:\n{}", lines.len(), lines.join("\n"));
}

/// Presses keys in the window.
fn press(window: &mut kit::Window, modifiers: Modifiers, key: Key) {
    window.key_press_modifiers(modifiers, key);
    window.run();
}

#[test]
fn keys_can_be_changed_in_the_help_and_are_remembered() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    press(&mut window, Modifiers::NONE, Key::F1);
    let button = "Keys of Run the self-test: palette";
    window.get_by_role_and_label(Role::Button, button).scroll_to_me();
    window.run();
    kit::press(&mut window, button);
    press(&mut window, Modifiers::NONE, Key::F9);
    assert_eq!(window.state().state.rekey, None);
    let text = std::fs::read_to_string(stage.places.config.join("window.json")).expect("settings were written");
    let key = entry(Id::Doctor).key;
    assert_eq!(Settings::read(&text).keys.get(key).map(String::as_str), Some("F9"));
    press(&mut window, Modifiers::NONE, Key::Escape);
    let asked = |stage: &temper::testing::Stage| {
        stage.engine.count(|command| matches!(command, temper_protocol::Command::Doctor {}))
    };
    let before = asked(&stage);
    press(&mut window, Modifiers::NONE, Key::F9);
    assert_eq!(asked(&stage), before + 1);
    // Back to the keys of the table.
    kit::send(&mut window, UiCommand::OpenHelp);
    kit::press(&mut window, "Reset keys");
    assert!(window.state().state.settings.keys.is_empty());
}

#[test]
fn keys_of_another_command_are_told_and_taken_only_when_pressed_again() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    kit::send(&mut window, UiCommand::OpenHelp);
    let measure = temper::commands::keymap::KeysAct::Begin(Id::Measure);
    kit::send(&mut window, UiCommand::Keys(measure.clone()));
    press(&mut window, Modifiers::COMMAND, Key::Num3);
    let rekey = window.state().state.rekey.clone().expect("still waiting");
    assert!(rekey.why.contains(entry(Id::GoWatch).name.get()), "{}", rekey.why);
    assert!(window.state().state.settings.keys.is_empty());
    assert_eq!(window.state().state.room, temper::state::Room::Setup, "nothing else heard them");
    press(&mut window, Modifiers::COMMAND, Key::Num3);
    let keys = &window.state().state.settings.keys;
    assert_eq!(keys.get(entry(Id::Measure).key).map(String::as_str), Some("command+3"));
    assert_eq!(keys.get(entry(Id::GoWatch).key).map(String::as_str), Some(""));
    // Letters alone write text.
    kit::send(&mut window, UiCommand::Keys(measure));
    press(&mut window, Modifiers::NONE, Key::Q);
    assert!(window.state().state.rekey.as_ref().is_some_and(|rekey| !rekey.why.is_empty()));
    press(&mut window, Modifiers::NONE, Key::Escape);
    assert_eq!(window.state().state.rekey, None);
    assert!(window.state().state.sheet.is_some(), "Escape kept the keys, it did not close the help");
}

#[test]
fn high_contrast_is_a_theme_of_its_own() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], false);
    assert_eq!(window.state().state.look(), Look::Light);
    kit::press(&mut window, "Switch to the high-contrast theme");
    assert_eq!(window.state().state.look(), Look::Contrast);
    assert_eq!(window.state().state.settings.theme, ThemeChoice::Contrast);
    let style = |window: &kit::Window| window.ctx.global_style().visuals.panel_fill;
    assert_eq!(style(&window), Theme::of(Look::Contrast).colours.window, "what egui draws by itself follows");
    kit::press(&mut window, "Switch to the dark theme");
    assert_eq!(style(&window), Theme::of(Look::Dark).colours.window);
    assert_eq!(window.state().state.look(), Look::Dark);
}
