//! A prompt that is asked of a run as of the step under the scrub line, beside the base.
//!
//! Place in the data flow: `update` asks the base once and the run for each step that the line comes to rest on; what they
//! answer is written here, and the words that differ are found once for each new text.

use super::State;
use super::answers::differences;
use std::ops::Range;
use temper_protocol::Problem;

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The model that the run began with.
    Base,
    /// The run as of a step.
    Adapted,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepAnswer {
    /// The text so far.
    pub text: String,
    /// Parts of it that are not in the base's answer, in bytes.
    pub marks: Vec<Range<usize>>,
    /// New tokens.
    pub tokens: u64,
    /// Speed.
    pub tokens_per_sec: f64,
    /// Why it ended; empty before that.
    pub stop_reason: String,
    /// Who the engine says has answered.
    pub source: String,
    /// Why there is none.
    pub problem: Option<Problem>,
}

impl StepAnswer {
    /// Whether it is there to its end.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.stop_reason.is_empty()
    }

    /// The step of the state that answered, as the engine says it.
    #[must_use]
    pub fn step(&self) -> Option<u64> {
        let mut words = self.source.rsplit(' ');
        let step = words.next()?.parse().ok()?;
        (words.next() == Some("step")).then_some(step)
    }
}

/// What was asked last.
#[derive(Debug, Clone, PartialEq)]
pub struct StepQuestion {
    /// The run.
    pub run: u64,
    /// The prompt.
    pub prompt: String,
    /// The step under the scrub line.
    pub wanted: u64,
    /// What the run kept last at or before it.
    pub kept: u64,
}

/// The panel where a step is asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepAsk {
    /// Whether it is shown in place of the samples.
    pub open: bool,
    /// The field shall take the keyboard when it is shown next.
    pub wants_keys: bool,
    /// The prompt as typed; the first sample prompt before anybody typed.
    pub prompt: Option<String>,
    /// What was asked last.
    pub question: Option<StepQuestion>,
    /// The base's answer to it.
    pub base: StepAnswer,
    /// The run's.
    pub adapted: StepAnswer,
    /// Who is answering.
    pub working: Option<Side>,
}

/// What a person does there.
#[derive(Debug, Clone, PartialEq)]
pub enum StepAct {
    /// Shows the panel, or the samples again.
    Open(bool),
    /// The field has taken the keyboard.
    Focused,
    /// Prompt, as typed.
    Prompt(String),
    /// Asks.
    Ask,
}

impl StepAsk {
    /// The answer of `side`.
    #[must_use]
    pub fn answer(&self, side: Side) -> &StepAnswer {
        match side {
            Side::Base => &self.base,
            Side::Adapted => &self.adapted,
        }
    }

    /// The answer of `side`, to change.
    pub fn answer_mut(&mut self, side: Side) -> &mut StepAnswer {
        match side {
            Side::Base => &mut self.base,
            Side::Adapted => &mut self.adapted,
        }
    }

    /// New text of `side`; the words that differ are marked in the run's answer.
    pub fn take(&mut self, side: Side, answer: StepAnswer) {
        *self.answer_mut(side) = answer;
        self.adapted.marks =
            if self.base.text.is_empty() { Vec::new() } else { differences(&self.base.text, &self.adapted.text) };
    }

    /// What stays when another run is looked at.
    #[must_use]
    pub fn for_another_run(&mut self) -> Self {
        Self { open: self.open, prompt: self.prompt.take(), ..Self::default() }
    }
}

/// What was kept last at or before `step` among `kept`, which rises.
#[must_use]
pub fn kept_before(kept: &[u64], step: u64) -> Option<u64> {
    let after = kept.partition_point(|kept| *kept <= step);
    kept.get(after.checked_sub(1)?).copied()
}

impl State {
    /// The step under the scrub line of the watched run; its newest where there is no line.
    #[must_use]
    pub fn shown_step(&self) -> u64 {
        self.watch.scrub.unwrap_or_else(|| self.watched().map_or(0, |row| row.steps))
    }

    /// What the watched run kept last at or before the step under the scrub line.
    #[must_use]
    pub fn kept_state(&self) -> Option<u64> {
        kept_before(&self.runs.view.as_ref()?.kept_states, self.shown_step())
    }

    /// The kept state before or behind the one under the scrub line.
    #[must_use]
    pub fn other_kept_state(&self, later: bool) -> Option<u64> {
        let kept = &self.runs.view.as_ref()?.kept_states;
        let shown = self.shown_step();
        if later {
            kept.get(kept.partition_point(|kept| *kept <= shown)).copied()
        } else {
            let before = kept.partition_point(|kept| *kept < shown);
            kept.get(before.checked_sub(1)?).copied()
        }
    }

    /// The prompt: as typed, else the first sample prompt of the run, else that of the project.
    #[must_use]
    pub fn step_prompt(&self) -> &str {
        if let Some(prompt) = &self.watch.ask.prompt {
            return prompt;
        }
        let of_run = self.runs.view.as_ref().and_then(|view| view.settings.as_ref());
        let settings = of_run.unwrap_or(&self.draft.project);
        settings.samples.prompts.first().map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_kept_state_is_at_or_before_the_step() {
        let kept = [0, 19, 38, 57];
        for (step, found) in [(0, Some(0)), (18, Some(0)), (19, Some(19)), (56, Some(38)), (999, Some(57))] {
            assert_eq!(kept_before(&kept, step), found, "step {step}");
        }
        assert_eq!(kept_before(&[5, 10], 4), None, "nothing was kept yet");
        assert_eq!(kept_before(&[], 4), None);
    }

    #[test]
    fn the_step_that_answered_is_read_from_the_source() {
        let from = |source: &str| StepAnswer { source: source.to_owned(), ..StepAnswer::default() }.step();
        assert_eq!(from("SmolLM2 + run 7 at step 240"), Some(240));
        assert_eq!(from("a model at step up + run 7 at step 0"), Some(0));
        assert_eq!(from("SmolLM2 + run 7"), None);
        assert_eq!(from(""), None);
    }

    #[test]
    fn differences_are_marked_whichever_answer_comes_last() {
        let text = |text: &str| StepAnswer { text: text.to_owned(), ..StepAnswer::default() };
        let mut ask = StepAsk::default();
        ask.take(Side::Adapted, text("I will help"));
        assert!(ask.adapted.marks.is_empty(), "nothing to compare with");
        ask.take(Side::Base, text("I can help"));
        let marks: Vec<(usize, usize)> = ask.adapted.marks.iter().map(|mark| (mark.start, mark.end)).collect();
        assert_eq!(marks, [(2, 6)]);
        ask.take(Side::Adapted, text("I can help"));
        assert!(ask.adapted.marks.is_empty());
    }
}
