//! `bench train`: what an optimiser step costs, beside what this machine's matrix products allow. `bench ops` is a
//! neighbour.
//!
//! Place in the data flow: the host calls [`train`]; real stages, real method and real optimiser run on random
//! tokens, so that the figure depends on no data set, or on the rows of a data file ([`rows`]), so that it shows what
//! padding and prompts cost. The reference rate is measured right after the steps, in the same process, with products
//! of other people's libraries over the step's own list of shapes.

mod data;
pub mod load;
mod look;
mod ops;
mod products;
pub mod rows;

use crate::attach::{Attached, attach};
use crate::control::RunControl;
use crate::driver::{Driver, Tokens};
use crate::error::{Result, TrainError};
use crate::meter::Meter;
use crate::phases::{Phase, PhaseClock};
use crate::prefix::PrefixCache;
use crate::prepare::load_base;
use crate::saving::adamw;
use crate::threads::{on_pool, threads_for};
use crate::watch::Watch;
pub use data::{DataBenchRequest, data};
pub use ops::ops;
use products::{Load, Products, reference_rate};
use rows::{Rows, RowsRequest};
use std::path::{Path, PathBuf};
use std::time::Instant;
use temper_models::Model;
use temper_nn::ops::IGNORE;
use temper_nn::rng::Stream;
use temper_nn::rules::{At, take_step};
use temper_nn::{AdamW, ForwardContext, Grads};
use temper_protocol::event::TrainBench;
use temper_protocol::{Code, Event, Problem, Project};

/// Token ids are drawn below this, as the reference script does.
const TOKEN_RANGE: u64 = 40_000;
/// Most tokens a step.
const MOST_TOKENS: usize = 1 << 24;
const GIGA: f64 = 1e9;
/// Steps of the run whose first ones are measured: rules that move directions work later in it.
const UNENDING: u64 = 1 << 30;

/// What is to be measured. The project names model, storage of the base, method, batch, threads, seed and whether
/// activations are recomputed; its data is not read.
#[derive(Debug, Clone)]
pub struct BenchRequest {
    /// Method settings are complete.
    pub project: Project,
    /// The base.
    pub model_path: PathBuf,
    /// Tokens per row.
    pub width: usize,
    /// Steps, of which the first is left out of the figures.
    pub steps: u64,
    /// Whether the outputs of frozen blocks are kept on disk, as from a run's second epoch on: the first step, which is
    /// not counted, fills the cache, the others read it.
    pub keep_prefix: bool,
    /// Rows of a data file instead of random tokens.
    pub rows: Option<RowsRequest>,
}

/// Runs the steps and answers with [`Event::Bench`]. Writes nothing.
///
/// # Errors
/// Model or method that cannot be used; a stop or cancel.
pub fn train(request: &BenchRequest, control: &RunControl, emit: &mut dyn FnMut(Event)) -> Result<Event> {
    let threads = threads_for(request.project.train.threads);
    on_pool(0, threads, control, emit, |watch| measure(request, threads, watch))
}

/// One measured step.
struct StepCost {
    secs: f64,
    cpu_secs: f64,
    page_faults: f64,
    load: Load,
}

impl StepCost {
    fn tokens_per_sec(&self) -> f64 {
        self.load.tokens as f64 / self.secs
    }
}

