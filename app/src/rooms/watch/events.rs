//! Everything that happened, in words, newest first, filterable.

use crate::commands::UiCommand;
use crate::format;
use crate::reader::RunView;
use crate::reader::events::{EventKind, EventLine};
use crate::rooms::PanelCtx;
use crate::theme::{Colours, Icon, Type, icons};
use crate::widgets::text;
use crate::widgets::{choice, empty, panel};
use egui::{Align, Color32, Rect, ScrollArea, Ui, UiBuilder, pos2, vec2};

/// Least width of the steps.
const STEPS: f32 = 38.0;
const ROW: f32 = 18.0;
const FILTERS: [EventKind; 7] = [
    EventKind::Run,
    EventKind::File,
    EventKind::Kept,
    EventKind::Validation,
    EventKind::Sample,
    EventKind::Warning,
    EventKind::Problem,
];

fn look(kind: EventKind, c: &Colours) -> (Icon, Color32) {
    match kind {
        EventKind::Run => (icons::PLAY, c.text2),
        EventKind::Pause => (icons::PAUSE, c.text2),
        EventKind::File => (icons::FLOPPY_DISK, c.text2),
        EventKind::Kept => (icons::SHIELD_CHECK, c.text2),
        EventKind::Validation => (icons::CHART_LINE_DOWN, c.text2),
        EventKind::Best => (icons::TROPHY, c.ok),
        EventKind::Sample => (icons::CHAT_TEXT, c.text2),
        EventKind::Warning => (icons::WARNING, c.warn),
        EventKind::Problem => (icons::X_CIRCLE, c.err),
    }
}

fn fits(filter: Option<EventKind>, line: &EventLine) -> bool {
    filter.is_none_or(|wanted| wanted.name() == line.kind.name())
}

/// Shows the panel.
pub fn events_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, view: &RunView) {
    let filter = cx.state.watch.filter;
    let all = view.events.len();
    let shown: Vec<&EventLine> = view.events.iter().rev().filter(|line| fits(filter, line)).collect();
    let note =
        if filter.is_some() { t!("watch-of-all", shown = shown.len(), all = all) } else { format::count(all as u64) };
    let (head, inside) = panel::titled(ui, cx.theme, rect, t!("watch-events"), &note);
    let mut names = vec![t!("watch-all-kinds").to_owned()];
    names.extend(FILTERS.iter().map(|kind| kind.name().to_owned()));
    let chosen =
        filter.map_or(0, |wanted| FILTERS.iter().position(|kind| *kind == wanted).map_or(0, |index| index + 1));
    let place = Rect::from_min_size(pos2(head.right() - 108.0, head.top() + 4.0), vec2(108.0, 20.0));
    if let Some(index) = choice::select(ui, cx.theme, place, t!("watch-kinds"), &names, Some(chosen)) {
        cx.send(UiCommand::Filter(index.checked_sub(1).and_then(|index| FILTERS.get(index).copied())));
    }
    if shown.is_empty() {
        nothing(cx, ui, inside, filter, all);
        return;
    }
    let last = view.events.iter().map(|line| line.step).max().unwrap_or(0);
    let steps = text::width(ui, &format::count(last), Type::Mono).ceil().max(STEPS);
    // Whole rows only: half a line at the edge reads as a fault.
    let inside = inside.with_max_y(inside.top() + (inside.height() / ROW).floor() * ROW);
    let mut child = ui.new_child(UiBuilder::new().id_salt("event list").max_rect(inside));
    child.set_clip_rect(inside.intersect(ui.clip_rect()));
    ScrollArea::vertical().auto_shrink(false).show_rows(&mut child, ROW, shown.len(), |ui, range| {
        for line in shown.get(range).unwrap_or_default() {
            let (row, _) = ui.allocate_exact_size(vec2(inside.width(), ROW), egui::Sense::hover());
            row_ui(cx, ui, row, steps, line);
        }
    });
    ui.advance_cursor_after_rect(inside);
}

/// A row whose steps take `steps` points.
fn row_ui(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, steps: f32, line: &EventLine) {
    let c = cx.c();
    let (icon, colour) = look(line.kind, c);
    let step = row.with_max_x(row.left() + steps);
    text::paint(ui.painter(), step, Align::Max, &format::count(line.step), Type::Mono, c.text3);
    text::icon(ui.painter(), pos2(step.right() + 18.0, row.center().y), icon, 15.0, colour);
    let words = row.with_min_x(step.right() + 36.0);
    text::data(ui, words, Align::Min, &crate::reader::words::sentence(&line.text), Type::Body, c.text);
}

fn nothing(cx: &PanelCtx<'_>, ui: &mut Ui, inside: Rect, filter: Option<EventKind>, all: usize) {
    match filter {
        Some(kind) => {
            let acts =
                [empty::Act { label: t!("watch-show-all-kinds"), icon: icons::X, tooltip: t!("watch-clear-filter") }];
            let words = t!("watch-events-hidden", n = all, all = all);
            let title = t!("watch-no-event", kind = kind.name());
            if empty::show(ui, cx.theme, inside, icons::FUNNEL, &title, &words, &acts).is_some() {
                cx.send(UiCommand::Filter(None));
            }
        }
        None => {
            let words = t!("watch-events-lead");
            empty::show(ui, cx.theme, inside, icons::ROWS, t!("watch-no-events"), words, &[]);
        }
    }
}
