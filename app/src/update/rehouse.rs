//! The open project at another place: a copy of its folder, or the folder itself.
//!
//! Place in the data flow: the thread for files does it under the project's lock and answers; the window then opens the
//! project where it is. Nothing is saved meanwhile, so that no file appears at the old place again.

use crate::app::App;
use crate::commands::UiCommand;
use crate::files::Job;
use crate::state::rehouse::{Rehouse, RehouseAct};
use crate::state::{Ask, Sheet, State};
use std::path::{Path, PathBuf};
use temper_protocol::Problem;

/// Why the project can neither be copied nor moved now; nothing when it can.
#[must_use]
pub fn rehouse_hindrance(state: &State) -> Option<&'static str> {
    if state.rehousing {
        Some(t!("rehouse-going"))
    } else if state.draft.folder.is_none() {
        Some(t!("commands-no-folder"))
    } else if state.is_training() {
        Some(t!("commands-run-going"))
    } else if state.exporting().is_some() {
        // What it writes would make a folder at the old place again.
        Some(t!("commands-exporting"))
    } else {
        state.jobs.find(|ask| *ask == Ask::Clean).is_some().then_some(t!("lens-job-copy"))
    }
}

/// The typed folder, when the project can go there: it says something, and not where the project is or lies within.
#[must_use]
pub fn rehouse_place(state: &State, typed: &str) -> Option<PathBuf> {
    let place = crate::typed::folder(typed)?;
    let folder = state.draft.folder.as_ref()?;
    (!place.starts_with(folder)).then_some(place)
}

/// What stands in the field at first: a name beside the project's.
fn suggested(folder: &Path, moves: bool) -> String {
    if moves {
        return folder.display().to_string();
    }
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    folder.with_file_name(t!("rehouse-copy-name", name = name)).display().to_string()
}

impl App {
    /// Carries out what concerns the place of the project; gives back what does not.
    pub(super) fn perform_rehouse(&mut self, command: UiCommand) -> Option<UiCommand> {
        let UiCommand::Rehouse(act) = command else { return Some(command) };
        match act {
            RehouseAct::Open { moves } => {
                if rehouse_hindrance(&self.state).is_none()
                    && let Some(folder) = &self.state.draft.folder
                {
                    let folder = suggested(folder, moves);
                    let asked = Rehouse { moves, folder, with_runs: true, ..Rehouse::default() };
                    self.state.sheet = Some(Sheet::Rehouse(Box::new(asked)));
                }
            }
            RehouseAct::Folder(folder) => {
                if let Some(Sheet::Rehouse(asked)) = &mut self.state.sheet {
                    asked.folder = folder;
                    asked.problem = None;
                }
            }
            RehouseAct::WithRuns(with_runs) => {
                if let Some(Sheet::Rehouse(asked)) = &mut self.state.sheet {
                    asked.with_runs = with_runs;
                }
            }
            RehouseAct::Confirm => self.confirm_rehouse(),
        }
        None
    }

    fn confirm_rehouse(&mut self) {
        let Some(Sheet::Rehouse(asked)) = &self.state.sheet else { return };
        let (moves, with_runs) = (asked.moves, asked.with_runs);
        let place = rehouse_place(&self.state, &asked.folder);
        let (Some(to), Some(from)) = (place, self.state.draft.folder.clone()) else { return };
        if rehouse_hindrance(&self.state).is_some() {
            return;
        }
        if !self.state.draft.is_saved() {
            self.save_now();
        }
        self.state.rehousing = true;
        self.services.files.send(Job::Rehouse { from, to, moves, with_runs });
    }

    /// The project is at `to` now; what moved is no longer where it was.
    pub(super) fn rehoused(&mut self, from: &Path, to: PathBuf, moved: bool) {
        self.state.rehousing = false;
        self.state.sheet = None;
        let place = to.display().to_string();
        let draft = &mut self.state.draft;
        // An answer may have edited the project meanwhile.
        let edited = draft.folder.as_deref() == Some(from) && !draft.is_saved();
        if edited && moved {
            // Saved, it would make a folder at the old place again, and its paths are those from there.
            draft.saving_revision = draft.revision;
        } else if edited {
            self.save_now();
        }
        if moved {
            self.state.settings.recents.retain(|recent| recent.path != from);
            self.save_settings();
            self.notice(t!("rehouse-moved", path = place));
        } else {
            self.notice(t!("rehouse-copied", path = place));
        }
        self.services.files.send(Job::Load(to));
    }

    /// It stayed where it was, and the question says why.
    pub(super) fn not_rehoused(&mut self, problem: Problem) {
        self.state.rehousing = false;
        match &mut self.state.sheet {
            Some(Sheet::Rehouse(asked)) => asked.problem = Some(problem),
            _ => self.state.engine.problem = Some(problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Places;
    use crate::state::{Clock, Draft};
    use temper_protocol::Project;

    #[test]
    fn a_project_goes_to_another_folder_that_is_named_in_full() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let folder = root.join("tone");
        let places = Places { config: root.join("c"), data: root.join("d"), projects: root.join("p") };
        let mut state = State::new(places, Clock::Fixed(0));
        assert_eq!(rehouse_place(&state, "x"), None);
        state.draft = Draft::opened(folder.clone(), Project::new("tone", "m", &[], "lora"));
        assert_eq!(rehouse_hindrance(&state), None);
        for (typed, good) in [
            (root.join("other").display().to_string(), true),
            (format!("  {}  ", root.join("tone-2").display()), true),
            (folder.display().to_string(), false),
            (folder.join("inside").display().to_string(), false),
            ("relative".to_owned(), false),
            (" ".to_owned(), false),
            (format!("\"{}\"", root.join("in marks").display()), true),
            (format!("\"{}\" \"{}\"", root.join("a").display(), root.join("b").display()), false),
        ] {
            assert_eq!(rehouse_place(&state, &typed).is_some(), good, "{typed}");
        }
        assert_eq!(suggested(&folder, false), root.join("tone-copy").display().to_string());
        assert_eq!(suggested(&folder, true), folder.display().to_string());
    }
}
