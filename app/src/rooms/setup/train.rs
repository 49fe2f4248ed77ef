//! The rows of `[train]` and `[data]`: the three that everybody looks at, and the rest behind "more".

use super::form::{self, integer, number};
use super::method::{self, label, title};
use crate::format;
use crate::rooms::PanelCtx;
use crate::widgets::rows::Rows;
use egui::Ui;
use temper_protocol::Event;
use temper_protocol::project::Validation;

/// Rows behind "more", for the words of the link.
pub const MORE_ROWS: usize = 24;

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
    let warmup = format!("warm-up {}", format::count(train.warmup_steps));
    let help = "How far each step goes at most; twice as large learns faster and forgets more";
    let row = label("Learning rate", help, &warmup);
    let shown = format::rate(method::rate(project, cx.state.method()));
    if let Some(rate) = form::figure(cx, ui, lines, &row, &shown, number(0.0, 10.0)) {
        cx.edit("train.lr_peak", |project| project.train.lr_peak = rate);
    }
    let passes = steps_note(cx);
    let row = label("Steps", "Optimiser steps; a pass is once through the training rows", &passes);
    if let Some(steps) = form::figure(cx, ui, lines, &row, &format::count(train.steps), integer(0, 1_000_000_000)) {
        cx.edit("train.steps", |project| {
            project.train.steps = steps;
            project.train.epochs = None;
        });
    }
    let note = format!("of {} tokens", format::count(project.data.max_tokens as u64));
    let row = label(
        "Batch",
        "Rows a step takes at once, several examples in each where they are packed; memory grows with it",
        &note,
    );
    if let Some(batch) = form::figure(cx, ui, lines, &row, &train.batch.to_string(), integer(1, 4096)) {
        cx.edit("train.batch", |project| project.train.batch = batch as usize);
    }
}

