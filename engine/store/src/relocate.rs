//! A project's folder at another place: a copy of it, or the folder itself.
//!
//! Place in the data flow: the window's thread for files and the command line call this. The project's lock is held
//! meanwhile, so that no engine writes into what is being copied; nothing is ever written over, and a copy appears under
//! its name only when it is whole. The database knows its folders relative to the project, so it goes along as it is; of
//! the project's file, paths that would lead elsewhere from the new place are written anew, and so are links in the folder
//! ([`crate::links`]).

use crate::database::{self, DB_NAME};
use crate::error::StoreError;
use crate::links::{self, Links};
use crate::lock::{LOCK_NAME, PID_NAME, ProjectLock};
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use temper_protocol::project::{Source, Validation};
use temper_protocol::{Problem, Project, named, project_file};

/// What belongs to runs alone, at the top of a project's folder.
const OF_RUNS: [&str; 5] = ["runs", "trash", "exports", "compare.json", "races"];

/// What belongs to the runs' database: itself, what was written ahead of it, what is shared about it, a journal.
const OF_DATABASE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Copies a file; what it returns is the number of bytes.
type Put<'a> = &'a dyn Fn(&Path, &Path) -> std::io::Result<u64>;

/// As the system copies a file.
fn put(from: &Path, to: &Path) -> std::io::Result<u64> {
    fs::copy(from, to)
}

/// What the project at the other place is to the one that was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum As {
    /// A project of its own.
    Copy,
    /// The same one.
    Itself,
}

/// Copies the project in `from` to `to`, which must not be there yet; with or without its runs. The copy is called after its
/// folder.
///
/// # Errors
/// [`StoreError::Busy`] while an engine works on the project, [`StoreError::Exists`], [`StoreError::Within`],
/// [`StoreError::NotFound`] where there is no project, [`StoreError::NoRoom`] on a disk that is too small, and others of the
/// disk; nothing of the copy is left then.
pub fn duplicate(from: &Path, to: &Path, with_runs: bool) -> Result<PathBuf, Problem> {
    let (from, to) = places(from, to)?;
    // A project on a disk that cannot be written is nobody's to train, and can be copied all the same.
    let _lock = match ProjectLock::acquire(&from) {
        Ok(lock) => Some(lock),
        Err(StoreError::ReadOnly { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    copy(&from, &to, with_runs, As::Copy, &put)?;
    Ok(to)
}

/// Moves the project in `from` to `to`, which must not be there yet; its runs go along.
///
/// # Errors
/// As [`duplicate`]; the project is where it was then. On another disk what cannot be removed of the old folder is no error:
/// the project is whole at its new place then, and the log says what stayed.
pub fn relocate(from: &Path, to: &Path) -> Result<PathBuf, Problem> {
    let (from, to) = places(from, to)?;
    let mut lock = Some(ProjectLock::acquire(&from)?);
    if cfg!(windows) {
        // A folder with an open file in it does not move there.
        drop(lock.take());
    }
    let parent = to.parent().unwrap_or(&to);
    fs::create_dir_all(parent).map_err(|error| StoreError::io(parent, error))?;
    let moved = Links::of(&from)?.all()?;
    match fs::rename(&from, &to) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            carry(&from, &to, lock.take())?;
            return Ok(to);
        }
        Err(error) => return Err(StoreError::io(&from, error).into()),
    }
    let settled = links::write_anew(&to, &moved).map_err(Problem::from);
    if let Err(problem) = settled.and_then(|()| settle(&from, &to, &to, As::Itself)) {
        // Where it was, what its file and its links say means what it did.
        links::write_back(&to, &moved);
        if let Err(error) = fs::rename(&to, &from) {
            tracing::error!(path = %to.display(), %error, "the project could not be moved back");
        }
        return Err(problem);
    }
    drop(lock);
    Ok(to)
}

/// Moves a project to another disk: the old folder goes only when the new one is whole and on that disk.
fn carry(from: &Path, to: &Path, lock: Option<ProjectLock>) -> Result<(), Problem> {
    copy(from, to, true, As::Itself, &put)?;
    drop(lock);
    if let Err(error) = fs::remove_dir_all(from) {
        tracing::warn!(path = %from.display(), %error, "the project has moved; of its old folder something stays");
    }
    Ok(())
}

/// Both places, absolute, when the first holds a project and the second nothing.
fn places(from: &Path, to: &Path) -> Result<(PathBuf, PathBuf), StoreError> {
    let folder =
        |path: &Path| std::path::absolute(path).map(|path| flat(&path)).map_err(|error| StoreError::io(path, error));
    let (mut from, to) = (folder(from)?, folder(to)?);
    if from.is_file() {
        from.pop();
    }
    let file = from.join(project_file::FILE_NAME);
    if !file.is_file() {
        return Err(StoreError::NotFound { what: format!("a project at {}", file.display()) });
    }
    if to.starts_with(&from) || real(&to).starts_with(real(&from)) {
        return Err(StoreError::Within { folder: to });
    }
    // Also a link that leads nowhere is something.
    if fs::symlink_metadata(&to).is_ok() {
        return Err(StoreError::Exists { folder: to });
    }
    Ok((from, to))
}

/// Where a path leads, links followed as far as there is something: a folder that is named by a link would be copied into
/// itself without end.
fn real(path: &Path) -> PathBuf {
    let known = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    let led = known.and_then(|(above, real)| Some(real.join(path.strip_prefix(above).ok()?)));
    led.unwrap_or_else(|| path.to_path_buf())
}

/// Copies under another name beside `to` and renames what is whole.
fn copy(from: &Path, to: &Path, with_runs: bool, is: As, put: Put<'_>) -> Result<(), Problem> {
    let parent = to.parent().unwrap_or(to);
    fs::create_dir_all(parent).map_err(|error| StoreError::io(parent, error))?;
    let mut name = to.file_name().unwrap_or_default().to_os_string();
    name.push(".partial");
    let staging = to.with_file_name(name);
    fs::create_dir(&staging).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => StoreError::Exists { folder: staging.clone() },
        _ => StoreError::io(&staging, error),
    })?;
    let copied = copy_by(from, &staging, to, with_runs, is, put);
    if copied.is_err()
        && let Err(error) = fs::remove_dir_all(&staging)
    {
        tracing::warn!(path = %staging.display(), %error, "a partial copy could not be removed");
    }
    copied
}

