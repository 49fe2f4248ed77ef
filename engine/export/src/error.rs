//! What can go wrong while a result is written or checked.

use std::path::{Path, PathBuf};
use temper_protocol::{Code, Problem};

/// Result of this crate.
pub type Result<T, E = ExportError> = std::result::Result<T, E>;

/// A failed export, import or check.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Reading or writing a file failed.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The target exists and is not empty.
    #[error("{0} exists already")]
    Exists(PathBuf),
    /// The result cannot be held by the format.
    #[error("{what}")]
    NotRepresentable {
        /// What cannot be held.
        what: String,
        /// What to choose instead.
        action: String,
    },
    /// An adapter folder is damaged or does not fit its base.
    #[error("{path}: {what}")]
    Adapter {
        /// The file.
        path: PathBuf,
        /// What is wrong, with all tensors concerned.
        what: String,
    },
    /// An adapter folder is whole and cannot be used in this way.
    #[error("{path}: {what}")]
    Refused {
        /// The folder or its description.
        path: PathBuf,
        /// Why.
        what: String,
        /// What to do instead.
        action: String,
    },
    /// A written file cannot be read back.
    #[error("{path} cannot be read back: {what}")]
    ReadBack {
        /// The file.
        path: PathBuf,
        /// What the independent reader said.
        what: String,
    },
    /// The person cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A model problem.
    #[error(transparent)]
    Models(#[from] temper_models::ModelError),
    /// A numeric problem.
    #[error(transparent)]
    Nn(#[from] temper_nn::NnError),
    /// A tokenizer problem.
    #[error(transparent)]
    Data(#[from] temper_data::DataError),
    /// A method problem.
    #[error(transparent)]
    Methods(#[from] temper_methods::MethodError),
    /// A tensor operation.
    #[error("{0}")]
    Candle(#[from] candle_core::Error),
    /// A tensor file.
    #[error("{0}")]
    Safetensors(#[from] safetensors::SafeTensorError),
    /// A JSON document.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

impl ExportError {
    /// An error about `path`.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |error| Self::Io { path: path.to_path_buf(), error }
    }
}

impl From<ExportError> for Problem {
    fn from(error: ExportError) -> Self {
        let text = error.to_string();
        match error {
            ExportError::Io { path, error } => {
                let full = error.kind() == std::io::ErrorKind::StorageFull;
                let action = if full {
                    "free some space or choose another disk; nothing was lost and no partial file is left"
                } else {
                    "check that the folder exists and can be written"
                };
                Self::new(Code::Io, error.to_string(), path.display().to_string(), action)
            }
            ExportError::Exists(path) => Self::new(
                Code::Io,
                "the target exists already and is not an export of Temper's",
                path.display().to_string(),
                "choose another folder, or remove this one first",
            ),
            ExportError::NotRepresentable { what, action } => Self::new(Code::MethodInvalid, what, "export", action),
            ExportError::Adapter { path, what } => Self::new(
                Code::AdapterInvalid,
                what,
                path.display().to_string(),
                "use the base model that the adapter was trained on, and a complete adapter folder",
            ),
            ExportError::Refused { path, what, action } => {
                Self::new(Code::AdapterInvalid, what, path.display().to_string(), action)
            }
            ExportError::ReadBack { path, what } => Self::new(
                Code::CertificateFailed,
                format!("what was written cannot be read back: {what}"),
                path.display().to_string(),
                "export again; if it happens twice, please report it",
            ),
            ExportError::Cancelled => Self::new(Code::Cancelled, "cancelled", "export", "start again when you like"),
            ExportError::Models(error) => error.into(),
            ExportError::Data(error) => error.into(),
            ExportError::Methods(error) => error.into(),
            ExportError::Nn(_) | ExportError::Candle(_) | ExportError::Safetensors(_) | ExportError::Json(_) => {
                Self::new(Code::Internal, text, "export", "please report it with the log file")
            }
        }
    }
}
