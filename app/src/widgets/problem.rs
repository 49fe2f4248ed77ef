//! Problems in place: what happened, where, what to do, and the ways out as buttons.

use super::button::{Button, Weight};
use super::panel;
use super::text;
use crate::commands::{Outbox, UiCommand};
use crate::reader::words::sentence_case;
use crate::theme::{Icon, Theme, Type, icons};
use egui::{Align, Color32, Rect, Stroke, Ui, pos2, vec2};
use std::borrow::Cow;
use temper_protocol::Problem;

/// A way out of a problem.
pub struct Way<'a> {
    /// Words of the button.
    pub label: Cow<'a, str>,
    /// Its price, or what it does.
    pub price: Cow<'a, str>,
    /// Whether it is the recommended one.
    pub primary: bool,
    /// What it does.
    pub command: UiCommand,
}

/// Colours of a problem: a refusal before the start is a warning, not an error.
fn tone(theme: &Theme, refusal: bool) -> (Icon, Color32, Color32) {
    let c = &theme.colours;
    if refusal { (icons::WARNING, c.warn, c.warn_bg) } else { (icons::X_CIRCLE, c.err, c.err_bg) }
}

/// The report that the copy button gives.
#[must_use]
pub fn report(problem: &Problem) -> String {
    let (what, place) = (t!("problem-report-what"), t!("problem-where"));
    let (next, code) = (t!("problem-next"), t!("problem-report-code"));
    let Problem { what: happened, r#where, action, code: kind, .. } = problem;
    format!("{what}: {happened}\n{place}: {where}\n{next}: {action}\n{code}: {kind:?}\n")
}

/// A narrow problem inside a card; gives its height.
pub fn in_card(ui: &mut Ui, theme: &Theme, top_left: egui::Pos2, width: f32, problem: &Problem, out: &Outbox) -> f32 {
    let c = &theme.colours;
    let (icon, colour, area) = tone(theme, false);
    let inner = width - 20.0;
    let what = sentence_case(&problem.what);
    let title = text::block_height(ui, inner - 24.0, &what, Type::Strong);
    let place = if problem.r#where.is_empty() {
        0.0
    } else {
        text::block_height(ui, inner, &problem.r#where, Type::Mono) + 6.0
    };
    let action = sentence_case(&problem.action);
    let next = text::block_height(ui, inner, &action, Type::Body);
    let height = 10.0 + title + 6.0 + place + next + 6.0 + 22.0 + 8.0;
    let rect = Rect::from_min_size(top_left, vec2(width, height));
    panel::bordered(ui, rect, area, colour);
    let mut y = rect.top() + 10.0;
    let left = rect.left() + 10.0;
    text::icon(ui.painter(), pos2(left + 8.0, y + 9.0), icon, 16.0, colour);
    y += text::block(ui, pos2(left + 24.0, y), inner - 24.0, &what, Type::Strong, c.text) + 6.0;
    if !problem.r#where.is_empty() {
        y += text::block(ui, pos2(left, y), inner, &problem.r#where, Type::Mono, c.text2) + 6.0;
    }
    y += text::block(ui, pos2(left, y), inner, &action, Type::Body, c.text) + 6.0;
    let copy = Button::new(t!("common-copy-report")).weight(Weight::Link).tooltip(t!("common-copy-report-tip"));
    let place = Rect::from_min_size(pos2(left, y), vec2(copy.width(ui), 22.0));
    if copy.show(ui, theme, place).clicked() {
        out.push(UiCommand::Copy(report(problem), t!("common-report")));
    }
    height
}

/// Height that `wide` takes.
#[must_use]
pub fn wide_height(ui: &Ui, width: f32, problem: &Problem, safe: &str, ways: usize) -> f32 {
    let inner = width - 48.0 - 84.0 - 12.0;
    let place = if problem.r#where.is_empty() {
        0.0
    } else {
        text::block_height(ui, inner, &problem.r#where, Type::Mono) + 6.0
    };
    let action = text::block_height(ui, inner, &problem.action, Type::Body) + 6.0;
    let safe = if safe.is_empty() { 0.0 } else { text::block_height(ui, inner - 22.0, safe, Type::Body) + 6.0 };
    48.0 + 10.0 + place + action + safe + ways as f32 * 36.0 + if ways > 0 { 18.0 } else { 6.0 }
}

/// A problem across a room: title, where, what to do, what is safe, and the ways out.
#[expect(clippy::too_many_arguments, reason = "the parts of the anatomy, each named at the call")]
pub fn wide(
    ui: &mut Ui,
    theme: &Theme,
    rect: Rect,
    title: &str,
    problem: &Problem,
    safe: &str,
    ways: &[Way<'_>],
    refusal: bool,
    out: &Outbox,
) {
    let c = &theme.colours;
    let (icon, colour, area) = tone(theme, refusal);
    panel::bordered(ui, rect, c.card, colour);
    let head = Rect::from_min_size(rect.min + vec2(1.0, 1.0), vec2(rect.width() - 2.0, 47.0));
    ui.painter().rect_filled(head, egui::CornerRadius { nw: 5, ne: 5, sw: 0, se: 0 }, area);
    ui.painter().hline(head.left()..=head.right(), head.bottom() + 0.5, Stroke::new(1.0, colour));
    text::icon(ui.painter(), pos2(head.left() + 23.0, head.center().y), icon, 24.0, colour);
    let copy = Button::new(t!("common-copy-report")).icon(icons::COPY).tooltip(t!("common-copy-report-tip"));
    let copy_width = copy.width(ui);
    let copy_rect =
        Rect::from_min_size(pos2(head.right() - 12.0 - copy_width, head.top() + 10.0), vec2(copy_width, 28.0));
    let words = Rect::from_min_max(pos2(head.left() + 47.0, head.top()), pos2(copy_rect.left() - 12.0, head.bottom()));
    text::data(ui, words, Align::Min, title, Type::Card, c.text);
    if copy.show(ui, theme, copy_rect).clicked() {
        out.push(UiCommand::Copy(report(problem), t!("common-report")));
    }
    let left = rect.left() + 48.0;
    let value = left + 84.0;
    let width = rect.right() - 12.0 - value;
    let mut y = head.bottom() + 10.0;
    let key = |ui: &mut Ui, y: f32, word: &str| {
        text::line(ui, Rect::from_min_size(pos2(left, y), vec2(80.0, 18.0)), Align::Min, word, Type::Body, c.text2);
    };
    if !problem.r#where.is_empty() {
        key(ui, y, t!("problem-where"));
        y += text::block(ui, pos2(value, y), width, &problem.r#where, Type::Mono, c.text) + 6.0;
    }
    key(ui, y, t!("problem-do"));
    y += text::block(ui, pos2(value, y), width, &sentence_case(&problem.action), Type::Body, c.text) + 6.0;
    if !safe.is_empty() {
        key(ui, y, t!("problem-safe"));
        text::icon(ui.painter(), pos2(value + 7.0, y + 9.0), icons::CHECK_CIRCLE, 16.0, c.ok);
        y += text::block(ui, pos2(value + 22.0, y), width - 22.0, safe, Type::Body, c.text) + 6.0;
    }
    if ways.is_empty() {
        return;
    }
    ui.painter().hline(left..=rect.right() - 12.0, y.round() + 2.5, Stroke::new(1.0, c.line));
    y += 11.0;
    key(ui, y + 5.0, t!("problem-next"));
    for way in ways {
        let weight = if way.primary { Weight::Primary } else { Weight::Normal };
        let button = Button::new(&way.label).weight(weight).tooltip(&way.price);
        let place = Rect::from_min_size(pos2(value, y), vec2(236.0_f32.max(button.width(ui)), 28.0));
        let note = Rect::from_min_max(pos2(place.right() + 12.0, y), pos2(rect.right() - 12.0, y + 28.0));
        if button.show(ui, theme, place).clicked() {
            out.push(way.command.clone());
        }
        text::data(ui, note, Align::Min, &way.price, Type::Body, c.text2);
        y += 36.0;
    }
}