fn copy_by(from: &Path, staging: &Path, to: &Path, with_runs: bool, is: As, put: Put<'_>) -> Result<(), Problem> {
    let full = |error| match error {
        StoreError::DiskFull { .. } => StoreError::NoRoom { folder: to.to_path_buf(), bytes: size_of(from, with_runs) },
        other => other,
    };
    copy_into(from, staging, with_runs, put).map_err(full)?;
    settle(from, to, staging, is)?;
    if is == As::Itself {
        sync_folder(staging).map_err(full)?;
    }
    // Renaming would put it over an empty folder that came there meanwhile.
    if fs::symlink_metadata(to).is_ok() {
        return Err(StoreError::Exists { folder: to.to_path_buf() }.into());
    }
    fs::rename(staging, to).map_err(|error| StoreError::io(to, error))?;
    Ok(())
}

/// Whether something at the top of a project's folder stays behind when its runs do.
fn is_of_runs(name: &OsStr) -> bool {
    OF_RUNS.iter().any(|of_runs| name == *of_runs) || is_database(name)
}

fn is_database(name: &OsStr) -> bool {
    let rest = name.to_str().and_then(|name| name.strip_prefix(DB_NAME));
    rest.is_some_and(|rest| rest.is_empty() || OF_DATABASE.contains(&rest))
}

/// Bytes that a copy takes, about: what cannot be looked at counts as nothing.
fn size_of(from: &Path, with_runs: bool) -> u64 {
    fn all(folder: &Path, left_out: &dyn Fn(&OsStr) -> bool) -> u64 {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let sizes = entries.filter(|entry| !left_out(&entry.file_name())).map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => all(&entry.path(), &|_| false),
            Ok(meta) if meta.is_file() => meta.len(),
            _ => 0,
        });
        sizes.sum()
    }
    all(from, &|name| !with_runs && is_of_runs(name))
}

