//! The store's reader thread: what an engine writes arrives as snapshots, nothing is read twice, a run is
//! steered through the store.

use crate::kit;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;
use temper::reader::events::EventKind;
use temper::reader::{CompareRequest, RunSource as _, RunsSnapshot, StoreReader, ViewRequest, XAxis};
use temper::texts::Language;
use temper_protocol::housekeeping::LabelChange;
use temper_protocol::{Act, Command, Event, project_file};
use temper_store::{NewRun, ProjectLock, RunRow, Store};

/// The reader and its wake-ups.
pub(crate) struct Watcher {
    pub(crate) reader: StoreReader,
    wakes: Receiver<()>,
}

impl Watcher {
    pub(crate) fn new() -> Self {
        let (woken, wakes) = sync_channel(64);
        let wake = move || {
            let _full = woken.try_send(());
        };
        let reader = StoreReader::start(Arc::new(wake)).expect("a thread");
        Self { reader, wakes }
    }

    /// The next snapshot that is as wanted.
    pub(crate) fn wait(&mut self, wanted: impl Fn(&RunsSnapshot) -> bool) -> Arc<RunsSnapshot> {
        loop {
            self.wakes.recv_timeout(Duration::from_secs(30)).expect("a snapshot comes");
            if let Some(snapshot) = self.reader.latest()
                && wanted(&snapshot)
            {
                return snapshot;
            }
        }
    }
}

pub(crate) fn request(project: &Path) -> ViewRequest {
    ViewRequest { project: Some(project.to_path_buf()), ..ViewRequest::default() }
}

pub(crate) fn train(store: &Store, run: u64, steps: std::ops::RangeInclusive<u64>) {
    for step in steps {
        let event = Event::Step {
            step,
            max_steps: 1200,
            train_loss: 3.0 - step as f64 / 100.0,
            lr: 2e-4,
            grad_norm: 1.0,
            tokens_per_sec: 400.0,
            trained_tokens: step * 300,
            rss_mib: 1400.0,
        };
        store.push_event(run, &event).expect("written");
    }
    store.flush().expect("flushed");
}

pub(crate) fn new_run(store: &Store) -> u64 {
    let settings_toml = project_file::to_text(&kit::project()).expect("project text");
    let new = NewRun { method: "lora".to_owned(), settings_toml, max_steps: 1200, seed: 42, ..NewRun::default() };
    store.create_run(&new).expect("a run")
}

#[test]
fn what_an_engine_writes_arrives_as_snapshots() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut watcher = Watcher::new();
    watcher.reader.look(request(folder.path()));
    let empty = watcher.wait(|_| true);
    assert!(empty.runs.is_empty(), "a project that never ran has no runs and no problem");
    assert_eq!(empty.problem, None);

    let lock = ProjectLock::acquire(folder.path()).expect("the project is free");
    let store = Store::open(folder.path()).expect("a store");
    let run = new_run(&store);
    let eval = Event::Eval { step: 0, split: "validation".to_owned(), loss: 3.1, best: false };
    store.push_event(run, &eval).expect("written");
    train(&store, run, 1..=40);
    watcher.reader.nudge();
    let first = watcher.wait(|snapshot| snapshot.view.as_ref().is_some_and(|view| view.row.steps == 40));
    let view = first.view.as_ref().expect("a view");
    assert_eq!(first.holder, Some(std::process::id()));
    assert_eq!(view.train_raw.len(), 40);
    assert!((view.row.base_loss - 3.1).abs() < 1e-9);
    assert!(view.sentence.starts_with("Train fell from"), "{}", view.sentence);
    assert!(view.events.iter().any(|line| line.kind == EventKind::Validation));

    train(&store, run, 41..=60);
    watcher.reader.nudge();
    let second = watcher.wait(|snapshot| snapshot.view.as_ref().is_some_and(|view| view.row.steps == 60));
    let again = second.view.as_ref().expect("a view");
    assert_eq!(again.train_raw.len(), 60);
    assert_eq!(again.events.len(), view.events.len(), "events are not read twice");
    drop(lock);
    watcher.reader.nudge();
    let third = watcher.wait(|snapshot| snapshot.holder.is_none());
    assert_eq!(third.runs.len(), 1);
}

