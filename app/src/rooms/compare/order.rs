//! Keeping runs in order: what the chosen runs are called, tagged and noted, what they take on the disk, and the trash.

use super::{explain, swatch};
use crate::commands::UiCommand;
use crate::format;
use crate::rooms::{PanelCtx, scrolled};
use crate::state::compare::CompareAct;
use crate::theme::{Type, icons};
use crate::widgets::button::Weight;
use crate::widgets::field::{self, Field};
use crate::widgets::rows::{self, Rows};
use crate::widgets::{Button, panel, text};
use egui::{Align, Rect, Sense, Ui, pos2, vec2};
use temper_protocol::housekeeping::{Housekeeping, LabelChange};
use temper_store::RunRow;

const ROW: f32 = 30.0;
/// Where columns end, as shares of the panel's width: run, name, tags, note, disk; the rest is for two buttons.
const ENDS: [f32; 5] = [0.10, 0.27, 0.43, 0.63, 0.80];

fn cell(row: Rect, column: usize) -> Rect {
    let from = column.checked_sub(1).and_then(|before| ENDS.get(before)).copied().unwrap_or(0.0);
    rows::column(row, from, ENDS.get(column).copied().unwrap_or(1.0))
}

fn send(cx: &PanelCtx<'_>, order: Housekeeping) {
    cx.send(UiCommand::Compare(CompareAct::Tidy(order)));
}

/// Shows the panel.
pub fn order_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let trashed = &cx.state.runs.trashed;
    let note = total(cx);
    let (_, inside) = panel::titled(ui, cx.theme, rect, t!("compare-order"), &note);
    let chosen = cx.state.compared();
    if chosen.is_empty() && trashed.is_empty() {
        explain(cx, ui, inside, icons::BOOKMARK_SIMPLE, t!("compare-nothing-chosen"), t!("compare-choose-lead"));
        return;
    }
    let heads = inside.with_max_y(inside.top() + 22.0);
    rows::table_head(ui, cx.theme, heads, 12.0);
    let names = [
        t!("compare-col-run"),
        t!("compare-col-name"),
        t!("compare-col-tags"),
        t!("compare-col-note"),
        t!("compare-col-disk"),
    ];
    for (index, name) in names.into_iter().enumerate() {
        super::column_head(cx, ui, cell(heads, index), name, false);
    }
    scrolled(ui, inside.with_min_y(heads.bottom()), "runs in order", |ui, area| {
        let mut body = Rows::new(area);
        for run in &chosen {
            run_row(cx, ui, body.next(ROW), run);
        }
        if !trashed.is_empty() {
            body.gap(12.0);
            trash_head(cx, ui, body.next(24.0), trashed.len());
            for run in trashed {
                trash_row(cx, ui, body.next(ROW), run);
            }
        }
        ui.allocate_rect(Rect::from_min_max(area.min, pos2(area.right(), body.y)), Sense::hover());
    });
}

/// What all runs of the project take, where that is known.
fn total(cx: &PanelCtx<'_>) -> String {
    let disk = &cx.state.compare.disk;
    if disk.is_empty() {
        return t!("compare-disk-measuring").to_owned();
    }
    let bytes: u64 = disk.values().map(|of| of.bytes).sum();
    t!("compare-disk-all", size = format::bytes(bytes))
}

fn disk_words(cx: &PanelCtx<'_>, run: u64) -> String {
    match cx.state.compare.disk.get(&run) {
        Some(of) => {
            let count = of.checkpoints;
            t!("compare-disk", size = format::bytes(of.bytes), n = count, count = count)
        }
        None => format::UNKNOWN.to_owned(),
    }
}

/// A field whose text is taken over when it is left.
fn said(cx: &PanelCtx<'_>, ui: &mut Ui, place: Rect, (name, tip): (&str, &str), value: &str) -> Option<String> {
    let rect = Rect::from_min_max(place.min + vec2(0.0, 4.0), pos2(place.right() - 10.0, place.bottom() - 4.0));
    field::show(ui, cx.theme, rect, Field { tooltip: tip, ..Field::new(name, value) }).committed
}

