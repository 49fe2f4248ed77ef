//! Rules about single files: size, header, where the engine and colours may be named; and about example projects.

use super::Finding;
use crate::repo::{Repo, Source};
use regex::Regex;

/// Longest source file, in lines.
const MAX_LINES: usize = 600;

/// Files that may be longer, each with a reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// The registry: its list says which files of the folder are methods; the others carry the methods.
const REGISTRY: &str = "engine/methods/src/lib.rs";

/// Where the window may name the engine's crate.
const NAMES_HOST: &[&str] = &["app/src/main.rs", "app/src/cli/", "app/src/cli.rs"];

/// Findings of one file.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !source.path.ends_with(".rs") {
        return findings;
    }
    let lines = source.text.lines().count();
    if lines > MAX_LINES && !LONG_FILES.iter().any(|(path, _)| *path == source.path) {
        let message = format!("{lines} lines: split it by meaning, {MAX_LINES} is the limit");
        findings.push(Finding::new("size", &source.path, message));
    }
    findings.extend(header(source));
    findings.extend(host_named(source));
    findings.extend(colours(source));
    findings
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/")
}

/// The first line says what the file is for.
fn header(source: &Source) -> Option<Finding> {
    let first = source.text.lines().next().unwrap_or_default();
    let good = first.starts_with("//!") || (is_test(&source.path) && first.starts_with("// "));
    (!good).then(|| {
        Finding::new("header", &source.path, "open the file with //! and its purpose and place in the data flow")
    })
}

/// Each file that the registry lists opens with its paper, the equation and what its symbols mean.
pub(super) fn method_headers(repo: &Repo) -> Vec<Finding> {
    let Some(registry) = repo.text(REGISTRY) else {
        return vec![Finding::new("method header", REGISTRY, "the registry is gone")];
    };
    let modules = registered(registry);
    if modules.is_empty() {
        return vec![Finding::new("method header", REGISTRY, "no line `methods![a, b];` was found")];
    }
    modules.iter().filter_map(|module| method_header(repo, module)).collect()
}

/// Module names in `methods![a, b];`.
fn registered(registry: &str) -> Vec<String> {
    let list =
        registry.split_once("\nmethods![").and_then(|(_, rest)| rest.split_once(']')).map_or("", |(list, _)| list);
    let code: Vec<&str> = list.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    code.join(" ").split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

fn method_header(repo: &Repo, module: &str) -> Option<Finding> {
    let path = format!("engine/methods/src/{module}.rs");
    let text = repo.text(&path).unwrap_or_default();
    let head: Vec<&str> = text.lines().take_while(|line| line.starts_with("//!")).collect();
    let head = head.join("\n").to_lowercase();
    let wanted: [(&str, &[&str]); 3] =
        [("paper", &["paper"]), ("equation", &["="]), ("symbols, or what is trained", &["symbol", "trained:"])];
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|(_, words)| !words.iter().any(|word| head.contains(word)))
        .map(|(what, _)| *what)
        .collect();
    (!missing.is_empty())
        .then(|| Finding::new("method header", path, format!("the header lacks: {}", missing.join("; "))))
}

/// The app's library speaks to the engine through the protocol only.
fn host_named(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with("app/") || NAMES_HOST.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    places(source, r"\btemper_host\b")
        .map(|place| Finding::new("engine behind the protocol", place, "only main.rs and cli/ may name temper_host"))
        .collect()
}

/// Colours stand in the theme.
fn colours(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with("app/") || source.path.starts_with("app/src/theme") {
        return Vec::new();
    }
    let literal = r"\b(Color32|Rgba|Hsva)::(from_\w+|new)\(|\bColor32::(?:[A-Z]{2}[A-Z_]*)\b|\bhex_color!";
    let harmless = ["Color32::TRANSPARENT", concat!("Color32::PLACE", "HOLDER")];
    places(source, literal)
        .filter(|place| {
            let line = line_at(&source.text, place);
            let rest = harmless.iter().fold(line.to_owned(), |line, word| line.replace(word, ""));
            Regex::new(literal).is_ok_and(|literal| literal.is_match(&rest))
        })
        .map(|place| Finding::new("colours", place, "take the colour from the theme"))
        .collect()
}

