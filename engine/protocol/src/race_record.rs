//! A race of methods as it is kept beside the runs of a project: who raced, what each round said, who won.
//!
//! ```text
//! <project>/races/0001.json
//! ```
//!
//! Place in the data flow: the engine writes the file when a race begins, when one of its runs begins, after each round
//! and at the end, so that a race that was broken off is on record as far as it came. The window lists the files and draws
//! a past race from one of them and from what is left of its runs. A file may come from another machine: what this
//! program would not have written is passed over.

use crate::event_parts::RaceRound;
use crate::problem::Problem;
use crate::whole_file;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::path::{Path, PathBuf};

/// Folder of the races inside a project.
pub const RACES: &str = "races";
/// Version of the file that this program writes, and the only one it reads.
pub const SCHEMA: u32 = 1;
/// Ending of a race's file.
const ENDING: &str = "json";
/// Largest file that is read, bytes. A race of eight methods takes a few thousand.
const MOST_BYTES: u64 = 1 << 20;
/// Most races that are listed, the newest ones.
const MOST_LISTED: usize = 200;
/// Most methods and most rounds that a file is believed: more than a race has.
const MOST_RACERS: usize = 64;
const MOST_ROUNDS: u64 = 16;

/// A race of methods, as its file says it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RaceRecord {
    /// Version of the file.
    pub schema: u32,
    /// Its number, from 1 within the project; the name of the file says the same and is believed.
    #[serde(default)]
    pub number: u64,
    /// When it began, milliseconds since 1970.
    #[serde(default)]
    pub started_millis: i64,
    /// Steps of the whole training: what the last round trains up to.
    pub steps: u64,
    /// Settings on top of the project, dotted keys with their values.
    #[serde(default)]
    pub set: Vec<(String, String)>,
    /// The project as it stood when the race began, those settings included.
    #[serde(default)]
    pub settings_toml: String,
    /// Its methods, in the order in which they were named.
    pub racers: Vec<Racer>,
    /// What each round said, oldest first.
    #[serde(default)]
    pub rounds: Vec<RaceRound>,
    /// How it ended; nothing while it goes on, and when its engine went away.
    #[serde(default)]
    pub end: Option<RaceEnd>,
}

/// A method in a race that is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Racer {
    /// Method id.
    pub method: String,
    /// Its run, once there was one; the run may have been removed since.
    #[serde(default)]
    pub run: Option<u64>,
    /// Seconds of a step, what lies between two steps included; nothing before two were heard of.
    #[serde(default)]
    pub step_secs: Option<f64>,
}

/// How a race ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum RaceEnd {
    /// All rounds were run.
    Whole,
    /// A person stopped it.
    Stopped,
    /// It could not go on.
    Failed {
        /// Why.
        problem: Problem,
    },
}

impl RaceRecord {
    /// The winner's method; nothing when the last round was not reached.
    #[must_use]
    pub fn winner(&self) -> Option<&str> {
        let last = self.rounds.last().filter(|round| round.round == round.rounds)?;
        last.standings.iter().find(|one| one.stays).map(|one| one.method.as_str())
    }

    /// Writes it into the project's folder: under a temporary name first, so that nobody reads half of it.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn write(&self, project_dir: &Path) -> std::io::Result<PathBuf> {
        let path = path_of(project_dir, self.number);
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::other)?;
        std::fs::create_dir_all(project_dir.join(RACES))?;
        whole_file::write_synced(&path, text)?;
        Ok(path)
    }

    /// Whether a race could have been so.
    fn is_possible(&self) -> bool {
        let racers = self.racers.len();
        let fits = |round: &RaceRound| (1..=round.rounds).contains(&round.round) && round.standings.len() <= racers;
        self.schema == SCHEMA
            && (1..=MOST_RACERS).contains(&racers)
            && self.rounds.len() as u64 <= MOST_ROUNDS
            && self.rounds.iter().all(|round| round.rounds <= MOST_ROUNDS && fits(round))
    }
}

/// The file of a race.
#[must_use]
pub fn path_of(project_dir: &Path, number: u64) -> PathBuf {
    project_dir.join(RACES).join(format!("{number:04}.{ENDING}"))
}

