//! Says what files and folders are, as the drop zone does: from headers and first rows only.

use crate::job::JobContext;
use crate::paths::project_folder;
use std::path::Path;
use temper_protocol::{Event, Problem, project_file};
use temper_store::Reader;

/// Emits one event per path.
pub(super) fn run(paths: &[std::path::PathBuf], context: &JobContext) -> Result<(), Problem> {
    for path in paths {
        context.check_cancelled()?;
        context.emit(look(path));
    }
    Ok(())
}

/// What `path` is.
pub(super) fn look(path: &Path) -> Event {
    if !path.exists() {
        return Event::Unknown { path: path.to_path_buf(), why: "there is no such file or folder".to_owned() };
    }
    if path.join(project_file::FILE_NAME).is_file() || path.file_name().is_some_and(|name| name == project_file::FILE_NAME) {
        return project(path);
    }
    if path.join("adapter_config.json").is_file() {
        return adapter(path);
    }
    if looks_like_model(path) {
        return model(path);
    }
    match temper_data::sniff(path) {
        Ok(found) => Event::Dataset {
            path: path.to_path_buf(),
            format: found.container.name().to_owned(),
            schema: found.schema.map_or("unknown", |schema| schema.name()).to_owned(),
            confidence: found.confidence,
            rows: found.rows,
            bad_rows: found.bad_rows,
            columns: found.columns,
            complete: found.complete,
        },
        Err(error) => {
            let problem = Problem::from(error);
            Event::Unknown { path: path.to_path_buf(), why: format!("{}; {}", problem.what, problem.action) }
        }
    }
}

fn looks_like_model(path: &Path) -> bool {
    let has = |extension: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension));
    if path.is_dir() {
        return path.join("config.json").is_file()
            || path.join("model.safetensors").is_file()
            || path.join("model.safetensors.index.json").is_file()
            || folder_holds_gguf(path);
    }
    ["gguf", "safetensors", "bin", "pt", "pth", "ckpt", "pkl"].into_iter().any(has)
}

fn folder_holds_gguf(path: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(path) else { return false };
    entries.flatten().any(|entry| entry.path().extension().is_some_and(|found| found.eq_ignore_ascii_case("gguf")))
}

fn model(path: &Path) -> Event {
    match temper_models::describe(path) {
        Ok(found) => found.into_event(),
        Err(error) => {
            let problem = Problem::from(error);
            Event::Unknown { path: path.to_path_buf(), why: format!("{}; {}", problem.what, problem.action) }
        }
    }
}

fn adapter(path: &Path) -> Event {
    match temper_export::read_peft::describe(path) {
        Ok(found) => Event::Adapter {
            path: path.to_path_buf(),
            format: "peft".to_owned(),
            method: found.peft_type.to_ascii_lowercase(),
            base: found.base,
            rank: found.rank,
            sites: found.sites,
            parameters: found.parameters,
        },
        Err(error) => {
            let problem = Problem::from(error);
            Event::Unknown { path: path.to_path_buf(), why: format!("{}; {}", problem.what, problem.action) }
        }
    }
}

/// A project, or why its file cannot be used.
pub(super) fn project(path: &Path) -> Event {
    match project_file::load(path) {
        Ok(project) => {
            let folder = project_folder(path);
            let runs = Reader::open(&folder).and_then(|reader| reader.runs()).map_or(0, |rows| rows.len() as u64);
            Event::Project { path: folder, name: project.name, model: project.model.path, method: project.method.id, runs }
        }
        Err(problem) => Event::Unknown {
            path: path.to_path_buf(),
            why: format!("{} ({}); {}", problem.what, problem.r#where, problem.action),
        },
    }
}
