//! Watch: what is said before anything was measured, events as sentences, the heat map by keyboard.

use crate::{kit, scenes};
use egui::Key;
use egui::accesskit::Role;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use temper::commands::UiCommand;
use temper::reader::RunView;
use temper::reader::events::{EventKind, EventLine};
use temper::state::Room;
use temper::testing::{NOW_MILLIS, Stage};

/// The room with this run in it.
fn watching(stage: &Stage, view: RunView) -> kit::Window {
    let mut window = kit::window(stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, stage);
    let held = view.row.is_active();
    stage.runs.publish(kit::snapshot(&folder, view, held));
    window.run();
    kit::send(&mut window, UiCommand::Go(Room::Watch));
    window
}

fn shows(window: &kit::Window, words: &str) -> bool {
    window.query_all_by_label_contains(words).next().is_some()
}

#[test]
fn nothing_is_within_budget_before_it_was_measured() {
    let (_root, stage) = kit::stage();
    let window = watching(&stage, scenes::early_view("running"));
    assert!(shows(&window, "not measured yet"));
    assert!(!shows(&window, "within budget"));
    assert!(!shows(&window, "over budget"));
    let plot = "Forgetting: not measured yet, only on the base";
    assert!(shows(&window, plot), "the plot says so too");
    assert!(shows(&window, "the base"), "the readout names what its zeros are from");
}

#[test]
fn a_verdict_names_the_step_it_is_from() {
    let (_root, stage) = kit::stage();
    let window = watching(&stage, kit::view(7, "running", 412));
    assert!(shows(&window, "within budget at step 400"));
    let mut over = kit::view(7, "running", 412);
    if let Some(settings) = &mut over.settings {
        settings.keep.budget_nats = 0.01;
    }
    let (_root, stage) = kit::stage();
    let window = watching(&stage, over);
    assert!(shows(&window, "over budget at step 400"));
    let (_root, stage) = kit::stage();
    let window = watching(&stage, kit::view(7, "stopped", 412));
    assert!(shows(&window, "not measured since step 400"), "it ended at 412");
    assert!(!shows(&window, "within budget"));
}

#[test]
fn a_run_stopped_before_its_first_validation_has_no_best_step() {
    let (_root, stage) = kit::stage();
    let window = watching(&stage, scenes::early_view("stopped"));
    assert!(shows(&window, "It ended before its first validation."));
    assert!(shows(&window, "never measured"));
    assert!(!shows(&window, "best"), "nothing is called best");
    assert!(!shows(&window, "step 0"));
}

#[test]
fn events_are_sentences_whatever_the_engine_wrote() {
    let (_root, stage) = kit::stage();
    let mut view = kit::view(7, "running", 412);
    let line =
        |text: &str| EventLine { step: 400, at_millis: NOW_MILLIS, kind: EventKind::Warning, text: text.to_owned() };
    view.events = vec![line("more is forgotten than allowed"), line("notes.txt: 3 rows are too long")].into();
    let window = watching(&stage, view);
    window.get_by_label("More is forgotten than allowed");
    window.get_by_label("File notes.txt: 3 rows are too long");
}

/// The name of the cell that has the keyboard, if one has.
fn focused_cell(window: &kit::Window) -> Option<String> {
    let nodes = window.root().children_recursive();
    let cell = nodes.into_iter().find(|node| node.is_focused() && node.accesskit_node().role() == Role::GridCell)?;
    cell.accesskit_node().label()
}

#[test]
fn a_cell_of_the_heat_map_is_reached_and_moved_by_keyboard() {
    let (_root, stage) = kit::stage();
    let mut window = watching(&stage, kit::view(7, "running", 412));
    let mut presses = 0;
    while focused_cell(&window).is_none() {
        assert!(presses < 80, "Tab reaches no cell");
        window.key_press(Key::Tab);
        window.run();
        presses += 1;
    }
    kit::send(&mut window, UiCommand::Site(Some("layers.17.attn.v".to_owned())));
    let name = focused_cell(&window).expect("a cell");
    assert!(name.starts_with("attn.v, layer 17: rank 16, effective rank "), "{name}");
    assert!(name.contains("change "), "{name}");
    for (key, site) in [
        (Key::ArrowRight, "layers.18.attn.v"),
        (Key::ArrowDown, "layers.18.attn.o"),
        (Key::ArrowLeft, "layers.17.attn.o"),
        (Key::ArrowUp, "layers.17.attn.v"),
        (Key::End, "layers.29.attn.v"),
        (Key::ArrowRight, "layers.29.attn.v"),
        (Key::Home, "layers.0.attn.v"),
    ] {
        window.key_press(key);
        window.run();
        assert_eq!(window.state().state.watch.site.as_deref(), Some(site), "{key:?}");
        assert_eq!(stage.runs.0.lock().request.site.as_deref(), Some(site), "its history is asked for");
        let (_, rest) = site.split_once('.').expect("a site");
        let (layer, module) = rest.split_once('.').expect("a layer");
        let name = focused_cell(&window).expect("the focus stays in the map");
        assert!(name.starts_with(&format!("{module}, layer {layer}: ")), "{name}");
    }
}
