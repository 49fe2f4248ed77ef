//! The runs that wait for their turn, in order, with ways to move them and to take them out.

use super::over;
use super::sheets::head;
use crate::commands::UiCommand;
use crate::format;
use crate::rooms::{PanelCtx, scrolled};
use crate::state::afterwards::After;
use crate::theme::{Icon, Type, icons};
use crate::widgets::text::{self, Piece};
use crate::widgets::{Button, choice};
use egui::{Align, Rect, Sense, Stroke, Ui, pos2, vec2};
use temper_protocol::Act;
use temper_store::RunRow;

/// Height of a row.
const ROW: f32 = 32.0;
/// Height of the choice of what follows.
const AFTER: f32 = 60.0;

/// Shows the list.
pub fn queue_ui(cx: &PanelCtx<'_>, ui: &mut Ui) {
    let rows = cx.state.waiting_rows();
    let height = (144.0 + AFTER + ROW * rows.len() as f32).clamp(180.0 + AFTER, 520.0);
    over(cx, ui, t!("sheets-queue"), vec2(640.0, height), None, |ui, rect| {
        let c = cx.c();
        let body = head(cx, ui, rect, t!("sheets-queue"));
        let words = if rows.is_empty() { t!("sheets-queue-empty") } else { t!("sheets-queue-lead") };
        let lead = text::block(ui, body.min, body.width(), words, Type::Body, c.text2);
        let after = body.with_min_y(body.bottom() - AFTER);
        after_ui(cx, ui, after);
        let list = body.with_min_y(body.top() + lead + 10.0).with_max_y(after.top() - 8.0);
        scrolled(ui, list, "waiting", |ui, area| {
            let whole = Rect::from_min_size(area.min, vec2(area.width(), ROW * rows.len() as f32));
            ui.allocate_rect(whole, Sense::hover());
            for (place, row) in rows.iter().enumerate() {
                let top = area.top() + ROW * place as f32;
                let line = Rect::from_min_size(pos2(area.left(), top), vec2(area.width(), ROW));
                row_ui(cx, ui, line, (place, rows.len()), row);
            }
        });
    });
}

/// What happens when nothing is left to train.
fn after_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    ui.painter().hline(rect.x_range(), rect.top() + 0.5, Stroke::new(1.0, c.line));
    let title = Rect::from_min_size(rect.min + vec2(0.0, 6.0), vec2(rect.width(), 20.0));
    text::pieces(
        ui,
        title,
        &[Piece(t!("after-title"), Type::Strong, c.text), Piece(t!("after-note"), Type::Body, c.text2)],
    );
    let names = After::ALL.map(After::name);
    let chosen = After::ALL.iter().position(|one| *one == cx.state.afterwards.wish);
    let place = Rect::from_min_size(pos2(rect.left(), title.bottom() + 4.0), vec2(rect.width(), 28.0));
    let picked = choice::segments(ui, cx.theme, place, t!("after-title"), &names, chosen);
    if let Some(wish) = picked.and_then(|index| After::ALL.get(index).copied()) {
        cx.send(UiCommand::After(wish));
    }
}

fn row_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, (place, count): (usize, usize), row: &RunRow) {
    let c = cx.c();
    ui.painter().hline(rect.x_range(), rect.top() + 0.5, Stroke::new(1.0, c.line));
    let (sooner, later, remove) = (
        t!("sheets-queue-sooner", run = row.run),
        t!("sheets-queue-later", run = row.run),
        t!("sheets-queue-remove", run = row.run),
    );
    let acts: [(Icon, &str, Act, bool); 3] = [
        (icons::X, &remove, Act::Cancel, true),
        (icons::CARET_DOWN, &later, Act::Later, place + 1 < count),
        (icons::CARET_UP, &sooner, Act::Sooner, place > 0),
    ];
    let mut right = rect.right();
    for (icon, name, act, enabled) in acts {
        let at = Rect::from_min_size(pos2(right - 28.0, rect.top() + 3.0), vec2(28.0, 26.0));
        if Button::icon_only(icon, name).enabled(enabled).show(ui, cx.theme, at).clicked() {
            cx.send(UiCommand::Tell(row.run, act));
        }
        right = at.left() - 4.0;
    }
    let number = t!("sheets-queue-place", place = place + 1);
    let at = rect.with_max_x(rect.left() + 24.0);
    text::line(ui, at, Align::Max, &number, Type::Mono, c.text2);
    let words = Rect::from_min_max(pos2(rect.left() + 36.0, rect.top()), pos2(right - 12.0, rect.bottom()));
    let name = t!("common-run", run = row.run);
    let card = cx.state.methods.iter().find(|card| card.id == row.method);
    let method = card.map_or(row.method.as_str(), |card| card.title.as_str());
    let mut facts = vec![t!("watch-steps", n = row.max_steps, steps = format::count(row.max_steps))];
    if let Some(rate) = cx.state.run_setting(row.run, "train.lr_peak") {
        facts.push(t!("watch-rate-is", rate = format::setting("train.lr_peak", rate)));
    }
    if let Some(secs) = about_secs(cx, row) {
        facts.push(t!("sheets-queue-time", time = format::duration(secs)));
    }
    let facts = facts.join(", ");
    text::pieces(
        ui,
        words,
        &[Piece(&name, Type::Strong, c.text), Piece(method, Type::Body, c.text), Piece(&facts, Type::Body, c.text2)],
    );
}

/// Settings that decide how long a step takes.
const COSTLY: [&str; 5] = ["model.path", "method.id", "train.batch", "train.micro_batch", "data.max_tokens"];

/// How long a waiting run will take, by the steps of the run that is looked at, when it is of the same kind.
fn about_secs(cx: &PanelCtx<'_>, row: &RunRow) -> Option<f64> {
    let view = cx.state.runs.view.as_ref()?;
    let setting = |run: u64, key: &str| cx.state.run_setting(run, key);
    // Nothing is said of settings that were not read.
    setting(row.run, "model.path")?;
    let alike = COSTLY.iter().all(|key| setting(row.run, key) == setting(view.row.run, key));
    let secs = view.step_secs * row.max_steps as f64;
    (alike && secs.is_finite() && secs > 0.0).then_some(secs)
}
