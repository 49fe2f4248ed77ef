//! The playground: one prompt, the answers of the base and of the chosen runs side by side, where they differ from the
//! first, and votes about answers whose names are hidden.

use super::{colour_of, explain};
use crate::commands::{Id, UiCommand};
use crate::format;
use crate::rooms::setup::form;
use crate::rooms::{PanelCtx, scrolled};
use crate::state::Ask;
use crate::state::answers::{Answer, HOTTEST, MOST_ANSWERS, Tally, Who};
use crate::state::compare::CompareAct;
use crate::theme::{Type, icons};
use crate::update::{ask_hindrance, playground_prompt};
use crate::widgets::button::Weight;
use crate::widgets::field::{self, Field};
use crate::widgets::rows::Rows;
use crate::widgets::{Button, choice, panel, text};
use egui::{Align, Rect, Response, Sense, Ui, pos2, vec2};

const GAP: f32 = 8.0;
/// Height of the row of votes.
const VOTES: f32 = 44.0;

/// The name of who answers.
fn name_of(who: Who) -> String {
    who.map_or_else(|| t!("compare-base").to_owned(), |run| t!("common-run", run = run))
}

/// The name of a hidden answer: A, B, C.
fn letter(place: usize) -> String {
    t!("compare-answer", letter = char::from(b'A' + (place % 26) as u8).to_string())
}

/// Shows the panel.
pub fn ask_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let answers = &cx.state.compare.answers;
    let rect = rect.with_max_y(rect.bottom().min(rect.top() + wanted_height(cx, ui, rect.width())));
    let note = if cx.compact { String::new() } else { sampled(cx) };
    let (head, inside) = panel::titled(ui, cx.theme, rect, t!("compare-ask"), &note);
    switches(cx, ui, head);
    let row = Rect::from_min_size(inside.min + vec2(0.0, 2.0), vec2(inside.width(), 28.0));
    prompt_row(cx, ui, row);
    let row = Rect::from_min_size(pos2(row.left(), row.bottom() + 4.0), vec2(row.width(), 24.0));
    let left = sampling(cx, ui, row);
    who(cx, ui, left);
    let body = inside.with_min_y(row.bottom() + 6.0);
    let voting = answers.hides_names() || !answers.votes.is_empty();
    let columns = if voting { body.with_max_y(body.bottom() - VOTES) } else { body };
    if answers.columns.is_empty() {
        explain(cx, ui, columns, icons::CHAT_TEXT, t!("compare-no-answers"), t!("compare-no-answers-lead"));
    }
    let count = answers.columns.len() as f32;
    let width = ((columns.width() - GAP * (count - 1.0)) / count).floor();
    for (place, answer) in answers.columns.iter().enumerate() {
        let left = columns.left() + place as f32 * (width + GAP);
        let column = Rect::from_min_size(pos2(left, columns.top()), vec2(width, columns.height()));
        column_ui(cx, ui, column, place, answer);
    }
    if voting {
        votes(cx, ui, body.with_min_y(columns.bottom() + 4.0));
    }
}

/// Height of prompt, choices and the margins of the panel around the answers.
const AROUND: f32 = 28.0 + 4.0 + 24.0 + 6.0 + 14.0;
/// Least height of an answer's column, and what is in it beside the text.
const LEAST_COLUMN: f32 = 132.0;
const COLUMN: f32 = 62.0;
/// Room for the button under an answer that can be voted for.
const VOTE: f32 = 34.0;

/// The panel is as high as the longest answer asks for, so that short ones leave no empty columns. Answers only grow while
/// they come.
fn wanted_height(cx: &PanelCtx<'_>, ui: &Ui, width: f32) -> f32 {
    let answers = &cx.state.compare.answers;
    if answers.columns.is_empty() {
        return f32::INFINITY;
    }
    let count = answers.columns.len() as f32;
    let column = ((width - 24.0 - GAP * (count - 1.0)) / count).floor();
    let text = |answer: &Answer| text::block_height(ui, column - 24.0, &answer.text, Type::Body);
    let longest = answers.columns.iter().map(text).fold(0.0, f32::max);
    let vote = if answers.can_vote() { VOTE } else { 0.0 };
    let votes = if answers.hides_names() || !answers.votes.is_empty() { VOTES } else { 0.0 };
    panel::HEAD + AROUND + (COLUMN + longest + vote).max(LEAST_COLUMN) + votes
}

