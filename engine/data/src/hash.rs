//! SHA-256 of files and values: names of cache entries, fingerprints, and the numbers that decide on
//! which side of a split a row lies.

use crate::DataError;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

/// SHA-256 over parts, each preceded by its length so that no two lists of parts collide.
pub(crate) fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The first eight bytes of a SHA-256 as a number.
pub(crate) fn number(digest: &[u8; 32]) -> u64 {
    let mut first = [0_u8; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

/// SHA-256 of a file, read in pieces.
///
/// # Errors
/// [`DataError::Io`], or [`DataError::Cancelled`] when `cancel` says so between two pieces.
pub(crate) fn of_file(path: &Path, cancel: &dyn Fn() -> bool) -> Result<[u8; 32], DataError> {
    let mut file = File::open(path).map_err(|error| DataError::io("cannot open the file", path, error))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 20];
    loop {
        if cancel() {
            return Err(DataError::Cancelled);
        }
        let read = file.read(&mut buffer).map_err(|error| DataError::io("cannot read the file", path, error))?;
        if read == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(&buffer[..read]);
    }
}
