//! The rows of a comparison: the loss of each model on each row, and what became of the row in a run.

use super::verdict::mark;
use super::{explain, figure, model_name};
use crate::commands::UiCommand;
use crate::format;
use crate::rooms::PanelCtx;
use crate::state::compare::CompareAct;
use crate::theme::{Type, icons};
use crate::widgets::{choice, panel, rows, text};
use egui::{Align, Rect, ScrollArea, Sense, Ui, UiBuilder, pos2, vec2};
use temper_protocol::comparison::RowKind;

const ROW: f32 = 22.0;
/// Width of the line number and of one loss.
const LINE: f32 = 52.0;
const LOSS: f32 = 64.0;
/// Kinds that a person should look at.
const KINDS: [RowKind; 3] = [RowKind::Never, RowKind::Forgotten, RowKind::Easy];

fn kind_words(kind: RowKind) -> &'static str {
    match kind {
        RowKind::Easy => t!("compare-kind-easy"),
        RowKind::Never => t!("compare-kind-never"),
        RowKind::Forgotten => t!("compare-kind-forgotten"),
        RowKind::Learned => t!("compare-kind-learned"),
        RowKind::Partly => t!("compare-kind-partly"),
    }
}

/// Shows the panel.
pub fn rows_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let judged = &cx.state.compare.judged;
    let note = match &judged.measured {
        Some(data) if !judged.rows.is_empty() => format::plain_name(data),
        _ => String::new(),
    };
    let (head, inside) = panel::titled(ui, cx.theme, rect, t!("compare-row-losses"), &note);
    if judged.rows.is_empty() {
        explain(cx, ui, inside, icons::ROWS, t!("compare-no-rows"), t!("compare-no-rows-lead"));
        return;
    }
    whose(cx, ui, head);
    let pills = Rect::from_min_size(inside.min + vec2(0.0, 2.0), vec2(inside.width(), 24.0));
    filter(cx, ui, pills);
    let heads = Rect::from_min_size(pos2(inside.left(), pills.bottom() + 6.0), vec2(inside.width(), 24.0));
    table_head(cx, ui, heads);
    let shown = judged.shown();
    let body = inside.with_min_y(heads.bottom());
    if shown.is_empty() {
        let words = t!("compare-no-such-row", n = judged.rows.len() as u64, count = judged.rows.len());
        text::data(ui, body.with_max_y(body.top() + 28.0), Align::Min, &words, Type::Body, cx.c().text2);
        return;
    }
    let outer = body.with_max_x(body.right() + 7.0);
    let mut child = ui.new_child(UiBuilder::new().id_salt("compared rows").max_rect(outer));
    child.spacing_mut().item_spacing = vec2(0.0, 0.0);
    let area = ScrollArea::vertical().id_salt("compared rows").auto_shrink(false);
    area.show_rows(&mut child, ROW, shown.len(), |ui, range| {
        for index in shown.get(range).unwrap_or_default() {
            let (row, _) = ui.allocate_exact_size(vec2(body.width(), ROW), Sense::hover());
            row_ui(cx, ui, row, *index);
        }
    });
    ui.advance_cursor_after_rect(body);
}

/// Whose kinds the filter means.
fn whose(cx: &PanelCtx<'_>, ui: &mut Ui, head: Rect) {
    let judged = &cx.state.compare.judged;
    if judged.kinds.is_empty() {
        return;
    }
    let names: Vec<String> = judged.kinds.iter().map(|run| model_name(&run.model)).collect();
    let place = Rect::from_min_size(pos2(head.right() - 110.0, head.top() + 3.0), vec2(110.0, 22.0));
    if let Some(index) = choice::select(ui, cx.theme, place, t!("compare-kinds-of"), &names, Some(judged.kinds_of)) {
        cx.send(UiCommand::Compare(CompareAct::KindsOf(index)));
    }
}

/// One of: all rows, never learned, learned and forgotten, known before.
fn filter(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let judged = &cx.state.compare.judged;
    let mut names = vec![t!("compare-every-row", count = judged.rows.len())];
    names.extend(KINDS.iter().map(|kind| format!("{} {}", kind_words(*kind), judged.count(*kind))));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let chosen = match judged.kind {
        None => Some(0),
        Some(kind) => KINDS.iter().position(|one| *one == kind).map(|at| at + 1),
    };
    let width = choice::segments_width(ui, &names, Type::Body).min(rect.width());
    let place = rect.with_max_x(rect.left() + width);
    if let Some(index) = choice::segments(ui, cx.theme, place, t!("compare-kinds"), &names, chosen) {
        let kind = index.checked_sub(1).and_then(|at| KINDS.get(at)).copied();
        cx.send(UiCommand::Compare(CompareAct::Kind(kind)));
    }
}

/// The place of the loss of the model at `index`, counted from the right.
fn loss_place(row: Rect, models: usize, index: usize) -> Rect {
    let left = row.right() - (models - index) as f32 * LOSS;
    Rect::from_min_size(pos2(left, row.top()), vec2(LOSS, row.height()))
}

fn table_head(cx: &PanelCtx<'_>, ui: &mut Ui, head: Rect) {
    let scores = &cx.state.compare.judged.scores;
    rows::table_head(ui, cx.theme, head, 12.0);
    super::column_head(cx, ui, head.with_max_x(head.left() + LINE), t!("compare-line"), false);
    for (index, model) in scores.iter().enumerate() {
        let place = loss_place(head, scores.len(), index);
        let name = match super::run_of(&model.model) {
            Some(run) => run.to_string(),
            None => t!("compare-base-short").to_owned(),
        };
        super::column_head(cx, ui, place, &name, true);
        mark(cx, ui, pos2(place.left() + 18.0, place.center().y), &model.model);
    }
    let place = head.with_min_x(head.left() + LINE).with_max_x(head.right() - scores.len() as f32 * LOSS - 6.0);
    super::column_head(cx, ui, place, t!("compare-row-text"), false);
}

fn row_ui(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, index: usize) {
    let c = cx.c();
    let judged = &cx.state.compare.judged;
    let Some(compared) = judged.rows.get(index) else { return };
    rows::underline(ui, cx.theme, row);
    let line = format::count(compared.line);
    text::data(ui, row.with_max_x(row.left() + LINE - 6.0), Align::Min, &line, Type::Mono, c.text2);
    let models = judged.scores.len();
    let place = row.with_min_x(row.left() + LINE).with_max_x(row.right() - models as f32 * LOSS - 6.0);
    let words: String = compared.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let response = text::data(ui, place, Align::Min, &words, Type::Body, c.text);
    if let Some(kind) = judged.kind_of(index) {
        response.on_hover_text(kind_words(kind));
    }
    for (model, scores) in judged.scores.iter().enumerate() {
        let loss = scores.losses.get(index).map_or(f64::NAN, |loss| loss / compared.tokens as f64);
        figure(ui, loss_place(row, models, model), &format::nats(loss), c.text);
    }
}
