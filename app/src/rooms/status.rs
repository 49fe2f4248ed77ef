//! The status bar: the live run, or what happened last, in every room.

use super::PanelCtx;
use crate::commands::{self, Id};
use crate::format;
use crate::reader::events::{EventKind, EventLine};
use crate::reader::{Measured, Verdict, words};
use crate::state::Ask;
use crate::theme::{Type, icons};
use crate::widgets::button::Weight;
use crate::widgets::{Button, bar, term, text};
use egui::{Align, Rect, Stroke, Ui, pos2, vec2};
use std::borrow::Cow;
use temper_protocol::Event;
use temper_store::RunRow;

/// A value with its name and reference; the width is that of its widest value, so that nothing jumps.
struct Item {
    name: &'static str,
    value: String,
    widest: &'static str,
    note: String,
    help: Cow<'static, str>,
    alarming: bool,
}

/// Shows the bar.
pub fn status_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    ui.painter().rect_filled(rect, 0.0, c.panel);
    ui.painter().hline(rect.left()..=rect.right(), rect.top() + 0.5, Stroke::new(1.0, c.line));
    let inner = rect.shrink2(vec2(12.0, 0.0));
    match cx.state.live_run() {
        Some(row) => live(cx, ui, inner, row),
        None => idle(cx, ui, inner),
    }
}

fn live(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, row: &RunRow) {
    let c = cx.c();
    let right = controls(cx, ui, rect, row);
    let y = rect.center().y;
    let paused = row.status == "paused";
    if paused {
        text::icon(ui.painter(), pos2(rect.left() + 4.0, y), icons::PAUSE, 14.0, c.warn);
    } else {
        ui.painter().circle_filled(pos2(rect.left() + 4.0, y), 4.0, c.accent);
    }
    let word = match cx.state.status_of(row) {
        "running" => t!("frame-training"),
        other => words::status(other),
    };
    let end = text::pieces(
        ui,
        Rect::from_min_max(pos2(rect.left() + 15.0, rect.top()), pos2(right, rect.bottom())),
        &[
            text::Piece(&t!("common-run", run = row.run), Type::Strong, c.text),
            text::Piece(word, Type::Body, if paused { c.warn } else { c.text2 }),
        ],
    );
    let start = (end + 12.0).max(rect.left() + 110.0);
    let wide = !cx.compact;
    let bar_rect = Rect::from_min_size(pos2(start, y - 3.0), vec2(if wide { 150.0 } else { 90.0 }, 6.0));
    let share = if row.max_steps > 0 { Some(row.steps as f32 / row.max_steps as f32) } else { None };
    bar::progress(ui, cx.theme, bar_rect, t!("frame-steps-done"), share, c.accent).on_hover_text(match share {
        Some(share) => t!("frame-steps-share", percent = format!("{:.0}", share * 100.0)),
        None => t!("frame-length-unknown").to_owned(),
    });
    let mut x = bar_rect.right() + 24.0;
    if let Some(notice) = &cx.state.notice {
        // For a moment it takes the place of the figures.
        text::icon(ui.painter(), pos2(x + 8.0, y), icons::INFO, 16.0, c.info);
        let place = Rect::from_min_max(pos2(x + 22.0, rect.top()), pos2(right - 8.0, rect.bottom()));
        text::data(ui, place, Align::Min, &notice.text, Type::Body, c.text);
        return;
    }
    if row.steps == 0 {
        let place = Rect::from_min_max(pos2(x, rect.top()), pos2(right - 8.0, rect.bottom()));
        text::data(ui, place, Align::Min, &preparing_words(cx, row), Type::Body, c.text2);
        return;
    }
    for item in items(cx, row) {
        let needed = item_width(ui, &item);
        // Memory is dropped first, then speed: they stand last.
        if x + needed > right - 8.0 {
            break;
        }
        item_ui(cx, ui, Rect::from_min_size(pos2(x, rect.top()), vec2(needed, rect.height())), &item);
        x += needed + 18.0;
    }
}

