//! One snapshot as a file: what an adapter is at a step, as differences to the snapshot before.
//!
//! ```text
//! 0..8    TEMPSNP1
//! 8..16   step
//! 16..24  step of the snapshot that the values are differences to; all ones where they are the values themselves
//! 24..32  steps between two snapshots when it was written
//! 32..64  SHA-256 of everything else
//! 64..    zstd: length of a JSON text, the text (state of the run, names and shapes), the values
//! ```
//!
//! Whole numbers have 8 bytes, the lowest first. A difference is taken between the bits of two numbers, read as whole
//! numbers: floats of one sign lie in the order of their bits, so that a small change of a number is a small difference, and
//! nothing is rounded. It is folded to a number without sign (0, -1, 1, -2 ... become 0, 1, 2, 3 ...), and [`CHUNK`] of
//! them are laid out byte by byte, the highest bytes first, because those are mostly zeros or alike.

use super::{Entry, Frame};
use crate::checkpoint::Meta;
use crate::error::{Result, TrainError};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::{Read, Write as _};
use std::path::Path;
use temper_protocol::{Code, Problem};

const MAGIC: [u8; 8] = *b"TEMPSNP1";
const HEAD_BYTES: usize = 64;
const HASH: std::ops::Range<usize> = 32..64;
/// Written where a file stands alone.
const ALONE: u64 = u64::MAX;
/// Values that are laid out together.
const CHUNK: usize = 1 << 16;
/// zstd's fastest: the low bytes are noise to every level.
const LEVEL: i32 = 1;

/// What stands before the compressed part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) step: u64,
    /// The snapshot that its values are differences to.
    pub(super) before: Option<u64>,
    /// Steps between two snapshots when it was written.
    pub(super) every: u64,
}

/// The JSON text.
#[derive(Serialize, Deserialize)]
struct Contents<M, E> {
    meta: M,
    tensors: E,
}

/// A file whose hash agrees.
pub(super) struct Whole {
    pub(super) head: Head,
    bytes: Vec<u8>,
}

impl Whole {
    /// Its size, bytes.
    pub(super) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// The problem of a file that cannot be used.
pub(super) fn damaged(path: &Path, why: impl std::fmt::Display) -> TrainError {
    let what = format!("the snapshot is damaged: {why}");
    Problem::new(Code::Io, what, path.display().to_string(), "take another step of the run").into()
}

fn folded(difference: u32) -> u32 {
    (difference << 1) ^ ((difference as i32) >> 31) as u32
}

fn unfolded(code: u32) -> u32 {
    (code >> 1) ^ (code & 1).wrapping_neg()
}

fn hash_of(bytes: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(bytes.get(..HASH.start).unwrap_or_default());
    hash.update(bytes.get(HASH.end..).unwrap_or_default());
    hash.finalize().into()
}

/// The bytes of a file that holds `frame`, as differences to `before` where that is given; both have the same entries then.
///
/// # Errors
/// A state that cannot be written as JSON; no memory for the compression.
pub(super) fn encode(frame: &Frame, before: Option<(u64, &Frame)>, every: u64) -> Result<Vec<u8>> {
    let unwritten = |error: &dyn std::fmt::Display| Problem::internal(format!("a snapshot cannot be written: {error}"));
    let contents = Contents { meta: &frame.meta, tensors: &frame.entries };
    let json = serde_json::to_vec(&contents).map_err(|error| unwritten(&error))?;
    let mut bytes = Vec::with_capacity(HEAD_BYTES + json.len() + 3 * frame.bits.len());
    bytes.extend_from_slice(&MAGIC);
    for number in [frame.meta.state.step, before.map_or(ALONE, |(step, _)| step), every] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.resize(HEAD_BYTES, 0);
    let old = before.map(|(_, frame)| frame.bits.as_slice());
    let mut bytes = compress(bytes, &json, &frame.bits, old).map_err(|error| unwritten(&error))?;
    let hash = hash_of(&bytes);
    if let Some(place) = bytes.get_mut(HASH) {
        place.copy_from_slice(&hash);
    }
    Ok(bytes)
}

fn compress(behind: Vec<u8>, json: &[u8], bits: &[u32], old: Option<&[u32]>) -> std::io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(behind, LEVEL)?;
    encoder.write_all(&(json.len() as u64).to_le_bytes())?;
    encoder.write_all(json)?;
    let mut codes: Vec<u32> = Vec::with_capacity(CHUNK);
    let mut planes: Vec<u8> = Vec::with_capacity(4 * CHUNK);
    let mut old = old.map(|old| old.chunks(CHUNK));
    for chunk in bits.chunks(CHUNK) {
        codes.clear();
        match old.as_mut().and_then(Iterator::next) {
            Some(old) => codes.extend(chunk.iter().zip(old).map(|(new, old)| folded(new.wrapping_sub(*old)))),
            None => codes.extend_from_slice(chunk),
        }
        planes.clear();
        for shift in [24, 16, 8, 0] {
            planes.extend(codes.iter().map(|code| (code >> shift) as u8));
        }
        encoder.write_all(&planes)?;
    }
    encoder.finish()
}

