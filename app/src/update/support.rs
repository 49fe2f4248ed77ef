//! What a run of the project as it stands can leave as, before anything is trained: every target with its size, and why
//! not where it cannot.
//!
//! Place in the data flow: the method's declaration and what was found out about the model go in. The room Export asks
//! the same `Leaving` about the run that it writes, so that the two never say different things.

use super::prices::{estimated, held_by_draft};
use crate::state::State;
use crate::state::export::{TARGETS, TargetKind};
use crate::state::gallery::{fits, tells_images};
use temper_protocol::{Event, ExportFormat, MethodCard};

/// What decides in which forms a result can leave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaving<'a> {
    /// The method's declaration, where the registry has it.
    method: Option<&'a MethodCard>,
    /// What was found out about the model.
    model: Option<&'a Event>,
    /// Why no merged GGUF can be written of the model.
    no_gguf: Option<&'a str>,
}

impl<'a> Leaving<'a> {
    /// Of a method's result on a model, which is called as the project calls it.
    pub(super) fn of(state: &'a State, method: &str, model: &str) -> Self {
        let model = state.draft.resolve(model);
        Self {
            method: state.methods.iter().find(|card| card.id == method),
            model: state.known.get(&model),
            no_gguf: state.export.no_gguf.get(&model).map(String::as_str),
        }
    }

    /// Why `target` cannot be written; nothing when it can, as far as it is known.
    pub(super) fn hindrance(&self, target: &TargetKind) -> Option<String> {
        if self.model.is_some_and(tells_images) {
            return Some(t!("export-of-images").to_owned());
        }
        if let Some(card) = self.method {
            if !fits(card, self.model) {
                return Some(t!("export-unfit", families = card.families.join(", ")));
            }
            if !target.is_form_of(card) {
                return Some(t!("export-no-form").to_owned());
            }
        }
        if target.format != ExportFormat::Gguf {
            return None;
        }
        if let Some(why) = self.no_gguf {
            return Some(why.to_owned());
        }
        let has_types = match self.model {
            Some(Event::Model { format, .. }) => format == "gguf",
            _ => true,
        };
        (target.dtype.is_none() && !has_types).then(|| t!("export-no-types").to_owned())
    }
}

/// A target, and whether a run of the project as it stands can leave as it.
#[derive(Debug, Clone, PartialEq)]
pub struct Support {
    /// The target.
    pub target: &'static TargetKind,
    /// Its size in bytes, an estimate; nothing where nobody can know it yet.
    pub bytes: Option<u64>,
    /// Why it is not possible; nothing when it is.
    pub hindrance: Option<String>,
}

/// Every target, in the order of the table.
#[must_use]
pub fn supports(state: &State) -> Vec<Support> {
    let project = &state.draft.project;
    let leaving = Leaving::of(state, &project.method.id, &project.model.path);
    let held = held_by_draft(state);
    let of = |target: &'static TargetKind| {
        // A file of no bytes is one whose numbers are not counted yet.
        let bytes = estimated(state.model_facts(), &held, target);
        Support { target, bytes: (bytes > 0).then_some(bytes), hindrance: leaving.hindrance(target) }
    };
    TARGETS.iter().map(of).collect()
}

/// Whether only the reading of the data will tell if a merged GGUF is possible: a tokenizer that is no GGUF file's may
/// have no name there.
#[must_use]
pub fn is_gguf_unsure(state: &State) -> bool {
    let other = matches!(state.model_facts(), Some(Event::Model { format, .. }) if format != "gguf");
    let merged = |row: &Support| row.target.format == ExportFormat::Gguf && row.hindrance.is_none();
    other && state.setup.preview.is_none() && supports(state).iter().any(merged)
}

