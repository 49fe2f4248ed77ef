//! The time scrubber: drag along the run, everything above and beside shows that step.

use super::Axis;
use crate::commands::{Id, UiCommand};
use crate::format;
use crate::plots::chart::GUTTER;
use crate::plots::retained;
use crate::reader::RunView;
use crate::rooms::PanelCtx;
use crate::theme::{Type, icons};
use crate::widgets::{Button, panel, text};
use egui::{Align, Color32, EventFilter, Key, Pos2, Rect, Sense, Shape, Stroke, Ui, WidgetInfo, pos2, vec2};

/// Shows the panel.
pub fn scrub_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, view: &RunView, axis: &Axis) {
    let c = cx.c();
    panel::surface(ui, cx.theme, rect);
    let centre = pos2(rect.left() + 25.0, rect.center().y);
    text::icon(ui.painter(), centre, icons::CLOCK_COUNTER_CLOCKWISE, 20.0, c.text2);
    let readout = if cx.compact { super::SMALL_READOUT } else { super::READOUT };
    let right = rect.right() - 12.0 - readout - 16.0;
    let track = Rect::from_min_max(pos2(rect.left() + GUTTER, rect.top() + 10.0), pos2(right, rect.top() + 32.0));
    let width = (axis.range.1 - axis.range.0).max(1e-9);
    let x_of = |place: f64| track.left() + ((place - axis.range.0) / width) as f32 * track.width();
    let response = ui.allocate_rect(track, Sense::click_and_drag());
    let shown_step = cx.state.watch.scrub.unwrap_or(view.row.steps);
    response.widget_info(|| WidgetInfo::slider(true, shown_step as f64, t!("watch-step-shown")));
    if (response.dragged() || response.clicked())
        && let Some(pointer) = response.interact_pointer_pos()
    {
        let share = f64::from(((pointer.x - track.left()) / track.width()).clamp(0.0, 1.0));
        let step = view.map.step(axis.range.0 + share * width).round().clamp(0.0, view.row.steps as f64) as u64;
        cx.send(UiCommand::Scrub(if step >= view.row.steps { None } else { Some(step) }));
    }
    if response.has_focus() {
        let filter = EventFilter { horizontal_arrows: true, ..EventFilter::default() };
        ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
        let stride = (view.row.steps / 100).max(1);
        let left = ui.input(|input| input.num_presses(Key::ArrowLeft)) as u64 * stride;
        let right = ui.input(|input| input.num_presses(Key::ArrowRight)) as u64 * stride;
        if left + right > 0 {
            let step = (shown_step + right).saturating_sub(left).min(view.row.steps);
            cx.send(UiCommand::Scrub(if step >= view.row.steps { None } else { Some(step) }));
        }
        crate::widgets::button::focus_ring(ui, cx.theme, track, 4.0);
    }
    let y = track.center().y.round();
    let bar = Rect::from_min_max(pos2(track.left(), y - 3.0), pos2(track.right(), y + 3.0));
    ui.painter().rect_filled(bar, 3.0, c.raised);
    let live = x_of(axis.live).clamp(track.left(), track.right());
    ui.painter().rect_filled(bar.with_max_x(live), 3.0, c.line2);
    let place = |step: u64| pos2(x_of(view.map.place(step as f64)).round() + 0.5, y);
    let states = view.kept_states.iter().map(|step| (place(*step), 5.0, c.line2));
    let marks = states.chain(view.checkpoints.iter().map(|mark| (place(mark.step), 8.0, c.text3)));
    let marks = marks.filter(|(at, ..)| (track.left()..=track.right()).contains(&at.x));
    retained::paint(ui, "states", marks.collect::<Vec<_>>(), |marks| {
        let line = |(at, half, colour): &(Pos2, f32, Color32)| {
            Shape::vline(at.x, at.y - half..=at.y + half, Stroke::new(1.0, *colour))
        };
        marks.iter().map(line).collect()
    });
    ui.painter().vline(live.round() + 0.5, track.y_range(), Stroke::new(2.0, c.accent));
    if let Some(scrub) = axis.scrub {
        let x = x_of(scrub).clamp(track.left(), track.right()).round();
        let knob = Rect::from_center_size(pos2(x, y), vec2(10.0, 20.0));
        ui.painter().rect_filled(knob, 3.0, c.text);
    }
    response.on_hover_text(t!("watch-scrub-tip"));
    labels(cx, ui, rect, track, view, axis, x_of(axis.scrub.unwrap_or(axis.live)));
    let width = if cx.compact { readout } else { super::READOUT };
    let button = Rect::from_min_size(pos2(rect.right() - 12.0 - width, rect.top() + 12.0), vec2(width, 28.0));
    let back: Button<'_> = cx.button(ui, Id::Live).keys(None);
    cx.press(ui, Id::Live, back, button);
}

fn labels(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, track: Rect, view: &RunView, axis: &Axis, knob: f32) {
    let c = cx.c();
    let row = Rect::from_min_max(pos2(track.left(), track.bottom()), pos2(track.right() + 20.0, rect.bottom() - 3.0));
    let live_word = if view.row.is_active() { t!("watch-live") } else { t!("watch-end") };
    let live = format!("{live_word} {}", format::count(view.row.steps));
    let live_width = text::width(ui, &live, Type::Caption);
    let share = ((axis.live - axis.range.0) / (axis.range.1 - axis.range.0).max(1e-9)) as f32;
    let live_x = (track.left() + share * track.width()).clamp(track.left() + live_width, track.right() + 12.0);
    let mut used = row.left();
    if axis.range.0 <= 0.0 && knob - track.left() > 210.0 {
        let zero = text::line(ui, row, Align::Min, t!("watch-zero-base"), Type::Caption, c.text2);
        used = zero.rect.right() + 12.0;
    }
    if let Some(step) = cx.state.watch.scrub {
        let words = match cx.state.kept_state() {
            Some(kept) if kept != step => {
                t!("watch-adapter-nearest", step = format::count(step), kept = format::count(kept))
            }
            _ => t!("watch-adapter-as-of", step = format::count(step)),
        };
        let width = text::width(ui, &words, Type::Caption);
        let right = (knob + 6.0).max(used + width).min(live_x - live_width - 12.0);
        if right - width >= used {
            let place = Rect::from_min_max(pos2(right - width, row.top()), pos2(right, row.bottom()));
            text::line(ui, place, Align::Min, &words, Type::Caption, c.text);
        }
    }
    let place = Rect::from_min_max(pos2(live_x - live_width, row.top()), pos2(live_x, row.bottom()));
    text::line(ui, place, Align::Min, &live, Type::Caption, c.accent);
}
