//! Questions and texts: where a project lives, a path instead of a dialog, closing while a run goes on.

use super::over;
use crate::commands::UiCommand;
use crate::rooms::{PanelCtx, scrolled};
use crate::theme::{Type, icons};
use crate::typed;
use crate::widgets::button::Weight;
use crate::widgets::field::{self, Field};
use crate::widgets::{Button, bar, text};
use egui::{Align, Rect, Ui, pos2, vec2};

pub(super) fn head(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, title: &str) -> Rect {
    let row = Rect::from_min_size(rect.min + vec2(20.0, 12.0), vec2(rect.width() - 40.0, 28.0));
    text::line(ui, row, Align::Min, title, Type::Room, cx.c().text);
    let close = Rect::from_min_size(pos2(row.right() - 24.0, row.top()), vec2(28.0, 28.0));
    if Button::icon_only(icons::X, t!("common-close")).show(ui, cx.theme, close).clicked() {
        cx.send(UiCommand::CloseSheet);
    }
    Rect::from_min_max(pos2(row.left(), row.bottom() + 4.0), rect.max - vec2(20.0, 16.0))
}

/// Buttons from the right; gives the one clicked.
pub(super) fn acts(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, buttons: &[(&str, &str, bool, bool)]) -> Option<usize> {
    let mut right = rect.right();
    let mut clicked = None;
    for (index, (label, tip, primary, enabled)) in buttons.iter().enumerate() {
        let weight = if *primary { Weight::Primary } else { Weight::Normal };
        let button = Button::new(label).weight(weight).tooltip(tip).enabled(*enabled);
        let width = button.width(ui);
        let place = Rect::from_min_size(pos2(right - width, rect.bottom() - 32.0), vec2(width, 32.0));
        if button.show(ui, cx.theme, place).clicked() {
            clicked = Some(index);
        }
        right = place.left() - 8.0;
    }
    clicked
}

/// A text to read and copy.
pub fn text_ui(cx: &PanelCtx<'_>, ui: &mut Ui, title: &str, note: &str, words: &str) {
    let lines = words.lines().count() as f32;
    let height = (120.0 + lines * 18.0 + 48.0).clamp(200.0, 640.0);
    over(cx, ui, title, vec2(720.0, height), None, |ui, rect| {
        let c = cx.c();
        let body = head(cx, ui, rect, title);
        text::data(ui, body.with_max_y(body.top() + 20.0), Align::Min, note, Type::Body, c.text2);
        let paper = Rect::from_min_max(pos2(body.left(), body.top() + 28.0), pos2(body.right(), body.bottom() - 42.0));
        ui.painter().rect_filled(paper, 4.0, c.panel);
        scrolled(ui, paper.shrink2(vec2(12.0, 8.0)), "text", |ui, area| {
            let height = text::block(ui, area.min, area.width(), words, Type::Mono, c.text);
            ui.allocate_rect(Rect::from_min_size(area.min, vec2(area.width(), height)), egui::Sense::hover());
        });
        let buttons = [
            (t!("sheets-copy"), t!("sheets-copy-tip"), true, true),
            (t!("common-close"), t!("sheets-close-tip"), false, true),
        ];
        match acts(cx, ui, body, &buttons) {
            Some(0) => cx.send(UiCommand::Copy(words.to_owned(), t!("sheets-text"))),
            Some(_) => cx.send(UiCommand::CloseSheet),
            None => {}
        }
    });
}

/// Where a new project shall live; asked once, by its first training.
pub fn place_ui(cx: &PanelCtx<'_>, ui: &mut Ui, folder: &str) {
    over(cx, ui, t!("sheets-folder"), vec2(620.0, 208.0), None, |ui, rect| {
        let c = cx.c();
        let body = head(cx, ui, rect, t!("sheets-place"));
        let words = t!("sheets-place-lead");
        let height = text::block(ui, body.min, body.width(), words, Type::Body, c.text2);
        let row = Rect::from_min_size(pos2(body.left(), body.top() + height + 10.0), vec2(body.width(), 28.0));
        let ready = typed::folder(folder).is_some();
        let wrong = (!ready).then_some(t!("sheets-place-whole"));
        let typed = field::show(ui, cx.theme, row, Field { wrong, ..Field::new(t!("sheets-folder"), folder) });
        if let Some(text) = typed.changed {
            cx.send(UiCommand::PlaceText(text));
        }
        if let Some(wrong) = wrong {
            let line = Rect::from_min_size(pos2(row.left(), row.bottom() + 5.0), vec2(row.width(), 18.0));
            text::data(ui, line, Align::Min, wrong, Type::Body, c.text2);
        }
        let buttons = [
            (t!("sheets-create"), t!("sheets-create-tip"), true, ready),
            (t!("sheets-not-now"), t!("sheets-not-now-tip"), false, true),
        ];
        match acts(cx, ui, body, &buttons) {
            Some(0) => cx.send(UiCommand::ConfirmPlace),
            Some(_) => cx.send(UiCommand::CloseSheet),
            None if typed.entered && ready => cx.send(UiCommand::ConfirmPlace),
            None => {}
        }
    });
}

