//! What must be true of the texts: every key is used and every used key is there, German has the same keys with the same
//! arguments, Fluent can read and resolve all of it, and no words for a person stand in the code.

use super::catalogue::{self, ENGLISH, Entry, FILES, GERMAN, TEXTS};
use super::table::Table;
use super::{Language, Text, Value};
use crate::t;
use fluent_bundle::FluentResource;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Most lines of a file of texts.
const LONGEST_FILE: usize = 600;

/// Parts of the sources that speak to terminals, logs, developers and other programs, which is English.
const NOT_THE_WINDOW: [&str; 14] = [
    "cli",
    "probe",
    "texts",
    "theme",
    "instance",
    "desktop.rs",
    "herald.rs",
    "shutdown.rs",
    "testing.rs",
    "main.rs",
    "window.rs",
    // Markup alone: the words come from elsewhere.
    "plots/svg.rs",
    "report/html.rs",
    "report/plot.rs",
];

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder of sources").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|end| end == "rs") {
            into.push(path);
        }
    }
}

/// Sources of the window with their names below `src`, without their tests.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    let name = |path: &Path| path.strip_prefix(&root).expect("below src").display().to_string().replace('\\', "/");
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a source");
        let program = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        (name(&path), program)
    };
    files.into_iter().filter(|path| !path.ends_with("texts/check.rs")).map(read).collect()
}

/// Keys that the sources name, each with the first file that does.
fn used() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (name, text) in sources() {
        for literal in literals(&text) {
            let is_key = literal.text.contains('-') && TEXTS.iter().any(|entry| entry.key == literal.text);
            if is_key || literal.is_key {
                found.entry(literal.text).or_insert_with(|| name.clone());
            }
        }
    }
    found
}

struct Literal {
    text: String,
    /// It stands in `t!(..)` or `k!(..)`.
    is_key: bool,
    /// What stands in front of it on its line.
    before: String,
    /// What stands behind it.
    after: String,
    line: usize,
}

/// Plain string literals of a source, comments left out.
fn literals(source: &str) -> Vec<Literal> {
    let letters: Vec<char> = source.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    let mut line = 1;
    while at < letters.len() {
        match letters[at] {
            '/' if letters.get(at + 1) == Some(&'/') => {
                while at < letters.len() && letters[at] != '\n' {
                    at += 1;
                }
            }
            '\'' if letters.get(at + 2) == Some(&'\'') => at += 3,
            '\'' if letters.get(at + 1) == Some(&'\\') => {
                at += 3;
                while letters.get(at).is_some_and(|letter| *letter != '\'') {
                    at += 1;
                }
                at += 1;
            }
            '"' => {
                let start = at;
                let mut text = String::new();
                at += 1;
                while letters.get(at).is_some_and(|letter| *letter != '"') {
                    if letters[at] == '\\' {
                        text.push(letters[at]);
                        at += 1;
                    }
                    text.push(letters[at]);
                    at += 1;
                }
                at += 1;
                let from = letters[..start].iter().rposition(|letter| *letter == '\n').map_or(0, |place| place + 1);
                let before: String = letters[from..start].iter().collect();
                let after: String = letters[at..letters.len().min(at + 30)].iter().collect();
                let wide: String = letters[start.saturating_sub(60)..start].iter().collect();
                let call = ["t!(", "k!("].iter().find_map(|call| wide.trim_end().strip_suffix(call));
                let is_key = call.is_some_and(|rest| !rest.ends_with(char::is_alphanumeric));
                let lines = text.matches('\n').count();
                found.push(Literal { text, is_key, before: if from == start { wide } else { before }, after, line });
                line += lines;
            }
            '\n' => {
                line += 1;
                at += 1;
            }
            _ => at += 1,
        }
    }
    found
}

