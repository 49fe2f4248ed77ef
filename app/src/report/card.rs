//! The model card of an export, filled from its run: Markdown without a front matter, which the engine writes.
//!
//! Place in the data flow: the room Export shows it, a person changes what they like, and the export takes it along. Like
//! a report it is made of the run's row and settings alone, without times and folders.

use super::words;
use crate::format;
use crate::reader::checks;
use crate::reader::snapshot::ExportRecord;
use crate::reader::words::sentence_case;
use crate::state::export::format_words;
use std::path::Path;
use temper_protocol::{ExportFormat, Project, project_file};
use temper_store::RunRow;

/// What a card is made of.
pub struct Facts<'a> {
    /// The run.
    pub row: &'a RunRow,
    /// What is written.
    pub format: ExportFormat,
    /// The method's title.
    pub method: &'a str,
    /// The licence of the base as its files state it; empty when they do not.
    pub licence: &'a str,
    /// An earlier export in this format that passed.
    pub certificate: Option<&'a ExportRecord>,
}

/// A text inside a line or a cell: what Markdown reads as the border of a cell or as markup stays words.
fn inline(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut before = ' ';
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let within_word = before.is_alphanumeric() && letters.peek().is_some_and(|next| next.is_alphanumeric());
        before = letter;
        match letter {
            // Within a word it marks nothing, and names are full of it.
            '_' if within_word => safe.push('_'),
            // A backslash before a border would take the border's escape for itself; a name may look like a link.
            '\\' | '|' | '*' | '_' | '[' | ']' | '~' | '#' => {
                safe.push('\\');
                safe.push(letter);
            }
            '<' => safe.push_str("&lt;"),
            '&' => safe.push_str("&amp;"),
            '`' => safe.push('\''),
            other if other.is_control() => safe.push(' '),
            other => safe.push(other),
        }
    }
    safe
}

/// A card that is being written.
struct Card(String);

impl Card {
    fn section(&mut self, title: &str) {
        self.0.push_str(&format!("\n## {title}\n\n"));
    }

    fn sentence(&mut self, words: &str) {
        self.0.push_str(words);
        self.0.push('\n');
    }

    fn rows(&mut self, rows: &[(String, String)]) {
        self.0.push_str("| | |\n|---|---|\n");
        for (name, value) in rows {
            self.0.push_str(&format!("| {} | {} |\n", inline(name), inline(value)));
        }
    }
}

/// The card as Markdown, in the language of this thread.
#[must_use]
pub fn text(facts: &Facts<'_>) -> String {
    let Facts { row, format, method, licence, certificate } = facts;
    let settings = project_file::parse(&row.settings_toml, Path::new("run")).ok();
    let base = settings
        .as_ref()
        .map_or_else(|| format::UNKNOWN.to_owned(), |settings| format::plain_name(&settings.model.path));
    let name =
        settings.as_ref().map(|settings| settings.name.as_str()).filter(|name| !name.is_empty()).unwrap_or(&base);
    let mut card = Card(format!("# {}\n\n", inline(name)));
    card.sentence(&t!("card-made", what = format_words(*format), method = inline(method), base = inline(&base)));
    let is_adapter =
        matches!(format, ExportFormat::Peft | ExportFormat::GgufLora | ExportFormat::Native | ExportFormat::Mlx);
    if is_adapter {
        card.sentence(&t!("card-needs-base", base = inline(&base)));
    }
    how(&mut card, row, method, settings.as_ref());
    figures(&mut card, row, settings.as_ref());
    card.section(t!("card-certificate"));
    match certificate {
        Some(record) => {
            card.sentence(t!("card-compared"));
            card.sentence("");
            let made = record.checks.iter().map(|check| {
                let measured = t!("card-check", measured = checks::measured(check), limit = checks::limit(check));
                (sentence_case(&check.name), measured)
            });
            card.rows(&made.collect::<Vec<_>>());
        }
        None => card.sentence(t!("card-verify")),
    }
    card.section(t!("card-limits"));
    card.sentence(&format!("- {}", t!("card-limit-data")));
    let kept = settings.as_ref().map_or(0, |settings| settings.keep.probes.len());
    let kept =
        if kept == 0 { t!("card-limit-nothing").to_owned() } else { t!("card-limit-kept", n = kept, count = kept) };
    card.sentence(&format!("- {kept}"));
    card.section(t!("card-licence"));
    if licence.is_empty() {
        card.sentence(t!("card-licence-unknown"));
    } else {
        card.sentence(&t!("card-licence-is", licence = inline(licence)));
    }
    card.0
}