/// What happens before the first step.
fn preparing_words(cx: &PanelCtx<'_>, row: &RunRow) -> String {
    let view = cx.state.runs.view.as_ref().filter(|view| view.row.run == row.run);
    let Some(wait) = view.and_then(|view| view.preparing.as_ref()) else {
        return t!("frame-before-first-step").to_owned();
    };
    if (wait.done, wait.total) == (0, 0) {
        return wait.stage.clone();
    }
    format!("{}: {}", wait.stage, format::how_far(wait.done, wait.total, &wait.unit))
}

fn items(cx: &PanelCtx<'_>, row: &RunRow) -> Vec<Item> {
    let view = cx.state.runs.view.as_ref().filter(|view| view.row.run == row.run);
    let loss = view.and_then(|view| view.train_newest);
    let budget = view.and_then(|view| view.settings.as_ref()).map(|settings| settings.keep.budget_nats);
    let measured = view.map_or(Measured::Never, |view| Measured::of(view));
    let step_secs = view.map_or(f64::NAN, |view| view.step_secs);
    let left = row.max_steps.saturating_sub(row.steps) as f64 * step_secs;
    let mut items = vec![
        Item {
            name: t!("common-step"),
            value: format::count(row.steps),
            widest: "1,000",
            note: if row.max_steps > 0 { format!("/ {}", format::count(row.max_steps)) } else { String::new() },
            help: Cow::Borrowed(t!("frame-step-tip")),
            alarming: false,
        },
        Item {
            name: t!("common-loss"),
            value: loss.map_or_else(|| format::UNKNOWN.to_owned(), format::nats),
            widest: "0.000",
            note: t!("common-nats").to_owned(),
            help: Cow::Borrowed(t!("frame-loss-tip")),
            alarming: false,
        },
        forgetting_item(measured, budget, row.steps),
        Item {
            name: t!("frame-left"),
            value: format::duration(left),
            widest: "00 min",
            note: String::new(),
            help: Cow::Borrowed(t!("frame-left-tip")),
            alarming: false,
        },
        Item {
            name: t!("frame-speed"),
            value: format::speed(row.tokens_per_sec),
            widest: if row.tokens_per_sec < 999.5 { "000" } else { "0,000" },
            note: t!("frame-speed-unit").to_owned(),
            help: Cow::Borrowed(t!("frame-speed-tip")),
            alarming: false,
        },
    ];
    if let Some(view) = view
        && view.rss_mib.is_finite()
    {
        items.push(Item {
            name: t!("common-memory"),
            value: format::mib(view.rss_mib),
            widest: "0.0 GiB",
            note: machine_memory(cx).map_or_else(String::new, |mib| t!("frame-of-memory", memory = format::mib(mib))),
            help: Cow::Borrowed(t!("frame-memory-tip")),
            alarming: false,
        });
    }
    items
}

/// Forgetting as it was measured last; before the first measurement the bar says that there was none.
fn forgetting_item(measured: Measured, budget: Option<f64>, steps: u64) -> Item {
    let (note, help) = match measured {
        Measured::After { step, .. } => (
            budget.map_or_else(String::new, |budget| t!("frame-of-budget", budget = format::signed_nats(budget))),
            t!("frame-forgetting-tip", step = format::count(step)),
        ),
        Measured::OnBase | Measured::Never => {
            (t!("frame-not-measured").to_owned(), t!("frame-not-measured-tip").to_owned())
        }
    };
    let verdict = measured.verdict(budget.unwrap_or(f64::INFINITY), steps, false);
    Item {
        name: t!("common-forgetting"),
        value: format::signed_nats(measured.worst_nats()),
        widest: "+0.000",
        note,
        help: Cow::Owned(help),
        alarming: matches!(verdict, Verdict::Over | Verdict::NoNumber),
    }
}

/// Memory of this machine, MiB.
#[must_use]
pub fn machine_memory(cx: &PanelCtx<'_>) -> Option<f64> {
    match cx.state.device() {
        Some(Event::Device { memory_mib, .. }) if *memory_mib > 0.0 => Some(*memory_mib),
        _ => None,
    }
}

