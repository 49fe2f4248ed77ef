//! Text in exact places: one line, several pieces in a line, wrapped blocks.
//!
//! Words meant for people are also in the accessibility tree; axis figures are painted only, because the
//! plot they belong to says the same in a sentence.

use crate::theme::{Icon, Type};
use egui::text::{LayoutJob, TextFormat, TextWrapping};
use egui::{
    Align, Align2, Color32, Galley, Painter, Pos2, Rect, Response, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2,
};
use std::sync::Arc;

/// Gap between a value and the note behind it.
pub const PIECE_GAP: f32 = 6.0;

/// A line that is not broken. It has no colour of its own, so that what is measured, painted, and painted in another colour
/// is laid out once: whoever paints it says in which.
#[must_use]
pub fn galley(painter: &Painter, text: &str, kind: Type) -> Arc<Galley> {
    painter.layout_no_wrap(text.to_owned(), kind.font(), Color32::PLACEHOLDER)
}

/// Width of a line.
#[must_use]
pub fn width(ui: &Ui, text: &str, kind: Type) -> f32 {
    galley(ui.painter(), text, kind).size().x
}

fn job(text: &str, kind: Type, colour: Color32, max_width: f32, max_rows: usize) -> LayoutJob {
    let format = TextFormat {
        font_id: kind.font(),
        color: colour,
        line_height: Some(kind.line_height()),
        ..TextFormat::default()
    };
    let mut job = LayoutJob::single_section(text.to_owned(), format);
    job.wrap = TextWrapping { max_width, max_rows, break_anywhere: max_rows == 1, overflow_character: Some('…') };
    job
}

/// Top left corner of a line at `align` in `rect`, so that lines of all families share a baseline.
fn place(rect: Rect, galley: &Galley, kind: Type, align: Align) -> Pos2 {
    let size = galley.size();
    let x = match align {
        Align::Min => rect.left(),
        Align::Center => rect.center().x - size.x / 2.0,
        Align::Max => rect.right() - size.x,
    };
    let first = galley.rows.first().and_then(|row| row.row.glyphs.first().map(|glyph| row.pos.y + glyph.pos.y));
    // The letters of both families stand about 0.36 of their size around the middle of their line.
    let y = match first {
        Some(baseline) => (rect.center().y + 0.36 * kind.size()).round() - baseline.round(),
        None => (rect.center().y - size.y / 2.0).round(),
    };
    pos2(x.round(), y)
}

fn announce(ui: &mut Ui, rect: Rect, text: &str) -> Response {
    let response = ui.allocate_rect(rect, Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, text));
    response
}

/// Paints a line without a word for screen readers; gives its rectangle.
pub fn paint(painter: &Painter, rect: Rect, align: Align, text: &str, kind: Type, colour: Color32) -> Rect {
    let galley = galley(painter, text, kind);
    let pos = place(rect, &galley, kind, align);
    let size = galley.size();
    painter.galley(pos, galley, colour);
    Rect::from_min_size(pos, size)
}

/// Paints a line anchored at a point, for axes.
pub fn paint_at(painter: &Painter, pos: Pos2, anchor: Align2, text: &str, kind: Type, colour: Color32) -> Rect {
    painter.text(pos, anchor, text, kind.font(), colour)
}

/// A label, an explanation, a unit: never cut off.
pub fn line(ui: &mut Ui, rect: Rect, align: Align, text: &str, kind: Type, colour: Color32) -> Response {
    let painted = paint(ui.painter(), rect, align, text, kind, colour);
    announce(ui, painted, text)
}

/// Data such as a name or a path: cut off with an ellipsis where it does not fit, whole in the tooltip.
pub fn data(ui: &mut Ui, rect: Rect, align: Align, text: &str, kind: Type, colour: Color32) -> Response {
    let galley = ui.painter().layout_job(job(text, kind, colour, rect.width(), 1));
    let elided = galley.elided;
    let size = galley.size();
    let pos = place(rect, &galley, kind, align);
    ui.painter().galley(pos, galley, colour);
    let response = announce(ui, Rect::from_min_size(pos, size), text);
    if elided { response.on_hover_text(text) } else { response }
}

/// As much of the end of a path as fits into `room`.
#[must_use]
pub fn path_end(ui: &Ui, text: &str, kind: Type, room: f32) -> String {
    let mut shown = text.to_owned();
    let mut letters = text.chars();
    while width(ui, &shown, kind) > room && letters.next().is_some() {
        shown = format!("…{}", letters.as_str());
    }
    shown
}

/// A path whose end matters more than its beginning.
pub fn path(ui: &mut Ui, rect: Rect, text: &str, kind: Type, colour: Color32) -> Response {
    let shown = path_end(ui, text, kind, rect.width());
    let painted = paint(ui.painter(), rect, Align::Min, &shown, kind, colour);
    let response = announce(ui, painted, text);
    if shown == text { response } else { response.on_hover_text(text) }
}

