//! `bench load`, the model's half: from a path to the first logits.
//!
//! Place in the data flow: the host calls [`model`] for each model and puts the rows into one table with what a whole
//! project needs to its first step. Each model is opened twice: the first time its pages may have to come from the disk.

use crate::control::RunControl;
use crate::error::Result;
use crate::prepare::load_codec;
use crate::threads::{on_pool, threads_for};
use crate::watch::Watch;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use temper_models::{Model, ModelSource};
use temper_nn::ForwardContext;
use temper_protocol::event::Figure;
use temper_protocol::{Event, Project};

/// What the first logits answer.
const PROMPT: &str = "The capital of France is";

/// Columns of the rows of [`model`].
pub const COLUMNS: [&str; 6] = ["what", "opened, s", "tokenizer, s", "weights, s", "first logits, s", "in all, s"];

/// Opens the model at `path` twice and gives a row each time, with the columns of [`COLUMNS`].
///
/// # Errors
/// A model that cannot be used; a cancel.
pub fn model(
    project: &Project,
    path: &Path,
    name: &str,
    control: &RunControl,
    emit: &mut dyn FnMut(Event),
) -> Result<Vec<Vec<Figure>>> {
    let threads = threads_for(project.train.threads);
    on_pool(0, threads, control, emit, |watch| {
        [format!("{name}, first time"), format!("{name}, again")]
            .into_iter()
            .map(|name| once(project, path, name, watch))
            .collect()
    })
}

fn once(project: &Project, path: &Path, name: String, watch: &Watch<'_>) -> Result<Vec<Figure>> {
    watch.check()?;
    watch.preparing("opening a model", 0, 0, "bytes");
    let begin = Instant::now();
    let now = || begin.elapsed().as_secs_f64();
    let source = ModelSource::open(path)?;
    let opened = now();
    let codec = load_codec(&source, path, project)?;
    let with_codec = now();
    let model = Model::from_source(source, project.model.base.parse()?, &mut |_, _, _| ())?;
    model.verify_finite(&mut |_, _, _| ())?;
    let with_weights = now();
    let ids: Arc<[u32]> = codec.encode(PROMPT, true)?.into();
    std::hint::black_box(model.logits(&ids, &ForwardContext::plain(1, ids.len()))?);
    let all = now();
    let secs = [opened, with_codec - opened, with_weights - with_codec, all - with_weights, all];
    Ok(std::iter::once(Figure::from(name)).chain(secs.map(Figure::from)).collect())
}
