//! `builtin:NAME`: what the program carries inside itself, as files.
//!
//! Place in the data flow: models, data and probe sets are read from paths, so the bytes inside the
//! program are written to the person's cache folder when they are first needed. A folder there is named
//! after the hash of its content, appears by a rename, and is compared with the program before use, so
//! that a damaged or foreign file is never trained on.

use crate::embedded::{BUILTINS, EXAMPLES, EmbeddedFolder};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use temper_protocol::{Code, Problem};

/// What stands before the name of something bundled.
pub const PREFIX: &str = temper_protocol::named::BUILTIN;

/// The bundled files, written out on first use.
#[derive(Debug)]
pub struct Builtins {
    root: PathBuf,
    /// Where each name was found or written in this process.
    ready: Mutex<BTreeMap<&'static str, PathBuf>>,
    /// Keeps a folder of its own when the person has no cache folder.
    _temporary: Option<tempfile::TempDir>,
}

impl Builtins {
    /// Bundled files in the person's cache folder.
    ///
    /// # Errors
    /// There is neither a cache folder nor room for a temporary one.
    pub fn in_cache_folder() -> Result<Self, Problem> {
        if let Some(folders) = directories::ProjectDirs::from("", "", "temper") {
            return Ok(Self::at(folders.cache_dir().join("builtin")));
        }
        let temporary = tempfile::tempdir().map_err(|error| cannot_write(Path::new("temporary folder"), &error))?;
        let root = temporary.path().to_path_buf();
        Ok(Self { root, ready: Mutex::default(), _temporary: Some(temporary) })
    }

    /// Bundled files under `root`.
    #[must_use]
    pub fn at(root: PathBuf) -> Self {
        Self { root, ready: Mutex::default(), _temporary: None }
    }

    /// The file or folder that `builtin:NAME` stands for.
    ///
    /// # Errors
    /// No such name, or the cache folder cannot be written.
    pub fn path(&self, name: &str) -> Result<PathBuf, Problem> {
        let short = name.strip_prefix(PREFIX).unwrap_or(name);
        let folder = find(BUILTINS, short).ok_or_else(|| {
            let known: Vec<String> = BUILTINS.iter().map(|folder| format!("{PREFIX}{}", folder.name)).collect();
            Problem::new(
                Code::NotFound,
                format!("nothing called \"{short}\" is bundled"),
                name,
                format!("choose one of: {}", known.join(", ")),
            )
        })?;
        let mut ready = self.ready.lock();
        let place = match ready.get(folder.name) {
            Some(place) if place.exists() => place.clone(),
            _ => {
                let place = self.materialise(folder)?;
                ready.insert(folder.name, place.clone());
                place
            }
        };
        Ok(folder.entry.map_or_else(|| place.clone(), |entry| place.join(entry)))
    }

    /// Writes the folder unless it is there as it should be.
    fn materialise(&self, folder: &EmbeddedFolder) -> Result<PathBuf, Problem> {
        let target = self.root.join(format!("{}-{}", folder.name, short_hash(folder)));
        if is_same(folder, &target) {
            return Ok(target);
        }
        let fail = |error: std::io::Error| cannot_write(&target, &error);
        std::fs::create_dir_all(&self.root).map_err(fail)?;
        let staging = tempfile::Builder::new().prefix(".unfinished-").tempdir_in(&self.root).map_err(fail)?;
        write_files(folder, staging.path()).map_err(fail)?;
        if target.exists() {
            tracing::warn!(folder = %target.display(), "a bundled folder was damaged and is written anew");
            let old = staging.path().with_extension("old");
            std::fs::rename(&target, &old).map_err(fail)?;
            std::fs::remove_dir_all(&old).map_err(fail)?;
        }
        let staged = staging.keep();
        match std::fs::rename(&staged, &target) {
            Ok(()) => Ok(target),
            // Another engine was faster.
            Err(_) if is_same(folder, &target) => {
                std::fs::remove_dir_all(&staged).map_err(fail)?;
                Ok(target)
            }
            Err(error) => Err(fail(error)),
        }
    }
}

/// Names behind `builtin:`.
#[must_use]
pub fn names() -> Vec<&'static str> {
    BUILTINS.iter().map(|folder| folder.name).collect()
}

