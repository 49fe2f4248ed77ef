//! The glossary: each term of the window, explained once, and where it is named.
//!
//! Place in the data flow: forms, heads of panels and of columns ask [`of_label`] and [`of_setting`] whether what they
//! show is a term (see [`crate::widgets::term`]); the palette finds terms by [`find`]; the overlay of the glossary
//! lists [`TERMS`]. The words themselves are texts as all others.

use crate::state::Room;
use crate::texts::{Language, Text, spoken};

/// A term.
#[derive(Debug)]
pub struct Term {
    /// Its key.
    pub key: &'static str,
    /// Its name.
    pub word: Text,
    /// What it means.
    pub meaning: Text,
    /// Texts of the window that name it.
    labels: &'static [Text],
    /// Settings of methods that are about it, by key.
    settings: &'static [&'static str],
}

impl Term {
    /// Where the window names it: rooms, and the words that stand there in the language of this thread. Words that many
    /// rooms share are no place.
    #[must_use]
    pub fn places(&self) -> Vec<(Room, &'static str)> {
        self.labels.iter().filter_map(|text| Some((room_of(text.key())?, text.get()))).collect()
    }

    /// Settings of methods that are about it, by key.
    #[must_use]
    pub fn settings(&self) -> &'static [&'static str] {
        self.settings
    }

    /// Name and meaning, small.
    fn words(&self) -> String {
        format!("{} {}", self.word.get(), self.meaning.get()).to_lowercase()
    }
}

/// The room that a text belongs to, by the file that its key begins with.
fn room_of(key: &str) -> Option<Room> {
    match key.split('-').next().unwrap_or_default() {
        "model" | "data" | "method" | "train" | "keep" | "preflight" => Some(Room::Setup),
        "watch" | "race" => Some(Room::Watch),
        "compare" => Some(Room::Compare),
        "export" => Some(Room::Export),
        _ => None,
    }
}

/// Terms that the help explains beside the keys: the first ones.
pub const IN_HELP: usize = 9;

macro_rules! terms {
    ($(($key:literal, $word:literal, $meaning:literal, [$($label:literal),*], [$($setting:literal),*])),* $(,)?) => {
        &[$(Term {
            key: $key,
            word: k!($word),
            meaning: k!($meaning),
            labels: &[$(k!($label)),*],
            settings: &[$($setting),*],
        }),*]
    };
}

