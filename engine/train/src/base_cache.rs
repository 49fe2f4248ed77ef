//! What earlier runs found out about a base, by the hash of everything it depends on.
//!
//! Place in the data flow: [`crate::start`] asks here before it measures and hands in what it measured; [`crate::probes`]
//! keeps the base's hidden states here. An entry is one file: a magic word, the SHA-256 of the rest, the rest. It is
//! written under another name and renamed; one that is damaged in any way counts as absent and is written anew. A cache
//! never fails a run: what cannot be read or written is measured again.

use crate::error::{Result, TrainError};
use crate::tensor_file::{FileSum, hex};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use temper_protocol::whole_file::Unfinished;

/// Changes when the form of an entry changes.
const MAGIC: &[u8; 8] = b"TMPBASE1";
/// Most bytes of all entries together; the ones not used for longest go first.
const MOST_BYTES: u64 = 1 << 30;
/// Bytes copied at a time.
const BLOCK: usize = 1 << 20;
/// Ending of an entry's name.
const ENDING: &str = "base";

/// A folder of entries, or none.
#[derive(Debug, Clone)]
pub struct BaseCache {
    folder: Option<PathBuf>,
    most_bytes: u64,
}

impl BaseCache {
    /// Entries in `folder`, which is made when the first is written; without a folder nothing is kept.
    #[must_use]
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, most_bytes: MOST_BYTES }
    }

    /// The same with another limit on the bytes of all entries together.
    #[must_use]
    pub fn with_limit(self, most_bytes: u64) -> Self {
        Self { most_bytes, ..self }
    }

    /// The value kept under `key`; `None` when there is none or it is damaged.
    #[must_use]
    pub fn value<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let path = self.entry(key)?;
        let mut payload = Vec::new();
        let (mut reader, digest) = open(&path)?;
        reader.read_to_end(&mut payload).ok()?;
        let value = serde_json::from_slice(&payload).ok();
        if Sha256::digest(&payload).as_slice() != digest || value.is_none() {
            tracing::warn!(path = %path.display(), "a cache entry is damaged and is made again");
            return None;
        }
        touch(&path);
        value
    }

    /// Keeps a value under `key`.
    pub fn keep_value<T: Serialize>(&self, key: &str, value: &T) {
        let Ok(payload) = serde_json::to_vec(value) else { return };
        let digest: [u8; 32] = Sha256::digest(&payload).into();
        self.write(key, &digest, |out| out.write_all(&payload));
    }

    /// Copies the file kept under `key` to `to`. `None` when there is none or it is damaged; what stands at `to` is
    /// then unusable.
    ///
    /// # Errors
    /// `to` cannot be written.
    pub fn file(&self, key: &str, to: &Path) -> Result<Option<FileSum>> {
        let Some(path) = self.entry(key) else { return Ok(None) };
        let Some((mut reader, digest)) = open(&path) else { return Ok(None) };
        // Not synced: whoever reads the copy checks its sum.
        let failed = |error| TrainError::io(to, error);
        let mut out = File::create(to).map_err(failed)?;
        let (mut hash, mut bytes, mut block) = (Sha256::new(), 0, vec![0; BLOCK]);
        loop {
            let Ok(count) = reader.read(&mut block) else { return Ok(None) };
            let piece = block.get(..count).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            hash.update(piece);
            bytes += count as u64;
            out.write_all(piece).map_err(failed)?;
        }
        if hash.finalize().as_slice() != digest {
            tracing::warn!(path = %path.display(), "a cache entry is damaged and is made again");
            return Ok(None);
        }
        touch(&path);
        Ok(Some(FileSum { bytes, sha256: hex(&digest) }))
    }

    /// Keeps a copy of the file `from`, whose sum is `sum`, under `key`.
    pub fn keep_file(&self, key: &str, from: &Path, sum: &FileSum) {
        let Some(digest) = unhex(&sum.sha256) else { return };
        self.write(key, &digest, |out| {
            let mut file = File::open(from)?;
            std::io::copy(&mut file, out).map(|_bytes| ())
        });
    }

    fn entry(&self, key: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{key}.{ENDING}")))
    }

    /// Writes an entry and makes room for it. What goes wrong is told in the log only.
    fn write(&self, key: &str, digest: &[u8; 32], body: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) {
        let (Some(folder), Some(path)) = (&self.folder, self.entry(key)) else { return };
        let written = std::fs::create_dir_all(folder).and_then(|()| {
            let (unfinished, file) = Unfinished::beside(&path)?;
            let mut out = BufWriter::with_capacity(BLOCK, file);
            out.write_all(MAGIC)?;
            out.write_all(digest)?;
            body(&mut out)?;
            out.flush()?;
            drop(out);
            // Not synced: an entry that a power cut leaves half-written is found to be damaged.
            unfinished.put(&path)
        });
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "what was measured of the base could not be cached");
        } else if let Err(error) = self.make_room(folder, &path) {
            tracing::warn!(folder = %folder.display(), %error, "the cache could not be tidied");
        }
    }

    /// Removes the entries that were not used for longest until the rest is within the limit; never `newest`.
    fn make_room(&self, folder: &Path, newest: &Path) -> std::io::Result<()> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == ENDING) {
                let meta = path.metadata()?;
                entries.push((meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), meta.len(), path));
            }
        }
        entries.sort();
        let mut total: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in entries {
            if total <= self.most_bytes {
                break;
            }
            if path != newest {
                std::fs::remove_file(&path)?;
                total -= bytes;
            }
        }
        Ok(())
    }
}