/// Height that `block` takes.
#[must_use]
pub fn block_height(ui: &Ui, width: f32, text: &str, kind: Type) -> f32 {
    ui.painter().layout_job(job(text, kind, Color32::PLACEHOLDER, width, usize::MAX)).size().y
}

/// Wrapped text; gives its height.
pub fn block(ui: &mut Ui, top_left: Pos2, width: f32, text: &str, kind: Type, colour: Color32) -> f32 {
    clipped_block(ui, top_left, width, usize::MAX, text, kind, colour)
}

/// Wrapped text of at most `max_rows` lines, for data such as answers.
pub fn clipped_block(
    ui: &mut Ui,
    top_left: Pos2,
    width: f32,
    max_rows: usize,
    text: &str,
    kind: Type,
    colour: Color32,
) -> f32 {
    let mut wrapped = job(text, kind, colour, width, max_rows.max(1));
    wrapped.wrap.break_anywhere = false;
    let galley = ui.painter().layout_job(wrapped);
    let size = galley.size();
    let elided = galley.elided;
    ui.painter().galley(top_left, galley, colour);
    let response = announce(ui, Rect::from_min_size(top_left, vec2(size.x.max(1.0), size.y)), text);
    if elided {
        response.on_hover_text(text);
    }
    size.y
}

/// Wrapped text with parts of it (in bytes) underlined; gives its height.
pub fn marked_block(
    ui: &mut Ui,
    top_left: Pos2,
    width: f32,
    text: &str,
    marks: &[std::ops::Range<usize>],
    (colour, mark): (Color32, Color32),
) -> f32 {
    let kind = Type::Body;
    let format = |underline: Stroke| TextFormat {
        font_id: kind.font(),
        color: colour,
        line_height: Some(kind.line_height()),
        underline,
        ..TextFormat::default()
    };
    let mut job = LayoutJob::default();
    job.wrap.max_width = width;
    let mut at = 0;
    for range in marks {
        job.append(text.get(at..range.start).unwrap_or_default(), 0.0, format(Stroke::NONE));
        job.append(text.get(range.clone()).unwrap_or_default(), 0.0, format(Stroke::new(1.5, mark)));
        at = range.end;
    }
    job.append(text.get(at..).unwrap_or_default(), 0.0, format(Stroke::NONE));
    let galley = ui.painter().layout_job(job);
    let size = galley.size();
    ui.painter().galley(top_left, galley, colour);
    announce(ui, Rect::from_min_size(top_left, vec2(size.x.max(1.0), size.y)), text);
    size.y
}

/// A piece of a line.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a>(pub &'a str, pub Type, pub Color32);

/// How much room pieces take when none is cut off.
#[must_use]
pub fn pieces_width(ui: &Ui, pieces: &[Piece<'_>]) -> f32 {
    pieces.iter().filter(|piece| !piece.0.is_empty()).map(|piece| width(ui, piece.0, piece.1) + PIECE_GAP).sum()
}

/// Pieces one after another from the left; the last one is cut off where it does not fit. Gives the end.
pub fn pieces(ui: &mut Ui, rect: Rect, pieces: &[Piece<'_>]) -> f32 {
    let mut x = rect.left();
    let shown: Vec<&Piece<'_>> = pieces.iter().filter(|piece| !piece.0.is_empty()).collect();
    let mut all = String::new();
    let mut elided = false;
    for (index, Piece(text, kind, colour)) in shown.iter().enumerate() {
        let room = Rect::from_min_max(pos2(x, rect.top()), rect.max);
        if room.width() <= 4.0 {
            elided = true;
            break;
        }
        let whole = galley(ui.painter(), text, *kind);
        let galley = if index + 1 == shown.len() && whole.size().x > room.width() {
            ui.painter().layout_job(job(text, *kind, *colour, room.width(), 1))
        } else {
            whole
        };
        elided |= galley.elided;
        let pos = place(room, &galley, *kind, Align::Min);
        x = pos.x + galley.size().x + PIECE_GAP;
        ui.painter().galley(pos, galley, *colour);
        if !all.is_empty() {
            all.push(' ');
        }
        all.push_str(text);
    }
    let end = (x - PIECE_GAP).min(rect.right());
    let response = announce(ui, Rect::from_min_max(rect.min, pos2(end.max(rect.left() + 1.0), rect.max.y)), &all);
    if elided {
        let full: Vec<&str> = shown.iter().map(|piece| piece.0).collect();
        response.on_hover_text(full.join(" "));
    }
    end
}

/// Paints an icon around a centre.
pub fn icon(painter: &Painter, centre: Pos2, icon: Icon, size: f32, colour: Color32) {
    let galley = painter.layout_no_wrap(icon.glyph.to_owned(), icon.font(size), colour);
    let pos = pos2((centre.x - galley.size().x / 2.0).round(), (centre.y - galley.size().y / 2.0).round());
    painter.galley(pos, galley, colour);
}