fn measure(request: &BenchRequest, threads: usize, watch: &Watch<'_>) -> Result<Event> {
    let project = &request.project;
    let tokens = project.train.batch.checked_mul(request.width);
    if request.steps < 2 || request.width < 2 || tokens.is_none_or(|tokens| tokens == 0 || tokens > MOST_TOKENS) {
        let action = "take at least 2 steps (the first is not counted) of at least 1 row of 2 tokens, at most 16 million \
                      tokens a step";
        return Err(Problem::new(Code::Usage, "there is nothing to measure", "bench train", action).into());
    }
    let mut meter = Meter::start();
    watch.preparing("reading the model", 0, 0, "bytes");
    let mut model = load_base(project, &request.model_path, &mut |stage, done, total| {
        watch.preparing(stage, done, total, "bytes");
    })?;
    check_width(&model, request.width, &request.model_path)?;
    let attached = attach(&mut model, project)?;
    let mut source = match &request.rows {
        Some(rows) => Source::Rows(Rows::open(rows, request, &model, watch)?),
        None => Source::Random(random_tokens(&model, project.train.batch, request.width, project.train.seed)),
    };
    let recompute = project.train.recompute == "on";
    let driver = Driver::new(&model, recompute);
    let mut optimiser = AdamW::new(adamw(&project.train));
    let folder =
        tempfile::tempdir().map_err(|error| TrainError::io(Path::new("the folder for temporary files"), error))?;
    let mut cache = if request.keep_prefix && driver.lowest_block() > 0 {
        Some(PrefixCache::create(folder.path(), &source.lengths(), &model, &driver)?)
    } else {
        None
    };
    let mut clock = PhaseClock::default();
    let (mut costs, mut losses) = (Vec::new(), Vec::new());
    for step in 1..=request.steps {
        watch.preparing("measuring steps", step - 1, request.steps, "steps");
        watch.check()?;
        let (cost, loss) = one_step(
            step,
            &mut model,
            &attached,
            (&driver, cache.as_mut()),
            &mut source,
            &mut optimiser,
            project,
            &mut clock,
            &mut meter,
        )?;
        losses.push(loss);
        if step == 1 {
            clock.take();
        } else {
            costs.push(cost);
        }
    }
    let peak_rss_mib = meter.peak_rss_mib();
    let count = costs.len() as f64;
    let phases = clock.take().into_iter().map(|(phase, secs)| (phase, secs / count)).collect();
    let median = |of: fn(&StepCost) -> f64| median(costs.iter().map(of).collect());
    let (secs, cpu_secs) = (median(|cost| cost.secs), median(|cost| cost.cpu_secs));
    let tokens_per_sec = median(StepCost::tokens_per_sec);
    let load = middle(&costs);
    let products = Products::of(&model, &attached.params, &driver, cache.is_some(), load);
    let useful_gflop = products.useful_flop() / GIGA;
    drop((optimiser, source, driver));
    watch.preparing("measuring this machine's matrix products", 0, 0, "shapes");
    let gemm_gflops = reference_rate(&products, watch)? / GIGA;
    let useful_gflops = useful_gflop / load.tokens.max(1) as f64 * tokens_per_sec;
    let mean = |of: fn(&Load) -> usize| costs.iter().map(|cost| of(&cost.load) as f64).sum::<f64>() / count;
    let tokens_per_step = mean(|load| load.tokens);
    Ok(Event::Bench(TrainBench {
        what: "train".to_owned(),
        steps: request.steps - 1,
        threads: threads as u64,
        tokens_per_step: tokens_per_step.round() as u64,
        trained_tokens_per_step: mean(|load| load.trained),
        padding_share: 1.0 - tokens_per_step / mean(|load| load.positions).max(1.0),
        tokens_per_sec,
        step_secs: secs,
        cpu_secs_per_step: cpu_secs,
        peak_rss_mib,
        useful_gflop_per_step: useful_gflop,
        useful_gflops,
        gemm_gflops,
        gemm_fraction: useful_gflops / gemm_gflops,
        page_faults_per_step: median(|cost| cost.page_faults),
        phase_secs: phases,
        losses,
    }))
}

fn check_width(model: &Model, width: usize, path: &Path) -> Result<()> {
    let context = model.config.context();
    if width <= context {
        return Ok(());
    }
    let what = format!("rows of {width} tokens are longer than the {context} that the model reads");
    Err(Problem::new(Code::Usage, what, path.display().to_string(), "take a smaller --seq").into())
}

/// Where the tokens of a step come from.
enum Source {
    /// The same in every step.
    Random(Tokens),
    /// The next rows of the data.
    Rows(Rows),
}

