//! What happens when the last run of the queue has ended: nothing, the window closes, or the machine is shut down.
//!
//! Place in the data flow: a person chooses in the sheet of the queue; `update` looks before every frame whether it is
//! time, and counts down in a card that any other act takes away. The choice holds for this session and this project and
//! is never written anywhere.

use super::{State, race};
use std::collections::BTreeSet;
use std::path::PathBuf;
use temper_protocol::{Code, Problem};

/// How long the card counts down.
pub const COUNTDOWN_MILLIS: i64 = 60_000;
/// How late the end of the count may be noticed. Who is later has slept, and counts anew: nobody saw the card.
const LATE_MILLIS: i64 = 30_000;

/// What happens when nothing is left to train.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    #[default]
    Nothing,
    /// The window closes.
    Close,
    /// The machine is shut down.
    ShutDown,
}

impl After {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Nothing, Self::Close, Self::ShutDown];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => t!("after-nothing"),
            Self::Close => t!("after-close"),
            Self::ShutDown => t!("after-shut-down"),
        }
    }
}

/// The choice, and how far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Afterwards {
    /// What was chosen.
    pub wish: After,
    /// When the card's count ends, milliseconds since 1970; nothing while none is shown.
    pub until_millis: Option<i64>,
    /// The project that it was chosen for.
    project: Option<PathBuf>,
    /// Runs that went on or waited since.
    seen: BTreeSet<u64>,
    /// Something was trained since, or then.
    begun: bool,
    /// A race was among it.
    raced: bool,
}

impl Afterwards {
    /// Seconds left of the count, whole ones.
    #[must_use]
    pub fn left_secs(&self, now_millis: i64) -> Option<u64> {
        let left = self.until_millis?.saturating_sub(now_millis).max(0);
        u64::try_from(left).ok().map(|left| left.div_ceil(1000))
    }
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    Wait,
    /// The card is to be shown and counts.
    Count,
    /// The count goes on.
    Counts,
    /// Something is trained again: the card goes, the choice stays.
    Resume,
    /// The count has ended: it is time.
    Act(After),
    /// It must not be done: the disk is full or a run could not write to it.
    HeldByDisk,
    /// It must not be done: a run lost its engine.
    HeldByLoss,
    /// Another project is open.
    Elsewhere,
}

/// Whether anything goes on that a person waits for.
fn is_busy(state: &State) -> bool {
    state.is_training()
        || !state.waiting_rows().is_empty()
        || state.setup.train_wanted
        || state.rehousing
        // What cannot be read may go on.
        || state.runs.problem.is_some()
        || state.jobs.find(|ask| ask.words().is_some()).is_some()
}

/// Runs that go on or wait.
fn active(state: &State) -> impl Iterator<Item = u64> {
    state.runs.runs.iter().filter(|row| row.is_active()).map(|row| row.run)
}

/// Makes a choice.
pub fn choose(state: &mut State, wish: After) {
    let seen = active(state).collect();
    let begun = is_busy(state);
    let raced = race::goes_on(state);
    let project = state.draft.folder.clone();
    state.afterwards = Afterwards { wish, until_millis: None, project, seen, begun, raced };
}

/// Looks what is to be done, and remembers which runs there were.
pub fn turn(state: &mut State) -> Turn {
    if state.afterwards.wish == After::Nothing {
        return Turn::Wait;
    }
    if state.afterwards.project != state.draft.folder {
        return Turn::Elsewhere;
    }
    if is_busy(state) {
        let now: Vec<u64> = active(state).collect();
        let races = race::goes_on(state);
        let after = &mut state.afterwards;
        after.seen.extend(now);
        after.begun = true;
        after.raced |= races;
        return if after.until_millis.take().is_some() { Turn::Resume } else { Turn::Wait };
    }
    if !state.afterwards.begun {
        return Turn::Wait;
    }
    if let Some(held) = held(state) {
        return held;
    }
    let now = state.clock.now_millis();
    let after = &mut state.afterwards;
    match after.until_millis {
        None => {
            after.until_millis = Some(now.saturating_add(COUNTDOWN_MILLIS));
            Turn::Count
        }
        Some(until) if now < until => Turn::Counts,
        Some(until) if now > until.saturating_add(LATE_MILLIS) => {
            after.until_millis = Some(now.saturating_add(COUNTDOWN_MILLIS));
            Turn::Counts
        }
        Some(_) => Turn::Act(after.wish),
    }
}

