//! Texts of rows edited in the token lens: by keyboard, accepted or refused, and into the cleaned copy.

use crate::{kit, lens, rows};
use egui::accesskit::Role;
use egui::{Key, Modifiers};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use temper::app::App;
use temper_protocol::Command;
use temper_protocol::data::{RowEdit, RowField};

/// The lens with the texts of its first row.
fn opened() -> (tempfile::TempDir, temper::testing::Stage, kit::Window) {
    let (root, stage, mut window) = lens::opened();
    window.key_press(Key::F2);
    window.run();
    (root, stage, window)
}

/// Writes into the answer of the row with this number and stays there.
fn write(window: &mut kit::Window, number: u64, text: &str) {
    let name = format!("messages · 1 · content of row {number}");
    window.get_by_label(&name).focus();
    window.run();
    window.key_press_modifiers(Modifiers::COMMAND, Key::A);
    if text.is_empty() {
        window.key_press(Key::Backspace);
    } else {
        window.get_by_label(&name).type_text(text);
    }
    window.run();
}

fn tab(window: &mut kit::Window) {
    window.key_press(Key::Tab);
    window.run();
}

fn edits(window: &kit::Window) -> Vec<RowEdit> {
    window.state().state.lens.editor.all()
}

fn edit(row: u64, text: &str) -> RowEdit {
    RowEdit { row, fields: vec![RowField { place: rows::ANSWER.to_owned(), text: text.to_owned() }] }
}

fn shows(window: &kit::Window, words: &str) -> bool {
    window.query_all_by_label_contains(words).next().is_some()
}

#[test]
fn an_edited_text_is_looked_at_when_it_is_left_and_goes_into_the_copy() {
    let (_root, stage, mut window) = opened();
    let asked = |stage: &temper::testing::Stage| {
        stage.engine.count(|command| matches!(command, Command::RowTexts { fields, .. } if !fields.is_empty()))
    };
    write(&mut window, 1, "It comes today.");
    assert_eq!((asked(&stage), edits(&window).len()), (0, 0), "what is being typed is nobody's business");
    tab(&mut window);
    assert_eq!((asked(&stage), edits(&window)), (1, vec![edit(0, "It comes today.")]));
    assert!(shows(&window, "It comes today."), "the row is shown as the model would see it");
    let list = window.get_by_role_and_label(Role::ListBox, "Rows of the data");
    assert!(list.accesskit_node().value().unwrap_or_default().ends_with("(edited)"));
    kit::press(&mut window, "Save a cleaned copy");
    let asked = stage.engine.newest(|command| matches!(command, Command::CleanRows { .. }));
    let Some(Command::CleanRows { leave_out, edits, .. }) = asked else { panic!("{asked:?}") };
    assert_eq!((leave_out, edits), (Vec::new(), vec![edit(0, "It comes today.")]));
}

#[test]
fn a_refused_text_says_why_and_keeps_the_copy_from_being_written() {
    let (_root, _stage, mut window) = opened();
    write(&mut window, 1, "");
    tab(&mut window);
    assert!(edits(&window).is_empty());
    assert!(shows(&window, "There is no answer to train on"));
    assert!(App::copy_hindrance(&window.state().state).is_some());
    write(&mut window, 1, "It comes today.");
    tab(&mut window);
    assert_eq!(edits(&window), [edit(0, "It comes today.")]);
    assert!(!shows(&window, "There is no answer to train on"));
    assert!(App::copy_hindrance(&window.state().state).is_none());
    kit::press(&mut window, "Take back");
    assert!(edits(&window).is_empty());
    assert!(!shows(&window, "It comes today."));
}

#[test]
fn a_text_belongs_to_its_row_whatever_is_chosen_next() {
    let (_root, _stage, mut window) = opened();
    write(&mut window, 1, "It comes today.");
    window.get_by_role_and_label(Role::ListBox, "Rows of the data").focus();
    window.run();
    window.key_press(Key::ArrowDown);
    window.run();
    assert_eq!(window.state().state.lens.chosen, 1);
    assert_eq!(edits(&window), [edit(0, "It comes today.")]);
    write(&mut window, 2, "Keep it.");
    // Escape closes the lens and keeps what was typed.
    window.key_press(Key::Escape);
    window.run();
    assert_eq!(edits(&window), [edit(0, "It comes today."), edit(1, "Keep it.")]);
}

#[test]
fn a_row_without_texts_to_edit_is_asked_for_once() {
    let (_root, stage) = kit::stage();
    stage.engine.reply_with(|command| match command {
        Command::RowTexts { .. } => vec![temper_protocol::Event::Error(temper_protocol::Problem::new(
            temper_protocol::Code::DataInvalid,
            "only JSON Lines can be copied or edited row by row",
            kit::DATA,
            "save the data as JSON Lines first, one object a line",
        ))],
        other => kit::answer(other),
    });
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    rows::token_lens(&mut window, &stage);
    kit::press(&mut window, "Edit the texts of this row");
    assert!(shows(&window, "Only JSON Lines can be copied or edited row by row"));
    window.run();
    assert_eq!(stage.engine.count(|command| matches!(command, Command::RowTexts { .. })), 1);
}
