//! The verdict: on which rows, the wait for it, each model's totals, and for each pair who is better and how sure that is.

use super::{colour_of, explain, figure, marker_of, model_name, named, run_of};
use crate::commands::{Id, UiCommand};
use crate::format;
use crate::rooms::watch::curves::wait;
use crate::rooms::{PanelCtx, scrolled};
use crate::state::Ask;
use crate::state::compare::CompareAct;
use crate::state::judged::{ROW_COUNTS, claim};
use crate::theme::{Type, icons};
use crate::update::compare_data;
use crate::widgets::button::Weight;
use crate::widgets::field::{self, Field};
use crate::widgets::rows::{self, Rows};
use crate::widgets::{Button, choice, panel, problem, text};
use egui::{Align, Rect, Sense, Stroke, Ui, pos2, vec2};
use temper_protocol::comparison::{Interval, Verdict};

/// Shows the panel.
pub fn verdict_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let judged = &cx.state.compare.judged;
    let (_, inside) = panel::titled(ui, cx.theme, rect, t!("compare-verdict"), t!("compare-verdict-note"));
    let mut lines = Rows::new(inside);
    lines.gap(4.0);
    order(cx, ui, &mut lines);
    lines.gap(8.0);
    if let Some((request, running)) = cx.state.jobs.find(|ask| *ask == Ask::Judge) {
        let place = lines.next(58.0);
        wait(cx, ui, place, &running.stage, running.done, running.total, &running.unit);
        let button = Button::new(t!("common-cancel")).weight(Weight::Link).tooltip(t!("compare-cancel-tip"));
        let width = button.width(ui);
        let row = Rect::from_min_size(pos2(place.right() - width, place.top()), vec2(width, 22.0));
        if button.show(ui, cx.theme, row).clicked() {
            cx.send(UiCommand::Cancel(request));
        }
    }
    if let Some(found) = &judged.problem {
        let top = pos2(inside.left(), lines.y);
        lines.y += problem::in_card(ui, cx.theme, top, inside.width(), found, cx.out) + 8.0;
    }
    let rest = lines.rest();
    if judged.scores.is_empty() {
        if judged.problem.is_none() && cx.state.jobs.find(|ask| *ask == Ask::Judge).is_none() {
            explain(cx, ui, rest, icons::SCALES, t!("compare-no-verdict"), t!("compare-no-verdict-lead"));
        }
        return;
    }
    scrolled(ui, rest, "verdicts", |ui, area| {
        let mut body = Rows::new(area);
        models(cx, ui, &mut body);
        body.gap(8.0);
        // What is said about two runs comes before what is said about a run and its base.
        let about_base = |verdict: &&Verdict| run_of(&verdict.a).is_none();
        for verdict in judged.verdicts.iter().filter(|one| !about_base(one)) {
            pair(cx, ui, &mut body, verdict);
        }
        for verdict in judged.verdicts.iter().filter(about_base) {
            pair(cx, ui, &mut body, verdict);
        }
        ui.allocate_rect(Rect::from_min_max(area.min, pos2(area.right(), body.y)), Sense::hover());
    });
}

/// Data, how many rows, and the button.
fn order(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows) {
    let judged = &cx.state.compare.judged;
    let data = compare_data(cx.state);
    let row = lines.next(26.0);
    let counts: Vec<String> = ROW_COUNTS
        .iter()
        .map(|count| match count {
            0 => t!("compare-all-rows").to_owned(),
            count => t!("compare-row-count", count = format::count(*count as u64)),
        })
        .collect();
    let count_place = row.with_min_x(row.right() - 118.0);
    let field_place = row.with_max_x(count_place.left() - 8.0);
    let field = Field {
        hint: t!("compare-data-hint"),
        path: true,
        icon: Some(icons::TABLE),
        tooltip: t!("compare-data-tip"),
        ..Field::new(t!("compare-data"), &data)
    };
    let typed = field::show(ui, cx.theme, field_place, field);
    if let Some(text) = typed.committed {
        cx.send(UiCommand::Compare(CompareAct::Data(text)));
    }
    let chosen = ROW_COUNTS.iter().position(|count| *count == judged.row_count);
    let picked = choice::select(ui, cx.theme, count_place, t!("compare-most-rows"), &counts, chosen);
    if let Some(count) = picked.and_then(|index| ROW_COUNTS.get(index)) {
        cx.send(UiCommand::Compare(CompareAct::RowCount(*count)));
    }
    lines.gap(6.0);
    let row = lines.next(28.0);
    let button = cx.button(ui, Id::Judge).weight(Weight::Primary);
    let place = row.with_max_x(row.left() + button.width(ui));
    cx.press(ui, Id::Judge, button, place);
    let why = crate::update::judge_hindrance(cx.state);
    if let Some(why) = why.filter(|_| cx.state.jobs.find(|ask| *ask == Ask::Judge).is_none()) {
        text::data(ui, row.with_min_x(place.right() + 10.0), Align::Min, why, Type::Body, cx.c().text2);
    }
}