/// The number of a race's file; nothing for other names.
fn number_of(path: &Path) -> Option<u64> {
    let is_race = path.extension().is_some_and(|ending| ending == ENDING);
    is_race.then(|| path.file_stem()?.to_str()?.parse().ok())?
}

/// Files of the races of a project with their numbers, newest first; none without a folder that can be read.
fn files(project_dir: &Path) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(project_dir.join(RACES)).into_iter().flatten().flatten();
    let mut found: Vec<(u64, PathBuf)> =
        entries.map(|entry| entry.path()).filter_map(|path| Some((number_of(&path)?, path))).collect();
    found.sort_by_key(|(number, _)| Reverse(*number));
    found
}

/// The number of the next race of a project.
#[must_use]
pub fn next_number(project_dir: &Path) -> u64 {
    files(project_dir).first().map_or(1, |(number, _)| number.saturating_add(1))
}

/// Reads the file of a race; nothing when it is none of this program's.
#[must_use]
pub fn read(path: &Path) -> Option<RaceRecord> {
    let number = number_of(path)?;
    let meta = std::fs::metadata(path).ok()?;
    if !meta.is_file() || meta.len() > MOST_BYTES {
        return None;
    }
    let record: RaceRecord = serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    record.is_possible().then_some(RaceRecord { number, ..record })
}

/// The races of a project, newest first. A file that cannot be read is passed over.
#[must_use]
pub fn list(project_dir: &Path) -> Vec<RaceRecord> {
    files(project_dir).iter().take(MOST_LISTED).filter_map(|(_, path)| read(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_parts::Standing;
    use crate::problem::Code;

    fn record(number: u64) -> RaceRecord {
        let standing = |method: &str, loss: f64, stays: bool| Standing {
            method: method.to_owned(),
            run: Some(3),
            loss,
            difference: 0.0,
            band: f64::NAN,
            stays,
            refused: None,
        };
        let racer = |method: &str| Racer { method: method.to_owned(), run: Some(3), step_secs: Some(0.5) };
        RaceRecord {
            schema: SCHEMA,
            number,
            started_millis: 12,
            steps: 40,
            set: vec![("train.seed".to_owned(), "7".to_owned())],
            settings_toml: String::new(),
            racers: vec![racer("lora"), racer("dora")],
            rounds: vec![RaceRound {
                round: 1,
                rounds: 1,
                step: 40,
                standings: vec![standing("dora", 1.2, true), standing("lora", f64::NAN, false)],
            }],
            end: Some(RaceEnd::Whole),
        }
    }

    #[test]
    fn a_file_that_this_program_would_not_have_written_is_not_believed() {
        let possible = record(1);
        assert!(possible.is_possible());
        assert_eq!(possible.winner(), Some("dora"));
        let text = serde_json::to_string(&possible).expect("json");
        let read: RaceRecord = serde_json::from_str(&text).expect("a race");
        assert!(read.rounds[0].standings[1].loss.is_nan(), "what is no number is none again");
        assert_eq!((read.racers, read.set, read.end), (possible.racers, possible.set, possible.end));
        let mut endless = record(1);
        endless.rounds[0].rounds = u64::MAX;
        let mut later = record(1);
        later.schema = SCHEMA + 1;
        let mut crowd = record(1);
        crowd.racers.truncate(1);
        assert!([endless, later, crowd].iter().all(|one| !one.is_possible()));
    }

    #[test]
    fn a_race_that_goes_on_has_no_winner_and_an_older_file_may_say_less() {
        let text = r#"{"schema": 1, "steps": 40, "racers": [{"method": "lora"}, {"method": "dora"}]}"#;
        let race: RaceRecord = serde_json::from_str(text).expect("a race");
        assert_eq!((race.winner(), race.end.clone(), race.rounds.len()), (None, None, 0));
        let problem = Problem::new(Code::Io, "the disk is full", "", "");
        let end = RaceEnd::Failed { problem };
        let told = serde_json::to_string(&end).expect("json");
        assert!(told.contains("\"how\":\"failed\""), "{told}");
        assert_eq!(serde_json::from_str::<RaceEnd>(&told).expect("an end"), end);
    }
}
