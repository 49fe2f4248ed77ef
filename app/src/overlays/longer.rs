//! The question how many steps a run shall have in all.

use super::over;
use super::sheets::{acts, head};
use crate::commands::UiCommand;
use crate::format;
use crate::rooms::PanelCtx;
use crate::theme::Type;
use crate::update::longer_steps;
use crate::widgets::field::{self, Field};
use crate::widgets::text;
use egui::{Align, Rect, Ui, pos2, vec2};

/// Shows the question.
pub fn longer_ui(cx: &PanelCtx<'_>, ui: &mut Ui, run: u64, typed: &str) {
    let Some(row) = cx.state.runs.runs.iter().find(|row| row.run == run) else { return };
    over(cx, ui, t!("commands-extend"), vec2(620.0, 244.0), None, |ui, rect| {
        let c = cx.c();
        let body = head(cx, ui, rect, &t!("sheets-longer", run = run));
        let done = format::count(row.steps);
        let mut y = body.top();
        for words in [t!("sheets-longer-lead", n = row.steps, done = done), t!("sheets-longer-rate").to_owned()] {
            y += text::block(ui, pos2(body.left(), y), body.width(), &words, Type::Body, c.text2) + 6.0;
        }
        let name = t!("sheets-longer-steps");
        let label = Rect::from_min_size(pos2(body.left(), y + 2.0), vec2(120.0, 28.0));
        let label = text::line(ui, label, Align::Min, name, Type::Body, c.text2);
        let place = Rect::from_min_size(pos2(label.rect.right() + 12.0, y + 2.0), vec2(100.0, 28.0));
        let more = longer_steps(cx.state, run, typed);
        let wrong = t!("sheets-longer-more", least = format::count(row.steps.max(row.max_steps) + 1));
        let entry = Field {
            figure: true,
            wrong: more.is_none().then_some(wrong.as_str()),
            tooltip: t!("sheets-longer-tip"),
            ..Field::new(name, typed)
        };
        let field = field::show(ui, cx.theme, place, entry);
        if let Some(text) = field.changed.clone() {
            cx.send(UiCommand::LongerText(text));
        }
        let note = Rect::from_min_max(pos2(place.right() + 12.0, y + 2.0), pos2(body.right(), y + 30.0));
        match more {
            Some(steps) => {
                let words = price(cx, run, steps - row.steps);
                text::data(ui, note, Align::Min, &words, Type::Body, c.text2);
            }
            None => {
                text::data(ui, note, Align::Min, &wrong, Type::Body, c.err);
            }
        }
        let buttons = [
            (t!("sheets-longer-go"), t!("sheets-longer-go-tip"), true, more.is_some()),
            (t!("common-cancel"), t!("sheets-back"), false, true),
        ];
        match acts(cx, ui, body, &buttons) {
            Some(0) => cx.send(UiCommand::ConfirmLonger),
            Some(_) => cx.send(UiCommand::CloseSheet),
            None if field.entered && more.is_some() => cx.send(UiCommand::ConfirmLonger),
            None => {}
        }
    });
}

/// How many more, and how long they take at the run's own speed.
fn price(cx: &PanelCtx<'_>, run: u64, more: u64) -> String {
    let mut words = t!("sheets-longer-price", n = more, more = format::count(more));
    let view = cx.state.runs.view.as_ref().filter(|view| view.row.run == run);
    if let Some(secs) = view.map(|view| view.step_secs).filter(|secs| secs.is_finite() && *secs > 0.0) {
        words.push_str(&format!(", {}", format::duration(secs * more as f64)));
    }
    words
}
