//! A whole run: from paths to the last checkpoint.

use crate::checkpoint::{Checkpoints, Loaded, load, read_meta};
use crate::driver::Driver;
use crate::error::{Result, TrainError};
use crate::eval::{Layout, Validation};
use crate::exact::Exact;
use crate::hashes::Hashes;
use crate::meter::{Meter, free_memory_mib};
use crate::phases::PhaseClock;
use crate::prefix::PrefixCache;
use crate::prepare::{Hashing, Prepared, Starts, prepare};
use crate::probes::{Probes, windows_for};
use crate::request::{Outcome, StartFrom, TrainRequest};
use crate::run::{Run, Totals};
use crate::samples::Prompts;
use crate::saved::Saved;
use crate::saving::adamw;
use crate::schedule::Schedule;
use crate::sensors::Sensors;
use crate::sizes::Sizes;
use crate::snapshots::{self, Snapshots};
use crate::start::Start;
use crate::state::{ALL_STEPS, STATE_SCHEMA, State};
use crate::tensor_file::write_file;
use crate::threads::{on_pool, threads_for};
use crate::watch::Watch;
use crate::{RunControl, driver};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use temper_data::{Loader, Prefetcher};
use temper_models::Model;
use temper_nn::AdamW;
use temper_nn::device::{self, DeviceKind};
use temper_protocol::{Code, Event, Problem, Project, RunStatus, project_file};

/// Batches made ahead.
const PREFETCH: usize = 3;
/// Share of the free memory that kept activations may take where the project names no limit.
const KEPT_SHARE: f64 = 0.5;
/// What a run started from, in its folder.
const RUN_FILE: &str = "run.json";

/// Trains. Emits everything from `preparing` and `started` on, except the one `finished` event, which
/// the host makes of the [`Outcome`]. Runs on threads of its own; `emit` is called on the caller's.
///
/// A failure after `started` is an [`Outcome`] with status failed and its problem, so that the figures up
/// to it are kept.
///
/// # Errors
/// Whatever kept the run from starting: model, data, method or project that cannot be used, a checkpoint
/// that does not belong to them, a run folder that cannot be written.
pub fn train(request: &TrainRequest, control: &RunControl, emit: &mut dyn FnMut(Event)) -> Result<Outcome> {
    let threads = threads_for(request.project.train.threads);
    on_pool(request.run, threads, control, emit, |watch| match whole(request, threads, watch) {
        Err(TrainError::Stopped) => Ok(unstarted(RunStatus::Stopped)),
        Err(TrainError::Cancelled) => Ok(unstarted(RunStatus::Cancelled)),
        other => other,
    })
}

/// Sets where the run computes; says why that is the processor where a card was to be expected.
fn choose_device(wanted: &str, watch: &Watch<'_>) -> Result<DeviceKind> {
    let refused = |why: String| {
        let action = "set train.device = \"auto\", or use a build with that device";
        Problem::new(Code::Usage, why, format!("train.device = \"{wanted}\""), action)
    };
    let (kind, device, why) = device::choose(wanted).map_err(refused)?;
    device::set(device);
    if let Some(why) = why {
        watch.warn("device", why);
    }
    Ok(kind)
}

/// A run that was ended before its first step.
fn unstarted(status: RunStatus) -> Outcome {
    Outcome { status, problem: None, ..Outcome::failed(Problem::internal("")) }
}

