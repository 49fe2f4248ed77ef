//! The open project at another place: the question where, and what a person does with it.

use temper_protocol::Problem;

/// The question.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rehouse {
    /// The folder itself moves; a copy is made otherwise.
    pub moves: bool,
    /// Where to, as typed.
    pub folder: String,
    /// Whether a copy has the runs too.
    pub with_runs: bool,
    /// Why it could not be done.
    pub problem: Option<Problem>,
}

/// Something with the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RehouseAct {
    /// Asks it: for a move, or for a copy.
    Open {
        /// The folder itself moves.
        moves: bool,
    },
    /// The folder, as typed.
    Folder(String),
    /// Whether a copy has the runs too.
    WithRuns(bool),
    /// Does it.
    Confirm,
}
