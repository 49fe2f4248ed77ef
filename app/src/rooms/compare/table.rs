//! The table of the project's runs: sort by a column's head, filter, choose up to five.

use super::swatch;
use crate::commands::UiCommand;
use crate::format;
use crate::reader::words::head_case;
use crate::rooms::PanelCtx;
use crate::rooms::watch::head::word_of;
use crate::state::compare::{Column, CompareAct, Grouping, MOST, TableRow};
use crate::state::compared::{budget_of, forgetting_of, size_mib};
use crate::theme::{Type, icons};
use crate::widgets::button::{Weight, focus_ring};
use crate::widgets::field::{self, Field};
use crate::widgets::rows;
use crate::widgets::{Button, choice, panel, term, text};
use egui::{Align, Rect, Role, Sense, Ui, WidgetInfo, pos2, vec2};
use temper_protocol::housekeeping::{Housekeeping, LabelChange};
use temper_store::RunRow;

const ROW: f32 = 24.0;
const COLUMNS: f32 = 22.0;
const FOOT: f32 = 26.0;
/// Place of check box, swatch and star.
const MARKS: f32 = 74.0;
/// Where each column ends, as a share of what is right of the marks.
const ENDS: [f32; 8] = [0.20, 0.32, 0.42, 0.54, 0.67, 0.79, 0.89, 1.0];

/// Height of the panel: some rows at once, the others by scrolling.
pub fn height(cx: &PanelCtx<'_>) -> f32 {
    let most = if cx.compact { 4 } else { 6 };
    let shown = cx.state.runs.runs.len().clamp(2, most);
    panel::HEAD + COLUMNS + shown as f32 * ROW + FOOT
}

/// Columns between method and status that say in which settings the runs differ.
const SETTINGS_AT: usize = 2;
/// Most of them, and the width of each.
const MOST_SETTINGS: usize = 3;
const SETTING: f32 = 88.0;

/// Keys of the settings that have a column.
fn settings<'a>(cx: &PanelCtx<'a>) -> &'a [String] {
    let most = if cx.compact { 0 } else { MOST_SETTINGS };
    let all = &cx.state.runs.differing;
    all.get(..most.min(all.len())).unwrap_or_default()
}

/// Places of the columns in a row.
#[derive(Debug, Clone, Copy)]
struct Columns {
    /// Settings that have a column.
    settings: usize,
}

impl Columns {
    fn new(cx: &PanelCtx<'_>) -> Self {
        Self { settings: settings(cx).len() }
    }

    fn cell(self, row: Rect, column: usize) -> Rect {
        let strip = self.settings as f32 * SETTING;
        let shared = row.with_min_x(row.left() + MARKS).with_max_x(row.right() - strip);
        let from = column.checked_sub(1).and_then(|before| ENDS.get(before)).copied().unwrap_or(0.0);
        let place = rows::column(shared, from, ENDS.get(column).copied().unwrap_or(1.0));
        if column < SETTINGS_AT { place } else { place.translate(vec2(strip, 0.0)) }
    }

    fn setting(self, row: Rect, index: usize) -> Rect {
        let left = self.cell(row, SETTINGS_AT - 1).right() + index as f32 * SETTING;
        Rect::from_min_size(pos2(left, row.top()), vec2(SETTING - 8.0, row.height()))
    }
}

/// The heads of the settings' columns: the labels of the forms, small as the other heads, the keys in the tooltips.
fn setting_heads(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, columns: Columns) {
    for (index, key) in settings(cx).iter().enumerate() {
        let label = head_case(cx.state.setting_label(key));
        let place = columns.setting(row, index);
        text::data(ui, place, Align::Min, &label, Type::Caption, cx.c().text2).on_hover_text(key.as_str());
    }
}

