//! A race of methods: who is in it, what each round said, and who dropped out and why.
//!
//! Place in the data flow: `update` starts a race, takes in its rounds and remembers how fast each method went; Watch
//! draws the [`Lane`]s that are made of it and of the store's runs, Setup lets methods be ticked for one. The rules of
//! a race (rounds, halving, paired differences) are the engine's; what is repeated here says beforehand what it would
//! refuse.

mod kept;

pub use kept::{Races, going, own_mut, show_kept, show_own};

use super::{Ask, State};
use std::collections::BTreeMap;
use temper_protocol::event::{RaceRound, Standing};
use temper_protocol::{Kind, MethodCard, Problem};

/// Fewest and most methods of a race.
pub const RACERS: (usize, usize) = (2, 8);

/// What a person does with a race.
#[derive(Debug, Clone, PartialEq)]
pub enum RaceAct {
    /// Lets methods be ticked in Setup, or goes back to the choice of one.
    Choose(bool),
    /// Ticks a method, or not any more.
    Tick(String, bool),
    /// Starts the race.
    Start,
    /// Stops it; runs that were trained stay.
    Stop,
    /// Watch shows the race, or a run.
    Show(bool),
    /// The curves as a table.
    Table(bool),
    /// Visible steps; all when none.
    Zoom(Option<(f64, f64)>),
    /// Puts a method into the form.
    Use(String),
    /// Lists the races of the project that are kept.
    List,
    /// Watch shows the kept race of this number.
    Open(u64),
}

/// How a race ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// All rounds were run.
    Whole,
    /// A person stopped it.
    Stopped,
    /// It could not go on.
    Failed(Problem),
}

/// How fast a method went, as seen from here: validation and what else lies between two steps is in it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Pace {
    steps: u64,
    secs: f64,
}

/// A race.
#[derive(Debug, Clone, PartialEq)]
pub struct Race {
    /// Ids of its methods, in the order of ticking.
    pub methods: Vec<String>,
    /// Steps of the whole training.
    pub steps: u64,
    /// The newest run before it; its own runs have higher numbers.
    pub after_run: u64,
    /// What each round said, oldest first.
    pub rounds: Vec<RaceRound>,
    /// How it ended; nothing while it goes on.
    pub end: Option<End>,
    /// The curves as a table.
    pub as_table: bool,
    /// Visible steps; all when none.
    pub zoom: Option<(f64, f64)>,
    /// Its number when it was opened from what is kept; nothing for the one that this window started.
    pub number: Option<u64>,
    /// Runs by method, as they are kept.
    runs: BTreeMap<String, u64>,
    /// The method that was heard of last, its step, and when, seconds of the window's clock.
    heard: Option<(String, u64, f64)>,
    paces: BTreeMap<String, Pace>,
}

/// Where a method stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// It is being trained.
    Runs,
    /// It waits for its turn in this round.
    Waits,
    /// It has trained enough for this round.
    Rests,
    /// It dropped out after this round, at this step: others were better.
    Behind(u64, u64),
    /// It dropped out after this round because its loss was no number.
    NoNumber(u64),
    /// It could not run, with the reason.
    Refused(String),
    /// It won.
    Won,
    /// The race ended before that was known.
    Open,
}

/// A method in a race, ready to draw. Losses are nats per trained token on the validation rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Lane {
    /// Method id.
    pub method: String,
    /// Its place among the methods of the race, which gives it its colour.
    pub series: usize,
    /// Its run, once there is one and as long as it is there.
    pub run: Option<u64>,
    /// There was a run, and it has been removed since.
    pub removed: bool,
    /// Loss after its last round; not a number before one.
    pub loss: f64,
    /// Loss less that of the leader of that round.
    pub difference: f64,
    /// Half of the width of the 95 % band around the difference.
    pub band: f64,
    /// Steps done.
    pub steps: u64,
    /// Seconds of a step, as seen from here; not a number before two were heard of.
    pub step_secs: f64,
    /// Where it stands.
    pub fate: Fate,
}

/// Rounds of a race of so many methods: each but the last lets half of them go.
#[must_use]
pub fn rounds(methods: usize) -> u64 {
    u64::from(methods.max(1).next_power_of_two().trailing_zeros())
}

/// The step up to which a round trains.
#[must_use]
pub fn step_of(round: u64, rounds: u64, steps: u64) -> u64 {
    let halvings = rounds.saturating_sub(round).min(63);
    steps >> halvings
}

/// Whether a method can race: it trains something.
#[must_use]
pub fn can_race(card: &MethodCard) -> bool {
    matches!(card.kind, Kind::Adapter | Kind::Insertion)
}

/// Whether a difference of this size is more than its band allows for.
#[must_use]
pub fn is_clear(difference: f64, band: f64) -> bool {
    difference.abs() > band
}

