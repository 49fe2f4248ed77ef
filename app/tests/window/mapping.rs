//! Columns and their roles: dragged, chosen by keyboard, taken back; and data whose columns nobody understands.

use crate::{kit, rows};
use egui::accesskit::Role;
use egui::{Key, Pos2};
use egui_kittest::kittest::Queryable as _;
use std::collections::BTreeMap;
use temper::testing::Stage;
use temper_protocol::{Command, project_file};

fn opened(scene: fn(&mut kit::Window, &Stage)) -> (tempfile::TempDir, Stage, kit::Window) {
    let (root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    scene(&mut window, &stage);
    (root, stage, window)
}

/// Carries what is at one place to another.
fn carry(window: &mut kit::Window, from: Pos2, to: Pos2) {
    window.hover_at(from);
    window.run();
    window.drag_at(from);
    window.run();
    window.hover_at(to);
    window.run();
    window.drop_at(to);
    window.run();
}

fn chip(window: &kit::Window, said: &str) -> Pos2 {
    window.get_by_label(said).rect().center()
}

fn slot(window: &kit::Window, role: &str) -> Pos2 {
    window.get_by_role_and_label(Role::ComboBox, &format!("Column for {role}")).rect().center()
}

fn choose(window: &mut kit::Window, list: &str, entry: &str) {
    window.get_by_role_and_label(Role::ComboBox, list).focus();
    window.run();
    window.key_press(Key::Enter);
    window.run();
    window.get_by_role_and_label(Role::MenuItem, entry).click();
    window.run();
}

fn mapping(window: &kit::Window) -> BTreeMap<String, String> {
    window.state().state.draft.project.data.columns.clone()
}

fn pairs(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter().map(|(role, column)| ((*role).to_owned(), (*column).to_owned())).collect()
}

#[test]
fn a_column_is_dragged_onto_a_role_and_the_data_is_read_again() {
    let (_root, stage, mut window) = opened(rows::setup_columns);
    let looks = |stage: &Stage| stage.engine.count(|command| matches!(command, Command::Peek { .. }));
    let before = looks(&stage);
    let (from, to) = (chip(&window, "Column topic, text: Delivery"), slot(&window, "completion"));
    carry(&mut window, from, to);
    assert_eq!(mapping(&window), pairs(&[("completion", "topic"), ("prompt", "question")]));
    assert_eq!(window.state().state.draft.project.data.schema, "prompt-completion");
    window.run_steps(6);
    let folder = window.state().state.draft.folder.clone().expect("a folder");
    let saved = project_file::load(&folder).expect("the project file");
    assert_eq!(saved.data.columns, mapping(&window), "the file says it");
    assert_eq!(looks(&stage), before + 1);
    kit::press(&mut window, "Undo");
    assert_eq!(mapping(&window), BTreeMap::new());
    assert_eq!(window.state().state.draft.project.data.schema, "auto");
}

#[test]
fn a_column_dropped_beside_the_roles_changes_nothing() {
    let (_root, _stage, mut window) = opened(rows::setup_columns);
    let from = chip(&window, "Column topic, text: Delivery");
    carry(&mut window, from, from + egui::vec2(0.0, 30.0));
    assert_eq!(mapping(&window), BTreeMap::new());
    assert!(!window.state().state.draft.can_undo());
}

#[test]
fn roles_are_filled_without_a_pointer_and_columns_change_places() {
    let (_root, _stage, mut window) = opened(rows::setup_columns);
    choose(&mut window, "Column for prompt", "reply");
    assert_eq!(mapping(&window), pairs(&[("completion", "question"), ("prompt", "reply")]));
    assert!(window.query_by_role_and_label(Role::ComboBox, "Column for system").is_none());
    kit::press(&mut window, "More roles");
    choose(&mut window, "Column for system", "topic");
    let all = [("completion", "question"), ("prompt", "reply"), ("system", "topic")];
    assert_eq!(mapping(&window), pairs(&all));
    choose(&mut window, "Column for system", "none");
    assert_eq!(mapping(&window), pairs(&all[..2]));
    // Each step is taken back by itself.
    for columns in [pairs(&all), pairs(&all[..2]), BTreeMap::new()] {
        kit::press(&mut window, "Undo");
        assert_eq!(mapping(&window), columns);
    }
}

#[test]
fn columns_that_nobody_understands_are_shown_with_the_problem() {
    let (_root, _stage, mut window) = opened(rows::setup_unclear);
    assert!(window.query_all_by_label_contains("The meaning of the columns is not clear").next().is_some());
    chip(&window, "Column stars, number: 4");
    window.get_by_label("Say what the rows are, then drag columns onto their roles.");
    choose(&mut window, "What rows are", "prompts and answers");
    assert_eq!(window.state().state.draft.project.data.schema, "prompt-completion");
    // The data is looked at again, and what was said of it moves the card's lines.
    window.run_steps(10);
    let (from, to) = (chip(&window, "Column topic, text: Delivery"), slot(&window, "prompt"));
    carry(&mut window, from, to);
    choose(&mut window, "Column for completion", "reply");
    assert_eq!(mapping(&window), pairs(&[("completion", "reply"), ("prompt", "topic")]));
}

#[test]
fn the_columns_of_other_data_are_not_shown() {
    let (_root, stage, mut window) = opened(rows::setup_columns);
    stage.engine.reply_with(kit::answer);
    let mut project = window.state().state.draft.project.clone();
    project.data.train = vec![temper_protocol::project::Source::Path("/data/other.jsonl".to_owned())];
    kit::send(&mut window, temper::commands::UiCommand::Edit(String::new(), Box::new(project)));
    assert!(window.query_by_label("Column topic, text: Delivery").is_none());
}
