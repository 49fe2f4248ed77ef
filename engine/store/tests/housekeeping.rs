//! Labels of runs, and the trash: nothing is lost on the way there and back, and what goes on is left alone.

use std::fs;
use std::path::Path;
use temper_protocol::housekeeping::{LabelChange, RunLabels};
use temper_protocol::{Event, RunStatus};
use temper_store::{DB_NAME, NewRun, ProjectLock, Reader, RunUpdate, Store, StoreError};

/// A run with a checkpoint that the database knows, and a point of a series.
fn trained(store: &Store) -> u64 {
    let run = store.create_run(&NewRun { method: "lora".to_owned(), ..NewRun::default() }).expect("run");
    let folder = store.project_dir().join("runs").join(format!("{run:04}"));
    let checkpoint = folder.join("checkpoints/step-00000004");
    fs::create_dir_all(&checkpoint).expect("folder");
    fs::write(checkpoint.join("adapter.safetensors"), [7; 64]).expect("file");
    store.record_file(run, &checkpoint, "ab", 64).expect("records");
    let step = Event::Step {
        step: 4,
        max_steps: 4,
        train_loss: 2.0,
        lr: 1e-4,
        grad_norm: 0.5,
        tokens_per_sec: 300.0,
        trained_tokens: 400,
        rss_mib: 400.0,
    };
    store.push_event(run, &step).expect("pushes");
    store.flush().expect("flushes");
    let update = RunUpdate { status: Some("finished".to_owned()), adapter: Some(checkpoint), ..RunUpdate::default() };
    store.update_run(run, &update).expect("updates");
    run
}

fn numbers(rows: &[temper_store::RunRow]) -> Vec<u64> {
    rows.iter().map(|row| row.run).collect()
}

#[test]
fn labels_are_kept_and_a_change_leaves_the_others() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let run = trained(&store);
    let reader = Reader::open(folder.path()).expect("reader");
    let labels = |reader: &Reader| reader.run(run).expect("reads").expect("the run").labels;
    assert_eq!(labels(&reader), RunLabels::default(), "nobody said anything");
    let tags = Some(vec!["short".to_owned(), "tone".to_owned()]);
    let name = Some(" warm answers ".to_owned());
    store.label(run, &LabelChange { name, tags, ..LabelChange::default() }).expect("labels");
    let said = store.label(run, &LabelChange { starred: Some(true), ..LabelChange::default() }).expect("labels");
    assert_eq!(labels(&reader), said);
    assert_eq!((said.name.as_str(), said.tags.len(), said.starred), ("warm answers", 2, true));
    let missing = store.label(99, &LabelChange::default());
    assert!(matches!(missing, Err(StoreError::NotFound { .. })), "{missing:?}");
    assert!(matches!(reader.runs().expect("runs")[0].to_event(), Event::Run { labels, .. } if labels == said));
}

#[test]
fn a_run_goes_to_the_trash_and_comes_back_with_everything() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let (first, second) = (trained(&store), trained(&store));
    store.label(first, &LabelChange { name: Some("kept".to_owned()), ..LabelChange::default() }).expect("labels");
    let reader = Reader::open(folder.path()).expect("reader");
    let before = reader.run(first).expect("reads").expect("the run");
    let files = reader.files(first).expect("files");
    store.trash(first).expect("trashes");
    store.trash(first).expect("is there already");
    assert_eq!(numbers(&reader.runs().expect("runs")), [second], "it is in no list");
    let trashed = reader.trashed().expect("trashed");
    assert_eq!(numbers(&trashed), [first]);
    let place = folder.path().join("trash/0001");
    assert_eq!(trashed[0].folder.canonicalize().expect("there"), place.canonicalize().expect("there"));
    assert!(place.join("checkpoints/step-00000004/adapter.safetensors").is_file(), "nothing is deleted");
    assert!(trashed[0].adapter.as_ref().is_some_and(|adapter| adapter.starts_with(&trashed[0].folder)));
    assert!(trashed[0].labels.trashed_millis > 0 && trashed[0].labels.name == "kept");
    store.restore(first).expect("restores");
    assert_eq!(numbers(&reader.runs().expect("runs")), [second, first]);
    // As words, because losses that are not known are no numbers and equal nothing.
    let after = reader.run(first).expect("reads").expect("the run");
    assert_eq!(format!("{after:?}"), format!("{before:?}"), "as it was");
    assert_eq!(reader.files(first).expect("files"), files);
    assert_eq!(reader.points(first, "train_loss", 0, 9, 10).expect("points").len(), 1);
    assert!(!place.exists());
}

