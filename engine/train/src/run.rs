//! A run in progress: micro-steps to optimiser steps, until there is a reason to end.
//!
//! What is due after a step (validation, kept sets, samples, checkpoints) is in [`crate::boundary`]; saving,
//! restoring and going back in [`crate::saving`].

use crate::attach::Attached;
use crate::checkpoint::Checkpoints;
use crate::driver::{Driver, Tokens};
use crate::error::{Result, TrainError};
use crate::eval::Validation;
use crate::guard::Verdict;
use crate::hashes::Hashes;
use crate::meter::Meter;
use crate::phases::{Phase, PhaseClock};
use crate::prefix::PrefixCache;
use crate::prepare::tokens_of;
use crate::probes::Probes;
use crate::ranks;
use crate::request::TrainRequest;
use crate::samples::Prompts;
use crate::schedule::Schedule;
use crate::sensors::Sensors;
use crate::sizes::Sizes;
use crate::snapshots::Snapshots;
use crate::start::Start;
use crate::state::State;
use crate::watch::Watch;
use candle_core::Tensor;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use temper_data::{Cursor, Example, Prefetcher, TextCodec};
use temper_models::Model;
use temper_nn::ops::IGNORE;
use temper_nn::rules::{At, take_step};
use temper_nn::{AdamW, Grads};
use temper_protocol::{Event, Problem, RunStatus};

/// Rows that a warning names at most.
const NAMED_ROWS: usize = 4;

/// A run in progress.
pub(crate) struct Run<'a> {
    pub(crate) request: &'a TrainRequest,
    pub(crate) watch: &'a Watch<'a>,
    pub(crate) model: Model,
    pub(crate) codec: TextCodec,
    pub(crate) attached: Attached,
    pub(crate) examples: Arc<Vec<Example>>,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) batches: Prefetcher,
    pub(crate) validation: Option<Validation>,
    pub(crate) probes: Probes,
    pub(crate) prompts: Prompts,
    pub(crate) driver: Driver,
    pub(crate) sizes: Sizes,
    /// Whether it was said that experts hardly answer for any token.
    pub(crate) dead_experts_told: bool,
    /// Whether it was said that every gate is closed.
    pub(crate) closed_gates_told: bool,
    pub(crate) prefix: Option<PrefixCache>,
    pub(crate) optimiser: AdamW,
    pub(crate) schedule: Schedule,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) snapshots: Snapshots,
    pub(crate) hashes: Hashes,
    pub(crate) start: Start,
    /// The run after the last whole optimiser step.
    pub(crate) state: State,
    /// Steps of the whole run.
    pub(crate) total_steps: u64,
    /// Step after which this process ends.
    pub(crate) end_step: u64,
    /// Step of the newest checkpoint, when nothing has changed since.
    pub(crate) saved: Option<u64>,
    /// Whether the kept sets were within the budget, by step, of the checkpoints that are there.
    pub(crate) within_budget: BTreeMap<u64, bool>,
    pub(crate) gradients_checked: bool,
    pub(crate) clock: PhaseClock,
    pub(crate) meter: Meter,
    pub(crate) sensors: Sensors,
    pub(crate) totals: Totals,
    /// Divergence from the original and the trained tokens it was measured on, since it was last told.
    pub(crate) diverged: (f64, u64),
}

/// Sums over the steps of this process.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) steps: u64,
    pub(crate) tokens: u64,
    pub(crate) secs: f64,
    pub(crate) cpu_secs: f64,
}

/// The micro-steps of one optimiser step.
struct Window {
    batches: Vec<(Tokens, u64)>,
    /// Trained tokens of the data and of the replayed text.
    trained: u64,
    replayed: u64,
    /// Tokens of the data without padding.
    real: u64,
    /// Examples in it, by number.
    examples: Vec<u32>,
    /// Where the data stands behind it.
    cursor: Cursor,
}

