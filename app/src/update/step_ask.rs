//! Asking a run as of a step: the base once, the run for each kept state that the scrub line comes to rest on.
//!
//! Place in the data flow: a request for each answer, sent when the one before has ended. A line that is dragged asks
//! nothing until it has rested for a moment, and nothing at all before the first question.

use crate::app::App;
use crate::commands::UiCommand;
use crate::state::step_ask::{Side, StepAct, StepAnswer, StepQuestion};
use crate::state::watch::SideTab;
use crate::state::{Ask, Room, State};
use egui::Context;
use temper_protocol::{Code, Command, Event, GenerateLimits, ModelRef, Problem, named};

/// Rest of the scrub line before the run is asked again.
pub(crate) const REST_SECS: f64 = 0.4;

/// Why the step under the scrub line cannot be asked now; nothing when it can.
#[must_use]
pub fn step_hindrance(state: &State) -> Option<&'static str> {
    let Some(view) = &state.runs.view else { return Some(t!("commands-no-run")) };
    if state.watch.ask.working.is_some() {
        Some(t!("compare-answering"))
    } else if state.step_prompt().trim().is_empty() {
        Some(t!("compare-no-prompt"))
    } else if state.is_training() {
        Some(t!("watch-ask-busy"))
    } else if view.settings.is_none() {
        Some(t!("watch-ask-no-settings"))
    } else if state.kept_state().is_none() {
        Some(t!("watch-ask-none-kept"))
    } else {
        None
    }
}

impl App {
    /// What a person does in the panel where a step is asked.
    pub(super) fn step_act(&mut self, act: StepAct) {
        let ask = &mut self.state.watch.ask;
        match act {
            StepAct::Open(open) => {
                (ask.open, ask.wants_keys) = (open, open);
                if open {
                    // The palette reaches it from every room.
                    self.state.room = Room::Watch;
                    self.state.watch.tab = SideTab::Samples;
                    self.state.sheet = None;
                } else {
                    self.stop_step_answer();
                }
            }
            StepAct::Focused => ask.wants_keys = false,
            StepAct::Prompt(text) => ask.prompt = Some(text),
            StepAct::Ask => self.ask_step(),
        }
    }

    fn ask_step(&mut self) {
        if step_hindrance(&self.state).is_some() {
            return;
        }
        let Some((run, kept)) = self.state.watched().map(|row| row.run).zip(self.state.kept_state()) else { return };
        let prompt = self.state.step_prompt().trim().to_owned();
        let wanted = self.state.shown_step();
        let ask = &mut self.state.watch.ask;
        let known = ask.question.as_ref().is_some_and(|before| before.run == run && before.prompt == prompt);
        ask.open = true;
        ask.question = Some(StepQuestion { run, prompt, wanted, kept });
        ask.adapted = StepAnswer::default();
        self.state.room = Room::Watch;
        self.state.watch.tab = SideTab::Samples;
        if known && self.state.watch.ask.base.is_whole() {
            self.send_step_question(Side::Adapted);
        } else {
            self.state.watch.ask.base = StepAnswer::default();
            self.send_step_question(Side::Base);
        }
    }

    /// Sends what was asked to `side`.
    fn send_step_question(&mut self, side: Side) {
        self.state.watch.ask.working = None;
        let Some(view) = self.state.runs.view.clone() else { return };
        let (Some(settings), Some(question)) = (&view.settings, &self.state.watch.ask.question) else { return };
        let StepQuestion { run, prompt, kept, .. } = question.clone();
        let adapters = match side {
            Side::Base => Vec::new(),
            Side::Adapted => vec![named::of_run(run, Some(kept))],
        };
        let model = self.state.draft.resolve(&settings.model.path);
        let command = Command::Generate {
            project: self.state.draft.folder.clone(),
            model: ModelRef { model, adapters, base: Some(settings.model.base.clone()) },
            prompt,
            chat: true,
            limits: GenerateLimits {
                max_tokens: settings.samples.max_tokens.max(1),
                seed: settings.train.seed,
                ..GenerateLimits::default()
            },
        };
        let sent = self.ask(command, Ask::Step { side, run, kept }).is_some();
        self.state.watch.ask.working = sent.then_some(side);
    }

    /// Asks again where the scrub line has come to rest on another kept state; run before each frame.
    pub(super) fn follow_scrub(&mut self, ctx: &Context) {
        let watch = &self.state.watch;
        let Some(question) = watch.ask.question.as_ref().filter(|_| watch.ask.open) else { return };
        let moved = self.state.kept_state().is_some_and(|kept| kept != question.kept);
        let asked = watch.ask.prompt.as_ref().is_none_or(|prompt| prompt.trim() == question.prompt);
        if !moved || !asked || self.state.room != Room::Watch || step_hindrance(&self.state).is_some() {
            return;
        }
        let rest = self.state.now_secs - watch.moved_secs;
        if rest < REST_SECS {
            ctx.request_repaint_after_secs((REST_SECS - rest) as f32 + 0.01);
            return;
        }
        self.ask_step();
    }

    /// Stops the answer that is being made, if one is.
    pub(super) fn stop_step_answer(&mut self) {
        if let Some((request, _)) = self.state.jobs.find(|ask| matches!(ask, Ask::Step { .. })) {
            self.perform_cancel(request);
        }
        self.state.watch.ask.working = None;
    }

    /// Whether what is said about `run` at `kept` is an answer that is still waited for.
    fn is_awaited(&self, side: Side, run: u64, kept: u64) -> bool {
        let ask = &self.state.watch.ask;
        let same = ask.question.as_ref().is_some_and(|question| (question.run, question.kept) == (run, kept));
        ask.working == Some(side) && same
    }

    /// What the engine answers.
    pub(super) fn take_step_event(&mut self, (side, run, kept): (Side, u64, u64), event: Event) {
        if !self.is_awaited(side, run, kept) {
            return;
        }
        match event {
            Event::Text { source, text, tokens, stop_reason, tokens_per_sec } => {
                let answer = StepAnswer { text, tokens, stop_reason, tokens_per_sec, source, ..StepAnswer::default() };
                self.state.watch.ask.take(side, answer);
            }
            Event::Done {} if side == Side::Base => self.send_step_question(Side::Adapted),
            Event::Done {} => self.state.watch.ask.working = None,
            _ => {}
        }
    }

    /// An answer did not come about, or was stopped.
    pub(super) fn step_failed(&mut self, (side, run, kept): (Side, u64, u64), problem: Problem) {
        if !self.is_awaited(side, run, kept) {
            return;
        }
        self.state.watch.ask.working = None;
        if problem.code != Code::Cancelled {
            self.state.watch.ask.answer_mut(side).problem = Some(problem);
            if side == Side::Base {
                self.send_step_question(Side::Adapted);
            }
        }
    }

    fn perform_cancel(&mut self, request: u64) {
        self.ask(Command::CancelRequest { target: request }, Ask::Cancel);
    }
}

/// The command that moves the scrub line to the kept state before or behind it.
#[must_use]
pub fn to_kept_state(state: &State, later: bool) -> UiCommand {
    UiCommand::Scrub(state.other_kept_state(later))
}
