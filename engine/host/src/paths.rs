//! From the names in a project or command to paths: bundled things, relative paths, runs.

use crate::builtin;
use std::path::{Path, PathBuf};
use temper_protocol::project::{Project, Validation};
use temper_protocol::{Code, Problem, RunRef, project_file};
use temper_store::Reader;

/// Folder of a project given as a folder or as its file.
#[must_use]
pub fn project_folder(project: &Path) -> PathBuf {
    let file = project_file::locate(project);
    file.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// A name of `project.toml` as a path: bundled, absolute, or relative to the project's folder.
///
/// # Errors
/// A problem when it does not exist.
pub fn resolve(name: &str, folder: &Path, code: Code) -> Result<PathBuf, Problem> {
    if let Some(bundled) = name.strip_prefix(builtin::PREFIX) {
        return builtin::resolve(bundled);
    }
    let path = folder.join(name.strip_prefix("random:").unwrap_or(name));
    if path.exists() {
        return Ok(path);
    }
    Err(Problem::new(code, "there is no such file or folder", path.display().to_string(), "correct the path, or drop the file again"))
}

/// The paths that a project names.
pub struct ProjectPaths {
    /// Base model.
    pub model: PathBuf,
    /// Training sources with weights.
    pub data: Vec<(PathBuf, f64)>,
    /// Validation file.
    pub validation: Option<PathBuf>,
    /// Probe sets by name.
    pub probes: Vec<(String, PathBuf)>,
}

impl ProjectPaths {
    /// Resolves everything that `project` in `folder` names.
    ///
    /// # Errors
    /// A problem for the first thing that does not exist.
    pub fn resolve(project: &Project, folder: &Path) -> Result<Self, Problem> {
        let model = resolve(&project.model.path, folder, Code::ModelInvalid)?;
        let data = project
            .data
            .train
            .iter()
            .map(|source| Ok((resolve(source.path(), folder, Code::DataInvalid)?, source.weight())))
            .collect::<Result<_, Problem>>()?;
        let validation = match &project.data.validation {
            Validation::Share(_) => None,
            Validation::Path(name) => Some(resolve(name, folder, Code::DataInvalid)?),
        };
        let probes = project
            .keep
            .probes
            .iter()
            .map(|name| Ok((probe_name(name), resolve(name, folder, Code::DataInvalid)?)))
            .collect::<Result<_, Problem>>()?;
        Ok(Self { model, data, validation, probes })
    }
}

/// Short name of a probe set: the bundled name, or the file's name.
fn probe_name(name: &str) -> String {
    match name.strip_prefix(builtin::PREFIX) {
        Some(bundled) => bundled.to_owned(),
        None => Path::new(name).file_name().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

/// Folder of a run.
///
/// # Errors
/// A problem when there is no such run.
pub fn run_folder(run: &RunRef, project: Option<&Path>) -> Result<PathBuf, Problem> {
    let missing = |what: String, place: &Path| {
        Problem::new(Code::NotFound, what, place.display().to_string(), "list the runs with: temper runs PROJECT")
    };
    if let RunRef::Path(path) = run {
        return if path.join("run.json").is_file() {
            Ok(path.clone())
        } else {
            Err(missing("this folder is no run".to_owned(), path))
        };
    }
    let folder = project_folder(project.unwrap_or_else(|| Path::new(".")));
    let rows = Reader::open(&folder).and_then(|reader| reader.runs()).map_err(Problem::from)?;
    let found = rows.into_iter().find(|row| match run {
        RunRef::Id(id) => row.run == *id,
        RunRef::Last | RunRef::Path(_) => true,
    });
    match (found, run) {
        (Some(row), _) => Ok(row.folder),
        (None, RunRef::Id(id)) => Err(missing(format!("there is no run {id}"), &folder)),
        (None, _) => Err(missing("there is no run yet".to_owned(), &folder)),
    }
}
