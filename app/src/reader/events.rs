//! The events of a run, folded as they arrive: lines in words, checkpoints, samples, exports.

use super::snapshot::{CheckpointMark, ExportRecord, Preparing, SamplePrompt};
use super::words;
use std::sync::Arc;
use temper_protocol::Event;
use temper_store::StoredEvent;

/// What an event line is about; the filter and the icon follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Start, resume, end.
    Run,
    /// A pause; the filter shows it with [`EventKind::Run`].
    Pause,
    /// Checkpoint or export.
    File,
    /// Kept sets.
    Kept,
    /// Validation.
    Validation,
    /// Best validation so far.
    Best,
    /// Samples.
    Sample,
    /// Needs a look.
    Warning,
    /// Went wrong.
    Problem,
}

impl EventKind {
    /// Its name in the filter.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Run | Self::Pause => t!("words-kind-run"),
            Self::File => t!("words-kind-files"),
            Self::Kept => t!("words-kind-kept"),
            Self::Validation | Self::Best => t!("words-kind-validation"),
            Self::Sample => t!("words-kind-samples"),
            Self::Warning => t!("words-kind-warnings"),
            Self::Problem => t!("words-kind-problems"),
        }
    }
}

/// Something that happened, in words.
#[derive(Debug, Clone, PartialEq)]
pub struct EventLine {
    /// Step.
    pub step: u64,
    /// When, milliseconds since 1970.
    pub at_millis: i64,
    /// What it is about.
    pub kind: EventKind,
    /// The words.
    pub text: String,
}

/// Most lines kept for the window.
const LINE_LIMIT: usize = 5000;

/// Everything folded so far.
#[derive(Debug, Clone, Default)]
pub struct EventLog {
    /// Number of the last event read.
    pub last_id: i64,
    /// Lines, oldest first.
    pub lines: Arc<Vec<EventLine>>,
    /// Checkpoints.
    pub checkpoints: Vec<CheckpointMark>,
    /// Samples by prompt.
    pub samples: Vec<SamplePrompt>,
    /// The wait before the first step.
    pub preparing: Option<Preparing>,
    /// Exports.
    pub exports: Vec<ExportRecord>,
    /// Positions measured by kept set.
    pub positions: Vec<(String, u64)>,
    /// Steps that the run went on from.
    pub starts: Vec<u64>,
    /// Step of the newest measurement of the kept sets.
    kept_step: Option<u64>,
    budget_nats: f64,
    /// The step of the newest measurement of the kept sets and what each set lost by then, nats.
    newest: (u64, Vec<(String, f64)>),
}

impl EventLog {
    /// An empty log of a run whose forgetting may reach `budget_nats`.
    #[must_use]
    pub fn new(budget_nats: f64) -> Self {
        Self { budget_nats, ..Self::default() }
    }

    /// Folds new events in.
    pub fn extend(&mut self, events: &[StoredEvent]) {
        for stored in events {
            self.last_id = stored.id;
            self.fold(stored);
        }
    }

    fn line(&mut self, stored: &StoredEvent, kind: EventKind, text: String) {
        let lines = Arc::make_mut(&mut self.lines);
        lines.push(EventLine { step: stored.step, at_millis: stored.at_millis, kind, text });
        if lines.len() > LINE_LIMIT {
            lines.drain(..LINE_LIMIT / 10);
        }
    }

