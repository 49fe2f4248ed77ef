//! Home: the starter, the drop zone, recent projects; this machine, what fits it, what stays private.

mod machine;
mod starter;
mod zone;

use super::PanelCtx;
use super::frame::part;
use crate::commands::Id;
use crate::theme::{Type, icons};
use crate::widgets::panel;
use crate::widgets::rows::Rows;
use crate::widgets::text::{self, Piece};
use egui::{Align, Rect, Ui, pos2, vec2};

const GAP: f32 = 8.0;

/// Shows the room.
pub fn home_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let right_width = if cx.compact { 360.0 } else { (rect.width() * 0.356).clamp(424.0, 520.0) };
    let left = rect.with_max_x(rect.right() - right_width - GAP);
    let right = rect.with_min_x(left.right() + GAP);
    let starter_height = if cx.compact { 306.0 } else { 312.0 };
    let recents = cx.state.settings.recents.len().min(5) as f32;
    let recent_height = if recents > 0.0 { 36.0 + 24.0 + recents * 32.0 } else { 120.0 };
    let starter = left.with_max_y(left.top() + starter_height);
    let recent = left.with_min_y(left.bottom() - recent_height.min(left.height() - starter_height - 150.0));
    let zone = Rect::from_min_max(pos2(left.left(), starter.bottom() + GAP), pos2(left.right(), recent.top() - GAP));
    part(ui, "starter", starter, |ui, rect| starter::starter_ui(cx, ui, rect));
    part(ui, "drop zone", zone, |ui, rect| zone::drop_zone(cx, ui, rect));
    part(ui, "recent", recent, |ui, rect| zone::recent_ui(cx, ui, rect));
    // In the narrow column the sentences about the graphics and the self-test take two lines each.
    let machine = right.with_max_y(right.top() + if cx.compact { 258.0 } else { 244.0 });
    let fits = Rect::from_min_size(pos2(right.left(), machine.bottom() + GAP), vec2(right.width(), 152.0));
    let private = Rect::from_min_size(pos2(right.left(), fits.bottom() + GAP), vec2(right.width(), 98.0));
    let keys = right.with_min_y(private.bottom() + GAP);
    part(ui, "machine", machine, |ui, rect| machine::machine_ui(cx, ui, rect));
    part(ui, "fits", fits, |ui, rect| machine::fits_ui(cx, ui, rect));
    part(ui, "private", private, |ui, rect| private_ui(cx, ui, rect));
    if keys.height() > 60.0 {
        part(ui, "keys", keys, |ui, rect| keys_ui(cx, ui, rect));
    }
}

/// A few keys, so that the palette is found; the help has all of them.
fn keys_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let (_, inside) = panel::titled(ui, cx.theme, rect, t!("home-keys"), "");
    let mut lines = Rows::new(inside);
    for id in [Id::Palette, Id::Train, Id::Pause, Id::Undo, Id::GoWatch, Id::Help] {
        if lines.left() < 22.0 {
            return;
        }
        let entry = crate::commands::entry(id);
        let row = lines.next(23.0);
        text::icon(ui.painter(), pos2(row.left() + 8.0, row.center().y), entry.icon, 16.0, c.text2);
        let keys = entry.keys(ui.ctx()).unwrap_or_default();
        text::line(ui, row, Align::Max, &keys, Type::MonoCaption, c.text);
        let words = Rect::from_min_max(pos2(row.left() + 24.0, row.top()), pos2(row.right() - 90.0, row.bottom()));
        let help = if cx.compact { "" } else { entry.help.get() };
        let pieces = [Piece(entry.name.get(), Type::Body, c.text), Piece(help, Type::Body, c.text2)];
        text::pieces(ui, words, &pieces);
    }
}

fn private_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let (_, inside) = panel::titled(ui, cx.theme, rect, t!("home-private"), "");
    let lines = [t!("home-private-telemetry"), t!("home-private-network"), t!("home-private-texts")];
    let mut rows = Rows::new(inside);
    for words in lines {
        let row = rows.next(20.0);
        text::icon(ui.painter(), pos2(row.left() + 7.0, row.center().y), icons::CHECK_BOLD, 13.0, c.text2);
        text::data(ui, row.with_min_x(row.left() + 22.0), Align::Min, words, Type::Body, c.text2);
    }
}
