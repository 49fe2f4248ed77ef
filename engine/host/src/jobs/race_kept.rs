//! The record of a race while it is run: written anew whenever something is decided.
//!
//! Place in the data flow: [`super::race`] tells it what happens, it writes [`RaceRecord`] into the project. A race is
//! worth more than its record: what cannot be written is said once, and the race goes on.

use crate::job::JobContext;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use temper_protocol::event::RaceRound;
use temper_protocol::race_record::{self, RaceEnd, RaceRecord, Racer};
use temper_protocol::{Code, Event, Problem, Project, project_file};

/// Code of the warning that a race is not on record.
const NOT_KEPT: &str = "race_not_kept";

/// Steps in a row of a method, and the seconds they took.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    steps: u64,
    secs: f64,
}

/// A race that is being recorded.
pub(super) struct Kept<'a> {
    folder: PathBuf,
    record: RaceRecord,
    paces: BTreeMap<String, Pace>,
    context: &'a JobContext,
    warned: bool,
}

impl<'a> Kept<'a> {
    /// Begins the record of a race of `methods` in the project's `folder`.
    pub(super) fn begin(
        folder: &Path,
        project: &Project,
        (methods, set): (&[String], &[(String, String)]),
        context: &'a JobContext,
    ) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let racer = |method: &String| Racer { method: method.clone(), run: None, step_secs: None };
        let record = RaceRecord {
            schema: race_record::SCHEMA,
            number: race_record::next_number(folder),
            started_millis: since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            steps: project.train.steps,
            set: set.to_vec(),
            // It was read from a text a moment ago; were it not to become one again, the runs have theirs.
            settings_toml: project_file::to_text(project).unwrap_or_default(),
            racers: methods.iter().map(racer).collect(),
            rounds: Vec::new(),
            end: None,
        };
        let mut kept = Self { folder: folder.to_path_buf(), record, paces: BTreeMap::new(), context, warned: false };
        kept.write();
        kept
    }

    /// A method became a run.
    pub(super) fn started(&mut self, method: &str, run: u64) {
        let racer = self.record.racers.iter_mut().find(|racer| racer.method == method && racer.run != Some(run));
        if let Some(racer) = racer {
            racer.run = Some(run);
            self.write();
        }
    }

    /// A method went so many steps in so many seconds. It is written with what is decided next.
    pub(super) fn went(&mut self, method: &str, steps: u64, secs: f64) {
        let pace = self.paces.entry(method.to_owned()).or_default();
        pace.steps += steps;
        pace.secs += secs;
    }

    /// A round is over.
    pub(super) fn round(&mut self, round: RaceRound) {
        self.record.rounds.push(round);
        self.write();
    }

    /// The race is over.
    pub(super) fn end(&mut self, ended: &Result<(), Problem>) {
        self.record.end = Some(match ended {
            Ok(()) => RaceEnd::Whole,
            Err(problem) if problem.code == Code::Cancelled => RaceEnd::Stopped,
            Err(problem) => RaceEnd::Failed { problem: problem.clone() },
        });
        self.write();
    }

    fn write(&mut self) {
        for racer in &mut self.record.racers {
            let pace = self.paces.get(&racer.method).filter(|pace| pace.steps > 0);
            racer.step_secs = pace.map(|pace| pace.secs / pace.steps as f64);
        }
        let Err(error) = self.record.write(&self.folder) else { return };
        tracing::warn!(%error, "the race is not on record");
        if !std::mem::replace(&mut self.warned, true) {
            let text = format!("the race goes on, but cannot be kept beside the runs: {error}");
            self.context.emit(Event::Warning { code: NOT_KEPT.to_owned(), text, step: 0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Outbox;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    fn context() -> (Arc<Outbox>, JobContext) {
        let outbox = Arc::new(Outbox::new());
        let context = JobContext::new(1, Arc::clone(&outbox), Arc::new(AtomicBool::new(false)));
        (outbox, context)
    }

    fn race(folder: &Path, context: &JobContext, end: &Result<(), Problem>) {
        let project = Project::new("tone", "builtin:starter", &["builtin:starter-data".to_owned()], "lora");
        let methods = ["lora", "dora"].map(str::to_owned);
        let mut kept = Kept::begin(folder, &project, (&methods, &[]), context);
        kept.started("dora", 4);
        kept.went("dora", 3, 1.5);
        kept.round(RaceRound { round: 1, rounds: 1, step: 8, standings: Vec::new() });
        kept.end(end);
    }

    #[test]
    fn a_race_is_on_record_from_its_beginning_to_its_end() {
        let root = tempfile::tempdir().expect("folder");
        let (_outbox, context) = context();
        let stopped = Err(Problem::new(Code::Cancelled, "cancelled", "", ""));
        race(root.path(), &context, &Ok(()));
        race(root.path(), &context, &stopped);
        let found = race_record::list(root.path());
        let ends: Vec<_> = found.iter().map(|race| (race.number, race.end.clone())).collect();
        assert_eq!(ends, [(2, Some(RaceEnd::Stopped)), (1, Some(RaceEnd::Whole))]);
        let first = found.first().expect("one");
        let dora = first.racers.iter().find(|racer| racer.method == "dora").expect("raced");
        assert_eq!((dora.run, dora.step_secs), (Some(4), Some(0.5)));
        assert!(first.settings_toml.contains("builtin:starter"), "{}", first.settings_toml);
    }

    #[test]
    fn a_file_that_is_no_race_is_passed_over_and_its_number_is_taken() {
        let root = tempfile::tempdir().expect("folder");
        assert_eq!((race_record::next_number(root.path()), race_record::list(root.path()).len()), (1, 0));
        let (_outbox, context) = context();
        race(root.path(), &context, &Ok(()));
        let races = root.path().join(race_record::RACES);
        std::fs::write(races.join("0011.json"), "half a fi").expect("file");
        std::fs::write(races.join("notes.json"), "{}").expect("file");
        race(root.path(), &context, &Ok(()));
        let numbers: Vec<u64> = race_record::list(root.path()).iter().map(|race| race.number).collect();
        assert_eq!(numbers, [12, 1], "newest first");
        let left = std::fs::read_dir(&races).expect("folder").flatten();
        assert_eq!(left.count(), 4, "nothing half-written stays");
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_said_once_and_ends_nothing() {
        let root = tempfile::tempdir().expect("folder");
        // Where the folder of the races should be lies a file.
        std::fs::write(root.path().join(race_record::RACES), "").expect("file");
        let (outbox, context) = context();
        race(root.path(), &context, &Ok(()));
        let mut said = Vec::new();
        outbox.drain(&mut said);
        let warnings =
            said.iter().filter(|told| matches!(&told.event, Event::Warning { code, .. } if code == NOT_KEPT));
        assert_eq!(warnings.count(), 1, "{said:?}");
    }
}
