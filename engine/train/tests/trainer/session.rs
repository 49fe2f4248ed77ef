//! Whole runs on a tiny model: what they say, what they leave, and how they are steered.

use crate::fixture::{Fixture, run, run_with, steps, warnings};
use temper_protocol::{Act, Code, Event, RunStatus};
use temper_train::{RunControl, TrainRequest, load_trained, preflight};

#[test]
fn a_run_without_steps_saves_what_its_method_starts_as() {
    let fixture = Fixture::new();
    let mut project = fixture.project();
    project.train.steps = 0;
    let request = fixture.request(project, "run");
    let (outcome, events) = run(&request);
    assert_eq!((outcome.status, outcome.steps), (RunStatus::Finished, 0), "{:?}", outcome.problem);
    assert!(!events.iter().any(|event| matches!(event, Event::Step { .. })));
    assert!(!warnings(&events).contains(&"no_improvement"));
    let adapter = outcome.adapter.expect("the start");
    assert!(adapter.join("adapter.safetensors").exists());
    assert!(outcome.base_loss.is_finite() && outcome.final_loss == outcome.base_loss);
}

#[test]
fn a_run_learns_and_says_everything_in_order() {
    let fixture = Fixture::new();
    let mut project = fixture.project();
    project.train.steps = 60;
    project.train.eval_steps = 20;
    project.train.checkpoint_steps = 20;
    project.keep.every_steps = 20;
    project.method.settings.0.insert("rank".to_owned(), temper_protocol::Value::Integer(16));
    project.train.lr_peak = 3e-2;
    project.samples.prompts = vec!["Where is the door?".to_owned()];
    project.samples.every_steps = 30;
    project.samples.max_tokens = 4;
    let request = fixture.request(project, "run");
    let (outcome, events) = run(&request);
    assert_eq!(outcome.status, RunStatus::Finished, "{:?}", outcome.problem);
    assert_eq!(outcome.steps, 60);
    assert!(outcome.final_loss < outcome.base_loss - 0.2, "{outcome:?}");
    assert!(outcome.best_loss <= outcome.final_loss && outcome.best_step > 0);
    assert!(outcome.forgetting.is_finite() && outcome.tokens_per_sec > 0.0 && outcome.peak_rss_mib > 1.0);
    let adapter = outcome.adapter.expect("a best checkpoint");
    assert!(adapter.join("adapter.safetensors").exists());
    assert!(request.run_dir.join("project.toml").exists() && request.run_dir.join("run.json").exists());

    let position = |wanted: &dyn Fn(&Event) -> bool| events.iter().position(wanted).expect("the event");
    let started = position(&|event| matches!(event, Event::Started { max_steps: 60, resumed_from: 0, .. }));
    let first_step = position(&|event| matches!(event, Event::Step { step: 1, .. }));
    let base = position(&|event| matches!(event, Event::Eval { step: 0, best: false, .. }));
    let probe = position(&|event| matches!(event, Event::Probe { step: 0, .. }));
    let sample = position(&|event| matches!(event, Event::Sample { step: 0, .. }));
    assert!(started < base && base < probe && probe < sample && sample < first_step);
    let count = |wanted: &dyn Fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
    assert_eq!(count(&|event| matches!(event, Event::Step { .. })), 60);
    assert_eq!(count(&|event| matches!(event, Event::Eval { .. })), 4);
    assert_eq!(count(&|event| matches!(event, Event::Probe { .. })), 4);
    assert_eq!(count(&|event| matches!(event, Event::Sample { .. })), 3);
    assert_eq!(count(&|event| matches!(event, Event::Rank { .. })), 3 * 14);
    assert_eq!(count(&|event| matches!(event, Event::Finished { .. })), 0, "the host says the last event");
    match &events[probe] {
        Event::Probe { loss_delta, kl, top1_agreement, negative_flips, positions, .. } => {
            assert!(loss_delta.abs() < 1e-9 && kl.abs() < 1e-9 && *negative_flips == 0.0 && *positions > 500);
            assert!((top1_agreement - 1.0).abs() < 1e-12);
        }
        other => panic!("{other:?}"),
    }
    // Whoever hears of a checkpoint finds it whole.
    for event in &events {
        if let Event::Checkpoint { step, path, bytes } = event {
            assert!(*bytes > 0 && path.ends_with(format!("checkpoints/step-{step:08}")));
        }
    }
}

