//! Experts of routers and the chosen layer in the rank microscope: read as of the step that is looked at, hidden where there
//! are none, said in sentences, walked by keyboard, read as tables and saved.

use crate::store::{Watcher, new_run, request, train};
use crate::watch::watching;
use crate::{kit, scenes};
use egui::Key;
use egui::accesskit::Role;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use temper::commands::UiCommand;
use temper::reader::ranks::Measure;
use temper::reader::{RunSource as _, RunView, ViewRequest};
use temper::screen::{Format, Plot};
use temper::state::Sheet;
use temper_protocol::Event;
use temper_protocol::event::ExpertLoad;
use temper_store::Store;

/// What a run tells about one layer with a router.
fn tell(store: &Store, run: u64, step: u64, site: &str, load: &[f64], dead: u64) {
    let site = site.to_owned();
    let rank = Event::Rank {
        step,
        site: site.clone(),
        rank: 4 * load.len() as u64,
        effective_rank: 3.0,
        energy: 0.01,
        spectrum: vec![0.5, 0.1],
    };
    let load = ExpertLoad { step, site, load: load.to_vec(), entropy: 0.5, dead };
    for event in [Event::Experts(load), rank] {
        store.push_event(run, &event).expect("written");
    }
}

#[test]
fn routers_are_read_as_of_the_step_that_is_looked_at() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(folder.path()).expect("a store");
    let (plain, routed) = (new_run(&store), new_run(&store));
    train(&store, plain, 1..=20);
    train(&store, routed, 1..=50);
    tell(&store, routed, 50, "layers.0.attn.q", &[0.5, 0.5], 0);
    tell(&store, routed, 50, "layers.1.attn.q", &[0.4, 0.3, 0.3], 0);
    train(&store, routed, 51..=100);
    tell(&store, routed, 100, "layers.0.attn.q", &[0.75, 0.25], 0);
    tell(&store, routed, 100, "layers.1.attn.q", &[0.9, 0.1, 0.0], 1);
    store.flush().expect("flushed");
    let mut watcher = Watcher::new();
    let mut at = |run: u64, step: Option<u64>| {
        let wanted = ViewRequest { run: Some(run), rank_step: step, ..request(folder.path()) };
        watcher.reader.look(wanted.clone());
        let asked = |view: &RunView| view.request.run == wanted.run && view.request.rank_step == wanted.rank_step;
        let snapshot = watcher.wait(|snapshot| snapshot.view.as_ref().is_some_and(|view| asked(view)));
        let view = snapshot.view.as_ref().expect("a view");
        view.experts.routers.iter().map(|router| (router.step, router.load.clone(), router.dead)).collect::<Vec<_>>()
    };
    assert_eq!(at(routed, None), [(100, vec![0.75, 0.25], 0), (100, vec![0.9, 0.1, 0.0], 1)], "live");
    assert_eq!(at(routed, Some(99)), [(50, vec![0.5, 0.5], 0), (50, vec![0.4, 0.3, 0.3], 0)], "half way");
    assert_eq!(at(routed, Some(100)), [(100, vec![0.75, 0.25], 0), (100, vec![0.9, 0.1, 0.0], 1)]);
    assert!(at(routed, Some(49)).is_empty(), "nothing was measured yet");
    assert!(at(plain, None).is_empty() && at(plain, Some(10)).is_empty(), "this run has no routers");
}

fn shows(window: &kit::Window, words: &str) -> bool {
    window.query_all_by_label_contains(words).next().is_some()
}

/// The name of the cell of the map that is chosen.
fn cell(window: &kit::Window) -> String {
    let nodes = window.root().children_recursive();
    let cell = nodes.into_iter().find(|node| node.accesskit_node().role() == Role::GridCell).expect("a cell");
    cell.accesskit_node().label().expect("a name")
}

/// The text of the sheet that shows a table.
fn sheet(window: &kit::Window) -> String {
    match &window.state().state.sheet {
        Some(Sheet::Text { text, .. }) => text.clone(),
        other => panic!("no table is shown but {other:?}"),
    }
}

fn routed_in(folder: &std::path::Path) -> RunView {
    let mut view = scenes::routed_view("finished", 1200);
    view.row.folder = folder.to_path_buf();
    view
}