/// Shows the panel.
pub fn table_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let all = cx.state.runs.runs.len();
    let chosen: Vec<u64> = cx.state.compared().iter().map(|row| row.run).collect();
    let shown = cx.state.compare_rows();
    let note = t!("compare-chosen", n = all as u64, count = all, chosen = chosen.len(), most = MOST);
    let (head, inside) = panel::titled(ui, cx.theme, rect, t!("compare-runs"), &note);
    let copy = Rect::from_min_size(pos2(head.right() - 20.0, head.top() + 4.0), vec2(20.0, 20.0));
    if Button::icon_only(icons::COPY, t!("compare-copy")).show(ui, cx.theme, copy).clicked() {
        let text = csv(&cx.state.compare_table(), |row| forgetting_of(cx.state, row));
        cx.send(UiCommand::Copy(text, t!("compare-runs")));
    }
    let left = grouping(cx, ui, head.with_max_x(copy.left() - 8.0));
    filter(cx, ui, left);
    let columns = Rect::from_min_size(inside.min, vec2(inside.width(), COLUMNS));
    rows::table_head(ui, cx.theme, columns, 12.0);
    let places = Columns::new(cx);
    for (index, column) in Column::ALL.into_iter().enumerate() {
        sort_head(cx, ui, places.cell(columns, index), column);
    }
    setting_heads(cx, ui, columns, places);
    let foot = Rect::from_min_max(pos2(inside.left(), rect.bottom() - FOOT), pos2(inside.right(), rect.bottom()));
    let body = Rect::from_min_max(pos2(inside.left(), columns.bottom()), pos2(inside.right(), foot.top()));
    if shown.is_empty() {
        hidden(cx, ui, body, all);
    } else {
        body_ui(cx, ui, body, &shown, &chosen);
    }
    foot_ui(cx, ui, foot);
}

/// Runs, and the heads of their groups.
fn body_ui(cx: &PanelCtx<'_>, ui: &mut Ui, body: Rect, shown: &[TableRow<'_>], chosen: &[u64]) {
    super::rows_in_view(ui, body, "compared runs", ROW, shown.len(), |ui, row, index| match shown.get(index) {
        Some(TableRow::Run(run)) => run_row(cx, ui, row, run, chosen.contains(&run.run)),
        Some(TableRow::Group(name, count)) => group_row(cx, ui, row, name, *count),
        None => {}
    });
}

fn group_row(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, name: &str, count: usize) {
    let c = cx.c();
    ui.painter().rect_filled(row.with_max_y(row.bottom() - 1.0), 0.0, c.panel);
    let count = t!("compare-group-count", n = count as u64, count = count);
    let pieces = [text::Piece(name, Type::Strong, c.text), text::Piece(&count, Type::Body, c.text2)];
    text::pieces(ui, row.with_min_x(row.left() + 4.0), &pieces);
}

/// What the runs are put together by; gives what is left of the head.
fn grouping(cx: &PanelCtx<'_>, ui: &mut Ui, head: Rect) -> Rect {
    let names: Vec<String> = Grouping::ALL.iter().map(|one| one.name().to_owned()).collect();
    let chosen = Grouping::ALL.iter().position(|one| *one == cx.state.compare.grouping);
    let place = Rect::from_min_size(pos2(head.right() - 132.0, head.top() + 3.0), vec2(132.0, 22.0));
    let picked = choice::select(ui, cx.theme, place, t!("compare-grouping"), &names, chosen);
    if let Some(grouping) = picked.and_then(|at| Grouping::ALL.get(at)) {
        cx.send(UiCommand::Compare(CompareAct::Group(*grouping)));
    }
    head.with_max_x(place.left() - 8.0)
}

/// The table as comma-separated values, sorted and filtered as it is shown, with what `forgetting` says of a run.
fn csv(rows: &[&RunRow], forgetting: impl Fn(&RunRow) -> f64) -> String {
    let mut text = String::from("run,method,status,best_loss,forgetting,adapter_mib,tokens_per_sec,wall_secs\n");
    for row in rows {
        let RunRow { run, method, status, best_loss, tokens_per_sec, wall_secs, .. } = row;
        let (forgetting, mib) = (forgetting(row), size_mib(row));
        text.push_str(&format!(
            "{run},{method},{status},{best_loss},{forgetting},{mib},{tokens_per_sec},{wall_secs}\n"
        ));
    }
    text
}