/// What is the same for all answers.
fn sampled(cx: &PanelCtx<'_>) -> String {
    let sampling = cx.state.compare.answers.sampling;
    let seed = sampling.seed.to_string();
    if sampling.temperature > 0.0 {
        t!("compare-same-warm", seed = seed, temperature = format!("{:.2}", sampling.temperature))
    } else {
        t!("compare-same-greedy").to_owned()
    }
}

/// Seed and temperature at the right; gives what is left of the row.
fn sampling(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect) -> Rect {
    let sampling = cx.state.compare.answers.sampling;
    let mut right = row.right();
    let mut place = |ui: &mut Ui, words: &str, width: f32| {
        let field = Rect::from_min_size(pos2(right - width, row.top() + 1.0), vec2(width, 22.0));
        let size = text::width(ui, words, Type::Body);
        let label = Rect::from_min_max(pos2(field.left() - 6.0 - size, row.top()), pos2(field.left(), row.bottom()));
        text::paint(ui.painter(), label, Align::Min, words, Type::Body, cx.c().text2);
        right = label.left() - 12.0;
        field
    };
    let value = format!("{:.2}", sampling.temperature);
    let field =
        Field { figure: true, tooltip: t!("compare-temperature-tip"), ..Field::new(t!("compare-temperature"), &value) };
    let rect = place(ui, t!("compare-temperature"), 52.0);
    // There is no room for a sentence: the border says that a text was refused, and the tooltip why.
    let (typed, _) = form::checked(cx, ui, rect, field, form::number(0.0, HOTTEST));
    if let Some(temperature) = typed {
        cx.send(UiCommand::Compare(CompareAct::Temperature(temperature)));
    }
    let value = sampling.seed.to_string();
    let field = Field { figure: true, tooltip: t!("compare-seed-tip"), ..Field::new(t!("compare-seed"), &value) };
    let rect = place(ui, t!("compare-seed"), 64.0);
    let (typed, _) = form::checked(cx, ui, rect, field, form::integer(0, u64::MAX));
    if let Some(seed) = typed {
        cx.send(UiCommand::Compare(CompareAct::Seed(seed)));
    }
    row.with_max_x(right)
}

/// Who answers: the base and each chosen run can be left out, so that another one has its place.
fn who(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect) {
    let asked = cx.state.answering();
    let mut x = row.left();
    for who in cx.state.could_answer() {
        let name = name_of(who);
        let width = text::width(ui, &name, Type::Body) + 24.0;
        let place = Rect::from_min_size(pos2(x, row.top()), vec2(width, row.height()));
        if place.right() > row.right() {
            return;
        }
        let on = asked.contains(&who);
        let label = t!("compare-asked", name = name);
        let response: Response = choice::check_mark(ui, cx.theme, place, &label, on);
        let words = place.with_min_x(place.left() + 20.0);
        text::paint(ui.painter(), words, Align::Min, &name, Type::Body, if on { cx.c().text } else { cx.c().text2 });
        if response.on_hover_text(t!("compare-asked-tip", most = MOST_ANSWERS)).clicked() {
            cx.send(UiCommand::Compare(CompareAct::Answering(who, !on)));
        }
        x = place.right() + 14.0;
    }
}

