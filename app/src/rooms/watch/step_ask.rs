//! Asking a step: one prompt, the answer of the base beside that of the run as of the step under the scrub line. It stands
//! in place of the samples.

use crate::commands::{Id, UiCommand};
use crate::format;
use crate::reader::RunView;
use crate::rooms::{PanelCtx, scrolled};
use crate::state::Ask;
use crate::state::step_ask::{Side, StepAct, StepAnswer};
use crate::theme::{Type, icons};
use crate::widgets::field::{self, Field};
use crate::widgets::{Button, panel, problem, text};
use egui::{Align, Rect, Sense, Stroke, Ui, pos2, vec2};

/// Height of the row with the prompt.
const ROW: f32 = 24.0;

/// Shows the panel.
pub fn step_ask_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, view: &RunView) {
    let c = cx.c();
    let note = if cx.compact { "" } else { t!("watch-ask-note") };
    let (head, inside) = panel::titled(ui, cx.theme, rect, t!("watch-ask"), note);
    let back = cx.button(ui, Id::StepAskClose).small().keys(None);
    let width = back.width(ui);
    let place = Rect::from_min_size(pos2(head.right() - width, head.top() + 4.0), vec2(width, 20.0));
    cx.press(ui, Id::StepAskClose, back, place);
    prompt_row(cx, ui, Rect::from_min_size(inside.min, vec2(inside.width(), ROW)));
    let body = inside.with_min_y(inside.top() + ROW + 4.0);
    if cx.state.watch.ask.question.is_none() {
        let words = explanation(cx, view);
        text::block(ui, body.min + vec2(0.0, 4.0), body.width(), &words, Type::Body, c.text2);
        return;
    }
    let middle = body.center().x.round();
    ui.painter().vline(middle + 0.5, body.top() + 4.0..=body.bottom(), Stroke::new(1.0, c.line));
    for (side, left, right) in [(Side::Base, body.left(), middle - 10.0), (Side::Adapted, middle + 10.0, body.right())]
    {
        let column = Rect::from_min_max(pos2(left, body.top()), pos2(right, body.bottom()));
        answer_ui(cx, ui, column, side);
    }
}

/// What will happen when somebody asks, or why nobody can now.
fn explanation(cx: &PanelCtx<'_>, view: &RunView) -> String {
    if cx.state.is_training() {
        return t!("watch-ask-busy-lead").to_owned();
    }
    match cx.state.kept_state() {
        Some(kept) => t!("watch-ask-lead", step = format::count(kept), run = view.row.run),
        None => t!("watch-ask-none-kept-lead").to_owned(),
    }
}

fn prompt_row(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect) {
    let working = cx.state.jobs.find(|ask| matches!(ask, Ask::Step { .. }));
    let stop = || Button::new(t!("compare-stop")).icon(icons::STOP).tooltip(t!("watch-ask-stop-tip"));
    let ask = cx.button(ui, Id::StepAskNow).keys(None);
    let width = if working.is_some() { stop().width(ui) } else { ask.width(ui) };
    let place = row.with_min_x(row.right() - width);
    let prompt = cx.state.step_prompt();
    let field = Field {
        hint: t!("compare-prompt-hint"),
        tooltip: t!("watch-ask-prompt-tip"),
        ..Field::new(t!("watch-ask-prompt"), prompt)
    };
    let typed = field::show(ui, cx.theme, row.with_max_x(place.left() - 8.0), field);
    if cx.state.watch.ask.wants_keys {
        typed.response.request_focus();
        cx.send(UiCommand::StepAsk(StepAct::Focused));
    }
    // While it is typed already, so that the button beside it knows whether there is anything to ask.
    if let Some(text) = typed.changed.or(typed.committed) {
        cx.send(UiCommand::StepAsk(StepAct::Prompt(text)));
    }
    if typed.entered {
        cx.send(UiCommand::StepAsk(StepAct::Ask));
    }
    match working {
        Some((request, _)) => {
            if stop().show(ui, cx.theme, place).clicked() {
                cx.send(UiCommand::Cancel(request));
            }
        }
        None => {
            cx.press(ui, Id::StepAskNow, ask, place);
        }
    }
}

