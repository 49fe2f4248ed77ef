//! From a request to what the loop works with: model, tokenizer, data, method.

use crate::attach::{Attached, attach, attach_on};
use crate::driver::Tokens;
use crate::error::{Result, TrainError};
use crate::hashes::{self, Hashes};
use crate::request::{Beneath, TrainRequest};
use crate::stamps::Stamps;
use crate::take_over::take_over;
use crate::watch::Watch;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use temper_data::{
    Batch, BatchSettings, DataError, Dataset, Example, LoadRequest, Loader, TextCodec, ValidationSource,
};
use temper_models::gguf::gguf_tokenizer_parts;
use temper_models::{Model, ModelSource};
use temper_nn::ForwardContext;
use temper_nn::kernels::threads::room_for;
use temper_protocol::project::Validation;
use temper_protocol::{Code, Problem, Project};

/// Model, tokenizer, data and method, ready for the first step.
pub struct Prepared {
    /// The model with the method on it.
    pub model: Model,
    /// Its tokenizer.
    pub codec: TextCodec,
    /// What is trained.
    pub attached: Attached,
    /// Batches from the start of the data.
    pub loader: Loader,
    /// Validation rows.
    pub validation: Vec<Example>,
    /// Files by [`Example::file`].
    pub files: Vec<PathBuf>,
    /// Whether rows are conversations, so that sample prompts go through the chat template.
    pub chat: bool,
    /// Longest row, tokens: the project's, cut to the model's context.
    pub max_tokens: usize,
    /// Optimiser steps of the whole run.
    pub total_steps: u64,
    /// Trained tokens of all training rows.
    pub trained_tokens: u64,
    /// What a person should know, as (code, text).
    pub warnings: Vec<(String, String)>,
}

/// Reads the tokenizer of a model. `random:CONFIG.json` has it beside the configuration.
///
/// # Errors
/// It is missing, damaged or of an unknown kind; the project's chat template has an error.
pub fn load_codec(source: &ModelSource, model_path: &Path, project: &Project) -> Result<TextCodec> {
    let codec = match source {
        ModelSource::Gguf(file) => {
            let Some(parts) = gguf_tokenizer_parts(file)? else {
                let action = "use a GGUF file with tokenizer metadata, or a Hugging Face folder";
                let what = "the file has no tokenizer";
                let place = model_path.display().to_string();
                return Err(Problem::new(Code::TokenizerInvalid, what, place, action).into());
            };
            TextCodec::from_gguf(parts)?
        }
        ModelSource::HfFolder(folder) => TextCodec::from_hf_folder(&folder.dir)?,
        ModelSource::Random => TextCodec::from_hf_folder(model_path.parent().unwrap_or_else(|| Path::new(".")))?,
    };
    Ok(match &project.data.chat_template {
        Some(template) => codec.with_chat_template(template)?,
        None => codec,
    })
}

/// Loads the base of a project with the adapters that lie frozen on it, without a method.
///
/// # Errors
/// As [`load_base`]; an adapter that does not fit, or a project that names adapters which nobody resolved.
pub fn load_beneath(
    project: &Project,
    model_path: &Path,
    beneath: Option<&Beneath>,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Model> {
    let mut model = load_base(project, model_path, progress)?;
    match beneath {
        Some(beneath) => (beneath.lay)(&mut model)?,
        None if project.model.adapters.is_empty() => {}
        None => return Err(Problem::internal("the adapters beneath the run were not resolved").into()),
    }
    Ok(model)
}

/// Loads the base of a request without anything on it.
///
/// # Errors
/// Everything that can be wrong with a model file.
pub fn load_base(project: &Project, model_path: &Path, progress: &mut dyn FnMut(&str, u64, u64)) -> Result<Model> {
    if temper_protocol::named::random(&project.model.path).is_some() {
        return Ok(Model::random_from_file(model_path, project.train.seed, project.model.base.parse()?)?);
    }
    Ok(Model::load(model_path, project.model.base.parse()?, progress)?)
}

/// Where starts come from that a method takes from the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starts {
    /// From the data, now.
    Found,
    /// From a checkpoint that is loaded next, or nobody needs them.
    Loaded,
}

