//! Events in words, as the list of events shows them.

use super::events::EventKind;
use crate::format;
use temper_protocol::{Event, RunStatus};

/// The line of an event, or nothing when it has none of its own.
#[must_use]
pub fn say(event: &Event) -> Option<(EventKind, String)> {
    let line = match event {
        Event::Queued { .. } => (EventKind::Run, "Waits until the engine is free".to_owned()),
        Event::Preparing { stage, .. } => (EventKind::Run, sentence_case(stage)),
        Event::Started { method, trained_parameters, threads, device, resumed_from, .. } => {
            let trained = format::parameters(*trained_parameters);
            let text = if *resumed_from > 0 {
                format!("Went on from step {resumed_from}: {method}, {trained} parameters trained")
            } else {
                format!("Started: {method}, {trained} parameters trained, {device}, {threads} threads")
            };
            (EventKind::Run, text)
        }
        Event::Eval { step: 0, loss, .. } => {
            (EventKind::Validation, format!("Base validation {} nats", format::nats(*loss)))
        }
        Event::Eval { loss, best: true, .. } => {
            (EventKind::Best, format!("Best validation so far, {} nats", format::nats(*loss)))
        }
        Event::Eval { loss, split, .. } => {
            (EventKind::Validation, format!("{} {} nats", sentence_case(split), format::nats(*loss)))
        }
        Event::Checkpoint { bytes, .. } => {
            let size = if *bytes > 0 { format!(", {}", format::bytes(*bytes)) } else { String::new() };
            (EventKind::File, format!("Checkpoint written{size}"))
        }
        Event::Paused { .. } => (EventKind::Run, "Paused".to_owned()),
        Event::Resumed { .. } => (EventKind::Run, "Went on".to_owned()),
        Event::Warning { text, .. } => (EventKind::Warning, sentence_case(text)),
        Event::Finished { status, best_step, best_loss, forgetting, problem, .. } => match (status, problem) {
            (RunStatus::Failed, Some(problem)) => (EventKind::Problem, sentence_case(&problem.what)),
            (RunStatus::Failed, None) => (EventKind::Problem, "Failed".to_owned()),
            (RunStatus::Cancelled, _) => (EventKind::Run, "Cancelled; nothing new was kept".to_owned()),
            (RunStatus::Finished | RunStatus::Stopped, _) => {
                let word = if *status == RunStatus::Finished { "Finished" } else { "Stopped and kept" };
                let text = if best_loss.is_finite() && *best_step > 0 {
                    let best = format!("best {} nats at step {best_step}", format::nats(*best_loss));
                    format!("{word}: {best}, forgetting {}", format::signed_nats(*forgetting))
                } else {
                    format!("{word} before its first validation")
                };
                (EventKind::Run, text)
            }
        },
        Event::Written { format, bytes, .. } => {
            (EventKind::File, format!("Export written: {format}, {}", format::bytes(*bytes)))
        }
        Event::Certificate { pass, format, .. } => {
            if *pass {
                (EventKind::File, format!("Certificate passed: {format}"))
            } else {
                (EventKind::Problem, format!("Certificate refused: {format}"))
            }
        }
        Event::Error(problem) => (EventKind::Problem, sentence_case(&problem.what)),
        _ => return None,
    };
    Some(line)
}

/// The line of a round of kept sets.
#[must_use]
pub fn kept_line(step: u64, worst: &str, delta: f64, budget: f64) -> String {
    if step == 0 {
        return "Kept sets measured on the base".to_owned();
    }
    let delta = format::signed_nats(delta);
    format!("Kept sets measured, worst {worst} {delta} of {} nats", format::signed_nats(budget))
}

/// The first letter large, unless the first word is the name of a file, which stays as it is.
#[must_use]
pub fn sentence_case(text: &str) -> String {
    let first_word = text.split_whitespace().next().unwrap_or_default().trim_end_matches(['.', ':', ',', ';']);
    if first_word.contains(['.', '/', '\\', '_']) {
        return text.to_owned();
    }
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_best_validation_is_said_as_such() {
        let event = Event::Eval { step: 350, split: "validation".to_owned(), loss: 1.427, best: true };
        let line = say(&event).expect("a line");
        assert_eq!(line, (EventKind::Best, "Best validation so far, 1.427 nats".to_owned()));
    }

    #[test]
    fn a_sentence_begins_large_but_names_of_files_stay() {
        assert_eq!(sentence_case("the engine is gone"), "The engine is gone");
        assert_eq!(sentence_case("broken. Try again"), "Broken. Try again");
        assert_eq!(sentence_case("pytorch_model.bin is a pickle"), "pytorch_model.bin is a pickle");
        assert_eq!(sentence_case(""), "");
    }

    #[test]
    fn a_step_has_no_line() {
        let step = Event::Phases { step: 1, secs: std::collections::BTreeMap::new() };
        assert_eq!(say(&step), None);
    }
}
