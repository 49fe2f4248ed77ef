//! Asks what methods train on the chosen model, and what the files of a run that can be exported hold.

use crate::app::App;
use crate::state::export::{Certificate, Held, TARGETS, TargetKind};
use crate::state::prices::key;
use crate::state::{Ask, Room, State};
use temper_protocol::{Command, Event, ExportFormat, Values};
use temper_store::RunRow;

impl App {
    /// Asks for what gallery, form and targets do not know yet. The answers come from the headers of a file.
    pub(super) fn ask_for_prices(&mut self) {
        for (model, method, settings) in wanted(&self.state) {
            let key = key(&model, &method, &settings);
            if self.state.prices.begin(&key) {
                self.ask(Command::Prices { model, method, settings }, Ask::Prices(key));
            }
        }
    }
}

fn wanted(state: &State) -> Vec<(String, String, Values)> {
    let draft = &state.draft;
    let mut wanted = Vec::new();
    if !draft.open || state.methods.is_empty() {
        return wanted;
    }
    if draft.has_model() && matches!(state.model_facts(), Some(Event::Model { .. })) {
        let (model, method) = (draft.resolve(&draft.project.model.path), &draft.project.method);
        wanted.push((model.clone(), String::new(), Values::default()));
        if !method.settings.0.is_empty() {
            wanted.push((model, method.id.clone(), method.settings.clone()));
        }
    }
    let run = super::export_run(state).filter(|_| state.room == Room::Export);
    wanted.extend(run.and_then(|row| priced_run(state, row)));
    wanted
}

/// What the files of a run hold: what the engine counted from its settings, where it has answered, otherwise what was
/// trained.
#[must_use]
pub fn held_by(state: &State, row: &RunRow) -> Held {
    let priced = priced_run(state, row);
    let price = priced.as_ref().and_then(|(model, method, settings)| state.prices.of(model, method, settings));
    let trained = row.trained_parameters;
    Held {
        model: row.model_parameters,
        peft: price.and_then(|price| price.peft_parameters).unwrap_or(trained),
        gguf_lora: price.and_then(|price| price.gguf_lora_parameters).unwrap_or(trained),
        trained,
    }
}

/// What the files of a run of the project as it stands would hold. A number that nobody knows yet is 0: of a method
/// whose adapter follows from the training, or while the engine counts.
#[must_use]
pub(super) fn held_by_draft(state: &State) -> Held {
    let draft = &state.draft;
    let method = &draft.project.method;
    let price = state.prices.of(&draft.resolve(&draft.project.model.path), &method.id, &method.settings);
    let fresh = state.setup.preflight.as_ref().filter(|answer| answer.fingerprint == draft.run_fingerprint());
    let measured = match fresh.map(|answer| &answer.event) {
        Some(Event::Preflight { trained_parameters, .. }) => *trained_parameters,
        _ => 0,
    };
    let model = match state.model_facts() {
        Some(Event::Model { parameters, .. }) => *parameters,
        _ => 0,
    };
    Held {
        model,
        peft: price.and_then(|price| price.peft_parameters).unwrap_or(0),
        gguf_lora: price.and_then(|price| price.gguf_lora_parameters).unwrap_or(0),
        trained: price.map_or(measured, |price| price.trained_parameters),
    }
}

/// Size of a target of a run, bytes: as it was written in this session, otherwise an estimate.
#[must_use]
pub fn target_bytes(state: &State, row: &RunRow, index: usize) -> u64 {
    let is_it = |known: &&Certificate| known.target == Some(index) && known.run == Some(row.run);
    let written = state.export.certificates.iter().find(is_it).map_or(0, |known| known.record.bytes);
    let Some(target) = TARGETS.get(index).filter(|_| written == 0) else { return written };
    estimated(state.model_facts(), &held_by(state, row), target)
}

/// Size of a target in bytes, from the numbers in its files and from what was found out about the model.
pub(super) fn estimated(model: Option<&Event>, held: &Held, target: &TargetKind) -> u64 {
    match model {
        // Each tensor keeps the type that it has in the base's file.
        Some(Event::Model { disk_bytes, .. }) if target.format == ExportFormat::Gguf && target.dtype.is_none() => {
            *disk_bytes
        }
        _ => target.bytes(held),
    }
}

/// Size of a target of what is exported, bytes: of the run, or of the adapter folder from what its header says. None while
/// that is not known.
#[must_use]
pub fn export_bytes(state: &State, index: usize) -> Option<u64> {
    let Some(bare) = &state.export.adapter else {
        return super::export_run(state).map(|row| target_bytes(state, row, index));
    };
    let is_it = |known: &&Certificate| known.target == Some(index) && known.adapter.as_ref() == Some(bare);
    let written = state.export.certificates.iter().find(is_it).map_or(0, |known| known.record.bytes);
    if written > 0 {
        return Some(written);
    }
    let target = TARGETS.get(index)?;
    let Some(Event::Adapter { parameters: trained, .. }) = super::bare_facts(state) else { return None };
    let base = super::export_base(state);
    match target.format {
        ExportFormat::Hf | ExportFormat::Gguf => {
            let Some(Event::Model { parameters, .. }) = base else { return None };
            let held = Held { model: *parameters, peft: 0, gguf_lora: 0, trained: 0 };
            Some(estimated(base, &held, target))
        }
        ExportFormat::Peft | ExportFormat::GgufLora | ExportFormat::Mlx | ExportFormat::Native => {
            Some(target.bytes(&Held { model: 0, peft: *trained, gguf_lora: *trained, trained: *trained }))
        }
        // It describes a run, and there is none.
        ExportFormat::Capsule => None,
    }
}

/// Model, method and settings of a run that is looked at, as they were when it started.
fn priced_run(state: &State, row: &RunRow) -> Option<(String, String, Values)> {
    let view = state.runs.view.as_ref().filter(|view| view.row.run == row.run)?;
    let project = view.settings.as_ref()?;
    let model = state.draft.resolve(&project.model.path);
    Some((model, project.method.id.clone(), project.method.settings.clone()))
}
