//! A run that failed or lost its engine: what happened, what is safe, and the ways on. The plots stay.

use crate::commands::UiCommand;
use crate::format;
use crate::reader::RunView;
use crate::rooms::PanelCtx;
use crate::state::{Room, State};
use crate::widgets::problem::{self, Way};
use egui::{Rect, Ui};
use temper_protocol::{Code, Problem};

/// Whether the room tells what happened to the engine: beside the run that lost it, with the ways on.
#[must_use]
pub fn tells_of_engine(state: &State) -> bool {
    state.room == Room::Watch && state.runs.view.as_deref().is_some_and(|view| state.is_interrupted(&view.row))
}

/// What is wrong with the run, if anything.
fn found(cx: &PanelCtx<'_>, view: &RunView) -> Option<(String, Problem)> {
    let row = &view.row;
    let step = format::count(row.steps);
    if cx.state.is_interrupted(row) {
        let gone = || {
            let (what, action) = (t!("problem-engine-gone"), t!("problem-engine-gone-do"));
            Problem::new(Code::Internal, what, row.folder.display().to_string(), action)
        };
        let problem = cx.state.engine.problem.clone().unwrap_or_else(gone);
        return Some((t!("watch-engine-gone-at", step = step, what = problem.what), problem));
    }
    if row.status != "failed" {
        return None;
    }
    let problem = row.problem.clone().unwrap_or_else(|| {
        Problem::new(
            Code::Internal,
            t!("problem-run-failed"),
            row.folder.display().to_string(),
            t!("problem-see-events"),
        )
    });
    Some((t!("watch-training-stopped", what = problem.what), problem))
}

fn safe_words(view: &RunView) -> String {
    match view.checkpoints.last() {
        Some(mark) => t!("watch-safe", step = format::count(mark.step)),
        None => t!("watch-safe-base").to_owned(),
    }
}

/// Whether the run was ended before its first checkpoint, such as one that waited for its turn.
fn row_never_began(view: &RunView) -> bool {
    view.row.steps == 0 && view.checkpoints.is_empty() && view.row.status != "failed"
}

fn ways(cx: &PanelCtx<'_>, view: &RunView) -> Vec<Way<'static>> {
    let mut ways = Vec::new();
    if !view.checkpoints.is_empty() && !cx.state.is_training() {
        ways.push(Way {
            label: t!("commands-continue"),
            price: t!("watch-recommended"),
            primary: true,
            command: UiCommand::Resume(view.row.run),
        });
    }
    if row_never_began(view) && !cx.state.is_training() {
        ways.push(Way {
            label: t!("watch-start-again"),
            price: t!("watch-recommended"),
            primary: true,
            command: UiCommand::Resume(view.row.run),
        });
    }
    ways.push(Way {
        label: t!("watch-change-settings"),
        price: t!("watch-new-run"),
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
