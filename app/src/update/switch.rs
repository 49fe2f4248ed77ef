//! From one project to another: what is not on disk yet is written, and nothing of the one shows in the other.
//!
//! Place in the data flow: whatever opens a project goes through [`App::load`]; the disk's answer and "New project" leave
//! the one that was open by [`App::leave_project`]. A training goes on beside it, as its files are its own.

use super::project::make_absolute;
use crate::app::App;
use crate::files::Job;
use crate::state::setup::Setup;
use crate::state::{Ask, Draft, Sheet};
use egui::Context;
use std::path::PathBuf;
use temper_protocol::Command;

impl App {
    /// Reads a project, after what was edited was written: it may be the same one.
    pub(super) fn load(&mut self, path: PathBuf) {
        self.flush_edits();
        self.services.files.send(Job::Load(path));
    }

    /// Writes the draft now, without waiting for a moment of quiet.
    pub(super) fn save_now(&mut self) {
        let draft = &mut self.state.draft;
        draft.saving_revision = draft.revision;
        let folder = draft.engine_folder(&self.state.places.draft());
        let mut project = draft.project.clone();
        if draft.folder.is_none() {
            make_absolute(&mut project);
        }
        let (revision, is_new) = (draft.revision, draft.is_new);
        self.services.files.send(Job::Save { folder, project: Box::new(project), revision, is_new });
    }

    /// Writes what was edited and is not on its way to the disk.
    pub(crate) fn flush_edits(&mut self) {
        let draft = &self.state.draft;
        // While its folder is on the way to another place, nothing is written to this one.
        if !draft.is_saved() && draft.saving_revision != draft.revision && !self.state.rehousing {
            self.save_now();
        }
    }

    /// Leaves the open project: nothing that is shown or said of it belongs to the next one.
    pub(super) fn leave_project(&mut self) {
        self.flush_edits();
        self.flush_layout();
        self.shelve();
        self.forget_asked(|ask| matches!(ask, Ask::Judge | Ask::Answer(_) | Ask::Step { .. } | Ask::Verify(_)));
        let state = &mut self.state;
        state.setup = Setup::default();
        state.runs = std::sync::Arc::default();
        state.watch = crate::state::watch::Watch::default();
        state.compare = crate::state::compare::Compare::default();
        state.export = crate::state::export::Export::default();
        state.lens = crate::state::lens::Lens::default();
        state.race = None;
        state.races = crate::state::race::Races::default();
        // Numbers of runs begin anew in every project.
        state.engine.lost_run = None;
        self.asked.paths.clear();
        self.asked.preview.clear();
        self.asked.preflight.clear();
    }

    /// Keeps what was set up and has no folder: "New project" and undo bring it back.
    fn shelve(&mut self) {
        let draft = &self.state.draft;
        let has_something = draft.has_model() || !draft.project.data.train.is_empty();
        if draft.folder.is_none() && has_something {
            self.shelved = Some(draft.project.clone());
            self.notice(t!("notice-shelved"));
        }
    }

    /// An empty project; what was set up before and never had a folder comes back by undo.
    pub(super) fn new_project(&mut self) {
        let now = self.state.now_secs;
        if self.state.draft.folder.is_some() {
            self.leave_project();
            self.state.draft = Draft::default();
            if let Some(before) = self.shelved.take() {
                self.state.draft.edit("", before, now);
            }
        }
        self.state.draft.edit("", Draft::default().project, now);
        self.state.draft.open = true;
        self.state.setup = Setup::default();
        self.state.room = crate::state::Room::Setup;
        self.state.sheet = None;
    }

    /// Forgets requests that nobody waits for any more: what still comes of them is not taken in.
    pub(super) fn forget_asked(&mut self, whose: impl Fn(&Ask) -> bool) {
        let asked = self.state.jobs.iter().filter(|(_, running)| whose(&running.ask));
        let asked: Vec<u64> = asked.map(|(request, _)| request).collect();
        for request in asked {
            self.state.jobs.remove(request);
            self.ask(Command::CancelRequest { target: request }, Ask::Cancel);
        }
    }

    /// Closes the window when a person waits for that and the training is over.
    pub(super) fn close_if_stopped(&mut self, ctx: &Context) {
        // Asked once: the system may take a frame or two to do it.
        if self.state.sheet == Some(Sheet::Closing { waiting: true }) && !self.close_allowed {
            self.close_allowed = true;
            ctx.send_viewport_cmd(egui::ViewportCommand::Close);
        }
    }
}
