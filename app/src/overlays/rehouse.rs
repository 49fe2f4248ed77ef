//! The question where the project shall be copied or moved to.

use super::over;
use super::sheets::{acts, head};
use crate::commands::UiCommand;
use crate::reader::words::sentence_case;
use crate::rooms::PanelCtx;
use crate::state::rehouse::{Rehouse, RehouseAct};
use crate::theme::{Type, icons};
use crate::update::rehouse_place;
use crate::widgets::field::{self, Field};
use crate::widgets::{bar, choice, text};
use egui::{Align, Rect, Ui, pos2, vec2};

/// Shows the question.
pub fn rehouse_ui(cx: &PanelCtx<'_>, ui: &mut Ui, asked: &Rehouse) {
    let title = if asked.moves { t!("rehouse-move") } else { t!("rehouse-duplicate") };
    over(cx, ui, title, vec2(640.0, 290.0), None, |ui, rect| {
        let c = cx.c();
        let body = head(cx, ui, rect, title);
        let words = if asked.moves { t!("rehouse-move-lead") } else { t!("rehouse-duplicate-lead") };
        let mut y = body.top() + text::block(ui, body.min, body.width(), words, Type::Body, c.text2) + 10.0;
        let row = Rect::from_min_size(pos2(body.left(), y), vec2(body.width(), 28.0));
        let place = rehouse_place(cx.state, &asked.folder);
        let ready = place.is_some() && !cx.state.rehousing;
        let entry = Field { tooltip: t!("rehouse-folder-tip"), ..Field::new(t!("rehouse-folder"), &asked.folder) };
        let typed = field::show(ui, cx.theme, row, entry);
        if let Some(folder) = typed.changed.clone() {
            cx.send(UiCommand::Rehouse(RehouseAct::Folder(folder)));
        }
        y = row.bottom() + 8.0;
        if !asked.moves {
            let row = Rect::from_min_size(pos2(body.left(), y), vec2(body.width(), 22.0));
            if choice::check(ui, cx.theme, row, t!("rehouse-with-runs"), asked.with_runs) {
                cx.send(UiCommand::Rehouse(RehouseAct::WithRuns(!asked.with_runs)));
            }
            y = row.bottom() + 6.0;
        }
        below(cx, ui, Rect::from_min_max(pos2(body.left(), y), body.max), asked, place.is_none());
        let (act, tip) = if asked.moves {
            (t!("rehouse-move-now"), t!("rehouse-move-tip"))
        } else {
            (t!("rehouse-duplicate-now"), t!("rehouse-duplicate-tip"))
        };
        let buttons = [(act, tip, true, ready), (t!("common-cancel"), t!("sheets-back"), false, !cx.state.rehousing)];
        match acts(cx, ui, body, &buttons) {
            Some(0) => cx.send(UiCommand::Rehouse(RehouseAct::Confirm)),
            Some(_) => cx.send(UiCommand::CloseSheet),
            None if typed.entered && ready => cx.send(UiCommand::Rehouse(RehouseAct::Confirm)),
            None => {}
        }
    });
}

/// What stands below the field: the work, why it failed, or what is missing.
fn below(cx: &PanelCtx<'_>, ui: &mut Ui, area: Rect, asked: &Rehouse, unusable: bool) {
    let c = cx.c();
    if cx.state.rehousing {
        let words = if asked.moves { t!("rehouse-moving") } else { t!("rehouse-copying") };
        text::line(ui, area.with_max_y(area.top() + 18.0), Align::Min, words, Type::Body, c.text2);
        let track = Rect::from_min_size(pos2(area.left(), area.top() + 24.0), vec2(area.width(), 4.0));
        bar::progress(ui, cx.theme, track, words, None, c.accent);
    } else if let Some(problem) = &asked.problem {
        text::icon(ui.painter(), pos2(area.left() + 8.0, area.top() + 9.0), icons::X_CIRCLE, 16.0, c.err);
        let words = format!("{}. {}.", sentence_case(&problem.what), sentence_case(&problem.action));
        text::block(ui, pos2(area.left() + 22.0, area.top()), area.width() - 22.0, &words, Type::Body, c.text);
    } else if unusable {
        text::data(ui, area.with_max_y(area.top() + 18.0), Align::Min, t!("rehouse-other"), Type::Body, c.text2);
    }
}
