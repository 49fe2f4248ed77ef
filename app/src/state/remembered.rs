//! What the room Compare remembers with a project: the chosen runs, how answers are sampled, and all votes.
//!
//! Place in the data flow: `update` writes it as `compare.json` beside the project file whenever it changed, and reads it
//! when the project is opened. A file that cannot be read is set aside, not written over: votes are work. It may also come
//! from somebody else: what it names beyond what the room can do is left out.

use super::answers::{HOTTEST, MOST_ANSWERS, Sampling, Vote, Who};
use super::compare::{Compare, MOST};
use serde::{Deserialize, Serialize};

/// Name of the file in the project folder.
pub const FILE_NAME: &str = "compare.json";
/// Version of the file that this program writes, and the only one it reads.
const SCHEMA: u32 = 1;
/// Largest file that is read: tens of thousands of votes. A larger one is set aside unread.
pub const MOST_BYTES: u64 = 8 << 20;
/// How the file names the base.
const BASE: &str = "base";

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Remembered {
    /// Chosen runs; nothing when nobody chose.
    pub chosen: Option<Vec<u64>>,
    /// How answers are sampled.
    pub sampling: Sampling,
    /// All votes.
    pub votes: Vec<Vote>,
}

/// The same as it stands in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    schema: u32,
    #[serde(default)]
    chosen: Option<Vec<u64>>,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    votes: Vec<StoredVote>,
}

/// A vote by names: `base` or the number of a run; no winner when none was best.
#[derive(Debug, Serialize, Deserialize)]
struct StoredVote {
    winner: Option<String>,
    shown: Vec<String>,
}

fn name(who: Who) -> String {
    who.map_or_else(|| BASE.to_owned(), |run| run.to_string())
}

/// Who is named; nothing when it is neither the base nor a number.
fn who(name: &str) -> Option<Who> {
    if name == BASE { Some(None) } else { name.parse().ok().map(Some) }
}

/// Whether these could have been shown side by side, and one of them, or nobody, could have won.
fn is_possible(shown: &[Who], winner: Option<Who>) -> bool {
    let once = |place: usize, who: &Who| !shown.get(..place).unwrap_or_default().contains(who);
    (2..=MOST_ANSWERS).contains(&shown.len())
        && shown.iter().enumerate().all(|(place, who)| once(place, who))
        && winner.is_none_or(|winner| shown.contains(&winner))
}

/// Each number once, and no more than can be compared.
fn each_once(mut runs: Vec<u64>) -> Vec<u64> {
    let mut known = Vec::new();
    runs.retain(|run| {
        let keeps = known.len() < MOST && !known.contains(run);
        if keeps {
            known.push(*run);
        }
        keeps
    });
    runs
}

impl Remembered {
    /// What of the room is remembered.
    #[must_use]
    pub fn of(compare: &Compare) -> Self {
        let Compare { chosen, answers, .. } = compare;
        Self { chosen: chosen.clone(), sampling: answers.sampling, votes: answers.votes.clone() }
    }

    /// Puts it back into the room.
    pub fn restore(self, compare: &mut Compare) {
        compare.chosen = self.chosen;
        compare.answers.sampling = self.sampling;
        compare.answers.votes = self.votes;
    }

    /// Reads the file's text; nothing when it is none of this program's.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let stored: Stored = serde_json::from_str(text).ok().filter(|stored: &Stored| stored.schema == SCHEMA)?;
        let usual = Sampling::default();
        let vote = |vote: StoredVote| {
            let shown: Option<Vec<Who>> = vote.shown.iter().map(|name| who(name)).collect();
            let winner = match vote.winner {
                Some(name) => Some(who(&name)?),
                None => None,
            };
            let shown = shown.filter(|shown| is_possible(shown, winner))?;
            Some(Vote { winner, shown })
        };
        Some(Self {
            chosen: stored.chosen.map(each_once),
            sampling: Sampling {
                seed: stored.seed.unwrap_or(usual.seed),
                temperature: stored.temperature.filter(|of| (0.0..=HOTTEST).contains(of)).unwrap_or(usual.temperature),
            },
            votes: stored.votes.into_iter().filter_map(vote).collect(),
        })
    }

    /// The text to write.
    #[must_use]
    pub fn text(&self) -> String {
        let vote = |vote: &Vote| StoredVote {
            winner: vote.winner.map(name),
            shown: vote.shown.iter().map(|who| name(*who)).collect(),
        };
        let stored = Stored {
            schema: SCHEMA,
            chosen: self.chosen.clone(),
            seed: Some(self.sampling.seed),
            temperature: Some(self.sampling.temperature),
            votes: self.votes.iter().map(vote).collect(),
        };
        serde_json::to_string_pretty(&stored).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vote_for_the_base_is_not_a_vote_for_nobody() {
        let vote = |winner| Vote { winner, shown: vec![None, Some(7)] };
        let remembered = Remembered {
            chosen: Some(vec![7, 3]),
            sampling: Sampling { seed: 9, temperature: 0.7 },
            votes: vec![vote(Some(None)), vote(None), vote(Some(Some(7)))],
        };
        assert_eq!(Remembered::read(&remembered.text()), Some(remembered));
    }

    #[test]
    fn older_files_have_less_and_others_are_not_read() {
        assert_eq!(Remembered::read("{\"schema\": 1}"), Some(Remembered::default()));
        assert_eq!(Remembered::read("votes"), None);
        let strange = "{\"schema\": 1, \"votes\": [{\"winner\": \"nobody\", \"shown\": [\"base\"]}]}";
        assert_eq!(Remembered::read(strange).map(|of| of.votes.len()), Some(0));
        assert_eq!(Remembered::read("{\"schema\": 2, \"chosen\": [1]}"), None, "a later program wrote it");
        assert_eq!(Remembered::read("{\"chosen\": [1]}"), None, "no version");
        assert_eq!(Remembered::read("[]"), None);
        let deep = "[".repeat(200_000);
        assert_eq!(Remembered::read(&deep), None, "nesting without end is no program's");
    }

    #[test]
    fn what_the_room_cannot_do_is_left_out() {
        let read = |inside: &str| Remembered::read(&format!("{{\"schema\": 1, {inside}}}")).expect("reads");
        assert_eq!(read("\"chosen\": [7, 7, 3, 1, 2, 4, 5, 6]").chosen, Some(vec![7, 3, 1, 2, 4]));
        let many: Vec<String> = (0..50_000).map(|run: u32| run.to_string()).collect();
        assert_eq!(read(&format!("\"chosen\": [{}]", many.join(","))).chosen.map(|of| of.len()), Some(MOST));
        for temperature in ["-1.0", "1e300", "99"] {
            let sampling = read(&format!("\"temperature\": {temperature}")).sampling;
            assert_eq!(sampling, Sampling::default(), "{temperature}");
        }
        for impossible in [
            "{\"winner\": \"3\", \"shown\": [\"base\", \"7\"]}",
            "{\"winner\": null, \"shown\": [\"7\"]}",
            "{\"winner\": null, \"shown\": [\"7\", \"7\"]}",
            "{\"winner\": null, \"shown\": [\"base\", \"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\"]}",
        ] {
            let possible = "{\"winner\": \"base\", \"shown\": [\"base\", \"7\"]}";
            let votes = read(&format!("\"votes\": [{impossible}, {possible}]")).votes;
            assert_eq!(votes.len(), 1, "{impossible}");
        }
    }
}
