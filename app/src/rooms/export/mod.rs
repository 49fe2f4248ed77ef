//! Export: what can be written with size and result, and what exactly is written; at the right the certificates, newest
//! first, and how they are made. Refusals are said as calmly as successes, in the same table.
//! What is written comes from a run, or from an adapter folder that belongs to none.

mod bare;
pub mod certificates;
mod measured;
pub mod support;
pub mod targets;

use super::PanelCtx;
use super::frame::part;
use crate::commands::{Id, UiCommand};
use crate::format;
use crate::state::Room;
use crate::theme::{Type, icons};
use crate::update::{export_run, support_hindrance};
use crate::widgets::button::Weight;
use crate::widgets::rows::{self, Rows};
use crate::widgets::text;
use crate::widgets::{choice, empty, field, panel};
use egui::{Align, Rect, Ui, pos2, vec2};
use temper_protocol::{Event, ExportFormat};

const GAP: f32 = 8.0;
/// Height of what is said while there is no run, above the table of what one could leave as.
const EMPTY: f32 = 152.0;
/// Height of how a certificate is made, below those that there are.
const HOW: f32 = 132.0;
/// Height of what is written: its place and four facts, for which the rows of the table make room.
const WHAT: f32 = 156.0;

/// Shows the room.
pub fn export_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    part(ui, "head", Rect::from_min_size(rect.min, vec2(rect.width(), 28.0)), |ui, rect| head(cx, ui, rect));
    let area = rect.with_min_y(rect.top() + 36.0);
    let bare = cx.state.export.adapter.as_ref();
    if bare.is_none() && export_run(cx.state).is_none() {
        let tells = support_hindrance(cx.state).is_none();
        let above = if tells { area.with_max_y(area.top() + EMPTY) } else { area };
        part(ui, "empty", above, |ui, rect| nothing(cx, ui, rect));
        if tells {
            let below = area.with_min_y(above.bottom() + GAP);
            part(ui, "support", below, |ui, rect| support::panel_ui(cx, ui, rect));
        }
        return;
    }
    let left_width = if cx.compact { 470.0 } else { (area.width() * 0.466).round() };
    let whole = area.with_max_x(area.left() + left_width);
    let right = area.with_min_x(whole.right() + GAP);
    let left = match bare {
        Some(bare) => {
            let source = whole.with_max_y(whole.top() + bare::HEIGHT);
            part(ui, "source", source, |ui, rect| bare::bare_ui(cx, ui, rect, bare));
            whole.with_min_y(source.bottom() + GAP)
        }
        None => whole,
    };
    let (row, table_height) = targets::heights(cx, ui, left_width, left.height() - WHAT - GAP);
    let table = left.with_max_y(left.top() + table_height);
    let what = left.with_min_y(table.bottom() + GAP);
    part(ui, "targets", table, |ui, rect| targets::targets_ui(cx, ui, rect, row));
    part(ui, "what", what, |ui, rect| what_ui(cx, ui, rect));
    let how = right.with_min_y(right.bottom() - HOW);
    part(ui, "certificates", right.with_max_y(how.top() - GAP), |ui, rect| certificates::certificates_ui(cx, ui, rect));
    part(ui, "how", how, |ui, rect| how_ui(cx, ui, rect));
}

fn head(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let title = Rect::from_min_max(pos2(rect.left() + 4.0, rect.top()), rect.max);
    let end = text::pieces(ui, title, &[text::Piece(t!("preflight-export"), Type::Room, c.text)]);
    let current = export_run(cx.state).map(|row| row.run);
    let bare = cx.state.export.adapter.as_ref();
    if current.is_none() && bare.is_none() {
        return;
    }
    let word = Rect::from_min_size(pos2(end + 12.0, rect.top()), vec2(30.0, 28.0));
    text::line(ui, word, Align::Min, t!("export-from"), Type::Body, c.text2);
    let offered: Vec<_> = cx.state.runs.runs.iter().filter(|row| row.adapter.is_some()).collect();
    let mut names: Vec<String> = offered.iter().map(|row| run_words(cx, row.run)).collect();
    names.push(t!("export-an-adapter").to_owned());
    let chosen = match bare {
        Some(_) => Some(offered.len()),
        None => offered.iter().position(|row| Some(row.run) == current),
    };
    let place = Rect::from_min_size(pos2(word.right() + 4.0, rect.top() + 1.0), vec2(236.0, 26.0));
    if let Some(index) = choice::select(ui, cx.theme, place, t!("export-run"), &names, chosen) {
        match offered.get(index) {
            Some(row) => cx.send(UiCommand::ExportRun(row.run)),
            None if bare.is_none() => cx.send(UiCommand::ExportAdapter(String::new())),
            None => {}
        }
    }
    let write = cx.button(ui, Id::Export).weight(Weight::Primary);
    let width = write.width(ui);
    let at = Rect::from_min_size(pos2(rect.right() - width, rect.top()), vec2(width, 28.0));
    cx.press(ui, Id::Export, write, at);
}

fn run_words(cx: &PanelCtx<'_>, run: u64) -> String {
    let Some(row) = cx.state.runs.runs.iter().find(|row| row.run == run) else { return t!("watch-run", run = run) };
    let card = cx.state.methods.iter().find(|card| card.id == row.method);
    let method = card.map_or(row.method.as_str(), |card| card.title.as_str());
    let step = if row.best_step > 0 {
        t!("export-best-step", step = format::count(row.best_step))
    } else {
        t!("watch-step-is", step = format::count(row.steps))
    };
    t!("export-run-words", run = run, method = method, step = step)
}

