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
}

impl Card {
    /// The card as Markdown.
    #[must_use]
    pub fn text(&self, format: ExportFormat) -> String {
        let what = match format {
            ExportFormat::Peft => "An adapter in the PEFT format",
            ExportFormat::Hf => "A merged model in the Hugging Face format",
            ExportFormat::Gguf => "A merged model in the GGUF format",
            ExportFormat::GgufLora => "An adapter in the GGUF format",
            ExportFormat::Native => "An adapter in Temper's own format",
        };
        let mut text = format!(
            "---\nbase_model: {}\ntags:\n- temper\n---\n# {}\n\n{what}, made with Temper: {} on {}.\n",
            self.base_name, self.name, self.method_title, self.base_name
        );
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
