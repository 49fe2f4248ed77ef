//! The room Setup: what the four cards found out, and the pre-flight.

use std::collections::{BTreeMap, BTreeSet};
use temper_protocol::{Code, Event, Problem};

/// One of the four cards, or the strip below them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Card {
    /// The base model.
    Model,
    /// The data.
    Data,
    /// The method.
    Method,
    /// What must not be forgotten.
    Keep,
    /// The pre-flight strip.
    Preflight,
}

/// An answer, and what it was an answer to.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The event.
    pub event: Event,
    /// Fingerprint of the project it belongs to.
    pub fingerprint: String,
    /// When, milliseconds since 1970.
    pub at_millis: i64,
}

/// The room Setup.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Setup {
    /// Problems by card.
    pub problems: BTreeMap<Card, Problem>,
    /// Paths of the project at which nothing is, as the engine is asked about them.
    pub missing: BTreeSet<String>,
    /// The last data preview.
    pub preview: Option<Answer>,
    /// The columns of the data.
    pub columns: Option<super::columns::Columns>,
    /// Whether roles without a column are shown, too.
    pub all_roles: bool,
    /// The last pre-flight.
    pub preflight: Option<Answer>,
    /// What was typed into the search for methods.
    pub method_query: String,
    /// Which methods are listed.
    pub method_filter: super::gallery::Filter,
    /// Whether the Method card lists every method.
    pub all_methods: bool,
    /// What was typed into the search for sites.
    pub site_query: String,
    /// The module whose layers are listed one by one.
    pub open_module: Option<String>,
    /// Whether the rest of the settings is shown.
    pub more: bool,
    /// Whether the rows set aside are shown.
    pub show_aside: bool,
    /// Training was asked for and waits for the project to be saved.
    pub train_wanted: bool,
    /// The race that was asked for waits for the project to be saved; otherwise it is a run.
    pub race_wanted: bool,
    /// Whether the Method card lets methods be ticked for a race.
    pub racing: bool,
    /// Methods that are ticked, in the order of ticking.
    pub racers: Vec<String>,
    /// What was just dropped and could go elsewhere.
    pub dropped: Option<super::drop::Dropped>,
}

/// Which card a problem belongs to.
#[must_use]
pub fn card_of(problem: &Problem) -> Card {
    let place = problem.r#where.to_lowercase();
    match problem.code {
        Code::ModelInvalid | Code::TokenizerInvalid => Card::Model,
        Code::DataInvalid => Card::Data,
        Code::MethodInvalid => Card::Method,
        _ if place.contains("keep") || place.contains("probe") => Card::Keep,
        _ if place.contains("[model]") => Card::Model,
        _ if place.contains("[data]") => Card::Data,
        _ if place.contains("[method]") => Card::Method,
        _ => Card::Preflight,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_find_their_card() {
        let problem = |code, place: &str| card_of(&Problem::new(code, "what", place, "do"));
        assert_eq!(problem(Code::TokenizerInvalid, "tokenizer.json"), Card::Model);
        assert_eq!(problem(Code::DataInvalid, "tone.jsonl line 7"), Card::Data);
        assert_eq!(problem(Code::MethodInvalid, "rank"), Card::Method);
        assert_eq!(problem(Code::NotFound, "keep.probes: contracts.txt"), Card::Keep);
        assert_eq!(problem(Code::OutOfMemory, ""), Card::Preflight);
    }
}