impl Run<'_> {
    /// Steps until the end, a wish to end, or an error.
    pub(crate) fn go(&mut self) -> (RunStatus, Option<Problem>) {
        match self.steps() {
            Ok(()) => (RunStatus::Finished, None),
            Err(TrainError::Cancelled) => (RunStatus::Cancelled, None),
            Err(TrainError::Stopped) => match self.save() {
                Ok(()) => (RunStatus::Stopped, None),
                Err(error) => (RunStatus::Failed, Some(error.into())),
            },
            Err(error) => (RunStatus::Failed, Some(error.into())),
        }
    }

    fn steps(&mut self) -> Result<()> {
        loop {
            self.watch.set_step(self.state.step);
            if !self.state.boundary_done {
                self.boundary()?;
                continue;
            }
            if self.state.ended.is_some() || self.state.step >= self.end_step {
                return Ok(());
            }
            self.watch.check()?;
            self.step()?;
        }
    }

    /// Steps that the method counts with.
    fn planned_steps(&self) -> u64 {
        if self.state.planned_steps == 0 { self.total_steps } else { self.state.planned_steps }
    }

    fn window(&mut self, step: u64) -> Result<Window> {
        let train = &self.request.project.train;
        let mut window = Window {
            batches: Vec::with_capacity(train.accumulate + 1),
            trained: 0,
            replayed: 0,
            real: 0,
            examples: Vec::new(),
            cursor: self.state.cursor,
        };
        let mut rows = 0;
        for _ in 0..train.accumulate.max(1) {
            let batch = self.batches.next_batch()?;
            let trained = batch.trained_tokens as u64;
            window.trained += trained;
            window.real += batch.real_tokens as u64;
            window.examples.extend_from_slice(&batch.examples);
            let batch_rows = batch.rows as u64;
            window.batches.push((tokens_of(batch, true, train.seed, step, rows), trained));
            rows += batch_rows;
        }
        window.cursor = self.batches.cursor();
        if self.state.keep.replaying
            && let Some(tokens) = self.probes.replay_batch(train.seed, step, rows)
        {
            window.replayed = tokens.targets.iter().filter(|target| **target != IGNORE).count() as u64;
            window.batches.push((tokens, 0));
        }
        Ok(window)
    }

    /// One optimiser step.
    fn step(&mut self) -> Result<()> {
        let (started, cpu_before) = (Instant::now(), self.meter.cpu_secs());
        let _paused_before = self.watch.take_paused_secs();
        let step = self.state.step + 1;
        let window = self.window(step)?;
        self.clock.add(Phase::Data, started);

        let normaliser = (window.trained + window.replayed) as f64;
        let micro_steps = window.batches.len() as f64;
        let (mut grads, mut loss_sum) = (Grads::new(), 0.0);
        let imitation = self.attached.imitation.filter(|imitation| imitation.is_at(step, self.planned_steps()));
        self.driver.imitate(imitation);
        for (tokens, trained) in &window.batches {
            self.watch.check()?;
            let scales = (1.0 / normaliser, 1.0 / micro_steps);
            let prefix = self.prefix_states(tokens)?;
            let micro =
                self.driver.micro_step_from(prefix, &self.model, tokens, scales, &mut grads, &mut self.clock)?;
            if *trained > 0 {
                loss_sum += micro.loss_sum;
                self.diverged.0 += micro.divergence;
            }
        }
        if imitation.is_some() {
            self.diverged.1 += window.trained;
        }

        let optimising = Instant::now();
        for site in self.model.sites() {
            site.map_grads(&mut grads)?;
        }
        self.check_gradients(&grads)?;
        let train = &self.request.project.train;
        let grad_norm =
            if train.clip_norm > 0.0 { grads.clip_global_norm(train.clip_norm)? } else { grads.global_norm()? };
        let train_loss = loss_sum / window.trained as f64;
        let verdict = self.state.guard.judge(train_loss, grad_norm, train.spike_factor);
        if verdict != Verdict::Fine {
            let rows = self.name_rows(&window.examples);
            return self.spike(step, verdict, &rows, window.cursor);
        }
        let lr = self.schedule.lr(step) * self.state.lr_factor.0;
        let at = At { step, total: self.planned_steps() };
        let mut sites = self.model.sites_mut();
        let moved = take_step(&mut sites, &self.attached.params, &mut self.optimiser, &mut grads, lr, at)?;
        drop((grads, sites));
        if moved.params {
            self.refresh_params()?;
        }
        if moved.anew {
            self.state.evals.begin_anew();
        }
        self.clock.add(Phase::Optimiser, optimising);

        self.state.step = step;
        self.state.cursor = window.cursor;
        self.state.trained_tokens += window.trained;
        self.state.seen_tokens += window.real;
        self.state.boundary_done = false;
        self.saved = None;
        self.watch.set_step(step);
        let secs = (started.elapsed().as_secs_f64() - self.watch.take_paused_secs()).max(1e-9);
        self.totals.steps += 1;
        self.totals.tokens += window.real;
        self.totals.secs += secs;
        self.totals.cpu_secs += self.meter.cpu_secs() - cpu_before;
        self.watch.say(Event::Step {
            step,
            max_steps: self.end_step,
            train_loss,
            lr,
            grad_norm,
            tokens_per_sec: window.real as f64 / secs,
            trained_tokens: self.state.trained_tokens,
            rss_mib: self.meter.rss_mib(),
        });
        if imitation.is_some() {
            self.tell_divergence(step);
        }
        // What rules moved is seen at once, not only at the next measurement.
        let (model, watch, planned) = (&self.model, self.watch, &self.attached.planned_ranks);
        self.clock.time(Phase::Probes, || {
            if step == 1 {
                ranks::tell_chosen(model, planned, step, watch)?;
            }
            ranks::tell_moved(model, &moved.sites, step, watch)
        })
    }

    /// Where validation is due or the imitation ends: how far the model was from its original since it was last told.
    fn tell_divergence(&mut self, step: u64) {
        let every = self.request.project.train.eval_steps;
        let ends = self.attached.imitation.is_none_or(|imitation| !imitation.is_at(step + 1, self.planned_steps()));
        if ends || step == self.end_step || every > 0 && step.is_multiple_of(every) {
            let (sum, tokens) = std::mem::take(&mut self.diverged);
            let loss = sum / tokens.max(1) as f64;
            self.watch.say(Event::Eval { step, split: "divergence".to_owned(), loss, best: false });
        }
    }

    /// What the frozen blocks make of a batch, where that is kept. A cache that fails ends with a word; the run goes on.
    fn prefix_states(&mut self, tokens: &Tokens) -> Result<Option<Tensor>> {
        let Some(cache) = self.prefix.as_mut().filter(|cache| cache.fits(&self.driver)) else { return Ok(None) };
        match cache.states(&self.model, &self.driver, tokens, &mut self.clock) {
            Err(TrainError::Problem(problem)) => {
                self.watch.warn("prefix_cache", format!("{}; they are computed again from here", problem.what));
                self.prefix = None;
                Ok(None)
            }
            other => other,
        }
    }

    /// The first step of this process shows that every declared parameter gets a gradient: an operation that
    /// cuts the graph would otherwise go unseen, because the loss falls all the same.
    fn check_gradients(&mut self, grads: &Grads) -> Result<()> {
        if self.gradients_checked {
            return Ok(());
        }
        self.gradients_checked = true;
        let missing = |name: &str| grads.get(name).is_none();
        let without: Vec<&str> =
            self.attached.params.iter().map(|param| param.name.as_str()).filter(|name| missing(name)).collect();
        if without.is_empty() {
            return Ok(());
        }
        let count = without.len();
        let names: Vec<&str> = without.into_iter().take(NAMED_ROWS).collect();
        Err(Problem::internal(format!("{count} trained parameters get no gradient, such as {}", names.join(", ")))
            .into())
    }

    /// The first rows of a step as "file line 3, file line 9 and 6 more".
    fn name_rows(&self, examples: &[u32]) -> String {
        let name = |index: &u32| {
            let example = self.examples.get(*index as usize)?;
            let file = self.files.get(example.file as usize)?;
            let file = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
            Some(format!("{file} line {}", example.line))
        };
        let names: Vec<String> = examples.iter().take(NAMED_ROWS).filter_map(name).collect();
        let more = examples.len().saturating_sub(names.len());
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{tail}", names.join(", "))
    }
}
