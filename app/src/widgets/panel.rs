//! Panels: a surface with a border, and a head with title, note and room for controls.

use super::term;
use super::text::{self, Piece};
use crate::theme::{Icon, Theme, Type};
use egui::{Align, Color32, Rect, Stroke, StrokeKind, Ui, pos2, vec2};

/// Height of a panel's head.
pub const HEAD: f32 = 28.0;
/// Height of the head of the four cards.
pub const CARD_HEAD: f32 = 36.0;
/// Space left and right inside a panel.
pub const MARGIN: f32 = 12.0;

/// Paints the surface of a panel.
pub fn surface(ui: &Ui, theme: &Theme, rect: Rect) {
    bordered(ui, rect, theme.colours.card, theme.colours.line);
}

/// Paints a surface with the border of a meaning.
pub fn bordered(ui: &Ui, rect: Rect, fill: Color32, border: Color32) {
    ui.painter().rect(rect, 6.0, fill, Stroke::new(1.0, border), StrokeKind::Inside);
}

/// A panel with title and note; gives what is left of the head at the right, and the inside below it.
pub fn titled(ui: &mut Ui, theme: &Theme, rect: Rect, title: &str, note: &str) -> (Rect, Rect) {
    surface(ui, theme, rect);
    head(ui, theme, rect, title, note)
}

/// Only the head, for panels with a surface of their own.
pub fn head(ui: &mut Ui, theme: &Theme, rect: Rect, title: &str, note: &str) -> (Rect, Rect) {
    let c = &theme.colours;
    let line = Rect::from_min_size(rect.min + vec2(MARGIN, 0.0), vec2(rect.width() - 2.0 * MARGIN, HEAD));
    let pieces = [Piece(title, Type::Panel, c.text), Piece(note, Type::Body, c.text2)];
    let end = text::pieces(ui, line, &pieces);
    let width = text::width(ui, title, Type::Panel).min(line.width());
    let words = Rect::from_center_size(pos2(line.left() + width / 2.0, line.center().y), vec2(width, 18.0));
    term::label(ui, theme, words, title, "");
    let rest = line.with_min_x((end + 12.0).min(line.right()));
    let inside = Rect::from_min_max(pos2(line.left(), rect.top() + HEAD), pos2(line.right(), rect.bottom() - 8.0));
    (rest, inside)
}

/// The head of one of the four cards: icon, name, and a mark at the right; gives the inside.
pub fn card(
    ui: &mut Ui,
    theme: &Theme,
    rect: Rect,
    icon: Icon,
    name: &str,
    mark: Option<(Icon, Color32, &str)>,
) -> Rect {
    let c = &theme.colours;
    surface(ui, theme, rect);
    let head = Rect::from_min_size(rect.min, vec2(rect.width(), CARD_HEAD));
    text::icon(ui.painter(), pos2(head.left() + 21.0, head.center().y), icon, 20.0, c.text2);
    let title = Rect::from_min_max(pos2(head.left() + 38.0, head.top()), head.max);
    text::line(ui, title, Align::Min, name, Type::Card, c.text);
    if let Some((icon, colour, word)) = mark {
        let centre = pos2(head.right() - 21.0, head.center().y);
        text::icon(ui.painter(), centre, icon, 18.0, colour);
        let place = Rect::from_center_size(centre, vec2(20.0, 20.0));
        let response = ui.allocate_rect(place, egui::Sense::hover());
        response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Image, true, format!("{name}: {word}")));
        response.on_hover_text(word);
    }
    ui.painter().hline(rect.left()..=rect.right(), head.bottom() - 0.5, Stroke::new(1.0, c.line));
    Rect::from_min_max(pos2(rect.left() + MARGIN, head.bottom()), pos2(rect.right() - MARGIN, rect.bottom() - 1.0))
}

/// A line across a panel between two groups.
pub fn divider(ui: &Ui, theme: &Theme, rect: Rect, y: f32) {
    let stroke = Stroke::new(1.0, theme.colours.line);
    ui.painter().hline(rect.left() - MARGIN + 1.0..=rect.right() + MARGIN - 1.0, y.round() + 0.5, stroke);
}
