//! What was found is not what the project had: in what it differs, before it is used.

use super::over;
use super::sheets::{acts, head};
use crate::commands::UiCommand;
use crate::rooms::PanelCtx;
use crate::state::drop::path_of;
use crate::state::relink::RelinkAct;
use crate::theme::{Type, icons};
use crate::widgets::text;
use egui::{Ui, pos2, vec2};
use temper_protocol::Event;

/// Shows the question.
pub fn mismatch_ui(cx: &PanelCtx<'_>, ui: &mut Ui, found: &Event, differences: &[String]) {
    over(cx, ui, t!("relink-other"), vec2(640.0, 260.0), None, |ui, rect| {
        let c = cx.c();
        let body = head(cx, ui, rect, t!("relink-other"));
        let path = path_of(found).map(|path| path.display().to_string()).unwrap_or_default();
        let mut y = body.top();
        y += text::block(ui, pos2(body.left(), y), body.width(), &path, Type::Mono, c.text2) + 8.0;
        for words in differences {
            text::icon(ui.painter(), pos2(body.left() + 8.0, y + 9.0), icons::WARNING, 16.0, c.warn);
            y += text::block(ui, pos2(body.left() + 22.0, y), body.width() - 22.0, words, Type::Body, c.text) + 6.0;
        }
        text::block(ui, pos2(body.left(), y), body.width(), t!("relink-other-lead"), Type::Body, c.text2);
        let buttons = [
            (t!("relink-other-find"), t!("relink-find-tip"), true, true),
            (t!("relink-use"), t!("relink-use-tip"), false, true),
            (t!("common-cancel"), t!("sheets-back"), false, true),
        ];
        match acts(cx, ui, body, &buttons) {
            Some(0) => {
                cx.send(UiCommand::CloseSheet);
                cx.send(UiCommand::ChooseFiles);
            }
            Some(1) => cx.send(UiCommand::Relink(RelinkAct::UseAnyway)),
            Some(_) => cx.send(UiCommand::CloseSheet),
            None => {}
        }
    });
}