impl Source {
    /// Tokens of each example.
    fn lengths(&self) -> Vec<usize> {
        match self {
            Self::Random(tokens) => vec![tokens.ctx.width; tokens.ctx.batch],
            Self::Rows(rows) => rows.lengths.clone(),
        }
    }

    fn next(&mut self, step: u64) -> Result<Tokens> {
        match self {
            Self::Random(tokens) => Ok(tokens.clone()),
            Self::Rows(rows) => rows.next(step),
        }
    }
}

/// The load of the step with the median number of tokens.
fn middle(costs: &[StepCost]) -> Load {
    let mut loads: Vec<Load> = costs.iter().map(|cost| cost.load).collect();
    loads.sort_by_key(|load| load.tokens);
    let nothing = Load { tokens: 0, trained: 0, pairs: 0, window_pairs: 0, positions: 0 };
    loads.get(loads.len() / 2).copied().unwrap_or(nothing)
}

/// Rows of random tokens in which every position but the last is trained, as a language model's rows are.
fn random_tokens(model: &Model, batch: usize, width: usize, seed: u64) -> Tokens {
    let range = TOKEN_RANGE.min(model.config.vocab_size() as u64);
    let mut stream = Stream::new(seed, "bench.tokens");
    let ids: Vec<u32> = (0..batch * width).map(|_| stream.below(range) as u32).collect();
    let mut targets = Vec::with_capacity(ids.len());
    for row in ids.chunks(width) {
        targets.extend_from_slice(row.get(1..).unwrap_or_default());
        targets.push(IGNORE);
    }
    let ctx = ForwardContext { training: true, seed, ..ForwardContext::plain(batch, width) };
    Tokens { ids: ids.into(), targets: targets.into(), ctx, examples: (0..batch as u32).collect() }
}

#[expect(clippy::too_many_arguments, reason = "the parts of a training step")]
fn one_step(
    step: u64,
    model: &mut Model,
    attached: &Attached,
    (driver, cache): (&Driver, Option<&mut PrefixCache>),
    source: &mut Source,
    optimiser: &mut AdamW,
    project: &Project,
    clock: &mut PhaseClock,
    meter: &mut Meter,
) -> Result<(StepCost, f64)> {
    let (started, cpu_before, faults_before) = (Instant::now(), meter.cpu_secs(), Meter::page_faults());
    let tokens = source.next(step)?;
    clock.add(Phase::Data, started);
    let load = Load::of(&tokens, model.config.as_llama().sliding_window);
    let trained = load.trained.max(1) as f64;
    let mut grads = Grads::new();
    let prefix = match cache {
        Some(cache) => cache.states(model, driver, &tokens, clock)?,
        None => None,
    };
    let micro = driver.micro_step_from(prefix, model, &tokens, (1.0 / trained, 1.0), &mut grads, clock)?;
    let optimising = Instant::now();
    for site in model.sites() {
        site.map_grads(&mut grads)?;
    }
    if project.train.clip_norm > 0.0 {
        grads.clip_global_norm(project.train.clip_norm)?;
    }
    let (at, lr) = (At { step, total: UNENDING }, project.train.lr_peak);
    take_step(&mut model.sites_mut(), &attached.params, optimiser, &mut grads, lr, at)?;
    drop(grads);
    clock.add(Phase::Optimiser, optimising);
    let cost = StepCost {
        secs: started.elapsed().as_secs_f64(),
        cpu_secs: meter.cpu_secs() - cpu_before,
        page_faults: Meter::page_faults().saturating_sub(faults_before) as f64,
        load,
    };
    Ok((cost, micro.loss_sum / trained))
}

/// The middle value; the mean of the two middle ones.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.len() % 2, values.get(middle)) {
        (_, None) => f64::NAN,
        (1, Some(value)) => *value,
        (_, Some(value)) => (value + values.get(middle.wrapping_sub(1)).unwrap_or(value)) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two_in_the_middle() {
        assert_eq!(median(vec![5.0, 1.0, 3.0]), 3.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }
}
