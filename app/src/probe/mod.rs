//! What `temper bench ui` puts into the real window: a script that moves, zooms and scrolls, and clocks around each frame.
//!
//! Place in the data flow: [`crate::window`] opens the window as always and, when it is given a [`Probe`], wraps the
//! program in a [`Driven`]. That adds scripted events to egui's input, reads the processor clock of the window's thread
//! where a frame's input goes in and where its shapes come out, and tessellates the same shapes once more on the same
//! thread, because eframe does that itself between two frames with no place for a clock. Results are said as lines of
//! JSON to whoever started the program.

mod cost;
mod opening;
mod script;

pub use cost::{Cost, Costs, Report, Share, process_cpu, thread_cpu};

use crate::app::App;
use crate::commands::UiCommand;
use crate::files::Places;
use crate::state::Room;
use crate::state::lens::LensAct;
use cost::{Captured, Catch};
use egui::{Context, RawInput, ViewportCommand};
use opening::Opening;
use parking_lot::Mutex;
use script::Script;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the window does for the bench.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Plan {
    /// Says when the first frame was handed to the screen, and closes.
    Start,
    /// Opens a run, or Home without one, and leaves the window alone.
    Idle {
        /// The run.
        run: Option<u64>,
    },
    /// Opens the probe's project and says how long it took until its newest run, then five runs in Compare, then all runs
    /// behind each other were on the screen.
    Open {
        /// The newest run.
        run: u64,
    },
    /// Opens a run with all others behind its loss and plays the script.
    Frames {
        /// The run.
        run: u64,
        /// For so long, seconds, after everything is on the screen.
        secs: f64,
    },
    /// Opens the token lens over the project's data and scrolls through it.
    Lens {
        /// For so long, seconds, after the places of all rows are known.
        secs: f64,
    },
}

/// A [`Plan`] and where its results go.
#[derive(Clone)]
pub struct Probe {
    /// What to do.
    pub plan: Plan,
    /// Folders of the window, so that a person's own settings are not touched.
    pub places: Places,
    /// Project that the plan itself opens.
    pub project: Option<PathBuf>,
    /// Takes each line of JSON.
    pub say: Arc<dyn Fn(&str) + Send + Sync>,
}

/// Frames after everything is on the screen that are not counted: caches fill.
const WARM_FRAMES: u32 = 30;
/// Distance of scripted frames: sixty a second.
const FRAME: Duration = Duration::from_millis(16);
/// Events of an unwatched window come to an end within this many frames.
const OPENED_FRAMES: u32 = 3;

/// The window's program under a script.
pub struct Driven {
    app: App,
    probe: Probe,
    captured: Arc<Mutex<Captured>>,
    script: Script,
    opening: Opening,
    costs: Costs,
    /// Processor time of the thread when the input of the last frame went in.
    begun: Option<Duration>,
    frames: u32,
    asked: bool,
    said: bool,
    warm: u32,
    counted_since: Option<Instant>,
    /// Processor time of the whole program at that moment.
    process_before: Option<Duration>,
    /// Counted frames in which every row in view was there.
    filled: u64,
}

impl Driven {
    /// Puts `app` under `probe`.
    #[must_use]
    pub fn new(ctx: &Context, app: App, probe: Probe) -> Self {
        let captured = Arc::new(Mutex::new(Captured::default()));
        if matches!(probe.plan, Plan::Frames { .. } | Plan::Lens { .. } | Plan::Open { .. }) {
            ctx.add_plugin(Catch(Arc::clone(&captured)));
        }
        Self {
            app,
            probe,
            captured,
            script: Script::default(),
            opening: Opening::default(),
            costs: Costs::default(),
            begun: None,
            frames: 0,
            asked: false,
            said: false,
            warm: 0,
            counted_since: None,
            process_before: None,
            filled: 0,
        }
    }

    /// Closes the books of the last frame: its shapes are tessellated once more, on this thread as eframe did it.
    fn close_frame(&mut self, ctx: &Context) {
        let (Some(begun), Some(now)) = (self.begun, thread_cpu()) else { return };
        let Some((ended, shapes, pixels_per_point)) = self.captured.lock().take() else { return };
        let triangles = ctx.tessellate(shapes, pixels_per_point);
        let Some(tessellated) = thread_cpu() else { return };
        drop(triangles);
        if self.counted_since.is_some() || self.opening.counts() {
            self.costs.push(Cost {
                ui: ended.saturating_sub(begun),
                tessellation: tessellated.saturating_sub(now),
                all: now.saturating_sub(begun),
            });
        }
    }

    /// Opens what the plan wants, once it can be opened.
    fn open(&mut self, ctx: &Context) {
        let wanted = match self.probe.plan {
            Plan::Start | Plan::Open { .. } | Plan::Idle { run: None } => return,
            Plan::Lens { .. } => {
                let draft = &self.app.state.draft;
                if !self.asked && draft.has_both() && draft.is_saved() {
                    self.asked = true;
                    self.app.send(ctx, UiCommand::Lens(LensAct::Open(None)));
                    ctx.request_repaint();
                }
                return;
            }
            Plan::Idle { run: Some(run) } | Plan::Frames { run, .. } => run,
        };
        if self.asked || self.app.state.runs.runs.iter().all(|row| row.run != wanted) {
            return;
        }
        self.asked = true;
        self.app.send(ctx, UiCommand::Watch(wanted));
        self.app.send(ctx, UiCommand::BesideAll(true));
        ctx.request_repaint();
    }

