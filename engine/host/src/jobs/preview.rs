//! `preview`: what a project's data looks like to its model.

use super::request::{build, read_project};
use crate::builtin::Builtins;
use crate::job::JobContext;
use crate::names;
use std::path::Path;
use temper_data::{DataError, Dataset, LoadRequest, TextCodec, ValidationSource};
use temper_models::ModelSource;
use temper_protocol::project::Validation;
use temper_protocol::{Event, Problem};
use temper_train::TrainRequest;
use temper_train::prepare::load_codec;

/// Reads and tokenises the data as a run would.
pub(super) fn preview(builtins: &Builtins, project: &Path, rows: usize, context: &JobContext) -> Result<(), Problem> {
    let (project, project_dir) = read_project(project, &[])?;
    let request = build(builtins, project, &project_dir)?;
    let (source, codec, load) = reading(&request)?;
    let mut progress = |now: temper_data::Progress| context.progress(now.stage, now.done, now.total, now.unit);
    let data = match Dataset::load(&load, &codec, &mut progress, &|| context.is_cancelled()) {
        Err(DataError::Cancelled) => return Err(crate::job::cancelled()),
        other => other?,
    };
    // Known before the training, not only when the export is refused. A GGUF base's tokenizer is copied as it is.
    if !matches!(source, ModelSource::Gguf(_))
        && let Err(error) = codec.gguf_parts()
    {
        let problem = Problem::from(error);
        // The list of all names that there are belongs to the refusal of an export, not to a note beside a table.
        let what = problem.what.split(" (named are").next().unwrap_or_default();
        let text = format!("{what}; {}", problem.action);
        context.emit(Event::Warning { code: "no_merged_gguf".to_owned(), text, step: 0 });
    }
    for text in &data.warnings {
        context.emit(Event::Warning { code: "data".to_owned(), text: text.clone(), step: 0 });
    }
    context.emit(temper_data::preview_event(&data, rows));
    Ok(())
}

/// The model's files, its tokenizer and what a run of `request` would read.
pub(super) fn reading(request: &TrainRequest) -> Result<(ModelSource, TextCodec, LoadRequest), Problem> {
    let project = &request.project;
    let source = if project.model.path.starts_with(names::RANDOM) {
        ModelSource::Random
    } else {
        ModelSource::open(&request.model_path)?
    };
    let codec = load_codec(&source, &request.model_path, project)?;
    let validation = match (&request.validation_path, &project.data.validation) {
        (Some(path), _) => ValidationSource::Path(path.clone()),
        (None, Validation::Share(share)) => ValidationSource::Share(*share),
        (None, Validation::Path(_)) => ValidationSource::Share(0.0),
    };
    let mut load = LoadRequest::from_project(
        &project.data,
        request.data_sources.clone(),
        validation,
        project.train.seed,
        request.cache_dir.clone(),
    )?;
    if let Some(config) = source.config()? {
        load.max_tokens = load.max_tokens.min(config.context);
    }
    Ok((source, codec, load))
}
