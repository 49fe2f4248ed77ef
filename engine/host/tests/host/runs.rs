//! Runs in an engine with scripted work: one last event whatever happens, steering, queueing, what the
//! database holds.

use crate::kit::{Client, endless, is_end, job, outcome, planned, project_of, started, step, train};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use temper_host::{RunAgain, Work};
use temper_protocol::{Act, Code, Command, EngineClient as _, Event, RunStatus};
use temper_store::{ProjectLock, Reader, RunRow, push_command};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("folder")
}

fn row(project: &std::path::Path, run: u64) -> RunRow {
    Reader::open(project).expect("reader").run(run).expect("reads").expect("the run")
}

fn status_of(event: &Event) -> RunStatus {
    match event {
        Event::Finished { status, .. } => *status,
        other => panic!("not finished: {other:?}"),
    }
}

fn is_started(event: &Event) -> bool {
    matches!(event, Event::Started { .. })
}

#[test]
fn a_panic_ends_its_request_once_and_nothing_else() {
    let project = folder();
    let mut client = Client::new(Box::new(|command| {
        Ok(match command {
            Command::Doctor {} => Work::Light(job(|_| panic!("the doctor fainted"))),
            Command::Preflight { .. } => Work::Heavy(job(|_| panic!("{} walls", 4))),
            Command::Methods {} => panic!("planning fainted"),
            command => planned(&project_of(&command), None, |place, _, emit| {
                emit(started(place, 0));
                (1..=7).for_each(|at| emit(step(at)));
                emit(Event::Eval { step: 7, split: "validation".to_owned(), loss: 1.5, best: true });
                // What a job says about its own end is not believed.
                emit(Event::Done {});
                panic!("the trainer fainted")
            }),
        })
    }));
    for command in [Command::Doctor {}, Command::Preflight { project: project.path().into() }, Command::Methods {}] {
        let req = client.send(command);
        match client.end_of(req) {
            Event::Error(problem) => assert_eq!(problem.code, Code::Internal),
            other => panic!("{other:?}"),
        }
    }
    let req = client.send(train(project.path()));
    match client.end_of(req) {
        Event::Finished {
            status: RunStatus::Failed,
            steps: 7,
            best_step: 7,
            best_loss,
            problem: Some(problem),
            ..
        } => {
            assert!(problem.what.contains("the trainer fainted"), "{problem}");
            assert!((best_loss - 1.5).abs() < 1e-12);
        }
        other => panic!("{other:?}"),
    }
    let again = client.send(train(project.path()));
    client.end_of(again);
    for req in 1..=again {
        assert_eq!(client.of(req).iter().filter(|event| is_end(event)).count(), 1, "request {req}");
    }
    let row = row(project.path(), 1);
    assert_eq!((row.status.as_str(), row.steps, row.best_loss), ("failed", 7, 1.5));
    assert!(row.problem.expect("a problem").what.contains("fainted"));
}

