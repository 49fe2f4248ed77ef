//! From a project to a request that the trainer can carry out: paths resolved, settings completed, the
//! model's headers looked at.
//!
//! Place in the data flow: `train`, `preflight` and `preview` begin here. Everything that can be seen to be
//! wrong without reading weights or data is found now, before anything is written.

use super::{beneath, load};
use crate::builtin::Builtins;
use crate::names;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use temper_protocol::project::{Method, Validation};
use temper_protocol::{Code, Problem, Project, named, project_file};
use temper_train::{ReadAdapter, StartFrom, TrainRequest};

/// Folder of the token cache inside a project: text that people trained on stays with the project.
const TOKEN_CACHE: &str = "cache/tokens";
/// Folder inside a project for what was measured of the base before the first step.
const BASE_CACHE: &str = "cache/base";

/// A project as it stands in its file, with keys set on top.
pub(super) fn read_project(project: &Path, set: &[(String, String)]) -> Result<(Project, PathBuf), Problem> {
    let file = names::project_file_of(project)?;
    let project = if set.is_empty() {
        project_file::load(&file)?
    } else {
        let text = std::fs::read_to_string(&file).map_err(|error| {
            Problem::new(
                Code::Io,
                format!("the project cannot be read: {error}"),
                file.display().to_string(),
                "check that the file can be read and is UTF-8 text",
            )
        })?;
        project_file::parse_with(&text, &file, set)?
    };
    Ok((project, names::folder_of(&file)))
}

/// A number of steps that is set on top of a project takes the place of its passes over the data.
pub(super) fn mean_steps(project: &mut Project, set: &[(String, String)]) {
    let sets = |key: &str| set.iter().any(|(name, _)| name == key);
    if sets("train.steps") && !sets("train.epochs") {
        project.train.epochs = None;
    }
}

/// Fills in the defaults of the method's settings, checks those that are given, and chooses the learning rate that the
/// method usually takes on models of `family` where the project leaves it open.
pub(super) fn complete_settings(project: &mut Project, family: &str) -> Result<(), Problem> {
    let declared = temper_methods::find(&project.method.id)?.declared();
    project.method.settings = project.method.settings.complete(declared.settings, "project.toml [method]")?;
    if project.train.lr_peak == 0.0 {
        project.train.lr_peak = temper_methods::rates::lr_peak(declared, family);
    }
    Ok(())
}

/// Lets the project train on from the adapter that `train.from` names: its method, settings and drawn numbers become the
/// project's. Says where the values are.
fn train_on(project: &mut Project, project_dir: &Path) -> Result<Option<StartFrom>, Problem> {
    let Some(name) = project.train.from.clone() else { return Ok(None) };
    let adapter = load::adapter_path(&name, project_dir)?;
    // A person who tries prompts is told which step answers; a run that starts elsewhere than was asked for is not.
    if let Some(step) = named::run(&name).and_then(|(_, step)| step)
        && !adapter.name.ends_with(&format!(" at step {step}"))
    {
        let what = format!("the run kept nothing of step {step}");
        let action = format!("the nearest before it is {}", adapter.name);
        return Err(Problem::new(Code::NotFound, what, format!("train.from = \"{name}\""), action));
    }
    if adapter.native {
        let run_dir = adapter.folder.parent().and_then(Path::parent).ok_or_else(|| {
            let place = adapter.folder.display().to_string();
            Problem::new(
                Code::NotFound,
                "the checkpoint lies in no run folder",
                place,
                "give the folder inside its run",
            )
        })?;
        let source = project_file::load(&run_dir.join(project_file::FILE_NAME))?;
        project.method = source.method;
        project.train.method_seed = Some(source.train.method_seed.unwrap_or(source.train.seed));
        return Ok(Some(StartFrom::Checkpoint(adapter.folder)));
    }
    let (id, settings) = temper_export::train_on::method_of(&adapter.folder)?;
    project.method = Method { id, settings };
    let folder = adapter.folder;
    if temper_export::train_on::fills(&folder)? {
        let fill: ReadAdapter = Arc::new(move |model| Ok(temper_export::train_on::fill(model, &folder)?));
        return Ok(Some(StartFrom::Filled(adapter.name, fill)));
    }
    let read: ReadAdapter = Arc::new(move |model| Ok(temper_export::read_peft::attach(model, &folder).map(drop)?));
    Ok(Some(StartFrom::Adapter(adapter.name, read)))
}

/// The request of a new run of `project`: as [`build`], with the adapter that it trains on from.
pub(super) fn build_new(
    builtins: &Builtins,
    mut project: Project,
    project_dir: &Path,
) -> Result<TrainRequest, Problem> {
    let start_from = train_on(&mut project, project_dir)?;
    Ok(TrainRequest { start_from, ..build(builtins, project, project_dir)? })
}

/// The request of `project`, for a run that has no number and folder yet.
pub(super) fn build(builtins: &Builtins, mut project: Project, project_dir: &Path) -> Result<TrainRequest, Problem> {
    // What is wrong with the settings is said before what is wrong with the model.
    complete_settings(&mut project.clone(), "")?;
    let beneath = beneath::for_trainer(beneath::resolve(&project, project_dir)?);
    let model_path = names::model_path(builtins, &project.model.path, project_dir)?;
    let family = if project.model.path.starts_with(names::RANDOM) {
        String::new()
    } else {
        temper_models::describe(&model_path)?.architecture
    };
    complete_settings(&mut project, &family)?;
    let data_sources = project
        .data
        .train
        .iter()
        .map(|source| Ok((names::data_path(builtins, source.path(), project_dir)?, source.weight())))
        .collect::<Result<_, Problem>>()?;
    let validation_path = match &project.data.validation {
        Validation::Share(_) => None,
        Validation::Path(path) => Some(names::data_path(builtins, path, project_dir)?),
    };
    let probes = names::probe_paths(builtins, &project.keep.probes, project_dir)?;
    Ok(TrainRequest {
        project,
        project_dir: project_dir.to_path_buf(),
        run: 0,
        run_dir: project_dir.join("runs"),
        model_path,
        data_sources,
        validation_path,
        probes,
        cache_dir: Some(project_dir.join(TOKEN_CACHE)),
        base_cache_dir: Some(project_dir.join(BASE_CACHE)),
        resume: None,
        beneath,
        start_from: None,
        max_steps: None,
    })
}
