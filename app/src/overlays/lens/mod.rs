//! The token lens: any row of the data as the model sees it, token by token.
//!
//! Place in the data flow: the sheet draws what [`crate::state::lens::Lens`] holds and says which rows there is room for;
//! `update` asks the engine for them. The list has as many rows as the data, of which only those in view are laid out:
//! a million scroll like twenty. Its place is a row's number and not a distance, which would run out of digits.

mod areas;
mod edit;
mod list;
mod marks;
mod row;

use super::over_room;
use crate::commands::UiCommand;
use crate::format;
use crate::rooms::PanelCtx;
use crate::state::Ask;
use crate::state::lens::LensAct;
use crate::theme::{Type, icons};
use crate::widgets::button::Weight;
use crate::widgets::field::{self, Field};
use crate::widgets::{Button, panel, problem, text};
use egui::{Rect, Ui, pos2, vec2};

/// Shows the lens.
pub fn lens_ui(cx: &PanelCtx<'_>, ui: &mut Ui) {
    over_room(cx, ui, t!("commands-token-lens"), |ui, rect| {
        let c = cx.c();
        let head = Rect::from_min_size(rect.min + vec2(16.0, 8.0), vec2(rect.width() - 32.0, 32.0));
        let close = Rect::from_min_size(pos2(head.right() - 24.0, head.top() + 2.0), vec2(28.0, 28.0));
        if Button::icon_only(icons::X, t!("common-close")).show(ui, cx.theme, close).clicked() {
            cx.send(UiCommand::CloseSheet);
        }
        let words = [
            text::Piece(t!("commands-token-lens"), Type::Room, c.text),
            text::Piece(t!("lens-lead"), Type::Body, c.text2),
        ];
        text::pieces(ui, head.with_max_x(close.left() - 12.0), &words);
        let tools = Rect::from_min_size(pos2(head.left(), head.bottom() + 4.0), vec2(head.width(), 26.0));
        tools_ui(cx, ui, tools);
        let body = Rect::from_min_max(pos2(head.left(), tools.bottom() + 8.0), rect.max - vec2(16.0, 12.0));
        if let Some(found) = &cx.state.lens.problem {
            let used = problem::in_card(ui, cx.theme, body.min, body.width().min(640.0), found, cx.out);
            let button = Button::new(t!("lens-try")).icon(icons::ARROW_CLOCKWISE).tooltip(t!("lens-try-tip"));
            let place = Rect::from_min_size(pos2(body.left(), body.top() + used + 8.0), vec2(button.width(ui), 28.0));
            if button.show(ui, cx.theme, place).clicked() {
                cx.send(UiCommand::Lens(LensAct::Open(None)));
            }
            return;
        }
        let middle = (body.top() + body.height() * 0.56).round();
        list::list_ui(cx, ui, body.with_max_y(middle));
        panel::divider(ui, cx.theme, body.shrink2(vec2(panel::MARGIN, 0.0)), middle + 5.0);
        row::row_ui(cx, ui, body.with_min_y(middle + 12.0));
    });
}

/// The field for a row's number, how many rows there are, and what the marks mean.
fn tools_ui(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect) {
    let c = cx.c();
    let lens = &cx.state.lens;
    let field = Rect::from_min_size(row.min, vec2(170.0, 26.0));
    let wanted = Field {
        hint: t!("lens-go-hint"),
        icon: Some(icons::MAGNIFYING_GLASS),
        tooltip: t!("lens-go-tip"),
        ..Field::new(t!("lens-go"), "")
    };
    let typed = field::show(ui, cx.theme, field, wanted);
    if let Some(text) = typed.committed.filter(|_| typed.entered) {
        cx.send(UiCommand::Lens(LensAct::GoTo(text)));
    }
    let legend = marks::legend(cx, ui, row);
    let looking = cx.state.jobs.find(|ask| *ask == Ask::Index);
    let rows = format::count(lens.known);
    let words = match looking {
        Some((_, running)) => {
            let share = format::percent(f64::from(running.share().unwrap_or(0.0)));
            t!("lens-so-far", rows = rows, share = share)
        }
        None if lens.shortened => t!("lens-shortened", rows = rows),
        None if lens.complete => t!("lens-count", n = lens.known, rows = rows),
        None => t!("lens-stopped", rows = rows),
    };
    let place = Rect::from_min_max(pos2(field.right() + 12.0, row.top()), pos2(legend - 12.0, row.bottom()));
    let end = text::pieces(ui, place, &[text::Piece(&words, Type::Body, c.text2)]);
    if looking.is_some() {
        let button = Button::new(t!("lens-stop")).weight(Weight::Link).tooltip(t!("lens-stop-tip"));
        let place = Rect::from_min_size(pos2(end + 12.0, row.center().y - 10.0), vec2(button.width(ui), 20.0));
        if place.right() < legend && button.show(ui, cx.theme, place).clicked() {
            cx.send(UiCommand::Lens(LensAct::StopLooking));
        }
    }
}
