//! `new_project`: a project file with settings that fit the model and the data.

use super::inspect;
use crate::builtin::Builtins;
use crate::job::JobContext;
use crate::names;
use std::path::Path;
use temper_protocol::{Code, Problem, Project, project_file};

/// Writes `dir/project.toml`.
pub(super) fn create(
    builtins: &Builtins,
    dir: &Path,
    model: &str,
    data: &[String],
    method: &str,
    context: &JobContext,
) -> Result<(), Problem> {
    let dir = names::absolute(dir, Path::new(""))?;
    let file = dir.join(project_file::FILE_NAME);
    if file.exists() {
        return Err(Problem::new(
            Code::Refused,
            "there is a project already",
            file.display().to_string(),
            "open it, or choose another folder",
        ));
    }
    let name = dir.file_name().map_or_else(|| "project".to_owned(), |name| name.to_string_lossy().into_owned());
    let mut project = Project::new(&name, model, data, method);
    let declared = temper_methods::find(method)?.declared();
    project.method.settings = project.method.settings.complete(declared.settings, "[method]")?;
    let model_path = names::model_path(builtins, model, &dir)?;
    project.train.lr_peak = temper_methods::rates::lr_peak(declared, "");
    if !model.starts_with(names::RANDOM) {
        let described = temper_models::describe(&model_path)?;
        project.train.lr_peak = temper_methods::rates::lr_peak(declared, &described.architecture);
        let context_tokens = described.context;
        project.data.max_tokens = project.data.max_tokens.min(usize::try_from(context_tokens).unwrap_or(usize::MAX));
    }
    for source in data {
        temper_data::sniff(&names::data_path(builtins, source, &dir)?)?;
    }
    std::fs::create_dir_all(&dir).map_err(|error| {
        Problem::new(
            Code::Io,
            format!("the folder cannot be made: {error}"),
            dir.display().to_string(),
            "choose a folder that you may write to",
        )
    })?;
    project_file::save(&project, &dir)?;
    context.emit(inspect::project_event(&dir)?);
    Ok(())
}