/// A path typed or pasted.
pub fn path_ui(cx: &PanelCtx<'_>, ui: &mut Ui, text: &str, reason: &str) {
    over(
        cx,
        ui,
        t!("sheets-path-title"),
        vec2(620.0, if reason.is_empty() { 180.0 } else { 206.0 }),
        None,
        |ui, rect| {
            let c = cx.c();
            let body = head(cx, ui, rect, t!("sheets-path-title"));
            let mut y = body.top();
            if !reason.is_empty() {
                text::icon(ui.painter(), pos2(body.left() + 8.0, y + 9.0), icons::INFO, 16.0, c.info);
                y +=
                    text::block(ui, pos2(body.left() + 22.0, y), body.width() - 22.0, reason, Type::Body, c.text) + 6.0;
            }
            let words = t!("sheets-path-lead");
            y += text::block(ui, pos2(body.left(), y), body.width(), words, Type::Body, c.text2) + 8.0;
            let row = Rect::from_min_size(pos2(body.left(), y), vec2(body.width(), 28.0));
            let written = field::show(
                ui,
                cx.theme,
                row,
                Field { hint: t!("sheets-path-hint"), ..Field::new(t!("sheets-path"), text) },
            );
            // Typing can begin at once; who goes on by Tab is not called back.
            let nothing = ui.memory(|memory| memory.focused().is_none()) && !written.response.lost_focus();
            if written.changed.is_none() && nothing && text.is_empty() {
                written.response.request_focus();
            }
            let current = written.changed.clone().unwrap_or_else(|| text.to_owned());
            if let Some(text) = written.changed {
                cx.send(UiCommand::PathText(text));
            }
            let named = !current.trim().is_empty();
            let open = || UiCommand::Drop(typed::paths(&current));
            let buttons = [
                (t!("sheets-open"), t!("sheets-open-tip"), true, named),
                (t!("common-cancel"), t!("sheets-back"), false, true),
            ];
            match acts(cx, ui, body, &buttons) {
                Some(0) => cx.send(open()),
                Some(_) => cx.send(UiCommand::CloseSheet),
                None if written.entered && named => cx.send(open()),
                None => {}
            }
        },
    );
}

/// The window shall close while a run goes on.
pub fn closing_ui(cx: &PanelCtx<'_>, ui: &mut Ui, waiting: bool) {
    over(cx, ui, t!("commands-quit"), vec2(640.0, 244.0), None, |ui, rect| {
        let c = cx.c();
        let run = cx.state.live_run().map_or(0, |row| row.run);
        if waiting {
            let body = head(cx, ui, rect, t!("sheets-stopping"));
            let words = t!("sheets-stopping-lead");
            let height = text::block(ui, body.min, body.width(), words, Type::Body, c.text2);
            let track = Rect::from_min_size(pos2(body.left(), body.top() + height + 16.0), vec2(body.width(), 4.0));
            bar::progress(ui, cx.theme, track, t!("sheets-stopping"), None, c.accent);
            let buttons = [(t!("sheets-no-wait"), t!("sheets-no-wait-tip"), false, true)];
            if acts(cx, ui, body, &buttons).is_some() {
                cx.send(UiCommand::CloseKeepRunning);
            }
            return;
        }
        let title = if run > 0 { t!("sheets-run-going", run = run) } else { t!("sheets-some-run-going").to_owned() };
        let body = head(cx, ui, rect, &title);
        let mut y = body.top() + 4.0;
        let ways = [
            (t!("sheets-keep-running"), t!("sheets-keep-running-tip"), UiCommand::CloseKeepRunning),
            (t!("commands-stop"), t!("sheets-stop-tip"), UiCommand::CloseStop),
            (t!("sheets-stay"), t!("sheets-stay-tip"), UiCommand::CloseSheet),
        ];
        for (index, (label, words, command)) in ways.into_iter().enumerate() {
            let weight = if index == 0 { Weight::Primary } else { Weight::Normal };
            let place = Rect::from_min_size(pos2(body.left(), y), vec2(150.0, 32.0));
            if Button::new(label).weight(weight).tooltip(words).show(ui, cx.theme, place).clicked() {
                cx.send(command);
            }
            let note = Rect::from_min_max(pos2(place.right() + 14.0, y), pos2(body.right(), y + 32.0));
            text::data(ui, note, Align::Min, words, Type::Body, c.text2);
            y += 44.0;
        }
    });
}
