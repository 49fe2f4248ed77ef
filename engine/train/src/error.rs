//! What can go wrong while training, and how each becomes a [`Problem`] for people.

use std::path::{Path, PathBuf};
use temper_data::DataError;
use temper_methods::MethodError;
use temper_models::ModelError;
use temper_nn::NnError;
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
    /// The model cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The method cannot be used.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// The numerics failed.
    #[error(transparent)]
    Nn(#[from] NnError),
    /// The person wants it to end and the result to be kept.
    #[error("stopped")]
    Stopped,
    /// The person wants it to end.
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

impl From<candle_core::Error> for TrainError {
    fn from(error: candle_core::Error) -> Self {
        Self::Nn(NnError::from(error))
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
                    std::io::ErrorKind::NotFound => "check the path",
                    _ => "check the disk and the folder, then resume the run",
                };
                Self::new(Code::Io, format!("reading or writing failed: {source}"), path.display().to_string(), action)
            }
            TrainError::Model(error) => error.into(),
            TrainError::Data(error) => error.into(),
            TrainError::Method(error) => error.into(),
            TrainError::Nn(error) => {
                let text = error.to_string();
                Self::internal(format!("a tensor operation failed: {}", text.lines().next().unwrap_or_default()))
            }
            TrainError::Stopped | TrainError::Cancelled => {
                Self::new(Code::Cancelled, "cancelled", "", "start it again")
            }
        }
    }
}
