//! The model card of the next export, to read and to change.

use super::over;
use super::sheets::{acts, head};
use crate::commands::UiCommand;
use crate::rooms::{PanelCtx, scrolled};
use crate::state::card::CardAct;
use crate::theme::Type;
use crate::widgets::{field, text};
use egui::{Rect, Ui, pos2, vec2};

/// Shows the card.
pub fn card_ui(cx: &PanelCtx<'_>, ui: &mut Ui, words: &str) {
    over(cx, ui, t!("card-title"), vec2(760.0, 640.0), None, |ui, rect| {
        let c = cx.c();
        let body = head(cx, ui, rect, t!("card-title"));
        let height = text::block(ui, body.min, body.width(), t!("card-lead"), Type::Body, c.text2);
        let paper =
            Rect::from_min_max(pos2(body.left(), body.top() + height + 8.0), pos2(body.right(), body.bottom() - 42.0));
        ui.painter().rect_filled(paper, 4.0, c.panel);
        scrolled(ui, paper.shrink2(vec2(12.0, 8.0)), "card", |ui, area| {
            let typed = field::area(ui, cx.theme, area, (t!("card-text"), t!("card-text-tip")), words);
            if let Some(text) = typed {
                cx.send(UiCommand::Card(CardAct::Text(text)));
            }
        });
        let buttons = [
            (t!("card-keep"), t!("card-keep-tip"), true, !words.trim().is_empty()),
            (t!("card-again"), t!("card-again-tip"), false, true),
            (t!("common-cancel"), t!("sheets-back"), false, true),
        ];
        match acts(cx, ui, body, &buttons) {
            Some(0) => cx.send(UiCommand::Card(CardAct::Keep)),
            Some(1) => cx.send(UiCommand::Card(CardAct::FromRun)),
            Some(_) => cx.send(UiCommand::CloseSheet),
            None => {}
        }
    });
}
