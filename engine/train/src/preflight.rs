//! What a run would need, measured on one real step in a scratch state.

use crate::attach::dims_of;
use crate::best::Rule;
use crate::control::RunControl;
use crate::driver::{Driver, Tokens, kept_bytes_per_token};
use crate::error::Result;
use crate::eval::Validation;
use crate::meter::{Meter, free_disk_mib, free_memory_mib, most_memory_mib};
use crate::phases::PhaseClock;
use crate::prefix::needed_mib;
use crate::prepare::{Prepared, Starts, prepare, tokens_of};
use crate::remedies::{self, Tight};
use crate::request::TrainRequest;
use crate::saving::{adamw, moment_storage};
use crate::sensors::Sensors;
use crate::session::{kept_blocks, kept_windows, layout};
use crate::snapshots;
use crate::threads::{on_pool, threads_for};
use crate::watch::Watch;
use std::time::Instant;
use temper_data::{Example, eval_batches};
use temper_models::Model;
use temper_nn::{AdamW, Grads};
use temper_protocol::{Code, Event, Problem, Project, StorageType};

const MIB: f64 = 1024.0 * 1024.0;
/// Bytes of a trained number itself, in memory and in a checkpoint; its gradient takes as many.
const VALUE_BYTES: f64 = 4.0;
/// Passes over the data above which a person is told.
const MANY_EPOCHS: f64 = 20.0;

/// Measures one real micro-step at the longest rows and answers with [`Event::Preflight`]; emits
/// [`Event::Preparing`] while it works. Writes nothing but the token cache.
///
/// # Errors
/// Model, data, method or project that cannot be used; a stop or cancel.
pub fn preflight(request: &TrainRequest, control: &RunControl, emit: &mut dyn FnMut(Event)) -> Result<Event> {
    let threads = threads_for(request.project.train.threads);
    on_pool(request.run, threads, control, emit, |watch| measure(request, watch))
}

/// What the measured step cost.
#[derive(Debug, Default)]
struct Cost {
    /// Forward and backward of one micro-step, seconds.
    micro_secs: f64,
    /// Forward only, seconds a token.
    forward_secs_per_token: f64,
    optimiser_secs: f64,
    /// Joules of the same two; nothing where the system does not tell.
    micro_joules: Option<f64>,
    optimiser_joules: Option<f64>,
    peak_rss_mib: f64,
    memory_taken_mib: f64,
}

impl Cost {
    /// Joules of a step of `accumulate` micro-steps; nothing where the counters tell nothing or have not moved: they do
    /// so about once a millisecond.
    fn step_joules(&self, accumulate: usize) -> Option<f64> {
        let joules = self.micro_joules? * accumulate as f64 + self.optimiser_joules?;
        (joules > 0.0).then_some(joules)
    }
}

