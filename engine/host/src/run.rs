//! A run in this engine, from its acceptance to its one last event.
//!
//! Place in the data flow: every event of the trainer passes through [`RunSink`], which writes it to the
//! project's database before anybody hears of it: a checkpoint that was announced is on record even if
//! the process is killed in the next instant.

use crate::job::{RunJob, RunPlace, guarded};
use crate::outbox::{Outbox, is_measurement};
use crate::projects::{LiveRun, Projects};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use temper_protocol::{Code, Envelope, Event, Problem, RunStatus};
use temper_store::{DB_NAME, RunRow, RunUpdate, StoreError};
use temper_train::{Outcome, Want};

/// What a run started from, in its folder.
const RUN_FILE: &str = "run.json";

/// A run whose turn will come.
pub(crate) struct RunItem {
    pub(crate) req: u64,
    pub(crate) live: Arc<LiveRun>,
    pub(crate) place: RunPlace,
    /// The row of the run that it goes on with, as it was.
    pub(crate) before: Option<RunRow>,
    pub(crate) job: Box<dyn RunJob>,
}

impl RunItem {
    /// Trains, and says how it ended: exactly once, also after a panic.
    pub(crate) fn carry_out(self, outbox: &Arc<Outbox>, projects: &Projects) {
        let Self { req, live, place, before, job } = self;
        *live.figures.lock() = Figures::begun(before.as_ref());
        let mut sink = RunSink {
            req,
            place: place.clone(),
            outbox: Arc::clone(outbox),
            live: Arc::clone(&live),
            again: before.is_some(),
            before,
            unwritable: false,
            early: Vec::new(),
            hashed: false,
        };
        let result = if live.control.poll() >= Want::Stop {
            Err(withdrawn(place.run))
        } else if !is_in_place(&place.project_dir) {
            Err(moved_away(&place))
        } else {
            guarded(|| job.train(&place, &live.control, &mut |event| sink.take(event)))
        };
        let outcome = result.unwrap_or_else(|problem| live.figures.lock().outcome(problem));
        drop(place);
        sink.finish(outcome, &live, projects);
    }

    /// Ends a run that was withdrawn before its turn came.
    pub(crate) fn withdraw(self, outbox: &Arc<Outbox>, projects: &Projects) {
        self.live.control.request(temper_protocol::Act::Cancel);
        self.carry_out(outbox, projects);
    }
}

/// Whether the project is where it was when the run was accepted. Its database is open and would be written wherever it is;
/// what a run writes by name would make a second, empty project in the old place.
fn is_in_place(project_dir: &Path) -> bool {
    project_dir.join(DB_NAME).is_file()
}

fn moved_away(place: &RunPlace) -> Problem {
    Problem::new(
        Code::NotFound,
        format!("the project was moved or deleted while run {} waited for its turn", place.run),
        place.project_dir.display().to_string(),
        "open the project in its new place and start the run again there",
    )
}

fn withdrawn(run: u64) -> Problem {
    Problem::new(Code::Cancelled, "the run was withdrawn before it began", format!("run {run}"), "start it again")
}

/// What is known of a run while it goes on, for the case that it cannot say so itself any more.
#[derive(Debug)]
pub(crate) struct Figures {
    /// Whether its turn has come.
    begun: bool,
    /// What is being prepared; empty once it trains.
    stage: String,
    steps: u64,
    best_step: u64,
    base_loss: f64,
    last_loss: f64,
    best_loss: f64,
    forgetting: f64,
    forgetting_step: u64,
    tokens_per_sec: f64,
    peak_rss_mib: f64,
    begin: std::time::Instant,
}

impl Figures {
    /// Of a run whose turn has not come.
    pub(crate) fn waiting(before: Option<&RunRow>) -> Self {
        Self { begun: false, ..Self::begun(before) }
    }

    /// Nothing is known of a new run; one that goes on has what it had.
    fn begun(before: Option<&RunRow>) -> Self {
        let nothing = RunRow::default();
        let before = before.unwrap_or(&nothing);
        Self {
            begun: true,
            stage: String::new(),
            steps: before.steps,
            best_step: before.best_step,
            base_loss: before.base_loss,
            last_loss: before.final_loss,
            best_loss: before.best_loss,
            forgetting: before.forgetting,
            forgetting_step: 0,
            tokens_per_sec: before.tokens_per_sec,
            peak_rss_mib: before.peak_rss_mib,
            begin: std::time::Instant::now(),
        }
    }