fn switches(cx: &PanelCtx<'_>, ui: &mut Ui, head: Rect) {
    let answers = &cx.state.compare.answers;
    let mut right = head.right();
    let all = [
        (t!("compare-blind"), answers.blind, CompareAct::Blind(!answers.blind)),
        (t!("compare-template"), !answers.plain, CompareAct::Chat(answers.plain)),
    ];
    for (words, on, act) in all {
        let width = text::width(ui, words, Type::Body) + 26.0;
        let place = Rect::from_min_size(pos2(right - width, head.top() + 4.0), vec2(width, 20.0));
        if place.left() >= head.left() && choice::check(ui, cx.theme, place, words, on) {
            cx.send(UiCommand::Compare(act));
        }
        right = place.left() - 16.0;
    }
}

fn prompt_row(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect) {
    let working = cx.state.jobs.find(|ask| matches!(ask, Ask::Answer(_)));
    let (width, request) = match working {
        Some((request, _)) => (Button::new(t!("compare-stop")).icon(icons::STOP).width(ui), Some(request)),
        None => (cx.button(ui, Id::AskAll).width(ui), None),
    };
    let place = row.with_min_x(row.right() - width);
    let prompt = playground_prompt(cx.state);
    let field = Field {
        hint: t!("compare-prompt-hint"),
        tooltip: t!("compare-prompt-tip"),
        ..Field::new(t!("compare-prompt"), &prompt)
    };
    let typed = field::show(ui, cx.theme, row.with_max_x(place.left() - GAP), field);
    // While it is typed already, so that the button beside it knows whether there is anything to ask.
    if let Some(text) = typed.changed.or(typed.committed) {
        cx.send(UiCommand::Compare(CompareAct::Prompt(text)));
    }
    if typed.entered {
        cx.send(UiCommand::Compare(CompareAct::AskAll));
    }
    match request {
        Some(request) => {
            let button = Button::new(t!("compare-stop")).icon(icons::STOP).tooltip(t!("compare-stop-tip"));
            if button.show(ui, cx.theme, place).clicked() {
                cx.send(UiCommand::Cancel(request));
            }
        }
        None => {
            let hindrance = ask_hindrance(cx.state);
            let button = cx.button(ui, Id::AskAll).weight(Weight::Primary).enabled(hindrance.is_none());
            cx.press(ui, Id::AskAll, button, place);
        }
    }
}

/// How long the answer is, how fast it came, and why it ended.
fn facts(answer: &Answer, hidden: bool) -> String {
    let tokens = format::count(answer.tokens);
    let mut words = t!("compare-answer-tokens", n = answer.tokens, tokens = tokens);
    // The speed of the base could give it away.
    if !hidden && answer.tokens > 0 {
        words.push_str(&t!("compare-answer-speed", speed = format::speed(answer.tokens_per_sec)));
    }
    match answer.stop_reason.as_str() {
        "" => {}
        "stop" => words.push_str(t!("compare-ended-itself")),
        _ => words.push_str(t!("compare-ended-length")),
    }
    words
}

fn column_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, place: usize, answer: &Answer) {
    let c = cx.c();
    let answers = &cx.state.compare.answers;
    ui.painter().rect_filled(rect, 4.0, c.raised);
    let colour = match answer.who {
        Some(run) if !answers.hides_names() => colour_of(cx.theme, run),
        _ => c.ctl,
    };
    ui.painter().rect_filled(rect.with_max_x(rect.left() + 3.0), 0.0, colour);
    let inside = Rect::from_min_max(rect.min + vec2(12.0, 4.0), rect.max - vec2(12.0, 6.0));
    let mut lines = Rows::new(inside);
    let name = if answers.hides_names() { letter(place) } else { name_of(answer.who) };
    text::data(ui, lines.next(22.0), Align::Min, &name, Type::Strong, c.text);
    let working = answers.working == Some(place);
    let state = match &answer.problem {
        Some(problem) => t!("compare-no-answer", why = problem),
        None if answer.tokens > 0 || !answer.stop_reason.is_empty() => facts(answer, answers.hides_names()),
        None if working => t!("compare-answer-coming").to_owned(),
        None if answers.working.is_some() => t!("compare-answer-waits").to_owned(),
        None => t!("compare-answer-stopped").to_owned(),
    };
    text::data(ui, lines.next(18.0), Align::Min, &state, Type::Caption, if working { c.accent } else { c.text2 });
    lines.gap(4.0);
    let mut area = lines.rest();
    if answers.can_vote() {
        let button = Button::new(t!("compare-best")).icon(icons::CHECK).tooltip(t!("compare-best-tip"));
        let label = t!("compare-vote-for", name = name);
        let row = Rect::from_min_size(pos2(area.left(), area.bottom() - 28.0), vec2(button.width(ui), 28.0));
        if button.name(&label).show(ui, cx.theme, row).clicked() {
            cx.send(UiCommand::Compare(CompareAct::Vote(Some(place))));
        }
        area.set_bottom(row.top() - 6.0);
    }
    if answer.text.is_empty() {
        return;
    }
    let mark = if answer.who.is_some() && !answers.hides_names() { colour } else { c.text2 };
    scrolled(ui, area, &format!("answer {place}"), |ui, area| {
        let height = text::marked_block(ui, area.min, area.width(), &answer.text, &answer.marks, (c.text, mark));
        ui.allocate_rect(Rect::from_min_size(area.min, vec2(area.width(), height)), Sense::hover());
    });
}

