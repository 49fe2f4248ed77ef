//! The list of the lens: as many rows as the data has, drawn as many as fit.

use super::areas;
use super::marks::{self, Widths};
use crate::commands::UiCommand;
use crate::format;
use crate::rooms::PanelCtx;
use crate::state::lens::LensAct;
use crate::theme::{Type, icons};
use crate::widgets::button::focus_ring;
use crate::widgets::{rows, text};
use egui::text::TextWrapping;
use egui::{Align, EventFilter, Id, Key, Modifiers, Rect, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};
use std::collections::BTreeSet;
use std::sync::Arc;
use temper_protocol::event::LensRow;

/// Height of a row.
const ROW: f32 = 22.0;
/// Height of the head.
const HEAD: f32 = 20.0;
/// Lines whose words are laid out anew in one frame at most.
const MOST_NEW: usize = 8;
/// Width of the bar that goes to any place.
const BAR: f32 = 12.0;

/// The parts of a line: number, trained, tokens, text.
fn columns(row: Rect) -> [Rect; 4] {
    let mut left = row.left() + 4.0;
    let mut part = |width: f32, gap: f32| {
        let place = Rect::from_min_size(pos2(left, row.top()), vec2(width, row.height()));
        left = place.right() + gap;
        place
    };
    let [number, trained, tokens] = [part(84.0, 12.0), part(56.0, 12.0), part(56.0, 16.0)];
    [number, trained, tokens, Rect::from_min_max(pos2(left, row.top()), row.max - vec2(4.0, 0.0))]
}

/// Shows the list.
pub(super) fn list_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let head = Rect::from_min_size(rect.min, vec2(rect.width(), HEAD));
    ui.painter().rect_filled(head, 0.0, c.raised);
    let names = [t!("lens-head-row"), t!("lens-head-trained"), t!("lens-head-tokens"), t!("lens-head-text")];
    for (index, (name, place)) in names.into_iter().zip(columns(head)).enumerate() {
        let align = if index < 3 { Align::Max } else { Align::Min };
        text::line(ui, place, align, name, Type::Caption, c.text2);
    }
    let body = rect.with_min_y(head.bottom());
    let bar = body.with_min_x(body.right() - BAR);
    let body = body.with_max_x(bar.left() - 4.0);
    let room = (body.height() / ROW).ceil() as u64;
    let response = ui.allocate_rect(body, Sense::click());
    let lens = &cx.state.lens;
    response.widget_info(|| {
        let mut info = WidgetInfo::labeled(Role::ListBox, true, t!("lens-rows"));
        let words = lens.row(lens.chosen).map_or_else(|| missing(cx, lens.chosen).to_owned(), said);
        let (row, rows) = (format::count(lens.chosen + 1), format::count(lens.known));
        let mut said = t!("lens-row-said", row = row, rows = rows, text = words);
        if lens.left_out.contains(&lens.chosen) {
            said = format!("{said} ({})", t!("lens-left-out"));
        }
        if lens.editor.edits.contains_key(&lens.chosen) {
            said = format!("{said} ({})", t!("lens-edited"));
        }
        if is_refused(cx, lens.chosen) {
            said = format!("{said} ({})", t!("lens-edit-open"));
        }
        info.current_text_value = Some(said);
        info
    });
    if response.has_focus() {
        focus_ring(ui, cx.theme, body.shrink(2.0), 0.0);
    } else if ui.memory(|memory| memory.focused().is_none()) {
        response.request_focus();
    }
    keys(cx, ui, &response, room);
    scroll(cx, ui, body, room);
    if response.clicked()
        && let Some(at) = response.interact_pointer_pos()
    {
        response.request_focus();
        let row = lens.top + ((at.y - body.top() + lens.part) / ROW).max(0.0) as u64;
        if row < lens.known {
            cx.send(UiCommand::Lens(LensAct::Choose(row)));
        }
    }
    response.on_hover_text(t!("lens-rows-tip"));
    let mut clipped = ui.new_child(egui::UiBuilder::new().max_rect(body));
    clipped.set_clip_rect(body.intersect(ui.clip_rect()));
    lines_ui(cx, &clipped, body, room);
    place_ui(cx, ui, bar, room);
}

