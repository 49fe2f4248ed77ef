//! Models side by side: rows, scores, kinds and verdicts of `compare`, and the rate of a method that is not the project's.

use crate::commands::{Bench, train};
use std::path::{Path, PathBuf};
use temper_protocol::comparison::{Comparison, RowScores, Verdict};
use temper_protocol::{Code, Command, Event, ModelRef, named, project_file};

fn compare(bench: &Bench, project: &Path, adapters: &[&str], rows: usize) -> Command {
    let adapters = adapters.iter().map(|name| (*name).to_owned()).collect();
    Command::Compare {
        project: Some(project.to_path_buf()),
        model: ModelRef { model: bench.path("model").display().to_string(), adapters, base: None },
        data: "builtin:starter-data".to_owned(),
        rows,
    }
}

fn two_runs(bench: &mut Bench) -> PathBuf {
    let project = bench.project("shop");
    for method in ["lora", "miss"] {
        let Command::Train { project, set, out, resume, max_steps, .. } = train(&project, None, None) else {
            unreachable!("it trains");
        };
        let method = Some(method.to_owned());
        bench.ask(Command::Train { project, set, method, out, resume, max_steps }).expect("trains");
    }
    project
}

#[test]
fn models_are_compared_row_by_row_with_a_verdict_for_each_pair() {
    let mut bench = Bench::new();
    let project = two_runs(&mut bench);
    let events = bench.ask(compare(&bench, &project, &["run:1", "run:2"], 20)).expect("compares");
    let rows = events.iter().find_map(|event| match event {
        Event::Comparison(Comparison::Rows { rows }) => Some(rows.clone()),
        _ => None,
    });
    let rows = rows.expect("rows");
    assert!(rows.len() == 20 && rows.iter().all(|row| row.tokens > 0 && row.line > 0 && !row.text.is_empty()));
    let scores: Vec<&RowScores> = events
        .iter()
        .filter_map(|event| match event {
            Event::Comparison(Comparison::Scores(scores)) => Some(scores),
            _ => None,
        })
        .collect();
    let of = |model: &str| {
        let found = scores.iter().find(|scores| scores.model == model && scores.step.is_none());
        found.unwrap_or_else(|| panic!("no {model}")).losses.iter().sum::<f64>()
    };
    assert!(scores.iter().all(|scores| scores.losses.len() == 20 && scores.right.len() == 20));
    assert!(
        scores.iter().filter(|scores| scores.model == "run 1" && scores.step.is_some()).count() >= 2,
        "checkpoints"
    );
    let kinds = events
        .iter()
        .filter(|event| matches!(event, Event::Comparison(Comparison::Kinds(kinds)) if kinds.kinds.len() == 20))
        .count();
    assert_eq!(kinds, 2, "kinds of both runs");
    let verdicts: Vec<&Verdict> = events
        .iter()
        .filter_map(|event| match event {
            Event::Comparison(Comparison::Verdict(verdict)) => Some(verdict),
            _ => None,
        })
        .collect();
    let pairs: Vec<(&str, &str)> = verdicts.iter().map(|verdict| (verdict.a.as_str(), verdict.b.as_str())).collect();
    assert_eq!(pairs, [("base", "run 1"), ("base", "run 2"), ("run 1", "run 2")]);
    let tokens: u64 = rows.iter().map(|row| row.tokens).sum();
    for verdict in verdicts {
        let expected = (of(&verdict.b) - of(&verdict.a)) / tokens as f64;
        assert!((verdict.loss.value - expected).abs() < 1e-9, "{verdict:?}, expected {expected}");
        assert!(verdict.loss.low <= expected && expected <= verdict.loss.high, "{verdict:?}");
    }
    assert!(of("run 1") < of("base"), "what was trained on is known better");
}

#[test]
fn a_comparison_that_cannot_be_made_says_why() {
    let mut bench = Bench::new();
    let project = bench.project("shop");
    let command = compare(&bench, &project, &[], 0);
    assert_eq!(bench.refused(command).code, Code::Usage);
    let command = compare(&bench, &project, &["run:1", "run:1"], 0);
    assert!(bench.refused(command).what.contains("twice"));
    let command = compare(&bench, &project, &["run:1"], 0);
    assert_eq!(bench.refused(command).code, Code::NotFound, "there is no run");
}

#[test]
fn runs_are_compared_on_the_rows_that_they_kept_from_their_training() {
    let mut bench = Bench::new();
    let project = two_runs(&mut bench);
    let held_out = |adapters: &[&str]| {
        let Command::Compare { project, model, rows, .. } = compare(&bench, &project, adapters, 0) else {
            unreachable!("it compares");
        };
        Command::Compare { project, model, data: named::HELD_OUT.to_owned(), rows }
    };
    let (both, base_only) = (held_out(&["run:1", "run:2"]), held_out(&["run:1"]));
    let events = bench.ask(both.clone()).expect("compares");
    let rows = |events: &[Event]| {
        let rows = events.iter().find_map(|event| match event {
            Event::Comparison(Comparison::Rows { rows }) => Some(rows.len()),
            _ => None,
        });
        rows.expect("rows")
    };
    let whole = bench.ask(compare(&bench, &project, &["run:1"], 0)).expect("compares");
    let kept = rows(&events);
    assert!(kept > 0 && kept < rows(&whole) / 2, "{kept} of {} rows", rows(&whole));
    let verdicts = events.iter().filter(|event| matches!(event, Event::Comparison(Comparison::Verdict(_)))).count();
    assert_eq!(verdicts, 3);
    // Another seed splits otherwise: that run was trained on some of the rows.
    let frozen = project.join("runs").join("0002").join(project_file::FILE_NAME);
    let mut other = project_file::load(&frozen).expect("reads");
    other.train.seed += 1;
    project_file::save(&other, &frozen).expect("writes");
    let refused = bench.refused(both);
    assert!(refused.code == Code::Usage && refused.what.contains("run 2"), "{refused}");
    assert_eq!(rows(&bench.ask(base_only).expect("compares")), kept, "alone it is compared with its base");
}

#[test]
fn another_method_than_the_projects_takes_its_own_usual_rate() {
    let mut bench = Bench::new();
    let project = two_runs(&mut bench);
    let rate = |run: &str| project_file::load(&project.join("runs").join(run)).expect("reads").train.lr_peak;
    let usual = temper_methods::rates::lr_peak(temper_methods::find("miss").expect("miss").declared(), "llama");
    assert_eq!((rate("0001"), rate("0002")), (1e-2, usual));
    assert!(usual < 1e-2, "it is not that of the project");
    let set = vec![("train.lr_peak".to_owned(), "0.005".to_owned())];
    let method = Some("miss".to_owned());
    let command = Command::Train { project: project.clone(), set, method, out: None, resume: None, max_steps: Some(1) };
    bench.ask(command).expect("trains");
    assert_eq!(rate("0003"), 5e-3, "a rate that is meant for it stays");
}
