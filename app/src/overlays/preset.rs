//! A name for the settings of now, and the presets that the method has already.

use super::over;
use super::sheets::{acts, head};
use crate::commands::UiCommand;
use crate::format;
use crate::rooms::{PanelCtx, scrolled};
use crate::state::presets::{OwnPreset, PresetAct, of_method};
use crate::theme::{Type, icons};
use crate::widgets::Button;
use crate::widgets::field::{self, Field};
use crate::widgets::text::{self, Piece};
use egui::{Align, Rect, Sense, Stroke, Ui, pos2, vec2};

/// Height of a row, and how many are shown before the list scrolls.
const ROW: f32 = 30.0;
const MOST_ROWS: usize = 6;

/// Shows the question.
pub fn preset_ui(cx: &PanelCtx<'_>, ui: &mut Ui, typed: &str) {
    let Some(card) = cx.state.method() else { return };
    let own = of_method(&cx.state.settings.presets, &card.id);
    let list_height = ROW * own.len().min(MOST_ROWS) as f32;
    over(cx, ui, t!("preset-title"), vec2(560.0, 208.0 + list_height), None, |ui, rect| {
        let c = cx.c();
        let body = head(cx, ui, rect, t!("preset-title"));
        let lead = t!("preset-lead", method = card.title);
        let lead = text::block(ui, body.min, body.width(), &lead, Type::Body, c.text2);
        let row = Rect::from_min_size(pos2(body.left(), body.top() + lead + 8.0), vec2(body.width(), 28.0));
        text::line(ui, row.with_max_x(row.left() + 56.0), Align::Min, t!("preset-name"), Type::Body, c.text2);
        let place = Rect::from_min_size(pos2(row.left() + 60.0, row.top()), vec2(240.0, 28.0));
        let entry = Field {
            hint: t!("preset-name-hint"),
            tooltip: t!("preset-name-tip"),
            ..Field::new(t!("preset-name"), typed)
        };
        let field = field::show(ui, cx.theme, place, entry);
        if let Some(text) = field.changed.clone() {
            cx.send(UiCommand::Preset(PresetAct::Name(text)));
        }
        let name = field.changed.as_deref().unwrap_or(typed).trim();
        if own.iter().any(|preset| preset.name == name) {
            let note = row.with_min_x(place.right() + 12.0);
            text::data(ui, note, Align::Min, t!("preset-replaces"), Type::Body, c.warn);
        }
        let list = Rect::from_min_size(pos2(body.left(), row.bottom() + 10.0), vec2(body.width(), list_height));
        if !own.is_empty() {
            scrolled(ui, list, "own presets", |ui, area| {
                let whole = Rect::from_min_size(area.min, vec2(area.width(), ROW * own.len() as f32));
                ui.allocate_rect(whole, Sense::hover());
                for (place, preset) in own.iter().enumerate() {
                    let top = area.top() + ROW * place as f32;
                    row_ui(cx, ui, Rect::from_min_size(pos2(area.left(), top), vec2(area.width(), ROW)), preset);
                }
            });
        }
        let buttons = [
            (t!("preset-keep"), t!("preset-keep-tip"), true, !name.is_empty()),
            (t!("common-cancel"), t!("sheets-back"), false, true),
        ];
        match acts(cx, ui, body, &buttons) {
            Some(0) => cx.send(UiCommand::Preset(PresetAct::Keep)),
            Some(_) => cx.send(UiCommand::CloseSheet),
            None if field.entered && !name.is_empty() => cx.send(UiCommand::Preset(PresetAct::Keep)),
            None => {}
        }
    });
}

/// Rank and rate of a preset, as far as it has them.
fn facts(preset: &OwnPreset) -> String {
    let rank = preset.settings.get("rank").map(ToString::to_string);
    let rate = (preset.lr_peak > 0.0).then(|| format::rate(preset.lr_peak));
    match (rank, rate) {
        (Some(rank), Some(rate)) => t!("preset-facts", rank = rank, rate = rate),
        (Some(rank), None) => t!("preset-rank", rank = rank),
        (None, Some(rate)) => t!("preset-rate", rate = rate),
        (None, None) => t!("preset-usual").to_owned(),
    }
}

fn row_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, preset: &OwnPreset) {
    let c = cx.c();
    ui.painter().hline(rect.x_range(), rect.top() + 0.5, Stroke::new(1.0, c.line));
    let name = t!("preset-forget", name = preset.name);
    let at = Rect::from_min_size(pos2(rect.right() - 28.0, rect.top() + 2.0), vec2(28.0, 26.0));
    if Button::icon_only(icons::TRASH, &name).show(ui, cx.theme, at).clicked() {
        cx.send(UiCommand::Preset(PresetAct::Forget(preset.name.clone())));
    }
    let words = rect.with_max_x(at.left() - 12.0);
    let facts = facts(preset);
    text::pieces(ui, words, &[Piece(&preset.name, Type::Strong, c.text), Piece(&facts, Type::Body, c.text2)]);
}
