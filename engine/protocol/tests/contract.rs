//! The serialised form of commands and events is a public contract: these tests keep the field names.

use temper_protocol::{Code, Command, Envelope, Event, Problem, Request, RunRef, RunStatus};

fn keys(value: &serde_json::Value) -> Vec<String> {
    value.as_object().expect("an object").keys().cloned().collect()
}

/// Every event of the command line's contract with the fields it promises; more may follow.
const PROMISED: &[(&str, &[&str])] = &[
    ("step", &["step", "max_steps", "train_loss", "lr", "grad_norm", "tokens_per_sec", "trained_tokens", "rss_mib"]),
    ("eval", &["step", "split", "loss", "best"]),
    ("probe", &["step", "set", "loss", "loss_delta", "kl", "top1_agreement"]),
    ("rank", &["step", "site", "rank", "effective_rank", "energy"]),
    ("sample", &["step", "prompt", "text"]),
    ("checkpoint", &["step", "path"]),
    ("warning", &["code", "text"]),
    (
        "finished",
        &[
            "run",
            "status",
            "steps",
            "best_step",
            "base_loss",
            "final_loss",
            "best_loss",
            "forgetting",
            "tokens_per_sec",
            "cpu_secs_per_step",
            "peak_rss_mib",
            "wall_secs",
            "adapter",
        ],
    ),
    ("progress", &["done", "total", "unit"]),
    ("written", &["format", "path", "bytes", "sha256"]),
    (
        "certificate",
        &[
            "pass",
            "format",
            "mean_abs_diff",
            "max_abs_diff",
            "relative_diff",
            "top1_agreement",
            "greedy_equal",
            "reasons",
        ],
    ),
    ("result", &["model", "adapter", "data", "metric", "value", "stderr", "rows"]),
    ("text", &["source", "text", "tokens", "stop_reason", "tokens_per_sec"]),
    ("error", &["what", "where", "action", "code"]),
];

fn samples() -> Vec<Event> {
    let path = || std::path::PathBuf::from("x");
    vec![
        Event::Step {
            step: 1,
            max_steps: 2,
            train_loss: f64::NAN,
            lr: 0.1,
            grad_norm: 1.0,
            tokens_per_sec: 1.0,
            trained_tokens: 3,
            rss_mib: 1.0,
        },
        Event::Eval { step: 1, split: "validation".into(), loss: 1.0, best: true },
        Event::Probe {
            step: 1,
            set: "prose".into(),
            loss: 1.0,
            loss_delta: 0.1,
            kl: 0.0,
            top1_agreement: 1.0,
            perplexity_ratio: 1.1,
            negative_flips: 0.0,
            positions: 8,
        },
        Event::Rank {
            step: 1,
            site: "layers.0.attn.q".into(),
            rank: 4,
            effective_rank: 3.0,
            energy: 0.1,
            spectrum: vec![1.0],
        },
        Event::Sample { step: 1, prompt: "p".into(), text: "t".into() },
        Event::Checkpoint { step: 1, path: path(), bytes: 1 },
        Event::Warning { code: "c".into(), text: "t".into(), step: 1 },
        Event::Finished {
            run: 1,
            status: RunStatus::Finished,
            steps: 1,
            best_step: 1,
            base_loss: 1.0,
            final_loss: 1.0,
            best_loss: 1.0,
            forgetting: 0.0,
            tokens_per_sec: 1.0,
            cpu_secs_per_step: 1.0,
            peak_rss_mib: 1.0,
            wall_secs: 1.0,
            adapter: None,
            problem: None,
        },
        Event::Progress { done: 1, total: 2, unit: "tensors".into(), stage: String::new() },
        Event::Written { format: "peft".into(), path: path(), bytes: 1, sha256: "0".into() },
        Event::Certificate {
            pass: true,
            format: "peft".into(),
            mean_abs_diff: 0.0,
            max_abs_diff: 0.0,
            relative_diff: 0.0,
            top1_agreement: 1.0,
            greedy_equal: true,
            reasons: Vec::new(),
            checks: Vec::new(),
            path: path(),
        },
        Event::Result {
            model: "m".into(),
            adapter: String::new(),
            data: "d".into(),
            metric: "nll".into(),
            value: 1.0,
            stderr: 0.0,
            rows: 1,
        },
        Event::Text {
            source: "base".into(),
            text: "t".into(),
            tokens: 1,
            stop_reason: "stop".into(),
            tokens_per_sec: 1.0,
        },
        Event::Error(Problem::new(Code::Io, "w", "f", "a")),
    ]
}

#[test]
fn events_carry_the_promised_fields_under_the_promised_names() {
    for event in samples() {
        let value = serde_json::to_value(&event).expect("serialises");
        let name = value["event"].as_str().expect("a tag").to_owned();
        let promised = PROMISED.iter().find(|(event, _)| *event == name).expect("in the contract").1;
        for key in promised {
            assert!(keys(&value).iter().any(|have| have == key), "{name} lacks {key}");
        }
    }
    assert_eq!(samples().len(), PROMISED.len());
}

#[test]
fn a_number_that_is_not_finite_is_null_and_comes_back_as_nan() {
    let line = serde_json::to_string(&samples()[0]).expect("serialises");
    assert!(line.contains("\"train_loss\":null"), "{line}");
    let Event::Step { train_loss, .. } = serde_json::from_str(&line).expect("reads back") else { panic!("a step") };
    assert!(train_loss.is_nan());
}

#[test]
fn a_measurement_of_before_energy_was_asked_for_still_reads() {
    let line = r#"{"event":"preflight","fits":true,"peak_rss_mib":1.0,"step_secs":2.0,"total_secs":3.0,"disk_mib":4.0,
        "warnings":[]}"#;
    let Event::Preflight { step_joules, .. } = serde_json::from_str(line).expect("reads") else {
        panic!("another event")
    };
    assert_eq!(step_joules, None);
}

#[test]
fn requests_and_envelopes_survive_a_line() {
    let request = Request {
        req: 7,
        command: Command::Train {
            project: "p".into(),
            set: vec![("train.steps".into(), "3".into())],
            method: None,
            out: None,
            resume: Some(RunRef::Last),
            max_steps: None,
        },
    };
    let line = serde_json::to_string(&request).expect("serialises");
    assert!(!line.contains('\n'));
    assert_eq!(serde_json::from_str::<Request>(&line).expect("reads back"), request);
    for event in samples().into_iter().skip(1) {
        let envelope = Envelope { req: 7, event };
        let line = serde_json::to_string(&envelope).expect("serialises");
        assert_eq!(serde_json::from_str::<Envelope>(&line).expect("reads back"), envelope);
    }
}

#[test]
fn runs_are_named_by_number_word_or_path_and_step() {
    assert_eq!(RunRef::parse("last"), (RunRef::Last, None));
    assert_eq!(RunRef::parse("12@300"), (RunRef::Id(12), Some(300)));
    assert_eq!(RunRef::parse("runs/0002"), (RunRef::Path("runs/0002".into()), None));
}