    fn fold(&mut self, stored: &StoredEvent) {
        match &stored.event {
            Event::Preparing { stage, done, total, unit, .. } => {
                let known = self.preparing.as_ref().is_some_and(|preparing| preparing.stage == *stage);
                self.preparing =
                    Some(Preparing { stage: stage.clone(), done: *done, total: *total, unit: unit.clone() });
                if known {
                    return;
                }
            }
            Event::Started { resumed_from, .. } => {
                self.preparing = None;
                if *resumed_from > 0 {
                    // What came after the checkpoint was dropped from the store as well.
                    Arc::make_mut(&mut self.lines).retain(|line| line.step <= *resumed_from);
                    self.checkpoints.retain(|mark| mark.step <= *resumed_from);
                    self.kept_step = self.kept_steps_up_to(*resumed_from);
                    self.newest.1.clear();
                    self.starts.retain(|start| start < resumed_from);
                    self.starts.push(*resumed_from);
                    for sample in &mut self.samples {
                        sample.answers.retain(|(step, _)| step <= resumed_from);
                    }
                }
            }
            Event::Checkpoint { step, path, bytes } => {
                self.checkpoints.retain(|mark| mark.step != *step);
                self.checkpoints.push(CheckpointMark { step: *step, bytes: *bytes, path: path.clone() });
            }
            Event::Sample { step, prompt, text } => return self.sample(stored, *step, prompt, text),
            Event::Probe { step, set, loss_delta, positions, .. } => {
                match self.positions.iter_mut().find(|(name, _)| name == set) {
                    Some(known) => known.1 = *positions,
                    None => self.positions.push((set.clone(), *positions)),
                }
                self.kept_step = Some(*step);
                return self.kept(stored, *step, set, *loss_delta);
            }
            Event::Written { format, path, bytes, sha256 } => {
                self.exports.retain(|export| export.path != *path);
                self.exports.push(ExportRecord {
                    format: format.clone(),
                    path: path.clone(),
                    bytes: *bytes,
                    sha256: sha256.clone(),
                    at_millis: stored.at_millis,
                    ..ExportRecord::default()
                });
            }
            Event::Certificate { pass, format, reasons, checks, path, .. } => {
                if let Some(export) = self.exports.iter_mut().rev().find(|e| e.path == *path || e.format == *format) {
                    export.pass = Some(*pass);
                    export.reasons.clone_from(reasons);
                    export.checks.clone_from(checks);
                }
            }
            _ => {}
        }
        if let Some((kind, text)) = words::say(&stored.event, self.kept_step) {
            self.line(stored, kind, text);
        }
    }

    /// Step of the newest line about kept sets that is left after a return to `step`.
    fn kept_steps_up_to(&self, step: u64) -> Option<u64> {
        let kept = self.lines.iter().filter(|line| line.kind == EventKind::Kept && line.step <= step);
        kept.map(|line| line.step).max()
    }

    fn sample(&mut self, stored: &StoredEvent, step: u64, prompt: &str, text: &str) {
        let index = match self.samples.iter().position(|sample| sample.prompt == prompt) {
            Some(index) => index,
            None => {
                self.samples.push(SamplePrompt { prompt: prompt.to_owned(), ..SamplePrompt::default() });
                self.samples.len() - 1
            }
        };
        let sample = &mut self.samples[index];
        if step == 0 {
            sample.base = Some(text.to_owned());
        } else {
            sample.answers.retain(|(known, _)| *known != step);
            sample.answers.push((step, text.to_owned()));
        }
        // One line for all prompts of a step.
        let answered = self.lines.last().is_some_and(|line| line.kind == EventKind::Sample && line.step == step);
        if !answered {
            let text = if step == 0 { t!("words-samples-base") } else { t!("words-samples") };
            self.line(stored, EventKind::Sample, text.to_owned());
        }
    }

