//! Saving a run, restoring it, and going back when it went wrong.

use crate::checkpoint::{Loaded, Meta, Parts, survivors};
use crate::error::Result;
use crate::guard::Verdict;
use crate::keep::MOST_ROLL_BACKS;
use crate::phases::Phase;
use crate::run::Run;
use crate::snapshots::Frame;
use crate::state::STATE_SCHEMA;
use crate::tensor_file::Tensors;
use candle_core::Tensor;
use std::collections::BTreeMap;
use std::time::Instant;
use temper_data::Cursor;
use temper_nn::adapter::trains_only;
use temper_nn::ops::with_slice;
use temper_nn::{AdamW, AdamWConfig, MomentStorage, ParamSet};
use temper_protocol::project::Train;
use temper_protocol::{Code, Event, Problem};

/// Most returns to a checkpoint because of losses that were not finite or jumped.
const MOST_SPIKES: u64 = 3;

/// The optimiser's settings of a project.
pub(crate) fn adamw(train: &Train) -> AdamWConfig {
    AdamWConfig {
        beta1: train.beta1,
        beta2: train.beta2,
        epsilon: train.epsilon,
        weight_decay: train.weight_decay,
        moments: moment_storage(train),
    }
}

/// How the project's optimiser keeps its moments; the project's own checks allow no other names.
pub(crate) fn moment_storage(train: &Train) -> MomentStorage {
    MomentStorage::from_name(&train.optim_state).unwrap_or_default()
}

/// Puts saved values into parameters; every parameter must be there, and nothing else. Nothing is changed
/// when a name does not fit.
pub(crate) fn fill(params: &ParamSet, weights: &dyn Tensors) -> Result<()> {
    let mut left = weights.names()?;
    let mut problems = Vec::new();
    for param in params {
        if !left.remove(&param.name) {
            problems.push(format!("{} is missing", param.name));
        }
    }
    problems.extend(left.into_iter().map(|name| format!("{name} does not belong here")));
    let refuse = |problems: &[String]| {
        let what = format!("the checkpoint does not fit the model and method: {}", problems.join("; "));
        let action = "use the model and the settings that it was made with";
        Err(Problem::new(Code::AdapterInvalid, what, weights.path().display().to_string(), action).into())
    };
    if !problems.is_empty() {
        return refuse(&problems);
    }
    for param in params {
        let tensor = weights.tensor(&param.name)?;
        if tensor.dims() != param.var.dims() {
            return refuse(&[format!("{} is {:?} instead of {:?}", param.name, tensor.dims(), param.var.dims())]);
        }
        param.var.set(&tensor)?;
    }
    Ok(())
}

