//! The table of targets: format, who opens it, size, result.

use crate::commands::UiCommand;
use crate::rooms::PanelCtx;
use crate::state::export::TARGETS;
use crate::theme::{Icon, Type, icons};
use crate::update::{export_run, offered_targets, target_bytes, target_hindrance};
use crate::widgets::button::focus_ring;
use crate::widgets::rows::{self, Rows};
use crate::widgets::text;
use crate::widgets::{choice, panel};
use egui::{Align, Color32, Rect, Ui, pos2, vec2};
use temper_protocol::ExportFormat;

const ROW: f32 = 28.0;

/// Height of the panel.
#[must_use]
pub fn height(cx: &PanelCtx<'_>, ui: &Ui, width: f32) -> f32 {
    let inner = width - 2.0 * panel::MARGIN;
    let reason = reason(cx).map_or(0.0, |words| text::block_height(ui, inner, &words, Type::Body) + 8.0);
    panel::HEAD + 22.0 + ROW * offered_targets(cx.state).len() as f32 + 4.0 + reason
}

/// Why some targets are greyed, in a sentence, when that is about the model: what a method cannot do stands in its card.
fn reason(cx: &PanelCtx<'_>) -> Option<String> {
    let merged = TARGETS.iter().find(|target| target.format == ExportFormat::Gguf)?;
    let why = target_hindrance(cx.state, merged)?;
    Some(t!("export-no-merged", why = why.trim_end_matches('.')))
}

/// Result of a target: icon, word, colour.
fn result(cx: &PanelCtx<'_>, index: usize, hindrance: Option<&str>) -> (Option<Icon>, &'static str, Color32) {
    let c = cx.c();
    let export = &cx.state.export;
    if export.working == Some(index) {
        return (Some(icons::DOTS_THREE), t!("export-is-writing"), c.info);
    }
    if hindrance.is_some() {
        return (Some(icons::PROHIBIT), t!("export-impossible"), c.text3);
    }
    let done = export.certificates.iter().find(|known| known.target == Some(index)).and_then(|known| known.record.pass);
    match done {
        Some(true) => (Some(icons::CHECK_CIRCLE), t!("export-is-passed"), c.ok),
        Some(false) => (Some(icons::X_CIRCLE), t!("export-is-refused"), c.err),
        None => (None, t!("export-is-ready"), c.text2),
    }
}

/// Shows the panel.
pub fn targets_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
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
    let run = export_run(cx.state);
    let offered = offered_targets(cx.state);
    let all_rows = lines.y + ROW * offered.len() as f32;
    if let Some(words) = reason(cx) {
        text::block(ui, pos2(inside.left(), all_rows + 5.0), inside.width(), &words, Type::Body, c.text2);
    }
    for index in offered {
        let Some(target) = TARGETS.get(index) else { continue };
        let row = lines.next(ROW);
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
        let (icon, word, colour) = result(cx, index, hindrance.as_deref());
        let usable = hindrance.is_none();
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
        if let Some(run) = run {
            let mib = target_bytes(cx.state, run, index) as f64 / 1_048_576.0;
            let figure = crate::format::mib_figure(mib);
            text::line(ui, size, Align::Max, &figure, Type::Mono, name_colour);
        }
        let width = text::width(ui, word, Type::Body);
        text::line(ui, result_place, Align::Max, word, Type::Body, colour);
        if let Some(icon) = icon {
            text::icon(ui.painter(), pos2(result_place.right() - width - 13.0, row.center().y), icon, 16.0, colour);
        }
        let tip = match &hindrance {
            None => t!("export-opens-in", name = target.name.get(), programs = target.opens_in),
            Some(reason) => t!("export-impossible-because", reason = reason),
        };
        if response.on_hover_text(tip).clicked() && usable {
            cx.send(UiCommand::ExportTarget(index));
        }
    }
}
