//! What an export says about itself: the model card for people, and `temper.json` for programs. Neither
//! holds a time, a run number or a path, so that equal exports have equal bytes.

use crate::beneath::{self, Beneath};
use crate::error::{ExportError, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use temper_protocol::event::Check;
use temper_protocol::{ExportFormat, SCHEMA_VERSION};

/// What the model card is filled from.
#[derive(Debug, Clone, Default)]
pub struct Card {
    /// Name of the result, such as the project's.
    pub name: String,
    /// Name of the base model, not its path.
    pub base_name: String,
    /// SHA-256 of the base's weights.
    pub base_sha256: String,
    /// Method id.
    pub method: String,
    /// Method title.
    pub method_title: String,
    /// Dropout of the adapter, for the adapter's configuration.
    pub dropout: f64,
    /// Settings and figures as label and value, in the order to print.
    pub facts: Vec<(String, String)>,
    /// Adapters that lie frozen beneath it, lowest first.
    pub beneath: Vec<Beneath>,
    /// Text of the card instead of what the above make of it.
    pub body: Option<String>,
}

/// A text as YAML reads it whatever is in it: JSON's strings are strings of YAML too.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// What stands behind the front matter of a card; the whole where there is none.
#[must_use]
pub fn body_of(text: &str) -> &str {
    let text = text.trim_start_matches('\u{feff}');
    let begins = text.strip_prefix("---").is_some_and(|rest| rest.starts_with('\n') || rest.starts_with("\r\n"));
    if !begins {
        return text;
    }
    let mut end = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        end += line.len();
        if index > 0 && line.trim_end() == "---" {
            return text.get(end..).unwrap_or_default().trim_start_matches(['\r', '\n']);
        }
    }
    text
}

impl Card {
    /// What programs read of the card: the base, the library that loads the export, tags.
    fn front(&self, format: ExportFormat) -> String {
        let mut text = format!("---\nbase_model: {}\n", quoted(&self.base_name));
        match format {
            ExportFormat::Peft => text.push_str("library_name: peft\n"),
            ExportFormat::Hf => text.push_str("library_name: transformers\n"),
            ExportFormat::Mlx => text.push_str("library_name: mlx\n"),
            ExportFormat::Gguf | ExportFormat::GgufLora | ExportFormat::Native | ExportFormat::Capsule => {}
        }
        text.push_str("tags:\n- temper\n");
        if !self.method.is_empty() {
            text.push_str(&format!("- {}\n", quoted(&self.method)));
        }
        text.push_str("---\n");
        text
    }

    /// The card as Markdown.
    #[must_use]
    pub fn text(&self, format: ExportFormat) -> String {
        let mut text = self.front(format);
        match &self.body {
            Some(body) => {
                text.push_str(body);
                if !body.ends_with('\n') {
                    text.push('\n');
                }
            }
            None => text.push_str(&self.usual(format)),
        }
        text
    }

    /// The text of a card that nobody wrote.
    fn usual(&self, format: ExportFormat) -> String {
        let what = match format {
            ExportFormat::Peft => "An adapter in the PEFT format",
            ExportFormat::Hf => "A merged model in the Hugging Face format",
            ExportFormat::Gguf => "A merged model in the GGUF format",
            ExportFormat::GgufLora => "An adapter in the GGUF format",
            ExportFormat::Native => "An adapter in Temper's own format",
            ExportFormat::Mlx => "An adapter for mlx-lm",
            ExportFormat::Capsule => "What a run was and what came of it, to be checked and repeated",
        };
        let mut text =
            format!("# {}\n\n{what}, made with Temper: {} on {}.\n", self.name, self.method_title, self.base_name);
        if !self.facts.is_empty() {
            text.push_str("\n| | |\n|---|---|\n");
            for (label, value) in &self.facts {
                text.push_str(&format!("| {label} | {value} |\n"));
            }
        }
        if !self.beneath.is_empty() {
            text.push_str(if beneath::is_apart(format) {
                "\nIt was trained on top of other adapters and needs them: merge these into the base first, in this \
                 order, then load this one over the result.\n\n"
            } else {
                "\nThese adapters lay frozen beneath what was trained, and are merged in too, in this order.\n\n"
            });
            for adapter in &self.beneath {
                text.push_str(&format!("- {}\n", adapter.title()));
            }
        }
        text.push_str("\n`temper.json` holds hashes of the base and of every file here.\n");
        text
    }
}

/// The sidecar of an export.
#[derive(Debug, Clone)]
pub struct Sidecar {
    /// Format.
    pub format: ExportFormat,
    /// Storage type of the main tensors.
    pub storage: String,
    /// Hash per file.
    pub files: BTreeMap<String, String>,
    method: String,
    base_name: String,
    base_sha256: String,
    /// What lies beneath: name, weight, hash of its tensors.
    beneath: Vec<Value>,
}