impl Run<'_> {
    /// Writes a checkpoint of the last whole step, unless it is there already, and removes the ones that are
    /// no longer needed. Weights that are not finite are never written.
    pub(crate) fn save(&mut self) -> Result<()> {
        let step = self.state.step;
        if self.saved == Some(step) {
            return Ok(());
        }
        if !self.weights_are_finite()? {
            return self.spike(step, Verdict::NonFinite, "", self.state.cursor);
        }
        let started = Instant::now();
        let keep = &self.state.keep;
        // Before step 1 nothing is forgotten.
        let within = (step == 0 || keep.measured_step == step).then_some(!keep.exceeded);
        let memory = self.memory(|_| true)?;
        let parts =
            Parts { meta: self.meta(within), weights: &self.attached.params, optimiser: &self.optimiser, memory };
        let (path, bytes) = self.checkpoints.write(parts)?;
        self.saved = Some(step);
        if let Some(within) = within {
            self.within_budget.insert(step, within);
        }
        self.watch.say(Event::Checkpoint { step, path, bytes });
        let steps = self.checkpoints.steps();
        let within = self.within_budget.iter().rev().find(|(step, within)| **within && steps.contains(step));
        let keep_checkpoints = self.request.project.train.keep_checkpoints;
        let within = within.map(|(step, _)| *step);
        let best = Some(self.state.evals.best_step).filter(|step| *step > 0);
        let keep = survivors(&steps, best, within, keep_checkpoints);
        self.checkpoints.retain(&keep)?;
        self.clock.add(Phase::Saves, started);
        Ok(())
    }

    /// Everything about the run but its tensors.
    fn meta(&self, within_budget: Option<bool>) -> Meta {
        Meta {
            schema: STATE_SCHEMA,
            method: self.request.project.method.id.clone(),
            whole_weights: self.attached.whole_weights,
            hashes: self.hashes.clone(),
            within_budget,
            state: self.state.clone(),
            files: BTreeMap::new(),
        }
    }

    /// What adapters remember beside their parameters, by name, as far as `wanted`.
    fn memory(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<(String, Tensor)>> {
        // What layers share is the same in each of them and is there once.
        let mut memory = BTreeMap::new();
        for site in self.model.sites() {
            memory.extend(site.memory()?.into_iter().filter(|(name, _)| wanted(name)));
        }
        Ok(memory.into_iter().collect())
    }

    /// Takes a snapshot of the last whole step, where one is due. What keeps one from being written ends the snapshots and
    /// not the run. Weights that are not finite are never written.
    pub(crate) fn snapshot(&mut self) -> Result<()> {
        if !self.snapshots.wants(self.state.step) || !self.weights_are_finite()? {
            return Ok(());
        }
        let started = Instant::now();
        let memory = self.memory(|name| !trains_only(name))?;
        let frame = Frame::of(self.meta(None), &self.attached.params, &memory)?;
        if let Err(error) = self.snapshots.take(frame) {
            self.snapshots.stop();
            let text = format!("no more snapshots are taken, checkpoints alone are kept: {}", Problem::from(error));
            self.watch.warn("snapshots", text);
        }
        self.clock.add(Phase::Saves, started);
        Ok(())
    }

    fn weights_are_finite(&self) -> Result<bool> {
        for param in &self.attached.params {
            if !with_slice(param.var.as_tensor(), temper_nn::kernels::reduce::all_finite)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes the run what it was at a checkpoint.
    pub(crate) fn restore(&mut self, loaded: Loaded) -> Result<()> {
        loaded.remember(self.model.sites_mut())?;
        self.refresh_params()?;
        let Loaded { meta, weights, optimiser, .. } = loaded;
        fill(&self.attached.params, &weights)?;
        self.optimiser = AdamW::from_safetensors(adamw(&self.request.project.train), optimiser.as_slice())?;
        self.batches.seek(meta.state.cursor)?;
        // What was learnt after it must not be taken for a part of this run.
        self.snapshots.back_to(Some(meta.state.step))?;
        self.saved = Some(meta.state.step);
        self.state = meta.state;
        self.watch.set_step(self.state.step);
        Ok(())
    }

    /// Makes the lists of what is trained anew, after adapters have changed shape or mask.
    pub(crate) fn refresh_params(&mut self) -> Result<()> {
        self.attached.params = self.model.params()?;
        self.driver = self.driver.refreshed(&self.model);
        Ok(())
    }

    /// The newest whole checkpoint that `wanted` accepts by its step.
    fn newest(&self, wanted: impl Fn(u64) -> bool) -> Option<Loaded> {
        for step in self.checkpoints.steps().into_iter().rev().filter(|step| wanted(*step)) {
            match crate::checkpoint::load(&self.checkpoints.path(step)) {
                Ok(loaded) => return Some(loaded),
                Err(error) => {
                    let problem = Problem::from(error);
                    self.watch
                        .warn("checkpoint_damaged", format!("the checkpoint of step {step} is skipped: {problem}"));
                }
            }
        }
        None
    }

    /// Step `step` must not be taken: its loss, its gradient or the weights before it are not finite, or its
    /// loss jumped. Ends the run or goes back to the newest checkpoint and on behind the rows of the step,
    /// as the project says. Nothing needs to be written for it: a resume of that checkpoint meets the same
    /// step and goes the same way.
    pub(crate) fn spike(&mut self, step: u64, verdict: Verdict, rows: &str, behind: Cursor) -> Result<()> {
        let happened = match verdict {
            Verdict::Spike { mean } => format!("the loss of step {step} jumped above its running mean of {mean:.3}"),
            _ if rows.is_empty() => format!("after step {step} the weights are not finite"),
            _ => format!("the loss or the gradient of step {step} is not finite"),
        };
        let of_rows = if rows.is_empty() { String::new() } else { format!(" ({rows})") };
        let go_back = self.request.project.train.on_spike == "roll-back" && self.state.spike_roll_backs < MOST_SPIKES;
        let target = if go_back { self.newest(|_| true) } else { None };
        let Some(target) = target else {
            if self.saved.is_none() && self.weights_are_finite()? {
                self.save()?;
            }
            let action =
                "lower the learning rate or look at these rows; the last checkpoint is whole and can be exported";
            return Err(Problem::new(Code::NonFinite, happened, rows, action).into());
        };
        let to = target.meta.state.step;
        let (spikes, keep) = (self.state.spike_roll_backs + 1, self.state.keep.roll_backs);
        self.restore(target)?;
        self.state.spike_roll_backs = spikes;
        self.state.keep.roll_backs = keep;
        self.state.cursor = behind;
        self.batches.seek(behind)?;
        self.saved = None;
        let text =
            format!("{happened}{of_rows}: back to step {to}, and on behind these rows ({spikes} of {MOST_SPIKES})");
        self.watch.warn("rolled_back", text);
        Ok(())
    }

    /// Goes back to the newest checkpoint within the budget and on at half the learning rate.
    pub(crate) fn budget_roll_back(&mut self) -> Result<()> {
        let from = self.state.step;
        let within: Vec<u64> =
            self.within_budget.iter().filter(|(_, within)| **within).map(|(step, _)| *step).collect();
        let Some(target) = self.newest(|step| within.contains(&step)) else {
            let what = "there is no checkpoint within the budget of forgetting to go back to";
            let place = self.request.run_dir.display().to_string();
            let action = "set keep.on_exceed to slow-down, or allow more forgetting";
            return Err(Problem::new(Code::NotFound, what, place, action).into());
        };
        let to = target.meta.state.step;
        let (roll_backs, spikes) = (self.state.keep.roll_backs + 1, self.state.spike_roll_backs);
        let lr_factor = self.state.lr_factor.0 * 0.5;
        self.restore(target)?;
        self.state.keep.roll_backs = roll_backs;
        self.state.spike_roll_backs = spikes;
        self.state.lr_factor.0 = lr_factor;
        self.saved = None;
        // What was learnt after it must not be taken for a part of this run.
        let keep = self.checkpoints.steps().into_iter().filter(|step| *step <= to).collect();
        self.checkpoints.retain(&keep)?;
        self.within_budget.retain(|step, _| *step <= to);
        let text = format!(
            "back from step {from} to step {to}; the learning rate is now {lr_factor} of the plan ({roll_backs} of \
             {MOST_ROLL_BACKS})"
        );
        self.watch.warn("rolled_back", text);
        Ok(())
    }
}
