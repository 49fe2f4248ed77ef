//! The rows of `[train]` and `[data]`: the three that everybody looks at, and the rest behind "more".

use super::form::{self, integer, number};
use super::method::{self, label, title};
use crate::format;
use crate::rooms::PanelCtx;
use crate::widgets::rows::Rows;
use egui::Ui;
use temper_protocol::Event;
use temper_protocol::project::{BEST_BY, Validation};

/// Rows behind "more", for the words of the link.
pub const MORE_ROWS: usize = 25;

const SCHEDULES: [&str; 4] = ["cosine", "linear", "constant", "wsd"];
const LOSS_ON: [&str; 3] = ["answers", "last-answer", "everything"];
const DEVICES: [&str; 4] = ["auto", "cpu", "cuda", "metal"];
const OPTIM_STATE: [&str; 2] = ["f32", "int8"];
const RECOMPUTE: [&str; 3] = ["auto", "on", "off"];
const ON_SPIKE: [&str; 2] = ["roll-back", "stop"];

/// Learning rate, steps, batch.
pub fn main_rows(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows) {
    let project = &cx.state.draft.project;
    let train = &project.train;
    let warmup = t!("train-warmup-note", steps = format::count(train.warmup_steps));
    let help = t!("train-rate-tip");
    let row = label(t!("train-rate"), help, &warmup);
    let shown = format::rate(method::rate(project, cx.state.method()));
    if let Some(rate) = form::figure(cx, ui, lines, &row, &shown, number(0.0, 10.0)) {
        cx.edit("train.lr_peak", |project| project.train.lr_peak = rate);
    }
    let passes = steps_note(cx);
    let row = label(t!("train-steps"), t!("train-steps-tip"), &passes);
    if let Some(steps) = form::figure(cx, ui, lines, &row, &format::count(train.steps), integer(0, 1_000_000_000)) {
        cx.edit("train.steps", |project| {
            project.train.steps = steps;
            project.train.epochs = None;
        });
    }
    let note = t!("train-of-tokens", tokens = format::count(project.data.max_tokens as u64));
    let row = label(t!("train-batch"), t!("train-batch-tip"), &note);
    if let Some(batch) = form::figure(cx, ui, lines, &row, &train.batch.to_string(), integer(1, 4096)) {
        cx.edit("train.batch", |project| project.train.batch = batch as usize);
    }
}

/// Passes over the data, and the time at the measured speed.
fn steps_note(cx: &PanelCtx<'_>) -> String {
    let project = &cx.state.draft.project;
    if let Some(epochs) = project.train.epochs {
        return t!("train-passes-decide", passes = format::plain(epochs));
    }
    let Some(Event::Preview { train_rows, rows, tokens, .. }) =
        cx.state.setup.preview.as_ref().map(|answer| &answer.event)
    else {
        return String::new();
    };
    if *train_rows == 0 || *rows == 0 {
        return String::new();
    }
    let taken = project.train.steps as f64 * (project.train.batch * project.train.accumulate) as f64;
    // A packed row holds as many rows of the data as fit into it.
    let mean_tokens = *tokens as f64 / *rows as f64;
    let packed = if project.data.packing && mean_tokens > 0.0 {
        (project.data.max_tokens as f64 / mean_tokens).max(1.0)
    } else {
        1.0
    };
    let passes = taken * packed / *train_rows as f64;
    let passes = if passes < 10.0 { format!("{passes:.1}") } else { format::count(passes.round() as u64) };
    let mut note = t!("train-passes", passes = passes);
    let measured = cx.state.setup.preflight.as_ref().map(|answer| &answer.event);
    if let Some(secs) = measured.and_then(|event| expected_secs(event, project.train.steps)) {
        note.push_str(&format!(", {}", format::duration(secs)));
    }
    note
}

/// Wall time of `steps` by a pre-flight, seconds: what its strip says, with the measuring between the steps, and another
/// number of steps in proportion. None where no step was measured.
fn expected_secs(preflight: &Event, steps: u64) -> Option<f64> {
    let Event::Preflight { total_secs, max_steps, .. } = preflight else { return None };
    (*max_steps > 0 && *total_secs > 0.0).then(|| *total_secs * steps as f64 / *max_steps as f64)
}

/// Everything else.
pub fn more_rows(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows) {
    title(cx, ui, lines, t!("train-optimiser"));
    optimiser_rows(cx, ui, lines);
    title(cx, ui, lines, t!("train-run"));
    run_rows(cx, ui, lines);
    title(cx, ui, lines, t!("common-data"));
    data_rows(cx, ui, lines);
}