/// Every term; those that a beginner meets first in front.
pub static TERMS: &[Term] = terms![
    (
        "loss",
        "glossary-loss",
        "glossary-loss-words",
        [
            "watch-loss",
            "compare-validation-loss",
            "compare-train-loss",
            "compare-raw-loss",
            "compare-col-best",
            "compare-col-loss",
            "common-loss"
        ],
        []
    ),
    ("nat", "glossary-nat", "glossary-nat-words", ["common-nats"], []),
    (
        "forgetting",
        "glossary-forgetting",
        "glossary-forgetting-words",
        ["watch-forgetting", "compare-col-forgetting", "common-forgetting"],
        []
    ),
    ("kept", "glossary-kept", "glossary-kept-words", ["keep-material"], []),
    ("budget", "glossary-budget", "glossary-budget-words", ["keep-budget", "keep-exceed"], []),
    (
        "rank",
        "glossary-rank",
        "glossary-rank-words",
        ["common-rank", "watch-microscope"],
        ["rank", "rank_pattern", "init_rank", "task_rank", "window_rank", "sequential_rank"]
    ),
    ("effective", "glossary-effective", "glossary-effective-words", ["watch-effective-over"], []),
    ("adapter", "glossary-adapter", "glossary-adapter-words", ["compare-col-size"], []),
    ("certificate", "glossary-certificate", "glossary-certificate-words", [], []),
    ("alpha", "glossary-alpha", "glossary-alpha-words", [], ["alpha", "alpha_pattern", "rslora"]),
    ("targets", "glossary-targets", "glossary-targets-words", [], ["targets", "exclude", "layers"]),
    ("dropout", "glossary-dropout", "glossary-dropout-words", [], ["dropout"]),
    ("ratio", "glossary-ratio", "glossary-ratio-words", [], ["lora_plus_ratio"]),
    ("start", "glossary-start", "glossary-start-words", [], ["init"]),
    ("rate", "glossary-rate", "glossary-rate-words", ["train-rate", "watch-rates"], []),
    ("schedule", "glossary-schedule", "glossary-schedule-words", ["train-schedule", "train-floor", "train-fall"], []),
    ("warmup", "glossary-warmup", "glossary-warmup-words", ["train-warmup"], []),
    ("gradient", "glossary-gradient", "glossary-gradient-words", ["train-clip", "watch-norm"], []),
    ("decay", "glossary-decay", "glossary-decay-words", ["train-decay"], []),
    (
        "moments",
        "glossary-moments",
        "glossary-moments-words",
        ["train-moments", "train-beta1", "train-beta2", "train-optimiser"],
        []
    ),
    ("step", "glossary-step", "glossary-step-words", ["train-steps", "common-step", "common-steps"], []),
    ("batch", "glossary-batch", "glossary-batch-words", ["train-batch"], []),
    ("micro", "glossary-micro", "glossary-micro-words", ["train-accumulate"], []),
    ("epoch", "glossary-epoch", "glossary-epoch-words", [], []),
    ("seed", "glossary-seed", "glossary-seed-words", ["train-seed"], []),
    ("token", "glossary-token", "glossary-token-words", ["common-tokens"], []),
    ("length", "glossary-length", "glossary-length-words", ["train-longest"], []),
    ("packing", "glossary-packing", "glossary-packing-words", ["train-packing"], []),
    ("trained", "glossary-trained", "glossary-trained-words", ["train-loss-on"], []),
    ("template", "glossary-template", "glossary-template-words", [], []),
    ("quarantine", "glossary-quarantine", "glossary-quarantine-words", [], []),
    (
        "validation",
        "glossary-validation",
        "glossary-validation-words",
        ["train-validation", "train-validate", "watch-validation"],
        []
    ),
    ("patience", "glossary-patience", "glossary-patience-words", ["train-patience"], []),
    ("spike", "glossary-spike", "glossary-spike-words", ["train-spike", "train-spike-factor"], []),
    (
        "checkpoint",
        "glossary-checkpoint",
        "glossary-checkpoint-words",
        ["common-checkpoints", "train-keep", "train-best-by"],
        []
    ),
    ("snapshot", "glossary-snapshot", "glossary-snapshot-words", ["train-snapshots"], []),
    (
        "recompute",
        "glossary-recompute",
        "glossary-recompute-words",
        ["train-recompute", "train-kept", "train-frozen"],
        []
    ),
    ("base", "glossary-base", "glossary-base-words", ["watch-base-model", "compare-base"], []),
    ("quantised", "glossary-quantised", "glossary-quantised-words", ["model-held"], []),
    ("nf4", "glossary-nf4", "glossary-nf4-words", [], []),
    ("merge", "glossary-merge", "glossary-merge-words", [], []),
    ("gguf", "glossary-gguf", "glossary-gguf-words", [], []),
    ("peft", "glossary-peft", "glossary-peft-words", [], []),
    ("perplexity", "glossary-perplexity", "glossary-perplexity-words", [], []),
    ("bits", "glossary-bits", "glossary-bits-words", [], []),
    ("kl", "glossary-kl", "glossary-kl-words", [], []),
    ("flips", "glossary-flips", "glossary-flips-words", [], []),
    ("energy", "glossary-energy", "glossary-energy-words", ["watch-singular", "watch-energy-share"], []),
    ("change", "glossary-change", "glossary-change-words", ["watch-change"], []),
    (
        "expert",
        "glossary-expert",
        "glossary-expert-words",
        ["watch-expert", "watch-experts", "watch-load"],
        ["experts"]
    ),
    ("probe", "glossary-probe", "glossary-probe-words", ["watch-phase-probes"], []),
    ("bootstrap", "glossary-bootstrap", "glossary-bootstrap-words", ["compare-verdict"], []),
    ("interval", "glossary-interval", "glossary-interval-words", ["race-difference"], []),
    ("mcnemar", "glossary-mcnemar", "glossary-mcnemar-words", [], []),
    ("pareto", "glossary-pareto", "glossary-pareto-words", ["compare-tradeoff"], []),
    ("race", "glossary-race", "glossary-race-words", ["race-lanes"], []),
    ("temperature", "glossary-temperature", "glossary-temperature-words", [], []),
];

