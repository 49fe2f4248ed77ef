//! What can go wrong between a file and a batch, and its conversion to the one form in which errors
//! leave the engine.

use std::path::Path;
use temper_protocol::{Code, Problem};

/// An error of the data crate. Every variant says what happened, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Reading or writing failed.
    #[error("{what} ({place}): {source}")]
    Io {
        /// What was tried.
        what: String,
        /// File or folder.
        place: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A tokenizer or chat template is missing, damaged or of an unknown kind.
    #[error("{what} ({place}); {action}")]
    Tokenizer {
        /// What happened.
        what: String,
        /// File, token or template line.
        place: String,
        /// What to do.
        action: String,
    },
    /// A data file is damaged, empty, not understood, or has nothing to train on.
    #[error("{what} ({place}); {action}")]
    Data {
        /// What happened.
        what: String,
        /// File and line.
        place: String,
        /// What to do.
        action: String,
    },
    /// A file that is refused for safety.
    #[error("{what} ({place}); {action}")]
    Refused {
        /// What happened.
        what: String,
        /// File.
        place: String,
        /// What to do.
        action: String,
    },
    /// A setting of the project does not fit the data.
    #[error("{what} ({place}); {action}")]
    Setting {
        /// What happened.
        what: String,
        /// Setting.
        place: String,
        /// What to do.
        action: String,
    },
    /// A file that does not exist.
    #[error("{place} does not exist")]
    NotFound {
        /// File or folder.
        place: String,
    },
    /// The person cancelled.
    #[error("cancelled while reading data")]
    Cancelled,
    /// A fault of this program.
    #[error("{0}")]
    Internal(String),
}

impl DataError {
    /// A failed read or write of `path`.
    pub fn io(what: impl Into<String>, path: &Path, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::NotFound {
            return Self::NotFound { place: path.display().to_string() };
        }
        Self::Io { what: what.into(), place: path.display().to_string(), source }
    }

    /// A data file that cannot be used.
    pub fn data(what: impl Into<String>, place: impl ToString, action: impl Into<String>) -> Self {
        Self::Data { what: what.into(), place: place.to_string(), action: action.into() }
    }

    /// A tokenizer that cannot be used.
    pub fn tokenizer(what: impl Into<String>, place: impl ToString, action: impl Into<String>) -> Self {
        Self::Tokenizer { what: what.into(), place: place.to_string(), action: action.into() }
    }
}

impl From<DataError> for Problem {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Io { what, place, source } => Self::new(
                Code::Io,
                format!("{what}: {source}"),
                place,
                "check that the file can be read and that the disk is not full",
            ),
            DataError::Tokenizer { what, place, action } => Self::new(Code::TokenizerInvalid, what, place, action),
            DataError::Data { what, place, action } => Self::new(Code::DataInvalid, what, place, action),
            DataError::Refused { what, place, action } => Self::new(Code::Refused, what, place, action),
            DataError::Setting { what, place, action } => Self::new(Code::ProjectInvalid, what, place, action),
            DataError::NotFound { place } => {
                Self::new(Code::NotFound, "the data file does not exist", place, "check the path")
            }
            DataError::Cancelled => Self::new(Code::Cancelled, "cancelled while reading data", "", "start again"),
            DataError::Internal(what) => Self::internal(what),
        }
    }
}
