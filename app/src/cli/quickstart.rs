//! `temper quickstart`: copies the bundled example, trains it, exports it, and shows the certificate.

use crate::cli::drive::{Session, print_line};
use std::path::PathBuf;
use temper_protocol::command::ExportSource;
use temper_protocol::{Code, Command, Event, ExportFormat, Problem, RunRef, project_file};

/// Name of the bundled example and of its folder.
const EXAMPLE: &str = "quickstart";

/// Puts the example project where it is asked for (or into the documents folder) and returns its folder.
///
/// # Errors
/// A problem when the folder cannot be written.
pub(crate) fn prepare(json: bool, dir: Option<PathBuf>) -> Result<PathBuf, Problem> {
    prepare_in(&mut Session::open(json)?, dir)
}

/// Trains the example end to end without a window.
///
/// # Errors
/// The first problem on the way.
pub(crate) fn run(json: bool, dir: Option<PathBuf>) -> Result<bool, Problem> {
    let mut session = Session::open(json)?;
    let dir = prepare_in(&mut session, dir)?;
    if !json {
        print_line(&format!("project: {}", dir.display()));
    }
    let project = project_file::load(&dir)?;
    let train = Command::Train {
        project: dir.clone(),
        set: Vec::new(),
        method: None,
        out: None,
        resume: None,
        max_steps: None,
    };
    if !session.carry_out(train)? {
        return Ok(false);
    }
    let mut pass = true;
    for name in &project.export.formats {
        let format = ExportFormat::from_name(name)
            .ok_or_else(|| Problem::internal(format!("the example exports to the unknown format {name}")))?;
        let out = dir.join("exports").join(name);
        pass &= session.carry_out(Command::Export {
            project: Some(dir.clone()),
            source: ExportSource::Run { run: RunRef::Last, step: None },
            format,
            dtype: None,
            out,
            card: None,
        })?;
    }
    if !json && pass {
        print_line(&format!("done. The adapter and the merged model are in {}", dir.join("exports").display()));
        print_line("next: drop your own model and data on the window (temper), or temper new DIR --model M --data D");
    }
    Ok(pass)
}

fn prepare_in(session: &mut Session, dir: Option<PathBuf>) -> Result<PathBuf, Problem> {
    let dir = match dir {
        Some(dir) => std::path::absolute(&dir).map_err(|error| {
            Problem::new(Code::Usage, error.to_string(), dir.display().to_string(), "give another --dir")
        })?,
        None => projects_folder()?.join(EXAMPLE),
    };
    if dir.join(project_file::FILE_NAME).is_file() {
        return Ok(dir);
    }
    let copied = session.collect(Command::CopyExample { name: EXAMPLE.to_owned(), dir })?;
    copied
        .into_iter()
        .find_map(|event| match event {
            Event::Project { path, .. } => Some(path),
            _ => None,
        })
        .ok_or_else(|| Problem::internal("the example was not copied"))
}

/// `Temper` in the person's documents folder, or in their home where there is none.
fn projects_folder() -> Result<PathBuf, Problem> {
    let user = directories::UserDirs::new().ok_or_else(|| {
        Problem::new(Code::Io, "there is no home folder", "quickstart", "say where to put the project with --dir")
    })?;
    Ok(user.document_dir().unwrap_or_else(|| user.home_dir()).join("Temper"))
}
