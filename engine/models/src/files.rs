//! Reading files whole or mapped, with the path in every error.

use crate::{ModelError, Result};
use std::path::Path;
use temper_nn::{Bytes, NnError};

/// Largest JSON file that is read: configurations and indices are far smaller.
const MOST_JSON_BYTES: u64 = 256 << 20;

/// Maps a file.
pub(crate) fn map(path: &Path) -> Result<Bytes> {
    let information = std::fs::metadata(path).map_err(|error| ModelError::io(path, error))?;
    if !information.is_file() {
        return Err(ModelError::not_a_model(path, "it is no regular file"));
    }
    if information.len() == 0 {
        return Err(ModelError::damaged(path, "it is empty"));
    }
    let map = Bytes::map_file(path).map_err(|error| match error {
        NnError::Io { path, source } => ModelError::Io { path, source },
        other => other.into(),
    })?;
    Ok(Bytes::mapped(&map, 0..map.len())?)
}

/// Reads a JSON file.
pub(crate) fn json(path: &Path) -> Result<serde_json::Value> {
    let size = std::fs::metadata(path).map_err(|error| ModelError::io(path, error))?.len();
    if size > MOST_JSON_BYTES {
        return Err(ModelError::damaged(path, format!("{size} bytes are too many for a JSON file")));
    }
    let bytes = std::fs::read(path).map_err(|error| ModelError::io(path, error))?;
    serde_json::from_slice(&bytes).map_err(|error| ModelError::damaged(path, format!("it is not JSON: {error}")))
}
