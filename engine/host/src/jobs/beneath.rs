//! The adapters that lie frozen beneath what a project trains: from `model.adapters` to folders that can be read.
//!
//! Place in the data flow: [`super::request`] asks for them when a run is planned, so that a mistake is answered at once;
//! [`super::load`] and [`super::export`] when a trained run is loaded.

use crate::names;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use temper_export::{Beneath, beneath};
use temper_protocol::{Code, Problem, Project};
use temper_train::ReadAdapter;

/// The folders that `model.adapters` names, checked for being able to lie beneath another adapter.
///
/// # Errors
/// A name that is no adapter folder; an adapter that is no change of weights, or is there twice.
pub(super) fn resolve(project: &Project, project_dir: &Path) -> Result<Vec<Beneath>, Problem> {
    let mut all = Vec::with_capacity(project.model.adapters.len());
    for written in &project.model.adapters {
        let folder = names::absolute(Path::new(written.path()), project_dir)?;
        if !temper_export::is_adapter(&folder) {
            let what = format!("model.adapters: {} is no adapter folder", written.path());
            let action = "give a folder with adapter_config.json or temper_adapter.json; a run becomes one by: temper \
                          export RUN --format peft";
            return Err(Problem::new(Code::NotFound, what, folder.display().to_string(), action));
        }
        let name = folder.file_name().map_or_else(|| written.path().to_owned(), |name| name.to_string_lossy().into());
        all.push(Beneath { name, folder, weight: written.weight() });
    }
    beneath::check(&all)?;
    Ok(all)
}

/// The same as the trainer takes them; none where there are none.
pub(super) fn for_trainer(adapters: Vec<Beneath>) -> Option<temper_train::Beneath> {
    if adapters.is_empty() {
        return None;
    }
    let files: Vec<PathBuf> = adapters.iter().flat_map(Beneath::files).collect();
    let names = beneath::titles(&adapters);
    let lay: ReadAdapter = Arc::new(move |model| Ok(beneath::lay(model, &adapters)?));
    Some(temper_train::Beneath { names, files, lay })
}
