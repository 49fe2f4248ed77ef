//! Runs, events and ranks through the writing and the reading end: nothing is lost, a resumed run is cut
//! back, a refused event does not spoil the others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use temper_protocol::event::{AttentionSize, ExpertLoad, MachineState};
use temper_protocol::{Act, Code, Command, Event, Problem, RunStatus};
use temper_store::{NewRun, ProjectLock, Reader, RunUpdate, Store, StoreError, push_command};

fn new_run() -> NewRun {
    NewRun {
        method: "lora".to_owned(),
        settings_toml: "schema = 1\n".to_owned(),
        max_steps: 200,
        seed: u64::MAX - 3,
        folder: None,
        hashes: BTreeMap::from([("base".to_owned(), "ab".to_owned())]),
    }
}

fn step(step: u64, train_loss: f64) -> Event {
    Event::Step {
        step,
        max_steps: 200,
        train_loss,
        lr: 1e-4,
        grad_norm: 0.5,
        tokens_per_sec: 300.0,
        trained_tokens: step * 100,
        rss_mib: 400.0 + step as f64,
    }
}

fn eval(step: u64, loss: f64, best: bool) -> Event {
    Event::Eval { step, split: "validation".to_owned(), loss, best }
}

fn probe(step: u64, set: &str, loss_delta: f64) -> Event {
    Event::Probe {
        step,
        set: set.to_owned(),
        loss: 2.0 + loss_delta,
        loss_delta,
        kl: loss_delta / 2.0,
        top1_agreement: 0.9,
        perplexity_ratio: 1.5,
        negative_flips: 0.01,
        positions: 512,
    }
}