fn optimiser_rows(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows) {
    let train = &cx.state.draft.project.train;
    let row = label(t!("train-schedule"), t!("train-schedule-tip"), "");
    if let Some(index) = form::choice(cx, ui, lines, &row, &SCHEDULES, &train.schedule) {
        cx.edit("train.schedule", |project| SCHEDULES[index].clone_into(&mut project.train.schedule));
    }
    let row = label(t!("train-warmup"), t!("train-warmup-tip"), t!("common-steps"));
    if let Some(steps) = form::figure(cx, ui, lines, &row, &train.warmup_steps.to_string(), integer(0, 1_000_000)) {
        cx.edit("train.warmup_steps", |project| project.train.warmup_steps = steps);
    }
    let row = label(t!("train-floor"), t!("train-floor-tip"), t!("train-floor-note"));
    if let Some(share) = form::figure(cx, ui, lines, &row, &format::plain(train.lr_floor), number(0.0, 1.0)) {
        cx.edit("train.lr_floor", |project| project.train.lr_floor = share);
    }
    if train.schedule == "wsd" {
        let row = label(t!("train-fall"), t!("train-fall-tip"), t!("train-fall-note"));
        if let Some(share) = form::figure(cx, ui, lines, &row, &format::plain(train.decay_share), number(0.0, 1.0)) {
            cx.edit("train.decay_share", |project| project.train.decay_share = share);
        }
    }
    let row = label(t!("train-clip"), t!("train-clip-tip"), t!("common-zero-off"));
    if let Some(norm) = form::figure(cx, ui, lines, &row, &format::plain(train.clip_norm), number(0.0, 1e9)) {
        cx.edit("train.clip_norm", |project| project.train.clip_norm = norm);
    }
    let row = label(t!("train-decay"), t!("train-decay-tip"), "");
    if let Some(decay) = form::figure(cx, ui, lines, &row, &format::rate(train.weight_decay), number(0.0, 10.0)) {
        cx.edit("train.weight_decay", |project| project.train.weight_decay = decay);
    }
    let row = label(t!("train-beta1"), t!("train-beta1-tip"), "");
    if let Some(beta) = form::figure(cx, ui, lines, &row, &format::plain(train.beta1), number(0.0, 0.9999)) {
        cx.edit("train.beta1", |project| project.train.beta1 = beta);
    }
    let row = label(t!("train-beta2"), t!("train-beta2-tip"), "");
    if let Some(beta) = form::figure(cx, ui, lines, &row, &format::plain(train.beta2), number(0.0, 0.999_999)) {
        cx.edit("train.beta2", |project| project.train.beta2 = beta);
    }
    let row = label(t!("train-moments"), t!("train-moments-tip"), "");
    if let Some(index) = form::choice(cx, ui, lines, &row, &OPTIM_STATE, &train.optim_state) {
        cx.edit("train.optim_state", |project| OPTIM_STATE[index].clone_into(&mut project.train.optim_state));
    }
}

