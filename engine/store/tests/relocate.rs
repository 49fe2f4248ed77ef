//! A project at another place: what goes along, what is refused, and that nothing is lost or written over.

use std::path::Path;
use temper_protocol::{Code, Event, Project, project_file};
use temper_store::{NewRun, ProjectLock, Reader, Store, duplicate, relocate};

/// A project with a run, a file of its own and data beside it.
fn project(root: &Path) -> std::path::PathBuf {
    let folder = root.join("tone");
    std::fs::create_dir_all(folder.join("notes")).expect("a folder");
    std::fs::write(folder.join("notes").join("a.txt"), "mine").expect("a file");
    let data = vec!["../rows.jsonl".to_owned(), "own.jsonl".to_owned()];
    let project = Project::new("tone", "builtin:starter", &data, "lora");
    project_file::save(&project, &folder.join(project_file::FILE_NAME)).expect("project.toml");
    let store = Store::open(&folder).expect("a store");
    let run = store.create_run(&NewRun { method: "lora".to_owned(), ..NewRun::default() }).expect("a run");
    let eval = Event::Eval { step: 0, split: "validation".to_owned(), loss: 3.1, best: false };
    store.push_event(run, &eval).expect("written");
    store.flush().expect("flushed");
    let row = Reader::open(&folder).expect("a reader").runs().expect("runs").remove(0);
    std::fs::create_dir_all(&row.folder).expect("the run's folder");
    std::fs::write(row.folder.join("run.json"), "{}").expect("a file of the run");
    folder
}

#[test]
fn a_copy_has_everything_and_is_a_project_of_its_own() {
    let root = tempfile::tempdir().expect("folder");
    let from = project(root.path());
    let to = root.path().join("deep").join("copy");
    assert_eq!(duplicate(&from, &to, true).expect("copies"), to);
    assert_eq!(std::fs::read_to_string(to.join("notes/a.txt")).expect("goes along"), "mine");
    let runs = Reader::open(&to).expect("a reader").runs().expect("runs");
    assert_eq!(runs.len(), 1);
    assert!((runs[0].base_loss - 3.1).abs() < 1e-9, "what stood in the write-ahead log came along");
    assert!(runs[0].folder.starts_with(&to) && runs[0].folder.join("run.json").is_file());
    let copied = project_file::load(&to).expect("reads");
    let data: Vec<&str> = copied.data.train.iter().map(temper_protocol::project::Source::path).collect();
    assert_eq!(data, [root.path().join("rows.jsonl").display().to_string().as_str(), "own.jsonl"]);
    assert_eq!(copied.name, "copy");
    // Neither knows of the other.
    let store = Store::open(&to).expect("a store");
    store.create_run(&NewRun { method: "dora".to_owned(), ..NewRun::default() }).expect("a run");
    store.flush().expect("flushed");
    assert_eq!(Reader::open(&from).expect("a reader").runs().expect("runs").len(), 1);
    assert_eq!(project_file::load(&from).expect("reads").name, "tone");
}

#[test]
fn a_copy_without_runs_begins_anew() {
    let root = tempfile::tempdir().expect("folder");
    let from = project(root.path());
    let to = root.path().join("copy");
    duplicate(&from.join(project_file::FILE_NAME), &to, false).expect("copies a project named by its file");
    assert!(to.join("notes/a.txt").is_file() && !to.join("runs").exists() && !to.join("temper.db").exists());
}

#[test]
fn a_moved_project_is_whole_at_its_new_place_and_gone_from_the_old_one() {
    let root = tempfile::tempdir().expect("folder");
    let from = project(root.path());
    let to = root.path().join("other").join("calm");
    relocate(&from, &to).expect("moves");
    assert!(!from.exists());
    let runs = Reader::open(&to).expect("a reader").runs().expect("runs");
    assert!(runs[0].folder.starts_with(&to) && runs[0].folder.join("run.json").is_file());
    let moved = project_file::load(&to).expect("reads");
    assert_eq!(moved.name, "calm", "it was called after its folder");
    assert_eq!(moved.data.train[0].path(), root.path().join("rows.jsonl").display().to_string());
    ProjectLock::acquire(&to).expect("nobody holds it");
}

#[test]
fn nothing_is_written_over_and_a_project_at_work_stays() {
    let root = tempfile::tempdir().expect("folder");
    let from = project(root.path());
    let taken = root.path().join("taken");
    std::fs::create_dir(&taken).expect("a folder");
    for problem in [
        duplicate(&from, &taken, true).expect_err("it is there"),
        relocate(&from, &taken).expect_err("it is there"),
        duplicate(&from, &from, true).expect_err("itself"),
        relocate(&from, &from.join("inside")).expect_err("into itself"),
        duplicate(&root.path().join("nothing"), &root.path().join("x"), true).expect_err("no project"),
    ] {
        assert_ne!(problem.code, Code::Internal, "{problem}");
        assert!(!problem.action.is_empty() && !problem.r#where.is_empty(), "{problem}");
    }
    let lock = ProjectLock::acquire(&from).expect("an engine");
    let to = root.path().join("to");
    for problem in [duplicate(&from, &to, true).expect_err("at work"), relocate(&from, &to).expect_err("at work")] {
        assert_eq!(problem.code, Code::Busy, "{problem}");
    }
    drop(lock);
    assert!(!to.exists() && from.join("notes/a.txt").is_file());
    let left: Vec<_> =
        std::fs::read_dir(root.path()).expect("lists").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left.len(), 2, "no part of a copy is left: {left:?}");
}