fn rank(step: u64, site: &str, effective_rank: f64) -> Event {
    Event::Rank { step, site: site.to_owned(), rank: 8, effective_rank, energy: 0.1, spectrum: vec![3.0, 1.0, 0.5] }
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

fn finished(run: u64, status: RunStatus, steps: u64) -> Event {
    Event::Finished {
        run,
        status,
        steps,
        best_step: 100,
        base_loss: 3.0,
        final_loss: 2.6,
        best_loss: 2.5,
        forgetting: 0.04,
        tokens_per_sec: 290.0,
        cpu_secs_per_step: 1.0,
        peak_rss_mib: 500.0,
        wall_secs: 60.0,
        adapter: None,
        problem: (status == RunStatus::Failed).then(|| Problem::internal("it broke")),
    }
}

/// A run that went to step 150, as its engine would have pushed it.
fn half_a_run(store: &Store) -> u64 {
    let run = store.create_run(&new_run()).expect("run");
    for done in 0..5 {
        let stage = "reading the model".to_owned();
        let event = Event::Preparing { run, stage, done, total: 5, unit: "tensors".to_owned() };
        store.push_event(run, &event).expect("pushes");
        if done == 2 {
            store.flush().expect("flushes");
        }
    }
    store.push_event(run, &started(run, 0)).expect("pushes");
    for event in [eval(0, 3.0, true), probe(0, "code", 0.0), probe(0, "prose", 0.0)] {
        store.push_event(run, &event).expect("pushes");
    }
    for at in 1..=150 {
        store.push_event(run, &step(at, if at == 70 { f64::NAN } else { 3.0 - at as f64 / 100.0 })).expect("pushes");
        if at % 50 == 0 {
            for event in [
                eval(at, 3.0 - at as f64 / 200.0, true),
                probe(at, "code", at as f64 / 1000.0),
                probe(at, "prose", at as f64 / 500.0),
                rank(at, "layers.0.attn.q", at as f64 / 50.0),
                rank(at, "layers.0.attn.k", 1.0),
                Event::Warning { code: "slow".to_owned(), text: "the disk is slow".to_owned(), step: 0 },
            ] {
                store.push_event(run, &event).expect("pushes");
            }
            store.flush().expect("flushes");
        }
    }
    store.flush().expect("flushes");
    run
}

#[test]
fn events_become_series_ranks_and_columns_of_the_run() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let lock = ProjectLock::acquire(folder.path()).expect("lock");
    let run = half_a_run(&store);
    let reader = Reader::open(folder.path()).expect("reader");
    let row = reader.run(run).expect("reads").expect("the run");
    assert_eq!(row.status, "running");
    assert_eq!((row.steps, row.max_steps, row.best_step, row.seed), (150, 200, 150, u64::MAX - 3));
    assert_eq!((row.base_loss, row.best_loss, row.forgetting), (3.0, 2.25, 0.3));
    assert_eq!(row.peak_rss_mib, 550.0);
    assert!(row.final_loss.is_nan());
    assert_eq!(row.folder, std::path::absolute(folder.path()).expect("absolute").join("runs").join("0001"));
    assert!(row.folder.is_dir());
    assert_eq!(row.hashes["base"], "ab");

    let names: Vec<String> = reader.series_names(run).expect("series").into_iter().map(|meta| meta.name).collect();
    let probes = ["kl", "loss", "loss_delta", "negative_flips", "top1_agreement"];
    let mut expected: Vec<String> =
        ["grad_norm", "loss/validation", "lr", "rss_mib", "tokens_per_sec", "train_loss", "trained_tokens"]
            .map(str::to_owned)
            .to_vec();
    for set in ["code", "prose"] {
        expected.extend(probes.iter().map(|measure| format!("probe/{set}/{measure}")));
    }
    expected.sort();
    assert_eq!(names, expected);
    let loss = reader.points(run, "train_loss", 69, 71, 100).expect("points");
    assert_eq!(loss.iter().map(|point| point.value.is_nan()).collect::<Vec<_>>(), [false, true, false]);

    let events = reader.events_after(run, 0, 1000).expect("events");
    let preparing = events.iter().filter(|stored| matches!(stored.event, Event::Preparing { .. })).count();
    assert_eq!(preparing, 1, "only the newest of a stage");
    assert!(events.iter().all(|stored| !matches!(stored.event, Event::Step { .. })));
    let warning = events.iter().find(|stored| matches!(stored.event, Event::Warning { .. })).expect("a warning");
    assert_eq!(warning.step, 50, "an event without a step gets the run's");
    let page = reader.events_after(run, events[1].id, 2).expect("events");
    assert_eq!(page, events[2..4]);

    assert_eq!(reader.rank_steps(run).expect("steps"), [50, 100, 150]);
    let at = reader.rank_at(run, 149).expect("ranks");
    assert_eq!(
        at.iter().map(|row| (row.step, row.site.as_str())).collect::<Vec<_>>(),
        [(100, "layers.0.attn.k"), (100, "layers.0.attn.q")]
    );
    assert_eq!(at[1].spectrum, [3.0, 1.0, 0.5]);
    let history = reader.rank_history(run, "layers.0.attn.q").expect("history");
    assert_eq!(history.iter().map(|row| row.effective_rank).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
    drop(lock);
    assert_eq!(reader.run(run).expect("reads").expect("the run").status, "interrupted");
    assert_eq!(store.mark_interrupted().expect("marks"), 1);
    let row = reader.run(run).expect("reads").expect("the run");
    let reason = row.problem.expect("a reason");
    assert!(row.status == "interrupted" && reason.action.contains("--resume 1"), "{reason}");
    assert_eq!(reason.code, Code::Internal, "nothing is known of it");
}

#[test]
fn a_site_that_a_rule_moved_between_two_measurements_stands_beside_the_others() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let run = half_a_run(&store);
    let moved = Event::Rank {
        step: 120,
        site: "layers.0.attn.q".to_owned(),
        rank: 3,
        effective_rank: 1.5,
        energy: 0.2,
        spectrum: Vec::new(),
    };
    store.push_event(run, &moved).expect("pushes");
    store.flush().expect("flushes");
    let reader = Reader::open(folder.path()).expect("reader");
    let at = |step: u64| -> Vec<(u64, String, u64)> {
        let rows = reader.rank_at(run, step).expect("ranks");
        rows.into_iter().map(|row| (row.step, row.site, row.rank)).collect()
    };
    let (k, q) = ("layers.0.attn.k".to_owned(), "layers.0.attn.q".to_owned());
    assert_eq!(at(119), [(100, k.clone(), 8), (100, q.clone(), 8)]);
    assert_eq!(at(120), [(100, k.clone(), 8), (120, q.clone(), 3)]);
    assert_eq!(at(u64::MAX), [(150, k, 8), (150, q, 8)]);
    assert!(at(10).is_empty());
}

