//! The rows of a comparison: the loss of each model on each row, and what became of the row in a run.

use super::verdict::mark;
use super::{explain, figure, model_name, run_of};
use crate::commands::UiCommand;
use crate::format;
use crate::rooms::PanelCtx;
use crate::state::compare::CompareAct;
use crate::state::judged::RowSort;
use crate::theme::{Type, icons};
use crate::widgets::button::focus_ring;
use crate::widgets::{Button, choice, panel, rows, text};
use egui::{Align, Rect, Role, Sense, Ui, WidgetInfo, pos2, vec2};
use temper_protocol::comparison::RowKind;

const ROW: f32 = 22.0;
/// Width of the line number, of one loss and of the difference.
const LINE: f32 = 52.0;
const LOSS: f32 = 64.0;
const DIFFERENCE: f32 = 76.0;
/// Text that must be left; with less, only the two models that are compared keep their losses.
const LEAST_TEXT: f32 = 120.0;
/// Width of a list of models.
const CHOICE: f32 = 106.0;
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
    let head = save(cx, ui, head);
    whose(cx, ui, head);
    let columns = Columns::new(cx, inside);
    let pills = Rect::from_min_size(inside.min + vec2(0.0, 2.0), vec2(inside.width(), 24.0));
    filter(cx, ui, pills);
    let heads = Rect::from_min_size(pos2(inside.left(), pills.bottom() + 6.0), vec2(inside.width(), 24.0));
    table_head(cx, ui, heads, &columns);
    let shown = judged.shown();
    let body = inside.with_min_y(heads.bottom());
    if shown.is_empty() {
        let words = t!("compare-no-such-row", n = judged.rows.len() as u64, count = judged.rows.len());
        text::data(ui, body.with_max_y(body.top() + 28.0), Align::Min, &words, Type::Body, cx.c().text2);
        return;
    }
    super::rows_in_view(ui, body, "compared rows", ROW, shown.len(), |ui, row, index| {
        if let Some(place) = shown.get(index) {
            row_ui(cx, ui, row, *place, &columns);
        }
    });
}

/// Which models have a column, from the left.
struct Columns(Vec<usize>);

impl Columns {
    fn new(cx: &PanelCtx<'_>, inside: Rect) -> Self {
        let judged = &cx.state.compare.judged;
        let all: Vec<usize> = (0..judged.scores.len()).collect();
        let left = inside.width() - LINE - DIFFERENCE - LOSS * all.len() as f32;
        let pair = |model: &usize| *model == judged.against || Some(*model) == judged.looked_at();
        if left >= LEAST_TEXT { Self(all) } else { Self(all.into_iter().filter(pair).collect()) }
    }

    /// The place of the loss at `index` from the left.
    fn loss(&self, row: Rect, index: usize) -> Rect {
        let left = row.right() - DIFFERENCE - (self.0.len() - index) as f32 * LOSS;
        Rect::from_min_size(pos2(left, row.top()), vec2(LOSS, row.height()))
    }

    fn text(&self, row: Rect) -> Rect {
        row.with_min_x(row.left() + LINE).with_max_x(row.right() - DIFFERENCE - self.0.len() as f32 * LOSS - 6.0)
    }
}

/// The button that writes the rows; gives what is left of the head.
fn save(cx: &PanelCtx<'_>, ui: &mut Ui, head: Rect) -> Rect {
    let place = Rect::from_min_size(pos2(head.right() - 20.0, head.top() + 4.0), vec2(20.0, 20.0));
    if Button::icon_only(icons::FLOPPY_DISK, t!("compare-save-rows")).show(ui, cx.theme, place).clicked() {
        cx.send(UiCommand::Compare(CompareAct::SaveRows));
    }
    head.with_max_x(place.left() - 8.0)
}