fn measure(request: &TrainRequest, watch: &Watch<'_>) -> Result<Event> {
    let mut meter = Meter::start();
    let rss_before = meter.rss_mib();
    let prepared = prepare(request, Starts::Loaded, watch)?;
    let project = &request.project;
    let layout = layout(project, prepared.max_tokens, prepared.codec.pad_id());
    let longest = longest_batch(prepared.loader.examples(), project.data.packing, layout);
    let Some(tokens) = longest else {
        return Err(Problem::internal("the data has no row to measure with").into());
    };
    watch.preparing("measuring a step", 0, 0, "steps");
    let wanted_mib = expected_mib(request, &prepared, &tokens);
    let measured = wanted_mib <= free_memory_mib();
    let cost = if measured {
        one_step(request, &prepared, &tokens, (&mut meter, &mut Sensors::of_this_machine()), rss_before, watch)?
    } else {
        // Measuring would end this process.
        Cost { peak_rss_mib: rss_before + wanted_mib, memory_taken_mib: wanted_mib, ..Cost::default() }
    };

    let train = &project.train;
    let steps = request.max_steps.unwrap_or(prepared.total_steps).min(prepared.total_steps);
    let step_secs = cost.micro_secs * train.accumulate as f64 + cost.optimiser_secs;
    let times = |every: u64| 1.0 + steps.checked_div(every).unwrap_or(1) as f64;
    let validation = Validation::new(&prepared.validation, train.eval_rows, layout);
    let eval_tokens = validation.map_or(0, |validation| validation.positions()) as f64;
    let context = prepared.model.config.context();
    let width = temper_data::ProbeSet::WIDTH.min(context);
    let kept_tokens = (kept_windows(project, &prepared, context) * width * request.probes.len()) as f64;
    let mut kept_times = times(project.keep.every_steps);
    if Rule::of(project, !request.probes.is_empty()).needs_forgetting() {
        kept_times = kept_times.max(times(train.eval_steps));
    }
    let measuring = eval_tokens * times(train.eval_steps) + kept_tokens * kept_times;
    let total_secs = step_secs * steps as f64 + cost.forward_secs_per_token * measuring;

    let trained_parameters = prepared.attached.params.elements() as u64;
    let moment_bytes = moment_storage(&project.train).bytes_per_value();
    let checkpoint_mib = trained_parameters as f64 * (VALUE_BYTES + moment_bytes) / MIB;
    let snapshots_mib =
        snapshots::expected_mib(prepared.attached.params.elements(), prepared.total_steps, train.snapshot_mib);
    let checkpoints_mib = checkpoint_mib * (train.keep_checkpoints + 4) as f64 + snapshots_mib;
    let driver = Driver::new(&prepared.model, true);
    let prefix_mib = needed_mib(&prepared.loader, train, prepared.total_steps, &prepared.model, &driver);
    let prefix_mib = if prefix_mib <= train.prefix_cache_mib as f64 { prefix_mib } else { 0.0 };
    let export_mib = project.export.formats.iter().map(|format| export_mib(format, request, &prepared)).sum::<f64>();
    let disk_mib = checkpoints_mib + export_mib + prefix_mib;
    // What the scratch state holds is free again when the run starts.
    let held = if measured { cost.memory_taken_mib } else { 0.0 };
    let (free_memory_mib, free_disk_mib) = (free_memory_mib() + held, free_disk_mib(&request.run_dir));
    let mut warnings: Vec<String> = prepared.warnings.iter().map(|(_, text)| text.clone()).collect();
    if !measured {
        warnings.push("the step was not measured, because it would not fit: its time is not known".to_owned());
    }
    let fits_memory = cost.memory_taken_mib <= free_memory_mib;
    if !fits_memory {
        warnings.push(format!(
            "{:.0} MiB of memory needed, {free_memory_mib:.0} free: lower train.batch or data.max_tokens, or set \
             train.recompute = \"on\"",
            cost.memory_taken_mib
        ));
    }
    let remedies = if fits_memory {
        Vec::new()
    } else {
        let forward_share = cost.forward_secs_per_token * tokens.ids.len() as f64 / cost.micro_secs;
        let tight = Tight {
            needed_mib: cost.memory_taken_mib,
            free_mib: free_memory_mib,
            forward_share: forward_share.is_finite().then_some(forward_share),
        };
        remedies::find(project, &prepared, &tokens, &tight)
    };
    let fits_disk = disk_mib <= free_disk_mib;
    if !fits_disk {
        warnings.push(format!(
            "{disk_mib:.0} MiB of disk needed, {free_disk_mib:.0} free: lower train.keep_checkpoints or \
             train.snapshot_mib, or export fewer formats"
        ));
    }
    let rows = steps as f64 * (train.batch * train.accumulate) as f64;
    let epochs = rows / prepared.loader.rows_per_epoch().max(1) as f64;
    if epochs > MANY_EPOCHS {
        warnings.push(format!("every row is seen about {epochs:.0} times: the model may learn them by heart"));
    }
    if prepared.validation.is_empty() {
        warnings.push("there are no validation rows: the newest checkpoint counts as the best".to_owned());
    }
    Ok(Event::Preflight {
        fits: fits_memory && fits_disk,
        peak_rss_mib: cost.peak_rss_mib,
        step_secs,
        total_secs,
        disk_mib,
        warnings,
        free_memory_mib,
        free_disk_mib,
        checkpoints_mib,
        export_mib,
        trained_parameters,
        max_steps: steps,
        remedies,
        step_joules: cost.step_joules(train.accumulate),
    })
}

