//! Everything that can go wrong with a model, in the words in which a person reads it.

use std::path::{Path, PathBuf};
use temper_nn::NnError;
use temper_protocol::{Code, Problem};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file could not be opened, read or mapped.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The path holds no model.
    #[error("{} is not a model: {why}", path.display())]
    NotAModel {
        /// The path.
        path: PathBuf,
        /// What was looked for.
        why: String,
    },
    /// A file's structure is broken.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, naming the tensor or metadata key.
        why: String,
    },
    /// Tensors are missing, extra, or of the wrong shape or type: all of them at once.
    #[error("the weights in {} do not fit the model: {}", path.display(), problems.join("; "))]
    Tensors {
        /// The file or folder.
        path: PathBuf,
        /// One entry per tensor.
        problems: Vec<String>,
    },
    /// A weight holds an infinite value or not a number.
    #[error("tensor {tensor} in {} holds a value that is not finite", path.display())]
    NonFinite {
        /// The file or folder.
        path: PathBuf,
        /// Name in that file.
        tensor: String,
    },
    /// A configuration lacks a value or has an impossible one.
    #[error("the configuration of {} is wrong: {why}", path.display())]
    Config {
        /// config.json or the GGUF file.
        path: PathBuf,
        /// Key and reason.
        why: String,
    },
    /// Well-formed, but of a kind that is not supported.
    #[error("{} cannot be used: {why}", path.display())]
    Unsupported {
        /// The file or folder.
        path: PathBuf,
        /// What is not supported, and what is.
        why: String,
        /// What to do instead.
        action: String,
    },
    /// An architecture that no family covers.
    #[error("unknown architecture \"{found}\" in {}; known: {known}", path.display())]
    UnknownArchitecture {
        /// config.json or the GGUF file.
        path: PathBuf,
        /// As the file names it.
        found: String,
        /// What is known, comma separated.
        known: String,
    },
    /// Only pickled weights are there.
    #[error("{} holds its weights as a pickle ({file}), which can run any program when it is opened", path.display())]
    Pickle {
        /// The folder.
        path: PathBuf,
        /// The pickle.
        file: String,
    },
    /// A request that the model cannot serve, such as a token outside the vocabulary.
    #[error("{0}")]
    Request(String),
    /// From the tensor library below.
    #[error(transparent)]
    Nn(#[from] NnError),
}

/// Result of this crate.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;

impl From<candle_core::Error> for ModelError {
    fn from(error: candle_core::Error) -> Self {
        Self::Nn(error.into())
    }
}

impl ModelError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &Path, why: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), why: why.into() }
    }

    pub(crate) fn config(path: &Path, why: impl Into<String>) -> Self {
        Self::Config { path: path.to_owned(), why: why.into() }
    }

    pub(crate) fn unsupported(path: &Path, why: impl Into<String>, action: impl Into<String>) -> Self {
        Self::Unsupported { path: path.to_owned(), why: why.into(), action: action.into() }
    }

    pub(crate) fn not_a_model(path: &Path, why: impl Into<String>) -> Self {
        Self::NotAModel { path: path.to_owned(), why: why.into() }
    }
}

impl From<ModelError> for Problem {
    fn from(error: ModelError) -> Self {
        let place = |path: &Path| path.display().to_string();
        match &error {
            ModelError::Io { path, source } => {
                let action = match source.kind() {
                    std::io::ErrorKind::NotFound => "check the path",
                    std::io::ErrorKind::PermissionDenied => "give yourself the right to read it",
                    _ => "check the disk and try again",
                };
                Self::new(Code::Io, format!("the model cannot be read: {source}"), place(path), action)
            }
            ModelError::NotAModel { path, why } => Self::new(
                Code::NotFound,
                format!("there is no model here: {why}"),
                place(path),
                "choose a GGUF file, or a folder with config.json and *.safetensors",
            ),
            ModelError::Damaged { path, why } => Self::new(
                Code::ModelInvalid,
                format!("the file is damaged: {why}"),
                place(path),
                "download or copy the file again and compare its size with the source",
            ),
            ModelError::Tensors { path, problems } => Self::new(
                Code::ModelInvalid,
                format!("the weights do not fit the model: {}", problems.join("; ")),
                place(path),
                "check that the configuration and all weight files belong to the same model",
            ),
            ModelError::NonFinite { path, tensor } => Self::new(
                Code::NonFinite,
                format!("tensor {tensor} holds a value that is not finite"),
                place(path),
                "the file is damaged or was saved from a failed training: take another copy",
            ),
            ModelError::Config { path, why } => Self::new(
                Code::ModelInvalid,
                format!("the configuration is wrong: {why}"),
                place(path),
                "compare it with the configuration that the model was published with",
            ),
            ModelError::Unsupported { path, why, action } => {
                Self::new(Code::ModelInvalid, format!("this model cannot be used: {why}"), place(path), action.clone())
            }
            ModelError::UnknownArchitecture { path, found, known } => Self::new(
                Code::ModelInvalid,
                format!("unknown architecture \"{found}\""),
                place(path),
                format!("use a model of a known architecture: {known}"),
            ),
            ModelError::Pickle { path, file } => Self::new(
                Code::Refused,
                format!("{file} is a pickle: opening one can run any program, so it is refused"),
                place(path),
                "use a copy of the model with safetensors or GGUF weights",
            ),
            ModelError::Request(what) => {
                Self::new(Code::Usage, what.clone(), "", "check that the tokens and the model belong together")
            }
            ModelError::Nn(inner) => Self::internal(inner.to_string()),
        }
    }
}
