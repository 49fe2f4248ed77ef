//! A threshold that closes every gate is said, once; one that leaves some open is not.

use crate::fixture::{Fixture, run, warnings};
use temper_protocol::{RunStatus, Value};

/// How often it is said that all gates are closed, and the validation losses before and after.
fn closed(threshold: f64) -> (usize, f64, f64) {
    let fixture = Fixture::new();
    let mut project = fixture.project();
    project.method.id = "sora".to_owned();
    project.method.settings.0.clear();
    for (key, value) in
        [("rank", Value::Integer(2)), ("threshold", Value::Number(threshold)), ("l1", Value::Number(0.0))]
    {
        project.method.settings.0.insert(key.to_owned(), value);
    }
    // A gate starts within about four and moves by less than the threshold otherwise.
    project.train.steps = 250;
    project.train.lr_peak = 1e-4;
    project.train.checkpoint_steps = 0;
    project.train.eval_steps = 50;
    project.train.eval_rows = 4;
    project.keep.probes.clear();
    let (outcome, events) = run(&fixture.request(project, "run"));
    assert_eq!(outcome.status, RunStatus::Finished, "{:?}", outcome.problem);
    let said = warnings(&events).into_iter().filter(|code| *code == "gates_closed").count();
    (said, outcome.base_loss, outcome.final_loss)
}

#[test]
fn gates_that_are_all_closed_are_said_once_and_the_model_is_its_base() {
    let (said, before, after) = closed(0.02);
    assert_eq!(said, 1, "at two measurements or more");
    assert!((before - after).abs() < 1e-6, "{after} after {before}");
    assert_eq!(closed(0.0003).0, 0, "some are open");
}
