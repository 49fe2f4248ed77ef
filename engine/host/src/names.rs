//! From what a person wrote to what is on the disk: projects, models, data, probe sets, runs.
//!
//! Place in the data flow: jobs come here first. Relative paths of a project file are relative to its
//! folder; everything returned is absolute and exists.

use crate::builtin::{Builtins, PREFIX};
use std::path::{Path, PathBuf};
use temper_protocol::project::{Source, Validation};
use temper_protocol::whole_file::first_free;
use temper_protocol::{Code, Problem, Project, RunRef, named, project_file};
use temper_store::{Reader, RunRow, StoreError};
use temper_train::checkpoint::Checkpoints;

/// What stands before the configuration of a new model.
pub(crate) const RANDOM: &str = named::RANDOM;

/// A path as a person may have written it, relative to `base`.
pub(crate) fn absolute(path: &Path, base: &Path) -> Result<PathBuf, Problem> {
    std::path::absolute(base.join(path)).map_err(|error| {
        Problem::new(
            Code::Io,
            format!("the path cannot be used: {error}"),
            path.display().to_string(),
            "give an absolute path",
        )
    })
}

/// The project's file, given as that file or as its folder.
pub(crate) fn project_file_of(project: &Path) -> Result<PathBuf, Problem> {
    let file = absolute(&project_file::locate(project), Path::new(""))?;
    if file.is_file() {
        return Ok(file);
    }
    Err(Problem::new(
        Code::NotFound,
        "there is no project here",
        file.display().to_string(),
        "give a folder with a project.toml, or make one with: temper new DIR --model M --data D",
    ))
}

/// Folder of a project file.
pub(crate) fn folder_of(file: &Path) -> PathBuf {
    file.parent().map(Path::to_path_buf).unwrap_or_default()
}

/// The project's folder, given as that folder or as its file; the current folder when none is given. Need
/// not hold a project file.
pub(crate) fn project_dir_of(project: Option<&Path>) -> Result<PathBuf, Problem> {
    let project = absolute(project.unwrap_or_else(|| Path::new(".")), Path::new(""))?;
    Ok(if project.is_file() { folder_of(&project) } else { project })
}

fn existing(path: PathBuf, what: &str, written: &str) -> Result<PathBuf, Problem> {
    if path.exists() {
        return Ok(path);
    }
    Err(Problem::new(
        Code::NotFound,
        format!("{what} does not exist"),
        path.display().to_string(),
        format!("check \"{written}\": relative paths are relative to the project's folder"),
    ))
}

/// The model's path. `random:CONFIG.json` gives the configuration.
pub(crate) fn model_path(builtins: &Builtins, name: &str, base: &Path) -> Result<PathBuf, Problem> {
    if name.starts_with(PREFIX) {
        return builtins.path(name);
    }
    let written = name.strip_prefix(RANDOM).unwrap_or(name);
    existing(absolute(Path::new(written), base)?, "the model", written)
}

/// A data file or folder.
pub(crate) fn data_path(builtins: &Builtins, name: &str, base: &Path) -> Result<PathBuf, Problem> {
    if name.starts_with(PREFIX) {
        return builtins.path(name);
    }
    existing(absolute(Path::new(name), base)?, "the data", name)
}

/// Kept sets by name: the word behind `builtin:`, or the file's name without its ending.
pub(crate) fn probe_paths(
    builtins: &Builtins,
    names: &[String],
    base: &Path,
) -> Result<Vec<(String, PathBuf)>, Problem> {
    let mut sets: Vec<(String, PathBuf)> = Vec::new();
    for written in names {
        let path = data_path(builtins, written, base)?;
        let short = match written.strip_prefix(PREFIX) {
            Some(name) => name.to_owned(),
            None => path.file_stem().map_or_else(|| written.clone(), |stem| stem.to_string_lossy().into_owned()),
        };
        // Series are told apart by the name.
        let taken = |name: &str| sets.iter().any(|(other, _)| other == name);
        let numbered = |number| if number == 1 { short.clone() } else { format!("{short}-{number}") };
        let name = first_free(numbered, |name| !taken(name));
        sets.push((name, path));
    }
    Ok(sets)
}

