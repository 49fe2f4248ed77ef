//! What stands in a card whose model or data is no longer where it was: where that is, what is known of it, and the ways
//! to find it again.

use crate::commands::UiCommand;
use crate::rooms::PanelCtx;
use crate::state::relink::RelinkAct;
use crate::theme::{Type, icons};
use crate::widgets::{empty, text};
use egui::{Rect, Sense, Ui, vec2};

/// Of the model.
pub(super) fn model_ui(cx: &PanelCtx<'_>, ui: &mut Ui, area: Rect, path: &str) {
    let mut words = vec![t!("relink-was-at", path = path)];
    words.extend(cx.state.expected_model());
    words.push(t!("relink-compared").to_owned());
    ways(cx, ui, area, t!("relink-model-gone"), &words.join(" "));
}

/// Of the data.
pub(super) fn data_ui(cx: &PanelCtx<'_>, ui: &mut Ui, area: Rect, path: &str) {
    let words = [t!("relink-was-at", path = path), t!("relink-data-compared").to_owned()];
    ways(cx, ui, area, t!("relink-data-gone"), &words.join(" "));
}

fn ways(cx: &PanelCtx<'_>, ui: &mut Ui, area: Rect, title: &str, words: &str) {
    let acts = [
        empty::Act { label: t!("relink-find"), icon: icons::FILE_TEXT, tooltip: t!("relink-find-tip") },
        empty::Act { label: t!("relink-find-folder"), icon: icons::FOLDER_OPEN, tooltip: t!("relink-find-folder-tip") },
        empty::Act { label: t!("relink-path"), icon: icons::TERMINAL, tooltip: t!("relink-path-tip") },
        empty::Act { label: t!("relink-again"), icon: icons::ARROW_CLOCKWISE, tooltip: t!("relink-again-tip") },
    ];
    let area = area.with_min_y(area.top() + 12.0);
    // The place that the ways take below the words, one in a row where the card is narrow.
    let (side, rows) = if area.width() < 300.0 { (0.0, 4.0) } else { (60.0, 2.0) };
    let height = text::block_height(ui, area.width() - side, words, Type::Body) + 76.0 + rows * 34.0;
    ui.allocate_rect(Rect::from_min_size(area.min, vec2(area.width(), height)), Sense::hover());
    match empty::show(ui, cx.theme, area, icons::WARNING, title, words, &acts) {
        Some(0) => cx.send(UiCommand::ChooseFiles),
        Some(1) => cx.send(UiCommand::ChooseFolder),
        Some(2) => cx.send(UiCommand::EnterPath),
        Some(_) => cx.send(UiCommand::Relink(RelinkAct::LookAgain)),
        None => {}
    }
}
