//! Carries out commands and takes in what the engine, the store and the disk say.
//!
//! Place in the data flow: [`App::perform`] changes the [`State`] and sends requests; [`App::tick`] runs
//! before every frame, drains what has arrived within a budget, saves edits after a moment of quiet and
//! asks for what the cards still need. Nothing here waits.

mod afterwards;
mod bare;
mod card;
mod compare;
mod disk;
mod ended;
mod handed;
mod inbox;
mod keys;
mod layout;
mod lens;
mod longer;
mod machine;
mod presets;
mod prices;
mod project;
mod queue;
mod race;
mod rehouse;
mod relink;
mod run;
mod step_ask;
mod support;
mod switch;
mod tabled;
mod tables;
mod write;

pub use bare::{bare_base, bare_facts, bare_hindrance, bare_path, export_base};
pub use card::{card_hindrance, card_text};
pub use compare::{ask_hindrance, compare_data, judge_hindrance, playground_prompt};
pub(crate) use layout::LayoutKeeper;
pub use longer::{branch_hindrance, longer_hindrance, longer_steps, slower_start};
pub use presets::preset_hindrance;
pub use prices::{export_bytes, held_by, target_bytes};
pub use rehouse::{rehouse_hindrance, rehouse_place};
pub use run::export_run;
pub use step_ask::{step_hindrance, to_kept_state};
pub use support::{Support, is_gguf_unsure, support_hindrance, supports};
pub(crate) use tables::folder as plot_folder;
pub use write::{command_line, export_out, offered_targets, target_hindrance};

use crate::app::App;
use crate::client::{EngineLauncher, Wake};
use crate::commands::UiCommand;
use crate::dialogs::{Pick, Picked, Picker};
use crate::files::{Backstage, Job};
use crate::herald::Herald;
use crate::instance::Door;
use crate::reader::snapshot::PLOT_PX;
use crate::reader::{RunSource, ViewRequest};
use crate::screen::Screen;
use crate::shutdown::Machine;
use crate::state::drop::Target;
use crate::state::settings::{ThemeChoice, ZOOM_RANGE};
use crate::state::{Ask, Notice, Sheet, State};
use crate::texts;
use crate::theme;
use egui::Context;
use ended::PAUSED;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use temper_protocol::{Command, EngineClient, Envelope, Problem, named};

/// Time that taking in events may cost a frame.
const BUDGET: Duration = Duration::from_millis(4);
/// Quiet before an edit is saved.
pub(crate) const SAVE_AFTER_SECS: f64 = 0.3;
/// Seconds after which an edit that could not be written is tried again: a disk may come back or be made room on.
pub(crate) const SAVE_AGAIN_SECS: f64 = 3.0;
/// How long a message stays.
const NOTICE_SECS: f64 = 6.0;

/// The world outside the window.
pub struct Services {
    /// Starts engines.
    pub launcher: EngineLauncher,
    /// The engine, once one was needed.
    pub client: Option<Box<dyn EngineClient>>,
    /// Snapshots of the store.
    pub runs: Box<dyn RunSource>,
    /// Small files.
    pub files: Box<dyn Backstage>,
    /// File dialogs.
    pub picker: Box<dyn Picker>,
    /// The window's pixels.
    pub screen: Box<dyn Screen>,
    /// What other starts hand over.
    pub door: Door,
    /// Notices outside the window.
    pub herald: Box<dyn Herald>,
    /// Shuts the machine down.
    pub machine: Box<dyn Machine>,
    /// Wakes the window.
    pub wake: Wake,
    /// What the store was last asked for.
    pub looked: ViewRequest,
    /// Events that did not fit the budget of the last frame.
    pub waiting: Vec<Envelope>,
}

