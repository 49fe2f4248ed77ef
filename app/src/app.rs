//! The window's program: one frame after another, from what is known to what is drawn.
//!
//! Place in the data flow: `logic` takes in what has arrived, `ui` draws it and collects commands, and the
//! commands are carried out after the frame was drawn.

use crate::commands::{self, Outbox, UiCommand};
use crate::files::Job;
use crate::overlays;
use crate::plots::svg;
use crate::rooms::{PanelCtx, follow_focus, frame, note_focus};
use crate::screen::{Format, Pictures, Wanted};
use crate::state::draft::Fingerprints;
use crate::state::{Sheet, State};
use crate::theme::Theme;
use crate::update::{LayoutKeeper, Services};
use egui::{Context, Ui};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use temper_protocol::{Command, Event, Project};

/// What was asked already, so that nothing is asked twice.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Those of the draft as it is.
    pub(crate) fingerprints: Fingerprints,
    /// Fingerprint of the last preview.
    pub(crate) preview: String,
    /// Fingerprint of the last pre-flight.
    pub(crate) preflight: String,
    /// Paths whose kind was asked for.
    pub(crate) paths: BTreeSet<String>,
}

/// Smallest size that the layouts are made for.
const SMALLEST: egui::Vec2 = egui::vec2(900.0, 600.0);

/// The window's program.
pub struct App {
    /// Everything known.
    pub state: State,
    /// The world outside.
    pub services: Services,
    outbox: Outbox,
    pub(crate) started: bool,
    pub(crate) autostart: bool,
    pub(crate) close_allowed: bool,
    /// A project was opened whose runs were not seen yet.
    pub(crate) just_opened: bool,
    pub(crate) asked: Asked,
    /// What was set up, had no folder and gave way to a project that was opened.
    pub(crate) shelved: Option<Project>,
    /// The layout file of the open project.
    pub(crate) layout: LayoutKeeper,
    /// Answers that are only useful together, by request.
    pub(crate) collected: BTreeMap<u64, Vec<Event>>,
    /// Paths that are dropped with the next frame.
    pub(crate) waiting_drops: Vec<PathBuf>,
    /// Whether the person was called and has not come yet.
    pub(crate) called: bool,
    /// Pictures of plots on their way to the disk.
    pub(crate) pictures: Pictures,
}

impl App {
    /// A window with `drops` on it; `autostart` trains the project as soon as it is open.
    #[must_use]
    pub fn new(state: State, services: Services, drops: Vec<PathBuf>, autostart: bool) -> Self {
        Self {
            state,
            services,
            outbox: Outbox::default(),
            started: false,
            autostart,
            close_allowed: false,
            just_opened: false,
            asked: Asked::default(),
            shelved: None,
            layout: LayoutKeeper::default(),
            collected: BTreeMap::new(),
            waiting_drops: drops,
            called: false,
            pictures: Pictures::default(),
        }
    }

    /// Files that hover over the window or were dropped on it, and the wish to close it.
    fn take_input(&mut self, ctx: &Context) {
        let (hovered, dropped, close) = ctx.input(|input| {
            let hovered: Vec<Option<PathBuf>> = input.raw.hovered_files.iter().map(|file| file.path.clone()).collect();
            let dropped: Vec<PathBuf> = input.raw.dropped_files.iter().map(|file| file.path().to_path_buf()).collect();
            (hovered, dropped, input.viewport().close_requested())
        });
        if !dropped.is_empty() {
            self.drop_paths(dropped);
        } else {
            self.hover(&hovered);
        }
        if close {
            self.flush_edits();
            self.flush_layout();
        }
        if close && self.state.is_training() && !self.close_allowed {
            ctx.send_viewport_cmd(egui::ViewportCommand::CancelClose);
            if !matches!(self.state.sheet, Some(Sheet::Closing { .. })) {
                self.state.sheet = Some(Sheet::Closing { waiting: false });
            }
        }
    }