/// [`step_mib`] of the run as it was asked for.
fn expected_mib(request: &TrainRequest, prepared: &Prepared, tokens: &Tokens) -> f64 {
    step_mib(&request.project, prepared, tokens.ids.len() as f64, prepared.max_tokens)
}

/// Memory that a step of `positions` tokens takes beside the mapped model, MiB, by count: value, gradient and two moments
/// of every trained number, activations of the blocks that keep them and, where others compute them again, of one more and
/// every block's input. `project` may differ from the prepared one in its batch, its length and what is computed again.
pub(crate) fn step_mib(project: &Project, prepared: &Prepared, positions: f64, max_tokens: usize) -> f64 {
    let model = &prepared.model;
    let blocks = model.blocks.len() as f64;
    let bytes = 2.0 * VALUE_BYTES + moment_storage(&project.train).bytes_per_value();
    let trained = prepared.attached.params.elements() as f64 * bytes;
    let per_block = kept_bytes_per_token(model) * positions;
    let kept = kept_blocks(project, model, max_tokens) as f64;
    let again = if kept < blocks {
        2.0 * per_block + blocks * positions * model.config.hidden_size() as f64 * 4.0
    } else {
        0.0
    };
    let activations = kept * per_block + again;
    (trained + activations) / MIB
}

/// Refuses a run whose step would take more memory than there is at all, and warns when it takes more than is free.
///
/// # Errors
/// The problem with both figures.
pub(crate) fn check_memory(request: &TrainRequest, prepared: &Prepared, watch: &Watch<'_>) -> Result<()> {
    let project = &request.project;
    let layout = layout(project, prepared.max_tokens, prepared.codec.pad_id());
    let longest = longest_batch(prepared.loader.examples(), project.data.packing, layout);
    let Some(tokens) = longest else { return Ok(()) };
    let (wanted_mib, free_mib, most_mib) =
        (expected_mib(request, prepared, &tokens), free_memory_mib(), most_memory_mib());
    let remedy = "lower train.batch or data.max_tokens, or set train.recompute = \"on\"";
    if most_mib > 0.0 && wanted_mib > most_mib {
        let what = format!(
            "a step needs about {wanted_mib:.0} MiB of memory beside the model, and there are only {most_mib:.0} MiB in all"
        );
        let place = format!("train.batch = {}, {} tokens a step", project.train.batch, tokens.ids.len());
        return Err(Problem::new(Code::OutOfMemory, what, place, remedy).into());
    }
    if free_mib > 0.0 && wanted_mib > free_mib {
        let text =
            format!("a step needs about {wanted_mib:.0} MiB of memory, and {free_mib:.0} MiB are free: {remedy}");
        watch.warn("memory_tight", text);
    }
    Ok(())
}

/// The batch with the most tokens: the longest rows, packed as the project packs.
fn longest_batch(examples: &[Example], packing: bool, layout: crate::eval::Layout) -> Option<Tokens> {
    let mut longest: Vec<&Example> = examples.iter().filter(|example| example.trained_tokens() > 0).collect();
    longest.sort_by_key(|example| std::cmp::Reverse(example.ids.len()));
    let wanted = layout.batch * layout.max_tokens;
    let mut tokens = 0;
    let chosen: Vec<Example> = longest
        .into_iter()
        .take_while(|example| {
            let more = tokens < wanted;
            tokens += example.ids.len();
            more
        })
        .cloned()
        .collect();
    let batches = eval_batches(&chosen, layout.batch, layout.max_tokens, packing, layout.pad_id);
    batches.into_iter().next().map(|batch| tokens_of(batch, true, 0, 1, 0))
}

