//! The end of a run reaches a person who looks elsewhere: a message in every room, and the attention of the system when the
//! window is not in front.
//!
//! Place in the data flow: told by the store's snapshots, so that it holds for runs of another window's engine as well.

use crate::app::App;
use crate::format;
use crate::state::race;
use egui::{Context, UserAttentionType, ViewportCommand};
use temper_store::RunRow;

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

/// The attention of a person who looks at another program.
pub(super) fn ask_for_attention(ctx: &Context, kind: UserAttentionType) {
    if !ctx.input(|input| input.focused) {
        ctx.send_viewport_cmd(ViewportCommand::RequestUserAttention(kind));
    }
}

impl App {
    /// Tells how run `before` ended, which went on until now.
    pub(super) fn tell_ended(&mut self, ctx: &Context, before: Option<u64>) {
        if race::goes_on(&self.state) {
            // Its runs end and go on again with every round: the race itself says how they stand.
            return;
        }
        let row = before.and_then(|run| self.state.runs.runs.iter().find(|row| row.run == run));
        let Some((text, meant)) = row.and_then(|row| words(row, self.state.is_interrupted(row))) else { return };
        self.notice(text);
        let kind = if meant { UserAttentionType::Informational } else { UserAttentionType::Critical };
        ask_for_attention(ctx, kind);
    }
}
