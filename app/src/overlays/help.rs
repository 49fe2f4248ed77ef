//! Help: the keys of the table of commands, and the words used here, each defined once.

use super::over;
use crate::commands::{TABLE, UiCommand};
use crate::rooms::{PanelCtx, scrolled};
use crate::theme::{Type, icons};
use crate::widgets::rows::{self, Rows};
use crate::widgets::text;
use crate::widgets::{Button, panel};
use egui::{Align, Rect, Ui, pos2, vec2};

/// Words with their meaning.
const WORDS: [(&str, &str); 9] = [
    ("loss", "how surprised the model is by the right token, in nats; lower is better"),
    ("nat", "the unit of surprise: 1 nat is a probability of 37 %, 0.05 nats one of 95 %"),
    ("forgetting", "loss on the worst kept set minus that of the base, in nats"),
    ("kept set", "texts that the model must still know afterwards"),
    ("budget", "the most forgetting that is allowed"),
    ("rank", "how many directions the change of a layer may use"),
    ("effective rank", "how many directions it really uses"),
    ("adapter", "the change alone, in a small file beside the model"),
    ("certificate", "a comparison of what was written with what was trained, before it counts as done"),
];

/// Shows the help.
pub fn help_ui(cx: &PanelCtx<'_>, ui: &mut Ui) {
    over(cx, ui, "Help", vec2(880.0, 620.0), None, |ui, rect| {
        let c = cx.c();
        let head = Rect::from_min_size(rect.min + vec2(16.0, 8.0), vec2(rect.width() - 32.0, 32.0));
        text::line(ui, head, Align::Min, "Help", Type::Room, c.text);
        let close = Rect::from_min_size(pos2(head.right() - 24.0, head.top() + 2.0), vec2(28.0, 28.0));
        if Button::icon_only(icons::X, "Close").show(ui, cx.theme, close).clicked() {
            cx.send(UiCommand::CloseSheet);
        }
        let body = Rect::from_min_max(pos2(rect.left() + 16.0, head.bottom() + 4.0), rect.max - vec2(16.0, 12.0));
        let left = body.with_max_x(body.left() + body.width() * 0.54 - 12.0);
        let right = body.with_min_x(left.right() + 24.0);
        keys(cx, ui, left);
        words(cx, ui, right);
    });
}

fn keys(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    text::line(ui, rect.with_max_y(rect.top() + 22.0), Align::Min, "Commands", Type::Panel, c.text);
    scrolled(ui, rect.with_min_y(rect.top() + 24.0), "help keys", |ui, area| {
        let mut lines = Rows::new(area.with_max_x(area.right() - 12.0));
        for entry in TABLE {
            let row = lines.next(24.0);
            rows::underline(ui, cx.theme, row);
            text::icon(ui.painter(), pos2(row.left() + 9.0, row.center().y), entry.icon, 15.0, c.text2);
            let keys = entry.keys(ui.ctx()).unwrap_or_else(|| "palette".to_owned());
            let kind = if entry.shortcut.is_some() { Type::MonoCaption } else { Type::Caption };
            text::line(ui, row, Align::Max, &keys, kind, if entry.shortcut.is_some() { c.text } else { c.text3 });
            let place = Rect::from_min_max(pos2(row.left() + 24.0, row.top()), pos2(row.right() - 90.0, row.bottom()));
            let pieces = [text::Piece(entry.name, Type::Medium, c.text), text::Piece(entry.help, Type::Body, c.text2)];
            text::pieces(ui, place, &pieces);
        }
        ui.allocate_rect(Rect::from_min_max(area.min, pos2(area.right(), lines.y)), egui::Sense::hover());
    });
}

fn words(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let mut lines = Rows::new(rect);
    text::line(ui, lines.next(22.0), Align::Min, "Words", Type::Panel, c.text);
    lines.gap(2.0);
    for (word, meaning) in WORDS {
        text::line(ui, lines.next(20.0), Align::Min, word, Type::Strong, c.text);
        let top = pos2(rect.left(), lines.y);
        lines.y += text::block(ui, top, rect.width(), meaning, Type::Body, c.text2) + 4.0;
    }
    panel::divider(ui, cx.theme, rect.shrink2(vec2(panel::MARGIN, 0.0)), lines.y + 2.0);
    lines.gap(8.0);
    let tips = "In plots: drag zooms, a double click shows everything, Ctrl and the wheel zoom, a click sets the \
                scrub line. Tab walks through every control; Space and Enter press it.";
    text::block(ui, pos2(rect.left(), lines.y), rect.width(), tips, Type::Body, c.text2);
}