/// A method that puts something rougher in the weights' place does not start as the base: how far off it is is said before
/// the first step, beside what the base itself answers.
#[test]
fn how_far_a_sketch_is_from_its_base_is_said_before_the_first_step() {
    let fixture = Fixture::new();
    let start = |method: &str, settings: &[(&str, &str)]| {
        let mut project = fixture.project();
        project.method.id = method.to_owned();
        project.method.settings.0.clear();
        for (key, value) in settings {
            project.method.settings.0.insert((*key).to_owned(), temper_protocol::Value::Text((*value).to_owned()));
        }
        project.train.steps = 1;
        let (outcome, events) = run(&fixture.request(project, &format!("{method}-{}", settings.len())));
        assert_eq!(outcome.status, RunStatus::Finished, "{method}: {:?}", outcome.problem);
        let first = events.iter().find_map(|event| match event {
            Event::Probe { step: 0, loss, loss_delta, kl, .. } => Some((*loss, *loss_delta, *kl)),
            _ => None,
        });
        let (loss, delta, kl) = first.expect("the kept text is measured");
        (outcome.base_loss, loss - delta, delta, kl)
    };
    let (sketched, base, delta, kl) = start("sketchtune", &[("bits", "2"), ("groups", "1")]);
    assert!(delta.abs() > 1e-6 && kl > 1e-6, "{delta} {kl}");
    let (plain, same_base, delta, kl) = start("lora", &[]);
    assert!(delta.abs() < 1e-9 && kl.abs() < 1e-9, "{delta} {kl}");
    assert!((base - same_base).abs() < 1e-9, "the base beside it is the model as its file has it: {base} {same_base}");
    assert!((sketched - plain).abs() > 1e-6, "the first validation loss is the sketch's: {sketched} {plain}");
}

#[test]
fn the_loaded_result_is_the_trained_model() {
    let fixture = Fixture::new();
    for method in ["lora", "full"] {
        let mut project = fixture.project();
        project.method.id = method.to_owned();
        if method == "full" {
            project.method.settings.0.clear();
        }
        let request = fixture.request(project, method);
        let (outcome, _) = run(&request);
        assert_eq!(outcome.status, RunStatus::Finished, "{:?}", outcome.problem);
        let trained =
            load_trained(&request.run_dir, &request.model_path, true, None, None, &mut |_, _, _| ()).expect("loads");
        assert_eq!(Some(&trained.checkpoint), outcome.adapter.as_ref());
        // Trained away from the base, and back at it when switched off.
        let ids = trained.codec.encode("Where is the door?", true).expect("ids");
        let ctx = temper_nn::ForwardContext::plain(1, ids.len());
        let ids: std::sync::Arc<[u32]> = ids.into();
        let logits = || trained.model.logits(&ids, &ctx).and_then(|all| Ok(all.flatten_all()?.to_vec1::<f32>()?));
        let now = logits().expect("logits");
        trained.model.set_enabled(false);
        let base = logits().expect("logits");
        assert_ne!(now, base, "{method}");
        let other = fixture.path("rows.jsonl");
        assert!(
            load_trained(&request.run_dir, &other, true, None, None, &mut |_, _, _| ()).is_err(),
            "another base is refused"
        );
    }
}

