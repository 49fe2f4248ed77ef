//! Numbers: what cannot be read is refused where it was typed, and the next run has the number that the engine will give.

use crate::{compared, habits, kit};
use egui::Key;
use egui_kittest::kittest::Queryable as _;
use temper::reader::snapshot::RunsSnapshot;

#[test]
fn seed_and_temperature_of_the_playground_keep_what_they_cannot_read_and_say_so() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    compared::playground_empty(&mut window, &stage);
    let sampling = |window: &kit::Window| window.state().state.compare.answers.sampling;
    let before = sampling(&window);
    for (name, text) in [("Seed", "seven"), ("Temperature", "hot"), ("Temperature", "99")] {
        habits::write(&mut window, name, text, Some(Key::Enter));
        assert_eq!(habits::shown(&window, name), text, "{name} does not swallow it");
    }
    assert_eq!(sampling(&window), before);
    for (name, text) in [("Seed", "7"), ("Temperature", "0,7")] {
        habits::write(&mut window, name, text, Some(Key::Enter));
    }
    let after = sampling(&window);
    assert!(after.seed == 7 && (after.temperature - 0.7).abs() < 1e-12, "{after:?}");
    assert_eq!(
        (habits::shown(&window, "Seed").as_str(), habits::shown(&window, "Temperature").as_str()),
        ("7", "0.70")
    );
}

#[test]
fn the_next_run_does_not_have_the_number_of_one_in_the_trash() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, &stage);
    let row = |run| kit::row(run, "finished", 1200);
    stage.runs.publish(RunsSnapshot {
        project: Some(folder),
        runs: vec![row(4), row(3)],
        trashed: vec![row(2), row(6)],
        ..RunsSnapshot::default()
    });
    window.run();
    assert!(window.query_all_by_label_contains("next run: 7").next().is_some());
}
