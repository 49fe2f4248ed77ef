//! Hashes of files that have not changed since they were hashed last.
//!
//! Place in the data flow: every run names the base, the data and the program it started from by their hashes
//! ([`crate::hashes`]). Hashing a model takes a second for every gigabyte or two; whether a file is still the one that was
//! hashed is told by its path, size, times of change and number in the file system. A file that changed within the last
//! moments is hashed again each time: a second change could carry the same time.

use crate::error::Result;
use crate::tensor_file::hash_file;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Files whose last change is not this long ago are not remembered.
const SETTLED: Duration = Duration::from_secs(2);
/// Most files that are remembered.
const MOST_FILES: usize = 4096;

/// A remembered file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    /// What the system says of it.
    identity: String,
    /// SHA-256, hexadecimal.
    sha256: String,
}

/// The remembered files.
#[derive(Debug)]
pub struct Stamps {
    file: Option<PathBuf>,
    settled: Duration,
    known: Mutex<BTreeMap<PathBuf, Stamp>>,
}

impl Stamps {
    /// What `file` remembers; nothing when it is absent or damaged. Without a file nothing is remembered.
    #[must_use]
    pub fn load(file: Option<PathBuf>) -> Self {
        let text = file.as_ref().and_then(|file| std::fs::read(file).ok());
        let known = text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Self { file, settled: SETTLED, known: Mutex::new(known) }
    }

    /// SHA-256 of a file, hexadecimal: remembered, or computed and remembered.
    ///
    /// # Errors
    /// An input error.
    pub fn hash(&self, path: &Path) -> Result<String> {
        let Some((identity, changed)) = identity_of(path) else { return hash_file(path) };
        if let Some(stamp) = self.known.lock().get(path).filter(|stamp| stamp.identity == identity) {
            return Ok(stamp.sha256.clone());
        }
        let settled = SystemTime::now().duration_since(changed).is_ok_and(|since| since >= self.settled);
        let sha256 = hash_file(path)?;
        let unchanged = identity_of(path).is_some_and(|(now, _)| now == identity);
        if self.file.is_some() && settled && unchanged {
            let mut known = self.known.lock();
            if known.len() >= MOST_FILES {
                known.clear();
            }
            known.insert(path.to_path_buf(), Stamp { identity, sha256: sha256.clone() });
        }
        Ok(sha256)
    }

    /// Writes down what is remembered. What goes wrong is told in the log only.
    pub fn save(&self) {
        let Some(file) = &self.file else { return };
        let folder = file.parent().unwrap_or_else(|| Path::new("."));
        let known = self.known.lock().clone();
        let written = std::fs::create_dir_all(folder)
            .and_then(|()| temper_protocol::whole_file::write(file, serde_json::to_vec(&known)?));
        if let Err(error) = written {
            tracing::warn!(file = %file.display(), %error, "the hashes of files could not be remembered");
        }
    }
}

/// What tells one state of a file from another, and when it changed last.
fn identity_of(path: &Path) -> Option<(String, SystemTime)> {
    let meta = std::fs::metadata(path).ok()?;
    let modified = meta.modified().ok()?;
    let since = modified.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let (place, changed) = place_of(&meta, modified);
    Some((format!("{} bytes, {} ns, {place}", meta.len(), since.as_nanos()), changed))
}

/// Where the file system keeps the file, and when anything about it changed last: also a time set back is a change.
#[cfg(unix)]
fn place_of(meta: &Metadata, modified: SystemTime) -> (String, SystemTime) {
    use std::os::unix::fs::MetadataExt as _;
    let (secs, nanos) = (meta.ctime(), meta.ctime_nsec());
    let since = Duration::new(u64::try_from(secs).unwrap_or(0), u32::try_from(nanos).unwrap_or(0));
    let changed = SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(modified);
    (format!("device {} node {} changed {secs}.{nanos:09}", meta.dev(), meta.ino()), changed.max(modified))
}

#[cfg(not(unix))]
fn place_of(meta: &Metadata, modified: SystemTime) -> (String, SystemTime) {
    let created = meta.created().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    (format!("created {}", created.map_or(0, |since| since.as_nanos())), modified)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stamps that trust a file at once, in a folder with one file.
    fn stamps(folder: &Path) -> Stamps {
        Stamps { settled: Duration::ZERO, ..Stamps::load(Some(folder.join("hashes.json"))) }
    }

    /// Puts a lie in place of the remembered hash, so that a test sees whether it was used.
    fn lie(stamps: &Stamps, path: &Path) {
        stamps.known.lock().get_mut(path).expect("remembered").sha256 = "a lie".to_owned();
    }

    #[test]
    fn an_unchanged_file_is_not_read_again_and_a_changed_one_is() {
        let folder = tempfile::tempdir().expect("temp");
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, "one").expect("writes");
        let first = stamps(folder.path());
        let hash = first.hash(&path).expect("hashes");
        assert_eq!(hash, hash_file(&path).expect("hashes"));
        lie(&first, &path);
        first.save();

        let second = stamps(folder.path());
        assert_eq!(second.hash(&path).expect("hashes"), "a lie", "taken from what was remembered");
        // The same size and the same time of modification, but another content.
        let modified = std::fs::metadata(&path).and_then(|meta| meta.modified()).expect("time");
        std::fs::remove_file(&path).expect("removes");
        std::fs::write(&path, "two").expect("writes");
        let file = std::fs::File::options().append(true).open(&path).expect("opens");
        file.set_modified(modified).expect("set back");
        #[cfg(unix)]
        assert_eq!(second.hash(&path).expect("hashes"), hash_file(&path).expect("hashes"));
        std::fs::write(&path, "longer").expect("writes");
        assert_eq!(second.hash(&path).expect("hashes"), hash_file(&path).expect("hashes"));
    }

    #[test]
    fn a_file_that_changed_just_now_is_hashed_each_time() {
        let folder = tempfile::tempdir().expect("temp");
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, "one").expect("writes");
        let stamps = Stamps { settled: Duration::from_secs(3600), ..stamps(folder.path()) };
        stamps.hash(&path).expect("hashes");
        assert!(stamps.known.lock().is_empty());
    }

    #[test]
    fn a_damaged_list_is_an_empty_one_and_is_written_anew() {
        let folder = tempfile::tempdir().expect("temp");
        let (path, list) = (folder.path().join("data.jsonl"), folder.path().join("hashes.json"));
        std::fs::write(&path, "row").expect("writes");
        std::fs::write(&list, "{\"half").expect("damages");
        let damaged = stamps(folder.path());
        assert!(damaged.known.lock().is_empty());
        let hash = damaged.hash(&path).expect("hashes");
        damaged.save();
        let again = stamps(folder.path());
        assert_eq!(again.known.lock().get(&path).map(|stamp| stamp.sha256.clone()), Some(hash));
    }

    #[test]
    fn a_missing_file_is_an_error_that_names_it() {
        let error = Stamps::load(None).hash(Path::new("nowhere.gguf")).expect_err("missing");
        assert!(error.to_string().contains("nowhere.gguf"), "{error}");
    }
}
