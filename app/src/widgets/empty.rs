//! What stands where there is nothing: what is missing, what would be here, and the acts that fill it.

use super::button::Button;
use super::text;
use crate::theme::{Icon, Theme, Type};
use egui::{Align, Rect, Ui, pos2, vec2};

/// An act that fills the emptiness.
#[derive(Debug, Clone)]
pub struct Act<'a> {
    /// Words of the button.
    pub label: &'a str,
    /// Its icon.
    pub icon: Icon,
    /// What it does.
    pub tooltip: &'a str,
}

/// Shows an empty state at the top of `rect`; gives the act that was clicked.
pub fn show(
    ui: &mut Ui,
    theme: &Theme,
    rect: Rect,
    icon: Icon,
    title: &str,
    words: &str,
    acts: &[Act<'_>],
) -> Option<usize> {
    let c = &theme.colours;
    let narrow = rect.width() < 300.0;
    let left = if narrow { rect.left() } else { rect.left() + 60.0 };
    let centre =
        if narrow { pos2(rect.left() + 14.0, rect.top() + 22.0) } else { pos2(rect.left() + 26.0, rect.top() + 28.0) };
    text::icon(ui.painter(), centre, icon, 28.0, c.text2);
    let top = if narrow { rect.top() + 44.0 } else { rect.top() + 8.0 };
    let width = rect.right() - left;
    let title_row = Rect::from_min_size(pos2(left, top), vec2(width, 20.0));
    text::line(ui, title_row, Align::Min, title, Type::Panel, c.text);
    let height = text::block(ui, pos2(left, top + 22.0), width, words, Type::Body, c.text2);
    let mut y = top + 22.0 + height + 10.0;
    let mut x = left;
    let mut clicked = None;
    for (index, act) in acts.iter().enumerate() {
        let button = Button::new(act.label).icon(act.icon).tooltip(act.tooltip);
        let needed = button.width(ui);
        if x > left && x + needed > rect.right() {
            x = left;
            y += 34.0;
        }
        if button.show(ui, theme, Rect::from_min_size(pos2(x, y), vec2(needed, 28.0))).clicked() {
            clicked = Some(index);
        }
        x += needed + 8.0;
    }
    clicked
}