fn copy_into(from: &Path, staging: &Path, with_runs: bool, put: Put<'_>) -> Result<(), StoreError> {
    let left_out =
        |name: &OsStr| name == LOCK_NAME || name == PID_NAME || is_database(name) || (!with_runs && is_of_runs(name));
    let copier = Copier { links: Links::of(from)?, put };
    copier.folder(Path::new(""), (from, staging), &left_out)?;
    let database = from.join(DB_NAME);
    if !with_runs || !database.is_file() {
        return Ok(());
    }
    match copy_database(&database, &staging.join(DB_NAME)) {
        // What cannot be read is copied as it lies there: a repair may still get something out of it.
        Err(StoreError::Damaged { .. }) => {
            for name in [DB_NAME.to_owned(), format!("{DB_NAME}-wal")] {
                let source = from.join(&name);
                if source.is_file() {
                    copier.file(&source, &staging.join(&name))?;
                }
            }
            Ok(())
        }
        other => other,
    }
}

/// The database as it is at one moment, whoever has it open.
fn copy_database(from: &Path, to: &Path) -> Result<(), StoreError> {
    let reading = database::open_reading(from)?;
    let name = to
        .to_str()
        .ok_or_else(|| StoreError::io(to, std::io::Error::new(ErrorKind::InvalidInput, "the path is not Unicode")))?;
    // A damaged one may have left a part of the copy.
    let copied = reading.connection.execute("VACUUM INTO ?1", [name]).map_err(|error| StoreError::sql(from, error));
    if copied.is_err() && to.exists() {
        fs::remove_file(to).map_err(|error| StoreError::io(to, error))?;
    }
    copied.map(|_rows| ())
}

/// Copies folders, files and links.
struct Copier<'a> {
    links: Links,
    put: Put<'a>,
}

impl Copier<'_> {
    /// Copies what is in a folder, which lies `within` the project, but for names that are left out at its top.
    fn folder(
        &self,
        within: &Path,
        (from, to): (&Path, &Path),
        left_out: &dyn Fn(&OsStr) -> bool,
    ) -> Result<(), StoreError> {
        for entry in fs::read_dir(from).map_err(|error| StoreError::io(from, error))? {
            let entry = entry.map_err(|error| StoreError::io(from, error))?;
            let (source, name) = (entry.path(), entry.file_name());
            if left_out(&name) {
                continue;
            }
            let (target, within) = (to.join(&name), within.join(&name));
            let kind = entry.file_type().map_err(|error| StoreError::io(&source, error))?;
            if kind.is_dir() {
                fs::create_dir(&target).map_err(|error| StoreError::io(&target, error))?;
                self.folder(&within, (&source, &target), &|_| false)?;
            } else if kind.is_symlink() {
                self.link(&within, &source, &target)?;
            } else if kind.is_file() {
                self.file(&source, &target)?;
            }
        }
        Ok(())
    }

    fn file(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        (self.put)(from, to).map(|_bytes| ()).map_err(|error| match error.kind() {
            ErrorKind::FileTooLarge => {
                let bytes = fs::metadata(from).map_or(0, |meta| meta.len());
                StoreError::TooLarge { file: from.to_path_buf(), bytes }
            }
            _ => StoreError::io(to, error),
        })
    }

    /// Copies a link, so that it leads where it led or to what came along. Where the disk takes no links, the file goes along
    /// instead; one that leads nowhere is left out there.
    fn link(&self, within: &Path, from: &Path, to: &Path) -> Result<(), StoreError> {
        let says = fs::read_link(from).map_err(|error| StoreError::io(from, error))?;
        let says = self.links.anew(within, &says).unwrap_or(says);
        match links::make(&says, to) {
            Ok(()) => Ok(()),
            Err(error) if !matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) => {
                Err(StoreError::io(to, error))
            }
            Err(_) if from.is_dir() => Err(StoreError::LinkToFolder { link: from.to_path_buf() }),
            Err(_) if from.is_file() => self.file(from, to),
            Err(_) => Ok(()),
        }
    }
}

