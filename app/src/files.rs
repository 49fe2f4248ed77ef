//! Small files read and written behind the window's back: projects, settings, exported tables.
//!
//! Place in the data flow: the window sends a [`Job`], a named thread does it and answers with a
//! [`Done`]; the UI thread never touches a disk. Tests use [`Inline`], which does the same at once.

mod beside;
mod threaded;

pub use threaded::Threaded;

use crate::report;
use crate::screen::{self, Taken};
use crate::state::layout::Layout;
use crate::state::remembered::Remembered;
use crate::state::settings::Settings;
use crate::texts::{Language, speak};
use std::path::{Path, PathBuf};
use temper_protocol::race_record::{self, RaceRecord};
use temper_protocol::whole_file::{first_free, write as write_whole};
use temper_protocol::{Code, Problem, Project, project_file};

/// Folders of this user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Settings of the window.
    pub config: PathBuf,
    /// Drafts and logs.
    pub data: PathBuf,
    /// Where new projects go: `Temper` in the documents folder.
    pub projects: PathBuf,
}

impl Places {
    /// The folders of the person who runs the program.
    #[must_use]
    pub fn of_user() -> Self {
        let user = directories::UserDirs::new();
        let home = user.as_ref().map_or_else(|| PathBuf::from("."), |user| user.home_dir().to_path_buf());
        let documents = user.as_ref().and_then(|user| user.document_dir().map(Path::to_path_buf)).unwrap_or(home);
        let dirs = directories::ProjectDirs::from("", "", "Temper");
        Self {
            config: dirs.as_ref().map_or_else(|| documents.join(".temper"), |dirs| dirs.config_dir().to_path_buf()),
            data: dirs.as_ref().map_or_else(|| documents.join(".temper"), |dirs| dirs.data_local_dir().to_path_buf()),
            projects: documents.join("Temper"),
        }
    }

    /// Where a project lives that has no folder yet.
    #[must_use]
    pub fn draft(&self) -> PathBuf {
        self.data.join("draft")
    }

    /// The log of the engine.
    #[must_use]
    pub fn engine_log(&self) -> PathBuf {
        self.data.join("engine.log")
    }

    fn settings(&self) -> PathBuf {
        self.config.join("window.json")
    }
}

/// Something to read or write.
#[derive(Debug, Clone, PartialEq)]
pub enum Job {
    /// Says what goes wrong in this language from here on.
    Speak(Language),
    /// Reads the window's settings.
    LoadSettings,
    /// Writes the window's settings.
    SaveSettings(Box<Settings>),
    /// Reads a project.
    Load(PathBuf),
    /// Writes a project, creating its folder.
    Save {
        /// Folder.
        folder: PathBuf,
        /// What to write.
        project: Box<Project>,
        /// Number of the edit that is written.
        revision: u64,
        /// The folder was just chosen: a project that lies there already stays as it is.
        is_new: bool,
    },
    /// Looks for the copied example, or for a free folder to copy it to.
    PlaceExample {
        /// Its name.
        name: String,
        /// Whether to train at once.
        train: bool,
    },
    /// Looks for a free folder for a project called `name`.
    PlaceProject {
        /// Its name.
        name: String,
    },
    /// Writes a text, such as a table.
    WriteText {
        /// Where.
        path: PathBuf,
        /// What.
        text: String,
    },
    /// Reads what the room Compare remembers with a project.
    LoadCompare(PathBuf),
    /// Writes it.
    SaveCompare {
        /// Where.
        path: PathBuf,
        /// What.
        text: String,
    },
    /// Reads the races that are kept with a project.
    LoadRaces(PathBuf),
    /// Reads how a project was looked at.
    LoadLayout(PathBuf),
    /// Writes it.
    SaveLayout {
        /// Where.
        path: PathBuf,
        /// What.
        text: String,
    },
    /// Copies or moves a project's folder.
    Rehouse {
        /// The project.
        from: PathBuf,
        /// Where to.
        to: PathBuf,
        /// The folder itself moves.
        moves: bool,
        /// A copy has the runs too.
        with_runs: bool,
    },
    /// Writes a run as one HTML file.
    WriteReport {
        /// Project folder.
        project: PathBuf,
        /// The run.
        run: u64,
        /// Where.
        path: PathBuf,
    },
    /// Cuts a plot out of a frame and writes it as PNG.
    WritePicture(Taken),
    /// Reads the start of dropped or typed paths: only whether they exist.
    Exists(PathBuf),
}

