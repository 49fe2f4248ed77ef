//! The end of a run, and a pause, reach a person who looks elsewhere: a message in every room, and the attention of the
//! system and a notice outside the window when it is not in front.
//!
//! Place in the data flow: told by the store's snapshots, so that it holds for runs of another window's engine as well.

use super::handed::is_looked_at;
use crate::app::App;
use crate::format;
use crate::state::race;
use egui::{Context, UserAttentionType};
use temper_store::RunRow;

/// Status of a run that rests.
pub(super) const PAUSED: &str = "paused";

/// How a run ended, in a sentence, and whether that was meant; nothing while it goes on.
fn words(row: &RunRow, lost: bool) -> Option<(String, bool)> {
    let run = row.run;
    let step = format::count(row.steps);
    match row.status.as_str() {
        _ if lost => Some((t!("notice-ended-lost", run = run, step = step), false)),
        "finished" if row.best_loss.is_finite() => {
            Some((t!("notice-ended-best", run = run, loss = format::nats(row.best_loss)), true))
        }
        "finished" => Some((t!("notice-ended", run = run), true)),
        "stopped" => Some((t!("notice-ended-stopped", run = run, step = step), true)),
        "failed" => {
            let what = row.problem.as_ref().map_or("", |problem| problem.what.as_str());
            Some((t!("notice-ended-failed", run = run, step = step, what = what), false))
        }
        _ => None,
    }
}

impl App {
    /// Tells how the run ended, or that it rests, which went on until now: `before` is its number, and whether it rested.
    pub(super) fn tell_ended(&mut self, ctx: &Context, before: Option<(u64, bool)>) {
        let Some((run, rested)) = before else { return };
        let Some(row) = self.state.runs.runs.iter().find(|row| row.run == run) else { return };
        // It had ended before, was to go on and did not: that was said already.
        if !row.is_active() && self.state.watch.refused.take_if(|refused| *refused == run).is_some() {
            return;
        }
        if let Some((text, meant)) = words(row, self.state.is_interrupted(row)) {
            if race::goes_on(&self.state) {
                // Its runs end and go on again with every round: the race itself says how they stand.
                return;
            }
            self.notice(text.clone());
            self.call(ctx, if meant { UserAttentionType::Informational } else { UserAttentionType::Critical });
            self.tell_outside(ctx, &text);
        } else if row.status == PAUSED && !rested && !is_looked_at(ctx) {
            // Whoever looks has pressed the button, or sees it in the status bar.
            let text = t!("notice-paused", run = run, step = format::count(row.steps));
            self.notice(text.clone());
            self.call(ctx, UserAttentionType::Informational);
            self.tell_outside(ctx, &text);
        }
    }

    /// Says a sentence outside the window when nobody looks, with the project it is about.
    pub(super) fn tell_outside(&mut self, ctx: &Context, text: &str) {
        if is_looked_at(ctx) {
            return;
        }
        let name = &self.state.draft.project.name;
        let words = if name.is_empty() { text.to_owned() } else { format!("{name}: {text}") };
        self.services.herald.tell(&words);
    }
}
