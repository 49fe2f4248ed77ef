//! What hands do without thinking: undo in forms, and the scale of the window.

use crate::kit;
use egui::accesskit::Role;
use egui::{Key, Modifiers};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use temper::commands::UiCommand;

fn focus(window: &mut kit::Window, name: &str) {
    window.get_by_role_and_label(Role::TextInput, name).focus();
    window.run();
}

/// Writes into a field and leaves it with `key`; without one the focus stays.
pub(crate) fn write(window: &mut kit::Window, name: &str, text: &str, key: Option<Key>) {
    focus(window, name);
    window.key_press_modifiers(Modifiers::COMMAND, Key::A);
    window.get_by_role_and_label(Role::TextInput, name).type_text(text);
    if let Some(key) = key {
        window.key_press(key);
    }
    window.run();
}

fn press(window: &mut kit::Window, modifiers: Modifiers, key: Key) {
    window.key_press_modifiers(modifiers, key);
    window.run();
}

/// Rank, steps and batch of the project.
fn values(window: &kit::Window) -> (i64, u64, usize) {
    let project = &window.state().state.draft.project;
    (project.method.settings.integer("rank"), project.train.steps, project.train.batch)
}

/// What stands in a field.
pub(crate) fn shown(window: &kit::Window, name: &str) -> String {
    window.get_by_role_and_label(Role::TextInput, name).accesskit_node().value().unwrap_or_default()
}

#[test]
fn edits_of_several_fields_are_taken_back_one_by_one_and_made_again() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    let first = values(&window);
    write(&mut window, "Rank", "32", Some(Key::Enter));
    write(&mut window, "Steps", "600", Some(Key::Enter));
    write(&mut window, "Batch", "2", Some(Key::Enter));
    assert_eq!(values(&window), (32, 600, 2));
    let redo = Modifiers::COMMAND | Modifiers::SHIFT;
    for expected in [(32, 600, first.2), (32, first.1, first.2), first] {
        press(&mut window, Modifiers::COMMAND, Key::Z);
        assert_eq!(values(&window), expected);
    }
    press(&mut window, redo, Key::Z);
    assert_eq!(values(&window), (32, first.1, first.2));
    press(&mut window, Modifiers::COMMAND, Key::Y);
    assert_eq!(values(&window), (32, 600, first.2), "as Windows has it");
    assert!(shown(&window, "Steps").contains("600"), "the field shows what the project says");
    write(&mut window, "Batch", "8", Some(Key::Enter));
    press(&mut window, redo, Key::Z);
    assert_eq!(values(&window), (32, 600, 8), "a new edit ends what could be made again");
}

#[test]
fn clicks_in_the_tree_of_layers_and_edits_after_a_pause_are_taken_back_one_by_one() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    for module in ["Adapt mlp.down", "Adapt mlp.up"] {
        window.get_by_label(module).click();
        window.run();
    }
    let adapted = |window: &kit::Window| window.state().state.draft.project.method.settings.list("targets").len();
    assert_eq!(adapted(&window), 5);
    press(&mut window, Modifiers::COMMAND, Key::Z);
    assert_eq!(adapted(&window), 6, "one module is left out");
    press(&mut window, Modifiers::COMMAND, Key::Z);
    window.get_by_label("210 / 210");
    let (_, steps, _) = values(&window);
    write(&mut window, "Steps", "600", Some(Key::Enter));
    // Three seconds.
    window.run_steps(12);
    write(&mut window, "Steps", "700", Some(Key::Enter));
    for expected in [600, steps] {
        press(&mut window, Modifiers::COMMAND, Key::Z);
        assert_eq!(values(&window).1, expected);
    }
}

#[test]
fn undo_in_a_field_is_its_own_once_something_is_written_there() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    let (rank, steps, _) = values(&window);
    write(&mut window, "Rank", "32", Some(Key::Enter));
    // After Tab or a click the focus is in another field, where nothing was written.
    focus(&mut window, "Steps");
    press(&mut window, Modifiers::COMMAND, Key::Z);
    assert_eq!(values(&window).0, rank, "the edit of the last field is taken back");
    press(&mut window, Modifiers::COMMAND, Key::Y);
    assert_eq!(values(&window).0, 32);
    write(&mut window, "Steps", "77", None);
    press(&mut window, Modifiers::COMMAND, Key::Z);
    assert_eq!(values(&window), (32, steps, values(&window).2), "what is being written is not the project's yet");
}