impl Race {
    /// A race that begins now.
    #[must_use]
    pub fn new(methods: Vec<String>, steps: u64, after_run: u64) -> Self {
        Self {
            methods,
            steps,
            after_run,
            rounds: Vec::new(),
            end: None,
            as_table: false,
            zoom: None,
            number: None,
            runs: BTreeMap::new(),
            heard: None,
            paces: BTreeMap::new(),
        }
    }

    /// Rounds in all.
    #[must_use]
    pub fn round_count(&self) -> u64 {
        self.rounds.last().map_or_else(|| rounds(self.methods.len()), |round| round.rounds)
    }

    /// The method that is being trained, and its step.
    #[must_use]
    pub fn running(&self) -> Option<(&str, u64)> {
        let heard = self.heard.as_ref().filter(|_| self.end.is_none())?;
        Some((heard.0.as_str(), heard.1))
    }

    /// A method reached a step.
    pub fn hear(&mut self, method: &str, step: u64, now_secs: f64) {
        if !self.methods.iter().any(|one| one == method) {
            return;
        }
        if let Some((before, from, at)) = &self.heard
            && before == method
            && step > *from
            && now_secs >= *at
        {
            let pace = self.paces.entry(method.to_owned()).or_default();
            pace.steps += step - from;
            pace.secs += now_secs - at;
        }
        self.heard = Some((method.to_owned(), step, now_secs));
    }

    /// A round is over.
    pub fn take(&mut self, round: RaceRound) {
        self.rounds.retain(|known| known.round != round.round);
        self.rounds.push(round);
        // Who is trained first in the next round is not known yet.
        self.heard = None;
    }

    /// Seconds of a step of a method; not a number before two steps were heard of.
    fn step_secs(&self, method: &str) -> f64 {
        let pace = self.paces.get(method).filter(|pace| pace.steps > 0);
        pace.map_or(f64::NAN, |pace| pace.secs / pace.steps as f64)
    }

    /// The last thing that a round said about a method.
    fn standing(&self, method: &str) -> Option<(&RaceRound, &Standing)> {
        self.rounds.iter().rev().find_map(|round| {
            let standing = round.standings.iter().find(|one| one.method == method)?;
            Some((round, standing))
        })
    }

    /// The winner, once there is one.
    #[must_use]
    pub fn winner(&self) -> Option<&Standing> {
        let last = self.rounds.last().filter(|round| round.round == round.rounds)?;
        last.standings.iter().find(|one| one.stays)
    }

    /// The best of the last round.
    #[must_use]
    pub fn leader(&self) -> Option<&Standing> {
        self.rounds.last()?.standings.iter().find(|one| one.loss.is_finite())
    }

    /// Methods from the best to the worst: as the last round that they were in says, then those of no round yet.
    fn order(&self) -> Vec<&str> {
        let mut order: Vec<&str> = Vec::new();
        let told = self.rounds.iter().rev().flat_map(|round| &round.standings).map(|one| one.method.as_str());
        for method in told.chain(self.methods.iter().map(String::as_str)) {
            if !order.contains(&method) {
                order.push(method);
            }
        }
        order
    }

    fn fate(&self, method: &str) -> Fate {
        let known = self.standing(method);
        if let Some((round, standing)) = known {
            if let Some(why) = &standing.refused {
                return Fate::Refused(why.clone());
            }
            if !standing.stays {
                let lost = standing.loss.is_finite();
                return if lost { Fate::Behind(round.round, round.step) } else { Fate::NoNumber(round.round) };
            }
            if round.round == round.rounds {
                return Fate::Won;
            }
        }
        if self.end.is_some() {
            return Fate::Open;
        }
        match self.running() {
            Some((now, _)) if now == method => Fate::Runs,
            // Methods take their turns in the order of ticking, in every round.
            Some((now, _)) => {
                let order: Vec<&str> = self.methods.iter().map(String::as_str).collect();
                let place = |name: &str| order.iter().position(|one| *one == name);
                if place(method) < place(now) { Fate::Rests } else { Fate::Waits }
            }
            None => Fate::Waits,
        }
    }
}

/// The lanes of the race, best first; none without a race.
#[must_use]
pub fn lanes(state: &State) -> Vec<Lane> {
    let Some(race) = &state.race else { return Vec::new() };
    let lane = |method: &str| {
        let standing = race.standing(method).map(|(_, standing)| standing);
        let rows = || state.runs.runs.iter().filter(move |row| row.method == method);
        let live = race.number.is_none();
        // What came after a race that is kept is none of its runs.
        let found = || rows().filter(|row| live && row.run > race.after_run).map(|row| row.run).min();
        let kept = race.runs.get(method).copied();
        let run = standing.and_then(|one| one.run).or(kept).or_else(found);
        let row = run.and_then(|run| rows().find(|row| row.run == run));
        let removed = run.is_some() && row.is_none() && !live;
        let told = race.standing(method).filter(|(_, one)| removed && one.refused.is_none());
        let heard = race.running().filter(|(now, _)| *now == method).map_or(0, |(_, step)| step);
        let [loss, difference, band] = standing.map_or([f64::NAN; 3], |one| [one.loss, one.difference, one.band]);
        Lane {
            method: method.to_owned(),
            series: race.methods.iter().position(|one| one == method).unwrap_or(race.methods.len()),
            run: run.filter(|_| !removed),
            removed,
            loss,
            difference,
            band,
            steps: row.map_or_else(|| told.map_or(0, |(round, _)| round.step), |row| row.steps).max(heard),
            step_secs: race.step_secs(method),
            fate: race.fate(method),
        }
    };
    race.order().into_iter().map(lane).collect()
}

