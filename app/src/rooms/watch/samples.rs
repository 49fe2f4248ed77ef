//! Sample answers: the base's beside the adapted model's, one prompt at a time.

use super::step_ask;
use crate::commands::{Id, UiCommand};
use crate::format;
use crate::reader::RunView;
use crate::rooms::PanelCtx;
use crate::state::Room;
use crate::theme::{Type, icons};
use crate::widgets::text;
use crate::widgets::{Button, empty, panel};
use egui::{Align, Rect, Stroke, Ui, pos2, vec2};

/// Shows the panel.
pub fn samples_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, view: &RunView) {
    if cx.state.watch.ask.open {
        step_ask::step_ask_ui(cx, ui, rect, view);
        return;
    }
    let c = cx.c();
    let count = view.samples.len();
    let index = cx.state.watch.prompt.min(count.saturating_sub(1));
    let most = view.settings.as_ref().map_or(0, |settings| settings.samples.max_tokens);
    let note =
        if count == 0 { String::new() } else { t!("watch-prompt-of", number = index + 1, count = count, most = most) };
    let (head, inside) = panel::titled(ui, cx.theme, rect, t!("watch-samples"), &note);
    let head = open_button(cx, ui, head);
    let Some(sample) = view.samples.get(index) else {
        nothing(cx, ui, inside, view);
        return;
    };
    let live = cx.state.live_run().is_some_and(|row| row.run == view.row.run);
    let mut right = head.right();
    if live {
        let button = cx.button(ui, Id::SampleNow).small();
        let width = button.width(ui);
        let place = Rect::from_min_size(pos2(right - width, head.top() + 4.0), vec2(width, 20.0));
        cx.press(ui, Id::SampleNow, button, place);
        right = place.left() - 6.0;
    }
    if count > 1 {
        let next = Rect::from_min_size(pos2(right - 20.0, head.top() + 4.0), vec2(20.0, 20.0));
        if Button::icon_only(icons::CARET_RIGHT, t!("watch-next-prompt")).show(ui, cx.theme, next).clicked() {
            cx.send(UiCommand::Prompt((index + 1) % count));
        }
    }
    let quoted = t!("watch-quoted", prompt = sample.prompt.trim());
    text::data(ui, inside.with_max_y(inside.top() + 20.0), Align::Min, &quoted, Type::Strong, c.text);
    let top = inside.top() + 26.0;
    ui.painter().hline(inside.x_range(), top + 0.5, Stroke::new(1.0, c.line));
    let middle = inside.center().x.round();
    ui.painter().vline(middle + 0.5, top + 8.0..=inside.bottom(), Stroke::new(1.0, c.line));
    let at = cx.state.watch.scrub.unwrap_or(u64::MAX);
    let answer = sample.answers.iter().rev().find(|(step, _)| *step <= at);
    let answer_title = answer.map_or_else(
        || t!("watch-adapted").to_owned(),
        |(step, _)| t!("watch-step-large", step = format::count(*step)),
    );
    let missing = t!("watch-not-answered");
    let base = sample.base.as_deref().unwrap_or(missing);
    let adapted = answer.map_or(missing, |(_, text)| text.as_str());
    for (left, right, title, words, colour) in [
        (inside.left(), middle - 10.0, t!("watch-base"), base, c.text2),
        (middle + 10.0, inside.right(), answer_title.as_str(), adapted, c.text),
    ] {
        let head = Rect::from_min_max(pos2(left, top + 6.0), pos2(right, top + 22.0));
        text::line(ui, head, Align::Min, title, Type::Caption, c.text2);
        let room = inside.bottom() - head.bottom() - 2.0;
        let lines = (room / 18.0).floor().max(1.0) as usize;
        let words = if words.trim().is_empty() { t!("watch-empty-answer") } else { words.trim() };
        text::clipped_block(ui, pos2(left, head.bottom() + 1.0), right - left, lines, words, Type::Body, colour);
    }
}

/// The way to prompts of one's own, at the right end of the head; gives what is left of it.
fn open_button(cx: &PanelCtx<'_>, ui: &mut Ui, head: Rect) -> Rect {
    if cx.compact && cx.state.is_training() {
        // There is no room beside "Ask now", and nothing would answer; the palette has it.
        return head;
    }
    let entry = crate::commands::entry(Id::StepAskOpen);
    let button = if cx.compact {
        Button::icon_only(entry.icon, entry.name.get()).tooltip(entry.help.get())
    } else {
        cx.button(ui, Id::StepAskOpen).small().keys(None)
    };
    let width = if cx.compact { 20.0 } else { button.width(ui) };
    let place = Rect::from_min_size(pos2(head.right() - width, head.top() + 4.0), vec2(width, 20.0));
    cx.press(ui, Id::StepAskOpen, button, place);
    head.with_max_x(place.left() - 6.0)
}

fn nothing(cx: &PanelCtx<'_>, ui: &mut Ui, inside: Rect, view: &RunView) {
    let asked = view.settings.as_ref().is_some_and(|settings| !settings.samples.prompts.is_empty());
    if asked {
        let words = t!("watch-answers-lead");
        empty::show(ui, cx.theme, inside, icons::CHAT_TEXT, t!("watch-no-answers"), words, &[]);
        return;
    }
    let acts =
        [empty::Act { label: t!("watch-write-prompt"), icon: icons::PLUS, tooltip: t!("watch-write-prompt-tip") }];
    let words = t!("watch-no-prompts-lead");
    if empty::show(ui, cx.theme, inside, icons::CHAT_TEXT, t!("watch-no-prompts"), words, &acts).is_some() {
        cx.send(UiCommand::Go(Room::Setup));
    }
}
