//! What the next run starts with, when that is not the base: an adapter, or a run as of a step.

use crate::commands::UiCommand;
use crate::format;
use crate::rooms::PanelCtx;
use crate::theme::{Type, icons};
use crate::widgets::Button;
use crate::widgets::button::Weight;
use crate::widgets::text;
use egui::{Align, Rect, Ui, pos2, vec2};
use temper_protocol::{RunRef, named};

/// What a run starts with, in words.
fn words(from: &str) -> String {
    match named::run(from) {
        Some((RunRef::Id(run), Some(step))) => t!("setup-start-run", run = run, step = format::count(step)),
        _ => t!("setup-start", from = from),
    }
}

/// Says it in the head of the room, with the way back to the base.
pub fn begun_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let Some(from) = &cx.state.draft.project.train.from else { return };
    let c = cx.c();
    text::icon(ui.painter(), pos2(rect.left() + 8.0, rect.center().y), icons::GIT_BRANCH, 16.0, c.text2);
    let button = Button::new(t!("setup-start-base")).weight(Weight::Link).tooltip(t!("setup-start-base-tip"));
    let width = button.width(ui);
    let place =
        Rect::from_min_max(pos2(rect.left() + 22.0, rect.top()), pos2(rect.right() - width - 14.0, rect.bottom()));
    let said = text::data(ui, place, Align::Min, &words(from), Type::Medium, c.text);
    let end = said.rect.right();
    said.on_hover_text(t!("setup-start-tip"));
    let place = Rect::from_min_size(pos2(end + 14.0, rect.center().y - 10.0), vec2(width, 20.0));
    if button.show(ui, cx.theme, place).clicked() {
        cx.send(UiCommand::ForgetStart);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_and_its_step_are_named() {
        assert_eq!(words("run:7@1200"), "starts with run 7 as of step 1,200");
        assert_eq!(words("run:7"), "starts with run:7");
        assert_eq!(words("adapters/tone"), "starts with adapters/tone");
    }
}