#[test]
fn attention_of_a_block_becomes_three_series() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let run = half_a_run(&store);
    let event = Event::Attention(AttentionSize {
        step: 150,
        block: "layers.3".to_owned(),
        q_max: 6.0,
        k_max: 4.0,
        change_share: 0.25,
        ratio: 3.0,
        scaled_ratio: 1.0,
        base_ratio: 2.0,
    });
    store.push_event(run, &event).expect("pushes");
    store.flush().expect("flushes");
    let reader = Reader::open(folder.path()).expect("reader");
    for (measure, value) in [("ratio", 3.0), ("base_ratio", 2.0), ("change_share", 0.25)] {
        let points = reader.points(run, &format!("attention/layers.3/{measure}"), 0, u64::MAX, 10).expect("points");
        assert_eq!(points.iter().map(|point| (point.step, point.value)).collect::<Vec<_>>(), [(150, value)]);
    }
}

#[test]
fn experts_of_a_layer_become_a_series_each() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let run = half_a_run(&store);
    let site = "layers.3.attn.q".to_owned();
    let load = ExpertLoad { step: 150, site, load: vec![0.75, 0.25, 0.0], entropy: 0.5, dead: 1 };
    store.push_event(run, &Event::Experts(load)).expect("pushes");
    store.flush().expect("flushes");
    let reader = Reader::open(folder.path()).expect("reader");
    for (measure, value) in [("load/0", 0.75), ("load/1", 0.25), ("load/2", 0.0), ("entropy", 0.5), ("dead", 1.0)] {
        let points =
            reader.points(run, &format!("experts/layers.3.attn.q/{measure}"), 0, u64::MAX, 10).expect("points");
        assert_eq!(points.iter().map(|point| (point.step, point.value)).collect::<Vec<_>>(), [(150, value)]);
    }
}

#[test]
fn the_newest_points_of_many_series_are_read_as_of_a_step() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let run = half_a_run(&store);
    // More measurements than a block of points holds.
    for step in 1..=2500 {
        let share = step as f64 / 4000.0;
        let mut load = vec![share, 1.0 - share];
        if step > 2000 {
            load.push(0.0);
        }
        let site = "layers.3.attn.q".to_owned();
        store.push_event(run, &Event::Experts(ExpertLoad { step, site, load, entropy: 0.5, dead: 0 })).expect("pushes");
    }
    store.flush().expect("flushes");
    let reader = Reader::open(folder.path()).expect("reader");
    let at = |step: u64| {
        let points = reader.latest_points(run, "experts/layers.3.attn.q/load/", step).expect("points");
        points.into_iter().map(|(name, point)| (name, point.step, point.value)).collect::<Vec<_>>()
    };
    let name = |expert: usize| format!("experts/layers.3.attn.q/load/{expert}");
    for step in [1, 1000, 1024, 1025, 2000] {
        let share = step as f64 / 4000.0;
        assert_eq!(at(step), [(name(0), step, share), (name(1), step, 1.0 - share)], "at {step}");
    }
    assert!(at(0).is_empty(), "nothing was measured yet");
    assert_eq!(at(u64::MAX).len(), 3, "the third expert came later");
    assert_eq!(at(u64::MAX)[2], (name(2), 2500, 0.0));
    assert!(reader.latest_points(run, "expertise", 10).expect("points").is_empty());
}

#[test]
fn heat_becomes_a_series_for_each_part_and_energy_one_where_it_is_told() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let run = half_a_run(&store);
    let celsius = BTreeMap::from([("processor".to_owned(), 61.5)]);
    for (step, joules) in [(150, None), (160, Some(40.0))] {
        let state = MachineState { step, celsius: celsius.clone(), joules };
        store.push_event(run, &Event::Machine(state)).expect("pushes");
    }
    store.flush().expect("flushes");
    let reader = Reader::open(folder.path()).expect("reader");
    let of = |name: &str| {
        let points = reader.points(run, name, 0, u64::MAX, 10).expect("points");
        points.iter().map(|point| (point.step, point.value)).collect::<Vec<_>>()
    };
    assert_eq!(of("celsius/processor"), [(150, 61.5), (160, 61.5)]);
    assert_eq!(of("energy/joules"), [(160, 40.0)]);
    let names = reader.series_names(run).expect("series");
    let unit = |name: &str| names.iter().find(|series| series.name == name).map(|series| series.unit.as_str());
    assert_eq!((unit("celsius/processor"), unit("energy/joules")), (Some("°C"), Some("J")));
}