fn whole(request: &TrainRequest, threads: usize, watch: &Watch<'_>) -> Result<Outcome> {
    let started = Instant::now();
    let mut meter = Meter::start();
    let device = choose_device(&request.project.train.device, watch)?;
    let hashing = Hashing::start(request)?;
    let resumed = match &request.resume {
        Some(from) => find_resume(from, &request.run_dir, watch)?,
        None => None,
    };
    let loaded = resumed.is_some() || matches!(request.start_from, Some(StartFrom::Checkpoint(_)));
    let starts = if loaded { Starts::Loaded } else { Starts::Found };
    let mut prepared = prepare(request, starts, watch)?;
    for (code, text) in std::mem::take(&mut prepared.warnings) {
        watch.warn(&code, text);
    }
    crate::preflight::check_memory(request, &prepared, watch)?;
    let checkpoints = Checkpoints::open(&request.run_dir)?;
    if request.resume.is_none() && !checkpoints.steps().is_empty() {
        let action = "resume the run, or give another folder with --out";
        let place = request.run_dir.display().to_string();
        return Err(Problem::new(Code::Usage, "the run folder already holds checkpoints", place, action).into());
    }
    let (total_steps, resumed_from) =
        (prepared.total_steps, resumed.as_ref().map_or(0, |loaded| loaded.meta.state.step));
    let end_step = request.max_steps.unwrap_or(total_steps).min(total_steps);
    let (hashes, program) = hashing.finish(request, &prepared.files, watch)?;
    // Before the run counts as started: what the last checkpoint was followed by is cut off then.
    let mut longer = None;
    if let Some(loaded) = &resumed {
        hashes.check_same(&loaded.meta.hashes, &loaded.path)?;
        if hashes.is_other_length(&loaded.meta.hashes) {
            longer = Some(check_longer(&loaded.meta.state, total_steps)?);
        }
    }
    watch.say(Event::Started {
        run: request.run,
        project: request.project_dir.clone(),
        method: request.project.method.id.clone(),
        model_parameters: prepared.model.parameter_count(),
        trained_parameters: prepared.attached.params.trained()? as u64,
        seed: request.project.train.seed,
        threads,
        device: device.name().to_owned(),
        max_steps: end_step,
        resumed_from,
    });
    freeze(request, &hashes, &program, longer.is_some())?;
    if let Some(text) = longer {
        watch.warn("extended", text);
    }
    if let (Some(StartFrom::Checkpoint(folder)), None) = (&request.start_from, &request.resume) {
        let before = Saved::meta_of(folder)?.hashes;
        if before.base != hashes.base {
            watch.warn("other_base", "the adapter that this run starts with was trained on another base model");
        } else if before.adapters != hashes.adapters {
            watch.warn("other_base", "the adapter that this run starts with was trained on top of other adapters");
        }
    }
    let over = |state: &State| state.ended.clone().filter(|why| why != ALL_STEPS || state.step >= total_steps);
    if let Some(ended) = resumed.as_ref().and_then(|loaded| over(&loaded.meta.state)) {
        watch.warn("already_finished", format!("the run has ended already: {ended}"));
    }
    let mut start = Start::new(request, &hashes, &program, prepared.model.source.format());
    if prepared.attached.looks_at_data {
        start = start.with_data(&hashes, &request.project);
    }
    let mut run = assemble(request, watch, prepared, checkpoints, (hashes, start), &mut meter)?;
    run.end_step = end_step;
    let begun = match resumed {
        Some(loaded) => run.resume(loaded),
        None => run.begin(),
    };
    let (status, problem) = match begun {
        Ok(()) => run.go(),
        Err(TrainError::Cancelled) => (RunStatus::Cancelled, None),
        Err(TrainError::Stopped) => (RunStatus::Stopped, None),
        Err(error) => (RunStatus::Failed, Some(error.into())),
    };
    Ok(run.outcome(status, problem, started))
}

/// The checkpoint to go on from: the folder given, or the newest whole one of a run. `None`, with a warning,
/// when the run has not written any yet.
fn find_resume(from: &Path, run_dir: &Path, watch: &Watch<'_>) -> Result<Option<Loaded>> {
    if from.join(crate::checkpoint::STATE_FILE).exists() {
        return load(from).map(Some);
    }
    let folder = if from.exists() { from } else { run_dir };
    let (newest, damaged) = Checkpoints::existing(folder).newest_valid();
    for (path, problem) in damaged {
        watch.warn("checkpoint_damaged", format!("{} is skipped: {problem}", path.display()));
    }
    if newest.is_none() {
        watch.warn("nothing_to_resume", "the run had not written a checkpoint yet: it starts from the beginning");
    }
    Ok(newest)
}

/// What it means that a run goes on beyond the steps that it was planned for.
fn check_longer(state: &State, total_steps: u64) -> Result<String> {
    let planned = state.planned_steps;
    if total_steps <= planned.max(state.step) {
        let what = format!("the run was planned for {planned} steps and cannot be given fewer");
        let action = format!("give more than {} steps, or start a new run", planned.max(state.step));
        return Err(Problem::new(Code::Usage, what, "train.steps", action).into());
    }
    Ok(format!(
        "the run goes on to step {total_steps}; it was planned for {planned}. The learning rate follows its schedule over all \
         {total_steps} steps; what the method does at set times stays where it was planned"
    ))
}

/// What `run.json` says.
#[derive(Serialize)]
struct RunFile<'a> {
    schema: u32,
    hashes: &'a Hashes,
    /// Hash of the program that started the run.
    program: &'a str,
}

/// Freezes project and hashes in the run's folder, once; the project anew when the run has become `longer`.
fn freeze(request: &TrainRequest, hashes: &Hashes, program: &str, longer: bool) -> Result<()> {
    let project = request.run_dir.join(project_file::FILE_NAME);
    if longer || !project.exists() {
        project_file::save(&request.project, &project)?;
    }
    let file = request.run_dir.join(RUN_FILE);
    if !file.exists() {
        let run = RunFile { schema: STATE_SCHEMA, hashes, program };
        let text = serde_json::to_string_pretty(&run)
            .map_err(|error| Problem::internal(format!("{RUN_FILE} cannot be written: {error}")))?;
        write_file(&file, |writer| writer.write_all(text.as_bytes()))?;
    }
    Ok(())
}

