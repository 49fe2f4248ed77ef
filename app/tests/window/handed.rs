//! A start while a window is open: what it was given falls on that window like a drop, and the window comes to the front.

use crate::kit;
use egui::{UserAttentionType, ViewportCommand, ViewportId};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use std::path::PathBuf;
use temper::commands::UiCommand;
use temper::instance::{self, Handed, Meeting, Place};
use temper::state::{Room, Sheet};

fn handed(paths: &[&str]) -> Handed {
    Handed::new(paths.iter().map(PathBuf::from).collect())
}

/// What the last frame asked of the window system.
fn asked(window: &kit::Window) -> Vec<ViewportCommand> {
    window.output().viewport_output.values().flat_map(|output| output.commands.iter().cloned()).collect()
}

const CALL: ViewportCommand = ViewportCommand::RequestUserAttention(UserAttentionType::Informational);
const CALMED: ViewportCommand = ViewportCommand::RequestUserAttention(UserAttentionType::Reset);

#[test]
fn what_another_start_hands_over_is_a_drop_and_calls_the_person_once() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    window.input_mut().focused = false;
    assert!(stage.door.put(handed(&[kit::MODEL, kit::DATA])));
    window.step();
    let commands = asked(&window);
    assert!(commands.contains(&ViewportCommand::Focus) && commands.contains(&CALL), "{commands:?}");
    assert!(
        !commands.contains(&ViewportCommand::Minimized(false)),
        "a window that is not away stays as large as it is"
    );
    window.run();
    let state = &window.state().state;
    assert_eq!(state.draft.project.model.path, kit::MODEL);
    assert_eq!(kit::train_paths(&state.draft.project), [kit::DATA]);
    assert_eq!(state.room, Room::Setup);
    window.input_mut().focused = true;
    window.step();
    assert!(asked(&window).contains(&CALMED), "the person came");
    window.step();
    assert!(!asked(&window).contains(&CALMED), "and is told that once");
}

#[test]
fn a_start_without_paths_shows_the_window_and_changes_nothing() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    window.state_mut().state.sheet = Some(Sheet::Help);
    window.input_mut().viewports.entry(ViewportId::ROOT).or_default().minimized = Some(true);
    assert!(stage.door.put(Handed::default()));
    window.step();
    let commands = asked(&window);
    for wanted in [ViewportCommand::Minimized(false), ViewportCommand::Focus, CALL] {
        assert!(commands.contains(&wanted), "{wanted:?} is not in {commands:?}");
    }
    let state = &window.state().state;
    assert_eq!((state.room, &state.sheet, state.draft.open), (Room::Home, &Some(Sheet::Help), false));
}

#[test]
fn several_starts_at_once_are_one_drop() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    for path in [kit::DATA, "/data/more.jsonl"] {
        assert!(stage.door.put(handed(&[path])), "a file manager may start the program once for each file");
    }
    window.run();
    assert_eq!(kit::train_paths(&window.state().state.draft.project), [kit::DATA, "/data/more.jsonl"]);
}

#[test]
fn a_second_start_reaches_the_window_of_the_first() {
    let (root, mut stage) = kit::stage();
    let place = Place::new(root.path().join("meet"), "test");
    let host = match instance::meet(&place, &Handed::default(), false) {
        Meeting::Host(host) => host,
        other => panic!("the first start opens the window: {other:?}"),
    };
    stage.door = host.door();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let second = instance::meet(&place, &handed(&[kit::MODEL, "/downloads/rows.csv"]), false);
    assert!(matches!(second, Meeting::Handed), "{second:?}");
    window.run();
    let state = &window.state().state;
    assert_eq!(state.draft.project.model.path, kit::MODEL, "what can be used has its place");
    assert!(!state.setup.problems.is_empty(), "and what cannot is refused in its card");
}

#[test]
fn where_no_files_can_be_dropped_no_words_ask_for_it() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    window.state_mut().state.drops_work = false;
    window.run();
    window.get_by_label("This window system (Wayland) reports no dropped files: use a dialog or paste a path.");
    for way in ["Choose files…", "Choose folder…", "Enter a path…"] {
        assert!(window.query_all_by_label(way).next().is_some(), "{way} is not offered");
    }
    kit::send(&mut window, UiCommand::Go(Room::Setup));
    window.get_by_label_contains("choose a model and data in the cards");
    let root = window.root();
    let labels = root.children_recursive().filter_map(|node| node.accesskit_node().label());
    let asks = |label: &String| label.split_whitespace().any(|word| word.eq_ignore_ascii_case("drop"));
    let asking: Vec<String> = labels.filter(asks).collect();
    assert!(asking.is_empty(), "{asking:?}");
}