    /// Whether its turn has come.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Optimiser steps done.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// The end of a run that got no memory: `bytes` were asked for, by whomever.
    pub(crate) fn out_of_memory(&self, run: u64, bytes: usize) -> Outcome {
        if !self.begun {
            return self.outcome(withdrawn(run));
        }
        let doing = match (self.stage.as_str(), self.steps) {
            ("", steps) => format!("training, after step {steps}"),
            (stage, 0) => stage.to_owned(),
            (stage, steps) => format!("{stage}, after step {steps}"),
        };
        let then = if self.steps == 0 {
            "then start the run again".to_owned()
        } else {
            format!("then go on with: temper train PROJECT --resume {run}. Its checkpoints are whole")
        };
        let action = format!(
            "lower train.batch or data.max_tokens, set train.recompute = \"on\", or close other programs; {then}"
        );
        self.outcome(crate::memory::problem(bytes, &doing, format!("run {run}"), &action))
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Preparing { stage, .. } => stage.clone_into(&mut self.stage),
            Event::Started { resumed_from, .. } => self.steps = *resumed_from,
            Event::Step { step, .. } if !self.stage.is_empty() => {
                self.stage.clear();
                self.steps = *step;
                self.note(event);
            }
            Event::Step { step, tokens_per_sec, rss_mib, .. } => {
                self.steps = *step;
                self.tokens_per_sec = *tokens_per_sec;
                self.peak_rss_mib = self.peak_rss_mib.max(*rss_mib);
            }
            Event::Eval { step, split, loss, best } if split == "validation" => {
                self.last_loss = *loss;
                if *step == 0 {
                    self.base_loss = *loss;
                }
                if *best {
                    self.best_step = *step;
                    self.best_loss = *loss;
                }
            }
            Event::Probe { step, loss_delta, .. } => {
                // The worst of the sets of a step; no number is worse than any.
                let is_worse = *step != self.forgetting_step || loss_delta.is_nan() || *loss_delta > self.forgetting;
                if is_worse {
                    self.forgetting = *loss_delta;
                }
                self.forgetting_step = *step;
            }
            _ => {}
        }
    }

    /// The end of a run that could not say itself how it ended.
    fn outcome(&self, problem: Problem) -> Outcome {
        let cancelled = problem.code == Code::Cancelled;
        Outcome {
            status: if cancelled { RunStatus::Cancelled } else { RunStatus::Failed },
            steps: self.steps,
            best_step: self.best_step,
            base_loss: self.base_loss,
            final_loss: self.last_loss,
            best_loss: self.best_loss,
            forgetting: self.forgetting,
            tokens_per_sec: self.tokens_per_sec,
            cpu_secs_per_step: 0.0,
            peak_rss_mib: self.peak_rss_mib,
            wall_secs: self.begin.elapsed().as_secs_f64(),
            adapter: None,
            problem: (!cancelled).then_some(problem),
        }
    }
}

/// How far an event came.
enum Reached {
    /// It waits for the writer thread.
    Memory,
    /// It is in the database.
    Disk,
}

/// Where the events of one run go: database first, then the listener.
struct RunSink {
    req: u64,
    place: RunPlace,
    outbox: Arc<Outbox>,
    live: Arc<LiveRun>,
    again: bool,
    /// The row of the run that it goes on with, as it was.
    before: Option<RunRow>,
    /// Whether the person has been told that the database cannot be written.
    unwritable: bool,
    /// What a resumed run says before it has cut back what it will do again.
    early: Vec<Event>,
    /// Whether the hashes of what the run started from are in its row.
    hashed: bool,
}

impl RunSink {
    fn take(&mut self, event: Event) {
        if event.is_last() || matches!(event, Event::Finished { .. }) {
            tracing::error!(?event, "a run tried to end itself");
            return;
        }
        if self.live.ended.load(Ordering::Acquire) {
            return;
        }
        self.live.figures.lock().note(&event);
        let written = self.write(&event);
        self.say(event);
        self.report(written);
    }

    /// Hands an event to the database. News are on the disk when this returns, numbers a little later.
    fn write(&mut self, event: &Event) -> Result<Reached, StoreError> {
        let RunPlace { run, run_dir, store, .. } = &self.place;
        match event {
            Event::Progress { .. } | Event::Text { .. } => return Ok(Reached::Memory),
            Event::Warning { .. } if self.again => {
                self.early.push(event.clone());
                return Ok(Reached::Memory);
            }
            Event::Started { resumed_from, .. } if self.again => {
                self.again = false;
                store.truncate_after(*run, *resumed_from)?;
            }
            Event::Checkpoint { path, bytes, .. } => {
                store.record_file(*run, path, &checkpoint_hash(path), *bytes)?;
                if !self.hashed {
                    self.hashed = true;
                    let hashes = Some(start_hashes(run_dir));
                    store.update_run(*run, &RunUpdate { hashes, ..RunUpdate::default() })?;
                }
            }
            _ => {}
        }
        store.push_event(*run, event)?;
        if let Event::Started { .. } = event {
            for early in self.early.drain(..) {
                store.push_event(*run, &early)?;
            }
        }
        if is_measurement(event) || matches!(event, Event::Preparing { .. }) {
            return Ok(Reached::Memory);
        }
        store.flush()?;
        Ok(Reached::Disk)
    }