    fn hover(&mut self, hovered: &[Option<PathBuf>]) {
        let drop = &mut self.state.drop;
        if hovered.is_empty() {
            drop.hovering = false;
            return;
        }
        drop.hovering = true;
        let paths: Vec<PathBuf> = hovered.iter().flatten().cloned().collect();
        if paths == drop.paths && (drop.complete || !drop.verdicts.is_empty()) {
            return;
        }
        if paths != drop.paths {
            drop.paths.clone_from(&paths);
            drop.verdicts.clear();
            drop.complete = false;
            if let Some((request, _)) = self.state.jobs.find(|ask| *ask == crate::state::Ask::Hover) {
                self.ask(Command::CancelRequest { target: request }, crate::state::Ask::Cancel);
            }
            if !paths.is_empty() {
                self.ask(Command::Inspect { paths }, crate::state::Ask::Hover);
            }
        }
    }

    /// Draws one frame.
    pub fn frame_ui(&mut self, ui: &mut Ui) {
        let ctx = ui.ctx().clone();
        self.speak();
        if ctx.current_pass_index() == 0 {
            let drops = std::mem::take(&mut self.waiting_drops);
            if !drops.is_empty() {
                self.drop_paths(drops);
            }
            self.take_input(&ctx);
            commands::pressed(&ctx, &self.state, &self.outbox);
        }
        self.state.dark = ctx.theme() == egui::Theme::Dark;
        let cx = PanelCtx {
            state: &self.state,
            theme: Theme::of(self.state.look()),
            out: &self.outbox,
            compact: ui.max_rect().width() < frame::COMPACT_WIDTH,
        };
        let room = ui.max_rect();
        if room.width() < SMALLEST.x || room.height() < SMALLEST.y {
            // Far too small, or scaled to 200 %: everything is still there, by scrolling.
            egui::ScrollArea::both().auto_shrink(false).show(ui, |ui| {
                let (place, _) = ui.allocate_exact_size(room.size().max(SMALLEST), egui::Sense::hover());
                let mut inner = ui.new_child(egui::UiBuilder::new().id_salt("window").max_rect(place));
                frame::window_ui(&cx, &mut inner);
                follow_focus(ui);
            });
        } else {
            frame::window_ui(&cx, ui);
        }
        overlays::sheet_ui(&cx, ui);
        note_focus(&ctx);
        let commands = self.outbox.take();
        if !commands.is_empty() {
            for command in commands {
                self.perform(&ctx, command);
            }
            self.look();
            ctx.request_repaint();
        }
        if ctx.current_pass_index() == 0 {
            self.take_picture(&ctx);
        }
    }

    /// Takes the picture that is wanted, once nothing covers its plot any more.
    fn take_picture(&mut self, ctx: &Context) {
        let Some(Wanted { plot, format, frames }) = self.pictures.wanted else { return };
        ctx.request_repaint();
        if frames > 0 {
            self.pictures.wanted = Some(Wanted { plot, format, frames: frames - 1 });
            svg::want(ctx, format == Format::Svg);
            return;
        }
        self.pictures.wanted = None;
        svg::want(ctx, false);
        let folder = crate::update::plot_folder(&self.state, plot);
        match (plot.place(ctx), folder) {
            (Some(part), Some(folder)) if format == Format::Svg => {
                let ground = Theme::of(self.state.look()).colours.window;
                let text = ctx.graphics(|layers| {
                    let shapes =
                        layers.get(egui::LayerId::background()).into_iter().flat_map(|list| list.all_entries());
                    svg::svg(shapes, part, ground)
                });
                let path = folder.join(format!("{}.svg", plot.stem()));
                self.services.files.send(Job::WriteText { path, text });
            }
            (Some(part), Some(folder)) => {
                let path = folder.join(format!("{}.png", plot.stem()));
                let receiver = self.pictures.receiver(ctx, part, path);
                self.services.screen.shoot(ctx, receiver);
            }
            _ => self.notice(t!("notice-plot-hidden")),
        }
    }

    /// Puts a command in, as a click would.
    pub fn send(&mut self, ctx: &Context, command: UiCommand) {
        self.speak();
        self.perform(ctx, command);
        self.look();
    }
}

impl eframe::App for App {
    fn logic(&mut self, ctx: &Context, _frame: &mut eframe::Frame) {
        self.tick(ctx);
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        self.frame_ui(ui);
    }

    fn clear_color(&self, _visuals: &egui::Visuals) -> [f32; 4] {
        Theme::of(self.state.look()).colours.window.to_normalized_gamma_f32()
    }
}
