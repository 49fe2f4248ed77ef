//! `temper project`: a copy of a project's folder, or the folder at another place; needs no engine.

use crate::cli::drive::{print_json, print_line};
use clap::Subcommand;
use std::path::{Path, PathBuf};
use temper_protocol::{Event, Problem, project_file};
use temper_store::Reader;

/// What `project` does.
#[derive(Debug, Subcommand)]
pub(crate) enum ProjectTask {
    /// Copy a project's folder; refused while an engine works on it
    Duplicate {
        /// Project folder or its project.toml
        project: PathBuf,
        /// Folder of the copy, which must not be there yet
        dir: PathBuf,
        /// Only the project, without runs, exports and trash
        #[arg(long)]
        without_runs: bool,
    },
    /// Move a project's folder with everything in it; refused while an engine works on it
    Move {
        /// Project folder or its project.toml
        project: PathBuf,
        /// Its new folder, which must not be there yet
        dir: PathBuf,
    },
}

/// Copies or moves, and says where the project is then.
///
/// # Errors
/// A problem when the place is taken, an engine works on the project, or the disk refuses.
pub(crate) fn run(json: bool, task: &ProjectTask) -> Result<bool, Problem> {
    let (words, place) = match task {
        ProjectTask::Duplicate { project, dir, without_runs } => {
            ("copied to", temper_store::duplicate(project, dir, !without_runs)?)
        }
        ProjectTask::Move { project, dir } => ("moved to", temper_store::relocate(project, dir)?),
    };
    if json {
        print_json(&event(&place)?);
    } else {
        print_line(&format!("{words} {}", place.display()));
    }
    Ok(true)
}

/// The project in `folder`.
fn event(folder: &Path) -> Result<Event, Problem> {
    let project = project_file::load(folder)?;
    // One that never ran has no store, and one that cannot be read is another matter.
    let runs = Reader::open(folder).and_then(|reader| reader.runs()).map_or(0, |runs| runs.len() as u64);
    let (name, model, method) = (project.name, project.model.path, project.method.id);
    Ok(Event::Project { path: folder.to_path_buf(), name, model, method, runs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use temper_protocol::Project;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        task: ProjectTask,
    }

    fn carry_out(words: &[&Path]) -> Result<bool, Problem> {
        let line = [Path::new("project")].into_iter().chain(words.iter().copied());
        run(false, &Line::try_parse_from(line).expect("parses").task)
    }

    #[test]
    fn words_copy_and_move_a_project() {
        let root = tempfile::tempdir().expect("a folder");
        let (from, copy, moved) = (root.path().join("tone"), root.path().join("copy"), root.path().join("moved"));
        std::fs::create_dir(&from).expect("a folder");
        let project = Project::new("tone", "builtin:starter", &["builtin:starter-data".to_owned()], "lora");
        project_file::save(&project, &from.join(project_file::FILE_NAME)).expect("saves");
        carry_out(&[Path::new("duplicate"), &from, &copy, Path::new("--without-runs")]).expect("copies");
        carry_out(&[Path::new("move"), &from, &moved]).expect("moves");
        assert!(!from.exists());
        match event(&copy).expect("a project") {
            Event::Project { path, name, method, runs, .. } => {
                assert_eq!((path, name.as_str(), method.as_str(), runs), (copy.clone(), "copy", "lora", 0));
            }
            other => panic!("expected a project, got {other:?}"),
        }
        carry_out(&[Path::new("move"), &moved, &copy]).expect_err("something is there");
        assert!(moved.is_dir());
    }
}