fn item_width(ui: &Ui, item: &Item) -> f32 {
    let value = text::width(ui, &item.value, Type::MonoMedium).max(text::width(ui, item.widest, Type::MonoMedium));
    let note = if item.note.is_empty() { 0.0 } else { 5.0 + text::width(ui, &item.note, Type::Body) };
    (text::width(ui, item.name, Type::Body) + 6.0 + value + note).ceil()
}

fn item_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, item: &Item) {
    let c = cx.c();
    let name = text::line(ui, rect, Align::Min, item.name, Type::Body, c.text2).on_hover_text(item.help.as_ref());
    term::label(ui, cx.theme, name.rect, item.name, item.help.as_ref());
    let reserved = text::width(ui, &item.value, Type::MonoMedium).max(text::width(ui, item.widest, Type::MonoMedium));
    let value = Rect::from_min_size(pos2(name.rect.right() + 6.0, rect.top()), vec2(reserved, rect.height()));
    let colour = if item.alarming { c.err } else { c.text };
    text::line(ui, value, Align::Max, &item.value, Type::MonoMedium, colour);
    if !item.note.is_empty() {
        let note = Rect::from_min_max(pos2(value.right() + 5.0, rect.top()), rect.max);
        text::line(ui, note, Align::Min, &item.note, Type::Body, c.text2);
    }
}

/// Pause and stop, always in the same corner; gives what is left to their left.
fn controls(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, row: &RunRow) -> f32 {
    let mut right = rect.right() + 4.0;
    let pause = if row.status == "paused" { Id::Resume } else { Id::Pause };
    for id in [Id::Stop, pause] {
        let entry = commands::entry(id);
        let place = Rect::from_min_size(pos2(right - 28.0, rect.center().y - 12.0), vec2(28.0, 24.0));
        let button = Button::icon_only(entry.icon, entry.name.get()).weight(Weight::Normal).keys(entry.keys(ui.ctx()));
        cx.press(ui, id, button.enabled(entry.enabled(cx.state)), place);
        right = place.left() - 4.0;
    }
    right - 8.0
}

/// What a run would take of what is free, as it was measured last; before that a dash, and what the machine has in all.
fn memory_fact(cx: &PanelCtx<'_>) -> Option<(String, String)> {
    let measured = cx.state.setup.preflight.as_ref().map(|answer| &answer.event);
    if let Some(Event::Preflight { peak_rss_mib, free_memory_mib, .. }) = measured
        && *free_memory_mib > 0.0
    {
        let note = t!("frame-memory-free", free = format::mib(*free_memory_mib));
        return Some((format::mib(*peak_rss_mib), note));
    }
    machine_memory(cx).map(|mib| (format::UNKNOWN.to_owned(), t!("frame-memory-all", all = format::mib(mib))))
}

fn idle(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let memory = memory_fact(cx);
    let mut right = rect.right();
    let mut facts: Vec<(&str, String, &str)> = vec![(t!("frame-network"), "0".to_owned(), t!("frame-network-note"))];
    if let Some((value, note)) = &memory {
        facts.push((t!("common-memory"), value.clone(), note.as_str()));
    }
    for (name, value, note) in facts {
        let widths = [(name, Type::Body), (value.as_str(), Type::MonoMedium), (note, Type::Body)];
        let width: f32 = widths.iter().map(|(words, kind)| text::width(ui, words, *kind)).sum::<f32>() + 12.0;
        let place =
            Rect::from_min_max(pos2((right - width).floor() - 1.0, rect.top()), pos2(right + 1.0, rect.bottom()));
        let pieces = [
            text::Piece(name, Type::Body, c.text2),
            text::Piece(&value, Type::MonoMedium, c.text),
            text::Piece(note, Type::Body, c.text2),
        ];
        text::pieces(ui, place, &pieces);
        right = place.left() - 16.0;
    }
    let left = rect.with_max_x(right);
    if let Some(notice) = &cx.state.notice {
        text::icon(ui.painter(), pos2(left.left() + 6.0, left.center().y), icons::INFO, 16.0, c.info);
        text::data(ui, left.with_min_x(left.left() + 20.0), Align::Min, &notice.text, Type::Body, c.text);
    } else if let Some((request, running)) = cx.state.jobs.iter().find(|(_, running)| running.ask.words().is_some()) {
        job(cx, ui, left, request, running);
    } else {
        ui.painter().rect_stroke(
            Rect::from_center_size(pos2(left.left() + 5.0, left.center().y), vec2(8.0, 8.0)),
            2.0,
            Stroke::new(1.0, c.text3),
            egui::StrokeKind::Inside,
        );
        text::data(ui, left.with_min_x(left.left() + 16.0), Align::Min, &last_words(cx), Type::Body, c.text2);
    }
}