#[test]
fn a_run_that_was_killed_when_memory_was_short_says_so() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let run = half_a_run(&store);
    let low = Event::Warning { code: temper_store::MEMORY_LOW.to_owned(), text: "low".to_owned(), step: 150 };
    store.push_event(run, &low).expect("pushes");
    store.flush().expect("flushes");
    let reader = Reader::open(folder.path()).expect("reader");
    let reason = |run: u64| reader.run(run).expect("reads").expect("the run").problem.expect("a reason");
    assert_eq!(reason(run).code, Code::OutOfMemory, "seen before any engine has marked it");
    store.mark_interrupted().expect("marks");
    assert_eq!(reason(run).code, Code::OutOfMemory);
    store.truncate_after(run, 100).expect("goes on");
    assert!(reader.run(run).expect("reads").expect("the run").status == "interrupted", "no engine holds the project");
    assert_eq!(reason(run).code, Code::Internal, "the warning was after step 100");
}

#[test]
fn a_resumed_run_forgets_what_came_after_its_checkpoint() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let run = half_a_run(&store);
    store.push_event(run, &finished(run, RunStatus::Failed, 150)).expect("pushes");
    store.flush().expect("flushes");
    let reader = Reader::open(folder.path()).expect("reader");
    let failed = reader.run(run).expect("reads").expect("the run");
    assert_eq!(failed.status, "failed");
    assert!(failed.problem.is_some());
    let version = reader.data_version().expect("version");

    let _lock = ProjectLock::acquire(folder.path()).expect("lock");
    store.truncate_after(run, 100).expect("truncates");
    assert_ne!(reader.data_version().expect("version"), version, "a reader notices");
    let row = reader.run(run).expect("reads").expect("the run");
    assert_eq!((row.steps, row.best_step, row.best_loss, row.forgetting), (100, 100, 2.5, 0.2));
    assert!(row.final_loss.is_nan() && row.problem.is_none());
    for meta in reader.series_names(run).expect("series") {
        assert!(meta.last_step <= 100, "{} reaches to {}", meta.name, meta.last_step);
    }
    assert_eq!(reader.rank_steps(run).expect("steps"), [50, 100]);
    let events = reader.events_after(run, 0, 1000).expect("events");
    assert!(events.iter().all(|stored| stored.step <= 100 && !matches!(stored.event, Event::Finished { .. })));

    store.push_event(run, &started(run, 100)).expect("pushes");
    store.push_event(run, &step(101, 1.0)).expect("pushes");
    store.push_event(run, &finished(run, RunStatus::Finished, 101)).expect("pushes");
    store.flush().expect("flushes");
    let loss = reader.points(run, "train_loss", 99, 200, 100).expect("points");
    assert_eq!(loss.iter().map(|point| point.step).collect::<Vec<_>>(), [99, 100, 101]);
    let events = reader.events_after(run, 0, 1000).expect("events");
    let ends = events.iter().filter(|stored| matches!(stored.event, Event::Finished { .. })).count();
    assert_eq!(ends, 1);
    assert_eq!(reader.run(run).expect("reads").expect("the run").status, "finished");
}

#[test]
fn what_is_measured_again_at_a_step_replaces_what_was_measured_there() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let run = half_a_run(&store);
    store.truncate_after(run, 50).expect("truncates");
    let sample = |text: &str| Event::Sample { step: 50, prompt: "p".to_owned(), text: text.to_owned() };
    for event in [eval(50, 1.0, true), probe(50, "code", 0.5), sample("one"), sample("two"), eval(50, 0.5, false)] {
        store.push_event(run, &event).expect("pushes");
    }
    store.flush().expect("flushes");
    let reader = Reader::open(folder.path()).expect("reader");
    let at: Vec<Event> = reader
        .events_after(run, 0, 1000)
        .expect("events")
        .into_iter()
        .filter(|stored| stored.step == 50 && !matches!(stored.event, Event::Warning { .. }))
        .map(|stored| stored.event)
        .collect();
    assert_eq!(at, [probe(50, "prose", 0.1), probe(50, "code", 0.5), sample("two"), eval(50, 0.5, false)]);
    let loss = reader.points(run, "loss/validation", 0, 100, 10).expect("points");
    assert_eq!(loss.last().map(|point| (point.step, point.value)), Some((50, 0.5)));
}

#[test]
fn numbers_go_on_after_folders_that_a_lost_database_left() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::create_dir_all(folder.path().join("runs/0007")).expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let adopted =
        store.adopt_run(7, &NewRun { folder: Some(folder.path().join("runs/0007")), ..new_run() }).expect("adopts");
    assert_eq!(adopted, 7);
    assert_eq!(store.create_run(&new_run()).expect("run"), 8);
    assert_eq!(store.adopt_run(7, &new_run()).expect("adopts"), 9, "a used number is not used again");
    let elsewhere = tempfile::tempdir().expect("folder");
    let out = elsewhere.path().join("out");
    store.create_run(&NewRun { folder: Some(out.clone()), ..new_run() }).expect("run");
    let runs = Reader::open(folder.path()).expect("reader").runs().expect("runs");
    assert_eq!(runs.iter().map(|row| row.run).collect::<Vec<_>>(), [10, 9, 8, 7]);
    assert_eq!(runs[0].folder, out);
}

