//! How a project was looked at is remembered with it, and a file that cannot be read is passed over with a note.

use crate::kit::{self, Window};
use egui::accesskit::{Role, Toggled};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use std::path::Path;
use temper::commands::UiCommand;
use temper::reader::XAxis;
use temper::reader::snapshot::RunsSnapshot;
use temper::state::Room;
use temper::state::compare::{CompareAct, Part};
use temper::state::watch::SideTab;
use temper::testing::Stage;

/// A second window over the same folders opens the project.
fn again(stage: &Stage, folder: &Path) -> Window {
    let mut window = kit::window(stage, kit::SIZES[0], true);
    kit::send(&mut window, UiCommand::OpenProject(folder.to_path_buf()));
    // Project and layout are read one after the other.
    window.run_steps(3);
    window
}

/// Long enough for the layout to be written.
fn settle(window: &mut Window) {
    window.run_steps(6);
    window.run();
}

#[test]
fn room_axes_panels_and_runs_come_back_with_the_project() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, &stage);
    assert!(!folder.join("layout.json").exists(), "nothing was changed yet");
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "finished", 1200), false));
    window.run();
    kit::send(&mut window, UiCommand::More(true));
    kit::send(&mut window, UiCommand::Watch(6));
    kit::send(&mut window, UiCommand::XAxis(XAxis::Tokens));
    kit::send(&mut window, UiCommand::Tab(SideTab::Events));
    kit::send(&mut window, UiCommand::Beside(5, true));
    kit::send(&mut window, UiCommand::Compare(CompareAct::Part(Part::Settings)));
    // Home is where another project is opened from, not where this one was looked at.
    kit::send(&mut window, UiCommand::Go(Room::Home));
    settle(&mut window);
    assert!(folder.join("layout.json").is_file());
    let mut window = again(&stage, &folder);
    let state = &window.state().state;
    assert_eq!((state.room, state.compare.part), (Room::Compare, Part::Settings));
    assert_eq!((state.watch.x, state.watch.tab), (XAxis::Tokens, SideTab::Events));
    assert!(state.setup.more && state.watch.beside.contains(&5));
    assert_eq!(stage.runs.0.lock().request.run, Some(6), "the store is asked for it at once");
    // Run 6 is gone by now; what is shown is the newest.
    let rows = vec![kit::row(7, "finished", 1200)];
    stage.runs.publish(RunsSnapshot { project: Some(folder), runs: rows, ..RunsSnapshot::default() });
    window.run();
    let watch = &window.state().state.watch;
    assert_eq!((watch.run, watch.beside.len()), (None, 0));
}

#[test]
fn a_run_that_goes_on_is_shown_whatever_the_last_room_was() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, &stage);
    kit::send(&mut window, UiCommand::Go(Room::Export));
    settle(&mut window);
    let mut window = again(&stage, &folder);
    assert_eq!(window.state().state.room, Room::Export);
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "running", 412), true));
    window.run();
    assert_eq!(window.state().state.room, Room::Watch);
}

#[test]
fn damaged_and_foreign_files_are_passed_over_with_a_note_and_written_anew() {
    for text in ["half a fi", "{\"schema\": 99, \"room\": \"watch\"}", "[1, 2]", "\u{0}\u{1}"] {
        let (_root, stage) = kit::stage();
        let mut window = kit::window(&stage, kit::SIZES[0], true);
        let folder = stage.places.projects.join("customer-tone");
        std::fs::create_dir_all(&folder).expect("project folder");
        std::fs::write(folder.join("layout.json"), text).expect("a file");
        kit::open(&mut window, &stage);
        let state = &window.state().state;
        assert_eq!(state.room, Room::Setup, "{text}");
        assert_eq!(state.engine.problem, None, "{text}: no error, a note");
        kit::send(&mut window, UiCommand::Go(Room::Watch));
        settle(&mut window);
        assert_eq!(again(&stage, &folder).state().state.room, Room::Watch, "{text}: written anew");
    }
}

#[test]
fn a_layout_of_another_window_opens_in_a_room_and_a_part_that_are_there() {
    let [large, small] = kit::SIZES;
    // The room and the part that the file names, the size of the window, and what is shown.
    for (room, part, size, shown) in [
        ("attic", "settings", large, None),
        ("home", "settings", large, None),
        ("", "", small, None),
        ("compare", "cellar", large, Some("View: Curves")),
        ("compare", "", small, Some("View: Curves")),
        ("compare", "order", large, Some("View: Curves")),
        ("compare", "settings", large, Some("View: Settings")),
        // A large window has it beside the curves, and no part of that name.
        ("compare", "tradeoff", large, Some("View: Curves")),
        ("compare", "tradeoff", small, Some("View: Loss against forgetting")),
    ] {
        let (_root, stage) = kit::stage();
        let folder = stage.places.projects.join("customer-tone");
        std::fs::create_dir_all(&folder).expect("project folder");
        let text = format!("{{\"schema\": 1, \"room\": \"{room}\", \"compare\": {{\"part\": \"{part}\"}}}}");
        std::fs::write(folder.join("layout.json"), text).expect("a file");
        let mut window = kit::window(&stage, size, true);
        kit::open(&mut window, &stage);
        stage.runs.publish(kit::snapshot(&folder, kit::view(7, "finished", 1200), false));
        window.run();
        let room_shown = if shown.is_some() { Room::Compare } else { Room::Setup };
        assert_eq!(window.state().state.room, room_shown, "{room} {part}");
        let chosen = window.query_all_by_role(Role::RadioButton).filter_map(|node| {
            let node = node.accesskit_node();
            node.label().filter(|label| label.starts_with("View: ") && node.toggled() == Some(Toggled::True))
        });
        assert_eq!(chosen.collect::<Vec<_>>(), shown.into_iter().collect::<Vec<_>>(), "{room} {part}");
    }
}

#[test]
fn the_note_says_what_happened() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = stage.places.projects.join("customer-tone");
    std::fs::create_dir_all(&folder).expect("project folder");
    std::fs::write(folder.join("layout.json"), "half a fi").expect("a file");
    temper_protocol::project_file::save(&kit::project(), &folder.join("project.toml")).expect("project file");
    kit::send(&mut window, UiCommand::OpenProject(folder));
    window.run_steps(3);
    let notice = window.state().state.notice.as_ref().map(|notice| notice.text.clone());
    assert_eq!(notice.as_deref(), Some("The layout of this project could not be read; it is as at first"));
}