/// An entry's reader, placed behind the digest that its rest should have.
fn open(path: &Path) -> Option<(BufReader<File>, [u8; 32])> {
    let mut reader = BufReader::with_capacity(BLOCK, File::open(path).ok()?);
    let (mut magic, mut digest) = ([0; MAGIC.len()], [0; 32]);
    reader.read_exact(&mut magic).ok()?;
    reader.read_exact(&mut digest).ok()?;
    (magic == *MAGIC).then_some((reader, digest))
}

/// Marks an entry as used just now.
fn touch(path: &Path) {
    let touched = File::options().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
    if let Err(error) = touched {
        tracing::debug!(path = %path.display(), %error, "the cache entry could not be marked as used");
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::Exact;
    use std::time::Duration;

    fn cache(folder: &tempfile::TempDir) -> BaseCache {
        BaseCache::new(Some(folder.path().join("base")))
    }

    fn entries(folder: &tempfile::TempDir) -> Vec<PathBuf> {
        let all = std::fs::read_dir(folder.path().join("base")).expect("folder");
        let mut all: Vec<PathBuf> = all.map(|entry| entry.expect("entry").path()).collect();
        all.sort();
        all
    }

    #[test]
    fn values_come_back_bit_for_bit_and_only_under_their_key() {
        let folder = tempfile::tempdir().expect("temp");
        let cache = cache(&folder);
        let values = vec![Exact(0.1 + 0.2), Exact(f64::NAN), Exact(-1e-300)];
        assert!(cache.value::<Vec<Exact>>("one").is_none());
        cache.keep_value("one", &values);
        let back: Vec<Exact> = cache.value("one").expect("kept");
        let bits = |values: &[Exact]| values.iter().map(|value| value.0.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back)[..1], bits(&values)[..1]);
        assert!(back[1].0.is_nan() && back[2] == values[2]);
        assert!(cache.value::<Vec<Exact>>("two").is_none());
        assert!(BaseCache::new(None).value::<Vec<Exact>>("one").is_none());
        assert_eq!(entries(&folder).len(), 1, "no temporary file is left");
    }

    #[test]
    fn a_damaged_entry_is_absent_and_is_written_anew() {
        let folder = tempfile::tempdir().expect("temp");
        let cache = cache(&folder);
        cache.keep_value("one", &"text");
        let path = entries(&folder).pop().expect("an entry");
        let whole = std::fs::read(&path).expect("reads");
        let mut changed = whole.clone();
        *changed.last_mut().expect("bytes") ^= 1;
        for bytes in [&whole[..0], &whole[..20], &whole[..whole.len() - 1], &changed] {
            std::fs::write(&path, bytes).expect("damages");
            assert!(cache.value::<String>("one").is_none(), "{} bytes", bytes.len());
        }
        cache.keep_value("one", &"text");
        assert_eq!(cache.value::<String>("one").as_deref(), Some("text"));
        assert!(cache.value::<u64>("one").is_none(), "another type is not the value either");
    }

    #[test]
    fn files_are_copied_with_their_sum_and_damage_is_seen() {
        let folder = tempfile::tempdir().expect("temp");
        let cache = cache(&folder);
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let content: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
        let sum = crate::tensor_file::write_file(&from, |writer| writer.write_all(&content)).expect("writes");
        assert!(cache.file("hidden", &to).expect("no error").is_none());
        cache.keep_file("hidden", &from, &sum);
        assert_eq!(cache.file("hidden", &to).expect("no error"), Some(sum));
        assert_eq!(std::fs::read(&to).expect("reads"), content);
        let path = entries(&folder).pop().expect("an entry");
        let mut bytes = std::fs::read(&path).expect("reads");
        bytes[2_000_000] ^= 4;
        std::fs::write(&path, bytes).expect("damages");
        assert!(cache.file("hidden", &to).expect("no error").is_none());
    }

    #[test]
    fn the_entry_not_used_for_longest_makes_room() {
        let folder = tempfile::tempdir().expect("temp");
        let cache = cache(&folder).with_limit(300);
        let text = "x".repeat(80);
        for (age, key) in [(30, "a"), (20, "b")] {
            cache.keep_value(key, &text);
            let file = File::options().append(true).open(cache.entry(key).expect("path")).expect("opens");
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).expect("aged");
        }
        // Reading is using.
        assert!(cache.value::<String>("a").is_some());
        cache.keep_value("c", &text);
        assert!(cache.value::<String>("b").is_none(), "the oldest went");
        assert!(cache.value::<String>("a").is_some() && cache.value::<String>("c").is_some());
        cache.clone().with_limit(10).keep_value("d", &text);
        assert!(cache.value::<String>("d").is_some(), "the newest stays, however large");
        assert_eq!(entries(&folder).len(), 1);
    }
}
