//! `bench train`: how fast and how lean a training step is on this machine.
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
    pub(super) optim_state: Option<String>,
    pub(super) keep_prefix: bool,
}

/// Carries the order out.
pub(super) fn train(builtins: &Builtins, order: Order, context: &JobContext) -> Result<(), Problem> {
    let plain = Project::new("bench", &order.model, &["builtin:starter-data".to_owned()], &order.method);
    let mut set: Vec<(String, String)> =
        order.set.iter().map(|(key, value)| (format!("method.{key}"), value.clone())).collect();
    // Through the file's own checks, so that a wrong word names the right ones.
    set.push(("model.base".to_owned(), order.base));
    set.extend(order.optim_state.map(|state| ("train.optim_state".to_owned(), state)));
    let text = project_file::to_text(&plain)?;
    let mut project = project_file::parse_with(&text, Path::new("--set"), &set)?;
    project.train.batch = order.batch;
    project.train.threads = order.threads;
    project.train.recompute = if order.recompute { "on" } else { "off" }.to_owned();
    complete_settings(&mut project)?;
    let model_path = names::model_path(builtins, &order.model, Path::new("."))?;
    let request =
        BenchRequest { project, model_path, width: order.seq, steps: order.steps, keep_prefix: order.keep_prefix };
    let control = RunControl::new();
    let answer = temper_train::bench::train(&request, &control, &mut |event| {
        if context.is_cancelled() {
            control.request(Act::Cancel);
        }
        // There is no run that could be preparing.
        context.emit(match event {
            Event::Preparing { stage, done, total, unit, .. } => Event::Progress { done, total, unit, stage },
            other => other,
        });
    })?;
    context.emit(answer);
    Ok(())
}