fn filter(cx: &PanelCtx<'_>, ui: &mut Ui, head: Rect) {
    let width = 220.0_f32.min(head.width());
    let place = Rect::from_min_size(pos2(head.right() - width, head.top() + 3.0), vec2(width, 22.0));
    let field = Field {
        hint: t!("compare-filter-hint"),
        icon: Some(icons::FUNNEL),
        tooltip: t!("compare-filter-tip"),
        ..Field::new(t!("compare-filter"), &cx.state.compare.filter)
    };
    if let Some(typed) = field::show(ui, cx.theme, place, field).changed {
        cx.send(UiCommand::Compare(CompareAct::Filter(typed)));
    }
}

/// What stands where the filter hides every run.
fn hidden(cx: &PanelCtx<'_>, ui: &mut Ui, body: Rect, all: usize) {
    let row = Rect::from_min_size(body.min + vec2(0.0, 6.0), vec2(body.width(), 24.0));
    if all == 0 {
        text::data(ui, row, Align::Min, t!("compare-only-trash"), Type::Body, cx.c().text2);
        return;
    }
    let words = t!("compare-all-hidden", n = all as u64, count = all);
    let end = text::pieces(ui, row, &[text::Piece(&words, Type::Body, cx.c().text2)]);
    let button = Button::new(t!("compare-show-all")).weight(Weight::Link).tooltip(t!("compare-show-all-tip"));
    let place = Rect::from_min_size(pos2(end + 12.0, row.top()), vec2(button.width(ui), 24.0));
    if button.show(ui, cx.theme, place).clicked() {
        cx.send(UiCommand::Compare(CompareAct::Filter(String::new())));
    }
}

/// The head of a column is the button that sorts by it.
fn sort_head(cx: &PanelCtx<'_>, ui: &mut Ui, place: Rect, column: Column) {
    let c = cx.c();
    let compare = &cx.state.compare;
    let sorted = compare.sort == column;
    let words = column.name().get();
    let response = ui.allocate_rect(place, Sense::click());
    let name = match (sorted, compare.descending) {
        (false, _) => t!("compare-sort", column = words),
        (true, true) => t!("compare-sorted-down", column = words),
        (true, false) => t!("compare-sorted-up", column = words),
    };
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, sorted, &name));
    let colour = if sorted || response.hovered() { c.text } else { c.text2 };
    let align = if column.is_words() { Align::Min } else { Align::Max };
    let painted = text::paint(ui.painter(), place.with_max_x(place.right() - 6.0), align, words, Type::Caption, colour);
    if sorted {
        let icon = if compare.descending { icons::CARET_DOWN } else { icons::CARET_UP };
        let x = if column.is_words() { painted.right() + 8.0 } else { painted.left() - 8.0 };
        text::icon(ui.painter(), pos2(x, place.center().y), icon, 12.0, c.text);
    }
    if response.has_focus() {
        focus_ring(ui, cx.theme, place.shrink(2.0), 3.0);
    }
    term::label_on_focus(ui, place, words);
    let tip = if column == Column::Forgetting { t!("compare-forgetting-tip") } else { t!("compare-sort-tip") };
    if response.on_hover_text(tip).clicked() {
        cx.send(UiCommand::Compare(CompareAct::Sort(column)));
    }
}

