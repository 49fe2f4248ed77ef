//! Finished adapters that lie frozen beneath a trained one.
//!
//! Place in the data flow: the host names them from a project's `model.adapters`; the trainer and whoever loads a trained
//! run has them laid on the base before the method is attached; exports of such a run say that they belong to it, and have
//! what they wrote read back on top of them.
//!
//! Each is read by the reader of its folder onto the model as it is by then and becomes part of the frozen weights
//! ([`Model::settle`]). What is no change of a weight is refused before anything is read.

use crate::certificate::Certificate;
use crate::error::{ExportError, Result};
use crate::{insertions, output, peft, read_peft};
use std::path::{Path, PathBuf};
use temper_models::Model;
use temper_protocol::ExportFormat;

/// A finished adapter beneath a trained one.
#[derive(Debug, Clone, PartialEq)]
pub struct Beneath {
    /// Name for people.
    pub name: String,
    /// PEFT folder or native folder.
    pub folder: PathBuf,
    /// Share of its change that counts; 1 is all of it.
    pub weight: f64,
}

impl Beneath {
    /// Its name, with its weight where that is not 1.
    #[must_use]
    pub fn title(&self) -> String {
        if self.weight == 1.0 { self.name.clone() } else { format!("{} (weight {})", self.name, self.weight) }
    }

    /// The files that decide what it is.
    #[must_use]
    pub fn files(&self) -> [PathBuf; 2] {
        let names = if insertions::is_native(&self.folder) {
            [insertions::CONFIG, insertions::TENSORS]
        } else {
            [peft::CONFIG, peft::TENSORS]
        };
        names.map(|name| self.folder.join(name))
    }

    /// SHA-256 of its tensors.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(crate) fn sha256(&self) -> Result<String> {
        let [_, tensors] = self.files();
        Ok(output::hash_file(&tensors)?.0)
    }
}

/// Checks that adapters can lie beneath another one, before anything large is read.
///
/// # Errors
/// [`ExportError::Refused`] for one that is no change of weights, and for one that is there twice; a damaged folder.
pub fn check(adapters: &[Beneath]) -> Result<()> {
    let mut seen: Vec<(String, &Beneath)> = Vec::new();
    for adapter in adapters {
        let refuse = |what: String, action: &str| {
            Err(ExportError::Refused { path: adapter.folder.clone(), what, action: action.to_owned() })
        };
        if let Some(why) = not_a_weight(&adapter.folder)? {
            return refuse(
                format!("it cannot lie frozen beneath another adapter: {why}"),
                "leave it out of model.adapters; alone it can be used with --adapter",
            );
        }
        let hash = adapter.sha256()?;
        if let Some((_, first)) = seen.iter().find(|(known, _)| *known == hash) {
            let first = first.folder.display();
            return refuse(
                format!("it is the same adapter as {first}: its change would count twice"),
                "name each adapter once; to make one stronger give it a weight",
            );
        }
        seen.push((hash, adapter));
    }
    Ok(())
}

/// Why no frozen weight can hold what a folder does; none where one can.
fn not_a_weight(folder: &Path) -> Result<Option<String>> {
    if insertions::is_native(folder) {
        return insertions::not_a_weight(folder);
    }
    let config = read_peft::read_config(folder)?;
    let kind = config.get("peft_type").and_then(serde_json::Value::as_str).unwrap_or_default();
    Ok(insertions::PEFT_TYPES.contains(&kind).then(|| insertions::undefined(kind)))
}

/// Lays adapters on a model, the first one lowest, and makes each a part of its frozen weights.
///
/// # Errors
/// As [`check`]; an adapter of another base, with the file and the tensors that do not fit.
pub fn lay(model: &mut Model, adapters: &[Beneath]) -> Result<()> {
    check(adapters)?;
    for adapter in adapters {
        read_peft::attach(model, &adapter.folder)?;
        model.settle(adapter.weight).map_err(|error| ExportError::Refused {
            path: adapter.folder.clone(),
            what: format!("it cannot lie frozen beneath another adapter: {error}"),
            action: "leave it out of model.adapters; alone it can be used with --adapter".to_owned(),
        })?;
    }
    Ok(())
}

/// Names of adapters, lowest first.
#[must_use]
pub fn titles(adapters: &[Beneath]) -> String {
    adapters.iter().map(Beneath::title).collect::<Vec<_>>().join(", ")
}

/// Whether a format holds the trained adapter alone.
pub(crate) fn is_apart(format: ExportFormat) -> bool {
    !matches!(format, ExportFormat::Hf | ExportFormat::Gguf)
}

/// Says in a certificate what lies beneath the adapter.
pub(crate) fn tell(certificate: &mut Certificate, format: ExportFormat, adapters: &[Beneath]) {
    if adapters.is_empty() {
        return;
    }
    let names = titles(adapters);
    certificate.reasons.push(if is_apart(format) {
        format!(
            "it was trained on top of {names} and was checked there: without them merged into the base first, in this \
             order, it answers otherwise"
        )
    } else {
        format!("{names} lay frozen beneath what was trained and are merged in too")
    });
}