    /// Training goes on when the database cannot be written: what matters is in the checkpoints.
    fn report(&mut self, written: Result<Reached, StoreError>) {
        match written {
            Ok(Reached::Disk) => self.unwritable = false,
            Ok(Reached::Memory) => {}
            Err(error) if !self.unwritable => {
                self.unwritable = true;
                let problem = Problem::from(error);
                let text = format!(
                    "the run's curves cannot be written at the moment: {problem}. Training goes on, and what waits is \
                     written as soon as it can be"
                );
                tracing::warn!(run = self.place.run, "{text}");
                self.say(Event::Warning {
                    code: "database_not_written".to_owned(),
                    text,
                    step: self.live.figures.lock().steps(),
                });
            }
            Err(_) => {}
        }
    }

    fn say(&self, event: Event) {
        self.outbox.push(Envelope { req: self.req, event });
    }

    /// The one last event. The project is free and its database closed before anybody hears it.
    fn finish(mut self, outcome: Outcome, live: &Arc<LiveRun>, projects: &Projects) {
        let run = self.place.run;
        if live.ended.swap(true, Ordering::AcqRel) {
            // The thread that watches memory has said how it ended.
            projects.remove_run(live);
            return;
        }
        let (stays, problem) = (self.stays_as_it_was(), outcome.problem.clone());
        let finished = outcome.into_finished(run);
        let (on_record, last) = match (&stays, problem) {
            (None, _) => (finished.clone(), finished),
            (Some(row), Some(problem)) => (not_gone_on(row, &problem.to_string()), Event::Error(problem)),
            (Some(row), None) => (not_gone_on(row, "it was taken out before its turn came"), finished),
        };
        let early = std::mem::take(&mut self.early);
        let store = &self.place.store;
        let written = early
            .iter()
            .try_for_each(|event| store.push_event(run, event))
            .and_then(|()| store.push_event(run, &on_record))
            .and_then(|()| store.flush())
            // After what waited in memory, which calls the run queued or preparing.
            .and_then(|()| stays.as_ref().map_or(Ok(()), |row| store.update_run(run, &as_it_was(row))))
            .map(|()| Reached::Disk);
        self.report(written);
        projects.remove_run(live);
        let Self { req, place, outbox, .. } = self;
        drop(place);
        // By the key of its acceptance: the project may have been moved since.
        projects.leave(&live.project);
        outbox.push(Envelope { req, event: last });
    }

    /// The row of a run that had ended and was to be given more, but did not go on: it has ended as it had before, with its
    /// results and its settings.
    fn stays_as_it_was(&mut self) -> Option<RunRow> {
        let has_ended = |row: &RunRow| matches!(row.status.as_str(), "finished" | "stopped");
        self.before.take().filter(|row| self.again && has_ended(row))
    }
}

/// Why an ended run was not gone on with, for its list of events.
fn not_gone_on(row: &RunRow, why: &str) -> Event {
    let text = format!("the run was to go on and did not: {why}. It is as it was");
    Event::Warning { code: "not_gone_on".to_owned(), text, step: row.steps }
}

/// What acceptance and preparation changed in a row, as it was.
fn as_it_was(row: &RunRow) -> RunUpdate {
    RunUpdate {
        status: Some(row.status.clone()),
        settings_toml: Some(row.settings_toml.clone()),
        max_steps: Some(row.max_steps),
        ..RunUpdate::default()
    }
}

/// What the run's `run.json` says it started from: base, data, kept sets, settings, program.
fn start_hashes(run_dir: &Path) -> BTreeMap<String, String> {
    let file = std::fs::read(run_dir.join(RUN_FILE)).unwrap_or_default();
    let run: serde_json::Value = serde_json::from_slice(&file).unwrap_or_default();
    let hashes = run.get("hashes").and_then(serde_json::Value::as_object).into_iter().flatten();
    let program = run.get("program").map(|hash| ("program", hash));
    hashes
        .map(|(name, hash)| (name.as_str(), hash))
        .chain(program)
        .filter_map(|(name, hash)| Some((name.to_owned(), hash.as_str()?.to_owned())))
        .collect()
}

/// Hash of a checkpoint's `state.json`, which in turn holds the hashes of its other files.
fn checkpoint_hash(folder: &Path) -> String {
    let bytes = std::fs::read(folder.join(temper_train::checkpoint::STATE_FILE)).unwrap_or_default();
    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