#[test]
fn a_field_that_has_the_focus_follows_an_undo_and_is_not_written_back() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    let (rank, ..) = values(&window);
    let before = shown(&window, "Rank");
    write(&mut window, "Rank", "32", Some(Key::Enter));
    focus(&mut window, "Rank");
    assert_eq!(shown(&window, "Rank"), "32");
    press(&mut window, Modifiers::COMMAND, Key::Z);
    assert_eq!(values(&window).0, rank);
    assert_eq!(shown(&window, "Rank"), before);
    focus(&mut window, "Steps");
    assert_eq!(values(&window).0, rank, "leaving the field changes nothing");
}

/// Whether a field says what to give instead.
fn is_refused(window: &kit::Window) -> bool {
    window.query_all_by_label("give 0 to 1024").next().is_some()
}

#[test]
fn a_refused_text_stays_only_as_long_as_the_value_that_it_was_to_replace() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    let before = shown(&window, "Rank");
    write(&mut window, "Rank", "32", Some(Key::Enter));
    write(&mut window, "Rank", "5000", Some(Key::Enter));
    assert_eq!((shown(&window, "Rank").as_str(), is_refused(&window)), ("5000", true));
    write(&mut window, "Steps", "600", Some(Key::Enter));
    assert_eq!((shown(&window, "Rank").as_str(), is_refused(&window)), ("5000", true), "another field changed");
    kit::send(&mut window, UiCommand::Undo);
    kit::send(&mut window, UiCommand::Undo);
    assert_eq!((shown(&window, "Rank"), is_refused(&window)), (before, false), "the project's value");
    kit::send(&mut window, UiCommand::Redo);
    assert_eq!((shown(&window, "Rank").as_str(), is_refused(&window)), ("32", false), "it does not come back");
}

#[test]
fn a_refused_text_does_not_go_with_its_field_into_another_project() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    let before = shown(&window, "Rank");
    write(&mut window, "Rank", "5000", Some(Key::Enter));
    assert!(is_refused(&window));
    let other = stage.places.projects.join("other");
    std::fs::create_dir_all(&other).expect("project folder");
    temper_protocol::project_file::save(&kit::project(), &other.join("project.toml")).expect("project file");
    kit::send(&mut window, UiCommand::OpenProject(other.clone()));
    window.run_steps(4);
    assert_eq!(window.state().state.draft.folder.as_deref(), Some(other.as_path()));
    assert_eq!((shown(&window, "Rank"), is_refused(&window)), (before, false), "of the same value");
}

#[test]
fn the_scale_goes_from_75_to_200_per_cent_and_is_remembered() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let scale = |window: &kit::Window| (window.ctx.zoom_factor() * 100.0).round();
    // Without Shift, plus is the key of equals on many keyboards.
    window.key_press_modifiers(Modifiers::COMMAND, Key::Equals);
    window.run_steps(3);
    assert!((scale(&window) - 110.0).abs() < f32::EPSILON);
    for (key, limit) in [(Key::Minus, 75.0), (Key::Plus, 200.0)] {
        for _ in 0..14 {
            window.key_press_modifiers(Modifiers::COMMAND, key);
            window.run_steps(2);
        }
        assert!((scale(&window) - limit).abs() < f32::EPSILON, "{limit} is not {}", scale(&window));
        if key == Key::Minus {
            window.key_press_modifiers(Modifiers::COMMAND, Key::Plus);
            window.run_steps(2);
            assert!((scale(&window) - 80.0).abs() < f32::EPSILON, "back to whole tenths");
        }
    }
    let text = std::fs::read_to_string(stage.places.config.join("window.json")).expect("settings were written");
    assert!(text.contains("\"zoom\": 2.0"), "{text}");
    let next = kit::window(&stage, kit::SIZES[0], true);
    assert!((scale(&next) - 200.0).abs() < f32::EPSILON, "the next window is as large");
    window.key_press_modifiers(Modifiers::COMMAND, Key::Num0);
    window.run_steps(3);
    assert!((scale(&window) - 100.0).abs() < f32::EPSILON);
}
