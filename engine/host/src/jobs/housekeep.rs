//! Keeping the runs of a project in order: labels, the trash, checkpoints that are not needed any more, disk.
//!
//! Place in the data flow: the store moves folders and rows; what a checkpoint is and which ones a run needs is known
//! here. Nothing of it concerns a run that goes on, so none of it needs the project's lock.

use crate::job::JobContext;
use crate::names;
use std::collections::BTreeSet;
use std::path::Path;
use temper_protocol::housekeeping::{DiskUse, Housekeeping};
use temper_protocol::{Code, Event, Problem};
use temper_store::{Reader, RunRow, Store};
use temper_train::checkpoint::Checkpoints;

/// Carries `order` out and says what changed.
pub(super) fn housekeep(project: &Path, order: &Housekeeping, context: &JobContext) -> Result<(), Problem> {
    let dir = names::project_dir_of(Some(project))?;
    // A project that never ran has no database, and must not get one by being looked at.
    let reader = Reader::open(&dir)?;
    match order {
        Housekeeping::Label { run, change } => {
            Store::open(&dir)?.label(*run, change)?;
            say(&reader, *run, context)
        }
        Housekeeping::Trash { runs } => each(&reader, runs, context, |run| Ok(Store::open(&dir)?.trash(run)?)),
        Housekeeping::Restore { runs } => each(&reader, runs, context, |run| Ok(Store::open(&dir)?.restore(run)?)),
        Housekeeping::EmptyTrash {} => {
            let sizes: Vec<DiskUse> = reader.trashed()?.iter().map(disk_use).collect();
            let gone = Store::open(&dir)?.empty_trash()?;
            for size in sizes.into_iter().filter(|size| gone.contains(&size.run)) {
                context.emit(Event::Disk(DiskUse { run: size.run, freed_bytes: size.bytes, ..DiskUse::default() }));
            }
            Ok(())
        }
        Housekeeping::Prune { runs } => prune(&reader, runs, &dir, context),
        Housekeeping::Disk {} => {
            for row in reader.runs()?.iter().chain(&reader.trashed()?) {
                context.check_cancelled()?;
                context.emit(Event::Disk(disk_use(row)));
            }
            Ok(())
        }
    }
}

/// Says how a run is listed now.
fn say(reader: &Reader, run: u64, context: &JobContext) -> Result<(), Problem> {
    let row = reader.run(run)?.ok_or_else(|| no_such_run(run))?;
    context.emit(row.to_event());
    Ok(())
}

fn each(
    reader: &Reader,
    runs: &[u64],
    context: &JobContext,
    act: impl Fn(u64) -> Result<(), Problem>,
) -> Result<(), Problem> {
    for run in runs {
        context.check_cancelled()?;
        act(*run)?;
        say(reader, *run, context)?;
    }
    Ok(())
}

/// Removes checkpoints that neither a resume nor an export asks for: all but the best and the newest.
fn prune(reader: &Reader, runs: &[u64], dir: &Path, context: &JobContext) -> Result<(), Problem> {
    let rows: Vec<RunRow> = if runs.is_empty() {
        reader.runs()?.into_iter().filter(|row| !row.is_active()).collect()
    } else {
        let row = |run: &u64| reader.run(*run)?.ok_or_else(|| no_such_run(*run));
        runs.iter().map(row).collect::<Result<_, Problem>>()?
    };
    let store = Store::open(dir)?;
    for row in &rows {
        context.check_cancelled()?;
        if row.is_active() {
            let action = "wait for its end, or stop it first";
            let what = format!("run {} goes on, its checkpoints may be needed", row.run);
            return Err(Problem::new(Code::Busy, what, row.folder.display().to_string(), action));
        }
        let before = disk_use(row);
        let checkpoints = Checkpoints::existing(&row.folder);
        let steps = checkpoints.steps();
        let adapter = |step: &u64| {
            let path = checkpoints.path(*step);
            row.adapter.as_ref().is_some_and(|adapter| adapter.starts_with(&path))
        };
        let newest = steps.last().copied();
        let keep: BTreeSet<u64> = steps
            .iter()
            .copied()
            .filter(|step| *step == row.best_step || Some(*step) == newest || adapter(step))
            .collect();
        for step in steps.difference(&keep) {
            store.forget_file(row.run, &checkpoints.path(*step))?;
        }
        checkpoints.retain(&keep)?;
        let after = disk_use(row);
        context.emit(Event::Disk(DiskUse { freed_bytes: before.bytes.saturating_sub(after.bytes), ..after }));
    }
    Ok(())
}

/// What a run's folder takes.
fn disk_use(row: &RunRow) -> DiskUse {
    let checkpoints = Checkpoints::existing(&row.folder);
    let steps = checkpoints.steps();
    DiskUse {
        run: row.run,
        bytes: size_of_folder(&row.folder),
        checkpoints: steps.len() as u64,
        checkpoint_bytes: steps.iter().map(|step| size_of_folder(&checkpoints.path(*step))).sum(),
        freed_bytes: 0,
    }
}

/// Bytes of all files below a folder; links are not followed, what cannot be read counts as nothing.
fn size_of_folder(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes += size_of_folder(&entry.path()),
            Ok(meta) => bytes += meta.len(),
            Err(_) => {}
        }
    }
    bytes
}

fn no_such_run(run: u64) -> Problem {
    let action = "list what there is with: temper runs PROJECT";
    Problem::new(Code::NotFound, format!("run {run} does not exist"), format!("run {run}"), action)
}
