//! `eval`: a model measured on data.

use super::load::{Loaded, short_name};
use crate::job::JobContext;
use std::path::Path;
use temper_data::{DataError, Dataset, LoadRequest, LossOn, ValidationSource};
use temper_protocol::{Code, Event, Problem};
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
    let mut progress = |now: temper_data::Progress| context.progress(now.stage, now.done, now.total, now.unit);
    let mut dataset = match Dataset::load(&request, codec, &mut progress, &|| context.is_cancelled()) {
        Err(DataError::Cancelled) => return Err(crate::job::cancelled()),
        other => other?,
    };
    for text in dataset.warnings.drain(..) {
        context.emit(Event::Warning { code: "data".to_owned(), text, step: 0 });
    }
    Ok(Rows { dataset, layout: Layout { batch: BATCH, max_tokens, packing: false, pad_id: codec.pad_id() } })
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
