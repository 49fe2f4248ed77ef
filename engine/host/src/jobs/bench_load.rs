//! `bench load`: a model to its first logits, a project to its first step.
//!
//! Place in the data flow: models are opened by the trainer's half of the bench in this process. Of a project a copy is
//! made and trained for one step in processes of their own: first with nothing remembered, then with tokens and the
//! base's figures in the caches. Counted is from the start of the process.

use super::bench::{scratch_folder, with_control};
use super::request::read_project;
use super::{child, load};
use crate::builtin::{Builtins, PREFIX};
use crate::job::JobContext;
use crate::names;
use std::path::Path;
use temper_protocol::event::{Figure, Figures};
use temper_protocol::project::{Source, Validation};
use temper_protocol::{Code, Event, Problem, Project, project_file};
use temper_train::bench::load::{COLUMNS, model};

/// Carries the order out.
pub(super) fn load(
    builtins: &Builtins,
    models: &[String],
    project: Option<&Path>,
    threads: usize,
    context: &JobContext,
) -> Result<(), Problem> {
    if models.is_empty() && project.is_none() {
        let action = "name a model with --model or a project with --project";
        return Err(Problem::new(Code::Usage, "there is nothing to measure", "bench load", action));
    }
    let mut rows = Vec::new();
    for name in models {
        let path = names::model_path(builtins, name, Path::new("."))?;
        let mut plain = Project::new("bench", name, &[], "lora");
        plain.train.threads = threads;
        let form = if path.is_dir() { "folder" } else { "file" };
        let title = format!("{} ({form})", load::short_name(name));
        rows.extend(with_control(context, |control, emit| Ok(model(&plain, &path, &title, control, emit)?))?);
    }
    let mut text = "a model from its path to the logits of a short prompt".to_owned();
    if let Some(project) = project {
        rows.extend(first_steps(project, threads, context)?);
        text.push_str(
            "; of a project the seconds from the start of the process until its data and model are ready, until step 1 \
             begins, and until it is done",
        );
    }
    let columns = COLUMNS.map(str::to_owned).to_vec();
    context.emit(Event::Figures(Figures { what: "load".to_owned(), text, columns, rows }));
    Ok(())
}

/// A copy of the project's file in `folder` with paths that hold from there.
fn copy(project: &Path, threads: usize, folder: &Path) -> Result<(), Problem> {
    let (mut project, project_dir) = read_project(project, &[])?;
    let absolute = |name: &mut String| -> Result<(), Problem> {
        if name.starts_with(PREFIX) {
            return Ok(());
        }
        let (kind, path) = name.strip_prefix(names::RANDOM).map_or(("", name.as_str()), |path| (names::RANDOM, path));
        *name = format!("{kind}{}", names::absolute(Path::new(path), &project_dir)?.display());
        Ok(())
    };
    absolute(&mut project.model.path)?;
    for source in &mut project.data.train {
        match source {
            Source::Path(path) | Source::Weighted { path, .. } => absolute(path)?,
        }
    }
    if let Validation::Path(path) = &mut project.data.validation {
        absolute(path)?;
    }
    project.keep.probes.iter_mut().try_for_each(absolute)?;
    if threads > 0 {
        project.train.threads = threads;
    }
    project_file::save(&project, &folder.join(project_file::FILE_NAME)).map(|_file| ())
}

/// Trains one step without and with caches.
fn first_steps(project: &Path, threads: usize, context: &JobContext) -> Result<Vec<Vec<Figure>>, Problem> {
    let folder = scratch_folder()?;
    copy(project, threads, folder.path())?;
    let mut rows = Vec::new();
    for name in ["to the first step, nothing remembered", "to the first step, caches filled", "the same again"] {
        context.progress(name, 0, 0, "steps");
        let place = folder.path().display().to_string();
        let arguments = ["train", &place].map(str::to_owned);
        let (mut started, mut begun, mut stepped) = (f64::NAN, f64::NAN, f64::NAN);
        let mut failed = None;
        child::run(&arguments, context, &mut |secs, event| {
            match event {
                Event::Started { .. } => started = secs,
                // The last thing before step 1 is the checkpoint to which a run can go back from it.
                Event::Checkpoint { step: 0, .. } => begun = secs,
                Event::Step { step: 1, .. } => {
                    stepped = secs;
                    return true;
                }
                Event::Finished { problem, .. } => failed.clone_from(problem),
                _ => {}
            }
            false
        })?;
        if let Some(problem) = failed {
            return Err(problem);
        }
        let nothing = Figure::Missing;
        rows.push(vec![name.into(), started.into(), nothing.clone(), nothing, begun.into(), stepped.into()]);
    }
    Ok(rows)
}