/// Method and data.
fn how(card: &mut Card, row: &RunRow, method: &str, settings: Option<&Project>) {
    card.section(t!("common-method"));
    let mut rows = vec![(t!("common-method").to_owned(), method.to_owned())];
    if let Some(settings) = settings {
        let own = settings.method.settings.0.iter();
        rows.extend(own.map(|(key, value)| (key.clone(), value.to_string())));
        rows.push((t!("card-rate").to_owned(), format::rate(settings.train.lr_peak)));
        rows.push((t!("card-seed").to_owned(), settings.train.seed.to_string()));
        if !settings.model.adapters.is_empty() {
            rows.push((t!("card-beneath").to_owned(), words::sources(&settings.model.adapters)));
        }
    }
    let steps = t!("card-of", done = format::count(row.steps), all = format::count(row.max_steps));
    rows.push((t!("card-steps").to_owned(), steps));
    let parameters = format::count(row.trained_parameters);
    rows.push((t!("card-parameters").to_owned(), parameters));
    card.rows(&rows);
    let Some(settings) = settings else { return };
    card.section(t!("common-data"));
    let mut rows = vec![
        (t!("card-files").to_owned(), words::sources(&settings.data.train)),
        (t!("card-loss-on").to_owned(), settings.data.loss_on.clone()),
        (t!("card-validation").to_owned(), words::validation(&settings.data.validation)),
    ];
    if let Some(hash) = row.hashes.get("data").filter(|hash| !hash.is_empty()) {
        rows.push((t!("card-data-hash").to_owned(), hash.clone()));
    }
    card.rows(&rows);
}

/// What was measured.
fn figures(card: &mut Card, row: &RunRow, settings: Option<&Project>) {
    card.section(t!("card-figures"));
    let known = |value: f64| if value.is_finite() { format::nats(value) } else { t!("card-not-measured").to_owned() };
    // The base forgets nothing by definition: a run that measured no more is not known to have kept anything.
    let forgetting = match settings {
        _ if row.forgetting == 0.0 || !row.forgetting.is_finite() => t!("card-not-measured").to_owned(),
        Some(settings) => {
            let budget = format::signed_nats(settings.keep.budget_nats);
            t!("card-forgetting-of", nats = format::signed_nats(row.forgetting), budget = budget)
        }
        None => format::signed_nats(row.forgetting),
    };
    card.rows(&[
        (t!("card-base-loss").to_owned(), known(row.base_loss)),
        (t!("card-best-loss").to_owned(), known(row.best_loss)),
        (t!("card-best-step").to_owned(), format::count(row.best_step)),
        (t!("card-forgetting").to_owned(), forgetting),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> RunRow {
        let mut project = Project::new("tone", "/m/Smol.gguf", &["/d/support|tone.jsonl".to_owned()], "lora");
        project.method.settings.0.insert("rank".to_owned(), temper_protocol::Value::Integer(16));
        RunRow {
            run: 7,
            steps: 1200,
            max_steps: 1200,
            best_step: 1150,
            base_loss: 2.914,
            best_loss: 1.427,
            forgetting: 0.041,
            settings_toml: project_file::to_text(&project).expect("text"),
            ..RunRow::default()
        }
    }

    fn facts<'a>(row: &'a RunRow, licence: &'a str) -> Facts<'a> {
        Facts { row, format: ExportFormat::Peft, method: "LoRA", licence, certificate: None }
    }

    #[test]
    fn a_card_is_filled_from_its_run() {
        let row = row();
        let text = text(&facts(&row, "apache-2.0"));
        assert!(text.starts_with("# tone\n\n"), "{text}");
        for words in
            ["LoRA on Smol.gguf", "| rank | 16 |", "support\\|tone.jsonl", "1.427", "+0.041", "apache-2.0", "## "]
        {
            assert!(text.contains(words), "\"{words}\" is missing in {text}");
        }
        assert!(!text.starts_with("---"), "the front matter is the engine's");
        let columns =
            text.lines().filter(|line| line.starts_with("| ")).map(|line| line.replace("\\|", "").matches('|').count());
        assert!(columns.into_iter().all(|count| count == 3), "{text}");
    }

    #[test]
    fn nothing_in_a_name_is_the_border_of_a_cell() {
        assert_eq!(inline(r"a\|b|c"), r"a\\\|b\|c");
        assert_eq!(inline("<b>`&\n"), "&lt;b>'&amp; ");
    }

    #[test]
    fn nothing_in_a_name_is_a_link_or_emphasis() {
        assert_eq!(inline("![x](http://e.org)"), r"!\[x\](http://e.org)");
        assert_eq!(inline("*bold* __so__ ~~not~~ #1"), r"\*bold\* \_\_so\_\_ \~\~not\~\~ \#1");
        assert_eq!(inline("Q4_1 rank_pattern _x a_"), r"Q4_1 rank_pattern \_x a\_");
    }

    #[test]
    fn what_is_not_known_is_said_as_such() {
        let unmeasured = RunRow { forgetting: 0.0, base_loss: f64::NAN, settings_toml: String::new(), ..row() };
        let text = text(&facts(&unmeasured, ""));
        assert!(text.contains(t!("card-licence-unknown")) && !text.contains("NaN") && !text.contains("+0.000"));
    }

    #[test]
    fn a_passed_certificate_stands_in_it() {
        let row = row();
        let check = temper_protocol::event::Check {
            name: "same best token".to_owned(),
            measured: "100.0 %".to_owned(),
            limit: "99.5 %".to_owned(),
            over: String::new(),
            pass: true,
        };
        let record = ExportRecord { pass: Some(true), checks: vec![check], ..ExportRecord::default() };
        let text = text(&Facts { certificate: Some(&record), ..facts(&row, "") });
        assert!(text.contains("| Same best token | 100.0 % (limit 99.5 %) |"), "{text}");
    }
}
