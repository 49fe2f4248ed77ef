//! Events in words, as the list of events shows them.

use super::events::EventKind;
use crate::format;
use crate::texts::{Language, spoken};
use temper_protocol::{Event, RunStatus};

/// The line of an event, or nothing when it has none of its own. `kept_step` is the step of the newest measurement
/// of the kept sets, 0 for the base.
#[must_use]
pub fn say(event: &Event, kept_step: Option<u64>) -> Option<(EventKind, String)> {
    let line = match event {
        Event::Queued { .. } => (EventKind::Run, t!("words-waits").to_owned()),
        Event::Preparing { stage, .. } => (EventKind::Run, sentence_case(stage)),
        Event::Started { method, trained_parameters, threads, device, resumed_from, .. } => {
            let trained = format::parameters(*trained_parameters);
            let text = if *resumed_from > 0 {
                t!("words-went-on-from", step = format::count(*resumed_from), method = method, trained = trained)
            } else {
                t!("words-started", method = method, trained = trained, device = device, threads = threads)
            };
            (EventKind::Run, text)
        }
        Event::Eval { step: 0, loss, .. } => (EventKind::Validation, t!("words-base", loss = format::nats(*loss))),
        Event::Eval { loss, best: true, .. } => (EventKind::Best, t!("words-best", loss = format::nats(*loss))),
        Event::Eval { loss, split, .. } => {
            (EventKind::Validation, t!("words-split", split = split_words(split), loss = format::nats(*loss)))
        }
        Event::Checkpoint { bytes, .. } => {
            let size = if *bytes > 0 { format!(", {}", format::bytes(*bytes)) } else { String::new() };
            (EventKind::File, t!("words-checkpoint", size = size))
        }
        Event::Paused { .. } => (EventKind::Pause, t!("words-event-paused").to_owned()),
        Event::Resumed { .. } => (EventKind::Run, t!("words-event-resumed").to_owned()),
        Event::Warning { code, .. } if code == "on_battery" => (EventKind::Warning, t!("words-on-battery").to_owned()),
        Event::Warning { code, text, .. } if code == "off_battery" => (EventKind::Run, sentence_case(text)),
        Event::Warning { text, .. } => (EventKind::Warning, sentence_case(text)),
        Event::Finished { status, best_step, best_loss, forgetting, problem, .. } => match (status, problem) {
            (RunStatus::Failed, Some(problem)) => (EventKind::Problem, sentence_case(&problem.what)),
            (RunStatus::Failed, None) => (EventKind::Problem, t!("words-event-failed").to_owned()),
            (RunStatus::Cancelled, _) => (EventKind::Run, t!("words-event-cancelled").to_owned()),
            (RunStatus::Finished | RunStatus::Stopped, _) => {
                let word =
                    if *status == RunStatus::Finished { t!("words-event-finished") } else { t!("words-event-stopped") };
                let best = if best_loss.is_finite() && *best_step > 0 {
                    t!("words-best-at", loss = format::nats(*best_loss), step = format::count(*best_step))
                } else {
                    t!("words-no-validation").to_owned()
                };
                let kept = match kept_step {
                    Some(0) | None => t!("words-no-forgetting").to_owned(),
                    Some(step) => {
                        t!("words-forgetting-at", nats = format::signed_nats(*forgetting), step = format::count(step))
                    }
                };
                (EventKind::Run, format!("{word}: {best}, {kept}"))
            }
        },
        Event::Written { format, bytes, .. } => {
            (EventKind::File, t!("words-written", format = format, size = format::bytes(*bytes)))
        }
        Event::Certificate { pass, format, .. } => {
            if *pass {
                (EventKind::File, t!("words-passed", format = format))
            } else {
                (EventKind::Problem, t!("words-refused", format = format))
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
        return t!("words-kept-base").to_owned();
    }
    let delta = format::signed_nats(delta);
    t!("words-kept", worst = worst, delta = delta, budget = format::signed_nats(budget))
}

/// The name of a part of the data, at the beginning of a line.
fn split_words(split: &str) -> String {
    match split {
        "validation" => t!("words-split-validation").to_owned(),
        "test" => t!("words-split-test").to_owned(),
        other => sentence_case(other),
    }
}

/// The word for the status of a run; one that is not known stays as it is.
#[must_use]
pub fn status(status: &str) -> &str {
    match status {
        "queued" => t!("words-queued"),
        "preparing" => t!("words-preparing"),
        "running" => t!("words-running"),
        "paused" => t!("words-paused"),
        "finished" => t!("words-finished"),
        "stopped" => t!("words-stopped"),
        "cancelled" => t!("words-cancelled"),
        "failed" => t!("words-failed"),
        "interrupted" => t!("words-interrupted"),
        other => other,
    }
}

/// Whether a text begins with the name of a file, a setting or a layer, whose letters must stay as they are.
fn begins_with_name(text: &str) -> bool {
    let first_word = text.split_whitespace().next().unwrap_or_default().trim_end_matches(['.', ':', ',', ';']);
    first_word.contains(['.', '/', '\\', '_'])
}

/// The first letter large, unless the first word is a name, which stays as it is.
#[must_use]
pub fn sentence_case(text: &str) -> String {
    if begins_with_name(text) {
        return text.to_owned();
    }
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A name of a form as the head of a column, which begins small, unless its first word is a name such as `LoRA+`.
/// German nouns stay large.
#[must_use]
pub fn head_case(text: &str) -> String {
    let first = text.split_whitespace().next().unwrap_or_default();
    if spoken() == Language::German || begins_with_name(text) || first.chars().skip(1).any(char::is_uppercase) {
        return text.to_owned();
    }
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// Ends of names of files.
const FILE_ENDS: [&str; 13] = [
    ".json",
    ".jsonl",
    ".csv",
    ".tsv",
    ".txt",
    ".md",
    ".parquet",
    ".gguf",
    ".safetensors",
    ".bin",
    ".pt",
    ".toml",
    ".model",
];
/// Parts of a project file.
const SECTIONS: [&str; 7] = ["model.", "data.", "method.", "train.", "keep.", "samples.", "export."];

/// A text as a sentence: it begins with a large letter even where its first word is a name, which then gets a word
/// before it that says what it is.
#[must_use]
pub fn sentence(text: &str) -> String {
    let text = text.trim();
    if !begins_with_name(text) || !text.starts_with(|letter: char| letter.is_lowercase() || "./\\".contains(letter)) {
        return sentence_case(text);
    }
    let name = text.split_whitespace().next().unwrap_or_default().trim_end_matches(['.', ':', ',', ';']);
    let what = if name.contains(['/', '\\']) || FILE_ENDS.iter().any(|end| name.ends_with(end)) {
        t!("words-file")
    } else if SECTIONS.iter().any(|section| name.starts_with(section)) {
        t!("words-setting")
    } else {
        t!("words-part")
    };
    format!("{what} {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_best_validation_is_said_as_such() {
        let event = Event::Eval { step: 350, split: "validation".to_owned(), loss: 1.427, best: true };
        let line = say(&event, None).expect("a line");
        assert_eq!(line, (EventKind::Best, "Best so far, validation 1.427 nats".to_owned()));
    }

    #[test]
    fn a_sentence_begins_large_but_names_of_files_stay() {
        assert_eq!(sentence_case("the engine is gone"), "The engine is gone");
        assert_eq!(sentence_case("broken. Try again"), "Broken. Try again");
        assert_eq!(sentence_case("pytorch_model.bin is a pickle"), "pytorch_model.bin is a pickle");
        assert_eq!(sentence_case(""), "");
    }

    #[test]
    fn a_head_begins_small_but_names_and_german_nouns_do_not() {
        for (text, shown) in
            [("Learning rate", "learning rate"), ("LoRA+ ratio", "LoRA+ ratio"), ("method.rank", "method.rank")]
        {
            assert_eq!(head_case(text), shown);
        }
        crate::texts::speak(Language::German);
        assert_eq!(head_case("Lernrate"), "Lernrate");
        crate::texts::speak(Language::English);
    }

    #[test]
    fn every_line_begins_large_whatever_its_first_word_is() {
        for (text, shown) in [
            ("more is forgotten than allowed: +0.061 nats", "More is forgotten than allowed: +0.061 nats"),
            ("notes.txt: 3 rows are too long", "File notes.txt: 3 rows are too long"),
            ("/a/b/checkpoints/50 is skipped", "File /a/b/checkpoints/50 is skipped"),
            ("train.lr_peak is far above the usual", "Setting train.lr_peak is far above the usual"),
            ("layers.3.attn.q got no gradient", "Part layers.3.attn.q got no gradient"),
            ("12 rows were cut", "12 rows were cut"),
            ("  the run had not written a checkpoint", "The run had not written a checkpoint"),
            ("", ""),
        ] {
            assert_eq!(sentence(text), shown);
            assert!(!sentence(text).starts_with(char::is_lowercase));
        }
    }

    #[test]
    fn a_pause_is_told_from_what_goes_on() {
        let kind = |event: &Event| say(event, None).map(|(kind, _)| kind);
        assert_eq!(kind(&Event::Paused { run: 1, step: 5 }), Some(EventKind::Pause));
        assert_eq!(kind(&Event::Resumed { run: 1, step: 5 }), Some(EventKind::Run));
        assert_eq!(EventKind::Pause.name(), EventKind::Run.name(), "one filter shows both");
    }

    #[test]
    fn a_step_has_no_line() {
        let step = Event::Phases { step: 1, secs: std::collections::BTreeMap::new() };
        assert_eq!(say(&step, None), None);
    }

    #[test]
    fn an_end_before_the_first_measurements_says_that_there_were_none() {
        let ended = |best_step, best_loss, forgetting| Event::Finished {
            run: 1,
            status: RunStatus::Stopped,
            steps: 12,
            best_step,
            base_loss: 2.9,
            final_loss: 2.9,
            best_loss,
            forgetting,
            tokens_per_sec: 1.0,
            cpu_secs_per_step: 1.0,
            peak_rss_mib: 1.0,
            wall_secs: 1.0,
            adapter: None,
            problem: None,
        };
        let words = |event: &Event, kept| say(event, kept).expect("a line").1;
        let early = "Stopped and kept: there was no validation, forgetting was not measured";
        assert_eq!(words(&ended(0, f64::NAN, 0.0), Some(0)), early);
        let late = "Stopped and kept: best 1.427 nats at step 1,150, forgetting +0.041 at step 1,200";
        assert_eq!(words(&ended(1150, 1.427, 0.041), Some(1200)), late);
    }
}