/// Reads model and data, attaches the method. Says each wait by name.
///
/// # Errors
/// Model, tokenizer, data, method or settings that cannot be used; a stop or cancel.
pub fn prepare(request: &TrainRequest, starts: Starts, watch: &Watch<'_>) -> Result<Prepared> {
    let project = &request.project;
    watch.preparing("reading the model", 0, 0, "bytes");
    let mut model = load_beneath(project, &request.model_path, request.beneath.as_ref(), &mut |stage, done, total| {
        watch.preparing(stage, done, total, "bytes");
    })?;
    watch.check()?;
    let codec = load_codec(&model.source, &request.model_path, project)?;
    if codec.vocabulary() > model.config.vocab_size() {
        let what =
            format!("the tokenizer has {} tokens, the model only {}", codec.vocabulary(), model.config.vocab_size());
        let place = request.model_path.display().to_string();
        let action = "use the tokenizer that was published with the model";
        return Err(Problem::new(Code::TokenizerInvalid, what, place, action).into());
    }
    let mut warnings = Vec::new();
    warnings.extend(how_held(&model).map(|text| ("base".to_owned(), text)));
    if let Some(beneath) = &request.beneath {
        let text =
            format!("frozen on the base: {}; what they do is part of what is measured as the base", beneath.names);
        warnings.push(("adapters".to_owned(), text));
    }
    let context = model.config.context();
    let max_tokens = project.data.max_tokens.min(context);
    if max_tokens < project.data.max_tokens {
        let text = format!(
            "the model reads at most {context} tokens at once: rows are cut there, not at {}",
            project.data.max_tokens
        );
        warnings.push(("context".to_owned(), text));
    }
    let dataset = load_data(request, &codec, max_tokens, watch)?;
    warnings.extend(dataset.warnings.iter().map(|text| ("data".to_owned(), text.clone())));
    let settings = BatchSettings {
        batch: project.train.batch,
        max_tokens,
        packing: project.data.packing,
        seed: project.train.seed,
        pad_id: codec.pad_id(),
    };
    let Dataset { train, validation, files, schema, .. } = dataset;
    let train = Arc::new(train);
    let mut attached = match starts {
        Starts::Found => attach_on(&mut model, project, &mut looked_at(&train, settings, watch))?,
        Starts::Loaded => attach(&mut model, project)?,
    };
    if let (Some(from), None) = (&request.start_from, &request.resume) {
        attached.params = take_over(&mut model, from)?;
    }
    warnings.extend(attached.notes.iter().map(|text| ("method".to_owned(), text.clone())));
    let trained_tokens = train.iter().map(|example| example.trained_tokens() as u64).sum();
    let chat = !matches!(schema.name(), "text" | "segments" | "raw-completion");
    let loader = Loader::new(train, settings)?;
    let total_steps = match project.train.epochs {
        Some(epochs) => loader.steps_for_epochs(epochs, project.train.accumulate),
        None => project.train.steps,
    };
    if project.train.warmup_steps >= total_steps && total_steps > 1 {
        let text = format!(
            "the warm-up of {} steps is as long as the run of {total_steps}: the peak learning rate is reached only at \
             its end",
            project.train.warmup_steps
        );
        warnings.push(("warmup".to_owned(), text));
    }
    Ok(Prepared {
        model,
        codec,
        attached,
        loader,
        validation,
        files,
        chat,
        max_tokens,
        total_steps,
        trained_tokens,
        warnings,
    })
}

/// Batches of the training data for methods that look at the layers' inputs first: the run's own, from their start.
fn looked_at<'a>(
    train: &'a Arc<Vec<Example>>,
    settings: BatchSettings,
    watch: &'a Watch<'_>,
) -> impl FnMut(usize, usize) -> Result<Option<Tokens>> + 'a {
    let mut pass: Option<(Loader, usize)> = None;
    move |number, most| {
        watch.check()?;
        let (loader, rows) = match &mut pass {
            Some(pass) if number > 0 => pass,
            pass => pass.insert((Loader::new(Arc::clone(train), settings)?, 0)),
        };
        // No more often than once.
        if *rows >= most.min(loader.rows_per_epoch()) {
            return Ok(None);
        }
        watch.preparing("looking at the inputs of the layers", *rows as u64, most as u64, "rows");
        let batch = loader.next_batch();
        *rows += batch.rows;
        Ok(Some(tokens_of(batch, false, settings.seed, 0, 0)))
    }
}

/// What a person should know of a base that was rounded while it was read.
fn how_held(model: &Model) -> Option<String> {
    let held = model.held();
    if !held.linear.is_memory_only() {
        return None;
    }
    let (linear, table, mib) = (held.linear.name(), held.table.name(), |bytes: u64| bytes as f64 / f64::from(1 << 20));
    let mut text = format!(
        "linear weights are held as {linear} ({} bits a value), the embedding as {table}, norms as f32: {:.0} MiB in \
         memory, {:.0} in the file",
        held.linear.bits_per_value(),
        mib(held.bytes),
        mib(held.source_bytes)
    );
    if let Some(stored) = model.main_storage().filter(|stored| !stored.is_float()) {
        let (stored, bits) = (stored.name(), stored.bits_per_value());
        text.push_str(&format!(
            "; the file has {stored} ({bits} bits), so they are rounded a second time: model.base = \"auto\" would keep \
             them as they are"
        ));
    }
    Some(text)
}