fn run_row(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, run: &RunRow, on: bool) {
    let c = cx.c();
    rows::underline(ui, cx.theme, row);
    let columns = Columns::new(cx);
    let cell = |row: Rect, column: usize| columns.cell(row, column);
    for (index, key) in settings(cx).iter().enumerate() {
        let value = cx.state.run_setting(run.run, key);
        let value = value.map_or_else(|| format::UNKNOWN.to_owned(), |value| format::setting(key, value));
        text::data(ui, columns.setting(row, index), Align::Min, &value, Type::Mono, c.text);
    }
    let name = t!("common-run", run = run.run);
    let mark = row.with_max_x(row.left() + 20.0);
    let response = choice::check_mark(ui, cx.theme, mark, &t!("compare-choose", run = name), on);
    if response.on_hover_text(t!("compare-choose-tip", most = MOST)).clicked() {
        cx.send(UiCommand::Compare(CompareAct::Choose(run.run, !on)));
    }
    swatch(ui, cx.theme, pos2(row.left() + 26.0, row.center().y), run.run);
    star(cx, ui, row, run, &name);
    let button = Button::new(&name).weight(Weight::Link).tooltip(t!("compare-watch-tip"));
    let first = cell(row, 0);
    let place = first.with_max_x(first.left() + button.width(ui));
    if button.show(ui, cx.theme, place).clicked() {
        cx.send(UiCommand::Watch(run.run));
    }
    let called = Rect::from_min_max(pos2(place.right() + 8.0, row.top()), pos2(first.right() - 6.0, row.bottom()));
    if !run.labels.name.is_empty() && called.width() > 12.0 {
        text::data(ui, called, Align::Min, &run.labels.name, Type::Body, c.text2);
    }
    let title = cx.state.method_title(&run.method);
    text::data(ui, cell(row, 1).with_max_x(cell(row, 1).right() - 6.0), Align::Min, title, Type::Body, c.text);
    let status = cell(row, 2);
    text::data(ui, status.with_max_x(status.right() - 6.0), Align::Min, word_of(cx.state, run), Type::Body, c.text2);
    super::figure(ui, cell(row, 3), &format::nats(run.best_loss), c.text);
    let forgetting = forgetting_of(cx.state, run);
    let over = forgetting > budget_of(cx.state, run.run);
    let place = cell(row, 4);
    super::figure(ui, place, &format::signed_nats(forgetting), if over { c.err } else { c.text });
    if over {
        let centre = pos2(place.right() - 6.0 - 58.0, row.center().y);
        text::icon(ui.painter(), centre, icons::WARNING, 14.0, c.err);
        let place = Rect::from_center_size(centre, vec2(16.0, 16.0));
        let response = ui.allocate_rect(place, Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, t!("compare-over-budget")));
        response.on_hover_text(t!("compare-over-budget"));
    }
    let known = |value: f64, words: String| if value > 0.0 { words } else { format::UNKNOWN.to_owned() };
    super::figure(ui, cell(row, 5), &known(size_mib(run), format::mib_figure(size_mib(run))), c.text);
    super::figure(ui, cell(row, 6), &known(run.tokens_per_sec, format::speed(run.tokens_per_sec)), c.text);
    super::figure(ui, cell(row, 7), &known(run.wall_secs, format::duration(run.wall_secs)), c.text);
}

/// The mark of a run, which is the button that sets it.
fn star(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, run: &RunRow, name: &str) {
    let on = run.labels.starred;
    let place = Rect::from_center_size(pos2(row.left() + 58.0, row.center().y), vec2(20.0, 20.0));
    let label = if on { t!("compare-unstar", run = name) } else { t!("compare-star", run = name) };
    let icon = if on { icons::STAR_FILL } else { icons::STAR };
    if Button::icon_only(icon, &label).selected(on).show(ui, cx.theme, place).clicked() {
        let change = LabelChange { starred: Some(!on), ..LabelChange::default() };
        cx.send(UiCommand::Compare(CompareAct::Tidy(Housekeeping::Label { run: run.run, change })));
    }
}

/// What the figures above are measured against.
fn foot_ui(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect) {
    let compared = cx.state.compared();
    let known = compared.iter().find(|run| run.base_loss.is_finite());
    let words = match known {
        Some(run) => {
            t!(
                "compare-foot",
                base = format::nats(run.base_loss),
                budget = format::signed_nats(budget_of(cx.state, run.run))
            )
        }
        None => t!("compare-foot-none").to_owned(),
    };
    text::data(ui, row, Align::Min, &words, Type::Body, cx.c().text2);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copied_table_has_a_line_a_run() {
        let row = RunRow {
            run: 7,
            method: "lora".to_owned(),
            status: "finished".to_owned(),
            best_loss: 1.5,
            forgetting: 0.25,
            trained_parameters: 262_144,
            ..RunRow::default()
        };
        let text = csv(&[&row], |_| 0.125);
        assert_eq!(text.lines().nth(1), Some("7,lora,finished,1.5,0.125,1,0,0"), "the figure that the table shows");
        assert_eq!(text.lines().count(), 2);
    }
}