impl Services {
    /// Sends a command; starts an engine when there is none.
    ///
    /// # Errors
    /// A [`Problem`] when no engine can be started or its queue is full.
    pub fn ask(&mut self, state: &mut State, command: Command, ask: Ask) -> Result<u64, Problem> {
        let client = match &mut self.client {
            Some(client) => client,
            none => {
                let client = none.insert(self.launcher.launch(self.wake.clone())?);
                // The one before this ended before it could say.
                if state.methods.is_empty() && ask != Ask::Methods {
                    let asked = client.send(Command::Methods {})?;
                    state.jobs.add(asked, Ask::Methods, state.now_secs);
                }
                // Runs wait on a battery unless an engine hears otherwise.
                if !state.settings.pause_on_battery {
                    let told = client.send(Command::PauseOnBattery { on: false })?;
                    state.jobs.add(told, Ask::Control, state.now_secs);
                }
                client
            }
        };
        let request = client.send(command)?;
        state.jobs.add(request, ask, state.now_secs);
        Ok(request)
    }
}

/// The scale so many tenths further: from between two tenths the first step goes to the nearer one.
fn next_zoom(zoom: f32, steps: i32) -> f32 {
    let tenths = zoom * 10.0;
    let from = if steps > 0 { (tenths + 1e-3).floor() } else { (tenths - 1e-3).ceil() };
    (from + steps as f32) / 10.0
}

impl App {
    /// Sends a command whose failure is a problem of the engine.
    pub(crate) fn ask(&mut self, command: Command, ask: Ask) -> Option<u64> {
        match self.services.ask(&mut self.state, command, ask) {
            Ok(request) => Some(request),
            Err(problem) => {
                self.state.engine.problem = Some(problem);
                None
            }
        }
    }

    /// Shows a message in the status bar.
    pub(crate) fn notice(&mut self, text: impl Into<String>) {
        self.state.notice = Some(Notice { text: text.into(), until_secs: self.state.now_secs + NOTICE_SECS });
    }

    pub(crate) fn save_settings(&mut self) {
        if self.state.settings_loaded {
            self.services.files.send(Job::SaveSettings(Box::new(self.state.settings.clone())));
        }
    }

    /// Applies theme and scale to the window.
    pub(crate) fn apply_look(&self, ctx: &Context) {
        ctx.set_theme(match self.state.settings.theme {
            ThemeChoice::System => egui::ThemePreference::System,
            ThemeChoice::Dark | ThemeChoice::Contrast => egui::ThemePreference::Dark,
            ThemeChoice::Light => egui::ThemePreference::Light,
        });
        theme::install::restyle(ctx, self.state.settings.theme == ThemeChoice::Contrast);
        if (ctx.zoom_factor() - self.state.settings.zoom).abs() > 1e-3 {
            ctx.set_zoom_factor(self.state.settings.zoom);
        }
    }

    /// This thread and the one for files speak the language of the settings from here on; the reader of runs learns it
    /// from its request.
    pub(crate) fn speak(&mut self) {
        let language = self.state.language();
        if texts::spoken() != language {
            texts::speak(language);
            self.services.files.send(Job::Speak(language));
        }
    }

