//! `bench data`: how fast rows become tokens, how full packed rows are, and whether a step ever waits for its batch.
//!
//! Place in the data flow: the host calls [`data`] with a data file and the model whose tokenizer is used; the answer is
//! a table. Reading and tokenising are measured apart, tokenising on one thread and more.

use crate::control::RunControl;
use crate::error::{Result, TrainError};
use crate::prepare::load_codec;
use crate::threads::{on_pool, threads_for};
use crate::watch::Watch;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use temper_data::{
    Batch, BatchSettings, DataError, Dataset, Example, LoadRequest, Loader, Prefetcher, TextCodec, ValidationSource,
    eval_batches, read,
};
use temper_models::ModelSource;
use temper_protocol::event::{Figure, Figures};
use temper_protocol::{Code, Event, Problem, Project};

/// A piece of work is repeated for this long at least.
const LEAST_TIME: Duration = Duration::from_millis(200);
/// Batches made ahead, as in a run.
const PREFETCH: usize = 3;
/// Steps of which the waiting is measured.
const STEPS: usize = 40;
/// A step shorter than any real one: if its batch is ready then, it always is.
const STEP: Duration = Duration::from_millis(10);
const MEGA: f64 = 1e6;

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct DataBenchRequest {
    /// Names the data's settings: schema, columns, which tokens are trained.
    pub project: Project,
    /// The model whose tokenizer is used.
    pub model_path: PathBuf,
    /// Data file or folder.
    pub path: PathBuf,
    /// Longest row, tokens.
    pub width: usize,
    /// Rows a batch.
    pub batch: usize,
    /// Most threads; 0 chooses.
    pub threads: usize,
    /// Only the first look and single rows.
    pub preview: bool,
    /// An empty folder for a token cache.
    pub scratch: PathBuf,
}

/// Measures and answers with [`Event::Figures`]. Writes nothing but the cache in `scratch`.
///
/// # Errors
/// A model or data that cannot be used; a cancel.
pub fn data(request: &DataBenchRequest, control: &RunControl, emit: &mut dyn FnMut(Event)) -> Result<Event> {
    let threads = threads_for(request.threads);
    on_pool(0, threads, control, emit, |watch| measure(request, threads, watch))
}

/// Rows of the table.
#[derive(Default)]
pub(super) struct Table(pub(super) Vec<Vec<Figure>>);

impl Table {
    pub(super) fn add(&mut self, what: impl Into<String>, value: f64, unit: &str) {
        self.0.push(vec![what.into().into(), value.into(), unit.into()]);
    }

    pub(super) fn event(self, text: String) -> Event {
        let columns = ["measured", "value", "unit"].map(str::to_owned).to_vec();
        Event::Figures(Figures { what: "data".to_owned(), text, columns, rows: self.0 })
    }
}

fn measure(request: &DataBenchRequest, threads: usize, watch: &Watch<'_>) -> Result<Event> {
    if request.batch == 0 || request.width < 2 {
        let action = "take at least one row a batch and two tokens a row";
        return Err(Problem::new(Code::Usage, "there is nothing to measure", "bench data", action).into());
    }
    let source = ModelSource::open(&request.model_path)?;
    let codec = load_codec(&source, &request.model_path, &request.project)?;
    let mut table = Table::default();
    if request.preview {
        return super::look::look(request, codec, watch);
    }
    watch.preparing("reading", 0, 0, "rows");
    reading(request, watch, &mut table)?;
    let mut dataset = None;
    let mut count = 1;
    while count <= threads {
        watch.preparing("tokenising", count as u64, threads as u64, "threads");
        dataset = Some(tokenising(request, &codec, count, watch, &mut table)?);
        count = if count == threads { threads + 1 } else { (2 * count).min(threads) };
    }
    cached(request, &codec, watch, &mut table)?;
    let Some(dataset) = dataset else {
        return Err(Problem::internal("the data was not tokenised").into());
    };
    watch.preparing("batches", 0, 0, "batches");
    let examples = Arc::new(dataset.train);
    filling(request, &examples, codec.pad_id(), watch, &mut table)?;
    waiting(request, &examples, codec.pad_id(), watch, &mut table)?;
    let text = format!(
        "{} rows of {} tokens in the middle and {} at most, in rows of {} tokens, {} rows a batch",
        examples.len(),
        dataset.stats.median_tokens,
        dataset.stats.longest_tokens,
        request.width,
        request.batch
    );
    Ok(table.event(text))
}

/// Repeats `work` for at least [`LEAST_TIME`] and gives the mean seconds of a repetition.
fn mean_secs(watch: &Watch<'_>, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let (begin, mut repeats) = (Instant::now(), 0.0);
    while repeats == 0.0 || begin.elapsed() < LEAST_TIME {
        watch.check()?;
        work()?;
        repeats += 1.0;
    }
    Ok(begin.elapsed().as_secs_f64() / repeats)
}

/// Rows and bytes a second through the reader alone.
fn reading(request: &DataBenchRequest, watch: &Watch<'_>, table: &mut Table) -> Result<()> {
    let files = read::list(&request.path)?;
    let (mut rows, mut bytes) = (0_u64, 0_u64);
    let secs = mean_secs(watch, || {
        (rows, bytes) = (0, 0);
        for file in files.train.iter().chain(&files.validation) {
            let (_, mut source) = read::open(&file.path)?;
            while source.next_item()?.is_some() {
                rows += 1;
            }
            bytes += source.bytes_read();
        }
        Ok(())
    })?;
    table.add("read, one thread", rows as f64 / secs, "rows/s");
    table.add("read, one thread", bytes as f64 / MEGA / secs, "MB/s");
    Ok(())
}

