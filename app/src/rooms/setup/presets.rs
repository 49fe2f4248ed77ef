//! Presets in the card Method: gentle, balanced and strong, and a person's own ones.

use super::form::{self, Label};
use super::method::rate;
use crate::commands::{Id, UiCommand, entry};
use crate::rooms::PanelCtx;
use crate::state::presets::{PresetAct, of_method};
use crate::texts::Text;
use crate::theme::Type;
use crate::widgets::rows::Rows;
use crate::widgets::{Button, choice};
use egui::{Rect, Ui, pos2, vec2};
use temper_protocol::{MethodCard, Project, SettingType, Value};

/// How hard a preset pulls: its name, factor of the rank and of the learning rate.
const PRESETS: [(Text, f64, f64); 3] =
    [(k!("method-gentle"), 0.5, 0.5), (k!("method-balanced"), 1.0, 1.0), (k!("method-strong"), 2.0, 2.0)];

/// Sets rank, alpha and learning rate of a preset.
fn apply_preset(project: &mut Project, card: &MethodCard, index: usize) {
    let Some((_, rank_factor, rate_factor)) = PRESETS.get(index) else { return };
    for (key, keeps) in [("rank", SettingType::Integer), ("alpha", SettingType::Number)] {
        let Some(setting) = card.settings.iter().find(|setting| setting.key == key) else { continue };
        let Ok(default) = setting.default.parse::<f64>() else { continue };
        let value = (default * rank_factor).clamp(setting.min.unwrap_or(1.0), setting.max.unwrap_or(f64::MAX));
        let value =
            if keeps == SettingType::Integer { Value::Integer(value.round() as i64) } else { Value::Number(value) };
        project.method.settings.0.insert(key.to_owned(), value);
    }
    project.train.lr_peak = card.lr_peak * rate_factor;
}

/// The preset that the project's values are, if any.
fn current_preset(project: &Project, card: &MethodCard) -> Option<usize> {
    (0..PRESETS.len()).find(|index| {
        let mut other = project.clone();
        apply_preset(&mut other, card, *index);
        let number = |project: &Project, key: &str| match project.method.settings.0.get(key) {
            Some(_) => project.method.settings.number(key),
            None => card.settings.iter().find(|s| s.key == key).and_then(|s| s.default.parse().ok()).unwrap_or(0.0),
        };
        let same = |a: f64, b: f64| (a - b).abs() <= a.abs().max(b.abs()) * 1e-6;
        ["rank", "alpha"].iter().all(|key| same(number(project, key), number(&other, key)))
            && same(rate(project, Some(card)), rate(&other, Some(card)))
    })
}

/// The three presets and the button that keeps the settings of now, at the right of `row`; gives where they begin.
pub(super) fn segments_ui(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, card: &MethodCard) -> f32 {
    let project = &cx.state.draft.project;
    let command = entry(Id::SavePreset);
    let keep = Rect::from_min_size(pos2(row.right() - 24.0, row.top() + 1.0), vec2(24.0, 24.0));
    let button = Button::icon_only(command.icon, command.name.get()).tooltip(command.help.get());
    cx.press(ui, Id::SavePreset, button, keep);
    let names: Vec<&str> = PRESETS.iter().map(|preset| preset.0.get()).collect();
    let width = choice::segments_width(ui, &names, Type::Body);
    let place = Rect::from_min_size(pos2(keep.left() - 4.0 - width, row.top() + 1.0), vec2(width, 24.0));
    if let Some(index) =
        choice::segments(ui, cx.theme, place, t!("method-preset"), &names, current_preset(project, card))
    {
        cx.edit("", |project| apply_preset(project, card, index));
    }
    place.left()
}

/// The person's own presets of the method, when there are any.
pub(super) fn own_ui(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, card: &MethodCard) {
    let own = of_method(&cx.state.settings.presets, &card.id);
    if own.is_empty() {
        return;
    }
    let names: Vec<&str> = own.iter().map(|preset| preset.name.as_str()).collect();
    let project = &cx.state.draft.project;
    let current = own.iter().find(|preset| preset.is_in(project, card)).map_or("", |preset| preset.name.as_str());
    let label = Label { name: t!("preset-own"), help: t!("preset-own-tip"), note: "", term: None };
    if let Some(name) = form::choice(cx, ui, lines, &label, &names, current).and_then(|index| names.get(index)) {
        cx.send(UiCommand::Preset(PresetAct::Use((*name).to_owned())));
    }
}