    /// Carries out one command.
    pub fn perform(&mut self, ctx: &Context, command: UiCommand) {
        match command {
            UiCommand::Go(room) => {
                self.state.room = room;
                self.state.sheet = None;
            }
            UiCommand::Theme(choice) => {
                self.state.settings.theme = choice;
                self.apply_look(ctx);
                self.save_settings();
            }
            UiCommand::Language(choice) => {
                self.state.settings.language = choice;
                self.speak();
                self.save_settings();
            }
            UiCommand::Zoom(steps) => self.zoom(ctx, next_zoom(self.state.settings.zoom, steps)),
            UiCommand::ZoomReset => self.zoom(ctx, 1.0),
            UiCommand::OpenPalette => self.state.sheet = Some(Sheet::Palette { query: String::new(), chosen: 0 }),
            UiCommand::Palette(query, chosen) => self.state.sheet = Some(Sheet::Palette { query, chosen }),
            UiCommand::OpenHelp => {
                self.state.rekey = None;
                self.state.sheet = Some(Sheet::Help);
            }
            UiCommand::Glossary(term) => {
                let query = match self.state.sheet.take() {
                    // Another term of the list that is open.
                    Some(Sheet::Glossary { query, .. }) if term.is_some() => query,
                    _ => String::new(),
                };
                self.state.rekey = None;
                self.state.sheet = Some(Sheet::Glossary { query, term });
            }
            UiCommand::GlossaryQuery(query) => self.state.sheet = Some(Sheet::Glossary { query, term: None }),
            UiCommand::CloseSheet => self.close_sheet(),
            UiCommand::ChooseFiles => {
                self.state.drop.meant_for = None;
                self.services.picker.pick(Pick::Files, t!("notice-open-files"));
            }
            UiCommand::ChooseFolder => {
                self.state.drop.meant_for = None;
                self.services.picker.pick(Pick::Folder, t!("notice-open-folder"));
            }
            UiCommand::ChooseKept => {
                self.state.drop.meant_for = Some(Target::Keep);
                self.services.picker.pick(Pick::Files, t!("notice-open-kept"));
            }
            UiCommand::EnterPath => self.enter_path(""),
            UiCommand::PathText(text) => {
                if let Some(Sheet::PathEntry { text: old, .. }) = &mut self.state.sheet {
                    *old = text;
                }
            }
            UiCommand::ForgetProblem => self.state.engine.problem = None,
            UiCommand::Cancel(request) => {
                self.ask(Command::CancelRequest { target: request }, Ask::Cancel);
            }
            UiCommand::Repair => {
                if let Some(project) = self.state.draft.folder.clone() {
                    self.ask(Command::Repair { project }, Ask::Repair);
                }
            }
            UiCommand::Doctor => {
                if self.state.jobs.find(|ask| *ask == Ask::Doctor).is_none() {
                    self.ask(Command::Doctor {}, Ask::Doctor);
                }
            }
            UiCommand::Machine(act) => self.perform_machine(act),
            UiCommand::Copy(text, what) => {
                ctx.copy_text(text);
                self.notice(t!("notice-copied", what = what));
            }
            UiCommand::Reveal(path) => self.services.picker.show_folder(&path),
            UiCommand::Quit => ctx.send_viewport_cmd(egui::ViewportCommand::Close),
            other => self.perform_work(ctx, other),
        }
    }

    fn perform_work(&mut self, ctx: &Context, command: UiCommand) {
        if let Some(command) = self.perform_project(command)
            && let Some(command) = self.perform_view(ctx, command)
            && let Some(command) = self.perform_run(ctx, command)
            && let Some(command) = self.perform_longer(command)
            && let Some(command) = self.perform_queue(command)
            && let Some(command) = self.perform_compare(command)
            && let Some(command) = self.perform_race(command)
            && let Some(command) = self.perform_lens(command)
            && let Some(command) = self.perform_keys(command)
            && let Some(command) = self.perform_card(command)
            && let Some(command) = self.perform_preset(command)
            && let Some(command) = self.perform_rehouse(command)
            && let Some(command) = self.perform_relink(command)
            && let Some(command) = self.perform_bare(command)
        {
            self.perform_export(command);
        }
    }

    fn zoom(&mut self, ctx: &Context, zoom: f32) {
        self.state.settings.zoom = (zoom * 20.0).round().clamp(ZOOM_RANGE.0 * 20.0, ZOOM_RANGE.1 * 20.0) / 20.0;
        self.apply_look(ctx);
        self.save_settings();
        self.notice(t!("notice-scale", percent = format!("{:.0}", self.state.settings.zoom * 100.0)));
    }

    fn close_sheet(&mut self) {
        if matches!(self.state.sheet, Some(Sheet::Place { .. })) {
            self.state.setup.train_wanted = false;
            self.state.setup.race_wanted = false;
        }
        if self.state.sheet == (Some(Sheet::Closing { waiting: true })) {
            return;
        }
        if self.state.rehousing && matches!(self.state.sheet, Some(Sheet::Rehouse(_))) {
            // The disk is at work; the answer closes it.
            return;
        }
        if matches!(self.state.sheet, Some(Sheet::PathEntry { .. })) {
            self.state.drop.meant_for = None;
        }
        self.state.rekey = None;
        self.state.sheet = None;
    }

