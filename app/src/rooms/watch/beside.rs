//! Other runs behind the loss: which of them (chosen beside the list of runs), their lines, and the legend.

use super::curves::{Swatch, readout_row};
use super::head::word_of;
use crate::commands::UiCommand;
use crate::format;
use crate::plots::chart::{Marker, Shown};
use crate::plots::threads::{self, Thread};
use crate::reader::RunView;
use crate::reader::snapshot::value_at;
use crate::rooms::PanelCtx;
use crate::theme::{Theme, Type, icons};
use crate::widgets::button::Weight;
use crate::widgets::rows::Rows;
use crate::widgets::{Button, choice, text};
use egui::{Align, Color32, Id, Popup, PopupCloseBehavior, Rect, ScrollArea, Sense, Ui, pos2, vec2};

/// Up to this many runs each has a colour and a line of the legend; more of them are one grey group, of which the line
/// under the pointer is named.
const COLOURED: usize = 4;
/// Series colours of these: not those of train and validation.
const SERIES: [usize; COLOURED] = [2, 6, 3, 7];
/// Share of the text's dim colour that a line of a large group keeps.
const GROUP: f32 = 0.45;
/// How near to a line the pointer must be, in points.
const REACH: f32 = 10.0;
const ROW: f32 = 24.0;
const WIDTH: f32 = 268.0;

fn colour_of(theme: &Theme, index: usize, count: usize) -> Color32 {
    if count > COLOURED {
        return Theme::fade(theme.colours.text3, GROUP);
    }
    theme.series(SERIES.get(index).copied().unwrap_or(7))
}

/// The lines of the chosen runs.
#[must_use]
pub fn threads<'a>(theme: &Theme, view: &'a RunView) -> Vec<Thread<'a>> {
    let count = view.beside.len();
    let thread = |(index, other): (usize, &'a crate::reader::BesideRun)| Thread {
        points: &other.points,
        colour: colour_of(theme, index, count),
    };
    view.beside.iter().enumerate().map(thread).collect()
}

