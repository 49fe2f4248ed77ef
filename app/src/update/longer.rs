//! More of a run: more steps for one that has ended, and a new one that starts as it was at a step.
//!
//! Place in the data flow: more steps are a resume with another number of steps, which the engine takes for the same run;
//! a branch puts the run's settings and `train.from` into the form, where everything else can be changed before it starts.

use crate::app::App;
use crate::commands::UiCommand;
use crate::format;
use crate::reader::RunView;
use crate::state::{Ask, Room, Sheet, State};
use temper_protocol::{Command, Project, RunRef, named};
use temper_store::RunRow;

/// Why the watched run cannot be given more steps now; nothing when it can.
#[must_use]
pub fn longer_hindrance(state: &State) -> Option<&'static str> {
    match state.watched() {
        None => Some(t!("commands-no-run")),
        Some(_) if state.is_training() => Some(t!("commands-run-going")),
        Some(row) if row.steps == 0 || !matches!(row.status.as_str(), "finished" | "stopped") => {
            Some(t!("commands-not-ended"))
        }
        Some(_) => None,
    }
}

/// Why no new run can start from the step under the scrub line; nothing when one can.
#[must_use]
pub fn branch_hindrance(state: &State) -> Option<&'static str> {
    match &state.runs.view {
        None => Some(t!("commands-no-run")),
        Some(view) if view.settings.is_none() => Some(t!("watch-ask-no-settings")),
        Some(_) => state.kept_state().is_none().then_some(t!("watch-ask-none-kept")),
    }
}

/// The last checkpoint of a run and a quarter of its rate; nothing for a run without either.
#[must_use]
pub fn slower_start(view: &RunView) -> Option<(u64, f64)> {
    let lr_peak = view.settings.as_ref()?.train.lr_peak;
    let step = view.checkpoints.last()?.step;
    (lr_peak > 0.0).then_some((step, lr_peak / 4.0))
}

/// Steps that the run has done or was to do.
fn had(row: &RunRow) -> u64 {
    row.steps.max(row.max_steps)
}

/// Half as many steps again, in round figures.
fn suggested(steps: u64) -> u64 {
    let more = (steps / 2).max(1);
    let round = 10u64.pow(more.ilog10());
    steps + more.div_ceil(round) * round
}

/// The steps that were typed, when they are more than the run has done.
#[must_use]
pub fn longer_steps(state: &State, run: u64, typed: &str) -> Option<u64> {
    let row = state.runs.runs.iter().find(|row| row.run == run)?;
    format::whole_number(typed).filter(|steps| *steps > had(row))
}

impl App {
    /// Carries out what concerns more of a run; gives back what does not.
    pub(super) fn perform_longer(&mut self, command: UiCommand) -> Option<UiCommand> {
        match command {
            UiCommand::AskLonger => {
                if longer_hindrance(&self.state).is_none()
                    && let Some(row) = self.state.watched()
                {
                    let steps = suggested(had(row)).to_string();
                    self.state.sheet = Some(Sheet::Longer { run: row.run, steps });
                }
            }
            UiCommand::LongerText(text) => {
                if let Some(Sheet::Longer { steps, .. }) = &mut self.state.sheet {
                    *steps = text;
                }
            }
            UiCommand::ConfirmLonger => self.confirm_longer(),
            UiCommand::Branch => self.branch(),
            UiCommand::BranchSlower => self.branch_slower(),
            UiCommand::ForgetStart => {
                let mut project = self.state.draft.project.clone();
                project.train.from = None;
                let now = self.state.now_secs;
                self.state.draft.edit("train.from", project, now);
            }
            other => return Some(other),
        }
        None
    }

    fn confirm_longer(&mut self) {
        let Some(Sheet::Longer { run, steps }) = &self.state.sheet else { return };
        let run = *run;
        let (Some(steps), Some(project)) = (longer_steps(&self.state, run, steps), self.state.draft.folder.clone())
        else {
            return;
        };
        self.state.sheet = None;
        let ask = Ask::Train { project: project.clone(), run: Some(run) };
        let command = Command::Train {
            project,
            set: vec![("train.steps".to_owned(), steps.to_string())],
            method: None,
            out: None,
            resume: Some(RunRef::Id(run)),
            max_steps: None,
        };
        self.train_as(command, ask);
        self.state.watch.run = Some(run);
    }

    fn branch(&mut self) {
        if branch_hindrance(&self.state).is_some() {
            return;
        }
        let Some(kept) = self.state.kept_state() else { return };
        let Some(project) = self.state.runs.view.as_ref().and_then(|view| view.settings.clone()) else { return };
        self.begin_at(project, kept);
    }

    fn branch_slower(&mut self) {
        let Some(view) = &self.state.runs.view else { return };
        let Some(((step, lr_peak), mut project)) = slower_start(view).zip(view.settings.clone()) else { return };
        project.train.lr_peak = lr_peak;
        self.begin_at(project, step);
    }

    /// Puts `project` into the form, to begin as the watched run was at `kept`.
    fn begin_at(&mut self, mut project: Project, kept: u64) {
        let Some(run) = self.state.watched().map(|row| row.run) else { return };
        project.train.from = Some(named::of_run(run, Some(kept)));
        project.name.clone_from(&self.state.draft.project.name);
        let now = self.state.now_secs;
        self.state.setup.problems.clear();
        self.state.setup.dropped = None;
        self.state.draft.edit("", project, now);
        self.state.draft.open = true;
        self.state.sheet = None;
        self.state.room = Room::Setup;
        self.notice(t!("notice-branched", run = run, step = format::count(kept)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_as_many_again_in_round_figures() {
        for (steps, all) in [(1, 2), (20, 30), (412, 712), (1200, 1800), (1350, 2050)] {
            assert_eq!(suggested(steps), all, "{steps} steps");
        }
    }
}
