//! Other runs behind the loss: chosen beside the list of runs, drawn from the store, named in the legend; and what a
//! frame over long runs touches.

use crate::{kit, scenes};
use egui::accesskit::Role;
use egui::epaint::Shape;
use egui_kittest::kittest::Queryable as _;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;
use temper::commands::UiCommand;
use temper::reader::{RunSource as _, RunView, RunsSnapshot, StoreReader, ViewRequest};
use temper::state::Room;
use temper_protocol::Event;
use temper_store::{NewRun, Store};

fn watching(stage: &temper::testing::Stage, view: RunView) -> kit::Window {
    let mut window = kit::window(stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, stage);
    stage.runs.publish(kit::snapshot(&folder, view, false));
    window.run();
    kit::send(&mut window, UiCommand::Go(Room::Watch));
    window
}

fn shows(window: &kit::Window, words: &str) -> bool {
    window.query_all_by_label(words).next().is_some()
}

#[test]
fn other_runs_are_chosen_beside_the_list_of_runs() {
    let (_root, stage) = kit::stage();
    let mut window = watching(&stage, kit::view(7, "finished", 1200));
    assert!(stage.runs.0.lock().request.beside.is_empty(), "off by default");
    kit::press(&mut window, "Draw other runs behind the loss");
    window.get_by_label("Behind the loss");
    window.get_by_role_and_label(Role::CheckBox, "Run 6").click();
    window.run();
    assert_eq!(stage.runs.0.lock().request.beside, BTreeSet::from([6]), "the store is asked for it");
    window.get_by_role_and_label(Role::CheckBox, "Run 5").click();
    window.run();
    assert_eq!(stage.runs.0.lock().request.beside, BTreeSet::from([5, 6]), "the list stays open");
    kit::send(&mut window, UiCommand::Watch(6));
    assert_eq!(window.state().state.watch.beside, BTreeSet::from([5, 6]), "another run, the same others");
    kit::send(&mut window, UiCommand::BesideAll(false));
    assert!(stage.runs.0.lock().request.beside.is_empty());
    kit::send(&mut window, UiCommand::BesideAll(true));
    assert_eq!(stage.runs.0.lock().request.beside, BTreeSet::from([5, 6, 7]));
}

#[test]
fn a_few_other_runs_are_named_and_many_are_counted() {
    let (_root, stage) = kit::stage();
    let window = watching(&stage, scenes::with_others(kit::view(7, "finished", 1200), 2));
    assert!(shows(&window, "run 2") && shows(&window, "run 1"));
    let (_root, stage) = kit::stage();
    let window = watching(&stage, scenes::with_others(kit::view(7, "finished", 1200), 49));
    assert!(shows(&window, "other runs") && shows(&window, "49"));
    assert!(!shows(&window, "run 2"));
}

/// Points that shapes are made of.
fn points(shape: &Shape) -> usize {
    match shape {
        Shape::Vec(shapes) => shapes.iter().map(points).sum(),
        Shape::Path(path) => path.points.len(),
        Shape::Band(band) => band.points.len(),
        Shape::Mesh(mesh) => mesh.vertices.len() / 3,
        _ => 0,
    }
}

#[test]
fn a_frame_touches_about_two_points_a_pixel_however_long_the_runs_are() {
    const STEPS: u64 = 30_000;
    const RUNS: u64 = 4;
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(folder.path()).expect("a store");
    let settings_toml = temper_protocol::project_file::to_text(&kit::project()).expect("project text");
    for _ in 0..RUNS {
        let new = NewRun { method: "lora".to_owned(), settings_toml: settings_toml.clone(), ..NewRun::default() };
        let run = store.create_run(&new).expect("a run");
        for step in 1..=STEPS {
            let wave = (step as f64 * 0.7 + run as f64).sin();
            let event = Event::Step {
                step,
                max_steps: STEPS,
                train_loss: 2.0 + wave,
                lr: 2e-4,
                grad_norm: 1.0 + 0.5 * wave,
                tokens_per_sec: 400.0,
                trained_tokens: step * 300,
                rss_mib: 1400.0,
            };
            store.push_event(run, &event).expect("pushed");
        }
        store.flush().expect("written");
    }
    let (woken, wakes) = sync_channel(64);
    let mut reader = StoreReader::start(Arc::new(move || {
        let _full = woken.try_send(());
    }))
    .expect("a thread");
    let (_root, stage) = kit::stage();
    let mut window = watching(&stage, kit::view(7, "finished", 1200));
    let pixels = window.state().state.watch.plot_px;
    assert!((300..1000).contains(&pixels), "the plot says how wide it is: {pixels}");
    let mut look = |steps: Option<(u64, u64)>| -> Arc<RunsSnapshot> {
        let request = ViewRequest {
            project: Some(folder.path().to_path_buf()),
            run: Some(RUNS),
            beside: (1..=RUNS).collect(),
            plot_px: pixels,
            steps,
            ..ViewRequest::default()
        };
        reader.look(request);
        loop {
            wakes.recv_timeout(Duration::from_secs(60)).expect("an answer");
            let newest = reader.latest();
            let wanted = |snapshot: &RunsSnapshot| snapshot.view.as_ref().is_some_and(|v| v.request.steps == steps);
            if let Some(snapshot) = newest.filter(|snapshot| wanted(snapshot)) {
                return snapshot;
            }
        }
    };
    for steps in [None, Some((5_000, 25_000)), Some((14_000, 14_100))] {
        let snapshot = look(steps);
        let view = snapshot.view.as_ref().expect("a view");
        assert_eq!(view.beside.len() as u64, RUNS - 1);
        let most = 2 * pixels as usize;
        for curve in [&view.train_raw, &view.train_smooth, &view.lr, &view.grad_norm] {
            let seen = view.seen(curve).len();
            assert!(seen > 0 && seen <= most, "{seen} points, {steps:?}");
            assert!(curve.len() <= 2 * most, "{} points to either side, {steps:?}", curve.len());
        }
        assert!(view.beside.iter().all(|other| !other.points.is_empty() && other.points.len() <= 2 * most));
        let project = window.state().state.draft.folder.clone();
        stage.runs.publish(RunsSnapshot { project, ..(*snapshot).clone() });
        kit::send(&mut window, UiCommand::Zoomed(steps));
        let drawn: usize = window.output().shapes.iter().map(|clipped| points(&clipped.shape)).sum();
        assert!(drawn > pixels as usize, "curves are drawn");
        assert!(drawn < 10 * most, "{drawn} points for {STEPS} steps of {RUNS} runs");
    }
}

#[test]
fn a_window_that_nobody_touches_asks_for_no_frame() {
    for (status, held) in [("finished", false), ("running", true), ("paused", true)] {
        let (_root, stage) = kit::stage();
        let mut window = kit::window(&stage, kit::SIZES[0], true);
        let folder = kit::open(&mut window, &stage);
        stage.runs.publish(kit::snapshot(&folder, kit::view(7, status, 412), held));
        window.run();
        kit::send(&mut window, UiCommand::Go(Room::Watch));
        for room in Room::ALL {
            kit::send(&mut window, UiCommand::Go(room));
            // A message in the status bar wakes the window once, when it is time for it to go.
            window.run_steps(40);
            assert!(!window.ctx.has_requested_repaint(), "{status}, {room:?}: {:?}", window.ctx.repaint_causes());
        }
    }
}
