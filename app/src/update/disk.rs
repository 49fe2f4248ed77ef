//! What the disk answered.

use crate::app::App;
use crate::commands::UiCommand;
use crate::files::{Done, Job};
use crate::state::setup::{Answer, Card, Setup};
use crate::state::{Ask, Draft, Room};
use egui::Context;
use std::path::PathBuf;
use temper_protocol::{Command, Project};

impl App {
    /// Takes in what the disk answered.
    pub(super) fn drain_files(&mut self, ctx: &Context) {
        let mut done = Vec::new();
        self.services.files.drain(&mut done);
        for answer in done {
            self.take_done(ctx, answer);
        }
    }

    fn take_done(&mut self, ctx: &Context, done: Done) {
        match done {
            Done::Settings(settings, problem) => {
                self.state.settings = *settings;
                if problem.is_some() {
                    self.state.engine.problem = problem;
                }
                self.state.settings_loaded = true;
                self.speak();
                self.apply_look(ctx);
                self.tell_of_battery();
                if self.state.settings.machine.is_none() {
                    self.perform(ctx, UiCommand::Doctor);
                }
            }
            Done::Loaded { folder, project } => self.open(folder, *project),
            Done::NotLoaded { path, problem } => {
                self.autostart = false;
                self.state.settings.recents.retain(|recent| recent.path != path);
                self.save_settings();
                self.state.engine.problem = Some(problem);
            }
            Done::Saved { folder, revision } => {
                let draft = &mut self.state.draft;
                if folder == draft.engine_folder(&self.state.places.draft()) {
                    draft.is_new = false;
                    let fresh = draft.saved_revision < revision;
                    draft.saved_revision = draft.saved_revision.max(revision);
                    if draft.refused.take().is_some() {
                        // It was tried again and could be written.
                        self.state.setup.problems.remove(&Card::Preflight);
                    }
                    if fresh && draft.folder.is_some() && draft.is_saved() {
                        let known = self.state.settings.recents.first().is_some_and(|recent| recent.path == folder);
                        if !known {
                            self.remember(folder, None);
                        }
                    }
                }
            }
            Done::NotSaved { folder, revision, problem } => {
                let draft = &mut self.state.draft;
                if folder == draft.engine_folder(&self.state.places.draft()) {
                    draft.refuse(revision, self.state.now_secs);
                    if std::mem::take(&mut draft.is_new) {
                        // It has no place yet: the next one that is chosen is asked for anew.
                        draft.folder = None;
                        draft.revision += 1;
                    }
                    self.state.setup.train_wanted = false;
                    self.state.setup.problems.insert(Card::Preflight, problem);
                } else {
                    self.state.engine.problem = Some(problem);
                }
            }
            Done::ExamplePlace { folder, exists, name, train } => {
                if exists {
                    self.autostart = train;
                    self.perform(ctx, UiCommand::OpenProject(folder));
                } else {
                    self.ask(Command::CopyExample { name, dir: folder }, Ask::Example { train });
                }
            }
            Done::ProjectPlace { folder } => self.ask_place(&folder),
            Done::Written { path } => self.notice(t!("notice-written", path = path.display().to_string())),
            Done::Compare { folder, remembered } => {
                if self.state.draft.folder.as_ref() == Some(&folder) {
                    remembered.restore(&mut self.state.compare);
                }
            }
            Done::Layout { folder, layout, unreadable } => {
                self.take_layout(&folder, layout.map(|layout| *layout), unreadable);
            }
            Done::Races { folder, races } => self.take_races(&folder, races),
            Done::Rehoused { from, to, moved } => self.rehoused(&from, to, moved),
            Done::NotRehoused(problem) => self.not_rehoused(problem),
            Done::Failed(problem) => self.state.engine.problem = Some(problem),
            Done::Exists { path, exists } => {
                if exists {
                    self.drop_paths(vec![path]);
                } else {
                    self.enter_path(&t!("notice-nothing-at", path = path.display().to_string()));
                }
            }
        }
    }

    /// Makes a project that was read the open one.
    fn open(&mut self, folder: PathBuf, project: Project) {
        let again = self.state.draft.folder.as_ref() == Some(&folder);
        if again && !self.state.draft.is_saved() {
            // Edited since it was read, or the disk does not take it: what is shown is newer.
            self.state.setup = Setup::default();
        } else if again {
            self.state.draft = Draft::opened(folder.clone(), project);
            self.state.setup = Setup::default();
        } else {
            self.leave_project();
            self.state.draft = Draft::opened(folder.clone(), project);
            self.services.files.send(Job::LoadCompare(folder.clone()));
            self.load_races();
            self.load_layout(&folder);
        }
        self.asked.paths.clear();
        self.asked.preview.clear();
        self.asked.preflight.clear();
        self.state.engine.problem = None;
        self.just_opened = true;
        self.state.room = Room::Setup;
        self.state.sheet = None;
        self.remember(folder, None);
        if std::mem::take(&mut self.autostart) {
            self.state.setup.train_wanted = true;
        }
    }

    /// An answer with the time it came.
    pub(super) fn answer(&self, event: temper_protocol::Event, fingerprint: &str) -> Answer {
        Answer { event, fingerprint: fingerprint.to_owned(), at_millis: self.state.clock.now_millis() }
    }
}