/// The term of a key.
#[must_use]
pub fn term(key: &str) -> Option<&'static Term> {
    TERMS.iter().find(|term| term.key == key)
}

/// The term that a label in the language of this thread names.
#[must_use]
pub fn of_label(label: &str) -> Option<&'static Term> {
    TERMS.iter().find(|term| term.word.get() == label || term.labels.iter().any(|text| text.get() == label))
}

/// The term that a setting of a method is about.
#[must_use]
pub fn of_setting(key: &str) -> Option<&'static Term> {
    TERMS.iter().find(|term| term.settings.contains(&key))
}

/// Most terms that [`related`] gives.
const MOST_RELATED: usize = 8;

/// Ends of a word that leave it the same word, in English and in German.
const ENDS: [&str; 6] = ["", "s", "es", "e", "n", "en"];

/// Whether `text` has `word` as a word of its own; both are small.
fn names(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|part| part.chars().next_back());
        let behind = text.get(at + word.len()..).unwrap_or_default();
        let end = behind.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
        before.is_none_or(|letter| !letter.is_alphanumeric()) && ENDS.contains(&end)
    })
}

/// Terms that the words of `term` name, and then those whose words name it; in the language of this thread.
#[must_use]
pub fn related(term: &Term) -> Vec<&'static Term> {
    let (own, word) = (term.words(), term.word.get().to_lowercase());
    let others = TERMS.iter().filter(|other| other.key != term.key);
    let (mut found, rest): (Vec<&'static Term>, Vec<&'static Term>) =
        others.partition(|other| names(&own, &other.word.get().to_lowercase()));
    found.extend(rest.into_iter().filter(|other| names(&other.words(), &word)));
    found.truncate(MOST_RELATED);
    found
}

