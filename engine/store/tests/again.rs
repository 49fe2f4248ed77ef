//! Runs that go on again and kept sets that are no number: their columns say what is so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use temper_protocol::{Event, RunStatus};
use temper_store::{NewRun, Reader, RunRow, Store};

fn push(store: &Store, run: u64, events: impl IntoIterator<Item = Event>) {
    events.into_iter().for_each(|event| store.push_event(run, &event).expect("pushes"));
    store.flush().expect("flushes");
}

fn row(project: &Path, run: u64) -> RunRow {
    Reader::open(project).expect("reader").run(run).expect("reads").expect("the run")
}

fn steps(steps: std::ops::RangeInclusive<u64>) -> impl Iterator<Item = Event> {
    steps.map(|step| Event::Step {
        step,
        max_steps: 200,
        train_loss: 2.0,
        lr: 1e-4,
        grad_norm: 0.5,
        tokens_per_sec: 300.0,
        trained_tokens: step * 100,
        rss_mib: 400.0,
    })
}

/// What two phases together took since the last report.
fn phases(step: u64, secs: f64) -> Event {
    let halves = ["forward", "backward"].map(|phase| (phase.to_owned(), secs / 2.0));
    Event::Phases { step, secs: BTreeMap::from(halves) }
}

fn probe(step: u64, set: &str, loss_delta: f64) -> Event {
    Event::Probe {
        step,
        set: set.to_owned(),
        loss: 2.0 + loss_delta,
        loss_delta,
        kl: 0.0,
        top1_agreement: 0.9,
        perplexity_ratio: 1.0,
        negative_flips: 0.01,
        positions: 512,
    }
}

fn started(run: u64, resumed_from: u64) -> Event {
    Event::Started {
        run,
        project: PathBuf::from("p"),
        method: "lora".to_owned(),
        model_parameters: 1000,
        trained_parameters: 10,
        seed: 1,
        threads: 2,
        device: "cpu".to_owned(),
        max_steps: 200,
        resumed_from,
    }
}

fn finished(run: u64, steps: u64, forgetting: f64, wall_secs: f64) -> Event {
    Event::Finished {
        run,
        status: RunStatus::Finished,
        steps,
        best_step: 0,
        base_loss: 3.0,
        final_loss: 2.6,
        best_loss: 2.5,
        forgetting,
        tokens_per_sec: 290.0,
        cpu_secs_per_step: 1.0,
        peak_rss_mib: 500.0,
        wall_secs,
        adapter: None,
        problem: None,
    }
}

/// A run of 100 steps that took 110 seconds, 100 of them in phases.
fn of_a_hundred(store: &Store) -> u64 {
    let run = store.create_run(&NewRun::default()).expect("run");
    push(store, run, std::iter::once(started(run, 0)).chain(steps(1..=100)));
    push(store, run, [phases(50, 50.0), phases(100, 50.0), finished(run, 100, 0.0, 110.0)]);
    run
}

#[test]
fn the_time_of_a_run_is_that_of_all_its_stretches() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let run = of_a_hundred(&store);
    assert_eq!(row(folder.path(), run).wall_secs, 110.0);
    store.truncate_after(run, 100).expect("goes on");
    assert_eq!(row(folder.path(), run).wall_secs, 110.0, "nothing was cut off");
    push(&store, run, std::iter::once(started(run, 100)).chain(steps(101..=200)));
    push(&store, run, [phases(200, 100.0), finished(run, 200, 0.0, 105.0)]);
    assert_eq!(row(folder.path(), run).wall_secs, 215.0);
}

#[test]
fn the_time_of_steps_that_are_done_again_counts_once() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let run = of_a_hundred(&store);
    for _ in 0..2 {
        // Also when it is cut back once more before it has done a step.
        store.truncate_after(run, 50).expect("goes back");
        assert_eq!(row(folder.path(), run).wall_secs, 55.0);
    }
    push(&store, run, [started(run, 50)]);
    push(&store, run, steps(51..=100).chain([phases(100, 50.0), finished(run, 100, 0.0, 60.0)]));
    assert_eq!(row(folder.path(), run).wall_secs, 115.0);
    store.truncate_after(run, 0).expect("begins anew");
    assert_eq!(row(folder.path(), run).wall_secs, 0.0);
}

#[test]
fn a_stretch_whose_engine_was_killed_counts_with_the_work_it_told() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let run = of_a_hundred(&store);
    store.truncate_after(run, 100).expect("goes on");
    push(&store, run, std::iter::once(started(run, 100)).chain(steps(101..=180)).chain([phases(150, 50.0)]));
    assert_eq!(store.mark_interrupted().expect("marks"), 1);
    store.truncate_after(run, 150).expect("goes on");
    assert_eq!(row(folder.path(), run).wall_secs, 150.0, "not the 110 s of its first stretch, less what was lost");
    push(&store, run, std::iter::once(started(run, 150)).chain(steps(151..=200)));
    push(&store, run, [finished(run, 200, 0.0, 52.0)]);
    assert_eq!(row(folder.path(), run).wall_secs, 202.0);
}

#[test]
fn a_kept_set_that_is_no_number_is_not_passed_over_for_another() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let run = store.create_run(&NewRun::default()).expect("run");
    push(&store, run, [probe(0, "prose", 0.0), probe(0, "code", 0.0)]);
    assert_eq!(row(folder.path(), run).forgetting, 0.0);
    for (step, prose, code) in [(50, 0.01, f64::NAN), (100, f64::NAN, 0.02)] {
        push(&store, run, [probe(step, "prose", prose), probe(step, "code", code)]);
        assert!(row(folder.path(), run).forgetting.is_nan(), "at step {step}");
    }
    // Whoever ends a run that failed may have passed over it.
    push(&store, run, [finished(run, 100, 0.02, 10.0)]);
    assert!(row(folder.path(), run).forgetting.is_nan(), "at the end");
    store.truncate_after(run, 60).expect("goes back");
    assert!(row(folder.path(), run).forgetting.is_nan(), "at step 50 once more");
    // Measured again at the same step, as after a return to a checkpoint before it.
    push(&store, run, [probe(50, "prose", 0.03), probe(50, "code", 0.01)]);
    assert_eq!(row(folder.path(), run).forgetting, 0.03);
    push(&store, run, [finished(run, 100, f64::NAN, 10.0)]);
    assert_eq!(row(folder.path(), run).forgetting, 0.03, "an end that knows none leaves what was measured");
}
