//! The store's reader thread: what an engine writes arrives as snapshots, nothing is read twice, a run is
//! steered through the store.

use crate::kit;
use egui_plot::PlotPoint;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;
use temper::reader::events::EventKind;
use temper::reader::{
    CompareRequest, Measured, RunSource as _, RunsSnapshot, StoreReader, Verdict, ViewRequest, XAxis,
};
use temper::texts::Language;
use temper_protocol::housekeeping::LabelChange;
use temper_protocol::{Act, Command, Event, RunStatus, project_file};
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
    let view = zoomed.view.as_ref().expect("a view");
    let ends = |points: &[PlotPoint]| points.first().zip(points.last()).map(|(first, last)| (first.x, last.x));
    assert_eq!(ends(view.seen(&view.lr)), Some((60.0, 80.0)));
    let (low, high) = ends(&view.lr).expect("points");
    assert!((49.0..=50.0).contains(&low) && (90.0..=91.0).contains(&high), "half as far again on either side");
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
    let command = Command::Control { project: None, run, act: Act::Pause };
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

#[test]
fn what_is_said_while_the_reader_is_busy_is_not_lost() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(folder.path()).expect("a store");
    let run = new_run(&store);
    train(&store, run, 1..=2);
    let (woken, wakes) = sync_channel(64);
    let (open, closed) = sync_channel::<()>(0);
    let gate = Mutex::new(closed);
    let wake = move || {
        let _full = woken.try_send(());
        // Stands here with its first snapshot until the other end is dropped.
        let _opened = gate.lock().recv();
    };
    let mut reader = StoreReader::start(Arc::new(wake)).expect("a thread");
    reader.look(request(folder.path()));
    wakes.recv_timeout(Duration::from_secs(30)).expect("a first snapshot");
    let commands: Vec<Command> =
        (1..=100).map(|run| Command::Control { project: None, run, act: Act::Pause }).collect();
    for (command, last) in commands.iter().zip(1..) {
        reader.look(ViewRequest { steps: Some((0, last)), ..request(folder.path()) });
        reader.steer(command.clone());
    }
    drop(open);
    let mut watcher = Watcher { reader, wakes };
    let newest = |snapshot: &RunsSnapshot| snapshot.view.as_ref().is_some_and(|v| v.request.steps == Some((0, 100)));
    watcher.wait(newest);
    let told: Vec<Command> = store.take_commands().expect("commands").into_iter().map(|(_, command)| command).collect();
    assert_eq!(told, commands);
}

fn probe(step: u64, set: &str, loss_delta: f64) -> Event {
    Event::Probe {
        step,
        set: set.to_owned(),
        loss: 2.0 + loss_delta,
        loss_delta,
        kl: 0.01,
        top1_agreement: 0.9,
        perplexity_ratio: 1.0,
        negative_flips: 0.01,
        positions: 512,
    }
}

fn finished(run: u64, steps: u64, best_step: u64, wall_secs: f64) -> Event {
    Event::Finished {
        run,
        status: RunStatus::Finished,
        steps,
        best_step,
        base_loss: 3.1,
        final_loss: 2.5,
        best_loss: 2.4,
        forgetting: f64::NAN,
        tokens_per_sec: 400.0,
        cpu_secs_per_step: 0.5,
        peak_rss_mib: 1400.0,
        wall_secs,
        adapter: None,
        problem: None,
    }
}

#[test]
fn a_kept_set_without_a_number_is_not_called_within_the_budget() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(folder.path()).expect("a store");
    let run = new_run(&store);
    train(&store, run, 1..=100);
    for (step, prose) in [(0, 0.0), (50, 0.01), (100, f64::NAN)] {
        for event in [probe(step, "prose", prose), probe(step, "code", 0.0)] {
            store.push_event(run, &event).expect("written");
        }
    }
    store.push_event(run, &finished(run, 100, 50, 100.0)).expect("written");
    store.flush().expect("flushed");
    let mut watcher = Watcher::new();
    watcher.reader.look(request(folder.path()));
    let snapshot = watcher.wait(|snapshot| snapshot.view.is_some());
    let view = snapshot.view.as_ref().expect("a view");
    assert_eq!(Measured::of(view).verdict(0.05, 100, true), Verdict::NoNumber);
    assert!(snapshot.runs[0].forgetting.is_nan(), "the list of runs does not show the other set's");
    assert_eq!(snapshot.kept_at_best.get(&run), Some(&0.01), "what its best checkpoint had forgotten is known");
}

#[test]
fn a_step_of_a_run_that_went_on_takes_as_long_as_it_takes() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let _lock = ProjectLock::acquire(folder.path()).expect("the project is free");
    let store = Store::open(folder.path()).expect("a store");
    let run = new_run(&store);
    // A second a step; stopped at step 100, whose last 36 steps no phase was told of.
    let phases = |step: u64, secs: f64| {
        let secs = BTreeMap::from([("forward".to_owned(), 0.4 * secs), ("backward".to_owned(), 0.6 * secs)]);
        store.push_event(run, &Event::Phases { step, secs }).expect("written");
    };
    train(&store, run, 1..=100);
    phases(64, 64.0);
    store.push_event(run, &finished(run, 100, 0, 101.0)).expect("written");
    store.truncate_after(run, 100).expect("goes on");
    let started = Event::Started {
        run,
        project: PathBuf::new(),
        method: "lora".to_owned(),
        model_parameters: 1,
        trained_parameters: 1,
        seed: 42,
        threads: 1,
        device: "cpu".to_owned(),
        max_steps: 1200,
        resumed_from: 100,
    };
    store.push_event(run, &started).expect("written");
    train(&store, run, 101..=150);
    let mut watcher = Watcher::new();
    let step_secs = |watcher: &mut Watcher, steps: u64| {
        watcher.reader.look(ViewRequest { steps: Some((0, steps)), ..request(folder.path()) });
        let asked =
            |snapshot: &RunsSnapshot| snapshot.view.as_ref().is_some_and(|v| v.request.steps == Some((0, steps)));
        let snapshot = watcher.wait(asked);
        snapshot.view.as_ref().expect("a view").step_secs
    };
    let before = step_secs(&mut watcher, 150);
    assert!((before - 1.0).abs() < 1e-9, "{before} s a step, of the first 64");
    phases(150, 50.0);
    store.flush().expect("flushed");
    let after = step_secs(&mut watcher, 151);
    assert!((after - 1.0).abs() < 1e-9, "{after} s a step, of the first 64 and the last 50");
}
