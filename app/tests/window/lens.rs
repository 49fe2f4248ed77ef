//! The token lens: only rows in view are asked for, a million scroll like twenty, and everything by keyboard.

use crate::{kit, rows};
use egui::accesskit::Role;
use egui::{Key, Modifiers};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use temper::app::App;
use temper::commands::UiCommand;
use temper::state::Sheet;
use temper::state::lens::{LensAct, PAGE};
use temper_protocol::{Command, Event, Project, project_file};

/// The lens over the data of a project.
pub(crate) fn opened() -> (tempfile::TempDir, temper::testing::Stage, kit::Window) {
    let (root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    window.key_press_modifiers(Modifiers::COMMAND, Key::T);
    window.run();
    assert_eq!(window.state().state.sheet, Some(Sheet::Lens));
    (root, stage, window)
}

fn pages_asked(stage: &temper::testing::Stage) -> Vec<u64> {
    let script = stage.engine.0.lock();
    let pages = script.sent.iter().filter_map(|(_, command)| match command {
        Command::Rows { first, count, .. } if *count as u64 == PAGE => Some(first / PAGE),
        _ => None,
    });
    pages.collect()
}

/// What the list says to those who hear it.
fn said(window: &kit::Window) -> String {
    let list = window.get_by_role_and_label(Role::ListBox, "Rows of the data");
    list.accesskit_node().value().unwrap_or_default()
}

#[test]
fn only_the_rows_in_view_are_asked_for() {
    let (_root, stage, mut window) = opened();
    assert_eq!(pages_asked(&stage), [0]);
    assert_eq!(stage.engine.count(|command| matches!(command, Command::IndexRows { .. })), 1);
    assert_eq!(window.state().state.lens.known, rows::ROWS);
    kit::send(&mut window, UiCommand::Lens(LensAct::Choose(rows::ROWS / 2)));
    window.run();
    let place = rows::ROWS / 2 / PAGE;
    let asked = pages_asked(&stage);
    assert!(asked.len() <= 3 && asked[1..].iter().all(|page| page.abs_diff(place) <= 1), "{asked:?}");
    // What was seen is remembered.
    kit::send(&mut window, UiCommand::Lens(LensAct::Choose(0)));
    window.run();
    assert_eq!(pages_asked(&stage), asked);
}

#[test]
fn rows_that_were_scrolled_past_are_not_waited_for() {
    let (_root, stage, mut window) = opened();
    stage.engine.reply_with(|_| Vec::new());
    for row in [100_000, 200_000, 300_000, 400_000] {
        kit::send(&mut window, UiCommand::Lens(LensAct::Choose(row)));
        window.run();
    }
    let waiting =
        window.state().state.jobs.iter().filter(|(_, running)| matches!(running.ask, temper::state::Ask::Rows(_)));
    let waiting: Vec<_> = waiting.map(|(_, running)| running.ask.clone()).collect();
    let near =
        |ask: &temper::state::Ask| matches!(ask, temper::state::Ask::Rows(page) if page.abs_diff(400_000 / PAGE) <= 1);
    assert!(!waiting.is_empty() && waiting.iter().all(near), "{waiting:?}");
    let cancelled = stage.engine.count(|command| matches!(command, Command::CancelRequest { .. }));
    assert!(cancelled >= 3, "{cancelled}");
}

#[test]
fn rows_that_were_asked_of_other_data_are_asked_anew() {
    let (_root, stage, mut window) = opened();
    stage.engine.reply_with(|_| Vec::new());
    kit::send(&mut window, UiCommand::Lens(LensAct::Choose(400_000)));
    window.run();
    let asked =
        |stage: &temper::testing::Stage| pages_asked(stage).into_iter().filter(|page| *page == 400_000 / PAGE).count();
    assert_eq!(asked(&stage), 1);
    let mut project = window.state().state.draft.project.clone();
    project.data.max_tokens += 64;
    kit::send(&mut window, UiCommand::Edit("data.max_tokens".to_owned(), Box::new(project)));
    window.run_steps(8);
    assert_eq!(stage.engine.count(|command| matches!(command, Command::IndexRows { .. })), 2);
    assert_eq!(asked(&stage), 2, "an answer that is on its way is about other rows");
    let lens = &window.state().state;
    let waiting =
        |wanted: fn(&temper::state::Ask) -> bool| lens.jobs.iter().filter(|(_, running)| wanted(&running.ask)).count();
    assert_eq!(waiting(|ask| matches!(ask, temper::state::Ask::Index)), 1);
    assert_eq!(waiting(|ask| matches!(ask, temper::state::Ask::WholeRow(_))), 1);
}

#[test]
fn the_list_is_walked_by_keys_and_says_what_it_shows() {
    let (_root, _stage, mut window) = opened();
    assert!(said(&window).starts_with("Row 1 of 1,000,000."), "{}", said(&window));
    assert!(said(&window).contains("trained: Sorry that it is late."), "{}", said(&window));
    window.key_press(Key::ArrowDown);
    window.run();
    assert!(said(&window).starts_with("Row 2 of 1,000,000."));
    window.key_press(Key::End);
    window.run();
    assert!(said(&window).starts_with("Row 1,000,000 of 1,000,000."));
    window.key_press(Key::PageUp);
    window.run();
    let chosen = window.state().state.lens.chosen;
    assert!(chosen < rows::ROWS - 5 && chosen > rows::ROWS - 60, "a page up: {chosen}");
    window.key_press(Key::Home);
    window.run();
    for _ in 0..rows::BLANK {
        window.key_press(Key::ArrowDown);
        window.run();
    }
    assert!(said(&window).ends_with("blank line"), "{}", said(&window));
    window.key_press(Key::Escape);
    window.run();
    assert_eq!(window.state().state.sheet, None);
}

#[test]
fn a_number_goes_to_its_row_and_a_wrong_one_is_told() {
    let (_root, _stage, mut window) = opened();
    let go = |window: &mut kit::Window, text: &str| {
        let field = window.get_by_role_and_label(Role::TextInput, "Go to row");
        field.focus();
        window.run();
        window.get_by_role_and_label(Role::TextInput, "Go to row").type_text(text);
        window.run();
        window.key_press(Key::Enter);
        window.run();
    };
    go(&mut window, "734,221");
    assert_eq!(window.state().state.lens.chosen, 734_220);
    go(&mut window, "2,000,000");
    let notice = window.state().state.notice.clone().expect("a notice");
    assert!(notice.text.contains("1,000,000"), "{}", notice.text);
    assert_eq!(window.state().state.lens.chosen, 734_220);
}

#[test]
fn each_kind_of_token_differs_by_more_than_its_colour() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    rows::token_lens(&mut window, &stage);
    // The chosen row has all four kinds; each is written in its own way.
    let mut ways = std::collections::BTreeSet::new();
    for clipped in &window.output().shapes {
        if let egui::Shape::Text(text) = &clipped.shape {
            for section in &text.galley.job.sections {
                let format = &section.format;
                ways.insert((format.italics, format.underline.width > 0.0, format.strikethrough.width > 0.0));
            }
        }
    }
    let (plain, trained) = ((false, false, false), (false, true, false));
    let (template, cut) = ((true, false, false), (false, false, true));
    for (way, name) in [(plain, "context"), (trained, "trained"), (template, "template"), (cut, "cut off")] {
        assert!(ways.contains(&way), "no {name} token is written by itself: {ways:?}");
    }
}