/// Why there is nothing to say about what a run could leave as; nothing when there is.
#[must_use]
pub fn support_hindrance(state: &State) -> Option<&'static str> {
    if !state.draft.has_model() {
        return Some(t!("commands-no-model"));
    }
    state.method().is_none().then_some(t!("method-asking"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use temper_protocol::method::Kind;

    fn card(families: &[&str], exports: &[&str]) -> MethodCard {
        let owned = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        MethodCard {
            id: "some".to_owned(),
            kind: Kind::Adapter,
            family: "low-rank".to_owned(),
            families: owned(families),
            bases: Vec::new(),
            title: "Some".to_owned(),
            summary: String::new(),
            paper: String::new(),
            year: 0,
            exports_as: owned(exports),
            peft_type: None,
            mergeable: true,
            settings: Vec::new(),
            waivers: Vec::new(),
            protects_knowledge: false,
            lr_peak: 0.0,
            docs: String::new(),
            page: String::new(),
        }
    }

    fn model(format: &str, architecture: &str) -> Event {
        Event::Model {
            path: PathBuf::new(),
            format: format.to_owned(),
            architecture: architecture.to_owned(),
            parameters: 1,
            layers: 1,
            hidden_size: 1,
            vocabulary: 1,
            context: 1,
            storage: String::new(),
            tokenizer: String::new(),
            chat_template: String::new(),
            sites: Vec::new(),
            licence: String::new(),
            disk_bytes: 1,
            memory_bytes: 1,
        }
    }

    /// Targets that are possible, by the ends of their names.
    fn possible(leaving: &Leaving<'_>) -> Vec<String> {
        TARGETS.iter().filter(|target| leaving.hindrance(target).is_none()).map(TargetKind::suffix).collect()
    }

    fn why(leaving: &Leaving<'_>, format: ExportFormat) -> Option<String> {
        let target = TARGETS.iter().find(|target| target.format == format)?;
        leaving.hindrance(target)
    }

    #[test]
    fn a_result_leaves_in_the_forms_that_its_method_declares() {
        let (sparse, gguf) = (card(&[], &["native", "hf"]), model("gguf", "llama"));
        let leaving = Leaving { method: Some(&sparse), model: Some(&gguf), no_gguf: None };
        for format in [ExportFormat::Peft, ExportFormat::GgufLora, ExportFormat::Gguf] {
            assert_eq!(why(&leaving, format).as_deref(), Some(t!("export-no-form")), "{}", format.name());
        }
        assert_eq!([ExportFormat::Hf, ExportFormat::Native].map(|format| why(&leaving, format)), [None, None]);
    }

    #[test]
    fn what_the_model_is_stands_in_the_way_before_the_form_does() {
        let (prefix, folder) = (card(&["encoder"], &["peft"]), model("huggingface", "llama"));
        let unfit = Leaving { method: Some(&prefix), model: Some(&folder), no_gguf: None };
        assert!(possible(&unfit).is_empty());
        assert!(why(&unfit, ExportFormat::Peft).is_some_and(|why| why.contains("encoder")));
        let (any, images) = (card(&[], &["peft", "hf", "gguf"]), model("huggingface", "vit"));
        let leaving = Leaving { method: Some(&any), model: Some(&images), no_gguf: None };
        assert!(possible(&leaving).is_empty());
        assert_eq!(why(&leaving, ExportFormat::Hf).as_deref(), Some(t!("export-of-images")));
    }

    #[test]
    fn a_merged_file_needs_a_tokenizer_with_a_name_and_types_that_can_be_kept() {
        let (merging, folder) = (card(&[], &["gguf"]), model("huggingface", "llama"));
        let named = Leaving { method: Some(&merging), model: Some(&folder), no_gguf: None };
        let as_base = TARGETS.iter().find(|target| target.format == ExportFormat::Gguf && target.dtype.is_none());
        assert_eq!(as_base.and_then(|target| named.hindrance(target)).as_deref(), Some(t!("export-no-types")));
        assert_eq!(why(&named, ExportFormat::Gguf), None, "in a type of its own");
        let nameless = Leaving { no_gguf: Some("it has no name"), ..named };
        assert_eq!(why(&nameless, ExportFormat::Gguf).as_deref(), Some("it has no name"));
        let unread = Leaving { model: None, ..named };
        assert!(as_base.is_some_and(|target| unread.hindrance(target).is_none()), "nothing is known, nothing refused");
    }
}