#[test]
fn stop_keeps_cancel_does_not_and_pause_waits() {
    let fixture = Fixture::new();
    let steer = |name: &str, act: Act, at: u64| {
        let request = fixture.request(fixture.project(), name);
        let control = RunControl::new();
        let (outcome, events) = run_with(&request, &control, |event| {
            if matches!(event, Event::Step { step, .. } if *step == at) {
                control.request(act);
            }
        });
        (request, outcome, events)
    };
    let (request, outcome, _) = steer("stopped", Act::Stop, 7);
    assert_eq!(outcome.status, RunStatus::Stopped);
    assert!(outcome.steps >= 7 && outcome.steps < 20, "{}", outcome.steps);
    assert_eq!(steps(&request).last(), Some(&outcome.steps), "the last step is kept");
    assert!(outcome.adapter.is_some());

    let (request, outcome, events) = steer("cancelled", Act::Cancel, 7);
    assert_eq!(outcome.status, RunStatus::Cancelled);
    let saved = events.iter().filter(|event| matches!(event, Event::Checkpoint { step, .. } if *step > 5)).count();
    assert!(steps(&request).iter().all(|step| step % 5 == 0), "nothing but what was due: {saved}");

    let request = fixture.request(fixture.project(), "paused");
    let control = RunControl::new();
    control.request(Act::Pause);
    let mut order = Vec::new();
    let (outcome, _) = run_with(&request, &control, |event| match event {
        Event::Paused { run: 1, .. } => {
            order.push("paused");
            control.request(Act::Resume);
        }
        Event::Resumed { run: 1, .. } => order.push("resumed"),
        _ => {}
    });
    assert_eq!((outcome.status, order), (RunStatus::Finished, vec!["paused", "resumed"]));
}

#[test]
fn save_now_and_sample_now_act_at_the_next_boundary() {
    let fixture = Fixture::new();
    let mut project = fixture.project();
    project.train.checkpoint_steps = 0;
    project.train.eval_steps = 0;
    project.keep.probes.clear();
    project.samples.prompts = vec!["Where is the door?".to_owned()];
    project.samples.every_steps = 0;
    project.samples.max_tokens = 2;
    let request = fixture.request(project, "run");
    let control = RunControl::new();
    // Told while it stands still: events are heard beside the run, which may be steps ahead of them.
    control.request(Act::Pause);
    let (_, events) = run_with(&request, &control, |event| {
        if matches!(event, Event::Paused { .. }) {
            control.request(Act::SaveNow);
            control.request(Act::SampleNow);
            control.request(Act::Resume);
        }
    });
    let of = |wanted: &dyn Fn(&Event) -> Option<u64>| events.iter().filter_map(wanted).collect::<Vec<u64>>();
    let saved = of(&|event| if let Event::Checkpoint { step, .. } = event { Some(*step) } else { None });
    let sampled = of(&|event| if let Event::Sample { step, .. } = event { Some(*step) } else { None });
    assert!(saved.len() == 3 && saved[0] == 0 && (1..20).contains(&saved[1]) && saved[2] == 20, "{saved:?}");
    assert!(sampled.len() == 3 && sampled[0] == 0 && (1..20).contains(&sampled[1]) && sampled[2] == 20, "{sampled:?}");
}

#[test]
fn a_stop_before_the_first_step_is_an_outcome_too() {
    let fixture = Fixture::new();
    for (act, status) in [(Act::Stop, RunStatus::Stopped), (Act::Cancel, RunStatus::Cancelled)] {
        let request = fixture.request(fixture.project(), status_name(status));
        let control = RunControl::new();
        control.request(act);
        let (outcome, _) = run_with(&request, &control, |_| ());
        assert_eq!((outcome.status, outcome.steps, outcome.adapter), (status, 0, None));
    }
}

fn status_name(status: RunStatus) -> &'static str {
    if status == RunStatus::Stopped { "stopped" } else { "cancelled" }
}

#[test]
fn validation_that_does_not_improve_ends_the_run() {
    let fixture = Fixture::new();
    let mut project = fixture.project();
    project.train.steps = 100;
    project.train.lr_peak = 0.0;
    project.train.patience = 2;
    let (outcome, events) = run(&fixture.request(project, "run"));
    assert_eq!((outcome.status, outcome.steps, outcome.best_step), (RunStatus::Finished, 15, 5));
    assert!(warnings(&events).contains(&"early_stop") && warnings(&events).contains(&"no_improvement"));
}