/// The run that is looked at, and the model that it is compared with.
fn whose(cx: &PanelCtx<'_>, ui: &mut Ui, head: Rect) {
    let judged = &cx.state.compare.judged;
    if judged.kinds.is_empty() {
        return;
    }
    let names: Vec<String> = judged.scores.iter().map(|scores| model_name(&scores.model)).collect();
    let place = Rect::from_min_size(pos2(head.right() - CHOICE, head.top() + 3.0), vec2(CHOICE, 22.0));
    if let Some(index) = choice::select(ui, cx.theme, place, t!("compare-against"), &names, Some(judged.against)) {
        cx.send(UiCommand::Compare(CompareAct::Against(index)));
    }
    let less = t!("compare-less");
    let width = text::width(ui, less, Type::Body);
    let between = Rect::from_min_max(pos2(place.left() - 6.0 - width, head.top()), pos2(place.left(), head.bottom()));
    text::line(ui, between, Align::Min, less, Type::Body, cx.c().text2);
    let names: Vec<String> = judged.kinds.iter().map(|run| model_name(&run.model)).collect();
    let place = Rect::from_min_size(pos2(between.left() - 6.0 - CHOICE, head.top() + 3.0), vec2(CHOICE, 22.0));
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

/// The head of a column is the button that sorts by it.
fn sort_head(cx: &PanelCtx<'_>, ui: &mut Ui, place: Rect, words: &str, sort: RowSort, right: bool) {
    let c = cx.c();
    let judged = &cx.state.compare.judged;
    let sorted = judged.sort == sort;
    let name = match (sorted, judged.descending) {
        (false, _) => t!("compare-sort-rows", column = words),
        (true, true) => t!("compare-rows-down", column = words),
        (true, false) => t!("compare-rows-up", column = words),
    };
    let response = ui.allocate_rect(place, Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, sorted, &name));
    let colour = if sorted || response.hovered() { c.text } else { c.text2 };
    let align = if right { Align::Max } else { Align::Min };
    let painted = text::paint(ui.painter(), place.with_max_x(place.right() - 6.0), align, words, Type::Caption, colour);
    if sorted {
        let icon = if judged.descending { icons::CARET_DOWN } else { icons::CARET_UP };
        let x = if right { painted.left() - 8.0 } else { painted.right() + 8.0 };
        text::icon(ui.painter(), pos2(x, place.center().y), icon, 12.0, c.text);
    }
    if response.has_focus() {
        focus_ring(ui, cx.theme, place.shrink(2.0), 3.0);
    }
    if response.on_hover_text(t!("compare-sort-tip")).clicked() {
        cx.send(UiCommand::Compare(CompareAct::SortRows(sort)));
    }
}

fn table_head(cx: &PanelCtx<'_>, ui: &mut Ui, head: Rect, columns: &Columns) {
    let judged = &cx.state.compare.judged;
    rows::table_head(ui, cx.theme, head, 12.0);
    sort_head(cx, ui, head.with_max_x(head.left() + LINE), t!("compare-line"), RowSort::Place, false);
    super::column_head(cx, ui, columns.text(head), t!("compare-row-text"), false);
    for (index, model) in columns.0.iter().enumerate() {
        let Some(scores) = judged.scores.get(*model) else { continue };
        let place = columns.loss(head, index);
        let name = match run_of(&scores.model) {
            Some(run) => run.to_string(),
            None => t!("compare-base-short").to_owned(),
        };
        sort_head(cx, ui, place, &name, RowSort::Loss(*model), true);
        if judged.sort != RowSort::Loss(*model) {
            mark(cx, ui, pos2(place.left() + 18.0, place.center().y), &scores.model);
        }
    }
    let place = head.with_min_x(head.right() - DIFFERENCE);
    sort_head(cx, ui, place, t!("compare-difference"), RowSort::Difference, true);
}

fn row_ui(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, index: usize, columns: &Columns) {
    let c = cx.c();
    let judged = &cx.state.compare.judged;
    let Some(compared) = judged.rows.get(index) else { return };
    rows::underline(ui, cx.theme, row);
    let line = format::count(compared.line);
    text::data(ui, row.with_max_x(row.left() + LINE - 6.0), Align::Min, &line, Type::Mono, c.text2);
    let words: String = compared.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let response = text::data(ui, columns.text(row), Align::Min, &words, Type::Body, c.text);
    let place = t!("compare-row-place", file = format::file_name(&compared.file.display().to_string()), line = line);
    let told = judged.kind_of(index).map_or_else(|| place.clone(), |kind| format!("{place}: {}", kind_words(kind)));
    response.on_hover_text(told);
    for (at, model) in columns.0.iter().enumerate() {
        figure(ui, columns.loss(row, at), &format::nats(judged.loss(*model, index)), c.text);
    }
    let difference = format::signed_nats(judged.difference(index));
    figure(ui, row.with_min_x(row.right() - DIFFERENCE), &difference, c.text);
}
