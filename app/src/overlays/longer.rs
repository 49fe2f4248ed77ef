//! The question how many steps a run shall have in all.

use super::over;
use super::sheets::{acts, head};
use crate::commands::UiCommand;
use crate::format;
use crate::reader::curves::planned_rate;
use crate::rooms::PanelCtx;
use crate::theme::Type;
use crate::update::longer_steps;
use crate::widgets::field::{self, Field};
use crate::widgets::text;
use egui::{Align, Pos2, Rect, Role, Sense, Shape, Stroke, Ui, WidgetInfo, pos2, vec2};

/// Height of the plot of the learning rate.
const CURVE: f32 = 84.0;
/// Points of its lines.
const POINTS: u64 = 160;

/// Shows the question.
pub fn longer_ui(cx: &PanelCtx<'_>, ui: &mut Ui, run: u64, typed: &str) {
    let Some(row) = cx.state.runs.runs.iter().find(|row| row.run == run) else { return };
    over(cx, ui, t!("commands-extend"), vec2(620.0, 244.0 + CURVE + 12.0), None, |ui, rect| {
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
        let plot = Rect::from_min_size(pos2(body.left(), place.bottom() + 12.0), vec2(body.width(), CURVE));
        curve_ui(cx, ui, plot, run, more);
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

/// The learning rate as it was planned, and as it will be over all steps.
fn curve_ui(cx: &PanelCtx<'_>, ui: &mut Ui, plot: Rect, run: u64, wanted: Option<u64>) {
    let c = cx.c();
    let view = cx.state.runs.view.as_ref().filter(|view| view.row.run == run);
    let Some((row, train)) = view.and_then(|view| Some((&view.row, &view.settings.as_ref()?.train))) else { return };
    let peak = train.lr_peak;
    // The run's frozen settings have the rate; older ones may have left it to the method.
    if peak <= 0.0 || !peak.is_finite() {
        return;
    }
    let old = row.max_steps.max(row.steps).max(1);
    let all = wanted.unwrap_or(old).max(old);
    ui.painter().rect_filled(plot, 2.0, c.plot);
    let inner = plot.shrink2(vec2(6.0, 8.0));
    let at = |step: u64, rate: f64| {
        let x = inner.left() + (step as f64 / all as f64) as f32 * inner.width();
        pos2(x, inner.bottom() - (rate / peak) as f32 * inner.height())
    };
    let line = |from: u64, to: u64, steps: u64| -> Vec<Pos2> {
        let stride = (to.saturating_sub(from) / POINTS).max(1);
        let places = (from..=to).step_by(usize::try_from(stride).unwrap_or(usize::MAX)).chain([to]);
        places.map(|step| at(step, planned_rate(train, steps, step))).collect()
    };
    let rest = Stroke::new(1.0, c.text3);
    ui.painter().extend(Shape::dashed_line(&line(row.steps.max(1), old, old), rest, 4.0, 3.0));
    ui.painter().add(Shape::line(line(1, row.steps.max(1), old), Stroke::new(1.5, c.text2)));
    let now = planned_rate(train, old, row.steps.max(1));
    let spoken = match wanted {
        Some(steps) => {
            let new = line(row.steps + 1, steps, steps);
            ui.painter().add(Shape::line(new, Stroke::new(2.0, c.accent)));
            let next = planned_rate(train, steps, row.steps + 1);
            t!(
                "sheets-longer-curve",
                now = format::rate_wide(now),
                done = format::count(row.steps),
                next = format::rate_wide(next),
                steps = format::count(steps)
            )
        }
        None => t!("sheets-longer-curve-old", now = format::rate_wide(now), done = format::count(row.steps)),
    };
    let x = at(row.steps, 0.0).x.round() + 0.5;
    ui.painter().vline(x, plot.y_range(), Stroke::new(1.0, c.line2));
    let response = ui.allocate_rect(plot, Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &spoken));
    response.on_hover_text(spoken.as_str());
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
