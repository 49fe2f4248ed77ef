//! What can be wrong with a method, its settings or its targets, in words that say what to write instead.

use temper_protocol::{Code, Problem};

/// Why a method cannot be used as asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MethodError {
    /// No method has this id.
    #[error("there is no method \"{id}\"")]
    Unknown {
        /// What was asked for.
        id: String,
        /// The id nearest to it.
        nearest: Option<String>,
        /// All ids.
        known: String,
    },
    /// A setting is unknown or out of range.
    #[error("{0}")]
    Setting(Problem),
    /// An entry of a target list hits no layer.
    #[error("\"{entry}\" hits no linear layer of this model")]
    NoTarget {
        /// Setting the entry stands in.
        setting: &'static str,
        /// The entry.
        entry: String,
        /// The name nearest to it.
        nearest: Option<String>,
        /// What there is.
        exists: String,
    },
    /// Nothing is left to train.
    #[error("{what}")]
    Nothing {
        /// Which settings leave nothing.
        what: String,
        /// What there is.
        exists: String,
    },
    /// A list of layers cannot be read.
    #[error("\"{text}\" is not a list of layers: {why}")]
    Layers {
        /// The text.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A regular expression cannot be read.
    #[error("\"{pattern}\" is not a regular expression: {why}")]
    Pattern {
        /// Setting it stands in.
        setting: &'static str,
        /// The expression.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// A value of a pattern table is out of range.
    #[error("{setting} gives {value} for \"{pattern}\"")]
    PatternValue {
        /// The table.
        setting: &'static str,
        /// The key.
        pattern: String,
        /// The value.
        value: f64,
        /// What is allowed.
        wanted: &'static str,
    },
}

impl From<Problem> for MethodError {
    fn from(problem: Problem) -> Self {
        Self::Setting(problem)
    }
}

impl From<MethodError> for Problem {
    fn from(error: MethodError) -> Self {
        let what = error.to_string();
        let did_you_mean = |nearest: &Option<String>, exists: &str| match nearest {
            Some(nearest) => format!("did you mean \"{nearest}\"? There are: {exists}"),
            None => format!("there are: {exists}"),
        };
        let (place, action) = match &error {
            MethodError::Setting(problem) => return problem.clone(),
            MethodError::Unknown { nearest, known, .. } => ("method.id".to_owned(), did_you_mean(nearest, known)),
            MethodError::NoTarget { setting, nearest, exists, .. } => {
                (format!("method.{setting}"), did_you_mean(nearest, exists))
            }
            MethodError::Nothing { exists, .. } => {
                ("method.targets".to_owned(), format!("choose layers that exist and are not excluded: {exists}"))
            }
            MethodError::Layers { .. } => {
                ("method.layers".to_owned(), "write layer numbers from 0 and ranges, such as 0-5,10".to_owned())
            }
            MethodError::Pattern { setting, .. } => (
                format!("method.{setting}"),
                "write a regular expression without look-around, or plain names such as q_proj".to_owned(),
            ),
            MethodError::PatternValue { setting, wanted, .. } => {
                (format!("method.{setting}"), format!("give {wanted}"))
            }
        };
        Self::new(Code::MethodInvalid, what, place, action)
    }
}

/// The candidate with the fewest edits from `text`, when that is near enough to be a slip.
pub(crate) fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(text, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(text.len()) / 2)
        .min()
        .map(|(_, candidate)| candidate)
}