/// Runs whose curves the race needs; none while nobody looks.
#[must_use]
pub fn watched_runs(state: &State) -> Vec<u64> {
    if !is_shown(state) {
        return Vec::new();
    }
    lanes(state).into_iter().filter_map(|lane| lane.run).collect()
}

/// Whether Watch shows the race.
#[must_use]
pub fn is_shown(state: &State) -> bool {
    state.room == super::Room::Watch && state.watch.race && state.race.is_some()
}

/// Why the race that this window started last could not go on.
#[must_use]
pub fn problem(state: &State) -> Option<&Problem> {
    let own = state.races.aside.as_ref().or(state.race.as_ref()).filter(|race| race.number.is_none())?;
    match &own.end {
        Some(End::Failed(problem)) => Some(problem),
        Some(End::Whole | End::Stopped) | None => None,
    }
}

/// Whether a race goes on.
#[must_use]
pub fn goes_on(state: &State) -> bool {
    state.jobs.find(|ask| *ask == Ask::Race).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(method: &str, loss: f64, difference: f64, stays: bool) -> Standing {
        Standing { method: method.to_owned(), run: Some(1), loss, difference, band: 0.01, stays, refused: None }
    }

    fn race() -> Race {
        let methods = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        Race::new(methods, 100, 6)
    }

    fn first_round() -> RaceRound {
        let refused =
            Standing { refused: Some("no place for it".to_owned()), ..standing("d", f64::NAN, f64::NAN, false) };
        RaceRound {
            round: 1,
            rounds: 2,
            step: 50,
            standings: vec![
                standing("b", 1.4, 0.0, true),
                standing("a", 1.5, 0.1, true),
                standing("c", 1.6, 0.2, false),
                refused,
            ],
        }
    }

    #[test]
    fn rounds_and_steps_are_those_of_the_engine() {
        assert_eq!([2, 3, 4, 5, 8].map(rounds), [1, 2, 2, 3, 3]);
        assert_eq!([1, 2, 3].map(|round| step_of(round, 3, 1200)), [300, 600, 1200]);
    }

    #[test]
    fn who_dropped_out_is_told_with_round_and_reason() {
        let mut race = race();
        assert_eq!(race.fate("a"), Fate::Waits);
        race.hear("b", 3, 1.0);
        assert_eq!((race.fate("a"), race.fate("b"), race.fate("c")), (Fate::Rests, Fate::Runs, Fate::Waits));
        race.take(first_round());
        assert_eq!(race.order(), ["b", "a", "c", "d"]);
        assert_eq!(race.fate("c"), Fate::Behind(1, 50));
        assert_eq!(race.fate("d"), Fate::Refused("no place for it".to_owned()));
        assert_eq!(race.winner(), None, "a round before the last has none");
        let last = vec![standing("a", 1.3, 0.0, true), standing("b", 1.35, 0.05, false)];
        race.take(RaceRound { round: 2, rounds: 2, step: 100, standings: last });
        race.end = Some(End::Whole);
        assert_eq!(race.order(), ["a", "b", "c", "d"]);
        assert_eq!((race.fate("a"), race.fate("b")), (Fate::Won, Fate::Behind(2, 100)));
        assert_eq!(race.winner().map(|one| one.method.as_str()), Some("a"));
    }

    #[test]
    fn a_race_that_was_stopped_leaves_open_who_is_better() {
        let mut race = race();
        race.take(first_round());
        race.end = Some(End::Stopped);
        assert_eq!((race.fate("b"), race.fate("c")), (Fate::Open, Fate::Behind(1, 50)));
    }

    #[test]
    fn the_pace_is_that_of_steps_in_a_row() {
        let mut race = race();
        race.hear("a", 1, 10.0);
        assert!(race.step_secs("a").is_nan());
        race.hear("a", 5, 12.0);
        // The other one's time is not that of this one.
        race.hear("b", 1, 20.0);
        race.hear("a", 6, 30.0);
        race.hear("a", 8, 31.0);
        assert!((race.step_secs("a") - 0.5).abs() < 1e-12);
        race.hear("nobody", 4, 40.0);
        assert_eq!(race.running(), Some(("a", 8)));
    }
}