    /// One line per step: the worst of its kept sets.
    fn kept(&mut self, stored: &StoredEvent, step: u64, set: &str, delta: f64) {
        if self.newest.0 != step {
            self.newest = (step, Vec::new());
        }
        let sets = &mut self.newest.1;
        match sets.iter_mut().find(|(name, _)| name == set) {
            // A run that went back measures a step once more.
            Some(known) => known.1 = delta,
            None => sets.push((set.to_owned(), delta)),
        }
        // One that is no number is worse than any other.
        let worst = sets.iter().reduce(|one, other| if one.1.is_nan() || one.1 >= other.1 { one } else { other });
        let (worst, lost) = worst.map_or((set, delta), |(name, lost)| (name.as_str(), *lost));
        let text = words::kept_line(step, worst, lost, self.budget_nats);
        let lines = Arc::make_mut(&mut self.lines);
        match lines.last_mut() {
            Some(line) if line.kind == EventKind::Kept && line.step == step => line.text = text,
            _ => self.line(stored, EventKind::Kept, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(id: i64, step: u64, event: Event) -> StoredEvent {
        StoredEvent { id, at_millis: id, step, event }
    }

    fn probe(step: u64, set: &str, loss_delta: f64) -> Event {
        Event::Probe {
            step,
            set: set.to_owned(),
            loss: 2.0,
            loss_delta,
            kl: 0.0,
            top1_agreement: 1.0,
            perplexity_ratio: 1.0,
            negative_flips: 0.0,
            positions: 160,
        }
    }

    #[test]
    fn kept_sets_of_a_step_are_one_line_with_the_worst() {
        let mut log = EventLog::new(0.05);
        log.extend(&[
            stored(1, 50, probe(50, "prose", 0.01)),
            stored(2, 50, probe(50, "arithmetic", 0.041)),
            stored(3, 50, probe(50, "code", 0.002)),
        ]);
        assert_eq!(log.lines.len(), 1);
        assert!(log.lines[0].text.contains("arithmetic +0.041 of +0.050"), "{}", log.lines[0].text);
        assert_eq!(log.last_id, 3);
    }

    #[test]
    fn a_kept_set_that_is_no_number_is_the_worst() {
        for sets in [[("prose", 0.01), ("code", f64::NAN)], [("code", f64::NAN), ("prose", 0.01)]] {
            let mut log = EventLog::new(0.05);
            log.extend(&sets.map(|(set, lost)| stored(1, 50, probe(50, set, lost))));
            assert!(log.lines[0].text.contains("code"), "{}", log.lines[0].text);
        }
    }

    #[test]
    fn a_step_that_is_measured_again_has_the_worst_of_the_new_measurement() {
        let mut log = EventLog::new(0.05);
        log.extend(&[stored(1, 50, probe(50, "prose", 0.09)), stored(2, 50, probe(50, "code", 0.02))]);
        log.extend(&[stored(3, 40, started(40))]);
        log.extend(&[stored(4, 50, probe(50, "prose", 0.01))]);
        let text = &log.lines.last().expect("a line").text;
        assert!(text.contains("prose +0.010"), "{text}");
        // Without a start between, as after the budget made it go back.
        log.extend(&[stored(5, 50, probe(50, "code", 0.03)), stored(6, 50, probe(50, "code", 0.005))]);
        let text = &log.lines.last().expect("a line").text;
        assert!(text.contains("prose +0.010"), "{text}");
        assert_eq!(log.starts, [40]);
    }

    fn started(resumed_from: u64) -> Event {
        Event::Started {
            run: 1,
            project: "p".into(),
            method: "lora".to_owned(),
            model_parameters: 1,
            trained_parameters: 1,
            seed: 1,
            threads: 1,
            device: "cpu".to_owned(),
            max_steps: 200,
            resumed_from,
        }
    }

    #[test]
    fn a_resumed_run_forgets_what_came_after_its_checkpoint() {
        let mut log = EventLog::new(0.05);
        let checkpoint = |step| Event::Checkpoint { step, path: "c".into(), bytes: 1 };
        log.extend(&[stored(1, 50, checkpoint(50)), stored(2, 100, checkpoint(100))]);
        log.extend(&[stored(3, 50, started(50))]);
        assert_eq!(log.checkpoints.len(), 1);
        assert!(log.lines.iter().all(|line| line.step <= 50));
    }

    #[test]
    fn answers_stand_beside_the_base() {
        let mut log = EventLog::new(0.05);
        let sample = |step, text: &str| Event::Sample { step, prompt: "Hi".to_owned(), text: text.to_owned() };
        log.extend(&[stored(1, 0, sample(0, "base")), stored(2, 50, sample(50, "new"))]);
        assert_eq!(log.samples.len(), 1);
        assert_eq!(log.samples[0].base.as_deref(), Some("base"));
        assert_eq!(log.samples[0].answers, vec![(50, "new".to_owned())]);
    }
}
