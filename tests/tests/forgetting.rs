//! The forgetting meter must see damage: fifty steps at ten times the usual rate on text whose words are
//! shuffled make the starter forget, and a rate of zero does not.

use std::path::{Path, PathBuf};
use temper_protocol::{Event, Project, RunStatus};
use temper_train::{Outcome, RunControl, TrainRequest};

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets").join(name)
}

/// The words of the code probe in another order: nothing to learn but the words themselves.
fn shuffled_rows() -> String {
    let text = std::fs::read_to_string(asset("probes/code.txt")).expect("text");
    let mut words: Vec<&str> = text.split_whitespace().collect();
    temper_nn::rng::Stream::new(1, "shuffle").shuffle(&mut words);
    let rows = words.chunks(60).map(|words| serde_json::json!({ "text": words.join(" ") }).to_string());
    rows.collect::<Vec<String>>().join("\n")
}

fn train(folder: &Path, lr_peak: f64) -> (Outcome, Vec<Event>) {
    let rows = folder.join("rows.jsonl");
    std::fs::write(&rows, shuffled_rows()).expect("rows");
    let names = ["prose", "instructions", "code", "arithmetic"];
    let files = ["prose.txt", "instructions.jsonl", "code.txt", "arithmetic.txt"];
    let mut project = Project::new("forgetting", "builtin:starter", &["rows.jsonl".to_owned()], "lora");
    project.data.max_tokens = 128;
    project.data.loss_on = "everything".to_owned();
    project.train.steps = 50;
    project.train.batch = 4;
    project.train.lr_peak = lr_peak;
    project.train.eval_steps = 0;
    project.train.eval_rows = 8;
    project.keep.every_steps = 0;
    let request = TrainRequest {
        project,
        project_dir: folder.to_path_buf(),
        run: 1,
        run_dir: folder.join(format!("run-{lr_peak}")),
        model_path: asset("starter"),
        data_sources: vec![(rows, 1.0)],
        validation_path: None,
        probes: names.iter().zip(files).map(|(name, file)| ((*name).to_owned(), asset("probes").join(file))).collect(),
        cache_dir: None,
        base_cache_dir: None,
        resume: None,
        beneath: None,
        start_from: None,
        max_steps: None,
    };
    let mut events = Vec::new();
    let outcome = temper_train::train(&request, &RunControl::new(), &mut |event| events.push(event)).expect("starts");
    assert_eq!(outcome.status, RunStatus::Finished, "{:?}", outcome.problem);
    (outcome, events)
}

#[test]
fn ten_times_the_rate_on_shuffled_text_is_seen_as_forgetting() {
    let folder = tempfile::tempdir().expect("temp");
    // The quickstart project trains the starter at 2e-3.
    let (outcome, events) = train(folder.path(), 2e-2);
    assert!(outcome.forgetting > 0.1, "{outcome:?}");
    let last = |event: &Event| match event {
        Event::Probe { step: 50, set, loss_delta, kl, negative_flips, top1_agreement, positions, .. } => {
            Some((set.clone(), *loss_delta, *kl, *negative_flips, *top1_agreement, *positions))
        }
        _ => None,
    };
    let probes: Vec<_> = events.iter().filter_map(last).collect();
    assert_eq!(probes.len(), 4);
    let worst = probes.iter().map(|probe| probe.1).fold(f64::NEG_INFINITY, f64::max);
    assert!((worst - outcome.forgetting).abs() < 1e-12);
    let flips: f64 = probes.iter().map(|probe| probe.3 * probe.5 as f64).sum();
    let positions: f64 = probes.iter().map(|probe| probe.5 as f64).sum();
    assert!(flips / positions > 0.01, "{probes:?}");
    assert!(probes.iter().all(|probe| probe.2 > 0.0 && probe.4 < 1.0), "{probes:?}");
    assert!(events.iter().any(|event| matches!(event, Event::Warning { code, .. } if code == "budget_exceeded")));

    let (still, _) = train(folder.path(), 0.0);
    assert!(still.forgetting.abs() < 1e-9, "{still:?}");
}
