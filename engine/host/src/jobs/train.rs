//! `train`: a run of a project, new or taken up again.
//!
//! Place in the data flow: planned on the intake thread, so that a mistake in the project is answered at
//! once and leaves nothing behind; carried out by the trainer on the engine thread.

use super::request::{build, build_new, mean_steps, read_project};
use crate::builtin::Builtins;
use crate::job::{PlannedRun, RunAgain, RunPlace, Work};
use crate::names;
use std::path::PathBuf;
use temper_protocol::project::Method;
use temper_protocol::{Code, Event, Problem, Project, RunRef, project_file};
use temper_store::NewRun;
use temper_train::{RunControl, TrainRequest};

/// What a person asked for.
pub(super) struct Order {
    pub(super) project: PathBuf,
    pub(super) set: Vec<(String, String)>,
    pub(super) method: Option<String>,
    pub(super) out: Option<PathBuf>,
    pub(super) resume: Option<RunRef>,
    pub(super) max_steps: Option<u64>,
}

/// Checks the order and says what is to be done.
pub(super) fn plan(builtins: &Builtins, order: Order) -> Result<Work, Problem> {
    match &order.resume {
        None => new_run(builtins, order),
        Some(wanted) => {
            let wanted = wanted.clone();
            resumed_run(builtins, order, &wanted)
        }
    }
}

fn new_run(builtins: &Builtins, order: Order) -> Result<Work, Problem> {
    let (mut project, project_dir) = read_project(&order.project, &order.set)?;
    mean_steps(&mut project, &order.set);
    if let Some(id) = order.method {
        let rate_is_meant = order.set.iter().any(|(key, _)| key == "train.lr_peak");
        change_method(&mut project, id, rate_is_meant)?;
    }
    let mut request = build_new(builtins, project, &project_dir)?;
    request.max_steps = order.max_steps;
    let folder = order.out.map(|out| names::absolute(&out, std::path::Path::new(""))).transpose()?;
    if let Some(folder) = &folder {
        check_unused(folder)?;
    }
    planned(request, folder, None)
}

/// Another method than the project's keeps the settings that both know. The rate in a project is its own method's; the other
/// one takes what it usually takes, unless a rate is meant for it.
fn change_method(project: &mut Project, id: String, rate_is_meant: bool) -> Result<(), Problem> {
    if project.method.id == id {
        return Ok(());
    }
    let declared = temper_methods::find(&id)?.declared();
    let mut settings = std::mem::take(&mut project.method.settings);
    settings.0.retain(|key, value| {
        declared.settings.iter().any(|setting| setting.key == key && setting.check(value).is_ok())
    });
    project.method = Method { id, settings };
    if !rate_is_meant {
        project.train.lr_peak = 0.0;
    }
    Ok(())
}

/// A folder for a new run must not hold another one.
fn check_unused(folder: &std::path::Path) -> Result<(), Problem> {
    let used = folder.is_file() || std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if used {
        return Err(Problem::new(
            Code::Refused,
            "the folder for the run is not empty",
            folder.display().to_string(),
            "give another folder with --out, or go on with the run that is there with --resume",
        ));
    }
    Ok(())
}

fn resumed_run(builtins: &Builtins, order: Order, wanted: &RunRef) -> Result<Work, Problem> {
    let usage = |what: &str, place: &str, action: &str| Problem::new(Code::Usage, what, place, action);
    if order.out.is_some() {
        return Err(usage("a resumed run stays in its folder", "--out", "leave --out away"));
    }
    let file = names::project_file_of(&order.project)?;
    let project_dir = names::folder_of(&file);
    let found = names::find_run(&project_dir, wanted)?;
    let text = names::frozen_text(&found)?;
    let mut project = project_file::parse_with(&text, &file, &order.set)?;
    names::find_again(&mut project, &project_dir);
    mean_steps(&mut project, &order.set);
    if order.method.as_ref().is_some_and(|id| *id != project.method.id) {
        return Err(usage(
            "a resumed run keeps its method",
            "--method",
            "leave --method away, or start a new run with another method",
        ));
    }
    if order.set.is_empty() && order.max_steps.is_none() && is_complete(&found, &project) {
        let text = format!("run {} has finished already: there is nothing left to do", found.run);
        return Ok(Work::Answer(vec![Event::Warning { code: "already_finished".to_owned(), text, step: 0 }]));
    }
    let mut request = build(builtins, project, &project_dir)?;
    request.max_steps = order.max_steps;
    request.resume = Some(found.folder.clone());
    let again = RunAgain { run: found.run, folder: found.folder.clone() };
    planned(request, Some(found.folder), Some(again))
}

/// Whether a run has done all its steps. Of runs measured in epochs only the trainer knows.
fn is_complete(found: &names::FoundRun, project: &Project) -> bool {
    let Some(row) = &found.row else {
        return false;
    };
    row.status == "finished" && project.train.epochs.is_none() && row.steps >= project.train.steps
}

fn planned(request: TrainRequest, folder: Option<PathBuf>, again: Option<RunAgain>) -> Result<Work, Problem> {
    let row = NewRun {
        method: request.project.method.id.clone(),
        settings_toml: project_file::to_text(&request.project)?,
        max_steps: request.project.train.steps,
        seed: request.project.train.seed,
        folder,
        hashes: std::collections::BTreeMap::new(),
    };
    Ok(Work::Run(Box::new(PlannedRun {
        project_dir: request.project_dir.clone(),
        row,
        again,
        job: Box::new(move |place: &RunPlace, control: &RunControl, emit: &mut dyn FnMut(Event)| {
            let request = TrainRequest { run: place.run, run_dir: place.run_dir.clone(), ..request };
            Ok(temper_train::train(&request, control, emit)?)
        }),
    })))
}

/// Measures what a run of the project would need.
pub(super) fn preflight(
    builtins: &Builtins,
    project: &std::path::Path,
    context: &crate::job::JobContext,
) -> Result<(), Problem> {
    let (project, project_dir) = read_project(project, &[])?;
    let request = build_new(builtins, project, &project_dir)?;
    let control = RunControl::new();
    let measured = temper_train::preflight(&request, &control, &mut |event| {
        if context.is_cancelled() {
            control.request(temper_protocol::Act::Cancel);
        }
        // There is no run yet that could be preparing.
        context.emit(match event {
            Event::Preparing { stage, done, total, unit, .. } => Event::Progress { done, total, unit, stage },
            other => other,
        });
    })?;
    context.emit(measured);
    Ok(())
}