fn one_step(
    request: &TrainRequest,
    prepared: &Prepared,
    tokens: &Tokens,
    (meter, sensors): (&mut Meter, &mut Sensors),
    rss_before: f64,
    watch: &Watch<'_>,
) -> Result<Cost> {
    let (model, project) = (&prepared.model, &request.project);
    let mut driver = Driver::keeping(model, kept_blocks(project, model, prepared.max_tokens));
    driver.imitate(prepared.attached.imitation);
    let mut clock = PhaseClock::default();
    let mut grads = Grads::new();
    // The first pass reads the model's pages and grows the buffers; the second is what a step costs.
    let (mut micro_secs, mut micro_joules) = (0.0, None);
    for _ in 0..2 {
        watch.check()?;
        clock = PhaseClock::default();
        sensors.joules();
        let started = Instant::now();
        driver.micro_step(model, tokens, (1e-3, 1.0), &mut grads, &mut clock)?;
        micro_secs = started.elapsed().as_secs_f64();
        micro_joules = sensors.joules();
    }
    let forward = clock.take().get("forward").copied().unwrap_or(micro_secs);
    let started = Instant::now();
    grads.clip_global_norm(1.0)?;
    AdamW::new(adamw(&project.train)).step(&prepared.attached.params, &grads, 0.0)?;
    let optimiser_secs = started.elapsed().as_secs_f64();
    let optimiser_joules = sensors.joules();
    let peak_rss_mib = meter.peak_rss_mib();
    Ok(Cost {
        micro_secs,
        forward_secs_per_token: forward / tokens.ids.len().max(1) as f64,
        optimiser_secs,
        micro_joules,
        optimiser_joules,
        peak_rss_mib,
        memory_taken_mib: (peak_rss_mib - rss_before).max(0.0),
    })
}

/// Size of an export: adapters in f32, merged models in their own or the chosen storage type.
fn export_mib(format: &str, request: &TrainRequest, prepared: &Prepared) -> f64 {
    if matches!(format, "peft" | "gguf-lora" | "native" | "mlx" | "capsule") {
        let trained = prepared.attached.params.elements() as u64;
        return adapter_entries(format, &request.project, &prepared.model).unwrap_or(trained) as f64 * 4.0 / MIB;
    }
    let bytes = match request.project.export.dtype.as_deref().and_then(StorageType::from_name) {
        Some(dtype) => parameters(&prepared.model) * dtype.bytes_per_value(),
        None if format == "hf" => parameters(&prepared.model) * 4.0,
        None => prepared.model.memory_bytes() as f64,
    };
    bytes / MIB
}

/// Numbers in an adapter file, where the plan of the method says it: a format without a type for the method holds two
/// factors for each layer, which may be more than what is trained.
fn adapter_entries(format: &str, project: &Project, model: &Model) -> Option<u64> {
    let method = temper_methods::find(&project.method.id).ok()?;
    let price = temper_methods::price::price(method, &project.method.settings, &dims_of(model))?;
    match format {
        "peft" => price.peft_parameters,
        "gguf-lora" | "mlx" => price.gguf_lora_parameters,
        _ => None,
    }
}

fn parameters(model: &Model) -> f64 {
    model.parameter_count() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_draws_what_its_parts_draw_and_is_silent_where_one_is_not_known() {
        let cost = |micro: Option<f64>, optimiser: Option<f64>| Cost {
            micro_joules: micro,
            optimiser_joules: optimiser,
            ..Cost::default()
        };
        assert_eq!(cost(Some(2.0), Some(0.5)).step_joules(4), Some(8.5));
        assert_eq!(cost(Some(2.0), None).step_joules(4), None);
        assert_eq!(cost(None, None).step_joules(1), None);
        assert_eq!(cost(Some(0.0), Some(0.0)).step_joules(1), None, "the counters have not moved");
    }
}