#[test]
fn a_project_can_move_with_its_runs() {
    let folder = tempfile::tempdir().expect("folder");
    let before = folder.path().join("before");
    std::fs::create_dir(&before).expect("folder");
    let store = Store::open(&before).expect("store");
    let run = store.create_run(&new_run()).expect("run");
    let adapter = before.join("runs/0001/best");
    store.update_run(run, &RunUpdate { adapter: Some(adapter.clone()), ..RunUpdate::default() }).expect("updates");
    store.record_file(run, &adapter.join("a.safetensors"), "00ff", 17).expect("records");
    drop(store);
    let after = folder.path().join("after");
    std::fs::rename(&before, &after).expect("moves");
    let reader = Reader::open(&after).expect("reader");
    let row = reader.run(run).expect("reads").expect("the run");
    assert_eq!(row.adapter.as_deref(), Some(after.join("runs/0001/best").as_path()));
    let files = reader.files(run).expect("files");
    assert_eq!((files[0].path.clone(), files[0].bytes), (after.join("runs/0001/best/a.safetensors"), 17));
}

#[test]
fn what_belongs_to_no_run_is_refused_at_once() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let refused = store.push_event(5, &step(1, 1.0));
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
    assert!(matches!(store.update_run(5, &RunUpdate::default()), Err(StoreError::NotFound { .. })));
    assert!(matches!(store.truncate_after(5, 0), Err(StoreError::NotFound { .. })));
    let run = store.create_run(&new_run()).expect("run");
    store.push_event(run, &step(1, 1.0)).expect("pushes");
    store.flush().expect("flushes");
}

#[test]
fn a_refused_flush_loses_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let run = store.create_run(&new_run()).expect("run");
    for at in 1..=10 {
        store.push_event(run, &step(at, at as f64)).expect("pushes");
    }
    // A trigger refuses what a full disk would refuse: in the middle of the transaction.
    let other = rusqlite::Connection::open(folder.path().join(temper_store::DB_NAME)).expect("opens");
    other
        .execute_batch("CREATE TRIGGER full BEFORE INSERT ON blocks BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        .expect("trigger");
    store.flush().expect_err("refused");
    assert!(store.has_pending());
    for at in 11..=20 {
        store.push_event(run, &step(at, at as f64)).expect("pushes");
    }
    store.flush().expect_err("still refused");
    other.execute_batch("DROP TRIGGER full").expect("drops");
    store.flush().expect("goes on");
    let points = Reader::open(folder.path()).expect("reader").points(run, "train_loss", 0, 100, 100).expect("points");
    let steps: Vec<u64> = points.iter().map(|point| point.step).collect();
    assert_eq!(steps, (1..=20).collect::<Vec<_>>());
}

#[test]
fn commands_are_taken_once_and_in_order() {
    let folder = tempfile::tempdir().expect("folder");
    let pause = Command::Control { project: None, run: 1, act: Act::Pause };
    assert!(matches!(push_command(folder.path(), &pause), Err(StoreError::Missing { .. })));
    let store = Store::open(folder.path()).expect("store");
    assert!(store.take_commands().expect("takes").is_empty());
    let stop = Command::Control { project: None, run: 1, act: Act::Stop };
    push_command(folder.path(), &pause).expect("pushes");
    push_command(folder.path(), &stop).expect("pushes");
    let taken: Vec<Command> = store.take_commands().expect("takes").into_iter().map(|(_, command)| command).collect();
    assert_eq!(taken, [pause, stop]);
    assert!(store.take_commands().expect("takes").is_empty());
}

fn damage(file: &Path) {
    let mut bytes = std::fs::read(file).expect("reads");
    for byte in bytes.iter_mut().skip(4096) {
        *byte = 0x5a;
    }
    std::fs::write(file, bytes).expect("writes");
}