#[test]
fn a_problem_is_shown_and_tried_again() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    stage.engine.reply_with(|command| match command {
        Command::Rows { .. } | Command::IndexRows { .. } => vec![Event::Error(temper_protocol::Problem::new(
            temper_protocol::Code::NotFound,
            "the data file is gone",
            kit::DATA,
            "choose it again",
        ))],
        other => kit::answer(other),
    });
    kit::send(&mut window, UiCommand::Lens(LensAct::Open(None)));
    window.run();
    let asked = stage.engine.count(|command| matches!(command, Command::Rows { .. }));
    window.run();
    assert_eq!(stage.engine.count(|command| matches!(command, Command::Rows { .. })), asked, "asked again and again");
    assert!(window.query_all_by_label_contains("The data file is gone").next().is_some());
    stage.engine.reply_with(kit::answer);
    kit::press(&mut window, "Try again");
    assert!(window.state().state.lens.problem.is_none());
    assert!(window.state().state.lens.row(0).is_some());
}

#[test]
fn the_first_look_is_shown_until_all_rows_are_read() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    rows::setup_estimated(&mut window, &stage);
    let shows = |window: &kit::Window, words: &str| window.query_all_by_label(words).next().is_some();
    assert!(shows(&window, "about 1,000,000 rows"));
    assert_eq!(
        stage.engine.count(|command| matches!(command, Command::Preflight { .. })),
        0,
        "all rows are still read"
    );
    let fits = |command: &Command| matches!(command, Command::Preview { .. });
    stage.engine.say(fits, vec![kit::preview(), Event::Done {}]);
    window.run();
    assert!(shows(&window, "4,812 rows"));
    assert!(!shows(&window, "about 1,000,000 rows"));
}

#[test]
fn a_row_of_the_data_card_opens_in_the_lens() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    kit::press(&mut window, "Row 3 in the token lens");
    assert_eq!(window.state().state.sheet, Some(Sheet::Lens));
    assert_eq!(window.state().state.lens.chosen, 2);
}