/// The lines in view. Shaping a text costs far more than drawing it again, so a frame takes up a few new ones: after a
/// leap the others follow in the next frames.
fn lines_ui(cx: &PanelCtx<'_>, ui: &Ui, body: Rect, room: u64) {
    let lens = &cx.state.lens;
    let widths = Widths::of(ui.painter());
    let key = Id::unique("lens rows that are laid out");
    let before: Arc<BTreeSet<u64>> = ui.data(|data| data.get_temp(key)).unwrap_or_default();
    let mut laid_out = BTreeSet::new();
    let mut new_ones = 0;
    for row in (lens.top..=lens.top + room).take_while(|row| *row < lens.known) {
        let top = body.top() + (row - lens.top) as f32 * ROW - lens.part;
        let line = Rect::from_min_size(pos2(body.left(), top.round()), vec2(body.width(), ROW));
        let words = line_ui(cx, ui, line, row);
        let Some(found) = lens.row(row) else { continue };
        if !before.contains(&row) {
            new_ones += 1;
            if new_ones > MOST_NEW {
                ui.ctx().request_repaint();
                continue;
            }
        }
        laid_out.insert(row);
        words_ui(cx, ui, &widths, words, found);
    }
    ui.data_mut(|data| data.insert_temp(key, Arc::new(laid_out)));
}

