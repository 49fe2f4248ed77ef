//! The documentation page of a method, made from its file: the formula from the head of the file, the settings and limits
//! from the declaration, the words of its author, and what was measured of it.
//!
//! Place in the data flow: `temper methods ID` prints it; `docs/methods` holds the pages of all, and a test sees that they
//! are these (`tests/pages.rs`, which also writes them).

use crate::method::Method;
use crate::{MODULES, SOURCES, module_name, rates, registry};
use std::fmt::Write as _;
use temper_protocol::{Declared, Kind, Paper, Setting};

/// Tables of `temper bench methods`, as it writes them, and the names of the plots beside the pages.
const TABLES: &[(&str, &str)] =
    &[(include_str!("../measured/starter.md"), "starter.svg"), (include_str!("../measured/smollm2.md"), "smollm2.svg")];

/// The page, as Markdown.
#[must_use]
pub fn page(method: &dyn Method) -> String {
    let declared = method.declared();
    let mut text = format!("# {} (`{}`)\n\n{}\n\n", declared.title, declared.id, declared.summary);
    text.push_str("## Formula and source\n\n");
    if let Some(Paper { title, authors, year, id }) = declared.paper {
        let _never_fails = writeln!(text, "\"{title}\", {authors} {year} ({id}).\n");
    }
    let _never_fails = writeln!(text, "{}\n", formula(declared.id));
    let _never_fails = writeln!(text, "{}\n", declared.docs.trim());
    settings(&mut text, declared);
    place(&mut text, declared);
    measured(&mut text, declared);
    text
}

/// The page that lists all others.
#[must_use]
pub fn index() -> String {
    let mut text = "# Methods\n\nEvery page is made from the method's own file (`temper methods ID` prints it).\n\n\
                    | method | family | what it does | paper |\n| --- | --- | --- | --- |\n"
        .to_owned();
    for method in registry() {
        let declared = method.declared();
        let paper = declared.paper.map_or_else(String::new, |paper| format!("{}, {}", paper.authors, paper.year));
        let file = file_name(declared.id);
        let _never_fails =
            writeln!(text, "| [{}]({file}) | {} | {} | {paper} |", declared.id, declared.family, declared.summary);
    }
    for (table, plot) in TABLES.iter().filter(|(table, _)| !table.trim().is_empty()) {
        let words =
            "Loss on the task over forgetting, one point a method; the line joins those that no other beats in both";
        let _never_fails = writeln!(text, "\n{}\n\n![{words}]({plot})", table.trim());
    }
    text
}

/// Name of the page's file.
#[must_use]
pub fn file_name(id: &str) -> String {
    format!("{}.md", module_name(id))
}

/// What the head of the method's file says after its first paragraph: paper, formula, symbols.
fn formula(id: &str) -> String {
    let module = module_name(id);
    let source = MODULES.iter().zip(SOURCES).find(|(name, _)| **name == module).map_or("", |(_, source)| *source);
    let head =
        source.lines().map_while(|line| line.strip_prefix("//!")).map(|line| line.strip_prefix(' ').unwrap_or(line));
    head.skip_while(|line| !line.is_empty()).skip(1).collect::<Vec<_>>().join("\n").trim().to_owned()
}

fn range(setting: &Setting) -> String {
    match (setting.min, setting.max) {
        (Some(low), Some(high)) => format!("{low} to {high}"),
        (Some(low), None) => format!("from {low}"),
        (None, Some(high)) => format!("up to {high}"),
        (None, None) => setting.choices.join(", "),
    }
}

fn settings(text: &mut String, declared: &Declared) {
    text.push_str("## Settings\n\n");
    if !declared.settings.is_empty() {
        text.push_str("| key | default | values | meaning |\n| --- | --- | --- | --- |\n");
    }
    for setting in declared.settings {
        let default = if setting.default.is_empty() { "none" } else { setting.default };
        let values = range(setting);
        let _never_fails = writeln!(text, "| `{}` | {default} | {values} | {} |", setting.key, setting.help);
    }
    let rate = rates::lr_peak(declared, "");
    let _never_fails =
        writeln!(text, "\nUsual learning rate: {rate}{}.\n", rates::evidence(declared.id).unwrap_or_default());
}

fn place(text: &mut String, declared: &Declared) {
    let list = |items: &[&str], all: &str| if items.is_empty() { all.to_owned() } else { items.join(", ") };
    let kind = match declared.kind {
        Kind::Adapter => "a change of linear layers",
        Kind::Insertion => "something at points of a stage",
        Kind::Base => "a way to hold the frozen weights",
        Kind::Repair => "a repair of a narrowed base",
        Kind::Strategy => "a strategy for learning on and on",
        Kind::Stream => "adaptation on a stream without labels",
        Kind::Merger => "a combination of models",
        Kind::Domain => "adaptation to another domain",
        Kind::Probe => "a measurement",
    };
    let _never_fails = writeln!(
        text,
        "## Where it works and how it leaves\n\n- What it is: {kind}.\n- Models: {}.\n- Bases: {}.\n- Leaves as: {}{}.\n- Folds \
         into the weights exactly: {}.",
        list(declared.families, "every one"),
        list(declared.bases, "every one"),
        declared.leaves_as().join(", "),
        declared.peft_type.map_or_else(String::new, |name| format!(" (in PEFT: {name})")),
        if declared.mergeable { "yes" } else { "no" },
    );
    for waiver in declared.waivers {
        let _never_fails = writeln!(text, "- Not so as with other methods ({}): {}.", waiver.clause, waiver.reason);
    }
    text.push('\n');
}

/// The method's rows of the tables.
fn measured(text: &mut String, declared: &Declared) {
    let begin = format!("| {} |", declared.id);
    for (table, _) in TABLES {
        let rows: Vec<&str> = table.lines().filter(|line| line.starts_with(&begin)).collect();
        let mut head = table.lines().filter(|line| line.starts_with('|')).take(2);
        let (Some(names), Some(rule), false) = (head.next(), head.next(), rows.is_empty()) else { continue };
        let about = table.lines().next().unwrap_or_default();
        let _never_fails = writeln!(text, "## Measured\n\n{about}\n\n{names}\n{rule}\n{}\n", rows.join("\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_formula_source_settings_and_the_authors_words() {
        for method in registry() {
            let declared = method.declared();
            let text = page(*method);
            let missing = |what: &str| !text.contains(what);
            assert!(!missing("```text"), "{}: no formula", declared.id);
            assert!(
                declared.settings.iter().all(|setting| !missing(&format!("| `{}` |", setting.key))),
                "{}",
                declared.id
            );
            assert!(!missing("## What it costs") && !missing("Usual learning rate: "), "{}", declared.id);
            assert!(declared.paper.is_none_or(|paper| !missing(paper.id)), "{}: the paper is not named", declared.id);
            assert!(index().contains(&format!("[{}]({})", declared.id, file_name(declared.id))));
        }
    }
}
