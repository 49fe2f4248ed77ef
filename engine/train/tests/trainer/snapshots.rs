//! The adapter as of any step: what runs keep of themselves between checkpoints.

use crate::fixture::{Fixture, bytes_at, resumed, run, run_with, steps, warnings};
use crate::limits::forgetful;
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use temper_protocol::{Event, Problem, Project, RunStatus, Value};
use temper_train::{RunControl, StartFrom, TrainRequest, load_trained, snapshots};

fn snapshot(request: &TrainRequest, step: u64) -> PathBuf {
    request.run_dir.join(format!("snapshots/step-{step:08}.snapshot"))
}

fn files(request: &TrainRequest) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(request.run_dir.join("snapshots")).expect("lists").flatten();
    entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("reads")))
        .collect()
}

/// Bits of everything that is trained, by name, and of the answers to a prompt.
fn state(request: &TrainRequest, path: &Path) -> (BTreeMap<String, Vec<u32>>, Vec<u32>) {
    let loaded = load_trained(path, &request.model_path, true, None, None, &mut |_, _, _| ());
    let trained = loaded.unwrap_or_else(|error| panic!("{}: {}", path.display(), Problem::from(error)));
    let bits = |tensor: &candle_core::Tensor| -> Vec<u32> {
        let values = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("values");
        values.into_iter().map(f32::to_bits).collect()
    };
    let params = trained.model.params().expect("params");
    let values = params.iter().map(|param| (param.name.clone(), bits(param.var.as_tensor()))).collect();
    let ids = trained.codec.encode("Where is the door?", true).expect("ids");
    let ctx = temper_nn::ForwardContext::plain(1, ids.len());
    let ids: std::sync::Arc<[u32]> = ids.into();
    (values, bits(&trained.model.logits(&ids, &ctx).expect("logits")))
}

/// Wherever there are both, a snapshot is the checkpoint of its step.
fn agrees(request: &TrainRequest, method: &str) {
    let both = steps(request);
    assert!(both.len() >= 3, "{method}: {both:?}");
    for step in both {
        let checkpoint = request.run_dir.join(format!("checkpoints/step-{step:08}"));
        let (one, other) = (state(request, &checkpoint), state(request, &snapshot(request, step)));
        assert!(one.0 == other.0, "{method}: parameters differ at step {step}");
        assert!(one.1 == other.1, "{method}: answers differ at step {step}");
    }
}

fn project(fixture: &Fixture, method: &str, settings: &[(&str, Value)]) -> Project {
    let mut project = fixture.project();
    project.method.id = method.to_owned();
    project.method.settings.0.clear();
    project.method.settings.0.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    project
}

#[test]
fn a_snapshot_is_the_state_of_its_step_for_methods_that_move_and_those_that_do_not() {
    let fixture = Fixture::new();
    let cases: [(&str, &[(&str, Value)]); 11] = [
        ("lora", &[("rank", Value::Integer(4))]),
        ("pissa", &[("rank", Value::Integer(4))]),
        (
            "adalora",
            &[("init_rank", Value::Integer(6)), ("rank", Value::Integer(3)), ("every_steps", Value::Integer(2))],
        ),
        ("increlora", &[("rank", Value::Integer(2)), ("top", Value::Integer(3)), ("every_steps", Value::Integer(3))]),
        ("lora-pro", &[]),
        ("diffora", &[("rank", Value::Integer(3)), ("search_share", Value::Number(0.7))]),
        ("lt-sft", &[("search_share", Value::Number(0.35)), ("share", Value::Number(0.05))]),
        ("mola", &[("rank", Value::Integer(2))]),
        ("eva", &[("rank", Value::Integer(3))]),
        ("corda", &[("rank", Value::Integer(3)), ("calibration_rows", Value::Integer(16))]),
        ("full", &[]),
    ];
    for (method, settings) in cases {
        let request = fixture.request(project(&fixture, method, settings), method);
        let (outcome, events) = run(&request);
        assert_eq!(outcome.status, RunStatus::Finished, "{method}: {:?}", outcome.problem);
        assert!(!warnings(&events).contains(&"snapshots"), "{method}");
        assert_eq!(snapshots::steps(&request.run_dir).into_iter().collect::<Vec<_>>(), (0..=20).collect::<Vec<_>>());
        agrees(&request, method);
    }
}

#[test]
fn a_run_with_breaks_or_a_kill_keeps_the_same_bytes() {
    let fixture = Fixture::new();
    let project = || {
        let settings =
            [("init_rank", Value::Integer(6)), ("rank", Value::Integer(3)), ("every_steps", Value::Integer(2))];
        let mut project = project(&fixture, "adalora", &settings);
        // Less than a snapshot of every step takes.
        project.train.snapshot_mib = 1;
        project.train.checkpoint_steps = 3;
        project
    };
    fixture.configure(&[("hidden_size", 128), ("intermediate_size", 256), ("head_dim", 32)]);
    let whole = fixture.request(project(), "whole");
    let (outcome, events) = run(&whole);
    assert_eq!(outcome.status, RunStatus::Finished, "{:?}", outcome.problem);
    let expected = files(&whole);
    let bytes: usize = expected.values().map(Vec::len).sum();
    assert!(bytes <= 1 << 20 && expected.len() < 21, "{bytes} bytes in {} files", expected.len());
    let mut parts = fixture.request(project(), "parts");
    parts.max_steps = Some(10);
    run(&parts);
    let (outcome, _) = run(&resumed(&parts));
    assert_eq!((outcome.status, outcome.steps), (RunStatus::Finished, 20), "{:?}", outcome.problem);
    assert!(files(&parts) == expected, "a break changes them");
    for number in 1..5 {
        let request = fixture.request(project(), &format!("killed-{number}"));
        let (deadly, mut heard) = (number * events.len() / 5, 0);
        let died = catch_unwind(AssertUnwindSafe(|| {
            temper_train::train(&request, &RunControl::new(), &mut |_| {
                heard += 1;
                assert!(heard <= deadly, "the listener dies");
            })
        }));
        assert!(died.is_err());
        let (outcome, _) = run(&resumed(&request));
        assert_eq!((outcome.status, outcome.steps), (RunStatus::Finished, 20), "{:?}", outcome.problem);
        assert!(files(&request) == expected, "killed at event {deadly}");
    }
}

