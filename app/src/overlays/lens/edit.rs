//! The texts of the chosen row, to be edited. A text counts when it is left and the engine accepts it.

use crate::commands::UiCommand;
use crate::format;
use crate::rooms::{PanelCtx, scrolled};
use crate::state::lens::LensAct;
use crate::theme::Type;
use crate::widgets::button::Weight;
use crate::widgets::paper::{self, Paper};
use crate::widgets::{Button, problem, text};
use egui::{Align, Rect, Sense, Ui, pos2, vec2};
use temper_protocol::data::{RowField, WHOLE_LINE};

/// Shows the texts.
pub(super) fn edit_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let row = cx.state.lens.chosen;
    let editor = &cx.state.lens.editor;
    let head = Rect::from_min_size(rect.min, vec2(rect.width(), 22.0));
    let trial = editor.trial(row);
    let changed = trial.is_some() || editor.edits.contains_key(&row);
    let button = Button::new(t!("lens-take-back")).weight(Weight::Link).tooltip(t!("lens-take-back-tip"));
    let width = button.width(ui);
    let place = Rect::from_min_size(pos2(head.right() - 12.0 - width, head.top() + 1.0), vec2(width, 20.0));
    if changed && button.show(ui, cx.theme, place).clicked() {
        cx.send(UiCommand::Lens(LensAct::TakeBack(row)));
    }
    let status = match trial {
        Some(trial) if trial.refused.is_some() => (t!("lens-refused"), c.err),
        Some(_) => (t!("lens-looking"), c.text2),
        None if changed => (t!("lens-edited"), c.accent),
        None => (t!("lens-edit-lead"), c.text2),
    };
    let pieces =
        [text::Piece(t!("lens-edit-title"), Type::Strong, c.text), text::Piece(status.0, Type::Body, status.1)];
    text::pieces(ui, head.with_max_x(place.left() - 8.0), &pieces);
    let body = rect.with_min_y(head.bottom() + 4.0).with_max_x(rect.right() - 8.0);
    scrolled(ui, body, "texts of the row", |ui, area| {
        let mut y = area.top();
        let refused = trial.and_then(|trial| trial.refused.as_ref()).or_else(|| editor.failed(row));
        if let Some(refused) = refused {
            y += problem::in_card(ui, cx.theme, pos2(area.left(), y), area.width() - 4.0, refused, cx.out) + 8.0;
        }
        match editor.told(row) {
            Some(told) if told.fields.is_empty() => {
                y += text::block(ui, pos2(area.left(), y), area.width(), t!("lens-no-texts"), Type::Body, c.text2);
            }
            Some(told) => {
                for field in &told.fields {
                    y += field_ui(cx, ui, area.with_min_y(y), row, field) + 8.0;
                }
            }
            None if refused.is_none() => {
                y += text::block(ui, pos2(area.left(), y), area.width(), t!("lens-loading"), Type::Body, c.text3);
            }
            None => {}
        }
        ui.allocate_rect(Rect::from_min_max(area.min, pos2(area.right(), y + 4.0)), Sense::hover());
    });
}

/// A text under its place; gives the height.
fn field_ui(cx: &PanelCtx<'_>, ui: &mut Ui, area: Rect, row: u64, field: &RowField) -> f32 {
    let c = cx.c();
    let editor = &cx.state.lens.editor;
    let place = place_words(&field.place);
    let label = Rect::from_min_size(area.min, vec2(area.width(), 16.0));
    let value = editor.text(row, field);
    let colour = if value == field.text { c.text2 } else { c.accent };
    text::data(ui, label, Align::Min, &place, Type::Caption, colour);
    let name = t!("lens-text", place = place, row = format::count(row + 1));
    let wrong = value != field.text && editor.trial(row).is_some_and(|trial| trial.refused.is_some());
    let paper = Paper { name: &name, value, tooltip: t!("lens-text-tip"), wrong };
    let top = pos2(area.left(), label.bottom() + 2.0);
    let (height, left) = paper::show(ui, cx.theme, top, area.width() - 6.0, paper);
    if let Some(text) = left {
        cx.send(UiCommand::Lens(LensAct::Text(row, field.place.clone(), text)));
    }
    18.0 + height
}

/// A place in a row for people: the names and numbers that lead to it.
fn place_words(place: &str) -> String {
    match place {
        WHOLE_LINE => t!("lens-whole-line").to_owned(),
        "" => t!("lens-whole-text").to_owned(),
        _ => {
            let parts = place.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~"));
            parts.collect::<Vec<_>>().join(" · ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        assert_eq!(place_words("/messages/1/content"), "messages · 1 · content");
        assert_eq!(place_words("/a~1b~0"), "a/b~");
        assert_ne!(place_words(WHOLE_LINE), place_words(""));
    }
}
