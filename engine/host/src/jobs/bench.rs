//! `bench train` and `bench ops`: how fast and how lean a training step and its operations are on this machine.
//!
//! Place in the data flow: from the command's few values to a project without data, which the trainer measures.

use super::request::complete_settings;
use crate::builtin::Builtins;
use crate::job::JobContext;
use crate::names;
use std::path::Path;
use temper_protocol::{Act, Event, Problem, Project, project_file};
use temper_train::RunControl;
use temper_train::bench::BenchRequest;

/// What a person asked for.
pub(super) struct Order {
    pub(super) model: String,
    pub(super) base: String,
    pub(super) method: String,
    pub(super) set: Vec<(String, String)>,
    pub(super) batch: usize,
    pub(super) seq: usize,
    pub(super) steps: u64,
    pub(super) threads: usize,
    pub(super) recompute: bool,
    pub(super) keep_prefix: bool,
}

/// Carries the order out.
pub(super) fn train(builtins: &Builtins, order: Order, context: &JobContext) -> Result<(), Problem> {
    let plain = Project::new("bench", &order.model, &["builtin:starter-data".to_owned()], &order.method);
    let set: Vec<(String, String)> =
        order.set.iter().map(|(key, value)| (format!("method.{key}"), value.clone())).collect();
    let text = project_file::to_text(&plain)?;
    let mut project = project_file::parse_with(&text, Path::new("--set"), &set)?;
    project.model.base = order.base;
    project.train.batch = order.batch;
    project.train.threads = order.threads;
    project.train.recompute = if order.recompute { "on" } else { "off" }.to_owned();
    complete_settings(&mut project)?;
    let model_path = names::model_path(builtins, &order.model, Path::new("."))?;
    let request =
        BenchRequest { project, model_path, width: order.seq, steps: order.steps, keep_prefix: order.keep_prefix };
    let control = RunControl::new();
    let answer = temper_train::bench::train(&request, &control, &mut |event| hand_on(event, &control, context))?;
    context.emit(answer);
    Ok(())
}

/// Measures the operations whose name contains `only`.
pub(super) fn ops(threads: usize, only: Option<&str>, context: &JobContext) -> Result<(), Problem> {
    let control = RunControl::new();
    let answer = temper_train::bench::ops(threads, only, &control, &mut |event| hand_on(event, &control, context))?;
    context.emit(answer);
    Ok(())
}

/// Emits what a bench says, and tells it when the request was cancelled.
fn hand_on(event: Event, control: &RunControl, context: &JobContext) {
    if context.is_cancelled() {
        control.request(Act::Cancel);
    }
    // There is no run that could be preparing.
    context.emit(match event {
        Event::Preparing { stage, done, total, unit, .. } => Event::Progress { done, total, unit, stage },
        other => other,
    });
}
