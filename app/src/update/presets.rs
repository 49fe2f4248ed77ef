//! A person's own presets: kept with the settings of the window, put into the project, forgotten.

use crate::app::App;
use crate::commands::UiCommand;
use crate::state::presets::{self, OwnPreset, PresetAct};
use crate::state::{Sheet, State};

/// Why there are no settings to keep; nothing when there are.
#[must_use]
pub fn preset_hindrance(state: &State) -> Option<&'static str> {
    state.method().is_none().then_some(t!("method-asking"))
}

impl App {
    /// Carries out what concerns a person's own presets; gives back what does not.
    pub(super) fn perform_preset(&mut self, command: UiCommand) -> Option<UiCommand> {
        let UiCommand::Preset(act) = command else { return Some(command) };
        match act {
            PresetAct::Open => self.state.sheet = Some(Sheet::Preset { name: String::new() }),
            PresetAct::Name(typed) => {
                if let Some(Sheet::Preset { name }) = &mut self.state.sheet {
                    *name = typed;
                }
            }
            PresetAct::Keep => self.keep_preset(),
            PresetAct::Use(name) => self.use_preset(&name),
            PresetAct::Forget(name) => {
                let method = self.state.draft.project.method.id.clone();
                self.state.settings.presets.retain(|preset| preset.method != method || preset.name != name);
                self.save_settings();
            }
        }
        None
    }

    fn keep_preset(&mut self) {
        let Some(Sheet::Preset { name }) = &self.state.sheet else { return };
        let preset = OwnPreset::of(name, &self.state.draft.project);
        if preset.name.is_empty() {
            return;
        }
        self.state.sheet = None;
        let name = preset.name.clone();
        presets::keep(&mut self.state.settings.presets, preset);
        self.save_settings();
        self.notice(t!("preset-is-kept", name = name));
    }

    fn use_preset(&mut self, name: &str) {
        let Some(card) = self.state.method().cloned() else { return };
        let found = self.state.settings.presets.iter().find(|known| known.method == card.id && known.name == name);
        let Some(preset) = found.cloned() else { return };
        let mut project = self.state.draft.project.clone();
        preset.apply(&mut project, &card);
        self.perform_project(UiCommand::Edit(format!("method.preset.{name}"), Box::new(project)));
    }
}