/// One pair in a sentence.
fn tally_words(tally: &Tally) -> String {
    let (a, b) = (name_of(tally.a), name_of(tally.b));
    let p = format::p_value(tally.p);
    t!("compare-tally", b = b, a = a, forb = tally.for_b, fora = tally.for_a, p = p)
}

/// What to do while the names are hidden, else the count of the votes.
fn votes(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let answers = &cx.state.compare.answers;
    let row = rect.with_max_y(rect.top() + 20.0);
    let label = if answers.can_vote() { t!("compare-none-best") } else { t!("compare-forget-votes") };
    let tip = if answers.can_vote() { t!("compare-none-best-tip") } else { t!("compare-forget-votes-tip") };
    let button =
        Button::new(label).weight(Weight::Link).tooltip(tip).enabled(answers.can_vote() || !answers.hides_names());
    let width = button.width(ui);
    if button.show(ui, cx.theme, row.with_min_x(row.right() - width)).clicked() {
        let act = if answers.can_vote() { CompareAct::Vote(None) } else { CompareAct::ForgetVotes };
        cx.send(UiCommand::Compare(act));
    }
    let count = answers.votes.len();
    let words = if answers.hides_names() {
        t!("compare-vote-lead").to_owned()
    } else {
        t!("compare-votes", n = count as u64, count = count)
    };
    text::data(ui, row.with_max_x(row.right() - width - 12.0), Align::Min, &words, Type::Body, c.text2);
    // While names are hidden, the count would tell who is who.
    if !answers.hides_names() {
        let pairs: Vec<String> = answers.tallies().iter().map(tally_words).collect();
        let second = Rect::from_min_size(pos2(rect.left(), row.bottom()), vec2(rect.width(), 18.0));
        text::data(ui, second, Align::Min, &pairs.join("; "), Type::Body, c.text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_says_how_often_and_how_sure() {
        let tally = Tally { a: None, b: Some(7), for_a: 1, for_b: 7, p: 0.070_312_5 };
        assert_eq!(tally_words(&tally), "Run 7 over base model 7 to 1 (sign test p = 0.070)");
        let sure = Tally { for_a: 0, for_b: 14, p: 0.000_122, ..tally };
        assert!(tally_words(&sure).ends_with("14 to 0 (sign test p < 0.001)"), "a sure one is not p = 0.000");
        assert_eq!(letter(1), "Answer B");
    }

    #[test]
    fn the_speed_of_a_hidden_answer_is_not_told() {
        let answer = Answer { tokens: 24, tokens_per_sec: 61.0, stop_reason: "stop".to_owned(), ..Answer::default() };
        assert_eq!(facts(&answer, false), "24 tokens, 61/s, stopped by itself");
        assert_eq!(facts(&answer, true), "24 tokens, stopped by itself");
    }
}