/// What is said where there are no tokens.
fn missing(cx: &PanelCtx<'_>, row: u64) -> &'static str {
    if cx.state.lens.has(row) { t!("lens-blank") } else { t!("lens-loading") }
}

/// Whether a text of the row was refused and waits to be corrected.
fn is_refused(cx: &PanelCtx<'_>, row: u64) -> bool {
    cx.state.lens.editor.trial(row).is_some_and(|trial| trial.refused.is_some())
}

/// A row in words.
fn said(row: &LensRow) -> String {
    if row.problem.is_empty() {
        format!("{}. {}", marks::counts(row), marks::spoken(row))
    } else {
        t!("lens-not-trained", why = row.problem)
    }
}

/// A line but for its words, whose place it gives.
fn line_ui(cx: &PanelCtx<'_>, ui: &Ui, line: Rect, row: u64) -> Rect {
    let c = cx.c();
    let lens = &cx.state.lens;
    if row == lens.chosen {
        ui.painter().rect(line, 0.0, c.accent_bg, Stroke::new(1.0, c.accent), egui::StrokeKind::Inside);
    }
    rows::underline(ui, cx.theme, line);
    let [number, trained, tokens, words] = columns(line);
    let painter = ui.painter();
    let mark = if is_refused(cx, row) {
        Some((icons::WARNING, c.warn))
    } else if lens.editor.edits.contains_key(&row) {
        Some((icons::PENCIL_SIMPLE, c.accent))
    } else {
        None
    };
    let colour = mark.map_or(c.text3, |(_, colour)| colour);
    let place = text::paint(painter, number, Align::Max, &format::count(row + 1), Type::Mono, colour);
    if let Some((icon, colour)) = mark {
        text::icon(painter, pos2(place.left() - 10.0, line.center().y), icon, 12.0, colour);
    }
    let Some(found) = lens.row(row) else {
        text::paint(painter, words, Align::Min, missing(cx, row), Type::Body, c.text3);
        return words;
    };
    if found.tokens > 0 {
        text::paint(painter, trained, Align::Max, &format::count(found.trained), Type::Mono, c.text);
        text::paint(painter, tokens, Align::Max, &format::count(found.tokens), Type::Mono, c.text2);
    }
    words
}

/// The words of a line: its tokens, as far as they can be seen.
fn words_ui(cx: &PanelCtx<'_>, ui: &Ui, widths: &Widths<'_>, words: Rect, found: &LensRow) {
    let left_out = cx.state.lens.left_out.contains(&found.row);
    let painter = ui.painter();
    let max_width = words.width();
    let most = widths.reach(found, max_width);
    let (mut job, lead) = marks::line(cx.theme, found, left_out, most);
    job.wrap = TextWrapping { max_width, max_rows: 1, break_anywhere: true, overflow_character: Some('…') };
    let galley = painter.layout_job(job);
    let top = (words.center().y - galley.size().y / 2.0).round();
    let at = pos2(words.left(), top);
    areas::paint(painter, cx.theme, at, &galley, found, lead, None);
    painter.galley(at, galley, cx.c().text);
}

/// Keys of the list while it has the keyboard.
fn keys(cx: &PanelCtx<'_>, ui: &Ui, response: &egui::Response, room: u64) {
    if !response.has_focus() {
        return;
    }
    let filter = EventFilter { vertical_arrows: true, ..EventFilter::default() };
    ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
    let lens = &cx.state.lens;
    let page = room.saturating_sub(2).max(1);
    let presses = |key| ui.input_mut(|input| input.count_and_consume_key(Modifiers::NONE, key)) as u64;
    let (down, up) = (presses(Key::ArrowDown), presses(Key::ArrowUp));
    let (pages_down, pages_up) = (presses(Key::PageDown), presses(Key::PageUp));
    let mut chosen = (lens.chosen + down + pages_down * page).saturating_sub(up + pages_up * page);
    if presses(Key::Home) > 0 {
        chosen = 0;
    }
    if presses(Key::End) > 0 {
        chosen = lens.known.saturating_sub(1);
    }
    if presses(Key::Delete) > 0 {
        cx.send(UiCommand::Lens(LensAct::LeaveOut(chosen)));
    }
    if presses(Key::F2) > 0 {
        cx.send(UiCommand::Lens(LensAct::Edit(!lens.editor.open)));
    }
    if chosen != lens.chosen {
        cx.send(UiCommand::Lens(LensAct::Choose(chosen)));
    }
}

/// The wheel, and the room that there is.
fn scroll(cx: &PanelCtx<'_>, ui: &Ui, body: Rect, room: u64) {
    let lens = &cx.state.lens;
    let delta = if ui.rect_contains_pointer(body) {
        ui.input_mut(|input| std::mem::take(&mut input.smooth_scroll_delta.y))
    } else {
        0.0
    };
    if delta == 0.0 && room == lens.room {
        return;
    }
    let moved = lens.part - delta;
    let whole = (moved / ROW).floor();
    let (top, part) = match lens.top.checked_add_signed(whole as i64) {
        Some(top) => (top, moved - whole * ROW),
        None => (0, 0.0),
    };
    cx.send(UiCommand::Lens(LensAct::Scrolled(top, part, room)));
}

/// The bar that goes to any place. It takes no part in the order of focus: the list's keys do the same.
fn place_ui(cx: &PanelCtx<'_>, ui: &mut Ui, bar: Rect, room: u64) {
    let c = cx.c();
    let lens = &cx.state.lens;
    let response = ui.allocate_rect(bar, Sense::CLICK | Sense::DRAG);
    response.widget_info(|| WidgetInfo::slider(true, lens.top as f64, t!("lens-place")));
    ui.painter().rect_filled(bar, 4.0, c.raised);
    let last = lens.known.saturating_sub(room.saturating_sub(1));
    if last == 0 {
        response.on_hover_text(t!("lens-place-tip"));
        return;
    }
    // A window that is scaled up can leave less than the smallest knob.
    let knob = (bar.height() * room as f32 / lens.known.max(1) as f32).max(24.0).min(bar.height());
    let way = (bar.height() - knob).max(1.0);
    let share = (lens.top as f64 / last as f64).clamp(0.0, 1.0) as f32;
    if (response.dragged() || response.clicked())
        && let Some(at) = response.interact_pointer_pos()
    {
        let share = f64::from(((at.y - bar.top() - knob / 2.0) / way).clamp(0.0, 1.0));
        cx.send(UiCommand::Lens(LensAct::Scrolled((share * last as f64).round() as u64, 0.0, room)));
    }
    let over = response.hovered() || response.dragged();
    let handle = Rect::from_min_size(pos2(bar.left() + 2.0, bar.top() + share * way), vec2(BAR - 4.0, knob));
    ui.painter().rect_filled(handle, 4.0, if over { c.text2 } else { c.ctl });
    response.on_hover_text(t!("lens-place-tip"));
}