fn run_rows(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows) {
    let train = &cx.state.draft.project.train;
    let row = label(t!("train-accumulate"), t!("train-accumulate-tip"), t!("train-accumulate-note"));
    if let Some(count) = form::figure(cx, ui, lines, &row, &train.accumulate.to_string(), integer(1, 65_536)) {
        cx.edit("train.accumulate", |project| project.train.accumulate = count as usize);
    }
    let row = label(t!("train-seed"), t!("train-seed-tip"), "");
    if let Some(seed) = form::figure(cx, ui, lines, &row, &train.seed.to_string(), integer(0, u64::MAX)) {
        cx.edit("train.seed", |project| project.train.seed = seed);
    }
    let row = label(t!("train-threads"), t!("train-threads-tip"), t!("train-zero-auto"));
    if let Some(threads) = form::figure(cx, ui, lines, &row, &train.threads.to_string(), integer(0, 4096)) {
        cx.edit("train.threads", |project| project.train.threads = threads as usize);
    }
    let row = label(t!("train-device"), t!("train-device-tip"), "");
    if let Some(index) = form::choice(cx, ui, lines, &row, &DEVICES, &train.device) {
        cx.edit("train.device", |project| DEVICES[index].clone_into(&mut project.train.device));
    }
    let row = label(t!("train-recompute"), t!("train-recompute-tip"), "");
    if let Some(index) = form::choice(cx, ui, lines, &row, &RECOMPUTE, &train.recompute) {
        cx.edit("train.recompute", |project| RECOMPUTE[index].clone_into(&mut project.train.recompute));
    }
    if train.recompute == "auto" {
        let help = t!("train-kept-tip");
        let row = label(t!("train-kept"), help, t!("train-mib-auto"));
        if let Some(mib) = form::figure(cx, ui, lines, &row, &train.kept_mib.to_string(), integer(0, 1 << 30)) {
            cx.edit("train.kept_mib", |project| project.train.kept_mib = mib);
        }
    }
    let help = t!("train-frozen-tip");
    let row = label(t!("train-frozen"), help, t!("train-mib-off"));
    if let Some(mib) = form::figure(cx, ui, lines, &row, &train.prefix_cache_mib.to_string(), integer(0, 1 << 30)) {
        cx.edit("train.prefix_cache_mib", |project| project.train.prefix_cache_mib = mib);
    }
    let row = label(t!("common-checkpoints"), t!("train-checkpoints-tip"), t!("common-steps-apart"));
    if let Some(steps) = form::figure(cx, ui, lines, &row, &train.checkpoint_steps.to_string(), integer(0, 1_000_000)) {
        cx.edit("train.checkpoint_steps", |project| project.train.checkpoint_steps = steps);
    }
    let row = label(t!("train-keep"), t!("train-keep-tip"), t!("train-keep-note"));
    if let Some(count) = form::figure(cx, ui, lines, &row, &train.keep_checkpoints.to_string(), integer(0, 1000)) {
        cx.edit("train.keep_checkpoints", |project| project.train.keep_checkpoints = count as usize);
    }
    let row = label(t!("train-snapshots"), t!("train-snapshots-tip"), t!("train-mib-off"));
    if let Some(mib) = form::figure(cx, ui, lines, &row, &train.snapshot_mib.to_string(), integer(0, 1 << 30)) {
        cx.edit("train.snapshot_mib", |project| project.train.snapshot_mib = mib);
    }
    let row = label(t!("train-validate"), t!("train-validate-tip"), t!("common-steps-apart"));
    if let Some(steps) = form::figure(cx, ui, lines, &row, &train.eval_steps.to_string(), integer(0, 1_000_000)) {
        cx.edit("train.eval_steps", |project| project.train.eval_steps = steps);
    }
    let row = label(t!("train-patience"), t!("train-patience-tip"), t!("common-zero-off"));
    if let Some(count) = form::figure(cx, ui, lines, &row, &train.patience.to_string(), integer(0, 10_000)) {
        cx.edit("train.patience", |project| project.train.patience = count);
    }
    let row = label(t!("train-best-by"), t!("train-best-by-tip"), "");
    if let Some(index) = form::choice(cx, ui, lines, &row, &BEST_BY, &train.best_by) {
        cx.edit("train.best_by", |project| BEST_BY[index].clone_into(&mut project.train.best_by));
    }
    let row = label(t!("train-spike"), t!("train-spike-tip"), "");
    if let Some(index) = form::choice(cx, ui, lines, &row, &ON_SPIKE, &train.on_spike) {
        cx.edit("train.on_spike", |project| ON_SPIKE[index].clone_into(&mut project.train.on_spike));
    }
    let row = label(t!("train-spike-factor"), t!("train-spike-factor-tip"), t!("common-zero-off"));
    if let Some(factor) = form::figure(cx, ui, lines, &row, &format::plain(train.spike_factor), number(0.0, 1e6)) {
        cx.edit("train.spike_factor", |project| project.train.spike_factor = factor);
    }
}

fn data_rows(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows) {
    let data = &cx.state.draft.project.data;
    let row = label(t!("train-longest"), t!("train-longest-tip"), t!("common-tokens"));
    if let Some(count) =
        form::figure(cx, ui, lines, &row, &format::count(data.max_tokens as u64), integer(2, 1_048_576))
    {
        cx.edit("data.max_tokens", |project| project.data.max_tokens = count as usize);
    }
    if let Validation::Share(share) = data.validation {
        let row = label(t!("train-validation"), t!("train-validation-tip"), t!("train-validation-note"));
        if let Some(share) = form::figure(cx, ui, lines, &row, &format::plain(share), number(0.0, 0.9)) {
            cx.edit("data.validation", |project| project.data.validation = Validation::Share(share));
        }
    }
    let row = label(t!("train-loss-on"), t!("train-loss-on-tip"), "");
    if let Some(index) = form::choice(cx, ui, lines, &row, &LOSS_ON, &data.loss_on) {
        cx.edit("data.loss_on", |project| LOSS_ON[index].clone_into(&mut project.data.loss_on));
    }
    let row = label(t!("train-packing"), t!("train-packing-tip"), "");
    if let Some(on) = form::flag(cx, ui, lines, &row, data.packing) {
        cx.edit("data.packing", |project| project.data.packing = on);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_take_as_long_as_the_strip_says() {
        let preflight = |total_secs: f64, max_steps: u64| Event::Preflight {
            fits: true,
            peak_rss_mib: 786.0,
            step_secs: 4.0,
            total_secs,
            disk_mib: 0.0,
            warnings: Vec::new(),
            free_memory_mib: 0.0,
            free_disk_mib: 0.0,
            checkpoints_mib: 0.0,
            export_mib: 0.0,
            trained_parameters: 0,
            max_steps,
            remedies: Vec::new(),
            step_joules: None,
        };
        // 24 steps of 4 s, and 84 s of measuring between them.
        assert_eq!(expected_secs(&preflight(180.0, 24), 24), Some(180.0));
        assert_eq!(expected_secs(&preflight(180.0, 24), 48), Some(360.0), "until it is measured again");
        assert_eq!(expected_secs(&preflight(0.0, 24), 24), None, "the step would not fit, so none was measured");
        assert_eq!(expected_secs(&preflight(180.0, 0), 24), None);
    }
}