fn load(request: &DataBenchRequest, codec: &TextCodec, cache: Option<PathBuf>, watch: &Watch<'_>) -> Result<Dataset> {
    let (data, seed) = (&request.project.data, request.project.train.seed);
    let train = vec![(request.path.clone(), 1.0)];
    let mut load = LoadRequest::from_project(data, train, ValidationSource::Share(0.0), seed, cache)?;
    load.max_tokens = request.width;
    match Dataset::load(&load, codec, &mut |_| (), &|| watch.is_ending()) {
        Err(DataError::Cancelled) => {
            watch.check()?;
            Err(TrainError::Cancelled)
        }
        other => Ok(other?),
    }
}

/// Tokens a second from the file to token rows, on `threads` threads.
fn tokenising(
    request: &DataBenchRequest,
    codec: &TextCodec,
    threads: usize,
    watch: &Watch<'_>,
    table: &mut Table,
) -> Result<Dataset> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| Problem::internal(format!("no threads for tokenising: {error}")))?;
    let mut dataset = None;
    let secs = mean_secs(watch, || {
        dataset = Some(pool.install(|| load(request, codec, None, watch))?);
        Ok(())
    })?;
    let dataset = dataset.ok_or_else(|| Problem::internal("the data was not tokenised"))?;
    let name = if threads == 1 {
        "read and tokenised, 1 thread".to_owned()
    } else {
        format!("read and tokenised, {threads} threads")
    };
    table.add(name, dataset.stats.tokens as f64 / secs, "tokens/s");
    Ok(dataset)
}

/// Tokens a second from the token cache.
fn cached(request: &DataBenchRequest, codec: &TextCodec, watch: &Watch<'_>, table: &mut Table) -> Result<()> {
    let folder = Some(request.scratch.clone());
    load(request, codec, folder.clone(), watch)?;
    let mut tokens = 0;
    let secs = mean_secs(watch, || {
        tokens = load(request, codec, folder.clone(), watch)?.stats.tokens;
        Ok(())
    })?;
    table.add("from the token cache", tokens as f64 / secs, "tokens/s");
    Ok(())
}

fn loader(request: &DataBenchRequest, examples: &Arc<Vec<Example>>, packing: bool, pad_id: u32) -> Result<Loader> {
    let settings = BatchSettings {
        batch: request.batch,
        max_tokens: request.width,
        packing,
        seed: request.project.train.seed,
        pad_id,
    };
    Ok(Loader::new(Arc::clone(examples), settings)?)
}

/// Share of positions that hold tokens, in percent.
fn fill<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> f64 {
    let (mut real, mut positions) = (0_usize, 0_usize);
    for batch in batches {
        real += batch.real_tokens;
        positions += batch.rows * batch.width;
    }
    100.0 * real as f64 / positions.max(1) as f64
}

/// How full rows and batches of one epoch are.
fn filling(
    request: &DataBenchRequest,
    examples: &Arc<Vec<Example>>,
    pad_id: u32,
    watch: &Watch<'_>,
    table: &mut Table,
) -> Result<()> {
    let plain = eval_batches(examples, request.batch, request.width, false, pad_id);
    table.add("padding, rows in the file's order", 100.0 - fill(&plain), "% of positions");
    for (packing, name) in [(false, "padding, rows of similar length together"), (true, "padding, packed")] {
        watch.check()?;
        let mut loader = loader(request, examples, packing, pad_id)?;
        let steps = loader.steps_per_epoch(1);
        let batches: Vec<Batch> = (0..steps).map(|_| loader.next_batch()).collect();
        table.add(name, 100.0 - fill(&batches), "% of positions");
        if packing {
            let tokens: usize = examples.iter().map(|example| example.ids.len()).sum();
            let rows = loader.rows_per_epoch() * request.width;
            table.add("packed rows are full to", 100.0 * tokens as f64 / rows.max(1) as f64, "%");
        }
    }
    Ok(())
}

/// How long a batch takes to be made, and how long a short step waits for one that is made ahead.
fn waiting(
    request: &DataBenchRequest,
    examples: &Arc<Vec<Example>>,
    pad_id: u32,
    watch: &Watch<'_>,
    table: &mut Table,
) -> Result<()> {
    let mut plain = loader(request, examples, true, pad_id)?;
    let secs = mean_secs(watch, || {
        std::hint::black_box(plain.next_batch());
        Ok(())
    })?;
    table.add("a packed batch is made in", secs * MEGA, "us");
    let mut ahead = Prefetcher::spawn(loader(request, examples, true, pad_id)?, PREFETCH)?;
    let mut waits = Vec::with_capacity(STEPS);
    for _ in 0..STEPS {
        watch.check()?;
        std::thread::sleep(STEP);
        let asked = Instant::now();
        std::hint::black_box(ahead.next_batch()?);
        waits.push(asked.elapsed().as_secs_f64() * MEGA);
    }
    let longest = waits.iter().copied().fold(0.0, f64::max);
    let name = format!("waiting for a batch, steps of {} ms", STEP.as_millis());
    table.add(format!("{name}, median"), super::median(waits), "us");
    table.add(format!("{name}, longest"), longest, "us");
    Ok(())
}