/// Draws the line under the pointer brighter, and remembers whose it is for the legend.
pub fn under_pointer(ui: &Ui, theme: &Theme, shown: &Shown, threads: &[Thread<'_>], view: &RunView) {
    let Some(pointer) = shown.response.hover_pos() else { return };
    let Some(index) = threads::nearest(threads, &shown.transform, pointer, REACH) else { return };
    let (Some(thread), Some(other)) = (threads.get(index), view.beside.get(index)) else { return };
    let colour = if threads.len() > COLOURED { theme.colours.text2 } else { thread.colour };
    let bright = Thread { points: thread.points, colour };
    let shape = threads::shape(ui, &[bright], &shown.transform, 2.0);
    ui.painter().with_clip_rect(shown.rect.intersect(ui.clip_rect())).add(shape);
    let pass = ui.ctx().cumulative_pass_nr();
    ui.data_mut(|data| data.insert_temp(pointed_id(), (pass, other.run)));
}

fn pointed_id() -> Id {
    Id::unique("run under the pointer")
}

/// Whose line was under the pointer in this or the last pass.
fn pointed(ui: &Ui) -> Option<u64> {
    let seen: Option<(u64, u64)> = ui.data(|data| data.get_temp(pointed_id()));
    let pass = ui.ctx().cumulative_pass_nr();
    seen.filter(|(when, _)| when + 1 >= pass).map(|(_, run)| run)
}

/// Rows of the readout about the other runs.
pub fn legend(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, view: &RunView, at: f64) {
    let count = view.beside.len();
    if count == 0 || lines.left() < 20.0 {
        return;
    }
    let theme = cx.theme;
    let unlog = |value: f64| if view.request.log_y { 10f64.powf(value) } else { value };
    let value = |points: &[egui_plot::PlotPoint]| {
        value_at(points, at).map_or_else(|| format::UNKNOWN.to_owned(), |value| format::nats(unlog(value)))
    };
    if count <= COLOURED {
        for (index, other) in view.beside.iter().enumerate() {
            if lines.left() < 20.0 {
                return;
            }
            let swatch = Swatch::Line(colour_of(theme, index, count), Marker::None);
            readout_row(ui, theme, lines.next(20.0), swatch, &t!("watch-run", run = other.run), &value(&other.points));
        }
        return;
    }
    let swatch = Swatch::Line(Theme::fade(theme.colours.text3, 0.8), Marker::None);
    let known = pointed(ui).and_then(|run| view.beside.iter().find(|other| other.run == run));
    let row = lines.next(20.0);
    match known {
        Some(other) => {
            let swatch = Swatch::Line(theme.colours.text2, Marker::None);
            readout_row(ui, theme, row, swatch, &t!("watch-run", run = other.run), &value(&other.points));
        }
        None => readout_row(ui, theme, row, swatch, t!("watch-other-runs"), &format::count(count as u64)),
    }
}

/// The button beside the list of runs, and the list with a check box for each other run.
pub fn chooser(cx: &PanelCtx<'_>, ui: &mut Ui, place: Rect, view: &RunView) {
    let chosen = &cx.state.watch.beside;
    let name = t!("watch-beside-choose");
    let button = Button::icon_only(icons::STACK, name).selected(chosen.iter().any(|run| *run != view.row.run));
    let response = button.show(ui, cx.theme, place);
    let popup = Popup::menu(&response).width(WIDTH).close_behavior(PopupCloseBehavior::CloseOnClickOutside);
    popup.show(|ui| {
        ui.spacing_mut().item_spacing = vec2(0.0, 0.0);
        let (head, _) = ui.allocate_exact_size(vec2(WIDTH, 28.0), Sense::hover());
        list_head(cx, ui, head);
        let rows: Vec<_> = cx.state.runs.runs.iter().filter(|row| row.run != view.row.run).collect();
        let height = (rows.len() as f32 * ROW).min(12.0 * ROW);
        ScrollArea::vertical()
            .id_salt("other runs")
            .max_height(height)
            .min_scrolled_height(0.0)
            .auto_shrink(false)
            .show_rows(ui, ROW, rows.len(), |ui, range| {
                for row in rows.get(range).unwrap_or_default() {
                    let (place, _) = ui.allocate_exact_size(vec2(WIDTH - 12.0, ROW), Sense::hover());
                    list_row(cx, ui, place.with_min_x(place.left() + 8.0), row, chosen.contains(&row.run));
                }
            });
    });
}

fn list_head(cx: &PanelCtx<'_>, ui: &mut Ui, head: Rect) {
    let c = cx.c();
    let words = head.with_min_x(head.left() + 8.0);
    text::line(ui, words, Align::Min, t!("watch-beside"), Type::Strong, c.text);
    let mut right = head.right() - 8.0;
    for (label, on, tip) in [
        (t!("watch-beside-none"), false, t!("commands-beside-none-help")),
        (t!("watch-beside-all"), true, t!("watch-beside-all-tip")),
    ] {
        let button = Button::new(label).weight(Weight::Link).small().tooltip(tip);
        let width = button.width(ui);
        let place = Rect::from_min_size(pos2(right - width, head.top() + 4.0), vec2(width, 20.0));
        if button.show(ui, cx.theme, place).clicked() {
            cx.send(UiCommand::BesideAll(on));
        }
        right = place.left() - 12.0;
    }
}

fn list_row(cx: &PanelCtx<'_>, ui: &mut Ui, place: Rect, row: &temper_store::RunRow, on: bool) {
    let c = cx.c();
    let name = t!("common-run", run = row.run);
    if choice::check(ui, cx.theme, place.with_max_x(place.left() + 90.0), &name, on) {
        cx.send(UiCommand::Beside(row.run, !on));
    }
    let status = Rect::from_min_max(pos2(place.left() + 92.0, place.top()), pos2(place.right() - 70.0, place.bottom()));
    text::data(ui, status, Align::Min, word_of(cx.state, row), Type::Body, c.text2);
    let best = if row.best_loss.is_finite() { format::nats(row.best_loss) } else { format::UNKNOWN.to_owned() };
    text::line(ui, place.with_max_x(place.right() - 8.0), Align::Max, &best, Type::Mono, c.text)
        .on_hover_text(t!("watch-best-tip"));
}