/// What forbids it: a run that could not write, or one that lost its engine, wants a person.
fn held(state: &State) -> Option<Turn> {
    let seen = |row: &&temper_store::RunRow| state.afterwards.seen.contains(&row.run);
    let rows = || state.runs.runs.iter().filter(seen);
    let of_disk = |problem: Option<&Problem>| problem.is_some_and(|problem| problem.code == Code::Io);
    let race = race::problem(state).filter(|_| state.afterwards.raced);
    let full = rows().any(|row| row.status == "failed" && of_disk(row.problem.as_ref()));
    if full || of_disk(race) || of_disk(state.engine.problem.as_ref()) {
        return Some(Turn::HeldByDisk);
    }
    let gone = race.is_some_and(|problem| problem.code == Code::Internal);
    let lost = gone || state.engine.lost_run.is_some() || rows().any(|row| state.is_interrupted(row));
    lost.then_some(Turn::HeldByLoss)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Places;
    use crate::state::{Ask, Clock};

    fn state() -> State {
        let root = PathBuf::new();
        let places = Places { config: root.clone(), data: root.clone(), projects: root };
        State::new(places, Clock::Fixed(1_000_000))
    }

    fn at(state: &mut State, secs: i64) -> Turn {
        state.clock = Clock::Fixed(1_000_000 + secs * 1000);
        turn(state)
    }

    #[test]
    fn it_waits_for_something_to_end_and_then_counts_a_minute() {
        let mut state = state();
        choose(&mut state, After::ShutDown);
        assert_eq!(at(&mut state, 0), Turn::Wait, "nothing was trained yet");
        state.jobs.add(1, Ask::Race, 0.0);
        assert_eq!(at(&mut state, 5), Turn::Wait);
        state.jobs.remove(1);
        assert_eq!(at(&mut state, 10), Turn::Count);
        assert_eq!(at(&mut state, 69), Turn::Counts);
        assert_eq!(state.afterwards.left_secs(state.clock.now_millis()), Some(1));
        assert_eq!(at(&mut state, 70), Turn::Act(After::ShutDown));
    }

    #[test]
    fn what_begins_meanwhile_takes_the_card_away_and_who_slept_counts_anew() {
        let mut state = state();
        state.jobs.add(1, Ask::Race, 0.0);
        choose(&mut state, After::Close);
        state.jobs.remove(1);
        assert_eq!(at(&mut state, 0), Turn::Count);
        state.jobs.add(2, Ask::Race, 0.0);
        assert_eq!(at(&mut state, 30), Turn::Resume);
        assert_eq!(at(&mut state, 31), Turn::Wait);
        state.jobs.remove(2);
        assert_eq!(at(&mut state, 40), Turn::Count);
        assert_eq!(at(&mut state, 4000), Turn::Counts, "the machine slept over the end");
        assert_eq!(at(&mut state, 4060), Turn::Act(After::Close));
    }

    #[test]
    fn a_lost_engine_and_a_full_disk_want_a_person() {
        let mut state = state();
        state.jobs.add(1, Ask::Race, 0.0);
        choose(&mut state, After::ShutDown);
        state.jobs.remove(1);
        state.engine.lost_run = Some(7);
        assert_eq!(at(&mut state, 0), Turn::HeldByLoss);
        state.engine.problem = Some(Problem::new(Code::Io, "the disk is full", "", ""));
        assert_eq!(at(&mut state, 0), Turn::HeldByDisk);
        state.draft.folder = Some(PathBuf::from("/elsewhere"));
        assert_eq!(at(&mut state, 0), Turn::Elsewhere);
    }
}
