//! What can go wrong while training, and how each becomes a [`Problem`] for people.

use std::path::{Path, PathBuf};
use temper_protocol::{Code, Problem};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, TrainError>;

/// What ended or refused a run.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A problem already in words.
    #[error("{0}")]
    Problem(Problem),
    /// Reading or writing failed.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A tensor operation failed.
    #[error("{0}")]
    Candle(#[from] candle_core::Error),
    /// The person ended the run.
    #[error("cancelled")]
    Cancelled,
}

impl TrainError {
    /// An input or output error at `path`.
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }
}

impl From<Problem> for TrainError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<TrainError> for Problem {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Problem(problem) => problem,
            TrainError::Io { path, source } => {
                let action = match source.kind() {
                    std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                        "free some disk space, then resume the run: its last checkpoint is whole"
                    }
                    std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                        "check the folder's permissions, or give another place for the run"
                    }
                    _ => "check the disk and the folder, then resume the run",
                };
                Self::new(Code::Io, format!("reading or writing failed: {source}"), path.display().to_string(), action)
            }
            TrainError::Candle(error) => {
                let text = error.to_string();
                Self::internal(format!("a tensor operation failed: {}", text.lines().next().unwrap_or_default()))
            }
            TrainError::Cancelled => Self::new(Code::Cancelled, "the run was cancelled", "", "start it again"),
        }
    }
}
