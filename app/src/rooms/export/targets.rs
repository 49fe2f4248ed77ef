//! The table of targets: format, who opens it, size, result.

use super::certificates::{is_older, of_chosen};
use crate::commands::UiCommand;
use crate::rooms::PanelCtx;
use crate::state::export::{Certificate, Exporting, TARGETS};
use crate::theme::{Icon, Type, icons};
use crate::update::{export_bytes, export_run, offered_targets, target_hindrance};
use crate::widgets::button::focus_ring;
use crate::widgets::rows::{self, Rows};
use crate::widgets::text;
use crate::widgets::{choice, panel};
use egui::{Align, Color32, Rect, Ui, pos2, vec2};
use temper_protocol::ExportFormat;

/// Height of a row where there is room.
const ROW: f32 = 28.0;
/// Least height of a row.
const LEAST_ROW: f32 = 20.0;

/// Height of a row, and of the panel, which is no higher than `most` where rows of the least height allow it.
#[must_use]
pub fn heights(cx: &PanelCtx<'_>, ui: &Ui, width: f32, most: f32) -> (f32, f32) {
    let inner = width - 2.0 * panel::MARGIN;
    let reason = reason(cx).map_or(0.0, |words| text::block_height(ui, inner, &words, Type::Body) + 8.0);
    let around = panel::HEAD + 22.0 + 4.0 + reason;
    let rows = offered_targets(cx.state).len() as f32;
    let row = ((most - around) / rows.max(1.0)).floor().clamp(LEAST_ROW, ROW);
    (row, around + row * rows)
}

/// Why some targets are greyed, in a sentence, when that is about the model: what a method cannot do stands in its card.
fn reason(cx: &PanelCtx<'_>) -> Option<String> {
    let merged = TARGETS.iter().find(|target| target.format == ExportFormat::Gguf)?;
    let why = target_hindrance(cx.state, merged)?;
    Some(t!("export-no-merged", why = why.trim_end_matches('.')))
}

/// Result of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is being written.
    Writing,
    /// It cannot be written.
    Impossible,
    /// Its newest certificate passed.
    Passed,
    /// So it did, but the run has come to another state since.
    Older,
    /// Its newest certificate was refused.
    Refused,
    /// Nothing was written.
    Ready,
}

impl Outcome {
    /// Of the target at `index`, of which the chosen run or adapter has the certificates `known`.
    fn of(cx: &PanelCtx<'_>, index: usize, is_possible: bool, known: &[Certificate]) -> Self {
        let run = export_run(cx.state).map(|row| row.run);
        let adapter = &cx.state.export.adapter;
        let is_it = |asked: &Exporting| asked.target == index && asked.run == run && asked.adapter == *adapter;
        if cx.state.exporting().is_some_and(|(_, asked)| is_it(asked)) {
            return Self::Writing;
        }
        if !is_possible {
            return Self::Impossible;
        }
        let Some(newest) = known.iter().find(|known| known.target_index() == Some(index)) else { return Self::Ready };
        match newest.record.pass {
            Some(true) if is_older(cx.state, newest) => Self::Older,
            Some(true) => Self::Passed,
            Some(false) => Self::Refused,
            None => Self::Ready,
        }
    }

    /// Icon, word, colour.
    fn look(self, cx: &PanelCtx<'_>) -> (Option<Icon>, &'static str, Color32) {
        let c = cx.c();
        match self {
            Self::Writing => (Some(icons::DOTS_THREE), t!("export-is-writing"), c.info),
            Self::Impossible => (Some(icons::PROHIBIT), t!("export-impossible"), c.text3),
            Self::Passed => (Some(icons::CHECK_CIRCLE), t!("export-is-passed"), c.ok),
            Self::Older => (Some(icons::CLOCK_COUNTER_CLOCKWISE), t!("export-is-older"), c.warn),
            Self::Refused => (Some(icons::X_CIRCLE), t!("export-is-refused"), c.err),
            Self::Ready => (None, t!("export-is-ready"), c.text2),
        }
    }
}