#[test]
fn only_what_lies_in_the_trash_is_deleted_and_its_number_is_not_used_again() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let runs = [trained(&store), trained(&store), trained(&store)];
    store.trash(runs[0]).expect("trashes");
    store.trash(runs[1]).expect("trashes");
    store.restore(runs[1]).expect("restores");
    assert_eq!(store.empty_trash().expect("empties"), [runs[0]]);
    let reader = Reader::open(folder.path()).expect("reader");
    assert_eq!(numbers(&reader.runs().expect("runs")), [runs[2], runs[1]]);
    assert!(reader.run(runs[0]).expect("reads").is_none());
    assert!(reader.series_names(runs[0]).expect("series").is_empty(), "its curves are gone too");
    assert!(!folder.path().join("trash/0001").exists() && folder.path().join("runs/0002").is_dir());
    let refused = store.push_event(runs[0], &Event::Queued { run: runs[0] });
    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
    assert_eq!(trained(&store), 4);
}

/// A project may come from somebody else, with a database that says anything.
#[test]
fn a_row_in_the_trash_that_names_another_folder_deletes_nothing_there() {
    for named in ["trash/../kept", "trash/..", "trash", "kept"] {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path()).expect("store");
        let run = trained(&store);
        store.trash(run).expect("trashes");
        let kept = folder.path().join("kept/precious.txt");
        fs::create_dir_all(folder.path().join("kept")).expect("folder");
        fs::write(&kept, "precious").expect("file");
        let database = rusqlite::Connection::open(folder.path().join(DB_NAME)).expect("database");
        database.execute("UPDATE runs SET folder = ?1", [named]).expect("updates");
        drop(database);
        assert_eq!(store.empty_trash().expect("empties"), [run], "{named}");
        assert!(kept.is_file(), "{named}");
        assert!(folder.path().join("trash/0001").is_dir(), "{named}");
    }
}

/// Nor is anything moved into the trash, or out of it to elsewhere, that such a database names.
#[test]
fn a_foreign_row_moves_no_folder_but_those_of_runs() {
    let root = tempfile::tempdir().expect("folder");
    let (project, precious) = (root.path().join("project"), root.path().join("precious"));
    fs::create_dir_all(project.join("data")).expect("folder");
    fs::create_dir_all(&precious).expect("folder");
    fs::write(precious.join("letter.txt"), "mine").expect("file");
    let store = Store::open(&project).expect("store");
    let run = trained(&store);
    let set = |column: &str, value: &str| {
        let database = rusqlite::Connection::open(project.join(DB_NAME)).expect("database");
        let table = if column == "origin" { "labels" } else { "runs" };
        database.execute(&format!("UPDATE {table} SET {column} = ?1"), [value]).expect("updates");
    };
    let elsewhere = precious.display().to_string();
    for named in [elsewhere.as_str(), "../precious", "runs/../../precious", "runs", "data", "", "."] {
        set("folder", named);
        let refused = store.trash(run);
        assert!(matches!(refused, Err(StoreError::NotItsOwn { run: 1, .. })), "{named:?}: {refused:?}");
    }
    assert!(precious.join("letter.txt").is_file() && project.join("data").is_dir());
    // Nor the run of another project, although it says that it is a run.
    let theirs = root.path().join("other/runs/0001");
    fs::create_dir_all(&theirs).expect("folder");
    trained(&Store::open(&root.path().join("other")).expect("store"));
    fs::write(theirs.join("run.json"), "{}").expect("file");
    set("folder", &theirs.display().to_string());
    assert!(matches!(store.trash(run), Err(StoreError::NotItsOwn { run: 1, .. })));
    assert!(theirs.join("run.json").is_file());
    // A run that was trained elsewhere, as --out allows, says so itself.
    fs::write(precious.join("run.json"), "{}").expect("file");
    set("folder", &elsewhere);
    store.trash(run).expect("trashes");
    assert!(project.join("trash/0001/letter.txt").is_file() && !precious.exists());
    // It comes back into the project, whatever place its row names.
    fs::remove_dir_all(project.join("runs")).expect("free");
    for named in [elsewhere.as_str(), "../precious", "runs/../../precious", ""] {
        set("origin", named);
        store.restore(run).expect("restores");
        assert!(project.join("runs/0001/letter.txt").is_file() && !precious.exists(), "{named:?}");
        store.trash(run).expect("trashes");
    }
    set("origin", "kept/first");
    store.restore(run).expect("restores");
    assert!(project.join("kept/first/letter.txt").is_file(), "any place inside is fine");
}