    pub(crate) fn enter_path(&mut self, reason: &str) {
        self.state.sheet = Some(Sheet::PathEntry { text: String::new(), reason: reason.to_owned() });
    }

    /// What belongs before each frame, also while the window is hidden.
    pub fn tick(&mut self, ctx: &Context) {
        self.state.now_secs = ctx.time();
        self.speak();
        if !std::mem::replace(&mut self.started, true) {
            self.services.files.send(Job::LoadSettings);
            self.ask(Command::Methods {}, Ask::Methods);
            let starter = [named::STARTER, named::STARTER_DATA].map(PathBuf::from).to_vec();
            self.ask(Command::Inspect { paths: starter }, Ask::Starter);
        }
        self.drain_engine(ctx);
        self.drain_files(ctx);
        for taken in self.pictures.arrived() {
            self.services.files.send(Job::WritePicture(taken));
        }
        if let Some(snapshot) = self.services.runs.latest() {
            let before = self.state.live_run().map(|row| (row.run, row.status == PAUSED));
            self.take_snapshot(snapshot);
            self.tell_ended(ctx, before);
        }
        match self.services.picker.poll() {
            Some(Picked::Paths(paths)) if !paths.is_empty() => self.drop_paths(paths),
            Some(Picked::Paths(_)) => self.state.drop.meant_for = None,
            Some(Picked::Unavailable) => {
                self.enter_path(t!("notice-no-dialog"));
            }
            Some(Picked::NotShown(folder)) => {
                self.notice(t!("notice-no-manager", path = folder.display().to_string()));
            }
            _ => {}
        }
        self.take_handed(ctx);
        self.save_edits(ctx);
        self.ask_for_cards(ctx);
        self.ask_for_bare();
        self.ask_for_prices();
        self.ask_for_rows();
        self.start_wanted_run();
        self.follow_queue(ctx);
        self.follow_scrub(ctx);
        self.keep_layout(ctx);
        self.look();
        if !self.state.is_training() {
            self.close_if_stopped(ctx);
        }
        let now = self.state.now_secs;
        if let Some(notice) = &self.state.notice {
            if notice.until_secs <= now {
                self.state.notice = None;
            } else {
                ctx.request_repaint_after_secs((notice.until_secs - now) as f32);
            }
        }
    }

    fn drain_engine(&mut self, ctx: &Context) {
        let Some(client) = &mut self.services.client else { return };
        let mut events = std::mem::take(&mut self.services.waiting);
        let alive = client.is_alive();
        client.drain(&mut events);
        let begun = Instant::now();
        let mut events = events.into_iter();
        for envelope in events.by_ref() {
            self.take_event(ctx, envelope);
            if begun.elapsed() > BUDGET {
                break;
            }
        }
        self.services.waiting = events.collect();
        if !self.services.waiting.is_empty() {
            ctx.request_repaint();
        } else if !alive {
            self.engine_gone();
        }
    }

    /// Tells the store's reader what the window shows, when that changed.
    pub(crate) fn look(&mut self) {
        let watch = &self.state.watch;
        let request = ViewRequest {
            project: self.state.draft.folder.clone(),
            run: watch.run,
            x: watch.x,
            log_y: watch.log_y,
            steps: watch.steps,
            rank_step: watch.scrub,
            site: watch.site.clone(),
            beside: watch.beside.clone(),
            compare: self.compare_request(),
            plot_px: if watch.plot_px > 0 { watch.plot_px } else { PLOT_PX },
            language: self.state.language(),
        };
        if request != self.services.looked {
            self.services.looked = request.clone();
            self.services.runs.look(request);
        }
    }
}
