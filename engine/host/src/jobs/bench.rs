//! `bench train`, `bench ops` and `bench data`: how fast and how lean a training step and its operations are on this
//! machine, and what feeds it.
//!
//! Place in the data flow: from the command's few values to a project without data of its own, which the trainer
//! measures.

use super::request::complete_settings;
use crate::builtin::Builtins;
use crate::job::JobContext;
use crate::names;
use std::path::Path;
use temper_protocol::command::{BenchRows, TrainBench};
use temper_protocol::{Act, Code, Event, Problem, Project, named, project_file};
use temper_train::RunControl;
use temper_train::bench::rows::RowsRequest;
use temper_train::bench::{BenchRequest, DataBenchRequest};

/// Carries the order out.
pub(super) fn train(builtins: &Builtins, order: TrainBench, context: &JobContext) -> Result<(), Problem> {
    let plain = Project::new("bench", &order.model, &[named::STARTER_DATA.to_owned()], &order.method);
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
    complete_settings(&mut project, "")?;
    let model_path = names::model_path(builtins, &order.model, Path::new("."))?;
    let rows = match order.rows {
        Some(BenchRows { data, pack, row_tokens: (fewest, most), dump }) => Some(RowsRequest {
            path: names::data_path(builtins, &data, Path::new("."))?,
            row_tokens: fewest..=most,
            packing: pack,
            dump,
        }),
        None => None,
    };
    let request = BenchRequest {
        project,
        model_path,
        width: order.seq,
        steps: order.steps,
        keep_prefix: order.keep_prefix,
        rows,
    };
    let answer = with_control(context, |control, emit| Ok(temper_train::bench::train(&request, control, emit)?))?;
    context.emit(answer);
    Ok(())
}

/// Calls `work` with a control that the person's cancelling reaches, and a listener that hands on what is said.
pub(super) fn with_control<T>(
    context: &JobContext,
    work: impl FnOnce(&RunControl, &mut dyn FnMut(Event)) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let control = RunControl::new();
    work(&control, &mut |event| {
        if context.is_cancelled() {
            control.request(Act::Cancel);
        }
        // There is no run that could be preparing.
        context.emit(match event {
            Event::Preparing { stage, done, total, unit, .. } => Event::Progress { done, total, unit, stage },
            other => other,
        });
    })
}

/// What a person asked of `bench data`.
pub(super) struct DataOrder {
    pub(super) model: String,
    pub(super) data: String,
    pub(super) batch: usize,
    pub(super) seq: usize,
    pub(super) threads: usize,
    pub(super) preview: bool,
}

/// Measures what feeds a training step.
pub(super) fn data(builtins: &Builtins, order: DataOrder, context: &JobContext) -> Result<(), Problem> {
    let scratch = scratch_folder()?;
    let request = DataBenchRequest {
        project: Project::new("bench", &order.model, std::slice::from_ref(&order.data), "lora"),
        model_path: names::model_path(builtins, &order.model, Path::new("."))?,
        path: names::data_path(builtins, &order.data, Path::new("."))?,
        width: order.seq,
        batch: order.batch,
        threads: order.threads,
        preview: order.preview,
        scratch: scratch.path().to_path_buf(),
    };
    let answer = with_control(context, |control, emit| Ok(temper_train::bench::data(&request, control, emit)?))?;
    context.emit(answer);
    Ok(())
}

/// A folder that is gone when the bench is over.
pub(super) fn scratch_folder() -> Result<tempfile::TempDir, Problem> {
    tempfile::tempdir().map_err(|error| {
        let what = format!("there is no temporary folder: {error}");
        Problem::new(Code::Io, what, "the system's folder for temporary files", "free some disk space")
    })
}

/// Measures the operations whose name contains `only`.
pub(super) fn ops(threads: usize, only: Option<&str>, context: &JobContext) -> Result<(), Problem> {
    let answer = with_control(context, |control, emit| Ok(temper_train::bench::ops(threads, only, control, emit)?))?;
    context.emit(answer);
    Ok(())
}