/// Names of the example projects.
#[must_use]
pub fn examples() -> Vec<&'static str> {
    EXAMPLES.iter().map(|folder| folder.name).collect()
}

/// Writes the example project `name` into `dir`, which must not hold a project yet.
///
/// # Errors
/// No such example, something is there already, or the folder cannot be written.
pub fn copy_example(name: &str, dir: &Path) -> Result<(), Problem> {
    let folder = find(EXAMPLES, name).ok_or_else(|| {
        Problem::new(
            Code::NotFound,
            format!("there is no example \"{name}\""),
            name,
            format!("choose one of: {}", examples().join(", ")),
        )
    })?;
    for file in folder.files {
        if dir.join(file.name).exists() {
            return Err(Problem::new(
                Code::Refused,
                format!("{} is there already", file.name),
                dir.display().to_string(),
                "choose an empty folder, or open the project that is there",
            ));
        }
    }
    std::fs::create_dir_all(dir).and_then(|()| write_files(folder, dir)).map_err(|error| cannot_write(dir, &error))
}

fn find<'a>(folders: &'a [EmbeddedFolder], name: &str) -> Option<&'a EmbeddedFolder> {
    folders.iter().find(|folder| folder.name == name)
}

/// The first characters of the hash over names and contents.
fn short_hash(folder: &EmbeddedFolder) -> String {
    let mut hash = Sha256::new();
    for file in folder.files {
        hash.update(file.name.as_bytes());
        hash.update((file.bytes.len() as u64).to_le_bytes());
        hash.update(file.bytes);
    }
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether every file is there, byte for byte.
fn is_same(folder: &EmbeddedFolder, place: &Path) -> bool {
    folder.files.iter().all(|file| std::fs::read(place.join(file.name)).is_ok_and(|bytes| bytes == file.bytes))
}

/// Writes the files and waits until they are on the disk.
fn write_files(folder: &EmbeddedFolder, place: &Path) -> std::io::Result<()> {
    for file in folder.files {
        let mut out = std::fs::File::create(place.join(file.name))?;
        out.write_all(file.bytes)?;
        out.sync_all()?;
    }
    Ok(())
}

fn cannot_write(place: &Path, error: &std::io::Error) -> Problem {
    Problem::new(
        Code::Io,
        format!("bundled files cannot be written: {error}"),
        place.display().to_string(),
        "make room there and check that you may write to it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundled_files_appear_whole_and_damage_is_repaired() {
        let folder = tempfile::tempdir().expect("folder");
        let data = Builtins::at(folder.path().join("cache")).path("builtin:starter-data").expect("data");
        let whole = std::fs::read(&data).expect("reads");
        assert!(whole.starts_with(b"{") && data.ends_with("data.jsonl"));
        std::fs::write(&data, b"damaged").expect("writes");
        let again = Builtins::at(folder.path().join("cache")).path("builtin:starter-data").expect("data");
        assert_eq!(again, data);
        assert_eq!(std::fs::read(&data).expect("reads"), whole);
        let left: Vec<_> = std::fs::read_dir(folder.path().join("cache")).expect("lists").collect();
        assert_eq!(left.len(), 1, "nothing unfinished stays: {left:?}");
    }

    #[test]
    fn every_name_resolves_and_an_unknown_one_lists_them() {
        let folder = tempfile::tempdir().expect("folder");
        let builtins = Builtins::at(folder.path().to_path_buf());
        for name in names() {
            assert!(builtins.path(name).expect("resolves").exists(), "{name}");
        }
        let problem = builtins.path("builtin:startre").expect_err("unknown");
        assert!(problem.action.contains("builtin:starter"), "{problem}");
    }

    #[test]
    fn an_example_is_copied_once_and_never_over_something() {
        let folder = tempfile::tempdir().expect("folder");
        let dir = folder.path().join("new").join("quickstart");
        copy_example("quickstart", &dir).expect("copies");
        let project = temper_protocol::project_file::load(&dir).expect("is a project");
        assert_eq!(project.name, "quickstart");
        assert_eq!(copy_example("quickstart", &dir).expect_err("refuses").code, Code::Refused);
        assert_eq!(copy_example("quickstrat", &dir).expect_err("unknown").code, Code::NotFound);
    }
}
