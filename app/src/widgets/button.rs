//! Buttons: normal, primary, quiet, link; with icon, shortcut and tooltip.

use super::text;
use crate::theme::{Icon, Theme, Type};
use egui::{Align, Color32, Rect, Response, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};

/// How much a button asks for attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Border and fill.
    Normal,
    /// The one thing to press in a room.
    Primary,
    /// Only an icon or words until the pointer is over it.
    Quiet,
    /// Words in the accent colour.
    Link,
}

/// A button.
#[derive(Debug, Clone)]
pub struct Button<'a> {
    label: &'a str,
    icon: Option<Icon>,
    keys: Option<String>,
    weight: Weight,
    tooltip: Option<&'a str>,
    enabled: bool,
    left: bool,
    small: bool,
    name: Option<&'a str>,
    selected: bool,
}

/// Size of icons in buttons.
const ICON: f32 = 16.0;
const GAP: f32 = 6.0;

impl<'a> Button<'a> {
    /// A normal button.
    #[must_use]
    pub fn new(label: &'a str) -> Self {
        Self {
            label,
            icon: None,
            keys: None,
            weight: Weight::Normal,
            tooltip: None,
            enabled: true,
            left: false,
            small: false,
            name: None,
            selected: false,
        }
    }

    /// An icon alone; `name` says what it does.
    #[must_use]
    pub fn icon_only(icon: Icon, name: &'a str) -> Self {
        Self { icon: Some(icon), name: Some(name), tooltip: Some(name), weight: Weight::Quiet, ..Self::new("") }
    }

    /// With an icon in front.
    #[must_use]
    pub fn icon(mut self, icon: Icon) -> Self {
        self.icon = Some(icon);
        self
    }

    /// With its keys behind the words.
    #[must_use]
    pub fn keys(mut self, keys: Option<String>) -> Self {
        self.keys = keys;
        self
    }

    /// With another weight.
    #[must_use]
    pub fn weight(mut self, weight: Weight) -> Self {
        self.weight = weight;
        self
    }

    /// With an explanation under the pointer.
    #[must_use]
    pub fn tooltip(mut self, tooltip: &'a str) -> Self {
        self.tooltip = Some(tooltip);
        self
    }

    /// Only pressable when `enabled`.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Words at the left edge instead of the middle.
    #[must_use]
    pub fn left(mut self) -> Self {
        self.left = true;
        self
    }

    /// In the head of a panel.
    #[must_use]
    pub fn small(mut self) -> Self {
        self.small = true;
        self
    }

    /// Another name for screen readers.
    #[must_use]
    pub fn name(mut self, name: &'a str) -> Self {
        self.name = Some(name);
        self
    }

    /// Shown as chosen.
    #[must_use]
    pub fn selected(mut self, selected: bool) -> Self {
        self.selected = selected;
        self
    }

    fn kind(&self) -> Type {
        if self.small && self.weight != Weight::Link { Type::Caption } else { Type::Medium }
    }

    /// Width that the button needs, with 12 points left and right.
    #[must_use]
    pub fn width(&self, ui: &Ui) -> f32 {
        let label = if self.label.is_empty() { 0.0 } else { text::width(ui, self.label, self.kind()) };
        let icon = if self.icon.is_some() { ICON } else { 0.0 };
        let gap = if self.icon.is_some() && !self.label.is_empty() { GAP } else { 0.0 };
        let keys = self.keys.as_ref().map_or(0.0, |keys| 8.0 + text::width(ui, keys, Type::MonoCaption));
        let margin = match self.weight {
            Weight::Link => 0.0,
            _ if self.small => 16.0,
            _ => 24.0,
        };
        (label + icon + gap + keys + margin).ceil()
    }