#[test]
fn rows_left_out_make_a_cleaned_copy_that_the_project_takes() {
    let (_root, stage, mut window) = opened();
    assert!(App::copy_hindrance(&window.state().state).is_some(), "nothing is changed yet");
    window.key_press(Key::ArrowDown);
    window.run();
    window.key_press(Key::Delete);
    window.run();
    assert!(said(&window).ends_with("(left out)"), "{}", said(&window));
    kit::press(&mut window, "Save a cleaned copy");
    let asked = stage.engine.newest(|command| matches!(command, Command::CleanRows { .. }));
    let Some(Command::CleanRows { leave_out, deduplicate, stamp, .. }) = asked else { panic!("{asked:?}") };
    assert_eq!((leave_out, deduplicate, stamp.as_str()), (vec![1], false, rows::STAMP));
    let path = window.state().state.draft.folder.clone().expect("a folder").join("support-tone-cleaned.jsonl");
    let written = Event::Written { format: "jsonl".to_owned(), path, bytes: 7, sha256: String::new() };
    stage.engine.say(|command| matches!(command, Command::CleanRows { .. }), vec![written, Event::Done {}]);
    window.run();
    assert_eq!(kit::train_paths(&window.state().state.draft.project), ["support-tone-cleaned.jsonl"]);
    kit::send(&mut window, UiCommand::Undo);
    assert_eq!(kit::train_paths(&window.state().state.draft.project), [kit::DATA]);
}

#[test]
fn a_copy_that_is_written_after_another_project_was_opened_stays_out_of_it() {
    let (_root, stage, mut window) = opened();
    kit::send(&mut window, UiCommand::Lens(LensAct::Deduplicate(true)));
    kit::press(&mut window, "Save a cleaned copy");
    let folder = window.state().state.draft.folder.clone().expect("a folder");
    let other = folder.with_file_name("another");
    std::fs::create_dir(&other).expect("a folder");
    let project = Project::new("another", kit::MODEL, &[kit::DATA.to_owned()], "lora");
    project_file::save(&project, &other.join(project_file::FILE_NAME)).expect("saves");
    kit::send(&mut window, UiCommand::OpenProject(other.clone()));
    window.run();
    assert_eq!(window.state().state.draft.folder.as_ref(), Some(&other));
    let path = folder.join("support-tone-cleaned.jsonl");
    let written = Event::Written { format: "jsonl".to_owned(), path, bytes: 7, sha256: String::new() };
    stage.engine.say(|command| matches!(command, Command::CleanRows { .. }), vec![written, Event::Done {}]);
    window.run();
    assert_eq!(kit::train_paths(&window.state().state.draft.project), [kit::DATA]);
}

#[test]
fn what_tokens_cost_is_measured_for_the_row_that_is_looked_at() {
    let (_root, stage, mut window) = opened();
    let measured = |stage: &temper::testing::Stage| {
        let script = stage.engine.0.lock();
        let rows = script.sent.iter().filter_map(|(_, command)| match command {
            Command::RowLosses { row, .. } => Some(*row),
            _ => None,
        });
        rows.collect::<Vec<u64>>()
    };
    assert!(measured(&stage).is_empty());
    kit::press(&mut window, "Loss of each token");
    assert_eq!(measured(&stage), [0]);
    assert!(window.query_all_by_label_contains("nats a trained token").next().is_some());
    kit::send(&mut window, UiCommand::Lens(LensAct::Choose(2)));
    window.run();
    assert_eq!(measured(&stage), [0, 2], "once a row");
    kit::press(&mut window, "Loss of each token");
    kit::send(&mut window, UiCommand::Lens(LensAct::Choose(3)));
    assert_eq!(measured(&stage), [0, 2]);
    assert!(window.query_all_by_label_contains("nats a trained token").next().is_none());
}

#[test]
fn a_measurement_that_fails_is_told_and_not_repeated() {
    let (_root, stage, mut window) = opened();
    stage.engine.reply_with(|command| match command {
        Command::RowLosses { .. } => vec![Event::Error(temper_protocol::Problem::new(
            temper_protocol::Code::OutOfMemory,
            "the model does not fit",
            kit::MODEL,
            "close other programs",
        ))],
        other => kit::answer(other),
    });
    kit::press(&mut window, "Loss of each token");
    window.run();
    assert_eq!(stage.engine.count(|command| matches!(command, Command::RowLosses { .. })), 1);
    let notice = window.state().state.notice.clone().expect("a notice");
    assert!(notice.text.contains("does not fit") && notice.text.contains("close other programs"), "{}", notice.text);
}
