//! `eval`: a model measured on data.

use super::load::{Loaded, short_name};
use crate::builtin::Builtins;
use crate::job::JobContext;
use crate::names;
use std::path::Path;
use temper_data::{DataError, Dataset, LoadRequest, LossOn, TextCodec, ValidationSource};
use temper_protocol::project::{Data, Validation};
use temper_protocol::{Code, Event, Problem, Project, named};
use temper_train::TrainError;
use temper_train::eval::{Layout, METRICS, measure};

/// Rows measured at once.
const BATCH: usize = 8;
/// Longest row of a model that was not trained here, tokens.
const MAX_TOKENS: usize = 512;
/// What is measured when nothing is named.
const USUAL: [&str; 3] = ["nll", "ppl", "acc"];

/// The metrics asked for, or the usual ones.
pub(super) fn chosen(metrics: Vec<String>) -> Result<Vec<String>, Problem> {
    if metrics.is_empty() {
        return Ok(USUAL.map(str::to_owned).to_vec());
    }
    match metrics.iter().find(|metric| !METRICS.contains(&metric.as_str())) {
        None => Ok(metrics),
        Some(unknown) => Err(Problem::new(
            Code::Usage,
            format!("there is no metric \"{unknown}\""),
            "--metrics",
            format!("choose of: {}", METRICS.join(", ")),
        )),
    }
}

/// The rows of a data file as a model is measured on them.
pub(super) struct Rows {
    /// All of them are in `train`.
    pub(super) dataset: Dataset,
    /// How they are laid into batches.
    pub(super) layout: Layout,
}

/// Reads data the way that the model's run read its own.
pub(super) fn read_rows(loaded: &Loaded, data: &Path, context: &JobContext) -> Result<Rows, Problem> {
    let Loaded { model, codec, project, .. } = loaded;
    let loss_on = project.as_ref().and_then(|project| LossOn::from_name(&project.data.loss_on));
    let wanted_tokens = project.as_ref().map_or(MAX_TOKENS, |project| project.data.max_tokens);
    let max_tokens = wanted_tokens.min(model.config.context());
    let request = LoadRequest {
        train: vec![(data.to_path_buf(), 1.0)],
        validation: ValidationSource::Share(0.0),
        schema: "auto".to_owned(),
        columns: std::collections::BTreeMap::new(),
        max_tokens,
        loss_on: loss_on.unwrap_or(LossOn::Answers),
        seed: 0,
        cache_dir: None,
    };
    read(&request, codec, context)
}

/// The rows that the model's run kept from its training, split as it split them; `folder` is that of the project.
///
/// # Errors
/// A problem when the model is no run's, or the run kept none.
pub(super) fn held_out(
    builtins: &Builtins,
    loaded: &Loaded,
    folder: &Path,
    context: &JobContext,
) -> Result<Rows, Problem> {
    let none = |what: &str| {
        let action = "name a data file or a bundled probe set, such as builtin:prose";
        Problem::new(Code::DataInvalid, what, named::HELD_OUT, action)
    };
    let Some(project) = &loaded.project else { return Err(none("only a run has rows that it kept from its training")) };
    let path = |name: &str| names::data_path(builtins, name, folder);
    let sources = project.data.train.iter().map(|source| Ok((path(source.path())?, source.weight())));
    let validation = match &project.data.validation {
        Validation::Share(share) => ValidationSource::Share(*share),
        Validation::Path(file) => ValidationSource::Path(path(file)?),
    };
    let sources = sources.collect::<Result<_, Problem>>()?;
    let mut request = LoadRequest::from_project(&project.data, sources, validation, project.train.seed, None)?;
    request.max_tokens = request.max_tokens.min(loaded.model.config.context());
    let mut rows = read(&request, &loaded.codec, context)?;
    rows.dataset.train = std::mem::take(&mut rows.dataset.validation);
    if rows.dataset.train.is_empty() { Err(none("the run kept no rows from its training")) } else { Ok(rows) }
}

/// Whether the rows that one run kept from its training are those that another one kept: where they are not, the other was
/// trained on some of them.
pub(super) fn split_alike(one: Option<&Project>, other: Option<&Project>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return false };
    let of = |project: &Project| {
        let Data { train, validation, schema, columns, .. } = project.data.clone();
        (train, validation, schema, columns, project.train.seed)
    };
    of(one) == of(other)
}

fn read(request: &LoadRequest, codec: &TextCodec, context: &JobContext) -> Result<Rows, Problem> {
    let mut progress = |now: temper_data::Progress| context.progress(now.stage, now.done, now.total, now.unit);
    let mut dataset = match Dataset::load(request, codec, &mut progress, &|| context.is_cancelled()) {
        Err(DataError::Cancelled) => return Err(crate::job::cancelled()),
        other => other?,
    };
    for text in dataset.warnings.drain(..) {
        context.emit(Event::Warning { code: "data".to_owned(), text, step: 0 });
    }
    let layout = Layout { batch: BATCH, max_tokens: request.max_tokens, packing: false, pad_id: codec.pad_id() };
    Ok(Rows { dataset, layout })
}

/// Measures every row of the data.
pub(super) fn evaluate(
    loaded: &Loaded,
    data_name: &str,
    data: &Path,
    metrics: &[String],
    context: &JobContext,
) -> Result<(), Problem> {
    let Rows { dataset, layout } = read_rows(loaded, data, context)?;
    let measured = measure(&loaded.model, &dataset.train, usize::MAX, layout, metrics, &mut |done, total| {
        if context.is_cancelled() {
            return Err(TrainError::Cancelled);
        }
        context.progress("measuring", done, total, "rows");
        Ok(())
    })?;
    for result in measured {
        context.emit(Event::Result {
            model: loaded.base_name.clone(),
            adapter: loaded.adapter_name.clone(),
            data: short_name(data_name),
            metric: result.metric,
            value: result.mean.value,
            stderr: result.mean.stderr,
            rows: result.mean.rows,
        });
    }
    Ok(())
}