fn run_row(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, run: &RunRow) {
    let c = cx.c();
    rows::underline(ui, cx.theme, row);
    let name = t!("common-run", run = run.run);
    swatch(ui, cx.theme, pos2(row.left(), row.center().y), run.run);
    text::data(ui, cell(row, 0).with_min_x(row.left() + 22.0), Align::Min, &name, Type::Body, c.text);
    let label = |change: LabelChange| send(cx, Housekeeping::Label { run: run.run, change });
    let of = (t!("compare-name-of", run = name), t!("compare-tags-of", run = name), t!("compare-note-of", run = name));
    if let Some(text) = said(cx, ui, cell(row, 1), (of.0.as_str(), t!("compare-name-tip")), &run.labels.name) {
        label(LabelChange { name: Some(text), ..LabelChange::default() });
    }
    let tags = run.labels.tags.join(", ");
    if let Some(text) = said(cx, ui, cell(row, 2), (of.1.as_str(), t!("compare-tags-tip")), &tags) {
        let tags = text.split(',').map(|tag| tag.trim().to_owned()).collect();
        label(LabelChange { tags: Some(tags), ..LabelChange::default() });
    }
    if let Some(text) = said(cx, ui, cell(row, 3), (of.2.as_str(), t!("compare-note-tip")), &run.labels.note) {
        label(LabelChange { note: Some(text), ..LabelChange::default() });
    }
    let disk = cell(row, 4);
    let words = disk_words(cx, run.run);
    text::data(ui, disk.with_max_x(disk.right() - 6.0), Align::Min, &words, Type::Body, c.text2);
    let going = run.is_active() && cx.state.is_held(run.run);
    let spare = cx.state.compare.disk.get(&run.run).is_some_and(|of| of.checkpoints > 2);
    let mut right = row.right();
    let acts = [
        (icons::TRASH, t!("compare-trash"), t!("compare-trash-tip"), !going),
        (icons::ARCHIVE, t!("compare-prune"), t!("compare-prune-tip"), !going && spare),
    ];
    for (index, (icon, words, tip, enabled)) in acts.into_iter().enumerate() {
        let label = t!("compare-act-on", act = words, run = name);
        let button = Button::new(words).icon(icon).weight(Weight::Link).tooltip(tip).enabled(enabled).name(&label);
        let width = button.width(ui);
        let place = Rect::from_min_size(pos2(right - width, row.top() + 3.0), vec2(width, ROW - 6.0));
        if button.show(ui, cx.theme, place).clicked() {
            let runs = vec![run.run];
            send(cx, if index == 0 { Housekeeping::Trash { runs } } else { Housekeeping::Prune { runs } });
        }
        right = place.left() - 10.0;
    }
    let label = t!("compare-act-on", act = t!("report-save"), run = name);
    let place = Rect::from_min_size(pos2(right - 24.0, row.top() + 3.0), vec2(24.0, ROW - 6.0));
    let button = Button::icon_only(icons::FILE_TEXT, &label).tooltip(t!("report-save-tip"));
    if button.show(ui, cx.theme, place).clicked() {
        cx.send(UiCommand::SaveReport(run.run));
    }
}

fn trash_head(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, count: usize) {
    let words = t!("compare-in-trash", n = count as u64, count = count);
    text::data(ui, row, Align::Min, &words, Type::Strong, cx.c().text);
    // Nothing is deleted by one click.
    let sure = cx.state.compare.emptying;
    let delete =
        (t!("compare-empty-trash"), t!("compare-empty-trash-tip"), UiCommand::Compare(CompareAct::Emptying(true)));
    let really = UiCommand::Compare(CompareAct::Tidy(Housekeeping::EmptyTrash {}));
    let really = (t!("compare-really-delete"), t!("compare-really-delete-tip"), really);
    let keep =
        (t!("compare-keep-trash"), t!("compare-keep-trash-tip"), UiCommand::Compare(CompareAct::Emptying(false)));
    let mut right = row.right();
    for (words, tip, command) in if sure { vec![keep, really] } else { vec![delete] } {
        let button = Button::new(words).weight(Weight::Link).tooltip(tip);
        let width = button.width(ui);
        let place = Rect::from_min_max(pos2(right - width, row.top()), pos2(right, row.bottom()));
        if button.show(ui, cx.theme, place).clicked() {
            cx.send(command);
        }
        right = place.left() - 12.0;
    }
}

fn trash_row(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, run: &RunRow) {
    let c = cx.c();
    rows::underline(ui, cx.theme, row);
    let name = t!("common-run", run = run.run);
    text::data(ui, cell(row, 0).with_min_x(row.left() + 22.0), Align::Min, &name, Type::Body, c.text2);
    let called = [run.labels.name.as_str(), cx.state.method_title(&run.method)];
    let called = called.into_iter().find(|words| !words.is_empty()).unwrap_or_default();
    text::data(ui, cell(row, 1), Align::Min, called, Type::Body, c.text2);
    let disk = cell(row, 4);
    text::data(ui, disk.with_max_x(disk.right() - 6.0), Align::Min, &disk_words(cx, run.run), Type::Body, c.text2);
    let label = t!("compare-act-on", act = t!("compare-restore"), run = name);
    let button = Button::new(t!("compare-restore")).icon(icons::ARROW_COUNTER_CLOCKWISE).weight(Weight::Link);
    let button = button.tooltip(t!("compare-restore-tip")).name(&label);
    let width = button.width(ui);
    let place = Rect::from_min_size(pos2(row.right() - width, row.top() + 3.0), vec2(width, ROW - 6.0));
    if button.show(ui, cx.theme, place).clicked() {
        send(cx, Housekeeping::Restore { runs: vec![run.run] });
    }
}