fn nothing(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    panel::surface(ui, cx.theme, rect);
    let area = Rect::from_min_size(rect.min + vec2(24.0, 16.0), vec2(rect.width().min(620.0) - 48.0, 128.0));
    let acts = [
        empty::Act { label: t!("commands-go-setup"), icon: icons::SLIDERS_HORIZONTAL, tooltip: t!("export-setup-tip") },
        empty::Act { label: t!("commands-go-watch"), icon: icons::CHART_LINE, tooltip: t!("export-watch-tip") },
        empty::Act {
            label: t!("commands-choose-adapter"),
            icon: icons::PUZZLE_PIECE,
            tooltip: t!("commands-choose-adapter-help"),
        },
    ];
    let words = if cx.state.is_training() { t!("export-running-lead") } else { t!("export-empty-lead") };
    match empty::show(ui, cx.theme, area, icons::EXPORT, t!("export-empty"), words, &acts) {
        Some(0) => cx.send(UiCommand::Go(Room::Setup)),
        Some(1) => cx.send(UiCommand::Go(Room::Watch)),
        Some(_) => cx.send(UiCommand::ChooseAdapter),
        None => {}
    }
}

fn what_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let run = export_run(cx.state).map(|row| row.run);
    let own = cx.state.export.card.as_ref().is_some_and(|(of, _)| Some(*of) == run);
    let note = if own { t!("card-edited") } else { "" };
    let (head, inside) = panel::titled(ui, cx.theme, rect, t!("export-what"), note);
    let card = cx.button(ui, Id::ModelCard).weight(Weight::Link).small();
    let width = card.width(ui).min(head.width());
    let place = Rect::from_min_size(pos2(head.right() - width, head.top() + 3.0), vec2(width, 22.0));
    cx.press(ui, Id::ModelCard, card, place);
    let Some(target) = crate::state::export::TARGETS.get(cx.state.export.target) else { return };
    let mut lines = Rows::new(inside);
    let out = crate::update::export_out(cx.state).display().to_string();
    let row = lines.next(26.0);
    text::line(
        ui,
        row,
        Align::Min,
        if target.is_file() { t!("data-file") } else { t!("export-folder") },
        Type::Body,
        c.text2,
    );
    let place = Rect::from_min_max(pos2(row.left() + 84.0, row.top() + 1.0), pos2(row.right(), row.bottom() - 1.0));
    let tip = t!("export-where-tip");
    let entry = field::Field { tooltip: tip, path: true, ..field::Field::new(t!("export-where"), &out) };
    if let Some(text) = field::show(ui, cx.theme, place, entry).committed {
        cx.send(UiCommand::ExportOut((!text.trim().is_empty()).then(|| text.trim().to_owned())));
    }
    let (storage, template) = match crate::update::export_base(cx.state) {
        Some(Event::Model { storage, chat_template, .. }) => (storage.as_str(), chat_template.as_str()),
        _ => (t!("export-as-trained"), ""),
    };
    use temper_protocol::ExportFormat::{Capsule, Gguf, GgufLora, Hf, Mlx, Native, Peft};
    let facts: Vec<(&str, String, &str)> = match target.format {
        Peft | Native => vec![
            (t!("export-holds"), t!("export-change").to_owned(), t!("export-needs-base")),
            (t!("export-numbers"), t!("export-f32").to_owned(), t!("export-unrounded")),
        ],
        GgufLora => vec![
            (t!("export-holds"), t!("export-change").to_owned(), t!("export-needs-gguf")),
            (t!("export-numbers"), t!("export-f32").to_owned(), t!("export-llama-order")),
        ],
        Mlx => vec![
            (t!("export-holds"), t!("export-change").to_owned(), t!("export-needs-base")),
            (t!("export-numbers"), t!("export-f32").to_owned(), t!("export-mlx-one")),
        ],
        Capsule => vec![
            (t!("export-holds"), t!("export-capsule-holds").to_owned(), t!("export-capsule-adapter")),
            (t!("export-without"), t!("export-capsule-without").to_owned(), t!("export-capsule-names")),
        ],
        Hf | Gguf => vec![
            (t!("export-merge-base"), t!("export-storage-trained", storage = storage), t!("export-merge-base-note")),
            (t!("export-arithmetic"), t!("export-rounded-once").to_owned(), t!("export-tensor-wise")),
            (
                t!("export-template"),
                if template.is_empty() { t!("common-none").to_owned() } else { template.to_owned() },
                t!("export-template-note"),
            ),
        ],
    };
    for (key, value, note) in facts {
        if lines.left() < 20.0 {
            return;
        }
        rows::key_value(ui, cx.theme, lines.next(23.0), 84.0, key, &value, note);
    }
    let bytes = crate::update::export_bytes(cx.state, cx.state.export.target);
    if let Some(bytes) = bytes.filter(|_| lines.left() >= 20.0) {
        let size = format::bytes(bytes);
        rows::key_value(ui, cx.theme, lines.next(23.0), 84.0, t!("export-needs"), &size, t!("export-needs-note"));
    }
}

fn how_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let (_, inside) = panel::titled(ui, cx.theme, rect, t!("export-how"), "");
    let target = crate::state::export::TARGETS.get(cx.state.export.target);
    let steps = if target.is_some_and(|target| target.format == ExportFormat::Capsule) {
        [t!("export-capsule-1"), t!("export-capsule-2"), t!("export-capsule-3"), t!("export-capsule-4")]
    } else {
        [t!("export-how-1"), t!("export-how-2"), t!("export-how-3"), t!("export-how-4")]
    };
    let mut lines = Rows::new(inside);
    for (index, words) in steps.iter().enumerate() {
        let row = lines.next(24.0);
        text::line(ui, row.with_max_x(row.left() + 14.0), Align::Min, &(index + 1).to_string(), Type::Mono, c.text3);
        text::data(ui, row.with_min_x(row.left() + 20.0), Align::Min, words, Type::Body, c.text2);
    }
}