#[test]
fn a_copy_that_fails_leaves_nothing() {
    let root = tempfile::tempdir().expect("folder");
    let from = project(root.path());
    // What somebody left under the name of the unfinished copy is not touched.
    std::fs::create_dir(root.path().join("copy.partial")).expect("a folder");
    std::fs::write(root.path().join("copy.partial").join("x"), "precious").expect("a file");
    duplicate(&from, &root.path().join("copy"), true).expect_err("the name of the unfinished copy is taken");
    assert!(root.path().join("copy.partial").join("x").is_file() && !root.path().join("copy").exists());
}

#[test]
fn a_damaged_database_goes_along_as_it_is() {
    let root = tempfile::tempdir().expect("folder");
    let from = project(root.path());
    for end in ["-wal", "-shm"] {
        let _may_be_gone = std::fs::remove_file(from.join(format!("temper.db{end}")));
    }
    std::fs::write(from.join("temper.db"), "this is no database, but somebody may read it").expect("damages");
    let to = root.path().join("copy");
    duplicate(&from, &to, true).expect("copies");
    let bytes = std::fs::read(to.join("temper.db")).expect("came along");
    assert!(bytes.starts_with(b"this is no database"));
}

/// Links of a project: to its own file, out of it by a relative path, and by whole paths in and out.
#[cfg(unix)]
fn link_all(root: &Path, from: &Path) {
    std::fs::write(root.join("rows.jsonl"), "far").expect("a file");
    for (name, says) in [
        ("own", "a.txt".into()),
        ("out", "../../rows.jsonl".into()),
        ("whole-out", root.join("rows.jsonl")),
        ("whole-own", from.join("notes/a.txt")),
        ("nowhere", "../../gone".into()),
    ] {
        std::os::unix::fs::symlink::<std::path::PathBuf, _>(says, from.join("notes").join(name)).expect("a link");
    }
}

#[cfg(unix)]
fn assert_links(at: &Path) {
    for (name, text) in [("own", "own"), ("out", "far"), ("whole-out", "far"), ("whole-own", "own")] {
        let path = at.join("notes").join(name);
        assert!(path.is_symlink(), "{name} is still a link");
        assert_eq!(std::fs::read_to_string(&path).expect("leads somewhere"), text, "{name}");
    }
    assert!(at.join("notes").join("nowhere").is_symlink(), "one that leads nowhere comes along");
}

#[test]
#[cfg(unix)]
fn links_of_a_copy_lead_where_they_led_or_into_the_copy() {
    let root = tempfile::tempdir().expect("folder");
    let from = project(root.path());
    link_all(root.path(), &from);
    let to = root.path().join("deep").join("er").join("copy");
    duplicate(&from, &to, true).expect("copies");
    std::fs::write(to.join("notes/a.txt"), "own").expect("a file of the copy");
    assert_links(&to);
    assert_eq!(std::fs::read_to_string(from.join("notes/a.txt")).expect("stays"), "mine", "no link led back");
}

#[test]
#[cfg(unix)]
fn links_of_a_moved_project_lead_where_they_led() {
    let root = tempfile::tempdir().expect("folder");
    let from = project(root.path());
    link_all(root.path(), &from);
    std::fs::write(from.join("notes/a.txt"), "own").expect("a file");
    let to = root.path().join("deep").join("er").join("calm");
    relocate(&from, &to).expect("moves");
    assert_links(&to);
    relocate(&to, &from).expect("moves back");
    assert_links(&from);
}

#[test]
#[cfg(unix)]
fn a_file_that_the_disk_does_not_take_is_named_and_no_half_copy_is_left() {
    const ROOT: &str = "TEMPER_TEST_LIMITED_ROOT";
    if let Some(root) = std::env::var_os(ROOT).map(std::path::PathBuf::from) {
        // This is the process that may write no large file.
        let problem = duplicate(&root.join("tone"), &root.join("copy"), true).expect_err("larger than it may write");
        assert!(problem.what.contains("no file of this size") && problem.action.contains("9 MiB"), "{problem}");
        assert!(problem.r#where.ends_with("large.gguf"), "{problem}");
        return;
    }
    let root = tempfile::tempdir().expect("folder");
    let from = project(root.path());
    // Holes take no disk.
    let large = std::fs::File::create(from.join("large.gguf")).expect("a file");
    large.set_len(9 << 20).expect("as long as that");
    drop(large);
    let child = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "a_file_that_the_disk_does_not_take_is_named_and_no_half_copy_is_left"])
        .env(ROOT, root.path())
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
    let left: Vec<_> =
        std::fs::read_dir(root.path()).expect("lists").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["tone"]);
    assert!(from.join("large.gguf").is_file() && from.join("temper.db").is_file());
}
