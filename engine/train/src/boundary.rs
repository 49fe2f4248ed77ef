//! What is due after an optimiser step: validation, kept sets and their budget, ranks, samples, snapshot, checkpoint.
//!
//! Everything is triggered by the number of the step alone. A stop in the middle leaves
//! [`crate::state::State::boundary_done`] unset; the resume repeats what is missing, so that a run with
//! breaks measures what a run without them does.

use crate::best::{Measured, Rule};
use crate::error::Result;
use crate::exact::Exact;
use crate::keep::{MOST_ROLL_BACKS, Reaction, react};
use crate::phases::Phase;
use crate::probes::{SetMeasure, forgetting};
use crate::ranks;
use crate::run::Run;
use crate::state::ALL_STEPS;
use temper_protocol::Event;
use temper_protocol::event::RowLosses;

/// Most tokens on which the sizes of queries and keys are measured.
const SIZED_TOKENS: usize = 256;

/// Whether something due every `every` steps (0: never before the end) is due.
fn due(step: u64, every: u64, last: bool) -> bool {
    last || (every > 0 && step.is_multiple_of(every))
}

impl Run<'_> {
    /// Measures the base before step 1: validation, kept sets, what attention compares, sample answers.
    pub(crate) fn base_line(&mut self) -> Result<()> {
        let watch = self.watch;
        if let Some(validation) = &self.validation {
            watch.preparing("measuring the base", 0, 0, "batches");
            let key = self.start.key("validation loss", validation.batches());
            let measure = || validation.loss(&self.model, &mut || watch.check()).map(Exact);
            let Exact(loss) = self.start.known(&key, measure)?;
            self.state.evals.base_loss = Exact(loss);
            self.state.evals.last_loss = Exact(loss);
            watch.say(Event::Eval { step: 0, split: "validation".to_owned(), loss, best: false });
        }
        let key = self.start.key(&self.probes.form(), self.probes.batches());
        let mut measures = self.start.known(&key, || self.probes.measure(&self.model, watch))?;
        // Sets of the same text may have other names now.
        measures.iter_mut().zip(self.probes.names()).for_each(|(measure, name)| name.clone_into(&mut measure.set));
        self.record(0, &measures);
        self.state.keep.forgetting = Exact(forgetting(&measures));
        ranks::tell_planned(&self.attached.planned_ranks, watch);
        self.attention_sizes(0)?;
        self.prompts.answer(&self.model, &self.codec, 0, Some(&self.start), watch)
    }

    /// Does what is due after the step that was done last.
    pub(crate) fn boundary(&mut self) -> Result<()> {
        let (step, watch) = (self.state.step, self.watch);
        let project = &self.request.project;
        let last = step >= self.end_step || step >= self.total_steps;
        let eval_due = due(step, project.train.eval_steps, last);
        // A checkpoint that is judged by what was forgotten needs that of the same step, and needs it first.
        let kept_first = self.rule().needs_forgetting();
        let probe_due =
            (due(step, project.keep.every_steps, last) || eval_due && kept_first) && !self.probes.is_empty();
        let mut new_best = if eval_due && !kept_first { self.validate(step)? } else { false };
        let mut reaction = Reaction::Nothing;
        if probe_due {
            reaction = self.measure_kept(step)?;
        }
        if eval_due && kept_first && reaction != Reaction::RollBack {
            new_best = self.validate(step)?;
        }
        if reaction == Reaction::RollBack {
            return self.budget_roll_back();
        }
        if eval_due || probe_due {
            let every = [project.train.eval_steps, project.keep.every_steps].into_iter().filter(|every| *every > 0);
            let round = step.div_ceil(every.min().unwrap_or(step).max(1));
            let (model, whole) = (&self.model, self.attached.whole_weights);
            self.clock.time(Phase::Probes, || ranks::tell(model, whole, round, step, watch))?;
            ranks::warn_of_closed(model, &mut self.closed_gates_told, watch)?;
            // Early on a few passes say little.
            if 2 * step >= self.total_steps {
                ranks::warn_of_dead(model, &mut self.dead_experts_told, watch);
            }
            self.attention_sizes(step)?;
        }
        if last
            && project.train.row_losses
            && let Some(validation) = &self.validation
        {
            let model = &self.model;
            let between = &mut || watch.check();
            let (losses, tokens) = self.clock.time(Phase::Eval, || validation.row_losses(model, between))?;
            watch.say(Event::RowLosses(RowLosses { step, losses, tokens }));
        }
        let asked = watch.control().take_sample_now();
        if due(step, project.samples.every_steps, last) || asked {
            let (model, codec, prompts) = (&self.model, &self.codec, &self.prompts);
            self.clock.time(Phase::Samples, || prompts.answer(model, codec, step, None, watch))?;
        }
        self.snapshot()?;
        self.state.boundary_done = true;
        if step >= self.total_steps {
            self.state.ended = Some(ALL_STEPS.to_owned());
        }
        self.end_early(reaction);
        let save_due = due(step, project.train.checkpoint_steps, last) || self.state.ended.is_some();
        if save_due || new_best || watch.control().take_save_now() {
            self.save()?;
        }
        // Early steps as well, so that the time left is known long before the first measurement.
        if eval_due || probe_due || step.is_power_of_two() {
            watch.say(Event::Phases { step, secs: self.clock.take() });
            if let Some(state) = self.sensors.tell(step) {
                watch.say(Event::Machine(state));
            }
        }
        Ok(())
    }

    /// What makes a checkpoint the best of this run.
    pub(crate) fn rule(&self) -> Rule {
        Rule::of(&self.request.project, !self.probes.is_empty())
    }

    /// Validates once per step; says whether the step is the best so far.
    fn validate(&mut self, step: u64) -> Result<bool> {
        let Some(validation) = &self.validation else { return Ok(false) };
        if self.state.evals.last_step == step {
            return Ok(self.state.evals.best_step == step);
        }
        let (model, watch, rule) = (&self.model, self.watch, self.rule());
        let loss = self.clock.time(Phase::Eval, || validation.loss(model, &mut || watch.check()))?;
        let keep = &self.state.keep;
        let forgetting = if keep.measured_step == step { keep.forgetting.0 } else { f64::NAN };
        let best = self.state.evals.record(step, Measured { loss, forgetting }, rule);
        watch.say(Event::Eval { step, split: "validation".to_owned(), loss, best });
        Ok(best)
    }

    /// Says how large queries and keys are on the first batch that is measured: at the start and with each measurement, at
    /// no step between.
    fn attention_sizes(&mut self, step: u64) -> Result<()> {
        let validation = self.validation.as_ref().and_then(|validation| validation.batches().first());
        let Some(tokens) = validation.or_else(|| self.probes.batches().next()) else { return Ok(()) };
        // Half of a batch at most: a pass forward over a whole one every 50 steps is more than 1 % of training.
        let tokens = tokens.beginning((tokens.ids.len() / 2).min(SIZED_TOKENS));
        let (sizes, driver, model, watch) = (&mut self.sizes, &self.driver, &self.model, self.watch);
        self.clock.time(Phase::Probes, || sizes.tell(driver, model, &tokens, step, watch))
    }

    fn record(&mut self, step: u64, measures: &[SetMeasure]) {
        for measure in measures {
            self.state.keep.loss_delta.insert(measure.set.clone(), Exact(measure.loss_delta));
            self.watch.say(measure.event(step));
        }
    }

    /// Measures the kept sets once per step and applies the reaction that needs no other checkpoint.
    fn measure_kept(&mut self, step: u64) -> Result<Reaction> {
        if self.state.keep.measured_step == step {
            return Ok(Reaction::Nothing);
        }
        let (model, watch, probes) = (&self.model, self.watch, &self.probes);
        let measures = self.clock.time(Phase::Probes, || probes.measure(model, watch))?;
        self.record(step, &measures);
        let keep = &self.request.project.keep;
        let forgotten = forgetting(&measures);
        let reaction = react(&mut self.state.keep, forgotten, step, keep.budget_nats, &keep.on_exceed);
        let worst = measures.iter().max_by(|one, other| one.loss_delta.total_cmp(&other.loss_delta));
        let set = worst.map_or("", |measure| measure.set.as_str());
        let exceeded = format!("{forgotten:+.3} nats on {set}, the budget is {}", keep.budget_nats);
        let say = |text: String| watch.warn("budget_exceeded", text);
        match reaction {
            Reaction::Nothing => {}
            Reaction::Warn => say(format!("more is forgotten than allowed: {exceeded}")),
            Reaction::SlowDown => {
                self.state.lr_factor.0 *= 0.5;
                let factor = self.state.lr_factor.0;
                say(format!(
                    "more is forgotten than allowed: {exceeded}; the learning rate is now {factor} of the plan"
                ));
            }
            Reaction::Replay => {
                say(format!(
                    "more is forgotten than allowed: {exceeded}; kept texts are mixed into the batches from here"
                ));
            }
            Reaction::RollBack => say(format!("more is forgotten than allowed: {exceeded}; going back")),
            Reaction::Stop => say(format!("more is forgotten than allowed: {exceeded}; the run ends here")),
            Reaction::GiveUp => say(format!(
                "more is forgotten than allowed: {exceeded}; after {MOST_ROLL_BACKS} returns at half the rate each the run \
                 ends here: lower the learning rate, or allow more"
            )),
        }
        Ok(reaction)
    }

    /// Ends the run for the budget or because validation has not improved for long enough.
    fn end_early(&mut self, reaction: Reaction) {
        if self.state.ended.is_some() {
            return;
        }
        let (patience, evals) = (self.request.project.train.patience, &self.state.evals);
        if matches!(reaction, Reaction::Stop | Reaction::GiveUp) {
            self.state.ended = Some("the budget of forgetting is used up".to_owned());
        } else if patience > 0 && evals.without_improvement >= patience {
            let by_loss = !self.rule().needs_forgetting();
            let text = if by_loss {
                format!(
                    "the validation loss has not improved on {:.4} of step {} for {patience} measurements: the run \
                     ends here",
                    evals.best_loss.0, evals.best_step
                )
            } else {
                format!(
                    "no checkpoint was better than that of step {} for {patience} measurements: the run ends here",
                    evals.best_step
                )
            };
            self.watch.warn("early_stop", text);
            let why = if by_loss { "the validation loss stopped improving" } else { "no better checkpoint came" };
            self.state.ended = Some(why.to_owned());
        }
    }
}