#[test]
fn without_validation_rows_the_newest_checkpoint_counts() {
    let fixture = Fixture::new();
    let mut project = fixture.project();
    project.data.validation = temper_protocol::project::Validation::Share(0.0);
    let request = fixture.request(project, "run");
    let (outcome, events) = run(&request);
    assert_eq!((outcome.status, outcome.best_step), (RunStatus::Finished, 0));
    assert!(outcome.final_loss.is_nan() && outcome.base_loss.is_nan());
    assert!(outcome.adapter.expect("newest").ends_with("step-00000020"));
    assert!(warnings(&events).contains(&"no_validation"));
}

#[test]
fn many_small_batches_train_like_one_large_one() {
    let fixture = Fixture::new();
    let losses = |name: &str, batch: usize, accumulate: usize| {
        let mut project = fixture.project();
        project.train.batch = batch;
        project.train.accumulate = accumulate;
        let (_, events) = run(&fixture.request(project, name));
        let loss = |event: &Event| if let Event::Step { train_loss, .. } = event { Some(*train_loss) } else { None };
        events.iter().filter_map(loss).collect::<Vec<f64>>()
    };
    let (one, eight) = (losses("one", 8, 1), losses("eight", 1, 8));
    assert_eq!((one.len(), eight.len()), (20, 20));
    for (step, (one, eight)) in one.iter().zip(&eight).enumerate() {
        assert!((one - eight).abs() < 1e-3 * one.abs(), "step {}: {one} {eight}", step + 1);
    }
}

#[test]
fn preflight_measures_and_writes_nothing() {
    let fixture = Fixture::new();
    let request = fixture.request(fixture.project(), "never");
    let event = preflight(&request, &RunControl::new(), &mut |_| ()).expect("measures");
    let Event::Preflight {
        fits,
        peak_rss_mib,
        step_secs,
        total_secs,
        disk_mib,
        trained_parameters,
        max_steps,
        step_joules,
        ..
    } = event
    else {
        panic!("another event");
    };
    assert!(step_joules.is_none_or(|joules| joules > 0.0 && joules.is_finite()), "{step_joules:?}");
    assert!(fits && peak_rss_mib > 1.0 && step_secs > 0.0 && total_secs >= 20.0 * step_secs && disk_mib > 0.0);
    assert_eq!((trained_parameters, max_steps), (2 * 4 * (32 + 32 + 2 * (32 + 16) + 32 + 32 + 3 * (32 + 64)), 20));
    assert!(!request.run_dir.exists());
}

#[test]
fn bad_requests_are_refused_with_their_reason_before_anything_is_written() {
    let fixture = Fixture::new();
    let refuse = |change: &dyn Fn(&mut TrainRequest)| {
        let mut request = fixture.request(fixture.project(), "refused");
        change(&mut request);
        let error = temper_train::train(&request, &RunControl::new(), &mut |_| ()).expect_err("refused");
        assert!(!request.run_dir.exists(), "nothing is written");
        temper_protocol::Problem::from(error)
    };
    std::fs::write(fixture.path("empty.jsonl"), "").expect("file");
    let problem = refuse(&|request| request.data_sources = vec![(fixture.path("empty.jsonl"), 1.0)]);
    assert_eq!(problem.code, Code::DataInvalid, "{problem}");
    let problem = refuse(&|request| request.project.method.id = "lroa".to_owned());
    assert!(problem.code == Code::MethodInvalid && problem.action.contains("lora"), "{problem}");
    let problem = refuse(&|request| request.model_path = fixture.path("absent.json"));
    assert!(problem.r#where.contains("absent.json"), "{problem}");
    // Two tokens leave no room for an answer.
    let problem = refuse(&|request| request.project.data.max_tokens = 2);
    assert_eq!(problem.code, Code::DataInvalid, "{problem}");
}
