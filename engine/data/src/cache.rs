//! Tokenised files on disk, named by the hash of everything they depend on.
//!
//! An entry is: magic, length of the head (u64), head (JSON), rows, SHA-256 of all before. All numbers are
//! little-endian. A row is line (u64), key (u64), cut (u8), length (u32), ids (u32 each), marks (one bit
//! each, lowest first). An entry is written under another name and renamed; one that is damaged in any
//! way counts as absent and is written anew.

use crate::dataset::{EncodedFile, EncodedRow};
use crate::hash;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use temper_protocol::whole_file::Unfinished;

/// Changes whenever reading, masking or chunking changes, so that old entries are not used.
const MAGIC: &[u8; 8] = b"TMPTOK02";

/// File name of the entry with this key.
pub(crate) fn entry_name(key: &[u8; 32]) -> String {
    format!("{}.tokens", hash::hex(key.get(..20).unwrap_or(key)))
}

/// Writes on and hashes what passes.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
}

impl<W: Write> Hashing<W> {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hasher.update(bytes);
        self.inner.write_all(bytes)
    }
}

fn write_entry(file: &EncodedFile, out: impl Write) -> std::io::Result<()> {
    let mut out = Hashing { inner: out, hasher: Sha256::new() };
    let head = serde_json::to_vec(file)?;
    out.put(MAGIC)?;
    out.put(&(head.len() as u64).to_le_bytes())?;
    out.put(&head)?;
    out.put(&(file.rows.len() as u64).to_le_bytes())?;
    let mut bytes = Vec::new();
    for row in &file.rows {
        bytes.clear();
        bytes.extend_from_slice(&row.line.to_le_bytes());
        bytes.extend_from_slice(&row.key.to_le_bytes());
        bytes.push(u8::from(row.cut));
        bytes.extend_from_slice(&(row.ids.len() as u32).to_le_bytes());
        for id in &row.ids {
            bytes.extend_from_slice(&id.to_le_bytes());
        }
        for marks in row.trained.chunks(8) {
            bytes.push(marks.iter().enumerate().fold(0_u8, |byte, (bit, mark)| byte | (u8::from(*mark) << bit)));
        }
        out.put(&bytes)?;
    }
    let digest = out.hasher.finalize();
    out.inner.write_all(&digest)?;
    out.inner.flush()
}

/// Writes an entry: temporary file in the same folder, flushed to disk, renamed.
pub(crate) fn store(path: &Path, file: &EncodedFile) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(dir)?;
    let (unfinished, out) = Unfinished::beside(path)?;
    write_entry(file, BufWriter::new(&out))?;
    out.sync_all()?;
    drop(out);
    unfinished.put(path)
}

/// Reads an entry; `None` when it is absent or damaged.
pub(crate) fn load(path: &Path) -> Option<EncodedFile> {
    let file = File::open(path).ok()?;
    let left = file.metadata().ok()?.len();
    let mut reader = Checked { inner: BufReader::with_capacity(1 << 18, file), hasher: Sha256::new(), left };
    let read = reader.entry();
    if read.is_none() {
        tracing::warn!(path = %path.display(), "a cache entry is damaged and is made again");
    }
    read
}

/// Reads on and hashes what passes. Lengths come from a file that may be damaged: none is believed that
/// goes beyond its end.
struct Checked<R> {
    inner: R,
    hasher: Sha256,
    left: u64,
}

impl<R: Read> Checked<R> {
    fn take(&mut self, count: u64) -> Option<Vec<u8>> {
        self.left = self.left.checked_sub(count)?;
        let mut bytes = vec![0; usize::try_from(count).ok()?];
        self.inner.read_exact(&mut bytes).ok()?;
        self.hasher.update(&bytes);
        Some(bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn row(&mut self) -> Option<EncodedRow> {
        let (line, key) = (self.u64()?, self.u64()?);
        let cut = self.take(1)? == [1];
        let length = self.u32()?;
        let ids = self.take(u64::from(length) * 4)?;
        let ids = ids.chunks_exact(4).filter_map(|id| Some(u32::from_le_bytes(id.try_into().ok()?))).collect();
        let marks = self.take(u64::from(length).div_ceil(8))?;
        let mark = |at: usize| marks.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
        Some(EncodedRow { line, key, ids, trained: (0..length as usize).map(mark).collect(), cut })
    }

    fn entry(&mut self) -> Option<EncodedFile> {
        if self.take(MAGIC.len() as u64)? != MAGIC {
            return None;
        }
        let head_bytes = self.u64()?;
        let mut file: EncodedFile = serde_json::from_slice(&self.take(head_bytes)?).ok()?;
        for _ in 0..self.u64()? {
            file.rows.push(self.row()?);
        }
        let digest = std::mem::take(&mut self.hasher).finalize();
        let stored = self.take(digest.len() as u64)?;
        (self.left == 0 && stored == digest.as_slice()).then_some(file)
    }
}