    /// Whether everything that the plan wants is in what is drawn.
    fn is_open(&self) -> bool {
        let state = &self.app.state;
        let view = state.runs.view.as_ref();
        match self.probe.plan {
            Plan::Start | Plan::Open { .. } | Plan::Idle { run: None } => true,
            Plan::Lens { .. } => state.lens.complete && state.lens.has(state.lens.top),
            Plan::Idle { run: Some(run) } | Plan::Frames { run, .. } => {
                let others = state.runs.runs.len().saturating_sub(1);
                state.room == Room::Watch && view.is_some_and(|view| view.row.run == run && view.beside.len() == others)
            }
        }
    }

    fn say(&mut self, what: &serde_json::Value) {
        (self.probe.say)(&what.to_string());
    }

    /// What follows from the frames so far.
    fn after_frame(&mut self, ctx: &Context) {
        match self.probe.plan {
            Plan::Start => {}
            Plan::Open { run } => {
                ctx.request_repaint_after(FRAME);
                if let Some(project) = self.probe.project.clone().filter(|_| self.frames > OPENED_FRAMES)
                    && let Some(secs) = self.opening.step(ctx, &mut self.app, &project, run)
                    && !std::mem::replace(&mut self.said, true)
                {
                    self.say(&json!({"opened": secs, "frames": self.costs.report()}));
                    self.close(ctx);
                }
            }
            Plan::Idle { .. } => {
                if !self.said && self.frames >= OPENED_FRAMES && self.is_open() {
                    self.said = true;
                    self.say(&json!({"opened": true}));
                } else if !self.said {
                    ctx.request_repaint_after(Duration::from_millis(100));
                }
            }
            Plan::Frames { secs, .. } | Plan::Lens { secs } => {
                ctx.request_repaint_after(FRAME);
                if self.counted_since.is_some() {
                    let lens = &self.app.state.lens;
                    self.filled += u64::from(lens.shown().all(|page| lens.pages.contains_key(&page)));
                }
                if self.counted_since.is_none() && self.is_open() {
                    self.warm += 1;
                    if self.warm > WARM_FRAMES {
                        self.counted_since = Some(Instant::now());
                        self.process_before = process_cpu();
                    }
                }
                if !self.said && self.counted_since.is_some_and(|since| since.elapsed().as_secs_f64() >= secs) {
                    self.said = true;
                    let (threads, points) = self.drawn();
                    let report = self.costs.report();
                    let report_frames = report.frames;
                    let program = process_cpu().zip(self.process_before).map(|(now, before)| now - before);
                    let program_ms = program.map(|spent| spent.as_secs_f64() * 1e3 / report.frames.max(1) as f64);
                    self.say(&json!({
                        "frames": report, "other_runs": threads, "points": points, "program_ms": program_ms,
                        "rows": self.app.state.lens.known,
                        "filled": self.filled as f64 / report_frames.max(1) as f64,
                    }));
                    self.close(ctx);
                }
            }
        }
    }

    /// Other runs in the plot, and points of all curves of the room.
    fn drawn(&self) -> (usize, usize) {
        let Some(view) = self.app.state.runs.view.as_ref() else { return (0, 0) };
        let own = [&view.train_raw, &view.train_smooth, &view.validation, &view.lr, &view.grad_norm];
        let points = own.iter().map(|points| points.len()).sum::<usize>();
        (view.beside.len(), points + view.beside.iter().map(|other| other.points.len()).sum::<usize>())
    }

    fn close(&mut self, ctx: &Context) {
        self.app.close_allowed = true;
        ctx.send_viewport_cmd(ViewportCommand::Close);
    }
}

impl eframe::App for Driven {
    fn raw_input_hook(&mut self, ctx: &Context, raw_input: &mut RawInput) {
        self.close_frame(ctx);
        if self.frames == 1 && self.probe.plan == Plan::Start {
            // The second frame begins: the first was drawn and handed over.
            self.say(&json!({"first_frame": true}));
            self.close(ctx);
        }
        if self.counted_since.is_some() {
            match self.probe.plan {
                Plan::Lens { .. } => self.script.lens_input(ctx, raw_input),
                _ => self.script.input(ctx, raw_input),
            }
        }
        self.begun = thread_cpu();
    }

    fn logic(&mut self, ctx: &Context, frame: &mut eframe::Frame) {
        self.app.logic(ctx, frame);
    }

    fn ui(&mut self, ui: &mut egui::Ui, frame: &mut eframe::Frame) {
        self.app.ui(ui, frame);
        let ctx = ui.ctx().clone();
        if ctx.current_pass_index() == 0 {
            self.frames += 1;
            self.open(&ctx);
            self.after_frame(&ctx);
            if self.frames == 1 {
                ctx.request_repaint();
            }
        }
    }

    fn clear_color(&self, visuals: &egui::Visuals) -> [f32; 4] {
        self.app.clear_color(visuals)
    }
}
