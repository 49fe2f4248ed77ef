//! An adapter folder that belongs to no run, as what is exported: chosen, dropped or typed, and the base it goes onto.
//!
//! Place in the data flow: the room Export shows what stands here; the engine is asked what folder and base are, and is the
//! one that refuses a base on which the adapter does not fit.

use crate::app::App;
use crate::commands::UiCommand;
use crate::dialogs::Pick;
use crate::format;
use crate::state::drop::{Target, path_of};
use crate::state::export::BareAdapter;
use crate::state::{Ask, Room, State};
use std::path::PathBuf;
use temper_protocol::{Code, Command, Event, Problem};

/// The chosen adapter folder as the engine is asked about it; none while none is chosen.
#[must_use]
pub fn bare_path(state: &State) -> Option<String> {
    let bare = state.export.adapter.as_ref().filter(|bare| !bare.path.is_empty())?;
    Some(state.draft.resolve(&bare.path))
}

/// What the chosen folder holds, once that is known and where it is an adapter.
#[must_use]
pub fn bare_facts(state: &State) -> Option<&Event> {
    state.known.get(&bare_path(state)?).filter(|thing| matches!(thing, Event::Adapter { .. }))
}

/// The base of the chosen adapter folder as the engine is asked about it: the one asked for, else the project's.
#[must_use]
pub fn bare_base(state: &State) -> Option<String> {
    let bare = state.export.adapter.as_ref()?;
    let model = bare.model.as_ref().unwrap_or(&state.draft.project.model.path);
    (!model.is_empty()).then(|| state.draft.resolve(model))
}

/// What is known of the model that the export is of: the base of an adapter folder, else the project's model.
#[must_use]
pub fn export_base(state: &State) -> Option<&Event> {
    if state.export.adapter.is_some() { state.known.get(&bare_base(state)?) } else { state.model_facts() }
}

/// Why the chosen adapter folder cannot be written; nothing when it can, or when a run is chosen.
#[must_use]
pub fn bare_hindrance(state: &State) -> Option<&'static str> {
    state.export.adapter.as_ref()?;
    if bare_facts(state).is_none() {
        return Some(t!("commands-no-adapter"));
    }
    bare_base(state).is_none().then_some(t!("commands-no-base"))
}

impl App {
    /// Carries out what concerns an adapter folder to export; gives back what does not.
    pub(super) fn perform_bare(&mut self, command: UiCommand) -> Option<UiCommand> {
        match command {
            UiCommand::ChooseAdapter => {
                self.state.room = Room::Export;
                self.state.sheet = None;
                self.state.drop.meant_for = Some(Target::Export);
                self.services.picker.pick(Pick::Folder, t!("notice-open-adapter"));
            }
            UiCommand::ExportAdapter(path) => self.export_adapter(path),
            UiCommand::ExportBase(model) => {
                if let Some(bare) = &mut self.state.export.adapter {
                    bare.model = model;
                    self.state.export.problem = None;
                }
                // What was nothing may be something by now.
                if let Some(base) = bare_base(&self.state) {
                    self.asked.paths.remove(&base);
                }
            }
            other => return Some(other),
        }
        None
    }

    /// The room Export is about this adapter folder; its base stays.
    pub(super) fn export_adapter(&mut self, path: String) {
        let export = &mut self.state.export;
        let model = export.adapter.take().and_then(|before| before.model);
        export.adapter = Some(BareAdapter { path, model });
        export.out = None;
        export.problem = None;
        if let Some(path) = bare_path(&self.state) {
            self.asked.paths.remove(&path);
        }
        self.state.room = Room::Export;
    }

    /// Takes what was dropped for the room Export, or chosen for it; gives whether that is done with it.
    pub(super) fn drop_on_export(&mut self, things: &[Event], meant_for: Option<Target>) -> bool {
        let [thing] = things else { return false };
        let Some(path) = path_of(thing).map(|path| path.display().to_string()) else { return false };
        let asked_for = meant_for == Some(Target::Export);
        if matches!(thing, Event::Adapter { .. }) && (asked_for || self.state.room == Room::Export) {
            self.state.known.insert(path.clone(), thing.clone());
            self.notice(t!("notice-is-exported", name = format::plain_name(&path)));
            self.export_adapter(path);
            return true;
        }
        if asked_for {
            self.refuse_on_export(no_adapter(&path));
        }
        asked_for
    }

    /// Says in the room Export why what was chosen for it is not taken; where nothing else is exported the room then waits
    /// for a folder.
    pub(super) fn refuse_on_export(&mut self, problem: Problem) {
        if super::export_run(&self.state).is_none() && self.state.export.adapter.is_none() {
            self.state.export.adapter = Some(BareAdapter::default());
        }
        self.state.export.problem = Some(problem);
        self.state.room = Room::Export;
    }

    /// Asks what the chosen adapter folder and its base are.
    pub(super) fn ask_for_bare(&mut self) {
        for path in [bare_path(&self.state), bare_base(&self.state)].into_iter().flatten() {
            let asked = self.state.known.contains_key(&path) || self.asked.paths.contains(&path);
            if !asked && !path.starts_with("random:") {
                self.asked.paths.insert(path.clone());
                self.ask(Command::Inspect { paths: vec![PathBuf::from(&path)] }, Ask::Path(path));
            }
        }
    }

    /// Takes in why nothing usable is at a path, where the room Export asked for it and no card of Setup did.
    pub(super) fn refuse_bare(&mut self, path: &str, problem: Problem) -> Option<Problem> {
        let of_project = self.state.draft.resolve(&self.state.draft.project.model.path) == path;
        let base = bare_base(&self.state).is_some_and(|base| base == path) && !of_project;
        if base || bare_path(&self.state).is_some_and(|folder| folder == path) {
            self.state.export.problem = Some(problem);
            return None;
        }
        Some(problem)
    }
}

/// What was chosen as an adapter folder is something else.
fn no_adapter(path: &str) -> Problem {
    Problem::new(Code::AdapterInvalid, t!("export-not-adapter"), path, t!("export-not-adapter-action"))
}