/// A foreign project may also have links in the place of its folders.
#[test]
#[cfg(unix)]
fn a_run_goes_through_no_link_out_of_the_project() {
    use std::os::unix::fs::symlink;
    let root = tempfile::tempdir().expect("folder");
    let (project, outside) = (root.path().join("project"), root.path().join("outside"));
    fs::create_dir_all(&project).expect("folder");
    fs::create_dir_all(&outside).expect("folder");
    let is_untouched = || fs::read_dir(&outside).expect("lists").next().is_none();
    let store = Store::open(&project).expect("store");
    let run = trained(&store);
    symlink(&outside, project.join("trash")).expect("a link");
    let refused = store.trash(run);
    assert!(matches!(refused, Err(StoreError::Io { .. })), "{refused:?}");
    assert!(project.join("runs/0001/checkpoints").is_dir() && is_untouched(), "it stays where it was");
    fs::remove_file(project.join("trash")).expect("the link goes");
    store.trash(run).expect("trashes");
    fs::remove_dir_all(project.join("runs")).expect("free");
    symlink(&outside, project.join("runs")).expect("a link");
    symlink(&outside, project.join("linked")).expect("a link");
    let database = rusqlite::Connection::open(project.join(DB_NAME)).expect("database");
    database.execute("UPDATE labels SET origin = 'linked/0001'", []).expect("updates");
    drop(database);
    store.restore(run).expect("restores");
    assert!(project.join("run-0001/checkpoints").is_dir() && is_untouched(), "it has a place inside");
    let row = Reader::open(&project).expect("reader").run(run).expect("reads").expect("the run");
    assert!(row.folder.ends_with("run-0001") && row.labels.trashed_millis == 0);
}

#[test]
fn a_foreign_row_in_the_trash_that_lies_elsewhere_is_listed_again_where_it_is() {
    let root = tempfile::tempdir().expect("folder");
    let (project, precious) = (root.path().join("project"), root.path().join("precious"));
    fs::create_dir_all(&precious).expect("folder");
    fs::create_dir_all(&project).expect("folder");
    let store = Store::open(&project).expect("store");
    let run = trained(&store);
    store.trash(run).expect("trashes");
    let database = rusqlite::Connection::open(project.join(DB_NAME)).expect("database");
    database.execute("UPDATE runs SET folder = ?1", [precious.display().to_string()]).expect("updates");
    drop(database);
    store.restore(run).expect("restores");
    assert!(precious.is_dir(), "nothing was moved");
    let row = Reader::open(&project).expect("reader").run(run).expect("reads").expect("the run");
    assert_eq!(row.labels.trashed_millis, 0);
}

