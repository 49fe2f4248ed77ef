//! Makes project folders: from a model and data, or as a copy of the bundled example.

use crate::builtin;
use crate::jobs::inspect;
use crate::paths;
use std::path::Path;
use temper_protocol::{Code, Event, Problem, Project, project_file};

/// Writes `dir/project.toml`.
///
/// # Errors
/// An unknown method, a model or data that is not there, a folder that holds a project or cannot be written.
pub(super) fn create(dir: &Path, model: &str, data: &[String], method: &str) -> Result<Event, Problem> {
    temper_methods::find(method)?;
    if dir.join(project_file::FILE_NAME).exists() {
        return Err(Problem::new(
            Code::Io,
            "this folder holds a project already",
            dir.display().to_string(),
            "open it, or choose another folder",
        ));
    }
    paths::resolve(model, dir, Code::ModelInvalid)?;
    for name in data {
        paths::resolve(name, dir, Code::DataInvalid)?;
    }
    let name = dir.file_name().map_or_else(|| "project".to_owned(), |name| name.to_string_lossy().into_owned());
    let project = Project::new(&name, model, data, method);
    std::fs::create_dir_all(dir).map_err(|error| {
        Problem::new(
            Code::Io,
            format!("the folder cannot be made: {error}"),
            dir.display().to_string(),
            "choose a folder that can be written",
        )
    })?;
    project_file::save(&project, dir)?;
    Ok(inspect::project(dir))
}

/// Copies the bundled example to `dir`.
///
/// # Errors
/// An unknown example, or a folder that holds a project or cannot be written.
pub(super) fn copy_example(name: &str, dir: &Path) -> Result<Event, Problem> {
    builtin::copy_example(name, dir)?;
    Ok(inspect::project(dir))
}
