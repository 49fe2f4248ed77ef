//! A person who looks elsewhere is told outside the window how a run ended and that it rests; who looks is not.

use crate::kit;
use crate::step_scenes::with_waiting;
use temper::testing::Stage;

/// A window over a run that goes on, and its project.
fn training(stage: &Stage, focused: bool) -> (kit::Window, std::path::PathBuf) {
    let mut window = kit::window(stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, stage);
    stage.runs.publish(with_waiting(&folder, &[]));
    window.run();
    window.input_mut().focused = focused;
    (window, folder)
}

fn told(stage: &Stage) -> Vec<String> {
    stage.herald.0.lock().clone()
}

#[test]
fn the_end_of_a_run_is_told_outside_a_window_that_nobody_looks_at() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = training(&stage, false);
    assert_eq!(told(&stage), [""; 0], "nothing has happened yet");
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "finished", 412), false));
    window.run();
    let said = told(&stage);
    assert_eq!(said.len(), 1, "once: {said:?}");
    assert!(said[0].starts_with("customer-tone: Run 7 has finished, best validation"), "{said:?}");
}

#[test]
fn who_looks_at_the_window_needs_no_notice_beside_it() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = training(&stage, true);
    for status in ["paused", "running", "finished"] {
        stage.runs.publish(kit::snapshot(&folder, kit::view(7, status, 412), status != "finished"));
        window.run();
    }
    assert_eq!(told(&stage), [""; 0]);
}

#[test]
fn a_pause_that_nobody_saw_is_told_each_time_it_begins() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = training(&stage, false);
    for status in ["paused", "paused", "running", "paused"] {
        stage.runs.publish(kit::snapshot(&folder, kit::view(7, status, 412), true));
        window.run();
    }
    assert_eq!(told(&stage), ["customer-tone: Run 7 is paused at step 412"; 2]);
    let notice = window.state().state.notice.as_ref().map(|notice| notice.text.as_str());
    assert_eq!(notice, Some("Run 7 is paused at step 412"));
}