/// Waits until what is in a folder is on its disk: what it was copied from is deleted next, and a disk may be pulled out.
fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(folder).map_err(|error| StoreError::io(folder, error))? {
        let entry = entry.map_err(|error| StoreError::io(folder, error))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(|error| StoreError::io(&path, error))?;
        if kind.is_dir() {
            sync_folder(&path)?;
        } else if kind.is_file() {
            sync_file(&path)?;
        }
    }
    Ok(())
}

fn sync_file(path: &Path) -> Result<(), StoreError> {
    // Windows wants the right to write for it, which a file that is only to be read does not give; others do not.
    let file = if cfg!(windows) { fs::OpenOptions::new().write(true).open(path) } else { fs::File::open(path) };
    match file.and_then(|file| file.sync_all()) {
        // Some disks have no such thing.
        Err(error)
            if !matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::Unsupported | ErrorKind::InvalidInput
            ) =>
        {
            Err(StoreError::io(path, error))
        }
        _ => Ok(()),
    }
}

/// Writes the project's file, which lies in `at` and is read in `to`, anew when it would not mean the same there. One that
/// cannot be read stays.
fn settle(from: &Path, to: &Path, at: &Path, is: As) -> Result<(), Problem> {
    let file = at.join(project_file::FILE_NAME);
    let Ok(before) = project_file::load(&file) else { return Ok(()) };
    let mut project = before.clone();
    rebase(&mut project, from, to);
    let name = |folder: &Path| folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if is == As::Copy || project.name == name(from) {
        project.name = name(to);
    }
    if project != before {
        project_file::save(&project, &file)?;
    }
    Ok(())
}

/// Paths of a project that is read from `to` instead of `from` lead where they led, or to what came along.
fn rebase(project: &mut Project, from: &Path, to: &Path) {
    let fix = |path: &mut String| {
        let (scheme, written) = match named::random(path) {
            Some(rest) => (named::RANDOM, rest),
            None => ("", path.as_str()),
        };
        if !named::is_path(written) {
            return;
        }
        let written = Path::new(written);
        let meant = flat(&from.join(written));
        let now = match meant.strip_prefix(from) {
            // What lies in the project came along; a relative path finds it.
            Ok(_) if written.is_relative() => return,
            Ok(inside) => to.join(inside),
            Err(_) if written.is_relative() => meant,
            Err(_) => return,
        };
        *path = format!("{scheme}{}", now.display());
    };
    fix(&mut project.model.path);
    for source in project.data.train.iter_mut().chain(&mut project.model.adapters) {
        match source {
            Source::Path(path) | Source::Weighted { path, .. } => fix(path),
        }
    }
    if let Validation::Path(path) = &mut project.data.validation {
        fix(path);
    }
    if let Some(path) = &mut project.train.from {
        fix(path);
    }
    project.keep.probes.iter_mut().for_each(fix);
}