#[test]
fn a_run_is_paused_resumed_saved_and_stopped_for_good() {
    let project = folder();
    let mut client = Client::new(Box::new(|command| Ok(planned(&project_of(&command), None, endless))));
    let req = client.send(train(project.path()));
    client.until(req, |event| matches!(event, Event::Step { step: 3, .. }));
    assert_eq!(client.control(1, Act::Pause), Event::Done {});
    let paused = client.until(req, |event| matches!(event, Event::Paused { .. }));
    assert_eq!(row(project.path(), 1).status, "paused");
    client.control(1, Act::Resume);
    let resumed = client.until(req, |event| matches!(event, Event::Resumed { .. }));
    let at = |event: &Event| match event {
        Event::Paused { step, .. } | Event::Resumed { step, .. } => *step,
        other => panic!("{other:?}"),
    };
    assert_eq!(at(&paused), at(&resumed));
    client.control(1, Act::SaveNow);
    client.until(req, |event| matches!(event, Event::Checkpoint { .. }));
    // Announced, therefore on record.
    let files = Reader::open(project.path()).expect("reader").files(1).expect("files");
    assert_eq!((files.len(), files[0].bytes), (1, 5));
    client.control(1, Act::Stop);
    let late = client.send(Command::Control { project: None, run: 1, act: Act::Resume });
    let finished = client.end_of(req);
    assert_eq!(status_of(&finished), RunStatus::Stopped);
    client.end_of(late);
    assert_eq!(row(project.path(), 1).status, "stopped");
    match client.control(1, Act::Pause) {
        Event::Error(problem) => assert_eq!(problem.code, Code::NotFound),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_second_run_waits_and_can_be_withdrawn() {
    let project = folder();
    let mut client = Client::new(Box::new(|command| {
        Ok(match command {
            Command::Preflight { .. } => Work::Heavy(job(|_| Ok(()))),
            command => planned(&project_of(&command), None, endless),
        })
    }));
    let first = client.send(train(project.path()));
    client.until(first, is_started);
    let second = client.send(train(project.path()));
    assert_eq!(client.until(second, |event| matches!(event, Event::Queued { .. })), Event::Queued { run: 2 });
    assert_eq!(row(project.path(), 2).status, "queued");
    let check = client.send(Command::Preflight { project: project.path().into() });
    let third = client.send(train(project.path()));
    client.until(third, |event| matches!(event, Event::Queued { .. }));
    client.control(2, Act::Cancel);
    assert_eq!(status_of(&client.end_of(second)), RunStatus::Cancelled);
    let cancel = client.send(Command::CancelRequest { target: check });
    assert_eq!(client.end_of(cancel), Event::Done {});
    match client.end_of(check) {
        Event::Error(problem) => assert_eq!(problem.code, Code::Cancelled),
        other => panic!("{other:?}"),
    }
    assert_eq!(row(project.path(), 1).status, "running", "the first was not disturbed");
    client.control(1, Act::Stop);
    client.end_of(first);
    client.until(third, is_started);
    let cancel = client.send(Command::CancelRequest { target: third });
    client.end_of(cancel);
    assert_eq!(status_of(&client.end_of(third)), RunStatus::Cancelled);
    assert_eq!(ProjectLock::holder(project.path()), None, "the project is free again");
    client.until_idle();
}

/// Waits until the runs of a project wait in this order.
fn until_waiting(project: &std::path::Path, order: &[u64]) {
    let begin = std::time::Instant::now();
    let waiting = || Reader::open(project).expect("reader").waiting().expect("reads");
    while waiting() != order {
        assert!(begin.elapsed() < crate::kit::PATIENCE, "{:?} instead of {order:?}", waiting());
        std::thread::yield_now();
    }
}

#[test]
fn runs_that_wait_change_places_and_are_withdrawn_also_from_another_window() {
    let project = folder();
    let mut client = Client::new(Box::new(|command| Ok(planned(&project_of(&command), None, endless))));
    let first = client.send(train(project.path()));
    client.until(first, is_started);
    let waiting: Vec<u64> = (0..3).map(|_| client.send(train(project.path()))).collect();
    for req in &waiting {
        client.until(*req, |event| matches!(event, Event::Queued { .. }));
    }
    until_waiting(project.path(), &[2, 3, 4]);
    for (run, act, order) in [
        (4, Act::Sooner, [2, 4, 3]),
        (2, Act::Later, [4, 2, 3]),
        (4, Act::Sooner, [4, 2, 3]),
        (3, Act::Later, [4, 2, 3]),
        (1, Act::Later, [4, 2, 3]),
    ] {
        assert_eq!(client.control(run, act), Event::Done {}, "run {run}");
        until_waiting(project.path(), &order);
    }
    // A window without a pipe to this engine does the same through the database.
    push_command(project.path(), &Command::Control { project: None, run: 2, act: Act::Sooner }).expect("left");
    until_waiting(project.path(), &[2, 4, 3]);
    push_command(project.path(), &Command::Control { project: None, run: 3, act: Act::Cancel }).expect("left");
    assert_eq!(status_of(&client.end_of(waiting[1])), RunStatus::Cancelled, "at once, not when its turn comes");
    until_waiting(project.path(), &[2, 4]);
    assert_eq!(row(project.path(), 1).status, "running", "the first was not disturbed");
    client.control(1, Act::Stop);
    client.until(waiting[0], is_started);
    assert!(!client.of(waiting[2]).iter().any(is_started), "run 4 waits for run 2");
    client.control(2, Act::Stop);
    client.until(waiting[2], is_started);
    assert_eq!(row(project.path(), 4).status, "running");
    until_waiting(project.path(), &[]);
    client.control(4, Act::Stop);
    client.end_of(waiting[2]);
    assert_eq!(ProjectLock::holder(project.path()), None, "the project is free again");
}

#[test]
fn of_two_projects_with_a_run_of_one_number_the_named_one_is_steered() {
    let projects = [folder(), folder()];
    let mut client = Client::new(Box::new(|command| Ok(planned(&project_of(&command), None, endless))));
    let going = client.send(train(projects[0].path()));
    client.until(going, is_started);
    let waiting = client.send(train(projects[1].path()));
    client.until(waiting, |event| matches!(event, Event::Queued { .. }));
    until_waiting(projects[1].path(), &[1]);
    let withdraw = |project: &tempfile::TempDir| Command::Control {
        project: Some(project.path().to_path_buf()),
        run: 1,
        act: Act::Cancel,
    };
    let req = client.send(withdraw(&projects[1]));
    assert_eq!(client.end_of(req), Event::Done {});
    assert_eq!(status_of(&client.end_of(waiting)), RunStatus::Cancelled);
    assert_eq!(row(projects[0].path(), 1).status, "running", "the other run 1 goes on");
    let elsewhere = folder();
    let req = client.send(withdraw(&elsewhere));
    assert!(matches!(client.end_of(req), Event::Error(_)), "no run of that number is there");
    client.control(1, Act::Stop);
    assert_eq!(status_of(&client.end_of(going)), RunStatus::Stopped);
}

#[test]
fn a_project_of_another_engine_is_busy_and_stays_untouched() {
    let project = folder();
    let mut client = Client::new(Box::new(|command| Ok(planned(&project_of(&command), None, endless))));
    let lock = ProjectLock::acquire(project.path()).expect("lock");
    let req = client.send(train(project.path()));
    match client.end_of(req) {
        Event::Error(problem) => {
            assert_eq!(problem.code, Code::Busy);
            assert!(problem.what.contains(&std::process::id().to_string()), "{problem}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!project.path().join(temper_store::DB_NAME).exists());
    drop(lock);
    let req = client.send(train(project.path()));
    client.until(req, is_started);
}

#[test]
fn a_window_without_a_pipe_steers_through_the_database() {
    let project = folder();
    let mut client = Client::new(Box::new(|command| Ok(planned(&project_of(&command), None, endless))));
    let req = client.send(train(project.path()));
    client.until(req, is_started);
    push_command(project.path(), &Command::Control { project: None, run: 1, act: Act::Pause }).expect("pushes");
    client.until(req, |event| matches!(event, Event::Paused { .. }));
    let row = row(project.path(), 1);
    assert_eq!(row.pid, std::process::id());
    assert!(row.heartbeat_millis > 0);
    push_command(project.path(), &Command::Control { project: None, run: 99, act: Act::Cancel }).expect("pushes");
    push_command(project.path(), &Command::Shutdown {}).expect("pushes");
    push_command(project.path(), &Command::Control { project: None, run: 1, act: Act::Stop }).expect("pushes");
    assert_eq!(status_of(&client.end_of(req)), RunStatus::Stopped);
}

#[test]
fn a_listener_that_sleeps_stalls_nothing_and_loses_no_news() {
    const STEPS: u64 = 100_000;
    let project = folder();
    let (done, ended) = crate::kit::channel();
    let mut client = Client::new(Box::new(move |command| {
        let done = done.clone();
        Ok(planned(&project_of(&command), None, move |place, _, emit| {
            emit(started(place, 0));
            for at in 1..=STEPS {
                emit(step(at));
                if at % 10_000 == 0 {
                    emit(Event::Eval { step: at, split: "validation".to_owned(), loss: 1.0, best: false });
                }
            }
            done.send(()).expect("the test waits");
            Ok(outcome(RunStatus::Finished, STEPS))
        }))
    }));
    let req = client.send(train(project.path()));
    // Nobody reads an event until the run is over.
    ended.recv_timeout(crate::kit::PATIENCE).expect("the run does not wait for its listener");
    client.end_of(req);
    let events = client.of(req);
    let first = events.iter().find(|event| !matches!(event, Event::Warning { .. }));
    assert!(first.is_some_and(is_started));
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Eval { .. })).count(), 10);
    let steps = events.iter().filter(|event| matches!(event, Event::Step { .. })).count() as u64;
    assert!(steps < STEPS, "a part was not kept for the listener");
    let gap = events.iter().find_map(|event| match event {
        Event::Warning { code, text, .. } if code == "measurements_not_shown" => Some(text.clone()),
        _ => None,
    });
    assert!(gap.expect("the gap is said").starts_with(&(STEPS - steps).to_string()));
    let series = Reader::open(project.path()).expect("reader").series_names(1).expect("series");
    let loss = series.iter().find(|meta| meta.name == "train_loss").expect("the loss");
    assert_eq!((loss.count, loss.last_step), (STEPS, STEPS), "the store has all of them");
}

/// Runs a scripted trainer that did 20 steps, and resumes it as `again` says.
fn resumed(
    again: impl Fn(&std::path::Path) -> RunAgain + Send + Sync + 'static,
    lose_database: bool,
) -> (u64, RunRow, Vec<u64>) {
    let project = folder();
    let calls = Arc::new(AtomicU64::new(0));
    let mut client = Client::new(Box::new(move |command| {
        let project = project_of(&command);
        if calls.fetch_add(1, Ordering::Relaxed) == 0 {
            return Ok(planned(&project, None, |place, _, emit| {
                emit(started(place, 0));
                (1..=20).for_each(|at| emit(step(at)));
                Ok(outcome(RunStatus::Stopped, 20))
            }));
        }
        let again = again(&project);
        Ok(planned(&project, Some(again), |place, _, emit| {
            emit(started(place, 10));
            (11..=15).for_each(|at| emit(step(at)));
            Ok(outcome(RunStatus::Finished, 15))
        }))
    }));
    let req = client.send(train(project.path()));
    client.end_of(req);
    if lose_database {
        for ending in ["", "-wal", "-shm"] {
            std::fs::remove_file(project.path().join(format!("{}{ending}", temper_store::DB_NAME))).ok();
        }
    }
    let req = client.send(train(project.path()));
    client.end_of(req);
    let reader = Reader::open(project.path()).expect("reader");
    let runs = reader.runs().expect("runs");
    assert_eq!(runs.len(), 1);
    let steps = reader.points(1, "train_loss", 0, 100, 100).expect("points").iter().map(|point| point.step).collect();
    (runs.len() as u64, runs[0].clone(), steps)
}

#[test]
fn a_resumed_run_goes_on_from_its_checkpoint_in_the_same_row() {
    let (_, row, steps) = resumed(|project| RunAgain { run: 1, folder: project.join("runs").join("0001") }, false);
    assert_eq!((row.run, row.status.as_str(), row.steps), (1, "finished", 15));
    assert_eq!(steps, (1..=15).collect::<Vec<_>>());
}

#[test]
fn a_run_of_a_lost_database_is_taken_up_by_its_folder() {
    let (_, row, steps) = resumed(|project| RunAgain { run: 1, folder: project.join("runs").join("0001") }, true);
    assert_eq!((row.run, row.status.as_str()), (1, "finished"));
    assert_eq!(steps, (11..=15).collect::<Vec<_>>());
}

#[test]
fn a_resume_that_does_not_start_changes_no_figures() {
    let project = folder();
    let calls = Arc::new(AtomicU64::new(0));
    let mut client = Client::new(Box::new(move |command| {
        let project = project_of(&command);
        if calls.fetch_add(1, Ordering::Relaxed) == 0 {
            return Ok(planned(&project, None, |place, _, emit| {
                emit(started(place, 0));
                (1..=20).for_each(|at| emit(step(at)));
                Ok(outcome(RunStatus::Stopped, 20))
            }));
        }
        let folder = project.join("runs").join("0001");
        Ok(planned(&project, Some(RunAgain { run: 1, folder }), |_, _, _| {
            Err(temper_protocol::Problem::new(Code::ModelInvalid, "the model is gone", "m", "bring it back"))
        }))
    }));
    let first = client.send(train(project.path()));
    client.end_of(first);
    let again = client.send(train(project.path()));
    assert!(matches!(client.end_of(again), Event::Error(problem) if problem.code == Code::ModelInvalid));
    let row = row(project.path(), 1);
    assert_eq!((row.status.as_str(), row.steps, row.best_step, row.best_loss), ("stopped", 20, 20, 2.0));
    let points = Reader::open(project.path()).expect("reader").points(1, "train_loss", 0, 100, 100).expect("points");
    assert_eq!(points.len(), 20);
}

#[test]
fn a_database_that_cannot_be_written_is_said_and_training_goes_on() {
    let project = folder();
    let (go_on, wait) = crate::kit::channel();
    let wait = parking_lot::Mutex::new(Some(wait));
    let mut client = Client::new(Box::new(move |command| {
        let wait = wait.lock().take().expect("one run");
        Ok(planned(&project_of(&command), None, move |place, _, emit| {
            emit(started(place, 0));
            wait.recv_timeout(crate::kit::PATIENCE).expect("the test goes on");
            for at in 1..=10 {
                emit(step(at));
                emit(Event::Eval { step: at, split: "validation".to_owned(), loss: 1.0, best: false });
            }
            wait.recv_timeout(crate::kit::PATIENCE).expect("the test goes on");
            Ok(outcome(RunStatus::Finished, 10))
        }))
    }));
    let req = client.send(train(project.path()));
    client.until(req, is_started);
    // A trigger refuses what a full disk would refuse.
    let other = rusqlite::Connection::open(project.path().join(temper_store::DB_NAME)).expect("opens");
    other.busy_timeout(crate::kit::PATIENCE).expect("timeout");
    other
        .execute_batch("CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        .expect("trigger");
    go_on.send(()).expect("the run waits");
    client.until(req, |event| matches!(event, Event::Eval { step: 10, .. }));
    other.execute_batch("DROP TRIGGER full").expect("drops");
    go_on.send(()).expect("the run waits");
    assert_eq!(status_of(&client.end_of(req)), RunStatus::Finished);
    let said = client.of(req).iter().filter(|event| matches!(event, Event::Warning { .. })).count();
    assert_eq!(said, 1, "said once, not at every event");
    let reader = Reader::open(project.path()).expect("reader");
    assert_eq!(reader.points(1, "train_loss", 0, 100, 100).expect("points").len(), 10);
    let evals = reader.events_after(1, 0, 100).expect("events");
    assert_eq!(evals.iter().filter(|stored| matches!(stored.event, Event::Eval { .. })).count(), 10);
}

#[test]
fn an_engine_that_is_dropped_stops_its_runs_and_keeps_them() {
    let project = folder();
    let mut client = Client::new(Box::new(|command| Ok(planned(&project_of(&command), None, endless))));
    let first = client.send(train(project.path()));
    let second = client.send(train(project.path()));
    client.until(first, |event| matches!(event, Event::Step { step: 5, .. }));
    client.until(second, |event| matches!(event, Event::Queued { .. }));
    drop(client);
    let first = row(project.path(), 1);
    assert_eq!(first.status, "stopped");
    assert!(first.steps >= 5);
    assert_eq!(row(project.path(), 2).status, "cancelled");
    assert_eq!(ProjectLock::holder(project.path()), None);
}

#[test]
fn too_many_requests_are_refused_and_the_rest_is_answered() {
    let (open_gate, gate) = crate::kit::channel();
    let gate = Arc::new(parking_lot::Mutex::new(Some(gate)));
    let mut client = Client::new(Box::new(move |_| {
        let gate = Arc::clone(&gate);
        Ok(Work::Heavy(job(move |_| {
            if let Some(gate) = gate.lock().take() {
                gate.recv_timeout(crate::kit::PATIENCE).expect("the test opens the gate");
            }
            Ok(())
        })))
    }));
    let mut accepted = Vec::new();
    let mut refused = 0;
    for _ in 0..1000 {
        match client.engine.send(Command::Doctor {}) {
            Ok(req) => accepted.push(req),
            Err(problem) => {
                assert_eq!(problem.code, Code::Busy);
                refused += 1;
            }
        }
    }
    open_gate.send(()).expect("the job waits");
    let mut busy = 0;
    for req in &accepted {
        match client.end_of(*req) {
            Event::Done {} => {}
            Event::Error(problem) if problem.code == Code::Busy => busy += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(refused + busy > 0, "a thousand requests do not all fit");
    client.until_idle();
}
