//! What can go wrong inside the numerics: one error type for the crate.
//!
//! Place in the data flow: every fallible function here returns it; the crates above wrap it with the site,
//! step or file they were working on.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = NnError> = std::result::Result<T, E>;

/// An error of the numerics.
#[derive(Debug, thiserror::Error)]
pub enum NnError {
    /// Candle refused an operation.
    #[error("{0}")]
    Tensor(#[from] candle_core::Error),
    /// Shapes or lengths that do not fit together.
    #[error("{0}")]
    Shape(String),
    /// A value outside the range an operation is defined on.
    #[error("{0}")]
    Value(String),
    /// Bytes that are no valid contents of a storage type.
    #[error("{kind}: {what}")]
    Storage {
        /// Name of the storage type.
        kind: &'static str,
        /// What does not fit.
        what: String,
    },
    /// A frozen weight whose parts do not fit together.
    #[error("weight `{name}`: {what}")]
    Weight {
        /// Its name.
        name: String,
        /// What does not fit.
        what: String,
    },
    /// A parameter that is missing, doubled or misshapen.
    #[error("parameter `{name}`: {what}")]
    Param {
        /// Its name.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// An adapter that cannot do what was asked of it.
    #[error("adapter on `{site}` {what}")]
    Adapter {
        /// Name of the site.
        site: String,
        /// What it cannot do.
        what: String,
    },
    /// A file that cannot be mapped or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A safetensors file or buffer that cannot be read or written.
    #[error("{0}")]
    Safetensors(#[from] safetensors::SafeTensorError),
    /// The thread pool is already running with another number of threads.
    #[error("the thread pool already runs {running} threads, {wanted} were asked for")]
    Threads {
        /// How many it has.
        running: usize,
        /// How many were wanted.
        wanted: usize,
    },
    /// A gradient check found a difference.
    #[error("gradient check: {0}")]
    GradientCheck(String),
}

impl NnError {
    /// For use inside candle's traits, which know only candle's error.
    #[must_use]
    pub fn into_candle(self) -> candle_core::Error {
        match self {
            Self::Tensor(error) => error,
            other => candle_core::Error::wrap(other),
        }
    }
}

/// [`NnError::Shape`] with a text made on the spot.
pub(crate) fn shape_error<T>(what: impl Into<String>) -> Result<T> {
    Err(NnError::Shape(what.into()))
}
