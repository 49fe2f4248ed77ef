//! What happens when a run goes wrong: too much is forgotten, or the numbers explode.

use crate::fixture::{Fixture, run, steps, warnings};
use temper_protocol::{Code, Event, Project, RunStatus};
use temper_train::best::{Measured, Rule};
use temper_train::checkpoint::{Checkpoints, load};

/// A project that forgets quickly: full training at a high rate, measured every 4 steps.
pub(crate) fn forgetful(fixture: &Fixture, on_exceed: &str) -> Project {
    let mut project = fixture.project();
    project.method.id = "full".to_owned();
    project.method.settings.0.clear();
    project.train.lr_peak = 0.02;
    project.train.schedule = "constant".to_owned();
    project.train.warmup_steps = 0;
    project.train.checkpoint_steps = 2;
    project.keep.every_steps = 4;
    project.keep.budget_nats = 0.0;
    project.keep.on_exceed = on_exceed.to_owned();
    project
}

fn rates(events: &[Event]) -> Vec<(u64, f64)> {
    let rate = |event: &Event| if let Event::Step { step, lr, .. } = event { Some((*step, *lr)) } else { None };
    events.iter().filter_map(rate).collect()
}

#[test]
fn a_warning_is_given_and_the_run_goes_on() {
    let fixture = Fixture::new();
    let (outcome, events) = run(&fixture.request(forgetful(&fixture, "warn"), "run"));
    assert_eq!((outcome.status, outcome.steps), (RunStatus::Finished, 20));
    assert!(outcome.forgetting > 0.0, "{outcome:?}");
    assert_eq!(warnings(&events).iter().filter(|code| **code == "budget_exceeded").count(), 1);
}

#[test]
fn slowing_down_halves_the_rate_at_each_measurement_above_the_budget() {
    let fixture = Fixture::new();
    let (outcome, events) = run(&fixture.request(forgetful(&fixture, "slow-down"), "run"));
    assert_eq!(outcome.steps, 20);
    let exceeded = |event: &Event| match event {
        Event::Probe { step, loss_delta, .. } if *step > 0 && *loss_delta > 0.0 => Some(*step),
        _ => None,
    };
    let exceeded: Vec<u64> = events.iter().filter_map(exceeded).collect();
    assert!(!exceeded.is_empty());
    for (step, lr) in rates(&events) {
        let halvings = exceeded.iter().filter(|at| **at < step).count() as i32;
        assert!((lr - 0.02 * 0.5_f64.powi(halvings)).abs() < 1e-12, "step {step}: {lr}");
    }
}

#[test]
fn stopping_ends_the_run_with_a_checkpoint() {
    let fixture = Fixture::new();
    let request = fixture.request(forgetful(&fixture, "stop"), "run");
    let (outcome, events) = run(&request);
    assert_eq!(outcome.status, RunStatus::Finished);
    assert!(outcome.steps < 20 && outcome.steps % 4 == 0, "{}", outcome.steps);
    assert_eq!(steps(&request).last(), Some(&outcome.steps));
    assert!(warnings(&events).contains(&"budget_exceeded"));
}

#[test]
fn rolling_back_returns_within_the_budget_at_half_the_rate_three_times() {
    let fixture = Fixture::new();
    let request = fixture.request(forgetful(&fixture, "roll-back"), "run");
    let (outcome, events) = run(&request);
    assert_eq!(outcome.status, RunStatus::Finished, "{:?}", outcome.problem);
    let backs = warnings(&events).iter().filter(|code| **code == "rolled_back").count();
    assert!((1..=3).contains(&backs), "{backs}");
    let rates = rates(&events);
    let jump = rates.windows(2).find(|pair| pair[1].0 <= pair[0].0).expect("the step goes back");
    assert!((jump[1].1 - 0.5 * jump[0].1).abs() < 1e-12, "{jump:?}");
    if backs == 3 && outcome.forgetting > 0.0 {
        assert!(outcome.steps < 20, "after the third return the run gives up");
    }
    let newest = Checkpoints::existing(&request.run_dir).newest_valid().0.expect("whole");
    assert_eq!(newest.meta.state.step, outcome.steps);
}

