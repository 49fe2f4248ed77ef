//! The one form in which an error leaves the engine: what happened, where, and what to do.
//!
//! Every engine crate has its own `thiserror` enum; at the boundary each becomes a [`Problem`].

use serde::{Deserialize, Serialize};
use std::fmt;

/// Stable machine-readable classes of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The command line or a command was malformed (exit code 2).
    Usage,
    /// A project file has unknown keys or values out of range.
    ProjectInvalid,
    /// A model file is damaged, incomplete or of an unknown kind.
    ModelInvalid,
    /// A tokenizer is missing or of an unknown kind.
    TokenizerInvalid,
    /// A data file is damaged, empty, or has nothing to train on.
    DataInvalid,
    /// A method or one of its settings cannot be used here.
    MethodInvalid,
    /// An adapter does not fit its base.
    AdapterInvalid,
    /// A file that is refused for safety, such as a pickle.
    Refused,
    /// Reading or writing failed: permissions, disk full, a vanished file.
    Io,
    /// There is not enough memory.
    OutOfMemory,
    /// Another engine holds the project.
    Busy,
    /// The loss or the weights stopped being finite.
    NonFinite,
    /// An export did not agree with the trained model.
    CertificateFailed,
    /// Something asked for does not exist.
    NotFound,
    /// The person cancelled.
    Cancelled,
    /// A fault of this program.
    Internal,
}

/// An error as a person reads it. Serialised as the `error` event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Problem {
    /// What happened, one sentence.
    pub what: String,
    /// File, line, tensor or setting concerned; empty when there is none.
    pub r#where: String,
    /// What to do about it.
    pub action: String,
    /// Class of the problem.
    pub code: Code,
}

impl Problem {
    /// A problem of class `code`.
    pub fn new(code: Code, what: impl Into<String>, place: impl Into<String>, action: impl Into<String>) -> Self {
        Self { what: what.into(), r#where: place.into(), action: action.into(), code }
    }

    /// A fault of this program, with the request to report it.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::new(Code::Internal, what, "", "this is a fault in temper: please report it with the log file")
    }

    /// Exit code of the command line: 2 for usage errors, 1 otherwise.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.code == Code::Usage { 2 } else { 1 }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} / {} / {}", self.what, self.r#where, self.action)
    }
}