fn line_at<'a>(text: &'a str, place: &str) -> &'a str {
    let number: usize = place.rsplit(':').next().and_then(|number| number.parse().ok()).unwrap_or(1);
    text.lines().nth(number.saturating_sub(1)).unwrap_or_default()
}

/// `file:line` of every line that the pattern is found on; comments do not count.
fn places(source: &Source, pattern: &str) -> impl Iterator<Item = String> {
    let regex = Regex::new(pattern).ok();
    source.text.lines().enumerate().filter_map(move |(index, line)| {
        let code = line.split("//").next().unwrap_or_default();
        regex.as_ref()?.is_match(code).then(|| format!("{}:{}", source.path, index + 1))
    })
}

/// Every example project has its settings and a short text.
pub(super) fn projects(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut folders: Vec<&str> = repo
        .sources
        .iter()
        .filter_map(|source| source.path.strip_prefix("projects/")?.split_once('/').map(|(folder, _)| folder))
        .collect();
    folders.dedup();
    for folder in folders {
        for file in ["project.toml", "README.md"] {
            let path = format!("projects/{folder}/{file}");
            match repo.text(&path) {
                None => findings.push(Finding::new("projects", path, "every example project has one")),
                Some(text) if file == "README.md" && text.lines().count() > 16 => {
                    findings.push(Finding::new("projects", path, "ten lines are enough; the rest belongs in the docs"));
                }
                Some(_) => {}
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    fn rules(path: &str, text: &str) -> Vec<&'static str> {
        check(&source(path, text)).iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn long_files_and_missing_headers_are_found() {
        assert_eq!(rules("app/src/a.rs", "//! Purpose.\n"), [""; 0]);
        assert_eq!(rules("app/src/a.rs", "use x;\n"), ["header"]);
        assert_eq!(rules("app/src/a.rs", "// a plain comment\n"), ["header"]);
        assert_eq!(rules("app/tests/a.rs", "// a plain comment\n"), [""; 0]);
        assert_eq!(rules("app/src/a.rs", &format!("//! Purpose.\n{}", "\n".repeat(600))), ["size"]);
    }

    #[test]
    fn a_method_names_paper_equation_and_symbols() {
        let registry = "//! x\nmacro_rules! methods { }\nmethods![\n    lora, // first\n    full,\n];\n";
        assert_eq!(registered(registry), ["lora", "full"]);
        let repo = |lora: &str| Repo {
            root: std::path::PathBuf::new(),
            sources: vec![
                source(REGISTRY, registry),
                source("engine/methods/src/lora.rs", lora),
                source("engine/methods/src/full.rs", "//! Paper: none.\n//! y = x W, trained: W\n"),
            ],
            packages: std::collections::BTreeMap::new(),
        };
        assert_eq!(method_headers(&repo("//! Paper: x\n//! W' = W + BA\n//! | symbol | A |\n")), []);
        let bad = method_headers(&repo("//! LoRA. Paper: x\n"));
        assert_eq!(bad.len(), 1);
        assert!(bad[0].message.contains("equation") && bad[0].message.contains("symbols"), "{bad:?}");
    }

    #[test]
    fn the_engine_is_named_in_two_places_only() {
        let text = "//! x\nuse temper_host::Engine;\n";
        assert_eq!(rules("app/src/panels/a.rs", text), ["engine behind the protocol"]);
        assert_eq!(rules("app/src/main.rs", text), [""; 0]);
        assert_eq!(rules("app/src/cli/train.rs", text), [""; 0]);
        assert_eq!(rules("app/src/panels/a.rs", "//! see temper_host\n// temper_host\n"), [""; 0]);
    }

    #[test]
    fn colours_stand_in_the_theme() {
        let text = "//! x\nlet a = Color32::from_rgb(1, 2, 3);\nlet b = egui::Color32::RED;\n";
        assert_eq!(rules("app/src/panels/a.rs", text), ["colours"; 2]);
        assert_eq!(rules("app/src/theme/tokens.rs", text), [""; 0]);
        assert_eq!(rules("app/src/a.rs", "//! x\nlet a: Color32 = Color32::TRANSPARENT;\n"), [""; 0]);
    }
}
