//! Texts of rows edited in the token lens: by keyboard, accepted or refused, and into the cleaned copy.

use crate::{kit, lens, rows};
use egui::accesskit::Role;
use egui::{Key, Modifiers};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use std::collections::BTreeSet;
use std::path::PathBuf;
use temper::app::App;
use temper::commands::UiCommand;
use temper::state::lens::LensAct;
use temper_protocol::data::{RowEdit, RowField};
use temper_protocol::project::Source;
use temper_protocol::{Command, Project};

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

/// Leaves row 2 out, edits row 1 and gives row 3 a text that is refused.
fn work(window: &mut kit::Window) {
    let text = |row: u64, text: &str| LensAct::Text(row, rows::ANSWER.to_owned(), text.to_owned());
    for act in [
        LensAct::Open(None),
        LensAct::LeaveOut(1),
        LensAct::Edit(true),
        text(0, "It comes today."),
        LensAct::Choose(2),
        text(2, " "),
    ] {
        kit::send(window, UiCommand::Lens(act));
        window.run();
    }
    assert!(is_there(window), "the work is done");
}

fn is_there(window: &kit::Window) -> bool {
    let lens = &window.state().state.lens;
    let refused = lens.editor.trial(2).is_some_and(|trial| trial.refused.is_some());
    lens.left_out == BTreeSet::from([1]) && edits(window) == [edit(0, "It comes today.")] && refused
}

/// Closes the lens, changes the project, waits until it is saved and opens the lens again.
fn change(window: &mut kit::Window, change: impl FnOnce(&mut Project)) {
    kit::send(window, UiCommand::CloseSheet);
    let mut project = window.state().state.draft.project.clone();
    change(&mut project);
    kit::send(window, UiCommand::Edit(String::new(), Box::new(project)));
    window.run_steps(6);
    kit::send(window, UiCommand::Lens(LensAct::Open(None)));
    window.run();
}

fn looks(stage: &temper::testing::Stage) -> (usize, usize) {
    let index = stage.engine.count(|command| matches!(command, Command::IndexRows { .. }));
    let is_tried =
        |command: &Command| matches!(command, Command::RowTexts { row: 2, fields, .. } if !fields.is_empty());
    (index, stage.engine.count(is_tried))
}

#[test]
fn what_was_done_to_rows_stays_under_other_settings_and_goes_with_the_rows() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    work(&mut window);
    assert_eq!(looks(&stage), (1, 1));
    change(&mut window, |project| project.data.max_tokens = 64);
    assert_eq!(looks(&stage), (2, 2), "the rows are shown anew, and what was refused is looked at again");
    assert!(is_there(&window));
    change(&mut window, |project| project.model.path = "/models/other.gguf".to_owned());
    assert!(is_there(&window));
    change(&mut window, |project| project.data.train = vec![Source::Path("/data/other.jsonl".to_owned())]);
    let lens = &window.state().state.lens;
    assert!(lens.left_out.is_empty() && lens.editor.trials.is_empty() && edits(&window).is_empty());
    assert!(lens.row(0).is_some(), "those of the other file");
}

#[test]
fn what_was_done_before_the_project_has_a_folder_can_be_saved_once_it_has() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::send(&mut window, UiCommand::Drop(vec![PathBuf::from(kit::MODEL), PathBuf::from(kit::DATA)]));
    window.run_steps(6);
    work(&mut window);
    kit::send(&mut window, UiCommand::Lens(LensAct::TakeBack(2)));
    assert!(App::copy_hindrance(&window.state().state).is_some(), "there is no place for a copy yet");
    kit::send(&mut window, UiCommand::CloseSheet);
    kit::send(&mut window, UiCommand::Train);
    kit::press(&mut window, "Create and train");
    window.run_steps(3);
    assert!(window.state().state.draft.folder.is_some());
    kit::send(&mut window, UiCommand::Lens(LensAct::Open(None)));
    window.run();
    assert_eq!(App::copy_hindrance(&window.state().state), None);
    kit::send(&mut window, UiCommand::Lens(LensAct::SaveCopy));
    let asked = stage.engine.newest(|command| matches!(command, Command::CleanRows { .. }));
    let Some(Command::CleanRows { leave_out, edits, stamp, .. }) = asked else { panic!("{asked:?}") };
    assert_eq!((leave_out, edits, stamp.as_str()), (vec![1], vec![edit(0, "It comes today.")], rows::STAMP));
}

#[test]
fn what_was_done_to_rows_of_one_project_is_not_done_in_another() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, &stage);
    work(&mut window);
    let other = folder.with_file_name("another");
    std::fs::create_dir(&other).expect("a folder");
    temper_protocol::project_file::save(&kit::project(), &other.join("project.toml")).expect("saves");
    kit::send(&mut window, UiCommand::OpenProject(other));
    window.run_steps(6);
    kit::send(&mut window, UiCommand::Lens(LensAct::Open(None)));
    window.run();
    let lens = &window.state().state.lens;
    assert!(lens.left_out.is_empty() && lens.editor.trials.is_empty() && edits(&window).is_empty());
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