#[test]
fn experts_are_offered_where_a_layer_has_a_router_and_nowhere_else() {
    let (_root, stage) = kit::stage();
    let mut window = watching(&stage, kit::view(7, "finished", 1200));
    let offered =
        |window: &kit::Window| window.query_by_role_and_label(Role::RadioButton, "Colour shows: experts").is_some();
    assert!(!offered(&window));
    // Remembered from another run.
    kit::send(&mut window, UiCommand::RankMeasure(Measure::Experts));
    assert!(!offered(&window) && shows(&window, "Rank by module and layer at step 1,200, coloured by effective: mean"));
    assert!(!shows(&window, "Load of the experts"));
    let (_root, stage) = kit::stage();
    let mut window = watching(&stage, scenes::routed_view("finished", 1200));
    assert!(offered(&window) && !shows(&window, "Load of the experts"));
    window.get_by_role_and_label(Role::RadioButton, "Colour shows: experts").click();
    window.run();
    assert_eq!(window.state().state.watch.measure, Measure::Experts);
    assert!(shows(&window, "Load of the experts of attn.q by layer at step 1,200: most on expert "));
    assert!(shows(&window, "; 1 of 144 experts hardly answer"), "of all layers");
    assert!(shows(&window, "Share of the choices of layers.20.attn.q by expert at step 1,200: most on expert "));
    assert!(shows(&window, "; 1 of 6 hardly answer"), "the layer with an idle expert is looked at first");
    assert!(shows(&window, "1.65 of 1.79"), "its entropy, and that of an even router");
    assert!(!shows(&window, "Singular values"), "the spectrum is that of a layer's rank");
}

#[test]
fn a_cell_of_the_experts_is_chosen_by_keyboard_and_a_module_from_its_list() {
    let (_root, stage) = kit::stage();
    let mut window = watching(&stage, scenes::routed_view("finished", 1200));
    kit::send(&mut window, UiCommand::RankMeasure(Measure::Experts));
    kit::send(&mut window, UiCommand::Expert("layers.20.attn.q".to_owned(), 4));
    assert!(cell(&window).starts_with("expert 5, attn.q, layer 20: "), "{}", cell(&window));
    let mut presses = 0;
    let focused = |window: &kit::Window| {
        let nodes = window.root().children_recursive();
        nodes.into_iter().any(|node| node.is_focused() && node.accesskit_node().role() == Role::GridCell)
    };
    while !focused(&window) {
        assert!(presses < 80, "Tab reaches no cell");
        window.key_press(Key::Tab);
        window.run();
        presses += 1;
    }
    for (key, site, expert) in [
        (Key::ArrowRight, "layers.21.attn.q", 4),
        (Key::ArrowDown, "layers.21.attn.q", 5),
        // The layers below have four experts and fewer.
        (Key::Home, "layers.16.attn.q", 5),
        (Key::ArrowUp, "layers.16.attn.q", 4),
        (Key::End, "layers.29.attn.q", 4),
    ] {
        window.key_press(key);
        window.run();
        let watch = &window.state().state.watch;
        assert_eq!((watch.site.as_deref(), watch.expert), (Some(site), Some(expert)), "{key:?}");
    }
    window.get_by_role_and_label(Role::ComboBox, "Module").click();
    window.run();
    window.get_by_role_and_label(Role::MenuItem, "v").click();
    window.run();
    assert_eq!(window.state().state.watch.site.as_deref(), Some("layers.29.attn.v"), "the layer stays");
    assert!(shows(&window, "Load of the experts of attn.v by layer at step 1,200: "));
}

