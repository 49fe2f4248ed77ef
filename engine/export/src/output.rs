//! Where an export goes: written under a temporary name beside the target, synced, and renamed only when
//! it is complete, so that a crash or a full disk never leaves something that looks finished.

use crate::error::{ExportError, Result};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Read as _, Write};
use std::path::{Path, PathBuf};

/// Name of the sidecar that marks a folder as an export of ours.
pub const SIDECAR: &str = "temper.json";

/// Folder in one that is being written, hidden and no part of the export.
const UNDER_WAY: &str = ".under-way";
/// The file in it, which is locked meanwhile: what nobody locks was left by a program that was killed.
const LOCK: &str = "lock";

/// Where the files of an export lie: a folder, or one GGUF file with its sidecar beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
    single: bool,
}

impl Layout {
    /// The layout of a target: a path that ends in `.gguf` is the file itself.
    #[must_use]
    pub fn of(target: &Path) -> Self {
        let single = target.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
        Self { root: target.to_path_buf(), single }
    }

    /// A folder, whatever its name.
    fn folder(root: &Path) -> Self {
        Self { root: root.to_path_buf(), single: false }
    }

    /// Path of a file of the export; in a single-file layout the one model or adapter file is the target.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        if !self.single {
            return self.root.join(name);
        }
        if name == SIDECAR { self.root.with_extension(SIDECAR) } else { self.root.clone() }
    }

    /// Whether the target is one file, beside which nothing but its sidecar lies.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.single
    }

    /// The target.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Files except the sidecar, as they are named inside an export, with hash and size.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn hashes(&self, single_name: &str) -> Result<Vec<(String, String, u64)>> {
        if self.single {
            let (hash, bytes) = hash_file(&self.root)?;
            return Ok(vec![(single_name.to_owned(), hash, bytes)]);
        }
        let mut files = hash_folder(&self.root)?;
        files.retain(|(name, _, _)| name != SIDECAR);
        Ok(files)
    }
}

/// A folder being written.
pub struct OutputFolder {
    target: PathBuf,
    staging: PathBuf,
    lock: Option<File>,
    finished: bool,
}

impl OutputFolder {
    /// Starts a folder that will end up at `target`.
    ///
    /// # Errors
    /// [`ExportError::Exists`] when `target` holds something else than an earlier export; I/O errors.
    pub fn begin(target: &Path) -> Result<Self> {
        refuse_foreign(target)?;
        let parent = parent_of(target);
        fs::create_dir_all(parent).map_err(ExportError::io(parent))?;
        let (staging, lock) = stage(target)?;
        Ok(Self { target: target.to_path_buf(), staging, lock: Some(lock), finished: false })
    }

    /// Path of a file while it is being written.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.staging.join(name)
    }

    /// The layout while it is being written.
    #[must_use]
    pub fn staging(&self) -> Layout {
        Layout::folder(&self.staging)
    }

    /// Writes a small file and syncs it.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.stream(name, |sink| sink.write_all(bytes))
    }

    /// Writes a file through a buffered sink and syncs it.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn stream(&self, name: &str, fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
        let path = self.path(name);
        let wrap = |error| ExportError::Io { path: self.target.join(name), error };
        let mut sink = BufWriter::with_capacity(1 << 20, File::create(&path).map_err(wrap)?);
        fill(&mut sink).map_err(wrap)?;
        let file = sink.into_inner().map_err(|error| wrap(error.into_error()))?;
        file.sync_all().map_err(wrap)
    }

    /// Moves the files to their target, replacing an earlier export there, or to `<target>.rejected`.
    /// `single_name` is the file that a single-file target stands for.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn finish(mut self, accepted: bool, single_name: &str) -> Result<Layout> {
        let single = Layout::of(&self.target).single;
        let target = if accepted { self.target.clone() } else { with_suffix(&self.target, ".rejected") };
        refuse_foreign(&target)?;
        let layout = Layout { root: target.clone(), single };
        drop(self.lock.take());
        let under_way = self.staging.join(UNDER_WAY);
        fs::remove_dir_all(&under_way).map_err(ExportError::io(&under_way))?;
        if single {
            for name in [single_name, SIDECAR] {
                let place = layout.path(name);
                fs::rename(self.staging.join(name), &place).map_err(ExportError::io(&place))?;
            }
            fs::remove_dir_all(&self.staging).map_err(ExportError::io(&self.staging))?;
        } else {
            if target.exists() {
                fs::remove_dir_all(&target).map_err(ExportError::io(&target))?;
            }
            fs::rename(&self.staging, &target).map_err(ExportError::io(&target))?;
        }
        self.finished = true;
        sync_folder(parent_of(&target));
        Ok(layout)
    }
}