/// A path without `.` and `..`, as it is written.
pub(crate) fn flat(path: &Path) -> PathBuf {
    let mut flat = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                flat.pop();
            }
            other => flat.push(other),
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_on_another_disk_is_the_same_one_and_the_old_folder_is_gone() {
        let root = tempfile::tempdir().expect("folder");
        let (from, to) = (root.path().join("tone"), root.path().join("far").join("calm"));
        fs::create_dir_all(from.join("runs/0001")).expect("a folder");
        fs::write(from.join("runs/0001/run.json"), "{}").expect("a file");
        let project = Project::new("tone", "builtin:starter", &["../rows.jsonl".to_owned()], "lora");
        project_file::save(&project, &from.join(project_file::FILE_NAME)).expect("saves");
        let lock = ProjectLock::acquire(&from).expect("nobody works on it");
        carry(&from, &to, Some(lock)).expect("moves");
        assert!(!from.exists() && to.join("runs/0001/run.json").is_file());
        let moved = project_file::load(&to).expect("reads");
        assert_eq!(moved.name, "calm");
        assert_eq!(moved.data.train[0].path(), root.path().join("rows.jsonl").display().to_string());
        assert!(!root.path().join("far").join("calm.partial").exists());
    }

    #[test]
    #[cfg(unix)]
    fn a_folder_that_is_named_by_a_link_is_not_copied_into_itself() {
        let root = tempfile::tempdir().expect("folder");
        let (own, link) = (root.path().join("tone"), root.path().join("link"));
        fs::create_dir(&own).expect("a folder");
        let project = Project::new("tone", "builtin:starter", &[], "lora");
        project_file::save(&project, &own.join(project_file::FILE_NAME)).expect("saves");
        std::os::unix::fs::symlink(&own, &link).expect("a link");
        for refused in [places(&link, &own.join("copy")), places(&own, &link.join("deep").join("copy"))] {
            assert!(matches!(refused, Err(StoreError::Within { .. })), "{refused:?}");
        }
        assert!(places(&link, &root.path().join("copy")).is_ok());
    }

    #[test]
    fn a_disk_that_fills_leaves_no_half_copy_and_says_what_is_needed() {
        let root = tempfile::tempdir().expect("folder");
        let (from, to) = (root.path().join("tone"), root.path().join("copy"));
        fs::create_dir_all(from.join("runs/0001")).expect("a folder");
        let project = Project::new("tone", "builtin:starter", &[], "lora");
        project_file::save(&project, &from.join(project_file::FILE_NAME)).expect("saves");
        fs::write(from.join("own.jsonl"), vec![b'x'; 3 << 20]).expect("a file");
        fs::write(from.join("runs/0001/adapter"), vec![b'y'; 4 << 20]).expect("a file of a run");
        let full = |from: &Path, to: &Path| -> std::io::Result<u64> {
            // Some of it is there already.
            fs::write(to, &fs::read(from)?[..16])?;
            Err(ErrorKind::StorageFull.into())
        };
        for (is, with_runs, needed) in
            [(As::Copy, true, "8 MiB"), (As::Copy, false, "4 MiB"), (As::Itself, true, "8 MiB")]
        {
            let problem = copy(&from, &to, with_runs, is, &full).expect_err("it is full");
            assert!(problem.what.contains("no room") && problem.action.contains(needed), "{problem}");
            assert_eq!(problem.r#where, to.display().to_string());
            let left: Vec<_> = fs::read_dir(root.path()).expect("lists").flatten().map(|at| at.file_name()).collect();
            assert_eq!(left, ["tone"], "no half copy is left");
        }
        assert_eq!(fs::metadata(from.join("own.jsonl")).expect("stays").len(), 3 << 20);
        assert_eq!(fs::metadata(from.join("runs/0001/adapter")).expect("stays").len(), 4 << 20);
        copy(&from, &to, true, As::Copy, &put).expect("there is room now");
    }

    #[test]
    fn paths_lead_where_they_led_or_to_what_came_along() {
        let sources =
            ["rows.jsonl", "/data/p/own.jsonl", "../shared/rows.jsonl", "builtin:starter-data", "/data/x.jsonl"];
        let mut project = Project::new("p", "../models/m.gguf", &sources.map(str::to_owned), "lora");
        project.train.from = Some("run:3@50".to_owned());
        project.keep.probes = vec!["./kept/../kept/a.txt".to_owned()];
        rebase(&mut project, Path::new("/data/p"), Path::new("/disk/q"));
        assert_eq!(project.model.path, "/data/models/m.gguf");
        let paths: Vec<&str> = project.data.train.iter().map(Source::path).collect();
        let now =
            ["rows.jsonl", "/disk/q/own.jsonl", "/data/shared/rows.jsonl", "builtin:starter-data", "/data/x.jsonl"];
        assert_eq!(paths, now);
        assert_eq!(project.train.from.as_deref(), Some("run:3@50"));
        assert_eq!(project.keep.probes, ["./kept/../kept/a.txt"]);
        let mut random = Project::new("p", "random:../c.json", &[], "lora");
        rebase(&mut random, Path::new("/data/p"), Path::new("/disk/q"));
        assert_eq!(random.model.path, "random:/data/c.json");
    }
}
