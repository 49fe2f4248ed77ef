//! Keeping runs in order, on a run that was really trained: labels, the trash and back, checkpoints, disk.

use crate::commands::{Bench, train};
use temper_protocol::housekeeping::{DiskUse, Housekeeping, LabelChange};
use temper_protocol::{Code, Command, Event, GenerateLimits, ModelRef};
use temper_store::Reader;

fn disk(events: &[Event]) -> Vec<DiskUse> {
    let of = |event: &Event| match event {
        Event::Disk(disk) => *disk,
        other => panic!("expected the disk, got {other:?}"),
    };
    events.iter().map(of).collect()
}

#[test]
fn a_trained_run_is_labelled_pruned_put_aside_brought_back_and_still_answers() {
    let mut bench = Bench::new();
    let project = bench.project("order");
    bench.ask(train(&project, None, None)).expect("trains");
    let order = |order: Housekeeping| Command::Housekeep { project: project.clone(), order };

    let change = LabelChange { name: Some("first try".to_owned()), starred: Some(true), ..LabelChange::default() };
    let said = bench.ask(order(Housekeeping::Label { run: 1, change })).expect("labels");
    assert!(matches!(&said[..], [Event::Run { run: 1, labels, .. }] if labels.name == "first try" && labels.starred));

    let before = disk(&bench.ask(order(Housekeeping::Disk {})).expect("measures"));
    assert!(matches!(&before[..], [DiskUse { run: 1, bytes, checkpoints, .. }] if *bytes > 0 && *checkpoints > 2));
    let after = disk(&bench.ask(order(Housekeeping::Prune { runs: Vec::new() })).expect("prunes"));
    assert!(after[0].checkpoints <= 2 && after[0].freed_bytes > 0, "{after:?}");
    assert_eq!(after[0].bytes + after[0].freed_bytes, before[0].bytes);
    let row = Reader::open(&project).expect("reader").run(1).expect("reads").expect("the run");
    assert!(row.adapter.as_ref().is_some_and(|adapter| adapter.is_dir()), "what is exported stays");

    let gone = bench.ask(order(Housekeeping::Trash { runs: vec![1] })).expect("trashes");
    assert!(matches!(&gone[..], [Event::Run { run: 1, labels, .. }] if labels.trashed_millis > 0));
    let model =
        ModelRef { model: bench.path("model").display().to_string(), adapters: vec!["run:1".to_owned()], base: None };
    let prompt = Command::Generate {
        project: Some(project.clone()),
        model,
        prompt: "Hello".to_owned(),
        chat: false,
        limits: GenerateLimits { max_tokens: 2, ..GenerateLimits::default() },
    };
    bench.ask(order(Housekeeping::Restore { runs: vec![1] })).expect("restores");
    let answer = bench.ask(prompt).expect("answers");
    assert!(answer.iter().any(|event| matches!(event, Event::Text { .. })), "{answer:?}");

    bench.ask(order(Housekeeping::Trash { runs: vec![1] })).expect("trashes");
    let freed = disk(&bench.ask(order(Housekeeping::EmptyTrash {})).expect("deletes"));
    assert!(matches!(&freed[..], [DiskUse { run: 1, bytes: 0, freed_bytes, .. }] if *freed_bytes == after[0].bytes));
    assert!(Reader::open(&project).expect("reader").runs().expect("runs").is_empty());
    assert!(!project.join("runs/0001").exists() && !project.join("trash/0001").exists());
    assert_eq!(bench.refused(order(Housekeeping::Trash { runs: vec![1] })).code, Code::NotFound);
}

#[test]
fn a_project_that_never_ran_is_refused_and_gets_no_database() {
    let mut bench = Bench::new();
    let project = bench.project("empty");
    let order = Command::Housekeep { project: project.clone(), order: Housekeeping::Disk {} };
    assert_eq!(bench.refused(order).code, Code::NotFound);
    assert!(!project.join(temper_store::DB_NAME).exists());
}