/// Passes over the data, and the time at the measured speed.
fn steps_note(cx: &PanelCtx<'_>) -> String {
    let project = &cx.state.draft.project;
    if let Some(epochs) = project.train.epochs {
        return format!("{} passes decide", format::plain(epochs));
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
    let mut note = format!("{passes} passes");
    if let Some(Event::Preflight { step_secs, .. }) = cx.state.setup.preflight.as_ref().map(|answer| &answer.event) {
        note.push_str(&format!(", {}", format::duration(step_secs * project.train.steps as f64)));
    }
    note
}

/// Everything else.
pub fn more_rows(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows) {
    title(cx, ui, lines, "Optimiser");
    optimiser_rows(cx, ui, lines);
    title(cx, ui, lines, "Run");
    run_rows(cx, ui, lines);
    title(cx, ui, lines, "Data");
    data_rows(cx, ui, lines);
}

fn optimiser_rows(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows) {
    let train = &cx.state.draft.project.train;
    let row = label("Schedule", "How the learning rate moves after the warm-up; wsd stays, then falls at the end", "");
    if let Some(index) = form::choice(cx, ui, lines, &row, &SCHEDULES, &train.schedule) {
        cx.edit("train.schedule", |project| SCHEDULES[index].clone_into(&mut project.train.schedule));
    }
    let row = label("Warm-up", "Steps until the full learning rate", "steps");
    if let Some(steps) = form::figure(cx, ui, lines, &row, &train.warmup_steps.to_string(), integer(0, 1_000_000)) {
        cx.edit("train.warmup_steps", |project| project.train.warmup_steps = steps);
    }
    let row = label("Lowest rate", "Learning rate at the end, as a share of the highest", "of the rate");
    if let Some(share) = form::figure(cx, ui, lines, &row, &format::plain(train.lr_floor), number(0.0, 1.0)) {
        cx.edit("train.lr_floor", |project| project.train.lr_floor = share);
    }
    if train.schedule == "wsd" {
        let row = label("Fall over", "Share of the steps over which wsd falls", "of the steps");
        if let Some(share) = form::figure(cx, ui, lines, &row, &format::plain(train.decay_share), number(0.0, 1.0)) {
            cx.edit("train.decay_share", |project| project.train.decay_share = share);
        }
    }
    let row = label("Clip norm", "Gradients longer than this are shortened to it; 0 never", "0 is off");
    if let Some(norm) = form::figure(cx, ui, lines, &row, &format::plain(train.clip_norm), number(0.0, 1e9)) {
        cx.edit("train.clip_norm", |project| project.train.clip_norm = norm);
    }
    let row = label("Weight decay", "Pulls trained weights towards zero", "");
    if let Some(decay) = form::figure(cx, ui, lines, &row, &format::rate(train.weight_decay), number(0.0, 10.0)) {
        cx.edit("train.weight_decay", |project| project.train.weight_decay = decay);
    }
    let row = label("Beta 1", "Memory of the mean gradient in AdamW", "");
    if let Some(beta) = form::figure(cx, ui, lines, &row, &format::plain(train.beta1), number(0.0, 0.9999)) {
        cx.edit("train.beta1", |project| project.train.beta1 = beta);
    }
    let row = label("Beta 2", "Memory of the squared gradient in AdamW", "");
    if let Some(beta) = form::figure(cx, ui, lines, &row, &format::plain(train.beta2), number(0.0, 0.999_999)) {
        cx.edit("train.beta2", |project| project.train.beta2 = beta);
    }
    let row = label("Moments", "What AdamW remembers of each trained number: 8 bytes in f32, 2 in int8", "");
    if let Some(index) = form::choice(cx, ui, lines, &row, &OPTIM_STATE, &train.optim_state) {
        cx.edit("train.optim_state", |project| OPTIM_STATE[index].clone_into(&mut project.train.optim_state));
    }
}

fn run_rows(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows) {
    let train = &cx.state.draft.project.train;
    let row = label(
        "Accumulate",
        "Micro-steps before each optimiser step: a larger batch without more memory",
        "micro-steps",
    );
    if let Some(count) = form::figure(cx, ui, lines, &row, &train.accumulate.to_string(), integer(1, 65_536)) {
        cx.edit("train.accumulate", |project| project.train.accumulate = count as usize);
    }
    let row = label("Seed", "The same seed gives the same run, byte for byte", "");
    if let Some(seed) = form::figure(cx, ui, lines, &row, &train.seed.to_string(), integer(0, u64::MAX)) {
        cx.edit("train.seed", |project| project.train.seed = seed);
    }
    let row = label("Threads", "0 takes all physical cores but one", "0 is auto");
    if let Some(threads) = form::figure(cx, ui, lines, &row, &train.threads.to_string(), integer(0, 4096)) {
        cx.edit("train.threads", |project| project.train.threads = threads as usize);
    }
    let row = label("Device", "auto takes a graphics card where this build has one that works, else the processor", "");
    if let Some(index) = form::choice(cx, ui, lines, &row, &DEVICES, &train.device) {
        cx.edit("train.device", |project| DEVICES[index].clone_into(&mut project.train.device));
    }
    let row =
        label("Recompute", "Computes activations twice instead of keeping them: a third slower, much less memory", "");
    if let Some(index) = form::choice(cx, ui, lines, &row, &RECOMPUTE, &train.recompute) {
        cx.edit("train.recompute", |project| RECOMPUTE[index].clone_into(&mut project.train.recompute));
    }
    if train.recompute == "auto" {
        let help = "Memory for activations that are kept instead of computed again; 0 takes half of what is free";
        let row = label("Kept memory", help, "MiB, 0 is auto");
        if let Some(mib) = form::figure(cx, ui, lines, &row, &train.kept_mib.to_string(), integer(0, 1 << 30)) {
            cx.edit("train.kept_mib", |project| project.train.kept_mib = mib);
        }
    }
    let help = "Disk for the outputs of blocks that are not trained: later passes over the data begin there; 0 never";
    let row = label("Frozen blocks", help, "MiB, 0 is off");
    if let Some(mib) = form::figure(cx, ui, lines, &row, &train.prefix_cache_mib.to_string(), integer(0, 1 << 30)) {
        cx.edit("train.prefix_cache_mib", |project| project.train.prefix_cache_mib = mib);
    }
    let row = label("Checkpoints", "Steps between checkpoints; 0 only at the end", "steps apart");
    if let Some(steps) = form::figure(cx, ui, lines, &row, &train.checkpoint_steps.to_string(), integer(0, 1_000_000)) {
        cx.edit("train.checkpoint_steps", |project| project.train.checkpoint_steps = steps);
    }
    let row = label("Keep", "Checkpoints kept beside the best and the last", "checkpoints");
    if let Some(count) = form::figure(cx, ui, lines, &row, &train.keep_checkpoints.to_string(), integer(0, 1000)) {
        cx.edit("train.keep_checkpoints", |project| project.train.keep_checkpoints = count as usize);
    }
    let row = label("Validate", "Steps between validations; 0 only at the end", "steps apart");
    if let Some(steps) = form::figure(cx, ui, lines, &row, &train.eval_steps.to_string(), integer(0, 1_000_000)) {
        cx.edit("train.eval_steps", |project| project.train.eval_steps = steps);
    }
    let row = label("Patience", "Validations without improvement before the run ends; 0 never ends early", "0 is off");
    if let Some(count) = form::figure(cx, ui, lines, &row, &train.patience.to_string(), integer(0, 10_000)) {
        cx.edit("train.patience", |project| project.train.patience = count);
    }
    let row = label("On a spike", "What happens when the loss jumps or is no number", "");
    if let Some(index) = form::choice(cx, ui, lines, &row, &ON_SPIKE, &train.on_spike) {
        cx.edit("train.on_spike", |project| ON_SPIKE[index].clone_into(&mut project.train.on_spike));
    }
    let row = label(
        "Spike factor",
        "A spike is a loss above this multiple of its mean; 0 only looks for no number",
        "0 is off",
    );
    if let Some(factor) = form::figure(cx, ui, lines, &row, &format::plain(train.spike_factor), number(0.0, 1e6)) {
        cx.edit("train.spike_factor", |project| project.train.spike_factor = factor);
    }
}

fn data_rows(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows) {
    let data = &cx.state.draft.project.data;
    let row = label("Longest row", "Longer rows are cut to this many tokens", "tokens");
    if let Some(count) =
        form::figure(cx, ui, lines, &row, &format::count(data.max_tokens as u64), integer(2, 1_048_576))
    {
        cx.edit("data.max_tokens", |project| project.data.max_tokens = count as usize);
    }
    if let Validation::Share(share) = data.validation {
        let row = label("Validation", "Share of the rows that is measured and never trained", "of the rows");
        if let Some(share) = form::figure(cx, ui, lines, &row, &format::plain(share), number(0.0, 0.9)) {
            cx.edit("data.validation", |project| project.data.validation = Validation::Share(share));
        }
    }
    let row = label("Loss on", "Which tokens are trained: the answers, the last answer, or everything", "");
    if let Some(index) = form::choice(cx, ui, lines, &row, &LOSS_ON, &data.loss_on) {
        cx.edit("data.loss_on", |project| LOSS_ON[index].clone_into(&mut project.data.loss_on));
    }
    let row = label("Packing", "Several short rows in one, with borders that attention does not cross", "");
    if let Some(on) = form::flag(cx, ui, lines, &row, data.packing) {
        cx.edit("data.packing", |project| project.data.packing = on);
    }
}