/// Totals of each model.
fn models(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows) {
    let c = cx.c();
    let judged = &cx.state.compare.judged;
    let head = lines.next(22.0);
    rows::table_head(ui, cx.theme, head, 0.0);
    super::column_head(cx, ui, rows::column(head, 0.0, 0.4), t!("compare-col-model"), false);
    super::column_head(cx, ui, rows::column(head, 0.4, 0.7), t!("compare-col-loss"), true);
    super::column_head(cx, ui, rows::column(head, 0.7, 1.0), t!("compare-col-right"), true);
    for scores in &judged.scores {
        let row = lines.next(24.0);
        rows::underline(ui, cx.theme, row);
        let (loss, right) = judged.total(scores);
        let place = rows::column(row, 0.0, 0.4);
        if let Some(run) = run_of(&scores.model) {
            super::swatch(ui, cx.theme, pos2(place.left(), place.center().y), run);
        }
        let name = model_name(&scores.model);
        text::data(ui, place.with_min_x(place.left() + 22.0), Align::Min, &name, Type::Body, c.text);
        figure(ui, rows::column(row, 0.4, 0.7), &format::nats(loss), c.text);
        figure(ui, rows::column(row, 0.7, 1.0), &format!("{:.1}", 100.0 * right), c.text);
    }
}

fn interval(of: &Interval, digits: usize) -> (String, String, String) {
    let figure = |value: f64| format!("{value:+.digits$}");
    (figure(of.value), figure(of.low), figure(of.high))
}

/// What is measured about two models, one sentence each.
fn details(verdict: &Verdict) -> [String; 3] {
    let (a, b) = (&verdict.a, &verdict.b);
    let (value, low, high) = interval(&verdict.loss, 3);
    let loss = t!("compare-loss-by", b = b, a = a, value = value, low = low, high = high);
    let (value, low, high) = interval(&verdict.points, 1);
    let points = t!("compare-points-by", value = value, low = low, high = high);
    let (only_a, only_b) = (format::count(verdict.only_a), format::count(verdict.only_b));
    let p = format::p_value(verdict.p_flips);
    [loss, points, t!("compare-flips", right = only_b, wrong = only_a, a = a, b = b, p = p)]
}

fn pair(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, verdict: &Verdict) {
    let c = cx.c();
    let width = lines.area.width();
    let clear = verdict.loss.is_clear();
    let (icon, colour) = if clear { (icons::CHECK_CIRCLE, c.ok) } else { (icons::EQUALS, c.text2) };
    let left = lines.area.left();
    text::icon(ui.painter(), pos2(left + 8.0, lines.y + 9.0), icon, 16.0, colour);
    let verdict = named(verdict);
    let words = claim(&verdict);
    lines.y += text::block(ui, pos2(left + 22.0, lines.y), width - 22.0, &words, Type::Strong, c.text) + 2.0;
    for sentence in details(&verdict) {
        lines.y += text::block(ui, pos2(left + 22.0, lines.y), width - 22.0, &sentence, Type::Body, c.text2) + 2.0;
    }
    lines.gap(10.0);
}

/// The mark of a model in the head of a narrow column: its run's line and marker, nothing for the base.
pub fn mark(cx: &PanelCtx<'_>, ui: &Ui, centre: egui::Pos2, model: &str) {
    if let Some(run) = run_of(model) {
        let colour = colour_of(cx.theme, run);
        let stroke = Stroke::new(2.0, colour);
        ui.painter().hline(centre.x - 7.0..=centre.x + 7.0, centre.y.round(), stroke);
        crate::plots::chart::marker(ui, centre, marker_of(run), colour, cx.c().raised);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_told_with_interval_test_and_flips() {
        let of = |value: f64, half: f64| Interval { value, low: value - half, high: value + half };
        let verdict = Verdict {
            a: "run 7".to_owned(),
            b: "run 5".to_owned(),
            rows: 480,
            loss: of(0.2, 0.1),
            points: of(-3.1, 2.3),
            only_a: 24,
            only_b: 9,
            p_flips: 0.0136,
        };
        let [loss, points, flips] = details(&named(&verdict));
        assert_eq!(loss, "Loss of Run 7 less that of Run 5: -0.200 nats a token, 95 % interval -0.300 to -0.100.");
        assert!(points.contains("+3.1 points, 95 % interval +0.8 to +5.4"), "{points}");
        assert!(flips.contains("24 rows newly right, 9 newly wrong") && flips.contains("p = 0.014"), "{flips}");
        let [_, _, flips] = details(&Verdict { p_flips: 1e-6, ..verdict });
        assert!(flips.contains("p < 0.001"), "{flips}");
        assert_eq!(model_name("base"), "base model");
    }
}