#[test]
fn two_windows_may_empty_one_trash() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let runs: Vec<u64> = (0..12).map(|_| trained(&store)).collect();
    runs.iter().for_each(|run| store.trash(*run).expect("trashes"));
    let start = std::sync::Barrier::new(2);
    let empty = || {
        let window = Store::open(folder.path()).expect("a window");
        start.wait();
        window.empty_trash().expect("empties, whoever was first")
    };
    let (mut gone, other) = std::thread::scope(|scope| {
        let (one, other) = (scope.spawn(empty), scope.spawn(empty));
        (one.join().expect("no panic"), other.join().expect("no panic"))
    });
    gone.extend(other);
    gone.sort_unstable();
    assert_eq!(gone, runs, "each was deleted once");
    assert!(fs::read_dir(folder.path().join("trash")).expect("lists").next().is_none());
    assert!(Reader::open(folder.path()).expect("reader").trashed().expect("trashed").is_empty());
}

#[test]
fn a_run_that_goes_on_stays_where_it_is() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let run = trained(&store);
    store.update_run(run, &RunUpdate { status: Some("running".to_owned()), ..RunUpdate::default() }).expect("updates");
    let lock = ProjectLock::acquire(folder.path()).expect("lock");
    assert!(matches!(store.trash(run), Err(StoreError::GoesOn { run: 1 })));
    assert!(folder.path().join("runs/0001").is_dir());
    drop(lock);
    // Nobody holds the project: it does not go on, whatever its row says.
    store.trash(run).expect("trashes");
}

#[test]
fn a_place_that_is_taken_is_not_written_over() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let run = trained(&store);
    let mine = |path: &Path| {
        fs::create_dir_all(path).expect("folder");
        fs::write(path.join("mine"), "x").expect("file");
    };
    mine(&folder.path().join("trash/0001"));
    store.trash(run).expect("finds another place");
    assert!(folder.path().join("trash/0001-2/checkpoints").is_dir());
    mine(&folder.path().join("runs/0001"));
    assert!(matches!(store.restore(run), Err(StoreError::Io { .. })));
    assert!(folder.path().join("trash/0001-2/checkpoints").is_dir(), "it is still in the trash");
    assert_eq!(fs::read_to_string(folder.path().join("runs/0001/mine")).expect("mine"), "x");
}

#[test]
fn a_move_that_was_cut_off_between_folder_and_row_is_finished() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let run = trained(&store);
    fs::create_dir_all(folder.path().join("trash")).expect("folder");
    fs::rename(folder.path().join("runs/0001"), folder.path().join("trash/0001")).expect("as a kill leaves it");
    store.trash(run).expect("finishes");
    let row = Reader::open(folder.path()).expect("reader").run(run).expect("reads").expect("the run");
    assert!(row.folder.is_dir() && row.labels.trashed_millis > 0);
    store.restore(run).expect("restores");
    assert!(folder.path().join("runs/0001/checkpoints").is_dir());
}

#[test]
fn a_database_of_version_1_gets_its_labels() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let run = trained(&store);
    let finished = Event::Finished {
        run,
        status: RunStatus::Finished,
        steps: 4,
        best_step: 4,
        base_loss: 3.0,
        final_loss: 2.0,
        best_loss: 2.0,
        forgetting: 0.01,
        tokens_per_sec: 300.0,
        cpu_secs_per_step: 0.1,
        peak_rss_mib: 400.0,
        wall_secs: 2.0,
        adapter: None,
        problem: None,
    };
    store.push_event(run, &finished).expect("pushes");
    store.flush().expect("flushes");
    drop(store);
    let file = folder.path().join(DB_NAME);
    let connection = rusqlite::Connection::open(&file).expect("opens");
    // Version 1 is version 2 without this table.
    connection.execute_batch("DROP TABLE labels; PRAGMA user_version = 1").expect("as it was");
    drop(connection);
    let reader = Reader::open(folder.path()).expect("a reader migrates what it can write");
    assert_eq!(reader.runs().expect("runs")[0].labels, RunLabels::default());
    let store = Store::open(folder.path()).expect("store");
    store.label(run, &LabelChange { starred: Some(true), ..LabelChange::default() }).expect("labels");
    assert!(reader.runs().expect("runs")[0].labels.starred);
}
