//! What becomes of an ended run that is to go on and cannot: it says why, and is as it was.

use crate::commands::{Bench, finished, train};
use crate::kit::{Client, PATIENCE, channel, outcome, planned, project_of, started, step};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use temper_host::RunAgain;
use temper_protocol::project::Source;
use temper_protocol::{Act, Code, Command, Event, RunRef, RunStatus, project_file};
use temper_store::{ProjectLock, Reader, RunRow};

fn row(project: &Path, run: u64) -> RunRow {
    Reader::open(project).expect("reader").run(run).expect("reads").expect("the run")
}

fn warned(project: &Path, code: &str) -> usize {
    let events = Reader::open(project).expect("reader").events_after(1, 0, 1000).expect("events");
    let is = |event: &Event| matches!(event, Event::Warning { code: found, .. } if found == code);
    events.iter().filter(|stored| is(&stored.event)).count()
}

/// Questions with answers; `answer` changes what is learned.
fn write_rows(project: &Path, answer: &str) {
    let row = |index: usize| {
        let user = serde_json::json!({"role": "user", "content": format!("How much is lantern {index}?")});
        let said = serde_json::json!({"role": "assistant", "content": format!("It is {index} {answer}.")});
        serde_json::json!({"messages": [user, said]}).to_string()
    };
    let rows: Vec<String> = (0..60).map(row).collect();
    std::fs::write(project.join("rows.jsonl"), rows.join("\n")).expect("written");
}

#[test]
fn more_steps_after_the_data_changed_are_refused_in_words_and_the_run_keeps_its_results() {
    let mut bench = Bench::new();
    let dir = bench.project("longer");
    write_rows(&dir, "coins");
    let mut project = project_file::load(&dir).expect("reads");
    project.data.train = vec![Source::Path("rows.jsonl".to_owned())];
    project_file::save(&project, &dir).expect("saves");
    let events = bench.ask(train(&dir, None, None)).expect("trains");
    assert_eq!(finished(&events).0, RunStatus::Finished);
    let before = row(&dir, 1);
    write_rows(&dir, "pearls");
    let longer = |project: &Path| Command::Train {
        project: project.to_path_buf(),
        set: vec![("train.steps".to_owned(), "18".to_owned())],
        method: None,
        out: None,
        resume: Some(RunRef::Id(1)),
        max_steps: None,
    };
    let problem = bench.refused(longer(&dir));
    assert!(problem.what.contains("with other data"), "{problem}");
    assert!(problem.action.contains("restore the data files"), "{problem}");
    let after = row(&dir, 1);
    assert_eq!((after.status.as_str(), after.steps, after.max_steps), ("finished", 12, before.max_steps));
    assert_eq!((&after.settings_toml, &after.adapter), (&before.settings_toml, &before.adapter));
    assert!(after.problem.is_none(), "{:?}", after.problem);
    let points = Reader::open(&dir).expect("reader").points(1, "train_loss", 0, 100, 100).expect("points");
    assert_eq!(points.len(), 12, "its curves are whole");
    assert_eq!(warned(&dir, "not_gone_on"), 1, "its events say why");
    // With the data as it was it goes on.
    write_rows(&dir, "coins");
    let events = bench.ask(longer(&dir)).expect("goes on");
    assert_eq!((finished(&events).0, finished(&events).1), (RunStatus::Finished, 18));
}

#[test]
fn an_ended_run_that_is_taken_out_before_its_turn_has_still_ended() {
    let project = tempfile::tempdir().expect("folder");
    let calls = Arc::new(AtomicU64::new(0));
    let (open_gate, gate) = channel();
    let gate = parking_lot::Mutex::new(Some(gate));
    let mut client = Client::new(Box::new(move |command| {
        let project = project_of(&command);
        Ok(match calls.fetch_add(1, Ordering::Relaxed) {
            0 => planned(&project, None, |place, _, emit| {
                emit(started(place, 0));
                (1..=20).for_each(|at| emit(step(at)));
                Ok(outcome(RunStatus::Finished, 20))
            }),
            1 => {
                let gate = gate.lock().take().expect("one run waits at the gate");
                planned(&project, None, move |place, _, emit| {
                    emit(started(place, 0));
                    gate.recv_timeout(PATIENCE).expect("the test opens the gate");
                    Ok(outcome(RunStatus::Finished, 1))
                })
            }
            _ => {
                let folder = project.join("runs").join("0001");
                planned(&project, Some(RunAgain { run: 1, folder }), |_, _, _| panic!("its turn never comes"))
            }
        })
    }));
    let first = client.send(train(project.path(), None, None));
    client.end_of(first);
    let second = client.send(train(project.path(), None, None));
    client.until(second, |event| matches!(event, Event::Started { .. }));
    let again = client.send(train(project.path(), None, None));
    client.until(again, |event| matches!(event, Event::Queued { run: 1 }));
    client.control(1, Act::Cancel);
    let last = client.end_of(again);
    assert!(matches!(last, Event::Finished { status: RunStatus::Cancelled, .. }), "{last:?}");
    assert_eq!((row(project.path(), 1).status.as_str(), row(project.path(), 1).steps), ("finished", 20));
    open_gate.send(()).expect("the run waits");
    client.end_of(second);
}

#[test]
fn a_run_whose_project_was_moved_while_it_waited_says_so_and_makes_no_second_project() {
    let root = tempfile::tempdir().expect("folder");
    let root = root.path().canonicalize().expect("there");
    let (old, new) = (root.join("old"), root.join("new"));
    std::fs::create_dir(&old).expect("project");
    let (open_gate, gate) = channel();
    let gate = parking_lot::Mutex::new(Some(gate));
    let mut client = Client::new(Box::new(move |command| {
        let gate = gate.lock().take();
        Ok(planned(&project_of(&command), None, move |place, _, emit| {
            // As the trainer does, which makes the folder of its run.
            std::fs::create_dir_all(&place.run_dir).expect("folder of the run");
            emit(started(place, 0));
            if let Some(gate) = gate {
                gate.recv_timeout(PATIENCE).expect("the test opens the gate");
            }
            Ok(outcome(RunStatus::Finished, 1))
        }))
    }));
    let first = client.send(train(&old, None, None));
    client.until(first, |event| matches!(event, Event::Started { .. }));
    let second = client.send(train(&old, None, None));
    client.until(second, |event| matches!(event, Event::Queued { run: 2 }));
    std::fs::rename(&old, &new).expect("moved");
    open_gate.send(()).expect("the run waits");
    client.end_of(first);
    match client.end_of(second) {
        Event::Finished { status: RunStatus::Failed, problem: Some(problem), .. } => {
            assert_eq!(problem.code, Code::NotFound);
            assert!(problem.what.contains("moved or deleted while run 2 waited"), "{problem}");
            assert!(problem.action.contains("new place"), "{problem}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!old.exists(), "nothing was made in the old place");
    assert_eq!(ProjectLock::holder(&new), None, "the project is free in its new place");
    // The database was open and went along.
    assert_eq!((row(&new, 1).status.as_str(), row(&new, 2).status.as_str()), ("finished", "failed"));
}