/// How many blocks keep their activations: the project's choice, or as many as fit into its limit of memory. The result
/// is the same bit for bit either way.
pub(crate) fn kept_blocks(project: &Project, model: &Model, max_tokens: usize) -> usize {
    let train = &project.train;
    let blocks = model.blocks.len();
    match train.recompute.as_str() {
        "on" => 0,
        "off" => blocks,
        _ => {
            let limit_mib = if train.kept_mib == 0 { KEPT_SHARE * free_memory_mib() } else { train.kept_mib as f64 };
            let per_block = driver::kept_bytes_per_token(model) * (train.batch * max_tokens) as f64;
            ((limit_mib * 1024.0 * 1024.0 / per_block.max(1.0)) as usize).min(blocks)
        }
    }
}

/// How validation rows are laid out.
pub(crate) fn layout(project: &Project, max_tokens: usize, pad_id: u32) -> Layout {
    Layout { batch: project.train.batch, max_tokens, packing: project.data.packing, pad_id }
}

/// Windows of each kept set, by what training costs between two measurements.
pub(crate) fn kept_windows(project: &Project, prepared: &Prepared, context: usize) -> usize {
    let rows = (project.train.batch * project.train.accumulate) as f64;
    let examples = prepared.loader.examples();
    let tokens: usize = examples.iter().map(|example| example.ids.len()).sum();
    let per_row = tokens as f64 / prepared.loader.rows_per_epoch().max(1) as f64;
    let steps = match project.keep.every_steps {
        0 => prepared.total_steps,
        every => every.min(prepared.total_steps),
    };
    windows_for(rows * per_row * steps as f64, project.keep.probes.len(), temper_data::ProbeSet::WIDTH.min(context))
}

fn assemble<'a>(
    request: &'a TrainRequest,
    watch: &'a Watch<'a>,
    prepared: Prepared,
    checkpoints: Checkpoints,
    (hashes, start): (Hashes, Start),
    meter: &mut Meter,
) -> Result<Run<'a>> {
    let project = &request.project;
    let context = prepared.model.config.context();
    let windows = kept_windows(project, &prepared, context);
    let Prepared { model, codec, attached, loader, validation, files, chat, max_tokens, total_steps, .. } = prepared;
    let replay = project.keep.on_exceed == "replay";
    let rows = project.train.batch.max(4);
    let probes = Probes::load(&request.probes, &codec, context, (windows, rows), replay, &request.run_dir, watch)?;
    let base = format!("{} {}", project.model.base, model.source.format());
    probes.capture_base(&model, &start, &base, watch)?;
    let prompts = Prompts::new(&project.samples, &codec, chat, context, watch)?;
    let layout = layout(project, max_tokens, codec.pad_id());
    let validation = Validation::new(&validation, project.train.eval_rows, layout);
    if validation.is_none() {
        watch.warn("no_validation", "there are no validation rows: the newest checkpoint counts as the best");
    }
    if probes.is_empty() && project.train.best_by != "loss" {
        let by = &project.train.best_by;
        let text = format!("nothing is kept, so train.best_by = \"{by}\" cannot be asked: the least loss is the best");
        watch.warn("best_by", text);
    }
    let driver = Driver::keeping(&model, kept_blocks(project, &model, max_tokens));
    let examples = std::sync::Arc::clone(loader.examples());
    let mut state = State::new(project.train.seed, loader.cursor());
    state.planned_steps = total_steps;
    let snapshots = open_snapshots(request, attached.params.elements(), total_steps, watch)?;
    let prefix = prefix_cache(request, &loader, (&model, &driver), total_steps, watch);
    Ok(Run {
        request,
        watch,
        model,
        codec,
        attached,
        examples,
        files,
        batches: Prefetcher::spawn(loader, PREFETCH)?,
        validation,
        probes,
        prompts,
        driver,
        sizes: Sizes::default(),
        dead_experts_told: false,
        closed_gates_told: false,
        prefix,
        optimiser: AdamW::new(adamw(&project.train)),
        schedule: Schedule::new(&project.train, total_steps),
        checkpoints,
        snapshots,
        hashes,
        start,
        state,
        total_steps,
        end_step: total_steps,
        saved: None,
        within_budget: BTreeMap::new(),
        gradients_checked: false,
        clock: PhaseClock::default(),
        meter: std::mem::take(meter),
        sensors: Sensors::of_this_machine(),
        totals: Totals::default(),
        diverged: (0.0, 0),
    })
}