impl Drop for OutputFolder {
    fn drop(&mut self) {
        drop(self.lock.take());
        if !self.finished
            && let Err(error) = fs::remove_dir_all(&self.staging)
        {
            tracing::warn!(path = %self.staging.display(), %error, "a partial export could not be removed");
        }
    }
}

/// Makes a folder beside `target` that nobody else writes into. One that a killed program left is removed; whatever else has
/// its name stays, and another name is taken.
fn stage(target: &Path) -> Result<(PathBuf, File)> {
    let mut number = 1_u32;
    loop {
        let staging = match number {
            1 => with_suffix(target, ".partial"),
            _ => with_suffix(target, &format!(".{number}.partial")),
        };
        match fs::create_dir(&staging) {
            Ok(()) => {
                let lock = lock_in(&staging).map_err(ExportError::io(&staging))?;
                return Ok((staging, lock));
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => match left_behind(&staging) {
                // Held until it is gone, so that nobody else removes what comes in its place.
                Some(_lock) => fs::remove_dir_all(&staging).map_err(ExportError::io(&staging))?,
                None => number += 1,
            },
            Err(error) => return Err(ExportError::Io { path: staging, error }),
        }
    }
}

fn lock_in(staging: &Path) -> std::io::Result<File> {
    let place = staging.join(UNDER_WAY);
    fs::create_dir(&place)?;
    let file = File::create_new(place.join(LOCK))?;
    // Where a disk knows no locks, nothing is taken for left behind.
    let _locked = file.try_lock();
    Ok(file)
}

/// The lock of a folder whose writer is gone; nothing when it goes on, or the folder is none of ours.
fn left_behind(staging: &Path) -> Option<File> {
    let file = File::open(staging.join(UNDER_WAY).join(LOCK)).ok()?;
    file.try_lock().is_ok().then_some(file)
}

/// Empty folders and earlier exports may be replaced, nothing else.
fn refuse_foreign(target: &Path) -> Result<()> {
    if !target.exists() {
        return Ok(());
    }
    let ours = Layout::of(target).path(SIDECAR).is_file() || target.join(SIDECAR).is_file();
    let empty = target.is_dir() && fs::read_dir(target).map_err(ExportError::io(target))?.next().is_none();
    if ours || empty { Ok(()) } else { Err(ExportError::Exists(target.to_path_buf())) }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(suffix);
    path.with_file_name(name)
}

/// Makes a rename durable. Systems that cannot sync a folder (Windows) keep the rename by themselves.
fn sync_folder(folder: &Path) {
    if let Ok(handle) = File::open(folder)
        && let Err(error) = handle.sync_all()
    {
        tracing::debug!(path = %folder.display(), %error, "the folder could not be synced");
    }
}

/// SHA-256 of a file as lower-case hexadecimal, and its size.
///
/// # Errors
/// I/O errors with the path.
pub fn hash_file(path: &Path) -> Result<(String, u64)> {
    let mut file = File::open(path).map_err(ExportError::io(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 20];
    let mut total = 0u64;
    loop {
        let count = file.read(&mut buffer).map_err(ExportError::io(path))?;
        if count == 0 {
            break;
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
        total += count as u64;
    }
    Ok((hex(&hasher.finalize()), total))
}

/// Files of a folder (not of its sub-folders) in order of name, with hash and size.
///
/// # Errors
/// I/O errors with the path.
pub fn hash_folder(folder: &Path) -> Result<Vec<(String, String, u64)>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(ExportError::io(folder))? {
        let entry = entry.map_err(ExportError::io(folder))?;
        if entry.path().is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let (hash, bytes) = hash_file(&folder.join(&name))?;
            Ok((name, hash, bytes))
        })
        .collect()
}

/// Hash over the sorted list of file names and hashes.
#[must_use]
pub fn combined_hash(files: &[(String, String, u64)]) -> String {
    let mut hasher = Sha256::new();
    for (name, hash, _) in files {
        hasher.update(name.as_bytes());
        hasher.update([0]);
        hasher.update(hash.as_bytes());
        hasher.update([b'\n']);
    }
    hex(&hasher.finalize())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_appears_only_when_it_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let output = OutputFolder::begin(&target).unwrap();
        output.write(SIDECAR, b"{}").unwrap();
        assert!(!target.exists());
        assert_eq!(output.finish(true, "x").unwrap().root(), target);
        assert!(target.join(SIDECAR).is_file());
    }

    #[test]
    fn an_abandoned_folder_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let output = OutputFolder::begin(&dir.path().join("out")).unwrap();
        output.write("x", b"1").unwrap();
        drop(output);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_has_the_name_of_an_unfinished_export_stays_unless_a_killed_program_left_it() {
        let dir = tempfile::tempdir().unwrap();
        let (target, partial) = (dir.path().join("out"), dir.path().join("out.partial"));
        fs::create_dir(&partial).unwrap();
        fs::write(partial.join("thesis.txt"), b"precious").unwrap();
        // Two at once, beside a person's folder of that name.
        let (one, other) = (OutputFolder::begin(&target).unwrap(), OutputFolder::begin(&target).unwrap());
        for (output, text) in [(one, b"1"), (other, b"2")] {
            output.write(SIDECAR, b"{}").unwrap();
            output.write("value", text).unwrap();
            output.finish(true, "value").unwrap();
            assert_eq!(fs::read(target.join("value")).unwrap(), text);
            assert!(!target.join(UNDER_WAY).exists());
        }
        assert_eq!(fs::read(partial.join("thesis.txt")).unwrap(), b"precious");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        // What nobody writes into any more gives its space back.
        let left = dir.path().join("out.2.partial");
        fs::create_dir_all(left.join(UNDER_WAY)).unwrap();
        fs::write(left.join(UNDER_WAY).join(LOCK), b"").unwrap();
        fs::write(left.join("half.safetensors"), b"half").unwrap();
        let output = OutputFolder::begin(&target).unwrap();
        assert!(output.path("x").starts_with(&left) && !left.join("half.safetensors").exists());
        drop(output);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_rejected_folder_is_named_so_and_foreign_folders_are_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let output = OutputFolder::begin(&target).unwrap();
        output.write(SIDECAR, b"{}").unwrap();
        assert!(output.finish(false, "x").unwrap().root().ends_with("out.rejected"));
        fs::create_dir(&target).unwrap();
        fs::write(target.join("thesis.txt"), b"precious").unwrap();
        assert!(matches!(OutputFolder::begin(&target), Err(ExportError::Exists(_))));
        assert!(target.join("thesis.txt").is_file());
    }

    #[test]
    fn an_earlier_export_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        for text in [b"1", b"2"] {
            let output = OutputFolder::begin(&target).unwrap();
            output.write(SIDECAR, b"{}").unwrap();
            output.write("value", text).unwrap();
            output.finish(true, "value").unwrap();
        }
        assert_eq!(fs::read(target.join("value")).unwrap(), b"2");
        let files = Layout::of(&target).hashes("value").unwrap();
        assert_eq!(files.iter().map(|file| file.0.as_str()).collect::<Vec<_>>(), ["value"]);
    }

    #[test]
    fn a_target_that_ends_in_gguf_is_the_file_itself() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("merged.gguf");
        for text in [b"1", b"2"] {
            let output = OutputFolder::begin(&target).unwrap();
            output.write(SIDECAR, b"{}").unwrap();
            output.write("model.gguf", text).unwrap();
            let layout = output.finish(true, "model.gguf").unwrap();
            assert_eq!(layout.path("model.gguf"), target);
            assert_eq!(layout.path(SIDECAR), dir.path().join("merged.temper.json"));
        }
        assert_eq!(fs::read(&target).unwrap(), b"2");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        fs::write(dir.path().join("other.gguf"), b"precious").unwrap();
        assert!(matches!(OutputFolder::begin(&dir.path().join("other.gguf")), Err(ExportError::Exists(_))));
    }
}