/// Shows the panel, with rows of `row_height`.
pub fn targets_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, row_height: f32) {
    let c = cx.c();
    let (_, inside) = panel::titled(ui, cx.theme, rect, t!("export-targets"), t!("export-targets-note"));
    let mut lines = Rows::new(inside);
    let head = lines.next(22.0);
    rows::table_head(ui, cx.theme, head, 12.0);
    let columns = |row: Rect| {
        let name =
            Rect::from_min_max(pos2(row.left() + 24.0, row.top()), pos2(row.left() + row.width() * 0.36, row.bottom()));
        let opens = Rect::from_min_max(
            pos2(name.right() + 4.0, row.top()),
            pos2(row.left() + row.width() * 0.62, row.bottom()),
        );
        let size =
            Rect::from_min_max(pos2(opens.right(), row.top()), pos2(row.left() + row.width() * 0.75, row.bottom()));
        let result = row.with_min_x(size.right() + 6.0);
        [name, opens, size, result]
    };
    for (index, name) in
        [t!("export-head-format"), t!("export-head-opens"), t!("export-head-size"), t!("export-head-result")]
            .into_iter()
            .enumerate()
    {
        let align = if index >= 2 { Align::Max } else { Align::Min };
        text::line(ui, columns(head)[index], align, name, Type::Caption, c.text2);
    }
    let offered = offered_targets(cx.state);
    let all_rows = lines.y + row_height * offered.len() as f32;
    if let Some(words) = reason(cx) {
        text::block(ui, pos2(inside.left(), all_rows + 5.0), inside.width(), &words, Type::Body, c.text2);
    }
    let known = of_chosen(cx.state);
    for index in offered {
        let Some(target) = TARGETS.get(index) else { continue };
        let row = lines.next(row_height);
        let chosen = cx.state.export.target == index;
        let wide = row.expand2(vec2(11.0, 0.0));
        let response = choice::radio(ui, wide, &t!("export-target", name = target.name.get()), chosen);
        if chosen {
            ui.painter().rect_filled(wide, 0.0, c.accent_bg);
        } else if response.hovered() {
            ui.painter().rect_filled(wide, 0.0, c.hover);
        }
        if response.has_focus() {
            focus_ring(ui, cx.theme, wide.shrink(3.0), 3.0);
        }
        rows::underline(ui, cx.theme, row);
        choice::radio_mark(ui, cx.theme, pos2(row.left() + 7.0, row.center().y), chosen);
        let [name, opens, size, result_place] = columns(row);
        let hindrance = target_hindrance(cx.state, target);
        let usable = hindrance.is_none();
        let outcome = Outcome::of(cx, index, usable, &known);
        let (icon, word, colour) = outcome.look(cx);
        let name_colour = if usable { c.text } else { c.text3 };
        text::data(
            ui,
            name,
            Align::Min,
            target.name.get(),
            if chosen { Type::Strong } else { Type::Body },
            name_colour,
        );
        let opens_colour = if usable { c.text2 } else { c.text3 };
        text::data(ui, opens, Align::Min, target.opens_in, Type::Body, opens_colour);
        if let Some(bytes) = export_bytes(cx.state, index) {
            let mib = bytes as f64 / 1_048_576.0;
            let figure = crate::format::mib_figure(mib);
            text::line(ui, size, Align::Max, &figure, Type::Mono, name_colour);
        }
        let width = text::width(ui, word, Type::Body);
        text::line(ui, result_place, Align::Max, word, Type::Body, colour);
        if let Some(icon) = icon {
            text::icon(ui.painter(), pos2(result_place.right() - width - 13.0, row.center().y), icon, 16.0, colour);
        }
        let tip = match &hindrance {
            None if outcome == Outcome::Older => t!("export-is-older-tip").to_owned(),
            None => t!("export-opens-in", name = target.name.get(), programs = target.opens_in),
            Some(reason) => t!("export-impossible-because", reason = reason),
        };
        if response.on_hover_text(tip).clicked() && usable {
            cx.send(UiCommand::ExportTarget(index));
        }
    }
}