impl Sidecar {
    /// The sidecar of files just written.
    ///
    /// # Errors
    /// An adapter that lies beneath and cannot be read.
    pub fn new(format: ExportFormat, storage: &str, card: &Card, files: &[(String, String, u64)]) -> Result<Self> {
        let beneath = card
            .beneath
            .iter()
            .map(|adapter| Ok(json!({ "name": adapter.name, "sha256": adapter.sha256()?, "weight": adapter.weight })));
        Ok(Self {
            format,
            storage: storage.to_owned(),
            files: files.iter().map(|(name, hash, _)| (name.clone(), hash.clone())).collect(),
            method: card.method.clone(),
            base_name: card.base_name.clone(),
            base_sha256: card.base_sha256.clone(),
            beneath: beneath.collect::<Result<_>>()?,
        })
    }

    /// As JSON with sorted keys.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut written = json!({
            "base_name": self.base_name,
            "base_sha256": self.base_sha256,
            "files": self.files,
            "format": self.format.name(),
            "method": self.method,
            "schema": SCHEMA_VERSION,
            "storage": self.storage,
            "temper_version": env!("CARGO_PKG_VERSION"),
        });
        if let (Some(written), false) = (written.as_object_mut(), self.beneath.is_empty()) {
            written.insert("beneath".to_owned(), Value::Array(self.beneath.clone()));
        }
        written
    }

    /// Reads a sidecar file.
    ///
    /// # Errors
    /// [`ExportError::ReadBack`] when there is none: what lies beside it is no export of Temper's.
    pub fn read(path: &Path) -> Result<Self> {
        let broken = |what: &str| ExportError::ReadBack { path: path.to_path_buf(), what: what.to_owned() };
        let text = std::fs::read_to_string(path).map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                broken("it is missing: this is no export of Temper's")
            } else {
                ExportError::Io { path: path.to_path_buf(), error }
            }
        })?;
        let json: Value = serde_json::from_str(&text).map_err(|error| broken(&error.to_string()))?;
        let word = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let files = json.get("files").and_then(Value::as_object).ok_or_else(|| broken("it lists no files"))?;
        Ok(Self {
            format: ExportFormat::from_name(&word("format")).ok_or_else(|| broken("its format is unknown"))?,
            storage: word("storage"),
            files: files
                .iter()
                .map(|(name, hash)| (name.clone(), hash.as_str().unwrap_or_default().to_owned()))
                .collect(),
            method: word("method"),
            base_name: word("base_name"),
            base_sha256: word("base_sha256"),
            beneath: json.get("beneath").and_then(Value::as_array).cloned().unwrap_or_default(),
        })
    }

    /// Whether `now`, files with their hashes, are still the ones that were written.
    #[must_use]
    pub fn check_files(&self, now: &[(String, String, u64)]) -> Check {
        let same = now.iter().filter(|(name, hash, _)| self.files.get(name) == Some(hash)).count();
        Check {
            name: "files are as they were written".to_owned(),
            measured: format!("{same} of {}", self.files.len()),
            limit: "all".to_owned(),
            over: "files".to_owned(),
            pass: same == self.files.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(body: Option<&str>) -> Card {
        Card {
            name: "tone".to_owned(),
            base_name: "a: \"b\" #c".to_owned(),
            method: "lora".to_owned(),
            method_title: "LoRA".to_owned(),
            body: body.map(str::to_owned),
            ..Card::default()
        }
    }

    /// Keys and values of a front matter as simple as ours.
    fn front(text: &str) -> Vec<(String, Value)> {
        let front = text.strip_prefix("---\n").and_then(|rest| rest.split("\n---\n").next()).expect("a front matter");
        let pairs = front.lines().filter_map(|line| line.split_once(": "));
        let value = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        pairs.map(|(key, text)| (key.to_owned(), value(text))).collect()
    }

    #[test]
    fn the_front_matter_is_ours_and_readable_whatever_the_base_is_called() {
        for body in [None, Some("# Mine\n")] {
            let text = card(body).text(ExportFormat::Peft);
            let base = ("base_model".to_owned(), Value::from("a: \"b\" #c"));
            assert_eq!(front(&text), [base, ("library_name".to_owned(), Value::from("peft"))], "{text}");
            assert!(text.contains("tags:\n- temper\n- \"lora\"\n---\n"), "{text}");
        }
        assert!(card(None).text(ExportFormat::Hf).contains("library_name: transformers\n"));
        assert!(!card(None).text(ExportFormat::Native).contains("library_name"));
        assert!(
            card(None).text(ExportFormat::Peft).contains("# tone\n\nAn adapter in the PEFT format, made with Temper")
        );
    }

    #[test]
    fn a_written_card_takes_the_place_of_the_usual_one() {
        let text = card(Some("# Mine\n\nFor short answers.")).text(ExportFormat::Hf);
        assert!(text.ends_with("---\n# Mine\n\nFor short answers.\n"), "{text}");
        assert!(!text.contains("made with Temper"));
    }

    #[test]
    fn the_front_matter_of_a_written_card_is_taken_off() {
        for (text, body) in [
            ("# A\nb", "# A\nb"),
            ("---\nbase_model: x\ntags:\n- y\n---\n\n# A\n", "# A\n"),
            ("\u{feff}---\r\nlicense: mit\r\n---\r\n# A\r\n", "# A\r\n"),
            ("---\nno end\n# A\n", "---\nno end\n# A\n"),
            ("--- a line\n---\n", "--- a line\n---\n"),
            ("", ""),
        ] {
            assert_eq!(body_of(text), body, "{text:?}");
        }
    }
}
