//! Choosing: segments, check boxes, radio buttons, pills, drop-down lists, sliders.

use super::button::focus_ring;
use super::text;
use crate::theme::{Theme, Type, icons};
use egui::{
    Align, EventFilter, Key, Popup, Rect, Response, Role, ScrollArea, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2,
    vec2,
};

/// Width of segments with these words, each with 8 points left and right.
#[must_use]
pub fn segments_width(ui: &Ui, labels: &[&str], kind: Type) -> f32 {
    labels.iter().map(|label| (text::width(ui, label, kind) + 16.0).ceil()).sum()
}

/// One of a few, side by side; gives the one clicked. Each segment is as wide as its words need, and what
/// is left is shared.
pub fn segments(
    ui: &mut Ui,
    theme: &Theme,
    rect: Rect,
    name: &str,
    labels: &[&str],
    chosen: Option<usize>,
) -> Option<usize> {
    let c = &theme.colours;
    let kind = if rect.height() <= 20.0 { Type::Caption } else { Type::Body };
    ui.painter().rect(rect, 4.0, c.raised, Stroke::new(1.0, c.line2), StrokeKind::Inside);
    let spare = (rect.width() - segments_width(ui, labels, kind)) / labels.len().max(1) as f32;
    let mut clicked = None;
    let mut x = rect.left();
    let mut chosen_rect = None;
    for (index, label) in labels.iter().enumerate() {
        let width = (text::width(ui, label, kind) + 16.0).ceil() + spare;
        let last = index + 1 == labels.len();
        let right = if last { rect.right() } else { (x + width).round() };
        let part = Rect::from_min_max(pos2(x, rect.top()), pos2(right, rect.bottom()));
        let response = ui.allocate_rect(part, Sense::click());
        let selected = chosen == Some(index);
        let words = format!("{name}: {label}");
        response.widget_info(|| WidgetInfo::selected(Role::RadioButton, true, selected, &words));
        let response = response.on_hover_text(&words);
        let over = response.hovered();
        if over && !selected {
            ui.painter().rect_filled(part.shrink(1.0), 3.0, c.hover);
        }
        if !last && !selected {
            ui.painter().vline(right - 0.5, part.top() + 1.0..=part.bottom() - 1.0, Stroke::new(1.0, c.line2));
        }
        if selected {
            ui.painter().rect(part, 4.0, c.accent_bg, Stroke::new(1.0, c.accent), StrokeKind::Inside);
            chosen_rect = Some(part);
        }
        text::paint(ui.painter(), part, Align::Center, label, kind, if selected { c.text } else { c.text2 });
        if response.has_focus() {
            focus_ring(ui, theme, part, 4.0);
        }
        if response.clicked() {
            clicked = Some(index);
        }
        x = right;
    }
    if let Some(part) = chosen_rect {
        // The divider of the neighbour must not cut the frame.
        ui.painter().rect_stroke(part, 4.0, Stroke::new(1.0, c.accent), StrokeKind::Inside);
    }
    clicked
}

/// A check box of 14 points at the left of `rect`, and its words; gives whether it was clicked.
pub fn check(ui: &mut Ui, theme: &Theme, rect: Rect, label: &str, on: bool) -> bool {
    let response = check_mark(ui, theme, rect, label, on).on_hover_text(label);
    let place = Rect::from_min_max(pos2(rect.left() + 22.0, rect.top()), rect.max);
    text::data(ui, place, Align::Min, label, Type::Body, theme.colours.text);
    response.clicked()
}

/// Only the box; `rect` is what can be clicked.
pub fn check_mark(ui: &mut Ui, theme: &Theme, rect: Rect, name: &str, on: bool) -> Response {
    let c = &theme.colours;
    let response = ui.allocate_rect(rect, Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::CheckBox, true, on, name));
    let mark = Rect::from_center_size(pos2(rect.left() + 7.0, rect.center().y.round()), vec2(14.0, 14.0));
    if on {
        ui.painter().rect_filled(mark, 3.0, c.accent_fill);
        text::icon(ui.painter(), mark.center(), icons::CHECK_BOLD, 12.0, c.on_accent);
    } else {
        let fill = if response.hovered() { c.hover } else { c.panel };
        ui.painter().rect(mark, 3.0, fill, Stroke::new(1.0, c.ctl), StrokeKind::Inside);
    }
    if response.has_focus() {
        focus_ring(ui, theme, mark, 3.0);
    }
    response
}

/// A radio button of 14 points at the left edge of `rect`; all of `rect` can be clicked.
pub fn radio(ui: &mut Ui, rect: Rect, name: &str, on: bool) -> Response {
    let response = ui.allocate_rect(rect, Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::RadioButton, true, on, name));
    response
}

/// Paints the mark of a radio button.
pub fn radio_mark(ui: &Ui, theme: &Theme, centre: egui::Pos2, on: bool) {
    let c = &theme.colours;
    let border = if on { c.accent } else { c.ctl };
    ui.painter().circle(centre, 6.5, c.panel, Stroke::new(1.0, border));
    if on {
        ui.painter().circle_filled(centre, 4.0, c.accent);
    }
}