/// A run that exists.
#[derive(Debug, Clone)]
pub(crate) struct FoundRun {
    /// Its number; of a run whose database was lost, the number that its folder is called.
    pub(crate) run: u64,
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// Its row, when the database has one.
    pub(crate) row: Option<RunRow>,
}

impl FoundRun {
    fn of_row(row: RunRow) -> Self {
        Self { run: row.run, folder: row.folder.clone(), row: Some(row) }
    }

    pub(crate) fn of_folder(folder: PathBuf) -> Self {
        let run = folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()).unwrap_or(0);
        Self { run, folder, row: None }
    }
}

/// The run meant by `wanted`. The database is asked first; runs of a lost one are found by their folders.
pub(crate) fn find_run(project_dir: &Path, wanted: &RunRef) -> Result<FoundRun, Problem> {
    let rows = match Reader::open(project_dir) {
        Ok(reader) => reader.runs()?,
        Err(StoreError::Missing { .. } | StoreError::Damaged { .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let found =
        match wanted {
            RunRef::Last => rows
                .into_iter()
                .next()
                .map(FoundRun::of_row)
                .or_else(|| run_folders(project_dir).pop().map(FoundRun::of_folder)),
            RunRef::Id(run) => rows.into_iter().find(|row| row.run == *run).map(FoundRun::of_row).or_else(|| {
                run_folders(project_dir).into_iter().map(FoundRun::of_folder).find(|found| found.run == *run)
            }),
            RunRef::Path(path) => {
                let folder = run_folder_of(&absolute(path, Path::new(""))?);
                let key = crate::projects::key(&folder);
                rows.into_iter()
                    .find(|row| crate::projects::key(&row.folder) == key)
                    .map(FoundRun::of_row)
                    .or_else(|| folder.is_dir().then(|| FoundRun::of_folder(folder)))
            }
        };
    found.ok_or_else(|| {
        let name = match wanted {
            RunRef::Last => "no run".to_owned(),
            RunRef::Id(run) => format!("no run {run}"),
            RunRef::Path(path) => format!("no run in {}", path.display()),
        };
        Problem::new(
            Code::NotFound,
            format!("there is {name} in this project"),
            project_dir.display().to_string(),
            "list the runs with: temper runs PROJECT, or start one with: temper train PROJECT",
        )
    })
}

/// The run's folder, given as that or as one of its checkpoints.
fn run_folder_of(path: &Path) -> PathBuf {
    let is_checkpoint = path.join(temper_train::checkpoint::STATE_FILE).is_file();
    match path.parent().and_then(Path::parent) {
        Some(run) if is_checkpoint => run.to_path_buf(),
        _ => path.to_path_buf(),
    }
}

/// Folder of the project that a run in `run_dir` belongs to: the one given, unless the run lies in another one.
pub(crate) fn home_of(run_dir: &Path, given: &Path) -> PathBuf {
    let around = run_dir.parent().and_then(Path::parent);
    match around {
        Some(around) if around.join(project_file::FILE_NAME).is_file() => around.to_path_buf(),
        _ => given.to_path_buf(),
    }
}

/// Folders `runs/NNNN` with checkpoints, by rising number.
pub(crate) fn run_folders(project_dir: &Path) -> Vec<PathBuf> {
    let mut numbered: Vec<(u64, PathBuf)> = std::fs::read_dir(project_dir.join("runs"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .filter(|(_, folder)| !Checkpoints::existing(folder).steps().is_empty())
        .collect();
    numbered.sort();
    numbered.into_iter().map(|(_, folder)| folder).collect()
}

/// The project as it was frozen for a run.
pub(crate) fn frozen_text(found: &FoundRun) -> Result<String, Problem> {
    let file = found.folder.join(project_file::FILE_NAME);
    match (std::fs::read_to_string(&file), &found.row) {
        (Ok(text), _) => Ok(text),
        (Err(_), Some(row)) if !row.settings_toml.is_empty() => Ok(row.settings_toml.clone()),
        (Err(error), _) => Err(Problem::new(
            Code::Io,
            format!("the settings of the run cannot be read: {error}"),
            file.display().to_string(),
            "give a run's folder, with its project.toml",
        )),
    }
}

/// The project as it was frozen for a run, read as if it stood in `project_dir`.
pub(crate) fn frozen_project(found: &FoundRun, project_dir: &Path) -> Result<Project, Problem> {
    project_file::parse(&frozen_text(found)?, &project_dir.join(project_file::FILE_NAME))
}

/// What a frozen project names and what is no longer there is taken from where the project's file says that it is now.
/// Whether it is the same is for the hashes to say, which a resume and an export compare.
pub(crate) fn find_again(frozen: &mut Project, project_dir: &Path) {
    let gone = |written: &str| {
        let path = written.strip_prefix(RANDOM).unwrap_or(written);
        named::is_path(path) && !project_dir.join(path).exists()
    };
    let Ok(now) = project_file::load(&project_dir.join(project_file::FILE_NAME)) else { return };
    let find = |path: &mut String, now: &str| {
        if gone(path) && !gone(now) {
            now.clone_into(path);
        }
    };
    find(&mut frozen.model.path, &now.model.path);
    let lists = [(&mut frozen.data.train, &now.data.train), (&mut frozen.model.adapters, &now.model.adapters)];
    for (sources, now) in lists {
        // Of other data nothing can be said to be the same.
        if sources.len() == now.len() {
            for (source, now) in sources.iter_mut().zip(now) {
                let (Source::Path(path) | Source::Weighted { path, .. }) = source;
                find(path, now.path());
            }
        }
    }
    if let (Validation::Path(path), Validation::Path(now)) = (&mut frozen.data.validation, &now.data.validation) {
        find(path, now);
    }
    if frozen.keep.probes.len() == now.keep.probes.len() {
        for (path, now) in frozen.keep.probes.iter_mut().zip(&now.keep.probes) {
            find(path, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_project_finds_its_model_and_data_where_the_project_has_them_now() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("new")).expect("a folder");
        for name in ["new/m.gguf", "new/a.jsonl", "new/v.jsonl", "new/k.txt", "b.jsonl"] {
            std::fs::write(folder.path().join(name), "x").expect("a file");
        }
        let with = |model: &str, data: &[&str]| {
            let data: Vec<String> = data.iter().map(|name| (*name).to_owned()).collect();
            Project::new("p", model, &data, "lora")
        };
        let mut now = with("new/m.gguf", &["new/a.jsonl", "new/nowhere.jsonl"]);
        now.data.validation = Validation::Path("new/v.jsonl".to_owned());
        now.keep.probes = vec!["b.jsonl".to_owned(), "new/k.txt".to_owned()];
        now.model.adapters = vec![Source::Path("new/m.gguf".to_owned())];
        project_file::save(&now, &folder.path().join(project_file::FILE_NAME)).expect("saves");
        let mut frozen = with("old/m.gguf", &["old/a.jsonl", "b.jsonl"]);
        frozen.data.train[0] = Source::Weighted { path: "old/a.jsonl".to_owned(), weight: 0.5 };
        frozen.data.validation = Validation::Path("old/v.jsonl".to_owned());
        frozen.keep.probes = vec!["builtin:prose".to_owned(), "old/k.txt".to_owned()];
        frozen.model.adapters = vec![Source::Path("run:3".to_owned())];
        find_again(&mut frozen, folder.path());
        assert_eq!(frozen.data.validation, Validation::Path("new/v.jsonl".to_owned()));
        assert_eq!(frozen.keep.probes, ["builtin:prose", "new/k.txt"]);
        assert_eq!(frozen.model.adapters[0].path(), "run:3", "a run is found by its number");
        assert_eq!(frozen.model.path, "new/m.gguf");
        assert_eq!(frozen.data.train[0], Source::Weighted { path: "new/a.jsonl".to_owned(), weight: 0.5 });
        assert_eq!(frozen.data.train[1].path(), "b.jsonl", "what is there stays");
        let mut bundled = with("builtin:starter", &["old/a.jsonl"]);
        find_again(&mut bundled, folder.path());
        assert_eq!(bundled.model.path, "builtin:starter");
        assert_eq!(bundled.data.train[0].path(), "old/a.jsonl", "of other data nothing is taken");
    }
}
