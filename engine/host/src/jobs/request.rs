//! From a project to a request that the trainer can carry out: paths resolved, settings completed, the
//! model's headers looked at.
//!
//! Place in the data flow: `train`, `preflight` and `preview` begin here. Everything that can be seen to be
//! wrong without reading weights or data is found now, before anything is written.

use crate::builtin::Builtins;
use crate::names;
use std::path::{Path, PathBuf};
use temper_protocol::project::Validation;
use temper_protocol::{Problem, Project, project_file};
use temper_train::TrainRequest;

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
                temper_protocol::Code::Io,
                format!("the project cannot be read: {error}"),
                file.display().to_string(),
                "check that the file can be read and is UTF-8 text",
            )
        })?;
        project_file::parse_with(&text, &file, set)?
    };
    Ok((project, names::folder_of(&file)))
}

/// Fills in the defaults of the method's settings and checks those that are given.
pub(super) fn complete_settings(project: &mut Project) -> Result<(), Problem> {
    let declared = temper_methods::find(&project.method.id)?.declared();
    project.method.settings = project.method.settings.complete(declared.settings, "project.toml [method]")?;
    Ok(())
}

/// The request of `project`, for a run that has no number and folder yet.
pub(super) fn build(builtins: &Builtins, mut project: Project, project_dir: &Path) -> Result<TrainRequest, Problem> {
    complete_settings(&mut project)?;
    let model_path = names::model_path(builtins, &project.model.path, project_dir)?;
    if !project.model.path.starts_with(names::RANDOM) {
        temper_models::describe(&model_path)?;
    }
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
        max_steps: None,
    })
}
