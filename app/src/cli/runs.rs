//! `temper runs`: reads the run store directly, without an engine.

use crate::cli::drive::{print_json, print_line};
use std::path::{Path, PathBuf};
use temper_protocol::{Code, Problem};
use temper_store::Reader;

/// Prints every run of a project, newest first.
///
/// # Errors
/// A problem when the project has no run store.
pub(crate) fn list(json: bool, project: &Path) -> Result<bool, Problem> {
    let folder = project_folder(project)?;
    let reader = Reader::open(&folder)?;
    let rows = reader.runs()?;
    if json {
        for row in &rows {
            print_json(&row.to_event());
        }
        return Ok(true);
    }
    if rows.is_empty() {
        print_line("no runs yet; start one with: temper train PROJECT");
        return Ok(true);
    }
    print_line(" run  status       method        steps   validation loss, nats   forgetting   time");
    for row in &rows {
        print_line(&format!(
            "{:>4}  {:<11}  {:<10} {:>8}   {} -> {} (best {})   {:>10}   {}",
            row.run,
            row.status,
            row.method,
            row.steps,
            nats(row.base_loss),
            nats(row.final_loss),
            nats(row.best_loss),
            signed(row.forgetting),
            duration(row.wall_secs),
        ));
    }
    Ok(true)
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
