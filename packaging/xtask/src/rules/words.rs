//! Words that mark unfinished work, and paths or hosts of a single machine, in any text of the repository.

use super::Finding;
use crate::repo::Source;
use regex::Regex;
use std::sync::LazyLock;

// A letter of each stands in brackets, so that this file does not find itself.
static UNFINISHED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let words = [
        r"\bTOD[O]\b",
        r"\bFIXM[E]\b",
        r"\bXX[X]\b",
        r"tod[o]!\(",
        r"unimplemente[d]!\(",
        r"db[g]!\(",
        r"#\[[i]gnore",
        r"#\[should_pani[c]",
        r"\bfor [n]ow\b",
        r"\b[s]implified\b",
        r"\bplaceholde[r]",
        r"\b[d]ummy\b",
        r"\b[h]ard-?coded",
    ];
    Regex::new(&words.join("|")).ok()
});

static MACHINE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let hosts = [
        concat!("pypi", r"\.org"),
        concat!("python", r"hosted\.org"),
        concat!("npm", r"js\.(?:org|com)"),
        concat!("deb.", r"debian\.org"),
        concat!("static.", r"crates\.io"),
        concat!("index.", r"crates\.io"),
    ];
    Regex::new(&format!(r#"(?:^|[\s"'`(=:])/(?:tmp|root|work|farm|home)/[A-Za-z]|{}"#, hosts.join("|"))).ok()
});

/// Files of texts that are data, not our words, and lists of words.
const EXEMPT: &[&str] =
    &["packaging/ci/clippy.toml", "packaging/ci/typos.toml", "assets/probes/", "packaging/licences/"];

/// Findings of one file.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    if EXEMPT.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        let place = || format!("{}:{}", source.path, index + 1);
        if let Some(found) = UNFINISHED.as_ref().and_then(|words| words.find(line)) {
            let message = format!("\"{}\" reads as unfinished: finish it or say what it is", found.as_str());
            findings.push(Finding::new("words", place(), message));
        }
        if let Some(found) = MACHINE.as_ref().and_then(|paths| paths.find(line)) {
            let message = format!("\"{}\" belongs to one machine", found.as_str().trim());
            findings.push(Finding::new("machine paths", place(), message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<&'static str> {
        let source = Source { path: "app/src/a.rs".to_owned(), text: text.to_owned() };
        check(&source).iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn unfinished_words_are_found_as_whole_words() {
        assert_eq!(rules(concat!("// TO", "DO later\n")), ["words"]);
        assert_eq!(rules(concat!("// good enough for ", "now\n")), ["words"]);
        assert_eq!(rules("let todos = 1; // a mastodon, before nowhere\n"), [""; 0]);
    }

    #[test]
    fn paths_and_hosts_of_a_machine_are_found() {
        assert_eq!(rules(concat!("let a = \"/ho", "me/me/x\";\n")), ["machine paths"]);
        assert_eq!(rules(concat!("see pypi", ".org\n")), ["machine paths"]);
        assert_eq!(rules(concat!("let a = \"engine/wo", "rk/x\"; // a/t", "mp/b\n")), [""; 0]);
    }

    #[test]
    fn both_patterns_are_valid() {
        assert!(UNFINISHED.is_some() && MACHINE.is_some());
    }
}