#[test]
fn the_load_of_experts_is_a_table_and_files() {
    let (root, stage) = kit::stage();
    let mut window = watching(&stage, routed_in(root.path()));
    kit::send(&mut window, UiCommand::RankMeasure(Measure::Experts));
    kit::press(&mut window, "Experts: save");
    kit::press(&mut window, "Save experts as CSV");
    let text = std::fs::read_to_string(root.path().join("experts.csv")).expect("a table");
    assert_eq!(text.lines().next(), Some("site,step,expert,load,entropy_nats,hardly_used"));
    assert_eq!(text.lines().count(), 1 + 288, "two to eight experts on thirty layers of two modules");
    let of_layer = text.lines().filter(|line| line.starts_with("layers.20.attn.q,1200,"));
    let shares: Vec<f64> = of_layer.filter_map(|line| line.split(',').nth(3)?.parse().ok()).collect();
    assert_eq!(shares.len(), 6);
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    kit::press(&mut window, "Experts: save");
    kit::press(&mut window, "Experts as a table");
    assert!(sheet(&window).contains("layers.20.attn.q"));
    kit::send(&mut window, UiCommand::CloseSheet);
    kit::send(&mut window, UiCommand::RankMeasure(Measure::Rank));
    // Whatever is shown, the picture is of what was asked for.
    kit::send(&mut window, UiCommand::SavePicture(Plot::Experts, Format::Svg));
    window.run_steps(8);
    let text = std::fs::read_to_string(root.path().join("experts.svg")).expect("a picture");
    assert!(text.contains(">share of choices</text>") && !text.contains("NaN"));
    kit::send(&mut window, UiCommand::SavePicture(Plot::Spectrum, Format::Svg));
    window.run_steps(8);
    let text = std::fs::read_to_string(root.path().join("spectrum.svg")).expect("a picture");
    assert!(text.contains(">singular values of the change</text>"));
}

#[test]
fn the_chosen_layer_says_its_spectrum_and_history_and_both_are_tables() {
    let (root, stage) = kit::stage();
    let mut view = kit::view(7, "finished", 1200);
    view.row.folder = root.path().to_path_buf();
    let mut window = watching(&stage, view);
    kit::send(&mut window, UiCommand::Site(Some("layers.17.attn.v".to_owned())));
    assert!(shows(&window, "Singular values of the change of layers.17.attn.v: 16 from 0.84 down to "));
    assert!(shows(&window, "Effective rank over steps: "));
    kit::press(&mut window, "Spectrum: save");
    kit::press(&mut window, "Spectrum as a table");
    assert!(sheet(&window).starts_with("site"), "{}", sheet(&window));
    assert_eq!(sheet(&window).lines().count(), 1 + 16);
    kit::send(&mut window, UiCommand::CloseSheet);
    kit::press(&mut window, "Spectrum: save");
    kit::press(&mut window, "Save spectrum as CSV");
    let text = std::fs::read_to_string(root.path().join("spectrum.csv")).expect("a table");
    assert_eq!(text.lines().next(), Some("site,step,index,singular_value,energy_so_far"));
    assert!(text.lines().nth(1).is_some_and(|line| line.starts_with("layers.17.attn.v,1200,1,0.84,")), "{text}");
    let last = text.lines().last().and_then(|line| line.rsplit(',').next()?.parse::<f64>().ok());
    assert!(last.is_some_and(|share| (share - 1.0).abs() < 1e-9), "{text}");
    kit::press(&mut window, "Rank history: save");
    kit::press(&mut window, "Save rank history as CSV");
    let text = std::fs::read_to_string(root.path().join("rank-history.csv")).expect("a table");
    assert_eq!(text.lines().count(), 1 + 24, "measured every 50 steps");
    assert!(text.contains("\nlayers.17.attn.v,1200,16,"), "{text}");
}

#[test]
fn energy_and_change_are_two_measures_and_a_small_window_lists_them() {
    let (_root, stage) = kit::stage();
    let mut window = watching(&stage, kit::view(7, "finished", 1200));
    for (measure, said) in
        [(Measure::Change, "coloured by change: mean 1"), (Measure::Energy, "coloured by energy: mean 0.5 %")]
    {
        kit::send(&mut window, UiCommand::RankMeasure(measure));
        assert!(shows(&window, said), "{said}");
    }
    assert!(cell(&window).contains("of the energy of all changes"), "{}", cell(&window));
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[1], true);
    scenes::run(&mut window, &stage, "finished", 1200);
    window.get_by_role_and_label(Role::ComboBox, "Colour shows").click();
    window.run();
    window.get_by_role_and_label(Role::MenuItem, "energy").click();
    window.run();
    assert_eq!(window.state().state.watch.measure, Measure::Energy);
}
