//! A run that failed or lost its engine: what happened, what is safe, and the ways on. The plots stay.

use crate::commands::UiCommand;
use crate::format;
use crate::reader::RunView;
use crate::rooms::PanelCtx;
use crate::state::Room;
use crate::widgets::problem::{self, Way};
use egui::{Rect, Ui};
use temper_protocol::{Code, Problem};

/// What is wrong with the run, if anything.
fn found(cx: &PanelCtx<'_>, view: &RunView) -> Option<(String, Problem)> {
    let row = &view.row;
    let step = format::count(row.steps);
    if cx.state.is_interrupted(row) {
        let problem = Problem::new(
            Code::Internal,
            "the engine is gone",
            row.folder.display().to_string(),
            "go on from the last checkpoint; the log in the data folder says how the engine ended",
        );
        return Some((format!("Training stopped: the engine is gone at step {step}"), problem));
    }
    if row.status != "failed" {
        return None;
    }
    let problem = row.problem.clone().unwrap_or_else(|| {
        Problem::new(Code::Internal, "the run failed", row.folder.display().to_string(), "look at the events below")
    });
    Some((format!("Training stopped: {}", problem.what), problem))
}

fn safe_words(view: &RunView) -> String {
    match view.checkpoints.last() {
        Some(mark) => format!(
            "Adapter, optimiser and place in the data as of step {}. Plots and events stay.",
            format::count(mark.step)
        ),
        None => "The base model and the data are untouched; no checkpoint was written yet.".to_owned(),
    }
}

fn ways(cx: &PanelCtx<'_>, view: &RunView) -> Vec<Way<'static>> {
    let mut ways = Vec::new();
    if !view.checkpoints.is_empty() && !cx.state.is_training() {
        ways.push(Way {
            label: "Go on from the last checkpoint",
            price: "recommended; same settings",
            primary: true,
            command: UiCommand::Resume(view.row.run),
        });
    }
    ways.push(Way {
        label: "Change the settings",
        price: "a new run from the base",
        primary: false,
        command: UiCommand::Go(Room::Setup),
    });
    ways
}

/// Height of the panel, when there is trouble.
#[must_use]
pub fn height(cx: &PanelCtx<'_>, ui: &Ui, width: f32, view: &RunView) -> Option<f32> {
    let (_, problem) = found(cx, view)?;
    Some(problem::wide_height(ui, width, &problem, &safe_words(view), ways(cx, view).len()))
}

/// Shows the panel.
pub fn trouble_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, view: &RunView) {
    let Some((title, problem)) = found(cx, view) else { return };
    problem::wide(ui, cx.theme, rect, &title, &problem, &safe_words(view), &ways(cx, view), false, cx.out);
}
