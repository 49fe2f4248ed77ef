//! Progress bars, shares of a whole, gauges and chips.

use super::term;
use super::text::{self, Piece};
use crate::theme::{Icon, Theme, Type};
use egui::{Align, Color32, Rect, Response, Role, Sense, Ui, WidgetInfo, pos2, vec2};

/// A bar that is filled up to `share`; its name says what for.
pub fn progress(ui: &mut Ui, theme: &Theme, rect: Rect, name: &str, share: Option<f32>, colour: Color32) -> Response {
    let response = ui.allocate_rect(rect, Sense::hover());
    response.widget_info(|| {
        let mut info = WidgetInfo::labeled(Role::ProgressIndicator, true, name);
        info.value = share.map(f64::from);
        info
    });
    let radius = rect.height() / 2.0;
    ui.painter().rect_filled(rect, radius, theme.colours.raised);
    if let Some(share) = share {
        let filled = (rect.width() * share.clamp(0.0, 1.0)).max(if share > 0.0 { rect.height() } else { 0.0 });
        ui.painter().rect_filled(Rect::from_min_size(rect.min, vec2(filled, rect.height())), radius, colour);
    }
    response
}

/// Icon and word in a tinted area of 20 points height; gives its width.
pub fn chip(
    ui: &mut Ui,
    left_centre: egui::Pos2,
    icon: Option<Icon>,
    word: &str,
    colour: Color32,
    area: Color32,
) -> f32 {
    let width = chip_width(ui, icon, word);
    let rect = Rect::from_min_size(pos2(left_centre.x, left_centre.y - 10.0), vec2(width, 20.0));
    ui.painter().rect_filled(rect, 3.0, area);
    let mut x = rect.left() + 8.0;
    if let Some(icon) = icon {
        if icon == crate::theme::icons::CIRCLE_FILL {
            ui.painter().circle_filled(pos2(x + 4.0, rect.center().y), 3.5, colour);
            x += 13.0;
        } else {
            text::icon(ui.painter(), pos2(x + 7.0, rect.center().y), icon, 14.0, colour);
            x += 19.0;
        }
    }
    text::line(ui, rect.with_min_x(x), Align::Min, word, Type::Caption, colour);
    width
}

/// Width of a chip.
#[must_use]
pub fn chip_width(ui: &Ui, icon: Option<Icon>, word: &str) -> f32 {
    let icon = match icon {
        Some(crate::theme::icons::CIRCLE_FILL) => 13.0,
        Some(_) => 19.0,
        None => 0.0,
    };
    (text::width(ui, word, Type::Caption) + icon + 16.0).ceil()
}

/// A measured figure with its unit and its reference.
#[derive(Debug, Clone)]
pub struct Gauge<'a> {
    /// What is measured.
    pub name: &'a str,
    /// The number.
    pub figure: String,
    /// Its unit.
    pub unit: &'a str,
    /// What it is measured against.
    pub reference: String,
    /// Share of the reference, for the bar.
    pub share: Option<f32>,
    /// A second line where there is no bar; may be empty.
    pub note: String,
    /// Colour of the bar and, when it is a warning, of the number.
    pub colour: Color32,
    /// Whether the number is a warning.
    pub alarming: bool,
    /// What it means.
    pub help: &'a str,
}

/// Height of a gauge with its bar.
pub const GAUGE_HEIGHT: f32 = 78.0;

/// Shows a gauge; the bar is left out where there is no share.
pub fn gauge(ui: &mut Ui, theme: &Theme, rect: Rect, gauge: &Gauge<'_>) {
    let c = &theme.colours;
    let row =
        |top: f32, height: f32| Rect::from_min_size(pos2(rect.left(), rect.top() + top), vec2(rect.width(), height));
    let name = text::line(ui, row(0.0, 18.0), Align::Min, gauge.name, Type::Body, c.text2).on_hover_text(gauge.help);
    term::label(ui, theme, name.rect, gauge.name, gauge.help);
    let colour = if gauge.alarming { gauge.colour } else { c.text };
    text::pieces(
        ui,
        row(20.0, 28.0),
        &[Piece(&gauge.figure, Type::Figure, colour), Piece(gauge.unit, Type::Body, c.text2)],
    );
    text::data(ui, row(50.0, 18.0), Align::Min, &gauge.reference, Type::Body, c.text2);
    if gauge.share.is_none() && !gauge.note.is_empty() {
        text::data(ui, row(67.0, 16.0), Align::Min, &gauge.note, Type::Body, c.text2).on_hover_text(gauge.help);
    }
    if gauge.share.is_some() {
        progress(ui, theme, row(73.0, 4.0), gauge.name, gauge.share, gauge.colour);
    }
}