fn keys(files: &[&'static str]) -> BTreeMap<&'static str, Entry> {
    let entries = catalogue::read(files);
    let count = entries.len();
    let map: BTreeMap<_, _> = entries.into_iter().map(|entry| (entry.key, entry)).collect();
    assert_eq!(map.len(), count, "a key stands there twice");
    map
}

#[test]
fn every_used_key_has_a_text_and_every_text_is_used() {
    let used = used();
    let there: BTreeSet<&str> = TEXTS.iter().map(|entry| entry.key).collect();
    let missing: Vec<_> = used.iter().filter(|(key, _)| !there.contains(key.as_str())).collect();
    assert!(missing.is_empty(), "used, but in no file of assets/texts/en: {missing:?}");
    let unused: Vec<_> = there.iter().filter(|key| !used.contains_key(**key)).collect();
    assert!(unused.is_empty(), "in assets/texts/en, but used nowhere: {unused:?}");
    assert!(used.len() > 500, "the sources were not read: {} keys", used.len());
}

#[test]
fn german_has_the_keys_and_arguments_of_english() {
    let (english, german) = (keys(ENGLISH), keys(GERMAN));
    let missing: Vec<_> = english.keys().filter(|key| !german.contains_key(**key)).collect();
    assert!(missing.is_empty(), "missing in assets/texts/de: {missing:?}");
    let superfluous: Vec<_> = german.keys().filter(|key| !english.contains_key(**key)).collect();
    assert!(superfluous.is_empty(), "in assets/texts/de only: {superfluous:?}");
    for (key, entry) in &english {
        let (mut ours, mut theirs) = (catalogue::arguments(entry.body), catalogue::arguments(german[key].body));
        assert!(theirs.iter().all(|name| ours.contains(name)), "arguments of {key}: {theirs:?} instead of {ours:?}");
        // A language may have one form for all numbers where English has two; what is shown must be shown.
        ours.retain(|name| *name != "n");
        theirs.retain(|name| *name != "n");
        assert_eq!(ours, theirs, "arguments of {key}");
    }
}

#[test]
fn fluent_reads_every_file_and_finds_what_the_catalogue_finds() {
    for (language, files) in [("en", ENGLISH), ("de", GERMAN)] {
        for (name, text) in FILES.iter().zip(files) {
            let resource = FluentResource::try_new((*text).to_owned());
            let resource =
                resource.map_err(|(_, errors)| format!("{language}/{name}.ftl: {errors:?}")).expect("Fluent");
            let messages = catalogue::read(&[text]).len();
            assert!(text.starts_with("# "), "{language}/{name}.ftl says what it is for");
            assert_eq!(resource.entries().count(), messages, "{language}/{name}.ftl");
            assert!(text.lines().count() <= LONGEST_FILE, "{language}/{name}.ftl is too long");
        }
    }
}

#[test]
fn every_text_is_filled_in_every_language() {
    for language in Language::ALL {
        super::speak(language);
        for entry in TEXTS {
            let names = catalogue::arguments(entry.body);
            let text = Text(catalogue::place_of(entry.key));
            let words = if names.is_empty() {
                text.get().to_owned()
            } else {
                let values: Vec<_> = names.iter().map(|name| (*name, Value::Words("<>"))).collect();
                text.fill(&values)
            };
            assert!(!words.is_empty() && words != entry.key, "{} in {language:?}", entry.key);
            assert!(!words.contains(['{', '}', '\u{1}', '\u{2068}']), "{} in {language:?}: {words}", entry.key);
            let shown = names.iter().filter(|name| **name != "n").count();
            assert!(words.matches("<>").count() >= shown, "{} in {language:?}: {words}", entry.key);
        }
        super::speak(Language::English);
    }
}

#[test]
fn forms_made_beforehand_are_those_that_fluent_chooses() {
    let counted: Vec<_> = TEXTS.iter().filter(|entry| catalogue::arguments(entry.body).contains(&"n")).collect();
    assert!(counted.len() > 10, "texts with a form for one are not found");
    for language in Language::ALL {
        super::speak(language);
        for entry in &counted {
            for n in 0..=25 {
                let name = |name: &'static str| (name, if name == "n" { Value::Number(n) } else { Value::Words("7") });
                let values: Vec<_> = catalogue::arguments(entry.body).into_iter().map(name).collect();
                let ours = Text(catalogue::place_of(entry.key)).fill(&values);
                assert_eq!(ours, Table::of(language).chosen(entry.key, &values), "{} of {n}", entry.key);
            }
        }
        let said = |n: u64| t!("drop-runs", n = n, runs = n.to_string());
        let expected = if language == Language::German { ["1 Lauf", "12 Läufe"] } else { ["1 run", "12 runs"] };
        assert_eq!([said(1), said(12)], expected);
        super::speak(Language::English);
    }
}

/// Words in the code that are no words for a person, or are the same in every language.
const SAME_EVERYWHERE: [&str; 18] = [
    "temper",
    "sha-256",
    "Temper",
    "LoRA",
    "MiB",
    "KiB",
    "GiB",
    "Metal",
    "Vulkan",
    // Programs, and commands of a terminal.
    "transformers, vLLM",
    "transformers",
    "llama.cpp, Ollama",
    "temper new {} \\\\\\n",
    "temper train {}",
    // Room for the widest figure.
    "0.0 GiB",
    "00 min",
    // The engine's names of two of its checks.
    "share of the change that survives",
    "files are as they were written",
];

/// Whether a literal looks like words for a person: several words, or one that begins large.
fn is_wordy(text: &str) -> bool {
    let plain: String = text.replace("\\n", " ");
    let mut outside = String::new();
    let mut depth = 0;
    for letter in plain.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ if depth == 0 => outside.push(letter),
            _ => {}
        }
    }
    let words: Vec<&str> = outside
        .split(|letter: char| !letter.is_alphabetic() && letter != '-' && letter != '_' && letter != '.')
        .filter(|word| word.chars().filter(|letter| letter.is_alphabetic()).count() >= 2)
        .collect();
    let large = words.first().is_some_and(|word| {
        let mut letters = word.chars();
        letters.next().is_some_and(char::is_uppercase) && letters.next().is_some_and(char::is_lowercase)
    });
    words.len() >= 2 && outside.contains(' ') || large
}