/// A drop-down list; gives the entry chosen.
pub fn select(
    ui: &mut Ui,
    theme: &Theme,
    rect: Rect,
    name: &str,
    choices: &[String],
    chosen: Option<usize>,
) -> Option<usize> {
    let c = &theme.colours;
    let response = ui.allocate_rect(rect, Sense::click());
    let current = chosen.and_then(|index| choices.get(index)).map_or_else(|| t!("common-choose"), String::as_str);
    response.widget_info(|| {
        let mut info = WidgetInfo::labeled(Role::ComboBox, true, name);
        info.current_text_value = Some(current.to_owned());
        info
    });
    let fill = if response.hovered() { c.hover } else { c.panel };
    ui.painter().rect(rect, 4.0, fill, Stroke::new(1.0, c.ctl), StrokeKind::Inside);
    if response.has_focus() {
        focus_ring(ui, theme, rect, 4.0);
    }
    text::icon(ui.painter(), pos2(rect.right() - 12.0, rect.center().y), icons::CARET_DOWN, 12.0, c.text2);
    let inner = Rect::from_min_max(rect.min + vec2(8.0, 0.0), rect.max - vec2(22.0, 0.0));
    let galley = {
        let mut clip = ui.new_child(egui::UiBuilder::new().max_rect(inner));
        clip.set_clip_rect(inner.intersect(ui.clip_rect()));
        text::paint(clip.painter(), inner, Align::Min, current, Type::Body, c.text)
    };
    // Words that do not fit stand behind the name.
    let words = if galley.width() > inner.width() { format!("{name}: {current}") } else { name.to_owned() };
    let response = response.on_hover_text(words);
    let mut picked = None;
    Popup::menu(&response).width(rect.width().max(120.0)).show(|ui| {
        ui.spacing_mut().item_spacing = vec2(0.0, 0.0);
        let list = ScrollArea::vertical().id_salt("choices").max_height(MOST_ROWS * ROW);
        list.show_rows(ui, ROW, choices.len(), |ui, range| {
            for (index, choice) in choices.iter().enumerate().skip(range.start).take(range.len()) {
                if entry(ui, theme, rect.width(), choice, chosen == Some(index)) {
                    picked = Some(index);
                    ui.close();
                }
            }
        });
    });
    picked
}

/// Height of a row of a drop-down list, and how many are shown before it scrolls.
const ROW: f32 = 24.0;
const MOST_ROWS: f32 = 16.0;

/// A row of a drop-down list; gives whether it was clicked.
fn entry(ui: &mut Ui, theme: &Theme, width: f32, choice: &str, selected: bool) -> bool {
    let size = vec2((text::width(ui, choice, Type::Body) + 36.0).max(width - 8.0), ROW);
    let (row, entry) = ui.allocate_exact_size(size, Sense::click());
    entry.widget_info(|| WidgetInfo::selected(Role::MenuItem, true, selected, choice));
    if entry.hovered() || entry.has_focus() {
        ui.painter().rect_filled(row, 4.0, theme.colours.hover);
    }
    if selected {
        let centre = pos2(row.left() + 12.0, row.center().y);
        text::icon(ui.painter(), centre, icons::CHECK, 14.0, theme.colours.accent);
    }
    let place = row.with_min_x(row.left() + 24.0);
    text::paint(ui.painter(), place, Align::Min, choice, Type::Body, theme.colours.text);
    entry.on_hover_text(choice).clicked()
}

/// A slider of 20 points height, finer at its low end: the place is the square root of the share. Arrows
/// move it by a hundredth of its length.
pub fn slider(
    ui: &mut Ui,
    theme: &Theme,
    rect: Rect,
    name: &str,
    value: f64,
    range: std::ops::RangeInclusive<f64>,
) -> Option<f64> {
    let c = &theme.colours;
    let response = ui.allocate_rect(rect, Sense::click_and_drag());
    let (low, high) = (*range.start(), *range.end());
    response.widget_info(|| WidgetInfo::slider(true, value, name));
    let left = rect.left() + 6.0;
    let width = (rect.width() - 12.0).max(1.0);
    let mut moved = None;
    if (response.dragged() || response.clicked())
        && let Some(pointer) = response.interact_pointer_pos()
    {
        let share = f64::from(((pointer.x - left) / width).clamp(0.0, 1.0));
        moved = Some(low + share * share * (high - low));
    }
    if response.has_focus() {
        let filter = EventFilter { horizontal_arrows: true, ..EventFilter::default() };
        ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
        let presses = |key| ui.input(|input| input.num_presses(key)) as f64;
        let steps = presses(Key::ArrowRight) - presses(Key::ArrowLeft);
        if steps != 0.0 {
            let share = slider_share(value, low, high) + steps / 100.0;
            moved = Some(low + share.clamp(0.0, 1.0).powi(2) * (high - low));
        }
    }
    let response = response.on_hover_text(name);
    let share = slider_share(value, low, high) as f32;
    let y = rect.center().y.round();
    let knob = pos2(left + share * width, y);
    let track = Rect::from_min_max(pos2(rect.left(), y - 2.0), pos2(rect.right(), y + 2.0));
    ui.painter().rect_filled(track, 2.0, c.line2);
    ui.painter().rect_filled(track.with_max_x(knob.x), 2.0, c.accent);
    ui.painter().circle(knob, 6.5, c.text, Stroke::new(1.0, c.card));
    if response.has_focus() {
        ui.painter().circle_stroke(knob, 9.0, Stroke::new(1.0, c.accent));
    }
    moved.filter(|moved| (moved - value).abs() > 1e-12)
}

/// Place of `value` on a slider from `low` to `high`, 0 to 1.
#[must_use]
pub fn slider_share(value: f64, low: f64, high: f64) -> f64 {
    ((value - low) / (high - low)).clamp(0.0, 1.0).sqrt()
}
