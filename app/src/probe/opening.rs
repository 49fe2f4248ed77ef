//! How long a project with many long runs takes to open.
//!
//! Place in the data flow: [`super::Driven`] asks after each drawn frame; the clock of a part runs from the command that
//! wants it to the frame that shows it.

use crate::app::App;
use crate::commands::UiCommand;
use crate::state::Room;
use crate::state::compare::{CompareAct, MOST};
use egui::Context;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Frames of Compare that are counted, and before them some in which caches fill.
const FRAMES: u32 = 150;
const WARM: u32 = 30;

/// What is waited for.
#[derive(Debug, Default)]
enum Part {
    /// Nothing yet.
    #[default]
    Begin,
    /// The project with its newest run.
    Newest,
    /// Curves of as many runs as can be compared.
    Compared,
    /// Frames of Compare are counted.
    Frames(u32),
    /// All runs behind the loss of the newest.
    All,
    /// Nothing more.
    Done,
}

/// The clocks.
#[derive(Debug, Default)]
pub(super) struct Opening {
    part: Part,
    since: Option<Instant>,
    secs: Vec<f64>,
}

impl Opening {
    /// One drawn frame further; gives what was measured at the end.
    pub(super) fn step(
        &mut self,
        ctx: &Context,
        app: &mut App,
        project: &Path,
        newest: u64,
    ) -> Option<serde_json::Value> {
        let runs = Arc::clone(&app.state.runs);
        let others = runs.runs.len().saturating_sub(1);
        let view = runs.view.as_ref().filter(|view| view.row.run == newest);
        match self.part {
            Part::Begin => {
                app.send(ctx, UiCommand::OpenProject(project.to_path_buf()));
                self.next(Part::Newest);
            }
            Part::Newest if view.is_some_and(|view| !view.train_raw.is_empty()) => {
                self.take();
                app.send(ctx, UiCommand::Go(Room::Compare));
                let chosen: Vec<u64> = app.state.runs.runs.iter().map(|row| row.run).take(MOST).collect();
                for run in chosen {
                    app.send(ctx, UiCommand::Compare(CompareAct::Choose(run, true)));
                }
                self.next(Part::Compared);
            }
            Part::Compared if runs.compared.len() == MOST.min(runs.runs.len()) => {
                self.take();
                self.next(Part::Frames(0));
            }
            Part::Frames(drawn) if drawn < FRAMES => self.part = Part::Frames(drawn + 1),
            Part::Frames(_) => {
                app.send(ctx, UiCommand::Watch(newest));
                app.send(ctx, UiCommand::BesideAll(true));
                self.next(Part::All);
            }
            Part::All if view.is_some_and(|view| view.beside.len() == others) => {
                self.take();
                self.next(Part::Done);
                let [newest, compared, all] = self.secs.as_slice() else { return None };
                return Some(json!({"newest_secs": newest, "compared_secs": compared, "all_secs": all}));
            }
            _ => {}
        }
        None
    }

    /// Whether the frames that are drawn now are counted.
    pub(super) fn counts(&self) -> bool {
        matches!(self.part, Part::Frames(drawn) if drawn > WARM)
    }

    fn next(&mut self, part: Part) {
        self.part = part;
        self.since = Some(Instant::now());
    }

    fn take(&mut self) {
        self.secs.extend(self.since.map(|since| since.elapsed().as_secs_f64()));
    }
}
