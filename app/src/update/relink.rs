//! What the project names and what is no longer there: what was found is compared before it is used.
//!
//! Place in the data flow: whatever a person drops, chooses or types while the model or the data is missing comes through
//! [`App::is_other`] first. Equal weights are for the engine to tell, which compares hashes before a run goes on.

use crate::app::App;
use crate::commands::UiCommand;
use crate::state::drop::{Target, targets};
use crate::state::relink::RelinkAct;
use crate::state::setup::Card;
use crate::state::{Room, Sheet};
use temper_protocol::Event;
use temper_protocol::project::Source;

impl App {
    /// Carries out what concerns what is no longer there; gives back what does not.
    pub(super) fn perform_relink(&mut self, command: UiCommand) -> Option<UiCommand> {
        let UiCommand::Relink(act) = command else { return Some(command) };
        match act {
            RelinkAct::LookAgain => {
                for path in std::mem::take(&mut self.state.setup.missing) {
                    self.asked.paths.remove(&path);
                }
                self.state.setup.problems.remove(&Card::Model);
                self.state.setup.problems.remove(&Card::Data);
                self.asked.preview.clear();
                self.asked.preflight.clear();
            }
            RelinkAct::UseAnyway => {
                if let Some(Sheet::Mismatch { found, .. }) = self.state.sheet.take()
                    && let (Some(target), _) = targets(&found)
                {
                    let mut project = self.state.draft.project.clone();
                    self.place(&mut project, &found, target);
                    let now = self.state.now_secs;
                    self.state.draft.edit("", project, now);
                }
            }
        }
        None
    }

    /// Whether `found` is something else than what is missing at `target`; a person is asked then.
    pub(super) fn is_other(&mut self, found: &Event, target: Target) -> bool {
        let differences = self.state.relink_differences(found, target);
        if differences.is_empty() {
            return false;
        }
        self.state.sheet = Some(Sheet::Mismatch { found: Box::new(found.clone()), differences });
        self.state.room = Room::Setup;
        true
    }

    /// Nothing is at a path of the project.
    pub(super) fn is_missing(&mut self, path: &str) {
        self.state.setup.missing.insert(path.to_owned());
    }

    /// Puts found data in the place of what is missing, with its weight; gives whether there was such a place.
    pub(super) fn in_place_of_missing(&self, sources: &mut [Source], found: &str) -> bool {
        let Some((index, _)) = self.state.missing_data() else { return false };
        let Some(Source::Path(path) | Source::Weighted { path, .. }) = sources.get_mut(index) else { return false };
        found.clone_into(path);
        true
    }
}