#[test]
fn the_best_checkpoint_is_the_one_that_the_projects_rule_prefers() {
    let fixture = Fixture::new();
    for by in ["budget", "mix"] {
        // Validated every 5 steps, the kept sets are asked every 4: what a checkpoint forgot is measured with its loss.
        let mut project = forgetful(&fixture, "warn");
        project.train.eval_steps = 5;
        project.keep.budget_nats = 0.05;
        by.clone_into(&mut project.train.best_by);
        let rule = Rule::of(&project, true);
        let (outcome, events) = run(&fixture.request(project, by));
        assert_eq!(outcome.status, RunStatus::Finished, "{:?}", outcome.problem);
        let forgotten = |at: u64| {
            let deltas = events.iter().filter_map(|event| match event {
                Event::Probe { step, loss_delta, .. } if *step == at => Some(*loss_delta),
                _ => None,
            });
            deltas.fold(f64::NEG_INFINITY, f64::max)
        };
        let mut best: Option<(u64, Measured)> = None;
        for event in &events {
            let Event::Eval { step, split, loss, best: said } = event else { continue };
            if *step == 0 || split != "validation" {
                continue;
            }
            let new = Measured { loss: *loss, forgetting: forgotten(*step) };
            assert!(new.forgetting.is_finite(), "{by}: nothing was measured at step {step}");
            let better = rule.prefers(new, best.map(|(_, measured)| measured));
            assert_eq!(*said, better, "{by}: step {step}");
            if better {
                best = Some((*step, new));
            }
        }
        let (step, measured) = best.expect("a validation");
        assert_eq!((outcome.best_step, outcome.best_loss), (step, measured.loss), "{by}");
        let adapter = outcome.adapter.expect("the best is kept");
        assert!(adapter.ends_with(format!("step-{step:08}")), "{by}: {}", adapter.display());
    }
}

#[test]
fn replay_mixes_in_text_that_is_not_measured() {
    let fixture = Fixture::new();
    // Long enough that half of it can be left unmeasured.
    let text: String = (0..4000).map(|index| format!("The boat number {} lay in the harbour. ", index % 97)).collect();
    std::fs::write(fixture.path("prose.txt"), text).expect("text");
    let forgetting = |on_exceed: &str| {
        let mut project = forgetful(&fixture, on_exceed);
        project.train.steps = 60;
        project.train.eval_steps = 0;
        project.train.lr_peak = 0.01;
        let (outcome, events) = run(&fixture.request(project, on_exceed));
        assert_eq!(outcome.status, RunStatus::Finished, "{:?}", outcome.problem);
        assert!(warnings(&events).contains(&"budget_exceeded"));
        outcome.forgetting
    };
    let (warned, replayed) = (forgetting("warn"), forgetting("replay"));
    assert!(replayed < warned - 0.1, "replay {replayed}, warn {warned}");
}

#[test]
fn replay_without_text_to_replay_is_refused_with_the_other_choices() {
    let fixture = Fixture::new();
    std::fs::write(fixture.path("prose.txt"), "The harbour was quiet. ".repeat(30)).expect("text");
    let request = fixture.request(forgetful(&fixture, "replay"), "run");
    let error = temper_train::train(&request, &temper_train::RunControl::new(), &mut |_| ()).expect_err("refused");
    let problem = temper_protocol::Problem::from(error);
    assert!(problem.action.contains("roll-back") && problem.r#where == "keep.on_exceed", "{problem}");
}

/// A project whose numbers explode.
fn explosive(fixture: &Fixture, on_spike: &str) -> Project {
    let mut project = forgetful(fixture, "warn");
    project.keep.probes.clear();
    project.train.steps = 40;
    project.train.lr_peak = 10.0;
    project.train.clip_norm = 0.0;
    project.train.spike_factor = 1.5;
    project.train.on_spike = on_spike.to_owned();
    project
}

fn only_finite_weights_are_kept(fixture: &Fixture, run: &str) -> usize {
    let checkpoints = Checkpoints::existing(&fixture.path(run));
    for step in checkpoints.steps() {
        let loaded = load(&checkpoints.path(step)).expect("whole");
        for name in loaded.weights.names().expect("names") {
            let tensor = loaded.weights.tensor(&name).expect("tensor");
            let values: Vec<f32> = tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("values");
            assert!(values.iter().all(|value| value.is_finite()), "{name} at step {step}");
        }
    }
    checkpoints.steps().len()
}

#[test]
fn an_exploding_loss_stops_the_run_and_leaves_whole_checkpoints() {
    let fixture = Fixture::new();
    let (outcome, _) = run(&fixture.request(explosive(&fixture, "stop"), "run"));
    assert_eq!(outcome.status, RunStatus::Failed);
    let problem = outcome.problem.expect("a problem");
    assert_eq!(problem.code, Code::NonFinite, "{problem}");
    assert!(problem.r#where.contains("rows.jsonl line"), "{problem}");
    assert!(only_finite_weights_are_kept(&fixture, "run") > 0);
}

#[test]
fn an_exploding_loss_rolls_back_behind_its_rows_and_gives_up_in_the_end() {
    let fixture = Fixture::new();
    let (outcome, events) = run(&fixture.request(explosive(&fixture, "roll-back"), "run"));
    let back: Vec<&Event> =
        events.iter().filter(|event| matches!(event, Event::Warning { code, .. } if code == "rolled_back")).collect();
    assert!(!back.is_empty());
    assert!(
        matches!(back[0], Event::Warning { text, .. } if text.contains("rows.jsonl line") && text.contains("back to step"))
    );
    if outcome.status == RunStatus::Failed {
        assert_eq!((back.len(), outcome.problem.expect("a problem").code), (3, Code::NonFinite));
    }
    assert!(only_finite_weights_are_kept(&fixture, "run") > 0);
}