/// Reads a file and checks its hash.
///
/// # Errors
/// A file that cannot be read, is no snapshot or does not match its hash.
pub(super) fn read(path: &Path) -> Result<Whole> {
    let bytes = fs::read(path).map_err(|error| TrainError::io(path, error))?;
    let number = |at: usize| bytes.get(at..at + 8).and_then(|part| part.try_into().ok()).map(u64::from_le_bytes);
    if bytes.get(..8) != Some(MAGIC.as_slice()) {
        return Err(damaged(path, "it does not begin as one"));
    }
    let (Some(step), Some(before), Some(every)) = (number(8), number(16), number(24)) else {
        return Err(damaged(path, "it is cut off"));
    };
    if bytes.get(HASH) != Some(hash_of(&bytes).as_slice()) {
        return Err(damaged(path, "its content does not match its hash"));
    }
    let before = Some(before).filter(|before| *before != ALONE);
    if before.is_some_and(|before| before >= step) {
        return Err(damaged(path, "it builds on a later step"));
    }
    Ok(Whole { head: Head { step, before, every }, bytes })
}

/// The state that a file holds; `before` is the one that it builds on.
///
/// # Errors
/// A file whose content does not fit itself or `before`.
pub(super) fn decode(path: &Path, file: &Whole, before: Option<&Frame>) -> Result<Frame> {
    let body = file.bytes.get(HEAD_BYTES..).unwrap_or_default();
    let mut decoder = zstd::Decoder::new(body).map_err(|error| damaged(path, error))?;
    let mut length = [0u8; 8];
    decoder.read_exact(&mut length).map_err(|error| damaged(path, error))?;
    let mut json = Vec::new();
    let length = u64::from_le_bytes(length);
    Read::by_ref(&mut decoder).take(length).read_to_end(&mut json).map_err(|error| damaged(path, error))?;
    let Contents { meta, tensors }: Contents<Meta, Vec<Entry>> =
        serde_json::from_slice(&json).map_err(|error| damaged(path, error))?;
    if meta.state.step != file.head.step {
        return Err(damaged(path, "its state is that of another step"));
    }
    let elements = |entry: &Entry| entry.shape.iter().try_fold(1usize, |all, side| all.checked_mul(*side));
    let count = tensors.iter().try_fold(0usize, |all, entry| all.checked_add(elements(entry)?));
    let count = count.ok_or_else(|| damaged(path, "its shapes are no sizes"))?;
    let old = match (file.head.before, before) {
        (None, _) => None,
        (Some(_), Some(before)) if before.entries == tensors => Some(before.bits.as_slice()),
        (Some(step), _) => return Err(damaged(path, format!("it does not fit step {step}, which it builds on"))),
    };
    let bits = values(&mut decoder, count, old).map_err(|error| damaged(path, error))?;
    Ok(Frame { meta, entries: tensors, bits })
}

fn values(from: &mut impl Read, count: usize, old: Option<&[u32]>) -> std::io::Result<Vec<u32>> {
    let mut bits: Vec<u32> = Vec::new();
    let mut planes = Vec::new();
    let mut old = old.map(|old| old.chunks(CHUNK));
    while bits.len() < count {
        let width = CHUNK.min(count - bits.len());
        planes.resize(4 * width, 0);
        from.read_exact(&mut planes)?;
        let first = bits.len();
        bits.resize(first + width, 0);
        let now = bits.get_mut(first..).unwrap_or_default();
        for plane in planes.chunks_exact(width) {
            now.iter_mut().zip(plane).for_each(|(code, byte)| *code = (*code << 8) | u32::from(*byte));
        }
        if let Some(old) = old.as_mut().and_then(Iterator::next) {
            now.iter_mut().zip(old).for_each(|(code, old)| *code = unfolded(*code).wrapping_add(*old));
        }
    }
    match from.read(&mut [0])? {
        0 => Ok(bits),
        _ => Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "there is more in it than its shapes say")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_keeps_every_difference_and_makes_small_ones_small() {
        for (difference, code) in [(0, 0), (-1, 1), (1, 2), (-2, 3), (i32::MAX, u32::MAX - 1), (i32::MIN, u32::MAX)] {
            assert_eq!(folded(difference as u32), code);
            assert_eq!(unfolded(code), difference as u32);
        }
    }
}
