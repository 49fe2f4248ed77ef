//! `temper runs`: lists from the run store directly, without an engine; changes go through one.

use crate::cli::args::Task;
use crate::cli::drive::{Session, print_json, print_line};
use crate::cli::housekeep::RunsArgs;
use crate::cli::translate;
use std::path::{Path, PathBuf};
use temper_protocol::housekeeping::{Housekeeping, RunLabels};
use temper_protocol::{Code, Problem};
use temper_store::Reader;

/// Carries out what is asked about the runs of a project; lists them when nothing else is asked, and after a change.
///
/// # Errors
/// A problem when the project has no run store, or when the change cannot be made.
pub(crate) fn runs(json: bool, arguments: RunsArgs) -> Result<bool, Problem> {
    let (project, order) = (arguments.project.clone(), arguments.order());
    if order.is_none() && !arguments.repair {
        return list(json, &project, arguments.trashed);
    }
    let done = Session::open(json)?.carry_out(translate::command(Task::Runs(arguments))?)?;
    // As JSON the answer says what changed; what it says of the disk needs no list either.
    let on_disk =
        matches!(order, Some(Housekeeping::Disk {} | Housekeeping::EmptyTrash {} | Housekeeping::Prune { .. }));
    let lists = !json && !on_disk;
    Ok(done && (!lists || list(false, &project, false)?))
}

/// Prints every run of a project, newest first, or those in its trash.
fn list(json: bool, project: &Path, trashed: bool) -> Result<bool, Problem> {
    let folder = project_folder(project)?;
    let reader = Reader::open(&folder)?;
    let rows = if trashed { reader.trashed()? } else { reader.runs()? };
    if json {
        for row in &rows {
            print_json(&row.to_event());
        }
        return Ok(true);
    }
    if rows.is_empty() {
        print_line(if trashed { "the trash is empty" } else { "no runs yet; start one with: temper train PROJECT" });
        return Ok(true);
    }
    print_line(" run  status       method        steps   validation loss, nats   forgetting   time");
    for row in &rows {
        print_line(&format!(
            "{:>4}  {:<11}  {:<10} {:>8}   {} -> {} (best {})   {:>10}   {}{}",
            row.run,
            row.status,
            row.method,
            row.steps,
            nats(row.base_loss),
            nats(row.final_loss),
            nats(row.best_loss),
            signed(row.forgetting),
            duration(row.wall_secs),
            said(&row.labels),
        ));
    }
    Ok(true)
}

/// What a person said about a run, behind its figures.
fn said(labels: &RunLabels) -> String {
    let mut words = String::new();
    if labels.starred {
        words.push_str("   *");
    }
    if !labels.name.is_empty() {
        words.push_str(&format!("   {}", labels.name));
    }
    if !labels.tags.is_empty() {
        words.push_str(&format!("   [{}]", labels.tags.join(", ")));
    }
    if !labels.note.is_empty() {
        words.push_str(&format!("   {}", labels.note));
    }
    words
}

pub(crate) fn project_folder(project: &Path) -> Result<PathBuf, Problem> {
    let folder = if project.is_file() { project.parent().unwrap_or_else(|| Path::new(".")) } else { project };
    std::path::absolute(folder).map_err(|error| {
        Problem::new(Code::Io, error.to_string(), project.display().to_string(), "give a project folder that exists")
    })
}

/// A run's folder lies in `runs/` of its project.
pub(crate) fn project_of_run(run: &Path) -> Result<PathBuf, Problem> {
    let absolute = project_folder(run)?;
    absolute.parent().and_then(Path::parent).map(Path::to_path_buf).ok_or_else(|| {
        Problem::new(Code::NotFound, "this folder is no run", run.display().to_string(), "give PROJECT/runs/NUMBER")
    })
}

/// Nats with three decimals, or a dash where nothing was measured.
pub(crate) fn nats(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}") } else { "-".to_owned() }
}

/// Signed nats with three decimals.
pub(crate) fn signed(value: f64) -> String {
    if value.is_finite() { format!("{value:+.3}") } else { "-".to_owned() }
}

/// `45 s`, `12 min`, `1 h 05 min`.
pub(crate) fn duration(secs: f64) -> String {
    if !secs.is_finite() {
        return "-".to_owned();
    }
    let whole = secs.round().max(0.0) as u64;
    match whole {
        0..=89 => format!("{whole} s"),
        90..=5_399 => format!("{} min", (whole + 30) / 60),
        _ => format!("{} h {:02} min", whole / 3_600, whole % 3_600 / 60),
    }
}