/// What became of a [`Job`].
#[derive(Debug, Clone, PartialEq)]
pub enum Done {
    /// The settings; defaults when there are none yet, or when they could not be read, which is told.
    Settings(Box<Settings>, Option<Problem>),
    /// A project was read.
    Loaded {
        /// Its folder.
        folder: PathBuf,
        /// What it says.
        project: Box<Project>,
    },
    /// A project could not be read.
    NotLoaded {
        /// What was asked for.
        path: PathBuf,
        /// Why.
        problem: Problem,
    },
    /// A project was written.
    Saved {
        /// Its folder.
        folder: PathBuf,
        /// Number of the edit.
        revision: u64,
    },
    /// A project could not be written.
    NotSaved {
        /// Its folder.
        folder: PathBuf,
        /// Number of the edit.
        revision: u64,
        /// Why.
        problem: Problem,
    },
    /// Where the example is or can go.
    ExamplePlace {
        /// Folder.
        folder: PathBuf,
        /// Whether the example is there already.
        exists: bool,
        /// Its name.
        name: String,
        /// Whether to train at once.
        train: bool,
    },
    /// A free folder.
    ProjectPlace {
        /// Folder.
        folder: PathBuf,
    },
    /// A text was written.
    Written {
        /// Where.
        path: PathBuf,
    },
    /// A project is at another place.
    Rehoused {
        /// Where it was, or still is.
        from: PathBuf,
        /// Where it, or its copy, is.
        to: PathBuf,
        /// The folder itself moved.
        moved: bool,
    },
    /// A project could be neither copied nor moved.
    NotRehoused(Problem),
    /// What the room Compare remembers with the project in this folder.
    Compare {
        /// Project folder.
        folder: PathBuf,
        /// What was read.
        remembered: Box<Remembered>,
    },
    /// The races that are kept with the project in this folder.
    Races {
        /// Project folder.
        folder: PathBuf,
        /// What was read, newest first.
        races: Vec<RaceRecord>,
    },
    /// How the project in this folder was looked at.
    Layout {
        /// Project folder.
        folder: PathBuf,
        /// What was read; nothing when there is no file.
        layout: Option<Box<Layout>>,
        /// There is a file, but it is damaged or of another version.
        unreadable: bool,
    },
    /// Something else went wrong.
    Failed(Problem),
    /// Whether a path exists.
    Exists {
        /// The path.
        path: PathBuf,
        /// Whether it is there.
        exists: bool,
    },
}

/// Does jobs.
pub trait Backstage: Send {
    /// Hands over a job.
    fn send(&mut self, job: Job);
    /// Moves what is done to the end of `into`.
    fn drain(&mut self, into: &mut Vec<Done>);
}

/// Does jobs at once; for tests.
pub struct Inline {
    places: Places,
    done: Vec<Done>,
}

impl Inline {
    /// Works in `places`.
    #[must_use]
    pub fn new(places: Places) -> Self {
        Self { places, done: Vec::new() }
    }
}

impl Backstage for Inline {
    fn send(&mut self, job: Job) {
        self.done.extend(perform(&self.places, job));
    }

    fn drain(&mut self, into: &mut Vec<Done>) {
        into.append(&mut self.done);
    }
}

pub(crate) fn io_problem(what: &str, path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(Code::Io, format!("{what}: {error}"), path.display().to_string(), t!("problem-disk-check"))
}