fn load_data(request: &TrainRequest, codec: &TextCodec, max_tokens: usize, watch: &Watch<'_>) -> Result<Dataset> {
    let project = &request.project;
    let validation = match (&request.validation_path, &project.data.validation) {
        (Some(path), _) => ValidationSource::Path(path.clone()),
        (None, Validation::Share(share)) => ValidationSource::Share(*share),
        (None, Validation::Path(path)) => ValidationSource::Path(PathBuf::from(path)),
    };
    let sources = request.data_sources.clone();
    let seed = project.train.seed;
    let mut load = LoadRequest::from_project(&project.data, sources, validation, seed, request.cache_dir.clone())?;
    load.max_tokens = max_tokens;
    let mut progress = |progress: temper_data::Progress| {
        watch.preparing(progress.stage, progress.done, progress.total, progress.unit);
    };
    let loaded = Dataset::load(&load, codec, &mut progress, &|| watch.is_ending());
    match loaded {
        Err(DataError::Cancelled) => {
            watch.check()?;
            Err(TrainError::Cancelled)
        }
        other => Ok(other?),
    }
}

/// What the driver takes of a batch whose first row is row `first_row` of its step.
#[must_use]
pub fn tokens_of(batch: Batch, training: bool, seed: u64, step: u64, first_row: u64) -> Tokens {
    let ctx = ForwardContext {
        training,
        seed,
        step,
        rows_in_step: (first_row..).take(batch.rows).collect(),
        batch: batch.rows,
        width: batch.width,
        positions: batch.positions.into(),
        borders: Arc::new(batch.borders),
    };
    Tokens { ids: batch.tokens.into(), targets: batch.targets.into(), ctx, examples: batch.examples.into() }
}

/// Hashes the base and the program on a thread of its own, so that nobody waits for a large model.
pub struct Hashing {
    worker: JoinHandle<Result<(String, String)>>,
    stamps: Arc<Stamps>,
}

/// Where the hashes of files are remembered, beside what was measured of the base.
const STAMPS_FILE: &str = "hashes.json";
/// Stack of the thread that reads files for their hashes.
const HASHING_STACK_BYTES: usize = 2 << 20;

impl Hashing {
    /// Starts.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(request: &TrainRequest) -> Result<Self> {
        let base = request.model_path.clone();
        let list = request.base_cache_dir.as_ref().map(|folder| folder.join(STAMPS_FILE));
        let stamps = Arc::new(Stamps::load(list));
        let known = Arc::clone(&stamps);
        let work = move || {
            let base = hashes::of_paths_with(&[base], &|path| known.hash(path))?;
            // A program that is no file any more has no hash.
            let program = std::env::current_exe().ok().and_then(|path| known.hash(&path).ok());
            Ok((base, program.unwrap_or_default()))
        };
        let refused = |error: std::io::Error| {
            let what = format!("the system gives no thread for checking the files, or no memory for it: {error}");
            Problem::new(Code::OutOfMemory, what, request.model_path.display().to_string(), "close other programs")
        };
        room_for(1, HASHING_STACK_BYTES).map_err(refused)?;
        let worker = std::thread::Builder::new()
            .name("temper-hashes".to_owned())
            .stack_size(HASHING_STACK_BYTES)
            .spawn(work)
            .map_err(refused)?;
        Ok(Self { worker, stamps })
    }

    /// Waits for base and program and hashes the rest: the data files that were read, kept sets, settings. The second
    /// result is the program's hash, empty when it cannot be told.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn finish(self, request: &TrainRequest, data_files: &[PathBuf], watch: &Watch<'_>) -> Result<(Hashes, String)> {
        watch.preparing("checking the files", 0, 0, "bytes");
        let probes: Vec<PathBuf> = request.probes.iter().map(|(_, path)| path.clone()).collect();
        let of = |paths: &[PathBuf]| hashes::of_paths_with(paths, &|path| self.stamps.hash(path));
        let (data, probes) = (of(data_files)?, of(&probes)?);
        let failed = |_panic| TrainError::from(Problem::internal("hashing the model failed"));
        let (base, program) = self.worker.join().map_err(failed)??;
        self.stamps.save();
        let adapters = hashes::of_beneath(request.beneath.as_ref())?;
        let settings = hashes::of_settings(&request.project)?;
        let settings_any_length = hashes::of_settings_any_length(&request.project)?;
        Ok((Hashes { base, adapters, data, probes, settings, settings_any_length }, program))
    }
}
