//! The model card: shown and edited before an export, sent along with it.

use crate::app::App;
use crate::commands::UiCommand;
use crate::report::card::{self, Facts};
use crate::state::card::CardAct;
use crate::state::export::{TARGETS, TargetKind, target_of};
use crate::state::{Sheet, State};
use std::path::Path;
use temper_protocol::{Event, project_file};

/// Why there is no card to look at; nothing when there is one.
#[must_use]
pub fn card_hindrance(state: &State) -> Option<&'static str> {
    if state.export.adapter.is_some() {
        return Some(t!("card-no-run"));
    }
    if super::export_run(state).is_none() {
        return Some(t!("commands-no-result"));
    }
    target(state).is_none().then_some(t!("card-lone-file"))
}

/// The chosen target, when it has a folder for a card.
fn target(state: &State) -> Option<&'static TargetKind> {
    TARGETS.get(state.export.target).filter(|target| !target.is_file())
}

/// The card of the chosen run and target: as a person wrote it, else filled from the run.
#[must_use]
pub fn card_text(state: &State) -> Option<String> {
    let run = super::export_run(state)?.run;
    match &state.export.card {
        Some((of, text)) if *of == run && target(state).is_some() => Some(text.clone()),
        _ => card_of_run(state),
    }
}

fn card_of_run(state: &State) -> Option<String> {
    let (row, target) = (super::export_run(state)?, target(state)?);
    let settings = project_file::parse(&row.settings_toml, Path::new("run")).ok();
    let model = settings.as_ref().and_then(|settings| state.known.get(&state.draft.resolve(&settings.model.path)));
    let licence = if let Some(Event::Model { licence, .. }) = model { licence.as_str() } else { "" };
    // One of another storage type measured another model.
    let is_it = |place: Option<usize>| place == Some(state.export.target);
    let here = state.export.certificates.iter().filter(|known| known.run == Some(row.run));
    let here = here.filter(|known| is_it(known.target_index())).map(|known| &known.record);
    let view = state.runs.view.as_ref().filter(|view| view.row.run == row.run);
    let stored = view.into_iter().flat_map(|view| view.exports.iter().rev());
    let stored = stored.filter(|record| is_it(target_of(record)));
    let certificate = here.chain(stored).find(|record| record.pass == Some(true));
    let method = state.method_title(&row.method);
    Some(card::text(&Facts { row, format: target.format, method, licence, certificate }))
}

impl App {
    /// Carries out what concerns the model card; gives back what does not.
    pub(super) fn perform_card(&mut self, command: UiCommand) -> Option<UiCommand> {
        let UiCommand::Card(act) = command else { return Some(command) };
        match act {
            CardAct::Open => {
                if let Some(text) = card_text(&self.state) {
                    self.state.sheet = Some(Sheet::Card { text });
                }
            }
            CardAct::Text(typed) => {
                if let Some(Sheet::Card { text }) = &mut self.state.sheet {
                    *text = typed;
                }
            }
            CardAct::Keep => {
                let run = super::export_run(&self.state).map(|row| row.run);
                if let (Some(Sheet::Card { text }), Some(run)) = (self.state.sheet.take(), run) {
                    // One that says what the run says follows the run.
                    let own = card_of_run(&self.state).as_ref() != Some(&text);
                    self.state.export.card = own.then_some((run, text));
                }
            }
            CardAct::FromRun => {
                self.state.export.card = None;
                let shown = matches!(self.state.sheet, Some(Sheet::Card { .. }));
                if let Some(text) = card_of_run(&self.state).filter(|_| shown) {
                    self.state.sheet = Some(Sheet::Card { text });
                }
            }
        }
        None
    }
}