/// A wait: its name, how far it is, what is left, and a way to stop it.
fn job(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, request: u64, running: &crate::state::jobs::Running) {
    let c = cx.c();
    let words = running.ask.words().unwrap_or_default();
    let far = format::how_far(running.done, running.total, &running.unit);
    let left = running.left_secs(cx.state.now_secs).map(|secs| t!("frame-time-left", time = format::duration(secs)));
    let button = Button::new(t!("common-cancel")).weight(Weight::Link).tooltip(t!("frame-cancel-tip"));
    let bar_rect =
        Rect::from_min_size(pos2(rect.left(), rect.center().y - 3.0), vec2(if cx.compact { 48.0 } else { 90.0 }, 6.0));
    let room = rect.with_min_x(bar_rect.right() + 12.0).with_max_x(rect.right() - 12.0 - button.width(ui));
    let mut pieces = vec![
        text::Piece(&words, Type::Strong, c.text),
        text::Piece(&running.stage, Type::Body, c.text2),
        text::Piece(&far, Type::Body, c.text2),
        text::Piece(left.as_deref().unwrap_or_default(), Type::Body, c.text2),
    ];
    // In a small window the figures matter more than the engine's name for what it does.
    if text::pieces_width(ui, &pieces) > room.width() {
        pieces.remove(1);
    }
    bar::progress(ui, cx.theme, bar_rect, &words, running.share(), c.accent);
    let end = text::pieces(ui, room, &pieces);
    if !matches!(running.ask, Ask::Example { .. }) {
        let place = Rect::from_min_size(pos2(end + 12.0, rect.center().y - 10.0), vec2(button.width(ui), 20.0));
        if button.show(ui, cx.theme, place).clicked() {
            cx.send(commands::UiCommand::Cancel(request));
        }
    }
}

/// What happened last, in words.
fn last_words(cx: &PanelCtx<'_>) -> String {
    let state = cx.state;
    if !state.draft.open {
        return t!("frame-no-project-open").to_owned();
    }
    if state.runs.problem.is_some() {
        return t!("watch-unread").to_owned();
    }
    let Some(row) = state.runs.runs.first() else { return t!("frame-no-run").to_owned() };
    if state.is_interrupted(row) {
        return t!("frame-run-interrupted", run = row.run, step = format::count(row.steps));
    }
    // Its end is on record; where it is not at hand, it is guessed that the run was begun at once and never waited.
    let view = state.runs.view.as_ref().filter(|view| view.row.run == row.run);
    let is_end = |line: &&EventLine| matches!(line.kind, EventKind::Run | EventKind::Problem);
    let told = view.and_then(|view| view.events.iter().rev().find(is_end)).map(|line| line.at_millis);
    let end = told.unwrap_or(row.created_millis + (row.wall_secs * 1000.0) as i64);
    let ago = format::ago(end, state.clock.now_millis());
    match row.status.as_str() {
        "finished" => t!("frame-run-finished", run = row.run, ago = ago),
        "stopped" => t!("frame-run-stopped", run = row.run, step = format::count(row.steps)),
        "cancelled" => t!("frame-run-cancelled", run = row.run),
        "failed" => t!("frame-run-failed", run = row.run, step = format::count(row.steps)),
        other => t!("frame-run-other", run = row.run, status = words::status(other)),
    }
}