fn perform(places: &Places, job: Job) -> Option<Done> {
    match job {
        Job::Speak(language) => {
            speak(language);
            None
        }
        Job::LoadSettings => Some(beside::load_settings(&places.settings())),
        Job::SaveSettings(settings) => {
            let path = places.settings();
            let text = settings.text();
            let written = std::fs::create_dir_all(&places.config).and_then(|()| write_whole(&path, &text));
            written.err().map(|error| Done::Failed(io_problem(t!("problem-settings"), &path, &error)))
        }
        Job::Load(path) => Some(match project_file::load(&path) {
            Ok(project) => {
                let file = project_file::locate(&path);
                let folder = file.parent().map_or_else(|| path.clone(), Path::to_path_buf);
                Done::Loaded { folder: absolute(&folder), project: Box::new(project) }
            }
            Err(problem) => Done::NotLoaded { path, problem },
        }),
        Job::Save { folder, revision, is_new: true, .. } if folder.join(project_file::FILE_NAME).exists() => {
            let problem = Problem::new(
                Code::Refused,
                t!("problem-project-there"),
                folder.display().to_string(),
                t!("problem-project-there-action"),
            );
            Some(Done::NotSaved { folder, revision, problem })
        }
        Job::Save { folder, project, revision, .. } => {
            let saved = std::fs::create_dir_all(&folder)
                .map_err(|error| io_problem(t!("problem-folder"), &folder, &error))
                .and_then(|()| project_file::save(&project, &folder.join(project_file::FILE_NAME)));
            Some(match saved {
                Ok(_) => Done::Saved { folder, revision },
                Err(problem) => Done::NotSaved { folder, revision, problem },
            })
        }
        Job::PlaceExample { name, train } => {
            let folder = places.projects.join(&name);
            let exists = folder.join(project_file::FILE_NAME).is_file();
            let folder = if exists { folder } else { free_folder(&places.projects, &name) };
            Some(Done::ExamplePlace { folder, exists, name, train })
        }
        Job::PlaceProject { name } => Some(Done::ProjectPlace { folder: free_folder(&places.projects, &name) }),
        Job::WriteText { path, text } => Some(match write_whole(&path, &text) {
            Ok(()) => Done::Written { path },
            Err(error) => Done::Failed(io_problem(t!("problem-file"), &path, &error)),
        }),
        Job::Rehouse { from, to, moves, with_runs } => {
            let done =
                if moves { temper_store::relocate(&from, &to) } else { temper_store::duplicate(&from, &to, with_runs) };
            Some(match done {
                Ok(to) => Done::Rehoused { from, to, moved: moves },
                Err(problem) => Done::NotRehoused(problem),
            })
        }
        Job::WriteReport { project, run, path } => Some(match report::write(&project, run, &path) {
            Ok(_) => Done::Written { path },
            Err(problem) => Done::Failed(problem),
        }),
        Job::LoadCompare(folder) => beside::load_compare(folder),
        Job::SaveCompare { path, text } => {
            let written = write_whole(&path, &text).err();
            written.map(|error| Done::Failed(io_problem(t!("problem-file"), &path, &error)))
        }
        Job::LoadRaces(folder) => Some(Done::Races { races: race_record::list(&folder), folder }),
        Job::LoadLayout(folder) => Some(beside::load_layout(folder)),
        Job::SaveLayout { path, text } => {
            // A folder that cannot be written to is told by what is work; where panels stood is not worth a word.
            if let Err(error) = write_whole(&path, &text) {
                tracing::debug!("the layout was not written: {error}");
            }
            None
        }
        Job::WritePicture(Taken { frame, part, path }) => Some(match screen::png(&frame, part) {
            Ok(bytes) => match write_whole(&path, &bytes) {
                Ok(()) => Done::Written { path },
                Err(error) => Done::Failed(io_problem(t!("problem-picture"), &path, &error)),
            },
            Err(why) => Done::Failed(Problem::internal(t!("problem-picture-made", why = why))),
        }),
        Job::Exists(path) => {
            let exists = path.exists();
            Some(Done::Exists { path, exists })
        }
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// `name`, or `name-2`, `name-3` ... if that is taken by something that is not an empty folder.
fn free_folder(parent: &Path, name: &str) -> PathBuf {
    let free = |path: &PathBuf| match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => !path.exists(),
    };
    let numbered = |number| if number == 1 { parent.join(name) } else { parent.join(format!("{name}-{number}")) };
    first_free(numbered, free)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn places(root: &Path) -> Places {
        Places { config: root.join("config"), data: root.join("data"), projects: root.join("Temper") }
    }

    pub(super) fn one(backstage: &mut Inline, job: Job) -> Done {
        backstage.send(job);
        let mut done = Vec::new();
        backstage.drain(&mut done);
        assert_eq!(done.len(), 1);
        done.remove(0)
    }

    #[test]
    fn a_project_is_saved_and_read_back() {
        let root = tempfile::tempdir().expect("temporary folder");
        let mut backstage = Inline::new(places(root.path()));
        let project = Box::new(Project::new("tone", "builtin:starter", &["d.jsonl".to_owned()], "lora"));
        let folder = root.path().join("tone");
        let saved = one(
            &mut backstage,
            Job::Save { folder: folder.clone(), project: project.clone(), revision: 3, is_new: true },
        );
        assert_eq!(saved, Done::Saved { folder: folder.clone(), revision: 3 });
        assert_eq!(one(&mut backstage, Job::Load(folder.clone())), Done::Loaded { folder, project });
    }

    #[test]
    fn a_new_project_does_not_take_the_place_of_one_that_lies_there() {
        let root = tempfile::tempdir().expect("temporary folder");
        let mut backstage = Inline::new(places(root.path()));
        let folder = root.path().join("tone");
        let save = |name: &str, is_new: bool| Job::Save {
            folder: folder.clone(),
            project: Box::new(Project::new(name, "builtin:starter", &["d.jsonl".to_owned()], "lora")),
            revision: 1,
            is_new,
        };
        assert!(matches!(one(&mut backstage, save("first", true)), Done::Saved { .. }));
        assert!(matches!(one(&mut backstage, save("other", true)), Done::NotSaved { .. }));
        let name = |done: Done| if let Done::Loaded { project, .. } = done { project.name } else { String::new() };
        assert_eq!(name(one(&mut backstage, Job::Load(folder.clone()))), "first");
        assert!(matches!(one(&mut backstage, save("first, edited", false)), Done::Saved { .. }));
        assert_eq!(name(one(&mut backstage, Job::Load(folder.clone()))), "first, edited");
    }

    #[test]
    fn a_text_is_written_whole_and_nothing_beside_it_is_touched() {
        let root = tempfile::tempdir().expect("temporary folder");
        let mut backstage = Inline::new(places(root.path()));
        let path = root.path().join("a.html");
        for name in ["a.part", "a.html.part", "a.html.1.part"] {
            std::fs::write(root.path().join(name), "a person's own").expect("file");
        }
        for text in ["first", "second"] {
            let written = one(&mut backstage, Job::WriteText { path: path.clone(), text: text.to_owned() });
            assert_eq!(written, Done::Written { path: path.clone() });
            assert_eq!(std::fs::read_to_string(&path).expect("reads"), text);
        }
        for name in ["a.part", "a.html.part", "a.html.1.part"] {
            assert_eq!(std::fs::read_to_string(root.path().join(name)).expect("reads"), "a person's own", "{name}");
        }
        // A folder of that name cannot be written over; what was begun is gone.
        std::fs::create_dir(root.path().join("folder")).expect("folder");
        let refused = one(&mut backstage, Job::WriteText { path: root.path().join("folder"), text: String::new() });
        assert!(matches!(refused, Done::Failed(_)), "{refused:?}");
        assert_eq!(std::fs::read_dir(root.path()).expect("lists").count(), 5);
    }

    #[test]
    fn a_missing_project_is_a_problem_that_names_it() {
        let root = tempfile::tempdir().expect("temporary folder");
        let path = root.path().join("nothing");
        match one(&mut Inline::new(places(root.path())), Job::Load(path.clone())) {
            Done::NotLoaded { path: named, problem } => {
                assert_eq!(named, path);
                assert!(problem.r#where.contains("nothing"));
            }
            other => panic!("expected a problem, got {other:?}"),
        }
    }

    #[test]
    fn the_example_is_reused_and_new_projects_get_free_names() {
        let root = tempfile::tempdir().expect("temporary folder");
        let places = places(root.path());
        let mut backstage = Inline::new(places.clone());
        let ask = || Job::PlaceExample { name: "quickstart".to_owned(), train: true };
        let folder = places.projects.join("quickstart");
        let place = |folder: &Path, exists| Done::ExamplePlace {
            folder: folder.to_path_buf(),
            exists,
            name: "quickstart".to_owned(),
            train: true,
        };
        assert_eq!(one(&mut backstage, ask()), place(&folder, false));
        std::fs::create_dir_all(&folder).expect("folder");
        std::fs::write(folder.join("project.toml"), "").expect("file");
        assert_eq!(one(&mut backstage, ask()), place(&folder, true));
        let free = one(&mut backstage, Job::PlaceProject { name: "quickstart".to_owned() });
        assert_eq!(free, Done::ProjectPlace { folder: places.projects.join("quickstart-2") });
    }
}