#[test]
fn a_damaged_database_is_set_aside_only_when_asked() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join(temper_store::DB_NAME);
    {
        let store = Store::open(folder.path()).expect("store");
        half_a_run(&store);
        let (_store, repair) = Store::repair(folder.path()).expect("a whole one stays");
        assert_eq!(repair, None);
    }
    damage(&file);
    let damaged = std::fs::read(&file).expect("reads");
    let error = Store::open(folder.path())
        .err()
        .or_else(|| Reader::open(folder.path()).and_then(|reader| reader.runs().map(|_runs| ())).err());
    let error = error.expect("damage is noticed");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    let problem = Problem::from(error);
    assert_eq!(problem.code, Code::Io);
    assert!(problem.action.contains("runs' folders hold everything a resume needs"), "{problem}");
    assert!(problem.action.contains("--repair"), "{problem}");
    assert_eq!(std::fs::read(&file).expect("reads"), damaged, "nothing was changed unasked");

    let (store, repair) = Store::repair(folder.path()).expect("starts anew");
    let aside = repair.expect("a repair").aside;
    assert!(aside.ends_with("temper.db.damaged-1"));
    assert_eq!(std::fs::read(&aside).expect("reads"), damaged, "the old one is kept as it was");
    assert_eq!(store.create_run(&new_run()).expect("run"), 2, "the folder of run 1 is still there");
    drop(store);
    std::fs::write(&file, b"this is no database at all, whatever its name says").expect("writes");
    let (_store, repair) = Store::repair(folder.path()).expect("starts anew");
    assert!(repair.expect("the second one").aside.ends_with("temper.db.damaged-2"));
}

/// Everything that a window would read of a run.
fn read_all(project: &Path, run: u64) -> (usize, usize) {
    let reader = Reader::open(project).expect("reader");
    let points = reader
        .series_names(run)
        .expect("series")
        .iter()
        .map(|meta| {
            let points = reader.points(run, &meta.name, 0, u64::MAX, 1_000_000).expect("points");
            assert!(points.windows(2).all(|pair| pair[0].step < pair[1].step), "{} is out of order", meta.name);
            assert_eq!(points.len() as u64, meta.count, "{} promises what it does not hold", meta.name);
            points.len()
        })
        .sum();
    let events = reader.events_after(run, 0, 100_000).expect("events").len();
    for step in reader.rank_steps(run).expect("steps") {
        reader.rank_at(run, step).expect("ranks");
    }
    (points, events)
}

#[test]
fn whichever_page_is_damaged_the_rest_is_kept() {
    let folder = tempfile::tempdir().expect("folder");
    {
        let store = Store::open(folder.path()).expect("store");
        let run = half_a_run(&store);
        (151..=1500).for_each(|at| store.push_event(run, &step(at, at as f64)).expect("pushes"));
        store.flush().expect("flushes");
    }
    let file = folder.path().join(temper_store::DB_NAME);
    let whole = std::fs::read(&file).expect("reads");
    let page_bytes = 4096;
    let everything = read_all(folder.path(), 1);
    let pages = whole.len() / page_bytes;
    assert!(pages > 20, "{pages} pages");
    let (mut runs_kept, mut points_kept, mut repairs) = (0, 0, 0);
    for page in 0..pages {
        let mut bytes = whole.clone();
        bytes[page * page_bytes..(page + 1) * page_bytes].fill(0x5a);
        for name in [".temper.lock", "temper.db-wal", "temper.db-shm"] {
            let _absent = std::fs::remove_file(folder.path().join(name));
        }
        std::fs::write(&file, &bytes).expect("writes");
        let (store, repair) = Store::repair(folder.path()).expect("repairs");
        drop(store);
        repairs += usize::from(repair.is_some());
        let rows = Reader::open(folder.path()).expect("reader").runs().expect("runs");
        if let Some(row) = rows.first() {
            assert_eq!((row.run, row.steps, row.seed), (1, 1500, u64::MAX - 3));
            runs_kept += 1;
            let (points, events) = read_all(folder.path(), 1);
            assert!(points <= everything.0 && events <= everything.1);
            points_kept += points;
        }
        if let Some(repair) = repair {
            assert_eq!(std::fs::read(&repair.aside).expect("reads"), bytes, "page {page}");
            std::fs::remove_file(&repair.aside).expect("removes");
        }
    }
    assert!(repairs * 10 > pages * 8, "{repairs} of {pages} damages were noticed");
    assert!(runs_kept * 10 > pages * 8, "{runs_kept} of {pages} times the run was kept");
    assert!(points_kept > everything.0 * pages * 7 / 10, "{points_kept} points of {}", everything.0 * pages);
}
