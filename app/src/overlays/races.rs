//! The races of methods that are kept with the project, newest first, with a way to look at each.

use super::over;
use super::sheets::head;
use crate::commands::UiCommand;
use crate::format;
use crate::rooms::watch::race::title_of;
use crate::rooms::{PanelCtx, scrolled};
use crate::state::race::{self, RaceAct};
use crate::theme::{Icon, Type, icons};
use crate::widgets::Button;
use crate::widgets::button::Weight;
use crate::widgets::text::{self, Piece};
use egui::{Align, Color32, Rect, Sense, Stroke, Ui, pos2, vec2};
use temper_protocol::race_record::{RaceEnd, RaceRecord};

/// Height of a race: a line of facts, a line of methods.
const ROW: f32 = 46.0;

/// Shows the list.
pub fn races_ui(cx: &PanelCtx<'_>, ui: &mut Ui) {
    let kept = &cx.state.races.kept;
    let height = (116.0 + ROW * kept.len() as f32).clamp(180.0, 520.0);
    over(cx, ui, t!("race-past"), vec2(640.0, height), None, |ui, rect| {
        let c = cx.c();
        let body = head(cx, ui, rect, t!("race-past"));
        let words = if kept.is_empty() { t!("race-past-empty") } else { t!("race-past-lead") };
        let lead = text::block(ui, body.min, body.width(), words, Type::Body, c.text2);
        let list = body.with_min_y(body.top() + lead + 10.0);
        scrolled(ui, list, "races", |ui, area| {
            let whole = Rect::from_min_size(area.min, vec2(area.width(), ROW * kept.len() as f32));
            ui.allocate_rect(whole, Sense::hover());
            for (place, record) in kept.iter().enumerate() {
                let top = area.top() + ROW * place as f32;
                row_ui(cx, ui, Rect::from_min_size(pos2(area.left(), top), vec2(area.width(), ROW)), record);
            }
        });
    });
}

fn row_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, record: &RaceRecord) {
    let c = cx.c();
    ui.painter().hline(rect.x_range(), rect.top() + 0.5, Stroke::new(1.0, c.line));
    let number = record.number;
    let name = t!("race-open-named", number = number);
    let button = Button::new(t!("sheets-open")).weight(Weight::Link).name(&name).tooltip(t!("race-open-tip"));
    let width = button.width(ui);
    let at = Rect::from_min_size(pos2(rect.right() - width, rect.top() + 6.0), vec2(width, 22.0));
    if button.show(ui, cx.theme, at).clicked() {
        cx.send(UiCommand::Race(RaceAct::Open(number)));
    }
    let (icon, words, tint) = ended(cx, record);
    let first = Rect::from_min_max(rect.min + vec2(0.0, 4.0), pos2(at.left() - 12.0, rect.top() + 24.0));
    text::icon(ui.painter(), pos2(first.left() + 8.0, first.center().y), icon, 15.0, tint);
    let title = t!("race-name", number = number);
    let when = format::ago(record.started_millis, cx.state.clock.now_millis());
    let facts =
        [Piece(&title, Type::Strong, c.text), Piece(&words, Type::Body, c.text), Piece(&when, Type::Body, c.text2)];
    text::pieces(ui, first.with_min_x(first.left() + 24.0), &facts);
    let methods: Vec<&str> = record.racers.iter().map(|racer| title_of(cx.state, &racer.method)).collect();
    let steps = format::count(record.steps);
    let second = t!("race-past-facts", n = record.steps, methods = methods.join(", "), steps = steps);
    let line = Rect::from_min_max(pos2(first.left() + 24.0, first.bottom()), pos2(rect.right(), rect.bottom() - 4.0));
    text::data(ui, line, Align::Min, &second, Type::Body, c.text2);
}

/// How a race ended: icon, words, and the colour of the icon.
fn ended(cx: &PanelCtx<'_>, record: &RaceRecord) -> (Icon, String, Color32) {
    let c = cx.c();
    let loss = |method: &str| {
        let last = record.rounds.last()?;
        last.standings.iter().find(|one| one.method == method).map(|one| format::nats(one.loss))
    };
    match (&record.end, record.winner()) {
        (Some(RaceEnd::Whole), Some(winner)) => {
            let method = title_of(cx.state, winner);
            let loss = loss(winner).unwrap_or_else(|| format::UNKNOWN.to_owned());
            (icons::TROPHY, t!("race-past-won", method = method, loss = loss), c.ok)
        }
        (Some(RaceEnd::Whole), None) => (icons::CHECK_CIRCLE, t!("words-finished").to_owned(), c.ok),
        (Some(RaceEnd::Stopped), _) => (icons::STOP, t!("race-stopped").to_owned(), c.warn),
        (None, _) if race::going(cx.state) == Some(record.number) => {
            (icons::CIRCLE_FILL, t!("race-goes-on").to_owned(), c.accent)
        }
        (Some(RaceEnd::Failed { .. }) | None, _) => (icons::X_CIRCLE, t!("race-failed").to_owned(), c.err),
    }
}