#[test]
fn what_was_learnt_before_going_back_is_no_part_of_the_run() {
    let fixture = Fixture::new();
    let request = fixture.request(forgetful(&fixture, "roll-back"), "back");
    let (outcome, events) = run(&request);
    assert_eq!(outcome.status, RunStatus::Finished, "{:?}", outcome.problem);
    assert!(warnings(&events).contains(&"rolled_back"));
    let newest = steps(&request).last().copied().expect("a checkpoint");
    let kept = snapshots::steps(&request.run_dir);
    assert!(kept.iter().all(|step| *step <= outcome.steps), "{kept:?} of {}", outcome.steps);
    let checkpoint = request.run_dir.join(format!("checkpoints/step-{newest:08}"));
    assert!(state(&request, &checkpoint) == state(&request, &snapshot(&request, newest)));
}

#[test]
fn none_are_kept_where_none_are_wanted_or_few_fit_and_the_run_is_the_same() {
    let fixture = Fixture::new();
    let with = fixture.request(fixture.project(), "with");
    run(&with);
    let mut project = fixture.project();
    project.train.snapshot_mib = 0;
    let without = fixture.request(project, "without");
    let (_, events) = run(&without);
    assert!(!without.run_dir.join("snapshots").exists() && !warnings(&events).contains(&"snapshots"));
    assert!(bytes_at(&with, 20) == bytes_at(&without, 20));

    fixture.configure(&[("hidden_size", 128), ("intermediate_size", 512), ("head_dim", 32)]);
    let mut large = self::project(&fixture, "full", &[]);
    large.train.snapshot_mib = 1;
    large.train.steps = 1;
    let large = fixture.request(large, "large");
    let (outcome, events) = run(&large);
    assert_eq!(outcome.status, RunStatus::Finished, "{:?}", outcome.problem);
    assert!(warnings(&events).contains(&"snapshots") && !large.run_dir.join("snapshots").exists());
}

#[test]
fn snapshots_that_cannot_be_written_end_and_the_run_goes_on() {
    let fixture = Fixture::new();
    let whole = fixture.request(fixture.project(), "whole");
    run(&whole);
    let request = fixture.request(fixture.project(), "blocked");
    let obstacle = request.run_dir.join("snapshots/.unfinished-00000015");
    let (outcome, events) = run_with(&request, &RunControl::new(), |event| {
        if matches!(event, Event::Checkpoint { step: 5, .. }) {
            fs::create_dir_all(&obstacle).expect("obstacle");
        }
    });
    assert_eq!((outcome.status, outcome.steps), (RunStatus::Finished, 20), "{:?}", outcome.problem);
    assert_eq!(warnings(&events).iter().filter(|code| **code == "snapshots").count(), 1);
    assert_eq!(snapshots::steps(&request.run_dir).last(), Some(&14));
    assert!(bytes_at(&request, 20) == bytes_at(&whole, 20));
}

#[test]
fn a_damaged_snapshot_is_told_on_resume_and_the_run_goes_on() {
    let fixture = Fixture::new();
    let whole = fixture.request(fixture.project(), "whole");
    run(&whole);
    let mut request = fixture.request(fixture.project(), "damaged");
    request.max_steps = Some(10);
    run(&request);
    let path = snapshot(&request, 4);
    let mut bytes = fs::read(&path).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).expect("damages");
    let (outcome, events) = run(&resumed(&request));
    assert_eq!((outcome.status, outcome.steps), (RunStatus::Finished, 20), "{:?}", outcome.problem);
    let told = events.iter().filter(|event| {
        matches!(event, Event::Warning { code, text, .. } if code == "snapshot_dropped" && text.contains("step 4 "))
    });
    assert_eq!(told.count(), 1);
    assert!(bytes_at(&request, 20) == bytes_at(&whole, 20));
    assert!(state(&request, &snapshot(&request, 20)) == state(&whole, &snapshot(&whole, 20)));
    assert_eq!(snapshots::nearest(&request.run_dir, 4).map(|(step, _)| step), Some(3));
}

#[test]
fn a_run_can_start_with_what_another_was_at_any_step() {
    let fixture = Fixture::new();
    let mut project = fixture.project();
    project.method.settings.0.remove("dropout");
    project.train.eval_steps = 1;
    let first = fixture.request(project.clone(), "first");
    let (_, events) = run(&first);
    let loss = events.iter().find_map(|event| match event {
        Event::Eval { step: 13, loss, .. } => Some(*loss),
        _ => None,
    });
    project.train.steps = 1;
    let second = fixture.request(project, "second");
    let from = Some(StartFrom::Checkpoint(snapshot(&first, 13)));
    let (outcome, _) = run(&TrainRequest { start_from: from, ..second });
    assert_eq!(Some(outcome.base_loss.to_bits()), loss.map(f64::to_bits));
}