#[test]
fn events_are_said_again_in_another_language() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(folder.path()).expect("a store");
    let run = new_run(&store);
    let eval = Event::Eval { step: 0, split: "validation".to_owned(), loss: 3.1, best: false };
    store.push_event(run, &eval).expect("written");
    train(&store, run, 1..=40);
    let mut watcher = Watcher::new();
    let says = |snapshot: &RunsSnapshot, words: &str| {
        snapshot.view.as_ref().is_some_and(|view| view.events.iter().any(|line| line.text == words))
    };
    watcher.reader.look(request(folder.path()));
    watcher.wait(|snapshot| says(snapshot, "Base validation 3.100 nats"));
    watcher.reader.look(ViewRequest { language: Language::German, ..request(folder.path()) });
    let german = watcher.wait(|snapshot| says(snapshot, "Validierung der Basis 3.100 Nats"));
    let sentence = &german.view.as_ref().expect("a view").sentence;
    assert!(sentence.starts_with("Training fiel von"), "{sentence}");
}

#[test]
fn wishes_about_axis_and_range_are_answered() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(folder.path()).expect("a store");
    let run = new_run(&store);
    train(&store, run, 1..=100);
    let mut watcher = Watcher::new();
    watcher.reader.look(ViewRequest { x: XAxis::Tokens, log_y: true, ..request(folder.path()) });
    let snapshot = watcher.wait(|snapshot| snapshot.view.is_some());
    let view = snapshot.view.as_ref().expect("a view");
    assert!((view.map.place(50.0) - 15_000.0).abs() < 1e-6, "step 50 is at 15,000 tokens");
    let last = view.train_raw.last().expect("points");
    assert!((last.x - 30_000.0).abs() < 1e-6);
    assert!((last.y - 2.0_f64.log10()).abs() < 1e-9, "a logarithmic axis shows logarithms");
    watcher.reader.look(ViewRequest { steps: Some((60, 80)), ..request(folder.path()) });
    let zoomed = watcher.wait(|snapshot| snapshot.view.as_ref().is_some_and(|view| view.request.steps.is_some()));
    let points = &zoomed.view.as_ref().expect("a view").lr;
    assert!(points.first().is_some_and(|point| point.x >= 59.0) && points.last().is_some_and(|point| point.x <= 81.0));
}

#[test]
fn chosen_runs_come_with_their_curves_and_all_runs_with_their_settings() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(folder.path()).expect("a store");
    let (first, second) = (new_run(&store), new_run(&store));
    for (run, steps) in [(first, 20), (second, 40)] {
        let eval = Event::Eval { step: 0, split: "validation".to_owned(), loss: 3.1, best: false };
        store.push_event(run, &eval).expect("written");
        train(&store, run, 1..=steps);
    }
    let mut watcher = Watcher::new();
    let compare = CompareRequest { runs: vec![second, 99, first], x: XAxis::Tokens, raw: false };
    watcher.reader.look(ViewRequest { compare: compare.clone(), ..request(folder.path()) });
    let snapshot = watcher.wait(|snapshot| !snapshot.compared.is_empty());
    let curves: Vec<_> = snapshot.compared.iter().map(|run| (run.run, run.train.len(), run.validation.len())).collect();
    assert_eq!(curves, [(second, 40, 1), (first, 20, 1)], "in the order of choosing, without what is not there");
    let last = snapshot.compared[0].train.last().expect("points");
    assert!((last.x - 12_000.0).abs() < 1e-6, "step 40 is at 12,000 tokens");
    assert!(last.y > 2.6 + 1e-6, "smoothed, so behind a loss that falls");
    watcher.reader.look(ViewRequest { compare: CompareRequest { raw: true, ..compare }, ..request(folder.path()) });
    let measured = |snapshot: &RunsSnapshot| {
        let last = snapshot.compared.first().and_then(|run| run.train.last());
        last.is_some_and(|point| (point.y - 2.6).abs() < 1e-9)
    };
    let raw = watcher.wait(measured);
    assert_eq!(raw.compared[0].train.len(), 40, "every measured loss of a short run");
    for run in [first, second] {
        assert!(snapshot.settings[&run].contains(&("method.id".to_owned(), "lora".to_owned())));
    }
    watcher.reader.look(request(folder.path()));
    let other = watcher.wait(|snapshot| snapshot.compared.is_empty());
    assert_eq!(other.settings.len(), 2, "settings stay, they cost nothing more");
}

