//! A cursor that hands out rows from top to bottom, and the rows that panels are made of.

use super::text::{self, Piece};
use crate::theme::{Theme, Type};
use egui::{Align, Rect, Stroke, Ui, pos2, vec2};

/// Hands out rows from top to bottom.
#[derive(Debug, Clone, Copy)]
pub struct Rows {
    /// Where rows may be; the bottom is a wish, not a limit.
    pub area: Rect,
    /// Top of the next row.
    pub y: f32,
}

impl Rows {
    /// Starts at the top of `area`.
    #[must_use]
    pub fn new(area: Rect) -> Self {
        Self { area, y: area.top() }
    }

    /// The next row.
    pub fn next(&mut self, height: f32) -> Rect {
        let row = Rect::from_min_size(pos2(self.area.left(), self.y), vec2(self.area.width(), height));
        self.y += height;
        row
    }

    /// Leaves a gap.
    pub fn gap(&mut self, height: f32) {
        self.y += height;
    }

    /// Height left.
    #[must_use]
    pub fn left(&self) -> f32 {
        (self.area.bottom() - self.y).max(0.0)
    }

    /// Everything left.
    #[must_use]
    pub fn rest(&self) -> Rect {
        self.area.with_min_y(self.y)
    }
}

/// Name, value and a dimmer note in one row.
pub fn key_value(ui: &mut Ui, theme: &Theme, row: Rect, key_width: f32, key: &str, value: &str, note: &str) {
    let c = &theme.colours;
    text::line(ui, row, Align::Min, key, Type::Body, c.text2);
    let place = row.with_min_x(row.left() + key_width);
    text::pieces(ui, place, &[Piece(value, Type::Body, c.text), Piece(note, Type::Body, c.text2)]);
}

/// The head of a table: a raised row across the panel.
pub fn table_head(ui: &Ui, theme: &Theme, row: Rect, margin: f32) {
    ui.painter().rect_filled(row.expand2(vec2(margin - 1.0, 0.0)), 0.0, theme.colours.raised);
}

/// A line under a row.
pub fn underline(ui: &Ui, theme: &Theme, row: Rect) {
    ui.painter().hline(row.left()..=row.right(), row.bottom() - 0.5, Stroke::new(1.0, theme.colours.line));
}

/// The part of `row` from share `from` to share `to` of its width.
#[must_use]
pub fn column(row: Rect, from: f32, to: f32) -> Rect {
    Rect::from_min_max(
        pos2(row.left() + row.width() * from, row.top()),
        pos2(row.left() + row.width() * to, row.bottom()),
    )
}
