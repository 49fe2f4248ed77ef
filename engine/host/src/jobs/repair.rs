//! `runs --repair`: a damaged or lost run database is replaced, and runs that it does not know are taken in from
//! their folders.
//!
//! Place in the data flow: the store keeps the damaged file and salvages what is readable; what a run's newest whole
//! checkpoint knows of it is read here, because only the trainer's formats say that.

use crate::job::JobContext;
use crate::names::{self, FoundRun};
use crate::projects::key;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use temper_protocol::{Code, Event, Problem};
use temper_store::{INTERRUPTED, NewRun, ProjectLock, Reader, RunUpdate, Store};
use temper_train::checkpoint::{self, Checkpoints};
use temper_train::state::State;

/// Repairs and says what was found.
pub(super) fn repair(project: &Path, context: &JobContext) -> Result<(), Problem> {
    let dir = names::project_dir_of(Some(project))?;
    if !dir.is_dir() {
        let action = "give a project's folder or its project.toml";
        return Err(Problem::new(Code::NotFound, "there is no such folder", dir.display().to_string(), action));
    }
    let _lock = ProjectLock::acquire(&dir)?;
    let warn = |code: &str, text: String| context.emit(Event::Warning { code: code.to_owned(), text, step: 0 });
    let (store, repaired) = Store::repair(&dir)?;
    if let Some(done) = &repaired {
        let text = format!(
            "the run database was damaged: it is kept as {}, and a new one has what could be read of it: {} runs, {} \
             events, {} points of curves",
            done.aside.display(),
            done.runs,
            done.events,
            done.points
        );
        warn("database_set_aside", text);
    }
    store.mark_interrupted()?;
    let rows = Reader::open(&dir)?.runs()?;
    if repaired.is_some() {
        for row in rows.iter().filter(|row| row.status == INTERRUPTED) {
            // What the damaged database could not be told stands in the checkpoints.
            if let (Some(newest), _) = Checkpoints::existing(&row.folder).newest_valid()
                && newest.meta.state.step > row.steps
            {
                store.update_run(row.run, &known_from(&newest.meta.state, &row.folder))?;
            }
        }
    }
    let known: BTreeSet<PathBuf> = rows.iter().map(|row| key(&row.folder)).collect();
    let unknown: Vec<PathBuf> =
        names::run_folders(&dir).into_iter().filter(|folder| !known.contains(&key(folder))).collect();
    for folder in &unknown {
        context.check_cancelled()?;
        match adopt(&store, folder) {
            Ok(run) => {
                let text = format!("run {run} is listed again, from {}; its curves are lost", folder.display());
                warn("run_adopted", text);
            }
            Err(problem) => warn("run_not_adopted", format!("a run is left out: {problem}")),
        }
    }
    if repaired.is_none() && unknown.is_empty() {
        warn("database_whole", "the run database is whole and knows every run: nothing was changed".to_owned());
    }
    Reader::open(&dir)?.runs()?.iter().for_each(|row| context.emit(row.to_event()));
    Ok(())
}

/// Gives a run that is there as a folder its row again; returns its number.
fn adopt(store: &Store, folder: &Path) -> Result<u64, Problem> {
    let found = FoundRun::of_folder(folder.to_path_buf());
    let (newest, _damaged) = Checkpoints::existing(folder).newest_valid();
    let newest = newest.ok_or_else(|| {
        let action = "nothing of it can be used: its folder can be deleted";
        Problem::new(Code::NotFound, "it has no whole checkpoint", folder.display().to_string(), action)
    })?;
    let state = newest.meta.state;
    let settings_toml = names::frozen_text(&found)?;
    let project = names::frozen_project(&found, store.project_dir())?;
    let new = NewRun {
        method: newest.meta.method,
        settings_toml,
        max_steps: project.train.steps.max(state.step),
        seed: state.seed,
        folder: Some(folder.to_path_buf()),
        hashes: BTreeMap::new(),
    };
    let run = store.adopt_run(found.run, &new)?;
    store.update_run(run, &known_from(&state, folder))?;
    Ok(run)
}

/// What a checkpoint knows of its run.
fn known_from(state: &State, folder: &Path) -> RunUpdate {
    let ended = state.ended.is_some();
    RunUpdate {
        status: Some(if ended { "finished" } else { INTERRUPTED }.to_owned()),
        steps: Some(state.step),
        best_step: Some(state.evals.best_step),
        base_loss: Some(state.evals.base_loss.0),
        best_loss: Some(state.evals.best_loss.0),
        final_loss: ended.then_some(state.evals.last_loss.0),
        forgetting: Some(state.keep.forgetting.0),
        adapter: if ended { checkpoint::resolve(folder).ok() } else { None },
        ..RunUpdate::default()
    }
}