#[test]
fn labels_come_with_the_runs_and_what_lies_in_the_trash_stands_apart() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(folder.path()).expect("a store");
    let (first, second) = (new_run(&store), new_run(&store));
    let name = Some("short answers".to_owned());
    store.label(second, &LabelChange { name, ..LabelChange::default() }).expect("labelled");
    store.trash(first).expect("put aside");
    let mut watcher = Watcher::new();
    watcher.reader.look(request(folder.path()));
    let snapshot = watcher.wait(|snapshot| !snapshot.runs.is_empty());
    let numbers = |rows: &[RunRow]| rows.iter().map(|row| row.run).collect::<Vec<_>>();
    assert_eq!((numbers(&snapshot.runs), numbers(&snapshot.trashed)), (vec![second], vec![first]));
    assert_eq!(snapshot.runs[0].labels.name, "short answers");
    store.restore(first).expect("brought back");
    watcher.reader.nudge();
    let snapshot = watcher.wait(|snapshot| snapshot.trashed.is_empty());
    assert_eq!(numbers(&snapshot.runs), [second, first]);
}

#[test]
fn a_run_of_another_process_is_told_through_the_store() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(folder.path()).expect("a store");
    let run = new_run(&store);
    train(&store, run, 1..=2);
    let mut watcher = Watcher::new();
    watcher.reader.look(request(folder.path()));
    watcher.wait(|snapshot| snapshot.view.is_some());
    let command = Command::Control { run, act: Act::Pause };
    watcher.reader.steer(command.clone());
    // The next answer comes after the command was written: one thread does both in turn.
    watcher.reader.look(ViewRequest { log_y: true, ..request(folder.path()) });
    watcher.wait(|snapshot| snapshot.view.as_ref().is_some_and(|view| view.request.log_y));
    let told: Vec<Command> = store.take_commands().expect("commands").into_iter().map(|(_, command)| command).collect();
    assert_eq!(told, [command]);
}

#[test]
fn a_damaged_store_is_a_problem_not_an_empty_project() {
    let folder = tempfile::tempdir().expect("temporary folder");
    std::fs::write(folder.path().join(temper_store::DB_NAME), b"this is no database at all, only words").expect("file");
    let mut watcher = Watcher::new();
    watcher.reader.look(request(folder.path()));
    let snapshot = watcher.wait(|_| true);
    let problem = snapshot.problem.as_ref().expect("a problem");
    assert!(problem.r#where.contains("temper.db"), "{problem}");
}

#[test]
fn the_order_of_runs_that_wait_and_the_steps_that_can_be_asked_are_read() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let lock = ProjectLock::acquire(folder.path()).expect("the project is free");
    let store = Store::open(folder.path()).expect("a store");
    let runs: Vec<u64> = (0..5).map(|_| new_run(&store)).collect();
    assert_eq!(runs, [1, 2, 3, 4, 5]);
    train(&store, 1, 1..=60);
    let wait_in = |order: [u64; 3]| {
        order.into_iter().for_each(|run| store.push_event(run, &Event::Queued { run }).expect("written"));
        store.flush().expect("flushed");
    };
    wait_in([2, 4, 3]);
    for name in ["snapshots/step-00000030.snapshot", "checkpoints/step-00000050/state.json", "snapshots/.unfinished-60"]
    {
        let path = folder.path().join("runs/0001").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
        std::fs::write(path, "").expect("file");
    }
    let mut watcher = Watcher::new();
    watcher.reader.look(ViewRequest { run: Some(1), ..request(folder.path()) });
    let seen = watcher.wait(|snapshot| snapshot.view.is_some());
    assert_eq!(seen.waiting, [2, 4, 3], "run 5 was never said to wait: it is about to begin");
    assert_eq!(seen.view.as_ref().map(|view| view.kept_states.clone()), Some(vec![30, 50]));
    wait_in([4, 2, 3]);
    watcher.reader.nudge();
    watcher.wait(|snapshot| snapshot.waiting == [4, 2, 3]);
    drop(lock);
    watcher.reader.nudge();
    let left = watcher.wait(|snapshot| snapshot.holder.is_none());
    assert!(left.waiting.is_empty(), "without an engine they wait for nothing");
}
