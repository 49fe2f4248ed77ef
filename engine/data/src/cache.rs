//! Tokenised files on disk, named by the hash of everything they depend on.
//!
//! An entry is: magic, length of the head (u64), head (JSON), rows, SHA-256 of all before. All numbers are
//! little-endian. A row is line (u64), key (u64), cut (u8), length (u32), ids (u32 each), marks (one bit
//! each, lowest first). An entry is written under another name and renamed; one that is damaged in any
//! way counts as absent and is written anew.

use crate::dataset::{EncodedFile, EncodedRow};
use crate::hash;
use sha2::{Digest as _, Sha256};
use std::io::Write as _;
use std::path::Path;

/// Changes whenever reading, masking or chunking changes, so that old entries are not used.
const MAGIC: &[u8; 8] = b"TMPTOK01";
const DIGEST_BYTES: usize = 32;

/// File name of the entry with this key.
pub(crate) fn entry_name(key: &[u8; 32]) -> String {
    format!("{}.tokens", hash::hex(key.get(..20).unwrap_or(key)))
}

fn to_bytes(file: &EncodedFile) -> std::io::Result<Vec<u8>> {
    let head = serde_json::to_vec(file)?;
    let tokens: usize = file.rows.iter().map(|row| row.ids.len()).sum();
    let mut bytes = Vec::with_capacity(head.len() + tokens * 5 + file.rows.len() * 24 + 64);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&(head.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(&(file.rows.len() as u64).to_le_bytes());
    for row in &file.rows {
        bytes.extend_from_slice(&row.line.to_le_bytes());
        bytes.extend_from_slice(&row.key.to_le_bytes());
        bytes.push(u8::from(row.cut));
        bytes.extend_from_slice(&(row.ids.len() as u32).to_le_bytes());
        for id in &row.ids {
            bytes.extend_from_slice(&id.to_le_bytes());
        }
        for marks in row.trained.chunks(8) {
            let byte = marks.iter().enumerate().fold(0_u8, |byte, (bit, mark)| byte | (u8::from(*mark) << bit));
            bytes.push(byte);
        }
    }
    let digest = Sha256::digest(&bytes);
    bytes.extend_from_slice(&digest);
    Ok(bytes)
}

/// Writes an entry: temporary file in the same folder, flushed to disk, renamed.
pub(crate) fn store(path: &Path, file: &EncodedFile) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(dir)?;
    let bytes = to_bytes(file)?;
    let temporary = path.with_extension(format!("part-{}", std::process::id()));
    let written = std::fs::File::create(&temporary).and_then(|mut out| {
        out.write_all(&bytes)?;
        out.sync_all()
    });
    let renamed = written.and_then(|()| std::fs::rename(&temporary, path));
    if renamed.is_err() {
        // Nothing half-written may stay behind; the first error is the one worth telling.
        let _already_failed = std::fs::remove_file(&temporary);
    }
    renamed
}

/// Reads an entry; `None` when it is absent or damaged.
pub(crate) fn load(path: &Path) -> Option<EncodedFile> {
    let bytes = std::fs::read(path).ok()?;
    let read = from_bytes(&bytes);
    if read.is_none() {
        tracing::warn!(path = %path.display(), "a cache entry is damaged and is made again");
    }
    read
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }
}

fn from_bytes(bytes: &[u8]) -> Option<EncodedFile> {
    let (content, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST_BYTES)?)?;
    if Sha256::digest(content).as_slice() != digest {
        return None;
    }
    let mut cursor = Cursor { rest: content.strip_prefix(MAGIC)? };
    let head_bytes = usize::try_from(cursor.u64()?).ok()?;
    let mut file: EncodedFile = serde_json::from_slice(cursor.take(head_bytes)?).ok()?;
    let count = cursor.u64()?;
    for _ in 0..count {
        let (line, key) = (cursor.u64()?, cursor.u64()?);
        let cut = cursor.take(1)? == [1];
        let length = cursor.u32()? as usize;
        let ids = cursor.take(length.checked_mul(4)?)?.chunks_exact(4);
        let ids: Vec<u32> = ids.filter_map(|id| Some(u32::from_le_bytes(id.try_into().ok()?))).collect();
        let marks = cursor.take(length.div_ceil(8))?;
        let trained = (0..length).map(|at| marks.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)).collect();
        file.rows.push(EncodedRow { line, key, ids, trained, cut });
    }
    cursor.rest.is_empty().then_some(file)
}