/// Calls that show their words as they are: not even a single word belongs there.
fn is_shown(literal: &Literal) -> bool {
    let calls = [
        "Align::Min,",
        "Align::Center,",
        "Align::Max,",
        "Piece(",
        "Button::new(",
        "Field::new(",
        "tooltip(",
        "on_hover_text(",
        "notice(",
        "hint:",
        "help:",
        "label:",
        "title:",
    ];
    let letters = literal.text.chars().filter(|letter| letter.is_alphabetic()).count();
    letters >= 2 && calls.iter().any(|call| literal.before.trim_end().ends_with(call))
}

/// Calls whose words are for no person: identities of widgets, names of threads, logs, reasons for the compiler.
fn is_inner(literal: &Literal) -> bool {
    let before = literal.before.trim_end();
    let calls = [
        "reason = ",
        "expect(",
        "id_salt(",
        "Id::unique(",
        "Id::unique((",
        ".name(",
        "part(ui, ",
        "tracing::debug!(",
        "tracing::warn!(",
        "tracing::info!(",
        "starts_with(",
        "contains(",
        "strip_prefix(",
        "trim_start_matches(",
        "String::from(",
    ];
    calls.iter().any(|call| before.ends_with(call.trim_end()))
        || before.trim_start().starts_with("#[")
        || before.contains("scrolled(ui")
        || before.contains("rows_in_view(ui")
        || literal.after.trim_start().starts_with("=>")
}

#[test]
fn no_words_for_a_person_stand_in_the_code() {
    let mut left = Vec::new();
    for (name, text) in sources() {
        if NOT_THE_WINDOW.iter().any(|part| name.starts_with(part)) {
            continue;
        }
        for literal in literals(&text) {
            let same = SAME_EVERYWHERE.contains(&literal.text.as_str());
            let words = is_shown(&literal) || is_wordy(&literal.text) && !is_inner(&literal);
            if !literal.is_key && !same && words {
                left.push(format!("{name}:{}: {}", literal.line, literal.text));
            }
        }
    }
    assert!(left.is_empty(), "{} texts in the code belong into assets/texts:\n{}", left.len(), left.join("\n"));
}