/// Terms in whose name all words occur, in this language or in English; earlier places first. All without words.
#[must_use]
pub fn find(query: &str) -> Vec<&'static Term> {
    let words: Vec<String> = query.to_lowercase().split_whitespace().map(str::to_owned).collect();
    let mut hits: Vec<(usize, usize, &'static Term)> = Vec::new();
    for (index, term) in TERMS.iter().enumerate() {
        let mut name = term.word.get().to_lowercase();
        if spoken() != Language::English {
            name.push(' ');
            name.push_str(&term.word.in_language(Language::English).to_lowercase());
        }
        let places: Option<Vec<usize>> = words.iter().map(|word| name.find(word.as_str())).collect();
        if let Some(places) = places {
            hits.push((places.iter().sum(), index, term));
        }
    }
    hits.sort_by_key(|(place, index, _)| (*place, *index));
    hits.into_iter().map(|(_, _, term)| term).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::texts::speak;
    use std::collections::BTreeSet;

    /// Rows of forms whose name says all that there is to say.
    const PLAIN_ROWS: [&str; 2] = ["train-threads", "train-device"];

    /// Keys behind `call` in a source of the window.
    fn keys_behind<'a>(source: &'a str, call: &str) -> Vec<&'a str> {
        source.split(call).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    #[test]
    fn each_row_of_the_training_form_and_each_title_of_a_plot_is_a_term() {
        let forms = include_str!("rooms/setup/train.rs");
        let mut rows = keys_behind(forms, "label(t!(\"");
        assert!(rows.len() > 20, "the rows were not read: {rows:?}");
        rows.retain(|key| !PLAIN_ROWS.contains(key));
        let plots = [
            "watch-loss",
            "watch-rates",
            "watch-forgetting",
            "watch-microscope",
            "compare-validation-loss",
            "compare-train-loss",
            "compare-raw-loss",
            "compare-tradeoff",
            "compare-verdict",
            "race-lanes",
        ];
        for language in Language::ALL {
            speak(language);
            let missing: Vec<_> =
                rows.iter().chain(&plots).filter(|key| of_label(Text::plain(key).get()).is_none()).collect();
            assert!(missing.is_empty(), "named in {language:?}, but not in the glossary: {missing:?}");
        }
        speak(Language::English);
    }

    #[test]
    fn the_settings_that_most_methods_have_are_terms() {
        for key in ["rank", "alpha", "targets", "exclude", "layers", "dropout", "rslora", "lora_plus_ratio", "init"] {
            assert!(of_setting(key).is_some(), "{key}");
        }
        assert!(of_setting("no setting").is_none());
    }

    #[test]
    fn related_terms_are_those_that_the_words_name_and_those_that_name_them() {
        let keys = |key: &str| -> Vec<&str> {
            let found = term(key).map(related).unwrap_or_default();
            found.iter().map(|other| other.key).collect()
        };
        let forgetting = keys("forgetting");
        assert!(forgetting.starts_with(&["loss", "nat", "kept", "base"]), "{forgetting:?}");
        assert!(forgetting.contains(&"budget") && forgetting.contains(&"pareto"), "{forgetting:?}");
        assert!(keys("rank").contains(&"effective"));
        for language in Language::ALL {
            speak(language);
            for term in TERMS {
                let found = keys(term.key);
                let once: BTreeSet<&str> = found.iter().copied().collect();
                assert!(found.len() <= MOST_RELATED && once.len() == found.len(), "{}: {found:?}", term.key);
                assert!(!found.contains(&term.key), "{} is not related to itself", term.key);
            }
        }
        speak(Language::English);
        assert!(names("low-rank methods", "rank") && names("both ranks", "rank") && !names("frankly", "rank"));
    }

    #[test]
    fn a_term_is_seen_in_the_rooms_whose_texts_name_it() {
        let places = term("forgetting").map(Term::places).unwrap_or_default();
        let rooms: Vec<Room> = places.iter().map(|(room, _)| *room).collect();
        assert_eq!(rooms, [Room::Watch, Room::Compare], "not where a shared text names it");
        assert!(term("certificate").map(Term::places).unwrap_or_default().is_empty());
    }

    #[test]
    fn no_label_and_no_setting_belongs_to_two_terms() {
        for language in Language::ALL {
            speak(language);
            let words: Vec<&str> = TERMS.iter().map(|term| term.word.get()).collect();
            let unique: BTreeSet<&str> = words.iter().copied().collect();
            assert_eq!(unique.len(), words.len(), "two terms have one name in {language:?}");
            for term in TERMS {
                assert_eq!(of_label(term.word.get()).map(|found| found.key), Some(term.key), "{language:?}");
            }
        }
        speak(Language::English);
        let mut settings: Vec<&str> = TERMS.iter().flat_map(|term| term.settings).copied().collect();
        let count = settings.len();
        settings.sort_unstable();
        settings.dedup();
        assert_eq!(settings.len(), count);
    }

    #[test]
    fn terms_are_found_by_a_part_of_their_name_in_either_language() {
        assert_eq!(find("forget").first().map(|term| term.key), Some("forgetting"));
        assert_eq!(find("").len(), TERMS.len());
        assert!(find("xyzzy").is_empty());
        speak(Language::German);
        assert_eq!(find("lernr").first().map(|term| term.key), Some("rate"));
        assert_eq!(find("learning").first().map(|term| term.key), Some("rate"));
        speak(Language::English);
    }
}