/// The snapshots of the run, which goes on behind those that are there.
fn open_snapshots(request: &TrainRequest, elements: usize, total_steps: u64, watch: &Watch<'_>) -> Result<Snapshots> {
    let budget_mib = request.project.train.snapshot_mib;
    let every = snapshots::interval(elements, total_steps, budget_mib);
    if every.is_none() && budget_mib > 0 {
        let text = format!(
            "no snapshots are taken: fewer than {} fit into the {budget_mib} MiB that train.snapshot_mib allows; only \
             checkpoints can be looked at again",
            snapshots::LEAST
        );
        watch.warn("snapshots", text);
    }
    let (snapshots, notes) = Snapshots::open(&request.run_dir, budget_mib, every.unwrap_or(0))?;
    notes.into_iter().for_each(|note| watch.warn("snapshot_dropped", note));
    Ok(snapshots)
}

/// A place for the outputs of frozen blocks, when the run comes by its examples more than once.
fn prefix_cache(
    request: &TrainRequest,
    loader: &Loader,
    parts: (&Model, &Driver),
    total_steps: u64,
    watch: &Watch<'_>,
) -> Option<PrefixCache> {
    let kept = PrefixCache::for_run(&request.run_dir, loader, &request.project.train, total_steps, parts);
    kept.unwrap_or_else(|why| {
        watch.warn("prefix_cache", why);
        None
    })
}

impl Run<'_> {
    /// Before step 1: measures the base and writes what a roll-back to the start needs.
    fn begin(&mut self) -> Result<()> {
        self.base_line()?;
        self.snapshots.back_to(None)?;
        self.snapshot()?;
        self.save()
    }

    /// Goes on from a checkpoint.
    fn resume(&mut self, loaded: Loaded) -> Result<()> {
        self.restore(loaded)?;
        if self.state.step < self.total_steps {
            // It has been given more.
            self.state.ended.take_if(|why| why == ALL_STEPS);
        }
        // Later checkpoints belong to a part of the run that this one repeats.
        let keep = self.checkpoints.steps().into_iter().filter(|step| *step <= self.state.step).collect();
        self.checkpoints.retain(&keep)?;
        for step in self.checkpoints.steps() {
            if let Ok(meta) = read_meta(&self.checkpoints.path(step))
                && let Some(within) = meta.within_budget
            {
                self.within_budget.insert(step, within);
            }
        }
        if !self.state.boundary_done {
            self.saved = None;
        }
        Ok(())
    }

    /// Folder of the best checkpoint, or of the newest where there is no best.
    fn best_checkpoint(&self) -> Option<PathBuf> {
        let steps = self.checkpoints.steps();
        let best = Some(self.state.evals.best_step).filter(|step| *step > 0 && steps.contains(step));
        // A run without steps has what it started as.
        let step = best.or_else(|| steps.last().copied()).filter(|step| *step > 0 || self.total_steps == 0)?;
        Some(self.checkpoints.path(step))
    }

    fn outcome(mut self, status: RunStatus, problem: Option<Problem>, started: Instant) -> Outcome {
        let evals = &self.state.evals;
        let (base_loss, best_loss) = (evals.base_loss, evals.best_loss);
        let best_forgetting = evals.best_forgetting.unwrap_or_default().0;
        if self.rule().puts_up_with(best_forgetting) {
            let text = format!(
                "no checkpoint is within the budget of forgetting: the best is that of step {}, which forgot least, \
                 {best_forgetting:+.3} nats",
                evals.best_step
            );
            self.watch.warn("beyond_budget", text);
        }
        if status == RunStatus::Finished && self.state.step > 0 && best_loss.0 >= base_loss.0 {
            let text = format!(
                "the best validation loss, {:.4}, is not below the base's, {:.4}: the run did not improve the model",
                best_loss.0, base_loss.0
            );
            self.watch.warn("no_improvement", text);
        }
        let steps = self.totals.steps.max(1) as f64;
        // Before the first measurement after step 1 there is only the base's own zero, which says nothing.
        let measured = self.state.step == 0 || self.state.keep.measured_step > 0;
        let Exact(forgetting) = if measured { self.state.keep.forgetting } else { Exact(f64::NAN) };
        Outcome {
            status,
            steps: self.state.step,
            best_step: evals.best_step,
            base_loss: base_loss.0,
            final_loss: evals.last_loss.0,
            best_loss: best_loss.0,
            forgetting,
            tokens_per_sec: self.totals.tokens as f64 / self.totals.secs.max(1e-9),
            cpu_secs_per_step: self.totals.cpu_secs / steps,
            peak_rss_mib: self.meter.peak_rss_mib(),
            wall_secs: started.elapsed().as_secs_f64(),
            adapter: self.best_checkpoint(),
            problem,
        }
    }
}
