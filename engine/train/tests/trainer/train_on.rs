//! A run that starts with the values of another run's adapter.

use crate::fixture::{Fixture, run, warnings};
use temper_protocol::{Code, Problem, RunStatus};
use temper_train::attach::attach;
use temper_train::prepare::load_base;
use temper_train::{RunControl, StartFrom, TrainRequest};

/// Trains twenty steps, then asks for one more from what came out.
fn trained_on(method: &str) -> (f64, f64, Vec<String>) {
    let fixture = Fixture::new();
    let mut project = fixture.project();
    project.method.id = method.to_owned();
    if method == "full" {
        project.method.settings.0.clear();
    }
    project.method.settings.0.remove("dropout");
    let (first, _) = run(&fixture.request(project.clone(), "first"));
    assert_eq!(first.status, RunStatus::Finished, "{:?}", first.problem);
    let checkpoint = fixture.path("first/checkpoints/step-00000020");
    project.train.from = Some("run:1".to_owned());
    project.train.steps = 1;
    let request = fixture.request(project, "second");
    let request = TrainRequest { start_from: Some(StartFrom::Checkpoint(checkpoint)), ..request };
    let (second, events) = run(&request);
    assert_eq!(second.status, RunStatus::Finished, "{:?}", second.problem);
    assert!(first.final_loss < first.base_loss, "nothing was learned that could be carried over");
    (first.final_loss, second.base_loss, warnings(&events).into_iter().map(str::to_owned).collect())
}

#[test]
fn a_run_starts_where_the_other_one_ended() {
    for method in ["lora", "pissa", "adalora", "full"] {
        let (ended, begun, warnings) = trained_on(method);
        assert_eq!(begun.to_bits(), ended.to_bits(), "{method}: {begun} after {ended}");
        assert!(warnings.iter().all(|warning| warning != "other_base"), "{method}: {warnings:?}");
    }
}

#[test]
fn an_adapter_of_another_method_is_refused_before_anything_is_written() {
    let fixture = Fixture::new();
    let mut project = fixture.project();
    project.train.steps = 2;
    run(&fixture.request(project.clone(), "first"));
    let checkpoint = fixture.path("first/checkpoints/step-00000002");
    project.method.id = "loha".to_owned();
    project.method.settings.0.clear();
    let request = fixture.request(project, "second");
    let request = TrainRequest { start_from: Some(StartFrom::Checkpoint(checkpoint)), ..request };
    let error = temper_train::train(&request, &RunControl::new(), &mut |_| ()).expect_err("it cannot fit");
    let problem = Problem::from(error);
    assert_eq!(problem.code, Code::AdapterInvalid, "{problem}");
    assert!(!request.run_dir.join("checkpoints").exists(), "nothing is written");
}

#[test]
fn what_a_method_draws_follows_its_own_seed() {
    let fixture = Fixture::new();
    let params = |seed: u64, method_seed: Option<u64>| -> Vec<Vec<f32>> {
        let mut project = fixture.project();
        let mut model = load_base(&project, &fixture.path("model/config.json"), &mut |_, _, _| ()).expect("a model");
        (project.train.seed, project.train.method_seed) = (seed, method_seed);
        let attached = attach(&mut model, &project).expect("attaches");
        attached.params.iter().map(|param| param.var.flatten_all().unwrap().to_vec1().unwrap()).collect()
    };
    assert_eq!(params(7, Some(42)), params(42, None));
    assert_ne!(params(7, None), params(42, None));
}