    /// Shows the button in `rect`.
    pub fn show(self, ui: &mut Ui, theme: &Theme, rect: Rect) -> Response {
        let sense = if self.enabled { Sense::click() } else { Sense::hover() };
        let response = ui.allocate_rect(rect, sense);
        let name = self.name.unwrap_or(self.label);
        let (enabled, selected) = (self.enabled, self.selected);
        response.widget_info(|| {
            if selected {
                WidgetInfo::selected(Role::Button, enabled, true, name)
            } else {
                WidgetInfo::labeled(Role::Button, enabled, name)
            }
        });
        self.paint(ui, theme, rect, &response);
        let tooltip = match (self.tooltip, &self.keys) {
            (Some(tip), Some(keys)) if self.label.is_empty() => format!("{tip} ({keys})"),
            (Some(tip), _) => tip.to_owned(),
            (None, _) => name.to_owned(),
        };
        response.on_hover_text(tooltip)
    }

    fn paint(&self, ui: &Ui, theme: &Theme, rect: Rect, response: &Response) {
        let c = &theme.colours;
        let over = self.enabled && (response.hovered() || response.is_pointer_button_down_on());
        let painter = ui.painter();
        let (fill, border, colour) = match self.weight {
            _ if !self.enabled && self.weight != Weight::Link && self.weight != Weight::Quiet => {
                (c.panel, c.line, c.text3)
            }
            Weight::Normal if self.selected => (c.accent_bg, c.accent, c.text),
            Weight::Normal => (if over { c.hover } else { c.raised }, c.line2, c.text),
            Weight::Primary => {
                let fill = if over { c.accent_fill.lerp_to_gamma(c.text, 0.08) } else { c.accent_fill };
                (fill, fill, c.on_accent)
            }
            Weight::Quiet => {
                let fill = if over { c.hover } else { Color32::TRANSPARENT };
                let colour = match (self.enabled, self.selected) {
                    // Plainly greyer than one that can be pressed: the form says nothing here.
                    (false, _) => c.ctl,
                    (true, true) => c.accent,
                    (true, false) => c.text2,
                };
                (fill, fill, colour)
            }
            Weight::Link => (Color32::TRANSPARENT, Color32::TRANSPARENT, if self.enabled { c.accent } else { c.text3 }),
        };
        painter.rect(rect, 4.0, fill, Stroke::new(1.0, border), StrokeKind::Inside);
        if response.has_focus() {
            focus_ring(ui, theme, rect, 4.0);
        }
        let label = text::width(ui, self.label, self.kind());
        let keys = self.keys.as_deref().filter(|_| !self.label.is_empty());
        let keys_width = keys.map_or(0.0, |keys| 8.0 + text::width(ui, keys, Type::MonoCaption));
        let gap = if self.label.is_empty() { 0.0 } else { GAP };
        let icon_width = if self.icon.is_some() { ICON + gap } else { 0.0 };
        let whole = icon_width + label + keys_width;
        let mut x = match self.weight {
            Weight::Link => rect.left(),
            _ if self.left => rect.left() + 12.0,
            _ => (rect.center().x - whole / 2.0).round(),
        };
        if let Some(icon) = self.icon {
            text::icon(painter, pos2(x + ICON / 2.0, rect.center().y), icon, ICON, colour);
            x += icon_width;
        }
        if !self.label.is_empty() {
            let place = Rect::from_min_size(pos2(x, rect.top()), vec2(label, rect.height()));
            text::paint(painter, place, Align::Min, self.label, self.kind(), colour);
            if self.weight == Weight::Link && over {
                painter.hline(x..=x + label, rect.center().y + 8.5, Stroke::new(1.0, colour));
            }
            x += label;
        }
        if let Some(keys) = keys {
            let colour = if self.weight == Weight::Primary && self.enabled { c.on_accent } else { c.text3 };
            let place = Rect::from_min_max(pos2(x + 8.0, rect.top()), rect.max);
            text::paint(painter, place, Align::Min, keys, Type::MonoCaption, colour);
        }
    }
}

/// The mark of what has the keyboard.
pub fn focus_ring(ui: &Ui, theme: &Theme, rect: Rect, radius: f32) {
    let stroke = Stroke::new(theme.focus_width, theme.colours.accent);
    ui.painter().rect_stroke(rect.expand(2.0), radius + 2.0, stroke, StrokeKind::Outside);
}