/// Who answers: the base, or the state of the run that the engine named.
fn title(cx: &PanelCtx<'_>, side: Side, answer: &StepAnswer) -> String {
    let Some(question) = &cx.state.watch.ask.question else { return String::new() };
    if side == Side::Base {
        return t!("watch-base").to_owned();
    }
    let (kept, wanted) = (answer.step().unwrap_or(question.kept), question.wanted);
    if kept == wanted {
        t!("watch-ask-from", run = question.run, step = format::count(kept))
    } else {
        t!("watch-ask-nearest", run = question.run, step = format::count(kept), wanted = format::count(wanted))
    }
}

/// How far the answer is, or how it ended.
fn state_words(cx: &PanelCtx<'_>, side: Side, answer: &StepAnswer) -> String {
    let ask = &cx.state.watch.ask;
    let mut words = t!("compare-answer-tokens", n = answer.tokens, tokens = format::count(answer.tokens));
    match answer.stop_reason.as_str() {
        "stop" => words.push_str(t!("compare-ended-itself")),
        "" if ask.working == Some(side) && answer.tokens == 0 => return waiting_words(cx),
        "" if ask.working == Some(side) => {}
        "" if ask.working.is_some() => return t!("compare-answer-waits").to_owned(),
        "" => return t!("compare-answer-stopped").to_owned(),
        _ => words.push_str(t!("compare-ended-length")),
    }
    words
}

/// What the engine does before the first token.
fn waiting_words(cx: &PanelCtx<'_>) -> String {
    let Some((_, running)) = cx.state.jobs.find(|ask| matches!(ask, Ask::Step { .. })) else { return String::new() };
    match running.share() {
        _ if running.stage.is_empty() => t!("compare-answer-coming").to_owned(),
        Some(share) => format!("{} {:.0} %", running.stage, share * 100.0),
        None => running.stage.clone(),
    }
}

fn answer_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, side: Side) {
    let c = cx.c();
    let ask = &cx.state.watch.ask;
    let answer = ask.answer(side);
    let head = rect.with_max_y(rect.top() + 18.0);
    let name = title(cx, side, answer);
    let colour = if ask.working == Some(side) { c.accent } else { c.text2 };
    let state = if answer.problem.is_some() { String::new() } else { state_words(cx, side, answer) };
    let words = if state.is_empty() { name } else { format!("{name}: {state}") };
    text::data(ui, head, Align::Min, &words, Type::Caption, colour);
    let area = rect.with_min_y(head.bottom() + 1.0);
    if let Some(found) = &answer.problem {
        scrolled(ui, area, if side == Side::Base { "no base" } else { "no answer" }, |ui, area| {
            let height = problem::in_card(ui, cx.theme, area.min, area.width(), found, cx.out);
            ui.allocate_rect(Rect::from_min_size(area.min, vec2(area.width(), height)), Sense::hover());
        });
        return;
    }
    let words = match answer.text.trim() {
        "" if answer.is_whole() => t!("watch-empty-answer"),
        words => words,
    };
    if words.is_empty() {
        return;
    }
    let lead = answer.text.len() - answer.text.trim_start().len();
    let marks: Vec<std::ops::Range<usize>> = answer
        .marks
        .iter()
        .filter(|mark| !answer.text.trim().is_empty() && mark.start >= lead && mark.end <= lead + words.len())
        .map(|mark| mark.start - lead..mark.end - lead)
        .collect();
    scrolled(ui, area, if side == Side::Base { "base" } else { "adapted" }, |ui, area| {
        let height = text::marked_block(ui, area.min, area.width(), words, &marks, (c.text, c.accent));
        ui.allocate_rect(Rect::from_min_size(area.min, vec2(area.width(), height)), Sense::hover());
    });
}
