//! A run that failed or lost its engine: what happened, what is safe, and the ways on. The plots stay.

use crate::commands::UiCommand;
use crate::format;
use crate::reader::RunView;
use crate::rooms::PanelCtx;
use crate::state::lens::LensAct;
use crate::state::{Room, State};
use crate::update::slower_start;
use crate::widgets::problem::{self, Way};
use egui::{Rect, Ui};
use std::path::Path;
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

/// Whether the run ended because a loss or a weight was no number any more: the same settings may well end there again.
fn diverged(view: &RunView) -> bool {
    view.row.status == "failed" && view.row.problem.as_ref().is_some_and(|problem| problem.code == Code::NonFinite)
}

/// The row of the token lens that a problem names first, as "FILE line N", when it is in the first of the data's files:
/// there, in a file of lines, its number is that of the line. With it the line.
fn named_row(view: &RunView, state: &State) -> Option<(u64, u64)> {
    let place = &view.row.problem.as_ref()?.r#where;
    let (file, rest) = place.split_once(" line ")?;
    let figures: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let line: u64 = figures.parse().ok()?;
    let first = state.draft.project.data.train.first()?.path();
    let same_data = view.settings.as_ref()?.data.train.first()?.path() == first;
    let path = Path::new(first);
    let of_lines = path.extension().is_some_and(|ending| ending == "jsonl" || ending == "txt");
    (same_data && of_lines && path.file_name()? == file).then(|| (line.saturating_sub(1), line))
}

fn ways(cx: &PanelCtx<'_>, view: &RunView) -> Vec<Way<'static>> {
    let mut ways = Vec::new();
    let diverged = diverged(view);
    let training = cx.state.is_training();
    if diverged
        && !training
        && let Some((step, lr_peak)) = slower_start(view)
    {
        ways.push(Way {
            label: t!("watch-slower", step = format::count(step), rate = format::rate_short(lr_peak)).into(),
            price: t!("watch-slower-price").into(),
            primary: true,
            command: UiCommand::BranchSlower,
        });
    }
    if !view.checkpoints.is_empty() && !training {
        ways.push(Way {
            label: t!("commands-continue").into(),
            price: if diverged { t!("watch-same-again") } else { t!("watch-recommended") }.into(),
            primary: !diverged,
            command: UiCommand::Resume(view.row.run),
        });
    }
    if diverged && let Some((row, line)) = named_row(view, cx.state) {
        ways.push(Way {
            label: t!("watch-look-row", line = format::count(line)).into(),
            price: t!("watch-look-row-price").into(),
            primary: false,
            command: UiCommand::Lens(LensAct::Open(Some(row))),
        });
    }
    if row_never_began(view) && !training {
        ways.push(Way {
            label: t!("watch-start-again").into(),
            price: t!("watch-recommended").into(),
            primary: true,
            command: UiCommand::Resume(view.row.run),
        });
    }
    ways.push(Way {
        label: t!("watch-change-settings").into(),
        price: t!("watch-new-run").into(),
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
