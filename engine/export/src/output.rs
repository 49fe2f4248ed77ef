//! Where an export goes: written under a temporary name beside the target, synced, and renamed only when
//! it is complete, so that a crash or a full disk never leaves something that looks finished.

use crate::error::{ExportError, Result};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

/// Name of the sidecar that marks a folder as an export of ours.
pub const SIDECAR: &str = "temper.json";

/// A folder being written.
pub struct OutputFolder {
    target: PathBuf,
    staging: PathBuf,
    finished: bool,
}

impl OutputFolder {
    /// Starts a folder that will end up at `target`.
    ///
    /// # Errors
    /// [`ExportError::Exists`] when `target` holds something else than an earlier export; I/O errors.
    pub fn begin(target: &Path) -> Result<Self> {
        if target.exists() && !is_replaceable(target)? {
            return Err(ExportError::Exists(target.to_path_buf()));
        }
        let parent = parent_of(target);
        fs::create_dir_all(parent).map_err(ExportError::io(parent))?;
        let staging = with_suffix(target, ".partial");
        if staging.exists() {
            fs::remove_dir_all(&staging).map_err(ExportError::io(&staging))?;
        }
        fs::create_dir(&staging).map_err(ExportError::io(&staging))?;
        Ok(Self { target: target.to_path_buf(), staging, finished: false })
    }

    /// Path of a file while it is being written.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.staging.join(name)
    }

    /// The folder while it is being written.
    #[must_use]
    pub fn staging(&self) -> &Path {
        &self.staging
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

    /// Moves the folder to its target, replacing an earlier export there, or to `<target>.rejected`.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn finish(mut self, accepted: bool) -> Result<PathBuf> {
        let target = if accepted { self.target.clone() } else { with_suffix(&self.target, ".rejected") };
        if target.exists() {
            if !is_replaceable(&target)? {
                return Err(ExportError::Exists(target));
            }
            fs::remove_dir_all(&target).map_err(ExportError::io(&target))?;
        }
        fs::rename(&self.staging, &target).map_err(ExportError::io(&target))?;
        self.finished = true;
        sync_folder(parent_of(&target));
        Ok(target)
    }
}

impl Drop for OutputFolder {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = fs::remove_dir_all(&self.staging)
        {
            tracing::warn!(path = %self.staging.display(), %error, "a partial export could not be removed");
        }
    }
}

/// Empty folders and earlier exports may be replaced.
fn is_replaceable(target: &Path) -> Result<bool> {
    if !target.is_dir() {
        return Ok(false);
    }
    let empty = fs::read_dir(target).map_err(ExportError::io(target))?.next().is_none();
    Ok(empty || target.join(SIDECAR).is_file())
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
        assert_eq!(output.finish(true).unwrap(), target);
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
    fn a_rejected_folder_is_named_so_and_foreign_folders_are_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let output = OutputFolder::begin(&target).unwrap();
        output.write(SIDECAR, b"{}").unwrap();
        assert!(output.finish(false).unwrap().ends_with("out.rejected"));
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
            output.finish(true).unwrap();
        }
        assert_eq!(fs::read(target.join("value")).unwrap(), b"2");
        let files = hash_folder(&target).unwrap();
        assert_eq!(files.iter().map(|file| file.0.as_str()).collect::<Vec<_>>(), [SIDECAR, "value"]);
    }
}
