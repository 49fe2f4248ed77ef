//! Races that are kept with a project: the list of them, and one of them as Watch draws it.
//!
//! Place in the data flow: the thread for files reads [`RaceRecord`]s from the project's folder; a [`Race`] is made of one
//! when a person opens it. Its curves come from what is left of its runs, as those of a race that goes on do.

use super::{End, Pace, Race};
use crate::state::State;
use std::collections::BTreeMap;
use temper_protocol::race_record::{RaceEnd, RaceRecord, Racer};
use temper_protocol::{Code, Problem};

/// The races of a project beside the one that is shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Races {
    /// Those that are kept, newest first.
    pub kept: Vec<RaceRecord>,
    /// The race that goes on while Watch shows another one.
    pub aside: Option<Race>,
}

impl Races {
    /// The kept race of a number.
    #[must_use]
    pub fn find(&self, number: u64) -> Option<&RaceRecord> {
        self.kept.iter().find(|record| record.number == number)
    }
}

impl Race {
    /// A race as it is kept. One whose end is not on record was broken off.
    #[must_use]
    pub fn of_record(record: &RaceRecord) -> Self {
        let methods = record.racers.iter().map(|racer| racer.method.clone()).collect();
        let broken = || Problem::new(Code::Internal, t!("race-broken-off"), "", t!("race-engine-action"));
        let end = match &record.end {
            Some(RaceEnd::Whole) => End::Whole,
            Some(RaceEnd::Stopped) => End::Stopped,
            Some(RaceEnd::Failed { problem }) => End::Failed(problem.clone()),
            None => End::Failed(broken()),
        };
        let run = |racer: &Racer| Some((racer.method.clone(), racer.run?));
        let secs = record.racers.iter().filter_map(|racer| Some((racer.method.clone(), racer.step_secs?)));
        let paces = secs.map(|(method, secs)| (method, Pace { steps: 1, secs })).collect::<BTreeMap<_, _>>();
        Self {
            rounds: record.rounds.clone(),
            end: Some(end),
            number: Some(record.number),
            runs: record.racers.iter().filter_map(run).collect(),
            paces,
            ..Self::new(methods, record.steps, 0)
        }
    }
}

/// The race that this window started last: the one on which the engine's words fall.
pub fn own_mut(state: &mut State) -> Option<&mut Race> {
    let own = match &mut state.races.aside {
        Some(aside) => Some(aside),
        None => state.race.as_mut(),
    };
    own.filter(|race| race.number.is_none())
}

/// The number of the kept race that goes on in this window: the newest one, as long as its end is not on record.
#[must_use]
pub fn going(state: &State) -> Option<u64> {
    let newest = state.races.kept.first().filter(|record| record.end.is_none() && super::goes_on(state))?;
    Some(newest.number)
}

/// Makes the kept race of a number the one that is shown; the one that goes on waits aside. Returns whether there is one.
pub fn show_kept(state: &mut State, number: u64) -> bool {
    // The live one is drawn from what is heard, not from its file.
    if going(state) == Some(number) {
        show_own(state);
        return true;
    }
    let Some(race) = state.races.find(number).map(Race::of_record) else { return false };
    let shown = state.race.replace(race);
    if super::goes_on(state)
        && let Some(own) = shown.filter(|race| race.number.is_none())
    {
        state.races.aside = Some(own);
    }
    true
}

/// Shows the race that goes on again, if another one is shown.
pub fn show_own(state: &mut State) {
    if let Some(own) = state.races.aside.take() {
        state.race = Some(own);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Fate, lanes};
    use super::*;
    use crate::files::Places;
    use crate::state::Clock;
    use temper_protocol::event::{RaceRound, Standing};
    use temper_protocol::race_record::SCHEMA;

    fn record(number: u64, end: Option<RaceEnd>) -> RaceRecord {
        let standing = |method: &str, run: u64, loss: f64, stays: bool| Standing {
            method: method.to_owned(),
            run: Some(run),
            loss,
            difference: loss - 1.4,
            band: 0.01,
            stays,
            refused: None,
        };
        let racer = |method: &str, run: u64| Racer { method: method.to_owned(), run: Some(run), step_secs: Some(0.5) };
        let standings = vec![standing("dora", 4, 1.4, true), standing("lora", 3, 1.5, false)];
        RaceRecord {
            schema: SCHEMA,
            number,
            started_millis: 0,
            steps: 80,
            set: Vec::new(),
            settings_toml: String::new(),
            racers: vec![racer("lora", 3), racer("dora", 4)],
            rounds: vec![RaceRound { round: 1, rounds: 1, step: 80, standings }],
            end,
        }
    }

    fn state() -> State {
        let root = std::path::PathBuf::new();
        let places = Places { config: root.clone(), data: root.clone(), projects: root };
        State::new(places, Clock::Fixed(0))
    }

    #[test]
    fn a_kept_race_is_drawn_without_its_runs_and_another_races_number_is_not_taken_for_one() {
        let mut state = state();
        state.races.kept = vec![record(2, Some(RaceEnd::Whole))];
        assert!(show_kept(&mut state, 2) && !show_kept(&mut state, 9));
        let of = |state: &State| {
            let lanes = lanes(state);
            lanes
                .into_iter()
                .map(|lane| (lane.method, lane.run, lane.removed, lane.steps, lane.fate))
                .collect::<Vec<_>>()
        };
        let gone = |method: &str, fate: Fate| (method.to_owned(), None, true, 80, fate);
        assert_eq!(of(&state), [gone("dora", Fate::Won), gone("lora", Fate::Behind(1, 80))]);
        assert!((lanes(&state)[0].step_secs - 0.5).abs() < 1e-12);
    }

    #[test]
    fn an_end_that_is_not_on_record_was_broken_off() {
        assert!(matches!(Race::of_record(&record(1, None)).end, Some(End::Failed(_))));
        assert_eq!(Race::of_record(&record(1, Some(RaceEnd::Stopped))).end, Some(End::Stopped));
    }

    #[test]
    fn the_race_that_goes_on_comes_back_when_it_is_asked_for() {
        let mut state = state();
        state.races.kept = vec![record(2, None), record(1, Some(RaceEnd::Whole))];
        state.race = Some(Race::new(vec!["lora".to_owned(), "dora".to_owned()], 80, 6));
        state.jobs.add(5, crate::state::Ask::Race, 0.0);
        assert_eq!(going(&state), Some(2));
        assert!(show_kept(&mut state, 1));
        assert_eq!(state.race.as_ref().and_then(|race| race.number), Some(1));
        assert!(own_mut(&mut state).is_some_and(|own| own.after_run == 6), "what is heard falls on the live one");
        assert!(show_kept(&mut state, 2));
        assert_eq!(state.race.as_ref().map(|race| (race.number, race.after_run)), Some((None, 6)));
        assert_eq!(state.races.aside, None);
    }
}
